#include "parallel_opt/plan/batch.h"

#include <algorithm>
#include <string_view>

namespace parallel_opt {

std::int64_t batch_of(const Graph& graph) {
  for (const TensorId id : graph.inputs) {
    const Tensor& tensor = graph.tensor(id);
    if (!tensor.shape.empty()) return std::max<std::int64_t>(1, tensor.shape.front().size);
  }
  return 1;
}

std::int64_t global_batch_of(const Graph& graph, const Job& job) {
  return job.global_batch > 0 ? job.global_batch : batch_of(graph);
}

std::vector<bool> grows_with_batch(const Graph& graph) {
  std::vector<bool> grows(graph.tensors.size(), false);
  for (const TensorId id : graph.inputs) grows[id.index()] = !graph.tensor(id).shape.empty();
  for (const Op& op : graph.ops) {
    const bool any = std::ranges::any_of(op.inputs, [&](const Operand& operand) {
      return operand.tensor.valid() && grows[operand.tensor.index()];
    });
    for (const TensorId id : op.outputs) {
      if (id.valid() && any) grows[id.index()] = true;
    }
  }
  return grows;
}

std::string batch_mixing_op(const Graph& graph, bool training) {
  const auto flag = [](const Op& op, const char* name, bool otherwise) {
    const auto it = op.attributes.find(name);
    if (it == op.attributes.end()) return otherwise;
    const bool* value = std::get_if<bool>(&it->second);
    return value ? *value : otherwise;
  };
  for (const Op& op : graph.ops) {
    const std::string_view target = op.target;
    if (target.find("batch_norm") == std::string_view::npos) continue;
    if (target.find("no_training") != std::string_view::npos) continue;
    // instance_norm shares the kernel but normalises each sample alone: another target.
    if (flag(op, "training", training) || flag(op, "train", false)) return op.name;
  }
  return {};
}

}  // namespace parallel_opt
