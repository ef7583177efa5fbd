#include <algorithm>
#include <vector>

#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

class LayoutOffload : public testing::LayoutFixture {
 protected:
  static ParallelLayout sharded(int stage, const Offload& offload, double micro_batches = 1) {
    ParallelLayout l;
    l.data = 8;
    l.shard = stage;
    l.micro_batches = micro_batches;
    l.offload = offload;
    return l;
  }
  double parameters() const { return dense.parameters; }
  // DGX A100: PCIe 4 x16 each, 2 x 204.8 GB/s for eight.
  const double link = 0.8 * 31.5e9, host = 0.8 * 409.6e9 / 8;
};

TEST_F(LayoutOffload, TheDatabaseKnowsTheHost) {
  EXPECT_EQ(a100.host.link_bytes_per_s, 31.5e9);
  EXPECT_EQ(a100.host.bytes_per_s, 409.6e9);
  EXPECT_EQ(a100.host.memory_bytes, 2e12);
  EXPECT_EQ(a100.host.devices, 8);
  EXPECT_EQ(named("GH200-96GB").host.link_bytes_per_s, 450e9);  // C2C, not its PCIe
  EXPECT_EQ(named("GH200-96GB").host.bytes_per_s, 4 * 500e9);
  EXPECT_EQ(named("TPU-v4").host.link_bytes_per_s, 15.75e9);  // not published
}

TEST_F(LayoutOffload, TheOptimizersStatesAreTheHosts) {
  const LayoutCost here = cost(sharded(1, {})), away = cost(sharded(1, {.optimizer = 1}));
  // Weights and two states in fp32, an eighth each.
  EXPECT_NEAR(here.optimizer_bytes, 12 * parameters() / 8, 1e-3 * here.optimizer_bytes);
  EXPECT_EQ(away.optimizer_bytes, 0);
  EXPECT_EQ(away.host_bytes, here.optimizer_bytes);
  EXPECT_EQ(away.gradients_bytes, here.gradients_bytes);  // whole ones stay
  EXPECT_NEAR(cost(sharded(1, {.optimizer = 0.25})).host_bytes, here.optimizer_bytes / 4, 1);
}

TEST_F(LayoutOffload, TheHostsCoresReadAndWriteWhatTheStepDoes) {
  // Gradient, weight, two states read, three of them written in fp32, a weight of 16 bits: 30
  // bytes.
  const LayoutCost away = cost(sharded(1, {.optimizer = 1}));
  const double part = cost(sharded(1, {})).optimizer_bytes / 12;
  EXPECT_NEAR(away.optimizer_s, 30 * part / host, 1e-9);
  // On a fast host the way up counts: 16-bit weights.
  a100.host.bytes_per_s = 1e15;
  a100.bytes_per_s = 1e15;
  EXPECT_NEAR(cost(sharded(1, {.optimizer = 1})).optimizer_s, 2 * part / link, 1e-9);
}

TEST_F(LayoutOffload, ShardedGradientsLeaveAsTheyAreReduced) {
  const LayoutCost here = cost(sharded(2, {})), away = cost(sharded(2, {.optimizer = 1}));
  EXPECT_LT(away.gradients_bytes, 0.1 * here.gradients_bytes);
  EXPECT_NEAR(away.host_bytes, here.optimizer_bytes + here.gradients_bytes, 1);
}

TEST_F(LayoutOffload, FetchedStatesPassWhereActivationsLay) {
  const LayoutCost here = cost(sharded(1, {}));
  const LayoutCost away = cost(sharded(1, {.optimizer = 1, .fetched = true}));
  const double room =
      (here.activations_bytes + here.logits_bytes) * layout_parameters().fragmentation;
  EXPECT_NEAR(away.optimizer_bytes, std::max(0.0, here.optimizer_bytes - room), 1);
  EXPECT_EQ(away.host_bytes, here.optimizer_bytes);
  // In and out of 32 blocks, each way one after the other; the device's step beside them.
  EXPECT_NEAR(away.optimizer_s,
              here.optimizer_bytes / link * (1 + 1.0 / 32) + here.optimizer_s / 32, 1e-9);
}

TEST_F(LayoutOffload, WeightsComeBlockByBlockOnOneDeviceToo) {
  ParallelLayout l = sharded(3, {.parameters = true});
  l.data = 1;
  const LayoutCost away = cost(l);
  l.offload = {};
  const LayoutCost here = cost(l);
  EXPECT_EQ(away.weights_bytes, 0);
  EXPECT_EQ(away.host_bytes, here.weights_bytes);
  EXPECT_NEAR(here.memory_bytes() - away.memory_bytes(), here.weights_bytes * 30 / 32,
              0.05 * here.weights_bytes);
  EXPECT_GT(away.offload_s, 0);  // at least the first block's
}

/// Blocks one after the other: a copy in, compute, a copy out, each worker at one block at a time.
double run(std::size_t blocks, double in, double compute, double out) {
  double in_end = 0, compute_end = 0, out_end = 0;
  for (std::size_t i = 0; i < blocks; ++i) {
    in_end += in;
    compute_end = std::max(compute_end, in_end) + compute;
    out_end = std::max(out_end, compute_end) + out;
  }
  return out_end;
}

TEST_F(LayoutOffload, ActivationsWaitAsWorkersInARowDo) {
  for (const double rate : {5e9, 31.5e9, 200e9}) {
    for (const double share : {0.3, 1.0}) {
      a100.host.link_bytes_per_s = rate;
      ParallelLayout l = sharded(0, {.activations = share}, 4);
      l.data = 1;
      const LayoutCost away = cost(l);
      l.offload = {};
      const LayoutCost here = cost(l);
      const double copied = share * (here.activations_bytes / 32) / std::min(0.8 * rate, 8 * host);
      const double waits = run(32, 0, here.forward_s / 32, copied) - here.forward_s +
                           run(32, copied, here.backward_s / 32, 0) - here.backward_s;
      EXPECT_NEAR(away.offload_s, 4 * waits, 1e-6 * away.time_s()) << rate << ' ' << share;
      // Of what left, two blocks are on their way.
      EXPECT_NEAR(away.host_bytes, share * here.activations_bytes, 1);
      EXPECT_NEAR(here.activations_bytes - away.activations_bytes,
                  share * here.activations_bytes * 30 / 32, 1);
    }
  }
}

TEST_F(LayoutOffload, TheDevicesOfANodeShareItsMemory) {
  const ParallelLayout l = sharded(1, {.optimizer = 1});
  const LayoutCost away = cost(l);
  EXPECT_EQ(host_memory_bytes(away, a100, l), 8 * away.host_bytes);
  EXPECT_TRUE(host_holds(away, a100, l));
  a100.host.memory_bytes = 8 * away.host_bytes;  // and none for anything else
  EXPECT_FALSE(host_holds(away, a100, l));
  a100.host.memory_bytes = 0;  // not known
  EXPECT_TRUE(host_holds(away, a100, l));
}

}  // namespace
}  // namespace parallel_opt
