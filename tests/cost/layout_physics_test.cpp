#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

class LayoutPhysics : public testing::LayoutFixture {
 protected:
  /// Of the exchange between replicas, what hops take.
  double hops_s(const ParallelLayout& l) const {
    LayoutParameters still = p;
    still.hop_s = 0;
    return cost(l).data_s - layout_cost(dense, a100, stack, l, still).data_s;
  }

  /// Rings that `data` replicas on nodes of eight go round to scatter, and again to gather.
  double rings(int data) const {
    const double hops = data / 8.0 + data * 7 / 8.0 / 4 - 1;
    return hops_s({.data = data, .shard = 1}) / (2 * hops * p.hop_s);
  }
};

TEST_F(LayoutPhysics, WhatALimitSustainsFollowsFromWattsPerFlop) {
  // Half the watts on the same silicon: the rate falls by 2^power_exponent, products take as much
  // longer. A device that meets no limit stops at 92 % of its peak.
  p.kernel_s = 0;
  p.inner_half = 0;
  const auto products = [&](double watts) {
    Accelerator device = h100;
    device.max_w = watts;
    device.bytes_per_s = 1e18;  // never bound by its memory
    return layout_cost(dense, device, stack, {}, p).products_s;
  };
  EXPECT_NEAR(products(350) / products(700), std::pow(2, p.power_exponent), 1e-9);
  const double efficiency = p.matmul_efficiency.at("Hopper");
  EXPECT_NEAR(products(700) / products(70000), 0.92 / efficiency, 1e-9);
}

TEST_F(LayoutPhysics, ProductsInFp32ReachMoreOfTheirPeakThanMatrixUnits) {
  p.kernel_s = 0;
  const auto gain = [&](const std::string& name) {
    Accelerator device = named(name, "fp32");
    EXPECT_TRUE(device.scalar);
    const double free = layout_cost(dense, device, stack, {}, p).products_s;
    device.scalar = false;
    return layout_cost(dense, device, stack, {}, p).products_s / free;
  };
  EXPECT_NEAR(gain("V100-SXM-32GB"), 0.87 / p.matmul_efficiency.at("Volta"), 0.01);
  EXPECT_EQ(gain("H100-SXM-80GB"), 1);  // as much as its matrix units
  EXPECT_FALSE(named("V100-SXM-32GB", "fp16").scalar);
}

TEST_F(LayoutPhysics, ALimitSlowsAttentionsProductsBelowTheirOwnShare) {
  // They use less of the matrix units than a limit of 700 W sustains, and more than one of 350 W.
  const auto attention = [&](double watts) {
    Accelerator device = h100;
    device.max_w = watts;
    device.exponentials_per_s = 1e30;
    return layout_cost(dense, device, stack, {}, p).attention_s;
  };
  p.vendor_efficiency = 0.6;
  const double sustained = p.matmul_efficiency.at("Hopper") * std::pow(0.5, p.power_exponent);
  ASSERT_LT(sustained, p.vendor_efficiency);
  EXPECT_NEAR(attention(350) / attention(700), p.vendor_efficiency / sustained, 1e-9);
  EXPECT_EQ(attention(1400), attention(700));
}

TEST_F(LayoutPhysics, NewerSiliconIsHeldBackByItsLimit) {
  // 1,200 W for 2.5 PFLOP/s are 0.68 of an H100's watts per FLOP/s.
  const Accelerator gb200 = named("GB200");
  EXPECT_EQ(gb200.arch, "Hopper");  // same process
  p.kernel_s = p.inner_half = p.wave = 0;
  const double watts = (gb200.max_w / gb200.half_flops_per_s) / (700 / 989.4e12);
  EXPECT_NEAR(watts, 0.678, 0.001);
  const double ratio = layout_cost(dense, h100, stack, {}, p).products_s /
                       layout_cost(dense, gb200, stack, {}, p).products_s;
  EXPECT_NEAR(ratio, 2.5e15 / 989.4e12 * std::pow(watts, p.power_exponent), 0.02);
}

