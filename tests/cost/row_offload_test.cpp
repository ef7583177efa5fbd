#include "parallel_opt/cost/row_offload.h"

#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

constexpr Offload kOptimizer{.optimizer = 1};
constexpr Offload kBoth{.optimizer = 1, .parameters = true};
constexpr Offload kActivations{.activations = 1};

TEST(RowOffload, WordsOfTheColumn) {
  EXPECT_EQ(offload_in_words("optimizer"), kOptimizer);
  EXPECT_EQ(offload_in_words("optimizer states, params"), kBoth);
  EXPECT_EQ(offload_in_words("full"), kBoth);
  EXPECT_EQ(offload_in_words("activations"), kActivations);
  for (const char* denied : {"no", "optimizer=False", "no optimizer offload", "params: off"}) {
    EXPECT_EQ(offload_in_words(denied), Offload{}) << denied;
  }
  EXPECT_EQ(offload_in_words("optimizer=True, params=False"), kOptimizer);
  EXPECT_EQ(offload_in_words("optimizer_memory_host_offload"),
            (Offload{.optimizer = 1, .fetched = true}));
  EXPECT_FALSE(offload_in_words("somewhat"));
  EXPECT_FALSE(offload_in_words("optimizer not offloaded"));
}

Offload found(const TrainingRow& row) {
  const RowOffload answer = offload_of(row);
  EXPECT_EQ(answer.wrong, "");
  return answer.offload;
}

TEST(RowOffload, FrameworksShardingAndRecomputationSayIt) {
  TrainingRow row;
  EXPECT_EQ(found(row), Offload{});
  row.framework = "HF + Deepspeed Zero 3 + Full Offload";
  EXPECT_EQ(found(row), kBoth);
  row.framework = "DeepSpeed ZeRO-Offload";
  EXPECT_EQ(found(row), kOptimizer);
  row.framework = "PyTorch";
  row.fsdp_zero = "FSDP2 cpu_offload";
  EXPECT_EQ(found(row), kBoth);
  row.fsdp_zero = "ZeRO-2 offload";
  EXPECT_EQ(found(row), kOptimizer);
  row.fsdp_zero = "ZeRO-3, optimizer offload";
  EXPECT_EQ(found(row), kOptimizer);
  row.fsdp_zero = "";
  row.recompute = "activation offloading";
  EXPECT_EQ(found(row), kActivations);
}

TEST(RowOffload, SwitchesInNotesCountForMore) {
  TrainingRow row;
  row.framework = "HF + Deepspeed Zero 3 + Full Offload";
  row.notes = "Opt Offl=Y; Par Offl=N; Zero=3";
  EXPECT_EQ(found(row), kOptimizer);
  row.notes = "Opt Offl=N; Par Offl=N; Zero=3";
  EXPECT_EQ(found(row), Offload{});
  row.framework = "MaxText";
  row.notes = "optimizer_memory_host_offload=True parameter_memory_host_offload=False";
  EXPECT_EQ(found(row), (Offload{.optimizer = 1, .fetched = true}));
  row.notes = "kept tensors go to the host";
  EXPECT_EQ(found(row), kActivations);
  for (const char* notes : {"ZeRO-Offload", "offload_optimizer: cpu",
                            "\"offload_optimizer\": "
                            "{\"device\": \"cpu\"}"}) {
    row.notes = notes;
    EXPECT_EQ(found(row), kOptimizer) << notes;
  }
  row.notes = "offload_optimizer: cpu, offload_param: cpu";
  EXPECT_EQ(found(row), kBoth);
  for (const char* notes : {"no ZeRO-Offload", "offload_optimizer: none"}) {
    row.notes = notes;
    EXPECT_EQ(found(row), Offload{}) << notes;
  }
  row.notes = "CPU offload False";  // LLM Foundry's tables say so in every row
  EXPECT_EQ(found(row), Offload{});
}

