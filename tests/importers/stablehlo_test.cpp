#include "parallel_opt/importers/stablehlo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/model.h"
#include "tests/importers/archive.h"
#include "tests/importers/graph_views.h"

namespace parallel_opt {
namespace {

using testing::forward_flops;
using testing::targets;

const std::string kData = PARALLEL_OPT_SOURCE_DIR "/tests/data/stablehlo/";

Graph load(const std::string& name) { return load_model(kData + name); }

bool noted(const Graph& graph, const std::string& part) {
  return std::ranges::any_of(
      graph.notes, [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

std::vector<std::string> opaque(const Graph& graph) {
  std::vector<std::string> list;
  for (const OpaqueSummary& one : summarize(graph).opaque) list.push_back(one.operator_name);
  return list;
}

/// A function @main over %arg0: tensor<4x3xf32>.
Graph read(const std::string& body, const std::string& more = "") {
  return read_stablehlo(
      "module @jit_f {\n  func.func public @main(%arg0: tensor<4x3xf32>) -> "
      "tensor<4x3xf32> {\n" +
          body + "\n  }\n" + more + "}\n",
      "m.mlir");
}

// The fixtures are made by tests/data/stablehlo/generate.py.

TEST(StableHlo, PerceptronHasItsWeightsAndProducts) {
  const Graph graph = load("mlp.mlir");
  EXPECT_EQ(graph.name, "mlp");
  EXPECT_EQ(count_parameters(graph).parameters, 64 * 128 + 128 + 128 * 10 + 10);
  EXPECT_EQ(forward_flops(graph), 2.0 * 8 * (64 * 128 + 128 * 10));
  EXPECT_EQ(graph.inputs.size(), 1u);
  EXPECT_TRUE(opaque(graph).empty());
}

TEST(StableHlo, GenericFormIsTheSameGraph) {
  EXPECT_EQ(targets(load("mlp_generic.mlir")), targets(load("mlp.mlir")));
  EXPECT_EQ(forward_flops(load("mlp_generic.mlir")), forward_flops(load("mlp.mlir")));
  EXPECT_EQ(forward_flops(load("cnn_generic.mlir")), forward_flops(load("cnn.mlir")));
}

TEST(StableHlo, ConvolutionsCountPositionsAndGroups) {
  const Graph graph = load("cnn.mlir");
  // [4,16,16,16] by 3x3x3, then depthwise 3x3, then the head
  EXPECT_EQ(forward_flops(graph),
            2.0 * 4 * 16 * 16 * 16 * 27 + 2.0 * 4 * 16 * 16 * 16 * 9 + 2.0 * 4 * 16 * 10);
  EXPECT_TRUE(opaque(graph).empty());
}

constexpr double kBlock = 2.0 * 2 * 16 * (64 * 192 + 64 * 64 + 2 * 64 * 256) +  // projections
                          2.0 * 2 * 4 * 16 * 16 * 16 * 2;                       // scores and values

TEST(StableHlo, ScopesOfDebugInfoAreModules) {
  const Graph graph = load("transformer.mlir");
  EXPECT_EQ(forward_flops(graph), 3 * kBlock + 2.0 * 2 * 16 * 64 * 100);
  const GraphSummary summary = summarize(graph);
  ASSERT_FALSE(summary.blocks.empty());
  EXPECT_EQ(summary.blocks[0].repeats, 3);
  EXPECT_EQ(summary.blocks[0].name, "model.*");
  EXPECT_EQ(count_parameters(graph).parameters,
            100 * 64 + 3 * (4 * 64 + 64 * 192 + 64 * 64 + 2 * 64 * 256));
  EXPECT_TRUE(opaque(graph).empty());
}

TEST(StableHlo, ScanIsALoopWithItsLength) {
  const Graph graph = load("transformer_scan.mlir");
  ASSERT_EQ(graph.regions.size(), 1u);
  EXPECT_EQ(graph.regions[0].runs, 3);
  EXPECT_TRUE(graph.regions[0].observed);
  EXPECT_EQ(forward_flops(graph), 3 * kBlock + 2.0 * 2 * 16 * 64 * 100);
  const GraphSummary summary = summarize(graph);
  ASSERT_FALSE(summary.blocks.empty());
  EXPECT_EQ(summary.blocks.back().repeats, 3) << "the layers that the scan runs";
  EXPECT_GT(summary.blocks.back().operators, 20);
}

TEST(StableHlo, WhatALoopWritesRunByRunIsStackedOutside) {
  const Graph graph = load("lstm.mlir");
  ASSERT_EQ(graph.regions.size(), 1u);
  EXPECT_EQ(graph.regions[0].runs, 10);
  EXPECT_EQ(forward_flops(graph), 10 * 2.0 * 4 * (16 + 32) * 128);
  const auto list = targets(graph);
  EXPECT_EQ(std::ranges::find(list, "aten.slice_scatter.default"), list.end())
      << "no run copies the whole output";
}

TEST(StableHlo, TrainingStepIsAllForwardAndSaysSo) {
  const Graph graph = load("mlp_train.mlir");
  EXPECT_TRUE(noted(graph, "a training step"));
  EXPECT_EQ(summarize(graph).flops.backward.value, 0) << "its backward is in it";
  // forward: both products; backward: both weights' and the hidden activation's gradient
  EXPECT_EQ(forward_flops(graph),
            2.0 * 8 * (64 * 128 + 128 * 10) + 2.0 * 8 * (64 * 128 + 2 * 128 * 10));
}

TEST(StableHlo, ControlFlowSortingAndRandomNumbersHaveRows) {
  const Graph graph = load("control.mlir");
  EXPECT_TRUE(opaque(graph).empty());
  std::size_t loops = 0;
  for (const Region& region : graph.regions) loops += region.kind == RegionKind::loop ? 1 : 0;
  EXPECT_EQ(loops, 3u);  // fori_loop, while_loop, the rounds of threefry
  EXPECT_TRUE(std::ranges::any_of(graph.regions, [](const Region& r) { return r.runs == 7; }));
  EXPECT_TRUE(noted(graph, "runs as often as data decide"));
  EXPECT_TRUE(noted(graph, "takes one of 3 ways"));
}

// lax.while_loop: a counter from `start`, compared with `limit`, changed by `step`.
std::string loop_text(const std::string& compare, int start, int limit, const std::string& change,
                      int step) {
  const auto constant = [](const char* name, int value) {
    return std::string(name) + " = stablehlo.constant dense<" + std::to_string(value) +
           "> : tensor<i32>\n";
  };
  return "module @m {\n"
         "func.func public @main(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {\n" +
         constant("%c", start) +
         "%0:3 = stablehlo.while(%a = %w, %i = %c, %y = %x) : tensor<8x8xf32>, tensor<i32>, "
         "tensor<4x8xf32>\ncond {\n" +
         constant("%l", limit) + "%t = stablehlo.compare " + compare +
         ", SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>\n"
         "stablehlo.return %t : tensor<i1>\n} do {\n" +
         constant("%s", step) + "%n = stablehlo." + change +
         " %i, %s : tensor<i32>\n"
         "%p = stablehlo.dot_general %y, %a, contracting_dims = [1] x [0] : (tensor<4x8xf32>, "
         "tensor<8x8xf32>) -> tensor<4x8xf32>\n"
         "stablehlo.return %a, %n, %p : tensor<8x8xf32>, tensor<i32>, tensor<4x8xf32>\n}\n"
         "return %0#2 : tensor<4x8xf32>\n}\n}\n";
}

TEST(StableHlo, LoopsRunAsTheirCountersSay) {
  const auto runs = [](const std::string& compare, int start, int limit, const std::string& change,
                       int step) {
    const Graph graph = read_stablehlo(loop_text(compare, start, limit, change, step), "m.mlir");
    return forward_flops(graph) / (2.0 * 4 * 8 * 8);
  };
  EXPECT_EQ(runs("LT, %i, %l", 0, 7, "add", 2), 4);        // 0 2 4 6
  EXPECT_EQ(runs("LE, %i, %l", 0, 5, "add", 1), 6);        // 0 .. 5
  EXPECT_EQ(runs("GT, %i, %l", 10, 0, "add", -1), 10);     // 10 .. 1
  EXPECT_EQ(runs("GE, %i, %l", 20, 2, "subtract", 3), 7);  // 20 17 14 11 8 5 2
  EXPECT_EQ(runs("NE, %i, %l", 0, 5, "add", 1), 5);
  EXPECT_EQ(runs("GT, %l, %i", 0, 3, "add", 1), 3);  // the limit stands first
  EXPECT_EQ(runs("LT, %i, %l", 5, 5, "add", 1), 0);
  EXPECT_TRUE(noted(read_stablehlo(loop_text("NE, %i, %l", 0, 5, "add", 2), "m.mlir"),
                    "runs as often as data decide"));  // it never meets 5
}

TEST(StableHlo, ShardingsAreLeftOutAndNoted) {
  const Graph graph = load("mlp_sharded.mlir");
  EXPECT_TRUE(noted(graph, "shardings written in the text were left out"));
  EXPECT_EQ(forward_flops(graph), forward_flops(load("mlp.mlir")));
}

// jax.shard_map: two devices, half of the rows each.
const char* const kShardMapped = R"(module @jit_f {
  sdy.mesh @mesh = <["x"=2, "y"=4]>
  func.func public @main(%arg0: tensor<8x64xf32>, %arg1: tensor<64x32xf32>) -> tensor<8x32xf32> {
    %0 = sdy.manual_computation(%arg0, %arg1) in_shardings=[<@mesh, [{"x"}, {}]>, <@mesh, [{}, {}]>] out_shardings=[<@mesh, [{"x"}, {}]>] manual_axes={"x", "y"} (%arg2: tensor<4x64xf32>, %arg3: tensor<64x32xf32>) {
      %1 = stablehlo.dot_general %arg2, %arg3, contracting_dims = [1] x [0] : (tensor<4x64xf32>, tensor<64x32xf32>) -> tensor<4x32xf32>
      sdy.return %1 : tensor<4x32xf32>
    } : (tensor<8x64xf32>, tensor<64x32xf32>) -> tensor<8x32xf32>
    return %0 : tensor<8x32xf32>
  }
})";

TEST(StableHlo, WhatEachDeviceComputesCountsForAllOfThem) {
  const Graph graph = read_stablehlo(kShardMapped, "m.mlir");
  // Axis y names no sharding: its devices repeat the same work.
  ASSERT_EQ(graph.regions.size(), 1u);
  EXPECT_EQ(graph.regions[0].runs, 2);
  EXPECT_EQ(summarize(graph).flops.forward.value, 2.0 * 8 * 64 * 32);
  EXPECT_TRUE(noted(graph, "is that of one of 2 devices: counted for all of them"));
}

TEST(StableHlo, TheOlderFormOfShardsIsOneDevice) {
  const Graph graph = read(
      R"(    %0 = stablehlo.custom_call @SPMDFullToShardShape(%arg0) {mhlo.sharding = "{manual}"} : (tensor<4x3xf32>) -> tensor<2x3xf32>
    %1 = stablehlo.tanh %0 : tensor<2x3xf32>
    %2 = stablehlo.custom_call @SPMDShardToFullShape(%1) {mhlo.sharding = "{devices=[2,1]<=[2]}"} : (tensor<2x3xf32>) -> tensor<4x3xf32>
    return %2 : tensor<4x3xf32>)");
  EXPECT_TRUE(noted(graph, "for one of several devices is counted for one"));
  EXPECT_TRUE(opaque(graph).empty());
}

TEST(StableHlo, RaggedProductsTakeEachRowsMatrixOnce) {
  const Graph graph = read_stablehlo(R"(module @m {
  func.func public @main(%arg0: tensor<16x64xbf16>, %arg1: tensor<4x64x32xbf16>, %arg2: tensor<4xi32>) -> tensor<16x32xbf16> {
    %0 = "chlo.ragged_dot"(%arg0, %arg1, %arg2) <{ragged_dot_dimension_numbers = #chlo.ragged_dot<lhs_batching_dimensions = [], rhs_batching_dimensions = [], lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [1], lhs_ragged_dimensions = [0], rhs_group_dimensions = [0]>}> : (tensor<16x64xbf16>, tensor<4x64x32xbf16>, tensor<4xi32>) -> tensor<16x32xbf16>
    return %0 : tensor<16x32xbf16>
  }
})",
                                     "m.mlir");
  EXPECT_EQ(targets(graph), std::vector<std::string>{"aten._grouped_mm.default"});
  EXPECT_EQ(summarize(graph).flops.forward.value, 2.0 * 16 * 64 * 32);
}

TEST(StableHlo, TriangularSystemsAndQuantisedNumbersHaveRows) {
  const Graph graph = read_stablehlo(R"(module @m {
  func.func @main(%arg0: tensor<4x8xf32>, %arg1: tensor<4x4xf32>, %arg2: tensor<4x8x!quant.uniform<i8:f32, 0.1:3>>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
    %0 = stablehlo.create_token : !stablehlo.token
    %1 = stablehlo.cholesky %arg1, lower = true : tensor<4x4xf32>
    %2 = "stablehlo.triangular_solve"(%1, %arg0) <{left_side = true, lower = true, transpose_a = #stablehlo<transpose NO_TRANSPOSE>, unit_diagonal = false}> : (tensor<4x4xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %3 = stablehlo.uniform_dequantize %arg2 : (tensor<4x8x!quant.uniform<i8:f32, 0.1:3>>) -> tensor<4x8xf32>
    return %2, %3 : tensor<4x8xf32>, tensor<4x8xf32>
  }
})",
                                     "m.mlir");
  EXPECT_EQ(targets(graph),
            (std::vector<std::string>{"aten.linalg_cholesky.default",
                                      "aten.linalg_solve_triangular.default",
                                      "quantized_decomposed.dequantize_per_tensor.default"}));
  EXPECT_TRUE(opaque(graph).empty());
}

TEST(StableHlo, OpenSizesAreABatch) {
  const Graph graph = load("mlp_symbolic.mlir");
  EXPECT_EQ(graph.symbols.at(0).name, "batch");
  EXPECT_EQ(forward_flops(bind(graph, {{"batch", 8}})), forward_flops(load("mlp.mlir")));
}

TEST(StableHlo, UnknownOperatorsStayOpaque) {
  const Graph graph = read(
      "%0 = \"stablehlo.all_reduce\"(%arg0) ({\n^bb0(%a: tensor<f32>, %b: tensor<f32>):\n"
      "stablehlo.return %a : tensor<f32>\n}) : (tensor<4x3xf32>) -> tensor<4x3xf32>\n"
      "return %0 : tensor<4x3xf32>");
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"stablehlo.all_reduce"}));
  EXPECT_EQ(opaque(graph), (std::vector<std::string>{"stablehlo.all_reduce"}));
}

