#include "parallel_opt/importers/tensorflow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/model.h"
#include "tests/importers/archive.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/tf_builder.h"

namespace parallel_opt {
namespace {

using testing::forward_flops;
using testing::sizes_of;
using testing::targets;

namespace tf = testing::tf;
using testing::error_of;

Graph read_nodes(const std::vector<tf::Bytes>& nodes, const std::vector<tf::Bytes>& library = {}) {
  return read_graph_def(tf::graph(nodes, library), "m.pb");
}

std::string graph_def_fault(const std::vector<tf::Bytes>& nodes,
                            const std::vector<tf::Bytes>& library = {}) {
  return error_of([&] { read_nodes(nodes, library); });
}

using Sizes = std::vector<std::int64_t>;

TEST(GraphDef, DenseLayerHasItsWeightsNamesAndSymbols) {
  const Graph graph =
      read_nodes({tf::placeholder("x", {-1, 64}), tf::weight("w", {64, 10}), tf::weight("b", {10}),
                  tf::node("model/head/MatMul", "MatMul", {"x", "w"}),
                  tf::node("model/head/BiasAdd", "BiasAdd", {"model/head/MatMul", "b"})});
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.mm.default", "aten.add.Tensor"}));
  EXPECT_EQ(graph.ops[0].module, "model.head");
  EXPECT_EQ(count_parameters(graph).parameters, 650);  // 64*10 + 10
  EXPECT_EQ(graph.tensor(graph.outputs[0]).shape[0].expression, "batch");
  EXPECT_EQ(forward_flops(bind(graph, {{"batch", 8}})), 2.0 * 8 * 64 * 10);
}

TEST(GraphDef, ConvolutionOfChannelsLastCountsEveryPosition) {
  const tf::Attributes same = {{"strides", tf::wholes({1, 2, 2, 1})},
                               {"padding", tf::text("SAME")}};
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 33, 32, 3}), tf::weight("w", {3, 3, 3, 16}),
                  tf::node("conv", "Conv2D", {"x", "w"}, same)});
  // ceil(33/2) = 17, ceil(32/2) = 16 positions
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{2, 17, 16, 16}));
  EXPECT_EQ(forward_flops(graph), 2.0 * 2 * 17 * 16 * 16 * 3 * 3 * 3);
}

TEST(GraphDef, DilatedConvolutionsGoThroughTheBatch) {
  const tf::Attributes valid = {{"strides", tf::wholes({1, 1, 1, 1})},
                                {"padding", tf::text("VALID")}};
  const Graph graph =
      read_nodes({tf::placeholder("x", {-1, 8, 6, 3}), tf::weight("w", {3, 3, 3, 16}),
                  tf::numbers("block", {2, 2}, {2}), tf::numbers("pads", {2, 2, 2, 2}, {2, 2}),
                  tf::numbers("crops", {0, 0, 0, 0}, {2, 2}),
                  tf::node("apart", "SpaceToBatchND", {"x", "block", "pads"}),
                  tf::node("conv", "Conv2D", {"apart", "w"}, valid),
                  tf::node("back", "BatchToSpaceND", {"conv", "block", "crops"})});
  const Graph two = bind(graph, {{"batch", 2}});
  // (8 + 4) / 2 - 2 = 4 and (6 + 4) / 2 - 2 = 3 positions, times 2 again
  EXPECT_EQ(sizes_of(two.tensor(two.outputs[0])), (Sizes{2, 8, 6, 16}));
  EXPECT_EQ(graph.tensor(graph.outputs[0]).shape[0].expression, "batch");
  EXPECT_EQ(forward_flops(two),
            2.0 * 2 * 8 * 6 * 16 * 3 * 3 * 3);  // as a dilated one of the same output
}

TEST(GraphDef, BlocksThatWereAddedToAreCutOff) {
  const Graph graph =
      read_nodes({tf::placeholder("x", {1, 5, 4}), tf::numbers("block", {2}, {1}),
                  tf::numbers("pads", {0, 1}, {1, 2}), tf::numbers("crops", {0, 1}, {1, 2}),
                  tf::node("apart", "SpaceToBatchND", {"x", "block", "pads"}),
                  tf::node("back", "BatchToSpaceND", {"apart", "block", "crops"})});
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{1, 5, 4}));  // 5 + 1 = 2 * 3
}

