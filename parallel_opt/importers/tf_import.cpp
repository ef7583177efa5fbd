#include "parallel_opt/importers/tf_import.h"

#include <algorithm>
#include <array>
#include <unordered_set>

namespace parallel_opt::tf {
namespace {

bool any_of(std::string_view op, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, op) != names.end();
}

/// "model/dense/MatMul" -> "model.dense", without what TensorFlow calls its calls.
std::string module_of(std::string_view path) {
  const std::size_t last = path.rfind('/');
  if (last == std::string_view::npos) return {};
  std::string module;
  std::size_t from = 0;
  while (from <= last) {
    const std::size_t end = std::min(path.find('/', from), last);
    const std::string_view part = path.substr(from, end - from);
    const bool call = part.starts_with("StatefulPartitionedCall") ||
                      part.starts_with("PartitionedCall") || part == "Func" || part.empty();
    if (!call) {
      if (!module.empty()) module += '.';
      for (const char letter : part) module += letter == '.' ? '_' : letter;
    }
    from = end + 1;
  }
  return module;
}

/// The scope that a call stands in: "model/dense/StatefulPartitionedCall" -> "model/dense/".
std::string scope_of_call(const std::string& scope, std::string_view name) {
  const std::size_t last = name.rfind('/');
  const std::string_view own = last == std::string_view::npos ? name : name.substr(last + 1);
  const bool generic =
      own.starts_with("StatefulPartitionedCall") || own.starts_with("PartitionedCall");
  if (!generic) return scope + std::string(name) + "/";
  return last == std::string_view::npos ? scope : scope + std::string(name.substr(0, last + 1));
}

/// A function's nodes may carry their whole path already.
std::string full_name(const std::string& scope, std::string_view name) {
  if (scope.empty() || name.starts_with(scope)) return std::string(name);
  return scope + std::string(name);
}

}  // namespace

void Importer::define(const std::vector<Function>& functions) {
  for (const Function& function : functions) {
    functions_[function.signature.name] = &function;
    c_.definitions.emplace(function.signature.name, &function.signature);
  }
}

const Body& Importer::function(std::string_view name) {
  if (const auto known = bodies_.find(name); known != bodies_.end()) return *known->second;
  const auto found = functions_.find(name);
  if (found == functions_.end()) {
    c_.out.fail("calls the function '" + std::string(name) + "', which is not in the file",
                "is the file complete?");
  }
  auto body = std::make_unique<Body>(wire_function(*found->second, c_.definitions, where_));
  return *bodies_.emplace(found->first, std::move(body)).first->second;
}

Values Importer::call(std::string_view name, const Values& arguments, const std::string& scope) {
  constexpr std::size_t kDeepest = 100;
  if (std::ranges::find(calls_, name) != calls_.end()) {
    c_.out.fail("the function '" + std::string(name) + "' calls itself",
                "recursive functions have no fixed graph");
  }
  if (calls_.size() >= kDeepest) c_.out.fail("functions call each other more than 100 deep");
  const Body& body = function(name);
  const std::size_t wanted = functions_.at(name)->signature.inputs.size();
  if (arguments.size() != wanted) {
    c_.out.fail("gives " + std::to_string(arguments.size()) + " arguments to the function '" +
                    std::string(name) + "', which takes " + std::to_string(wanted),
                "");
  }
  calls_.push_back(body.name);
  Values results = run(body, body.results, arguments, scope);
  calls_.pop_back();
  return results;
}

Values Importer::run(const Body& body, const std::vector<Source>& results, const Values& arguments,
                     const std::string& scope) {
  Run run{body, arguments, scope, c_.out.region, {}, {}, {}, {}};
  run.outputs.resize(body.nodes->size());
  run.regions.resize(body.nodes->size(), run.base);
  run.frames.resize(body.frames.size());
  const std::string where = c_.out.where;
  const std::string name = c_.out.name;
  const std::string module = c_.out.module;
  for (const int index : body.order) visit(run, index);
  c_.out.where = where;
  c_.out.name = name;
  c_.out.module = module;
  c_.out.region = run.base;
  Values values;
  for (const Source& source : results) values.push_back(value(run, source));
  return values;
}

ValueId Importer::value(const Run& run, const Source& source) const {
  if (source.argument) return run.arguments[static_cast<std::size_t>(source.index)];
  const Values& outputs = run.outputs[static_cast<std::size_t>(source.index)];
  const auto output = static_cast<std::size_t>(source.output);
  if (output < outputs.size()) return outputs[output];
  if (!outputs.empty() && c_.at(outputs[0]).kind == Value::Kind::dead) return outputs[0];
  const Node& node = run.body.node(source.index);
  throw InputError(c_.out.file() + ":node '" + std::string(node.name) + "'",
                   "has no output " + std::to_string(source.output) + ": operator '" +
                       std::string(node.op) + "' makes " + std::to_string(outputs.size()),
                   "");
}

