#include "parallel_opt/simulate/task_graph.h"

#include <algorithm>

namespace parallel_opt {
namespace {}  // namespace

std::int32_t TaskGraph::add_stream(const TaskStream& stream) {
  streams.push_back(stream);
  return static_cast<std::int32_t>(streams.size()) - 1;
}

std::int32_t TaskGraph::add(const Task& task) {
  const auto id = static_cast<std::int32_t>(tasks.size());
  tasks.push_back(task);
  TaskStream& stream = streams[at(task.stream)];
  (stream.last >= 0 ? tasks[at(stream.last)].next : stream.first) = id;
  stream.last = id;
  return id;
}

void TaskGraph::add_need(std::int32_t task, std::int32_t needed) {
  if (needed < 0) return;
  Task& t = tasks[at(task)];
  if (t.needs < 0) {
    t.needs = needed;
    return;
  }
  if (t.needs_2 == -1) {
    t.needs_2 = needed;
    return;
  }
  const auto node = static_cast<std::int32_t>(more_needs.size());
  if (t.needs_2 >= 0) {
    more_needs.push_back({t.needs_2, -1});
    more_needs.push_back({needed, node});
    t.needs_2 = -2 - (node + 1);
  } else {
    more_needs.push_back({needed, -2 - t.needs_2});
    t.needs_2 = -2 - node;
  }
}

bool TaskGraph::contended() const {
  std::vector<int> users(at(links), 0);
  bool collective = false;
  for (const TaskStream& stream : streams) {
    if (stream.first < 0) continue;
    collective = collective || stream.role == StreamRole::collective;
    if (stream.link >= 0 && ++users[at(stream.link)] > 1) return true;
  }
  return collective && slowdown > 1;
}

namespace {

/// `done_s` of a task that is not done: kNobody, or the stream that waits for it as -2 - stream.
/// A stream waits for one task at a time, so `behind` chains those that wait for the same one.
constexpr double kNobody = -1;

class LongestPath {
 public:
  explicit LongestPath(const TaskGraph& graph) : graph_(graph) {
    times_.start_s.assign(graph.tasks.size(), 0);
    times_.done_s.assign(graph.tasks.size(), kNobody);
    behind_.assign(graph.streams.size(), -1);
    free_s_.assign(graph.streams.size(), 0);
    for (const TaskStream& stream : graph.streams) cursor_.push_back(stream.first);
  }

  TaskTimes run() {
    for (std::size_t i = graph_.streams.size(); i-- > 0;) {
      ready_.push_back(static_cast<std::int32_t>(i));
    }
    while (!ready_.empty()) {
      const std::int32_t stream = ready_.back();
      ready_.pop_back();
      advance(stream);
    }
    return std::move(times_);
  }

 private:
  /// Waits for `needed`, or raises `ready_s` to when it was done.
  bool has(std::int32_t needed, std::int32_t stream, double& ready_s) {
    double& done_s = times_.done_s[at(needed)];
    if (done_s >= 0) {
      ready_s = std::max(ready_s, done_s);
      return true;
    }
    behind_[at(stream)] = static_cast<std::int32_t>(-2 - done_s);  // kNobody gives -1
    done_s = -2.0 - stream;
    return false;
  }

  bool has_all(const Task& task, std::int32_t stream, double& ready_s) {
    if (task.needs >= 0 && !has(task.needs, stream, ready_s)) return false;
    if (task.needs_2 == -1) return true;
    if (task.needs_2 >= 0) return has(task.needs_2, stream, ready_s);
    for (std::int32_t i = -2 - task.needs_2; i >= 0; i = graph_.more_needs[at(i)].next) {
      if (!has(graph_.more_needs[at(i)].task, stream, ready_s)) return false;
    }
    return true;
  }

  void advance(std::int32_t stream) {
    double free_s = free_s_[at(stream)];
    const double tail_s = graph_.streams[at(stream)].tail_s;
    std::int32_t id = cursor_[at(stream)];
    while (id >= 0) {
      const Task& task = graph_.tasks[at(id)];
      double ready_s = free_s;
      if (!has_all(task, stream, ready_s)) break;
      free_s = ready_s + task.work_s;
      times_.start_s[at(id)] = ready_s;
      double& done_s = times_.done_s[at(id)];
      auto waiter = static_cast<std::int32_t>(-2 - done_s);
      done_s = free_s + tail_s;
      while (waiter >= 0) {
        ready_.push_back(waiter);
        waiter = behind_[at(waiter)];
      }
      ++times_.finished;
      id = task.next;
    }
    cursor_[at(stream)] = id;
    free_s_[at(stream)] = free_s;
  }

  const TaskGraph& graph_;
  TaskTimes times_;
  std::vector<std::int32_t> cursor_;  ///< by stream: the next task
  std::vector<std::int32_t> behind_;  ///< by stream: who waits for the same task
  std::vector<double> free_s_;
  std::vector<std::int32_t> ready_;
};

}  // namespace

TaskTimes run_without_contention(const TaskGraph& graph) { return LongestPath(graph).run(); }

TaskTimes run_tasks(const TaskGraph& graph) {
  return graph.contended() ? run_with_contention(graph) : run_without_contention(graph);
}

}  // namespace parallel_opt
