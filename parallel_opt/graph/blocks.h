#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// One occurrence of a repeated block.
struct BlockInstance {
  std::string module;     ///< FQN, "blocks.3"; with no module names "ops 12..27"
  std::vector<OpId> ops;  ///< in execution order
  bool operator==(const BlockInstance&) const = default;
};

/// A part of the model that occurs several times: equal operators, shapes, dtypes and wiring, and
/// equal attributes but for those that do not change the work (rates, epsilons, seeds, positions).
struct Block {
  std::string name;  ///< "blocks.*", or the module when its calls are the occurrences
  std::int64_t repeats = 1;
  std::int64_t operators = 0;            ///< of one occurrence
  std::vector<BlockInstance> instances;  ///< in execution order
  /// Attributes in which occurrences differ: "aten.dropout.default p".
  std::vector<std::string> varies;
  bool operator==(const Block&) const = default;
};

/// A block inside a block: its instances are those inside the first instance of the outer one.
struct NestedBlock {
  Block block;
  int parent = -1;  ///< index of the enclosing block in the same list; -1: none
  bool operator==(const NestedBlock&) const = default;
};

/// Repeated blocks, the one that covers most operators first; they do not overlap. By the children
/// of module containers ("blocks.0" ... "blocks.11") or the calls of one module where modules are
/// named, else the longest repeated runs of operators, begun where fewest tensors cross. Linear in
/// operators.
std::vector<Block> find_blocks(const Graph& graph);

/// Those, and layers that occur once: other children of the containers that hold repeated blocks
/// (the dense layers before a mixture's), or in a model without repeated blocks the numbered
/// modules that have an attention.
std::vector<Block> find_layers(const Graph& graph);

/// Repeated blocks with the blocks inside of each: an outer block stands before its inner ones.
std::vector<NestedBlock> find_nested_blocks(const Graph& graph);

/// Per operator: index into `blocks`, -1 outside of all.
std::vector<int> block_of_op(const Graph& graph, const std::vector<Block>& blocks);

template <class Visitor, class T>
  requires SameAs<T, BlockInstance>
void fields(Visitor& visit, T& instance) {
  visit("module", instance.module, "fully qualified name, or a range of operators");
  visit("ops", instance.ops, "operators in execution order");
}

template <class Visitor, class T>
  requires SameAs<T, Block>
void fields(Visitor& visit, T& block) {
  visit("name", block.name, "module pattern");
  visit("repeats", block.repeats, "occurrences");
  visit("operators", block.operators, "of one occurrence");
  visit.optional("instances", block.instances, "every occurrence");
  visit.optional("varies", block.varies, "attributes in which occurrences differ");
}

}  // namespace parallel_opt
