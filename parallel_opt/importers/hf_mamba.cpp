#include "parallel_opt/importers/hf_mamba.h"

#include <algorithm>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_families.h"

// State-space models. The recurrence h[t] = a[t] h[t-1] + b[t] x[t], which transformers runs as a
// loop over positions or as a fused kernel, is written as its closed form over the whole sequence:
// exp(S) * cumsum(b x * exp(-S)) with S = cumsum(log a). The contraction with C has the FLOPs of
// the loop's.
namespace parallel_opt::hf {

TensorId depthwise_convolution(GraphWriter& w, TensorId x, const char* name, std::int64_t kernel,
                               bool bias) {
  const Dim channels = w.dim(x, 1);
  const GraphWriter::Scope scope(w, name);
  const TensorId weight = w.parameter("weight", {channels.size, 1, kernel});
  const TensorId addend = bias ? w.parameter("bias", {channels.size}) : TensorId();
  const std::vector<std::int64_t> padding{kernel - 1};
  const Shape shape{w.dim(x, 0), channels, plus(w.dim(x, 2), kernel - 1)};
  return bias ? w.op("aten.conv1d.default", {{"input", x}, {"weight", weight}, {"bias", addend}},
                     shape, {{"padding", padding}, {"groups", channels.size}})
              : w.op("aten.conv1d.default", {{"input", x}, {"weight", weight}}, shape,
                     {{"padding", padding}, {"groups", channels.size}});
}

namespace {

using Writing = std::function<Graph(GraphWriter&)>;

/// The same, and what reaches beyond the sequence cut off.
TensorId causal_convolution(GraphWriter& w, TensorId x, const MambaSpec& s) {
  const Dim length = w.dim(x, 2);
  const TensorId y = depthwise_convolution(w, x, "conv1d", s.kernel, s.conv_bias);
  return activate(w, w.slice(y, 2, 0, length), s.activation);
}

/// Steps, and what enters or leaves the state.
TensorId part_norm(GraphWriter& w, TensorId x, const char* name, const MambaSpec& s) {
  if (s.part_norms == PartNorms::none) return x;
  return norm(w, x, name, s.part_norms == PartNorms::learnt ? NormKind::rms : NormKind::rms_plain,
              s.eps);
}

TensorId negated_exp(GraphWriter& w, TensorId x) {
  return w.unary("aten.neg.default", w.unary("aten.exp.default", w.to(x, DType::fp32)));
}

TensorId running_sum(GraphWriter& w, TensorId x, std::int64_t axis) {
  return w.op("aten.cumsum.default", {{"self", x}}, w.tensor(x).shape, {{"dim", axis}});
}

}  // namespace

TensorId selective_mixer(GraphWriter& w, TensorId x, const MambaSpec& s) {
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1);
  const TensorId log_a = w.parameter("A_log", {s.inner, s.state});
  const TensorId d = w.parameter("D", {s.inner});
  const TensorId both = w.transpose(w.linear(x, "in_proj", 2 * s.inner, s.bias), 1, 2);
  const TensorId gate = w.slice(both, 1, s.inner, fixed(s.inner));
  const TensorId mixed = causal_convolution(w, w.slice(both, 1, 0, fixed(s.inner)), s);
  const TensorId rows = w.transpose(mixed, 1, 2);
  const TensorId parts = w.linear(rows, "x_proj", s.step_rank + 2 * s.state, false);
  const auto part = [&](std::int64_t start, std::int64_t width, const char* name) {
    return part_norm(w, w.slice(parts, 2, start, fixed(width)), name, s);
  };
  const TensorId step = part(0, s.step_rank, "dt_layernorm");
  const TensorId b = part(s.step_rank, s.state, "b_layernorm");
  const TensorId c = part(s.step_rank + s.state, s.state, "c_layernorm");
  TensorId dt;
  {
    const GraphWriter::Scope scope(w, "dt_proj");
    const TensorId weight = w.parameter("weight", {s.inner, s.step_rank});
    const TensorId bias = w.parameter("bias", {s.inner});
    dt = w.matmul(weight, w.transpose(step, 1, 2), {batch, fixed(s.inner), length});
    dt = w.unary("aten.softplus.default", w.add(w.to(dt, DType::fp32), w.unsqueeze(bias, 1)));
  }
  const TensorId a = negated_exp(w, log_a);
  const TensorId steps = w.unsqueeze(dt, 3);                                  // [b, i, s, 1]
  const TensorId decay = running_sum(w, w.mul(steps, w.unsqueeze(a, 1)), 2);  // [b, i, s, n]
  const TensorId input = w.mul(w.mul(steps, w.unsqueeze(w.to(b, DType::fp32), 1)),
                               w.unsqueeze(w.to(mixed, DType::fp32), 3));
  const TensorId shrunk =
      w.mul(input, w.unary("aten.exp.default", w.unary("aten.neg.default", decay)));
  const TensorId states = w.mul(running_sum(w, shrunk, 2), w.unary("aten.exp.default", decay));
  const TensorId by_position = w.to(w.transpose(states, 1, 2), w.dtype());
  const TensorId read =
      w.matmul(by_position, w.unsqueeze(c, 3), {batch, length, fixed(s.inner), fixed(1)});
  const TensorId flat = w.view_op("aten.squeeze.dim", read, {batch, length, fixed(s.inner)});
  TensorId out = w.transpose(flat, 1, 2);
  out = w.add(out, w.mul(mixed, w.unsqueeze(d, 1)));
  out = w.mul(out, w.unary("aten.silu.default", gate));
  return w.linear(w.transpose(out, 1, 2), "out_proj", s.hidden, s.bias);
}

