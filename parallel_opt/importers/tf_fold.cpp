#include <algorithm>
#include <unordered_map>

#include "parallel_opt/importers/tf_context.h"

// Arithmetic on sizes: Shape, StridedSlice, Pack, Prod and their like over known whole numbers are
// evaluated with symbols and leave no operator behind.
namespace parallel_opt::tf {
namespace {

constexpr std::size_t kMostElements = 256;  // sizes are few

using Binary = Dim (*)(const Dim&, const Dim&);

Dim truth(bool value) { return sizes::fixed(value ? 1 : 0); }

bool either(const Dim& d) { return d.size != 0; }

const std::unordered_map<std::string_view, Binary>& binary_functions() {
  static const std::unordered_map<std::string_view, Binary> kFunctions = {
      {"Add", sizes::add},
      {"AddV2", sizes::add},
      {"Sub", sizes::subtract},
      {"Mul", sizes::multiply},
      {"FloorDiv", sizes::floor_divide},
      {"TruncateDiv", sizes::floor_divide},
      {"Div", sizes::floor_divide},
      {"FloorMod", sizes::modulo},
      {"Mod", sizes::modulo},
      {"TruncateMod", sizes::modulo},
      {"Maximum", sizes::maximum},
      {"Minimum", sizes::minimum}};
  return kFunctions;
}

/// Comparisons are decided only where no symbol is involved, or both sides are the same size.
const std::unordered_map<std::string_view, Binary>& comparisons() {
  static const std::unordered_map<std::string_view, Binary> kFunctions = {
      {"Less", [](const Dim& a, const Dim& b) { return truth(a.size < b.size); }},
      {"LessEqual", [](const Dim& a, const Dim& b) { return truth(a.size <= b.size); }},
      {"Greater", [](const Dim& a, const Dim& b) { return truth(a.size > b.size); }},
      {"GreaterEqual", [](const Dim& a, const Dim& b) { return truth(a.size >= b.size); }},
      {"Equal", [](const Dim& a, const Dim& b) { return truth(a.size == b.size); }},
      {"NotEqual", [](const Dim& a, const Dim& b) { return truth(a.size != b.size); }},
      {"LogicalAnd", [](const Dim& a, const Dim& b) { return truth(either(a) && either(b)); }},
      {"LogicalOr", [](const Dim& a, const Dim& b) { return truth(either(a) || either(b)); }}};
  return kFunctions;
}

struct Fold {
  Context& c;
  const Node& node;
  const Values& in;

  const Shape* elements(std::size_t i) const {
    if (i >= in.size() || !c.elements(in[i])) return nullptr;
    return &c.elements(in[i]).value();
  }
  DType dtype(std::size_t i) const { return c.at(in[i]).dtype; }

  std::optional<Values> one(Shape elements, Shape shape, DType dtype) const {
    if (elements.size() > kMostElements) return std::nullopt;
    return Values{c.known(std::move(elements), std::move(shape), dtype)};
  }

  DType out_type(DType fallback) const {
    return dtype_of(node.type("out_type")).value_or(fallback);
  }

  std::optional<Values> shape_of() const {
    Values results;
    for (const ValueId id : in) {
      if (!c.ranked(id) || c.at(id).kind == Value::Kind::list) return std::nullopt;
      const Shape shape = c.shape(id);
      const auto axes = static_cast<std::int64_t>(shape.size());
      results.push_back(c.known(shape, {sizes::fixed(axes)}, out_type(DType::i32)));
    }
    return results;
  }

  std::optional<Values> binary(Binary function, bool compare) const {
    const Shape* a = elements(0);
    const Shape* b = elements(1);
    if (a == nullptr || b == nullptr) return std::nullopt;
    const bool fits = a->size() == b->size() || a->size() == 1 || b->size() == 1;
    if (!fits || a->empty() || b->empty()) return std::nullopt;
    Shape result;
    for (std::size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
      const Dim& x = (*a)[a->size() == 1 ? 0 : i];
      const Dim& y = (*b)[b->size() == 1 ? 0 : i];
      if (compare && (x.symbolic() || y.symbolic()) && !(x == y)) return std::nullopt;
      result.push_back(function(x, y));
    }
    const Shape shape = c.shape(in[a->size() >= b->size() ? 0 : 1]);
    return one(result, shape, compare ? DType::boolean : dtype(0));
  }

  /// Of all elements; the axes of so small a value are one.
  std::optional<Values> reduce() const {
    const Shape* x = elements(0);
    const auto axes = in.size() > 1 ? c.integers(in[1]) : std::nullopt;
    if (x == nullptr || !axes) return std::nullopt;
    if (c.shape(in[0]).size() > 1) return std::nullopt;
    if (axes->empty() && !c.shape(in[0]).empty()) return std::nullopt;  // reduces nothing
    Dim total = sizes::fixed(node.op == "Prod" || node.op == "All" ? 1 : 0);
    for (std::size_t i = 0; i < x->size(); ++i) {
      const Dim& element = (*x)[i];
      if (node.op == "Prod") total = sizes::multiply(total, element);
      if (node.op == "Sum") total = sizes::add(total, element);
      if (node.op == "Max") total = i == 0 ? element : sizes::maximum(total, element);
      if (node.op == "Min") total = i == 0 ? element : sizes::minimum(total, element);
      if (node.op == "All") total = truth(either(total) && either(element));
      if (node.op == "Any") total = truth(either(total) || either(element));
    }
    const bool keep = node.flag("keep_dims") && !c.shape(in[0]).empty();
    return one({total}, keep ? Shape{sizes::fixed(1)} : Shape{}, dtype(0));
  }

