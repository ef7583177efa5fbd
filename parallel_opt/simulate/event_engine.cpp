#include <algorithm>
#include <array>
#include <utility>

#include "parallel_opt/simulate/task_graph.h"

namespace parallel_opt {
namespace {

/// Of an event that is no arrival of a task's result.
constexpr std::int32_t kEndOnStream = -1, kEndOnLink = -2;

/// The end of a task, or the arrival of its result at those who wait for it.
struct Event {
  double time_s = 0;
  std::int32_t id = 0;               ///< stream, or link
  std::int32_t task = kEndOnStream;  ///< that arrives, or which kind of end
  std::uint32_t version = 0;         ///< an end counts if nothing has changed it since

  /// Order of a heap whose top is the earliest; equal times by number, so that runs repeat.
  bool operator<(const Event& o) const {
    if (time_s != o.time_s) return time_s > o.time_s;
    if (id != o.id) return id > o.id;
    return task > o.task;
  }
};

/// What a stream does now.
struct Running {
  std::int32_t task = -1;    ///< the next one, or the one that runs
  std::int32_t behind = -1;  ///< who waits for the same task
  bool active = false;
  bool held = false;          ///< by the other kind of work on its rank
  std::uint32_t version = 0;  ///< counts changes of its speed
  double left_s = 0;          ///< at full speed; on a link, where its clock stands at the end
  double since_s = 0;
};

/// A transfer on a link.
struct Flow {
  double end_s = 0;  ///< where its clock stands then
  std::int32_t stream = 0;
  std::uint32_t version = 0;
  bool operator<(const Flow& o) const {
    return end_s != o.end_s ? end_s > o.end_s : stream > o.stream;
  }
};

/// What each of a link's flows has had since the link was last idle: as all get the same, a flow
/// ends when the clock has gone on by its work, however many others come and go.
struct LinkClock {
  double now_s = 0;
  std::vector<Flow> flows = {};  ///< a heap; those that have changed clocks are old
};

struct Link {
  int flows = 0;
  double since_s = 0;                    ///< when the clocks were set
  std::array<LinkClock, 2> clocks = {};  ///< of free flows, and of those that are held
  std::size_t first = 0;                 ///< clock of the flow that ends next
  std::uint32_t version = 0;
  bool touched = false;
};

class EventEngine {
 public:
  explicit EventEngine(const TaskGraph& graph)
      : graph_(graph),
        running_(graph.streams.size()),
        links_(at(graph.links)),
        on_rank_(at(graph.ranks)),
        waiter_(graph.tasks.size(), -1) {
    times_.start_s.assign(graph.tasks.size(), 0);
    times_.done_s.assign(graph.tasks.size(), -1);
    for (std::size_t i = 0; i < running_.size(); ++i) running_[i].task = graph.streams[i].first;
  }

