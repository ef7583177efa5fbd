#include "parallel_opt/cost/schedule_time.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

struct Step {
  double f = 1, i = 1, w = 1;  ///< of one micro-batch on one rank
  double b() const { return i + w; }
};

Schedule table(ScheduleKind kind, int ranks, int micro_batches) {
  const int stages = kind == ScheduleKind::dualpipe ? 2 : default_virtual_stages(kind);
  return make_schedule(kind, ranks, stages, micro_batches);
}

/// What a step takes beyond the work of a rank, all stages being equal.
double bubble(ScheduleKind kind, int ranks, int micro_batches, const Step& s) {
  const Schedule schedule = table(kind, ranks, micro_batches);
  const double part = double(ranks) / schedule.stages_per_lane();
  const std::vector<StagePass> stages(
      std::size_t(schedule.stages_per_lane()),
      StagePass{.forward_s = part * s.f, .input_s = part * s.i, .weights_s = part * s.w});
  return schedule_s(schedule, stages, {}) - micro_batches * (s.f + s.b());
}

/// Random passes, 4 and 8 ranks, 2 to 4 micro-batches for each.
void for_each_step(const std::function<void(int, int, const Step&)>& check) {
  Random random(7);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const auto pass = [&] { return 0.5 + 1.5 * random.uniform(); };
    const Step s{pass(), pass(), pass()};
    for (const int ranks : {4, 8}) {
      for (const int rounds : {2, 3, 4}) check(ranks, rounds * ranks, s);
    }
  }
}

TEST(ScheduleTime, BubblesAreTheTextbooksForAnyPasses) {  // docs/simulate.md
  for_each_step([](int p, int m, const Step& s) {
    const double rest = p - 1;
    for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b}) {
      EXPECT_NEAR(bubble(kind, p, m, s), rest * (s.f + s.b()), 1e-9);
    }
    for (const ScheduleKind kind : {ScheduleKind::interleaved_1f1b, ScheduleKind::looped_bfs}) {
      EXPECT_NEAR(bubble(kind, p, m, s), rest * (s.f + s.b()) / 2, 1e-9);
    }
    // The last rank begins p - 1 forwards after the first, whatever fills its gaps.
    const double waits = s.f + s.i - std::min(s.f, s.w);
    EXPECT_NEAR(bubble(ScheduleKind::zb_h1, p, m, s), rest * std::max(s.f, waits), 1e-9);
    const auto pairs = [&](double k) {
      return k * (s.f + s.i + std::max(s.f, s.i) - std::min(s.i, s.w)) -
             std::min(s.f, k * std::max(0.0, s.i - s.f));
    };
    EXPECT_NEAR(bubble(ScheduleKind::dualpipe, p, m, s), pairs(p / 2.0 - 1), 1e-9);
    EXPECT_NEAR(bubble(ScheduleKind::dualpipe_v, p, m, s), pairs(p - 1) / 2, 1e-9);
  });
}

TEST(ScheduleTime, RanksOfZeroBubblesBeginOneAfterTheOther) {
  // No rank waits where F = I = W [qi2024], but the last begins p - 1 forwards after the first, of
  // half stages in a V.
  for (const int p : {4, 8}) {
    EXPECT_NEAR(bubble(ScheduleKind::zb_h2, p, 4 * p, {}), p - 1, 1e-9);
    EXPECT_NEAR(bubble(ScheduleKind::zb_v, p, 4 * p, {}), (p - 1) / 2.0, 1e-9);
  }
  for_each_step([](int p, int m, const Step& s) {
    const double waits = s.f + s.i - 2 * std::min(s.f, s.w);
    EXPECT_NEAR(bubble(ScheduleKind::zb_h2, p, m, s), (p - 1) * std::max(s.f, waits), 1e-9);
  });
}

TEST(ScheduleTime, NoStepIsShorterThanItsLongestPathOrAnyRanksWork) {
  Random random(11);
  for (const ScheduleKind kind :
       {ScheduleKind::one_f_one_b, ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v,
        ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const Schedule schedule = table(kind, 4, 8);
      std::vector<StagePass> stages(std::size_t(schedule.stages_per_lane()));
      double path = 0;
      for (StagePass& one : stages) {
        one = {.forward_s = 2 * random.uniform(),
               .input_s = 2 * random.uniform(),
               .weights_s = 2 * random.uniform()};
        path += one.forward_s + one.input_s;
      }
      const double step = schedule_s(schedule, stages, {});
      EXPECT_GE(step, path - 1e-9);
      for (int rank = 0; rank < 4; ++rank) {
        double work = 0;
        for (const Action& a : schedule.actions[std::size_t(rank)]) {
          const StagePass& own = stages[std::size_t(a.stage % schedule.stages_per_lane())];
          if (a.kind == ActionKind::forward) work += own.forward_s;
          if (a.kind == ActionKind::backward || a.kind == ActionKind::backward_input)
            work += own.input_s;
          if (a.kind == ActionKind::backward || a.kind == ActionKind::backward_weight)
            work += own.weights_s;
        }
        EXPECT_GE(step, work - 1e-9);
      }
      // Transfers never make it shorter, and less so where some of each hides.
      const double waits = schedule_s(schedule, stages, {.whole_s = 0.3});
      const double hides = schedule_s(schedule, stages, {.whole_s = 0.3, .hides = 0.5});
      EXPECT_GE(waits, step - 1e-9);
      EXPECT_GE(hides, step - 1e-9);
    }
  }
}

