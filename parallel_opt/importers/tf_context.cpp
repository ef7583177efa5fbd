#include "parallel_opt/importers/tf_context.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace parallel_opt::tf {
namespace {

/// Outputs of the operators that have more than one name for them, where no definition is at hand
/// (a frozen graph with functions).
struct KnownOutputs {
  std::string_view op;
  std::array<std::string_view, 6> outputs;
};

constexpr auto kOutputs = std::to_array<KnownOutputs>(
    {{"FusedBatchNorm",
      {"y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"}},
     {"FusedBatchNormV2",
      {"y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"}},
     {"FusedBatchNormV3",
      {"y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2",
       "reserve_space_3"}},
     {"TopKV2", {"values", "indices"}},
     {"Switch", {"output_false", "output_true"}},
     {"Merge", {"output", "value_index"}},
     {"Unique", {"y", "idx"}},
     {"UniqueV2", {"y", "idx"}},
     {"UniqueWithCounts", {"y", "idx", "count"}},
     {"TensorListPopBack", {"output_handle", "tensor"}},
     {"SparseSoftmaxCrossEntropyWithLogits", {"loss", "backprop"}},
     {"SoftmaxCrossEntropyWithLogits", {"loss", "backprop"}},
     {"BroadcastGradientArgs", {"r0", "r1"}},
     {"CudnnRNNV2", {"output", "output_h", "output_c", "reserve_space", "host_reserved"}},
     {"CudnnRNNV3", {"output", "output_h", "output_c", "reserve_space", "host_reserved"}},
     {"TensorArrayV3", {"handle", "flow"}}});

Attribute attribute_of(const Attr& attr) {
  switch (attr.kind) {
    case Attr::Kind::text:
    case Attr::Kind::function:
      return std::string(attr.text.substr(0, 256));
    case Attr::Kind::integer:
      return attr.integer;
    case Attr::Kind::real:
      return attr.real;
    case Attr::Kind::flag:
      return attr.flag;
    case Attr::Kind::list:
      if (!attr.integers.empty()) return attr.integers;
      if (!attr.reals.empty()) return attr.reals;
      return std::monostate();
    default:
      return std::monostate();
  }
}

}  // namespace

int output_place(const Node& node, std::string_view output, int index, const OpDef* definition) {
  constexpr int kMostOutputs = 1 << 20;
  if (index < 0 || index > kMostOutputs) return -1;
  if (definition != nullptr) {
    std::int64_t place = 0;
    for (const ArgDef& arg : definition->outputs) {
      if (arg.name == output)
        return static_cast<int>(std::min<std::int64_t>(place + index, 1 << 20));
      const Attr* types = arg.type_list_attr.empty() ? nullptr : node.find(arg.type_list_attr);
      if (types != nullptr) {
        place += static_cast<std::int64_t>(types->types.size());
      } else {
        place += arg.number_attr.empty()
                     ? 1
                     : std::clamp<std::int64_t>(node.integer(arg.number_attr, 1), 0, 1 << 20);
      }
    }
    return -1;
  }
  for (const KnownOutputs& known : kOutputs) {
    if (known.op != node.op) continue;
    const auto at = std::find(known.outputs.begin(), known.outputs.end(), output);
    return at == known.outputs.end() ? -1 : static_cast<int>(at - known.outputs.begin()) + index;
  }
  return index;  // one output argument, as nearly every operator has
}

ValueId Context::add(Value value) {
  constexpr std::size_t kPerOperator = 40;
  if (values_.size() > kPerOperator * out.most_operators())
    out.fail("the model has too many values");
  values_.push_back(std::move(value));
  return values_.size() - 1;
}

ValueId Context::nothing(Value::Kind kind) {
  Value value;
  value.kind = kind;
  return add(std::move(value));
}

ValueId Context::known(Shape elements, Shape shape, DType dtype) {
  Value value;
  value.dtype = dtype;
  value.shape = std::move(shape);
  value.known = std::move(elements);
  value.name = out.name.empty() ? "size" : out.name;
  return add(std::move(value));
}

std::optional<std::vector<std::int64_t>> Context::integers(ValueId id) const {
  const std::optional<Shape>& elements = values_[id].known;
  if (!elements) return std::nullopt;
  std::vector<std::int64_t> numbers;
  for (const Dim& element : *elements) {
    if (element.symbolic()) return std::nullopt;
    numbers.push_back(element.size);
  }
  return numbers;
}

