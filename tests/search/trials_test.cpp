#include "parallel_opt/search/trials.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/estimate.h"
#include "parallel_opt/plan/validate.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cpu;
using testing::gpt;
using testing::machine;

/// A measured way to run; times in milliseconds, each known to +-`noise` ms.
Trial trial(Precision precision, bool compile, bool fused, double forward_backward_ms,
            double optimizer_ms, double noise_ms = 0.1) {
  Trial t;
  t.precision = precision;
  t.execution = {compile, MemoryFormat::contiguous, AttentionKernel::fused, fused};
  t.threads = 2;
  t.forward_backward_s = {forward_backward_ms * 1e-3, (forward_backward_ms - noise_ms) * 1e-3,
                          (forward_backward_ms + noise_ms) * 1e-3, Quality::measured};
  t.optimizer_s = exact(optimizer_ms * 1e-3);
  t.max_relative_difference = 0;
  return t;
}

class Decide : public ::testing::Test {
 protected:
  Graph graph = gpt(2, 8, 32, 64, 4, 64);
  Cluster cluster = machine();
  Job job;

  Decision with(const std::vector<Trial>& trials) {
    return decide(graph, cluster, job, search(graph, cluster, job), trials);
  }
  static double loss_s(const Decision& decision) {
    for (const EstimateItem& item : decision.plan.estimate.items) {
      if (item.name == "loss") return *item.seconds;
    }
    return 0;
  }
  static std::string reason(const Decision& decision, const std::string& label) {
    for (const Candidate& candidate : decision.candidates) {
      if (candidate.label == label) return candidate.reason;
    }
    return "no such candidate: " + label;
  }
};

TEST_F(Decide, FastestMeasuredWinsWhateverWasPredicted) {
  // plain 100 + 10 = 110 ms; bf16 compiled fused 60 + 5 = 65 ms: 110 / 65 = 1.69 times.
  const Decision d = with(
      {trial(Precision::fp32, false, false, 100, 10), trial(Precision::bf16, true, true, 60, 5)});
  EXPECT_EQ(d.summary,
            "1 rank x 2 threads, bf16, compiled, fused optimizer, memory kept: 1.69 times the "
            "speed of plain "
            "PyTorch, measured");
  EXPECT_NEAR(d.gain, 1 - 65.0 / 110, 1e-3);  // the loss, some us, is in both
  EXPECT_NEAR(d.plan.estimate.step_time_s.value - loss_s(d), 0.065, 1e-12);
  EXPECT_EQ(d.plan.estimate.step_time_s.quality, Quality::measured);
  EXPECT_EQ(d.plan.provenance.measured,
            (std::vector<std::string>{"estimate.step_time_s", "estimate.samples_per_s",
                                      "estimate.warm_up_s"}));
  EXPECT_TRUE(validate(graph, cluster, job, d.plan).empty());
}

TEST_F(Decide, LinesOfTheBillSumToTheMeasuredStep) {
  const Decision d = with(
      {trial(Precision::fp32, false, false, 100, 10), trial(Precision::bf16, true, true, 60, 5)});
  double sum = 0;
  for (const EstimateItem& item : d.plan.estimate.items) {
    sum += item.seconds.value_or(0);
    const double value =
        item.seconds.value_or(0) + item.bytes.value_or(0) + item.joules.value_or(0);
    EXPECT_LE(item.low.value(), value) << item.name;  // intervals go along
    EXPECT_GE(item.high.value(), value) << item.name;
  }
  EXPECT_NEAR(sum, d.plan.estimate.step_time_s.value, 1e-9);
  EXPECT_NEAR(sum - loss_s(d), 0.065, 1e-9);
}

