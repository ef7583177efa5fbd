#include <algorithm>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Swin: attention within squares of patches, every other layer's squares shifted by half; between
// stages two by two patches become one. swinv2 compares directions of queries and keys, has two
// layers for the distances and norms what each half gives.
namespace parallel_opt::hf {
namespace {

struct SwinSpec {
  ImageSpec image;
  std::vector<std::int64_t> depths = {2, 2, 6, 2}, heads = {3, 6, 12, 24};
  std::int64_t width = 96, window = 7, labels = 2;
  double mlp_ratio = 4, eps = 1e-5, dropout = 0, attention_dropout = 0;
  bool qkv_bias = true, absolute_positions = false;
  bool second = false;  ///< swinv2
  std::string activation = "gelu", base = "swin";
  HeadKind head = HeadKind::image_classification;
};

/// A plane of patches of one stage.
struct Plane {
  std::int64_t rows = 0, columns = 0, width = 0, heads = 0;
  std::int64_t side = 0;  ///< the rows that swinv2 knows of, halved without the rest
};

std::int64_t up_to_multiple(std::int64_t size, std::int64_t of) {
  return (size + of - 1) / of * of;
}

struct SwinLayer {
  const SwinSpec& s;
  GraphWriter& w;
  Plane p;
  bool shifted = false;

  std::int64_t side() const {
    return s.second ? std::min(s.window, p.side) : std::min({s.window, p.rows, p.columns});
  }
  bool shifts() const {
    return shifted && (s.second ? p.side : std::min(p.rows, p.columns)) > s.window;
  }
  std::int64_t rows() const { return up_to_multiple(p.rows, side()); }
  std::int64_t columns() const { return up_to_multiple(p.columns, side()); }

  TensorId rolled(TensorId x, std::int64_t by) const {
    if (!shifts()) return x;
    return w.op(
        "aten.roll.default", {{"self", x}}, w.tensor(x).shape,
        {{"shifts", std::vector<std::int64_t>{by, by}}, {"dims", std::vector<std::int64_t>{1, 2}}});
  }

  /// [b, rows, columns, c] -> [b * squares, side * side, c].
  TensorId squares(TensorId x) const {
    const std::int64_t n = side();
    const Dim batch = w.dim(x, 0), width = w.last(x);
    const TensorId split =
        w.view(x, {batch, fixed(rows() / n), fixed(n), fixed(columns() / n), fixed(n), width});
    return w.op("aten.reshape.default", {{"self", w.transpose(split, 2, 3)}},
                {times(batch, fixed(rows() / n * (columns() / n))), fixed(n * n), width});
  }

  TensorId whole(TensorId x, const Dim& batch) const {
    const std::int64_t n = side();
    const Dim width = w.last(x);
    const TensorId split =
        w.view(x, {batch, fixed(rows() / n), fixed(columns() / n), fixed(n), fixed(n), width});
    return w.op("aten.reshape.default", {{"self", w.transpose(split, 2, 3)}},
                {batch, fixed(rows()), fixed(columns()), width});
  }

  /// Looked up by the places' distance within a square; shifted squares see only their own part.
  TensorId bias(const Dim& count) const {
    const std::int64_t area = side() * side(), entries = 2 * s.window - 1;
    const GraphWriter::Scope scope(w, "relative_position_bias");
    const TensorId table =
        w.parameter("relative_position_bias_table", {entries * entries, p.heads});
    const std::int64_t all = s.window * s.window;
    const TensorId index = w.buffer("relative_position_index", DType::i64, {all * all});
    const TensorId rows_of = w.op("aten.index.Tensor", {{"self", table}, {"indices", index}},
                                  {fixed(all * all), fixed(p.heads)});
    const TensorId grid = w.view(rows_of, {fixed(all), fixed(all), fixed(p.heads)});
    const TensorId turned =
        w.view_op("aten.permute.default", grid, {fixed(p.heads), fixed(all), fixed(all)},
                  {{"dims", std::vector<std::int64_t>{2, 0, 1}}});
    const TensorId own =
        w.unsqueeze(w.op("aten.clone.default", {{"self", turned}}, w.tensor(turned).shape), 0);
    if (!shifts()) return own;
    const TensorId mask =
        w.op("aten.zeros.default", w.dtype(), {}, {count, fixed(1), fixed(area), fixed(area)});
    return w.add(own, mask);
  }