TEST(GraphDef, ValidWindowsAreWhole) {
  const tf::Attributes valid = {{"ksize", tf::wholes({1, 3, 3, 1})},
                                {"strides", tf::wholes({1, 2, 2, 1})},
                                {"padding", tf::text("VALID")}};
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 9, 8, 3}), tf::node("pool", "MaxPool", {"x"}, valid)});
  // (9-3)/2 + 1 = 4, (8-3)/2 + 1 = 3
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{2, 4, 3, 3}));
}

TEST(GraphDef, DepthwiseFiltersAreOneGroupPerChannel) {
  const tf::Attributes same = {{"strides", tf::wholes({1, 1, 1, 1})},
                               {"padding", tf::text("SAME")}};
  const Graph graph = read_nodes({tf::placeholder("x", {1, 8, 8, 6}), tf::weight("w", {3, 3, 6, 2}),
                                  tf::node("conv", "DepthwiseConv2dNative", {"x", "w"}, same)});
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{1, 8, 8, 12}));
  EXPECT_EQ(forward_flops(graph), 2.0 * 8 * 8 * 12 * 3 * 3);  // one input channel for each output
}

TEST(GraphDef, TransposedConvolutionVisitsItsInput) {
  const tf::Attributes same = {{"strides", tf::wholes({1, 2, 2, 1})},
                               {"padding", tf::text("SAME")}};
  const Graph graph =
      read_nodes({tf::placeholder("x", {1, 4, 4, 8}), tf::weight("w", {2, 2, 5, 8}),
                  tf::numbers("sizes", {1, 8, 8, 5}, {4}),
                  tf::node("up", "Conv2DBackpropInput", {"sizes", "w", "x"}, same)});
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{1, 8, 8, 5}));
  EXPECT_EQ(forward_flops(graph), 2.0 * 4 * 4 * 8 * 5 * 2 * 2);
}

TEST(GraphDef, SizesAreComputedWithSymbols) {
  // reshape(x, [shape(x)[0] * shape(x)[1], 64]), then a product
  const tf::Attributes first = {{"shrink_axis_mask", tf::whole(1)}};
  const Graph graph = read_nodes(
      {tf::placeholder("x", {-1, -1, 64}), tf::node("shape", "Shape", {"x"}),
       tf::numbers("0", {0}, {1}), tf::numbers("1", {1}, {1}), tf::numbers("2", {2}, {1}),
       tf::node("b", "StridedSlice", {"shape", "0", "1", "1"}, first),
       tf::node("s", "StridedSlice", {"shape", "1", "2", "1"}, first),
       tf::node("rows", "Mul", {"b", "s"}), tf::number("d", 64),
       tf::node("target", "Pack", {"rows", "d"}), tf::node("flat", "Reshape", {"x", "target"}),
       tf::weight("w", {64, 3}), tf::node("y", "MatMul", {"flat", "w"})});
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.reshape.default", "aten.mm.default"}));
  EXPECT_EQ(graph.tensor(graph.outputs[0]).shape[0].expression, "batch*seq");
  EXPECT_EQ(forward_flops(bind(graph, {{"batch", 2}, {"seq", 5}})), 2.0 * 10 * 64 * 3);
}

TEST(GraphDef, FreeSizeOfAReshapeIsAQuotient) {
  const Graph graph = read_nodes({tf::placeholder("x", {-1, 4, 6}), tf::numbers("t", {-1, 8}, {2}),
                                  tf::node("y", "Reshape", {"x", "t"})});
  EXPECT_EQ(graph.tensor(graph.outputs[0]).shape[0].expression, "3*batch");  // b*4*6 / 8
}

TEST(GraphDef, EinsumKeepsItsEquation) {
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 5, 12}), tf::weight("w", {12, 3, 4}),
                  tf::node("q", "Einsum", {"x", "w"}, {{"equation", tf::text("abc,cde->abde")}})});
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{2, 5, 3, 4}));
  EXPECT_EQ(forward_flops(graph), 2.0 * 2 * 5 * 12 * 3 * 4);
}

