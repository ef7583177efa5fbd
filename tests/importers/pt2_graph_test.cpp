#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "parallel_opt/importers/pt2.h"
#include "tests/importers/archive.h"
#include "tests/importers/graph_views.h"

namespace parallel_opt {
namespace {

using namespace testing;

std::string error(const Model& model) {
  return error_of([&] { read_model(model); });
}

/// {"as_expr": ...} of a size with its value at capture.
std::string size(const std::string& expression, int hint) {
  return R"({"as_expr": {"expr_str": ")" + expression + R"(", "hint": {"as_int": )" +
         std::to_string(hint) + "}}}";
}

/// A size that depends on data.
std::string unknown_size(const std::string& expression) {
  return R"({"as_expr": {"expr_str": ")" + expression + R"(", "hint": null}})";
}

const std::string kBatch = "Symbol('s77', positive=True, integer=True)";

TEST(Pt2Graph, ReadsOneLayer) {
  const Graph graph = read_model(linear_model());
  ASSERT_EQ(graph.tensors.size(), 3u);
  EXPECT_EQ(graph.tensors[0].role, TensorRole::parameter);
  EXPECT_EQ(graph.tensors[0].fqn, "fc.weight");
  EXPECT_TRUE(graph.tensors[0].requires_grad);
  EXPECT_EQ(graph.tensors[1].role, TensorRole::input);
  EXPECT_EQ(graph.tensors[2].role, TensorRole::activation);
  EXPECT_EQ(graph.tensors[2].shape, (std::vector<Dim>{{2, ""}, {4, ""}}));
  ASSERT_EQ(graph.ops.size(), 1u);
  const Op& op = graph.ops[0];
  EXPECT_EQ(op.target, "aten.linear.default");
  EXPECT_EQ(op.name, "linear");
  EXPECT_EQ(op.inputs, (std::vector<Operand>{{"input", TensorId(1)}, {"weight", TensorId(0)}}));
  EXPECT_EQ(op.outputs, std::vector<TensorId>{TensorId(2)});
  EXPECT_EQ(op.module, "fc");
  EXPECT_EQ(op.module_type, "torch.nn.modules.linear.Linear");
  EXPECT_EQ(op.call, 0);
  EXPECT_EQ(op.phase, Phase::forward);
  EXPECT_EQ(graph.inputs, std::vector<TensorId>{TensorId(1)});
  EXPECT_EQ(graph.outputs, std::vector<TensorId>{TensorId(2)});
}

TEST(Pt2Graph, ElementTypesAreNotC10s) {
  const std::vector<std::pair<int, DType>> codes = {{1, DType::u8},
                                                    {2, DType::i8},
                                                    {3, DType::i16},
                                                    {4, DType::i32},
                                                    {5, DType::i64},
                                                    {6, DType::fp16},
                                                    {7, DType::fp32},
                                                    {8, DType::fp64},
                                                    {9, DType::complex32},
                                                    {10, DType::complex64},
                                                    {11, DType::complex128},
                                                    {12, DType::boolean},
                                                    {13, DType::bf16},
                                                    {28, DType::u16},
                                                    {29, DType::fp8_e4m3fn},
                                                    {30, DType::fp8_e5m2},
                                                    {31, DType::fp8_e4m3fnuz},
                                                    {32, DType::fp8_e5m2fnuz},
                                                    {33, DType::fp8_e8m0fnu},
                                                    {34, DType::u32},
                                                    {35, DType::u64}};
  Model model;
  for (const auto& [code, dtype] : codes) {
    model.input("x" + std::to_string(code), meta({"1"}, code));
  }
  const Graph graph = read_model(model);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(graph.tensors[i].dtype, codes[i].second) << codes[i].first;
  }
  Model unknown;
  unknown.input("x", meta({"1"}, 99));
  EXPECT_EQ(error(unknown),
            "model.pt2:graph.tensor_values.x.dtype: unknown element type 99 "
            "(is the file newer than this program?)");
}

TEST(Pt2Graph, SignatureTellsRolesApart) {
  Model model;
  model.value("b", meta({"4"}));
  model.inputs.push_back(
      R"({"buffer": {"arg": {"name": "b"}, "buffer_name": "bn.mean", "persistent": true}})");
  model.value("n", meta({"4"}));
  model.inputs.push_back(
      R"({"buffer": {"arg": {"name": "n"}, "buffer_name": "mask", "persistent": false}})");
  model.value("c", meta({}));
  model.inputs.push_back(
      R"({"tensor_constant": {"arg": {"name": "c"}, "tensor_constant_name": "lifted_0"}})");
  model.input("x", meta({"4"}));
  model.inputs.push_back(R"({"constant_input": {"name": "k", "value": {"as_int": 3}}})");
  model.inputs.push_back(R"({"user_input": {"arg": {"as_none": true}}})");
  model.inputs.push_back(R"({"token": {"arg": {"name": "token"}}})");
  model.output("x");
  model.outputs.push_back(
      R"({"buffer_mutation": {"arg": {"name": "b"}, "buffer_name": "bn.mean"}})");
  model.outputs.push_back(R"({"user_output": {"arg": {"as_none": true}}})");
  const Graph graph = read_model(model);
  EXPECT_EQ(named(graph, "b").role, TensorRole::buffer);
  EXPECT_EQ(named(graph, "n").fqn, "mask");
  EXPECT_EQ(named(graph, "c").role, TensorRole::constant);
  EXPECT_EQ(graph.inputs, std::vector<TensorId>{TensorId(3)});
  EXPECT_EQ(graph.outputs, std::vector<TensorId>{TensorId(3)});
  EXPECT_EQ(graph.notes, (std::vector<std::string>{"the input \"k\" is fixed at 3"}));
}

TEST(Pt2Graph, SymbolicSizesKeepExpressionRangeAndValue) {
  Model model;
  model.ranges = R"("s77": {"min_val": 2, "max_val": null})";
  model.input("x", meta({size(kBatch, 8), "3"}));
  model.value("y", meta({size("Add(Mul(Integer(2), " + kBatch + "), Integer(1))", 17)}));
  model.sizes.push_back("\"n\": " + size("Mul(Integer(2), " + kBatch + ")", 16));
  model.node("torch.ops.aten.view.default",
             {tensor("self", "x"),
              argument("size", "as_sym_ints", R"([{"as_name": "n"}, {"as_int": -1}])")},
             "y");
  const Graph graph = read_model(model);
  EXPECT_EQ(named(graph, "x").shape[0], (Dim{8, "s77"}));
  EXPECT_EQ(named(graph, "y").shape[0], (Dim{17, "2*s77 + 1"}));
  ASSERT_EQ(graph.symbols.size(), 1u);
  // 2 is torch's own floor, not the model's.
  EXPECT_EQ(graph.symbols[0], (Symbol{"s77", 1, INT64_MAX, 8}));
  EXPECT_EQ(std::get<std::vector<std::int64_t>>(graph.ops[0].attributes.at("size")),
            (std::vector<std::int64_t>{16, -1}));
  EXPECT_EQ(named(bind(graph, {{"s77", 5}}), "y").shape[0].size, 11);  // 2*5 + 1
}

TEST(Pt2Graph, RangesWithoutLimitComeInThreeSpellings) {
  Model model;
  model.ranges = R"("a": {"min_val": 0, "max_val": 9223372036854775806},
                    "b": {"min_val": null, "max_val": 9223372036854775807},
                    "c": {"min_val": 3, "max_val": 64})";
  const Graph graph = read_model(model);
  EXPECT_EQ(graph.symbols[0], (Symbol{"a", 0, INT64_MAX, 1}));
  EXPECT_EQ(graph.symbols[1], (Symbol{"b", 0, INT64_MAX, 1}));
  EXPECT_EQ(graph.symbols[2], (Symbol{"c", 3, 64, 3}));
}

