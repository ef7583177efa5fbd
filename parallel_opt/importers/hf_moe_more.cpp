#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_families.h"

// Further decoders with a mixture of experts. Defaults are those of transformers 5.
namespace parallel_opt::hf {
namespace {

/// A number that transformers has no default for.
std::int64_t stated(ConfigReader& c, std::string_view key, std::int64_t max) {
  const std::optional<std::int64_t> value = c.maybe_whole({key}, 1, max);
  if (!value) c.fault(key, "is missing", "transformers has no default for it");
  return value.value_or(2);
}

DecoderSpec granitemoe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32000, 4096, 11008, 32, 32});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  granite_scales(c, s);
  MixtureOfExperts m =
      read_mixture(c, {{"num_local_experts"}, 8, {"num_experts_per_tok"}, 2}, s.ffn);
  m.router = RouterKind::top_softmax;
  m.router_name = "router";
  s.names.mlp = "block_sparse_moe";
  s.moe = m;
  return s;
}

DecoderSpec granitemoeshared(ConfigReader& c) {
  DecoderSpec s = granitemoe(c);
  s.shared_ffn = c.whole({"shared_intermediate_size"}, 0, 0, limits::kFeedForward);
  s.names.gate_up = "input_linear";
  s.names.down = "output_linear";
  return s;
}

DecoderSpec phimoe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32064, 4096, 6400, 32, 32, 8, 131072});
  layer_norms(c, s, {"rms_norm_eps"});
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.head_bias = c.flag({"lm_head_bias"}, false);
  MixtureOfExperts m =
      read_mixture(c, {{"num_local_experts"}, 16, {"num_experts_per_tok"}, 2}, s.ffn);
  if (m.top_k != 2) {
    c.fault("num_experts_per_tok", "is " + std::to_string(m.top_k) + ": the router picks 2");
  }
  m.router = RouterKind::sparse_mixer;
  m.router_name = "router";
  s.moe = m;
  c.ignore({"router_jitter_noise", "input_jitter_noise"});
  return s;
}

DecoderSpec read_glm4_moe(ConfigReader& c, const DecoderDefaults& d, bool bias) {
  DecoderSpec s = read_decoder(c, d);
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = c.flag({"attention_bias"}, bias);
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.5);
  MixtureOfExperts m =
      read_mixture(c, {{"n_routed_experts", "num_local_experts"}, 128, {"num_experts_per_tok"}, 8},
                   c.whole({"moe_intermediate_size"}, 1408, 1, limits::kFeedForward));
  m.renormalise = c.flag({"norm_topk_prob"}, true);
  grouped_mixture(c, s, m, c.whole({"n_shared_experts"}, 1, 1, 64));
  dense_before(c, s, 1);
  return s;
}

DecoderSpec glm4_moe(ConfigReader& c) {
  DecoderSpec s = read_glm4_moe(c, {151552, 4096, 10944, 46, 96, 8, 131072}, false);
  if (c.flag({"use_qk_norm"}, false)) s.qk_norm = QkNorm::per_head;
  return s;
}

DecoderSpec glm4v_moe_text(ConfigReader& c) {
  return read_glm4_moe(c, {151424, 4096, 10944, 46, 96, 8, 65536}, true);
}

DecoderSpec dots1(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {152064, 4608, 10944, 62, 32, 32, 2048});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  MixtureOfExperts m;
  m.experts = stated(c, "n_routed_experts", limits::kExperts);
  m.top_k = stated(c, "num_experts_per_tok", limits::kExperts);
  m.ffn = c.whole({"moe_intermediate_size"}, 1408, 1, limits::kFeedForward);
  m.renormalise = c.flag({"norm_topk_prob"}, false);
  check_choice(c, m, "n_routed_experts");
  grouped_mixture(c, s, m, stated(c, "n_shared_experts", 64));
  dense_before(c, s, 0);
  return s;
}