TEST(GraphDef, TableLookupIsAnEmbedding) {
  const Graph graph =
      read_nodes({tf::placeholder("ids", {2, 7}, tf::kInt32), tf::weight("table", {100, 16}),
                  tf::number("axis", 0), tf::node("y", "GatherV2", {"table", "ids", "axis"})});
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.embedding.default"}));
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{2, 7, 16}));
}

TEST(GraphDef, TransformsOfRealNumbersHaveHalfOfTheFrequencies) {
  const Graph graph = read_nodes({tf::placeholder("x", {3, 16}), tf::numbers("n", {16}, {1}),
                                  tf::node("f", "RFFT", {"x", "n"}), tf::node("g", "FFT", {"f"}),
                                  tf::node("y", "IRFFT", {"g", "n"})});
  EXPECT_EQ(targets(graph),
            (std::vector<std::string>{"aten.fft_rfft.default", "aten.fft_fft.default",
                                      "aten.fft_irfft.default"}));
  const Tensor& half = graph.tensor(graph.ops[0].outputs[0]);
  EXPECT_EQ(sizes_of(half), (Sizes{3, 9}));
  EXPECT_EQ(half.dtype, DType::complex64);
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{3, 16}));
}

TEST(GraphDef, UnknownOperatorsStayAndAreListed) {
  const Graph graph = read_nodes(
      {tf::placeholder("x", {2, 3}),
       tf::node("y", "MyOp", {"x"},
                {{"T", tf::type(tf::kFloat)}, {"_output_shapes", tf::shapes({{2, 9}})}})});
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"tensorflow.MyOp"}));
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{2, 9}));
  EXPECT_EQ(summarize(graph).opaque.at(0).operator_name, "tensorflow.MyOp");
}

TEST(GraphDef, FunctionsAreInlinedByOutputName) {
  const tf::Bytes twice = tf::function_def(
      "twice", {{"a", tf::kFloat}}, {{"r", "sum:z:0"}},
      {tf::node("parts", "Split", {"axis:output:0", "a"}, {{"num_split", tf::whole(2)}}),
       tf::number("axis", 1), tf::node("sum", "AddV2", {"parts:output:0", "parts:output:1"})});
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 8}),
                  tf::node("block/StatefulPartitionedCall", "StatefulPartitionedCall", {"x"},
                           {{"f", tf::function("twice")}})},
                 {twice});
  EXPECT_EQ(targets(graph),
            (std::vector<std::string>{"aten.split_with_sizes.default", "aten.add.Tensor"}));
  EXPECT_EQ(graph.ops[1].module, "block");
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{2, 4}));
}

tf::Bytes counting_condition() {
  return tf::function_def(
      "cond", {{"i", tf::kInt32}, {"h", tf::kFloat}}, {{"r", "less:z:0"}},
      {tf::number("limit", 7), tf::node("less", "Less", {"i", "limit:output:0"})});
}

tf::Bytes counting_body() {
  return tf::function_def(
      "body", {{"i", tf::kInt32}, {"h", tf::kFloat}}, {{"j", "next:z:0"}, {"g", "step:product:0"}},
      {tf::number("one", 1), tf::node("next", "AddV2", {"i", "one:output:0"}),
       tf::weight("w", {3, 3}), tf::node("step", "MatMul", {"h", "w:output:0"})});
}

TEST(GraphDef, WhileLoopIsARegionWithItsTripCount) {
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 3}), tf::number("zero", 0),
                  tf::node("loop", "StatelessWhile", {"zero", "x"},
                           {{"cond", tf::function("cond")}, {"body", tf::function("body")}}),
                  tf::node("y", "Relu", {"loop:1"})},
                 {counting_condition(), counting_body()});
  ASSERT_EQ(graph.regions.size(), 1u);
  EXPECT_EQ(graph.regions[0].runs, 7);
  EXPECT_TRUE(graph.regions[0].observed);
  EXPECT_EQ(forward_flops(graph), 7 * 2.0 * 2 * 3 * 3);
  // What the loop carries enters and leaves by a join; the counter leaves no operator.
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"parallel_opt.join", "aten.mm.default",
                                                      "parallel_opt.join", "aten.relu.default"}));
}