TEST(StableHlo, KnownLibraryCallsAreWhatTheySay) {
  const Graph graph = read(
      "%0 = stablehlo.custom_call @Sharding(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\n"
      "%1 = stablehlo.custom_call @mystery(%0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\n"
      "return %1 : tensor<4x3xf32>");
  EXPECT_EQ(targets(graph), (std::vector<std::string>{"stablehlo.custom_call"}));
  EXPECT_TRUE(noted(graph, "the custom call 'mystery' is not known"));
}

std::string fault(const std::string& body, const std::string& more = "") {
  return testing::error_of([&] { read(body, more); });
}

TEST(StableHlo, FaultsNameTheLine) {
  EXPECT_EQ(fault("%0 = stablehlo.tanh %x : tensor<4x3xf32>\nreturn %0 : tensor<4x3xf32>"),
            "m.mlir:3: uses '%x', which is not there");
  EXPECT_EQ(fault("%0 = call @g(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\nreturn %0 : "
                  "tensor<4x3xf32>"),
            "m.mlir:3: calls the function 'g', which is not in the text");
  EXPECT_EQ(fault("%0 = stablehlo.reshape %arg0 : (tensor<4x3xf32>) -> tensor<5xf32>\nreturn %0 : "
                  "tensor<5xf32>"),
            "m.mlir:3: sizes [4, 3] cannot become [5]");
  EXPECT_EQ(fault("%0 = stablehlo.iota dim = 0 : tensor<9000000000x9000000000xf32>\nreturn %0 : "
                  "tensor<f32>"),
            "m.mlir:3: sizes [9000000000, 9000000000] are out of range");
  EXPECT_EQ(
      fault(
          "%0 = call @f(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\nreturn %0 : tensor<4x3xf32>",
          "func.func private @f(%arg0: tensor<4x3xf32>) -> tensor<4x3xf32> {\n%0 = call "
          "@f(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\nreturn %0 : tensor<4x3xf32>\n}\n"),
      "m.mlir:7: the function 'f' calls itself");
}

