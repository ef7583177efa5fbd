#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_families.h"

// Decoder-only language models: how each family's config.json fills a DecoderSpec. Defaults are
// those of transformers 5's configuration classes.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;

Writing writing(DecoderSpec spec) {
  return [spec = std::move(spec)](GraphWriter& w) { return build_decoder(w, spec); };
}

/// Heads that some families lack in transformers, and names that differ.
struct HeadTraits {
  std::string_view type;
  bool tokens = true, questions = true;
  const char* token_head = "score";
  const char* question_base = "";
};
constexpr HeadTraits kHeadTraits[] = {
    {.type = "llama", .question_base = "transformer"},
    {.type = "qwen2", .question_base = "transformer"},
    {.type = "qwen3", .question_base = "transformer"},
    {.type = "qwen3_moe", .question_base = "transformer"},
    {.type = "gpt2", .token_head = "classifier"},
    {.type = "gpt_neox", .token_head = "classifier"},
    {.type = "bloom", .token_head = "classifier"},
    {.type = "falcon", .token_head = "classifier"},
    {.type = "gptj", .tokens = false},
    {.type = "opt", .tokens = false},
    {.type = "gemma", .questions = false},
    {.type = "gemma2", .questions = false},
    {.type = "phi", .questions = false},
    {.type = "phi3", .questions = false},
    {.type = "starcoder2", .questions = false},
    {.type = "stablelm", .questions = false},
    {.type = "deepseek_v3", .questions = false},
    {.type = "gemma3_text", .tokens = false, .questions = false},
    {.type = "olmo", .tokens = false, .questions = false},
    {.type = "olmo2", .tokens = false, .questions = false},
    {.type = "granite", .tokens = false, .questions = false},
    {.type = "cohere", .tokens = false, .questions = false},
    {.type = "deepseek_v2", .tokens = false, .questions = false},
};

HeadTraits head_traits(std::string_view type) {
  for (const HeadTraits& traits : kHeadTraits) {
    if (traits.type == type) return traits;
  }
  return {};
}

HeadKind known_head(ConfigReader& c, const HeadTraits& traits) {
  constexpr HeadKind kLm = HeadKind::causal_lm, kClass = HeadKind::sequence_classification,
                     kTokens = HeadKind::token_classification, kBase = HeadKind::base,
                     kQuestions = HeadKind::question_answering;
  if (traits.tokens && traits.questions)
    return c.head(kLm, {kLm, kBase, kClass, kTokens, kQuestions});
  if (traits.tokens) return c.head(kLm, {kLm, kBase, kClass, kTokens});
  if (traits.questions) return c.head(kLm, {kLm, kBase, kClass, kQuestions});
  return c.head(kLm, {kLm, kBase, kClass});
}

void read_head(ConfigReader& c, DecoderSpec& s) {
  const HeadTraits traits = head_traits(c.text({"model_type"}, ""));
  s.names.token_head = traits.token_head;
  s.names.question_base = traits.question_base;
  using Kind = DecoderSpec::Head;
  switch (known_head(c, traits)) {
    case HeadKind::base:
      s.head = Kind::none;
      break;
    case HeadKind::sequence_classification:
      s.head = Kind::classifier;
      s.labels = c.labels();
      break;
    case HeadKind::token_classification:
      s.head = Kind::tokens;
      s.labels = c.labels();
      s.head_dropout = c.real({"classifier_dropout", "hidden_dropout"}, 0.1);
      break;
    case HeadKind::question_answering:
      s.head = Kind::questions;
      break;
    default:
      break;
  }
}

/// For families that call the sizes otherwise: the checks and the fields all share.
void finish_sizes(ConfigReader& c, DecoderSpec& s, std::string_view heads_key,
                  std::string_view hidden_key) {
  if (c.divides(heads_key, s.heads, hidden_key, s.hidden)) s.head_dim = s.hidden / s.heads;
  if (s.kv_heads == 0) s.kv_heads = s.heads;
  s.sequence_hint = std::min<std::int64_t>(s.max_positions, 2048);
  read_head(c, s);
}

void partly_rotary(ConfigReader& c, DecoderSpec& s, ConfigReader::Keys keys, double fallback) {
  s.rotary_dim =
      static_cast<std::int64_t>(static_cast<double>(s.head_dim) * c.rotary_share(keys, fallback));
  if (s.rotary_dim < 2) c.fault(*keys.begin(), "leaves nothing of the heads to rotate");
}

