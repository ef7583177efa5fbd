#include <algorithm>
#include <array>
#include <cmath>

#include "parallel_opt/importers/onnx_ops.h"

/// Gathering, scattering, and tensors made from numbers.
namespace parallel_opt::onnx {
namespace {

void gather_shape(Call& call) {
  const Shape* indices = call.shape(1);
  const auto axis = call.axis("axis", 0);
  if (!axis || indices == nullptr) return call.set(0, call.element(0), std::nullopt);
  const Shape& from = *call.shape(0);
  if (from.empty()) return call.fault("gathers from a number");
  Shape shape(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(*axis));
  shape.insert(shape.end(), indices->begin(), indices->end());
  shape.insert(shape.end(), from.begin() + static_cast<std::ptrdiff_t>(*axis) + 1, from.end());
  call.set(0, call.element(0), std::move(shape));
}

void gather(Call& call) {
  const auto axis = call.axis("axis", 0);
  const Shape* indices = call.shape(1);
  const std::int64_t dim = static_cast<std::int64_t>(axis.value_or(0));
  const Value& table = *call.input(0);
  const auto number = call.number(1);
  if (indices != nullptr && indices->empty() && number) {
    return call.emit("aten.select.int", {{"self", call.tensor(0)}},
                     {{"dim", dim}, {"index", *number}});
  }
  if (axis == std::size_t(0) && table.weight && is_float(table.element) &&
      call.shape(0) != nullptr && call.shape(0)->size() == 2) {
    return call.emit("aten.embedding.default", call.operands("weight indices"));
  }
  if (indices != nullptr && indices->size() == 1) {
    return call.emit("aten.index_select.default", call.operands("self index"), {{"dim", dim}});
  }
  Operands operands{{"self", call.tensor(0)}};
  for (std::int64_t i = 0; i < dim; ++i) operands.push_back({"indices", TensorId()});
  operands.push_back({"indices", call.tensor(1)});
  call.emit("aten.index.Tensor", std::move(operands));
}

void gather_elements_shape(Call& call) {
  call.set(0, call.element(0), call.has(1) ? call.input(1)->shape : std::nullopt);
}

void gather_nd_shape(Call& call) {
  const Shape *from = call.shape(0), *indices = call.shape(1);
  const std::int64_t batch = call.whole("batch_dims", 0);
  if (from == nullptr || indices == nullptr || indices->empty() || !is_fixed(indices->back())) {
    return call.set(0, call.element(0), std::nullopt);
  }
  const std::int64_t deep = batch + indices->back().size;
  if (batch < 0 || deep < 0 || deep > static_cast<std::int64_t>(from->size())) {
    return call.fault("indices " + show(*indices) + " into " + show(*from));
  }
  Shape shape(indices->begin(), indices->end() - 1);
  shape.insert(shape.end(), from->begin() + deep, from->end());
  call.set(0, call.element(0), std::move(shape));
}

void scatter(Call& call) {
  const auto axis = call.axis("axis", 0);
  const std::string_view how = call.text("reduction", "none");
  const char* target = how == "none"  ? "aten.scatter.src"
                       : how == "add" ? "aten.scatter_add.default"
                                      : "aten.scatter_reduce.two";
  call.emit(target, call.operands("self index src"),
            {{"dim", static_cast<std::int64_t>(axis.value_or(0))}});
}

void compress_shape(Call& call) {
  const Shape* from = call.shape(0);
  if (from == nullptr) return call.set(0, call.element(0), std::nullopt);
  const auto mask = call.numbers("", 1);
  std::optional<std::int64_t> kept;
  if (mask)
    kept = static_cast<std::int64_t>(
        std::ranges::count_if(*mask, [](std::int64_t x) { return x != 0; }));
  if (call.attribute("axis") == nullptr) {
    return call.set(0, call.element(0),
                    Shape{kept ? fixed(*kept) : unknown_size(element_count(*from).value_or(1))});
  }
  const auto axis = call.axis("axis", 0);
  if (!axis) return;
  Shape shape = *from;
  shape[*axis] = kept ? fixed(*kept) : unknown_size(shape[*axis].size);
  call.set(0, call.element(0), std::move(shape));
}

void nonzero_shape(Call& call) {
  const Shape* from = call.shape(0);
  if (from == nullptr) return call.set(0, kInt64, Shape{unknown_size(), unknown_size()});
  call.set(0, kInt64,
           Shape{fixed(static_cast<std::int64_t>(from->size())),
                 unknown_size(element_count(*from).value_or(1))});
}

void one_hot_shape(Call& call) {
  const Shape* from = call.shape(0);
  if (from == nullptr) return call.set(0, call.element(2), std::nullopt);
  const std::int64_t rank = static_cast<std::int64_t>(from->size()) + 1;
  std::int64_t axis = call.whole("axis", -1);
  if (axis < -rank || axis >= rank)
    return call.fault("axis " + std::to_string(axis) + " of " + std::to_string(rank));
  if (axis < 0) axis += rank;
  const auto depth = call.number(1);
  const Data* size = call.data(1);
  Shape shape = *from;
  Dim dim = depth ? fixed(std::max<std::int64_t>(*depth, 0)) : unknown_size();
  if (!depth && size != nullptr && !size->real && size->whole.size() == 1) dim = size->whole[0];
  shape.insert(shape.begin() + axis, dim);
  call.set(0, call.element(2), std::move(shape));
}

/// ceil((limit - start) / step), at least 0.
Dim steps_of(Call& call) {
  const Data *start = call.data(0), *limit = call.data(1), *step = call.data(2);
  if (start == nullptr || limit == nullptr || step == nullptr || start->size() != 1 ||
      limit->size() != 1 || step->size() != 1) {
    return unknown_size();
  }
  if (start->real) {
    if (!limit->real || !step->real) return unknown_size();
    const double count = std::ceil((limit->reals[0] - start->reals[0]) / step->reals[0]);
    return count >= 0 && count < 1e15 ? fixed(static_cast<std::int64_t>(count))
           : count < 0                ? fixed(0)
                                      : unknown_size();
  }
  if (limit->real || step->real || is_size(step->whole[0], 0)) return unknown_size();
  Dim span = subtract(limit->whole[0], start->whole[0]), by = step->whole[0];
  if (is_fixed(by) && by.size < 0) {
    span = multiply(fixed(-1), span);
    by = multiply(fixed(-1), by);
  }
  const Dim count = ceil_divide(span, by);
  return is_fixed(count) ? fixed(std::max<std::int64_t>(count.size, 0)) : count;
}

void range_shape(Call& call) { call.set(0, call.element(0), Shape{steps_of(call)}); }

void filled_shape(Call& call) {
  std::int64_t element = kFloat;
  if (const ProtoAttribute* value = call.attribute("value");
      value != nullptr && !value->tensors.empty()) {
    element = value->tensors.front().data_type;
  }
  const Data* sizes = call.data(0);
  if (sizes != nullptr && !sizes->real) return call.set(0, element, sizes->whole);
  const Shape* list = call.shape(0);
  if (list == nullptr || list->size() != 1 || !is_fixed(list->front()) || list->front().size > 64)
    return call.set(0, element, std::nullopt);
  call.set(0, element, Shape(static_cast<std::size_t>(list->front().size), unknown_size()));
}

void eye_shape(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = call.whole("dtype", call.element(0));
}

void window_shape(Call& call) {
  const auto size = call.number(0);
  call.set(0, call.whole("output_datatype", kFloat),
           Shape{size ? fixed(std::max<std::int64_t>(*size, 0)) : unknown_size()});
}

void mel_shape(Call& call) {
  const auto bins = call.number(0), length = call.number(1);
  call.set(0, call.whole("output_datatype", kFloat),
           Shape{length ? fixed(std::max<std::int64_t>(*length / 2 + 1, 0)) : unknown_size(),
                 bins ? fixed(std::max<std::int64_t>(*bins, 0)) : unknown_size()});
}

constexpr auto kIndexRules = std::to_array<OpRule>({
    {"Gather", gather_shape, {}, {}, gather},
    {"GatherElements",
     gather_elements_shape,
     {},
     {},
     [](Call& c) {
       const auto axis = c.axis("axis", 0);
       c.emit("aten.gather.default", c.operands("self index"),
              {{"dim", static_cast<std::int64_t>(axis.value_or(0))}});
     }},
    {"GatherND", gather_nd_shape, "aten.index.Tensor", "self indices"},
    {"ScatterElements", same_shape, {}, {}, scatter},
    {"Scatter", same_shape, {}, {}, scatter},
    {"ScatterND", same_shape, "aten.index_put.default", "self indices values"},
    {"TensorScatter", same_shape, "aten.index_put.default", "self values indices"},
    {"Compress", compress_shape, "aten.masked_select.default", "self mask"},
    {"NonZero", nonzero_shape, "aten.nonzero.default", "self"},
    {"OneHot", one_hot_shape, "aten.one_hot.default", "self - -"},
    {"Range", range_shape, "aten.arange.start_step", "- - -"},
    {"ConstantOfShape", filled_shape, "aten.full.default", "-"},
    {"EyeLike", eye_shape, "aten.eye.default", "-"},
    {"HannWindow", window_shape, "aten.hann_window.default", "-"},
    {"HammingWindow", window_shape, "aten.hamming_window.default", "-"},
    {"BlackmanWindow", window_shape, "aten.blackman_window.default", "-"},
    {"MelWeightMatrix", mel_shape, "aten.full.default", "- - - - -"},
});

}  // namespace

std::span<const OpRule> index_rules() { return kIndexRules; }

}  // namespace parallel_opt::onnx
