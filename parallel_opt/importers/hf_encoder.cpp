#include "parallel_opt/importers/hf_encoder.h"

#include <algorithm>

#include "parallel_opt/importers/hf_families.h"

// Bidirectional encoders: bert and its relatives. Layers are post-norm everywhere.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;
using Head = HeadKind;

struct EncoderInput {
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

/// Left, upper, right and lower edge of each token's box, its height and its width.
TensorId places_on_page(GraphWriter& w, const EncoderSpec& s, const Dim& batch, const Dim& length) {
  const TensorId boxes = w.input("bbox", DType::i64, {batch, length, fixed(4)});
  const auto table = [&](const char* name) {
    return w.parameter(std::string(name) + ".weight", {s.boxes, s.embedding});
  };
  const TensorId x = table("x_position_embeddings"), y = table("y_position_embeddings");
  const TensorId h = table("h_position_embeddings"), width = table("w_position_embeddings");
  const auto edge = [&](std::int64_t index) { return w.select(boxes, 2, index); };
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return w.op("aten.sub.Tensor", {{"self", edge(high)}, {"other", edge(low)}}, {batch, length});
  };
  TensorId sum = w.embedding(edge(0), x, "x_position_embeddings");
  sum = w.add(sum, w.embedding(edge(1), y, "y_position_embeddings"));
  sum = w.add(sum, w.embedding(edge(2), x, "x_position_embeddings"));
  sum = w.add(sum, w.embedding(edge(3), y, "y_position_embeddings"));
  sum = w.add(sum, w.embedding(between(1, 3), h, "h_position_embeddings"));
  return w.add(sum, w.embedding(between(0, 2), width, "w_position_embeddings"));
}

/// What turns queries and keys: computed, or looked up where sines and cosines are stored.
RotaryTables encoder_tables(GraphWriter& w, const EncoderSpec& s, const Dim& length) {
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {length});
  const std::int64_t width = s.attention.width;
  if (!s.position_table) {
    const GraphWriter::Scope scope(w, "rotary_emb");
    return rotary_tables(w, w.unsqueeze(range, 0), width);
  }
  const std::string name = "encoder.embed_positions";
  const TensorId kept = w.parameter_of(w.dtype(), name + ".weight", {s.positions, width}, false);
  const TensorId found = w.embedding(range, kept, name);
  const auto table = [&](std::int64_t start) {
    const TensorId half = w.slice(found, 1, start, fixed(width / 2));
    return w.view(w.cat({half, half}, 1), {fixed(1), fixed(1), length, fixed(width)});
  };
  const TensorId sin = table(0);
  return {table(width / 2), sin};
}

EncoderInput embed_encoder(GraphWriter& w, const EncoderSpec& s, TensorId ids) {
  const GraphWriter::Scope scope(w, "embeddings");
  const Dim batch = w.dim(ids, 0), length = w.dim(ids, 1);
  const TensorId places = w.buffer("position_ids", DType::i64, {1, s.positions});
  const TensorId table = w.parameter("word_embeddings.weight", {s.vocab, s.embedding});
  const TensorId rows = s.learned_positions
                            ? w.parameter("position_embeddings.weight", {s.positions, s.embedding})
                            : TensorId();
  TensorId x = w.embedding(ids, table, "word_embeddings");
  if (s.types > 0) {
    const TensorId kinds = w.buffer("token_type_ids", DType::i64, {1, s.positions});
    const TensorId types = w.parameter("token_type_embeddings.weight", {s.types, s.embedding});
    const TensorId here = w.expand(w.slice(kinds, 1, 0, length), {batch, length});
    x = w.add(x, w.embedding(here, types, "token_type_embeddings"));
  }
  if (s.learned_positions) {
    const TensorId positions =
        s.padding >= 0 ? counted_positions(w, ids, s.padding) : w.slice(places, 1, 0, length);
    x = w.add(x, w.embedding(positions, rows, "position_embeddings"));
  }
  if (s.boxes > 0) x = w.add(x, places_on_page(w, s, batch, length));
  if (s.tasks > 0) {
    const TensorId tasks = w.parameter("task_type_embeddings.weight", {s.tasks, s.embedding});
    const TensorId first = w.op("aten.zeros.default", DType::i64, {}, {batch, length});
    x = w.add(x, w.embedding(first, tasks, "task_type_embeddings"));
  }
  if (s.embedding_norm) x = w.layer_norm(x, s.embedding_norm_name, s.eps);
  return {s.embedding_dropout ? w.dropout(x, s.dropout) : x, table};
}

