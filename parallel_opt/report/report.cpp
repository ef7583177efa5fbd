#include "parallel_opt/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/base/version.h"
#include "parallel_opt/report/figures.h"
#include "parallel_opt/report/graph_picture.h"
#include "parallel_opt/report/numbers.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

std::string e(std::string_view text) { return escape_html(text); }

std::string facts_list(const std::vector<Fact>& facts) {
  if (facts.empty()) return "";
  std::string text = "<dl class=\"facts\">";
  for (const Fact& fact : facts) {
    text += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", e(fact.name), e(fact.value));
  }
  return text + "</dl>\n";
}

std::string lines_list(const std::vector<std::string>& lines, std::string_view classes) {
  if (lines.empty()) return "";
  std::string text = fmt::format("<ul class=\"{}\">", classes);
  for (const std::string& line : lines) text += "<li>" + e(line) + "</li>";
  return text + "</ul>";
}

std::string headline(const ReportWay& way, bool is_base) {
  if (way.speedup) return fmt::format("{:.2f}<small>x</small>", way.speedup->median);
  if (is_base) return "1<small>x</small>";
  if (way.step_s) {
    const std::string text = show(Seconds(way.step_s->median));
    const std::size_t blank = text.find(' ');
    return text.substr(0, blank) + "<small>" + text.substr(blank) + "</small>";
  }
  return "<small>not measured</small>";
}

std::string card(const ReportModel& model, std::size_t index) {
  const ReportWay& way = model.ways[index];
  std::vector<std::string> parts;
  if (way.step_s) parts.push_back(show(Seconds(way.step_s->median)) + " per step");
  if (way.samples_per_s) parts.push_back(show(*way.samples_per_s) + " samples/s");
  if (way.peak_bytes) {
    parts.push_back(show(Bytes(static_cast<std::int64_t>(*way.peak_bytes))) + " peak");
  }
  std::string text = fmt::format(
      "<div class=\"card\"><h3><i class=\"key {}\"></i>{}</h3><p class=\"big\">{}</p><p>{}</p>",
      way_color(model, index), e(way.name), headline(way, index == 0 && model.ways.size() > 1),
      e(join(parts, " \xc2\xb7 ")));
  if (!way.plan.empty()) text += "<p class=\"plan\">" + e(way.plan) + "</p>";
  if (way.agreement) {
    const Agreement& a = *way.agreement;
    text += fmt::format("<p><span class=\"badge {}\">{}</span> within {:.0e} of {}</p>",
                        a.agrees ? "good" : "bad", a.agrees ? "losses agree" : "losses differ",
                        a.tolerance, e(model.ways[0].name));
  }
  return text + "</div>";
}

std::string why(const ReportModel& model) {
  std::string text;
  for (std::size_t i = 0; i < model.ways.size(); ++i) {
    const ReportWay& way = model.ways[i];
    if (way.reasons.empty() && way.notes.empty() && way.planning.empty()) continue;
    text += fmt::format("<div class=\"why\"><h4><i class=\"key {}\"></i>{}: {}</h4>",
                        way_color(model, i), e(way.name), e(way.plan));
    text += lines_list(way.reasons, "reasons") + lines_list(way.notes, "notes");
    text += facts_list(way.planning) + "</div>\n";
  }
  return text.empty() ? "" : "<h3>Why this plan</h3>\n" + text;
}

std::string small_bar(double share, std::string_view classes, std::string_view text) {
  return fmt::format(
      "<span class=\"meter\"><i class=\"{}\" style=\"width:{:.1f}%\"></i></span> <span>{}</span>",
      classes, std::clamp(share, 0.0, 1.0) * 100, e(text));
}

/// One number of the bill, with a bar for its size; empty when it is absent.
template <class Shown>
std::string bill_cell(const std::optional<double>& value, double most, const std::string& color,
                      const Shown& shown) {
  if (!value) return "<td></td>";
  return "<td>" + small_bar(most > 0 ? *value / most : 0, color, shown(*value)) + "</td>";
}

std::string bill(const ReportModel& model) {
  std::string text;
  for (std::size_t i = 0; i < model.ways.size(); ++i) {
    const ReportWay& way = model.ways[i];
    if (way.items.empty()) continue;
    double most_s = 0, most_bytes = 0, most_j = 0;
    for (const EstimateItem& item : way.items) {
      most_s = std::max(most_s, item.seconds.value_or(0));
      most_bytes = std::max(most_bytes, item.bytes.value_or(0));
      most_j = std::max(most_j, item.joules.value_or(0));
    }
    const std::string color = way_color(model, i);
    text += fmt::format(
        "<details{}><summary>Predicted bill of one step: {}</summary><div "
        "class=\"scroll\"><table class=\"bill\"><thead><tr><th scope=\"col\">item</th>"
        "<th scope=\"col\">time</th><th scope=\"col\">memory</th>{}</tr></thead><tbody>",
        model.ways.size() == 1 ? " open" : "", e(way.name),
        most_j > 0 ? "<th scope=\"col\">energy</th>" : "");
    for (const EstimateItem& item : way.items) {
      if (!item.seconds && !item.bytes && item.joules.value_or(0) == 0) continue;
      text += "<tr><th scope=\"row\">" + e(item.name) + "</th>" +
              bill_cell(item.seconds, most_s, color, [](double s) { return show(Seconds(s)); }) +
              bill_cell(item.bytes, most_bytes, color,
                        [](double b) { return show(Bytes(static_cast<std::int64_t>(b))); });
      if (most_j > 0) {
        text += bill_cell(item.joules, most_j, color, [](double j) { return show(Joules(j)); });
      }
      text += "</tr>";
    }
    text += "</tbody></table></div></details>\n";
  }
  return text;
}

