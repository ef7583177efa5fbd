#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_families.h"

// Decoders with a mixture of experts. Defaults are those of transformers 5.
namespace parallel_opt::hf {
namespace {

DecoderSpec mixtral(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32000, 4096, 14336, 32, 32, 8, 131072});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  MixtureOfExperts m =
      read_mixture(c, {{"num_local_experts", "num_experts"}, 8, {"num_experts_per_tok"}, 2}, s.ffn);
  m.renormalise = true;
  s.moe = m;
  return s;
}

DecoderSpec qwen2_moe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {151936, 2048, 5632, 24, 16, 16, 32768});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = c.flag({"qkv_bias"}, true);
  MixtureOfExperts m =
      read_mixture(c, {{"num_experts"}, 60, {"num_experts_per_tok"}, 4},
                   c.whole({"moe_intermediate_size"}, 1408, 1, limits::kFeedForward));
  m.shared_ffn = c.whole({"shared_expert_intermediate_size"}, 5632, 1, limits::kFeedForward);
  m.shared_name = "shared_expert";
  m.shared_gate = true;
  m.renormalise = c.flag({"norm_topk_prob"}, false);
  s.moe = m;
  sparse_layers(c, s);
  return s;
}

DecoderSpec qwen3_moe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {151936, 2048, 6144, 24, 32, 4, 32768});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.qk_norm = QkNorm::per_head;
  MixtureOfExperts m =
      read_mixture(c, {{"num_experts", "num_local_experts"}, 128, {"num_experts_per_tok"}, 8},
                   c.whole({"moe_intermediate_size"}, 768, 1, limits::kFeedForward));
  m.renormalise = c.flag({"norm_topk_prob"}, false);
  s.moe = m;
  sparse_layers(c, s);
  return s;
}

DecoderSpec olmoe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {50304, 2048, 2048, 16, 16, 0, 4096});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.clip_qkv = c.real({"clip_qkv"}, 0);
  s.qk_norm = QkNorm::whole;
  MixtureOfExperts m = read_mixture(
      c, {{"num_experts", "num_local_experts"}, 64, {"num_experts_per_tok"}, 8}, s.ffn);
  m.renormalise = c.flag({"norm_topk_prob"}, false);
  s.moe = m;
  return s;
}

struct DeepseekDefaults {
  DecoderDefaults decoder;
  std::int64_t experts, shared, moe_ffn, top_k, dense_layers;
  double scale;
};

DecoderSpec read_deepseek(ConfigReader& c, const DeepseekDefaults& d) {
  c.ignore({"head_dim", "qk_head_dim"});  // sums of others
  DecoderSpec s = read_decoder(c, d.decoder);
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.latent =
      read_latent(c, {.q_rank = 1536, .kv_rank = 512, .nope = 128, .rope = 64, .value = 128});
  MixtureOfExperts m;
  m.experts = c.whole({"n_routed_experts", "num_local_experts"}, d.experts, 1, limits::kExperts);
  m.top_k = c.maybe_whole({"num_experts_per_tok"}, 1, limits::kExperts).value_or(d.top_k);
  m.ffn = c.whole({"moe_intermediate_size"}, d.moe_ffn, 1, limits::kFeedForward);
  m.shared_ffn = m.ffn * c.whole({"n_shared_experts"}, d.shared, 1, 64);
  m.router_fp32 = true;
  m.scale = c.real({"routed_scaling_factor"}, d.scale);
  m.groups = c.maybe_whole({"n_group"}, 1, limits::kExperts).value_or(d.experts == 256 ? 8 : 0);
  m.top_groups =
      c.maybe_whole({"topk_group"}, 1, limits::kExperts).value_or(d.experts == 256 ? 4 : 0);
  check_choice(c, m, "n_routed_experts");
  s.moe = m;
  dense_before(c, s, d.dense_layers);
  if (c.whole({"moe_layer_freq"}, 1) != 1) {
    c.note("moe_layer_freq: every layer after the dense ones has experts, as in transformers");
  }
  return s;
}

void check_groups(ConfigReader& c, const MixtureOfExperts& m) {
  c.divides("n_group", m.groups, "n_routed_experts", m.experts);
  if (m.top_groups > m.groups) c.fault("topk_group", "is more than n_group");
}

