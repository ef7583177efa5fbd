#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/cost/measured_rows.h"
#include "parallel_opt/cost/training_row.h"

/// How well predictions meet published measurements (docs/accuracy.md). Errors are relative to the
/// measured value; a score without rows has no number.
namespace parallel_opt {

struct ErrorScore {
  std::int64_t count = 0;
  std::optional<double> median_error, p90_error, bias;
};

struct MemoryScore {
  std::int64_t count = 0;
  std::optional<double> median_error, p90_error, bias, under_by_3pct_share;
};

struct GroupScore {
  std::int64_t count = 0;   ///< of at least 2 rows
  std::int64_t ranked = 0;  ///< of at least 3 rows that were not all measured alike
  std::optional<double> spearman_median, regret_mean, regret_worst;
};

struct UnclearScore {
  std::int64_t count = 0;
  std::optional<double> predicted_not_to_fit;
};

struct InfeasibleScore {
  std::int64_t count = 0;
  std::int64_t ran = 0;
  std::optional<double> recall, false_alarm_rate;
  UnclearScore unclear;
};

struct IntervalScore {
  double level = 0.8;
  std::optional<double> coverage, memory_coverage;
};

struct NoiseScore {
  std::int64_t groups = 0, rows = 0;
  std::optional<double> median_spread, least_median_error;
};

struct SkippedRow {
  std::string id, reason;
  bool operator==(const SkippedRow&) const = default;
};

struct ScoredRow {
  std::string id;
  std::optional<double> measured_s;
  double predicted_s = 0, low_s = 0, high_s = 0;
  std::optional<double> measured_bytes;
  double predicted_bytes = 0, low_bytes = 0, high_bytes = 0;
  double needed_bytes = 0, usable_bytes = 0;
  bool fits = true;
  std::optional<bool> ran;  ///< absent: unclear
  TakenRun taken;
  std::vector<std::string> notes;  ///< of what was taken
};

/// Scores by the value of a column.
using ScoresByValue = std::map<std::string, ErrorScore>;

struct Accuracy {
  std::int64_t rows = 0, used = 0;
  std::vector<SkippedRow> skipped;
  ErrorScore time;
  MemoryScore memory;
  GroupScore groups;
  InfeasibleScore infeasible;
  IntervalScore interval;
  std::map<std::string, ScoresByValue> by;
  std::map<std::string, GroupScore> groups_by_source;
  std::map<std::string, NoiseScore> noise;
  std::vector<std::string> notes;
  std::optional<std::vector<ScoredRow>> predictions;
};

using RowPredictor = std::function<RowAnswer(const TrainingRow&)>;

struct AccuracyOptions {
  bool rows = false;            ///< keep `predictions`
  std::vector<std::string> by;  ///< columns beside the usual ones
  std::function<void(std::size_t done, std::size_t total)> progress = {};
};

/// The columns that errors are always told by.
const std::vector<std::string>& usual_columns();

/// Asks for every row and scores the answers. Each row is used or skipped with a reason.
Accuracy score_rows(const MeasuredRows& measured, const RowPredictor& predictor,
                    const AccuracyOptions& options = {});

template <class Visitor, class T>
  requires SameAs<T, ErrorScore>
void fields(Visitor& visit, T& score) {
  visit("count", score.count, "rows with a measured time and a prediction");
  visit("median_error", score.median_error, "median of |predicted / measured - 1|");
  visit("p90_error", score.p90_error, "90th percentile of it");
  visit("bias", score.bias, "median of predicted / measured - 1; positive: predicted too slow");
}

template <class Visitor, class T>
  requires SameAs<T, MemoryScore>
void fields(Visitor& visit, T& score) {
  visit("count", score.count, "rows with a measured peak memory and a prediction");
  visit("median_error", score.median_error, "median of |predicted / measured - 1|");
  visit("p90_error", score.p90_error, "90th percentile of it");
  visit("bias", score.bias, "median of predicted / measured - 1");
  visit("under_by_3pct_share", score.under_by_3pct_share,
        "share of rows predicted at less than 0.97 of what was measured");
}

template <class Visitor, class T>
  requires SameAs<T, GroupScore>
void fields(Visitor& visit, T& score) {
  visit("count", score.count,
        "groups of equal source, release, model, gpus and global batch with 2 rows or more");
  visit("ranked", score.ranked, "of them with 3 rows or more, not all measured alike");
  visit("spearman_median", score.spearman_median,
        "median over the ranked groups of Spearman's rank correlation of times");
  visit("regret_mean", score.regret_mean,
        "mean over groups of measured time of the predicted-fastest row / fastest measured - 1");
  visit("regret_worst", score.regret_worst, "largest of it");
}

template <class Visitor, class T>
  requires SameAs<T, UnclearScore>
void fields(Visitor& visit, T& score) {
  visit("count", score.count, "failures of which no one says that memory was the reason");
  visit("predicted_not_to_fit", score.predicted_not_to_fit, "share of them; no score");
}

template <class Visitor, class T>
  requires SameAs<T, InfeasibleScore>
void fields(Visitor& visit, T& score) {
  visit("count", score.count, "rows known not to fit");
  visit("ran", score.ran, "rows known to fit: they were measured");
  visit("recall", score.recall, "share of the former that is predicted not to fit");
  visit("false_alarm_rate", score.false_alarm_rate,
        "share of the latter that is predicted not to fit");
  visit("unclear", score.unclear, "failures that are no hard truth");
}

template <class Visitor, class T>
  requires SameAs<T, IntervalScore>
void fields(Visitor& visit, T& score) {
  visit("level", score.level, "what intervals promise");
  visit("coverage", score.coverage, "share of measured times inside the predicted interval");
  visit("memory_coverage", score.memory_coverage, "share of measured peak memories inside theirs");
}

template <class Visitor, class T>
  requires SameAs<T, NoiseScore>
void fields(Visitor& visit, T& score) {
  visit("groups", score.groups, "configurations that were measured more than once");
  visit("rows", score.rows, "rows in them");
  visit("median_spread", score.median_spread, "median over groups of longest / shortest time - 1");
  visit("least_median_error", score.least_median_error,
        "median |error| of who knows the median time of each group");
}

template <class Visitor, class T>
  requires SameAs<T, SkippedRow>
void fields(Visitor& visit, T& row) {
  visit("id", row.id, "of the row");
  visit("reason", row.reason, "why it has no score");
}

template <class Visitor, class T>
  requires SameAs<T, ScoredRow>
void fields(Visitor& visit, T& row) {
  visit("id", row.id, "of the row");
  visit("measured_s", row.measured_s, "time of an iteration");
  visit("predicted_s", row.predicted_s, "the same, predicted");
  visit("low_s", row.low_s, "10th percentile");
  visit("high_s", row.high_s, "90th percentile");
  visit("measured_bytes", row.measured_bytes, "peak memory of a device; absent: none is scored");
  visit("predicted_bytes", row.predicted_bytes, "the same, predicted");
  visit("low_bytes", row.low_bytes, "10th percentile");
  visit("high_bytes", row.high_bytes, "90th percentile");
  visit("needed_bytes", row.needed_bytes,
        "by tensors and allocator on the fullest device, without what the driver holds; where too "
        "much and recomputation is not stated, with it");
  visit("usable_bytes", row.usable_bytes, "of a device's memory");
  visit("fits", row.fits, "predicted to fit: what is needed is usable, on devices and hosts");
  visit("ran", row.ran, "true: it was measured; false: out of memory; absent: not known");
  visit("taken", row.taken, "the run that was predicted, blank cells filled in");
  visit("notes", row.notes, "what was taken where the row says nothing, or nothing known");
}

template <class Visitor, class T>
  requires SameAs<T, Accuracy>
void fields(Visitor& visit, T& accuracy) {
  visit.schema("parallel-opt/accuracy/1");
  visit("rows", accuracy.rows, "in the tables; a peak memory is no row of its own");
  visit("used", accuracy.used, "rows that were predicted and compared");
  visit("skipped", accuracy.skipped, "the others");
  visit("time", accuracy.time, "iteration time, all rows");
  visit("memory", accuracy.memory, "peak memory, all rows");
  visit("groups", accuracy.groups, "order of layouts of the same job");
  visit("infeasible", accuracy.infeasible, "what does not fit");
  visit("interval", accuracy.interval, "how often predicted intervals hold");
  visit("by", accuracy.by, "iteration time by column and value");
  visit("groups_by_source", accuracy.groups_by_source, "order of layouts, by source");
  visit("noise", accuracy.noise, "by source: what repeated runs of one configuration differ by");
  visit("notes", accuracy.notes, "what was filled in, passed over or is no hard truth");
  visit("predictions", accuracy.predictions, "every used row, with --rows");
}

}  // namespace parallel_opt
