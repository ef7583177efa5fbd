#include "parallel_opt/hardware/load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/database.h"

namespace parallel_opt {
namespace {

std::string error_of(const std::string& spec) {
  try {
    load_cluster(spec);
  } catch (const InputError& error) {
    return error.what();
  } catch (const SystemError& error) {
    return std::string("system: ") + error.what();
  }
  return "accepted";
}

TEST(Database, EveryRecordIsUsable) {
  const DeviceDatabase database = load_database();
  EXPECT_GE(database.gpus.size(), 12u);
  EXPECT_GE(database.cpus.size(), 12u);
  for (const GpuRecord& gpu : database.gpus) {
    Cluster cluster = preset_cluster("2x" + gpu.name);
    EXPECT_EQ(check(cluster), std::vector<Fault>{}) << gpu.name;
    for (const auto& [dtype, peak] : gpu.flops_per_s) {
      EXPECT_TRUE(enum_from<DType>(dtype).has_value()) << gpu.name << " " << dtype;
      EXPECT_GT(peak, 1e12);
    }
    EXPECT_EQ(find_gpu(database, gpu.name), &gpu) << "two records answer to " << gpu.name;
    for (const std::string& alias : gpu.aliases) EXPECT_EQ(find_gpu(database, alias), &gpu);
    for (const std::string& name : gpu.driver_names) {
      EXPECT_EQ(find_gpu_by_driver_name(database, name), &gpu);
    }
  }
  for (const CpuRecord& cpu : database.cpus) {
    ASSERT_EQ(cpu.models.size() % 2, 0u) << cpu.arch;
    for (const int model : cpu.models) {
      EXPECT_EQ(find_cpu(database, cpu.vendor, cpu.family, model), &cpu) << cpu.arch;
    }
  }
}

TEST(Database, UnknownDevicesAreAbsent) {
  const DeviceDatabase database = load_database();
  EXPECT_EQ(find_gpu(database, "H100-SXM"), nullptr);
  EXPECT_EQ(find_gpu_by_driver_name(database, "NVIDIA Z1"), nullptr);
  EXPECT_EQ(find_cpu(database, "GenuineIntel", 25, 17), nullptr);
}

TEST(Preset, TwoNodesOfEight) {
  const Cluster cluster = load_cluster("2n8xH100-SXM-80GB");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.name, "2n8xH100-SXM-80GB");
  EXPECT_EQ(cluster.nodes.size(), 2u);
  ASSERT_EQ(cluster.devices.size(), 16u);
  EXPECT_EQ(cluster.devices[7].node, 0);
  EXPECT_EQ(cluster.devices[8].node, 1);
  const Device& device = cluster.devices[8];
  EXPECT_EQ(device.kind, DeviceKind::gpu);
  EXPECT_EQ(device.memory_bytes.value, 80.0 * 1024 * 1024 * 1024);
  EXPECT_EQ(device.memory_bytes.quality, Quality::database);
  const RateCurve* curve = find_rate(device, "matmul", DType::bf16, 0);
  ASSERT_NE(curve, nullptr);
  EXPECT_EQ(curve->quality, Quality::database);
  EXPECT_NEAR(curve->points.back().per_second, 0.7 * 989.4e12 * 1000 / 1001, 1e6);
  EXPECT_EQ(device.power->max_w, exact(700, Quality::database));
  // 8 * 7 / 2 pairs in each node, and one way between the nodes
  EXPECT_EQ(cluster.links.size(), 2u * 28u + 1u);
  const Link* inside = find_link(cluster, DeviceId(9), DeviceId(12));
  EXPECT_EQ(inside->type, "NVLink4");
  EXPECT_EQ(inside->bytes_per_s.value, 0.75 * 450e9);
  EXPECT_EQ(inside->bytes_per_s.quality, Quality::database);
  const Link* between = find_link(cluster, DeviceId(3), DeviceId(12));
  EXPECT_EQ(between->type, "network");
  EXPECT_EQ(between->bytes_per_s.quality, Quality::assumed);
}

TEST(Preset, MixedDevicesStandInDifferentNodes) {
  const Cluster cluster = load_cluster("4xA100-40GB+4xV100-16GB");
  EXPECT_EQ(cluster.nodes.size(), 2u);
  EXPECT_EQ(document_of(cluster).summary->types,
            (std::map<std::string, int>{{"A100-SXM-40GB", 4}, {"V100-SXM-16GB", 4}}));
}

TEST(Preset, ANameAloneIsOneDeviceAndCaseDoesNotMatter) {
  EXPECT_EQ(load_cluster("h100-sxm-80gb").devices.size(), 1u);
  EXPECT_EQ(load_cluster("1xH100").devices, load_cluster("H100-SXM5-80GB").devices);
}

TEST(Preset, EveryFaultIsNamedWithTheNearestDevice) {
  EXPECT_EQ(error_of("2n8xH100-SXM-80G"),
            "--cluster 2n8xH100-SXM-80G: unknown device \"H100-SXM-80G\" (did you mean "
            "H100-SXM-80GB?)");
  EXPECT_EQ(error_of("0xH100"), "--cluster 0xH100: \"0xH100\" has a count outside 1 .. 100000");
  EXPECT_EQ(error_of("2nH100"),
            "--cluster 2nH100: \"2nH100\" has no device count (write NODESnCOUNTxDEVICE, as "
            "2n8xH100-SXM-80GB)");
  EXPECT_EQ(error_of("60000xH100+60000xA100"),
            "--cluster 60000xH100+60000xA100: has more than 100000 devices");
  const std::string both = error_of("4xA10O-40GB+0xL4");
  EXPECT_NE(both.find("did you mean A100-40GB?"), std::string::npos) << both;
  EXPECT_NE(both.find("\"0xL4\" has a count outside"), std::string::npos) << both;
  EXPECT_NE(error_of("qqqqqqqqqqqqqqqqqqqq").find("(known: P100-SXM-16GB, "), std::string::npos);
  EXPECT_NE(error_of("").find("unknown device \"\""), std::string::npos);
}

class ClusterFile : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(directory); }
  void TearDown() override { std::filesystem::remove_all(directory); }
  std::string write(const std::string& name, const std::string& text) {
    write_file(directory + "/" + name, text);
    return directory + "/" + name;
  }
  const std::string directory =
      testing::TempDir() + "cluster_file_test_" + std::to_string(::getpid());
};

