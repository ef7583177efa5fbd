#include "parallel_opt/plan/validate.h"

#include <gtest/gtest.h>

#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

/// A good plan of two ranks with one thread each on four samples each; every test breaks one thing.
class Validate : public ::testing::Test {
 protected:
  Graph graph = testing::mlp(8, 16, 2);
  Cluster cluster = testing::machine();
  Job job;
  Plan plan;

  void SetUp() override {
    plan.model = "mlp";
    plan.mesh.data = 2;
    plan.placements = {{0, {0}, 1}, {0, {1}, 1}};
    plan.devices_used = 1;
    plan.global_batch = 8;
    plan.micro_batch = 4;
    plan.micro_batches = 1;
    plan.shares = {4, 4};
    plan.stages = {{{}, {0, 1}}};
    plan.provenance.model_hash = graph_hash(graph);
    plan.provenance.cluster_hash = hardware_hash(cluster);
  }
  std::string faults() const {
    std::string text;
    for (const Fault& fault : validate(graph, cluster, job, plan)) text += to_string(fault) + "\n";
    return text;
  }
};

TEST_F(Validate, GoodPlanHasNoFault) { EXPECT_EQ(faults(), ""); }

TEST_F(Validate, PlanForOtherHardware) {
  plan.provenance.cluster_hash = "0123456789abcdef";
  EXPECT_EQ(faults(),
            "plan.provenance.cluster_hash: plan for other hardware (0123456789abcdef, this is " +
                hardware_hash(cluster) + ") (plan anew on this machine)\n");
}

TEST_F(Validate, PlanForAnotherModel) {
  plan.provenance.model_hash = "0123456789abcdef";
  EXPECT_EQ(faults(),
            "plan.provenance.model_hash: plan for another model (0123456789abcdef, this is " +
                graph_hash(graph) + ") (plan this model anew)\n");
}

TEST_F(Validate, PinnedAttention) {
  job.pins.attention = AttentionKernel::fused;
  plan.execution.attention = AttentionKernel::unfused;
  EXPECT_EQ(faults(), "plan.execution.attention: unfused, the job pins fused\n");
}

TEST_F(Validate, ModelWithoutParameters) {
  for (Tensor& tensor : graph.tensors) tensor.requires_grad = false;
  plan.provenance = {};
  EXPECT_EQ(faults(), "model: no trainable parameters (a job with training off needs none)\n");
  job.training = false;
  EXPECT_EQ(faults(), "");
}

TEST_F(Validate, BatchSmallerThanRanks) {
  job.global_batch = plan.global_batch = 1;
  plan.micro_batch = 1;
  plan.shares = {1, 0};
  EXPECT_EQ(faults(),
            "plan.global_batch: batch smaller than ranks: 1 samples for 2 replicas (use at most 1 "
            "ranks or a "
            "larger batch)\n");
}

TEST_F(Validate, GlobalBatchIsKeptExactly) {
  job.global_batch = 9;
  EXPECT_EQ(faults(), "plan.global_batch: 8, the job wants 9\n");
}

TEST_F(Validate, SharesSumToTheGlobalBatch) {
  plan.shares = {4, 3};
  EXPECT_EQ(faults(), "plan.shares: they sum to 7, the global batch is 8\n");
  plan.shares = {8, 0};
  plan.micro_batch = 8;
  EXPECT_EQ(faults(), "plan.shares[1]: 0 samples\n");
  plan.shares = {8};
  EXPECT_EQ(faults(), "plan.shares: 2 replicas, shares are given for 1\n");
}

TEST_F(Validate, UnevenSharesAreAllowed) {
  plan.shares = {5, 3};
  plan.micro_batch = 5;
  EXPECT_EQ(faults(), "");
}

TEST_F(Validate, MicroBatchesCoverTheLargestShare) {
  plan.micro_batch = 3;  // ceil(4 / 3) = 2
  EXPECT_EQ(faults(),
            "plan.micro_batches: 1 stated, a share of 4 samples makes 2 micro-batches of 3\n");
  plan.micro_batches = 2;
  EXPECT_EQ(faults(), "");
  plan.micro_batch = 0;
  EXPECT_EQ(faults(), "plan.micro_batch: 0 samples\n");
}

