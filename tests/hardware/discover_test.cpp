#include "parallel_opt/hardware/discover.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "parallel_opt/hardware/database.h"
#include "tests/hardware/hosts.h"

namespace parallel_opt {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
using Cores = std::vector<int>;
using Notes = std::vector<std::string>;

TEST(Discover, TwoSocketsAreTwoDevices) {
  const Cluster cluster = discover(hosts::two_sockets());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.notes, Notes{});
  ASSERT_EQ(cluster.nodes.size(), 1u);
  const Node& node = cluster.nodes[0];
  EXPECT_EQ(node.name, "big");
  EXPECT_EQ(node.cpu_model, "AMD EPYC 9654 96-Core Processor");
  EXPECT_EQ(node.sockets, 2);
  EXPECT_EQ(node.cores, 8);
  EXPECT_EQ(node.threads, 16);
  EXPECT_EQ(node.numa_nodes, 2);
  EXPECT_EQ(node.cpu_quota, std::nullopt);
  EXPECT_EQ(node.virtualization, std::nullopt);
  EXPECT_EQ(node.memory_bytes, (Uncertain{96 * kGiB, 48 * kGiB, 96 * kGiB, Quality::reported}));
  EXPECT_EQ(node.caches, (std::vector<Cache>{{1, 32768, 2}, {2, 1 << 20, 2}, {3, 32 << 20, 8}}));
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].name, "AMD EPYC 9654 (4 cores, avx512_bf16)");
  EXPECT_EQ(cluster.devices[1].name, cluster.devices[0].name);
  // One logical core of each physical one first, then the siblings.
  EXPECT_EQ(cluster.devices[0].cores, (Cores{0, 1, 2, 3, 8, 9, 10, 11}));
  EXPECT_EQ(cluster.devices[1].cores, (Cores{4, 5, 6, 7, 12, 13, 14, 15}));
  EXPECT_EQ(cluster.devices[1].physical_cores, 4);
  EXPECT_EQ(cluster.devices[1].numa, 1);
  EXPECT_EQ(cluster.devices[0].memory_bytes.value, 64 * kGiB);
  EXPECT_EQ(cluster.devices[1].memory_bytes.value, 32 * kGiB);
  EXPECT_NE(cluster.devices[0].uuid, cluster.devices[1].uuid);
}

TEST(Discover, KnownProcessorsHaveRatesAndPowerOfTheDatabase) {
  const Cluster cluster = discover(hosts::two_sockets());
  const Device& device = cluster.devices[0];
  const RateCurve* curve = find_rate(device, "matmul", DType::fp32, 0);
  ASSERT_NE(curve, nullptr);
  EXPECT_EQ(curve->quality, Quality::database);
  // 0.7 of 4 cores * 2.4 GHz * 32 FLOP, reached to 1000 / 1001
  EXPECT_NEAR(curve->points.back().per_second, 0.7 * 4 * 2.4e9 * 32 * 1000 / 1001, 1e3);
  const RateCurve* one = find_rate(device, "matmul", DType::bf16, 1);
  ASSERT_NE(one, nullptr);
  EXPECT_NEAR(one->points.back().per_second, 0.7 * 2.4e9 * 64 * 1000 / 1001, 1e3);
  ASSERT_TRUE(device.power.has_value());
  EXPECT_DOUBLE_EQ(device.power->max_w.value, 4 * 3.75);  // 360 W / 96 cores
  EXPECT_EQ(device.power->max_w.quality, Quality::database);
  EXPECT_EQ(device.power->idle_w.quality, Quality::assumed);
}

TEST(Discover, LinksCoverEveryPairAndEachDeviceItself) {
  const Cluster cluster = discover(hosts::two_sockets());
  for (const auto& [a, b] : {std::pair(0, 0), {0, 1}, {1, 1}}) {
    for (const char* type : {"shared-memory", "loopback"}) {
      const std::optional<Link> link = find_link(cluster, DeviceId(a), DeviceId(b), type);
      ASSERT_TRUE(link.has_value()) << a << b << type;
      EXPECT_EQ(link->bytes_per_s.quality, Quality::assumed);
    }
  }
  EXPECT_EQ(cluster.links.size(), 6u);
}

