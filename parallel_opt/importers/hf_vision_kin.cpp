#include <algorithm>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Images through vit's layers with other tokens, positions or heads: vit_msn, ijepa, yolos, beit,
// data2vec-vision, dinov3_vit, audio-spectrogram-transformer.
namespace parallel_opt::hf {

TensorId three_layers(GraphWriter& w, TensorId x, const std::string& name, std::int64_t out) {
  const std::int64_t hidden = w.last(x).size;
  x = w.unary("aten.relu.default", w.linear(x, name + ".layers.0", hidden, true));
  x = w.unary("aten.relu.default", w.linear(x, name + ".layers.1", hidden, true));
  return w.linear(x, name + ".layers.2", out, true);
}

namespace {

using Writing = std::function<Graph(GraphWriter&)>;

struct ViewSpec {
  ImageSpec image;
  std::string base, layers = "layers";
  HeadKind head = HeadKind::image_classification;
  std::int64_t labels = 2;
  std::int64_t detected = 0;  ///< tokens that become boxes (yolos)
  bool class_token = true, mask_token = false, places = true;
  bool places_again = false;  ///< behind every layer but the last (yolos)
  bool mean = false;          ///< of all patches in place of the class token
  bool last_norm = true;
  bool pooled_norm = false;                      ///< behind that mean (beit)
  bool pooler = false;                           ///< of the bare model
  bool layer_bias = false, shared_bias = false;  ///< of distances between patches (beit)
  std::int64_t registers = 0;

