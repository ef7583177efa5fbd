#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/pt2_schema.h"

namespace parallel_opt::pt2 {

/// Reads the GraphModule of an ExportedProgram into a Graph. Faults and notes go to `findings`;
/// the graph is of use only when there are no faults. The part of pt2.cpp that knows nodes.
class GraphReader {
 public:
  GraphReader(Graph& graph, Findings& findings, Symbols& symbols)
      : graph_(graph), findings_(findings), symbols_(symbols) {}
  void read(JsonTree::Node graph_module);

 private:
  using Node = JsonTree::Node;
  /// What names mean inside one graph of the file; subgraphs of higher-order operators have their
  /// own.
  struct Scope {
    std::string prefix;                                     // of names in our graph
    std::unordered_map<std::string_view, Node> tensors;     // tensor_values
    std::unordered_map<std::string_view, Node> sizes;       // sym_int_values
    std::unordered_map<std::string_view, TensorId> values;  // made so far
  };
  struct ModuleCall {
    std::string module, type;
    int call = 0;
  };
  /// A body that a higher-order operator is given.
  struct Body {
    std::string_view name;
    Node graph;
    std::size_t position = 0;  // in the operator's arguments
  };

  void open(Scope& scope, Node graph, const Place& place);
  void read_inputs(Scope& scope, Node signature);
  void read_input(Scope& scope, Node spec, const Place& place);
  void read_outputs(const Scope& scope, Node signature);
  void check_outputs(const Scope& scope, Node outputs, Node specs);
  void read_nodes(Scope& scope, Node graph, const Place& place);
  void read_node(Scope& scope, Node node, const Place& place);

  TensorId add_tensor(Scope& scope, std::string_view name, TensorRole role, std::string fqn,
                      const Place& place);
  void read_meta(Tensor& tensor, Node meta, const Place& place);
  void read_strides(Tensor& tensor, Node strides, const Place& place);
  std::optional<TensorId> find(const Scope& scope, Node argument, const Place& place);

  /// Faults for tensors that PyTorch's schema of the operator asks for and the node lacks.
  void check_required(std::string_view target, Node inputs, const Place& place);
  void read_argument(const Scope& scope, Op& op, const std::string& name, Variant argument,
                     const Place& place);
  void read_operands(const Scope& scope, Op& op, const std::string& name, Node list,
                     const Place& place);
  std::optional<Attribute> read_attribute(const Scope& scope, Variant argument, const Place& place);
  Attribute read_sizes(const Scope& scope, Node list, const Place& place);
  std::int64_t size_argument(const Scope& scope, Node argument, const Place& place);
  void add_results(Scope& scope, Op& op, Node outputs, const Place& place);
  void set_module(Op& op, Node metadata);
  std::string unique_name(std::string name);

  // Control flow (pt2_regions.cpp).
  /// A loop operator's operands, by what they are to its body.
  struct Loop {
    const std::vector<Body>* bodies = nullptr;
    std::vector<Node> carried, along, rest, results;
    bool combines = false;  // the body takes two steps and makes one of them
  };
  bool read_region(Scope& scope, Node node, const Op& op, const std::vector<Body>& bodies,
                   const Place& place);
  bool read_branch(Scope& scope, const Op& op, const std::vector<Body>& bodies,
                   const std::vector<std::vector<Node>>& lists, const std::vector<Node>& results,
                   const Place& place, Node node);
  bool read_loop(Scope& scope, const Op& op, const Loop& loop, const Place& place);
  RegionId open_region(Region region);
  Scope body_scope(const std::string& prefix, const Body& body, const Place& place);
  std::vector<TensorId> read_body(Scope& scope, const Body& body, RegionId region,
                                  const Place& place);
  std::vector<TensorId> find_all(const Scope& scope, const std::vector<Node>& names,
                                 const Place& place);
  void leave(Scope& scope, const Op& op, Node result, const std::vector<TensorId>& operands,
             TensorId predicate, const Place& place);
  std::size_t enter(Scope& inner, const Op& op, Node name, TensorId from, bool slice,
                    RegionId region, const Place& place);
  void count_runs(Region& region, TensorId along, bool combines);
  void read_condition(const Scope& body, const std::vector<Body>& bodies,
                      const std::vector<Node>& names, RegionId region, const Place& place);

  bool inline_body(Scope& scope, Node node, const Body& body, const Place& place);
  void describe_higher_order(Op& op, const std::vector<Body>& bodies, const Place& place);
  OpWork work_of(const Body& body, const Place& place);
  std::vector<Body> bodies_of(Node node) const;

  Graph& graph_;
  RegionId region_;  // of the nodes being read
  Findings& findings_;
  Symbols& symbols_;
  std::unordered_set<std::string> op_names_, tensor_names_;  // never iterated
  std::unordered_map<std::string, int> copies_;              // of operators' names; never iterated
  std::unordered_map<std::string_view, ModuleCall> module_calls_;  // never iterated
};

/// Arguments of a graph, lists flattened: the tensors and sizes that a body's inputs stand for.
std::vector<JsonTree::Node> flattened(JsonTree::Node arguments);

}  // namespace parallel_opt::pt2