  std::optional<Values> pack() const {
    Shape result;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const Shape* x = elements(i);
      if (x == nullptr || x->size() != 1 || !c.shape(in[i]).empty()) return std::nullopt;
      result.push_back(x->front());
    }
    if (result.empty()) return std::nullopt;
    const auto count = static_cast<std::int64_t>(result.size());
    return one(std::move(result), {sizes::fixed(count)}, dtype(0));
  }

  std::optional<Values> concatenate(std::size_t first, std::size_t last) const {
    Shape result;
    for (std::size_t i = first; i < last; ++i) {
      const Shape* x = elements(i);
      if (x == nullptr || c.shape(in[i]).size() != 1) return std::nullopt;
      result.insert(result.end(), x->begin(), x->end());
    }
    const auto count = static_cast<std::int64_t>(result.size());
    return one(std::move(result), {sizes::fixed(count)}, dtype(first));
  }

  std::optional<Values> gather() const {
    const Shape* x = elements(0);
    const auto indices = in.size() > 1 ? c.integers(in[1]) : std::nullopt;
    if (x == nullptr || !indices || c.shape(in[0]).size() != 1) return std::nullopt;
    Shape result;
    for (const std::int64_t index : *indices) {
      if (index < 0 || index >= static_cast<std::int64_t>(x->size())) return std::nullopt;
      result.push_back((*x)[static_cast<std::size_t>(index)]);
    }
    return one(std::move(result), c.shape(in[1]), dtype(0));
  }

  std::optional<Values> strided_slice() const {
    const Shape* x = elements(0);
    if (x == nullptr || in.size() < 4 || c.shape(in[0]).size() != 1) return std::nullopt;
    const auto begin = c.integer(in[1]);
    const auto end = c.integer(in[2]);
    const auto step = c.integer(in[3]);
    if (!begin || !end || !step || *step != 1) return std::nullopt;
    if (node.integer("ellipsis_mask", 0) != 0 || node.integer("new_axis_mask", 0) != 0) {
      return std::nullopt;
    }
    const auto size = static_cast<std::int64_t>(x->size());
    const auto position = [&](std::int64_t at) {
      return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
    };
    const std::int64_t first = node.integer("begin_mask", 0) != 0 ? 0 : position(*begin);
    if (node.integer("shrink_axis_mask", 0) != 0) {
      if (first >= size) return std::nullopt;
      return one({(*x)[static_cast<std::size_t>(first)]}, {}, dtype(0));
    }
    const std::int64_t last = node.integer("end_mask", 0) != 0 ? size : position(*end);
    Shape result;
    for (std::int64_t i = first; i < last; ++i) result.push_back((*x)[static_cast<std::size_t>(i)]);
    const auto count = static_cast<std::int64_t>(result.size());
    return one(std::move(result), {sizes::fixed(count)}, dtype(0));
  }

  std::optional<Values> slice() const {
    const Shape* x = elements(0);
    if (x == nullptr || in.size() < 3 || c.shape(in[0]).size() != 1) return std::nullopt;
    const auto begin = c.integer(in[1]);
    const auto count = c.integer(in[2]);
    const auto size = static_cast<std::int64_t>(x->size());
    if (!begin || !count || *begin < 0 || *begin > size) return std::nullopt;
    const std::int64_t end = *count < 0 ? size : std::min(size, *begin + std::min(*count, size));
    Shape result(x->begin() + *begin, x->begin() + end);
    return one(std::move(result), {sizes::fixed(end - *begin)}, dtype(0));
  }

  std::optional<Values> range() const {
    if (in.size() <= 2) return std::nullopt;
    const auto start = c.integer(in[0]), limit = c.integer(in[1]), step = c.integer(in[2]);
    if (!start || !limit || !step || *step <= 0 || *limit < *start) return std::nullopt;
    if (static_cast<std::uint64_t>(*limit) - static_cast<std::uint64_t>(*start) > kMostElements) {
      return std::nullopt;
    }
    Shape result;
    for (std::int64_t i = *start; i < *limit; i += std::min<std::int64_t>(*step, 1 << 20)) {
      result.push_back(sizes::fixed(i));
    }
    const auto count = static_cast<std::int64_t>(result.size());
    return one(std::move(result), {sizes::fixed(count)}, dtype(0));
  }

