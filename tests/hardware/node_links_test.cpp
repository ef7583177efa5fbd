#include "parallel_opt/hardware/node_links.h"

#include <gtest/gtest.h>

#include "parallel_opt/hardware/preset.h"

namespace parallel_opt {
namespace {

/// So many devices of one node, and links between pairs of them.
struct Pair {
  std::size_t a, b;
  const char* type;
  double bytes_per_s;
};
Cluster machine(std::size_t devices, const std::vector<Pair>& pairs) {
  Cluster cluster;
  cluster.nodes.emplace_back();
  Device gpu;
  gpu.name = "X1";
  gpu.kind = DeviceKind::gpu;
  cluster.devices.assign(devices, gpu);
  for (const Pair& pair : pairs) {
    cluster.links.push_back(
        {DeviceId(pair.a), DeviceId(pair.b), pair.type, exact(5e-6), exact(pair.bytes_per_s)});
  }
  return cluster;
}

NodeLinks links_of(const Cluster& cluster, int at = 0) {
  return node_reach(cluster, at).value_or(NodeReach()).links;
}

TEST(NodeLinks, AGroupUsesTheLinksThatJoinIt) {
  const NodeLinks mesh{448e9, 64e9, LinkShape::mesh};
  EXPECT_EQ(mesh.among(2), 64e9);
  EXPECT_EQ(mesh.among(4), 3 * 64e9);
  EXPECT_EQ(mesh.among(8), 448e9);
  const NodeLinks torus{300e9, 50e9, LinkShape::torus};
  EXPECT_EQ(torus.among(2), 50e9);
  EXPECT_EQ(torus.among(8), 3 * 50e9);  // 2 x 2 x 2
  EXPECT_EQ(torus.among(64), 300e9);    // 4 x 4 x 4, closed
  EXPECT_EQ(torus.among(4096), 300e9);
  const NodeLinks switched{450e9, 450e9, LinkShape::switched};
  EXPECT_EQ(switched.among(2), 450e9);
}

TEST(NodeLinks, EightOfACubeShareItsLinksUnevenly) {
  NodeLinks cube{150e9, 25e9, LinkShape::mesh};
  cube.cube = true;
  EXPECT_EQ(cube.among(2), 25e9);
  EXPECT_EQ(cube.among(4), 100e9);
  EXPECT_EQ(cube.among(8), 150e9);
}

TEST(NodeLinks, AGroupOfATorusHasTheLinksOfItsAxes) {
  const NodeLinks cube{300e9, 50e9, LinkShape::torus};
  EXPECT_EQ(cube.among(8, 512), 2 * 50e9);   // one closed axis of 8 x 8 x 8
  EXPECT_EQ(cube.among(64, 512), 4 * 50e9);  // the two others
  EXPECT_EQ(cube.among(512, 512), 6 * 50e9);
  EXPECT_EQ(cube.among(2, 512), 50e9);
  // A pod of 16 x 16 whose own axes alone are closed: corners of smaller squares have two links.
  const NodeLinks square{200e9, 50e9, LinkShape::torus, 16};
  EXPECT_EQ(square.among(256), 200e9);
  EXPECT_EQ(square.among(64), 100e9);
  EXPECT_EQ(square.among(4), 100e9);
  EXPECT_EQ(square.among(16, 256), 100e9);
}

TEST(NodeLinks, MoreRanksNeverHaveLessOfTheirLinks) {
  // Between one pair's links and all, whatever the shape, where the axes close and who shares them.
  for (const LinkShape shape : {LinkShape::switched, LinkShape::mesh, LinkShape::torus}) {
    for (const double closed : {2.0, 4.0, 16.0}) {
      for (const double dimensions : {1.0, 2.0, 3.0}) {
        const double all = shape == LinkShape::torus ? 2 * dimensions * 50e9 : 350e9;
        const NodeLinks links{all, shape == LinkShape::switched ? all : 50e9, shape, closed};
        for (const double whole : {0.0, 4096.0}) {
          double least = links.pair_bytes_per_s;
          for (double ranks = 2; ranks <= 4096; ranks *= 2) {
            const double rate = links.among(ranks, whole);
            EXPECT_GE(rate, least) << ranks << " of " << whole;
            EXPECT_LE(rate, all) << ranks << " of " << whole;
            least = rate;
          }
        }
      }
    }
  }
}

TEST(NodeLinks, TwoDevicesOfAMeshHaveOneLinkOfSeven) {
  const Cluster cluster = preset_cluster("8xMI300X");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  // 64 GB/s of each of seven links, three quarters reached: AMD measures 48
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(5))->bytes_per_s.value, 48e9);
  const NodeLinks links = links_of(cluster);
  EXPECT_EQ(links.all_bytes_per_s, 7 * 48e9);
  EXPECT_EQ(links.pair_bytes_per_s, 48e9);
  EXPECT_EQ(links.shape, LinkShape::mesh);
  // A switch gives two devices everything.
  const Cluster switched = preset_cluster("8xH100");
  EXPECT_EQ(find_link(switched, DeviceId(0), DeviceId(5))->bytes_per_s.value, 0.75 * 450e9);
  EXPECT_EQ(links_of(switched).pair_bytes_per_s, 0.75 * 450e9);
}

