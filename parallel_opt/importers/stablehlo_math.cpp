#include <algorithm>
#include <array>

#include "parallel_opt/importers/stablehlo_import.h"

// Elementwise operators, contractions, convolutions and reductions.
namespace parallel_opt::stablehlo {
namespace {

using mlir::Op;

struct Pair {
  std::string_view op, target;
};

constexpr auto kUnary = std::to_array<Pair>({{"abs", "aten.abs.default"},
                                             {"acos", "aten.acos.default"},
                                             {"asin", "aten.asin.default"},
                                             {"atan", "aten.atan.default"},
                                             {"cbrt", "aten.pow.Tensor_Scalar"},
                                             {"ceil", "aten.ceil.default"},
                                             {"conj", "aten.conj.default"},
                                             {"cosh", "aten.cosh.default"},
                                             {"cosine", "aten.cos.default"},
                                             {"digamma", "aten.digamma.default"},
                                             {"erf", "aten.erf.default"},
                                             {"erf_inv", "aten.erfinv.default"},
                                             {"erfc", "aten.erfc.default"},
                                             {"exponential", "aten.exp.default"},
                                             {"exponential_minus_one", "aten.expm1.default"},
                                             {"floor", "aten.floor.default"},
                                             {"imag", "aten.imag.default"},
                                             {"is_finite", "aten.isfinite.default"},
                                             {"is_inf", "aten.isinf.default"},
                                             {"lgamma", "aten.lgamma.default"},
                                             {"log", "aten.log.default"},
                                             {"log_plus_one", "aten.log1p.default"},
                                             {"logistic", "aten.sigmoid.default"},
                                             {"negate", "aten.neg.default"},
                                             {"real", "aten.real.default"},
                                             {"round_nearest_afz", "aten.round.default"},
                                             {"round_nearest_even", "aten.round.default"},
                                             {"rsqrt", "aten.rsqrt.default"},
                                             {"sign", "aten.sign.default"},
                                             {"sine", "aten.sin.default"},
                                             {"sinh", "aten.sinh.default"},
                                             {"sqrt", "aten.sqrt.default"},
                                             {"square", "aten.square.default"},
                                             {"tan", "aten.tan.default"},
                                             {"tanh", "aten.tanh.default"}});

constexpr auto kBinary =
    std::to_array<Pair>({{"add", "aten.add.Tensor"},
                         {"atan2", "aten.atan2.default"},
                         {"complex", "aten.complex.default"},
                         {"divide", "aten.div.Tensor"},
                         {"maximum", "aten.maximum.default"},
                         {"minimum", "aten.minimum.default"},
                         {"multiply", "aten.mul.Tensor"},
                         {"power", "aten.pow.Tensor_Tensor"},
                         {"remainder", "aten.fmod.Tensor"},
                         {"shift_left", "aten.bitwise_left_shift.Tensor"},
                         {"shift_right_arithmetic", "aten.bitwise_right_shift.Tensor"},
                         {"shift_right_logical", "aten.bitwise_right_shift.Tensor"},
                         {"subtract", "aten.sub.Tensor"}});

std::string_view short_name(const Op& op) { return op.name.substr(op.name.find('.') + 1); }

Values unary(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 1) return m.opaque(op, in);
  const auto row = std::ranges::find(kUnary, short_name(op), &Pair::op);
  return {m.emit(std::string(row->target), {{"self", in[0]}}, m.result(op, 0, in))};
}

/// Whole numbers that are known stay known: counters and sizes.
std::optional<std::int64_t> folded(std::string_view op, const Value& a, const Value& b) {
  if (!a.known || !b.known) return std::nullopt;
  std::int64_t value = 0;
  if (op == "add" && !__builtin_add_overflow(*a.known, *b.known, &value)) return value;
  if (op == "subtract" && !__builtin_sub_overflow(*a.known, *b.known, &value)) return value;
  if (op == "multiply" && !__builtin_mul_overflow(*a.known, *b.known, &value)) return value;
  if (op == "maximum") return std::max(*a.known, *b.known);
  if (op == "minimum") return std::min(*a.known, *b.known);
  return std::nullopt;
}

Values binary(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 2) return m.opaque(op, in);
  std::string_view name = short_name(op);
  if (name.starts_with("broadcast_")) name.remove_prefix(10);  // chlo.broadcast_add
  const auto row = std::ranges::find(kBinary, name, &Pair::op);
  if (row == kBinary.end()) return m.opaque(op, in);
  const ValueId result =
      m.emit(std::string(row->target), {{"self", in[0]}, {"other", in[1]}}, m.result(op, 0, in));
  m.at(result).known = folded(name, m.at(in[0]), m.at(in[1]));
  return {result};
}

