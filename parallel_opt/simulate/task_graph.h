#pragma once

#include <cstdint>
#include <vector>

namespace parallel_opt {

/// A number that is not negative, as a place in a vector.
constexpr std::size_t at(std::int64_t number) { return static_cast<std::size_t>(number); }

/// What a task of the simulator is.
enum class TaskKind : std::uint8_t {
  forward,
  backward,
  backward_input,
  backward_weight,
  overlapped,     ///< a forward and a backward as one; a `backward` without work follows it
  send_forward,   ///< boundary tensor to the next stage
  send_backward,  ///< its gradient to the stage before
  gather,         ///< sharded parameters of a layer group
  reduce,         ///< gradients of a layer group
  copy_out,       ///< kept tensors to the host
  copy_in,        ///< and back
  fetch,          ///< weights or optimizer states from the host
  drain,          ///< gradients, updated weights or states to it
  host_step,      ///< the optimizer on the host's cores
  load,           ///< input data
  host,           ///< launching
  optimizer,
  update_gather,  ///< updated parameters
  join,           ///< meeting point of several ranks
  stall,          ///< compute waits for what does not hide of a collective beside it
};

/// Something that occupies a stream for a time. The tasks of a stream run in their order.
struct Task {
  double work_s = 0;          ///< at full speed
  std::int32_t needs = -1;    ///< a task that must be done before; -1: none
  std::int32_t needs_2 = -1;  ///< another; -1: none; -2 - i: element i of `more_needs`
  std::int32_t next = -1;     ///< in the stream
  std::int32_t stream = 0;
  std::int32_t micro_batch = 0;
  std::uint16_t stage = 0;
  std::uint16_t kind : 5 = 0;
  std::uint16_t group : 11 = 0;

  TaskKind what() const { return static_cast<TaskKind>(kind); }
};
static_assert(sizeof(Task) == 32, "millions of them are kept");

inline constexpr int kMostTaskGroups = 1 << 11;

/// What a stream slows down, and what slows it down.
enum class StreamRole : std::uint8_t { compute, collective, other };

/// Work in a fixed order: a compute stream, a communication stream, a copy engine, a wire.
struct TaskStream {
  std::int32_t first = -1;  ///< task
  std::int32_t last = -1;
  double tail_s = 0;       ///< from the end of a task until others may use its result: a latency
  std::int32_t rank = -1;  ///< over all replicas
  std::int32_t link = -1;  ///< a link whose bandwidth all streams on it share
  StreamRole role = StreamRole::other;
};

/// Tasks, their order on streams, and what each needs.
struct TaskGraph {
  struct Need {
    std::int32_t task = -1;
    std::int32_t next = -1;  ///< element of `more_needs`
  };
  std::vector<Task> tasks;
  std::vector<TaskStream> streams;
  std::vector<Need> more_needs;
  int ranks = 1;
  int links = 0;
  /// How much longer compute and collectives of one rank take while both run; at least 1.
  double slowdown = 1;

  std::int32_t add_stream(const TaskStream& stream);
  /// Appends to the task's stream and returns its index.
  std::int32_t add(const Task& task);
  void add_need(std::int32_t task, std::int32_t needed);
  /// Does speed depend on what else runs at that moment?
  bool contended() const;
};

/// When each task began, and when others could use its result (end plus the stream's tail).
struct TaskTimes {
  std::vector<double> start_s;
  std::vector<double> done_s;
  std::size_t finished = 0;  ///< fewer than the tasks: the rest waits in a circle
};

/// Longest path in any order that respects needs: each task is looked at once, plus once per
/// need that was not there yet. Exact when nothing contends.
TaskTimes run_without_contention(const TaskGraph& graph);

/// Events in the order of time. n streams on one link get 1/n of it each; compute and collectives
/// of a rank both run at 1/slowdown while both run. The slower of the two limits counts.
TaskTimes run_with_contention(const TaskGraph& graph);

/// Whichever is right for the graph.
TaskTimes run_tasks(const TaskGraph& graph);

}  // namespace parallel_opt
