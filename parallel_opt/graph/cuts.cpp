#include "parallel_opt/graph/cuts.h"

#include <algorithm>
#include <deque>
#include <tuple>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/batch_dim.h"

namespace parallel_opt {
namespace {

/// Follows the forward in execution order and knows what is made and still needed.
class Sweep {
 public:
  explicit Sweep(const Graph& graph)
      : graph_(graph),
        owners_(storage_owners(graph)),
        made_(graph.tensors.size(), -1),
        needed_(graph.tensors.size(), -1),
        live_(graph.tensors.size(), 0),
        leaving_(graph.ops.size()) {
    const BatchDims batch = find_batch(graph);
    samples_ = static_cast<double>(std::max<std::int64_t>(batch.size, 1));
    has_samples_.assign(graph.tensors.size(), false);
    for (const TensorId id : graph.inputs) {
      has_samples_[id.index()] = batch.size == 0 || batch.axis[id.index()] >= 0;
    }
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      if (graph.ops[i].phase != Phase::forward) continue;
      // Whatever depends on samples is made per sample, also by operators that nobody knows.
      bool samples = false;
      for (const Operand& input : graph.ops[i].inputs) {
        if (!input.tensor.valid()) continue;
        needed_[input.tensor.index()] = static_cast<std::int64_t>(i);
        samples = samples || has_samples_[input.tensor.index()];
      }
      for (const TensorId id : graph.ops[i].outputs) {
        if (!id.valid()) continue;
        made_[id.index()] = static_cast<std::int64_t>(i);
        has_samples_[id.index()] = samples || has_samples_[id.index()];
      }
    }
    for (std::size_t t = 0; t < needed_.size(); ++t) {
      if (crosses(t)) leaving_[static_cast<std::size_t>(needed_[t])].push_back(TensorId(t));
    }
  }

  /// Steps over operator `i`: its results are made, what it needed last is gone.
  void step(std::size_t i) {
    for (const TensorId id : graph_.ops[i].outputs) {
      if (id.valid() && crosses(id.index())) add(id, 1);
    }
    for (const TensorId id : leaving_[i]) add(id, -1);
    while (!newest_.empty() && live_[newest_.back()] == 0) newest_.pop_back();
  }

  Crossing crossing() const {
    Crossing c{0, sum_samples_ / samples_, sum_fixed_, count_};
    for (std::size_t k = newest_.size(); k-- > 0;) {
      if (live_[newest_[k]] == 0 || !has_samples_[newest_[k]]) continue;
      c.activation = counted(newest_[k]) / samples_;
      c.skip -= c.activation;
      break;
    }
    // Sums of fractions: nothing is left but rounding.
    if (c.skip < 0.5 / samples_) c.skip = 0;
    return c;
  }

  /// Owners of what crosses, in order of making.
  std::vector<TensorId> tensors() const {
    std::vector<TensorId> result;
    std::vector<std::size_t> seen;
    for (const std::size_t owner : newest_) {
      if (live_[owner] > 0 && std::ranges::find(seen, owner) == seen.end()) {
        seen.push_back(owner);
        result.push_back(TensorId(owner));
      }
    }
    return result;
  }

 private:
  /// A tensor of the forward that is made before it is needed, and whose storage is no parameter.
  bool crosses(std::size_t t) const {
    const std::size_t owner = owners_[t].index();
    return made_[t] >= 0 && needed_[t] > made_[t] &&
           graph_.tensors[owner].role == TensorRole::activation;
  }

  /// Views that cross together need no more than the storage they look into.
  double counted(std::size_t owner) const {
    return static_cast<double>(std::min(live_[owner], bytes(graph_.tensors[owner]).value));
  }

  void add(TensorId id, int sign) {
    const std::size_t owner = owners_[id.index()].index();
    double& sum = has_samples_[owner] ? sum_samples_ : sum_fixed_;
    const bool before = live_[owner] > 0;
    sum -= counted(owner);
    // A tensor without elements is still one that crosses.
    live_[owner] += sign * std::max<std::int64_t>(bytes(graph_.tensor(id)).value, 1);
    sum += counted(owner);
    if (live_[owner] > 0 && !before) newest_.push_back(owner);
    count_ += (live_[owner] > 0 ? 1 : 0) - (before ? 1 : 0);
  }