Values bitwise(Importer& m, const Op& op, const Values& in) {
  const std::string name(short_name(op));
  if (in.empty()) return m.opaque(op, in);
  const bool flags = m.type(in[0]).dtype == DType::boolean;
  const std::string target =
      flags ? "aten.logical_" + name + ".default"
            : "aten.bitwise_" + name + (name == "not" ? ".default" : ".Tensor");
  Importer::Arguments operands = {{"self", in[0]}};
  if (in.size() > 1) operands.emplace_back("other", in[1]);
  return {m.emit(target, operands, m.result(op, 0, in))};
}

Values compare(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 2) return m.opaque(op, in);
  std::string text(op.find("comparison_direction"));
  if (text.empty() && !op.words.empty()) text = op.words.front();
  for (const auto& [direction, target] : {std::pair{"EQ", "eq"},
                                          {"NE", "ne"},
                                          {"LT", "lt"},
                                          {"LE", "le"},
                                          {"GT", "gt"},
                                          {"GE", "ge"}}) {
    if (text.find(direction) == std::string::npos) continue;
    return {m.emit(std::string("aten.") + target + ".Tensor", {{"self", in[0]}, {"other", in[1]}},
                   m.result(op, 0, in))};
  }
  return m.opaque(op, in);
}

Values select(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 3) return m.opaque(op, in);
  ResultType type = m.type(in[1]);
  return {
      m.emit("aten.where.self", {{"condition", in[0]}, {"self", in[1]}, {"other", in[2]}}, type)};
}

Values clamp(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 3) return m.opaque(op, in);
  return {m.emit("aten.clamp.Tensor", {{"self", in[1]}, {"min", in[0]}, {"max", in[2]}},
                 m.type(in[1]))};
}

Values convert(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 1) return m.opaque(op, in);
  const ResultType type = m.result(op, 0, in);
  if (type.dtype == m.type(in[0]).dtype && type.shape == m.shape(in[0])) return {in[0]};
  const ValueId result = m.emit("aten._to_copy.default", {{"self", in[0]}}, type);
  m.at(result).known = m.at(in[0]).known;
  return {result};
}

struct Dims {
  std::vector<std::int64_t> left, right;
};

/// "[1] x [0]" of the pretty form, or lhs_.../rhs_... of the generic one.
Dims dims_of(const Op& op, std::string_view pretty, const char* generic) {
  Dims dims;
  const std::string_view text = op.find(pretty);
  const std::size_t cross = text.find('x');
  if (cross != std::string_view::npos) {
    dims.left = mlir::integers(text.substr(0, cross));
    dims.right = mlir::integers(text.substr(cross + 1));
    return dims;
  }
  const std::string_view numbers = op.find("dot_dimension_numbers");
  dims.left = mlir::integers(mlir::entry(numbers, std::string("lhs_") + generic));
  dims.right = mlir::integers(mlir::entry(numbers, std::string("rhs_") + generic));
  return dims;
}

bool in_range(const std::vector<std::int64_t>& axes, std::size_t rank) {
  return std::ranges::all_of(
      axes, [&](std::int64_t a) { return a >= 0 && a < static_cast<std::int64_t>(rank); });
}

struct ProductDims {
  const Dims &batch, &inner;
};

