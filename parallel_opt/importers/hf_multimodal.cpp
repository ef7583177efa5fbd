#include <algorithm>
#include <cmath>
#include <optional>

#include "parallel_opt/importers/hf_sight.h"

// Decoders that see: an image tower, a projector, and the words' embeddings with the image's tokens
// in their places. One image per sample; `pixel_values` has the size that the file states.
namespace parallel_opt::hf {
namespace {

enum class TowerKind { clip, siglip, pixtral };

struct SightSpec {
  ImageSpec image;
  TowerKind kind = TowerKind::clip;
  bool pools = false;                ///< siglip's pooling is run, though nothing reads it
  std::vector<std::int64_t> layers;  ///< of the tower: the states after them go to the text
  bool whole = true;                 ///< the states after all layers, normed (gemma3)
  std::string base;                  ///< "model." or nothing
  std::int64_t text_width = 0;
  // llava: two linear layers
  bool class_token = false, bias = true;
  std::string activation = "gelu";
  bool tiles = false;  ///< images are cut into tiles, rows of them end with a token (llava_next)
  std::int64_t merge = 0;  ///< squares of so many patches a side are merged first (mistral3)
  double norm_eps = 1e-6;
  // gemma3: pooled to so many tokens per side, normed, one product
  std::int64_t side = 0;
  bool single = false;  ///< one linear layer (paligemma)
};

/// States before the first layer of the tower.
TensorId tower_begin(GraphWriter& w, SightSpec& s, TensorId pixels) {
  switch (s.kind) {
    case TowerKind::clip:
      return clip_image_states(w, s.image, pixels, 0);
    case TowerKind::siglip:
      return siglip_image_states(w, s.image, pixels, 0);
    case TowerKind::pixtral:
      return pixtral_image_states(w, s.image, pixels);
  }
  return pixels;
}

/// Everything the tower computes; the states that are asked for, side by side.
TensorId tower_states(GraphWriter& w, SightSpec s, TensorId pixels) {
  const GraphWriter::Scope scope(w, s.base + "vision_tower");
  TensorId x = tower_begin(w, s, pixels);
  const TowerSpec& t = s.image.tower;
  std::vector<TensorId> found(s.layers.size(), x);
  std::int64_t at = 0;
  const auto run_to = [&](std::int64_t end) {
    const char* const layers =
        s.kind == TowerKind::pixtral ? "transformer.layers" : "encoder.layers";
    x = run_tower(w, x, t, layers, at, end);
    at = end;
  };
  std::vector<std::int64_t> ends = s.layers;
  std::sort(ends.begin(), ends.end());
  for (const std::int64_t end : ends) {
    run_to(std::max(at, end));
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (s.layers[i] == end) found[i] = x;
    }
  }
  run_to(t.layers);
  if (s.kind != TowerKind::pixtral) {
    const bool clip = s.kind == TowerKind::clip;
    const TensorId normed = w.layer_norm(clip ? w.select(x, 1, 0) : x, "post_layernorm", t.eps);
    if (s.pools) siglip_pool(w, s.image, normed);
    if (s.whole) return normed;
  }
  return found.size() == 1 ? found.front() : w.cat(found, 2);
}

/// Squares of patches as one of the tower's width (mistral3).
TensorId merged_patches(GraphWriter& w, const SightSpec& s, TensorId x) {
  const std::int64_t hidden = s.image.tower.hidden, merge = s.merge;
  const Dim images = w.dim(x, 0), tokens = fixed(s.image.patches() / (merge * merge));
  const TensorId plane =
      w.view(w.transpose(norm(w, x, "norm", NormKind::rms, s.norm_eps), 1, 2),
             {images, fixed(hidden), fixed(s.image.rows()), fixed(s.image.columns())});
  const std::vector<std::int64_t> square{merge, merge};
  const TensorId unfolded = w.op("aten.im2col.default", {{"self", plane}},
                                 {images, fixed(hidden * merge * merge), tokens},
                                 {{"kernel_size", square},
                                  {"dilation", std::vector<std::int64_t>{1, 1}},
                                  {"padding", std::vector<std::int64_t>{0, 0}},
                                  {"stride", square}});
  return w.linear(w.transpose(unfolded, 1, 2), "patch_merger.merging_layer", hidden, false);
}

/// [b, patches, hidden] -> [b, tokens, text width].
TensorId two_layer_projector(GraphWriter& w, const SightSpec& s, TensorId x) {
  if (s.kind == TowerKind::clip && !s.class_token) {
    x = w.slice(x, 1, 1, fixed(s.image.patches()));
  }
  const GraphWriter::Scope scope(w, s.base + "multi_modal_projector");
  if (s.merge > 0) x = merged_patches(w, s, x);
  return two_layers(w, x,
                    {"linear_1", "linear_2", s.text_width, s.text_width, s.activation, s.bias});
}

/// A learnt token behind each row of each tile.
TensorId with_row_ends(GraphWriter& w, const SightSpec& s, TensorId x) {
  const GraphWriter::Scope scope(w, s.base.empty() ? "" : "model");
  const Dim images = w.dim(x, 0), width = fixed(s.text_width), rows = fixed(s.image.rows());
  const TensorId end = w.parameter("image_newline", {s.text_width});
  return w.cat({x, w.expand(end, {images, rows, width})}, 1);
}

TensorId single_projector(GraphWriter& w, const SightSpec& s, TensorId x) {
  return w.linear(x, s.base + "multi_modal_projector.linear", s.text_width, true);
}

/// Means over squares of patches, normed, times one matrix: [b, side * side, text width].
TensorId pooling_projector(GraphWriter& w, const SightSpec& s, TensorId x) {
  const Dim batch = w.dim(x, 0), hidden = w.last(x), side = fixed(s.side);
  const GraphWriter::Scope scope(w, s.base + "multi_modal_projector");
  const TensorId weight = w.parameter("mm_input_projection_weight", {hidden.size, s.text_width});
  const TensorId plane = w.op("aten.reshape.default", {{"self", w.transpose(x, 1, 2)}},
                              {batch, hidden, fixed(s.image.rows()), fixed(s.image.columns())});
  const std::int64_t kernel = s.image.rows() / s.side;
  const TensorId pooled =
      w.op("aten.avg_pool2d.default", {{"self", plane}}, {batch, hidden, side, side},
           {{"kernel_size", std::vector<std::int64_t>{kernel, kernel}},
            {"stride", std::vector<std::int64_t>{kernel, kernel}}});
  const TensorId flat =
      w.view_op("aten.flatten.using_ints", pooled, {batch, hidden, fixed(s.side * s.side)});
  const TensorId normed =
      norm(w, w.transpose(flat, 1, 2), "mm_soft_emb_norm", NormKind::rms_plus1, s.image.tower.eps);
  return w.matmul(normed, weight, w.with_last(normed, fixed(s.text_width)));
}

/// What an image becomes.
TensorId image_tokens(GraphWriter& w, const SightSpec& s, const Dim& batch) {
  const TensorId pixels =
      s.tiles ? tiled_pixels(w, s.image, batch) : pixel_input(w, s.image, batch);
  const TensorId states = tower_states(w, s, pixels);
  if (s.single) return single_projector(w, s, states);
  if (s.side > 0) return pooling_projector(w, s, states);
  const TensorId projected = two_layer_projector(w, s, states);
  return s.tiles ? with_row_ends(w, s, projected) : projected;
}

std::function<Graph(GraphWriter&)> seeing(ConfigReader& c, DecoderSpec text, SightSpec sight,
                                          TiedBy tied) {
  sight.base = put_text_inside(c, text, tied) ? "" : "model.";
  sight.text_width = text.hidden;
  return seeing(std::move(text), [sight = std::move(sight)](GraphWriter& w, const Dim& batch) {
    return image_tokens(w, sight, batch);
  });
}

/// The tower of a file's vision_config.
void read_sight(ConfigReader& c, SightSpec& s, std::string_view usual, const ImageSpec& defaults) {
  s.image = defaults;
  ConfigReader v = c.object_or_empty("vision_config");
  const std::string type = v.text({"model_type"}, usual);
  if (type == "clip_vision_model") {
    s.kind = TowerKind::clip;
    read_clip_image(v, s.image);
  } else if (type == "siglip_vision_model") {
    s.kind = TowerKind::siglip;
    s.image = read_siglip_image(v);
    s.pools = v.flag({"vision_use_head"}, true);
  } else if (type == "pixtral") {
    s.kind = TowerKind::pixtral;
    s.image = read_pixtral_image(v, type == usual ? defaults : pixtral_image_defaults());
  } else {
    return c.fault("vision_config.model_type",
                   "'" + type.substr(0, 40) + "' is not built inside another model",
                   "known here: clip_vision_model, siglip_vision_model, pixtral; or capture the "
                   "model");
  }
  v.ignore({"projection_dim", "vocab_size"});
  v.note_unread();
}

/// Which of the tower's states the text gets: one layer's, or those of several, side by side.
void read_feature_layers(ConfigReader& c, SightSpec& s, std::int64_t usual) {
  s.whole = false;
  s.layers = c.is_list("vision_feature_layer")
                 ? c.whole_list("vision_feature_layer")
                 : std::vector<std::int64_t>{
                       c.whole({"vision_feature_layer"}, usual, -limits::kLayers, limits::kLayers)};
  if (s.layers.empty()) c.fault("vision_feature_layer", "names no layer");
  for (std::int64_t& layer : s.layers) {
    if (layer < 0) layer += s.image.tower.layers + 1;
    if (layer >= 0 && layer <= s.image.tower.layers) continue;
    c.fault("vision_feature_layer",
            "is no layer of the image tower, which has " + std::to_string(s.image.tower.layers));
    layer = 0;
  }
}

void read_projector(ConfigReader& c, SightSpec& s, bool bias) {
  s.bias = c.flag({"multimodal_projector_bias"}, bias);
  s.activation = c.activation({"projector_hidden_act"}, "gelu");
  c.ignore({"image_token_index", "image_token_id", "video_token_index", "video_token_id",
            "image_seq_length", "vocab_size", "pad_token_id", "ignore_index"});
}

SightSpec llava_sight(ConfigReader& c) {
  SightSpec s;
  ImageSpec defaults = clip_image_defaults();
  defaults.image = {336, 336};
  defaults.patch = {14, 14};
  defaults.tower.hidden = 1024;
  defaults.tower.ffn = 4096;
  defaults.tower.layers = 24;
  defaults.tower.heads = 16;
  read_sight(c, s, "clip_vision_model", defaults);
  read_feature_layers(c, s, -2);
  read_projector(c, s, true);
  s.class_token =
      c.choice({"vision_feature_select_strategy"}, "default", {"default", "full"}) == "full";
  return s;
}

std::function<Graph(GraphWriter&)> llava(ConfigReader& c) {
  SightSpec s = llava_sight(c);
  std::optional<DecoderSpec> text = read_text_model(c, "llama");
  if (!text) return {};
  return seeing(c, std::move(*text), std::move(s), TiedBy::either);
}

std::function<Graph(GraphWriter&)> llava_next(ConfigReader& c) {
  SightSpec s = llava_sight(c);
  s.tiles = true;
  std::optional<DecoderSpec> text = read_text_model(c, "llama");
  c.ignore({"image_grid_pinpoints", "use_image_newline_parameter"});
  note_tiles(c);
  if (!text) return {};
  return seeing(c, std::move(*text), std::move(s), TiedBy::outer);
}

std::function<Graph(GraphWriter&)> llava_onevision(ConfigReader& c) {
  SightSpec s;
  if (!c.has("vision_config")) c.fault("vision_config", "is missing", "published files have it");
  read_sight(c, s, "siglip_vision_model", clip_image_defaults());
  read_feature_layers(c, s, -1);
  read_projector(c, s, true);
  const bool full =
      c.choice({"vision_feature_select_strategy"}, "full", {"default", "full"}) == "full";
  s.class_token = full;
  if (!full && s.kind != TowerKind::clip) {
    c.fault("vision_feature_select_strategy",
            "'default' leaves out a class token that is not there");
  }
  s.tiles = true;
  std::optional<DecoderSpec> text = read_text_model(c, "qwen2");
  c.ignore({"image_grid_pinpoints", "vision_aspect_ratio", "use_image_newline_parameter"});
  note_tiles(c);
  if (!text) return {};
  return seeing(c, std::move(*text), std::move(s), TiedBy::either);
}

std::function<Graph(GraphWriter&)> mistral3(ConfigReader& c) {
  SightSpec s;
  for (const char* side : {"vision_config", "text_config"}) {
    if (!c.has(side)) c.fault(side, "is missing", "published files have it");
  }
  read_sight(c, s, "pixtral", pixtral_image_defaults());
  read_feature_layers(c, s, -1);
  if (s.layers.size() > 1) {
    c.fault("vision_feature_layer", "several layers are wider than what is merged");
  }
  read_projector(c, s, false);
  s.merge = c.whole({"spatial_merge_size"}, 2, 1, 64);
  check_squares(c, s.image, s.merge, "spatial_merge_size");
  std::optional<DecoderSpec> text = read_text_model(c, "mistral");
  if (!text) return {};
  s.norm_eps = text->norm_eps;
  return seeing(c, std::move(*text), std::move(s), TiedBy::outer_by_default);
}

std::function<Graph(GraphWriter&)> gemma3(ConfigReader& c) {
  SightSpec s;
  read_sight(c, s, "siglip_vision_model", {});
  std::optional<DecoderSpec> text = read_text_model(c, "gemma3_text");
  const std::int64_t tokens = c.whole({"mm_tokens_per_image"}, 256, 1, 1 << 20);
  s.side = static_cast<std::int64_t>(std::sqrt(static_cast<double>(tokens)));
  if (s.side * s.side != tokens || s.side > s.image.rows() || s.image.rows() % s.side != 0 ||
      s.image.rows() != s.image.columns()) {
    c.fault("mm_tokens_per_image", std::to_string(tokens) + " tokens are no square that divides " +
                                       std::to_string(s.image.rows()) + " by " +
                                       std::to_string(s.image.columns()) + " patches");
  }
  c.ignore({"boi_token_index", "eoi_token_index", "image_token_index", "boi_token_id",
            "eoi_token_id", "image_token_id"});
  c.note("tokens of one image see each other whole: counted under the causal flag of the text");
  if (!text) return {};
  return seeing(c, std::move(*text), std::move(s), TiedBy::outer_by_default);
}

std::function<Graph(GraphWriter&)> paligemma(ConfigReader& c) {
  SightSpec s;
  if (!c.has("vision_config")) c.fault("vision_config", "is missing", "published files have it");
  read_sight(c, s, "siglip_vision_model", {});
  std::optional<DecoderSpec> text = read_text_model(c, "gemma");
  s.single = true;
  c.ignore({"image_token_index", "image_token_id", "projection_dim", "hidden_size", "vocab_size",
            "num_image_tokens", "ignore_index"});
  if (!text) return {};
  if (!c.object_or_empty("text_config").has("use_bidirectional_attention")) text->causal = false;
  if (c.whole({"projection_dim"}, 2048) != text->hidden) {
    c.fault("projection_dim", "is not the text's hidden_size, " + std::to_string(text->hidden));
  }
  return seeing(c, std::move(*text), std::move(s), TiedBy::outer_by_default);
}

constexpr HfFamily kMultimodalFamilies[] = {
    {"paligemma", paligemma},   {"llava", llava},
    {"llava_next", llava_next}, {"llava_onevision", llava_onevision},
    {"mistral3", mistral3},     {"gemma3", gemma3}};

}  // namespace

