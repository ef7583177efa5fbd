#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/blocks.h"

/// How blocks are found: by modules (blocks.cpp) or by runs (block_runs.cpp). Not for others.
namespace parallel_opt::block_detail {

/// Quick mixing of whole numbers; for comparisons in one process, never written anywhere.
inline std::uint64_t mix(std::uint64_t hash, std::uint64_t number) {
  hash = (hash ^ number) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 29);
}

/// What an operator does, whatever its place: target, shapes and dtypes around it, and those
/// attributes that change its work. Rates, epsilons, seeds and positions do not.
std::uint64_t local_hash(const Graph& graph, const Op& op);

/// Periods in the sequence of operators [first, last), outermost first; inner ones have a parent.
void find_runs(const Graph& graph, const std::vector<std::uint64_t>& hashes,
               std::vector<NestedBlock>& found);

}  // namespace parallel_opt::block_detail