  const Graph& graph_;
  std::vector<TensorId> owners_;
  std::vector<std::int64_t> made_, needed_;  // by tensor: operator
  std::vector<std::int64_t> live_;           // by storage: bytes of tensors that cross
  std::vector<std::vector<TensorId>> leaving_;
  std::vector<bool> has_samples_;
  std::vector<std::size_t> newest_;  // storages in order of making, some gone
  double samples_ = 1, sum_samples_ = 0, sum_fixed_ = 0;
  std::int64_t count_ = 0;
};

struct Candidate {
  std::size_t op = 0;
  double before = 0;
  Crossing crossing;
  /// Fewer bytes, then fewer tensors.
  auto cost() const { return std::tuple(crossing.per_sample() + crossing.fixed, crossing.tensors); }
};

/// Name of the outermost branch or loop around an operator; empty outside of all.
std::string_view outermost(const Graph& graph, const Op& op) {
  std::string_view group;
  for (RegionId region = op.region; region.valid(); region = graph.region(region).parent) {
    group = graph.region(region).group;
  }
  return group;
}

/// The best place of each stretch without work: one between every two operators that work.
std::vector<Candidate> candidates(const Graph& graph, std::span<const double> weights,
                                  const std::vector<Crossing>& all, double total) {
  std::vector<Candidate> found;
  double before = 0;
  bool open = false;  // the last candidate belongs to the stretch at hand
  for (std::size_t i = 0; i + 1 < graph.ops.size(); ++i) {
    if (graph.ops[i].phase != Phase::forward) continue;
    if (weights[i] > 0) open = false;
    before += weights[i];
    const Candidate one{i, before, all[i]};
    if (before <= 0) continue;
    const std::string_view here = outermost(graph, graph.ops[i]);
    if (!here.empty() && here == outermost(graph, graph.ops[i + 1])) continue;
    if (!open) {
      found.push_back(one);
      open = true;
    } else if (one.cost() < found.back().cost()) {
      found.back() = one;
    }
  }
  while (!found.empty() && found.back().before >= total) found.pop_back();
  return found;
}

/// Those that no other within `reach` of weight undercuts.
std::vector<Candidate> narrowest(const std::vector<Candidate>& all, double reach) {
  std::vector<Candidate> kept;
  std::deque<std::size_t> window;  // rising cost: the front is the least of the window
  std::size_t next = 0;
  for (const Candidate& one : all) {
    for (; next < all.size() && all[next].before <= one.before + reach; ++next) {
      while (!window.empty() && all[next].cost() < all[window.back()].cost()) window.pop_back();
      window.push_back(next);
    }
    while (all[window.front()].before < one.before - reach) window.pop_front();
    if (!(all[window.front()].cost() < one.cost())) kept.push_back(one);
  }
  return kept;
}

}  // namespace

std::vector<Crossing> crossings(const Graph& graph) {
  Sweep sweep(graph);
  std::vector<Crossing> result;
  result.reserve(graph.ops.size());
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    sweep.step(i);
    result.push_back(sweep.crossing());
  }
  return result;
}

std::vector<Cut> find_cuts(const Graph& graph, std::span<const double> weights) {
  double total = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].phase == Phase::forward) total += weights[i];
  }
  std::vector<Cut> cuts;
  const std::vector<Candidate> all = candidates(graph, weights, crossings(graph), total);
  for (const Candidate& one : narrowest(all, total / 100)) {
    cuts.push_back({OpId(one.op), one.before / total, one.crossing, {}});
  }
  Sweep sweep(graph);
  std::size_t i = 0;
  for (Cut& cut : cuts) {
    for (; i <= cut.after.index(); ++i) sweep.step(i);
    cut.tensors = sweep.tensors();
  }
  return cuts;
}

}  // namespace parallel_opt
