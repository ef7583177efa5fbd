#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/importers/hf_writer.h"

namespace parallel_opt::hf {

/// Which normalisation: how it is written in operators, and what it learns.
enum class NormKind {
  rms,        ///< computed in fp32, scaled by the weight
  rms_plus1,  ///< scaled by 1 + weight, in fp32 (gemma)
  layer,      ///< aten.layer_norm with weight and bias
  layer_no_bias,
  layer_plain,  ///< nothing learnt (olmo)
  layer_parts,  ///< mean and variance written out, weight only (cohere)
  rms_plain,    ///< nothing learnt (llama4)
};

/// Layer order: where the norms stand and what the residuals skip.
enum class BlockKind {
  pre,           ///< x += attention(norm1 x); x += ffn(norm2 x)
  post,          ///< x = norm1(x + attention x); x = norm2(x + ffn x)           (bert, opt-350m)
  post_inner,    ///< x += norm1(attention x); x += norm2(ffn x)                 (olmo2)
  sandwich,      ///< norms before and after both                                (gemma2, gemma3)
  parallel,      ///< x += attention(norm1 x) + ffn(norm1 x)                     (gptj, phi, cohere)
  parallel_two,  ///< x += attention(norm1 x) + ffn(norm2 x)                     (gpt_neox,
                 ///< falcon-40b)
  beside,        ///< x += recurrence(norm1 x) + attention(norm1 x); x += ffn(norm2 x) (falcon_h1)
  single,        ///< x += one of the three(norm1 x)                             (nemotron_h)
};

/// How positions enter.
enum class Positions {
  none,
  rotary,              ///< halves rotated (llama)
  rotary_interleaved,  ///< pairs rotated (gptj, cohere)
  rotary_complex,      ///< pairs as complex numbers (llama4)
  learned,
  stored,  ///< sines and cosines in a buffer, added as learned ones are (xglm, ctrl)
  alibi,   ///< a bias on the scores (bloom)
};

enum class QkNorm {
  none,
  per_head,    ///< one norm over the head's width (qwen3, gemma3)
  whole,       ///< one norm over all heads' width (olmo2)
  each_head,   ///< a norm of its own for every head (stablelm)
  head_table,  ///< one norm with a weight per head and channel (cohere)
};

/// How attention is written in operators.
enum class AttentionKind {
  fused,         ///< aten.scaled_dot_product_attention
  eager,         ///< matmul, softmax, matmul
  eager_biased,  ///< baddbmm with a position bias, softmax, bmm (bloom)
};

/// Module names of one family, as its parameters have them.
struct DecoderNames {
  std::string base = "model";  ///< of the headless model inside ForCausalLM
  std::string bare_base = "";  ///< of the same when it stands alone
  std::string embed = "embed_tokens";
  std::string embed_norm = "";  ///< "": none
  std::string positions = "";
  std::string layers = "layers";
  std::string attention = "self_attn";
  std::string recurrence = "mamba";  ///< in place of it, where a layer recurs
  std::string q = "q_proj", k = "k_proj", v = "v_proj", o = "o_proj";
  std::string qkv = "";  ///< not empty: one projection for all three
  std::string q_norm = "q_norm", k_norm = "k_norm";
  std::string before_o = "", before_down = "";  ///< norms before the last product; "": none
  std::string mlp = "mlp";
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";
  std::string gate_up = "";  ///< not empty: one projection for both
  std::string norm1 = "input_layernorm", norm2 = "post_attention_layernorm";
  std::string norm1_after = "post_attention_layernorm";  ///< sandwich only
  std::string norm2_before = "pre_feedforward_layernorm",
              norm2_after = "post_feedforward_layernorm";
  std::string final_norm = "norm";
  std::string head = "lm_head";
  std::string token_head = "score", class_head = "score";
  std::string question_base = "";  ///< under a question-answering head; "": as elsewhere
};

/// Latent attention (DeepSeek): queries, keys and values through low ranks.
struct LatentAttention {
  std::int64_t q_rank = 0;  ///< 0: queries directly
  std::int64_t kv_rank = 0;
  std::int64_t nope = 0, rope = 0, value = 0;  ///< widths per head
  bool interleaved = true;
  bool complex_rotary = false;  ///< v2: rotated as complex numbers
};

enum class RouterKind {
  softmax_top,        ///< softmax, top k
  sigmoid_groups,     ///< sigmoid, best groups, top k in them (deepseek_v3)
  softmax_groups,     ///< softmax, best groups, top k in them (deepseek_v2)
  top_softmax,        ///< top k, softmax over these (gpt_oss, granitemoe)
  sigmoid_top,        ///< sigmoid, top k of the corrected (minimax_m2)
  softmax_corrected,  ///< softmax, top k of the corrected (ernie4_5_moe)
  sparse_mixer,       ///< two picks, each by a softmax of its own (phimoe)
  sigmoid_all,        ///< every expert sees every token, scaled by its score or 0 (llama4)
};

struct MixtureOfExperts {
  std::int64_t experts = 0, top_k = 0, ffn = 0;
  std::int64_t shared_ffn = 0;  ///< 0: no shared expert
  std::string shared_name = "shared_experts";
  bool shared_gate = false;  ///< the shared expert is gated by a sigmoid (qwen2_moe)
  bool renormalise = false;  ///< weights of the chosen experts sum to 1
  bool router_fp32 = false;
  bool router_weight_fp32 = false;  ///< stored so, whatever the model's type
  bool router_bias = false, expert_bias = false;
  bool transposed = false;  ///< experts stored [experts, in, out]
  bool clamped = false;     ///< gate and value alternate, both are clamped (gpt_oss)
  std::string router_name = "gate", correction = "e_score_correction_bias";
  bool gated = true;
  double scale = 1;  ///< on the weights
  RouterKind router = RouterKind::softmax_top;
  std::int64_t groups = 0, top_groups = 0;
  std::int64_t latent = 0;  ///< width that rows are projected to before the experts; 0: as they are
};

/// Words with what other inputs make of them.
struct Merged {
  TensorId hidden;             ///< [b, s, hidden]
  TensorId places = {};        ///< [b, s, 1]: where the other inputs stand
  std::vector<TensorId> deep;  ///< added there behind the first, second, ... layer (qwen3_vl)
};

/// Constants that parts are multiplied by (falcon_h1); 0: none.
struct Multipliers {
  double attention_in = 0, attention_out = 0, recurrence_out = 0, key = 0, gate = 0, down = 0;
};

/// A decoder-only language model in neutral terms. Families differ in names and in these choices;
/// the builder knows no family.
struct DecoderSpec {
  DecoderNames names;
  std::int64_t vocab = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0;
  std::int64_t embed_dim = 0;  ///< 0: hidden; else projected in and out (opt-350m)
  std::int64_t max_positions = 0;
  std::int64_t position_offset = 0;  ///< extra rows of learned positions (opt: 2)
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-6;
  bool final_norm = true;
  BlockKind block = BlockKind::pre;
  Positions positions = Positions::rotary;
  std::int64_t rotary_dim = 0;  ///< 0: the whole head
  bool two_rotary = false;      ///< a second table for sliding layers (gemma3)
  QkNorm qk_norm = QkNorm::none;
  NormKind qk_norm_kind = NormKind::rms;
  bool qk_norm_after = false;    ///< behind the rotation
  bool qk_norm_turning = false;  ///< only in layers that rotate
  bool gated_attention = false;  ///< queries bring a gate for what attention gives (qwen3_next)
  bool sinks = false;            ///< a learnt score per head that no key has (gpt_oss)
  bool tempered = false;      ///< layers that do not rotate scale queries by their place (llama4)
  bool all_tempered = false;  ///< all do (ministral3)
  AttentionKind attention = AttentionKind::fused;
  bool causal = true;
  bool repeat_kv_by_view = false;  ///< keys are broadcast to all heads before attention
  bool qkv_bias = false, o_bias = false, mlp_bias = false, head_bias = false;
  bool conv1d = false;  ///< weights stored [in, out] (gpt2)
  double softcap = 0, logit_softcap = 0, clip_qkv = 0;
  double attention_scale = 0;       ///< 0: 1/sqrt(head_dim)
  bool embed_scale_buffer = false;  ///< the scale is a buffer of the embedding (gemma)
  bool table_per_layer = false;     ///< each attention keeps a table of sines and cosines (gptj)
  double embed_scale = 0, residual_scale = 0, logit_scale = 0;  ///< 0: none
  double head_scale = 0;  ///< of what the head reads (minicpm3)
  Multipliers scales{};
  bool gated = true;
  std::string activation = "silu";
  double attention_dropout = 0, residual_dropout = 0, embed_dropout = 0;
  bool tied = false;
  std::optional<LatentAttention> latent;
  std::optional<MixtureOfExperts> moe;
  std::int64_t shared_ffn = 0;  ///< of a "shared_mlp" beside the experts (granitemoeshared)
  std::function<bool(std::int64_t)> layer_has_experts;  ///< empty: all, when `moe` is set
  std::function<bool(std::int64_t)> layer_is_local;     ///< which layers use the second table
  std::function<bool(std::int64_t)> layer_turns;        ///< which rotate at all; empty: all
  std::function<bool(std::int64_t)> layer_slides;       ///< which attend within `window`
  std::int64_t window = 0;                              ///< positions; 0: all
  enum class Head { causal_lm, none, classifier, tokens, questions } head = Head::causal_lm;
  double head_dropout = 0;  ///< of the token classifier
  std::int64_t labels = 2;
  std::int64_t sequence_hint = 2048;
  std::function<TensorId(GraphWriter&, TensorId x)> recurrence;  ///< what layers do that recur
  std::function<bool(std::int64_t)> layer_recurs;                ///< which; empty: none
  std::function<bool(std::int64_t)> layer_attends;               ///< of layers that are one part
  /// What other inputs make of the words' embeddings [b, s, hidden], at the root: images, sounds.
  std::function<Merged(GraphWriter&, TensorId ids, TensorId hidden)> merge;

