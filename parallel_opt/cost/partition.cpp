#include <map>
#include <set>
#include <utility>

#include "parallel_opt/cost/policy_graph.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/work.h"

/// What compiled code keeps for its backward. torch.compile cuts the joint graph of both passes
/// where the fewest bytes cross (torch/_functorch/partitioners.py, min-cut rematerialisation);
/// these are the rules that decide most cuts.
namespace parallel_opt::cost_detail {
namespace {

/// The backward asks only on which side of a bound each value lay: one byte instead of the value.
bool needs_a_side(const Op& op) {
  static const std::set<std::string_view> targets = {
      "aten.clamp",      "aten.clamp_max", "aten.clamp_min", "aten.hardtanh",
      "aten.leaky_relu", "aten.relu",      "aten.relu6",     "aten.threshold"};
  const OpRow* row = find_row(op.target);
  return row != nullptr && targets.contains(row->target);
}

/// The backward needs the places of the maxima alone, one byte each (Inductor's low-memory
/// pooling).
bool pools_maxima(const Op& op) { return op.target.starts_with("aten.max_pool2d"); }

/// Who asks for a storage in the backward.
struct Readers {
  bool kernel = false;  ///< one that no compiler fuses: it must be in memory
  bool value = false;   ///< a fused one that needs its values
};

std::map<TensorId, Readers> readers_of(const PolicyGraph& g) {
  std::map<TensorId, Readers> readers;
  for (std::size_t i = 0; i < g.graph.ops.size(); ++i) {
    const Op& op = g.graph.ops[i];
    if (op.phase != Phase::forward || pools_maxima(op)) continue;
    for (const TensorId id : saved_for_backward(g.graph, op, g.needs).tensors) {
      const TensorId storage = g.owner[id.index()];
      if (g.low_op[i] && g.is_cast(storage)) continue;  // a copy of its own
      Readers& by = readers[storage];
      by.kernel = by.kernel || g.group_of[i] < 0;
      by.value = by.value || !needs_a_side(op);
    }
  }
  return readers;
}

/// What a fused norm keeps beside its operand: one number per row, no copy of the rows. Others: as
/// eager code.
Affine statistics(const PolicyGraph& g, const Kept& k) {
  const Op& op = g.graph.ops[k.op];
  if (g.group_of[k.op] < 0 || op_class(g.graph, op) != OpClass::normalization) return k.bytes;
  const Tensor& result = g.graph.tensor(op.outputs.front());
  const double row = result.shape.empty() ? 1 : double(result.shape.back().size);
  const double most = 4 * double(elements(result)) / row;
  const double now = k.bytes.at(double(g.batch));
  if (now <= 2 * most || now <= 0) return k.bytes;
  return {k.bytes.fixed * most / now, k.bytes.per_sample * most / now};
}

/// The way back from a storage to what is held or read from memory, within its kernel.
struct Recomputation {
  const PolicyGraph& g;
  const std::set<TensorId>& held;
  int group;
  std::set<TensorId> seen;
  std::vector<TensorId> missing;  ///< results of other kernels that would have to be held
  bool possible = true;

  void need(TensorId storage) {
    if (!seen.insert(storage).second || lives_anyway(g.graph.tensor(storage).role)) return;
    const int from = g.producer[storage.index()];
    const int made_in = from < 0 ? -1 : g.group_of[std::size_t(from)];
    const bool far = made_in >= 0 && made_in != group;  // its values are used far apart
    if (!far && held.contains(storage)) return;
    if (made_in < 0) {
      missing.push_back(storage);
    } else if (far || never_again(g.graph.ops[std::size_t(from)], storage)) {
      possible = false;
    } else {
      for (const Operand& operand : g.graph.ops[std::size_t(from)].inputs) {
        if (operand.tensor.valid()) need(g.owner[operand.tensor.index()]);
      }
    }
  }
  /// Rows that a table was asked for, and reductions to a quarter: little memory for much work.
  bool never_again(const Op& op, TensorId result) const {
    if (op_class(g.graph, op) == OpClass::embedding) return true;
    double read = 0;
    for (const Operand& operand : op.inputs) {
      if (operand.tensor.valid()) read += g.tensor_bytes(operand.tensor);
    }
    return 4 * g.tensor_bytes(result) < read;
  }
};

/// Storages that stay for the backward, decided in the order of the operators.
class Partition {
 public:
  explicit Partition(const PolicyGraph& g) : g_(g), readers_(readers_of(g)) {
    for (const auto& [storage, by] : readers_) {
      if (by.kernel || (by.value && group_that_makes(storage) < 0)) held_.insert(storage);
    }
  }

  std::vector<Kept> of(const std::vector<Kept>& eager) {
    for (const Kept& k : eager) {
      if (!pools_maxima(g_.graph.ops[k.op])) {
        keep(k);
      } else if (!k.storage.valid() || g_.producer[k.storage.index()] == int(k.op)) {
        list_.push_back({k.op, {}, scaled(k.bytes, 1.0 / 8)});  // places: int64 in eager code
      } else if (readers_.contains(k.storage)) {
        keep(k);  // another operator asks for what is pooled
      }
    }
    return std::move(list_);
  }

 private:
  static Affine scaled(const Affine& bytes, double share) {
    return {share * bytes.fixed, share * bytes.per_sample};
  }
  int group_that_makes(TensorId storage) const {
    const int from = g_.producer[storage.index()];
    return from < 0 ? -1 : g_.group_of[std::size_t(from)];
  }

  void keep(const Kept& k) {
    if (!k.storage.valid()) {
      list_.push_back({k.op, {}, statistics(g_, k)});
    } else if (const auto by = readers_.find(k.storage);
               by == readers_.end() || held_.contains(k.storage)) {
      list_.push_back(k);
    } else {
      choose(k, by->second);
    }
  }

  /// Computed again from what its kernel reads, or kept itself, or kept as sides of a bound. Chains
  /// over several kernels are not computed again: a residual sum is kept, not its terms.
  void choose(const Kept& k, const Readers& by) {
    Recomputation again{g_, held_, group_that_makes(k.storage), {}, {}};
    if (again.group >= 0) again.need(k.storage);
    double cost = 0;
    for (const TensorId id : again.missing) cost += g_.tensor_bytes(id);
    const double own = g_.tensor_bytes(k.storage);
    again.possible = again.possible && again.group >= 0 && cost <= own;
    const double sides = double(elements(g_.graph.tensor(k.storage)));
    if (!by.value && !(again.possible && cost <= sides)) {
      list_.push_back({k.op, {}, scaled(k.bytes, sides / own)});
      return;
    }
    if (!again.possible) again.missing = {k.storage};
    for (const TensorId id : again.missing) {
      held_.insert(id);
      list_.push_back({k.op, id, g_.tensor_affine(id)});
    }
  }

  const PolicyGraph& g_;
  std::map<TensorId, Readers> readers_;
  std::set<TensorId> held_;
  std::vector<Kept> list_;
};

}  // namespace

std::vector<Kept> PolicyGraph::kept() const {
  std::vector<Kept> eager = kept_eagerly();
  return policy.compile ? Partition(*this).of(eager) : eager;
}

}  // namespace parallel_opt::cost_detail
