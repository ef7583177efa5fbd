#include <algorithm>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_mamba.h"

// Qwen3-Next and Qwen3.5: gated delta rules in three of four layers, gated attention in the fourth.
// The rule runs over chunks of 64 positions: inside by products, from chunk to chunk by a state,
// which is zero before the first.
namespace parallel_opt::hf {
namespace {

constexpr std::int64_t kChunk = 64;

struct DeltaSpec {
  std::int64_t key_heads = 16, value_heads = 32, key_width = 128, value_width = 128, kernel = 4;
  bool apart = false;  ///< a projection for each input (qwen3_5)
  double eps = 1e-6;
  std::string activation = "silu";

  std::int64_t keys() const { return key_heads * key_width; }
  std::int64_t values() const { return value_heads * value_width; }
};

/// Sizes of one rule, and its operators.
struct DeltaRule {
  GraphWriter& w;
  Dim batch, heads, chunks, width, depth;  ///< width of keys, depth of values
  Dim chunk = fixed(kChunk);

  Shape of(const Dim& count, const Dim& rows, const Dim& columns) const {
    return {batch, heads, count, rows, columns};
  }
  TensorId product(TensorId a, TensorId b) const {
    return w.matmul(a, b, w.with_last(a, w.last(b)));
  }
  TensorId turned(TensorId x) const { return w.transpose(x, 3, 4); }

  /// x [b, s, h, n] in fp32, padded to whole chunks.
  TensorId chunked(TensorId x) const {
    const TensorId first = w.to(w.transpose(x, 1, 2), DType::fp32);
    Shape padded = w.tensor(first).shape;
    const Dim columns = padded.back();
    padded[2] = times(chunks, chunk);
    const TensorId whole = w.op("aten.constant_pad_nd.default", {{"self", first}}, padded);
    return w.view(whole, of(chunks, chunk, columns));
  }

  /// Decays between all positions of a chunk; `log` [b, h, c, l, 1] is their running sum.
  TensorId decays(TensorId log) const {
    const TensorId pairs =
        w.op("aten.sub.Tensor", {{"self", log}, {"other", turned(log)}}, of(chunks, chunk, chunk));
    return w.unary("aten.exp.default", w.unary("aten.tril.default", pairs));
  }

  /// What the state adds: nothing that is learnt before the first chunk.
  TensorId with_state(TensorId rows, TensorId first, TensorId rest) const {
    const Dim more = plus(chunks, -1);
    const TensorId head = product(w.slice(rows, 2, 0, fixed(1)), first);
    return w.cat({head, product(w.slice(rows, 2, 1, more), rest)}, 2);
  }

