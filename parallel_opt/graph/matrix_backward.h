#pragma once

#include <vector>

#include "parallel_opt/graph/graph.h"

// Backward of dense linear algebra: it is written in matrix products, which count as such.
namespace parallel_opt {

/// FLOPs of the products in the backward of a factorisation, a solve or an inverse; 0 for others.
/// They depend on which results have a gradient and which operands need one. Solves inside of a
/// backward are no products. Source: FunctionsManual.cpp of PyTorch 2.13, each formula compared
/// with torch.utils.flop_counter (tests/python/graph/test_saved_by_operator.py).
Flops matrix_backward_flops(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad);

}  // namespace parallel_opt
