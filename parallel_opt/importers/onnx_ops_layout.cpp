#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"

/// Operators that move, repeat or rename axes.
namespace parallel_opt::onnx {
namespace {

/// The sizes in operand `i`; of a list of known length whose numbers are not known, unknown ones.
std::optional<Shape> sizes_in(Call& call, std::size_t i) {
  const Data* known = call.data(i);
  if (known != nullptr && !known->real) return known->whole;
  const Shape* list = call.shape(i);
  if (list == nullptr || list->size() != 1 || !is_fixed(list->front()) || list->front().size > 64) {
    return std::nullopt;
  }
  return Shape(static_cast<std::size_t>(list->front().size), unknown_size());
}

std::optional<Shape> reshaped_to(Call& call, const Shape* from, Shape target, bool zero_stays) {
  std::optional<std::size_t> open;
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (is_size(target[i], 0) && !zero_stays) {
      if (from == nullptr) {
        target[i] = unknown_size();
      } else if (i < from->size()) {
        target[i] = (*from)[i];
      } else {
        call.fault("a size 0 stands for axis " + std::to_string(i) + " of " + show(*from));
        return std::nullopt;
      }
    } else if (is_size(target[i], -1)) {
      if (open) {
        call.fault("a shape " + show(target) + " has two open sizes");
        return std::nullopt;
      }
      open = i;
    } else if (is_fixed(target[i]) && target[i].size < -1) {
      call.fault("a shape " + show(target));
      return std::nullopt;
    }
  }
  if (open) {
    target[*open] = unknown_size();
    Shape others = target;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(*open));
    if (from != nullptr) target[*open] = quotient(*from, others);
  }
  return target;
}

void reshape_shape(Call& call) {
  std::optional<Shape> target;
  if (const auto given = call.attribute("shape"); given != nullptr) {
    target.emplace();
    for (const std::int64_t size : given->ints) target->push_back(fixed(size));
  } else {
    target = sizes_in(call, 1);
  }
  if (!target) return call.set(0, call.element(0), std::nullopt);
  auto shape = reshaped_to(call, call.shape(0), *target, call.whole("allowzero", 0) != 0);
  if (!shape) return;
  if (const Shape* from = call.shape(0)) {
    const Dim before = product(*from, 0, from->size()), after = product(*shape, 0, shape->size());
    if (is_fixed(before) && is_fixed(after) && before.size != after.size) {
      return call.fault(show(*from) + " cannot become " + show(*target));
    }
  }
  call.set(0, call.element(0), std::move(shape));
}

void reshape(Call& call) {
  call.emit("aten.reshape.default", {{"self", call.tensor(0)}},
            {{"shape", sizes_of(call.shape_out())}});
}

void flatten_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return call.set(0, call.element(0), Shape{unknown_size(), unknown_size()});
  std::int64_t axis = call.whole("axis", 1);
  const std::int64_t rank = static_cast<std::int64_t>(shape->size());
  if (axis < -rank || axis > rank)
    return call.fault("axis " + std::to_string(axis) + " of " + show(*shape));
  if (axis < 0) axis += rank;
  const std::size_t at = static_cast<std::size_t>(axis);
  call.set(0, call.element(0), Shape{product(*shape, 0, at), product(*shape, at, shape->size())});
}

void transpose_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return call.set(0, call.element(0), std::nullopt);
  std::vector<std::int64_t> order = call.wholes("perm");
  if (order.empty()) {
    order = axes_up_to(shape->size());
    std::ranges::reverse(order);
  }
  std::vector<std::int64_t> sorted = order;
  std::ranges::sort(sorted);
  if (sorted != axes_up_to(shape->size()))
    return call.fault("perm does not name each axis of " + show(*shape) + " once");
  Shape result;
  for (const std::int64_t axis : order) result.push_back((*shape)[static_cast<std::size_t>(axis)]);
  call.set(0, call.element(0), std::move(result));
}