  TensorId run(TensorId q, TensorId k, TensorId v, TensorId beta, TensorId decay) const {
    const TensorId log = w.op("aten.cumsum.default", {{"self", chunked(w.unsqueeze(decay, 3))}},
                              of(chunks, chunk, fixed(1)), {{"dim", std::int64_t{3}}});
    const TensorId share = chunked(w.unsqueeze(beta, 3)), growth = w.unary("aten.exp.default", log);
    const TensorId queries = chunked(q), keys = chunked(k);
    const TensorId weighted = w.mul(keys, share), inside = decays(log);
    const TensorId system = w.mul(product(weighted, turned(keys)), inside);
    const TensorId scores = w.mul(product(queries, turned(keys)), inside);
    const TensorId inverse = w.add(w.unary("aten.neg.default", system), 1.0);
    const TensorId fresh = product(inverse, w.mul(chunked(v), share));
    const TensorId read = product(inverse, w.mul(weighted, growth));
    const Dim more = plus(chunks, -1);
    const TensorId faded = turned(w.mul(keys, growth));
    const auto written = [&](const Dim& count) {
      return product(w.slice(faded, 2, 0, count), w.slice(fresh, 2, 0, count));
    };
    const TensorId kept = written(more);
    written(fixed(1));  // that of the last chunk: computed, read by no one
    const TensorId states = w.op("aten.cumsum.default", {{"self", kept}}, of(more, width, depth),
                                 {{"dim", std::int64_t{2}}});
    const TensorId zero = w.op("aten.zeros.default", DType::fp32, {}, of(fixed(1), width, depth));
    const TensorId known = with_state(read, zero, states);
    const TensorId rest =
        w.op("aten.sub.Tensor", {{"self", fresh}, {"other", known}}, of(chunks, chunk, depth));
    const TensorId out = with_state(w.mul(queries, growth), zero, states);
    return w.add(out, product(scores, rest));
  }
};

/// x / sqrt(sum(x^2) + eps) along the last axis.
TensorId unit_length(GraphWriter& w, TensorId x) {
  Shape one = w.with_last(x, fixed(1));
  const TensorId squares = w.op("aten.sum.dim_IntList", {{"self", w.mul(x, x)}}, std::move(one),
                                {{"dim", std::vector<std::int64_t>{-1}}, {"keepdim", true}});
  return w.mul(x, w.unary("aten.rsqrt.default", w.add(squares, 1e-6)));
}

struct DeltaInputs {
  TensorId mixed, gate, b, a;  ///< [b, s, keys + keys + values], [b, s, values], [b, s, heads]
};

DeltaInputs delta_inputs(GraphWriter& w, TensorId x, const DeltaSpec& s) {
  const std::int64_t inputs = 2 * s.keys() + s.values();
  if (s.apart) {
    const TensorId mixed = w.linear(x, "in_proj_qkv", inputs, false);
    const TensorId gate = w.linear(x, "in_proj_z", s.values(), false);
    const TensorId b = w.linear(x, "in_proj_b", s.value_heads, false);
    return {mixed, gate, b, w.linear(x, "in_proj_a", s.value_heads, false)};
  }
  const TensorId all = w.linear(x, "in_proj_qkvz", inputs + s.values(), false);
  const TensorId both = w.linear(x, "in_proj_ba", 2 * s.value_heads, false);
  return {w.slice(all, 2, 0, fixed(inputs)), w.slice(all, 2, inputs, fixed(s.values())),
          w.slice(both, 2, 0, fixed(s.value_heads)),
          w.slice(both, 2, s.value_heads, fixed(s.value_heads))};
}

/// One norm for all heads, then the gate.
TensorId open_norm(GraphWriter& w, TensorId x, TensorId gate, const DeltaSpec& s) {
  const Shape rows{times(w.tokens(gate), fixed(s.value_heads)), fixed(s.value_width)};
  const auto flat = [&](TensorId t) { return w.view_op("aten.reshape.default", t, rows); };
  const TensorId normed = norm(w, flat(x), "norm", NormKind::rms, s.eps);
  const TensorId open = w.unary("aten.silu.default", w.to(flat(gate), DType::fp32));
  return w.view(w.to(w.mul(normed, open), w.dtype()), w.tensor(gate).shape);
}

TensorId delta_net(GraphWriter& w, TensorId x, const DeltaSpec& s, std::int64_t hidden) {
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1), heads = fixed(s.value_heads);
  const DeltaInputs in = delta_inputs(w, x, s);
  const TensorId waves =
      depthwise_convolution(w, w.transpose(in.mixed, 1, 2), "conv1d", s.kernel, false);
  const TensorId mixed = w.transpose(activate(w, w.slice(waves, 2, 0, length), s.activation), 1, 2);
  const auto part = [&](std::int64_t start, std::int64_t count, std::int64_t width) {
    const TensorId flat = w.slice(mixed, 2, start, fixed(count * width));
    return w.view_op("aten.reshape.default", flat, {batch, length, fixed(count), fixed(width)});
  };
  const auto repeated = [&](TensorId t) {
    if (s.key_heads == s.value_heads) return t;
    return w.op("aten.repeat_interleave.self_int", {{"self", t}},
                {batch, length, heads, fixed(s.key_width)}, {{"dim", std::int64_t{2}}});
  };
  const TensorId q = unit_length(w, repeated(part(0, s.key_heads, s.key_width)));
  const TensorId k = unit_length(w, repeated(part(s.keys(), s.key_heads, s.key_width)));
  const TensorId v = part(2 * s.keys(), s.value_heads, s.value_width);
  const TensorId step =
      w.unary("aten.softplus.default",
              w.add(w.to(in.a, DType::fp32), w.parameter("dt_bias", {s.value_heads})));
  const TensorId rate =
      w.unary("aten.exp.default", w.to(w.parameter("A_log", {s.value_heads}), DType::fp32));
  const TensorId decay = w.mul(step, w.unary("aten.neg.default", rate));
  const DeltaRule rule{
      w, batch, heads, divided_up(length, kChunk), fixed(s.key_width), fixed(s.value_width)};
  const TensorId made = rule.run(q, k, v, w.unary("aten.sigmoid.default", in.b), decay);
  const TensorId rows =
      w.view(made, {batch, heads, times(rule.chunks, rule.chunk), fixed(s.value_width)});
  const TensorId kept = w.transpose(w.slice(rows, 2, 0, length), 1, 2);
  const TensorId out = open_norm(w, w.to(kept, w.dtype()), in.gate, s);
  return w.linear(out, "out_proj", hidden, false);
}

DecoderSpec read_delta(ConfigReader& c, const DecoderDefaults& d, bool apart) {
  DecoderSpec s = read_decoder(c, d);
  s.norm = s.qk_norm_kind = NormKind::rms_plus1;
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  s.gated_attention = true;
  s.names.recurrence = "linear_attn";
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.25);
  DeltaSpec delta;
  delta.apart = apart;
  delta.eps = s.norm_eps;
  delta.activation = s.activation;
  delta.key_heads = c.whole({"linear_num_key_heads"}, 16, 1, limits::kHeads);
  delta.value_heads = c.whole({"linear_num_value_heads"}, 32, 1, limits::kHeads);
  delta.key_width = c.whole({"linear_key_head_dim"}, 128, 1, 1 << 16);
  delta.value_width = c.whole({"linear_value_head_dim"}, 128, 1, 1 << 16);
  delta.kernel = c.whole({"linear_conv_kernel_dim"}, 4, 1, 1 << 10);
  c.divides("linear_num_key_heads", delta.key_heads, "linear_num_value_heads", delta.value_heads);
  const std::int64_t interval = c.whole({"full_attention_interval"}, 4);
  if (!s.layer_recurs) {
    s.layer_recurs = [interval](std::int64_t i) { return (i + 1) % interval != 0; };
  }
  s.recurrence = [delta, hidden = s.hidden](GraphWriter& w, TensorId x) {
    return delta_net(w, x, delta, hidden);
  };
  c.note(
      "the rule's triangular systems are written as products with their inverse, the states of "
      "all chunks at once");
  c.ignore({"mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "attn_output_gate",
            "mamba_ssm_dtype", "output_gate_type"});
  return s;
}