TensorId layer(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  if (s.norm_first) {
    const TensorId normed = w.layer_norm(x, s.attention_norm, s.eps);
    x = w.add(x, w.dropout(attend(w, normed, normed, s.attention, s.hidden), s.dropout));
    const TensorId out = two_layers(w, w.layer_norm(x, s.ffn_norm, s.eps), s.ffn);
    return w.add(x, w.dropout(out, s.dropout));
  }
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

/// Distances as bucket numbers, the bias of each looked up: [batch, heads, n, n].
TensorId distance_bias(GraphWriter& w, const EncoderSpec& s, const Dim& batch, const Dim& length) {
  const GraphWriter::Scope scope(w, "encoder");
  const std::int64_t heads = s.attention.heads;
  const TensorId first =
      bucketed_distances(w, {"relative_attention_bias", s.buckets, heads, 8, 2.885}, length);
  const Shape shape{batch, fixed(heads), length, length};
  return w.op("aten.clone.default", {{"self", w.expand(w.unsqueeze(first, 0), shape)}}, shape);
}

TensorId pooled(GraphWriter& w, const EncoderSpec& s, TensorId x) {
  const TensorId dense = w.linear(first_token(w, x), s.pooler_dense, s.hidden, true);
  return w.unary("aten.tanh.default", dense);
}

bool asks_for_pooler(Head head) {
  return head == Head::base || head == Head::sequence_classification || head == Head::pretraining ||
         head == Head::next_sentence || head == Head::multiple_choice;
}

Graph build_encoder(GraphWriter& w, EncoderSpec s) {
  const auto [batch, choices, length, ids] = read_tokens(w, s, s.longest);
  Encoded encoded;
  {
    const GraphWriter::Scope base(w, s.head == Head::base ? "" : s.base);
    const EncoderInput embedded = embed_encoder(w, s, ids);
    encoded.table = embedded.table;
    TensorId x = embedded.hidden;
    if (!s.embeddings_project.empty()) x = w.linear(x, s.embeddings_project, s.hidden, true);
    if (!s.learned_positions) s.attention.tables = encoder_tables(w, s, length);
    if (s.buckets > 0) s.attention.call.mask = distance_bias(w, s, w.dim(ids, 0), length);
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
    if (!s.last_norm.empty()) x = w.layer_norm(x, s.last_norm, s.eps);
    encoded.hidden = x;
    if (s.always_pools || (s.pooler && asks_for_pooler(s.head))) encoded.pooled = pooled(w, s, x);
    if (s.contacts) {
      w.parameter("contact_head.regression.weight", {1, s.count * s.attention.heads});
      w.parameter("contact_head.regression.bias", {1});
    }
  }
  return finish_encoder(w, s, encoded, batch, choices);
}

// --- configurations

constexpr auto kHeadsAndPretraining = {Head::masked_lm,
                                       Head::causal_lm,
                                       Head::pretraining,
                                       Head::sequence_classification,
                                       Head::token_classification,
                                       Head::question_answering,
                                       Head::multiple_choice,
                                       Head::base};
constexpr auto kBertHeads = {Head::masked_lm,
                             Head::causal_lm,
                             Head::pretraining,
                             Head::next_sentence,
                             Head::sequence_classification,
                             Head::token_classification,
                             Head::question_answering,
                             Head::multiple_choice,
                             Head::base};

constexpr auto kMpnetHeads = {
    Head::masked_lm,          Head::sequence_classification, Head::token_classification,
    Head::question_answering, Head::multiple_choice,         Head::base};

/// Answers are a first and a last token: the class splits its labels in these two.
void read_labels(ConfigReader& c, EncoderSpec& s) {
  s.labels = c.labels();
  if (s.head == Head::question_answering && s.labels != 2) {
    c.fault("num_labels", "is " + std::to_string(s.labels) + " where answers need 2",
            "a first and a last token; leave num_labels and id2label out");
  }
}

Writing bert(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kBertHeads, {30522, 768, 12, 3072, 0.1, "gelu"});
  s.base = "bert";
  s.pooler = true;
  s.masked_lm = bert_lm;
  s.sentences = next_sentence;
  s.choice = pooled_choice;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

EncoderSpec roberta_spec(ConfigReader& c, std::int64_t vocab, std::int64_t hidden,
                         std::int64_t heads, std::int64_t ffn, std::int64_t layers = 12) {
  EncoderSpec s = read_bert(c, kEncoderHeads, {vocab, hidden, heads, ffn, 0.1, "gelu", layers});
  s.base = "roberta";
  count_from_padding(c, s);
  s.pooler = s.head == Head::base || s.head == Head::multiple_choice;
  s.choice_dropout = s.dropout;
  s.choice = pooled_choice;
  s.head_activation = "gelu";
  s.masked_lm = roberta_lm;
  s.classifier = dense_classifier;
  return s;
}

Writing roberta(ConfigReader& c) { return writing(roberta_spec(c, 50265, 768, 12, 3072)); }
Writing xlm_roberta(ConfigReader& c) { return writing(roberta_spec(c, 30522, 768, 12, 3072)); }
Writing camembert(ConfigReader& c) { return writing(roberta_spec(c, 30522, 768, 12, 3072)); }

Writing data2vec_text(ConfigReader& c) {
  EncoderSpec s = roberta_spec(c, 30522, 768, 12, 3072);
  s.base = "data2vec_text";
  return writing(std::move(s));
}

Writing roberta_prelayernorm(ConfigReader& c) {
  EncoderSpec s = roberta_spec(c, 50265, 768, 12, 3072);
  s.base = "roberta_prelayernorm";
  s.norm_first = true;
  s.attention_norm = "attention.LayerNorm";
  s.ffn_norm = "intermediate.LayerNorm";
  s.last_norm = "LayerNorm";
  return writing(std::move(s));
}

Writing xlm_roberta_xl(ConfigReader& c) {
  EncoderSpec s = roberta_spec(c, 250880, 2560, 32, 10240, 36);
  s.positions = c.whole({"max_position_embeddings"}, 514, 1, limits::kSequence);
  s.longest = std::max<std::int64_t>(s.positions - s.padding - 1, 1);
  s.types = c.whole({"type_vocab_size"}, 1, 1);
  s.norm_first = true;
  s.embedding_norm = false;
  s.attention_norm = "attention.self_attn_layer_norm";
  s.ffn_norm = "LayerNorm";
  s.last_norm = "encoder.LayerNorm";
  return writing(std::move(s));
}

Writing megatron_bert(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kBertHeads, {29056, 1024, 16, 4096, 0.1, "gelu", 24});
  s.base = "bert";
  s.norm_first = true;
  s.embedding_norm = false;
  s.attention_norm = "attention.ln";
  s.ffn_norm = "ln";
  s.last_norm = "encoder.ln";
  s.pooler = true;
  s.masked_lm = bert_lm;
  s.sentences = next_sentence;
  s.choice = pooled_choice;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

Writing electra(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kHeadsAndPretraining, {30522, 256, 4, 1024, 0.1, "gelu"});
  s.base = "electra";
  s.embedding = c.whole({"embedding_size"}, 128);
  if (s.embedding != s.hidden) s.embeddings_project = "embeddings_project";
  s.head_activation = "gelu";
  s.masked_lm = electra_lm;
  s.sentences = replaced_tokens;
  s.choice = summarised_choice;
  s.summary_dropout = c.real({"summary_last_dropout"}, 0.1);
  s.classifier = dense_classifier;
  c.ignore({"summary_type", "summary_use_proj", "summary_activation"});
  return writing(std::move(s));
}

