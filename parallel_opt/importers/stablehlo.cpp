#include "parallel_opt/importers/stablehlo.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <utility>

#include "parallel_opt/base/error.h"
#include "parallel_opt/importers/mapped_file.h"
#include "parallel_opt/importers/stablehlo_import.h"

namespace parallel_opt {
namespace stablehlo {
namespace {

using mlir::Op;

bool is_return(std::string_view name) {
  return name == "return" || name == "func.return" || name == "stablehlo.return" ||
         name == "sdy.return";
}

/// "jit(step)/model/block_0/dot_general" -> "model.block_0". Transformations wrap a scope:
/// "jvp(block_0)" is block_0; "vmap()" and "jit(relu)" are no scopes.
std::string module_of(std::string_view path) {
  std::string module;
  const std::size_t last = path.rfind('/');
  if (last == std::string_view::npos) return module;
  std::size_t from = 0;
  std::string_view turned;  // a scope that the derivative of a checkpoint names twice
  while (from < last) {
    const std::size_t end = std::min(path.find('/', from), last);
    std::string_view part = path.substr(from, end - from);
    from = end + 1;
    const bool function = part.starts_with("jit(") || part.starts_with("pjit(") ||
                          part.starts_with("while") || part == "body" || part == "cond" ||
                          part == "closed_call" || part.starts_with("branch_") ||
                          part == "checkpoint" || part == "rematted_computation";
    if (function || part.find("->") != std::string_view::npos) continue;
    const bool transformed = part.find('(') != std::string_view::npos;
    while (part.find('(') != std::string_view::npos) {
      part.remove_prefix(part.find('(') + 1);
      while (part.ends_with(')')) part.remove_suffix(1);
    }
    if (part.empty() || (transformed && part == turned)) continue;
    turned = transformed ? part : std::string_view();
    if (!module.empty()) module += '.';
    for (const char letter : part) module += letter == '.' ? '_' : letter;
  }
  return module;
}

}  // namespace

ValueId Importer::add(Value value) {
  values_.push_back(std::move(value));
  return values_.size() - 1;
}

TensorId Importer::tensor(ValueId id) {
  if (at(id).base != SIZE_MAX && !at(id).tensor.valid()) {
    const Value write = at(id);
    const TensorId base = tensor(write.base);
    const TensorId update = tensor(write.update);
    const TensorId made =
        out.add("aten.slice_scatter.default", {{"self", base}, {"src", update}}, write.type);
    at(id).tensor = made;
    at(id).region = out.region;
  }
  Value& value = at(id);
  if (!value.tensor.valid()) {
    value.tensor = out.add_tensor("constant", TensorRole::constant, value.type);
    value.region = RegionId();
  }
  if (value.region.valid() && !encloses(out.graph(), value.region, out.region)) {
    return out.join({value.tensor}, value.type);
  }
  return value.tensor;
}

ValueId Importer::value_of(TensorId id) {
  Value value;
  value.tensor = id;
  value.type = {out.tensor(id).dtype, out.tensor(id).shape};
  value.region = out.region;
  return add(std::move(value));
}

ValueId Importer::emit(std::string target, const Arguments& arguments, const ResultType& type,
                       Attributes attributes) {
  return emit_all(std::move(target), arguments, {type}, std::move(attributes)).front();
}

Values Importer::emit_all(std::string target, const Arguments& arguments,
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

ValueId Importer::permute(ValueId id, const std::vector<std::int64_t>& order) {
  if (std::ranges::is_sorted(order)) return id;
  Shape shape_of_result;
  for (const std::int64_t axis : order) {
    shape_of_result.push_back(shape(id)[static_cast<std::size_t>(axis)]);
  }
  return emit("aten.permute.default", {{"self", id}}, {type(id).dtype, shape_of_result},
              {{"dims", order}});
}

ValueId Importer::reshape(ValueId id, const Shape& target) {
  if (shape(id) == target) return id;
  return emit("aten.reshape.default", {{"self", id}}, {type(id).dtype, target});
}

Values Importer::opaque(const Op& op, const Values& in, Attributes attributes) {
  Arguments arguments;
  for (const ValueId id : in) {
    if (at(id).tensor_type) arguments.emplace_back("inputs", id);
  }
  std::vector<ResultType> types;
  for (std::size_t i = 0; i < op.result_count(); ++i) types.push_back(result(op, i));
  for (const auto& [key, text] : op.attributes) {
    attributes.try_emplace(std::string(key), std::string(text.substr(0, 128)));
  }
  return emit_all(std::string(op.name), arguments, types, std::move(attributes));
}

Dim Importer::open_size() {
  constexpr std::int64_t kBatch = 1;
  if (out.graph().symbols.empty()) {
    out.graph().symbols.push_back({"batch", 1, INT64_MAX, kBatch});
    out.note("sizes that the text leaves open ('?') are counted as batch = 1");
  }
  return sizes::symbol("batch", kBatch);
}

ResultType Importer::convert(const mlir::Type& type) {
  ResultType result_type;
  if (!type.tensor) return {DType::u8, {}};
  result_type.dtype = type.dtype;
  for (const std::int64_t size : type.dims) {
    result_type.shape.push_back(size < 0 ? open_size() : sizes::fixed(size));
  }
  out.check_shape(result_type.shape);
  return result_type;
}

ResultType Importer::result(const Op& op, std::size_t i, const Values& in) {
  if (i >= op.result_types.size()) out.fail("the result's type is missing");
  // "stablehlo.select %p, %a, %b : tensor<2xi1>, tensor<2xf32>": the result's type is the last.
  const bool more = op.result_types.size() > op.result_count();
  const mlir::Type& stated = more ? op.result_types.back() : op.result_types[i];
  ResultType type = convert(stated);
  if (!in.empty() && shape(in[0]).size() == type.shape.size()) {
    for (std::size_t axis = 0; axis < type.shape.size(); ++axis) {
      if (type.shape[axis].symbolic()) type.shape[axis] = shape(in[0])[axis];
    }
  }
  return type;
}

std::string_view Importer::reducer(const Op& op) const {
  if (op.regions.size() != 1 || op.regions[0].ops.size() != 2) return {};
  return op.regions[0].ops[0].name;
}

const mlir::Function* Importer::function(std::string_view name) const {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : found->second;
}

std::string Importer::line_of(std::string_view part) const {
  const auto offset = static_cast<std::size_t>(part.data() - text_.data());
  const auto at_line = std::ranges::lower_bound(lines_, offset);
  return std::to_string(at_line - lines_.begin() + 1);
}

ValueId Importer::find(const Op& op, const Scope& scope, std::string_view name) const {
  const std::size_t hash = name.find('#');
  const std::string_view base = name.substr(0, hash);
  const auto numbers = hash == std::string_view::npos ? std::vector<std::int64_t>{0}
                                                      : mlir::integers(name.substr(hash + 1));
  for (const Scope* at_scope = &scope; at_scope != nullptr; at_scope = at_scope->outer) {
    const auto found = at_scope->values.find(base);
    if (found == at_scope->values.end()) continue;
    const bool inside = numbers.size() == 1 && numbers[0] >= 0 &&
                        numbers[0] < static_cast<std::int64_t>(found->second.size());
    if (inside) return found->second[static_cast<std::size_t>(numbers[0])];
    break;
  }
  throw InputError(out.file() + ":" + line_of(op.text),
                   "uses '" + std::string(name) + "', which is not there", "");
}

std::string Importer::location_name(std::string_view location) const {
  // "#loc4" -> "\"jit(f)/model/add\"(#loc1)"; callsites and fused locations name no scope.
  for (int steps = 0; steps < 16 && location.starts_with('#'); ++steps) {
    const auto found = module_.locations.find(location);
    if (found == module_.locations.end()) return {};
    location = found->second;
  }
  if (!location.starts_with('"')) return {};
  std::string_view name = location.substr(1, location.find('"', 1) - 1);
  return std::string(name);
}

/// A called function names its scopes from its own beginning, the module's own ("jit(step)/...")
/// from the text's.
std::string Importer::placed_in(std::string_view path) const {
  std::string module = module_of(path);
  std::string root(path.substr(0, path.find('/')));
  std::ranges::replace_if(root, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  root.erase(root.find_last_not_of('_') + 1);
  const bool whole = path.find('/') != path.npos && module_.name.ends_with(root);
  if (call_module_.empty() || whole) return module;
  return module.empty() ? call_module_ : call_module_ + "." + module;
}

void Importer::place(const Op& op, const Values& in) {
  const std::string_view name = op.results.empty() ? op.name : op.results[0];
  out.name = std::string(op.name.substr(op.name.find('.') + 1)) + "_" +
             std::string(name.starts_with('%') ? name.substr(1) : name);
  if (!op.location.empty()) {
    const std::string path = location_name(op.location);
    if (!path.empty()) out.module = placed_in(path);
  }
  RegionId region = out.region;
  for (const ValueId id : in) {
    const RegionId other = at(id).region;
    if (other.valid() && encloses(out.graph(), region, other)) region = other;
  }
  out.region = region;
}

void Importer::run_ops(const mlir::RegionBody& body, Scope& scope, Values& left) {
  for (const Op& op : body.ops) visit(op, scope, left);
}

void Importer::visit(const Op& op, Scope& scope, Values& left) {
  out.where = line_of(op.text);
  if (budget_-- == 0) {
    out.fail("the functions unfold to too many operators",
             "functions that call functions multiply: lower a part of the model");
  }
  Values in;
  for (const std::string_view operand : op.operands) in.push_back(find(op, scope, operand));
  check_operands(op, in);
  if (is_return(op.name)) {
    left = in;
    return;
  }
  const RegionId region = out.region;
  const std::string module = out.module;
  place(op, in);
  const Values results = dispatch(op, in, scope);
  out.region = region;
  out.module = module;
  if (results.size() < op.result_count()) {
    out.fail("operator '" + std::string(op.name) + "' makes " + std::to_string(results.size()) +
             " results, not " + std::to_string(op.result_count()));
  }
  check_results(op, in, results);
  std::size_t next = 0;
  for (std::size_t i = 0; i < op.results.size(); ++i) {
    define(scope, op.results[i],
           {results.begin() + static_cast<std::ptrdiff_t>(next),
            results.begin() + static_cast<std::ptrdiff_t>(next + op.result_counts[i])});
    next += op.result_counts[i];
  }
}

void Importer::define(Scope& scope, std::string_view name, Values values) {
  for (const Scope* around = &scope; around != nullptr; around = around->outer) {
    if (around->values.contains(name)) out.fail("defines '" + std::string(name) + "' twice");
  }
  scope.values.emplace(name, std::move(values));
}

Values Importer::dispatch(const Op& op, const Values& in, Scope& scope) {
  const std::string_view name = op.name;
  if (name == "stablehlo.constant" || name == "chlo.constant") return constant(op);
  if (name == "call" || name == "func.call") {
    std::string_view callee = op.word("@");
    if (callee.empty()) callee = op.find("callee");
    return call(op, callee.substr(std::min<std::size_t>(1, callee.size())), in);
  }
  if (name == "stablehlo.composite") {
    const std::string_view callee = op.find("decomposition");
    return call(op, callee.substr(std::min<std::size_t>(1, callee.size())), in);
  }
  if (name == "stablehlo.custom_call") return custom_call(op, in);
  if (name == "sdy.manual_computation") return per_device(op, in, scope);
  if (name == "stablehlo.while") return loop(op, in, scope);
  if (name == "stablehlo.if" || name == "stablehlo.case") return branch(op, in, scope);
  if (const Handler handler = find_handler(name)) return handler(*this, op, in);
  return opaque(op, in);
}

std::string_view constant_text(const Op& op) {
  std::string_view text = op.word("dense");
  if (text.empty()) text = op.find("value");
  // "dense<7> : tensor<i32>" in the generic form
  const std::size_t end = text.find("> :");
  return end == std::string_view::npos ? text : text.substr(0, end + 1);
}

Values Importer::constant(const Op& op) {
  Value value;
  value.type = result(op, 0);
  check_constant(op, value.type);
  if (value.type.shape.empty() && !is_floating(value.type.dtype)) {
    const auto numbers = mlir::dense_integers(constant_text(op), 1);
    if (numbers) value.known = numbers->front();
  }
  return {add(std::move(value))};
}

Values Importer::call(const Op& op, std::string_view name, const Values& in) {
  constexpr std::size_t kDeepest = 100;
  if (name.starts_with('"')) name = name.substr(1, name.size() - 2);
  const mlir::Function* callee = function(name);
  if (callee == nullptr) {
    out.fail("calls the function '" + std::string(name) + "', which is not in the text");
  }
  if (std::ranges::find(calls_, callee->name) != calls_.end()) {
    out.fail("the function '" + std::string(name) + "' calls itself");
  }
  if (calls_.size() >= kDeepest) out.fail("functions call each other more than 100 deep");
  if (callee->arguments.size() != in.size()) {
    out.fail("gives " + std::to_string(in.size()) + " arguments to the function '" +
             std::string(name) + "', which takes " + std::to_string(callee->arguments.size()));
  }
  calls_.push_back(callee->name);
  Scope scope;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const mlir::Argument& argument = callee->arguments[i];
    const ResultType taken = convert(argument.type);
    if (argument.type.tensor && at(in[i]).tensor_type && !agree(taken, type(in[i]))) {
      differ(op, "an argument is taken as and is", taken, type(in[i]));
    }
    define(scope, argument.name, {in[i]});
  }
  Values left;
  const std::string where = out.where, around = std::exchange(call_module_, out.module);
  run_ops(callee->body, scope, left);
  out.where = where;
  call_module_ = around;
  calls_.pop_back();
  return left;
}

/// Calls into libraries: shardings and assertions compute nothing, attention and products are what
/// they say.
Values Importer::custom_call(const Op& op, const Values& in) {
  std::string_view target = op.word("@");
  target = target.empty() ? op.find("call_target_name") : target.substr(1);
  while (target.starts_with('"')) target = target.substr(1, target.size() - 2);
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, target) != names.end();
  };
  if (is({"Sharding", "annotate_device_placement"})) return in;
  if (is({"SPMDFullToShardShape", "SPMDShardToFullShape"})) return resized(op, in);
  if (target.starts_with("shape_assertion")) return {};
  if (is({"__cudnn$fmhaSoftmax", "__cudnn$fmhaScaleBiasSoftmax", "__cudnn$fmhaScaleMaskSoftmax",
          "__cudnn$fmhaSoftmaxDropout"}) &&
      in.size() >= 3) {
    Values results = {emit("aten.scaled_dot_product_attention.default",
                           {{"query", in[0]}, {"key", in[1]}, {"value", in[2]}}, result(op, 0))};
    for (std::size_t i = 1; i < op.result_count(); ++i) {
      results.push_back(emit("aten.empty.memory_format", {}, result(op, i)));
    }
    return results;
  }
  if (is({"TopK", "mhlo.topk", "ApproxTopK"}) && op.result_count() == 2 && !in.empty()) {
    return emit_all("aten.topk.default", {{"self", in[0]}}, {result(op, 0), result(op, 1)},
                    {{"dim", std::int64_t{-1}}});
  }
  if ((target.starts_with("__cublas$") || target == "__onednn$matmul") && in.size() >= 2 &&
      op.result_count() >= 1) {
    const Shape& a = shape(in[0]);
    double points = 2;
    for (const Dim& dim : result(op, 0).shape) points *= static_cast<double>(dim.size);
    if (!a.empty()) points *= static_cast<double>(a.back().size);
    return opaque(op, in, {{"bound_flops", points}, {"call_target", std::string(target)}});
  }
  Values results = opaque(op, in, {{"call_target", std::string(target)}});
  out.note("the custom call '" + std::string(target) + "' is not known");
  return results;
}

/// Without names, the data are the last argument and those before it that share its first size; the
/// floating arguments before them are the weights. With names, the parts of a structure are.
std::vector<bool> Importer::guess_parameters(const mlir::Function& main) const {
  const std::size_t count = main.arguments.size();
  std::vector<bool> weights(count, false);
  const auto floating = [&](std::size_t i) {
    const mlir::Type& type = main.arguments[i].type;
    return type.tensor && is_floating(type.dtype);
  };
  std::vector<std::string> roots(count);
  std::map<std::string, int> leaves;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string path = location_name(main.arguments[i].location);
    roots[i] = path.substr(0, path.find_first_of("[."));
    if (!roots[i].empty() && roots[i].size() < path.size()) ++leaves[roots[i]];
  }
  if (!leaves.empty()) {
    for (std::size_t i = 0; i < count; ++i) weights[i] = floating(i) && leaves.contains(roots[i]);
    return weights;
  }
  if (count == 0) return weights;
  const std::vector<std::int64_t>& last = main.arguments[count - 1].type.dims;
  std::size_t data = count - 1;
  while (data > 0) {
    const std::vector<std::int64_t>& dims = main.arguments[data - 1].type.dims;
    const bool same = !last.empty() && !dims.empty() && dims[0] == last[0];
    if (!same && floating(data - 1) && !dims.empty()) break;
    --data;
  }
  for (std::size_t i = 0; i < data; ++i) weights[i] = floating(i);
  return weights;
}

