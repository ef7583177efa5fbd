#include "parallel_opt/importers/hf_vision.h"

#include "parallel_opt/importers/hf_families.h"

// Image models: vit, deit, and clip with its text side. Images have the size of the configuration;
// only `batch` (and clip's `sequence`) is symbolic.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;
using Head = HeadKind;

}  // namespace

static TensorId tower_mlp(GraphWriter& w, TensorId x, const TowerSpec& s) {
  const GraphWriter::Scope mlp(w, s.mlp);
  if (!s.swiglu) {
    return two_layers(
        w, x, {s.up, s.down, s.ffn, s.hidden, s.activation, s.mlp_bias, 0, s.gate, s.mlp_bias});
  }
  const TensorId gate = w.unary("aten.silu.default", w.linear(x, "gate_proj", s.ffn, true));
  return w.linear(w.mul(gate, w.linear(x, "up_proj", s.ffn, true)), "down_proj", s.hidden, true);
}

TensorId run_tower(GraphWriter& w, TensorId x, const TowerSpec& s, const std::string& layers,
                   std::int64_t first, std::int64_t end) {
  for (std::int64_t i = first; i < end; ++i) {
    const GraphWriter::Mark mark = w.mark();
    const GraphWriter::Scope scope(w, layers + "." + std::to_string(i));
    const auto scaled = [&](TensorId h, const std::string& name) {
      return s.layer_scale ? w.mul(h, w.parameter(name, {s.hidden})) : h;
    };
    AttentionParts p{s.q, s.k, s.v, s.o, s.heads, s.hidden / s.heads};
    p.q_bias = p.v_bias = s.qkv_bias;
    p.k_bias = s.qkv_bias && s.k_bias;
    p.o_bias = s.o_bias;
    p.tables = s.tables;
    p.unturned = s.unturned;
    p.q_norm = s.q_norm;
    p.k_norm = s.k_norm;
    TensorId mask = s.mask;
    if (s.layer_mask) {
      const TensorId own = s.layer_mask(w);
      mask = mask.valid() ? w.add(own, mask) : own;
    }
    p.call = {s.causal, mask, 0, s.attention_dropout};
    TensorId h = norm(w, x, s.norm1, s.norm, s.eps);
    {
      const GraphWriter::Scope attention(w, s.attention);
      h = attend(w, h, h, p, s.hidden);
    }
    x = w.add(scaled(w.dropout(h, s.dropout), s.scale1), x);
    h = tower_mlp(w, norm(w, x, s.norm2, s.norm, s.eps), s);
    x = w.add(scaled(w.dropout(h, s.dropout), s.scale2), x);
    if (i == 1) w.reserve_repeats(mark, end - 2);
  }
  return x;
}

TensorId run_tower(GraphWriter& w, TensorId x, const TowerSpec& s, const std::string& layers) {
  return run_tower(w, x, s, layers, 0, s.layers);
}

TensorId image_patches(GraphWriter& w, TensorId pixels, const ImageSpec& s, std::string_view name,
                       bool bias) {
  TensorId grid;
  {
    const GraphWriter::Scope scope(w, name);
    const TensorId weight =
        w.parameter("weight", {s.tower.hidden, s.channels, s.patch[0], s.patch[1]});
    const TensorId addend = bias ? w.parameter("bias", {s.tower.hidden}) : TensorId();
    const std::vector<std::int64_t> stride{s.patch[0], s.patch[1]};
    const Shape shape{w.dim(pixels, 0), fixed(s.tower.hidden), fixed(s.rows()), fixed(s.columns())};
    grid = bias ? w.op("aten.conv2d.default",
                       {{"input", pixels}, {"weight", weight}, {"bias", addend}}, shape,
                       {{"stride", stride}})
                : w.op("aten.conv2d.default", {{"input", pixels}, {"weight", weight}}, shape,
                       {{"stride", stride}});
  }
  const TensorId flat = w.view_op("aten.flatten.using_ints", grid,
                                  {w.dim(pixels, 0), fixed(s.tower.hidden), fixed(s.patches())});
  return w.transpose(flat, 1, 2);
}