  TensorId attention(TensorId x) const {
    const GraphWriter::Scope scope(w, "attention");
    AttentionParts parts{"q_proj", "k_proj", "v_proj", "o_proj", p.heads, p.width / p.heads};
    parts.q_bias = parts.k_bias = parts.v_bias = s.qkv_bias;
    parts.call = {false, bias(w.dim(x, 0)), 0, s.attention_dropout};
    return w.dropout(attend(w, x, x, parts, p.width), s.dropout);
  }

  /// Two layers for the distances in each direction, looked up: [1, heads, area, area].
  TensorId learnt_bias() const {
    const std::int64_t n = side(), entries = 2 * n - 1, area = n * n;
    const TensorId places = w.buffer("relative_coords_table", w.dtype(), {1, entries, entries, 2});
    const TensorId index = w.buffer("relative_position_index", DType::i64, {area, area});
    const TensorId wide =
        w.unary("aten.relu.default", w.linear(places, "continuous_position_bias_mlp.0", 512, true));
    const TensorId table = w.view(w.linear(wide, "continuous_position_bias_mlp.2", p.heads, false),
                                  {fixed(entries * entries), fixed(p.heads)});
    const TensorId flat = w.view(index, {fixed(area * area)});
    const TensorId found = w.op("aten.index.Tensor", {{"self", table}, {"indices", flat}},
                                {fixed(area * area), fixed(p.heads)});
    const TensorId turned = w.view_op(
        "aten.permute.default", w.view(found, {fixed(area), fixed(area), fixed(p.heads)}),
        {fixed(p.heads), fixed(area), fixed(area)}, {{"dims", std::vector<std::int64_t>{2, 0, 1}}});
    const TensorId own = w.op("aten.clone.default", {{"self", turned}}, w.tensor(turned).shape);
    return w.unsqueeze(w.mul(w.unary("aten.sigmoid.default", own), 16.0), 0);
  }

  TensorId direction(TensorId x) const {
    const TensorId length =
        w.op("aten.linalg_vector_norm.default", {{"self", x}}, w.with_last(x, fixed(1)),
             {{"ord", 2.0}, {"dim", std::vector<std::int64_t>{-1}}, {"keepdim", true}});
    const TensorId least = w.unary("aten.clamp_min.default", length);
    return w.op("aten.div.Tensor", {{"self", x}, {"other", w.expand(least, w.tensor(x).shape)}},
                w.tensor(x).shape);
  }

  /// Shares by the angle between queries and keys (swinv2).
  TensorId angle_attention(TensorId x) const {
    const GraphWriter::Scope scope(w, "attention");
    TensorId mixed;
    {
      const GraphWriter::Scope inside(w, "self");
      const std::int64_t width = p.width / p.heads;
      const auto part = [&](const char* name, bool bias) {
        return split_heads(w, w.linear(x, name, p.width, bias), p.heads, width);
      };
      const TensorId q = part("query", s.qkv_bias), k = part("key", false);
      const TensorId v = part("value", s.qkv_bias);
      const TensorId turned = w.transpose(direction(k), 2, 3);
      TensorId scores = w.matmul(direction(q), turned, w.with_last(q, w.dim(k, 2)));
      const TensorId scale = w.parameter("logit_scale", {p.heads, 1, 1});
      const TensorId most = w.unary("aten.clamp.default", scale);
      scores = w.mul(scores, w.unary("aten.exp.default", most));
      scores = w.add(scores, learnt_bias());
      if (shifts()) {
        const TensorId mask = w.op("aten.zeros.default", w.dtype(), {},
                                   {w.dim(x, 0), fixed(1), w.dim(x, 1), w.dim(x, 1)});
        scores = w.add(w.add(scores, mask), mask);  // transformers adds it twice
      }
      const TensorId shares = w.dropout(w.softmax(scores), s.attention_dropout);
      mixed = merge_heads(w, w.matmul(shares, v, w.tensor(q).shape));
    }
    return w.dropout(w.linear(mixed, "output.dense", p.width, true), s.dropout);
  }

