#include <algorithm>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_mamba.h"

// Further decoders whose layers recur and attend: falcon_h1 (both in each layer), nemotron_h (each
// layer one part), recurrent_gemma (gated linear recurrences).
namespace parallel_opt::hf {
namespace {

/// `count` numbers of a list, 1 where it is not there.
std::vector<double> read_multipliers(ConfigReader& c, std::string_view key, std::size_t count) {
  std::vector<double> list = c.real_list(key);
  if (list.empty()) list.assign(count, 1);
  if (list.size() != count) {
    c.fault(key, "must be " + std::to_string(count) + " numbers");
    list.assign(count, 1);
  }
  return list;
}

DecoderSpec falcon_h1(ConfigReader& c) {
  DecoderSpec s = read_decoder(c, {128000, 4096, 14336, 32, 32, 8, 8192});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = s.o_bias = c.flag({"attention_bias"}, false);
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.block = BlockKind::beside;
  s.names.mlp = "feed_forward";
  s.names.norm2 = "pre_ff_layernorm";
  s.names.final_norm = "final_layernorm";
  s.embed_scale = c.real({"embedding_multiplier"}, 1);
  s.logit_scale = c.real({"lm_head_multiplier"}, 1);
  const std::vector<double> mlp = read_multipliers(c, "mlp_multipliers", 2);
  read_multipliers(c, "ssm_multipliers", 5);
  s.scales = {.attention_in = c.real({"attention_in_multiplier"}, 1),
              .attention_out = c.real({"attention_out_multiplier"}, 1),
              .recurrence_out = c.real({"ssm_out_multiplier"}, 1),
              .key = c.real({"key_multiplier"}, 1),
              .gate = mlp[0],
              .down = mlp[1]};
  const bool whole = c.has("mamba_d_ssm") && !c.maybe_whole({"mamba_d_ssm"}, 1, limits::kWidth);
  MambaSpec m =
      read_chunked_mixer(c, s, whole ? 0 : c.whole({"mamba_d_ssm"}, 1024, 1, limits::kWidth));
  m.out_bias = c.flag({"projectors_bias"}, false);
  m.in_scale = c.real({"ssm_in_multiplier"}, 1);
  m.scaled_parts = true;
  const bool first = c.flag({"mamba_norm_before_gate"}, true);
  m.gate_norm = !c.flag({"mamba_rms_norm"}, false) ? GateNorm::none
                : first                            ? GateNorm::norm_first
                                                   : GateNorm::gate_first;
  s.recurrence = [m](GraphWriter& w, TensorId x) { return chunked_mixer(w, x, m); };
  c.ignore({"num_logits_to_keep", "layers_block_type", "mamba_use_mlp", "attn_layer_indices"});
  note_recurrence(c);
  return s;
}

// --- nemotron_h

/// A letter per layer: M recurs, * attends, - feeds forward, E has experts.
std::string read_pattern(ConfigReader& c) {
  std::string pattern = c.text({"hybrid_override_pattern"}, "");
  const char* const key = c.has("layer_types") ? "layer_types" : "layers_block_type";
  const std::vector<std::string> kinds = c.text_list(key);
  c.ignore({"layer_types", "layers_block_type", "num_hidden_layers"});
  if (!kinds.empty()) pattern.clear();
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const std::string& kind = kinds[i];
    const bool recurs = kind == "mamba" || kind == "linear_attention";
    const bool attends = kind == "attention" || kind == "full_attention";
    if (!recurs && !attends && kind != "moe" && kind != "mlp") {
      c.fault(std::string(key) + "[" + std::to_string(i) + "]",
              "unknown '" + kind.substr(0, 40) + "'",
              "known here: linear_attention, full_attention, moe, mlp");
      break;
    }
    pattern += recurs ? 'M' : attends ? '*' : kind == "moe" ? 'E' : '-';
  }
  if (pattern.empty()) pattern = "ME*-";
  if (pattern.find_first_not_of("ME*-") != pattern.npos || pattern.size() > limits::kLayers) {
    c.fault("hybrid_override_pattern", "must have a letter of M, E, * and - for each layer");
    pattern = "M";
  }
  return pattern;
}

MambaSpec read_nemotron_mixer(ConfigReader& c, const DecoderSpec& s) {
  MambaSpec m;
  m.hidden = s.hidden;
  m.eps = s.norm_eps;
  m.state = c.whole({"ssm_state_size"}, 128, 1, 1 << 16);
  m.heads = c.whole({"mamba_num_heads"}, 128, 1, limits::kHeads);
  m.head_dim = c.whole({"mamba_head_dim"}, 64, 1, 1 << 16);
  m.inner = m.heads * m.head_dim;
  m.groups = c.whole({"n_groups", "mamba_n_groups"}, 8, 1, 1 << 10);
  m.kernel = c.whole({"conv_kernel", "mamba_d_conv"}, 4, 1, 1 << 10);
  m.chunk = c.whole({"chunk_size", "mamba_chunk_size"}, 128, 1, 1 << 14);
  m.bias = m.out_bias = c.flag({"use_bias"}, false);
  m.conv_bias = c.flag({"use_conv_bias", "mamba_conv_bias"}, true);
  m.activation = c.activation({"mamba_hidden_act"}, "silu");
  c.divides("n_groups", m.groups, "mamba_num_heads", m.heads);
  c.ignore({"expand", "mamba_expand", "time_step_min", "time_step_max", "time_step_limit",
            "time_step_floor", "time_step_rank", "mamba_dt_min", "mamba_dt_max", "mamba_dt_limit",
            "mamba_dt_init_floor", "mamba_proj_bias", "mamba_ssm_cache_dtype", "use_mamba_kernels",
            "rescale_prenorm_residual", "ssm_cache_dtype"});
  return m;
}

MixtureOfExperts read_nemotron_experts(ConfigReader& c) {
  MixtureOfExperts m =
      read_mixture(c, {{"n_routed_experts", "num_local_experts"}, 8, {"num_experts_per_tok"}, 2},
                   c.whole({"moe_intermediate_size"}, 7688, 1, limits::kFeedForward));
  m.shared_ffn = c.whole({"moe_shared_expert_intermediate_size"}, 7688, 1, limits::kFeedForward);
  m.latent = c.maybe_whole({"moe_latent_size"}).value_or(0);
  m.gated = false;
  m.router = RouterKind::sigmoid_groups;
  m.router_fp32 = true;
  m.groups = c.whole({"n_group"}, 1, 1, limits::kExperts);
  m.top_groups = c.whole({"topk_group"}, 1, 1, m.groups);
  m.renormalise = c.flag({"norm_topk_prob"}, true);
  m.scale = c.real({"routed_scaling_factor"}, 1);
  c.divides("n_group", m.groups, "n_routed_experts", m.experts);
  c.ignore({"n_shared_experts", "moe_shared_expert_overlap"});
  return m;
}

DecoderSpec nemotron_h(ConfigReader& c) {
  DecoderSpec s;
  s.vocab = c.whole({"vocab_size"}, 131072, 1, limits::kVocabulary);
  s.hidden = c.whole({"hidden_size"}, 4096);
  s.ffn = c.whole({"intermediate_size"}, 21504, 1, limits::kFeedForward);
  s.heads = c.whole({"num_attention_heads"}, 32, 1, limits::kHeads);
  s.kv_heads = c.maybe_whole({"num_key_value_heads"}, 1, limits::kHeads).value_or(8);
  s.head_dim = c.whole({"head_dim", "attention_head_dim"}, 128, 1, 1 << 16);
  s.max_positions = c.whole({"max_position_embeddings"}, 4096, 1, limits::kPositions);
  s.sequence_hint = std::min<std::int64_t>(s.max_positions, 2048);
  s.norm_eps = c.real({"layer_norm_epsilon", "layer_norm_eps", "norm_eps"}, 1e-5);
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.activation = c.activation({"mlp_hidden_act"}, "relu2");
  s.mlp_bias = c.flag({"mlp_bias"}, false);
  s.gated = false;
  s.positions = Positions::none;
  s.block = BlockKind::single;
  s.names.embed = "embeddings";
  s.names.attention = s.names.recurrence = s.names.mlp = "mixer";
  s.names.norm1 = "norm";
  s.names.final_norm = "norm_f";
  c.divides("num_key_value_heads", s.kv_heads, "num_attention_heads", s.heads);
  read_head(c, s);
  const std::string pattern = read_pattern(c);
  s.layers = static_cast<std::int64_t>(pattern.size());
  const auto is = [pattern](char kind) {
    return [pattern, kind](std::int64_t i) { return pattern[static_cast<std::size_t>(i)] == kind; };
  };
  s.layer_recurs = is('M');
  s.layer_attends = is('*');
  s.layer_has_experts = is('E');
  const MambaSpec m = read_nemotron_mixer(c, s);
  s.recurrence = [m](GraphWriter& w, TensorId x) { return chunked_mixer(w, x, m); };
  s.moe = read_nemotron_experts(c);
  c.note_when_set("num_nextn_predict_layers",
                  "layers that predict further tokens are left out, as by transformers");
  c.note_when_set("tie_word_embeddings", "the head has a weight of its own, as in transformers");
  c.ignore({"attention_bias", "sliding_window", "hidden_dropout", "residual_in_fp32",
            "num_logits_to_keep", "mtp_layers_block_type", "mtp_hybrid_override_pattern"});
  note_recurrence(c);
  return s;
}

// --- recurrent_gemma

struct GatedRecurrence {
  std::int64_t width = 0, heads = 0, kernel = 4;
  std::string activation;
};

/// sigmoid of x [b, s, width], each head through a matrix of its own.
TensorId block_gate(GraphWriter& w, TensorId x, const GatedRecurrence& s, const char* name) {
  const std::int64_t width = s.width / s.heads;
  const Dim heads = fixed(s.heads), rows = w.tokens(x);
  const std::string base = name;
  const TensorId weight = w.parameter(base + "_weight", {s.heads, width, width});
  const TensorId bias = w.parameter(base + "_bias", {s.heads, width});
  const TensorId by_head = w.transpose(w.view(x, {rows, heads, fixed(width)}), 0, 1);
  const TensorId product =
      w.op("aten.baddbmm.default",
           {{"self", w.unsqueeze(bias, 1)}, {"batch1", by_head}, {"batch2", weight}},
           {heads, rows, fixed(width)});
  const TensorId back =
      w.op("aten.reshape.default", {{"self", w.transpose(product, 0, 1)}}, w.tensor(x).shape);
  return w.unary("aten.sigmoid.default", back);
}

/// h = a h + sqrt(1 - a^2) gate x over positions, in closed form: sums of what has not faded yet.
TensorId linear_recurrence(GraphWriter& w, TensorId x, const GatedRecurrence& s) {
  const GraphWriter::Scope scope(w, "rg_lru");
  const TensorId pace = w.parameter("recurrent_param", {s.width});
  const TensorId gate = block_gate(w, x, s, "input_gate");
  const TensorId recurs = block_gate(w, x, s, "recurrent_gate");
  const TensorId fading =
      w.mul(w.mul(recurs, -8.0), w.unary("aten.softplus.default", pace));  // logarithms
  const TensorId kept = w.unary("aten.exp.default", w.mul(fading, 2.0));
  const TensorId share =
      w.unary("aten.sqrt.default", w.add(w.unary("aten.neg.default", kept), 1.0));
  const TensorId entered = w.mul(w.mul(x, gate), share);
  const auto summed = [&](TensorId t) {
    return w.op("aten.cumsum.default", {{"self", t}}, w.tensor(t).shape,
                {{"dim", std::int64_t{1}}});
  };
  const TensorId faded = summed(w.to(fading, DType::fp32));
  const TensorId grown = w.mul(w.to(entered, DType::fp32),
                               w.unary("aten.exp.default", w.unary("aten.neg.default", faded)));
  return w.to(w.mul(summed(grown), w.unary("aten.exp.default", faded)), w.dtype());
}

TensorId recurrent_block(GraphWriter& w, TensorId x, const GatedRecurrence& s) {
  const Dim length = w.dim(x, 1);
  const std::int64_t hidden = w.last(x).size;
  const TensorId y = activate(w, w.linear(x, "linear_y", s.width, true), s.activation);
  const TensorId rows = w.transpose(w.linear(x, "linear_x", s.width, true), 1, 2);
  const TensorId mixed =
      w.slice(depthwise_convolution(w, rows, "conv_1d", s.kernel, true), 2, 0, length);
  return w.linear(w.mul(linear_recurrence(w, w.transpose(mixed, 1, 2), s), y), "linear_out", hidden,
                  true);
}

DecoderSpec recurrent_gemma(ConfigReader& c) {
  c.ignore({"layers_block_type"});
  DecoderSpec s =
      read_decoder(c, {256000, 2560, 7680, 26, 10, 0, 8192, 0, true, "gelu_pytorch_tanh"});
  s.norm_eps = c.real({"rms_norm_eps"}, 1e-6);
  s.norm = NormKind::rms_plus1;
  s.qkv_bias = c.flag({"attention_bias"}, false);
  s.o_bias = s.mlp_bias = true;
  s.ffn /= 2;
  if (s.ffn < 1) c.fault("intermediate_size", "leaves nothing of the inner width, which is half");
  s.embed_scale = 1;
  s.logit_softcap = c.real({"logits_soft_cap"}, 30);
  partly_rotary(c, s, {"partial_rotary_factor"}, 0.5);
  s.names.attention = s.names.recurrence = "temporal_block";
  s.names.mlp = "mlp_block";
  s.names.norm1 = "temporal_pre_norm";
  s.names.norm2 = "channel_pre_norm";
  s.names.final_norm = "final_norm";
  std::vector<std::string> kinds = c.text_list("block_types");
  if (kinds.empty()) kinds = {"recurrent", "recurrent", "attention"};
  for (const std::string& kind : kinds) {
    if (kind == "recurrent" || kind == "attention") continue;
    c.fault("block_types", "unknown '" + kind.substr(0, 40) + "'", "recurrent, attention");
  }
  if (!s.layer_recurs) {
    s.layer_recurs = [kinds](std::int64_t i) {
      return kinds[static_cast<std::size_t>(i) % kinds.size()] == "recurrent";
    };
  }
  GatedRecurrence r;
  r.width = c.maybe_whole({"lru_width"}).value_or(s.hidden);
  r.heads = s.heads;
  r.kernel = c.whole({"conv1d_width"}, 4, 1, 1 << 10);
  r.activation = s.activation;
  c.divides("num_attention_heads", s.heads, "lru_width", r.width);
  s.recurrence = [r](GraphWriter& w, TensorId x) { return recurrent_block(w, x, r); };
  c.ignore(
      {"w_init_variance_scale", "final_w_init_variance_scale", "embeddings_scale_by_sqrt_dim"});
  note_recurrence(c);
  return s;
}

constexpr HfFamily kFurtherHybridFamilies[] = {
    {"falcon_h1", falcon_h1}, {"nemotron_h", nemotron_h}, {"recurrent_gemma", recurrent_gemma}};

}  // namespace

std::span<const HfFamily> further_hybrid_families() { return kFurtherHybridFamilies; }

}  // namespace parallel_opt::hf
