#include <gtest/gtest.h>

#include <map>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/simulate/layout_work.h"
#include "parallel_opt/simulate/simulation.h"

/// What a layout exchanges has its own name in the trace and its own line in the sums.
namespace parallel_opt {
namespace {

constexpr const char* kAllGather = "ncclDevKernel_AllGather_RING_LL";
constexpr const char* kAllReduce = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL";
constexpr const char* kReduceScatter = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL";
constexpr const char* kAllReduceF32 = "ncclDevKernel_AllReduce_Sum_f32_RING_LL";
constexpr const char* kReduceScatterF32 = "ncclDevKernel_ReduceScatter_Sum_f32_RING_LL";
constexpr const char* kAllToAll = "ncclDevKernel_SendRecv all_to_all";
constexpr const char* kRing = "ncclDevKernel_SendRecv ring";
constexpr const char* kSend = "ncclDevKernel_SendRecv";
constexpr const char* kOrder = "Memcpy DtoD (Device -> Device)";
constexpr const char* kTransfer = "wait for a transfer";
constexpr const char* kStall = "wait for a collective";

using Seconds = std::map<std::string, double>;

class LayoutCommunication : public ::testing::Test {
 protected:
  static TransformerFacts facts_of(const std::string& more) {
    return transformer_facts(bind(
        load_model("transformer:layers=8,hidden=4096,heads=32,seq=4096," + more + "dtype=bf16"),
        {{"batch", 1}}));
  }
  static ParallelLayout layout_of(int tensor, int pipeline, int data) {
    ParallelLayout l;
    l.tensor = tensor;
    l.pipeline = pipeline;
    l.data = data;
    l.micro_batches = 4;
    return l;
  }
  SimulationResult run(const ParallelLayout& l, const std::string& more = "",
                       const SoftwareStack& stack = {}) const {
    const LayoutStages stages =
        layout_stages(facts_of(more), device, stack, l, layout_parameters());
    const std::vector<Schedule> schedules = {
        make_schedule(l.schedule, l.pipeline, l.virtual_stages, int(l.micro_batches))};
    const StepWork work = layout_work(stages, l, device);
    EXPECT_TRUE(check(work, schedules).empty());
    return simulate(work, schedules, {.timeline = true});
  }
  /// By name of everything that is no compute.
  static Seconds moves(const SimulationResult& result) {
    Seconds seconds;
    for (const Span& span : result.timeline->spans) {
      const bool moves = span.category == "communication" || span.category == "data" ||
                         (span.category == "idle" && span.name != "once per step");
      if (moves) seconds[span.name.substr(0, span.name.find(" stage "))] += span.duration_s;
    }
    return seconds;
  }
  static std::vector<std::string> names(const SimulationResult& result) {
    std::vector<std::string> all;
    for (const auto& [name, seconds] : moves(result)) all.push_back(name);
    return all;
  }
  static Seconds sums(const SimulationResult& result) {
    Seconds seconds;
    for (const CommunicationWork& one : result.ranks[0].collectives) {
      seconds[std::string(name_of(one.kind))] += one.seconds;
    }
    return seconds;
  }
  using Names = std::vector<std::string>;
  Accelerator device = *accelerator_of(*find_device(load_database(), "H100-SXM-80GB"), "bf16");
};

TEST_F(LayoutCommunication, OneDeviceHasNone) {
  const SimulationResult result = run(layout_of(1, 1, 1));
  EXPECT_EQ(names(result), Names{});
  EXPECT_EQ(result.ranks[0].collective_s, 0);
}

TEST_F(LayoutCommunication, PipelinesSendAndWaitAndSumNothing) {
  const SimulationResult result = run(layout_of(1, 2, 1));
  EXPECT_EQ(names(result), (Names{kSend, kTransfer}));
  for (const RankUse& use : result.ranks) {
    EXPECT_EQ(use.collective_s, 0);
    EXPECT_TRUE(use.collectives.empty());
    EXPECT_GT(use.exposed_s, 0);
  }
  for (const Span& span : result.timeline->spans) {
    if (span.name.starts_with(kTransfer)) {
      EXPECT_EQ(span.category, "idle");
    }
  }
}

TEST_F(LayoutCommunication, TensorParallelismSums) {
  const SimulationResult result = run(layout_of(8, 1, 1));
  EXPECT_EQ(names(result), (Names{kAllReduce}));
  const RankUse& use = result.ranks[0];
  EXPECT_NEAR(moves(result)[kAllReduce], use.collective_s, 1e-9);
  EXPECT_NEAR(sums(result)["all_reduce"], use.collective_s, 1e-9);
  EXPECT_NEAR(use.exposed_s, use.collective_s, 1e-9);
  EXPECT_NEAR(use.busy_s + use.exposed_s + use.idle_s, result.step_time_s, 1e-9);
}

TEST_F(LayoutCommunication, SequenceParallelismGathersAndScatters) {
  ParallelLayout l = layout_of(8, 1, 1);
  l.sequence_parallel = true;
  const SimulationResult result = run(l);
  EXPECT_EQ(names(result), (Names{kAllGather, kReduceScatter}));
  // Forward 1 + 1, backward 1 + 1 and inputs gathered again: 3 to 2.
  const Seconds seconds = sums(result);
  EXPECT_NEAR(seconds.at("all_gather") / seconds.at("reduce_scatter"), 1.5, 1e-9);
  EXPECT_NEAR(seconds.at("all_gather") + seconds.at("reduce_scatter"), result.ranks[0].collective_s,
              1e-9);
}

TEST_F(LayoutCommunication, WhatIsComputedAgainCommunicatesAgain) {
  ParallelLayout l = layout_of(8, 1, 1);
  const double once_s = run(l).ranks[0].collective_s;
  l.recompute = RecomputeRule::full;
  const SimulationResult again = run(l);
  EXPECT_NEAR(again.ranks[0].collective_s, 1.5 * once_s, 1e-9);  // F and B, then F, F and B
  EXPECT_NEAR(again.ranks[0].exposed_s, again.ranks[0].collective_s, 1e-9);
}

TEST_F(LayoutCommunication, ExpertsExchangeTokens) {
  ParallelLayout l = layout_of(1, 1, 8);
  l.expert = 8;
  const SimulationResult result = run(l, "experts=8,top_k=2,");
  EXPECT_EQ(names(result), (Names{kOrder, kAllReduceF32, kAllToAll, kStall}));
  EXPECT_GT(sums(result)["all_to_all"], 0);
  EXPECT_EQ(sums(result).count("copy"), 0U);  // no collective
  // On one device tokens are put in order all the same.
  EXPECT_EQ(names(run(layout_of(1, 1, 1), "experts=8,top_k=2,")), (Names{kOrder}));
}

TEST_F(LayoutCommunication, SplitExpertsGatherAndScatterToo) {
  ParallelLayout l = layout_of(2, 1, 4);
  l.expert = 4;
  l.expert_tensor = 2;
  l.sequence_parallel = true;
  const Names found = names(run(l, "experts=8,top_k=2,"));
  for (const char* name : {kAllToAll, kAllGather, kReduceScatter}) {
    EXPECT_EQ(std::ranges::count(found, name), 1) << name;
  }
}

/// All that a layout exchanges has a kind, however its seconds round.
TEST_F(LayoutCommunication, NothingIsLeftWithoutAName) {
  for (const char* stack : {"megatron", "nemo", "torchtitan", "nanotron"}) {
    for (const int tensor : {1, 2, 4}) {
      for (const int expert : {1, 2, 4}) {
        for (const int pipeline : {1, 2}) {
          ParallelLayout l = layout_of(tensor, pipeline, 4);
          l.expert = expert;
          l.sequence_parallel = tensor > 1;
          const SimulationResult result = run(l, "experts=8,top_k=2,", *find_stack(stack));
          EXPECT_EQ(sums(result).count("other"), 0U) << stack << ' ' << tensor << ' ' << expert;
          EXPECT_EQ(moves(result).count("collective"), 0U) << stack << ' ' << tensor;
        }
      }
    }
  }
}

TEST_F(LayoutCommunication, ContextGoesRoundARing) {
  ParallelLayout l = layout_of(1, 1, 1);
  l.context = 8;
  EXPECT_EQ(names(run(l, "kv_heads=32,")), (Names{kAllReduceF32, kRing, kStall}));
}

/// Hidden or not, as much travels: software that overlaps shows the same sums in less time.
TEST_F(LayoutCommunication, WhatComputeHidesHasItsKindToo) {
  SoftwareStack overlapping;
  overlapping.overlaps_tensor = true;
  ParallelLayout l = layout_of(8, 1, 1);
  for (const bool sequence_parallel : {false, true}) {
    l.sequence_parallel = sequence_parallel;
    for (const RecomputeRule rule : {RecomputeRule::none, RecomputeRule::full}) {
      l.recompute = rule;
      const SimulationResult plain = run(l), hiding = run(l, "", overlapping);
      EXPECT_LT(hiding.step_time_s, 0.99 * plain.step_time_s);
      EXPECT_LT(hiding.ranks[0].exposed_s, 0.7 * plain.ranks[0].exposed_s);
      for (const auto& [kind, seconds] : sums(plain)) {
        EXPECT_NEAR(sums(hiding)[kind], seconds, 1e-9) << kind;
      }
      EXPECT_NEAR(hiding.ranks[0].collective_s, plain.ranks[0].collective_s, 1e-9);
    }
  }
}

TEST_F(LayoutCommunication, ARingBehindAttentionIsDrawn) {
  ParallelLayout l = layout_of(1, 1, 1);
  l.context = 2;
  const SimulationResult result = run(l, "kv_heads=4,");
  EXPECT_EQ(result.ranks[0].exposed_s - moves(result)[kStall], 0);  // nobody waits for it
  EXPECT_GT(moves(result)[kRing], 0);
  EXPECT_NEAR(sums(result)["send_recv"], moves(result)[kRing], 1e-12);
  // Twice as many keys and values take twice as long.
  EXPECT_NEAR(moves(run(l, "kv_heads=8,"))[kRing], 2 * moves(result)[kRing], 1e-9);
}

TEST_F(LayoutCommunication, UpdatedWeightsTravelBesideTheNextStep) {
  SoftwareStack overlapping;
  overlapping.overlaps_gathers = true;
  ParallelLayout l = layout_of(1, 1, 8);
  l.shard = 1;
  const std::string updated = std::string(kAllGather) + " updated weights";
  const SimulationResult plain = run(l), hiding = run(l, "", overlapping);
  EXPECT_LT(hiding.step_time_s, plain.step_time_s);
  EXPECT_NEAR(moves(hiding)[updated], moves(plain)[updated], 1e-9);
  const auto begins = [&](const SimulationResult& result) {
    double first_s = result.step_time_s;
    for (const Span& span : result.timeline->spans) {
      if (span.name.starts_with(updated)) first_s = std::min(first_s, span.start_s);
    }
    return first_s;
  };
  EXPECT_EQ(begins(hiding), 0);
  EXPECT_GT(begins(plain), 0.5 * plain.step_time_s);
}

TEST_F(LayoutCommunication, GradientsAreSummedOrScatteredByTheZeroStage) {
  ParallelLayout l = layout_of(1, 1, 8);
  EXPECT_EQ(names(run(l)), (Names{kAllReduceF32, kStall}));
  l.shard = 1;
  const SimulationResult states = run(l);
  const Seconds of_states = moves(states);
  EXPECT_EQ(of_states.count(kAllReduceF32), 0U);
  EXPECT_GT(of_states.at(kReduceScatterF32), 0);
  EXPECT_GT(of_states.at(std::string(kAllGather) + " updated weights"), 0);
  for (const int stage : {2, 3}) {
    l.shard = stage;
    const Seconds found = moves(run(l));
    EXPECT_EQ(found.count(kAllReduceF32), 0U) << stage;
    EXPECT_EQ(found.count(kReduceScatterF32), 1U) << stage;
  }
  EXPECT_EQ(names(run(l)), (Names{kAllGather, kReduceScatterF32, kStall}));
}

TEST_F(LayoutCommunication, HybridShardingScattersAmongOwnersAndSumsBetweenThem) {
  ParallelLayout l = layout_of(1, 1, 8);
  l.shard = 3;
  l.shard_degree = 4;
  const SimulationResult result = run(l);
  EXPECT_EQ(names(result), (Names{kAllGather, kAllReduceF32, kReduceScatterF32, kStall}));
  EXPECT_GT(sums(result)["reduce_scatter"], sums(result)["all_reduce"]);
}

TEST_F(LayoutCommunication, TypesFollowTheDevice) {
  ParallelLayout l = layout_of(8, 1, 1);
  device = *accelerator_of(*find_device(load_database(), "V100-SXM-32GB"), "fp16");
  EXPECT_EQ(names(run(l)), (Names{"ncclDevKernel_AllReduce_Sum_f16_RING_LL"}));
  l.element_bytes = 4;
  EXPECT_EQ(names(run(l)), (Names{kAllReduceF32}));
}

TEST(CommunicationWork, KindsPartASpanAndWhatNobodySaysIsCalledSo) {
  StepWork work;
  work.stages = {
      {.forward_s = 1,
       .backward_input_s = 1,
       .forward_exposed_s = 1,
       .forward_moves = {{Communication::all_to_all, 0.25}, {Communication::copy, 0.5}}}};
  work.power = {{.idle_w = 50, .busy_w = 100}};
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::gpipe, 1, 1, 1)};
  ASSERT_TRUE(check(work, schedules).empty());
  const SimulationResult result = simulate(work, schedules, {.timeline = true});
  std::map<std::string, std::pair<double, double>> spans;
  for (const Span& span : result.timeline->spans) {
    spans[span.name.substr(0, span.name.find(" stage "))] = {span.start_s, span.duration_s};
  }
  EXPECT_EQ(spans["forward"], std::pair(0.0, 1.0));
  EXPECT_EQ(spans[kAllToAll], std::pair(1.0, 0.25));
  EXPECT_EQ(spans[kOrder], std::pair(1.25, 0.5));
  EXPECT_EQ(spans["collective"], std::pair(1.75, 0.25));
  const RankUse& use = result.ranks[0];
  EXPECT_EQ(use.busy_s, 2.5);  // both passes, and the copies on the device
  EXPECT_EQ(use.exposed_s, 0.5);
  EXPECT_EQ(use.collective_s, 0.5);
  EXPECT_EQ(use.energy_j, 50 * 3 + 50 * 2);  // times and watts are those without kinds
}

