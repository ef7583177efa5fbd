#include <cmath>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Masked autoencoders: images of which an encoder sees a part (vit_mae), and videos (videomae).
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;

struct MaskedSpec {
  ImageSpec image;
  TowerSpec decoder;
  double hidden_share = 0.75;
  HeadKind head = HeadKind::pretraining;
  std::int64_t kept() const {
    return static_cast<std::int64_t>(static_cast<double>(image.patches()) * (1 - hidden_share));
  }
};

TensorId in_order_of(GraphWriter& w, TensorId x, TensorId places) {
  const Dim count = w.dim(places, 1), hidden = w.last(x);
  const TensorId wide =
      w.op("aten.repeat.default", {{"self", w.unsqueeze(places, 2)}}, {w.dim(x, 0), count, hidden},
           {{"repeats", std::vector<std::int64_t>{1, 1, hidden.size}}});
  return w.op("aten.gather.default", {{"self", x}, {"index", wide}}, {w.dim(x, 0), count, hidden},
              {{"dim", std::int64_t{1}}});
}

/// The patches that the encoder sees, behind its class token; and how to put all in order again.
struct Chosen {
  TensorId tokens, order;
};

Chosen some_patches(GraphWriter& w, const MaskedSpec& s, TensorId pixels) {
  const std::int64_t hidden = s.image.tower.hidden, count = s.image.patches();
  const Dim batch = w.dim(pixels, 0);
  const GraphWriter::Scope scope(w, "embeddings");
  const TensorId cls = w.parameter("cls_token", {1, 1, hidden});
  const TensorId places =
      w.parameter_of(w.dtype(), "position_embeddings", {1, count + 1, hidden}, false);
  TensorId x = image_patches(w, pixels, s.image, "patch_embeddings.projection", true);
  x = w.add(x, w.slice(places, 1, 1, fixed(count)));
  const auto sorted = [&](TensorId from) {
    return w.op("aten.argsort.default", DType::i64, {{"self", from}}, {batch, fixed(count)},
                {{"dim", std::int64_t{1}}});
  };
  const TensorId noise = w.op("aten.rand.default", w.dtype(), {}, {batch, fixed(count)});
  const TensorId shuffled = sorted(noise);
  const TensorId order = sorted(shuffled);
  x = in_order_of(w, x, w.slice(shuffled, 1, 0, fixed(s.kept())));
  const TensorId first = w.add(cls, w.slice(places, 1, 0, fixed(1)));
  return {w.cat({w.expand(first, {batch, fixed(1), fixed(hidden)}), x}, 1), order};
}

/// The numbers of every patch, from tokens of those that were seen.
TensorId drawn_patches(GraphWriter& w, const MaskedSpec& s, TensorId x, TensorId order) {
  const TowerSpec& t = s.decoder;
  const std::int64_t count = s.image.patches();
  const Dim batch = w.dim(x, 0), hidden = fixed(t.hidden);
  const GraphWriter::Scope scope(w, "decoder");
  x = w.linear(x, "decoder_embed", t.hidden, true);
  const TensorId mask = w.parameter("mask_token", {1, 1, t.hidden});
  const Dim missing = fixed(count - s.kept());
  const TensorId masks = w.op("aten.repeat.default", {{"self", mask}}, {batch, missing, hidden},
                              {{"repeats", std::vector<std::int64_t>{1, missing.size, 1}}});
  const TensorId all = w.cat({w.slice(x, 1, 1, fixed(s.kept())), masks}, 1);
  x = w.cat({w.slice(x, 1, 0, fixed(1)), in_order_of(w, all, order)}, 1);
  x = w.add(x, w.parameter_of(w.dtype(), "decoder_pos_embed", {1, count + 1, t.hidden}, false));
  x = w.layer_norm(run_tower(w, x, t, "decoder_layers"), "decoder_norm", t.eps);
  const std::int64_t numbers = s.image.patch[0] * s.image.patch[1] * s.image.channels;
  return w.slice(w.linear(x, "decoder_pred", numbers, true), 1, 1, fixed(count));
}

Graph build_vit_mae(GraphWriter& w, const MaskedSpec& s) {
  const TowerSpec& t = s.image.tower;
  const TensorId pixels = pixel_input(w, s.image, w.symbol("batch", 1));
  TensorId x, order;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : "vit");
    const Chosen chosen = some_patches(w, s, pixels);
    order = chosen.order;
    x = w.layer_norm(run_tower(w, chosen.tokens, t, "layers"), "layernorm", t.eps);
  }
  if (s.head == HeadKind::base) return w.finish({x});
  return w.finish({drawn_patches(w, s, x, order)});
}