void transpose(Call& call) {
  std::vector<std::int64_t> order = call.wholes("perm");
  if (order.empty()) {
    order = axes_up_to(call.shape_out().size());
    std::ranges::reverse(order);
  }
  call.emit("aten.permute.default", {{"self", call.tensor(0)}}, {{"dims", order}});
}

/// Axes from attribute or operand 1 against `rank` axes; empty: not known, or a fault.
std::optional<std::vector<std::int64_t>> axes_of(Call& call, std::int64_t rank) {
  auto axes = call.numbers("axes", 1);
  if (!axes) return std::nullopt;
  for (std::int64_t& axis : *axes) {
    if (axis < -rank || axis >= rank) {
      call.fault("axis " + std::to_string(axis) + " of " + std::to_string(rank));
      return std::nullopt;
    }
    if (axis < 0) axis += rank;
  }
  std::ranges::sort(*axes);
  axes->erase(std::unique(axes->begin(), axes->end()), axes->end());
  return axes;
}

void squeeze_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return call.set(0, call.element(0), std::nullopt);
  const bool given = call.has(1) || call.attribute("axes") != nullptr;
  const auto axes = given ? axes_of(call, static_cast<std::int64_t>(shape->size())) : std::nullopt;
  if (given && !axes) return call.set(0, call.element(0), std::nullopt);
  Shape result;
  for (std::size_t i = 0; i < shape->size(); ++i) {
    const bool named = axes && std::ranges::binary_search(*axes, static_cast<std::int64_t>(i));
    if (named && is_fixed((*shape)[i]) && (*shape)[i].size != 1) {
      return call.fault("axis " + std::to_string(i) + " of " + show(*shape) + " is not 1");
    }
    if (given ? !named : !is_size((*shape)[i], 1)) result.push_back((*shape)[i]);
  }
  call.set(0, call.element(0), std::move(result));
}

void unsqueeze_shape(Call& call) {
  const Shape* shape = call.shape(0);
  const auto raw = call.numbers("axes", 1);
  if (shape == nullptr || !raw) return call.set(0, call.element(0), std::nullopt);
  const std::int64_t rank = static_cast<std::int64_t>(shape->size() + raw->size());
  const auto axes = axes_of(call, rank);
  if (!axes) return;
  if (axes->size() != raw->size()) return call.fault("names an axis twice");
  Shape result;
  std::size_t at = 0;
  for (std::int64_t i = 0; i < rank; ++i) {
    result.push_back(std::ranges::binary_search(*axes, i) ? fixed(1) : (*shape)[at++]);
  }
  call.set(0, call.element(0), std::move(result));
}

void unsqueeze(Call& call) {
  const bool ranked = call.result().shape.has_value();
  const auto axes =
      ranked ? axes_of(call, static_cast<std::int64_t>(call.shape_out().size())) : std::nullopt;
  if (axes && axes->size() == 1) {
    return call.emit("aten.unsqueeze.default", {{"self", call.tensor(0)}},
                     {{"dim", axes->front()}});
  }
  reshape(call);
}

void expand_shape(Call& call) {
  const auto target = sizes_in(call, 1);
  if (call.shape(0) == nullptr || !target) return call.set(0, call.element(0), std::nullopt);
  auto shape = broadcast(*call.shape(0), *target);
  if (!shape) return call.fault(show(*call.shape(0)) + " does not broadcast to " + show(*target));
  call.set(0, call.element(0), std::move(shape));
}

void tile_shape(Call& call) {
  const Shape* shape = call.shape(0);
  const auto repeats = sizes_in(call, 1);
  if (shape == nullptr) return call.set(0, call.element(0), std::nullopt);
  if (!repeats || repeats->size() != shape->size()) {
    if (repeats) return call.fault("repeats " + show(*repeats) + " of " + show(*shape));
    return call.set(0, call.element(0), std::nullopt);
  }
  Shape result;
  for (std::size_t i = 0; i < shape->size(); ++i)
    result.push_back(multiply((*shape)[i], (*repeats)[i]));
  call.set(0, call.element(0), std::move(result));
}

