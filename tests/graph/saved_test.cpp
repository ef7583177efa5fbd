#include <gtest/gtest.h>

#include "parallel_opt/graph/recurrent.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

// Every number here was seen by torch 2.13's saved_tensors_hooks on a CPU.

TEST(Saved, ReluKeepsItsResultAndGeluItsOperand) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {10});
  const TensorId y = b.op("aten.add.Tensor", {{"self", x}, {"other", x}}, {10});
  const TensorId r = b.op("aten.relu.default", {{"self", y}}, {10});
  b.op("aten.gelu.default", {{"self", r}}, {10});
  const Graph g = b.build();
  const std::vector<bool> needs = needs_grad(g);
  EXPECT_TRUE(saved_for_backward(g, g.ops[0], needs).tensors.empty());
  EXPECT_EQ(saved_for_backward(g, g.ops[1], needs).tensors, std::vector<TensorId>{r});
  EXPECT_EQ(saved_for_backward(g, g.ops[2], needs).tensors, std::vector<TensorId>{r});
  EXPECT_EQ(saved_bytes(g), Bytes(40));  // one storage, twice kept
}

TEST(Saved, AProductKeepsAnOperandOnlyForTheOther) {
  GraphBuilder b;
  const TensorId x = b.input("x", {10});
  const TensorId w = b.parameter("w", {10});
  b.op("aten.mul.Tensor", {{"self", x}, {"other", w}}, {10});
  const Graph g = b.build();
  EXPECT_EQ(saved_for_backward(g, g.ops[0], needs_grad(g)).tensors, std::vector<TensorId>{x});
}

TEST(Saved, NothingWithoutGradient) {
  GraphBuilder b;
  const TensorId x = b.input("x", {10});
  b.op("aten.relu.default", {{"self", x}}, {10});
  EXPECT_EQ(saved_bytes(b.build()), Bytes(0));
}

Bytes extra_of(const std::string& target, const Ints& x, const Ints& out,
               std::map<std::string, Attribute> attributes) {
  GraphBuilder b;
  const TensorId p = b.parameter("x", x);
  b.op(target, {{"input", p}}, out, std::move(attributes));
  const Graph g = b.build();
  return saved_for_backward(g, g.ops[0], needs_grad(g)).extra;
}

TEST(Saved, NormsKeepTheirStatistics) {
  EXPECT_EQ(
      extra_of("aten.layer_norm.default", {2, 3, 8}, {2, 3, 8}, {{"normalized_shape", Ints{8}}}),
      Bytes(2 * 6 * 4));  // mean and deviation of 6 rows
  EXPECT_EQ(extra_of("aten.batch_norm.default", {2, 4, 3}, {2, 4, 3}, {{"training", true}}),
            Bytes(2 * 4 * 4));
  EXPECT_EQ(extra_of("aten.batch_norm.default", {2, 4, 3}, {2, 4, 3}, {{"training", false}}),
            Bytes(0));
  EXPECT_EQ(
      extra_of("aten.group_norm.default", {2, 4, 3}, {2, 4, 3}, {{"num_groups", std::int64_t{2}}}),
      Bytes(2 * 2 * 2 * 4));
}

TEST(Saved, ARootMeanSquareKeepsWhatItsGradientsNeed) {
  const auto kept = [](bool input, bool weight) {
    GraphBuilder b;
    const TensorId x = input ? b.parameter("x", {3, 8}) : b.input("x", {3, 8});
    const TensorId w = weight ? b.parameter("w", {8}) : b.buffer("w", {8});
    b.op("aten.rms_norm.default", {{"input", x}, {"weight", w}}, {3, 8},
         {{"normalized_shape", Ints{8}}});
    const Graph g = b.build();
    return saved_for_backward(g, g.ops[0], needs_grad(g));
  };
  EXPECT_EQ(kept(true, true).extra, Bytes(3 * 4 + 24 * 4));  // a root per row, what is scaled
  EXPECT_EQ(kept(true, true).tensors.size(), 2u);
  EXPECT_EQ(kept(true, false).extra, Bytes(3 * 4));  // a frozen weight has no gradient
  EXPECT_EQ(kept(false, true).extra, Bytes(24 * 4));
  EXPECT_TRUE(kept(false, true).tensors.empty());
}

