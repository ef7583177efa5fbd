#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

/// Who holds, splits and exchanges what.
class LayoutShares : public testing::LayoutFixture {};

TEST_F(LayoutShares, TensorRanksMaySplitSpreadExperts) {
  // Experts 4 ways, each of them over 2 ranks of 4: an eighth of the parameters, held twice by 16
  // ranks, so master weights and Adam's states are a sixteenth of 12 bytes.
  ParallelLayout l{.tensor = 4, .expert = 4, .expert_tensor = 2, .data = 4, .shard = 1};
  const double experts = 8 * mixture.blocks.front().expert_parameters;
  const double others = mixture.parameters - experts;
  const auto cost = [&] { return layout_cost(mixture, h100, stack, l, p); };
  EXPECT_NEAR(cost().optimizer_bytes / (12 * (others / 4 / 4 + experts / 16)), 1, 1e-9);
  EXPECT_NEAR(cost().weights_bytes / (2 * (others / 4 + experts / 8)), 1, 1e-9);
  const double split = cost().expert_s;
  // Nothing but arithmetic takes as long as with whole experts.
  p.kernel_s = p.inner_half = p.wave = 0;
  h100.bytes_per_s = 1e30;
  const double products = cost().products_s;
  l.expert_tensor = 1;
  EXPECT_NEAR(cost().products_s / products, 1, 1e-9);
  // Two ranks gather each other's tokens and scatter the sums: more to move.
  h100 = named("H100-SXM-80GB");
  EXPECT_GT(split, cost().expert_s);
}

TEST_F(LayoutShares, ExpertsOfATensorGroupLieInOneNode) {
  // Experts 8 ways on 32 ranks: 8 neighbours, no network. Split by all 4 ranks of a tensor
  // group, the 8 parts lie 4 apart, two to a node.
  ParallelLayout l{.tensor = 4, .expert = 8, .data = 8};
  const double inside = layout_cost(mixture, h100, stack, l, p).expert_s;
  h100.network_bytes_per_s /= 10;
  EXPECT_EQ(layout_cost(mixture, h100, stack, l, p).expert_s, inside);
  l.expert_tensor = 4;
  const double slow = layout_cost(mixture, h100, stack, l, p).expert_s;
  h100.network_bytes_per_s *= 10;
  EXPECT_LT(layout_cost(mixture, h100, stack, l, p).expert_s, slow);
}

TEST_F(LayoutShares, HybridShardsSumTheirPartsWithTheirLike) {
  // 64 replicas that share by nodes of 8, nothing hidden, no hops: weights are gathered twice and
  // gradients scattered inside a node; an eighth of them is summed among 8 by network.
  stack.overlaps_shards = false;
  p.hop_s = p.link_latency_s = p.network_latency_s = 0;
  const ParallelLayout l{.data = 64, .shard = 3, .shard_degree = 8};
  const double inside = h100.links.among(8) * p.link_efficiency;
  const double network = h100.network_bytes_per_s * p.network_efficiency;
  const double each = dense.parameters / 8;
  EXPECT_NEAR(layout_cost(dense, h100, stack, l, p).data_s,
              7 * each * (2 * 2 + stack.reduced_bytes) / inside +
                  2 * 7.0 / 8 * each * stack.reduced_bytes / network,
              1e-6);
}

TEST_F(LayoutShares, WeightsOfNarrowProductsMayTravelNarrow) {
  // 16 replicas on 2 nodes, ZeRO-1, nothing hidden: half the bytes to gather, as many to scatter.
  stack.overlaps_data = stack.overlaps_gathers = false;
  p.hop_s = 0;
  const ParallelLayout l{.data = 16, .shard = 1};
  const Accelerator narrow = named("H100-SXM-80GB", "fp8");
  const auto exchange = [&](bool gathers_narrow) {
    stack.gathers_narrow = gathers_narrow;
    return layout_cost(dense, narrow, stack, l, p).data_s;
  };
  const double gather = exchange(false) - exchange(true);
  EXPECT_NEAR(gather / exchange(false), 1.0 / (2 + stack.reduced_bytes), 1e-9);
  EXPECT_EQ(layout_cost(dense, h100, stack, l, p).data_s, exchange(false));
}

TEST_F(LayoutShares, HeadsStayIn16BitsWhereBlocksAreNarrow) {
  // Nothing but arithmetic: blocks at the rate of 8 bits, the head as without.
  p.kernel_s = p.inner_half = p.wave = p.pass = 0;
  p.narrow_efficiency = 1;
  const auto of = [&](const char* dtype) {
    Accelerator one = named("H100-SXM-80GB", dtype);
    one.bytes_per_s = 1e30;
    return layout_cost(dense, one, stack, {}, p);
  };
  EXPECT_NEAR(of("fp8").products_s / of("bf16").products_s, 0.5, 1e-3);
  EXPECT_NEAR(of("fp8").head_s / of("bf16").head_s, 1, 1e-9);
}

}  // namespace
}  // namespace parallel_opt
