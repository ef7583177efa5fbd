#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "parallel_opt/importers/model.h"
#include "tests/importers/archive.h"
#include "tests/importers/onnx_writer.h"

namespace parallel_opt {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// A directory with "weights.bin" of 64 bytes, and one outside of it with "secret.bin".
class OnnxExternal : public ::testing::Test {
 protected:
  void SetUp() override {
    root = fs::path(::testing::TempDir()) / ("onnx_external_" + std::to_string(::getpid()));
    fs::create_directories(root / "model");
    std::ofstream(root / "model" / "weights.bin", std::ios::binary) << std::string(64, '\0');
    std::ofstream(root / "secret.bin", std::ios::binary) << std::string(64, '\0');
  }
  void TearDown() override { fs::remove_all(root); }

  /// x @ w with w [4, 4], 64 bytes, in an external file.
  std::string model_with(const std::vector<std::pair<std::string, std::string>>& entries) {
    std::string stored = weight("w", {4, 4});
    protozero::pbf_writer writer(stored);
    for (const auto& [key, value] : entries) writer.add_message(13, key_value(key, value));
    writer.add_int64(14, 1);
    return model({.nodes = {{"MatMul", {"x", "w"}, {"y"}}},
                  .inputs = {value_info("x", {"2", "4"})},
                  .outputs = {value_info("y", {"2", "4"})},
                  .initializers = {stored}});
  }

  std::string error(const std::vector<std::pair<std::string, std::string>>& entries) {
    return error_of([&] { read_onnx(model_with(entries), "m.onnx", (root / "model").string()); });
  }

  fs::path root;
};

TEST_F(OnnxExternal, WeightsBesideTheModelAreCounted) {
  EXPECT_EQ(error({{"location", "weights.bin"}, {"offset", "0"}, {"length", "64"}}), "no error");
  const fs::path file = root / "model" / "m.onnx";
  std::ofstream(file, std::ios::binary) << model_with({{"location", "weights.bin"}});
  const Graph graph = load_model(file.string());
  EXPECT_EQ(count_parameters(graph).parameters, 16);
  EXPECT_EQ(graph.name, "m");
  EXPECT_EQ(graph.source, "m.onnx");
}

TEST_F(OnnxExternal, MissingWeightsAreANote) {
  const Graph graph =
      read_onnx(model_with({{"location", "gone.bin"}}), "m.onnx", (root / "model").string());
  EXPECT_EQ(graph.notes,
            (std::vector<std::string>{
                "the file \"gone.bin\" with weights is not there: shapes are read, weights are "
                "not needed"}));
}

TEST_F(OnnxExternal, PathsOutOfTheDirectoryAreRefused) {
  const std::string where = "m.onnx:graph.initializer[0].external_data: ";
  EXPECT_EQ(
      error({{"location", "../secret.bin"}}),
      where +
          "the file \"../secret.bin\" leaves the directory of the model (keep the weights beside "
          "the model)");
  EXPECT_EQ(
      error({{"location", "/etc/passwd"}}),
      where +
          "the file \"/etc/passwd\" leaves the directory of the model (keep the weights beside the "
          "model)");
  EXPECT_EQ(
      error({{"location", "a/../../secret.bin"}}),
      where +
          "the file \"a/../../secret.bin\" leaves the directory of the model (keep the weights "
          "beside the model)");
  EXPECT_EQ(error({}), where + "the file \"\" names no file (keep the weights beside the model)");
}

TEST_F(OnnxExternal, LinksOutOfTheDirectoryAreRefused) {
  fs::create_symlink(root / "secret.bin", root / "model" / "link.bin");
  EXPECT_EQ(
      error({{"location", "link.bin"}}),
      "m.onnx:graph.initializer[0].external_data: the file \"link.bin\" is a link that leaves the "
      "directory of the model (keep the weights beside the model)");
}

TEST_F(OnnxExternal, BytesBeyondTheEndAreAFault) {
  EXPECT_EQ(error({{"location", "weights.bin"}, {"offset", "32"}, {"length", "64"}}),
            "m.onnx:graph.initializer[0].external_data: bytes 32 to 32 + 64 are beyond the end of "
            "\"weights.bin\", 64 bytes (is the download complete?)");
  EXPECT_EQ(error({{"location", "weights.bin"}, {"length", "60"}}),
            "m.onnx:graph.initializer[0].external_data: has 60 bytes, its shape needs 64");
  EXPECT_EQ(error({{"location", "weights.bin"}, {"offset", "-1"}}),
            "m.onnx:graph.initializer[0].external_data: the offset is no whole number");
  EXPECT_EQ(error({{"location", "weights.bin"}, {"length", "99999999999999999999"}}),
            "m.onnx:graph.initializer[0].external_data: the length is no whole number");
}

TEST_F(OnnxExternal, ShapesInExternalFilesAreRead) {
  std::string target = list("target", {});
  const std::int64_t values[] = {2, -1};
  std::ofstream(root / "model" / "weights.bin", std::ios::binary)
      << std::string(8, '\xff')
      << std::string(reinterpret_cast<const char*>(values), sizeof values);
  target = tensor("target", {2}, kInt64, "");
  protozero::pbf_writer writer(target);
  writer.add_message(13, key_value("location", "weights.bin"));
  writer.add_message(13, key_value("offset", "8"));
  writer.add_int64(14, 1);
  const std::string bytes = model({.nodes = {{"Reshape", {"x", "target"}, {"y"}}},
                                   .inputs = {value_info("x", {"3", "4"})},
                                   .outputs = {value_info("y", {"2", "6"})},
                                   .initializers = {target}});
  const Graph graph = read_onnx(bytes, "m.onnx", (root / "model").string());
  EXPECT_EQ(sizes(graph, graph.outputs[0]), "[2, 6]");
}

TEST_F(OnnxExternal, MissingModelIsASystemError) {
  EXPECT_EQ(error_of([&] { load_onnx("/nowhere/m.onnx"); }),
            "system: /nowhere/m.onnx: No such file or directory (is the path right?)");
}

}  // namespace
}  // namespace parallel_opt
