#include "parallel_opt/report/time_shares.h"

#include <gtest/gtest.h>

#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {
namespace {

/// "FB " : a second of F, one of B, one of nothing; and so on.
std::vector<Slice> slices_of(const std::string& seconds, double step = 1) {
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    if (seconds[i] == ' ') continue;
    slices.push_back({.start = double(i) * step, .length = step, .color = {seconds[i]}});
  }
  return slices;
}
std::string times(int count, const std::string& text) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(TimeShares, ASteadyStateIsOneRunWhateverItsPeriod) {
  for (const char* period : {"FB", "FB ", "FFBB", "FIW", "F I W", "FBFB ", "FIFIWW ", "FB FB  "}) {
    for (const double step : {0.1, 0.37, 1.0, 1.618, 2.9}) {
      const std::string row = times(300, period);
      const TimeShares shares = time_shares(slices_of(row, step), 0, 8, double(row.size()) * step);
      ASSERT_EQ(shares.runs.size(), 1U) << period << step;
    }
  }
}

TEST(TimeShares, AreExact) {
  const TimeShares shares = time_shares(slices_of(times(200, "FBB ")), 0, 8, 800);
  ASSERT_EQ(shares.colors, (std::vector<std::string>{"F", "B"}));
  ASSERT_EQ(shares.runs.size(), 1U);
  EXPECT_NEAR(shares.runs[0].shares[0], 0.25, 1e-12);
  EXPECT_NEAR(shares.runs[0].shares[1], 0.5, 1e-12);
}

TEST(TimeShares, PhasesAndLongGapsAreRunsOfTheirOwn) {
  // Warm-up, a wait, a steady state, backwards with waits: as 1F1B has it.
  const std::string row = times(40, "F") + times(60, " ") + times(100, "FB") + times(50, "B ");
  const TimeShares shares = time_shares(slices_of(row), 0, 8, 400);
  ASSERT_EQ(shares.runs.size(), 3U);
  EXPECT_EQ(shares.runs[0].end, 40);
  EXPECT_EQ(shares.runs[1].start, 100);
  EXPECT_NEAR(shares.runs[1].end, 300, 8);
  EXPECT_NEAR(shares.runs[2].shares[1], 0.5, 0.02);
}

TEST(TimeShares, TheLastBackwardsAndTheOptimizerAreNoPartOfASteadyState) {
  // The last backwards take 6, the optimizer 2: less than the least part of 8.
  const std::string row = times(203, "FB") + times(6, "B") + "  OO";
  std::vector<Slice> slices = slices_of(row);
  slices.pop_back();
  slices.back().length = 2;
  const TimeShares shares = time_shares(slices, 0, 8, double(row.size()));
  ASSERT_EQ(shares.colors, (std::vector<std::string>{"F", "B", "O"}));
  ASSERT_EQ(shares.runs.size(), 3U);
  EXPECT_EQ(shares.runs[0].end, 406);
  EXPECT_EQ(shares.runs[0].shares, (std::vector<double>{0.5, 0.5, 0}));
  EXPECT_EQ(shares.runs[1].start, 406);
  EXPECT_EQ(shares.runs[1].shares[0], 0);
  EXPECT_EQ(shares.runs[1].shares[2], 0);
  EXPECT_EQ(shares.runs[2].start, 414);
  EXPECT_EQ(shares.runs[2].shares, (std::vector<double>{0, 0, 1}));
}

TEST(TimeShares, SimulatedSteadyStatesAreSteady) {
  // Whole pixels beat against micro-batches here: a comb of hundreds of parts.
  StepWork work;
  work.stages.assign(64, {.forward_s = 1.03, .backward_input_s = 1, .backward_weight_s = 0.98});
  for (const ScheduleKind kind :
       {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::zb_h1, ScheduleKind::zb_v,
        ScheduleKind::dualpipe}) {
    const int per_rank = kind == ScheduleKind::zb_v || kind == ScheduleKind::dualpipe ? 2 : 1;
    const int ranks = kind == ScheduleKind::zb_v ? 32 : 64;
    const std::vector<Schedule> schedules = {make_schedule(kind, ranks, per_rank, 600)};
    const SimulationResult result =
        simulate(work, schedules, {.timeline = true, .timeline_ranks = {0, 13, ranks - 1}});
    for (const int rank : {0, 13, ranks - 1}) {
      std::vector<Slice> slices;
      for (const Span& span : result.timeline->spans) {
        const std::string track = "rank " + std::to_string(rank) + " stream 7 compute";
        if (span.track != track) continue;
        slices.push_back({.start = span.start_s,
                          .length = span.duration_s,
                          .color = span.name.substr(0, span.name.find(" stage"))});
      }
      const double pixel = result.step_time_s / 968;
      const TimeShares shares = time_shares(slices, 0, 8 * pixel, result.step_time_s);
      ASSERT_FALSE(shares.runs.empty());
      double longest = 0;
      for (const ShareRun& run : shares.runs) longest = std::max(longest, run.end - run.start);
      EXPECT_LE(shares.runs.size(), 25U) << name_of(kind) << " rank " << rank;
      EXPECT_GT(longest, 0.3 * result.step_time_s) << name_of(kind) << " rank " << rank;
    }
  }
}

TEST(TimeShares, NothingHasNoRuns) {
  EXPECT_TRUE(time_shares({}, 0, 8, 9).runs.empty());
  EXPECT_TRUE(time_shares({{.start = 1, .length = 0, .color = "F"}}, 0, 8, 9).runs.empty());
  EXPECT_TRUE(time_shares(slices_of("FB"), 1, 8, 9).runs.empty());
}

}  // namespace
}  // namespace parallel_opt
