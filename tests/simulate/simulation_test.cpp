#include "parallel_opt/simulate/simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "parallel_opt/base/json.h"
#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

StepWork even(int stages, double forward_s, double input_s, double weight_s) {
  StepWork work;
  work.stages.assign(static_cast<std::size_t>(stages), {.forward_s = forward_s,
                                                        .backward_input_s = input_s,
                                                        .backward_weight_s = weight_s,
                                                        .kept_bytes = 100,
                                                        .kept_for_weights_bytes = 40});
  return work;
}

SimulationResult run(const StepWork& work, const Schedule& schedule,
                     const SimulationOptions& options = {}) {
  EXPECT_EQ(check(schedule).size(), 0U);
  const std::vector<Fault> faults = check(work, {schedule});
  EXPECT_TRUE(faults.empty()) << to_string(faults.at(0));
  return simulate(work, {schedule}, options);
}

SimulationResult run(ScheduleKind kind, int ranks, int virtual_stages, int micro_batches,
                     const StepWork& work) {
  return run(work, make_schedule(kind, ranks, virtual_stages, micro_batches));
}

double largest_bubble(const SimulationResult& result) {
  double bubble_s = 0;
  for (const RankUse& use : result.ranks) bubble_s = std::max(bubble_s, use.bubble_s);
  return bubble_s;
}

std::vector<int> in_flight(const SimulationResult& result) {
  std::vector<int> counts;
  for (const RankUse& use : result.ranks) counts.push_back(use.in_flight);
  return counts;
}

TEST(Bubble, GpipeAnd1F1BAreRanksLessOneOverMicroBatches) {
  for (const int p : {1, 2, 4, 7}) {
    for (const int m : {1, 3, 8, 32}) {
      for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b}) {
        const SimulationResult result = run(kind, p, 1, m, even(p, 0.5, 0.75, 0.25));
        // m (F + B) of work and (p - 1) (F + B) of waiting, F + B = 1.5: a bubble of (p - 1)/m.
        EXPECT_NEAR(result.step_time_s, 1.5 * (m + p - 1), 1e-12);
        EXPECT_NEAR(result.bubble_share / (1 - result.bubble_share), double(p - 1) / m, 1e-12);
      }
    }
  }
}

TEST(Bubble, InterleavingDividesItByTheStagesPerRank) {
  for (const int p : {2, 4, 8}) {
    for (const int v : {2, 3, 4}) {
      for (const int m : {p, 2 * p, 4 * p}) {
        // A stage is 1/v of what a rank does: F + B = 1.5/v each.
        const StepWork work = even(p * v, 0.5 / v, 0.75 / v, 0.25 / v);
        for (const ScheduleKind kind : {ScheduleKind::interleaved_1f1b, ScheduleKind::looped_bfs}) {
          EXPECT_NEAR(run(kind, p, v, m, work).step_time_s, 1.5 * (m + double(p - 1) / v), 1e-9);
        }
      }
    }
  }
}

TEST(Bubble, ZeroBubbleSchedulesAsTheirPaperStates) {
  // [qi2024], table 2: ZB-H1 (p - 1)(F + B - W), ZB-H2 (p - 1)(F + B - 2 W), B without weights.
  for (const int p : {2, 4, 8}) {
    const int m = 4 * p;
    for (const auto [f, b, w] : {std::array{1.0, 1.0, 1.0}, std::array{1.0, 1.1, 0.8}}) {
      const SimulationResult h1 = run(ScheduleKind::zb_h1, p, 1, m, even(p, f, b, w));
      const SimulationResult h2 = run(ScheduleKind::zb_h2, p, 1, m, even(p, f, b, w));
      EXPECT_NEAR(largest_bubble(h1), (p - 1) * (f + b - w), 1e-9);
      EXPECT_NEAR(largest_bubble(h2), (p - 1) * (f + b - 2 * w), 1e-9);
      // All ranks hold as much as the first rank of 1F1B; twice that less one.
      EXPECT_EQ(in_flight(h1), std::vector<int>(std::size_t(p), p));
      EXPECT_EQ(in_flight(h2), std::vector<int>(std::size_t(p), 2 * p - 1));
    }
    // ZB-V: none when F, B and W are equal, with the memory of 1F1B: p whole, so 2 p halves.
    const SimulationResult v = run(ScheduleKind::zb_v, p, 2, m, even(2 * p, 0.5, 0.5, 0.5));
    EXPECT_EQ(largest_bubble(v), 0);
    EXPECT_EQ(in_flight(v), std::vector<int>(std::size_t(p), 2 * p));
  }
}

