#include "parallel_opt/graph/batch_dim.h"

#include <algorithm>

#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {
namespace {

/// A sum over samples stays a sum under these: everything else that reads one mixes samples.
bool is_linear(const Graph& graph, const Op& op) {
  const std::optional<OpRow> row = find_row(graph, op);
  if (!row) return false;
  if (row->op_class == OpClass::view || row->op_class == OpClass::copy) return true;
  for (const std::string_view name :
       {"aten.add", "aten.sub", "aten.mul", "aten.div", "aten.neg", "aten.sum", "aten.mean"}) {
    if (row->target == name) return true;
  }
  return false;
}

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph), summed_(graph.tensors.size(), false) {
    found_.axis.assign(graph.tensors.size(), -1);
    found_.inner.assign(graph.tensors.size(), 1);
    found_.use.assign(graph.ops.size(), BatchUse::none);
  }

  BatchDims run() {
    inputs();
    for (std::size_t i = 0; found_.size > 0 && i < graph_.ops.size(); ++i) visit(i);
    return std::move(found_);
  }

 private:
  void inputs() {
    for (const TensorId id : graph_.inputs) {
      const Tensor& input = graph_.tensor(id);
      if (input.shape.empty()) continue;
      const Dim& first = input.shape.front();
      if (found_.size == 0) {
        found_.size = first.size;
        found_.symbol = first.expression;
      }
      if (first.size == found_.size && first.expression == found_.symbol) {
        found_.axis[id.index()] = 0;
      }
    }
  }

  void visit(std::size_t i) {
    const Op& op = graph_.ops[i];
    bool samples = false;
    int sums = 0;
    for (const Operand& input : op.inputs) {
      if (!input.tensor.valid()) continue;
      samples = samples || found_.axis[input.tensor.index()] >= 0;
      sums += summed_[input.tensor.index()] ? 1 : 0;
    }
    if (!samples && sums == 0) return;
    const std::optional<OpRow> row = find_row(graph_, op);
    if (row && row->space == "=size") return;
    BatchUse use = samples ? follow(op) : BatchUse::summed;
    if (sums > 0 && (samples || sums > 1 || !is_linear(graph_, op))) {
      const bool sum_of_sums = !samples && is_linear(graph_, op) &&
                               op.target.find("mul") == op.target.npos &&
                               op.target.find("div") == op.target.npos;
      if (!sum_of_sums) use = BatchUse::mixed;
    }
    if (use == BatchUse::summed) {
      for (const TensorId id : op.outputs) {
        if (id.valid()) summed_[id.index()] = true;
      }
    }
    found_.use[i] = use;
    if (use == BatchUse::mixed) found_.mixing.push_back(OpId(i));
    if (use == BatchUse::unknown) found_.unknown.push_back(OpId(i));
  }

  /// A view by factors keeps the order of elements: the samples are where as many elements lie to
  /// their right as before.
  BatchUse reshape(const Op& op) {
    const TensorId from = op.inputs.front().tensor;
    if (!from.valid() || op.outputs.empty() || !op.outputs.front().valid()) {
      return BatchUse::unknown;
    }
    const Tensor& x = graph_.tensor(from);
    const Tensor& y = graph_.tensor(op.outputs.front());
    std::int64_t right = found_.inner[from.index()];
    for (std::size_t i = static_cast<std::size_t>(found_.axis[from.index()]) + 1;
         i < x.shape.size(); ++i) {
      right *= x.shape[i].size;
    }
    std::int64_t after = 1;  // elements to the right of axis i
    for (std::size_t i = y.shape.size(); i-- > 0; after *= y.shape[i].size) {
      const std::int64_t axis = y.shape[i].size;
      if (right < after || right * found_.size > after * axis || axis == 1) continue;
      if (right % after != 0 || axis % (right / after * found_.size) != 0) break;
      found_.axis[op.outputs.front().index()] = static_cast<int>(i);
      found_.inner[op.outputs.front().index()] = right / after;
      return BatchUse::separate;
    }
    return found_.size == 1 ? BatchUse::separate : BatchUse::unknown;
  }

  /// Which dimension the samples index, its role, and where it goes in the results.
  BatchUse follow(const Op& op) {
    const std::optional<OpRow> row = find_row(graph_, op);
    if (row && row->space == "=reshape") return reshape(op);
    const IterationSpace space = iteration_space(graph_, op);
    if (space.dims.empty()) return BatchUse::unknown;
    BatchUse use = BatchUse::separate;
    for (std::size_t k = 0; k < op.inputs.size(); ++k) {
      if (!op.inputs[k].tensor.valid()) continue;
      const int axis = found_.axis[op.inputs[k].tensor.index()];
      if (axis < 0) continue;
      const int d = space.operands[k][static_cast<std::size_t>(axis)];
      if (d < 0) return BatchUse::unknown;
      const IterationDim& dim = space.dims[static_cast<std::size_t>(d)];
      if (dim.size % found_.size != 0) return BatchUse::unknown;
      if (dim.role == DimRole::reduced) use = std::max(use, BatchUse::summed);
      if (dim.role == DimRole::mixed || dim.role == DimRole::selected) use = BatchUse::mixed;
      for (std::size_t r = 0; r < op.outputs.size(); ++r) {
        if (!op.outputs[r].valid()) continue;
        const std::vector<int>& axes = space.results[r];
        const auto at = std::find(axes.begin(), axes.end(), d);
        if (at != axes.end()) {
          found_.axis[op.outputs[r].index()] = static_cast<int>(at - axes.begin());
          found_.inner[op.outputs[r].index()] = found_.inner[op.inputs[k].tensor.index()];
        }
      }
    }
    return use;
  }

  const Graph& graph_;
  BatchDims found_;
  std::vector<bool> summed_;
};

}  // namespace

BatchDims find_batch(const Graph& graph) { return Finder(graph).run(); }

}  // namespace parallel_opt
