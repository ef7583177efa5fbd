#include <algorithm>
#include <array>

#include "parallel_opt/importers/tf_context.h"

// Convolutions, pooling, normalisation, resizing and fused recurrent layers. Ours are channels
// first; TensorFlow's are mostly channels last: a permuting view stands before and after, as
// PyTorch's channels-last tensors are.
namespace parallel_opt::tf {
namespace {

bool channels_first(const Node& node) { return node.text("data_format").starts_with("NC"); }

/// [n, spatial..., c] -> [n, c, spatial...]
ValueId to_channels_first(Context& c, ValueId id) {
  std::vector<std::int64_t> order = {0, static_cast<std::int64_t>(c.shape(id).size()) - 1};
  for (std::size_t i = 1; i + 1 < c.shape(id).size(); ++i)
    order.push_back(static_cast<std::int64_t>(i));
  return c.permute(id, order);
}

ValueId to_channels_last(Context& c, ValueId id) {
  std::vector<std::int64_t> order = {0};
  for (std::size_t i = 2; i < c.shape(id).size(); ++i)
    order.push_back(static_cast<std::int64_t>(i));
  order.push_back(1);
  return c.permute(id, order);
}

/// One number per spatial axis of a list that names every axis of the data; ones when absent.
std::vector<std::int64_t> spatial(const Context& c, const Node& node, const char* name,
                                  std::size_t axes) {
  const std::vector<std::int64_t> all = node.integers(name);
  const std::size_t first = channels_first(node) ? 2 : 1;
  std::vector<std::int64_t> chosen(axes, 1);
  for (std::size_t i = 0; i < axes && first + i < all.size(); ++i) chosen[i] = all[first + i];
  for (const std::int64_t number : chosen) {
    if (number < 1 || number > (1 << 20)) c.out.fail(std::string(name) + " is out of range");
  }
  return chosen;
}

struct Window {
  std::vector<std::int64_t> size, stride, dilation;
};

/// Positions of a window: SAME covers every stride, VALID only whole windows, EXPLICIT pads first.
Dim positions(const Context& c, const Node& node, const Dim& in, const Window& window,
              std::size_t axis) {
  const std::int64_t reach = (window.size[axis] - 1) * window.dilation[axis] + 1;
  const Dim stride = sizes::fixed(window.stride[axis]);
  if (node.text("padding") == "SAME") return sizes::ceil_divide(in, stride);
  Dim room = in;
  if (node.text("padding") == "EXPLICIT") {
    const std::vector<std::int64_t> pads = node.integers("explicit_paddings");
    const std::size_t at = 2 * (axis + (channels_first(node) ? 2 : 1));
    if (at + 1 < pads.size()) {
      room = sizes::add(room, sizes::add(sizes::fixed(pads[at]), sizes::fixed(pads[at + 1])));
    }
  }
  room =
      sizes::floor_divide(sizes::subtract(room, sizes::fixed(reach - window.stride[axis])), stride);
  if (room.size < 0 && room.symbolic()) room.size = 0;
  if (room.size < 0)
    c.out.fail("a window of " + std::to_string(reach) + " is larger than its input");
  return room;
}

std::vector<std::int64_t> kernel_size(const Context& c, const Shape& filter, std::size_t axes) {
  std::vector<std::int64_t> size;
  for (std::size_t i = 0; i < axes; ++i) {
    if (filter[i].size < 1 || filter[i].size > (1 << 20))
      c.out.fail("a kernel's size is out of range");
    size.push_back(filter[i].size);
  }
  return size;
}

std::string conv_target(const char* kind, std::size_t axes) {
  return std::string("aten.") + kind + std::to_string(axes) + "d.default";
}

/// Filters [spatial..., c_in / groups, c_out].
Values convolution(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in)) return c.opaque(node, in);
  const std::size_t rank = c.shape(in[0]).size();
  if (rank < 3 || rank > 5 || c.shape(in[1]).size() != rank) return c.opaque(node, in);
  const std::size_t axes = rank - 2;
  const ValueId data = channels_first(node) ? in[0] : to_channels_first(c, in[0]);
  const Shape filter = c.shape(in[1]);
  std::vector<std::int64_t> order = {static_cast<std::int64_t>(rank) - 1,
                                     static_cast<std::int64_t>(rank) - 2};
  for (std::size_t i = 0; i < axes; ++i) order.push_back(static_cast<std::int64_t>(i));
  const ValueId weight = c.permute(in[1], order);
  const Window window{kernel_size(c, filter, axes), spatial(c, node, "strides", axes),
                      spatial(c, node, "dilations", axes)};
  Shape shape = {c.shape(data)[0], filter.back()};
  for (std::size_t i = 0; i < axes; ++i) {
    shape.push_back(positions(c, node, c.shape(data)[2 + i], window, i));
  }
  const std::int64_t channels = c.shape(data)[1].size;
  const std::int64_t per_group = filter[axes].size;
  if (per_group < 1 || channels % per_group != 0) {
    c.out.fail(std::to_string(channels) + " channels for filters of " + std::to_string(per_group));
  }
  const ValueId result = c.emit(
      conv_target("conv", axes), {{"input", data}, {"weight", weight}}, {c.at(data).dtype, shape},
      {{"stride", window.stride}, {"dilation", window.dilation}, {"groups", channels / per_group}});
  return {channels_first(node) ? result : to_channels_last(c, result)};
}