void concat_shape(Call& call) {
  const auto axis = call.axis("axis", 0);
  std::optional<Shape> shape;
  for (std::size_t i = 0; i < call.in.size() && axis; ++i) {
    const Shape* part = call.shape(i);
    if (part == nullptr) return call.set(0, call.element(0), std::nullopt);
    if (!shape) {
      shape = *part;
      continue;
    }
    if (part->size() != shape->size())
      return call.fault(show(*part) + " is joined to " + show(*shape));
    for (std::size_t k = 0; k < part->size(); ++k) {
      Dim& dim = (*shape)[k];
      if (k == *axis) {
        dim = add(dim, (*part)[k]);
      } else if (is_fixed(dim) && is_fixed((*part)[k]) && dim.size != (*part)[k].size) {
        return call.fault(show(*part) + " is joined to " + show(*shape));
      } else if (!is_fixed(dim) && (is_fixed((*part)[k]) || is_unknown(dim))) {
        dim = (*part)[k];
      }
    }
  }
  call.set(0, call.element(0), std::move(shape));
}

void concat(Call& call) {
  const auto axis = call.axis("axis", 0);
  call.emit("aten.cat.default", call.operands("tensors*"),
            {{"dim", static_cast<std::int64_t>(axis.value_or(0))}});
}

/// Sizes of the parts; empty: depend on data.
std::optional<Shape> parts_of(Call& call, const Dim& whole, std::size_t parts) {
  if (call.attribute("split") != nullptr || call.has(1)) {
    if (const ProtoAttribute* given = call.attribute("split")) {
      Shape sizes;
      for (const std::int64_t size : given->ints) sizes.push_back(fixed(size));
      return sizes;
    }
    const Data* sizes = call.data(1);
    if (sizes == nullptr || sizes->real) return std::nullopt;
    return sizes->whole;
  }
  const Dim count = fixed(static_cast<std::int64_t>(std::max<std::size_t>(parts, 1)));
  const Dim chunk = ceil_divide(whole, count);
  // Before opset 18, which states the number of parts, they were equal.
  const bool uneven = is_fixed(whole) || call.attribute("num_outputs") != nullptr;
  Shape sizes(parts, uneven ? chunk : floor_divide(whole, count));
  if (parts > 0 && uneven) {
    sizes.back() = subtract(whole, multiply(chunk, fixed(count.size - 1)));
  }
  return sizes;
}

void split_shape(Call& call) {
  const auto axis = call.axis("axis", 0);
  if (!axis) {
    for (std::size_t i = 0; i < call.out.size(); ++i) call.set(i, call.element(0), std::nullopt);
    return;
  }
  const auto parts = parts_of(call, (*call.shape(0))[*axis], call.out.size());
  if (parts && parts->size() != call.out.size()) {
    return call.fault("has " + std::to_string(parts->size()) + " sizes for " +
                      std::to_string(call.out.size()) + " results");
  }
  for (std::size_t i = 0; i < call.out.size(); ++i) {
    Shape shape = *call.shape(0);
    shape[*axis] = parts ? (*parts)[i] : unknown_size(shape[*axis].size);
    call.set(i, call.element(0), std::move(shape));
  }
}

void split_tensor(Call& call) {
  const auto axis = call.axis("axis", 0);
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; i < call.out.size() && axis; ++i) {
    if (call.wants(i)) sizes.push_back(call.shape_out(i)[*axis].size);
  }
  call.emit("aten.split_with_sizes.default", {{"self", call.tensor(0)}},
            {{"split_sizes", sizes}, {"dim", static_cast<std::int64_t>(axis.value_or(0))}});
}

