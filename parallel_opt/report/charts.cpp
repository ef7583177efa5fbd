#include "parallel_opt/report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

constexpr double kRow = 30;   // height of one bar with its gap
constexpr double kBar = 16;   // of the bar itself
constexpr double kAxis = 34;  // below a plot: tick labels and the axis title
constexpr double kMargin = 8;
constexpr double kBaseline = 4;  // from the middle of a line of text down to its baseline

/// Width of a column of labels, at most a share of the picture.
template <class Rows, class Text>
double column_width(const Rows& rows, Text text, double limit) {
  double width = 0;
  for (const auto& row : rows) width = std::max(width, text_width(text(row)));
  return std::min(width, limit);
}

/// Maps values to pixels.
struct Scale {
  double low, high, from, to;
  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

void whisker(Svg& svg, double low, double high, double y) {
  svg.line(low, y, high, y, "whisker");
  svg.line(low, y - 5, low, y + 5, "whisker");
  svg.line(high, y - 5, high, y + 5, "whisker");
}

/// Idle time is pale, so words on it are dark.
std::string_view inside_of(const Slice& slice) {
  return slice.color == "c-idle" ? "inside pale" : "inside";
}

/// Ticks below a plot, and light lines through it.
void x_axis(Svg& svg, const Scale& x, double top, double bottom, const std::string& label) {
  const int count = std::max(2, static_cast<int>((x.to - x.from) / 80));
  const std::vector<double> ticks = nice_ticks(x.low, x.high, count);
  const std::vector<std::string> labels = tick_labels(ticks);
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    svg.line(x(ticks[i]), top, x(ticks[i]), bottom, "grid");
    svg.text(x(ticks[i]), bottom + 15, labels[i], "tick", Anchor::middle);
  }
  svg.text(x.to, bottom + 30, label, "tick", Anchor::end);
}

}  // namespace

std::string bar_chart(const BarChart& chart, double width) {
  const double left =
      kMargin + column_width(chart.bars, [](const Bar& b) { return b.label; }, width / 3);
  const double right =
      kMargin + column_width(chart.bars, [](const Bar& b) { return b.text; }, width / 2);
  double most = std::max(chart.reference.value_or(0), chart.least_scale);
  for (const Bar& bar : chart.bars) most = std::max({most, bar.value, bar.high.value_or(0)});
  const double height = kRow * static_cast<double>(chart.bars.size()) + 2 * 4;
  const Scale x{0, most > 0 ? most : 1, left + 8, width - right - 10};

  Svg svg(width, height, chart.title);
  if (chart.reference) {
    svg.line(x(*chart.reference), 2, x(*chart.reference), height - 2, "reference");
  }
  double y = 4 + kRow / 2;
  for (const Bar& bar : chart.bars) {
    svg.text(left, y + kBaseline, fit_text(bar.label, left), "label", Anchor::end);
    svg.rect(x.from, y - kBar / 2, x(bar.value) - x.from, kBar, "bar " + bar.color,
             bar.label + ": " + bar.text);
    double end = x(bar.value);
    if (bar.low && bar.high) {
      whisker(svg, x(*bar.low), x(*bar.high), y);
      end = std::max(end, x(*bar.high));
    }
    double start = end + 8;
    if (chart.reference) {  // the number stands beside the line, not on it
      const double line = x(*chart.reference);
      if (start < line + 6 && start + text_width(bar.text) > line - 6) start = line + 8;
    }
    svg.text(start, y + kBaseline, bar.text, "value");
    y += kRow;
  }
  svg.line(x.from, 2, x.from, height - 2, "axis");
  return svg.str();
}