/// Filters [h, w, c_in, multiplier]: one group per channel.
Values depthwise(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in) || c.shape(in[0]).size() != 4 ||
      c.shape(in[1]).size() != 4) {
    return c.opaque(node, in);
  }
  const ValueId data = channels_first(node) ? in[0] : to_channels_first(c, in[0]);
  const Shape filter = c.shape(in[1]);
  const Dim out = sizes::multiply(filter[2], filter[3]);
  const ValueId weight =
      c.reshape(c.permute(in[1], {2, 3, 0, 1}), {out, sizes::fixed(1), filter[0], filter[1]});
  const Window window{kernel_size(c, filter, 2), spatial(c, node, "strides", 2),
                      spatial(c, node, "dilations", 2)};
  Shape shape = {c.shape(data)[0], out};
  for (std::size_t i = 0; i < 2; ++i) {
    shape.push_back(positions(c, node, c.shape(data)[2 + i], window, i));
  }
  const ValueId result = c.emit("aten.conv2d.default", {{"input", data}, {"weight", weight}},
                                {c.at(data).dtype, shape},
                                {{"stride", window.stride}, {"groups", c.shape(data)[1].size}});
  return {channels_first(node) ? result : to_channels_last(c, result)};
}

/// What SpaceToBatchND and its inverse are told: blocks of the spatial axes 1 .. M, and how much
/// is added before or cut off after at each end.
struct Blocks {
  std::vector<std::int64_t> size;
  Shape margins;  // of each axis: before, after
  Dim count = sizes::fixed(1);
};

std::optional<Blocks> blocks_of(Context& c, const Values& in) {
  if (in.size() != 3 || c.any_unranked(in)) return std::nullopt;
  const auto size = c.integers(in[1]);
  const auto& margins = c.elements(in[2]);
  if (!size || !margins || size->empty() || size->size() + 1 > c.shape(in[0]).size() ||
      margins->size() != 2 * size->size()) {
    return std::nullopt;
  }
  Blocks blocks{*size, *margins};
  for (const std::int64_t block : *size) {
    if (block < 1 || block > 1 << 20) c.out.fail("a block is smaller than 1 or too large");
    blocks.count = sizes::multiply(blocks.count, sizes::fixed(block));
  }
  return blocks;
}

/// The sizes with the margins of every blocked axis added, or taken off.
Shape with_margins(Shape shape, const Blocks& blocks, bool add) {
  for (std::size_t i = 0; i < blocks.size.size(); ++i) {
    const Dim margin = sizes::add(blocks.margins[2 * i], blocks.margins[2 * i + 1]);
    shape[1 + i] = add ? sizes::add(shape[1 + i], margin) : sizes::subtract(shape[1 + i], margin);
  }
  return shape;
}