TEST(Bubble, DualPipeAsItsAuthorsState) {
  // [deepseek2024], table 2: (p/2 - 1)(F&B + B - 3 W), B with weights; p + 1 in flight.
  for (const int p : {4, 8}) {
    const double f = 1, b = 2, w = 1;
    const SimulationResult result = run(ScheduleKind::dualpipe, p, 2, 4 * p, even(p, f, b - w, w));
    EXPECT_NEAR(largest_bubble(result), (p / 2.0 - 1) * (f + b + b - 3 * w), 1e-9);
    EXPECT_EQ(in_flight(result), std::vector<int>(std::size_t(p), p + 1));
    // Two copies of the model, each half of the micro-batches: as much work per rank as ever.
    EXPECT_NEAR(result.ranks[0].busy_s, 4 * p * (f + b), 1e-9);
  }
}

TEST(Timelines, OfSomeRanksAndThePowerOfAll) {
  StepWork work = even(4, 1, 1, 1);
  work.power = {{.idle_w = 50, .busy_w = 300}};
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::one_f_one_b, 4, 1, 8)};
  const SimulationResult some =
      simulate(work, schedules, {.timeline = true, .timeline_ranks = {1, 3}});
  ASSERT_TRUE(some.timeline);
  for (const Span& span : some.timeline->spans) {
    EXPECT_TRUE(span.track.starts_with("rank 1") || span.track.starts_with("rank 3")) << span.track;
  }
  // Equal parts of the step: their mean is the energy over the time.
  ASSERT_TRUE(some.power);
  double sum_w = 0;
  for (const double watts : some.power->total_w) sum_w += watts;
  EXPECT_NEAR(sum_w / double(some.power->total_w.size()), *some.energy_j / some.step_time_s, 1e-6);
  EXPECT_EQ(some.power->least_w, 50);
  EXPECT_NEAR(some.power->most_w, 300, 1e-9);
}

TEST(Power, WaitsForCollectivesDrawWhatWaitingDraws) {
  StepWork work = even(1, 1, 1, 1);
  work.power = {{.idle_w = 50, .busy_w = 300}};
  const SimulationResult before = run(ScheduleKind::gpipe, 1, 1, 4, work);
  work.stages[0].forward_exposed_s = 0.5;
  work.stages[0].backward_exposed_s = 0.75;
  const SimulationResult exposed = run(ScheduleKind::gpipe, 1, 1, 4, work);
  EXPECT_NEAR(*exposed.energy_j - *before.energy_j, 50 * 4 * 1.25, 1e-9);
  // Likewise what does not hide of a reduction beside compute.
  work.reduce = ReduceWhen::each;
  work.reduce_hides = 0.5;
  work.stages[0].groups = {{.share = 1, .reduce_s = 0.25}};
  const SimulationResult stalled = run(ScheduleKind::gpipe, 1, 1, 4, work);
  EXPECT_GT(stalled.step_time_s, exposed.step_time_s);
  EXPECT_NEAR(*stalled.energy_j - *exposed.energy_j,
              50 * (stalled.step_time_s - exposed.step_time_s), 1e-9);
}

