#include "parallel_opt/importers/hf_attention.h"

// A mixture of experts as transformers 5 runs it: tokens sorted by expert, two grouped products.
// Every token meets `top_k` experts, so the work is that of tokens * top_k rows, whatever the
// router's choice; how evenly experts are loaded is not part of a graph.
namespace parallel_opt::hf {
namespace {

struct Routing {
  TensorId weights, experts;  ///< [tokens, top_k]
};

/// The k largest along the last axis: values, and with `both` the indices too.
TensorId top(GraphWriter& w, TensorId x, std::int64_t k, TensorId* indices) {
  const Shape shape = w.with_last(x, fixed(k));
  const TensorId values =
      w.op("aten.topk.default", {{"self", x}}, shape, {{"k", k}, {"dim", std::int64_t{-1}}});
  const TensorId places = w.also(DType::i64, shape);
  if (indices != nullptr) *indices = places;
  return values;
}

TensorId sum_last(GraphWriter& w, TensorId x, bool keep) {
  Shape shape = w.with_last(x, fixed(1));
  if (!keep) shape.pop_back();
  return w.op("aten.sum.dim_IntList", {{"self", x}}, std::move(shape),
              {{"dim", std::vector<std::int64_t>{-1}}, {"keepdim", keep}});
}

/// Scores with every group but the best ones masked out.
TensorId best_groups(GraphWriter& w, TensorId scores, const MixtureOfExperts& m) {
  const Dim tokens = w.dim(scores, 0);
  const std::int64_t each = m.experts / m.groups;
  const TensorId grouped = w.view(scores, {tokens, fixed(m.groups), fixed(each)});
  TensorId group_scores;
  if (m.router == RouterKind::sigmoid_groups) {
    group_scores = sum_last(w, top(w, grouped, 2, nullptr), false);
  } else {
    group_scores = w.op("aten.amax.default", {{"self", grouped}}, {tokens, fixed(m.groups)},
                        {{"dim", std::vector<std::int64_t>{-1}}});
  }
  TensorId chosen;
  top(w, group_scores, m.top_groups, &chosen);
  const TensorId zeros = w.unary("aten.zeros_like.default", group_scores);
  const TensorId mask = w.op("aten.scatter.value", {{"self", zeros}, {"index", chosen}},
                             w.tensor(zeros).shape, {{"dim", std::int64_t{1}}, {"value", 1.0}});
  const TensorId wide = w.expand(w.unsqueeze(mask, 2), {tokens, fixed(m.groups), fixed(each)});
  const TensorId flat = w.op("aten.reshape.default", {{"self", wide}}, {tokens, fixed(m.experts)});
  const TensorId hidden =
      w.op("aten.logical_not.default", DType::boolean, {{"self", flat}}, w.tensor(flat).shape);
  return w.op("aten.masked_fill.Scalar", {{"self", scores}, {"mask", hidden}},
              w.tensor(scores).shape);
}

TensorId gathered(GraphWriter& w, TensorId scores, TensorId experts) {
  return w.op("aten.gather.default", {{"self", scores}, {"index", experts}},
              w.tensor(experts).shape, {{"dim", std::int64_t{1}}});
}

/// One of phimoe's two picks: the best of scores that are not far behind, by chance in training.
TensorId sparse_pick(GraphWriter& w, TensorId logits, TensorId* expert) {
  const TensorId near = w.unary("aten.masked_fill.Scalar", logits);
  const TensorId noise = w.unary("aten.log.default", w.unary("aten.exponential.default", near));
  top(w, w.op("aten.sub.Tensor", {{"self", near}, {"other", noise}}, w.tensor(near).shape), 1,
      expert);
  return gathered(w, w.softmax(near), *expert);
}

Routing sparse_mixer(GraphWriter& w, TensorId logits) {
  TensorId first, second;
  const TensorId share = sparse_pick(w, logits, &first);
  const TensorId rest = w.op("aten.scatter.value", {{"self", logits}, {"index", first}},
                             w.tensor(logits).shape, {{"dim", std::int64_t{-1}}, {"value", -1e9}});
  const TensorId other = sparse_pick(w, rest, &second);
  return {w.cat({share, other}, 1), w.cat({first, second}, 1)};
}

/// What is added to scores before the choice and to no weight.
TensorId correction(GraphWriter& w, const MixtureOfExperts& m) {
  if (m.router == RouterKind::softmax_corrected) {
    return w.parameter_of(DType::fp32, "moe_statics.e_score_correction_bias", {1, m.experts},
                          false);
  }
  return w.buffer(m.correction, DType::fp32, {m.experts});
}

Routing choose(GraphWriter& w, TensorId logits, const MixtureOfExperts& m, TensorId corrected_by) {
  Routing r;
  if (m.router == RouterKind::sparse_mixer) return sparse_mixer(w, logits);
  if (m.router == RouterKind::top_softmax) {
    const TensorId best = top(w, logits, m.top_k, &r.experts);
    r.weights = w.softmax(best);
    return r;
  }
  const bool sigmoid =
      m.router == RouterKind::sigmoid_groups || m.router == RouterKind::sigmoid_top;
  TensorId scores = sigmoid ? w.unary("aten.sigmoid.default", logits) : w.softmax(logits);
  if (sigmoid || m.router == RouterKind::softmax_corrected) {
    TensorId choice = w.add(scores, corrected_by.valid() ? corrected_by : correction(w, m));
    if (m.router == RouterKind::sigmoid_groups) choice = best_groups(w, choice, m);
    top(w, choice, m.top_k, &r.experts);
    r.weights = gathered(w, scores, r.experts);
    return r;
  }
  if (m.router == RouterKind::softmax_groups) scores = best_groups(w, scores, m);
  r.weights = top(w, scores, m.top_k, &r.experts);
  return r;
}

/// Scores of every expert for every row, in fp32.
TensorId router_logits(GraphWriter& w, TensorId rows, const MixtureOfExperts& m) {
  const TensorId weight = w.parameter_of(m.router_weight_fp32 ? DType::fp32 : w.dtype(), "weight",
                                         {m.experts, w.last(rows).size});
  const TensorId bias = m.router_bias ? w.parameter("bias", {m.experts}) : TensorId();
  if (m.router_fp32) {
    return w.linear_with(w.to(rows, DType::fp32), "", w.to(weight, DType::fp32), bias);
  }
  return w.to(w.linear_with(rows, "", weight, bias), DType::fp32);
}

Routing route(GraphWriter& w, TensorId rows, const MixtureOfExperts& m, TensorId corrected_by) {
  const GraphWriter::Scope scope(w, m.router_name);
  const DType dtype = w.dtype();
  Routing r = choose(w, router_logits(w, rows, m), m, corrected_by);
  if (m.renormalise) {
    r.weights =
        w.op("aten.div.Tensor", {{"self", r.weights}, {"other", sum_last(w, r.weights, true)}},
             w.tensor(r.weights).shape);
  }
  if (m.scale != 1) r.weights = w.mul(r.weights, m.scale);
  if (!m.router_fp32) r.weights = w.to(r.weights, dtype);
  return r;
}

/// The weights of all experts, `in` to `out` numbers.
TensorId expert_weight(GraphWriter& w, const MixtureOfExperts& m, const char* name,
                       std::int64_t out, std::int64_t in) {
  return m.transposed ? w.parameter(name, {m.experts, in, out})
                      : w.parameter(name, {m.experts, out, in});
}

/// rows [r, k] times the weight of each row's expert, stored [experts, n, k] or turned round.
TensorId grouped_product(GraphWriter& w, TensorId rows, TensorId weight, TensorId offsets,
                         bool transposed) {
  const TensorId columns = transposed ? weight : w.transpose(weight, 1, 2);
  return w.op("aten._grouped_mm.default", {{"self", rows}, {"mat2", columns}, {"offs", offsets}},
              {w.dim(rows, 0), w.dim(columns, 2)});
}

TensorId picked(GraphWriter& w, TensorId x, TensorId indices) {
  Shape shape = w.tensor(x).shape;
  shape[0] = w.dim(indices, 0);
  return w.op("aten.index.Tensor", {{"self", x}, {"indices", indices}}, std::move(shape));
}

/// gpt_oss: (value + 1) * gate * sigmoid(1.702 gate), both within limits.
TensorId clamped_gate(GraphWriter& w, TensorId both, std::int64_t ffn) {
  const TensorId gate = w.unary("aten.clamp.default", w.slice(both, 1, 0, fixed(ffn)));
  const TensorId value = w.unary("aten.clamp.default", w.slice(both, 1, 1, fixed(ffn)));
  const TensorId open = w.unary("aten.sigmoid.default", w.mul(gate, 1.702));
  return w.mul(w.add(value, 1.0), w.mul(gate, open));
}

TensorId expert_activation(GraphWriter& w, TensorId inner, const DecoderSpec& s) {
  const MixtureOfExperts& m = s.moe.value();
  if (m.clamped) return clamped_gate(w, inner, m.ffn);
  if (!m.gated) return activate(w, inner, s.activation);
  const std::size_t axis = w.tensor(inner).shape.size() - 1;
  const TensorId gate = w.slice(inner, axis, 0, fixed(m.ffn));
  const TensorId value = w.slice(inner, axis, m.ffn, fixed(m.ffn));
  return w.mul(activate(w, gate, s.activation), value);
}

TensorId run_experts(GraphWriter& w, TensorId rows, const Routing& r, const DecoderSpec& s) {
  const MixtureOfExperts& m = s.moe.value();
  const GraphWriter::Scope scope(w, "experts");
  const std::int64_t wide = m.gated ? 2 * m.ffn : m.ffn;
  const char* const up_name = m.gated ? "gate_up_proj" : "up_proj";
  const std::int64_t width = w.last(rows).size;
  const TensorId up = expert_weight(w, m, up_name, wide, width);
  const TensorId down = expert_weight(w, m, "down_proj", width, m.ffn);
  const Dim tokens = w.dim(rows, 0), pairs = times(tokens, fixed(m.top_k));
  const auto flat = [&](TensorId x) { return w.view_op("aten.reshape.default", x, {pairs}); };
  const TensorId weights = flat(r.weights);
  const TensorId sorted = w.op("aten.sort.default", {{"self", flat(r.experts)}}, {pairs});
  const TensorId order = w.also(DType::i64, {pairs});
  const TensorId source =
      w.op("aten.floor_divide.default", {{"self", order}}, {pairs}, {{"other", m.top_k}});
  const TensorId chosen = picked(w, rows, source);
  const TensorId chosen_weights = picked(w, weights, order);
  const TensorId counts = w.op("aten.histc.default", {{"self", w.to(sorted, DType::fp32)}},
                               {fixed(m.experts)}, {{"bins", m.experts}});
  const TensorId offsets = w.op("aten.cumsum.default", DType::i32, {{"self", counts}},
                                {fixed(m.experts)}, {{"dim", std::int64_t{0}}});
  const auto biased = [&](TensorId x, const char* name) {
    if (!m.expert_bias) return x;
    return w.add(x, picked(w, w.parameter(name, {m.experts, w.last(x).size}), sorted));
  };
  const TensorId inner =
      biased(grouped_product(w, chosen, up, offsets, m.transposed), "gate_up_proj_bias");
  const TensorId out =
      biased(grouped_product(w, expert_activation(w, inner, s), down, offsets, m.transposed),
             "down_proj_bias");
  const TensorId weighted = w.mul(out, w.unsqueeze(chosen_weights, 1));
  const TensorId places =
      w.op("aten.argsort.default", {{"self", order}}, {pairs}, {{"dim", std::int64_t{0}}});
  const TensorId in_order = picked(w, weighted, places);
  const TensorId apart = w.view(in_order, {tokens, fixed(m.top_k), fixed(width)});
  return w.to(w.op("aten.sum.dim_IntList", {{"self", apart}}, {tokens, fixed(width)},
                   {{"dim", std::vector<std::int64_t>{1}}}),
              w.dtype());
}

/// Scores of all experts: a sigmoid of the best ones, 0 elsewhere.
TensorId all_scores(GraphWriter& w, TensorId rows, const MixtureOfExperts& m) {
  const GraphWriter::Scope scope(w, m.router_name);
  const TensorId logits = router_logits(w, rows, m);
  TensorId chosen;
  const TensorId best = top(w, logits, m.top_k, &chosen);
  const TensorId least = w.unary("aten.full_like.default", logits);
  const TensorId kept =
      w.op("aten.scatter.src", {{"self", least}, {"index", chosen}, {"src", best}},
           w.tensor(logits).shape, {{"dim", std::int64_t{1}}});
  return w.to(w.unary("aten.sigmoid.default", kept), w.dtype());
}

TensorId run_all_experts(GraphWriter& w, TensorId rows, const DecoderSpec& s) {
  const MixtureOfExperts& m = s.moe.value();
  const Dim tokens = w.dim(rows, 0), experts = fixed(m.experts), hidden = fixed(s.hidden);
  const TensorId scores = all_scores(w, rows, m);
  const Dim pairs = times(tokens, experts);
  const TensorId repeated = w.op("aten.repeat.default", {{"self", rows}}, {pairs, hidden},
                                 {{"repeats", std::vector<std::int64_t>{m.experts, 1}}});
  const TensorId column =
      w.view_op("aten.reshape.default", w.transpose(scores, 0, 1), {pairs, fixed(1)});
  const TensorId scaled = w.view(w.mul(repeated, column), {experts, tokens, hidden});
  TensorId out;
  {
    const GraphWriter::Scope scope(w, "experts");
    const auto product = [&](TensorId x, const char* name, std::int64_t width) {
      const TensorId weight = expert_weight(w, m, name, width, w.last(x).size);
      return w.op("aten.bmm.default", {{"self", x}, {"mat2", weight}},
                  {experts, tokens, fixed(width)});
    };
    const TensorId inner = expert_activation(w, product(scaled, "gate_up_proj", 2 * m.ffn), s);
    out = product(inner, "down_proj", s.hidden);
  }
  return w.op("aten.sum.dim_IntList", {{"self", out}}, {tokens, hidden},
              {{"dim", std::vector<std::int64_t>{0}}});
}

}  // namespace

TensorId expert_mixture(GraphWriter& w, TensorId x, const DecoderSpec& s) {
  const MixtureOfExperts& m = s.moe.value();
  const Shape shape = w.tensor(x).shape;
  const TensorId rows = w.view(x, {w.tokens(x), fixed(s.hidden)});
  TensorId shared;
  const bool gated_shared = m.shared_ffn > 0 && m.shared_gate;
  const auto run_shared = [&] {
    const GraphWriter::Scope scope(w, m.shared_name);
    return feed_forward(w, rows, s, m.shared_ffn);
  };
  if (gated_shared) shared = run_shared();
  TensorId out;
  if (m.router == RouterKind::sigmoid_all) {
    out = run_all_experts(w, rows, s);
  } else {
    const TensorId corrected_by =
        m.router == RouterKind::sigmoid_top ? correction(w, m) : TensorId();
    const Routing routing = route(w, rows, m, corrected_by);
    const TensorId narrow =
        m.latent > 0 ? w.linear(rows, "fc1_latent_proj", m.latent, s.mlp_bias) : rows;
    out = run_experts(w, narrow, routing, s);
    if (m.latent > 0) out = w.linear(out, "fc2_latent_proj", s.hidden, s.mlp_bias);
  }
  if (m.shared_ffn > 0 && !m.shared_gate) shared = run_shared();
  if (gated_shared) {
    const TensorId gate = w.linear(rows, "shared_expert_gate", 1, false);
    shared = w.mul(w.unary("aten.sigmoid.default", gate), shared);
  }
  if (shared.valid()) out = w.add(out, shared);
  return w.view(out, shape);
}

TensorId rotate_complex(GraphWriter& w, TensorId x, const RotaryTables& tables) {
  Shape pairs = w.tensor(x).shape;
  pairs.back() = fixed(pairs.back().size / 2);
  const Shape whole = w.tensor(x).shape;
  Shape split = pairs;
  split.push_back(fixed(2));
  const TensorId parts =
      w.op("aten.reshape.default", {{"self", w.to(x, DType::fp32)}}, std::move(split));
  const TensorId numbers =
      w.op("aten.view_as_complex.default", DType::complex64, {{"self", parts}}, pairs);
  const TensorId turned =
      w.op("aten.mul.Tensor", DType::complex64, {{"self", numbers}, {"other", tables.cos}}, pairs);
  Shape back = pairs;
  back.push_back(fixed(2));
  const TensorId real =
      w.op("aten.view_as_real.default", DType::fp32, {{"self", turned}}, std::move(back));
  return w.to(w.view(real, whole), w.dtype());
}

TensorId latent_attention(GraphWriter& w, TensorId x, const DecoderSpec& s,
                          const RotaryTables& tables) {
  const LatentAttention& a = s.latent.value();
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1);
  const std::int64_t qk = a.nope + a.rope;
  TensorId q;
  if (a.q_rank == 0) {
    q = w.linear(x, "q_proj", s.heads * qk, false);
  } else {
    const TensorId low = w.linear(x, "q_a_proj", a.q_rank, s.qkv_bias);
    q = w.linear(norm(w, low, "q_a_layernorm", NormKind::rms, s.norm_eps), "q_b_proj", s.heads * qk,
                 false);
  }
  q = split_heads(w, q, s.heads, qk);
  const TensorId q_pass = w.slice(q, 3, 0, fixed(a.nope));
  const TensorId q_part = w.slice(q, 3, a.nope, fixed(a.rope));
  const TensorId low = w.linear(x, "kv_a_proj_with_mqa", a.kv_rank + a.rope, s.qkv_bias);
  const TensorId kv_part = w.slice(low, 2, 0, fixed(a.kv_rank));
  const TensorId k_part =
      w.view(w.slice(low, 2, a.kv_rank, fixed(a.rope)), {batch, fixed(1), length, fixed(a.rope)});
  const TensorId kv_low = norm(w, kv_part, "kv_a_layernorm", NormKind::rms, s.norm_eps);
  const auto turn = [&](TensorId t) {
    return a.complex_rotary ? rotate_complex(w, t, tables)
                            : rotate(w, t, tables, a.rope, a.interleaved);
  };
  const TensorId q_turned = turn(q_part);
  const TensorId k_turned = turn(k_part);
  const TensorId query = w.cat({q_pass, q_turned}, 3);
  const TensorId kv =
      split_heads(w, w.linear(kv_low, "kv_b_proj", s.heads * (a.nope + a.value), false), s.heads,
                  a.nope + a.value);
  const TensorId k_pass = w.slice(kv, 3, 0, fixed(a.nope));
  const TensorId value = w.slice(kv, 3, a.nope, fixed(a.value));
  const TensorId k_all = w.expand(k_turned, {batch, fixed(s.heads), length, fixed(a.rope)});
  const TensorId key = w.cat({k_pass, k_all}, 3);
  const TensorId mixed = fused_attention(
      w, query, key, value, {s.causal, TensorId(), s.attention_scale, s.attention_dropout});
  return w.linear(mixed, "o_proj", s.hidden, s.o_bias);
}

}  // namespace parallel_opt::hf
