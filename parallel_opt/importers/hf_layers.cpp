#include <cmath>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_decoder.h"

// Layers that families share: norms, activations, rotary positions, attention.
namespace parallel_opt::hf {
namespace {

/// x / sqrt(mean(x^2) + eps), in fp32, as transformers writes it.
TensorId scaled_by_rms(GraphWriter& w, TensorId x, double eps) {
  const TensorId inverse = w.unary("aten.rsqrt.default", w.add(w.mean_last(w.power(x, 2)), eps));
  return w.mul(x, inverse);
}

TensorId rms_norm(GraphWriter& w, TensorId x, double eps) {
  const DType dtype = w.tensor(x).dtype;
  const TensorId weight = w.parameter("weight", {w.last(x).size});
  return w.mul(weight, w.to(scaled_by_rms(w, w.to(x, DType::fp32), eps), dtype));
}

TensorId rms_norm_plus1(GraphWriter& w, TensorId x, double eps) {
  const DType dtype = w.tensor(x).dtype;
  const TensorId weight = w.parameter("weight", {w.last(x).size});
  const TensorId scaled = scaled_by_rms(w, w.to(x, DType::fp32), eps);
  const TensorId factor = w.add(w.to(weight, DType::fp32), 1.0);
  return w.to(w.mul(scaled, factor), dtype);
}

/// A weight over all trailing axes of `sizes`; mean and variance over the last one.
TensorId written_layer_norm(GraphWriter& w, TensorId x, double eps, TensorId weight) {
  const DType dtype = w.tensor(x).dtype;
  const TensorId wide = w.to(x, DType::fp32);
  const auto subtract = [&](TensorId a, TensorId b) {
    return w.op("aten.sub.Tensor", {{"self", a}, {"other", b}}, w.tensor(a).shape);
  };
  const TensorId mean = w.mean_last(wide);
  const TensorId variance = w.mean_last(w.power(subtract(wide, mean), 2));
  const TensorId inverse = w.unary("aten.rsqrt.default", w.add(variance, eps));
  const TensorId scaled = w.mul(subtract(wide, mean), inverse);
  return w.to(w.mul(w.to(weight, DType::fp32), scaled), dtype);
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), operator by operator.
TensorId gelu_by_parts(GraphWriter& w, TensorId x) {
  const TensorId cubic = w.mul(w.power(x, 3), 0.044715);
  const TensorId inner = w.mul(w.add(x, cubic), std::sqrt(2 / M_PI));
  return w.mul(w.mul(x, 0.5), w.add(w.unary("aten.tanh.default", inner), 1.0));
}

/// bloom and gpt_neox's "gelu_fast": 0.5 x (1 + tanh(0.79788 x (1 + 0.044715 x x))).
TensorId gelu_fast(GraphWriter& w, TensorId x) {
  const TensorId square = w.mul(w.mul(x, 0.044715), x);
  const TensorId inner = w.mul(w.mul(x, 0.7978845608), w.add(square, 1.0));
  return w.mul(w.mul(x, 0.5), w.add(w.unary("aten.tanh.default", inner), 1.0));
}

/// apertus: x (a_p x + b) where x > 0, else (expm1(min(x, eps)) - x) a_n + b x; both a learnt.
TensorId xielu(GraphWriter& w, TensorId x) {
  const GraphWriter::Scope scope(w, "act_fn");
  const TensorId above = w.unary("aten.softplus.default", w.parameter("alpha_p", {1}));
  const TensorId shift = w.buffer("beta", w.dtype(), {});
  const TensorId below =
      w.add(w.unary("aten.softplus.default", w.parameter("alpha_n", {1})), shift);
  const Shape shape = w.tensor(x).shape;
  const TensorId least = w.buffer("eps", w.dtype(), {});
  const auto product = [&](TensorId a, TensorId b) {
    return w.op("aten.mul.Tensor", {{"self", a}, {"other", b}}, shape);
  };
  const TensorId straight = product(x, shift);
  const TensorId large = w.add(product(w.power(x, 2), above), straight);
  const TensorId capped = w.op("aten.minimum.default", {{"self", x}, {"other", least}}, shape);
  const TensorId bent = w.op(
      "aten.sub.Tensor", {{"self", w.unary("aten.expm1.default", capped)}, {"other", x}}, shape);
  const TensorId small = w.add(product(bent, below), straight);
  const TensorId positive = w.op("aten.gt.Scalar", DType::boolean, {{"self", x}}, shape);
  return w.op("aten.where.self", w.dtype(),
              {{"condition", positive}, {"self", large}, {"other", small}}, shape);
}

struct SimpleActivation {
  std::string_view name;
  const char* target;
};
constexpr SimpleActivation kSimple[] = {
    {"silu", "aten.silu.default"},        {"swish", "aten.silu.default"},
    {"relu", "aten.relu.default"},        {"gelu", "aten.gelu.default"},
    {"gelu_python", "aten.gelu.default"}, {"tanh", "aten.tanh.default"},
    {"sigmoid", "aten.sigmoid.default"},  {"mish", "aten.mish.default"},
    {"relu6", "aten.relu6.default"},      {"leaky_relu", "aten.leaky_relu.default"},
};

}  // namespace

const std::vector<std::string>& known_activations() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = {"gelu_pytorch_tanh", "gelu_new", "gelu_fast",
                                    "quick_gelu",        "relu2",    "linear"};
    for (const SimpleActivation& simple : kSimple) all.emplace_back(simple.name);
    return all;
  }();
  return names;
}