TEST_F(Decide, PlainStaysWhenNothingBeatsIt) {
  // plain 110 ms; compiled 120 + 10 = 130 ms: 130 / 110 - 1 = 18.2 %.
  const Decision d = with({trial(Precision::fp32, false, false, 100, 10),
                           trial(Precision::fp32, true, false, 120, 10)});
  EXPECT_EQ(d.summary, "plain PyTorch: of 1 other setting measured none is faster");
  EXPECT_EQ(d.gain, 0);
  EXPECT_EQ(d.plan.execution, Execution{});
  EXPECT_EQ(d.plan.precision, Precision::fp32);
  EXPECT_EQ(reason(d, "1 rank x 2 threads, fp32, compiled, memory kept"),
            "18.2 % slower than plain PyTorch");
}

TEST_F(Decide, GainWithinTheNoiseIsNoGain) {
  // 2 ms of 110 (1.8 %); noise sqrt(3^2 + 3^2) = 4.2 ms.
  const Decision d = with({trial(Precision::fp32, false, false, 100, 10, 3),
                           trial(Precision::fp32, true, false, 98, 10, 3)});
  EXPECT_EQ(d.plan.execution, Execution{});
  EXPECT_EQ(
      d.summary,
      "plain PyTorch: of 1 other setting measured none may take its place; the best is "
      "1 rank x 2 threads, fp32, compiled, memory kept: its gain of 1.80 % over plain PyTorch "
      "is within the noise of the measurement");
  EXPECT_EQ(reason(d, "1 rank x 2 threads, fp32, compiled, memory kept"),
            "its gain of 1.80 % over plain PyTorch is within the noise of the measurement");
}

TEST_F(Decide, OptimizerStepOfAnotherTrialIsUsed) {
  // plain 110; fused optimizer seen beside plain 100 + 4; compiled seen with the plain optimizer
  // 80 + 10. Together 80 + 4 = 84 ms, which no trial measured as a whole.
  const Decision d = with({trial(Precision::fp32, false, false, 100, 10),
                           trial(Precision::fp32, false, true, 100, 4),
                           trial(Precision::fp32, true, false, 80, 10)});
  EXPECT_NEAR(d.plan.estimate.step_time_s.value - loss_s(d), 0.084, 1e-12);
  EXPECT_EQ(d.summary,
            "1 rank x 2 threads, fp32, compiled, fused optimizer, memory kept: 1.31 times the "
            "speed of plain "
            "PyTorch, measured (optimizer step measured apart)");
}

TEST_F(Decide, AForwardThatKeptMemorySaysNothingOfAPlanThatDoesNot) {
  // The forward of the fused plan and the optimizer of the bf16 one would make up plain fp32 on one
  // thread, 50 + 5 = 55 ms; but plain keeps no memory, and no trial ran its forward.
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, false, true, 50, 5),
                               trial(Precision::bf16, false, false, 200, 5)};
  trials[1].threads = trials[2].threads = 1;
  const Decision d = with(trials);
  EXPECT_EQ(one_line(d.plan), "1 rank x 1 thread, fp32, fused optimizer, memory kept");
}

TEST_F(Decide, WrongNumbersAreRejected) {
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 50, 10),
                               trial(Precision::bf16, false, false, 55, 10)};
  trials[1].max_relative_difference = 2e-4;  // fp32: 1e-4
  trials[2].max_relative_difference = 4e-2;  // bf16: 5e-2
  const Decision d = with(trials);
  EXPECT_EQ(d.plan.precision, Precision::bf16);
  EXPECT_EQ(reason(d, "1 rank x 2 threads, fp32, compiled, memory kept"),
            "its outputs differ from those of plain PyTorch by 0.0002, fp32 may differ by 0.0001");
  trials[2].max_relative_difference = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(with(trials).plan.precision, Precision::fp32);
  EXPECT_FALSE(with(trials).plan.execution.compile);
}

TEST_F(Decide, OutputsMayDifferTwiceAsMuchAsTf32ChangesPlains) {
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 50, 10)};
  trials[1].max_relative_difference = 7e-3;
  EXPECT_FALSE(with(trials).plan.execution.compile);
  trials[0].rounding = 4e-3;  // 2 x 4e-3 > 7e-3
  EXPECT_TRUE(with(trials).plan.execution.compile);
  trials[1].max_relative_difference = 9e-3;
  EXPECT_EQ(
      reason(with(trials), "1 rank x 2 threads, fp32, compiled, memory kept"),
      "its outputs differ from those of plain PyTorch by 0.00900, fp32 may differ by 0.00800");
}