TEST(Pt2Graph, HintOfADerivedSizeTellsTheSymbol) {
  Model model;
  model.input("x", meta({size("Add(Mul(Integer(2), " + kBatch + "), Integer(1))", 17)}));
  EXPECT_EQ(read_model(model).symbols[0].hint, 8);  // (17 - 1) / 2
}

TEST(Pt2Graph, SizesThatDependOnDataTakeTheirSmallest) {
  Model model;
  model.ranges = R"("u0": {"min_val": 3, "max_val": 9223372036854775806})";
  model.input("x", meta({"4"}));
  model.value("y", meta({unknown_size("Add(Symbol('u0', integer=True), Integer(1))")}));
  model.node("torch.ops.aten.nonzero.default", {tensor("self", "x")}, "y");
  const Graph graph = read_model(model);
  EXPECT_EQ(named(graph, "y").shape[0], (Dim{4, "u0 + 1"}));
  EXPECT_EQ(graph.notes,
            (std::vector<std::string>{"the size u0 depends on data: taken as 3; bind it to count "
                                      "with another"}));
}

TEST(Pt2Graph, SizesOfOlderFilesArePlain) {
  Model model;
  model.version = R"({"major": 5, "minor": 1})";
  model.input("x", meta({size("s0 + 1", 5)}));
  const Graph graph = read_model(model);
  EXPECT_EQ(graph.tensors[0].shape[0], (Dim{5, "s0 + 1"}));
  EXPECT_EQ(graph.symbols[0].hint, 4);
}

