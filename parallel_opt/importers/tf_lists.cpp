#include <algorithm>
#include <array>

#include "parallel_opt/importers/tf_context.h"

// Lists of tensors (TensorList, TensorArray), which loops read from and write to, and variables.
namespace parallel_opt::tf {
namespace {

ValueId list_of(Context& c, DType dtype, Shape element, Dim length, TensorId all, RegionId region) {
  Value list;
  list.kind = Value::Kind::list;
  list.dtype = dtype;
  list.shape = std::move(element);
  list.length = std::move(length);
  list.tensor = all;
  list.region = region;
  return c.add(std::move(list));
}

bool is_list(const Context& c, const Values& in, std::size_t i) {
  return i < in.size() && c.at(in[i]).kind == Value::Kind::list;
}

/// The list's element shape as an operand states it; unknown sizes as ones.
Shape element_shape(const Context& c, ValueId id) {
  Shape shape;
  if (const auto& given = c.elements(id)) {
    for (const Dim& d : *given) shape.push_back(d.size < 0 ? sizes::fixed(1) : d);
  }
  return shape;
}

ValueId from_tensor(Context& c, ValueId tensor) {
  Shape element = c.shape(tensor);
  const Dim length = element.empty() ? sizes::fixed(1) : element.front();
  if (!element.empty()) element.erase(element.begin());
  const TensorId all = c.tensor(tensor);
  // A value of another region was joined into this one.
  const RegionId region = all == c.at(tensor).tensor ? c.at(tensor).region : c.out.region;
  return list_of(c, c.at(tensor).dtype, std::move(element), length, all, region);
}

Values list_from_tensor(Context& c, const Node& node, const Values& in) {
  if (in.empty() || !c.ranked(in[0])) return c.opaque(node, in);
  return {from_tensor(c, in[0])};
}

Values reserve(Context& c, const Node& node, const Values& in) {
  const auto dtype = dtype_of(node.type("element_dtype"));
  if (in.size() < 2 || !dtype) return c.opaque(node, in);
  const auto& length = c.elements(in[1]);
  return {list_of(c, *dtype, element_shape(c, in[0]),
                  length && length->size() == 1 ? length->front() : sizes::fixed(1), TensorId(),
                  RegionId())};
}

ValueId written(Context& c, ValueId list, ValueId item) {
  Value next = c.at(list);
  next.element = item;
  next.tensor = TensorId();
  next.shape = c.shape(item);
  next.dtype = c.at(item).dtype;
  return c.add(std::move(next));
}

/// One element: the one written last, or a slice of all.
ValueId element_of(Context& c, ValueId list) {
  const Value value = c.at(list);
  if (value.element != SIZE_MAX) return value.element;
  if (value.tensor.valid()) {
    Value all = value;
    all.kind = Value::Kind::tensor;
    all.shape.insert(all.shape.begin(), value.length);
    return c.emit("aten.select.int", {{"self", c.add(std::move(all))}}, {value.dtype, value.shape},
                  {{"dim", std::int64_t{0}}});
  }
  return c.emit("aten.zeros.default", {}, {value.dtype, value.shape});
}

/// All elements as one tensor.
ValueId stacked(Context& c, ValueId list) {
  const Value value = c.at(list);
  Shape shape = value.shape;
  shape.insert(shape.begin(), value.length);
  const ResultType type{value.dtype, shape};
  if (value.element == SIZE_MAX) {
    if (!value.tensor.valid()) return c.emit("aten.zeros.default", {}, type);
    Value all = value;
    all.kind = Value::Kind::tensor;
    all.shape = shape;
    return c.add(std::move(all));
  }
  const Value& element = c.at(value.element);
  const bool inside = element.tensor.valid() && element.region.valid() &&
                      !encloses(c.out.graph(), element.region, c.out.region);
  if (!inside) {
    return c.emit("aten.stack.default", {{"tensors", value.element}}, type,
                  {{"dim", std::int64_t{0}}});
  }
  if (!value.length.symbolic() && value.length.size == 1) {  // only the last value is kept
    return c.emit("aten.unsqueeze.default", {{"self", value.element}}, type,
                  {{"dim", std::int64_t{0}}});
  }
  return c.value_of(c.out.join({element.tensor}, type));
}

Values get_item(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0)) return c.opaque(node, in);
  return {element_of(c, in[0])};
}

Values set_item(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0) || in.size() < 3) return c.opaque(node, in);
  return {written(c, in[0], in[2])};
}

Values push_back(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0) || in.size() < 2) return c.opaque(node, in);
  return {written(c, in[0], in[1])};
}

