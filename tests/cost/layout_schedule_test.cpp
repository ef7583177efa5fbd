#include <gtest/gtest.h>

#include <algorithm>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

TransformerFacts stack_of_blocks(const std::string& spec) {
  return transformer_facts(bind(
      load_model("transformer:hidden=1024,heads=16,seq=1024,dtype=bf16," + spec), {{"batch", 1}}));
}

/// 32 equal blocks and nothing else; transfers are free.
class LayoutSchedules : public ::testing::Test {
 protected:
  LayoutSchedules() {
    facts.outside = {};
    facts.logits_elements = facts.embedding_parameters = 0;
    p.send = 0;
  }
  LayoutCost cost(ScheduleKind kind, int stages, double micro_batches) const {
    ParallelLayout l;
    l.pipeline = stages;
    l.micro_batches = micro_batches;
    l.schedule = kind;
    return layout_cost(facts, device, stack, l, p);
  }

  TransformerFacts facts = stack_of_blocks("layers=32");
  Accelerator device = *accelerator_of(*find_device(load_database(), "A100-SXM-80GB"), "bf16");
  const SoftwareStack& stack = *find_stack("megatron");
  LayoutParameters p = layout_parameters();
};

TEST_F(LayoutSchedules, BubblesAreTheTextbooks) {
  // Of one stage and micro-batch: F forward, B backward, W = the products once more.
  p.host_s = p.host_fused_s = 0;
  const double m = 32;
  for (const int stages : {4, 8}) {
    const LayoutCost plain = cost(ScheduleKind::one_f_one_b, stages, m);
    const double f = plain.forward_s, b = plain.backward_s, w = plain.products_s / 3 / m;
    const auto bubble = [&](ScheduleKind kind) { return cost(kind, stages, m).bubble_s; };
    const double rest = stages - 1;
    EXPECT_NEAR(plain.bubble_s, rest * (f + b), 1e-9);
    EXPECT_NEAR(bubble(ScheduleKind::gpipe), rest * (f + b), 1e-9);
    EXPECT_NEAR(bubble(ScheduleKind::zb_h1), rest * (f + b - 2 * w), 1e-9);
    // Of all ranks from the first forward on [docs/simulate.md].
    const double i = b - w;
    EXPECT_NEAR(bubble(ScheduleKind::zb_h2), rest * std::max(f, f + i - 2 * std::min(f, w)), 1e-9);
    EXPECT_GE(bubble(ScheduleKind::zb_v), rest * (f + b - 3 * w) - 1e-9);
    EXPECT_LE(bubble(ScheduleKind::zb_v), bubble(ScheduleKind::zb_h2) + 1e-9);
    const auto pairs = [&](double k) {
      return k * (f + i + std::max(f, i) - std::min(i, w)) - std::min(f, k * std::max(0.0, i - f));
    };
    EXPECT_NEAR(bubble(ScheduleKind::dualpipe), pairs(stages / 2.0 - 1), 1e-9);
    EXPECT_NEAR(bubble(ScheduleKind::dualpipe_v), pairs(rest) / 2, 1e-9);
  }
}

TEST_F(LayoutSchedules, FewMicroBatchesStillPassAllStages) {
  p.host_s = p.host_fused_s = p.step_s = p.straggle = 0;
  const LayoutCost one = cost(ScheduleKind::one_f_one_b, 1, 1);
  const double f = one.forward_s, b = one.backward_s, w = one.products_s / 3;  // of all stages
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::looped_bfs,
                                  ScheduleKind::interleaved_1f1b, ScheduleKind::one_f_one_b}) {
    ParallelLayout l;
    l.pipeline = 4;
    l.virtual_stages = kind == ScheduleKind::gpipe || kind == ScheduleKind::one_f_one_b ? 1 : 4;
    l.schedule = kind;
    const LayoutCost c = layout_cost(facts, device, stack, l, p);
    EXPECT_NEAR(c.bubble_s, (f + b) * 3 / 4, 1e-9) << int(kind);
  }
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2, ScheduleKind::zb_v}) {
    // The last stage's own pass for weights ends the step.
    EXPECT_NEAR(cost(kind, 4, 1).bubble_s, (f + b - w) * 3 / 4, 1e-9) << int(kind);
  }
  // As many as there are ranks: ZB-H1 has its usual bubble, a V that of half stages both ways.
  const double i = b - w, usual = std::max(f, f + i - std::min(f, w)) * 3 / 4;
  EXPECT_NEAR(cost(ScheduleKind::zb_h1, 4, 4).bubble_s, usual, 1e-9);
  EXPECT_NEAR(cost(ScheduleKind::zb_v, 4, 4).bubble_s, std::max(i, (f + i) / 2) * 3 / 4, 1e-9);
  // ZB-H2 has nothing to fill the gaps of its longer beginning with.
  EXPECT_GE(cost(ScheduleKind::zb_h2, 4, 4).bubble_s, usual - 1e-9);
  EXPECT_LE(cost(ScheduleKind::zb_h2, 4, 4).bubble_s, (f + i) * 3 / 4 + 1e-9);
}

