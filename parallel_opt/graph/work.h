#pragma once

#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {

/// What running one operator once costs a machine, whatever the machine. Every function here
/// relies on `check(graph)` being empty and on `fill_aliases(graph)`.
struct OpWork {
  OpClass op_class = OpClass::opaque;
  Flops contraction;  ///< contractions, convolutions, attention: 2 per multiply-add, causal counted
                      ///< in full
  Flops other;        ///< everything else
  Flops
      recomputed;   ///< backward of fused attention: scores computed again, in neither of the above
  Bytes read;       ///< operands, each distinct storage once; gathered rows only
  Bytes written;    ///< results; 0 for views
  int kernels = 0;  ///< launches in eager mode; 0 for views
  OpWork& operator+=(const OpWork& o);
  bool operator==(const OpWork&) const = default;
};

/// Work of one run of the operator as written; a view, or a copy that PyTorch does not make, is
/// free. Totals multiply it by `expected_runs`.
OpWork forward_work(const Graph& graph, const Op& op);

/// Work of its backward, derived from the iteration space (contract the output gradient with the
/// other operands), for those operands that need a gradient; zero when none does.
OpWork backward_work(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad);

/// Attribute of an operator that ran without gradients (torch.no_grad), 1: no backward, nothing
/// kept.
inline constexpr const char* kNoGrad = "no_grad";
/// Set on operators of the forward that ran inside of a gradient (`torch.autograd.grad`).
inline constexpr const char* kInGradient = "in_gradient";

/// Per tensor: does a gradient flow into it? It depends on a parameter or input that requires one,
/// and a result of the graph depends on it.
std::vector<bool> needs_grad(const Graph& graph);

/// Per tensor: does it depend on a parameter or input that requires a gradient? Autograd keeps what
/// such operators need, whether or not a gradient ever comes.
std::vector<bool> requires_grad(const Graph& graph);

/// What an operator keeps for its backward. CPU rules of PyTorch 2.13: dropout keeps its mask as
/// floats (bool on a GPU), fused attention keeps the logarithm of its sums, LSTM its workspace.
struct Saved {
  std::vector<TensorId> tensors;  ///< operands or results kept (their storage)
  Bytes extra;  ///< kept and not a tensor of the graph: masks, statistics, indices, inner copies
};
Saved saved_for_backward(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad);

/// A user's formula at the sizes of this call. A star's name is the product of its dimensions, 1
/// when it stands for none. Where it divides by 0: not a number.
double formula(const Graph& graph, const Op& op, const std::string& text);

/// Whether the operator runs again in the backward, for activation checkpointing: attribute
/// `recomputed`; it keeps the operands that `saved_inputs` numbers and no result.
bool is_recomputed(const Op& op);

/// Whether the backward was recorded with the forward: gradients that stand in the graph as
/// operators are not derived once more.
bool has_backward(const Graph& graph);

/// Per region: how many runs' saved tensors are alive at once. All of a loop's; of a branch only
/// those of the alternative that keeps most.
std::vector<double> kept_runs(const Graph& graph, const std::vector<bool>& needs_grad);

/// Bytes of all distinct storages saved by the forward, in the mean over what branches take;
/// parameters, buffers, constants and user
/// inputs are left out, views count as the storage they look into: what
/// `torch.autograd.graph.saved_tensors_hooks` sees, less tensors that live anyway.
Bytes saved_bytes(const Graph& graph);

}  // namespace parallel_opt
