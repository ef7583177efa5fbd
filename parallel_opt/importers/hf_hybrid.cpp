#include <algorithm>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_mamba.h"

// Decoders of which some layers recur and some attend. Defaults are those of transformers 5.
namespace parallel_opt::hf {
namespace {

/// Mamba's sizes under the names that hybrids use.
MambaSpec read_mixer(ConfigReader& c, const DecoderSpec& s, std::int64_t state) {
  MambaSpec m;
  m.hidden = s.hidden;
  m.state = c.whole({"mamba_d_state"}, state, 1, 1 << 16);
  m.inner = s.hidden * c.whole({"mamba_expand"}, 2, 1, 16);
  m.kernel = c.whole({"mamba_d_conv"}, 4, 1, 1 << 10);
  m.bias = c.flag({"mamba_proj_bias"}, false);
  m.conv_bias = c.flag({"mamba_conv_bias"}, true);
  m.activation = s.activation;
  m.eps = s.norm_eps;
  c.ignore({"time_step_limit", "use_mamba_kernels", "use_mambapy", "use_associative_scan"});
  return m;
}

}  // namespace

MambaSpec read_chunked_mixer(ConfigReader& c, const DecoderSpec& s, std::int64_t inner) {
  MambaSpec m = read_mixer(c, s, 256);
  if (inner > 0) m.inner = inner;
  const std::string wide = inner > 0 ? "mamba_d_ssm" : "mamba_expand * hidden_size";
  m.heads = c.whole({"mamba_n_heads"}, 128, 1, limits::kHeads);
  m.groups = c.whole({"mamba_n_groups"}, 1, 1, 1 << 10);
  m.chunk = c.whole({"mamba_chunk_size"}, 256, 1, 1 << 14);
  m.out_bias = m.bias;
  const bool automatic = c.is_text("mamba_d_head");
  c.ignore({"mamba_d_head"});
  m.head_dim = automatic || !c.has("mamba_d_head") ? m.inner / m.heads
                                                   : c.whole({"mamba_d_head"}, 64, 1, 1 << 16);
  if (m.heads * m.head_dim != m.inner) {
    c.fault("mamba_n_heads", std::to_string(m.heads) + " heads of " + std::to_string(m.head_dim) +
                                 " are not " + wide + ", " + std::to_string(m.inner));
  }
  c.divides("mamba_n_groups", m.groups, "mamba_n_heads", m.heads);
  c.divides("mamba_n_groups", m.groups, wide, m.inner);
  return m;
}

void note_recurrence(ConfigReader& c) {
  c.note("the recurrence over positions is written in closed form (running sums)");
}

namespace {

DecoderSpec bamba(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {128000, 4096, 14336, 32, 32, 8, 262144});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.rotary_dim = s.head_dim / 2;
  s.names.mlp = "feed_forward";
  s.names.norm2 = "pre_ff_layernorm";
  s.names.final_norm = "final_layernorm";
  const std::vector<std::int64_t> attends = c.whole_list("attn_layer_indices");
  s.layer_recurs = [attends](std::int64_t i) {
    return std::find(attends.begin(), attends.end(), i) == attends.end();
  };
  const MambaSpec m = read_chunked_mixer(c, s);
  s.recurrence = [m](GraphWriter& w, TensorId x) { return chunked_mixer(w, x, m); };
  c.ignore({"num_logits_to_keep", "z_loss_coefficient", "attn_rotary_emb", "layer_types",
            "partial_rotary_factor"});
  note_recurrence(c);
  return s;
}

DecoderSpec granitemoehybrid(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {32000, 4096, 11008, 32, 32});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  granite_scales(c, s);
  if (c.text({"position_embedding_type"}, "") != "rope") s.positions = Positions::none;
  s.shared_ffn = c.whole({"shared_intermediate_size"}, 1024, 1, limits::kFeedForward);
  s.names.gate_up = "input_linear";
  s.names.down = "output_linear";
  s.names.mlp = "block_sparse_moe";
  const std::int64_t experts = c.whole({"num_local_experts"}, 8, 0, limits::kExperts);
  if (experts > 0) {
    MixtureOfExperts m;
    m.experts = experts;
    m.top_k = c.whole({"num_experts_per_tok"}, 2, 1, limits::kExperts);
    m.ffn = s.ffn;
    m.router = RouterKind::top_softmax;
    m.router_name = "router";
    check_choice(c, m, "num_local_experts");
    s.moe = m;
  } else {  // the shared layer alone
    c.ignore({"num_experts_per_tok"});
    s.names.mlp = "shared_mlp";
    s.ffn = s.shared_ffn;
    s.shared_ffn = 0;
  }
  if (!s.layer_recurs) s.layer_recurs = [](std::int64_t /*layer*/) { return true; };
  const MambaSpec m = read_chunked_mixer(c, s);
  s.recurrence = [m](GraphWriter& w, TensorId x) { return chunked_mixer(w, x, m); };
  note_recurrence(c);
  return s;
}

