#include "parallel_opt/cost/layouts.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cpu;
using testing::machine;
using testing::mlp;

LocalSpace space_of(const Graph& graph, const Cluster& cluster, const Job& job) {
  return local_space(graph, cluster, job, model_facts(graph, job.training));
}

TEST(Layouts, RanksDivideCoresAndThreadsHalve) {
  std::vector<std::string> seen;
  for (const Layout& l : space_of(mlp(64), machine({cpu(4)}), {}).layouts) {
    seen.push_back(std::to_string(l.ranks()) + "x" + std::to_string(l.threads));
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"1x4", "1x2", "1x1", "2x2", "2x1", "4x1"}));
}

TEST(Layouts, EqualDevicesAreCountedNotPermuted) {
  const Cluster cluster = machine({cpu(1), cpu(1), cpu(2)});
  const std::vector<Pool> pools = pools_of(cluster);
  EXPECT_EQ(pools, (std::vector<Pool>{{{0, 1}}, {{2}}}));
}

TEST(Layouts, MoreRanksThanSamplesAreLeftOut) {
  for (const Layout& l : space_of(mlp(3), machine({cpu(8)}), {}).layouts) EXPECT_LE(l.ranks(), 3);
  Job job;
  job.pins.data = 8;
  const LocalSpace space = space_of(mlp(3), machine({cpu(8)}), job);
  ASSERT_EQ(space.empty.size(), 1u);
  EXPECT_EQ(to_string(space.empty[0]),
            "job.global_batch: batch smaller than ranks: 3 samples for 8 replicas (use at most 3 "
            "ranks or a "
            "larger batch)");
}

TEST(Layouts, MicroBatchesAreCeilingsOfTheShare) {
  // ceil(20 / k), k = 1..8, 16: 20 10 7 5 4 4 3 3 2, and 1
  const LocalSpace space = space_of(mlp(20), machine({cpu(1)}), {});
  EXPECT_EQ(space.micro_batches.at(0), (std::vector<std::int64_t>{20, 10, 7, 5, 4, 3, 2, 1}));
}

TEST(Layouts, BatchNormalisationKeepsTheBatchWhole) {
  const LocalSpace space = space_of(testing::cnn(64), machine({cpu(1)}), {});
  EXPECT_EQ(space.micro_batches.at(0), std::vector<std::int64_t>{64});
}

TEST(Layouts, PinsNarrowTheSpace) {
  Job job;
  job.pins.compile = true;
  job.pins.threads = 1;
  job.pins.data = 2;
  job.pins.fused_optimizer = false;
  job.pins.recompute = "full";
  job.precision = Precision::fp32;
  const LocalSpace space = space_of(mlp(8, 16, 3), machine(), job);
  EXPECT_EQ(space.layouts, (std::vector<Layout>{{0, 1, 2, 1}}));
  EXPECT_EQ(space.compile, std::vector<bool>{true});
  EXPECT_EQ(space.fused_optimizer, std::vector<bool>{false});
  EXPECT_EQ(space.precisions, std::vector<Precision>{Precision::fp32});
  EXPECT_EQ(space.least_recompute[0], 3);
  EXPECT_EQ(space.most_recompute[0], 3);
}

TEST(Layouts, PinsThatNoEngineRunsAreNamed) {
  Job job;
  job.pins.tensor = 4;
  const LocalSpace space = space_of(mlp(), machine(), job);
  ASSERT_EQ(space.empty.size(), 1u);
  EXPECT_EQ(to_string(space.empty[0]),
            "job.pins.tensor: the engine pytorch runs at most 1, 4 is pinned (leave it out)");
}

TEST(Layouts, WhereTheModelLivesDecidesWhoRunsIt) {
  Device gpu = cpu(1);
  gpu.kind = DeviceKind::gpu;
  gpu.cores.clear();
  Job job;
  job.pins.device = DeviceKind::gpu;
  LocalSpace space = space_of(mlp(), machine({cpu(2), gpu}), job);
  EXPECT_EQ(space.layouts, (std::vector<Layout>{{1, 1, 1, 1}}));  // pool 1 is the GPU
  EXPECT_EQ(space.attention, std::vector<AttentionKernel>{AttentionKernel::fused});
  job.pins.device = DeviceKind::cpu;
  space = space_of(mlp(), machine({cpu(1), gpu}), job);
  EXPECT_EQ(space.layouts, (std::vector<Layout>{{0, 1, 1, 1}}));
  job.pins.device = DeviceKind::gpu;
  space = space_of(mlp(), machine({cpu(2)}), job);
  ASSERT_EQ(space.empty.size(), 1u);
  EXPECT_EQ(to_string(space.empty[0]),
            "job.pins.device: the cluster has no gpu device (move the model, or describe the "
            "devices)");
}

TEST(Layouts, OnlyImageModelsHaveAMemoryFormat) {
  EXPECT_EQ(space_of(mlp(), machine(), {}).memory_formats.size(), 1u);
  EXPECT_EQ(space_of(testing::cnn(), machine(), {}).memory_formats.size(), 2u);
}

TEST(Shares, AreEvenAndSumToTheBatch) {
  EXPECT_EQ(even_shares(10, 4), (std::vector<std::int64_t>{3, 3, 2, 2}));
  for (int replicas = 1; replicas < 50; ++replicas) {
    const std::vector<std::int64_t> shares = even_shares(137, replicas);
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}), 137);
    EXPECT_LE(shares.front() - shares.back(), 1);
  }
}

TEST(Layouts, PinnedRanksAboveTheCoresShareThem) {
  Job job;
  job.pins.data = 4;
  const LocalSpace space = space_of(mlp(64), machine({cpu(2)}), job);
  EXPECT_EQ(space.layouts, (std::vector<Layout>{{0, 1, 4, 1}}));
  job.pins.data = 3;  // does not divide 8 cores: 8 / 3 = 2 threads each
  EXPECT_EQ(space_of(mlp(64), machine({cpu(8)}), job).layouts, (std::vector<Layout>{{0, 1, 3, 2}}));
  job.pins.data = 6;  // two devices of two cores: three ranks on each
  EXPECT_EQ(space_of(mlp(64), machine({cpu(2), cpu(2)}), job).layouts,
            (std::vector<Layout>{{0, 2, 3, 1}}));
  job.pins.threads = 2;
  EXPECT_EQ(to_string(space_of(mlp(64), machine({cpu(2), cpu(2)}), job).empty.at(0)),
            "job.pins: no device of the cluster offers the pinned ranks and threads (a GPU takes "
            "one rank; threads of all ranks on a CPU are at most its cores)");
}

}  // namespace
}  // namespace parallel_opt
