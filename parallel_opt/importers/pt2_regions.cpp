#include <algorithm>

#include "parallel_opt/importers/pt2_graph.h"

// Control flow of torch's higher-order operators as regions: both ways of a cond and the body of a
// loop are read in place.
namespace parallel_opt::pt2 {
namespace {

using Node = JsonTree::Node;
using Kind = JsonTree::Kind;

/// Operands behind the bodies, list by list: what a loop carries, what it walks along, the rest.
std::vector<std::vector<Node>> operand_lists(Node node, std::size_t after) {
  std::vector<std::vector<Node>> lists;
  const Node inputs = node["inputs"];
  for (std::size_t i = after; i < inputs.size(); ++i) {
    const Variant argument = variant_of(inputs.at(i)["arg"]);
    if (!argument.value.is(Kind::array)) continue;
    lists.emplace_back();
    for (std::size_t j = 0; j < argument.value.size(); ++j) {
      lists.back().push_back(argument.value.at(j));
    }
  }
  return lists;
}

Op join(std::string name, const Op& like, RegionId region) {
  Op op;
  op.target = kJoin;
  op.name = std::move(name);
  op.module = like.module;
  op.module_type = like.module_type;
  op.call = like.call;
  op.region = region;
  return op;
}

}  // namespace

bool GraphReader::read_region(Scope& scope, Node node, const Op& op,
                              const std::vector<Body>& bodies, const Place& place) {
  std::string_view kind = op.target;
  if (!kind.starts_with("higher_order.")) return false;
  kind.remove_prefix(13);
  const std::vector<Node> results = flattened(node["outputs"]);
  const std::vector<std::vector<Node>> lists =
      operand_lists(node, bodies.empty() ? 0 : bodies.back().position + 1);
  if (kind == "cond" && bodies.size() == 2) {
    return read_branch(scope, op, bodies, lists, results, place, node);
  }
  Loop loop;
  loop.bodies = &bodies;
  loop.results = results;
  if (kind == "while_loop" && bodies.size() == 2 && !lists.empty()) {
    loop.carried = lists[0];
    if (lists.size() > 1) loop.rest = lists[1];
  } else if (kind == "scan" && bodies.size() == 1 && lists.size() > 1) {
    loop.carried = lists[0];
    loop.along = lists[1];
    if (lists.size() > 2) loop.rest = lists[2];
  } else if ((kind == "map" || kind == "map_impl") && bodies.size() == 1 && !lists.empty()) {
    loop.along = lists[0];
    if (lists.size() > 1) loop.rest = lists[1];
  } else if (kind == "associative_scan" && bodies.size() == 1 && !lists.empty()) {
    loop.along = lists[0];
    loop.combines = true;
    if (lists.size() > 1) loop.rest = lists[1];
  } else {
    return false;
  }
  return read_loop(scope, op, loop, place);
}

RegionId GraphReader::open_region(Region region) {
  region.parent = region_;
  graph_.regions.push_back(std::move(region));
  return RegionId(graph_.regions.size() - 1);
}

GraphReader::Scope GraphReader::body_scope(const std::string& prefix, const Body& body,
                                           const Place& place) {
  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const Place body_place{&inputs_place, "", body.position};
  const Place graph_place{&body_place, "arg.as_graph.graph", SIZE_MAX};
  Scope scope;
  scope.prefix = prefix;
  open(scope, body.graph, graph_place);
  return scope;
}

std::vector<TensorId> GraphReader::read_body(Scope& scope, const Body& body, RegionId region,
                                             const Place& place) {
  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const Place body_place{&inputs_place, "", body.position};
  const Place graph_place{&body_place, "arg.as_graph.graph", SIZE_MAX};
  const RegionId outer = std::exchange(region_, region);
  read_nodes(scope, body.graph, graph_place);
  region_ = outer;
  const Place outputs_place{&graph_place, "outputs", SIZE_MAX};
  std::vector<TensorId> results;
  const std::vector<Node> outputs = flattened(body.graph["outputs"]);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    std::optional<TensorId> id;
    if (outputs[i]["name"].is(Kind::string)) id = find(scope, outputs[i], {&outputs_place, "", i});
    results.push_back(id.value_or(TensorId()));
  }
  return results;
}

