#include "parallel_opt/simulate/simulation.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/simulate/lowering.h"
#include "parallel_opt/simulate/simulation_parts.h"

namespace parallel_opt {
namespace {

/// What an action keeps from its first slice on, and lets go after its last.
struct SliceEnds {
  bool first = true;
  bool last = true;
};
SliceEnds slice_ends(const Task& task, std::size_t groups) {
  if (task.group == kWholeAction) return {};
  const bool lowest = task.group == 0, highest = task.group + std::size_t{1} == groups;
  return task.what() == TaskKind::forward ? SliceEnds{lowest, highest} : SliceEnds{highest, lowest};
}

/// Of a stage's bytes those of a task's slice; slices of all add up.
std::int64_t slice_of(std::int64_t bytes, const StageWork& stage, int group) {
  if (group == kWholeAction) return bytes;
  double before = 0;
  for (int i = 0; i < group; ++i) before += stage.groups[at(i)].share;
  const double after = before + stage.groups[at(group)].share;
  const bool last = at(group) + 1 == stage.groups.size();
  return (last ? bytes : std::llround(after * double(bytes))) -
         std::llround(before * double(bytes));
}

/// Bytes that come, or go (below 0), while a task runs: at its start and its end, or bit by bit.
void push_over(double start_s, double end_s, const MemoryStep& whole, int parts,
               std::vector<MemoryStep>& steps) {
  const bool comes = whole.bytes > 0;
  if (parts == 1) {
    steps.push_back({comes ? start_s : end_s, whole.bytes, whole.forwards});
    return;
  }
  for (int i = 0; i < parts; ++i) {
    const double share = double(comes ? i : i + 1) / parts;
    steps.push_back({share < 1 ? start_s + share * (end_s - start_s) : end_s,
                     whole.bytes * (i + 1) / parts - whole.bytes * i / parts,
                     (comes ? i == 0 : i + 1 == parts) ? whole.forwards : 0});
  }
}

/// What is let go at a moment makes room for what begins then.
void sort_by_time(std::vector<MemoryStep>& steps) {
  std::ranges::stable_sort(steps, [](const MemoryStep& a, const MemoryStep& b) {
    return a.time_s != b.time_s ? a.time_s < b.time_s : a.bytes < 0 && b.bytes >= 0;
  });
}

}  // namespace

void StepRun::memory_of_actions(int rank, std::vector<MemoryStep>& steps, int parts) const {
  const TaskGraph& graph = lowered.graph;
  const RankStreams& streams = lowered.ranks[at(rank)];
  for (std::int32_t id = graph.streams[at(streams.compute)].first; id >= 0;
       id = graph.tasks[at(id)].next) {
    const Task& task = graph.tasks[at(id)];
    if (!is_action(task.what())) continue;
    const StageWork& stage = stage_of(task);
    const auto [first, last] = slice_ends(task, stage.groups.size());
    const double start_s = times.start_s[at(id)], end_s = times.done_s[at(id)];
    std::int64_t working = stage.working_bytes;
    if (task.what() == TaskKind::overlapped)
      working += stage_of(graph.tasks[at(id) + 1]).working_bytes;
    const bool forward = task.what() == TaskKind::forward || task.what() == TaskKind::overlapped;
    const bool companion = task.what() == TaskKind::backward && task.work_s == 0;
    if (first && working > 0 && !companion) steps.push_back({start_s, working, 0});
    // What goes to the host does so slice by slice: so is what is kept made, and let go.
    const bool sliced = (stage.offloaded_bytes > 0 || parts > 1) && task.group != kWholeAction;
    const int pieces = task.what() == TaskKind::overlapped || companion ? 1 : parts;
    const auto push = [&](std::int64_t bytes, int forwards) {
      push_over(start_s, end_s, {0, bytes, forwards}, pieces, steps);
    };
    const auto part = [&](std::int64_t bytes) {
      return sliced ? slice_of(bytes, stage, task.group) : bytes;
    };
    if (forward && (first || sliced) && stage.kept_bytes > 0) push(part(stage.kept_bytes), first);
    if (forward && first && stage.kept_bytes == 0) steps.push_back({start_s, 0, 1});
    if (last && working > 0 && !companion) steps.push_back({end_s, -working, 0});
    if (!last && !sliced) continue;
    if (task.what() == TaskKind::backward) {
      push(-part(stage.kept_bytes), last ? -1 : 0);
    } else if (task.what() == TaskKind::backward_input) {
      push(part(stage.kept_for_weights_bytes) - part(stage.kept_bytes), 0);
    } else if (task.what() == TaskKind::backward_weight) {
      push(-part(stage.kept_for_weights_bytes), last ? -1 : 0);
    }
  }
}

/// States that come for the step lie where activations lay: all from the first one's coming until
/// the last is back.
void StepRun::memory_of_states(int rank, std::vector<MemoryStep>& steps) const {
  const Schedule& schedule = schedule_of(rank);
  const std::int64_t bytes = update_of(work, schedule, rank % schedule.ranks()).sum.states_bytes;
  if (bytes == 0) return;
  const TaskGraph& graph = lowered.graph;
  const RankStreams& streams = lowered.ranks[at(rank)];
  double passes_s = 0, from_s = step_s, until_s = 0;
  for (std::int32_t id = graph.streams[at(streams.compute)].first; id >= 0;
       id = graph.tasks[at(id)].next) {
    if (is_action(graph.tasks[at(id)].what())) passes_s = times.done_s[at(id)];
  }
  for (std::int32_t id = graph.streams[at(streams.copy_in)].first; id >= 0;
       id = graph.tasks[at(id)].next) {
    if (times.start_s[at(id)] >= passes_s) from_s = std::min(from_s, times.start_s[at(id)]);
  }
  for (std::int32_t id = graph.streams[at(streams.copy_out)].first; id >= 0;
       id = graph.tasks[at(id)].next) {
    until_s = std::max(until_s, times.done_s[at(id)]);
  }
  steps.push_back({from_s, bytes, 0});
  steps.push_back({until_s, -bytes, 0});
}

void StepRun::memory_of(int rank, std::vector<MemoryStep>& steps) const {
  steps.clear();
  memory_of_actions(rank, steps);
  const TaskGraph& graph = lowered.graph;
  const RankStreams& streams = lowered.ranks[at(rank)];
  const std::size_t of_actions = steps.size();
  for (const LoweredStep::Gathered& g : lowered.gathered[at(rank)]) {
    const Task& task = graph.tasks[at(g.gather)];
    const std::int64_t bytes = stage_of(task).groups[task.group].gathered_bytes;
    steps.push_back({times.start_s[at(g.gather)], bytes, 0});
    if (g.last_use >= 0) steps.push_back({times.done_s[at(g.last_use)], -bytes, 0});
  }
  for (const std::int32_t stream : {streams.copy_out, streams.copy_in}) {
    if (stream < 0) continue;
    for (std::int32_t id = graph.streams[at(stream)].first; id >= 0;
         id = graph.tasks[at(id)].next) {
      const Task& task = graph.tasks[at(id)];
      const bool out = task.what() == TaskKind::copy_out;
      if (!out && task.what() != TaskKind::copy_in) continue;
      const StageWork& stage = stage_of(task);
      const std::int64_t bytes = slice_of(stage.offloaded_bytes, stage, task.group);
      steps.push_back(
          {out ? times.done_s[at(id)] : times.start_s[at(id)], out ? -bytes : bytes, 0});
    }
  }
  memory_of_states(rank, steps);
  if (steps.size() == of_actions) return;  // one stream: in order already
  sort_by_time(steps);
}

void StepRun::drawn_memory_of(int rank, std::vector<MemoryStep>& steps) const {
  constexpr std::size_t kSamples = 800, kMostParts = 16;
  memory_of(rank, steps);
  std::vector<MemoryStep> actions;
  memory_of_actions(rank, actions);
  const auto holds = [](const MemoryStep& step) { return step.bytes != 0; };
  if (std::ranges::count_if(steps, holds) != std::ranges::count_if(actions, holds)) return;
  const std::size_t parts =
      std::min(kMostParts, kSamples / std::max<std::size_t>(1, actions.size()));
  if (parts < 2) return;
  steps.clear();
  memory_of_actions(rank, steps, static_cast<int>(parts));
  sort_by_time(steps);
}

std::int64_t StepRun::static_bytes(int rank) const {
  const Schedule& schedule = schedule_of(rank);
  const int position = rank % schedule.ranks();
  std::int64_t bytes = 0;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    if (schedule.rank_of[at(stage)] == position) {
      bytes += work.stages[at(stage % schedule.stages_per_lane())].static_bytes;
    }
  }
  return bytes;
}

