#include "parallel_opt/hardware/cluster.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

Cluster two_cpus() {
  Cluster cluster;
  Node node;
  node.name = "host";
  node.memory_bytes = exact(8e9);
  cluster.nodes = {node};
  Device device;
  device.name = "cpu";
  device.memory_bytes = exact(4e9);
  device.cores = {0, 1};
  device.rates = {{"matmul", DType::fp32, 0, {{1e6, 1e9}, {1e8, 1e11}}, Quality::measured, "t"}};
  cluster.devices = {device, device};
  cluster.devices[1].cores = {2, 3};
  cluster.links = {{DeviceId(0), DeviceId(1), "shared-memory", exact(1e-6), exact(1e9)}};
  return cluster;
}

constexpr char kNoInterval[] =
    "c.devices[0].memory_bytes: has no interval around its value (low <= value <= high)";

std::vector<std::string> lines(const std::vector<Fault>& faults) {
  std::vector<std::string> texts;
  for (const Fault& fault : faults) texts.push_back(to_string(fault));
  return texts;
}

using Lines = std::vector<std::string>;

TEST(Check, AcceptsAWellFormedCluster) { EXPECT_EQ(lines(check(two_cpus())), Lines{}); }

TEST(Check, AnEmptyClusterHasNothing) {
  EXPECT_EQ(lines(check(Cluster())),
            (Lines{"cluster.nodes: is empty (a cluster has a machine)",
                   "cluster.devices: is empty (a cluster has something that computes)"}));
}

TEST(Check, NamesEveryBrokenRule) {
  Cluster cluster = two_cpus();
  cluster.nodes[0].threads = 0;
  cluster.nodes[0].cpu_quota = -1;
  cluster.devices[0].node = 3;
  cluster.devices[0].memory_bytes = {4, 5, 6, Quality::measured};
  cluster.devices[1].name = "";
  cluster.devices[1].power = Power{exact(10), exact(5)};
  cluster.devices[1].rates.edit()[0].points = {{10, 1}, {10, 0}};
  cluster.devices[1].rates.push_back({"", std::nullopt, -1, {}, Quality::assumed, ""});
  cluster.links.push_back({DeviceId(0), DeviceId(7), "wire", exact(-1), exact(0)});
  EXPECT_EQ(lines(check(cluster, "c")),
            (Lines{"c.nodes[0].threads: is less than 1",
                   "c.nodes[0].cpu_quota: is not positive (leave it out where nothing is limited)",
                   "c.devices[0].node: is 3, but there are 1 nodes (nodes count from 0)",
                   kNoInterval, "c.devices[1].name: is empty",
                   "c.devices[1].rates[0].points[1].per_s: is not positive",
                   "c.devices[1].rates[0].points[1].size: does not rise (sort the points by size)",
                   "c.devices[1].rates[1].kernel: is empty",
                   "c.devices[1].rates[1].threads: is negative (0 means the whole device)",
                   "c.devices[1].rates[1].points: is empty (a curve has a point)",
                   "c.devices[1].power: idles at more watts than its maximum",
                   "c.links[1].b: is 7, but there are 2 devices (devices count from 0)",
                   "c.links[1].latency_s.value: is negative",
                   "c.links[1].bytes_per_s.value: is not positive"}));
}

TEST(ClusterJson, AnAbsentQuotaIsAbsentAndAnOldZeroIsReadAsNone) {
  Cluster cluster = two_cpus();
  EXPECT_EQ(to_json(cluster).find("cpu_quota"), std::string::npos);
  cluster.nodes[0].cpu_quota = 1.5;
  std::string text = to_json(cluster);
  EXPECT_EQ(from_json<Cluster>(text, "c"), cluster);
  text.replace(text.find("1.5"), 3, "0");
  EXPECT_EQ(from_json<Cluster>(text, "c").nodes[0].cpu_quota, std::nullopt);
}

TEST(Check, ACoreBelongsToOneDevice) {
  Cluster cluster = two_cpus();
  cluster.devices[1].cores = {1, 2};
  EXPECT_EQ(lines(check(cluster)),
            Lines{"cluster.devices[1].cores[0]: core 1 belongs to another device already"});
  cluster.devices[1].kind = DeviceKind::gpu;  // near a core, not its owner
  EXPECT_EQ(lines(check(cluster)), Lines{});
}

TEST(Check, TwoLinksOfOneTypeBetweenTwoDevicesAreOneTooMany) {
  Cluster cluster = two_cpus();
  cluster.links.push_back(cluster.links[0]);
  std::swap(cluster.links[1].a, cluster.links[1].b);
  EXPECT_EQ(lines(check(cluster)),
            Lines{"cluster.links[1]: the same two devices have a link of type \"shared-memory\" "
                  "already"});
  cluster.links[1].type = "loopback";
  EXPECT_EQ(lines(check(cluster)), Lines{});
}

TEST(HardwareHash, IgnoresWhatWasMeasured) {
  const Cluster cluster = two_cpus();
  Cluster measured = cluster;
  measured.devices[0].rates.clear();
  measured.devices[0].memory_bytes = exact(1);
  measured.links[0].bytes_per_s = exact(5);
  measured.notes = {"probed"};
  EXPECT_EQ(hardware_hash(measured), hardware_hash(cluster));
  EXPECT_EQ(hardware_hash(cluster).size(), 16u);
}

