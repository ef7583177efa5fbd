#include <algorithm>
#include <cmath>
#include <optional>

#include "parallel_opt/importers/hf_convolution.h"
#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Qwen's and GLM's models of words and images. Images have any size: their patches come in one row,
// and each image attends to itself. `image_tokens` is what one image becomes in the text; there is
// one image per sample.
namespace parallel_opt::hf {
namespace {

enum class QwenSightKind { two, two_five, three, glm };

struct QwenSight {
  QwenSightKind kind = QwenSightKind::two;
  std::int64_t layers = 0, hidden = 0, ffn = 0, heads = 0, out = 0;
  std::int64_t channels = 3, patch = 14, frames = 2, merge = 2;
  std::int64_t window = 0;                 ///< patches of a window; 0: images attend whole
  std::int64_t positions = 0;              ///< rows of the learned grid; 0: none
  std::vector<std::int64_t> whole_layers;  ///< those that attend to the whole image all the same
  std::vector<std::int64_t> deep_layers;   ///< whose states the first layers of the text get too
  std::string activation = "quick_gelu";
  std::string base = "model.";

  double eps = 1e-6;
  bool qkv_bias = true, inner_bias = true;  ///< of the layers' products
  std::int64_t merger_ffn = 0;              ///< glm: of the two layers behind the last

  std::int64_t merged() const { return merge * merge; }
  bool gated() const { return kind == QwenSightKind::two_five || kind == QwenSightKind::glm; }
  bool whole(std::int64_t layer) const {
    return window == 0 ||
           std::find(whole_layers.begin(), whole_layers.end(), layer) != whole_layers.end();
  }
};

TensorId sight_norm(GraphWriter& w, const QwenSight& s, TensorId x, std::string_view name) {
  return norm(w, x, name, s.gated() ? NormKind::rms : NormKind::layer, s.eps);
}

/// Sines and cosines of rows and columns: [patches, head width].
RotaryTables sight_tables(GraphWriter& w, const QwenSight& s, const Dim& patches) {
  const GraphWriter::Scope scope(w, "rotary_pos_emb");
  const std::int64_t width = s.hidden / s.heads;
  const TensorId frequencies = w.buffer("inv_freq", DType::fp32, {width / 4});
  w.buffer("original_inv_freq", DType::fp32, {width / 4});
  const TensorId places = w.op("aten.arange.default", DType::fp32, {}, {patches, fixed(2)});
  const TensorId angles = w.mul(w.unsqueeze(places, 2), frequencies);  // [patches, 2, width / 4]
  const auto table = [&](const char* target) {
    const TensorId part = w.unary(target, angles);
    const TensorId both = w.view(part, {patches, fixed(width / 2)});
    return w.unsqueeze(w.cat({both, both}, 1), 1);
  };
  const TensorId cos = table("aten.cos.default");
  return {cos, table("aten.sin.default")};
}

/// x [patches, heads, width] -> [groups, heads, patches of one, width].
TensorId in_groups(GraphWriter& w, TensorId x, const Dim& groups, const Dim& each) {
  const Dim heads = w.dim(x, 1), width = w.last(x);
  const Dim rows = times(groups, each);
  TensorId padded = x;
  if (w.dim(x, 0) != rows) {
    padded = w.op("aten.constant_pad_nd.default", {{"self", x}}, {rows, heads, width});
  }
  return w.transpose(w.view(padded, {groups, each, heads, width}), 1, 2);
}

struct SightLayer {
  const QwenSight& s;
  GraphWriter& w;
  RotaryTables tables;
  Dim images, patches;  ///< patches of one image

