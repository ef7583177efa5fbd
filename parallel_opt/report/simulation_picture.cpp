#include "parallel_opt/report/simulation_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/report/charts.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

constexpr double kWidth = 1040, kPhone = 350;
constexpr std::size_t kMostCurves = 6;
constexpr double kLeft = 56, kRight = 16;  // of all panels: one axis of time

/// "rank 12 stream 7 compute" -> 12; -1: of no rank.
int rank_of_track(const std::string& track) {
  int rank = -1;
  if (track.starts_with("rank ")) {
    (void)std::from_chars(track.data() + 5, track.data() + track.size(), rank);
  }
  return rank;
}

/// At most `count` of `ranks` numbers, evenly, both ends among them.
std::vector<int> chosen(int ranks, std::size_t count) {
  std::vector<int> some;
  const auto n = std::min(static_cast<std::size_t>(ranks), count);
  for (std::size_t i = 0; i < n; ++i) {
    some.push_back(n < 2 ? 0 : static_cast<int>(i * static_cast<std::size_t>(ranks - 1) / (n - 1)));
  }
  return some;
}

/// What the host does that a step waits for: its steps of optimizers, loading. How it launches each
/// action is left to the trace.
bool is_of_host(const Span& span) {
  return (span.category == "optimizer" && span.track.ends_with(" launch")) ||
         span.track.ends_with(" loader");
}
bool is_drawn(const Span& span) {
  return span.track.find(" stream ") != std::string::npos || is_of_host(span);
}

/// Weight gradients apart from the rest of the backward: zero-bubble schedules move them.
std::string color_of_span(const Span& span) {
  if (is_of_host(span)) return span.category == "optimizer" ? "c-host" : "c-other";
  if (span.name.starts_with("backward weight")) return "c-compile";
  if (span.name.find(" and backward") != std::string::npos) return "c-both";
  return "c-" + span.category;
}

/// The micro-batch's number, which is what one follows through the picture; of a forward and a
/// backward together both.
std::pair<std::string, std::string> label_of_span(const Span& span) {
  constexpr std::string_view kWord = "micro-batch ";
  const std::size_t at = span.name.find(kWord);
  if (at == std::string::npos) return {span.category == "idle" ? span.name : span.category, ""};
  const auto number_at = [&](std::size_t from) {
    const std::string rest = span.name.substr(from + kWord.size());
    return rest.substr(0, rest.find(' '));
  };
  const std::size_t second = span.name.find(kWord, at + 1);
  return {number_at(at), second == std::string::npos ? "" : number_at(second)};
}

struct Key {
  std::string color;
  std::string name;
};

/// "rank 2", "ranks 0, 3 and 5 to 7".
std::string list_of_ranks(const std::vector<int>& ranks) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    const bool run = end - i > 2;  // two are no shorter as "3 to 4"
    if (!run) end = i + 1;
    parts.push_back(std::to_string(ranks[i]) +
                    (run ? " to " + std::to_string(ranks[end - 1]) : ""));
    i = end;
  }
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < parts.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  }
  return text;
}

/// Ranks whose memory is the same at all times, and that memory.
struct RanksMemory {
  std::vector<int> ranks;
  std::vector<std::pair<double, std::optional<double>>> points;
};

/// Of those that stand out a colour each: places in `groups`, at most `kMostCurves`.
std::vector<int> named_groups(const std::vector<RanksMemory>& groups,
                              const std::vector<NotedRank>& noted) {
  std::vector<NotedRank> places;
  for (const NotedRank& one : noted) {
    const auto at = std::ranges::find_if(groups, [&](const RanksMemory& group) {
      return std::ranges::find(group.ranks, one.rank) != group.ranks.end();
    });
    if (at != groups.end()) places.push_back({int(at - groups.begin()), ""});
  }
  return drawn_ranks(static_cast<int>(groups.size()), places, kMostCurves);
}

