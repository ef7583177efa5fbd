#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_attention.h"
#include "parallel_opt/importers/onnx_ops.h"

/// com.microsoft: the operators that ONNX Runtime fuses models into.
namespace parallel_opt::onnx {
namespace {

/// Operand `i` of a FusedMatMul with its last two axes as the product takes them.
std::optional<Shape> turned(Call& call, std::size_t i, const char* flag) {
  const Shape* shape = call.shape(i);
  if (shape == nullptr) return std::nullopt;
  Shape result = *shape;
  if (call.whole(flag, 0) != 0 && result.size() >= 2)
    std::swap(result[result.size() - 1], result[result.size() - 2]);
  return result;
}

void fused_matmul_shape(Call& call) {
  const auto a = turned(call, 0, "transA"), b = turned(call, 1, "transB");
  call.set(0, call.element(0), a && b ? matmul_of(call, *a, *b) : std::nullopt);
}

TensorId turned_tensor(Call& call, std::size_t i, const char* flag) {
  const Shape* shape = call.shape(i);
  if (shape == nullptr || shape->size() < 2 || call.whole(flag, 0) == 0) return call.tensor(i);
  std::vector<std::int64_t> order = axes_up_to(shape->size());
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return permuted(call, call.tensor(i), order, call.element(i));
}

void fused_matmul(Call& call) {
  const TensorId a = turned_tensor(call, 0, "transA"), b = turned_tensor(call, 1, "transB");
  call.emit("aten.matmul.default", {{"self", a}, {"other", b}});
}

/// The sum of operands first..., in the shape of operand 0.
TensorId sum_of(Call& call, std::initializer_list<std::size_t> operands) {
  TensorId total = call.tensor(0);
  for (const std::size_t i : operands) {
    if (!call.has(i)) continue;
    total = call.step("aten.add.Tensor", {{"self", total}, {"other", call.tensor(i)}}, {},
                      call.element(0), *call.shape(0));
  }
  return total;
}

void skip_norm_shape(Call& call) {
  same_shape(call);
  if (call.has(0)) call.set(3, call.element(0), call.input(0)->shape);
}

void skip_norm(Call& call, bool mean) {
  if (call.shape(0) == nullptr || call.shape(0)->empty())
    return call.emit("com.microsoft." + std::string(call.node.type), call.operands("inputs*"));
  const std::size_t bias = mean ? 4 : 3;
  const TensorId sum = sum_of(call, {1, bias});
  const std::vector<std::int64_t> last{call.shape(0)->back().size};
  Operands operands{{"input", sum}, {"weight", call.tensor(2)}};
  if (mean && call.has(3)) operands.push_back({"bias", call.tensor(3)});
  call.emit_one(0, mean ? "aten.layer_norm.default" : "aten.rms_norm.default", std::move(operands),
                {{"normalized_shape", last}});
  call.emit_one(3, "aten.clone.default", {{"self", sum}});
}

void rms_norm_of_last(Call& call) {
  const std::int64_t size = call.shape_out().empty() ? 1 : call.shape_out().back().size;
  call.emit("aten.rms_norm.default", call.operands("input weight"),
            {{"normalized_shape", std::vector<std::int64_t>{size}}});
}

void bias_gelu(Call& call, const char* target) {
  if (!call.has(1) || call.shape(0) == nullptr)
    return call.emit(target, {{"self", call.tensor(0)}});
  call.emit(target, {{"self", sum_of(call, {1})}});
}

/// One product makes query, key and value: input [b, s, c], weight [c, 3 h d].
void packed_attention_shape(Call& call) {
  const Shape *x = call.shape(0), *w = call.shape(1);
  if (x == nullptr || w == nullptr || x->size() != 3 || w->size() != 2)
    return call.set(0, call.element(0), std::nullopt);
  const std::vector<std::int64_t> hidden = call.wholes("qkv_hidden_sizes");
  const Dim wide = hidden.size() == 3 ? fixed(hidden[2]) : floor_divide((*w)[1], fixed(3));
  call.set(0, call.element(0), Shape{(*x)[0], (*x)[1], wide});
  const std::int64_t heads = std::max<std::int64_t>(call.whole("num_heads", 1), 1);
  Dim total = (*x)[1];
  if (const Shape* past = call.shape(4); past != nullptr && past->size() == 5)
    total = add(total, (*past)[3]);
  call.set(1, call.element(0),
           Shape{fixed(2), (*x)[0], fixed(heads), total, floor_divide(wide, fixed(heads))});
}

void packed_attention(Call& call) {
  const Shape *x = call.shape(0), *w = call.shape(1);
  if (x == nullptr || w == nullptr || x->size() != 3 || w->size() != 2 || call.wants(1)) {
    return call.emit("com.microsoft.Attention", call.operands("inputs*"));
  }
  const std::int64_t element = call.element(0), last = 2;
  Shape all = *x;
  all[2] = (*w)[1];
  TensorId packed = call.step(
      "aten.matmul.default",
      call.has(1) ? Operands{{"self", call.tensor(0)}, {"other", call.tensor(1)}} : Operands(), {},
      element, all);
  if (call.has(2))
    packed = call.step("aten.add.Tensor", {{"self", packed}, {"other", call.tensor(2)}}, {},
                       element, all);
  const Dim third = floor_divide((*w)[1], fixed(3));
  std::vector<std::int64_t> hidden = call.wholes("qkv_hidden_sizes");
  const std::int64_t heads = std::max<std::int64_t>(call.whole("num_heads", 1), 1);
  std::array<Heads, 3> parts;
  for (std::size_t i = 0; i < 3; ++i) {
    Shape part = *x;
    part[2] = hidden.size() == 3 ? fixed(hidden[i]) : third;
    const TensorId slice = call.step(
        "aten.slice.Tensor", {{"self", packed}},
        {{"dim", last}, {"start", static_cast<std::int64_t>(i) * part[2].size}}, element, part);
    parts[i] = split_heads(call, slice, part, heads, element);
  }
  attend(call, 0, parts[0], parts[1], parts[2], call.tensor(5),
         call.whole("unidirectional", 0) != 0, true);
}

/// Heads of query, of key and value, and where the past is.
struct SplitAttention {
  std::int64_t heads = 1, key_heads = 1;
  std::size_t past = 0, mask = 0;
  bool causal = false;
};

SplitAttention split_attention(const Call& call) {
  const std::int64_t heads = std::max<std::int64_t>(call.whole("num_heads", 1), 1);
  if (call.node.type == "GroupQueryAttention") {
    return {heads, std::max<std::int64_t>(call.whole("kv_num_heads", heads), 1), 3, 99, true};
  }
  return {heads, heads, 6, 5, call.whole("unidirectional", 0) != 0};
}

/// Query, key and value as heads of known sizes; empty: packed in another way, or unknown.
std::optional<std::array<Shape, 3>> split_sizes(Call& call, const SplitAttention& how) {
  const Shape *q = call.shape(0), *k = call.shape(1), *v = call.shape(2);
  if (q == nullptr || q->size() != 3) return std::nullopt;
  if (!call.has(1) && call.node.type == "GroupQueryAttention") {  // all in one row of heads
    const Dim depth = floor_divide((*q)[2], fixed(how.heads + 2 * how.key_heads));
    const Shape key{(*q)[0], fixed(how.key_heads), (*q)[1], depth};
    return std::array<Shape, 3>{Shape{(*q)[0], fixed(how.heads), (*q)[1], depth}, key, key};
  }
  if (k == nullptr || v == nullptr || (k->size() != 3 && k->size() != 4) || v->size() != k->size())
    return std::nullopt;
  return std::array<Shape, 3>{heads_shape(*q, how.heads), heads_shape(*k, how.key_heads),
                              heads_shape(*v, how.key_heads)};
}

void split_attention_shape(Call& call) {
  const SplitAttention how = split_attention(call);
  const auto sizes = split_sizes(call, how);
  if (!sizes) return call.set(0, call.element(0), std::nullopt);
  const auto& [q, k, v] = *sizes;
  call.set(0, call.element(0), Shape{q[0], q[2], multiply(q[1], v[3])});
  Dim total = k[2];
  if (const Shape* past = call.shape(how.past); past != nullptr && past->size() == 4)
    total = add((*past)[2], total);
  call.set(1, call.element(0), Shape{k[0], k[1], total, k[3]});
  call.set(2, call.element(0), Shape{v[0], v[1], total, v[3]});
}

void split_attention_ops(Call& call) {
  const SplitAttention how = split_attention(call);
  const auto sizes = split_sizes(call, how);
  if (!sizes)
    return call.emit("com.microsoft." + std::string(call.node.type), call.operands("inputs*"));
  const std::int64_t element = call.element(0), last = 2;
  const std::array<std::int64_t, 3> heads{how.heads, how.key_heads, how.key_heads};
  std::array<Heads, 3> parts;
  std::int64_t start = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const Shape& s = (*sizes)[i];
    if (call.has(1)) {
      parts[i] = split_heads(call, call.tensor(i), *call.shape(i), heads[i], element);
      continue;
    }
    const Shape row{s[0], s[2], multiply(s[1], s[3])};
    const TensorId slice = call.step("aten.slice.Tensor", {{"self", call.tensor(0)}},
                                     {{"dim", last}, {"start", start}}, element, row);
    start += row[2].size;
    parts[i] = split_heads(call, slice, row, heads[i], element);
  }
  for (std::size_t i = 1; i < 3; ++i) {
    const Shape* past = call.shape(how.past + i - 1);
    if (past != nullptr && past->size() == 4) {
      parts[i] = append_past(call, how.past + i - 1, parts[i], static_cast<int>(i));
    } else {
      call.emit_one(i, "aten.clone.default", {{"self", parts[i].tensor}});
    }
  }
  attend(call, 0, parts[0], parts[1], parts[2], call.tensor(how.mask), how.causal, true);
}

void packed_matmul_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr || x->empty()) return call.set(0, call.element(0), std::nullopt);
  const std::int64_t k = call.whole("K", 0), n = call.whole("N", 0);
  if (k < 1 || n < 1 || (is_fixed(x->back()) && x->back().size != k)) {
    return call.fault("K " + std::to_string(k) + ", N " + std::to_string(n) + " for " + show(*x));
  }
  Shape shape = *x;
  shape.back() = fixed(n);
  call.set(0, call.element(0), std::move(shape));
}

