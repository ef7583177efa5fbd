#pragma once

#include <string>
#include <vector>

#include "parallel_opt/report/charts.h"

namespace parallel_opt {

/// A part of a row, and what share of it each colour takes; what is missing to 1 is idle.
struct ShareRun {
  double start = 0, end = 0;
  std::vector<double> shares;  ///< by the colours' order
};
struct TimeShares {
  std::vector<std::string> colors;  ///< as they come
  std::vector<ShareRun> runs;       ///< by time; between them nothing happens
};

/// Slices of one depth that are too short to be told apart, as shares of parts of at least `least`
/// (in the slices' unit). Parts begin where a slice does and hold whole cycles ("forward,
/// backward"), of a pattern of several cycles whole patterns, so that a steady state is one part
/// however its period and the pixels meet. Where the pattern changes, or nothing happens for long,
/// a part ends; neighbours whose shares agree within 2 % are one. The time of each colour is exact.
/// `row_end`: until then the row goes on, with nothing in it.
TimeShares time_shares(const std::vector<Slice>& slices, int depth, double least, double row_end);

}  // namespace parallel_opt
