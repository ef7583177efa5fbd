#include "parallel_opt/graph/step_dtypes.h"

#include <algorithm>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {
namespace {

bool lowered(const OpRow& row) {
  switch (row.op_class) {
    case OpClass::contraction:
      // einsum and bilinear reach autocast as the products that they are made of.
      return row.target != "aten.mv" && row.target != "aten.dot" && row.target != "aten.addmv";
    case OpClass::convolution:
    case OpClass::attention:
      return true;
    case OpClass::recurrent:
      return row.target == "aten.lstm";  // the fused layer; others step through linear
    default:
      return false;
  }
}

/// Operators of the CPU's fp32 list; cross entropy is not on it, but nll_loss inside is.
bool kept_full(const OpRow& row) {
  if (row.op_class == OpClass::loss) return row.target != "aten.cross_entropy_loss";
  return row.target == "aten.prod" || row.target == "aten.avg_pool3d" ||
         row.target == "aten.polar" || row.target == "aten.cdist" ||
         row.target.starts_with("aten.grid_sampler") || row.target.starts_with("aten.fft_");
}

}  // namespace

StepDtypes step_dtypes(const Graph& graph, DType compute) {
  StepDtypes dtypes;
  dtypes.op.assign(graph.ops.size(), DType::fp32);
  for (const Tensor& t : graph.tensors) dtypes.tensor.push_back(t.dtype);
  if (compute != DType::bf16 && compute != DType::fp16) return dtypes;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    const std::optional<OpRow> row = find_row(graph, op);
    if (!row) continue;
    bool any_full = false;
    bool any_low = false;
    for (const Operand& input : op.inputs) {
      if (!input.tensor.valid()) continue;
      const Tensor& t = graph.tensor(input.tensor);
      const DType held = dtypes.tensor[input.tensor.index()];
      // Parameters of a normalisation and 0-dimensional tensors do not promote the result.
      const bool counts =
          t.role != TensorRole::parameter && t.role != TensorRole::buffer && !t.shape.empty();
      any_low = any_low || held == compute;
      any_full = any_full || (counts && held == DType::fp32);
    }
    DType result = DType::fp32;
    if (lowered(*row)) {
      dtypes.op[i] = compute;
      result = compute;
    } else if (!kept_full(*row) && any_low && (!any_full || is_in_place(op))) {
      result = compute;
    }
    const bool casts =
        row->target == "aten.to" || row->target == "aten._to_copy" || row->target == "aten.float";
    for (const TensorId id : op.outputs) {
      if (id.valid() && graph.tensor(id).dtype == DType::fp32 && !casts) {
        dtypes.tensor[id.index()] = result;
      }
    }
    if (is_in_place(op) && !op.outputs.empty() && op.outputs.front().valid() &&
        !op.inputs.empty() && op.inputs.front().tensor.valid()) {
      dtypes.tensor[op.outputs.front().index()] = dtypes.tensor[op.inputs.front().tensor.index()];
    }
  }
  return dtypes;
}

}  // namespace parallel_opt
