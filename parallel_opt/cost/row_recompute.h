#pragma once

#include <vector>

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Per operator of a graph with an inline spec's names of modules, whether it is of one of the
/// parts.
std::vector<bool> operators_of(const RecomputeParts& parts, const Graph& graph);

/// Where a row counts the layers that are computed again ("12 of 48 layers", "block, 5 layers"),
/// its model becomes one with so many of each kind of block under the layout's rule and the others
/// under none.
void recompute_some_layers(RowCase& out);

}  // namespace parallel_opt
