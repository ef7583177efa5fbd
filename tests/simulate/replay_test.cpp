#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "parallel_opt/base/random.h"
#include "parallel_opt/simulate/simulation.h"

/// Random action tables against a slow, straightforward replay, and what must hold of any of them.
namespace parallel_opt {
namespace {

std::size_t index(int i) { return static_cast<std::size_t>(i); }

/// A table in an order in which everything can run: at each step one of the actions whose inputs
/// are there is put behind what its rank has. Some neighbours run together.
Schedule random_table(Random& random, int ranks, int stages, int micro_batches) {
  Schedule schedule{.stages = stages,
                    .micro_batches = micro_batches,
                    .lanes = 1,
                    .rank_of = {},
                    .actions = std::vector<std::vector<Action>>(index(ranks))};
  for (int stage = 0; stage < stages; ++stage) {
    schedule.rank_of.push_back(stage < ranks ? stage : int(random.below(index(ranks))));
  }
  std::vector<Action> left;
  std::map<std::pair<int, int>, int> seen;  // stage, micro-batch: 1 forward, 2 gradient of inputs
  for (int stage = 0; stage < stages; ++stage) {
    for (int m = 0; m < micro_batches; ++m) {
      left.push_back({m, stage, ActionKind::forward});
      if (random.below(2) == 0) {
        left.push_back({m, stage, ActionKind::backward});
      } else {
        left.push_back({m, stage, ActionKind::backward_input});
        left.push_back({m, stage, ActionKind::backward_weight});
      }
    }
  }
  const auto ready = [&](const Action& a) {
    const int own = seen[{a.stage, a.micro_batch}];
    if (a.kind == ActionKind::forward) {
      return a.stage == 0 || seen[{a.stage - 1, a.micro_batch}] >= 1;
    }
    if (a.kind == ActionKind::backward_weight) return own == 2;
    return own == 1 && (a.stage + 1 == stages || seen[{a.stage + 1, a.micro_batch}] == 2);
  };
  while (!left.empty()) {
    std::vector<std::size_t> able;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (ready(left[i])) able.push_back(i);
    }
    const std::size_t i = able[random.below(able.size())];
    const Action a = left[i];
    left.erase(left.begin() + std::ptrdiff_t(i));
    schedule.actions[index(schedule.rank_of[index(a.stage)])].push_back(a);
    if (a.kind == ActionKind::forward) seen[{a.stage, a.micro_batch}] = 1;
    if (a.kind == ActionKind::backward || a.kind == ActionKind::backward_input) {
      seen[{a.stage, a.micro_batch}] = 2;
    }
  }
  for (std::vector<Action>& row : schedule.actions) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) {
      if (row[i].kind != ActionKind::forward || row[i + 1].kind != ActionKind::backward) continue;
      row[i].with_next = random.below(2) == 0;
      if (!check(schedule).empty()) row[i].with_next = false;
      if (row[i].with_next) ++i;
    }
  }
  return schedule;
}

/// One step, rank by rank, as long as any rank can go on. No sharing, no groups, no copies.
class Replay {
 public:
  Replay(const StepWork& work, const Schedule& schedule) : work_(work), schedule_(schedule) {
    ranks_.resize(index(schedule.ranks()));
    for (bool progress = true; progress;) {
      progress = false;
      for (int rank = 0; rank < schedule.ranks(); ++rank) {
        while (step(rank)) progress = true;
      }
    }
    for (int rank = 0; rank < schedule.ranks(); ++rank) optimizer(rank);
  }

  struct Rank {
    std::size_t next = 0;
    double free_s = 0, busy_s = 0, actions_end_s = 0, sent_s = 0;
    int launches = 0, loads = 0;
    std::int64_t live = 0, peak = 0;
    int in_flight = 0, most_in_flight = 0;
  };
  const std::vector<Rank>& ranks() const { return ranks_; }
  double step_s() const { return step_s_; }

 private:
  const StageWork& stage(const Action& a) const { return work_.stages[index(a.stage)]; }
  double slowness(int rank) const {
    return work_.rank_slowdown.empty() ? 1 : work_.rank_slowdown[index(rank)];
  }
  double beside(double a, double b) const {
    return a > b ? a + (work_.slowdown - 1) * b : b + (work_.slowdown - 1) * a;
  }
  /// Seconds of compute, and of collectives that it waits for.
  std::pair<double, double> seconds(const Action& a) const {
    const StageWork& s = stage(a);
    switch (a.kind) {
      case ActionKind::forward:
        return {beside(s.forward_s, s.forward_beside_s), s.forward_exposed_s};
      case ActionKind::backward:
        return {
            beside(s.recompute_s + s.backward_input_s + s.backward_weight_s, s.backward_beside_s),
            s.backward_exposed_s};
      case ActionKind::backward_input:
        return {beside(s.recompute_s + s.backward_input_s, s.backward_beside_s),
                s.backward_exposed_s};
      default:
        return {s.backward_weight_s, 0};
    }
  }