TEST_F(LayoutPhysics, ProductsOfFewTokensAreBoundByTheirWeights) {
  // One token: every weight is read once, forward, and twice as much moves in the backward.
  TransformerFacts token = facts_of("layers=32,hidden=4096,heads=32,seq=1,dtype=bf16");
  p.kernel_s = 0;
  const LayoutCost c = layout_cost(token, a100, stack, {}, p);
  const double read = 12.0 * 4096 * 4096 * 2 / (0.85 * a100.bytes_per_s);
  EXPECT_NEAR(c.products_s, 32 * 3 * read, 0.02 * c.products_s);
}

TEST_F(LayoutPhysics, TensorRanksShareOutTheTokensOfWholeExperts) {
  // Nothing but arithmetic: two ranks do half of it each, whether experts are split or whole.
  p.kernel_s = p.inner_half = p.wave = 0;
  h100.bytes_per_s = 1e30;
  const auto products = [&](int tensor, int expert) {
    ParallelLayout l;
    l.data = 8;
    l.tensor = tensor;
    l.expert = expert;
    return layout_cost(mixture, h100, stack, l, p).products_s;
  };
  EXPECT_NEAR(products(1, 8) / products(1, 1), 1, 1e-9);
  EXPECT_NEAR(products(2, 1) / products(1, 1), 0.5, 1e-9);
  EXPECT_NEAR(products(2, 8) / products(1, 8), 0.5, 1e-9);
  EXPECT_NEAR(products(8, 8) / products(1, 8), 0.125, 1e-9);
}

TEST_F(LayoutPhysics, SpreadExpertsShareStatesAmongTheirOwnReplicas) {
  // 8 replicas, experts 8 ways: every rank holds others, so nobody shares an expert's states. Adam
  // and master weights: 12 bytes a parameter. With 2 tensor ranks, whole experts are held twice.
  ParallelLayout l{.expert = 8, .data = 8, .shard = 1};
  const double experts = 8 * mixture.blocks.front().expert_parameters;
  const double others = mixture.parameters - experts;
  const auto states = [&] { return layout_cost(mixture, h100, stack, l, p).optimizer_bytes; };
  EXPECT_NEAR(states() / (12 * (others / 8 + experts / 8)), 1, 1e-9);
  l.expert = 1;
  EXPECT_NEAR(states() / (12 * (others / 8 + experts / 8)), 1, 1e-9);
  l.expert = 4;
  l.tensor = 2;
  EXPECT_NEAR(states() / (12 * (others / 2 / 8 + experts / 4 / 4)), 1, 1e-9);
}

TEST_F(LayoutPhysics, AnUpdateMovesWhatTheOptimizerKeeps) {
  // Mixed precision: gradient, master weight read and written, weight: 4 + 8 + 2 = 14 bytes, and 8
  // for every state.
  ParallelLayout l;
  const double adam = cost(l).optimizer_s;
  l.optimizer_states = 1;
  EXPECT_NEAR(cost(l).optimizer_s / adam, 22.0 / 30, 1e-9);
  l.optimizer_states = 0;
  EXPECT_NEAR(cost(l).optimizer_s / adam, 14.0 / 30, 1e-9);
}

TEST_F(LayoutPhysics, AFoldedPipelineHasBothEndsOnOneRank) {
  // Its first rank holds the embedding, the head and the logits: as much more than ZB-H1's first
  // as those are.
  p.fragmentation = 1;
  ParallelLayout l{.pipeline = 8, .micro_batches = 32, .schedule = ScheduleKind::zb_h1};
  const double plain = cost(l).first_stage_bytes;
  l.schedule = ScheduleKind::zb_v;
  const double logits = dense.logits_elements * stack.logits_bytes * p.logits;
  EXPECT_NEAR(cost(l).memory_bytes() - plain, logits, 1e-3 * logits);  // the head is tied
}

