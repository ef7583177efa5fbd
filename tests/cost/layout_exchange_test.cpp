#include <cmath>

#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

class LayoutExchange : public testing::LayoutFixture {};

TEST_F(LayoutExchange, ExpertsAreExchangedBetweenNodesByOneAdapterEach) {
  // Experts spread over the eight devices of a node: each has one replica in the other node, and an
  // adapter of its own to reach it. Replicas that lie in one node would share its links instead.
  stack.overlaps_data = stack.overlaps_gathers = false;
  p.hop_s = p.network_latency_s = 0;
  for (BlockFacts& block : mixture.blocks) block.dense_parameters = 0;
  mixture.outside.dense_parameters = mixture.embedding_parameters = 0;
  const ParallelLayout l{.expert = 8, .data = 16, .shard = 0};
  double experts = 0;
  for (const BlockFacts& block : mixture.blocks) {
    experts += block.repeats * block.expert_parameters;
  }
  // An all-reduce of two ranks moves all of its bytes once, there and back: 2 (n - 1) / n = 1.
  const double rate = h100.network_bytes_per_s * p.network_efficiency;
  EXPECT_NEAR(layout_cost(mixture, h100, stack, l, p).data_s,
              experts / 8 * stack.reduced_bytes / rate, 1e-6);
}

TEST_F(LayoutExchange, WhatIsReducedOncePerStepHidesBehindItsLastBackward) {
  // Slow wires: more micro-batches before the last one hide no more of it.
  stack = *find_stack("torchtitan");
  h100.network_bytes_per_s /= 20;
  const auto exposed = [&](int shard, double micro_batches) {
    const ParallelLayout l{.data = 16, .shard = shard, .micro_batches = micro_batches};
    return layout_cost(mixture, h100, stack, l, p).data_s;
  };
  EXPECT_GT(exposed(1, 1), 0);
  EXPECT_NEAR(exposed(1, 8), exposed(1, 1), 1e-9);
  // ZeRO-2 reduces after every backward.
  EXPECT_GT(exposed(2, 8), 4 * exposed(2, 1));
}

TEST_F(LayoutExchange, GradientsHeldInShardsAreReducedWithEachMicroBatch) {
  // Nothing hidden: eight micro-batches send eight times what one does, and gathers stay one.
  for (const SoftwareStack& each : software_stacks()) {
    stack = each;
    stack.overlaps_data = stack.overlaps_gathers = stack.overlaps_shards = false;
    const auto of = [&](int shard, double micro_batches, int pipeline = 1) {
      const ParallelLayout l{
          .pipeline = pipeline, .data = 8, .shard = shard, .micro_batches = micro_batches};
      return layout_cost(dense, h100, stack, l, p);
    };
    const double reduced = of(1, 8).data_s, gathered = of(2, 1).data_s;
    EXPECT_NEAR(reduced, of(1, 1).data_s, 1e-9) << stack.name;
    EXPECT_GT(of(2, 8).data_s, 3 * gathered) << stack.name;
    EXPECT_LT(of(2, 8).gradients_bytes, of(1, 8).gradients_bytes) << stack.name;
    // Pipelines let them accumulate whole, and send once: ZeRO-2 and 3 are no less than ZeRO-1.
    const LayoutCost one = of(1, 8, 4), two = of(2, 8, 4), three = of(3, 8, 4);
    EXPECT_NEAR(two.data_s, one.data_s, 1e-9) << stack.name;
    EXPECT_EQ(two.gradients_bytes, one.gradients_bytes) << stack.name;
    EXPECT_EQ(three.gradients_bytes, one.gradients_bytes) << stack.name;
    // FSDP under no_sync does so without a pipeline too.
    stack.reduces_once = true;
    EXPECT_EQ(of(2, 8).gradients_bytes / stack.reduced_bytes,
              of(1, 8).gradients_bytes / stack.gradient_bytes)
        << stack.name;
  }
}

TEST_F(LayoutExchange, StagesOfOneNodeShareItsAdaptersWithNoOthers) {
  // Four stages of four ranks on two nodes of eight: four ranks send through what they have.
  const auto sent = [&](double adapters, int data) {
    h100.adapters = adapters;
    return layout_cost(dense, h100, stack, {.pipeline = 4, .data = data, .micro_batches = 4}, p)
        .pipeline_s;
  };
  p.network_latency_s = 0;
  const double own = sent(8, 4);  // one each
  EXPECT_EQ(sent(0, 4), own);
  EXPECT_EQ(sent(32, 4), own);  // a message takes one
  EXPECT_NEAR(sent(1, 4), own / 2, 1e-9);
  EXPECT_NEAR(sent(4, 4), own / 2, 1e-9);
  EXPECT_NEAR(sent(1, 8), own, 1e-9);  // all eight send
}