namespace {

// --- mamba2: chunks of the sequence; quadratic inside, linear between

TensorId einsum(GraphWriter& w, const char* equation, TensorId a, TensorId b, Shape shape) {
  return w.op("aten.einsum.default", {{"operands", a}, {"operands", b}}, std::move(shape),
              {{"equation", std::string(equation)}});
}

/// exp of sums over all segments of the last axis: [..., n] -> [..., n, n].
TensorId segment_decay(GraphWriter& w, TensorId x) {
  Shape square = w.tensor(x).shape;
  square.push_back(square.back());
  const TensorId wide = w.expand(w.unsqueeze(x, w.tensor(x).shape.size()), square);
  const TensorId masked = w.unary("aten.tril.default", wide);
  return w.unary("aten.exp.default",
                 running_sum(w, masked, static_cast<std::int64_t>(square.size()) - 2));
}

TensorId chunk_scan(GraphWriter& w, TensorId x, TensorId dt, TensorId b, TensorId c,
                    const MambaSpec& s) {
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1), chunks = divided_up(length, s.chunk);
  const Dim l = fixed(s.chunk), h = fixed(s.heads), p = fixed(s.head_dim), n = fixed(s.state);
  const TensorId d = w.parameter("D", {s.heads});
  const TensorId a = negated_exp(w, w.parameter("A_log", {s.heads}));
  const TensorId step =
      w.unary("aten.clamp.default",
              w.unary("aten.softplus.default", w.add(dt, w.parameter("dt_bias", {s.heads}))));
  const auto padded = [&](TensorId t) {
    Shape shape = w.tensor(t).shape;
    shape[1] = times(chunks, l);
    return w.op("aten.constant_pad_nd.default", {{"self", t}}, std::move(shape));
  };
  const auto chunked = [&](TensorId t, Shape rest) {
    Shape shape{batch, chunks, l};
    shape.insert(shape.end(), rest.begin(), rest.end());
    return w.view_op("aten.reshape.default", padded(t), std::move(shape));
  };
  const auto repeated = [&](TensorId t) {
    return w.op("aten.repeat_interleave.self_int", {{"self", w.to(t, DType::fp32)}},
                {batch, length, h, n}, {{"dim", std::int64_t{2}}});
  };
  const TensorId wide = w.to(x, DType::fp32);
  const TensorId skip = w.mul(wide, w.unsqueeze(d, 1));
  const TensorId xs = chunked(w.mul(wide, w.unsqueeze(step, 3)), {h, p});
  const TensorId as = chunked(w.mul(step, a), {h});
  const TensorId bs = chunked(repeated(b), {h, n}), cs = chunked(repeated(c), {h, n});
  const TensorId by_head = w.view_op("aten.permute.default", as, {batch, h, chunks, l},
                                     {{"dims", std::vector<std::int64_t>{0, 3, 1, 2}}});
  const TensorId sums = running_sum(w, by_head, 3);
  const TensorId inside = segment_decay(w, by_head);  // [b, h, c, l, l]
  const TensorId scores = einsum(w, "bclhn,bcshn->bclsh", cs, bs, {batch, chunks, l, l, h});
  const TensorId weights =
      w.mul(scores, w.view_op("aten.permute.default", inside, {batch, chunks, l, l, h},
                              {{"dims", std::vector<std::int64_t>{0, 2, 3, 4, 1}}}));
  const TensorId diagonal = einsum(w, "bclsh,bcshp->bclhp", weights, xs, {batch, chunks, l, h, p});
  const TensorId rest =
      w.op("aten.sub.Tensor", {{"self", w.slice(sums, 3, s.chunk - 1, fixed(1))}, {"other", sums}},
           w.tensor(sums).shape);
  const auto positions_first = [&](TensorId t) {  // [b, h, c, l] -> [b, c, l, h, 1]
    const TensorId moved = w.view_op("aten.permute.default", t, {batch, chunks, l, h},
                                     {{"dims", std::vector<std::int64_t>{0, 2, 3, 1}}});
    return w.unsqueeze(moved, 4);
  };
  const TensorId fading = w.mul(bs, positions_first(w.unary("aten.exp.default", rest)));
  const TensorId gathered = einsum(w, "bclhn,bclhp->bchpn", fading, xs, {batch, chunks, h, p, n});
  const Dim more = plus(chunks, 1);
  const TensorId first = w.op("aten.zeros.default", DType::fp32, {}, {batch, fixed(1), h, p, n});
  const TensorId states = w.cat({first, gathered}, 1);  // [b, c + 1, h, p, n]
  const TensorId last = w.select(sums, 3, s.chunk - 1);
  const TensorId ends = w.op("aten.constant_pad_nd.default", {{"self", last}}, {batch, h, more});
  const TensorId between = w.transpose(segment_decay(w, ends), 1, 3);  // [b, c + 1, c + 1, h]
  const TensorId carried = einsum(w, "bzch,bzhpn->bchpn", between, states, {batch, more, h, p, n});
  const TensorId starts = w.slice(carried, 1, 0, chunks);
  const TensorId read = einsum(w, "bclhn,bchpn->bclhp", cs, starts, {batch, chunks, l, h, p});
  const TensorId outer = w.mul(read, positions_first(w.unary("aten.exp.default", sums)));
  const TensorId joined =
      w.view_op("aten.reshape.default", w.add(diagonal, outer), {batch, times(chunks, l), h, p});
  return w.to(w.add(w.slice(joined, 1, 0, length), skip), w.dtype());
}

