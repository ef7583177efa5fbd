#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_convolution.h"
#include "parallel_opt/importers/hf_families.h"

// SegFormer: stages of attention in which keys and values come from a smaller plane, and a head
// that joins all stages.
namespace parallel_opt::hf {
namespace {

struct SegformerSpec {
  std::array<std::int64_t, 2> image = {512, 512};
  std::int64_t channels = 3, labels = 2, decoder = 256;
  std::vector<std::int64_t> widths = {}, depths = {}, heads = {}, ratios = {}, patches = {},
                            strides = {}, reductions = {};
  double dropout = 0, attention_dropout = 0, head_dropout = 0.1, eps = 1e-6;
  std::string activation = "gelu";
  bool plane_last = true;
  HeadKind head = HeadKind::image_classification;
};

constexpr double kSegformerEps = 1e-5;

TensorId as_rows(GraphWriter& w, TensorId x) {
  const Dim count = fixed(w.dim(x, 2).size * w.dim(x, 3).size);
  return w.transpose(w.view_op("aten.flatten.using_ints", x, {w.dim(x, 0), w.dim(x, 1), count}), 1,
                     2);
}

TensorId as_plane(GraphWriter& w, TensorId x, const std::array<std::int64_t, 2>& size) {
  return w.op("aten.reshape.default", {{"self", w.transpose(x, 1, 2)}},
              {w.dim(x, 0), w.last(x), fixed(size[0]), fixed(size[1])});
}

struct SegformerStage {
  const SegformerSpec& s;
  GraphWriter& w;
  std::size_t index;
  std::array<std::int64_t, 2> size;

  TensorId attention(TensorId x) const {
    const GraphWriter::Scope scope(w, "attention");
    const std::int64_t width = s.widths[index], heads = s.heads[index];
    TensorId memory = x;
    if (const std::int64_t ratio = s.reductions[index]; ratio > 1) {
      const GraphWriter::Scope reduction(w, "sequence_reduction");
      const TensorId small = filtered(w, as_plane(w, x, size), "sequence_reduction", width,
                                      {{ratio, ratio}, {ratio, ratio}});
      memory = w.layer_norm(as_rows(w, small), "layer_norm", kSegformerEps);
    }
    AttentionParts p{"q_proj", "k_proj", "v_proj", "o_proj", heads, width / heads};
    p.call.dropout = s.attention_dropout;
    return attend(w, x, memory, p, width);
  }

  TensorId mixed(TensorId x) const {
    const GraphWriter::Scope scope(w, "mlp");
    const std::int64_t inner = s.widths[index] * s.ratios[index];
    TensorId y = w.linear(x, "fc1", inner, true);
    y = as_rows(
        w, filtered(w, as_plane(w, y, size), "dwconv.dwconv", inner, {{3, 3}, {1, 1}, 1, inner}));
    y = w.dropout(activate(w, y, s.activation), s.dropout);
    return w.dropout(w.linear(y, "fc2", s.widths[index], true), s.dropout);
  }