DecoderSpec ernie4_5_moe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {103424, 2560, 12288, 28, 20, 4, 131072, 0, true});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.positions = Positions::rotary_interleaved;
  s.qkv_bias = s.o_bias = s.mlp_bias = s.head_bias = c.flag({"use_bias"}, false);
  MixtureOfExperts m =
      read_mixture(c, {{"moe_num_experts", "num_experts"}, 64, {"moe_k", "num_experts_per_tok"}, 6},
                   c.whole({"moe_intermediate_size"}, 1536, 1, limits::kFeedForward));
  m.shared_ffn = m.ffn * c.whole({"moe_num_shared_experts"}, 2, 0, 64);
  m.router = RouterKind::softmax_corrected;
  m.router_fp32 = m.router_weight_fp32 = m.renormalise = true;
  s.moe = m;
  c.ignore({"moe_norm_min"});
  const std::int64_t first = c.whole({"moe_layer_start_index"}, 1, 0, limits::kLayers);
  const std::int64_t end = c.whole({"moe_layer_end_index"}, -1, -1, limits::kLayers);
  const std::int64_t step = c.whole({"moe_layer_interval"}, 1, 1, limits::kLayers);
  s.layer_has_experts = [first, end, step](std::int64_t i) {
    return (i + 1) % step == 0 && i >= first && (end < 0 || i <= end);
  };
  return s;
}

DecoderSpec hunyuan_v1_moe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {290943, 4096, 11008, 32, 32});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  hunyuan_norms(s);
  MixtureOfExperts m = read_mixture(
      c, {{"num_experts", "num_local_experts"}, 1, {"moe_topk", "num_experts_per_tok"}, 1}, s.ffn);
  m.shared_ffn = s.ffn;
  m.shared_name = "shared_mlp";
  m.router_name = "gate.wg";
  m.router_fp32 = m.router_weight_fp32 = m.renormalise = true;
  s.moe = m;
  c.ignore({"pretraining_tp"});
  return s;
}

DecoderSpec minimax_m2(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {200064, 3072, 1536, 62, 48, 8, 196608, 128});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qk_norm = QkNorm::whole;
  if (c.has("rotary_dim")) {
    s.rotary_dim = c.whole({"rotary_dim"}, s.head_dim, 2);
    if (s.rotary_dim > s.head_dim) c.fault("rotary_dim", "is wider than a head");
  } else {
    partly_rotary(c, s, {"partial_rotary_factor"}, 1);
  }
  MixtureOfExperts m = read_mixture(
      c, {{"num_local_experts", "num_experts"}, 256, {"num_experts_per_tok"}, 8}, s.ffn);
  m.router = RouterKind::sigmoid_top;
  m.renormalise = true;
  s.moe = m;
  c.ignore({"router_jitter_noise"});
  return s;
}

DecoderSpec gpt_oss(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {201088, 2880, 2880, 36, 64, 8, 131072, 64});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, true);
  s.attention = AttentionKind::eager;
  s.sinks = true;
  MixtureOfExperts m = read_mixture(
      c, {{"num_local_experts", "num_experts"}, 128, {"num_experts_per_tok"}, 4}, s.ffn);
  m.router = RouterKind::top_softmax;
  m.router_name = "router";
  m.router_bias = m.expert_bias = m.transposed = m.clamped = true;
  s.moe = m;
  c.ignore({"swiglu_alpha", "swiglu_limit", "initial_context_length"});
  return s;
}

DecoderSpec flex_olmo(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {100352, 4096, 11008, 32, 32, 0, 4096});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::whole;
  s.block = BlockKind::post_inner;
  s.names.norm1 = "post_attention_layernorm";
  s.names.norm2 = "post_feedforward_layernorm";
  MixtureOfExperts m =
      read_mixture(c, {{"num_experts", "num_local_experts"}, 7, {"num_experts_per_tok"}, 5}, s.ffn);
  m.renormalise = c.flag({"norm_topk_prob"}, false);
  s.moe = m;
  return s;
}

