#include "parallel_opt/cli/checks.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace parallel_opt {
namespace {

Processes answering(const ProcessResult& result) {
  return {[](const std::vector<std::string>&) { return 0; },
          [result](const std::vector<std::string>&) { return result; }};
}

std::string text(const Check& check) {
  return check.name + " " + std::string(name_of(check.status)) + ": " + check.found + " | " +
         check.costs.value_or("") + " | " + check.remedy.value_or("");
}

class DoctorPython : public ::testing::Test {
 protected:
  DoctorPython() { ::setenv("PARALLEL_OPT_PYTHON", "/opt/python", 1); }
  ~DoctorPython() override { ::unsetenv("PARALLEL_OPT_PYTHON"); }
};

TEST_F(DoctorPython, EverythingThereIsFourTimesOk) {
  const std::vector<Check> checks = check_python(answering(
      {0, R"({"version": "3.11.2", "torch": "2.13.0+cpu", "package": "0.1.0", "header": true,
             "compiler": true})"}));
  ASSERT_EQ(checks.size(), 4u);
  for (const Check& check : checks) EXPECT_EQ(check.status, CheckStatus::ok) << text(check);
  EXPECT_EQ(text(checks[0]), "python ok: 3.11.2 (/opt/python) |  | ");
}

TEST_F(DoctorPython, WhatIsMissingHasItsPriceAndRemedy) {
  EXPECT_EQ(text(check_python(answering({127, ""})).at(0)),
            "python fault: /opt/python cannot be started | planning works, but nothing can be "
            "captured or "
            "run | install Python 3.10 or newer, or set PARALLEL_OPT_PYTHON");
  const std::vector<Check> checks = check_python(
      answering({0, R"({"version": "3.11.2", "torch": null, "package": null, "header": false,
             "compiler": false})"}));
  EXPECT_EQ(
      text(checks.at(1)),
      "package fault: parallel_opt is not installed in this Python | run, demo and capture do not "
      "work | /opt/python -m pip install . in parallel_opt's source");
  EXPECT_EQ(text(checks.at(2)),
            "torch fault: not installed | nothing can be trained or captured | /opt/python -m pip "
            "install torch");
  EXPECT_EQ(
      text(checks.at(3)),
      "compile warning: missing: a C++ compiler, Python.h | torch.compile does not work: plans run "
      "eager, often 10 % slower | install g++ and python3-dev");
}

TEST_F(DoctorPython, AnOldTorchIsAFault) {
  for (const auto& [version, status] :
       {std::pair("2.8.1", CheckStatus::fault), std::pair("2.9.0", CheckStatus::ok),
        std::pair("1.13", CheckStatus::fault), std::pair("3.0", CheckStatus::ok)}) {
    const std::string facts = std::string(R"({"version": "3.12", "torch": ")") + version +
                              R"(", "header": true, "compiler": true})";
    EXPECT_EQ(check_python(answering({0, facts})).at(2).status, status) << version;
  }
}

TEST_F(DoctorPython, ATorchWithoutGpusIsToldWhereThereAreSome) {
  const auto told = [](const char* version, bool gpus) {
    const std::string facts = std::string(R"({"version": "3.12", "torch": ")") + version +
                              R"(", "header": true, "compiler": true})";
    return text(check_python(answering({0, facts}), gpus).at(2));
  };
  EXPECT_EQ(told("2.13.0+cpu", true),
            "torch warning: 2.13.0+cpu, built without GPUs | the GPUs of this machine are not used "
            "| install the build for their driver: https://pytorch.org/get-started/locally");
  EXPECT_EQ(told("2.13.0+cpu", false), "torch ok: 2.13.0+cpu |  | ");
  EXPECT_EQ(told("2.13.0+rocm7.0", true), "torch ok: 2.13.0+rocm7.0 |  | ");
  EXPECT_EQ(told("2.13.0", true), "torch ok: 2.13.0 |  | ");  // CUDA, from PyPI
}

Cluster host(int cores, std::optional<double> quota, double memory_bytes) {
  Cluster cluster;
  Node& node = cluster.nodes.emplace_back();
  node.cores = node.threads = cores;
  node.cpu_quota = quota;
  node.memory_bytes = exact(memory_bytes);
  return cluster;
}

