#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/pt2.h"
#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using namespace testing;

/// A body v -> linear(v, w) [2, 3] x [4, 3], `repeats` times over.
std::string linear_body(const std::string& name, int repeats) {
  Model body;
  body.value("v", meta({"2", "3"}));
  body.value("w", meta({"4", "3"}));
  std::string last;
  for (int i = 0; i < repeats; ++i) {
    last = "linear_" + std::to_string(i);
    body.value(last, meta({"2", "4"}));
    body.node("torch.ops.aten.linear.default", {tensor("input", "v"), tensor("weight", "w")}, last);
  }
  return R"({"name": ")" + name +
         R"(", "graph": {"inputs": [{"as_tensor": {"name": "v"}}, {"as_tensor": {"name": "w"}}], )" +
         R"("outputs": [{"as_tensor": {"name": ")" + last + R"("}}], "nodes": [)" +
         join_lines(body.nodes) + R"(], "tensor_values": {)" + join_lines(body.values) +
         R"(}, "sym_int_values": {}, "sym_bool_values": {}}})";
}

Model outer() {
  Model model;
  model.parameter("p_w", "fc.weight", {"4", "3"});
  model.input("x", meta({"2", "3"}));
  model.value("p", meta({}, 12));
  model.inputs.push_back(R"({"user_input": {"arg": {"as_tensor": {"name": "p"}}}})");
  model.value("y", meta({"2", "4"}));
  model.output("y");
  return model;
}

const std::string kOperands = R"([{"name": "x"}, {"name": "p_w"}])";

