#include "parallel_opt/plan/batch.h"

#include <gtest/gtest.h>

#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

TEST(Batch, IsTheFirstSizeOfTheFirstInput) {
  EXPECT_EQ(batch_of(testing::mlp(24)), 24);
  EXPECT_EQ(batch_of(testing::gpt(1, 6)), 6);
  EXPECT_EQ(batch_of(Graph{}), 1);
}

TEST(Batch, TheJobsOwnCountsFirst) {
  Job job;
  EXPECT_EQ(global_batch_of(testing::mlp(24), job), 24);
  job.global_batch = 96;
  EXPECT_EQ(global_batch_of(testing::mlp(24), job), 96);
}

TEST(Batch, WeightsDoNotGrowWithIt) {
  const Graph graph = testing::mlp();
  const std::vector<bool> grows = grows_with_batch(graph);
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    EXPECT_EQ(grows[i], graph.tensors[i].role != TensorRole::parameter) << graph.tensors[i].name;
  }
}

TEST(Batch, BatchNormalisationMixesSamplesInTraining) {
  EXPECT_EQ(batch_mixing_op(testing::cnn(), true), "op1");
  EXPECT_EQ(batch_mixing_op(testing::cnn(8, 8, 2, 8, false), true), "");
  EXPECT_EQ(batch_mixing_op(testing::gpt(), true), "");
  Graph frozen = testing::cnn();
  for (Op& op : frozen.ops) {
    if (op.attributes.contains("training")) op.attributes["training"] = false;
  }
  EXPECT_EQ(batch_mixing_op(frozen, true), "");
}

TEST(Batch, ScalarsAndEmptySizesDoNotCount) {
  testing::GraphBuilder b;
  b.input({});  // a temperature, say
  b.input({0, 3});
  EXPECT_EQ(batch_of(b.graph), 1);  // no batch of nothing
  b.graph.inputs.pop_back();
  b.input({5, 3});
  EXPECT_EQ(batch_of(b.graph), 5);
}

TEST(Batch, GrowthFollowsTheDataNotTheWeights) {
  testing::GraphBuilder b;
  const TensorId scale = b.input({}), x = b.input({4, 3}), w = b.parameter({3, 3});
  const TensorId square = b.op("aten.mul.Tensor", {{"self", w}, {"other", w}}, {3, 3});
  const TensorId scaled = b.op("aten.mul.Tensor", {{"self", square}, {"other", scale}}, {3, 3});
  const TensorId y = b.op("aten.mm.default", {{"self", x}, {"mat2", scaled}}, {4, 3});
  const Graph graph = b.done(y, "g");
  const std::vector<bool> grows = grows_with_batch(graph);
  EXPECT_TRUE(grows[x.index()]);
  EXPECT_TRUE(grows[y.index()]);
  for (const TensorId id : {scale, w, square, scaled}) EXPECT_FALSE(grows[id.index()]);
}

TEST(Batch, WhichNormalisationsMix) {
  const auto mixing = [](const char* target, std::map<std::string, Attribute> attributes,
                         bool training = true) {
    testing::GraphBuilder b;
    const TensorId x = b.input({4, 3});
    const TensorId y = b.op(target, {{"input", x}}, {4, 3}, "norm", std::move(attributes));
    return batch_mixing_op(b.done(y, "g"), training);
  };
  EXPECT_EQ(mixing("aten.batch_norm.default", {}), "op0");  // as the job says
  EXPECT_EQ(mixing("aten.batch_norm.default", {}, false), "");
  EXPECT_EQ(mixing("aten.batch_norm.default", {{"training", true}}, false), "op0");
  EXPECT_EQ(mixing("aten.native_batch_norm.default", {{"train", true}}), "op0");
  EXPECT_EQ(mixing("aten._native_batch_norm_legit_no_training.default", {}), "");
  EXPECT_EQ(mixing("aten.instance_norm.default", {{"use_input_stats", true}}), "");
  EXPECT_EQ(mixing("aten.batch_norm.default", {{"training", std::int64_t{1}}}), "op0");  // no flag
}

}  // namespace
}  // namespace parallel_opt