TensorId activate(GraphWriter& w, TensorId x, std::string_view activation) {
  for (const SimpleActivation& simple : kSimple) {
    if (simple.name == activation) return w.unary(simple.target, x);
  }
  if (activation == "gelu_new") return gelu_by_parts(w, x);
  if (activation == "gelu_fast") return gelu_fast(w, x);
  if (activation == "quick_gelu") {
    return w.mul(x, w.unary("aten.sigmoid.default", w.mul(x, 1.702)));
  }
  if (activation == "relu2") return w.unary("aten.square.default", w.unary("aten.relu.default", x));
  if (activation == "gelu_pytorch_tanh") {
    return w.op("aten.gelu.default", {{"self", x}}, w.tensor(x).shape,
                {{"approximate", std::string("tanh")}});
  }
  if (activation == "xielu") return xielu(w, x);
  PO_CHECK(activation == "linear", "the reader lets no other activation through");
  return x;
}

TensorId norm(GraphWriter& w, TensorId x, std::string_view name, NormKind kind, double eps) {
  switch (kind) {
    case NormKind::layer:
      return w.layer_norm(x, name, eps);
    case NormKind::layer_no_bias:
      return w.layer_norm(x, name, eps, false);
    default:
      break;
  }
  const GraphWriter::Scope scope(w, name);
  if (kind == NormKind::rms) return rms_norm(w, x, eps);
  if (kind == NormKind::rms_plain) {
    return w.to(scaled_by_rms(w, w.to(x, DType::fp32), eps), w.tensor(x).dtype);
  }
  if (kind == NormKind::rms_plus1) return rms_norm_plus1(w, x, eps);
  if (kind == NormKind::layer_parts) {
    return written_layer_norm(w, x, eps, w.parameter("weight", {w.last(x).size}));
  }
  const DType dtype = w.tensor(x).dtype;
  const TensorId wide = w.to(x, DType::fp32);
  const TensorId normed =
      w.op("aten.layer_norm.default", {{"input", wide}}, w.tensor(x).shape,
           {{"normalized_shape", std::vector<std::int64_t>{w.last(x).size}}, {"eps", eps}});
  return w.to(normed, dtype);
}

