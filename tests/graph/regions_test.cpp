#include <gtest/gtest.h>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/graph/liveness.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

// Control flow: what runs how often, and what it keeps.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

const std::string kJoinTarget(kJoin);

/// h <- tanh(w h + x[t]) over 5 steps of 4 samples and 8 columns; the last h and all of them.
Graph recurrence(double steps = 5) {
  GraphBuilder b;
  const TensorId x = b.input("x", {5, 4, 8});
  const TensorId h0 = b.input("h0", {4, 8});
  const TensorId w = b.parameter("w", {8, 8});
  b.enter(b.add_region("scan.body", RegionKind::loop, "scan", steps));
  const TensorId h = b.op(kJoinTarget, {{"inputs", h0}}, {4, 8}, {{"carried", std::string("t4")}});
  const TensorId s = b.op("aten.select.int", {{"self", x}}, {4, 8},
                          {{"dim", std::int64_t{0}}, {"index", std::int64_t{0}}});
  const TensorId l = b.op("aten.linear.default", {{"input", h}, {"weight", w}}, {4, 8});
  const TensorId a = b.op("aten.add.Tensor", {{"self", l}, {"other", s}}, {4, 8});
  const TensorId t = b.op("aten.tanh.default", {{"self", a}}, {4, 8});
  b.enter(RegionId());
  b.output(b.op(kJoinTarget, {{"inputs", t}}, {4, 8}));
  b.output(b.op(kJoinTarget, {{"inputs", t}}, {5, 4, 8}));
  return b.build();
}

/// One of two ways by data, each taken half the time: relu(w x), or tanh(v relu(w x)).
Graph branch() {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("w", {8, 8});
  const TensorId v = b.parameter("v", {8, 8});
  const RegionId yes = b.add_region("cond.true", RegionKind::branch, "cond", 0.5);
  const RegionId no = b.add_region("cond.false", RegionKind::branch, "cond", 0.5);
  b.enter(yes);
  const TensorId p = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 8});
  const TensorId q = b.op("aten.relu.default", {{"self", p}}, {4, 8});
  b.enter(no);
  const TensorId r = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 8});
  const TensorId s = b.op("aten.relu.default", {{"self", r}}, {4, 8});
  const TensorId t = b.op("aten.linear.default", {{"input", s}, {"weight", v}}, {4, 8});
  const TensorId u = b.op("aten.tanh.default", {{"self", t}}, {4, 8});
  b.enter(RegionId());
  b.output(b.op(kJoinTarget, {{"inputs", q}, {"inputs", u}}, {4, 8}));
  return b.build();
}

constexpr std::int64_t kState = 4 * 8 * 4;   // bytes of [4, 8]
constexpr double kLinear = 2.0 * 4 * 8 * 8;  // FLOPs of one linear
constexpr std::int64_t kSquare = 8 * 8 * 4;  // bytes of a weight

TEST(Regions, WhatALoopCarriesIsInTheStorageOfTheRunBefore) {
  const Graph g = recurrence();
  EXPECT_TRUE(check(g).empty());
  EXPECT_EQ(storage_owner(g, g.ops[0].outputs[0]), g.ops[4].outputs[0]);
  EXPECT_EQ(storage_owner(g, g.ops[5].outputs[0]), g.ops[4].outputs[0]);
  const TensorId stacked = g.ops[6].outputs[0];
  EXPECT_EQ(storage_owner(g, stacked), stacked);
  EXPECT_EQ(forward_work(g, g.ops[5]).kernels, 0);
  EXPECT_EQ(forward_work(g, g.ops[6]).written, Bytes(5 * kState));  // the runs side by side
}

TEST(Regions, AnUnchangedValueStaysTheOneTheLoopBeganWith) {
  Graph g = recurrence();
  for (Tensor& t : g.tensors) t.alias_of = TensorId();
  g.ops[0].attributes["carried"] = std::string("t0");
  fill_aliases(g);
  EXPECT_EQ(storage_owner(g, g.ops[0].outputs[0]), g.inputs[1]);
}

TEST(Regions, GradientsFlowAroundALoop) {
  const Graph g = recurrence();
  const std::vector<bool> needs = needs_grad(g);
  EXPECT_FALSE(needs[g.inputs[1].index()]);          // h0
  EXPECT_TRUE(needs[g.ops[0].outputs[0].index()]);   // but not the next run's h
  EXPECT_FALSE(needs[g.ops[1].outputs[0].index()]);  // a step of x
  // The weight's gradient and that of h.
  EXPECT_EQ(backward_work(g, g.ops[2], needs).contraction, Flops(2 * kLinear));
}

