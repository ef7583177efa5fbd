#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "parallel_opt/importers/tf_proto.h"

/// A graph or function with its wiring resolved and an order of execution. Private to the importer.
namespace parallel_opt::tf {

/// One operand: an output of a node, or an argument of the function.
struct Source {
  bool argument = false;
  int index = 0;   ///< of the node, or of the argument
  int output = 0;  ///< of the node
};

struct Wires {
  std::vector<Source> inputs;
  std::vector<int> controls;
};

/// A while loop of TensorFlow 1: the nodes between Enter and Exit of one frame.
struct Frame {
  std::string_view name;
  int parent = -1;
  int depth = 1;
};

struct Body {
  std::string name;  ///< of the function; empty: the main graph
  const std::vector<Node>* nodes = nullptr;
  std::vector<Wires> wires;     ///< per node
  std::vector<Source> results;  ///< of a function
  std::vector<int> roots;       ///< nodes that must run besides
  std::vector<int> order;       ///< nodes to run, operands first
  std::vector<Frame> frames;
  std::vector<int> frame_of;  ///< per node; -1: none

  const Node& node(int i) const { return (*nodes)[static_cast<std::size_t>(i)]; }
};

using Definitions = std::map<std::string_view, const OpDef*>;

/// Resolves the names of a graph's operands. Throws InputError (at `where`) for a name that is not
/// there.
Body wire_graph(const std::vector<Node>& nodes, const Definitions& definitions,
                const std::string& where);
/// Of a function, with its results and an order.
Body wire_function(const Function& function, const Definitions& definitions,
                   const std::string& where);
/// The source that "node:0" or "node" names in a graph.
Source find_source(const Body& body, std::string_view name, const std::string& where);

/// Fills `order`: what the results and roots need, operands before their users, the nodes of a
/// frame together. A frame's back edges (NextIteration to Merge) do not count. Throws InputError
/// for any other circle.
void order_body(Body& body, const std::vector<Source>& results, const std::string& where);

}  // namespace parallel_opt::tf