const std::string kReturn = "\nreturn %0 : tensor<4x3xf32>";

TEST(StableHlo, TypesThatContradictAnOperatorAreFaults) {
  EXPECT_EQ(fault("%0 = stablehlo.tanh %arg0 : tensor<4x4xf32>" + kReturn),
            "m.mlir:3: operator 'stablehlo.tanh': an operand is stated as and is fp32 [4, 4] and "
            "fp32 [4, 3]");
  EXPECT_EQ(fault("%0 = stablehlo.add %arg0, %arg0 : (tensor<4x3xf32>, tensor<4x3xf32>) -> "
                  "tensor<4x3xf64>\nreturn %0 : tensor<4x3xf64>"),
            "m.mlir:3: operator 'stablehlo.add': operand and result differ, fp32 [4, 3] and fp64 "
            "[4, 3]");
  EXPECT_EQ(
      fault("%0 = stablehlo.convert %arg0 : (tensor<4x3xf32>) -> tensor<3x4xf64>\nreturn %0 : "
            "tensor<3x4xf64>"),
      "m.mlir:3: operator 'stablehlo.convert': operand and result differ, fp32 [4, 3] and "
      "fp64 [3, 4]");
  EXPECT_EQ(fault("%0 = stablehlo.compare EQ, %arg0, %arg0 : (tensor<4x3xf32>, tensor<4x3xf32>) -> "
                  "tensor<4x3xf32>" +
                  kReturn),
            "m.mlir:3: operator 'stablehlo.compare': its result is fp32 [4, 3], not true or false");
  EXPECT_EQ(fault("%0 = stablehlo.transpose %arg0, dims = [1, 0] : (tensor<4x3xf32>) -> "
                  "tensor<4x3xf32>" +
                  kReturn),
            "m.mlir:3: operator 'stablehlo.transpose': the result is stated as and is fp32 [4, 3] "
            "and fp32 [3, 4]");
  EXPECT_EQ(fault("%0 = stablehlo.concatenate %arg0, %arg0, dim = 1 : (tensor<4x3xf32>, "
                  "tensor<4x3xf32>) -> tensor<4x7xf32>\nreturn %0 : tensor<4x7xf32>"),
            "m.mlir:3: operator 'stablehlo.concatenate': the parts are 6 long, the result 7");
  EXPECT_EQ(fault("%0 = stablehlo.slice %arg0 [0:5, 0:3] : (tensor<4x3xf32>) -> tensor<5x3xf32>\n"
                  "return %0 : tensor<5x3xf32>"),
            "m.mlir:3: operator 'stablehlo.slice': the part is no part of the whole, fp32 [4, 3] "
            "and fp32 [5, 3]");
  EXPECT_EQ(fault("%0 = stablehlo.broadcast_in_dim %arg0, dims = [0, 1] : (tensor<4x3xf32>) -> "
                  "tensor<4x6xf32>\nreturn %0 : tensor<4x6xf32>"),
            "m.mlir:3: operator 'stablehlo.broadcast_in_dim': a size is neither 1 nor the "
            "result's, fp32 [4, 3] and fp32 [4, 6]");
}

