#include "parallel_opt/graph/analysis.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "parallel_opt/graph/analysis_fields.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

/// Two layers: q, k, v projections of different sizes, a sum, a skip.
Graph layers() {
  GraphBuilder b;
  TensorId x = b.input("x", {2, 8});
  for (int i = 0; i < 2; ++i) {
    const std::string layer = "layers." + std::to_string(i);
    const auto project = [&](const std::string& name) {
      b.module(layer + "." + name);
      const TensorId w = b.parameter(layer + "." + name + ".weight", {8, 8});
      return b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {2, 8});
    };
    const TensorId q = project("q"), k = project("k"), v = project("v");
    b.module(layer);
    const TensorId s = b.op("aten.add.Tensor", {{"self", q}, {"other", k}}, {2, 8});
    const TensorId t = b.op("aten.view.default", {{"self", s}}, {2, 8});
    x = b.op("aten.add.Tensor", {{"self", t}, {"other", v}}, {2, 8});
  }
  b.module("");
  b.output(b.op("aten.sum.default", {{"self", x}}, {}));
  return b.build();
}

TEST(Analysis, PathsWidthAndBranchesOfTwoLayers) {
  const GraphAnalysis a = analyze(layers());
  // A projection: 2 * 2*8*8 = 256; an addition: 16; the sum at the end: 16.
  EXPECT_EQ(a.flops.value, 2 * (3 * 256 + 2 * 16) + 16);
  EXPECT_EQ(a.critical_flops.total, 2 * (256 + 16 + 16) + 16);
  EXPECT_DOUBLE_EQ(a.critical_flops.parallelism, 1616.0 / 592);
  EXPECT_EQ(a.critical_flops.operators,
            (std::vector<std::string>{"op0", "op3", "op5", "op6", "op9", "op11", "op12"}));
  // q, k, v | add | add, twice, and the sum. The view is no level.
  ASSERT_EQ(a.width.levels.size(), 7u);
  EXPECT_EQ(a.width.depth, 7);
  EXPECT_EQ(a.width.most, 3);
  EXPECT_DOUBLE_EQ(a.width.average, 11.0 / 7);
  EXPECT_EQ(a.width.levels[3].operators, 3);
  EXPECT_EQ(a.width.levels[3].flops.value, 768);
  // The first three read the input, the other three the first layer: alike, one line of two places.
  ASSERT_EQ(a.branches.size(), 1u);
  EXPECT_EQ(a.branches[0].repeats, 2);
  ASSERT_EQ(a.branches[0].branches.size(), 3u);
  EXPECT_EQ(a.branches[0].branches[0].modules, "layers.*.q");
  EXPECT_DOUBLE_EQ(a.branches[0].gain, 2 * 512 / 1616.0);
}

TEST(Analysis, CountersOfBatchesMakeNoWidth) {
  GraphBuilder b;
  TensorId x = b.input("x", {64, 64});
  for (int i = 0; i < 5; ++i) {
    const std::string name = std::to_string(i);
    const TensorId w = b.parameter("w" + name, {64, 64});
    const TensorId counter = b.buffer("batches" + name, {});
    b.op("aten.add_.Tensor", {{"self", counter}}, {});
    x = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {64, 64});
  }
  b.output(x);
  const GraphAnalysis a = analyze(b.build());
  EXPECT_EQ(a.width.depth, 5);
  EXPECT_EQ(a.width.most, 1);  // and not 6: five counters beside the first layer
}

TEST(Analysis, ClassesBlocksAndCuts) {
  const GraphAnalysis a = analyze(layers(), {true});
  ASSERT_GE(a.classes.size(), 3u);
  EXPECT_EQ(a.classes[0].op_class, OpClass::contraction);
  EXPECT_EQ(a.classes[0].operators, 6);
  // A projection reads 16 + 64 floats and writes 16: 384 bytes.
  EXPECT_EQ(a.classes[0].bytes, 6 * 384);
  EXPECT_DOUBLE_EQ(a.classes[0].intensity, 256.0 / 384);
  ASSERT_EQ(a.blocks.size(), 1u);
  EXPECT_EQ(a.blocks[0].name, "layers.*");
  EXPECT_DOUBLE_EQ(a.blocks[0].flops_share, 1600.0 / 1616);
  const auto between = std::ranges::find(a.cuts, "op5", &CutSummary::after);
  ASSERT_NE(between, a.cuts.end());
  EXPECT_EQ(between->bytes_per_sample, 32);  // 8 floats
  EXPECT_EQ(between->skip_bytes, 0);
  EXPECT_EQ(between->tensors, 1);
  ASSERT_EQ(a.operator_list.size(), 13u);
  EXPECT_EQ(a.operator_list[1].block, "layers.*");
  EXPECT_EQ(a.operator_list[12].block, "");
  EXPECT_EQ(a.operator_list[0].backward_flops.value, 256);  // the weight's gradient only
  EXPECT_EQ(a.operator_list[6].backward_flops.value, 512);
  EXPECT_EQ(a.operator_list[9].level, 4);
}

TEST(Analysis, ControlFlowCountsByExpectedRuns) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("w", {8, 8});
  b.enter(b.add_region("scan.body", RegionKind::loop, "scan", 10));
  const TensorId h = b.op(std::string(kJoin), {{"inputs", x}}, {4, 8});
  const TensorId l = b.op("aten.linear.default", {{"input", h}, {"weight", w}}, {4, 8});
  b.enter(RegionId());
  b.output(b.op(std::string(kJoin), {{"inputs", l}}, {4, 8}));
  const GraphAnalysis a = analyze(b.build(), {true});
  // Ten times 2*4*8*8 = 512, and 4 * (32 + 64 + 32) bytes each time.
  EXPECT_EQ(a.flops.value, 5120);
  EXPECT_EQ(a.critical_flops.total, 5120);
  EXPECT_EQ(a.bytes, 5120);
  EXPECT_EQ(a.operator_list[1].runs, 10);
  EXPECT_EQ(a.width.depth, 1);  // joins launch nothing
}

TEST(Analysis, JsonReadsBackEqual) {
  const GraphAnalysis a = analyze(layers(), {true});
  const std::string text = to_json(a);
  EXPECT_EQ(from_json<GraphAnalysis>(text, "analysis.json"), a);
  EXPECT_EQ(text.rfind("{\n  \"schema\": \"parallel-opt/graph-analysis/1\",", 0), 0u);
}

TEST(Analysis, OfAnEmptyGraphIsEmpty) {
  const GraphAnalysis a = analyze(Graph{});
  EXPECT_EQ(a.width.depth, 0);
  EXPECT_EQ(a.critical_flops, PathSummary{});
  EXPECT_TRUE(a.cuts.empty());
}

TEST(WithoutNumbers, StarsStandForWholePartsOnly) {
  EXPECT_EQ(without_numbers("blocks.3.attn.q2.10"), "blocks.*.attn.q2.*");
  EXPECT_EQ(without_numbers(""), "");
  EXPECT_EQ(without_numbers("7"), "*");
}

}  // namespace
}  // namespace parallel_opt