namespace {

struct Box {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;
};

Box bounds(const LineChart& chart) {
  Box box;
  bool first = true;
  for (const Series& series : chart.series) {
    for (const auto& [x, y] : series.points) {
      if (first) box.x_low = box.x_high = x;
      box.x_high = std::max(box.x_high, x);
      box.x_low = std::min(box.x_low, x);
      if (y && first) box.y_low = box.y_high = *y;
      if (y) {
        box.y_low = std::min(box.y_low, *y);
        box.y_high = std::max(box.y_high, *y);
        first = false;
      }
    }
  }
  for (const LimitLine& limit : chart.limits) box.y_high = std::max(box.y_high, limit.value);
  box.x_high = std::max(box.x_high, chart.x_high);
  if (chart.from_zero) box.y_low = std::min(0.0, box.y_low);
  if (!(box.x_high > box.x_low)) box.x_high = box.x_low + 1;
  if (!(box.y_high > box.y_low))
    box.y_high = box.y_low + (box.y_low == 0 ? 1 : std::abs(box.y_low));
  box.y_high += 0.05 * (box.y_high - box.y_low);  // air above the highest point
  return box;
}

using Point = std::pair<double, double>;
/// A curve in pixels; a new run after each gap.
using Runs = std::vector<std::vector<Point>>;

Runs runs_of(const Series& series, const Scale& x, const Scale& y, bool stairs) {
  Runs runs(1);
  for (const auto& [at, value] : series.points) {
    if (!value) {
      if (!runs.back().empty()) runs.emplace_back();
      continue;
    }
    if (stairs && !runs.back().empty()) runs.back().emplace_back(x(at), runs.back().back().second);
    runs.back().emplace_back(x(at), y(*value));
  }
  return runs;
}

struct Area {
  double left, right, top, bottom;
  bool meets(const Area& other) const {
    return left <= other.right && other.left <= right && top <= other.bottom && other.top <= bottom;
  }
};

/// Whether a curve passes through; exact for stairs, careful for slopes.
bool passes(const Runs& runs, const Area& area) {
  for (const std::vector<Point>& run : runs) {
    for (std::size_t i = 0; i < run.size(); ++i) {
      const auto [low, high] = std::minmax(run[i], run[i + 1 < run.size() ? i + 1 : i]);
      const auto [top, bottom] = std::minmax(low.second, high.second);
      if (area.meets({low.first, high.first, top, bottom})) return true;
    }
  }
  return false;
}

/// Dashed lines, each with its label where the least lies behind: below or above the line, as far
/// right as can be.
void draw_limits(Svg& svg, const LineChart& chart, const std::vector<Runs>& curves,
                 const Area& plot, const Scale& y) {
  constexpr int kPlaces = 24;
  constexpr double kCurve = 3;  // half of the thickest
  std::vector<Area> labels;
  for (const LimitLine& limit : chart.limits) {
    const double at = y(limit.value), width = text_width(limit.label);
    svg.line(plot.left, at, plot.right, at, "reference");
    const auto behind = [&](const Area& area) {
      const auto in_the_way = [&](const LimitLine& other) {
        const double height = y(other.value);
        return &other != &limit && area.meets({plot.left, plot.right, height, height});
      };
      return std::ranges::count_if(curves, [&](const Runs& runs) { return passes(runs, area); }) +
             std::ranges::count_if(chart.limits, in_the_way) +
             100 * std::ranges::count_if(labels, [&](const Area& l) { return area.meets(l); });
    };
    Area best = {};
    std::ptrdiff_t least = -1;
    const double step = std::max(0.0, plot.right - plot.left - width) / kPlaces;
    for (int k = 0; k <= kPlaces && least != 0; ++k) {
      for (const double top : {at + 4, at - 13}) {
        const Area area = {plot.right - k * step - width, plot.right - k * step, top, top + 12};
        if (area.bottom > plot.bottom || area.top < plot.top - 12) continue;
        const std::ptrdiff_t count = behind(
            {area.left - kCurve, area.right + kCurve, area.top - kCurve, area.bottom + kCurve});
        if (least >= 0 && count >= least) continue;
        least = count;
        best = area;
      }
    }
    labels.push_back(best);
    svg.text(best.right, best.top + 9, limit.label, "tick limit", Anchor::end);
  }
}

}  // namespace

std::string line_chart(const LineChart& chart, double width) {
  const double plot_height = 200, top = 24, bottom = top + plot_height;
  const Box box = bounds(chart);
  const std::vector<double> ticks = nice_ticks(box.y_low, box.y_high, 5);
  const std::vector<std::string> labels = tick_labels(ticks);
  const double left =
      chart.left > 0 ? chart.left
                     : 12 + column_width(labels, [](const std::string& s) { return s; }, width / 3);
  const Scale x{box.x_low, box.x_high, left, width - chart.right};
  const Scale y{box.y_low, box.y_high, bottom, top};

  Svg svg(width, bottom + kAxis, chart.title);
  svg.text(4, 12, chart.y_label, "tick");
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    svg.line(left, y(ticks[i]), x.to, y(ticks[i]), "grid");
    svg.text(left - 6, y(ticks[i]) + kBaseline, labels[i], "tick", Anchor::end);
  }
  x_axis(svg, x, top, bottom, chart.x_label);
  std::vector<Runs> curves;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    // Curves that should agree lie on each other: later ones are thinner, so that all are seen.
    const std::string weight = "curve k" + std::to_string(std::min<std::size_t>(i, 2));
    curves.push_back(runs_of(chart.series[i], x, y, chart.stairs));
    svg.polyline(curves.back(), weight + " " + chart.series[i].color, chart.series[i].name);
  }
  draw_limits(svg, chart, curves, {left, x.to, top, bottom}, y);
  svg.line(left, bottom, x.to, bottom, "axis");
  return svg.str();
}