TEST_F(LayoutSchedules, InterleavedStagesHoldNoMoreThanThereIs) {
  const auto held = [&](double micro_batches, int stages) {
    ParallelLayout l;
    l.pipeline = 4;
    l.virtual_stages = stages;
    l.micro_batches = micro_batches;
    l.schedule = ScheduleKind::interleaved_1f1b;
    return layout_cost(facts, device, stack, l, p).activations_bytes;
  };
  const double all = cost(ScheduleKind::gpipe, 4, 4).activations_bytes;
  EXPECT_NEAR(held(4, 2), all, 1e-9 * all);                  // whole: 4 micro-batches
  EXPECT_NEAR(held(8, 2), all / 4 * (4 + 1.5), 1e-9 * all);  // p + (p - 1) / v [narayanan2021]
  EXPECT_NEAR(held(64, 2), held(8, 2), 1e-9 * all);
}

TEST_F(LayoutSchedules, MoreTokensAreNeverFasterWhereTheHostIsWaitedFor) {
  // The pass for weights is launched as late as all else: it fills no more of the bubble because
  // its kernels are longer.
  p.host_s = p.host_fused_s = 0.1;
  const auto seconds = [&](ScheduleKind kind, double micro_batch) {
    ParallelLayout l;
    l.pipeline = 4;
    l.micro_batches = 8;
    l.micro_batch = micro_batch;
    l.schedule = kind;
    return layout_cost(facts, device, stack, l, p).time_s();
  };
  for (const ScheduleKind kind : {ScheduleKind::zb_h1, ScheduleKind::zb_h2}) {
    EXPECT_GE(seconds(kind, 2) * (1 + 1e-12), seconds(kind, 1)) << int(kind);
  }
  // A V's fixed order may fit one share of the weights' part a little better than another.
  EXPECT_GE(seconds(ScheduleKind::zb_v, 2), 0.998 * seconds(ScheduleKind::zb_v, 1));
}

TEST_F(LayoutSchedules, HoldAsMuchAsTheirPapersSay) {
  // Of 16 micro-batches on 4 stages of 8 blocks, in activations of one whole model.
  const double one = cost(ScheduleKind::one_f_one_b, 1, 1).activations_bytes;
  const auto held = [&](ScheduleKind kind) { return cost(kind, 4, 16).activations_bytes / one; };
  EXPECT_NEAR(held(ScheduleKind::one_f_one_b), 1, 1e-9);     // p of a p-th
  EXPECT_NEAR(held(ScheduleKind::zb_h1), 1, 1e-9);           // likewise
  EXPECT_NEAR(held(ScheduleKind::zb_v), 1, 1e-9);            // likewise, on every rank
  EXPECT_NEAR(held(ScheduleKind::zb_h2), 7 / 4.0, 1e-9);     // 2 p - 1
  EXPECT_NEAR(held(ScheduleKind::dualpipe), 5 / 4.0, 1e-9);  // p + 1
  EXPECT_NEAR(held(ScheduleKind::gpipe), 4, 1e-9);           // all
  const LayoutCost plain = cost(ScheduleKind::one_f_one_b, 4, 16);
  const LayoutCost twice = cost(ScheduleKind::dualpipe, 4, 16);
  EXPECT_NEAR(twice.weights_bytes, 2 * plain.weights_bytes, 1);  // the model is there twice
}

TEST_F(LayoutSchedules, DualPipeRunsExpertsTrafficBesideCompute) {
  const TransformerFacts mixture = stack_of_blocks("layers=8,experts=64,top_k=8,expert_ffn=512");
  ParallelLayout l;
  l.pipeline = 4;
  l.data = l.expert = 16;
  l.micro_batches = 32;
  const double plain = layout_cost(mixture, device, stack, l, p).expert_s;
  l.schedule = ScheduleKind::dualpipe;
  const double hidden = layout_cost(mixture, device, stack, l, p).expert_s;
  EXPECT_GT(plain, 0);
  EXPECT_LT(hidden, plain);
  EXPECT_GE(hidden, plain * (1 - p.gather_overlap) - 1e-12);
}

