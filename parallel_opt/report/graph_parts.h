#pragma once

#include <string>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/operator_facts.h"
#include "parallel_opt/report/graph_view.h"

/// The boxes of a picture before they have a place. Not for others than graph_view.cpp.
namespace parallel_opt::graph_parts {

struct Part {
  std::string name;
  std::string detail;
  BoxKind kind = BoxKind::module;
  std::int64_t repeats = 1;
  std::vector<Part> inside;  ///< in execution order
  std::vector<OpId> ops;     ///< of the part itself: an operation has one
  std::vector<OpId> hidden;  ///< of repeats that are not drawn
  bool list = false;         ///< holds modules and runs none itself: they are drawn in its place
  bool operator==(const Part&) const = default;
};

/// Modules in modules (or repeated runs, where modules have no names), equal neighbours as one
/// group, long flat parts in chunks. Operators without work are left out.
Part parts_of(const Graph& graph, const std::vector<OperatorFacts>& facts);

}  // namespace parallel_opt::graph_parts