double StepRun::stream_busy_s(std::int32_t stream) const {
  double busy_s = 0;
  if (stream < 0) return busy_s;
  const TaskGraph& graph = lowered.graph;
  for (std::int32_t id = graph.streams[at(stream)].first; id >= 0; id = graph.tasks[at(id)].next) {
    busy_s += end_s(id) - times.start_s[at(id)];
  }
  return busy_s;
}

double StepRun::exposed_share(std::int32_t id) const {
  const Task& task = lowered.graph.tasks[at(id)];
  ActionSeconds time;
  if (task.what() == TaskKind::overlapped) {
    const Task& other = lowered.graph.tasks[at(id) + 1];
    time = together_seconds(action_seconds(stage_of(task), ActionKind::forward, work.slowdown),
                            action_seconds(stage_of(other), ActionKind::backward, work.slowdown),
                            work.slowdown);
  } else if (is_action(task.what())) {
    time = action_seconds(stage_of(task), static_cast<ActionKind>(task.kind), work.slowdown);
  }
  return time.exposed_s > 0 ? time.exposed_s / (time.compute_s + time.exposed_s) : 0;
}

double StepRun::computing_s(std::int32_t id) const {
  if (lowered.graph.tasks[at(id)].what() == TaskKind::stall) return 0;
  return (end_s(id) - times.start_s[at(id)]) * (1 - exposed_share(id));
}

