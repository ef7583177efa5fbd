#include "parallel_opt/importers/hf_sight.h"

#include <optional>

// Towers and projectors of their own: pixtral's tower, internvl, idefics3 and smolvlm.
namespace parallel_opt::hf {

TensorId tiled_pixels(GraphWriter& w, const ImageSpec& image, const Dim& batch) {
  const Dim tiles = w.symbol("image_tiles", 5);
  const Dim channels = fixed(image.channels), rows = fixed(image.image[0]),
            columns = fixed(image.image[1]);
  const TensorId pixels =
      w.input("pixel_values", w.dtype(), {batch, tiles, channels, rows, columns});
  return w.view(pixels, {times(batch, tiles), channels, rows, columns});
}

void note_tiles(ConfigReader& c) {
  c.note(
      "images are cut into image_tiles tiles, 5 until bound; tokens that only fill up are counted "
      "too");
}

void check_squares(ConfigReader& c, const ImageSpec& image, std::int64_t merge,
                   std::string_view key) {
  if (image.rows() % merge == 0 && image.columns() % merge == 0) return;
  c.fault(key, std::to_string(image.rows()) + " by " + std::to_string(image.columns()) +
                   " patches are no whole squares of " + std::to_string(merge) + " by " +
                   std::to_string(merge));
}

TensorId squares_as_rows(GraphWriter& w, TensorId x, const ImageSpec& image, std::int64_t merge) {
  const Dim images = w.dim(x, 0), side = fixed(merge), hidden = w.last(x);
  const Dim rows = fixed(image.rows() / merge), columns = fixed(image.columns() / merge);
  const TensorId grid = w.view(x, {images, rows, side, columns, side, hidden});
  const TensorId squares =
      w.view_op("aten.permute.default", grid, {images, rows, columns, side, side, hidden},
                {{"dims", std::vector<std::int64_t>{0, 1, 3, 2, 4, 5}}});
  return w.op("aten.reshape.default", {{"self", squares}},
              {images, times(rows, columns), times(hidden, fixed(merge * merge))});
}

// --- pixtral

ImageSpec pixtral_image_defaults() {
  ImageSpec s;
  s.image = {1024, 1024};
  s.tower.hidden = 1024;
  s.tower.ffn = 4096;
  s.tower.layers = 24;
  s.tower.heads = 16;
  return s;
}

ImageSpec read_pixtral_image(ConfigReader& c, const ImageSpec& defaults) {
  ImageSpec s = defaults;
  TowerSpec& t = s.tower;
  read_tower(c, t, defaults.tower);
  read_image(c, s, defaults.patch[0], true);
  t.attention_dropout = c.real({"attention_dropout"}, 0);
  t.norm = NormKind::rms;
  t.eps = 1e-5;
  t.norm1 = "attention_norm";
  t.norm2 = "ffn_norm";
  t.mlp = "feed_forward";
  t.gate = "gate_proj";
  t.up = "up_proj";
  t.down = "down_proj";
  t.qkv_bias = t.o_bias = t.mlp_bias = false;
  if (t.heads > 0 && t.hidden / t.heads % 4 != 0) {
    c.fault("num_attention_heads", "heads must be a multiple of 4 wide");
  }
  c.ignore({"head_dim", "rope_parameters", "rope_theta"});
  c.note(
      "images are as large as image_size, the most; each attends to itself alone, as with flash "
      "attention");
  return s;
}

TensorId pixtral_image_states(GraphWriter& w, ImageSpec& s, TensorId pixels) {
  TowerSpec& t = s.tower;
  const std::int64_t width = t.hidden / t.heads;
  const TensorId patches = image_patches(w, pixels, s, "patch_conv", false);
  const TensorId x = norm(w, patches, "ln_pre", NormKind::rms, t.eps);
  const GraphWriter::Scope scope(w, "patch_positional_embedding");
  const TensorId frequencies = w.buffer("inv_freq", DType::fp32, {width / 2});
  w.buffer("original_inv_freq", DType::fp32, {width / 2});
  const TensorId places =
      w.op("aten.arange.default", DType::fp32, {}, {fixed(s.patches()), fixed(2), fixed(1)});
  const TensorId angles = w.mul(places, w.view(frequencies, {fixed(2), fixed(width / 4)}));
  const auto table = [&](const char* target) {
    const TensorId half =
        w.view(w.to(w.unary(target, angles), w.dtype()), {fixed(s.patches()), fixed(width / 2)});
    return w.cat({half, half}, 1);
  };
  t.tables.cos = table("aten.cos.default");
  t.tables.sin = table("aten.sin.default");
  return x;
}

namespace {

using Writing = std::function<Graph(GraphWriter&)>;

// --- internvl

struct InternSpec {
  ImageSpec image;
  std::string base = "model.", activation = "gelu";
  std::int64_t text_width = 0, merge = 2;
  std::int64_t layer = 0;  ///< whose states are read
  bool mask_token = false, places = true, final_norm = false, class_token = false, last = true;
};

TensorId intern_states(GraphWriter& w, const InternSpec& s, TensorId pixels) {
  const TowerSpec& t = s.image.tower;
  const GraphWriter::Scope scope(w, s.base + "vision_tower");
  TensorId x;
  {
    const GraphWriter::Scope embeddings(w, "embeddings");
    const TensorId cls = w.parameter("cls_token", {1, 1, t.hidden});
    if (s.mask_token) w.parameter("mask_token", {1, 1, t.hidden});
    const TensorId patches = image_patches(w, pixels, s.image, "patch_embeddings.projection", true);
    x = w.cat({w.expand(cls, {w.dim(pixels, 0), fixed(1), fixed(t.hidden)}), patches}, 1);
    if (s.places) {
      x = w.add(x, w.parameter("position_embeddings", {1, s.image.patches() + 1, t.hidden}));
    }
    x = w.dropout(x, t.dropout);
  }
  const TensorId read = run_tower(w, x, t, "encoder.layer", 0, s.layer);
  const TensorId last = run_tower(w, read, t, "encoder.layer", s.layer, t.layers);
  const TensorId normed = s.final_norm ? w.layer_norm(last, "layernorm", t.eps) : last;
  return s.last ? normed : read;
}

TensorId intern_tokens(GraphWriter& w, const InternSpec& s, const Dim& batch) {
  TensorId x = intern_states(w, s, tiled_pixels(w, s.image, batch));
  if (!s.class_token) x = w.slice(x, 1, 1, fixed(s.image.patches()));
  x = squares_as_rows(w, x, s.image, s.merge);
  const GraphWriter::Scope scope(w, s.base + "multi_modal_projector");
  return two_layers(w, w.layer_norm(x, "layer_norm", 1e-5),
                    {"linear_1", "linear_2", s.text_width, s.text_width, s.activation});
}

void read_intern_image(ConfigReader& c, InternSpec& s) {
  TowerSpec& t = s.image.tower;
  s.image.image = {448, 448};
  read_tower(c, t,
             {.hidden = 1024,
              .ffn = 4096,
              .layers = 24,
              .heads = 16,
              .eps = 1e-6,
              .o = "projection_layer",
              .layer_scale = true,
              .scale1 = "lambda_1",
              .scale2 = "lambda_2"});
  read_image(c, s.image, 14, true);
  t.qkv_bias = c.flag({"attention_bias"}, false);
  if (c.flag({"use_qk_norm"}, false)) {
    t.q_norm = "q_norm";
    t.k_norm = "k_norm";
  }
  const bool rms = c.choice({"norm_type"}, "layer_norm", {"layer_norm", "rms_norm"}) == "rms_norm";
  t.norm = rms ? NormKind::rms : NormKind::layer;
  t.attention_dropout = c.real({"attention_dropout"}, 0);
  c.note_when_set("hidden_dropout_prob", "left out of the image tower");
  c.note_when_set("projection_dropout", "left out of the image tower");
  s.mask_token = c.flag({"use_mask_token"}, false);
  s.places = c.flag({"use_absolute_position_embeddings"}, true);
  s.final_norm = !c.flag({"use_mean_pooling"}, true);
  c.ignore({"model_type", "layer_scale_init_value"});
  c.note_unread();
}

Writing internvl(ConfigReader& c) {
  InternSpec s;
  ConfigReader v = c.object_or_empty("vision_config");
  const std::string type = v.text({"model_type"}, "internvl_vision");
  if (type != "internvl_vision") {
    c.fault("vision_config.model_type", "'" + type.substr(0, 40) + "' is not built here",
            "known here: internvl_vision; or capture the model");
  }
  read_intern_image(v, s);
  const double ratio = c.real({"downsample_ratio"}, 0.5);
  s.merge = ratio > 1.0 / 64 ? static_cast<std::int64_t>(1 / ratio) : 0;
  if (s.merge < 1) {
    c.fault("downsample_ratio", "must be 1 / n, such as 0.5");
    s.merge = 1;
  }
  check_squares(c, s.image, s.merge, "downsample_ratio");
  s.layer = c.whole({"vision_feature_layer"}, -1, -limits::kLayers, limits::kLayers);
  s.last = s.layer == -1;
  if (s.layer < 0) s.layer += s.image.tower.layers + 1;
  if (s.layer < 0 || s.layer > s.image.tower.layers) {
    c.fault("vision_feature_layer",
            "is no layer of the image tower, which has " + std::to_string(s.image.tower.layers));
  }
  if (c.choice({"vision_feature_select_strategy"}, "default", {"default", "full"}) == "full") {
    c.fault("vision_feature_select_strategy",
            "'full' keeps a class token that has no place in a square of patches");
  }
  s.activation = c.activation({"projector_hidden_act"}, "gelu");
  std::optional<DecoderSpec> text = read_text_model(c, "qwen2");
  c.ignore({"image_token_id", "image_seq_length"});
  note_tiles(c);
  if (!text) return {};
  if (put_text_inside(c, *text, TiedBy::outer_by_default)) s.base = "";
  s.text_width = text->hidden;
  return seeing(std::move(*text),
                [s](GraphWriter& w, const Dim& batch) { return intern_tokens(w, s, batch); });
}

// --- idefics3, smolvlm

struct IdeficsSpec {
  ImageSpec image;
  std::string base = "model.";
  std::int64_t text_width = 0, merge = 2;
};

TensorId idefics_tokens(GraphWriter& w, const IdeficsSpec& s, const Dim& batch) {
  const TowerSpec& t = s.image.tower;
  const TensorId pixels = tiled_pixels(w, s.image, batch);
  TensorId x;
  {
    const GraphWriter::Scope scope(w, s.base + "vision_model");
    {
      const GraphWriter::Scope embeddings(w, "embeddings");
      const TensorId table =
          w.parameter("position_embedding.weight", {s.image.patches(), t.hidden});
      const TensorId places =
          w.op("aten.arange.default", DType::i64, {}, {w.dim(pixels, 0), fixed(s.image.patches())});
      x = w.add(image_patches(w, pixels, s.image, "patch_embedding", true),
                w.embedding(places, table, "position_embedding"));
    }
    x = w.layer_norm(run_tower(w, x, t, "encoder.layers"), "post_layernorm", t.eps);
  }
  const GraphWriter::Scope scope(w, s.base + "connector");
  return w.linear(squares_as_rows(w, x, s.image, s.merge), "modality_projection.proj", s.text_width,
                  false);
}

Writing read_idefics(ConfigReader& c, std::string_view vision) {
  IdeficsSpec s;
  ConfigReader v = c.object_or_empty("vision_config");
  TowerSpec& t = s.image.tower;
  read_tower(v, t,
             {.hidden = 1152,
              .ffn = 3072,
              .layers = 12,
              .heads = 16,
              .eps = 1e-6,
              .activation = "gelu_pytorch_tanh",
              .attention = "self_attn",
              .o = "out_proj",
              .norm1 = "layer_norm1",
              .norm2 = "layer_norm2"});
  read_image(v, s.image, 32, true);
  t.attention_dropout = v.real({"attention_dropout"}, 0);
  const std::string type = v.text({"model_type"}, vision);
  if (type != vision && type != c.text({"model_type"}, "")) {
    c.fault("vision_config.model_type", "'" + type.substr(0, 40) + "' is not built here",
            "known here: " + std::string(vision) + "; or capture the model");
  }
  v.ignore({"size", "max_image_size", "use_base_siglip"});  // of what prepares images
  v.note_unread();
  s.merge = c.whole({"scale_factor"}, 2, 1, 64);
  check_squares(c, s.image, s.merge, "scale_factor");
  std::optional<DecoderSpec> text = read_text_model(c, "llama");
  c.ignore({"image_token_id", "image_seq_len", "pad_token_id", "vocab_size"});
  note_tiles(c);
  if (!text) return {};
  if (put_text_inside(c, *text, TiedBy::outer, "text_model")) s.base = "";
  s.text_width = text->hidden;
  return seeing(std::move(*text),
                [s](GraphWriter& w, const Dim& batch) { return idefics_tokens(w, s, batch); });
}

Writing idefics3(ConfigReader& c) { return read_idefics(c, "idefics3_vision"); }
Writing smolvlm(ConfigReader& c) { return read_idefics(c, "smolvlm_vision"); }

constexpr HfFamily kSightFamilies[] = {
    {"internvl", internvl}, {"idefics3", idefics3}, {"smolvlm", smolvlm}};

}  // namespace

std::span<const HfFamily> sight_families() { return kSightFamilies; }

}  // namespace parallel_opt::hf
