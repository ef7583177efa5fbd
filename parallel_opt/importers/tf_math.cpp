#include <algorithm>
#include <array>
#include <unordered_map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/tf_context.h"

// Elementwise operators, reductions and contractions.
namespace parallel_opt::tf {
namespace {

struct Pair {
  std::string_view op, target;
};

constexpr auto kUnary =
    std::to_array<Pair>({{"Relu", "aten.relu.default"},
                         {"Relu6", "aten.relu6.default"},
                         {"Sigmoid", "aten.sigmoid.default"},
                         {"Tanh", "aten.tanh.default"},
                         {"Elu", "aten.elu.default"},
                         {"Selu", "aten.selu.default"},
                         {"LeakyRelu", "aten.leaky_relu.default"},
                         {"Softplus", "aten.softplus.default"},
                         {"Softsign", "aten.softsign.default"},
                         {"Exp", "aten.exp.default"},
                         {"Expm1", "aten.expm1.default"},
                         {"Log", "aten.log.default"},
                         {"Log1p", "aten.log1p.default"},
                         {"Sqrt", "aten.sqrt.default"},
                         {"Rsqrt", "aten.rsqrt.default"},
                         {"Reciprocal", "aten.reciprocal.default"},
                         {"Inv", "aten.reciprocal.default"},
                         {"Square", "aten.square.default"},
                         {"Abs", "aten.abs.default"},
                         {"Neg", "aten.neg.default"},
                         {"Sign", "aten.sign.default"},
                         {"Floor", "aten.floor.default"},
                         {"Ceil", "aten.ceil.default"},
                         {"Round", "aten.round.default"},
                         {"Rint", "aten.round.default"},
                         {"Sin", "aten.sin.default"},
                         {"Cos", "aten.cos.default"},
                         {"Tan", "aten.tan.default"},
                         {"Asin", "aten.asin.default"},
                         {"Acos", "aten.acos.default"},
                         {"Atan", "aten.atan.default"},
                         {"Sinh", "aten.sinh.default"},
                         {"Cosh", "aten.cosh.default"},
                         {"Erf", "aten.erf.default"},
                         {"Erfc", "aten.erfc.default"},
                         {"Erfinv", "aten.erfinv.default"},
                         {"Lgamma", "aten.lgamma.default"},
                         {"Digamma", "aten.digamma.default"},
                         {"LogicalNot", "aten.logical_not.default"},
                         {"Invert", "aten.bitwise_not.default"},
                         {"IsNan", "aten.isnan.default"},
                         {"IsInf", "aten.isinf.default"},
                         {"IsFinite", "aten.isfinite.default"},
                         {"ZerosLike", "aten.zeros_like.default"},
                         {"OnesLike", "aten.ones_like.default"},
                         {"Conj", "aten.conj.default"},
                         {"FFT", "aten.fft_fft.default"},
                         {"IFFT", "aten.fft_ifft.default"},
                         {"FFT2D", "aten.fft_fft2.default"},
                         {"IFFT2D", "aten.fft_ifft2.default"},
                         {"MatrixInverse", "aten.linalg_inv.default"},
                         {"Cholesky", "aten.linalg_cholesky.default"},
                         {"MatrixExponential", "aten.linalg_matrix_exp.default"},
                         {"StopGradient", "aten.detach.default"}});

constexpr auto kBinary = std::to_array<Pair>({{"Add", "aten.add.Tensor"},
                                              {"AddV2", "aten.add.Tensor"},
                                              {"Sub", "aten.sub.Tensor"},
                                              {"Mul", "aten.mul.Tensor"},
                                              {"MulNoNan", "aten.mul.Tensor"},
                                              {"Div", "aten.div.Tensor"},
                                              {"RealDiv", "aten.div.Tensor"},
                                              {"DivNoNan", "aten.div.Tensor"},
                                              {"Xdivy", "aten.div.Tensor"},
                                              {"TruncateDiv", "aten.div.Tensor_mode"},
                                              {"FloorDiv", "aten.floor_divide.default"},
                                              {"FloorMod", "aten.remainder.Tensor"},
                                              {"Mod", "aten.fmod.Tensor"},
                                              {"TruncateMod", "aten.fmod.Tensor"},
                                              {"Pow", "aten.pow.Tensor_Tensor"},
                                              {"Maximum", "aten.maximum.default"},
                                              {"Minimum", "aten.minimum.default"},
                                              {"Atan2", "aten.atan2.default"},
                                              {"BitwiseAnd", "aten.bitwise_and.Tensor"},
                                              {"BitwiseOr", "aten.bitwise_or.Tensor"},
                                              {"BitwiseXor", "aten.bitwise_xor.Tensor"},
                                              {"LeftShift", "aten.bitwise_left_shift.Tensor"},
                                              {"RightShift", "aten.bitwise_right_shift.Tensor"}});

constexpr auto kComparisons = std::to_array<Pair>({{"Equal", "aten.eq.Tensor"},
                                                   {"NotEqual", "aten.ne.Tensor"},
                                                   {"Less", "aten.lt.Tensor"},
                                                   {"LessEqual", "aten.le.Tensor"},
                                                   {"Greater", "aten.gt.Tensor"},
                                                   {"GreaterEqual", "aten.ge.Tensor"},
                                                   {"ApproximateEqual", "aten.isclose.default"},
                                                   {"LogicalAnd", "aten.logical_and.default"},
                                                   {"LogicalOr", "aten.logical_or.default"}});

constexpr auto kReductions =
    std::to_array<Pair>({{"Sum", "aten.sum.dim_IntList"},
                         {"Mean", "aten.mean.dim"},
                         {"Prod", "aten.prod.dim_int"},
                         {"Max", "aten.amax.default"},
                         {"Min", "aten.amin.default"},
                         {"All", "aten.all.dims"},
                         {"Any", "aten.any.dims"},
                         {"EuclideanNorm", "aten.linalg_vector_norm.default"},
                         {"ArgMax", "aten.argmax.default"},
                         {"ArgMin", "aten.argmin.default"}});

std::string target_of(std::span<const Pair> rows, std::string_view op) {
  const auto at = std::ranges::find(rows, op, &Pair::op);
  return std::string(at->target);
}

Values unary(Context& c, const Node& node, const Values& in) {
  if (in.empty() || c.any_unranked(in)) return c.opaque(node, in);
  ResultType type = c.type(in[0]);
  if (node.op == "IsNan" || node.op == "IsInf" || node.op == "IsFinite") {
    type.dtype = DType::boolean;
  }
  Attributes attributes;
  if (node.op == "LeakyRelu") {
    const Attr* alpha = node.find("alpha");
    attributes["negative_slope"] = alpha == nullptr ? 0.2 : alpha->real;
  }
  return {c.emit(target_of(kUnary, node.op), {{"self", in[0]}}, type, std::move(attributes))};
}

Values elementwise(Context& c, const Node& node, const Values& in, std::span<const Pair> rows,
                   bool flag) {
  if (in.size() != 2 || c.any_unranked(in)) return c.opaque(node, in);
  const Shape shape = sizes::broadcast(c.shape(in[0]), c.shape(in[1]));
  return {c.emit(target_of(rows, node.op), {{"self", in[0]}, {"other", in[1]}},
                 {flag ? DType::boolean : c.at(in[0]).dtype, shape})};
}

Values binary(Context& c, const Node& node, const Values& in) {
  return elementwise(c, node, in, kBinary, false);
}

Values compare(Context& c, const Node& node, const Values& in) {
  return elementwise(c, node, in, kComparisons, true);
}

Values squared_difference(Context& c, const Node& node, const Values& in) {
  if (in.size() != 2 || c.any_unranked(in)) return c.opaque(node, in);
  const ResultType type{c.at(in[0]).dtype, sizes::broadcast(c.shape(in[0]), c.shape(in[1]))};
  const ValueId difference = c.emit("aten.sub.Tensor", {{"self", in[0]}, {"other", in[1]}}, type);
  return {c.emit("aten.square.default", {{"self", difference}}, type)};
}

Values add_many(Context& c, const Node& node, const Values& in) {
  if (in.empty() || c.any_unranked(in)) return c.opaque(node, in);
  ValueId sum = in[0];
  for (std::size_t i = 1; i < in.size(); ++i) {
    sum = c.emit("aten.add.Tensor", {{"self", sum}, {"other", in[i]}}, c.type(in[0]));
  }
  return {sum};
}

Values bias_add(Context& c, const Node& node, const Values& in) {
  if (in.size() != 2 || c.any_unranked(in)) return c.opaque(node, in);
  ValueId bias = in[1];
  const std::size_t axes = c.shape(in[0]).size();
  if (node.text("data_format").starts_with("NC") && axes > 2 && c.shape(bias).size() == 1) {
    Shape shape(axes - 1, sizes::fixed(1));
    shape[0] = c.shape(bias)[0];
    bias = c.reshape(bias, shape);
  }
  return {c.emit("aten.add.Tensor", {{"self", in[0]}, {"other", bias}}, c.type(in[0]))};
}

Values select(Context& c, const Node& node, const Values& in) {
  if (in.size() != 3 || c.any_unranked(in)) return c.opaque(node, in);
  Shape shape = sizes::broadcast(c.shape(in[1]), c.shape(in[2]));
  // The first form takes a condition for each row.
  if (node.op != "Select") shape = sizes::broadcast(shape, c.shape(in[0]));
  return {c.emit("aten.where.self", {{"condition", in[0]}, {"self", in[1]}, {"other", in[2]}},
                 {c.at(in[1]).dtype, shape})};
}

Values clip(Context& c, const Node& node, const Values& in) {
  if (in.size() != 3 || c.any_unranked(in)) return c.opaque(node, in);
  return {c.emit("aten.clamp.Tensor", {{"self", in[0]}, {"min", in[1]}, {"max", in[2]}},
                 c.type(in[0]))};
}

/// Axes from the front; empty when they are not known.
std::optional<std::vector<std::int64_t>> axes_of(const Context& c, ValueId value, ValueId axes) {
  auto chosen = c.integers(axes);
  if (!chosen) return std::nullopt;
  const auto rank = static_cast<std::int64_t>(c.shape(value).size());
  for (std::int64_t& axis : *chosen) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank)
      c.out.fail("axis out of range for " + std::to_string(rank) + " axes");
  }
  return chosen;
}