TEST_F(LayoutPhysics, ShardingAmongOneRankGathersNothing) {
  ParallelLayout l;
  const double whole = cost(l).memory_bytes();
  l.shard = 3;
  EXPECT_EQ(cost(l).memory_bytes(), whole);
}

TEST_F(LayoutPhysics, SharingStatesInANodeKeepsGathersInIt) {
  // Of 64 replicas 8 share the states: weights are gathered over links of the node, gradients are
  // summed over all, so it is faster than gathering over the network.
  ParallelLayout l;
  l.data = 64;
  l.shard = 1;
  stack.overlaps_data = stack.overlaps_gathers = false;
  const LayoutCost all = cost(l);
  l.shard_degree = 8;
  const LayoutCost node = cost(l);
  EXPECT_GT(node.optimizer_bytes, 7.9 * all.optimizer_bytes);
  EXPECT_EQ(node.weights_bytes, all.weights_bytes);
  p.hop_s = p.network_latency_s = p.link_latency_s = 0;
  const double n = dense.parameters, link = a100.links.all_bytes_per_s * p.link_efficiency;
  const double wires = std::min(link, a100.network_bytes_per_s * p.network_efficiency * 8);
  EXPECT_NEAR(cost(l).data_s, n * (2 * 7.0 / 8 / link + 2 * 4 * 63.0 / 64 / wires), 1e-6);
}

TEST_F(LayoutPhysics, AGroupOfAMeshHasTheLinksAmongItself) {
  // Of seven links of 64 GB/s two ranks use one, eight all: each carries (n - 1) / n of the bytes.
  Accelerator mesh = a100;
  mesh.links = {448e9, 64e9, LinkShape::mesh};
  stack.overlaps_data = false;
  p.hop_s = p.network_latency_s = p.link_latency_s = 0;
  ParallelLayout l;
  const auto seconds = [&](int data) {
    l.data = data;
    return layout_cost(dense, mesh, stack, l, p).data_s;
  };
  const double each = dense.parameters * stack.reduced_bytes * 2 / p.link_efficiency;
  EXPECT_NEAR(seconds(2), each * 1 / 2 / 64e9, 1e-6);
  EXPECT_NEAR(seconds(4), each * 3 / 4 / (3 * 64e9), 1e-6);
  EXPECT_NEAR(seconds(8), each * 7 / 8 / 448e9, 1e-6);
  // A stage sends to one neighbour.
  ParallelLayout stages;
  stages.pipeline = 2;
  stages.micro_batches = 8;
  Accelerator slow = mesh;
  slow.links.all_bytes_per_s /= 2;
  EXPECT_EQ(layout_cost(dense, slow, stack, stages, p).pipeline_s,
            layout_cost(dense, mesh, stack, stages, p).pipeline_s);
  slow.links.pair_bytes_per_s /= 2;
  EXPECT_GT(layout_cost(dense, slow, stack, stages, p).pipeline_s,
            layout_cost(dense, mesh, stack, stages, p).pipeline_s);
}

TEST_F(LayoutPhysics, ARingPassesEveryNodeAndEveryRankInIt) {
  // Per bucket to scatter and again to gather: one hop per node and a quarter of one per other
  // rank.
  ParallelLayout l;
  l.shard = 1;
  stack.overlaps_data = stack.overlaps_gathers = false;
  stack.bucket_per_replica = 0;
  const auto hops = [&](int data) {
    l.data = data;
    return hops_s(l);
  };
  const double buckets = dense.parameters / stack.bucket_parameters;
  EXPECT_NEAR(hops(16), buckets * 2 * (2 + 14 / 4.0 - 1) * p.hop_s, 1e-9);
  EXPECT_NEAR(hops(1024), buckets * 2 * (128 + 896 / 4.0 - 1) * p.hop_s, 1e-9);
  EXPECT_EQ(hops(8), 0);  // inside a node
  l.tensor = 8;           // replicas of one part lie in as many nodes
  EXPECT_NEAR(hops(16), dense.parameters / 8 / stack.bucket_parameters * 2 * 15 * p.hop_s,
              0.03 * hops(16));
}

