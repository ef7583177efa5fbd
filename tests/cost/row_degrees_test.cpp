#include "parallel_opt/cost/row_degrees.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::blocks_of;
using testing::case_of;
using testing::skipped;
using testing::told;

/// Eight devices; what the degrees are is the test's.
TrainingRow split_as(const std::string& framework, std::optional<double> tp,
                     std::optional<double> pp, std::optional<double> dp) {
  TrainingRow row = blocks_of(framework, 8, 1024);
  row.tp = tp;
  row.pp = pp;
  row.dp = dp;
  return row;
}

TEST(RowDegrees, DevicesThatDegreesDoNotDivideAreTold) {
  TrainingRow row = split_as("Megatron-LM", 2, 2, {});
  row.gpus = 10;
  row.global_batch = 8;
  EXPECT_EQ(case_of(row).layout.data, 2);
  EXPECT_EQ(told(row, "tp x pp x cp = 4 does not divide gpus: 8 of them count"), 1);
  row.gpus = 8;
  EXPECT_EQ(testing::note_with(row, "does not divide gpus"), "");
}

TEST(RowDegrees, OneDeviceNeedsNone) {
  TrainingRow row = split_as("Megatron-LM", {}, {}, {});
  row.gpus = row.global_batch = 1;
  EXPECT_EQ(case_of(row).layout.devices(), 1);
  EXPECT_EQ(told(row, "tp and pp = 1, as none is stated"), 0);
}

TEST(RowDegrees, SoftwareThatSpreadsDataSaysNoOthers) {
  for (const char* framework : {"PyTorch FSDP", "PyTorch", "DeepSpeed", "LLM Foundry"}) {
    const TrainingRow row = split_as(framework, {}, {}, {});
    EXPECT_EQ(case_of(row).layout.data, 8) << framework;
    EXPECT_EQ(told(row, "tp and pp = 1, as none is stated"), 1) << framework;
  }
  EXPECT_EQ(skipped(split_as("Megatron-LM", {}, {}, {})), "tensor or pipeline degree is blank");
  TrainingRow sharded = split_as("Megatron-LM", {}, {}, {});
  sharded.fsdp_zero = "fsdp";
  EXPECT_EQ(case_of(sharded).layout.data, 8);
}

TEST(RowDegrees, TheNameOfAFrameworkSaysHowReplicasShare) {
  const auto stage = [](const char* framework, const char* column = "") {
    TrainingRow row = split_as(framework, 1, 1, 8);
    row.fsdp_zero = column;
    return case_of(row).layout.shard;
  };
  EXPECT_EQ(stage("PyTorch FSDP"), 3);
  EXPECT_EQ(stage("PyTorch FSDP2"), 3);
  EXPECT_EQ(stage("PyTorch DDP"), 0);
  EXPECT_EQ(stage("DeepSpeed ZeRO-3"), 3);
  EXPECT_EQ(stage("DeepSpeed ZeRO 1"), 1);
  EXPECT_EQ(stage("PyTorch FSDP", "no_shard"), 0);  // the column counts
}

TEST(RowDegrees, WhatTheOthersLeaveIsTheOneThatIsBlank) {
  const TrainingRow pipeline = split_as("Megatron-LM", 2, {}, 2);
  EXPECT_EQ(case_of(pipeline).layout.pipeline, 2);
  EXPECT_EQ(told(pipeline, "pp = what the other degrees leave of the devices"), 1);
  EXPECT_EQ(case_of(split_as("Megatron-LM", {}, 2, 2)).layout.tensor, 2);
  const TrainingRow both = split_as("Megatron-LM", {}, {}, 2);
  EXPECT_EQ(case_of(both).layout.tensor, 4);
  EXPECT_EQ(case_of(both).layout.pipeline, 1);
  EXPECT_EQ(told(both, "tp and pp = what dp leaves of the devices, tp inside a node"), 1);
  EXPECT_EQ(
      told(split_as("Megatron-LM", {}, {}, 8), "tp and pp = 1: the other degrees take all devices"),
      1);
  EXPECT_EQ(case_of(split_as("Megatron-LM", 2, {}, {})).layout.data, 4);
  EXPECT_EQ(skipped(split_as("Megatron-LM", {}, {}, 3)),
            "tensor or pipeline degree is blank, and the others do not part the devices");
}

TEST(RowDegrees, AMemorySizeThatIsNotStatedIsNoted) {
  TrainingRow row = blocks_of("PyTorch", 8, 1024);
  row.gpu = "A100";
  EXPECT_EQ(told(row, "gpu 'A100' is taken as A100-SXM-40GB, as its memory is not stated"), 1);
  row.gpu = "A100 80GB";
  EXPECT_EQ(testing::note_with(row, "gpu"), "");
}

}  // namespace
}  // namespace parallel_opt