TEST(GraphDef, LoopOverARangeIsGivenItsLimitAndItsStep) {
  // for i in tf.range(0, 9, 2): x = x @ w; limit and step are operands that no run changes
  const std::vector<std::pair<std::string, int>> all = {
      {"i", tf::kInt32}, {"h", tf::kFloat}, {"limit", tf::kInt32}, {"delta", tf::kInt32}};
  const tf::Bytes condition = tf::function_def("cond", all, {{"r", "less:z:0"}},
                                               {tf::node("less", "Less", {"i", "limit"})});
  const tf::Bytes body = tf::function_def(
      "body", all,
      {{"j", "next:z:0"}, {"g", "step:product:0"}, {"m", "limit"}, {"e", "same:output:0"}},
      {tf::node("next", "AddV2", {"i", "delta"}), tf::node("same", "Identity", {"delta"}),
       tf::weight("w", {3, 3}), tf::node("step", "MatMul", {"h", "w:output:0"})});
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 3}), tf::number("zero", 0), tf::number("nine", 9),
                  tf::number("two", 2),
                  tf::node("loop", "StatelessWhile", {"zero", "x", "nine", "two"},
                           {{"cond", tf::function("cond")}, {"body", tf::function("body")}}),
                  tf::node("y", "Relu", {"loop:1"})},
                 {condition, body});
  EXPECT_EQ(graph.regions.at(0).runs, 5);  // 0, 2, 4, 6, 8
  EXPECT_TRUE(graph.regions.at(0).observed);
}

TEST(GraphDef, LoopThatDataEndRunsOnceAndSaysSo) {
  const tf::Bytes condition =
      tf::function_def("cond", {{"i", tf::kInt32}, {"h", tf::kFloat}}, {{"r", "less:z:0"}},
                       {tf::weight("limit", {}), tf::numbers("axes", {0, 1}, {2}),
                        tf::node("sum", "Sum", {"h", "axes:output:0"}),
                        tf::node("less", "Less", {"sum:output:0", "limit:output:0"})});
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 3}), tf::number("zero", 0),
                  tf::node("loop", "While", {"zero", "x"},
                           {{"cond", tf::function("cond")}, {"body", tf::function("body")}}),
                  tf::node("y", "Relu", {"loop:1"})},
                 {condition, counting_body()});
  EXPECT_EQ(graph.regions.at(0).runs, 1);
  EXPECT_FALSE(graph.regions.at(0).observed);
  EXPECT_NE(std::ranges::find(graph.notes,
                              "loop 'loop' runs as often as data decide: one run is counted"),
            graph.notes.end());
  const auto list = targets(graph);
  EXPECT_NE(std::ranges::find(list, "aten.lt.Tensor"), list.end()) << "the condition is work too";
}

TEST(GraphDef, BranchesAreAlternativesThatJoin) {
  const tf::Bytes yes = tf::function_def("yes", {{"a", tf::kFloat}}, {{"r", "y:y:0"}},
                                         {tf::node("y", "Tanh", {"a"})});
  const tf::Bytes no = tf::function_def("no", {{"a", tf::kFloat}}, {{"r", "y:activations:0"}},
                                        {tf::node("y", "Relu", {"a"})});
  const Graph graph = read_nodes(
      {tf::placeholder("x", {2, 3}), tf::placeholder("p", {}, tf::kBool),
       tf::node("if", "StatelessIf", {"p", "x"},
                {{"then_branch", tf::function("yes")}, {"else_branch", tf::function("no")}})},
      {yes, no});
  ASSERT_EQ(graph.regions.size(), 2u);
  EXPECT_EQ(graph.regions[0].runs, 0.5);
  EXPECT_EQ(graph.regions[0].group, graph.regions[1].group);
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.relu.default", "aten.tanh.default",
                                                      "parallel_opt.join"}));
}

TEST(GraphDef, ConstantConditionTakesOneWay) {
  const tf::Attributes flag = {{"dtype", tf::type(tf::kBool)}};
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 3}), tf::number("one", 1), tf::number("two", 2),
                  tf::node("p", "Less", {"one", "two"}), tf::node("s", "Switch", {"x", "p"}),
                  tf::node("a", "Relu", {"s"}), tf::node("b", "Tanh", {"s:1"}),
                  tf::node("m", "Merge", {"a", "b"})});
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.tanh.default"}));
  EXPECT_TRUE(graph.regions.empty());
}