/// What the picture leaves out; empty: nothing.
std::string words_of_drawn(int ranks, const std::vector<NotedRank>& noted) {
  const std::vector<int> drawn = drawn_ranks(ranks, noted);
  if (drawn.size() >= static_cast<std::size_t>(ranks)) return "";
  std::size_t missing = 0;
  for (const NotedRank& one : noted) {
    missing += std::ranges::binary_search(drawn, one.rank) ? 0 : 1;
  }
  return fmt::format("{} of {} ranks are drawn: the first, the last, {}others evenly between{}",
                     drawn.size(), ranks, noted.empty() ? "" : "those with a note, ",
                     missing > 0 ? fmt::format("; {} with a note are not", missing) : "");
}

struct Pictures {
  const StepPicture& step;
  int ranks = 0;
  double scale = 1;  ///< from seconds to the unit
  std::string unit = "s";

  double end_s = 0;
  std::string left_out;  ///< in words

  explicit Pictures(const StepPicture& picture) : step(picture), ranks(picture.ranks) {
    for (const Span& span : picture.timeline.spans) {
      end_s = std::max(end_s, span.start_s + span.duration_s);
      if (picture.ranks == 0) ranks = std::max(ranks, rank_of_track(span.track) + 1);
    }
    if (end_s < 10) {
      scale = 1e3;
      unit = "ms";
    }
    left_out = words_of_drawn(ranks, picture.noted);
  }

  std::vector<int> drawn() const { return drawn_ranks(ranks, step.noted); }
  std::string name_of_row(int rank) const {
    const auto noted = std::ranges::find(step.noted, rank, &NotedRank::rank);
    return "rank " + std::to_string(rank) +
           (noted == step.noted.end() ? "" : " (" + noted->why + ")");
  }

  std::string gantt(double width) const {
    Gantt chart{.title = step.title,
                .unit = unit,
                .left = kLeft,
                .right = kRight,
                .end = end_s * scale,
                .shares = true};
    std::map<int, std::size_t> row_of;
    for (const int rank : drawn()) {
      row_of[rank] = chart.rows.size();
      chart.rows.push_back({name_of_row(rank), {}});
    }
    for (const Span& span : step.timeline.spans) {
      const auto row = row_of.find(rank_of_track(span.track));
      if (row == row_of.end() || !is_drawn(span)) continue;
      const bool computes = span.track.ends_with(" compute");
      auto [label, below] = label_of_span(span);
      chart.rows[row->second].slices.push_back(
          {.start = span.start_s * scale,
           .length = span.duration_s * scale,
           .color = color_of_span(span),
           .label = std::move(label),
           .tooltip = fmt::format("{}: {:.4g} {}", span.name, span.duration_s * scale, unit),
           .depth = computes           ? 0
                    : is_of_host(span) ? 2
                                       : 1,
           .below = std::move(below)});
    }
    return gantt_chart(chart, width);
  }