TEST(Saved, GroupsOfAViewWithGapsAreCopied) {
  const auto kept = [](const Ints& shape, const Ints& strides) {
    GraphBuilder b;
    const TensorId x = b.parameter("x", shape);
    b.strides(x, strides);
    b.op("aten.group_norm.default", {{"input", x}}, shape, {{"num_groups", std::int64_t{2}}});
    const Graph g = b.build();
    return saved_for_backward(g, g.ops[0], needs_grad(g));
  };
  const Saved gaps = kept({2, 4, 3}, {24, 6, 2});
  EXPECT_EQ(gaps.extra, Bytes(24 * 4 + 2 * 2 * 2 * 4));
  EXPECT_TRUE(gaps.tensors.empty());
  const Saved channels_last = kept({2, 4, 3, 5}, {60, 1, 20, 4});  // taken as it is
  EXPECT_EQ(channels_last.extra, Bytes(2 * 2 * 2 * 4));
  EXPECT_EQ(channels_last.tensors.size(), 1u);
}

TEST(Saved, CrossEntropyKeepsSharesLabelsAndTheSumOfItsWeights) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {3, 5});
  const TensorId target = b.input("target", {3}, DType::i64);
  b.op("aten.cross_entropy_loss.default", {{"self", x}, {"target", target}}, {});
  const Graph g = b.build();
  const Saved saved = saved_for_backward(g, g.ops[0], needs_grad(g));
  EXPECT_EQ(saved.extra, Bytes(15 * 4 + 4));
  EXPECT_EQ(saved.tensors, std::vector<TensorId>{target});
}

TEST(Saved, MasksIndicesAndMeans) {
  EXPECT_EQ(extra_of("aten.dropout.default", {2, 4}, {2, 4}, {{"p", 0.1}, {"train", true}}),
            Bytes(8 * 4));  // floats on a CPU
  EXPECT_EQ(extra_of("aten.dropout.default", {2, 4}, {2, 4}, {{"p", 0.1}, {"train", false}}),
            Bytes(0));
  EXPECT_EQ(extra_of("aten.max_pool2d.default", {2, 4, 6, 6}, {2, 4, 3, 3}, {}),
            Bytes(2 * 4 * 9 * 8));
  EXPECT_EQ(extra_of("aten.feature_dropout.default", {2, 4, 6, 6}, {2, 4, 6, 6},
                     {{"p", 0.1}, {"train", true}}),
            Bytes(2 * 4 * 4));
}

TEST(Saved, AConvolutionKeepsBothOperandsWhicheverNeedsAGradient) {
  for (const bool frozen : {false, true}) {
    GraphBuilder b;
    const TensorId made = b.op("aten.relu.default", {{"self", b.input("x", {2, 3, 8})}}, {2, 3, 8});
    const TensorId w = b.parameter("w", {4, 3, 3});
    b.raw().tensors[w.index()].requires_grad = !frozen;
    b.raw().tensors[0].requires_grad = frozen;
    b.op("aten.conv1d.default", {{"input", made}, {"weight", w}}, {2, 4, 6});
    const Graph g = b.build();
    EXPECT_EQ(saved_for_backward(g, g.ops[1], needs_grad(g)).tensors.size(), 2u) << frozen;
  }
}

