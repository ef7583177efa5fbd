#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "parallel_opt/importers/onnx_import.h"

/// Evaluates the operators that compute shapes, on numbers and on sizes. Everything else is left
/// to the model's run; weights are never looked at.
namespace parallel_opt::onnx {
namespace {

/// Row-major positions in `shape` for each element of `result`, as broadcasting maps them.
std::vector<std::size_t> broadcast_positions(const Shape& shape, const Shape& result,
                                             std::size_t count) {
  std::vector<std::size_t> positions(count);
  std::vector<std::size_t> steps(result.size(), 0);
  std::size_t step = 1;
  for (std::size_t k = 0; k < shape.size(); ++k) {
    const std::size_t axis = shape.size() - 1 - k;
    const std::size_t size = static_cast<std::size_t>(shape[axis].size);
    if (size != 1) steps[result.size() - 1 - k] = step;
    step *= size;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t rest = i, at = 0;
    for (std::size_t k = result.size(); k-- > 0;) {
      const std::size_t size = static_cast<std::size_t>(std::max<std::int64_t>(result[k].size, 1));
      at += rest % size * steps[k];
      rest /= size;
    }
    positions[i] = at;
  }
  return positions;
}

struct Element {
  bool real = false;
  Dim whole;
  double number = 0;
  double value() const { return real ? number : static_cast<double>(whole.size); }
};

Element element_of(const Data& data, std::size_t i) {
  if (data.real) return {true, {}, data.reals[i]};
  return {false, data.whole[i], 0};
}

Element whole(Dim dim) { return {false, std::move(dim), 0}; }
Element number(double value) { return {true, {}, value}; }

using Elements = std::array<Element, 3>;

/// A comparison; unknown where it depends on symbols.
Element compared(const Elements& e, bool (*of)(double, double), bool (*of_order)(int)) {
  if (e[0].real || e[1].real) return whole(fixed(of(e[0].value(), e[1].value()) ? 1 : 0));
  const auto order = compare(e[0].whole, e[1].whole);
  return whole(order ? fixed(of_order(*order) ? 1 : 0) : unknown_size(1));
}

template <class Whole, class Real>
Element arithmetic(const Elements& e, Whole on_sizes, Real on_reals) {
  if (e[0].real || e[1].real) return number(on_reals(e[0].value(), e[1].value()));
  return whole(on_sizes(e[0].whole, e[1].whole));
}

Element divided(const Elements& e) {
  if (e[0].real || e[1].real) return number(e[0].value() / e[1].value());
  if (is_fixed(e[0].whole) && is_fixed(e[1].whole) && e[1].whole.size != 0 &&
      e[0].whole.size != INT64_MIN) {
    return whole(fixed(e[0].whole.size / e[1].whole.size));  // rounds toward zero
  }
  return whole(floor_divide(e[0].whole, e[1].whole));
}

Element logical(const Elements& e, bool both) {
  const auto known = [](const Element& x) { return x.real || is_fixed(x.whole); };
  const auto truth = [](const Element& x) { return x.value() != 0; };
  for (std::size_t i = 0; i < 2; ++i) {
    if (known(e[i]) && truth(e[i]) != both) return whole(fixed(both ? 0 : 1));
  }
  if (!known(e[0]) || !known(e[1])) return whole(unknown_size(1));
  return whole(fixed(both ? 1 : 0));
}

Element powered(const Elements& e) {
  if (e[0].real || e[1].real) return number(std::pow(e[0].value(), e[1].value()));
  if (!is_fixed(e[1].whole) || e[1].whole.size < 0 || e[1].whole.size > 62) {
    return whole(unknown_size(1));
  }
  Dim result = fixed(1);
  for (std::int64_t i = 0; i < e[1].whole.size; ++i) result = multiply(result, e[0].whole);
  return whole(result);
}

template <double (*F)(double)>
Element real_function(const Elements& e) {
  return number(F(e[0].value()));
}

Element chosen(const Elements& e) {
  if (!e[0].real && !is_fixed(e[0].whole)) {
    return e[1].real ? number(NAN)
                     : whole(unknown_size(std::max(e[1].whole.size, e[2].whole.size)));
  }
  return e[0].value() != 0 ? e[1] : e[2];
}

struct Pointwise {
  std::string_view type;
  std::size_t operands;
  Element (*apply)(const Elements&);
};

constexpr auto kPointwise = std::to_array<Pointwise>({
    {"Add", 2, [](const Elements& e) { return arithmetic(e, add, std::plus<double>()); }},
    {"Sub", 2, [](const Elements& e) { return arithmetic(e, subtract, std::minus<double>()); }},
    {"Mul", 2,
     [](const Elements& e) { return arithmetic(e, multiply, std::multiplies<double>()); }},
    {"Div", 2, divided},
    {"Mod", 2,
     [](const Elements& e) {
       return arithmetic(e, modulo, [](double a, double b) { return std::fmod(a, b); });
     }},
    {"Max", 2,
     [](const Elements& e) {
       return arithmetic(e, maximum, [](double a, double b) { return std::max(a, b); });
     }},
    {"Min", 2,
     [](const Elements& e) {
       return arithmetic(e, minimum, [](double a, double b) { return std::min(a, b); });
     }},
    {"Pow", 2, powered},
    {"Neg", 1,
     [](const Elements& e) {
       return e[0].real ? number(-e[0].number) : whole(multiply(fixed(-1), e[0].whole));
     }},
    {"Abs", 1,
     [](const Elements& e) {
       if (e[0].real) return number(std::fabs(e[0].number));
       return whole(maximum(e[0].whole, multiply(fixed(-1), e[0].whole)));
     }},
    {"Sqrt", 1, real_function<std::sqrt>},
    {"Floor", 1, real_function<std::floor>},
    {"Ceil", 1, real_function<std::ceil>},
    {"Round", 1, real_function<std::nearbyint>},
    {"Relu", 1,
     [](const Elements& e) {
       return e[0].real ? number(std::max(e[0].number, 0.0)) : whole(maximum(e[0].whole, fixed(0)));
     }},
    {"Reciprocal", 1, [](const Elements& e) { return number(1 / e[0].value()); }},
    {"Equal", 2,
     [](const Elements& e) {
       return compared(e, [](double a, double b) { return a == b; }, [](int o) { return o == 0; });
     }},
    {"Less", 2,
     [](const Elements& e) {
       return compared(e, [](double a, double b) { return a < b; }, [](int o) { return o < 0; });
     }},
    {"LessOrEqual", 2,
     [](const Elements& e) {
       return compared(e, [](double a, double b) { return a <= b; }, [](int o) { return o <= 0; });
     }},
    {"Greater", 2,
     [](const Elements& e) {
       return compared(e, [](double a, double b) { return a > b; }, [](int o) { return o > 0; });
     }},
    {"GreaterOrEqual", 2,
     [](const Elements& e) {
       return compared(e, [](double a, double b) { return a >= b; }, [](int o) { return o >= 0; });
     }},
    {"And", 2, [](const Elements& e) { return logical(e, true); }},
    {"Or", 2, [](const Elements& e) { return logical(e, false); }},
    {"Not", 1,
     [](const Elements& e) {
       return whole(is_fixed(e[0].whole) ? fixed(e[0].whole.size != 0 ? 0 : 1) : unknown_size(1));
     }},
    {"Where", 3, chosen},
});

void append(Data& data, const Element& element) {
  if (data.real) {
    data.reals.push_back(element.value());
  } else {
    data.whole.push_back(element.real ? unknown_size(1) : element.whole);
  }
}

/// Known elements of operand `i`, unless it is a weight: those are the model's to compute with.
const Data* foldable(Call& call, std::size_t i) {
  const Value* operand = call.input(i);
  if (operand == nullptr || !operand->shape) return nullptr;
  if (operand->weight && is_float(operand->element) && !operand->shape->empty()) return nullptr;
  return call.data(i);
}

std::size_t elements_of(const Shape& shape) {
  for (const Dim& dim : shape) {
    if (!is_fixed(dim)) return SIZE_MAX;
  }
  const auto count = element_count(shape);
  return count ? static_cast<std::size_t>(*count) : SIZE_MAX;
}

std::optional<Data> pointwise(Call& call, const Pointwise& row) {
  if (call.in.size() != row.operands || call.result_shape() == nullptr) {
    return std::nullopt;
  }
  const Shape& result = *call.result_shape();
  const std::size_t count = elements_of(result);
  if (count > kMostFolded) return std::nullopt;
  std::array<const Data*, 3> operands{};
  std::array<std::vector<std::size_t>, 3> positions;
  for (std::size_t i = 0; i < row.operands; ++i) {
    operands[i] = foldable(call, i);
    if (operands[i] == nullptr) return std::nullopt;
    positions[i] = broadcast_positions(*call.shape(i), result, count);
  }
  Data data;
  data.real = is_float(call.result().element);
  for (std::size_t k = 0; k < count; ++k) {
    Elements elements;
    for (std::size_t i = 0; i < row.operands; ++i) {
      if (positions[i][k] >= operands[i]->size()) return std::nullopt;
      elements[i] = element_of(*operands[i], positions[i][k]);
    }
    append(data, row.apply(elements));
  }
  return data;
}

std::optional<Data> cast(Call& call) {
  const Data* from = foldable(call, 0);
  const auto to = dtype_of(call.result().element);
  if (from == nullptr || !to || size_of(*to) > 8) return std::nullopt;
  Data data;
  data.real = is_floating(*to);
  for (std::size_t i = 0; i < from->size(); ++i) {
    const Element element = element_of(*from, i);
    if (!data.real && element.real) {
      const double value = *to == DType::boolean ? (element.number != 0 ? 1 : 0) : element.number;
      if (!(std::fabs(value) < 9e18)) return std::nullopt;
      data.whole.push_back(fixed(static_cast<std::int64_t>(value)));
    } else if (data.real && !element.real && !is_fixed(element.whole)) {
      return std::nullopt;  // a size as a real is a size no more
    } else if (*to == DType::boolean && is_fixed(element.whole)) {
      data.whole.push_back(fixed(element.whole.size != 0 ? 1 : 0));
    } else {
      append(data, element);
    }
  }
  return data;
}

std::optional<Data> shape_of_operand(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return std::nullopt;
  const std::int64_t rank = static_cast<std::int64_t>(shape->size());
  const auto clamped = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const std::int64_t first = clamped(call.whole("start", 0)),
                     last = clamped(call.whole("end", rank));
  Data data;
  for (std::int64_t i = first; i < last; ++i) {
    data.whole.push_back((*shape)[static_cast<std::size_t>(i)]);
  }
  return data;
}

std::optional<Data> same_elements(Call& call) {
  const Data* from = foldable(call, 0);
  if (from == nullptr) return std::nullopt;
  return *from;
}

std::optional<Data> gathered(Call& call) {
  const Data* from = foldable(call, 0);
  const auto indices = call.numbers("", 1);
  if (from == nullptr || !indices || call.shape(0)->size() != 1) return std::nullopt;
  Data data;
  data.real = from->real;
  for (std::int64_t at : *indices) {
    if (at < 0) at += static_cast<std::int64_t>(from->size());
    if (at < 0 || at >= static_cast<std::int64_t>(from->size())) {
      call.fault("index " + std::to_string(at) + " of " + std::to_string(from->size()) +
                 " elements");
      return std::nullopt;
    }
    append(data, element_of(*from, static_cast<std::size_t>(at)));
  }
  return data;
}

/// Along axis 0 of lists.
std::optional<Data> sliced(Call& call) {
  const Data* from = foldable(call, 0);
  const auto starts = call.numbers("starts", 1), ends = call.numbers("ends", 2);
  const auto steps = call.has(4) ? call.numbers("", 4) : std::vector<std::int64_t>{1};
  if (from == nullptr || call.shape(0)->size() != 1 || !starts || !ends || !steps ||
      starts->size() != 1 || ends->size() != 1 || steps->size() != 1 || steps->front() == 0) {
    return std::nullopt;
  }
  const std::int64_t size = static_cast<std::int64_t>(from->size()), step = steps->front();
  const auto bound = [&](std::int64_t at, std::int64_t least, std::int64_t most) {
    return std::clamp(at < 0 ? std::max(at, -size - 1) + size : at, least, most);
  };
  const std::int64_t first =
      step > 0 ? bound(starts->front(), 0, size) : bound(starts->front(), 0, size - 1);
  const std::int64_t last = step > 0
                                ? bound(ends->front(), 0, size)
                                : (ends->front() < -size ? -1 : bound(ends->front(), -1, size - 1));
  Data data;
  data.real = from->real;
  if (step > size || step < -size) {
    if (step > 0 ? first < last : first > last) {
      append(data, element_of(*from, static_cast<std::size_t>(first)));
    }
    return data;
  }
  for (std::int64_t at = first; step > 0 ? at < last : at > last; at += step) {
    append(data, element_of(*from, static_cast<std::size_t>(at)));
  }
  return data;
}

std::optional<Data> concatenated(Call& call) {
  Data data;
  for (std::size_t i = 0; i < call.in.size(); ++i) {
    const Data* part = foldable(call, i);
    if (part == nullptr || call.shape(i)->size() != 1) return std::nullopt;
    if (i == 0) data.real = part->real;
    if (part->real != data.real || data.size() + part->size() > kMostFolded) return std::nullopt;
    for (std::size_t k = 0; k < part->size(); ++k) append(data, element_of(*part, k));
  }
  return data;
}

std::optional<Data> ranged(Call& call) {
  const auto start = call.number(0), limit = call.number(1), step = call.number(2);
  const Shape* shape = call.result_shape();
  if (!start || !limit || !step || shape == nullptr || elements_of(*shape) > kMostFolded ||
      is_float(call.result().element)) {
    return std::nullopt;
  }
  Data data;
  for (std::int64_t i = 0; i < shape->front().size; ++i) {
    data.whole.push_back(add(fixed(*start), multiply(fixed(i), fixed(*step))));
  }
  return data;
}

/// ConstantOfShape: its value, 0 by default.
std::optional<Data> filled(Call& call) {
  const Shape* shape = call.result_shape();
  if (shape == nullptr || elements_of(*shape) > kMostFolded) return std::nullopt;
  Element element = is_float(call.result().element) ? number(0) : whole(fixed(0));
  if (const ProtoAttribute* given = call.attribute("value");
      given != nullptr && !given->tensors.empty()) {
    Value value;
    value.stored = &given->tensors.front();
    value.shape = Shape{fixed(1)};
    const Data* data = call.importer.data(value);
    if (data == nullptr || data->size() != 1) return std::nullopt;
    element = element_of(*data, 0);
  }
  Data data;
  data.real = element.real;
  for (std::size_t i = 0; i < elements_of(*shape); ++i) append(data, element);
  return data;
}

std::optional<Data> expanded(Call& call) {
  const Data* from = foldable(call, 0);
  const Shape* shape = call.result_shape();
  if (from == nullptr || shape == nullptr || elements_of(*shape) > kMostFolded) return std::nullopt;
  Data data;
  data.real = from->real;
  for (const std::size_t at : broadcast_positions(*call.shape(0), *shape, elements_of(*shape))) {
    if (at >= from->size()) return std::nullopt;
    append(data, element_of(*from, at));
  }
  return data;
}

template <Dim (*Combine)(const Dim&, const Dim&)>
std::optional<Data> reduced(Call& call) {
  const Data* from = foldable(call, 0);
  if (from == nullptr || from->real || from->whole.empty() || call.result_shape() == nullptr ||
      elements_of(*call.result_shape()) != 1) {
    return std::nullopt;
  }
  Dim total = from->whole.front();
  for (std::size_t i = 1; i < from->whole.size(); ++i) total = Combine(total, from->whole[i]);
  Data data;
  data.whole.push_back(total);
  return data;
}

std::optional<Data> size_of_operand(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return std::nullopt;
  Data data;
  data.whole.push_back(product(*shape, 0, shape->size()));
  return data;
}

std::optional<Data> transposed(Call& call) {
  return call.shape(0) != nullptr && call.shape(0)->size() <= 1 ? same_elements(call)
                                                                : std::nullopt;
}

/// A list cut in lists, as long as the results' shapes say.
void split_list(Call& call) {
  const Data* from = foldable(call, 0);
  if (from == nullptr || call.shape(0)->size() != 1) return;
  std::size_t at = 0;
  for (std::size_t i = 0; i < call.out.size(); ++i) {
    const Shape& part = call.shape_out(i);
    if (!call.wants(i) || part.size() != 1 || !is_fixed(part[0]) || part[0].size < 0 ||
        static_cast<std::size_t>(part[0].size) > from->size() - at) {
      return;
    }
    Data data;
    data.real = from->real;
    for (std::int64_t k = 0; k < part[0].size; ++k) append(data, element_of(*from, at++));
    call.importer.count_folded(data);
    call.result(i).data = std::move(data);
  }
}

struct FoldRule {
  std::string_view type;
  std::optional<Data> (*apply)(Call&);
};

constexpr auto kFoldRules = std::to_array<FoldRule>({{"Shape", shape_of_operand},
                                                     {"Size", size_of_operand},
                                                     {"Cast", cast},
                                                     {"CastLike", cast},
                                                     {"Gather", gathered},
                                                     {"Slice", sliced},
                                                     {"Concat", concatenated},
                                                     {"Range", ranged},
                                                     {"ConstantOfShape", filled},
                                                     {"Expand", expanded},
                                                     {"Squeeze", same_elements},
                                                     {"Unsqueeze", same_elements},
                                                     {"Reshape", same_elements},
                                                     {"Flatten", same_elements},
                                                     {"Transpose", transposed},
                                                     {"ReduceProd", reduced<multiply>},
                                                     {"ReduceSum", reduced<add>},
                                                     {"ReduceMax", reduced<maximum>},
                                                     {"ReduceMin", reduced<minimum>}});

}  // namespace

void fold(Call& call) {
  if (!is_main_domain(call.node.domain) || !call.importer.may_fold()) return;
  if (call.node.type == "Split") return split_list(call);
  if (call.out.size() != 1 || !call.wants(0)) return;
  if (call.result().data) return;
  std::optional<Data> data;
  for (const Pointwise& row : kPointwise) {
    if (row.type == call.node.type) data = pointwise(call, row);
  }
  for (const FoldRule& rule : kFoldRules) {
    if (rule.type == call.node.type) data = rule.apply(call);
  }
  if (!data || data->size() > kMostFolded) return;
  call.importer.count_folded(*data);
  if (!call.result().shape && call.node.type != "Reshape") {
    call.result().shape = Shape{fixed(static_cast<std::int64_t>(data->size()))};
  }
  call.result().data = std::move(data);
}

}  // namespace parallel_opt::onnx
