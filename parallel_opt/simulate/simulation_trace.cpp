#include <algorithm>
#include <string>

#include "parallel_opt/simulate/simulation_parts.h"

namespace parallel_opt {
namespace {

/// Numbers of streams as CUDA programs have them: 7 computes.
constexpr int kComputeStream = 7, kInsideStream = 13, kBesideStream = 15, kGatherStream = 17,
              kReduceStream = 21;
constexpr int kCopyOutStream = 25, kCopyInStream = 27, kFirstWireStream = 29;

std::string where_of(const Task& task) {
  std::string text =
      " stage " + std::to_string(task.stage) + " micro-batch " + std::to_string(task.micro_batch);
  if (task.group != kWholeAction) text += " group " + std::to_string(task.group);
  return text;
}

/// As NCCL names its kernels: by what is summed, and in which type. Tokens to experts and rings of
/// neighbours are sends and receives.
std::string name_of_move(Communication kind, const std::string& type) {
  const std::string sums = type.empty() ? "" : "_Sum_" + type + "_RING_LL";
  switch (kind) {
    case Communication::all_reduce:
      return "ncclDevKernel_AllReduce" + sums;
    case Communication::all_gather:
      return "ncclDevKernel_AllGather_RING_LL";
    case Communication::reduce_scatter:
      return "ncclDevKernel_ReduceScatter" + sums;
    case Communication::all_to_all:
      return "ncclDevKernel_SendRecv all_to_all";
    case Communication::send_recv:
      return "ncclDevKernel_SendRecv ring";
    case Communication::copy:
      return "Memcpy DtoD (Device -> Device)";
    case Communication::transfer_wait:
      return "wait for a transfer";
    case Communication::other:
      break;
  }
  return "collective";
}

std::string category_of_move(Communication kind) {
  return kind == Communication::copy            ? "data"
         : kind == Communication::transfer_wait ? "idle"
                                                : "communication";
}

/// Names that Kineto's tools sort by: kernels of NCCL, copies of memory.
std::string name_of_task(const StepRun& run, std::int32_t id) {
  const Task& task = run.lowered.graph.tasks[at(id)];
  switch (task.what()) {
    case TaskKind::forward:
      return "forward" + where_of(task);
    case TaskKind::backward:
      return "backward" + where_of(task);
    case TaskKind::backward_input:
      return "backward input" + where_of(task);
    case TaskKind::backward_weight:
      return "backward weight" + where_of(task);
    case TaskKind::overlapped:
      return "forward" + where_of(task) + " and backward" +
             where_of(run.lowered.graph.tasks[at(id) + 1]);
    case TaskKind::send_forward:
    case TaskKind::send_backward:
      return "ncclDevKernel_SendRecv" + where_of(task);
    case TaskKind::gather:
      return name_of_move(Communication::all_gather, "") + where_of(task);
    case TaskKind::update_gather:
      return name_of_move(Communication::all_gather, "") + " updated weights";
    case TaskKind::reduce:
      return "reduction" + where_of(task);
    case TaskKind::copy_out:
      return "Memcpy DtoH (Device -> Pinned)" + where_of(task);
    case TaskKind::copy_in:
      return "Memcpy HtoD (Pinned -> Device)" + where_of(task);
    case TaskKind::fetch:
      return "Memcpy HtoD (Pinned -> Device) weights";
    case TaskKind::drain:
      return "Memcpy DtoH (Device -> Pinned) gradients";
    case TaskKind::host_step:
      return "optimizer on the host";
    case TaskKind::load:
      return "load micro-batch " + std::to_string(task.micro_batch);
    case TaskKind::host:
      return "cudaLaunchKernel" + where_of(task);
    case TaskKind::optimizer:
      return "optimizer";
    case TaskKind::join:
      return "meet";
    case TaskKind::stall:
      return "wait for a collective";
  }
  return "";
}

std::string category_of_task(TaskKind kind) {
  switch (kind) {
    case TaskKind::forward:
    case TaskKind::overlapped:
      return "forward";
    case TaskKind::backward:
    case TaskKind::backward_input:
    case TaskKind::backward_weight:
      return "backward";
    case TaskKind::copy_out:
    case TaskKind::copy_in:
    case TaskKind::fetch:
    case TaskKind::drain:
    case TaskKind::load:
      return "data";
    case TaskKind::host_step:
    case TaskKind::optimizer:
      return "optimizer";
    case TaskKind::host:
      return "launch";
    case TaskKind::stall:
      return "idle";
    default:
      return "communication";
  }
}

struct TraceBuilder {
  const StepRun& run;
  Timeline timeline = {.source = "simulated"};