std::vector<TensorId> GraphReader::find_all(const Scope& scope, const std::vector<Node>& names,
                                            const Place& place) {
  std::vector<TensorId> ids;
  for (const Node name : names) {
    std::optional<TensorId> id;
    if (name["name"].is(Kind::string)) id = find(scope, name, place);
    ids.push_back(id.value_or(TensorId()));
  }
  return ids;
}

void GraphReader::leave(Scope& scope, const Op& op, Node result,
                        const std::vector<TensorId>& operands, TensorId predicate,
                        const Place& place) {
  if (!result["name"].is(Kind::string)) return;
  Op exit = join("", op, region_);
  for (const TensorId id : operands) exit.inputs.push_back({"inputs", id});
  if (predicate.valid()) exit.inputs.push_back({"predicate", predicate});
  const Place outputs_place{&place, "outputs", SIZE_MAX};
  const TensorId id =
      add_tensor(scope, result["name"].string(), TensorRole::activation, "", outputs_place);
  if (!id.valid()) return;
  exit.outputs = {id};
  exit.name = unique_name(graph_.tensor(id).name);
  graph_.ops.push_back(std::move(exit));
}

bool GraphReader::read_branch(Scope& scope, const Op& op, const std::vector<Body>& bodies,
                              const std::vector<std::vector<Node>>& lists,
                              const std::vector<Node>& results, const Place& place, Node node) {
  const std::vector<Node> operands = lists.empty() ? std::vector<Node>() : lists.front();
  for (const Body& body : bodies) {
    if (flattened(body.graph["inputs"]).size() != operands.size()) return false;
    if (flattened(body.graph["outputs"]).size() != results.size()) return false;
  }
  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const std::vector<TensorId> ids = find_all(scope, operands, inputs_place);
  const std::string name = unique_name(scope.prefix + (op.name.empty() ? "cond" : op.name));
  const Variant predicate = variant_of(node["inputs"].at(0)["arg"]);
  TensorId by;
  if (predicate.key == "as_tensor") by = find_all(scope, {predicate.value}, inputs_place).front();
  std::vector<std::vector<TensorId>> alternatives;
  for (std::size_t b = 0; b < bodies.size(); ++b) {
    const std::string which = b == 0 ? ".true" : ".false";
    Region way;
    way.name = name + which;
    way.group = name;
    way.runs = 0.5;
    way.predicate = by;
    const RegionId region = open_region(std::move(way));
    Scope inner = body_scope(name + which + ".", bodies[b], place);
    const std::vector<Node> names = flattened(bodies[b].graph["inputs"]);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i]["name"].is(Kind::string) && ids[i].valid()) {
        inner.values.try_emplace(names[i]["name"].string(), ids[i]);
      }
    }
    alternatives.push_back(read_body(inner, bodies[b], region, place));
  }
  for (std::size_t k = 0; k < results.size(); ++k) {
    leave(scope, op, results[k], {alternatives[0][k], alternatives[1][k]}, by, place);
  }
  findings_.note("operator \"" + op.target + "\" takes one of " + std::to_string(bodies.size()) +
                 " ways by data: both are taken to be equally likely");
  return true;
}

