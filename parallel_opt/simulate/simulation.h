#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "parallel_opt/simulate/step_work.h"
#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {

struct RankUse;

struct SimulationOptions {
  bool timeline = false;                 ///< spans and counters; without, nothing is kept of them
  std::vector<int> timeline_ranks = {};  ///< of these alone; empty: of all
  /// Of these alone, chosen once it is known what each did; takes the place of `timeline_ranks`.
  std::function<std::vector<int>(const std::vector<RankUse>&)> choose_ranks = {};
  double jitter = 0;       ///< relative standard deviation of each computation's time
  std::uint64_t seed = 0;  ///< same seed and work: same bytes
};

/// What a rank did during the step.
struct RankUse {
  int rank = 0;
  double busy_s = 0;        ///< it computes; busy, exposed and idle add up to the step
  double exposed_s = 0;     ///< compute waits for collectives and transfers, in actions or between
  double bubble_s = 0;      ///< idle between its first and its last action
  double fill_drain_s = 0;  ///< idle before the first, and after the last until `pipeline_s`
  double idle_s = 0;
  double collective_s = 0;  ///< any collective at work, whether or not compute waits for it
  std::vector<CommunicationWork> collectives = {};  ///< by kind; two may run at a time
  int in_flight = 0;  ///< most forwards (per stage and micro-batch) without their backward
  std::int64_t peak_memory_bytes = 0;
  std::optional<double> energy_j = {};
  bool operator==(const RankUse&) const = default;
};

/// So many ranks have curves of power of their own; of more the sum is told.
inline constexpr int kPowerRanks = 2;

/// Power over the step in equal parts of it, the mean of each.
struct PowerCurve {
  std::vector<double> total_w = {};               ///< all ranks
  std::vector<std::vector<double>> ranks_w = {};  ///< each, where there are at most kPowerRanks
  double least_w = 0, most_w = 0;                 ///< of one rank in any part
  bool operator==(const PowerCurve&) const = default;
};

struct SimulationResult {
  double step_time_s = 0;
  /// From the begin of the step until the last action of the schedule: no optimizer, no reduction
  /// that outlasts it.
  double pipeline_s = 0;
  /// Idle share of the ranks' time during pipeline_s (the mean of bubble_s + fill_drain_s): b / (1
  /// + b) for a bubble of b times the work.
  double bubble_share = 0;
  std::int64_t events = 0;
  std::optional<double> energy_j = {};  ///< all ranks
  std::vector<RankUse> ranks = {};      ///< over all replicas
  std::optional<Timeline> timeline = {};
  std::optional<PowerCurve> power = {};  ///< with the timeline, where watts are known
  bool operator==(const SimulationResult&) const = default;
};

/// Runs one training step. `schedules`: one for all replicas, or one for each. Exact (a longest
/// path) when nothing contends, else events in the order of time: docs/simulate.md.
/// Pre: `check(work, schedules)` and `check(schedule)` find nothing.
SimulationResult simulate(const StepWork& work, const std::vector<Schedule>& schedules,
                          const SimulationOptions& options = {});

template <class Visitor, class T>
  requires SameAs<T, RankUse>
void fields(Visitor& visit, T& use) {
  visit("rank", use.rank, "over all replicas");
  visit("busy_s", use.busy_s, "it computes; busy, exposed and idle add up to the step");
  visit("exposed_s", use.exposed_s, "compute waits for collectives and transfers");
  visit("bubble_s", use.bubble_s, "idle between its first and its last action");
  visit("fill_drain_s", use.fill_drain_s,
        "idle before the first, and after the last until pipeline_s");
  visit("idle_s", use.idle_s, "the rest of the step, waiting for others");
  visit("collective_s", use.collective_s, "any collective at work, waited for or not");
  visit("collectives", use.collectives, "of these by kind; two may run at a time");
  visit("in_flight", use.in_flight, "most forwards that wait for their backward");
  visit("peak_memory_bytes", use.peak_memory_bytes, "most at any time");
  visit("energy_j", use.energy_j, "of the device; absent: its watts are not known");
}

}  // namespace parallel_opt
