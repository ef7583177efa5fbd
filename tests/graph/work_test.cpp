#include "parallel_opt/graph/work.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

struct Both {
  double forward;
  double backward;
};

Both flops(const Graph& g, std::size_t op = 0) {
  return {forward_work(g, g.ops[op]).contraction.value,
          backward_work(g, g.ops[op], needs_grad(g)).contraction.value};
}

TEST(Work, LinearBytesFlopsAndBackward) {
  GraphBuilder b;
  const TensorId x = b.input("x", {6, 8});
  const TensorId w = b.parameter("w", {16, 8});
  const TensorId c = b.parameter("c", {16});
  const TensorId h =
      b.op("aten.linear.default", {{"input", x}, {"weight", w}, {"bias", c}}, {6, 16});
  b.op("aten.linear.default", {{"input", h}, {"weight", b.parameter("v", {4, 16})}}, {6, 4});
  const Graph g = b.build();
  const OpWork work = forward_work(g, g.ops[0]);
  EXPECT_EQ(work.contraction.value, 2 * 6 * 8 * 16);
  EXPECT_EQ(work.other.value, 6 * 16);  // the bias
  EXPECT_EQ(work.read, Bytes(4 * (6 * 8 + 16 * 8 + 16)));
  EXPECT_EQ(work.written, Bytes(4 * 6 * 16));
  EXPECT_EQ(work.kernels, 1);
  EXPECT_EQ(flops(g, 0).backward, 2 * 6 * 8 * 16);        // the input needs no gradient
  EXPECT_EQ(flops(g, 1).backward, 2 * (2 * 6 * 16 * 4));  // input and weight do
}

TEST(Work, ProductsOfAllRanks) {
  struct Case {
    const char* target;
    Ints a, b, out;
    double flops;
  };
  const std::vector<Case> cases = {
      {"aten.mm.default", {3, 4}, {4, 5}, {3, 5}, 2 * 3 * 4 * 5},
      {"aten.bmm.default", {7, 3, 4}, {7, 4, 5}, {7, 3, 5}, 2 * 7 * 3 * 4 * 5},
      {"aten.matmul.default", {2, 7, 3, 4}, {2, 7, 4, 5}, {2, 7, 3, 5}, 2 * 14 * 3 * 4 * 5},
      {"aten.matmul.default", {7, 3, 4}, {4, 5}, {7, 3, 5}, 2 * 7 * 3 * 4 * 5},
      {"aten.matmul.default", {2, 1, 3, 4}, {7, 4, 5}, {2, 7, 3, 5}, 2 * 14 * 3 * 4 * 5},
      {"aten.matmul.default", {4}, {4, 5}, {5}, 2 * 4 * 5},
      {"aten.matmul.default", {4}, {4}, {}, 2 * 4},
  };
  for (const Case& c : cases) {
    GraphBuilder b;
    const TensorId x = b.parameter("x", c.a);
    const TensorId y = b.parameter("y", c.b);
    b.op(c.target, {{"self", x}, {std::string(c.target).find("mat") == 5 ? "other" : "mat2", y}},
         c.out);
    const Graph g = b.build();
    EXPECT_EQ(flops(g).forward, c.flops) << c.target << c.a.size();
    EXPECT_EQ(flops(g).backward, 2 * c.flops) << c.target << c.a.size();
  }
}

TEST(Work, EinsumContractsFromLeftToRight) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {2, 3});
  const TensorId y = b.parameter("y", {3, 4});
  const TensorId z = b.parameter("z", {4, 5});
  b.op("aten.einsum.default", {{"tensors", x}, {"tensors", y}, {"tensors", z}}, {2, 5},
       {{"equation", std::string("ab,bc,cd->ad")}});
  const Graph g = b.build();
  EXPECT_EQ(flops(g).forward, 2 * (2 * 3 * 4) + 2 * (2 * 4 * 5));
}

TEST(Work, ADeadEndHasNoBackward) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 3});
  const TensorId used = b.parameter("used", {4, 3});
  const TensorId unused = b.parameter("unused", {5, 3});
  b.output(b.op("aten.linear.default", {{"input", x}, {"weight", used}}, {2, 4}));
  b.op("aten.linear.default", {{"input", x}, {"weight", unused}}, {2, 5});
  const Graph g = b.build();
  EXPECT_EQ(flops(g, 0).backward, 2.0 * 2 * 3 * 4);
  EXPECT_EQ(flops(g, 1).forward, 2.0 * 2 * 3 * 5);
  EXPECT_EQ(flops(g, 1).backward, 0);  // autograd starts at the result
}