  void stream(std::int32_t stream, const std::string& track) {
    if (stream < 0) return;
    const TaskGraph& graph = run.lowered.graph;
    for (std::int32_t id = graph.streams[at(stream)].first; id >= 0;
         id = graph.tasks[at(id)].next) {
      const TaskKind kind = graph.tasks[at(id)].what();
      const double start_s = run.times.start_s[at(id)], end_s = run.end_s(id);
      if (kind == TaskKind::join || end_s <= start_s) continue;
      if (kind == TaskKind::reduce) {
        reduction(id, track, start_s, end_s - start_s);
        continue;
      }
      timeline.spans.push_back(
          {name_of_task(run, id), category_of_task(kind), track, start_s, end_s - start_s});
    }
  }

  void reduction(std::int32_t id, const std::string& track, double start_s, double whole_s) {
    const Task& task = run.lowered.graph.tasks[at(id)];
    const auto span = [&](Communication kind, double from_s, double seconds) {
      timeline.spans.push_back({name_of_move(kind, run.work.gradient) + where_of(task),
                                category_of_move(kind), track, from_s, seconds});
    };
    StepRun::one_by_one(run.reduction_shares(task), start_s, whole_s, span);
  }

  /// Collectives inside actions run at many moments of them; they are drawn at the end.
  void compute(std::int32_t stream, const std::string& rank) {
    const TaskGraph& graph = run.lowered.graph;
    for (std::int32_t id = graph.streams[at(stream)].first; id >= 0;
         id = graph.tasks[at(id)].next) {
      const Task& task = graph.tasks[at(id)];
      const double start_s = run.times.start_s[at(id)], whole_s = run.end_s(id) - start_s;
      if (whole_s <= 0) continue;
      ActionMoves space;
      const ActionMoves& moves = run.moves_of(id, space);
      timeline.spans.push_back({name_of_task(run, id), category_of_task(task.what()),
                                rank + " stream " + std::to_string(kComputeStream) + " compute",
                                start_s, whole_s * (1 - moves.inside)});
      const auto span = [&](int number, const char* track, Communication kind, double from_s,
                            double seconds) {
        timeline.spans.push_back(
            {name_of_move(kind, run.work.element) + where_of(task), category_of_move(kind),
             rank + " stream " + std::to_string(number) + track, from_s, seconds});
      };
      run.each_move(id, moves, [&](Communication kind, double from_s, double seconds) {
        span(kInsideStream, " inside", kind, from_s, seconds);
      });
      run.each_beside(id, moves, [&](Communication kind, double from_s, double seconds) {
        span(kBesideStream, " beside", kind, from_s, seconds);
      });
    }
  }

  /// What comes once per step, before the optimizer: all ranks wait.
  void meeting(const std::string& rank) {
    const std::int32_t id = run.lowered.meeting;
    if (id < 0 || run.end_s(id) <= run.times.start_s[at(id)]) return;
    timeline.spans.push_back(
        {"once per step", "idle", rank + " stream " + std::to_string(kComputeStream) + " compute",
         run.times.start_s[at(id)], run.end_s(id) - run.times.start_s[at(id)]});
  }

  void memory(int rank, const std::string& track) {
    std::vector<MemoryStep> steps;
    run.drawn_memory_of(rank, steps);
    std::int64_t live = run.static_bytes(rank);
    timeline.counters.push_back({"memory_bytes", track, 0, static_cast<double>(live)});
    for (const MemoryStep& step : steps) {
      live += step.bytes;
      CounterSample& last = timeline.counters.back();
      if (last.time_s == step.time_s) {
        last.value = static_cast<double>(live);
        continue;
      }
      timeline.counters.push_back({"memory_bytes", track, step.time_s, static_cast<double>(live)});
    }
    until_the_end();
  }

  /// The last value holds: every curve ends with the step.
  void until_the_end() {
    CounterSample last = timeline.counters.back();
    if (last.time_s >= run.step_s) return;
    last.time_s = run.step_s;
    timeline.counters.push_back(std::move(last));
  }

