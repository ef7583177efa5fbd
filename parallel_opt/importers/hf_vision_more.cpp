#include <algorithm>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Further image models: siglip with its text side, dinov2 with and without registers.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;

TowerSpec siglip_style() {
  return {.hidden = 768,
          .ffn = 3072,
          .layers = 12,
          .heads = 12,
          .eps = 1e-6,
          .activation = "gelu_pytorch_tanh",
          .attention = "self_attn",
          .o = "out_proj",
          .norm1 = "layer_norm1",
          .norm2 = "layer_norm2"};
}

struct SiglipSpec {
  TowerSpec text;
  ImageSpec image;
  std::int64_t vocab = 32000, positions = 64, projection = 768, labels = 2;
  bool pools = true;  ///< the image side ends with attention of one query to all patches
  HeadKind head = HeadKind::base;
};

struct SiglipSide {
  TensorId states, pooled;
};

SiglipSide siglip_image(GraphWriter& w, const SiglipSpec& s, TensorId pixels) {
  TensorId x = siglip_image_states(w, s.image, pixels, s.image.tower.layers);
  x = w.layer_norm(x, "post_layernorm", s.image.tower.eps);
  return {x, s.pools ? siglip_pool(w, s.image, x) : TensorId()};
}

SiglipSide siglip_text_side(GraphWriter& w, const SiglipSpec& s, TensorId ids) {
  TensorId x;
  {
    const GraphWriter::Scope embeddings(w, "embeddings");
    const TensorId places = w.buffer("position_ids", DType::i64, {1, s.positions});
    const TensorId table = w.parameter("token_embedding.weight", {s.vocab, s.text.hidden});
    const TensorId rows = w.parameter("position_embedding.weight", {s.positions, s.text.hidden});
    x = w.add(w.embedding(ids, table, "token_embedding"),
              w.embedding(w.slice(places, 1, 0, w.dim(ids, 1)), rows, "position_embedding"));
  }
  x = w.layer_norm(run_tower(w, x, s.text, "encoder.layers"), "final_layer_norm", s.text.eps);
  return {x, w.linear(w.select(x, 1, -1), "head", s.projection, true)};
}

TensorId of_length_one(GraphWriter& w, TensorId x) {
  const TensorId length =
      w.op("aten.linalg_vector_norm.default", {{"self", x}}, w.with_last(x, fixed(1)),
           {{"ord", 2.0}, {"dim", std::vector<std::int64_t>{-1}}, {"keepdim", true}});
  return w.op("aten.div.Tensor", {{"self", x}, {"other", length}}, w.tensor(x).shape);
}

Graph build_siglip(GraphWriter& w, const SiglipSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim length = w.symbol("sequence", s.positions, s.positions);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, length});
  const TensorId pixels = pixel_input(w, s.image, batch);
  SiglipSide image, text;
  {
    const GraphWriter::Scope scope(w, "vision_model");
    image = siglip_image(w, s, pixels);
  }
  {
    const GraphWriter::Scope scope(w, "text_model");
    text = siglip_text_side(w, s, ids);
  }
  const TensorId scale = w.parameter("logit_scale", {1}), shift = w.parameter("logit_bias", {1});
  const TensorId images = of_length_one(w, image.pooled), texts = of_length_one(w, text.pooled);
  const TensorId scores = w.matmul(texts, w.transpose(images, 0, 1), {batch, batch});
  const TensorId logits = w.add(w.mul(scores, w.unary("aten.exp.default", scale)), shift);
  const TensorId per_image = w.transpose(logits, 0, 1);
  return w.finish({per_image, logits});
}

Graph build_siglip_text(GraphWriter& w, const SiglipSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim length = w.symbol("sequence", s.positions, s.positions);
  const SiglipSide side = siglip_text_side(w, s, w.input("input_ids", DType::i64, {batch, length}));
  return w.finish({side.states, side.pooled});
}