TEST_F(LayoutExchange, CompiledProgramsLeaveOutTheProductNoBackwardReads) {
  const ParallelLayout l{.micro_batch = 4, .recompute = RecomputeRule::full};
  const auto again = [&](const TransformerFacts& facts, bool skips) {
    stack.skips_last_product = skips;
    return layout_cost(facts, a100, stack, l, p).recompute_s;
  };
  // Of 12 h x h of products the last has 4: its third of the time goes, not what else runs again.
  p.kernel_s = p.inner_half = p.wave = 0;
  const double products = layout_cost(dense, a100, stack, l, p).products_s / 3;
  EXPECT_NEAR(again(dense, false) - again(dense, true), products / 3, 1e-3 * products);
  // Results of experts are weighted, and the weights' gradients read them.
  EXPECT_EQ(again(mixture, false), again(mixture, true));
}

TEST_F(LayoutExchange, TokensAreOrderedForExpertsOnOneDeviceToo) {
  const LayoutCost cost = layout_cost(mixture, h100, stack, {.micro_batch = 4}, p);
  // 8 copies of 4 x 2048 tokens of 2048 values of 2 bytes, read and written twice, in 8 blocks,
  // there and back in either direction.
  const double bytes = 8.0 * 4 * 2048 * 2048 * 2;
  EXPECT_NEAR(cost.expert_s, 8 * 2 * 4 * bytes / (0.85 * h100.bytes_per_s), 1e-9);
}

TEST_F(LayoutExchange, TokensCrossToANodeOnceWhereSoftwareForwardsThem) {
  // 16 experts' ranks in 2 nodes: half of a token's 8 copies leave, or one, and that unless all
  // eight stay (1/2^8).
  ParallelLayout l;
  l.data = 16;
  l.expert = 16;
  p.hop_s = p.network_latency_s = p.link_latency_s = 0;
  const auto seconds = [&](bool once) {
    stack.dispatches_once_per_node = once;
    return layout_cost(mixture, h100, stack, l, p).expert_s;
  };
  const double token = 2048.0 * 2048 * 2;  // bytes of all tokens of a sample
  const double ordering = 2 * token * 8 / (0.85 * h100.bytes_per_s);
  const double rate = h100.network_bytes_per_s * p.network_efficiency;
  const double passes = 8 * 2 * 2;  // blocks, there and back, forward and backward
  EXPECT_NEAR(seconds(false), passes * (token * 4 / rate + ordering), 1e-9);
  EXPECT_NEAR(seconds(true), passes * (token * (1 - std::pow(0.5, 8)) / rate + ordering), 1e-9);
}

TEST_F(LayoutExchange, ExpertsByTurnsLieOnAsFewNodesAsHoldThem) {
  // A gate that fakes balance sends a token to 8 experts in a row: all on one of 2 nodes, which is
  // the other one for half of the tokens; on 4 nodes of 32 ranks three quarters leave.
  ParallelLayout l;
  p.hop_s = p.network_latency_s = p.link_latency_s = 0;
  stack.dispatches_once_per_node = true;
  l.experts_by_turns = true;
  const double token = 2048.0 * 2048 * 2;
  const double ordering = 2 * token * 8 / (0.85 * h100.bytes_per_s);
  const double rate = h100.network_bytes_per_s * p.network_efficiency;
  for (const int ranks : {16, 32}) {
    l.data = l.expert = ranks;
    const double nodes = ranks / 8.0;
    EXPECT_NEAR(layout_cost(mixture, h100, stack, l, p).expert_s,
                8 * 2 * 2 * (token * (nodes - 1) / nodes / rate + ordering), 1e-9);
  }
}

