#include <gtest/gtest.h>

#include "tests/importers/archive.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/onnx_writer.h"

// What the table infers for one node: the backend tests of the ONNX package check every operator
// at fixed sizes (tests/python/importers), these check symbols, and faults.
namespace parallel_opt {
namespace {

using testing::sizes_of;

using namespace testing;

using Sizes = std::vector<std::int64_t>;

std::string fault_of(const OnnxGraph& graph, std::int64_t version = 18) {
  return error_of([&] { read(graph, version); });
}

TEST(OnnxShape, PoolsOfPowersAreMeansOfPowers) {
  const Graph graph = read(one_node("LpPool", {{"1", "3", "16", "16"}},
                                    {wholes("kernel_shape", {2, 2}), wholes("strides", {2, 2})}),
                           18);
  EXPECT_EQ(targets(graph),
            (std::vector<std::string>{"aten.abs.default", "aten.pow.Tensor_Scalar",
                                      "aten.avg_pool2d.default", "aten.pow.Tensor_Scalar"}));
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Sizes{1, 3, 8, 8}));
  EXPECT_EQ(targets(read(one_node("GlobalLpPool", {{"1", "3", "16", "16"}}), 18)),
            std::vector<std::string>{"aten.linalg_vector_norm.default"});
}

TEST(OnnxShape, PointwiseOperandsBroadcast) {
  EXPECT_EQ(result_of(one_node("Add", {{"batch", "1", "4"}, {"3", "1"}})), "[batch, 3, 4]");
  EXPECT_EQ(fault_of(one_node("Add", {{"2"}, {"3"}})),
            "model.onnx:graph.node[0]: Add: operands [2] and [3] do not broadcast");
}

TEST(OnnxShape, MatMulKeepsOuterAxes) {
  EXPECT_EQ(result_of(one_node("MatMul", {{"b", "s", "8"}, {"8", "16"}})), "[b, s, 16]");
  EXPECT_EQ(result_of(one_node("MatMul", {{"8"}, {"8", "16"}})), "[16]");
  EXPECT_EQ(fault_of(one_node("MatMul", {{"2", "8"}, {"7", "16"}})),
            "model.onnx:graph.node[0]: MatMul: a matrix product of [2, 8] and [7, 16]");
}

TEST(OnnxShape, GemmTransposes) {
  EXPECT_EQ(result_of(one_node("Gemm", {{"b", "8"}, {"16", "8"}}, {whole("transB", 1)})),
            "[b, 16]");
  EXPECT_EQ(fault_of(one_node("Gemm", {{"2", "3", "4"}, {"4", "5"}})),
            "model.onnx:graph.node[0]: Gemm: takes matrices, not [2, 3, 4] and [4, 5]");
}

TEST(OnnxShape, EinsumFollowsItsLetters) {
  EXPECT_EQ(result_of(one_node("Einsum", {{"b", "q", "8"}, {"b", "k", "8"}},
                               {text("equation", "b q d, b k d -> b q k")})),
            "[b, q, k]");
  EXPECT_EQ(result_of(one_node("Einsum", {{"2", "5", "3", "4"}, {"4", "6"}},
                               {text("equation", "...ij,jk->...ik")})),
            "[2, 5, 3, 6]");
  EXPECT_EQ(fault_of(one_node("Einsum", {{"2", "3"}}, {text("equation", "ij->ik")})),
            "model.onnx:graph.node[0]: Einsum: the result has an axis 'k' that no operand has");
}

TEST(OnnxShape, ContradictionsAreFaults) {
  const std::string at = "model.onnx:graph.node[0]: ";
  EXPECT_EQ(fault_of(one_node("Einsum", {{"2", "5"}, {"7", "3"}}, {text("equation", "ij,jk->ik")})),
            at + "Einsum: the letter 'j' is [5] and [7]");
  EXPECT_EQ(fault_of(one_node("Gemm", {{"2", "8"}, {"8", "32"}, {"7"}})),
            at + "Gemm: a bias of [7] for a result of [2, 32]");
  EXPECT_EQ(fault_of(one_node("MatMul", {{"2", "8"}})), at + "MatMul: has 1 operand, takes 2");
  EXPECT_EQ(fault_of(one_node("Conv", {{"1", "3", "4", "4"}, {"6", "3", "5", "5"}})),
            at + "Conv: a window of [5] is larger than its padded image [1, 3, 4, 4]");
  EXPECT_EQ(fault_of(one_node("Conv", {{"1", "3", "8", "8"}, {"6", "3", "3", "3"}},
                              {wholes("strides", {2})})),
            at + "Conv: its window does not have 2 axes");
  EXPECT_EQ(fault_of(one_node("Cast", {{"2"}}, {whole("to", 999)})),
            at + "Cast: casts to element type 999, which ONNX has not");
}

