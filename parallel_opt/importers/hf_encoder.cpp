#include <algorithm>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_families.h"

// Bidirectional encoders: bert and its relatives. Layers are post-norm everywhere.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;
using Head = HeadKind;

/// What the relatives differ in.
struct EncoderSpec {
  std::string base;  ///< "bert"
  std::string layers = "encoder.layer";
  std::string embeddings_project;  ///< "": embeddings have the hidden width
  AttentionParts attention;
  std::string attention_norm = "attention.output.LayerNorm";
  TwoLayers ffn;
  std::string ffn_norm = "output.LayerNorm";
  std::int64_t vocab = 0, hidden = 0, embedding = 0, count = 0, positions = 0, types = 0;
  std::int64_t groups = 0, inner_layers = 1;  ///< albert: parameter sets, layers of each
  std::int64_t padding = -1;                  ///< not negative: positions count from here (roberta)
  double eps = 1e-12, dropout = 0, head_dropout = 0;
  std::string head_activation = "gelu";
  bool pooler = false;
  std::string pooler_dense = "pooler.dense";
  bool tied = true;
  Head head = Head::masked_lm;
  std::int64_t labels = 2;
  std::int64_t longest = 0;
  /// Writes what follows the last hidden state.
  TensorId (*masked_lm)(GraphWriter&, const EncoderSpec&, TensorId x, TensorId table) = nullptr;
  TensorId (*classifier)(GraphWriter&, const EncoderSpec&, TensorId x) = nullptr;
};

struct Embedded {
  TensorId hidden, table;
};

/// Positions of tokens that are no padding: counted from padding + 1.
TensorId counted_positions(GraphWriter& w, TensorId ids, std::int64_t padding) {
  const Shape shape = w.tensor(ids).shape;
  const TensorId real =
      w.op("aten.ne.Scalar", DType::boolean, {{"self", ids}}, shape, {{"other", padding}});
  const TensorId mask = w.to(real, DType::i64);
  const TensorId count =
      w.op("aten.cumsum.default", {{"self", mask}}, shape, {{"dim", std::int64_t{1}}});
  return w.add(w.mul(count, mask), static_cast<double>(padding));
}

Embedded embed(GraphWriter& w, const EncoderSpec& s, TensorId ids) {
  const GraphWriter::Scope scope(w, "embeddings");
  const Dim batch = w.dim(ids, 0), length = w.dim(ids, 1);
  const TensorId places = w.buffer("position_ids", DType::i64, {1, s.positions});
  const TensorId table = w.parameter("word_embeddings.weight", {s.vocab, s.embedding});
  const TensorId rows = w.parameter("position_embeddings.weight", {s.positions, s.embedding});
  TensorId x = w.embedding(ids, table, "word_embeddings");
  if (s.types > 0) {
    const TensorId kinds = w.buffer("token_type_ids", DType::i64, {1, s.positions});
    const TensorId types = w.parameter("token_type_embeddings.weight", {s.types, s.embedding});
    const TensorId here = w.expand(w.slice(kinds, 1, 0, length), {batch, length});
    x = w.add(x, w.embedding(here, types, "token_type_embeddings"));
  }
  const TensorId positions =
      s.padding >= 0 ? counted_positions(w, ids, s.padding) : w.slice(places, 1, 0, length);
  x = w.add(x, w.embedding(positions, rows, "position_embeddings"));
  return {w.dropout(w.layer_norm(x, "LayerNorm", s.eps), s.dropout), table};
}

TensorId layer(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  const TensorId mixed = w.dropout(attend(w, x, x, s.attention, s.hidden), s.dropout);
  const TensorId middle = w.layer_norm(w.add(mixed, x), s.attention_norm, s.eps);
  const TensorId out = w.dropout(two_layers(w, middle, s.ffn), s.dropout);
  return w.layer_norm(w.add(out, middle), s.ffn_norm, s.eps);
}