TEST(RowOffload, SentencesSayIt) {
  TrainingRow row;
  const auto of = [&](const char* notes) {
    row.notes = notes;
    return offload_of(row).offload;
  };
  for (const char* notes : {"optimizer offload", "optimizer states are offloaded", "CPU Adam",
                            "offloading of the optimizer", "Adam on the CPU"}) {
    EXPECT_EQ(of(notes).optimizer, 1) << notes;
  }
  EXPECT_EQ(of("activations offloaded to CPU").activations, 1);
  EXPECT_FALSE(of("no optimizer offload; AdamW").any());
  EXPECT_FALSE(of("activation offloading disabled").any());
  row.notes = "";
  row.fsdp_zero = "ZeRO-2, no offload";
  EXPECT_FALSE(offload_of(row).offload.any());
}

TEST(RowOffload, WhatGoesFollowsTheShardingWhereNobodySaysIt) {
  TrainingRow row;
  row.framework = "DeepSpeed";
  row.fsdp_zero = "ZeRO-2";
  for (const char* notes : {"cpu offload", "CPU offloading", "cpu_offload=True",
                            "offloaded to the host", "offload to CPU", "offload: cpu"}) {
    row.notes = notes;
    EXPECT_EQ(found(row), kOptimizer) << notes;
  }
  row.fsdp_zero = "ZeRO-3";
  EXPECT_EQ(found(row), kBoth);
  row.fsdp_zero = "";
  row.framework = "LLM Foundry";  // which shards weights unless a row says otherwise
  EXPECT_EQ(found(row), kBoth);
  row.framework = "PyTorch FSDP2";
  EXPECT_EQ(found(row), kBoth);
  row.framework = "PyTorch DDP";
  EXPECT_EQ(found(row), kOptimizer);
  row.notes = "ZeRO-Infinity";
  EXPECT_EQ(found(row), kBoth);
  for (const char* notes : {"no CPU offload", "CPU offload False", "cpu_offload: 0"}) {
    row.notes = notes;
    EXPECT_EQ(found(row), Offload{}) << notes;
  }
  row.notes = "activations offloaded to CPU";  // and nothing else
  EXPECT_EQ(found(row), kActivations);
  row.notes = "parameters are offloaded to the CPU";
  EXPECT_EQ(found(row), (Offload{.parameters = true}));
  row.notes = "";
  row.offload = "cpu";
  EXPECT_EQ(found(row), kOptimizer);
  row.offload = "yes";
  EXPECT_EQ(found(row), kOptimizer);
}

TEST(RowOffload, DisksAreNotModelled) {
  TrainingRow row;
  for (const char* notes : {"offload to NVMe", "NVMe offload", "ZeRO-Infinity with NVMe",
                            "\"offload_optimizer\": {\"device\": \"nvme\"}"}) {
    row.notes = notes;
    EXPECT_EQ(offload_of(row).wrong, "states on disks (NVMe) are not modelled") << notes;
  }
  for (const char* notes : {"data on NVMe; CPU offload", "no NVMe offload"}) {
    row.notes = notes;
    EXPECT_EQ(offload_of(row).wrong, "") << notes;
  }
  row.notes = "";
  row.offload = "optimizer, NVMe";
  EXPECT_EQ(offload_of(row).wrong, "states on disks (NVMe) are not modelled");
}

TEST(RowOffload, RowsAreReadWithIt) {
  TrainingRow row = testing::blocks_of("HF + Deepspeed Zero 3 + Full Offload", 40, 7168);
  row.gpu = "V100-32GB";
  row.gpus = row.dp = 16;
  row.heads = 32;
  row.vocab = 50257;
  row.seq_len = 1024;
  row.recompute = "full";
  row.micro_batch = 4;
  row.global_batch = 64;
  EXPECT_TRUE(testing::prediction_of(row).fits);  // 25e9 parameters, 16 bytes each, on 16
  row.offload = "none";
  EXPECT_FALSE(testing::prediction_of(row).fits);
  row.offload = "parameters";
  row.pp = 2;
  EXPECT_EQ(testing::skipped(row), "weights on the host are modelled without pipelines only");
  row.pp = 1;
  // Policies that name what goes to the host, unless the column has the last word.
  row.framework = "MaxText";
  row.offload = "";
  row.recompute = "qkv_proj_offloaded";
  EXPECT_NEAR(testing::case_of(row).layout.offload.activations, 3.0 / 4, 1e-9);
}

}  // namespace
}  // namespace parallel_opt