void Importer::add_arguments(const mlir::Function& main, Values& arguments) {
  const std::vector<bool> weights = guess_parameters(main);
  bool named = false;
  for (std::size_t i = 0; i < main.arguments.size(); ++i) {
    const mlir::Argument& argument = main.arguments[i];
    std::string name = location_name(argument.location);
    named = named || !name.empty();
    if (name.empty()) name = std::string(argument.name.substr(1));
    out.where = line_of(argument.name);
    const ResultType type_of_argument = convert(argument.type);
    const TensorId id = out.add_tensor(name, weights[i] ? TensorRole::parameter : TensorRole::input,
                                       type_of_argument);
    Tensor& made = out.graph().tensors[id.index()];
    if (weights[i]) {
      made.fqn = made.name;
      made.requires_grad = true;
    } else {
      out.graph().inputs.push_back(id);
    }
    arguments.push_back(value_of(id));
    if (argument.attributes.find("sharding") != std::string_view::npos) {
      out.note("shardings written in the text were left out: the planner chooses its own");
    }
  }
  if (!weights.empty()) {
    out.note(named ? "weights are the arguments that are parts of a structure"
                   : "the text names no weights: the floating arguments before the data are taken "
                     "for them");
  }
}

void Importer::run_main() {
  const mlir::Function* main = nullptr;
  for (const mlir::Function& one : module_.functions) {
    if (!functions_.emplace(one.name, &one).second) {
      out.where = line_of(one.name);
      out.fail("defines the function '" + std::string(one.name) + "' twice");
    }
    if (one.is_public && (main == nullptr || one.name == "main")) main = &one;
  }
  if (main == nullptr) out.fail("no public function in the text");
  Values arguments;
  add_arguments(*main, arguments);
  Scope scope;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    define(scope, main->arguments[i].name, {arguments[i]});
  }
  calls_.push_back(main->name);
  Values left;
  run_ops(main->body, scope, left);
  out.where = "results of '" + std::string(main->name) + "'";
  for (const ValueId id : left) out.graph().outputs.push_back(tensor(id));
  if (left.empty()) out.fail("the public function returns nothing");
  out.where.clear();
}

