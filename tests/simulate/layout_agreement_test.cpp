#include <gtest/gtest.h>

#include <cmath>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/simulate/layout_work.h"
#include "parallel_opt/simulate/simulation.h"

/// `simulate` and `estimate` of the same layout, over stacks, sharding, schedules and sizes.
namespace parallel_opt {
namespace {

constexpr ScheduleKind kSchedules[] = {
    ScheduleKind::gpipe,      ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b,
    ScheduleKind::looped_bfs, ScheduleKind::zb_h1,       ScheduleKind::zb_h2,
    ScheduleKind::zb_v,       ScheduleKind::dualpipe,    ScheduleKind::dualpipe_v};

class LayoutAgreement : public ::testing::Test {
 protected:
  TransformerFacts facts = facts_of("vocab=128256,");
  Accelerator device = *accelerator_of(*find_device(load_database(), "H100-SXM-80GB"), "bf16");
  const LayoutParameters& p = layout_parameters();

  static TransformerFacts facts_of(const std::string& more, const std::string& layers = "32") {
    return transformer_facts(
        bind(load_model("transformer:layers=" + layers + ",hidden=4096,heads=32,seq=4096," + more +
                        "dtype=bf16"),
             {{"batch", 1}}));
  }

  static bool in_v(ScheduleKind kind) {
    return kind == ScheduleKind::zb_v || kind == ScheduleKind::dualpipe_v;
  }
  static ParallelLayout pipeline(ScheduleKind kind, int stages, int micro_batches) {
    ParallelLayout l;
    l.schedule = kind;
    l.pipeline = stages;
    l.micro_batches = micro_batches;
    const bool several = kind == ScheduleKind::interleaved_1f1b || kind == ScheduleKind::looped_bfs;
    l.virtual_stages = several || in_v(kind) ? 2 : 1;
    return l;
  }

