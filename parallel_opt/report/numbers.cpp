#include "parallel_opt/report/numbers.h"

#include <fmt/format.h>

#include <array>

#include "parallel_opt/base/text.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

using Text = std::optional<std::string>;

Text bytes_text(const std::optional<double>& value) {
  if (!value) return std::nullopt;
  return show(Bytes(static_cast<std::int64_t>(*value)));
}

Text error_text(const std::optional<Uncertain>& predicted, double measured) {
  if (!predicted || !(measured > 0)) return std::nullopt;
  return fmt::format("{:+.1f} %", (predicted->value - measured) / measured * 100);
}

Text difference_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.1e}", *value) : "not finite";
}

Text median_text(const ReportWay& way) {
  if (!way.step_s) return std::nullopt;
  return show(Seconds(way.step_s->median));
}

Text spread_text(const ReportWay& way) {
  if (!way.step_s) return std::nullopt;
  return show(Seconds(way.step_s->low)) + " to " + show(Seconds(way.step_s->high));
}

Text rate_text(const ReportWay& way) {
  if (!way.samples_per_s) return std::nullopt;
  return show(*way.samples_per_s);
}

Text cpu_text(const ReportWay& way) {
  if (!way.cpu_share) return std::nullopt;
  return fmt::format("{:.0f} %", *way.cpu_share * 100);
}

Text energy_text(const ReportWay& way) {
  const std::string quality(name_of(way.energy_quality));
  return way.energy_j ? show(*way.energy_j) + " J (" + quality + ")" : quality;
}

Text held_out_text(const ReportWay& way) {
  if (!way.held_out_loss) return std::nullopt;
  return fmt::format("{:.5f}", *way.held_out_loss);
}

struct Row {
  const char* name;
  Text (*text)(const ReportWay&);
};

constexpr std::array<Row, 14> kRows = {{
    {"step time, median", median_text},
    {"step time, 10th to 90th percentile", spread_text},
    {"samples per second", rate_text},
    {"peak memory, allocator", [](const ReportWay& w) { return bytes_text(w.peak_bytes); }},
    {"peak memory, whole process", [](const ReportWay& w) { return bytes_text(w.rss_bytes); }},
    {"CPU utilisation", cpu_text},
    {"energy per step", energy_text},
    {"loss on held-out data", held_out_text},
    {"largest difference of training losses",
     [](const ReportWay& w) {
       return w.agreement ? difference_text(w.agreement->training) : Text();
     }},
    {"difference of held-out losses",
     [](const ReportWay& w) {
       return w.agreement ? difference_text(w.agreement->held_out) : Text();
     }},
    {"error of predicted step time",
     [](const ReportWay& w) {
       return error_text(w.predicted_step_s, w.step_s ? w.step_s->median : 0);
     }},
    {"error of predicted peak memory",
     [](const ReportWay& w) {
       return error_text(w.predicted_peak_bytes, w.peak_bytes.value_or(0));
     }},
    {"error of the cost model alone, step time",
     [](const ReportWay& w) {
       return error_text(w.modelled_step_s, w.step_s ? w.step_s->median : 0);
     }},
    {"error of the cost model alone, peak memory",
     [](const ReportWay& w) {
       return error_text(w.modelled_peak_bytes, w.peak_bytes.value_or(0));
     }},
}};

}  // namespace

std::string table_cell(const Text& text) {
  return "<td>" + (text ? escape_html(*text) : "<span class=\"absent\">\xe2\x80\x93</span>") +
         "</td>";
}

std::string numbers_table(const ReportModel& model) {
  std::string text =
      "<h3>Numbers</h3><div class=\"scroll\"><table><thead><tr><th scope=\"col\"></th>";
  for (const ReportWay& way : model.ways) {
    text += fmt::format("<th scope=\"col\">{}</th>", escape_html(way.name));
  }
  text += "</tr></thead><tbody>";
  for (const Row& row : kRows) {
    std::string cells;
    bool any = false;
    for (const ReportWay& way : model.ways) {
      const Text value = row.text(way);
      any = any || value.has_value();
      cells += table_cell(value);
    }
    if (any) {
      text += fmt::format("<tr><th scope=\"row\">{}</th>{}</tr>", escape_html(row.name), cells);
    }
  }
  return text + "</tbody></table></div>\n";
}

}  // namespace parallel_opt