TEST(OnnxShape, OpenSizesAreTakenByTheirPlaceWhereNamesSayNothing) {
  const Graph image = read(one_node("Relu", {{"s31", "3", "s16", "s82"}}), 18);
  EXPECT_EQ(sizes_of(image.tensor(image.inputs[0])), (Sizes{1, 3, 224, 224}));
  const Graph tokens = read(one_node("Relu", {{"s77", "s27"}}), 18);
  EXPECT_EQ(sizes_of(tokens.tensor(tokens.inputs[0])), (Sizes{1, 128}));
  const Graph named = read(one_node("Relu", {{"N", "3", "img_h", "img_w"}}), 18);
  EXPECT_EQ(sizes_of(named.tensor(named.inputs[0])), (Sizes{1, 3, 224, 224}));
}

TEST(OnnxShape, ConvolutionSlidesItsWindow) {
  // (h + 2 - 3) / 2 + 1
  EXPECT_EQ(result_of(one_node("Conv", {{"n", "3", "h", "224"}, {"64", "3", "3", "3"}},
                               {wholes("strides", {2, 2}), wholes("pads", {1, 1, 1, 1})})),
            "[n, 64, FloorDiv(h - 1, 2) + 1, 112]");
  EXPECT_EQ(fault_of(one_node("Conv", {{"1", "4", "8", "8"}, {"6", "3", "3", "3"}})),
            "model.onnx:graph.node[0]: Conv: a convolution of [1, 4, 8, 8] with [6, 3, 3, 3] in 1 "
            "groups");
  EXPECT_EQ(fault_of(one_node("Conv", {{"1", "3", "8", "8"}, {"6", "3", "3", "3"}},
                              {wholes("strides", {0, 1})})),
            "model.onnx:graph.node[0]: Conv: strides, dilations or pads are out of range");
}

TEST(OnnxShape, SamePaddingDividesByTheStride) {
  EXPECT_EQ(result_of(one_node("MaxPool", {{"1", "3", "15", "15"}},
                               {wholes("kernel_shape", {3, 3}), wholes("strides", {2, 2}),
                                text("auto_pad", "SAME_UPPER")})),
            "[1, 3, 8, 8]");
}

TEST(OnnxShape, TransposedConvolutionGrows) {
  // 2 (7 - 1) + (3 - 1) + 1 + 1 - 2 = 14
  EXPECT_EQ(result_of(one_node("ConvTranspose", {{"1", "8", "7", "7"}, {"8", "4", "3", "3"}},
                               {wholes("strides", {2, 2}), wholes("pads", {1, 1, 1, 1}),
                                wholes("output_padding", {1, 1})})),
            "[1, 4, 14, 14]");
}

TEST(OnnxShape, ReshapeFillsTheOpenSize) {
  EXPECT_EQ(
      result_of(one_node("Reshape", {{"b", "12", "s", "64"}}, {}, {list("c0", {0, -1, 768})})),
      "[b, s, 768]");
  EXPECT_EQ(result_of(one_node("Reshape", {{"b", "s", "96"}}, {}, {list("c0", {0, 0, 3, -1})})),
            "[b, s, 3, 32]");
  EXPECT_EQ(fault_of(one_node("Reshape", {{"2", "3"}}, {}, {list("c0", {-1, -1})})),
            "model.onnx:graph.node[0]: Reshape: a shape [-1, -1] has two open sizes");
  EXPECT_EQ(fault_of(one_node("Reshape", {{"2", "3"}}, {}, {list("c0", {4, 2})})),
            "model.onnx:graph.node[0]: Reshape: [2, 3] cannot become [4, 2]");
}