  TaskTimes run() {
    for (std::size_t i = 0; i < running_.size(); ++i) begin(static_cast<std::int32_t>(i), 0);
    schedule_links(0);
    while (!events_.empty()) {
      std::pop_heap(events_.begin(), events_.end());
      const Event event = events_.back();
      events_.pop_back();
      if (event.task >= 0) {
        arrive(event.task, event.time_s);
      } else if (event.task == kEndOnLink) {
        if (links_[at(event.id)].version != event.version) continue;
        end(first_of(links_[at(event.id)], event.time_s), event.time_s);
      } else if (running_[at(event.id)].version == event.version) {
        end(event.id, event.time_s);
      }
      schedule_links(event.time_s);
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
    if (task.work_s <= 0) {  // disturbs nobody
      push({now_s, stream, kEndOnStream, ++run.version});
      return;
    }
    const TaskStream& s = graph_.streams[at(stream)];
    if (s.role != StreamRole::other) on_rank_[at(s.rank)].push_back(stream);
    run.held = is_held(stream);
    run.left_s = task.work_s;
    run.since_s = now_s;
    if (s.link >= 0) {
      Link& link = touched(s.link, now_s);
      ++link.flows;
      join(link, stream);
    } else {
      push({now_s + run.left_s / rate_of(run), stream, kEndOnStream, ++run.version});
    }
    neighbours_change(stream, now_s);
  }

  void end(std::int32_t stream, double now_s) {
    Running& run = running_[at(stream)];
    const std::int32_t id = run.task;
    const Task& task = graph_.tasks[at(id)];
    const TaskStream& s = graph_.streams[at(stream)];
    run.active = false;
    run.task = task.next;
    if (task.work_s > 0) {
      if (s.link >= 0) {
        ++run.version;
        --touched(s.link, now_s).flows;
      }
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

  /// Does the other kind of work run on its rank?
  bool is_held(std::int32_t stream) const {
    const TaskStream& s = graph_.streams[at(stream)];
    if (s.role == StreamRole::other || graph_.slowdown <= 1) return false;
    return std::ranges::any_of(on_rank_[at(s.rank)], [&](std::int32_t other) {
      return graph_.streams[at(other)].role != s.role;
    });
  }
  double rate_of(const Running& run) const { return run.held ? 1 / graph_.slowdown : 1; }
  double rate_of(const Link& link, std::size_t clock) const {
    const double fair = 1.0 / link.flows;
    return clock == 0 ? fair : std::min(fair, 1 / graph_.slowdown);
  }

  void neighbours_change(std::int32_t stream, double now_s) {
    const TaskStream& s = graph_.streams[at(stream)];
    if (s.role == StreamRole::other || graph_.slowdown <= 1) return;
    for (const std::int32_t other : on_rank_[at(s.rank)]) {
      if (other != stream && is_held(other) != running_[at(other)].held) change(other, now_s);
    }
  }

  /// Another speed for the rest of a task.
  void change(std::int32_t stream, double now_s) {
    Running& run = running_[at(stream)];
    const std::int32_t on = graph_.streams[at(stream)].link;
    if (on >= 0) {
      Link& link = touched(on, now_s);
      run.left_s = std::max(0.0, run.left_s - link.clocks[run.held ? 1 : 0].now_s);
      run.held = !run.held;
      join(link, stream);
      return;
    }
    run.left_s = std::max(0.0, run.left_s - (now_s - run.since_s) * rate_of(run));
    run.since_s = now_s;
    run.held = !run.held;
    push({now_s + run.left_s / rate_of(run), stream, kEndOnStream, ++run.version});
  }

  /// A link whose flows change: its clocks are set, and its next end is found anew.
  Link& touched(std::int32_t id, double now_s) {
    Link& link = links_[at(id)];
    for (std::size_t i = 0; i < 2 && link.flows > 0; ++i) {
      link.clocks[i].now_s += (now_s - link.since_s) * rate_of(link, i);
    }
    link.since_s = now_s;
    if (!std::exchange(link.touched, true)) touched_.push_back(id);
    return link;
  }

  void join(Link& link, std::int32_t stream) {
    Running& run = running_[at(stream)];
    LinkClock& clock = link.clocks[run.held ? 1 : 0];
    run.left_s += clock.now_s;
    clock.flows.push_back({run.left_s, stream, ++run.version});
    std::push_heap(clock.flows.begin(), clock.flows.end());
  }

  void schedule_links(double now_s) {
    for (const std::int32_t id : touched_) {
      Link& link = links_[at(id)];
      link.touched = false;
      ++link.version;
      if (link.flows == 0) {  // the clocks start anew: small numbers round least
        for (LinkClock& clock : link.clocks) clock = {};
        continue;
      }
      double soonest_s = -1;
      for (std::size_t i = 0; i < 2; ++i) {
        LinkClock& clock = link.clocks[i];
        while (!clock.flows.empty() && is_old(clock.flows.front())) drop_first(clock);
        if (clock.flows.empty()) continue;
        const double left_s = std::max(0.0, clock.flows.front().end_s - clock.now_s);
        const double end_s = now_s + left_s / rate_of(link, i);
        if (soonest_s >= 0 && end_s >= soonest_s) continue;
        soonest_s = end_s;
        link.first = i;
      }
      push({soonest_s, id, kEndOnLink, link.version});
    }
    touched_.clear();
  }

  bool is_old(const Flow& flow) const { return running_[at(flow.stream)].version != flow.version; }
  static void drop_first(LinkClock& clock) {
    std::pop_heap(clock.flows.begin(), clock.flows.end());
    clock.flows.pop_back();
  }

  /// The stream whose flow ends now.
  std::int32_t first_of(Link& link, double now_s) {
    for (std::size_t i = 0; i < 2; ++i) {
      link.clocks[i].now_s += (now_s - link.since_s) * rate_of(link, i);
    }
    link.since_s = now_s;
    LinkClock& clock = link.clocks[link.first];
    const Flow flow = clock.flows.front();
    clock.now_s = flow.end_s;  // as rounding would have it otherwise
    drop_first(clock);
    return flow.stream;
  }

  const TaskGraph& graph_;
  TaskTimes times_;
  std::vector<Running> running_;  ///< by stream
  std::vector<Link> links_;
  std::vector<std::int32_t> touched_;               ///< links
  std::vector<std::vector<std::int32_t>> on_rank_;  ///< compute and collectives that run now
  std::vector<std::int32_t> waiter_;                ///< by task: a stream; -1: none
  std::vector<Event> events_;                       ///< a heap
};

}  // namespace

TaskTimes run_with_contention(const TaskGraph& graph) { return EventEngine(graph).run(); }

}  // namespace parallel_opt
