#include "parallel_opt/report/graph_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/report/graph_boxes.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

using graph_boxes::Geometry;

constexpr double kLegendHeight = 66;
constexpr double kPageMargin = 16;

double value_of(const GraphBox& box, HeatBy by) {
  switch (by) {
    case HeatBy::flops:
      return box.flops;
    case HeatBy::traffic:
      return box.bytes;
    case HeatBy::memory:
      return box.memory_bytes;
    case HeatBy::time:
      return box.seconds;
  }
  return 0;
}

double total_of(const GraphView& view, HeatBy by) { return value_of(view.boxes.front(), by); }

std::string metric_text(double value, HeatBy by) {
  if (by == HeatBy::flops) return show(Flops(value));
  if (by == HeatBy::time) return show(Seconds(value));
  return show(Bytes(static_cast<std::int64_t>(value)));
}

std::string_view metric_words(HeatBy by) {
  switch (by) {
    case HeatBy::flops:
      return "share of the forward's FLOPs";
    case HeatBy::traffic:
      return "share of the bytes that the forward reads and writes";
    case HeatBy::memory:
      return "share of the memory for parameters and for what the backward needs";
    case HeatBy::time:
      return "share of the predicted time of forward and backward";
  }
  return "";
}

/// What a view can be coloured by.
std::vector<HeatBy> choices_of(const GraphView& view) {
  std::vector<HeatBy> choices = {HeatBy::flops, HeatBy::traffic, HeatBy::memory};
  if (view.seconds > 0) choices.push_back(HeatBy::time);
  return choices;
}

constexpr std::array<std::string_view, 6> kHeatWords = {"< 0.1 %", "0.1-1 %", "1-3 %",
                                                        "3-10 %",  "10-30 %", "\xe2\x89\xa5 30 %"};

std::string line_path(const GraphView& view, const Geometry& g, const GraphLine& line) {
  const auto& from = g.places[static_cast<std::size_t>(line.from)];
  const auto& to = g.places[static_cast<std::size_t>(line.to)];
  const GraphBox& a = view.boxes[static_cast<std::size_t>(line.from)];
  const GraphBox& b = view.boxes[static_cast<std::size_t>(line.to)];
  const auto& grid = g.grids[static_cast<std::size_t>(a.parent)];
  const double x1 = from.x + from.width / 2, y1 = from.y + from.height;
  const double x2 = to.x + to.width / 2, y2 = to.y;
  std::string path = fmt::format("M{:.1f} {:.1f}", x1, y1);
  double x = x1, y = grid.bottom(a.row);
  if (y > y1) path += fmt::format("V{:.1f}", y);
  const auto bend_to = [&](double to_x, double to_y) {
    const double middle = (y + to_y) / 2;
    path += fmt::format("C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}", x, middle, to_x, middle, to_x,
                        to_y);
    x = to_x;
    y = to_y;
  };
  if (b.row > a.row + 1) {
    bend_to(grid.center(line.lane), grid.top(a.row + 1));
    y = grid.bottom(b.row - 1);
    path += fmt::format("V{:.1f}", y);
  }
  bend_to(x2, grid.top(b.row));
  if (y2 > y) path += fmt::format("V{:.1f}", y2);
  return path;
}

std::string tooltip(const GraphBox& box) {
  std::string text = box.name;
  if (!box.detail.empty()) text += " (" + box.detail + ")";
  if (box.repeats > 1) text += fmt::format("\nrepeats {} times", box.repeats);
  text += fmt::format("\n{}, {} moved, {} kept", show(Flops(box.flops)),
                      metric_text(box.bytes, HeatBy::traffic),
                      metric_text(box.memory_bytes, HeatBy::memory));
  if (box.seconds > 0) text += ", " + metric_text(box.seconds, HeatBy::time);
  return text;
}

class SvgDrawing {
 public:
  SvgDrawing(const GraphView& view, HeatBy by)
      : view_(view), by_(by), geometry_(graph_boxes::measure(view)) {}

