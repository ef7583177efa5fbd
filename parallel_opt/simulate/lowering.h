#pragma once

#include <cstdint>
#include <vector>

#include "parallel_opt/simulate/step_work.h"
#include "parallel_opt/simulate/task_graph.h"

namespace parallel_opt {

/// The group of a task that is a whole action, not a slice of one.
inline constexpr int kWholeAction = kMostTaskGroups - 1;

/// Streams of a rank; -1: it has none.
struct RankStreams {
  std::int32_t compute = -1;
  std::int32_t gather = -1;
  std::int32_t reduce = -1;
  std::int32_t copy_out = -1;
  std::int32_t copy_in = -1;
  std::int32_t host = -1;
  std::int32_t load = -1;
  struct Wire {
    std::int32_t to = 0;  ///< rank
    std::int32_t stream = 0;
    double bytes_per_s = 0;
  };
  std::vector<Wire> wires;  ///< to other ranks
};

/// A step as tasks, and where they came from.
struct LoweredStep {
  TaskGraph graph;
  std::vector<RankStreams> ranks;  ///< over all replicas
  struct Gathered {
    std::int32_t gather = 0;     ///< task
    std::int32_t last_use = -1;  ///< task; -1: held to the end of the step
  };
  std::vector<std::vector<Gathered>> gathered;  ///< by rank
  std::int32_t meeting = -1;  ///< task in which all ranks wait before the optimizer; -1: none
};

/// Compute, and collectives that compute waits for, of one action.
struct ActionSeconds {
  double compute_s = 0;
  double exposed_s = 0;
};
ActionSeconds action_seconds(const StageWork& stage, ActionKind kind, double slowdown);
/// A forward and a backward run together: the collectives of each hide behind the other's compute.
ActionSeconds together_seconds(const ActionSeconds& forward, const ActionSeconds& backward,
                               double slowdown);

/// What the stages of a rank together do once gradients are complete.
struct RankUpdate {
  StageWork sum;
  int parts = 0;  ///< into which states are cut on their way; 0: the host has no part in the step
};
RankUpdate update_of(const StepWork& work, const Schedule& schedule, int position);

struct JitterOptions {
  double spread = 0;  ///< relative standard deviation of a computation's time
  std::uint64_t seed = 0;
};
/// Lognormal with mean 1; the same for the same action of a rank, whatever else there is.
double jitter_factor(const JitterOptions& jitter, int rank, const Action& a);

/// Pre: `check(work, schedules)` finds nothing.
LoweredStep lower(const StepWork& work, const std::vector<Schedule>& schedules,
                  const JitterOptions& jitter);

}  // namespace parallel_opt
