#include "parallel_opt/graph/liveness.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/step_dtypes.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

/// x [32 8] -> linear [32 16] -> relu -> linear [32 4] -> mean
Graph mlp() {
  GraphBuilder b;
  const TensorId x = b.input("x", {32, 8});
  b.module("fc");
  const TensorId h =
      b.op("aten.linear.default", {{"input", x}, {"weight", b.parameter("w", {16, 8})}}, {32, 16});
  b.module("act");
  const TensorId r = b.op("aten.relu.default", {{"self", h}}, {32, 16});
  b.module("out");
  const TensorId y =
      b.op("aten.linear.default", {{"input", r}, {"weight", b.parameter("v", {4, 16})}}, {32, 4});
  b.module("");
  b.output(b.op("aten.mean.default", {{"self", y}}, {}));
  return b.build();
}

constexpr std::int64_t kX = 32 * 8 * 4, kW = 16 * 8 * 4, kV = 4 * 16 * 4;
constexpr std::int64_t kHidden = 32 * 16 * 4, kOut = 32 * 4 * 4;

StepOptions plain_sgd() {
  StepOptions o;
  o.optimizer_states = 0;
  o.optimizer_temporaries = 0;
  return o;
}

TEST(Liveness, ForwardAloneFreesAfterTheLastUse) {
  StepOptions o = plain_sgd();
  o.training = false;
  const Liveness live = live_bytes(mlp(), o);
  const std::int64_t rest = kX + kW + kV;
  EXPECT_EQ(live.curve, (std::vector<Bytes>{Bytes(rest + kHidden), Bytes(rest + 2 * kHidden),
                                            Bytes(rest + kHidden + kOut), Bytes(rest + kOut + 4)}));
  EXPECT_EQ(live.peak_at, "forward of op1");
}

TEST(Liveness, TrainingKeepsWhatTheBackwardReads) {
  const Liveness live = live_bytes(mlp(), plain_sgd());
  const std::int64_t rest = kX + kW + kV;
  ASSERT_EQ(live.forward_operations, 4u);
  ASSERT_EQ(live.curve.size(), 4u + 4u + 2u);
  // The relu's result is kept (by the relu and the linear after it), its operand is not.
  EXPECT_EQ(live.curve[2], Bytes(rest + kHidden + kOut));
  // Backward of the second linear: its incoming gradient, the kept relu, both new gradients.
  EXPECT_EQ(live.curve[5], Bytes(rest + 4 + kHidden + kOut + kHidden + kV));
  // Backward of the relu: gradient in, gradient out, the relu, v's gradient.
  EXPECT_EQ(live.curve[6], Bytes(rest + 4 + 3 * kHidden + kV));
  EXPECT_EQ(live.peak, live.curve[6]);
  EXPECT_EQ(live.peak_at, "backward of op1");
  EXPECT_EQ(live.kind(MemoryKind::parameters), Bytes(kW + kV));
  EXPECT_EQ(live.kind(MemoryKind::activations), Bytes(kHidden + 4));
  // After the backward only gradients of parameters and the loss are left.
  EXPECT_EQ(live.curve[8], Bytes(rest + 4 + kW + kV));
}

TEST(Liveness, OptimizerStatesAndItsMoment) {
  StepOptions o;  // AdamW: two states, two temporaries
  const Liveness steady = live_bytes(mlp(), o);
  EXPECT_EQ(steady.kind(MemoryKind::optimizer), Bytes(2 * (kW + kV)));
  EXPECT_EQ(steady.curve[8], Bytes(kX + 4 * (kW + kV) + 4 + 2 * kW));
  o.optimizer_stepped = false;
  const Liveness first = live_bytes(mlp(), o);
  EXPECT_EQ(first.kind(MemoryKind::optimizer), Bytes(0));
  EXPECT_EQ(first.curve[8], Bytes(kX + 2 * (kW + kV) + 4 + 2 * kW + 2 * kW));  // w's states now
}

TEST(Liveness, GradientsThatExistAreAddedTo) {
  StepOptions o = plain_sgd();
  o.gradients_before = true;
  const Liveness live = live_bytes(mlp(), o);
  EXPECT_EQ(live.curve[0].value - live_bytes(mlp(), plain_sgd()).curve[0].value, kW + kV);
  EXPECT_EQ(live.curve[8], Bytes(kX + 2 * (kW + kV) + 4));  // nothing twice at the end
}

