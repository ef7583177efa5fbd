#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_reader.h"

namespace parallel_opt::hf {

/// Pre-norm layers with biases: what vit, deit, dinov2, siglip and both sides of clip are made of.
struct TowerSpec {
  std::int64_t hidden = 0, ffn = 0, layers = 0, heads = 0;
  double eps = 1e-12, dropout = 0, attention_dropout = 0;
  std::string activation = "gelu";
  bool causal = false, qkv_bias = true;
  std::string attention = "attention", o = "o_proj";
  std::string norm1 = "layernorm_before", norm2 = "layernorm_after";
  NormKind norm = NormKind::layer;
  std::string q_norm = {}, k_norm = {};
  bool layer_scale = false;  ///< what each half adds is scaled by channel (dinov2)
  bool swiglu = false;       ///< silu(gate x) * up x in place of the activation (dinov2-giant)
  std::string scale1 = "layer_scale1.lambda1", scale2 = "layer_scale2.lambda1";
  std::string q = "q_proj", k = "k_proj", v = "v_proj";
  std::string mlp = "mlp", up = "fc1", down = "fc2", gate = {};
  bool k_bias = true, o_bias = true, mlp_bias = true;
  RotaryTables tables{};      ///< what queries and keys are turned by; may be invalid
  std::int64_t unturned = 0;  ///< leading tokens that are not turned
  TensorId mask{};            ///< added to the scores; may be invalid
  /// Added there too, made in each layer; empty: nothing.
  std::function<TensorId(GraphWriter&)> layer_mask = {};
};

/// A tower above an image: sizes are height, width.
struct ImageSpec {
  TowerSpec tower;
  std::array<std::int64_t, 2> image = {224, 224}, patch = {16, 16};
  std::int64_t channels = 3, extra_tokens = 1;
  std::int64_t rows() const { return image[0] / patch[0]; }
  std::int64_t columns() const { return image[1] / patch[1]; }
  std::int64_t patches() const { return rows() * columns(); }
};

/// The layers "LAYERS.FIRST" up to, and without, "LAYERS.END".
TensorId run_tower(GraphWriter& w, TensorId x, const TowerSpec& spec, const std::string& layers,
                   std::int64_t first, std::int64_t end);
TensorId run_tower(GraphWriter& w, TensorId x, const TowerSpec& spec, const std::string& layers);
/// Patches as a strided convolution: [b, patches, hidden].
TensorId image_patches(GraphWriter& w, TensorId pixels, const ImageSpec& spec,
                       std::string_view name, bool bias);
TensorId pixel_input(GraphWriter& w, const ImageSpec& spec, const Dim& batch);

/// What reaches beyond the last whole patch is cut off with `cut`, else a fault.
void read_image(ConfigReader& c, ImageSpec& spec, std::int64_t patch, bool cut = false);
void read_tower(ConfigReader& c, TowerSpec& tower, const TowerSpec& defaults);
/// vit's layers under the names of older classes (beit, videomae).
void older_names(TowerSpec& tower);

/// Three layers for each token: what boxes are made of.
TensorId three_layers(GraphWriter& w, TensorId x, const std::string& name, std::int64_t out);

/// The image side of clip and that of siglip, in the current module.
ImageSpec clip_image_defaults();
void read_clip_image(ConfigReader& c, ImageSpec& spec);
/// States after `layers` of the tower's layers, the class token first.
TensorId clip_image_states(GraphWriter& w, const ImageSpec& spec, TensorId pixels,
                           std::int64_t layers);
ImageSpec read_siglip_image(ConfigReader& c);
/// The same without a class token.
TensorId siglip_image_states(GraphWriter& w, const ImageSpec& spec, TensorId pixels,
                             std::int64_t layers);
/// Attention of one learnt query to the normed states, then two layers: [batch, hidden].
TensorId siglip_pool(GraphWriter& w, const ImageSpec& spec, TensorId x);

}  // namespace parallel_opt::hf
