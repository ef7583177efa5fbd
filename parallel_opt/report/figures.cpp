#include "parallel_opt/report/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "parallel_opt/base/text.h"
#include "parallel_opt/report/charts.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

constexpr double kHalf = 500, kFull = 1040, kNarrow = 350;  // pixels: two abreast, whole, phone

constexpr std::array<std::string_view, 7> kCategories = {
    "forward", "backward", "optimizer", "data", "communication", "compile", "idle"};

struct LegendEntry {
  std::string name;
  std::string color;
};

std::string legend(const std::vector<LegendEntry>& entries) {
  std::string text = "<ul class=\"legend\">";
  for (const LegendEntry& entry : entries) {
    text +=
        fmt::format("<li><i class=\"key {}\"></i>{}</li>", entry.color, escape_html(entry.name));
  }
  return text + "</ul>";
}

/// A picture drawn twice, for screens and for phones, so that its text is never scaled down.
template <class Draw>
std::string figure(std::string_view title, std::string_view note, double width, Draw draw,
                   const std::vector<LegendEntry>& entries = {}) {
  return fmt::format(
      "<figure{}><figcaption><b>{}</b>{}</figcaption>{}<div class=\"wide\">{}</div>"
      "<div class=\"narrow\">{}</div></figure>\n",
      width > kHalf ? " class=\"full\"" : "", escape_html(title),
      note.empty() ? std::string() : fmt::format("<span>{}</span>", escape_html(note)),
      entries.empty() ? "" : legend(entries), draw(width), draw(kNarrow));
}

std::string milliseconds(double seconds) {
  const double ms = seconds * 1e3;
  return fmt::format("{:.{}f} ms", ms, ms < 10 ? 2 : ms < 100 ? 1 : 0);
}

/// A bar per way that has the number.
template <class MakeBar>
std::string bars_figure(const ReportModel& model, std::string_view title, std::string_view note,
                        std::optional<double> reference, MakeBar make, double least_scale = 0) {
  BarChart chart{std::string(title) + " of " + model.name, {}, reference, least_scale};
  for (std::size_t i = 0; i < model.ways.size(); ++i) {
    std::optional<Bar> bar = make(model.ways[i]);
    if (!bar || !std::isfinite(bar->value)) continue;
    bar->label = model.ways[i].name;
    bar->color = way_color(model, i);
    chart.bars.push_back(*std::move(bar));
  }
  if (chart.bars.empty()) return "";
  return figure(title, note, kHalf, [&](double width) { return bar_chart(chart, width); });
}

bool by_start(const Span* a, const Span* b) {
  return a->start_s != b->start_s ? a->start_s < b->start_s : a->duration_s > b->duration_s;
}

struct Placed {
  const Span* span;
  int depth;
};

/// Spans by track in order of time, with how deep each is nested.
std::map<std::string, std::vector<Placed>> nested(const Timeline& timeline) {
  std::map<std::string, std::vector<const Span*>> tracks;
  for (const Span& span : timeline.spans) tracks[span.track].push_back(&span);
  std::map<std::string, std::vector<Placed>> result;
  for (auto& [track, spans] : tracks) {
    std::ranges::stable_sort(spans, by_start);
    std::vector<double> ends;
    for (const Span* span : spans) {
      while (!ends.empty() && ends.back() <= span->start_s + 1e-9) ends.pop_back();
      result[track].push_back({span, static_cast<int>(ends.size())});
      ends.push_back(span->start_s + span->duration_s);
    }
  }
  return result;
}

/// Where the first thing of a timeline begins: pictures start there.
double first_time(const Timeline& timeline) {
  double first = 0;
  bool any = false;
  for (const Span& span : timeline.spans) {
    first = any ? std::min(first, span.start_s) : span.start_s;
    any = true;
  }
  for (const CounterSample& sample : timeline.counters) {
    first = any ? std::min(first, sample.time_s) : sample.time_s;
    any = true;
  }
  return first;
}