TEST_F(LayoutExchange, ARouterOfGroupsVisitsFewerNodes) {
  // 64 ranks on 8 nodes; of 8 groups a token's experts lie in 2, so they lie on 2 nodes, 8 copies
  // on each with all but certainty: what leaves is 7/8 of 2 (1 - (1/2)^8) copies, not of
  // 8 (1 - (7/8)^8).
  const TransformerFacts grouped = facts_of(
      "layers=8,hidden=2048,heads=16,experts=64,top_k=8,expert_ffn=1024,expert_groups=8,"
      "top_groups=2,seq=2048,dtype=bf16");
  EXPECT_EQ(grouped.blocks.front().expert_groups, 8);
  EXPECT_EQ(grouped.blocks.front().chosen_groups, 2);
  EXPECT_EQ(mixture.blocks.front().expert_groups, 0);
  ParallelLayout l{.expert = 64, .data = 64};
  p.network_efficiency = 1e-6;  // nothing else counts
  const auto traffic = [&](const TransformerFacts& facts) {
    return layout_cost(facts, h100, stack, l, p).expert_s;
  };
  const double some = 2 * (1 - std::pow(0.5, 8)), all = 8 * (1 - std::pow(7 / 8.0, 8));
  EXPECT_NEAR(traffic(grouped) / traffic(mixture), some / all, 1e-3);
}

TEST_F(LayoutExchange, WhatIsNotGatheredAheadIsWaitedFor) {
  // DeepSpeed gathers 5e7 elements ahead, a quarter of a block of 12 x 4096^2: a quarter of what
  // others hide. No wires for gradients, no hops, and compute without end.
  p.hop_s = 0;
  stack.reduced_bytes = 0;
  h100.network_bytes_per_s /= 50;
  const ParallelLayout l{.data = 16, .shard = 3, .micro_batch = 4096};
  const auto seen = [&](double ahead) {
    stack.prefetch_parameters = ahead;
    return layout_cost(dense, h100, stack, l, p).data_s;
  };
  const double whole = seen(0) / (1 - p.gather_overlap);
  const double block = dense.blocks.front().dense_parameters;
  EXPECT_NEAR(block, 12.0 * 4096 * 4096, 1e-3 * block);
  for (const double share : {0.1, 0.25, 0.5, 1.0, 2.0}) {
    const double hidden = p.gather_overlap * std::min(1.0, share);
    EXPECT_NEAR(seen(share * block), whole * (1 - hidden), 1e-3 * whole) << share;
  }
}

TEST_F(LayoutExchange, TensorsGatheredOneByOnePassEveryRankEachTime) {
  // Four products of a block in place of one: hops alone, three times per step.
  h100.network_bytes_per_s = 1e30;
  h100.links.all_bytes_per_s = 1e30;
  p.gather_overlap = 0;
  const ParallelLayout l{.data = 256, .shard = 3};
  const auto hops = [&](double ahead) {
    stack.prefetch_parameters = ahead;
    return layout_cost(dense, h100, stack, l, p).data_s;
  };
  const double products = double(dense.blocks.front().products.size());
  EXPECT_GT(products, 3);
  EXPECT_NEAR(hops(1e30) / hops(0), products, 1e-3);
}

TEST_F(LayoutExchange, TransfersHideNoLongerThanOtherPassesTake) {
  // 32 micro-batches on 4 ranks with 2 chunks each. Fast wires: a share of each transfer is seen;
  // wires a hundred times slower: all of it but the shorter pass.
  stack.overlaps_sends = true;
  stack.scatters_sends = false;
  ParallelLayout l{.pipeline = 4, .virtual_stages = 2, .data = 8, .micro_batches = 32};
  l.schedule = ScheduleKind::interleaved_1f1b;
  p.network_latency_s = 0;
  const double bytes = 2048.0 * 4096 * 2;
  const auto check = [&](double slower, bool hides) {
    Accelerator device = h100;
    device.network_bytes_per_s /= slower;
    const LayoutCost c = layout_cost(dense, device, stack, l, p);
    // Eight replicas of a stage fill a node, each with its adapter.
    const double one = p.send * bytes / (device.network_bytes_per_s * p.network_efficiency);
    const double seen = 2 * (1 - p.overlap) * one;
    const double each = c.pipeline_s / 32 / 2;  // of a chunk
    if (hides) {
      EXPECT_NEAR(each, seen, 1e-3 * seen);
    } else {
      EXPECT_GT(each, seen + 0.5 * p.overlap * one);
      EXPECT_LT(each, 2 * one);
    }
  };
  check(1, true);
  check(100, false);
}

}  // namespace
}  // namespace parallel_opt