TEST(CommunicationWork, WhatRunsBesideAPassIsNamedAsFarAsSomebodySays) {
  StepWork work;
  work.slowdown = 1.5;
  work.stages = {{.forward_s = 2,
                  .backward_input_s = 2,
                  .forward_beside_s = 1,
                  .forward_beside = {{Communication::send_recv, 0.25}}}};
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::gpipe, 1, 1, 1)};
  ASSERT_TRUE(check(work, schedules).empty());
  const SimulationResult result = simulate(work, schedules, {.timeline = true});
  EXPECT_EQ(result.step_time_s, 4.5);  // both are slower while both run
  std::map<std::string, std::pair<double, double>> spans;
  for (const Span& span : result.timeline->spans) {
    spans[span.name.substr(0, span.name.find(" stage "))] = {span.start_s, span.duration_s};
  }
  EXPECT_EQ(spans[kRing].first, 0);
  EXPECT_NEAR(spans[kRing].second, 0.375, 1e-12);
  EXPECT_NEAR(spans["collective"].first, 0.375, 1e-12);
  EXPECT_NEAR(spans["collective"].second, 1.125, 1e-12);
  const RankUse& use = result.ranks[0];
  EXPECT_EQ(use.exposed_s, 0);
  EXPECT_NEAR(use.collective_s, 1.5, 1e-12);
  EXPECT_NEAR(by_kind(use.collectives)[Communication::send_recv], 0.375, 1e-12);
  work.stages[0].forward_beside[0].seconds = 1.25;
  const std::vector<Fault> faults = check(work, schedules);
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].where, "work.stages[0].forward_beside");
}

