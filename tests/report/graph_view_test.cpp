#include "parallel_opt/report/graph_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "parallel_opt/report/graph_picture.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

/// `layers` of x + relu(linear(x)), a head, names of modules or none.
Graph tower(int layers, bool named = true) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  for (int i = 0; i < layers; ++i) {
    const std::string name = "blocks." + std::to_string(i);
    const TensorId w = b.parameter(name + ".fc.weight", {8, 8});
    if (named) b.module(name + ".fc");
    const TensorId h = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 8});
    if (named) b.module(name);
    const TensorId r = b.op("aten.relu.default", {{"self", h}}, {4, 8});
    x = b.op("aten.add.Tensor", {{"self", x}, {"other", r}}, {4, 8});
  }
  if (named) b.module("head");
  b.output(b.op("aten.sum.default", {{"self", x}}, {}));
  return b.build();
}

std::vector<std::string> names(const GraphView& view, int parent) {
  std::vector<std::string> result;
  for (const GraphBox& box : view.boxes) {
    if (box.parent == parent) result.push_back(box.name);
  }
  return result;
}

const GraphBox& named(const GraphView& view, const std::string& name) {
  const auto at = std::ranges::find(view.boxes, name, &GraphBox::name);
  EXPECT_NE(at, view.boxes.end()) << name;
  return *at;
}

std::vector<std::string> lines(const GraphView& view) {
  std::vector<std::string> result;
  const auto name = [&](int i) {
    const GraphBox& box = view.boxes[static_cast<std::size_t>(i)];
    return box.name.empty() ? std::string(name_of(box.kind)) : box.name;
  };
  for (const GraphLine& line : view.lines) result.push_back(name(line.from) + ">" + name(line.to));
  std::ranges::sort(result);
  return result;
}

TEST(GraphView, EqualLayersAreDrawnOnceWithTheirNumber) {
  const GraphView view = graph_view(tower(96));
  EXPECT_EQ(names(view, 0), (std::vector<std::string>{"x", "blocks.*", "head", "t288"}));
  const GraphBox& block = named(view, "blocks.*");
  EXPECT_EQ(block.repeats, 96);
  EXPECT_EQ(block.kind, BoxKind::group);
  EXPECT_EQ(block.operators, 3);
  EXPECT_TRUE(block.open);
  // Linear 512, relu and add 32 each, 96 times.
  EXPECT_EQ(block.flops, 96 * 576);
  EXPECT_EQ(named(view, "fc").flops, 96 * 512);
  EXPECT_EQ(named(view, "fc").detail, "linear");
  EXPECT_EQ(view.flops, 96 * 576 + 32);
  EXPECT_EQ(lines(view),
            (std::vector<std::string>{"add>exit", "blocks.*>head", "entry>add", "entry>fc",
                                      "fc>relu", "head>t288", "relu>add", "x>blocks.*"}));
  EXPECT_TRUE(check(view, "v").empty());
}

TEST(GraphView, WithoutNamesRunsAreDrawnOnce) {
  const GraphView view = graph_view(tower(10, false));
  const GraphBox& block = named(view, "ops 0..2");
  EXPECT_EQ(block.repeats, 10);
  EXPECT_EQ(block.operators, 3);
}

/// stem; one of two ways by the sign of its sum; a loop of five runs.
Graph controlled(const std::string& module) {
  GraphBuilder b;
  const TensorId x = b.input("x", {8, 16});
  const TensorId w = b.parameter("w", {16, 16});
  const auto linear = [&](TensorId from, const std::string& of) {
    b.module(of);
    return b.op("aten.linear.default", {{"input", from}, {"weight", w}}, {8, 16});
  };
  const TensorId h = linear(x, "stem");
  b.module("");
  const TensorId s = b.op("aten.sum.default", {{"self", h}}, {});
  const RegionId yes = b.add_region("if.true", RegionKind::branch, "if", 0.25);
  const RegionId no = b.add_region("if.false", RegionKind::branch, "if", 0.75);
  b.raw().regions[0].predicate = b.raw().regions[1].predicate = s;
  b.enter(yes);
  const TensorId one = linear(h, module + "small");
  b.enter(no);
  const TensorId two = linear(linear(h, module + "large.0"), module + "large.1");
  b.enter(RegionId());
  b.module("");
  const TensorId j = b.op(std::string(kJoin), {{"inputs", one}, {"inputs", two}}, {8, 16});
  b.enter(b.add_region("loop.body", RegionKind::loop, "loop", 5));
  const TensorId entry = b.op(std::string(kJoin), {{"inputs", j}}, {8, 16});
  const TensorId left = linear(entry, "cell");
  b.enter(RegionId());
  b.module("");
  b.output(b.op(std::string(kJoin), {{"inputs", left}}, {8, 16}));
  return b.build();
}