TEST(StableHlo, SlicesLeaveWhatTheirResultsHave) {
  const auto sliced = [](const std::string& part, const std::string& result) {
    return fault("%0 = stablehlo.slice %arg0 " + part + " : (tensor<4x3xf32>) -> tensor<" + result +
                 "xf32>\nreturn %0 : tensor<" + result + "xf32>");
  };
  const std::string op = "m.mlir:3: operator 'stablehlo.slice'";
  EXPECT_EQ(sliced("[0:4:3, 0:3]", "3x3"), op + " leaves 2 of axis 0, its result has 3");
  EXPECT_EQ(sliced("[1:4, 0:2]", "3x3"), op + " leaves 2 of axis 1, its result has 3");
  EXPECT_EQ(sliced("[0:4:0, 0:3]", "4x3"), op + ": 0 to 4 by 0 is no part of axis 0, which has 4");
  EXPECT_EQ(sliced("[3:1, 0:3]", "2x3"), op + ": 3 to 1 by 1 is no part of axis 0, which has 4");
  EXPECT_EQ(sliced("[2:6, 0:3]", "4x3"), op + ": 2 to 6 by 1 is no part of axis 0, which has 4");
  EXPECT_EQ(sliced("[0:4]", "4x3"), op + " slices 1 axes of 2");
  EXPECT_EQ(fault("%c = stablehlo.constant dense<0> : tensor<i32>\n%0 = stablehlo.dynamic_slice "
                  "%arg0, %c, %c, sizes = [2, 2] : (tensor<4x3xf32>, tensor<i32>, tensor<i32>) -> "
                  "tensor<2x3xf32>\nreturn %0 : tensor<2x3xf32>"),
            "m.mlir:4: operator 'stablehlo.dynamic_slice' leaves 2 of axis 1, its result has 3");
}

