#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "parallel_opt/report/chart_parts.h"
#include "parallel_opt/report/time_shares.h"

namespace parallel_opt {
namespace {

constexpr double kLane = 22, kInner = 12, kLabel = 20;

struct Lane {
  double y = 0, height = 0;
};

/// One colour on the other, each as high as its share of the time.
void draw_shares(Svg& svg, const std::vector<Slice>& slices, int depth, const Scale& x,
                 const Lane& lane) {
  constexpr double kLeast = 8;  // pixels of a part
  constexpr double kSeen = 0.7;
  const double pixel = (x.high - x.low) / (x.to - x.from);
  const TimeShares times = time_shares(slices, depth, kLeast * pixel, x.high);
  double before = -1, before_to = 0;  // end of the last run, and where it was drawn
  for (const ShareRun& run : times.runs) {
    double from = x(run.start), to = x(run.end), sum = 0;
    if (to - from >= kLeast) {  // whole pixels: no seams between neighbours
      from = std::round(from);
      to = std::round(to);
    }
    if (run.start == before) from = std::min(before_to, to);
    before = run.end;
    before_to = to;
    for (const double share : run.shares) sum += share;
    double bottom = lane.y + lane.height;
    for (std::size_t i = 0; i < run.shares.size(); ++i) {
      if (run.shares[i] <= 0) continue;
      const double height = lane.height * run.shares[i] / std::max(1.0, sum);
      svg.rect(from, bottom - std::max(height, kSeen), to - from, std::max(height, kSeen),
               times.colors[i]);
      bottom -= height;
    }
  }
}

/// Are slices of a depth too narrow to be told apart? One answer for all rows: they are compared.
bool too_narrow(const std::vector<GanttRow>& rows, int depth, const Scale& x) {
  constexpr double kTold = 3;  // pixels
  double sum = 0, count = 0;
  for (const GanttRow& row : rows) {
    for (const Slice& slice : row.slices) {
      if (slice.depth != depth) continue;
      sum += x(slice.start + slice.length) - x(slice.start);
      count += 1;
    }
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

constexpr double kSmall = 9.0 / 11;  // of the usual size
std::string whole_label(const Slice& slice) {
  return slice.label + (slice.below.empty() ? "" : "+" + slice.below);
}

/// Of slices of one colour in a row the widest label: what has no room for it has none, or "9"
/// would be there where "10" is not.
std::map<std::string, double> widest_labels(const GanttRow& row) {
  std::map<std::string, double> widest;
  for (const Slice& slice : row.slices) {
    if (slice.depth != 0) continue;
    double& own = widest[slice.color];
    own = std::max(own, text_width(whole_label(slice)));
  }
  return widest;
}

/// In one line; where that has no room in two, of a pair.
void draw_label(Svg& svg, const Slice& slice, double middle, double pixels, double y,
                double widest) {
  const auto fits = [&](const std::string& text) { return text_width(text) + 4 < pixels; };
  const bool usual = widest + 4 < pixels, small = !usual && widest * kSmall + 2 < pixels;
  if (usual || small) {
    svg.text(middle, y + kLane / 2 + kBaseline - (small ? 0.5 : 0), whole_label(slice),
             std::string(inside_of(slice)) + (small ? " small" : ""), Anchor::middle);
  } else if (!slice.below.empty() && fits(slice.label) && fits(slice.below)) {
    svg.text(middle, y + 9.5, slice.label, "inside small", Anchor::middle);
    svg.text(middle, y + kLane - 2.5, slice.below, "inside small", Anchor::middle);
  }
}

using ByDepth = std::array<bool, kDepths>;

/// How many spans are too short to draw.
std::size_t draw_row(Svg& svg, const GanttRow& row, const ByDepth& as_shares, const Scale& x,
                     double top) {
  constexpr std::size_t kMostSlices = 1500;  // of one row: more cannot be told apart
  const auto lane_of = [&](int depth) {
    if (depth == 0) return Lane{top + kLabel, kLane};
    return Lane{top + kLabel + kLane + 1 + (kInner + 1) * (depth - 1), kInner};
  };
  std::size_t left_out = 0;
  const std::map<std::string, double> widest = widest_labels(row);
  for (int depth = 0; depth < kDepths; ++depth) {
    if (!as_shares[static_cast<std::size_t>(depth)]) continue;
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
    if (slice.depth != 0) continue;
    draw_label(svg, slice, x(slice.start) + pixels / 2, pixels, y, widest.at(slice.color));
  }
  return left_out;
}

}  // namespace

std::string gantt_chart(const Gantt& chart, double width) {
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
  ByDepth as_shares = {};
  for (int depth = 0; chart.shares && depth < kDepths; ++depth) {
    as_shares[static_cast<std::size_t>(depth)] = too_narrow(chart.rows, depth, x);
  }
  double top = 8;
  for (std::size_t r = 0; r < chart.rows.size(); ++r) {
    const GanttRow& row = chart.rows[r];
    const std::size_t left_out = draw_row(svg, row, as_shares, x, top);
    std::string label = row.label;
    if (as_shares[0] && r == 0) label += " (heights are shares of the time)";
    if (left_out > 0) label += fmt::format(" ({} spans too short to draw)", left_out);
    svg.text(6, top + 13, fit_text(label, width - 12), "label");
    top += heights[r];
  }
  return svg.str();
}

}  // namespace parallel_opt