ValueId padded(Context& c, ValueId x, const Shape& shape) {
  if (c.shape(x) == shape) return x;
  return c.emit("aten.pad.default", {{"self", x}}, {c.at(x).dtype, shape});
}

/// [n, s1, ..., rest] -> [b1 .. bM n, s1 / b1, ..., rest]: how dilated convolutions are written.
Values space_to_batch(Context& c, const Node& node, const Values& in) {
  const auto blocks = blocks_of(c, in);
  if (!blocks) return c.opaque(node, in);
  const std::size_t axes = blocks->size.size();
  const Shape whole = with_margins(c.shape(in[0]), *blocks, true);
  Shape split = {whole[0]}, result = {sizes::multiply(whole[0], blocks->count)};
  std::vector<std::int64_t> order, kept;
  for (std::size_t i = 0; i < axes; ++i) {
    const Dim block = sizes::fixed(blocks->size[i]);
    const Dim rows = sizes::quotient(std::array{whole[1 + i]}, std::array{block});
    split.insert(split.end(), {rows, block});
    result.push_back(rows);
    order.push_back(static_cast<std::int64_t>(2 + 2 * i));
    kept.push_back(static_cast<std::int64_t>(1 + 2 * i));
  }
  order.push_back(0);
  order.insert(order.end(), kept.begin(), kept.end());
  for (std::size_t i = 1 + axes; i < whole.size(); ++i) {
    order.push_back(static_cast<std::int64_t>(split.size()));
    split.push_back(whole[i]);
    result.push_back(whole[i]);
  }
  return {c.reshape(c.permute(c.reshape(padded(c, in[0], whole), split), order), result)};
}

/// The inverse; what was added is cut off again.
Values batch_to_space(Context& c, const Node& node, const Values& in) {
  const auto blocks = blocks_of(c, in);
  if (!blocks) return c.opaque(node, in);
  const std::size_t axes = blocks->size.size();
  const Shape& from = c.shape(in[0]);
  const Dim samples = sizes::quotient(std::array{from[0]}, std::array{blocks->count});
  Shape split, result = {samples};
  std::vector<std::int64_t> order = {static_cast<std::int64_t>(axes)};
  for (const std::int64_t block : blocks->size) split.push_back(sizes::fixed(block));
  split.push_back(samples);
  for (std::size_t i = 0; i < axes; ++i) {
    order.push_back(static_cast<std::int64_t>(axes + 1 + i));
    order.push_back(static_cast<std::int64_t>(i));
    split.push_back(from[1 + i]);
    result.push_back(sizes::multiply(from[1 + i], sizes::fixed(blocks->size[i])));
  }
  for (std::size_t i = 1 + axes; i < from.size(); ++i) {
    order.push_back(static_cast<std::int64_t>(split.size()));
    split.push_back(from[i]);
    result.push_back(from[i]);
  }
  const ValueId whole = c.reshape(c.permute(c.reshape(in[0], split), order), result);
  return {padded(c, whole, with_margins(result, *blocks, false))};
}

/// The gradient of a convolution's input, which is what a transposed convolution is. Filters
/// [spatial..., c_out, c_in] of the forward's view; the sizes of the result are the first operand.
Values transposed_convolution(Context& c, const Node& node, const Values& in) {
  if (in.size() < 3 || !c.ranked(in[1]) || !c.ranked(in[2])) return c.opaque(node, in);
  const std::size_t rank = c.shape(in[2]).size();
  if (rank < 3 || rank > 5 || c.shape(in[1]).size() != rank) return c.opaque(node, in);
  const std::size_t axes = rank - 2;
  const bool first = channels_first(node);
  const ValueId data = first ? in[2] : to_channels_first(c, in[2]);
  const Shape filter = c.shape(in[1]);
  std::vector<std::int64_t> order = {static_cast<std::int64_t>(rank) - 1,
                                     static_cast<std::int64_t>(rank) - 2};
  for (std::size_t i = 0; i < axes; ++i) order.push_back(static_cast<std::int64_t>(i));
  const ValueId weight = c.permute(in[1], order);
  const std::vector<std::int64_t> stride = spatial(c, node, "strides", axes);
  const auto& wanted = c.elements(in[0]);
  Shape shape = {c.shape(data)[0], filter[axes]};
  for (std::size_t i = 0; i < axes; ++i) {
    const std::size_t at = (first ? 2 : 1) + i;
    shape.push_back(wanted && wanted->size() == rank
                        ? (*wanted)[at]
                        : sizes::multiply(c.shape(data)[2 + i], sizes::fixed(stride[i])));
  }
  const ValueId result =
      c.emit(conv_target("conv_transpose", axes), {{"input", data}, {"weight", weight}},
             {c.at(data).dtype, shape}, {{"stride", stride}});
  return {first ? result : to_channels_last(c, result)};
}

