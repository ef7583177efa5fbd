#include "parallel_opt/cost/row_recompute.h"

#include <gmock/gmock.h>

#include "parallel_opt/cost/layout_cost.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::prediction_of;
using testing::told;
using testing::usual_row;

TEST(RowRecompute, SomeLayersAreComputedAgain) {
  TrainingRow row = usual_row("llm-foundry/Composer PyTorch FSDP");
  row.fsdp_zero = "fsdp-FULL_SHARD";
  const auto prediction = [&](const std::string& recompute) {
    row.recompute = recompute;
    return prediction_of(row);
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

/// Bytes of activations that each micro-batch keeps, without what allocators add.
double kept(const TrainingRow& row) {
  const RowCase one = case_of(row);
  return layout_cost(*one.facts, one.device, one.stack, one.layout, layout_parameters())
      .activations_bytes;
}

// Of one stage there is no doubt which they are of.
TEST(RowRecompute, LayersAreCountedInAWord) {
  TrainingRow row = usual_row("Megatron-LM");
  row.recompute = "6 layers";
  EXPECT_EQ(case_of(row).recompute.value().per_stage, 6);
  TrainingRow same = row;
  same.recompute = "block, 6 layers";
  EXPECT_EQ(prediction_of(row).step_time_s.value, prediction_of(same).step_time_s.value);
  row.pp = 4;
  row.dp = 2;
  EXPECT_EQ(testing::skipped(row),
            "recompute '6 layers' is not understood: of the model, or of each stage");
}

TEST(RowRecompute, ResultsOfSomePartsAreMadeAgain) {
  TrainingRow row = testing::blocks_of("Megatron-Core", 32, 4096);
  row.gpu = "H100";
  row.ffn_hidden = 11008;
  row.seq_len = 4096;
  const auto saves = [&](const std::string& parts) {
    row.recompute = "none";
    const double all = kept(row);
    row.recompute = parts;
    return (all - kept(row)) / (32 * 2.0 * 4096);  // blocks, bytes, tokens: numbers of each
  };
  // The product of gate and up-projection, which the down-projection reads; both norms' results.
  EXPECT_NEAR(saves("mlp_act"), 11008, 0.04 * 11008);
  EXPECT_NEAR(saves("layernorm"), 2 * 4096, 0.06 * 2 * 4096);
  // A checkpoint of the whole feed-forward part keeps its result: gate, up and their product go.
  EXPECT_NEAR(saves("mlp"), 3 * 11008, 0.04 * 3 * 11008);
  EXPECT_NEAR(saves("mlp_act, layernorm"), 11008 + 2 * 4096, 0.05 * (11008 + 2 * 4096));
}

TEST(RowRecompute, LatentAttentionsProjectionsAreMadeAgain) {
  TrainingRow row = testing::replicas_of("Megatron-Core");
  row.gpu = "H800";
  row.gpus = 2048;
  row.model_name = "DeepSeek-V3";
  row.seq_len = 4096;
  row.pp = 16;
  row.ep = 64;
  row.dp = 128;
  row.global_batch = 15360;
  row.recompute = "none";
  const double all = kept(row);
  row.recompute = "mla_up_proj";
  // 128 heads: queries and keys of 192, values beside what their keys are made of, 256; 61 blocks
  // of 16 stages, 16 in flight.
  const double heads = 128 * (192 + 192 + 256.0) * 2 * 4096 * 61;
  EXPECT_NEAR(all - kept(row), heads, 0.06 * heads);
}

TEST(RowRecompute, ABlankCellMeansAsMuchAsItTakes) {
  TrainingRow row = testing::blocks_of("Megatron-Core", 32, 4096);
  row.seq_len = 4096;
  row.gpus = row.dp = 64;
  row.fsdp_zero = "ZeRO-1";
  row.notes = "fused attention";
  const auto prediction = [&](const std::string& recompute, double micro_batch) {
    row.recompute = recompute;
    row.micro_batch = micro_batch;
    row.global_batch = 64 * micro_batch;
    return prediction_of(row);
  };
  // Fits as it is: nothing is computed again.
  EXPECT_EQ(prediction("", 1).step_time_s.value, prediction("none", 1).step_time_s.value);
  const RowPrediction some = prediction("", 4), none = prediction("none", 4),
                      full = prediction("full", 4);
  ASSERT_FALSE(none.fits);
  ASSERT_TRUE(full.fits);
  EXPECT_TRUE(some.fits);
  EXPECT_GT(some.step_time_s.value, none.step_time_s.value);
  EXPECT_LT(some.step_time_s.value, full.step_time_s.value);
  EXPECT_LE(some.needed_bytes, some.capacity_bytes);
  EXPECT_GT(some.needed_bytes, 0.9 * some.capacity_bytes);  // one block fewer would not fit
  EXPECT_LT(some.peak_memory_bytes.value, none.peak_memory_bytes.value);
  EXPECT_THAT(some.notes, Contains(HasSubstr("as few as it takes to fit")));
  // Not even with all of them: what it would take at least, and as long.
  const RowPrediction never = prediction("", 64);
  EXPECT_FALSE(never.fits);
  EXPECT_EQ(never.needed_bytes, prediction("full", 64).needed_bytes);
  EXPECT_EQ(never.step_time_s.value, prediction("full", 64).step_time_s.value);
}

TEST(RowRecompute, WhatNotesSayOfItIsTold) {
  TrainingRow row = usual_row();
  EXPECT_EQ(told(row, "recompute from the notes"), 0);
  row.notes = "uses activation checkpointing";
  EXPECT_EQ(told(row, "recompute from the notes"), 1);
  row.recompute = "full";  // the cell counts
  EXPECT_EQ(told(row, "recompute from the notes"), 0);
}

TEST(RowRecompute, ACellThatLeavesItOpenMeansWhatABlankDoes) {
  for (const char* words : {"unknown", "auto", "not reported", "unstated", "custom", "not stated",
                            "Custom policy", "recomputation not reported", "unspecified"}) {
    TrainingRow row = usual_row();
    const RowCase blank = case_of(row);
    row.recompute = words;
    EXPECT_EQ(case_of(row).layout, blank.layout) << words;
    EXPECT_EQ(case_of(row).may_recompute, blank.may_recompute) << words;
    EXPECT_EQ(told(row, "recompute '" + std::string(words) + "' counts as blank"), 1);
  }
  TrainingRow row = usual_row();
  row.recompute = "auto";
  row.notes = "full recomputation";
  EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::full);
  row.notes = "";
  row.recompute = "custom policy; the input of each block is offloaded to the host";
  EXPECT_EQ(case_of(row).layout.offload.activations, 1);
  EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::none);
  EXPECT_FALSE(case_of(row).recompute);
  row.recompute = "auto (selective)";
  EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::selective);
  EXPECT_EQ(testing::note_with(row, "counts as blank"), "");
  for (const char* words : {"nonsense", "custom nonsense", "automatic gearbox", "auto; nonsense"}) {
    row.recompute = words;
    EXPECT_EQ(testing::skipped(row), "recompute '" + std::string(words) + "' is not understood");
  }
}