  /// Swin norms what enters each half, swinv2 what each half gives.
  TensorId run(TensorId x) const {
    const auto inner = static_cast<std::int64_t>(s.mlp_ratio * static_cast<double>(p.width));
    if (s.second) {
      x = w.add(x, w.layer_norm(over_squares(x), "layernorm_before", s.eps));
      const TensorId h =
          two_layers(w, x, {"intermediate.dense", "output.dense", inner, p.width, s.activation});
      return w.add(x, w.layer_norm(w.dropout(h, s.dropout), "layernorm_after", s.eps));
    }
    x = w.add(x, over_squares(w.layer_norm(x, "layernorm_before", s.eps)));
    const TensorId normed = w.layer_norm(x, "layernorm_after", s.eps);
    const GraphWriter::Scope mlp(w, "mlp");
    const TensorId h = two_layers(w, normed, {"fc1", "fc2", inner, p.width, s.activation});
    return w.add(w.dropout(h, s.dropout), x);
  }

  /// Attention within each square of x [b, patches, c].
  TensorId over_squares(TensorId x) const {
    const Dim batch = w.dim(x, 0), width = fixed(p.width);
    const bool padded = rows() != p.rows || columns() != p.columns;
    TensorId h = w.view(x, {batch, fixed(p.rows), fixed(p.columns), width});
    if (padded) {
      h = w.op(
          "aten.pad.default", {{"self", h}}, {batch, fixed(rows()), fixed(columns()), width},
          {{"pad", std::vector<std::int64_t>{0, 0, 0, columns() - p.columns, 0, rows() - p.rows}}});
    }
    const TensorId parts = squares(rolled(h, -s.window / 2));
    h = whole(s.second ? angle_attention(parts) : attention(parts), batch);
    h = rolled(h, s.window / 2);
    if (padded) h = w.slice(w.slice(h, 1, 0, fixed(p.rows)), 2, 0, fixed(p.columns));
    return w.op("aten.reshape.default", {{"self", h}}, {batch, fixed(p.rows * p.columns), width});
  }
};

/// Two by two patches side by side, then half as wide.
TensorId merged_patches(GraphWriter& w, const Plane& p, TensorId x, bool second) {
  const Dim batch = w.dim(x, 0);
  const std::int64_t rows = (p.rows + 1) / 2, columns = (p.columns + 1) / 2;
  const GraphWriter::Scope scope(w, "downsample");
  TensorId grid = w.view(x, {batch, fixed(p.rows), fixed(p.columns), fixed(p.width)});
  if (p.rows % 2 != 0 || p.columns % 2 != 0) {
    grid = w.op("aten.pad.default", {{"self", grid}},
                {batch, fixed(2 * rows), fixed(2 * columns), fixed(p.width)},
                {{"pad", std::vector<std::int64_t>{0, 0, 0, p.columns % 2, 0, p.rows % 2}}});
  }
  std::vector<TensorId> parts;
  for (const std::int64_t column : {0, 1}) {
    for (const std::int64_t row : {0, 1}) {
      parts.push_back(w.slice(w.slice(grid, 1, row, fixed(rows)), 2, column, fixed(columns)));
    }
  }
  const TensorId flat = w.view(w.cat(parts, 3), {batch, fixed(rows * columns), fixed(4 * p.width)});
  if (second) return w.layer_norm(w.linear(flat, "reduction", 2 * p.width, false), "norm", 1e-5);
  return w.linear(w.layer_norm(flat, "norm", 1e-5), "reduction", 2 * p.width, false);
}

TensorId swin_stages(GraphWriter& w, const SwinSpec& s, TensorId x) {
  Plane plane{s.image.rows(), s.image.columns(), s.width, 0, 0};
  for (std::size_t i = 0; i < s.depths.size(); ++i) {
    plane.heads = s.heads[i];
    plane.side = std::max<std::int64_t>(s.image.rows() >> i, 1);
    const GraphWriter::Scope stage(w, "encoder.layers." + std::to_string(i));
    for (std::int64_t j = 0; j < s.depths[i]; ++j) {
      const GraphWriter::Scope block(w, "blocks." + std::to_string(j));
      x = SwinLayer{s, w, plane, j % 2 == 1}.run(x);
    }
    if (i + 1 == s.depths.size()) break;
    x = merged_patches(w, plane, x, s.second);
    plane = {(plane.rows + 1) / 2, (plane.columns + 1) / 2, 2 * plane.width, 0, 0};
  }
  return x;
}

Graph build_swin(GraphWriter& w, const SwinSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = pixel_input(w, s.image, batch);
  const std::int64_t last = s.width << (s.depths.size() - 1);
  TensorId x, pooled;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : s.base);
    {
      const GraphWriter::Scope scope(w, "embeddings");
      x = w.layer_norm(image_patches(w, pixels, s.image, "patch_embeddings.projection", true),
                       "norm", 1e-5);
      if (s.absolute_positions) {
        x = w.add(x, w.parameter("position_embeddings", {1, s.image.patches(), s.width}));
      }
      x = w.dropout(x, s.dropout);
    }
    x = w.layer_norm(swin_stages(w, s, x), "layernorm", s.eps);
    const TensorId mean =
        w.op("aten.adaptive_avg_pool1d.default", {{"self", w.transpose(x, 1, 2)}},
             {batch, fixed(last), fixed(1)}, {{"output_size", std::vector<std::int64_t>{1}}});
    pooled = w.view_op("aten.flatten.using_ints", mean, {batch, fixed(last)});
  }
  if (s.head == HeadKind::base) return w.finish({x, pooled});
  return w.finish({w.linear(pooled, "classifier", s.labels, true)});
}