RotaryTables rotary_tables(GraphWriter& w, TensorId positions, std::int64_t rotary_dim,
                           const char* inverse_frequencies) {
  const std::int64_t half = rotary_dim / 2;
  const TensorId frequencies = w.buffer(inverse_frequencies, DType::fp32, {half});
  const std::string original = std::string(inverse_frequencies);
  const std::size_t at = original.rfind("inv_freq");
  w.buffer(original.substr(0, at) + "original_" + original.substr(at), DType::fp32, {half});
  const TensorId column = w.to(w.unsqueeze(positions, 2), DType::fp32);
  const TensorId angles = w.mul(column, frequencies);
  const TensorId both = w.cat({angles, angles}, 2);
  const auto table = [&](const char* target) {
    return w.unsqueeze(w.to(w.mul(w.unary(target, both), 1.0), w.dtype()), 1);
  };
  const TensorId cos = table("aten.cos.default");
  return {cos, table("aten.sin.default")};
}

namespace {

TensorId rotate_halves(GraphWriter& w, TensorId x) {
  const std::size_t axis = w.tensor(x).shape.size() - 1;
  const std::int64_t half = w.last(x).size / 2;
  const TensorId first = w.slice(x, axis, 0, fixed(half));
  const TensorId second = w.slice(x, axis, half, fixed(w.last(x).size - half));
  return w.cat({w.unary("aten.neg.default", second), first}, axis);
}

/// Pairs (x0, x1), (x2, x3), ... turned by a quarter: stack(-x1, x0), flattened.
TensorId rotate_pairs(GraphWriter& w, TensorId x) {
  const std::size_t axis = w.tensor(x).shape.size() - 1;
  const std::int64_t half = w.last(x).size / 2;
  const TensorId even = w.slice(x, axis, 0, fixed(half));
  const TensorId odd = w.slice(x, axis, 1, fixed(half));
  Shape stacked = w.tensor(even).shape;
  stacked.push_back(fixed(2));
  const TensorId turned = w.unary("aten.neg.default", odd);
  const TensorId pairs = w.op("aten.stack.default", {{"tensors", turned}, {"tensors", even}},
                              std::move(stacked), {{"dim", std::int64_t{-1}}});
  return w.view(pairs, w.tensor(x).shape);
}

}  // namespace

/// GPT-J: rows of a table of sines and cosines that each attention keeps, every number twice.
static RotaryTables looked_up_tables(GraphWriter& w, const DecoderSpec& s, TensorId positions) {
  const TensorId table = w.buffer("embed_positions", DType::fp32, {s.max_positions, s.rotary_dim});
  const Dim& length = w.dim(positions, 1);
  const TensorId rows = w.op(
      "aten.gather.default",
      {{"self", w.unsqueeze(table, 0)},
       {"index", w.expand(w.unsqueeze(positions, 2), {fixed(1), length, fixed(s.rotary_dim)})}},
      {fixed(1), length, fixed(s.rotary_dim)}, {{"dim", std::int64_t{1}}});
  const TensorId numbers = w.to(rows, w.dtype());
  const auto twice = [&](std::int64_t start) {
    const TensorId half = w.slice(numbers, 2, start, fixed(s.rotary_dim / 2));
    const TensorId wide = w.op("aten.repeat_interleave.self_int", {{"self", half}},
                               {fixed(1), length, fixed(s.rotary_dim)}, {{"dim", std::int64_t{2}}});
    return w.unsqueeze(wide, 1);
  };
  const TensorId sin = twice(0);
  return {twice(s.rotary_dim / 2), sin};
}

TensorId rotate(GraphWriter& w, TensorId x, const RotaryTables& tables, std::int64_t rotary_dim,
                bool interleaved) {
  const std::size_t axis = w.tensor(x).shape.size() - 1;
  const std::int64_t width = w.last(x).size;
  const bool partial = rotary_dim < width;
  const TensorId part = partial ? w.slice(x, axis, 0, fixed(rotary_dim)) : x;
  const TensorId turned = interleaved ? rotate_pairs(w, part) : rotate_halves(w, part);
  const TensorId straight = w.mul(part, tables.cos);
  const TensorId result = w.add(straight, w.mul(turned, tables.sin));
  if (!partial) return result;
  return w.cat({result, w.slice(x, axis, rotary_dim, fixed(width - rotary_dim))}, axis);
}

