#include <algorithm>

#include "parallel_opt/importers/hf_families.h"

// Decoder-only language models from before llama, each with names of its own for sizes and modules.
// Defaults are those of transformers 5's configuration classes.
namespace parallel_opt::hf {
namespace {

/// GPT-2's sizes under its own names.
void read_gpt_sizes(ConfigReader& c, DecoderSpec& s, const DecoderDefaults& defaults,
                    std::int64_t most_positions) {
  read_named_sizes(c, s, defaults,
                   {{"n_embd", "hidden_size"},
                    {"n_layer", "num_hidden_layers"},
                    {"n_head", "num_attention_heads"},
                    {"n_positions", "max_position_embeddings"},
                    most_positions});
  s.ffn = c.maybe_whole({"n_inner"}, 1, limits::kFeedForward).value_or(4 * s.hidden);
  layer_norms(c, s, {"layer_norm_epsilon"});
}

void gpt_dropouts(ConfigReader& c, DecoderSpec& s, double fallback) {
  s.attention_dropout = c.real({"attn_pdrop"}, fallback);
  s.residual_dropout = c.real({"resid_pdrop"}, fallback);
  s.embed_dropout = c.real({"embd_pdrop"}, fallback);
}

DecoderSpec read_gpt2(ConfigReader& c, std::string_view activation) {
  DecoderSpec s;
  s.names = gpt_names();
  s.names.positions = "wpe";
  s.names.qkv = "c_attn";
  s.names.o = "c_proj";
  read_gpt_sizes(c, s, {50257, 768, 0, 12, 12, 0, 1024, 0, true}, limits::kSequence);
  plain_mlp(s, "c_fc", "c_proj");
  s.positions = Positions::learned;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.activation = c.activation({"activation_function"}, activation);
  gpt_dropouts(c, s, 0.1);
  c.not_built("add_cross_attention", "a decoder of an encoder-decoder model: capture it");
  return s;
}

DecoderSpec gpt2(ConfigReader& c) {
  DecoderSpec s = read_gpt2(c, "gelu_new");
  s.conv1d = true;
  c.ignore({"scale_attn_by_inverse_layer_idx"});  // another number in the same operator
  return s;
}

DecoderSpec gpt_bigcode(ConfigReader& c) {
  DecoderSpec s = read_gpt2(c, "gelu_pytorch_tanh");
  if (c.flag({"multi_query"}, true)) s.kv_heads = 1;
  c.ignore({"num_key_value_heads"});  // 1 or as many as heads, by multi_query
  return s;
}

DecoderSpec gptj(ConfigReader& c) {
  DecoderSpec s;
  s.names = gpt_names();
  s.names.o = "out_proj";
  read_gpt_sizes(c, s, {50400, 4096, 0, 28, 16, 0, 2048, 0, false}, limits::kPositions);
  plain_mlp(s, "fc_in", "fc_out");
  s.block = BlockKind::parallel;
  s.positions = Positions::rotary_interleaved;
  s.rotary_dim = c.whole({"rotary_dim"}, 64, 2);
  if (s.rotary_dim > s.head_dim) c.fault("rotary_dim", "is wider than a head");
  s.table_per_layer = true;
  s.attention = AttentionKind::eager;
  s.mlp_bias = s.head_bias = true;
  s.activation = c.activation({"activation_function"}, "gelu_new");
  gpt_dropouts(c, s, 0);
  return s;
}

/// gptj with one product for queries, keys and values, in four parts.
DecoderSpec codegen(ConfigReader& c) {
  DecoderSpec s = gptj(c);
  s.names.qkv = "qkv_proj";
  c.divides("4 (parts of n_head)", 4, "n_head", s.heads);
  return s;
}

DecoderSpec gpt_neox(ConfigReader& c) {
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
  return s;
}

DecoderSpec opt(ConfigReader& c) {
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
  return s;
}

DecoderSpec bloom(ConfigReader& c) {
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
  return s;
}

DecoderSpec falcon(ConfigReader& c) {
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
  return s;
}

constexpr HfFamily kEarlyDecoderFamilies[] = {
    {"gpt2", gpt2},       {"gpt_bigcode", gpt_bigcode}, {"gptj", gptj},
    {"codegen", codegen}, {"gpt_neox", gpt_neox},       {"opt", opt},
    {"bloom", bloom},     {"falcon", falcon},
};

}  // namespace

void finish_sizes(ConfigReader& c, DecoderSpec& s, std::string_view heads_key,
                  std::string_view hidden_key) {
  if (c.divides(heads_key, s.heads, hidden_key, s.hidden)) s.head_dim = s.hidden / s.heads;
  if (s.kv_heads == 0) s.kv_heads = s.heads;
  s.sequence_hint = std::min<std::int64_t>(s.max_positions, 2048);
  read_head(c, s);
}

void read_named_sizes(ConfigReader& c, DecoderSpec& s, const DecoderDefaults& d,
                      const SizeNames& names) {
  s.vocab = c.whole({"vocab_size"}, d.vocab, 1, limits::kVocabulary);
  s.hidden = c.whole(names.hidden, d.hidden);
  s.layers = c.whole(names.layers, d.layers, 1, limits::kLayers);
  s.heads = c.whole(names.heads, d.heads, 1, limits::kHeads);
  s.max_positions = c.whole(names.positions, d.max_positions, 1, names.most_positions);
  s.tied = c.flag({"tie_word_embeddings"}, d.tied);
  finish_sizes(c, s, *names.heads.begin(), *names.hidden.begin());
}

DecoderNames gpt_names() {
  return {.base = "transformer",
          .embed = "wte",
          .layers = "h",
          .attention = "attn",
          .norm1 = "ln_1",
          .norm2 = "ln_2",
          .final_norm = "ln_f"};
}

std::span<const HfFamily> early_decoder_families() { return kEarlyDecoderFamilies; }

}  // namespace parallel_opt::hf
