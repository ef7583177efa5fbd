#include "parallel_opt/importers/hf_decoder.h"

#include <cmath>

#include "parallel_opt/importers/hf_attention.h"

namespace parallel_opt::hf {
namespace {

struct Layer {
  const DecoderSpec& s;
  GraphWriter& w;
  RotaryTables tables;
  TensorId mask;
  bool experts = false, recurs = false, attends = false;

  TensorId recurrence(TensorId x) const {
    const GraphWriter::Scope scope(w, s.names.recurrence);
    return s.recurrence(w, x);
  }
  TensorId attention(TensorId x) const {
    if (recurs) return recurrence(x);
    const GraphWriter::Scope scope(w, s.names.attention);
    const TensorId out =
        s.latent ? latent_attention(w, x, s, tables) : decoder_attention(w, x, s, tables, mask);
    return w.dropout(out, s.residual_dropout);
  }
  TensorId ffn(TensorId x) const {
    TensorId out;
    {
      const GraphWriter::Scope scope(w, s.names.mlp);
      out = experts ? expert_mixture(w, x, s) : feed_forward(w, x, s, s.ffn);
      out = w.dropout(out, s.residual_dropout);
    }
    if (s.shared_ffn == 0) return out;
    const GraphWriter::Scope scope(w, "shared_mlp");
    return w.add(out, feed_forward(w, x, s, s.shared_ffn));
  }
  TensorId normed(TensorId x, const std::string& name) const {
    return norm(w, x, name, s.norm, s.norm_eps);
  }
  TensorId joined(TensorId residual, TensorId x) const {
    return w.add(residual, s.residual_scale > 0 ? w.mul(x, s.residual_scale) : x);
  }