TEST(DualPipe, CollectivesHideBehindTheOtherDirection) {
  StepWork work = even(4, 1, 1, 1);
  const double before_s = run(ScheduleKind::dualpipe, 4, 2, 16, work).step_time_s;
  for (StageWork& stage : work.stages) stage.forward_exposed_s = stage.backward_exposed_s = 0.5;
  const double after_s = run(ScheduleKind::dualpipe, 4, 2, 16, work).step_time_s;
  // 16 x (0.5 + 0.5) = 16 s without hiding; only what runs outside of pairs is left.
  EXPECT_GT(after_s, before_s);
  EXPECT_LT(after_s, before_s + 8);
  EXPECT_NEAR(run(ScheduleKind::one_f_one_b, 4, 1, 16, work).step_time_s, 19 * (3 + 1),
              1e-9);  // 1F1B hides nothing: (m + p - 1)(F + B + both collectives)
}

TEST(InFlight, OneFOneBHoldsTheDistanceToTheEnd) {
  EXPECT_EQ(in_flight(run(ScheduleKind::one_f_one_b, 4, 1, 8, even(4, 1, 1, 1))),
            (std::vector<int>{4, 3, 2, 1}));
  EXPECT_EQ(in_flight(run(ScheduleKind::gpipe, 4, 1, 8, even(4, 1, 1, 1))),
            (std::vector<int>{8, 8, 8, 8}));
  // Interleaved: (v - 1) p + 2 (p - 1 - rank) + 1 = 4 + 6 + 1 on rank 0.
  EXPECT_EQ(in_flight(run(ScheduleKind::interleaved_1f1b, 4, 2, 8, even(8, 1, 1, 1))),
            (std::vector<int>{11, 9, 7, 5}));
}

TEST(Memory, PeakIsStaticPlusWhatIsKept) {
  StepWork work = even(4, 1, 1, 1);
  for (StageWork& stage : work.stages) {
    stage.static_bytes = 5000;
    stage.working_bytes = 7;
  }
  const SimulationResult result = run(ScheduleKind::one_f_one_b, 4, 1, 8, work);
  EXPECT_EQ(result.ranks[0].peak_memory_bytes, 5000 + 4 * 100 + 7);
  EXPECT_EQ(result.ranks[3].peak_memory_bytes, 5000 + 1 * 100 + 7);
  // ZB-H1, last rank: 1 whole micro-batch and 3 of which only W's part is left.
  EXPECT_EQ(run(ScheduleKind::zb_h1, 4, 1, 8, work).ranks[3].peak_memory_bytes,
            5000 + 100 + 3 * 40 + 7);
  // DualPipe holds two stages' parameters.
  EXPECT_EQ(run(ScheduleKind::dualpipe, 4, 2, 8, work).ranks[0].peak_memory_bytes,
            2 * 5000 + 5 * 100 + 2 * 7);
}

TEST(Memory, OffloadedBytesLeaveWhileTheyWait) {
  StepWork work = even(1, 1, 1, 1);
  work.stages[0].offloaded_bytes = 60;
  work.copy_bytes_per_s = 600;  // 0.1 s each way
  const SimulationResult result = run(ScheduleKind::gpipe, 1, 1, 4, work);
  // At 3 the last forward begins: 100. The third's copy begins: 100 still. The first comes back
  // while the last runs, as its backward is next: 100. The second: 40 are left. Else 400.
  EXPECT_EQ(result.ranks[0].peak_memory_bytes, 340);
  // Every copy hides behind compute.
  EXPECT_NEAR(result.step_time_s, 4 * 3, 1e-12);
}

TEST(Memory, GroupsLeaveAndComeBackBesideTheComputeOfOthers) {
  StepWork work = even(1, 1, 1, 1);
  work.stages[0].offloaded_bytes = 100;
  work.stages[0].groups = {{.share = 0.25}, {.share = 0.25}, {.share = 0.25}, {.share = 0.25}};
  work.copy_bytes_per_s = 1000;  // 0.025 s a group
  const SimulationResult fast = run(ScheduleKind::gpipe, 1, 1, 1, work);
  // The last group goes out and comes back beside nothing.
  EXPECT_NEAR(fast.step_time_s, 3 + 2 * 0.025, 1e-12);
  EXPECT_EQ(fast.ranks[0].peak_memory_bytes, 50);  // one that is computed, one on its way
  work.copy_bytes_per_s = 50;  // 0.5 s a group, longer than its forward of 0.25 s: 0.25 + 4 x 0.5
  const SimulationResult slow = run(ScheduleKind::gpipe, 1, 1, 1, work);
  EXPECT_NEAR(slow.step_time_s, 0.25 + 4 * 0.5 + 0.5 + 4 * 0.5, 1e-12);
  EXPECT_LE(slow.ranks[0].peak_memory_bytes, 75);  // two on their way
}

