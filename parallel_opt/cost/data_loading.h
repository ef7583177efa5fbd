#pragma once

namespace parallel_opt {

/// What makes one rank's samples on the host.
struct Loader {
  double sample_s = 0;  ///< one worker, one sample
  double workers = 0;   ///< processes; 0: the training loop's own, nothing runs beside it
  double cores = 1;     ///< that the rank's processes share; above 0
  double spare = 1;     ///< of these, not computing the step; at most `cores`
};

/// Seconds that a step waits for its `samples` where the rest of it takes `step_s`. Workers run
/// ahead on spare cores while the step runs; what they have not finished then, all cores do.
double waits_for_samples(const Loader& loader, double samples, double step_s) noexcept;

}  // namespace parallel_opt
