#include <algorithm>
#include <array>

#include "parallel_opt/importers/stablehlo_import.h"

// Products by group, triangular systems and quantised numbers.
namespace parallel_opt::stablehlo {
namespace {

using mlir::Op;

/// Rows of the left side sorted by group, each times its group's matrix.
Values ragged_dot(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 3) return m.opaque(op, in);
  const std::string_view numbers = op.find("ragged_dot_dimension_numbers");
  const auto axes = [&](std::string_view key) {
    const std::size_t at = numbers.find(key);
    if (at == std::string_view::npos) return std::vector<std::int64_t>{};
    const std::size_t open = numbers.find('[', at), close = numbers.find(']', at);
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
      return std::vector<std::int64_t>{};
    }
    return mlir::integers(numbers.substr(open, close - open));
  };
  const std::vector<std::int64_t> left = axes("lhs_contracting"), right = axes("rhs_contracting");
  const Shape &a = m.shape(in[0]), &b = m.shape(in[1]);
  const bool by_rows = a.size() == 2 && b.size() == 3 && left == std::vector<std::int64_t>{1} &&
                       axes("rhs_group") == std::vector<std::int64_t>{0} &&
                       axes("lhs_ragged") == std::vector<std::int64_t>{0};
  if (by_rows && right.size() == 1 && (right[0] == 1 || right[0] == 2)) {
    const ValueId matrices = right[0] == 1 ? in[1] : m.permute(in[1], {0, 2, 1});
    return {m.emit("aten._grouped_mm.default",
                   {{"self", in[0]}, {"mat2", matrices}, {"offs", in[2]}}, m.result(op, 0))};
  }
  double points = 2;
  for (const Dim& dim : m.result(op, 0).shape) points *= static_cast<double>(dim.size);
  for (const std::int64_t axis : left) {
    if (axis >= 0 && axis < static_cast<std::int64_t>(a.size())) {
      points *= static_cast<double>(a[static_cast<std::size_t>(axis)].size);
    }
  }
  return m.opaque(op, in, {{"bound_flops", points}});
}

Values cholesky(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 1) return m.opaque(op, in);
  return {m.emit("aten.linalg_cholesky.default", {{"self", in[0]}}, m.result(op, 0))};
}

Values triangular_solve(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 2) return m.opaque(op, in);
  const bool left = op.find("left_side") != "false", upper = op.find("lower") == "false";
  return {m.emit("aten.linalg_solve_triangular.default", {{"self", in[0]}, {"B", in[1]}},
                 m.result(op, 0), {{"left", left}, {"upper", upper}})};
}

Values quantise(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 1) return m.opaque(op, in);
  const char* const target = op.name.ends_with("uniform_quantize")
                                 ? "quantized_decomposed.quantize_per_tensor.default"
                                 : "quantized_decomposed.dequantize_per_tensor.default";
  return {m.emit(target, {{"input", in[0]}}, m.result(op, 0))};
}

/// Orders effects; holds no numbers.
Values token(Importer& m, const Op& /*op*/, const Values& /*in*/) {
  Value value;
  value.type = {DType::u8, {}};
  value.tensor_type = false;
  return {m.add(std::move(value))};
}

constexpr auto kLinear = std::to_array<HandlerRow>({{"ragged_dot", ragged_dot},
                                                    {"cholesky", cholesky},
                                                    {"triangular_solve", triangular_solve},
                                                    {"uniform_quantize", quantise},
                                                    {"uniform_dequantize", quantise},
                                                    {"create_token", token},
                                                    {"after_all", token}});

}  // namespace

std::span<const HandlerRow> linear_handlers() { return kLinear; }

}  // namespace parallel_opt::stablehlo