TEST_F(LayoutPhysics, BucketsGrowWithTheRanksThatShareThem) {
  // 40 M parameters in a bucket to 40 replicas, beyond that 1 M for each.
  stack.overlaps_data = stack.overlaps_gathers = false;
  stack.bucket_parameters = 4e7;
  stack.bucket_per_replica = 1e6;
  EXPECT_NEAR(rings(16), dense.parameters / 4e7, 1e-6);
  EXPECT_NEAR(rings(512), dense.parameters / 512e6, 1e-6);
}

TEST_F(LayoutPhysics, OwnersOfWholeTensorsExchangeOneByOne) {
  // 16 owners: 16 rings each way. 1,024: one for each product's weight of the 32 blocks at most.
  stack.overlaps_data = stack.overlaps_gathers = false;
  stack.owns_whole_tensors = true;
  stack.bucket_parameters = 1e12;
  stack.bucket_per_replica = 0;
  EXPECT_NEAR(rings(16), 16, 1e-6);
  EXPECT_NEAR(rings(1024), 32.0 * double(dense.blocks.front().products.size()), 1e-6);
}

TEST_F(LayoutPhysics, ShardedWeightsAreGatheredBesideComputeWhateverGradientsDo) {
  ParallelLayout l{.data = 64, .shard = 3};
  stack.overlaps_data = false;
  const double beside = cost(l).data_s;
  stack.overlaps_shards = false;
  EXPECT_LT(beside, 0.5 * cost(l).data_s);
}

TEST_F(LayoutPhysics, WeightsAreGatheredBesideTheNextForward) {
  ParallelLayout l{.data = 64, .shard = 1};
  stack.overlaps_data = false;
  stack.overlaps_gathers = false;
  const double waits = cost(l).data_s;
  stack.overlaps_gathers = true;
  const double beside = cost(l).data_s;
  LayoutParameters none = p;
  none.overlap = 0;
  EXPECT_LT(beside, waits);
  EXPECT_NEAR(layout_cost(dense, a100, stack, l, none).data_s, waits, 1e-9);
}

TEST_F(LayoutPhysics, InterleavedStagesExchangeBesideTheOthersLastPasses) {
  // Wires so slow that only the passes beside them count: of 4 stages one micro-batch comes back
  // last; interleaved twice, half of the last four do while other chunks exchange.
  ParallelLayout l{.pipeline = 4, .data = 16};
  l.micro_batches = 8;
  l.shard = 0;
  p.overlap = 1;
  p.network_efficiency = 1e-3;
  p.hop_s = p.network_latency_s = p.link_latency_s = 0;
  stack.overlaps_gathers = false;
  const LayoutCost plain = cost(l);
  const double moved = plain.data_s + plain.backward_s;
  l.virtual_stages = 2;
  const LayoutCost twice = cost(l);
  EXPECT_NEAR(moved - twice.data_s, 4 * 0.5 * twice.backward_s, 1e-6 * moved);
}

TEST_F(LayoutPhysics, PipelinesKeepGatheredWeights) {
  ParallelLayout l;
  l.data = 8;
  l.shard = 3;
  l.micro_batches = 8;
  const LayoutCost alone = cost(l);
  l.pipeline = 4;
  l.micro_batches = 1;
  const LayoutCost one = cost(l);
  l.micro_batches = 8;
  const LayoutCost eight = cost(l);
  EXPECT_NEAR(eight.data_s / one.data_s, 1, 1e-9);  // gathered once a step
  l.shard = 2;
  EXPECT_NEAR(eight.weights_bytes, cost(l).weights_bytes, 1);
  EXPECT_LT(alone.weights_bytes, 0.2 * 4 * eight.weights_bytes);
}

