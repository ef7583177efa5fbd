#include "parallel_opt/cost/policy_graph.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/plan/batch.h"

namespace parallel_opt::cost_detail {
bool lives_anyway(TensorRole role) { return role != TensorRole::activation; }

bool is_fusible(OpClass c) {
  return !is_arithmetic(c) && c != OpClass::opaque && c != OpClass::view;
}

bool can_unfuse(const Graph& graph, const Op& op) {
  if (!op.target.starts_with("aten.scaled_dot_product_attention")) return false;
  if (attribute_real(op, "dropout_p", 0) != 0) return false;
  const TensorId query = operand(op, "query"), key = operand(op, "key");
  if (!query.valid() || !key.valid()) return false;
  const TensorId mask = operand(op, "attn_mask");
  return graph.tensor(query).shape.size() >= 3 && graph.tensor(key).shape.size() >= 3 &&
         !(mask.valid() && graph.tensor(mask).requires_grad);
}

PolicyGraph::PolicyGraph(const Graph& graph_in, const Policy& policy_in, std::int64_t batch_in)
    : graph(graph_in),
      policy(policy_in),
      batch(batch_in),
      grows(grows_with_batch(graph_in)),
      needs(needs_grad(graph_in)),
      owner(graph_in.tensors.size()),
      producer(graph_in.tensors.size(), -1),
      low_tensor(graph_in.tensors.size(), false),
      low_op(graph_in.ops.size(), false),
      group_of(graph_in.ops.size(), -1) {
  for (std::size_t i = 0; i < owner.size(); ++i) owner[i] = storage_owner(graph, TensorId(i));
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    for (const TensorId id : graph.ops[i].outputs) {
      if (id.valid()) producer[id.index()] = int(i);
    }
  }
  choose_precision();
  if (policy.compile) fuse();
}

bool PolicyGraph::unfuses(std::size_t op) const {
  return policy.attention == AttentionKernel::unfused && can_unfuse(graph, graph.ops[op]);
}

Affine PolicyGraph::scores(std::size_t op) const {
  const Tensor& query = graph.tensor(operand(graph.ops[op], "query"));
  const Tensor& key = graph.tensor(operand(graph.ops[op], "key"));
  const double rows =
      double(elements(query)) / double(std::max<std::int64_t>(1, query.shape.back().size));
  const double count = rows * double(key.shape[key.shape.size() - 2].size);
  return op_grows(graph.ops[op]) ? Affine{0, count / double(batch)} : Affine{count, 0};
}

void PolicyGraph::choose_precision() {
  if (policy.precision != Precision::bf16 && policy.precision != Precision::fp16) return;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    const OpClass c = op_class(graph, op);
    bool any = false, all = true;
    for (const Operand& operand : op.inputs) {
      if (!operand.tensor.valid()) continue;
      const Tensor& tensor = graph.tensor(operand.tensor);
      if (!is_floating(tensor.dtype) || tensor.role == TensorRole::parameter ||
          tensor.role == TensorRole::buffer) {
        continue;
      }
      any = true;
      all = all && low_tensor[operand.tensor.index()];
    }
    // Autocast: contractions convert their operands; other operators follow theirs, losses do not.
    low_op[i] = is_arithmetic(c);
    const bool low_result = low_op[i] || (any && all && c != OpClass::loss);
    for (const TensorId id : op.outputs) {
      if (id.valid() && low_result && graph.tensor(id).dtype == DType::fp32) {
        low_tensor[id.index()] = true;
      }
    }
  }
}

bool PolicyGraph::op_grows(const Op& op) const {
  return std::ranges::any_of(op.outputs,
                             [&](TensorId id) { return id.valid() && grows[id.index()]; });
}

double PolicyGraph::tensor_bytes(TensorId id) const {
  const Tensor& tensor = graph.tensor(id);
  return double(elements(tensor)) * double(low_tensor[id.index()] ? 2 : size_of(tensor.dtype));
}

Affine PolicyGraph::tensor_affine(TensorId id) const {
  const double bytes = tensor_bytes(id);
  return grows[id.index()] ? Affine{0, bytes / double(batch)} : Affine{bytes, 0};
}

bool PolicyGraph::is_cast(TensorId id) const {
  return graph.tensor(id).dtype == DType::fp32 && !low_tensor[id.index()];
}

