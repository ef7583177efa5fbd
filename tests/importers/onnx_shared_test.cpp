#include <gtest/gtest.h>

#include "tests/importers/archive.h"
#include "tests/importers/onnx_writer.h"

namespace parallel_opt {
namespace {

using namespace testing;

/// Node names as the legacy exporter writes them: "/layers.0/Relu" ran in layers.0.
Node at(const std::string& name, const Names& inputs, const Names& outputs) {
  return {name.substr(name.rfind('/') + 1), inputs, outputs, {}, "", name};
}

Names modules(const std::vector<Node>& nodes) {
  OnnxGraph graph{.nodes = nodes,
                  .inputs = {value_info("x", {"2", "4"}), value_info("mask", {"2", "4"})},
                  .outputs = {},
                  .initializers = {weight("w", {4, 4})}};
  std::string info;
  protozero::pbf_writer(info).add_string(1, "y");
  graph.outputs.push_back(info);
  Names result;
  for (const Op& op : read(graph).ops) result.push_back(op.module);
  return result;
}

TEST(OnnxShared, WhatAllLayersReadStandsAroundThem) {
  // A mask is negated and squared in each of two layers; the exporter kept those of the first.
  EXPECT_EQ(modules({at("/net/net.layers.0/fc/Relu", {"x"}, {"a"}),
                     at("/net/net.layers.0/attention/Neg", {"mask"}, {"n"}),
                     at("/net/net.layers.0/attention/Mul", {"n", "n"}, {"m"}),
                     at("/net/net.layers.0/attention/Add", {"a", "m"}, {"b"}),
                     at("/net/net.layers.1/fc/Relu", {"b"}, {"c"}),
                     at("/net/net.layers.1/attention/Add", {"c", "m"}, {"y"})}),
            (Names{"net.layers.0.fc", "net", "net", "net.layers.0.attention", "net.layers.1.fc",
                   "net.layers.1.attention"}));
}

TEST(OnnxShared, WhatALayerComputesStaysInIt) {
  // The result of a layer goes to the next one and round it; a weight is one layer's own.
  const Names stay = {"layers.0", "layers.0", "layers.1", "layers.2"};
  EXPECT_EQ(modules({at("/layers.0/Relu", {"x"}, {"a"}), at("/layers.0/Tanh", {"a"}, {"b"}),
                     at("/layers.1/Relu", {"b"}, {"c"}), at("/layers.2/Add", {"b", "c"}, {"y"})}),
            stay);
  EXPECT_EQ(
      modules({at("/layers.0/MatMul", {"x", "w"}, {"a"}), at("/layers.0/Add", {"a", "x"}, {"b"}),
               at("/layers.1/Add", {"a", "b"}, {"c"}), at("/layers.2/Add", {"c", "b"}, {"y"})}),
      stay);
}

TEST(OnnxShared, LayersOfASequenceStayWhereTheyAre) {
  EXPECT_EQ(modules({at("/0/Relu", {"x"}, {"a"}), at("/1/Tanh", {"a"}, {"b"}),
                     at("/2/Add", {"a", "b"}, {"y"})}),
            (Names{"0", "1", "2"}));
}

}  // namespace
}  // namespace parallel_opt
