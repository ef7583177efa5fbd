#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_convolution.h"
#include "parallel_opt/importers/hf_families.h"

// mobilenet_v2 and efficientnet: blocks that widen, filter each channel for itself and narrow.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;

// --- mobilenet_v2

struct MobileSpec {
  std::array<std::int64_t, 2> image = {224, 224};
  std::int64_t channels = 3, labels = 2, stem = 32, last = 1280;
  std::vector<std::int64_t> widths = {};  ///< of the stem's result and of each block
  double multiplier = 1, expansion = 6, dropout = 0.8;
  std::int64_t divisor = 8, least = 8, output_stride = 32;
  bool first_expands = true, padded = true;
  std::string activation = "relu6";
  HeadKind head = HeadKind::image_classification;

  std::int64_t rounded(std::int64_t value) const {
    const auto up =
        static_cast<std::int64_t>(static_cast<double>(value) + static_cast<double>(divisor) / 2);
    const std::int64_t found = std::max(least, up / divisor * divisor);
    const bool low = static_cast<double>(found) < 0.9 * static_cast<double>(value);
    return low ? found + divisor : found;
  }
  std::int64_t scaled(std::int64_t value, double by) const {
    return rounded(static_cast<std::int64_t>(std::nearbyint(static_cast<double>(value) * by)));
  }
};

struct MobileFilter {
  std::int64_t out, kernel = 1, stride = 1, groups = 1, dilation = 1;
  std::string activation = "";  ///< "": none
  bool normed = true, bias = false;
};

/// Zeros around a plane so that it becomes size / stride, rounded up, as TensorFlow pads it.
Border same_border(GraphWriter& w, TensorId x, const MobileFilter& f) {
  const auto along = [&](std::size_t axis) {
    const std::int64_t rest = w.dim(x, axis).size % f.stride;
    return std::max<std::int64_t>(f.kernel - (rest == 0 ? f.stride : rest), 0);
  };
  const std::int64_t rows = along(2), columns = along(3);
  return {columns / 2 * f.dilation, (columns - columns / 2) * f.dilation, rows / 2 * f.dilation,
          (rows - rows / 2) * f.dilation};
}

TensorId mobile_filtered(GraphWriter& w, const MobileSpec& s, TensorId x, const std::string& name,
                         const MobileFilter& f) {
  const GraphWriter::Scope scope(w, name);
  if (s.padded) x = bordered(w, x, same_border(w, x, f));
  x = filtered(w, x, "convolution", f.out,
               {.kernel = {f.kernel, f.kernel},
                .stride = {f.stride, f.stride},
                .padding = s.padded ? 0 : (f.kernel - 1) / 2 * f.dilation,
                .groups = f.groups,
                .bias = f.bias,
                .dilation = f.dilation});
  if (f.normed) x = batch_norm(w, x, "normalization");
  return f.activation.empty() ? x : activate(w, x, f.activation);
}

TensorId mobile_stem(GraphWriter& w, const MobileSpec& s, TensorId x) {
  const GraphWriter::Scope scope(w, "conv_stem");
  const std::string& a = s.activation;
  x = mobile_filtered(w, s, x, "first_conv",
                      {.out = s.stem, .kernel = 3, .stride = 2, .activation = a});
  if (!s.first_expands)
    x = mobile_filtered(w, s, x, "expand_1x1", {.out = s.stem, .activation = a});
  x = mobile_filtered(w, s, x, "conv_3x3",
                      {.out = s.stem, .kernel = 3, .groups = s.stem, .activation = a});
  return mobile_filtered(w, s, x, "reduce_1x1", {.out = s.widths[0]});
}

TensorId mobile_block(GraphWriter& w, const MobileSpec& s, TensorId x, const MobileFilter& f) {
  const std::int64_t in = w.dim(x, 1).size, wide = s.scaled(in, s.expansion);
  TensorId y = mobile_filtered(w, s, x, "expand_1x1", {.out = wide, .activation = s.activation});
  y = mobile_filtered(w, s, y, "conv_3x3",
                      {.out = wide,
                       .kernel = 3,
                       .stride = f.stride,
                       .groups = wide,
                       .dilation = f.dilation,
                       .activation = s.activation});
  y = mobile_filtered(w, s, y, "reduce_1x1", {.out = f.out});
  return f.stride == 1 && in == f.out ? w.add(x, y) : y;
}

