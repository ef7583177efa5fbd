#include <algorithm>
#include <array>
#include <cctype>

#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/symbol.h"
#include "parallel_opt/importers/onnx_import.h"

/// Types, sizes and tensors of values.
namespace parallel_opt::onnx {
namespace {

/// The value that an input's open size has until a user binds it, since files hold none: by its
/// name, or else by its place, as images [n, c, h, w], volumes and sequences [n, s, ...] have them.
std::int64_t usual_value(std::string_view name, std::size_t axis, std::size_t rank) {
  const std::string lower = lower_case(std::string(name));
  const auto says = [&](std::string_view word) { return lower.find(word) != std::string::npos; };
  if (says("batch")) return 1;
  if (says("past") || says("cache")) return 128;
  if (says("seq") || says("len") || says("token") || says("time") || says("pos")) return 128;
  if (says("height") || says("width") || lower == "h" || lower == "w" || lower.ends_with("_h") ||
      lower.ends_with("_w")) {
    return 224;
  }
  if (says("channel")) return 3;
  if (axis == 0) return 1;
  if (rank == 4 || rank == 5) return axis == 1 ? 3 : rank == 4 ? 224 : 32;
  return 128;
}

/// Letters, digits and '_', as graph/symbol.h takes them.
std::string symbol_name(std::string_view text) {
  std::string name;
  for (const char c : text.substr(0, 64)) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ? c : '_';
  }
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) != 0) name = "s" + name;
  return name;
}

/// Names that the grammar knows as functions are none of symbols when a '(' follows; alone they
/// are.
bool is_plain(std::string_view text) { return !text.empty() && symbol_name(text) == text; }

}  // namespace

Dim Importer::symbol(const std::string& name, std::int64_t hint, std::int64_t least) {
  const auto [at, fresh] = symbols_.try_emplace(name, graph_.symbols.size());
  if (fresh) graph_.symbols.push_back({name, least, INT64_MAX, std::max(hint, least)});
  return {graph_.symbols[at->second].hint, name};
}

Dim Importer::dim_of(const ProtoDim& dim, const Value& of, std::size_t axis, std::size_t rank,
                     bool input) {
  if (dim.fixed && dim.value >= 0) return fixed(dim.value);
  if (dim.param.empty()) {
    if (!input) return unknown_size();
    const std::string name =
        axis == 0 ? "batch" : symbol_name(of.name) + "_dim" + std::to_string(axis);
    return symbol(name, usual_value(name, axis, rank), 0);
  }
  if (is_plain(dim.param)) {
    return symbol(std::string(dim.param), usual_value(dim.param, axis, rank), 0);
  }
  try {  // "past_length + length", as exporters write derived sizes
    if (dim.param.size() > 200) return unknown_size();
    const Expression expression = parse_expression(dim.param, "size");
    std::map<std::string, std::int64_t> values;
    for (const std::string& name : symbols_of(expression)) {
      values[name] = symbol(name, usual_value(name, axis, rank), 0).size;
    }
    const std::int64_t size = evaluate(expression, values, "size");
    std::string text = to_string(expression);
    if (values.empty()) return size >= 0 ? fixed(size) : unknown_size();
    return {std::max<std::int64_t>(size, 0), std::move(text)};
  } catch (const InputError&) {  // any other text names a size of its own
    const std::string name = symbol_name(dim.param);
    return symbol(name, usual_value(name, axis, rank), 0);
  }
}

void Importer::type_of(Value& of, const ProtoType& type, const Place& place, bool input) {
  using Kind = ProtoType::Kind;
  switch (type.kind) {
    case Kind::sequence:
      of.kind = Value::Kind::sequence;
      break;
    case Kind::optional:
      of.kind = Value::Kind::optional;
      break;
    case Kind::map:
    case Kind::opaque:
      of.kind = Value::Kind::other;
      break;
    case Kind::none:
    case Kind::tensor:
    case Kind::sparse_tensor:
      of.element = type.element;
      break;
  }
  if (of.kind != Value::Kind::tensor) {
    const ProtoType* inner = &type;
    while (!inner->inner.empty()) inner = &inner->inner.front();
    of.element = inner->element;
    if (of.kind == Value::Kind::optional && inner != &type && inner->kind == Kind::tensor &&
        inner == &type.inner.front()) {
      Value held;  // what an optional tensor is, when it is there
      held.name = of.name;
      type_of(held, *inner, place, input);
      of.shape = held.shape;
    }
    return;
  }
  if (of.element != 0 && !is_element(of.element)) {
    findings_.fault({&place, "type.tensor_type.elem_type", SIZE_MAX},
                    "ONNX has no element type " + std::to_string(of.element));
    return;
  }
  if (!type.shaped) return;
  Shape shape;
  for (std::size_t axis = 0; axis < type.dims.size(); ++axis) {
    if (type.dims[axis].fixed && type.dims[axis].value < -1) {  // -1: open, as some tools write it
      findings_.fault({&place, "type.tensor_type.shape", SIZE_MAX},
                      "a size of " + std::to_string(type.dims[axis].value));
      return;
    }
    shape.push_back(dim_of(type.dims[axis], of, axis, type.dims.size(), input));
  }
  if (shape.size() > 64 || !element_count(shape)) {
    findings_.fault({&place, "type.tensor_type.shape", SIZE_MAX},
                    shape.size() > 64 ? "the tensor has more than 64 axes"
                                      : "the tensor has more than 2^58 elements");
    return;
  }
  of.shape = std::move(shape);
}

