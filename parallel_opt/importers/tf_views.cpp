#include <algorithm>
#include <array>
#include <cstdlib>

#include "parallel_opt/importers/tf_context.h"

// Views, copies, gathers and new tensors.
namespace parallel_opt::tf {
namespace {

/// An axis counted from the front of `rank` axes.
std::size_t axis_of(const Context& c, std::int64_t axis, std::size_t rank) {
  const auto axes = static_cast<std::int64_t>(rank);
  if (axis < 0) axis += axes;
  if (axis < 0 || axis >= axes) {
    c.out.fail("axis " + std::to_string(axis) + " of " + std::to_string(rank) + " axes");
  }
  return static_cast<std::size_t>(axis);
}

/// The sizes that an operand lists; unknown ones become sizes that data decides.
std::optional<Shape> listed(Context& c, ValueId id) {
  if (c.elements(id)) return c.elements(id);
  const Shape& shape = c.shape(id);
  if (!c.ranked(id) || shape.size() != 1 || shape[0].symbolic() || shape[0].size > 64) {
    return std::nullopt;
  }
  Shape result;
  for (std::int64_t i = 0; i < shape[0].size; ++i) result.push_back(c.new_size(sizes::fixed(1)));
  return result;
}

Values reshape(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || !c.ranked(in[0])) return c.opaque(node, in);
  std::optional<Shape> target = listed(c, in[1]);
  if (!target) return c.opaque(node, in);
  const auto free =
      std::ranges::find_if(*target, [](const Dim& d) { return !d.symbolic() && d.size == -1; });
  if (free != target->end()) {
    Shape rest(target->begin(), free);
    rest.insert(rest.end(), free + 1, target->end());
    *free = sizes::quotient(c.shape(in[0]), rest);
  }
  c.out.check_shape(*target);
  const Dim before = sizes::product(c.shape(in[0]));
  const Dim after = sizes::product(*target);
  if (!before.symbolic() && !after.symbolic() && before.size != after.size) {
    c.out.fail("sizes " + sizes::text(c.shape(in[0])) + " cannot become " + sizes::text(*target));
  }
  return {c.reshape(in[0], *target)};
}

Values transpose(Context& c, const Node& node, const Values& in) {
  const auto order = in.size() == 2 ? c.integers(in[1]) : std::nullopt;
  if (!order || c.any_unranked(in)) return c.opaque(node, in);
  const std::size_t rank = c.shape(in[0]).size();
  std::vector<bool> seen(rank);
  for (const std::int64_t axis : *order) seen[axis_of(c, axis, rank)] = true;
  if (order->size() != rank || std::ranges::find(seen, false) != seen.end()) {
    c.out.fail("the permutation does not name every axis once");
  }
  if (std::ranges::is_sorted(*order)) return {in[0]};
  return {c.permute(in[0], *order)};
}

Values expand_dims(Context& c, const Node& node, const Values& in) {
  const auto axis = in.size() == 2 ? c.integer(in[1]) : std::nullopt;
  if (!axis || c.any_unranked(in)) return c.opaque(node, in);
  Shape shape = c.shape(in[0]);
  const std::size_t at = axis_of(c, *axis, shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(at), sizes::fixed(1));
  return {c.emit("aten.unsqueeze.default", {{"self", in[0]}}, {c.at(in[0]).dtype, shape},
                 {{"dim", static_cast<std::int64_t>(at)}})};
}

Values squeeze(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  const Shape& before = c.shape(in[0]);
  const std::vector<std::int64_t> chosen = node.integers("squeeze_dims");
  std::vector<bool> removed(before.size());
  for (const std::int64_t axis : chosen) removed[axis_of(c, axis, before.size())] = true;
  Shape shape;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const bool one = !before[i].symbolic() && before[i].size == 1;
    if (chosen.empty() ? !one : !removed[i]) shape.push_back(before[i]);
  }
  return {c.emit("aten.squeeze.dims", {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
}

Values concatenate(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in)) return c.opaque(node, in);
  const bool first = node.op == "Concat";
  const auto axis = c.integer(first ? in.front() : in.back());
  if (!axis) return c.opaque(node, in);
  const Values parts(in.begin() + (first ? 1 : 0), in.end() - (first ? 0 : 1));
  if (parts.size() == 1) return {parts[0]};
  Shape shape = c.shape(parts[0]);
  const std::size_t at = axis_of(c, *axis, shape.size());
  Context::Arguments operands = {{"tensors", parts[0]}};
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (c.shape(parts[i]).size() != shape.size()) c.out.fail("operands differ in rank");
    shape[at] = sizes::add(shape[at], c.shape(parts[i])[at]);
    operands.emplace_back("tensors", parts[i]);
  }
  return {c.emit("aten.cat.default", operands, {c.at(parts[0]).dtype, shape},
                 {{"dim", static_cast<std::int64_t>(at)}})};
}