TensorId gated_norm(GraphWriter& w, TensorId x, TensorId gate, const MambaSpec& s) {
  if (s.gate_norm == GateNorm::none) return w.mul(x, w.unary("aten.silu.default", gate));
  const GraphWriter::Scope scope(w, "norm");
  const Shape shape = w.tensor(x).shape;
  const TensorId weight = w.parameter("weight", {s.inner});
  const auto gated = [&](TensorId t) {
    return w.mul(w.to(t, DType::fp32), w.unary("aten.silu.default", w.to(gate, DType::fp32)));
  };
  const bool last = s.gate_norm == GateNorm::norm_first;
  const TensorId groups = w.view(last ? w.to(x, DType::fp32) : gated(x),
                                 {shape[0], shape[1], fixed(s.groups), fixed(s.inner / s.groups)});
  const TensorId inverse =
      w.unary("aten.rsqrt.default", w.add(w.mean_last(w.power(groups, 2)), s.eps));
  const TensorId normed = w.view(w.mul(groups, inverse), shape);
  if (!last) return w.mul(weight, w.to(normed, w.dtype()));
  return w.to(gated(w.mul(weight, normed)), w.dtype());
}

}  // namespace

TensorId chunked_mixer(GraphWriter& w, TensorId x, const MambaSpec& s) {
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1);
  const std::int64_t grouped = s.groups * s.state, channels = s.inner + 2 * grouped;
  const std::int64_t width = s.inner + channels + s.heads;
  TensorId all = w.linear(scaled(w, x, s.in_scale), "in_proj", width, s.bias);
  if (s.scaled_parts) all = w.mul(all, w.buffer("mup_vector", w.dtype(), {1, 1, width}));
  const TensorId gate = w.slice(all, 2, 0, fixed(s.inner));
  const TensorId inside = w.slice(all, 2, s.inner, fixed(channels));
  const TensorId dt = w.slice(all, 2, s.inner + channels, fixed(s.heads));
  const TensorId mixed = w.transpose(causal_convolution(w, w.transpose(inside, 1, 2), s), 1, 2);
  const auto part = [&](std::int64_t start, std::int64_t count, std::int64_t each) {
    return w.view_op("aten.reshape.default", w.slice(mixed, 2, start, fixed(count * each)),
                     {batch, length, fixed(count), fixed(each)});
  };
  const TensorId scanned =
      chunk_scan(w, part(0, s.heads, s.head_dim), dt, part(s.inner, s.groups, s.state),
                 part(s.inner + grouped, s.groups, s.state), s);
  const TensorId flat = w.view(scanned, {batch, length, fixed(s.inner)});
  return w.linear(gated_norm(w, flat, gate, s), "out_proj", s.hidden, s.out_bias);
}