std::optional<std::int64_t> Context::integer(ValueId id) const {
  const auto numbers = integers(id);
  if (!numbers || numbers->size() != 1) return std::nullopt;
  return numbers->front();
}

TensorId Context::tensor(ValueId id) {
  Value& value = values_[id];
  if (value.kind == Value::Kind::variable) {
    Variable& variable = variables[static_cast<std::size_t>(value.variable)];
    if (!variable.tensor.valid()) {
      const bool counted = is_floating(variable.dtype) || variable.trainable;
      variable.tensor =
          out.add_tensor(variable.name, counted ? TensorRole::parameter : TensorRole::buffer,
                         {variable.dtype, variable.shape});
      Tensor& made = out.graph().tensors[variable.tensor.index()];
      made.fqn = variable.name;
      made.requires_grad = variable.trainable && is_floating(variable.dtype);
    }
    return variable.tensor;
  }
  if (!value.tensor.valid()) {
    const bool weight =
        frozen && !value.known && is_floating(value.dtype) &&
        (value.weight || (!value.shape.empty() && sizes::product(value.shape).size > 1));
    if (!value.ranked) out.note("shapes of unknown rank are counted as one element");
    const std::string name = value.name.empty() ? "constant" : value.name;
    value.tensor = out.add_tensor(name, weight ? TensorRole::parameter : TensorRole::constant,
                                  {value.dtype, value.shape});
    if (weight) {
      Tensor& made = out.graph().tensors[value.tensor.index()];
      made.fqn = made.name;
      made.requires_grad = true;
    }
    value.region = RegionId();
    return value.tensor;
  }
  if (value.region.valid() && !encloses(out.graph(), value.region, out.region)) {
    return out.join({value.tensor}, {value.dtype, value.shape});
  }
  return value.tensor;
}

ValueId Context::value_of(TensorId id) {
  Value value;
  value.tensor = id;
  value.dtype = out.tensor(id).dtype;
  value.shape = out.tensor(id).shape;
  value.region = out.region;
  return add(std::move(value));
}

ValueId Context::emit(std::string target, const Arguments& arguments, const ResultType& type,
                      Attributes attributes) {
  return emit_all(std::move(target), arguments, {type}, std::move(attributes)).front();
}

Values Context::emit_all(std::string target, const Arguments& arguments,
                         const std::vector<ResultType>& types, Attributes attributes) {
  std::vector<Operand> operands;
  for (const auto& [name, id] : arguments) operands.push_back({std::string(name), tensor(id)});
  Values results;
  for (const TensorId id :
       out.add_all(std::move(target), std::move(operands), types, std::move(attributes))) {
    results.push_back(value_of(id));
  }
  return results;
}

std::vector<int> Context::output_types(const Node& node) const {
  const auto found = definitions.find(node.op);
  std::vector<int> types;
  if (found == definitions.end()) {
    if (const Attr* shapes = node.find("_output_shapes")) types.resize(shapes->shapes.size());
    if (types.empty()) types.resize(1);
    for (int& type : types) {
      type = node.type("T") != 0 ? node.type("T") : node.type("dtype");
    }
    return types;
  }
  constexpr std::size_t kMostOutputs = 4096;
  for (const ArgDef& arg : found->second->outputs) {
    if (const Attr* list = arg.type_list_attr.empty() ? nullptr : node.find(arg.type_list_attr)) {
      types.insert(types.end(), list->types.begin(), list->types.end());
      continue;
    }
    const std::int64_t count = arg.number_attr.empty() ? 1 : node.integer(arg.number_attr, 1);
    for (std::int64_t i = 0; i < count && types.size() < kMostOutputs; ++i) {
      types.push_back(arg.type != 0 ? arg.type : node.type("T"));
    }
  }
  return types;
}

