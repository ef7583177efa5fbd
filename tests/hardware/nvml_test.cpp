#include "parallel_opt/hardware/nvml.h"

#include <gtest/gtest.h>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/gpus.h"
#include "tests/hardware/hosts.h"

namespace parallel_opt {
namespace {

using Notes = std::vector<std::string>;

TEST(Nvml, AnAbsentLibraryIsNoNews) {
  Notes notes;
  EXPECT_FALSE(Nvml::open("/nowhere/libnvidia-ml.so.1", notes).has_value());
  EXPECT_EQ(notes, Notes{});
}

TEST(Nvml, ADriverThatRefusesIsTold) {
  Notes notes;
  EXPECT_FALSE(Nvml::open(FAKE_NVML_DENIED, notes).has_value());
  EXPECT_EQ(notes, Notes{std::string("nvidia: ") + FAKE_NVML_DENIED +
                         " does not start: Insufficient Permissions"});
}

TEST(Nvml, ALibraryThatIsNoDriverIsTold) {
  Notes notes;
  EXPECT_FALSE(Nvml::open("libm.so.6", notes).has_value());
  EXPECT_EQ(notes, Notes{"nvidia: libm.so.6 does not start: it has no nvmlInit_v2"});
}

TEST(Nvml, ListsDevicesAndSaysWhatTheyDoNotTell) {
  Notes notes;
  const std::optional<Nvml> nvml = Nvml::open(FAKE_NVML_USUAL, notes);
  ASSERT_TRUE(nvml.has_value());
  const std::vector<GpuRecord> devices = nvml->devices(notes);
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0], (GpuRecord{.index = 0,
                                   .name = "NVIDIA H100 80GB HBM3",
                                   .uuid = "GPU-aaaa",
                                   .pci = "0000:0b:00.0",
                                   .memory_bytes = 85899345920,
                                   .free_bytes = 84000000000,
                                   .power_limit_w = 650.0,
                                   .max_clock_hz = 1.98e9}));
  EXPECT_EQ(devices[1].name, "NVIDIA Z9");
  EXPECT_EQ(devices[1].power_limit_w, std::nullopt);
  EXPECT_EQ(notes, (Notes{"nvidia: device 1: power limit: not supported",
                          "nvidia: device 2 may not be opened"}));
  EXPECT_EQ(nvml->power_w(0), 100.0);
  EXPECT_EQ(nvml->energy_j(0), 1000.0);
  EXPECT_EQ(nvml->energy_j(1), std::nullopt);  // not supported
  EXPECT_EQ(nvml->energy_j(2), std::nullopt);  // no such handle
}

TEST(Nvml, MissingFunctionsAreCapabilitiesThatAreOff) {
  Notes notes;
  const std::optional<Nvml> nvml = Nvml::open(FAKE_NVML_OLD, notes);
  ASSERT_TRUE(nvml.has_value());
  const std::vector<GpuRecord> devices = nvml->devices(notes);
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].pci, "");
  EXPECT_EQ(devices[0].max_clock_hz, std::nullopt);
  EXPECT_EQ(nvml->energy_j(0), std::nullopt);
  EXPECT_EQ(notes[0], "nvidia: device 0: power limit: not in this driver");
}

MemoryFileSystem host_with_gpus() {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/sys/bus/pci/devices/0000:0b:00.0/numa_node"] = "1\n";
  files.files["/sys/bus/pci/devices/0000:0b:00.0/local_cpulist"] = "4-7,12-15\n";
  files.files["/sys/bus/pci/devices/0000:81:00.0/numa_node"] = "-1\n";
  return files;
}

TEST(DiscoverGpus, KnownAndUnknownDevicesJoinTheHost) {
  const Cluster cluster = discover(host_with_gpus(), {.nvml_library = FAKE_NVML_USUAL});
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 4u);  // two sockets first
  const Device& known = cluster.devices[2];
  EXPECT_EQ(known.name, "H100-SXM-80GB");
  EXPECT_EQ(known.uuid, "GPU-aaaa");
  EXPECT_EQ(known.kind, DeviceKind::gpu);
  EXPECT_EQ(known.numa, 1);
  EXPECT_EQ(known.cores, (std::vector<int>{4, 5, 6, 7, 12, 13, 14, 15}));
  EXPECT_EQ(known.memory_bytes, (Uncertain{85899345920, 84e9, 85899345920, Quality::reported}));
  EXPECT_EQ(known.power->max_w, exact(650, Quality::reported));  // the limit, not the data sheet
  EXPECT_EQ(find_rate(known, "attention", DType::bf16, 0)->quality, Quality::database);
  const Device& unknown = cluster.devices[3];
  EXPECT_EQ(unknown.name, "NVIDIA Z9");
  EXPECT_EQ(unknown.numa, 0);
  EXPECT_FALSE(unknown.power.has_value());
  EXPECT_EQ(find_rate(unknown, "matmul", DType::bf16, 0)->quality, Quality::assumed);
  EXPECT_EQ(cluster.notes.back(),
            "nvidia: \"NVIDIA Z9\" is not in the database: its rates are assumed until it is "
            "probed");
}

TEST(DiscoverGpus, ReachTheirSocketAndEachOther) {
  const Cluster cluster = discover(host_with_gpus(), {.nvml_library = FAKE_NVML_USUAL});
  EXPECT_EQ(find_link(cluster, DeviceId(1), DeviceId(2))->type, "PCIe");
  // From the other socket there is one hop more.
  EXPECT_GT(find_link(cluster, DeviceId(0), DeviceId(2))->latency_s.value,
            find_link(cluster, DeviceId(1), DeviceId(2))->latency_s.value);
  EXPECT_EQ(find_link(cluster, DeviceId(2), DeviceId(3))->type, "PCIe");
}

TEST(DiscoverGpus, EqualDevicesOfOneBoardHaveNvlink) {
  Cluster cluster = discover(hosts::small_vm());
  GpuRecord h100;
  h100.name = "NVIDIA H100 80GB HBM3";
  add_gpus({.devices = {h100, h100}}, load_database(), MemoryFileSystem(), cluster);
  const std::optional<Link> link = find_link(cluster, DeviceId(1), DeviceId(2));
  EXPECT_EQ(link->type, "NVLink4");
  EXPECT_EQ(link->bytes_per_s.value, 0.75 * 450e9);  // nominal numbers are never reached
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(2))->type, "PCIe");
}

TEST(Hwloc, AgreementIsSilent) {
  const Cluster here = discover(DiskFileSystem(), {.nvml_library = "", .cross_check = true});
  for (const std::string& note : here.notes) EXPECT_FALSE(note.starts_with("hwloc")) << note;
}

}  // namespace
}  // namespace parallel_opt