namespace {

Graph build_mamba(GraphWriter& w, const MambaSpec& s) {
  const Dim batch = w.symbol("batch", 1), length = w.symbol("sequence", 2048);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, length});
  w.note("the recurrence over positions is written in closed form (running sums)");
  TensorId x, table;
  {
    const GraphWriter::Scope base(w, s.bare ? "" : "backbone");
    table = w.parameter("embeddings.weight", {s.vocab, s.hidden});
    x = w.embedding(ids, table, "embeddings");
    for (std::int64_t i = 0; i < s.layers; ++i) {
      const GraphWriter::Mark mark = w.mark();
      const GraphWriter::Scope scope(w, "layers." + std::to_string(i));
      const TensorId residual = s.residual_fp32 ? w.to(x, DType::fp32) : x;
      const TensorId normed = norm(w, w.to(x, w.dtype()), "norm", NormKind::rms, s.eps);
      const GraphWriter::Scope mixing(w, "mixer");
      x = w.add(residual,
                s.heads > 0 ? chunked_mixer(w, normed, s) : selective_mixer(w, normed, s));
      if (i == 1) w.reserve_repeats(mark, s.layers - 2);
    }
    x = norm(w, x, "norm_f", NormKind::rms, s.eps);
  }
  if (s.bare) return w.finish({x});
  if (s.tied) {
    w.tie("lm_head.weight", table);
  } else {
    table = w.parameter("lm_head.weight", {s.vocab, s.hidden});
  }
  return w.finish({w.linear_with(w.to(x, w.dtype()), "lm_head", table, TensorId())});
}

