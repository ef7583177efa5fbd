#pragma once

#include <optional>
#include <string>
#include <vector>

namespace parallel_opt {

/// Pictures as SVG text. Each takes the width it may use; labels keep their size. Colours are
/// classes: `w0`, `w1`, ... for ways of running, `c-forward`, ... for what time is spent on.

struct Bar {
  std::string label;
  double value = 0;
  std::optional<double> low, high;  ///< whisker
  std::string text;                 ///< the value with its unit
  std::string color;
};
struct BarChart {
  std::string title;
  std::vector<Bar> bars;
  std::optional<double> reference;  ///< a dashed line
  double least_scale = 0;           ///< the scale reaches at least this far
};
std::string bar_chart(const BarChart& chart, double width);

struct Series {
  std::string name;
  std::string color;
  std::vector<std::pair<double, std::optional<double>>> points;  ///< by rising x; empty y: a gap
  bool faint = false;                                            ///< thin and behind the others
};
/// A dashed line across a plot. Its label stands above the plot where it would hide a curve.
struct LimitLine {
  double value = 0;
  std::string label;
};
struct LineChart {
  std::string title;
  std::string x_label, y_label;
  std::vector<Series> series = {};
  bool from_zero = false;       ///< the y axis begins at 0
  bool stairs = false;          ///< a value holds until the next one
  double left = 0, right = 16;  ///< of the plot; 0: what the labels need
  double x_high = 0;            ///< the x axis reaches at least this far
  std::vector<LimitLine> limits = {};
};
std::string line_chart(const LineChart& chart, double width);

struct Slice {
  double start = 0;
  double length = 0;
  std::string color;
  std::string label = {};
  std::string tooltip = {};
  int depth = 0;  ///< 0: outermost; 1: inside or beside one of those, drawn below it; 2: below both
  std::string below = {};  ///< the label's second part: "3+1", or under the first for want of room
};
inline constexpr int kDepths = 3;
struct GanttRow {
  std::string label;
  std::vector<Slice> slices;
};
struct Gantt {
  std::string title;
  std::string unit;
  std::vector<GanttRow> rows = {};
  double left = 6, right = 6;  ///< of the plot
  double end = 0;              ///< the axis reaches at least this far
  /// Rows whose slices are too narrow to be told apart show their shares of the time
  /// (time_shares.h).
  bool shares = false;
};
std::string gantt_chart(const Gantt& chart, double width);

struct StackRow {
  std::string label;
  std::vector<Slice> parts;  ///< by length; start is not used
  std::string text;          ///< the sum with its unit
};
struct StackChart {
  std::string title;
  std::vector<StackRow> rows;
};
std::string stack_chart(const StackChart& chart, double width);

/// Relative errors about 0, each with its interval.
struct ErrorRow {
  std::string label;
  double error = 0;                 ///< (predicted - measured) / measured
  std::optional<double> low, high;  ///< interval of the prediction, relative to the measured value
  std::string text;
  std::string short_text;  ///< where `text` has no room
  std::string color;
};
struct ErrorChart {
  std::string title;
  std::vector<ErrorRow> rows;
};
std::string error_chart(const ErrorChart& chart, double width);

}  // namespace parallel_opt
