#include "parallel_opt/importers/onnx_ops.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>

#include "parallel_opt/base/json_traits.h"

namespace parallel_opt::onnx {
namespace {

using Index = std::unordered_map<std::string_view, const OpRule*>;

Index index_of(std::initializer_list<std::span<const OpRule>> parts) {
  Index index;
  for (const std::span<const OpRule> part : parts) {
    for (const OpRule& rule : part) index.emplace(rule.type, &rule);
  }
  return index;
}

}  // namespace

const OpRule* find_rule(std::string_view domain, std::string_view type) {
  static const Index kMain =
      index_of({pointwise_rules(), reduction_rules(), normalization_rules(), contraction_rules(),
                quantized_rules(), attention_rules(), layout_rules(), index_rules(),
                spatial_rules(), recurrent_rules(), sequence_rules(), other_rules()});
  static const Index kMicrosoft = index_of({microsoft_rules()}), kMl = index_of({ml_rules()}),
                     kPreview = index_of({preview_rules()});
  const auto look = [&](const Index& index) {
    const auto found = index.find(type);
    return found == index.end() ? nullptr : found->second;
  };
  if (is_main_domain(domain)) return look(kMain);
  if (domain == "com.microsoft") return look(kMicrosoft);
  if (domain == "ai.onnx.ml") return look(kMl);
  if (domain.starts_with("ai.onnx.preview")) return look(kPreview);
  return nullptr;
}

void same_shape(Call& call) {
  call.set(0, call.element(0), call.has(0) ? call.input(0)->shape : std::nullopt);
}

void same_shapes(Call& call) {
  for (std::size_t i = 0; i < call.out.size(); ++i) {
    const Value* from = call.input(std::min(i, call.in.empty() ? 0 : call.in.size() - 1));
    if (from != nullptr) call.set(i, from->element, from->shape);
  }
}

std::optional<Shape> broadcast_of(Call& call, std::size_t first, std::size_t last) {
  std::optional<Shape> result = Shape();
  for (std::size_t i = first; i < last && i < call.in.size(); ++i) {
    if (!call.has(i)) continue;
    const Shape* shape = call.shape(i);
    if (shape == nullptr) return std::nullopt;
    std::optional<Shape> wide = broadcast(*result, *shape);
    if (!wide) {
      call.fault("operands " + show(*result) + " and " + show(*shape) + " do not broadcast");
      return std::nullopt;
    }
    result = std::move(wide);
  }
  return result;
}

void broadcast_shape(Call& call) {
  call.set(0, call.element(0), broadcast_of(call, 0, call.in.size()));
}

void broadcast_to_bool(Call& call) { call.set(0, kBool, broadcast_of(call, 0, call.in.size())); }

std::vector<std::int64_t> sizes_of(const Shape& shape) {
  std::vector<std::int64_t> sizes;
  for (const Dim& dim : shape) sizes.push_back(dim.size);
  return sizes;
}

std::vector<std::int64_t> axes_up_to(std::size_t n) {
  std::vector<std::int64_t> axes(n);
  std::iota(axes.begin(), axes.end(), std::int64_t(0));
  return axes;
}

std::string_view dtype_name(std::int64_t element) {
  return name_of(dtype_of(element).value_or(DType::u8));
}

TensorId permuted(Call& call, TensorId from, const std::vector<std::int64_t>& order,
                  std::int64_t element) {
  const Shape before = call.importer.graph().tensor(from).shape;
  Shape shape;
  for (const std::int64_t axis : order) shape.push_back(before[static_cast<std::size_t>(axis)]);
  return call.step("aten.permute.default", {{"self", from}}, {{"dims", order}}, element, shape);
}

TensorId reshaped(Call& call, TensorId from, Shape shape, std::int64_t element) {
  const std::vector<std::int64_t> sizes = sizes_of(shape);
  return call.step("aten.reshape.default", {{"self", from}}, {{"shape", sizes}}, element,
                   std::move(shape));
}

}  // namespace parallel_opt::onnx
