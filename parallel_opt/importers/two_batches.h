#pragma once

#include <optional>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// One graph with the symbol `batch` from two captures of a model at two batches, for models whose
/// capture fixes the batch (recurrent layers, recorded runs). Each size that differs is taken as
/// linear in the batch: from 2 -> 10 and 3 -> 15 follows "5*batch". Attributes are those of
/// `small`. Empty when the two differ in more than sizes, or a size is not linear with whole
/// numbers. Pre: 0 < small_batch < large_batch.
std::optional<Graph> join_batches(const Graph& small, std::int64_t small_batch, const Graph& large,
                                  std::int64_t large_batch);

}  // namespace parallel_opt