TEST_F(LayoutPhysics, SelectiveRecomputationRunsItsShareAgain) {
  ParallelLayout l;
  const LayoutCost none = cost(l);
  l.recompute = RecomputeRule::selective;
  stack.selective_products = 0.5;
  stack.selective_attention = 0;
  stack.selective_operators = 1;
  const LayoutCost some = cost(l);
  // A third of the products and of the operators is forward.
  EXPECT_NEAR(some.recompute_s, 0.5 * none.products_s / 3 + none.operators_s / 3, 1e-9);
  stack.selective_products = stack.selective_operators = 0;
  stack.selective_attention = 1;
  // Its products and what begins their tiles are 1 part forward and 2.5 backward, its exponentials
  // x parts in each.
  const double x = a100.half_flops_per_s / (4 * 128 * a100.exponentials_per_s);
  const double t = 1 + 430.0 / 2048;
  EXPECT_NEAR(cost(l).recompute_s, none.attention_s * (t + x) / (3.5 * t + 2 * x), 1e-9);
}

/// The published curves of kernels: 480 to 640 TFLOP/s forward on H100 from 2,048 to 16,384 keys.
TEST_F(LayoutPhysics, FusedAttentionIsSlowerOnRowsOfFewKeys) {
  const auto rate = [&](const Accelerator& device, int keys, int context) {
    ParallelLayout l;
    l.context = context;
    const TransformerFacts facts =
        facts_of("layers=4,hidden=4096,heads=32,seq=" + std::to_string(keys) + ",dtype=bf16");
    const BlockFacts& block = facts.blocks.front();
    return 3.5 * facts.layers() * block.attention_flops / context /
           layout_cost(facts, device, stack, l, p).attention_s;
  };
  stack.attention = AttentionFamily::vendor;
  const double rise = rate(h100, 16384, 1) / rate(h100, 2048, 1);
  EXPECT_NEAR(rise, 640.0 / 480, 0.12);
  EXPECT_NEAR(rate(h100, 1 << 20, 1) / rate(h100, 1 << 19, 1), 1, 0.001);
  // Ranks of a ring attend to as many keys at a time as they have queries.
  EXPECT_NEAR(rate(h100, 16384, 4), rate(h100, 4096, 1), 0.01 * rate(h100, 4096, 1));
  stack.attention = AttentionFamily::flash;
  EXPECT_NEAR(rate(a100, 16384, 1) / rate(a100, 2048, 1), 193.0 / 162, 0.07);
}

TEST_F(LayoutPhysics, GroupedKeysTravelLessInAContextRing) {
  // 8 of 32 heads have keys and values: a quarter of the bytes of full ones.
  const TransformerFacts grouped =
      facts_of("layers=32,hidden=4096,heads=32,kv_heads=8,seq=2048,dtype=bf16");
  EXPECT_EQ(grouped.blocks.front().kept_elements, 2 * 2048.0 * 1024);
  EXPECT_EQ(dense.blocks.front().kept_elements, 2 * 2048.0 * 4096);
  ParallelLayout l;
  l.context = 32;  // beyond a node, with little attention to hide behind
  EXPECT_LT(layout_cost(grouped, a100, stack, l, p).context_s, cost(l).context_s);
}

TEST_F(LayoutPhysics, ExponentialsStandBesideAttentionsProducts) {
  // A score of a head of width w is 4 w FLOPs and one exponential forward, 10 w FLOPs and one more
  // backward. Halving the width doubles the exponentials' share and leaves the products alone.
  Accelerator device = a100;
  const auto attention = [&](double width, double per_s) {
    TransformerFacts facts = dense;
    facts.blocks.front().head_width = width;
    device.exponentials_per_s = per_s;
    return layout_cost(facts, device, stack, {}, p).attention_s;
  };
  const double none = attention(128, 1e30);
  const double scores =
      32 * dense.blocks.front().attention_flops * dense.blocks.front().causal_share / (4 * 128);
  const double each = 1e-12 / p.vendor_efficiency;
  EXPECT_NEAR(attention(128, 1e12) - none, 2 * scores * each, 1e-9);
  EXPECT_NEAR(attention(64, 1e12) - none, 4 * scores * each, 1e-9);
  // 108 multiprocessors of 16 at 1.6 GHz; twice as many each on Blackwell Ultra.
  EXPECT_EQ(a100.exponentials_per_s, 108 * 16 * 1.6e9);
  EXPECT_EQ(named("GB300").exponentials_per_s, 160 * 32 * 1.6e9);
}

