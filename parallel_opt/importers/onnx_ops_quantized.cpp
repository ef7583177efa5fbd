#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"
#include "parallel_opt/importers/onnx_window.h"

/// Convolutions, plain and quantised, and the other operators on quantised numbers.
namespace parallel_opt::onnx {
namespace {

/// Result of a convolution of operand `image` with the weights in operand `weight`.
std::optional<Shape> convolution_of(Call& call, std::size_t image, std::size_t weight) {
  const Shape *x = call.shape(image), *w = call.shape(weight);
  if (x == nullptr || w == nullptr) return std::nullopt;
  if (w->size() != x->size()) {
    call.fault("a convolution of " + show(*x) + " with " + show(*w));
    return std::nullopt;
  }
  const auto window = window_of(
      call, *x,
      Shape(w->begin() + std::min<std::ptrdiff_t>(2, static_cast<std::ptrdiff_t>(w->size())),
            w->end()));
  if (!window) return std::nullopt;
  const std::int64_t groups = call.whole("group", 1);
  if (groups < 1) {
    call.fault("has " + std::to_string(groups) + " groups");
    return std::nullopt;
  }
  const Dim channels = multiply((*w)[1], fixed(groups));
  if (is_fixed(channels) && is_fixed((*x)[1]) && channels.size != (*x)[1].size) {
    call.fault("a convolution of " + show(*x) + " with " + show(*w) + " in " +
               std::to_string(groups) + " groups");
    return std::nullopt;
  }
  Shape shape{(*x)[0], (*w)[0]};
  const auto spatial = slide(call, *window, *x);
  if (!spatial) return std::nullopt;
  shape.insert(shape.end(), spatial->begin(), spatial->end());
  return shape;
}

void convolution_shape(Call& call) { call.set(0, call.element(0), convolution_of(call, 0, 1)); }

void transposed_shape(Call& call) {
  const Shape *x = call.shape(0), *w = call.shape(1);
  if (x == nullptr || w == nullptr) return call.set(0, call.element(0), std::nullopt);
  if (w->size() != x->size() || w->size() < 3) {
    return call.fault("a convolution of " + show(*x) + " with " + show(*w));
  }
  const auto window = window_of(call, *x, Shape(w->begin() + 2, w->end()));
  if (!window) return;
  const std::vector<std::int64_t> wanted = call.wholes("output_shape");
  std::vector<std::int64_t> extra = call.wholes("output_padding");
  extra.resize(std::max(extra.size(), window->kernel.size()), 0);
  Shape shape{(*x)[0], multiply((*w)[1], fixed(call.whole("group", 1)))};
  for (std::size_t i = 0; i < window->kernel.size(); ++i) {
    // stride (size - 1) + output padding + dilation (kernel - 1) + 1 - pads
    const Dim stride = fixed(window->strides[i]);
    const Dim reach = multiply(fixed(window->dilations[i]), subtract(window->kernel[i], fixed(1)));
    const Dim full = add(add(multiply(stride, subtract((*x)[2 + i], fixed(1))), reach), fixed(1));
    const Dim pads = subtract(fixed(extra[i]), fixed(window->begin[i] + window->end[i]));
    if (i < wanted.size() || wanted.size() == x->size()) {
      shape.push_back(fixed(wanted[wanted.size() == x->size() ? i + 2 : i]));
    } else if (window->same) {
      shape.push_back(multiply((*x)[2 + i], stride));
    } else {
      shape.push_back(add(full, pads));
    }
  }
  call.set(0, call.element(0), std::move(shape));
}

/// Uneven padding is an operator of its own in PyTorch.
void emit_convolution(Call& call, std::size_t image, std::size_t weight, Operands more,
                      bool transposed) {
  const Shape *x = call.shape(image), *w = call.shape(weight);
  TensorId from = call.tensor(image);
  Attributes attributes{{"groups", call.whole("group", 1)}, {"transposed", transposed}};
  const auto window = x == nullptr || w == nullptr || w->size() < 3
                          ? std::nullopt
                          : window_of(call, *x, Shape(w->begin() + 2, w->end()));
  if (window) {
    attributes["stride"] = window->strides;
    attributes["dilation"] = window->dilations;
    attributes["padding"] = window->begin;
    attributes["output_padding"] = std::vector<std::int64_t>(window->kernel.size(), 0);
    if (!is_symmetric(*window) && !window->same && !transposed) {
      Shape wide = *x;
      std::vector<std::int64_t> pads;  // PyTorch lists them from the last axis
      for (std::size_t i = window->kernel.size(); i-- > 0;) {
        wide[2 + i] = add(wide[2 + i], fixed(window->begin[i] + window->end[i]));
        pads.push_back(window->begin[i]);
        pads.push_back(window->end[i]);
      }
      from = call.step("aten.constant_pad_nd.default", {{"self", from}}, {{"pad", pads}},
                       call.element(image), wide);
      attributes["padding"] = std::vector<std::int64_t>(window->kernel.size(), 0);
    }
  }
  Operands operands{{"input", from}, {"weight", call.tensor(weight)}};
  operands.insert(operands.end(), more.begin(), more.end());
  call.emit("aten.convolution.default", std::move(operands), std::move(attributes));
}

Operands present(Call& call, std::initializer_list<std::pair<const char*, std::size_t>> list) {
  Operands operands;
  for (const auto& [name, i] : list) {
    if (call.has(i)) operands.push_back({name, call.tensor(i)});
  }
  return operands;
}

void quantize_shape(Call& call) {
  same_shape(call);
  std::int64_t element = call.has(2) ? call.element(2) : call.whole("output_dtype", kUint8);
  if (element == 0) element = kUint8;
  if (call.wants(0)) call.result().element = element;
}

void dequantize_shape(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = call.whole("output_dtype", call.element(1));
}

/// One scale for the tensor, or one per position of an axis (or block of it).
void scale(Call& call, const std::string& verb) {
  const bool one = call.shape(1) == nullptr || call.shape(1)->empty();
  call.emit(
      "quantized_decomposed." + verb + (one ? "_per_tensor.default" : "_per_channel.default"),
      call.operands("input scales zero_points"),
      {{"axis", call.whole("axis", 1)}, {"dtype", std::string(dtype_name(call.result().element))}});
}

void dynamic_shape(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = kUint8;
  call.set(1, kFloat, Shape());
  call.set(2, kUint8, Shape());
}

void dynamic_quantize(Call& call) {
  const std::int64_t element = call.element(0);
  const TensorId largest =
      call.step("aten.amax.default", {{"self", call.tensor(0)}}, {}, element, {});
  const TensorId least =
      call.step("aten.amin.default", {{"self", call.tensor(0)}}, {}, element, {});
  call.emit_one(1, "aten.sub.Tensor", {{"self", largest}, {"other", least}});
  const TensorId scale = call.wants(1) ? call.importer.tensor(call.out[1]) : largest;
  call.emit_one(2, "aten.div.Tensor", {{"self", least}, {"other", scale}});
  call.emit_one(0, "aten.div.Tensor", {{"self", call.tensor(0)}, {"other", scale}});
}

void integer_matmul_shape(Call& call) {
  std::optional<Shape> shape;
  if (call.shape(0) != nullptr && call.shape(1) != nullptr)
    shape = matmul_of(call, *call.shape(0), *call.shape(1));
  call.set(0, kInt32, std::move(shape));
}

void quantized_matmul_shape(Call& call) {
  std::optional<Shape> shape;
  if (call.shape(0) != nullptr && call.shape(3) != nullptr)
    shape = matmul_of(call, *call.shape(0), *call.shape(3));
  call.set(0, call.element(7), std::move(shape));
}

void deformable_shape(Call& call) { convolution_shape(call); }

void causal_shape(Call& call) {
  same_shape(call);
  const Shape *x = call.shape(0), *w = call.shape(1);
  if (x == nullptr || w == nullptr || x->size() != 3 || w->size() != 3) return;
  call.set(1, call.element(0), Shape{(*x)[0], (*x)[1], subtract((*w)[2], fixed(1))});
}

/// Past and input in one row, then a depthwise convolution over it.
void causal_convolution(Call& call) {
  const Shape *x = call.shape(0), *w = call.shape(1);
  if (x == nullptr || w == nullptr || x->size() != 3 || w->size() != 3)
    return call.emit("onnx.CausalConvWithState", call.operands("inputs*"));
  Shape row = *x;
  row[2] = add(row[2], subtract((*w)[2], fixed(1)));
  const std::int64_t element = call.element(0), axis = 2;
  TensorId all;
  if (call.has(3)) {
    const Operands both{{"tensors", call.tensor(3)}, {"tensors", call.tensor(0)}};
    all = call.step("aten.cat.default", both, {{"dim", axis}}, element, row);
  } else {
    const std::vector<std::int64_t> pad{subtract((*w)[2], fixed(1)).size, 0};
    all = call.step("aten.constant_pad_nd.default", {{"self", call.tensor(0)}}, {{"pad", pad}},
                    element, row);
  }
  Operands operands{{"input", all}, {"weight", call.tensor(1)}};
  if (call.has(2)) operands.push_back({"bias", call.tensor(2)});
  const std::vector<std::int64_t> one{1}, none{0};
  const Attributes attributes{{"groups", (*x)[1].size},
                              {"transposed", false},
                              {"stride", one},
                              {"dilation", one},
                              {"padding", none}};
  if (call.text("activation", "none") == "none") {
    call.emit_one(0, "aten.convolution.default", operands, attributes);
  } else {
    const TensorId plain = call.step("aten.convolution.default", operands, attributes, element, *x);
    call.emit_one(0, "aten.silu.default", {{"self", plain}});
  }
  call.emit_one(1, "aten.slice.Tensor", {{"self", all}}, {{"dim", axis}});
}

constexpr auto kQuantizedRules = std::to_array<OpRule>({
    {"Conv",
     convolution_shape,
     {},
     {},
     [](Call& c) { emit_convolution(c, 0, 1, present(c, {{"bias", 2}}), false); }},
    {"ConvTranspose",
     transposed_shape,
     {},
     {},
     [](Call& c) { emit_convolution(c, 0, 1, present(c, {{"bias", 2}}), true); }},
    {"ConvInteger",
     [](Call& c) { c.set(0, kInt32, convolution_of(c, 0, 1)); },
     {},
     {},
     [](Call& c) { emit_convolution(c, 0, 1, {}, false); }},
    {"QLinearConv",
     [](Call& c) { c.set(0, c.element(7), convolution_of(c, 0, 3)); },
     {},
     {},
     [](Call& c) { emit_convolution(c, 0, 3, present(c, {{"bias", 8}}), false); }},
    {"DeformConv",
     deformable_shape,
     {},
     {},
     [](Call& c) {
       emit_convolution(c, 0, 1, present(c, {{"bias", 3}, {"offset", 2}, {"mask", 4}}), false);
     }},
    {"CausalConvWithState", causal_shape, {}, {}, causal_convolution},
    {"MatMulInteger",
     integer_matmul_shape,
     {},
     {},
     [](Call& c) { c.emit("aten.matmul.default", present(c, {{"self", 0}, {"other", 1}})); }},
    {"QLinearMatMul",
     quantized_matmul_shape,
     {},
     {},
     [](Call& c) { c.emit("aten.matmul.default", present(c, {{"self", 0}, {"other", 3}})); }},
    {"QuantizeLinear", quantize_shape, {}, {}, [](Call& c) { scale(c, "quantize"); }},
    {"DequantizeLinear", dequantize_shape, {}, {}, [](Call& c) { scale(c, "dequantize"); }},
    {"DynamicQuantizeLinear", dynamic_shape, {}, {}, dynamic_quantize},
});

}  // namespace

std::span<const OpRule> quantized_rules() { return kQuantizedRules; }

}  // namespace parallel_opt::onnx