constexpr double kLinearFlops = 2.0 * 8 * 16 * 16;

TEST(GraphView, WaysOfABranchAndBodiesOfLoopsAreBoxesWithTheirRuns) {
  const GraphView view = graph_view(controlled(""));
  const GraphBox& yes = named(view, "if.true, 25 % of runs");
  const GraphBox& no = named(view, "if.false, 75 % of runs");
  EXPECT_EQ(yes.detail, "branch, assumed");
  EXPECT_EQ(yes.parent, 0);
  EXPECT_EQ(no.flops, 0.75 * 2 * kLinearFlops);
  const GraphBox& body = named(view, "loop.body, 5 runs");
  EXPECT_EQ(body.flops, 5 * kLinearFlops);
  // What chooses leads into both.
  const auto index = [&](const GraphBox& box) { return int(&box - view.boxes.data()); };
  const auto joined = [&](const GraphBox& to) {
    return std::ranges::any_of(view.lines, [&](const GraphLine& line) {
      return line.to == index(to) && view.boxes[static_cast<std::size_t>(line.from)].name == "sum";
    });
  };
  EXPECT_TRUE(joined(yes));
  EXPECT_TRUE(joined(no));
  EXPECT_TRUE(check(view, "view").empty());
}

TEST(GraphView, ControlFlowStandsInsideTheModuleThatAllOfItRuns) {
  const GraphView view = graph_view(controlled("router."));
  const GraphBox& yes = named(view, "if.true, 25 % of runs");
  EXPECT_EQ(view.boxes[static_cast<std::size_t>(yes.parent)].name, "router");
}

TEST(GraphView, LayersThatTakeTurnsAreOneGroup) {
  GraphBuilder b;
  TensorId x = b.input("x", {4, 8});
  for (int i = 0; i < 12; ++i) {
    const std::string name = "layers." + std::to_string(i);
    for (const char* part : {".a", ".b"}) {
      b.module(name + part);
      x = b.op(i % 2 == 0 ? "aten.neg.default" : "aten.exp.default", {{"self", x}}, {4, 8});
    }
  }
  b.output(x);
  const GraphView view = graph_view(b.build());
  const GraphBox& group = named(view, "layers.*");
  EXPECT_EQ(group.repeats, 6);
  EXPECT_EQ(group.operators, 4);
}

TEST(GraphView, FewBoxesAreOpenWhenFewMayBeSeen) {
  const GraphView view = graph_view(tower(4), 3);
  EXPECT_FALSE(named(view, "blocks.*").open);
}

TEST(GraphView, LongFlatModelsAreDrawnInPieces) {
  GraphBuilder b;
  TensorId x = b.input("x", {2});
  for (int i = 0; i < 200; ++i) {
    x = b.op("test.f" + std::to_string(i) + ".default", {{"x", x}}, {2});
  }
  b.output(x);
  const GraphView view = graph_view(b.build());
  EXPECT_LE(names(view, 0).size(), 2 + 15u);
  EXPECT_EQ(named(view, "f0 ... f14").detail, "15 parts");
}

TEST(GraphView, JsonReadsBackEqual) {
  const GraphView view = graph_view(tower(3));
  EXPECT_EQ(from_json<GraphView>(to_json(view), "v"), view);
}

TEST(GraphView, ViewsFromFilesAreChecked) {
  GraphView view = graph_view(tower(3));
  view.boxes[2].parent = 7;
  view.lines[0].to = 99;
  view.lines[1].from = view.lines[1].to;
  view.boxes[1].repeats = 0;
  std::vector<std::string> found;
  for (const Fault& fault : check(view, "v")) found.push_back(fault.where + ": " + fault.what);
  EXPECT_EQ(found[0], "v.boxes[1]: repeats less than once");
  EXPECT_EQ(found[1], "v.boxes[2]: its parent is no earlier box");
  EXPECT_NE(std::ranges::find(found, "v.lines[0]: joins no two boxes"), found.end());
  EXPECT_NE(std::ranges::find(found, "v.lines[1]: does not lead downward"), found.end());
  EXPECT_EQ(check(GraphView{}, "v").size(), 1u);
}

