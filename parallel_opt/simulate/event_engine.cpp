#include <algorithm>
#include <utility>

#include "parallel_opt/simulate/task_graph.h"

namespace parallel_opt {
namespace {

/// The end of a stream's task, or the arrival of a task's result at those who wait for it.
struct Event {
  double time_s = 0;
  std::int32_t stream = 0;
  std::int32_t task = -1;     ///< an arrival; -1: the end of what the stream runs
  std::uint32_t version = 0;  ///< an end counts if the stream's speed has not changed since

  /// Order of a heap whose top is the earliest; equal times by stream, so that runs repeat.
  bool operator<(const Event& o) const {
    if (time_s != o.time_s) return time_s > o.time_s;
    if (stream != o.stream) return stream > o.stream;
    return task > o.task;
  }
};

/// What a stream does now.
struct Running {
  std::int32_t task = -1;    ///< the next one, or the one that runs
  std::int32_t behind = -1;  ///< who waits for the same task
  bool active = false;
  std::uint32_t version = 0;
  double left_s = 0;  ///< at full speed
  double rate = 1;
  double since_s = 0;
};

class EventEngine {
 public:
  explicit EventEngine(const TaskGraph& graph)
      : graph_(graph),
        running_(graph.streams.size()),
        on_link_(at(graph.links)),
        on_rank_(at(graph.ranks)),
        waiter_(graph.tasks.size(), -1) {
    times_.start_s.assign(graph.tasks.size(), 0);
    times_.done_s.assign(graph.tasks.size(), -1);
    for (std::size_t i = 0; i < running_.size(); ++i) running_[i].task = graph.streams[i].first;
  }

  TaskTimes run() {
    for (std::size_t i = 0; i < running_.size(); ++i) begin(static_cast<std::int32_t>(i), 0);
    while (!events_.empty()) {
      std::pop_heap(events_.begin(), events_.end());
      const Event event = events_.back();
      events_.pop_back();
      if (event.task >= 0) {
        arrive(event.task, event.time_s);
      } else if (running_[at(event.stream)].version == event.version) {
        end(event.stream, event.time_s);
      }
    }
    return std::move(times_);
  }

 private:
  void push(const Event& event) {
    events_.push_back(event);
    std::push_heap(events_.begin(), events_.end());
  }

  bool has(std::int32_t needed, std::int32_t stream) {
    if (times_.done_s[at(needed)] >= 0) return true;
    running_[at(stream)].behind = waiter_[at(needed)];
    waiter_[at(needed)] = stream;
    return false;
  }
  bool has_all(const Task& task, std::int32_t stream) {
    if (task.needs >= 0 && !has(task.needs, stream)) return false;
    if (task.needs_2 == -1) return true;
    if (task.needs_2 >= 0) return has(task.needs_2, stream);
    for (std::int32_t i = -2 - task.needs_2; i >= 0; i = graph_.more_needs[at(i)].next) {
      if (!has(graph_.more_needs[at(i)].task, stream)) return false;
    }
    return true;
  }

  /// Starts the next task of a stream if what it needs is there.
  void begin(std::int32_t stream, double now_s) {
    Running& run = running_[at(stream)];
    if (run.task < 0 || run.active) return;
    const Task& task = graph_.tasks[at(run.task)];
    if (!has_all(task, stream)) return;
    times_.start_s[at(run.task)] = now_s;
    run.active = true;
    run.left_s = task.work_s;
    run.since_s = now_s;
    run.rate = 1;
    const TaskStream& s = graph_.streams[at(stream)];
    // Work without length disturbs nobody.
    if (task.work_s > 0) {
      if (s.link >= 0) on_link_[at(s.link)].push_back(stream);
      if (s.role != StreamRole::other) on_rank_[at(s.rank)].push_back(stream);
    }
    run.rate = rate_of(stream, task.work_s > 0);
    push({now_s + run.left_s / run.rate, stream, -1, ++run.version});
    if (task.work_s > 0) neighbours_change(stream, now_s);
  }

  void end(std::int32_t stream, double now_s) {
    Running& run = running_[at(stream)];
    const std::int32_t id = run.task;
    const Task& task = graph_.tasks[at(id)];
    const TaskStream& s = graph_.streams[at(stream)];
    run.active = false;
    run.task = task.next;
    if (task.work_s > 0) {
      if (s.link >= 0) std::erase(on_link_[at(s.link)], stream);
      if (s.role != StreamRole::other) std::erase(on_rank_[at(s.rank)], stream);
      neighbours_change(stream, now_s);
    }
    ++times_.finished;
    if (s.tail_s > 0) {
      push({now_s + s.tail_s, stream, id, 0});
    } else {
      arrive(id, now_s);
    }
    begin(stream, now_s);
  }

  void arrive(std::int32_t task, double now_s) {
    times_.done_s[at(task)] = now_s;
    std::int32_t waiter = std::exchange(waiter_[at(task)], -1);
    while (waiter >= 0) {
      const std::int32_t next = running_[at(waiter)].behind;
      begin(waiter, now_s);
      waiter = next;
    }
  }

  double rate_of(std::int32_t stream, bool counts) const {
    const TaskStream& s = graph_.streams[at(stream)];
    double rate = 1;
    if (!counts) return rate;
    if (s.link >= 0) rate = 1.0 / static_cast<double>(on_link_[at(s.link)].size());
    if (s.role == StreamRole::other || graph_.slowdown <= 1) return rate;
    for (const std::int32_t other : on_rank_[at(s.rank)]) {
      if (graph_.streams[at(other)].role != s.role) return std::min(rate, 1 / graph_.slowdown);
    }
    return rate;
  }

  void change(std::int32_t stream, double now_s) {
    Running& run = running_[at(stream)];
    const double rate = rate_of(stream, true);
    if (rate == run.rate) return;
    run.left_s = std::max(0.0, run.left_s - (now_s - run.since_s) * run.rate);
    run.since_s = now_s;
    run.rate = rate;
    push({now_s + run.left_s / rate, stream, -1, ++run.version});
  }

  void neighbours_change(std::int32_t stream, double now_s) {
    const TaskStream& s = graph_.streams[at(stream)];
    if (s.link >= 0) {
      for (const std::int32_t other : on_link_[at(s.link)]) {
        if (other != stream) change(other, now_s);
      }
    }
    if (s.role == StreamRole::other || graph_.slowdown <= 1) return;
    for (const std::int32_t other : on_rank_[at(s.rank)]) {
      if (other != stream) change(other, now_s);
    }
  }

  const TaskGraph& graph_;
  TaskTimes times_;
  std::vector<Running> running_;                    ///< by stream
  std::vector<std::vector<std::int32_t>> on_link_;  ///< streams that run now
  std::vector<std::vector<std::int32_t>> on_rank_;  ///< of compute and collectives
  std::vector<std::int32_t> waiter_;                ///< by task: a stream; -1: none
  std::vector<Event> events_;                       ///< a heap
};

}  // namespace

TaskTimes run_with_contention(const TaskGraph& graph) { return EventEngine(graph).run(); }

}  // namespace parallel_opt
