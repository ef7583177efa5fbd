#include "parallel_opt/graph/dependencies.h"

#include <algorithm>

#include "parallel_opt/graph/alias.h"

namespace parallel_opt {
namespace {

/// Follows reads and writes of one graph in execution order.
class Tracker {
 public:
  explicit Tracker(const Graph& graph)
      : graph_(graph),
        owners_(storage_owners(graph)),
        producer_(graph.tensors.size()),
        last_write_(graph.tensors.size()),
        readers_(graph.tensors.size()),
        written_(graph.tensors.size(), false) {
    for (const Op& op : graph.ops) {
      if (const TensorId id = target_of(op); id.valid()) written_[owner(id)] = true;
    }
  }

  /// What operator `i` waits for, ascending and each once; remembers what it reads and writes.
  const std::vector<OpId>& visit(std::size_t i) {
    const Op& op = graph_.ops[i];
    found_.clear();
    for (const Operand& input : op.inputs) {
      if (!input.tensor.valid()) continue;
      note(producer_[input.tensor.index()]);
      const std::size_t storage = owner(input.tensor);
      if (!written_[storage]) continue;
      note(last_write_[storage]);
      readers_[storage].push_back(OpId(i));
    }
    if (const TensorId target = target_of(op); target.valid()) {
      const std::size_t storage = owner(target);
      for (const OpId reader : readers_[storage]) {
        if (reader != OpId(i)) note(reader);
      }
      readers_[storage].clear();
      last_write_[storage] = OpId(i);
    }
    note_predicates(op.region);
    for (const TensorId id : op.outputs) {
      if (id.valid()) producer_[id.index()] = OpId(i);
    }
    std::ranges::sort(found_);
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    return found_;
  }

 private:
  static TensorId target_of(const Op& op) {
    return is_in_place(op) && !op.inputs.empty() ? op.inputs.front().tensor : TensorId();
  }
  std::size_t owner(TensorId id) const { return owners_[id.index()].index(); }
  void note(OpId op) {
    if (op.valid()) found_.push_back(op);
  }
  /// What decides that `region` runs, from the inside out. An operator that waits for another one
  /// of the region waits for the region's predicate through that one; the condition of a loop has
  /// no operator before it that is to wait.
  void note_predicates(RegionId region) {
    for (; region.valid(); region = graph_.region(region).parent) {
      const auto inside = [&](OpId op) { return encloses(graph_, region, graph_.op(op).region); };
      const TensorId predicate = graph_.region(region).predicate;
      if (predicate.valid() && graph_.region(region).kind == RegionKind::loop) {
        note(producer_[predicate.index()]);
      } else if (std::ranges::none_of(found_, inside)) {
        if (predicate.valid()) note(producer_[predicate.index()]);
      }
    }
  }

  const Graph& graph_;
  std::vector<TensorId> owners_;
  std::vector<OpId> producer_, last_write_;  // by tensor, by storage
  std::vector<std::vector<OpId>> readers_;   // by storage, since its last write
  std::vector<bool> written_;
  std::vector<OpId> found_;
};

}  // namespace

Dependencies::Dependencies(const Graph& graph) {
  Tracker tracker(graph);
  std::vector<std::size_t> count(graph.ops.size() + 1);
  before_.starts.reserve(count.size());
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    for (const OpId op : tracker.visit(i)) {
      before_.ops.push_back(op);
      ++count[op.index() + 1];
    }
    before_.starts.push_back(before_.ops.size());
  }
  for (std::size_t i = 1; i < count.size(); ++i) count[i] += count[i - 1];
  after_.starts = count;
  after_.ops.resize(before_.ops.size());
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    for (const OpId op : before(OpId(i))) after_.ops[count[op.index()]++] = OpId(i);
  }
}

Chain heaviest_chain(const Dependencies& dependencies, std::span<const double> weights) {
  std::vector<double> until(dependencies.size());
  std::vector<OpId> previous(dependencies.size());
  OpId last;
  for (std::size_t i = 0; i < until.size(); ++i) {
    double most = 0;
    for (const OpId op : dependencies.before(OpId(i))) {
      if (previous[i].valid() && until[op.index()] <= most) continue;
      most = until[op.index()];
      previous[i] = op;
    }
    until[i] = most + weights[i];
    if (!last.valid() || until[i] > until[last.index()]) last = OpId(i);
  }
  Chain chain;
  if (!last.valid()) return chain;
  chain.weight = until[last.index()];
  for (OpId op = last; op.valid(); op = previous[op.index()]) {
    if (weights[op.index()] > 0) chain.ops.push_back(op);
  }
  std::ranges::reverse(chain.ops);
  return chain;
}

std::vector<std::int32_t> earliest_levels(const Dependencies& dependencies,
                                          const std::vector<bool>& counts) {
  std::vector<std::int32_t> levels(dependencies.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    for (const OpId op : dependencies.before(OpId(i))) {
      levels[i] = std::max(levels[i], levels[op.index()] + (counts[op.index()] ? 1 : 0));
    }
  }
  return levels;
}

}  // namespace parallel_opt