TEST(HostStep, StatesComeAndGoAndGradientsLeave) {
  StepWork work = even(1, 1, 1, 1);
  work.copy_bytes_per_s = 100;
  work.stages[0].kept_bytes = work.stages[0].kept_for_weights_bytes = 0;
  work.stages[0].drained_bytes = 100;  // 1 s behind the backward
  work.stages[0].host_step_s = 2;
  work.stages[0].updated_bytes = 50;  // beside that
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 2 * 3 + 1 + 2, 1e-12);
  work.drain = ReduceWhen::each;  // the first's beside the second's backward
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 2 * 3 + 1 + 2, 1e-12);
  work.stages[0].updated_bytes = 300;  // 3 s are longer than the cores take
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 2 * 3 + 1 + 3, 1e-12);
  StepWork states = even(1, 1, 1, 1);
  states.copy_bytes_per_s = 100;
  states.stages[0].states_bytes = 100;
  states.stages[0].optimizer_s = 0.5;
  states.stages[0].groups = {{.share = 0.5}, {.share = 0.5}};
  // In 0.5 + 0.5 s, a step of 0.25 s beside the second, and the way back of the last.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 1, states).step_time_s, 3 + 1 + 0.25 + 0.5, 1e-12);
}

TEST(Links, LatencyAndBytesDelayEveryHop) {
  StepWork work = even(4, 1, 1, 1);
  for (StageWork& stage : work.stages) stage.output_bytes = 1000;
  work.links = {{.name = "wire", .latency_s = 0.25, .bytes_per_s = 8000}};
  // One micro-batch: 12 s of compute and 3 hops there and back, each 0.25 + 1000/8000.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 4, 1, 1, work).step_time_s, 12 + 6 * 0.375, 1e-12);
  work.routes = {{.from = 1, .to = 2, .link = 1}};
  work.links.push_back({.name = "slow", .latency_s = 0, .bytes_per_s = 1000});
  EXPECT_NEAR(run(ScheduleKind::gpipe, 4, 1, 1, work).step_time_s, 12 + 5 * 0.375 + 1, 1e-12);
}

TEST(Links, ASharedLinkIsSlowerThanOnesOwn) {
  StepWork work = even(4, 1, 1, 1);
  for (StageWork& stage : work.stages) stage.output_bytes = 8000;
  work.links = {{.name = "wire", .latency_s = 0.01, .bytes_per_s = 8000}};
  const double own_s = run(ScheduleKind::one_f_one_b, 4, 1, 8, work).step_time_s;
  work.links[0].shared = true;
  const double shared_s = run(ScheduleKind::one_f_one_b, 4, 1, 8, work).step_time_s;
  EXPECT_GT(shared_s, own_s + 1);
  // 3 boundaries x 2 directions x 8 micro-batches x 1 s must all pass.
  EXPECT_GE(shared_s, 48);
}

TEST(Links, ASendThatBlocksHoldsCompute) {
  StepWork work = even(2, 1, 1, 1);
  for (StageWork& stage : work.stages) stage.output_bytes = 1000;
  work.links = {{.name = "wire", .latency_s = 0, .bytes_per_s = 2000}};
  EXPECT_NEAR(run(ScheduleKind::gpipe, 2, 1, 4, work).step_time_s, 4 + 8 + 1 + 2 + 1, 1e-12);
  work.blocking_sends = true;
  // Rank 0 forwards at 0, 1.5, 3, 4.5: the last leaves at 6. Rank 1 begins its backwards at 7 and
  // sends after each: 2.5 apart, the fourth ends at 7 + 3 x 2.5 + 2 = 16.5, its send at 17, B 19.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 2, 1, 4, work).step_time_s, 19, 1e-12);
}