/// Albert: few sets of parameters, each used by several layers.
TensorId shared_layers(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  for (std::int64_t i = 0; i < s.count; ++i) {
    const std::int64_t group = i * s.groups / s.count;
    const std::int64_t first = (group * s.count + s.groups - 1) / s.groups;
    w.rerun(static_cast<int>(i - first));
    for (std::int64_t j = 0; j < s.inner_layers; ++j) {
      const GraphWriter::Scope scope(
          w, s.layers + "." + std::to_string(group) + ".albert_layers." + std::to_string(j));
      x = layer(w, s, x);
    }
  }
  w.rerun(0);
  return x;
}

TensorId first_token(GraphWriter& w, TensorId x) { return w.select(x, 1, 0); }

TensorId pooled(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  const TensorId dense = w.linear(first_token(w, x), s.pooler_dense, s.hidden, true);
  return w.unary("aten.tanh.default", dense);
}

Graph build_encoder(GraphWriter& w, const EncoderSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim length = w.symbol("sequence", std::min<std::int64_t>(s.longest, 2048), s.longest);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, length});
  TensorId x, table;
  {
    const GraphWriter::Scope base(w, s.head == Head::base ? "" : s.base);
    const Embedded embedded = embed(w, s, ids);
    table = embedded.table;
    x = embedded.hidden;
    if (!s.embeddings_project.empty()) x = w.linear(x, s.embeddings_project, s.hidden, true);
    if (s.groups > 0) {
      x = shared_layers(w, s, x);
    } else {
      for (std::int64_t i = 0; i < s.count; ++i) {
        const GraphWriter::Mark mark = w.mark();
        const GraphWriter::Scope scope(w, s.layers + "." + std::to_string(i));
        x = layer(w, s, x);
        if (i == 1) w.reserve_repeats(mark, s.count - 2);
      }
    }
    if (s.pooler && s.head == Head::base) return w.finish({x, pooled(w, s, x)});
    if (s.pooler && s.head == Head::sequence_classification) x = pooled(w, s, x);
  }
  if (s.head == Head::base) return w.finish({x});
  if (s.head == Head::masked_lm) return w.finish({s.masked_lm(w, s, x, table)});
  return w.finish({s.classifier(w, s, x)});
}

// --- heads

/// Words from `x`, with the word table where weights are tied.
TensorId words(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table,
               const std::string& name, TensorId bias) {
  TensorId weight = table;
  if (s.tied) {
    w.tie(name + ".weight", table);
  } else {
    weight = w.parameter(name + ".weight", {s.vocab, s.embedding});
  }
  return w.linear_with(x, name, weight, bias);
}

struct LmHeadNames {
  std::string dense, norm, decoder, bias;
};

/// dense, activation, norm, words; the bias has a name of its own besides the decoder's.
TensorId lm_head(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table,
                 const LmHeadNames& names) {
  TensorId bias = w.parameter(names.bias, {s.vocab});
  x = activate(w, w.linear(x, names.dense, s.embedding, true), s.head_activation);
  x = w.layer_norm(x, names.norm, s.eps);
  if (const std::string own = names.decoder + ".bias"; names.bias != own) {
    if (s.tied) {
      w.tie(own, bias);
    } else {
      bias = w.parameter(own, {s.vocab});
    }
  }
  return words(w, s, x, table, names.decoder, bias);
}

TensorId bert_lm(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table) {
  return lm_head(w, s, x, table,
                 {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
                  "cls.predictions.decoder", "cls.predictions.bias"});
}
TensorId roberta_lm(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table) {
  return lm_head(w, s, x, table,
                 {"lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"});
}
TensorId albert_lm(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table) {
  return lm_head(
      w, s, x, table,
      {"predictions.dense", "predictions.LayerNorm", "predictions.decoder", "predictions.bias"});
}
TensorId electra_lm(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table) {
  return lm_head(w, s, x, table,
                 {"generator_predictions.dense", "generator_predictions.LayerNorm",
                  "generator_lm_head", "generator_lm_head.bias"});
}
TensorId distilbert_lm(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table) {
  return lm_head(
      w, s, x, table,
      {"vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"});
}