  /// Simulated over estimated.
  struct Ratio {
    double time = 0, memory = 0, energy = 0;
  };
  Ratio ratio(const SoftwareStack& stack, const ParallelLayout& l) const {
    const LayoutCost closed = layout_cost(facts, device, stack, l, p);
    const StepWork work = layout_work(layout_stages(facts, device, stack, l, p), l, device);
    const int stages = l.schedule == ScheduleKind::dualpipe ? 2 : l.virtual_stages;
    const std::vector<Schedule> schedules = {
        make_schedule(l.schedule, l.pipeline, stages, int(l.micro_batches))};
    EXPECT_TRUE(check(work, schedules).empty());
    const SimulationResult events = simulate(work, schedules);
    double most = 0;
    for (const RankUse& use : events.ranks) most = std::max(most, double(use.peak_memory_bytes));
    const Estimate estimate = layout_estimate(closed, facts, device, l, p);
    const double pipelines = l.devices() / l.pipeline;
    return {events.step_time_s / closed.time_s(), most / closed.memory_bytes(),
            *events.energy_j * pipelines / estimate.energy_j->value};
  }
  void expect_near(const SoftwareStack& stack, const ParallelLayout& l, double time,
                   double memory = 0.05) const {
    const Ratio found = ratio(stack, l);
    const auto name = [&] {
      return stack.name + ' ' + std::string(name_of(l.schedule)) + " p" +
             std::to_string(l.pipeline) + " t" + std::to_string(l.tensor) + " d" +
             std::to_string(l.data) + " shard " + std::to_string(l.shard) + " m " +
             std::to_string(int(l.micro_batches));
    };
    EXPECT_NEAR(found.time, 1, time) << name();
    EXPECT_NEAR(found.memory, 1, memory) << name();
    EXPECT_NEAR(found.energy, 1, time) << name();
  }
  /// Four stages, every ZeRO stage, with and without tensor parallelism.
  void expect_near_however_sharded(const SoftwareStack& stack, ScheduleKind kind) const {
    for (int shard = 0; shard <= 3; ++shard) {
      for (const int tensor : {1, 4}) {
        ParallelLayout l = pipeline(kind, 4, 32);
        l.data = 4;
        l.shard = shard;
        l.tensor = tensor;
        l.sequence_parallel = tensor > 1 && stack.sequence_parallel;
        expect_near(stack, l, 0.06);
      }
    }
  }
};

TEST_F(LayoutAgreement, JoulesAreEqualWhereTimesAre) {
  // The host is late in every block, and never in the head, the loss and the optimizer.
  facts = transformer_facts(
      bind(load_model("transformer:layers=4,hidden=512,heads=8,seq=512,vocab=128256,dtype=bf16"),
           {{"batch", 1}}));
  ParallelLayout l;
  l.micro_batches = 3;
  const Ratio found = ratio(SoftwareStack{}, l);
  EXPECT_NEAR(found.time, 1, 1e-9);
  EXPECT_NEAR(found.energy, 1, 1e-9);
}

TEST_F(LayoutAgreement, ReplicasWithoutAPipeline) {
  for (const SoftwareStack& stack : software_stacks()) {
    for (int shard = 0; shard <= 3; ++shard) {
      for (const int data : {2, 16, 128}) {
        for (const int micro_batches : {1, 4}) {
          ParallelLayout l;
          l.data = data;
          l.shard = shard;
          l.micro_batches = micro_batches;
          expect_near(stack, l, 0.06);
        }
      }
    }
  }
}

TEST_F(LayoutAgreement, PipelinesWithAHeadOnTheLastStage) {
  for (const SoftwareStack& stack : software_stacks()) {
    for (const ScheduleKind kind :
         {ScheduleKind::one_f_one_b, ScheduleKind::gpipe, ScheduleKind::interleaved_1f1b,
          ScheduleKind::looped_bfs, ScheduleKind::zb_h1, ScheduleKind::zb_h2}) {
      expect_near_however_sharded(stack, kind);
    }
  }
}

TEST_F(LayoutAgreement, UnevenStagesAndFewMicroBatches) {
  // The head and the embedding on one rank, blocks that stages do not share evenly, and from as
  // many micro-batches as ranks on. Both play the same table: what differs is what comes once, and
  // transfers whose ways are in use.
  for (const int layers : {24, 32}) {
    facts =
        transformer_facts(bind(load_model("transformer:layers=" + std::to_string(layers) +
                                          ",hidden=4096,heads=32,seq=2048,vocab=128256,dtype=bf16"),
                               {{"batch", 1}}));
    for (const SoftwareStack& stack : software_stacks()) {
      for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_v,
                                      ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
        for (const int stages : {4, 8}) {
          const bool both_ways = kind == ScheduleKind::dualpipe || kind == ScheduleKind::dualpipe_v;
          for (const int rounds : {1, 2, 4, 9}) {
            if (both_ways && rounds < 2) continue;
            ParallelLayout l = pipeline(kind, stages, rounds * stages);
            l.tensor = 2;
            expect_near(stack, l, 0.02, 0.01);
          }
        }
      }
    }
  }
}

TEST_F(LayoutAgreement, ActivationsGoToTheHostBesideOtherMicroBatches) {
  // Either plays the same table with the same copies, be they much slower than compute.
  for (const SoftwareStack& stack : software_stacks()) {
    for (const ScheduleKind kind : kSchedules) {
      for (const double share : {0.25, 1.0}) {
        for (const int micro_batches : {8, 32}) {
          ParallelLayout l = pipeline(kind, 4, micro_batches);
          l.offload.activations = share;
          const Ratio found = ratio(stack, l);
          EXPECT_NEAR(found.time, 1, 0.02)
              << stack.name << ' ' << name_of(kind) << ' ' << micro_batches << ' ' << share;
          EXPECT_NEAR(found.memory, 1, 0.1)
              << stack.name << ' ' << name_of(kind) << ' ' << micro_batches << ' ' << share;
        }
      }
    }
  }
}

TEST_F(LayoutAgreement, DepthsThatStagesDoNotDivide) {
  // 37 and 43 blocks on 8 stages, or 16 of V shapes and interleaved ones.
  for (const char* layers : {"37", "43"}) {
    facts = facts_of("vocab=50304,", layers);
    for (const SoftwareStack& stack : software_stacks()) {
      for (const ScheduleKind kind : kSchedules) {
        for (const int rounds : {2, 5}) expect_near(stack, pipeline(kind, 8, 8 * rounds), 0.03);
      }
    }
  }
}

TEST_F(LayoutAgreement, PipelinesOfManyRanks) {
  // Of 64 and more ranks fewer micro-batches are played; stages are uneven, the head's weigh most.
  for (const int ranks : {64, 80, 128}) {
    facts = facts_of("vocab=128256,", std::to_string(ranks * 5 / 2));
    for (const char* name : {"megatron", "pytorch", "nanotron"}) {
      const SoftwareStack& stack = *find_stack(name);
      for (const ScheduleKind kind : kSchedules) {
        for (const double rounds : {1.5, 2.0, 5.0}) {
          const bool both_ways = kind == ScheduleKind::dualpipe || kind == ScheduleKind::dualpipe_v;
          if (both_ways && rounds < 2) continue;
          ParallelLayout l = pipeline(kind, ranks, int(rounds * ranks));
          expect_near(stack, l, 0.02, 0.01);
          l.data = 8;
          l.shard = ranks == 80 ? 3 : 1;
          if (rounds == 2) expect_near(stack, l, 0.02, 0.01);
        }
      }
    }
  }
}

// Rounds are longer than the ranks are many, and hold more: 28 % too little was told once.
TEST_F(LayoutAgreement, InterleavedRoundsOfMoreMicroBatchesThanRanks) {
  facts = facts_of("", "256");
  const SoftwareStack& stack = *find_stack("megatron");
  for (const int ranks : {8, 16, 64}) {
    for (const double rounds : {1.25, 1.75, 2.5, 3.0}) {
      ParallelLayout l = pipeline(ScheduleKind::interleaved_1f1b, ranks, int(rounds * ranks));
      l.virtual_stages = 4;
      expect_near(stack, l, 0.09, 0.01);
    }
  }
}

TEST_F(LayoutAgreement, AsManyMicroBatchesAsRanksAndSixteenTimesAsMany) {
  facts = facts_of("vocab=128256,", "100");
  const SoftwareStack& stack = *find_stack("megatron");
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v,
                                  ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
    const bool both_ways = kind == ScheduleKind::dualpipe || kind == ScheduleKind::dualpipe_v;
    for (const int rounds : {1, 16}) {
      const int least = both_ways ? std::max(2, rounds) : rounds;
      expect_near(stack, pipeline(kind, 96, least * 96), 0.01, 0.01);
    }
  }
}