TEST(OnnxShape, AxesAreCounted) {
  EXPECT_EQ(result_of(one_node("Transpose", {{"a", "b", "c"}}, {wholes("perm", {2, 0, 1})})),
            "[c, a, b]");
  EXPECT_EQ(fault_of(one_node("Transpose", {{"2", "3"}}, {wholes("perm", {0, 0})})),
            "model.onnx:graph.node[0]: Transpose: perm does not name each axis of [2, 3] once");
  EXPECT_EQ(result_of(one_node("Unsqueeze", {{"a"}}, {}, {list("c0", {0, -1})})), "[1, a, 1]");
  EXPECT_EQ(result_of(one_node("Squeeze", {{"1", "a", "1"}}, {}, {list("c0", {0})})), "[a, 1]");
  EXPECT_EQ(fault_of(one_node("Squeeze", {{"2", "3"}}, {}, {list("c0", {1})})),
            "model.onnx:graph.node[0]: Squeeze: axis 1 of [2, 3] is not 1");
  EXPECT_EQ(fault_of(one_node("Softmax", {{"2"}}, {whole("axis", 5)})),
            "model.onnx:graph.node[0]: Softmax: axis 5 of a tensor with 1 axes");
}

TEST(OnnxShape, SlicesClampTheirBounds) {
  EXPECT_EQ(result_of(one_node("Slice", {{"s", "10"}}, {},
                               {list("c0", {1, 2}), list("c1", {INT64_MAX, -1}), list("c2", {0, 1}),
                                list("c3", {1, 3})})),
            "[s - 1, 3]");  // ceil((9 - 2) / 3)
  EXPECT_EQ(result_of(one_node(
                "Slice", {{"10"}}, {},
                {list("c0", {-1}), list("c1", {INT64_MIN}), list("c2", {0}), list("c3", {-3})})),
            "[4]");  // 9, 6, 3, 0
  EXPECT_EQ(
      fault_of(one_node("Slice", {{"10"}}, {},
                        {list("c0", {0}), list("c1", {5}), list("c2", {0}), list("c3", {0})})),
      "model.onnx:graph.node[0]: Slice: axis 0 with step 0 of [10]");
}

TEST(OnnxShape, ConcatAddsUp) {
  EXPECT_EQ(result_of(one_node("Concat", {{"b", "past"}, {"b", "now"}}, {whole("axis", 1)})),
            "[b, now + past]");
  EXPECT_EQ(fault_of(one_node("Concat", {{"2", "3"}, {"3", "3"}}, {whole("axis", 1)})),
            "model.onnx:graph.node[0]: Concat: [3, 3] is joined to [2, 3]");
}

TEST(OnnxShape, PadAndTileGrowAxes) {
  EXPECT_EQ(result_of(one_node("Pad", {{"n", "4"}}, {}, {list("c0", {0, 1, 0, 2})})), "[n, 7]");
  EXPECT_EQ(result_of(one_node("Tile", {{"n", "4"}}, {}, {list("c0", {2, 3})})), "[2*n, 12]");
}

TEST(OnnxShape, ReductionsKeepAxesOrDropThem) {
  EXPECT_EQ(result_of(one_node("ReduceMean", {{"b", "s", "8"}}, {}, {list("c0", {-1})})),
            "[b, s, 1]");
  EXPECT_EQ(result_of(one_node("ReduceMean", {{"b", "s", "8"}},
                               {wholes("axes", {1}), whole("keepdims", 0)}),
                      13),
            "[b, 8]");
  EXPECT_EQ(result_of(one_node("ReduceSum", {{"b", "s"}})), "[1, 1]");
}

TEST(OnnxShape, GatherPutsIndicesInPlaceOfTheAxis) {
  OnnxGraph graph = one_node("Gather", {{"1000", "64"}, {"b", "s"}});
  EXPECT_EQ(result_of(graph), "[b, s, 64]");
}

