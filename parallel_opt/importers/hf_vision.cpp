#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_families.h"

// Image models: vit, deit, and clip with its text side. Images have the size of the configuration;
// only `batch` (and clip's `sequence`) is symbolic.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;
using Head = HeadKind;

/// Pre-norm layers with biases: what vit, deit and both sides of clip are made of.
struct TowerSpec {
  std::int64_t hidden = 0, ffn = 0, layers = 0, heads = 0;
  double eps = 1e-12, dropout = 0, attention_dropout = 0;
  std::string activation = "gelu";
  bool causal = false, qkv_bias = true;
  std::string attention = "attention", o = "o_proj";
  std::string norm1 = "layernorm_before", norm2 = "layernorm_after";
};

struct ImageSpec {
  TowerSpec tower;
  std::int64_t image = 224, patch = 16, channels = 3;
  std::int64_t extra_tokens = 1;
  std::int64_t patches() const { return (image / patch) * (image / patch); }
};

TensorId tower(GraphWriter& w, TensorId x, const TowerSpec& s, const std::string& layers) {
  for (std::int64_t i = 0; i < s.layers; ++i) {
    const GraphWriter::Mark mark = w.mark();
    const GraphWriter::Scope scope(w, layers + "." + std::to_string(i));
    AttentionParts p{"q_proj", "k_proj", "v_proj", s.o, s.heads, s.hidden / s.heads};
    p.q_bias = p.k_bias = p.v_bias = s.qkv_bias;
    p.call = {s.causal, TensorId(), 0, s.attention_dropout};
    TensorId h = w.layer_norm(x, s.norm1, s.eps);
    {
      const GraphWriter::Scope attention(w, s.attention);
      h = attend(w, h, h, p, s.hidden);
    }
    x = w.add(w.dropout(h, s.dropout), x);
    h = w.layer_norm(x, s.norm2, s.eps);
    {
      const GraphWriter::Scope mlp(w, "mlp");
      h = two_layers(w, h, {"fc1", "fc2", s.ffn, s.hidden, s.activation});
    }
    x = w.add(w.dropout(h, s.dropout), x);
    if (i == 1) w.reserve_repeats(mark, s.layers - 2);
  }
  return x;
}

/// Patches as a strided convolution: [b, patches, hidden].
TensorId patches(GraphWriter& w, TensorId pixels, const ImageSpec& s, std::string_view name,
                 bool bias) {
  const std::int64_t side = s.image / s.patch;
  TensorId grid;
  {
    const GraphWriter::Scope scope(w, name);
    const TensorId weight = w.parameter("weight", {s.tower.hidden, s.channels, s.patch, s.patch});
    const TensorId addend = bias ? w.parameter("bias", {s.tower.hidden}) : TensorId();
    const std::vector<std::int64_t> stride{s.patch, s.patch};
    const Shape shape{w.dim(pixels, 0), fixed(s.tower.hidden), fixed(side), fixed(side)};
    grid = bias ? w.op("aten.conv2d.default",
                       {{"input", pixels}, {"weight", weight}, {"bias", addend}}, shape,
                       {{"stride", stride}})
                : w.op("aten.conv2d.default", {{"input", pixels}, {"weight", weight}}, shape,
                       {{"stride", stride}});
  }
  const TensorId flat = w.view_op("aten.flatten.using_ints", grid,
                                  {w.dim(pixels, 0), fixed(s.tower.hidden), fixed(side * side)});
  return w.transpose(flat, 1, 2);
}

TensorId pixel_input(GraphWriter& w, const ImageSpec& s, const Dim& batch) {
  return w.input("pixel_values", w.dtype(),
                 {batch, fixed(s.channels), fixed(s.image), fixed(s.image)});
}

struct VitSpec {
  ImageSpec image;
  std::string base;
  Head head = Head::image_classification;
  std::int64_t labels = 2, pooler = 0;
  std::string pooler_activation = "tanh";
};

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
      if (s.image.extra_tokens == 2) {
        const TensorId distilled = w.parameter("distillation_token", {1, 1, t.hidden});
        parts.push_back(w.expand(distilled, {batch, fixed(1), fixed(t.hidden)}));
      }
      parts.push_back(patches(w, pixels, s.image, "patch_embeddings.projection", true));
      x = w.dropout(w.add(w.cat(parts, 1), places), t.dropout);
    }
    x = w.layer_norm(tower(w, x, t, "layers"), "layernorm", t.eps);
    if (s.head == Head::base) {
      const TensorId dense = w.linear(w.select(x, 1, 0), "pooler.dense", s.pooler, true);
      return w.finish({x, activate(w, dense, s.pooler_activation)});
    }
  }
  return w.finish({w.linear(w.select(x, 1, 0), "classifier", s.labels, true)});
}

void read_image(ConfigReader& c, ImageSpec& s, std::int64_t patch) {
  s.image = c.whole({"image_size"}, 224, 1, 1 << 14);
  s.patch = c.whole({"patch_size"}, patch, 1, 1 << 14);
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  c.divides("patch_size", s.patch, "image_size", s.image);
}

