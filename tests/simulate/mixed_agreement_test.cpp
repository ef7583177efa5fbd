#include <gtest/gtest.h>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/mixed_layout.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/plan/recompute_list.h"
#include "parallel_opt/simulate/layout_work.h"
#include "parallel_opt/simulate/simulation.h"

/// `simulate` and `estimate` of pipelines whose ranks have other devices or other blocks.
namespace parallel_opt {
namespace {

Accelerator named(const char* name) {
  return *accelerator_of(*find_device(load_database(), name), "bf16");
}

class MixedAgreement : public ::testing::Test {
 protected:
  Graph graph = bind(load_model("transformer:layers=32,hidden=4096,heads=32,seq=4096,vocab=32000,"
                                "dtype=bf16"),
                     {{"batch", 1}});
  TransformerFacts facts = transformer_facts(graph);
  Accelerator h100 = named("H100-SXM-80GB"), a100 = named("A100-SXM-80GB"),
              v100 = named("V100-SXM2-32GB");
  const LayoutParameters& p = layout_parameters();

  static ParallelLayout pipeline(ScheduleKind kind, int ranks, int micro_batches) {
    ParallelLayout l;
    l.schedule = kind;
    l.pipeline = ranks;
    l.micro_batches = micro_batches;
    const bool several = kind == ScheduleKind::interleaved_1f1b ||
                         kind == ScheduleKind::looped_bfs || kind == ScheduleKind::zb_v ||
                         kind == ScheduleKind::dualpipe_v;
    l.virtual_stages = several ? 2 : 1;
    return l;
  }
  SimulationResult run(const SoftwareStack& stack, const std::vector<Accelerator>& ranks,
                       const ParallelLayout& l) const {
    const StepWork work = layout_work(mixed_stages(facts, ranks, stack, l, p), l, ranks);
    const int stages = l.schedule == ScheduleKind::dualpipe ? 2 : l.virtual_stages;
    const std::vector<Schedule> schedules = {
        make_schedule(l.schedule, l.pipeline, stages, int(l.micro_batches))};
    EXPECT_TRUE(check(work, schedules).empty());
    return simulate(work, schedules);
  }
  void expect_near(const SoftwareStack& stack, const std::vector<Accelerator>& ranks,
                   const ParallelLayout& l, double time) const {
    const MixedCost closed = mixed_cost(facts, ranks, stack, l, p);
    const SimulationResult events = run(stack, ranks, l);
    double most = 0;
    for (const RankUse& use : events.ranks) most = std::max(most, double(use.peak_memory_bytes));
    std::string name = stack.name + ' ' + std::string(name_of(l.schedule)) + " m " +
                       std::to_string(int(l.micro_batches)) + ':';
    for (const Accelerator& rank : ranks) name += ' ' + rank.arch;
    EXPECT_NEAR(events.step_time_s / closed.cost.time_s(), 1, time) << name;
    EXPECT_NEAR(most / closed.cost.memory_bytes(), 1, 0.05) << name;
    const Estimate estimate = mixed_estimate(closed, facts, ranks, l, p);
    const double of_one_each = l.devices() / l.pipeline;
    ASSERT_TRUE(events.energy_j && estimate.energy_j) << name;
    EXPECT_NEAR(*events.energy_j * of_one_each / estimate.energy_j->value, 1, time) << name;
  }
};

TEST_F(MixedAgreement, OneForwardOneBackwardInAnyOrderOfDevices) {
  for (const SoftwareStack& stack : software_stacks()) {
    for (const std::vector<Accelerator>& ranks : {std::vector{h100, h100, a100, a100},
                                                  {a100, a100, h100, h100},
                                                  {a100, h100, h100, h100},
                                                  {h100, h100, h100, a100},
                                                  {h100, a100, h100, a100}}) {
      for (const int micro_batches : {2, 4, 8, 32}) {
        for (const int tensor : {1, 4}) {
          ParallelLayout l = pipeline(ScheduleKind::one_f_one_b, 4, micro_batches);
          l.tensor = tensor;
          expect_near(stack, ranks, l, 0.06);
        }
      }
    }
  }
}

TEST_F(MixedAgreement, DevicesOfAnEighthOfTheSpeed) {
  v100.memory_bytes = h100.memory_bytes;  // so that the fullest is the one with most bytes
  for (const SoftwareStack& stack : software_stacks()) {
    for (const std::vector<Accelerator>& ranks :
         {std::vector{v100, h100, h100, h100}, {h100, v100, a100, h100}}) {
      for (const int micro_batches : {4, 32}) {
        expect_near(stack, ranks, pipeline(ScheduleKind::one_f_one_b, 4, micro_batches), 0.06);
      }
    }
  }
}

TEST_F(MixedAgreement, OtherSchedules) {
  for (const SoftwareStack& stack : software_stacks()) {
    if (stack.balances_head) continue;
    for (const std::vector<Accelerator>& ranks :
         {std::vector{h100, h100, a100, a100}, {a100, a100, h100, h100}}) {
      for (const ScheduleKind kind :
           {ScheduleKind::gpipe, ScheduleKind::interleaved_1f1b, ScheduleKind::looped_bfs,
            ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v, ScheduleKind::dualpipe,
            ScheduleKind::dualpipe_v}) {
        for (const int m : {16, 32}) expect_near(stack, ranks, pipeline(kind, 4, m), 0.06);
      }
    }
  }
}

TEST_F(MixedAgreement, ManyRanks) {
  graph = bind(load_model("transformer:layers=190,hidden=4096,heads=32,seq=4096,vocab=32000,"
                          "dtype=bf16"),
               {{"batch", 1}});
  facts = transformer_facts(graph);
  std::vector<Accelerator> ranks(40, h100);
  ranks.resize(80, a100);
  const SoftwareStack& stack = *find_stack("megatron");
  for (const ScheduleKind kind :
       {ScheduleKind::one_f_one_b, ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v,
        ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
    for (const int m : {160, 480}) expect_near(stack, ranks, pipeline(kind, 80, m), 0.06);
  }
}

TEST_F(MixedAgreement, ReplicasOfMixedPipelines) {
  for (const SoftwareStack& stack : software_stacks()) {
    for (int shard = 0; shard <= 3; ++shard) {
      ParallelLayout l = pipeline(ScheduleKind::one_f_one_b, 4, 32);
      l.data = 4;
      l.shard = shard;
      expect_near(stack, {h100, h100, a100, a100}, l, 0.06);
      expect_near(stack, {a100, a100, h100, h100}, l, 0.06);
    }
  }
}

TEST_F(MixedAgreement, StagesWhoseBlocksAListNames) {
  for (const char* list : {R"(["model.layers.0", "model.layers.1", "model.layers.2",
                              "model.layers.3", "model.layers.4", "model.layers.5"])",
                           R"(["model.layers.31", "model.layers.30", "model.layers.29"])",
                           R"([{"block": "model.layers.9", "parts": ["model.layers.9.mlp"]}])"}) {
    facts = transformer_facts(
        graph, recomputed_operators(graph, read_recompute(list, "list.json"), "list.json"));
    for (const SoftwareStack& stack : software_stacks()) {
      for (const ScheduleKind kind :
           {ScheduleKind::one_f_one_b, ScheduleKind::gpipe, ScheduleKind::zb_h1}) {
        const std::vector<Accelerator> ranks(4, h100);
        EXPECT_TRUE(ranks_differ(facts, ranks, pipeline(kind, 4, 32)));
        expect_near(stack, ranks, pipeline(kind, 4, 32), 0.06);
      }
    }
  }
}

TEST_F(MixedAgreement, EqualRanksAreThePlainForms) {
  const SoftwareStack& stack = *find_stack("megatron");
  const std::vector<Accelerator> ranks(4, a100);
  for (const ScheduleKind kind : {ScheduleKind::one_f_one_b, ScheduleKind::gpipe,
                                  ScheduleKind::zb_h1, ScheduleKind::interleaved_1f1b}) {
    const ParallelLayout l = pipeline(kind, 4, 32);
    EXPECT_FALSE(ranks_differ(facts, ranks, l));
    const LayoutCost plain = layout_cost(facts, a100, stack, l, p);
    const MixedCost mixed = mixed_cost(facts, ranks, stack, l, p);
    EXPECT_NEAR(mixed.cost.time_s() / plain.time_s(), 1, 0.002) << name_of(kind);
    EXPECT_NEAR(mixed.cost.memory_bytes() / plain.memory_bytes(), 1, 1e-9) << name_of(kind);
  }
}

TEST_F(MixedAgreement, AStageRunsAtItsOwnDevicesPace) {
  const SoftwareStack& stack = *find_stack("megatron");
  const ParallelLayout l = pipeline(ScheduleKind::one_f_one_b, 2, 16);
  const LayoutStages fast = layout_stages(facts, h100, stack, l, p);
  const LayoutStages slow = layout_stages(facts, a100, stack, l, p);
  const LayoutStages both = mixed_stages(facts, {h100, a100}, stack, l, p);
  EXPECT_EQ(both.stages[0].forward_s, fast.stages[0].forward_s);
  EXPECT_EQ(both.stages[1].forward_s, slow.stages[1].forward_s);
  EXPECT_EQ(both.link_bytes_per_s, std::min(fast.link_bytes_per_s, slow.link_bytes_per_s));
  const double mixed = mixed_cost(facts, {h100, a100}, stack, l, p).cost.time_s();
  EXPECT_LT(mixed, layout_cost(facts, a100, stack, l, p).time_s());
  EXPECT_GT(mixed, 0.8 * layout_cost(facts, a100, stack, l, p).time_s());
  EXPECT_GT(mixed, layout_cost(facts, h100, stack, l, p).time_s());
}

TEST_F(MixedAgreement, TheFullestIsByItsOwnDevicesMemory) {
  const SoftwareStack& stack = *find_stack("megatron");
  const ParallelLayout l = pipeline(ScheduleKind::one_f_one_b, 2, 16);
  EXPECT_EQ(mixed_cost(facts, {h100, a100}, stack, l, p).fullest, 0);  // two micro-batches, not one
  EXPECT_EQ(mixed_cost(facts, {h100, v100}, stack, l, p).fullest, 1);
}

TEST_F(MixedAgreement, EnergyIsThatOfEachRanksDevices) {
  const SoftwareStack& stack = *find_stack("megatron");
  const ParallelLayout l = pipeline(ScheduleKind::one_f_one_b, 4, 32);
  const std::vector<Accelerator> ranks = {h100, h100, a100, a100};
  const MixedCost cost = mixed_cost(facts, ranks, stack, l, p);
  const Estimate closed = mixed_estimate(cost, facts, ranks, l, p);
  EXPECT_NEAR(*run(stack, ranks, l).energy_j / closed.energy_j->value, 1, 0.08);
}

}  // namespace
}  // namespace parallel_opt
