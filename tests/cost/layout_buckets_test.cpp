#include "tests/cost/layout_fixture.h"

namespace parallel_opt {
namespace {

class LayoutBuckets : public testing::LayoutFixture {
 protected:
  LayoutCost on(const std::string& name, int data, int shard) {
    stack = *find_stack(name);
    ParallelLayout l;
    l.data = data;
    l.shard = shard;
    l.micro_batch = 2;
    return cost(l);
  }
};

TEST_F(LayoutBuckets, ShardingByBlocksIsNoDearerThanShardingMore) {
  // FSDP's SHARD_GRAD_OP gathers once where FULL_SHARD gathers for each pass; buckets of DDP are
  // not what either sends.
  for (const std::string name : {"pytorch", "torchtitan", "automodel", "llm-foundry", "maxtext"}) {
    for (const int data : {16, 512, 4096}) {
      EXPECT_LE(on(name, data, 2).data_s, 1.01 * on(name, data, 3).data_s) << name << ' ' << data;
    }
  }
}

TEST_F(LayoutBuckets, ReplicasThatShareNothingHoldBuckets) {
  const auto gradients = [&](const char* name, int data, int shard) {
    return on(name, data, shard).gradients_bytes / on(name, data, 0).weights_bytes;
  };
  // Gradients in fp32 beside weights in 16 bits, and as much again in DDP's buckets.
  EXPECT_NEAR(gradients("pytorch", 1, 0), 2, 1e-9);
  EXPECT_NEAR(gradients("pytorch", 8, 0), 4, 1e-9);
  EXPECT_LT(gradients("pytorch", 8, 1), 2.001);
  EXPECT_NEAR(gradients("nanotron", 8, 0), 3, 1e-9);  // buckets in 16 bits
  EXPECT_NEAR(gradients("megatron", 8, 0), 2, 1e-9);  // views of one buffer
}

TEST_F(LayoutBuckets, SwitchesThatSumMakeAllReducesShorter) {
  EXPECT_TRUE(h100.links.reduces);
  EXPECT_FALSE(a100.links.reduces);
  Accelerator plain = h100;
  plain.links.reduces = false;
  ParallelLayout l;
  const auto seconds = [&](const Accelerator& device, double LayoutCost::* item) {
    return layout_cost(dense, device, stack, l, p).*item;
  };
  l.tensor = 8;
  EXPECT_LT(seconds(h100, &LayoutCost::tensor_s), 0.75 * seconds(plain, &LayoutCost::tensor_s));
  l.sequence_parallel = true;  // scatters and gathers
  EXPECT_EQ(seconds(h100, &LayoutCost::tensor_s), seconds(plain, &LayoutCost::tensor_s));
  l = {};
  l.data = 8;
  EXPECT_LT(seconds(h100, &LayoutCost::data_s), seconds(plain, &LayoutCost::data_s));
  l.data = 16;  // a ring through two nodes
  EXPECT_EQ(seconds(h100, &LayoutCost::data_s), seconds(plain, &LayoutCost::data_s));
}

}  // namespace
}  // namespace parallel_opt