TEST(Groups, PrefetchHidesGathersBehindCompute) {
  StepWork work;
  work.stages = {{.forward_s = 4, .backward_input_s = 4, .backward_weight_s = 4}};
  work.stages[0].groups.assign(4, {.share = 0.25, .gather_s = 0.5, .gathered_bytes = 10});
  work.gather = GatherWhen::each_pass;
  work.prefetch = 0;
  // Each of the 8 groups waits for its gather: 12 + 8 x 0.5.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 1, work).step_time_s, 16, 1e-12);
  EXPECT_EQ(run(ScheduleKind::gpipe, 1, 1, 1, work).ranks[0].peak_memory_bytes, 10);
  work.gather = GatherWhen::each_forward;  // the backward's 4 need none
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 1, work).step_time_s, 14, 1e-12);
  work.gather = GatherWhen::each_pass;
  work.prefetch = 1;
  // Only the first one is seen; two groups are held at a time.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 1, work).step_time_s, 12.5, 1e-12);
  EXPECT_EQ(run(ScheduleKind::gpipe, 1, 1, 1, work).ranks[0].peak_memory_bytes, 20);
  work.gather = GatherWhen::once;  // kept: 4 groups, and gathered ahead without end
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 24.5, 1e-12);
  EXPECT_EQ(run(ScheduleKind::gpipe, 1, 1, 2, work).ranks[0].peak_memory_bytes, 40);
}

TEST(Groups, BucketsReduceInTheLastBackward) {
  StepWork work;
  work.stages = {
      {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1, .optimizer_s = 0.5}};
  work.stages[0].groups.assign(2, {.share = 0.5, .reduce_s = 0.8});
  work.reduce = ReduceWhen::last;
  // 2 micro-batches: the last backward runs from 4 to 6, its buckets are ready at 5 and 6; their
  // reductions run 5 to 5.8 and 6 to 6.8; then the optimizer.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 6.8 + 0.5, 1e-12);
  work.reduce = ReduceWhen::each;  // 3 to 3.8, 4 to 4.8, and as before
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 6.8 + 0.5, 1e-12);
  work.slowdown = 1.5;
  work.reduce = ReduceWhen::last;
  // From 5 on both run at 1/1.5 for 0.8 x 1.5 = 1.2 s; 0.2 s of the backward are left: 6.4.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 2, work).step_time_s, 6.4 + 0.8 + 0.5, 1e-12);
}

TEST(Replicas, TheSlowestOneSetsThePace) {
  StepWork work = even(2, 1, 1, 1);
  for (StageWork& stage : work.stages) {
    stage.groups = {{.share = 1, .reduce_s = 0.25}};
    stage.optimizer_s = 0.5;
  }
  work.replicas = 3;
  work.reduce = ReduceWhen::last;
  const Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, 2, 1, 4);
  const double even_s = run(work, schedule).step_time_s;
  EXPECT_NEAR(even_s, 3 * 5 + 0.25 + 0.5, 1e-12);
  work.rank_slowdown = {1, 1, 1, 2, 1, 1};  // rank 1 of replica 1: 4 x 6 s behind 1 s, then 2 s
  const SimulationResult slow = run(work, schedule);
  EXPECT_NEAR(slow.step_time_s, 1 + 24 + 2 + 0.25 + 0.5, 1e-12);
  // A smaller share for it: 2 micro-batches of 12, the others 5.
  const std::vector<Schedule> shares = {make_schedule(ScheduleKind::one_f_one_b, 2, 1, 5),
                                        make_schedule(ScheduleKind::one_f_one_b, 2, 1, 2),
                                        make_schedule(ScheduleKind::one_f_one_b, 2, 1, 5)};
  EXPECT_TRUE(check(work, shares).empty());
  EXPECT_NEAR(simulate(work, shares).step_time_s, 3 * 6 + 0.25 + 0.5, 1e-12);
}

