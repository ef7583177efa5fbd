#include "parallel_opt/simulate/task_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

std::vector<std::int32_t> needs_of(const TaskGraph& graph, const Task& task) {
  std::vector<std::int32_t> needs;
  if (task.needs >= 0) needs.push_back(task.needs);
  if (task.needs_2 >= 0) needs.push_back(task.needs_2);
  for (std::int32_t i = -2 - task.needs_2; i >= 0; i = graph.more_needs[at(i)].next) {
    needs.push_back(graph.more_needs[at(i)].task);
  }
  return needs;
}

/// Relaxes every edge until nothing changes: the definition of the longest path.
std::vector<double> longest_path(const TaskGraph& graph) {
  std::vector<double> start_s(graph.tasks.size(), 0);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = 0; i < graph.tasks.size(); ++i) {
      const Task& task = graph.tasks[i];
      double at_s = 0;
      for (std::size_t j = 0; j < graph.tasks.size(); ++j) {
        if (graph.tasks[j].next == static_cast<std::int32_t>(i)) {
          at_s = std::max(at_s, start_s[j] + graph.tasks[j].work_s);
        }
      }
      for (const std::int32_t need : needs_of(graph, task)) {
        const Task& n = graph.tasks[at(need)];
        at_s = std::max(at_s, start_s[at(need)] + n.work_s + graph.streams[at(n.stream)].tail_s);
      }
      changed = changed || at_s != start_s[i];
      start_s[i] = at_s;
    }
  }
  return start_s;
}

/// Tasks in random streams; needs lead to earlier tasks only, so that nothing waits in a circle.
TaskGraph random_graph(Random& random, int tasks, int links) {
  TaskGraph graph;
  graph.links = links;
  graph.ranks = 3;
  const int streams = 1 + static_cast<int>(random.below(6));
  for (int i = 0; i < streams; ++i) {
    graph.add_stream(
        {.tail_s = random.below(2) == 0 ? 0 : random.uniform(),
         .rank = static_cast<std::int32_t>(random.below(3)),
         .link = links > 0 ? static_cast<std::int32_t>(random.below(at(links) + 1)) - 1 : -1,
         .role = static_cast<StreamRole>(random.below(3))});
  }
  for (std::int32_t i = 0; i < tasks; ++i) {
    const auto stream = static_cast<std::int32_t>(random.below(at(streams)));
    const double work_s = random.below(5) == 0 ? 0 : random.uniform();
    graph.add({.work_s = work_s, .stream = stream});
    for (std::uint64_t k = random.below(5); i > 0 && k > 0; --k) {
      graph.add_need(i, static_cast<std::int32_t>(random.below(at(i))));
    }
  }
  return graph;
}

double end_of(const TaskTimes& times) { return std::ranges::max(times.done_s); }

TEST(TaskGraph, ThreeTasksByHand) {
  TaskGraph graph;
  const std::int32_t a = graph.add_stream({.tail_s = 0.5});
  const std::int32_t b = graph.add_stream({});
  const std::int32_t first = graph.add({.work_s = 2, .stream = a});
  graph.add({.work_s = 1, .stream = a});
  const std::int32_t third = graph.add({.work_s = 4, .stream = b});
  graph.add_need(third, first);
  for (const TaskTimes& times : {run_without_contention(graph), run_with_contention(graph)}) {
    EXPECT_EQ(times.start_s, (std::vector<double>{0, 2, 2.5}));  // 2.5 = 2 + a latency of 0.5
    EXPECT_EQ(times.done_s, (std::vector<double>{2.5, 3.5, 6.5}));
    EXPECT_EQ(times.finished, 3U);
  }
}