std::vector<LegendEntry> category_legend(const std::set<std::string>& used) {
  std::vector<LegendEntry> entries;
  for (const std::string_view name : kCategories) {
    if (used.contains(std::string(name)))
      entries.push_back({std::string(name), category_color(std::string(name))});
  }
  for (const std::string& name : used) {
    if (std::ranges::find(kCategories, name) == kCategories.end()) {
      entries.push_back({name, "c-other"});
    }
  }
  return entries;
}

std::vector<LegendEntry> way_legend(const ReportModel& model,
                                    const std::vector<std::size_t>& ways) {
  std::vector<LegendEntry> entries;
  entries.reserve(ways.size());
  for (const std::size_t i : ways) entries.push_back({model.ways[i].name, way_color(model, i)});
  return entries;
}

}  // namespace

std::string way_color(const ReportModel& model, std::size_t index) {
  return "w" + std::to_string(model.ways.size() == 1 ? 1 : index % 6);
}

std::string category_color(const std::string& category) {
  const bool known = std::ranges::find(kCategories, category) != kCategories.end();
  return known ? "c-" + category : "c-other";
}

std::string step_time_figure(const ReportModel& model) {
  return bars_figure(model, "Step time", "shorter is better; whiskers: 10th to 90th percentile", {},
                     [](const ReportWay& way) -> std::optional<Bar> {
                       if (!way.step_s) return std::nullopt;
                       const Spread& s = *way.step_s;
                       return Bar{"", s.median, s.low, s.high, milliseconds(s.median), ""};
                     });
}

std::string speed_figure(const ReportModel& model) {
  if (model.ways.size() < 2) return "";
  const std::string title = "Speed against " + model.ways[0].name;
  return bars_figure(model, title, "samples per second, ratio; longer is better", 1.0,
                     [&](const ReportWay& way) -> std::optional<Bar> {
                       if (&way == &model.ways[0]) {
                         return Bar{"", 1, std::nullopt, std::nullopt, "1", ""};
                       }
                       if (!way.speedup) return std::nullopt;
                       const Spread& s = *way.speedup;
                       return Bar{"", s.median, s.low, s.high, fmt::format("{:.2f}x", s.median),
                                  ""};
                     });
}

std::string memory_figure(const ReportModel& model) {
  return bars_figure(model, "Peak memory", "of the allocator, all ranks; shorter is better", {},
                     [](const ReportWay& way) -> std::optional<Bar> {
                       if (!way.peak_bytes) return std::nullopt;
                       const Bytes bytes(static_cast<std::int64_t>(*way.peak_bytes));
                       return Bar{"", *way.peak_bytes, std::nullopt, std::nullopt, show(bytes), ""};
                     });
}

std::string cpu_figure(const ReportModel& model) {
  return bars_figure(
      model, "CPU utilisation", "CPU time over wall time and usable cores", {},
      [](const ReportWay& way) -> std::optional<Bar> {
        if (!way.cpu_share) return std::nullopt;
        return Bar{"",
                   *way.cpu_share,
                   std::nullopt,
                   std::nullopt,
                   fmt::format("{:.0f} %", *way.cpu_share * 100),
                   ""};
      },
      1.0);
}

std::string energy_figure(const ReportModel& model) {
  std::set<std::string> qualities;
  for (const ReportWay& way : model.ways) {
    if (way.energy_j) qualities.insert(std::string(name_of(way.energy_quality)));
  }
  const std::string note = "how obtained: " + join({qualities.begin(), qualities.end()}, ", ");
  return bars_figure(
      model, "Energy per step", note, {}, [](const ReportWay& way) -> std::optional<Bar> {
        if (!way.energy_j) return std::nullopt;
        return Bar{"", *way.energy_j, std::nullopt, std::nullopt, show(Joules(*way.energy_j)), ""};
      });
}