TEST(OnnxShape, ResizeScalesSymbols) {
  const std::string scales = [] {
    const float values[] = {1, 1, 2, 0.5F};
    return tensor("c1", {4}, kFloat, std::string(reinterpret_cast<const char*>(values), 16));
  }();
  EXPECT_EQ(result_of(one_node("Resize", {{"n", "3", "h", "w"}}, {},
                               {tensor("c0", {0}, kFloat, ""), scales})),
            "[n, 3, 2*h, FloorDiv(w, 2)]");
}

TEST(OnnxShape, WhatDependsOnDataBecomesASymbol) {
  const Graph graph = read(one_node("NonZero", {{"2", "3"}}));
  EXPECT_EQ(sizes(graph, graph.outputs[0]), "[2, unknown_0]");
  EXPECT_EQ(graph.symbols[0], (Symbol{"unknown_0", 0, INT64_MAX, 6}));  // at most every element
  EXPECT_EQ(graph.notes,
            (std::vector<std::string>{
                "a size of \"z\" depends on data: taken as 6, bind \"unknown_0\" to change it"}));
}

TEST(OnnxShape, StatedSizesFillWhatInferenceCannotKnow) {
  OnnxGraph graph = one_node("NonZero", {{"2", "3"}});
  graph.value_infos.push_back(value_info("z", {"2", "hits"}, kInt64));
  EXPECT_EQ(result_of(graph), "[2, hits]");
}

TEST(OnnxShape, AttentionAppendsThePast) {
  OnnxGraph graph = one_node("Attention", {{"b", "s", "32"}, {"b", "s", "16"}, {"b", "s", "16"}},
                             {whole("q_num_heads", 4), whole("kv_num_heads", 2)});
  graph.nodes[0].inputs.insert(graph.nodes[0].inputs.end(), {"", "pk", "pv"});
  graph.nodes[0].outputs = {"z", "k"};
  graph.inputs.push_back(value_info("pk", {"b", "2", "past", "8"}));
  graph.inputs.push_back(value_info("pv", {"b", "2", "past", "8"}));
  graph.outputs.push_back(value_info("k", {"b", "2", "total", "8"}));
  const Graph made = read(graph, 23);
  EXPECT_EQ(sizes(made, made.outputs[0]), "[b, s, 32]");
  EXPECT_EQ(sizes(made, made.outputs[1]), "[b, 2, past + s, 8]");
}

TEST(OnnxShape, TheLastOfUnevenPartsIsTheShorter) {
  OnnxGraph graph = one_node("Split", {{"n", "2"}}, {whole("axis", 0), whole("num_outputs", 3)});
  graph.nodes[0].outputs = {"z", "second", "last"};
  graph.outputs.push_back(value_info("last", {"rest", "2"}));
  const Graph made = bind(read(graph, 18), {{"n", 8}});
  EXPECT_EQ(sizes_of(made.tensor(made.outputs[0])), (Numbers{3, 2}));
  EXPECT_EQ(sizes_of(made.tensor(made.outputs[1])), (Numbers{2, 2}));
}

TEST(OnnxShape, TooManyElementsAreAFault) {
  EXPECT_EQ(fault_of(one_node("Expand", {{"1"}}, {}, {list("c0", {1LL << 40, 1LL << 40})})),
            "model.onnx:graph: \"z\" has more than 2^58 elements");
  EXPECT_EQ(
      fault_of(one_node("Relu", {{"9000000000000000000", "9000000000000000000"}})),
      "model.onnx:graph.input[0].type.tensor_type.shape: the tensor has more than 2^58 elements");
}

TEST(OnnxShape, TooManyAxesAreAFault) {
  EXPECT_EQ(fault_of(one_node("Reshape", {{"1"}}, {}, {list("c0", Numbers(100, 1))})),
            "model.onnx:graph.node[0]: Reshape: a result with 100 axes");
}

TEST(OnnxShape, AnAxisOfAScalarIsNoPlaceToLookAt) {
  for (const char* type : {"SplitToSequence", "Softmax", "Flatten", "Gather", "Concat", "Split",
                           "ArgMax", "TopK", "Compress", "LayerNormalization"}) {
    const std::string error = error_of([&] { read(one_node(type, {{}, {}}, {whole("axis", 0)})); });
    EXPECT_TRUE(error == "no error" || error.starts_with("model.onnx:graph.node[0]")) << error;
  }
}

}  // namespace
}  // namespace parallel_opt