DecoderSpec jamba(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {65536, 4096, 14336, 32, 32, 8, 262144});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.positions = Positions::none;
  s.names.mlp = "feed_forward";
  s.names.norm2 = "pre_ff_layernorm";
  s.names.final_norm = "final_layernorm";
  const std::int64_t period = c.whole({"attn_layer_period"}, 8),
                     offset = c.whole({"attn_layer_offset"}, 4, 0);
  const std::int64_t every = c.whole({"expert_layer_period"}, 2),
                     first = c.whole({"expert_layer_offset"}, 1, 0);
  if (offset >= period) c.fault("attn_layer_offset", "must be less than attn_layer_period");
  if (first >= every) c.fault("expert_layer_offset", "must be less than expert_layer_period");
  s.layer_recurs = [period, offset](std::int64_t i) { return i % period != offset; };
  MixtureOfExperts m;
  m.experts = c.whole({"num_experts", "num_local_experts"}, 16, 1, limits::kExperts);
  m.top_k = c.whole({"num_experts_per_tok"}, 2, 1, limits::kExperts);
  m.ffn = s.ffn;
  m.router_name = "router";
  if (m.experts > 1) {
    check_choice(c, m, "num_experts");
    s.moe = m;
    s.layer_has_experts = [every, first](std::int64_t i) { return i % every == first; };
  }
  MambaSpec mixer = read_mixer(c, s, 16);
  mixer.part_norms = PartNorms::learnt;
  mixer.step_rank = (s.hidden + 15) / 16;
  if (c.has("mamba_dt_rank") && !c.is_text("mamba_dt_rank")) {
    mixer.step_rank = c.whole({"mamba_dt_rank"}, mixer.step_rank);
  }
  c.ignore({"mamba_dt_rank", "layers_block_type", "layers_num_experts", "layer_types"});
  s.recurrence = [mixer](GraphWriter& w, TensorId x) { return selective_mixer(w, x, mixer); };
  note_recurrence(c);
  return s;
}

/// out(c * convolved(b * x)), all three of one product.
TensorId short_convolution(GraphWriter& w, TensorId x, std::int64_t kernel, bool bias) {
  const Dim length = w.dim(x, 1);
  const std::int64_t hidden = w.last(x).size;
  const TensorId all = w.transpose(w.linear(x, "in_proj", 3 * hidden, bias), 1, 2);
  const auto part = [&](std::int64_t index) {
    return w.slice(all, 1, index * hidden, fixed(hidden));
  };
  const TensorId gated = w.mul(part(0), part(2));
  const TensorId mixed =
      w.slice(depthwise_convolution(w, gated, "conv", kernel, bias), 2, 0, length);
  const TensorId out = w.transpose(w.mul(part(1), mixed), 1, 2);
  return w.linear(w.op("aten.clone.default", {{"self", out}}, w.tensor(out).shape), "out_proj",
                  hidden, bias);
}