Values reduce(Context& c, const Node& node, const Values& in) {
  if (in.size() != 2 || c.any_unranked(in)) return c.opaque(node, in);
  const auto axes = axes_of(c, in[0], in[1]);
  if (!axes) return c.opaque(node, in);
  const bool position = node.op.starts_with("Arg");
  const bool keep = node.flag("keep_dims") && !position;
  ResultType type{c.at(in[0]).dtype, {}};
  if (position) type.dtype = dtype_of(node.type("output_type")).value_or(DType::i64);
  const Shape& shape = c.shape(in[0]);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool reduced = std::ranges::find(*axes, static_cast<std::int64_t>(i)) != axes->end();
    if (!reduced) type.shape.push_back(shape[i]);
    if (reduced && keep) type.shape.push_back(sizes::fixed(1));
  }
  if (axes->empty()) return {in[0]};
  return {c.emit(target_of(kReductions, node.op), {{"self", in[0]}}, type,
                 {{"dim", *axes}, {"keepdim", keep}})};
}

Values l2_loss(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  const ValueId square = c.emit("aten.square.default", {{"self", in[0]}}, c.type(in[0]));
  return {c.emit("aten.sum.default", {{"self", square}}, {c.at(in[0]).dtype, {}})};
}

Values scan(Context& c, const Node& node, const Values& in) {
  if (in.size() != 2 || c.any_unranked(in)) return c.opaque(node, in);
  const auto axes = axes_of(c, in[0], in[1]);
  if (!axes || axes->size() != 1) return c.opaque(node, in);
  return {c.emit(node.op == "Cumsum" ? "aten.cumsum.default" : "aten.cumprod.default",
                 {{"self", in[0]}}, c.type(in[0]), {{"dim", axes->front()}})};
}