/// Contracted and shared sizes are equal; the result has the shared axes, then the others.
void check_product(Importer& m, const Op& op, const Values& in, const ProductDims& dims,
                   const ResultType& stated) {
  const Shape& left = m.shape(in[0]);
  const Shape& right = m.shape(in[1]);
  const auto size = [](const Shape& shape, std::int64_t axis) {
    return shape[static_cast<std::size_t>(axis)];
  };
  for (const auto& [a, b] :
       {std::pair{&dims.batch.left, &dims.batch.right}, {&dims.inner.left, &dims.inner.right}}) {
    for (std::size_t i = 0; i < a->size(); ++i) {
      const Dim x = size(left, (*a)[i]), y = size(right, (*b)[i]);
      if (agree({DType::fp32, {x}}, {DType::fp32, {y}})) continue;
      m.out.fail("operator '" + std::string(op.name) + "': sizes " + std::to_string(x.size) +
                 " and " + std::to_string(y.size) +
                 (a == &dims.inner.left ? " are contracted" : " are shared"));
    }
  }
  Shape follows;
  for (const std::int64_t axis : dims.batch.left) follows.push_back(size(left, axis));
  const auto rest = [&](const Shape& shape, const std::vector<std::int64_t>& shared,
                        const std::vector<std::int64_t>& contracted) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const auto axis = static_cast<std::int64_t>(i);
      const bool gone = std::ranges::find(shared, axis) != shared.end() ||
                        std::ranges::find(contracted, axis) != contracted.end();
      if (!gone) follows.push_back(shape[i]);
    }
  };
  rest(left, dims.batch.left, dims.inner.left);
  rest(right, dims.batch.right, dims.inner.right);
  const ResultType made{stated.dtype, follows};
  if (!agree(made, stated)) m.differ(op, "what follows and what is stated differ,", made, stated);
}

/// Any contraction is an einsum: batch axes first, then those of the left, those of the right.
Values dot_general(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 2) return m.opaque(op, in);
  const std::size_t left = m.shape(in[0]).size();
  const std::size_t right = m.shape(in[1]).size();
  Dims batch = dims_of(op, "batching_dims", "batching_dimensions");
  Dims inner = dims_of(op, "contracting_dims", "contracting_dimensions");
  if (op.name.ends_with(".dot")) {
    batch = {};
    inner = {{static_cast<std::int64_t>(left) - 1}, {0}};
  }
  const bool fits = batch.left.size() == batch.right.size() &&
                    inner.left.size() == inner.right.size() && in_range(batch.left, left) &&
                    in_range(inner.left, left) && in_range(batch.right, right) &&
                    in_range(inner.right, right) && left + right <= 52;
  if (!fits) m.out.fail("the contracted axes do not fit the operands");
  const ResultType type = m.result(op, 0, in);
  check_product(m, op, in, {batch, inner}, type);
  const bool plain = left == 2 && right == 2 && batch.left.empty() && inner.left.size() == 1;
  if (plain) {
    const ValueId a = inner.left[0] == 1 ? in[0] : m.permute(in[0], {1, 0});
    const ValueId b = inner.right[0] == 0 ? in[1] : m.permute(in[1], {1, 0});
    return {m.emit("aten.mm.default", {{"self", a}, {"mat2", b}}, type)};
  }
  std::string x(left, '.');
  std::string y(right, '.');
  std::string z;
  char next = 'a';
  const auto letter = [&] {
    const char c = next;
    next = c == 'z' ? 'A' : static_cast<char>(c + 1);
    return c;
  };
  const auto at = [](std::string& term, std::int64_t axis) -> char& {
    return term[static_cast<std::size_t>(axis)];
  };
  for (std::size_t i = 0; i < batch.left.size(); ++i) {
    at(x, batch.left[i]) = at(y, batch.right[i]) = letter();
    z += at(x, batch.left[i]);
  }
  for (std::size_t i = 0; i < inner.left.size(); ++i) {
    at(x, inner.left[i]) = at(y, inner.right[i]) = letter();
  }
  for (std::string* term : {&x, &y}) {
    for (char& c : *term) {
      if (c == '.') z += c = letter();
    }
  }
  if (z.size() != type.shape.size())
    m.out.fail("the result's rank does not follow from the operands");
  return {m.emit("aten.einsum.default", {{"tensors", in[0]}, {"tensors", in[1]}}, type,
                 {{"equation", x + "," + y + "->" + z}})};
}

/// One bracket of "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" as the order that puts its two letters
/// first and the numbers behind, in turn.
std::vector<std::int64_t> canonical(std::string_view list, char first, char second) {
  std::vector<std::pair<std::int64_t, std::int64_t>> order;
  std::int64_t axis = 0;
  std::size_t at = 0;
  while (at <= list.size()) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    std::string_view word = list.substr(at, end - at);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (!word.empty()) {
      const std::vector<std::int64_t> number = mlir::integers(word);
      const std::int64_t key = word[0] == first     ? -2
                               : word[0] == second  ? -1
                               : number.size() == 1 ? number[0]
                                                    : 1000;
      order.emplace_back(key, axis++);
    }
    at = end + 1;
  }
  std::ranges::sort(order);
  std::vector<std::int64_t> result;
  for (const auto& [key, value] : order) result.push_back(value);
  return result;
}