void Importer::name_unknown(Value& of) {
  constexpr int kMostNotes = 20;
  if (!of.shape) return;
  for (Dim& dim : *of.shape) {
    if (is_fixed(dim) && dim.size < 0) dim.size = 0;
    if (dim.size < 0) dim.size = 0;
    if (!is_unknown(dim)) continue;
    if (unknown_ < kMostNotes) {
      findings_.note("a size of " + in_quotes(of.name) + " depends on data: taken as " +
                     std::to_string(dim.size) + ", bind \"unknown_" + std::to_string(unknown_) +
                     "\" to change it");
    }
    dim = symbol("unknown_" + std::to_string(unknown_++), dim.size, 0);
  }
}

TensorId Importer::add_tensor(std::string name, TensorRole role, std::int64_t element,
                              const Shape& shape) {
  if (name.empty()) name = "value";
  if (!tensor_names_.insert(name).second) {
    const std::string base = name + "_";
    for (std::size_t i = graph_.tensors.size(); !tensor_names_.insert(name).second; ++i) {
      name = base + std::to_string(i);
    }
  }
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.role = role;
  tensor.dtype = dtype_of(element).value_or(DType::u8);
  tensor.shape = shape;
  if (!element_count(shape)) {
    findings_.fault({nullptr, "graph", SIZE_MAX},
                    in_quotes(tensor.name) + " has more than 2^58 elements");
    tensor.shape.clear();
  }
  const TensorId id(graph_.tensors.size());
  graph_.tensors.push_back(std::move(tensor));
  return id;
}

TensorId Importer::result_tensor(int id) {
  Value& of = value(id);
  if (of.tensor.valid()) return of.tensor;
  if (of.kind == Value::Kind::tensor && !of.shape) {
    findings_.note("the shape of " + in_quotes(of.name) +
                   " is not known: it is counted as one element");
  }
  if (of.element == 8) findings_.note("strings are counted as one byte each");
  of.tensor = add_tensor(of.name, TensorRole::activation, of.element, of.shape.value_or(Shape()));
  made_.emplace_back(id, of.tensor.index());
  return of.tensor;
}

TensorId Importer::tensor(int id) {
  Value& of = value(id);
  if (of.tensor.valid()) return of.tensor;
  if (of.stored != nullptr || of.weight || of.data) {
    of.tensor = constant_tensor(of);
    made_.emplace_back(id, of.tensor.index());
    return of.tensor;
  }
  if (of.items && of.items->size() == 1) return tensor(of.items->front());
  // A list of tensors at an operator that takes one: it stands for itself.
  of.tensor = add_tensor(of.name, TensorRole::constant, of.element, of.shape.value_or(Shape()));
  made_.emplace_back(id, of.tensor.index());
  return of.tensor;
}

/// An exporter that replaces an operator by others makes up ones and zeros for their weights.
bool Importer::is_made_up(Value& of) {
  const bool named = of.name.starts_with("val_") || of.name.starts_with("onnx::");
  if (!named && !of.in_node) return false;
  const Data* known = data(of);
  if (known == nullptr || !known->real || known->reals.empty()) return false;
  return std::ranges::all_of(known->reals, [&](double x) { return x == known->reals.front(); });
}