TensorId split_heads(GraphWriter& w, TensorId x, std::int64_t heads, std::int64_t width) {
  Shape shape = w.with_last(x, fixed(heads));
  shape.push_back(fixed(width));
  return w.transpose(w.view(x, std::move(shape)), 1, 2);
}

TensorId merge_heads(GraphWriter& w, TensorId x) {
  const TensorId rows = w.transpose(x, 1, 2);
  Shape shape = w.tensor(rows).shape;
  shape[2] = times(shape[2], shape[3]);
  shape.pop_back();
  return w.view_op("aten.reshape.default", rows, std::move(shape));
}

namespace {

/// Keys of g heads as h heads, as transformers does it for kernels without grouped queries.
TensorId repeat_heads(GraphWriter& w, TensorId x, std::int64_t heads) {
  Shape shape = w.tensor(x).shape;
  const std::int64_t groups = shape[1].size;
  if (groups == heads) return x;
  Shape wide = shape;
  wide.insert(wide.begin() + 2, fixed(heads / groups));
  shape[1] = fixed(heads);
  const TensorId expanded = w.expand(w.unsqueeze(x, 2), std::move(wide));
  return w.op("aten.reshape.default", {{"self", expanded}}, std::move(shape));
}

/// Of as many heads everywhere, without the types that decoders pass through: [b, q, h * e].
TensorId attention_in_steps(GraphWriter& w, TensorId q, TensorId k, TensorId v,
                            const AttentionCall& call) {
  const double root = std::sqrt(static_cast<double>(w.last(q).size));
  TensorId scores = w.matmul(q, w.transpose(k, 2, 3), w.with_last(q, w.dim(k, 2)));
  scores = w.div(scores, call.scale > 0 ? 1 / call.scale : root);
  if (call.mask.valid()) scores = w.add(scores, call.mask);
  const TensorId shares = w.dropout(w.softmax(scores), call.dropout);
  return merge_heads(w, w.matmul(shares, v, w.with_last(q, w.last(v))));
}

/// Shares of [b, h, q, k] scores beside a learnt one per head, which takes its share and no value.
TensorId without_sinks(GraphWriter& w, TensorId scores) {
  const Shape shape = w.tensor(scores).shape;
  const Shape column{shape[0], shape[1], shape[2], fixed(1)};
  const TensorId sinks = w.parameter("sinks", {shape[1]});
  const TensorId rows = w.view(sinks, {fixed(1), shape[1], fixed(1), fixed(1)});
  const TensorId all = w.cat({scores, w.expand(rows, column)}, 3);
  const TensorId largest = w.op("aten.amax.default", {{"self", all}}, column,
                                {{"dim", std::vector<std::int64_t>{-1}}, {"keepdim", true}});
  const TensorId lowered =
      w.op("aten.sub.Tensor", {{"self", all}, {"other", largest}}, w.tensor(all).shape);
  return w.slice(w.softmax(lowered), 3, 0, shape[3]);
}

/// Scores, softmax and values as three operators; needed where scores are capped.
TensorId eager_attention(GraphWriter& w, TensorId q, TensorId k, TensorId v,
                         const DecoderSpec& spec, TensorId mask) {
  const std::int64_t heads = w.dim(q, 1).size;
  k = repeat_heads(w, k, heads);
  v = repeat_heads(w, v, heads);
  const DType dtype = w.tensor(v).dtype;
  TensorId scores = w.matmul(q, w.transpose(k, 2, 3), w.with_last(q, w.dim(k, 2)));
  scores =
      w.mul(scores, spec.attention_scale > 0 ? spec.attention_scale
                                             : 1 / std::sqrt(static_cast<double>(w.last(q).size)));
  if (spec.softcap > 0) {
    scores = w.mul(w.unary("aten.tanh.default", w.div(scores, spec.softcap)), spec.softcap);
  }
  if (mask.valid()) scores = w.add(scores, mask);
  if (spec.positions == Positions::alibi && spec.causal) {
    scores = w.add(scores, w.causal_mask(w.dim(q, 2)));
  }
  const TensorId shares = spec.sinks ? w.to(without_sinks(w, scores), dtype)
                                     : w.to(w.softmax(w.to(scores, DType::fp32)), dtype);
  const TensorId kept = w.dropout(shares, spec.attention_dropout);
  return w.op("aten.clone.default",
              {{"self", w.transpose(w.matmul(kept, v, w.with_last(q, w.last(v))), 1, 2)}},
              {w.dim(q, 0), w.dim(q, 2), fixed(heads), w.last(v)});
}

}  // namespace

