#pragma once

#include <vector>

#include "parallel_opt/plan/schedule.h"

namespace parallel_opt {

/// Of one stage, one micro-batch.
struct StagePass {
  double forward_s = 0;
  double input_s = 0;           ///< backward: gradients of inputs, and what is computed again
  double weights_s = 0;         ///< backward: gradients of weights
  double forward_wires_s = 0;   ///< beside another micro-batch's pass where two run as one
  double backward_wires_s = 0;  ///< likewise
  double layers = 0;
};

/// Between ranks.
struct SendTime {
  double whole_s = 0;
  double hides = 0;  ///< share that runs beside compute; 0: a rank waits for what it sends
};

/// From the first action of a schedule to its last, each as soon as its rank and its input are
/// there. `stages`: of one copy of the model. Pre: check(schedule) finds nothing.
double schedule_s(const Schedule& schedule, const std::vector<StagePass>& stages,
                  const SendTime& send);

/// Layers times micro-batches whose activations a rank holds at most.
struct HeldLayers {
  double all = 0;
  double here = 0;  ///< on the device, where `away` of each leaves between its passes
};
HeldLayers held_layers(const Schedule& schedule, int rank, const std::vector<StagePass>& stages,
                       double away);

}  // namespace parallel_opt