TEST(StableHlo, WindowsLeaveWhatTheirResultsHave) {
  const auto text = [](const std::string& window, int size) {
    const std::string result =
        "tensor<1x" + std::to_string(size) + "x" + std::to_string(size) + "x2xf32>";
    return "module @m {\nfunc.func public @main(%x: tensor<1x9x9x3xf32>, %w: "
           "tensor<3x3x3x2xf32>) -> " +
           result +
           " {\n%0 = stablehlo.convolution(%x, %w) dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, "
           "1, f], window = {" +
           window +
           "} {batch_group_count = 1 : i64, feature_group_count = 1 : i64} : "
           "(tensor<1x9x9x3xf32>, tensor<3x3x3x2xf32>) -> " +
           result + "\nreturn %0 : " + result + "\n}\n}\n";
  };
  const auto refused = [&](const std::string& window, int size) {
    return testing::error_of([&] { read_stablehlo(text(window, size), "m.mlir"); });
  };
  // (9 + 1 + 1 - 3) / 2 + 1 = 5
  EXPECT_EQ(
      forward_flops(read_stablehlo(text("stride = [2, 2], pad = [[1, 1], [1, 1]]", 5), "m.mlir")),
      2.0 * 25 * 2 * 27);
  EXPECT_NE(refused("stride = [2, 2], pad = [[1, 1], [1, 1]]", 6)
                .find("its window leaves 5 of an axis, its result has 6"),
            std::string::npos);
  EXPECT_NE(refused("stride = [0, 2]", 4).find("its window does not fit"), std::string::npos);
  EXPECT_NE(refused("stride = [2]", 4).find("its window does not fit"), std::string::npos);
  EXPECT_NE(refused("pad = [[1, 1]]", 9).find("its padding does not fit"), std::string::npos);
}