TEST(CommunicationWork, OverlappingCollectivesAreNotCountedTwice) {
  StepWork work;
  work.stages = {{.forward_s = 1,
                  .backward_input_s = 4,
                  .backward_exposed_s = 1,
                  .groups = {{.share = 0.5, .reduce_s = 2}, {.share = 0.5, .reduce_s = 2}}}};
  work.reduce = ReduceWhen::last;
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::gpipe, 1, 1, 1)};
  const RankUse use = simulate(work, schedules).ranks[0];
  // Slices of the backward end at 3.5 and 6 with 0.5 of a collective each; reductions run from 3.5
  // to 5.5 and from 6 to 8: nothing meets.
  EXPECT_NEAR(use.collective_s, 0.5 + 2 + 0.5 + 2, 1e-12);
  work.stages[0].groups[1].reduce_s = 3;  // until 6.5, over the second slice's collective
  const RankUse longer = simulate(work, schedules).ranks[0];
  EXPECT_NEAR(longer.collective_s, 0.5 + 3 + 2, 1e-12);
  double by_kind_s = 0;
  for (const CommunicationWork& one : longer.collectives) by_kind_s += one.seconds;
  EXPECT_NEAR(by_kind_s, 1 + 5, 1e-12);
}

TEST(CommunicationWork, KindsThatAreLongerThanTheirPassAreRefused) {
  StepWork work;
  work.stages = {
      {.forward_s = 1,
       .forward_exposed_s = 1,
       .forward_moves = {{Communication::all_reduce, 1.5}, {Communication::all_gather, 0.75}},
       .reductions = {{Communication::all_reduce, 1}}}};
  const std::vector<Fault> faults = check(work, {make_schedule(ScheduleKind::gpipe, 1, 1, 1)});
  ASSERT_EQ(faults.size(), 2U);
  EXPECT_EQ(to_string(faults[0]),
            "work.stages[0].forward_moves: takes longer than the pass that it is in (it is a part "
            "of its seconds)");
  EXPECT_EQ(faults[1].where, "work.stages[0].reductions");
}