std::vector<std::string_view> brackets(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t at = 0;
  while ((at = text.find('[', at)) != std::string_view::npos) {
    const std::size_t end = text.find(']', at);
    if (end == std::string_view::npos) break;
    parts.push_back(text.substr(at + 1, end - at - 1));
    at = end;
  }
  return parts;
}

std::int64_t number_of(const Op& op, std::string_view name, std::int64_t fallback) {
  const std::vector<std::int64_t> numbers =
      mlir::integers(op.find(name).substr(0, op.find(name).find(':')));
  return numbers.empty() ? fallback : numbers[0];
}

struct Planes {
  const Shape &input, &kernel, &output;
};
struct PlaneAxes {
  const std::vector<std::int64_t>&input, &kernel, &output;  ///< two others, then the plane's
};

/// What a window leaves of each axis of a plane.
void check_window(Importer& m, const Op& op, const Planes& planes, const PlaneAxes& axes) {
  const std::string_view window = op.find("window");
  const auto list = [&](std::string_view pretty, std::string_view generic) {
    std::string_view text = mlir::entry(window, pretty);
    if (text.empty()) text = op.find(generic);
    return mlir::integers(text.substr(0, text.find("> :")));
  };
  const std::vector<std::int64_t> strides = list("stride", "window_strides"),
                                  holes = list("lhs_dilate", "lhs_dilation"),
                                  gaps = list("rhs_dilate", "rhs_dilation");
  std::vector<std::int64_t> pads = list("pad", "padding");
  const std::size_t rank = axes.input.size() - 2;
  for (const auto* numbers : {&strides, &holes, &gaps}) {
    const bool fits = (numbers->empty() || numbers->size() == rank) &&
                      std::ranges::all_of(*numbers, [](std::int64_t n) { return n >= 1; });
    if (!fits) m.out.fail("operator '" + std::string(op.name) + "': its window does not fit");
  }
  if (pads.size() == 1) pads.resize(2 * rank, pads[0]);  // dense<1> fills all
  if (!pads.empty() && pads.size() != 2 * rank) {
    m.out.fail("operator '" + std::string(op.name) + "': its padding does not fit");
  }
  const auto extent = [](const Shape& of, const std::vector<std::int64_t>& order, std::size_t i) {
    return of[static_cast<std::size_t>(order[i + 2])];
  };
  const auto at = [](const std::vector<std::int64_t>& numbers, std::size_t i, std::int64_t usual) {
    return i < numbers.size() ? numbers[i] : usual;
  };
  for (std::size_t i = 0; i < rank; ++i) {
    const Dim x = extent(planes.input, axes.input, i), k = extent(planes.kernel, axes.kernel, i),
              y = extent(planes.output, axes.output, i);
    if (x.symbolic() || k.symbolic() || y.symbolic() || x.size < 1 || k.size < 1) continue;
    const std::int64_t whole = (x.size - 1) * at(holes, i, 1) + 1 + at(pads, 2 * i, 0) +
                               at(pads, 2 * i + 1, 0),
                       wide = (k.size - 1) * at(gaps, i, 1) + 1;
    const std::int64_t left = whole < wide ? 0 : (whole - wide) / at(strides, i, 1) + 1;
    if (left == y.size) continue;
    m.out.fail("operator '" + std::string(op.name) + "': its window leaves " +
               std::to_string(left) + " of an axis, its result has " + std::to_string(y.size));
  }
}

struct ConvolutionGroups {
  std::int64_t features = 1, batches = 1;
  bool transposed = false;  ///< the kernel's first axis is the input's features
};

