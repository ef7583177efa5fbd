#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_families.h"

// Decoder-only language models: how each family's config.json fills a DecoderSpec. Defaults are
// those of transformers 5's configuration classes.
namespace parallel_opt::hf {
namespace {

/// Heads that some families lack in transformers, and names that differ.
struct HeadTraits {
  std::string_view type;
  bool tokens = true, questions = true;
  const char* token_head = "score";
  const char* question_base = "";
  const char* class_head = "score";  ///< nullptr: sentences are not classified
  bool masked = false;               ///< words are filled in, not continued
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
    {.type = "cohere2", .tokens = false, .questions = false},
    {.type = "olmoe", .tokens = false, .questions = false},
    {.type = "smollm3", .question_base = "transformer"},
    {.type = "ministral", .question_base = "transformer"},
    {.type = "arcee", .question_base = "transformer"},
    {.type = "seed_oss", .question_base = "transformer"},
    {.type = "glm", .questions = false},
    {.type = "glm4", .questions = false},
    {.type = "helium", .questions = false},
    {.type = "ernie4_5", .tokens = false, .questions = false},
    {.type = "olmo3", .tokens = false, .questions = false},
    {.type = "deepseek_v2", .tokens = false, .questions = false},
    {.type = "granitemoe", .tokens = false, .questions = false},
    {.type = "granitemoeshared", .tokens = false, .questions = false},
    {.type = "phimoe", .tokens = false, .questions = false},
    {.type = "glm4_moe", .tokens = false, .questions = false},
    {.type = "dots1", .tokens = false, .questions = false},
    {.type = "ernie4_5_moe", .tokens = false, .questions = false},
    {.type = "hunyuan_v1_dense", .tokens = false, .questions = false},
    {.type = "hunyuan_v1_moe", .tokens = false, .questions = false},
    {.type = "flex_olmo", .tokens = false, .questions = false},
    {.type = "llama4_text", .tokens = false, .questions = false},
    {.type = "codegen", .tokens = false, .questions = false},
    {.type = "qwen3_next", .question_base = "transformer"},
    {.type = "qwen3_5_text", .tokens = false, .questions = false},
    {.type = "qwen3_5_moe_text", .tokens = false, .questions = false},
    {.type = "bamba", .tokens = false, .questions = false},
    {.type = "granitemoehybrid", .tokens = false, .questions = false},
    {.type = "jamba", .tokens = false, .questions = false},
    {.type = "lfm2", .tokens = false, .questions = false},
    {.type = "gpt_oss", .questions = false},
    {.type = "persimmon", .questions = false},
    {.type = "gpt_bigcode", .questions = false, .token_head = "classifier"},
    {.type = "biogpt", .questions = false, .token_head = "classifier"},
    {.type = "gpt_neo", .token_head = "classifier"},
    {.type = "mpt", .token_head = "classifier"},
    {.type = "exaone4", .question_base = "transformer"},
    {.type = "minimax_m2", .question_base = "transformer"},
    {.type = "apertus", .questions = false, .class_head = nullptr},
    {.type = "vaultgemma", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "cwm", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "jais2", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "hyperclovax", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "nanochat", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "bitnet", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "granite_swa", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "xglm", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "youtu", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "glm4_moe_lite", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "exaone_moe", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "solar_open", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "lfm2_moe", .tokens = false, .questions = false, .class_head = nullptr},
    {.type = "ctrl", .tokens = false, .questions = false, .class_head = "classifier"},
    {.type = "minicpm3", .tokens = false, .questions = false},
    {.type = "openai-gpt", .tokens = false, .questions = false},
    {.type = "eurobert", .token_head = "classifier", .masked = true},
    {.type = "internlm3", .question_base = "transformer"},
    {.type = "iquestcoder", .question_base = "transformer"},
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
  if (traits.masked) {
    const HeadKind head = c.head(HeadKind::masked_lm, {HeadKind::masked_lm, kBase, kTokens});
    return head == HeadKind::masked_lm ? kLm : head;
  }
  if (traits.class_head == nullptr) {
    return traits.tokens ? c.head(kLm, {kLm, kBase, kTokens}) : c.head(kLm, {kLm, kBase});
  }
  if (traits.tokens && traits.questions)
    return c.head(kLm, {kLm, kBase, kClass, kTokens, kQuestions});
  if (traits.tokens) return c.head(kLm, {kLm, kBase, kClass, kTokens});
  if (traits.questions) return c.head(kLm, {kLm, kBase, kClass, kQuestions});
  return c.head(kLm, {kLm, kBase, kClass});
}

DecoderSpec read_llama(ConfigReader& c, const DecoderDefaults& d) {
  DecoderSpec s = read_decoder(c, d);
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  return s;
}

DecoderSpec llama(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 11008, 32, 32});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  return s;
}

