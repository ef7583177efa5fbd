#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>

#include "parallel_opt/graph/blocks_impl.h"

namespace parallel_opt::block_detail {
namespace {

constexpr std::int64_t kFree = std::numeric_limits<std::int64_t>::max();

struct Range {
  std::size_t first = 0, last = 0;  ///< [first, last)
};

/// `repeats` equal stretches of `period` operators.
struct Run {
  std::size_t first = 0;
  std::size_t period = 0;
  std::size_t repeats = 0;
  std::size_t covered() const { return period * repeats; }
};

/// Periods in the sequence of operators, for graphs whose modules do not repeat or have no names.
class RunFinder {
 public:
  RunFinder(const Graph& graph, const std::vector<std::uint64_t>& hashes)
      : hashes_(hashes), taken_(hashes.size(), false), crossing_(hashes.size() + 1, 0) {
    std::vector<std::int64_t> producer(graph.tensors.size(), -1);
    std::vector<std::int64_t> last_use(graph.ops.size(), -1);
    starts_.reserve(hashes.size() + 1);
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      starts_.push_back(from_.size());
      for (const Operand& input : graph.ops[i].inputs) {
        from_.push_back(input.tensor.valid() ? producer[input.tensor.index()] : -1);
        if (from_.back() >= 0) {
          last_use[static_cast<std::size_t>(from_.back())] = static_cast<std::int64_t>(i);
        }
      }
      for (const TensorId id : graph.ops[i].outputs) {
        if (id.valid()) producer[id.index()] = static_cast<std::int64_t>(i);
      }
    }
    starts_.push_back(from_.size());
    for (std::size_t i = 0; i < last_use.size(); ++i) {  // crosses the places i+1 .. last use
      if (last_use[i] < 0) continue;
      ++crossing_[i + 1];
      --crossing_[static_cast<std::size_t>(last_use[i]) + 1];
    }
    for (std::size_t i = 1; i < crossing_.size(); ++i) crossing_[i] += crossing_[i - 1];
  }

  void find(Range range, int parent, std::vector<NestedBlock>& found) {
    constexpr int kMostBlocks = 4;
    for (int i = 0; i < kMostBlocks; ++i) {
      Run best = best_run(range, 1);
      // Where every kind of operator stands in a block more than once, none is a period apart.
      for (std::size_t back = 2; parent < 0 && i == 0 && back <= kMostAlike; ++back) {
        const Run other = best_run(range, back);
        if (other.covered() > best.covered()) best = other;
      }
      if (best.repeats < 2) return;
      const std::size_t end = best.first + best.covered();
      std::fill(taken_.begin() + std::ptrdiff_t(best.first), taken_.begin() + std::ptrdiff_t(end),
                true);
      found.push_back({block_of(best), parent});
      const Range inner{best.first, best.first + best.period};
      if (best.period < 4) continue;
      const auto undo = [&](bool taken) {
        std::fill(taken_.begin() + std::ptrdiff_t(inner.first),
                  taken_.begin() + std::ptrdiff_t(inner.last), taken);
      };
      undo(false);
      find(inner, static_cast<int>(found.size()) - 1, found);
      undo(true);
    }
  }

 private:
  static constexpr std::size_t kMostAlike = 8;

  /// Distances to the equal operator `back` before, the most frequent first: one of them is the
  /// period when a block has `back` operators of some kind.
  std::vector<std::size_t> candidate_periods(Range range, std::size_t back) const {
    std::unordered_map<std::uint64_t, std::vector<std::size_t>> seen;
    std::map<std::size_t, std::size_t> votes;
    for (std::size_t i = range.first; i < range.last; ++i) {
      if (taken_[i]) continue;
      std::vector<std::size_t>& places = seen[hashes_[i]];
      if (places.size() >= back) ++votes[i - places[places.size() - back]];
      places.push_back(i);
    }
    std::vector<std::pair<std::size_t, std::size_t>> order(votes.begin(), votes.end());
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    std::vector<std::size_t> periods;
    constexpr std::size_t kMostCandidates = 8;  // keeps the search linear
    for (const auto& [period, unused] : order) {
      if (periods.size() == kMostCandidates) break;
      if (period >= 2) periods.push_back(period);
    }
    return periods;
  }