  /// When the input of an action is there; empty: not known yet.
  std::optional<double> input_s(const Action& a) const {
    const bool forward = a.kind == ActionKind::forward;
    const int from = forward ? a.stage - 1 : a.stage + 1;
    if (a.kind == ActionKind::backward_weight || from < 0 || from == schedule_.stages) return 0;
    const auto& arrived = forward ? outputs_ : gradients_;
    const auto at = arrived.find({from, a.micro_batch});
    return at == arrived.end() ? std::nullopt : std::optional(at->second);
  }

  bool step(int id) {
    Rank& rank = ranks_[index(id)];
    const std::vector<Action>& row = schedule_.actions[index(id)];
    if (rank.next == row.size()) return false;
    std::vector<Action> actions = {row[rank.next]};
    if (actions[0].with_next) actions.push_back(row[rank.next + 1]);
    double start_s = std::max(rank.free_s, rank.sent_s);
    for (const Action& a : actions) {
      const std::optional<double> input = input_s(a);
      if (!input) return false;
      start_s = std::max(start_s, *input);
    }
    start_s = std::max(start_s, work_.host_s * ++rank.launches);
    for (const Action& a : actions) {
      const bool enters = a.kind == ActionKind::forward && a.stage == 0;
      if (enters && rank.loads++ >= work_.loaded_ahead) {
        start_s = std::max(start_s, work_.load_s * (rank.loads - work_.loaded_ahead));
      }
    }
    double compute_s = 0, waits_s = 0;
    for (const Action& a : actions) {
      compute_s += seconds(a).first;
      waits_s += seconds(a).second;
    }
    const double whole_s =
        slowness(id) * (actions.size() == 2 ? beside(compute_s, waits_s) : compute_s + waits_s);
    rank.next += actions.size();
    rank.free_s = rank.actions_end_s = start_s + whole_s;
    rank.busy_s += whole_s;
    remember(rank, actions);
    rank.sent_s = 0;
    for (const Action& a : actions) send(id, a);
    return true;
  }

  void remember(Rank& rank, const std::vector<Action>& actions) {
    std::int64_t working = 0;
    for (const Action& a : actions) {
      working += stage(a).working_bytes;
      if (a.kind != ActionKind::forward) continue;
      rank.live += stage(a).kept_bytes;
      rank.most_in_flight = std::max(rank.most_in_flight, ++rank.in_flight);
    }
    rank.peak = std::max(rank.peak, rank.live + working);
    for (const Action& a : actions) {
      const StageWork& s = stage(a);
      if (a.kind == ActionKind::backward) rank.live -= s.kept_bytes;
      if (a.kind == ActionKind::backward_input)
        rank.live -= s.kept_bytes - s.kept_for_weights_bytes;
      if (a.kind == ActionKind::backward_weight) rank.live -= s.kept_for_weights_bytes;
      const bool whole = a.kind == ActionKind::backward || a.kind == ActionKind::backward_weight;
      rank.in_flight -= whole ? 1 : 0;
    }
  }

  void send(int id, const Action& a) {
    if (a.kind == ActionKind::backward_weight) return;
    const bool forward = a.kind == ActionKind::forward;
    const int to_stage = forward ? a.stage + 1 : a.stage - 1;
    const double done_s = ranks_[index(id)].free_s;
    double& arrives_s = (forward ? outputs_ : gradients_)[{a.stage, a.micro_batch}];
    arrives_s = done_s;
    if (to_stage < 0 || to_stage == schedule_.stages || work_.links.empty()) return;
    const int to = schedule_.rank_of[index(to_stage)];
    if (to == id) return;
    const LinkWork* link = &work_.links[0];
    for (const RouteWork& route : work_.routes) {
      if (route.from == id && route.to == to) link = &work_.links[index(route.link)];
    }
    const StageWork& of = work_.stages[index(forward ? a.stage : to_stage)];
    double& free_s = wires_[{id, to}];
    free_s = std::max(free_s, done_s) + double(of.output_bytes) / link->bytes_per_s;
    arrives_s = free_s + link->latency_s;
    step_s_ = std::max(step_s_, arrives_s);
    Rank& rank = ranks_[index(id)];
    if (work_.blocking_sends) rank.sent_s = std::max(rank.sent_s, arrives_s);
  }