double PolicyGraph::bytes_ratio(const Op& op) const {
  double as_captured = 0, as_planned = 0;
  const bool low = low_op[std::size_t(&op - graph.ops.data())];
  const auto count = [&](TensorId id) {
    if (!id.valid()) return;
    const Tensor& tensor = graph.tensor(id);
    as_captured += double(bytes(tensor).value);
    as_planned +=
        low && tensor.dtype == DType::fp32 ? 2.0 * double(elements(tensor)) : tensor_bytes(id);
  };
  for (const Operand& operand : op.inputs) count(operand.tensor);
  for (const TensorId id : op.outputs) count(id);
  return as_captured > 0 ? as_planned / as_captured : 1.0;
}

double PolicyGraph::constant_bytes(const Op& op) const {
  double sum = 0;
  const bool low = low_op[std::size_t(&op - graph.ops.data())];
  for (const Operand& operand : op.inputs) {
    if (!operand.tensor.valid() || grows[operand.tensor.index()]) continue;
    const Tensor& tensor = graph.tensor(operand.tensor);
    sum += low && tensor.dtype == DType::fp32 ? 2.0 * double(elements(tensor))
                                              : tensor_bytes(operand.tensor);
  }
  return sum;
}

/// Two fusible operators join when one reads the other's result and no other kernel must run
/// between them: both then have the same level, which only kernels of their own raise.
void PolicyGraph::fuse() {
  std::vector<int> level(graph.tensors.size(), 0), op_level(graph.ops.size(), 0);
  std::vector<int> joined(graph.ops.size());
  std::iota(joined.begin(), joined.end(), 0);
  const auto root = [&](int i) {
    while (joined[std::size_t(i)] != i) i = joined[std::size_t(i)];
    return i;
  };
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    const OpClass c = op_class(graph, op);
    int most = 0;
    for (const Operand& operand : op.inputs) {
      if (operand.tensor.valid()) most = std::max(most, level[operand.tensor.index()]);
    }
    op_level[i] = is_fusible(c) || c == OpClass::view ? most : most + 1;
    for (const TensorId id : op.outputs) {
      if (id.valid()) level[id.index()] = op_level[i];
    }
    if (!is_fusible(c) && c != OpClass::view) continue;
    for (const Operand& operand : op.inputs) {
      if (!operand.tensor.valid()) continue;
      const int from = producer[operand.tensor.index()];
      if (from < 0 || op_level[std::size_t(from)] != op_level[i]) continue;
      if (graph.ops[std::size_t(from)].region != op.region) continue;
      const OpClass other = op_class(graph, graph.ops[std::size_t(from)]);
      if (!is_fusible(other) && other != OpClass::view) continue;
      const int a = root(from), b = root(int(i));
      joined[std::size_t(std::max(a, b))] = std::min(a, b);
    }
  }
  std::map<int, int> group_at;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (!is_fusible(op_class(graph, graph.ops[i])) || graph.ops[i].phase != Phase::forward)
      continue;
    const auto [it, fresh] = group_at.try_emplace(root(int(i)), int(groups.size()));
    if (fresh) groups.emplace_back();
    group_of[i] = it->second;
    groups[std::size_t(it->second)].ops.push_back(i);
  }
  std::vector<std::vector<int>> readers(graph.tensors.size());  // per storage: operators but views
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (op_class(graph, graph.ops[i]) == OpClass::view) continue;
    for (const Operand& operand : graph.ops[i].inputs) {
      if (operand.tensor.valid()) readers[owner[operand.tensor.index()].index()].push_back(int(i));
    }
  }
  for (std::size_t i = 0; i < groups.size(); ++i) fill_group(groups[i], int(i), readers);
}

void PolicyGraph::fill_group(FusedGroup& group, int index,
                             const std::vector<std::vector<int>>& readers) const {
  std::set<TensorId> read, written, inner, kept_here;
  for (const std::size_t i : group.ops) {
    const Op& op = graph.ops[i];
    for (const TensorId id : saved_for_backward(graph, op, needs).tensors) {
      const TensorId storage = owner[id.index()];
      if (graph.tensor(storage).role != TensorRole::parameter) kept_here.insert(storage);
    }
    const OpClass c = op_class(graph, op);
    group.reduces = group.reduces || c == OpClass::normalization || c == OpClass::softmax ||
                    c == OpClass::loss || c == OpClass::reduction;
    group.signature += op.target;
    for (const TensorId id : op.outputs) {
      if (!id.valid()) continue;
      inner.insert(owner[id.index()]);
      group.needs_grad = group.needs_grad || needs[id.index()];
      for (const Dim& dim : graph.tensor(id).shape) {
        group.signature += ',' + std::to_string(dim.size);
      }
    }
    group.signature += ';';
  }
  for (const std::size_t i : group.ops) {
    for (const Operand& operand : graph.ops[i].inputs) {
      if (!operand.tensor.valid()) continue;
      const TensorId storage = owner[operand.tensor.index()];
      const TensorRole role = graph.tensor(storage).role;
      group.has_parameters = group.has_parameters || role == TensorRole::parameter;
      // Rows that an embedding does not pick are not read: its result's size stands for them.
      const bool table =
          op_class(graph, graph.ops[i]) == OpClass::embedding && role == TensorRole::parameter;
      if (!table && !inner.contains(storage)) read.insert(storage);
    }
  }
  for (const TensorId storage : inner) {
    const std::vector<int>& by = readers[storage.index()];
    if (std::ranges::any_of(by, [&](int i) { return group_of[std::size_t(i)] != index; })) {
      written.insert(storage);
    }
  }
  for (const TensorId id : graph.outputs) {
    if (inner.contains(owner[id.index()])) written.insert(owner[id.index()]);
  }
  group.inputs.assign(read.begin(), read.end());
  group.kept.assign(kept_here.begin(), kept_here.end());
  group.outputs.assign(written.begin(), written.end());
}