  TensorId run(TensorId x) const {
    for (std::int64_t i = 0; i < s.depths[index]; ++i) {
      const GraphWriter::Scope block(w, "blocks." + std::to_string(i));
      x = w.add(x, w.dropout(attention(w.layer_norm(x, "layernorm_before", s.eps)), s.dropout));
      x = w.add(x, mixed(w.layer_norm(x, "layernorm_after", s.eps)));
    }
    return w.layer_norm(x, "layer_norm", kSegformerEps);
  }
};

/// The planes of all stages.
std::vector<TensorId> segformer_planes(GraphWriter& w, const SegformerSpec& s, TensorId x) {
  std::vector<TensorId> planes;
  for (std::size_t i = 0; i < s.widths.size(); ++i) {
    const GraphWriter::Scope scope(w, "stages." + std::to_string(i));
    const std::int64_t patch = s.patches[i], stride = s.strides[i];
    const TensorId grid = filtered(w, x, "patch_embeddings.proj", s.widths[i],
                                   {{patch, patch}, {stride, stride}, patch / 2});
    const std::array<std::int64_t, 2> size = {w.dim(grid, 2).size, w.dim(grid, 3).size};
    const TensorId rows =
        w.layer_norm(as_rows(w, grid), "patch_embeddings.layer_norm", kSegformerEps);
    x = as_plane(w, SegformerStage{s, w, i, size}.run(rows), size);
    planes.push_back(x);
  }
  return planes;
}

TensorId segments(GraphWriter& w, const SegformerSpec& s, const std::vector<TensorId>& planes) {
  const GraphWriter::Scope scope(w, "decode_head");
  const Dim batch = w.dim(planes[0], 0), rows = w.dim(planes[0], 2), columns = w.dim(planes[0], 3);
  std::vector<TensorId> parts;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const TensorId made =
        w.linear(as_rows(w, planes[i]), "linear_projections." + std::to_string(i) + ".proj",
                 s.decoder, true);
    const TensorId small = as_plane(w, made, {w.dim(planes[i], 2).size, w.dim(planes[i], 3).size});
    parts.insert(parts.begin(),
                 w.op("aten.upsample_bilinear2d.vec", {{"input", small}},
                      {batch, fixed(s.decoder), rows, columns},
                      {{"output_size", std::vector<std::int64_t>{rows.size, columns.size}},
                       {"align_corners", false}}));
  }
  TensorId x =
      filtered(w, w.cat(parts, 1), "linear_fuse", s.decoder, {.kernel = {1, 1}, .bias = false});
  x = w.unary("aten.relu.default", batch_norm(w, x, "batch_norm"));
  return filtered(w, w.dropout(x, s.head_dropout), "classifier", s.labels, {{1, 1}});
}

Graph build_segformer(GraphWriter& w, const SegformerSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = w.input("pixel_values", w.dtype(),
                                  {batch, fixed(s.channels), fixed(s.image[0]), fixed(s.image[1])});
  std::vector<TensorId> planes;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : "segformer");
    planes = segformer_planes(w, s, pixels);
  }
  if (s.head == HeadKind::base) return w.finish({planes.back()});
  if (s.head == HeadKind::semantic_segmentation) return w.finish({segments(w, s, planes)});
  return w.finish({w.linear(mean_of_plane(w, planes.back()), "classifier", s.labels, true)});
}

std::function<Graph(GraphWriter&)> segformer(ConfigReader& c) {
  SegformerSpec s;
  s.head =
      c.head(HeadKind::image_classification,
             {HeadKind::image_classification, HeadKind::semantic_segmentation, HeadKind::base});
  s.image = stated_image(c, s.head == HeadKind::semantic_segmentation ? 512 : 224);
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  if (c.whole({"num_encoder_blocks", "num_hidden_layers"}, 4, 1, 64) != 4) {
    c.fault("num_encoder_blocks", "another number than 4 is not built here", "capture the model");
  }
  s.widths = sizes_of_stages(c, "hidden_sizes", {32, 64, 160, 256});
  s.depths = sizes_of_stages(c, "depths", {2, 2, 2, 2}, limits::kLayers);
  s.heads = sizes_of_stages(c, "num_attention_heads", {1, 2, 5, 8}, limits::kHeads);
  s.ratios = sizes_of_stages(c, "mlp_ratios", {4, 4, 4, 4}, 64);
  s.patches = sizes_of_stages(c, "patch_sizes", {7, 3, 3, 3}, 1 << 10);
  s.strides = sizes_of_stages(c, "strides", {4, 2, 2, 2}, 1 << 10);
  s.reductions = sizes_of_stages(c, "sr_ratios", {8, 4, 2, 1}, 1 << 10);
  std::array<std::int64_t, 2> left = s.image;
  for (std::size_t i = 0; i < 4; ++i) {
    c.divides("num_attention_heads", s.heads[i], "hidden_sizes", s.widths[i]);
    for (std::int64_t& side : left) {
      const std::int64_t padded = side + s.patches[i] / 2 * 2 - s.patches[i];
      side = padded < 0 ? 0 : padded / s.strides[i] + 1;
    }
    if (left[0] < s.reductions[i] || left[1] < s.reductions[i]) {
      c.fault("sr_ratios", "stage " + std::to_string(i) + " has fewer than " +
                               std::to_string(s.reductions[i]) + " rows or columns");
      break;
    }
  }
  s.decoder = c.whole({"decoder_hidden_size"}, 256);
  s.dropout = c.real({"hidden_dropout_prob"}, 0);
  s.attention_dropout = c.real({"attention_probs_dropout_prob"}, 0);
  s.head_dropout = c.real({"classifier_dropout_prob"}, 0.1);
  s.eps = c.real({"layer_norm_eps"}, 1e-6);
  s.activation = c.activation({"hidden_act"}, "gelu");
  s.labels = c.labels();
  c.note_when_set("drop_path_rate", "counted as if no sample left a layer out");
  c.ignore({"reshape_last_stage", "downsampling_rates"});
  return [s](GraphWriter& w) { return build_segformer(w, s); };
}

constexpr HfFamily kSegformerFamilies[] = {{"segformer", segformer}};

}  // namespace

std::span<const HfFamily> segformer_families() { return kSegformerFamilies; }

}  // namespace parallel_opt::hf
