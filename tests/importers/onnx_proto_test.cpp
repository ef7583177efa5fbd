#include "parallel_opt/importers/onnx_proto.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/random.h"
#include "tests/importers/archive.h"
#include "tests/importers/onnx_writer.h"

// Damaged files: each fault names the file, the place and what is wrong.
namespace parallel_opt {
namespace {

using namespace testing;

std::string error_in(const std::string& bytes) {
  return error_of([&] { read_onnx(bytes, "model.onnx"); });
}

OnnxGraph two_nodes() {
  return {.nodes = {{"Relu", {"x"}, {"h"}}, {"Relu", {"h"}, {"y"}}},
          .inputs = {value_info("x", {"2"})},
          .outputs = {value_info("y", {"2"})}};
}

TEST(OnnxProto, NoOnnxAtAll) {
  EXPECT_EQ(error_in(""), "model.onnx: has no graph (is it an ONNX file?)");
  EXPECT_EQ(error_in("hello"),
            "model.onnx: is no valid protobuf: unknown pbf field type exception (is the download "
            "complete?)");
}

TEST(OnnxProto, TruncatedFileSaysSo) {
  const std::string whole = model(two_nodes());
  const std::string error = error_in(whole.substr(0, whole.size() / 2));
  EXPECT_EQ(error.substr(0, error.find('\n')),
            "model.onnx: ends in the middle of a field (is the download complete?)");
}

TEST(OnnxProto, BrokenNodeIsNamedAndTheRestIsRead) {
  std::string graph, bytes;
  protozero::pbf_writer writer(graph);
  writer.add_message(1, bytes_of({"Relu", {"x"}, {"h"}}));
  writer.add_message(1, std::string("\x0a\xff", 2));  // a text longer than the node
  protozero::pbf_writer file(bytes);
  file.add_message(7, graph);
  file.add_message(8, opset("", 18));
  EXPECT_EQ(error_in(bytes),
            "model.onnx:graph.node[1]: ends in the middle of a field (is the download complete?)\n"
            "model.onnx:graph.node[1]: the operator has no type\n"
            "model.onnx:graph.node[0].input[0]: \"x\" is made by no earlier node (are the nodes "
            "sorted, is "
            "the file complete?)");
}

TEST(OnnxProto, WrongWireTypeIsAFault) {
  std::string graph, bytes;
  protozero::pbf_writer(graph).add_int64(1, 5);  // a node is a message
  protozero::pbf_writer file(bytes);
  file.add_message(7, graph);
  file.add_message(8, opset("", 18));
  const std::string error = error_in(bytes);
  EXPECT_EQ(error.substr(0, error.find('\n')),
            "model.onnx:graph: field 1 has the wrong wire type (is it an ONNX file?)");
}

TEST(OnnxProto, NamesMadeTwiceOrNeverAreFaults) {
  OnnxGraph graph = two_nodes();
  graph.nodes[1].outputs = {"h"};
  EXPECT_EQ(error_of([&] { read(graph); }),
            "model.onnx:graph.node[1].output[0]: \"h\" is made twice");
  graph = two_nodes();
  graph.outputs = {value_info("q", {"2"})};
  EXPECT_EQ(
      error_of([&] { read(graph); }),
      "model.onnx:graph.output[0]: the output \"q\" is made by no node (is the file complete?)");
}

TEST(OnnxProto, InitializersAreChecked) {
  OnnxGraph graph = two_nodes();
  graph.initializers = {tensor("a", {-1}, kFloat, ""),
                        tensor("b", {2}, kFloat, std::string(7, 'x')), tensor("c", {2}, 99, ""),
                        tensor("c", {2}, kFloat, ""),
                        tensor("d", {1LL << 40, 1LL << 40}, kFloat, "")};
  EXPECT_EQ(
      error_of([&] { read(graph); }),
      "model.onnx:graph.initializer[0].dims: the size -1 is negative\n"
      "model.onnx:graph.initializer[1].raw_data: has 7 bytes, its shape needs 8\n"
      "model.onnx:graph.initializer[2].data_type: unknown element type 99 (is the file newer than "
      "this program?)\n"
      "model.onnx:graph.initializer[3]: the initializer \"c\" is made twice\n"
      "model.onnx:graph.initializer[4].dims: the tensor has more than 2^58 elements");
}

TEST(OnnxProto, NoMoreThanTwentyFaults) {
  OnnxGraph graph{.nodes = {}, .outputs = {value_info("y", {"2"})}};
  for (int i = 0; i < 50; ++i)
    graph.nodes.push_back({"Relu", {"x" + std::to_string(i)}, {"y" + std::to_string(i)}});
  const std::string error = error_of([&] { read(graph); });
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 19);
}

TEST(OnnxProto, OperatorSetsThatAreNotKnownAreFaults) {
  const std::string way =
      " (export with opset_version=28 or less, or onnx.version_converter.convert_version(model, "
      "28))";
  EXPECT_EQ(error_of([] { read(two_nodes(), 99); }),
            "model.onnx:opset_import[0]: operator set 99 is not known, 1 to 28 are" + way);
  EXPECT_EQ(error_of([] { read(two_nodes(), 0); }),
            "model.onnx:opset_import[0]: operator set 0 is not known, 1 to 28 are" + way);
  EXPECT_EQ(error_of([] { read(two_nodes(), 28); }), "no error");
}

TEST(OnnxProto, AnInputAgreesWithItsDefault) {
  OnnxGraph graph = two_nodes();
  graph.initializers.push_back(weight("extra", {2, 3}));
  const auto fault = [&](const std::string& input) {
    OnnxGraph one = graph;
    one.inputs.push_back(input);
    return error_of([&] { read(one); });
  };
  EXPECT_EQ(fault(value_info("extra", {"2", "3"})), "no error");
  EXPECT_EQ(fault(value_info("extra", {"n", "3"})), "no error");
  const std::string place = "model.onnx:graph.input[" + std::to_string(graph.inputs.size()) +
                            "]: the input \"extra\" is stated as type ";
  EXPECT_EQ(fault(value_info("extra", {"2", "4"})),
            place + "1 [2, 4] and its initializer is type 1 [2, 3]");
  EXPECT_EQ(fault(value_info("extra", {"2", "3"}, 7)),
            place + "7 [2, 3] and its initializer is type 1 [2, 3]");
}

TEST(OnnxProto, ModelWithoutOperatorSet) {
  std::string bytes;
  protozero::pbf_writer(bytes).add_message(7, two_nodes().bytes());
  EXPECT_EQ(error_in(bytes),
            "model.onnx:opset_import: the model says no operator set (is the download complete?)");
}

TEST(OnnxProto, MessagesNestedTooDeepAreAFault) {
  std::string type;
  for (int i = 0; i < 200; ++i) {  // sequence of sequence of ...
    std::string inner, outer;
    protozero::pbf_writer(inner).add_message(1, type);
    protozero::pbf_writer(outer).add_message(4, inner);
    type = outer;
  }
  std::string info;
  protozero::pbf_writer writer(info);
  writer.add_string(1, "x");
  writer.add_message(2, type);
  OnnxGraph graph = two_nodes();
  graph.inputs = {info};
  EXPECT_NE(error_of([&] { read(graph); })
                .find("is nested more than 136 messages deep, which holds 32 "
                      "subgraphs"),
            std::string::npos);
}

TEST(OnnxProto, DecodesListsPackedOrNot) {
  std::string packed, loose;
  const Numbers values{1, -2, 300};
  protozero::pbf_writer(packed).add_packed_int64(7, values.begin(), values.end());
  protozero::pbf_writer single(loose);
  for (const std::int64_t value : values) single.add_int64(7, value);
  for (const std::string& data : {packed, loose}) {
    OnnxGraph graph = one_node("Reshape", {{"6"}});
    graph.nodes[0].inputs.emplace_back("c0");
    std::string target;
    const Numbers dims{2};
    protozero::pbf_writer writer(target);
    writer.add_packed_int64(1, dims.begin(), dims.end());
    writer.add_int64(2, kInt64);
    writer.add_string(8, "c0");
    const Numbers sizes_wanted{3, 2};
    if (&data == &packed) {
      writer.add_packed_int64(7, sizes_wanted.begin(), sizes_wanted.end());
    } else {
      for (const std::int64_t value : sizes_wanted) writer.add_int64(7, value);
    }
    graph.initializers = {target};
    EXPECT_EQ(result_of(graph), "[3, 2]");
  }
  EXPECT_EQ(onnx::decode_varints({std::string_view(packed).substr(2)}, 10), values);
  EXPECT_EQ(onnx::decode_varints({std::string_view(packed).substr(2)}, 2), (Numbers{1, -2}));
}

TEST(OnnxProto, FlippedBytesAreReadOrRefused) {  // property, seeded
  const std::string whole = model(two_nodes());
  Random rng(20261125);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    for (int k = 0; k < 3; ++k)
      damaged[rng.next() % damaged.size()] = static_cast<char>(rng.next());
    const std::string error = error_in(damaged);
    ASSERT_TRUE(error == "no error" || error.starts_with("model.onnx"))
        << "case " << i << ": " << error;
  }
}

}  // namespace
}  // namespace parallel_opt