  std::int64_t tokens() const {
    return image.patches() + (class_token ? 1 : 0) + registers + detected;
  }
};

TensorId mean_of_tokens(GraphWriter& w, TensorId x, std::int64_t first) {
  if (first > 0) x = w.slice(x, 1, first, plus(w.dim(x, 1), -first));
  return w.op("aten.mean.dim", {{"self", x}}, {w.dim(x, 0), w.last(x)},
              {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
}

TensorId view_embeddings(GraphWriter& w, const ViewSpec& s, TensorId pixels) {
  const std::int64_t hidden = s.image.tower.hidden;
  const Dim batch = w.dim(pixels, 0);
  const GraphWriter::Scope scope(w, "embeddings");
  std::vector<TensorId> parts;
  const auto token = [&](const char* name, std::int64_t count) {
    const TensorId one = w.parameter(name, {1, count, hidden});
    parts.push_back(w.expand(one, {batch, fixed(count), fixed(hidden)}));
  };
  if (s.class_token) token("cls_token", 1);
  if (s.mask_token) w.parameter("mask_token", {1, 1, hidden});
  parts.push_back(image_patches(w, pixels, s.image, "patch_embeddings.projection", true));
  if (s.detected > 0) token("detection_tokens", s.detected);
  TensorId x = parts.size() > 1 ? w.cat(parts, 1) : parts.front();
  if (s.places) x = w.add(x, w.parameter("position_embeddings", {1, s.tokens(), hidden}));
  return w.dropout(x, s.image.tower.dropout);
}

/// A number for each head and distance between two patches, or to and from the class token.
TensorId distance_biases(GraphWriter& w, const ViewSpec& s) {
  const std::int64_t rows = s.image.rows(), columns = s.image.columns(),
                     heads = s.image.tower.heads;
  const Dim count = fixed(s.image.patches() + 1);
  const TensorId table =
      w.parameter("relative_position_bias_table", {(2 * rows - 1) * (2 * columns - 1) + 3, heads});
  const TensorId index = w.op("aten.arange.default", DType::i64, {}, {times(count, count)});
  const TensorId found = w.op("aten.index.Tensor", {{"self", table}, {"indices", index}},
                              {times(count, count), fixed(heads)});
  const TensorId heads_first =
      w.view_op("aten.permute.default", w.view(found, {count, count, fixed(heads)}),
                {fixed(heads), count, count}, {{"dims", std::vector<std::int64_t>{2, 0, 1}}});
  return w.unsqueeze(
      w.op("aten.clone.default", {{"self", heads_first}}, w.tensor(heads_first).shape), 0);
}

TensorId view_layers(GraphWriter& w, const ViewSpec& s, TensorId x) {
  TowerSpec t = s.image.tower;
  if (s.shared_bias) {
    const GraphWriter::Scope scope(w, "shared_position_bias");
    t.mask = distance_biases(w, s);
  }
  if (s.layer_bias) {
    t.layer_mask = [&s](GraphWriter& writer) {
      const GraphWriter::Scope scope(writer, "relative_position_bias");
      return distance_biases(writer, s);
    };
  }
  if (!s.places_again) return run_tower(w, x, t, s.layers);
  const TensorId places = w.parameter("encoder.interpolation.mid_position_embeddings",
                                      {t.layers - 1, 1, s.tokens(), t.hidden});
  for (std::int64_t i = 0; i < t.layers; ++i) {
    x = run_tower(w, x, t, s.layers, i, i + 1);
    if (i + 1 < t.layers) x = w.add(x, w.select(places, 0, i));
  }
  return x;
}

Graph build_view(GraphWriter& w, const ViewSpec& s) {
  const TowerSpec& t = s.image.tower;
  const TensorId pixels = pixel_input(w, s.image, w.symbol("batch", 1));
  TensorId x, pooled;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : s.base);
    x = view_layers(w, s, view_embeddings(w, s, pixels));
    if (s.last_norm) x = w.layer_norm(x, "layernorm", t.eps);
    if (s.pooled_norm) {
      pooled = s.mean ? w.layer_norm(mean_of_tokens(w, x, 1), "pooler.layernorm", t.eps)
                      : w.select(x, 1, 0);
    } else if (s.pooler && s.head == HeadKind::base) {
      const TensorId dense = w.linear(w.select(x, 1, 0), "pooler.dense", t.hidden, true);
      pooled = w.unary("aten.tanh.default", dense);
    }
  }
  if (s.head == HeadKind::base) return pooled.valid() ? w.finish({x, pooled}) : w.finish({x});
  if (s.head == HeadKind::object_detection) {
    const TensorId boxes = w.slice(x, 1, s.tokens() - s.detected, fixed(s.detected));
    const TensorId kinds = three_layers(w, boxes, "class_labels_classifier", s.labels + 1);
    const TensorId edges = three_layers(w, boxes, "bbox_predictor", 4);
    return w.finish({kinds, w.unary("aten.sigmoid.default", edges)});
  }
  if (!pooled.valid()) pooled = s.mean ? mean_of_tokens(w, x, 0) : w.select(x, 1, 0);
  return w.finish({w.linear(pooled, "classifier", s.labels, true)});
}

ViewSpec read_view(ConfigReader& c, const char* base, double eps) {
  ViewSpec s;
  s.base = base;
  TowerSpec& t = s.image.tower;
  read_tower(c, t, {.hidden = 768, .ffn = 3072, .heads = 12, .eps = eps});
  read_image(c, s.image, 16);
  t.qkv_bias = c.flag({"qkv_bias"}, true);
  t.dropout = c.real({"hidden_dropout_prob"}, 0);
  t.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.labels = c.labels();
  return s;
}

constexpr auto kViews = {HeadKind::image_classification, HeadKind::base};

Writing vit_msn(ConfigReader& c) {
  ViewSpec s = read_view(c, "vit", 1e-6);
  s.head = c.head(HeadKind::image_classification, kViews);
  return [s](GraphWriter& w) { return build_view(w, s); };
}

Writing ijepa(ConfigReader& c) {
  ViewSpec s = read_view(c, "ijepa", 1e-12);
  s.class_token = false;
  s.mean = true;
  s.head = c.head(HeadKind::image_classification, kViews);
  c.ignore({"pooler_output_size", "pooler_act"});
  return [s](GraphWriter& w) { return build_view(w, s); };
}

Writing yolos(ConfigReader& c) {
  ViewSpec s;
  s.image.image = {512, 864};
  const std::array<std::int64_t, 2> usual = s.image.image;
  s = read_view(c, "vit", 1e-12);
  if (!c.has("image_size")) s.image.image = usual;
  s.layers = "encoder.layer";
  older_names(s.image.tower);
  s.detected = c.whole({"num_detection_tokens"}, 100, 1, 1 << 14);
  s.places_again = c.flag({"use_mid_position_embeddings"}, true);
  s.pooler = true;
  s.head = c.head(HeadKind::object_detection, {HeadKind::object_detection, HeadKind::base});
  return [s](GraphWriter& w) { return build_view(w, s); };
}

ViewSpec read_beit(ConfigReader& c, const char* base) {
  ViewSpec s = read_view(c, base, 1e-12);
  TowerSpec& t = s.image.tower;
  t.qkv_bias = true;
  t.k_bias = false;
  t.scale1 = "lambda_1";
  t.scale2 = "lambda_2";
  t.layer_scale = c.real({"layer_scale_init_value"}, 0.1) > 0;
  s.mask_token = c.flag({"use_mask_token"}, false);
  s.places = c.flag({"use_absolute_position_embeddings"}, false);
  s.layer_bias = c.flag({"use_relative_position_bias"}, false);
  s.shared_bias = c.flag({"use_shared_relative_position_bias"}, false);
  s.mean = c.flag({"use_mean_pooling"}, true);
  s.last_norm = !s.mean;
  s.head = c.head(HeadKind::image_classification, kViews);
  s.pooled_norm = true;
  c.note_when_set("drop_path_rate", "counted as if no sample left a layer out");
  // Of the head that segments.
  c.ignore({"pool_scales", "use_auxiliary_head", "auxiliary_loss_weight", "auxiliary_channels",
            "auxiliary_num_convs", "auxiliary_concat_input", "out_indices", "out_features",
            "stage_names", "add_fpn", "reshape_hidden_states", "vocab_size", "num_frames"});
  return s;
}

Writing beit(ConfigReader& c) {
  const ViewSpec s = read_beit(c, "beit");
  return [s](GraphWriter& w) { return build_view(w, s); };
}

Writing data2vec_vision(ConfigReader& c) {
  ViewSpec s = read_beit(c, "data2vec_vision");
  s.layers = "encoder.layer";
  older_names(s.image.tower);
  s.pooled_norm = s.head != HeadKind::base;
  if (s.layer_bias || s.shared_bias) {
    c.fault("use_relative_position_bias", "true is not built here", "capture the model");
  }
  return [s](GraphWriter& w) { return build_view(w, s); };
}

// --- dinov3: no table of positions, queries and keys of patches are turned

/// Sines and cosines of where patches stand, [1, 1, patches, head width].
RotaryTables patch_tables(GraphWriter& w, const ImageSpec& image) {
  const std::int64_t width = image.tower.hidden / image.tower.heads;
  const Dim count = fixed(image.patches());
  const GraphWriter::Scope scope(w, "rope_embeddings");
  const TensorId frequencies = w.buffer("inv_freq", DType::fp32, {width / 4});
  const TensorId places = w.op("aten.arange.default", DType::fp32, {}, {count, fixed(2), fixed(1)});
  const TensorId angles =
      w.view_op("aten.reshape.default", w.mul(places, frequencies), {count, fixed(width / 2)});
  const TensorId both = w.cat({angles, angles}, 1);
  const auto table = [&](const char* target) {
    const TensorId made = w.to(w.unary(target, both), w.dtype());
    return w.view(made, {fixed(1), fixed(1), count, fixed(width)});
  };
  const TensorId cos = table("aten.cos.default");
  return {cos, table("aten.sin.default")};
}

Graph build_dinov3(GraphWriter& w, const ViewSpec& s) {
  TowerSpec t = s.image.tower;
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = pixel_input(w, s.image, batch);
  TensorId x;
  {
    const GraphWriter::Scope scope(w, "embeddings");
    std::vector<TensorId> parts;
    const auto token = [&](const char* name, std::int64_t count) {
      const TensorId one = w.parameter(name, {1, count, t.hidden});
      if (count > 0) parts.push_back(w.expand(one, {batch, fixed(count), fixed(t.hidden)}));
    };
    token("cls_token", 1);
    w.parameter("mask_token", {1, 1, t.hidden});
    token("register_tokens", s.registers);
    parts.push_back(image_patches(w, pixels, s.image, "patch_embeddings", true));
    x = w.cat(parts, 1);
  }
  t.tables = patch_tables(w, s.image);
  t.unturned = 1 + s.registers;
  x = w.layer_norm(run_tower(w, x, t, "model.layer"), "norm", t.eps);
  const TensorId first = w.select(x, 1, 0);
  return w.finish({x, first});
}

Writing dinov3_vit(ConfigReader& c) {
  ViewSpec s;
  TowerSpec& t = s.image.tower;
  read_tower(c, t,
             {.hidden = 384,
              .ffn = 1536,
              .heads = 6,
              .eps = 1e-5,
              .norm1 = "norm1",
              .norm2 = "norm2",
              .layer_scale = true});
  read_image(c, s.image, 16);
  const bool q = c.flag({"query_bias"}, true), v = c.flag({"value_bias"}, true);
  t.k_bias = c.flag({"key_bias"}, false);
  if (q != v || (t.k_bias && !q)) {
    c.fault("query_bias", "must be what value_bias is, and true beside key_bias",
            "capture the model");
  }
  t.qkv_bias = q;
  t.o_bias = c.flag({"proj_bias"}, true);
  t.mlp_bias = c.flag({"mlp_bias"}, true);
  t.up = "up_proj";
  t.down = "down_proj";
  if (c.flag({"use_gated_mlp"}, false)) t.gate = "gate_proj";
  t.attention_dropout = c.real({"attention_dropout"}, 0);
  s.registers = c.whole({"num_register_tokens"}, 0, 0, 1 << 12);
  if (t.hidden / t.heads % 4 != 0) {
    c.fault("num_attention_heads", "heads must be a multiple of 4 wide");
  }
  s.head = c.head(HeadKind::base, {HeadKind::base});
  c.note_when_set("drop_path_rate", "counted as if no sample left a layer out");
  c.ignore({"layerscale_value", "apply_layernorm", "reshape_hidden_states", "out_features",
            "out_indices", "stage_names", "pos_embed_shift", "pos_embed_jitter",
            "pos_embed_rescale"});
  return [s](GraphWriter& w) { return build_dinov3(w, s); };
}

// --- a spectrogram as an image whose patches overlap

struct SpectrogramSpec {
  ViewSpec view;
  std::int64_t bins = 128, length = 1024, patch = 16, down = 10, along = 10;
  std::int64_t rows() const { return (bins - patch) / down + 1; }
  std::int64_t columns() const { return (length - patch) / along + 1; }
};

Graph build_spectrogram(GraphWriter& w, const SpectrogramSpec& s) {
  const TowerSpec& t = s.view.image.tower;
  const Dim batch = w.symbol("batch", 1), hidden = fixed(t.hidden);
  const Dim count = fixed(s.rows() * s.columns());
  const TensorId sound =
      w.input("input_values", w.dtype(), {batch, fixed(s.length), fixed(s.bins)});
  TensorId x;
  {
    const bool bare = s.view.head == HeadKind::base;
    const GraphWriter::Scope base(w, bare ? "" : s.view.base);
    {
      const GraphWriter::Scope scope(w, "embeddings");
      const TensorId cls = w.parameter("cls_token", {1, 1, t.hidden});
      const TensorId taught = w.parameter("distillation_token", {1, 1, t.hidden});
      const TensorId places = w.parameter("position_embeddings", {1, count.size + 2, t.hidden});
      const TensorId plane = w.transpose(w.unsqueeze(sound, 1), 2, 3);
      const std::string name = "patch_embeddings.projection";
      const TensorId weight = w.parameter(name + ".weight", {t.hidden, 1, s.patch, s.patch});
      const TensorId grid = w.op(
          "aten.conv2d.default",
          {{"input", plane}, {"weight", weight}, {"bias", w.parameter(name + ".bias", {hidden})}},
          {batch, hidden, fixed(s.rows()), fixed(s.columns())},
          {{"stride", std::vector<std::int64_t>{s.down, s.along}}});
      const TensorId flat = w.view_op("aten.flatten.using_ints", grid, {batch, hidden, count});
      const auto token = [&](TensorId one) { return w.expand(one, {batch, fixed(1), hidden}); };
      x = w.cat({token(cls), token(taught), w.transpose(flat, 1, 2)}, 1);
      x = w.dropout(w.add(x, places), t.dropout);
    }
    x = w.layer_norm(run_tower(w, x, t, "layers"), "layernorm", t.eps);
  }
  const TensorId both = w.div(w.add(w.select(x, 1, 0), w.select(x, 1, 1)), 2);
  if (s.view.head == HeadKind::base) return w.finish({x, both});
  const GraphWriter::Scope scope(w, "classifier");
  return w.finish({w.linear(w.layer_norm(both, "layernorm", t.eps), "dense", s.view.labels, true)});
}

Writing audio_spectrogram_transformer(ConfigReader& c) {
  SpectrogramSpec s;
  TowerSpec& t = s.view.image.tower;
  read_tower(c, t, {.hidden = 768, .ffn = 3072, .heads = 12});
  t.qkv_bias = c.flag({"qkv_bias"}, true);
  t.dropout = c.real({"hidden_dropout_prob"}, 0);
  t.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.view.base = "audio_spectrogram_transformer";
  s.bins = c.whole({"num_mel_bins"}, 128, 1, 1 << 14);
  s.length = c.whole({"max_length"}, 1024, 1, 1 << 16);
  s.patch = c.whole({"patch_size"}, 16, 1, 1 << 14);
  s.down = c.whole({"frequency_stride"}, 10, 1, 1 << 14);
  s.along = c.whole({"time_stride"}, 10, 1, 1 << 14);
  if (s.patch > std::min(s.bins, s.length)) {
    c.fault("patch_size", "is more than num_mel_bins or max_length");
    s.patch = 1;
  }
  s.view.head =
      c.head(HeadKind::audio_classification, {HeadKind::audio_classification, HeadKind::base});
  s.view.labels = c.labels();
  return [s](GraphWriter& w) { return build_spectrogram(w, s); };
}

constexpr HfFamily kVisionKinFamilies[] = {
    {"vit_msn", vit_msn},
    {"ijepa", ijepa},
    {"yolos", yolos},
    {"beit", beit},
    {"data2vec-vision", data2vec_vision},
    {"dinov3_vit", dinov3_vit},
    {"audio-spectrogram-transformer", audio_spectrogram_transformer},
};

}  // namespace

std::span<const HfFamily> vision_kin_families() { return kVisionKinFamilies; }

}  // namespace parallel_opt::hf