Writing albert(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kHeadsAndPretraining, {30000, 4096, 64, 16384, 0, "gelu_new"});
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
  s.sentences = sentence_order;
  s.choice = pooled_choice;
  s.token_dropout = s.choice_dropout = s.head_dropout;
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
  s.token_dropout = s.dropout;
  s.question_dropout = c.real({"qa_dropout"}, 0.1);
  s.head = c.head(Head::masked_lm, kEncoderHeads);
  read_labels(c, s);
  s.choice = distilbert_choice;
  s.masked_lm = distilbert_lm;
  s.classifier = distilbert_classifier;
  c.ignore({"sinusoidal_pos_embds"});
  return writing(std::move(s));
}

Writing mpnet(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kMpnetHeads, {30527, 768, 12, 3072, 0.1, "gelu"});
  s.base = "mpnet";
  s.types = 0;
  s.padding = 1;
  s.longest = s.positions - 2;
  if (s.longest < 1) c.fault("max_position_embeddings", "leaves no position after padding");
  s.buckets = c.whole({"relative_attention_num_buckets"}, 32);
  s.attention.q = "attention.attn.q";
  s.attention.k = "attention.attn.k";
  s.attention.v = "attention.attn.v";
  s.attention.o = "attention.attn.o";
  s.attention.call.eager = true;
  s.attention_norm = "attention.LayerNorm";
  s.pooler = s.head == Head::base || s.head == Head::multiple_choice;
  s.token_dropout = s.choice_dropout = s.head_dropout = s.dropout;
  s.choice = pooled_choice;
  s.masked_lm = roberta_lm;
  s.head_activation = "gelu";
  s.classifier = dense_classifier;
  return writing(std::move(s));
}

