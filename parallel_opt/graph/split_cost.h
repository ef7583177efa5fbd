#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {

/// What the parts of an operator that is split along one dimension owe each other. The kind only:
/// bytes and time are cost's to say.
enum class SplitCost {
  none,         ///< every part makes its own slice of the result
  partial_sum,  ///< parts hold sums over their slice: all-reduce, or reduce-scatter
  masked_sum,   ///< as partial_sum, where each part answers only indices in its slice, else zero
  halo,         ///< neighbours pass the borders that windows reach over (convolution, pooling)
  ring,         ///< keys of attention: blocks go round, or heads and positions change places by
                ///< all-to-all
  statistics,   ///< two passes with an all-reduce of one number per row between (norm, softmax)
  carry,        ///< a value goes from part to part in order (recurrence, cumulative sum)
  gather,       ///< every part needs all of it: all-gather first (sort, transform, factorisation)
};

constexpr auto enum_names(SplitCost) {
  return std::to_array<std::string_view>(
      {"none", "partial_sum", "masked_sum", "halo", "ring", "statistics", "carry", "gather"});
}

/// Per dimension of the operator's iteration space, from its role and the operator's class. Windows
/// that do not overlap (a stride of at least the kernel, as in patch embeddings) need no halo.
/// Empty for an opaque operator.
std::vector<SplitCost> split_costs(const Graph& graph, const Op& op, const IterationSpace& space);

}  // namespace parallel_opt
