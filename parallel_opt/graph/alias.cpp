#include "parallel_opt/graph/alias.h"

#include <string_view>
#include <unordered_map>

#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {
namespace {

/// Can `view` give `tensor` the new shape? Axes are grouped so that products agree; inside a group
/// the old axes must lie one behind the other in memory.
bool view_possible(const Tensor& tensor, const std::vector<Dim>& shape) {
  std::size_t i = 0;
  std::size_t k = 0;
  while (i < tensor.shape.size()) {
    const std::size_t first = i;
    std::int64_t left = tensor.shape[i++].size;
    std::int64_t right = k < shape.size() ? shape[k++].size : 1;
    while (left != right) {
      if (left < right && i < tensor.shape.size()) {
        left *= tensor.shape[i++].size;
      } else if (right < left && k < shape.size()) {
        right *= shape[k++].size;
      } else {
        return true;  // sizes that do not agree are no fault of the strides
      }
    }
    if (!axes_merge(tensor, first, i - 1)) return false;
  }
  return true;
}

bool same_layout(const Tensor& a, const Tensor& b) {
  return strides_of(a) == strides_of(b) || (is_contiguous(a) && is_contiguous(b));
}

/// Does the result share the storage of the first operand?
bool shares_first(const Graph& graph, const Tensor& from, const Op& op, const Tensor& result) {
  const std::optional<OpRow> row = find_row(graph, op);
  if (!row) return false;
  if (is_in_place(op)) return true;
  if (op.target == kJoin) return elements(from) == elements(result);  // else runs are stacked
  if (row->op_class == OpClass::view) {
    if (row->space == "=size") return false;
    const bool may_copy = row->target == "aten.reshape" || row->target == "aten.flatten" ||
                          row->target == "aten.reshape_as";
    return !may_copy || view_possible(from, result.shape);
  }
  if (row->target == "aten.contiguous") return same_layout(from, result);
  if (row->target == "aten.to" || row->target == "aten.type_as" || row->target == "aten.float" ||
      row->target.starts_with("aten._autocast")) {
    return from.dtype == result.dtype && same_layout(from, result) && attribute(op, "copy", 0) == 0;
  }
  return row->target.ends_with("dropout") && row->target != "aten.native_dropout" &&
         (attribute(op, "train", 1) == 0 || attribute_real(op, "p", 0.5) == 0);
}

}  // namespace

bool is_in_place(const Op& op) {
  std::string_view name = op.target;
  const std::size_t first = name.find('.');
  if (first != std::string_view::npos) name = name.substr(0, name.find('.', first + 1));
  return name.ends_with('_') && (!name.ends_with("__") || name.find("__i") != name.npos);
}

namespace {

/// What a loop carries is in the storage that the run before left.
void alias_carried(Graph& graph) {
  std::unordered_map<std::string_view, TensorId> by_name;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    by_name.emplace(graph.tensors[i].name, TensorId(i));
  }
  for (const Op& op : graph.ops) {
    if (!enters_loop(op) || op.outputs.empty() || !op.outputs.front().valid()) continue;
    Tensor& carried = graph.tensors[op.outputs.front().index()];
    const auto* name = std::get_if<std::string>(&op.attributes.at("carried"));
    const auto left = name == nullptr ? by_name.end() : by_name.find(*name);
    if (left == by_name.end() || carried.alias_of.valid()) continue;
    const TensorId owner = storage_owner(graph, left->second);
    // A value that no run changes stays the one the loop began with.
    if (owner != op.outputs.front()) {
      carried.alias_of = owner;
    } else if (!op.inputs.empty()) {
      carried.alias_of = op.inputs.front().tensor;
    }
  }
}

}  // namespace

bool enters_loop(const Op& op) { return op.target == kJoin && op.attributes.contains("carried"); }

void fill_aliases(Graph& graph) {
  bool loops = false;
  for (const Op& op : graph.ops) {
    if (enters_loop(op)) {
      loops = true;
      continue;
    }
    if (op.inputs.empty() || !op.inputs.front().tensor.valid()) continue;
    const TensorId from = op.inputs.front().tensor;
    for (std::size_t i = 0; i < op.outputs.size(); ++i) {
      if (!op.outputs[i].valid()) continue;
      Tensor& result = graph.tensors[op.outputs[i].index()];
      if (result.alias_of.valid() || result.role != TensorRole::activation) continue;
      if (op.target.starts_with("aten.broadcast_tensors")) {  // one view per operand
        if (i < op.inputs.size()) result.alias_of = op.inputs[i].tensor;
        continue;
      }
      const bool every_result = op_class(graph, op) == OpClass::view;
      if ((i == 0 || every_result) && shares_first(graph, graph.tensor(from), op, result)) {
        result.alias_of = from;
      }
    }
  }
  if (loops) alias_carried(graph);
}

TensorId storage_owner(const Graph& graph, TensorId id) {
  while (graph.tensor(id).alias_of.valid()) id = graph.tensor(id).alias_of;
  return id;
}

std::vector<TensorId> storage_owners(const Graph& graph) {
  std::vector<TensorId> owners(graph.tensors.size());
  for (std::size_t i = 0; i < owners.size(); ++i) owners[i] = storage_owner(graph, TensorId(i));
  return owners;
}

std::vector<std::int64_t> strides_of(const Tensor& tensor) {
  if (tensor.strides.size() == tensor.shape.size()) return tensor.strides;
  std::vector<std::int64_t> strides(tensor.shape.size(), 1);
  for (std::size_t i = strides.size(); i-- > 1;) {
    strides[i - 1] = strides[i] * tensor.shape[i].size;
  }
  return strides;
}

bool is_contiguous(const Tensor& tensor) {
  if (tensor.strides.size() != tensor.shape.size()) return true;
  std::int64_t step = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i].size != 1 && tensor.strides[i] != step) return false;
    step *= tensor.shape[i].size;
  }
  return true;
}

bool axes_merge(const Tensor& tensor, std::size_t first, std::size_t last) {
  if (tensor.strides.size() != tensor.shape.size()) return true;
  std::int64_t step = -1;  // stride that the next axis to the left must have
  for (std::size_t i = last + 1; i-- > first;) {
    if (tensor.shape[i].size == 1) continue;
    if (step >= 0 && tensor.strides[i] != step) return false;
    step = tensor.strides[i] * tensor.shape[i].size;
  }
  return true;
}

}  // namespace parallel_opt
