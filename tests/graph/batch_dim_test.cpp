#include "parallel_opt/graph/batch_dim.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

TEST(BatchDim, FollowsSamplesThroughViewsAndProducts) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 6, 8});
  const TensorId w = b.parameter("w", {8, 8});
  const TensorId h = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 6, 8});
  const TensorId heads = b.op("aten.view.default", {{"self", h}}, {4, 6, 2, 4});
  const TensorId t = b.op("aten.transpose.int", {{"self", heads}}, {4, 2, 6, 4},
                          {{"dim0", std::int64_t{1}}, {"dim1", std::int64_t{2}}});
  const TensorId merged = b.op("aten.reshape.default", {{"self", t}}, {8, 6, 4});
  const TensorId loss = b.op("aten.mean.default", {{"self", merged}}, {});
  const BatchDims found = find_batch(b.build());
  EXPECT_EQ(found.size, 4);
  EXPECT_EQ(found.axis[t.index()], 0);
  EXPECT_EQ(found.axis[merged.index()], 0);
  EXPECT_EQ(found.inner[merged.index()], 2);  // axis 8 is 4 samples x 2 heads
  EXPECT_EQ(found.axis[loss.index()], -1);
  EXPECT_EQ(found.use.back(), BatchUse::summed);
  EXPECT_TRUE(found.can_cut());
}

TEST(BatchDim, SamplesBehindStepsInOneAxisAreFound) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 6, 8});
  const TensorId t = b.op("aten.transpose.int", {{"self", x}}, {6, 4, 8},
                          {{"dim0", std::int64_t{0}}, {"dim1", std::int64_t{1}}});
  b.strides(t, {8, 48, 1});
  const TensorId rows = b.op("aten.reshape.default", {{"self", t}}, {24, 8});
  const TensorId back = b.op("aten.view.default", {{"self", rows}}, {6, 4, 8});
  const BatchDims found = find_batch(b.build());
  EXPECT_EQ(found.axis[rows.index()], 0);
  EXPECT_EQ(found.inner[rows.index()], 1);  // axis 24 is 6 steps x 4 samples
  EXPECT_EQ(found.axis[back.index()], 1);
  EXPECT_TRUE(found.can_cut());
}

TEST(BatchDim, StatisticsOverSamplesForbidCutting) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 3, 8, 8});
  const TensorId y =
      b.op("aten.batch_norm.default", {{"input", x}}, {4, 3, 8, 8}, {{"training", true}});
  b.op("aten.softmax.int", {{"self", y}}, {4, 3, 8, 8}, {{"dim", std::int64_t{0}}});
  const BatchDims found = find_batch(b.build());
  EXPECT_EQ(found.mixing, (std::vector<OpId>{OpId(0), OpId(1)}));
  EXPECT_FALSE(found.can_cut());
}

TEST(BatchDim, AMeanOverSamplesThatIsUsedAgainMixes) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 3});
  const TensorId mean = b.op("aten.mean.dim", {{"self", x}}, {3}, {{"dim", Ints{0}}});
  b.op("aten.sub.Tensor", {{"self", x}, {"other", mean}}, {4, 3});
  b.op("aten.sqrt.default", {{"self", mean}}, {3});
  b.op("aten.sum.default", {{"self", mean}}, {});
  const BatchDims found = find_batch(b.build());
  EXPECT_EQ(found.use, (std::vector<BatchUse>{BatchUse::summed, BatchUse::mixed, BatchUse::mixed,
                                              BatchUse::summed}));
}

TEST(BatchDim, AnUnknownOperatorOnSamplesIsSaid) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 3});
  b.op("mylib.f.default", {{"x", x}}, {4, 3});
  const BatchDims found = find_batch(b.build());
  EXPECT_EQ(found.unknown, std::vector<OpId>{OpId(0)});
  EXPECT_FALSE(found.can_cut());
}

TEST(BatchDim, RecurrentLayersMixStepsNotSamples) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 6, 8});
  b.op("aten.lstm.input", {{"input", x}}, {4, 6, 8}, {{"batch_first", true}});
  b.op("aten.lstm.input", {{"input", x}}, {4, 6, 8}, {{"batch_first", false}});
  const BatchDims found = find_batch(b.build());
  EXPECT_EQ(found.use[0], BatchUse::separate);
  EXPECT_EQ(found.use[1], BatchUse::mixed);
}

TEST(BatchDim, NoInputsNoBatch) {
  const BatchDims found = find_batch(Graph{});
  EXPECT_EQ(found.size, 0);
  EXPECT_FALSE(found.can_cut());
}

}  // namespace
}  // namespace parallel_opt
