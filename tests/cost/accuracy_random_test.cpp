#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "parallel_opt/base/random.h"
#include "parallel_opt/cost/accuracy.h"
#include "parallel_opt/cost/statistics.h"

/// Scores of random tables against what their definitions say, written down once more.
namespace parallel_opt {
namespace {

/// The number below which a share of the values lies, by walking from one to the next.
double naive_percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  double at = 0;
  const double step = 1.0 / double(values.size() - 1);
  if (values.size() == 1) return values[0];
  for (std::size_t i = 0; i + 1 < values.size(); ++i, at += step) {
    if (share <= at + step + 1e-12) {
      return values[i] + (share - at) / step * (values[i + 1] - values[i]);
    }
  }
  return values.back();
}

/// Of pairs without ties: 1 - 6 sum d^2 / (n (n^2 - 1)).
double naive_spearman(const std::vector<double>& a, const std::vector<double>& b) {
  const auto rank = [](const std::vector<double>& values, std::size_t i) {
    return double(std::ranges::count_if(values, [&](double v) { return v < values[i]; }));
  };
  const double n = double(a.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(rank(a, i) - rank(b, i), 2);
  return 1 - 6 * sum / (n * (n * n - 1));
}

TEST(StatisticsRandom, AreTheirDefinitions) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<double> a, b;
    for (std::uint64_t i = 2 + random.below(20); i > 0; --i) {
      a.push_back(random.uniform() - 0.5);
      b.push_back(random.uniform() - 0.5);
    }
    const double share = random.uniform();
    ASSERT_NEAR(percentile(a, share), naive_percentile(a, share), 1e-9);
    ASSERT_NEAR(spearman(a, b), naive_spearman(a, b), 1e-9);
    ASSERT_NEAR(spearman(a, a), 1, 1e-12);
    std::vector<double> turned = a;
    for (double& value : turned) value = -value;
    ASSERT_NEAR(spearman(turned, b), -spearman(a, b), 1e-9);
    // Ranks sum to n (n + 1) / 2, with ties as well.
    for (double& value : a) value = std::round(value * 4);
    double sum = 0;
    for (const double rank : rank_values(a)) sum += rank;
    ASSERT_NEAR(sum, double(a.size()) * double(a.size() + 1) / 2, 1e-9);
  }
}

struct Table {
  MeasuredRows rows;
  std::map<std::string, RowAnswer> answers;
};

Table random_table(Random& random) {
  Table table;
  const auto coin = [&] { return random.below(2) == 0; };
  for (std::uint64_t i = 1 + random.below(40); i > 0; --i) {
    MeasuredRow measured;
    TrainingRow& row = measured.row;
    row.id = "r" + std::to_string(i);
    row.source = coin() ? "a" : "b";
    row.model_name = coin() ? "gpt" : "bert";
    row.gpu = "A100";
    row.gpus = coin() ? 8 : 16;
    row.global_batch = 64;
    if (coin()) row.iteration_s = 0.5 + random.uniform();
    if (coin()) row.peak_memory_bytes = 1e9 * (1 + random.uniform());
    measured.truth = RowTruth(random.below(3));
    if (measured.truth != RowTruth::ran) {
      row.iteration_s.reset();
      row.peak_memory_bytes.reset();
    }
    measured.doubt = "a doubt";
    if (random.below(8) == 0) measured.unusable = "no good";
    RowPrediction answer;
    answer.step_time_s = within(0.5 + random.uniform(), 0.2, Quality::calibrated);
    answer.peak_memory_bytes = within(1e9 * (1 + random.uniform()), 0.2, Quality::calibrated);
    answer.fits = coin();
    table.answers[row.id] = answer;
    if (random.below(8) == 0) table.answers[row.id] = "cannot be said";
    table.rows.rows.push_back(measured);
  }
  return table;
}