// jax.jit inside of jax.named_scope: the inner function names its scopes from its own beginning.
TEST(StableHlo, CalledFunctionsStandInTheScopesOfTheirCalls) {
  const Graph graph = read_stablehlo(
      "module @jit_f {\n"
      "func.func public @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {\n"
      "%0 = call @block(%x) : (tensor<4x4xf32>) -> tensor<4x4xf32> loc(#a)\n"
      "%1 = call @block(%0) : (tensor<4x4xf32>) -> tensor<4x4xf32> loc(#b)\n"
      "return %1 : tensor<4x4xf32>\n}\n"
      "func.func private @block(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {\n"
      "%0 = stablehlo.dot_general %x, %x, contracting_dims = [1] x [0] : (tensor<4x4xf32>, "
      "tensor<4x4xf32>) -> tensor<4x4xf32> loc(#c)\n"
      "%1 = stablehlo.tanh %0 : tensor<4x4xf32> loc(#d)\n"
      "return %1 : tensor<4x4xf32>\n}\n}\n"
      "#a = loc(\"jit(f)/block_0/jit(block)\")\n#b = loc(\"jit(f)/block_1/jit(block)\")\n"
      "#c = loc(\"mlp/dot_general\")\n#d = loc(\"jit(f)/old/tanh\")\n",
      "m.mlir");
  std::vector<std::string> modules;
  for (const Op& op : graph.ops) modules.push_back(op.module);
  EXPECT_EQ(modules, (std::vector<std::string>{"block_0.mlp", "old", "block_1.mlp", "old"}));
}

