#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_families.h"

// t5, mt5 and umt5. `sequence` is the encoder's length, `target_sequence` the decoder's.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;
using Head = HeadKind;

struct T5Spec {
  std::int64_t vocab = 0, hidden = 0, width = 0, ffn = 0, heads = 0;
  std::int64_t encoder_layers = 0, decoder_layers = 0, buckets = 0;
  double eps = 1e-6, dropout = 0.1;
  bool gated = false, scale_outputs = true;
  bool bias_each = false;  ///< every layer has a table of distances (umt5)
  std::string activation = "relu";
  Head head = Head::conditional_generation;
  SentenceHead classifier = {};
};

struct Stack {
  const T5Spec& s;
  GraphWriter& w;
  bool decoder;
  TensorId bias;        ///< of self attention: made by the first layer, used by all
  TensorId cross_bias;  ///< of cross attention: zeros

  /// Bucket numbers of relative positions, looked up: [1, heads, q, k].
  TensorId relative_bias(const Dim& length) const {
    const TensorId table = w.parameter("relative_attention_bias.weight", {s.buckets, s.heads});
    const TensorId range = w.op("aten.arange.default", DType::i64, {}, {length});
    const TensorId rows = w.unsqueeze(range, 1), columns = w.unsqueeze(range, 0);
    const TensorId distance =
        w.op("aten.sub.Tensor", {{"self", columns}, {"other", rows}}, {length, length});
    const TensorId near = w.unary("aten.abs.default", distance);
    const TensorId logarithm =
        w.mul(w.unary("aten.log.default", w.div(w.to(near, DType::fp32), 8)), 4);
    const TensorId far = w.to(logarithm, DType::i64);
    const TensorId small =
        w.op("aten.lt.Scalar", DType::boolean, {{"self", near}}, {length, length});
    const TensorId bucket =
        w.op("aten.where.self", DType::i64, {{"condition", small}, {"self", near}, {"other", far}},
             {length, length});
    const TensorId values = w.embedding(bucket, table, "relative_attention_bias");
    const TensorId heads_first =
        w.view_op("aten.permute.default", values, {fixed(s.heads), length, length},
                  {{"dims", std::vector<std::int64_t>{2, 0, 1}}});
    return w.unsqueeze(heads_first, 0);
  }

  /// The scores' addend, with what lies ahead masked in a decoder.
  TensorId addend(TensorId positions, bool causal) const {
    if (!causal) return positions;
    const Dim& length = w.dim(positions, 2);
    const TensorId ones = w.op("aten.ones.default", DType::boolean, {}, {length, length});
    const TensorId seen = w.unary("aten.tril.default", ones);
    const TensorId least = w.op("aten.scalar_tensor.default", w.dtype(), {}, {});
    return w.op("aten.where.self", w.dtype(),
                {{"condition", seen}, {"self", positions}, {"other", least}},
                w.tensor(positions).shape);
  }

  TensorId attention(TensorId x, TensorId memory, const char* name, TensorId& positions,
                     bool causal, bool relative) const {
    const GraphWriter::Scope scope(w, name);
    if (!positions.valid()) {
      positions = relative ? relative_bias(w.dim(x, 1))
                           : w.op("aten.zeros.default", w.dtype(), {},
                                  {fixed(1), fixed(s.heads), w.dim(x, 1), w.dim(memory, 1)});
    }
    AttentionParts p{"q", "k", "v", "o", s.heads, s.width, false, false, false, false};
    p.call = {false, addend(positions, causal), 1.0, s.dropout};
    return w.dropout(attend(w, x, memory, p, s.hidden), s.dropout);
  }