std::vector<TensorId> PolicyGraph::touched(std::size_t i) const {
  std::set<TensorId> storages;
  const auto add = [&](TensorId id) {
    if (!id.valid()) return;
    const TensorId storage = owner[id.index()];
    if (!lives_anyway(graph.tensor(storage).role)) storages.insert(storage);
  };
  if (group_of[i] >= 0) {
    const FusedGroup& group = groups[std::size_t(group_of[i])];
    for (const TensorId id : group.inputs) add(id);
    for (const TensorId id : group.outputs) add(id);
  } else {
    for (const Operand& operand : graph.ops[i].inputs) add(operand.tensor);
    for (const TensorId id : graph.ops[i].outputs) add(id);
  }
  return {storages.begin(), storages.end()};
}

std::vector<Kept> PolicyGraph::kept_eagerly() const {
  std::vector<Kept> list;
  const std::vector<double> alive = kept_runs(graph, needs);
  std::set<std::pair<TensorId, bool>> seen;  // storage, as a low-precision copy
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.phase != Phase::forward) continue;
    const Saved saved = saved_for_backward(graph, op, needs);
    for (const TensorId id : saved.tensors) {
      const TensorId storage = owner[id.index()];
      const bool copy = low_op[i] && is_cast(storage);
      const TensorRole role = graph.tensor(storage).role;
      // Weights are counted elsewhere, inputs live in the loop; a converted input is new.
      if (lives_anyway(role) && !(copy && role == TensorRole::input)) continue;
      if (!seen.insert({storage, copy}).second) continue;
      const int maker = producer[storage.index()];
      const RegionId made_in = maker < 0 ? RegionId() : graph.ops[std::size_t(maker)].region;
      const double times = made_in.valid() ? alive[made_in.index()] : 1;
      if (times == 0) continue;
      Affine bytes = tensor_affine(storage);
      bytes = {times * bytes.fixed, times * bytes.per_sample};
      if (copy) bytes = {bytes.fixed / 2, bytes.per_sample / 2};
      list.push_back({i, copy ? TensorId() : storage, bytes});
    }
    const double times = op.region.valid() ? alive[op.region.index()] : 1;
    if (unfuses(i)) {  // probabilities, instead of one number per row
      const Affine count = scores(i);
      const double size = times * (low_op[i] ? 2 : 4);
      list.push_back({i, {}, {size * count.fixed, size * count.per_sample}});
    } else if (saved.extra.value > 0 && times > 0) {
      const double extra = times * double(saved.extra.value);
      list.push_back({i, {}, op_grows(op) ? Affine{0, extra / double(batch)} : Affine{extra, 0}});
    }
  }
  return list;
}

int PolicyGraph::distinct_kernels(bool training) const {
  std::set<std::string> forward, backward;
  for (const FusedGroup& group : groups) {
    forward.insert(group.signature);
    if (training && group.needs_grad) backward.insert(group.signature);
  }
  return int(forward.size() + backward.size());
}

double PolicyGraph::weight_copies_bytes() const {
  std::set<TensorId> copied;
  double sum = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (!low_op[i]) continue;
    for (const Operand& operand : graph.ops[i].inputs) {
      if (!operand.tensor.valid() || !is_cast(operand.tensor)) continue;
      const Tensor& tensor = graph.tensor(operand.tensor);
      if (tensor.role != TensorRole::parameter) continue;
      const TensorId storage = tensor.tied_to.valid() ? tensor.tied_to : operand.tensor;
      if (copied.insert(storage).second) sum += 2.0 * double(elements(tensor));
    }
  }
  return sum;
}

}  // namespace parallel_opt::cost_detail