TEST(Work, NoGradientComesThroughIndicesNorThroughWhatIsDetached) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 3});
  const TensorId w = b.parameter("w", {4, 3}), codes = b.parameter("codes", {4, 5});
  const TensorId y = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {2, 4});
  const TensorId nearest = b.op("aten.argmin.default", {{"self", y}}, {2}, {}, DType::i64);
  const TensorId code =
      b.op("aten.embedding.default", {{"weight", codes}, {"indices", nearest}}, {2, 5});
  const TensorId still = b.op("aten.detach.default", {{"self", y}}, {2, 4});
  b.output(b.op("aten.cat.default", {{"tensors", code}, {"tensors", still}}, {2, 9}));
  const Graph g = b.build();
  const std::vector<bool> needs = needs_grad(g);
  EXPECT_TRUE(needs[codes.index()]);
  EXPECT_FALSE(needs[y.index()]);
  EXPECT_FALSE(needs[w.index()]);
  EXPECT_EQ(flops(g, 0).backward, 0);
}

TEST(Work, AGradientInTheForwardReadsWhatAutogradHadSaved) {
  // A gradient of tanh: the trace shows its saved result as detached, but it is not.
  for (const bool inside : {false, true}) {
    GraphBuilder b;
    const TensorId w = b.parameter("w", {3});
    const TensorId y = b.op("aten.tanh.default", {{"self", w}}, {3});
    const TensorId saved = b.op("aten.detach.default", {{"self", y}}, {3}, {{kInGradient, inside}});
    b.output(b.op("aten.mul.Tensor", {{"self", saved}, {"other", saved}}, {3}));
    const std::vector<bool> needs = needs_grad(b.build());
    EXPECT_EQ(needs[saved.index()], inside);
    EXPECT_EQ(requires_grad(b.build())[saved.index()], inside);
  }
}

TEST(Work, AWriteInPlaceWithoutGradientsLeavesTheTensorItsOwn) {
  GraphBuilder b;
  const TensorId w = b.parameter("w", {3});
  const TensorId y = b.op("aten.exp.default", {{"self", w}}, {3});
  const TensorId z = b.op("aten.clamp_.default", {{"self", y}}, {3}, {{kNoGrad, true}});
  b.output(b.op("aten.log.default", {{"self", z}}, {3}));
  const std::vector<bool> needs = needs_grad(b.build());
  EXPECT_TRUE(needs[w.index()]);
}

TEST(Work, AWriteThroughAViewGivesTheWholeTensorAGradient) {
  GraphBuilder b;
  const TensorId weight = b.parameter("weight", {3});
  const TensorId all = b.op("aten.zeros.default", {}, {2, 3});
  const TensorId row = b.op("aten.select.int", {{"self", all}}, {3});
  b.op("aten.copy_.default", {{"self", row}, {"src", weight}}, {3});
  b.output(b.op("aten.exp.default", {{"self", all}}, {2, 3}));
  const std::vector<bool> needs = needs_grad(b.build());
  EXPECT_TRUE(needs[all.index()]);
  EXPECT_TRUE(needs[weight.index()]);
}

TEST(Work, ConvolutionsOfEveryKind) {
  struct Case {
    const char* target;
    Ints x, w, out;
    std::int64_t groups;
    double flops;
  };
  const std::vector<Case> cases = {
      {"aten.conv2d.default",
       {2, 3, 8, 8},
       {16, 3, 3, 3},
       {2, 16, 8, 8},
       1,
       2.0 * 2 * 8 * 8 * 16 * 3 * 9},
      {"aten.conv2d.default",
       {2, 8, 8, 8},
       {8, 1, 3, 3},
       {2, 8, 4, 4},
       8,  // depthwise, stride 2
       2.0 * 2 * 4 * 4 * 8 * 9},
      {"aten.conv1d.default", {2, 3, 10}, {5, 3, 4}, {2, 5, 7}, 1, 2.0 * 2 * 7 * 5 * 3 * 4},
      {"aten.conv_transpose2d.input",
       {2, 6, 4, 4},
       {6, 3, 2, 2},
       {2, 3, 8, 8},
       1,
       2.0 * 2 * 4 * 4 * 6 * 3 * 4},  // visits input positions
      {"aten.conv2d.default",
       {3, 8, 8},
       {16, 3, 3, 3},
       {16, 8, 8},
       1,  // unbatched
       2.0 * 8 * 8 * 16 * 3 * 9},
  };
  for (const Case& c : cases) {
    GraphBuilder b;
    const TensorId x = b.parameter("x", c.x);
    const TensorId w = b.parameter("w", c.w);
    b.op(c.target, {{"input", x}, {"weight", w}}, c.out, {{"groups", c.groups}});
    const Graph g = b.build();
    EXPECT_EQ(flops(g).forward, c.flops) << c.target;
    EXPECT_EQ(flops(g).backward, 2 * c.flops) << c.target;  // also grouped: torch's counter errs
  }
}

