#pragma once

#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Sets `alias_of` of every result that shares an operand's storage and has none set: views,
/// in-place operators, and `contiguous`, `reshape`, `to`, `dropout` where PyTorch would return
/// their operand or a view of it. Whoever builds a graph calls it once, last; everything that
/// counts bytes relies on it.
void fill_aliases(Graph& graph);

/// The tensor that owns the storage: itself, or the end of its alias chain.
TensorId storage_owner(const Graph& graph, TensorId id);
/// The same for every tensor at once.
std::vector<TensorId> storage_owners(const Graph& graph);

/// "aten.add_.Tensor": changes its first operand and returns it.
bool is_in_place(const Op& op);

/// A join that brings what a loop carries into its body (see Region).
bool enters_loop(const Op& op);

/// Strides in elements; those of a contiguous tensor when none are stored.
std::vector<std::int64_t> strides_of(const Tensor& tensor);
bool is_contiguous(const Tensor& tensor);
/// May axes first..last be merged into one without a copy (as `view` needs)?
bool axes_merge(const Tensor& tensor, std::size_t first, std::size_t last);

}  // namespace parallel_opt
