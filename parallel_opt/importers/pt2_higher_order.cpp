#include <algorithm>
#include <array>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/pt2_graph.h"

/// Operators that take graphs: bodies that run exactly once are read in place, the rest stay one
/// opaque operator.
namespace parallel_opt::pt2 {
namespace {

using Node = JsonTree::Node;
using Kind = JsonTree::Kind;

/// Their one body runs any number of times, or is no function of tensors alone.
constexpr auto kRepeated = std::to_array<std::string_view>(
    {"associative_scan", "cond", "flex_attention", "flex_attention_backward", "map", "map_impl",
     "scan", "while_loop"});

bool is_repeated(std::string_view target) {
  return std::ranges::any_of(kRepeated, [&](std::string_view name) {
    return target == "higher_order." + std::string(name);
  });
}

}  // namespace

std::vector<Node> flattened(Node arguments) {
  std::vector<Node> result;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const Variant argument = variant_of(arguments.at(i));
    if (argument.value.is(Kind::array)) {
      for (std::size_t j = 0; j < argument.value.size(); ++j)
        result.push_back(argument.value.at(j));
    } else {
      result.push_back(argument.value);
    }
  }
  return result;
}

std::vector<GraphReader::Body> GraphReader::bodies_of(Node node) const {
  std::vector<Body> bodies;
  const Node inputs = node["inputs"];
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Variant argument = variant_of(inputs.at(i)["arg"]);
    if (argument.key != "as_graph") continue;
    const Node name = argument.value["name"];
    bodies.push_back({name.is(Kind::string) ? name.string() : "body", argument.value["graph"], i});
  }
  return bodies;
}

bool GraphReader::inline_body(Scope& scope, Node node, const Body& body, const Place& place) {
  std::string_view target = node["target"].string();
  if (target.starts_with("torch.ops.")) target.remove_prefix(10);
  if (is_repeated(target)) return false;
  // What follows the body are its operands, but for names and switches.
  std::vector<std::pair<Node, std::size_t>> operands;
  const Node inputs = node["inputs"];
  for (std::size_t i = body.position + 1; i < inputs.size(); ++i) {
    const Variant argument = variant_of(inputs.at(i)["arg"]);
    if (argument.key == "as_tensor") operands.emplace_back(argument.value, i);
    if (argument.key == "as_sym_int" || argument.key == "as_int") {
      operands.emplace_back(argument.value, i);
    }
    if (argument.key == "as_tensors" || argument.key == "as_sym_ints") {
      for (std::size_t j = 0; j < argument.value.size(); ++j) {
        operands.emplace_back(argument.value.at(j), i);
      }
    }
  }
  const Node body_inputs = body.graph["inputs"];
  const std::vector<Node> inner = flattened(body_inputs);
  const std::vector<Node> results = flattened(body.graph["outputs"]);
  const std::vector<Node> outer = flattened(node["outputs"]);
  if (inner.size() != operands.size() || results.size() < outer.size()) return false;

  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const Place body_place{&inputs_place, "", body.position};
  const Place graph_place{&body_place, "arg.as_graph.graph", SIZE_MAX};
  Scope scope_of_body;
  const Node name = node["name"];
  scope_of_body.prefix = scope.prefix +
                         std::string(name.is(Kind::string) ? name.string() : body.name) + "." +
                         std::to_string(graph_.ops.size()) + ".";
  open(scope_of_body, body.graph, graph_place);
  const std::size_t first_op = graph_.ops.size();
  for (std::size_t i = 0; i < inner.size(); ++i) {
    if (!inner[i]["name"].is(Kind::string)) continue;
    if (!operands[i].first["name"].is(Kind::string)) continue;
    const auto id = find(scope, operands[i].first, {&inputs_place, "", operands[i].second});
    if (id) scope_of_body.values.try_emplace(inner[i]["name"].string(), *id);
  }
  read_nodes(scope_of_body, body.graph, graph_place);
  const Place outputs_place{&place, "outputs", SIZE_MAX};
  for (std::size_t i = 0; i < outer.size(); ++i) {
    if (!outer[i]["name"].is(Kind::string)) continue;
    const auto id = find(scope_of_body, results[i], {&outputs_place, "", i});
    if (id) scope.values.try_emplace(outer[i]["name"].string(), *id);
  }
  const Node enabled = variant_of(inputs.at(0)["arg"]).value;
  if (target == "higher_order.wrap_with_set_grad_enabled" && enabled.is(Kind::boolean)) {
    for (std::size_t i = first_op; i < graph_.ops.size(); ++i) {  // inner regions have theirs
      graph_.ops[i].attributes.try_emplace(kNoGrad, !enabled.boolean());
    }
  }
  return true;
}

OpWork GraphReader::work_of(const Body& body, const Place& place) {
  const Place inputs_place{&place, "inputs", SIZE_MAX},
      body_place{&inputs_place, "", body.position};
  const Place graph_place{&body_place, "arg.as_graph.graph", SIZE_MAX};
  Graph part;
  GraphReader reader(part, findings_, symbols_);
  Scope scope;
  reader.open(scope, body.graph, graph_place);
  for (const Node input : flattened(body.graph["inputs"])) {
    const Node name = input["name"];
    if (name.is(Kind::string)) {
      reader.add_tensor(scope, name.string(), TensorRole::input, "", graph_place);
    }
  }
  reader.read_nodes(scope, body.graph, graph_place);
  OpWork work;
  if (findings_.any()) return work;
  fill_aliases(part);
  for (const Op& op : part.ops) work += forward_work(part, op);
  return work;
}

void GraphReader::describe_higher_order(Op& op, const std::vector<Body>& bodies,
                                        const Place& place) {
  OpWork most;
  for (const Body& body : bodies) {
    const OpWork work = work_of(body, place);
    most.contraction = std::max(most.contraction, work.contraction);
    most.other = std::max(most.other, work.other);
  }
  op.attributes.insert_or_assign("bound_flops", most.contraction.value);
  op.attributes.insert_or_assign("bound_other_flops", most.other.value);
  if (op.target == "higher_order.cond") {
    findings_.note("operator \"" + op.target + "\" takes one of " + std::to_string(bodies.size()) +
                   " ways by data: the dearer one is counted");
  } else {
    findings_.note("operator \"" + op.target +
                   "\" runs its body any number of times: one run is counted");
  }
}

}  // namespace parallel_opt::pt2