  std::string run(std::string_view style) {
    const auto& root = geometry_.places.front();
    const double width = std::max(root.width + 2 * kPageMargin, 620.0);
    const double height = root.height + 2 * kPageMargin + kLegendHeight;
    text_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\" aria-label=\"{2}\">",
        width, height, escape_html("Graph of " + view_.name));
    if (!style.empty()) {
      text_ += fmt::format(
          "<style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>", style);
    }
    legend();
    text_ += fmt::format("<g transform=\"translate({:.1f} {:.1f})\">", (width - root.width) / 2,
                         kPageMargin + kLegendHeight);
    for (std::size_t i = 1; i < view_.boxes.size(); ++i) {
      if (geometry_.places[i].seen && geometry_.places[i].open) frame(i);
    }
    for (const GraphLine& line : view_.lines) {
      if (!geometry_.places[static_cast<std::size_t>(line.from)].seen) continue;
      text_ += fmt::format("<path class=\"wire\" d=\"{}\"><title>{}, {}</title></path>",
                           line_path(view_, geometry_, line), escape_html(line.tensor),
                           metric_text(line.bytes, HeatBy::traffic));
    }
    for (std::size_t i = 1; i < view_.boxes.size(); ++i) {
      if (geometry_.places[i].seen && !geometry_.places[i].open) closed(i);
    }
    return text_ + "</g></svg>\n";
  }

 private:
  void legend() {
    text_ += fmt::format(
        "<text class=\"title\" x=\"{0:.0f}\" y=\"24\">{1}</text><text class=\"soft\" x=\"{0:.0f}\" "
        "y=\"42\">{2}: {3} in all{4}</text>",
        kPageMargin, escape_html(view_.name), metric_words(by_),
        metric_text(total_of(view_, by_), by_),
        by_ == HeatBy::time ? " on " + escape_html(view_.timed_on) : "");
    double x = kPageMargin;
    for (std::size_t i = 0; i < kHeatWords.size(); ++i) {
      text_ += fmt::format(
          "<rect class=\"box h{0}\" x=\"{1:.0f}\" y=\"51\" width=\"12\" height=\"12\" rx=\"2\"/>"
          "<text class=\"soft\" x=\"{2:.0f}\" y=\"61\">{3}</text>",
          i, x, x + 17, escape_html(kHeatWords[i]));
      x += 80;
    }
  }

  std::string share_text(const GraphBox& box) const {
    const double total = total_of(view_, by_);
    return total > 0 ? fmt::format("{:.1f} %", 100 * value_of(box, by_) / total) : "";
  }

  int heat(const GraphBox& box) const {
    const double total = total_of(view_, by_);
    return total > 0 ? heat_of(value_of(box, by_) / total) : 0;
  }

  void frame(std::size_t i) {
    const GraphBox& box = view_.boxes[i];
    const auto& p = geometry_.places[i];
    // Repeats look like a stack of sheets.
    for (int sheet = box.repeats > 1 ? 2 : 0; sheet > 0; --sheet) {
      text_ += fmt::format(
          "<rect class=\"frame\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "rx=\"8\"/>",
          p.x + 4 * sheet, p.y + 4 * sheet, p.width, p.height);
    }
    text_ += fmt::format(
        "<rect class=\"frame\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
        "rx=\"8\"><title>{}</title></rect><rect class=\"box h{}\" x=\"{:.1f}\" y=\"{:.1f}\" "
        "width=\"10\" height=\"10\" rx=\"2\"/>",
        p.x, p.y, p.width, p.height, escape_html(tooltip(box)), heat(box), p.x + 8, p.y + 8);
    text_ += fmt::format(
        "<text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\">{}<tspan class=\"soft\" "
        "dx=\"6\">{}</tspan></text>",
        p.x + 24, p.y + 17, escape_html(graph_boxes::title_of(box)), share_text(box));
  }

  void closed(std::size_t i) {
    const GraphBox& box = view_.boxes[i];
    const auto& p = geometry_.places[i];
    if (box.kind == BoxKind::entry || box.kind == BoxKind::exit) {
      text_ += fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>",
                           p.x + p.width / 2, p.y + p.height / 2);
      return;
    }
    const bool end = box.kind == BoxKind::input || box.kind == BoxKind::output;
    const std::string classes = end ? "end" : fmt::format("box h{}", heat(box));
    if (box.repeats > 1) {
      text_ += fmt::format(
          "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "rx=\"6\"/>",
          classes, p.x + 4, p.y + 4, p.width, p.height);
    }
    text_ += fmt::format(
        "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
        "rx=\"{}\"><title>{}</title></rect>",
        classes, p.x, p.y, p.width, p.height, end ? 14 : 6, escape_html(tooltip(box)));
    const std::string ink = end ? "" : fmt::format(" i{}", heat(box));
    const double middle = p.x + p.width / 2;
    text_ += fmt::format(
        "<text class=\"name{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", ink,
        middle, p.y + 16, escape_html(graph_boxes::title_of(box)));
    text_ += fmt::format(
        "<text class=\"soft{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", ink,
        middle, p.y + 31, escape_html(graph_boxes::subtitle_of(box, end ? "" : share_text(box))));
  }

  const GraphView& view_;
  HeatBy by_;
  Geometry geometry_;
  std::string text_;
};