  void optimizer(int id) {
    Rank& rank = ranks_[index(id)];
    double seconds = 0;
    for (int s = 0; s < schedule_.stages; ++s) {
      if (schedule_.rank_of[index(s)] == id) seconds += work_.stages[index(s)].optimizer_s;
    }
    rank.free_s += seconds * slowness(id);
    rank.busy_s += seconds * slowness(id);
    step_s_ = std::max(step_s_, rank.free_s);
  }

  const StepWork& work_;
  const Schedule& schedule_;
  std::vector<Rank> ranks_;
  std::map<std::pair<int, int>, double> outputs_, gradients_;  ///< by stage and micro-batch
  std::map<std::pair<int, int>, double> wires_;                ///< when they are free
  double step_s_ = 0;
};

StepWork random_stages(Random& random, int stages, int ranks) {
  StepWork work;
  const auto some = [&] { return random.below(4) == 0 ? 0 : random.uniform(); };
  for (int i = 0; i < stages; ++i) {
    StageWork stage{.forward_s = some(),
                    .backward_input_s = some(),
                    .backward_weight_s = some(),
                    .recompute_s = some(),
                    .forward_exposed_s = some() / 2,
                    .backward_exposed_s = some() / 2,
                    .forward_beside_s = some() / 2,
                    .backward_beside_s = some() / 2,
                    .kept_bytes = 100 + std::int64_t(random.below(100))};
    stage.kept_for_weights_bytes = std::int64_t(random.below(100));
    stage.working_bytes = std::int64_t(random.below(50));
    stage.output_bytes = std::int64_t(random.below(1000));
    stage.optimizer_s = some();
    work.stages.push_back(stage);
  }
  if (random.below(4) > 0) {
    work.links = {{.name = "a", .latency_s = some() / 4, .bytes_per_s = 1000},
                  {.name = "b", .latency_s = 0, .bytes_per_s = 5000}};
    for (int from = 0; from < ranks; ++from) {
      const int to = int(random.below(index(ranks)));
      if (random.below(2) == 0) work.routes.push_back({.from = from, .to = to, .link = 1});
    }
  }
  if (random.below(2) == 0) work.slowdown = 1 + random.uniform();
  work.blocking_sends = random.below(2) == 0;
  if (random.below(3) == 0) work.host_s = random.uniform() / 4;
  if (random.below(3) == 0) work.load_s = random.uniform();
  work.loaded_ahead = int(random.below(3));
  for (int rank = 0; random.below(2) == 0 && rank < ranks; ++rank) {
    work.rank_slowdown.push_back(0.5 + random.uniform());
  }
  if (work.rank_slowdown.size() < index(ranks)) work.rank_slowdown.clear();
  return work;
}

TEST(Replay, RandomTablesRunAsAStraightforwardReplaySays) {
  Random random(2027);
  int together = 0;
  for (int round = 0; round < 400; ++round) {
    const int ranks = 1 + int(random.below(4));
    const int stages = ranks + int(random.below(4));
    const Schedule schedule = random_table(random, ranks, stages, 1 + int(random.below(6)));
    const StepWork work = random_stages(random, stages, ranks);
    ASSERT_TRUE(check(schedule).empty()) << action_table(schedule);
    ASSERT_TRUE(check(work, {schedule}).empty()) << to_string(check(work, {schedule}).front());
    const Replay replay(work, schedule);
    const SimulationResult result = simulate(work, {schedule});
    SCOPED_TRACE("round " + std::to_string(round) + "\n" + action_table(schedule));
    ASSERT_NEAR(result.step_time_s, replay.step_s(), 1e-9);
    double last_s = 0;
    for (std::size_t r = 0; r < result.ranks.size(); ++r) {
      const Replay::Rank& expected = replay.ranks()[r];
      ASSERT_NEAR(result.ranks[r].busy_s + result.ranks[r].exposed_s, expected.busy_s, 1e-9);
      ASSERT_NEAR(result.ranks[r].idle_s, replay.step_s() - expected.busy_s, 1e-9);
      ASSERT_EQ(result.ranks[r].peak_memory_bytes, expected.peak);
      ASSERT_EQ(result.ranks[r].in_flight, expected.most_in_flight);
      last_s = std::max(last_s, expected.actions_end_s);
    }
    ASSERT_NEAR(result.pipeline_s, last_s, 1e-9);
    together += std::ranges::any_of(schedule.actions, [](const auto& row) {
      return std::ranges::any_of(row, &Action::with_next);
    });
  }
  EXPECT_GT(together, 30);
}