TEST(Doctor, AQuotaBelowTheCoresIsToldWithItsPrice) {
  EXPECT_EQ(text(check_cores(host(8, std::nullopt, 1))), "cores ok: 8 usable of 8 physical |  | ");
  EXPECT_EQ(
      text(check_cores(host(8, 2.5, 1))),
      "cores warning: 8 usable of 8 physical, quota 2.50 cores' worth of time | more threads than "
      "the "
      "quota grants are throttled; plans stay within it | raise the CPU limit of the container, if "
      "more is wanted");
}

TEST(Doctor, MemoryLoadAndSharedMemoryHaveLimits) {
  EXPECT_EQ(check_memory(host(2, std::nullopt, 8e9)).status, CheckStatus::ok);
  EXPECT_EQ(check_memory(host(2, std::nullopt, 1e9)).status, CheckStatus::warning);
  EXPECT_EQ(check_shared_memory(Bytes(1 << 30)).status, CheckStatus::ok);
  EXPECT_EQ(check_shared_memory(Bytes(64 << 20)).found, "64.0 MiB free in /dev/shm");
  EXPECT_EQ(check_shared_memory(std::nullopt).status, CheckStatus::warning);
  MemoryFileSystem files;
  EXPECT_EQ(check_load(files, host(2, std::nullopt, 1)).found, "unknown");
  files.files["/proc/loadavg"] = "3.50 2.0 1.0 5/300 1234\n";
  EXPECT_EQ(check_load(files, host(2, std::nullopt, 1)).status,
            CheckStatus::warning);                                                 // 3.5 > 0.5 * 2
  EXPECT_EQ(check_load(files, host(8, std::nullopt, 1)).status, CheckStatus::ok);  // 3.5 < 0.5 * 8
}

TEST(Doctor, NetworkGpusAndCountersAreReadFromFiles) {
  MemoryFileSystem files;
  EXPECT_EQ(check_network(files, true).status, CheckStatus::fault);
  files.files["/sys/class/net/lo/operstate"] = "unknown";
  EXPECT_EQ(check_network(files, true).status, CheckStatus::ok);
  EXPECT_EQ(check_network(files, false).status, CheckStatus::warning);
  Cluster cluster = host(2, std::nullopt, 1);
  EXPECT_EQ(check_gpus(files, cluster).found, "none");
  files.files["/proc/driver/nvidia/version"] = "x";
  EXPECT_EQ(check_gpus(files, cluster).status, CheckStatus::warning);
  EXPECT_EQ(check_energy_counters(files, cluster).found, "no energy counters");
  files.files["/sys/class/powercap/intel-rapl:0/energy_uj"] = "12";
  EXPECT_EQ(check_energy_counters(files, cluster).status, CheckStatus::ok);
  Device gpu;
  gpu.kind = DeviceKind::gpu;
  gpu.name = "H100";
  cluster.devices = {gpu};
  EXPECT_EQ(check_gpus(files, cluster).found, "H100");
  cluster.notes = {"cpu: not about GPUs", "nvidia: device 0: power limit: not supported"};
  EXPECT_EQ(check_gpus(files, cluster).found,
            "H100 (nvidia: device 0: power limit: not supported)");
  EXPECT_EQ(check_gpus(files, cluster).status, CheckStatus::warning);
}

TEST(Doctor, InterfacesThatAreNotHereAreAFault) {
  MemoryFileSystem files;
  for (const char* name : {"lo", "eth0", "ib0"}) {
    files.files[std::string("/sys/class/net/") + name + "/operstate"] = "up";
  }
  const auto status = [&](const char* variable, const char* value) {
    return check_network(files, true, {{variable, value}}).status;
  };
  EXPECT_EQ(text(check_network(files, true, {{"GLOO_SOCKET_IFNAME", "eth7"}})),
            "network fault: GLOO_SOCKET_IFNAME names eth7, which is not here | ranks cannot reach "
            "each other | unset GLOO_SOCKET_IFNAME, or name one of: eth0, ib0, lo");
  EXPECT_EQ(status("GLOO_SOCKET_IFNAME", "eth0"), CheckStatus::ok);
  EXPECT_EQ(status("GLOO_SOCKET_IFNAME", ""), CheckStatus::ok);
  EXPECT_EQ(status("NCCL_SOCKET_IFNAME", "eth,ib"), CheckStatus::ok);  // fronts of names
  EXPECT_EQ(status("NCCL_SOCKET_IFNAME", "=eth"), CheckStatus::fault);
  EXPECT_EQ(status("NCCL_SOCKET_IFNAME", "^docker,lo"), CheckStatus::ok);
}