  std::optional<Values> fill() const {
    const auto dims = c.integers(in[0]);
    const Shape* x = elements(1);
    if (!dims || x == nullptr || x->size() != 1) return std::nullopt;
    std::int64_t count = 1;
    Shape shape;
    for (const std::int64_t d : *dims) {
      if (d < 0 || d > static_cast<std::int64_t>(kMostElements)) return std::nullopt;
      count *= d;
      if (count > static_cast<std::int64_t>(kMostElements)) return std::nullopt;
      shape.push_back(sizes::fixed(d));
    }
    return one(Shape(static_cast<std::size_t>(count), x->front()), std::move(shape), dtype(1));
  }

  std::optional<Values> select() const {
    const auto condition = c.integer(in[0]);
    const bool usable =
        in.size() == 3 && condition && elements(1) != nullptr && elements(2) != nullptr;
    if (!usable) return std::nullopt;
    return Values{in[*condition != 0 ? 1 : 2]};
  }

  /// The same elements in another shape.
  std::optional<Values> reshaped() const {
    const Shape* x = elements(0);
    if (x == nullptr) return std::nullopt;
    const auto count = static_cast<std::int64_t>(x->size());
    if (node.op == "Squeeze")
      return one(*x, count == 1 ? Shape{} : Shape{sizes::fixed(count)}, dtype(0));
    if (node.op == "ExpandDims") {
      if (!c.shape(in[0]).empty()) return std::nullopt;
      return one(*x, {sizes::fixed(count)}, dtype(0));
    }
    const auto target = in.size() > 1 ? c.integers(in[1]) : std::nullopt;
    if (!target || target->size() > 1) return std::nullopt;
    return one(*x, target->empty() ? Shape{} : Shape{sizes::fixed(count)}, dtype(0));
  }

  std::optional<Values> broadcast_arguments() const {
    const Shape* a = elements(0);
    const Shape* b = elements(1);
    if (a == nullptr || b == nullptr) return std::nullopt;
    Shape result = sizes::broadcast(*a, *b);
    const auto count = static_cast<std::int64_t>(result.size());
    return one(std::move(result), {sizes::fixed(count)}, dtype(0));
  }

  std::optional<Values> unpack() const {
    const Shape* x = elements(0);
    if (x == nullptr || c.shape(in[0]).size() != 1) return std::nullopt;
    Values results;
    for (const Dim& element : Shape(*x)) results.push_back(c.known({element}, {}, dtype(0)));
    return results;
  }

  std::optional<Values> cast() const {
    const Shape* x = elements(0);
    const auto to = dtype_of(node.type("DstT"));
    if (x == nullptr || !to || is_floating(*to)) return std::nullopt;
    return one(*x, c.shape(in[0]), *to);
  }
};

}  // namespace

std::optional<Values> fold(Context& context, const Node& node, const Values& in) {
  const Fold f{context, node, in};
  const std::string_view op = node.op;
  if (in.empty()) return std::nullopt;
  if (op == "Shape" || op == "ShapeN") return f.shape_of();
  if (op == "Rank" && context.ranked(in[0])) {
    return f.one({sizes::fixed(static_cast<std::int64_t>(context.shape(in[0]).size()))}, {},
                 DType::i32);
  }
  if (op == "Size" && context.ranked(in[0])) {
    return f.one({sizes::product(context.shape(in[0]))}, {}, f.out_type(DType::i32));
  }
  if (in.size() > 1 && op == "Fill") return f.fill();
  if (op == "Range") return f.range();
  const bool whole = f.elements(op == "Concat" || op == "Select" ? in.size() - 1 : 0) != nullptr;
  if (!whole) return std::nullopt;
  if (in.size() == 2) {
    const auto arithmetic = binary_functions().find(op);
    if (arithmetic != binary_functions().end()) return f.binary(arithmetic->second, false);
    const auto comparison = comparisons().find(op);
    if (comparison != comparisons().end()) return f.binary(comparison->second, true);
  }
  if (op == "Prod" || op == "Sum" || op == "Max" || op == "Min" || op == "All" || op == "Any") {
    return f.reduce();
  }
  if (op == "Neg")
    return Fold{context, node, {context.known({sizes::fixed(0)}, {}, f.dtype(0)), in[0]}}.binary(
        sizes::subtract, false);
  if (op == "LogicalNot") {
    const auto value = context.integer(in[0]);
    return value ? f.one({truth(*value == 0)}, context.shape(in[0]), DType::boolean) : std::nullopt;
  }
  if (op == "Pack") return f.pack();
  if (op == "Unpack") return f.unpack();
  if (op == "ConcatV2") return f.concatenate(0, in.size() - 1);
  if (op == "Concat") return f.concatenate(1, in.size());
  if (op == "Gather" || op == "GatherV2") return f.gather();
  if (op == "StridedSlice") return f.strided_slice();
  if (op == "Slice") return f.slice();
  if (op == "Select" || op == "SelectV2") return f.select();
  if (op == "Squeeze" || op == "ExpandDims" || op == "Reshape") return f.reshaped();
  if (op == "BroadcastArgs" && in.size() == 2) return f.broadcast_arguments();
  if (op == "Cast") return f.cast();
  return std::nullopt;
}

}  // namespace parallel_opt::tf