TensorId pooled_classifier(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  return w.linear(w.dropout(x, s.head_dropout), "classifier", s.labels, true);
}

TensorId dense_classifier(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  const TensorId first = w.dropout(first_token(w, x), s.head_dropout);
  const TensorId dense = w.linear(first, "classifier.dense", s.hidden, true);
  const TensorId active = s.base == "electra" ? w.unary("aten.gelu.default", dense)
                                              : w.unary("aten.tanh.default", dense);
  return w.linear(w.dropout(active, s.head_dropout), "classifier.out_proj", s.labels, true);
}

TensorId distilbert_classifier(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  const TensorId dense = w.linear(first_token(w, x), "pre_classifier", s.hidden, true);
  const TensorId active = w.dropout(w.unary("aten.relu.default", dense), s.head_dropout);
  return w.linear(active, "classifier", s.labels, true);
}

// --- configurations

Writing writing(EncoderSpec spec) {
  return [spec = std::move(spec)](GraphWriter& w) { return build_encoder(w, spec); };
}

EncoderSpec read_bert(ConfigReader& c, std::int64_t vocab, std::int64_t hidden, std::int64_t heads,
                      std::int64_t ffn, double dropout, std::string_view activation) {
  EncoderSpec s;
  s.vocab = c.whole({"vocab_size"}, vocab, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size"}, hidden);
  s.embedding = s.hidden;
  s.count = c.whole({"num_hidden_layers"}, 12, 1, limits::kLayers);
  s.positions = c.whole({"max_position_embeddings"}, 512, 1, limits::kSequence);
  s.longest = s.positions;
  s.types = c.whole({"type_vocab_size"}, 2, 1);
  s.eps = c.real({"layer_norm_eps"}, 1e-12);
  s.dropout = c.real({"hidden_dropout_prob"}, dropout);
  s.head_dropout = c.real({"classifier_dropout", "classifier_dropout_prob"}, s.dropout);
  s.attention = {"attention.self.query", "attention.self.key", "attention.self.value",
                 "attention.output.dense"};
  s.attention.heads = c.whole({"num_attention_heads"}, heads, 1, limits::kHeads);
  if (c.divides("num_attention_heads", s.attention.heads, "hidden_size", s.hidden)) {
    s.attention.width = s.hidden / s.attention.heads;
  }
  s.attention.call.dropout = c.real({"attention_probs_dropout_prob"}, dropout);
  const std::string act = c.activation({"hidden_act"}, activation);
  s.ffn = {"intermediate.dense", "output.dense",
           c.whole({"intermediate_size"}, ffn, 1, limits::kFeedForward), s.hidden, act};
  s.head_activation = act;
  s.tied = c.flag({"tie_word_embeddings"}, true);
  c.not_built("is_decoder", "a decoder: capture it");
  c.not_built("add_cross_attention", "a decoder: capture it");
  s.head = c.head(Head::masked_lm, {Head::masked_lm, Head::sequence_classification, Head::base});
  s.labels = c.labels();
  return s;
}

Writing bert(ConfigReader& c) {
  EncoderSpec s = read_bert(c, 30522, 768, 12, 3072, 0.1, "gelu");
  s.base = "bert";
  s.pooler = true;
  s.masked_lm = bert_lm;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

Writing roberta(ConfigReader& c) {
  EncoderSpec s = read_bert(c, 50265, 768, 12, 3072, 0.1, "gelu");
  s.base = "roberta";
  s.padding = c.maybe_whole({"pad_token_id"}, 0, limits::kVocabulary).value_or(1);
  s.longest = s.positions - s.padding - 1;
  if (s.longest < 1) c.fault("max_position_embeddings", "leaves no position after padding");
  s.pooler = s.head == Head::base;
  s.head_activation = "gelu";
  s.masked_lm = roberta_lm;
  s.classifier = dense_classifier;
  return writing(std::move(s));
}

Writing electra(ConfigReader& c) {
  EncoderSpec s = read_bert(c, 30522, 256, 4, 1024, 0.1, "gelu");
  s.base = "electra";
  s.embedding = c.whole({"embedding_size"}, 128);
  if (s.embedding != s.hidden) s.embeddings_project = "embeddings_project";
  s.head_activation = "gelu";
  s.masked_lm = electra_lm;
  s.classifier = dense_classifier;
  c.ignore({"summary_last_dropout", "summary_type", "summary_use_proj", "summary_activation"});
  return writing(std::move(s));
}

Writing albert(ConfigReader& c) {
  EncoderSpec s = read_bert(c, 30000, 4096, 64, 16384, 0, "gelu_new");
  s.base = "albert";
  s.head_dropout = c.real({"classifier_dropout_prob"}, 0.1);
  s.embedding = c.whole({"embedding_size"}, 128);
  s.embeddings_project = "encoder.embedding_hidden_mapping_in";
  s.layers = "encoder.albert_layer_groups";
  s.groups = c.whole({"num_hidden_groups"}, 1, 1, limits::kLayers);
  s.inner_layers = c.whole({"inner_group_num"}, 1, 1, 64);
  if (s.groups > s.count) c.fault("num_hidden_groups", "is more than num_hidden_layers");
  s.attention.q = "attention.query";
  s.attention.k = "attention.key";
  s.attention.v = "attention.value";
  s.attention.o = "attention.dense";
  s.attention_norm = "attention.LayerNorm";
  s.ffn.up = "ffn";
  s.ffn.down = "ffn_output";
  s.ffn_norm = "full_layer_layer_norm";
  s.pooler = true;
  s.pooler_dense = "pooler";
  s.masked_lm = albert_lm;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

Writing distilbert(ConfigReader& c) {
  EncoderSpec s;
  s.base = "distilbert";
  s.layers = "transformer.layer";
  s.vocab = c.whole({"vocab_size"}, 30522, 1, limits::kVocabulary);
  s.hidden = c.whole({"dim", "hidden_size"}, 768);
  s.embedding = s.hidden;
  s.count = c.whole({"n_layers", "num_hidden_layers"}, 6, 1, limits::kLayers);
  s.positions = c.whole({"max_position_embeddings"}, 512, 1, limits::kSequence);
  s.longest = s.positions;
  s.dropout = c.real({"dropout"}, 0.1);
  s.head_dropout = c.real({"seq_classif_dropout"}, 0.2);
  s.attention = {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"};
  s.attention.heads = c.whole({"n_heads", "num_attention_heads"}, 12, 1, limits::kHeads);
  if (c.divides("n_heads", s.attention.heads, "dim", s.hidden)) {
    s.attention.width = s.hidden / s.attention.heads;
  }
  s.attention.call.dropout = c.real({"attention_dropout"}, 0.1);
  s.attention_norm = "sa_layer_norm";
  s.head_activation = c.activation({"activation"}, "gelu");
  s.ffn = {"ffn.lin1", "ffn.lin2", c.whole({"hidden_dim"}, 3072, 1, limits::kFeedForward), s.hidden,
           s.head_activation};
  s.ffn_norm = "output_layer_norm";
  s.tied = c.flag({"tie_word_embeddings"}, true);
  s.head = c.head(Head::masked_lm, {Head::masked_lm, Head::sequence_classification, Head::base});
  s.labels = c.labels();
  s.masked_lm = distilbert_lm;
  s.classifier = distilbert_classifier;
  c.ignore({"sinusoidal_pos_embds"});
  return writing(std::move(s));
}

constexpr HfFamily kFamilies[] = {{"bert", bert},
                                  {"roberta", roberta},
                                  {"electra", electra},
                                  {"albert", albert},
                                  {"distilbert", distilbert}};

}  // namespace

std::span<const HfFamily> encoder_families() { return kFamilies; }

}  // namespace parallel_opt::hf