TEST(StableHlo, WhatACheckpointRunsAgainStandsInItsScope) {
  const Graph graph = read_stablehlo(
      "module @jit_f {\n"
      "func.func public @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {\n"
      "%0 = stablehlo.tanh %x : tensor<4x4xf32> loc(#a)\n"
      "return %0 : tensor<4x4xf32>\n}\n}\n"
      "#a = loc(\"jit(f)/transpose(jvp(block_1))/jvp(block_1)/checkpoint/rematted_computation/mlp/"
      "tanh\")\n",
      "m.mlir");
  ASSERT_EQ(graph.ops.size(), 1u);
  EXPECT_EQ(graph.ops[0].module, "block_1.mlp");
}

TEST(StableHlo, KernelsTakeTheFeaturesThatAreThere) {
  const auto text = [](const std::string& groups) {
    return "module @m {\nfunc.func public @main(%x: tensor<1x8x8x16xf32>, %w: "
           "tensor<3x3x4x32xf32>) -> tensor<1x8x8x32xf32> {\n"
           "%0 = stablehlo.convolution(%x, %w) dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, "
           "f], window = {stride = [1, 1], pad = [[1, 1], [1, 1]]} {batch_group_count = 1 : i64, "
           "feature_group_count = " +
           groups +
           " : i64} : (tensor<1x8x8x16xf32>, tensor<3x3x4x32xf32>) -> tensor<1x8x8x32xf32>\n"
           "return %0 : tensor<1x8x8x32xf32>\n}\n}\n";
  };
  EXPECT_EQ(forward_flops(read_stablehlo(text("4"), "m.mlir")), 2.0 * 64 * 32 * 9 * 4);
  const std::string error = testing::error_of([&] { read_stablehlo(text("1"), "m.mlir"); });
  EXPECT_NE(error.find("the kernel takes 4 x 1 features, the operand has 16"), std::string::npos);
}

TEST(StableHlo, PartsAreJoinedAlongAnAxisThatIsThere) {
  for (const char* axis : {"-1", "2"}) {
    EXPECT_EQ(fault("%0 = stablehlo.concatenate %arg0, dim = " + std::string(axis) +
                    " : (tensor<4x3xf32>) -> tensor<4x3xf32>" + kReturn),
              "m.mlir:3: joins along axis " + std::string(axis) + " of 2");
  }
}

TEST(StableHlo, ProductsAndSumsFollowFromTheirOperands) {
  const std::string product =
      "%0 = stablehlo.dot_general %arg0, %arg0, contracting_dims = [1] x [1] : (tensor<4x3xf32>, "
      "tensor<4x3xf32>) -> ";
  EXPECT_EQ(fault(product + "tensor<4x4xf32>\nreturn %0 : tensor<4x4xf32>"), "no error");
  EXPECT_EQ(fault(product + "tensor<4x5xf32>\nreturn %0 : tensor<4x5xf32>"),
            "m.mlir:3: operator 'stablehlo.dot_general': what follows and what is stated differ, "
            "fp32 [4, 4] and fp32 [4, 5]");
  EXPECT_EQ(fault("%0 = stablehlo.dot_general %arg0, %arg0, contracting_dims = [0] x [1] : "
                  "(tensor<4x3xf32>, tensor<4x3xf32>) -> tensor<3x4xf32>\nreturn %0 : "
                  "tensor<3x4xf32>"),
            "m.mlir:3: operator 'stablehlo.dot_general': sizes 4 and 3 are contracted");
  EXPECT_EQ(fault("%c = stablehlo.constant dense<0.0> : tensor<f32>\n%0 = stablehlo.reduce(%arg0 "
                  "init: %c) applies stablehlo.add across dimensions = [1] : (tensor<4x3xf32>, "
                  "tensor<f32>) -> tensor<3xf32>\nreturn %0 : tensor<3xf32>"),
            "m.mlir:4: operator 'stablehlo.reduce': what follows and what is stated differ, fp32 "
            "[4] and fp32 [3]");
}

