#include "parallel_opt/graph/branches.h"

#include <algorithm>
#include <functional>
#include <queue>

namespace parallel_opt {
namespace {

/// Colours what follows a fork by the branch it depends on, in execution order.
class Follower {
 public:
  Follower(const Graph& graph, const Dependencies& dependencies, std::span<const double> weights)
      : graph_(graph),
        dependencies_(dependencies),
        weights_(weights),
        epoch_(dependencies.size(), 0),
        color_(dependencies.size(), kMixed) {}

  /// Empty when there are no two branches with weight. `steps` is spent; below 0: given up.
  BranchGroup follow(OpId fork, std::span<const OpId> starts, std::int64_t& steps) {
    begin();
    BranchGroup group{fork, {}, {}, 0};
    group.branches.resize(starts.size());
    for (std::size_t i = 0; i < starts.size(); ++i) {
      reach(starts[i], static_cast<int>(color_of_start(fork, starts, i)));
    }
    while (single_ > 0) {
      const OpId op = pop();
      const int color = color_[op.index()];
      if (color == kMixed) {
        if (!group.join.valid()) group.join = op;
      } else {
        --single_;
        if (weights_[op.index()] > 0) {
          Branch& branch = group.branches[static_cast<std::size_t>(color)];
          branch.ops.push_back(op);
          branch.weight += weights_[op.index()];
        }
      }
      const std::span<const OpId> after = dependencies_.after(op);
      steps -= 1 + static_cast<std::int64_t>(after.size());
      if (steps < 0) return {};
      for (const OpId next : after) reach(next, color);
    }
    // Branches that end together: whoever waits next needs two of them.
    if (!group.join.valid() && !waiting_.empty()) group.join = waiting_.top();
    std::erase_if(group.branches, [](const Branch& branch) { return branch.ops.empty(); });
    std::ranges::stable_sort(group.branches, {}, [](const Branch& b) { return b.ops.front(); });
    double total = 0, most = 0;
    for (const Branch& branch : group.branches) {
      total += branch.weight;
      most = std::max(most, branch.weight);
    }
    group.gain = total - most;
    return group.branches.size() < 2 ? BranchGroup{} : group;
  }

 private:
  static constexpr int kMixed = -1;

  void begin() {
    ++now_;
    single_ = 0;
    waiting_ = {};
  }

  void reach(OpId op, int color) {
    const std::size_t i = op.index();
    if (epoch_[i] != now_) {
      epoch_[i] = now_;
      color_[i] = color;
      single_ += color == kMixed ? 0 : 1;
      waiting_.push(op);
    } else if (color_[i] != color && color_[i] != kMixed) {
      color_[i] = kMixed;
      --single_;
    }
  }

  OpId pop() {
    const OpId op = waiting_.top();
    waiting_.pop();
    return op;
  }

  /// Alternatives of one branch of control flow never run both: their starts have one colour.
  std::size_t color_of_start(OpId fork, std::span<const OpId> starts, std::size_t i) const {
    const std::string* group = alternatives(fork, starts[i]);
    for (std::size_t j = 0; group != nullptr && j < i; ++j) {
      const std::string* other = alternatives(fork, starts[j]);
      if (other != nullptr && *other == *group) return j;
    }
    return i;
  }

  /// The outermost branch of control flow that the operator is in and the fork is not; or none.
  const std::string* alternatives(OpId fork, OpId op) const {
    const RegionId from = fork.valid() ? graph_.op(fork).region : RegionId();
    const std::string* found = nullptr;
    for (RegionId region = graph_.op(op).region; region.valid() && !encloses(graph_, region, from);
         region = graph_.region(region).parent) {
      if (graph_.region(region).kind == RegionKind::branch) found = &graph_.region(region).group;
    }
    return found;
  }

  const Graph& graph_;
  const Dependencies& dependencies_;
  std::span<const double> weights_;
  std::vector<std::uint32_t> epoch_;
  std::vector<int> color_;
  std::uint32_t now_ = 0;
  std::int64_t single_ = 0;  ///< operators that wait and have one colour
  std::priority_queue<OpId, std::vector<OpId>, std::greater<>> waiting_;
};

struct Fork {
  OpId op;
  std::vector<OpId> starts;
};

/// Every operator that two or more wait for, and the start of the model; short ones first.
std::vector<Fork> forks_of(const Dependencies& dependencies) {
  std::vector<Fork> forks;
  Fork start;
  for (std::size_t i = 0; i < dependencies.size(); ++i) {
    if (dependencies.before(OpId(i)).empty()) start.starts.push_back(OpId(i));
    const std::span<const OpId> after = dependencies.after(OpId(i));
    if (after.size() >= 2) forks.push_back({OpId(i), {after.begin(), after.end()}});
  }
  std::ranges::stable_sort(
      forks, {}, [](const Fork& fork) { return fork.starts.back().value - fork.op.value; });
  if (start.starts.size() >= 2) forks.push_back(std::move(start));
  return forks;
}

}  // namespace

IndependentBranches independent_branches(const Graph& graph, const Dependencies& dependencies,
                                         std::span<const double> weights) {
  // Forks nest a few levels deep in models: this many looks at each operator is more than enough.
  constexpr std::int64_t kLooks = 24;
  std::int64_t steps =
      kLooks * static_cast<std::int64_t>(dependencies.size() + dependencies.edges());
  IndependentBranches found;
  Follower follower(graph, dependencies, weights);
  for (const Fork& fork : forks_of(dependencies)) {
    BranchGroup group = follower.follow(fork.op, fork.starts, steps);
    if (steps < 0) {
      found.complete = false;
      break;
    }
    if (!group.branches.empty()) found.groups.push_back(std::move(group));
  }
  std::ranges::stable_sort(found.groups, [](const BranchGroup& a, const BranchGroup& b) {
    return a.gain > b.gain || (a.gain == b.gain && a.fork < b.fork);
  });
  return found;
}

}  // namespace parallel_opt