TensorId pixel_input(GraphWriter& w, const ImageSpec& s, const Dim& batch) {
  return w.input("pixel_values", w.dtype(),
                 {batch, fixed(s.channels), fixed(s.image[0]), fixed(s.image[1])});
}

void read_image(ConfigReader& c, ImageSpec& s, std::int64_t patch, bool cut) {
  s.image = c.pair("image_size", s.image[0], 1 << 14);
  s.patch = c.pair("patch_size", patch, 1 << 14);
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  const bool square = s.image[0] == s.image[1] && s.patch[0] == s.patch[1];
  for (std::size_t side = 0; side < (square ? 1 : 2); ++side) {
    if (cut && s.patch[side] <= s.image[side]) continue;
    c.divides("patch_size", s.patch[side], "image_size", s.image[side]);
  }
}

void older_names(TowerSpec& t) {
  t.q = "attention.query";
  t.k = "attention.key";
  t.v = "attention.value";
  t.o = "output.dense";
  t.mlp = "";
  t.up = "intermediate.dense";
  t.down = "output.dense";
}

void read_tower(ConfigReader& c, TowerSpec& t, const TowerSpec& defaults) {
  t = defaults;
  t.hidden = c.whole({"hidden_size"}, defaults.hidden);
  t.ffn = c.whole({"intermediate_size"}, defaults.ffn, 1, limits::kFeedForward);
  t.layers = c.whole({"num_hidden_layers"}, defaults.layers > 0 ? defaults.layers : 12, 1,
                     limits::kLayers);
  t.heads = c.whole({"num_attention_heads"}, defaults.heads, 1, limits::kHeads);
  c.divides("num_attention_heads", t.heads, "hidden_size", t.hidden);
  t.eps = c.real({"layer_norm_eps"}, defaults.eps);
  t.activation = c.activation({"hidden_act"}, defaults.activation);
}

