#include <algorithm>
#include <cmath>

#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/hf_encoder.h"
#include "parallel_opt/importers/hf_families.h"

// DeBERTa V2 and V3: scores have further terms, of contents with distances and of distances with
// contents, each a product that is looked up by distance.
namespace parallel_opt::hf {
namespace {

using Head = HeadKind;

struct DebertaSpec {
  EncoderSpec encoder;    ///< widths, heads' names and the head
  std::int64_t span = 0;  ///< distances to each side; 0: no distances
  bool content_to_place = false, place_to_content = false, share_keys = false;
  bool positions = true, norm_distances = false;
  std::int64_t filter = 0, filter_groups = 1;  ///< a convolution beside the first layer; 0: none
  std::string filter_activation = "tanh";
  double pooler_dropout = 0;
  std::string pooler_activation = "gelu";
};

struct LinearWeights {
  TensorId weight, bias;
};

struct DebertaLayer {
  const DebertaSpec& s;
  GraphWriter& w;
  TensorId distances;    ///< [2 span, hidden], or invalid
  TensorId forth, back;  ///< bucket numbers of distances, [1, n, n]

  std::int64_t heads() const { return s.encoder.attention.heads; }
  std::int64_t width() const { return s.encoder.attention.width; }

  LinearWeights weights(const char* name) const {
    const GraphWriter::Scope scope(w, name);
    const std::int64_t hidden = s.encoder.hidden, out = heads() * width();
    return {w.parameter("weight", {out, hidden}), w.parameter("bias", {out})};
  }

  /// [b, n, hidden] -> [b * heads, n, width].
  TensorId projected(TensorId x, const LinearWeights& p, const char* name) const {
    const TensorId split =
        split_heads(w, w.linear_with(x, name, p.weight, p.bias), heads(), width());
    return w.op("aten.reshape.default", {{"self", split}},
                {times(w.dim(x, 0), fixed(heads())), w.dim(x, 1), fixed(width())});
  }

  TensorId product(TensorId a, TensorId b) const {  // a b^T
    return w.op("aten.bmm.default", {{"self", a}, {"mat2", w.transpose(b, 1, 2)}},
                {w.dim(a, 0), w.dim(a, 1), w.dim(b, 1)});
  }

  /// x times the distances' rows, of which each pair of places has one: [b * heads, n, n].
  TensorId by_distance(TensorId x, const LinearWeights& p, const char* name, TensorId bucket,
                       double root) const {
    const Dim all = w.dim(x, 0), length = w.dim(x, 1);
    const TensorId one = projected(w.unsqueeze(distances, 0), p, name);
    const TensorId rows =
        w.op("aten.repeat.default", {{"self", one}}, {all, w.dim(one, 1), fixed(width())},
             {{"repeats", std::vector<std::int64_t>{1, 1, 1}}});
    const TensorId picked =
        w.op("aten.gather.default",
             {{"self", product(x, rows)}, {"index", w.expand(bucket, {all, length, length})}},
             {all, length, length}, {{"dim", std::int64_t{-1}}});
    return w.div(picked, root);
  }

  TensorId attention(TensorId x) const {
    const GraphWriter::Scope scope(w, "attention.self");
    const LinearWeights wq = weights("query_proj"), wk = weights("key_proj"),
                        wv = weights("value_proj");
    const TensorId q = projected(x, wq, "query_proj"), k = projected(x, wk, "key_proj"),
                   v = projected(x, wv, "value_proj");
    const bool related = distances.valid();
    const int terms = 1 + (s.content_to_place ? 1 : 0) + (s.place_to_content ? 1 : 0);
    const double root = std::sqrt(static_cast<double>(width() * terms));
    TensorId scores = product(q, w.div(k, root));
    if (related && s.content_to_place) {
      const LinearWeights p = s.share_keys ? wk : weights("pos_key_proj");
      const char* const name = s.share_keys ? "key_proj" : "pos_key_proj";
      scores = w.add(scores, by_distance(q, p, name, forth, root));
    }
    if (related && s.place_to_content) {
      const LinearWeights p = s.share_keys ? wq : weights("pos_query_proj");
      const char* const name = s.share_keys ? "query_proj" : "pos_query_proj";
      scores = w.add(scores, w.transpose(by_distance(k, p, name, back, root), 1, 2));
    }
    const TensorId shares = w.dropout(w.softmax(scores), s.encoder.attention.call.dropout);
    const TensorId mixed = w.op("aten.bmm.default", {{"self", shares}, {"mat2", v}},
                                {w.dim(q, 0), w.dim(q, 1), fixed(width())});
    return merge_heads(w,
                       w.view(mixed, {w.dim(x, 0), fixed(heads()), w.dim(x, 1), fixed(width())}));
  }

