#include "parallel_opt/graph/matrix_chain.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

Graph chain(const std::vector<std::int64_t>& sizes) {
  GraphBuilder b;
  std::vector<std::pair<std::string, TensorId>> inputs;
  for (std::size_t i = 0; i + 1 < sizes.size(); ++i) {
    inputs.emplace_back("tensors", b.parameter("m" + std::to_string(i), {sizes[i], sizes[i + 1]}));
  }
  b.output(b.op("aten.linalg_multi_dot.default", inputs, {sizes.front(), sizes.back()}));
  return b.build();
}

TEST(MatrixChain, ThreeMatricesAreTakenInTheCheaperOrder) {
  // (8x6 6x12) 12x4: 2 (576 + 384) = 1920; 8x6 (6x12 12x4): 2 (288 + 192) = 960, keeps 6x4
  const Graph graph = chain({8, 6, 12, 4});
  const ProductChain found = product_chain(graph, graph.ops[0]);
  EXPECT_EQ(found.flops, 960);
  EXPECT_EQ(found.kept_elements, 24);
}

TEST(MatrixChain, EachProductHasTwoGradients) {
  const Graph graph = chain({8, 6, 12, 4, 9});
  // ((8x6 (6x12 12x4)) 4x9): 2 (288 + 192 + 288) = 1536; keeps 6x4 and 8x4
  EXPECT_EQ(forward_work(graph, graph.ops[0]).contraction, Flops(1536));
  EXPECT_EQ(backward_work(graph, graph.ops[0], needs_grad(graph)).contraction, Flops(3072));
  const Saved saved = saved_for_backward(graph, graph.ops[0], needs_grad(graph));
  EXPECT_EQ(saved.tensors.size(), 4u);
  EXPECT_EQ(saved.extra, Bytes(4 * (24 + 32)));
}

TEST(MatrixChain, OnlyGradientsThatAreNeededCount) {
  // 8x6 (6x12 12x4): of the last alone, 6x12 times 12x4 once (288 x 2) and 8x6 times 6x4 once
  Graph graph = chain({8, 6, 12, 4});
  graph.tensors[0].requires_grad = graph.tensors[1].requires_grad = false;
  EXPECT_EQ(backward_work(graph, graph.ops[0], needs_grad(graph)).contraction, Flops(960));
  graph.tensors[0].requires_grad = true;
  EXPECT_EQ(backward_work(graph, graph.ops[0], needs_grad(graph)).contraction, Flops(960 + 384));
}

TEST(MatrixChain, ATooLongOneCountsAsNothing) {
  EXPECT_EQ(product_chain(chain(std::vector<std::int64_t>(70, 2)), Op()).flops, 0);
}

TEST(MatrixPower, SquaresAndProducts) {
  EXPECT_EQ(matrix_power(0).products, 0);
  EXPECT_EQ(matrix_power(1).products, 0);
  EXPECT_EQ(matrix_power(2).products, 1);
  EXPECT_EQ(matrix_power(2).kept, 0);
  EXPECT_EQ(matrix_power(5).products, 3);  // a a, a2 a2, a4 a
  EXPECT_EQ(matrix_power(5).kept, 2);      // a2, a4
  EXPECT_EQ(matrix_power(-8).products, 3);
}

}  // namespace
}  // namespace parallel_opt