/// Rectangles of closed boxes: x, y, width, height.
std::vector<std::array<double, 4>> rectangles(const std::string& svg) {
  std::vector<std::array<double, 4>> result;
  const std::regex pattern(
      "<rect class=\"(?:box h.|end)\" x=\"([-0-9.]+)\" y=\"([-0-9.]+)\" width=\"([-0-9.]+)\" "
      "height=\"([-0-9.]+)\" rx=\"\\d+\"><title>");
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it) {
    result.push_back(
        {std::stod((*it)[1]), std::stod((*it)[2]), std::stod((*it)[3]), std::stod((*it)[4])});
  }
  return result;
}

TEST(GraphPicture, BoxesDoNotOverlap) {
  const auto all = rectangles(graph_svg(graph_view(tower(12)), HeatBy::flops));
  ASSERT_EQ(all.size(), 6u);  // x, fc, relu, add, head, the result
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const bool apart = all[i][0] + all[i][2] <= all[j][0] || all[j][0] + all[j][2] <= all[i][0] ||
                         all[i][1] + all[i][3] <= all[j][1] || all[j][1] + all[j][3] <= all[i][1];
      EXPECT_TRUE(apart) << i << " and " << j;
    }
  }
}

TEST(GraphPicture, AFileOfItsOwnSaysWhatItIs) {
  const std::string svg = graph_svg(graph_view(tower(12)), HeatBy::memory);
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_NE(svg.find("blocks.* \xc3\x97 12"), std::string::npos);
  EXPECT_NE(svg.find("prefers-color-scheme: dark"), std::string::npos);
  EXPECT_NE(svg.find("share of the memory"), std::string::npos);
}

TEST(GraphPicture, TimesAreShownWhereADeviceIsGiven) {
  Device device;  // nothing measured: rates are assumed
  device.name = "a <fast> one";
  const GraphView view = graph_view(tower(12), device);
  EXPECT_EQ(view.timed_on, device.name);
  double inside = 0;
  for (const GraphBox& box : view.boxes) inside += box.parent == 0 ? box.seconds : 0;
  EXPECT_GT(view.seconds, 0);
  EXPECT_NEAR(inside, view.seconds, 1e-12);
  EXPECT_NEAR(named(view, "blocks.*").seconds, view.seconds, 0.05 * view.seconds);  // 36 of 37

  const std::string svg = graph_svg(view, HeatBy::time);
  EXPECT_NE(svg.find("share of the predicted time of forward and backward"), std::string::npos);
  EXPECT_NE(svg.find("on a &lt;fast&gt; one"), std::string::npos);
  EXPECT_NE(graph_html(view).find("value=\"time\""), std::string::npos);
  const std::string by_time = graph_html(view, HeatBy::time);
  EXPECT_NE(by_time.find("<body class=\"by-time\">"), std::string::npos);
  EXPECT_NE(by_time.find("value=\"time\" checked"), std::string::npos);
  EXPECT_EQ(by_time.find("value=\"flops\" checked"), std::string::npos);
  EXPECT_NE(graph_figure(view).find("predicted time"), std::string::npos);

  const GraphView plain = graph_view(tower(12));
  EXPECT_EQ(graph_html(plain).find("value=\"time\""), std::string::npos);
  EXPECT_EQ(graph_figure(plain).find("predicted time"), std::string::npos);
}

TEST(GraphPicture, HostileNamesStayText) {
  GraphBuilder b;
  const TensorId x = b.input("<script>alert(1)</script>", {2});
  b.module("a\"><b>");
  b.output(b.op("aten.neg.default", {{"self", x}}, {2}));
  const GraphView view = graph_view(b.build());
  for (const std::string& text : {graph_svg(view, HeatBy::flops), graph_html(view)}) {
    EXPECT_EQ(text.find("<script>alert"), std::string::npos);
    EXPECT_EQ(text.find("a\"><b>"), std::string::npos);
  }
}

TEST(GraphPicture, HeatHasSixSteps) {
  EXPECT_EQ(heat_of(0), 0);
  EXPECT_EQ(heat_of(0.001), 1);
  EXPECT_EQ(heat_of(0.0299), 2);
  EXPECT_EQ(heat_of(0.05), 3);
  EXPECT_EQ(heat_of(0.29), 4);
  EXPECT_EQ(heat_of(1), 5);
}

TEST(GraphPicture, AnEmptyModelStillDraws) {
  const GraphView view = graph_view(Graph{});
  EXPECT_NE(graph_svg(view, HeatBy::flops).find("</svg>"), std::string::npos);
  EXPECT_NE(graph_html(view).find("</html>"), std::string::npos);
}

}  // namespace
}  // namespace parallel_opt