TEST_F(LayoutSchedules, DepthsTwoShortOfEqualStagesGiveTheEndsOneLess) {
  // 14 blocks and the two ends on 4 stages: 3 + 4 + 4 + 3, as 126 of Llama 3 on 16. Cut from the
  // front as far as they go it were 4 + 4 + 4 + 2.
  facts = stack_of_blocks("layers=14");
  facts.outside = {};
  facts.logits_elements = facts.embedding_parameters = 0;
  const LayoutCost one = cost(ScheduleKind::one_f_one_b, 1, 1);
  const LayoutCost cut = cost(ScheduleKind::one_f_one_b, 4, 16);
  EXPECT_NEAR(cut.products_s, 16 * one.products_s * 4 / 14, 1e-9);
  // The second stage is the fullest: three micro-batches in flight of four blocks; the first holds
  // four of three.
  EXPECT_NEAR(cut.activations_bytes, one.activations_bytes * 12 / 14, 1);
  EXPECT_NEAR(cut.weights_bytes, one.weights_bytes * 4 / 14, 1);
  facts = stack_of_blocks("layers=15");  // one short: the head alone stands for a block
  facts.outside = {};
  facts.logits_elements = facts.embedding_parameters = 0;
  const LayoutCost whole = cost(ScheduleKind::one_f_one_b, 1, 1);
  EXPECT_NEAR(cost(ScheduleKind::one_f_one_b, 4, 16).activations_bytes,
              whole.activations_bytes * 16 / 15, 1);
}

TEST_F(LayoutSchedules, DepthsThatStagesDoNotDivideLeaveNoneEmpty) {
  // 36 blocks and the two ends on 16 stages: 2 + 5 x 3 + 9 x 2 + 1. The fullest has 3 of 36, and
  // holds what 15 micro-batches in flight keep of them.
  facts = stack_of_blocks("layers=36");
  facts.outside = {};
  facts.logits_elements = facts.embedding_parameters = 0;
  p.host_s = p.host_fused_s = 0;
  const LayoutCost one = cost(ScheduleKind::one_f_one_b, 1, 1);
  const LayoutCost cut = cost(ScheduleKind::one_f_one_b, 16, 96);
  EXPECT_NEAR(cut.weights_bytes, one.weights_bytes * 3 / 36, 1);
  EXPECT_NEAR(cut.activations_bytes, one.activations_bytes * 15 * 3 / 36, 1);
  // All pass 36 blocks, and the fullest 95 times its own 3: those behind it are faster than what
  // it has in flight meanwhile, so that it waits for its first and last micro-batch alone, as the
  // sixth stage does (15 + 9 x 2 + 1 blocks around its own, 10 of 3 in flight).
  const double block_s = (cut.forward_s + cut.backward_s) / 3;
  const double forward_s = cut.forward_s / 3, backward_s = cut.backward_s / 3;
  const double ahead = 2 + 4 * 3, behind = 9 * 2 + 1, in_flight = 10;
  const double waits_s = ahead * block_s +
                         std::max(0.0, behind * block_s - in_flight * 3 * forward_s) +
                         std::max(0.0, behind * block_s - in_flight * 3 * backward_s);
  EXPECT_NEAR(cut.bubble_s, waits_s, 1e-9);
}

TEST_F(LayoutSchedules, ModelsShallowerThanTheirPipelineKeepAllTheirBlocks) {
  for (const int layers : {1, 2, 3, 5, 7, 9, 11, 13}) {
    facts = stack_of_blocks("layers=" + std::to_string(layers));
    for (const SoftwareStack& one : software_stacks()) {
      for (const int virtual_stages : {1, 2}) {
        ParallelLayout l;
        l.pipeline = 8;
        l.micro_batches = 16;
        l.virtual_stages = virtual_stages;
        if (virtual_stages > 1) l.schedule = ScheduleKind::interleaved_1f1b;
        double sum = 0;
        for (const LayoutStage& stage : layout_stages(facts, device, one, l, p).stages) {
          EXPECT_GE(stage.layers, 0);
          sum += stage.layers;
        }
        EXPECT_NEAR(sum, layers, 1e-9) << one.name << ' ' << virtual_stages;
      }
    }
  }
}

}  // namespace
}  // namespace parallel_opt