TEST(Replay, RandomTablesReadBackFromTheirText) {
  Random random(5);
  for (int round = 0; round < 200; ++round) {
    const int ranks = 1 + int(random.below(4));
    const Schedule schedule =
        random_table(random, ranks, ranks + int(random.below(3)), 1 + int(random.below(5)));
    ASSERT_EQ(parse_actions(action_table(schedule), "t"), schedule) << action_table(schedule);
  }
}

/// Every column of work at once, with groups, copies and replicas: whatever `check` lets pass must
/// run to its end.
StepWork anything(Random& random, int stages, int ranks) {
  StepWork work = random_stages(random, stages, ranks);
  work.replicas = 1 + int(random.below(3));
  work.rank_slowdown.clear();
  work.copy_bytes_per_s = 300;
  for (StageWork& stage : work.stages) {
    const int groups = int(random.below(4));
    for (int g = 0; g < groups; ++g) {
      stage.groups.push_back({.share = 1.0 / groups,
                              .gather_s = random.uniform() / 4,
                              .reduce_s = random.uniform() / 4,
                              .gathered_bytes = 20});
    }
    if (random.below(2) == 0) {
      const auto kind = [&] { return Communication(random.below(5)); };
      stage.forward_moves = {{kind(), stage.forward_exposed_s / 2}, {kind(), stage.forward_s / 8}};
      stage.backward_moves = {{kind(), stage.backward_exposed_s},
                              {Communication::transfer_wait, stage.backward_input_s / 8}};
      if (groups > 0) stage.reductions = {{kind(), 0}, {kind(), stage.groups[0].reduce_s}};
    }
    if (random.below(2) == 0) stage.offloaded_bytes = stage.kept_bytes / 2;
    if (random.below(2) == 0 && groups > 0) stage.fetched_bytes = 30;
    if (random.below(2) == 0) stage.drained_bytes = 30;
    if (random.below(3) == 0) stage.states_bytes = 40;
    if (random.below(3) == 0) stage.updated_bytes = 10;
    if (random.below(3) == 0) stage.returned_bytes = 10;
    if (random.below(3) == 0) stage.host_step_s = random.uniform();
    if (random.below(2) == 0) stage.update_gather_s = random.uniform();
  }
  work.gather = GatherWhen(random.below(4));
  work.reduce = ReduceWhen(random.below(3));
  work.drain = ReduceWhen(random.below(3));
  work.prefetch = int(random.below(3));
  work.gather_hides = random.below(2) == 0 ? 1 : random.uniform();
  work.reduce_hides = random.below(2) == 0 ? 1 : random.uniform();
  work.optimizer_together = random.below(2) == 0;
  work.together_s = random.uniform() / 8;
  if (!work.links.empty() && random.below(2) == 0) {
    work.links[0].shared = true;
    if (random.below(2) == 0) work.collective_link = 0;
  }
  work.power = {{.idle_w = 40, .busy_w = 90, .communication_w = 5}};
  return work;
}

TEST(AnyWork, RunsToItsEndWithAWholeTimeline) {
  Random random(77);
  for (int round = 0; round < 250; ++round) {
    const int ranks = 1 + int(random.below(3));
    const int stages = ranks + int(random.below(3));
    const Schedule schedule = random_table(random, ranks, stages, 1 + int(random.below(5)));
    const StepWork work = anything(random, stages, ranks);
    const std::vector<Fault> faults = check(work, {schedule});
    ASSERT_TRUE(faults.empty()) << to_string(faults.front());
    const SimulationResult result = simulate(work, {schedule}, {.timeline = true});
    SCOPED_TRACE("round " + std::to_string(round));
    ASSERT_TRUE(check(*result.timeline).empty()) << to_string(check(*result.timeline).front());
    std::map<std::string, double> busy, live;
    for (const Span& span : result.timeline->spans) {
      ASSERT_LE(span.start_s + span.duration_s, result.step_time_s * (1 + 1e-9));
      if (span.track.find(" stream 7") != std::string::npos && span.category != "idle") {
        busy[span.track.substr(0, span.track.find(" stream"))] += span.duration_s;
      }
    }
    double energy_j = 0, waited_s = 0;
    for (const RankUse& use : result.ranks) {
      ASSERT_NEAR(busy["rank " + std::to_string(use.rank)], use.busy_s, 1e-9);
      ASSERT_LE(use.busy_s, result.step_time_s * (1 + 1e-9));
      ASSERT_NEAR(use.busy_s + use.exposed_s + use.idle_s, result.step_time_s, 1e-9);
      ASSERT_LE(use.collective_s, result.step_time_s * (1 + 1e-9));
      double by_kind_s = 0;
      for (const CommunicationWork& one : use.collectives) by_kind_s += one.seconds;
      ASSERT_GE(by_kind_s, use.collective_s - 1e-9);
      waited_s += use.bubble_s + use.fill_drain_s;
      energy_j += use.energy_j.value();
    }
    ASSERT_NEAR(result.energy_j.value(), energy_j, 1e-9 * energy_j);
    ASSERT_NEAR(waited_s / double(result.ranks.size()), result.bubble_share * result.pipeline_s,
                1e-9);
    // What a step keeps it lets go: memory ends as it began, and never falls below that but for
    // what is on the host.
    for (const CounterSample& sample : result.timeline->counters) {
      if (sample.counter == "memory_bytes") live[sample.track] = sample.value;
    }
    for (const auto& [track, bytes] : live) {
      double held = 0;  // gathered once: to the end
      if (work.gather == GatherWhen::once) {
        const int position = std::stoi(track.substr(5)) % ranks;
        for (int s = 0; s < stages; ++s) {
          if (schedule.rank_of[index(s)] == position)
            held += 20.0 * double(work.stages[index(s)].groups.size());
        }
      }
      ASSERT_EQ(bytes, held) << track;
    }
  }
}