  TensorId attention(TensorId x, bool whole) const {
    const GraphWriter::Scope scope(w, "attn");
    const Dim rows = w.dim(x, 0), heads = fixed(s.heads), width = fixed(s.hidden / s.heads);
    const TensorId all =
        w.view(w.linear(x, "qkv", 3 * s.hidden, s.qkv_bias), {rows, fixed(3), heads, width});
    const auto part = [&](std::int64_t index) { return w.select(all, 1, index); };
    const auto turned = [&](TensorId t) {
      return w.to(rotate(w, w.to(t, DType::fp32), tables, width.size, false), w.dtype());
    };
    Dim groups = images, each = patches;
    if (!whole) {
      each = fixed(s.window);
      groups = times(images, divided_up(patches, s.window));
    }
    const auto grouped = [&](TensorId t) { return in_groups(w, t, groups, each); };
    const TensorId q = grouped(turned(part(0))), k = grouped(turned(part(1))), v = grouped(part(2));
    const TensorId mixed = fused_attention(w, q, k, v, {});
    const Dim padded = times(groups, each);
    TensorId flat = w.view(mixed, {padded, fixed(s.hidden)});
    if (padded != rows) flat = w.slice(flat, 0, 0, rows);
    return w.linear(flat, "proj", s.hidden, s.inner_bias);
  }

  TensorId feed_forward(TensorId x) const {
    const GraphWriter::Scope scope(w, "mlp");
    if (s.gated()) {
      return two_layers(w, x,
                        {"up_proj", "down_proj", s.ffn, s.hidden, s.activation, s.inner_bias, 0,
                         "gate_proj", s.inner_bias});
    }
    const bool named = s.kind == QwenSightKind::three;
    return two_layers(w, x,
                      {named ? "linear_fc1" : "fc1", named ? "linear_fc2" : "fc2", s.ffn, s.hidden,
                       s.activation});
  }