bool is_training_step(const mlir::Module& module, const Graph& graph) {
  for (const std::string_view word : {"train", "grad"}) {
    if (module.name.find(word) != std::string_view::npos) return true;
  }
  for (const auto& [alias, location] : module.locations) {
    if (location.find("transpose(jvp") != std::string_view::npos) return true;
  }
  // One that returns every weight anew.
  using Kind = std::pair<DType, std::string>;
  std::map<Kind, int> missing;
  std::size_t weights = 0;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.role != TensorRole::parameter) continue;
    ++missing[{tensor.dtype, sizes::text(tensor.shape)}];
    ++weights;
  }
  for (const TensorId id : graph.outputs) {
    const auto kind = missing.find({graph.tensor(id).dtype, sizes::text(graph.tensor(id).shape)});
    if (kind != missing.end() && --kind->second == 0) missing.erase(kind);
  }
  return weights > 1 && missing.empty();
}

Handler find_handler(std::string_view name) {
  static const std::unordered_map<std::string_view, Handler> kHandlers = [] {
    std::unordered_map<std::string_view, Handler> all;
    for (const auto& rows : {math_handlers(), shape_handlers(), linear_handlers()}) {
      for (const HandlerRow& row : rows) all.emplace(row.op, row.run);
    }
    return all;
  }();
  const std::size_t dot = name.find('.');
  const std::string_view dialect = name.substr(0, dot);
  if (dialect != "stablehlo" && dialect != "chlo" && dialect != "sdy" && dialect != "mhlo") {
    return nullptr;
  }
  const auto found = kHandlers.find(name.substr(dot + 1));
  return found == kHandlers.end() ? nullptr : found->second;
}

}  // namespace stablehlo

