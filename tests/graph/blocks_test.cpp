#include "parallel_opt/graph/blocks.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

/// `layers` equal blocks of three operators, with names of modules or without.
Graph tower(int layers, bool named, int odd = -1) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  x = b.op("aten.neg.default", {{"self", x}}, {4, 8});
  for (int i = 0; i < layers; ++i) {
    const std::string name = "blocks." + std::to_string(i);
    const TensorId w = b.parameter(name + ".fc.weight", {8, 8});
    if (named) b.module(name + ".fc");
    const TensorId h = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 8});
    if (named) b.module(name);
    const TensorId r =
        b.op(i == odd ? "aten.gelu.default" : "aten.relu.default", {{"self", h}}, {4, 8});
    x = b.op("aten.add.Tensor", {{"self", x}, {"other", r}}, {4, 8});
  }
  if (named) b.module("");
  b.output(b.op("aten.sum.default", {{"self", x}}, {}));
  return b.build();
}

TEST(Blocks, EqualModulesAreOneBlock) {
  const std::vector<Block> blocks = find_blocks(tower(12, true));
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].name, "blocks.*");
  EXPECT_EQ(blocks[0].repeats, 12);
  EXPECT_EQ(blocks[0].operators, 3);
  EXPECT_EQ(blocks[0].instances[11].module, "blocks.11");
  EXPECT_EQ(blocks[0].instances[1].ops, (std::vector<OpId>{OpId(4), OpId(5), OpId(6)}));
}

TEST(Blocks, AnUnlikeModuleIsLeftOut) {
  const std::vector<Block> blocks = find_blocks(tower(6, true, 2));
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].repeats, 5);
  EXPECT_EQ(blocks[0].instances[2].module, "blocks.3");
}

TEST(Blocks, WithoutModuleNamesPeriodsAreFound) {
  const std::vector<Block> blocks = find_blocks(tower(10, false));
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].operators, 3);
  EXPECT_GE(blocks[0].repeats, 9);  // the first block reads something else than a block
  EXPECT_TRUE(blocks[0].name.starts_with("ops "));
}

TEST(Blocks, OperatorsKnowTheirBlock) {
  const Graph g = tower(2, true);
  const std::vector<Block> blocks = find_blocks(g);
  EXPECT_EQ(block_of_op(g, blocks), (std::vector<int>{-1, 0, 0, 0, 0, 0, 0, -1}));
}

TEST(Blocks, NoneInAnEmptyOrIrregularGraph) {
  EXPECT_TRUE(find_blocks(Graph{}).empty());
  EXPECT_TRUE(find_blocks(tower(1, true)).empty());
}

}  // namespace
}  // namespace parallel_opt