  /// How far inside its block operator `i` may stand to be equal to the one a period before: kFree
  /// for anywhere, 0 for nowhere. Operands from outside of the block may come from anywhere.
  std::int64_t room(std::size_t i, std::size_t period) const {
    const std::size_t j = i - period;
    if (hashes_[i] != hashes_[j] || taken_[i] || taken_[j]) return 0;
    std::int64_t least = kFree;
    for (std::size_t k = 0; starts_[i] + k < starts_[i + 1]; ++k) {
      const std::int64_t a = from_[starts_[i] + k], b = from_[starts_[j] + k];
      const bool moves_along = a >= 0 && b >= 0 && a - b == static_cast<std::int64_t>(period);
      if (a == b || moves_along) continue;
      const std::int64_t from_here = a < 0 ? kFree : static_cast<std::int64_t>(i) - a;
      const std::int64_t from_there = b < 0 ? kFree : static_cast<std::int64_t>(j) - b;
      least = std::min({least, from_here, from_there});
    }
    return least;
  }

  Run best_run(Range range, std::size_t back) const {
    Run best;
    for (const std::size_t period : candidate_periods(range, back)) {
      std::vector<std::int64_t> rooms;
      for (std::size_t i = range.first + period; i <= range.last; ++i) {
        const std::int64_t fits = i < range.last ? room(i, period) : 0;
        if (fits > 0) {
          rooms.push_back(fits);
          continue;
        }
        if (rooms.size() >= period) {
          const Run run = aligned(i - rooms.size() - period, period, rooms);
          const bool better = run.covered() > best.covered() ||
                              (run.covered() == best.covered() && run.period < best.period);
          if (run.repeats >= 2 && better) best = run;
        }
        rooms.clear();
      }
    }
    return best;
  }

  /// Where in the stretch the blocks begin: where every operator has its room, most blocks fit,
  /// and fewest tensors cross.
  Run aligned(std::size_t first, std::size_t period, const std::vector<std::int64_t>& rooms) const {
    PO_CHECK(period > 0, "blocks have operators");
    // refused[s]: operators without room when blocks begin at first + s.
    std::vector<std::int64_t> refused(period + 1, 0);
    for (std::size_t k = 0; k < rooms.size(); ++k) {
      if (rooms[k] >= static_cast<std::int64_t>(period)) continue;
      // Operator first + period + k stands at offset (k - s) mod period: offsets `room` and above
      // are refused, that is s = k - room down to k - (period - 1).
      const std::size_t count = period - static_cast<std::size_t>(rooms[k]);
      const std::size_t low = (k + 1) % period;  // k - (period - 1)
      const std::size_t high = low + count;
      ++refused[low];
      --refused[std::min(high, period)];
      if (high > period) {
        ++refused[0];
        --refused[high - period];
      }
    }
    Run best;
    std::int64_t sum = 0;
    for (std::size_t s = 0; s < period; ++s) {
      sum += refused[s];
      if (sum > 0) continue;
      const Run run{first + s, period, (rooms.size() + period - s) / period};
      const bool fewer_cross = best.repeats > 0 && run.repeats == best.repeats &&
                               crossing_[run.first + period] < crossing_[best.first + period];
      if (run.repeats > best.repeats || fewer_cross) best = run;
    }
    return best;
  }

  static Block block_of(const Run& run) {
    Block block;
    block.repeats = static_cast<std::int64_t>(run.repeats);
    block.operators = static_cast<std::int64_t>(run.period);
    for (std::size_t r = 0; r < run.repeats; ++r) {
      BlockInstance instance;
      const std::size_t first = run.first + r * run.period;
      for (std::size_t i = first; i < first + run.period; ++i) instance.ops.push_back(OpId(i));
      instance.module =
          "ops " + std::to_string(first) + ".." + std::to_string(first + run.period - 1);
      block.instances.push_back(std::move(instance));
    }
    block.name = block.instances.front().module;
    return block;
  }

  const std::vector<std::uint64_t>& hashes_;
  std::vector<bool> taken_;
  std::vector<std::int64_t> from_;      ///< producer of each operand, -1: none
  std::vector<std::size_t> starts_;     ///< of each operator in from_
  std::vector<std::int64_t> crossing_;  ///< producers before a place that are used after it
};

}  // namespace

void find_runs(const Graph& graph, const std::vector<std::uint64_t>& hashes,
               std::vector<NestedBlock>& found) {
  RunFinder(graph, hashes).find({0, hashes.size()}, -1, found);
}

}  // namespace parallel_opt::block_detail
