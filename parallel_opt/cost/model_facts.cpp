#include <algorithm>
#include <cctype>
#include <map>

#include "parallel_opt/base/hash.h"
#include "parallel_opt/cost/profile.h"
#include "parallel_opt/cost/rates.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/plan/batch.h"

namespace parallel_opt {
namespace {

/// "encoder.layer.3.attention.self" -> "encoder.layer.3": the outermost numbered module.
std::string block_of(const std::string& module) {
  std::size_t begin = 0;
  while (begin < module.size()) {
    std::size_t end = module.find('.', begin);
    if (end == std::string::npos) end = module.size();
    const bool number =
        std::all_of(module.begin() + std::ptrdiff_t(begin), module.begin() + std::ptrdiff_t(end),
                    [](unsigned char c) { return std::isdigit(c); });
    if (number && end > begin) return module.substr(0, end);
    begin = end + 1;
  }
  return {};
}

std::string list_of(const std::string& block) {
  const std::size_t dot = block.rfind('.');
  return dot == std::string::npos ? std::string() : block.substr(0, dot);
}

struct Instance {
  std::string name;
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t operators = 0;
  bool computes = false;  ///< has an arithmetic operator: worth recomputing
  double bytes = 0;       ///< of its results
  Hasher hash{};
};

std::vector<Instance> instances(const Graph& graph) {
  std::vector<Instance> list;
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    std::string name = op.phase == Phase::forward ? block_of(op.module) : std::string();
    if (name.empty()) continue;
    const auto [it, fresh] = index.try_emplace(name, list.size());
    if (fresh) list.push_back({.name = std::move(name), .first = i});
    Instance& instance = list[it->second];
    instance.last = i;
    ++instance.operators;
    instance.computes = instance.computes || is_arithmetic(op_class(graph, op));
    instance.hash.add(op.target);
    for (const TensorId id : op.outputs) {
      if (!id.valid()) continue;
      instance.bytes += double(bytes(graph.tensor(id)).value);
      for (const Dim& dim : graph.tensor(id).shape) instance.hash.add(dim.size);
    }
  }
  return list;
}

constexpr std::size_t kSmallestBlock = 3;  ///< operators; a lone layer frees too little

void find_classes(const Graph& graph, ModelFacts& facts) {
  std::map<std::pair<std::string, std::uint64_t>, std::vector<const Instance*>> alike;
  const std::vector<Instance> all = instances(graph);
  for (const Instance& instance : all) {
    // A module that runs twice, or whose operators are interleaved with others, is no block.
    const bool whole = instance.last - instance.first + 1 == instance.operators;
    if (whole && instance.computes && instance.operators >= kSmallestBlock) {
      alike[{list_of(instance.name), instance.hash.value()}].push_back(&instance);
    }
  }
  std::vector<std::vector<const Instance*>> classes;
  for (auto& [key, members] : alike) {
    if (members.size() >= 2) classes.push_back(std::move(members));
  }
  const auto weight = [](const std::vector<const Instance*>& members) {
    return members.front()->bytes * double(members.size());
  };
  std::ranges::stable_sort(classes,
                           [&](const auto& a, const auto& b) { return weight(a) > weight(b); });
  if (classes.size() > kMaxBlockClasses) classes.resize(kMaxBlockClasses);
  std::ranges::sort(classes, {}, [](const auto& members) { return members.front()->first; });
  for (std::size_t c = 0; c < classes.size(); ++c) {
    BlockClass block_class;
    for (std::size_t b = 0; b < classes[c].size(); ++b) {
      const Instance& instance = *classes[c][b];
      block_class.blocks.push_back(instance.name);
      for (std::size_t i = instance.first; i <= instance.last; ++i) {
        facts.op_class[i] = int(c);
        facts.op_block[i] = int(b);
      }
    }
    facts.classes.push_back(std::move(block_class));
  }
}

}  // namespace

ModelFacts model_facts(const Graph& graph, bool training) {
  ModelFacts facts;
  facts.batch = batch_of(graph);
  facts.op_class.assign(graph.ops.size(), -1);
  facts.op_block.assign(graph.ops.size(), -1);
  const ParameterCount count = count_parameters(graph);
  facts.parameter_bytes = double(count.parameter_bytes.value);
  facts.buffer_bytes = double(count.buffer_bytes.value);
  std::map<double, double> sizes;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.role != TensorRole::parameter || !tensor.requires_grad || tensor.tied_to.valid())
      continue;
    const double size = double(bytes(tensor).value);
    facts.trainable_bytes += size;
    sizes[size] += 1;
  }
  facts.trainable.assign(sizes.begin(), sizes.end());
  for (const TensorId id : graph.inputs) {
    const Tensor& tensor = graph.tensor(id);
    if (!is_floating(tensor.dtype) && tensor.shape.size() == 2) {
      facts.tokens_per_sample = double(tensor.shape[1].size);
      break;
    }
  }
  for (const Op& op : graph.ops) {
    const bool norm = op.target.find("batch_norm") != std::string::npos;
    if (!training || op.phase != Phase::forward || !norm) continue;
    ++facts.batch_norms;
    if (op.outputs.empty() || !op.outputs.front().valid()) continue;
    facts.batch_norm_bytes +=
        double(bytes(graph.tensor(op.outputs.front())).value) / double(facts.batch);
  }
  facts.mixes_batch = !batch_mixing_op(graph, training).empty();
  find_classes(graph, facts);
  return facts;
}

}  // namespace parallel_opt