TEST_F(Validate, MicroBatchesMayNotCutABatchNormalisation) {
  graph = testing::cnn(8, 8, 2);
  plan.provenance = {};
  plan.micro_batch = plan.micro_batches = 2;
  EXPECT_EQ(faults(),
            "plan.micro_batches: operator op1 mixes the samples of a batch: micro-batches give "
            "other results "
            "(use one micro-batch)\n");
}

TEST_F(Validate, PlacementsAreAsManyAsRanks) {
  plan.placements.pop_back();
  EXPECT_EQ(faults(), "plan.placements: the mesh has 2 ranks, placements are given for 1\n");
}

TEST_F(Validate, DevicesAndCoresExistAndAreGivenOnce) {
  plan.placements[1].device = 3;
  EXPECT_EQ(faults(), "plan.placements[1].device: there is no device 3 (the cluster has 1)\n");
  plan.placements[1] = {0, {7}, 1};
  EXPECT_EQ(faults(), "plan.placements[1].cores: device 0 has no core 7\n");
  plan.placements[1] = {0, {0}, 1};
  EXPECT_EQ(faults(), "plan.placements[1].cores: core 0 is given twice\n");
}

TEST_F(Validate, ThreadsFitTheirCores) {
  plan.placements[1].threads = 0;
  EXPECT_EQ(faults(), "plan.placements[1].threads: 0 is below 1\n");
  plan.placements[1].threads = 2;
  EXPECT_EQ(faults(),
            "plan.placements[1].threads: 2 threads on 1 cores\n"
            "plan.placements: 3 threads on device 0, which has 2 cores\n");
}

TEST_F(Validate, AGpuTakesOneRank) {
  Device gpu = testing::cpu();
  gpu.kind = DeviceKind::gpu;
  cluster.devices = {gpu};
  plan.provenance = {};
  plan.placements = {{0, {}, 1}, {0, {}, 1}};
  EXPECT_EQ(faults(), "plan.placements: device 0 is given to 2 ranks (a GPU takes one rank)\n");
}

TEST_F(Validate, OneNodeOnly) {
  cluster = testing::machine({testing::cpu(1), testing::cpu(1)});
  cluster.nodes.push_back(cluster.nodes.front());
  cluster.devices[1].node = 1;
  plan.placements = {{0, {0}, 1}, {1, {1}, 1}};
  plan.devices_used = 2;
  plan.provenance = {};
  EXPECT_EQ(faults(), "plan.placements: the engine pytorch runs on one node, the plan uses 2\n");
}

TEST_F(Validate, DevicesUsedAreCounted) {
  plan.devices_used = 2;
  EXPECT_EQ(faults(), "plan.devices_used: 2 stated, the placements use 1\n");
}

TEST_F(Validate, AxesThatTheEngineLacks) {
  plan.mesh.data = 1;
  plan.mesh.tensor = 2;
  plan.shares = {8};
  plan.micro_batch = 8;
  EXPECT_EQ(faults(), "plan.mesh.tensor: the engine pytorch runs at most 1, the plan has 2\n");
  plan.mesh.tensor = 0;
  EXPECT_NE(faults().find("plan.mesh.tensor: 0 is below 1\n"), std::string::npos);
}

TEST_F(Validate, UnknownEngine) {
  job.target = "jax";
  EXPECT_EQ(faults(), "job.target: no engine is called \"jax\" (known: pytorch)\n");
}

TEST_F(Validate, StagesHoldEveryRankOnce) {
  plan.stages = {{{}, {0, 0, 5}}};
  EXPECT_EQ(faults(),
            "plan.stages[0].ranks: there is no rank 5\n"
            "plan.stages: rank 0 is in 2 stages\n"
            "plan.stages: rank 1 is in 0 stages\n");
  plan.stages.clear();
  EXPECT_EQ(faults(), "plan.stages: 1 pipeline stages, 0 are given\n");
  plan.stages = {{{"layers.9"}, {0, 1}}};
  EXPECT_EQ(faults(), "plan.stages[0].blocks: the model has no module \"layers.9\"\n");
}