TEST(Pt2Graph, SizeNotUnderstoodIsFixedWithANoteOrRefused) {
  Model model;
  model.input("x", meta({size("Mystery(s0)", 5)}));
  const Graph graph = read_model(model);
  EXPECT_EQ(graph.tensors[0].shape[0], (Dim{5, ""}));
  EXPECT_EQ(graph.notes,
            (std::vector<std::string>{"the size Mystery(s0) is not understood: fixed at 5"}));
  Model without;
  without.input("x", meta({unknown_size("Mystery(s0)")}));
  EXPECT_EQ(error(without),
            "model.pt2:graph.tensor_values.x.sizes[0]: the size Mystery(s0) is not understood "
            "(export the model with a fixed size there)");
}

TEST(Pt2Graph, RecordedNamesReplaceSymbols) {
  Model model;
  model.ranges = R"("s77": {"min_val": 2, "max_val": 64}, "s17": {"min_val": 2, "max_val": 64})";
  model.input("x", meta({size(kBatch, 8)}));
  model.input("y", meta({size("Symbol('s17', positive=True, integer=True)", 8)}));
  const Graph graph = read_pt2(
      make_pt2(model.json(),
               {{"extra/parallel_opt.json", R"({"symbols": {"s77": "batch", "s17": "batch"}})"}}),
      "model.pt2");
  ASSERT_EQ(graph.symbols.size(), 1u);
  EXPECT_EQ(graph.symbols[0], (Symbol{"batch", 1, 64, 8}));
  EXPECT_EQ(named(graph, "y").shape[0].expression, "batch");
}

