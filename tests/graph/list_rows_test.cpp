#include <gtest/gtest.h>

#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

// Operators over lists of tensors: optimizers, clipping of gradients, chains of products.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using Inputs = std::vector<std::pair<std::string, TensorId>>;

/// One operator that returns nothing; every tensor is of 4-byte floats.
OpWork written_into(GraphBuilder& b, const std::string& target, Inputs inputs) {
  b.op(target, std::move(inputs), {1});
  b.raw().ops.back().outputs.clear();
  const Graph g = b.build();
  return forward_work(g, g.ops.back());
}

TEST(ListRows, ForeachDoesToEveryTensorWhatTheOperatorDoesToOne) {
  GraphBuilder b;
  const TensorId x = b.input("x", {3, 4});
  const TensorId y = b.input("y", {5});
  const OpWork add = written_into(b, "aten._foreach_add_.Scalar", {{"self", x}, {"self", y}});
  EXPECT_EQ(add.op_class, OpClass::elementwise);
  EXPECT_EQ(add.other, Flops(12 + 5));  // one addition per element, whatever their shapes
  EXPECT_EQ(add.read, Bytes(4 * 17));
  EXPECT_EQ(add.written, Bytes(4 * 17));
  EXPECT_EQ(add.kernels, 1);
}

TEST(ListRows, AListIsReadBesideTheOneThatIsWritten) {
  GraphBuilder b;
  const Inputs lists = {{"self", b.input("a", {6})},
                        {"self", b.input("b", {2})},
                        {"src", b.input("c", {6})},
                        {"src", b.input("d", {2})}};
  const OpWork copy = written_into(b, "aten._foreach_copy_.default", lists);
  EXPECT_EQ(copy.op_class, OpClass::copy);
  EXPECT_EQ(copy.other, Flops(0));
  EXPECT_EQ(copy.written, Bytes(4 * 8));
}

TEST(ListRows, FusedAdamWritesParametersAndBothMoments) {
  GraphBuilder b;
  Inputs lists;
  for (const char* name : {"self", "grads", "exp_avgs", "exp_avg_sqs"}) {
    lists.emplace_back(name, b.input(name, {10, 10}));
    lists.emplace_back(name, b.input(std::string(name) + "_bias", {10}));
  }
  lists.emplace_back("state_steps", b.input("step", {}));
  const OpWork step = written_into(b, "aten._fused_adamw_.default", lists);
  EXPECT_EQ(step.other, Flops(18 * 110));
  EXPECT_EQ(step.read, Bytes(4 * 4 * 110 + 4));
  EXPECT_EQ(step.written, Bytes(3 * 4 * 110 + 4));  // not the gradients
}

TEST(ListRows, ProductsOfListsAreCountedPairByPair) {
  GraphBuilder b;
  b.op("aten._foreach_mm.default",
       {{"self", b.input("a", {2, 3})},
        {"self", b.input("b", {4, 5})},
        {"mat2", b.input("c", {3, 7})},
        {"mat2", b.input("d", {5, 6})}},
       {2, 7});
  b.result({4, 6});
  const Graph g = b.build();
  EXPECT_EQ(forward_work(g, g.ops[0]).contraction, Flops(2.0 * (2 * 3 * 7 + 4 * 5 * 6)));
}

TEST(ListRows, AChainOfProductsIsTakenInItsCheapestOrder) {
  GraphBuilder b;
  b.op("aten.linalg_multi_dot.default",
       {{"tensors", b.input("a", {10, 100})},
        {"tensors", b.input("b", {100, 5})},
        {"tensors", b.input("c", {5, 50})}},
       {10, 50});
  const Graph g = b.build();
  // (A B) C: 10*100*5 + 10*5*50 = 7,500; A (B C) would be 75,000.
  EXPECT_EQ(forward_work(g, g.ops[0]).contraction, Flops(2.0 * 7'500));
}

TEST(ListRows, AConvolutionOverTimeBatchChannels) {
  GraphBuilder b;
  const TensorId w = b.parameter("w", {3, 8, 16});  // kernel, in, out
  b.op("aten.conv_tbc.default",
       {{"self", b.input("x", {20, 2, 8})}, {"weight", w}, {"bias", b.parameter("b", {16})}},
       {18, 2, 16});
  const Graph g = b.build();
  const OpWork work = forward_work(g, g.ops[0]);
  EXPECT_EQ(work.contraction, Flops(2.0 * (18 * 2) * (3 * 8 * 16)));
  EXPECT_EQ(work.other, Flops(18.0 * 2 * 16));  // the bias
  const IterationSpace space = iteration_space(g, g.ops[0]);
  EXPECT_EQ(space.dims[0].name, "t");  // neighbours meet in the kernel
  EXPECT_EQ(space.dims[0].role, DimRole::mixed);
}

TEST(ListRows, TheBackwardOfALinearLayerMakesTheGradientsThatAreWanted) {
  for (const auto& [mask, gradients] :
       {std::pair{std::vector<bool>{true, true, true}, 2.0}, {{false, true, false}, 1.0}}) {
    GraphBuilder b;
    b.op("aten.linear_backward.default",
         {{"self", b.input("x", {6, 8})},
          {"grad_output", b.input("g", {6, 5})},
          {"weight", b.parameter("w", {5, 8})}},
         {6, 8}, {{"output_mask", mask}});
    b.result({5, 8});
    b.result({5});
    const Graph g = b.build();
    EXPECT_EQ(forward_work(g, g.ops[0]).contraction, Flops(gradients * 2 * 6 * 5 * 8));
  }
}

TEST(ListRows, InnerProductsContractTheLastAxes) {
  GraphBuilder b;
  b.op("aten.inner.default", {{"self", b.input("a", {2, 3, 8})}, {"other", b.input("b", {5, 8})}},
       {2, 3, 5});
  const Graph g = b.build();
  EXPECT_EQ(forward_work(g, g.ops[0]).contraction, Flops(2.0 * 2 * 3 * 5 * 8));
}

}  // namespace
}  // namespace parallel_opt
