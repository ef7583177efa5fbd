#include "parallel_opt/importers/tf_body.h"

#include <algorithm>
#include <charconv>
#include <queue>
#include <tuple>

#include "parallel_opt/base/error.h"
#include "parallel_opt/importers/tf_context.h"

namespace parallel_opt::tf {
namespace {

using Names = std::unordered_map<std::string_view, int>;

std::string at_node(const std::string& where, std::string_view name) {
  return where + ":node '" + std::string(name) + "'";
}

bool enters(const Node& node) { return node.op == "Enter" || node.op == "RefEnter"; }
bool exits(const Node& node) { return node.op == "Exit" || node.op == "RefExit"; }
bool merges(const Node& node) { return node.op == "Merge" || node.op == "RefMerge"; }
bool repeats(const Node& node) {
  return node.op == "NextIteration" || node.op == "RefNextIteration";
}

int place_of(std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

/// "node", "node:1", and in functions "node:output:1".
Source resolve(std::string_view input, const std::vector<Node>& nodes, const Names& names,
               const Names& arguments, const Definitions& definitions, const std::string& where) {
  const std::size_t colon = input.find(':');
  const std::string_view name = input.substr(0, colon);
  if (const auto at = arguments.find(name); at != arguments.end()) return {true, at->second, 0};
  const auto at = names.find(name);
  if (at == names.end()) {
    throw InputError(where, "uses '" + std::string(name) + "', which is not there",
                     "is the graph complete?");
  }
  Source source{false, at->second, 0};
  if (colon == std::string_view::npos) return source;
  const std::string_view rest = input.substr(colon + 1);
  const std::size_t second = rest.find(':');
  if (second == std::string_view::npos && place_of(rest) >= 0) {
    source.output = place_of(rest);
    return source;
  }
  const Node& node = nodes[static_cast<std::size_t>(at->second)];
  const auto definition = definitions.find(node.op);
  const int index = second == std::string_view::npos ? 0 : place_of(rest.substr(second + 1));
  source.output = output_place(node, rest.substr(0, second), index,
                               definition == definitions.end() ? nullptr : definition->second);
  if (source.output < 0) {
    throw InputError(where,
                     "uses '" + std::string(input) + "', which operator '" + std::string(node.op) +
                         "' does not make",
                     "");
  }
  return source;
}

Body wire(const std::vector<Node>& nodes, const Names& arguments, const Definitions& definitions,
          const std::string& where, Names& names) {
  Body body;
  body.nodes = &nodes;
  body.wires.resize(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!names.emplace(nodes[i].name, static_cast<int>(i)).second) {
      throw InputError(at_node(where, nodes[i].name), "is there twice", "");
    }
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string_view input : nodes[i].inputs) {
      const std::string place = at_node(where, nodes[i].name);
      if (input.starts_with('^')) {
        const auto control = names.find(input.substr(1));
        if (control != names.end()) {
          body.wires[i].controls.push_back(control->second);
        } else if (!arguments.contains(input.substr(1))) {
          throw InputError(place,
                           "waits for '" + std::string(input.substr(1)) + "', which is not there",
                           "is the graph complete?");
        }
      } else {
        body.wires[i].inputs.push_back(resolve(input, nodes, names, arguments, definitions, place));
      }
    }
  }
  return body;
}

/// Orders one body; `edges` are those of data and control without back edges.
class Scheduler {
 public:
  Scheduler(Body& body, std::string where) : body_(body), where_(std::move(where)) {}

  void run(const std::vector<Source>& results) {
    find_needed(results);
    if (loops_) find_frames();
    sort();
  }

 private:
  std::size_t count() const { return body_.nodes->size(); }
  const Wires& wires(int i) const { return body_.wires[static_cast<std::size_t>(i)]; }

  void find_needed(const std::vector<Source>& results) {
    needed_.assign(count(), false);
    std::vector<int> todo;
    const auto need = [&](int i) {
      if (needed_[static_cast<std::size_t>(i)]) return;
      needed_[static_cast<std::size_t>(i)] = true;
      todo.push_back(i);
    };
    for (const Source& source : results) {
      if (!source.argument) need(source.index);
    }
    for (const int root : body_.roots) need(root);
    while (!todo.empty()) {
      const int i = todo.back();
      todo.pop_back();
      loops_ = loops_ || enters(body_.node(i));
      for (const Source& source : wires(i).inputs) {
        if (!source.argument) need(source.index);
      }
      for (const int control : wires(i).controls) need(control);
    }
  }

  /// Nodes that must come before node `i`.
  std::vector<int> before(int i) const {
    std::vector<int> nodes = wires(i).controls;
    for (const Source& source : wires(i).inputs) {
      if (source.argument) continue;
      const bool back = merges(body_.node(i)) && repeats(body_.node(source.index));
      if (!back) nodes.push_back(source.index);
    }
    return nodes;
  }

  /// The frame of a node is the deepest of its operands'; Enter goes one deeper, Exit one higher.
  void find_frames() {
    body_.frame_of.assign(count(), -1);
    std::map<std::pair<int, std::string_view>, int> known;
    for (const int i : sorted(count())) {
      int frame = -1;
      for (const int from : before(i)) {
        const int other = body_.frame_of[static_cast<std::size_t>(from)];
        if (depth(other) > depth(frame)) frame = other;
      }
      if (enters(body_.node(i))) {
        const std::string_view name = body_.node(i).text("frame_name");
        const auto [at, fresh] =
            known.try_emplace({frame, name}, static_cast<int>(body_.frames.size()));
        if (fresh) body_.frames.push_back({name, frame, depth(frame) + 1});
        frame = at->second;
      } else if (exits(body_.node(i)) && frame >= 0) {
        frame = body_.frames[static_cast<std::size_t>(frame)].parent;
      }
      body_.frame_of[static_cast<std::size_t>(i)] = frame;
    }
  }

