#include "parallel_opt/importers/pt2_graph.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "parallel_opt/base/json.h"
namespace parallel_opt::pt2 {
namespace {

using Node = JsonTree::Node;
using Kind = JsonTree::Kind;

constexpr std::int64_t kMostElements = std::int64_t(1) << 58;  // 16 bytes each still fit int64

/// Nodes that compute a size, check something or read one value on the host: no tensor comes out
/// and none is changed, so they are no operators of ours. Sizes are in `sym_int_values`.
bool is_scalar_node(std::string_view target) {
  constexpr auto kPrefixes = std::to_array<std::string_view>(
      {"_operator.", "torch.", "math.", "builtins.", "aten.sym_", "aten._assert_", "prim.",
       "aten._local_scalar_dense", "aten.item", "aten.is_nonzero", "aten._functional_assert_"});
  return std::ranges::any_of(kPrefixes, [&](std::string_view p) { return target.starts_with(p); });
}

bool reads_a_value(std::string_view target) {
  return target.starts_with("aten.item") || target.starts_with("aten._local_scalar_dense") ||
         target.starts_with("aten.is_nonzero");
}

bool is_contiguous(const Tensor& tensor, const std::vector<std::int64_t>& strides) {
  std::int64_t step = 1;
  for (std::size_t i = strides.size(); i-- > 0;) {
    const std::int64_t size = tensor.shape[i].size;
    if (size != 1 && strides[i] != step) return false;
    if (__builtin_mul_overflow(step, std::max<std::int64_t>(size, 1), &step)) return false;
  }
  return true;
}

}  // namespace

void GraphReader::read(Node graph_module) {
  const Place graph_place{nullptr, "graph", SIZE_MAX};
  const Node graph = graph_module["graph"];
  Scope scope;
  open(scope, graph, graph_place);
  const std::size_t tensors = graph["tensor_values"].size(), nodes = graph["nodes"].size();
  scope.values.reserve(tensors);
  tensor_names_.reserve(tensors);
  graph_.tensors.reserve(tensors);
  op_names_.reserve(nodes);
  graph_.ops.reserve(nodes);
  read_inputs(scope, graph_module["signature"]);
  read_nodes(scope, graph, graph_place);
  read_outputs(scope, graph_module["signature"]);
  check_outputs(scope, graph["outputs"], graph_module["signature"]["output_specs"]);
}

/// What the graph itself lists as its outputs says the same as the signature.
void GraphReader::check_outputs(const Scope& scope, Node outputs, Node specs) {
  const Place graph_place{nullptr, "graph", SIZE_MAX};
  const Place outputs_place{&graph_place, "outputs", SIZE_MAX};
  if (!outputs.is(Kind::array) || !specs.is(Kind::array)) return;
  if (outputs.size() > 0 && outputs.size() != specs.size()) {
    findings_.fault(outputs_place,
                    "has " + std::to_string(outputs.size()) + " entries, signature.output_specs " +
                        std::to_string(specs.size()),
                    "is the file complete?");
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Variant value = variant_of(outputs.at(i));
    if (value.key == "as_tensor") find(scope, value.value, {&outputs_place, "", i});
  }
}

void GraphReader::open(Scope& scope, Node graph, const Place& place) {
  const auto index = [&](std::string_view key, bool required,
                         std::unordered_map<std::string_view, Node>& names) {
    const Node values = graph[key];
    if (required && !values.is(Kind::object)) {
      findings_.fault({&place, key, SIZE_MAX}, "is missing or no object",
                      "is the file written by torch.export.save?");
    }
    if (!values.is(Kind::object)) return;
    names.reserve(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) names.try_emplace(values.key(i), values.at(i));
  };
  index("tensor_values", true, scope.tensors);
  index("sym_int_values", false, scope.sizes);
}

void GraphReader::read_inputs(Scope& scope, Node signature) {
  const Place root{nullptr, "signature", SIZE_MAX}, specs_place{&root, "input_specs", SIZE_MAX};
  const Node specs = signature["input_specs"];
  if (!specs.is(Kind::array)) {
    findings_.fault(specs_place, "is missing or no list",
                    "is the file written by torch.export.save?");
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    read_input(scope, specs.at(i), {&specs_place, "", i});
  }
}

void GraphReader::read_input(Scope& scope, Node spec_node, const Place& place) {
  const Variant spec = variant_of(spec_node);
  const Node arg = spec.value["arg"];
  const auto lifted = [&](TensorRole role, std::string_view key) {
    const Node name = arg["name"], fqn = spec.value[key];
    if (!name.is(Kind::string) || !fqn.is(Kind::string)) {
      findings_.fault(place, "has no \"arg\" or no \"" + std::string(key) + "\"");
      return;
    }
    add_tensor(scope, name.string(), role, std::string(fqn.string()), place);
  };
  if (spec.key == "parameter") return lifted(TensorRole::parameter, "parameter_name");
  if (spec.key == "buffer") return lifted(TensorRole::buffer, "buffer_name");
  if (spec.key == "tensor_constant") return lifted(TensorRole::constant, "tensor_constant_name");
  if (spec.key == "user_input") {
    const Variant value = variant_of(arg);
    if (value.key == "as_tensor" && value.value["name"].is(Kind::string)) {
      const TensorId id =
          add_tensor(scope, value.value["name"].string(), TensorRole::input, "", place);
      if (id.valid()) graph_.inputs.push_back(id);
    } else if (value.key != "as_none") {
      findings_.note("an input that is no tensor (" + std::string(value.key) + ") was left out");
    }
    return;
  }
  if (spec.key == "constant_input") {
    const Node name = spec.value["name"];
    findings_.note("the input " + in_quotes(name.is(Kind::string) ? name.string() : "") +
                   " is fixed at " + variant_of(spec.value["value"]).value.dump());
    return;
  }
  if (spec.key == "token") return;  // orders side effects, holds no data
  findings_.note("an input of kind " + in_quotes(spec.key) + " was left out");
}

void GraphReader::read_outputs(const Scope& scope, Node signature) {
  const Place root{nullptr, "signature", SIZE_MAX}, specs_place{&root, "output_specs", SIZE_MAX};
  const Node specs = signature["output_specs"];
  if (!specs.is(Kind::array)) {
    findings_.fault(specs_place, "is missing or no list",
                    "is the file written by torch.export.save?");
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Variant spec = variant_of(specs.at(i));
    // The rest are new values of buffers, parameters and inputs, or gradients: state, no answer.
    if (spec.key != "user_output" && spec.key != "loss_output") continue;
    const Place place{&specs_place, "", i};
    const Node arg = spec.value["arg"];
    const Variant value = spec.key == "loss_output" ? Variant{"as_tensor", arg} : variant_of(arg);
    if (value.key != "as_tensor") continue;  // a number or None: not computed on tensors
    if (const auto id = find(scope, value.value, place)) graph_.outputs.push_back(*id);
  }
}

TensorId GraphReader::add_tensor(Scope& scope, std::string_view name, TensorRole role,
                                 std::string fqn, const Place& place) {
  const auto meta = scope.tensors.find(name);
  if (meta == scope.tensors.end()) {
    findings_.fault(place, "tensor " + in_quotes(name) + " has no entry in tensor_values",
                    "is the file complete?");
    return {};
  }
  const TensorId id(graph_.tensors.size());
  std::string full = scope.prefix + std::string(name);
  if (!scope.values.try_emplace(name, id).second || !tensor_names_.insert(full).second) {
    findings_.fault(place, "tensor " + in_quotes(name) + " is made twice");
    return {};
  }
  Tensor tensor;
  tensor.name = std::move(full);
  tensor.role = role;
  tensor.fqn = std::move(fqn);
  const Place values{nullptr, "graph.tensor_values", SIZE_MAX}, meta_place{&values, name, SIZE_MAX};
  read_meta(tensor, meta->second, meta_place);
  graph_.tensors.push_back(std::move(tensor));
  return id;
}

void GraphReader::read_meta(Tensor& tensor, Node meta, const Place& place) {
  const Node code = meta["dtype"];
  const std::optional<DType> dtype =
      code.is(Kind::integer) ? dtype_of(code.integer()) : std::nullopt;
  if (!dtype) {
    findings_.fault({&place, "dtype", SIZE_MAX}, "unknown element type " + code.dump(),
                    "is the file newer than this program?");
  }
  tensor.dtype = dtype.value_or(DType::fp32);
  const Node grad = meta["requires_grad"];
  tensor.requires_grad = grad.is(Kind::boolean) && grad.boolean();
  const Place sizes_place{&place, "sizes", SIZE_MAX}, strides_place{&place, "strides", SIZE_MAX};
  const Node sizes = meta["sizes"], strides = meta["strides"];
  if (!sizes.is(Kind::array)) findings_.fault(sizes_place, "is missing or no list");
  constexpr std::size_t kMostAxes = 64;  // as PyTorch
  if (sizes.size() > kMostAxes) {
    findings_.fault(sizes_place, "the tensor has " + std::to_string(sizes.size()) + " axes",
                    "at most 64");
    return;
  }
  if (strides.size() > 0 && strides.size() != sizes.size()) {
    findings_.fault(strides_place, std::to_string(strides.size()) + " strides for " +
                                       std::to_string(sizes.size()) + " sizes");
    return;
  }
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Place one{&sizes_place, "", i};
    Dim dim = symbols_.read(sizes.at(i), one);
    if (dim.size < 0) {
      findings_.fault(one, "the size " + std::to_string(dim.size) + " is negative");
      dim.size = 0;
    }
    if (__builtin_mul_overflow(elements, std::max<std::int64_t>(dim.size, 1), &elements) ||
        elements > kMostElements) {
      findings_.fault(sizes_place, "the tensor has more than 2^58 elements");
      elements = 1;
      dim.size = 0;
    }
    tensor.shape.push_back(std::move(dim));
  }
  read_strides(tensor, strides, strides_place);
  const Node layout = meta["layout"];
  if (layout.is(Kind::integer) && layout.integer() != 7) {
    findings_.note("tensor " + in_quotes(tensor.name) + " is " + layout_name(layout.integer()) +
                   ": counted as if it were dense");
  }
}