TEST(TaskGraph, RandomTablesAgainstTheDefinition) {
  Random random(7);
  for (int i = 0; i < 300; ++i) {
    const TaskGraph graph = random_graph(random, 1 + static_cast<int>(random.below(24)), 0);
    const std::vector<double> expected = longest_path(graph);
    const TaskTimes fast = run_without_contention(graph);
    ASSERT_EQ(fast.finished, graph.tasks.size());
    ASSERT_EQ(fast.start_s, expected) << i;
    const TaskTimes events = run_with_contention(graph);
    ASSERT_EQ(events.start_s, expected) << i;
    ASSERT_EQ(events.done_s, fast.done_s) << i;
  }
}

TEST(TaskGraph, ACircleEndsTheRunInsteadOfHangingIt) {
  TaskGraph graph;
  const std::int32_t a = graph.add_stream({}), b = graph.add_stream({});
  graph.add({.work_s = 1, .stream = a});
  graph.add({.work_s = 1, .stream = a});
  graph.add({.work_s = 1, .stream = b});
  graph.add_need(1, 2);
  graph.add_need(2, 1);
  EXPECT_EQ(run_without_contention(graph).finished, 1U);
  EXPECT_EQ(run_with_contention(graph).finished, 1U);
}

TEST(Contention, TransfersOnOneLinkShareIt) {
  TaskGraph graph;
  graph.links = 1;
  const std::int32_t a = graph.add_stream({.link = 0}), b = graph.add_stream({.link = 0});
  graph.add({.work_s = 3, .stream = a});
  graph.add({.work_s = 1, .stream = b});
  EXPECT_TRUE(graph.contended());
  // Both at half speed until b has done its 1 second at 2; a has 3 - 1 left: 2 + 2 = 4.
  EXPECT_EQ(run_tasks(graph).done_s, (std::vector<double>{4, 2}));
}

TEST(Contention, ComputeAndCollectivesSlowEachOther) {
  TaskGraph graph;
  graph.slowdown = 1.25;
  const std::int32_t compute = graph.add_stream({.rank = 0, .role = StreamRole::compute});
  const std::int32_t wires = graph.add_stream({.rank = 0, .role = StreamRole::collective});
  const std::int32_t elsewhere = graph.add_stream({.rank = 0, .role = StreamRole::other});
  graph.add({.work_s = 4, .stream = compute});
  graph.add({.work_s = 2, .stream = wires});
  graph.add({.work_s = 2, .stream = elsewhere});
  EXPECT_TRUE(graph.contended());
  // Beside each other for 2 * 1.25 = 2.5 s; then 4 - 2 = 2 s of compute alone: 4.5.
  EXPECT_EQ(run_tasks(graph).done_s, (std::vector<double>{4.5, 2.5, 2}));
}

/// Every speed anew whenever anything begins or ends: what sharing fairly means.
class SharedFairly {
 public:
  explicit SharedFairly(const TaskGraph& graph) : graph_(graph), left_s_(graph.streams.size(), -1) {
    done_s_.assign(graph.tasks.size(), kNotYet);
    for (const TaskStream& stream : graph.streams) next_.push_back(stream.first);
  }

