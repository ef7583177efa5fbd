#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_families.h"

// Decoders that are llama, granite, gemma2 or GPT-2 but for a norm, an activation or names.
// Defaults are those of transformers 5.
namespace parallel_opt::hf {
namespace {

DecoderSpec llama_kin(ConfigReader& c, const DecoderDefaults& d, double eps) {
  DecoderSpec s = read_decoder(c, d);
  s.norm_eps = c.real({"rms_norm_eps"}, eps);
  return s;
}

DecoderSpec apertus(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {131072, 4096, 14336, 32, 32, 0, 65536, 0, false, "xielu"}, 1e-5);
  plain_mlp(s, "up_proj", "down_proj");
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  s.names.norm1 = "attention_layernorm";
  s.names.norm2 = "feedforward_layernorm";
  return s;
}

DecoderSpec bitnet(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {128256, 2560, 6912, 30, 20, 5, 2048, 0, false, "relu2"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.names.before_o = "attn_sub_norm";
  s.names.before_down = "ffn_sub_norm";
  if (s.heads * s.head_dim != s.hidden) {
    c.fault("head_dim", "heads must be hidden_size wide together", "a norm of that width follows");
  }
  return s;
}

DecoderSpec cwm(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {128256, 6144, 21504, 64, 48, 8, 131072, 128}, 1e-5);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  return s;
}

DecoderSpec internlm3(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {128512, 4096, 10240, 48, 32, 2, 32768, 128}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias", "qkv_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias", "bias"}, false);
  if (s.qkv_bias != s.mlp_bias) {
    c.fault("attention_bias", "must be what mlp_bias is", "transformers has no other internlm3");
  }
  return s;
}

DecoderSpec iquestcoder(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {76800, 5120, 27648, 80, 40, 8, 131072, 128}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  for (const char* key : {"clip_qkv", "use_sliding_window"}) {
    c.not_built(key, "nor has transformers it");
  }
  return s;
}

DecoderSpec ministral3(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {131072, 4096, 14336, 34, 32, 8, 262144, 128}, 1e-5);
  s.all_tempered = true;
  return s;
}

DecoderSpec eurobert(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {128256, 768, 3072, 12, 12, 0, 8192}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = s.head_bias = c.flag({"mlp_bias"}, false);
  s.causal = false;
  c.ignore({"classifier_pooling"});  // of a head that is not built
  return s;
}

DecoderSpec jais2(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {150272, 3328, 26624, 32, 26, 0, 8192, 0, false, "relu2"});
  layer_norms(c, s, {"layer_norm_eps"});
  plain_mlp(s, "up_proj", "down_proj");
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, true);
  s.mlp_bias = c.flag({"mlp_bias"}, true);
  return s;
}

DecoderSpec nanochat(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {50304, 768, 8192, 12, 6, 0, 2048, 0, false, "relu2"}, 1e-6);
  plain_mlp(s, "fc1", "fc2");
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.norm = s.qk_norm_kind = NormKind::rms_plain;
  s.qk_norm = QkNorm::per_head;
  s.qk_norm_after = true;
  s.names.embed_norm = "norm";
  s.logit_softcap = c.real({"final_logit_softcapping"}, 15);
  return s;
}

DecoderSpec granite_swa(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {100352, 2560, 8192, 24, 20, 4, 8192, 0, true}, 1e-5);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  granite_scales(c, s);
  s.attention = AttentionKind::eager;
  s.sinks = true;
  c.ignore({"layer_rope_theta"});  // other numbers in the same tables
  return s;
}

DecoderSpec hyperclovax(ConfigReader& c) {
  DecoderSpec s = llama_kin(c, {32000, 4096, 11008, 32, 32}, 1e-6);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  granite_scales(c, s);
  s.attention_scale = c.real({"attention_multiplier"}, 0);
  if (c.flag({"use_post_norm"}, true)) {
    s.block = BlockKind::sandwich;
    s.names.norm1_after = "post_norm1";
    s.names.norm2_before = "post_attention_layernorm";
    s.names.norm2_after = "post_norm2";
  }
  return s;
}

/// A file that states no head_dim has the sum of two widths as such.
DecoderSpec latent_kin(ConfigReader& c, const DecoderDefaults& d, const LatentAttention& usual,
                       double eps) {
  c.ignore({"qk_head_dim"});
  DecoderSpec s = llama_kin(c, d, eps);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.latent = read_latent(c, usual);
  c.ignore({"embedding_initializer_range", "pretraining_tp"});
  return s;
}

DecoderSpec youtu(ConfigReader& c) {
  const LatentAttention usual{.q_rank = 1536,
                              .kv_rank = 512,
                              .nope = 128,
                              .rope = 64,
                              .value = 128,
                              .interleaved = c.flag({"rope_interleave"}, true)};
  return latent_kin(c, {128256, 2048, 6144, 32, 16, 16, 131072, 64, true}, usual, 1e-6);
}

DecoderSpec minicpm3(ConfigReader& c) {
  const std::int64_t hidden = c.whole({"hidden_size"}, 2560);
  const std::int64_t heads = c.whole({"num_attention_heads"}, 40, 1, limits::kHeads);
  c.divides("num_attention_heads", heads, "hidden_size", hidden);
  const LatentAttention usual{.q_rank = 768,
                              .kv_rank = 256,
                              .nope = 64,
                              .rope = 32,
                              .value = std::max<std::int64_t>(hidden / heads, 1),
                              .interleaved = false};
  DecoderSpec s = latent_kin(c, {73448, 2560, 6400, 62, 40, 0, 32768, 32, true}, usual, 1e-5);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.embed_scale_buffer = true;
  const double deep = std::sqrt(static_cast<double>(s.layers));
  s.residual_scale = c.real({"scale_depth"}, 1.4) / deep;
  s.head_scale = 1;
  c.ignore({"scale_emb", "dim_model_base"});  // numbers in the same operators
  return s;
}