TEST(NodeLinks, DiscoveredPairsAddUpToAMesh) {
  std::vector<Pair> pairs;
  for (std::size_t a = 0; a < 4; ++a) {
    for (std::size_t b = a + 1; b < 4; ++b) pairs.push_back({a, b, "xGMI", 96e9});
  }
  const NodeLinks links = links_of(machine(4, pairs), 2);
  EXPECT_EQ(links.all_bytes_per_s, 3 * 96e9);
  EXPECT_EQ(links.pair_bytes_per_s, 96e9);
  EXPECT_EQ(links.among(2), 96e9);
}

TEST(NodeLinks, ARingPassesDevicesThatOnlyTheBusJoins) {
  // 0 - 1 - 2 - 3 - 0 by NVLink, the diagonals by PCIe, as in a cube of eight
  const Cluster cluster = machine(4, {{0, 1, "NVLink2", 50e9},
                                      {1, 2, "NVLink2", 25e9},
                                      {2, 3, "NVLink2", 50e9},
                                      {3, 0, "NVLink2", 25e9},
                                      {0, 2, "PCIe3x16", 12e9},
                                      {1, 3, "PCIe3x16", 12e9}});
  EXPECT_EQ(links_of(cluster).all_bytes_per_s, 75e9);
  EXPECT_EQ(links_of(cluster).pair_bytes_per_s, 25e9);
}

TEST(NodeLinks, BridgedPairsMeetOverTheBus) {
  const Cluster cluster = machine(4, {{0, 1, "NVLink3", 200e9},
                                      {2, 3, "NVLink3", 200e9},
                                      {0, 2, "PCIe4x16", 25e9},
                                      {0, 3, "PCIe4x16", 25e9},
                                      {1, 2, "PCIe4x16", 20e9},
                                      {1, 3, "PCIe4x16", 25e9}});
  const NodeLinks links = links_of(cluster);
  EXPECT_EQ(links.all_bytes_per_s, 20e9);  // the bus is shared: no sum
  EXPECT_EQ(links.among(2), 20e9);
  // A bridge of two is all that two have.
  EXPECT_EQ(links_of(machine(2, {{0, 1, "NVLink3", 200e9}})).all_bytes_per_s, 200e9);
}

TEST(NodeLinks, ALinkOfSomeLeavesTheSwitchOfAll) {
  Cluster cluster = preset_cluster("4xH100");
  cluster.links.push_back({DeviceId(0), DeviceId(1), "direct", exact(1e-6), exact(1e9)});
  EXPECT_EQ(links_of(cluster).all_bytes_per_s, 0.75 * 450e9);
  EXPECT_FALSE(node_reach(machine(2, {}), 0).has_value());
}

}  // namespace
}  // namespace parallel_opt