constexpr std::int64_t kMostParts = 4096;

Values split(Context& c, const Node& node, const Values& in) {
  const bool listed_sizes = node.op == "SplitV";
  if (in.size() != (listed_sizes ? 3U : 2U)) return c.opaque(node, in);
  const ValueId from = in[listed_sizes ? 0 : 1];
  const auto axis = c.integer(in[listed_sizes ? 2 : 0]);
  const std::int64_t parts = node.integer("num_split", 1);
  if (!axis || !c.ranked(from) || parts < 1 || parts > kMostParts) return c.opaque(node, in);
  const Shape whole = c.shape(from);
  const std::size_t at = axis_of(c, *axis, whole.size());
  std::vector<ResultType> types;
  for (std::int64_t i = 0; i < parts; ++i) {
    Shape shape = whole;
    shape[at] = sizes::floor_divide(whole[at], sizes::fixed(parts));
    types.push_back({c.at(from).dtype, std::move(shape)});
  }
  if (listed_sizes) {
    const auto given = c.elements(in[1]);
    if (!given || given->size() != types.size()) return c.opaque(node, in);
    Dim rest = whole[at];
    for (const Dim& d : *given) {
      if (d.size >= 0) rest = sizes::subtract(rest, d);
    }
    for (std::size_t i = 0; i < types.size(); ++i) {
      types[i].shape[at] = (*given)[i].size < 0 ? rest : (*given)[i];
    }
  }
  return c.emit_all("aten.split_with_sizes.default", {{"self", from}}, types,
                    {{"dim", static_cast<std::int64_t>(at)}});
}