void gated_experts(ConfigReader& c, DecoderSpec& s, std::int64_t experts, std::int64_t top_k,
                   bool renormalise) {
  MixtureOfExperts m = read_mixture(
      c, {{"num_experts", "num_local_experts"}, experts, {"num_experts_per_tok"}, top_k},
      c.whole({"moe_intermediate_size"}, 512, 1, limits::kFeedForward));
  m.shared_ffn = c.whole({"shared_expert_intermediate_size"}, 512, 1, limits::kFeedForward);
  m.shared_name = "shared_expert";
  m.shared_gate = true;
  m.renormalise = renormalise;
  s.moe = m;
}

DecoderSpec qwen3_next(ConfigReader& c) {
  DecoderSpec s = read_delta(c, {151936, 2048, 5632, 48, 16, 2, 32768, 256}, false);
  gated_experts(c, s, 512, 10, c.flag({"norm_topk_prob"}, true));
  sparse_layers(c, s);
  return s;
}

DecoderSpec qwen3_5_text(ConfigReader& c) {
  return read_delta(c, {248320, 4096, 12288, 32, 16, 4, 32768, 256}, true);
}

DecoderSpec qwen3_5_moe_text(ConfigReader& c) {
  c.ignore({"intermediate_size", "norm_topk_prob"});
  DecoderSpec s = read_delta(c, {248320, 2048, 512, 40, 16, 2, 32768, 256}, true);
  gated_experts(c, s, 256, 8, true);
  return s;
}

constexpr HfFamily kDeltaFamilies[] = {{"qwen3_next", qwen3_next},
                                       {"qwen3_5_text", qwen3_5_text},
                                       {"qwen3_5_moe_text", qwen3_5_moe_text}};

}  // namespace

std::span<const HfFamily> delta_families() { return kDeltaFamilies; }

}  // namespace parallel_opt::hf
