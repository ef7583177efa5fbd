#pragma once

#include <vector>

#include "parallel_opt/graph/work.h"

// Closed forms of LSTM, GRU and RNN layers and cells: their iteration over steps is inside one
// operator.
namespace parallel_opt {

double recurrent_forward_flops(const Graph& graph, const Op& op);
/// Weights: as the forward. States: as the forward, less the first step when the initial state
/// needs no gradient. Input of the first layer: only when it needs one.
double recurrent_backward_flops(const Graph& graph, const Op& op,
                                const std::vector<bool>& needs_grad);
double recurrent_other_flops(const Graph& graph, const Op& op);
int recurrent_kernels(const Graph& graph, const Op& op);
/// Bytes that oneDNN's LSTM keeps per layer and direction: gates, layer states and their gradients,
/// cell states, each from a page of its own. Fitted to torch 2.13 (within 0.5 % at ten sizes
/// that the fit did not see): widths are rounded to 16 elements, but for cell states.
std::int64_t recurrent_workspace(std::int64_t steps, std::int64_t samples, std::int64_t columns,
                                 std::int64_t hidden, std::int64_t element);
Saved recurrent_saved(const Graph& graph, const Op& op);

}  // namespace parallel_opt
