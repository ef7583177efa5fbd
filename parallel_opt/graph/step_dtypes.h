#pragma once

#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Dtypes under autocast.
struct StepDtypes {
  std::vector<DType> op;      ///< per operator: what it computes in; fp32 unless lowered
  std::vector<DType> tensor;  ///< per tensor: what it is held in
};

/// What PyTorch's autocast on a CPU does to an fp32 graph: contractions, convolutions, attention
/// and recurrent layers compute in `compute`; losses, products, transforms and 3-D pooling in fp32;
/// all else follows its operands, promoted to the wider. fp32 leaves every dtype as it is.
/// Source: torch 2.13, aten/src/ATen/autocast_mode.cpp, the lists of the CPU key.
StepDtypes step_dtypes(const Graph& graph, DType compute);

}  // namespace parallel_opt