TensorId mobile_blocks(GraphWriter& w, const MobileSpec& s, TensorId x) {
  constexpr std::array<std::int64_t, 16> kStrides = {2, 1, 2, 1, 1, 2, 1, 1,
                                                     1, 1, 1, 1, 2, 1, 1, 1};
  std::int64_t reached = 2, dilation = 1;
  for (std::size_t i = 0; i < kStrides.size(); ++i) {
    const GraphWriter::Scope scope(w, "layer." + std::to_string(i));
    const bool enough = reached == s.output_stride;
    x = mobile_block(w, s, x,
                     {.out = s.widths[i + 1],
                      .stride = enough ? 1 : kStrides[i],
                      .dilation = enough ? dilation : 1});
    if (enough) {
      dilation *= kStrides[i];
    } else {
      reached *= kStrides[i];
    }
  }
  return x;
}

TensorId mean_plane(GraphWriter& w, TensorId x) {
  return w.op("aten.adaptive_avg_pool2d.default", {{"self", x}},
              {w.dim(x, 0), w.dim(x, 1), fixed(1), fixed(1)},
              {{"output_size", std::vector<std::int64_t>{1, 1}}});
}

/// A kind for each place: of the place's channels and of the whole plane's mean.
TensorId mobile_segments(GraphWriter& w, const MobileSpec& s, TensorId x) {
  const GraphWriter::Scope scope(w, "segmentation_head");
  const Shape plane{w.dim(x, 0), fixed(256), w.dim(x, 2), w.dim(x, 3)};
  const MobileFilter part{.out = 256, .activation = "relu"};
  const TensorId mean = mobile_filtered(w, s, mean_plane(w, x), "conv_pool", part);
  const TensorId wide =
      w.op("aten.upsample_bilinear2d.vec", {{"input", mean}}, plane, {{"align_corners", true}});
  const TensorId own = mobile_filtered(w, s, x, "conv_aspp", part);
  x = mobile_filtered(w, s, w.cat({wide, own}, 1), "conv_projection", part);
  return mobile_filtered(w, s, w.dropout(x, s.dropout), "classifier",
                         {.out = s.labels, .normed = false, .bias = true});
}

Graph build_mobilenet(GraphWriter& w, const MobileSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = w.input("pixel_values", w.dtype(),
                                  {batch, fixed(s.channels), fixed(s.image[0]), fixed(s.image[1])});
  TensorId blocks, x;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : "mobilenet_v2");
    blocks = mobile_blocks(w, s, mobile_stem(w, s, pixels));
    x = mobile_filtered(w, s, blocks, "conv_1x1", {.out = s.last, .activation = s.activation});
  }
  if (s.head == HeadKind::semantic_segmentation) return w.finish({mobile_segments(w, s, blocks)});
  const TensorId mean =
      w.view_op("aten.flatten.using_ints", mean_plane(w, x), {batch, fixed(s.last)});
  if (s.head == HeadKind::base) return w.finish({x, mean});
  return w.finish({w.linear(w.dropout(mean, s.dropout), "classifier", s.labels, true)});
}

/// What a family multiplies widths or depths by.
double scale_of(ConfigReader& c, const char* key, double fallback) {
  constexpr double kMost = 64;
  const double scale = c.real({key}, fallback);
  if (scale > 0 && scale <= kMost) return scale;
  c.fault(key, "must be more than 0 and at most 64");
  return fallback;
}

Writing mobilenet_v2(ConfigReader& c) {
  MobileSpec s;
  s.image = c.pair("image_size", 224, 1 << 14);
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  s.multiplier = scale_of(c, "depth_multiplier", 1);
  s.divisor = c.whole({"depth_divisible_by"}, 8, 1, 1 << 12);
  s.least = c.whole({"min_depth"}, 8, 1, 1 << 12);
  s.expansion = scale_of(c, "expand_ratio", 6);
  s.output_stride = c.whole({"output_stride"}, 32, 1, 1 << 10);
  s.first_expands = c.flag({"first_layer_is_expansion"}, true);
  s.padded = c.flag({"tf_padding"}, true);
  s.activation = c.activation({"hidden_act"}, "relu6");
  s.dropout = c.real({"classifier_dropout_prob"}, 0.8);
  for (const std::int64_t width :
       {16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320}) {
    s.widths.push_back(s.scaled(width, s.multiplier));
  }
  s.stem = s.scaled(32, s.multiplier);
  const bool fine = c.flag({"finegrained_output"}, true);
  s.last = fine && s.multiplier < 1 ? 1280 : s.scaled(1280, s.multiplier);
  s.head =
      c.head(HeadKind::image_classification,
             {HeadKind::image_classification, HeadKind::semantic_segmentation, HeadKind::base});
  s.labels = c.labels();
  c.ignore({"semantic_loss_ignore_index"});
  return [s](GraphWriter& w) { return build_mobilenet(w, s); };
}

