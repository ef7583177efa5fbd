#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel_opt/graph/summary.h"
#include "parallel_opt/importers/tensorflow.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/tf_builder.h"

// Linear algebra and Fourier transforms of TensorFlow.
namespace parallel_opt {
namespace {

using testing::sizes_of;
using testing::targets;
namespace tf = testing::tf;

using Targets = std::vector<std::string>;
using Axes = std::vector<std::int64_t>;

Graph linalg(const std::string& op, const std::vector<std::int64_t>& shape,
             const tf::Attributes& attributes = {}) {
  return read_graph_def(
      tf::graph({tf::placeholder("x", shape), tf::node("y", op, {"x"}, attributes)}, {}), "m.pb");
}

TEST(TfLinalg, SquareMatricesKeepTheirShape) {
  for (const auto& [op, target] : std::vector<std::pair<std::string, std::string>>{
           {"Cholesky", "aten.linalg_cholesky.default"},
           {"MatrixInverse", "aten.linalg_inv.default"},
           {"MatrixExponential", "aten.linalg_matrix_exp.default"}}) {
    const Graph graph = linalg(op, {3, 8, 8});
    EXPECT_EQ(targets(graph), Targets{target});
    EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Axes{3, 8, 8}));
    EXPECT_TRUE(summarize(graph).opaque.empty());
  }
  EXPECT_EQ(sizes_of(linalg("MatrixDeterminant", {3, 8, 8}).tensors.back()), (Axes{3}));
}

TEST(TfLinalg, DecompositionsGiveTheSmallerSide) {
  const Graph values = linalg("Svd", {2, 6, 4}, {{"compute_uv", tf::flag(true)}});
  EXPECT_EQ(targets(values), Targets{"aten.linalg_svd.default"});
  const Op& svd = values.ops[0];  // rows, values and columns: 6 by 4, 4, 4 by 4
  EXPECT_EQ(sizes_of(values.tensor(svd.outputs[0])), (Axes{2, 6, 4}));
  EXPECT_EQ(sizes_of(values.tensor(svd.outputs[1])), (Axes{2, 4}));
  EXPECT_EQ(sizes_of(values.tensor(svd.outputs[2])), (Axes{2, 4, 4}));
  // TensorFlow's first result is the values.
  EXPECT_EQ(sizes_of(values.tensor(values.outputs[0])), (Axes{2, 4}));
  EXPECT_EQ(targets(linalg("Svd", {6, 4}, {{"compute_uv", tf::flag(false)}})),
            Targets{"aten.linalg_svdvals.default"});
  EXPECT_EQ(sizes_of(linalg("Qr", {6, 4}).tensor(linalg("Qr", {6, 4}).outputs[0])), (Axes{6, 4}));
  EXPECT_EQ(targets(linalg("SelfAdjointEigV2", {5, 5}, {{"compute_v", tf::flag(true)}})),
            Targets{"aten.linalg_eigh.default"});
}

TEST(TfLinalg, WavesOfRealNumbersAreHalf) {
  const Graph graph =
      read_graph_def(tf::graph({tf::placeholder("x", {2, 8, 64}), tf::numbers("n", {8, 32}, {2}),
                                tf::node("y", "RFFT2D", {"x", "n"})},
                               {}),
                     "m.pb");
  EXPECT_EQ(targets(graph), Targets{"aten._fft_r2c.default"});
  EXPECT_EQ(sizes_of(graph.tensor(graph.outputs[0])), (Axes{2, 8, 17}));  // 32 / 2 + 1
  EXPECT_EQ(graph.tensor(graph.outputs[0]).dtype, DType::complex64);
  EXPECT_TRUE(summarize(graph).opaque.empty());
}

TEST(TfLinalg, WhatIsNoMatrixStaysOpaque) {
  EXPECT_EQ(targets(linalg("MatrixDeterminant", {8})), Targets{"tensorflow.MatrixDeterminant"});
}

}  // namespace
}  // namespace parallel_opt