std::string candidates_table(const ReportModel& model, std::size_t index) {
  const ReportWay& way = model.ways[index];
  if (way.candidates.empty()) return "";
  double most = 0;
  for (const Considered& c : way.candidates) {
    if (c.predicted_s)
      most = std::max(
          {most, c.predicted_s->value, std::min(c.predicted_s->high, 2 * c.predicted_s->value)});
    if (c.measured_s) most = std::max(most, c.measured_s->value);
  }
  const auto time = [&](const std::optional<Uncertain>& s,
                        const std::string& classes) -> std::string {
    if (!s) return "<td><span class=\"absent\">\xe2\x80\x93</span></td>";
    return "<td>" + small_bar(most > 0 ? s->value / most : 0, classes, show(Seconds(s->value))) +
           "</td>";
  };
  std::string text = fmt::format(
      "<details{}><summary>Candidates that were considered: {} ({})</summary><div "
      "class=\"scroll\"><table "
      "class=\"candidates\"><thead><tr><th scope=\"col\">plan</th><th "
      "scope=\"col\">predicted</th><th "
      "scope=\"col\">measured</th><th scope=\"col\">peak memory</th><th scope=\"col\">why</th></tr>"
      "</thead><tbody>",
      index + 1 == model.ways.size() ? " open" : "", e(way.name), way.candidates.size());
  for (const Considered& c : way.candidates) {
    text += fmt::format(
        "<tr{}><th scope=\"row\">{}{}</th>{}{}{}<td class=\"reason\">{}</td></tr>",
        c.chosen ? " class=\"chosen\"" : "", e(c.plan),
        c.chosen ? " <span class=\"badge good\">chosen</span>" : "",
        time(c.predicted_s, "hollow " + way_color(model, index)),
        time(c.measured_s, way_color(model, index)),
        table_cell(c.peak_memory_bytes
                       ? std::optional(show(Bytes(static_cast<std::int64_t>(*c.peak_memory_bytes))))
                       : std::nullopt),
        e(c.reason));
  }
  return text + "</tbody></table></div></details>\n";
}

std::string model_section(const ReportModel& model) {
  std::string text = fmt::format("<section aria-label=\"{0}\"><h2>{0}</h2>", e(model.name));
  if (!model.title.empty()) text += "<p class=\"subtitle\">" + e(model.title) + "</p>";
  text += "<div class=\"cards\">";
  for (std::size_t i = 0; i < model.ways.size(); ++i) text += card(model, i);
  text += "</div>\n<div class=\"figures\">\n";
  for (const auto figure :
       {step_time_figure, speed_figure, memory_figure, energy_figure, cpu_figure, time_share_figure,
        memory_over_time_figure, loss_figure, prediction_figure, timeline_figure}) {
    text += figure(model);
  }
  if (model.graph) text += graph_figure(*model.graph);
  text += "</div>\n" + why(model);
  for (std::size_t i = 0; i < model.ways.size(); ++i) text += candidates_table(model, i);
  return text + bill(model) + numbers_table(model) + "</section>\n";
}

std::string events_section(const ReportData& data) {
  if (data.events.empty()) return "";
  static const std::set<std::string> bad = {"error", "warning", "non_finite", "fallback"};
  std::string text =
      "<section aria-label=\"Events\"><h2>What happened</h2><table class=\"events\"><tbody>";
  for (const RunEvent& event : data.events) {
    text +=
        fmt::format("<tr><td>{}</td><td><span class=\"badge {}\">{}</span></td><td>{}</td></tr>",
                    e(show(Seconds(event.time_s))), bad.contains(event.kind) ? "bad" : "plain",
                    e(event.kind), e(event.text));
  }
  return text + "</tbody></table></section>\n";
}

/// JSON that may stand inside a script element: "</script>" and "<!--" cannot occur.
std::string inlined(const ReportData& data) {
  std::string text;
  for (const char c : to_json(data, 0)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

std::string report_html(const ReportData& data) {
  const std::string css(embedded_file("parallel_opt/report/assets/report.css").value_or(""));
  PO_CHECK(!css.empty(), "the style sheet is compiled into the program");
  std::string text =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      // Nothing may be loaded, whatever the data holds. The icon would be asked for otherwise.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n";
  text += "<title>" + e(data.title) + "</title>\n<style>\n" + css + graph_style() +
          "</style>\n</head>\n<body>\n";
  text += "<header><h1>" + e(data.title) + "</h1>";
  if (!data.subtitle.empty()) text += "<p class=\"subtitle\">" + e(data.subtitle) + "</p>";
  text += facts_list(data.machine) + "</header>\n<main>\n";
  for (const ReportModel& model : data.models) text += model_section(model);
  text += events_section(data);
  text += fmt::format("</main>\n<footer>parallel_opt {}</footer>\n", kVersion);
  text += "<script type=\"application/json\" id=\"report-data\">" + inlined(data) + "</script>\n";
  return text + "</body>\n</html>\n";
}

}  // namespace parallel_opt
