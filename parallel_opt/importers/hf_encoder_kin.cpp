#include <algorithm>

#include "parallel_opt/importers/hf_encoder.h"
#include "parallel_opt/importers/hf_families.h"

// Encoders that are bert but for what says where tokens stand, or for their heads. Defaults are
// those of transformers 5.
namespace parallel_opt::hf {
namespace {

using KinWriting = std::function<Graph(GraphWriter&)>;
using Kind = HeadKind;

constexpr auto kErnieHeads = {Kind::masked_lm,
                              Kind::causal_lm,
                              Kind::pretraining,
                              Kind::next_sentence,
                              Kind::sequence_classification,
                              Kind::token_classification,
                              Kind::question_answering,
                              Kind::multiple_choice,
                              Kind::base};
constexpr auto kPageHeads = {Kind::masked_lm, Kind::sequence_classification,
                             Kind::token_classification, Kind::question_answering, Kind::base};
constexpr auto kPlainHeads = {Kind::masked_lm, Kind::sequence_classification,
                              Kind::token_classification, Kind::base};

KinWriting ernie(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kErnieHeads, {30522, 768, 12, 3072});
  s.base = "ernie";
  const std::int64_t tasks = c.whole({"task_type_vocab_size"}, 3);
  if (c.flag({"use_task_id"}, false)) s.tasks = tasks;
  s.pooler = true;
  s.masked_lm = bert_lm;
  s.sentences = next_sentence;
  s.choice = pooled_choice;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

KinWriting layoutlm(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kPageHeads, {30522, 768, 12, 3072});
  s.base = "layoutlm";
  s.boxes = c.whole({"max_2d_position_embeddings"}, 1024, 1, limits::kSequence);
  s.pooler = s.always_pools = true;
  s.head_dropout = s.token_dropout = s.dropout;
  s.masked_lm = bert_lm;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

KinWriting rembert(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kEncoderHeads, {250300, 1152, 18, 4608, 0, "gelu", 32});
  s.base = "rembert";
  s.embedding = c.whole({"input_embedding_size"}, 256);
  s.head_width = c.whole({"output_embedding_size"}, 1664);
  s.embeddings_project = "encoder.embedding_hidden_mapping_in";
  s.tied = c.flag({"tie_word_embeddings"}, false);
  if (s.tied && s.head_width != s.embedding) {
    c.fault("tie_word_embeddings", "words of " + std::to_string(s.embedding) +
                                       " numbers cannot be told from " +
                                       std::to_string(s.head_width));
  }
  s.head_dropout = s.token_dropout = s.choice_dropout = c.real({"classifier_dropout_prob"}, 0.1);
  s.pooler = true;
  s.masked_lm = rembert_lm;
  s.choice = pooled_choice;
  s.classifier = pooled_classifier;
  return writing(std::move(s));
}

KinWriting esm(ConfigReader& c) {
  if (!c.has("vocab_size"))
    c.fault("vocab_size", "is missing", "transformers has no default for it");
  EncoderSpec s = read_bert(c, kPlainHeads, {33, 768, 12, 3072});
  c.ignore({"hidden_act"});
  s.base = "esm";
  s.types = 0;
  s.positions = c.whole({"max_position_embeddings"}, 1026, 1, limits::kSequence);
  s.longest = s.positions;
  s.learned_positions =
      c.choice({"position_embedding_type"}, "absolute", {"absolute", "rotary"}) == "absolute";
  if (s.learned_positions) count_from_padding(c, s);
  s.embedding_norm = c.flag({"emb_layer_norm_before"}, false);
  s.embedding_norm_name = "layer_norm";
  s.embedding_dropout = false;
  s.norm_first = true;
  s.attention_norm = "attention.LayerNorm";
  s.ffn_norm = "LayerNorm";
  s.ffn.activation = "gelu";
  s.last_norm = "encoder.emb_layer_norm_after";
  s.contacts = true;
  s.pooler = s.head == Kind::base;
  s.head_dropout = s.token_dropout = s.dropout;
  s.masked_lm = esm_lm;
  s.classifier = dense_classifier;
  c.not_built("is_folding_model", "capture the model");
  c.ignore({"token_dropout"});  // the same operators with other numbers
  return writing(std::move(s));
}

/// Turned queries and keys, norms behind each half, under names of their own.
EncoderSpec turned_encoder(ConfigReader& c, const char* base, const BertDefaults& d,
                           std::int64_t types, std::int64_t longest,
                           EncoderHeads heads = kPlainHeads) {
  EncoderSpec s = read_bert(c, heads, d);
  s.base = base;
  s.layers = "layers";
  s.types = c.whole({"type_vocab_size"}, types, 1);
  s.positions = c.whole({"max_position_embeddings"}, longest, 1, limits::kPositions);
  s.longest = s.positions;
  s.learned_positions = false;
  s.attention.q = "self_attn.q_proj";
  s.attention.k = "self_attn.k_proj";
  s.attention.v = "self_attn.v_proj";
  s.attention.o = "self_attn.o_proj";
  s.attention.width = c.maybe_whole({"head_dim"}, 2, 1 << 16).value_or(s.attention.width);
  s.attention_norm = "post_attention_layernorm";
  s.ffn_norm = "post_mlp_layernorm";
  s.classifier = pooled_classifier;
  s.pooler = s.head == Kind::sequence_classification;
  return s;
}

KinWriting nomic_bert(ConfigReader& c) {
  EncoderSpec s = turned_encoder(c, "nomic_bert", {30528, 768, 12, 3072, 0, "silu"}, 2, 2048);
  s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = false;
  s.ffn = {"mlp.up_proj",    "mlp.down_proj", s.ffn.width, s.hidden,
           s.ffn.activation, false,           0,           "mlp.gate_proj"};
  s.masked_lm = nomic_lm;
  return writing(std::move(s));
}

KinWriting gte(ConfigReader& c) {
  EncoderSpec s = turned_encoder(c, "gte", {250048, 768, 12, 3072}, 1, 8192);
  s.attention.call.dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.ffn = {"mlp.up_proj",  "mlp.down_proj", s.ffn.width, s.hidden, s.ffn.activation, true, 0,
           "mlp.gate_proj"};
  s.head_activation = "gelu";
  s.masked_lm = gte_lm;
  return writing(std::move(s));
}

KinWriting jina_embeddings_v3(ConfigReader& c) {
  EncoderSpec s =
      turned_encoder(c, "roberta", {250002, 1024, 16, 4096, 0.1, "gelu", 24}, 1, 8194, kPageHeads);
  s.ffn.up = "mlp.fc1";
  s.ffn.down = "mlp.fc2";
  s.head_activation = "gelu";
  s.masked_lm = roberta_lm;
  s.classifier = dense_classifier;
  s.pooler = s.head == Kind::base;
  return writing(std::move(s));
}

TensorId first_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return w.linear(w.dropout(first_token(w, e.hidden), s.choice_dropout), "classifier", 1, true);
}