void layer_norms(ConfigReader& c, DecoderSpec& s, ConfigReader::Keys keys) {
  s.norm = NormKind::layer;
  s.norm_eps = c.real(keys, 1e-5);
}

void plain_mlp(DecoderSpec& s, const char* up, const char* down) {
  s.gated = false;
  s.names.up = up;
  s.names.down = down;
}

DecoderSpec read_llama(ConfigReader& c, const DecoderDefaults& d) {
  DecoderSpec s = read_decoder(c, d);
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  return s;
}

Writing llama(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 11008, 32, 32});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  return writing(std::move(s));
}

Writing mistral(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 14336, 32, 32, 8, 131072});
  return writing(std::move(s));
}

Writing qwen2(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {151936, 4096, 22016, 32, 32, 32, 32768});
  s.qkv_bias = true;
  return writing(std::move(s));
}

Writing qwen3(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {151936, 4096, 22016, 32, 32, 32, 32768, 128});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  return writing(std::move(s));
}

DecoderSpec read_gemma(ConfigReader& c, const DecoderDefaults& d) {
  DecoderSpec s = read_llama(c, d);
  s.activation = c.activation({"hidden_activation", "hidden_act"}, "gelu_pytorch_tanh");
  s.norm = NormKind::rms_plus1;
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.embed_scale_buffer = true;
  s.causal = !c.flag({"use_bidirectional_attention"}, false);
  return s;
}

Writing gemma(ConfigReader& c) {
  return writing(
      read_gemma(c, {256000, 3072, 24576, 28, 16, 16, 8192, 256, true, "gelu_pytorch_tanh"}));
}

void sandwiched(ConfigReader& c, DecoderSpec& s, double attention_cap, double logit_cap) {
  s.block = BlockKind::sandwich;
  s.attention_scale = 1 / std::sqrt(std::max(c.real({"query_pre_attn_scalar"}, 256), 1e-6));
  s.softcap = c.real({"attn_logit_softcapping"}, attention_cap);
  s.logit_softcap = c.real({"final_logit_softcapping"}, logit_cap);
  if (s.softcap > 0) s.attention = AttentionKind::eager;
}

Writing gemma2(ConfigReader& c) {
  DecoderSpec s =
      read_gemma(c, {256000, 2304, 9216, 26, 8, 4, 8192, 256, true, "gelu_pytorch_tanh"});
  sandwiched(c, s, 50, 30);
  return writing(std::move(s));
}

Writing gemma3(ConfigReader& c) {
  DecoderSpec s =
      read_gemma(c, {262208, 2304, 9216, 26, 8, 4, 131072, 256, true, "gelu_pytorch_tanh"});
  sandwiched(c, s, 0, 0);
  s.qk_norm = QkNorm::per_head;
  s.qk_norm_kind = NormKind::rms_plus1;
  s.two_rotary = true;
  const std::vector<std::string> kinds = c.text_list("layer_types");
  const std::int64_t pattern = c.whole({"sliding_window_pattern"}, 6, 1);
  s.layer_is_local = [kinds, pattern](std::int64_t i) {
    if (kinds.empty()) return (i + 1) % pattern != 0;
    return kinds.at(static_cast<std::size_t>(i)) == "sliding_attention";
  };
  return writing(std::move(s));
}

Writing phi(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {51200, 2048, 8192, 24, 32, 0, 2048, 0, false, "gelu_new"});
  layer_norms(c, s, {"layer_norm_eps"});
  plain_mlp(s, "fc1", "fc2");
  s.block = BlockKind::parallel;
  s.names.o = "dense";
  s.names.final_norm = "final_layernorm";
  s.names.q_norm = "q_layernorm";
  s.names.k_norm = "k_layernorm";
  s.qkv_bias = s.o_bias = s.mlp_bias = s.head_bias = true;
  if (c.flag({"qk_layernorm"}, false)) s.qk_norm = QkNorm::per_head;
  s.qk_norm_kind = NormKind::layer;
  s.residual_dropout = c.real({"resid_pdrop"}, 0);
  s.embed_dropout = c.real({"embd_pdrop"}, 0);
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.5);
  return writing(std::move(s));
}

Writing phi3(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32064, 3072, 8192, 32, 32, 0, 4096});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.names.qkv = "qkv_proj";
  s.names.gate_up = "gate_up_proj";
  s.residual_dropout = c.real({"resid_pdrop"}, 0);
  c.ignore({"embd_pdrop"});  // transformers 5 reads it and uses it nowhere
  partly_rotary(c, s, {"partial_rotary_factor"}, 1);
  return writing(std::move(s));
}

