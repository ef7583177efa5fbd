#include "parallel_opt/cost/accuracy.h"

#include <gtest/gtest.h>

#include <limits>

namespace parallel_opt {
namespace {

MeasuredRow timed(const std::string& id, double measured_s) {
  MeasuredRow measured;
  measured.row.id = id;
  measured.row.source = id.substr(0, id.find('-'));
  measured.row.gpu = "A100";
  measured.row.model_name = "gpt";
  measured.row.gpus = 8;
  measured.row.global_batch = 64;
  measured.row.iteration_s = measured_s;
  return measured;
}

MeasuredRow with_memory(const std::string& id, double bytes) {
  MeasuredRow measured = timed(id, 1);
  measured.row.iteration_s.reset();
  measured.row.peak_memory_bytes = bytes;
  return measured;
}

RowPrediction prediction(double seconds, double bytes = 1, bool fits = true) {
  RowPrediction answer;
  answer.step_time_s = within(seconds, 0.1, Quality::calibrated);
  answer.peak_memory_bytes = within(bytes, 0.1, Quality::calibrated);
  answer.fits = fits;
  return answer;
}

/// Answers by id.
RowPredictor table_of(std::map<std::string, RowAnswer> answers) {
  return [answers = std::move(answers)](const TrainingRow& row) { return answers.at(row.id); };
}

TEST(Accuracy, TimeErrorsByHand) {
  const Accuracy accuracy = score_rows(
      {{timed("a-1", 1), timed("a-2", 2), timed("b-1", 4)}, {}},
      table_of({{"a-1", prediction(1.1)}, {"a-2", prediction(1.0)}, {"b-1", prediction(5.0)}}));
  EXPECT_EQ(accuracy.rows, 3);
  EXPECT_EQ(accuracy.used, 3);
  EXPECT_EQ(accuracy.time.count, 3);
  // errors 0.1, -0.5, 0.25
  EXPECT_NEAR(*accuracy.time.median_error, 0.25, 1e-12);
  EXPECT_NEAR(*accuracy.time.p90_error, 0.45, 1e-12);  // 0.25 + 0.8 * (0.5 - 0.25)
  EXPECT_NEAR(*accuracy.time.bias, 0.1, 1e-12);        // the middle of -0.5 0.1 0.25
  // intervals +-10 %: 0.99..1.21 holds 1; 0.9..1.1 lacks 2; 4.5..5.5 lacks 4
  EXPECT_NEAR(*accuracy.interval.coverage, 1.0 / 3, 1e-12);
  EXPECT_EQ(accuracy.interval.level, 0.8);
  EXPECT_EQ(accuracy.interval.memory_coverage, std::nullopt);
}

TEST(Accuracy, PeaksOfGuessedRunsAreNotScored) {
  RowPrediction guess = prediction(1, 300);
  guess.knows_peak = false;
  MeasuredRow both = timed("a-2", 1);
  both.row.peak_memory_bytes = 100;
  const Accuracy accuracy =
      score_rows({{with_memory("a-1", 100), both, with_memory("a-3", 100)}, {}},
                 table_of({{"a-1", guess}, {"a-2", guess}, {"a-3", prediction(1, 110)}}),
                 {.rows = true, .by = {}});
  EXPECT_EQ(accuracy.used, 3);
  EXPECT_EQ(accuracy.time.count, 1);
  EXPECT_EQ(accuracy.memory.count, 1);
  EXPECT_NEAR(*accuracy.memory.median_error, 0.1, 1e-12);
  EXPECT_EQ(accuracy.predictions->at(0).measured_bytes, std::nullopt);
  EXPECT_EQ(accuracy.predictions->at(2).measured_bytes, 100);
}

TEST(Accuracy, EveryRowIsUsedOrSkippedWithItsReason) {
  MeasuredRow nothing = timed("a-1", 1), unusable = timed("a-2", 1), rate = timed("a-3", 1);
  nothing.row.iteration_s.reset();
  unusable.unusable = "tp is 0";
  rate.row.iteration_s.reset();
  rate.untimed = "samples/s is stated, but not global_batch";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Accuracy accuracy = score_rows(
      {{nothing, unusable, rate, timed("a-4", 1), timed("a-5", 1), timed("a-6", 1)}, {"a note"}},
      table_of({{"a-4", "no such device"}, {"a-5", prediction(nan)}, {"a-6", prediction(1)}}));
  EXPECT_EQ(accuracy.rows, 6);
  EXPECT_EQ(accuracy.used, 1);
  EXPECT_EQ(accuracy.skipped,
            (std::vector<SkippedRow>{{"a-1", "nothing was measured"},
                                     {"a-2", "tp is 0"},
                                     {"a-3", "samples/s is stated, but not global_batch"},
                                     {"a-4", "no such device"},
                                     {"a-5", "the prediction is no positive number"}}));
  EXPECT_EQ(accuracy.notes, std::vector<std::string>{"a note"});
}

TEST(Accuracy, ARowThatSaysItRanIsATruthWithoutAnyFigure) {
  MeasuredRow fits = timed("a-1", 1), refused = timed("a-2", 1), rate = timed("a-3", 1);
  for (MeasuredRow* row : {&fits, &refused, &rate}) {
    row->row.iteration_s.reset();
    row->says_it_ran = true;
  }
  rate.untimed = "samples/s is stated, but not global_batch";
  RowPrediction no = prediction(1);
  no.fits = false;
  const Accuracy accuracy =
      score_rows({{fits, refused, rate}, {}}, table_of({{"a-1", prediction(1)}, {"a-2", no}}));
  EXPECT_EQ(accuracy.used, 2);
  EXPECT_EQ(accuracy.time.count, 0);
  EXPECT_EQ(accuracy.infeasible.ran, 2);
  EXPECT_EQ(accuracy.infeasible.false_alarm_rate, 0.5);
  EXPECT_EQ(accuracy.skipped.size(), 1U);
}

TEST(Accuracy, RatesOfFlopsAreTimesOfTheModelsFlops) {
  MeasuredRow model = timed("a-1", 1), hardware = timed("a-2", 1), share = timed("a-3", 1);
  model.row.iteration_s = hardware.row.iteration_s = share.row.iteration_s = std::nullopt;
  model.row.flops_per_s = hardware.row.flops_per_s = 100;
  hardware.row.counts_recompute = true;
  share.row.peak_share = 0.5;
  RowPrediction answer = prediction(2);
  answer.flops = 150;
  answer.flops_again = 200;
  answer.peak_flops_per_s = 600;
  AccuracyOptions options;
  options.rows = true;
  const Accuracy accuracy =
      score_rows({{model, hardware, share}, {}},
                 table_of({{"a-1", answer}, {"a-2", answer}, {"a-3", answer}}), options);
  ASSERT_EQ(accuracy.used, 3);
  EXPECT_EQ(accuracy.predictions->at(0).measured_s, 1.5);  // 150 / 100
  EXPECT_EQ(accuracy.predictions->at(1).measured_s, 2);    // 200 / 100
  EXPECT_EQ(accuracy.predictions->at(2).measured_s, 0.5);  // 150 / (0.5 * 600)
  EXPECT_EQ(accuracy.notes.at(0),
            "3 rows: iteration time = FLOPs of the model / the rate stated; attention counts "
            "whole, recomputation where the table counts it");
}

TEST(Accuracy, WhatRowsTookIsCountedAndReasonsAreOneLine) {
  MeasuredRow odd = timed("a-3", 1);
  odd.unusable = "first\nsecond";
  RowPrediction answer = prediction(1);
  answer.notes = {"stack pytorch, as no framework is stated"};
  const Accuracy accuracy = score_rows({{timed("a-1", 1), timed("a-2", 1), odd}, {}},
                                       table_of({{"a-1", answer}, {"a-2", answer}}));
  EXPECT_EQ(accuracy.notes,
            std::vector<std::string>{"2 rows: stack pytorch, as no framework is stated"});
  ASSERT_EQ(accuracy.skipped.size(), 1u);
  EXPECT_EQ(accuracy.skipped[0].reason, "first second");
}

TEST(Accuracy, MemoryErrorsAndUnderEstimates) {
  const Accuracy accuracy = score_rows({{with_memory("a-1", 100), with_memory("a-2", 100),
                                         with_memory("a-3", 100), with_memory("a-4", 100)},
                                        {}},
                                       table_of({{"a-1", prediction(1, 98)},
                                                 {"a-2", prediction(1, 96)},
                                                 {"a-3", prediction(1, 110)},
                                                 {"a-4", prediction(1, 150)}}));
  EXPECT_EQ(accuracy.time.count, 0);
  EXPECT_EQ(accuracy.time.median_error, std::nullopt);
  EXPECT_EQ(accuracy.memory.count, 4);
  EXPECT_NEAR(*accuracy.memory.median_error, 0.07, 1e-12);  // 0.02 0.04 0.1 0.5: (0.04 + 0.1) / 2
  EXPECT_NEAR(*accuracy.memory.p90_error, 0.38, 1e-12);     // 0.1 + 0.7 * 0.4
  EXPECT_NEAR(*accuracy.memory.bias, 0.04, 1e-12);          // (-0.02 + 0.1) / 2
  EXPECT_EQ(accuracy.memory.under_by_3pct_share, 0.25);     // 96 < 97
  EXPECT_EQ(accuracy.interval.memory_coverage, 0.75);       // 135..165 lacks 100
}

TEST(Accuracy, RankAndRegretWithinAGroup) {
  // predicted 1 3 2 4 against measured 2 3 4 5: Spearman 0.8 (one neighbouring pair swapped)
  const Accuracy right =
      score_rows({{timed("a-1", 2), timed("a-2", 3), timed("a-3", 4), timed("a-4", 5)}, {}},
                 table_of({{"a-1", prediction(1)},
                           {"a-2", prediction(3)},
                           {"a-3", prediction(2)},
                           {"a-4", prediction(4)}}));
  EXPECT_EQ(right.groups.count, 1);
  EXPECT_EQ(right.groups.ranked, 1);
  EXPECT_NEAR(*right.groups.spearman_median, 0.8, 1e-12);
  EXPECT_EQ(right.groups.regret_mean, 0);
  // The row predicted fastest took 3, the fastest 2: 3 / 2 - 1.
  const Accuracy wrong = score_rows({{timed("a-1", 2), timed("a-2", 3)}, {}},
                                    table_of({{"a-1", prediction(9)}, {"a-2", prediction(8)}}));
  EXPECT_EQ(wrong.groups.ranked, 0);
  EXPECT_EQ(wrong.groups.spearman_median, std::nullopt);
  EXPECT_EQ(wrong.groups.regret_mean, 0.5);
  EXPECT_EQ(wrong.groups.regret_worst, 0.5);
}

TEST(Accuracy, RowsPredictedAlikeAreChosenByChance) {
  const Accuracy accuracy = score_rows(
      {{timed("a-1", 2), timed("a-2", 3), timed("a-3", 4)}, {}},
      table_of({{"a-1", prediction(1)}, {"a-2", prediction(1)}, {"a-3", prediction(5)}}));
  EXPECT_EQ(accuracy.groups.regret_mean, 0.25);  // (2 + 3) / 2 / 2 - 1
}

TEST(Accuracy, GroupsAreOfOneSourceReleaseModelSizeAndBatch) {
  std::vector<MeasuredRow> rows;
  for (int i = 0; i < 6; ++i) rows.push_back(timed("a-" + std::to_string(i), 1));
  rows[1].row.source = "b";
  rows[2].release = "container 26.02";
  rows[3].row.model_name = "llama";
  rows[4].row.gpus = 16;
  rows[5].row.global_batch = 128;
  const auto one = [](const TrainingRow&) -> RowAnswer { return prediction(1); };
  EXPECT_EQ(score_rows({rows, {}}, one).groups.count, 0);
  rows.push_back(rows[0]);
  const Accuracy accuracy = score_rows({rows, {}}, one);
  EXPECT_EQ(accuracy.groups.count, 1);
  EXPECT_EQ(accuracy.groups_by_source.at("a").count, 1);
  EXPECT_EQ(accuracy.groups_by_source.at("b").count, 0);
}

TEST(Accuracy, RecallAndFalseAlarms) {
  std::vector<MeasuredRow> rows;
  std::map<std::string, RowAnswer> answers;
  const auto add = [&](const std::string& id, RowTruth truth, bool fits) {
    MeasuredRow measured = timed(id, 1);
    measured.truth = truth;
    if (truth != RowTruth::ran) measured.row.iteration_s.reset();
    if (truth == RowTruth::unclear) measured.doubt = "failed, yet with a throughput";
    measured.source_says_so = id != "a-2";
    rows.push_back(measured);
    answers[id] = prediction(1, 1, fits);
  };
  for (const char* id : {"a-0", "a-1", "a-2"}) add(id, RowTruth::out_of_memory, false);
  add("a-3", RowTruth::out_of_memory, true);
  for (const char* id : {"a-4", "a-5", "a-6", "a-7"}) add(id, RowTruth::ran, true);
  add("a-8", RowTruth::ran, false);
  add("a-9", RowTruth::unclear, false);
  add("a-10", RowTruth::unclear, true);
  const Accuracy accuracy = score_rows({rows, {}}, table_of(answers), {.rows = true, .by = {}});
  EXPECT_EQ(accuracy.used, 11);
  EXPECT_EQ(accuracy.infeasible.count, 4);
  EXPECT_EQ(accuracy.infeasible.recall, 0.75);
  EXPECT_EQ(accuracy.infeasible.ran, 5);
  EXPECT_EQ(accuracy.infeasible.false_alarm_rate, 0.2);
  EXPECT_EQ(accuracy.infeasible.unclear.count, 2);
  EXPECT_EQ(accuracy.infeasible.unclear.predicted_not_to_fit, 0.5);
  EXPECT_EQ(accuracy.time.count, 5);
  EXPECT_EQ(accuracy.notes,
            (std::vector<std::string>{
                "1 failed row counts as out of memory: what it must hold is clearly more than the "
                "device has",
                "2 failed rows are no hard truth: failed, yet with a throughput"}));
  EXPECT_EQ(accuracy.predictions->at(3).ran, false);
  EXPECT_EQ(accuracy.predictions->at(4).ran, true);
  EXPECT_EQ(accuracy.predictions->at(9).ran, std::nullopt);
}

TEST(Accuracy, ScoresByColumnAndValue) {
  std::vector<MeasuredRow> rows = {timed("a-1", 1), timed("a-2", 1), timed("b-1", 1)};
  rows[0].row.tp = 1, rows[1].row.tp = 16;
  rows[2].row.dtype = "bf16";
  const Accuracy accuracy =
      score_rows({rows, {}},
                 table_of({{"a-1", prediction(2)}, {"a-2", prediction(4)}, {"b-1", prediction(1)}}),
                 {.rows = false, .by = {"dtype"}});
  EXPECT_EQ(accuracy.by.size(), usual_columns().size() + 1);
  EXPECT_EQ(accuracy.by.at("source").at("a").count, 2);
  EXPECT_EQ(accuracy.by.at("source").at("a").median_error, 2);  // (1 + 3) / 2
  EXPECT_EQ(accuracy.by.at("tp").at("16").bias, 3);
  EXPECT_EQ(accuracy.by.at("tp").at("not stated").bias, 0);
  EXPECT_EQ(accuracy.by.at("dtype").at("bf16").count, 1);
  EXPECT_EQ(accuracy.predictions, std::nullopt);
}

TEST(Accuracy, NoiseIsWhatRepeatedConfigurationsDifferBy) {
  std::vector<MeasuredRow> rows = {timed("a-1", 1), timed("a-2", 1.5), timed("a-3", 7),
                                   timed("b-1", 1), timed("a-4", 9)};
  rows[2].row.tp = 2;  // another configuration
  rows[0].row.notes = "container 26.02 NeMo Container; Notes=05-28; Zero=3";
  rows[1].row.notes = "Notes=05-30; Zero=3";
  rows[4].row.notes = "Zero=2";  // another configuration
  const Accuracy accuracy = score_rows({rows, {}}, [](const TrainingRow&) -> RowAnswer {
    return "nothing is known";  // repeats are there whether they can be predicted or not
  });
  ASSERT_EQ(accuracy.noise.size(), 1u);
  const NoiseScore& noise = accuracy.noise.at("a");
  EXPECT_EQ(noise.groups, 1);
  EXPECT_EQ(noise.rows, 2);
  EXPECT_EQ(noise.median_spread, 0.5);  // 1.5 / 1 - 1
  // who says 1.25: 0.25 too high of 1, 1/6 too low of 1.5; their median is 5/24
  EXPECT_NEAR(*noise.least_median_error, 5.0 / 24, 1e-12);
}

TEST(Accuracy, PredictionsKeepIntervalsAndWhatIsAbsent) {
  MeasuredRow measured = timed("a-1", 2);
  measured.filled = {"from its own cells"};
  RowPrediction predicted = prediction(10, 100);
  predicted.notes = {"assumed"};
  const Accuracy accuracy =
      score_rows({{measured}, {}}, table_of({{"a-1", predicted}}), {.rows = true, .by = {}});
  ASSERT_EQ(accuracy.predictions->size(), 1u);
  const ScoredRow& row = accuracy.predictions->front();
  EXPECT_EQ(row.notes, (std::vector<std::string>{"from its own cells", "assumed"}));
  EXPECT_EQ(row.id, "a-1");
  EXPECT_EQ(row.measured_s, 2);
  EXPECT_EQ(row.predicted_s, 10);
  EXPECT_EQ(row.low_s, 9);
  EXPECT_EQ(row.high_s, 11);
  EXPECT_EQ(row.measured_bytes, std::nullopt);
  EXPECT_EQ(row.predicted_bytes, 100);
  const std::string json = to_json(accuracy);
  EXPECT_TRUE(json.starts_with("{\n  \"schema\": \"parallel-opt/accuracy/1\",\n")) << json;
  EXPECT_EQ(json.find("measured_bytes"), std::string::npos);
}

TEST(Accuracy, AFailureWhoseMicroBatchIsGuessedIsNoHardTruth) {
  MeasuredRow failed = timed("a-1", 2);
  failed.row.iteration_s.reset();
  failed.truth = RowTruth::out_of_memory;
  RowPrediction guessed = prediction(1, 10);
  const auto score = [&] { return score_rows({{failed}, {}}, table_of({{"a-1", guessed}}), {}); };
  EXPECT_EQ(score().infeasible.count, 1);
  guessed.knows_peak = false;
  const Accuracy accuracy = score();
  EXPECT_EQ(accuracy.infeasible.count, 0);
  EXPECT_EQ(accuracy.infeasible.unclear.count, 1);
  EXPECT_EQ(
      std::ranges::count(accuracy.notes, "1 failed row is no hard truth: its micro-batch is blank"),
      1);
}

TEST(Accuracy, ProgressCountsRows) {
  std::vector<std::size_t> seen;
  (void)score_rows({{timed("a-1", 2), timed("a-2", 2)}, {}},
                   [](const TrainingRow&) -> RowAnswer { return prediction(1); },
                   {.rows = false, .by = {}, .progress = [&](std::size_t done, std::size_t total) {
                      EXPECT_EQ(total, 2u);
                      seen.push_back(done);
                    }});
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1}));
}

}  // namespace
}  // namespace parallel_opt