// --- efficientnet

struct EfficientSpec {
  std::array<std::int64_t, 2> image = {600, 600};
  std::int64_t channels = 3, labels = 2, divisor = 8, hidden = 2560;
  double width = 2, depth = 3.1, squeeze = 0.25, dropout = 0.5, drop_connect = 0.2;
  std::vector<std::int64_t> kernels, in, out, strides, repeats, ratios;
  std::vector<std::int64_t> symmetric = {};  ///< blocks that pad both sides alike
  std::string activation = "swish", pooling = "mean";
  HeadKind head = HeadKind::image_classification;

  std::int64_t rounded(std::int64_t filters) const {
    const double wide = static_cast<double>(filters) * width;
    const auto up = static_cast<std::int64_t>(wide + static_cast<double>(divisor) / 2);
    const std::int64_t found = std::max(divisor, up / divisor * divisor);
    return static_cast<double>(found) < 0.9 * wide ? found + divisor : found;
  }
  std::int64_t repeated(std::int64_t times) const {
    return static_cast<std::int64_t>(std::ceil(depth * static_cast<double>(times)));
  }
};

struct EfficientBlock {
  std::int64_t out, kernel, stride, ratio;
  double dropout;
  bool skips, symmetric;
};

TensorId channel_gate(GraphWriter& w, const EfficientSpec& s, TensorId x, std::int64_t narrow) {
  const GraphWriter::Scope scope(w, "squeeze_excite");
  const std::int64_t width = w.dim(x, 1).size;
  TensorId y = filtered(w, mean_plane(w, x), "reduce", narrow, {{1, 1}});
  y = filtered(w, activate(w, y, s.activation), "expand", width, {{1, 1}});
  return w.mul(x, w.unary("aten.sigmoid.default", y));
}

TensorId efficient_block(GraphWriter& w, const EfficientSpec& s, TensorId x,
                         const EfficientBlock& b) {
  const std::int64_t in = w.dim(x, 1).size, wide = in * b.ratio;
  const auto plain = [](std::int64_t kernel) {
    return Filter{.kernel = {kernel, kernel}, .bias = false};
  };
  TensorId y = x;
  if (b.ratio != 1) {
    const GraphWriter::Scope scope(w, "expansion");
    y = batch_norm(w, filtered(w, y, "expand_conv", wide, plain(1)), "expand_bn");
    y = activate(w, y, s.activation);
  }
  {
    const GraphWriter::Scope scope(w, "depthwise_conv");
    Filter f = plain(b.kernel);
    f.groups = wide;
    f.stride = {b.stride, b.stride};
    const std::int64_t half = b.kernel / 2, less = b.symmetric ? half : half - 1;
    if (b.stride == 2) {
      y = bordered(w, y, {less, half, less, half});
    } else {
      f.padding = half;
    }
    y = batch_norm(w, filtered(w, y, "depthwise_conv", wide, f), "depthwise_norm");
    y = activate(w, y, s.activation);
  }
  const auto narrow = static_cast<std::int64_t>(static_cast<double>(in) * s.squeeze);
  y = channel_gate(w, s, y, std::max<std::int64_t>(1, narrow));
  const GraphWriter::Scope scope(w, "projection");
  y = batch_norm(w, filtered(w, y, "project_conv", b.out, plain(1)), "project_bn");
  return b.skips ? w.add(w.dropout(y, b.dropout), x) : y;
}

TensorId efficient_blocks(GraphWriter& w, const EfficientSpec& s, TensorId x) {
  std::int64_t all = 0, number = 0;
  for (const std::int64_t times : s.repeats) all += s.repeated(times);
  for (std::size_t stage = 0; stage < s.repeats.size(); ++stage) {
    for (std::int64_t i = 0; i < s.repeated(s.repeats[stage]); ++i, ++number) {
      const GraphWriter::Scope scope(w, "encoder.blocks." + std::to_string(number));
      const std::int64_t stride = i > 0 ? 1 : s.strides[stage];
      x = efficient_block(
          w, s, x,
          {.out = s.rounded(s.out[stage]),
           .kernel = s.kernels[stage],
           .stride = stride,
           .ratio = s.ratios[stage],
           .dropout = s.drop_connect * static_cast<double>(number) / static_cast<double>(all),
           .skips = i > 0,
           .symmetric = std::ranges::find(s.symmetric, number) != s.symmetric.end()});
    }
  }
  return x;
}