void GraphReader::read_strides(Tensor& tensor, Node strides, const Place& place) {
  std::vector<std::int64_t> steps;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    const Place one{&place, "", i};
    steps.push_back(symbols_.read(strides.at(i), one).size);
    const std::int64_t size = i < tensor.shape.size() ? tensor.shape[i].size : 0;
    std::int64_t span = 0;
    if (steps.back() < 0 ||
        __builtin_mul_overflow(steps.back(), std::max<std::int64_t>(size, 1), &span) ||
        span > kMostElements) {
      findings_.fault(one, "the stride " + std::to_string(steps.back()) + " fits no storage");
      steps.back() = 0;
    }
  }
  if (steps.size() == tensor.shape.size() && !is_contiguous(tensor, steps))
    tensor.strides = std::move(steps);
}

std::optional<TensorId> GraphReader::find(const Scope& scope, Node argument, const Place& place) {
  const Node name = argument["name"];
  if (!name.is(Kind::string)) {
    findings_.fault(place, "a tensor argument without \"name\"");
    return std::nullopt;
  }
  const auto it = scope.values.find(name.string());
  if (it == scope.values.end()) {
    findings_.fault(place, "tensor " + in_quotes(name.string()) + " is made by no earlier node",
                    "is the file complete?");
    return std::nullopt;
  }
  return it->second;
}