std::string asset(const std::string& name) {
  const std::string content(embedded_file("parallel_opt/report/assets/" + name).value_or(""));
  PO_CHECK(!content.empty(), "the assets are compiled into the program");
  return content;
}

/// The same boxes as nested elements; the browser lays them out, a script draws the lines.
class HtmlDrawing {
 public:
  explicit HtmlDrawing(const GraphView& view)
      : view_(view), inside_(view.boxes.size()), lines_(view.boxes.size()) {
    for (std::size_t i = 1; i < view.boxes.size(); ++i) {
      inside_[static_cast<std::size_t>(view.boxes[i].parent)].push_back(static_cast<int>(i));
    }
    for (const GraphLine& line : view.lines) {
      lines_[static_cast<std::size_t>(view.boxes[static_cast<std::size_t>(line.from)].parent)]
          .push_back(&line);
    }
  }

  std::string grid(std::size_t parent) const {
    int low = 0, high = 0;
    for (const int child : inside_[parent]) {
      low = std::min(low, view_.boxes[static_cast<std::size_t>(child)].column);
      high = std::max(high, view_.boxes[static_cast<std::size_t>(child)].column);
    }
    std::string wires;
    for (const GraphLine* line : lines_[parent]) {
      low = std::min(low, line->lane);
      high = std::max(high, line->lane);
    }
    for (const GraphLine* line : lines_[parent]) {
      wires += fmt::format("{}{} {} {}", wires.empty() ? "" : ",", line->from, line->to,
                           line->lane - low);
    }
    std::string text = fmt::format(
        "<div class=\"grid\" style=\"grid-template-columns:repeat({},minmax(14px,auto))"
        "\" data-wires=\"{}\"><svg class=\"wires\" aria-hidden=\"true\"></svg>",
        high - low + 1, wires);
    for (const int child : inside_[parent]) {
      text += element(static_cast<std::size_t>(child), low);
    }
    return text + "</div>";
  }

 private:
  std::string heat(const GraphBox& box) const {
    const auto one = [](double value, double total) {
      return total > 0 ? heat_of(value / total) : 0;
    };
    return fmt::format("f{} t{} m{} s{}", one(box.flops, view_.flops), one(box.bytes, view_.bytes),
                       one(box.memory_bytes, view_.memory_bytes), one(box.seconds, view_.seconds));
  }

  std::string shares(const GraphBox& box) const {
    std::string text;
    for (const HeatBy by : choices_of(view_)) {
      const double total = total_of(view_, by);
      text += fmt::format("<span class=\"{}\">{:.1f} %</span>", name_of(by),
                          total > 0 ? 100 * value_of(box, by) / total : 0);
    }
    return text;
  }