TEST(Liveness, RecomputeDropsWhatAModuleKeeps) {
  // Two blocks of gelu(gelu(x)): each keeps its inner result.
  GraphBuilder b;
  TensorId x = b.op("aten.mul.Scalar", {{"self", b.parameter("p", {256})}}, {256});
  for (int i = 0; i < 4; ++i) {
    b.module("blocks." + std::to_string(i));
    for (int k = 0; k < 3; ++k) x = b.op("aten.gelu.default", {{"self", x}}, {256});
  }
  b.module("");
  b.output(b.op("aten.sum.default", {{"self", x}}, {}));
  const Graph g = b.build();
  StepOptions o = plain_sgd();
  const Liveness kept = live_bytes(g, o);
  o.recompute = {"blocks.0", "blocks.1", "blocks.2", "blocks.3"};
  const Liveness again = live_bytes(g, o);
  // After the forward: 12 gelu operands against the 4 blocks' operands.
  EXPECT_EQ(kept.curve[13].value - again.curve[13].value, 8 * 1024);
  EXPECT_LT(again.peak, kept.peak);
}

TEST(Liveness, ListsTheLargestFirst) {
  const Liveness live = live_bytes(mlp(), plain_sgd());
  ASSERT_GE(live.largest.size(), 3u);
  EXPECT_EQ(live.largest[0].bytes, Bytes(kHidden));
  EXPECT_EQ(live.largest[0].name, "t1");
  Bytes sum;
  for (const Bytes b : live.at_peak) sum += b;
  EXPECT_EQ(sum, live.peak);
}

/// x [32 8] -> mm w [8 4] -> mse_loss against t; its backward and the update, as recorded.
Graph recorded_step() {
  GraphBuilder b;
  const TensorId x = b.input("x", {32, 8});
  const TensorId w = b.parameter("w", {8, 4});
  const TensorId t = b.input("t", {32, 4});
  const TensorId y = b.op("aten.mm.default", {{"self", x}, {"mat2", w}}, {32, 4});
  const TensorId loss = b.op("aten.mse_loss.default", {{"self", y}, {"target", t}}, {});
  const TensorId seed = b.op("aten.ones_like.default", {{"self", loss}}, {});
  const TensorId dy = b.op("aten.mse_loss_backward.default",
                           {{"grad_output", seed}, {"self", y}, {"target", t}}, {32, 4});
  const TensorId dw = b.op("aten.mm.default", {{"self", x}, {"mat2", dy}}, {8, 4});
  const TensorId small = b.op("aten.mul.Tensor", {{"self", dw}}, {8, 4});
  b.op("aten.sub_.Tensor", {{"self", w}, {"other", small}}, {8, 4});
  b.output(loss);
  for (std::size_t i = 0; i < 7; ++i) {
    b.raw().ops[i].phase = i < 2 ? Phase::forward : i < 5 ? Phase::backward : Phase::optimizer;
  }
  return b.build();
}

TEST(Liveness, ARecordedStepIsReplayed) {
  constexpr std::int64_t kIn = 32 * 8 * 4, kWeight = 8 * 4 * 4, kY = 32 * 4 * 4;
  constexpr std::int64_t rest = kIn + kWeight + kY;  // x, w, t
  const Liveness live = replay_live_bytes(recorded_step());
  const std::vector<Bytes> expected = {
      Bytes(rest + kY),                    // y
      Bytes(rest + 2 * kY),                // y and the loss, whose storage is y's size
      Bytes(rest + 2 * kY + 4),            // y is read later
      Bytes(rest + 3 * kY + 4),            // y, loss, seed, dy
      Bytes(rest + 2 * kY + 4 + kWeight),  // loss, seed until the backward ends, dy, dw
      Bytes(rest + kY + 2 * kWeight),      // loss, dw, small
      Bytes(rest + kY + 2 * kWeight)};     // dw stays: it is the parameter's gradient
  EXPECT_EQ(live.curve, expected);
  EXPECT_EQ(live.peak_at, "op3");
  EXPECT_EQ(live.kind(MemoryKind::gradients), Bytes(kY + 4));
  EXPECT_EQ(live.forward_operations, 2u);
  EXPECT_EQ(live.backward_operations, 3u);
}

TEST(Liveness, ReplayOfAnEmptyGraphIsEmpty) {
  EXPECT_EQ(replay_live_bytes(Graph{}).peak, Bytes(0));
}

TEST(Liveness, AnEmptyGraphIsEmpty) { EXPECT_EQ(live_bytes(Graph{}, {}).peak, Bytes(0)); }

TEST(StepDtypes, ContractionsAreLoweredOthersFollow) {
  const Graph g = mlp();
  const StepDtypes low = step_dtypes(g, DType::bf16);
  EXPECT_EQ(low.op[0], DType::bf16);
  EXPECT_EQ(low.op[1], DType::fp32);
  EXPECT_EQ(low.tensor[g.ops[1].outputs[0].index()], DType::bf16);  // relu of a bf16 tensor
  EXPECT_EQ(low.tensor[g.inputs[0].index()], DType::fp32);
  EXPECT_EQ(step_dtypes(g, DType::fp32).tensor[g.ops[1].outputs[0].index()], DType::fp32);
}

}  // namespace
}  // namespace parallel_opt
