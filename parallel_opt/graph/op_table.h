#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Families of operators that a device runs at like efficiency.
enum class OpClass {
  contraction,
  convolution,
  attention,
  recurrent,
  normalization,
  softmax,
  loss,
  embedding,
  gather,
  pooling,
  reduction,
  elementwise,
  random,
  copy,
  view,
  opaque,
};

constexpr auto enum_names(OpClass) {
  return std::to_array<std::string_view>({"contraction", "convolution", "attention", "recurrent",
                                          "normalization", "softmax", "loss", "embedding", "gather",
                                          "pooling", "reduction", "elementwise", "random", "copy",
                                          "view", "opaque"});
}

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
///   "b* m k, n k -> b* m n"        linear: `b*` stands for any number of leading dimensions
///
/// in the order of the tensor arguments; '=' marks a view, '?' an operand that may be absent.
struct OpRow {
  std::string_view target;  ///< without overload: "aten.linear"
  OpClass op_class = OpClass::opaque;
  std::string_view space;
  std::string_view mixed;     ///< dimensions with role mixed, blank separated
  std::string_view selected;  ///< dimensions with role selected
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
/// The row of an operator; nullptr when it is unknown (then it is `opaque`).
const OpRow* find_row(std::string_view target);
OpClass op_class(const Op& op);
/// Empty dims for an opaque operator.
IterationSpace iteration_space(const Graph& graph, const Op& op);

}  // namespace parallel_opt
