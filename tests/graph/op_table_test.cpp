#include "parallel_opt/graph/op_table.h"

#include <gtest/gtest.h>

#include <set>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

/// "n4 k8r": names with sizes; r reduced, m mixed, s selected.
std::string dims(const IterationSpace& space) {
  std::string text;
  for (const IterationDim& d : space.dims) {
    text += (text.empty() ? "" : " ") + d.name + ":" + std::to_string(d.size);
    if (d.role != DimRole::free) text += name_of(d.role)[0];
  }
  return text;
}

TEST(OpTable, EveryRowIsFoundUnderItsOwnName) {
  std::set<std::string_view> names;
  for (const OpRow& row : op_rows()) {
    EXPECT_TRUE(names.insert(row.target).second) << row.target;
    const bool function = row.target.starts_with("torch.");  // no overloads
    EXPECT_EQ(find_row(std::string(row.target) + (function ? "" : ".default")), &row);
    EXPECT_NE(row.op_class, OpClass::opaque) << row.target;
    EXPECT_FALSE(row.space.empty()) << row.target;
  }
  EXPECT_GE(names.size(), 1000u);
}

TEST(OpTable, InPlaceFormsShareARowAndUnknownOnesHaveNone) {
  EXPECT_EQ(find_row("aten.add_.Tensor"), find_row("aten.add.Tensor"));
  EXPECT_EQ(find_row("mylib.my_op.default"), nullptr);
  Op op;
  op.target = "mylib.my_op.default";
  EXPECT_EQ(op_class(Graph{}, op), OpClass::opaque);
  op.target = "_operator.mul";
  EXPECT_EQ(op_class(Graph{}, op), OpClass::view);  // arithmetic on sizes launches nothing
}

/// Whatever operands a row meets, its words and rules must be implemented and never crash.
TEST(OpTable, EveryRowBuildsSpacesAndWorkForOddOperands) {
  for (const OpRow& row : op_rows()) {
    for (std::size_t rank = 0; rank < 5; ++rank) {
      GraphBuilder b;
      const Ints sizes(rank, 4);
      const TensorId x = b.parameter("x", sizes);
      const TensorId y = b.parameter("y", sizes);
      b.op(std::string(row.target) + ".default",
           {{"self", x}, {"input", x}, {"weight", y}, {"other", y}, {"indices", y}, {"target", y}},
           sizes, {{"dim", std::int64_t{0}}, {"equation", std::string("ab,bc->ac")}});
      b.result(sizes);
      const Graph g = b.build();
      const IterationSpace space = iteration_space(g, g.ops[0]);
      for (std::size_t k = 0; k < space.operands.size(); ++k) {
        EXPECT_EQ(space.operands[k].size(), rank) << row.target;
      }
      const std::vector<bool> needs = needs_grad(g);
      EXPECT_GE(forward_work(g, g.ops[0]).read.value, 0);
      EXPECT_GE(backward_work(g, g.ops[0], needs).written.value, 0);
      EXPECT_GE(saved_for_backward(g, g.ops[0], needs).extra.value, 0) << row.target;
    }
  }
}

TEST(IterationSpace, LinearReducesTheShared) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 3, 8});
  const TensorId w = b.parameter("w", {16, 8});
  const TensorId c = b.parameter("c", {16});
  b.op("aten.linear.default", {{"input", x}, {"weight", w}, {"bias", c}}, {2, 3, 16});
  const Graph g = b.build();
  const IterationSpace s = iteration_space(g, g.ops[0]);
  EXPECT_EQ(dims(s), "b1:2 b0:3 k:8r n:16");
  EXPECT_EQ(s.operands, (std::vector<std::vector<int>>{{0, 1, 2}, {3, 2}, {3}}));
  EXPECT_EQ(s.results, (std::vector<std::vector<int>>{{0, 1, 3}}));
}

TEST(IterationSpace, AttentionMixesKeys) {
  GraphBuilder b;
  const TensorId q = b.input("q", {2, 4, 5, 8});
  const TensorId k = b.input("k", {2, 4, 7, 8});
  const TensorId v = b.input("v", {2, 4, 7, 6});
  b.op("aten.scaled_dot_product_attention.default", {{"query", q}, {"key", k}, {"value", v}},
       {2, 4, 5, 6});
  const Graph g = b.build();
  EXPECT_EQ(dims(iteration_space(g, g.ops[0])), "b0:2 h:4 q:5 d:8r k:7m e:6");
}