TEST(Discover, HybridCoresAreTwoDevices) {
  const Cluster cluster = discover(hosts::hybrid());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].name, "13th Gen Intel Core i5-1340P (4 E-cores, avx2)");
  EXPECT_EQ(cluster.devices[0].cores, (Cores{4, 5, 6, 7}));
  EXPECT_EQ(cluster.devices[1].name, "13th Gen Intel Core i5-1340P (2 P-cores, avx2)");
  EXPECT_EQ(cluster.devices[1].cores, (Cores{0, 2, 1, 3}));
  EXPECT_EQ(cluster.devices[1].physical_cores, 2);
  // They share 16 GiB by their logical cores.
  EXPECT_EQ(cluster.devices[0].memory_bytes.value, 8 * kGiB);
  EXPECT_EQ(cluster.devices[1].memory_bytes.value, 8 * kGiB);
}

double fp32_peak(const Device& device) {
  return find_rate(device, "matmul", DType::fp32, 0)->points.back().per_second;
}

TEST(Discover, HybridCoresHaveTheirOwnClockAndAQuotaTakesTheFastOnesFirst) {
  MemoryFileSystem files = hosts::hybrid();
  for (int i = 0; i < 8; ++i) {
    files.files["/sys/devices/system/cpu/cpu" + std::to_string(i) + "/cpufreq/base_frequency"] =
        i < 4 ? "1900000\n" : "1400000\n";
  }
  const Cluster cluster = discover(files);
  // 0.7 of cores * clock * 32 FLOP, reached to 1000 / 1001: four slow cores, two fast ones
  EXPECT_NEAR(fp32_peak(cluster.devices[0]), 0.7 * 4 * 1.4e9 * 32 * 1000 / 1001, 1e3);
  EXPECT_NEAR(fp32_peak(cluster.devices[1]), 0.7 * 2 * 1.9e9 * 32 * 1000 / 1001, 1e3);
  // Both read the same memory: as near as their own.
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(1), "shared-memory")->bytes_per_s,
            find_link(cluster, DeviceId(0), DeviceId(0), "shared-memory")->bytes_per_s);
  files.files["/proc/self/mountinfo"] = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  files.files["/sys/fs/cgroup/cpu.max"] = "300000 100000\n";
  const Cluster limited = discover(files);
  ASSERT_EQ(limited.devices.size(), 2u);
  EXPECT_EQ(limited.devices[0].cores, Cores{4});       // one E-core
  EXPECT_EQ(limited.devices[1].cores, (Cores{0, 2}));  // before it both P-cores
}

/// Two sockets, each cut into two NUMA nodes (SNC, NPS2) of two cores and two threads each.
MemoryFileSystem cut_sockets() {
  MemoryFileSystem files = hosts::two_sockets();
  const char* const cores[] = {"0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"};
  const char* const distances[] = {"10 12 20 20", "12 10 20 20", "20 20 10 12", "20 20 12 10"};
  for (int n = 0; n < 4; ++n) {
    const std::string node = "/sys/devices/system/node/node" + std::to_string(n) + "/";
    files.files[node + "cpulist"] = std::string(cores[n]) + "\n";
    files.files[node + "distance"] = std::string(distances[n]) + "\n";
    files.files[node + "meminfo"] = "Node 0 MemTotal: 25165824 kB\n";
  }
  return files;
}

TEST(CpuRates, AProcessorThatNobodyNamesHasAssumedWatts) {
  CpuGuess guess;
  guess.cores = 8;
  guess.hz = 2e9;
  Device device;
  device.kind = DeviceKind::cpu;
  fill_cpu_rates(device, guess);
  ASSERT_TRUE(device.power);
  EXPECT_DOUBLE_EQ(device.power->max_w.value, 8 * 6.25);  // median of the database's processors
  EXPECT_EQ(device.power->max_w.quality, Quality::assumed);
  EXPECT_LT(device.power->idle_w.value, device.power->max_w.value);
}

TEST(Discover, NodesOfASocketShareItsChannelsAndDistancesTellTheWays) {
  const Cluster cluster = discover(cut_sockets());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 4u);
  EXPECT_EQ(cluster.nodes[0].sockets, 2);
  EXPECT_EQ(cluster.nodes[0].numa_nodes, 4);
  EXPECT_EQ(cluster.devices[3].memory_bytes.value, 24 * kGiB);
  const auto way = [&](int a, int b) {
    return find_link(cluster, DeviceId(a), DeviceId(b), "shared-memory")->bytes_per_s.value;
  };
  EXPECT_DOUBLE_EQ(way(0, 0), 5e9);
  EXPECT_DOUBLE_EQ(way(0, 1), 5e9 * 10 / 12);
  EXPECT_DOUBLE_EQ(way(1, 2), 5e9 * 10 / 20);
  // All four cores' memory bandwidth would be 60 GB/s, of two 30: the socket's 460.8 is far.
  CpuGuess guess;
  guess.record = find_cpu(load_database(), "AuthenticAMD", 25, 17);
  guess.hz = 2.4e9;
  guess.cores = 96;
  guess.socket_share = 0.25;
  Device quarter;
  fill_cpu_rates(quarter, guess);
  // 0.75 of a quarter of twelve channels, reached to 1000 / 1001
  EXPECT_NEAR(find_rate(quarter, "memory", std::nullopt, 0)->points.back().per_second,
              0.75 * 460.8e9 / 4 * 1000 / 1001, 1e3);
}