TEST(Doctor, DriversThatMayNotBeOpenedOrDoNotStartSayWhy) {
  MemoryFileSystem files;
  Cluster cluster = host(2, std::nullopt, 1);
  EXPECT_EQ(text(check_gpus(files, cluster, {"/dev/kfd"})),
            "gpus warning: /dev/kfd may not be opened | GPUs are not used | add this user to the "
            "groups video and render, or give the container its devices");
  files.files["/proc/driver/nvidia/version"] = "x";
  cluster.notes = {"nvidia: libnvidia-ml.so.1 does not start: Driver/library version mismatch"};
  EXPECT_EQ(check_gpus(files, cluster).found,
            "an NVIDIA driver, but no device that answers (nvidia: libnvidia-ml.so.1 does not "
            "start: Driver/library version mismatch)");
}

TEST(Doctor, CountersOfTheProcessorAreMissedBesideGpusToo) {
  MemoryFileSystem files;
  Cluster cluster = host(2, std::nullopt, 1);
  cluster.devices.emplace_back().kind = DeviceKind::gpu;
  EXPECT_EQ(text(check_energy_counters(files, cluster)),
            "energy ok: counters of the GPUs; the CPU's energy is modelled |  | ");
  files.files["/sys/bus/event_source/devices/power/type"] = "9\n";
  files.files["/proc/sys/kernel/perf_event_paranoid"] = "2\n";
  EXPECT_EQ(text(check_energy_counters(files, cluster)),
            "energy warning: counters of the GPUs; RAPL counters are there, but may not be read | "
            "the CPU's energy is modelled from CPU time, +-30 % | sysctl "
            "kernel.perf_event_paranoid=0");
}

TEST(Doctor, AnAmdDriverWithoutDevicesIsTold) {
  MemoryFileSystem files;
  files.files["/dev/kfd"] = "";
  const Check check = check_gpus(files, host(2, std::nullopt, 1));
  EXPECT_EQ(check.status, CheckStatus::warning);
  EXPECT_EQ(check.remedy, "see amd-smi; is /sys/class/drm in this container?");
}

TEST(Doctor, PerfEventsCountWherePowercapMayNotBeRead) {
  MemoryFileSystem files;
  const Cluster cluster = host(2, std::nullopt, 1);
  files.files["/sys/bus/event_source/devices/power/type"] = "9\n";
  files.files["/proc/sys/kernel/perf_event_paranoid"] = "2\n";
  const Check forbidden = check_energy_counters(files, cluster);
  EXPECT_EQ(forbidden.found, "RAPL counters are there, but may not be read");
  EXPECT_EQ(forbidden.costs, "energy is modelled from CPU time, +-30 %");
  EXPECT_EQ(forbidden.remedy, "sysctl kernel.perf_event_paranoid=0");
  files.files["/proc/sys/kernel/perf_event_paranoid"] = "-1\n";
  EXPECT_EQ(check_energy_counters(files, cluster).found, "RAPL counters by perf events");
}

TEST(Doctor, ACacheThatCannotBeWrittenIsToldWithTheReason) {
  const Check check = check_cache_directory("/proc/parallel_opt");
  EXPECT_EQ(check.status, CheckStatus::warning);
  EXPECT_EQ(check.remedy, "set PARALLEL_OPT_CACHE to a directory you may write");
}

TEST(Doctor, WithoutProbesTheRemedyIsToProbe) {
  Cluster cluster = host(2, std::nullopt, 1);
  cluster.devices.emplace_back().uuid = "cpu-1";
  const Check check = check_probes(MemoryFileSystem(), "/cache", cluster, "2026-11-21");
  EXPECT_EQ(
      text(check),
      "probes warning: none | plans rest on data sheets; the first run measures and takes longer | "
      "parallel-opt probe");
}

}  // namespace
}  // namespace parallel_opt
