#include "parallel_opt/graph/operator_file.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

/// y[b, n] = act(x[b, k] w[n, k]), 3 operations per element beside the product.
CustomOperator fused_linear() {
  CustomOperator custom;
  custom.target = "mylib.fused";
  custom.op_class = OpClass::contraction;
  custom.space = "x=b* k, w=n k -> b* n";
  custom.saves = "x<w w<x out";
  custom.flops = "2*b*n*k";
  custom.other_flops = "3*b*n";
  return custom;
}

Graph calls_it() {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 3, 8});
  const TensorId w = b.parameter("w", {16, 8});
  b.output(b.op("mylib.fused.default", {{"x", x}, {"w", w}}, {2, 3, 16}));
  return b.build();
}

TEST(OperatorFile, ACustomRowIsCountedByItsFormulas) {
  EXPECT_EQ(forward_work(calls_it(), calls_it().ops[0]).op_class, OpClass::opaque);
  const Graph g = with_operators(calls_it(), {fused_linear()});
  EXPECT_TRUE(check(g).empty());
  const Op& op = g.ops[0];
  const IterationSpace space = iteration_space(g, op);
  EXPECT_EQ(space.operands, (std::vector<std::vector<int>>{{0, 1, 2}, {3, 2}}));
  EXPECT_EQ(space.dims[2].role, DimRole::reduced);
  const OpWork work = forward_work(g, op);
  EXPECT_EQ(work.op_class, OpClass::contraction);
  EXPECT_EQ(work.contraction, Flops(2.0 * (2 * 3) * 16 * 8));  // b is both leading dimensions
  EXPECT_EQ(work.other, Flops(3.0 * (2 * 3) * 16));
  const std::vector<bool> needs = needs_grad(g);
  EXPECT_EQ(backward_work(g, op, needs).contraction, work.contraction);  // the weight's only
  // x for the weight's gradient, and the result; the input is not counted.
  EXPECT_EQ(saved_bytes(g), Bytes(2 * 3 * 16 * 4));
  EXPECT_TRUE(summarize(g).opaque.empty());
}

TEST(OperatorFile, ARowThatContradictsItsOperatorIsRefused) {
  // x is [2, 3, 8], w [16, 8], the result [2, 3, 16].
  const auto error = [](const std::string& space) -> std::string {
    CustomOperator custom = fused_linear();
    custom.space = space;
    custom.saves = custom.flops = custom.other_flops = "";
    try {
      (void)with_operators(calls_it(), {custom});
      return "none";
    } catch (const InputError& e) {
      const std::string text = e.what();
      return text.substr(0, text.find(" (mend its row"));
    }
  };
  const std::string begin = "operator \"mylib.fused\": its space ";
  EXPECT_EQ(error("x=b* k, w=n k -> b* n"), "none");
  EXPECT_EQ(error("x=b* k, w=n m -> b* n"), "none");  // one size may have two names
  EXPECT_EQ(error("x=b* k, w=k n -> b* n").substr(0, begin.size() + 60),
            begin + "\"x=b* k, w=k n -> b* n\" calls 8 (x) and 16 (w) \"k\"");
  EXPECT_EQ(error("x=b* k -> b* n"),
            begin + "\"x=b* k -> b* n\" names 1 operands, the operator has 2 tensors");
  EXPECT_EQ(error("x=a b c k, w=n k -> b* n"),
            begin + "\"x=a b c k, w=n k -> b* n\" gives x 4 dimensions, it has 3");
  EXPECT_EQ(error("x=b* k, w=n k, z=k -> b* n"),
            begin + "\"x=b* k, w=n k, z=k -> b* n\" names \"z\", which the operator does not take");
}

TEST(OperatorFile, AFormulaMustCountAtTheSizesThatAreThere) {
  CustomOperator custom = fused_linear();
  custom.flops = "n*k // Abs(k - 8)";  // sizes of 1 and 4096 are no trouble
  std::string error = "none";
  try {
    (void)with_operators(calls_it(), {custom});
  } catch (const InputError& e) {
    error = e.what();
  }
  EXPECT_EQ(error,
            "operator \"mylib.fused\": its formula \"n*k // Abs(k - 8)\" is no count of operations "
            "at b1 = 2, b0 = 3, k = 8, n = 16 (does it divide by 0 or become negative there? mend "
            "its row)");
}

TEST(OperatorFile, AFormulaCountsForTheBackwardOfAnyClass) {
  CustomOperator custom = fused_linear();
  custom.op_class = OpClass::attention;
  custom.flops = "7*b*n*k";
  Graph g = with_operators(calls_it(), {custom});
  g.tensors[0].requires_grad = true;  // both operands
  EXPECT_EQ(backward_work(g, g.ops[0], needs_grad(g)).contraction, Flops(2 * 7.0 * 6 * 16 * 8));
}

TEST(OperatorFile, AFormulaForTheBackwardReplacesTheRule) {
  CustomOperator custom = fused_linear();
  custom.backward_flops = "5*n*k";
  const Graph g = with_operators(calls_it(), {custom});
  EXPECT_EQ(backward_work(g, g.ops[0], needs_grad(g)).contraction, Flops(5.0 * 16 * 8));
}