TEST_F(Decide, WarmUpMustBePaidBack) {
  // 10 ms gained per step, 20 s of warm-up: 2000 steps.
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 90, 10)};
  trials[1].warm_up_s = 20;
  job.steps = 1900;
  EXPECT_EQ(reason(with(trials), "1 rank x 2 threads, fp32, compiled, memory kept"),
            "its warm-up of 20.0 s is not paid back in 1900 steps");
  job.steps = 2100;
  EXPECT_TRUE(with(trials).plan.execution.compile);
  trials[1].warm_up_s = 0;  // the trial itself has paid it
  job.steps = 1;
  EXPECT_TRUE(with(trials).plan.execution.compile);
}

TEST_F(Decide, FailedTrialsAreListedWithTheirReason) {
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 10, 10)};
  trials[1].failed = "C++ compiler not found";
  const Decision d = with(trials);
  EXPECT_FALSE(d.plan.execution.compile);
  EXPECT_EQ(reason(d, "1 rank x 2 threads, fp32, compiled, memory kept"),
            "did not run: C++ compiler not found");
}

TEST_F(Decide, PlainAloneSaysThatNothingElseWasMeasured) {
  EXPECT_EQ(with({trial(Precision::fp32, false, false, 100, 10)}).summary,
            "plain PyTorch: nothing else was measured, and the gain of 1 rank x 2 threads, bf16, "
            "compiled, fused optimizer, memory kept is only predicted");
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 0, 0)};
  trials[1].failed = "C++ compiler not found";
  EXPECT_EQ(with(trials).summary, "plain PyTorch: 1 other setting did not run");
}

TEST_F(Decide, FallbackIsWhatThePinsLeaveOfPlain) {
  const Decision free = with(
      {trial(Precision::fp32, false, false, 100, 10), trial(Precision::bf16, true, true, 60, 5)});
  EXPECT_EQ(one_line(free.plain), "1 rank x 2 threads, fp32");
  EXPECT_NEAR(free.plain.estimate.step_time_s.value - loss_s(free), 0.110, 1e-9);
  // bf16 pinned: bf16 stays, and it is what the others are measured against. 70 / 55 = 1.27.
  job.precision = Precision::bf16;
  const Decision d = with(
      {trial(Precision::bf16, false, false, 60, 10), trial(Precision::bf16, false, true, 50, 5)});
  EXPECT_EQ(one_line(d.plain), "1 rank x 2 threads, bf16, memory kept");
  EXPECT_EQ(d.summary,
            "1 rank x 2 threads, bf16, fused optimizer, memory kept: 1.27 times the speed of "
            "1 rank x 2 threads, bf16, memory kept, measured");
  const Decision unmeasured = with({});
  EXPECT_EQ(one_line(unmeasured.plain), "1 rank x 2 threads, bf16, memory kept");
}

TEST_F(Decide, MemoryThatWasMeasuredCounts) {
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 50, 10)};
  trials[0].peak_bytes = 5e6;
  trials[1].peak_bytes = 3e9;
  job.memory_limit_bytes = Bytes(2'000'000'000);
  const Decision d = with(trials);
  EXPECT_FALSE(d.plan.execution.compile);
  EXPECT_EQ(reason(d, "1 rank x 2 threads, fp32, compiled"),
            "needed 2.79 GiB: more than the limit");
  EXPECT_EQ(d.plan.estimate.peak_memory_bytes, exact(5e6));
}

