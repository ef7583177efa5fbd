#include <gtest/gtest.h>

#include "parallel_opt/cost/profile.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

/// Bytes that a step over the graph's batch keeps for its backward.
double kept(const Graph& graph, bool compile) {
  double sum = 0;
  const Policy policy{Precision::fp32, compile};
  for (const Run& run : make_profile(graph, model_facts(graph, true), policy, true).runs) {
    sum += run.count * run.saved.at(8);
  }
  return sum;
}

/// x [8, 16] -> linear -> `middle` -> linear -> [8, 16]; x itself lives in the loop.
Graph between_products(const std::string& middle) {
  GraphBuilder b;
  TensorId x = b.linear(b.input({8, 16}), {8}, 16, 16, "first");
  x = b.op(middle, {{"self", x}}, {8, 16}, "middle");
  x = b.linear(x, {8}, 16, 16, "last");
  b.graph.outputs = {x};
  return b.graph;
}

constexpr double kOne = 8 * 16 * 4;  // bytes of one activation

TEST(Partition, WhatAProductReadsInItsBackwardIsKept) {
  // GELU's operand for its own backward, its result for the second product's.
  EXPECT_EQ(kept(between_products("aten.gelu.default"), false), 2 * kOne);
  EXPECT_EQ(kept(between_products("aten.gelu.default"), true), 2 * kOne);
  // ReLU asks for its result, which the product keeps anyway.
  EXPECT_EQ(kept(between_products("aten.relu.default"), true), kOne);
}

TEST(Partition, ASideTakesOneByteAValue) {
  // Eager: operand and result. Compiled: the result, and on which side of zero the operand lay.
  EXPECT_EQ(kept(between_products("aten.leaky_relu.default"), false), 2 * kOne);
  EXPECT_EQ(kept(between_products("aten.leaky_relu.default"), true), kOne + 8 * 16);
}

TEST(Partition, CheapResultsAreComputedAgain) {
  // SwiGLU: eager keeps gate, up, silu(gate) and the product; compiled computes silu(gate) again.
  GraphBuilder b;
  const TensorId x = b.input({8, 16});
  const TensorId gate = b.linear(x, {8}, 16, 16, "gate"), up = b.linear(x, {8}, 16, 16, "up");
  const TensorId silu = b.op("aten.silu.default", {{"self", gate}}, {8, 16}, "act");
  const TensorId both = b.op("aten.mul.Tensor", {{"self", silu}, {"other", up}}, {8, 16}, "mul");
  b.graph.outputs = {b.linear(both, {8}, 16, 16, "down")};
  EXPECT_EQ(kept(b.graph, false), 4 * kOne);
  EXPECT_EQ(kept(b.graph, true), 3 * kOne);
}

TEST(Partition, SumsOverAResidualStreamAreKept) {
  // gelu(x + linear(x)) with x = relu(...): x is read on both sides of a product.
  GraphBuilder b;
  TensorId x = b.linear(b.input({8, 16}), {8}, 16, 16, "first");
  x = b.op("aten.relu.default", {{"self", x}}, {8, 16}, "act");
  const TensorId branch = b.linear(x, {8}, 16, 16, "branch");
  const TensorId sum = b.op("aten.add.Tensor", {{"self", x}, {"other", branch}}, {8, 16}, "sum");
  const TensorId gelu = b.op("aten.gelu.default", {{"self", sum}}, {8, 16}, "gelu");
  b.graph.outputs = {gelu};
  // relu's result (the product reads it) and the sum (GELU's operand); not the product's result.
  EXPECT_EQ(kept(b.graph, true), 2 * kOne);
}

TEST(Partition, EqualBlocksTogetherKeepWhatTheyKeepOneByOne) {
  // Three of linear, relu, square. The square keeps the ReLU's result, the next product the square;
  // the last square leaves the model: 3 + 2. Compiled code keeps as much: a product's result
  // instead of the ReLU's.
  EXPECT_EQ(kept(testing::mlp(8, 16, 3), false), 5 * kOne);
  EXPECT_EQ(kept(testing::mlp(8, 16, 3), true), 5 * kOne);
}

}  // namespace
}  // namespace parallel_opt