Graph build_siglip_image(GraphWriter& w, const SiglipSpec& s) {
  const TensorId pixels = pixel_input(w, s.image, w.symbol("batch", 1));
  if (s.head == HeadKind::vision) {
    const SiglipSide side = siglip_image(w, s, pixels);
    return side.pooled.valid() ? w.finish({side.states, side.pooled}) : w.finish({side.states});
  }
  SiglipSide side;
  {
    const GraphWriter::Scope scope(w, "vision_model");
    side = siglip_image(w, s, pixels);
  }
  const TensorId mean = w.op("aten.mean.dim", {{"self", side.states}},
                             {w.dim(pixels, 0), fixed(s.image.tower.hidden)},
                             {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
  return w.finish({w.linear(mean, "classifier", s.labels, true)});
}

void read_siglip_text(ConfigReader& c, SiglipSpec& s) {
  read_tower(c, s.text, siglip_style());
  s.vocab = c.whole({"vocab_size"}, 32000, 1, limits::kVocabulary);
  s.positions = c.whole({"max_position_embeddings"}, 64, 1, limits::kSequence);
  s.text.attention_dropout = c.real({"attention_dropout"}, 0);
  s.projection = c.maybe_whole({"projection_size"}).value_or(s.text.hidden);
}

Writing siglip(ConfigReader& c) {
  SiglipSpec s;
  s.text = s.image.tower = siglip_style();
  if (std::optional<ConfigReader> t = c.object("text_config")) {
    read_siglip_text(*t, s);
    t->ignore({"model_type"});
    t->note_unread();
  }
  if (std::optional<ConfigReader> v = c.object("vision_config")) {
    s.image = read_siglip_image(*v);
    s.pools = v->flag({"vision_use_head"}, true);
    v->ignore({"model_type"});
    v->note_unread();
  }
  s.head = c.head(HeadKind::base, {HeadKind::base, HeadKind::image_classification});
  s.labels = c.labels();
  if (s.head == HeadKind::image_classification) {
    return [s](GraphWriter& w) { return build_siglip_image(w, s); };
  }
  if (!s.pools) c.fault("vision_config.vision_use_head", "false leaves no image to compare");
  if (s.projection != s.image.tower.hidden) {
    c.fault("text_config.projection_size", std::to_string(s.projection) +
                                               " is not the image side's " +
                                               std::to_string(s.image.tower.hidden));
  }
  return [s](GraphWriter& w) { return build_siglip(w, s); };
}

Writing siglip_text(ConfigReader& c) {
  SiglipSpec s;
  read_siglip_text(c, s);
  s.head = c.head(HeadKind::text, {HeadKind::text});
  return [s](GraphWriter& w) { return build_siglip_text(w, s); };
}

Writing siglip_vision(ConfigReader& c) {
  SiglipSpec s;
  s.image = read_siglip_image(c);
  s.pools = c.flag({"vision_use_head"}, true);
  s.head = c.head(HeadKind::vision, {HeadKind::vision});
  return [s](GraphWriter& w) { return build_siglip_image(w, s); };
}

// --- dinov2

struct DinoSpec {
  ImageSpec image;
  std::string base;
  std::int64_t registers = 0, labels = 2;
  bool mask_token = true;
  HeadKind head = HeadKind::base;
};

TensorId dino_embeddings(GraphWriter& w, const DinoSpec& s, TensorId pixels) {
  const std::int64_t hidden = s.image.tower.hidden, count = s.image.patches();
  const Dim batch = w.dim(pixels, 0);
  const GraphWriter::Scope scope(w, "embeddings");
  const TensorId cls = w.parameter("cls_token", {1, 1, hidden});
  if (s.mask_token) w.parameter("mask_token", {1, hidden});
  const TensorId places = w.parameter("position_embeddings", {1, count + 1, hidden});
  const TensorId patches = image_patches(w, pixels, s.image, "patch_embeddings.projection", true);
  const TensorId first = w.expand(cls, {batch, fixed(1), fixed(hidden)});
  TensorId x = w.add(w.cat({first, patches}, 1), places);
  if (s.registers > 0) {
    const TensorId more = w.parameter("register_tokens", {1, s.registers, hidden});
    x = w.cat(
        {w.slice(x, 1, 0, fixed(1)), w.expand(more, {batch, fixed(s.registers), fixed(hidden)}),
         w.slice(x, 1, 1, fixed(count))},
        1);
  }
  return w.dropout(x, s.image.tower.dropout);
}

Graph build_dino(GraphWriter& w, const DinoSpec& s) {
  const TowerSpec& t = s.image.tower;
  const TensorId pixels = pixel_input(w, s.image, w.symbol("batch", 1));
  TensorId x, cls;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : s.base);
    x = run_tower(w, dino_embeddings(w, s, pixels), t, "encoder.layer");
    x = w.layer_norm(x, "layernorm", t.eps);
    cls = w.select(x, 1, 0);
  }
  if (s.head == HeadKind::base) return w.finish({x, cls});
  const TensorId patches = w.slice(x, 1, 1, plus(w.dim(x, 1), -1));
  const TensorId mean = w.op("aten.mean.dim", {{"self", patches}}, {w.dim(x, 0), fixed(t.hidden)},
                             {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
  return w.finish({w.linear(w.cat({cls, mean}, 1), "classifier", s.labels, true)});
}

Writing read_dino(ConfigReader& c, DinoSpec s) {
  TowerSpec& t = s.image.tower;
  read_tower(c, t,
             {.hidden = 768,
              .ffn = 3072,
              .heads = 12,
              .eps = 1e-6,
              .norm1 = "norm1",
              .norm2 = "norm2",
              .layer_scale = true});
  const double inner = static_cast<double>(t.hidden) * c.real({"mlp_ratio"}, 4);
  t.ffn = static_cast<std::int64_t>(std::min(inner, double(limits::kFeedForward)));
  t.swiglu = c.flag({"use_swiglu_ffn"}, false);
  if (t.swiglu) t.ffn = (t.ffn * 2 / 3 + 7) / 8 * 8;
  if (t.ffn < 1) c.fault("mlp_ratio", "leaves nothing of the inner width");
  read_image(c, s.image, s.registers > 0 ? 16 : 14, true);
  t.qkv_bias = c.flag({"qkv_bias"}, true);
  t.dropout = c.real({"hidden_dropout_prob"}, 0);
  t.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.mask_token = c.flag({"use_mask_token"}, true);
  s.head = c.head(HeadKind::base, {HeadKind::base, HeadKind::image_classification});
  s.labels = c.labels();
  c.note_when_set("drop_path_rate", "counted as if no sample left a layer out");
  c.ignore({"layerscale_value", "apply_layernorm", "reshape_hidden_states", "out_features",
            "out_indices", "stage_names"});
  return [s](GraphWriter& w) { return build_dino(w, s); };
}

Writing dinov2(ConfigReader& c) {
  DinoSpec s;
  s.base = "dinov2";
  return read_dino(c, std::move(s));
}
Writing dinov2_with_registers(ConfigReader& c) {
  DinoSpec s;
  s.base = "dinov2_with_registers";
  s.registers = c.whole({"num_register_tokens"}, 4, 0, 1 << 12);
  return read_dino(c, std::move(s));
}

constexpr HfFamily kFurtherVisionFamilies[] = {{"siglip", siglip},
                                               {"siglip_text_model", siglip_text},
                                               {"siglip_vision_model", siglip_vision},
                                               {"dinov2", dinov2},
                                               {"dinov2_with_registers", dinov2_with_registers}};

}  // namespace

ImageSpec read_siglip_image(ConfigReader& c) {
  ImageSpec s;
  s.extra_tokens = 0;
  read_tower(c, s.tower, siglip_style());
  read_image(c, s, 16, true);
  s.tower.attention_dropout = c.real({"attention_dropout"}, 0);
  return s;
}

TensorId siglip_image_states(GraphWriter& w, const ImageSpec& s, TensorId pixels,
                             std::int64_t layers) {
  TensorId x;
  {
    const GraphWriter::Scope embeddings(w, "embeddings");
    const TensorId places = w.buffer("position_ids", DType::i64, {1, s.patches()});
    const TensorId rows = w.parameter("position_embedding.weight", {s.patches(), s.tower.hidden});
    x = w.add(image_patches(w, pixels, s, "patch_embedding", true),
              w.embedding(places, rows, "position_embedding"));
  }
  return run_tower(w, x, s.tower, "encoder.layers", 0, layers);
}

/// As nn.MultiheadAttention does it: one weight for all three projections.
TensorId siglip_pool(GraphWriter& w, const ImageSpec& s, TensorId x) {
  const TowerSpec& t = s.tower;
  const std::int64_t width = t.hidden / t.heads;
  const Dim batch = w.dim(x, 0);
  const GraphWriter::Scope scope(w, "head");
  const TensorId probe = w.parameter("probe", {1, 1, t.hidden});
  const TensorId query =
      w.op("aten.repeat.default", {{"self", probe}}, {batch, fixed(1), fixed(t.hidden)},
           {{"repeats", std::vector<std::int64_t>{1, 1, 1}}});
  TensorId pooled;
  {
    const GraphWriter::Scope attention(w, "attention");
    const TensorId weight = w.parameter("in_proj_weight", {3 * t.hidden, t.hidden});
    const TensorId bias = w.parameter("in_proj_bias", {3 * t.hidden});
    const auto projected = [&](TensorId from, std::int64_t first, std::int64_t count) {
      return w.linear_with(from, "", w.slice(weight, 0, first * t.hidden, fixed(count * t.hidden)),
                           w.slice(bias, 0, first * t.hidden, fixed(count * t.hidden)));
    };
    const TensorId q = projected(query, 0, 1), both = projected(x, 1, 2);
    const auto heads = [&](TensorId from) { return split_heads(w, from, t.heads, width); };
    const TensorId k = w.slice(both, 2, 0, fixed(t.hidden));
    const TensorId v = w.slice(both, 2, t.hidden, fixed(t.hidden));
    const TensorId mixed = fused_attention(w, heads(q), heads(k), heads(v), {});
    pooled = w.linear(mixed, "out_proj", t.hidden, true);
  }
  const TensorId normed = w.layer_norm(pooled, "layernorm", t.eps);
  const GraphWriter::Scope mlp(w, "mlp");
  const TensorId out = two_layers(w, normed, {"fc1", "fc2", t.ffn, t.hidden, t.activation});
  return w.select(w.add(pooled, out), 1, 0);
}

std::span<const HfFamily> further_vision_families() { return kFurtherVisionFamilies; }

}  // namespace parallel_opt::hf