TEST_F(LayoutPhysics, InterleavedSendsHideWhereTheStackDoesThat) {
  ParallelLayout l;
  l.pipeline = 4;
  l.micro_batches = 8;
  l.virtual_stages = 2;
  stack.overlaps_sends = false;
  const double alone = cost(l).pipeline_s;
  stack.overlaps_sends = true;
  EXPECT_NEAR(cost(l).pipeline_s, alone * (1 - p.overlap), 1e-12);
  l.virtual_stages = 1;
  const double one = cost(l).pipeline_s;
  stack.overlaps_sends = false;
  EXPECT_EQ(cost(l).pipeline_s, one);
}

TEST_F(LayoutPhysics, TensorRanksMaySendTheirPartEach) {
  ParallelLayout l;
  l.pipeline = 2;
  l.tensor = 4;
  stack.scatters_sends = false;
  const double whole = cost(l).pipeline_s;
  stack.scatters_sends = true;
  const double bytes = 2048.0 * 4096 * 2, rate = a100.links.all_bytes_per_s * p.link_efficiency;
  EXPECT_NEAR(whole - cost(l).pipeline_s, 2 * p.send * 3.0 / 4 * bytes / rate, 1e-9);
  l.sequence_parallel = true;  // it is in parts anyway
  stack.scatters_sends = false;
  const double parts = cost(l).pipeline_s;
  stack.scatters_sends = true;
  EXPECT_EQ(cost(l).pipeline_s, parts);
}

TEST_F(LayoutPhysics, TheLossMovesWhatItsKernelsDo) {
  // 2,048 x 50,257 logits of one sample; the loss alone differs.
  ParallelLayout l;
  stack.loss_bytes = 24;
  const double fused = cost(l).time_s();
  stack.loss_bytes = 52;
  const double bytes = (52 - 24) * dense.logits_elements;
  EXPECT_NEAR(cost(l).time_s() - fused, bytes / (0.85 * a100.bytes_per_s), 1e-9);
}

TEST_F(LayoutPhysics, GatheredInputsAreKeptUnlessTheBackwardGathersAgain) {
  // Two tensors of full width per block, of which a quarter is counted already.
  ParallelLayout l;
  l.tensor = 4;
  l.sequence_parallel = true;
  l.micro_batch = 8;
  l.micro_batches = 8;
  stack.eager_host = false;
  p.host_fused_s = 10;  // the device waits for every launch
  const double wide = 8 * 2048.0 * 4096 * 2;
  const auto gathers = [&] {  // tensors of full width that a block keeps, of each micro-batch
    stack.kept_gathers = 0;
    const double none = cost(l).activations_bytes;
    stack.kept_gathers = 2;
    return (cost(l).activations_bytes - none) / (32 * 3.0 / 4 * wide);
  };
  EXPECT_NEAR(gathers(), 2, 1e-6);
  stack.regathers = true;
  EXPECT_NEAR(gathers(), 2, 1e-6);  // a host of one stage is never held up
  l.pipeline = 2;
  EXPECT_NEAR(gathers(), 0, 1e-6);  // freed at once
  l.pipeline = 8;  // those of 6 of the 8 micro-batches in flight at the first stage
  EXPECT_NEAR(gathers(), 2 * 6.0 / 8, 1e-6);
  l.pipeline = 2;
  p.host_fused_s = 1e-9;  // the host is far ahead
  EXPECT_NEAR(gathers(), 2, 1e-6);
}