ValueId transposed(Context& c, ValueId id) {
  std::vector<std::int64_t> order;
  for (std::size_t i = 0; i < c.shape(id).size(); ++i)
    order.push_back(static_cast<std::int64_t>(i));
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return c.permute(id, order);
}

/// MatMul and the batched forms; operands of complex numbers may be conjugated, which costs
/// nothing.
Values matmul(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in)) return c.opaque(node, in);
  ValueId a = in[0];
  ValueId b = in[1];
  if (c.shape(a).size() < 2 || c.shape(b).size() < 2)
    c.out.fail("a matrix has fewer than two axes");
  if (node.flag("transpose_a") || node.flag("adj_x")) a = transposed(c, a);
  if (node.flag("transpose_b") || node.flag("adj_y")) b = transposed(c, b);
  const Shape left = c.shape(a);
  const Shape right = c.shape(b);
  const Dim& inner = left.back();
  const Dim& other = right[right.size() - 2];
  if (!inner.symbolic() && !other.symbolic() && inner.size != other.size) {
    c.out.fail("inner sizes " + std::to_string(inner.size) + " and " + std::to_string(other.size) +
               " differ");
  }
  Shape shape =
      sizes::broadcast(Shape(left.begin(), left.end() - 2), Shape(right.begin(), right.end() - 2));
  const bool plain = left.size() == 2 && right.size() == 2;
  const bool batched = left.size() == 3 && right.size() == 3 && left[0] == right[0];
  shape.push_back(left[left.size() - 2]);
  shape.push_back(right.back());
  const DType dtype = dtype_of(node.type("Tout")).value_or(c.at(a).dtype);
  if (plain || batched) {
    return {c.emit(plain ? "aten.mm.default" : "aten.bmm.default", {{"self", a}, {"mat2", b}},
                   {dtype, shape})};
  }
  return {c.emit("aten.matmul.default", {{"self", a}, {"other", b}}, {dtype, shape})};
}

