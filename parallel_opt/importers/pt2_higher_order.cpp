#include <algorithm>
#include <array>

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

/// Arguments of a graph, lists flattened: the tensors and sizes that a body's inputs stand for.
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

}  // namespace

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
  if (target == "higher_order.wrap_with_set_grad_enabled" &&
      !variant_of(inputs.at(0)["arg"]).value.is(Kind::absent)) {
    const Node enabled = variant_of(inputs.at(0)["arg"]).value;
    if (enabled.is(Kind::boolean) && !enabled.boolean()) {
      findings_.note("the part \"" + std::string(body.name) +
                     "\" runs without gradients; a backward is counted for it all the same");
    }
  }
  return true;
}

void GraphReader::describe_higher_order(Op& op, const std::vector<Body>& bodies) {
  std::size_t operators = 0;
  for (const Body& body : bodies) operators += body.graph["nodes"].size();
  op.attributes.insert_or_assign("bodies", static_cast<std::int64_t>(bodies.size()));
  op.attributes.insert_or_assign("body_operators", static_cast<std::int64_t>(operators));
  findings_.note("operator \"" + op.target + "\" holds " + std::to_string(operators) +
                 " operators that depend on data: they are not counted");
}

}  // namespace parallel_opt::pt2