DecoderSpec mistral(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 14336, 32, 32, 8, 131072});
  return s;
}

DecoderSpec qwen2(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {151936, 4096, 22016, 32, 32, 32, 32768});
  s.qkv_bias = true;
  return s;
}

DecoderSpec qwen3(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {151936, 4096, 22016, 32, 32, 32, 32768, 128});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  return s;
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

DecoderSpec gemma(ConfigReader& c) {
  return read_gemma(c, {256000, 3072, 24576, 28, 16, 16, 8192, 256, true, "gelu_pytorch_tanh"});
}

void sandwiched(ConfigReader& c, DecoderSpec& s, double attention_cap, double logit_cap) {
  s.block = BlockKind::sandwich;
  s.attention_scale = 1 / std::sqrt(std::max(c.real({"query_pre_attn_scalar"}, 256), 1e-6));
  s.softcap = c.real({"attn_logit_softcapping"}, attention_cap);
  s.logit_softcap = c.real({"final_logit_softcapping"}, logit_cap);
  if (s.softcap > 0) s.attention = AttentionKind::eager;
}

DecoderSpec gemma2(ConfigReader& c) {
  DecoderSpec s =
      read_gemma(c, {256000, 2304, 9216, 26, 8, 4, 8192, 256, true, "gelu_pytorch_tanh"});
  sandwiched(c, s, 50, 30);
  return s;
}

/// gemma2 without the norms behind each half.
DecoderSpec vaultgemma(ConfigReader& c) {
  DecoderSpec s = gemma2(c);
  s.block = BlockKind::pre;
  s.names.norm2 = "pre_feedforward_layernorm";
  return s;
}

DecoderSpec gemma3(ConfigReader& c) {
  DecoderSpec s =
      read_gemma(c, {262208, 2304, 9216, 26, 8, 4, 131072, 256, true, "gelu_pytorch_tanh"});
  sandwiched(c, s, 0, 0);
  s.qk_norm = QkNorm::per_head;
  s.qk_norm_kind = NormKind::rms_plus1;
  s.two_rotary = true;
  s.layer_is_local = s.layer_slides;
  return s;
}

DecoderSpec phi(ConfigReader& c) {
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
  return s;
}

DecoderSpec phi3(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32064, 3072, 8192, 32, 32, 0, 4096});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.names.qkv = "qkv_proj";
  s.names.gate_up = "gate_up_proj";
  s.residual_dropout = c.real({"resid_pdrop"}, 0);
  c.ignore({"embd_pdrop"});  // transformers 5 reads it and uses it nowhere
  partly_rotary(c, s, {"partial_rotary_factor"}, 1);
  return s;
}

DecoderSpec olmo(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50304, 4096, 11008, 32, 32});
  s.norm = NormKind::layer_plain;
  s.norm_eps = 1e-5;
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.clip_qkv = c.real({"clip_qkv"}, 0);
  return s;
}

DecoderSpec olmo2(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50304, 4096, 11008, 32, 32});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::whole;
  s.block = BlockKind::post_inner;
  s.names.norm1 = "post_attention_layernorm";
  s.names.norm2 = "post_feedforward_layernorm";
  return s;
}

DecoderSpec granite(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 11008, 32, 32});
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  granite_scales(c, s);
  return s;
}

