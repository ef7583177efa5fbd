#include <algorithm>
#include <array>
#include <cmath>

#include "parallel_opt/importers/onnx_ops.h"
#include "parallel_opt/importers/onnx_window.h"

/// Pools, resizing, sampling and regions of images.
namespace parallel_opt::onnx {

std::optional<Window> window_of(Call& call, const Shape& image, Shape kernel) {
  if (image.size() < 3) {
    call.fault("takes an image, not " + show(image));
    return std::nullopt;
  }
  const std::size_t axes = image.size() - 2;
  Window window;
  window.kernel = std::move(kernel);
  if (window.kernel.empty()) {
    for (const std::int64_t size : call.wholes("kernel_shape"))
      window.kernel.push_back(fixed(size));
  }
  const auto list = [&](const char* name, std::int64_t fallback, std::size_t count) {
    std::vector<std::int64_t> values = call.wholes(name);
    if (values.empty()) values.resize(count, fallback);
    return values;
  };
  window.strides = list("strides", 1, axes);
  window.dilations = list("dilations", 1, axes);
  const std::vector<std::int64_t> pads = list("pads", 0, 2 * axes);
  const std::string_view automatic = call.text("auto_pad", "NOTSET");
  window.same = automatic.starts_with("SAME");
  window.ceil = call.whole("ceil_mode", 0) != 0;
  if (window.kernel.size() != axes || window.strides.size() != axes ||
      window.dilations.size() != axes || pads.size() != 2 * axes) {
    call.fault("its window does not have " + std::to_string(axes) + " axes");
    return std::nullopt;
  }
  for (std::size_t i = 0; i < axes; ++i) {
    const auto small = [](std::int64_t value) {
      return value >= -(1LL << 40) && value <= (1LL << 40);
    };
    if (window.strides[i] < 1 || window.dilations[i] < 1 || !small(window.strides[i]) ||
        !small(window.dilations[i]) || !small(pads[i]) || !small(pads[axes + i])) {
      call.fault("strides, dilations or pads are out of range");
      return std::nullopt;
    }
    window.begin.push_back(automatic == "NOTSET" || automatic.empty() ? pads[i] : 0);
    window.end.push_back(automatic == "NOTSET" || automatic.empty() ? pads[axes + i] : 0);
  }
  return window;
}

std::optional<Shape> slide(Call& call, const Window& window, const Shape& image) {
  Shape result;
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const Dim& size = image[2 + i];
    const Dim stride = fixed(window.strides[i]);
    if (window.same) {
      result.push_back(ceil_divide(size, stride));
      continue;
    }
    // floor((size + pads - dilation * (kernel - 1) - 1) / stride) + 1
    const Dim covered =
        add(multiply(fixed(window.dilations[i]), subtract(window.kernel[i], fixed(1))), fixed(1));
    const Dim room = subtract(add(size, fixed(window.begin[i] + window.end[i])), covered);
    if (is_fixed(room) && room.size < 0 && !(is_fixed(size) && size.size == 0)) {
      call.fault("a window of " + show(Shape{covered}) + " is larger than its padded image " +
                 show(image));
      return std::nullopt;
    }
    Dim steps = add(window.ceil ? ceil_divide(room, stride) : floor_divide(room, stride), fixed(1));
    const Dim start = multiply(subtract(steps, fixed(1)), stride);
    const Dim least = add(size, fixed(window.begin[i]));
    // A window that starts in the padding at the end is left out.
    if (window.ceil && is_fixed(start) && is_fixed(least) && start.size >= least.size) {
      steps = subtract(steps, fixed(1));
    }
    if (is_fixed(steps) && steps.size < 0) steps = fixed(0);
    result.push_back(std::move(steps));
  }
  return result;
}

bool is_symmetric(const Window& window) { return !window.same && window.begin == window.end; }