TEST(Trace, MemoryRisesWhileForwardsRunAndFallsWhileBackwardsDo) {
  StepWork work;
  work.stages = {{.forward_s = 1, .backward_input_s = 1, .kept_bytes = 160, .static_bytes = 1000}};
  const SimulationResult result =
      simulate(work, {make_schedule(ScheduleKind::gpipe, 1, 1, 1)}, {.timeline = true});
  double low = 1e9, high = 0, peak_s = 0;
  int rises = 0, falls = 0;
  const CounterSample* last = nullptr;
  for (const CounterSample& sample : result.timeline->counters) {
    low = std::min(low, sample.value);
    if (sample.value > high) peak_s = sample.time_s;
    high = std::max(high, sample.value);
    if (last != nullptr && sample.value > last->value) {
      ++rises;
      EXPECT_LT(sample.time_s, 1);
    } else if (last != nullptr && sample.value < last->value) {
      ++falls;
      EXPECT_GT(sample.time_s, 1);
    }
    last = &sample;
  }
  EXPECT_EQ(low, 1000);
  EXPECT_EQ(high, double(result.ranks[0].peak_memory_bytes));
  EXPECT_GT(peak_s, 0.9);
  EXPECT_GE(rises, 10);
  EXPECT_GE(falls, 10);
}

