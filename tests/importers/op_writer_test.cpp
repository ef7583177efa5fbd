#include "parallel_opt/importers/op_writer.h"

#include <gtest/gtest.h>

#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

const ResultType kPair{DType::fp32, {sizes::fixed(2)}};

TEST(OpWriter, NamesAreMadeUniqueAndUnneededOperatorsGo) {
  OpWriter writer("m", 10);
  const TensorId x = writer.add_tensor("x", TensorRole::input, kPair);
  writer.graph().inputs = {x};
  writer.name = "y";
  const TensorId first = writer.add("aten.relu.default", {{"self", x}}, kPair);
  writer.add("aten.tanh.default", {{"self", x}}, kPair);  // nobody asks for it
  const TensorId second = writer.add("aten.neg.default", {{"self", first}}, kPair);
  writer.graph().outputs = {second};
  const Graph graph = writer.finish();
  ASSERT_EQ(graph.ops.size(), 2u);
  EXPECT_EQ(graph.ops[0].name, "y");
  EXPECT_EQ(graph.ops[1].name, "y_2");
  EXPECT_EQ(graph.tensors.size(), 3u);
  EXPECT_TRUE(check(graph).empty());
}

TEST(OpWriter, WhatALoopCarriesKeepsItsMaker) {
  OpWriter writer("m", 10);
  const TensorId x = writer.add_tensor("x", TensorRole::input, kPair);
  Region region;
  region.name = region.group = "loop";
  region.kind = RegionKind::loop;
  region.runs = 3;
  writer.region = writer.add_region(region);
  writer.name = "carried";
  const TensorId entered = writer.join({x}, kPair);
  writer.name = "left";
  const TensorId left = writer.add("aten.tanh.default", {{"self", entered}}, kPair);
  writer.carry(entered, left);
  writer.region = RegionId();
  writer.graph().outputs = {writer.join({left}, kPair)};
  const Graph graph = writer.finish();
  ASSERT_EQ(graph.ops.size(), 3u);
  EXPECT_EQ(std::get<std::string>(graph.ops[0].attributes.at("carried")), "left");
  EXPECT_EQ(expected_runs(graph, graph.ops[1]), 3);
}

TEST(OpWriter, WhatDecidesKeepsItsMakerAndItsNumber) {
  OpWriter writer("m", 10);
  const TensorId x = writer.add_tensor("x", TensorRole::input, kPair);
  writer.name = "unused";
  writer.add("aten.exp.default", {{"self", x}}, kPair);
  writer.name = "chosen";
  const TensorId by = writer.add("aten.sum.default", {{"self", x}}, kPair);
  Region region;
  region.name = "if.true";
  region.group = "if";
  region.kind = RegionKind::branch;
  region.predicate = by;
  writer.region = writer.add_region(region);
  writer.name = "way";
  const TensorId way = writer.add("aten.tanh.default", {{"self", x}}, kPair);
  writer.region = RegionId();
  writer.graph().outputs = {writer.join({way}, kPair)};
  const Graph graph = writer.finish();
  ASSERT_EQ(graph.ops.size(), 3u);  // without the unused one
  EXPECT_EQ(graph.tensor(graph.regions[0].predicate).name, "chosen");
}

TEST(OpWriter, RefusesWithoutEnd) {
  OpWriter writer("m.pb", 1);
  writer.where = "node 'y'";
  writer.add("aten.rand.default", {}, kPair);
  EXPECT_EQ(
      testing::error_of([&] { writer.add("aten.rand.default", {}, kPair); }),
      "m.pb:node 'y': the model unfolds to more than 1 operators (functions that call functions "
      "multiply: import a part of the model)");
  EXPECT_EQ(testing::error_of([&] { writer.check_shape({sizes::fixed(-3)}); }),
            "m.pb:node 'y': sizes [-3] are out of range");
}

}  // namespace
}  // namespace parallel_opt