namespace {

Shape image_shape(const Shape& image, const Shape& spatial) {
  Shape result{image[0], image[1]};
  result.insert(result.end(), spatial.begin(), spatial.end());
  return result;
}

void pool_shape(Call& call) {
  const Shape* image = call.shape(0);
  const auto window = image == nullptr ? std::nullopt : window_of(call, *image, {});
  std::optional<Shape> shape;
  const auto spatial = window ? slide(call, *window, *image) : std::nullopt;
  if (spatial) shape = image_shape(*image, *spatial);
  call.set(0, call.element(0), shape);
  call.set(1, kInt64, std::move(shape));
}

void pool(Call& call, const std::string& kind) {
  const Shape* image = call.shape(0);
  const std::size_t axes = image == nullptr || image->size() < 3 ? 2 : image->size() - 2;
  const std::string base =
      "aten." + kind + "_pool" + std::to_string(std::min<std::size_t>(axes, 3)) + "d";
  const std::string suffix = call.wants(1) && axes > 1 ? "_with_indices.default" : ".default";
  Attributes attributes{{"kernel_size", call.wholes("kernel_shape")},
                        {"stride", call.wholes("strides")}};
  if (const auto window = image == nullptr ? std::nullopt : window_of(call, *image, {})) {
    attributes["padding"] = window->begin;
    attributes["ceil_mode"] = window->ceil;
  }
  call.emit(base + suffix, {{"self", call.tensor(0)}}, std::move(attributes));
}

void global_pool_shape(Call& call) {
  const Shape* image = call.shape(0);
  if (image == nullptr || image->size() < 2) return call.set(0, call.element(0), std::nullopt);
  call.set(0, call.element(0), image_shape(*image, Shape(image->size() - 2, fixed(1))));
}

void global_pool(Call& call) {
  const std::size_t rank = call.shape_out().size();
  if (call.node.type == "GlobalAveragePool" && rank >= 3 && rank <= 5) {
    return call.emit("aten.adaptive_avg_pool" + std::to_string(rank - 2) + "d.default",
                     {{"self", call.tensor(0)}},
                     {{"output_size", std::vector<std::int64_t>(rank - 2, 1)}});
  }
  std::vector<std::int64_t> axes = axes_up_to(rank);
  axes.erase(axes.begin(),
             axes.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(rank, 2)));
  call.emit(call.node.type == "GlobalAveragePool" ? "aten.mean.dim" : "aten.amax.default",
            {{"self", call.tensor(0)}}, {{"dim", axes}, {"keepdim", true}});
}

/// (sum over a window of |x|^p)^(1/p).
void power_pool(Call& call) {
  const Shape* image = call.shape(0);
  if (image == nullptr || image->size() < 3 || image->size() > 5) {
    return call.emit("onnx.LpPool", {{"self", call.tensor(0)}});
  }
  const Shape shape = *image, pooled = call.shape_out();
  const auto power = static_cast<double>(std::max<std::int64_t>(call.whole("p", 2), 1));
  Attributes attributes{{"kernel_size", call.wholes("kernel_shape")},
                        {"stride", call.wholes("strides")}};
  if (const auto window = window_of(call, shape, {})) {
    attributes["padding"] = window->begin;
    attributes["ceil_mode"] = window->ceil;
  }
  const auto element = call.element(0);
  const TensorId sizes =
      call.step("aten.abs.default", {{"self", call.tensor(0)}}, {}, element, shape);
  const TensorId powers =
      call.step("aten.pow.Tensor_Scalar", {{"self", sizes}}, {{"exponent", power}}, element, shape);
  const std::string target = "aten.avg_pool" + std::to_string(shape.size() - 2) + "d.default";
  const TensorId means =
      call.step(target, {{"self", powers}}, std::move(attributes), element, pooled);
  call.emit("aten.pow.Tensor_Scalar", {{"self", means}}, {{"exponent", 1 / power}});
}

void global_power_pool(Call& call) {
  std::vector<std::int64_t> axes = axes_up_to(call.shape_out().size());
  axes.erase(axes.begin(),
             axes.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(axes.size(), 2)));
  call.emit("aten.linalg_vector_norm.default", {{"self", call.tensor(0)}},
            {{"ord", static_cast<double>(call.whole("p", 2))}, {"dim", axes}, {"keepdim", true}});
}

/// The other way round: each position becomes a window.
void unpool_shape(Call& call) {
  const Shape* image = call.shape(0);
  const Data* wanted = call.data(2);
  if (wanted != nullptr && !wanted->real) return call.set(0, call.element(0), wanted->whole);
  if (image == nullptr || call.has(2)) return call.set(0, call.element(0), std::nullopt);
  const auto window = window_of(call, *image, {});
  if (!window) return;
  Shape spatial;
  for (std::size_t i = 0; i < window->kernel.size(); ++i) {
    const Dim start = multiply(subtract((*image)[2 + i], fixed(1)), fixed(window->strides[i]));
    spatial.push_back(
        subtract(add(start, window->kernel[i]), fixed(window->begin[i] + window->end[i])));
  }
  call.set(0, call.element(0), image_shape(*image, spatial));
}

