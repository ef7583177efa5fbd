#pragma once

#include <cstdint>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// A product of several matrices, taken in the order that costs least, as torch's multi_dot does.
struct ProductChain {
  double flops = 0;           ///< 2 per multiply-add
  double backward_flops = 0;  ///< of the gradients that are needed
  double kept_elements = 0;   ///< of the products on the way, which the backward needs
};
ProductChain product_chain(const Graph& graph, const Op& op,
                           const std::vector<bool>& needs_grad = {});

/// The n-th power of a matrix by squaring, as torch's matrix_power does.
struct MatrixPower {
  std::int64_t products = 0;
  std::int64_t kept = 0;  ///< matrices beside the operand that the backward needs
};
MatrixPower matrix_power(std::int64_t n);

}  // namespace parallel_opt