void lfm2_names(DecoderSpec& s) {
  s.names.o = "out_proj";
  s.names.q_norm = "q_layernorm";
  s.names.k_norm = "k_layernorm";
  s.names.mlp = "feed_forward";
  s.names.gate = "w1";
  s.names.up = "w3";
  s.names.down = "w2";
  s.names.norm1 = "operator_norm";
  s.names.norm2 = "ffn_norm";
  s.names.final_norm = "embedding_norm";
  s.names.recurrence = "conv";
  s.qk_norm = QkNorm::per_head;
  s.activation = "silu";
}

void short_convolutions(ConfigReader& c, DecoderSpec& s) {
  const std::int64_t kernel = c.whole({"conv_L_cache"}, 3, 1, 1 << 10);
  const bool bias = c.flag({"conv_bias"}, false);
  s.recurrence = [kernel, bias](GraphWriter& w, TensorId x) {
    return short_convolution(w, x, kernel, bias);
  };
}

DecoderSpec lfm2(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {65536, 2560, 12288, 32, 32, 8, 128000, 0, true});
  s.norm_eps = c.real({"norm_eps"}, 1e-5);
  s.tied = c.flag({"tie_word_embeddings", "tie_embedding"}, true);
  lfm2_names(s);
  s.ffn = c.whole({"block_ff_dim", "intermediate_size"}, 12288, 1, limits::kFeedForward);
  const double factor = c.real({"block_ffn_dim_multiplier"}, 1);
  const std::int64_t multiple = c.whole({"block_multiple_of"}, 256);
  if (c.flag({"block_auto_adjust_ff_dim"}, true)) {
    const std::int64_t thirds = 2 * s.ffn / 3;
    const auto wide = static_cast<std::int64_t>(factor * static_cast<double>(thirds));
    if (wide < 1) c.fault("block_ff_dim", "leaves nothing of the inner width");
    s.ffn = std::max<std::int64_t>((wide + multiple - 1) / multiple, 1) * multiple;
  }
  const std::vector<std::int64_t> attends = c.whole_list("full_attn_idxs");
  if (!s.layer_recurs && c.has("full_attn_idxs")) {
    s.layer_recurs = [attends](std::int64_t i) {
      return std::find(attends.begin(), attends.end(), i) == attends.end();
    };
  }
  short_convolutions(c, s);
  c.ignore({"conv_dim", "conv_dim_out", "conv_use_xavier_init", "block_dim", "block_mlp_init_scale",
            "block_norm_eps", "block_out_init_scale", "block_use_swiglu", "block_use_xavier_init",
            "num_heads", "theta"});
  return s;
}

DecoderSpec lfm2_moe(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {65536, 2048, 7168, 32, 32, 8, 128000, 0, true});
  s.norm_eps = c.real({"norm_eps"}, 1e-5);
  s.tied = c.flag({"tie_word_embeddings", "tie_embedding"}, true);
  lfm2_names(s);
  short_convolutions(c, s);
  if (!s.layer_recurs) c.fault("layer_types", "is missing", "transformers has no default for it");
  MixtureOfExperts m =
      read_mixture(c, {{"num_experts", "num_local_experts"}, 32, {"num_experts_per_tok"}, 4},
                   c.whole({"moe_intermediate_size"}, 1792, 1, limits::kFeedForward));
  m.router = RouterKind::sigmoid_top;
  m.renormalise = c.flag({"norm_topk_prob"}, true);
  m.scale = c.real({"routed_scaling_factor"}, 1);
  m.correction = "expert_bias";
  if (!c.flag({"use_expert_bias"}, true)) {
    c.fault("use_expert_bias", "false is not built here", "capture the model");
  }
  s.moe = m;
  const std::int64_t dense = c.whole({"num_dense_layers"}, 2, 0, limits::kLayers);
  s.layer_has_experts = [dense](std::int64_t i) { return i >= dense; };
  return s;
}

constexpr HfFamily kHybridFamilies[] = {{"bamba", bamba},
                                        {"granitemoehybrid", granitemoehybrid},
                                        {"jamba", jamba},
                                        {"lfm2", lfm2},
                                        {"lfm2_moe", lfm2_moe}};

}  // namespace

std::span<const HfFamily> hybrid_families() { return kHybridFamilies; }

}  // namespace parallel_opt::hf