Writing olmo(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50304, 4096, 11008, 32, 32});
  s.norm = NormKind::layer_plain;
  s.norm_eps = 1e-5;
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.clip_qkv = c.real({"clip_qkv"}, 0);
  return writing(std::move(s));
}

Writing olmo2(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50304, 4096, 11008, 32, 32});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::whole;
  s.block = BlockKind::post_inner;
  s.names.norm1 = "post_attention_layernorm";
  s.names.norm2 = "post_feedforward_layernorm";
  return writing(std::move(s));
}

Writing granite(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 11008, 32, 32});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.embed_scale = c.real({"embedding_multiplier"}, 1);
  s.residual_scale = c.real({"residual_multiplier"}, 1);
  s.attention_scale = c.real({"attention_multiplier"}, 1);
  s.logit_scale = 1 / std::max(c.real({"logits_scaling"}, 1), 1e-6);
  return writing(std::move(s));
}

Writing starcoder2(ConfigReader& c) {
  DecoderSpec s =
      read_decoder(c, {49152, 3072, 12288, 30, 24, 2, 4096, 0, true, "gelu_pytorch_tanh"});
  layer_norms(c, s, {"norm_epsilon"});
  plain_mlp(s, "c_fc", "c_proj");
  s.qkv_bias = s.o_bias = s.mlp_bias = c.flag({"use_bias"}, true);
  s.residual_dropout = c.real({"residual_dropout"}, 0);
  s.embed_dropout = c.real({"embedding_dropout"}, 0);
  return writing(std::move(s));
}

Writing stablelm(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50304, 2560, 6912, 32, 32, 32, 4096});
  layer_norms(c, s, {"layer_norm_eps"});
  s.qkv_bias = c.flag({"use_qkv_bias"}, false);
  if (c.flag({"qk_layernorm"}, false)) {
    s.qk_norm = QkNorm::each_head;
    s.names.q_norm = "q_layernorm";
    s.names.k_norm = "k_layernorm";
    if (s.heads * s.layers > 20'000) {
      c.fault("num_attention_heads",
              "a norm for each of " + std::to_string(s.heads * s.layers) + " heads is too many",
              "at most 20000");
    }
  }
  if (c.flag({"use_parallel_residual"}, false)) s.block = BlockKind::parallel;
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.25);
  s.residual_dropout = c.real({"hidden_dropout"}, 0);
  return writing(std::move(s));
}

Writing cohere(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {256000, 8192, 22528, 40, 64, 0, 8192, 0, true});
  s.norm = NormKind::layer_parts;
  s.norm_eps = c.real({"layer_norm_eps"}, 1e-5);
  s.block = BlockKind::parallel;
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  if (c.flag({"use_qk_norm"}, false)) s.qk_norm = QkNorm::head_table;
  s.logit_scale = c.real({"logit_scale"}, 0.0625);
  return writing(std::move(s));
}

Writing gpt2(ConfigReader& c) {
  DecoderSpec s;
  s.names = {.base = "transformer",
             .embed = "wte",
             .positions = "wpe",
             .layers = "h",
             .attention = "attn",
             .o = "c_proj",
             .qkv = "c_attn",
             .norm1 = "ln_1",
             .norm2 = "ln_2",
             .final_norm = "ln_f"};
  s.vocab = c.whole({"vocab_size"}, 50257, 1, limits::kVocabulary);
  s.hidden = c.whole({"n_embd", "hidden_size"}, 768);
  s.layers = c.whole({"n_layer", "num_hidden_layers"}, 12, 1, limits::kLayers);
  s.heads = c.whole({"n_head", "num_attention_heads"}, 12, 1, limits::kHeads);
  s.ffn = c.maybe_whole({"n_inner"}, 1, limits::kFeedForward).value_or(4 * s.hidden);
  s.max_positions = c.whole({"n_positions", "max_position_embeddings"}, 1024, 1, limits::kSequence);
  finish_sizes(c, s, "n_head", "n_embd");
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "c_fc", "c_proj");
  s.positions = Positions::learned;
  s.conv1d = s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.activation = c.activation({"activation_function"}, "gelu_new");
  s.attention_dropout = c.real({"attn_pdrop"}, 0.1);
  s.residual_dropout = c.real({"resid_pdrop"}, 0.1);
  s.embed_dropout = c.real({"embd_pdrop"}, 0.1);
  s.tied = c.flag({"tie_word_embeddings"}, true);
  c.ignore({"scale_attn_by_inverse_layer_idx"});  // another number in the same operator
  c.not_built("add_cross_attention", "a decoder of an encoder-decoder model: capture it");
  return writing(std::move(s));
}