/// Samples and features of the result are those that operands and groups make.
void check_features(Importer& m, const Op& op, const Planes& planes, const PlaneAxes& axes,
                    const ConvolutionGroups& groups) {
  const auto extent = [](const Shape& of, std::int64_t axis) -> const Dim& {
    return of[static_cast<std::size_t>(axis)];
  };
  const std::size_t takes = groups.transposed ? 0 : 1;
  const std::int64_t features = extent(planes.input, axes.input[1]).size;
  const std::int64_t taken = extent(planes.kernel, axes.kernel[takes]).size;
  if (features > 0 && taken > 0 && features != taken * groups.features) {
    m.out.fail("the kernel takes " + std::to_string(taken) + " x " +
               std::to_string(groups.features) + " features, the operand has " +
               std::to_string(features));
  }
  const auto check_kept = [&](const Dim& there, std::int64_t parts, std::size_t i,
                              const char* what) {
    const Dim& stated = extent(planes.output, axes.output[i]);
    if (there.symbolic() || stated.symbolic() || there.size == stated.size * parts) return;
    m.out.fail("operator '" + std::string(op.name) + "' leaves " +
               std::to_string(there.size / parts) + " " + what + ", its result has " +
               std::to_string(stated.size));
  };
  check_kept(extent(planes.input, axes.input[0]), groups.batches, 0, "samples");
  check_kept(extent(planes.kernel, axes.kernel[1 - takes]), 1, 1, "features");
}

Values convolution(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 2) return m.opaque(op, in);
  std::string_view numbers = op.find("dim_numbers");
  if (numbers.empty()) numbers = op.find("dimension_numbers");
  const std::vector<std::string_view> lists = brackets(numbers);
  const std::size_t rank = m.shape(in[0]).size();
  if (lists.size() != 3 || rank < 3 || rank > 5) return m.opaque(op, in);
  const std::vector<std::int64_t> data = canonical(lists[0], 'b', 'f');
  const std::string_view window = op.find("window");
  std::string_view dilation = mlir::entry(window, "lhs_dilate");
  if (dilation.empty()) dilation = op.find("lhs_dilation");
  const std::vector<std::int64_t> dilated = mlir::integers(dilation);
  // Holes between the input's elements: each of them meets the whole kernel once.
  const bool transposed = std::ranges::any_of(dilated, [](std::int64_t d) { return d > 1; });
  const std::vector<std::int64_t> kernel =
      transposed ? canonical(lists[1], 'i', 'o') : canonical(lists[1], 'o', 'i');
  const std::vector<std::int64_t> result = canonical(lists[2], 'b', 'f');
  const ResultType type = m.result(op, 0, in);
  if (data.size() != rank || kernel.size() != rank || result.size() != rank ||
      m.shape(in[1]).size() != rank || type.shape.size() != rank) {
    m.out.fail("the dimension numbers do not fit the operands");
  }
  const std::int64_t groups = number_of(op, "feature_group_count", 1);
  const std::int64_t batches = number_of(op, "batch_group_count", 1);
  if (groups < 1 || batches < 1) m.out.fail("a number of groups is out of range");
  const Planes planes{m.shape(in[0]), m.shape(in[1]), type.shape};
  const PlaneAxes axes{data, kernel, result};
  check_features(m, op, planes, axes, {groups, batches, transposed});
  check_window(m, op, planes, axes);
  Shape shape;
  for (const std::int64_t axis : result)
    shape.push_back(type.shape[static_cast<std::size_t>(axis)]);
  const ValueId x = m.permute(in[0], data);
  const ValueId w = m.permute(in[1], kernel);
  const std::string target = std::string("aten.conv") + (transposed ? "_transpose" : "") +
                             std::to_string(rank - 2) + "d.default";
  std::string_view strides = mlir::entry(window, "stride");
  if (strides.empty()) strides = op.find("window_strides");
  const ValueId y = m.emit(target, {{"input", x}, {"weight", w}}, {type.dtype, shape},
                           {{"groups", groups}, {"stride", mlir::integers(strides)}});
  std::vector<std::int64_t> back(rank);
  for (std::size_t i = 0; i < rank; ++i)
    back[static_cast<std::size_t>(result[i])] = static_cast<std::int64_t>(i);
  return {m.permute(y, back)};
}

std::vector<std::int64_t> reduced_axes(const Op& op) {
  std::string_view text = op.find("dimensions");
  return mlir::integers(text);
}

