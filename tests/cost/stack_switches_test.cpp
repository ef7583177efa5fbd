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

TEST_F(StackSwitches, TensorRanksMayShareWhatRecomputedBlocksKeep) {
  ParallelLayout l;
  l.tensor = 4;
  l.recompute = RecomputeRule::full;
  const LayoutCost whole = cost(l);
  stack.splits_kept = true;
  const LayoutCost shared = cost(l);
  // 32 inputs of 2048 x 4096 in 2 bytes, of which a quarter stays.
  const double input = 2.0 * 2048 * 4096;
  EXPECT_NEAR(whole.activations_bytes - shared.activations_bytes, 32 * 0.75 * input, 1);
  // As sequence parallelism has them already; which gathers them with its products.
  EXPECT_GT(shared.recompute_s, whole.recompute_s);
  l.sequence_parallel = true;
  const LayoutCost sequence = cost(l);
  stack.splits_kept = false;
  EXPECT_EQ(cost(l).activations_bytes, sequence.activations_bytes);
  EXPECT_EQ(cost(l).time_s(), sequence.time_s());
  // Without tensor ranks there is nobody to share with.
  l.sequence_parallel = false;
  l.tensor = 1;
  const LayoutCost alone = cost(l);
  stack.splits_kept = true;
  EXPECT_EQ(cost(l).activations_bytes, alone.activations_bytes);
  EXPECT_EQ(cost(l).time_s(), alone.time_s());
}

TEST_F(StackSwitches, SegmentsThatExpandLeaveNoGaps) {
  const LayoutCost gaps = cost({});
  stack.expands_segments = true;
  EXPECT_NEAR(cost({}).unused_bytes, p.reserve_bytes, 1);
  EXPECT_NEAR(gaps.unused_bytes - p.reserve_bytes,
              (p.fragmentation - 1) * (gaps.activations_bytes + gaps.logits_bytes), 1);
}

TEST_F(StackSwitches, ACompilerPutsTwoBuffersWhereOneIsDead) {
  ParallelLayout l;
  l.recompute = RecomputeRule::full;
  const LayoutCost apart = cost(l);
  stack.plans_memory = true;
  const LayoutCost shared = cost(l);
  l.recompute = RecomputeRule::none;
  EXPECT_EQ(apart.activations_bytes, shared.activations_bytes);  // tensors live as long
  const double block = apart.unused_bytes - shared.unused_bytes;
  EXPECT_GT(block, 0);  // at most the logits, whose place a recomputed block takes
  EXPECT_LE(block, shared.logits_bytes * p.fragmentation * (1 + 1e-9));
  EXPECT_EQ(apart.logits_bytes, shared.logits_bytes);
}

TEST_F(StackSwitches, WeightsThatAreCastHaveNoSecondCopy) {
  ParallelLayout l;
  l.data = 8;
  l.shard = 3;
  const LayoutCost two = cost(l);
  stack.casts_weights = true;
  const LayoutCost one = cost(l);
  EXPECT_NEAR(one.weights_bytes, 2 * two.weights_bytes, 1);  // 4 bytes each
  EXPECT_NEAR(one.optimizer_bytes, two.optimizer_bytes * 8 / 12, 1);
  l.pure_half = true;  // nothing is cast
  EXPECT_NEAR(cost(l).weights_bytes, two.weights_bytes, 1);
}

TEST_F(StackSwitches, FsdpKeepsItsOwnPartBesideGatheredWeights) {
  ParallelLayout l;
  l.data = 8;
  l.shard = 2;
  const double masters = cost(l).weights_bytes;  // in fp32 among the states
  l.pure_half = true;
  EXPECT_EQ(cost(l).weights_bytes, masters);
  stack.shards_blocks = true;
  EXPECT_NEAR(cost(l).weights_bytes, masters * 9 / 8, 1);
  l.shard = 3;
  EXPECT_NEAR(cost(l).weights_bytes, masters / 8, 1);  // gathered block by block
  l.shard = 2;
  l.pure_half = false;
  EXPECT_EQ(cost(l).weights_bytes, masters);
}

TEST_F(StackSwitches, WeightsGatheredForOneProductTakeLessRoom) {
  ParallelLayout l;
  l.data = 8;
  l.shard = 3;
  const double block = cost(l).other_bytes;
  stack.gathers_tensors = true;
  // Of 12 h^2 elements in a block the largest product has 4 h^2; two are there, 2 bytes each.
  EXPECT_NEAR(block - cost(l).other_bytes, 2 * 2 * 8 * 4096.0 * 4096, 0.04 * block);
}

}  // namespace
}  // namespace parallel_opt