Writing gptj(ConfigReader& c) {
  DecoderSpec s;
  s.names = {.base = "transformer",
             .embed = "wte",
             .layers = "h",
             .attention = "attn",
             .o = "out_proj",
             .norm1 = "ln_1",
             .final_norm = "ln_f"};
  s.vocab = c.whole({"vocab_size"}, 50400, 1, limits::kVocabulary);
  s.hidden = c.whole({"n_embd", "hidden_size"}, 4096);
  s.layers = c.whole({"n_layer", "num_hidden_layers"}, 28, 1, limits::kLayers);
  s.heads = c.whole({"n_head", "num_attention_heads"}, 16, 1, limits::kHeads);
  s.ffn = c.maybe_whole({"n_inner"}, 1, limits::kFeedForward).value_or(4 * s.hidden);
  s.max_positions =
      c.whole({"n_positions", "max_position_embeddings"}, 2048, 1, limits::kPositions);
  finish_sizes(c, s, "n_head", "n_embd");
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "fc_in", "fc_out");
  s.block = BlockKind::parallel;
  s.positions = Positions::rotary_interleaved;
  s.rotary_dim = c.whole({"rotary_dim"}, 64, 2);
  if (s.rotary_dim > s.head_dim) c.fault("rotary_dim", "is wider than a head");
  s.table_per_layer = true;
  s.attention = AttentionKind::eager;
  s.mlp_bias = s.head_bias = true;
  s.activation = c.activation({"activation_function"}, "gelu_new");
  s.attention_dropout = c.real({"attn_pdrop"}, 0);
  s.residual_dropout = c.real({"resid_pdrop"}, 0);
  s.embed_dropout = c.real({"embd_pdrop"}, 0);
  s.tied = c.flag({"tie_word_embeddings"}, false);
  return writing(std::move(s));
}

Writing gpt_neox(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50432, 6144, 24576, 44, 64, 0, 2048, 0, false, "gelu"});
  layer_norms(c, s, {"layer_norm_eps"});
  s.names.base = "gpt_neox";
  s.names.embed = "embed_in";
  s.names.attention = "attention";
  s.names.qkv = "query_key_value";
  s.names.o = "dense";
  s.names.final_norm = "final_layer_norm";
  plain_mlp(s, "dense_h_to_4h", "dense_4h_to_h");
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, true);
  s.mlp_bias = true;
  s.block = c.flag({"use_parallel_residual"}, true) ? BlockKind::parallel_two : BlockKind::pre;
  s.residual_dropout = c.real({"hidden_dropout"}, 0);
  s.embed_dropout = s.residual_dropout;
  partly_rotary(c, s, {"rotary_pct", "partial_rotary_factor"}, 0.25);
  return writing(std::move(s));
}