void read_tower(ConfigReader& c, TowerSpec& t, const TowerSpec& defaults) {
  t = defaults;
  t.hidden = c.whole({"hidden_size"}, defaults.hidden);
  t.ffn = c.whole({"intermediate_size"}, defaults.ffn, 1, limits::kFeedForward);
  t.layers = c.whole({"num_hidden_layers"}, 12, 1, limits::kLayers);
  t.heads = c.whole({"num_attention_heads"}, defaults.heads, 1, limits::kHeads);
  c.divides("num_attention_heads", t.heads, "hidden_size", t.hidden);
  t.eps = c.real({"layer_norm_eps"}, defaults.eps);
  t.activation = c.activation({"hidden_act"}, defaults.activation);
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
  s.head = c.head(Head::image_classification, {Head::image_classification, Head::base});
  s.labels = c.labels();
  s.pooler = c.maybe_whole({"pooler_output_size"}).value_or(s.image.tower.hidden);
  s.pooler_activation = c.activation({"pooler_act"}, "tanh");
  c.ignore({"encoder_stride"});  // of masked-image heads
  return [s](GraphWriter& w) { return build_vit(w, s); };
}

Writing vit(ConfigReader& c) { return read_vit(c, "vit", 1); }
Writing deit(ConfigReader& c) { return read_vit(c, "deit", 2); }

// --- clip

struct ClipSpec {
  TowerSpec text;
  ImageSpec image;
  std::int64_t vocab = 0, positions = 0, projection = 0;
};

TensorId text_side(GraphWriter& w, const ClipSpec& s, TensorId ids) {
  const GraphWriter::Scope scope(w, "text_model");
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
  x = w.layer_norm(tower(w, x, s.text, "encoder.layers"), "final_layer_norm", s.text.eps);
  // The token with the largest id ends a sentence: its state stands for the sentence.
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {batch});
  const TensorId end = w.op("aten.argmax.default", DType::i64, {{"self", ids}}, {batch},
                            {{"dim", std::int64_t{-1}}});
  return w.op("aten.index.Tensor", {{"self", x}, {"indices", range}, {"indices", end}},
              {batch, fixed(s.text.hidden)});
}

TensorId image_side(GraphWriter& w, const ClipSpec& s, TensorId pixels) {
  const GraphWriter::Scope scope(w, "vision_model");
  const TowerSpec& t = s.image.tower;
  TensorId x;
  {
    const GraphWriter::Scope embeddings(w, "embeddings");
    const std::int64_t count = s.image.patches() + 1;
    const TensorId places = w.buffer("position_ids", DType::i64, {1, count});
    const TensorId cls = w.parameter("class_embedding", {t.hidden});
    const TensorId rows = w.parameter("position_embedding.weight", {count, t.hidden});
    const TensorId image = patches(w, pixels, s.image, "patch_embedding", false);
    const TensorId first = w.expand(cls, {w.dim(pixels, 0), fixed(1), fixed(t.hidden)});
    x = w.add(w.cat({first, image}, 1), w.embedding(places, rows, "position_embedding"));
  }
  x = w.layer_norm(x, "pre_layrnorm", t.eps);
  x = tower(w, x, t, "encoder.layers");
  return w.layer_norm(w.select(x, 1, 0), "post_layernorm", t.eps);
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
  const TensorId image =
      w.linear(image_side(w, s, pixels), "visual_projection", s.projection, false);
  const TensorId text = w.linear(text_side(w, s, ids), "text_projection", s.projection, false);
  const TensorId images = normalised(w, image), texts = normalised(w, text);
  const TensorId turned = w.transpose(images, 0, 1);
  const TensorId scores = w.matmul(texts, turned, {batch, batch});
  const TensorId logits = w.mul(scores, w.unary("aten.exp.default", scale));
  const TensorId per_image = w.transpose(logits, 0, 1);
  return w.finish({per_image, logits});
}

Writing clip(ConfigReader& c) {
  ClipSpec s;
  const TowerSpec style{.eps = 1e-5,
                        .activation = "quick_gelu",
                        .attention = "self_attn",
                        .o = "out_proj",
                        .norm1 = "layer_norm1",
                        .norm2 = "layer_norm2"};
  TowerSpec text = style, image = style;
  text.hidden = 512;
  text.ffn = 2048;
  text.heads = 8;
  text.causal = true;
  image.hidden = 768;
  image.ffn = 3072;
  image.heads = 12;
  s.projection = c.whole({"projection_dim"}, 512);
  s.vocab = 49408;
  s.positions = 77;
  s.text = text;
  s.text.layers = 12;
  s.image.tower = image;
  s.image.tower.layers = 12;
  s.image.patch = 32;
  if (std::optional<ConfigReader> t = c.object("text_config")) {
    read_tower(*t, s.text, text);
    s.vocab = t->whole({"vocab_size"}, 49408, 1, limits::kVocabulary);
    s.positions = t->whole({"max_position_embeddings"}, 77, 1, limits::kSequence);
    s.text.attention_dropout = t->real({"attention_dropout"}, 0);
    t->ignore({"projection_dim", "model_type"});
    t->note_unread();
  }
  if (std::optional<ConfigReader> v = c.object("vision_config")) {
    read_tower(*v, s.image.tower, image);
    read_image(*v, s.image, 32);
    s.image.tower.attention_dropout = v->real({"attention_dropout"}, 0);
    v->ignore({"projection_dim", "model_type"});
    v->note_unread();
  }
  c.head(Head::base, {Head::base});
  return [s](GraphWriter& w) { return build_clip(w, s); };
}

constexpr HfFamily kFamilies[] = {{"vit", vit}, {"deit", deit}, {"clip", clip}};

}  // namespace

std::span<const HfFamily> vision_families() { return kFamilies; }

}  // namespace parallel_opt::hf