DecoderSpec xglm(ConfigReader& c) {
  DecoderSpec s;
  s.names.positions = "embed_positions.weights";
  s.names.o = "out_proj";
  s.names.mlp = "";
  s.names.norm1 = "self_attn_layer_norm";
  s.names.norm2 = "final_layer_norm";
  s.names.final_norm = "layer_norm";
  read_named_sizes(c, s, {256008, 1024, 0, 24, 16, 0, 2048, 0, true},
                   {{"d_model", "hidden_size"},
                    {"num_layers", "num_hidden_layers"},
                    {"attention_heads", "num_attention_heads"},
                    {"max_position_embeddings"}});
  s.ffn = c.whole({"ffn_dim"}, 4096, 1, limits::kFeedForward);
  s.norm = NormKind::layer;
  s.norm_eps = 1e-5;
  plain_mlp(s, "fc1", "fc2");
  s.position_offset = 2;
  s.positions = Positions::stored;
  s.attention = AttentionKind::eager;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.activation = c.activation({"activation_function"}, "gelu");
  if (c.flag({"scale_embedding"}, true)) s.embed_scale = std::sqrt(static_cast<double>(s.hidden));
  s.attention_dropout = c.real({"attention_dropout"}, 0.1);
  s.residual_dropout = s.embed_dropout = c.real({"dropout"}, 0.1);
  c.ignore({"activation_dropout"});
  c.not_built("add_cross_attention", "a decoder of an encoder-decoder model: capture it");
  return s;
}

DecoderSpec ctrl(ConfigReader& c) {
  DecoderSpec s;
  s.names = {.base = "transformer",
             .embed = "w",
             .positions = "pos_encoding",
             .layers = "h",
             .attention = "multi_head_attention",
             .q = "Wq",
             .k = "Wk",
             .v = "Wv",
             .o = "dense",
             .mlp = "ffn",
             .norm1 = "layernorm1",
             .norm2 = "layernorm2",
             .final_norm = "layernorm"};
  read_named_sizes(c, s, {246534, 1280, 0, 48, 16, 0, 256, 0, true},
                   {{"n_embd", "hidden_size"},
                    {"n_layer", "num_hidden_layers"},
                    {"n_head", "num_attention_heads"},
                    {"n_positions", "max_position_embeddings"}});
  s.ffn = c.whole({"dff"}, 8192, 1, limits::kFeedForward);
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "0", "2");
  s.positions = Positions::stored;
  s.qkv_bias = s.o_bias = s.mlp_bias = s.head_bias = true;
  s.activation = "relu";
  s.embed_scale = std::sqrt(static_cast<double>(s.hidden));
  s.residual_dropout = c.real({"resid_pdrop"}, 0.1);
  s.embed_dropout = c.real({"embd_pdrop"}, 0.1);
  return s;
}

DecoderSpec openai_gpt(ConfigReader& c) {
  DecoderSpec s;
  s.names = gpt_names();
  s.names.embed = "tokens_embed";
  s.names.positions = "positions_embed";
  s.names.qkv = "c_attn";
  s.names.o = "c_proj";
  read_named_sizes(c, s, {40478, 768, 0, 12, 12, 0, 512, 0, true},
                   {{"n_embd", "hidden_size"},
                    {"n_layer", "num_hidden_layers"},
                    {"n_head", "num_attention_heads"},
                    {"n_positions", "max_position_embeddings"}});
  s.ffn = 4 * s.hidden;
  layer_norms(c, s, {"layer_norm_epsilon"});
  plain_mlp(s, "c_fc", "c_proj");
  s.block = BlockKind::post;
  s.final_norm = false;
  s.positions = Positions::learned;
  s.attention = AttentionKind::eager;
  s.conv1d = s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.activation = c.choice({"afn"}, "gelu", {"gelu", "relu", "silu", "swish"});
  if (s.activation == "gelu") s.activation = "gelu_new";  // as the class reads it
  s.attention_dropout = c.real({"attn_pdrop"}, 0.1);
  s.residual_dropout = c.real({"resid_pdrop"}, 0.1);
  s.embed_dropout = c.real({"embd_pdrop"}, 0.1);
  c.ignore({"summary_activation", "summary_use_proj", "summary_type", "summary_proj_to_labels"});
  return s;
}

constexpr HfFamily kDecoderKinFamilies[] = {
    {"apertus", apertus},
    {"bitnet", bitnet},
    {"cwm", cwm},
    {"internlm3", internlm3},
    {"iquestcoder", iquestcoder},
    {"ministral3", ministral3},
    {"eurobert", eurobert},
    {"jais2", jais2},
    {"nanochat", nanochat},
    {"granite_swa", granite_swa},
    {"hyperclovax", hyperclovax},
    {"youtu", youtu},
    {"minicpm3", minicpm3},
    {"xglm", xglm},
    {"ctrl", ctrl},
    {"openai-gpt", openai_gpt},
};

}  // namespace

std::span<const HfFamily> decoder_kin_families() { return kDecoderKinFamilies; }

}  // namespace parallel_opt::hf
