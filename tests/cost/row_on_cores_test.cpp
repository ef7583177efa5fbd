#include "parallel_opt/cost/row_on_cores.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/importers/model.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::note_with;
using testing::skipped;

TrainingRow cores_row(double sockets) {
  TrainingRow row;
  row.gpu = "EPYC 9654";
  row.gpus = sockets;
  row.framework = "PyTorch DDP";
  row.model_name = "gpt2";
  row.seq_len = 1024;
  row.dtype = "fp32";
  row.dp = sockets;
  row.micro_batch = 2;
  row.global_batch = 2 * sockets;
  return row;
}

RowPrediction predicted(const TrainingRow& row) {
  const RowAnswer answer = predict(row);
  if (const auto* why = std::get_if<std::string>(&answer)) {
    ADD_FAILURE() << *why;
    return {};
  }
  return std::get<RowPrediction>(answer);
}

TEST(RowOnCores, IsWhatAPlanOnThatMachineIsEstimatedToTake) {
  const RowPrediction found = predicted(cores_row(2));
  const Graph graph = bind(load_model("transformer:layers=12,hidden=768,heads=12,vocab=50257,"
                                      "seq=1024"),
                           {{"batch", 4}});
  const Cluster cluster = load_cluster("2xEPYC-9654");
  Job job;
  job.global_batch = 4;
  job.precision = Precision::fp32;
  job.pins.data = 2;
  job.pins.micro_batch = 2;
  job.pins.compile = job.pins.fused_optimizer = false;
  const CostModel model(graph, cluster, job);
  const Estimate plain = model.estimate(model.plan(model.plain()));
  EXPECT_EQ(found.step_time_s.value, plain.step_time_s.value);
  EXPECT_EQ(found.step_time_s.low, plain.step_time_s.low);
  EXPECT_EQ(found.peak_memory_bytes.value, plain.peak_memory_bytes.value);
  EXPECT_TRUE(found.fits);
  EXPECT_EQ(found.taken.device, "EPYC-9654");
  EXPECT_EQ(found.taken.data, 2);
  EXPECT_EQ(
      std::ranges::count(found.notes, "predicted operator by operator, as plans on cores are"), 1);
}

TEST(RowOnCores, MoreWorkTakesLonger) {
  TrainingRow row = cores_row(1);
  const RowPrediction one = predicted(row);
  row.global_batch = 4;
  const RowPrediction accumulated = predicted(row);
  EXPECT_GT(accumulated.step_time_s.value, 1.5 * one.step_time_s.value);
  row.micro_batch = 4;
  const RowPrediction larger = predicted(row);
  EXPECT_GT(larger.peak_memory_bytes.value, one.peak_memory_bytes.value);
  row.recompute = "full";
  EXPECT_GT(predicted(row).step_time_s.value, larger.step_time_s.value);
  EXPECT_LT(predicted(row).peak_memory_bytes.value, larger.peak_memory_bytes.value);
  // 2,048 FLOP a cycle and core in bf16, 64 in fp32.
  row = cores_row(1);
  row.gpu = "Xeon 8480+";
  const double wide = predicted(row).step_time_s.value;
  row.dtype = "bf16";
  EXPECT_LT(predicted(row).step_time_s.value, 0.5 * wide);
  EXPECT_NEAR(one.flops, 6 * 124e6 * 2 * 1024, 0.2 * one.flops);
}

TEST(RowOnCores, ReplicasOfOneMachineAlone) {
  const std::string only = "rows of processors are predicted for replicas of one machine alone";
  TrainingRow row = cores_row(2);
  row.tp = 2;
  row.dp = 1;
  EXPECT_EQ(skipped(row), only);
  row = cores_row(2);
  row.fsdp_zero = "ZeRO-3";
  EXPECT_EQ(skipped(row), only);
  row = cores_row(4);
  row.gpus_per_node = 2;
  EXPECT_EQ(skipped(row), only);
  row.gpus_per_node = 4;
  EXPECT_EQ(skipped(row), "");
}

}  // namespace
}  // namespace parallel_opt