/// Which layers rotate: 1 in the list, or all but every so manieth.
void llama4_layers(ConfigReader& c, DecoderSpec& s) {
  const std::vector<std::int64_t> turned = c.whole_list("no_rope_layers");
  const std::int64_t interval = c.whole({"no_rope_layer_interval"}, 4);
  if (!turned.empty() && static_cast<std::int64_t>(turned.size()) < s.layers) {
    c.fault("no_rope_layers",
            "names " + std::to_string(turned.size()) + " layers of " + std::to_string(s.layers));
  }
  s.layer_turns = [turned, interval](std::int64_t i) {
    if (turned.empty()) return (i + 1) % interval != 0;
    return turned.at(static_cast<std::size_t>(i)) != 0;
  };
  if (!c.has("layer_types")) s.layer_slides = s.layer_turns;
  const std::vector<std::int64_t> sparse = c.whole_list("moe_layers");
  const std::int64_t step = c.whole({"interleave_moe_layer_step"}, 1, 1, limits::kLayers);
  const bool listed = c.has("moe_layers");
  s.layer_has_experts = [sparse, step, listed](std::int64_t i) {
    if (!listed) return (i + 1) % step == 0;
    return std::find(sparse.begin(), sparse.end(), i) != sparse.end();
  };
}

DecoderSpec llama4_text(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {202048, 5120, 8192, 48, 40, 8, 131072, 128});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.positions = Positions::rotary_complex;
  s.names.mlp = "feed_forward";
  if (c.flag({"use_qk_norm"}, true)) s.qk_norm = QkNorm::per_head;
  s.qk_norm_kind = NormKind::rms_plain;
  s.qk_norm_after = s.qk_norm_turning = true;
  s.tempered = c.flag({"attn_temperature_tuning"}, true);
  MixtureOfExperts m =
      read_mixture(c, {{"num_local_experts"}, 16, {"num_experts_per_tok"}, 1}, s.ffn);
  m.shared_ffn = s.ffn;
  m.shared_name = "shared_expert";
  m.router = RouterKind::sigmoid_all;
  m.router_name = "router";
  m.transposed = true;
  s.moe = m;
  s.ffn = c.whole({"intermediate_size_mlp"}, 16384, 1, limits::kFeedForward);
  llama4_layers(c, s);
  c.note("every expert sees every token, as transformers runs llama4: " +
         std::to_string(m.experts) + " experts, of which " + std::to_string(m.top_k) + " count");
  c.ignore({"floor_scale", "attn_scale", "router_jitter_noise"});
  return s;
}

DecoderSpec qwen3_vl_moe_text(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {151936, 2048, 5632, 24, 16, 16, 128000});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  MixtureOfExperts m =
      read_mixture(c, {{"num_experts", "num_local_experts"}, 60, {"num_experts_per_tok"}, 4},
                   c.whole({"moe_intermediate_size"}, 1408, 1, limits::kFeedForward));
  m.renormalise = true;
  s.moe = m;
  sparse_layers(c, s);
  c.ignore({"norm_topk_prob"});  // always
  return s;
}

constexpr HfFamily kFurtherExpertFamilies[] = {
    {"qwen3_vl_moe_text", qwen3_vl_moe_text},
    {"granitemoe", granitemoe},
    {"granitemoeshared", granitemoeshared},
    {"phimoe", phimoe},
    {"glm4_moe", glm4_moe},
    {"glm4v_moe_text", glm4v_moe_text},
    {"dots1", dots1},
    {"ernie4_5_moe", ernie4_5_moe},
    {"minimax_m2", minimax_m2},
    {"hunyuan_v1_moe", hunyuan_v1_moe},
    {"gpt_oss", gpt_oss},
    {"flex_olmo", flex_olmo},
    {"llama4_text", llama4_text},
};

}  // namespace

void grouped_mixture(ConfigReader& c, DecoderSpec& s, MixtureOfExperts m, std::int64_t shared) {
  m.shared_ffn = m.ffn * shared;
  m.router = RouterKind::sigmoid_groups;
  m.router_fp32 = true;
  m.scale = c.real({"routed_scaling_factor"}, 1);
  m.groups = c.whole({"n_group"}, 1, 1, limits::kExperts);
  m.top_groups = c.whole({"topk_group"}, 1, 1, limits::kExperts);
  c.divides("n_group", m.groups, "n_routed_experts", m.experts);
  if (m.top_groups > m.groups) c.fault("topk_group", "is more than n_group");
  if (m.experts / m.groups < 2) c.fault("n_group", "a group needs two experts");
  s.moe = m;
}

std::span<const HfFamily> further_expert_families() { return kFurtherExpertFamilies; }

}  // namespace parallel_opt::hf
