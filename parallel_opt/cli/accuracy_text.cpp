#include "parallel_opt/cli/accuracy_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

std::string percent(const std::optional<double>& share) {
  return share ? fmt::format("{:.1f} %", *share * 100) : "-";
}
std::string signed_percent(const std::optional<double>& share) {
  return share ? fmt::format("{:+.1f} %", *share * 100) : "-";
}
std::string plain(const std::optional<double>& number) {
  return number ? fmt::format("{:.3f}", *number) : "-";
}
std::string seconds(const std::optional<double>& s) { return s ? show(Seconds(*s)) : "-"; }
std::string bytes(const std::optional<double>& b) {
  return b ? show(Bytes(static_cast<std::int64_t>(*b))) : "-";
}

std::string counted_rows(std::int64_t count) {
  return std::to_string(count) + (count == 1 ? " row" : " rows");
}

Table source_table(const Accuracy& accuracy) {
  Table table{{{"source"},
               {"rows", Align::right},
               {"median", Align::right},
               {"p90", Align::right},
               {"bias", Align::right},
               {"noise floor", Align::right},
               {"groups", Align::right},
               {"Spearman", Align::right},
               {"regret", Align::right},
               {"worst", Align::right}},
              {}};
  const auto add = [&](const std::string& name, const ErrorScore& time, const std::string& noise,
                       const GroupScore& groups) {
    table.rows.push_back({name, std::to_string(time.count), percent(time.median_error),
                          percent(time.p90_error), signed_percent(time.bias), noise,
                          std::to_string(groups.count), plain(groups.spearman_median),
                          percent(groups.regret_mean), percent(groups.regret_worst)});
  };
  for (const auto& [source, time] : accuracy.by.at("source")) {
    const auto noise = accuracy.noise.find(source);
    const auto groups = accuracy.groups_by_source.find(source);
    add(source, time,
        noise == accuracy.noise.end() ? "-" : percent(noise->second.least_median_error),
        groups == accuracy.groups_by_source.end() ? GroupScore{} : groups->second);
  }
  add("all", accuracy.time, "", accuracy.groups);
  return table;
}

std::string memory_text(const Accuracy& accuracy) {
  const MemoryScore& memory = accuracy.memory;
  if (memory.count == 0) return "";
  return fmt::format(
      "peak memory: {}, median error {}, p90 {}, bias {}, under by more than 3 %: {}\n",
      counted_rows(memory.count), percent(memory.median_error), percent(memory.p90_error),
      signed_percent(memory.bias), percent(memory.under_by_3pct_share));
}

std::string fit_text(const InfeasibleScore& fit) {
  std::string text;
  if (fit.count > 0) {
    text +=
        fmt::format("does not fit: {}, recall {}\n", counted_rows(fit.count), percent(fit.recall));
  }
  if (fit.ran > 0) {
    text += fmt::format("fits: {}, false alarms {}\n", counted_rows(fit.ran),
                        percent(fit.false_alarm_rate));
  }
  if (fit.unclear.count > 0) {
    text += fmt::format("failed, not known why: {}, {} predicted not to fit\n",
                        counted_rows(fit.unclear.count), percent(fit.unclear.predicted_not_to_fit));
  }
  return text;
}

std::string interval_text(const IntervalScore& interval) {
  if (!interval.coverage && !interval.memory_coverage) return "";
  return fmt::format("{:.0f} % intervals hold {} of the times, {} of the memories\n",
                     interval.level * 100, percent(interval.coverage),
                     percent(interval.memory_coverage));
}

/// Most frequent reasons first, each with the first rows that have it.
std::string skipped_text(const std::vector<SkippedRow>& skipped) {
  std::map<std::string, std::vector<std::string>> reasons;
  for (const SkippedRow& row : skipped) reasons[row.reason].push_back(row.id);
  std::vector<std::pair<std::string, std::vector<std::string>>> order(reasons.begin(),
                                                                      reasons.end());
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [](const auto& reason) { return reason.second.size(); });
  Table table{{{"skipped", Align::right}, {"reason"}, {"rows"}}, {}};
  for (auto& [reason, ids] : order) {
    const std::string count = std::to_string(ids.size());
    const bool more = ids.size() > 3;
    ids.resize(std::min<std::size_t>(ids.size(), 3));
    table.rows.push_back({count, reason, join(ids, ", ") + (more ? ", ..." : "")});
  }
  return to_text(table);
}

/// Numbers by size, before words.
bool before(const std::string& a, const std::string& b) {
  const auto number = [](const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return std::pair(error != std::errc() || end != text.data() + text.size(), value);
  };
  return std::tuple(number(a), a) < std::tuple(number(b), b);
}

}  // namespace

std::string accuracy_text(const Accuracy& accuracy) {
  std::string text = fmt::format("{}, {} used, {} skipped\n", counted_rows(accuracy.rows),
                                 accuracy.used, accuracy.skipped.size());
  if (accuracy.time.count > 0) {
    text += "\niteration time, relative error\n" + to_text(source_table(accuracy)) + "\n";
  }
  text += memory_text(accuracy) + fit_text(accuracy.infeasible) + interval_text(accuracy.interval);
  if (!accuracy.skipped.empty()) text += "\n" + skipped_text(accuracy.skipped);
  for (const std::string& note : accuracy.notes) text += "note: " + note + "\n";
  return text;
}

std::string by_text(const Accuracy& accuracy, const std::string& column) {
  Table table{{{column},
               {"rows", Align::right},
               {"median", Align::right},
               {"p90", Align::right},
               {"bias", Align::right}},
              {}};
  const ScoresByValue& scores = accuracy.by.at(column);
  std::vector<std::string> values;
  for (const auto& [value, score] : scores) values.push_back(value);
  std::ranges::sort(values, before);
  for (const std::string& value : values) {
    const ErrorScore& score = scores.at(value);
    table.rows.push_back({value, std::to_string(score.count), percent(score.median_error),
                          percent(score.p90_error), signed_percent(score.bias)});
  }
  return to_text(table);
}

std::string predictions_text(const Accuracy& accuracy) {
  if (!accuracy.predictions) return "";
  Table table{{{"row"},
               {"measured", Align::right},
               {"predicted", Align::right},
               {"error", Align::right},
               {"interval", Align::right},
               {"peak", Align::right},
               {"predicted peak", Align::right},
               {"needed", Align::right},
               {"fits"},
               {"taken as"}},
              {}};
  for (const ScoredRow& row : *accuracy.predictions) {
    std::optional<double> error;
    if (row.measured_s) error = row.predicted_s / *row.measured_s - 1;
    table.rows.push_back({row.id, seconds(row.measured_s), seconds(row.predicted_s),
                          signed_percent(error), seconds(row.low_s) + " to " + seconds(row.high_s),
                          bytes(row.measured_bytes), bytes(row.predicted_bytes),
                          bytes(row.needed_bytes), row.fits ? "yes" : "no", in_short(row.taken)});
  }
  if (table.rows.empty()) return to_text(table);
  return to_text(table) +
         "predicted peak is what the row's software prints, which may count the driver's part;\n"
         "needed is what tensors and allocator take of the fullest device, by which fits is "
         "judged\n"
         "(with blocks computed again where recompute is blank and it does not fit without);\n"
         "taken as is the run that was predicted: micro-batches x their sequences, what is "
         "computed again\n";
}

}  // namespace parallel_opt