TEST(Saved, TransformsOfRealNumbersKeepThem) {
  const auto kept = [](const char* target, const Ints& x, const Ints& out,
                       std::map<std::string, Attribute> attributes) {
    GraphBuilder b;
    const TensorId p = b.parameter("x", x);
    b.op(target, {{"self", p}}, out, std::move(attributes), DType::complex64);
    const Graph g = b.build();
    return saved_for_backward(g, g.ops[0], needs_grad(g));
  };
  EXPECT_EQ(kept("aten.fft_rfft.default", {2, 8}, {2, 5}, {}).tensors.size(), 1u);
  const Saved padded = kept("aten.fft_rfft.default", {2, 8}, {2, 9}, {{"n", std::int64_t{16}}});
  EXPECT_TRUE(padded.tensors.empty());
  EXPECT_EQ(padded.extra, Bytes(2 * 16 * 4));
  // 11 frames of 16 samples, each times the window
  EXPECT_EQ(kept("aten.stft.default", {2, 40}, {2, 9, 11}, {{"n_fft", std::int64_t{16}}}).extra,
            Bytes(2 * 11 * 16 * 4));
}

/// q, k, v of [2, 3, 5, 4]: 480 bytes each, scores 600.
Saved attention(double dropout, bool transposed, bool mask) {
  GraphBuilder b;
  std::vector<std::pair<std::string, TensorId>> inputs;
  for (const char* name : {"query", "key", "value"}) {
    inputs.emplace_back(name, b.parameter(name, {2, 3, 5, 4}));
    if (transposed) b.strides(inputs.back().second, {60, 4, 12, 1});
  }
  if (mask) inputs.emplace_back("attn_mask", b.input("mask", {5, 5}, DType::boolean));
  b.op("aten.scaled_dot_product_attention.default", inputs, {2, 3, 5, 4}, {{"dropout_p", dropout}});
  const Graph g = b.build();
  return saved_for_backward(g, g.ops[0], needs_grad(g));
}

TEST(Saved, FusedAttentionKeepsOperandsResultAndSums) {
  EXPECT_EQ(attention(0, false, false).extra, Bytes(2 * 3 * 5 * 4));
  EXPECT_EQ(attention(0, true, false).extra, Bytes(120));
  EXPECT_EQ(attention(0, false, true).extra, Bytes(120 + 25 * 4));  // the mask as floats
  EXPECT_EQ(attention(0, false, false).tensors.size(), 4u);
}

TEST(Saved, AttentionWithDropoutIsNotFused) {
  // Scaled query and key, softmax, mask of floats, dropped scores; a transposed value is copied.
  EXPECT_EQ(attention(0.1, false, false).extra, Bytes(2 * 480 + 3 * 600));
  EXPECT_EQ(attention(0.1, true, false).extra, Bytes(3 * 480 + 3 * 600));
}

TEST(Saved, AttentionOfFewerHeadsIsFusedOnlyWhenAskedTo) {
  const auto kept = [](bool grouped) {
    GraphBuilder b;
    const TensorId q = b.parameter("q", {2, 4, 5, 8});
    const TensorId k = b.parameter("k", {2, 1, 5, 8});
    const TensorId v = b.parameter("v", {2, 1, 5, 8});
    b.op("aten.scaled_dot_product_attention.default", {{"query", q}, {"key", k}, {"value", v}},
         {2, 4, 5, 8}, {{"enable_gqa", grouped}});
    const Graph g = b.build();
    return saved_for_backward(g, g.ops[0], needs_grad(g));
  };
  // Broadcast: the plain formula. Queries 320, keys and values for all heads 320 each, 4*2*5*5
  // scores.
  EXPECT_EQ(kept(false).extra, Bytes(4 * (320 + 320 + 320 + 200)));
  EXPECT_EQ(kept(true).extra, Bytes(4 * 2 * 4 * 5));  // fused: the logarithm of the sums
}

TEST(Saved, AttentionOfTransposedRowsIsNotFused) {
  GraphBuilder b;
  const TensorId q = b.parameter("q", {2, 4, 5, 8});
  b.strides(q, {160, 40, 1, 5});
  b.op("aten.scaled_dot_product_attention.default", {{"query", q}, {"key", q}, {"value", q}},
       {2, 4, 5, 8});
  const Graph g = b.build();
  // Scaled query and key, 8 x 5 x 5 shares, and the value written out for the batched product.
  EXPECT_EQ(saved_for_backward(g, g.ops[0], needs_grad(g)).extra, Bytes(4 * (320 + 320 + 200)));
}