  TensorId feed_forward(TensorId x) const {
    const GraphWriter::Scope scope(w, "DenseReluDense");
    if (!s.gated) {
      const TensorId out =
          two_layers(w, x, {"wi", "wo", s.ffn, s.hidden, s.activation, false, s.dropout});
      return w.dropout(out, s.dropout);
    }
    const TensorId gate = activate(w, w.linear(x, "wi_0", s.ffn, false), s.activation);
    const TensorId inner = w.dropout(w.mul(gate, w.linear(x, "wi_1", s.ffn, false)), s.dropout);
    return w.dropout(w.linear(inner, "wo", s.hidden, false), s.dropout);
  }

  template <class Part>
  TensorId residual(TensorId x, int index, Part part) const {
    const GraphWriter::Scope scope(w, "layer." + std::to_string(index));
    return w.add(x, part(norm(w, x, "layer_norm", NormKind::rms, s.eps)));
  }

  TensorId run(TensorId ids, TensorId table, TensorId memory) {
    const GraphWriter::Scope scope(w, decoder ? "decoder" : "encoder");
    w.tie("embed_tokens.weight", table);
    TensorId x = w.dropout(w.embedding(ids, table, "embed_tokens"), s.dropout);
    const std::int64_t layers = decoder ? s.decoder_layers : s.encoder_layers;
    for (std::int64_t i = 0; i < layers; ++i) {
      const GraphWriter::Mark mark = w.mark();
      const GraphWriter::Scope block(w, "block." + std::to_string(i));
      if (s.bias_each) bias = cross_bias = TensorId();
      x = residual(
          x, 0, [&](TensorId h) { return attention(h, h, "SelfAttention", bias, decoder, true); });
      if (decoder) {
        x = residual(x, 1, [&](TensorId h) {
          return attention(h, memory, "EncDecAttention", cross_bias, false, false);
        });
      }
      x = residual(x, decoder ? 2 : 1, [&](TensorId h) { return feed_forward(h); });
      if (i == 1) w.reserve_repeats(mark, layers - 2);
    }
    return w.dropout(norm(w, x, "final_layer_norm", NormKind::rms, s.eps), s.dropout);
  }
};

Graph build_t5(GraphWriter& w, const T5Spec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim source = w.symbol("sequence", 512);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, source});
  const auto shared = [&] { return w.parameter("shared.weight", {s.vocab, s.hidden}); };
  if (s.head == Head::encoder) {
    return w.finish({Stack{s, w, false, {}, {}}.run(ids, shared(), TensorId())});
  }
  if (s.head == Head::token_classification) {
    TensorId x;
    {
      const GraphWriter::Scope base(w, "transformer");
      x = w.dropout(Stack{s, w, false, {}, {}}.run(ids, shared(), TensorId()),
                    s.classifier.dropout);
    }
    return w.finish({w.linear(x, "classifier", s.classifier.labels, true)});
  }
  // The class that reads sentences picks the decoder's states by the encoder's ids.
  const bool classifies = s.head == Head::sequence_classification;
  const Dim target = classifies ? source : w.symbol("target_sequence", 512);
  const TensorId decoded = w.input("decoder_input_ids", DType::i64, {batch, target});
  TensorId x, table;
  {
    const GraphWriter::Scope base(w, classifies ? "transformer" : "");
    table = shared();
    const TensorId memory = Stack{s, w, false, {}, {}}.run(ids, table, TensorId());
    x = Stack{s, w, true, {}, {}}.run(decoded, table, memory);
  }
  if (s.head == Head::base) return w.finish({x});
  if (classifies) return w.finish({sentence_head(w, ids, x, s.classifier)});
  if (s.head == Head::question_answering) {
    const Answer answer = answer_head(w, x);
    return w.finish({answer.start, answer.end});
  }
  if (s.scale_outputs) x = w.mul(x, 1 / std::sqrt(static_cast<double>(s.hidden)));
  w.tie("lm_head.weight", table);
  return w.finish({w.linear_with(x, "lm_head", table, TensorId())});
}

