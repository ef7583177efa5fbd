#pragma once

#include <span>
#include <vector>

#include "parallel_opt/graph/dependencies.h"

namespace parallel_opt {

/// Operators of one branch, in execution order; those of weight 0 are left out.
struct Branch {
  std::vector<OpId> ops;
  double weight = 0;
  bool operator==(const Branch&) const = default;
};

/// Branches that start at one place and know nothing of each other until they meet: query, key and
/// value projections, the paths of an Inception module, two towers.
struct BranchGroup {
  OpId fork;  ///< whose results all branches read; invalid: they start at inputs and parameters
  OpId join;  ///< first operator that needs two of them; invalid: they never meet
  std::vector<Branch> branches;  ///< two or more, in order of their first operators
  /// Weight that need not be waited for when the branches run at once: all but the heaviest.
  double gain = 0;
  bool operator==(const BranchGroup&) const = default;
};

struct IndependentBranches {
  std::vector<BranchGroup> groups;  ///< largest gain first
  bool complete = true;  ///< else very long branches were not followed to their end: time is linear
};

/// Every fork whose branches hold weight. No operator of one branch waits for one of another, and
/// none stands in two branches of one fork; groups nest. Alternatives of one branch of control
/// flow never run both, so they are no branches of this kind.
IndependentBranches independent_branches(const Graph& graph, const Dependencies& dependencies,
                                         std::span<const double> weights);

}  // namespace parallel_opt
