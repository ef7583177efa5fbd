#include <gtest/gtest.h>

#include <cmath>

#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

// Rows beyond the everyday ones: grouped and quantised products, transforms, factorisations, and
// the operators of a traced backward.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

OpWork work(GraphBuilder& b) {
  const Graph g = b.build();
  return forward_work(g, g.ops.back());
}

TEST(SpecialRows, RowsOfAGroupedProductMeetOneMatrixEach) {
  GraphBuilder b;
  const TensorId x = b.input("x", {32, 8});
  const TensorId w = b.parameter("w", {4, 8, 6});
  const TensorId offs = b.input("offs", {4}, DType::i32);
  b.op("aten._grouped_mm.default", {{"self", x}, {"mat2", w}, {"offs", offs}}, {32, 6});
  EXPECT_EQ(work(b).contraction, Flops(2.0 * 32 * 8 * 6));
  const Graph g = b.build();
  const IterationSpace space = iteration_space(g, g.ops[0]);
  EXPECT_EQ(space.dims[2].name, "g");
  EXPECT_EQ(space.dims[2].role, DimRole::selected);
  EXPECT_EQ(space.operands[2], std::vector<int>{2});

  GraphBuilder experts;  // as transformers runs them where torch has no grouped product
  experts.op("transformers.grouped_mm_fallback.default",
             {{"input", experts.input("x", {32, 8})},
              {"weight", experts.parameter("w", {4, 8, 6})},
              {"offs", experts.input("offs", {4}, DType::i32)}},
             {32, 6});
  EXPECT_EQ(work(experts).contraction, Flops(2.0 * 32 * 8 * 6));

  GraphBuilder batched;
  batched.op("aten._grouped_mm.default",
             {{"self", batched.input("x", {4, 3, 8})}, {"mat2", batched.parameter("w", {4, 8, 6})}},
             {4, 3, 6});
  EXPECT_EQ(work(batched).contraction, Flops(2.0 * 4 * 3 * 8 * 6));
}

TEST(SpecialRows, QuantisedProductsCountAsTheirFloatForms) {
  GraphBuilder b;
  b.op("aten._int_mm.default",
       {{"self", b.input("x", {32, 8}, DType::i8)}, {"mat2", b.input("w", {8, 6}, DType::i8)}},
       {32, 6}, {}, DType::i32);
  EXPECT_EQ(work(b).contraction, Flops(2.0 * 32 * 8 * 6));
  GraphBuilder packed;  // four bits an element, packed: columns by the scales, [groups, n, 2]
  packed.op("aten._weight_int4pack_mm.default",
            {{"self", packed.input("x", {32, 64})},
             {"mat2", packed.input("w", {2, 1, 32, 4}, DType::i32)},
             {"qScaleAndZeros", packed.input("s", {2, 16, 2})}},
            {32, 16}, {{"qGroupSize", std::int64_t{32}}});
  EXPECT_EQ(work(packed).contraction, Flops(2.0 * 32 * 64 * 16));
}

