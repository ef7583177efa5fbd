#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_families.h"

// Further decoder-only language models. Defaults are those of transformers 5.
namespace parallel_opt::hf {
namespace {

DecoderSpec exaone4(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {102400, 4096, 16384, 32, 32, 32, 2048});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qk_norm = QkNorm::per_head;
  s.block = BlockKind::post_inner;
  s.names.norm1 = "post_attention_layernorm";
  s.names.norm2 = "post_feedforward_layernorm";
  if (s.window > 0) s.layer_turns = s.layer_slides;
  return s;
}

DecoderSpec hunyuan_v1_dense(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {290943, 4096, 11008, 32, 32});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  hunyuan_norms(s);
  c.ignore({"pretraining_tp"});
  return s;
}

DecoderSpec persimmon(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {262144, 4096, 16384, 36, 64, 0, 16384, 0, false, "relu2"});
  layer_norms(c, s, {"layer_norm_eps"});
  plain_mlp(s, "dense_h_to_4h", "dense_4h_to_h");
  s.kv_heads = s.heads;
  s.names.qkv = "query_key_value";
  s.names.o = "dense";
  s.names.final_norm = "final_layernorm";
  s.names.q_norm = "q_layernorm";
  s.names.k_norm = "k_layernorm";
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  if (c.flag({"qk_layernorm"}, true)) s.qk_norm = QkNorm::per_head;
  s.qk_norm_kind = NormKind::layer;
  s.residual_dropout = c.real({"hidden_dropout"}, 0);
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.5);
  return s;
}

DecoderSpec gpt_neo(ConfigReader& c) {
  DecoderSpec s;
  s.names = gpt_names();
  s.names.positions = "wpe";
  s.names.attention = "attn.attention";
  s.names.o = "out_proj";
  read_named_sizes(c, s, {50257, 2048, 0, 24, 16, 0, 2048, 0, true},
                   {{"hidden_size"},
                    {"num_layers", "num_hidden_layers"},
                    {"num_heads", "num_attention_heads"},
                    {"max_position_embeddings"}});
  s.ffn = c.maybe_whole({"intermediate_size"}, 1, limits::kFeedForward).value_or(4 * s.hidden);
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "c_fc", "c_proj");
  s.positions = Positions::learned;
  s.attention = AttentionKind::eager;
  s.o_bias = s.mlp_bias = true;
  s.activation = c.activation({"activation_function"}, "gelu_new");
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.residual_dropout = c.real({"resid_dropout"}, 0);
  s.embed_dropout = c.real({"embed_dropout"}, 0);
  s.head_dropout = c.real({"classifier_dropout"}, 0.1);
  c.ignore({"attention_types", "attention_layers", "window_size"});
  c.note("layers with a window compute all scores under a mask, as in transformers");
  return s;
}

DecoderSpec mpt(ConfigReader& c) {
  DecoderSpec s;
  s.names = {.base = "transformer",
             .embed = "wte",
             .layers = "blocks",
             .attention = "attn",
             .o = "out_proj",
             .qkv = "Wqkv",
             .mlp = "ffn",
             .norm1 = "norm_1",
             .norm2 = "norm_2",
             .final_norm = "norm_f"};
  read_named_sizes(c, s, {50368, 2048, 0, 24, 16, 0, 2048, 0, true},
                   {{"d_model", "hidden_size"},
                    {"n_layers", "num_hidden_layers"},
                    {"n_heads", "num_attention_heads"},
                    {"max_seq_len"}});
  s.ffn = 4 * s.hidden;  // expansion_ratio is read nowhere
  s.norm = NormKind::layer_no_bias;
  s.norm_eps = c.real({"layer_norm_epsilon"}, 1e-5);
  plain_mlp(s, "up_proj", "down_proj");
  s.positions = Positions::alibi;
  s.attention = AttentionKind::eager;
  s.activation = "gelu";
  ConfigReader a = c.object_or_empty("attn_config");
  s.clip_qkv = a.real({"clip_qkv"}, 0);
  s.attention_dropout = s.residual_dropout = a.real({"attn_pdrop"}, 0);
  s.attention_scale = a.real({"softmax_scale"}, 0);
  a.ignore({"attn_type", "attn_impl", "prefix_lm", "qk_ln", "attn_uses_sequence_id", "alibi",
            "alibi_bias_max"});
  c.ignore({"expansion_ratio", "learned_pos_emb", "logit_scale", "no_bias", "norm_type",
            "embedding_fraction", "emb_pdrop", "resid_pdrop"});  // read nowhere either
  return s;
}

DecoderSpec biogpt(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {42384, 1024, 4096, 24, 16, 0, 1024, 0, true, "gelu"});
  s.names.base = "biogpt";
  s.names.positions = "embed_positions";
  s.names.o = "out_proj";
  s.names.mlp = "";
  s.names.norm1 = "self_attn_layer_norm";
  s.names.norm2 = "final_layer_norm";
  s.names.final_norm = "layer_norm";
  s.names.head = "output_projection";
  layer_norms(c, s, {"layer_norm_eps"});
  plain_mlp(s, "fc1", "fc2");
  s.kv_heads = s.heads;
  s.position_offset = 2;
  s.positions = Positions::learned;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  if (c.flag({"scale_embedding"}, true)) {
    s.embed_scale = std::sqrt(static_cast<double>(s.hidden));
  }
  s.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0.1);
  s.residual_dropout = s.embed_dropout = c.real({"hidden_dropout_prob"}, 0.1);
  c.ignore({"activation_dropout"});
  return s;
}

/// The text of Qwen's models that see; qwen2 and qwen3 with other defaults.
DecoderSpec glm4v_text(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {151552, 4096, 13696, 40, 32, 2, 32768});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.names.gate_up = "gate_up_proj";
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = true;
  if (c.divides("num_attention_heads", s.heads, "hidden_size", s.hidden)) {
    s.head_dim = s.hidden / s.heads;
  }
  partly_rotary(c, s, {"partial_rotary_factor"}, 1);
  norms_on_both_sides(s);
  c.ignore({"attention_bias"});
  return s;
}

DecoderSpec qwen2_vl_text(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {152064, 8192, 29568, 80, 64, 8, 32768});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = true;
  return s;
}

DecoderSpec qwen3_vl_text(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {151936, 4096, 22016, 32, 32, 32, 128000, 128});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  return s;
}

constexpr HfFamily kFurtherDecoderFamilies[] = {
    {"glm4v_text", glm4v_text},
    {"qwen2_vl_text", qwen2_vl_text},
    {"qwen2_5_vl_text", qwen2_vl_text},
    {"qwen3_vl_text", qwen3_vl_text},
    {"exaone4", exaone4},
    {"hunyuan_v1_dense", hunyuan_v1_dense},
    {"gpt_neo", gpt_neo},
    {"persimmon", persimmon},
    {"mpt", mpt},
    {"biogpt", biogpt},
};

}  // namespace

void hunyuan_norms(DecoderSpec& s) {
  s.qk_norm = QkNorm::per_head;
  s.qk_norm_after = true;
  s.names.q_norm = "query_layernorm";
  s.names.k_norm = "key_layernorm";
}

std::span<const HfFamily> further_decoder_families() { return kFurtherDecoderFamilies; }

}  // namespace parallel_opt::hf