TEST(Pt2Graph, EveryKindOfArgument) {
  Model model;
  model.input("x", meta({"2"}));
  model.value("y", meta({"2"}));
  model.sizes.push_back(R"("n": {"as_int": 7})");
  model.node("torch.ops.mylib.my_op.default",
             {argument("none", "as_none", "true"),
              argument("i", "as_int", "-3"),
              argument("is", "as_ints", "[1, 2]"),
              argument("f", "as_float", "0.5"),
              argument("inf", "as_float", R"("-Infinity")"),
              argument("fs", "as_floats", "[1, 2.5]"),
              argument("s", "as_string", R"("tanh")"),
              argument("ss", "as_strings", R"(["a", "b"])"),
              argument("n", "as_sym_int", R"({"as_name": "n"})"),
              argument("b", "as_bool", "true"),
              argument("bs", "as_bools", "[true, false]"),
              argument("dtype", "as_scalar_type", "13"),
              argument("format", "as_memory_format", "2"),
              argument("layout", "as_layout", "7"),
              argument("device", "as_device", R"({"type": "cuda", "index": 1})"),
              argument("c", "as_complex", R"({"real": 1, "imag": 2})"),
              argument("op", "as_operator", R"("torch.ops.aten.add.Tensor")"),
              argument("lists", "as_int_lists", "[[1], [2, 3]]"),
              argument("tensors", "as_tensors", R"([{"name": "x"}, {"name": "x"}])"),
              argument("maybe", "as_optional_tensors",
                       R"([{"as_none": true}, {"as_tensor": {"name": "x"}}])"),
              argument("one", "as_optional_tensor", R"({"as_tensor": {"name": "x"}})"),
              argument("nested", "as_nested_tensors", R"([[{"name": "x"}]])"),
              argument("named", "as_string_to_argument",
                       R"({"t": {"as_tensor": {"name": "x"}}, "k": {"as_int": 4}})"),
              argument("new", "as_from_the_future", R"({"a": [1]})")},
             "y");
  const Graph graph = read_model(model);
  const Op& op = graph.ops[0];
  const auto& a = op.attributes;
  EXPECT_EQ(a.at("none"), Attribute());
  EXPECT_EQ(a.at("i"), Attribute(std::int64_t{-3}));
  EXPECT_EQ(a.at("is"), Attribute(std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(a.at("f"), Attribute(0.5));
  EXPECT_EQ(a.at("inf"), Attribute(-std::numeric_limits<double>::infinity()));
  EXPECT_EQ(a.at("fs"), Attribute(std::vector<double>{1, 2.5}));
  EXPECT_EQ(a.at("s"), Attribute(std::string("tanh")));
  EXPECT_EQ(a.at("ss"), Attribute(std::string(R"(["a", "b"])")));
  EXPECT_EQ(a.at("n"), Attribute(std::int64_t{7}));
  EXPECT_EQ(a.at("b"), Attribute(true));
  EXPECT_EQ(a.at("bs"), Attribute(std::vector<bool>{true, false}));
  EXPECT_EQ(a.at("dtype"), Attribute(std::string("bf16")));
  EXPECT_EQ(a.at("format"), Attribute(std::string("channels_last")));
  EXPECT_EQ(a.at("layout"), Attribute(std::string("strided")));
  EXPECT_EQ(a.at("device"), Attribute(std::string("cuda:1")));
  EXPECT_EQ(a.at("c"), Attribute(std::string(R"({"real": 1, "imag": 2})")));
  EXPECT_EQ(a.at("op"), Attribute(std::string("torch.ops.aten.add.Tensor")));
  EXPECT_EQ(a.at("lists"), Attribute(std::string("[[1], [2, 3]]")));
  EXPECT_EQ(a.at("named.k"), Attribute(std::int64_t{4}));
  EXPECT_EQ(a.at("new"), Attribute(std::string(R"({"a": [1]})")));
  const TensorId x(0);
  EXPECT_EQ(op.inputs, (std::vector<Operand>{{"tensors", x},
                                             {"tensors", x},
                                             {"maybe", TensorId()},
                                             {"maybe", x},
                                             {"one", x},
                                             {"nested", x},
                                             {"named.t", x}}));
  EXPECT_EQ(graph.notes,
            (std::vector<std::string>{
                "an argument of unknown kind \"as_from_the_future\" is kept as text"}));
}

TEST(Pt2Graph, OperatorsMayHaveSeveralResults) {
  Model model;
  model.input("x", meta({"4", "6"}));
  for (const char* name : {"getitem", "getitem_1"}) model.value(name, meta({"4", "3"}));
  model.value("values", meta({"4"}));
  model.value("max_unused_1", meta({"4"}, 5));
  model.nodes.push_back(R"({"target": "torch.ops.aten.chunk.default", "inputs": [)" +
                        tensor("self", "x") +
                        R"(], "outputs": [{"as_tensors": [{"name": "getitem"},)"
                        R"( {"name": "getitem_1"}]}], "metadata": {}})");
  model.nodes.push_back(R"({"target": "torch.ops.aten.max.dim", "inputs": [)" +
                        tensor("self", "x") +
                        R"(], "outputs": [{"as_tensor": {"name": "values"}},)"
                        R"( {"as_tensor": {"name": "max_unused_1"}}], "metadata": {}})");
  const Graph graph = read_model(model);
  EXPECT_EQ(graph.ops[0].outputs.size(), 2u);
  EXPECT_EQ(graph.ops[0].name, "getitem");  // older files do not name nodes
  EXPECT_EQ(named(graph, "getitem_1").alias_of, TensorId(0));
  EXPECT_EQ(graph.ops[1].outputs.size(), 2u);
  EXPECT_EQ(named(graph, "max_unused_1").dtype, DType::i64);
}

TEST(Pt2Graph, ViewsAndInPlaceOperatorsShareStorage) {
  Model model;
  model.input("x", meta({"4", "6"}));
  model.value("t", meta({"6", "4"}, 7, {1, 6}));
  model.value("copy", meta({"24"}));
  model.value("add_", meta({"6", "4"}, 7, {1, 6}));
  model.node("torch.ops.aten.t.default", {tensor("self", "x")}, "t");
  model.node("torch.ops.aten.add_.Tensor", {tensor("self", "t"), argument("other", "as_int", "1")},
             "add_");
  model.node("torch.ops.aten.reshape.default",
             {tensor("self", "t"), argument("shape", "as_ints", "[-1]")}, "copy");
  const Graph graph = read_model(model);
  EXPECT_EQ(named(graph, "t").alias_of, TensorId(0));
  EXPECT_EQ(named(graph, "t").strides, (std::vector<std::int64_t>{1, 6}));
  EXPECT_EQ(graph.tensor(named(graph, "add_").alias_of).name, "t");
  EXPECT_FALSE(named(graph, "copy").alias_of.valid());  // a transposed tensor has no flat view
}

TEST(Pt2Graph, ScalarNodesAreNoOperators) {
  Model model = linear_model();
  const auto scalar = [&](const std::string& target) {
    model.nodes.push_back(R"({"target": ")" + target + R"(", "inputs": [)" + tensor("a", "x") +
                          R"(], "outputs": [{"as_sym_int": {"as_name": "n"}}], "metadata": {}})");
  };
  for (const char* target : {"torch.ops.aten.sym_size.int", "_operator.mul", "torch.sym_max",
                             "math.sqrt", "torch.ops.aten._assert_scalar.default",
                             "torch.ops.aten._assert_tensor_metadata.default"}) {
    scalar(target);
  }
  EXPECT_EQ(read_model(model).ops.size(), 1u);
  EXPECT_TRUE(read_model(model).notes.empty());
  scalar("torch.ops.aten.item.default");
  EXPECT_EQ(read_model(model).ops.size(), 1u);
  EXPECT_EQ(
      read_model(model).notes,
      (std::vector<std::string>{"module \"\" reads a tensor's value on the host: the operators "
                                "that follow may depend on data"}));
}

TEST(Pt2Graph, ModuleAndCallComeFromTheStack) {
  Model model;
  model.input("x", meta({"2"}));
  const std::vector<std::pair<std::string, std::string>> stacks = {
      {"a", "L__self__,,Net;L__self__blk,blk,Block;L__self__blk.x,blk.x,torch.nn.Linear"},
      {"b", "L__self__,,Net;L__self__blk@1,blk,Block;L__self__blk.x@1,blk.x,torch.nn.Linear"},
      {"c", "L__self__L__self__,,Net"},
      {"d",
       "_empty_nn_module_stack_from_metadata_hook,_empty_nn_module_stack_from_metadata_hook,"
       "_empty_nn_module_stack_from_metadata_hook"},
      {"e", "L__self__,L['self'],Net;L__self___blk_x,L['self'].blk.x,torch.nn.Linear"}};
  for (const auto& [name, stack] : stacks) {
    model.value(name, meta({"2"}));
    model.node("torch.ops.aten.relu.default", {tensor("self", "x")}, name, stack);
  }
  const Graph graph = read_model(model);
  const auto call = [&](std::size_t i) {
    const Op& op = graph.ops[i];
    return op.module + "#" + std::to_string(op.call) + ":" + op.module_type;
  };
  EXPECT_EQ(call(0), "blk.x#0:torch.nn.Linear");
  EXPECT_EQ(call(1), "blk.x#1:torch.nn.Linear");
  EXPECT_EQ(call(2), "#0:Net");
  EXPECT_EQ(call(3), "#0:");
  EXPECT_EQ(call(4), "blk.x#0:torch.nn.Linear");
}

TEST(Pt2Graph, UnknownTensorNamesNodeAndArgument) {
  Model model = linear_model();
  model.value("y", meta({"2", "4"}));
  model.node("torch.ops.aten.add.Tensor", {tensor("self", "linear"), tensor("other", "ghost")},
             "y");
  EXPECT_EQ(error(model),
            "model.pt2:graph.nodes[1].inputs[1]: tensor \"ghost\" is made by no earlier node "
            "(is the file complete?)");
}

TEST(Pt2Graph, FaultsInNodesAreAllNamed) {
  Model model = linear_model();
  model.nodes.push_back("{}");
  model.node("torch.ops.aten.relu.default", {tensor("self", "x")}, "nowhere");
  model.node("torch.ops.aten.relu.default", {tensor("self", "x")}, "linear");
  model.output("absent");
  model.nodes.push_back(R"({"target": "torch.ops.aten.relu.default", "inputs": [{"name": "self",)"
                        R"( "arg": {"as_tensor": {}}}, {"name": "n", "arg": {}}, {"name": "m",)"
                        R"( "arg": {"as_sym_int": {"as_name": "q"}}}], "outputs": []})");
  EXPECT_EQ(error(model),
            "model.pt2:graph.nodes[1].target: the operator has no name\n"
            "model.pt2:graph.nodes[2].outputs[0]: tensor \"nowhere\" has no entry in tensor_values "
            "(is the file complete?)\n"
            "model.pt2:graph.nodes[3].outputs[0]: tensor \"linear\" is made twice\n"
            "model.pt2:graph.nodes[4].inputs[0]: a tensor argument without \"name\"\n"
            "model.pt2:graph.nodes[4].inputs[1]: the argument has no value\n"
            "model.pt2:graph.nodes[4].inputs[2]: size \"q\" has no entry in sym_int_values "
            "(is the file complete?)\n"
            "model.pt2:signature.output_specs[1]: tensor \"absent\" is made by no earlier node "
            "(is the file complete?)");
}

TEST(Pt2Graph, TheGraphsOwnOutputsAgreeWithItsSignature) {
  Model model = linear_model();
  model.graph_outputs = R"({"as_tensor": {"name": "linear"}})";
  EXPECT_EQ(error(model), "no error");
  model.graph_outputs = R"({"as_tensor": {"name": "ghost"}}, {"as_none": true})";
  EXPECT_EQ(error(model),
            "model.pt2:graph.outputs: has 2 entries, signature.output_specs 1 (is the file "
            "complete?)\n"
            "model.pt2:graph.outputs[0]: tensor \"ghost\" is made by no earlier node (is the file "
            "complete?)");
}

TEST(Pt2Graph, OperatorsNeedTheirTensors) {
  Model model = linear_model();
  const std::string none = argument("weight", "as_none", "true");
  model.value("a", meta({"2", "4"}));
  model.value("b", meta({"2", "3"}));
  model.node("torch.ops.aten.linear.default", {tensor("input", "x"), none}, "a");
  model.node("torch.ops.aten.add.Tensor", {tensor("self", "x"), argument("other", "as_int", "1")},
             "b");  // a number may stand for a tensor
  EXPECT_EQ(error(model),
            "model.pt2:graph.nodes[1].inputs: aten.linear.default needs the tensor \"weight\"");
  model.nodes[1] = R"({"target": "torch.ops.aten.addmm.default", "inputs": [], "outputs": []})";
  EXPECT_EQ(error(model),
            "model.pt2:graph.nodes[1].inputs: aten.addmm.default needs the tensor \"self\"\n"
            "model.pt2:graph.nodes[1].inputs: aten.addmm.default needs the tensor \"mat1\"\n"
            "model.pt2:graph.nodes[1].inputs: aten.addmm.default needs the tensor \"mat2\"");
}

TEST(Pt2Graph, TensorsHaveAtMost64Axes) {
  Model model;
  model.input("x", meta(std::vector<std::string>(100'000, "1")));
  model.output("x");
  EXPECT_EQ(error(model),
            "model.pt2:graph.tensor_values.x.sizes: the tensor has 100000 axes (at "
            "most 64)");
  Model strides;
  strides.input("x", meta({"2", "3"}, 7, {1}));
  strides.output("x");
  EXPECT_EQ(error(strides), "model.pt2:graph.tensor_values.x.strides: 1 strides for 2 sizes");
}

TEST(Pt2Graph, ImpossibleSizesAreFaults) {
  Model model;
  model.input("x", meta({"-1"}));
  model.input("y", meta({"4294967296", "4294967296"}));  // 2^64 elements
  model.input("z", meta({"{\"as_int\": true}"}));
  model.input("s", meta({"2"}, 7, {-1}));
  EXPECT_EQ(error(model),
            "model.pt2:graph.tensor_values.x.sizes[0]: the size -1 is negative\n"
            "model.pt2:graph.tensor_values.y.sizes: the tensor has more than 2^58 elements\n"
            "model.pt2:graph.tensor_values.z.sizes[0]: is no size "
            "(expected {\"as_int\": ...} or {\"as_expr\": ...})\n"
            "model.pt2:graph.tensor_values.s.strides[0]: the stride -1 fits no storage");
}

TEST(Pt2Graph, TwentyFaultsAreEnough) {
  Model model;
  for (int i = 0; i < 25; ++i) model.nodes.push_back("{}");
  const std::string text = error(model);
  EXPECT_TRUE(text.ends_with("model.pt2: and 5 more faults")) << text;
}

}  // namespace
}  // namespace parallel_opt
