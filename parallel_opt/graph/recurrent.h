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
/// oneDNN's LSTM keeps gates, states and room for their gradients: bytes per layer and direction.
std::int64_t recurrent_workspace(std::int64_t steps, std::int64_t samples, std::int64_t hidden,
                                 std::int64_t element);
Saved recurrent_saved(const Graph& graph, const Op& op);

}  // namespace parallel_opt