TEST(Trace, WhatComesOncePerStepHasASpanOnEveryRank) {
  StepWork work;
  work.stages.assign(2, {.forward_s = 1, .backward_input_s = 1, .optimizer_s = 1});
  work.optimizer_together = true;
  work.together_s = 5;
  const SimulationResult result =
      simulate(work, {make_schedule(ScheduleKind::one_f_one_b, 2, 1, 2)}, {.timeline = true});
  int spans = 0;
  for (const Span& span : result.timeline->spans) {
    if (span.name != "once per step") continue;
    ++spans;
    EXPECT_EQ(span.category, "idle");
    EXPECT_EQ(span.start_s, result.pipeline_s);
    EXPECT_EQ(span.duration_s, 5);
  }
  EXPECT_EQ(spans, 2);
}

TEST(RankUse, BubbleAndFillAndDrainMakeTheShare) {
  StepWork work;
  work.stages.assign(4, {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1});
  const SimulationResult result = simulate(work, {make_schedule(ScheduleKind::zb_h2, 4, 1, 16)});
  double waits_s = 0;
  for (const RankUse& use : result.ranks) {
    EXPECT_EQ(use.bubble_s, 0);  // but rank k begins k forwards late, and rank 0 ends early
    EXPECT_NEAR(use.fill_drain_s, 3, 1e-9);
    waits_s += use.bubble_s + use.fill_drain_s;
  }
  EXPECT_NEAR(result.bubble_share, waits_s / 4 / result.pipeline_s, 1e-12);
}

}  // namespace
}  // namespace parallel_opt
