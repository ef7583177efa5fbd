#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"

/// Lists of tensors are followed while the model is read: they are no tensors of the graph.
namespace parallel_opt::onnx {
namespace {

constexpr std::size_t kMostItems = 4096;

std::optional<std::vector<int>> items_of(Call& call, std::size_t i) {
  const Value* list = call.input(i);
  return list == nullptr ? std::nullopt : list->items;
}

void set_items(Call& call, std::int64_t element, std::optional<std::vector<int>> items) {
  if (!call.wants(0)) return;
  Value& result = call.result();
  result.kind = Value::Kind::sequence;
  result.element = element;
  if (items && items->size() <= kMostItems) result.items = std::move(items);
}

void construct(Call& call) {
  std::vector<int> items;
  for (const int id : call.in) {
    if (id >= 0) items.push_back(id);
  }
  set_items(call, call.element(0), std::move(items));
}

void empty(Call& call) { set_items(call, call.whole("dtype", kFloat), std::vector<int>()); }

/// Where operand `i` points in a list of `size`, up to `most`; absent: at `most`; empty: unknown.
std::optional<std::size_t> position(Call& call, std::size_t i, std::size_t size, std::size_t most) {
  if (!call.has(i)) return most;
  const auto at = call.number(i);
  if (!at) return std::nullopt;
  const std::int64_t index = *at < 0 ? *at + static_cast<std::int64_t>(size) : *at;
  if (index < 0 || index > static_cast<std::int64_t>(most)) {
    call.fault("position " + std::to_string(*at) + " in a list of " + std::to_string(size));
    return std::nullopt;
  }
  return static_cast<std::size_t>(index);
}

void insert(Call& call) {
  auto items = items_of(call, 0);
  if (items) {
    const auto at = position(call, 2, items->size(), items->size());
    if (at && call.has(1))
      items->insert(items->begin() + static_cast<std::ptrdiff_t>(*at), call.in[1]);
    if (!at) items.reset();
  }
  set_items(call, call.element(1), std::move(items));
}

void erase(Call& call) {
  auto items = items_of(call, 0);
  if (items && !items->empty()) {
    const auto at = position(call, 1, items->size(), items->size() - 1);
    if (at) items->erase(items->begin() + static_cast<std::ptrdiff_t>(*at));
    if (!at) items.reset();
  }
  set_items(call, call.element(0), std::move(items));
}

/// One of the tensors; of an unknown list one like any other.
void at(Call& call) {
  const auto items = items_of(call, 0);
  if (items && !items->empty() && call.has(1)) {
    const auto index = position(call, 1, items->size(), items->size() - 1);
    if (index && call.wants(0)) call.out[0] = (*items)[*index];
    return;
  }
  call.set(0, call.element(0), std::nullopt);
}

void length(Call& call) {
  call.set(0, kInt64, Shape());
  const auto items = items_of(call, 0);
  if (!items || !call.wants(0)) return;
  call.result().data =
      Data{.real = false, .whole = {fixed(static_cast<std::int64_t>(items->size()))}, .reals = {}};
}

void split_to_sequence(Call& call) {
  const auto axis = call.axis("axis", 0);
  if (!call.wants(0)) return;
  if (!axis) return set_items(call, call.element(0), std::nullopt);
  const Dim whole = (*call.shape(0))[*axis];
  Shape parts;
  const bool keep = call.has(1) || call.whole("keepdims", 1) != 0;
  const Shape* list = call.shape(1);
  if (call.has(1) && (list == nullptr || list->empty())) {
    const auto size = call.number(1);
    if (!size || *size < 1 || !is_fixed(whole))
      return set_items(call, call.element(0), std::nullopt);
    for (std::int64_t from = 0; from < whole.size && parts.size() <= kMostItems;
         from += std::min(*size, whole.size)) {
      parts.push_back(fixed(std::min(*size, whole.size - from)));
    }
  } else if (call.has(1)) {
    const Data* sizes = call.data(1);
    if (sizes == nullptr || sizes->real) return set_items(call, call.element(0), std::nullopt);
    parts = sizes->whole;
  } else if (is_fixed(whole) && whole.size <= static_cast<std::int64_t>(kMostItems)) {
    parts.assign(static_cast<std::size_t>(whole.size), fixed(1));
  }
  if (parts.empty() || parts.size() > kMostItems)
    return set_items(call, call.element(0), std::nullopt);
  std::vector<int> items;
  std::vector<TensorId> results;
  for (const Dim& part : parts) {
    const int id = call.importer.add_value(call.result().name + "." + std::to_string(items.size()));
    Value& item = call.importer.value(id);
    item.element = call.element(0);
    item.shape = *call.shape(0);
    (*item.shape)[*axis] = part;
    if (!keep) item.shape->erase(item.shape->begin() + static_cast<std::ptrdiff_t>(*axis));
    call.importer.name_unknown(item);
    items.push_back(id);
    results.push_back(call.importer.result_tensor(id));
  }
  call.importer.add_op(call, keep ? "aten.split_with_sizes.default" : "aten.unbind.int",
                       {{"self", call.tensor(0)}}, std::move(results),
                       {{"dim", static_cast<std::int64_t>(*axis)}});
  set_items(call, call.element(0), std::move(items));
}

void join_shape(Call& call) {
  const auto items = items_of(call, 0);
  if (!items || items->empty()) return call.set(0, call.element(0), std::nullopt);
  const bool stack = call.whole("new_axis", 0) != 0;
  const Value& first = call.importer.value(items->front());
  if (!first.shape) return call.set(0, call.element(0), std::nullopt);
  Shape shape = *first.shape;
  const std::int64_t rank = static_cast<std::int64_t>(shape.size()) + (stack ? 1 : 0);
  std::int64_t axis = call.whole("axis", 0);
  if (axis < -rank || axis >= rank)
    return call.fault("axis " + std::to_string(axis) + " of " + std::to_string(rank));
  if (axis < 0) axis += rank;
  const std::int64_t count = static_cast<std::int64_t>(items->size());
  if (stack) shape.insert(shape.begin() + axis, fixed(count));
  for (std::size_t i = 1; i < items->size() && !stack; ++i) {
    const Value& part = call.importer.value((*items)[i]);
    if (!part.shape || part.shape->size() != shape.size())
      return call.set(0, call.element(0), std::nullopt);
    Dim& dim = shape[static_cast<std::size_t>(axis)];
    dim = add(dim, (*part.shape)[static_cast<std::size_t>(axis)]);
  }
  call.set(0, first.element, std::move(shape));
}

void concat_from_sequence(Call& call) {
  const bool stack = call.whole("new_axis", 0) != 0;
  call.emit(stack ? "aten.stack.default" : "aten.cat.default", call.operands("tensors"),
            {{"dim", call.whole("axis", 0)}});
}

/// An optional holds one value, or none.
void optional(Call& call) {
  if (!call.wants(0)) return;
  Value& result = call.result();
  result.kind = Value::Kind::optional;
  if (const ProtoAttribute* type = call.attribute("type");
      type != nullptr && !type->types.empty()) {
    result.element = type->types.front().element;
  }
  if (call.has(0)) result.element = call.element(0);
  result.items = call.has(0) ? std::vector<int>{call.in[0]} : std::vector<int>();
}

void optional_get(Call& call) {
  const Value* from = call.input(0);
  if (from == nullptr || !call.wants(0)) return;
  if (from->kind != Value::Kind::optional) {
    call.out[0] = call.in[0];
  } else if (from->items && !from->items->empty()) {
    call.out[0] = from->items->front();
  } else {
    call.set(0, from->element, from->shape);
  }
}

void optional_has(Call& call) {
  call.set(0, kBool, Shape());
  const Value* from = call.input(0);
  if (!call.wants(0)) return;
  bool full = from != nullptr;
  if (from != nullptr && from->kind == Value::Kind::optional) {
    const std::optional<std::vector<int>>& items = from->items;
    if (!items) return;
    full = !items->empty();
  }
  call.result().data = Data{.real = false, .whole = {fixed(full ? 1 : 0)}, .reals = {}};
}

constexpr auto kSequenceRules = std::to_array<OpRule>({
    {"SequenceConstruct", construct},
    {"SequenceEmpty", empty},
    {"SequenceInsert", insert},
    {"SequenceErase", erase},
    {"SequenceAt", at},
    {"SequenceLength", length},
    {"SplitToSequence", split_to_sequence},
    {"ConcatFromSequence", join_shape, {}, {}, concat_from_sequence},
    {"Optional", optional},
    {"OptionalGetElement", optional_get},
    {"OptionalHasElement", optional_has},
});

}  // namespace

std::span<const OpRule> sequence_rules() { return kSequenceRules; }

}  // namespace parallel_opt::onnx
