#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Which operators must have run before which: by the tensors they read, by writes in place
/// (whoever reads a storage runs after the last write into it, a write after all earlier reads),
/// and by control flow (nothing of an alternative runs before its predicate is known). Two
/// operators are joined once, however many tensors pass between them.
class Dependencies {
 public:
  /// Linear in operands. Pre: `check(graph)` is empty, aliases are filled.
  explicit Dependencies(const Graph& graph);
  /// Operators that `op` waits for, ascending.
  std::span<const OpId> before(OpId op) const { return list(before_, op); }
  /// Operators that wait for `op`, ascending.
  std::span<const OpId> after(OpId op) const { return list(after_, op); }
  std::size_t size() const { return before_.starts.size() - 1; }
  std::size_t edges() const { return before_.ops.size(); }

 private:
  struct Lists {
    std::vector<std::size_t> starts{0};
    std::vector<OpId> ops;
  };
  static std::span<const OpId> list(const Lists& lists, OpId op) {
    const std::size_t from = lists.starts[op.index()];
    return std::span(lists.ops).subspan(from, lists.starts[op.index() + 1] - from);
  }
  Lists before_, after_;
};

/// A chain of operators, each waiting for the one before it.
struct Chain {
  double weight = 0;
  std::vector<OpId> ops;  ///< in execution order; those of weight 0 are left out
  bool operator==(const Chain&) const = default;
};

/// The heaviest chain: no machine, however wide, is faster. Of equal chains the one with the
/// earliest operators. Linear. Pre: one weight per operator, none negative.
Chain heaviest_chain(const Dependencies& dependencies, std::span<const double> weights);

/// Per operator: how many operators of `counts` stand on the longest chain before it. Operators
/// that do not count (views) share the level of what they wait for.
std::vector<std::int32_t> earliest_levels(const Dependencies& dependencies,
                                          const std::vector<bool>& counts);

}  // namespace parallel_opt