namespace {

struct Lane {
  double y = 0, height = 0;
};

/// What share of each pixel slices take, one colour on the other; equal neighbours are one shape.
void draw_shares(Svg& svg, const std::vector<Slice>& slices, int depth, const Scale& x,
                 const Lane& lane) {
  const auto columns = static_cast<std::size_t>(std::ceil(x.to - x.from));
  std::vector<std::string> colors;
  std::vector<std::vector<double>> shares;  // by colour and column
  for (const Slice& slice : slices) {
    if (slice.depth != depth || slice.length <= 0) continue;
    auto color = std::ranges::find(colors, slice.color);
    if (color == colors.end()) {
      color = colors.insert(colors.end(), slice.color);
      shares.emplace_back(columns, 0.0);
    }
    std::vector<double>& share = shares[static_cast<std::size_t>(color - colors.begin())];
    const double from = x(slice.start) - x.from, to = x(slice.start + slice.length) - x.from;
    for (auto c = static_cast<std::size_t>(std::max(0.0, from)); c < columns; ++c) {
      const auto low = static_cast<double>(c);
      if (low >= to) break;
      share[c] += std::min(to, low + 1) - std::max(from, low);
    }
  }
  constexpr double kSteps = 20;
  const auto steps_of = [&](std::size_t c) {
    double sum = 0;
    for (const auto& share : shares) sum += share[c];
    std::vector<int> tops;  // of each colour, in steps of the lane
    double below = 0;
    for (const auto& share : shares) {
      below += share[c] / std::max(1.0, sum);
      tops.push_back(static_cast<int>(std::lround(below * kSteps)));
    }
    return tops;
  };
  for (std::size_t c = 0; c < columns;) {
    const std::vector<int> tops = steps_of(c);
    std::size_t end = c + 1;
    while (end < columns && steps_of(end) == tops) ++end;
    int below = 0;
    for (std::size_t i = 0; i < tops.size(); ++i) {
      const double height = lane.height * (tops[i] - below) / kSteps;
      if (tops[i] > below) {
        svg.rect(x.from + static_cast<double>(c), lane.y + lane.height * (1 - tops[i] / kSteps),
                 static_cast<double>(end - c), height, colors[i]);
      }
      below = tops[i];
    }
    c = end;
  }
}

/// Are slices of a depth too narrow to be told apart?
bool too_narrow(const std::vector<Slice>& slices, int depth, const Scale& x) {
  constexpr double kTold = 3;  // pixels
  double sum = 0, count = 0;
  for (const Slice& slice : slices) {
    if (slice.depth != depth) continue;
    sum += x(slice.start + slice.length) - x(slice.start);
    count += 1;
  }
  return sum < kTold * count;
}

/// Longest end of all rows.
double last_end(const Gantt& chart) {
  double end = 0;
  for (const GanttRow& row : chart.rows) {
    for (const Slice& slice : row.slices) end = std::max(end, slice.start + slice.length);
  }
  return end > 0 ? end : 1;
}

}  // namespace