Values Context::opaque(const Node& node, const Values& in, Attributes attributes) {
  Arguments arguments;
  for (const ValueId id : in) {
    if (at(id).kind == Value::Kind::tensor || at(id).kind == Value::Kind::variable) {
      arguments.emplace_back("inputs", id);
    }
  }
  for (const auto& [name, attr] : node.attributes) {
    if (!name.starts_with('_')) attributes.try_emplace(std::string(name), attribute_of(attr));
  }
  const Attr* shapes = node.find("_output_shapes");
  std::vector<ResultType> types;
  std::vector<bool> unranked;
  const std::vector<int> outputs = output_types(node);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    ResultType type;
    // Operators that no row knows keep their operand's type more often than not.
    type.dtype = dtype_of(outputs[i]).value_or(in.empty() ? DType::fp32 : at(in.front()).dtype);
    std::optional<Shape> shape;
    if (shapes != nullptr && i < shapes->shapes.size()) shape = stated(shapes->shapes[i]);
    unranked.push_back(!shape);
    if (shape) type.shape = *shape;
    types.push_back(std::move(type));
  }
  Values results =
      emit_all("tensorflow." + std::string(node.op), arguments, types, std::move(attributes));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!unranked[i]) continue;
    at(results[i]).ranked = false;
    out.note("the result of operator '" + std::string(node.op) +
             "' has no known shape: it is counted as one element");
  }
  return results;
}

void Context::set_shape(ValueId id, const Shape& shape) {
  out.check_shape(shape);
  Value& value = at(id);
  value.ranked = true;
  value.shape = shape;
  if (value.tensor.valid()) out.graph().tensors[value.tensor.index()].shape = shape;
}

ValueId Context::permute(ValueId id, const std::vector<std::int64_t>& order) {
  Shape shape;
  for (const std::int64_t axis : order)
    shape.push_back(at(id).shape[static_cast<std::size_t>(axis)]);
  return emit("aten.permute.default", {{"self", id}}, {at(id).dtype, shape}, {{"dims", order}});
}

ValueId Context::reshape(ValueId id, const Shape& shape) {
  if (at(id).ranked && at(id).shape == shape) return id;
  std::vector<std::int64_t> target;
  for (const Dim& dim : shape) target.push_back(dim.size);
  return emit("aten.reshape.default", {{"self", id}}, {at(id).dtype, shape}, {{"shape", target}});
}

Symbol& Context::symbol(const std::string& name, std::int64_t hint) {
  for (Symbol& symbol : out.graph().symbols) {
    if (symbol.name == name) return symbol;
  }
  out.graph().symbols.push_back({name, 1, INT64_MAX, hint});
  return out.graph().symbols.back();
}

Dim Context::new_size(const Dim& most) {
  constexpr int kMostSizes = 1000;
  if (data_sizes_ >= kMostSizes) return sizes::fixed(std::max<std::int64_t>(most.size, 1));
  const std::string name = "u" + std::to_string(data_sizes_++);
  const std::int64_t hint = std::clamp<std::int64_t>(most.size, 1, sizes::kMost);
  Symbol& made = symbol(name, hint);
  made.min = 0;
  out.note("size " + name + " depends on data: it is counted at its most, " + std::to_string(hint));
  return sizes::symbol(name, hint);
}

std::optional<Shape> Context::stated(const ShapeProto& proto) {
  if (!proto.ranked) return std::nullopt;
  Shape shape;
  for (std::size_t i = 0; i < proto.dims.size(); ++i) {
    if (proto.dims[i] >= 0) {
      shape.push_back(sizes::fixed(proto.dims[i]));
      continue;
    }
    // An unknown first size is the batch when the graph has one.
    const auto& symbols = out.graph().symbols;
    const auto batch = std::find_if(symbols.begin(), symbols.end(),
                                    [](const Symbol& s) { return s.name == "batch"; });
    shape.push_back(i == 0 && batch != symbols.end() ? sizes::symbol("batch", batch->hint)
                                                     : new_size(sizes::fixed(1)));
  }
  return shape;
}

Handler find_handler(std::string_view op) {
  static const std::unordered_map<std::string_view, Handler> kHandlers = [] {
    std::unordered_map<std::string_view, Handler> all;
    for (const auto& rows : {math_handlers(), layer_handlers(), shape_handlers(), list_handlers(),
                             linear_algebra_handlers()}) {
      for (const HandlerRow& row : rows) all.emplace(row.op, row.run);
    }
    return all;
  }();
  const auto found = kHandlers.find(op);
  return found == kHandlers.end() ? nullptr : found->second;
}

}  // namespace parallel_opt::tf
