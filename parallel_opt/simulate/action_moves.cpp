#include <algorithm>

#include "parallel_opt/simulate/simulation_parts.h"

namespace parallel_opt {
namespace {

/// Of a pass, what moves data.
struct PassMoves {
  ByCommunication seconds;
  double within_s = 0;     ///< of these, in its compute: nothing else hides them
  ByCommunication beside;  ///< its compute, both slowed down
};

/// Of seconds what nobody names; sums round.
double rest_of(double whole_s, double named_s) {
  const double rest_s = whole_s - named_s;
  return rest_s > 1e-9 * whole_s ? rest_s : 0;
}

PassMoves moves_of_pass(const StageWork& stage, ActionKind kind, double slowdown) {
  PassMoves out;
  if (kind == ActionKind::backward_weight) return out;
  const bool forward = kind == ActionKind::forward;
  const double exposed_s = forward ? stage.forward_exposed_s : stage.backward_exposed_s;
  out.seconds = by_kind(forward ? stage.forward_moves : stage.backward_moves);
  const double named_s = out.seconds.sum();
  out.seconds[Communication::other] += rest_of(exposed_s, named_s);
  out.within_s = std::max(0.0, named_s - exposed_s);
  const double beside_s = forward ? stage.forward_beside_s : stage.backward_beside_s;
  double compute_s = forward ? stage.forward_s : stage.recompute_s + stage.backward_input_s;
  if (kind == ActionKind::backward) compute_s += stage.backward_weight_s;
  if (beside_s <= 0) return out;
  out.beside = by_kind(forward ? stage.forward_beside : stage.backward_beside);
  out.beside[Communication::other] += rest_of(beside_s, out.beside.sum());
  const double slowed_s = beside_s + (slowdown - 1) * std::min(beside_s, compute_s);
  ByCommunication slowed;
  slowed.add(out.beside, slowed_s / out.beside.sum());
  out.beside = slowed;
  return out;
}

ActionMoves shares_of(const PassMoves& pass, const ActionSeconds& time) {
  ActionMoves out;
  const double whole_s = time.compute_s + time.exposed_s;
  if (whole_s <= 0) return out;
  const double sum_s = pass.seconds.sum();
  // Sums round: no part is longer than the whole.
  out.shares.add(pass.seconds, 1 / std::max(whole_s, sum_s));
  out.sum = out.shares.sum();
  out.inside = std::min(1.0, (time.exposed_s + pass.within_s) / whole_s);
  const double beside_s = pass.beside.sum();
  out.beside.add(pass.beside, 1 / std::max(whole_s, beside_s));
  return out;
}

}  // namespace

ActionMoves moves_of(const StageWork& stage, ActionKind kind, double slowdown) {
  return shares_of(moves_of_pass(stage, kind, slowdown), action_seconds(stage, kind, slowdown));
}

ActionMoves moves_together(const StageWork& ahead, const StageWork& back, double slowdown) {
  PassMoves both = moves_of_pass(ahead, ActionKind::forward, slowdown);
  const PassMoves other = moves_of_pass(back, ActionKind::backward, slowdown);
  both.seconds.add(other.seconds);
  both.within_s += other.within_s;
  both.beside.add(other.beside);
  return shares_of(
      both, together_seconds(action_seconds(ahead, ActionKind::forward, slowdown),
                             action_seconds(back, ActionKind::backward, slowdown), slowdown));
}

void StepRun::read_moves() {
  action_moves.clear();
  reductions.clear();
  for (const StageWork& stage : work.stages) {
    for (std::size_t kind = 0; kind < kActionKinds; ++kind) {
      action_moves.push_back(
          parallel_opt::moves_of(stage, static_cast<ActionKind>(kind), work.slowdown));
    }
    ByCommunication& shares = reductions.emplace_back();
    const ByCommunication named = by_kind(stage.reductions);
    if (const double sum_s = named.sum(); sum_s > 0) {
      shares.add(named, 1 / sum_s);
    } else {
      shares[work.gather == GatherWhen::never ? Communication::all_reduce
                                              : Communication::reduce_scatter] = 1;
    }
  }
}

const ActionMoves& StepRun::moves_of(std::int32_t id, ActionMoves& space) const {
  const Task& task = lowered.graph.tasks[at(id)];
  if (task.what() == TaskKind::overlapped) {
    space =
        moves_together(stage_of(task), stage_of(lowered.graph.tasks[at(id) + 1]), work.slowdown);
    return space;
  }
  if (!is_action(task.what())) return space = {};
  return action_moves[(task.stage % work.stages.size()) * kActionKinds + task.kind];
}

}  // namespace parallel_opt