Writing opt(ConfigReader& c) {
  DecoderSpec s;
  s.names.positions = "embed_positions";
  s.names.o = "out_proj";
  s.names.mlp = "";
  s.names.norm1 = "self_attn_layer_norm";
  s.names.norm2 = "final_layer_norm";
  s.names.final_norm = "final_layer_norm";
  s.vocab = c.whole({"vocab_size"}, 50272, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size"}, 768);
  s.layers = c.whole({"num_hidden_layers"}, 12, 1, limits::kLayers);
  s.heads = c.whole({"num_attention_heads"}, 12, 1, limits::kHeads);
  s.ffn = c.whole({"ffn_dim"}, 3072, 1, limits::kFeedForward);
  s.max_positions = c.whole({"max_position_embeddings"}, 2048, 1, limits::kSequence);
  s.position_offset = 2;
  finish_sizes(c, s, "num_attention_heads", "hidden_size");
  s.names.base = "model.decoder";
  s.names.bare_base = "decoder";
  const std::int64_t width = c.maybe_whole({"word_embed_proj_dim"}).value_or(s.hidden);
  if (width != s.hidden) s.embed_dim = width;
  const bool before = c.flag({"do_layer_norm_before"}, true);
  s.block = before ? BlockKind::pre : BlockKind::post;
  s.final_norm = before && !c.flag({"_remove_final_layer_norm"}, false);
  s.norm =
      c.flag({"layer_norm_elementwise_affine"}, true) ? NormKind::layer : NormKind::layer_plain;
  s.norm_eps = 1e-5;
  plain_mlp(s, "fc1", "fc2");
  s.positions = Positions::learned;
  s.qkv_bias = s.o_bias = s.mlp_bias = c.flag({"enable_bias"}, true);
  s.activation = c.activation({"activation_function"}, "relu");
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.residual_dropout = c.real({"dropout"}, 0.1);
  s.tied = c.flag({"tie_word_embeddings"}, true);
  return writing(std::move(s));
}

Writing bloom(ConfigReader& c) {
  DecoderSpec s;
  s.names = {.base = "transformer",
             .embed = "word_embeddings",
             .embed_norm = "word_embeddings_layernorm",
             .layers = "h",
             .attention = "self_attention",
             .o = "dense",
             .qkv = "query_key_value",
             .final_norm = "ln_f"};
  s.vocab = c.whole({"vocab_size"}, 250880, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size", "n_embed"}, 64);
  s.layers = c.whole({"n_layer", "num_hidden_layers"}, 2, 1, limits::kLayers);
  s.heads = c.whole({"n_head", "num_attention_heads"}, 8, 1, limits::kHeads);
  s.ffn = 4 * s.hidden;
  s.max_positions = c.whole({"seq_length"}, 2048, 1, limits::kSequence);
  finish_sizes(c, s, "n_head", "hidden_size");
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "dense_h_to_4h", "dense_4h_to_h");
  s.positions = Positions::alibi;
  s.attention = AttentionKind::eager_biased;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.activation = "gelu_fast";
  c.ignore({"apply_residual_connection_post_layernorm"});  // the same operators
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.residual_dropout = c.real({"hidden_dropout"}, 0);
  s.tied = c.flag({"tie_word_embeddings"}, true);
  return writing(std::move(s));
}

Writing falcon(ConfigReader& c) {
  DecoderSpec s;
  s.names = {.base = "transformer",
             .embed = "word_embeddings",
             .layers = "h",
             .attention = "self_attention",
             .o = "dense",
             .qkv = "query_key_value",
             .final_norm = "ln_f"};
  s.vocab = c.whole({"vocab_size"}, 65024, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size", "n_embed"}, 4544);
  s.layers = c.whole({"num_hidden_layers", "n_layer"}, 32, 1, limits::kLayers);
  s.heads = c.whole({"num_attention_heads", "n_head"}, 71, 1, limits::kHeads);
  s.ffn = c.maybe_whole({"ffn_hidden_size"}, 1, limits::kFeedForward).value_or(4 * s.hidden);
  s.max_positions = c.whole({"max_position_embeddings"}, 2048, 1, limits::kPositions);
  const bool renewed = c.flag({"new_decoder_architecture"}, false);
  const bool multi_query = c.flag({"multi_query"}, true);
  const bool parallel = c.flag({"parallel_attn"}, true);
  const std::int64_t kv = c.maybe_whole({"num_kv_heads"}, 1, limits::kHeads).value_or(s.heads);
  s.kv_heads = renewed ? kv : multi_query ? 1 : s.heads;
  finish_sizes(c, s, "num_attention_heads", "hidden_size");
  if (renewed) c.divides("num_kv_heads", s.kv_heads, "num_attention_heads", s.heads);
  s.repeat_kv_by_view = renewed;
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "dense_h_to_4h", "dense_4h_to_h");
  const std::int64_t norms =
      c.maybe_whole({"num_ln_in_parallel_attn"}, 1, 2).value_or(renewed ? 2 : 1);
  s.block = !parallel ? BlockKind::pre : norms == 2 ? BlockKind::parallel_two : BlockKind::parallel;
  if (s.block == BlockKind::parallel_two) {
    s.names.norm1 = "ln_attn";
    s.names.norm2 = "ln_mlp";
  }
  s.qkv_bias = s.o_bias = s.mlp_bias = c.flag({"bias"}, false);
  s.activation = c.activation({"activation"}, "gelu");
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.residual_dropout = c.real({"hidden_dropout"}, 0);
  s.tied = c.flag({"tie_word_embeddings"}, true);
  if (c.flag({"alibi"}, false)) {
    s.positions = Positions::alibi;
  } else {
    s.attention_dropout = 0;  // the class drops under alibi alone
  }
  return writing(std::move(s));
}

/// One word per layer, "full_attention" or "sliding_attention"; empty when the file has none.
std::vector<std::string> read_layer_types(ConfigReader& c, std::int64_t layers) {
  std::vector<std::string> kinds = c.text_list("layer_types");
  static const std::vector<std::string> kKnown = {"full_attention", "sliding_attention"};
  static const std::vector<std::string> kOthers = {"chunked_attention",
                                                   "linear_attention",
                                                   "window_attention",
                                                   "indexed_attention",
                                                   "mamba",
                                                   "conv",
                                                   "hybrid"};
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] == "attention") kinds[i] = kKnown[0];  // as older files say it
    if (std::find(kKnown.begin(), kKnown.end(), kinds[i]) != kKnown.end()) continue;
    const std::string key = "layer_types[" + std::to_string(i) + "]";
    if (std::find(kOthers.begin(), kOthers.end(), kinds[i]) != kOthers.end()) {
      c.fault(key, "'" + kinds[i] + "' is not built here", "capture the model");
    } else {
      c.fault(key, "unknown '" + kinds[i].substr(0, 40) + "'",
              "known here: full_attention, sliding_attention");
    }
    break;
  }
  if (!kinds.empty() && static_cast<std::int64_t>(kinds.size()) != layers) {
    c.fault("layer_types",
            "names " + std::to_string(kinds.size()) + " layers of " + std::to_string(layers));
  }
  return kinds;
}

