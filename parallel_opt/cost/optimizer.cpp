#include "parallel_opt/cost/optimizer.h"

namespace parallel_opt {

OptimizerCost optimizer_cost(Optimizer optimizer) {
  switch (optimizer) {
    case Optimizer::none:
      return {};
    case Optimizer::sgd:  // p += -lr g: read p g, write p
      return {.passes = 3, .kernels = 1, .fused_passes = 3};
    case Optimizer::momentum:  // b *= mu; b += g; p += -lr b
      return {.state_tensors = 1, .passes = 8, .kernels = 3, .fused_passes = 5};
    case Optimizer::adam:
      return {.state_tensors = 2,
              .passes = 18,
              .kernels = 8,
              .fused_passes = 7,
              .temporary_tensors = 2};
    case Optimizer::adamw:
      return {.state_tensors = 2,
              .passes = 20,
              .kernels = 9,
              .fused_passes = 7,
              .temporary_tensors = 2};
    case Optimizer::adagrad:  // s += g g 3; sqrt 2; add 2; addcdiv 4
      return {.state_tensors = 1,
              .passes = 11,
              .kernels = 5,
              .fused_passes = 5,
              .temporary_tensors = 1};
    case Optimizer::rmsprop:  // s *= a 2; addcmul 3; sqrt 2; add 2; addcdiv 4
      return {.state_tensors = 1,
              .passes = 13,
              .kernels = 5,
              .fused_passes = 13,
              .temporary_tensors = 1};
    case Optimizer::adafactor:  // factored state: rows and columns, of negligible size
      return {.state_tensors = 0,
              .passes = 16,
              .kernels = 14,
              .fused_passes = 16,
              .temporary_tensors = 2};
    case Optimizer::lion:  // decay 2; update = m b1 + g (1-b1) 3; sign 2; add 3; m lerp 3
      return {.state_tensors = 1,
              .passes = 13,
              .kernels = 5,
              .fused_passes = 13,
              .temporary_tensors = 1};
    case Optimizer::other:  // unknown: as Adam, the commonest
      return {.state_tensors = 2,
              .passes = 18,
              .kernels = 8,
              .fused_passes = 18,
              .temporary_tensors = 2};
  }
  return {};
}

}  // namespace parallel_opt
