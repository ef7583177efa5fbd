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

TEST(Blocks, WhatRunsInTheMidstOfABlockMayBeOfAnotherModule) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8}), table;
  for (int i = 0; i < 3; ++i) {
    const std::string name = "blocks." + std::to_string(i);
    b.module(name + ".first");
    TensorId y = b.op("aten.relu.default", {{"self", x}}, {4, 8});
    b.module("");
    if (i == 0) table = b.op("aten.neg.default", {{"self", b.input("t", {4, 8})}}, {4, 8});
    b.module(name);
    y = b.op("aten.mul.Tensor", {{"self", y}, {"other", table}}, {4, 8});
    x = b.op("aten.add.Tensor", {{"self", x}, {"other", y}}, {4, 8});
  }
  b.output(x);
  const std::vector<Block> blocks = find_blocks(b.build());
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].repeats, 3);
}

TEST(Blocks, AnUnlikeModuleIsLeftOut) {
  const std::vector<Block> blocks = find_blocks(tower(6, true, 2));
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].repeats, 5);
  EXPECT_EQ(blocks[0].instances[2].module, "blocks.3");
}

TEST(Blocks, LayersThatOccurOnceAreFoundBesideThem) {
  const std::vector<Block> layers = find_layers(tower(6, true, 0));
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[0].name, "blocks.*");
  EXPECT_EQ(layers[0].repeats, 5);
  EXPECT_EQ(layers[1].name, "blocks.0");
  EXPECT_EQ(layers[1].repeats, 1);
  EXPECT_EQ(layers[1].operators, 3);
  ASSERT_EQ(layers[1].instances.size(), 1u);
  EXPECT_EQ(layers[1].instances[0].module, "blocks.0");
  // One alone is a layer if it attends; what has no names of modules has none beside.
  EXPECT_TRUE(find_layers(tower(1, true)).empty());
  EXPECT_EQ(find_layers(tower(6, false)).size(), find_blocks(tower(6, false)).size());
}

TEST(Blocks, WithoutModuleNamesPeriodsAreFound) {
  const std::vector<Block> blocks = find_blocks(tower(10, false));
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].operators, 3);
  EXPECT_EQ(blocks[0].repeats, 10);  // the first one reads no block: that is outside of it
  EXPECT_EQ(blocks[0].instances[0].ops.front(), OpId(1));
  EXPECT_TRUE(blocks[0].name.starts_with("ops "));
}

TEST(Blocks, OperatorsKnowTheirBlock) {
  const Graph g = tower(2, true);
  const std::vector<Block> blocks = find_blocks(g);
  EXPECT_EQ(block_of_op(g, blocks), (std::vector<int>{-1, 0, 0, 0, 0, 0, 0, -1}));
}

/// Layers that all read one table, as rotary positions are; a layer is rotated so that only one
/// begin leaves one tensor crossing.
TEST(Blocks, ATableThatAllLayersReadDoesNotHideThem) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  const TensorId table = b.op("aten.cos.default", {{"self", b.buffer("p", {8})}}, {8});
  for (int i = 0; i < 6; ++i) {
    const TensorId n = b.op("aten.neg.default", {{"self", x}}, {4, 8});
    const TensorId q = b.op("aten.mul.Tensor", {{"self", n}, {"other", table}}, {4, 8});
    const TensorId k = b.op("aten.sin.default", {{"self", n}}, {4, 8});
    const TensorId s = b.op("aten.sub.Tensor", {{"self", q}, {"other", k}}, {4, 8});
    x = b.op("aten.add.Tensor", {{"self", x}, {"other", s}}, {4, 8});
  }
  b.output(b.op("aten.sum.default", {{"self", x}}, {}));
  const std::vector<Block> blocks = find_blocks(b.build());
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].repeats, 6);
  EXPECT_EQ(blocks[0].operators, 5);
  EXPECT_EQ(blocks[0].name, "ops 1..5");
}