TEST(Replicas, TwoCopiesInOnePipelineReduceTogether) {
  StepWork work = even(4, 1, 1, 1);
  for (StageWork& stage : work.stages) stage.groups = {{.share = 1, .reduce_s = 0.25}};
  const Schedule schedule = make_schedule(ScheduleKind::dualpipe, 4, 2, 8);
  const double before_s = run(work, schedule).step_time_s;
  work.reduce = ReduceWhen::last;
  // Every rank reduces two stages when all is done.
  EXPECT_NEAR(run(work, schedule).step_time_s, before_s + 0.5, 1e-12);
  work.replicas = 2;
  EXPECT_NEAR(run(work, schedule).step_time_s, before_s + 0.5, 1e-12);
}

TEST(Step, HostLoaderAndMeetingTakeTheirTime) {
  StepWork work = even(2, 1, 1, 1);
  work.load_s = 2;  // slower than compute: the forwards of rank 0 end at 3, 5, 7, 9
  EXPECT_NEAR(run(ScheduleKind::gpipe, 2, 1, 4, work).step_time_s, 9 + 1 + 4 * 2 + 2, 1e-12);
  work.loaded_ahead = 4;
  EXPECT_NEAR(run(ScheduleKind::gpipe, 2, 1, 4, work).step_time_s, 15, 1e-12);
  work.host_s = 0.5;  // runs ahead: only the first launch is seen
  EXPECT_NEAR(run(ScheduleKind::gpipe, 2, 1, 4, work).step_time_s, 15.5, 1e-12);
  work.optimizer_together = true;
  work.together_s = 0.125;
  for (StageWork& stage : work.stages) {
    stage.optimizer_s = 1;
    stage.update_gather_s = 0.5;
  }
  EXPECT_NEAR(run(ScheduleKind::gpipe, 2, 1, 4, work).step_time_s, 15.5 + 0.125 + 1 + 0.5, 1e-12);
}

TEST(Step, CollectivesBesideComputeCostTheSlowdown) {
  StepWork work = even(1, 2, 1, 1);
  work.stages[0].forward_beside_s = 0.5;
  work.slowdown = 1.2;
  // 2 + 0.2 x 0.5 forward, 2 backward.
  EXPECT_NEAR(run(ScheduleKind::gpipe, 1, 1, 1, work).step_time_s, 4.1, 1e-12);
}

/// Numbers of every kind, for properties.
StepWork random_work(Random& random, int stages, int ranks) {
  StepWork work;
  for (int i = 0; i < stages; ++i) {
    work.stages.push_back({.forward_s = random.uniform(),
                           .backward_input_s = random.uniform(),
                           .backward_weight_s = random.uniform(),
                           .recompute_s = random.below(2) == 0 ? 0 : random.uniform(),
                           .forward_exposed_s = random.uniform() / 4,
                           .backward_exposed_s = random.uniform() / 4,
                           .kept_bytes = 100,
                           .kept_for_weights_bytes = 10,
                           .output_bytes = static_cast<std::int64_t>(random.below(1000)),
                           .optimizer_s = random.uniform()});
    const auto groups = static_cast<int>(random.below(4));
    for (int g = 0; g < groups; ++g) {
      work.stages.back().groups.push_back({.share = 1.0 / groups,
                                           .gather_s = random.uniform() / 8,
                                           .reduce_s = random.uniform() / 8,
                                           .gathered_bytes = 50});
    }
  }
  work.links = {{.name = "wire",
                 .latency_s = random.uniform() / 10,
                 .bytes_per_s = 1e4,
                 .shared = random.below(2) == 0}};
  work.gather = static_cast<GatherWhen>(random.below(4));
  work.reduce = static_cast<ReduceWhen>(random.below(3));
  work.prefetch = static_cast<int>(random.below(3));
  work.blocking_sends = random.below(2) == 0;
  work.optimizer_together = random.below(2) == 0;
  work.replicas = 1 + static_cast<int>(random.below(3));
  if (random.below(2) == 0) work.slowdown = 1.3;
  if (work.links[0].shared && random.below(2) == 0) work.collective_link = 0;
  work.power.assign(static_cast<std::size_t>(ranks * work.replicas),
                    {.idle_w = 50, .busy_w = 300, .communication_w = 20});
  return work;
}