TEST_F(LayoutAgreement, RanksWhoseTurnSavesTransfersAreTheFullest) {
  // 399 blocks and both ends on 160 stages: 3 on the first 81 of them, two of which lie on the last
  // rank, where the model turns: of its four passes two send nothing. In the long run that hides
  // more than the schedule waits for.
  facts = facts_of("vocab=128256,", "399");
  const SoftwareStack& stack = *find_stack("pytorch");
  ParallelLayout l = pipeline(ScheduleKind::zb_v, 80, 1280);
  l.tensor = 8;
  l.recompute = RecomputeRule::full;
  expect_near(stack, l, 0.005, 0.01);
}

TEST_F(LayoutAgreement, SchedulesThatEndWithWeightsHoweverSharded) {
  // Their last reductions run beside the passes for weights of a rank's other stage.
  for (const int layers : {7, 18, 33}) {
    facts = facts_of("vocab=128256,", std::to_string(layers));
    for (const SoftwareStack& stack : software_stacks()) {
      for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v,
                                      ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
        for (int shard = 0; shard <= 3; ++shard) {
          ParallelLayout l = pipeline(kind, 4, 8);
          l.data = 8;
          l.shard = shard;
          expect_near(stack, l, 0.02, 0.01);
        }
      }
    }
  }
}

TEST_F(LayoutAgreement, FoldedAndDoubledPipelinesOfEqualStages) {
  // Without a head.
  facts.outside = {};
  facts.logits_elements = 0;
  for (const SoftwareStack& stack : software_stacks()) {
    for (const ScheduleKind kind :
         {ScheduleKind::zb_v, ScheduleKind::dualpipe, ScheduleKind::dualpipe_v}) {
      expect_near_however_sharded(stack, kind);
    }
  }
}

TEST_F(LayoutAgreement, FoldedAndDoubledPipelinesOfASmallModelWithAHead) {
  // Whose head weighs as much as half of its blocks, and the allocator as much as its activations.
  facts = transformer_facts(
      bind(load_model("transformer:layers=8,hidden=1024,heads=16,seq=1024,vocab=50304,dtype=bf16"),
           {{"batch", 1}}));
  for (const SoftwareStack& stack : software_stacks()) {
    for (const ScheduleKind kind : {ScheduleKind::zb_v, ScheduleKind::dualpipe}) {
      ParallelLayout l = pipeline(kind, 4, 32);
      l.data = 4;
      l.shard = 1;
      expect_near(stack, l, 0.06);
    }
  }
}

TEST_F(LayoutAgreement, StatesThatComeForTheStep) {
  // They lie where activations of all micro-batches in flight lay.
  for (const SoftwareStack& stack : software_stacks()) {
    for (const int stages : {1, 4}) {
      for (const int shard : {0, 1, 3}) {
        for (const double share : {0.5, 1.0}) {
          ParallelLayout l = pipeline(ScheduleKind::one_f_one_b, stages, 32);
          l.data = 8;
          l.shard = shard;
          l.offload = {.optimizer = share, .fetched = true};
          expect_near(stack, l, 0.06);
        }
      }
    }
  }
}

TEST_F(LayoutAgreement, WhatDoesNotHideIsWaitedFor) {
  // ZeRO-3 of one rank: gathers in each pass, and a share of each holds compute up.
  ParallelLayout l;
  l.data = 16;
  l.shard = 3;
  l.micro_batches = 2;
  const SoftwareStack& stack = *find_stack("pytorch");
  StepWork work = layout_work(layout_stages(facts, device, stack, l, p), l, device);
  EXPECT_NEAR(work.gather_hides, p.gather_overlap, 1e-12);
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::one_f_one_b, 1, 1, 2)};
  const double waits_s = simulate(work, schedules).step_time_s;
  double moved_s = 0;
  for (const LayerGroup& group : work.stages[0].groups) {
    moved_s += 2 * (2 * group.gather_s + group.reduce_s);
  }
  work.gather_hides = work.reduce_hides = 1;
  const double free_s = simulate(work, schedules).step_time_s;
  EXPECT_NEAR(waits_s - free_s, (1 - p.gather_overlap) * moved_s, 0.1 * moved_s);
}

}  // namespace
}  // namespace parallel_opt