  void power(int rank, const std::string& track) {
    const DevicePower* watts = run.power_of(rank);
    if (watts == nullptr) return;
    const RankStreams& streams = run.lowered.ranks[at(rank)];
    std::vector<std::pair<double, double>> changes = {{0, watts->idle_w}};
    const auto add = [&](std::int32_t stream, double more_w) {
      if (stream < 0 || more_w <= 0) return;
      const bool computes = stream == streams.compute;
      const TaskGraph& graph = run.lowered.graph;
      for (std::int32_t id = graph.streams[at(stream)].first; id >= 0;
           id = graph.tasks[at(id)].next) {
        const double start_s = run.times.start_s[at(id)];
        const double end_s = computes ? start_s + run.computing_s(id) : run.end_s(id);
        if (end_s <= start_s) continue;
        changes.emplace_back(start_s, more_w);
        changes.emplace_back(end_s, -more_w);
      }
    };
    add(streams.compute, watts->busy_w - watts->idle_w);
    add(streams.gather, watts->communication_w);
    add(streams.reduce, watts->communication_w);
    std::ranges::stable_sort(changes, {}, [](const auto& change) { return change.first; });
    double now_w = 0;
    for (std::size_t i = 0; i < changes.size(); ++i) {
      now_w += changes[i].second;
      if (i + 1 < changes.size() && changes[i + 1].first == changes[i].first) continue;
      if (timeline.counters.back().counter == "power_w" &&
          timeline.counters.back().track == track && timeline.counters.back().value == now_w) {
        continue;
      }
      timeline.counters.push_back({"power_w", track, changes[i].first, now_w});
    }
    until_the_end();
  }

  void rank(int rank) {
    const RankStreams& streams = run.lowered.ranks[at(rank)];
    const std::string track = "rank " + std::to_string(rank);
    const auto numbered = [&](int number, const char* name) {
      return track + " stream " + std::to_string(number) + " " + name;
    };
    timeline.spans.push_back({"ProfilerStep#0", "step", track, 0, run.step_s});
    compute(streams.compute, track);
    meeting(track);
    stream(streams.gather, numbered(kGatherStream, "gather"));
    stream(streams.reduce, numbered(kReduceStream, "reduce"));
    stream(streams.copy_out, numbered(kCopyOutStream, "copy out"));
    stream(streams.copy_in, numbered(kCopyInStream, "copy in"));
    stream(streams.host, track + " launch");
    stream(streams.load, track + " loader");
    for (std::size_t i = 0; i < streams.wires.size(); ++i) {
      stream(streams.wires[i].stream, numbered(kFirstWireStream + static_cast<int>(i), "to rank ") +
                                          std::to_string(streams.wires[i].to));
    }
    memory(rank, track);
    power(rank, track);
  }
};

}  // namespace

Timeline timeline_of(const StepRun& run, const std::vector<int>& ranks) {
  TraceBuilder builder{.run = run};
  for (const int rank : ranks) builder.rank(rank);
  for (int rank = 0; ranks.empty() && rank < run.lowered.graph.ranks; ++rank) builder.rank(rank);
  return std::move(builder.timeline);
}

PowerCurve power_curve_of(const StepRun& run) {
  constexpr std::size_t kParts = 300;
  PowerCurve curve{.total_w = std::vector<double>(kParts, 0)};
  const double part_s = run.step_s / kParts;
  std::vector<double> rank_w(kParts);
  const auto add = [&](std::int32_t stream, double more_w, bool computes = false) {
    if (stream < 0 || more_w <= 0 || part_s <= 0) return;
    const TaskGraph& graph = run.lowered.graph;
    for (std::int32_t id = graph.streams[at(stream)].first; id >= 0;
         id = graph.tasks[at(id)].next) {
      const double start_s = run.times.start_s[at(id)];
      const double end_s = computes ? start_s + run.computing_s(id) : run.end_s(id);
      for (auto i = static_cast<std::size_t>(start_s / part_s); i < kParts; ++i) {
        const double from_s = static_cast<double>(i) * part_s;
        if (from_s >= end_s) break;
        const double inside_s = std::min(end_s, from_s + part_s) - std::max(start_s, from_s);
        rank_w[i] += more_w * std::max(0.0, inside_s) / part_s;
      }
    }
  };
  for (int rank = 0; rank < run.lowered.graph.ranks; ++rank) {
    const DevicePower& watts = *run.power_of(rank);
    const RankStreams& streams = run.lowered.ranks[at(rank)];
    std::ranges::fill(rank_w, watts.idle_w);
    add(streams.compute, watts.busy_w - watts.idle_w, true);
    add(streams.gather, watts.communication_w);
    add(streams.reduce, watts.communication_w);
    const auto [least, most] = std::ranges::minmax(rank_w);
    curve.least_w = rank == 0 ? least : std::min(curve.least_w, least);
    curve.most_w = std::max(curve.most_w, most);
    for (std::size_t i = 0; i < kParts; ++i) curve.total_w[i] += rank_w[i];
    if (run.lowered.graph.ranks <= kPowerRanks) curve.ranks_w.push_back(rank_w);
  }
  return curve;
}

}  // namespace parallel_opt