  LineChart panel(const std::string& title, const std::string& label) const {
    return {.title = title,
            .x_label = unit,
            .y_label = label,
            .from_zero = true,
            .stairs = true,
            .left = kLeft,
            .right = kRight,
            .x_high = end_s * scale};
  }
  /// Of the ranks that are drawn.
  std::vector<RanksMemory> memory_groups() const {
    std::map<int, RanksMemory> of_rank;
    for (const int rank : drawn()) of_rank[rank].ranks = {rank};
    for (const CounterSample& sample : step.timeline.counters) {
      if (sample.counter != "memory_bytes") continue;
      const auto at = of_rank.find(rank_of_track(sample.track));
      if (at != of_rank.end()) {
        at->second.points.emplace_back(sample.time_s * scale, sample.value);
      }
    }
    std::vector<RanksMemory> groups;
    for (auto& [rank, one] : of_rank) {
      if (one.points.empty()) continue;
      const auto same = std::ranges::find(groups, one.points, &RanksMemory::points);
      if (same == groups.end()) {
        groups.push_back(std::move(one));
      } else {
        same->ranks.push_back(rank);
      }
    }
    return groups;
  }
  /// Of ranks whose memory is the same at all times one curve; of more curves than there are
  /// colours the others are faint.
  std::vector<Series> memory_curves() const {
    std::vector<RanksMemory> groups = memory_groups();
    const std::vector<int> named = named_groups(groups, step.noted);
    std::vector<Series> curves;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const bool faint = !std::ranges::binary_search(named, int(i));
      const std::string alike = groups[i].ranks.size() > 1 ? " alike" : "";
      curves.push_back({.name = list_of_ranks(groups[i].ranks) + alike,
                        .color = "others",
                        .points = std::move(groups[i].points),
                        .faint = faint});
      if (!faint) {
        const auto at = std::ranges::lower_bound(named, int(i)) - named.begin();
        curves.back().color = "w" + std::to_string(at);
      }
    }
    return curves;
  }
  /// Every rank that is drawn is in one of them.
  std::vector<Key> memory_keys() const {
    std::vector<Key> keys;
    for (const Series& curve : memory_curves()) {
      if (!curve.faint) keys.push_back({curve.color, curve.name});
    }
    const std::vector<RanksMemory> groups = memory_groups();
    const std::vector<int> named = named_groups(groups, step.noted);
    std::vector<int> others;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (std::ranges::binary_search(named, int(i))) continue;
      others.insert(others.end(), groups[i].ranks.begin(), groups[i].ranks.end());
    }
    std::ranges::sort(others);
    if (!others.empty()) keys.push_back({"others", list_of_ranks(others) + " (thin)"});
    return keys;
  }

  /// Empty when nothing is known of it.
  std::string memory(double width) const {
    double most = 0;
    for (const DeviceMemory& memory : step.memories) most = std::max(most, memory.bytes);
    for (const CounterSample& sample : step.timeline.counters) {
      if (sample.counter == "memory_bytes") most = std::max(most, sample.value);
    }
    const double size = most < 1 << 20 ? 1 : most < 1 << 30 ? 1 << 20 : 1 << 30;
    LineChart chart = panel("Memory", size == 1 ? "bytes" : size == 1 << 20 ? "MiB" : "GiB");
    chart.series = memory_curves();
    for (Series& curve : chart.series) {
      for (auto& [time, bytes] : curve.points) bytes = bytes.value_or(0) / size;
    }
    for (const DeviceMemory& memory : step.memories) {
      chart.limits.push_back({memory.bytes / size, "usable memory of " + memory.devices + ": " +
                                                       show_bytes(memory.bytes)});
    }
    return chart.series.empty() ? "" : line_chart(chart, width);
  }

  /// Means over equal parts of the step: a rank's power changes with every action.
  Series watts_curve(const std::string& name, std::size_t color, const std::vector<double>& watts,
                     double unit_size) const {
    Series series{name, "w" + std::to_string(color), {}};
    const double part = end_s * scale / static_cast<double>(watts.size());
    for (std::size_t i = 0; i <= watts.size(); ++i) {
      const double mean = watts[std::min(i, watts.size() - 1)];
      series.points.emplace_back(static_cast<double>(i) * part, mean / unit_size);
    }
    return series;
  }
  /// Of one or two ranks each, of more their sum. Empty when no watts are known.
  std::string power(double width) const {
    if (!step.power || step.power->total_w.empty()) return "";
    const PowerCurve& curve = *step.power;
    if (!curve.ranks_w.empty()) {
      LineChart chart = panel("Power of a device", "W");
      for (std::size_t i = 0; i < curve.ranks_w.size(); ++i) {
        chart.series.push_back(watts_curve("rank " + std::to_string(i), i, curve.ranks_w[i], 1));
      }
      return line_chart(chart, width);
    }
    const bool large = std::ranges::max(curve.total_w) >= 1e4;
    LineChart chart = panel("Power of all devices", large ? "kW" : "W");
    chart.series.push_back(watts_curve("all devices", 1, curve.total_w, large ? 1e3 : 1));
    return line_chart(chart, width);
  }
  std::vector<Key> power_keys() const {
    std::vector<Key> keys;
    for (std::size_t i = 0; step.power && i < step.power->ranks_w.size(); ++i) {
      keys.push_back({"w" + std::to_string(i), "rank " + std::to_string(i)});
    }
    if (!step.power || !keys.empty()) return keys;
    return {{"w1", fmt::format("all devices; one draws {:.0f} to {:.0f} W", step.power->least_w,
                               step.power->most_w)}};
  }

  /// Of the kinds that are drawn.
  std::vector<Key> action_keys() const {
    const std::vector<int> rows = drawn();
    std::set<std::string> colors;
    bool copies_on_device = false;
    for (const Span& span : step.timeline.spans) {
      if (!is_drawn(span)) continue;
      if (std::ranges::binary_search(rows, rank_of_track(span.track))) {
        colors.insert(color_of_span(span));
        copies_on_device = copies_on_device || span.name.starts_with("Memcpy DtoD");
      }
    }
    std::vector<Key> keys = {{"c-forward", "forward"},
                             {"c-backward", "backward"},
                             {"c-compile", "backward for weights"},
                             {"c-both", "forward and backward together"},
                             {"c-data", "copies to the host and back"},
                             {"c-communication", "communication"},
                             {"c-optimizer", "optimizer"},
                             {"c-host", "optimizer on the host"},
                             {"c-other", "loading of samples"},
                             {"c-idle", "waits for collectives, transfers and once per step"}};
    if (copies_on_device) keys[4].name = "copies";
    std::erase_if(keys, [&](const Key& key) { return !colors.contains(key.color); });
    return keys;
  }
};