void GraphReader::read_nodes(Scope& scope, Node graph, const Place& place) {
  const Place nodes_place{&place, "nodes", SIZE_MAX};
  const Node nodes = graph["nodes"];
  if (!nodes.is(Kind::array)) {
    findings_.fault(nodes_place, "is missing or no list",
                    "is the file written by torch.export.save?");
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    read_node(scope, nodes.at(i), {&nodes_place, "", i});
  }
}

void GraphReader::read_node(Scope& scope, Node node, const Place& place) {
  const Node target_node = node["target"];
  if (!target_node.is(Kind::string) || target_node.string().empty()) {
    findings_.fault({&place, "target", SIZE_MAX}, "the operator has no name");
    return;
  }
  std::string_view target = target_node.string();
  constexpr std::string_view kNamespace = "torch.ops.";
  const bool is_op = target.starts_with(kNamespace);
  if (is_op) target.remove_prefix(kNamespace.size());
  const Node name = node["name"];
  Op op;
  op.target = target;
  op.name = name.is(Kind::string) && !name.string().empty() ? std::string(name.string()) : "";
  set_module(op, node["metadata"]);
  const std::vector<Body> bodies = bodies_of(node);
  if (bodies.size() == 1 && inline_body(scope, node, bodies[0], place)) return;
  if (!bodies.empty() && read_region(scope, node, op, bodies, place)) return;

  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const Node inputs = node["inputs"];
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Node argument = inputs.at(i)["name"];
    std::string argument_name(argument.is(Kind::string) ? argument.string() : "");
    if (argument_name.empty()) argument_name = "arg" + std::to_string(i);
    read_argument(scope, op, argument_name, variant_of(inputs.at(i)["arg"]),
                  {&inputs_place, "", i});
  }
  if (is_op && !is_scalar_node(target)) check_required(target, inputs, inputs_place);
  add_results(scope, op, node["outputs"], place);
  if (op.outputs.empty() && (!is_op || is_scalar_node(target))) {
    if (reads_a_value(target)) {
      findings_.note("module " + in_quotes(op.module) +
                     " reads a tensor's value on the host: the operators that follow may depend "
                     "on data");
    }
    return;
  }
  if (!bodies.empty()) describe_higher_order(op, bodies, place);
  if (op.name.empty() && !op.outputs.empty()) op.name = graph_.tensor(op.outputs[0]).name;
  op.region = region_;
  op.name = unique_name(scope.prefix + (op.name.empty() ? op.target : op.name));
  graph_.ops.push_back(std::move(op));
}