/// Stages of layers of heads: `stages` equal stages, each with `layers` layers.
Graph nested(int stages, int layers, bool named) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  for (int s = 0; s < stages; ++s) {
    const std::string stage = "stages." + std::to_string(s);
    if (named) b.module(stage + ".norm");
    x = b.op("aten.neg.default", {{"self", x}}, {4, 8});
    for (int l = 0; l < layers; ++l) {
      const std::string layer = stage + ".layers." + std::to_string(l);
      if (named) b.module(layer + ".fc");
      const TensorId h = b.op("aten.exp.default", {{"self", x}}, {4, 8});
      if (named) b.module(layer);
      const TensorId r = b.op("aten.relu.default", {{"self", h}}, {4, 8});
      x = b.op("aten.add.Tensor", {{"self", x}, {"other", r}}, {4, 8});
    }
  }
  b.output(x);
  return b.build();
}

TEST(Blocks, InsideOfBlocksAreFoundWithNames) {
  const std::vector<NestedBlock> blocks = find_nested_blocks(nested(3, 4, true));
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].block.name, "stages.*");
  EXPECT_EQ(blocks[0].block.repeats, 3);
  EXPECT_EQ(blocks[0].block.operators, 1 + 4 * 3);
  EXPECT_EQ(blocks[0].parent, -1);
  EXPECT_EQ(blocks[1].block.name, "stages.*.layers.*");
  EXPECT_EQ(blocks[1].block.repeats, 4);
  EXPECT_EQ(blocks[1].block.operators, 3);
  EXPECT_EQ(blocks[1].parent, 0);
  EXPECT_EQ(find_blocks(nested(3, 4, true)).size(), 1u);  // outer ones only: no overlap
}

TEST(Blocks, InsideOfBlocksAreFoundWithoutNames) {
  const std::vector<NestedBlock> blocks = find_nested_blocks(nested(5, 4, false));
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].block.repeats, 5);
  EXPECT_EQ(blocks[0].block.operators, 13);
  EXPECT_EQ(blocks[1].block.repeats, 4);
  EXPECT_EQ(blocks[1].block.operators, 3);
  EXPECT_EQ(blocks[1].parent, 0);
}

TEST(Blocks, ARateOrALayerNumberKeepsThemEqualAndIsTold) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  for (int i = 0; i < 4; ++i) {
    const std::string name = "blocks." + std::to_string(i);
    b.module(name + ".drop");
    const TensorId d = b.op("aten.dropout.default", {{"input", x}}, {4, 8},
                            {{"p", 0.1 * (i + 1)}, {"train", true}});
    b.module(name + ".attention");
    x = b.op("mylib.attention.default", {{"x", d}}, {4, 8},
             {{"layer_idx", std::int64_t{i}}, {"layer_name", name}});
  }
  b.output(x);
  const std::vector<Block> blocks = find_blocks(b.build());
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].repeats, 4);
  EXPECT_EQ(blocks[0].varies,
            (std::vector<std::string>{"aten.dropout.default p", "mylib.attention.default layer_idx",
                                      "mylib.attention.default layer_name"}));
}

TEST(Blocks, AnAttributeThatChangesTheWorkParts) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  for (int i = 0; i < 4; ++i) {
    b.module("blocks." + std::to_string(i) + ".f");
    x = b.op("mylib.f.default", {{"x", x}}, {4, 8}, {{"groups", std::int64_t{1 + i / 2}}});
  }
  const std::vector<Block> blocks = find_blocks(b.build());
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].repeats, 2);
  EXPECT_EQ(blocks[1].repeats, 2);
}

TEST(Blocks, CallsOfOneModuleAreABlock) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  for (int i = 0; i < 5; ++i) {
    for (const char* target : {"aten.neg.default", "aten.exp.default"}) {
      b.module(std::string("encoder.layer.") + (target[5] == 'n' ? "a" : "b"));
      x = b.op(target, {{"self", x}}, {4, 8});
      b.raw().ops.back().call = i;
    }
  }
  const std::vector<Block> blocks = find_blocks(b.build());
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].repeats, 5);
  EXPECT_EQ(blocks[0].operators, 2);
  EXPECT_EQ(blocks[0].instances[1].module, blocks[0].instances[0].module);
  EXPECT_EQ(blocks[0].instances[1].ops, (std::vector<OpId>{OpId(2), OpId(3)}));
}

TEST(Blocks, NoneInAnEmptyOrIrregularGraph) {
  EXPECT_TRUE(find_blocks(Graph{}).empty());
  EXPECT_TRUE(find_blocks(tower(1, true)).empty());
}

}  // namespace
}  // namespace parallel_opt