std::string style() {
  return std::string(embedded_file("parallel_opt/report/assets/report.css").value_or(""));
}

/// Of a picture, as its first tag says.
double height_of(const std::string& svg) {
  constexpr std::string_view kHeight = "\" height=\"";
  const std::size_t at = svg.find(kHeight);
  double height = 0;
  if (at != std::string::npos) {
    (void)std::from_chars(svg.data() + at + kHeight.size(), svg.data() + svg.size(), height);
  }
  return height;
}

std::string html_keys(const std::vector<Key>& keys) {
  std::string text = "<ul class=\"legend\">";
  for (const Key& key : keys) {
    text += fmt::format("<li><i class=\"key {}\"></i>{}</li>", key.color, key.name);
  }
  return text + "</ul>";
}

/// One line of text, so that gaps are even in any font; smaller where it is long.
std::string svg_keys(const std::string& title, const std::vector<Key>& keys, double y) {
  constexpr double kSize = 11, kGaps = 32;
  double wide = text_width(title);
  for (const Key& key : keys) wide += kGaps + text_width(key.name);
  const std::string size =
      wide <= kWidth ? "" : fmt::format(" style=\"font-size: {:.1f}px\"", kSize * kWidth / wide);
  std::string text =
      fmt::format("<text class=\"tick\" x=\"16\" y=\"{:.0f}\"{}><tspan class=\"name\">{}</tspan>",
                  y, size, title);
  for (const Key& key : keys) {
    text += fmt::format("<tspan class=\"{}\" dx=\"16\">\u25a0</tspan><tspan dx=\"5\">{}</tspan>",
                        key.color, key.name);
  }
  return text + "</text>\n";
}

/// Of a heading of one line: smaller where it is long. Bold letters of 18 pixels are as wide as 1.5
/// plain ones of 12.
std::string size_that_fits(const std::string& title) {
  constexpr double kSize = 18;
  const double wide = kSize / 12 * text_width(title);
  return wide <= kWidth ? "" : fmt::format(" style=\"font-size: {:.1f}px\"", kSize * kWidth / wide);
}

}  // namespace

