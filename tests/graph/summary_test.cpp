#include "parallel_opt/graph/summary.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;

Graph branches() {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("w", {16, 8});
  const TensorId h = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 16});
  const TensorId v = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 16});
  const TensorId o = b.op("mylib.f.default", {{"x", h}}, {4, 16});
  b.output(b.op("aten.add.Tensor", {{"self", o}, {"other", v}}, {4, 16}));
  return b.build();
}

TEST(Summary, CountsOperatorsFlopsAndOpaqueShares) {
  const GraphSummary s = summarize(branches());
  EXPECT_EQ(s.operators, 4);
  EXPECT_EQ(s.tensors, 6);
  EXPECT_EQ(s.parameters, 128);
  EXPECT_EQ(s.flops.forward.value, 2 * (2 * 4 * 8 * 16));
  EXPECT_EQ(s.flops.backward.value, 2 * (2 * 4 * 8 * 16));  // the weight's, twice used
  EXPECT_EQ(s.flops_all.forward.value, 2048 + 64 + 64);     // f and add: 64 elements each
  ASSERT_EQ(s.opaque.size(), 1u);
  EXPECT_EQ(s.opaque[0].operator_name, "mylib.f.default");
  EXPECT_EQ(s.opaque[0].count, 1);
  EXPECT_GT(s.opaque[0].flops_share, 0);
  // One branch of the two: linear, f, add.
  EXPECT_EQ(s.critical_path_flops.value, 1024 + 64 + 64);
  EXPECT_EQ(s.inputs[0], (InputSummary{"x", {4, 8}, DType::fp32}));
}

TEST(Summary, ARecordedBackwardIsCountedInsteadOfADerivedOne) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("w", {16, 8});
  const TensorId y = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 16});
  b.output(y);
  const TensorId t = b.op("aten.t.default", {{"self", y}}, {16, 4});
  b.raw().ops.back().phase = Phase::backward;
  b.op("aten.mm.default", {{"self", t}, {"mat2", x}}, {16, 8});  // stands for the gradient of w
  b.raw().ops.back().phase = Phase::backward;
  b.op("aten.mm.default", {{"self", t}, {"mat2", x}}, {16, 8});  // and this for an update
  b.raw().ops.back().phase = Phase::optimizer;
  const GraphSummary s = summarize(b.build());
  EXPECT_EQ(s.flops.forward.value, 2 * 4 * 8 * 16);
  EXPECT_EQ(s.flops.backward.value, 2 * 16 * 4 * 8);
  EXPECT_EQ(s.critical_path_flops.value, 2 * 4 * 8 * 16);  // of the forward
}

TEST(Summary, ObservedSavedBytesReplaceTheRules) {
  Graph graph = branches();
  const Bytes derived = summarize(graph).saved_bytes;
  graph.observed_saved_bytes = Bytes(12345);
  EXPECT_NE(derived, Bytes(12345));
  EXPECT_EQ(summarize(graph).saved_bytes, Bytes(12345));
}

TEST(Summary, ACustomFunctionCountsWhatItWasSeenToDo) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("w", {8, 8});
  const TensorId h = b.op("aten.mm.default", {{"self", x}, {"mat2", w}}, {4, 8});
  std::map<std::string, Attribute> seen = {
      {"bound_flops", 1000.0},
      {"saved_bytes", std::int64_t{64}},
      {"saved_inputs", std::vector<std::int64_t>{0}},
      {"saved_outputs", std::vector<std::int64_t>{}},
  };
  b.output(b.op("autograd.Mine", {{"arg0", h}}, {4, 8}, seen));
  const GraphSummary s = summarize(b.build());
  EXPECT_EQ(s.flops.forward.value, 2 * 4 * 8 * 8 + 1000);
  // the gradient of w; and two products for each that the function was seen to make
  EXPECT_EQ(s.flops.backward.value, 2 * 4 * 8 * 8 + 2 * 1000);
  EXPECT_EQ(s.saved_bytes, Bytes(4 * 8 * 4 + 64));  // h, and its own
}

TEST(Summary, JsonReadsBackEqual) {
  const GraphSummary s = summarize(branches());
  const std::string text = to_json(s);
  EXPECT_EQ(from_json<GraphSummary>(text, "summary.json"), s);
  EXPECT_EQ(text.rfind("{\n  \"schema\": \"parallel-opt/graph-summary/1\",", 0), 0u) << text;
}

}  // namespace
}  // namespace parallel_opt
