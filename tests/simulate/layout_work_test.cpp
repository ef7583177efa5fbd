#include "parallel_opt/simulate/layout_work.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {
namespace {

class LayoutWork : public ::testing::Test {
 protected:
  TransformerFacts facts = transformer_facts(
      bind(load_model("transformer:layers=32,hidden=4096,heads=32,seq=2048,dtype=bf16"),
           {{"batch", 1}}));
  Accelerator device = *accelerator_of(*find_device(load_database(), "A100-SXM-80GB"), "bf16");
  const SoftwareStack& stack = *find_stack("megatron");
  const LayoutParameters& p = layout_parameters();

  StepWork work(const ParallelLayout& l) const {
    return layout_work(layout_stages(facts, device, stack, l, p), l, device);
  }
  SimulationResult run(const ParallelLayout& l, ScheduleKind kind) const {
    const StepWork step = work(l);
    const std::vector<Schedule> schedules = {
        make_schedule(kind, l.pipeline, l.virtual_stages, int(l.micro_batches))};
    EXPECT_TRUE(check(step, schedules).empty());
    return simulate(step, schedules);
  }
  static ParallelLayout pipeline(int stages, int micro_batches) {
    ParallelLayout l;
    l.pipeline = stages;
    l.micro_batches = micro_batches;
    return l;
  }
};

TEST_F(LayoutWork, EventsAgreeWithTheClosedForm) {
  // Uneven stages (the last one has the head) and transfers: within 4 % of m slow + the rest once.
  for (const auto& [stages, tensor] : {std::pair(2, 1), std::pair(4, 1), std::pair(8, 4)}) {
    ParallelLayout l = pipeline(stages, 32);
    l.tensor = tensor;
    l.sequence_parallel = tensor > 1;
    const LayoutCost closed = layout_cost(facts, device, stack, l, p);
    const SimulationResult events = run(l, ScheduleKind::one_f_one_b);
    EXPECT_NEAR(events.step_time_s / closed.time_s(), 1, 0.04) << stages;
  }
}

TEST_F(LayoutWork, ZeroBubbleAgreesWithTheClosedForm) {
  // Without a head. The papers' forms leave out that a transfer delays each stage's next entry.
  facts.outside = {};
  facts.logits_elements = 0;
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2}) {
    ParallelLayout l = pipeline(8, 32);
    l.schedule = kind;
    const LayoutCost closed = layout_cost(facts, device, stack, l, p);
    EXPECT_NEAR(run(l, kind).step_time_s / closed.time_s(), 1, 0.05) << name_of(kind);
  }
}

TEST_F(LayoutWork, MemoryOfTheFullestRankIsTheClosedForms) {
  const auto ratio = [&](const ParallelLayout& l) {
    double most = 0;
    for (const RankUse& use : run(l, l.schedule).ranks) {
      most = std::max(most, double(use.peak_memory_bytes));
    }
    return most / layout_cost(facts, device, stack, l, p).memory_bytes();
  };
  EXPECT_NEAR(ratio(pipeline(4, 16)), 1, 0.03);
  // The last rank has the head, and of interleaved stages most of the chunks that the first has.
  facts.logits_elements *= 4;
  for (const int stages : {1, 2, 4}) {
    ParallelLayout l = pipeline(4, 16);
    l.virtual_stages = stages;
    if (stages > 1) l.schedule = ScheduleKind::interleaved_1f1b;
    EXPECT_NEAR(ratio(l), 1, 0.03) << stages;
  }
}