void Importer::find_tables() {
  constexpr std::string_view kByElement[] = {
      "Mul", "Div", "Sub", "Pow", "Neg", "Where", "ScatterElements", "ScatterND"};
  std::unordered_map<std::string_view, bool> by_element;
  for (const ProtoNode& node : model_.graph.nodes) {
    const bool alike = std::ranges::find(kByElement, node.type) != std::end(kByElement);
    for (const std::string_view name : node.inputs) {
      bool& all = by_element.try_emplace(name, alike).first->second;
      all = all && alike;
    }
  }
  const auto says = [](const std::vector<KeyValue>& metadata) {
    return std::ranges::any_of(metadata, [](const KeyValue& k) { return k.key == kRoleKey; });
  };
  std::unordered_set<std::string_view> said;
  for (const ProtoValueInfo& info : model_.graph.value_info) {
    if (says(info.metadata)) said.insert(info.name);
  }
  const auto labelled = [&](const ProtoTensor& tensor) {
    return says(tensor.metadata) || said.contains(tensor.name);
  };
  if (std::ranges::none_of(model_.graph.initializers, labelled)) return;
  for (const ProtoTensor& tensor : model_.graph.initializers) {
    const auto wide =
        std::ranges::count_if(tensor.dims, [](std::int64_t size) { return size > 1; });
    const auto found = by_element.find(tensor.name);
    const bool table = !labelled(tensor) && wide > 1 && found != by_element.end() && found->second;
    if (table) tables_.insert(tensor.name);
  }
}

TensorId Importer::constant_tensor(Value& of) {
  const Shape shape = of.shape.value_or(Shape());
  TensorRole role = TensorRole::constant;
  if (of.weight && of.role == "BUFFER") role = TensorRole::buffer;
  const bool many = element_count(shape).value_or(0) > 1 || of.name.find('.') != std::string::npos;
  if (of.weight && is_float(of.element) && !shape.empty() &&
      (of.role == "PARAMETER" || (of.role.empty() && many && !is_table(of) && !is_made_up(of)))) {
    role = TensorRole::parameter;
  }
  const TensorId id = add_tensor(of.name, role, of.element, shape);
  Tensor& made = graph_.tensors[id.index()];
  if (role != TensorRole::constant) made.fqn = of.name;
  made.requires_grad = role == TensorRole::parameter;
  return id;
}

std::string Importer::unique_op_name(std::string name) {
  if (op_names_.insert(name).second) return name;
  for (std::size_t i = graph_.ops.size();; ++i) {
    std::string other = name + "_" + std::to_string(i);
    if (op_names_.insert(other).second) return other;
  }
}

void Importer::add_op(const Call& call, std::string target, Operands operands,
                      std::vector<TensorId> results, Attributes attributes) {
  Op op;
  op.target = std::move(target);
  op.inputs = std::move(operands);
  op.outputs = std::move(results);
  op.attributes = std::move(attributes);
  op.module = module;
  op.module_type = module_type;
  op.region = region;
  std::string name(call.node.name);
  if (name.empty() && !op.outputs.empty() && op.outputs[0].valid()) {
    name = graph_.tensor(op.outputs[0]).name;
  } else {
    name = call.scope.prefix + (name.empty() ? std::string(call.node.type) : name);
  }
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  op.name = unique_op_name(std::move(name));
  settle_strides(op);
  graph_.ops.push_back(std::move(op));
}

/// Views lie in memory as their operand does; everything else is contiguous.
void Importer::settle_strides(const Op& op) {
  if (op.inputs.empty() || op.outputs.empty() || !op.outputs[0].valid()) return;
  const OpRow* row = find_row(op.target);
  if (row == nullptr || row->op_class != OpClass::view || !op.inputs[0].tensor.valid()) return;
  const Tensor& from = graph_.tensor(op.inputs[0].tensor);
  Tensor& to = graph_.tensors[op.outputs[0].index()];
  std::vector<std::int64_t> strides = strides_of(from);
  if (row->space == "=permute") {
    const std::vector<std::int64_t> order = attribute_list(op, "dims");
    if (order.size() != strides.size()) return;
    for (std::size_t i = 0; i < order.size(); ++i) {
      strides[i] = strides_of(from)[static_cast<std::size_t>(order[i])];
    }
  } else if (row->space == "=expand") {
    if (to.shape.size() < strides.size()) return;
    strides.insert(strides.begin(), to.shape.size() - strides.size(), 0);
    const std::size_t skip = to.shape.size() - from.shape.size();
    for (std::size_t i = 0; i < from.shape.size(); ++i) {
      if (from.shape[i].size == 1 && to.shape[skip + i].size != 1) strides[skip + i] = 0;
    }
  } else if (row->space != "=slice" || to.shape.size() != from.shape.size()) {
    return;
  }
  to.strides = std::move(strides);
  if (is_contiguous(to)) to.strides.clear();
}

}  // namespace parallel_opt::onnx
