#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_reader.h"

namespace parallel_opt::hf {

/// What an encoder's last layer gives to its head.
struct Encoded {
  TensorId hidden;  ///< [batch, sequence, hidden]
  TensorId pooled;  ///< [batch, hidden]; invalid where the head asks for none
  TensorId table;   ///< the words
};

/// What bert's relatives differ in.
struct EncoderSpec {
  std::string base;  ///< "bert"
  std::string layers = "encoder.layer";
  std::string embeddings_project;  ///< "": embeddings have the hidden width
  AttentionParts attention;
  std::string attention_norm = "attention.output.LayerNorm";
  TwoLayers ffn;
  std::string ffn_norm = "output.LayerNorm";
  bool norm_first = false, embedding_norm = true, embedding_dropout = true;
  std::string embedding_norm_name = "LayerNorm";
  bool learned_positions = true;  ///< added to the words; else queries and keys are turned
  bool position_table = false;    ///< by sines and cosines that are stored (roformer)
  std::int64_t boxes = 0;         ///< rows of each table of a token's place on a page (layoutlm)
  std::int64_t tasks = 0;         ///< of task types that are added to the words (ernie)
  bool contacts = false;          ///< a head for contacts, which only asking runs (esm)
  std::string last_norm;          ///< behind all layers; "": none
  std::int64_t vocab = 0, hidden = 0, embedding = 0, count = 0, positions = 0, types = 0;
  std::int64_t groups = 0, inner_layers = 1;  ///< albert: parameter sets, layers of each
  std::int64_t buckets = 0;                   ///< mpnet: of distances that bias the scores
  std::int64_t padding = -1;                  ///< not negative: positions count from here (roberta)
  double eps = 1e-12, dropout = 0;
  double head_dropout = 0, token_dropout = 0, question_dropout = 0, choice_dropout = 0;
  double summary_dropout = 0.1;  ///< electra's, behind its summary
  std::string head_activation = "gelu";
  std::string inner_activation = "gelu";
  bool pooler = false, always_pools = false;
  std::int64_t head_width = 0;  ///< of what words are told from; 0: the embedding's (rembert)
  std::string pooler_dense = "pooler.dense";
  bool tied = true;
  HeadKind head = HeadKind::masked_lm;
  std::int64_t labels = 2;
  std::int64_t longest = 0;
  TensorId (*masked_lm)(GraphWriter&, const EncoderSpec&, const Encoded&) = nullptr;
  TensorId (*classifier)(GraphWriter&, const EncoderSpec&, const Encoded&) = nullptr;
  /// Which of two sentences comes first, or follows.
  TensorId (*sentences)(GraphWriter&, const EncoderSpec&, const Encoded&) = nullptr;
  /// One number for a choice.
  TensorId (*choice)(GraphWriter&, const EncoderSpec&, const Encoded&) = nullptr;
};

/// What an encoder is given: tokens [batch, length], or [batch, choices, length] viewed as
/// [batch x choices, length].
struct EncoderTokens {
  Dim batch, choices, length;
  TensorId ids;
};
/// `usual` is the length where nobody states one.
EncoderTokens read_tokens(GraphWriter& w, const EncoderSpec& spec, std::int64_t usual);
/// The hidden state of the first token, [batch, hidden].
TensorId first_token(GraphWriter& w, TensorId x);
/// Writes the head that `spec` names; `choices` are those of each sample, where there are any.
Graph finish_encoder(GraphWriter& w, const EncoderSpec& spec, const Encoded& encoded,
                     const Dim& batch, const Dim& choices);

using EncoderHeads = std::initializer_list<HeadKind>;
/// What relatives of bert can end with, most of them.
inline constexpr auto kEncoderHeads = {HeadKind::masked_lm,
                                       HeadKind::causal_lm,
                                       HeadKind::sequence_classification,
                                       HeadKind::token_classification,
                                       HeadKind::question_answering,
                                       HeadKind::multiple_choice,
                                       HeadKind::base};
/// Bert's fields, with defaults that differ between its relatives.
struct BertDefaults {
  std::int64_t vocab, hidden, heads, ffn;
  double dropout = 0.1;
  std::string_view activation = "gelu";
  std::int64_t layers = 12;
};
EncoderSpec read_bert(ConfigReader& c, EncoderHeads heads, const BertDefaults& defaults);
/// Padding's number, behind which positions are counted.
void count_from_padding(ConfigReader& c, EncoderSpec& s);
std::function<Graph(GraphWriter&)> writing(EncoderSpec spec);

// One per family that has its own.
TensorId bert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId roberta_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId albert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId electra_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId distilbert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId rembert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId esm_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId nomic_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId gte_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId pooled_classifier(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId dense_classifier(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId distilbert_classifier(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId next_sentence(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId sentence_order(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId replaced_tokens(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId pooled_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId summarised_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e);
TensorId distilbert_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e);

}  // namespace parallel_opt::hf