  std::string element(std::size_t i, int low) const {
    const GraphBox& box = view_.boxes[i];
    const std::string place = fmt::format("id=\"b{}\" style=\"grid-row:{};grid-column:{}\"", i,
                                          box.row + 1, box.column - low + 1);
    if (box.kind == BoxKind::entry || box.kind == BoxKind::exit) {
      return fmt::format("<div class=\"dot\" {} data-row=\"{}\"></div>", place, box.row);
    }
    const bool end = box.kind == BoxKind::input || box.kind == BoxKind::output;
    const bool opens = !inside_[i].empty();
    std::string text =
        fmt::format("<div class=\"node {} {}{}{}\" {} data-row=\"{}\" title=\"{}\">",
                    name_of(box.kind), end ? "end" : heat(box), box.repeats > 1 ? " stack" : "",
                    box.open ? " open" : "", place, box.row, escape_html(tooltip(box)));
    const std::string words = fmt::format(
        "<b>{}{}</b><small>{}{}</small>", escape_html(box.name),
        box.repeats > 1 ? fmt::format(" <i>\xc3\x97 {}</i>", box.repeats) : "",
        box.detail.empty() ? "" : escape_html(box.detail) + " ", end ? "" : shares(box));
    text += opens ? fmt::format("<button aria-expanded=\"{}\">{}</button>",
                                box.open ? "true" : "false", words)
                  : "<div class=\"words\">" + words + "</div>";
    if (opens) text += grid(i);
    return text + "</div>";
  }

  const GraphView& view_;
  std::vector<std::vector<int>> inside_;
  std::vector<std::vector<const GraphLine*>> lines_;
};

std::string html_legend(const GraphView& view, HeatBy first) {
  std::string text = "<fieldset class=\"by\"><legend>Colour:</legend>";
  for (const HeatBy by : choices_of(view)) {
    text += fmt::format("<label><input type=\"radio\" name=\"by\" value=\"{0}\"{1}> {2}</label>",
                        name_of(by), by == first ? " checked" : "", metric_words(by));
  }
  text += "</fieldset><p class=\"legend\">";
  for (std::size_t i = 0; i < kHeatWords.size(); ++i) {
    text += fmt::format("<span><i class=\"key f{0} t{0} m{0} s{0}\"></i>{1}</span>", i,
                        escape_html(kHeatWords[i]));
  }
  return text + "</p>";
}

}  // namespace

int heat_of(double share) {
  constexpr std::array<double, 5> kSteps = {0.001, 0.01, 0.03, 0.1, 0.3};
  return static_cast<int>(std::ranges::upper_bound(kSteps, share) - kSteps.begin());
}

std::string graph_svg(const GraphView& view, HeatBy by) {
  return SvgDrawing(view, by).run(asset("graph.css"));
}

std::string graph_html(const GraphView& view, HeatBy by) {
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n",
      escape_html(view.name));
  text += asset("graph.css") + asset("graph_page.css") + "</style>\n</head>\n";
  text += fmt::format(
      "<body class=\"by-{}\">\n<header><h1>{}</h1><p class=\"soft\">{} forward, {} moved, {} "
      "for parameters and what the backward needs. A box with a thick edge opens by a click.</p>",
      name_of(by), escape_html(view.name), show(Flops(view.flops)),
      metric_text(view.bytes, HeatBy::traffic), metric_text(view.memory_bytes, HeatBy::memory));
  text += html_legend(view, by) + "</header>\n<main>" + HtmlDrawing(view).grid(0) +
          "</main>\n<script>\n";
  return text + asset("graph.js") + "</script>\n</body>\n</html>\n";
}

std::string graph_figure(const GraphView& view) {
  return "<figure class=\"full\"><figcaption><b>What the model computes</b><span>Equal parts are "
         "drawn once.</span></figcaption><div class=\"scroll\">" +
         SvgDrawing(view, view.seconds > 0 ? HeatBy::time : HeatBy::flops).run("") +
         "</div></figure>\n";
}

std::string graph_style() { return asset("graph.css"); }

}  // namespace parallel_opt
