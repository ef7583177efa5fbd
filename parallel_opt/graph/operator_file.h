#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/custom_operator.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// The document of `--operators FILE` and of the Python registry.
struct OperatorFile {
  std::vector<CustomOperator> operators;
  bool operator==(const OperatorFile&) const = default;
};

/// Every broken rule of one row; `where` is "FILE:operators[0]" and each fault adds its field.
std::vector<Fault> check(const CustomOperator& custom, const std::string& where);

/// Reads and checks a document; throws one InputError with every fault.
OperatorFile operators_from_json(std::string_view text, const std::string& name);

/// Every way in which a row's space contradicts the first operator of the graph that shows it:
/// operands that it does not take, other ranks, one name for two sizes.
std::vector<Fault> check_custom_spaces(const Graph& graph);

/// The graph with rows added; a row takes the place of an earlier one, or of the table's own, for
/// the same target. Throws InputError where a row contradicts an operator of the graph.
Graph with_operators(Graph graph, const std::vector<CustomOperator>& operators);

template <class Visitor, class T>
  requires SameAs<T, CustomOperator>
void fields(Visitor& visit, T& custom) {
  visit("target", custom.target, "namespace and name without overload: mylib.my_op");
  visit("class", custom.op_class, "family that runs at like efficiency");
  visit("space", custom.space, "dimensions of operands and results: x=b* k, w=n k -> b* n");
  visit.optional("mixed", custom.mixed, "dimensions that every element of the result needs all of");
  visit.optional("selected", custom.selected, "dimensions that index values choose from");
  visit.optional("saves", custom.saves, "kept for the backward: arguments, out, out1, a<b");
  visit.optional("passes", custom.passes, "arguments whose gradient is the result's own");
  visit.optional("flops", custom.flops, "of products, over the dimensions: 2*b*n*k");
  visit.optional("other_flops", custom.other_flops, "of everything else, over the dimensions");
  visit.optional("backward_flops", custom.backward_flops, "of the backward's products");
  visit.optional("cost", custom.cost, "other operations per element, where no formula says");
  visit.optional("kernels", custom.kernels, "launches of one run");
}

template <class Visitor, class T>
  requires SameAs<T, OperatorFile>
void fields(Visitor& visit, T& file) {
  visit.schema("parallel-opt/operators/1");
  visit("operators", file.operators, "rows that the operator table lacks");
}

}  // namespace parallel_opt