std::vector<int> drawn_ranks(int ranks, const std::vector<NotedRank>& noted, std::size_t most) {
  if (static_cast<std::size_t>(ranks) <= most) return chosen(ranks, most);
  std::set<int> wanted = {0, ranks - 1};
  for (const NotedRank& one : noted) {
    if (wanted.size() < most) wanted.insert(one.rank);
  }
  // As many evenly spaced ones as there is room for beside them.
  std::set<int> all = wanted;
  for (std::size_t even = most; even > 0; --even) {
    std::set<int> more = wanted;
    for (const int rank : chosen(ranks, even)) more.insert(rank);
    if (more.size() > most) continue;
    all = std::move(more);
    break;
  }
  return {all.begin(), all.end()};
}

std::string step_svg(const StepPicture& picture) {
  const Pictures pictures(picture);
  std::string body;
  double y = 76;
  if (!pictures.left_out.empty()) {
    body += fmt::format("<text class=\"tick\" x=\"16\" y=\"64\">{}</text>\n", pictures.left_out);
    y += 17;
  }
  const auto add = [&](const std::string& title, const std::vector<Key>& keys,
                       const std::string& part) {
    if (part.empty()) return;
    body += svg_keys(title, keys, y) +
            fmt::format("<svg x=\"16\" y=\"{:.0f}\">{}</svg>\n", y + 10, part);
    y += 10 + height_of(part) + 28;
  };
  add("Actions, by micro-batch", pictures.action_keys(), pictures.gantt(kWidth));
  add("Memory", pictures.memory_keys(), pictures.memory(kWidth));
  add("Power", pictures.power_keys(), pictures.power(kWidth));
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
             "width=\"{0:.0f}\" height=\"{1:.0f}\" font-family=\"system-ui, "
             "sans-serif\">\n<style>{2}"
             "svg {{ overflow: visible; }} .paper {{ fill: var(--panel); }} .head {{ font-size: "
             "18px; "
             "font-weight: 600; }} .name {{ font-weight: 600; }}</style>\n<rect class=\"paper\" "
             "width=\"100%\" height=\"100%\"/>\n"
             "<text class=\"head\"{5} x=\"16\" y=\"28\">{3}</text><text class=\"tick\" x=\"16\" "
             "y=\"47\">{4}</text>\n",
             kWidth + 32, y - 12, style(), escape_html(picture.title),
             escape_html(picture.subtitle), size_that_fits(picture.title)) +
         body + "</svg>\n";
}

std::string step_page(const StepPicture& picture) {
  const Pictures pictures(picture);
  const auto figure = [](std::string_view title, std::string_view legend, const std::string& wide,
                         const std::string& narrow) {
    if (wide.empty()) return std::string();
    return fmt::format(
        "<figure class=\"full\"><figcaption><b>{}</b></figcaption>{}<div class=\"wide\">{}</div>"
        "<div class=\"narrow\">{}</div></figure>\n",
        title, legend, wide, narrow);
  };
  std::string text = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{0}</title>\n"
      "<style>\n{1}</style>\n</head>\n<body>\n<header><h1>{0}</h1><p class=\"subtitle\">{2}</p>{3}"
      "</header>\n<main><section><div class=\"figures\">\n",
      escape_html(picture.title), style(), escape_html(picture.subtitle),
      pictures.left_out.empty() ? "" : "<p class=\"subtitle\">" + pictures.left_out + "</p>");
  text += figure("Actions, by micro-batch", html_keys(pictures.action_keys()),
                 pictures.gantt(kWidth), pictures.gantt(kPhone));
  const std::string ranks = html_keys(pictures.memory_keys());
  text += figure("Memory", ranks, pictures.memory(kWidth), pictures.memory(kPhone));
  text += figure("Power", html_keys(pictures.power_keys()), pictures.power(kWidth),
                 pictures.power(kPhone));
  return text + "</div></section></main>\n</body>\n</html>\n";
}

}  // namespace parallel_opt