TEST_F(ClusterFile, ReadsWhatHardwarePrints) {
  const Cluster cluster = load_cluster("2xL4");
  EXPECT_EQ(load_cluster(write("plain.json", to_json(cluster))), cluster);
  EXPECT_EQ(load_cluster(write("summary.json", to_json(document_of(cluster)))), cluster);
}

TEST_F(ClusterFile, BrokenFilesAreNamed) {
  EXPECT_EQ(error_of(directory + "/none.json"),
            "system: " + directory + "/none.json: No such file or directory (is the path right?)");
  EXPECT_EQ(error_of("cluster.yaml").substr(0, 12), "--cluster cl");  // no such file: a preset
  const std::string yaml = write("c.yaml", "nodes: []");
  EXPECT_EQ(error_of(yaml),
            yaml + ": is YAML, which this version does not read (write it as JSON)");
  Cluster cluster = load_cluster("1xL4");
  cluster.devices[0].node = 4;
  const std::string bad = write("bad.json", to_json(cluster));
  EXPECT_EQ(error_of(bad),
            bad + ":cluster.devices[0].node: is 4, but there are 1 nodes (nodes count from 0)");
}

TEST(Local, IsThisMachine) {
  const Cluster cluster = load_cluster("local");
  EXPECT_EQ(cluster.name, "local");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
}

}  // namespace
}  // namespace parallel_opt
