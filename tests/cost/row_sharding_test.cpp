#include "parallel_opt/cost/row_sharding.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/row_notes.h"
#include "row_fixture.h"

/// What a row's words say ranks share of a model's states, and how many of them.
namespace parallel_opt {
namespace {

using testing::case_of;
using testing::llama_row;
using testing::note_with;
using testing::prediction_of;
using testing::skipped;
using testing::told;
using testing::usual_row;

/// On 32 nodes of eight.
TrainingRow wide_row(const char* cell, const char* notes = "") {
  TrainingRow row = usual_row("PyTorch FSDP");
  row.gpus = row.dp = 256;
  row.global_batch = 1024;
  row.fsdp_zero = cell;
  row.notes = notes;
  fill_from_notes(row);
  return row;
}

TEST(RowSharding, RanksThatShareAreCountedInManyWays) {
  for (const char* words : {"HSDP 64",
                            "HSDP64",
                            "HSDP, 64-way",
                            "HSDP (64)",
                            "hybrid shard (64)",
                            "HYBRID_SHARD 64",
                            "HSDP=64",
                            "hsdp shard_degree=64",
                            "HSDP, shard degree 64",
                            "hsdp, shard size 64",
                            "HSDP with shard group size of 64",
                            "FSDP over 64 GPUs",
                            "FSDP, 64-way",
                            "64-way FSDP",
                            "FSDP 64-way",
                            "ZeRO-3 with 64 ranks",
                            "ZeRO-3 64-way",
                            "ZeRO stage 3 across 64 devices",
                            "FSDP within 64 GPUs",
                            "fsdp=64",
                            "FSDP64"}) {
    const ParallelLayout layout = case_of(wide_row(words)).layout;
    EXPECT_EQ(layout.shard, 3) << words;
    EXPECT_EQ(layout.shard_degree, 64) << words;
    EXPECT_EQ(note_with(wide_row(words), "hybrid"), "") << words;
  }
  EXPECT_EQ(case_of(wide_row("ZeRO-1 64-way")).layout.shard, 1);
  EXPECT_EQ(case_of(wide_row("ZeRO-1 64-way")).layout.shard_degree, 64);
  // All of them, whatever splits a replica besides.
  EXPECT_EQ(case_of(wide_row("FSDP over 256 GPUs")).layout.shard_degree, 0);
  TrainingRow split = wide_row("FSDP over 256 GPUs");
  split.tp = 2;
  split.dp = 128;
  EXPECT_EQ(case_of(split).layout.shard_degree, 0);
}

TEST(RowSharding, NotesCountThemToo) {
  for (const char* notes :
       {"HSDP shard degree 64, replicas 4", "HSDP 64", "HSDP64", "hybrid sharding (64)",
        "FSDP over 64 GPUs", "fsdp=64", "ZeRO-3 with 64 ranks"}) {
    for (const char* cell : {"", "HSDP"}) {
      const ParallelLayout layout = case_of(wide_row(cell, notes)).layout;
      EXPECT_EQ(layout.shard, 3) << notes;
      EXPECT_EQ(layout.shard_degree, 64) << notes;
    }
  }
  for (const char* notes : {"FSDP; 64 GPUs", "no HSDP 64", "ZeRO-3 baseline of 64 samples"}) {
    EXPECT_EQ(case_of(wide_row("FSDP", notes)).layout.shard_degree, 0) << notes;
  }
}

TEST(RowSharding, HybridWithoutADegreeIsANode) {
  const std::string node =
      "the 8 ranks of a node share a copy, as hybrid sharding states no degree";
  for (const char* words : {"HSDP", "hybrid shard", "HYBRID_SHARD"}) {
    EXPECT_EQ(case_of(wide_row(words)).layout.shard_degree, 8) << words;
    EXPECT_EQ(told(wide_row(words), node), 1) << words;
  }
  EXPECT_EQ(case_of(wide_row("FSDP within a node")).layout.shard_degree, 8);
  EXPECT_EQ(told(wide_row("FSDP within a node"), node), 0);
  // Counted copies say it as well.
  EXPECT_EQ(case_of(wide_row("HSDP, 4 replicas")).layout.shard_degree, 64);
  EXPECT_EQ(case_of(wide_row("HSDP", "replicate degree: 16")).layout.shard_degree, 16);
  EXPECT_EQ(told(wide_row("HSDP, 4 replicas"), node), 0);
  EXPECT_EQ(case_of(wide_row("HSDP, 5 replicas")).layout.shard_degree, 8);  // which is no degree
}

TEST(RowSharding, HybridGrowsToAsFewNodesAsHoldTheRun) {
  // 69e9 parameters of 16 bytes: 138 GB on each of eight ranks, 34 GB on each of 32.
  TrainingRow row = wide_row("HSDP");
  row.model_name = "Llama-2-70B";
  row.layers = row.hidden = row.heads = std::nullopt;
  row.micro_batch = 1;
  const int ranks = case_of(row).layout.shard_degree;
  EXPECT_GT(ranks, 8);
  EXPECT_LE(ranks, 32);
  EXPECT_TRUE(prediction_of(row).fits);
  EXPECT_EQ(told(row, "the " + std::to_string(ranks) + " ranks of " + std::to_string(ranks / 8) +
                          " nodes, as few as hold it, share a copy, as hybrid sharding states no "
                          "degree"),
            1);
  row.fsdp_zero = "HSDP " + std::to_string(ranks / 2);
  EXPECT_FALSE(prediction_of(row).fits);
  row.fsdp_zero = "HSDP";
  row.failed = true;  // among how many it did, nobody knows
  EXPECT_EQ(case_of(row).layout.shard_degree, 8);
  row.failed = false;
  row.micro_batch = 512;  // that nothing holds
  row.global_batch = 512 * 256;
  row.recompute = "none";
  EXPECT_EQ(case_of(row).layout.shard_degree, 8);
}

TEST(RowSharding, DegreesOfBothKindsMayStandTogether) {
  for (const char* notes :
       {"FSDP64 x DP4", "FSDP64, DP4", "DP4 x FSDP64", "dp=4, fsdp=64", "FSDP 64, DP 4"}) {
    EXPECT_EQ(case_of(wide_row("", notes)).layout.shard_degree, 64) << notes;
  }
  // The second of its name.
  EXPECT_EQ(case_of(wide_row("", "FSDP2, DP 256")).layout.shard_degree, 0);
}

/// 64 devices in nodes of eight, which hold a replica each or share them.
TrainingRow said(const char* cell, const char* notes, const char* framework = "PyTorch FSDP") {
  TrainingRow row = llama_row(framework);
  row.gpus = row.dp = 64;
  row.global_batch = 512;
  row.fsdp_zero = cell;
  row.notes = notes;
  fill_from_notes(row);
  return row;
}

struct Shared {
  const char* words;
  int stage;
  int degree = 0;  ///< 0: all
};

constexpr Shared kEitherPlace[] = {
    {"SHARD_GRAD_OP", 2},
    {"sharding strategy SHARD_GRAD_OP", 2},
    {"ShardingStrategy.SHARD_GRAD_OP", 2},
    {"shard grad op", 2},
    {"FSDP SHARD_GRAD_OP", 2},
    {"FSDP (SHARD_GRAD_OP)", 2},
    {"fsdp-SHARD_GRAD_OP", 2},
    {"fsdp_sharding_strategy: 2", 2},
    {"fsdp_sharding_strategy=1", 3},
    {"NO_SHARD", 0},
    {"FSDP NO_SHARD", 0},
    {"sharding_strategy=NO_SHARD", 0},
    {"FULL_SHARD", 3},
    {"fully sharded data parallel", 3},
    {"HYBRID_SHARD", 3, 8},
    {"hybrid sharding", 3, 8},
    {"hybrid-sharded", 3, 8},
    {"FSDP HYBRID_SHARD", 3, 8},
    {"FSDP (hybrid shard)", 3, 8},
    {"HYBRID_SHARD_ZERO2", 2, 8},
    {"_HYBRID_SHARD_ZERO2", 2, 8},
    {"FSDP HYBRID_SHARD, shard group size 16", 3, 16},
    {"MiCS", 3, 8},
    {"hybrid FSDP", 3, 8},
    {"use_hsdp=True", 3, 8},
    {"sharding strategy: hybrid", 3, 8},
    {"FSDP v2", 3},
    {"use_fsdp", 3},
    {"reshard_after_forward=False", 2},
    {"reshard_after_forward never", 2},
    {"reshard_after_forward set to False", 2},
    {"reshard_after_forward: \"never\"", 2},
    {"FSDP2, reshard_after_forward=False", 2},
    {"FSDP2 reshard_after_forward=False", 2},
    {"FSDP, reshard_after_forward never", 2},
    {"FSDP2 without resharding after forward", 2},
    {"HSDP, reshard_after_forward=False", 2, 8},
    {"FSDP, reshard_after_forward=True", 3},
    {"FSDP in ZeRO-2 mode", 2},
    {"FSDP (ZeRO-2)", 2},
    {"ZeRO stage: 2", 2},
    {"ZeRO stage 2", 2},
    {"ZeRO, stage 2", 2},
    {"ZeRO (stage 2)", 2},
    {"zero_stage=2", 2},
    {"Zero Redundancy Optimizer stage 2", 2},
    {"zero_optimization: stage 2", 2},
    {"zero=2", 2},
    {"DeepSpeed stage 3", 3},
    {"ZeRO-3+offload of nothing", 3},
    {"FSDP+compile", 3},
    {"DDP with ZeRO-1", 1},
    {"DDP, distributed optimizer", 1},
    {"DDP", 0},
    {"DistributedDataParallel", 0},
    {"P_os", 1},
    {"ZeRO-OS", 1},
    {"ZeRO-Pos", 1},
    {"ZeRO-Pos+g", 2},
    {"P_os+g", 2},
    {"P_os+g+p", 3},
    {"optim_grads", 2},
    {"optim_grads_params", 3},
    {"dp_shard=8, dp_replicate=8", 3, 8},
    {"dp_shard 16, dp_replicate 4", 3, 16},
    {"dp_replicate=4", 3, 16},
    {"dp_replicate=1, dp_shard=64", 3},
    {"data_parallel_shard_degree=8, data_parallel_replicate_degree=8", 3, 8},
    {"data_parallel_replicate_degree = 4", 3, 16},
    {"FSDP group size 8", 3, 8},
    {"FSDP, sharding group of 8", 3, 8},
    {"FSDP process group size: 8", 3, 8},
    {"fsdp_size=8", 3, 8},
    {"FSDP degree 8", 3, 8},
    {"FSDP in groups of 8", 3, 8},
    {"FSDP over 2", 3, 2},
    {"FSDP2 over 1", 3, 1},
    {"FSDP2 over 16 GPUs.", 3, 16},
    {"FSDP over 2 nodes", 3, 16},
    {"FSDP across 8 nodes", 3},
    {"FSDP within a node", 3, 8},
    {"FSDP within a node, DDP across nodes", 3, 8},
    {"HSDP, shard 2", 3, 2},
    {"HSDP 2x32", 3, 8},
    {"FSDP, 8-way TP", 3},
    {"FSDP over 2 pods", 3},
    {"FSDP for 8 epochs", 3},
    {"HSDP (shard 16, replicate 4)", 3, 16},
    {"HSDP, 4 replicas", 3, 16},
    {"HSDP with shards of 16", 3, 16},
    {"16-way sharding, 4-way replication", 3, 16},
    {"sharded over 16 and replicated 4 times", 3, 16},
    {"ZeRO-3, shard 16", 3, 16},
    {"ZeRO-1, shard degree 4", 1, 4},
    {"zero1(shard 4)", 1, 4},
    {"zero1 = dict(size=4)", 1, 4},
    {"ZeRO-2 64-way", 2},
    {"16-way fully sharded data parallelism, 2 pods", 3, 16},
    {"SHARD_GRAD_OP over 16 ranks", 2, 16},
};

TEST(RowSharding, CellsAndNotesAreReadAlike) {
  for (const Shared& one : kEitherPlace) {
    for (const TrainingRow& row : {said(one.words, ""), said("", one.words)}) {
      const ParallelLayout layout = case_of(row).layout;
      const char* where = row.notes.empty() ? " in the cell" : " in the notes";
      EXPECT_EQ(layout.shard, one.stage) << one.words << where;
      const int degree = one.stage > 0 ? layout.shard_degree : 0;
      EXPECT_EQ(degree, one.degree) << one.words << where << ": " << row.fsdp_zero;
    }
  }
  TrainingRow row = said("256-way fully sharded data parallelism, 2 pods", "");
  row.gpus = row.dp = row.global_batch = 512;
  EXPECT_EQ(case_of(row).layout.shard_degree, 256);
  row.fsdp_zero = "ZeRO-3, shard 128";
  EXPECT_EQ(case_of(row).layout.shard_degree, 128);
}

TEST(RowSharding, CellsMayBeShort) {
  for (const Shared& one :
       {Shared{"16-way", 3, 16}, Shared{"64-way", 3}, Shared{"OS", 1}, Shared{"p_g_os", 3},
        Shared{"os_g", 2}, Shared{"OSS", 1}, Shared{"Z2", 2}, Shared{"3", 3},
        Shared{"stage 2, sd 8", 2, 8}, Shared{"sharding stage2", 2}, Shared{"optim", 1},
        Shared{"on", 3}, Shared{"distributed optimizer, shard 8", 1, 8}, Shared{"off", 0}}) {
    const ParallelLayout layout = case_of(said(one.words, "")).layout;
    EXPECT_EQ(layout.shard, one.stage) << one.words;
    EXPECT_EQ(layout.shard_degree, one.degree) << one.words;
  }
  for (const char* cell : {"ZeRO-2 and ZeRO-3", "SHARD_GRAD_OP, ZeRO-3", "somehow"}) {
    EXPECT_EQ(skipped(said(cell, "")), std::string("fsdp_zero '") + cell + "' is not understood");
  }
}

TEST(RowSharding, SignsOfZeroAreThoseOfEveryStack) {
  for (const char* framework : {"Megatron-DeepSpeed", "DeepSpeed", "PyTorch", "InternEvo"}) {
    EXPECT_EQ(case_of(said("ZeRO-OS", "", framework)).layout.shard, 1) << framework;
    EXPECT_EQ(case_of(said("P_os", "", framework)).layout.shard, 1) << framework;
    EXPECT_EQ(case_of(said("ZeRO-Pos", "", framework)).layout.shard, 1) << framework;
    EXPECT_EQ(case_of(said("ZeRO-Pos+g", "", framework)).layout.shard, 2) << framework;
    EXPECT_EQ(note_with(said("ZeRO-Pos", "", framework), "the lowest"), "") << framework;
  }
  EXPECT_EQ(case_of(said("", "zero1(shard 4)", "InternEvo")).layout.shard_degree, 4);
}

TEST(RowSharding, NamesOfFrameworksAreReadLikewise) {
  for (const Shared& one :
       {Shared{"PyTorch FSDP SHARD_GRAD_OP", 2}, Shared{"DeepSpeed ZeRO stage 3", 3},
        Shared{"PyTorch (FSDP, hybrid shard)", 3, 8}, Shared{"PyTorch DDP", 0},
        Shared{"PyTorch (no FSDP; DDP)", 0}, Shared{"DeepSpeed ZeRO-1", 1}}) {
    const ParallelLayout layout = case_of(said("", "", one.words)).layout;
    EXPECT_EQ(layout.shard, one.stage) << one.words;
    EXPECT_EQ(layout.shard_degree, one.degree) << one.words;
  }
}

TEST(RowSharding, OtherWordsAreNoSharding) {
  for (const char* notes : {"no ZeRO-2",
                            "not HSDP",
                            "FSDP (SHARD_GRAD_OP was slower)",
                            "SHARD_GRAD_OP was slower",
                            "SHARD_GRAD_OP OOMs",
                            "instead of SHARD_GRAD_OP",
                            "faster than HYBRID_SHARD",
                            "ZeRO-2 and ZeRO-3 compared",
                            "ZeRO-1 or ZeRO-2",
                            "SHARD_GRAD_OP and NO_SHARD compared",
                            "ZeRO 2 nodes",
                            "zero 1.5 % spikes",
                            "zero bubble",
                            "hybrid attention",
                            "a hybrid model",
                            "mixed shards",
                            "16 data shards",
                            "shard size 8 MB",
                            "vocabulary sharded over 8 ranks",
                            "from x/fms-fsdp README.md",
                            "deepspeed-zero2.json of the page",
                            "stage 2 of training",
                            "linear schedule with 2-way split",
                            "os: Linux",
                            "Gemini 2 vocabulary",
                            "reshard_after_forward=False was slower",
                            "without SHARD_GRAD_OP"}) {
    const ParallelLayout layout = case_of(said("", notes)).layout;
    EXPECT_EQ(layout.shard, 3) << notes;
    EXPECT_EQ(layout.shard_degree, 0) << notes;
  }
  for (const char* notes : {"no ZeRO", "no distributed optimizer", "without FSDP", "FSDP disabled",
                            "use_fsdp: False; FSDP was not used"}) {
    EXPECT_EQ(said("", notes, "Megatron-LM").fsdp_zero, "none") << notes;
  }
  for (const char* notes : {"no HSDP", "without FSDP prefetch", "no FSDP2", "FSDP and DDP"}) {
    EXPECT_EQ(said("", notes, "Megatron-LM").fsdp_zero, "") << notes;
  }
}

TEST(RowSharding, NotesSayWhichWayOfFsdpACellHas) {
  EXPECT_EQ(case_of(said("FSDP", "SHARD_GRAD_OP")).layout.shard, 2);
  EXPECT_EQ(case_of(said("FSDP2", "reshard_after_forward=False")).layout.shard, 2);
  EXPECT_EQ(case_of(said("FSDP", "hybrid sharding")).layout.shard_degree, 8);
  EXPECT_EQ(said("FSDP", "FSDP2, ZeRO-1").fsdp_zero, "FSDP");
  EXPECT_EQ(said("FULL_SHARD", "SHARD_GRAD_OP").fsdp_zero, "FULL_SHARD");
}

TEST(RowSharding, AStageThatNobodyStatesIsTold) {
  const std::string way = "fsdp_zero = ZeRO stage 1, as is megatron's way, as it is blank";
  EXPECT_EQ(told(said("", "", "Megatron-LM"), way), 1);
  EXPECT_EQ(told(said("ZeRO-1", "", "Megatron-LM"), way), 0);
  EXPECT_EQ(told(said("", "ZeRO-1", "Megatron-LM"), way), 0);
  EXPECT_EQ(note_with(said("", "", "PyTorch FSDP"), "way, as it is blank"), "");
  EXPECT_EQ(note_with(said("", "", "megatron-2020"), "way, as it is blank"), "");
  TrainingRow alone = said("", "", "Megatron-LM");
  alone.gpus = alone.dp = alone.global_batch = 1;
  EXPECT_EQ(told(alone, way), 0);
  EXPECT_EQ(told(said("ZeRO", "", "Megatron-DeepSpeed"),
                 "ZeRO stage 1, the lowest with which it fits, as none is stated"),
            1);
  TrainingRow wide = said("ZeRO", "", "PyTorch");  // 16 bytes of 6.7e9 parameters
  EXPECT_NE(note_with(wide, "ZeRO stage "), "");
  EXPECT_EQ(note_with(said("ZeRO-2", "", "PyTorch"), "ZeRO stage "), "");
}

}  // namespace
}  // namespace parallel_opt
