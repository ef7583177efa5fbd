#include <algorithm>

#include "parallel_opt/importers/hf_convolution.h"
#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// ConvNeXt and ConvNeXt V2: stages of depthwise convolutions, each stage half as large.
namespace parallel_opt::hf {
namespace {

struct ConvNextSpec {
  std::array<std::int64_t, 2> image = {224, 224}, patch = {4, 4};
  std::int64_t channels = 3, labels = 2;
  std::vector<std::int64_t> widths = {}, depths = {};
  double eps = 1e-12;
  std::string activation = "gelu", base = {};
  bool layer_scale = true;
  bool response_norm = false;  ///< of the second version
  HeadKind head = HeadKind::image_classification;
};

TensorId norm_of_channels(GraphWriter& w, TensorId x, std::string_view name) {
  return channels_first(w, w.layer_norm(channels_last(w, x), name, 1e-6));
}

/// Each channel's length over the plane, over the mean length: x [b, h, w, c].
TensorId response_norm(GraphWriter& w, TensorId x) {
  const GraphWriter::Scope scope(w, "grn");
  const Dim width = w.last(x), one = fixed(1);
  const TensorId weight = w.parameter("weight", {1, 1, 1, width.size});
  const TensorId bias = w.parameter("bias", {1, 1, 1, width.size});
  const TensorId length =
      w.op("aten.linalg_vector_norm.default", {{"self", x}}, {w.dim(x, 0), one, one, width},
           {{"ord", 2.0}, {"dim", std::vector<std::int64_t>{1, 2}}, {"keepdim", true}});
  const TensorId mean = w.add(w.mean_last(length), 1e-6);
  const TensorId share =
      w.op("aten.div.Tensor", {{"self", length}, {"other", mean}}, w.tensor(length).shape);
  const TensorId scaled = w.mul(w.mul(x, share), weight);
  return w.add(w.add(scaled, bias), x);
}

TensorId convnext_layer(GraphWriter& w, const ConvNextSpec& s, TensorId x) {
  const std::int64_t width = w.dim(x, 1).size;
  TensorId h = filtered(w, x, "dwconv", width, {{7, 7}, {1, 1}, 3, width});
  h = w.layer_norm(channels_last(w, h), "layernorm", 1e-6);
  h = activate(w, w.linear(h, "pwconv1", 4 * width, true), s.activation);
  if (s.response_norm) h = response_norm(w, h);
  h = w.linear(h, "pwconv2", width, true);
  if (s.layer_scale) h = w.mul(h, w.parameter("layer_scale_parameter", {width}));
  return w.add(channels_first(w, h), x);
}

TensorId convnext_stages(GraphWriter& w, const ConvNextSpec& s, TensorId x) {
  for (std::size_t i = 0; i < s.widths.size(); ++i) {
    const GraphWriter::Scope stage(w, "encoder.stages." + std::to_string(i));
    if (i > 0) {
      x = norm_of_channels(w, x, "downsampling_layer.0");
      x = filtered(w, x, "downsampling_layer.1", s.widths[i], {{2, 2}, {2, 2}});
    }
    for (std::int64_t j = 0; j < s.depths[i]; ++j) {
      const GraphWriter::Scope layer(w, "layers." + std::to_string(j));
      x = convnext_layer(w, s, x);
    }
  }
  return x;
}

Graph build_convnext(GraphWriter& w, const ConvNextSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = w.input("pixel_values", w.dtype(),
                                  {batch, fixed(s.channels), fixed(s.image[0]), fixed(s.image[1])});
  TensorId x, pooled;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : s.base);
    {
      const GraphWriter::Scope scope(w, "embeddings");
      x = filtered(w, pixels, "patch_embeddings", s.widths[0], {s.patch, s.patch});
      x = norm_of_channels(w, x, "layernorm");
    }
    x = convnext_stages(w, s, x);
    const TensorId mean = w.op("aten.mean.dim", {{"self", x}}, {batch, fixed(s.widths.back())},
                               {{"dim", std::vector<std::int64_t>{-2, -1}}, {"keepdim", false}});
    pooled = w.layer_norm(mean, "layernorm", s.eps);
  }
  if (s.head == HeadKind::base) return w.finish({x, pooled});
  return w.finish({w.linear(pooled, "classifier", s.labels, true)});
}

/// One number per stage, each in [1, most].
std::vector<std::int64_t> per_stage(ConfigReader& c, std::string_view key,
                                    std::vector<std::int64_t> usual, std::int64_t most) {
  std::vector<std::int64_t> given = c.whole_list(key);
  if (given.empty()) return usual;
  for (const std::int64_t one : given) {
    if (one >= 1 && one <= most) continue;
    c.fault(key, "must be numbers of 1 to " + std::to_string(most));
    return usual;
  }
  return given;
}

std::function<Graph(GraphWriter&)> read_convnext(ConfigReader& c, ConvNextSpec s) {
  s.image = c.pair("image_size", 224, 1 << 14);
  s.patch = c.pair("patch_size", 4, 1 << 14);
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  s.widths = per_stage(c, "hidden_sizes", {96, 192, 384, 768}, limits::kWidth);
  s.depths = per_stage(c, "depths", {3, 3, 9, 3}, limits::kLayers);
  const std::int64_t stages = c.whole({"num_stages"}, 4, 1, 64);
  const auto count = static_cast<std::size_t>(stages);
  if (s.widths.size() != count || s.depths.size() != count) {
    c.fault("num_stages", "is " + std::to_string(stages) + " with " +
                              std::to_string(s.widths.size()) + " hidden_sizes and " +
                              std::to_string(s.depths.size()) + " depths");
    s.widths.resize(count, 1);
    s.depths.resize(count, 1);
  }
  std::int64_t layers = 0;
  for (const std::int64_t depth : s.depths) layers += depth;
  if (layers > limits::kLayers) {
    c.fault("depths", "are " + std::to_string(layers) + " layers together", "at most 2048");
  }
  for (std::size_t side = 0; side < 2; ++side) {
    if (s.image[side] / s.patch[side] >> (s.widths.size() - 1) == 0) {
      c.fault("image_size", "leaves nothing of the image for the last stage");
      break;
    }
  }
  s.eps = c.real({"layer_norm_eps"}, 1e-12);
  s.activation = c.activation({"hidden_act"}, "gelu");
  if (s.layer_scale) s.layer_scale = c.real({"layer_scale_init_value"}, 1e-6) > 0;
  s.head = c.head(HeadKind::image_classification, {HeadKind::image_classification, HeadKind::base});
  s.labels = c.labels();
  c.note_when_set("drop_path_rate", "counted as if no sample left a layer out");
  c.ignore({"out_features", "out_indices", "stage_names"});
  return [s](GraphWriter& w) { return build_convnext(w, s); };
}

std::function<Graph(GraphWriter&)> convnext(ConfigReader& c) {
  return read_convnext(c, {.base = "convnext"});
}
std::function<Graph(GraphWriter&)> convnextv2(ConfigReader& c) {
  return read_convnext(c, {.base = "convnextv2", .layer_scale = false, .response_norm = true});
}

constexpr HfFamily kConvnextFamilies[] = {{"convnext", convnext}, {"convnextv2", convnextv2}};

}  // namespace

std::span<const HfFamily> convnext_families() { return kConvnextFamilies; }

}  // namespace parallel_opt::hf