/// Name, module and region of the operators that a node becomes; false: the node does not run.
bool Importer::set_place(Run& run, int index, const Values& in) {
  const Node& node = run.body.node(index);
  c_.out.name = full_name(run.scope, node.name);
  c_.out.module = module_of(c_.out.name);
  c_.out.where = "node '" + c_.out.name + "'";
  const int frame =
      run.body.frame_of.empty() ? -1 : run.body.frame_of[static_cast<std::size_t>(index)];
  RegionId region = frame >= 0 && run.frames[static_cast<std::size_t>(frame)].valid()
                        ? run.frames[static_cast<std::size_t>(frame)]
                        : run.base;
  const auto deeper = [&](RegionId other) {
    if (other.valid() && other != region && encloses(c_.out.graph(), region, other)) region = other;
  };
  bool alive = true;
  for (const ValueId id : in) {
    deeper(c_.at(id).region);
    alive = alive && c_.at(id).kind != Value::Kind::dead;
  }
  for (const int control : run.body.wires[static_cast<std::size_t>(index)].controls) {
    const auto at = static_cast<std::size_t>(control);
    // What a loop leaves must not draw its successors into the loop.
    const int other = run.body.frame_of.empty() ? -1 : run.body.frame_of[at];
    if (other == frame) deeper(run.regions[at]);
    const Values& outputs = run.outputs[at];
    alive = alive && (outputs.empty() || c_.at(outputs[0]).kind != Value::Kind::dead);
  }
  c_.out.region = region;
  run.regions[static_cast<std::size_t>(index)] = region;
  return alive;
}

void Importer::visit(Run& run, int index) {
  if (budget_-- == 0) {
    c_.out.fail("the functions unfold to too many operators",
                "functions that call functions multiply: import a part of the model");
  }
  const Node& node = run.body.node(index);
  Values in;
  const bool merge = node.op == "Merge" || node.op == "RefMerge";
  for (const Source& source : run.body.wires[static_cast<std::size_t>(index)].inputs) {
    const bool later =
        !source.argument && run.outputs[static_cast<std::size_t>(source.index)].empty();
    const std::string_view from = source.argument ? "" : run.body.node(source.index).op;
    if (merge && later && (from == "NextIteration" || from == "RefNextIteration")) continue;
    in.push_back(value(run, source));
  }
  Values& outputs = run.outputs[static_cast<std::size_t>(index)];
  if (!set_place(run, index, in) && !merge) {
    outputs = {c_.nothing(Value::Kind::dead)};
    return;
  }
  outputs = dispatch(run, index, in);
}

Values Importer::dispatch(Run& run, int index, const Values& in) {
  const Node& node = run.body.node(index);
  if (auto results = control(run, index, in)) return *results;
  bool done = false;
  Values results = simple(node, in, done);
  if (done) return results;
  if (any_of(node.op, {"PartitionedCall", "StatefulPartitionedCall", "TPUPartitionedCall"})) {
    return call(node.text("f"), in, scope_of_call(run.scope, node.name));
  }
  if (functions_.contains(node.op)) {
    return call(node.op, in, scope_of_call(run.scope, node.name));
  }
  if (any_of(node.op, {"If", "StatelessIf", "Case", "StatelessCase"})) {
    return branch(node, in, run.scope);
  }
  if (any_of(node.op, {"While", "StatelessWhile"})) return loop(node, in, run.scope);
  if (auto folded = fold(c_, node, in)) return *folded;
  if (const Handler handler = find_handler(node.op)) return handler(c_, node, in);
  return c_.opaque(node, in);
}

Values Importer::simple(const Node& node, const Values& in, bool& done) {
  done = true;
  const std::string_view op = node.op;
  if (op == "Const") return constant(node);
  if (op.starts_with("Placeholder") && in.empty()) return placeholder(node);
  if (any_of(op, {"VarHandleOp", "VariableV2", "Variable"})) return handle(node);
  if (any_of(op, {"Identity", "RefIdentity", "ReadVariableOp", "Snapshot", "PreventGradient",
                  "CheckNumerics", "PlaceholderWithDefault", "EnsureShape", "XlaSharding",
                  "DebugIdentityV2", "OptimizationBarrier", "DisableCopyOnRead"})) {
    if (!in.empty()) return identity(node, in);
  }
  if (op == "IdentityN") return in;
  if (any_of(op, {"NoOp", "Assert", "Print", "PrintV2", "ControlTrigger", "VarIsInitializedOp"})) {
    return {c_.nothing()};
  }
  if (op.ends_with("HashTableV2") || op.ends_with("HashTable") || op == "SeedGenerator") {
    return {c_.nothing(Value::Kind::resource)};
  }
  done = false;
  return {};
}