Values slice(Context& c, const Node& node, const Values& in) {
  if (in.size() != 3 || !c.ranked(in[0])) return c.opaque(node, in);
  const std::optional<Shape> count = listed(c, in[2]);
  const std::optional<Shape>& begin = c.elements(in[1]);
  Shape shape = c.shape(in[0]);
  if (!count || count->size() != shape.size()) return c.opaque(node, in);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if ((*count)[i].symbolic() || (*count)[i].size >= 0) {
      shape[i] = (*count)[i];
    } else if (begin && i < begin->size()) {
      shape[i] = sizes::subtract(shape[i], (*begin)[i]);
    }
  }
  return {c.emit("aten.slice.Tensor", {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
}

/// One axis of a StridedSlice: begin, end and step, each perhaps not known.
struct AxisSlice {
  std::optional<Dim> begin, end;
  std::int64_t step = 1;
};

Dim slice_size(const Dim& whole, const AxisSlice& axis) {
  const bool forward = axis.step > 0;
  // Where a walk may begin and end: 0 to `whole`, or backwards `whole` - 1 to -1.
  const std::int64_t least = forward ? 0 : -1;
  const auto bound = [&](const std::optional<Dim>& at, bool is_end) -> Dim {
    const Dim most = sizes::add(whole, sizes::fixed(least));
    if (!at) return is_end == forward ? most : sizes::fixed(least);
    Dim counted = !at->symbolic() && at->size < 0 ? sizes::add(whole, *at) : *at;
    if (counted.symbolic() || most.symbolic()) return counted;
    return sizes::fixed(std::clamp(counted.size, least, std::max(least, most.size)));
  };
  if (!forward && !axis.begin && !axis.end) {
    return sizes::ceil_divide(whole, sizes::fixed(-axis.step));
  }
  const Dim begin = bound(axis.begin, false);
  const Dim end = bound(axis.end, true);
  Dim size = forward ? sizes::subtract(end, begin) : sizes::subtract(begin, end);
  size = sizes::ceil_divide(size, sizes::fixed(forward ? axis.step : -axis.step));
  if (size.size < 0) return sizes::fixed(0);
  return size;
}

Values strided_slice(Context& c, const Node& node, const Values& in) {
  if (in.size() != 4 || !c.ranked(in[0])) return c.opaque(node, in);
  const Shape whole = c.shape(in[0]);
  const auto steps = c.integers(in[3]);
  const std::optional<Shape>& begins = c.elements(in[1]);
  const std::optional<Shape>& ends = c.elements(in[2]);
  const std::size_t entries = c.shape(in[3]).empty() || !steps ? 0 : steps->size();
  if (!steps || entries > 32) return c.opaque(node, in);
  const auto mask = [&](const char* name, std::size_t i) {
    return (node.integer(name, 0) >> i & 1) != 0;
  };
  std::size_t added = 0;
  std::size_t dots = entries;
  for (std::size_t i = 0; i < entries; ++i) {
    if (mask("ellipsis_mask", i)) dots = i;
    if (mask("new_axis_mask", i)) ++added;
  }
  const std::size_t named = entries - added - (dots < entries ? 1 : 0);
  if (named > whole.size()) c.out.fail("more slices than axes");
  Shape sliced;  // every axis of the operand
  Shape result;  // without the chosen, with the new ones
  bool chosen = false;
  std::size_t axis = 0;
  const auto keep = [&](std::size_t count) {
    for (std::size_t k = 0; k < count; ++k, ++axis) {
      sliced.push_back(whole[axis]);
      result.push_back(whole[axis]);
    }
  };
  for (std::size_t i = 0; i < entries; ++i) {
    if (i == dots) {
      keep(whole.size() - named);
    } else if (mask("new_axis_mask", i)) {
      result.push_back(sizes::fixed(1));
    } else if (mask("shrink_axis_mask", i)) {
      sliced.push_back(sizes::fixed(1));
      chosen = true;
      ++axis;
    } else {
      AxisSlice part;
      part.step = (*steps)[i] == 0 || (*steps)[i] == INT64_MIN ? 1 : (*steps)[i];
      const bool known = (begins && i < begins->size() && ends && i < ends->size());
      if (known && !mask("begin_mask", i)) part.begin = (*begins)[i];
      if (known && !mask("end_mask", i)) part.end = (*ends)[i];
      const bool whole_axis = mask("begin_mask", i) && mask("end_mask", i);
      sliced.push_back(known || whole_axis ? slice_size(whole[axis], part)
                                           : c.new_size(whole[axis]));
      result.push_back(sliced.back());
      ++axis;
    }
  }
  keep(whole.size() - axis);
  ValueId value = in[0];
  if (sliced != whole) {
    value = c.emit("aten.slice.Tensor", {{"self", value}}, {c.at(value).dtype, sliced});
  }
  if (!chosen && added == 0) return {value};
  return {c.reshape(value, result)};
}

Values pack(Context& c, const Node& node, const Values& in) {
  if (in.empty() || c.any_unranked(in)) return c.opaque(node, in);
  Shape shape = c.shape(in[0]);
  const std::size_t at = axis_of(c, node.integer("axis", 0), shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(at),
               sizes::fixed(static_cast<std::int64_t>(in.size())));
  Context::Arguments operands;
  for (const ValueId id : in) operands.emplace_back("tensors", id);
  return {c.emit("aten.stack.default", operands, {c.at(in[0]).dtype, shape},
                 {{"dim", static_cast<std::int64_t>(at)}})};
}

Values unpack(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  Shape shape = c.shape(in[0]);
  const std::size_t at = axis_of(c, node.integer("axis", 0), shape.size());
  const std::int64_t parts = node.integer("num", shape[at].size);
  if (parts < 1 || parts > kMostParts) return c.opaque(node, in);
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(at));
  return c.emit_all(
      "aten.unbind.int", {{"self", in[0]}},
      std::vector<ResultType>(static_cast<std::size_t>(parts), {c.at(in[0]).dtype, shape}),
      {{"dim", static_cast<std::int64_t>(at)}});
}

Values tile(Context& c, const Node& node, const Values& in) {
  const auto counts = in.size() == 2 ? c.elements(in[1]) : std::nullopt;
  if (!counts || c.any_unranked(in) || counts->size() != c.shape(in[0]).size()) {
    return c.opaque(node, in);
  }
  Shape shape = c.shape(in[0]);
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = sizes::multiply(shape[i], (*counts)[i]);
  return {c.emit("aten.repeat.default", {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
}

Values pad(Context& c, const Node& node, const Values& in) {
  const auto margins = in.size() >= 2 ? c.elements(in[1]) : std::nullopt;
  if (!margins || c.any_unranked(in) || margins->size() != 2 * c.shape(in[0]).size()) {
    return c.opaque(node, in);
  }
  Shape shape = c.shape(in[0]);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    shape[i] = sizes::add(shape[i], sizes::add((*margins)[2 * i], (*margins)[2 * i + 1]));
  }
  return {c.emit("aten.pad.default", {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
}

Values broadcast_to(Context& c, const Node& node, const Values& in) {
  const auto target = in.size() == 2 ? listed(c, in[1]) : std::nullopt;
  if (!target || !c.ranked(in[0])) return c.opaque(node, in);
  return {c.emit("aten.expand.default", {{"self", in[0]}}, {c.at(in[0]).dtype, *target})};
}

Values fill(Context& c, const Node& node, const Values& in) {
  const auto target = in.size() == 2 ? listed(c, in[0]) : std::nullopt;
  if (!target) return c.opaque(node, in);
  return {c.emit("aten.full.default", {}, {c.at(in[1]).dtype, *target})};
}

Values range(Context& c, const Node& node, const Values& in) {
  if (in.size() != 3) return c.opaque(node, in);
  const auto& start = c.elements(in[0]);
  const auto& limit = c.elements(in[1]);
  const auto step = c.integer(in[2]);
  const bool known = start && limit && step && start->size() == 1 && limit->size() == 1 &&
                     *step != 0 && *step != INT64_MIN;
  Dim size = c.new_size(sizes::fixed(1));
  if (known) {
    const Dim &from = start->front(), &to = limit->front();
    const Dim span = *step > 0 ? sizes::subtract(to, from) : sizes::subtract(from, to);
    size = sizes::ceil_divide(span, sizes::fixed(std::abs(*step)));
    if (size.size < 0) size = sizes::fixed(0);
  }
  return {c.emit("aten.arange.start_step", {}, {c.at(in[0]).dtype, {size}})};
}

/// tf.linspace and random numbers: the sizes are an operand.
Values made(Context& c, const Node& node, const Values& in) {
  const bool line = node.op == "LinSpace";
  if (in.size() < (line ? 3U : 1U)) return c.opaque(node, in);
  std::optional<Shape> shape;
  if (line) {
    if (const auto& count = c.elements(in[2]); count && count->size() == 1) shape = *count;
  } else {
    // The stateful random operators of resources take the sizes third.
    const bool third = node.op.starts_with("Stateful") && in.size() > 2;
    shape = listed(c, in[third ? 2 : 0]);
  }
  if (!shape) return c.opaque(node, in);
  const bool normal = node.op.find("ormal") != std::string_view::npos;
  const bool whole = node.op.find("Int") != std::string_view::npos;
  const DType dtype =
      line ? c.at(in[0]).dtype
           : dtype_of(node.type("dtype")).value_or(whole ? c.at(in.back()).dtype : DType::fp32);
  const char* target = line     ? "aten.linspace.default"
                       : normal ? "aten.randn.default"
                       : whole  ? "aten.randint.low"
                                : "aten.rand.default";
  return {c.emit(target, {}, {dtype, *shape})};
}

Values one_hot(Context& c, const Node& node, const Values& in) {
  if (in.size() != 4 || !c.ranked(in[0])) return c.opaque(node, in);
  const auto depth = c.elements(in[1]);
  Shape shape = c.shape(in[0]);
  const std::int64_t axis = node.integer("axis", -1);
  const std::size_t at = axis == -1 ? shape.size() : axis_of(c, axis, shape.size() + 1);
  const Dim size = depth && depth->size() == 1 ? depth->front() : c.new_size(sizes::fixed(1));
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(at), size);
  return {c.emit("aten.one_hot.default", {{"self", in[0]}}, {c.at(in[2]).dtype, shape})};
}

/// table[indices] along one axis; of a table's rows it is an embedding.
Values gather(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in)) return c.opaque(node, in);
  const auto axis = in.size() > 2 ? c.integer(in[2]) : std::optional<std::int64_t>(0);
  const Shape table = c.shape(in[0]);
  const Shape indices = c.shape(in[1]);
  const std::int64_t batch = node.integer("batch_dims", 0);
  if (!axis || table.empty()) return c.opaque(node, in);
  const std::size_t at = axis_of(c, *axis, table.size());
  if (batch < 0 || static_cast<std::size_t>(batch) > std::min(indices.size(), at)) {
    return c.opaque(node, in);
  }
  Shape shape(table.begin(), table.begin() + static_cast<std::ptrdiff_t>(at));
  shape.insert(shape.end(), indices.begin() + batch, indices.end());
  shape.insert(shape.end(), table.begin() + static_cast<std::ptrdiff_t>(at) + 1, table.end());
  const ResultType type{c.at(in[0]).dtype, shape};
  const bool weight = c.at(in[0]).kind == Value::Kind::variable ||
                      (!c.at(in[0]).tensor.valid() && is_floating(type.dtype));
  if (at == 0 && table.size() == 2 && (weight || node.op.starts_with("Resource"))) {
    return {c.emit("aten.embedding.default", {{"weight", in[0]}, {"indices", in[1]}}, type)};
  }
  if (indices.empty()) {
    return {c.emit("aten.select.int", {{"self", in[0]}}, type,
                   {{"dim", static_cast<std::int64_t>(at)}})};
  }
  if (at == 0 && batch == 0) {
    return {c.emit("aten.index.Tensor", {{"self", in[0]}, {"indices", in[1]}}, type)};
  }
  return {c.emit("aten.index_select.default", {{"self", in[0]}, {"index", in[1]}}, type,
                 {{"dim", static_cast<std::int64_t>(at)}})};
}

Values gather_nd(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in) || c.shape(in[1]).empty()) return c.opaque(node, in);
  const Shape& table = c.shape(in[0]);
  const Shape& indices = c.shape(in[1]);
  const Dim depth = indices.back();
  const auto batch =
      static_cast<std::size_t>(std::max<std::int64_t>(node.integer("batch_dims", 0), 0));
  const std::size_t used =
      static_cast<std::size_t>(std::clamp<std::int64_t>(depth.size, 0, 254)) + batch;
  if (depth.symbolic() || used > table.size()) return c.opaque(node, in);
  Shape shape(indices.begin(), indices.end() - 1);
  shape.insert(shape.end(), table.begin() + static_cast<std::ptrdiff_t>(used), table.end());
  return {c.emit("aten.index_select.default", {{"self", in[0]}, {"index", in[1]}},
                 {c.at(in[0]).dtype, shape})};
}

/// A write at indices into zeros, or into a tensor.
Values scatter(Context& c, const Node& node, const Values& in) {
  if (in.size() != 3) return c.opaque(node, in);
  if (node.op == "ScatterNd") {
    const auto target = listed(c, in[2]);
    if (!target || c.any_unranked(in)) return c.opaque(node, in);
    const ResultType type{c.at(in[1]).dtype, *target};
    const ValueId zeros = c.emit("aten.zeros.default", {}, type);
    return {c.emit("aten.index_put.default",
                   {{"self", zeros}, {"indices", in[0]}, {"values", in[1]}}, type)};
  }
  if (c.any_unranked(in)) return c.opaque(node, in);
  const bool sum = node.op.find("Add") != std::string_view::npos;
  return {c.emit(
      sum ? "aten.index_add.default" : "aten.index_put.default",
      {{"self", in[0]}, {sum ? "index" : "indices", in[1]}, {sum ? "source" : "values", in[2]}},
      c.type(in[0]))};
}

/// Sums of rows by segment.
Values segments(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.any_unranked(in) || c.shape(in[0]).empty()) return c.opaque(node, in);
  Shape shape(c.shape(in[0]).begin() + static_cast<std::ptrdiff_t>(
                                           std::min(c.shape(in[1]).size(), c.shape(in[0]).size())),
              c.shape(in[0]).end());
  const auto count = in.size() > 2 ? c.elements(in[2]) : std::nullopt;
  shape.insert(shape.begin(),
               count && count->size() == 1 ? count->front() : c.new_size(c.shape(in[0]).front()));
  const ResultType type{c.at(in[0]).dtype, shape};
  const ValueId zeros = c.emit("aten.zeros.default", {}, type);
  return {c.emit("aten.index_add.default", {{"self", zeros}, {"index", in[1]}, {"source", in[0]}},
                 type)};
}