/// "loop.body x6: aten.select.int -> ..." per operator: region and target.
std::vector<std::string> placed(const Graph& graph) {
  std::vector<std::string> lines;
  for (const Op& op : graph.ops) {
    const std::string region = op.region.valid() ? graph.region(op.region).name : "main";
    lines.push_back(region + ": " + op.target);
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Pt2HigherOrder, BothWaysOfACondAreRegions) {
  Model model = outer();
  model.node("torch.ops.higher_order.cond",
             {tensor("", "p"), argument("", "as_graph", linear_body("true_graph_0", 1)),
              argument("", "as_graph", linear_body("false_graph_0", 3)),
              argument("", "as_tensors", kOperands)},
             "y");
  const Graph graph = read_model(model);
  EXPECT_EQ(placed(graph), (Lines{"y.true: aten.linear.default", "y.false: aten.linear.default",
                                  "y.false: aten.linear.default", "y.false: aten.linear.default",
                                  "main: parallel_opt.join"}));
  EXPECT_EQ(
      graph.regions,
      (std::vector<Region>{
          {"y.true", RegionKind::branch, "y", 0.5, "", false, RegionId(), graph.inputs[1]},
          {"y.false", RegionKind::branch, "y", 0.5, "", false, RegionId(), graph.inputs[1]}}));
  const Op& join = graph.ops.back();
  EXPECT_EQ(join.inputs, (std::vector<Operand>{{"inputs", graph.ops[0].outputs[0]},
                                               {"inputs", graph.ops[3].outputs[0]},
                                               {"predicate", graph.inputs[1]}}));
  EXPECT_EQ(graph.outputs, join.outputs);
  EXPECT_EQ(graph.notes,
            Lines{"operator \"higher_order.cond\" takes one of 2 ways by data: both are taken to "
                  "be equally likely"});
}

TEST(Pt2HigherOrder, AWhileLoopRunsItsConditionAndItsBody) {
  Model model = outer();
  model.node("torch.ops.higher_order.while_loop",
             {argument("", "as_graph", linear_body("cond_fn", 1)),
              argument("", "as_graph", linear_body("body_fn", 2)),
              argument("", "as_tensors", R"([{"name": "x"}])"),
              argument("", "as_tensors", R"([{"name": "p_w"}])")},
             "y");
  const Graph graph = read_model(model);
  EXPECT_EQ(placed(graph), (Lines{"y.body: parallel_opt.join", "y.body: aten.linear.default",
                                  "y.body: aten.linear.default", "y.body: aten.linear.default",
                                  "main: parallel_opt.join"}));
  EXPECT_EQ(graph.regions,
            (std::vector<Region>{{"y.body", RegionKind::loop, "y", 1, "", false, RegionId(),
                                  graph.ops[1].outputs[0]}}));  // what the condition leaves
  EXPECT_EQ(graph.ops[0].attributes.at("carried"), Attribute(std::string("y.body.linear_1")));
  EXPECT_EQ(graph.notes, Lines{"operator \"higher_order.while_loop\" runs its body any number of "
                               "times: one run is counted"});
}

TEST(Pt2HigherOrder, AMapRunsOncePerRow) {
  Model model = outer();
  model.input("xs", meta({"6", "2", "3"}));
  model.value("ys", meta({"6", "2", "4"}));
  model.node("torch.ops.higher_order.map_impl",
             {argument("", "as_graph", linear_body("body", 1)),
              argument("", "as_tensors", R"([{"name": "xs"}])"),
              argument("", "as_tensors", R"([{"name": "p_w"}])")},
             "ys");
  model.outputs.clear();
  model.output("ys");
  const Graph graph = read_model(model);
  EXPECT_EQ(placed(graph), (Lines{"ys.body: aten.select.int", "ys.body: aten.linear.default",
                                  "main: parallel_opt.join"}));
  EXPECT_EQ(graph.regions, (std::vector<Region>{{"ys.body", RegionKind::loop, "ys", 6, "", true,
                                                 RegionId(), TensorId()}}));
  EXPECT_TRUE(graph.notes.empty());
}

TEST(Pt2HigherOrder, AScanCarriesAndCombinationsAreOneFewer) {
  Model model = outer();
  model.input("ws", meta({"6", "4", "3"}));
  model.node("torch.ops.higher_order.scan",
             {argument("", "as_graph", linear_body("body", 1)),
              argument("", "as_tensors", R"([{"name": "x"}])"),
              argument("", "as_tensors", R"([{"name": "ws"}])"), argument("", "as_tensors", "[]")},
             "y");
  Graph graph = read_model(model);
  EXPECT_EQ(placed(graph), (Lines{"y.body: parallel_opt.join", "y.body: aten.select.int",
                                  "y.body: aten.linear.default", "main: parallel_opt.join"}));
  EXPECT_EQ(graph.regions[0].runs, 6);

  model = outer();
  model.input("xs", meta({"6", "2", "3"}));
  model.node("torch.ops.higher_order.associative_scan",
             {argument("", "as_graph", linear_body("body", 1)),
              argument("", "as_tensors", R"([{"name": "xs"}])"), argument("", "as_tensors", "[]")},
             "y");
  graph = read_model(model);
  EXPECT_EQ(placed(graph), (Lines{"y.body: aten.select.int", "y.body: aten.select.int",
                                  "y.body: aten.linear.default", "main: parallel_opt.join"}));
  EXPECT_EQ(graph.regions[0].runs, 5);  // 6 elements, 5 combinations
}

TEST(Pt2HigherOrder, BodiesThatDoNotFitStayOneOpaqueOperator) {
  Model model = outer();
  model.node("torch.ops.higher_order.cond",
             {tensor("", "p"), argument("", "as_graph", linear_body("true_graph_0", 1)),
              argument("", "as_graph", linear_body("false_graph_0", 3)),
              argument("", "as_tensors", R"([{"name": "x"}])")},
             "y");
  const Graph graph = read_model(model);
  EXPECT_EQ(placed(graph), Lines{"main: higher_order.cond"});
  EXPECT_TRUE(graph.regions.empty());
  // 3 linears of 2 * 2 * 4 * 3 FLOPs
  EXPECT_EQ(forward_work(graph, graph.ops[0]).contraction, Flops(144));
  EXPECT_EQ(graph.notes, Lines{"operator \"higher_order.cond\" takes one of 2 ways by data: the "
                               "dearer one is counted"});
}

TEST(Pt2HigherOrder, BodiesThatRunOnceAreReadInPlace) {
  Model model = outer();
  model.node("torch.ops.higher_order.wrap_with_autocast",
             {argument("", "as_string", R"("cpu")"),
              argument("", "as_graph", linear_body("part", 2)), tensor("", "x"), tensor("", "p_w")},
             "y");
  const Graph graph = read_model(model);
  ASSERT_EQ(graph.ops.size(), 2u);
  EXPECT_EQ(graph.ops[1].target, "aten.linear.default");
  EXPECT_EQ(graph.ops[1].inputs,
            (std::vector<Operand>{{"input", TensorId(1)}, {"weight", TensorId(0)}}));
  EXPECT_EQ(graph.tensor(graph.outputs[0]).name, "y.0.linear_1");
  EXPECT_TRUE(graph.notes.empty());
}

TEST(Pt2HigherOrder, PartsWithoutGradientsHaveNoBackward) {
  Model model = outer();
  model.node("torch.ops.higher_order.wrap_with_set_grad_enabled",
             {argument("", "as_bool", "false"), argument("", "as_graph", linear_body("part", 1)),
              tensor("", "x"), tensor("", "p_w")},
             "y");
  const Graph graph = read_model(model);
  EXPECT_TRUE(graph.notes.empty());
  ASSERT_EQ(graph.ops.size(), 1u);
  EXPECT_EQ(attribute(graph.ops[0], kNoGrad, 0), 1);
  const std::vector<bool> needs = needs_grad(graph);
  EXPECT_FALSE(needs[graph.ops[0].outputs[0].index()]);
  EXPECT_EQ(backward_work(graph, graph.ops[0], needs).contraction, Flops(0));
}

TEST(Pt2HigherOrder, PartsWithGradientsInsidePartsWithoutHaveThem) {
  Model model = outer();
  model.node("torch.ops.higher_order.wrap_with_set_grad_enabled",
             {argument("", "as_bool", "true"), argument("", "as_graph", linear_body("part", 1)),
              tensor("", "x"), tensor("", "p_w")},
             "y");
  EXPECT_EQ(attribute(read_model(model).ops[0], kNoGrad, 1), 0);
}

TEST(Pt2HigherOrder, BodyThatDoesNotFitItsOperandsStaysOpaque) {
  Model model = outer();
  model.node("torch.ops.higher_order.wrap_with_autocast",
             {argument("", "as_graph", linear_body("part", 1)), tensor("", "x")}, "y");
  const Graph graph = read_model(model);
  ASSERT_EQ(graph.ops.size(), 1u);
  EXPECT_EQ(graph.ops[0].target, "higher_order.wrap_with_autocast");
}

TEST(Pt2HigherOrder, FaultInsideABodyNamesItsPlace) {
  Model model = outer();
  std::string body = linear_body("part", 1);
  body.replace(body.find(R"({"name": "v"})"), 13, R"({"name": "q"})");
  model.node("torch.ops.higher_order.wrap_with_autocast",
             {argument("", "as_graph", body), tensor("", "x"), tensor("", "p_w")}, "y");
  EXPECT_EQ(
      error_of([&] { read_model(model); }),
      "model.pt2:graph.nodes[0].inputs[0].arg.as_graph.graph.nodes[0].inputs[0]: tensor \"v\" "
      "is made by no earlier node (is the file complete?)");
}

}  // namespace
}  // namespace parallel_opt
