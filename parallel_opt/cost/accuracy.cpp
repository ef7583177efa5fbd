#include "parallel_opt/cost/accuracy.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/statistics.h"

namespace parallel_opt {
namespace {

constexpr std::string_view kNotStated = "not stated";

/// A row that was predicted.
struct Answered {
  const MeasuredRow* measured = nullptr;
  RowPrediction prediction;
};

double relative_error(double predicted, double measured) { return predicted / measured - 1; }

std::vector<double> magnitudes(std::vector<double> values) {
  for (double& value : values) value = std::abs(value);
  return values;
}

template <class Score>
void set_errors(Score& score, const std::vector<double>& errors) {
  score.count = static_cast<std::int64_t>(errors.size());
  if (errors.empty()) return;
  const std::vector<double> sizes = magnitudes(errors);
  score.median_error = median(sizes);
  score.p90_error = percentile(sizes, 0.9);
  score.bias = median(errors);
}

std::optional<double> share(std::size_t part, std::size_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

/// The time of an iteration behind a rate of FLOPs.
std::optional<double> time_of_rate(const TrainingRow& row, const RowPrediction& prediction) {
  const double rate =
      row.flops_per_s.value_or(row.peak_share.value_or(0) * prediction.peak_flops_per_s);
  const double flops = row.counts_recompute ? prediction.flops_again : prediction.flops;
  if (!(rate > 0 && flops > 0)) return std::nullopt;
  return flops / rate;
}

bool has_rate(const TrainingRow& row) { return row.flops_per_s || row.peak_share; }

/// Why a row cannot be used; empty: it can.
std::string skip_reason(const MeasuredRow& measured, const RowPredictor& predictor,
                        RowPrediction& prediction) {
  const TrainingRow& row = measured.row;
  if (!measured.unusable.empty()) return measured.unusable;
  const bool timed = row.iteration_s || has_rate(row);
  const bool says_so = measured.says_it_ran && measured.untimed.empty();
  const bool shown = timed || row.peak_memory_bytes || says_so;
  if (measured.truth == RowTruth::ran && !shown) {
    return measured.untimed.empty() ? "nothing was measured" : measured.untimed;
  }
  RowAnswer answer = predictor(row);
  if (std::string* const reason = std::get_if<std::string>(&answer)) {
    return reason->empty() ? "it cannot be expressed" : std::move(*reason);
  }
  prediction = std::get<RowPrediction>(answer);
  const double values[] = {prediction.step_time_s.value, prediction.peak_memory_bytes.value};
  for (const double value : values) {
    if (!(value > 0) || !std::isfinite(value)) return "the prediction is no positive number";
  }
  return "";
}

/// Pre: a row with a measured time.
double time_of(const Answered& row) { return row.measured->row.iteration_s.value(); }

std::vector<double> time_errors(const std::vector<const Answered*>& rows) {
  std::vector<double> errors;
  for (const Answered* row : rows) {
    errors.push_back(relative_error(row->prediction.step_time_s.value, time_of(*row)));
  }
  return errors;
}

bool inside(const Uncertain& interval, double value) {
  return interval.low <= value && value <= interval.high;
}

/// Where the prediction is of the run that was measured.
std::optional<double> peak_of(const Answered& row) {
  return row.prediction.knows_peak ? row.measured->row.peak_memory_bytes : std::nullopt;
}

void score_memory(const std::vector<Answered>& rows, Accuracy& accuracy) {
  std::vector<double> errors;
  std::size_t covered = 0, under = 0;
  for (const Answered& row : rows) {
    const std::optional<double> bytes = peak_of(row);
    if (!bytes) continue;
    const Uncertain& predicted = row.prediction.peak_memory_bytes;
    errors.push_back(relative_error(predicted.value, *bytes));
    covered += std::size_t(inside(predicted, *bytes));
    under += std::size_t(predicted.value < 0.97 * *bytes);
  }
  set_errors(accuracy.memory, errors);
  accuracy.memory.under_by_3pct_share = share(under, errors.size());
  accuracy.interval.memory_coverage = share(covered, errors.size());
}

/// Measured time of the row that is predicted fastest over the fastest measured, minus 1. Rows of
/// equal predictions cannot be told apart: their mean counts.
double regret(const std::vector<double>& predicted, const std::vector<double>& measured) {
  const double best = *std::ranges::min_element(predicted);
  std::vector<double> chosen;
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    if (predicted[i] == best) chosen.push_back(measured[i]);
  }
  return mean(chosen) / *std::ranges::min_element(measured) - 1;
}

GroupScore score_groups(const std::vector<const Answered*>& timed) {
  using Key = std::tuple<std::string, std::string, std::string, double, double>;
  std::map<Key, std::pair<std::vector<double>, std::vector<double>>> groups;
  for (const Answered* row : timed) {
    const TrainingRow& r = row->measured->row;
    auto& [predicted, measured] = groups[{r.source, row->measured->release, r.model_name,
                                          r.gpus.value_or(0), r.global_batch.value_or(0)}];
    predicted.push_back(row->prediction.step_time_s.value);
    measured.push_back(time_of(*row));
  }
  std::vector<double> correlations, regrets;
  for (const auto& [key, group] : groups) {
    const auto& [predicted, measured] = group;
    if (measured.size() < 2) continue;
    regrets.push_back(regret(predicted, measured));
    const auto [low, high] = std::ranges::minmax(measured);
    if (measured.size() >= 3 && low < high) correlations.push_back(spearman(predicted, measured));
  }
  GroupScore score;
  score.count = static_cast<std::int64_t>(regrets.size());
  score.ranked = static_cast<std::int64_t>(correlations.size());
  if (!correlations.empty()) score.spearman_median = median(correlations);
  if (!regrets.empty()) {
    score.regret_mean = mean(regrets);
    score.regret_worst = *std::ranges::max_element(regrets);
  }
  return score;
}

void score_fit(const std::vector<Answered>& rows, InfeasibleScore& score) {
  std::size_t found = 0, alarms = 0, full = 0, ran = 0, unclear = 0, doubtful = 0;
  for (const Answered& row : rows) {
    const auto refused = std::size_t(!row.prediction.fits);
    switch (row.measured->truth) {
      case RowTruth::ran:
        ++ran, alarms += refused;
        break;
      case RowTruth::out_of_memory:
        ++full, found += refused;
        break;
      case RowTruth::unclear:
        ++unclear, doubtful += refused;
        break;
    }
  }
  score.count = static_cast<std::int64_t>(full);
  score.ran = static_cast<std::int64_t>(ran);
  score.recall = share(found, full);
  score.false_alarm_rate = share(alarms, ran);
  score.unclear = {static_cast<std::int64_t>(unclear), share(doubtful, unclear)};
}

/// What the notes say of a configuration: all but where, when and in which release it was measured.
std::string noted_options(const std::string& notes) {
  std::string options;
  for (const std::string& part : split(notes, ';')) {
    const std::string_view note = trim(part);
    const auto starts = [&](std::string_view word) { return note.starts_with(word); };
    if (starts("container ") || starts("Notes=") || starts("System: ") || starts("Model: "))
      continue;
    options += std::string(note) + ';';
  }
  return options;
}

/// Repeated configurations of each source, whether they can be predicted or not.
std::map<std::string, NoiseScore> noise_by_source(const std::vector<MeasuredRow>& rows) {
  std::map<std::string, std::vector<double>> same;
  for (const MeasuredRow& measured : rows) {
    if (!measured.row.iteration_s || measured.truth != RowTruth::ran) continue;
    std::string key;
    for (const RowColumn& column : row_columns()) key += cell_text(measured.row, column) + '\n';
    key += noted_options(measured.row.notes);
    same[key].push_back(measured.row.iteration_s.value());
  }
  std::map<std::string, std::vector<double>> spreads, errors;
  for (const auto& [key, times] : same) {
    if (times.size() < 2) continue;
    const std::string source = key.substr(0, key.find('\n'));  // the first column
    const auto [low, high] = std::ranges::minmax(times);
    spreads[source].push_back(high / low - 1);
    for (const double time : times) {
      errors[source].push_back(std::abs(relative_error(median(times), time)));
    }
  }
  std::map<std::string, NoiseScore> noise;
  for (const auto& [source, spread] : spreads) {
    noise[source] = {static_cast<std::int64_t>(spread.size()),
                     static_cast<std::int64_t>(errors[source].size()), median(spread),
                     median(errors[source])};
  }
  return noise;
}

ScoresByValue scores_by(const RowColumn& column, const std::vector<const Answered*>& timed) {
  std::map<std::string, std::vector<const Answered*>> parts;
  for (const Answered* row : timed) {
    const std::string value = cell_text(row->measured->row, column);
    parts[value.empty() ? std::string(kNotStated) : value].push_back(row);
  }
  ScoresByValue scores;
  for (const auto& [value, part] : parts) set_errors(scores[value], time_errors(part));
  return scores;
}

void score_columns(const std::vector<const Answered*>& timed, const AccuracyOptions& options,
                   Accuracy& accuracy) {
  std::vector<std::string> names = usual_columns();
  names.insert(names.end(), options.by.begin(), options.by.end());
  for (const RowColumn& column : row_columns()) {
    if (std::ranges::count(names, column.name) > 0) {
      accuracy.by[std::string(column.name)] = scores_by(column, timed);
    }
  }
  std::map<std::string, std::vector<const Answered*>> sources;
  for (const Answered* row : timed) sources[row->measured->row.source].push_back(row);
  for (const auto& [source, part] : sources) {
    accuracy.groups_by_source[source] = score_groups(part);
  }
}

ScoredRow scored(const Answered& row) {
  const TrainingRow& measured = row.measured->row;
  const Uncertain& time = row.prediction.step_time_s;
  const Uncertain& memory = row.prediction.peak_memory_bytes;
  std::vector<std::string> notes = row.measured->filled;
  notes.insert(notes.end(), row.prediction.notes.begin(), row.prediction.notes.end());
  ScoredRow result{measured.id,
                   measured.iteration_s,
                   time.value,
                   time.low,
                   time.high,
                   peak_of(row),
                   memory.value,
                   memory.low,
                   memory.high,
                   row.prediction.needed_bytes,
                   row.prediction.capacity_bytes,
                   row.prediction.fits,
                   std::nullopt,
                   row.prediction.taken,
                   std::move(notes)};
  if (row.measured->truth != RowTruth::unclear) result.ran = row.measured->truth == RowTruth::ran;
  return result;
}

void note_doubts(const std::vector<Answered>& rows, Accuracy& accuracy) {
  std::map<std::string, std::size_t> doubts;
  std::size_t by_size = 0;
  for (const Answered& row : rows) {
    if (row.measured->truth == RowTruth::unclear) ++doubts[row.measured->doubt];
    by_size += std::size_t(row.measured->truth == RowTruth::out_of_memory &&
                           !row.measured->source_says_so);
  }
  if (by_size == 1) {
    accuracy.notes.emplace_back(
        "1 failed row counts as out of memory: what it must hold is clearly more than the device "
        "has");
  } else if (by_size > 1) {
    accuracy.notes.push_back(std::to_string(by_size) +
                             " failed rows count as out of memory: what they must hold is clearly "
                             "more than the device has");
  }
  for (const auto& [doubt, count] : doubts) {
    accuracy.notes.push_back(std::to_string(count) +
                             (count == 1 ? " failed row is" : " failed rows are") +
                             " no hard truth: " + doubt);
  }
}

/// What its prediction says of a measurement: the time behind a rate (true where there is one), and
/// that a failure whose micro-batch is assumed, so that it fits, is no hard truth.
bool settle(MeasuredRow& row, const RowPrediction& prediction) {
  if (row.truth == RowTruth::out_of_memory && !prediction.knows_peak) {
    row.truth = RowTruth::unclear;
    row.doubt = "its micro-batch is blank";
  }
  if (row.truth != RowTruth::ran || row.row.iteration_s || !has_rate(row.row)) return false;
  row.row.iteration_s = time_of_rate(row.row, prediction);
  return row.row.iteration_s.has_value();
}

}  // namespace

const std::vector<std::string>& usual_columns() {
  static const std::vector<std::string> kUsual = {"source", "gpu_family", "framework", "model_name",
                                                  "tp",     "pp",         "gpus"};
  return kUsual;
}

Accuracy score_rows(const MeasuredRows& given, const RowPredictor& predictor,
                    const AccuracyOptions& options) {
  Accuracy accuracy;
  MeasuredRows measured = given;  // times behind rates are filled in
  std::size_t rates = 0;
  std::map<std::string, std::size_t> taken;
  accuracy.notes = measured.notes;
  accuracy.rows = static_cast<std::int64_t>(measured.rows.size());
  std::vector<Answered> answered;
  for (MeasuredRow& row : measured.rows) {
    if (options.progress) {
      options.progress(answered.size() + accuracy.skipped.size(), measured.rows.size());
    }
    Answered answer{&row, {}};
    std::string reason = skip_reason(row, predictor, answer.prediction);
    if (reason.empty()) {
      rates += std::size_t(settle(row, answer.prediction));
      for (const std::string& note : answer.prediction.notes) ++taken[note];
      answered.push_back(std::move(answer));
    } else {
      for (char& c : reason) c = c == '\n' || c == '\r' ? ' ' : c;  // one line of the table
      accuracy.skipped.push_back({row.row.id, std::move(reason)});
    }
  }
  for (const auto& [note, count] : taken) {
    accuracy.notes.push_back(std::to_string(count) + (count == 1 ? " row: " : " rows: ") + note);
  }
  accuracy.used = static_cast<std::int64_t>(answered.size());
  if (rates > 0) {
    accuracy.notes.push_back(std::to_string(rates) + (rates == 1 ? " row: " : " rows: ") +
                             "iteration time = FLOPs of the model / the rate stated; attention "
                             "counts whole, recomputation where the table counts it");
  }
  std::vector<const Answered*> timed;
  std::size_t covered = 0;
  for (const Answered& row : answered) {
    const std::optional<double>& time = row.measured->row.iteration_s;
    if (!time) continue;
    timed.push_back(&row);
    covered += std::size_t(inside(row.prediction.step_time_s, *time));
  }
  set_errors(accuracy.time, time_errors(timed));
  accuracy.interval.coverage = share(covered, timed.size());
  score_memory(answered, accuracy);
  accuracy.groups = score_groups(timed);
  score_fit(answered, accuracy.infeasible);
  score_columns(timed, options, accuracy);
  accuracy.noise = noise_by_source(measured.rows);
  note_doubts(answered, accuracy);
  if (options.rows) {
    accuracy.predictions.emplace();
    for (const Answered& row : answered) accuracy.predictions->push_back(scored(row));
  }
  return accuracy;
}

}  // namespace parallel_opt