TEST(GraphDef, SwitchAndMergeAreABranch) {
  const Graph graph =
      read_nodes({tf::placeholder("x", {2, 3}), tf::placeholder("p", {}, tf::kBool),
                  tf::node("s", "Switch", {"x", "p"}), tf::node("a", "Relu", {"s"}),
                  tf::node("b", "Tanh", {"s:1"}), tf::node("m", "Merge", {"a", "b"})});
  ASSERT_EQ(graph.regions.size(), 2u);
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.relu.default", "aten.tanh.default",
                                                      "parallel_opt.join"}));
  EXPECT_EQ(graph.region(graph.ops[0].region).name.substr(0, 7), "s.false");
}

std::vector<tf::Bytes> first_generation_loop() {
  const tf::Attributes frame = {{"frame_name", tf::text("f")}};
  tf::Attributes constant = frame;
  constant.emplace_back("is_constant", tf::flag(true));
  return {tf::placeholder("x", {2, 3}),
          tf::number("zero", 0),
          tf::number("five", 5),
          tf::weight("w", {3, 3}),
          tf::node("ei", "Enter", {"zero"}, frame),
          tf::node("eh", "Enter", {"x"}, frame),
          tf::node("ew", "Enter", {"w"}, constant),
          tf::node("el", "Enter", {"five"}, constant),
          tf::node("mi", "Merge", {"ei", "ni"}),
          tf::node("mh", "Merge", {"eh", "nh"}),
          tf::node("less", "Less", {"mi", "el"}),
          tf::node("c", "LoopCond", {"less"}),
          tf::node("si", "Switch", {"mi", "c"}),
          tf::node("sh", "Switch", {"mh", "c"}),
          tf::node("id", "Identity", {"si:1"}),
          tf::number("one", 1),
          tf::node("add", "AddV2", {"id", "one"}),
          tf::node("step", "MatMul", {"sh:1", "ew"}),
          tf::node("ni", "NextIteration", {"add"}),
          tf::node("nh", "NextIteration", {"step"}),
          tf::node("out", "Exit", {"sh"}),
          tf::node("y", "Relu", {"out"})};
}

TEST(GraphDef, LoopOfTensorFlow1MayStateItsStepAfterItsCondition) {
  std::vector<tf::Bytes> nodes = first_generation_loop();
  const tf::Bytes one = nodes[15];  // the constant
  nodes.erase(nodes.begin() + 15);
  nodes.push_back(one);
  EXPECT_EQ(read_nodes(nodes).regions.at(0).runs, 5);
}

TEST(GraphDef, LoopOfTensorFlow1MayCountDownByWhatEntersIt) {
  std::vector<tf::Bytes> nodes = first_generation_loop();
  const tf::Attributes frame = {{"frame_name", tf::text("f")}, {"is_constant", tf::flag(true)}};
  nodes[1] = tf::number("zero", 9);
  nodes[2] = tf::number("five", 0);
  nodes[10] = tf::node("less", "Greater", {"mi", "el"});
  nodes[15] = tf::node("one", "Enter", {"three"}, frame);
  nodes[16] = tf::node("add", "Sub", {"id", "one"});
  nodes.push_back(tf::number("three", 3));
  EXPECT_EQ(read_nodes(nodes).regions.at(0).runs, 3);  // 9, 6, 3
}

TEST(GraphDef, LoopOfTensorFlow1IsARegionToo) {
  const Graph graph = read_nodes(first_generation_loop());
  ASSERT_EQ(graph.regions.size(), 1u);
  EXPECT_EQ(graph.regions[0].runs, 5);
  EXPECT_EQ(forward_flops(graph), 5 * 2.0 * 2 * 3 * 3);
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"parallel_opt.join", "aten.mm.default",
                                                      "parallel_opt.join", "aten.relu.default"}));
}