struct RandomCase {
  StepWork work;
  Schedule schedule;
};
RandomCase random_case(Random& random) {
  const auto kind = static_cast<ScheduleKind>(random.below(enum_names(ScheduleKind{}).size()));
  const int ranks = 2 * (1 + static_cast<int>(random.below(2)));
  const int virtual_stages = default_virtual_stages(kind);
  const int micro_batches = ranks * (2 + static_cast<int>(random.below(2)));
  Schedule schedule = make_schedule(kind, ranks, virtual_stages, micro_batches);
  StepWork work = random_work(random, schedule.stages_per_lane(), ranks);
  return {std::move(work), std::move(schedule)};
}

TEST(Properties, StepIsNoShorterThanAnyRanksWorkOrAnyMicroBatchsPath) {
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    const auto [work, schedule] = random_case(random);
    const SimulationResult result = run(work, schedule);
    double path_s = 0;
    for (const StageWork& s : work.stages) {
      path_s += s.forward_s + s.recompute_s + s.backward_input_s;
    }
    ASSERT_GE(result.step_time_s, path_s - 1e-9) << i;
    double energy_j = 0;
    for (const RankUse& use : result.ranks) {
      ASSERT_GE(result.step_time_s, use.busy_s - 1e-9);
      ASSERT_GE(*use.energy_j, 50 * result.step_time_s - 1e-9);  // idle watts x time
      energy_j += *use.energy_j;
    }
    ASSERT_NEAR(*result.energy_j, energy_j, 1e-6);
    ASSERT_EQ(simulate(work, {schedule}), result);
  }
}

TEST(Properties, MoreBytesAreNeverFaster) {
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    auto [work, schedule] = random_case(random);
    // With sharing, a transfer that comes later may meet fewer others; so own wires here.
    work.links[0].shared = false;
    work.collective_link.reset();
    work.slowdown = 1;
    const SimulationResult before = run(work, schedule);
    const auto stage = static_cast<std::size_t>(random.below(work.stages.size()));
    work.stages[stage].output_bytes += 1 + static_cast<std::int64_t>(random.below(5000));
    work.stages[stage].kept_bytes += 17;
    const SimulationResult after = run(work, schedule);
    ASSERT_GE(after.step_time_s, before.step_time_s - 1e-12) << i;
    for (std::size_t r = 0; r < before.ranks.size(); ++r) {
      ASSERT_GE(after.ranks[r].in_flight, 1);
    }
  }
}

TEST(Properties, EqualDevicesMayChangePlaces) {
  Random random(9);
  for (int i = 0; i < 50; ++i) {
    auto [work, schedule] = random_case(random);
    work.replicas = 3;
    work.power.assign(1, {.idle_w = 1, .busy_w = 2});
    const auto ranks = static_cast<std::size_t>(schedule.ranks());
    work.rank_slowdown.assign(3 * ranks, 1);
    for (std::size_t r = 0; r < ranks; ++r) work.rank_slowdown[r] = 1 + random.uniform();
    const SimulationResult first = run(work, schedule);
    // The slow pipeline becomes the last one.
    std::ranges::rotate(work.rank_slowdown, work.rank_slowdown.begin() + std::ptrdiff_t(ranks));
    const SimulationResult last = run(work, schedule);
    ASSERT_NEAR(first.step_time_s, last.step_time_s, 1e-9) << i;
    ASSERT_NEAR(*first.energy_j, *last.energy_j, 1e-6);
    for (std::size_t r = 0; r < ranks; ++r) {
      ASSERT_EQ(first.ranks[r].peak_memory_bytes, last.ranks[2 * ranks + r].peak_memory_bytes);
    }
  }
}