Graph build_efficientnet(GraphWriter& w, const EfficientSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = w.input("pixel_values", w.dtype(),
                                  {batch, fixed(s.channels), fixed(s.image[0]), fixed(s.image[1])});
  TensorId x;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : "efficientnet");
    {
      const GraphWriter::Scope scope(w, "embeddings");
      x = filtered(w, bordered(w, pixels, {0, 1, 0, 1}), "convolution", s.rounded(32),
                   {.kernel = {3, 3}, .stride = {2, 2}, .bias = false});
      x = activate(w, batch_norm(w, x, "batchnorm"), s.activation);
    }
    x = efficient_blocks(w, s, x);
    const GraphWriter::Scope scope(w, "encoder");
    x = filtered(w, x, "top_conv", s.hidden, {.kernel = {1, 1}, .bias = false});
    x = activate(w, batch_norm(w, x, "top_bn"), s.activation);
  }
  const std::vector<std::int64_t> kernel{s.hidden, s.hidden};
  const TensorId pooled =
      w.op(s.pooling == "mean" ? "aten.avg_pool2d.default" : "aten.max_pool2d.default",
           {{"self", x}}, {batch, fixed(s.hidden), fixed(1), fixed(1)},
           {{"kernel_size", kernel}, {"stride", kernel}, {"ceil_mode", true}});
  const TensorId flat = w.view_op("aten.reshape.default", pooled, {batch, fixed(s.hidden)});
  if (s.head == HeadKind::base) return w.finish({x, flat});
  return w.finish({w.linear(w.dropout(flat, s.dropout), "classifier", s.labels, true)});
}

void check_efficient(ConfigReader& c, EfficientSpec& s) {
  for (const std::int64_t kernel : s.kernels) {
    if (kernel % 2 == 0) c.fault("kernel_sizes", "must be odd");
  }
  if (s.hidden != s.rounded(1280)) {
    c.fault("hidden_dim", std::to_string(s.hidden) +
                              " is not what width_coefficient makes of 1280, " +
                              std::to_string(s.rounded(1280)));
  }
  for (std::size_t i = 0; i + 1 < s.in.size(); ++i) {
    if (s.rounded(s.out[i]) == s.rounded(s.in[i + 1])) continue;
    c.fault("in_channels[" + std::to_string(i + 1) + "]", "is not what the stage before gives");
  }
  if (s.rounded(s.in[0]) != s.rounded(32))
    c.fault("in_channels[0]", "is not 32, what the stem gives");
}

Writing efficientnet(ConfigReader& c) {
  EfficientSpec s;
  s.image = c.pair("image_size", 600, 1 << 14);
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  s.width = scale_of(c, "width_coefficient", 2);
  s.depth = scale_of(c, "depth_coefficient", 3.1);
  s.divisor = c.whole({"depth_divisor"}, 8, 1, 1 << 12);
  s.kernels = sizes_of_stages(c, "kernel_sizes", {3, 3, 5, 3, 5, 5, 3}, 63);
  s.in = sizes_of_stages(c, "in_channels", {32, 16, 24, 40, 80, 112, 192}, 1 << 14);
  s.out = sizes_of_stages(c, "out_channels", {16, 24, 40, 80, 112, 192, 320}, 1 << 14);
  s.strides = sizes_of_stages(c, "strides", {1, 2, 2, 2, 1, 2, 1}, 2);
  s.repeats = sizes_of_stages(c, "num_block_repeats", {1, 2, 2, 3, 3, 4, 1}, 64);
  s.ratios = sizes_of_stages(c, "expand_ratios", {1, 6, 6, 6, 6, 6, 6}, 64);
  s.symmetric = c.whole_list("depthwise_padding");
  s.squeeze = scale_of(c, "squeeze_expansion_ratio", 0.25);
  s.activation = c.activation({"hidden_act"}, "swish");
  s.hidden = c.whole({"hidden_dim"}, 2560);
  s.pooling = c.choice({"pooling_type"}, "mean", {"mean", "max"});
  s.dropout = c.real({"dropout_rate"}, 0.5);
  s.drop_connect = c.real({"drop_connect_rate"}, 0.2);
  s.head = c.head(HeadKind::image_classification, {HeadKind::image_classification, HeadKind::base});
  s.labels = c.labels();
  c.ignore({"batch_norm_eps", "batch_norm_momentum", "num_hidden_layers"});
  check_efficient(c, s);
  return [s](GraphWriter& w) { return build_efficientnet(w, s); };
}

constexpr HfFamily kMobileFamilies[] = {{"mobilenet_v2", mobilenet_v2},
                                        {"efficientnet", efficientnet}};

}  // namespace

std::span<const HfFamily> mobile_families() { return kMobileFamilies; }

}  // namespace parallel_opt::hf