  TensorId run(TensorId x, bool whole) const {
    x = w.add(x, attention(sight_norm(w, s, x, "norm1"), whole));
    return w.add(x, feed_forward(sight_norm(w, s, x, "norm2")));
  }
};

/// Squares of patches as one row each, then two layers: [tokens, out].
TensorId merged_squares(GraphWriter& w, const QwenSight& s, TensorId x, const Dim& tokens,
                        std::string_view name, bool norm_last) {
  const GraphWriter::Scope scope(w, name);
  const Shape wide{tokens, fixed(s.hidden * s.merged())};
  const bool three = s.kind == QwenSightKind::three;
  if (norm_last) x = w.view(x, wide);
  x = sight_norm(w, s, x, three ? "norm" : "ln_q");
  if (!norm_last) x = w.view(x, wide);
  return two_layers(w, x,
                    {three ? "linear_fc1" : "mlp.0", three ? "linear_fc2" : "mlp.2", wide[1].size,
                     s.out, "gelu"});
}

/// The learned grid at each patch, between its four neighbours.
TensorId interpolated_positions(GraphWriter& w, const QwenSight& s, const Dim& rows) {
  const TensorId table = w.parameter("pos_embed.weight", {s.positions, s.hidden});
  const TensorId corners = w.op("aten.arange.default", DType::i64, {}, {rows, fixed(4)});
  const TensorId shares = w.op("aten.ones.default", w.dtype(), {}, {rows, fixed(4), fixed(1)});
  const TensorId found = w.mul(w.embedding(corners, table, "pos_embed"), shares);
  return w.op("aten.sum.dim_IntList", {{"self", found}}, {rows, fixed(s.hidden)},
              {{"dim", std::vector<std::int64_t>{1}}});
}

/// glm: the grid at each patch, between its neighbours.
TensorId sampled_positions(GraphWriter& w, const QwenSight& s, const Dim& rows) {
  const auto side = static_cast<std::int64_t>(std::sqrt(static_cast<double>(s.positions)));
  const TensorId table =
      w.parameter("embeddings.position_embedding.weight", {s.positions, s.hidden});
  const TensorId plane = w.unsqueeze(
      w.view_op("aten.permute.default", w.view(table, {fixed(side), fixed(side), fixed(s.hidden)}),
                {fixed(s.hidden), fixed(side), fixed(side)},
                {{"dims", std::vector<std::int64_t>{2, 0, 1}}}),
      0);
  const TensorId places =
      w.op("aten.zeros.default", DType::fp32, {}, {fixed(1), rows, fixed(1), fixed(2)});
  const TensorId found =
      w.op("aten.grid_sampler.default", {{"input", w.to(plane, DType::fp32)}, {"grid", places}},
           {fixed(1), fixed(s.hidden), rows, fixed(1)});
  const TensorId flat = w.view(found, {fixed(s.hidden), rows});
  return w.to(w.transpose(flat, 0, 1), w.dtype());
}

/// glm: squares of patches through a filter, a norm and two gated layers: [tokens, out].
TensorId filtered_squares(GraphWriter& w, const QwenSight& s, TensorId x, const Dim& tokens) {
  x = sight_norm(w, s, x, "post_layernorm");
  const Dim side = fixed(s.merge), hidden = fixed(s.hidden);
  const TensorId squares = channels_first(w, w.view(x, {tokens, side, side, hidden}));
  const TensorId one = filtered(w, squares, "downsample", s.out,
                                {.kernel = {s.merge, s.merge}, .stride = {s.merge, s.merge}});
  const GraphWriter::Scope scope(w, "merger");
  const TensorId flat = w.view(one, {tokens, fixed(s.out)});
  const TensorId open =
      w.unary("aten.gelu.default",
              w.layer_norm(w.linear(flat, "proj", s.out, false), "post_projection_norm", 1e-5));
  return two_layers(
      w, open,
      {"up_proj", "down_proj", s.merger_ffn, s.out, s.activation, false, 0, "gate_proj", false});
}

struct Seen {
  TensorId tokens;             ///< [image tokens of the batch, out]
  std::vector<TensorId> deep;  ///< the same, for the first layers of the text
};

Seen see(GraphWriter& w, const QwenSight& s, const Dim& batch) {
  const Dim tokens = w.symbol("image_tokens", 256);
  const Dim patches = times(tokens, fixed(s.merged())), rows = times(batch, patches);
  const std::int64_t numbers = s.channels * s.frames * s.patch * s.patch;
  const TensorId pixels = w.input("pixel_values", w.dtype(), {rows, fixed(numbers)});
  w.input("image_grid_thw", DType::i64, {batch, fixed(3)});
  const GraphWriter::Scope scope(w, s.base + "visual");
  TensorId x;
  {
    const GraphWriter::Scope embed(w, "patch_embed.proj");
    const Shape kernel{fixed(s.hidden), fixed(s.channels), fixed(s.frames), fixed(s.patch),
                       fixed(s.patch)};
    const TensorId weight = w.parameter("weight", kernel);
    Shape volume = kernel;
    volume[0] = rows;
    const TensorId boxes = w.view(pixels, volume);
    const std::vector<std::int64_t> stride{s.frames, s.patch, s.patch};
    const Shape shape{rows, fixed(s.hidden), fixed(1), fixed(1), fixed(1)};
    const bool biased = s.kind == QwenSightKind::three || s.kind == QwenSightKind::glm;
    const TensorId bias = biased ? w.parameter("bias", {s.hidden}) : TensorId();
    const TensorId out =
        bias.valid()
            ? w.op("aten.conv3d.default", {{"input", boxes}, {"weight", weight}, {"bias", bias}},
                   shape, {{"stride", stride}})
            : w.op("aten.conv3d.default", {{"input", boxes}, {"weight", weight}}, shape,
                   {{"stride", stride}});
    x = w.view(out, {rows, fixed(s.hidden)});
  }
  const bool glm = s.kind == QwenSightKind::glm;
  if (glm) {
    x = sight_norm(w, s, x, "post_conv_layernorm");
    x = w.add(x, sampled_positions(w, s, rows));
  } else if (s.positions > 0) {
    x = w.add(x, interpolated_positions(w, s, rows));
  }
  const SightLayer layer{s, w, sight_tables(w, s, rows), batch, patches};
  const Dim all = times(batch, tokens);
  Seen seen;
  for (std::int64_t i = 0; i < s.layers; ++i) {
    {
      const GraphWriter::Scope block(w, "blocks." + std::to_string(i));
      x = layer.run(x, s.whole(i));
    }
    if (std::find(s.deep_layers.begin(), s.deep_layers.end(), i) == s.deep_layers.end()) continue;
    const std::string name = "deepstack_merger_list." + std::to_string(seen.deep.size());
    seen.deep.push_back(merged_squares(w, s, x, all, name, true));
  }
  seen.tokens =
      glm ? filtered_squares(w, s, x, all) : merged_squares(w, s, x, all, "merger", false);
  return seen;
}

/// `image` in the places that the text keeps for it.
TensorId put_in(GraphWriter& w, TensorId hidden, TensorId places, TensorId image) {
  return w.op("aten.masked_scatter.default",
              {{"self", hidden}, {"mask", places}, {"source", image}}, w.tensor(hidden).shape);
}

QwenSight read_glm_sight(ConfigReader& c) {
  ConfigReader v = c.object_or_empty("vision_config");
  QwenSight s;
  s.kind = QwenSightKind::glm;
  s.layers = v.whole({"depth", "num_hidden_layers"}, 24, 1, limits::kLayers);
  s.heads = v.whole({"num_heads", "num_attention_heads"}, 12, 1, limits::kHeads);
  s.hidden = v.whole({"hidden_size"}, 1536);
  s.channels = v.whole({"in_channels"}, 3, 1, 1 << 10);
  s.patch = v.whole({"patch_size"}, 14, 1, 1 << 10);
  s.frames = v.whole({"temporal_patch_size"}, 2, 1, 1 << 10);
  s.merge = v.whole({"spatial_merge_size"}, 2, 1, 1 << 6);
  s.out = v.whole({"out_hidden_size"}, 4096);
  s.ffn = s.out;
  s.merger_ffn = v.whole({"intermediate_size"}, 13696, 1, limits::kFeedForward);
  s.activation = v.activation({"hidden_act"}, "silu");
  s.eps = v.real({"rms_norm_eps"}, 1e-5);
  s.qkv_bias = v.flag({"attention_bias"}, false);
  s.inner_bias = false;
  const std::int64_t side = v.whole({"image_size"}, 336, 1, 1 << 14) / s.patch;
  s.positions = side * side;
  if (side < 1) v.fault("image_size", "holds no patch");
  v.divides("num_heads", s.heads, "hidden_size", s.hidden);
  if (s.hidden / s.heads % 4 != 0) v.fault("num_heads", "heads must be a multiple of 4 wide");
  v.note_when_set("attention_dropout", "left out of the image tower");
  v.ignore({"model_type", "rope_parameters", "hidden_dropout_prob"});
  v.note_unread();
  return s;
}

QwenSight read_qwen_sight(ConfigReader& c, QwenSightKind kind, bool deep) {
  ConfigReader v = c.object_or_empty("vision_config");
  QwenSight s;
  s.kind = kind;
  const bool two = kind == QwenSightKind::two, three = kind == QwenSightKind::three;
  s.layers = v.whole({"depth", "num_hidden_layers"}, three ? 27 : 32, 1, limits::kLayers);
  s.heads = v.whole({"num_heads", "num_attention_heads"}, 16, 1, limits::kHeads);
  s.channels = v.whole({"in_channels", "in_chans"}, 3, 1, 1 << 10);
  s.patch = v.whole({"patch_size", "spatial_patch_size"}, three ? 16 : 14, 1, 1 << 10);
  s.frames = v.whole({"temporal_patch_size"}, 2, 1, 1 << 10);
  s.merge = v.whole({"spatial_merge_size"}, 2, 1, 1 << 6);
  if (two) {
    s.hidden = v.whole({"embed_dim"}, 1280);
    s.out = v.whole({"hidden_size"}, 3584);
    s.ffn = s.hidden * v.whole({"mlp_ratio"}, 4, 1, 64);
    s.activation = v.activation({"hidden_act"}, "quick_gelu");
  } else {
    s.hidden = v.whole({"hidden_size"}, three ? 1152 : 3584);
    s.out = v.whole({"out_hidden_size"}, 3584);
    s.ffn = v.whole({"intermediate_size"}, three ? 4304 : 3420, 1, limits::kFeedForward);
    s.activation = v.activation({"hidden_act"}, three ? "gelu_pytorch_tanh" : "silu");
  }
  if (kind == QwenSightKind::two_five) {
    const std::int64_t side = v.whole({"window_size"}, 112, 1, 1 << 14) / s.patch / s.merge;
    s.window = side * side * s.merged();
    if (s.window < 1) v.fault("window_size", "holds no square of patches");
    s.whole_layers = v.has("fullatt_block_indexes") ? v.whole_list("fullatt_block_indexes")
                                                    : std::vector<std::int64_t>{7, 15, 23, 31};
  }
  if (three) {
    s.positions = v.whole({"num_position_embeddings"}, 2304, 1, limits::kSequence);
    s.deep_layers = {8, 16, 24};
    if (!deep || v.has("deepstack_visual_indexes")) {
      s.deep_layers = v.whole_list("deepstack_visual_indexes");
    }
    if (!deep) s.deep_layers.clear();
    s.deep_layers.erase(std::remove_if(s.deep_layers.begin(), s.deep_layers.end(),
                                       [&](std::int64_t i) { return i >= s.layers; }),
                        s.deep_layers.end());
  }
  v.divides("num_heads", s.heads, two ? "embed_dim" : "hidden_size", s.hidden);
  if (s.hidden / s.heads % 4 != 0) v.fault("num_heads", "heads must be a multiple of 4 wide");
  v.ignore({"model_type", "tokens_per_second", "rope_parameters"});
  v.note_unread();
  return s;
}

std::function<Graph(GraphWriter&)> qwen_seeing(ConfigReader& c, QwenSightKind kind,
                                               std::string_view text_type, bool deep = false) {
  QwenSight sight = kind == QwenSightKind::glm ? read_glm_sight(c) : read_qwen_sight(c, kind, deep);
  std::optional<DecoderSpec> text = read_text_model(c, text_type, true);
  c.ignore({"image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id",
            "vision_token_id", "image_start_token_id", "image_end_token_id", "video_start_token_id",
            "video_end_token_id"});
  if (!text) return {};
  const TiedBy tied = kind == QwenSightKind::three ? TiedBy::outer : TiedBy::either;
  const bool bare = put_text_inside(c, *text, tied);
  if (sight.out != text->hidden) {
    c.fault("vision_config", "gives the text " + std::to_string(sight.out) +
                                 " numbers per token, it takes " + std::to_string(text->hidden));
  }
  sight.base = bare ? "" : "model.";
  text->merge = [sight](GraphWriter& w, TensorId ids, TensorId hidden) {
    const Seen seen = see(w, sight, w.dim(ids, 0));
    const TensorId places = w.unsqueeze(
        w.op("aten.eq.Scalar", DType::boolean, {{"self", ids}}, w.tensor(ids).shape), 2);
    return Merged{put_in(w, hidden, places, seen.tokens), places, seen.deep};
  };
  return writing(std::move(*text));
}

std::function<Graph(GraphWriter&)> qwen2_vl(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::two, "qwen2_vl_text");
}
std::function<Graph(GraphWriter&)> qwen2_5_vl(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::two_five, "qwen2_5_vl_text");
}
std::function<Graph(GraphWriter&)> qwen3_vl(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::three, "qwen3_vl_text", true);
}
std::function<Graph(GraphWriter&)> qwen3_vl_moe(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::three, "qwen3_vl_moe_text", true);
}

std::function<Graph(GraphWriter&)> qwen3_5(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::three, "qwen3_5_text");
}
std::function<Graph(GraphWriter&)> qwen3_5_moe(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::three, "qwen3_5_moe_text");
}

std::function<Graph(GraphWriter&)> glm4v(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::glm, "glm4v_text");
}
std::function<Graph(GraphWriter&)> glm4v_moe(ConfigReader& c) {
  return qwen_seeing(c, QwenSightKind::glm, "glm4v_moe_text");
}

constexpr HfFamily kQwenVisionFamilies[] = {{"glm4v", glm4v},       {"glm4v_moe", glm4v_moe},
                                            {"qwen3_5", qwen3_5},   {"qwen3_5_moe", qwen3_5_moe},
                                            {"qwen2_vl", qwen2_vl}, {"qwen2_5_vl", qwen2_5_vl},
                                            {"qwen3_vl", qwen3_vl}, {"qwen3_vl_moe", qwen3_vl_moe}};

}  // namespace

std::span<const HfFamily> qwen_vision_families() { return kQwenVisionFamilies; }

}  // namespace parallel_opt::hf