TEST(GraphDef, ListsOfALoopAreItsRunsStacked) {
  const tf::Bytes body =
      tf::function_def("body", {{"i", tf::kInt32}, {"xs", tf::kVariant}, {"ys", tf::kVariant}},
                       {{"j", "next:z:0"}, {"a", "xs"}, {"b", "write:output_handle:0"}},
                       {tf::number("one", 1), tf::node("next", "AddV2", {"i", "one:output:0"}),
                        tf::numbers("shape", {2, 3}, {2}),
                        tf::node("x", "TensorListGetItem", {"xs", "i", "shape:output:0"}),
                        tf::node("h", "Tanh", {"x:item:0"}),
                        tf::node("write", "TensorListSetItem", {"ys", "i", "h:y:0"})});
  const tf::Bytes condition = tf::function_def(
      "cond", {{"i", tf::kInt32}, {"xs", tf::kVariant}, {"ys", tf::kVariant}}, {{"r", "less:z:0"}},
      {tf::number("limit", 4), tf::node("less", "Less", {"i", "limit:output:0"})});
  const Graph graph = read_nodes(
      {tf::placeholder("x", {4, 2, 3}), tf::number("zero", 0), tf::number("four", 4),
       tf::numbers("shape", {2, 3}, {2}), tf::node("in", "TensorListFromTensor", {"x", "shape"}),
       tf::node("room", "TensorListReserve", {"shape", "four"},
                {{"element_dtype", tf::type(tf::kFloat)}}),
       tf::node("loop", "While", {"zero", "in", "room"},
                {{"cond", tf::function("cond")}, {"body", tf::function("body")}}),
       tf::node("all", "TensorListStack", {"loop:2", "shape"}, {{"num_elements", tf::whole(4)}})},
      {condition, body});
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.select.int", "aten.tanh.default",
                                                      "parallel_opt.join"}));
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{4, 2, 3}));
}

TEST(GraphDef, DamagedFilesNameTheirFault) {
  EXPECT_EQ(error_of([] { read_graph_def("", "m.pb"); }),
            "m.pb: holds no operators (TensorFlow writes models with tf.saved_model.save(model, "
            "directory) or model.export(directory))");
  const tf::Bytes whole = tf::graph({tf::placeholder("x", {2, 3})});
  EXPECT_EQ(error_of([&] { read_graph_def(whole.substr(0, whole.size() - 1), "m.pb"); }),
            "m.pb:graph_def: is damaged: end of buffer exception (is the download complete?)");
  EXPECT_EQ(graph_def_fault({tf::node("y", "Relu", {"x"})}),
            "m.pb:node 'y': uses 'x', which is not there (is the graph complete?)");
  EXPECT_EQ(graph_def_fault({tf::node("y", "", {})}),
            "m.pb:graph_def.node[0]: a node has no operator (is this a TensorFlow graph?)");
  EXPECT_EQ(graph_def_fault({tf::placeholder("x", {2}), tf::placeholder("x", {2})}),
            "m.pb:node 'x': is there twice");
  EXPECT_EQ(graph_def_fault({tf::placeholder("x", {1LL << 60, 4}), tf::node("y", "Relu", {"x"})}),
            "m.pb:input 'x': sizes [1152921504606846976, 4] are out of range");
  EXPECT_EQ(graph_def_fault({tf::placeholder("x", {2, 3}), tf::weight("w", {4, 5}),
                             tf::node("d/MatMul", "MatMul", {"x", "w"})}),
            "m.pb:node 'd/MatMul': inner sizes 3 and 4 differ");
}

TEST(GraphDef, CirclesAreRefused) {
  EXPECT_EQ(graph_def_fault({tf::placeholder("x", {2}), tf::node("a", "AddV2", {"x", "b"}),
                             tf::node("b", "Relu", {"a"}), tf::node("y", "Relu", {"b"})}),
            "m.pb:node 'a': stands in a circle of operators (only loops may go round)");
}

TEST(GraphDef, RecursionIsRefused) {
  const tf::Bytes self =
      tf::function_def("f", {{"a", tf::kFloat}}, {{"r", "call:output:0"}},
                       {tf::node("call", "PartitionedCall", {"a"}, {{"f", tf::function("f")}})});
  EXPECT_EQ(graph_def_fault({tf::placeholder("x", {2}),
                             tf::node("y", "PartitionedCall", {"x"}, {{"f", tf::function("f")}})},
                            {self}),
            "m.pb:node 'y/call': the function 'f' calls itself (recursive functions have no fixed "
            "graph)");
}