TensorId fused_attention(GraphWriter& w, TensorId q, TensorId k, TensorId v,
                         const AttentionCall& call) {
  if (call.eager) return attention_in_steps(w, q, k, v, call);
  const bool grouped = w.dim(k, 1).size != w.dim(q, 1).size && w.dim(k, 1).size > 1;
  if (grouped && call.mask.valid()) {
    k = repeat_heads(w, k, w.dim(q, 1).size);
    v = repeat_heads(w, v, w.dim(q, 1).size);
  }
  const double scale =
      call.scale > 0 ? call.scale : 1 / std::sqrt(static_cast<double>(w.last(q).size));
  const bool gqa = grouped && !call.mask.valid();
  const char* const kTarget = "aten.scaled_dot_product_attention.default";
  const Shape shape = w.with_last(q, w.last(v));
  const TensorId out =
      call.mask.valid()
          ? w.op(kTarget, {{"query", q}, {"key", k}, {"value", v}, {"attn_mask", call.mask}}, shape,
                 {{"dropout_p", call.dropout}, {"scale", scale}})
          : w.op(kTarget, {{"query", q}, {"key", k}, {"value", v}}, shape,
                 {{"dropout_p", call.dropout},
                  {"is_causal", call.causal},
                  {"scale", scale},
                  {"enable_gqa", gqa}});
  return merge_heads(w, out);
}

