#include "parallel_opt/hardware/cgroup.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

using Cpus = std::vector<int>;

TEST(CpuList, RangesAndSingleCores) {
  EXPECT_EQ(parse_cpu_list("0-3,8\n"), (Cpus{0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_cpu_list("5"), Cpus{5});
  EXPECT_EQ(parse_cpu_list("2,1,2"), (Cpus{1, 2}));
}

TEST(CpuList, DamagedTextIsEmpty) {
  for (const char* text : {"", "\n", "x", "3-1", "-1", "0-", "0-99999999999", "1,,2"}) {
    EXPECT_EQ(parse_cpu_list(text), Cpus{}) << text;
  }
}

TEST(LeadingInteger, StopsAtTheUnit) {
  EXPECT_EQ(leading_integer(" 24684092 kB\n"), 24684092);
  EXPECT_EQ(leading_integer("-1\n"), -1);
  EXPECT_EQ(leading_integer("max 100000"), std::nullopt);
  EXPECT_EQ(leading_integer(""), std::nullopt);
}

MemoryFileSystem v2(const std::string& group, const std::string& root = "/") {
  MemoryFileSystem files;
  files.files["/proc/self/cgroup"] = "0::" + group + "\n";
  files.files["/proc/self/mountinfo"] =
      "41 31 0:38 " + root + " /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
  return files;
}

TEST(Cgroup, WithoutMountsThereIsNoLimit) {
  EXPECT_EQ(read_cgroup_limits(MemoryFileSystem()), CgroupLimits{});
}

TEST(Cgroup, Version2ReadsTheOwnGroup) {
  MemoryFileSystem files = v2("/job/a");
  files.files["/sys/fs/cgroup/job/a/cpu.max"] = "50000 100000\n";
  files.files["/sys/fs/cgroup/job/a/memory.max"] = "1073741824\n";
  files.files["/sys/fs/cgroup/job/a/memory.current"] = "500000\n";
  files.files["/sys/fs/cgroup/job/a/memory.stat"] = "anon 1\ninactive_file 200000\n";
  files.files["/sys/fs/cgroup/job/a/cpuset.cpus.effective"] = "2-3\n";
  const CgroupLimits limits = read_cgroup_limits(files);
  EXPECT_EQ(limits.cpu_quota, 0.5);  // 50 of each 100 ms
  EXPECT_EQ(limits.memory_bytes, 1073741824);
  EXPECT_EQ(limits.memory_in_use, 500000 - 200000);  // cache can be dropped
  EXPECT_EQ(limits.cpus, (Cpus{2, 3}));
}

TEST(Cgroup, ATighterParentWins) {
  MemoryFileSystem files = v2("/job/a");
  files.files["/sys/fs/cgroup/job/a/cpu.max"] = "max 100000\n";
  files.files["/sys/fs/cgroup/job/cpu.max"] = "150000 100000\n";
  files.files["/sys/fs/cgroup/cpu.max"] = "400000 100000\n";
  files.files["/sys/fs/cgroup/job/a/memory.max"] = "max\n";
  files.files["/sys/fs/cgroup/job/memory.high"] = "4096000\n";
  files.files["/sys/fs/cgroup/job/memory.max"] = "8192000\n";
  const CgroupLimits limits = read_cgroup_limits(files);
  EXPECT_EQ(limits.cpu_quota, 1.5);
  EXPECT_EQ(limits.memory_bytes, 4096000);
  EXPECT_EQ(limits.memory_in_use, std::nullopt);
}

TEST(Cgroup, AContainersMountShowsTheGroupAtItsTop) {
  // The container's group is named from the host's root, its mount starts at that group.
  MemoryFileSystem files = v2("/docker/abc/inner", "/docker/abc");
  files.files["/sys/fs/cgroup/inner/cpu.max"] = "200000 100000\n";
  files.files["/sys/fs/cgroup/cpu.max"] = "100000 100000\n";
  EXPECT_EQ(read_cgroup_limits(files).cpu_quota, 1.0);
  // A group outside of the mount: its top stands in.
  MemoryFileSystem outside = v2("/../other", "/docker/abc");
  outside.files["/sys/fs/cgroup/cpu.max"] = "300000 100000\n";
  EXPECT_EQ(read_cgroup_limits(outside).cpu_quota, 3.0);
}

MemoryFileSystem v1() {
  MemoryFileSystem files;
  files.files["/proc/self/cgroup"] =
      "4:memory:/job\n3:cpuset:/job\n1:cpu,cpuacct:/job\n0::/elsewhere\n";
  files.files["/proc/self/mountinfo"] =
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
      "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
      "malformed line\n";
  return files;
}

TEST(Cgroup, Version1HasAGroupPerController) {
  MemoryFileSystem files = v1();
  files.files["/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us"] = "5000\n";
  files.files["/sys/fs/cgroup/cpu/job/cpu.cfs_period_us"] = "10000\n";
  files.files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "-1\n";
  files.files["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000\n";
  files.files["/sys/fs/cgroup/memory/job/memory.limit_in_bytes"] = "2147483648\n";
  files.files["/sys/fs/cgroup/memory/job/memory.usage_in_bytes"] = "1000\n";
  files.files["/sys/fs/cgroup/cpuset/job/cpuset.cpus"] = "1\n";
  const CgroupLimits limits = read_cgroup_limits(files);
  EXPECT_EQ(limits.cpu_quota, 0.5);  // 5 of each 10 ms
  EXPECT_EQ(limits.memory_bytes, 2147483648);
  EXPECT_EQ(limits.memory_in_use, 1000);
  EXPECT_EQ(limits.cpus, Cpus{1});
}

TEST(Cgroup, Version1WithoutLimitsHasNone) {
  MemoryFileSystem files = v1();
  files.files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "-1\n";
  files.files["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000\n";
  files.files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712\n";
  EXPECT_EQ(read_cgroup_limits(files), CgroupLimits{});
}

}  // namespace
}  // namespace parallel_opt