TEST(Regions, TotalsMultiplyByExpectedRuns) {
  EXPECT_EQ(summarize(recurrence()).flops.forward, Flops(5 * kLinear));
  EXPECT_EQ(summarize(recurrence()).flops.backward, Flops(5 * 2 * kLinear));
  EXPECT_EQ(summarize(recurrence(2.5)).flops.forward, Flops(2.5 * kLinear));
  EXPECT_EQ(summarize(branch()).flops.forward, Flops(1.5 * kLinear));  // (1 + 2) / 2
  // Weights' gradients of 3 linears, the hidden one of the second way: (1 + 3) / 2.
  EXPECT_EQ(summarize(branch()).flops.backward, Flops(2 * kLinear));
}

TEST(Regions, SavedBytesAreThoseOfAllRuns) {
  EXPECT_EQ(saved_bytes(recurrence()), Bytes(5 * kState));  // tanh's result is the linear's operand
  EXPECT_EQ(saved_bytes(branch()), Bytes(3 * kState / 2));  // relu; or relu and tanh
}

TEST(Regions, MemoryTakesTheWayThatKeepsMost) {
  const Graph g = branch();
  EXPECT_EQ(kept_runs(g, needs_grad(g)), (std::vector<double>{0, 1}));
  const Graph loop = recurrence();
  EXPECT_EQ(kept_runs(loop, needs_grad(loop)), std::vector<double>{5});
  StepOptions o;
  o.optimizer_states = 0;
  o.optimizer_temporaries = 0;
  const Liveness live = live_bytes(g, o);
  // At the end of the forward: input, two weights, the second way's relu and tanh, the result of
  // the first, which the join stands for.
  EXPECT_EQ(live.curve[live.forward_operations - 1], Bytes(kState + 2 * kSquare + 3 * kState));
}

TEST(Regions, ALoopsRunsAreAllAliveAtTheEndOfTheForward) {
  StepOptions o;
  o.optimizer_states = 0;
  o.optimizer_temporaries = 0;
  const Graph g = recurrence();
  const Liveness live = live_bytes(g, o);
  // x, h0, w; 5 states; the stacked result.
  EXPECT_EQ(live.curve[live.forward_operations - 1],
            Bytes(5 * kState + kState + kSquare + 5 * kState + 5 * kState));
}

TEST(Regions, JsonReadsBackEqual) {
  for (const Graph& g : {recurrence(), branch()}) {
    EXPECT_EQ(graph_from_json(to_json(g), "graph.json"), g);
  }
}

/// y = tanh(w x), computed again in the backward; z = exp(y).
Graph recomputed() {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId a = b.op("aten.sin.default", {{"self", x}}, {4, 8});
  const TensorId w = b.parameter("w", {8, 8});
  const std::map<std::string, Attribute> first = {{"recomputed", true}, {"saved_inputs", Ints{0}}};
  const std::map<std::string, Attribute> second = {{"recomputed", true}, {"saved_inputs", Ints{}}};
  const TensorId l = b.op("aten.linear.default", {{"input", a}, {"weight", w}}, {4, 8}, first);
  const TensorId y = b.op("aten.tanh.default", {{"self", l}}, {4, 8}, second);
  b.output(b.op("aten.exp.default", {{"self", y}}, {4, 8}));
  return b.build();
}

TEST(Recomputed, KeepsWhatItReadsAndRunsAgain) {
  const Graph graph = recomputed();
  EXPECT_EQ(saved_bytes(graph), Bytes(2 * kState));  // sin's result, exp's result; not tanh's
  const GraphSummary summary = summarize(graph);
  EXPECT_EQ(summary.flops.forward, Flops(kLinear));
  EXPECT_EQ(summary.flops.backward, Flops(2 * kLinear));  // the weight's gradient, and the forward
}

TEST(RecordedBackward, KeepsWhatItsOperatorsRead) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("w", {8, 8});
  const TensorId l = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 8});
  const TensorId y = b.op("aten.tanh.default", {{"self", l}}, {4, 8});
  const TensorId z = b.op("aten.sin.default", {{"self", y}}, {4, 8});  // keeps y by its row
  b.output(z);
  b.op("aten.tanh_backward.default", {{"grad_output", x}, {"output", y}}, {4, 8});
  b.raw().ops.back().phase = Phase::backward;
  EXPECT_EQ(saved_bytes(b.build()), Bytes(kState));  // y alone
}

}  // namespace
}  // namespace parallel_opt
