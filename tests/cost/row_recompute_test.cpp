#include "parallel_opt/cost/row_recompute.h"

#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

TEST(RowRecompute, SomeLayersAreComputedAgain) {
  TrainingRow row = testing::blocks_of("llm-foundry/Composer PyTorch FSDP", 24, 2048);
  row.fsdp_zero = "fsdp-FULL_SHARD";
  row.micro_batch = 4;
  row.global_batch = 64;
  const auto prediction = [&](const std::string& recompute) {
    row.recompute = recompute;
    return predict(testing::case_of(row), layout_parameters());
  };
  const RowPrediction none = prediction("none"), full = prediction("full");
  const RowPrediction half = prediction("full, 12 of 24 layers");
  EXPECT_NEAR(half.step_time_s.value, (none.step_time_s.value + full.step_time_s.value) / 2,
              0.01 * full.step_time_s.value);
  EXPECT_GT(half.peak_memory_bytes.value, full.peak_memory_bytes.value);
  EXPECT_LT(half.peak_memory_bytes.value, none.peak_memory_bytes.value);
  EXPECT_NEAR(half.flops_again, (none.flops_again + full.flops_again) / 2, 1e-6 * full.flops_again);
  EXPECT_EQ(prediction("block, 12 layers").step_time_s.value, half.step_time_s.value);
  EXPECT_EQ(prediction("block, 24 layers").step_time_s.value, full.step_time_s.value);
  row.framework = "Megatron-LM";  // whose number is of each stage
  row.pp = 2;
  row.dp = 4;
  EXPECT_EQ(prediction("block, 6 layers").step_time_s.value,
            prediction("12 of 24 layers").step_time_s.value);
}

}  // namespace
}  // namespace parallel_opt