Values Importer::constant(const Node& node) {
  constexpr std::int64_t kMostKnown = 256;  // sizes are few
  const Attr* attr = node.find("value");
  if (attr == nullptr || attr->kind != Attr::Kind::tensor) c_.out.fail("a constant has no value");
  TensorValue tensor = read_tensor(attr->text, c_.out.file() + ":" + c_.out.where, kMostKnown);
  const auto dtype = dtype_of(tensor.type);
  if (!dtype) return {c_.nothing(Value::Kind::text)};
  Value value;
  value.dtype = *dtype;
  value.name = c_.out.name;
  for (const std::int64_t size : tensor.shape.dims) value.shape.push_back(sizes::fixed(size));
  c_.out.check_shape(value.shape);
  if (tensor.known) {
    value.known.emplace();
    for (const std::int64_t element : tensor.values) value.known->push_back(sizes::fixed(element));
  }
  return {c_.add(std::move(value))};
}

Values Importer::placeholder(const Node& node) {
  if (const auto given = inputs.find(node.name); given != inputs.end()) return {given->second};
  const auto dtype = dtype_of(node.type("dtype"));
  if (!dtype) return {c_.nothing(Value::Kind::text)};
  const Attr* attr = node.find("shape");
  std::optional<Shape> shape;
  if (attr != nullptr) shape = c_.stated(attr->shape);
  const RegionId region = c_.out.region;
  c_.out.region = RegionId();
  const TensorId id =
      c_.out.add_tensor(c_.out.name, TensorRole::input, {*dtype, shape.value_or(Shape())});
  c_.out.graph().inputs.push_back(id);
  const ValueId value = c_.value_of(id);
  c_.at(value).ranked = shape.has_value();
  c_.out.region = region;
  return {value};
}

Values Importer::handle(const Node& node) {
  for (std::size_t i = 0; i < c_.variables.size(); ++i) {
    if (c_.variables[i].name != c_.out.name) continue;
    Value again;
    again.kind = Value::Kind::variable;
    again.variable = static_cast<int>(i);
    again.dtype = c_.variables[i].dtype;
    again.shape = c_.variables[i].shape;
    return {c_.add(std::move(again))};
  }
  const auto known = facts.find(node.name);
  const Attr* attr = node.find("shape");
  ShapeProto shape;
  shape.ranked = false;
  if (attr != nullptr) shape = attr->shape;
  const auto open = [](const ShapeProto& s) {
    return !s.ranked || std::ranges::find(s.dims, -1) != s.dims.end();
  };
  if (open(shape) && known != facts.end()) shape = known->second.shape;
  int type = node.type("dtype");
  if (type == 0 && known != facts.end()) type = known->second.type;
  const auto dtype = dtype_of(type);
  if (!dtype) return {c_.nothing(Value::Kind::resource)};
  Variable variable;
  variable.dtype = *dtype;
  variable.name = c_.out.name;
  variable.trainable = known == facts.end() || known->second.trainable;
  if (open(shape)) {
    c_.out.note("variable '" + variable.name +
                "' has no known shape: it is counted as one element");
  } else {
    for (const std::int64_t size : shape.dims) variable.shape.push_back(sizes::fixed(size));
  }
  c_.out.check_shape(variable.shape);
  Value value;
  value.kind = Value::Kind::variable;
  value.variable = static_cast<int>(c_.variables.size());
  value.dtype = variable.dtype;
  value.shape = variable.shape;
  std::string fqn = variable.name;
  std::ranges::replace(fqn, '/', '.');
  variable.name = std::move(fqn);
  c_.variables.push_back(std::move(variable));
  return {c_.add(std::move(value))};
}

Values Importer::identity(const Node& node, const Values& in) {
  Value& value = c_.at(in[0]);
  // Freezing replaces the read of a variable by the identity of a constant: name it after the read.
  const bool read = node.name.ends_with("/ReadVariableOp") || node.name.ends_with("/read");
  if (c_.frozen && read && !value.tensor.valid() && !value.known &&
      value.kind == Value::Kind::tensor) {
    value.weight = true;
    if (value.name.find('/') == std::string::npos) {
      value.name = c_.out.name.substr(0, c_.out.name.rfind('/'));
    }
  }
  if (node.op == "EnsureShape" && !value.ranked) {
    const Attr* attr = node.find("shape");
    if (attr != nullptr) {
      if (const auto shape = c_.stated(attr->shape)) c_.set_shape(in[0], *shape);
    }
  }
  return {in[0]};
}

}  // namespace parallel_opt::tf
