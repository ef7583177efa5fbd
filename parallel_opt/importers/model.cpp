#include "parallel_opt/importers/model.h"

#include <filesystem>
#include <fstream>
#include <string_view>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/file_system.h"
#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/importers/hf_config.h"
#include "parallel_opt/importers/inline_spec.h"
#include "parallel_opt/importers/onnx.h"
#include "parallel_opt/importers/pt2.h"
#include "parallel_opt/importers/stablehlo.h"
#include "parallel_opt/importers/tensorflow.h"

namespace parallel_opt {

const char* const kModelFormats =
    "a .pt2 or .onnx file, a TensorFlow SavedModel directory (or DIR:SIGNATURE) or GraphDef .pb, a "
    "StableHLO .mlir, a Hugging Face config.json, a graph's .json, transformer:layers=32,..., or "
    "file.py:factory";

namespace {

namespace fs = std::filesystem;

const char* const kExport =
    "export it in Python: torch.export.save(torch.export.export(model, args), \"model.pt2\"), or "
    "python -m parallel_opt.capture file.py:factory -o model.pt2";

/// A Graph document names its schema in its first line; any other JSON is a Hugging Face
/// configuration.
Graph load_json(const std::string& spec) {
  const std::string text = read_file(spec);
  const bool graph =
      std::string_view(text).substr(0, 200).find("\"parallel-opt/graph/") != std::string_view::npos;
  return graph ? graph_from_json(text, spec) : read_hf_config(text, spec);
}

/// What no suffix claims: torch.export saves its archive, a zip, under any name.
Graph load_by_content(const std::string& spec) {
  const fs::path path(spec);
  std::error_code error;
  const std::string formats = std::string("a model is ") + kModelFormats;
  if (fs::is_directory(path, error)) {
    const fs::path config = path / "config.json";
    if (fs::is_regular_file(config, error)) return load_json(config.string());
    throw InputError(spec, "is a directory with neither saved_model.pb nor config.json", formats);
  }
  if (!fs::is_regular_file(path, error)) throw SystemError(spec, "no such model", formats);
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  if (std::string_view(magic, 2) == "PK") return load_pt2(spec);
  const std::string suffix = path.extension().string();
  throw InputError(spec,
                   suffix.empty() ? "has no suffix and is no archive of torch.export"
                                  : "has the unknown suffix " + suffix,
                   formats);
}

}  // namespace

bool is_python_factory(const std::string& spec) {
  const std::size_t colon = spec.rfind(".py:");
  return colon != std::string::npos && colon > 0 && colon + 4 < spec.size();
}

Graph load_model(const std::string& spec) {
  if (spec.empty()) throw InputError("model", "the name is empty", kExport);
  if (is_python_factory(spec)) {
    throw InputError(spec, "a Python factory is captured by Python, not read by this program",
                     "python -m parallel_opt.capture " + spec + " -o model.pt2");
  }
  if (spec.starts_with("transformer:")) return read_inline_spec(spec);
  if (is_saved_model(spec)) return load_tensorflow(spec);
  const std::string suffix = fs::path(spec).extension().string();
  if (suffix == ".pt2") return load_pt2(spec);
  if (suffix == ".onnx") return load_onnx(spec);
  if (suffix == ".mlir" || suffix == ".stablehlo") return load_stablehlo(spec);
  if (suffix == ".txt" && looks_like_stablehlo(spec)) return load_stablehlo(spec);
  if (suffix == ".pb") return load_tensorflow(spec);
  if (suffix == ".json") return load_json(spec);
  if (suffix == ".pt" || suffix == ".pth" || suffix == ".safetensors") {
    throw InputError(spec, "holds weights without a graph", kExport);
  }
  if (suffix == ".keras" || suffix == ".h5" || suffix == ".tflite") {
    throw InputError(spec, suffix + " files are not read",
                     "write a SavedModel in Keras: model.export(\"DIR\")");
  }
  if (suffix == ".py") {
    throw InputError(spec, "names no factory in the Python file",
                     "name the function that returns the model: " + spec + ":build_model");
  }
  return load_by_content(spec);
}

}  // namespace parallel_opt