/// floor(size * scale); exact where the size is fixed.
Dim scaled(const Dim& size, double scale) {
  if (!(scale > 0) || !(scale < 1e6)) return unknown_size(size.size);
  const double product = static_cast<double>(size.size) * scale;
  if (product > 1e15) return unknown_size(size.size);
  if (is_fixed(size)) return fixed(static_cast<std::int64_t>(std::floor(product + 1e-6)));
  const double rounded = std::nearbyint(scale), inverse = std::nearbyint(1 / scale);
  if (scale >= 1 && rounded == scale)
    return multiply(size, fixed(static_cast<std::int64_t>(rounded)));
  if (scale < 1 && std::fabs(1 / scale - inverse) < 1e-9) {
    return floor_divide(size, fixed(static_cast<std::int64_t>(inverse)));
  }
  return unknown_size(static_cast<std::int64_t>(product));
}

/// Sizes or scales of the axes in `axes`, by the aspect policy of Resize.
void apply_sizes(Call& call, Shape& shape, const std::vector<std::size_t>& axes,
                 const Shape& sizes) {
  const std::string_view policy = call.text("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch") {
    for (std::size_t i = 0; i < axes.size(); ++i) shape[axes[i]] = sizes[i];
    return;
  }
  const bool larger = policy == "not_larger";
  double scale = larger ? INFINITY : 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Dim& from = shape[axes[i]];
    if (!is_fixed(from) || !is_fixed(sizes[i]) || from.size == 0) {
      for (const std::size_t axis : axes) shape[axis] = unknown_size(shape[axis].size);
      return;
    }
    const double ratio = static_cast<double>(sizes[i].size) / static_cast<double>(from.size);
    scale = larger ? std::min(scale, ratio) : std::max(scale, ratio);
  }
  for (const std::size_t axis : axes) {
    const double size = static_cast<double>(shape[axis].size) * scale;
    shape[axis] =
        size < 1e15 ? fixed(static_cast<std::int64_t>(std::floor(size + 0.5))) : unknown_size();
  }
}

void resize_shape(Call& call) {
  const Shape* image = call.shape(0);
  if (image == nullptr) return call.set(0, call.element(0), std::nullopt);
  const bool old = call.node.type == "Upsample" || call.opset == 10;
  Shape shape = *image;
  std::vector<std::size_t> axes;
  for (const std::int64_t axis : call.wholes("axes")) {
    const std::int64_t at = axis < 0 ? axis + static_cast<std::int64_t>(shape.size()) : axis;
    if (at < 0 || at >= static_cast<std::int64_t>(shape.size()))
      return call.fault("axis out of range");
    axes.push_back(static_cast<std::size_t>(at));
  }
  for (std::size_t i = 0; axes.size() < shape.size() && call.attribute("axes") == nullptr; ++i)
    axes.push_back(i);
  const Data* sizes = call.data(3);
  const Data* scales = call.data(old ? 1 : 2);
  const bool by_sizes = sizes != nullptr && !sizes->real && sizes->size() == axes.size() && !old;
  std::vector<double> factors =
      scales != nullptr && scales->real ? scales->reals : std::vector<double>();
  if (const ProtoAttribute* given = call.attribute("scales"))
    factors.assign(given->floats.begin(), given->floats.end());
  if (by_sizes) {
    apply_sizes(call, shape, axes, sizes->whole);
  } else if (factors.size() == axes.size() && !factors.empty()) {
    for (std::size_t i = 0; i < axes.size(); ++i)
      shape[axes[i]] = scaled(shape[axes[i]], factors[i]);
  } else {
    for (const std::size_t axis : axes) shape[axis] = unknown_size(shape[axis].size);
  }
  call.set(0, call.element(0), std::move(shape));
}

void resize(Call& call) {
  const std::string_view mode = call.text("mode", "nearest");
  const std::size_t rank = call.shape_out().size();
  std::string target = "aten.upsample_nearest2d.vec";
  if (mode == "nearest" && (rank == 3 || rank == 5)) {
    target = "aten.upsample_nearest" + std::to_string(rank - 2) + "d.vec";
  } else if (mode == "linear") {
    target = rank == 3   ? "aten.upsample_linear1d.vec"
             : rank == 5 ? "aten.upsample_trilinear3d.vec"
                         : "aten.upsample_bilinear2d.vec";
  } else if (mode == "cubic") {
    target = "aten.upsample_bicubic2d.vec";
  }
  call.emit(target, {{"input", call.tensor(0)}}, {{"output_size", sizes_of(call.shape_out())}});
}

void grid_sample_shape(Call& call) {
  const Shape *image = call.shape(0), *grid = call.shape(1);
  if (image == nullptr || grid == nullptr || image->size() < 3 || grid->size() != image->size()) {
    return call.set(0, call.element(0), std::nullopt);
  }
  call.set(0, call.element(0), image_shape(*image, Shape(grid->begin() + 1, grid->end() - 1)));
}