/// Weights of few bits: unpacked, then a linear layer.
void packed_matmul(Call& call) {
  const Shape wide{fixed(call.whole("N", 1)), fixed(call.whole("K", 1))};
  const TensorId weight =
      call.step("aten._to_copy.default", {{"self", call.tensor(1)}}, {}, call.element(0), wide);
  Operands operands{{"input", call.tensor(0)}, {"weight", weight}};
  if (call.has(5)) operands.push_back({"bias", call.tensor(5)});
  call.emit("aten.linear.default", std::move(operands));
}

void quantized_binary_shape(Call& call) {
  const Shape *a = call.shape(0), *b = call.shape(3);
  std::optional<Shape> shape;
  if (a != nullptr && b != nullptr) shape = broadcast(*a, *b);
  if (a != nullptr && b != nullptr && !shape)
    return call.fault("operands " + show(*a) + " and " + show(*b) + " do not broadcast");
  call.set(0, call.element(0), std::move(shape));
}

void quantized_binary(Call& call, const char* target) {
  call.emit(target, {{"self", call.tensor(0)}, {"other", call.tensor(3)}});
}

void dynamic_matmul_shape(Call& call) {
  std::optional<Shape> shape;
  if (call.shape(0) != nullptr && call.shape(1) != nullptr)
    shape = matmul_of(call, *call.shape(0), *call.shape(1));
  call.set(0, call.node.type == "MatMulIntegerToFloat" ? kFloat : call.element(0),
           std::move(shape));
}