TEST(ScheduleTime, ManyMicroBatchesFollowAtTheLastOnesPace) {  // what layout_table.cpp relies on
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v,
                                  ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
    const auto seconds = [&](int rounds) {
      const Step s{1, 1.2, 0.9};
      return bubble(kind, 4, 4 * rounds, s) + 4 * rounds * (s.f + s.b());
    };
    const double each = (seconds(6) - seconds(4)) / 2;
    EXPECT_NEAR(seconds(12), seconds(6) + 6 * each, 1e-9) << int(kind);
  }
}

/// Of the first stage's last gradients and of the end, one after the other.
TEST(ScheduleTime, ReductionsRunBesideTheRanksLaterPasses) {
  StagePass stage{.forward_s = 1, .input_s = 1, .weights_s = 1, .layers = 2};
  const auto behind = [&](ScheduleKind kind) {
    const Schedule schedule = table(kind, 2, 4);
    const PlayedStep step =
        play(schedule, std::vector<StagePass>(std::size_t(schedule.stages_per_lane()), stage), {});
    return step.reduced_s - step.actions_s;
  };
  EXPECT_EQ(behind(ScheduleKind::zb_h1), 0);
  // Two layers' passes for weights take half a second each: the first one's reduction, 0.25 s, runs
  // beside the second's.
  stage.reduce_s = 0.5;
  EXPECT_NEAR(behind(ScheduleKind::zb_h1), 0.25, 1e-9);
  // Longer ones queue up: 0.5 s of the first of two are beside the second layer's pass.
  stage.reduce_s = 4;
  EXPECT_NEAR(behind(ScheduleKind::zb_h1), 3.5, 1e-9);
  // What does not hide is waited for, at the latest when all is done.
  stage.reduce_waits_s = 3.75;
  EXPECT_NEAR(behind(ScheduleKind::zb_h1), 3.75, 1e-9);
  // Two copies of the model meet at the end: a rank has two stages, nothing beside them.
  EXPECT_NEAR(behind(ScheduleKind::dualpipe), 2 * 4, 1e-9);
}

TEST(ScheduleTime, TheFirstForwardsWaitForTheirWeights) {
  // Two layers: the first waits for 0.75 s, and while it passes in 0.5 s the second one comes.
  const std::vector<StagePass> stages(
      2, {.forward_s = 1, .input_s = 1, .weights_s = 1, .layers = 2, .gather_s = 1.5});
  std::vector<StagePass> whole = stages;
  for (StagePass& pass : whole) pass.gather_s = 0;
  const Schedule schedule = table(ScheduleKind::zb_h1, 2, 4);
  EXPECT_NEAR(schedule_s(schedule, stages, {}) - schedule_s(schedule, whole, {}), 1, 1e-9);
}

TEST(ScheduleTime, AWireIsFreeWhileItsLatencyPasses) {
  // Of pairs both results go to the same neighbour, in 3 s of which 2 are latency: 4 s for both.
  const Schedule schedule = table(ScheduleKind::dualpipe, 4, 16);
  const std::vector<StagePass> stages(4, {.forward_s = 1, .input_s = 1, .weights_s = 1});
  const double apart_s = schedule_s(schedule, stages, {.whole_s = 3});
  const double beside_s = schedule_s(schedule, stages, {.whole_s = 3, .latency_s = 2});
  EXPECT_LT(beside_s, apart_s);
  EXPECT_GT(beside_s, schedule_s(schedule, stages, {.whole_s = 1}));
}

TEST(ScheduleTime, ManyRanksFollowTheLastOnesPaceSooner) {  // beyond 64 ranks
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v,
                                  ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
    const auto seconds = [&](int rounds) {
      const Step s{1, 1.2, 0.9};
      return bubble(kind, 80, 80 * rounds, s) + 80 * rounds * (s.f + s.b());
    };
    EXPECT_NEAR(seconds(8), seconds(4) + 4 * (seconds(4) - seconds(3)), 1e-6) << int(kind);
  }
}

TEST(ScheduleTime, HoldsWhatTheTableHasInFlight) {
  const auto held = [](ScheduleKind kind, int rank, double away) {
    const Schedule schedule = table(kind, 4, 16);
    const double part = 4.0 / schedule.stages_per_lane();
    const std::vector<StagePass> stages(std::size_t(schedule.stages_per_lane()),
                                        StagePass{.layers = 8 * part});
    return held_layers(schedule, rank, stages, away);
  };
  for (int rank = 0; rank < 4; ++rank) {  // of 8 layers a rank
    EXPECT_EQ(held(ScheduleKind::one_f_one_b, rank, 0).all, 8 * (4 - rank));
    EXPECT_EQ(held(ScheduleKind::gpipe, rank, 0).all, 8 * 16);
    EXPECT_EQ(held(ScheduleKind::zb_v, rank, 0).all, 8 * 4);
  }
  EXPECT_EQ(held(ScheduleKind::zb_h2, 0, 0).all, 8 * 7);  // 2 p - 1
  EXPECT_EQ(held(ScheduleKind::dualpipe, 0, 0).all, 8 * 5);
  // What stays is here; of what goes to the host, two layers are on their way.
  EXPECT_EQ(held(ScheduleKind::one_f_one_b, 0, 0).here, 8 * 4);
  EXPECT_EQ(held(ScheduleKind::one_f_one_b, 0, 1).here, 2);
  EXPECT_EQ(held(ScheduleKind::one_f_one_b, 0, 0.5).here, 0.5 * 8 * 4 + 0.5 * 2);
}

}  // namespace
}  // namespace parallel_opt
