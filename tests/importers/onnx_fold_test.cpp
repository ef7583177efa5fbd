#include <gtest/gtest.h>

#include "tests/importers/archive.h"
#include "tests/importers/onnx_writer.h"

// Subgraphs that compute shapes vanish: what they compute is known while the model is read.
namespace parallel_opt {
namespace {

using namespace testing;

std::string result_without_shape(const std::string& name) {
  std::string bytes;
  protozero::pbf_writer(bytes).add_string(1, name);
  return bytes;
}

TEST(OnnxFold, ShapeGatherConcatReshapeIsOneView) {
  // [b, s, 96] -> [b, s, 3, 32], with b and s taken from the tensor
  OnnxGraph graph{
      .nodes = {{"Shape", {"x"}, {"shape"}},
                {"Gather", {"shape", "zero"}, {"b"}},
                {"Gather", {"shape", "one"}, {"s"}},
                {"Unsqueeze", {"b", "axis"}, {"b1"}},
                {"Unsqueeze", {"s", "axis"}, {"s1"}},
                {"Concat", {"b1", "s1", "rest"}, {"target"}, {whole("axis", 0)}},
                {"Reshape", {"x", "target"}, {"y"}}},
      .inputs = {value_info("x", {"b", "s", "96"})},
      .outputs = {result_without_shape("y")},
      .initializers = {number("zero", 0), number("one", 1), list("axis", {0}),
                       list("rest", {3, 32})},
  };
  const Graph made = read(graph);
  EXPECT_EQ(targets(made), (Names{"aten.reshape.default"}));
  EXPECT_EQ(sizes(made, made.outputs[0]), "[b, s, 3, 32]");
}

TEST(OnnxFold, ArithmeticOnSizesIsSymbolic) {
  // [2 * s - 1]
  OnnxGraph graph{
      .nodes = {{"Shape", {"x"}, {"shape"}},
                {"Mul", {"shape", "two"}, {"twice"}},
                {"Sub", {"twice", "one"}, {"target"}},
                {"ConstantOfShape", {"target"}, {"y"}}},
      .inputs = {value_info("x", {"s"})},
      .outputs = {result_without_shape("y")},
      .initializers = {list("two", {2}), list("one", {1})},
  };
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[2*s - 1]");
  EXPECT_EQ(targets(made), (Names{"aten.full.default"}));
}

TEST(OnnxFold, RangeOverASymbolHasItsLength) {
  OnnxGraph graph{
      .nodes = {{"Shape", {"x"}, {"shape"}, {whole("start", 1), whole("end", 2)}},
                {"Squeeze", {"shape"}, {"n"}},
                {"Range", {"zero", "n", "one"}, {"y"}}},
      .inputs = {value_info("x", {"2", "s"})},
      .outputs = {result_without_shape("y")},
      .initializers = {number("zero", 0), number("one", 1)},
  };
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[s]");
}

TEST(OnnxFold, SymbolsAreNeverMinusOne) {
  // Where(target == -1, 1, target), as the legacy exporter writes expand
  OnnxGraph graph{
      .nodes = {{"Shape", {"x"}, {"shape"}},
                {"Equal", {"shape", "open"}, {"is_open"}},
                {"Where", {"is_open", "ones", "shape"}, {"target"}},
                {"Expand", {"y", "target"}, {"z"}}},
      .inputs = {value_info("x", {"b", "4"}), value_info("y", {"1", "1"})},
      .outputs = {result_without_shape("z")},
      .initializers = {list("open", {-1, -1}), list("ones", {1, 1})},
  };
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[b, 4]");
}

TEST(OnnxFold, WeightsAreComputedWithNotFolded) {
  OnnxGraph graph{
      .nodes = {{"Mul", {"w", "w"}, {"v"}}, {"Add", {"x", "v"}, {"y"}}},
      .inputs = {value_info("x", {"2"})},
      .outputs = {result_without_shape("y")},
      .initializers = {tensor("w", {2}, kFloat, std::string(8, '\0'))},
  };
  const Graph made = read(graph);
  EXPECT_EQ(targets(made), (Names{"aten.mul.Tensor", "aten.add.Tensor"}));
  EXPECT_EQ(count_parameters(made).parameters, 2);
}

TEST(OnnxFold, OnesAndZerosOfExportersAreNoParameters) {
  // 100 equal numbers in a Constant node: a state to start with; 100 of any others: a weight
  std::string others(400, '\0');
  others[3] = '\x40';
  for (const auto& [raw, parameters] :
       {std::pair(std::string(400, '\0'), 0), std::pair(others, 100)}) {
    OnnxGraph graph{
        .nodes = {{"Constant", {}, {"c"}, {message("value", 5, tensor("", {100}, kFloat, raw))}},
                  {"Add", {"x", "c"}, {"y"}}},
        .inputs = {value_info("x", {"100"})},
        .outputs = {result_without_shape("y")},
    };
    EXPECT_EQ(count_parameters(read(graph)).parameters, parameters);
  }
}

TEST(OnnxFold, NumbersBecomeArguments) {
  OnnxGraph graph{
      .nodes = {{"Constant", {}, {"half"}, {real("value_float", 0.5F)}},
                {"Mul", {"half", "x"}, {"y"}}},
      .inputs = {value_info("x", {"2"})},
      .outputs = {result_without_shape("y")},
  };
  const Graph made = read(graph);
  ASSERT_EQ(made.ops.size(), 1u);
  EXPECT_EQ(made.ops[0].inputs.size(), 1u);
  EXPECT_EQ(made.ops[0].attributes.at("other"), Attribute(0.5));
}

TEST(OnnxFold, SplitSizesAreFollowed) {
  OnnxGraph graph{
      .nodes = {{"Shape", {"x"}, {"shape"}},
                {"Split", {"shape"}, {"first", "second"}, {whole("axis", 0)}},
                {"Expand", {"one", "second"}, {"y"}}},
      .inputs = {value_info("x", {"a", "b"})},
      .outputs = {result_without_shape("y")},
      .initializers = {list("one", {1})},
  };
  const Graph made = read(graph);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[b]");
}

TEST(OnnxFold, LargeTablesAreNotUnrolled) {
  OnnxGraph graph{
      .nodes = {{"ConstantOfShape", {"many"}, {"y"}}, {"Add", {"y", "y"}, {"z"}}},
      .outputs = {result_without_shape("z")},
      .initializers = {list("many", {1'000'000'000})},
  };
  const Graph made = read(graph);
  EXPECT_EQ(targets(made), (Names{"aten.full.default", "aten.add.Tensor"}));
  EXPECT_EQ(sizes(made, made.outputs[0]), "[1000000000]");
}

TEST(OnnxFold, IndexBeyondTheListIsAFault) {
  OnnxGraph graph{
      .nodes = {{"Shape", {"x"}, {"shape"}}, {"Gather", {"shape", "seven"}, {"y"}}},
      .inputs = {value_info("x", {"2", "3"})},
      .outputs = {result_without_shape("y")},
      .initializers = {number("seven", 7)},
  };
  EXPECT_EQ(error_of([&] { read(graph); }),
            "model.onnx:graph.node[1]: Gather: index 7 of 2 elements");
}

}  // namespace
}  // namespace parallel_opt
