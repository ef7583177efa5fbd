#include "parallel_opt/graph/matrix_backward.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {
namespace {

/// Matrices of `rows` by `columns`, `count` of them; which results and operands have a gradient.
struct Call {
  double rows = 0, columns = 0, count = 0;
  double right_columns = 0;  ///< of the right side of a solve
  std::array<bool, 3> results{};
  bool matrix = false;  ///< the matrix that is factorised or solved with
  bool right = false;   ///< the right side of a solve

  double short_side() const { return std::min(rows, columns); }
};

/// Of the product of an a by b and a b by c matrix.
double product(double a, double b, double c) { return 2 * a * b * c; }

double cholesky(const Call& c) { return product(c.rows, c.rows, c.rows); }
double inverse(const Call& c) { return 2 * product(c.rows, c.rows, c.rows); }
double lu_factor(const Call& c) { return 3 * product(c.rows, c.rows, c.rows); }
/// One product for each factor, and one for both.
double lu(const Call& c) {
  return (1 + (c.results[1] ? 1 : 0) + (c.results[2] ? 1 : 0)) * product(c.rows, c.rows, c.rows);
}
double cholesky_inverse(const Call& c) { return 3 * product(c.rows, c.rows, c.rows); }

/// Gradient of the matrix: the solved gradient times the solution.
double solve(const Call& c) { return c.matrix ? product(c.rows, c.right_columns, c.rows) : 0; }

/// The same, its symmetric part then times the factor.
double cholesky_solve(const Call& c) {
  return c.matrix ? product(c.rows, c.right_columns, c.rows) + product(c.rows, c.rows, c.rows) : 0;
}

/// Q^H gQ and gR R^H, Q times both; a wide matrix has columns behind its square part.
double qr(const Call& c) {
  const double k = c.short_side();
  double flops = product(c.rows, k, k);
  if (c.results[0]) flops += product(k, c.rows, k);
  if (c.results[1]) flops += product(k, c.columns, k);
  if (c.results[1] && c.columns > c.rows) flops += product(c.rows, k, c.columns);
  return flops;
}

/// Singular values alone: U gS V^H. Vectors: U^H gU and V^H gV, what lies outside of their spans,
/// and two products back.
double svd(const Call& c) {
  const double k = c.short_side(), m = c.rows, n = c.columns;
  const bool u = c.results[0], v = c.results[2];
  if (!u && !v) return product(m, k, n);
  double flops = (u ? product(k, m, k) : 0) + (v ? product(k, n, k) : 0);
  const bool tall = u && m > k, wide = v && n > k;
  if (tall)
    return flops + product(m, k, k) + product(k, m, k) + product(m, k, k) + product(m, k, n);
  if (wide)
    return flops + product(k, k, n) + product(k, n, k) + product(k, k, n) + product(m, k, n);
  flops += m >= n ? product(k, k, n) : product(m, k, k);
  return flops + product(m, k, n);
}

/// Values alone: U gS V^H.
double singular_values(const Call& c) {
  return product(c.rows, std::min(c.rows, c.columns), c.columns);
}

/// Values alone: V gL V^H. Vectors: V^H gV first.
double eigh(const Call& c) {
  const double one = product(c.rows, c.rows, c.rows);
  return c.results[1] ? 3 * one : one;
}

/// Eight products along the shorter side: K = P gP^H, and each of its companions (PyTorch's
/// pinv_backward). A wide matrix has all of them through its rows.
double pseudoinverse(const Call& c) {
  const double m = c.rows, n = c.columns;
  if (m <= n) return 8 * product(m, m, n);
  return 4 * product(m, n, n) + 4 * product(m, m, n);
}

/// P = pinv(A): gP = gX B^H, then P's backward; gB = P^H gX.
double least_squares(const Call& c) {
  const double right = product(c.rows, c.columns, c.right_columns);
  return (c.matrix ? right + pseudoinverse(c) : 0) + (c.right ? right : 0);
}

/// A Householder product of k reflectors: result times gradient, then per reflector its gradient
/// (two vectors times the matrix) and its share taken off from both sides, each one row shorter.
double householder(const Call& c) {
  const double m = c.rows, k = c.right_columns * c.rows;
  if (k < 1) return 0;
  const double rows = k * m - k * (k - 1) / 2;  // of all reflectors
  const double gradients = 2 * product(1, rows, m) + product(1, rows, 1);
  const double taken_off = product(1, rows, m) + product(1, rows - (m - k + 1), m);
  return product(m, c.columns, m) + gradients + taken_off;
}

struct Formula {
  std::string_view target;
  double (*flops)(const Call&);
};
constexpr Formula kFormulas[] = {
    {"aten.linalg_cholesky", cholesky},
    {"aten.linalg_cholesky_ex", cholesky},
    {"aten.cholesky", cholesky},
    {"aten.cholesky_inverse", cholesky_inverse},
    {"aten.cholesky_solve", cholesky_solve},
    {"aten.linalg_lu", lu},
    {"aten.linalg_lu_factor", lu_factor},
    {"aten.linalg_lu_factor_ex", lu_factor},
    {"aten.linalg_solve", solve},
    {"aten.linalg_solve_ex", solve},
    {"aten._linalg_solve_ex", solve},
    {"aten.linalg_solve_triangular", solve},
    {"aten.linalg_inv", inverse},
    {"aten.linalg_inv_ex", inverse},
    {"aten.inverse", inverse},
    {"aten.linalg_qr", qr},
    {"aten.qr", qr},
    {"aten.linalg_svd", svd},
    {"aten._linalg_svd", svd},
    {"aten.svd", svd},
    {"aten.linalg_svdvals", singular_values},
    {"aten.linalg_eigh", eigh},
    {"aten._linalg_eigh", eigh},
    {"aten.linalg_eigvalsh", eigh},
    {"aten.linalg_pinv", pseudoinverse},
    {"aten.pinverse", pseudoinverse},
    {"aten.linalg_lstsq", least_squares},
    {"aten.linalg_householder_product", householder},
    {"aten.orgqr", householder},
};

/// cholesky_solve(B, L) has its matrix second; all others first.
Call call_of(const Graph& graph, const Op& op, std::string_view target,
             const std::vector<bool>& needs_grad) {
  const std::size_t at = target == "aten.cholesky_solve" ? 1 : 0;
  Call call;
  if (op.inputs.size() <= at || !op.inputs[at].tensor.valid()) return call;
  const Tensor& matrix = graph.tensor(op.inputs[at].tensor);
  const std::size_t rank = matrix.shape.size();
  if (rank < 2) return call;
  call.rows = static_cast<double>(matrix.shape[rank - 2].size);
  call.columns = static_cast<double>(matrix.shape[rank - 1].size);
  call.count = static_cast<double>(elements(matrix)) / std::max(call.rows * call.columns, 1.0);
  call.matrix = needs_grad[op.inputs[at].tensor.index()];
  for (std::size_t i = 0; i < op.outputs.size() && i < call.results.size(); ++i) {
    call.results[i] = op.outputs[i].valid() && needs_grad[op.outputs[i].index()];
  }
  const std::size_t other = 1 - at;
  if (other < op.inputs.size() && op.inputs[other].tensor.valid()) {
    const auto right = static_cast<double>(elements(graph.tensor(op.inputs[other].tensor)));
    call.right_columns = right / std::max(call.rows * call.count, 1.0);
    call.right = needs_grad[op.inputs[other].tensor.index()];
  }
  return call;
}

/// Homogeneous points [d + 1, points] times their gradient [points, d], per sample.
Flops affine_grid(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  if (op.inputs.empty() || !op.inputs[0].tensor.valid() || op.outputs.empty()) return Flops(0);
  const Tensor& theta = graph.tensor(op.inputs[0].tensor);
  if (!needs_grad[op.inputs[0].tensor.index()] || theta.shape.size() != 3) return Flops(0);
  const auto numbers = static_cast<double>(elements(graph.tensor(op.outputs[0])));
  return Flops(product(static_cast<double>(theta.shape[2].size), numbers, 1));
}

}  // namespace

Flops matrix_backward_flops(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  const OpRow* row = find_row(op.target);
  if (row == nullptr) return Flops(0);
  if (row->target == "aten.affine_grid_generator") return affine_grid(graph, op, needs_grad);
  if (row->space != "@matrix") return Flops(0);
  for (const Formula& formula : kFormulas) {
    if (formula.target != row->target) continue;
    const Call call = call_of(graph, op, row->target, needs_grad);
    return Flops(call.count * formula.flops(call));
  }
  return Flops(0);
}

}  // namespace parallel_opt