DecoderSpec starcoder2(ConfigReader& c) {
  DecoderSpec s =
      read_decoder(c, {49152, 3072, 12288, 30, 24, 2, 4096, 0, true, "gelu_pytorch_tanh"});
  layer_norms(c, s, {"norm_epsilon"});
  plain_mlp(s, "c_fc", "c_proj");
  s.qkv_bias = s.o_bias = s.mlp_bias = c.flag({"use_bias"}, true);
  s.residual_dropout = c.real({"residual_dropout"}, 0);
  s.embed_dropout = c.real({"embedding_dropout"}, 0);
  return s;
}

DecoderSpec stablelm(ConfigReader& c) {
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
  return s;
}

DecoderSpec cohere(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {256000, 8192, 22528, 40, 64, 0, 8192, 0, true});
  s.norm = NormKind::layer_parts;
  s.norm_eps = c.real({"layer_norm_eps"}, 1e-5);
  s.block = BlockKind::parallel;
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  if (c.flag({"use_qk_norm"}, false)) s.qk_norm = QkNorm::head_table;
  s.logit_scale = c.real({"logit_scale"}, 0.0625);
  return s;
}

DecoderSpec cohere2(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {256000, 8192, 22528, 40, 64, 0, 8192, 0, true});
  s.norm = NormKind::layer_parts;
  s.norm_eps = c.real({"layer_norm_eps"}, 1e-5);
  s.block = BlockKind::parallel;
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.logit_scale = c.real({"logit_scale"}, 0.0625);
  s.layer_turns = s.layer_slides;
  return s;
}

DecoderSpec smollm3(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {128256, 2048, 11008, 36, 16, 4, 32768, 0, true});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  const std::vector<std::int64_t> turned = c.whole_list("no_rope_layers");  // 1: it has them
  const std::int64_t interval = c.whole({"no_rope_layer_interval"}, 4);
  if (!turned.empty() && static_cast<std::int64_t>(turned.size()) != s.layers) {
    c.fault("no_rope_layers",
            "names " + std::to_string(turned.size()) + " layers of " + std::to_string(s.layers));
  }
  s.layer_turns = [turned, interval](std::int64_t i) {
    if (turned.empty()) return (i + 1) % interval != 0;
    return turned.at(static_cast<std::size_t>(i)) != 0;
  };
  if (!c.has("layer_types")) {
    s.layer_slides = [turns = s.layer_turns](std::int64_t i) { return !turns(i); };
  }
  return s;
}

DecoderSpec ministral(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {32000, 4096, 14336, 32, 32, 8, 131072});
  return s;
}

DecoderSpec arcee(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32000, 2560, 18432, 32, 32, 0, 4096, 0, false, "relu2"});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  plain_mlp(s, "up_proj", "down_proj");
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  return s;
}

DecoderSpec seed_oss(ConfigReader& c) {
  DecoderSpec s = read_llama(c, {155136, 4096, 27648, 64, 80, 8, 524288, 128});
  s.qkv_bias = c.flag({"attention_bias"}, true);
  s.o_bias = c.flag({"attention_out_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.attention_dropout = c.real({"attention_dropout"}, 0.1);
  s.residual_dropout = c.real({"residual_dropout"}, 0.1);
  c.ignore({"pretraining_tp"});
  return s;
}

DecoderSpec glm(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {151552, 4096, 13696, 40, 32, 2, 131072, 128});
  s.norm_eps = c.real({"rms_norm_eps"}, 1.5625e-7);
  s.names.gate_up = "gate_up_proj";
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = c.flag({"attention_bias"}, true);
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.5);
  return s;
}

DecoderSpec glm4(ConfigReader& c) {
  DecoderSpec s = glm(c);
  norms_on_both_sides(s);
  return s;
}

DecoderSpec nemotron(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {256000, 6144, 24576, 32, 48, 0, 4096, 0, false, "relu2"});
  layer_norms(c, s, {"norm_eps"});
  plain_mlp(s, "up_proj", "down_proj");
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  partly_rotary(c, s, {"partial_rotary_factor", "rope_percent"}, 0.5);
  return s;
}