bool GraphReader::read_loop(Scope& scope, const Op& op, const Loop& loop, const Place& place) {
  const std::vector<Body>& bodies = *loop.bodies;
  const std::size_t walked = loop.along.size() * (loop.combines ? 2 : 1);
  const std::size_t inputs = loop.carried.size() + walked + loop.rest.size();
  for (const Body& body : bodies) {
    if (flattened(body.graph["inputs"]).size() != inputs) return false;
  }
  if (flattened(bodies.back().graph["outputs"]).size() != loop.results.size()) return false;

  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const std::vector<TensorId> carried = find_all(scope, loop.carried, inputs_place);
  const std::vector<TensorId> along = find_all(scope, loop.along, inputs_place);
  const std::vector<TensorId> rest = find_all(scope, loop.rest, inputs_place);
  const std::string name = unique_name(scope.prefix + (op.name.empty() ? "loop" : op.name));
  Region region;
  region.name = name + ".body";
  region.kind = RegionKind::loop;
  region.group = name;
  if (!loop.along.empty()) count_runs(region, along.front(), loop.combines);
  const RegionId body_region = open_region(std::move(region));

  Scope inner = body_scope(name + ".body.", bodies.back(), place);
  const std::vector<Node> names = flattened(bodies.back().graph["inputs"]);
  std::vector<std::size_t> entries;  // joins of what is carried
  std::size_t at = 0;
  for (const TensorId id : carried) {
    entries.push_back(enter(inner, op, names[at++], id, false, body_region, place));
  }
  for (const TensorId id : along) {  // a combination's left operand is what the runs before made
    const std::size_t slice = enter(inner, op, names[at++], id, true, body_region, place);
    if (loop.combines) entries.push_back(slice);
  }
  if (loop.combines) {
    for (const TensorId id : along) enter(inner, op, names[at++], id, true, body_region, place);
  }
  for (const TensorId id : rest) {
    const Node inner_name = names[at++]["name"];
    if (inner_name.is(Kind::string) && id.valid())
      inner.values.try_emplace(inner_name.string(), id);
  }
  if (bodies.size() == 2) read_condition(inner, bodies, names, body_region, place);
  const std::vector<TensorId> left = read_body(inner, bodies.back(), body_region, place);
  for (std::size_t k = 0; k < entries.size() && k < left.size(); ++k) {
    if (entries[k] == SIZE_MAX || !left[k].valid() || loop.combines) continue;
    graph_.ops[entries[k]].attributes["carried"] = graph_.tensor(left[k]).name;
  }
  for (std::size_t k = 0; k < loop.results.size(); ++k) {
    leave(scope, op, loop.results[k], {left[k]}, TensorId(), place);
  }
  if (loop.along.empty()) {
    findings_.note("operator \"" + op.target +
                   "\" runs its body any number of times: one run is counted");
  }
  return true;
}

void GraphReader::count_runs(Region& region, TensorId along, bool combines) {
  if (!along.valid() || graph_.tensor(along).shape.empty()) return;
  const Dim& steps = graph_.tensor(along).shape.front();
  region.observed = true;
  region.expression = steps.expression;
  region.runs = static_cast<double>(steps.size);
  if (!combines) return;
  // n elements take n - 1 combinations; a parallel scan makes up to twice as many.
  region.runs = std::max(region.runs - 1, 0.0);
  if (!steps.expression.empty()) region.expression = "Max(" + steps.expression + " - 1, 0)";
}

std::size_t GraphReader::enter(Scope& inner, const Op& op, Node name, TensorId from, bool slice,
                               RegionId region, const Place& place) {
  if (!name["name"].is(Kind::string) || !from.valid()) return SIZE_MAX;
  const Place inputs_place{&place, "inputs", SIZE_MAX};
  const TensorId id =
      add_tensor(inner, name["name"].string(), TensorRole::activation, "", inputs_place);
  if (!id.valid()) return SIZE_MAX;
  Op entry = join(unique_name(graph_.tensor(id).name), op, region);
  entry.inputs = {{slice ? "self" : "inputs", from}};
  entry.outputs = {id};
  if (slice) {  // one step of what the loop walks along
    entry.target = "aten.select.int";
    entry.attributes = {{"dim", std::int64_t{0}}, {"index", std::int64_t{0}}};
  }
  graph_.ops.push_back(std::move(entry));
  return graph_.ops.size() - 1;
}

void GraphReader::read_condition(const Scope& body, const std::vector<Body>& bodies,
                                 const std::vector<Node>& names, RegionId region,
                                 const Place& place) {
  const std::string prefix = body.prefix.substr(0, body.prefix.size() - 5) + "condition.";
  Scope scope = body_scope(prefix, bodies.front(), place);
  const std::vector<Node> own = flattened(bodies.front().graph["inputs"]);
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (!names[i]["name"].is(Kind::string) || !own[i]["name"].is(Kind::string)) continue;
    const auto known = body.values.find(names[i]["name"].string());
    if (known != body.values.end()) {
      scope.values.try_emplace(own[i]["name"].string(), known->second);
    }
  }
  const std::vector<TensorId> said = read_body(scope, bodies.front(), region, place);
  if (!said.empty()) graph_.regions[region.index()].predicate = said.front();
}

}  // namespace parallel_opt::pt2