TEST_F(Validate, AScheduleNeedsStages) {
  plan.schedule = "1f1b";
  EXPECT_EQ(faults(), "plan.schedule: \"1f1b\" without pipeline stages (none)\n");
}

TEST_F(Validate, RecomputeNamesExist) {
  plan.recompute = {{"layers.0", {"layers.0"}}};
  EXPECT_EQ(faults(), "");
  plan.recompute = {{"layers.7", {"layers.7"}}};
  EXPECT_EQ(faults(), "plan.recompute[0].block: the model has no module \"layers.7\"\n");
  plan.recompute = {{"layers.0", {"layers.1"}}};
  EXPECT_EQ(faults(),
            "plan.recompute[0].parts: \"layers.1\" is no module or operator of \"layers.0\"\n");
  plan.recompute = {{"layers.0", {"layers.0.fc"}}};
  EXPECT_EQ(
      faults(),
      "plan.recompute[0].parts: the engine pytorch recomputes whole blocks, not \"layers.0.fc\"\n");
  plan.recompute = {{"layers.0", {}}};
  EXPECT_EQ(faults(),
            "plan.recompute[0].parts: nothing is named (the block's own name means all of it)\n");
  plan.recompute = {{"layers.0", {"layers.0"}}, {"layers.0", {"layers.0"}}};
  EXPECT_EQ(faults(), "plan.recompute[1].block: \"layers.0\" is named twice\n");
}

TEST_F(Validate, PrecisionIsStatedAndRuns) {
  plan.precision = Precision::automatic;
  EXPECT_EQ(faults(), "plan.precision: a plan states the arithmetic it uses (fp32 or bf16)\n");
  plan.precision = Precision::fp16;
  EXPECT_EQ(faults(), "plan.precision: fp16 does not run on test CPU\n");
  plan.precision = Precision::bf16;
  job.precision = Precision::fp32;
  EXPECT_EQ(faults(), "plan.precision: bf16, the job wants fp32\n");
}

TEST_F(Validate, FusedOptimizerExists) {
  plan.execution.fused_optimizer = true;
  EXPECT_EQ(faults(), "");
  job.optimizer = Optimizer::lion;
  EXPECT_EQ(faults(), "plan.execution.fused_optimizer: the optimizer lion has no fused form\n");
}

TEST_F(Validate, PinsAreKept) {
  job.pins.data = 1;
  job.pins.threads = 2;
  job.pins.micro_batch = 2;
  job.pins.compile = true;
  job.pins.memory_format = MemoryFormat::channels_last;
  job.pins.fused_optimizer = true;
  job.pins.recompute = "full";
  EXPECT_EQ(faults(),
            "plan.mesh.data: 2, the job pins 1\n"
            "plan.micro_batch: 4, the job pins 2\n"
            "plan.execution.compile: off, the job pins on\n"
            "plan.execution.memory_format: contiguous, the job pins channels_last\n"
            "plan.execution.fused_optimizer: off, the job pins on\n"
            "plan.placements[0].threads: 1, the job pins 2\n"
            "plan.placements[1].threads: 1, the job pins 2\n"
            "plan.recompute: no block, the job pins full\n");
  job.pins = {};
  job.pins.recompute = "none";
  plan.recompute = {{"layers.0", {"layers.0"}}};
  EXPECT_EQ(faults(), "plan.recompute: 1 blocks, the job pins none\n");
}

TEST_F(Validate, EveryPinnedAxisIsKept) {
  plan.execution.fused_optimizer = true;
  plan.execution.memory_format = MemoryFormat::channels_last;
  job.pins.tensor = 2;
  job.pins.pipeline = 4;
  job.pins.context = 8;
  job.pins.expert = 16;
  job.pins.compile = false;
  job.pins.memory_format = MemoryFormat::contiguous;
  job.pins.fused_optimizer = false;
  EXPECT_EQ(faults(),
            "plan.mesh.tensor: 1, the job pins 2\n"
            "plan.mesh.pipeline: 1, the job pins 4\n"
            "plan.mesh.context: 1, the job pins 8\n"
            "plan.mesh.expert: 1, the job pins 16\n"
            "plan.execution.memory_format: channels_last, the job pins contiguous\n"
            "plan.execution.fused_optimizer: on, the job pins off\n");
}