TEST(Discover, CoresOfBigLittleHaveTheirOwnNamesAndClocks) {
  MemoryFileSystem files;
  for (int i = 0; i < 4; ++i) {
    const std::string n = std::to_string(i);
    const std::string cpu = "/sys/devices/system/cpu/cpu" + n + "/";
    files.files["/proc/cpuinfo"] +=
        "processor : " + n +
        "\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : " + (i < 2 ? "0xd05" : "0xd0b") +
        "\n\n";
    files.files[cpu + "cpu_capacity"] = i < 2 ? "400\n" : "1024\n";
    files.files[cpu + "cpufreq/cpuinfo_max_freq"] = i < 2 ? "1800000\n" : "2400000\n";
  }
  const Cluster cluster = discover(files);
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].name, "Cortex-A76 (2 cores of capacity 1024, asimd)");
  EXPECT_EQ(cluster.devices[1].name, "Cortex-A55 (2 cores of capacity 400, asimd)");
  EXPECT_DOUBLE_EQ(fp32_peak(cluster.devices[0]) / fp32_peak(cluster.devices[1]), 2.4 / 1.8);
}

TEST(Discover, BigAndLittleArmCoresAreToldApartByCapacity) {
  MemoryFileSystem files;
  for (int i = 0; i < 2; ++i) {
    const std::string n = std::to_string(i);
    files.files["/proc/cpuinfo"] += "processor : " + n +
                                    "\nFeatures : fp asimd asimdhp asimddp bf16 i8mm\n"
                                    "CPU implementer : 0x41\nCPU part : 0xd4f\n\n";
    files.files["/sys/devices/system/cpu/cpu" + n + "/cpu_capacity"] = i == 0 ? "512\n" : "1024\n";
  }
  files.files["/proc/meminfo"] = "MemTotal: 1048576 kB\n";
  const Cluster cluster = discover(files);
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].name, "Neoverse-V2 (1 core of capacity 1024, bf16)");
  EXPECT_EQ(cluster.devices[1].name, "Neoverse-V2 (1 core of capacity 512, bf16)");
  EXPECT_EQ(cluster.devices[0].instruction_sets,
            (Notes{"asimd", "asimdhp", "asimddp", "bf16", "i8mm"}));
}

TEST(Discover, AVirtualMachineThatHidesMuchStillHasADevice) {
  const Cluster cluster = discover(hosts::small_vm());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 1u);
  EXPECT_EQ(cluster.devices[0].name, "AMD EPYC (2 cores, avx512f)");
  EXPECT_EQ(cluster.nodes[0].virtualization, "kvm");
  EXPECT_EQ(cluster.nodes[0].name, "localhost");
  EXPECT_EQ(cluster.nodes[0].cores, 2);
  EXPECT_EQ(cluster.nodes[0].caches, std::vector<Cache>{});
  EXPECT_EQ(cluster.devices[0].memory_bytes.value, 24684092.0 * 1024);
  EXPECT_EQ(cluster.notes,
            (Notes{"cpu: /sys/devices/system/cpu shows no topology: /proc/cpuinfo is used",
                   "cpu: cache sizes are hidden (a hypervisor often hides them)"}));
}

void expect_half_a_core(const MemoryFileSystem& files) {
  const Cluster cluster = discover(files);
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 1u);
  EXPECT_EQ(cluster.nodes[0].threads, 1);
  EXPECT_EQ(cluster.nodes[0].cpu_quota, 0.5);
  EXPECT_EQ(cluster.devices[0].cores, Cores{0});
  EXPECT_EQ(cluster.devices[0].memory_bytes, exact(1 * kGiB, Quality::reported));
  EXPECT_EQ(cluster.notes,
            (Notes{"memory: the control group grants 1.00 GiB of 96.0 GiB",
                   "cpu: the control group grants 0.500 of 16 logical cores' time"}));
  // Half a core computes half as fast: 0.7 * 0.5 * 2.4 GHz * 32
  const RateCurve* curve = find_rate(cluster.devices[0], "matmul", DType::fp32, 1);
  EXPECT_NEAR(curve->points.back().per_second, 0.7 * 0.5 * 2.4e9 * 32 * 1000 / 1001, 1e3);
}