Values where(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  const auto rank = static_cast<std::int64_t>(c.shape(in[0]).size());
  const Dim found = c.new_size(sizes::product(c.shape(in[0])));
  return {
      c.emit("aten.nonzero.default", {{"self", in[0]}}, {DType::i64, {found, sizes::fixed(rank)}})};
}

Values unique(Context& c, const Node& node, const Values& in) {
  if (in.empty() || c.any_unranked(in) || c.shape(in[0]).empty()) return c.opaque(node, in);
  const DType index = dtype_of(node.type("out_idx")).value_or(DType::i32);
  const Dim count = c.new_size(c.shape(in[0]).front());
  Shape shape = c.shape(in[0]);
  shape.front() = count;
  std::vector<ResultType> types = {{c.at(in[0]).dtype, shape}, {index, {c.shape(in[0]).front()}}};
  if (node.op == "UniqueWithCounts") types.push_back({index, {count}});
  return c.emit_all("aten._unique2.default", {{"self", in[0]}}, types);
}

Values top_k(Context& c, const Node& node, const Values& in) {
  if (in.empty() || c.any_unranked(in) || c.shape(in[0]).empty()) return c.opaque(node, in);
  const auto count = in.size() > 1 ? c.elements(in[1]) : std::nullopt;
  Shape shape = c.shape(in[0]);
  shape.back() = count && count->size() == 1 ? count->front()
                 : in.size() == 1            ? sizes::fixed(node.integer("k", 1))
                                             : c.new_size(shape.back());
  return c.emit_all("aten.topk.default", {{"self", in[0]}},
                    {{c.at(in[0]).dtype, shape}, {DType::i32, shape}}, {{"dim", std::int64_t{-1}}});
}

