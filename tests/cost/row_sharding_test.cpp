#include <gtest/gtest.h>

#include "parallel_opt/cost/row_notes.h"
#include "parallel_opt/cost/row_words.h"
#include "row_fixture.h"

/// How many ranks share one copy of a model's states.
namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::prediction_of;
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

}  // namespace
}  // namespace parallel_opt