/// Sizes of an equation's letters; "..." stands for broadcast axes.
struct EquationSizes {
  std::unordered_map<char, Dim> letters;
  Shape ellipsis;
};

bool read_term(Context& c, std::string_view term, const Shape& shape, EquationSizes& known) {
  const std::size_t dots = term.find("...");
  const std::size_t letters = dots == term.npos ? term.size() : term.size() - 3;
  if (shape.size() < letters || (dots == term.npos && shape.size() != letters)) return false;
  const std::size_t wide = shape.size() - letters;
  std::size_t axis = 0;
  for (std::size_t i = 0; i < term.size(); ++i) {
    if (i == dots) {
      known.ellipsis = sizes::broadcast(
          known.ellipsis, Shape(shape.begin() + static_cast<std::ptrdiff_t>(axis),
                                shape.begin() + static_cast<std::ptrdiff_t>(axis + wide)));
      axis += wide;
      i += 2;
      continue;
    }
    const auto [at, fresh] = known.letters.try_emplace(term[i], shape[axis]);
    const Dim& now = shape[axis];
    if (!fresh) {
      const Dim& before = at->second;
      const bool differ = !before.symbolic() && !now.symbolic() && before.size != now.size &&
                          before.size != 1 && now.size != 1;
      if (differ) {
        c.out.fail(std::string("'") + term[i] + "' is " + std::to_string(before.size) + " and " +
                   std::to_string(now.size));
      }
      at->second = sizes::broadcast(before, now);
    }
    ++axis;
  }
  return true;
}

Values einsum(Context& c, const Node& node, const Values& in) {
  std::string equation;
  for (const char letter : node.text("equation")) {
    if (letter != ' ') equation += letter;
  }
  const std::size_t arrow = equation.find("->");
  const std::vector<std::string> terms = split(equation.substr(0, arrow), ',');
  if (arrow == std::string::npos || terms.size() != in.size() || c.any_unranked(in)) {
    return c.opaque(node, in);
  }
  EquationSizes known;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!read_term(c, terms[i], c.shape(in[i]), known)) {
      c.out.fail("equation '" + equation + "' does not fit an operand of " +
                 sizes::text(c.shape(in[i])));
    }
  }
  Shape shape;
  const std::string result = equation.substr(arrow + 2);
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (result[i] == '.') {
      shape.insert(shape.end(), known.ellipsis.begin(), known.ellipsis.end());
      i += 2;
      continue;
    }
    const auto at = known.letters.find(result[i]);
    if (at == known.letters.end()) {
      c.out.fail("equation '" + equation + "' makes '" + result[i] + "' from nothing");
    }
    shape.push_back(at->second);
  }
  Context::Arguments operands;
  for (const ValueId id : in) operands.emplace_back("tensors", id);
  return {c.emit("aten.einsum.default", operands, {c.at(in[0]).dtype, shape},
                 {{"equation", equation}})};
}

Values softmax(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  return {c.emit(node.op == "Softmax" ? "aten.softmax.int" : "aten.log_softmax.int",
                 {{"self", in[0]}}, c.type(in[0]), {{"dim", std::int64_t{-1}}})};
}

/// Losses with their gradient as a second result, which only a training graph uses.
Values cross_entropy(Context& c, const Node& node, const Values& in) {
  if (in.size() != 2 || c.any_unranked(in) || c.shape(in[0]).empty()) return c.opaque(node, in);
  const ResultType rows{c.at(in[0]).dtype, {c.shape(in[0]).front()}};
  const ValueId loss =
      c.emit("aten.cross_entropy_loss.default", {{"self", in[0]}, {"target", in[1]}}, rows,
             {{"reduction", std::int64_t{0}}});
  const ValueId gradient =
      c.emit("aten.softmax.int", {{"self", in[0]}}, c.type(in[0]), {{"dim", std::int64_t{-1}}});
  return {loss, gradient};
}