namespace {

struct VitSpec {
  ImageSpec image;
  std::string base;
  Head head = Head::image_classification;
  std::int64_t labels = 2, pooler = 0;
  std::string pooler_activation = "tanh";
  std::int64_t stride = 16;  ///< pixels per patch that a masked image is drawn with
};

/// Pixels again from the patches: a product for each, its channels spread over the plane.
Graph masked_image(GraphWriter& w, const VitSpec& s, TensorId x) {
  const ImageSpec& image = s.image;
  const Dim batch = w.dim(x, 0), hidden = fixed(image.tower.hidden);
  const Dim rows = fixed(image.rows()), columns = fixed(image.columns());
  const TensorId patches = w.slice(x, 1, 1, fixed(image.patches()));
  const TensorId grid = w.op("aten.reshape.default", {{"self", w.transpose(patches, 1, 2)}},
                             {batch, hidden, rows, columns});
  const std::int64_t channels = s.stride * s.stride * image.channels;
  TensorId drawn;
  {
    const GraphWriter::Scope scope(w, "decoder.0");
    const TensorId weight = w.parameter("weight", {channels, image.tower.hidden, 1, 1});
    const TensorId bias = w.parameter("bias", {channels});
    drawn = w.op("aten.conv2d.default", {{"input", grid}, {"weight", weight}, {"bias", bias}},
                 {batch, fixed(channels), rows, columns});
  }
  const GraphWriter::Scope scope(w, "decoder.1");
  return w.finish({w.op("aten.pixel_shuffle.default", {{"self", drawn}},
                        {batch, fixed(image.channels), fixed(image.rows() * s.stride),
                         fixed(image.columns() * s.stride)},
                        {{"upscale_factor", s.stride}})});
}

Graph build_vit(GraphWriter& w, const VitSpec& s) {
  const TowerSpec& t = s.image.tower;
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = pixel_input(w, s.image, batch);
  TensorId x;
  {
    const GraphWriter::Scope base(w, s.head == Head::base ? "" : s.base);
    {
      const GraphWriter::Scope scope(w, "embeddings");
      const TensorId cls = w.parameter("cls_token", {1, 1, t.hidden});
      const TensorId places = w.parameter("position_embeddings",
                                          {1, s.image.patches() + s.image.extra_tokens, t.hidden});
      std::vector<TensorId> parts = {w.expand(cls, {batch, fixed(1), fixed(t.hidden)})};
      if (s.head == Head::masked_image) w.parameter("mask_token", {1, 1, t.hidden});
      if (s.image.extra_tokens == 2) {
        const TensorId distilled = w.parameter("distillation_token", {1, 1, t.hidden});
        parts.push_back(w.expand(distilled, {batch, fixed(1), fixed(t.hidden)}));
      }
      parts.push_back(image_patches(w, pixels, s.image, "patch_embeddings.projection", true));
      x = w.dropout(w.add(w.cat(parts, 1), places), t.dropout);
    }
    x = w.layer_norm(run_tower(w, x, t, "layers"), "layernorm", t.eps);
    if (s.head == Head::base) {
      const TensorId dense = w.linear(w.select(x, 1, 0), "pooler.dense", s.pooler, true);
      return w.finish({x, activate(w, dense, s.pooler_activation)});
    }
  }
  if (s.head == Head::masked_image) return masked_image(w, s, x);
  if (s.head == Head::image_classification_with_teacher) {
    const TensorId own = w.linear(w.select(x, 1, 0), "cls_classifier", s.labels, true);
    const TensorId taught = w.linear(w.select(x, 1, 1), "distillation_classifier", s.labels, true);
    const TensorId both = w.div(w.add(own, taught), 2);
    return w.finish({both, own, taught});
  }
  return w.finish({w.linear(w.select(x, 1, 0), "classifier", s.labels, true)});
}

Writing read_vit(ConfigReader& c, const char* base, std::int64_t extra_tokens) {
  VitSpec s;
  s.base = base;
  read_tower(c, s.image.tower, {.hidden = 768, .ffn = 3072, .heads = 12});
  read_image(c, s.image, 16);
  s.image.extra_tokens = extra_tokens;
  s.image.tower.qkv_bias = c.flag({"qkv_bias"}, true);
  s.image.tower.dropout = c.real({"hidden_dropout_prob"}, 0);
  s.image.tower.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  const Head usual = Head::image_classification, taught = Head::image_classification_with_teacher;
  s.head = extra_tokens == 2 ? c.head(usual, {usual, taught, Head::masked_image, Head::base})
                             : c.head(usual, {usual, Head::masked_image, Head::base});
  s.labels = c.labels();
  s.pooler = c.maybe_whole({"pooler_output_size"}).value_or(s.image.tower.hidden);
  s.pooler_activation = c.activation({"pooler_act"}, "tanh");
  s.stride = c.whole({"encoder_stride"}, 16, 1, 1 << 10);
  if (s.head == Head::masked_image && s.image.rows() != s.image.columns()) {
    c.fault("image_size", "a masked image must have as many rows of patches as columns",
            "as the class draws it");
  }
  return [s](GraphWriter& w) { return build_vit(w, s); };
}

Writing vit(ConfigReader& c) { return read_vit(c, "vit", 1); }
Writing deit(ConfigReader& c) { return read_vit(c, "deit", 2); }

// --- clip

struct ClipSpec {
  TowerSpec text;
  ImageSpec image;
  std::int64_t vocab = 49408, positions = 77, projection = 512, labels = 2;
  Head head = Head::base;
};

/// The last states and the one that stands for the sentence.
struct Side {
  TensorId states, pooled;
};

Side text_side(GraphWriter& w, const ClipSpec& s, TensorId ids, const char* name) {
  const GraphWriter::Scope scope(w, name);
  const Dim batch = w.dim(ids, 0), length = w.dim(ids, 1);
  TensorId x;
  {
    const GraphWriter::Scope embeddings(w, "embeddings");
    const TensorId places = w.buffer("position_ids", DType::i64, {1, s.positions});
    const TensorId table = w.parameter("token_embedding.weight", {s.vocab, s.text.hidden});
    const TensorId rows = w.parameter("position_embedding.weight", {s.positions, s.text.hidden});
    const TensorId here = w.slice(places, 1, 0, length);
    x = w.add(w.embedding(ids, table, "token_embedding"),
              w.embedding(here, rows, "position_embedding"));
  }
  x = w.layer_norm(run_tower(w, x, s.text, "encoder.layers"), "final_layer_norm", s.text.eps);
  // The token with the largest id ends a sentence: its state stands for the sentence.
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {batch});
  const TensorId end = w.op("aten.argmax.default", DType::i64, {{"self", ids}}, {batch},
                            {{"dim", std::int64_t{-1}}});
  return {x, w.op("aten.index.Tensor", {{"self", x}, {"indices", range}, {"indices", end}},
                  {batch, fixed(s.text.hidden)})};
}

}  // namespace

