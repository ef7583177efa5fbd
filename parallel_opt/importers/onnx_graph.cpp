#include <algorithm>
#include <array>
#include <cctype>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/symbol.h"
#include "parallel_opt/importers/onnx_import.h"

namespace parallel_opt::onnx {
namespace {

std::string_view metadata(const std::vector<KeyValue>& entries, std::string_view key) {
  for (const KeyValue& entry : entries) {
    if (entry.key == key) return entry.value;
  }
  return {};
}

/// The names in a list as Python prints it: ['', 'layers.0', 'linear'].
std::vector<std::string_view> python_list(std::string_view text) {
  std::vector<std::string_view> names;
  std::size_t at = 0;
  while ((at = text.find_first_of("'\"", at)) != std::string_view::npos) {
    const std::size_t end = text.find(text[at], at + 1);
    if (end == std::string_view::npos) break;
    names.push_back(text.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return names;
}

/// "/layers/layers.0/fc/Gemm" -> "layers.0.fc": a part that begins with the one before repeats it.
std::string module_of_path(std::string_view path) {
  std::string module;
  std::string_view before;
  path.remove_prefix(1);
  for (std::size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/')) {
    const std::string_view part = path.substr(0, end);
    path.remove_prefix(end + 1);
    const bool repeats = !before.empty() && part.size() > before.size() &&
                         part.starts_with(before) && part[before.size()] == '.';
    if (repeats) module.resize(module.size() - before.size());
    if (!repeats && !module.empty()) module += '.';
    module += part;
    before = part;
  }
  return module;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return result;
}

bool is_main_domain(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

bool Importer::spend(const Place& place) {
  if (++nodes_ <= most_nodes_) return true;
  findings_.fault(
      place,
      "functions and subgraphs unfold to more than " + std::to_string(most_nodes_) + " operators",
      "is the file damaged?");
  return false;
}

void Importer::run() {
  constexpr std::size_t kFree = 50'000, kPerNode = 20;
  std::size_t in_file = model_.graph.nodes.size();
  for (const ProtoFunction& function : model_.functions) in_file += function.nodes.size();
  most_nodes_ = kFree + kPerNode * in_file;
  index_functions();
  find_tables();
  const Place place{nullptr, "graph", SIZE_MAX};
  Scope scope;
  scope.opsets = &model_.opsets;
  open(scope, model_.graph, place);
  read_inputs(scope);
  read_nodes(scope, model_.graph.nodes, place);
  if (!findings_.any()) read_outputs(scope);
}

void Importer::index_functions() {
  for (const ProtoFunction& f : model_.functions) {
    const std::string_view domain = is_main_domain(f.domain) ? std::string_view() : f.domain;
    functions_.try_emplace(
        std::string(domain) + "::" + std::string(f.name) + "::" + std::string(f.overload), &f);
  }
}

const ProtoFunction* Importer::function_of(const ProtoNode& node) const {
  if (functions_.empty()) return nullptr;
  const std::string_view domain = is_main_domain(node.domain) ? std::string_view() : node.domain;
  const auto found = functions_.find(std::string(domain) + "::" + std::string(node.type) +
                                     "::" + std::string(node.overload));
  return found == functions_.end() ? nullptr : found->second;
}

std::int64_t Importer::opset_of(const Scope& scope, std::string_view domain) const {
  for (const ProtoOpset& opset : *scope.opsets) {
    if (opset.domain == domain) return opset.version;
    if (is_main_domain(opset.domain) && is_main_domain(domain)) return opset.version;
  }
  return 0;
}

int Importer::add_value(std::string name) {
  values_.emplace_back();
  values_.back().name = std::move(name);
  return static_cast<int>(values_.size()) - 1;
}

void Importer::open(Scope& scope, const ProtoGraph& graph, const Place& place) {
  for (const ProtoValueInfo& info : graph.value_info) scope.declared.try_emplace(info.name, &info);
  for (const ProtoValueInfo& info : graph.outputs) scope.declared.try_emplace(info.name, &info);
  const auto keep = [&](const ProtoTensor& tensor, const std::vector<std::int64_t>& dims,
                        const Place& at, bool dense) {
    const int id = add_value(printable(tensor.name));
    if (!scope.values.try_emplace(tensor.name, id).second) {
      return findings_.fault(at, "the initializer " + in_quotes(tensor.name) + " is made twice");
    }
    Value& made = value(id);
    made.element = tensor.data_type;
    made.weight = true;
    made.role = metadata(tensor.metadata, kRoleKey);
    if (const auto info = scope.declared.find(tensor.name);
        made.role.empty() && info != scope.declared.end()) {
      made.role = metadata(info->second->metadata, kRoleKey);
    }
    if (dense) made.stored = &tensor;
    made.shape = files_.shape_of(tensor, dims, dense, at, findings_);
  };
  const Place dense{&place, "initializer", SIZE_MAX},
      sparse{&place, "sparse_initializer", SIZE_MAX};
  for (std::size_t i = 0; i < graph.initializers.size(); ++i) {
    keep(graph.initializers[i], graph.initializers[i].dims, {&dense, "", i}, true);
  }
  for (std::size_t i = 0; i < graph.sparse_initializers.size(); ++i) {
    const ProtoSparseTensor& tensor = graph.sparse_initializers[i];
    keep(tensor.values, tensor.dims, {&sparse, "", i}, false);
    findings_.note("the sparse initializer " + in_quotes(printable(tensor.values.name)) +
                   " is counted as if it were dense");
  }
}

void Importer::read_inputs(Scope& scope) {
  const Place graph{nullptr, "graph", SIZE_MAX}, inputs{&graph, "input", SIZE_MAX};
  for (std::size_t i = 0; i < model_.graph.inputs.size(); ++i) {
    const ProtoValueInfo& info = model_.graph.inputs[i];
    const Place place{&inputs, "", i};
    if (const auto stored = scope.values.find(info.name); stored != scope.values.end()) {
      compare_default(info, value(stored->second), place);  // as old files list them
      continue;
    }
    const int id = add_value(printable(info.name));
    scope.values.emplace(info.name, id);
    Value& made = value(id);
    type_of(made, info.type, place, true);
    if (made.kind == Value::Kind::tensor && !made.shape) {
      findings_.note("input " + in_quotes(made.name) +
                     " has no shape: it is counted as one element");
    }
    name_unknown(made);
    made.tensor =
        add_tensor(made.name, TensorRole::input, made.element, made.shape.value_or(Shape()));
    graph_.inputs.push_back(made.tensor);
  }
}

void Importer::compare_default(const ProtoValueInfo& info, const Value& stored,
                               const Place& place) {
  if (!stored.weight) {  // two inputs of one name
    findings_.fault(place, "the input " + in_quotes(info.name) + " is made twice");
    return;
  }
  Value stated;
  type_of(stated, info.type, place, false);
  const bool types = stated.element == 0 || stated.element == stored.element;
  bool shapes = true;
  if (stated.shape && stored.shape) {
    shapes = std::ranges::equal(*stated.shape, *stored.shape, [](const Dim& a, const Dim& b) {
      return !is_fixed(a) || !is_fixed(b) || a.size == b.size;
    });
  }
  if (types && shapes) return;
  const auto text = [](const Value& v) {
    return "type " + std::to_string(v.element) + " " + (v.shape ? show(*v.shape) : "");
  };
  findings_.fault(place, "the input " + in_quotes(info.name) + " is stated as " + text(stated) +
                             " and its initializer is " + text(stored));
}

void Importer::read_outputs(const Scope& scope) {
  const Place graph{nullptr, "graph", SIZE_MAX}, outputs{&graph, "output", SIZE_MAX};
  for (std::size_t i = 0; i < model_.graph.outputs.size(); ++i) {
    const ProtoValueInfo& info = model_.graph.outputs[i];
    const auto id = find(scope, info.name);
    if (!id) {
      findings_.fault({&outputs, "", i},
                      "the output " + in_quotes(info.name) + " is made by no node",
                      "is the file complete?");
      continue;
    }
    const Value& made = value(*id);
    if (made.items && !made.tensor.valid()) {
      for (const int item : *made.items) graph_.outputs.push_back(tensor(item));
    } else {
      graph_.outputs.push_back(tensor(*id));
    }
  }
}

std::optional<int> Importer::find(const Scope& scope, std::string_view name) const {
  for (const Scope* at = &scope; at != nullptr; at = at->outer) {
    const auto found = at->values.find(name);
    if (found != at->values.end()) return found->second;
  }
  return std::nullopt;
}

void Importer::read_nodes(Scope& scope, const std::vector<ProtoNode>& nodes, const Place& place) {
  constexpr int kMostNested = 32;
  if (nested_ >= kMostNested) {
    findings_.fault(place, "functions and subgraphs are nested more than 32 deep");
    return;
  }
  ++nested_;
  const Place nodes_place{&place, "node", SIZE_MAX};
  for (std::size_t i = 0; i < nodes.size() && !findings_.full(); ++i) {
    const Place at{&nodes_place, "", i};
    if (!spend(at)) break;
    read_node(scope, nodes[i], at);
  }
  --nested_;
}

void Importer::read_node(Scope& scope, const ProtoNode& node, const Place& place) {
  Call call(*this, scope, node, place);
  call.opset = opset_of(scope, node.domain);
  if (node.outputs.empty() && !node.type.empty()) return call.fault("the node has no output");
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const std::string_view name = node.inputs[i];
    const auto id = name.empty() ? std::nullopt : find(scope, name);
    if (!name.empty() && !id) {
      const Place inputs{&place, "input", SIZE_MAX};
      findings_.fault({&inputs, "", i}, in_quotes(name) + " is made by no earlier node",
                      "are the nodes sorted, is the file complete?");
      // Faults that follow from this one say nothing new.
      const int stand_in = add_value(printable(name));
      scope.values.try_emplace(name, stand_in);
      scope.missed.insert(name);
      call.in.push_back(stand_in);
    } else {
      call.in.push_back(id.value_or(-1));
    }
  }
  for (const std::string_view name : node.outputs) {
    call.out.push_back(name.empty() ? -1 : add_value(scope.prefix + printable(name)));
  }
  set_module(scope, node);
  if (const ProtoFunction* function = function_of(node)) {
    inline_function(call, *function);
  } else if (!check_signature(call)) {
    // What it makes is not known; its names are.
  } else if (!is_main_domain(node.domain) || !read_control_flow(call)) {
    finish_node(call);
  }
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    const std::string_view name = node.outputs[i];
    if (name.empty() || scope.values.try_emplace(name, call.out[i]).second) continue;
    if (const auto missed = scope.missed.find(name); missed != scope.missed.end()) {
      scope.missed.erase(missed);  // read before it was made, which is a fault already
      continue;
    }
    const Place outputs{&place, "output", SIZE_MAX};
    findings_.fault({&outputs, "", i}, in_quotes(name) + " is made twice");
  }
}

void Importer::finish_node(Call& call) {
  const OpRule* rule = find_rule(call.node.domain, call.node.type);
  if (rule != nullptr && rule->shape != nullptr) rule->shape(call);
  declared_types(call);
  fold(call);
  bool known = !call.out.empty();
  for (const int id : call.out) {
    if (id < 0) continue;
    name_unknown(value(id));
    known = known && (value(id).data || value(id).items || value(id).stored != nullptr ||
                      value(id).tensor.valid());
  }
  if (known || findings_.any()) return;
  if (rule != nullptr && rule->convert != nullptr) return rule->convert(call);
  if (rule != nullptr && !rule->target.empty()) {
    return call.emit(std::string(rule->target), call.operands(rule->operands));
  }
  const std::string domain(is_main_domain(call.node.domain) ? "onnx" : call.node.domain);
  call.emit(printable(domain + "." + std::string(call.node.type)), call.operands("inputs*"));
}

void Importer::declared_types(Call& call) {
  for (std::size_t i = 0; i < call.out.size(); ++i) {
    if (call.out[i] < 0) continue;
    const auto info = call.scope.declared.find(call.node.outputs[i]);
    if (info == call.scope.declared.end()) continue;
    Value& made = call.result(i);
    if (made.kind != Value::Kind::tensor || made.items) continue;
    Value declared;
    declared.name = made.name;
    type_of(declared, info->second->type, call.place, false);
    if (made.element == 0) made.element = declared.element;
    if (declared.kind != Value::Kind::tensor) made.kind = declared.kind;
    if (!declared.shape) continue;
    if (!made.shape) {
      made.shape = declared.shape;
      continue;
    }
    if (made.shape->size() != declared.shape->size()) {
      findings_.note("the file says that " + in_quotes(made.name) + " is " + show(*declared.shape) +
                     ", its operator makes " + show(*made.shape));
      continue;
    }
    bool differs = false;
    for (std::size_t axis = 0; axis < made.shape->size(); ++axis) {
      Dim& dim = (*made.shape)[axis];
      const Dim& stated = (*declared.shape)[axis];
      if (is_unknown(dim)) dim = stated;
      differs = differs || (is_fixed(dim) && is_fixed(stated) && dim.size != stated.size);
    }
    if (differs) {
      findings_.note("the file says that " + in_quotes(made.name) + " is " + show(*declared.shape) +
                     ", its operator makes " + show(*made.shape));
    }
  }
}

void Importer::inline_function(Call& call, const ProtoFunction& function) {
  if (std::ranges::find(stack_, &function) != stack_.end()) {
    call.fault("the function calls itself");
    return;
  }
  Scope scope;
  scope.prefix = call.scope.prefix +
                 printable(call.node.name.empty() ? call.node.type : call.node.name) + "." +
                 std::to_string(nodes_) + ".";
  scope.opsets = function.opsets.empty() ? call.scope.opsets : &function.opsets;
  scope.module = module;
  scope.module_type = module_type;
  for (const ProtoValueInfo& info : function.value_info) {
    scope.declared.try_emplace(info.name, &info);
  }
  for (const ProtoAttribute& attribute : function.defaults) {
    scope.attributes[attribute.name] = &attribute;
  }
  for (const ProtoAttribute& attribute : call.node.attributes) {
    const ProtoAttribute* given = call.attribute(attribute.name);
    if (given != nullptr) scope.attributes[attribute.name] = given;
  }
  for (std::size_t i = 0; i < function.inputs.size(); ++i) {
    if (call.has(i)) scope.values.try_emplace(function.inputs[i], call.in[i]);
    // An absent operand: a name that stands for nothing.
    if (!call.has(i)) scope.values.try_emplace(function.inputs[i], -1);
  }
  stack_.push_back(&function);
  const Place functions{nullptr, "functions", SIZE_MAX};
  const Place place{&functions, "", static_cast<std::size_t>(&function - model_.functions.data())};
  read_nodes(scope, function.nodes, place);
  stack_.pop_back();
  for (std::size_t i = 0; i < call.out.size(); ++i) {
    if (call.out[i] < 0) continue;
    const auto id = i < function.outputs.size() ? find(scope, function.outputs[i]) : std::nullopt;
    if (id && *id >= 0) {
      call.out[i] = *id;
    } else if (!findings_.any()) {
      call.fault("result " + std::to_string(i) + " is made by no node of the function");
    }
  }
}

void Importer::set_module(const Scope& scope, const ProtoNode& node) {
  module = scope.module;
  module_type = scope.module_type;
  const auto scopes = python_list(metadata(node.metadata, "pkg.torch.onnx.name_scopes"));
  const auto classes = python_list(metadata(node.metadata, "pkg.torch.onnx.class_hierarchy"));
  if (scopes.size() >= 2) module = printable(scopes[scopes.size() - 2]);
  if (scopes.size() >= 2 && classes.size() == scopes.size()) {
    module_type = printable(classes[classes.size() - 2]);
  }
  if (scopes.empty() && node.name.starts_with('/')) module = printable(module_of_path(node.name));
}

const Data* Importer::data(Value& value) {
  if (value.data) return &*value.data;
  if (value.stored == nullptr || !value.shape || !may_fold()) return nullptr;
  value.data = files_.read_data(*value.stored, *value.shape, kMostFolded);
  if (!value.data) return nullptr;
  count_folded(*value.data);
  return &*value.data;
}

void Importer::stored_constant(Value& of, const ProtoTensor& tensor, const Place& place) {
  of.element = tensor.data_type;
  of.stored = &tensor;
  of.in_node = true;
  of.shape = files_.shape_of(tensor, tensor.dims, true, place, findings_);
  constexpr std::int64_t kMostOfAConstant = 64;  // larger tables of reals are weights
  of.weight = is_float(of.element) && element_count(*of.shape).value_or(0) > kMostOfAConstant;
}

void Importer::count_folded(const Data& data) {
  folded_ += 1 + data.size();
  constexpr std::size_t kTextCost = 10;  // of arithmetic on expressions, against numbers
  for (const Dim& dim : data.whole) folded_ += is_fixed(dim) ? 0 : kTextCost;
}

void Importer::roll_back(const Mark& mark) {
  for (std::size_t i = mark.ops; i < graph_.ops.size(); ++i) op_names_.erase(graph_.ops[i].name);
  for (std::size_t i = mark.tensors; i < graph_.tensors.size(); ++i) {
    tensor_names_.erase(graph_.tensors[i].name);
  }
  graph_.ops.resize(mark.ops);
  graph_.tensors.resize(mark.tensors);
  graph_.regions.resize(mark.regions);
  while (!made_.empty() && made_.back().second >= mark.tensors) {
    value(made_.back().first).tensor = TensorId();
    made_.pop_back();
  }
}

}  // namespace parallel_opt::onnx