KinWriting roformer(ConfigReader& c) {
  EncoderSpec s = read_bert(c, kEncoderHeads, {50000, 768, 12, 3072});
  s.base = "roformer";
  s.positions = c.whole({"max_position_embeddings"}, 1536, 1, limits::kSequence);
  s.longest = s.positions;
  s.embedding = c.maybe_whole({"embedding_size"}).value_or(s.hidden);
  if (s.embedding != s.hidden) s.embeddings_project = "embeddings_project";
  s.learned_positions = false;
  s.position_table = s.attention.pairs = s.attention.call.eager = true;
  if (s.attention.width % 2 != 0)
    c.fault("num_attention_heads", "heads must be an even number wide");
  s.masked_lm = bert_lm;
  s.classifier = dense_classifier;
  s.choice = first_choice;
  s.choice_dropout = c.real({"summary_last_dropout"}, 0);
  if (s.head == Kind::multiple_choice) c.not_built("summary_use_proj", "capture the model");
  c.ignore({"rotary_value", "summary_type", "summary_use_proj", "summary_activation"});
  return writing(std::move(s));
}

constexpr HfFamily kEncoderKinFamilies[] = {
    {"ernie", ernie},
    {"layoutlm", layoutlm},
    {"rembert", rembert},
    {"esm", esm},
    {"nomic_bert", nomic_bert},
    {"gte", gte},
    {"jina_embeddings_v3", jina_embeddings_v3},
    {"roformer", roformer},
};

}  // namespace

std::span<const HfFamily> encoder_kin_families() { return kEncoderKinFamilies; }

}  // namespace parallel_opt::hf
