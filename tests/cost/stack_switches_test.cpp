#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

/// What no stack's file sets but a row's notes may.
class StackSwitches : public testing::LayoutFixture {};

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