TEST_F(LayoutWork, MemoryIsTheClosedFormsInEveryStackAndSchedule) {
  for (const SoftwareStack& each : software_stacks()) {
    for (const RecomputeRule rule :
         {RecomputeRule::none, RecomputeRule::selective, RecomputeRule::full}) {
      for (const ScheduleKind kind : {ScheduleKind::one_f_one_b, ScheduleKind::gpipe,
                                      ScheduleKind::zb_h1, ScheduleKind::zb_h2}) {
        for (const int tensor : {1, 4}) {
          ParallelLayout l = pipeline(4, 16);
          l.schedule = kind;
          l.recompute = rule;
          l.tensor = tensor;
          l.sequence_parallel = tensor > 1 && each.sequence_parallel;
          l.data = 2;
          l.shard = each.shard;
          const StepWork step = layout_work(layout_stages(facts, device, each, l, p), l, device);
          double most = 0;
          for (const RankUse& use : simulate(step, {make_schedule(kind, 4, 1, 16)}).ranks) {
            most = std::max(most, double(use.peak_memory_bytes));
          }
          const LayoutCost closed = layout_cost(facts, device, each, l, p);
          EXPECT_NEAR(most / closed.memory_bytes(), 1, 0.05)
              << each.name << ' ' << name_of(rule) << ' ' << name_of(kind) << ' ' << tensor;
        }
      }
    }
  }
}

TEST_F(LayoutWork, WaitsForItsSamplesAsTheEstimateDoes) {
  ParallelLayout l = pipeline(4, 16);
  const double bare = run(l, ScheduleKind::one_f_one_b).step_time_s;
  l.sample_s = 0.5;
  l.loader_workers = 2;
  const double waits = layout_cost(facts, device, stack, l, p).loading_s;
  EXPECT_GT(waits, 0);
  EXPECT_NEAR(run(l, ScheduleKind::one_f_one_b).step_time_s, bare + waits, 1e-6 * bare);
}

TEST_F(LayoutWork, EnergyAgreesWithTheEstimate) {
  // Waiting draws what it does in the estimate: few micro-batches wait for half of the step.
  for (const int micro_batches : {4, 32}) {
    const ParallelLayout l = pipeline(4, micro_batches);
    const Estimate closed =
        layout_estimate(layout_cost(facts, device, stack, l, p), facts, device, l, p);
    EXPECT_NEAR(*run(l, ScheduleKind::one_f_one_b).energy_j / closed.energy_j->value, 1, 0.08)
        << micro_batches;
  }
}

