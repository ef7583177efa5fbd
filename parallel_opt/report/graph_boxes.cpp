#include "parallel_opt/report/graph_boxes.h"

#include <algorithm>

#include "parallel_opt/report/svg.h"

namespace parallel_opt::graph_boxes {
namespace {

constexpr double kBoxHeight = 40, kHeader = 26, kPadding = 14;
constexpr double kRowGap = 22, kColumnGap = 14, kLane = 14, kDot = 8;
constexpr double kWidest = 230;  ///< of a title

}  // namespace

class Measure {
 public:
  explicit Measure(const GraphView& view) : view_(view), inside_(view.boxes.size()) {
    g_.places.resize(view.boxes.size());
    g_.grids.resize(view.boxes.size());
    for (std::size_t i = 1; i < view.boxes.size(); ++i) {
      inside_[static_cast<std::size_t>(view.boxes[i].parent)].push_back(i);
    }
    lanes_.resize(view.boxes.size());
    for (const GraphLine& line : view.lines) {
      const GraphBox& from = view.boxes[static_cast<std::size_t>(line.from)];
      lanes_[static_cast<std::size_t>(from.parent)].push_back(line.lane);
    }
  }

  Geometry run() {
    if (view_.boxes.empty()) return g_;
    size(0);
    place(0, 0, 0);
    return std::move(g_);
  }

 private:
  BoxPlace& at(std::size_t box) { return g_.places[box]; }

  void size(std::size_t index) {
    const GraphBox& box = view_.boxes[index];
    BoxPlace& p = at(index);
    p.open = (box.open || index == 0) && !inside_[index].empty();
    if (!p.open) {
      const bool dot = box.kind == BoxKind::entry || box.kind == BoxKind::exit;
      // A share has room beside any detail; titles are bold.
      const double text =
          std::max(1.12 * text_width(title_of(box)), 0.9 * text_width(subtitle_of(box, "100.0 %")));
      p.width = dot ? kDot : std::max(text + 20, 64.0);
      p.height = dot ? kDot : kBoxHeight;
      return;
    }
    std::map<int, double> widths, heights;
    for (const int lane : lanes_[index]) widths.try_emplace(lane, kLane);
    for (const std::size_t child : inside_[index]) {
      size(child);
      const GraphBox& c = view_.boxes[child];
      double& width = widths.try_emplace(c.column, kLane).first->second;
      width = std::max(width, at(child).width);
      double& height = heights.try_emplace(c.row, 0).first->second;
      height = std::max(height, at(child).height);
    }
    const double header = index == 0 ? 0 : kHeader, padding = index == 0 ? 0 : kPadding;
    Tracks& tracks = g_.grids[index];
    double x = padding, y = header;
    const double natural = [&] {
      double sum = 2 * padding - kColumnGap;
      for (const auto& [column, width] : widths) sum += width + kColumnGap;
      return sum;
    }();
    const double title = index == 0 ? 0 : text_width(title_of(box)) + 90;
    x += std::max(0.0, (title - natural) / 2);
    for (const auto& [column, width] : widths) {
      tracks.columns_[column] = x + width / 2;
      x += width + kColumnGap;
    }
    for (const auto& [row, height] : heights) {
      tracks.rows_[row] = {y, y + height};
      y += height + kRowGap;
    }
    p.width = std::max(natural, title);
    p.height = y - kRowGap + padding;
  }

  void place(std::size_t index, double x, double y) {
    BoxPlace& p = at(index);
    p.x = x;
    p.y = y;
    p.seen = true;
    if (!p.open) return;
    Tracks& tracks = g_.grids[index];
    for (auto& [row, ends] : tracks.rows_) {
      ends.first += y;
      ends.second += y;
    }
    for (auto& [column, center] : tracks.columns_) center += x;
    for (const std::size_t child : inside_[index]) {
      const GraphBox& c = view_.boxes[child];
      const double middle = (tracks.top(c.row) + tracks.bottom(c.row)) / 2;
      place(child, tracks.center(c.column) - at(child).width / 2, middle - at(child).height / 2);
    }
  }

  const GraphView& view_;
  std::vector<std::vector<std::size_t>> inside_;
  std::vector<std::vector<int>> lanes_;
  Geometry g_;
};

Geometry measure(const GraphView& view) { return Measure(view).run(); }

std::string title_of(const GraphBox& box) {
  const std::string repeats =
      box.repeats > 1 ? " \xc3\x97 " + std::to_string(box.repeats) : std::string();
  return fit_text(box.name, kWidest - text_width(repeats)) + repeats;
}

std::string subtitle_of(const GraphBox& box, const std::string& share) {
  const std::string detail = fit_text(box.detail, kWidest);
  return detail.empty() || share.empty() ? detail + share : detail + "  " + share;
}

}  // namespace parallel_opt::graph_boxes
