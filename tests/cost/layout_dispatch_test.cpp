#include <gtest/gtest.h>

#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

/// Tokens on their way to experts, beside what else there is to compute.
class LayoutDispatch : public testing::LayoutFixture {
 protected:
  LayoutDispatch() {
    l.data = l.expert = 8;
    l.micro_batches = 16;
    p.host_s = p.host_fused_s = 0;  // nothing waits for launches
  }
  LayoutCost of_mixture() const { return layout_cost(mixture, h100, stack, l, p); }
  LayoutCost beside() {
    stack.overlaps_experts = true;
    return of_mixture();
  }

  ParallelLayout l;
};

TEST_F(LayoutDispatch, AnotherMicroBatchHidesAsMuchAsCollectivesOverlap) {
  const LayoutCost waits = of_mixture(), hidden = beside();
  EXPECT_GT(waits.expert_s, 0);
  EXPECT_NEAR(hidden.expert_s / waits.expert_s, 1 - p.gather_overlap, 1e-9);
  EXPECT_EQ(hidden.products_s, waits.products_s);
  EXPECT_EQ(hidden.operators_s, waits.operators_s);
}

TEST_F(LayoutDispatch, NoMoreHidesThanThereIsToCompute) {
  // Over a network so slow that blocks end long before their tokens are there.
  l.data = l.expert = 16;
  h100.network_bytes_per_s = 1e8;
  const LayoutCost waits = of_mixture(), hidden = beside();
  const double computes = hidden.products_s + hidden.attention_s + hidden.operators_s;
  EXPECT_GT(hidden.expert_s, 0.5 * waits.expert_s);
  EXPECT_LE(waits.expert_s - hidden.expert_s, computes * (1 + 1e-9));
}

TEST_F(LayoutDispatch, OneMicroBatchHasNoOther) {
  l.micro_batches = 1;
  const double waits = of_mixture().expert_s;
  EXPECT_EQ(beside().expert_s, waits);
}

TEST_F(LayoutDispatch, PipelinesIdleNoLongerForIt) {
  l.pipeline = 4;
  for (const auto& [kind, chunks] : {std::pair{ScheduleKind::one_f_one_b, 1},
                                     {ScheduleKind::interleaved_1f1b, 2},
                                     {ScheduleKind::gpipe, 1}}) {
    l.schedule = kind;
    l.virtual_stages = chunks;
    stack.overlaps_experts = false;
    const LayoutCost waits = of_mixture(), hidden = beside();
    EXPECT_NEAR(hidden.expert_s / waits.expert_s, 1 - p.gather_overlap, 1e-9) << int(kind);
    EXPECT_LE(hidden.bubble_s, waits.bubble_s) << int(kind);
    EXPECT_LT(hidden.time_s(), waits.time_s()) << int(kind);
  }
}

TEST_F(LayoutDispatch, DualPipeHidesItWhateverTheSoftwareDoes) {
  l.pipeline = 4;
  l.schedule = ScheduleKind::dualpipe_v;
  const double by_schedule = of_mixture().expert_s;
  EXPECT_EQ(beside().expert_s, by_schedule);
}

TEST_F(LayoutDispatch, StagesTellWhatRunsBesideTheirCompute) {
  l.pipeline = 2;
  const auto moved = [&](bool hides) {
    stack.overlaps_experts = hides;
    return layout_stages(mixture, h100, stack, l, p).stages.front();
  };
  const LayoutStage waits = moved(false), hidden = moved(true);
  constexpr auto kKind = Communication::all_to_all;
  EXPECT_EQ(waits.forward_beside[kKind], 0);
  EXPECT_GT(hidden.forward_beside[kKind], 0);
  // None is lost: what no longer shows runs beside.
  EXPECT_NEAR(hidden.forward_beside[kKind] + hidden.forward_moves[kKind],
              waits.forward_moves[kKind], 1e-9 * waits.forward_moves[kKind]);
  EXPECT_NEAR(hidden.backward_beside[kKind] + hidden.backward_moves[kKind],
              waits.backward_moves[kKind], 1e-9 * waits.backward_moves[kKind]);
}

TEST_F(LayoutDispatch, CastsThatKernelsMakeTakeNoPassesOfTheirOwn) {
  const Accelerator narrow = named("H100-SXM-80GB", "fp8");
  const auto operators = [&](const Accelerator& device, bool fused) {
    stack.fused_casts = fused;
    return layout_cost(mixture, device, stack, l, p).operators_s;
  };
  EXPECT_NEAR(operators(narrow, true), operators(h100, true), 1e-9);
  EXPECT_NEAR(operators(narrow, false), 1.5 * operators(narrow, true), 1e-9);
  EXPECT_EQ(operators(h100, false), operators(h100, true));  // nothing to cast
}

}  // namespace
}  // namespace parallel_opt
