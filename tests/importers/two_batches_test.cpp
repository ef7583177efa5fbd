#include "parallel_opt/importers/two_batches.h"

#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/importers/pt2.h"
#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using namespace testing;

/// relu of [batch, 3], flattened with one more row: [3 * batch + 3].
Graph captured(int batch, const std::string& target = "torch.ops.aten.relu.default",
               int rows_of_result = -1) {
  Model model;
  model.input("x", meta({std::to_string(batch), "3"}));
  const int rows = rows_of_result < 0 ? 3 * batch + 3 : rows_of_result;
  model.value("y", meta({std::to_string(rows)}));
  model.node(target, {tensor("self", "x")}, "y");
  model.output("y");
  return read_pt2(make_pt2(model.json()), "model.pt2");
}

TEST(JoinBatches, SizesBecomeLinesThroughBothPoints) {
  const auto joined = join_batches(captured(4), 4, captured(5), 5);
  ASSERT_TRUE(joined.has_value());
  EXPECT_EQ(joined->tensors[0].shape, (std::vector<Dim>{{4, "batch"}, {3, ""}}));
  EXPECT_EQ(joined->tensors[1].shape, (std::vector<Dim>{{15, "3*batch + 3"}}));
  EXPECT_EQ(joined->symbols, (std::vector<Symbol>{{"batch", 1, INT64_MAX, 4}}));
  EXPECT_TRUE(check(*joined).empty());
  EXPECT_EQ(bind(*joined, {{"batch", 10}}).tensors[1].shape[0].size, 33);  // 3*10 + 3
}

TEST(JoinBatches, MoreThanSizesMustNotDiffer) {
  EXPECT_FALSE(join_batches(captured(4), 4, captured(5, "torch.ops.aten.exp.default"), 5));
  EXPECT_FALSE(join_batches(captured(4), 4, captured(4), 5));  // no size depends on the batch
}

TEST(JoinBatches, SizesMustLieOnALineOfWholeNumbers) {
  const std::string relu = "torch.ops.aten.relu.default";
  // 10 -> 13 over 2 more samples: one and a half per sample
  EXPECT_FALSE(join_batches(captured(4, relu, 10), 4, captured(6, relu, 13), 6));
  // 10 -> 9: shrinks
  EXPECT_FALSE(join_batches(captured(4, relu, 10), 4, captured(5, relu, 9), 5));
  const auto joined = join_batches(captured(4, relu, 6), 4, captured(5, relu, 8), 5);
  EXPECT_EQ(joined->tensors[1].shape[0].expression, "2*batch - 2");  // 2*4 - 2 = 6, 2*5 - 2 = 8
}

}  // namespace
}  // namespace parallel_opt