DecoderSpec deepseek_v3(ConfigReader& c) {
  DecoderSpec s =
      read_deepseek(c, {{129280, 7168, 18432, 61, 128, 128, 4096}, 256, 1, 2048, 8, 3, 2.5});
  MixtureOfExperts& moe = s.moe.value();
  s.latent.value().interleaved = c.flag({"rope_interleave"}, true);
  moe.router = RouterKind::sigmoid_groups;
  moe.renormalise = c.flag({"norm_topk_prob"}, true);
  check_groups(c, moe);
  if (moe.groups > 0 && moe.experts / moe.groups < 2) {
    c.fault("n_group", "a group needs two experts");
  }
  return s;
}

DecoderSpec deepseek_v2(ConfigReader& c) {
  DecoderSpec s = read_deepseek(c, {{102400, 4096, 11008, 32, 32, 0, 2048}, 64, 2, 1407, 0, 0, 1});
  MixtureOfExperts& moe = s.moe.value();
  s.latent.value().complex_rotary = true;
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  if (moe.top_k == 0) c.fault("num_experts_per_tok", "is missing", "how many experts see a token");
  const std::string method =
      c.choice({"topk_method"}, "greedy", {"greedy", "group_limited_greedy"});
  if (method == "group_limited_greedy") {
    moe.router = RouterKind::softmax_groups;
    check_groups(c, moe);
  }
  return s;
}

constexpr HfFamily kExpertFamilies[] = {
    {"kimi_k2", deepseek_v3},     {"mixtral", mixtral}, {"qwen2_moe", qwen2_moe},
    {"qwen3_moe", qwen3_moe},     {"olmoe", olmoe},     {"deepseek_v2", deepseek_v2},
    {"deepseek_v3", deepseek_v3},
};

}  // namespace

LatentAttention read_latent(ConfigReader& c, LatentAttention a) {
  if (c.has("q_lora_rank")) a.q_rank = c.maybe_whole({"q_lora_rank"}).value_or(0);
  a.kv_rank = c.whole({"kv_lora_rank"}, a.kv_rank);
  a.nope = c.whole({"qk_nope_head_dim"}, a.nope, 1, 1 << 16);
  a.rope = c.whole({"qk_rope_head_dim"}, a.rope, 2, 1 << 16);
  a.value = c.maybe_whole({"v_head_dim"}, 1, 1 << 16).value_or(a.value);
  return a;
}

void sparse_layers(ConfigReader& c, DecoderSpec& s) {
  const std::int64_t step = c.whole({"decoder_sparse_step"}, 1);
  const std::vector<std::int64_t> dense = c.whole_list("mlp_only_layers");
  s.layer_has_experts = [step, dense](std::int64_t i) {
    return std::find(dense.begin(), dense.end(), i) == dense.end() && (i + 1) % step == 0;
  };
}

MixtureOfExperts read_mixture(ConfigReader& c, const ExpertKeys& keys, std::int64_t ffn) {
  MixtureOfExperts m;
  m.experts = c.whole(keys.experts, keys.experts_default, 1, limits::kExperts);
  m.top_k = c.whole(keys.chosen, keys.chosen_default, 1, limits::kExperts);
  m.ffn = ffn;
  check_choice(c, m, *keys.experts.begin());
  return m;
}

void check_choice(ConfigReader& c, const MixtureOfExperts& m, std::string_view experts_key) {
  if (m.top_k > m.experts) {
    c.fault("num_experts_per_tok",
            std::to_string(m.top_k) + " of " + std::to_string(m.experts) + " experts",
            "at most " + std::string(experts_key));
  }
}

void dense_before(ConfigReader& c, DecoderSpec& s, std::int64_t fallback) {
  const std::int64_t dense = c.whole({"first_k_dense_replace"}, fallback, 0, limits::kLayers);
  s.layer_has_experts = [dense](std::int64_t i) { return i >= dense; };
  for (const char* key : {"num_nextn_predict_layers", "num_mtp_layers"}) {
    c.note_when_set(key, "layers that predict further tokens are left out, as by transformers");
  }
}

std::span<const HfFamily> expert_families() { return kExpertFamilies; }

}  // namespace parallel_opt::hf