TEST(SpecialRows, AScalePerChannelFollowsItsAxis) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 6, 5});
  const TensorId s = b.input("s", {6});
  b.op("quantized_decomposed.quantize_per_channel.default", {{"input", x}, {"scales", s}},
       {2, 6, 5}, {{"axis", std::int64_t{1}}}, DType::i8);
  const Graph g = b.build();
  const IterationSpace space = iteration_space(g, g.ops[0]);
  EXPECT_EQ(space.operands[1], std::vector<int>{1});
  EXPECT_EQ(space.results[0], (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(work(b).op_class, OpClass::elementwise);
}

TEST(SpecialRows, TransformsAreFiveNLogN) {
  GraphBuilder complex;
  complex.op("aten.fft_fft.default", {{"self", complex.input("x", {3, 64}, DType::complex64)}},
             {3, 64}, {}, DType::complex64);
  EXPECT_EQ(work(complex).other, Flops(5.0 * 3 * 64 * 6));  // log2 64 = 6
  GraphBuilder real;                                        // half of it
  real.op("aten._fft_r2c.default", {{"self", real.input("x", {3, 64})}}, {3, 33},
          {{"dim", Ints{1}}}, DType::complex64);
  EXPECT_EQ(work(real).other, Flops(2.5 * 3 * 64 * 6));
  GraphBuilder plane;
  plane.op("aten.fft_fft2.default", {{"self", plane.input("x", {3, 8, 4}, DType::complex64)}},
           {3, 8, 4}, {}, DType::complex64);
  EXPECT_EQ(work(plane).other, Flops(5.0 * 3 * 32 * 5));  // log2(8 * 4) = 5
  const Graph g = plane.build();
  const IterationSpace space = iteration_space(g, g.ops[0]);
  EXPECT_EQ(space.dims[0].role, DimRole::free);
  EXPECT_EQ(space.dims[1].role, DimRole::mixed);
}

TEST(SpecialRows, FramesOfASignalAreOneRealTransformEach) {
  GraphBuilder b;
  b.op("aten.stft.default", {{"self", b.input("x", {2, 160})}}, {2, 9, 10},
       {{"n_fft", std::int64_t{16}}, {"onesided", true}}, DType::complex64);
  // 2 signals x 10 frames x (2.5 * 16 * log2 16 + a window of 16)
  EXPECT_EQ(work(b).other, Flops(20 * (2.5 * 16 * 4 + 16)));
}

TEST(SpecialRows, FactorisationsAreCubic) {
  GraphBuilder b;
  b.op("aten.linalg_cholesky_ex.default", {{"self", b.input("x", {3, 10, 10})}}, {3, 10, 10});
  EXPECT_DOUBLE_EQ(work(b).other.value, 3 * 1000.0 / 3);  // n^3 / 3 each
  GraphBuilder sort;
  sort.op("aten.sort.default", {{"self", sort.input("x", {3, 16})}}, {3, 16});
  EXPECT_EQ(work(sort).other, Flops(3.0 * 16 * 4));  // n log2 n
}

TEST(SpecialRows, AConvolutionsBackwardMakesTheGradientsAskedFor) {
  for (const bool both : {true, false}) {
    GraphBuilder b;
    const TensorId dy = b.input("dy", {2, 6, 7, 7});
    const TensorId x = b.input("x", {2, 4, 9, 9});
    const TensorId w = b.parameter("w", {6, 4, 3, 3});
    b.op("aten.convolution_backward.default", {{"grad_output", dy}, {"input", x}, {"weight", w}},
         {2, 4, 9, 9}, {{"output_mask", std::vector<bool>{both, true, false}}});
    b.result({6, 4, 3, 3});
    // 2 * samples * positions * weight elements, per gradient
    EXPECT_EQ(work(b).contraction, Flops((both ? 2 : 1) * 2.0 * 2 * 49 * (6 * 4 * 9)));
    const Graph g = b.build();
    const IterationSpace space = iteration_space(g, g.ops[0]);
    EXPECT_EQ(space.results[1], space.operands[2]);
    EXPECT_EQ(space.results[0], space.operands[1]);
  }
}

TEST(SpecialRows, AttentionsBackwardIsFourProductsAndTheScoresAgain) {
  GraphBuilder b;
  const TensorId q = b.input("q", {2, 4, 5, 8});
  const TensorId k = b.input("k", {2, 4, 7, 8});
  b.op("aten._scaled_dot_product_flash_attention_for_cpu_backward.default",
       {{"grad_out", q}, {"query", q}, {"key", k}, {"value", k}, {"out", q}}, {2, 4, 5, 8});
  b.result({2, 4, 7, 8});
  b.result({2, 4, 7, 8});
  const double scores = 2 * 4 * 5 * 7;
  EXPECT_EQ(work(b).contraction, Flops(4 * 2 * scores * 8));
  EXPECT_EQ(work(b).recomputed, Flops(2 * scores * 8));
}

TEST(SpecialRows, CudnnsLogSumHasALastDimensionOfOne) {
  GraphBuilder b;
  const TensorId q = b.input("q", {2, 4, 5, 8});
  const TensorId k = b.input("k", {2, 4, 7, 8});
  b.op("aten._scaled_dot_product_cudnn_attention.default", {{"query", q}, {"key", k}, {"value", k}},
       {2, 4, 5, 8});
  b.result({2, 4, 5, 1});
  // two products of 5 x 7 scores of width 8, for 2 samples of 4 heads
  EXPECT_EQ(work(b).contraction, Flops(2 * 2.0 * 2 * 4 * 5 * 7 * 8));
}

TEST(SpecialRows, TheFusedEncoderLayerProjectsAndAttends) {
  GraphBuilder b;
  const TensorId x = b.input("src", {2, 5, 8});
  b.op("aten._transformer_encoder_layer_fwd.default",
       {{"src", x},
        {"qkv_weight", b.parameter("qkv", {24, 8})},
        {"qkv_bias", b.parameter("qkv_b", {24})},
        {"proj_weight", b.parameter("o", {8, 8})},
        {"norm_weight_1", b.parameter("n", {8})},
        {"ffn_weight_1", b.parameter("f1", {32, 8})},
        {"ffn_weight_2", b.parameter("f2", {8, 32})}},
       {2, 5, 8});
  const double weights = 24 * 8 + 8 * 8 + 32 * 8 + 8 * 32;
  EXPECT_EQ(work(b).contraction, Flops(2 * 10 * weights + 4.0 * 10 * 5 * 8));
}

}  // namespace
}  // namespace parallel_opt