TEST(HardwareHash, TellsTypesCountsAndLinksApart) {
  const Cluster cluster = two_cpus();
  Cluster name = cluster, cores = cluster, link = cluster, threads = cluster;
  name.devices[1].name = "other";
  cores.devices[1].cores = {2};
  link.links[0].type = "loopback";
  threads.nodes[0].threads = 7;
  for (const Cluster& other : {name, cores, link, threads}) {
    EXPECT_NE(hardware_hash(other), hardware_hash(cluster));
  }
}

Device device_with_threads(const std::vector<int>& counts) {
  Device device;
  device.cores = {0, 1, 2, 3};
  for (const int n : counts) {
    device.rates.push_back({"matmul", DType::fp32, n, {{1, double(n) + 1}}, Quality::measured, ""});
  }
  return device;
}

int found_threads(const Device& device, int wanted) {
  return find_rate(device, "matmul", DType::fp32, wanted)->threads;
}

TEST(FindRate, TakesTheThreadCountOrTheNearestBelow) {
  const Device device = device_with_threads({0, 1, 2});
  EXPECT_EQ(found_threads(device, 1), 1);
  EXPECT_EQ(found_threads(device, 2), 2);
  EXPECT_EQ(found_threads(device, 3), 2);
  EXPECT_EQ(found_threads(device, 4), 0);  // four cores are the whole device
  EXPECT_EQ(found_threads(device, 0), 0);
}

TEST(FindRate, WithNothingBelowTheSmallestStandsIn) {
  EXPECT_EQ(found_threads(device_with_threads({0, 3}), 2), 3);
  EXPECT_EQ(found_threads(device_with_threads({0}), 1), 0);
}

TEST(FindRate, UnknownKernelOrTypeIsAbsent) {
  const Device device = device_with_threads({1});
  EXPECT_EQ(find_rate(device, "attention", DType::fp32, 1), nullptr);
  EXPECT_EQ(find_rate(device, "matmul", DType::bf16, 1), nullptr);
  EXPECT_EQ(find_rate(device, "matmul", std::nullopt, 1), nullptr);
}

TEST(RateAt, InterpolatesInTheLogarithmAndIsFlatOutside) {
  const RateCurve curve = two_cpus().devices[0].rates[0];
  EXPECT_DOUBLE_EQ(rate_at(curve, 1e6), 1e9);
  EXPECT_NEAR(rate_at(curve, 1e7), 1e10, 1);  // half way in both logarithms
  EXPECT_DOUBLE_EQ(rate_at(curve, 1e8), 1e11);
  EXPECT_DOUBLE_EQ(rate_at(curve, 1), 1e9);
  EXPECT_DOUBLE_EQ(rate_at(curve, 1e12), 1e11);
  EXPECT_THROW(rate_at(RateCurve(), 1), InternalError);
}

TEST(FindLink, TakesEitherDirectionAndTheFastestType) {
  Cluster cluster = two_cpus();
  cluster.links.push_back({DeviceId(1), DeviceId(0), "loopback", exact(1e-5), exact(5e8)});
  EXPECT_EQ(find_link(cluster, DeviceId(1), DeviceId(0))->type, "shared-memory");
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(1), "loopback")->type, "loopback");
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(0)), std::nullopt);
}

TEST(FindLink, NodesReachEachOtherThroughTheirSlowerNetwork) {
  Cluster cluster = two_cpus();
  cluster.nodes.resize(3, cluster.nodes[0]);
  cluster.devices.resize(4, cluster.devices[0]);
  for (const auto& [device, node] : {std::pair(1, 1), {2, 2}, {3, 2}}) {
    cluster.devices[std::size_t(device)].node = node;
  }
  cluster.links = {{DeviceId(0), DeviceId(1), "network", exact(1e-6), exact(1e9)},
                   {DeviceId(0), DeviceId(2), "network", exact(1e-6), exact(4e9)}};
  EXPECT_EQ(find_link(cluster, DeviceId(3), DeviceId(0)), cluster.links[1]);
  EXPECT_EQ(find_link(cluster, DeviceId(3), DeviceId(1)), cluster.links[0]);
  EXPECT_EQ(find_link(cluster, DeviceId(3), DeviceId(2)),
            std::nullopt);  // one node, no link stated
}

TEST(ClusterDocument, IsTheClusterWithCountsAndReadsBack) {
  const Cluster cluster = two_cpus();
  const std::string text = to_json(document_of(cluster));
  EXPECT_EQ(text.find("\"schema\": \"parallel-opt/cluster/1\""), 4u);  // "{\n  " and then it
  EXPECT_NE(text.find("\"types\": {\n      \"cpu\": 2\n    }"), std::string::npos) << text;
  EXPECT_EQ(from_json<ClusterDocument>(text, "c.json"), document_of(cluster));
  EXPECT_EQ(from_json<ClusterDocument>(to_json(cluster), "c.json").cluster, cluster);
}

}  // namespace
}  // namespace parallel_opt
