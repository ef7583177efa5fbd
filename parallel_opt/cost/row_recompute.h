#pragma once

#include "parallel_opt/cost/row_model.h"

namespace parallel_opt {

/// Where a row counts the layers that are computed again ("12 of 48 layers", "block, 5 layers"),
/// its model becomes one with so many of each kind of block under the layout's rule and the others
/// under none.
void recompute_some_layers(RowCase& out);

}  // namespace parallel_opt
