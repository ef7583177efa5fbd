#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "parallel_opt/simulate/lowering.h"
#include "parallel_opt/simulate/simulation.h"
#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {

/// A change of what a rank holds.
struct MemoryStep {
  double time_s = 0;
  std::int64_t bytes = 0;
  int forwards = 0;  ///< that wait for their backward: one more, or one less
};

/// A forward, a backward or a part of one, or two together.
constexpr bool is_action(TaskKind kind) { return kind <= TaskKind::overlapped; }
inline constexpr std::size_t kActionKinds = 4;  ///< without those of two

/// Of an action's time what moves data, as shares of it.
struct ActionMoves {
  ByCommunication shares;
  double sum = 0;          ///< of these
  double inside = 0;       ///< while it does not compute; the others may hide behind its compute
  ByCommunication beside;  ///< collectives that run beside its compute
  /// Share in which it waits: copies on the device are work of its own.
  double waits() const { return std::max(0.0, inside - shares[Communication::copy]); }
};
ActionMoves moves_of(const StageWork& stage, ActionKind kind, double slowdown);
/// A forward and a backward as one.
ActionMoves moves_together(const StageWork& ahead, const StageWork& back, double slowdown);

/// A step that has run, and what can be read from it.
struct StepRun {
  const StepWork& work;
  const std::vector<Schedule>& schedules;
  LoweredStep lowered;
  TaskTimes times = {};
  double step_s = 0;
  std::vector<ActionMoves> action_moves = {};    ///< by stage and kind of action
  std::vector<ByCommunication> reductions = {};  ///< by stage, as shares

  const Schedule& schedule_of(int rank) const {
    const int replica = rank / schedules[0].ranks();
    return schedules[schedules.size() == 1 ? 0 : static_cast<std::size_t>(replica)];
  }
  const StageWork& stage_of(const Task& task) const {
    return work.stages[task.stage % work.stages.size()];
  }
  double end_s(std::int32_t id) const {
    const auto i = static_cast<std::size_t>(id);
    const auto stream = static_cast<std::size_t>(lowered.graph.tasks[i].stream);
    return times.done_s[i] - lowered.graph.streams[stream].tail_s;
  }
  const DevicePower* power_of(int rank) const {
    if (work.power.empty()) return nullptr;
    return &work.power[work.power.size() == 1 ? 0 : static_cast<std::size_t>(rank)];
  }

  /// Every change of a rank's memory in the order of time; `steps` is overwritten.
  void memory_of(int rank, std::vector<MemoryStep>& steps) const;
  /// The same, but what an action keeps grows while a forward runs, and shrinks while a backward
  /// does. Its peak is the same; where other streams hold something, so are all changes.
  void drawn_memory_of(int rank, std::vector<MemoryStep>& steps) const;
  std::int64_t static_bytes(int rank) const;
  double stream_busy_s(std::int32_t stream) const;
  void read_moves();
  /// Of two together they are put into `space`.
  const ActionMoves& moves_of(std::int32_t id, ActionMoves& space) const;
  /// What moves data in an action, one after the other to its end: kind, start, seconds.
  template <class Use>
  void each_move(std::int32_t id, const ActionMoves& moves, Use use) const {
    if (moves.sum <= 0) return;
    const double end = end_s(id), whole_s = end - times.start_s[at(id)];
    one_by_one(moves.shares, end - whole_s * moves.sum, whole_s, use);
  }
  /// What moves data beside its compute, likewise from its start.
  template <class Use>
  void each_beside(std::int32_t id, const ActionMoves& moves, Use use) const {
    const double start_s = times.start_s[at(id)];
    one_by_one(moves.beside, start_s, end_s(id) - start_s, use);
  }
  /// Shares of a whole, one after the other: kind, start, seconds.
  template <class Use>
  static void one_by_one(const ByCommunication& shares, double start_s, double whole_s, Use use) {
    for (std::size_t i = 0; i < kCommunications; ++i) {
      const double seconds = whole_s * shares.all[i];
      if (seconds <= 0) continue;
      use(static_cast<Communication>(i), start_s, seconds);
      start_s += seconds;
    }
  }
  /// Of a reduction, by kind.
  const ByCommunication& reduction_shares(const Task& task) const {
    return reductions[task.stage % work.stages.size()];
  }
  /// Of a compute task's time, what it waits for collectives inside it: it draws no power then.
  double exposed_share(std::int32_t id) const;
  /// Of a compute task's time, what draws the power of computing: all but waits for collectives,
  /// which are taken to come last.
  double computing_s(std::int32_t id) const;

 private:
  void memory_of_actions(int rank, std::vector<MemoryStep>& steps, int parts = 1) const;
  void memory_of_states(int rank, std::vector<MemoryStep>& steps) const;
};

/// Spans with Kineto's names, memory and power of these ranks; none: of all.
Timeline timeline_of(const StepRun& run, const std::vector<int>& ranks);
/// Of all ranks. Pre: the work has watts.
PowerCurve power_curve_of(const StepRun& run);

}  // namespace parallel_opt