TEST(StableHlo, ANameIsDefinedOnce) {
  const std::string tanh = "%0 = stablehlo.tanh %arg0 : tensor<4x3xf32>\n";
  EXPECT_EQ(fault(tanh + tanh + kReturn), "m.mlir:4: defines '%0' twice");
  EXPECT_EQ(fault("%arg0 = stablehlo.tanh %arg0 : tensor<4x3xf32>\nreturn %arg0 : tensor<4x3xf32>"),
            "m.mlir:3: defines '%arg0' twice");
  const std::string g =
      "func.func private @g(%x: tensor<4x3xf32>) -> tensor<4x3xf32> {\nreturn %x : "
      "tensor<4x3xf32>\n}\n";
  EXPECT_EQ(fault(tanh + "return %0 : tensor<4x3xf32>", g + g),
            "m.mlir:9: defines the function 'g' twice");
}

TEST(StableHlo, UnknownElementTypesAreFaults) {
  EXPECT_EQ(fault("%0 = stablehlo.iota dim = 0 : tensor<4x3xf99>" + kReturn),
            "m.mlir:3: unknown element type 'f99' (is this what jax.jit(f).lower(...).as_text() "
            "printed, and all of it?)");
  EXPECT_EQ(
      fault("%q = stablehlo.uniform_quantize %arg0 : (tensor<4x3xf32>) -> "
            "tensor<4x3x!quant.uniform<i8:f32, 0.1>>\n"
            "%0 = stablehlo.uniform_dequantize %q : (tensor<4x3x!quant.uniform<i8:f32, 0.1>>) "
            "-> tensor<4x3xf32>" +
            kReturn),
      "no error");
}

TEST(StableHlo, CallsAndConstantsHoldWhatTheySay) {
  EXPECT_EQ(
      fault("%0 = call @g(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>" + kReturn,
            "func.func private @g(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {\nreturn %x : "
            "tensor<3x4xf32>\n}\n"),
      "m.mlir:3: operator 'call': an argument is taken as and is fp32 [3, 4] and fp32 [4, 3]");
  EXPECT_EQ(fault("%c = stablehlo.constant dense<[1, 2]> : tensor<3xi32>\nreturn %arg0 : "
                  "tensor<4x3xf32>"),
            "m.mlir:3: a constant lists 2 numbers for i32 [3]");
  EXPECT_EQ(fault("%0 = stablehlo.select %arg0, %arg0 : (tensor<4x3xf32>, tensor<4x3xf32>) -> "
                  "tensor<4x3xf32>" +
                  kReturn),
            "no error");  // no such operator: it stays opaque
  EXPECT_EQ(
      fault("%0 = stablehlo.add %arg0, %arg0 : (tensor<4x3xf32>) -> tensor<4x3xf32>" + kReturn),
      "m.mlir:3: operator 'stablehlo.add' states 1 types for 2 operands");
}

TEST(StableHlo, FunctionsThatMultiplyAreRefused) {
  std::string more;
  for (int i = 0; i < 40; ++i) {  // each calls the next one twice: 2^40 calls
    const std::string next = "@f" + std::to_string(i + 1);
    more += "func.func private @f" + std::to_string(i) +
            "(%arg0: tensor<4x3xf32>) -> tensor<4x3xf32> {\n%0 = call " + next +
            "(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\n%1 = call " + next +
            "(%0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\nreturn %1 : tensor<4x3xf32>\n}\n";
  }
  more +=
      "func.func private @f40(%arg0: tensor<4x3xf32>) -> tensor<4x3xf32> {\nreturn %arg0 : "
      "tensor<4x3xf32>\n}\n";
  const std::string error = fault(
      "%0 = call @f0(%arg0) : (tensor<4x3xf32>) -> tensor<4x3xf32>\nreturn %0 : tensor<4x3xf32>",
      more);
  EXPECT_NE(error.find("the functions unfold to too many operators"), std::string::npos) << error;
}

}  // namespace
}  // namespace parallel_opt
