#include "parallel_opt/importers/hf_encoder.h"

// What stands behind an encoder: heads of bert and its relatives.
namespace parallel_opt::hf {
namespace {

using Head = HeadKind;

/// Words from `x`, with the word table where weights are tied.
TensorId words(GraphWriter& w, const EncoderSpec& s, TensorId x, TensorId table,
               const std::string& name, TensorId bias) {
  TensorId weight = table;
  if (s.tied) {
    w.tie(name + ".weight", table);
  } else {
    weight = w.parameter(name + ".weight", {s.vocab, w.last(x).size});
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

}  // namespace

TensorId first_token(GraphWriter& w, TensorId x) { return w.select(x, 1, 0); }

TensorId bert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(w, s, e.hidden, e.table,
                 {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
                  "cls.predictions.decoder", "cls.predictions.bias"});
}
TensorId roberta_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(w, s, e.hidden, e.table,
                 {"lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"});
}
TensorId albert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(
      w, s, e.hidden, e.table,
      {"predictions.dense", "predictions.LayerNorm", "predictions.decoder", "predictions.bias"});
}
TensorId electra_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(w, s, e.hidden, e.table,
                 {"generator_predictions.dense", "generator_predictions.LayerNorm",
                  "generator_lm_head", "generator_lm_head.bias"});
}
TensorId distilbert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(
      w, s, e.hidden, e.table,
      {"vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"});
}

TensorId rembert_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  const std::string name = "cls.predictions.";
  TensorId x = w.linear(e.hidden, name + "dense", s.head_width, true);
  x = w.layer_norm(activate(w, x, s.head_activation), name + "LayerNorm", s.eps);
  return words(w, s, x, e.table, name + "decoder", w.parameter(name + "decoder.bias", {s.vocab}));
}
TensorId esm_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  TensorId x = activate(w, w.linear(e.hidden, "lm_head.dense", s.hidden, true), "gelu");
  x = w.layer_norm(x, "lm_head.layer_norm", s.eps);
  const TensorId bias = w.parameter("lm_head.bias", {s.vocab});
  return w.add(words(w, s, x, e.table, "lm_head.decoder", TensorId()), bias);
}
TensorId nomic_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(w, s, e.hidden, e.table,
                 {"cls.predictions.transform.dense", "cls.predictions.transform.layer_norm",
                  "cls.predictions.decoder", "cls.predictions.bias"});
}
TensorId gte_lm(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return lm_head(
      w, s, e.hidden, e.table,
      {"lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.decoder.bias"});
}

TensorId pooled_classifier(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return w.linear(w.dropout(e.pooled, s.head_dropout), "classifier", s.labels, true);
}

TensorId dense_classifier(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  const TensorId first = w.dropout(first_token(w, e.hidden), s.head_dropout);
  const TensorId dense = w.linear(first, "classifier.dense", s.hidden, true);
  const bool own = s.base == "electra" || s.base == "roformer";
  const TensorId active =
      own ? activate(w, dense, s.base == "electra" ? "gelu" : s.inner_activation)
          : w.unary("aten.tanh.default", dense);
  return w.linear(w.dropout(active, s.head_dropout), "classifier.out_proj", s.labels, true);
}

TensorId distilbert_classifier(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  const TensorId dense = w.linear(first_token(w, e.hidden), "pre_classifier", s.hidden, true);
  const TensorId active = w.dropout(w.unary("aten.relu.default", dense), s.head_dropout);
  return w.linear(active, "classifier", s.labels, true);
}

TensorId next_sentence(GraphWriter& w, const EncoderSpec& /*s*/, const Encoded& e) {
  return w.linear(e.pooled, "cls.seq_relationship", 2, true);
}

TensorId sentence_order(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return w.linear(w.dropout(e.pooled, s.head_dropout), "sop_classifier.classifier", s.labels, true);
}

TensorId replaced_tokens(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  const TensorId dense = w.linear(e.hidden, "discriminator_predictions.dense", s.hidden, true);
  const TensorId logits = w.linear(activate(w, dense, s.inner_activation),
                                   "discriminator_predictions.dense_prediction", 1, true);
  Shape shape = w.tensor(logits).shape;
  shape.pop_back();
  return w.view_op("aten.squeeze.dim", logits, std::move(shape), {{"dim", std::int64_t{-1}}});
}

TensorId pooled_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  return w.linear(w.dropout(e.pooled, s.choice_dropout), "classifier", 1, true);
}

TensorId summarised_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  const TensorId first = first_token(w, e.hidden);
  const TensorId summary = w.linear(first, "sequence_summary.summary", s.hidden, true);
  const TensorId active = w.unary("aten.gelu.default", summary);
  return w.linear(w.dropout(active, s.summary_dropout), "classifier", 1, true);
}

TensorId distilbert_choice(GraphWriter& w, const EncoderSpec& s, const Encoded& e) {
  EncoderSpec one = s;
  one.labels = 1;
  return distilbert_classifier(w, one, e);
}

Graph finish_encoder(GraphWriter& w, const EncoderSpec& s, const Encoded& e, const Dim& batch,
                     const Dim& choices) {
  switch (s.head) {
    case Head::base:
      return e.pooled.valid() ? w.finish({e.hidden, e.pooled}) : w.finish({e.hidden});
    case Head::masked_lm:
    case Head::causal_lm:  // the same head; whether the layers look ahead, `is_decoder` says
      return w.finish({s.masked_lm(w, s, e)});
    case Head::pretraining: {
      if (s.masked_lm == electra_lm) return w.finish({s.sentences(w, s, e)});
      const TensorId words = s.masked_lm(w, s, e);
      return w.finish({words, s.sentences(w, s, e)});
    }
    case Head::next_sentence:
      return w.finish({s.sentences(w, s, e)});
    case Head::token_classification:
      return w.finish(
          {w.linear(w.dropout(e.hidden, s.token_dropout), "classifier", s.labels, true)});
    case Head::question_answering: {
      const Answer answer = answer_head(w, w.dropout(e.hidden, s.question_dropout));
      return w.finish({answer.start, answer.end});
    }
    case Head::multiple_choice:
      return w.finish({w.view(s.choice(w, s, e), {batch, choices})});
    default:
      return w.finish({s.classifier(w, s, e)});
  }
}

}  // namespace parallel_opt::hf