constexpr HfFamily kEncoderFamilies[] = {{"bert", bert},
                                         {"mpnet", mpnet},
                                         {"roberta", roberta},
                                         {"xlm-roberta", xlm_roberta},
                                         {"camembert", camembert},
                                         {"electra", electra},
                                         {"albert", albert},
                                         {"distilbert", distilbert},
                                         {"data2vec-text", data2vec_text},
                                         {"roberta-prelayernorm", roberta_prelayernorm},
                                         {"xlm-roberta-xl", xlm_roberta_xl},
                                         {"megatron-bert", megatron_bert}};

}  // namespace

std::function<Graph(GraphWriter&)> writing(EncoderSpec spec) {
  return [spec = std::move(spec)](GraphWriter& w) { return build_encoder(w, spec); };
}

void count_from_padding(ConfigReader& c, EncoderSpec& s) {
  s.padding = c.maybe_whole({"pad_token_id"}, 0, limits::kVocabulary).value_or(1);
  s.longest = s.positions - s.padding - 1;
  if (s.longest < 1) c.fault("max_position_embeddings", "leaves no position after padding");
}

EncoderSpec read_bert(ConfigReader& c, EncoderHeads heads, const BertDefaults& d) {
  EncoderSpec s;
  s.vocab = c.whole({"vocab_size"}, d.vocab, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size"}, d.hidden);
  s.embedding = s.hidden;
  s.count = c.whole({"num_hidden_layers"}, d.layers, 1, limits::kLayers);
  s.positions = c.whole({"max_position_embeddings"}, 512, 1, limits::kSequence);
  s.longest = s.positions;
  s.types = c.whole({"type_vocab_size"}, 2, 1);
  s.eps = c.real({"layer_norm_eps"}, 1e-12);
  s.dropout = c.real({"hidden_dropout_prob"}, d.dropout);
  s.head_dropout = c.real({"classifier_dropout", "classifier_dropout_prob"}, s.dropout);
  s.attention = {"attention.self.query", "attention.self.key", "attention.self.value",
                 "attention.output.dense"};
  s.attention.heads = c.whole({"num_attention_heads"}, d.heads, 1, limits::kHeads);
  if (c.divides("num_attention_heads", s.attention.heads, "hidden_size", s.hidden)) {
    s.attention.width = s.hidden / s.attention.heads;
  }
  s.attention.call.dropout = c.real({"attention_probs_dropout_prob"}, d.dropout);
  const std::string act = c.activation({"hidden_act"}, d.activation);
  s.ffn = {"intermediate.dense", "output.dense",
           c.whole({"intermediate_size"}, d.ffn, 1, limits::kFeedForward), s.hidden, act};
  s.head_activation = s.inner_activation = act;
  s.token_dropout = s.head_dropout;
  s.choice_dropout = s.head_dropout;
  s.tied = c.flag({"tie_word_embeddings"}, true);
  s.attention.call.causal = c.flag({"is_decoder"}, false);
  c.not_built("add_cross_attention", "a decoder: capture it");
  s.head = c.head(Head::masked_lm, heads);
  read_labels(c, s);
  return s;
}

EncoderTokens read_tokens(GraphWriter& w, const EncoderSpec& spec, std::int64_t usual) {
  const bool choosing = spec.head == Head::multiple_choice;
  EncoderTokens tokens;
  tokens.batch = w.symbol("batch", 1);
  tokens.choices = choosing ? w.symbol("choices", 4) : fixed(1);
  tokens.length = w.symbol("sequence", std::min<std::int64_t>(usual, 2048), spec.longest);
  const auto& [batch, choices, length, ids] = tokens;
  tokens.ids = choosing ? w.view(w.input("input_ids", DType::i64, {batch, choices, length}),
                                 {times(batch, choices), length})
                        : w.input("input_ids", DType::i64, {batch, length});
  return tokens;
}

std::span<const HfFamily> encoder_families() { return kEncoderFamilies; }

}  // namespace parallel_opt::hf