void GraphReader::check_required(std::string_view target, Node inputs, const Place& place) {
  const std::span<const std::string> names = required_tensors(target);
  std::vector<bool> given(names.size());
  for (std::size_t i = 0; i < inputs.size() && !names.empty(); ++i) {
    const Node name = inputs.at(i)["name"];
    if (!name.is(Kind::string)) return;  // older files name no arguments
    const auto at = std::ranges::find(names, name.string());
    Variant value = variant_of(inputs.at(i)["arg"]);
    if (value.key == "as_optional_tensor") value = variant_of(value.value);
    const bool none = value.key.empty() || value.key == "as_none";
    if (at != names.end() && !none) given[static_cast<std::size_t>(at - names.begin())] = true;
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (given[i]) continue;
    findings_.fault(place, std::string(target) + " needs the tensor " + in_quotes(names[i]));
  }
}

void GraphReader::read_argument(const Scope& scope, Op& op, const std::string& name,
                                Variant argument, const Place& place) {
  const Node value = argument.value;
  if (argument.key == "as_tensor") {
    if (const auto id = find(scope, value, place)) op.inputs.push_back({name, *id});
  } else if (argument.key == "as_tensors" || argument.key == "as_optional_tensors" ||
             argument.key == "as_nested_tensors") {
    read_operands(scope, op, name, value, place);
  } else if (argument.key == "as_optional_tensor") {
    read_argument(scope, op, name, variant_of(value), place);
  } else if (argument.key == "as_string_to_argument") {
    for (std::size_t i = 0; i < value.size() && value.is(Kind::object); ++i) {
      const std::string_view key = value.key(i);
      read_argument(scope, op, name + "." + std::string(key), variant_of(value.at(i)),
                    {&place, key, SIZE_MAX});
    }
  } else if (argument.key != "as_graph") {
    if (auto attribute = read_attribute(scope, argument, place)) {
      op.attributes.insert_or_assign(name, *std::move(attribute));
    }
  }
}