  std::vector<double> run() {
    for (;;) {
      for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t i = 0; i < next_.size(); ++i) changed = begins_or_ends(i) || changed;
      }
      double step_s = kNotYet;
      for (const double done_s : done_s_) {
        if (done_s > now_s_) step_s = std::min(step_s, done_s - now_s_);
      }
      for (std::size_t i = 0; i < next_.size(); ++i) {
        if (left_s_[i] > 0) step_s = std::min(step_s, left_s_[i] / rate(i));
      }
      if (step_s == kNotYet) return done_s_;
      std::vector<double> did_s(next_.size(), 0);
      for (std::size_t i = 0; i < next_.size(); ++i) {
        if (left_s_[i] > 0) did_s[i] = step_s * rate(i);
      }
      for (std::size_t i = 0; i < next_.size(); ++i) {
        left_s_[i] -= did_s[i];
        if (did_s[i] > 0 && left_s_[i] < 1e-12) left_s_[i] = 0;
      }
      now_s_ += step_s;
    }
  }

 private:
  static constexpr double kNotYet = 1e300;

  bool begins_or_ends(std::size_t stream) {
    if (next_[stream] < 0) return false;
    const Task& task = graph_.tasks[at(next_[stream])];
    if (left_s_[stream] == 0) {
      done_s_[at(next_[stream])] = now_s_ + graph_.streams[stream].tail_s;
      next_[stream] = task.next;
      left_s_[stream] = -1;
      return true;
    }
    if (left_s_[stream] > 0) return false;
    for (const std::int32_t need : needs_of(graph_, task)) {
      if (done_s_[at(need)] > now_s_ + 1e-12) return false;
    }
    left_s_[stream] = task.work_s;
    return true;
  }

  double rate(std::size_t stream) const {
    const TaskStream& s = graph_.streams[stream];
    double on_link = 0;
    bool held = false;
    for (std::size_t i = 0; i < next_.size(); ++i) {
      if (left_s_[i] <= 0) continue;
      const TaskStream& other = graph_.streams[i];
      on_link += s.link >= 0 && other.link == s.link ? 1 : 0;
      held = held || (s.role != StreamRole::other && other.role != StreamRole::other &&
                      other.rank == s.rank && other.role != s.role);
    }
    return std::min(1 / std::max(1.0, on_link), held ? 1 / graph_.slowdown : 1);
  }

  const TaskGraph& graph_;
  double now_s_ = 0;
  std::vector<std::int32_t> next_;
  std::vector<double> left_s_;  ///< of the task that runs; below 0: none does
  std::vector<double> done_s_;
};

TEST(Contention, IsTheDefinitionsOfSharingFairly) {
  Random random(23);
  for (int i = 0; i < 400; ++i) {
    TaskGraph graph = random_graph(random, 1 + static_cast<int>(random.below(40)), 1 + i % 2);
    graph.slowdown = 1 + (i % 3) * random.uniform();
    const std::vector<double> expected = SharedFairly(graph).run();
    const TaskTimes events = run_with_contention(graph);
    ASSERT_EQ(events.finished, graph.tasks.size());
    for (std::size_t t = 0; t < expected.size(); ++t) {
      ASSERT_NEAR(events.done_s[t], expected[t], 1e-9 * std::max(1.0, expected[t])) << i;
    }
  }
}

TEST(Contention, ThousandsOfTransfersShareALink) {
  // All begin together and flow k is k long: when it ends, those before it have had what they
  // are and the n - k after it k each. A form that looks at every flow whenever one ends looks at
  // 2e8 of them here.
  TaskGraph graph;
  graph.links = 1;
  constexpr int kFlows = 20'000;
  for (int k = 1; k <= kFlows; ++k) {
    graph.add({.work_s = double(k), .stream = graph.add_stream({.link = 0})});
  }
  const TaskTimes times = run_tasks(graph);
  for (const int k : {1, 2, 777, kFlows}) {
    const double n = kFlows, before = double(k) * (k - 1) / 2;
    EXPECT_NEAR(times.done_s[at(k - 1)] / (before + (n - k + 1) * k), 1, 1e-9) << k;
  }
}

TEST(Contention, NothingIsFasterThanAlone) {
  Random random(11);
  for (int i = 0; i < 300; ++i) {
    TaskGraph graph = random_graph(random, 1 + static_cast<int>(random.below(30)), 1);
    graph.slowdown = 1 + random.uniform();
    const TaskTimes alone = run_without_contention(graph), beside = run_with_contention(graph);
    ASSERT_EQ(beside.finished, graph.tasks.size());
    ASSERT_GE(end_of(beside), end_of(alone) - 1e-9) << i;
    // A shared link carries its bytes one after the other at best.
    double on_link_s = 0;
    for (const Task& task : graph.tasks) {
      if (graph.streams[at(task.stream)].link == 0) on_link_s += task.work_s;
    }
    ASSERT_GE(end_of(beside), on_link_s - 1e-9) << i;
    ASSERT_EQ(run_with_contention(graph).done_s, beside.done_s);
  }
}

}  // namespace
}  // namespace parallel_opt