DecoderSpec ernie4_5(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {103424, 1024, 3072, 18, 16, 2, 131072, 128, true});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = s.o_bias = s.mlp_bias = c.flag({"use_bias"}, false);
  return s;
}

DecoderSpec helium(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {48000, 2560, 7040, 24, 20, 20, 4096, 128});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-8);
  if (s.heads * s.head_dim != s.hidden) {
    c.fault("head_dim", "heads must be hidden_size wide together", "o_proj is a square");
  }
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  return s;
}

DecoderSpec olmo3(ConfigReader& c) {
  DecoderSpec s = olmo2(c);
  s.two_rotary = true;
  s.layer_is_local = s.layer_slides;
  return s;
}

constexpr HfFamily kDecoderFamilies[] = {
    {"llama", llama},
    {"mistral", mistral},
    {"qwen2", qwen2},
    {"qwen3", qwen3},
    {"gemma", gemma},
    {"gemma2", gemma2},
    {"vaultgemma", vaultgemma},
    {"gemma3_text", gemma3},
    {"phi", phi},
    {"phi3", phi3},
    {"olmo", olmo},
    {"olmo2", olmo2},
    {"granite", granite},
    {"starcoder2", starcoder2},
    {"stablelm", stablelm},
    {"cohere", cohere},
    {"cohere2", cohere2},
    {"smollm3", smollm3},
    {"ministral", ministral},
    {"arcee", arcee},
    {"seed_oss", seed_oss},
    {"glm", glm},
    {"glm4", glm4},
    {"nemotron", nemotron},
    {"ernie4_5", ernie4_5},
    {"helium", helium},
    {"olmo3", olmo3},
};

}  // namespace

void norms_on_both_sides(DecoderSpec& s) {
  s.block = BlockKind::sandwich;
  s.names.norm1_after = "post_self_attn_layernorm";
  s.names.norm2_before = "post_attention_layernorm";
  s.names.norm2_after = "post_mlp_layernorm";
}

std::function<Graph(GraphWriter&)> writing(DecoderSpec spec) {
  return [spec = std::move(spec)](GraphWriter& w) {
    note_windows(w, spec);
    return build_decoder(w, spec);
  };
}

void read_head(ConfigReader& c, DecoderSpec& s) {
  const HeadTraits traits = head_traits(c.text({"model_type"}, ""));
  s.names.token_head = traits.token_head;
  if (traits.class_head != nullptr) s.names.class_head = traits.class_head;
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

void check_rotary(ConfigReader& c, const DecoderSpec& s) {
  const bool turns = s.positions == Positions::rotary ||
                     s.positions == Positions::rotary_interleaved ||
                     s.positions == Positions::rotary_complex;
  const std::int64_t width = s.latent           ? s.latent->rope
                             : s.rotary_dim > 0 ? s.rotary_dim
                                                : s.head_dim;
  if (!turns || c.failed() || (width >= 2 && width % 2 == 0)) return;
  c.fault(s.latent ? "qk_rope_head_dim" : "head_dim",
          std::to_string(width) + " numbers of a head are rotated", "an even number can be");
}

void partly_rotary(ConfigReader& c, DecoderSpec& s, ConfigReader::Keys keys, double fallback) {
  s.rotary_dim =
      static_cast<std::int64_t>(static_cast<double>(s.head_dim) * c.rotary_share(keys, fallback));
  if (s.rotary_dim < 2) c.fault(*keys.begin(), "leaves nothing of the heads to rotate");
}

void granite_scales(ConfigReader& c, DecoderSpec& s) {
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.embed_scale = c.real({"embedding_multiplier"}, 1);
  s.residual_scale = c.real({"residual_multiplier"}, 1);
  s.attention_scale = c.real({"attention_multiplier"}, 1);
  s.logit_scale = 1 / std::max(c.real({"logits_scaling"}, 1), 1e-6);
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
  read_windows(c, s);
  read_head(c, s);
  return s;
}

std::span<const HfFamily> decoder_families() { return kDecoderFamilies; }

}  // namespace parallel_opt::hf