  TensorId run(TensorId x) const {
    const DecoderNames& n = s.names;
    switch (s.block) {
      case BlockKind::pre:
        x = joined(x, attention(normed(x, n.norm1)));
        return joined(x, ffn(normed(x, n.norm2)));
      case BlockKind::post:
        x = normed(joined(x, attention(x)), n.norm1);
        return normed(joined(x, ffn(x)), n.norm2);
      case BlockKind::post_inner:
        x = joined(x, normed(attention(x), n.norm1));
        return joined(x, normed(ffn(x), n.norm2));
      case BlockKind::sandwich:
        x = joined(x, normed(attention(normed(x, n.norm1)), n.norm1_after));
        return joined(x, normed(ffn(normed(x, n.norm2_before)), n.norm2_after));
      case BlockKind::parallel: {
        const TensorId h = normed(x, n.norm1);
        const TensorId mixed = attention(h);
        return w.add(w.add(mixed, ffn(h)), x);
      }
      case BlockKind::parallel_two: {
        const TensorId mixed = attention(normed(x, n.norm1));
        return w.add(w.add(ffn(normed(x, n.norm2)), mixed), x);
      }
      case BlockKind::beside: {
        const TensorId h = normed(x, n.norm1);
        const TensorId state = scaled(w, recurrence(h), s.scales.recurrence_out);
        const TensorId seen = attention(scaled(w, h, s.scales.attention_in));
        x = w.add(x, w.add(state, scaled(w, seen, s.scales.attention_out)));
        return w.add(x, ffn(normed(x, n.norm2)));
      }
      case BlockKind::single: {
        const TensorId h = normed(x, n.norm1);
        return w.add(x, recurs || attends ? attention(h) : ffn(h));
      }
    }
    return x;
  }
};

TensorId position_ids(GraphWriter& w, const Dim& length) {
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {length});
  return w.unsqueeze(range, 0);
}

/// Bloom's slopes times positions: [batch * heads, 1, length].
TensorId alibi(GraphWriter& w, const DecoderSpec& s, const Dim& batch, const Dim& length) {
  const TensorId ones = w.op("aten.ones.default", DType::i64, {}, {batch, length});
  const TensorId counted =
      w.op("aten.cumsum.default", {{"self", ones}}, {batch, length}, {{"dim", std::int64_t{-1}}});
  const TensorId slopes = w.op("aten.arange.default", w.dtype(), {}, {fixed(s.heads), fixed(1)});
  const TensorId bias = w.mul(slopes, w.to(w.unsqueeze(counted, 1), w.dtype()));
  return w.view_op("aten.reshape.default", bias, {times(batch, fixed(s.heads)), fixed(1), length});
}

/// Falcon's: the slopes and what lies ahead in one mask, [batch, heads, length, length].
TensorId fused_bias(GraphWriter& w, const DecoderSpec& s, TensorId slopes, const Dim& batch,
                    const Dim& length) {
  const TensorId rows =
      w.view_op("aten.reshape.default", slopes, {batch, fixed(s.heads), fixed(1), length});
  const TensorId scaled = w.div(rows, std::sqrt(static_cast<double>(s.head_dim)));
  return w.add(scaled, w.causal_mask(length));
}

struct Embedded {
  TensorId hidden, table;
};

Embedded embed(GraphWriter& w, const DecoderSpec& s, TensorId ids) {
  const DecoderNames& n = s.names;
  const std::int64_t width = s.embed_dim > 0 ? s.embed_dim : s.hidden;
  const TensorId table = w.parameter(n.embed + ".weight", {s.vocab, width});
  TensorId x = w.embedding(ids, table, n.embed);
  if (s.embed_scale_buffer) {
    x = w.mul(x, w.to(w.buffer(n.embed + ".embed_scale", DType::fp32, {}), w.dtype()));
  } else if (s.embed_scale > 0) {
    x = w.mul(x, s.embed_scale);
  }
  if (s.positions == Positions::stored) {
    const TensorId kept =
        w.buffer(n.positions, DType::fp32, {s.max_positions + s.position_offset, s.hidden});
    const TensorId found =
        w.op("aten.index.Tensor", {{"self", kept}, {"indices", position_ids(w, w.dim(ids, 1))}},
             {fixed(1), w.dim(ids, 1), fixed(s.hidden)});
    x = w.add(x, w.to(found, w.dtype()));
  }
  if (s.positions == Positions::learned) {
    const TensorId rows =
        w.parameter(n.positions + ".weight", {s.max_positions + s.position_offset, s.hidden});
    const TensorId places = w.embedding(position_ids(w, w.dim(ids, 1)), rows, n.positions);
    if (width != s.hidden) x = w.linear(x, "project_in", s.hidden, false);
    x = w.add(x, places);
  }
  x = w.dropout(x, s.embed_dropout);
  if (!n.embed_norm.empty()) x = norm(w, x, n.embed_norm, s.norm, s.norm_eps);
  return {x, table};
}

TensorId head(GraphWriter& w, const DecoderSpec& s, TensorId x, TensorId table) {
  if (s.head == DecoderSpec::Head::none) return x;
  if (s.head == DecoderSpec::Head::classifier) {
    return w.linear(x, s.names.class_head, s.labels, false);
  }
  if (s.head == DecoderSpec::Head::tokens) {
    return w.linear(w.dropout(x, s.head_dropout), s.names.token_head, s.labels, true);
  }
  TensorId weight = table;
  if (s.tied) {
    w.tie(s.names.head + ".weight", table);
  } else {
    weight = w.parameter(s.names.head + ".weight", {s.vocab, w.last(x).size});
  }
  const TensorId bias = s.head_bias ? w.parameter(s.names.head + ".bias", {s.vocab}) : TensorId();
  if (s.head_scale > 0) x = w.mul(x, s.head_scale);
  TensorId logits = w.linear_with(x, s.names.head, weight, bias);
  if (s.logit_scale > 0) logits = w.mul(logits, s.logit_scale);
  if (s.logit_softcap > 0) {
    const TensorId capped = w.unary("aten.tanh.default", w.div(logits, s.logit_softcap));
    logits = w.mul(capped, s.logit_softcap);
  }
  return logits;
}

bool is_rotary(const DecoderSpec& s) {
  return s.positions == Positions::rotary || s.positions == Positions::rotary_interleaved ||
         s.positions == Positions::rotary_complex;
}

/// cos carries the complex numbers where rotation is complex.
RotaryTables complex_tables(GraphWriter& w, TensorId positions, std::int64_t rotary_dim) {
  const std::int64_t half = rotary_dim / 2;
  const TensorId frequencies = w.buffer("inv_freq", DType::fp32, {half});
  w.buffer("original_inv_freq", DType::fp32, {half});
  const TensorId angles = w.mul(w.to(w.unsqueeze(positions, 2), DType::fp32), frequencies);
  const TensorId ones = w.unary("aten.ones_like.default", angles);
  const TensorId polar = w.op("aten.polar.default", DType::complex64,
                              {{"abs", ones}, {"angle", angles}}, w.tensor(angles).shape);
  return {w.unsqueeze(polar, 1), TensorId()};
}

bool any_slides(const DecoderSpec& s) {
  for (std::int64_t i = 0; i < s.layers; ++i) {
    if (s.slides(i)) return true;
  }
  return false;
}

struct PositionTensors {
  RotaryTables tables;
  RotaryTables local;  ///< of sliding layers, where they differ
  TensorId bias;
  TensorId window;  ///< of layers that slide, where it is a mask
};

PositionTensors position_tensors(GraphWriter& w, const DecoderSpec& s, const Dim& batch,
                                 const Dim& length) {
  PositionTensors p;
  if (s.causal && s.attention != AttentionKind::fused) w.causal_mask(length);  // before any layer
  if (s.positions == Positions::alibi) {
    p.bias = alibi(w, s, batch, length);
    if (s.attention == AttentionKind::fused) p.bias = fused_bias(w, s, p.bias, batch, length);
    if (s.attention == AttentionKind::eager) {
      p.bias = w.view(p.bias, {batch, fixed(s.heads), fixed(1), length});
    }
  }
  if (s.masks_window() && any_slides(s)) {
    p.window = w.window_mask(length, s.window, s.causal);
    if (s.attention != AttentionKind::fused) {  // added to the scores: 0 or very negative
      p.window = w.mul(w.add(w.to(p.window, w.dtype()), -1.0), 1e9);
    }
  }
  if (!is_rotary(s)) return p;
  const TensorId ids = position_ids(w, length);
  p.tables.positions = ids;
  if (s.table_per_layer) return p;
  const GraphWriter::Scope scope(w, "rotary_emb");
  const std::int64_t dim = s.latent ? s.latent->rope : s.rotary_dim > 0 ? s.rotary_dim : s.head_dim;
  const bool complex =
      s.latent ? s.latent->complex_rotary : s.positions == Positions::rotary_complex;
  if (complex) {
    p.tables = complex_tables(w, ids, dim);
  } else if (s.two_rotary) {
    p.local = rotary_tables(w, ids, dim, "sliding_attention_inv_freq");
    p.tables = rotary_tables(w, ids, dim, "full_attention_inv_freq");
  } else {
    p.tables = rotary_tables(w, ids, dim);
  }
  return p;
}

TensorId run_layer(GraphWriter& w, const DecoderSpec& s, std::int64_t i, TensorId x,
                   const PositionTensors& positions) {
  std::string name = s.names.layers;
  name.append(".").append(std::to_string(i));
  const GraphWriter::Scope scope(w, name);
  const bool experts = s.moe && (!s.layer_has_experts || s.layer_has_experts(i));
  const bool local = s.layer_is_local && s.layer_is_local(i);
  const bool turns = !s.layer_turns || s.layer_turns(i);
  const RotaryTables tables = !turns ? RotaryTables{} : local ? positions.local : positions.tables;
  const TensorId mask = s.slides(i) ? positions.window : positions.bias;
  const bool recurs = s.recurrence && s.layer_recurs && s.layer_recurs(i);
  const bool attends = s.layer_attends && s.layer_attends(i);
  return Layer{s, w, tables, mask, experts, recurs, attends}.run(x);
}

TensorId with_deep(GraphWriter& w, TensorId x, TensorId places, TensorId deep) {
  const TensorId zeros = w.unary("aten.zeros_like.default", x);
  return w.add(x, w.op("aten.masked_scatter.default",
                       {{"self", zeros}, {"mask", places}, {"source", deep}}, w.tensor(x).shape));
}

}  // namespace

