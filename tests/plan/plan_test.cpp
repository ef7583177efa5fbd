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

TEST(Plan, OneLineNamesEveryAxis) {
  Plan plan;
  plan.mesh = {2, 3, 4, 5, 6, 7};
  plan.execution.attention = AttentionKernel::unfused;
  plan.execution.keep_memory = true;
  plan.recompute = {{"a", {"a"}}, {"b", {"b"}}};
  EXPECT_EQ(one_line(plan),  // 2*3*4*5*6*7
            "5040 ranks, pipeline 2, shard 4, context 5, expert 6, tensor 7, fp32, unfused "
            "attention, memory kept, 2 blocks recomputed");
}

TEST(Plan, KeepsMemoryWhereASwitchIsThrownAndMemoryIsNotShort) {
  Job job;
  const Execution plain;
  EXPECT_FALSE(keeps_memory(plain, Precision::fp32, job));
  EXPECT_TRUE(keeps_memory(plain, Precision::fp16, job));
  Execution changed = plain;
  changed.fused_optimizer = true;
  EXPECT_TRUE(keeps_memory(changed, Precision::fp32, job));
  changed = plain;
  changed.memory_format = MemoryFormat::channels_last;
  EXPECT_TRUE(keeps_memory(changed, Precision::fp32, job));
  changed = plain;
  changed.attention = AttentionKernel::unfused;
  EXPECT_TRUE(keeps_memory(changed, Precision::fp32, job));
  job.objective = Objective::memory;
  EXPECT_FALSE(keeps_memory(changed, Precision::fp32, job));
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

TEST(Capabilities, EveryPrecisionHasItsElementType) {
  EXPECT_EQ(dtype_of(Precision::automatic), DType::fp32);
  EXPECT_EQ(dtype_of(Precision::fp32), DType::fp32);
  EXPECT_EQ(dtype_of(Precision::bf16), DType::bf16);
  EXPECT_EQ(dtype_of(Precision::fp16), DType::fp16);
  EXPECT_EQ(dtype_of(Precision::fp8), DType::fp8_e4m3fn);
}

TEST(Capabilities, FusedFormsAreThoseOfTorchOptim) {
  EXPECT_TRUE(has_fused_form(Optimizer::adamw, DeviceKind::cpu));
  EXPECT_TRUE(has_fused_form(Optimizer::sgd, DeviceKind::gpu));
  EXPECT_FALSE(has_fused_form(Optimizer::rmsprop, DeviceKind::cpu));
  EXPECT_FALSE(has_fused_form(Optimizer::lion, DeviceKind::cpu));
}

}  // namespace
}  // namespace parallel_opt