TEST(AccuracyRandom, EveryScoreIsItsDefinition) {
  Random random(2);
  int groups_seen = 0, alarms_seen = 0;
  for (int round = 0; round < 300; ++round) {
    const Table table = random_table(random);
    const Accuracy accuracy =
        score_rows(table.rows, [&](const TrainingRow& row) { return table.answers.at(row.id); },
                   {.rows = true, .by = {}});
    std::vector<double> errors, sizes, memory;
    std::size_t used = 0, inside = 0, under = 0, full = 0, found = 0, ran = 0, alarms = 0;
    std::map<std::tuple<std::string, std::string, double>, std::vector<std::pair<double, double>>>
        groups;  // predicted, measured
    for (const MeasuredRow& m : table.rows.rows) {
      const auto* answer = std::get_if<RowPrediction>(&table.answers.at(m.row.id));
      const bool measured =
          m.truth != RowTruth::ran || m.row.iteration_s || m.row.peak_memory_bytes;
      if (!m.unusable.empty() || !answer || !measured) continue;
      ++used;
      full += m.truth == RowTruth::out_of_memory;
      found += m.truth == RowTruth::out_of_memory && !answer->fits;
      ran += m.truth == RowTruth::ran;
      alarms += m.truth == RowTruth::ran && !answer->fits;
      if (m.row.iteration_s) {
        const double value = *m.row.iteration_s;
        errors.push_back(answer->step_time_s.value / value - 1);
        sizes.push_back(std::abs(errors.back()));
        inside += answer->step_time_s.low <= value && value <= answer->step_time_s.high;
        groups[{m.row.source, m.row.model_name, *m.row.gpus}].emplace_back(
            answer->step_time_s.value, value);
      }
      if (m.row.peak_memory_bytes) {
        memory.push_back(std::abs(answer->peak_memory_bytes.value / *m.row.peak_memory_bytes - 1));
        under += answer->peak_memory_bytes.value < 0.97 * *m.row.peak_memory_bytes;
      }
    }
    SCOPED_TRACE(round);
    ASSERT_EQ(accuracy.used, std::int64_t(used));
    ASSERT_EQ(accuracy.used + std::int64_t(accuracy.skipped.size()), accuracy.rows);
    ASSERT_EQ(accuracy.predictions->size(), used);
    ASSERT_EQ(accuracy.time.count, std::int64_t(errors.size()));
    ASSERT_EQ(accuracy.time.median_error.has_value(), !errors.empty());
    if (!errors.empty()) {
      ASSERT_NEAR(*accuracy.time.median_error, naive_percentile(sizes, 0.5), 1e-9);
      ASSERT_NEAR(*accuracy.time.p90_error, naive_percentile(sizes, 0.9), 1e-9);
      ASSERT_NEAR(*accuracy.time.bias, naive_percentile(errors, 0.5), 1e-9);
      ASSERT_NEAR(*accuracy.interval.coverage, double(inside) / double(errors.size()), 1e-12);
    }
    if (!memory.empty()) {
      ASSERT_NEAR(*accuracy.memory.median_error, naive_percentile(memory, 0.5), 1e-9);
      ASSERT_NEAR(*accuracy.memory.under_by_3pct_share, double(under) / double(memory.size()),
                  1e-12);
    }
    ASSERT_EQ(accuracy.infeasible.count, std::int64_t(full));
    ASSERT_EQ(accuracy.infeasible.recall.has_value(), full > 0);
    if (full > 0) {
      ASSERT_NEAR(*accuracy.infeasible.recall, double(found) / double(full), 1e-12);
    }
    if (ran > 0) {
      ASSERT_NEAR(*accuracy.infeasible.false_alarm_rate, double(alarms) / double(ran), 1e-12);
      alarms_seen += int(alarms);
    }
    std::vector<double> regrets, correlations;
    for (const auto& [key, pairs] : groups) {
      if (pairs.size() < 2) continue;
      std::vector<double> predicted, measured;
      for (const auto& [p, m] : pairs) {
        predicted.push_back(p);
        measured.push_back(m);
      }
      const auto chosen = std::ranges::min_element(predicted) - predicted.begin();
      regrets.push_back(measured[std::size_t(chosen)] / std::ranges::min(measured) - 1);
      if (pairs.size() >= 3) correlations.push_back(naive_spearman(predicted, measured));
    }
    ASSERT_EQ(accuracy.groups.count, std::int64_t(regrets.size()));
    ASSERT_EQ(accuracy.groups.ranked, std::int64_t(correlations.size()));
    if (!regrets.empty()) {
      ASSERT_NEAR(*accuracy.groups.regret_worst, std::ranges::max(regrets), 1e-9);
      ASSERT_NEAR(*accuracy.groups.regret_mean, mean(regrets), 1e-9);
    }
    if (!correlations.empty()) {
      ASSERT_NEAR(*accuracy.groups.spearman_median, naive_percentile(correlations, 0.5), 1e-9);
      ++groups_seen;
    }
    // Every timed row is in exactly one value of each column.
    for (const auto& [column, values] : accuracy.by) {
      std::int64_t sum = 0;
      for (const auto& [value, score] : values) sum += score.count;
      ASSERT_EQ(sum, accuracy.time.count) << column;
    }
  }
  EXPECT_GT(groups_seen, 10);
  EXPECT_GT(alarms_seen, 50);
}

}  // namespace
}  // namespace parallel_opt