namespace {

/// A rank's use, and its actions alone.
struct RankActions {
  RankUse use;
  double last_s = 0;
  double busy_s = 0;  ///< of them, waits inside or between them included
};

/// What moves data on a rank: seconds by kind, and when collectives run.
class RankMoves {
 public:
  void add(Communication kind, double start_s, double seconds) {
    if (!is_collective(kind) || seconds <= 0) return;
    by_kind_[kind] += seconds;
    times_.emplace_back(start_s, start_s + seconds);
  }
  void add(const RankMoves& others) {
    const std::ptrdiff_t before = std::ssize(times_);
    by_kind_.add(others.by_kind_);
    times_.insert(times_.end(), others.times_.begin(), others.times_.end());
    std::inplace_merge(times_.begin(), times_.begin() + before, times_.end());
  }
  void add_stream(const StepRun& run, std::int32_t stream) {
    if (stream < 0) return;
    const std::ptrdiff_t before = std::ssize(times_);
    const TaskGraph& graph = run.lowered.graph;
    for (std::int32_t id = graph.streams[at(stream)].first; id >= 0;
         id = graph.tasks[at(id)].next) {
      const Task& task = graph.tasks[at(id)];
      const double start_s = run.times.start_s[at(id)], seconds = run.end_s(id) - start_s;
      if (task.what() == TaskKind::gather || task.what() == TaskKind::update_gather) {
        add(Communication::all_gather, start_s, seconds);
      } else if (task.what() == TaskKind::reduce) {
        times_.emplace_back(start_s, start_s + seconds);
        by_kind_.add(run.reduction_shares(task), seconds);
      }
    }
    std::inplace_merge(times_.begin(), times_.begin() + before, times_.end());
  }
  /// In which at least one of them runs.
  double any_s() {
    if (!std::ranges::is_sorted(times_)) std::ranges::sort(times_);
    double sum_s = 0, until_s = 0;
    for (const auto& [start_s, end_s] : times_) {
      sum_s += std::max(0.0, end_s - std::max(start_s, until_s));
      until_s = std::max(until_s, end_s);
    }
    return sum_s;
  }
  std::vector<CommunicationWork> list() const { return listed(by_kind_); }