TEST(Discover, HalfACoreInVersion2Groups) {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/proc/self/cgroup"] = "0::/\n";
  files.files["/proc/self/mountinfo"] = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  files.files["/sys/fs/cgroup/cpu.max"] = "50000 100000\n";
  files.files["/sys/fs/cgroup/memory.max"] = "1073741824\n";
  expect_half_a_core(files);
}

TEST(Discover, HalfACoreInVersion1Groups) {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/proc/self/cgroup"] = "2:memory:/box\n1:cpu:/box\n";
  files.files["/proc/self/mountinfo"] =
      "1 0 0:1 /box /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "2 0 0:2 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
  files.files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "50000\n";
  files.files["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000\n";
  files.files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "1073741824\n";
  expect_half_a_core(files);
}

TEST(Discover, AQuotaTakesWholePhysicalCoresFirst) {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/proc/self/mountinfo"] = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  files.files["/sys/fs/cgroup/cpu.max"] = "550000 100000\n";
  const Cluster cluster = discover(files);
  EXPECT_EQ(cluster.nodes[0].threads, 6);  // 5.5 rounded up
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].cores, (Cores{0, 1, 2, 3}));
  EXPECT_EQ(cluster.devices[1].cores, (Cores{4, 5}));
}

TEST(Discover, AQuotaAboveAllCoresLimitsNothing) {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/proc/self/mountinfo"] = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  files.files["/sys/fs/cgroup/cpu.max"] = "9900000 100000\n";
  EXPECT_EQ(discover(files), discover(hosts::two_sockets()));
}

TEST(Discover, AffinityAndCpusetLeaveWhatBothGrant) {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/proc/self/status"] = "Name:\tx\nCpus_allowed_list:\t0-5\nMems_allowed_list:\t0\n";
  files.files["/proc/self/mountinfo"] = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  files.files["/sys/fs/cgroup/cpuset.cpus.effective"] = "2-15\n";
  const Cluster cluster = discover(files);
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].cores, (Cores{2, 3}));
  EXPECT_EQ(cluster.devices[1].cores, (Cores{4, 5}));
  EXPECT_EQ(cluster.notes, Notes{"cpu: affinity or cpuset leaves 4 of 16 logical cores"});
}

TEST(Discover, AnEmptyMachineIsAssumedAndSaysSo) {
  const Cluster cluster = discover(MemoryFileSystem());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 1u);
  EXPECT_EQ(cluster.devices[0].name, "unknown processor (1 core)");
  EXPECT_EQ(cluster.devices[0].memory_bytes.quality, Quality::assumed);
  EXPECT_EQ(find_rate(cluster.devices[0], "matmul", DType::fp32, 0)->quality, Quality::assumed);
  EXPECT_EQ(cluster.notes.size(), 4u) << to_json(cluster);
  EXPECT_EQ(cluster.nodes[0].quality, Quality::assumed);
  EXPECT_EQ(cluster.nodes[0].memory_bytes.quality, Quality::assumed);
  // Memory that cannot be is no memory.
  for (const char* total : {"MemTotal: -5 kB\n", "MemTotal: 99999999999999999 kB\n"}) {
    MemoryFileSystem odd;
    odd.files["/proc/meminfo"] = total;
    EXPECT_EQ(discover(odd).nodes[0].memory_bytes.value, 4.0 * 1024 * 1024 * 1024);
  }
  EXPECT_EQ(discover(hosts::two_sockets()).nodes[0].quality, Quality::reported);
}

TEST(Discover, SameFilesSameBytes) {
  EXPECT_EQ(to_json(discover(hosts::two_sockets())), to_json(discover(hosts::two_sockets())));
}

TEST(Discover, TheUuidNamesMachineCoresAndLimit) {
  const std::string base = discover(hosts::small_vm()).devices[0].uuid;
  MemoryFileSystem other = hosts::small_vm();
  other.files["/etc/machine-id"] = "another\n";
  EXPECT_NE(discover(other).devices[0].uuid, base);
  MemoryFileSystem limited = hosts::small_vm();
  limited.files["/proc/self/mountinfo"] = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  limited.files["/sys/fs/cgroup/cpu.max"] = "150000 100000\n";
  EXPECT_NE(discover(limited).devices[0].uuid, base);
  EXPECT_EQ(base.size(), 4u + 16u);
}

TEST(Discover, ThisMachineIsWellFormed) {
  const Cluster cluster = discover(DiskFileSystem());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_GE(cluster.devices.size(), 1u);
}

}  // namespace
}  // namespace parallel_opt