Values cast(Context& c, const Node& node, const Values& in) {
  const auto dtype = dtype_of(node.type(node.op == "Bitcast" ? "type" : "DstT"));
  if (in.size() != 1 || c.any_unranked(in) || !dtype) return c.opaque(node, in);
  if (*dtype == c.at(in[0]).dtype) return {in[0]};
  return {c.emit("aten._to_copy.default", {{"self", in[0]}}, {*dtype, c.shape(in[0])})};
}

Values complex_part(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  const ResultType type{dtype_of(node.type("Tout")).value_or(DType::fp32), c.shape(in[0])};
  const std::string target = node.op == "Real"    ? "aten.real.default"
                             : node.op == "Imag"  ? "aten.imag.default"
                             : node.op == "Angle" ? "aten.angle.default"
                                                  : "aten.abs.default";
  return {c.emit(target, {{"self", in[0]}}, type)};
}

Values complex_make(Context& c, const Node& node, const Values& in) {
  if (in.size() != 2 || c.any_unranked(in)) return c.opaque(node, in);
  return {c.emit("aten.complex.default", {{"real", in[0]}, {"imag", in[1]}},
                 {dtype_of(node.type("Tout")).value_or(DType::complex64),
                  sizes::broadcast(c.shape(in[0]), c.shape(in[1]))})};
}

/// Transforms of real numbers: half of the frequencies tell them all.
Values real_fourier(Context& c, const Node& node, const Values& in) {
  const auto length = in.size() == 2 ? c.integers(in[1]) : std::nullopt;
  if (!length || length->size() != 1 || c.any_unranked(in) || c.shape(in[0]).empty()) {
    return c.opaque(node, in);
  }
  const std::int64_t points = length->front();
  const bool forward = node.op == "RFFT";
  if (points < 1) c.out.fail("a transform of " + std::to_string(points) + " points");
  ResultType type = c.type(in[0]);
  type.shape.back() = sizes::fixed(forward ? points / 2 + 1 : points);
  type.dtype = forward ? dtype_of(node.type("Tcomplex")).value_or(DType::complex64)
                       : dtype_of(node.type("Treal")).value_or(DType::fp32);
  return {c.emit(forward ? "aten.fft_rfft.default" : "aten.fft_irfft.default", {{"self", in[0]}},
                 type, {{"n", points}})};
}

constexpr auto kOthers =
    std::to_array<HandlerRow>({{"SquaredDifference", squared_difference},
                               {"AddN", add_many},
                               {"BiasAdd", bias_add},
                               {"BiasAddV1", bias_add},
                               {"Select", select},
                               {"SelectV2", select},
                               {"ClipByValue", clip},
                               {"L2Loss", l2_loss},
                               {"Cumsum", scan},
                               {"Cumprod", scan},
                               {"MatMul", matmul},
                               {"BatchMatMul", matmul},
                               {"BatchMatMulV2", matmul},
                               {"BatchMatMulV3", matmul},
                               {"Einsum", einsum},
                               {"Softmax", softmax},
                               {"LogSoftmax", softmax},
                               {"SparseSoftmaxCrossEntropyWithLogits", cross_entropy},
                               {"SoftmaxCrossEntropyWithLogits", cross_entropy},
                               {"Cast", cast},
                               {"Bitcast", cast},
                               {"Real", complex_part},
                               {"Imag", complex_part},
                               {"Angle", complex_part},
                               {"ComplexAbs", complex_part},
                               {"Complex", complex_make},
                               {"RFFT", real_fourier},
                               {"IRFFT", real_fourier}});

}  // namespace

std::span<const HandlerRow> math_handlers() {
  static const std::vector<HandlerRow> kMathHandlers = [] {
    std::vector<HandlerRow> rows(kOthers.begin(), kOthers.end());
    for (const Pair& pair : kUnary) rows.push_back({pair.op, unary});
    for (const Pair& pair : kBinary) rows.push_back({pair.op, binary});
    for (const Pair& pair : kComparisons) rows.push_back({pair.op, compare});
    for (const Pair& pair : kReductions) rows.push_back({pair.op, reduce});
    return rows;
  }();
  return kMathHandlers;
}

}  // namespace parallel_opt::tf