Values pop_back(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0)) return c.opaque(node, in);
  return {in[0], element_of(c, in[0])};
}

Values stack(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0)) return c.opaque(node, in);
  const std::int64_t count = node.integer("num_elements", -1);
  Value& list = c.at(in[0]);
  if (count >= 0 && !list.tensor.valid()) list.length = sizes::fixed(count);
  return {stacked(c, in[0])};
}

Values length(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0)) return c.opaque(node, in);
  return {c.known({c.at(in[0]).length}, {})};
}

Values concatenated(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 0) || c.at(in[0]).shape.empty()) return c.opaque(node, in);
  const ValueId all = stacked(c, in[0]);
  Shape shape = c.shape(all);
  shape[1] = sizes::multiply(shape[0], shape[1]);
  shape.erase(shape.begin());
  const ValueId lengths = c.known({}, {sizes::fixed(0)}, DType::i64);
  return {c.reshape(all, shape), lengths};
}

/// TensorArrayV3: what is in the array rides on the flow, not on the handle.
Values array(Context& c, const Node& node, const Values& in) {
  const auto dtype = dtype_of(node.type("dtype"));
  if (in.empty() || !dtype) return c.opaque(node, in);
  const auto& length = c.elements(in[0]);
  const Attr* attr = node.find("element_shape");
  Shape element;
  if (attr != nullptr && attr->shape.ranked) {
    for (const std::int64_t d : attr->shape.dims)
      element.push_back(sizes::fixed(std::max<std::int64_t>(d, 1)));
  }
  return {c.nothing(Value::Kind::resource),
          list_of(c, *dtype, std::move(element),
                  length && length->size() == 1 ? length->front() : sizes::fixed(1), TensorId(),
                  RegionId())};
}

Values array_scatter(Context& c, const Node& node, const Values& in) {
  if (in.size() < 3 || !c.ranked(in[2])) return c.opaque(node, in);
  return {from_tensor(c, in[2])};
}

Values array_write(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 3)) return c.opaque(node, in);
  return {written(c, in[3], in[2])};
}

Values array_read(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 2)) return c.opaque(node, in);
  return {element_of(c, in[2])};
}

Values array_gather(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 2)) return c.opaque(node, in);
  return {stacked(c, in[2])};
}

Values array_size(Context& c, const Node& node, const Values& in) {
  if (!is_list(c, in, 1)) return c.opaque(node, in);
  return {c.known({c.at(in[1]).length}, {})};
}

/// A write into a variable; its later readers see the same storage.
Values assign(Context& c, const Node& node, const Values& in) {
  if (in.size() < 2 || c.at(in[0]).kind != Value::Kind::variable) return c.opaque(node, in);
  const auto index = static_cast<std::size_t>(c.at(in[0]).variable);
  const ResultType type{c.variables[index].dtype, c.variables[index].shape};
  const std::string_view op = node.op;
  const bool adds = op.find("Add") != op.npos;
  const bool subtracts = op.find("Sub") != op.npos;
  const std::string target = adds        ? "aten.add_.Tensor"
                             : subtracts ? "aten.sub_.Tensor"
                                         : "aten.copy_.default";
  const ValueId result =
      c.emit(target, {{"self", in[0]}, {adds || subtracts ? "other" : "src", in[1]}}, type);
  c.out.keep(c.at(result).tensor);
  return {result};
}

constexpr auto kListHandlers =
    std::to_array<HandlerRow>({{"TensorListFromTensor", list_from_tensor},
                               {"TensorListReserve", reserve},
                               {"EmptyTensorList", reserve},
                               {"TensorListGetItem", get_item},
                               {"TensorListSetItem", set_item},
                               {"TensorListPushBack", push_back},
                               {"TensorListPopBack", pop_back},
                               {"TensorListStack", stack},
                               {"TensorListGather", stack},
                               {"TensorListLength", length},
                               {"TensorListConcatV2", concatenated},
                               {"TensorArrayV3", array},
                               {"TensorArrayScatterV3", array_scatter},
                               {"TensorArrayWriteV3", array_write},
                               {"TensorArrayReadV3", array_read},
                               {"TensorArrayGatherV3", array_gather},
                               {"TensorArraySizeV3", array_size},
                               {"AssignVariableOp", assign},
                               {"AssignAddVariableOp", assign},
                               {"AssignSubVariableOp", assign},
                               {"Assign", assign},
                               {"AssignAdd", assign},
                               {"AssignSub", assign}});

}  // namespace

std::span<const HandlerRow> list_handlers() { return kListHandlers; }

}  // namespace parallel_opt::tf