/// Windows narrow the mask, and PyTorch multiplies what is masked too.
void note_window(ConfigReader& c, std::int64_t layers) {
  const bool asked = c.text({"model_type"}, "").starts_with("qwen");  // off unless switched on
  const bool used = c.flag({"use_sliding_window"}, !asked);
  const std::int64_t window = c.maybe_whole({"sliding_window"}, 0, limits::kPositions).value_or(0);
  const std::vector<std::string> kinds = read_layer_types(c, layers);
  const auto local = std::count(kinds.begin(), kinds.end(), "sliding_attention");
  if (window == 0 || !used || (!kinds.empty() && local == 0)) return;
  c.note("attention in a window of " + std::to_string(window) + " positions" +
         (local > 0 ? " in " + std::to_string(local) + " of " + std::to_string(layers) + " layers"
                    : "") +
         " is counted in full, as PyTorch computes it under a mask");
}

constexpr HfFamily kFamilies[] = {
    {"llama", llama},
    {"mistral", mistral},
    {"qwen2", qwen2},
    {"qwen3", qwen3},
    {"gemma", gemma},
    {"gemma2", gemma2},
    {"gemma3_text", gemma3},
    {"phi", phi},
    {"phi3", phi3},
    {"olmo", olmo},
    {"olmo2", olmo2},
    {"granite", granite},
    {"starcoder2", starcoder2},
    {"stablelm", stablelm},
    {"cohere", cohere},
    {"gpt2", gpt2},
    {"gptj", gptj},
    {"gpt_neox", gpt_neox},
    {"opt", opt},
    {"bloom", bloom},
    {"falcon", falcon},
};

}  // namespace

DecoderSpec read_decoder(ConfigReader& c, const DecoderDefaults& d) {
  DecoderSpec s;
  s.vocab = c.whole({"vocab_size"}, d.vocab, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size"}, d.hidden);
  s.ffn = c.whole({"intermediate_size"}, d.ffn, 1, limits::kFeedForward);
  s.layers = c.whole({"num_hidden_layers"}, d.layers, 1, limits::kLayers);
  s.heads = c.whole({"num_attention_heads"}, d.heads, 1, limits::kHeads);
  s.kv_heads = c.maybe_whole({"num_key_value_heads"}, 1, limits::kHeads)
                   .value_or(d.kv_heads > 0 ? d.kv_heads : s.heads);
  s.max_positions = c.whole({"max_position_embeddings"}, d.max_positions, 1, limits::kPositions);
  const std::int64_t head_dim = c.maybe_whole({"head_dim"}, 1, 1 << 16).value_or(d.head_dim);
  if (head_dim > 0) {
    s.head_dim = head_dim;
  } else if (c.divides("num_attention_heads", s.heads, "hidden_size", s.hidden)) {
    s.head_dim = s.hidden / s.heads;
  }
  c.divides("num_key_value_heads", s.kv_heads, "num_attention_heads", s.heads);
  s.activation = c.activation({"hidden_act", "hidden_activation"}, d.activation);
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.tied = c.flag({"tie_word_embeddings"}, d.tied);
  s.sequence_hint = std::min<std::int64_t>(s.max_positions, 2048);
  note_window(c, s.layers);
  read_head(c, s);
  return s;
}

std::span<const HfFamily> decoder_families() { return kFamilies; }

}  // namespace parallel_opt::hf
