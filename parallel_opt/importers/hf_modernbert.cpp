#include <algorithm>

#include "parallel_opt/importers/hf_encoder.h"
#include "parallel_opt/importers/hf_families.h"

// ModernBERT: norms first, rotated positions, gated layers; two of three layers attend within a
// window to both sides.
namespace parallel_opt::hf {
namespace {

using Head = HeadKind;

struct ModernBertSpec {
  EncoderSpec encoder;  ///< sizes, dropouts and the head
  bool norm_bias = false, attention_bias = false, mlp_bias = false, word_bias = true;
  bool dense_bias = false, mean = false;
  double mlp_dropout = 0;
  std::int64_t window = 64;
  std::vector<bool> slides;
};

TensorId modern_norm(GraphWriter& w, const ModernBertSpec& s, TensorId x, std::string_view name) {
  return w.layer_norm(x, name, s.encoder.eps, s.norm_bias);
}

TensorId modern_attention(GraphWriter& w, const ModernBertSpec& s, TensorId x,
                          const RotaryTables& tables, TensorId mask) {
  const GraphWriter::Scope scope(w, "attn");
  const AttentionParts& a = s.encoder.attention;
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1);
  const TensorId all = w.view(w.linear(x, "Wqkv", 3 * a.heads * a.width, s.attention_bias),
                              {batch, length, fixed(3), fixed(a.heads), fixed(a.width)});
  const auto part = [&](std::int64_t index) { return w.transpose(w.select(all, 2, index), 1, 2); };
  const auto turned = [&](TensorId t) {
    return w.to(rotate(w, w.to(t, DType::fp32), tables, a.width, false), w.dtype());
  };
  const TensorId q = turned(part(0)), k = turned(part(1));
  const TensorId mixed = fused_attention(w, q, k, part(2), {false, mask, 0, a.call.dropout});
  return w.dropout(w.linear(mixed, "Wo", s.encoder.hidden, s.attention_bias), a.call.dropout);
}

TensorId modern_layers(GraphWriter& w, const ModernBertSpec& s, TensorId x) {
  const EncoderSpec& e = s.encoder;
  const Dim length = w.dim(x, 1);
  const bool any = std::ranges::find(s.slides, true) != s.slides.end();
  const bool masked = s.window + 1 <= std::min<std::int64_t>(e.longest, 2048);
  const TensorId near = any && masked ? w.window_mask(length, s.window + 1, false) : TensorId();
  const TensorId places = w.unsqueeze(w.op("aten.arange.default", DType::i64, {}, {length}), 0);
  RotaryTables whole, local;
  {
    const GraphWriter::Scope scope(w, "rotary_emb");
    whole = rotary_tables(w, places, e.attention.width, "full_attention_inv_freq");
    if (any) local = rotary_tables(w, places, e.attention.width, "sliding_attention_inv_freq");
  }
  for (std::int64_t i = 0; i < e.count; ++i) {
    const GraphWriter::Mark mark = w.mark();
    const GraphWriter::Scope scope(w, "layers." + std::to_string(i));
    const bool slides = s.slides[static_cast<std::size_t>(i)];
    const TensorId normed = i == 0 ? x : modern_norm(w, s, x, "attn_norm");
    x = w.add(x,
              modern_attention(w, s, normed, slides ? local : whole, slides ? near : TensorId()));
    const TensorId middle = modern_norm(w, s, x, "mlp_norm");
    const GraphWriter::Scope mlp(w, "mlp");
    const TensorId both = w.linear(middle, "Wi", 2 * e.ffn.width, s.mlp_bias);
    const TensorId open = activate(w, w.slice(both, 2, 0, fixed(e.ffn.width)), e.ffn.activation);
    const TensorId inner = w.mul(open, w.slice(both, 2, e.ffn.width, fixed(e.ffn.width)));
    x = w.add(x, w.linear(w.dropout(inner, s.mlp_dropout), "Wo", e.hidden, s.mlp_bias));
    if (i == 1) w.reserve_repeats(mark, e.count - 2);
  }
  return modern_norm(w, s, x, "final_norm");
}

TensorId prediction(GraphWriter& w, const ModernBertSpec& s, TensorId x) {
  const GraphWriter::Scope scope(w, "head");
  const TensorId dense = w.linear(x, "dense", s.encoder.hidden, s.dense_bias);
  return modern_norm(w, s, activate(w, dense, s.encoder.head_activation), "norm");
}

/// The first token, or the mean of all: [batch, hidden].
TensorId one_of_all(GraphWriter& w, const ModernBertSpec& s, TensorId x) {
  if (!s.mean) return first_token(w, x);
  return w.op("aten.mean.dim", {{"self", x}}, {w.dim(x, 0), w.last(x)},
              {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
}

Graph finish_modernbert(GraphWriter& w, const ModernBertSpec& s, TensorId x, TensorId table,
                        const EncoderTokens& tokens) {
  const EncoderSpec& e = s.encoder;
  if (e.head == Head::base) return w.finish({x});
  if (e.head == Head::masked_lm) {
    const TensorId made = prediction(w, s, x);
    if (e.tied) {
      w.tie("decoder.weight", table);
    } else {
      table = w.parameter("decoder.weight", {e.vocab, e.hidden});
    }
    const TensorId bias = s.word_bias ? w.parameter("decoder.bias", {e.vocab}) : TensorId();
    return w.finish({w.linear_with(made, "decoder", table, bias)});
  }
  const bool each = e.head == Head::token_classification || e.head == Head::question_answering;
  const TensorId made = w.dropout(prediction(w, s, each ? x : one_of_all(w, s, x)), e.head_dropout);
  if (e.head == Head::question_answering) {
    const Answer answer = answer_head(w, made, "classifier");
    return w.finish({answer.start, answer.end});
  }
  const bool chooses = e.head == Head::multiple_choice;
  const TensorId logits = w.linear(made, "classifier", chooses ? 1 : e.labels, true);
  return w.finish({chooses ? w.view(logits, {tokens.batch, tokens.choices}) : logits});
}

Graph build_modernbert(GraphWriter& w, const ModernBertSpec& s) {
  const EncoderSpec& e = s.encoder;
  const EncoderTokens tokens = read_tokens(w, e, e.longest);
  TensorId x, table;
  {
    const GraphWriter::Scope base(w, e.head == Head::base ? "" : "model");
    {
      const GraphWriter::Scope scope(w, "embeddings");
      table = w.parameter("tok_embeddings.weight", {e.vocab, e.hidden});
      x = w.embedding(tokens.ids, table, "tok_embeddings");
      x = w.dropout(modern_norm(w, s, x, "norm"), e.dropout);
    }
    x = modern_layers(w, s, x);
  }
  return finish_modernbert(w, s, x, table, tokens);
}

void read_slides(ConfigReader& c, ModernBertSpec& s) {
  const std::int64_t every = c.whole({"global_attn_every_n_layers"}, 3);
  const std::vector<std::string> kinds = c.text_list("layer_types");
  const auto count = static_cast<std::size_t>(s.encoder.count);
  if (!kinds.empty() && kinds.size() != count) {
    c.fault("layer_types", "names " + std::to_string(kinds.size()) + " layers of " +
                               std::to_string(s.encoder.count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const bool slides = i < kinds.size() ? kinds[i] == "sliding_attention"
                                         : static_cast<std::int64_t>(i) % every != 0;
    s.slides.push_back(slides);
  }
  s.window = c.whole({"local_attention"}, 128, 2, limits::kPositions) / 2;
}

std::function<Graph(GraphWriter&)> modernbert(ConfigReader& c) {
  ModernBertSpec s;
  EncoderSpec& e = s.encoder;
  e.vocab = c.whole({"vocab_size"}, 50368, 1, limits::kVocabulary);
  e.hidden = c.whole({"hidden_size"}, 768);
  e.count = c.whole({"num_hidden_layers"}, 22, 1, limits::kLayers);
  e.attention.heads = c.whole({"num_attention_heads"}, 12, 1, limits::kHeads);
  if (c.divides("num_attention_heads", e.attention.heads, "hidden_size", e.hidden)) {
    e.attention.width = e.hidden / e.attention.heads;
  }
  e.attention.call.dropout = c.real({"attention_dropout"}, 0);
  e.ffn.width = c.whole({"intermediate_size"}, 1152, 1, limits::kFeedForward);
  e.ffn.activation = c.activation({"hidden_activation", "hidden_act"}, "gelu");
  e.longest = c.whole({"max_position_embeddings"}, 8192, 1, limits::kPositions);
  e.eps = c.real({"norm_eps", "layer_norm_eps"}, 1e-5);
  e.dropout = c.real({"embedding_dropout"}, 0);
  e.head_dropout = c.real({"classifier_dropout"}, 0);
  e.head_activation = c.activation({"classifier_activation"}, "gelu");
  e.tied = c.flag({"tie_word_embeddings"}, true);
  s.norm_bias = c.flag({"norm_bias"}, false);
  s.attention_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.word_bias = c.flag({"decoder_bias"}, true);
  s.dense_bias = c.flag({"classifier_bias"}, false);
  s.mlp_dropout = c.real({"mlp_dropout"}, 0);
  s.mean = c.choice({"classifier_pooling"}, "cls", {"cls", "mean"}) == "mean";
  e.head = c.head(Head::masked_lm,
                  {Head::masked_lm, Head::sequence_classification, Head::token_classification,
                   Head::question_answering, Head::multiple_choice, Head::base});
  e.labels = c.labels();
  read_slides(c, s);
  c.ignore({"sparse_prediction", "sparse_pred_ignore_index", "deterministic_flash_attn",
            "global_rope_theta", "local_rope_theta", "reference_compile", "position_embedding_type",
            "repad_logits_with_grad", "initializer_cutoff_factor"});
  c.note("attention in a window of " + std::to_string(2 * s.window) +
         " positions is counted in full, as PyTorch computes it under a mask");
  return [s](GraphWriter& w) { return build_modernbert(w, s); };
}

constexpr HfFamily kModernBertFamilies[] = {{"modernbert", modernbert}};

}  // namespace

std::span<const HfFamily> modernbert_families() { return kModernBertFamilies; }

}  // namespace parallel_opt::hf
