#include <cmath>
#include <optional>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Llama 4 with images: a tower whose positions are rotated as complex numbers, squares of patches
// shuffled into one token, and the text.
namespace parallel_opt::hf {
namespace {

struct ShuffleSpec {
  ImageSpec image;
  std::int64_t side = 2;  ///< patches of one token in each direction
  std::int64_t adapter = 0, output = 0, text_width = 0;

  std::int64_t shuffled() const { return image.tower.hidden * side * side; }
};

constexpr double kTowerEps = 1e-5;

TensorId shuffle_attention(GraphWriter& w, const TowerSpec& t, TensorId x,
                           const RotaryTables& tables) {
  const GraphWriter::Scope scope(w, "self_attn");
  const std::int64_t width = t.hidden / t.heads;
  const auto part = [&](const char* name) {
    return split_heads(w, w.linear(x, name, t.hidden, true), t.heads, width);
  };
  const TensorId q = rotate_complex(w, part("q_proj"), tables);
  const TensorId k = rotate_complex(w, part("k_proj"), tables);
  const TensorId mixed =
      fused_attention(w, q, k, part("v_proj"), {false, TensorId(), 0, t.attention_dropout});
  return w.linear(mixed, "o_proj", t.hidden, true);
}

TensorId shuffle_layers(GraphWriter& w, const ShuffleSpec& s, TensorId x) {
  const TowerSpec& t = s.image.tower;
  const Dim count = w.dim(x, 1);
  TensorId turns = w.buffer("rotary_embedding.freqs_ci", DType::complex64,
                            {count.size, 1, t.hidden / t.heads / 2});
  turns = w.view(turns, {fixed(1), fixed(1), count, fixed(t.hidden / t.heads / 2)});
  for (std::int64_t i = 0; i < t.layers; ++i) {
    const GraphWriter::Scope scope(w, "model.layers." + std::to_string(i));
    const TensorId normed = w.layer_norm(x, "input_layernorm", kTowerEps);
    x = w.add(x, shuffle_attention(w, t, normed, {turns, TensorId()}));
    const TensorId middle = w.layer_norm(x, "post_attention_layernorm", kTowerEps);
    x = w.add(x, two_layers(w, middle, {"mlp.fc1", "mlp.fc2", t.ffn, t.hidden, "gelu"}));
  }
  return x;
}

/// [b, tokens, output].
TensorId shuffled_image(GraphWriter& w, const ShuffleSpec& s, TensorId pixels) {
  const GraphWriter::Scope vision(w, "vision_model");
  const ImageSpec& image = s.image;
  const Dim batch = w.dim(pixels, 0), patches = fixed(image.patches());
  const Dim hidden = fixed(image.tower.hidden);
  const Dim numbers = fixed(image.channels * image.patch[0] * image.patch[1]);
  const TensorId columns =
      w.op("aten.im2col.default", {{"self", pixels}}, {batch, numbers, patches},
           {{"kernel_size", std::vector<std::int64_t>{image.patch[0], image.patch[1]}},
            {"stride", std::vector<std::int64_t>{image.patch[0], image.patch[1]}}});
  TensorId x = w.linear(w.transpose(columns, 1, 2), "patch_embedding.linear", hidden.size, false);
  const TensorId token = w.parameter("class_embedding", {hidden.size});
  x = w.cat({x, w.expand(token, {batch, fixed(1), hidden})}, 1);
  x = w.add(x, w.parameter("positional_embedding_vlm", {image.patches() + 1, hidden.size}));
  x = shuffle_layers(w, s, w.layer_norm(x, "layernorm_pre", kTowerEps));
  x = w.slice(w.layer_norm(x, "layernorm_post", kTowerEps), 1, 0, patches);
  const std::int64_t square = s.side * s.side;
  const TensorId squares =
      w.op("aten.clone.default",
           {{"self", w.view(x, {batch, fixed(patches.size / square), fixed(s.shuffled())})}},
           {batch, fixed(patches.size / square), fixed(s.shuffled())});
  const GraphWriter::Scope adapter(w, "vision_adapter.mlp");
  const TensorId inner = w.unary("aten.gelu.default", w.linear(squares, "fc1", s.adapter, false));
  return w.unary("aten.gelu.default", w.linear(inner, "fc2", s.output, false));
}

ShuffleSpec read_shuffle(ConfigReader& c) {
  ConfigReader v = c.object_or_empty("vision_config");
  ShuffleSpec s;
  TowerSpec& t = s.image.tower;
  t.hidden = v.whole({"hidden_size"}, 768);
  t.layers = v.whole({"num_hidden_layers"}, 34, 1, limits::kLayers);
  t.heads = v.whole({"num_attention_heads"}, 16, 1, limits::kHeads);
  t.ffn = v.whole({"intermediate_size"}, 5632, 1, limits::kFeedForward);
  t.attention_dropout = v.real({"attention_dropout"}, 0);
  v.divides("num_attention_heads", t.heads, "hidden_size", t.hidden);
  s.image.channels = v.whole({"num_channels"}, 3, 1, 1 << 10);
  s.image.image = v.pair("image_size", 448, 1 << 14);
  s.image.patch = v.pair("patch_size", 14, 1 << 10);
  s.side = static_cast<std::int64_t>(
      std::lround(1 / std::max(v.real({"pixel_shuffle_ratio"}, 0.5), 1e-2)));
  s.adapter = v.whole({"projector_input_dim"}, 4096);
  s.output = v.whole({"projector_output_dim"}, 4096);
  if (s.adapter != s.output) v.fault("projector_input_dim", "is not projector_output_dim");
  if (v.whole({"vision_output_dim"}, 7680) != s.output) {
    v.fault("vision_output_dim", "is not projector_output_dim");
  }
  if (t.ffn != s.shuffled()) {
    v.fault("intermediate_size", std::to_string(t.ffn) + " is not what " + std::to_string(s.side) +
                                     " by " + std::to_string(s.side) + " patches have, " +
                                     std::to_string(s.shuffled()));
  }
  if (s.image.rows() != s.image.columns() || s.image.rows() < 1 ||
      s.image.rows() % std::max<std::int64_t>(s.side, 1) != 0) {
    v.fault("image_size", "must be a square of whole tokens");
  }
  v.ignore({"model_type", "hidden_act", "norm_eps", "projector_dropout", "rope_parameters",
            "vision_feature_select_strategy", "vision_feature_layer", "multi_modal_projector_bias",
            "rope_theta"});
  v.note_unread();
  return s;
}

std::function<Graph(GraphWriter&)> llama4(ConfigReader& c) {
  ShuffleSpec sight = read_shuffle(c);
  std::optional<DecoderSpec> text = read_text_model(c, "llama4_text");
  c.head(HeadKind::conditional_generation, {HeadKind::conditional_generation});
  c.ignore({"boi_token_index", "eoi_token_index", "image_token_index", "boi_token_id",
            "eoi_token_id", "image_token_id", "tie_word_embeddings"});
  if (!text) return {};
  text->names.base = "language_model.model";
  text->names.head = "language_model.lm_head";
  text->head = DecoderSpec::Head::causal_lm;
  sight.text_width = text->hidden;
  text->merge = [sight](GraphWriter& w, TensorId ids, TensorId hidden) {
    const TensorId pixels = pixel_input(w, sight.image, w.dim(ids, 0));
    const TensorId image = w.linear(shuffled_image(w, sight, pixels),
                                    "multi_modal_projector.linear_1", sight.text_width, false);
    const TensorId places =
        w.op("aten.eq.Scalar", DType::boolean, {{"self", ids}}, w.tensor(ids).shape);
    const TensorId merged =
        w.op("aten.masked_scatter.default",
             {{"self", hidden}, {"mask", w.unsqueeze(places, 2)}, {"source", image}},
             w.tensor(hidden).shape);
    return Merged{merged, {}, {}};
  };
  return writing(std::move(*text));
}

constexpr HfFamily kLlama4Families[] = {{"llama4", llama4}};

}  // namespace

std::span<const HfFamily> llama4_families() { return kLlama4Families; }

}  // namespace parallel_opt::hf