Graph build_decoder(GraphWriter& w, const DecoderSpec& s) {
  const bool learned = s.positions == Positions::learned || s.positions == Positions::stored;
  const Dim batch = w.symbol("batch", 1);
  const Dim length = w.symbol("sequence", s.sequence_hint, learned ? s.max_positions : 0);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, length});
  const bool bare = s.head == DecoderSpec::Head::none;
  const bool asked = s.head == DecoderSpec::Head::questions && !s.names.question_base.empty();
  const std::string& model = bare    ? s.names.bare_base
                             : asked ? s.names.question_base
                                     : s.names.base;
  Embedded embedded;
  {
    const GraphWriter::Scope base(w, model);
    embedded = embed(w, s, ids);
  }
  const Merged merged =
      s.merge ? s.merge(w, ids, embedded.hidden) : Merged{embedded.hidden, {}, {}};
  TensorId x = merged.hidden;
  {
    const GraphWriter::Scope base(w, model);
    const PositionTensors positions = position_tensors(w, s, batch, length);
    GraphWriter::Mark mark = w.mark();
    for (std::int64_t i = 0; i < s.layers; ++i) {
      x = run_layer(w, s, i, x, positions);
      if (i < static_cast<std::int64_t>(merged.deep.size())) {
        x = with_deep(w, x, merged.places, merged.deep[static_cast<std::size_t>(i)]);
      }
      if (i <= 1) {  // the second layer tells what one layer needs, the first grew the arrays
        w.reserve_repeats(mark, s.layers - 1 - i);
        mark = w.mark();
      }
    }
    if (s.final_norm) x = norm(w, x, s.names.final_norm, s.norm, s.norm_eps);
    if (s.embed_dim > 0 && s.embed_dim != s.hidden) {
      x = w.linear(x, "project_out", s.embed_dim, false);
    }
  }
  if (s.head == DecoderSpec::Head::questions) {
    const Answer answer = answer_head(w, x);
    return w.finish({answer.start, answer.end});
  }
  return w.finish({head(w, s, x, embedded.table)});
}

}  // namespace parallel_opt::hf
