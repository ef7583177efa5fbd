#include "parallel_opt/importers/mlir_text.h"

#include <gtest/gtest.h>

#include "tests/importers/archive.h"

namespace parallel_opt::mlir {
namespace {

using Numbers = std::vector<std::int64_t>;

/// The operators of a module with one function.
std::vector<Op> ops(const std::string& body) {
  static std::string text;
  text = "module @m {\n  func.func public @main(%arg0: tensor<2x3xf32>) -> tensor<2x3xf32> {\n" +
         body + "\n  }\n}\n";
  return parse_module(text, "m.mlir").functions.at(0).body.ops;
}

TEST(MlirText, PrettyFormHasOperandsAttributesAndTypes) {
  const Op op =
      ops("%0 = stablehlo.dot_general %arg0, %1#2, contracting_dims = [1] x [0], precision "
          "= [DEFAULT, DEFAULT] : (tensor<2x3xf32>, tensor<3x?xbf16>) -> tensor<2x4xf32>")
          .at(0);
  EXPECT_EQ(op.name, "stablehlo.dot_general");
  EXPECT_EQ(op.operands, (std::vector<std::string_view>{"%arg0", "%1#2"}));
  EXPECT_EQ(op.find("contracting_dims"), "[1] x [0]");
  ASSERT_EQ(op.operand_types.size(), 2u);
  EXPECT_EQ(op.operand_types[1].dims, (Numbers{3, -1}));
  EXPECT_EQ(op.operand_types[1].dtype, DType::bf16);
  EXPECT_EQ(op.result_types.at(0).dims, (Numbers{2, 4}));
}

TEST(MlirText, GenericFormHasPropertiesAndRegions) {
  const Op op =
      ops(R"(%0 = "stablehlo.scatter"(%arg0, %a, %b) <{unique_indices = false, scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1]>}> ({
    ^bb0(%arg3: tensor<f32>, %arg4: tensor<f32>):
      %27 = stablehlo.add %arg3, %arg4 : tensor<f32>
      stablehlo.return %27 : tensor<f32>
    }) : (tensor<2x3xf32>, tensor<3x1xi32>, tensor<3x8xf32>) -> tensor<2x3xf32> loc(#loc4))")
          .at(0);
  EXPECT_EQ(op.operands.size(), 3u);
  ASSERT_EQ(op.regions.size(), 1u);
  EXPECT_EQ(op.regions[0].arguments.at(1).name, "%arg4");
  EXPECT_EQ(op.regions[0].ops.size(), 2u);
  EXPECT_EQ(op.location, "#loc4");
  EXPECT_EQ(integers(entry(op.find("scatter_dimension_numbers"), "update_window_dims")),
            Numbers{1});
}

TEST(MlirText, LoopsBindTheirValues) {
  const Op op =
      ops(R"(%6:2 = stablehlo.while(%iterArg = %arg0, %iterArg_9 = %c) : tensor<2x3xf32>, tensor<i32>
    cond {
      stablehlo.return %true : tensor<i1>
    } do {
      stablehlo.return %iterArg, %28 : tensor<2x3xf32>, tensor<i32>
    }
    %7 = stablehlo.tanh %6#0 : tensor<2x3xf32>)")
          .at(0);
  EXPECT_EQ(op.result_count(), 2u);
  ASSERT_EQ(op.bindings.size(), 2u);
  EXPECT_EQ(op.bindings[1].name, "%iterArg_9");
  EXPECT_EQ(op.operands, (std::vector<std::string_view>{"%arg0", "%c"}));
  EXPECT_EQ(op.regions.size(), 2u);
  EXPECT_EQ(op.result_types.size(), 2u);
}

TEST(MlirText, ReducersAreRegions) {
  const std::vector<Op> both = ops(
      R"(%1:2 = stablehlo.reduce(%arg0 init: %cst), (%0 init: %c) across dimensions = [1] : (tensor<8x8xf32>, tensor<8x8xi32>, tensor<f32>, tensor<i32>) -> (tensor<8xf32>, tensor<8xi32>)
     reducer(%arg1: tensor<f32>, %arg3: tensor<f32>) (%arg2: tensor<i32>, %arg4: tensor<i32>)  {
      stablehlo.return %9, %10 : tensor<f32>, tensor<i32>
    }
    %2 = stablehlo.reduce(%arg0 init: %cst) applies stablehlo.add across dimensions = [0, 1] : (tensor<2x3xf32>, tensor<f32>) -> tensor<f32>)");
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].operands, (std::vector<std::string_view>{"%arg0", "%cst", "%0", "%c"}));
  EXPECT_EQ(both[0].regions.at(0).arguments.size(), 4u);
  EXPECT_EQ(both[1].word("stablehlo."), "stablehlo.add");
  EXPECT_EQ(integers(both[1].find("dimensions")), (Numbers{0, 1}));
}

TEST(MlirText, NumbersAreNoWords) {
  EXPECT_EQ(integers("array<i64: 1, -64>"), (Numbers{1, -64}));
  EXPECT_EQ(dense_integers("dense<[1, 2]>", 2), (Numbers{1, 2}));
  EXPECT_EQ(dense_integers("dense<7>", 3), (Numbers{7, 7, 7}));
  EXPECT_EQ(dense_integers("dense<true>", 1), Numbers{1});
  EXPECT_EQ(dense_integers("dense<1.5>", 1), std::nullopt);
  EXPECT_EQ(entry("a = [1, 2], bc = 3", "bc"), "3");
  EXPECT_EQ(entry("a_b = 1", "b"), "");
}

std::string fault(const std::string& text) {
  return testing::error_of([&] { parse_module(text, "m.mlir"); });
}

TEST(MlirText, DamageIsNamedByLine) {
  const std::string way = " (is this what jax.jit(f).lower(...).as_text() printed, and all of it?)";
  EXPECT_EQ(fault(""), "m.mlir:1: no function in the text" + way);
  EXPECT_EQ(fault("module @m {\n  func.func @main() {\n    return\n"),
            "m.mlir:1: '{' is not closed" + way);
  EXPECT_EQ(fault("module @m {\n func.func @f() {\n\n %0 stablehlo.add\n }\n}"),
            "m.mlir:4: a result has no '='" + way);
  EXPECT_EQ(fault("module @m {\n func.func @f() {\n %0 = stablehlo.add %1 : "
                  "tensor<99999999999999999999xf32>\n }\n}"),
            "m.mlir:3: a size has too many digits" + way);
}

TEST(MlirText, DeepRegionsAreRefused) {
  std::string text = "module @m {\nfunc.func @f() {\n";
  for (int i = 0; i < 100; ++i) text += "\"a.b\"() ({\n";
  for (int i = 0; i < 100; ++i) text += "}) : () -> ()\n";
  EXPECT_NE(fault(text + "}\n}\n").find("regions are nested more than 64 deep"), std::string::npos);
}

}  // namespace
}  // namespace parallel_opt::mlir
