#include "parallel_opt/cost/profiled.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/hardware/profile_convert.h"
#include "parallel_opt/hardware/profile_merge.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::gpt;

/// One device that profiles are of; its own numbers do not matter.
Cluster a100(const std::string& published, const ProfileFacts& facts,
             const std::string& file = "times.json") {
  Cluster cluster = testing::machine({testing::cpu(1)});
  cluster.devices.front().name = "A100-SXM-40GB";
  cluster.devices.front().kind = DeviceKind::gpu;
  cluster.devices.front().cores.clear();
  const std::vector<Fault> faults =
      add_profile(cluster, import_profile({{file, published}}, facts), "profiles[0]");
  EXPECT_TRUE(faults.empty());
  return cluster;
}

/// Sailor's way: [micro-batch][tensor degree][layer] = forward, backward, update. Embedding, four
/// blocks, head: 1 + 4 * 2 + 3 = 12 ms forward, 2 + 4 * 5 + 6 = 28 ms backward at 8 samples.
const char* const kSailor = R"({
  "4": {"1": {"0": [0.0005, 0.001, 0], "1": [0.001, 0.0025, 0], "2": [0.001, 0.0025, 0],
              "3": [0.001, 0.0025, 0], "4": [0.001, 0.0025, 0], "5": [0.0015, 0.003, 0]}},
  "8": {"1": {"0": [0.001, 0.002, 0], "1": [0.002, 0.005, 0], "2": [0.002, 0.005, 0],
              "3": [0.002, 0.005, 0], "4": [0.002, 0.005, 0], "5": [0.003, 0.006, 0]}}})";
const ProfileFacts kFacts = {.device = "A100-40"};

ProfiledQuestion question(const Cluster& cluster, double micro_batch, int blocks = 4) {
  return {&cluster.devices.front(), DType::fp32, micro_batch, blocks, 0};
}

TEST(Profiled, LayersAreSummedBetweenMeasuredMicroBatches) {
  const Cluster cluster = a100(kSailor, kFacts);
  const auto times = profiled_times(cluster, question(cluster, 8));
  ASSERT_TRUE(times.has_value());
  EXPECT_NEAR(times->forward_s, 12e-3, 1e-12);
  EXPECT_NEAR(times->backward_s.value(), 28e-3, 1e-12);
  // Half way between 4 samples (6 and 14 ms) and 8.
  const auto between = profiled_times(cluster, question(cluster, 6));
  ASSERT_TRUE(between.has_value());
  EXPECT_NEAR(between->forward_s, 9e-3, 1e-12);
  EXPECT_NEAR(between->backward_s.value(), 21e-3, 1e-12);
}

TEST(Profiled, WhatWasNotProfiledHasNoAnswer) {
  const Cluster cluster = a100(kSailor, kFacts);
  EXPECT_FALSE(profiled_times(cluster, question(cluster, 16)).has_value());
  EXPECT_FALSE(profiled_times(cluster, question(cluster, 8, 5)).has_value());
  ProfiledQuestion half = question(cluster, 8);
  half.dtype = DType::fp16;
  EXPECT_FALSE(profiled_times(cluster, half).has_value());
  EXPECT_FALSE(profiled_times(testing::machine(), question(cluster, 8)).has_value());
}

TEST(Profiled, GalvatronsBlockCountsOncePerBlock) {
  // Milliseconds of one sample: a block 4.5, embedding and head 3.25. Of 4 samples and 32 blocks:
  // 4 * (32 * 4.5 + 3.25) = 589 ms.
  const Cluster cluster =
      a100(R"({"layertype_0_bsz4_seq2048": 4.5, "layertype_other_bsz4_seq2048": 3.25})", kFacts,
           "computation_profiling_bf16_llama2-7b_all.json");
  ProfiledQuestion asked = question(cluster, 4, 32);
  asked.dtype = DType::bf16;
  asked.sequence = 2048;
  const auto times = profiled_times(cluster, asked);
  ASSERT_TRUE(times.has_value());
  EXPECT_NEAR(times->forward_s, 0.589, 1e-12);
  EXPECT_EQ(times->backward_s, std::nullopt);  // its published times are of forwards only
  asked.sequence = 4096;
  EXPECT_FALSE(profiled_times(cluster, asked).has_value());
}

TEST(Profiled, AnEstimateRestsOnThemAndSaysSo) {
  const Graph graph = gpt();  // 4 blocks, 8 samples
  Job job;
  job.precision = Precision::fp32;
  job.pins.compile = false;
  const Cluster with = a100(kSailor, kFacts);
  Cluster without = with;
  without.profiles.clear();
  const auto seconds = [&](const Cluster& cluster, const std::string& phase, Quality& quality) {
    const CostModel model(graph, cluster, job);
    const Estimate e = model.estimate(model.plan(model.plain()));
    quality = e.step_time_s.quality;
    double sum = 0;
    for (const EstimateItem& item : e.items) {
      if (item.name.starts_with(phase)) sum += item.seconds.value_or(0);
    }
    return sum;
  };
  Quality quality{};
  EXPECT_NEAR(seconds(with, "forward", quality), 12e-3, 1e-12);
  EXPECT_NEAR(seconds(with, "backward", quality), 28e-3, 1e-12);
  EXPECT_EQ(quality, Quality::reported);
  EXPECT_NE(seconds(without, "forward", quality), 12e-3);
  EXPECT_NE(quality, Quality::reported);
}

}  // namespace
}  // namespace parallel_opt