namespace {

struct Projections {
  TensorId q, k, v;
  TensorId gate = {};  ///< [b, s, heads * width]
};

TensorId projection(GraphWriter& w, TensorId x, std::string_view name, std::int64_t out, bool bias,
                    bool conv1d) {
  if (!conv1d) return w.linear(x, name, out, bias);
  const GraphWriter::Scope scope(w, name);
  const TensorId weight = w.parameter("weight", {w.last(x).size, out});
  const TensorId addend = w.parameter("bias", {out});
  const Dim rows = w.tokens(x);
  const TensorId flat = w.view(x, {rows, w.last(x)});
  const TensorId product =
      w.op("aten.addmm.default", {{"self", addend}, {"mat1", flat}, {"mat2", weight}},
           {rows, fixed(out)});
  return w.view(product, w.with_last(x, fixed(out)));
}

Projections project(GraphWriter& w, TensorId x, const DecoderSpec& s) {
  const DecoderNames& n = s.names;
  const std::int64_t q_width = s.heads * s.head_dim, kv_width = s.kv_heads * s.head_dim;
  if (n.qkv.empty()) {
    TensorId q = w.linear(x, n.q, s.gated_attention ? 2 * q_width : q_width, s.qkv_bias), gate;
    if (s.gated_attention) {  // head by head
      const TensorId both =
          w.view(q, {w.dim(x, 0), w.dim(x, 1), fixed(s.heads), fixed(2 * s.head_dim)});
      const auto half = [&](std::int64_t start) {
        const TensorId part = w.slice(both, 3, start, fixed(s.head_dim));
        return w.view_op("aten.reshape.default", part, w.with_last(x, fixed(q_width)));
      };
      q = half(0);
      gate = half(s.head_dim);
    }
    const TensorId k = w.linear(x, n.k, kv_width, s.qkv_bias);
    return {q, k, w.linear(x, n.v, kv_width, s.qkv_bias), gate};
  }
  const TensorId all = projection(w, x, n.qkv, q_width + 2 * kv_width, s.qkv_bias, s.conv1d);
  const TensorId q = w.slice(all, 2, 0, fixed(q_width));
  const TensorId k = w.slice(all, 2, q_width, fixed(kv_width));
  return {q, k, w.slice(all, 2, q_width + kv_width, fixed(kv_width)), {}};
}

TensorId head_norm(GraphWriter& w, TensorId x, std::string_view name, std::int64_t heads,
                   const DecoderSpec& s) {
  switch (s.qk_norm) {
    case QkNorm::none:
    case QkNorm::whole:
      return x;
    case QkNorm::per_head:
      return norm(w, x, name, s.qk_norm_kind, s.norm_eps);
    case QkNorm::head_table: {
      const GraphWriter::Scope scope(w, name);
      const TensorId weight = w.parameter("weight", {heads, w.last(x).size});
      return written_layer_norm(w, x, s.norm_eps, w.unsqueeze(weight, 1));
    }
    case QkNorm::each_head:
      break;
  }
  // stablelm: the heads are split, each through its own norm, and joined again.
  const GraphWriter::Scope scope(w, name);
  std::vector<TensorId> parts;
  for (std::int64_t h = 0; h < heads; ++h) {
    parts.push_back(norm(w, w.slice(x, 1, h, fixed(1)), "norms." + std::to_string(h),
                         NormKind::layer_no_bias, s.norm_eps));
  }
  return w.cat(parts, 1);
}

TensorId alibi_attention(GraphWriter& w, const Projections& p, const DecoderSpec& s,
                         TensorId bias) {
  const Dim batch = w.dim(p.q, 0), length = w.dim(p.q, 2);
  const Dim rows = times(batch, fixed(s.heads));
  const auto flat = [&](TensorId x) {
    return w.op("aten.reshape.default", {{"self", x}}, {rows, length, fixed(s.head_dim)});
  };
  const TensorId q = flat(p.q), k = w.transpose(flat(p.k), 1, 2), v = flat(p.v);
  const TensorId scores =
      w.op("aten.baddbmm.default", {{"self", bias}, {"batch1", q}, {"batch2", k}},
           {rows, length, length},
           {{"alpha", 1 / std::sqrt(static_cast<double>(s.head_dim))}, {"beta", 1.0}});
  const TensorId apart = w.view(scores, {batch, fixed(s.heads), length, length});
  const TensorId shares =
      w.dropout(w.to(w.softmax(w.to(w.add(apart, w.causal_mask(length)), DType::fp32)), w.dtype()),
                s.attention_dropout);
  const TensorId weighted =
      w.op("aten.bmm.default", {{"self", w.view(shares, {rows, length, length})}, {"mat2", v}},
           {rows, length, fixed(s.head_dim)});
  const TensorId heads = w.view(weighted, {batch, fixed(s.heads), length, fixed(s.head_dim)});
  return w.op("aten.reshape.default", {{"self", w.transpose(heads, 1, 2)}},
              {batch, length, fixed(s.heads * s.head_dim)});
}

}  // namespace

/// Norms and rotation of queries and keys, in the family's order.
static void place_heads(GraphWriter& w, Projections& p, const DecoderSpec& s,
                        const RotaryTables& tables) {
  const bool turns = s.table_per_layer || tables.cos.valid();
  const auto normed = [&] {
    if (s.qk_norm_turning && !turns) return;
    p.q = head_norm(w, p.q, s.names.q_norm, s.heads, s);
    p.k = head_norm(w, p.k, s.names.k_norm, s.kv_heads, s);
  };
  if (!s.qk_norm_after) normed();
  if (turns && s.positions == Positions::rotary_complex) {
    p.q = rotate_complex(w, p.q, tables);
    p.k = rotate_complex(w, p.k, tables);
  } else if (turns) {
    const std::int64_t dim = s.rotary_dim > 0 ? s.rotary_dim : s.head_dim;
    const bool pairs = s.positions == Positions::rotary_interleaved;
    const RotaryTables own = s.table_per_layer ? looked_up_tables(w, s, tables.positions) : tables;
    p.q = rotate(w, p.q, own, dim, pairs);
    p.k = rotate(w, p.k, own, dim, pairs);
  }
  if (s.all_tempered || (s.tempered && !turns)) p.q = w.mul(p.q, 1.0);  // by each position's number
  if (s.qk_norm_after) normed();
}

