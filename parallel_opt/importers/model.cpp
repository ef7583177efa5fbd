#include "parallel_opt/importers/model.h"

#include <filesystem>

#include "parallel_opt/base/error.h"
#include "parallel_opt/importers/pt2.h"

namespace parallel_opt {
namespace {

const char* const kExport =
    "export it in Python: torch.export.save(torch.export.export(model, args), \"model.pt2\"), or "
    "python -m parallel_opt.capture file.py:factory -o model.pt2";

[[noreturn]] void not_yet(const std::string& spec, const std::string& kind) {
  throw InputError(spec, kind + " is not read yet, only .pt2 files", kExport);
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
  if (path.extension() == ".pt2") return load_pt2(spec);
  if (spec.starts_with("transformer:")) not_yet(spec, "an inline model");
  if (path.extension() == ".onnx") not_yet(spec, "an ONNX model");
  if (path.extension() == ".pb" || std::filesystem::exists(path / "saved_model.pb", error)) {
    not_yet(spec, "a TensorFlow model");
  }
  if (path.extension() == ".json") not_yet(spec, "a Hugging Face configuration");
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
