#pragma once

#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {

/// What running one operator once costs a machine, whatever the machine.
struct OpWork {
  OpClass op_class = OpClass::opaque;
  Flops contraction;  ///< contractions, convolutions, attention: 2 per multiply-add, causal counted
                      ///< in full
  Flops other;        ///< everything else
  Bytes read;         ///< operands, each distinct storage once
  Bytes written;      ///< results; 0 for views
  int kernels = 0;    ///< launches in eager mode; 0 for views
  OpWork& operator+=(const OpWork& o);
};

/// Work of the operator as written. Pre: `check(graph)` is empty.
OpWork forward_work(const Graph& graph, const Op& op);

/// Work of its backward, derived from the iteration space (contract the output gradient with the
/// other operands), for those operands that need a gradient; zero when none does.
OpWork backward_work(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad);

/// Per tensor: does a gradient flow into it (it depends on a parameter or input that requires one)?
std::vector<bool> needs_grad(const Graph& graph);

/// What an operator keeps for its backward.
struct Saved {
  std::vector<TensorId> tensors;  ///< operands or results kept (their storage)
  Bytes extra;  ///< kept and not a tensor of the graph: masks, statistics, indices
};
Saved saved_for_backward(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad);

/// Bytes of all distinct storages saved by the forward, parameters and inputs left out: what
/// `torch.autograd.graph.saved_tensors_hooks` sees, less tensors that live anyway.
Bytes saved_bytes(const Graph& graph);

}  // namespace parallel_opt