TensorId clip_image_states(GraphWriter& w, const ImageSpec& s, TensorId pixels,
                           std::int64_t layers) {
  const TowerSpec& t = s.tower;
  TensorId x;
  {
    const GraphWriter::Scope embeddings(w, "embeddings");
    const std::int64_t count = s.patches() + 1;
    const TensorId places = w.buffer("position_ids", DType::i64, {1, count});
    const TensorId cls = w.parameter("class_embedding", {t.hidden});
    const TensorId rows = w.parameter("position_embedding.weight", {count, t.hidden});
    const TensorId image = image_patches(w, pixels, s, "patch_embedding", false);
    const TensorId first = w.expand(cls, {w.dim(pixels, 0), fixed(1), fixed(t.hidden)});
    x = w.add(w.cat({first, image}, 1), w.embedding(places, rows, "position_embedding"));
  }
  return run_tower(w, w.layer_norm(x, "pre_layrnorm", t.eps), t, "encoder.layers", 0, layers);
}

namespace {

Side image_side(GraphWriter& w, const ClipSpec& s, TensorId pixels, const char* name) {
  const GraphWriter::Scope scope(w, name);
  const TensorId x = clip_image_states(w, s.image, pixels, s.image.tower.layers);
  return {x, w.layer_norm(w.select(x, 1, 0), "post_layernorm", s.image.tower.eps)};
}

Graph build_text(GraphWriter& w, const ClipSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim length = w.symbol("sequence", s.positions, s.positions);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, length});
  const bool projected = s.head == Head::text_with_projection;
  const Side side = text_side(w, s, ids, projected ? "text_model" : "");
  if (!projected) return w.finish({side.states, side.pooled});
  const TensorId words = w.linear(side.pooled, "text_projection", s.projection, false);
  return w.finish({words, side.states});
}

Graph build_vision(GraphWriter& w, const ClipSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = pixel_input(w, s.image, batch);
  const bool bare = s.head == Head::vision;
  const Side side = image_side(w, s, pixels, bare ? "" : "vision_model");
  if (bare) return w.finish({side.states, side.pooled});
  if (s.head == Head::vision_with_projection) {
    const TensorId image = w.linear(side.pooled, "visual_projection", s.projection, false);
    return w.finish({image, side.states});
  }
  const Dim width = fixed(s.image.tower.hidden);
  const TensorId patches = w.slice(side.states, 1, 1, fixed(s.image.patches()));
  const TensorId mean = w.op("aten.mean.dim", {{"self", patches}}, {batch, width},
                             {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
  return w.finish({w.linear(mean, "classifier", s.labels, true)});
}

TensorId normalised(GraphWriter& w, TensorId x) {
  const TensorId squares = w.power(x, 2);
  const TensorId sum = w.op("aten.sum.dim_IntList", {{"self", squares}}, w.with_last(x, fixed(1)),
                            {{"dim", std::vector<std::int64_t>{-1}}, {"keepdim", true}});
  const TensorId length = w.power(sum, 0.5);
  return w.op("aten.div.Tensor", {{"self", x}, {"other", length}}, w.tensor(x).shape);
}

Graph build_clip(GraphWriter& w, const ClipSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim length = w.symbol("sequence", s.positions, s.positions);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, length});
  const TensorId pixels = pixel_input(w, s.image, batch);
  const TensorId scale = w.parameter("logit_scale", Shape{});
  const TensorId image = w.linear(image_side(w, s, pixels, "vision_model").pooled,
                                  "visual_projection", s.projection, false);
  const TensorId text =
      w.linear(text_side(w, s, ids, "text_model").pooled, "text_projection", s.projection, false);
  const TensorId images = normalised(w, image), texts = normalised(w, text);
  const TensorId turned = w.transpose(images, 0, 1);
  const TensorId scores = w.matmul(texts, turned, {batch, batch});
  const TensorId logits = w.mul(scores, w.unary("aten.exp.default", scale));
  const TensorId per_image = w.transpose(logits, 0, 1);
  return w.finish({per_image, logits});
}