TEST_F(LayoutPhysics, GradientsOfOneBackwardLieWhereItsActivationsLay) {
  stack.expands_segments = true;
  ParallelLayout l;
  l.micro_batch = 8;
  const LayoutCost before = cost(l);
  ASSERT_GT(before.activations_bytes, 2 * 6.7e9);  // room for 2 bytes of each parameter
  stack.passing_gradient_bytes = 2;
  EXPECT_EQ(cost(l).memory_bytes(), before.memory_bytes());
  l.micro_batch = 1;
  l.recompute = RecomputeRule::full;  // keeps next to nothing
  const LayoutCost with = cost(l);
  stack.passing_gradient_bytes = 0;
  const LayoutCost without = cost(l);
  EXPECT_NEAR(with.gradients_bytes - without.gradients_bytes,
              with.weights_bytes - with.activations_bytes - with.logits_bytes, 1);
  l.pipeline = 4;  // other micro-batches leave but holes: all of it is on top
  l.micro_batches = 8;
  const double alone = cost(l).gradients_bytes;
  stack.passing_gradient_bytes = 2;
  EXPECT_NEAR(cost(l).gradients_bytes / alone, 6.0 / 4, 1e-9);
}

TEST_F(LayoutPhysics, LogitsAreDeadWhenABlockIsComputedAgain) {
  ParallelLayout l;
  l.micro_batch = 4;
  l.recompute = RecomputeRule::full;
  p.fragmentation = 1;
  const LayoutCost apart = cost(l);
  stack.expands_segments = true;
  const LayoutCost shared = cost(l);
  // Tensors hold the same at most; segments that do not grow serve the one or the other.
  EXPECT_EQ(apart.activations_bytes, shared.activations_bytes);
  EXPECT_EQ(apart.logits_bytes, shared.logits_bytes);
  const double kept = 32 * dense.blocks.front().boundary_elements * 4 * 2;  // of all blocks
  const double again =
      (dense.blocks.front().saved_wide_bytes + dense.blocks.front().saved_inner_bytes) * 4 *
          p.saved -
      kept / 32;
  EXPECT_NEAR(shared.activations_bytes + shared.logits_bytes,
              kept + std::max(shared.logits_bytes, again), 2e-3 * again);
  EXPECT_NEAR(apart.unused_bytes - shared.unused_bytes, std::min(apart.logits_bytes, again),
              2e-3 * again);
}

TEST_F(LayoutPhysics, ProductsRunAgainKeepTheSameWhateverIsFused) {
  ParallelLayout l;
  l.micro_batch = 4;
  stack.selective_products = 0.5;
  stack.selective_operators = 1;
  stack.selective_keeps = 0.45;
  stack.attention = AttentionFamily::flash;
  l.recompute = RecomputeRule::selective;
  stack.fused_operators = true;
  const LayoutCost fused = cost(l);
  stack.fused_operators = false;
  const LayoutCost eager = cost(l);
  // One block in all is there as a whole while it is computed again.
  const BlockFacts& block = dense.blocks.front();
  const double more = block.saved_wide_bytes + block.saved_inner_bytes - block.fused_wide_bytes -
                      block.fused_inner_bytes;
  ASSERT_GT(more, 0);
  EXPECT_NEAR(eager.memory_bytes() - fused.memory_bytes(), 4 * more * p.saved * p.fragmentation, 1);
  // So it is of policies that keep every product and run but the rest again.
  stack.selective_products = 0;
  EXPECT_EQ(cost(l).activations_bytes, eager.activations_bytes);
}