/// The gradient of the filters: as many multiply-adds as the forward.
Values filter_gradient(Context& c, const Node& node, const Values& in) {
  if (in.size() < 3 || c.any_unranked(in) || c.shape(in[2]).size() < 3) return c.opaque(node, in);
  const auto& filter = c.elements(in[1]);
  if (!filter) return c.opaque(node, in);
  const Shape& gradient = c.shape(in[2]);
  double points = 2;
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const bool channel = i == (channels_first(node) ? 1 : gradient.size() - 1);
    if (!channel) points *= static_cast<double>(gradient[i].size);
  }
  for (const Dim& dim : *filter) points *= static_cast<double>(dim.size);
  const Values result = c.opaque(node, in, {{"bound_flops", points}});
  if (!result.empty()) c.set_shape(result.front(), *filter);
  return result;
}

Values pool(Context& c, const Node& node, const Values& in) {
  if (in.empty() || !c.ranked(in[0])) return c.opaque(node, in);
  const std::size_t rank = c.shape(in[0]).size();
  if (rank < 3 || rank > 5 || in.size() > 1) return c.opaque(node, in);
  const std::size_t axes = rank - 2;
  const ValueId data = channels_first(node) ? in[0] : to_channels_first(c, in[0]);
  const Window window{spatial(c, node, "ksize", axes), spatial(c, node, "strides", axes),
                      std::vector<std::int64_t>(axes, 1)};
  Shape shape = {c.shape(data)[0], c.shape(data)[1]};
  for (std::size_t i = 0; i < axes; ++i) {
    shape.push_back(positions(c, node, c.shape(data)[2 + i], window, i));
  }
  const bool max = node.op.starts_with("Max");
  const ValueId result =
      c.emit(conv_target(max ? "max_pool" : "avg_pool", axes), {{"self", data}},
             {c.at(data).dtype, shape}, {{"kernel_size", window.size}, {"stride", window.stride}});
  return {channels_first(node) ? result : to_channels_last(c, result)};
}

/// Results y, mean, variance and up to three more for the gradient.
Values batch_norm(Context& c, const Node& node, const Values& in) {
  if (in.size() != 5 || c.any_unranked(in) || c.shape(in[0]).size() < 3) return c.opaque(node, in);
  const bool first = channels_first(node);
  const bool training = node.flag("is_training", true);
  const ValueId data = first ? in[0] : to_channels_first(c, in[0]);
  const ResultType statistics = c.type(in[1]);
  Context::Arguments operands = {{"input", data}, {"weight", in[1]}, {"bias", in[2]}};
  if (!training) {
    operands.emplace_back("running_mean", in[3]);
    operands.emplace_back("running_var", in[4]);
  }
  Values results = c.emit_all("aten.native_batch_norm.default", operands,
                              {c.type(data), statistics, statistics}, {{"training", training}});
  if (!first) results[0] = to_channels_last(c, results[0]);
  results.push_back(results[1]);
  results.push_back(results[2]);
  results.push_back(results[2]);
  return results;
}

Values local_response_norm(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in) || c.shape(in[0]).size() != 4) return c.opaque(node, in);
  const ValueId data = to_channels_first(c, in[0]);
  return {to_channels_last(
      c, c.emit("aten.local_response_norm.default", {{"self", data}}, c.type(data)))};
}

