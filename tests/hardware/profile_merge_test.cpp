#include "parallel_opt/hardware/profile_merge.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/load.h"

namespace parallel_opt {
namespace {

using Lines = std::vector<std::string>;

/// alpha 10 us, beta 1 / 100 GB/s
std::vector<MessageTime> straight_line(double latency_s, double bytes_per_s) {
  std::vector<MessageTime> points;
  for (const double bytes : {1e4, 1e6, 1e8}) {
    points.push_back({bytes, latency_s + bytes / bytes_per_s});
  }
  return points;
}

ImportedProfile measured_a100() {
  ImportedProfile profile;
  profile.name = "mine";
  profile.source = "a test";
  profile.rates = {
      {"A100-SXM-40GB", {"matmul", DType::bf16, 0, {{1e9, 2e14}}, Quality::measured, "elsewhere"}}};
  ProfiledTransfer transfer;
  transfer.collective = "p2p";
  transfer.device = "A100-SXM-40GB";
  transfer.points = straight_line(1e-5, 1e11);
  profile.transfers.push_back(transfer);
  transfer.scope = TransferScope::cluster;
  transfer.ranks = 1;
  transfer.points = straight_line(5e-5, 2e9);
  profile.transfers.push_back(transfer);
  transfer.ranks = 4;  // of each node: what all of them reach together
  transfer.points = straight_line(6e-5, 6e9);
  profile.transfers.push_back(transfer);
  return profile;
}

TEST(AddProfile, RatesReplaceThoseOfTheirKernelAndType) {
  Cluster cluster = load_cluster("4xA100-40GB+4xV100-16GB");
  const Cluster before = cluster;
  EXPECT_EQ(add_profile(cluster, measured_a100(), "p"), std::vector<Fault>{});
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  const RateCurve* curve = find_rate(cluster.devices[0], "matmul", DType::bf16, 0);
  EXPECT_EQ(curve->source, "elsewhere");
  EXPECT_EQ(cluster.devices[0].rates.size(), before.devices[0].rates.size());
  EXPECT_EQ(cluster.devices[4], before.devices[4]);  // the V100 was not measured
  EXPECT_EQ(cluster.profiles.size(), 1u);
  EXPECT_EQ(load_cluster("4xA100-40GB").profiles.size(), 0u);
}

TEST(AddProfile, TransfersReplaceWhatJoinsDevicesOfTheirType) {
  Cluster cluster = load_cluster("2n4xA100-40GB");
  EXPECT_EQ(add_profile(cluster, measured_a100(), "p"), std::vector<Fault>{});
  const std::optional<Link> inside = find_link(cluster, DeviceId(0), DeviceId(1));
  EXPECT_NEAR(inside->bytes_per_s.value, 1e11, 1e6);
  EXPECT_NEAR(inside->latency_s.value, 1e-5, 1e-9);
  EXPECT_EQ(inside->bytes_per_s.quality, Quality::calibrated);
  // PCIe beside it was not measured.
  const std::optional<Link> pcie = find_link(cluster, DeviceId(0), DeviceId(1), "PCIe4x16");
  EXPECT_EQ(pcie->bytes_per_s.quality, Quality::database);
  // Four devices share what the node was measured to send: 6 GB/s / 4
  const std::optional<Link> between = find_link(cluster, DeviceId(0), DeviceId(4));
  EXPECT_NEAR(between->bytes_per_s.value, 6e9 / 4, 1e5);
}

TEST(AddProfile, ProcessorsOfTheNodesDoNotHideWhatTheGpusReach) {
  Cluster cluster = load_cluster("2n4xA100-40GB,2xEPYC-7742");  // as discovery finds such hosts
  EXPECT_EQ(add_profile(cluster, measured_a100(), "p"), std::vector<Fault>{});
  const std::optional<Link> between = find_link(cluster, DeviceId(0), DeviceId(6));
  EXPECT_NEAR(between->bytes_per_s.value, 6e9 / 4, 1e5);
  EXPECT_EQ(between->bytes_per_s.quality, Quality::calibrated);
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(4))->bytes_per_s.quality, Quality::database);
}

TEST(AddProfile, NetworksThatJoinOtherDevicesTooStay) {
  Cluster cluster = load_cluster("4xA100-40GB+4xV100-16GB");
  const std::optional<Link> before = find_link(cluster, DeviceId(0), DeviceId(4));
  EXPECT_EQ(add_profile(cluster, measured_a100(), "p"), std::vector<Fault>{});
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(4)), before);
}

TEST(AddProfile, WhatDoesNotFitIsAFaultAndChangesNothing) {
  Cluster cluster = load_cluster("2xL4");
  const Cluster before = cluster;
  const auto text = [](const std::vector<Fault>& faults) {
    return faults.empty() ? "accepted" : to_string(faults[0]);
  };
  EXPECT_EQ(text(add_profile(cluster, measured_a100(), "c.yaml:profiles[0]")),
            "c.yaml:profiles[0]: is of devices that the cluster does not have: A100-SXM-40GB (it "
            "has L4)");
  EXPECT_EQ(cluster, before);
  Cluster twice = load_cluster("2xA100-40GB");
  EXPECT_EQ(add_profile(twice, measured_a100(), "a"), std::vector<Fault>{});
  EXPECT_EQ(text(add_profile(twice, measured_a100(), "b")),
            "b: is called \"mine\", as another profile is (give it a name of its own)");
}

class NamedProfiles : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(directory); }
  void TearDown() override { std::filesystem::remove_all(directory); }
  Lines faults_of(const std::string& profiles) const {
    Lines lines;
    const std::string path = directory + "/c.json";
    write_file(path, R"({"nodes": [{"devices": "2xA100-40GB"}], "profiles": )" + profiles + "}");
    try {
      load_cluster(path);
    } catch (const InputError& error) {
      for (const Fault& fault : error.faults()) lines.push_back(to_string(fault));
    }
    return lines;
  }
  const std::string directory = testing::TempDir() + "named_profiles_" + std::to_string(::getpid());
};

TEST_F(NamedProfiles, AreReadBesideTheClusterFile) {
  write_file(directory + "/mine.json", to_json(measured_a100()));
  EXPECT_EQ(faults_of(R"(["mine.json"])"), Lines{});
  const Cluster cluster = load_cluster(directory + "/c.json");
  ASSERT_EQ(cluster.profiles.size(), 1u);
  EXPECT_EQ(cluster.profiles[0].name, "mine");
  EXPECT_EQ(find_rate(cluster.devices[1], "matmul", DType::bf16, 0)->source, "elsewhere");
  // What `hardware` writes holds the profile itself.
  write_file(directory + "/whole.json", to_json(cluster));
  EXPECT_EQ(load_cluster(directory + "/whole.json"), cluster);
}

TEST_F(NamedProfiles, EveryFaultIsToldAtOnce) {
  ImportedProfile broken = measured_a100();
  broken.source = "";
  write_file(directory + "/broken.json", to_json(broken));
  write_file(directory + "/other.json", "{}");
  const Lines faults = faults_of(R"(["none.json", "broken.json", "other.json"])");
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_EQ(faults[0], directory + "/c.json:profiles[0]: cannot be read: " + directory +
                           "/none.json: No such file or directory (is the path right?)");
  EXPECT_EQ(faults[1], directory + "/broken.json:profile.source: is empty (say who measured it)");
  EXPECT_TRUE(faults[2].starts_with(directory + "/other.json: is in no profile format"))
      << faults[2];
}

}  // namespace
}  // namespace parallel_opt