  TensorId run(TensorId x) const {
    const EncoderSpec& e = s.encoder;
    const TensorId mixed =
        w.dropout(w.linear(attention(x), "attention.output.dense", e.hidden, true), e.dropout);
    const TensorId middle = w.layer_norm(w.add(mixed, x), "attention.output.LayerNorm", e.eps);
    const TensorId out = w.dropout(two_layers(w, middle, e.ffn), e.dropout);
    return w.layer_norm(w.add(out, middle), "output.LayerNorm", e.eps);
  }
};

TensorId embed_words(GraphWriter& w, const DebertaSpec& s, TensorId ids, TensorId& table) {
  const EncoderSpec& e = s.encoder;
  const GraphWriter::Scope scope(w, "embeddings");
  const Dim batch = w.dim(ids, 0), length = w.dim(ids, 1);
  const TensorId places = w.buffer("position_ids", DType::i64, {1, e.positions});
  table = w.parameter("word_embeddings.weight", {e.vocab, e.embedding});
  TensorId x = w.embedding(ids, table, "word_embeddings");
  if (s.positions) {
    const TensorId rows = w.parameter("position_embeddings.weight", {e.positions, e.embedding});
    x = w.add(x, w.embedding(w.slice(places, 1, 0, length), rows, "position_embeddings"));
  }
  if (e.types > 0) {
    const TensorId types = w.parameter("token_type_embeddings.weight", {e.types, e.embedding});
    const TensorId none = w.op("aten.zeros.default", DType::i64, {}, {batch, length});
    x = w.add(x, w.embedding(none, types, "token_type_embeddings"));
  }
  if (e.embedding != e.hidden) x = w.linear(x, "embed_proj", e.hidden, false);
  return w.dropout(w.layer_norm(x, "LayerNorm", e.eps), e.dropout);
}

/// Where query i and key j are apart, as a bucket number: [1, n, n], and of the other direction.
void put_buckets(GraphWriter& w, const Dim& length, DebertaLayer& layer) {
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {length});
  const TensorId apart =
      w.op("aten.sub.Tensor", {{"self", w.unsqueeze(range, 1)}, {"other", w.unsqueeze(range, 0)}},
           {length, length});
  const auto clamped = [&](TensorId x) {
    return w.unsqueeze(w.unary("aten.clamp.default", w.add(x, 1.0)), 0);
  };
  layer.forth = clamped(apart);
  layer.back = clamped(w.unary("aten.neg.default", apart));
}

/// Beside the first layer: x of the embeddings, `y` of the layer.
TensorId filtered(GraphWriter& w, const DebertaSpec& s, TensorId x, TensorId y) {
  const std::int64_t hidden = s.encoder.hidden;
  const GraphWriter::Scope scope(w, "conv");
  const TensorId turned = w.transpose(x, 1, 2);
  TensorId out;
  {
    const GraphWriter::Scope filter(w, "conv");
    const TensorId weight = w.parameter("weight", {hidden, hidden / s.filter_groups, s.filter});
    const TensorId bias = w.parameter("bias", {hidden});
    out = w.op("aten.conv1d.default", {{"input", turned}, {"weight", weight}, {"bias", bias}},
               w.tensor(turned).shape,
               {{"stride", std::vector<std::int64_t>{1}},
                {"padding", std::vector<std::int64_t>{(s.filter - 1) / 2}},
                {"groups", s.filter_groups}});
  }
  const TensorId active =
      activate(w, w.dropout(w.transpose(out, 1, 2), s.encoder.dropout), s.filter_activation);
  return w.layer_norm(w.add(y, active), "LayerNorm", s.encoder.eps);
}

TensorId run_layers(GraphWriter& w, const DebertaSpec& s, TensorId x) {
  const EncoderSpec& e = s.encoder;
  const GraphWriter::Scope encoder(w, "encoder");
  DebertaLayer layer{s, w, {}, {}, {}};
  if (s.span > 0) {
    layer.distances = w.parameter("rel_embeddings.weight", {2 * s.span, e.hidden});
    if (s.norm_distances) layer.distances = w.layer_norm(layer.distances, "LayerNorm", e.eps);
    put_buckets(w, w.dim(x, 1), layer);
  } else if (s.norm_distances) {  // stored all the same
    w.parameter("LayerNorm.weight", {e.hidden});
    w.parameter("LayerNorm.bias", {e.hidden});
  }
  const TensorId embedded = x;
  for (std::int64_t i = 0; i < e.count; ++i) {
    const GraphWriter::Mark mark = w.mark();
    {
      const GraphWriter::Scope scope(w, "layer." + std::to_string(i));
      x = layer.run(x);
    }
    if (i == 0 && s.filter > 0) x = filtered(w, s, embedded, x);
    if (i == 1) w.reserve_repeats(mark, e.count - 2);
  }
  return x;
}

Graph build_deberta(GraphWriter& w, const DebertaSpec& s) {
  const EncoderSpec& e = s.encoder;
  const auto [batch, choices, length, ids] = read_tokens(w, e, e.positions);
  Encoded encoded;
  {
    const GraphWriter::Scope base(w, e.head == Head::base ? "" : e.base);
    encoded.hidden = run_layers(w, s, embed_words(w, s, ids, encoded.table));
  }
  if (e.head == Head::multiple_choice || e.head == Head::sequence_classification) {
    const TensorId first = w.dropout(first_token(w, encoded.hidden), s.pooler_dropout);
    encoded.pooled =
        activate(w, w.linear(first, "pooler.dense", e.hidden, true), s.pooler_activation);
  }
  return finish_encoder(w, e, encoded, batch, choices);
}

void read_distances(ConfigReader& c, DebertaSpec& s) {
  const bool related = c.flag({"relative_attention"}, false);
  std::vector<std::string> kinds = c.is_text("pos_att_type")
                                       ? split(c.text({"pos_att_type"}, ""), '|')
                                       : c.text_list("pos_att_type");
  for (std::string& kind : kinds) {
    std::erase(kind, ' ');
    s.content_to_place = s.content_to_place || kind == "c2p";
    s.place_to_content = s.place_to_content || kind == "p2c";
    if (kind != "c2p" && kind != "p2c") {
      c.fault("pos_att_type", "'" + kind.substr(0, 40) + "' is not built", "known here: c2p, p2c");
    }
  }
  const std::int64_t most = c.whole({"max_relative_positions"}, -1, -1, limits::kWidth);
  const std::int64_t buckets = c.whole({"position_buckets"}, -1, -1, limits::kWidth);
  const std::int64_t limit = most < 1 ? s.encoder.positions : most;
  if (related) s.span = buckets > 0 ? buckets : limit;
  s.share_keys = c.flag({"share_att_key"}, false);
  s.norm_distances = c.text({"norm_rel_ebd"}, "none").find("layer_norm") != std::string::npos;
}

std::function<Graph(GraphWriter&)> deberta_v2(ConfigReader& c) {
  DebertaSpec s;
  EncoderSpec& e = s.encoder;
  e.base = "deberta";
  e.vocab = c.whole({"vocab_size"}, 128100, 1, limits::kVocabulary);
  e.hidden = c.whole({"hidden_size"}, 1536);
  e.embedding = c.whole({"embedding_size"}, e.hidden);
  e.count = c.whole({"num_hidden_layers"}, 24, 1, limits::kLayers);
  e.positions = c.whole({"max_position_embeddings"}, 512, 1, limits::kSequence);
  e.types = c.whole({"type_vocab_size"}, 0, 0);
  e.eps = c.real({"layer_norm_eps"}, 1e-7);
  e.dropout = c.real({"hidden_dropout_prob"}, 0.1);
  e.attention.heads = c.whole({"num_attention_heads"}, 24, 1, limits::kHeads);
  c.divides("num_attention_heads", e.attention.heads, "hidden_size", e.hidden);
  e.attention.width =
      c.whole({"attention_head_size"}, std::max<std::int64_t>(e.hidden / e.attention.heads, 1));
  e.attention.call.dropout = c.real({"attention_probs_dropout_prob"}, 0.1);
  const std::string act = c.activation({"hidden_act"}, "gelu");
  e.ffn = {"intermediate.dense", "output.dense",
           c.whole({"intermediate_size"}, 6144, 1, limits::kFeedForward), e.hidden, act};
  e.head_activation = act;
  read_distances(c, s);
  s.positions = c.flag({"position_biased_input"}, true);
  e.longest = s.positions ? e.positions : 0;
  s.filter = c.whole({"conv_kernel_size"}, 0, 0, 1 << 10);
  if (s.filter > 0 && s.filter % 2 == 0) {
    c.fault("conv_kernel_size", "is even: the layer's length would change");
  }
  s.filter_groups = c.whole({"conv_groups"}, 1);
  c.divides("conv_groups", s.filter_groups, "hidden_size", e.hidden);
  s.filter_activation = c.activation({"conv_act"}, "tanh");
  s.pooler_dropout = c.real({"pooler_dropout"}, 0);
  s.pooler_activation = c.activation({"pooler_hidden_act"}, "gelu");
  e.head_dropout = c.real({"cls_dropout"}, e.dropout);
  e.choice_dropout = e.head_dropout;
  e.token_dropout = e.dropout;
  e.tied = c.flag({"tie_word_embeddings"}, true);
  e.head = c.head(Head::masked_lm,
                  {Head::masked_lm, Head::sequence_classification, Head::token_classification,
                   Head::question_answering, Head::multiple_choice, Head::base});
  e.labels = c.labels();
  e.masked_lm = bert_lm;
  e.classifier = pooled_classifier;
  e.choice = pooled_choice;
  if (!c.flag({"legacy"}, true) && e.head == Head::masked_lm) {
    c.fault("legacy", "false is not built for a masked LM", "capture the model");
  }
  if (c.whole({"pooler_hidden_size"}, e.hidden) != e.hidden) {
    c.fault("pooler_hidden_size", "is not hidden_size");
  }
  return [s](GraphWriter& w) { return build_deberta(w, s); };
}

constexpr HfFamily kDebertaFamilies[] = {{"deberta-v2", deberta_v2}};

}  // namespace

std::span<const HfFamily> deberta_families() { return kDebertaFamilies; }

}  // namespace parallel_opt::hf
