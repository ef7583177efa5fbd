#include "parallel_opt/graph/matrix_backward.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/work.h"
#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using namespace testing;

/// FLOPs of the backward of `target` on [2, rows, columns], where a gradient comes to `wanted`
/// results of `made`.
double backward_of(const char* target, std::int64_t rows, std::int64_t columns, std::size_t made,
                   std::initializer_list<std::size_t> wanted) {
  GraphBuilder b;
  const TensorId x = b.parameter("x", {2, rows, columns});
  std::vector<TensorId> results = {b.op(target, {{"A", x}}, {2, rows, columns})};
  while (results.size() < made) results.push_back(b.result({2, rows, columns}));
  for (const std::size_t i : wanted) b.output(b.op("aten.sum.default", {{"self", results[i]}}, {}));
  const Graph g = b.build();
  return matrix_backward_flops(g, g.ops[0], needs_grad(g)).value;
}

TEST(MatrixBackward, FactorisationsOfSquareMatrices) {
  const double cube = 2.0 * 6 * 6 * 6;  // one product
  EXPECT_EQ(backward_of("aten.linalg_cholesky.default", 6, 6, 1, {0}), 2 * cube);
  EXPECT_EQ(backward_of("aten.linalg_inv.default", 6, 6, 1, {0}), 2 * 2 * cube);
  EXPECT_EQ(backward_of("aten.linalg_lu.default", 6, 6, 3, {1}), 2 * 2 * cube);
  EXPECT_EQ(backward_of("aten.linalg_eigh.default", 6, 6, 2, {0}), 2 * cube);
  EXPECT_EQ(backward_of("aten.linalg_eigh.default", 6, 6, 2, {0, 1}), 2 * 3 * cube);
  EXPECT_EQ(backward_of("aten.linalg_qr.default", 6, 6, 2, {0, 1}), 2 * 3 * cube);
}

TEST(MatrixBackward, WhatAQrComputesFollowsFromItsUsers) {
  // Tall, 6 by 4: Q^H gQ is [4 6 4], gR R^H [4 4 4], Q times both [6 4 4].
  EXPECT_EQ(backward_of("aten.linalg_qr.default", 6, 4, 2, {0}), 2 * (192 + 192));
  EXPECT_EQ(backward_of("aten.linalg_qr.default", 6, 4, 2, {1}), 2 * (128 + 192));
  // Wide, 4 by 6: [4 4 4], [4 6 4], [4 4 4], and the columns behind the square, [4 4 6].
  EXPECT_EQ(backward_of("aten.linalg_qr.default", 4, 6, 2, {0, 1}), 2 * (128 + 192 + 128 + 192));
}

TEST(MatrixBackward, SingularVectorsOutsideOfTheSpanCostMore) {
  EXPECT_EQ(backward_of("aten.linalg_svd.default", 6, 4, 3, {1}), 2 * 192);
  // U: [4 6 4], U times it, the rest by two products, times V.
  EXPECT_EQ(backward_of("aten.linalg_svd.default", 6, 4, 3, {0}), 2 * 5 * 192);
  EXPECT_EQ(backward_of("aten.linalg_svd.default", 6, 4, 3, {2}), 2 * (128 + 128 + 192));
  EXPECT_EQ(backward_of("aten.linalg_svd.default", 4, 6, 3, {2}),
            2 * (192 + 192 + 192 + 192 + 192));
}

TEST(MatrixBackward, OnlyTheMatrixOfASolveTakesAProduct) {
  const auto solved = [](const char* target, bool matrix_needs) {
    GraphBuilder b;
    const bool behind = std::string_view(target).starts_with("aten.cholesky_solve");
    const TensorId m = matrix_needs ? b.parameter("m", {6, 6}) : b.input("m", {6, 6});
    const TensorId r = b.parameter("r", {6, 5});
    b.output(b.op(target, {{"self", behind ? r : m}, {"B", behind ? m : r}}, {6, 5}));
    const Graph g = b.build();
    return backward_work(g, g.ops[0], needs_grad(g)).contraction.value;
  };
  EXPECT_EQ(solved("aten.linalg_solve.default", true), 2.0 * 6 * 5 * 6);
  EXPECT_EQ(solved("aten.linalg_solve.default", false), 0);
  EXPECT_EQ(solved("aten.cholesky_solve.default", true), 2.0 * 6 * 5 * 6 + 2.0 * 6 * 6 * 6);
  EXPECT_EQ(solved("aten.cholesky_solve.default", false), 0);
}

TEST(MatrixBackward, ReflectorsAreTakenOffOneByOne) {
  GraphBuilder b;
  const TensorId a = b.parameter("a", {6, 4}), tau = b.parameter("tau", {4});
  b.output(b.op("aten.linalg_householder_product.default", {{"input", a}, {"tau", tau}}, {6, 4}));
  const Graph g = b.build();
  // [6 4 6]; four reflectors of 6, 5, 4 and 3 rows: two products with 6 columns and one dot each;
  // all come off from the left, all but the last from the right.
  const double rows = 6 + 5 + 4 + 3;
  const double flops =
      2 * 6 * 4 * 6 + 2 * (2 * rows * 6) + 2 * rows + 2 * rows * 6 + 2 * (rows - 3) * 6;
  EXPECT_EQ(flops, 1152);  // what torch's counter sees
  EXPECT_EQ(backward_work(g, g.ops[0], needs_grad(g)).contraction.value, flops);
}

TEST(MatrixBackward, AffineGridsContractOverTheirPoints) {
  GraphBuilder b;
  const TensorId theta = b.parameter("theta", {2, 2, 3});
  b.output(b.op("aten.affine_grid_generator.default", {{"theta", theta}}, {2, 5, 7, 2}));
  const Graph g = b.build();
  EXPECT_EQ(backward_work(g, g.ops[0], needs_grad(g)).contraction.value, 2 * 2.0 * 3 * 35 * 2);
}

TEST(MatrixBackward, OtherOperatorsHaveNone) {
  EXPECT_EQ(backward_of("aten.relu.default", 6, 6, 1, {0}), 0);
  EXPECT_EQ(backward_of("aten.linalg_det.default", 6, 6, 1, {0}), 0);  // by a solve
}

}  // namespace
}  // namespace parallel_opt
