#include "parallel_opt/plan/plan.h"

#include <gtest/gtest.h>

#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {
namespace {

TEST(Plan, OneLineNamesEverySwitchThatIsOn) {
  Plan plan;
  plan.placements = {{0, {0, 1}, 2}};
  EXPECT_EQ(one_line(plan), "1 rank x 2 threads, fp32");
  plan.precision = Precision::bf16;
  plan.execution = {true, MemoryFormat::channels_last, AttentionKernel::fused, true};
  EXPECT_EQ(one_line(plan), "1 rank x 2 threads, bf16, compiled, channels_last, fused optimizer");
  plan.mesh.data = 2;
  plan.placements = {{0, {0}, 1}, {0, {1}, 1}};
  plan.execution = {};
  plan.micro_batch = 4;
  plan.micro_batches = 3;
  plan.recompute = {{"blocks.0", {"blocks.0"}}};
  EXPECT_EQ(one_line(plan), "2 ranks x 1 thread, bf16, 3 micro-batches of 4, 1 block recomputed");
}

TEST(Plan, OneLineOfGpusHasNoThreads) {
  Plan plan;
  plan.mesh.data = 8;
  plan.mesh.tensor = 2;
  plan.placements.resize(16);
  EXPECT_EQ(one_line(plan), "16 ranks, tensor 2, fp32");
}

TEST(Plan, ReadsBackFromItsJson) {
  Plan plan;
  plan.model = "gpt";
  plan.placements = {{0, {0, 1}, 2}};
  plan.shares = {8};
  plan.recompute = {{"blocks.0", {"blocks.0"}}};
  plan.estimate.items = {{"optimizer", 0.5, {}, {}}};
  EXPECT_EQ(from_json<Plan>(to_json(plan), "plan.json"), plan);
}

TEST(Capabilities, PytorchRunsReplicasOnOneNode) {
  const Capabilities* engine = find_capabilities("pytorch");
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->most.data, kAnyDegree);
  EXPECT_EQ(engine->most.tensor, 1);
  EXPECT_FALSE(engine->several_nodes);
  EXPECT_EQ(find_capabilities("megatron"), nullptr);
  EXPECT_EQ(known_targets(), std::vector<std::string>{"pytorch"});
}

TEST(Capabilities, HalfPrecisionNeedsAGpu) {
  EXPECT_TRUE(can_run(Precision::bf16, DeviceKind::cpu));
  EXPECT_FALSE(can_run(Precision::fp16, DeviceKind::cpu));
  EXPECT_TRUE(can_run(Precision::fp16, DeviceKind::gpu));
  EXPECT_FALSE(can_run(Precision::fp8, DeviceKind::gpu));
  EXPECT_FALSE(can_run(Precision::automatic, DeviceKind::cpu));
}

TEST(Capabilities, FusedFormsAreThoseOfTorchOptim) {
  EXPECT_TRUE(has_fused_form(Optimizer::adamw, DeviceKind::cpu));
  EXPECT_TRUE(has_fused_form(Optimizer::sgd, DeviceKind::gpu));
  EXPECT_FALSE(has_fused_form(Optimizer::rmsprop, DeviceKind::cpu));
  EXPECT_FALSE(has_fused_form(Optimizer::lion, DeviceKind::cpu));
}

}  // namespace
}  // namespace parallel_opt
