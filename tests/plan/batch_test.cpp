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

}  // namespace
}  // namespace parallel_opt
