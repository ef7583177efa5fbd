#include <algorithm>

#include "parallel_opt/importers/onnx_import.h"

namespace parallel_opt::onnx {

const Value* Call::input(std::size_t i) const { return has(i) ? &importer.value(in[i]) : nullptr; }

std::int64_t Call::element(std::size_t i) const { return has(i) ? input(i)->element : 0; }

const Shape* Call::shape(std::size_t i) const {
  if (!has(i)) return nullptr;
  const std::optional<Shape>& axes = importer.value(in[i]).shape;
  return axes ? &*axes : nullptr;
}

const Data* Call::data(std::size_t i) {
  return has(i) ? importer.data(importer.value(in[i])) : nullptr;
}

std::optional<std::vector<std::int64_t>> Call::numbers(std::string_view name, std::size_t i) {
  if (!name.empty() && attribute(name) != nullptr) return wholes(name);
  const Data* known = data(i);
  if (known == nullptr) return std::nullopt;
  std::vector<std::int64_t> result;
  if (known->real) {
    for (const double value : known->reals) {
      if (!(value > -9e18 && value < 9e18)) return std::nullopt;
      result.push_back(static_cast<std::int64_t>(value));
    }
    return result;
  }
  for (const Dim& value : known->whole) {
    if (!is_fixed(value)) return std::nullopt;
    result.push_back(value.size);
  }
  return result;
}

std::optional<std::int64_t> Call::number(std::size_t i) {
  const auto list = numbers("", i);
  if (!list || list->size() != 1) return std::nullopt;
  return list->front();
}

const ProtoAttribute* Call::attribute(std::string_view name) const {
  for (const ProtoAttribute& attribute : node.attributes) {
    if (attribute.name != name) continue;
    if (attribute.reference.empty()) return &attribute;
    // A function's attribute: what the caller gave, or the function's default, or nothing.
    for (const Scope* at = &scope; at != nullptr; at = at->outer) {
      const auto found = at->attributes.find(attribute.reference);
      if (found != at->attributes.end()) return found->second;
    }
    return nullptr;
  }
  return nullptr;
}

std::int64_t Call::whole(std::string_view name, std::int64_t fallback) const {
  const ProtoAttribute* found = attribute(name);
  return found == nullptr ? fallback : found->i;
}

double Call::real(std::string_view name, double fallback) const {
  const ProtoAttribute* found = attribute(name);
  return found == nullptr ? fallback : static_cast<double>(found->f);
}

std::string_view Call::text(std::string_view name, std::string_view fallback) const {
  const ProtoAttribute* found = attribute(name);
  return found == nullptr ? fallback : found->s;
}

std::vector<std::int64_t> Call::wholes(std::string_view name) const {
  const ProtoAttribute* found = attribute(name);
  return found == nullptr ? std::vector<std::int64_t>() : found->ints;
}

std::optional<std::size_t> Call::axis(std::string_view name, std::int64_t fallback, std::size_t i) {
  const Shape* axes = shape(i);
  if (axes == nullptr) return std::nullopt;
  const std::int64_t rank = static_cast<std::int64_t>(axes->size());
  std::int64_t value = whole(name, fallback);
  if (value < -rank || value >= std::max<std::int64_t>(rank, 1)) {
    fault("axis " + std::to_string(value) + " of a tensor with " + std::to_string(rank) + " axes");
    return std::nullopt;
  }
  if (rank == 0) return std::nullopt;  // axis 0 of a scalar: legal, and no size to look at
  if (value < 0) value += rank;
  return static_cast<std::size_t>(value);
}

Value& Call::result(std::size_t i) { return importer.value(out[i]); }

void Call::set(std::size_t i, std::int64_t element, std::optional<Shape> shape) {
  if (!wants(i)) return;
  constexpr std::size_t kMostAxes = 64;
  if (shape && shape->size() > kMostAxes) {
    fault("a result with " + std::to_string(shape->size()) + " axes");
    shape.reset();
  }
  result(i).element = element;
  result(i).shape = std::move(shape);
}

const Shape& Call::shape_out(std::size_t i) const {
  static const Shape kScalar;
  if (!wants(i)) return kScalar;
  const Value& value = importer.value(out[i]);
  return value.shape ? *value.shape : kScalar;
}

const Shape* Call::result_shape(std::size_t i) const {
  if (!wants(i)) return nullptr;
  const std::optional<Shape>& axes = importer.value(out[i]).shape;
  return axes ? &*axes : nullptr;
}

void Call::fault(std::string what, std::string hint) const {
  importer.findings().fault(place, std::string(node.type) + ": " + std::move(what),
                            std::move(hint));
}

TensorId Call::tensor(std::size_t i) const { return has(i) ? importer.tensor(in[i]) : TensorId(); }

Operands Call::operands(std::string_view names) const {
  Operands result;
  std::string_view name;
  bool repeats = false;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!repeats) {
      const std::size_t end = std::min(names.find(' '), names.size());
      name = names.substr(0, end);
      names.remove_prefix(std::min(end + 1, names.size()));
      repeats = name.ends_with('*');
      if (repeats) name.remove_suffix(1);
    }
    if (name.empty() || name == "-") continue;
    const Value* operand = input(i);
    if (operand == nullptr) continue;
    if (operand->items && !operand->tensor.valid()) {  // a sequence is its tensors
      for (const int item : *operand->items) {
        result.push_back({std::string(name), importer.tensor(item)});
      }
    } else {
      result.push_back({std::string(name), importer.tensor(in[i])});
    }
  }
  return result;
}

void Call::emit(std::string target, Operands given, Attributes attributes) {
  std::vector<TensorId> results;
  for (const int id : out) results.push_back(id < 0 ? TensorId() : importer.result_tensor(id));
  while (!results.empty() && !results.back().valid()) results.pop_back();
  importer.add_op(*this, std::move(target), std::move(given), std::move(results),
                  std::move(attributes));
}

void Call::emit_one(std::size_t i, std::string target, Operands given, Attributes attributes) {
  if (!wants(i)) return;
  importer.add_op(*this, std::move(target), std::move(given), {importer.result_tensor(out[i])},
                  std::move(attributes));
}

TensorId Call::step(std::string target, Operands given, Attributes attributes, std::int64_t element,
                    Shape shape) {
  Value& between = importer.value(importer.add_value(""));
  between.element = element;
  between.shape = std::move(shape);
  importer.name_unknown(between);
  const std::string base(node.name.empty() ? (node.outputs.empty() ? node.type : node.outputs[0])
                                           : node.name);
  const TensorId id = importer.add_tensor(scope.prefix + base + ".part", TensorRole::activation,
                                          element, *between.shape);
  importer.add_op(*this, std::move(target), std::move(given), {id}, std::move(attributes));
  return id;
}

}  // namespace parallel_opt::onnx
