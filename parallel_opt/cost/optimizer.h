#pragma once

#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// What one step of an optimizer costs per parameter, in passes over the parameter's bytes (a read
/// or a write of one tensor of its size is one pass).
struct OptimizerCost {
  int state_tensors = 0;      ///< kept per parameter, fp32 and of its size
  int passes = 0;             ///< single-tensor and foreach forms: one kernel per arithmetic step
  int kernels = 0;            ///< launches per parameter of the single-tensor form
  int fused_passes = 0;       ///< `fused=True`: read operands once, write results once
  int temporary_tensors = 0;  ///< of the parameter's size, alive inside the step
};

/// Counted from the reference form of each optimizer in torch.optim (docs/cost-model.md#optimizer):
/// AdamW: decay 2, lerp 3, square mul 2, addcmul 3, sqrt 2, div 2, add 2, addcdiv 4 = 20 passes;
/// fused: read p g m v, write p m v = 7. Scalars (step counts) are left out.
OptimizerCost optimizer_cost(Optimizer optimizer);

}  // namespace parallel_opt