TEST(Jitter, IsSeededAndHasMeanOne) {
  const StepWork work = even(1, 1, 1, 1);
  const Schedule schedule = make_schedule(ScheduleKind::gpipe, 1, 1, 20000);
  const SimulationOptions options{.jitter = 0.2, .seed = 42};
  const SimulationResult a = run(work, schedule, options), b = run(work, schedule, options);
  EXPECT_EQ(a, b);
  EXPECT_NE(a.step_time_s, run(work, schedule, {.jitter = 0.2, .seed = 43}).step_time_s);
  // 20,000 forwards of 1 s and backwards of 2 s, 20 % each: a deviation of 0.2 sqrt(5 x 20000).
  EXPECT_NEAR(a.step_time_s, 60000, 4 * 0.2 * std::sqrt(100000.0));
}

TEST(Jitter, MakesPipelinesWait) {
  const StepWork work = even(4, 1, 1, 1);
  const Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, 4, 1, 64);
  EXPECT_GT(run(work, schedule, {.jitter = 0.3, .seed = 1}).bubble_share,
            run(work, schedule).bubble_share);
}

TEST(Trace, IsAValidTimelineWithKinetosNames) {
  Random random(21);
  std::set<std::string> names;
  for (int i = 0; i < 40; ++i) {
    auto [work, schedule] = random_case(random);
    work.stages[0].offloaded_bytes = 30;
    work.copy_bytes_per_s = 1000;
    work.load_s = work.host_s = 0.01;
    const SimulationResult result = run(work, schedule, {.timeline = true});
    ASSERT_TRUE(result.timeline.has_value());
    const std::vector<Fault> faults = check(*result.timeline);
    ASSERT_TRUE(faults.empty()) << to_string(faults[0]);
    for (const Span& span : result.timeline->spans) {
      names.insert(span.name.substr(0, span.name.find(' ')));
      ASSERT_LE(span.start_s + span.duration_s, result.step_time_s + 1e-9);
    }
    std::vector<double> most(result.ranks.size(), 0);
    for (const CounterSample& sample : result.timeline->counters) {
      const std::size_t rank = std::stoul(sample.track.substr(5));
      if (sample.counter == "memory_bytes") most[rank] = std::max(most[rank], sample.value);
    }
    for (std::size_t r = 0; r < most.size(); ++r) {
      ASSERT_EQ(most[r], static_cast<double>(result.ranks[r].peak_memory_bytes)) << i;
    }
  }
  EXPECT_EQ(names,
            (std::set<std::string>{
                "Memcpy", "ProfilerStep#0", "backward", "collective", "cudaLaunchKernel", "forward",
                "load", "ncclDevKernel_AllGather_RING_LL", "ncclDevKernel_AllReduce",
                "ncclDevKernel_ReduceScatter", "ncclDevKernel_SendRecv", "optimizer"}));
}

TEST(Trace, PowerCurveHoldsTheEnergy) {
  Random random(23);
  for (int i = 0; i < 20; ++i) {
    const auto [work, schedule] = random_case(random);
    const SimulationResult result = run(work, schedule, {.timeline = true});
    double energy_j = 0;
    const CounterSample* last = nullptr;
    for (const CounterSample& sample : result.timeline->counters) {
      if (sample.counter != "power_w") continue;
      const bool same = last != nullptr && last->track == sample.track;
      if (last != nullptr) {
        energy_j += last->value * ((same ? sample.time_s : result.step_time_s) - last->time_s);
      }
      last = &sample;
    }
    ASSERT_NE(last, nullptr);
    energy_j += last->value * (result.step_time_s - last->time_s);
    ASSERT_NEAR(energy_j, *result.energy_j, 1e-6 * energy_j) << i;
  }
}

TEST(Trace, IsNotKeptUnlessAskedFor) {
  EXPECT_FALSE(run(ScheduleKind::gpipe, 1, 1, 1, even(1, 1, 1, 1)).timeline.has_value());
}

}  // namespace
}  // namespace parallel_opt
