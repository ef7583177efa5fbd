#include "parallel_opt/report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parallel_opt/report/chart_parts.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

constexpr double kRow = 30;  // height of one bar with its gap
constexpr double kBar = 16;  // of the bar itself
constexpr double kMargin = 8;

/// Width of a column of labels, at most a share of the picture.
template <class Rows, class Text>
double column_width(const Rows& rows, Text text, double limit) {
  double width = 0;
  for (const auto& row : rows) width = std::max(width, text_width(text(row)));
  return std::min(width, limit);
}

void whisker(Svg& svg, double low, double high, double y) {
  svg.line(low, y, high, y, "whisker");
  svg.line(low, y - 5, low, y + 5, "whisker");
  svg.line(high, y - 5, high, y + 5, "whisker");
}

}  // namespace

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

/// Height of a curve at a place, in pixels; of an upright piece any of it.
std::optional<double> height_at(const Runs& runs, double x) {
  for (const std::vector<Point>& run : runs) {
    if (run.empty() || x < run.front().first || x > run.back().first) continue;
    const auto after = std::ranges::lower_bound(run, x, {}, &Point::first);
    if (after == run.begin()) return after->second;
    const auto before = after - 1;
    const double width = after->first - before->first;
    return before->second + (after->second - before->second) * (x - before->first) / width;
  }
  return std::nullopt;
}

/// Whether a curve lies on one of others for a good part of the plot.
bool hides(const Runs& curve, const std::vector<Runs>& others, const Scale& x) {
  constexpr int kPlaces = 200;
  constexpr double kApart = 1.5;  // pixels
  int hidden = 0;
  for (int i = 0; i < kPlaces; ++i) {
    const double at = x.from + (x.to - x.from) * (i + 0.5) / kPlaces;
    const std::optional<double> y = height_at(curve, at);
    hidden += y && std::ranges::any_of(others, [&](const Runs& other) {
                const std::optional<double> below = height_at(other, at);
                return below && std::abs(*below - *y) < kApart;
              });
  }
  return hidden > kPlaces / 10;
}

/// Where a limit's label lies, and how many curves and lines it would hide there.
struct LabelPlace {
  Area area = {};
  std::ptrdiff_t hidden = 0;
};

/// Below or above its line, as far right as can be, where the least lies behind.
template <class Behind>
LabelPlace place_of_label(double at, double width, const Area& plot, Behind behind) {
  constexpr int kPlaces = 24;
  constexpr double kCurve = 3;  // half of the thickest
  LabelPlace best{{}, -1};
  const double step = std::max(0.0, plot.right - plot.left - width) / kPlaces;
  for (int k = 0; k <= kPlaces && best.hidden != 0; ++k) {
    for (const double top : {at + 4, at - 13}) {
      const Area area = {plot.right - k * step - width, plot.right - k * step, top, top + 12};
      if (area.bottom > plot.bottom || area.top < plot.top - 12) continue;
      const std::ptrdiff_t count = behind(
          {area.left - kCurve, area.right + kCurve, area.top - kCurve, area.bottom + kCurve});
      if (best.hidden < 0 || count < best.hidden) best = {area, count};
    }
  }
  return best;
}

/// Dashed lines, each with its label; one that would hide a curve stands above the plot, where
/// there is room for it.
void draw_limits(Svg& svg, const LineChart& chart, const std::vector<Runs>& curves,
                 const Area& plot, const Scale& y) {
  std::vector<Area> labels;
  double free_right = plot.right;
  const double unit_right = 12 + text_width(chart.y_label);  // which stands above the plot too
  for (const LimitLine& limit : chart.limits) {
    const double at = y(limit.value);
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
    const LabelPlace place = place_of_label(at, text_width(limit.label), plot, behind);
    const std::string above = "- - " + limit.label;
    const double left = free_right - text_width(above);
    if (place.hidden > 0 && left > unit_right) {
      svg.text(free_right, plot.top - 12, above, "tick", Anchor::end);
      free_right = left - 16;
      continue;
    }
    labels.push_back(place.area);
    svg.text(place.area.right, place.area.top + 9, limit.label, "tick limit", Anchor::end);
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
  std::vector<Runs> curves, behind;
  for (const Series& series : chart.series) {
    if (!series.faint) continue;
    behind.push_back(runs_of(series, x, y, chart.stairs));
    svg.polyline(behind.back(), "curve faint " + series.color, series.name);
  }
  for (const Series& series : chart.series) {
    if (series.faint) continue;
    // Curves that should agree lie on each other: later ones are thinner, then dashed where they
    // do, so that all are seen.
    Runs curve = runs_of(series, x, y, chart.stairs);
    const std::size_t i = curves.size();
    const std::size_t weight = i > 2 && !hides(curve, curves, x) ? 2 : std::min<std::size_t>(i, 5);
    curves.push_back(std::move(curve));
    svg.polyline(curves.back(), fmt::format("curve k{} {}", weight, series.color), series.name);
  }
  curves.insert(curves.end(), behind.begin(), behind.end());
  draw_limits(svg, chart, curves, {left, x.to, top, bottom}, y);
  svg.line(left, bottom, x.to, bottom, "axis");
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
