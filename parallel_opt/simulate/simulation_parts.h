#pragma once

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

/// A step that has run, and what can be read from it.
struct StepRun {
  const StepWork& work;
  const std::vector<Schedule>& schedules;
  LoweredStep lowered;
  TaskTimes times = {};
  double step_s = 0;

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
  std::int64_t static_bytes(int rank) const;
  double stream_busy_s(std::int32_t stream) const;
  /// Of a compute task's time, what it waits for collectives inside it.
  double exposed_share(std::int32_t id) const;
  /// Of a compute task's time, what draws the power of computing: all but waits for collectives,
  /// which are taken to come last.
  double computing_s(std::int32_t id) const;

 private:
  void memory_of_actions(int rank, std::vector<MemoryStep>& steps) const;
  void memory_of_states(int rank, std::vector<MemoryStep>& steps) const;
};

/// Spans with Kineto's names, memory and power of these ranks; none: of all.
Timeline timeline_of(const StepRun& run, const std::vector<int>& ranks);
/// Of all ranks. Pre: the work has watts.
PowerCurve power_curve_of(const StepRun& run);

}  // namespace parallel_opt
