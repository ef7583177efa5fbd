#include "parallel_opt/importers/model.h"

#include <filesystem>
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
namespace {

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
  const std::filesystem::path path(spec);
  std::error_code error;
  if (spec.starts_with("transformer:")) return read_inline_spec(spec);
  if (path.extension() == ".pt2") return load_pt2(spec);
  if (path.extension() == ".onnx") return load_onnx(spec);
  if (path.extension() == ".mlir" || path.extension() == ".stablehlo") return load_stablehlo(spec);
  if (path.extension() == ".txt" && looks_like_stablehlo(spec)) return load_stablehlo(spec);
  if (path.extension() == ".pb" || is_saved_model(spec)) return load_tensorflow(spec);
  if (path.extension() == ".json") return load_json(spec);
  if (path.extension() == ".pt" || path.extension() == ".pth" ||
      path.extension() == ".safetensors") {
    throw InputError(spec, "holds weights without a graph", kExport);
  }
  if (path.extension() == ".py") {
    throw InputError(spec, "names no factory in the Python file",
                     "name the function that returns the model: " + spec + ":build_model");
  }
  if (std::filesystem::is_regular_file(path, error)) return load_pt2(spec);  // by any other name
  throw InputError(spec, "no such model", kExport);
}

}  // namespace parallel_opt