TEST(IterationSpace, BroadcastAxesAreIndexedByNothing) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 1, 6});
  const TensorId y = b.input("y", {5, 6});
  b.op("aten.mul.Tensor", {{"self", x}, {"other", y}}, {4, 5, 6});
  const Graph g = b.build();
  const IterationSpace s = iteration_space(g, g.ops[0]);
  EXPECT_EQ(s.operands[0], (std::vector<int>{0, -1, 2}));
  EXPECT_EQ(s.operands[1], (std::vector<int>{1, 2}));
}

TEST(IterationSpace, BatchNormMixesSamplesOnlyInTraining) {
  for (const bool training : {true, false}) {
    GraphBuilder b;
    const TensorId x = b.input("x", {8, 3, 4, 4});
    const TensorId w = b.parameter("w", {3});
    b.op("aten.batch_norm.default", {{"input", x}, {"weight", w}}, {8, 3, 4, 4},
         {{"training", training}});
    const Graph g = b.build();
    EXPECT_EQ(dims(iteration_space(g, g.ops[0])),
              training ? "n:8m c:3 s1:4m s0:4m" : "n:8 c:3 s1:4 s0:4");
  }
}

TEST(IterationSpace, ReductionFollowsItsAxes) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 3, 4});
  b.op("aten.mean.dim", {{"self", x}}, {2, 4}, {{"dim", Ints{1}}});
  b.op("aten.sum.default", {{"self", x}}, {});
  b.op("aten.softmax.int", {{"self", x}}, {2, 3, 4}, {{"dim", std::int64_t{-1}}});
  const Graph g = b.build();
  const IterationSpace mean = iteration_space(g, g.ops[0]);
  EXPECT_EQ(dims(mean), "e2:2 e1:3r e0:4");
  EXPECT_EQ(mean.results[0], (std::vector<int>{0, 2}));
  EXPECT_EQ(dims(iteration_space(g, g.ops[1])), "e2:2r e1:3r e0:4r");
  EXPECT_EQ(dims(iteration_space(g, g.ops[2])), "e2:2 e1:3 e0:4m");
}

TEST(IterationSpace, ViewsFactorAndRename) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 5, 12});
  b.op("aten.view.default", {{"self", x}}, {2, 5, 3, 4});
  b.op("aten.view.default", {{"self", x}}, {10, 12});
  b.op("aten.permute.default", {{"self", x}}, {12, 2, 5}, {{"dims", Ints{2, 0, 1}}});
  b.op("aten.select.int", {{"self", x}}, {2, 12}, {{"dim", std::int64_t{1}}});
  const Graph g = b.build();
  const IterationSpace heads = iteration_space(g, g.ops[0]);
  EXPECT_EQ(dims(heads), "f0:2 f1:5 f2:3 f3:4m");  // 12 is 3 heads of 4; the axis follows heads
  EXPECT_EQ(heads.operands[0], (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(heads.results[0], (std::vector<int>{0, 1, 2, 3}));
  const IterationSpace rows = iteration_space(g, g.ops[1]);
  EXPECT_EQ(rows.results[0][0], rows.operands[0][0]);  // merged axis "b t" follows b
  EXPECT_EQ(iteration_space(g, g.ops[2]).operands[0], (std::vector<int>{1, 2, 0}));
  EXPECT_EQ(dims(iteration_space(g, g.ops[3])), "e2:2 e1:5s e0:12");
}

TEST(IterationSpace, EmbeddingSelectsRows) {
  GraphBuilder b;
  const TensorId w = b.parameter("w", {100, 8});
  const TensorId i = b.input("i", {2, 5}, DType::i64);
  b.op("aten.embedding.default", {{"weight", w}, {"indices", i}}, {2, 5, 8});
  const Graph g = b.build();
  EXPECT_EQ(dims(iteration_space(g, g.ops[0])), "v:100s c:8 i1:2 i0:5");
}

TEST(IterationSpace, GroupedConvolutionSplitsByGroup) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 8, 6, 6});
  const TensorId w = b.parameter("w", {16, 2, 3, 3});
  b.op("aten.conv2d.default", {{"input", x}, {"weight", w}}, {2, 16, 6, 6},
       {{"groups", std::int64_t{4}}});
  const Graph g = b.build();
  const IterationSpace s = iteration_space(g, g.ops[0]);
  EXPECT_EQ(dims(s), "n:2 g:4 co:4 ci:2r k0:3r k1:3r o0:6m o1:6m");
  EXPECT_EQ(s.operands[0][1], s.results[0][1]);  // channels of both sides follow the group
}

}  // namespace
}  // namespace parallel_opt