std::string gantt_chart(const Gantt& chart, double width) {
  constexpr double kLane = 22, kInner = 12, kLabel = 20;
  constexpr std::size_t kMostSlices = 1500;  // of one row: more cannot be told apart
  std::vector<double> heights;
  double height = 8;
  for (const GanttRow& row : chart.rows) {
    int deepest = 0;
    for (const Slice& slice : row.slices) deepest = std::max(deepest, slice.depth);
    heights.push_back(kLabel + kLane + kInner * deepest + 10);
    height += heights.back();
  }
  const Scale x{0, std::max(chart.end, last_end(chart)), chart.left, width - chart.right};
  Svg svg(width, height + kAxis, chart.title);
  x_axis(svg, x, 4, height, chart.unit);
  double top = 8;
  for (std::size_t r = 0; r < chart.rows.size(); ++r) {
    const GanttRow& row = chart.rows[r];
    std::size_t left_out = 0;
    const auto lane_of = [&](int depth) {
      if (depth == 0) return Lane{top + kLabel, kLane};
      return Lane{top + kLabel + kLane + 1 + (kInner + 1) * (depth - 1), kInner};
    };
    std::array<bool, kDepths> as_shares = {};
    for (int depth = 0; chart.shares && depth < kDepths; ++depth) {
      if (!too_narrow(row.slices, depth, x)) continue;
      as_shares[static_cast<std::size_t>(depth)] = true;
      draw_shares(svg, row.slices, depth, x, lane_of(depth));
    }
    for (const Slice& slice : row.slices) {
      if (as_shares[static_cast<std::size_t>(slice.depth)]) continue;
      const double pixels = x(slice.start + slice.length) - x(slice.start);
      if (row.slices.size() > kMostSlices && pixels < 0.3) {
        ++left_out;
        continue;
      }
      const auto [y, tall] = lane_of(slice.depth);
      svg.rect(x(slice.start), y, pixels, tall, "slice " + slice.color, slice.tooltip);
      if (slice.depth == 0 && text_width(slice.label) + 4 < pixels) {
        svg.text(x(slice.start) + pixels / 2, y + kLane / 2 + kBaseline, slice.label,
                 inside_of(slice), Anchor::middle);
      }
    }
    std::string label = row.label;
    if (as_shares[0] && r == 0) label += " (heights are shares of the time)";
    if (left_out > 0) label += fmt::format(" ({} spans too short to draw)", left_out);
    svg.text(6, top + 13, fit_text(label, width - 12), "label");
    top += heights[r];
  }
  return svg.str();
}

std::string stack_chart(const StackChart& chart, double width) {
  const double left =
      kMargin + column_width(chart.rows, [](const StackRow& r) { return r.label; }, width / 3);
  const double right =
      kMargin + column_width(chart.rows, [](const StackRow& r) { return r.text; }, width / 3);
  double most = 0;
  for (const StackRow& row : chart.rows) {
    double sum = 0;
    for (const Slice& part : row.parts) sum += part.length;
    most = std::max(most, sum);
  }
  const double height = (kRow + 6) * static_cast<double>(chart.rows.size()) + 8;
  const Scale x{0, most > 0 ? most : 1, left + 8, width - right - 10};
  Svg svg(width, height, chart.title);
  double y = 4 + (kRow + 6) / 2;
  for (const StackRow& row : chart.rows) {
    svg.text(left, y + kBaseline, fit_text(row.label, left), "label", Anchor::end);
    double start = 0;
    for (const Slice& part : row.parts) {
      const double pixels = x(start + part.length) - x(start);
      svg.rect(x(start), y - 12, pixels, 24, "slice " + part.color, part.tooltip);
      if (text_width(part.label) + 6 < pixels) {
        svg.text(x(start) + pixels / 2, y + kBaseline, part.label, inside_of(part), Anchor::middle);
      }
      start += part.length;
    }
    svg.text(x(start) + 8, y + kBaseline, row.text, "value");
    y += kRow + 6;
  }
  svg.line(x.from, 2, x.from, height - 2, "axis");
  return svg.str();
}

std::string error_chart(const ErrorChart& chart, double width) {
  double most = 0.1;  // at least +-10 %, so that small errors look small
  for (const ErrorRow& row : chart.rows) {
    for (const double edge : {row.error, row.low.value_or(0), row.high.value_or(0)}) {
      most = std::max(most, std::abs(edge));
    }
  }
  most = std::min(most * 1.05, 2.0);  // beyond 200 % the marker sits at the edge, its text says it
  constexpr double kErrorRow = 46;
  const double height = kErrorRow * static_cast<double>(chart.rows.size()) + 6;
  const Scale x{-most * 100, most * 100, 12, width - 12};
  const auto place = [&](double share) { return x(std::clamp(share, -most, most) * 100); };
  Svg svg(width, height + kAxis, chart.title);
  x_axis(svg, x, 4, height, "error of the prediction, % of measured");
  double top = 4;
  for (const ErrorRow& row : chart.rows) {
    const std::string line = row.label + ": " + row.text;
    const bool fits = text_width(line) <= width - 24;
    svg.text(12, top + 13, fits ? line : row.label + ": " + row.short_text, "label");
    const double y = top + 29;
    svg.line(x(0), y - 11, x(0), y + 11, "reference");  // beside the words, not through them
    if (row.low && row.high) {
      svg.rect(
          place(*row.low), y - 5, place(*row.high) - place(*row.low), 10, "interval " + row.color,
          fmt::format("80 % interval: {:+.1f} % to {:+.1f} %", *row.low * 100, *row.high * 100));
    }
    svg.circle(place(row.error), y, 5.5, "marker " + row.color,
               fmt::format("{:+.1f} %", row.error * 100));
    top += kErrorRow;
  }
  return svg.str();
}

}  // namespace parallel_opt
