#include "parallel_opt/importers/hf_config.h"

#include <algorithm>

#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/hf_families.h"

namespace parallel_opt {
namespace {

using hf::HfFamily;

const char* const kCapture =
    "capture it: python -m parallel_opt.capture file.py:factory -o model.pt2, or give "
    "file.py:factory as MODEL";

std::vector<HfFamily> all_families() {
  std::vector<HfFamily> all;
  for (const std::span<const HfFamily> part :
       {hf::decoder_families(), hf::expert_families(), hf::encoder_families(),
        hf::sequence_families(), hf::vision_families(), hf::state_space_families()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

const HfFamily& family_of(const JsonTree::Node& root, const std::string& name,
                          const std::vector<HfFamily>& families) {
  const JsonTree::Node type = root["model_type"];
  if (!type.is(JsonTree::Kind::string)) {
    throw InputError(name + ":model_type", type.none() ? "is missing" : "must be a string",
                     "is this a Hugging Face config.json?");
  }
  const auto known = std::find_if(families.begin(), families.end(),
                                  [&](const HfFamily& f) { return f.type == type.string(); });
  if (known != families.end()) return *known;
  const std::string nearest = nearest_match(type.string(), hf_families());
  throw InputError(name + ":model_type",
                   "unknown model type '" + std::string(type.string().substr(0, 60)) + "'",
                   (nearest.empty() ? "" : "the nearest known one is '" + nearest + "'; ") +
                       std::string(kCapture));
}

/// Sizes are each believable; their product may still not be.
void check_size(const Graph& graph, const std::string& name) {
  constexpr double kMost = 1e15;
  double parameters = 0;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.role != TensorRole::parameter) continue;
    double count = 1;
    for (const Dim& dim : tensor.shape) count *= static_cast<double>(dim.size);
    parameters += count;
  }
  if (parameters > kMost) {
    throw InputError(name, "describes " + show(parameters) + " parameters", "at most 1e15");
  }
}

}  // namespace

std::vector<std::string> hf_families() {
  std::vector<std::string> types;
  for (const HfFamily& family : all_families()) types.emplace_back(family.type);
  std::sort(types.begin(), types.end());
  return types;
}

Graph read_hf_config(std::string_view json, const std::string& name) {
  const JsonTree tree(json, name);
  if (!tree.root().is(JsonTree::Kind::object)) {
    throw InputError(name, "must hold one object", "is this a Hugging Face config.json?");
  }
  const std::vector<HfFamily> families = all_families();
  const HfFamily& family = family_of(tree.root(), name, families);
  std::vector<Fault> faults;
  hf::ConfigReader reader(tree.root(), name, faults);
  const DType dtype = reader.dtype();
  const auto write = family.read(reader);
  reader.ignore({"model_type", "architectures"});
  throw_if_any(std::move(faults));
  const JsonTree::Node architecture = tree.root()["architectures"].at(0);
  const std::string_view called =
      architecture.is(JsonTree::Kind::string) ? architecture.string() : family.type;
  hf::GraphWriter writer(std::string(called), name, dtype);
  const std::vector<std::string> unread = reader.unread();
  if (!unread.empty()) writer.note("not understood and left out: " + join(unread, ", "));
  Graph graph = write(writer);
  check_size(graph, name);
  return graph;
}

}  // namespace parallel_opt
