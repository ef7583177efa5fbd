#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/op_class.h"

namespace parallel_opt {

/// How a dimension of the iteration space may be treated by a split over a mesh axis.
enum class DimRole {
  free,      ///< indexes the result: split freely
  reduced,   ///< summed over: a split leaves partial sums
  mixed,     ///< every element of the result needs all of it (softmax, norm statistics): no plain
             ///< split
  selected,  ///< chosen by index values (embedding rows): split with masking, partial sums
};

constexpr auto enum_names(DimRole) {
  return std::to_array<std::string_view>({"free", "reduced", "mixed", "selected"});
}

/// One row: an operator as an iteration space. `space` names the dimensions of operands and
/// results,
///
///   "input=b* k, weight=n k, bias=n -> b* n"     linear
///
/// in the order of the tensor arguments; `b*` stands for any number of dimensions, a repeated name
/// broadcasts (size 1), `...` is every operand, aligned from the right; NAME= finds an operand that
/// may be absent. A space that depends on attributes names the rule that builds it: "@reduce" and
/// its like for operators, "=reshape" and its like for views.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): columns in the order one reads them
struct OpRow {
  std::string_view target;  ///< without overload: "aten.linear"; an in-place form shares its row
  OpClass op_class = OpClass::opaque;
  std::string_view space;
  std::string_view mixed = {};     ///< dimensions with role mixed, blank separated
  std::string_view selected = {};  ///< dimensions with role selected
  /// What autograd keeps, blank separated: an argument, `out` or `out1`, `a<b`: a only if b needs a
  /// gradient; "+rows": one float per row of a norm; other '+' words: see graph/saved.cpp.
  std::string_view saves = {};
  /// Arguments whose gradient is the result's gradient or a view of it: no memory of its own.
  std::string_view passes = {};
  double cost = 1;  ///< other FLOPs per element of the largest operand or result
  int kernels = 1;  ///< launches of the forward in eager mode
  const CustomOperator* custom = nullptr;  ///< of the graph, when its user wrote this row
};

/// One named dimension of an operator at hand.
struct IterationDim {
  std::string name;
  std::int64_t size = 1;
  DimRole role = DimRole::free;
};

/// The iteration space of one operator of a graph: its dimensions, and for each operand and result
/// which dimension indexes each of the tensor's axes (-1: none, a broadcast or an axis of its own).
struct IterationSpace {
  std::vector<IterationDim> dims;
  std::vector<std::vector<int>> operands;
  std::vector<std::vector<int>> results;
};

/// Every known row, in table order.
std::span<const OpRow> op_rows();
/// The table's own row for a target; nullptr when it has none.
const OpRow* find_row(std::string_view target);
/// The row of an operator: its graph's own, else the table's; none: it is `opaque`.
std::optional<OpRow> find_row(const Graph& graph, const Op& op);
/// `view` also for arithmetic on sizes and for assertions, which launch nothing.
OpClass op_class(const Graph& graph, const Op& op);
/// The first operand that fills `argument`; an invalid id when there is none.
TensorId operand(const Op& op, std::string_view argument);
/// A whole number or flag; `fallback` when it is absent or None.
std::int64_t attribute(const Op& op, const std::string& name, std::int64_t fallback);
double attribute_real(const Op& op, const std::string& name, double fallback);
/// A list of whole numbers; one number is a list of one; empty when absent or None.
std::vector<std::int64_t> attribute_list(const Op& op, const std::string& name);
/// Empty dims for an opaque operator.
IterationSpace iteration_space(const Graph& graph, const Op& op);

}  // namespace parallel_opt