std::string loss_figure(const ReportModel& model) {
  LineChart chart{"Training loss of " + model.name, "step", "loss", {}};
  std::vector<std::size_t> shown;
  std::size_t not_finite = 0;
  for (std::size_t i = 0; i < model.ways.size(); ++i) {
    const ReportWay& way = model.ways[i];
    if (way.losses.empty()) continue;
    Series series{way.name, way_color(model, i), {}};
    for (std::size_t step = 0; step < way.losses.size(); ++step) {
      series.points.emplace_back(static_cast<double>(step + 1), way.losses[step]);
      not_finite += !way.losses[step];
    }
    chart.series.push_back(std::move(series));
    shown.push_back(i);
  }
  if (shown.empty()) return "";
  const std::string note = not_finite > 0
                               ? fmt::format("{} losses are not finite: gaps", not_finite)
                           : shown.size() > 1 ? "curves that agree lie on each other"
                                              : "";
  return figure(
      "Training loss", note, kHalf, [&](double w) { return line_chart(chart, w); },
      way_legend(model, shown));
}

std::vector<std::pair<std::string, double>> time_by_category(const Timeline& timeline,
                                                             std::optional<double> step_s) {
  std::map<std::string, double> sums;
  double extent = 0;
  const auto tracks = nested(timeline);
  for (const auto& [track, spans] : tracks) {
    double begin = spans.front().span->start_s, end = begin, covered = 0;
    for (const Placed& placed : spans) {
      end = std::max(end, placed.span->start_s + placed.span->duration_s);
      if (placed.depth > 0) continue;
      sums[placed.span->category] += placed.span->duration_s;
      covered += placed.span->duration_s;
    }
    extent += end - begin;
    if (end - begin - covered > 1e-9) sums["idle"] += end - begin - covered;
  }
  if (!(extent > 0)) return {};
  const double tracks_count = static_cast<double>(tracks.size());
  const double scale = step_s ? *step_s / extent : 1 / tracks_count;
  std::vector<std::pair<std::string, double>> result;
  for (const std::string_view name : kCategories) {
    const auto it = sums.find(std::string(name));
    if (it != sums.end()) result.emplace_back(it->first, it->second * scale);
  }
  for (const auto& [name, seconds] : sums) {
    if (std::ranges::find(kCategories, name) == kCategories.end()) {
      result.emplace_back(name, seconds * scale);
    }
  }
  return result;
}

std::string time_share_figure(const ReportModel& model) {
  StackChart chart{"Where the time of a step of " + model.name + " goes", {}};
  std::set<std::string> used;
  for (const ReportWay& way : model.ways) {
    if (!way.timeline || way.timeline->spans.empty()) continue;
    const auto step = way.step_s ? std::optional(way.step_s->median) : std::nullopt;
    StackRow row{way.name, {}, ""};
    double sum = 0;
    for (const auto& [name, seconds] : time_by_category(*way.timeline, step)) {
      const std::string text = milliseconds(seconds);
      row.parts.push_back({0, seconds, category_color(name), text.substr(0, text.find(' ')),
                           fmt::format("{}: {}", name, text), 0});
      used.insert(name);
      sum += seconds;
    }
    row.text = milliseconds(sum);
    chart.rows.push_back(std::move(row));
  }
  if (chart.rows.empty()) return "";
  return figure(
      "Where the time goes", "measured, ms of a step", kHalf,
      [&](double width) { return stack_chart(chart, width); }, category_legend(used));
}