Writing vit_mae(ConfigReader& c) {
  MaskedSpec s;
  TowerSpec& t = s.image.tower;
  read_tower(c, t, {.hidden = 768, .ffn = 3072, .heads = 12});
  read_image(c, s.image, 16);
  t.qkv_bias = c.flag({"qkv_bias"}, true);
  t.dropout = c.real({"hidden_dropout_prob"}, 0);
  t.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  TowerSpec& d = s.decoder;
  d = t;
  d.hidden = c.whole({"decoder_hidden_size"}, 512);
  d.ffn = c.whole({"decoder_intermediate_size"}, 2048, 1, limits::kFeedForward);
  d.layers = c.whole({"decoder_num_hidden_layers"}, 8, 1, limits::kLayers);
  d.heads = c.whole({"decoder_num_attention_heads"}, 16, 1, limits::kHeads);
  c.divides("decoder_num_attention_heads", d.heads, "decoder_hidden_size", d.hidden);
  s.hidden_share = c.real({"mask_ratio"}, 0.75);
  if (s.hidden_share >= 1 || s.kept() < 1) {
    c.fault("mask_ratio", "leaves no patch to be seen", "less than 1");
  }
  s.head = c.head(HeadKind::pretraining, {HeadKind::pretraining, HeadKind::base});
  return [s](GraphWriter& w) { return build_vit_mae(w, s); };
}

// --- videomae

struct VideoSpec {
  ImageSpec image;
  std::int64_t frames = 16, tube = 2, labels = 2;
  bool mean = true;
  HeadKind head = HeadKind::video_classification;
};

TensorId video_patches(GraphWriter& w, const VideoSpec& s, TensorId video) {
  const ImageSpec& image = s.image;
  const Dim batch = w.dim(video, 0), hidden = fixed(image.tower.hidden);
  const std::int64_t times_of = s.frames / s.tube;
  const TensorId turned = w.view_op(
      "aten.permute.default", video,
      {batch, fixed(image.channels), fixed(s.frames), fixed(image.image[0]), fixed(image.image[1])},
      {{"dims", std::vector<std::int64_t>{0, 2, 1, 3, 4}}});
  const GraphWriter::Scope scope(w, "embeddings.patch_embeddings.projection");
  const TensorId weight = w.parameter(
      "weight", {image.tower.hidden, image.channels, s.tube, image.patch[0], image.patch[1]});
  const TensorId bias = w.parameter("bias", {image.tower.hidden});
  const TensorId grid =
      w.op("aten.conv3d.default", {{"input", turned}, {"weight", weight}, {"bias", bias}},
           {batch, hidden, fixed(times_of), fixed(image.rows()), fixed(image.columns())},
           {{"stride", std::vector<std::int64_t>{s.tube, image.patch[0], image.patch[1]}}});
  const Dim count = fixed(times_of * image.patches());
  const TensorId flat = w.view_op("aten.flatten.using_ints", grid, {batch, hidden, count});
  return w.transpose(flat, 1, 2);
}

Graph build_videomae(GraphWriter& w, const VideoSpec& s) {
  const TowerSpec& t = s.image.tower;
  const Dim batch = w.symbol("batch", 1);
  const TensorId video = w.input("pixel_values", w.dtype(),
                                 {batch, fixed(s.frames), fixed(s.image.channels),
                                  fixed(s.image.image[0]), fixed(s.image.image[1])});
  TensorId x;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : "videomae");
    x = w.add(video_patches(w, s, video), 1.0);  // sines and cosines of places
    x = run_tower(w, x, t, "encoder.layer");
    if (!s.mean) x = w.layer_norm(x, "layernorm", t.eps);
  }
  if (s.head == HeadKind::base) return w.finish({x});
  TensorId one = w.select(x, 1, 0);
  if (s.mean) {
    const TensorId all = w.op("aten.mean.dim", {{"self", x}}, {batch, fixed(t.hidden)},
                              {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
    one = w.layer_norm(all, "fc_norm", 1e-5);
  }
  return w.finish({w.linear(one, "classifier", s.labels, true)});
}

Writing videomae(ConfigReader& c) {
  VideoSpec s;
  TowerSpec& t = s.image.tower;
  read_tower(c, t, {.hidden = 768, .ffn = 3072, .heads = 12});
  read_image(c, s.image, 16);
  t.qkv_bias = c.flag({"qkv_bias", "qv_bias"}, true);
  t.k_bias = false;
  older_names(t);
  t.dropout = c.real({"hidden_dropout_prob"}, 0);
  t.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.frames = c.whole({"num_frames"}, 16, 1, 1 << 14);
  s.tube = c.whole({"tubelet_size"}, 2, 1, 1 << 14);
  c.divides("tubelet_size", s.tube, "num_frames", s.frames);
  s.mean = c.flag({"use_mean_pooling"}, true);
  s.labels = c.labels();
  s.head = c.head(HeadKind::video_classification, {HeadKind::video_classification, HeadKind::base});
  c.ignore({"decoder_hidden_size", "decoder_intermediate_size", "decoder_num_hidden_layers",
            "decoder_num_attention_heads"});  // of the head that draws
  return [s](GraphWriter& w) { return build_videomae(w, s); };
}

constexpr HfFamily kVideoFamilies[] = {{"vit_mae", vit_mae}, {"videomae", videomae}};

}  // namespace

std::span<const HfFamily> video_families() { return kVideoFamilies; }

}  // namespace parallel_opt::hf
