#include "parallel_opt/hardware/probe_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/load.h"
#include "tests/hardware/hosts.h"

namespace parallel_opt {
namespace {

using Notes = std::vector<std::string>;
constexpr char kDay[] = "2026-11-21";
constexpr char kTorch[] = "torch 2.13.0+cpu";

Cluster host() { return discover(hosts::small_vm()); }

ProbeSet probes_of(const Device& device, double rate = 9e10) {
  ProbeSet set;
  set.uuid = device.uuid;
  set.device = device.name;
  set.software = kTorch;
  set.date = kDay;
  set.rates = {{"matmul", DType::fp32, 0, {{1e6, rate}}, Quality::measured, "probe"}};
  set.launch_s = exact(1e-6);
  set.launch_autograd_s = exact(5e-6);
  set.links = {{DeviceId(0), DeviceId(0), "loopback", exact(2e-5), exact(3e9)}};
  return set;
}

class ProbeCache : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(directory); }
  CachedProbes lookup(const std::string& software = "", const std::string& now = kDay) const {
    return cached_probes(DiskFileSystem(), directory, device, software, now);
  }
  const std::string directory =
      testing::TempDir() + "probe_cache_test_" + std::to_string(::getpid());
  const Device device = host().devices[0];
  const std::string prefix = "probe cache: " + directory + "/" + device.uuid;
};

TEST_F(ProbeCache, GivesBackWhatWasStored) {
  const std::string path = store_probes(directory, probes_of(device));
  EXPECT_EQ(path, directory + "/" + device.uuid + "--torch-2.13.0+cpu.json");
  EXPECT_EQ(lookup(kTorch).probes, probes_of(device));
  EXPECT_EQ(lookup(kTorch).notes, Notes{});
}

TEST_F(ProbeCache, AnEmptyCacheHasNothingToSay) {
  EXPECT_EQ(lookup().probes, std::nullopt);
  EXPECT_EQ(lookup().notes, Notes{});
}

TEST_F(ProbeCache, AnotherTorchIsAnotherEntry) {
  ProbeSet newer = probes_of(device, 8e10);
  newer.software = "torch 2.14.0";
  newer.date = "2026-11-22";
  store_probes(directory, probes_of(device));
  store_probes(directory, newer);
  EXPECT_EQ(lookup(kTorch, "2026-11-23").probes->software, kTorch);
  EXPECT_EQ(lookup("", "2026-11-23").probes->software, "torch 2.14.0");  // the newest of any
  EXPECT_EQ(lookup("torch 3", "2026-11-23").probes, std::nullopt);
}

TEST_F(ProbeCache, OldEntriesAreSaidAndNotUsed) {
  store_probes(directory, probes_of(device));
  EXPECT_TRUE(lookup("", "2027-02-19").probes.has_value());  // 9 + 31 + 31 + 19 = 90 days
  const CachedProbes old = lookup("", "2027-02-20");
  EXPECT_EQ(old.probes, std::nullopt);
  EXPECT_EQ(old.notes, Notes{prefix + "--torch-2.13.0+cpu.json is of 2026-11-21, more than 90 "
                                      "days ago: not used"});
}

TEST_F(ProbeCache, DamagedEntriesAreSaidAndNotUsed) {
  write_file(directory + "/" + device.uuid + "--a.json", "{\"schema\": ");
  ProbeSet broken = probes_of(device, -1);
  broken.software = "b";
  store_probes(directory, broken);
  broken = probes_of(device);
  broken.software = "c";
  broken.date = "yesterday";
  store_probes(directory, broken);
  broken.software = "d";
  broken.device = "another";
  store_probes(directory, broken);
  const CachedProbes found = lookup();
  EXPECT_EQ(found.probes, std::nullopt);
  ASSERT_EQ(found.notes.size(), 4u);
  EXPECT_TRUE(found.notes[0].starts_with(prefix + "--a.json")) << found.notes[0];
  EXPECT_EQ(found.notes[1], prefix + "--b.json is damaged: probes.devices[0].rates[" +
                                std::to_string(device.rates.size() - 2) +
                                "].points[0].per_s: is not positive: not used");
  EXPECT_EQ(found.notes[2], prefix + "--c.json has no date: not used");
  EXPECT_EQ(found.notes[3], prefix + "--d.json is of another device (another): not used");
}

TEST_F(ProbeCache, AnUnwritableDirectoryIsASystemError) {
  EXPECT_THROW(store_probes("/proc/nowhere", probes_of(device)), SystemError);
}

TEST_F(ProbeCache, LocalClustersHaveTheirProbesMerged) {
  Cluster cluster = host();
  store_probes(directory, probes_of(device));
  merge_cached_probes(cluster, DiskFileSystem(), directory, "", kDay);
  const RateCurve* curve = find_rate(cluster.devices[0], "matmul", DType::fp32, 0);
  EXPECT_EQ(curve->quality, Quality::measured);
  EXPECT_EQ(curve->points[0].per_second, 9e10);
}

TEST(MergeProbes, MeasuredCurvesReplaceAllOfTheirKernelAndType) {
  Cluster cluster = host();
  const Device before = cluster.devices[0];
  ASSERT_NE(find_rate(before, "matmul", DType::fp32, 1)->threads, 0);  // one thread was assumed
  EXPECT_EQ(merge_probes(cluster, probes_of(before)), 1);
  const Device& after = cluster.devices[0];
  EXPECT_EQ(find_rate(after, "matmul", DType::fp32, 1)->quality, Quality::measured);
  EXPECT_EQ(*find_rate(after, "matmul", DType::bf16, 1),
            *find_rate(before, "matmul", DType::bf16, 1));
  EXPECT_EQ(after.launch_s, exact(2.5e-6));  // half of forward and backward
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(0), "loopback")->bytes_per_s, exact(3e9));
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(0), "shared-memory")->bytes_per_s.quality,
            Quality::assumed);
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
}

TEST(MergeProbes, EqualCoreGroupsOfANodeShareAProbe) {
  Cluster cluster = discover(hosts::two_sockets());
  EXPECT_EQ(merge_probes(cluster, probes_of(cluster.devices[1])), 2);
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(0), "loopback")->bytes_per_s, exact(3e9));
  EXPECT_EQ(cluster.links.size(), 6u);
}

TEST(MergeProbes, AnotherMachinesProbeChangesNothing) {
  Cluster cluster = host();
  const Cluster before = cluster;
  ProbeSet foreign = probes_of(cluster.devices[0]);
  foreign.uuid = "cpu-0";
  EXPECT_EQ(merge_probes(cluster, foreign), 0);
  EXPECT_EQ(cluster, before);
}

TEST(Today, IsADate) {
  const std::string day = today();
  ASSERT_EQ(day.size(), 10u);
  EXPECT_EQ(day[4], '-');
  EXPECT_EQ(day[7], '-');
  EXPECT_GE(day, "2026-01-01");
}

}  // namespace
}  // namespace parallel_opt