/// One axis of a slice: max(0, ceil((end - start) / step)), ends clamped to the axis.
Dim sliced(const Dim& size, const Dim& start, const Dim& end, std::int64_t step) {
  if (is_unknown(start) || is_unknown(end)) return unknown_size(size.size);
  const auto bounded = [&](const Dim& at, std::int64_t least, const Dim& most) {
    const auto sign = compare(at, fixed(0));
    Dim value = sign && *sign < 0 ? add(size, at) : at;
    const auto low = compare(value, fixed(least));
    if (low && *low < 0) return fixed(least);
    // The axis is as long as the model needs: a start lies in it, a cut of a table too.
    if (is_fixed(value) != is_fixed(most) && (&at == &start || is_fixed(most))) return value;
    return minimum(value, most);
  };
  if (step > 0) {
    const bool whole = is_fixed(end) && end.size >= INT32_MAX;  // "to the end"
    const Dim first = bounded(start, 0, size), last = whole ? size : bounded(end, 0, size);
    const Dim span = ceil_divide(subtract(last, first), fixed(step));
    return is_fixed(span) ? fixed(std::max<std::int64_t>(span.size, 0)) : span;
  }
  if (!is_fixed(size)) {
    const bool reversal = is_fixed(start) && is_fixed(end) &&
                          (start.size == -1 || start.size >= INT32_MAX) && end.size <= INT32_MIN;
    return reversal && step == -1 ? size : unknown_size(size.size);
  }
  if (!is_fixed(start) || !is_fixed(end)) return unknown_size(size.size);
  const std::int64_t n = size.size;
  const auto at = [&](std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < 0) value = value < -n ? least : value + n;
    return std::clamp(value, least, most);
  };
  if (n == 0) return fixed(0);
  const std::int64_t first = at(start.size, 0, n - 1),
                     last = end.size < -n ? -1 : at(end.size, -1, n - 1);
  if (step == INT64_MIN) return fixed(first > last ? 1 : 0);
  return fixed(std::max<std::int64_t>((first - last - step - 1) / -step, 0));
}

/// Operand or, before opset 10, attribute.
std::optional<Shape> bounds(Call& call, const char* name, std::size_t i) {
  if (const ProtoAttribute* given = call.attribute(name)) {
    Shape values;
    for (const std::int64_t value : given->ints) values.push_back(fixed(value));
    return values;
  }
  const Data* known = call.data(i);
  if (known == nullptr || known->real) return std::nullopt;
  return known->whole;
}

void slice_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return call.set(0, call.element(0), std::nullopt);
  const auto starts = bounds(call, "starts", 1), ends = bounds(call, "ends", 2);
  const auto steps = call.has(4) ? call.numbers("", 4) : std::nullopt;
  auto axes =
      call.has(3) || call.attribute("axes") != nullptr ? call.numbers("axes", 3) : std::nullopt;
  const bool axes_given = call.has(3) || call.attribute("axes") != nullptr;
  if (!axes_given && starts) axes = axes_up_to(starts->size());
  Shape result = *shape;
  const std::int64_t rank = static_cast<std::int64_t>(shape->size());
  if (!starts || !ends || !axes || (call.has(4) && !steps)) {
    for (std::size_t i = 0; i < result.size(); ++i) {
      const bool other = axes && std::ranges::none_of(*axes, [&](std::int64_t a) {
                           return (a < 0 ? a + rank : a) == static_cast<std::int64_t>(i);
                         });
      if (!other) result[i] = unknown_size(result[i].size);
    }
    return call.set(0, call.element(0), std::move(result));
  }
  if (starts->size() != axes->size() || ends->size() != axes->size() ||
      (steps && steps->size() != axes->size())) {
    return call.fault("has " + std::to_string(starts->size()) + " starts, " +
                      std::to_string(ends->size()) + " ends, " + std::to_string(axes->size()) +
                      " axes");
  }
  for (std::size_t i = 0; i < axes->size(); ++i) {
    const std::int64_t axis = (*axes)[i] < 0 ? (*axes)[i] + rank : (*axes)[i];
    const std::int64_t step = steps ? (*steps)[i] : 1;
    if (axis < 0 || axis >= rank || step == 0)
      return call.fault("axis " + std::to_string(axis) + " with step " + std::to_string(step) +
                        " of " + show(*shape));
    Dim& dim = result[static_cast<std::size_t>(axis)];
    dim = sliced(dim, (*starts)[i], (*ends)[i], step);
  }
  call.set(0, call.element(0), std::move(result));
}