  bool slides(std::int64_t layer) const;
  /// Whether sequences of the usual length reach beyond the window: then its layers have a mask.
  bool masks_window() const { return window > 0 && window <= sequence_hint; }
};

/// Writes embedding, layers, norm and head; the finished graph.
Graph build_decoder(GraphWriter& writer, const DecoderSpec& spec);

// --- parts, in files of their own ---------------------------------------------------------------

/// Rotary tables of the current step, [1, 1, sequence, rotary_dim].
struct RotaryTables {
  TensorId cos, sin;
  TensorId positions = {};  ///< [1, sequence]
};
RotaryTables rotary_tables(GraphWriter& w, TensorId positions, std::int64_t rotary_dim,
                           const char* inverse_frequencies = "inv_freq");
/// x [b, h, s, d] with the first `rotary_dim` channels rotated.
TensorId rotate(GraphWriter& w, TensorId x, const RotaryTables& tables, std::int64_t rotary_dim,
                bool interleaved);
/// (x0 + i x1) times the unit complex numbers in `tables.cos`; all of x.
TensorId rotate_complex(GraphWriter& w, TensorId x, const RotaryTables& tables);

/// A norm as submodule `name`.
TensorId norm(GraphWriter& w, TensorId x, std::string_view name, NormKind kind, double eps);
/// The operators of an activation; `known_activation` names the ones there are.
TensorId activate(GraphWriter& w, TensorId x, std::string_view activation);
const std::vector<std::string>& known_activations();

/// `x` times a constant; 0: as it is.
TensorId scaled(GraphWriter& w, TensorId x, double scale);
/// `mask` is added to the scores, or says where to look: alibi's bias, a window; may be invalid.
TensorId decoder_attention(GraphWriter& w, TensorId x, const DecoderSpec& spec,
                           const RotaryTables& tables, TensorId mask);
TensorId latent_attention(GraphWriter& w, TensorId x, const DecoderSpec& spec,
                          const RotaryTables& tables);
TensorId feed_forward(GraphWriter& w, TensorId x, const DecoderSpec& spec, std::int64_t ffn);
/// Router, grouped matrix products and shared expert, in the current module.
TensorId expert_mixture(GraphWriter& w, TensorId x, const DecoderSpec& spec);

}  // namespace parallel_opt::hf
