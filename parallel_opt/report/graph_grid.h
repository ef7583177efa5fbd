#pragma once

#include <vector>

namespace parallel_opt {

/// Boxes and lines of one picture, to be laid out: boxes 0..n-1 in execution order, lines only
/// forward.
struct GridInput {
  struct Line {
    int from = 0, to = 0;
  };
  std::vector<double> weights;  ///< of each box, none negative
  std::vector<Line> lines;
};

/// Whole rows and columns. The heaviest path stands in column 0; what runs beside it stands in the
/// nearest free columns, short detours inside of long ones, so that lines seldom cross and never
/// run through a box.
struct Grid {
  std::vector<int> rows, columns;  ///< by box
  std::vector<int> lanes;          ///< by line: column in the rows between its ends
};
Grid lay_out(const GridInput& input);

}  // namespace parallel_opt
