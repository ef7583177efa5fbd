#pragma once

#include <string>

#include "parallel_opt/graph/op_class.h"

namespace parallel_opt {

/// A row of the operator table that a user adds (docs/operators.md). It is a value that travels in
/// its graph, so that a graph's JSON can be counted anywhere. Columns as in OpRow; formulas are
/// expressions (graph/symbol.h) over the names in `space`, where a star's name is the product of
/// its dimensions: "2*b*n*k".
struct CustomOperator {
  std::string target;  ///< "mylib.my_op": namespace and name, no overload
  OpClass op_class = OpClass::elementwise;
  std::string space;           ///< "x=b* k, w=n k -> b* n", or a rule, "@reduce"
  std::string mixed;           ///< dimensions that every element of the result needs all of
  std::string selected;        ///< dimensions that index values choose from
  std::string saves;           ///< kept for the backward: arguments, out, out1, a<b
  std::string passes;          ///< arguments whose gradient is the result's own
  std::string flops;           ///< of products; empty: 2 per point for class contraction, else 0
  std::string other_flops;     ///< of everything else; empty: `cost` per element
  std::string backward_flops;  ///< of products; empty: the forward's per operand with a gradient
  double cost = 1;
  int kernels = 1;  ///< launches of the forward
  bool operator==(const CustomOperator&) const = default;
};

}  // namespace parallel_opt