TensorId scaled(GraphWriter& w, TensorId x, double scale) {
  return scale > 0 ? w.mul(x, scale) : x;
}

TensorId decoder_attention(GraphWriter& w, TensorId x, const DecoderSpec& s,
                           const RotaryTables& tables, TensorId mask) {
  const DecoderNames& n = s.names;
  Projections p = project(w, x, s);
  if (s.qk_norm == QkNorm::whole) {
    p.q = norm(w, p.q, n.q_norm, s.qk_norm_kind, s.norm_eps);
    p.k = norm(w, p.k, n.k_norm, s.qk_norm_kind, s.norm_eps);
  }
  if (s.clip_qkv > 0) {
    for (TensorId* t : {&p.q, &p.k, &p.v}) *t = w.unary("aten.clamp.default", *t);
  }
  p.q = split_heads(w, p.q, s.heads, s.head_dim);
  p.k = scaled(w, split_heads(w, p.k, s.kv_heads, s.head_dim), s.scales.key);
  p.v = split_heads(w, p.v, s.kv_heads, s.head_dim);
  place_heads(w, p, s, tables);
  if (s.repeat_kv_by_view) {
    p.k = repeat_heads(w, p.k, s.heads);
    p.v = repeat_heads(w, p.v, s.heads);
  }
  TensorId mixed;
  if (s.attention == AttentionKind::fused) {
    mixed =
        fused_attention(w, p.q, p.k, p.v, {s.causal, mask, s.attention_scale, s.attention_dropout});
  } else if (s.attention == AttentionKind::eager_biased) {
    mixed = alibi_attention(w, p, s, mask);
  } else {
    if (!mask.valid() && s.causal) mask = w.causal_mask(w.dim(p.q, 2));
    const TensorId rows = eager_attention(w, p.q, p.k, p.v, s, mask);
    mixed = w.view(rows, {w.dim(rows, 0), w.dim(rows, 1), fixed(s.heads * s.head_dim)});
  }
  if (p.gate.valid()) mixed = w.mul(mixed, w.unary("aten.sigmoid.default", p.gate));
  if (!n.before_o.empty()) mixed = norm(w, mixed, n.before_o, s.norm, s.norm_eps);
  return projection(w, mixed, n.o, s.hidden, s.o_bias, s.conv1d);
}

TensorId feed_forward(GraphWriter& w, TensorId x, const DecoderSpec& s, std::int64_t ffn) {
  const DecoderNames& n = s.names;
  TensorId inner;
  if (!s.gated) {
    inner = activate(w, projection(w, x, n.up, ffn, s.mlp_bias, s.conv1d), s.activation);
  } else if (!n.gate_up.empty()) {
    const TensorId both = w.linear(x, n.gate_up, 2 * ffn, s.mlp_bias);
    const std::size_t axis = w.tensor(both).shape.size() - 1;
    const TensorId gate = w.slice(both, axis, 0, fixed(ffn));
    const TensorId up = w.slice(both, axis, ffn, fixed(ffn));
    inner = w.mul(up, activate(w, gate, s.activation));
  } else {
    const TensorId gate = scaled(w, w.linear(x, n.gate, ffn, s.mlp_bias), s.scales.gate);
    const TensorId open = activate(w, gate, s.activation);
    inner = w.mul(open, w.linear(x, n.up, ffn, s.mlp_bias));
  }
  if (!n.before_down.empty()) inner = norm(w, inner, n.before_down, s.norm, s.norm_eps);
  return scaled(w, projection(w, inner, n.down, s.hidden, s.mlp_bias, s.conv1d), s.scales.down);
}