 private:
  ByCommunication by_kind_;
  std::vector<std::pair<double, double>> times_;  ///< begin and end
};

void add_memory(const StepRun& run, std::vector<MemoryStep>& steps, RankUse& use) {
  run.memory_of(use.rank, steps);
  std::int64_t live = run.static_bytes(use.rank);
  use.peak_memory_bytes = live;
  int in_flight = 0;
  for (const MemoryStep& step : steps) {
    live += step.bytes;
    in_flight += step.forwards;
    use.peak_memory_bytes = std::max(use.peak_memory_bytes, live);
    use.in_flight = std::max(use.in_flight, in_flight);
  }
}

/// Sums of differences round: a rank that never waits has no bubble of 1e-17.
double gap(double whole_s, double part_s) {
  return whole_s - part_s > whole_s * 1e-12 ? whole_s - part_s : 0;
}

RankActions actions_of(const StepRun& run, int rank, std::vector<MemoryStep>& steps) {
  const TaskGraph& graph = run.lowered.graph;
  const RankStreams& streams = run.lowered.ranks[at(rank)];
  RankUse use{.rank = rank};
  double first_s = -1, last_s = 0, in_actions_s = 0, computing_s = 0;
  RankMoves moved, beside;
  ActionMoves space;
  for (std::int32_t id = graph.streams[at(streams.compute)].first; id >= 0;
       id = graph.tasks[at(id)].next) {
    const Task& task = graph.tasks[at(id)];
    const double start_s = run.times.start_s[at(id)], end_s = run.end_s(id);
    computing_s += run.computing_s(id);
    if (task.what() == TaskKind::stall) {
      use.exposed_s += end_s - start_s;
      in_actions_s += end_s - start_s;
      continue;
    }
    if (!is_action(task.what())) {
      use.busy_s += end_s - start_s;
      continue;
    }
    in_actions_s += end_s - start_s;
    const ActionMoves& moves = run.moves_of(id, space);
    use.busy_s += (end_s - start_s) * (1 - moves.waits());
    use.exposed_s += (end_s - start_s) * moves.waits();
    run.each_move(id, moves, [&](Communication kind, double from_s, double seconds) {
      moved.add(kind, from_s, seconds);
    });
    run.each_beside(id, moves, [&](Communication kind, double from_s, double seconds) {
      beside.add(kind, from_s, seconds);
    });
    if (first_s < 0) first_s = start_s;
    last_s = end_s;
  }
  use.bubble_s = gap(last_s - std::max(first_s, 0.0), in_actions_s);
  use.idle_s = gap(run.step_s, use.busy_s + use.exposed_s);
  moved.add(beside);
  moved.add_stream(run, streams.gather);
  moved.add_stream(run, streams.reduce);
  use.collective_s = moved.any_s();
  use.collectives = moved.list();
  add_memory(run, steps, use);
  if (const DevicePower* power = run.power_of(rank)) {
    const double beside_s = run.stream_busy_s(streams.gather) + run.stream_busy_s(streams.reduce);
    use.energy_j = power->idle_w * run.step_s + (power->busy_w - power->idle_w) * computing_s +
                   power->communication_w * beside_s;
  }
  return {use, last_s, in_actions_s};
}

}  // namespace

SimulationResult simulate(const StepWork& work, const std::vector<Schedule>& schedules,
                          const SimulationOptions& options) {
  StepRun run{.work = work,
              .schedules = schedules,
              .lowered = lower(work, schedules, {.spread = options.jitter, .seed = options.seed})};
  run.times = run_tasks(run.lowered.graph);
  PO_CHECK(run.times.finished == run.lowered.graph.tasks.size(), "a checked schedule ends");
  run.read_moves();
  for (const double done_s : run.times.done_s) run.step_s = std::max(run.step_s, done_s);

  SimulationResult result{.step_time_s = run.step_s,
                          .events = static_cast<std::int64_t>(run.times.finished)};
  std::vector<MemoryStep> steps;
  std::vector<double> in_actions_s;
  double busy_s = 0, energy_j = 0;
  for (int rank = 0; rank < run.lowered.graph.ranks; ++rank) {
    const RankActions actions = actions_of(run, rank, steps);
    result.pipeline_s = std::max(result.pipeline_s, actions.last_s);
    busy_s += actions.busy_s;
    energy_j += actions.use.energy_j.value_or(0);
    result.ranks.push_back(actions.use);
    in_actions_s.push_back(actions.busy_s);
  }
  for (std::size_t r = 0; r < result.ranks.size(); ++r) {
    RankUse& use = result.ranks[r];
    use.fill_drain_s = gap(result.pipeline_s, in_actions_s[r] + use.bubble_s);
  }
  const double whole_s = result.pipeline_s * run.lowered.graph.ranks;
  if (whole_s > 0) result.bubble_share = std::max(0.0, 1 - busy_s / whole_s);
  if (!work.power.empty()) result.energy_j = energy_j;
  if (options.timeline) {
    result.timeline = timeline_of(
        run, options.choose_ranks ? options.choose_ranks(result.ranks) : options.timeline_ranks);
    if (!work.power.empty()) result.power = power_curve_of(run);
  }
  return result;
}

}  // namespace parallel_opt
