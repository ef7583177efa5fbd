#include "parallel_opt/importers/onnx.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/batch_dim.h"
#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/work.h"
#include "tests/importers/archive.h"
#include "tests/importers/onnx_writer.h"

namespace parallel_opt {
namespace {

using namespace testing;

std::string proto_with_name(const std::string& name) {
  std::string bytes;
  protozero::pbf_writer(bytes).add_string(1, name);
  return bytes;
}

/// y = relu(x @ fc.weight^T + fc.bias)
OnnxGraph layer() {
  return {.nodes =
              {{"Gemm", {"x", "fc.weight", "fc.bias"}, {"h"}, {whole("transB", 1)}, "", "/fc/Gemm"},
               {"Relu", {"h"}, {"y"}, {}, "", "/act/Relu"}},
          .inputs = {value_info("x", {"batch", "8"})},
          .outputs = {value_info("y", {"batch", "4"})},
          .initializers = {weight("fc.weight", {4, 8}), weight("fc.bias", {4})}};
}

TEST(Onnx, LinearLayerIsThatOfPyTorch) {
  const Graph graph = read(layer());
  EXPECT_EQ(graph.name, "model");
  EXPECT_EQ(graph.source, "model.onnx");
  EXPECT_EQ(targets(graph), (Names{"aten.linear.default", "aten.relu.default"}));
  EXPECT_EQ(graph.ops[0].module, "fc");
  EXPECT_EQ(graph.ops[1].module, "act");
  EXPECT_EQ(count_parameters(graph).parameters, 36);  // 4 * 8 + 4
  EXPECT_EQ(count_parameters(graph).trainable, 36);
  EXPECT_EQ(graph.tensor(graph.ops[0].inputs[1].tensor).fqn, "fc.weight");
  EXPECT_EQ(forward_work(bind(graph, {{"batch", 3}}), graph.ops[0]).contraction.value,
            2.0 * 3 * 8 * 4);
  EXPECT_EQ(graph.notes, (std::vector<std::string>{
                             "sizes that the file leaves open, unless they are bound: batch = 1"}));
}

TEST(Onnx, BatchIsRecognised) {
  const Graph graph = bind(read(layer()), {{"batch", 16}});
  const BatchDims batch = find_batch(graph);
  EXPECT_EQ(batch.symbol, "batch");
  EXPECT_TRUE(batch.can_cut());
}

TEST(Onnx, OpenFirstAxisIsTheBatch) {
  OnnxGraph graph = layer();
  graph.inputs = {value_info("x", {"", "8"})};
  EXPECT_EQ(read(graph).symbols[0].name, "batch");
}

TEST(Onnx, DerivedSizesAreExpressions) {
  OnnxGraph graph = one_node("Relu", {{"b", "past + now"}});
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[b, now + past]");
  EXPECT_EQ(made.symbols.size(), 3u);
}

TEST(Onnx, AnyTextNamesASize) {
  EXPECT_EQ(result_of(one_node("Relu", {{"unk__0", "Floor(w/2)?"}})), "[unk__0, Floor_w_2__]");
}

TEST(Onnx, ModulesComeFromTheExportersMetadata) {
  OnnxGraph graph = layer();
  graph.nodes[0].name = "node_linear";
  graph.nodes[0].metadata = {
      {"pkg.torch.onnx.name_scopes", "['', 'blocks', 'blocks.0', 'blocks.0.fc', 'linear']"},
      {"pkg.torch.onnx.class_hierarchy",
       "['Net', 'torch.nn.modules.container.ModuleList', 'Block', "
       "'torch.nn.modules.linear.Linear', "
       "'aten.linear.default']"}};
  const Graph made = read(graph);
  EXPECT_EQ(made.ops[0].module, "blocks.0.fc");
  EXPECT_EQ(made.ops[0].module_type, "torch.nn.modules.linear.Linear");
}

TEST(Onnx, RepeatedBlocksAreFound) {
  OnnxGraph graph{
      .nodes = {}, .inputs = {value_info("x", {"batch", "8"})}, .outputs = {proto_with_name("h6")}};
  graph.nodes.push_back({"Tanh", {"x"}, {"h0"}, {}, "", "/Tanh"});
  std::string from = "h0";
  for (int i = 0; i < 6; ++i) {
    const std::string layer = std::to_string(i), to = "h" + std::to_string(i + 1);
    graph.nodes.push_back({"MatMul",
                           {from, "w" + layer},
                           {"m" + layer},
                           {},
                           "",
                           "/layers/layers." + layer + "/fc/MatMul"});
    graph.nodes.push_back(
        {"Relu", {"m" + layer}, {to}, {}, "", "/layers/layers." + layer + "/act/Relu"});
    graph.initializers.push_back(weight("w" + layer, {8, 8}));
    from = to;
  }
  const std::vector<Block> blocks = find_blocks(read(graph));
  ASSERT_FALSE(blocks.empty());
  EXPECT_EQ(blocks[0].name, "layers.*");
  EXPECT_EQ(blocks[0].repeats, 6);
  EXPECT_EQ(blocks[0].operators, 2);
}

TEST(Onnx, RolesOfInitializers) {
  OnnxGraph graph{
      .nodes = {{"BatchNormalization", {"x", "bn.weight", "bn.bias", "bn.mean", "bn.var"}, {"h"}},
                {"Gather", {"h", "index"}, {"y"}}},
      .inputs = {value_info("x", {"n", "4", "8"})},
      .outputs = {proto_with_name("y")},
      .initializers = {weight("bn.weight", {4}), weight("bn.bias", {4}), weight("bn.mean", {4}),
                       weight("bn.var", {4}), list("index", {0, 1}), weight("unused", {100})}};
  const Graph made = read(graph);
  EXPECT_EQ(count_parameters(made).parameters, 8);
  EXPECT_EQ(count_parameters(made).buffer_bytes, Bytes(32));
  EXPECT_EQ(made.tensor(made.ops[1].inputs[1].tensor).role, TensorRole::constant);
  EXPECT_EQ(made.ops[0].attributes.at("training"), Attribute(false));
}

TEST(Onnx, EmbeddingsSoftmaxAndNormsHaveTheirRows) {
  OnnxGraph graph{
      .nodes = {{"Gather", {"table", "ids"}, {"e"}},
                {"LayerNormalization", {"e", "g", "b"}, {"n"}},
                {"Softmax", {"n"}, {"y"}}},
      .inputs = {value_info("ids", {"batch", "seq"}, kInt64)},
      .outputs = {proto_with_name("y")},
      .initializers = {weight("table", {100, 16}), weight("g", {16}), weight("b", {16})}};
  const Graph made = read(graph);
  EXPECT_EQ(targets(made),
            (Names{"aten.embedding.default", "aten.layer_norm.default", "aten.softmax.int"}));
  EXPECT_EQ(made.ops[1].attributes.at("normalized_shape"), Attribute(Numbers{16}));
}

TEST(Onnx, AttentionIsOneOperatorBetweenViews) {
  const Graph graph =
      read(one_node("Attention", {{"2", "6", "32"}, {"2", "6", "32"}, {"2", "6", "32"}},
                    {whole("q_num_heads", 4), whole("kv_num_heads", 4), whole("is_causal", 1)}),
           23);
  double flops = 0;
  for (const Op& op : graph.ops) flops += forward_work(graph, op).contraction.value;
  EXPECT_EQ(flops, 2.0 * 2 * (2 * 4) * 6 * 6 * 8);  // two products of b h q k d
  EXPECT_EQ(graph.ops.back().target, "aten.reshape.default");
}

TEST(Onnx, GroupedQueriesOfOnnxRuntime) {
  OnnxGraph graph =
      one_node("GroupQueryAttention", {{"2", "6", "32"}, {"2", "6", "16"}, {"2", "6", "16"}},
               {whole("num_heads", 4), whole("kv_num_heads", 2)}, {}, "com.microsoft");
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[2, 6, 32]");
  double flops = 0;
  for (const Op& op : made.ops) flops += forward_work(made, op).contraction.value;
  EXPECT_EQ(flops, 2.0 * 2 * (2 * 4) * 6 * 6 * 8);
}

TEST(Onnx, FewBitWeightsAreALinearLayer) {
  const Graph graph =
      read(one_node("MatMulNBits", {{"2", "5", "64"}, {"128", "2", "16"}, {"256"}},
                    {whole("K", 64), whole("N", 128), whole("bits", 4), whole("block_size", 32)},
                    {}, "com.microsoft"));
  EXPECT_EQ(targets(graph), (Names{"aten._to_copy.default", "aten.linear.default"}));
  EXPECT_EQ(forward_work(graph, graph.ops[1]).contraction.value, 2.0 * 10 * 64 * 128);
}

TEST(Onnx, ExpertsOfOnnxRuntimeAreProductsByGroup) {
  // 16 tokens meet 2 of 4 experts, 32 wide; 64 inside
  const double pairs = 16 * 2;
  const auto flops = [](const OnnxGraph& graph) {
    const Graph made = read(graph);
    double total = 0;
    for (const Op& op : made.ops) total += forward_work(made, op).contraction.value;
    EXPECT_EQ(sizes(made, made.outputs[0]), "[2, 8, 32]");
    return total;
  };
  const auto mixture = [](const char* type, const Names& attributes, const Names& weights) {
    return one_node(type, {{"2", "8", "32"}, {"16", "4"}}, attributes, weights, "com.microsoft");
  };
  EXPECT_EQ(
      flops(mixture("MoE", {whole("k", 2)},
                    {weight("c0", {4, 64, 32}), weight("c1", {4, 64}), weight("c2", {4, 32, 64})})),
      2 * pairs * (32 * 64 + 64 * 32));
  // Gate and value in one layer, two numbers in a byte.
  EXPECT_EQ(
      flops(mixture("QMoE", {whole("k", 2), whole("expert_weight_bits", 4)},
                    {weight("c0", {4, 128, 16}), weight("c1", {4, 128}), weight("c2", {4, 128}),
                     weight("c3", {4, 32, 32}), weight("c4", {4, 32})})),
      2 * pairs * (32 * 128 + 64 * 32));
}

TEST(Onnx, FusedOperatorsOfOnnxRuntime) {
  const Graph skip =
      read(one_node("SkipLayerNormalization", {{"2", "5", "8"}, {"2", "5", "8"}, {"8"}, {"8"}}, {},
                    {}, "com.microsoft"));
  EXPECT_EQ(targets(skip), (Names{"aten.add.Tensor", "aten.layer_norm.default"}));
  const Graph product = read(
      one_node("FusedMatMul", {{"8", "2"}, {"8", "3"}}, {whole("transA", 1)}, {}, "com.microsoft"));
  EXPECT_EQ(targets(product), (Names{"aten.permute.default", "aten.matmul.default"}));
  EXPECT_EQ(sizes(product, product.outputs[0]), "[2, 3]");
  const Graph gelu = read(one_node("BiasGelu", {{"2", "8"}, {"8"}}, {}, {}, "com.microsoft"));
  EXPECT_EQ(targets(gelu), (Names{"aten.add.Tensor", "aten.gelu.default"}));
}

TEST(Onnx, RecurrentLayersAreThoseOfPyTorch) {
  OnnxGraph graph =
      one_node("LSTM", {{"5", "2", "8"}}, {whole("hidden_size", 16)},
               {weight("c0", {1, 64, 8}), weight("c1", {1, 64, 16}), weight("c2", {1, 128})});
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[5, 1, 2, 16]");
  EXPECT_EQ(count_parameters(made).parameters, 64 * 8 + 64 * 16 + 128);
  double flops = 0;
  for (const Op& op : made.ops) flops += forward_work(made, op).contraction.value;
  EXPECT_EQ(flops, 2.0 * 5 * 2 * (64 * 8 + 64 * 16));
}

TEST(Onnx, RecurrentWeightsFitEachOther) {
  const auto fault = [](const std::string& type, std::int64_t hidden, const Names& weights) {
    return error_of(
        [&] { read(one_node(type, {{"5", "2", "8"}}, {whole("hidden_size", hidden)}, weights)); });
  };
  const std::string w = weight("c0", {1, 64, 8}), r = weight("c1", {1, 64, 16});
  EXPECT_EQ(fault("LSTM", 16, {w, r, weight("c2", {1, 128})}), "no error");
  EXPECT_EQ(fault("LSTM", 32, {w, r}),
            "model.onnx:graph.node[0]: LSTM: hidden_size is 32 and R is [1, 64, 16]");
  EXPECT_EQ(fault("LSTM", 16, {weight("c0", {1, 64, 9}), r}),
            "model.onnx:graph.node[0]: LSTM: W is [1, 64, 9] where [1, 64, 8] fits");
  EXPECT_EQ(fault("GRU", 16, {weight("c0", {1, 48, 8}), r}),
            "model.onnx:graph.node[0]: GRU: R is [1, 64, 16] where [1, 48, 16] fits");
  EXPECT_EQ(fault("RNN", 16,
                  {weight("c0", {1, 16, 8}), weight("c1", {1, 16, 16}), weight("c2", {1, 16})}),
            "model.onnx:graph.node[0]: RNN: B is [1, 16] where [1, 32] fits");
  EXPECT_EQ(fault("LSTM", 16, {weight("c0", {2, 64, 8}), weight("c1", {2, 64, 16})}),
            "model.onnx:graph.node[0]: LSTM: W is [2, 64, 8] where [1, 64, 8] fits");
}

TEST(Onnx, UnevenPaddingIsAnOperatorOfItsOwn) {
  const Graph graph = read(one_node("Conv", {{"1", "3", "8", "8"}, {"4", "3", "3", "3"}},
                                    {wholes("pads", {0, 1, 2, 1})}));
  EXPECT_EQ(targets(graph), (Names{"aten.constant_pad_nd.default", "aten.convolution.default"}));
  EXPECT_EQ(sizes(graph, graph.outputs[0]), "[1, 4, 8, 8]");
}

TEST(Onnx, UnknownOperatorsAreOpaqueNeverDropped) {
  OnnxGraph graph = one_node("Frobnicate", {{"2", "3"}}, {}, {}, "my.domain");
  const Graph made = read(graph);
  EXPECT_EQ(targets(made), (Names{"my.domain.Frobnicate"}));
  EXPECT_EQ(forward_work(made, made.ops[0]).op_class, OpClass::opaque);
  EXPECT_EQ(
      made.notes,
      (std::vector<std::string>{"the shape of \"z\" is not known: it is counted as one element"}));
  EXPECT_FALSE(knows_onnx_operator("my.domain", "Frobnicate"));
  EXPECT_TRUE(knows_onnx_operator("", "Loop"));
  EXPECT_TRUE(knows_onnx_operator("ai.onnx", "Relu"));
}

TEST(Onnx, OldOperatorSetsAreReadWithANote) {
  EXPECT_EQ(read(one_node("Relu", {{"2"}}), 9).notes,
            (std::vector<std::string>{
                "operator set 9 is older than 13: operators that meant something else then "
                "may be counted as they are now"}));
}

}  // namespace
}  // namespace parallel_opt