void GraphReader::read_operands(const Scope& scope, Op& op, const std::string& name, Node list,
                                const Place& place) {
  for (std::size_t i = 0; i < list.size() && list.is(Kind::array); ++i) {
    const Place one{&place, "", i};
    if (list.at(i).is(Kind::array)) {
      read_operands(scope, op, name, list.at(i), one);
      continue;
    }
    Node tensor = list.at(i);
    const Variant variant = variant_of(tensor);
    if (variant.key == "as_none") {
      op.inputs.push_back({name, TensorId()});
      continue;
    }
    if (variant.key == "as_tensor") tensor = variant.value;
    if (const auto id = find(scope, tensor, one)) op.inputs.push_back({name, *id});
  }
}

std::int64_t GraphReader::size_argument(const Scope& scope, Node argument, const Place& place) {
  const Variant size = variant_of(argument);
  if (size.key == "as_int" && size.value.is(Kind::integer)) return size.value.integer();
  if (size.key == "as_name" && size.value.is(Kind::string)) {
    const auto it = scope.sizes.find(size.value.string());
    if (it != scope.sizes.end()) return symbols_.read(it->second, place).size;
    findings_.fault(place,
                    "size " + in_quotes(size.value.string()) + " has no entry in sym_int_values",
                    "is the file complete?");
    return 0;
  }
  findings_.fault(place, "is no size", "expected {\"as_int\": ...} or {\"as_name\": ...}");
  return 0;
}

Attribute GraphReader::read_sizes(const Scope& scope, Node list, const Place& place) {
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Node element = list.at(i);
    sizes.push_back(element.is(Kind::integer) ? element.integer()
                                              : size_argument(scope, element, {&place, "", i}));
  }
  return sizes;
}

std::optional<Attribute> GraphReader::read_attribute(const Scope& scope, Variant argument,
                                                     const Place& place) {
  const std::string_view key = argument.key;
  const Node value = argument.value;
  const auto code = [&] { return value.is(Kind::integer) ? value.integer() : -1; };
  if (key == "as_none") return Attribute();
  if (key == "as_int" && value.is(Kind::integer)) return value.integer();
  if (key == "as_bool" && value.is(Kind::boolean)) return value.boolean();
  if (key == "as_string" && value.is(Kind::string)) return std::string(value.string());
  if (key == "as_float") {
    if (const auto number = number_of(value)) return *number;
  }
  if (key == "as_ints" || key == "as_sym_ints") return read_sizes(scope, value, place);
  if (key == "as_sym_int") return size_argument(scope, value, place);
  if (key == "as_scalar_type") {
    const auto dtype = dtype_of(code());
    return dtype ? std::string(name_of(*dtype)) : "dtype " + std::to_string(code());
  }
  if (key == "as_memory_format") return memory_format_name(code());
  if (key == "as_layout") return layout_name(code());
  if (key == "as_device") return device_name(value);
  if (key == "as_operator" && value.is(Kind::string)) return std::string(value.string());
  if (key == "as_floats" || key == "as_sym_floats") {
    std::vector<double> numbers;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const Node element = value.at(i);
      const auto number = number_of(element.is(Kind::object) ? variant_of(element).value : element);
      if (!number) return value.dump();  // one of them is computed in the graph
      numbers.push_back(*number);
    }
    return numbers;
  }
  if (key == "as_bools") {
    std::vector<bool> flags;
    for (std::size_t i = 0; i < value.size(); ++i) {
      flags.push_back(value.at(i).is(Kind::boolean) && value.at(i).boolean());
    }
    return flags;
  }
  if (key == "as_sym_bool" || key == "as_sym_float") {
    const Variant inner = variant_of(value);
    if (inner.value.is(Kind::boolean)) return inner.value.boolean();
    if (const auto number = number_of(inner.value)) return *number;
    return inner.value.is(Kind::string) ? std::string(inner.value.string()) : value.dump();
  }
  constexpr auto kKeptAsText =
      std::to_array<std::string_view>({"as_strings", "as_sym_bools", "as_custom_obj", "as_complex",
                                       "as_int_lists", "as_float_lists"});
  if (std::ranges::find(kKeptAsText, key) != kKeptAsText.end()) return value.dump();
  if (key.empty()) {
    findings_.fault(place, "the argument has no value");
    return std::nullopt;
  }
  findings_.note("an argument of unknown kind " + in_quotes(key) + " is kept as text");
  return value.dump();
}