TEST(Work, AttentionCountsTwoProductsForwardAndFourBackward) {
  GraphBuilder b;
  const TensorId q = b.parameter("q", {2, 4, 5, 8});
  const TensorId k = b.parameter("k", {2, 4, 7, 8});
  const TensorId v = b.parameter("v", {2, 4, 7, 8});
  b.op("aten.scaled_dot_product_attention.default", {{"query", q}, {"key", k}, {"value", v}},
       {2, 4, 5, 8}, {{"is_causal", true}});
  const Graph g = b.build();
  const double scores = 2 * 4 * 5 * 7;
  EXPECT_EQ(flops(g).forward, 2 * scores * (8 + 8));
  EXPECT_EQ(flops(g).backward, 4 * scores * (8 + 8));
  EXPECT_EQ(backward_work(g, g.ops[0], needs_grad(g)).recomputed.value, 2 * scores * 8);
}

TEST(Work, AttentionNeedsNoAxisOfHeads) {
  const auto counted = [](const Ints& q, const Ints& k, const Ints& v, const Ints& out) {
    GraphBuilder b;
    const TensorId query = b.parameter("q", q), key = b.parameter("k", k);
    b.op("aten.scaled_dot_product_attention.default",
         {{"query", query}, {"key", key}, {"value", b.parameter("v", v)}}, out);
    return flops(b.build());
  };
  const auto bare = counted({5, 4}, {7, 4}, {7, 6}, {5, 6});
  const auto one = counted({1, 5, 4}, {1, 7, 4}, {1, 7, 6}, {1, 5, 6});
  EXPECT_EQ(bare.forward, 2 * 5 * 7 * (4 + 6));
  EXPECT_EQ(bare.forward, one.forward);
  EXPECT_EQ(bare.backward, one.backward);
}

TEST(Work, FlexAttentionCountsTheBlocksThatItsMaskLeaves) {
  for (const char* where : {"block_density", "arg6.block_density"}) {
    GraphBuilder b;
    const TensorId q = b.parameter("q", {2, 4, 256, 8});
    const TensorId k = b.parameter("k", {2, 4, 256, 8});
    const TensorId v = b.parameter("v", {2, 4, 256, 8});
    b.op("higher_order.flex_attention", {{"arg0", q}, {"arg1", k}, {"arg2", v}}, {2, 4, 256, 8},
         {{where, 0.75}});  // three of four blocks: causal
    b.result({2, 4, 256});
    b.result({2, 4, 256});
    const Graph g = b.build();
    const double scores = 0.75 * 2 * 4 * 256 * 256;
    EXPECT_EQ(flops(g).forward, 2 * scores * (8 + 8)) << where;
    EXPECT_EQ(flops(g).backward, 4 * scores * (8 + 8)) << where;
  }
}

TEST(Work, FlexAttentionBackwardIsFourProducts) {
  GraphBuilder b;
  const TensorId q = b.input("q", {2, 4, 128, 8});
  const TensorId k = b.input("k", {2, 4, 128, 8});
  const TensorId v = b.input("v", {2, 4, 128, 8});
  b.op("higher_order.flex_attention_backward", {{"arg0", q}, {"arg1", k}, {"arg2", v}},
       {2, 4, 128, 8}, {{"block_density", 0.5}});
  const Graph g = b.build();
  EXPECT_EQ(forward_work(g, g.ops[0]).contraction.value, 0.5 * 4 * 2 * 4 * 128 * 128 * (8 + 8));
}

Graph recurrent(const char* target, std::int64_t gates, bool input_grad) {
  GraphBuilder b;  // 5 steps, 3 samples, 4 columns, 6 hidden
  const TensorId x = input_grad ? b.parameter("x", {5, 3, 4}) : b.input("x", {5, 3, 4});
  const TensorId h = b.input("h", {1, 3, 6});
  b.op(target,
       {{"input", x},
        {"hx", h},
        {"params", b.parameter("wi", {gates * 6, 4})},
        {"params", b.parameter("wh", {gates * 6, 6})}},
       {5, 3, 6}, {{"num_layers", std::int64_t{1}}, {"train", true}});
  return b.build();
}