TEST_F(Decide, TheMemoryBillKeepsWhatIsExactAndSumsToTheMeasuredPeak) {
  const auto bytes_of = [](const Plan& plan, std::string_view name) {
    double sum = 0;
    for (const EstimateItem& item : plan.estimate.items) {
      if (name.empty() || item.name == name) sum += item.bytes.value_or(0);
    }
    return sum;
  };
  const auto decided = [&](std::optional<double> peak) {
    std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10)};
    trials[0].peak_bytes = peak;
    return with(trials).plan;
  };
  const Plan predicted = decided({});
  const double parameters = bytes_of(predicted, "parameters and buffers");
  const double peak = std::round(predicted.estimate.peak_memory_bytes.value * 1.5);
  const Plan fitted = decided(peak);
  EXPECT_EQ(bytes_of(fitted, "parameters and buffers"), parameters);
  EXPECT_NEAR(bytes_of(fitted, ""), peak, 5);  // whole bytes in each line
  // below what is exact no line can stay
  EXPECT_NEAR(bytes_of(decided(parameters / 2), ""), parameters / 2, 5);
}

TEST_F(Decide, WithoutPlainOnlyAGainBeyondDoubtIsTaken) {
  graph = gpt(4);
  job.pins.compile = false;
  job.precision = Precision::fp32;  // the fused optimizer alone gains less than the intervals allow
  EXPECT_EQ(with({}).summary,
            "plain PyTorch: nothing was measured, and the predicted gain of "
            "1 rank x 2 threads, fp32, fused optimizer, memory kept is within the uncertainty");
  EXPECT_FALSE(with({}).plan.execution.fused_optimizer);
  job.precision = Precision::automatic;
  cluster = machine({cpu(2, 20)});
  const Decision sure = with({});
  EXPECT_EQ(sure.summary,
            "predicted, not measured: 1 rank x 2 threads, bf16, fused optimizer, memory kept");
  EXPECT_EQ(sure.plan, *search(graph, cluster, job).plan);
  EXPECT_GT(sure.gain, 0.4);
}

TEST_F(Decide, RatiosOfRunsSideBySideCountBeforeMedians) {
  // Medians say 100 against 101 ms; the runs of each round say 1.25 +- 0.02: 100 / 1.25 = 80 ms.
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10, 15),
                               trial(Precision::fp32, true, false, 101, 10, 15)};
  for (Trial& t : trials) t.samples = 9;
  EXPECT_FALSE(with(trials).plan.execution.compile);
  trials[1].speedup = Uncertain{1.25, 1.23, 1.27, Quality::measured};
  const Decision d = with(trials);
  EXPECT_TRUE(d.plan.execution.compile);
  EXPECT_NEAR(d.plan.estimate.step_time_s.value - loss_s(d), 0.080 + 0.010, 1e-9);
}

TEST_F(Decide, ManyRunsKnowTheMedianBetter) {
  // Gain 3 ms of 110. Runs spread by +-6 ms: 1.91 * hypot(6, 6) / sqrt(n) = 16.2 / sqrt(n) ms,
  // which is 5.4 ms for 9 runs and 2.9 ms for 31.
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10, 6),
                               trial(Precision::fp32, true, false, 97, 10, 6)};
  for (Trial& t : trials) t.samples = 9;
  EXPECT_FALSE(with(trials).plan.execution.compile);
  for (Trial& t : trials) t.samples = 31;
  EXPECT_TRUE(with(trials).plan.execution.compile);
}

TEST_F(Decide, SingleRunsAreAssumedToSpread) {
  // 15 % of each run: hypot(15, 12.75) = 19.7 ms is more than the gain of 15 ms, and
  // hypot(15, 7.5) = 16.8 ms less than one of 50 ms.
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10, 0),
                               trial(Precision::fp32, true, false, 85, 10, 0)};
  for (Trial& t : trials) t.samples = 1;
  EXPECT_FALSE(with(trials).plan.execution.compile);
  trials[1] = trial(Precision::fp32, true, false, 50, 10, 0);
  trials[1].samples = 1;
  EXPECT_TRUE(with(trials).plan.execution.compile);
}