TEST_F(LayoutWork, FoldedAndDoubledPipelinesAgreeWithTheClosedForm) {
  // With a large head, which one rank has in a V and two have half of the time under DualPipe.
  facts = transformer_facts(bind(
      load_model("transformer:layers=32,hidden=4096,heads=32,seq=2048,vocab=128256,dtype=bf16"),
      {{"batch", 1}}));
  for (const ScheduleKind kind :
       {ScheduleKind::zb_v, ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
    ParallelLayout l = pipeline(8, 64);
    l.schedule = kind;
    const LayoutCost closed = layout_cost(facts, device, stack, l, p);
    const bool copies = kind == ScheduleKind::dualpipe;
    l.virtual_stages = copies ? 1 : 2;
    const StepWork step = work(l);
    const SimulationResult events = simulate(step, {make_schedule(kind, 8, 2, 64)});
    EXPECT_NEAR(events.step_time_s / closed.time_s(), 1, 0.06) << name_of(kind);
    double most = 0;
    for (const RankUse& use : events.ranks) most = std::max(most, double(use.peak_memory_bytes));
    EXPECT_NEAR(most / closed.memory_bytes(), 1, 0.03) << name_of(kind);
  }
}

TEST_F(LayoutWork, InterleavingAndZeroBubbleShortenTheWait) {
  ParallelLayout l = pipeline(4, 8);
  const double plain = run(l, ScheduleKind::one_f_one_b).bubble_share;
  EXPECT_LT(run(l, ScheduleKind::zb_h1).bubble_share, plain);
  l.virtual_stages = 2;
  EXPECT_LT(run(l, ScheduleKind::interleaved_1f1b).bubble_share, plain);
}

TEST_F(LayoutWork, ReplicasReduceBesideTheBackward) {
  ParallelLayout l = pipeline(2, 8);
  l.data = 8;
  l.shard = 1;
  const StepWork step = work(l);
  EXPECT_EQ(step.reduce, ReduceWhen::last);
  EXPECT_EQ(step.gather, GatherWhen::never);
  double reduce = 0;
  for (const LayerGroup& group : step.stages.back().groups) reduce += group.reduce_s;
  EXPECT_GT(reduce, 0);
  EXPECT_GT(step.stages.back().update_gather_s, 0);
  l.shard = 0;  // or each would update an eighth of the states
  const double with = run(l, ScheduleKind::one_f_one_b).step_time_s;
  l.data = 1;
  const double without = run(l, ScheduleKind::one_f_one_b).step_time_s;
  EXPECT_GT(with, without);
  EXPECT_LT(with, without + 2 * reduce + 0.2);
}

TEST_F(LayoutWork, ShardedWeightsAreGatheredInEachPass) {
  ParallelLayout l;
  l.data = 8;
  l.shard = 3;
  const StepWork step = work(l);
  EXPECT_EQ(step.gather, GatherWhen::each_pass);
  EXPECT_EQ(step.stages.front().groups.size(), 32u);
  EXPECT_EQ(step.stages.front().update_gather_s, 0);
}

TEST_F(LayoutWork, PipelinesKeepGatheredWeightsForTheStep) {
  ParallelLayout l = pipeline(4, 16);
  l.data = 8;
  l.shard = 3;
  const StepWork step = work(l);
  EXPECT_EQ(step.gather, GatherWhen::once);
  EXPECT_EQ(step.reduce, ReduceWhen::last);
}

TEST_F(LayoutWork, OffloadingAgreesWithTheClosedForm) {
  for (const double rate : {2e9, 20e9, 200e9}) {
    device.host.link_bytes_per_s = rate;
    for (const Offload& offload :
         {Offload{.activations = 1}, Offload{.activations = 0.3}, Offload{.optimizer = 1},
          Offload{.optimizer = 0.5}, Offload{.optimizer = 1, .fetched = true},
          Offload{.optimizer = 1, .activations = 1}}) {
      ParallelLayout l = pipeline(1, 4);
      l.offload = offload;
      const LayoutCost closed = layout_cost(facts, device, stack, l, p);
      const SimulationResult events = run(l, ScheduleKind::one_f_one_b);
      const double expected = closed.time_s() - closed.other_s + p.step_s;
      EXPECT_NEAR(events.step_time_s / expected, 1, 1e-3)
          << rate << ' ' << offload.optimizer << ' ' << offload.activations;
      const double bytes = double(events.ranks[0].peak_memory_bytes);
      EXPECT_NEAR(bytes / closed.memory_bytes(), 1, 0.04)
          << rate << ' ' << offload.optimizer << ' ' << offload.activations;
    }
  }
}

TEST_F(LayoutWork, StreamedWeightsAgreeWithTheClosedForm) {
  // The first block's may come beside the pass before, which the closed form leaves out.
  for (const double rate : {2e9, 20e9}) {
    device.host.link_bytes_per_s = rate;
    for (const double optimizer : {0.0, 1.0}) {
      ParallelLayout l = pipeline(1, 4);
      l.shard = 3;
      l.offload = {.optimizer = optimizer, .parameters = true};
      const LayoutCost closed = layout_cost(facts, device, stack, l, p);
      const double events = run(l, ScheduleKind::one_f_one_b).step_time_s;
      const double expected = closed.time_s() - closed.other_s + p.step_s;
      EXPECT_LE(events, expected * (1 + 1e-3)) << rate;
      EXPECT_NEAR(events / expected, 1, 0.05) << rate << ' ' << optimizer;
    }
  }
}

TEST_F(LayoutWork, OffloadingInPipelinesAgreesWithTheClosedForm) {
  for (const double rate : {5e9, 30e9}) {
    device.host.link_bytes_per_s = rate;
    ParallelLayout l = pipeline(4, 16);
    l.offload = {.optimizer = 1, .activations = 1};
    const LayoutCost closed = layout_cost(facts, device, stack, l, p);
    const SimulationResult events = run(l, ScheduleKind::one_f_one_b);
    EXPECT_NEAR(events.step_time_s / (closed.time_s() - closed.other_s + p.step_s), 1, 0.1) << rate;
    double most = 0;
    for (const RankUse& use : events.ranks) most = std::max(most, double(use.peak_memory_bytes));
    l.offload = {};
    EXPECT_LT(most, layout_cost(facts, device, stack, l, p).memory_bytes());
  }
}

}  // namespace
}  // namespace parallel_opt
