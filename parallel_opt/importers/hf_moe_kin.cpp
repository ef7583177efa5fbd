#include <algorithm>

#include "parallel_opt/importers/hf_families.h"

// Mixtures of experts that are deepseek_v3, glm4_moe or exaone4 with other parts. Defaults are
// those of transformers 5.
namespace parallel_opt::hf {
namespace {

MixtureOfExperts routed(ConfigReader& c, const ExpertKeys& keys, std::int64_t ffn) {
  MixtureOfExperts m =
      read_mixture(c, keys, c.whole({"moe_intermediate_size"}, ffn, 1, limits::kFeedForward));
  m.renormalise = c.flag({"norm_topk_prob"}, true);
  return m;
}

DecoderSpec glm4_moe_lite(ConfigReader& c) {
  c.ignore({"qk_head_dim", "head_dim", "pretraining_tp"});  // sums of others
  DecoderSpec s = read_decoder(c, {154880, 2048, 10240, 47, 20, 20, 202752, 64});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.latent = read_latent(c, {.q_rank = 768, .kv_rank = 512, .nope = 192, .rope = 64, .value = 256});
  s.latent->interleaved = c.flag({"rope_interleave"}, true);
  const MixtureOfExperts m =
      routed(c, {{"n_routed_experts", "num_local_experts"}, 64, {"num_experts_per_tok"}, 4}, 1536);
  grouped_mixture(c, s, m, c.whole({"n_shared_experts"}, 1, 1, 64));
  listed_sparse(c, s, 1);
  return s;
}

DecoderSpec exaone_moe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {102400, 4096, 16384, 32, 32, 32, 2048});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qk_norm = QkNorm::per_head;
  if (s.window > 0) s.layer_turns = s.layer_slides;
  const MixtureOfExperts m =
      routed(c, {{"num_experts", "num_local_experts"}, 64, {"num_experts_per_tok"}, 8}, 1024);
  grouped_mixture(c, s, m, c.whole({"num_shared_experts"}, 1, 1, 64));
  listed_sparse(c, s, c.whole({"first_k_dense_replace"}, 1, 0, limits::kLayers));
  return s;
}

DecoderSpec solar_open(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {196608, 4096, 1280, 48, 64, 8, 131072, 128});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = c.flag({"attention_bias"}, false);
  partly_rotary(c, s, {"partial_rotary_factor"}, 1);
  const MixtureOfExperts m =
      routed(c, {{"n_routed_experts", "num_local_experts"}, 128, {"num_experts_per_tok"}, 8}, 1280);
  grouped_mixture(c, s, m, c.whole({"n_shared_experts"}, 1, 1, 64));
  return s;
}

constexpr HfFamily kExpertKinFamilies[] = {
    {"glm4_moe_lite", glm4_moe_lite}, {"exaone_moe", exaone_moe}, {"solar_open", solar_open}};

}  // namespace

void listed_sparse(ConfigReader& c, DecoderSpec& s, std::int64_t dense) {
  const std::vector<std::string> kinds = c.text_list("mlp_layer_types");
  if (!kinds.empty() && static_cast<std::int64_t>(kinds.size()) < s.layers) {
    c.fault("mlp_layer_types",
            "names " + std::to_string(kinds.size()) + " layers of " + std::to_string(s.layers));
  }
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] == "dense" || kinds[i] == "sparse") continue;
    c.fault("mlp_layer_types[" + std::to_string(i) + "]",
            "unknown '" + kinds[i].substr(0, 40) + "'", "known here: dense, sparse");
    break;
  }
  s.layer_has_experts = [kinds, dense](std::int64_t i) {
    return kinds.empty() ? i >= dense : kinds.at(static_cast<std::size_t>(i)) == "sparse";
  };
  for (const char* key : {"num_nextn_predict_layers", "num_mtp_layers"}) {
    c.note_when_set(key, "layers that predict further tokens are left out, as by transformers");
  }
}

std::span<const HfFamily> expert_kin_families() { return kExpertKinFamilies; }

}  // namespace parallel_opt::hf