Writing read_t5(ConfigReader& c, T5Spec s, std::string_view feed_forward) {
  s.vocab = c.whole({"vocab_size"}, s.vocab, 1, limits::kVocabulary);
  s.hidden = c.whole({"d_model", "hidden_size"}, 512);
  s.width = c.whole({"d_kv"}, 64, 1, 1 << 16);
  s.ffn = c.whole({"d_ff"}, s.ffn, 1, limits::kFeedForward);
  s.heads = c.whole({"num_heads", "num_attention_heads"}, s.heads, 1, limits::kHeads);
  s.encoder_layers =
      c.whole({"num_layers", "num_hidden_layers"}, s.encoder_layers, 1, limits::kLayers);
  s.decoder_layers =
      c.maybe_whole({"num_decoder_layers"}, 1, limits::kLayers).value_or(s.encoder_layers);
  s.buckets = c.whole({"relative_attention_num_buckets"}, 32);
  s.eps = c.real({"layer_norm_epsilon"}, 1e-6);
  s.dropout = c.real({"dropout_rate"}, 0.1);
  const std::string kind =
      c.choice({"feed_forward_proj"}, feed_forward,
               {"relu", "gelu", "silu", "gated-gelu", "gated-silu", "gated-relu"});
  s.gated = kind.starts_with("gated-");
  s.activation = s.gated ? kind.substr(6) : kind;
  if (kind == "gated-gelu") s.activation = "gelu_new";  // as the class reads it
  if (c.flag({"is_gated_act"}, s.gated) != s.gated) {
    c.fault("is_gated_act", std::string(s.gated ? "false" : "true") +
                                " is not what feed_forward_proj says, '" + kind + "'");
  }
  s.head =
      c.head(Head::conditional_generation,
             {Head::conditional_generation, Head::sequence_classification,
              Head::token_classification, Head::question_answering, Head::encoder, Head::base});
  s.classifier = {c.labels(), c.real({"classifier_dropout"}, 0)};
  c.ignore({"is_encoder_decoder", "relative_attention_max_distance", "dense_act_fn", "n_positions",
            "tie_word_embeddings"});
  return [s](GraphWriter& w) { return build_t5(w, s); };
}

Writing t5(ConfigReader& c) {
  T5Spec s{.vocab = 32128, .ffn = 2048, .heads = 8, .encoder_layers = 6};
  s.scale_outputs = c.flag({"tie_word_embeddings"}, true);
  return read_t5(c, s, "relu");
}

Writing mt5(ConfigReader& c) {
  T5Spec s{.vocab = 250112, .ffn = 1024, .heads = 6, .encoder_layers = 8};
  s.scale_outputs = false;
  return read_t5(c, s, "gated-gelu");
}

Writing umt5(ConfigReader& c) {
  T5Spec s{.vocab = 250112, .ffn = 1024, .heads = 6, .encoder_layers = 8};
  s.scale_outputs = false;
  s.bias_each = true;
  return read_t5(c, s, "gated-gelu");
}

constexpr HfFamily kT5Families[] = {{"t5", t5}, {"mt5", mt5}, {"umt5", umt5}};

}  // namespace

TensorId sentence_head(GraphWriter& w, TensorId ids, TensorId x, const SentenceHead& s) {
  const Dim batch = w.dim(ids, 0), length = w.dim(ids, 1), width = w.last(x);
  const TensorId ends = w.op("aten.eq.Scalar", DType::boolean, {{"self", ids}}, {batch, length});
  const TensorId picked =
      w.op("aten.index.Tensor", {{"self", x}, {"indices", ends}}, {batch, width});
  const TensorId last = w.select(w.view(picked, {batch, fixed(1), width}), 1, 0);
  const GraphWriter::Scope scope(w, "classification_head");
  const TensorId dense = w.linear(w.dropout(last, s.dropout), "dense", width.size, true);
  const TensorId active = w.dropout(w.unary("aten.tanh.default", dense), s.dropout);
  return w.linear(active, "out_proj", s.labels, true);
}

std::span<const HfFamily> t5_families() { return kT5Families; }

}  // namespace parallel_opt::hf
