#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel_opt/base/random.h"
#include "parallel_opt/simulate/lowering.h"

namespace parallel_opt {
namespace {

/// Two that run side by side, each at 1/slowdown while both do.
double beside(double a_s, double b_s, double slowdown) {
  return std::max(a_s, b_s) + (slowdown - 1) * std::min(a_s, b_s);
}

}  // namespace

double jitter_factor(const JitterOptions& jitter, int rank, const Action& a) {
  if (jitter.spread <= 0) return 1;
  const std::uint64_t of_seed = Random(jitter.seed).next();
  const std::uint64_t of_rank = Random(of_seed ^ static_cast<std::uint64_t>(rank)).next();
  Random random(of_rank ^ (at(a.stage) << 34 | at(a.micro_batch) << 2 | at(int(a.kind))));
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  const double normal = radius * std::cos(2 * std::numbers::pi * random.uniform());
  const double variance = std::log1p(jitter.spread * jitter.spread);
  return std::exp(std::sqrt(variance) * normal - variance / 2);
}

ActionSeconds action_seconds(const StageWork& stage, ActionKind kind, double slowdown) {
  if (kind == ActionKind::forward) {
    return {beside(stage.forward_s, stage.forward_beside_s, slowdown), stage.forward_exposed_s};
  }
  if (kind == ActionKind::backward_weight) return {stage.backward_weight_s, 0};
  double compute_s = stage.recompute_s + stage.backward_input_s;
  if (kind == ActionKind::backward) compute_s += stage.backward_weight_s;
  return {beside(compute_s, stage.backward_beside_s, slowdown), stage.backward_exposed_s};
}

ActionSeconds together_seconds(const ActionSeconds& forward, const ActionSeconds& backward,
                               double slowdown) {
  const double compute_s = forward.compute_s + backward.compute_s;
  const double wires_s = forward.exposed_s + backward.exposed_s;
  const double whole_s = beside(compute_s, wires_s, slowdown);
  return {compute_s, whole_s - compute_s};
}

RankUpdate update_of(const StepWork& work, const Schedule& schedule, int position) {
  RankUpdate update;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    if (schedule.rank_of[at(stage)] != position) continue;
    const StageWork& own = work.stages[at(stage % schedule.stages_per_lane())];
    update.sum.optimizer_s += own.optimizer_s;
    update.sum.update_gather_s += own.update_gather_s;
    update.sum.late_gather_s += own.late_gather_s;
    update.sum.states_bytes += own.states_bytes;
    update.sum.updated_bytes += own.updated_bytes;
    update.sum.returned_bytes += own.returned_bytes;
    update.sum.host_step_s += own.host_step_s;
    const bool with_host = own.states_bytes > 0 || own.updated_bytes > 0 ||
                           own.returned_bytes > 0 || own.host_step_s > 0;
    if (with_host) update.parts += std::max(1, static_cast<int>(own.groups.size()));
  }
  return update;
}

}  // namespace parallel_opt
