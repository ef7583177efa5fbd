#include <algorithm>
#include <cmath>
#include <optional>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Decoders that see: an image tower, a projector, and the words' embeddings with the image's tokens
// in their places. One image per sample; `pixel_values` has the size that the file states.
namespace parallel_opt::hf {
namespace {

enum class TowerKind { clip, siglip };

struct SightSpec {
  ImageSpec image;
  TowerKind kind = TowerKind::clip;
  bool pools = false;       ///< siglip's pooling is run, though nothing reads it
  std::int64_t layers = 0;  ///< of the tower: the states after them go to the text
  bool whole = true;        ///< the states after all layers, normed (gemma3)
  std::string base;         ///< "model." or nothing
  std::int64_t text_width = 0;
  // llava: two linear layers
  bool class_token = false, bias = true;
  std::string activation = "gelu";
  // gemma3: pooled to so many tokens per side, normed, one product
  std::int64_t side = 0;
  bool single = false;  ///< one linear layer (paligemma)
};

/// Everything the tower computes; the states that are asked for.
TensorId tower_states(GraphWriter& w, const SightSpec& s, TensorId pixels) {
  const GraphWriter::Scope scope(w, s.base + "vision_tower");
  const TowerSpec& t = s.image.tower;
  const bool clip = s.kind == TowerKind::clip;
  const TensorId states = clip ? clip_image_states(w, s.image, pixels, s.layers)
                               : siglip_image_states(w, s.image, pixels, s.layers);
  const TensorId last = run_tower(w, states, t, "encoder.layers", s.layers, t.layers);
  const TensorId normed = w.layer_norm(clip ? w.select(last, 1, 0) : last, "post_layernorm", t.eps);
  if (s.pools) siglip_pool(w, s.image, normed);
  return s.whole ? normed : states;
}

/// [b, patches, hidden] -> [b, patches, text width].
TensorId two_layer_projector(GraphWriter& w, const SightSpec& s, TensorId x) {
  if (s.kind == TowerKind::clip && !s.class_token) {
    x = w.slice(x, 1, 1, fixed(s.image.patches()));
  }
  const GraphWriter::Scope scope(w, s.base + "multi_modal_projector");
  return two_layers(w, x,
                    {"linear_1", "linear_2", s.text_width, s.text_width, s.activation, s.bias});
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

/// The words, with the image's tokens in the places that the text keeps for them.
TensorId with_images(GraphWriter& w, const SightSpec& s, TensorId ids, TensorId hidden) {
  const TensorId pixels = pixel_input(w, s.image, w.dim(ids, 0));
  const TensorId states = tower_states(w, s, pixels);
  const TensorId image = s.single     ? single_projector(w, s, states)
                         : s.side > 0 ? pooling_projector(w, s, states)
                                      : two_layer_projector(w, s, states);
  const TensorId places =
      w.op("aten.eq.Scalar", DType::boolean, {{"self", ids}}, w.tensor(ids).shape);
  return w.op("aten.masked_scatter.default",
              {{"self", hidden}, {"mask", w.unsqueeze(places, 2)}, {"source", image}},
              w.tensor(hidden).shape);
}

void put_text(ConfigReader& c, DecoderSpec& text, SightSpec& sight, TiedBy tied) {
  sight.base = put_text_inside(c, text, tied) ? "" : "model.";
  sight.text_width = text.hidden;
}

std::function<Graph(GraphWriter&)> seeing(DecoderSpec text, SightSpec sight) {
  text.merge = [sight = std::move(sight)](GraphWriter& w, TensorId ids, TensorId hidden) {
    return Merged{with_images(w, sight, ids, hidden), {}, {}};
  };
  return [text = std::move(text)](GraphWriter& w) {
    note_windows(w, text);
    return build_decoder(w, text);
  };
}

/// The tower of a file's vision_config.
void read_sight(ConfigReader& c, SightSpec& s, std::string_view usual, const ImageSpec& defaults) {
  s.image = defaults;
  ConfigReader v = c.object_or_empty("vision_config");
  const std::string type = v.text({"model_type"}, usual);
  if (type != "clip_vision_model" && type != "siglip_vision_model") {
    return c.fault("vision_config.model_type",
                   "'" + type.substr(0, 40) + "' is not built inside another model",
                   "known here: clip_vision_model, siglip_vision_model; or capture the model");
  }
  s.kind = type == "clip_vision_model" ? TowerKind::clip : TowerKind::siglip;
  if (s.kind == TowerKind::clip) {
    read_clip_image(v, s.image);
  } else {
    s.image = read_siglip_image(v);
    s.pools = v.flag({"vision_use_head"}, true);
  }
  v.ignore({"projection_dim", "vocab_size"});
  v.note_unread();
  s.layers = s.image.tower.layers;
}

std::function<Graph(GraphWriter&)> llava(ConfigReader& c) {
  SightSpec s;
  ImageSpec defaults = clip_image_defaults();
  defaults.image = {336, 336};
  defaults.patch = {14, 14};
  defaults.tower.hidden = 1024;
  defaults.tower.ffn = 4096;
  defaults.tower.layers = 24;
  defaults.tower.heads = 16;
  read_sight(c, s, "clip_vision_model", defaults);
  s.whole = false;
  std::optional<DecoderSpec> text = read_text_model(c, "llama");
  std::int64_t layer = c.whole({"vision_feature_layer"}, -2, -limits::kLayers, limits::kLayers);
  if (layer < 0) layer += s.image.tower.layers + 1;
  if (layer < 0 || layer > s.image.tower.layers) {
    c.fault("vision_feature_layer",
            "is no layer of the image tower, which has " + std::to_string(s.image.tower.layers));
    layer = 0;
  }
  s.layers = layer;
  s.class_token =
      c.choice({"vision_feature_select_strategy"}, "default", {"default", "full"}) == "full";
  s.bias = c.flag({"multimodal_projector_bias"}, true);
  s.activation = c.activation({"projector_hidden_act"}, "gelu");
  c.ignore({"image_token_index", "image_token_id", "image_seq_length", "vocab_size", "pad_token_id",
            "ignore_index"});
  if (!text) return {};
  put_text(c, *text, s, TiedBy::either);
  return seeing(std::move(*text), std::move(s));
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
  put_text(c, *text, s, TiedBy::outer_by_default);
  return seeing(std::move(*text), std::move(s));
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
  put_text(c, *text, s, TiedBy::outer_by_default);
  if (c.whole({"projection_dim"}, 2048) != text->hidden) {
    c.fault("projection_dim", "is not the text's hidden_size, " + std::to_string(text->hidden));
  }
  return seeing(std::move(*text), std::move(s));
}

constexpr HfFamily kMultimodalFamilies[] = {
    {"paligemma", paligemma}, {"llava", llava}, {"gemma3", gemma3}};

}  // namespace

bool put_text_inside(ConfigReader& c, DecoderSpec& text, TiedBy tied) {
  const HeadKind head =
      c.head(HeadKind::conditional_generation, {HeadKind::conditional_generation, HeadKind::base});
  const bool bare = head == HeadKind::base;
  text.head = bare ? DecoderSpec::Head::none : DecoderSpec::Head::causal_lm;
  text.names.base = "model.language_model";
  text.names.bare_base = "language_model";
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
        delta_families(), hybrid_families()}) {
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
