#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_attention.h"
#include "parallel_opt/importers/onnx_ops.h"

namespace parallel_opt::onnx {

Shape heads_shape(const Shape& shape, std::int64_t heads) {
  if (shape.size() != 3) return shape;
  return {shape[0], fixed(heads), shape[1],
          floor_divide(shape[2], fixed(std::max<std::int64_t>(heads, 1)))};
}

Heads split_heads(Call& call, TensorId tensor, const Shape& shape, std::int64_t heads,
                  std::int64_t element) {
  if (shape.size() != 3) return {tensor, shape};
  const Shape target = heads_shape(shape, heads);
  const TensorId split =
      reshaped(call, tensor, {target[0], target[2], target[1], target[3]}, element);
  return {permuted(call, split, {0, 2, 1, 3}, element), target};
}

Heads append_past(Call& call, std::size_t past, const Heads& now, int present) {
  const Shape* before = call.shape(past);
  if (before == nullptr || before->size() != 4) return now;
  Shape shape = now.shape;
  shape[2] = add((*before)[2], shape[2]);
  const Operands operands{{"tensors", call.tensor(past)}, {"tensors", now.tensor}};
  const std::int64_t axis = 2;
  if (present >= 0 && call.wants(static_cast<std::size_t>(present))) {
    call.emit_one(static_cast<std::size_t>(present), "aten.cat.default", operands, {{"dim", axis}});
    return {call.importer.tensor(call.out[static_cast<std::size_t>(present)]), shape};
  }
  return {call.step("aten.cat.default", operands, {{"dim", axis}}, call.element(past), shape),
          shape};
}

void attend(Call& call, std::size_t i, const Heads& query, const Heads& key, const Heads& value,
            TensorId mask, bool causal, bool merge) {
  Operands operands{{"query", query.tensor}, {"key", key.tensor}, {"value", value.tensor}};
  if (mask.valid()) operands.push_back({"attn_mask", mask});
  const bool grouped = query.shape[1] != key.shape[1];
  const Attributes attributes{{"is_causal", causal}, {"enable_gqa", grouped}};
  const std::string target = "aten.scaled_dot_product_attention.default";
  if (!merge) return call.emit_one(i, target, std::move(operands), attributes);
  const std::int64_t element = call.result(i).element;
  Shape shape = query.shape;
  shape[3] = value.shape[3];
  const TensorId heads = call.step(target, std::move(operands), attributes, element, shape);
  const TensorId rows = permuted(call, heads, {0, 2, 1, 3}, element);
  call.emit_one(i, "aten.reshape.default", {{"self", rows}},
                {{"shape", sizes_of(call.shape_out(i))}});
}

namespace {

struct Sizes {
  Shape query, key, value;  ///< as heads, before the past
  Dim total;                ///< length of keys with the past
};

/// Empty: shapes are unknown, or a fault.
std::optional<Sizes> attention_sizes(Call& call, std::int64_t query_heads, std::int64_t heads,
                                     std::size_t past) {
  const Shape *q = call.shape(0), *k = call.shape(1), *v = call.shape(2);
  if (q == nullptr || k == nullptr || v == nullptr) return std::nullopt;
  const bool split = q->size() == 3 && query_heads > 0 && heads > 0;
  if ((q->size() != 4 && !split) || k->size() != q->size() || v->size() != q->size()) {
    call.fault("takes 4 axes, or 3 and a number of heads, not " + show(*q) + ", " + show(*k) +
               ", " + show(*v));
    return std::nullopt;
  }
  Sizes sizes{heads_shape(*q, query_heads), heads_shape(*k, heads), heads_shape(*v, heads), {}};
  sizes.total = sizes.key[2];
  const Shape* before = call.shape(past);
  if (before != nullptr && before->size() == 4) sizes.total = add((*before)[2], sizes.total);
  return sizes;
}

std::optional<Sizes> main_sizes(Call& call) {
  return attention_sizes(call, call.whole("q_num_heads", 0), call.whole("kv_num_heads", 0), 4);
}

void attention_shape(Call& call) {
  const auto sizes = main_sizes(call);
  if (!sizes) return;
  const Shape &q = sizes->query, &k = sizes->key, &v = sizes->value;
  const std::int64_t element = call.element(0);
  call.set(0, element,
           call.shape(0)->size() == 3 ? Shape{q[0], q[2], multiply(q[1], v[3])}
                                      : Shape{q[0], q[1], q[2], v[3]});
  call.set(1, call.element(1), Shape{k[0], k[1], sizes->total, k[3]});
  call.set(2, call.element(2), Shape{v[0], v[1], sizes->total, v[3]});
  call.set(3, element, Shape{q[0], q[1], q[2], sizes->total});
}

void attention(Call& call) {
  const auto sizes = main_sizes(call);
  if (!sizes) return call.emit("onnx.Attention", call.operands("query key value inputs*"));
  const Shape& q = *call.shape(0);
  const Heads query =
      split_heads(call, call.tensor(0), q, call.whole("q_num_heads", 0), call.element(0));
  const std::int64_t heads = call.whole("kv_num_heads", 0);
  Heads key = split_heads(call, call.tensor(1), *call.shape(1), heads, call.element(1));
  Heads value = split_heads(call, call.tensor(2), *call.shape(2), heads, call.element(2));
  const bool past = call.has(4) && call.has(5);
  if (past) {
    key = append_past(call, 4, key, 1);
    value = append_past(call, 5, value, 2);
  } else {
    call.emit_one(1, "aten.clone.default", {{"self", key.tensor}});
    call.emit_one(2, "aten.clone.default", {{"self", value.tensor}});
  }
  attend(call, 0, query, key, value, call.tensor(3), call.whole("is_causal", 0) != 0,
         q.size() == 3);
  if (!call.wants(3)) return;
  const TensorId turned = permuted(call, key.tensor, {0, 1, 3, 2}, call.element(1));
  call.emit_one(3, "aten.matmul.default", {{"self", query.tensor}, {"other", turned}});
}

/// query [b, t, h d], state [b, h, d, e]: a step per token.
void linear_attention_shape(Call& call) {
  const Shape *q = call.shape(0), *k = call.shape(1), *v = call.shape(2);
  const std::int64_t query_heads = call.whole("q_num_heads", 1),
                     heads = call.whole("kv_num_heads", 1);
  if (q == nullptr || k == nullptr || v == nullptr || q->size() != 3 || k->size() != 3 ||
      v->size() != 3 || heads < 1)
    return;
  const Dim depth = floor_divide((*k)[2], fixed(heads)), wide = floor_divide((*v)[2], fixed(heads));
  call.set(0, call.element(0), Shape{(*q)[0], (*q)[1], multiply(fixed(query_heads), wide)});
  call.set(1, call.has(3) ? call.element(3) : call.element(0),
           Shape{(*q)[0], fixed(heads), depth, wide});
}

constexpr auto kAttentionRules = std::to_array<OpRule>({
    {"Attention", attention_shape, {}, {}, attention},
    {"RotaryEmbedding", same_shape},
    {"LinearAttention", linear_attention_shape},
});

void flex_shape(Call& call) {
  const Shape *q = call.shape(0), *v = call.shape(2);
  if (q == nullptr || v == nullptr || q->size() != 4 || v->size() != 4)
    return call.set(0, call.element(0), std::nullopt);
  call.set(0, call.element(0), Shape{(*q)[0], (*q)[1], (*q)[2], (*v)[3]});
}

void flex(Call& call) {
  if (call.attribute("score_mod") != nullptr || call.attribute("prob_mod") != nullptr) {
    call.importer.findings().note("what FlexAttention does to scores is not counted");
  }
  call.emit("aten.scaled_dot_product_attention.default", call.operands("query key value"),
            {{"enable_gqa", true}});
}

/// Optimizers: new values and states, each as the operand it replaces. Operands: rate, step, then
/// parameters, gradients and states in that order, `groups` lists in all.
void optimizer_shape(Call& call, std::size_t groups) {
  const std::size_t each = (call.in.size() - std::min<std::size_t>(call.in.size(), 2)) / groups;
  for (std::size_t i = 0; i < call.out.size() && each > 0; ++i) {
    const std::size_t from = 2 + (i < each ? i : i + each);  // gradients have no result
    if (call.has(from)) call.set(i, call.element(from), call.input(from)->shape);
  }
}

constexpr auto kPreview = std::to_array<OpRule>({
    {"FlexAttention", flex_shape, {}, {}, flex},
    {"Momentum", [](Call& c) { optimizer_shape(c, 3); }},
    {"Adagrad", [](Call& c) { optimizer_shape(c, 3); }},
    {"Adam", [](Call& c) { optimizer_shape(c, 4); }},
});

}  // namespace

std::span<const OpRule> attention_rules() { return kAttentionRules; }
std::span<const OpRule> preview_rules() { return kPreview; }

}  // namespace parallel_opt::onnx
