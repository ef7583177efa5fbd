#include "parallel_opt/hardware/load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/preset.h"

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
  const Cluster large = load_cluster("10n8xH100-SXM-80GB+2n2xEPYC-9654");  // written with `like`
  EXPECT_EQ(load_cluster(write("large.json", to_json(large))), large);
}

TEST_F(ClusterFile, BrokenFilesAreNamed) {
  EXPECT_EQ(error_of(directory + "/none.json"),
            "system: " + directory + "/none.json: No such file or directory (is the path right?)");
  EXPECT_EQ(error_of("none.yaml"),
            "system: none.yaml: No such file or directory (is the path right?)");
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