  int depth(int frame) const {
    return frame < 0 ? 0 : body_.frames[static_cast<std::size_t>(frame)].depth;
  }

  void sort() {
    for (const int i : sorted(count() + 2 * body_.frames.size())) {
      if (static_cast<std::size_t>(i) < count()) body_.order.push_back(i);
    }
  }

  /// Kahn's algorithm, deepest frame first, else in the file's order. With frames, node count() +
  /// 2f opens frame f (all that enters it is there) and the next one closes it (all its back edges
  /// are there), so that the nodes of a frame stand together.
  std::vector<int> sorted(std::size_t all) {
    std::vector<std::vector<int>> users(all);
    std::vector<int> waits(all, 0);
    const auto edge = [&](int from, int to) {
      users[static_cast<std::size_t>(from)].push_back(to);
      ++waits[static_cast<std::size_t>(to)];
    };
    std::size_t wanted = all - count();
    for (std::size_t k = 0; k < count(); ++k) {
      if (!needed_[k]) continue;
      ++wanted;
      const int i = static_cast<int>(k);
      const bool framed = all > count();
      for (const int from : before(i)) {
        edge(from, i);
        if (framed && enters(body_.node(i))) edge(from, opening(body_.frame_of[k]));
      }
      if (!framed) continue;
      if (enters(body_.node(i))) edge(opening(body_.frame_of[k]), i);
      if (repeats(body_.node(i)) && body_.frame_of[k] >= 0) edge(i, opening(body_.frame_of[k]) + 1);
      if (exits(body_.node(i)) && !wires(i).inputs.empty()) {
        const int inner = body_.frame_of[static_cast<std::size_t>(wires(i).inputs[0].index)];
        if (!wires(i).inputs[0].argument && inner >= 0) edge(opening(inner) + 1, i);
      }
    }
    return drain(users, waits, all, wanted);
  }

  int opening(int frame) const { return static_cast<int>(count()) + 2 * frame; }

  std::vector<int> drain(const std::vector<std::vector<int>>& users, std::vector<int>& waits,
                         std::size_t all, std::size_t wanted) const {
    using Entry = std::tuple<int, int>;  // negative depth, node
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
    const auto push = [&](std::size_t k) {
      int frame = -1;
      if (k < count()) {
        if (!needed_[k]) return;
        if (!body_.frame_of.empty()) frame = body_.frame_of[k];
      } else {
        const auto at = (k - count()) / 2;
        frame = (k - count()) % 2 == 0 ? body_.frames[at].parent : static_cast<int>(at);
      }
      ready.emplace(-depth(frame), static_cast<int>(k));
    };
    for (std::size_t k = 0; k < all; ++k) {
      if (waits[k] == 0) push(k);
    }
    std::vector<int> order;
    while (!ready.empty()) {
      const int i = std::get<1>(ready.top());
      ready.pop();
      order.push_back(i);
      for (const int user : users[static_cast<std::size_t>(i)]) {
        if (--waits[static_cast<std::size_t>(user)] == 0) push(static_cast<std::size_t>(user));
      }
    }
    if (order.size() < wanted) {
      for (std::size_t k = 0; k < count(); ++k) {
        if (needed_[k] && waits[k] > 0) {
          throw InputError(at_node(where_, body_.node(static_cast<int>(k)).name),
                           "stands in a circle of operators", "only loops may go round");
        }
      }
    }
    return order;
  }

  Body& body_;
  std::string where_;
  std::vector<bool> needed_;
  bool loops_ = false;
};

}  // namespace

Body wire_graph(const std::vector<Node>& nodes, const Definitions& definitions,
                const std::string& where) {
  Names names;
  return wire(nodes, {}, definitions, where, names);
}

Body wire_function(const Function& function, const Definitions& definitions,
                   const std::string& where) {
  const std::string place = where + ":function '" + std::string(function.signature.name) + "'";
  Names arguments;
  for (std::size_t i = 0; i < function.signature.inputs.size(); ++i) {
    arguments.emplace(function.signature.inputs[i].name, static_cast<int>(i));
  }
  Names names;
  Body body = wire(function.nodes, arguments, definitions, place, names);
  body.name = std::string(function.signature.name);
  for (const ArgDef& output : function.signature.outputs) {
    const auto result = function.results.find(output.name);
    if (result == function.results.end()) {
      throw InputError(place, "does not say what its result '" + std::string(output.name) + "' is",
                       "");
    }
    body.results.push_back(
        resolve(result->second, function.nodes, names, arguments, definitions, place));
  }
  for (const auto& [output, node] : function.controls) {
    if (const auto at = names.find(node); at != names.end()) body.roots.push_back(at->second);
  }
  order_body(body, body.results, place);
  return body;
}

Source find_source(const Body& body, std::string_view name, const std::string& where) {
  const std::size_t colon = name.find(':');
  for (std::size_t i = 0; i < body.nodes->size(); ++i) {
    if ((*body.nodes)[i].name != name.substr(0, colon)) continue;
    const int output = colon == std::string_view::npos ? 0 : place_of(name.substr(colon + 1));
    return {false, static_cast<int>(i), std::max(output, 0)};
  }
  throw InputError(where, "names '" + std::string(name) + "', which is not in the graph",
                   "is the file complete?");
}

void order_body(Body& body, const std::vector<Source>& results, const std::string& where) {
  body.order.clear();
  Scheduler(body, where).run(results);
}

}  // namespace parallel_opt::tf