TEST(Saved, BatchedProductsCopyTransposedOperands) {
  GraphBuilder b;
  const TensorId q = b.parameter("q", {2, 3, 5, 4});
  const TensorId k = b.parameter("k", {2, 3, 4, 5});
  b.strides(q, {60, 4, 12, 1});
  b.strides(k, {60, 4, 1, 12});
  b.op("aten.matmul.default", {{"self", q}, {"other", k}}, {2, 3, 5, 5});
  const Graph g = b.build();
  const Saved saved = saved_for_backward(g, g.ops[0], needs_grad(g));
  EXPECT_EQ(saved.extra, Bytes(480 + 480));
  EXPECT_TRUE(saved.tensors.empty());
}

TEST(Saved, ViewsCountAsTheStorageTheyLookInto) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {4, 6});
  const TensorId y = b.op("aten.add.Tensor", {{"self", x}, {"other", x}}, {4, 6});
  const TensorId part = b.op("aten.slice.Tensor", {{"self", y}}, {4, 2});
  b.op("aten.gelu.default", {{"self", part}}, {4, 2});
  EXPECT_EQ(saved_bytes(b.build()), Bytes(4 * 6 * 4));
}

TEST(Saved, RecurrentLayersStepByStep) {
  GraphBuilder b;  // 7 steps, 3 samples, 5 columns, 4 hidden
  const TensorId x = b.input("x", {7, 3, 5});
  const TensorId h = b.op("aten.zeros.default", {}, {1, 3, 4});
  b.op("aten.gru.input",
       {{"input", x},
        {"hx", h},
        {"params", b.parameter("wi", {12, 5})},
        {"params", b.parameter("wh", {12, 4})}},
       {7, 3, 4}, {{"num_layers", std::int64_t{1}}});
  EXPECT_EQ(saved_bytes(b.build()), Bytes(7 * 7 * 3 * 4 * 4));  // torch: 2352
}

TEST(Saved, AFusedLstmWithoutBiasesCopiesItsWeights) {
  const auto extra = [](bool biases) {
    GraphBuilder b;  // 4 steps, 6 samples, 3 columns, 5 hidden
    const TensorId x = b.input("x", {4, 6, 3});
    const TensorId h = b.op("aten.zeros.default", {}, {1, 6, 5});
    b.op("aten.lstm.input",
         {{"input", x},
          {"hx", h},
          {"hx", h},
          {"params", b.parameter("wi", {20, 3})},
          {"params", b.parameter("wh", {20, 5})}},
         {4, 6, 5}, {{"num_layers", std::int64_t{1}}, {"has_biases", biases}});
    const Graph g = b.build();
    return saved_for_backward(g, g.ops.back(), needs_grad(g)).extra.value;
  };
  EXPECT_EQ(extra(false) - extra(true), 20 * (3 + 5) * 4);
}

TEST(Saved, WorkspaceOfTheFusedLstmIsWithinTwoPercent) {
  struct Case {
    std::int64_t steps, samples, columns, hidden, bytes;
  };
  for (const Case& c : {Case{10, 8, 16, 64, 335872},
                        {20, 16, 16, 64, 1290240},
                        {10, 8, 16, 128, 663552},
                        {35, 32, 128, 128, 8839168},
                        {35, 32, 256, 128, 12820480},
                        {35, 20, 200, 200, 8736768},
                        {64, 32, 128, 256, 32845824}}) {
    const auto predicted =
        static_cast<double>(recurrent_workspace(c.steps, c.samples, c.columns, c.hidden, 4));
    EXPECT_NEAR(predicted / static_cast<double>(c.bytes), 1.0, 0.02) << c.steps << " " << c.hidden;
  }
}

}  // namespace
}  // namespace parallel_opt
