#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "parallel_opt/importers/hf_decoder.h"
#include "parallel_opt/importers/hf_reader.h"

namespace parallel_opt::hf {

/// A model_type: how its configuration is read and its graph is written. Reading stops before the
/// graph is written when a fault was found.
struct HfFamily {
  using Writing = std::function<Graph(GraphWriter&)>;
  std::string_view type;
  /// Reads every field; the result writes the graph. Called only when no fault was found.
  Writing (*read)(ConfigReader&) = nullptr;
  /// Of a decoder in place of that: what writing() takes.
  DecoderSpec (*decoder)(ConfigReader&) = nullptr;

  constexpr HfFamily(std::string_view name, Writing (*reader)(ConfigReader&))
      : type(name), read(reader) {}
  constexpr HfFamily(std::string_view name, DecoderSpec (*reader)(ConfigReader&))
      : type(name), decoder(reader) {}
};

// One table per file; hf_config.cpp joins them.
std::span<const HfFamily> decoder_families();
std::span<const HfFamily> early_decoder_families();
std::span<const HfFamily> further_decoder_families();
std::span<const HfFamily> decoder_kin_families();
std::span<const HfFamily> expert_families();
std::span<const HfFamily> further_expert_families();
std::span<const HfFamily> expert_kin_families();
std::span<const HfFamily> encoder_families();
std::span<const HfFamily> encoder_kin_families();
std::span<const HfFamily> sequence_families();
std::span<const HfFamily> t5_families();
std::span<const HfFamily> resnet_families();
std::span<const HfFamily> segformer_families();
std::span<const HfFamily> vision_families();
std::span<const HfFamily> vision_kin_families();
std::span<const HfFamily> video_families();
std::span<const HfFamily> further_vision_families();
std::span<const HfFamily> convnext_families();
std::span<const HfFamily> swin_families();
std::span<const HfFamily> deberta_families();
std::span<const HfFamily> modernbert_families();
std::span<const HfFamily> multimodal_families();
std::span<const HfFamily> sight_families();
std::span<const HfFamily> mobile_families();
std::span<const HfFamily> detr_families();
std::span<const HfFamily> qwen_vision_families();
std::span<const HfFamily> llama4_families();
std::span<const HfFamily> speech_families();
std::span<const HfFamily> state_space_families();
std::span<const HfFamily> hybrid_families();
std::span<const HfFamily> further_hybrid_families();
std::span<const HfFamily> delta_families();

/// Fields that decoders share, under the names most families use.
struct DecoderDefaults {
  std::int64_t vocab, hidden, ffn, layers, heads;
  std::int64_t kv_heads = 0;  ///< 0: as many as heads
  std::int64_t max_positions = 2048;
  std::int64_t head_dim = 0;  ///< 0: hidden / heads
  bool tied = false;
  std::string_view activation = "silu";
};
DecoderSpec read_decoder(ConfigReader& c, const DecoderDefaults& defaults);
/// For families that call the sizes otherwise: the checks and the fields all share.
void finish_sizes(ConfigReader& c, DecoderSpec& spec, std::string_view heads_key,
                  std::string_view hidden_key);
/// What the sizes are called, the usual name first.
struct SizeNames {
  ConfigReader::Keys hidden, layers, heads, positions;
  std::int64_t most_positions = limits::kSequence;
};
/// Sizes, all but the inner width, where keys have as many heads as queries.
void read_named_sizes(ConfigReader& c, DecoderSpec& spec, const DecoderDefaults& defaults,
                      const SizeNames& names);
/// GPT-2's names of modules, which others took over; `o` and `qkv` differ.
DecoderNames gpt_names();
/// The text model of a file's text_config, of the family that it names or of the usual one;
/// nothing, with a fault, where it is no decoder that can be part of another model.
/// With `flat` the fields may stand beside vision_config, as older files have them.
std::optional<DecoderSpec> read_text_model(ConfigReader& c, std::string_view usual,
                                           bool flat = false);
/// Whose word the tying of words is: the outer model's, or that of either.
enum class TiedBy { outer, outer_by_default, either };
/// The names of a decoder inside another model, and its head; whether it has none.
bool put_text_inside(ConfigReader& c, DecoderSpec& text, TiedBy tied,
                     const std::string& name = "language_model");
/// What follows the last layer, as far as transformers has it for the family.
void read_head(ConfigReader& c, DecoderSpec& spec);
/// Which layers attend within a window, and how wide it is.
void read_windows(ConfigReader& c, DecoderSpec& spec);
void note_windows(GraphWriter& w, const DecoderSpec& spec);
/// Faults where what is rotated has no two halves.
void check_rotary(ConfigReader& c, const DecoderSpec& spec);
/// The share of each head that is rotated.
void partly_rotary(ConfigReader& c, DecoderSpec& spec, ConfigReader::Keys keys, double fallback);
/// Layer norms with weight and bias, their epsilon under one of the keys.
void layer_norms(ConfigReader& c, DecoderSpec& spec, ConfigReader::Keys keys);
/// Multipliers of embeddings, residuals, scores and logits, and biases (granite).
void granite_scales(ConfigReader& c, DecoderSpec& spec);
/// Norms of queries and keys behind their rotation (hunyuan).
void hunyuan_norms(DecoderSpec& spec);
/// What the numbers of experts, and of those that a token meets, are called; with their defaults.
struct ExpertKeys {
  ConfigReader::Keys experts;
  std::int64_t experts_default;
  ConfigReader::Keys chosen;
  std::int64_t chosen_default;
};
MixtureOfExperts read_mixture(ConfigReader& c, const ExpertKeys& keys, std::int64_t ffn);
/// Ranks and widths of latent attention; absent ones as `usual` has them.
LatentAttention read_latent(ConfigReader& c, LatentAttention usual);
/// A fault when a token shall meet more experts than there are.
void check_choice(ConfigReader& c, const MixtureOfExperts& moe, std::string_view experts_key);
/// The router of deepseek_v3, with its groups and `shared` experts that every token meets.
void grouped_mixture(ConfigReader& c, DecoderSpec& s, MixtureOfExperts m, std::int64_t shared);
/// Layers with experts: those that `mlp_layer_types` calls sparse, or all but the first `dense`.
void listed_sparse(ConfigReader& c, DecoderSpec& s, std::int64_t dense);
/// Layers with experts: every `decoder_sparse_step`-th, but not `mlp_only_layers`.
void sparse_layers(ConfigReader& c, DecoderSpec& spec);
/// The first layers have no experts: `first_k_dense_replace`.
void dense_before(ConfigReader& c, DecoderSpec& spec, std::int64_t fallback);
/// Norms before and behind attention and the inner layers (glm4).
void norms_on_both_sides(DecoderSpec& spec);
/// down(activation(up x)) with these names.
void plain_mlp(DecoderSpec& spec, const char* up, const char* down);
std::function<Graph(GraphWriter&)> writing(DecoderSpec spec);

}  // namespace parallel_opt::hf