TEST_F(LayoutPhysics, OperandsOfNarrowProductsAreKeptInEightBits) {
  const TransformerFacts llama = facts_of(
      "layers=4,hidden=1024,heads=8,ffn=4096,seq=2048,gated=true,norm=rms,positions=rope,"
      "bias=false,tied=false,dtype=bf16");
  // Two normed inputs of the block's width, and the gated product: what attention reads and makes,
  // the residual stream and both halves of the gate stay in 16 bits.
  const BlockFacts& block = llama.blocks.front();
  EXPECT_EQ(block.cast_wide_bytes, 2 * 2048.0 * 1024 * 2);
  EXPECT_EQ(block.cast_inner_bytes, 2048.0 * 4096 * 2);
  const auto kept = [&](const Accelerator& device) {
    return layout_cost(llama, device, stack, {}, p).activations_bytes;
  };
  const Accelerator h100_8 = named("H100-SXM-80GB", "fp8");
  stack.keeps_narrow = false;
  const double wide = kept(h100_8);
  EXPECT_EQ(wide, kept(h100));
  stack.keeps_narrow = true;
  EXPECT_NEAR(wide - kept(h100_8),
              4 * p.saved * (block.cast_wide_bytes + block.cast_inner_bytes) / 2, 1);
  EXPECT_EQ(kept(h100), wide);  // products in 16 bits
}

TEST_F(LayoutPhysics, TheFirstStageHoldsNoLogits) {
  ParallelLayout l;
  l.pipeline = 4;
  l.micro_batch = 16;
  const LayoutCost c = cost(l);  // one micro-batch: nothing waits in flight, the head is fullest
  EXPECT_GT(c.logits_bytes, 0);
  EXPECT_LT(c.first_stage_bytes, c.memory_bytes());
  l.pipeline = 1;
  EXPECT_EQ(cost(l).first_stage_bytes, cost(l).memory_bytes());
}

// Whole replicas from two on: one alone has none of DDP's buckets, nor sends any keys round.
TEST_F(LayoutPhysics, MoreDevicesNeverNeedMoreMemoryEach) {
  for (const char* name : {"pytorch", "torchtitan", "megatron", "megatron-2020", "nemo", "nanotron",
                           "deepspeed", "maxtext", "llm-foundry", "internevo"}) {
    for (const int shard : {0, 1, 2, 3}) {
      for (int ParallelLayout::* degree :
           {&ParallelLayout::tensor, &ParallelLayout::context, &ParallelLayout::data}) {
        const bool splits = degree == &ParallelLayout::tensor;
        ParallelLayout l;
        l.shard = shard;
        l.micro_batches = 64;
        l.*degree = splits ? 1 : 2;
        double before = std::numeric_limits<double>::infinity();
        for (; l.*degree <= (splits ? 8 : 1024); l.*degree *= 2) {
          const double bytes = layout_cost(dense, a100, *find_stack(name), l, p).memory_bytes();
          EXPECT_LE(bytes, before * (1 + 1e-12)) << name << " " << shard << " " << l.*degree;
          before = bytes;
        }
      }
    }
  }
}

TEST_F(LayoutPhysics, EnergyIsAtLeastIdlePowerTimesTime) {
  for (const int tensor : {1, 2, 8}) {
    for (const int data : {1, 16, 512}) {
      ParallelLayout l;
      l.tensor = tensor;
      l.data = data;
      l.micro_batches = 4;
      const LayoutCost c = cost(l);
      const Estimate e = layout_estimate(c, dense, a100, l, p);
      ASSERT_TRUE(e.energy_j);
      EXPECT_GE(e.energy_j->value, l.devices() * a100.idle_w * c.time_s());
      EXPECT_LE(e.energy_j->value, l.devices() * a100.max_w * c.time_s());
    }
  }
}

TEST_F(LayoutPhysics, DegreesOfOneCostNothing) {
  const LayoutCost c = cost({});
  EXPECT_EQ(c.tensor_s, 0);
  EXPECT_EQ(c.context_s, 0);
  EXPECT_EQ(c.expert_s, 0);
  EXPECT_EQ(c.pipeline_s, 0);
  EXPECT_EQ(c.bubble_s, 0);
  EXPECT_EQ(c.data_s, 0);
  EXPECT_EQ(c.recompute_s, 0);
}

}  // namespace
}  // namespace parallel_opt
