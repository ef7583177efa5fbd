#include "parallel_opt/importers/hf_convolution.h"

#include <algorithm>

namespace parallel_opt::hf {

TensorId filtered(GraphWriter& w, TensorId x, std::string_view name, std::int64_t out,
                  const Filter& f) {
  const GraphWriter::Scope scope(w, name);
  const std::int64_t in = w.dim(x, 1).size / f.groups;
  const TensorId weight =
      w.parameter_of(w.dtype(), "weight", {out, in, f.kernel[0], f.kernel[1]}, f.trains);
  const auto size = [&](std::size_t side) {
    const std::int64_t padded = w.dim(x, side + 2).size + 2 * f.padding;
    return fixed((padded - f.dilation * (f.kernel[side] - 1) - 1) / f.stride[side] + 1);
  };
  const Shape shape{w.dim(x, 0), fixed(out), size(0), size(1)};
  const std::vector<std::int64_t> stride{f.stride[0], f.stride[1]}, padding{f.padding, f.padding},
      dilation{f.dilation, f.dilation};
  if (!f.bias) {
    return w.op(
        "aten.conv2d.default", {{"input", x}, {"weight", weight}}, shape,
        {{"stride", stride}, {"padding", padding}, {"dilation", dilation}, {"groups", f.groups}});
  }
  const TensorId bias = w.parameter("bias", {out});
  return w.op(
      "aten.conv2d.default", {{"input", x}, {"weight", weight}, {"bias", bias}}, shape,
      {{"stride", stride}, {"padding", padding}, {"dilation", dilation}, {"groups", f.groups}});
}

TensorId batch_norm(GraphWriter& w, TensorId x, std::string_view name) {
  const GraphWriter::Scope scope(w, name);
  const std::int64_t width = w.dim(x, 1).size;
  const TensorId weight = w.parameter("weight", {width}), bias = w.parameter("bias", {width});
  const TensorId mean = w.buffer("running_mean", w.dtype(), {width});
  const TensorId variance = w.buffer("running_var", w.dtype(), {width});
  w.buffer("num_batches_tracked", DType::i64, {});
  return w.op("aten.batch_norm.default",
              {{"input", x},
               {"weight", weight},
               {"bias", bias},
               {"running_mean", mean},
               {"running_var", variance}},
              w.tensor(x).shape, {{"training", true}, {"eps", 1e-5}});
}

TensorId frozen_batch_norm(GraphWriter& w, TensorId x, std::string_view name) {
  const GraphWriter::Scope scope(w, name);
  const std::int64_t width = w.dim(x, 1).size;
  const auto stored = [&](const char* what) {
    const TensorId flat = w.buffer(what, w.dtype(), {width});
    return w.view_op("aten.reshape.default", flat, {fixed(1), fixed(width), fixed(1), fixed(1)});
  };
  const TensorId weight = stored("weight"), bias = stored("bias");
  const TensorId variance = stored("running_var"), mean = stored("running_mean");
  const TensorId scale = w.mul(weight, w.unary("aten.rsqrt.default", w.add(variance, 1e-5)));
  const TensorId shift = w.op("aten.sub.Tensor", {{"self", bias}, {"other", w.mul(mean, scale)}},
                              w.tensor(bias).shape);
  return w.add(w.mul(x, scale), shift);
}

TensorId bordered(GraphWriter& w, TensorId x, const Border& b) {
  const Shape shape = w.tensor(x).shape;
  return w.op(
      "aten.constant_pad_nd.default", {{"self", x}},
      {shape[0], shape[1], plus(shape[2], b.top + b.bottom), plus(shape[3], b.left + b.right)},
      {{"pad", std::vector<std::int64_t>{b.left, b.right, b.top, b.bottom}}});
}

static TensorId axes_in_order(GraphWriter& w, TensorId x, const std::vector<std::int64_t>& order) {
  Shape shape;
  for (const std::int64_t axis : order) shape.push_back(w.dim(x, static_cast<std::size_t>(axis)));
  return w.view_op("aten.permute.default", x, std::move(shape), {{"dims", order}});
}

TensorId channels_last(GraphWriter& w, TensorId x) { return axes_in_order(w, x, {0, 2, 3, 1}); }
TensorId channels_first(GraphWriter& w, TensorId x) { return axes_in_order(w, x, {0, 3, 1, 2}); }

TensorId mean_of_plane(GraphWriter& w, TensorId x) {
  return w.op("aten.mean.dim", {{"self", x}}, {w.dim(x, 0), w.dim(x, 1)},
              {{"dim", std::vector<std::int64_t>{2, 3}}, {"keepdim", false}});
}

std::vector<std::int64_t> sizes_of_stages(ConfigReader& c, std::string_view key,
                                          const std::vector<std::int64_t>& usual,
                                          std::int64_t max) {
  std::vector<std::int64_t> given = c.has(key) ? c.whole_list(key) : usual;
  const auto fits = [&](std::int64_t one) { return one >= 1 && one <= max; };
  if (given.size() == usual.size() && std::ranges::all_of(given, fits)) return given;
  c.fault(key, "must be " + std::to_string(usual.size()) + " whole numbers of 1 to " +
                   std::to_string(max));
  return usual;
}

std::array<std::int64_t, 2> stated_image(ConfigReader& c, std::int64_t usual) {
  if (!c.has("image_size")) {
    const std::string side = std::to_string(usual);
    c.note("the file states no image_size: images of " + side + " by " + side);
  }
  return c.pair("image_size", usual, 1 << 14);
}

}  // namespace parallel_opt::hf