TEST(Work, RecurrentLayersInClosedForm) {
  for (const auto& [target, gates] :
       {std::pair{"aten.lstm.input", 4}, {"aten.gru.input", 3}, {"aten.rnn_tanh.input", 1}}) {
    const double in = 2.0 * 15 * gates * 6 * 4;  // 15 tokens
    const double hidden = 2.0 * 15 * gates * 6 * 6;
    EXPECT_EQ(flops(recurrent(target, gates, false)).forward, in + hidden);
    // Weights as forward; states but the first of 5 steps; the input needs nothing.
    EXPECT_DOUBLE_EQ(flops(recurrent(target, gates, false)).backward, in + hidden + hidden * 4 / 5);
    EXPECT_DOUBLE_EQ(flops(recurrent(target, gates, true)).backward,
                     2 * in + hidden + hidden * 4 / 5);
  }
}

TEST(Work, ViewsAndCopiesThatAreNotMadeAreFree) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {4, 6});
  b.op("aten.view.default", {{"self", x}}, {24});
  b.op("aten.contiguous.default", {{"self", x}}, {4, 6});
  const TensorId t = b.op("aten.t.default", {{"self", x}}, {6, 4});
  b.strides(t, {1, 6});
  b.op("aten.reshape.default", {{"self", t}}, {24});
  const Graph g = b.build();
  for (const std::size_t i : {0u, 1u, 2u}) {
    const OpWork work = forward_work(g, g.ops[i]);
    EXPECT_EQ(work.kernels, 0);
    EXPECT_EQ(work.written, Bytes(0));
  }
  const OpWork copy = forward_work(g, g.ops[3]);  // a reshape that has to copy
  EXPECT_EQ(copy.op_class, OpClass::copy);
  EXPECT_EQ(copy.written, Bytes(24 * 4));
  EXPECT_EQ(copy.kernels, 1);
}

TEST(Work, EmbeddingReadsOnlyItsRows) {
  GraphBuilder b;
  const TensorId w = b.parameter("w", {1000, 8});
  const TensorId i = b.input("i", {5}, DType::i64);
  b.op("aten.embedding.default", {{"weight", w}, {"indices", i}}, {5, 8});
  const Graph g = b.build();
  EXPECT_EQ(forward_work(g, g.ops[0]).read, Bytes(5 * 8 + 5 * 8 * 4));  // indices + rows
}

TEST(Work, AnUnknownOperatorIsBoundedNotDropped) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {4, 6});
  b.op("mylib.f.default", {{"x", x}}, {4, 6});
  const Graph g = b.build();
  const OpWork work = forward_work(g, g.ops[0]);
  EXPECT_EQ(work.op_class, OpClass::opaque);
  EXPECT_EQ(work.other.value, 24);
  EXPECT_EQ(work.kernels, 1);
  EXPECT_EQ(work.read, Bytes(96));
}

TEST(Work, GradientsFlowThroughFloatsAndStopAtDetach) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4});
  const TensorId w = b.parameter("w", {4});
  const TensorId y = b.op("aten.mul.Tensor", {{"self", x}, {"other", w}}, {4});
  const TensorId d = b.op("aten.detach.default", {{"self", y}}, {4});
  const TensorId m = b.op("aten.gt.Scalar", {{"self", y}}, {4}, {}, DType::boolean);
  const TensorId z = b.op("aten.zeros_like.default", {{"self", y}}, {4});
  const std::vector<bool> needs = needs_grad(b.build());
  EXPECT_FALSE(needs[x.index()]);
  EXPECT_TRUE(needs[y.index()]);
  EXPECT_FALSE(needs[d.index()]);
  EXPECT_FALSE(needs[m.index()]);
  EXPECT_FALSE(needs[z.index()]);
}

TEST(Work, SumsAddFieldByField) {
  OpWork a;
  a.contraction = Flops(1);
  a.read = Bytes(2);
  a.kernels = 3;
  OpWork b = a;
  b += a;
  EXPECT_EQ(b.contraction, Flops(2));
  EXPECT_EQ(b.read, Bytes(4));
  EXPECT_EQ(b.kernels, 6);
}

}  // namespace
}  // namespace parallel_opt