TEST(RowRecompute, LessMemoryIsNeverFaster) {
  for (const char* framework : {"Megatron-Core", "torchtitan", "NeMo"}) {
    TrainingRow row = testing::blocks_of(framework, 48, 6144);
    row.seq_len = 2048;
    row.tp = row.gpus = 8;
    row.pp = row.dp = 1;
    row.micro_batch = 4;
    row.global_batch = 64;
    double before = 1e30;
    for (int gigabytes = 40; gigabytes <= 80; gigabytes += 2) {
      row.gpu = "H100-" + std::to_string(gigabytes) + "GB";
      const RowPrediction found = prediction_of(row);
      EXPECT_LE(found.step_time_s.value, before * (1 + 1e-9)) << framework << gigabytes;
      if (found.fits) {
        EXPECT_LE(found.needed_bytes, found.capacity_bytes);
      }
      before = found.step_time_s.value;
    }
  }
}

TEST(RowRecompute, TensorRanksShareInputsWhereWordsSaySo) {
  TrainingRow row = usual_row("Megatron-DeepSpeed");
  row.tp = 8;
  row.dp = 1;
  row.recompute = "full";
  const double whole = kept(row);
  for (const char* words :
       {"partition_activations=True", "P_a", "Pa", "--distribute-saved-activations",
        "--distributed-saved-activations", "activation partitioning", "partitioned activations",
        "activation checkpointing, partitioned"}) {
    for (std::string TrainingRow::* cell :
         {&TrainingRow::notes, &TrainingRow::recompute, &TrainingRow::fsdp_zero}) {
      TrainingRow said = row;
      said.*cell = cell == &TrainingRow::recompute ? words
                   : cell == &TrainingRow::notes   ? words
                                                   : std::string("ZeRO-1, ") + words;
      // 24 inputs of 4 x 2048 x 2048 in 2 bytes, of which an eighth stays.
      EXPECT_NEAR(whole - kept(said), 24 * 0.875 * 2.0 * 4 * 2048 * 2048, 1) << words;
      EXPECT_EQ(case_of(said).layout.recompute, RecomputeRule::full) << words;
      EXPECT_EQ(case_of(said).layout.shard, 1) << words;
      EXPECT_THAT(case_of(said).notes, Not(Contains(HasSubstr("partitioned")))) << words;
    }
  }
  row.notes = "partition_activations=False; pa system";
  EXPECT_EQ(kept(row), whole);
}

TEST(RowRecompute, SharedInputsMayGoToTheHostOrCountForNothing) {
  TrainingRow row = usual_row("Megatron-DeepSpeed");
  row.tp = 8;
  row.dp = 1;
  row.recompute = "full";
  row.notes = "P_a+cpu";
  EXPECT_EQ(case_of(row).layout.offload.activations, 1);
  EXPECT_TRUE(case_of(row).stack.splits_kept);
  row.notes = "partition_activations: true, cpu_checkpointing: true";
  EXPECT_EQ(case_of(row).layout.offload.activations, 1);
  row.notes = "P_a";
  EXPECT_EQ(case_of(row).layout.offload.activations, 0);
  row.recompute = "none";
  EXPECT_THAT(case_of(row).notes,
              Contains("partitioned activations count for nothing, as no whole block is computed "
                       "again"));
  row.recompute = "full";
  row.tp = 1;
  row.dp = 8;
  EXPECT_THAT(case_of(row).notes,
              Contains("partitioned activations count for nothing, as tp is 1"));
}

}  // namespace
}  // namespace parallel_opt
