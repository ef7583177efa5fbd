#include "parallel_opt/graph/split_cost.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/json.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

/// "n none co none ci partial_sum": what a split along each dimension costs.
std::string costs(GraphBuilder& b) {
  const Graph g = b.build();
  const IterationSpace space = iteration_space(g, g.ops.back());
  const std::vector<SplitCost> list = split_costs(g, g.ops.back(), space);
  std::string text;
  for (std::size_t i = 0; i < space.dims.size(); ++i) {
    text += (i == 0 ? "" : " ") + space.dims[i].name + ":" + std::string(name_of(list[i]));
  }
  return text;
}

TEST(SplitCost, ProductsSumOverWhatTheyContract) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  b.op("aten.mm.default", {{"self", x}, {"mat2", b.parameter("w", {8, 6})}}, {4, 6});
  EXPECT_EQ(costs(b), "m:none k:partial_sum n:none");
}

TEST(SplitCost, KeysOfAttentionGoRound) {
  GraphBuilder b;
  const TensorId q = b.input("q", {2, 8, 5, 16});
  const TensorId k = b.input("k", {2, 2, 7, 16});
  b.op("aten.scaled_dot_product_attention.default", {{"query", q}, {"key", k}, {"value", k}},
       {2, 8, 5, 16}, {{"enable_gqa", true}});
  // 8 query heads over 2 key heads: 4 share one.
  EXPECT_EQ(costs(b), "b0:none h:none q:none d:partial_sum k:ring e:none r:none");
}

TEST(SplitCost, ConvolutionsNeedHalosWhereWindowsOverlap) {
  for (const std::int64_t stride : {1, 3}) {
    GraphBuilder b;
    const TensorId x = b.input("x", {2, 4, 9, 9});
    const std::int64_t size = stride == 1 ? 7 : 3;
    b.op("aten.conv2d.default", {{"input", x}, {"weight", b.parameter("w", {6, 4, 3, 3})}},
         {2, 6, size, size}, {{"stride", Ints{stride, stride}}});
    const std::string border = stride == 1 ? "halo" : "none";  // patches stand side by side
    EXPECT_EQ(costs(b), "n:none co:none ci:partial_sum k0:partial_sum k1:partial_sum o0:" + border +
                            " o1:" + border);
  }
}

TEST(SplitCost, PoolingOverlapsByItsStride) {
  for (const std::int64_t stride : {1, 2}) {
    GraphBuilder b;
    const TensorId x = b.input("x", {2, 4, 8, 8});
    const std::int64_t size = stride == 1 ? 7 : 4;
    b.op("aten.max_pool2d.default", {{"self", x}}, {2, 4, size, size},
         {{"kernel_size", Ints{2, 2}}, {"stride", Ints{stride, stride}}});
    const std::string border = stride == 1 ? "halo" : "none";
    EXPECT_EQ(costs(b), "e3:none e2:none e1:" + border + " e0:" + border);
  }
  GraphBuilder b;
  b.op("aten.adaptive_avg_pool1d.default", {{"self", b.input("x", {2, 4, 8})}}, {2, 4, 3});
  EXPECT_EQ(costs(b), "e2:none e1:none e0:halo");
}

TEST(SplitCost, NormsExchangeStatisticsAndSortsGather) {
  GraphBuilder norm;
  norm.op("aten.layer_norm.default", {{"input", norm.input("x", {2, 8})}}, {2, 8},
          {{"normalized_shape", Ints{8}}});
  EXPECT_EQ(costs(norm), "e1:none e0:statistics");
  GraphBuilder sort;
  sort.op("aten.sort.default", {{"self", sort.input("x", {2, 8})}}, {2, 8},
          {{"dim", std::int64_t{1}}});
  EXPECT_EQ(costs(sort), "e1:none e0:gather");
  GraphBuilder sum;
  sum.op("aten.cumsum.default", {{"self", sum.input("x", {2, 8})}}, {2, 8},
         {{"dim", std::int64_t{1}}});
  EXPECT_EQ(costs(sum), "e1:none e0:carry");
}

TEST(SplitCost, TablesAnswerTheirOwnIndices) {
  GraphBuilder b;
  const TensorId i = b.input("i", {5}, DType::i64);
  b.op("aten.embedding.default", {{"weight", b.parameter("w", {100, 8})}, {"indices", i}}, {5, 8});
  EXPECT_EQ(costs(b), "v:masked_sum c:none i0:none");
}

TEST(SplitCost, RecurrencesCarryAndUnknownOperatorsSayNothing) {
  GraphBuilder b;
  const TensorId x = b.input("input", {5, 2, 8});
  b.op("aten.gru.input", {{"input", x}}, {5, 2, 16});
  EXPECT_EQ(costs(b), "t:carry n:none ci:gather co:gather");
  GraphBuilder unknown;
  unknown.op("mylib.f.default", {{"x", unknown.input("x", {4})}}, {4});
  EXPECT_EQ(costs(unknown), "");
}

}  // namespace
}  // namespace parallel_opt
