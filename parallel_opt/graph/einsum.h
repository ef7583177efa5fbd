#pragma once

#include "parallel_opt/graph/work.h"

// What torch makes of an einsum: one batched product per further operand, pair by pair.
namespace parallel_opt {

struct EinsumWork {
  Flops forward;   ///< products that sum something; without a sum it is an elementwise product
  Flops backward;  ///< of the gradients that are needed
  Saved saved;     ///< operands, copies where strides do not allow a view, results in between
};

/// Per step, a left operand [batch left sum] times a right one [batch sum right]. Source: ATen's
/// einsum and sumproduct_pair (Linear.cpp of PyTorch 2.13). The order is that of the attribute
/// `path`, which torch writes where opt_einsum is installed: pairs of places among the operands
/// that are left, the result behind them; without it, from left to right.
EinsumWork einsum_work(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad);

}  // namespace parallel_opt