static TensorId turned_after(GraphWriter& w, TensorId x, const AttentionParts& p) {
  if (p.unturned == 0) return rotate(w, x, p.tables, p.width, p.pairs);
  const TensorId first = w.slice(x, 2, 0, fixed(p.unturned));
  const TensorId rest = w.slice(x, 2, p.unturned, plus(w.dim(x, 2), -p.unturned));
  return w.cat({first, rotate(w, rest, p.tables, p.width, p.pairs)}, 2);
}

TensorId bucketed_distances(GraphWriter& w, const DistanceBuckets& b, const Dim& length) {
  const TensorId table = w.parameter(b.table + ".weight", {b.buckets, b.heads});
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {length});
  const TensorId distance =
      w.op("aten.sub.Tensor", {{"self", w.unsqueeze(range, 0)}, {"other", w.unsqueeze(range, 1)}},
           {length, length});
  const TensorId near = w.unary("aten.abs.default", distance);
  const TensorId scaled = w.div(w.to(near, DType::fp32), b.near);
  const TensorId far = w.to(w.mul(w.unary("aten.log.default", scaled), b.pace), DType::i64);
  const TensorId small = w.op("aten.lt.Scalar", DType::boolean, {{"self", near}}, {length, length});
  const TensorId bucket =
      w.op("aten.where.self", DType::i64, {{"condition", small}, {"self", near}, {"other", far}},
           {length, length});
  const TensorId values = w.embedding(bucket, table, b.table);
  return w.view_op("aten.permute.default", values, {fixed(b.heads), length, length},
                   {{"dims", std::vector<std::int64_t>{2, 0, 1}}});
}

TensorId attend(GraphWriter& w, TensorId x, TensorId memory, const AttentionParts& p,
                std::int64_t out) {
  const std::int64_t inner = p.heads * p.width;
  const auto normed = [&](TensorId t, const std::string& name) {
    return split_heads(w, name.empty() ? t : norm(w, t, name, NormKind::rms, 1e-6), p.heads,
                       p.width);
  };
  TensorId q = normed(w.linear(x, p.q, inner, p.q_bias), p.q_norm);
  TensorId k = normed(w.linear(memory, p.k, inner, p.k_bias), p.k_norm);
  const TensorId v = split_heads(w, w.linear(memory, p.v, inner, p.v_bias), p.heads, p.width);
  if (p.tables.cos.valid()) {
    q = turned_after(w, q, p);
    k = turned_after(w, k, p);
  }
  return w.linear(fused_attention(w, q, k, v, p.call), p.o, out, p.o_bias);
}

TensorId two_layers(GraphWriter& w, TensorId x, const TwoLayers& layers) {
  if (!layers.gate.empty()) {
    const TensorId open =
        activate(w, w.linear(x, layers.gate, layers.width, layers.gate_bias), layers.activation);
    const TensorId both = w.mul(open, w.linear(x, layers.up, layers.width, layers.gate_bias));
    return w.linear(w.dropout(both, layers.dropout), layers.down, layers.out, layers.bias);
  }
  const TensorId inner =
      activate(w, w.linear(x, layers.up, layers.width, layers.bias), layers.activation);
  return w.linear(w.dropout(inner, layers.dropout), layers.down, layers.out, layers.bias);
}

Answer answer_head(GraphWriter& w, TensorId x, std::string_view name) {
  const TensorId both = w.linear(x, name, 2, true);
  const auto column = [&](std::int64_t index) {
    const TensorId one = w.slice(both, 2, index, fixed(1));
    const TensorId flat =
        w.view_op("aten.squeeze.dim", one, {w.dim(x, 0), w.dim(x, 1)}, {{"dim", std::int64_t{-1}}});
    return w.op("aten.clone.default", {{"self", flat}}, {w.dim(x, 0), w.dim(x, 1)});
  };
  const TensorId start = column(0);
  return {start, column(1)};
}

}  // namespace parallel_opt::hf