TEST_F(Decide, SingleRunsBelowATimeSliceSayNothing) {
  // One preemption takes 2 ms: more than the whole of both runs.
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 0.5, 0.1, 0),
                               trial(Precision::fp32, true, false, 0.1, 0.1, 0)};
  for (Trial& t : trials) t.samples = 1;
  const Decision d = with(trials);
  EXPECT_FALSE(d.plan.execution.compile);
  EXPECT_NE(reason(d, "1 rank x 2 threads, fp32, compiled, memory kept").find("within the noise"),
            std::string::npos);
}

TEST_F(Decide, TheCostModelsOwnWordIsKept) {
  // 100 + 10 ms measured; what was predicted before is the estimate of the same plan.
  const Decision d = with({trial(Precision::fp32, false, false, 100, 10)});
  EXPECT_EQ(d.plan.estimate.step_time_s.quality, Quality::measured);
  EXPECT_EQ(d.modelled.step_time_s.quality, Quality::calibrated);
  EXPECT_EQ(d.modelled, estimate(graph, cluster, job, d.plan));
}

TEST_F(Decide, OptimizerThatWasNotMeasuredIsPredicted) {
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 0),
                               trial(Precision::fp32, true, true, 50, 0)};
  const Decision d = with(trials);
  EXPECT_TRUE(d.plan.execution.compile);
  EXPECT_GT(d.plan.estimate.step_time_s.value, 0.050 + loss_s(d));
}

TEST_F(Decide, PlainOfAProcessWithOtherThreadsIsTheYardstick) {
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, true, false, 50, 10)};
  for (Trial& t : trials) t.threads = 1;  // OMP_NUM_THREADS=1
  const Decision d = with(trials);
  EXPECT_EQ(d.summary,
            "1 rank x 1 thread, fp32, compiled, memory kept: 1.83 times the speed of plain "
            "PyTorch, measured");
  EXPECT_TRUE(validate(graph, cluster, job, d.plan).empty());
}

TEST_F(Decide, MemoryIsKeptUnlessItIsShortOrThePlanIsPlain) {
  const Execution compiled{true, MemoryFormat::contiguous, AttentionKernel::fused, false, false};
  EXPECT_TRUE(keeps_memory(compiled, Precision::fp32, job));
  EXPECT_TRUE(keeps_memory({}, Precision::bf16, job));
  EXPECT_FALSE(keeps_memory({}, Precision::fp32, job));
  job.memory_limit_bytes = Bytes(1 << 30);
  EXPECT_FALSE(keeps_memory(compiled, Precision::fp32, job));
}

TEST_F(Decide, EnergyAllowsTheStatedSlowdown) {
  // One thread is 5 % slower and draws less: allowed with max_slowdown 0.1, not without.
  job.objective = Objective::energy;
  job.precision = Precision::fp32;
  job.pins.compile = false;
  job.pins.fused_optimizer = false;
  std::vector<Trial> trials = {trial(Precision::fp32, false, false, 100, 10),
                               trial(Precision::fp32, false, false, 105.5, 10)};
  trials[1].threads = 1;
  EXPECT_EQ(with(trials).plan.placements.front().threads, 2);
  job.max_slowdown = 0.1;
  EXPECT_EQ(with(trials).plan.placements.front().threads, 1);
}

TEST_F(Decide, EveryCandidateHasAReason) {
  const Decision d = with(
      {trial(Precision::fp32, false, false, 100, 10), trial(Precision::bf16, true, true, 60, 5)});
  EXPECT_EQ(d.candidates.front().plan, d.plan);
  for (const Candidate& candidate : d.candidates)
    EXPECT_NE(candidate.reason, "") << candidate.label;
  // plain was predicted otherwise: what was not tried moves by the same factor
  const double predicted =
      search(graph, cluster, job).candidates.back().plan.estimate.step_time_s.value;
  EXPECT_GT(predicted, 0);
  EXPECT_GT(d.calibration, 1);
}