MambaSpec read_mamba(ConfigReader& c, const MambaSpec& d) {
  MambaSpec s;
  s.vocab = c.whole({"vocab_size"}, d.vocab, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size"}, d.hidden);
  s.layers = c.whole({"num_hidden_layers"}, d.layers, 1, limits::kLayers);
  s.state = c.whole({"state_size"}, d.state, 1, 1 << 16);
  s.inner = s.hidden * c.whole({"expand"}, 2, 1, 16);
  s.kernel = c.whole({"conv_kernel"}, 4, 1, 1 << 10);
  s.eps = c.real({"layer_norm_epsilon"}, 1e-5);
  s.bias = c.flag({"use_bias"}, false);
  s.conv_bias = c.flag({"use_conv_bias"}, true);
  s.residual_fp32 = c.flag({"residual_in_fp32"}, true);
  s.activation = c.activation({"hidden_act"}, "silu");
  s.tied = c.flag({"tie_word_embeddings"}, d.tied);
  s.bare = c.head(HeadKind::causal_lm, {HeadKind::causal_lm, HeadKind::base}) == HeadKind::base;
  c.ignore({"time_step_rank", "d_model", "n_layer", "d_inner"});
  c.ignore({"time_step_floor", "time_step_init_scheme", "time_step_limit", "time_step_max",
            "time_step_min", "time_step_scale"});  // where training begins
  return s;
}

Writing mamba(ConfigReader& c) {
  MambaSpec s = read_mamba(c, {.vocab = 50280, .hidden = 768, .layers = 32, .state = 16});
  s.inner = c.maybe_whole({"intermediate_size"}, 1, 16 * limits::kWidth).value_or(s.inner);
  s.step_rank = (s.hidden + 15) / 16;
  if (c.has("time_step_rank") && !c.is_text("time_step_rank")) {
    s.step_rank = c.whole({"time_step_rank"}, s.step_rank);
  }
  return [s](GraphWriter& w) { return build_mamba(w, s); };
}

Writing falcon_mamba(ConfigReader& c) {
  MambaSpec s = read_mamba(c, {.vocab = 50280, .hidden = 768, .layers = 32, .state = 16});
  s.step_rank = (s.hidden + 15) / 16;
  if (c.has("time_step_rank") && !c.is_text("time_step_rank")) {
    s.step_rank = c.whole({"time_step_rank"}, s.step_rank);
  }
  s.part_norms = PartNorms::plain;
  s.inner = c.maybe_whole({"intermediate_size"}, 1, 16 * limits::kWidth).value_or(s.inner);
  c.ignore({"mixer_rms_eps", "use_falcon_mambapy"});
  return [s](GraphWriter& w) { return build_mamba(w, s); };
}

Writing mamba2(ConfigReader& c) {
  MambaSpec s =
      read_mamba(c, {.vocab = 32768, .hidden = 4096, .layers = 64, .state = 128, .tied = false});
  const std::int64_t stated =
      c.maybe_whole({"intermediate_size"}, 1, 16 * limits::kWidth).value_or(s.inner);
  if (stated != s.inner) {
    c.note("intermediate_size " + std::to_string(stated) + ": mamba2 takes expand * hidden_size, " +
           std::to_string(s.inner) + ", as in transformers");
  }
  s.heads = c.whole({"num_heads"}, 128, 1, limits::kHeads);
  s.head_dim = c.whole({"head_dim"}, 64, 1, 1 << 16);
  s.out_bias = s.bias;
  s.groups = c.whole({"n_groups"}, 8, 1, 1 << 10);
  s.chunk = c.whole({"chunk_size"}, 256, 1, 1 << 14);
  if (s.heads * s.head_dim != s.inner) {
    c.fault("num_heads", std::to_string(s.heads) + " heads of " + std::to_string(s.head_dim) +
                             " are not expand * hidden_size, " + std::to_string(s.inner));
  }
  c.divides("n_groups", s.groups, "num_heads", s.heads);
  c.divides("n_groups", s.groups, "expand * hidden_size", s.inner);
  return [s](GraphWriter& w) { return build_mamba(w, s); };
}

constexpr HfFamily kStateSpaceFamilies[] = {
    {"mamba", mamba}, {"falcon_mamba", falcon_mamba}, {"mamba2", mamba2}};

}  // namespace

std::span<const HfFamily> state_space_families() { return kStateSpaceFamilies; }

}  // namespace parallel_opt::hf