Graph read_stablehlo(std::string_view text, const std::string& name) {
  const mlir::Module module = mlir::parse_module(text, name);
  constexpr std::size_t kMost = 200'000;
  OpWriter writer(name, kMost);
  stablehlo::Importer importer(writer, module, text);
  importer.run_main();
  if (stablehlo::is_training_step(module, writer.graph())) {
    for (Tensor& tensor : writer.graph().tensors) tensor.requires_grad = false;
    writer.note(
        "a training step: its forward, backward and update are one function here, all counted as "
        "forward; no backward is derived from it");
  }
  const std::filesystem::path path(name);
  writer.graph().source = path.filename().string();
  std::string title(module.name);
  if (title.starts_with("jit_")) title = title.substr(4);
  writer.graph().name = title.empty() ? path.stem().string() : title;
  return writer.finish();
}

Graph load_stablehlo(const std::string& path) {
  const MappedFile file(path);
  return read_stablehlo(file.bytes(), path);
}

bool looks_like_stablehlo(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  for (int i = 0; i < 10'000 && std::getline(in, line); ++i) {
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    const std::string_view text = std::string_view(line).substr(first);
    if (text.starts_with("//") || text.starts_with("#loc")) continue;
    return text.starts_with("module") || text.starts_with("\"builtin.module\"");
  }
  return false;
}

}  // namespace parallel_opt