TowerSpec clip_style() {
  return {.hidden = 512,
          .ffn = 2048,
          .layers = 12,
          .heads = 8,
          .eps = 1e-5,
          .activation = "quick_gelu",
          .attention = "self_attn",
          .o = "out_proj",
          .norm1 = "layer_norm1",
          .norm2 = "layer_norm2"};
}

}  // namespace

ImageSpec clip_image_defaults() {
  ImageSpec s;
  s.tower = clip_style();
  s.tower.hidden = 768;
  s.tower.ffn = 3072;
  s.tower.heads = 12;
  s.patch = {32, 32};
  return s;
}

void read_clip_image(ConfigReader& c, ImageSpec& s) {
  const TowerSpec defaults = s.tower;
  read_tower(c, s.tower, defaults);
  read_image(c, s, s.patch[0]);
  s.tower.attention_dropout = c.real({"attention_dropout"}, 0);
}

namespace {

ClipSpec clip_defaults() {
  ClipSpec s;
  s.text = clip_style();
  s.text.causal = true;
  s.image = clip_image_defaults();
  return s;
}

void read_text(ConfigReader& c, ClipSpec& s) {
  const TowerSpec defaults = s.text;
  read_tower(c, s.text, defaults);
  s.vocab = c.whole({"vocab_size"}, 49408, 1, limits::kVocabulary);
  s.positions = c.whole({"max_position_embeddings"}, 77, 1, limits::kSequence);
  s.text.attention_dropout = c.real({"attention_dropout"}, 0);
}

Writing clip(ConfigReader& c) {
  ClipSpec s = clip_defaults();
  s.projection = c.whole({"projection_dim"}, 512);
  if (std::optional<ConfigReader> t = c.object("text_config")) {
    read_text(*t, s);
    t->ignore({"projection_dim", "model_type"});
    t->note_unread();
  }
  if (std::optional<ConfigReader> v = c.object("vision_config")) {
    read_clip_image(*v, s.image);
    v->ignore({"projection_dim", "model_type"});
    v->note_unread();
  }
  s.head = c.head(Head::base, {Head::base, Head::image_classification});
  s.labels = c.labels();
  if (s.head == Head::base) return [s](GraphWriter& w) { return build_clip(w, s); };
  return [s](GraphWriter& w) { return build_vision(w, s); };
}

Writing clip_text(ConfigReader& c) {
  ClipSpec s = clip_defaults();
  read_text(c, s);
  s.projection = c.whole({"projection_dim"}, 512);
  s.head = c.head(Head::text, {Head::text, Head::text_with_projection});
  return [s](GraphWriter& w) { return build_text(w, s); };
}

Writing clip_vision(ConfigReader& c) {
  ClipSpec s = clip_defaults();
  read_clip_image(c, s.image);
  s.projection = c.whole({"projection_dim"}, 512);
  s.head = c.head(Head::vision, {Head::vision, Head::vision_with_projection});
  return [s](GraphWriter& w) { return build_vision(w, s); };
}

constexpr HfFamily kVisionFamilies[] = {{"vit", vit},
                                        {"deit", deit},
                                        {"clip", clip},
                                        {"clip_text_model", clip_text},
                                        {"clip_vision_model", clip_vision}};

}  // namespace

std::span<const HfFamily> vision_families() { return kVisionFamilies; }

}  // namespace parallel_opt::hf