void swin_stages(ConfigReader& c, SwinSpec& s) {
  if (const auto depths = c.whole_list("depths"); !depths.empty()) s.depths = depths;
  if (const auto heads = c.whole_list("num_heads"); !heads.empty()) s.heads = heads;
  std::int64_t layers = 0;
  bool fits = s.depths.size() == s.heads.size() && s.depths.size() <= 16;
  for (const std::int64_t depth : s.depths) {
    fits = fits && depth >= 1 && depth <= limits::kLayers;
    layers += fits ? depth : 0;
  }
  for (std::size_t i = 0; fits && i < s.heads.size(); ++i) {
    fits = s.heads[i] >= 1 && (s.width << i) % s.heads[i] == 0 && (s.width << i) <= limits::kWidth;
  }
  if (!fits || layers > limits::kLayers) {
    c.fault("num_heads", "and depths must name as many stages, with heads that divide their width",
            "at most 16 stages and 2048 layers");
    s.depths = s.heads = {1};
  }
}

std::function<Graph(GraphWriter&)> read_swin(ConfigReader& c, SwinSpec s) {
  s.image.patch = {4, 4};
  s.width = c.whole({"embed_dim"}, 96);
  s.image.tower.hidden = s.width;
  read_image(c, s.image, 4);
  swin_stages(c, s);
  s.window = c.whole({"window_size"}, 7, 1, 1 << 8);
  s.mlp_ratio = c.real({"mlp_ratio"}, 4);
  if (!(s.mlp_ratio >= 1.0 / static_cast<double>(s.width) && s.mlp_ratio <= 64)) {
    c.fault("mlp_ratio", "must leave an inner width of at most 64 times the outer");
  }
  s.qkv_bias = c.flag({"qkv_bias"}, true);
  s.dropout = c.real({"hidden_dropout_prob"}, 0);
  s.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.activation = c.activation({"hidden_act"}, "gelu");
  s.absolute_positions = c.flag({"use_absolute_embeddings"}, false);
  s.eps = c.real({"layer_norm_eps"}, 1e-5);
  s.head = c.head(HeadKind::image_classification, {HeadKind::image_classification, HeadKind::base});
  s.labels = c.labels();
  c.note_when_set("drop_path_rate", "counted as if no sample left a layer out");
  c.ignore({"encoder_stride", "num_layers", "hidden_size", "out_features", "out_indices",
            "stage_names", "path_norm"});
  return [s](GraphWriter& w) { return build_swin(w, s); };
}

std::function<Graph(GraphWriter&)> swin(ConfigReader& c) { return read_swin(c, {}); }

std::function<Graph(GraphWriter&)> swinv2(ConfigReader& c) {
  SwinSpec s;
  s.second = true;
  s.base = "swinv2";
  if (c.flag({"use_absolute_embeddings"}, false)) {
    c.fault("use_absolute_embeddings", "has a row too many for the patches that it is added to",
            "as in transformers");
  }
  c.ignore({"pretrained_window_sizes"});  // of how distances are scaled
  return read_swin(c, std::move(s));
}

constexpr HfFamily kSwinFamilies[] = {{"swin", swin}, {"swinv2", swinv2}};

}  // namespace

std::span<const HfFamily> swin_families() { return kSwinFamilies; }

}  // namespace parallel_opt::hf