TEST(OperatorFile, AnElementwiseRowCostsPerElement) {
  CustomOperator custom = fused_linear();
  custom.op_class = OpClass::elementwise;
  custom.flops = custom.other_flops = "";
  custom.cost = 7;
  const Graph g = with_operators(calls_it(), {custom});
  EXPECT_EQ(forward_work(g, g.ops[0]).contraction, Flops(0));
  EXPECT_EQ(forward_work(g, g.ops[0]).other, Flops(7.0 * 2 * 3 * 16));
}

TEST(OperatorFile, ALaterRowReplacesAnEarlierAndTheTablesOwn) {
  CustomOperator custom = fused_linear();
  custom.kernels = 4;
  Graph g = with_operators(with_operators(calls_it(), {fused_linear()}), {custom});
  ASSERT_EQ(g.operators.size(), 1u);
  EXPECT_EQ(forward_work(g, g.ops[0]).kernels, 4);
  custom.target = "aten.linear";
  g.ops[0].target = "aten.linear.default";
  EXPECT_EQ(find_row(with_operators(g, {custom}), g.ops[0])->kernels, 4);
  EXPECT_EQ(find_row(g, g.ops[0])->kernels, 1);
}

TEST(OperatorFile, TheGraphsJsonCarriesItsRows) {
  const Graph g = with_operators(calls_it(), {fused_linear()});
  EXPECT_EQ(graph_from_json(to_json(g), "graph.json"), g);
}

TEST(OperatorFile, ReadsBackEqual) {
  const OperatorFile file{{fused_linear()}};
  EXPECT_EQ(operators_from_json(to_json(file), "ops.json"), file);
}

std::string file_faults(const std::string& text) {
  try {
    operators_from_json(text, "ops.json");
  } catch (const InputError& error) {
    std::string all;
    for (const Fault& fault : error.faults()) all += to_string(fault) + "\n";
    return all;
  }
  return "accepted";
}

TEST(OperatorFile, EveryFaultNamesFileAndPath) {
  EXPECT_EQ(
      file_faults(R"({"schema": "parallel-opt/operators/1", "operators": [
        {"target": "mylib::f", "class": "opaque", "space": "x=b* k* -> b*", "mixed": "kk",
         "saves": "x +rows", "flops": "2*b*m", "other_flops": "2*(", "cost": -1, "kernels": -1},
        {"target": "mylib.g", "class": "elementwise", "space": "reduce", "flops": "b"},
        {"target": "mylib.g", "class": "elementwise", "space": "@reduce"}]})"),
      "ops.json:operators[0].target: 'mylib::f' is no namespace and name (write mylib.my_op)\n"
      "ops.json:operators[0].class: opaque is what an operator without a row is (name the family "
      "it belongs to)\n"
      "ops.json:operators[0].space: two stars in one tensor of 'x=b* k* -> b*' (a star stands for "
      "any number of dimensions: one is enough)\n"
      "ops.json:operators[0].mixed: 'kk' is no dimension of the space (did you mean 'k'?)\n"
      "ops.json:operators[0].saves: '+rows' is a rule of the table's own rows (name arguments, "
      "out, out1, or a<b)\n"
      "ops.json:operators[0].flops: 'm' is no dimension of the space (there are: b k)\n"
      "ops.json:operators[0].other_flops: unexpected end at column 4 of size expression '2*(' "
      "(whole numbers, symbols, + - * // % ** and Max, Min, FloorDiv, Mod, ...)\n"
      "ops.json:operators[0].cost: is negative (0 or more)\n"
      "ops.json:operators[0].kernels: is negative (0 or more)\n"
      "ops.json:operators[1].space: 'reduce' names no dimensions and no rule (write x=b* k, w=n k "
      "-> b* n)\n"
      "ops.json:operators[1].flops: a formula needs a space that names its dimensions (write x=b* "
      "k -> b*)\n"
      "ops.json:operators[2].target: a second row for 'mylib.g' (one row per operator)\n");
}

TEST(OperatorFile, WhatIsSavedAndCountedMustExist) {
  const auto row = [](const std::string& rest) {
    return R"({"schema": "parallel-opt/operators/1", "operators": [{"target": "mylib.f",
      "class": "contraction", "space": "x=b* k, w=n k -> b* n", )" +
           rest + "}]}";
  };
  EXPECT_EQ(file_faults(row(R"("saves": "x<nope out1")")),
            "ops.json:operators[0].saves: 'nope' is no argument of the space and no result (there "
            "are: w x out)\n"
            "ops.json:operators[0].saves: 'out1' is no argument of the space and no result (there "
            "are: w x out)\n");
  EXPECT_EQ(file_faults(row(R"("flops": "0 - b", "other_flops": "b**n**k**n")")),
            "ops.json:operators[0].flops: '0 - b' is no count when every size is 1 (operations are "
            "0 or more, and finite)\n"
            "ops.json:operators[0].other_flops: 'b**n**k**n' is no count when every size is 4096 "
            "(operations are 0 or more, and finite)\n");
  EXPECT_EQ(file_faults(row(R"("saves": "x<w w<x out out0", "flops": "2*b*n*k")")), "accepted");
}

TEST(OperatorFile, AGraphWithABrokenRowIsRefused) {
  CustomOperator custom = fused_linear();
  custom.mixed = "z";
  const std::vector<Fault> faults = check(with_operators(calls_it(), {custom}));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].where, "test:operators[0].mixed");
}

}  // namespace
}  // namespace parallel_opt
