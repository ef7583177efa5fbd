#pragma once

#include "parallel_opt/importers/onnx_import.h"

/// Windows that slide over an image: what convolutions and pools have in common. Private to
/// importers/.
namespace parallel_opt::onnx {

struct Window {
  Shape kernel;
  std::vector<std::int64_t> strides, dilations, begin, end;  ///< one per spatial axis
  bool same = false;  ///< padded so that size = input / stride
  bool ceil = false;
};

/// The window of a node over the axes of `image` after the first two; `kernel`: of the weights,
/// empty for the attribute `kernel_shape`. Empty: a fault, or the image has no spatial axes.
std::optional<Window> window_of(Call& call, const Shape& image, Shape kernel);

/// Sizes of the spatial axes of the result. Empty: a fault, the window is larger than the image.
std::optional<Shape> slide(Call& call, const Window& window, const Shape& image);

/// Padding that PyTorch can express: the same on both sides.
bool is_symmetric(const Window& window);

}  // namespace parallel_opt::onnx
