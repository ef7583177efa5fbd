#include "parallel_opt/importers/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "parallel_opt/graph/graph_json.h"
#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using testing::error_of;

const std::string kWay =
    " (export it in Python: torch.export.save(torch.export.export(model, args), \"model.pt2\"), or "
    "python -m parallel_opt.capture file.py:factory -o model.pt2)";

const std::string kFormats =
    " (a model is a .pt2 or .onnx file, a TensorFlow SavedModel directory (or DIR:SIGNATURE) or "
    "GraphDef .pb, a StableHLO .mlir, a Hugging Face config.json, a graph's .json, "
    "transformer:layers=32,..., or file.py:factory)";

std::string error_of_spec(const std::string& spec) {
  return error_of([&] { load_model(spec); });
}

TEST(LoadModel, ReadsPt2WhateverItIsCalled) {
  for (const char* name : {"load_model_test.pt2", "load_model_test.bin"}) {
    const std::string path = ::testing::TempDir() + name;
    std::ofstream(path, std::ios::binary) << testing::make_pt2(testing::linear_model().json());
    const Graph graph = load_model(path);
    EXPECT_EQ(graph.name, "load_model_test");
    EXPECT_EQ(graph.source, name);
    EXPECT_EQ(graph.ops.size(), 1u);
    std::filesystem::remove(path);
  }
}

TEST(LoadModel, MissingFileIsASystemError) {
  EXPECT_EQ(error_of_spec("/nowhere/m.pt2"),
            "system: /nowhere/m.pt2: No such file or directory (is the path right?)");
}

TEST(LoadModel, WhatIsNotReadSaysTheWay) {
  EXPECT_EQ(error_of_spec("m.pb"), "system: m.pb: No such file or directory (is the path right?)");
  EXPECT_EQ(error_of_spec("m.mlir"),
            "system: m.mlir: No such file or directory (is the path right?)");
  EXPECT_EQ(error_of_spec("weights.safetensors"),
            "weights.safetensors: holds weights without a graph" + kWay);
  EXPECT_EQ(error_of_spec("model.keras"),
            "model.keras: .keras files are not read (write a SavedModel in Keras: "
            "model.export(\"DIR\"))");
  EXPECT_EQ(error_of_spec("nothing"), "system: nothing: no such model" + kFormats);
  EXPECT_EQ(error_of_spec(""), "model: the name is empty" + kWay);
}

TEST(LoadModel, AnUnknownSuffixNamesEveryFormat) {
  const std::string path = ::testing::TempDir() + "load_model_test";
  for (const auto& [name, fault] : {std::pair<std::string, std::string>{
                                        path + ".caffemodel", "has the unknown suffix .caffemodel"},
                                    {path, "has no suffix and is no archive of torch.export"}}) {
    std::ofstream(name) << "x";
    EXPECT_EQ(error_of_spec(name), name + ": " + fault + kFormats);
    std::filesystem::remove(name);
  }
}

TEST(LoadModel, ADirectoryHoldsAConfigurationOrASavedModel) {
  const std::filesystem::path directory = ::testing::TempDir() + "load_model_checkpoint";
  std::filesystem::create_directories(directory);
  EXPECT_EQ(error_of_spec(directory.string()),
            directory.string() + ": is a directory with neither saved_model.pb nor config.json" +
                kFormats);
  std::ofstream(directory / "config.json") << R"({"model_type": "llama", "num_hidden_layers": 1})";
  EXPECT_EQ(load_model(directory.string()).name, "llama");
  std::filesystem::remove_all(directory);
}

TEST(LoadModel, JsonIsAGraphDocumentOrAConfiguration) {
  const std::string path = ::testing::TempDir() + "load_model_test.json";
  const Graph written = load_model("transformer:layers=1,hidden=64,vocab=32");
  std::ofstream(path) << to_json(written);
  EXPECT_EQ(load_model(path), written);
  std::ofstream(path) << R"({"model_type": "llama", "num_hidden_layers": 1})";
  EXPECT_EQ(load_model(path).name, "llama");
  std::ofstream(path) << "{}";
  EXPECT_EQ(error_of_spec(path),
            path + ":model_type: is missing (is this a Hugging Face config.json?)");
  std::filesystem::remove(path);
}

TEST(LoadModel, SavedModelDirectoryIsRecognised) {
  const std::filesystem::path directory = ::testing::TempDir() + "load_model_saved";
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "saved_model.pb") << "x";
  EXPECT_EQ(error_of_spec(directory.string()),
            (directory / "saved_model.pb").string() +
                ": is damaged: end of buffer exception (is the download complete?)");
  std::filesystem::remove_all(directory);
}

TEST(LoadModel, PythonFactoriesAreCapturedByPython) {
  EXPECT_TRUE(is_python_factory("train.py:build"));
  EXPECT_FALSE(is_python_factory("train.py"));
  EXPECT_FALSE(is_python_factory("train.py:"));
  EXPECT_FALSE(is_python_factory(".py:build"));
  EXPECT_EQ(error_of_spec("train.py:build"),
            "train.py:build: a Python factory is captured by Python, not read by this program "
            "(python -m parallel_opt.capture train.py:build -o model.pt2)");
  EXPECT_EQ(error_of_spec("train.py"),
            "train.py: names no factory in the Python file "
            "(name the function that returns the model: train.py:build_model)");
}

}  // namespace
}  // namespace parallel_opt