TEST(GraphDef, FunctionsThatMultiplyAreRefused) {
  std::vector<tf::Bytes> library;
  for (int i = 0; i < 40; ++i) {  // each calls the next one twice: 2^40 calls
    const std::string next = "f" + std::to_string(i + 1);
    library.push_back(tf::function_def(
        "f" + std::to_string(i), {{"a", tf::kFloat}}, {{"r", "c:output:0"}},
        {tf::node("b", "PartitionedCall", {"a"}, {{"f", tf::function(next)}}),
         tf::node("c", "PartitionedCall", {"b:output:0"}, {{"f", tf::function(next)}})}));
  }
  library.push_back(tf::function_def("f40", {{"a", tf::kFloat}}, {{"r", "y:activations:0"}},
                                     {tf::node("y", "Relu", {"a"})}));
  const std::string error =
      graph_def_fault({tf::placeholder("x", {2}),
                       tf::node("y", "PartitionedCall", {"x"}, {{"f", tf::function("f0")}})},
                      library);
  EXPECT_NE(error.find("the functions unfold to too many operators"), std::string::npos) << error;
}

// --- SavedModel

tf::Bytes served_graph(const std::vector<tf::Bytes>& more = {}) {
  std::vector<tf::Bytes> nodes = {
      tf::placeholder("in", {-1, 4}),
      tf::node("dense/kernel", "VarHandleOp", {},
               {{"dtype", tf::type(tf::kFloat)}, {"shape", tf::shape_value({4, 2})}}),
      tf::node("read", "ReadVariableOp", {"dense/kernel"}, {{"dtype", tf::type(tf::kFloat)}}),
      tf::node("dense/MatMul", "MatMul", {"in", "read"})};
  nodes.insert(nodes.end(), more.begin(), more.end());
  return tf::graph(nodes);
}

TEST(SavedModel, SignatureSaysWhatIsComputed) {
  const tf::Bytes bytes =
      tf::saved_model(served_graph({tf::node("unused", "MyOp", {"read"})}), "serving_default",
                      tf::tensor_info("in:0", tf::kFloat, {-1, 4}), "dense/MatMul:0");
  const Graph graph = read_saved_model(bytes, {}, "", "saved_model.pb");
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"aten.mm.default"}));
  EXPECT_EQ(graph.tensor(graph.inputs[0]).name, "x");
  EXPECT_EQ(count_parameters(graph).parameters, 8);
  EXPECT_EQ(count_parameters(graph).trainable, 8);
  EXPECT_EQ(graph.tensor(graph.ops[0].inputs[1].tensor).fqn, "dense.kernel");
}

TEST(SavedModel, MissingSignatureNamesThoseThatAreThere) {
  const tf::Bytes bytes = tf::saved_model(
      served_graph(), "predict", tf::tensor_info("in:0", tf::kFloat, {-1, 4}), "dense/MatMul:0");
  EXPECT_EQ(read_saved_model(bytes, {}, "", "m").ops.size(), 1u) << "the only one needs no name";
  EXPECT_EQ(error_of([&] { read_saved_model(bytes, {}, "train", "m"); }),
            "m: has no signature 'train' (name one of them after a colon: predict)");
}

TEST(SavedModel, AssetsStayInTheirDirectory) {
  tf::Bytes asset;
  tf::pbf_writer(asset).add_bytes(2, "../../etc/passwd");
  tf::Bytes more;
  tf::pbf_writer(more).add_message(6, asset);
  const tf::Bytes bytes =
      tf::saved_model(served_graph(), "serving_default",
                      tf::tensor_info("in:0", tf::kFloat, {-1, 4}), "dense/MatMul:0", more);
  EXPECT_EQ(error_of([&] { read_saved_model(bytes, {}, "", "m"); }),
            "m:asset_file_def: the asset '../../etc/passwd' leaves the model's directory (is the "
            "file from a source you trust?)");
}

TEST(SavedModel, DirectoryIsLoadedByName) {
  const std::filesystem::path directory = ::testing::TempDir() + "tensorflow_test_model";
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "saved_model.pb", std::ios::binary) << tf::saved_model(
      served_graph(), "score", tf::tensor_info("in:0", tf::kFloat, {-1, 4}), "dense/MatMul:0");
  const Graph graph = load_model(directory.string() + ":score");
  EXPECT_EQ(graph.name, "tensorflow_test_model");
  EXPECT_EQ(graph.source, "tensorflow_test_model");
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace parallel_opt