void pad_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return call.set(0, call.element(0), std::nullopt);
  std::optional<std::vector<std::int64_t>> axes = axes_up_to(shape->size());
  if (call.has(3)) axes = call.numbers("", 3);
  const auto pads = bounds(call, "pads", 1);
  Shape result = *shape;
  if (!axes || !pads) {
    for (Dim& dim : result) dim = unknown_size(dim.size);
    return call.set(0, call.element(0), std::move(result));
  }
  if (pads->size() != 2 * axes->size())
    return call.fault("has " + std::to_string(pads->size()) + " pads for " +
                      std::to_string(axes->size()) + " axes");
  const std::int64_t rank = static_cast<std::int64_t>(shape->size());
  for (std::size_t i = 0; i < axes->size(); ++i) {
    const std::int64_t axis = (*axes)[i] < 0 ? (*axes)[i] + rank : (*axes)[i];
    if (axis < 0 || axis >= rank)
      return call.fault("axis " + std::to_string(axis) + " of " + show(*shape));
    Dim& dim = result[static_cast<std::size_t>(axis)];
    dim = add(add(dim, (*pads)[i]), (*pads)[i + axes->size()]);
  }
  call.set(0, call.element(0), std::move(result));
}

void crop_shape(Call& call) {
  const Shape* shape = call.shape(0);
  const auto target = sizes_in(call, 1);
  if (shape == nullptr || !target) return call.set(0, call.element(0), std::nullopt);
  std::vector<std::int64_t> axes = call.wholes("axes");
  if (call.attribute("axes") == nullptr) axes = axes_up_to(shape->size());
  Shape result = *shape;
  for (std::size_t i = 0; i < axes.size() && i < target->size(); ++i) {
    const std::int64_t axis =
        axes[i] < 0 ? axes[i] + static_cast<std::int64_t>(shape->size()) : axes[i];
    if (axis < 0 || axis >= static_cast<std::int64_t>(shape->size()))
      return call.fault("axis out of range");
    result[static_cast<std::size_t>(axis)] = (*target)[i];
  }
  call.set(0, call.element(0), std::move(result));
}

void size_shape(Call& call) { call.set(0, kInt64, Shape()); }

void shape_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return call.set(0, kInt64, Shape{unknown_size()});
  const std::int64_t rank = static_cast<std::int64_t>(shape->size());
  const auto at = [&](std::int64_t value) {
    return std::clamp<std::int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  const std::int64_t count = at(call.whole("end", rank)) - at(call.whole("start", 0));
  call.set(0, kInt64, Shape{fixed(std::max<std::int64_t>(count, 0))});
}

constexpr auto kLayoutRules = std::to_array<OpRule>({
    {"Reshape", reshape_shape, {}, {}, reshape},
    {"Flatten", flatten_shape, {}, {}, reshape},
    {"Transpose", transpose_shape, {}, {}, transpose},
    {"Squeeze", squeeze_shape, {}, {}, reshape},
    {"Unsqueeze", unsqueeze_shape, {}, {}, unsqueeze},
    {"Expand",
     expand_shape,
     {},
     {},
     [](Call& c) {
       c.emit("aten.expand.default", {{"self", c.tensor(0)}}, {{"size", sizes_of(c.shape_out())}});
     }},
    {"Tile", tile_shape, "aten.tile.default", "self"},
    {"Concat", concat_shape, {}, {}, concat},
    {"Split", split_shape, {}, {}, split_tensor},
    {"Slice", slice_shape, "aten.slice.Tensor", "self - - - -"},
    {"Pad", pad_shape, "aten.pad.default", "self - - -"},
    {"CenterCropPad", crop_shape, "aten.pad.default", "self -"},
    {"ReverseSequence", same_shape, "aten.flip.default", "self -"},
    {"Shape", shape_shape, "aten.sym_size.int", "self"},
    {"Size", size_shape, "aten.sym_numel.default", "self"},
});

}  // namespace

std::span<const OpRule> layout_rules() { return kLayoutRules; }

}  // namespace parallel_opt::onnx