/// Same sizes, elements in other places.
Values moved(Context& c, const Node& node, const Values& in) {
  if (in.empty() || c.any_unranked(in)) return c.opaque(node, in);
  const std::string target = node.op == "MatrixBandPart" ? "aten.tril.default"
                             : node.op == "Roll"         ? "aten.roll.default"
                                                         : "aten.flip.default";
  return {c.emit(target, {{"self", in[0]}}, c.type(in[0]))};
}

Values matrix_diag(Context& c, const Node& node, const Values& in) {
  if (in.empty() || !c.ranked(in[0]) || c.shape(in[0]).empty()) return c.opaque(node, in);
  Shape shape = c.shape(in[0]);
  if (node.op.starts_with("MatrixDiagPart")) {
    if (shape.size() < 2) return c.opaque(node, in);
    const Dim shorter = sizes::minimum(shape.back(), shape[shape.size() - 2]);
    shape.pop_back();
    shape.back() = shorter;
    return {c.emit("aten.diagonal.default", {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
  }
  shape.push_back(shape.back());
  return {c.emit("aten.diag_embed.default", {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
}

/// [n, h, w, c] with blocks of pixels moved into channels, or back.
Values depth_space(Context& c, const Node& node, const Values& in) {
  const std::int64_t block = node.integer("block_size", 0);
  if (in.size() != 1 || !c.ranked(in[0]) || c.shape(in[0]).size() != 4 || block < 1 ||
      block > 1024) {
    return c.opaque(node, in);
  }
  const bool to_depth = node.op == "SpaceToDepth";
  const bool channels_first = node.text("data_format").starts_with("NC");
  Shape shape = c.shape(in[0]);
  const std::size_t channel = channels_first ? 1 : 3;
  for (std::size_t i = 1; i < 4; ++i) {
    const Dim factor = sizes::fixed(i == channel ? block * block : block);
    shape[i] = (i == channel) == to_depth ? sizes::multiply(shape[i], factor)
                                          : sizes::floor_divide(shape[i], factor);
  }
  return {c.emit(to_depth ? "aten.pixel_unshuffle.default" : "aten.pixel_shuffle.default",
                 {{"self", in[0]}}, {c.at(in[0]).dtype, shape})};
}

Values invert(Context& c, const Node& node, const Values& in) {
  if (in.size() != 1 || c.any_unranked(in)) return c.opaque(node, in);
  const auto order = c.integers(in[0]);
  if (!order || order->size() > 254) {
    return {c.emit("aten.argsort.default", {{"self", in[0]}}, c.type(in[0]))};
  }
  Shape result(order->size(), sizes::fixed(0));
  for (std::size_t i = 0; i < order->size(); ++i) {
    result[axis_of(c, (*order)[i], order->size())] = sizes::fixed(static_cast<std::int64_t>(i));
  }
  return {c.known(result, c.shape(in[0]), c.at(in[0]).dtype)};
}

constexpr auto kShapeHandlers = std::to_array<HandlerRow>({{"Reshape", reshape},
                                                           {"Transpose", transpose},
                                                           {"ExpandDims", expand_dims},
                                                           {"Squeeze", squeeze},
                                                           {"Concat", concatenate},
                                                           {"ConcatV2", concatenate},
                                                           {"Split", split},
                                                           {"SplitV", split},
                                                           {"Slice", slice},
                                                           {"StridedSlice", strided_slice},
                                                           {"Pack", pack},
                                                           {"Unpack", unpack},
                                                           {"Tile", tile},
                                                           {"Pad", pad},
                                                           {"PadV2", pad},
                                                           {"MirrorPad", pad},
                                                           {"BroadcastTo", broadcast_to},
                                                           {"Fill", fill},
                                                           {"Range", range},
                                                           {"LinSpace", made},
                                                           {"RandomUniform", made},
                                                           {"RandomUniformInt", made},
                                                           {"RandomStandardNormal", made},
                                                           {"TruncatedNormal", made},
                                                           {"StatelessRandomUniform", made},
                                                           {"StatelessRandomUniformV2", made},
                                                           {"StatelessRandomUniformInt", made},
                                                           {"StatelessRandomUniformIntV2", made},
                                                           {"StatelessRandomNormal", made},
                                                           {"StatelessRandomNormalV2", made},
                                                           {"StatelessTruncatedNormal", made},
                                                           {"StatelessTruncatedNormalV2", made},
                                                           {"StatefulUniform", made},
                                                           {"StatefulStandardNormalV2", made},
                                                           {"OneHot", one_hot},
                                                           {"Gather", gather},
                                                           {"GatherV2", gather},
                                                           {"ResourceGather", gather},
                                                           {"GatherNd", gather_nd},
                                                           {"ResourceGatherNd", gather_nd},
                                                           {"ScatterNd", scatter},
                                                           {"TensorScatterUpdate", scatter},
                                                           {"TensorScatterAdd", scatter},
                                                           {"SegmentSum", segments},
                                                           {"SegmentMean", segments},
                                                           {"UnsortedSegmentSum", segments},
                                                           {"UnsortedSegmentMax", segments},
                                                           {"Where", where},
                                                           {"Unique", unique},
                                                           {"UniqueWithCounts", unique},
                                                           {"TopK", top_k},
                                                           {"TopKV2", top_k},
                                                           {"MatrixBandPart", moved},
                                                           {"Roll", moved},
                                                           {"Reverse", moved},
                                                           {"ReverseV2", moved},
                                                           {"ReverseSequence", moved},
                                                           {"MatrixDiag", matrix_diag},
                                                           {"MatrixDiagV3", matrix_diag},
                                                           {"MatrixDiagPart", matrix_diag},
                                                           {"MatrixDiagPartV3", matrix_diag},
                                                           {"SpaceToDepth", depth_space},
                                                           {"DepthToSpace", depth_space},
                                                           {"InvertPermutation", invert}});

}  // namespace

std::span<const HandlerRow> shape_handlers() { return kShapeHandlers; }

}  // namespace parallel_opt::tf