Values reduce(Importer& m, const Op& op, const Values& in) {
  const std::size_t count = in.size() / 2;
  const std::vector<std::int64_t> axes = reduced_axes(op);
  if (count == 0 || !in_range(axes, m.shape(in[0]).size())) return m.opaque(op, in);
  std::string_view how = op.word("stablehlo.");
  if (how.empty()) how = m.reducer(op);
  const ResultType type = m.result(op, 0);
  if (count == 2) {  // a value and its index: argmax or argmin
    return m.emit_all("aten.max.dim", {{"self", in[0]}}, {type, m.result(op, 1)}, {{"dim", axes}});
  }
  if (count > 2) return m.opaque(op, in);
  static constexpr auto kTargets = std::to_array<Pair>({{"stablehlo.add", "aten.sum.dim_IntList"},
                                                        {"stablehlo.multiply", "aten.prod.dim_int"},
                                                        {"stablehlo.maximum", "aten.amax.default"},
                                                        {"stablehlo.minimum", "aten.amin.default"},
                                                        {"stablehlo.and", "aten.all.dims"},
                                                        {"stablehlo.or", "aten.any.dims"},
                                                        {"stablehlo.xor", "aten.sum.dim_IntList"}});
  const auto row = std::ranges::find(kTargets, how, &Pair::op);
  if (row == kTargets.end()) return m.opaque(op, in);
  if (axes.empty()) return {in[0]};
  return {m.emit(std::string(row->target), {{"self", in[0]}}, type, {{"dim", axes}})};
}

/// Windows of a maximum or a sum are pooling; one that reaches back over a whole axis is a running
/// sum.
Values reduce_window(Importer& m, const Op& op, const Values& in) {
  const std::string_view how = m.reducer(op);
  const std::vector<std::int64_t> window = mlir::integers(op.find("window_dimensions"));
  if (in.size() != 2 || window.size() != m.shape(in[0]).size()) return m.opaque(op, in);
  const ResultType type = m.result(op, 0);
  std::size_t wide = 0;
  std::size_t axis = 0;
  double cells = 1;
  for (std::size_t i = 0; i < window.size(); ++i) {
    cells *= static_cast<double>(window[i]);
    if (window[i] == 1) continue;
    ++wide;
    axis = i;
  }
  const bool same = type.shape == m.shape(in[0]);
  if (wide == 1 && same && m.shape(in[0])[axis].size == window[axis]) {
    if (how == "stablehlo.add" || how == "stablehlo.multiply") {
      return {m.emit(how == "stablehlo.add" ? "aten.cumsum.default" : "aten.cumprod.default",
                     {{"self", in[0]}}, type, {{"dim", static_cast<std::int64_t>(axis)}})};
    }
  }
  if (how == "stablehlo.maximum" || how == "stablehlo.minimum") {
    return {m.emit("aten.max_pool2d.default", {{"self", in[0]}}, type, {{"kernel_size", window}})};
  }
  if (how == "stablehlo.add") {
    return {m.emit("aten.avg_pool2d.default", {{"self", in[0]}}, type, {{"kernel_size", window}})};
  }
  return m.opaque(op, in, {{"bound_other_flops", cells}});
}

Values fft(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 1) return m.opaque(op, in);
  std::string kind(op.find("type"));
  if (kind.empty()) kind = op.find("fft_type");
  const char* target = kind.find("IRFFT") != std::string::npos  ? "aten._fft_c2r.default"
                       : kind.find("RFFT") != std::string::npos ? "aten._fft_r2c.default"
                                                                : "aten._fft_c2c.default";
  return {m.emit(target, {{"self", in[0]}}, m.result(op, 0))};
}

constexpr auto kOthers = std::to_array<HandlerRow>({{"not", bitwise},
                                                    {"and", bitwise},
                                                    {"or", bitwise},
                                                    {"xor", bitwise},
                                                    {"compare", compare},
                                                    {"broadcast_compare", compare},
                                                    {"select", select},
                                                    {"clamp", clamp},
                                                    {"convert", convert},
                                                    {"bitcast_convert", convert},
                                                    {"dot_general", dot_general},
                                                    {"dot", dot_general},
                                                    {"convolution", convolution},
                                                    {"reduce", reduce},
                                                    {"reduce_window", reduce_window},
                                                    {"fft", fft}});

}  // namespace

std::span<const HandlerRow> math_handlers() {
  static const std::vector<HandlerRow> kRows = [] {
    std::vector<HandlerRow> rows(kOthers.begin(), kOthers.end());
    for (const Pair& pair : kUnary) rows.push_back({pair.op, unary});
    for (const Pair& pair : kBinary) rows.push_back({pair.op, binary});
    for (const std::string_view op :
         {"broadcast_add", "broadcast_subtract", "broadcast_multiply", "broadcast_divide",
          "broadcast_maximum", "broadcast_minimum", "broadcast_power"}) {
      rows.push_back({op, binary});
    }
    return rows;
  }();
  return kRows;
}

}  // namespace parallel_opt::stablehlo