void affine_grid_shape(Call& call) {
  const Data* size = call.data(1);
  if (size == nullptr || size->real || size->whole.size() < 3)
    return call.set(0, call.element(0), std::nullopt);
  Shape shape{size->whole[0]};
  shape.insert(shape.end(), size->whole.begin() + 2, size->whole.end());
  shape.push_back(fixed(static_cast<std::int64_t>(size->whole.size()) - 2));
  call.set(0, call.element(0), std::move(shape));
}

void regions_shape(Call& call) {
  const Shape *image = call.shape(0), *boxes = call.shape(1);
  if (image == nullptr || boxes == nullptr || image->size() != 4 || boxes->empty())
    return call.set(0, call.element(0), std::nullopt);
  std::int64_t height = call.whole("output_height", 1), width = call.whole("output_width", 1);
  if (const auto pooled = call.wholes("pooled_shape"); pooled.size() == 2) {
    height = pooled[0];
    width = pooled[1];
  }
  call.set(0, call.element(0), Shape{(*boxes)[0], (*image)[1], fixed(height), fixed(width)});
}

void suppression_shape(Call& call) {
  const Shape* scores = call.shape(1);
  std::int64_t most = 1;
  if (scores != nullptr && scores->size() == 3) most = element_count(*scores).value_or(1);
  call.set(0, kInt64, Shape{unknown_size(most), fixed(3)});
}

void depth_to_space_shape(Call& call) {
  const Shape* image = call.shape(0);
  const std::int64_t block = call.whole("blocksize", 1);
  if (image == nullptr || image->size() != 4) return call.set(0, call.element(0), std::nullopt);
  if (block < 1 || block > (1 << 20)) return call.fault("block size " + std::to_string(block));
  const Dim side = fixed(block), area = fixed(block * block);
  const Shape& x = *image;
  call.set(
      0, call.element(0),
      call.node.type == "DepthToSpace"
          ? Shape{x[0], floor_divide(x[1], area), multiply(x[2], side), multiply(x[3], side)}
          : Shape{x[0], multiply(x[1], area), floor_divide(x[2], side), floor_divide(x[3], side)});
}

void col2im_shape(Call& call) {
  const Shape* columns = call.shape(0);
  const Data *image = call.data(1), *block = call.data(2);
  if (columns == nullptr || columns->size() != 3 || image == nullptr || image->real ||
      block == nullptr || block->real) {
    return call.set(0, call.element(0), std::nullopt);
  }
  Shape shape{(*columns)[0],
              floor_divide((*columns)[1], product(block->whole, 0, block->whole.size()))};
  shape.insert(shape.end(), image->whole.begin(), image->whole.end());
  call.set(0, call.element(0), std::move(shape));
}

constexpr auto kSpatialRules = std::to_array<OpRule>({
    {"MaxPool", pool_shape, {}, {}, [](Call& c) { pool(c, "max"); }},
    {"AveragePool", pool_shape, {}, {}, [](Call& c) { pool(c, "avg"); }},
    {"LpPool", pool_shape, {}, {}, power_pool},
    {"GlobalAveragePool", global_pool_shape, {}, {}, global_pool},
    {"GlobalMaxPool", global_pool_shape, {}, {}, global_pool},
    {"GlobalLpPool", global_pool_shape, {}, {}, global_power_pool},
    {"MaxUnpool", unpool_shape, "aten.max_unpool2d.default", "self indices -"},
    {"Resize", resize_shape, {}, {}, resize},
    {"Upsample", resize_shape, {}, {}, resize},
    {"GridSample", grid_sample_shape, "aten.grid_sampler.default", "input grid"},
    {"AffineGrid", affine_grid_shape, "aten.affine_grid_generator.default", "theta -"},
    {"RoiAlign", regions_shape},
    {"MaxRoiPool", regions_shape},
    {"NonMaxSuppression", suppression_shape},
    {"DepthToSpace",
     depth_to_space_shape,
     {},
     {},
     [](Call& c) {
       c.emit("aten.pixel_shuffle.default", {{"self", c.tensor(0)}},
              {{"upscale_factor", c.whole("blocksize", 1)}});
     }},
    {"SpaceToDepth",
     depth_to_space_shape,
     {},
     {},
     [](Call& c) {
       c.emit("aten.pixel_unshuffle.default", {{"self", c.tensor(0)}},
              {{"downscale_factor", c.whole("blocksize", 1)}});
     }},
    {"Col2Im", col2im_shape, "aten.col2im.default", "self"},
});

}  // namespace

std::span<const OpRule> spatial_rules() { return kSpatialRules; }

}  // namespace parallel_opt::onnx