TEST_F(Decide, CandidatesKeepTheCostModelsOwnTime) {
  const SearchResult result = search(graph, cluster, job);
  const Decision d = with({trial(Precision::fp32, false, false, 100, 10)});
  EXPECT_EQ(d.candidates.front().modelled_step_s, d.modelled.step_time_s);
  int untried = 0;
  for (const Candidate& candidate : d.candidates) {
    ASSERT_TRUE(candidate.modelled_step_s) << candidate.label;
    for (const Candidate& searched : result.candidates) {
      if (searched.label != candidate.label) continue;
      EXPECT_EQ(candidate.modelled_step_s, searched.plan.estimate.step_time_s) << candidate.label;
    }
    if (!candidate.reason.starts_with("not tried: ")) continue;
    ++untried;
    const std::string numbers = "; predicted " + show(Seconds(candidate.modelled_step_s->value)) +
                                ", the chosen plan " + show(Seconds(d.modelled.step_time_s.value));
    EXPECT_TRUE(candidate.reason.ends_with(numbers)) << candidate.reason;
  }
  EXPECT_GT(untried, 0);
}

TEST_F(Decide, WhatWasNotTriedSaysWhy) {
  bool said = false;
  for (const Candidate& c : with({trial(Precision::fp32, false, false, 100, 10)}).candidates) {
    said = said || c.reason.starts_with("not tried: the time for trials was spent; predicted ");
  }
  EXPECT_TRUE(said);
}

TEST(TrialCandidates, PlainFirstAndEachSettingOnce) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  const Job job;
  const SearchResult result = search(graph, cluster, job);
  const TrialSet set = trial_candidates(graph, cluster, job, result, {1000, 5});
  ASSERT_GE(set.trials.size(), 3u);
  EXPECT_EQ(one_line(set.trials.front().plan), "1 rank x 2 threads, fp32");
  std::vector<std::string> labels;
  for (const TrialPlan& t : set.trials) labels.push_back(one_line(t.plan));
  EXPECT_EQ(std::ranges::count(labels,
                               "1 rank x 2 threads, bf16, compiled, fused optimizer, memory kept"),
            1);
  EXPECT_EQ(std::ranges::count(labels, "1 rank x 2 threads, fp32, fused optimizer, memory kept"),
            1);
  std::ranges::sort(labels);
  EXPECT_TRUE(std::ranges::adjacent_find(labels) == labels.end());
}

TEST(TrialCandidates, KeepsTheBudget) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  const Job job;
  const SearchResult result = search(graph, cluster, job);
  const TrialSet set = trial_candidates(graph, cluster, job, result, {5, 5});
  EXPECT_LE(set.predicted_s, 5);
  for (const TrialPlan& t : set.trials) EXPECT_FALSE(t.plan.execution.compile) << one_line(t.plan);
  ASSERT_FALSE(set.notes.empty());
  EXPECT_NE(set.notes.back().find("the trial budget of 5.00 s is spent"), std::string::npos);
}

TEST(TrialCandidates, ShortRunsDoNotTryWhatCannotPayBack) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  Job job;
  job.steps = 20;
  const SearchResult result = search(graph, cluster, job);
  const TrialSet set = trial_candidates(graph, cluster, job, result, {1000, 5});
  for (const TrialPlan& t : set.trials) EXPECT_FALSE(t.plan.execution.compile) << one_line(t.plan);
  EXPECT_TRUE(std::ranges::any_of(set.notes, [](const std::string& note) {
    return note.ends_with(" not tried: compilation would not be paid back in 20 steps");
  }));
}

TEST(TrialCandidates, SettingsBeyondDoubtAreLeftOut) {
  // One of 8 threads is 8 times slower: its interval is far from the best one's.
  const Graph graph = gpt(2);
  const Cluster cluster = machine({cpu(8)});
  Job job;
  const SearchResult result = search(graph, cluster, job);
  for (const TrialPlan& t : trial_candidates(graph, cluster, job, result, {1e6, 5}).trials) {
    EXPECT_GT(t.plan.placements.front().threads, 1) << one_line(t.plan);
  }
}

}  // namespace
}  // namespace parallel_opt