std::string memory_over_time_figure(const ReportModel& model) {
  LineChart chart{"Memory over time of " + model.name, "ms", "MiB", {}, true, true};
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < model.ways.size(); ++i) {
    const ReportWay& way = model.ways[i];
    if (!way.timeline) continue;
    const double first = first_time(*way.timeline);
    std::map<std::string, Series> tracks;
    for (const CounterSample& sample : way.timeline->counters) {
      if (sample.counter != "memory_bytes") continue;
      Series& series = tracks[sample.track];
      series.name = way.name + ", " + sample.track;
      series.color = way_color(model, i);
      series.points.emplace_back((sample.time_s - first) * 1e3, sample.value / 1048576);
    }
    if (!tracks.empty()) shown.push_back(i);
    for (auto& [track, series] : tracks) {
      std::ranges::stable_sort(series.points, {}, [](const auto& point) { return point.first; });
      chart.series.push_back(std::move(series));
    }
  }
  if (shown.empty()) return "";
  return figure(
      "Memory over time",
      "live bytes of the allocator in a step of its own, which its accounting slows", kHalf,
      [&](double width) { return line_chart(chart, width); }, way_legend(model, shown));
}

std::string prediction_figure(const ReportModel& model) {
  ErrorChart chart{"Predicted against measured, " + model.name, {}};
  const auto add = [&](const ReportWay& way, std::size_t i, const char* what,
                       const Uncertain& predicted, double measured, auto text) {
    if (!(measured > 0) || !std::isfinite(predicted.value)) return;
    const auto relative = [&](double value) { return (value - measured) / measured; };
    ErrorRow row{way.name + ", " + what, relative(predicted.value), {}, {}, "", "",
                 way_color(model, i)};
    if (predicted.low != predicted.high) {
      row.low = relative(predicted.low);
      row.high = relative(predicted.high);
    }
    row.text = fmt::format("{} predicted, {} measured ({:+.1f} %)", text(predicted.value),
                           text(measured), row.error * 100);
    row.short_text = fmt::format("{} ({:+.1f} %)", text(predicted.value), row.error * 100);
    chart.rows.push_back(std::move(row));
  };
  const auto bytes = [](double b) { return show(Bytes(static_cast<std::int64_t>(b))); };
  for (std::size_t i = 0; i < model.ways.size(); ++i) {
    const ReportWay& way = model.ways[i];
    if (way.predicted_step_s && way.step_s) {
      add(way, i, "step", *way.predicted_step_s, way.step_s->median, milliseconds);
    }
    if (way.modelled_step_s && way.step_s) {
      add(way, i, "step, untried", *way.modelled_step_s, way.step_s->median, milliseconds);
    }
    if (way.predicted_peak_bytes && way.peak_bytes) {
      add(way, i, "peak", *way.predicted_peak_bytes, *way.peak_bytes, bytes);
    }
    if (way.modelled_peak_bytes && way.peak_bytes) {
      add(way, i, "peak, untried", *way.modelled_peak_bytes, *way.peak_bytes, bytes);
    }
  }
  if (chart.rows.empty()) return "";
  return figure("Predicted against measured",
                "0 is exact; bands: 80 % interval; untried: the cost model alone, before any trial",
                kFull, [&](double width) { return error_chart(chart, width); });
}

std::string timeline_figure(const ReportModel& model) {
  Gantt chart{"Timeline of " + model.name, "ms", {}};
  std::set<std::string> used;
  for (const ReportWay& way : model.ways) {
    if (!way.timeline || way.timeline->spans.empty()) continue;
    const double first = first_time(*way.timeline);
    const auto tracks = nested(*way.timeline);
    for (const auto& [track, spans] : tracks) {
      GanttRow row{tracks.size() > 1 ? way.name + ", " + track : way.name, {}};
      for (const auto& [span, depth] : spans) {
        if (depth > 1) continue;  // two levels are drawn; the Chrome trace holds all
        used.insert(span->category);
        row.slices.push_back({(span->start_s - first) * 1e3, span->duration_s * 1e3,
                              category_color(span->category), span->name,
                              span->name + ": " + milliseconds(span->duration_s), depth});
      }
      chart.rows.push_back(std::move(row));
    }
  }
  if (chart.rows.empty()) return "";
  const std::string note = chart.rows.size() > 1 ? "one scale for all rows" : "";
  return figure(
      "Step timeline", note, kFull, [&](double width) { return gantt_chart(chart, width); },
      category_legend(used));
}

}  // namespace parallel_opt
