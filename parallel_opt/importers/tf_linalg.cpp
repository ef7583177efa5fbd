#include <array>

#include "parallel_opt/importers/tf_context.h"

// Decompositions of matrices, linear systems and Fourier transforms.
namespace parallel_opt::tf {
namespace {

/// Sizes before the matrix, and its rows and columns.
struct Matrix {
  Shape batch;
  Dim rows, columns;
};

std::optional<Matrix> matrix_of(const Context& c, const Values& in, std::size_t operands) {
  if (in.size() != operands || c.any_unranked(in) || c.shape(in[0]).size() < 2) return {};
  const Shape& shape = c.shape(in[0]);
  return Matrix{Shape(shape.begin(), shape.end() - 2), shape[shape.size() - 2], shape.back()};
}

Shape with_sizes(Shape batch, std::initializer_list<Dim> sizes) {
  batch.insert(batch.end(), sizes);
  return batch;
}

/// The smaller side; rows where no number says which it is.
const Dim& smaller(const Matrix& m) {
  return !m.rows.symbolic() && !m.columns.symbolic() && m.columns.size < m.rows.size ? m.columns
                                                                                     : m.rows;
}

Values determinant(Context& c, const Node& node, const Values& in) {
  const std::optional<Matrix> m = matrix_of(c, in, 1);
  if (!m) return c.opaque(node, in);
  const ResultType type{c.at(in[0]).dtype, m->batch};
  if (node.op == "MatrixDeterminant") {
    return {c.emit("aten.linalg_det.default", {{"A", in[0]}}, type)};
  }
  return c.emit_all("aten.linalg_slogdet.default", {{"A", in[0]}}, {type, type});
}

Values solve(Context& c, const Node& node, const Values& in) {
  if (!matrix_of(c, in, 2)) return c.opaque(node, in);
  const char* target = node.op == "MatrixSolve" ? "aten.linalg_solve.default"
                                                : "aten.linalg_solve_triangular.default";
  return {c.emit(target, {{"A", in[0]}, {"B", in[1]}}, c.type(in[1]))};
}

/// TensorFlow gives the singular values first.
Values singular_values(Context& c, const Node& node, const Values& in) {
  const std::optional<Matrix> m = matrix_of(c, in, 1);
  if (!m) return c.opaque(node, in);
  const DType dtype = c.at(in[0]).dtype;
  const Dim least = smaller(*m);
  const ResultType values{dtype, with_sizes(m->batch, {least})};
  if (!node.flag("compute_uv", true)) {
    return {c.emit("aten.linalg_svdvals.default", {{"A", in[0]}}, values), c.nothing(),
            c.nothing()};
  }
  const bool full = node.flag("full_matrices", false);
  const Values parts =
      c.emit_all("aten.linalg_svd.default", {{"A", in[0]}},
                 {{dtype, with_sizes(m->batch, {m->rows, full ? m->rows : least})},
                  values,
                  {dtype, with_sizes(m->batch, {m->columns, full ? m->columns : least})}},
                 {{"full_matrices", full}});
  return {parts[1], parts[0], parts[2]};
}

Values factors(Context& c, const Node& node, const Values& in) {
  const std::optional<Matrix> m = matrix_of(c, in, 1);
  if (!m) return c.opaque(node, in);
  const DType dtype = c.at(in[0]).dtype;
  const Dim inner = node.flag("full_matrices", false) ? m->rows : smaller(*m);
  return c.emit_all("aten.linalg_qr.default", {{"A", in[0]}},
                    {{dtype, with_sizes(m->batch, {m->rows, inner})},
                     {dtype, with_sizes(m->batch, {inner, m->columns})}});
}

Values eigenvalues(Context& c, const Node& node, const Values& in) {
  const std::optional<Matrix> m = matrix_of(c, in, 1);
  if (!m) return c.opaque(node, in);
  const DType dtype = c.at(in[0]).dtype;
  const ResultType values{dtype, with_sizes(m->batch, {m->rows})};
  if (!node.flag("compute_v", true)) {
    return {c.emit("aten.linalg_eigvalsh.default", {{"A", in[0]}}, values), c.nothing()};
  }
  return c.emit_all("aten.linalg_eigh.default", {{"A", in[0]}}, {values, c.type(in[0])});
}

/// Over two or three axes; of real numbers an operand says their sizes.
Values fourier(Context& c, const Node& node, const Values& in) {
  std::string_view kind = node.op;
  std::size_t axes = 1;
  if (kind.ends_with("2D") || kind.ends_with("3D")) {
    axes = kind[kind.size() - 2] == '2' ? 2 : 3;
    kind.remove_suffix(2);
  }
  const bool real = kind.ends_with("RFFT");
  if (in.size() != (real ? 2U : 1U) || c.any_unranked(in)) return c.opaque(node, in);
  Shape shape = c.shape(in[0]);
  if (shape.size() < axes) return c.opaque(node, in);
  if (real) {
    const std::optional<Shape>& lengths = c.elements(in[1]);
    if (!lengths || lengths->size() != axes) return c.opaque(node, in);
    for (std::size_t i = 0; i < axes; ++i) {
      Dim size = (*lengths)[i];
      if (kind == "RFFT" && i + 1 == axes) {  // the other half are the same numbers
        size = sizes::add(sizes::floor_divide(size, sizes::fixed(2)), sizes::fixed(1));
      }
      shape[shape.size() - axes + i] = size;
    }
  }
  std::vector<std::int64_t> transformed;
  for (std::size_t i = 0; i < axes; ++i) {
    transformed.push_back(static_cast<std::int64_t>(shape.size() - axes + i));
  }
  const char* target = kind == "RFFT"    ? "aten._fft_r2c.default"
                       : kind == "IRFFT" ? "aten._fft_c2r.default"
                                         : "aten._fft_c2c.default";
  const DType dtype = kind == "RFFT"    ? DType::complex64
                      : kind == "IRFFT" ? DType::fp32
                                        : c.at(in[0]).dtype;
  return {c.emit(target, {{"self", in[0]}}, {dtype, shape}, {{"dim", transformed}})};
}

constexpr auto kLinalg = std::to_array<HandlerRow>({{"MatrixDeterminant", determinant},
                                                    {"LogMatrixDeterminant", determinant},
                                                    {"MatrixSolve", solve},
                                                    {"MatrixTriangularSolve", solve},
                                                    {"Svd", singular_values},
                                                    {"Qr", factors},
                                                    {"SelfAdjointEigV2", eigenvalues},
                                                    {"FFT3D", fourier},
                                                    {"IFFT3D", fourier},
                                                    {"RFFT2D", fourier},
                                                    {"RFFT3D", fourier},
                                                    {"IRFFT2D", fourier},
                                                    {"IRFFT3D", fourier}});

}  // namespace

std::span<const HandlerRow> linear_algebra_handlers() { return kLinalg; }

}  // namespace parallel_opt::tf
