#include <gtest/gtest.h>

#include <algorithm>

#include "parallel_opt/base/random.h"
#include "parallel_opt/simulate/simulation.h"

/// The table of schedules in docs/simulate.md, row by row, for stages of any seconds.
namespace parallel_opt {
namespace {

/// Of one micro-batch on a stage.
struct PassSeconds {
  double f = 1, i = 1, w = 1;
  double b() const { return i + w; }
};

SimulationResult step_of(ScheduleKind kind, int ranks, int per_rank, int micro_batches,
                         const PassSeconds& s) {
  const Schedule schedule = make_schedule(kind, ranks, per_rank, micro_batches);
  StepWork work;
  work.stages.assign(
      static_cast<std::size_t>(schedule.stages_per_lane()),
      {.forward_s = s.f, .backward_input_s = s.i, .backward_weight_s = s.w, .kept_bytes = 100});
  EXPECT_TRUE(check(work, {schedule}).empty());
  return simulate(work, {schedule});
}

double slowest_bubble(const SimulationResult& result) {
  return std::ranges::max(result.ranks, {}, &RankUse::bubble_s).bubble_s;
}

/// Zero-bubble schedules: what is left of a wait when W fills it.
double of_zero_bubble(ScheduleKind kind, int p, const PassSeconds& s) {
  const double filled = std::min(s.f, s.w);
  const double left = kind == ScheduleKind::zb_h1 ? s.f + s.i - filled : s.f + s.i - 2 * filled;
  return (p - 1) * std::max(0.0, left);
}

/// Of DualPipe k = p/2 - 1, folded to a V p - 1.
double of_dual_pipe(double k, const PassSeconds& s) {
  return k * (s.f + s.i + std::max(s.f, s.i) - std::min(s.i, s.w)) -
         std::min(s.f, k * std::max(0.0, s.i - s.f));
}

class BubbleTable : public ::testing::TestWithParam<int> {
 protected:
  Random random{static_cast<std::uint64_t>(GetParam())};
  PassSeconds seconds() {
    const auto one = [&] { return 0.1 + 2 * random.uniform(); };
    return {one(), one(), one()};
  }
};

TEST_P(BubbleTable, WholeBackwardsWaitForAPassOfEveryOtherRank) {
  const PassSeconds s = seconds();
  for (const int p : {2, 4, 6}) {
    const int m = p * (2 + GetParam() % 3);
    for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b}) {
      const SimulationResult result = step_of(kind, p, 1, m, s);
      EXPECT_NEAR(slowest_bubble(result), (p - 1) * (s.f + s.b()), 1e-9);
      for (const RankUse& use : result.ranks) {
        EXPECT_EQ(use.in_flight, kind == ScheduleKind::gpipe ? m : p - use.rank);
      }
    }
    for (const ScheduleKind kind : {ScheduleKind::interleaved_1f1b, ScheduleKind::looped_bfs}) {
      const int v = 2 + GetParam() % 2;
      const SimulationResult result = step_of(kind, p, v, m, s);
      // F + B of a rank are v times those of a stage.
      EXPECT_NEAR(slowest_bubble(result), (p - 1) * (s.f + s.b()), 1e-9);
      for (const RankUse& use : result.ranks) {
        const int held = (v - 1) * p + 2 * (p - 1 - use.rank) + 1;
        EXPECT_EQ(use.in_flight, kind == ScheduleKind::looped_bfs ? v * m : held);
      }
    }
  }
}

TEST_P(BubbleTable, BackwardsInHalvesFillWaits) {
  const PassSeconds s = seconds();
  for (const int p : {2, 4, 6}) {
    const int m = p * (2 + GetParam() % 3);
    for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2}) {
      const SimulationResult result = step_of(kind, p, 1, m, s);
      EXPECT_NEAR(slowest_bubble(result), of_zero_bubble(kind, p, s), 1e-9);
      for (const RankUse& use : result.ranks) {
        EXPECT_EQ(use.in_flight, kind == ScheduleKind::zb_h1 ? p : 2 * p - 1);
      }
    }
    const SimulationResult v = step_of(ScheduleKind::zb_v, p, 2, m, {s.f, s.f, s.f});
    EXPECT_NEAR(slowest_bubble(v), 0, 1e-9);
    for (const RankUse& use : v.ranks) EXPECT_EQ(use.in_flight, 2 * p);
  }
}

TEST_P(BubbleTable, DualPipesOfAnySeconds) {
  const PassSeconds s = seconds();
  for (const int p : {2, 4, 6, 8}) {
    const int m = p * (2 + GetParam() % 3);
    const SimulationResult both = step_of(ScheduleKind::dualpipe, p, 2, m, s);
    EXPECT_NEAR(slowest_bubble(both), of_dual_pipe(p / 2.0 - 1, s), 1e-9);
    for (const RankUse& use : both.ranks) EXPECT_EQ(use.in_flight, p + 1);
    const SimulationResult folded = step_of(ScheduleKind::dualpipe_v, p, 2, m, s);
    EXPECT_NEAR(slowest_bubble(folded), of_dual_pipe(p - 1, s), 1e-9);
    for (const RankUse& use : folded.ranks) EXPECT_EQ(use.in_flight, 2 * p + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(AnySeconds, BubbleTable, ::testing::Range(0, 24));

}  // namespace
}  // namespace parallel_opt