void GraphReader::add_results(Scope& scope, Op& op, Node outputs, const Place& place) {
  const Place outputs_place{&place, "outputs", SIZE_MAX};
  const auto add = [&](const auto& self, Node argument, const Place& at) -> void {
    if (argument.is(Kind::array)) {
      for (std::size_t i = 0; i < argument.size(); ++i) self(self, argument.at(i), {&at, "", i});
      return;
    }
    if (argument["name"].is(Kind::string)) {
      const TensorId id =
          add_tensor(scope, argument["name"].string(), TensorRole::activation, "", at);
      if (id.valid()) op.outputs.push_back(id);
      return;
    }
    const Variant value = variant_of(argument);
    if (value.key.find("tensor") != std::string_view::npos) self(self, value.value, at);
  };
  add(add, outputs, outputs_place);
}

void GraphReader::set_module(Op& op, Node metadata) {
  const Node stack = metadata["nn_module_stack"];
  if (!stack.is(Kind::string)) return;
  const auto [it, fresh] = module_calls_.try_emplace(stack.string());
  ModuleCall& call = it->second;
  if (fresh) {
    // The last of "key,path,type;key,path,type": the key of a repeated call ends in "@1".
    std::string_view last = stack.string().substr(stack.string().rfind(';') + 1);
    const std::size_t comma = last.rfind(',');
    if (comma != std::string_view::npos && !last.starts_with("_empty_nn_module_stack")) {
      call.type = last.substr(comma + 1);
      last = last.substr(0, comma);
      const std::size_t middle = last.find(',');
      const std::string_view key = last.substr(0, middle);
      std::string_view path = middle == std::string_view::npos ? "" : last.substr(middle + 1);
      constexpr std::string_view kOldRoot = "L['self']";  // strict mode of older releases
      if (path.starts_with(kOldRoot)) {
        path.remove_prefix(kOldRoot.size());
        if (path.starts_with('.')) path.remove_prefix(1);
      }
      call.module = path;
      const std::size_t at = key.rfind('@');
      if (at != std::string_view::npos) {
        const char* end = key.data() + key.size();
        int index = 0;
        const auto [stop, error] = std::from_chars(key.data() + at + 1, end, index);
        if (error == std::errc{} && stop == end && index > 0) call.call = index;
      }
    }
  }
  op.module = call.module;
  op.module_type = call.type;
  op.call = call.call;
}

std::string GraphReader::unique_name(std::string name) {
  if (op_names_.insert(name).second) return name;
  for (int& i = copies_[name];;) {
    std::string other = name + "_" + std::to_string(++i);
    if (op_names_.insert(other).second) return other;
  }
}

}  // namespace parallel_opt::pt2
