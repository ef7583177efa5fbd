#include <gtest/gtest.h>

#include "tests/importers/archive.h"
#include "tests/importers/onnx_writer.h"

namespace parallel_opt {
namespace {

using namespace testing;

const std::string kAt = "model.onnx:graph.node[0]: ";

std::string signature_fault(const OnnxGraph& graph, std::int64_t version = 18) {
  return error_of([&] { read(graph, version); });
}

TEST(OnnxSignature, OperandsAreCounted) {
  const Names x = {"2", "3"};
  EXPECT_EQ(signature_fault(one_node("Add", {x})), kAt + "Add: has 1 operand, takes 2");
  EXPECT_EQ(signature_fault(one_node("Relu", {x, x})), kAt + "Relu: has 2 operands, takes 1");
  EXPECT_EQ(signature_fault(one_node("Conv", {x})), kAt + "Conv: has 1 operand, takes 2 to 3");
  EXPECT_EQ(signature_fault(one_node("Max", {})), kAt + "Max: has 0 operands, takes 1 or more");
  EXPECT_EQ(signature_fault(one_node("Sum", {x, x, x})), "no error");
  EXPECT_EQ(signature_fault(one_node("Clip", {x})), "no error");
}

TEST(OnnxSignature, OperandsThatAreNeededAreNamed) {
  OnnxGraph graph = one_node("Gather", {{"2", "3"}, {"4"}});
  graph.nodes[0].inputs[1] = "";
  EXPECT_EQ(signature_fault(graph), kAt + "Gather: operand 1 is left out");
  graph = one_node("Clip", {{"2", "3"}}, {}, {number("c0", 1)});
  graph.nodes[0].inputs.insert(graph.nodes[0].inputs.begin() + 1, "");  // no least
  EXPECT_EQ(signature_fault(graph), "no error");
}

TEST(OnnxSignature, AttributesHaveTheirTypes) {
  EXPECT_EQ(signature_fault(one_node("Softmax", {{"2", "3"}}, {text("axis", "last")})),
            kAt + "Softmax: the attribute \"axis\" is a text, not a whole number");
  EXPECT_EQ(signature_fault(one_node("Transpose", {{"2", "3"}}, {whole("perm", 1)})),
            kAt + "Transpose: the attribute \"perm\" is a whole number, not whole numbers");
  EXPECT_EQ(signature_fault(one_node("Elu", {{"2", "3"}}, {attribute("alpha", 99)})),
            kAt + "Elu: the attribute \"alpha\" is of a type that ONNX has not, not a number");
}

TEST(OnnxSignature, AttributesThatAreNeededAreNamed) {
  EXPECT_EQ(signature_fault(one_node("Concat", {{"2", "3"}})),
            kAt + "Concat: has no attribute \"axis\"");
  EXPECT_EQ(signature_fault(one_node("MaxPool", {{"1", "2", "8", "8"}})),
            kAt + "MaxPool: has no attribute \"kernel_shape\"");
}

TEST(OnnxSignature, UnknownAttributesAreNoted) {
  const Graph graph = read(one_node("Relu", {{"2", "3"}}, {whole("fused\n", 1)}));
  EXPECT_EQ(graph.notes, (Names{"the attribute \"fused?\" of Relu is not one of ONNX: left out"}));
}

TEST(OnnxSignature, OlderOperatorSetsHadOthers) {
  EXPECT_EQ(
      signature_fault(one_node("Slice", {{"5"}}, {wholes("starts", {1}), wholes("ends", {3})}), 9),
      "no error");
}

TEST(OnnxSignature, AValueThatIsReadTooEarlyIsOneFault) {
  const OnnxGraph graph{.nodes = {{"Relu", {"b"}, {"y"}}, {"Relu", {"x"}, {"b"}}},
                        .inputs = {value_info("x", {"2"})},
                        .outputs = {value_info("y", {"2"})}};
  EXPECT_EQ(signature_fault(graph),
            "model.onnx:graph.node[0].input[0]: \"b\" is made by no earlier node (are the nodes "
            "sorted, is the file complete?)");
}

}  // namespace
}  // namespace parallel_opt