TEST_F(Validate, ThePinnedKindOfDeviceIsKept) {
  job.pins.device = DeviceKind::cpu;
  EXPECT_EQ(faults(), "");
  job.pins.device = DeviceKind::gpu;
  EXPECT_EQ(faults(),
            "plan.placements[0].device: test CPU is a cpu, the job pins gpu\n"
            "plan.placements[1].device: test CPU is a cpu, the job pins gpu\n");
}

TEST_F(Validate, SwitchesOfCpusAreNoneOfGpus) {
  Device gpu = testing::cpu();
  gpu.kind = DeviceKind::gpu;
  cluster.devices = {gpu, gpu};
  plan.provenance = {};
  plan.placements = {{0, {}, 1}, {1, {}, 1}};
  plan.devices_used = 2;
  plan.precision = Precision::fp16;
  EXPECT_EQ(faults(), "");
  plan.execution.keep_memory = true;
  plan.execution.attention = AttentionKernel::unfused;
  EXPECT_EQ(faults(),
            "plan.execution.keep_memory: only the CPU's allocator gives memory back by itself\n"
            "plan.execution.attention: unfused attention is an engine of CPUs only\n");
  job.pins.threads = 5;  // a GPU has none to pin
  plan.execution = {};
  EXPECT_EQ(faults(), "");
}

TEST_F(Validate, AnOperatorIsAPartOfItsBlockOnly) {
  plan.recompute = {{"layers.0", {"op1"}}};
  EXPECT_EQ(faults(),
            "plan.recompute[0].parts: the engine pytorch recomputes whole blocks, not \"op1\"\n");
  plan.recompute = {{"layers.1", {"op1"}}};  // op1 is the first layer's
  EXPECT_EQ(faults(),
            "plan.recompute[0].parts: \"op1\" is no module or operator of \"layers.1\"\n");
  plan.recompute = {{"layer", {"layer"}}};  // a prefix of a name is no module
  EXPECT_EQ(faults(), "plan.recompute[0].block: the model has no module \"layer\"\n");
}

TEST_F(Validate, MemoryLimitHolds) {
  plan.estimate.peak_memory_bytes = exact(3.0 * (1 << 30));
  EXPECT_EQ(faults(), "");
  job.memory_limit_bytes = Bytes(std::int64_t{2} << 30);
  EXPECT_EQ(faults(),
            "plan.estimate.peak_memory_bytes: 3.00 GiB are needed, the limit is 2.00 GiB (smaller "
            "micro-batches or recompute need less)\n");
  job.memory_limit_bytes.reset();
  cluster.devices[0].memory_bytes = exact(1 << 30);
  plan.provenance = {};
  EXPECT_EQ(faults(),
            "plan.estimate.peak_memory_bytes: 3.00 GiB are needed, test CPU has 1.00 GiB (smaller "
            "micro-batches "
            "or recompute need less)\n");
}

TEST_F(Validate, RanksAboveTheCoresShareThemWithOneThreadEach) {
  plan.mesh.data = 4;
  plan.placements = {{0, {0}, 1}, {0, {1}, 1}, {0, {0}, 1}, {0, {1}, 1}};
  plan.shares = {2, 2, 2, 2};
  plan.micro_batch = 2;
  plan.stages[0].ranks = {0, 1, 2, 3};
  EXPECT_EQ(faults(), "");
  plan.placements[0].threads = 2;
  EXPECT_EQ(faults(),
            "plan.placements[0].threads: 2 threads on 1 cores\n"
            "plan.placements: 5 threads on device 0, which has 2 cores\n");
}

}  // namespace
}  // namespace parallel_opt
