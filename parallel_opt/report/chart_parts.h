#pragma once

#include <string>
#include <string_view>

#include "parallel_opt/report/charts.h"
#include "parallel_opt/report/svg.h"

/// What several kinds of charts are drawn with.
namespace parallel_opt {

inline constexpr double kAxis = 34;     ///< below a plot: tick labels and the axis title
inline constexpr double kBaseline = 4;  ///< from the middle of a line of text to its baseline

/// Maps values to pixels.
struct Scale {
  double low, high, from, to;
  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

/// Idle time is pale, so words on it are dark.
inline std::string_view inside_of(const Slice& slice) {
  return slice.color == "c-idle" ? "inside pale" : "inside";
}

/// Ticks below a plot, and light lines through it.
void x_axis(Svg& svg, const Scale& x, double top, double bottom, const std::string& label);

}  // namespace parallel_opt
