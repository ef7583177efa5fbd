#include <gtest/gtest.h>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

/// A GPT of 32 blocks on A100s, with what no stack's file sets but a row's notes may.
class StackSwitches : public ::testing::Test {
 protected:
  TransformerFacts dense = transformer_facts(
      bind(load_model("transformer:layers=32,hidden=4096,heads=32,seq=2048,dtype=bf16"),
           {{"batch", 1}}));
  Accelerator a100 = *accelerator_of(*find_device(load_database(), "A100-SXM-80GB"), "bf16");
  SoftwareStack stack = *find_stack("megatron");
  LayoutParameters p = layout_parameters();

  LayoutCost cost(const ParallelLayout& l) const { return layout_cost(dense, a100, stack, l, p); }
};

TEST_F(StackSwitches, GradientsThatWaitForTheLastMicroBatchStayWhole) {
  ParallelLayout l;
  l.data = 8;
  l.shard = 3;
  l.micro_batches = 4;
  stack.reduced_bytes = 4;
  stack.gradient_bytes = 2;
  const LayoutCost each = cost(l);
  stack.reduces_once = true;
  const LayoutCost once = cost(l);
  EXPECT_NEAR(once.gradients_bytes, each.gradients_bytes * 8 * 4 / 2, 1);
  EXPECT_EQ(once.optimizer_bytes, each.optimizer_bytes);
  l.micro_batches = 1;  // there is nothing to wait for
  EXPECT_EQ(cost(l).gradients_bytes, each.gradients_bytes);
}

TEST_F(StackSwitches, GradientsThatWaitTravelOnce) {
  // Nothing hides: of four micro-batches the weights travel eight times, gradients four or once.
  ParallelLayout l;
  l.data = 64;
  l.shard = 3;
  l.micro_batches = 4;
  stack.overlaps_shards = false;
  const double each = cost(l).data_s;
  stack.reduces_once = true;
  const double once = cost(l).data_s;
  l.micro_batches = 1;
  const double one = cost(l).data_s;  // two gathers and one exchange
  EXPECT_NEAR(each, 4 * one, 1e-9);
  l.micro_batches = 2;
  const double gathers = cost(l).data_s - one;  // of one more micro-batch
  EXPECT_NEAR(once, one + 3 * gathers, 1e-9);
  EXPECT_LT(once, each);
}

TEST_F(StackSwitches, LogitsMayBeWholeOnEveryTensorRank) {
  ParallelLayout l;
  l.tensor = 4;
  const LayoutCost split = cost(l);
  stack.whole_logits = true;
  EXPECT_NEAR(cost(l).logits_bytes, 4 * split.logits_bytes, 1);
  EXPECT_GT(cost(l).head_s, split.head_s);
}

TEST_F(StackSwitches, SegmentsThatExpandLeaveNoGaps) {
  const LayoutCost gaps = cost({});
  stack.expands_segments = true;
  EXPECT_NEAR(cost({}).unused_bytes, p.reserve_bytes, 1);
  EXPECT_NEAR(gaps.unused_bytes - p.reserve_bytes,
              (p.fragmentation - 1) * (gaps.activations_bytes + gaps.logits_bytes), 1);
}

}  // namespace
}  // namespace parallel_opt