std::function<Graph(GraphWriter&)> seeing(
    DecoderSpec text, std::function<TensorId(GraphWriter&, const Dim& batch)> image) {
  text.merge = [image = std::move(image)](GraphWriter& w, TensorId ids, TensorId hidden) {
    const TensorId tokens = image(w, w.dim(ids, 0));
    const TensorId places =
        w.op("aten.eq.Scalar", DType::boolean, {{"self", ids}}, w.tensor(ids).shape);
    return Merged{w.op("aten.masked_scatter.default",
                       {{"self", hidden}, {"mask", w.unsqueeze(places, 2)}, {"source", tokens}},
                       w.tensor(hidden).shape),
                  {},
                  {}};
  };
  return writing(std::move(text));
}

bool put_text_inside(ConfigReader& c, DecoderSpec& text, TiedBy tied, const std::string& name) {
  const HeadKind head =
      c.head(HeadKind::conditional_generation, {HeadKind::conditional_generation, HeadKind::base});
  const bool bare = head == HeadKind::base;
  text.head = bare ? DecoderSpec::Head::none : DecoderSpec::Head::causal_lm;
  text.names.base = "model." + name;
  text.names.bare_base = name;
  text.names.head = "lm_head";
  const bool inner = tied == TiedBy::either && text.tied;
  text.tied = c.flag({"tie_word_embeddings"}, tied == TiedBy::outer_by_default) || inner;
  return bare;
}

std::optional<DecoderSpec> read_text_model(ConfigReader& c, std::string_view usual, bool flat) {
  const bool beside = flat && !c.has("text_config");
  ConfigReader given = beside ? c.as_part() : c.object_or_empty("text_config");
  const std::string type = beside ? std::string(usual) : given.text({"model_type"}, usual);
  for (const std::span<const HfFamily> families :
       {decoder_families(), early_decoder_families(), further_decoder_families(),
        decoder_kin_families(), expert_families(), further_expert_families(), expert_kin_families(),
        delta_families(), hybrid_families(), further_hybrid_families()}) {
    for (const HfFamily& family : families) {
      if (family.type != type || family.decoder == nullptr) continue;
      DecoderSpec spec = family.decoder(given);
      check_rotary(given, spec);
      given.ignore({"architectures", "num_image_tokens"});
      if (beside) {
        c.adopt(given);
      } else {
        given.note_unread();
      }
      return spec;
    }
  }
  c.fault("text_config.model_type",
          "'" + type.substr(0, 40) + "' is not built inside another model", "capture the model");
  return std::nullopt;
}

std::span<const HfFamily> multimodal_families() { return kMultimodalFamilies; }

}  // namespace parallel_opt::hf