void dynamic_matmul(Call& call) {
  call.emit("aten.matmul.default", {{"self", call.tensor(0)}, {"other", call.tensor(1)}});
}

constexpr auto kMicrosoftRules = std::to_array<OpRule>({
    {"FusedMatMul", fused_matmul_shape, {}, {}, fused_matmul},
    {"SkipLayerNormalization", skip_norm_shape, {}, {}, [](Call& c) { skip_norm(c, true); }},
    {"SkipSimplifiedLayerNormalization",
     skip_norm_shape,
     {},
     {},
     [](Call& c) { skip_norm(c, false); }},
    {"SimplifiedLayerNormalization", same_shape, {}, {}, rms_norm_of_last},
    {"BiasGelu", same_shape, {}, {}, [](Call& c) { bias_gelu(c, "aten.gelu.default"); }},
    {"FastGelu", same_shape, {}, {}, [](Call& c) { bias_gelu(c, "aten.gelu.default"); }},
    {"Gelu", same_shape, "aten.gelu.default", "self"},
    {"QuickGelu", same_shape, "aten.silu.default", "self"},
    {"Attention", packed_attention_shape, {}, {}, packed_attention},
    {"MultiHeadAttention", split_attention_shape, {}, {}, split_attention_ops},
    {"GroupQueryAttention", split_attention_shape, {}, {}, split_attention_ops},
    {"RotaryEmbedding", same_shape},
    {"MoE", same_shape, {}, {}, mixture_of_experts},
    {"QMoE", same_shape, {}, {}, mixture_of_experts},
    {"MatMulNBits", packed_matmul_shape, {}, {}, packed_matmul},
    {"DynamicQuantizeMatMul", dynamic_matmul_shape, {}, {}, dynamic_matmul},
    {"MatMulIntegerToFloat", dynamic_matmul_shape, {}, {}, dynamic_matmul},
    {"QLinearAdd",
     quantized_binary_shape,
     {},
     {},
     [](Call& c) { quantized_binary(c, "aten.add.Tensor"); }},
    {"QLinearMul",
     quantized_binary_shape,
     {},
     {},
     [](Call& c) { quantized_binary(c, "aten.mul.Tensor"); }},
    {"QLinearSigmoid", same_shape, "aten.sigmoid.default", "self - - - -"},
    {"QLinearLeakyRelu", same_shape, "aten.leaky_relu.default", "self - - - -"},
});

}  // namespace

std::span<const OpRule> microsoft_rules() { return kMicrosoftRules; }

}  // namespace parallel_opt::onnx