Values resize(Context& c, const Node& node, const Values& in) {
  const auto wanted = in.size() == 2 ? c.elements(in[1]) : std::nullopt;
  if (!wanted || wanted->size() != 2 || !c.ranked(in[0]) || c.shape(in[0]).size() != 4) {
    return c.opaque(node, in);
  }
  const ValueId data = to_channels_first(c, in[0]);
  const Shape shape = {c.shape(data)[0], c.shape(data)[1], (*wanted)[0], (*wanted)[1]};
  const bool nearest = node.op == "ResizeNearestNeighbor";
  const std::string target = nearest                      ? "aten.upsample_nearest2d.default"
                             : node.op == "ResizeBicubic" ? "aten.upsample_bicubic2d.default"
                                                          : "aten.upsample_bilinear2d.default";
  const DType dtype = nearest || is_floating(c.at(data).dtype) ? c.at(data).dtype : DType::fp32;
  return {to_channels_last(c, c.emit(target, {{"self", data}}, {dtype, shape}))};
}

/// Fused recurrent layers keep all weights in one vector: no row describes them, but their work is
/// known: per step and sample two products with the gates' matrices.
Values fused_rnn(Context& c, const Node& node, const Values& in) {
  if (in.size() < 3 || c.any_unranked(in) || c.shape(in[0]).size() != 3 ||
      c.shape(in[1]).size() != 3) {
    return c.opaque(node, in);
  }
  const Shape input = c.shape(in[0]);
  const Shape state = c.shape(in[1]);
  const std::string_view mode = node.text("rnn_mode", "lstm");
  const double gates = mode == "lstm" ? 4 : (mode == "gru" ? 3 : 1);
  const double directions = node.text("direction") == "bidirectional" ? 2 : 1;
  const double hidden = static_cast<double>(state[2].size);
  const double layers = static_cast<double>(state[0].size) / directions;
  const double tokens = static_cast<double>(input[0].size) * static_cast<double>(input[1].size);
  const double columns =
      static_cast<double>(input[2].size) + hidden + (layers - 1) * (directions * hidden + hidden);
  const double flops = 2 * tokens * directions * gates * hidden * columns;
  Values results = c.opaque(node, in, {{"bound_flops", flops}});
  const Dim width = sizes::multiply(state[2], sizes::fixed(static_cast<std::int64_t>(directions)));
  const Shape shapes[] = {{input[0], input[1], width}, state, state};
  for (std::size_t i = 0; i < results.size() && i < 3; ++i) {
    if (!c.ranked(results[i])) c.set_shape(results[i], shapes[i]);
  }
  return results;
}

constexpr auto kLayerHandlers =
    std::to_array<HandlerRow>({{"SpaceToBatchND", space_to_batch},
                               {"BatchToSpaceND", batch_to_space},
                               {"Conv2D", convolution},
                               {"Conv3D", convolution},
                               {"DepthwiseConv2dNative", depthwise},
                               {"Conv2DBackpropInput", transposed_convolution},
                               {"Conv3DBackpropInputV2", transposed_convolution},
                               {"Conv2DBackpropFilter", filter_gradient},
                               {"Conv3DBackpropFilterV2", filter_gradient},
                               {"DepthwiseConv2dNativeBackpropFilter", filter_gradient},
                               {"MaxPool", pool},
                               {"AvgPool", pool},
                               {"MaxPool3D", pool},
                               {"AvgPool3D", pool},
                               {"FusedBatchNorm", batch_norm},
                               {"FusedBatchNormV2", batch_norm},
                               {"FusedBatchNormV3", batch_norm},
                               {"LRN", local_response_norm},
                               {"ResizeBilinear", resize},
                               {"ResizeNearestNeighbor", resize},
                               {"ResizeBicubic", resize},
                               {"CudnnRNN", fused_rnn},
                               {"CudnnRNNV2", fused_rnn},
                               {"CudnnRNNV3", fused_rnn}});

}  // namespace

std::span<const HandlerRow> layer_handlers() { return kLayerHandlers; }

}  // namespace parallel_opt::tf
