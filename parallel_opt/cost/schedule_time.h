#pragma once

#include <algorithm>
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
  double copy_s = 0;          ///< of what a forward keeps to the host, and as long back
  double gather_s = 0;        ///< of its weights, layer by layer before its first forward
  double reduce_s = 0;        ///< of its gradients, layer by layer behind the last of them
  double reduce_waits_s = 0;  ///< of that, what its rank waits for once they are complete
  double working = 0;         ///< held while it passes, as what so many layers keep
};

/// When a schedule's last action ends, and the last gradients are with all replicas (of weights
/// that were gathered).
struct PlayedStep {
  double actions_s = 0;
  double reduced_s = 0;
};

/// Between ranks.
struct SendTime {
  double whole_s = 0;
  double hides = 0;      ///< share that runs beside compute; 0: a rank waits for what it sends
  double latency_s = 0;  ///< of the whole, in which the way is free for the next
};

/// From the first action of a schedule to its last, each as soon as its rank and its input are
/// there. A pass copies layer by layer, each way by itself, and two layers are on their way at
/// most; two passes that run as one copy whole. `stages`: of one copy of the model. Pre:
/// check(schedule) finds nothing.
PlayedStep play(const Schedule& schedule, const std::vector<StagePass>& stages,
                const SendTime& send);
/// Of these, its actions.
double schedule_s(const Schedule& schedule, const std::vector<StagePass>& stages,
                  const SendTime& send);

/// Of 1F1B from its first to its last action: the longest of what each rank makes of it. A rank
/// begins when those ahead have passed the first micro-batch on, and ends with theirs for the last.
/// Between, the forwards that it runs ahead fill the first one's way to the end and back, and as
/// many backwards the last one's; and backwards come as far apart as they leave any rank behind.
/// `pass_of(rank)`: `forward_s` and `backward_s` of one micro-batch. `send_s`: there and back, in
/// which ranks wait; what that adds to the slowest rank's own work is left out.
template <class PassOf>
double one_f_one_b_s(int ranks, double micro_batches, double send_s, const PassOf& pass_of) {
  const double m = std::max(1.0, micro_batches);
  double ahead = (ranks - 1) * send_s, behind = 0, longest = 0, spread = 0;
  for (int r = 0; r < ranks; ++r) ahead += pass_of(r).forward_s + pass_of(r).backward_s;
  for (int r = ranks - 1; r >= 0; --r) {
    const double f = pass_of(r).forward_s, b = pass_of(r).backward_s;
    const double filled = std::min(ranks - 1.0 - r, m - 1);
    ahead -= f + b;
    spread = std::max(spread, (m - 1 - filled) * (f + b) + filled * b);
    const double sent_s = filled * send_s / 2;  // while it waits for the first, and for the last
    const double first_waits = std::max(0.0, behind - filled * f - sent_s);
    const double steady = m * f + (m - 1 - filled) * b + (m - 1 > filled ? first_waits : 0) +
                          std::max(behind - sent_s, filled * b) + b;
    const double spaced = f + behind + spread + b;
    longest = std::max(longest, ahead + std::max(steady, spaced));
    ahead -= send_s;
    behind += f + b + send_s;
  }
  return longest;
}

/// Layers times micro-batches whose activations a rank holds at most.
struct HeldLayers {
  double all = 0;
  double here = 0;     ///< on the device, where `away` of each leaves between its passes
  double working = 0;  ///< beside those: of the passes at which both are most; 0: not known
};
HeldLayers held_layers(const Schedule& schedule, int rank, const std::vector<StagePass>& stages,
                       double away);

}  // namespace parallel_opt