TEST(AnyWork, SharedLinksCarryEveryByteOnce) {
  Random random(78);
  for (int round = 0; round < 100; ++round) {
    const int ranks = 2 + int(random.below(3));
    const Schedule schedule = random_table(random, ranks, ranks, 1 + int(random.below(6)));
    StepWork work = random_stages(random, ranks, ranks);
    work.rank_slowdown.clear();
    work.slowdown = 1;
    work.routes.clear();
    work.links = {{.name = "one", .latency_s = 0, .bytes_per_s = 500, .shared = true}};
    for (StageWork& stage : work.stages) stage.output_bytes += 10;
    const SimulationResult result = simulate(work, {schedule}, {.timeline = true});
    double bytes = 0;  // each boundary, each way, each micro-batch
    for (int s = 0; s + 1 < ranks; ++s) {
      bytes += 2.0 * schedule.micro_batches * double(work.stages[index(s)].output_bytes);
    }
    std::vector<std::pair<double, double>> transfers;
    for (const Span& span : result.timeline->spans) {
      if (!span.name.starts_with("ncclDevKernel_SendRecv")) continue;
      transfers.emplace_back(span.start_s, span.start_s + span.duration_s);
    }
    ASSERT_EQ(transfers.size(), index(2 * (ranks - 1) * schedule.micro_batches));
    // Whoever shares it, the link is never idle while there is something to send: the time in which
    // anybody sends is that of all bytes one after the other.
    std::ranges::sort(transfers);
    double covered_s = 0, end_s = 0;
    for (const auto& [from, to] : transfers) {
      covered_s += std::max(0.0, to - std::max(from, end_s));
      end_s = std::max(end_s, to);
    }
    ASSERT_NEAR(covered_s, bytes / 500, 1e-6 * bytes / 500) << round;
  }
}

TEST(AnyWork, AFasterDeviceOrWireNeverEndsLater) {
  Random random(79);
  for (int round = 0; round < 200; ++round) {
    const int ranks = 1 + int(random.below(4));
    const int stages = ranks + int(random.below(3));
    const Schedule schedule = random_table(random, ranks, stages, 1 + int(random.below(5)));
    StepWork work = random_stages(random, stages, ranks);
    const double before_s = simulate(work, {schedule}).step_time_s;
    // Times shrink together: so does the step, exactly.
    StepWork half = work;
    for (StageWork& s : half.stages) {
      for (double* seconds : {&s.forward_s, &s.backward_input_s, &s.backward_weight_s,
                              &s.recompute_s, &s.forward_exposed_s, &s.backward_exposed_s,
                              &s.forward_beside_s, &s.backward_beside_s, &s.optimizer_s}) {
        *seconds /= 2;
      }
    }
    half.host_s /= 2;
    half.load_s /= 2;
    for (LinkWork& link : half.links) {
      link.latency_s /= 2;
      link.bytes_per_s *= 2;
    }
    ASSERT_NEAR(simulate(half, {schedule}).step_time_s, before_s / 2, 1e-9);
    const std::size_t stage = random.below(work.stages.size());
    work.stages[stage].forward_s /= 2;
    for (LinkWork& link : work.links) link.bytes_per_s *= 3;
    ASSERT_LE(simulate(work, {schedule}).step_time_s, before_s + 1e-9);
  }
}

}  // namespace
}  // namespace parallel_opt
