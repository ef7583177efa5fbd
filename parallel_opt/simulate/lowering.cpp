#include "parallel_opt/simulate/lowering.h"

#include <algorithm>
#include <utility>

#include "parallel_opt/simulate/rank_state.h"

namespace parallel_opt {
namespace {

/// Whether copies to the host and back cut the actions of a stage.
bool by_groups(const StageWork& stage) {
  const bool copies =
      stage.offloaded_bytes > 0 || stage.fetched_bytes > 0 || stage.drained_bytes > 0;
  return copies && !stage.groups.empty();
}

class Lowering {
 public:
  Lowering(const StepWork& work, const std::vector<Schedule>& schedules,
           const JitterOptions& jitter);
  LoweredStep run();

 private:
  void pipeline(int replica);
  void rank_actions(RankState& state);
  void action(RankState& state, std::size_t i);
  void feed(RankState& state, const Action& a, bool whole);
  std::int32_t copy(RankState& state, const Action& a, TaskKind kind, double bytes, int group,
                    std::int32_t needed);
  void fetch(RankState& state, const Action& a, int group, std::int32_t needed);
  std::int32_t leave(RankState& state, const Action& a, int group, std::int32_t done, bool reduces);
  std::int32_t compute(RankState& state, const Action& a, double work_s, TaskKind kind, int group);
  std::int32_t stall(const RankState& state, const Action& a, double seconds);
  std::int32_t slices(RankState& state, const Action& a, double work_s, bool gathers, bool reduces,
                      bool drains);
  std::int32_t together(RankState& state, const Action& a, const Action& b, bool reduces);
  void after(RankState& state, const Action& a, std::int32_t done);
  void message(RankState& state, const Action& a, int to_stage, std::int32_t needed);
  bool wants_gather(const RankState& state, const Action& a) const;
  bool wants_reduce(const RankState& state, const Action& a, std::size_t i) const;
  bool wants_drain(const RankState& state, const Action& a, std::size_t i) const;
  bool is_due(ReduceWhen when, const RankState& state, const Action& a, std::size_t i) const;
  void gather(RankState& state, const Action& a, int group, std::size_t ahead_of);
  void used(RankState& state, std::int32_t task);
  void reduce(RankState& state, int stage, int group, std::int32_t needed);
  void reduce_copies(RankState& state);
  std::int32_t collective(Meeting& meeting, std::size_t& met, const Task& task, int members,
                          std::int32_t needed);
  void connect(const Schedule& schedule);
  void gather_late(RankState& state);
  void finish_step();
  std::int32_t step_with_host(RankState& state, const RankUpdate& update, std::int32_t needed);

  const Schedule& schedule_of(int replica) const {
    return schedules_[schedules_.size() == 1 ? 0 : at(replica)];
  }
  const StageWork& stage_work(const RankState& state, int stage) const {
    return work_.stages[at(stage % state.schedule->stages_per_lane())];
  }
  double slowdown_of(int rank) const {
    return work_.rank_slowdown.empty() ? 1 : work_.rank_slowdown[at(rank)];
  }
  std::int32_t stream(std::int32_t& id, const TaskStream& stream) {
    if (id < 0) id = out_.graph.add_stream(stream);
    return id;
  }
  std::int32_t collective_stream(std::int32_t& id, int rank) {
    return stream(
        id,
        {.rank = rank, .link = work_.collective_link.value_or(-1), .role = StreamRole::collective});
  }
  static std::size_t pair(const Schedule& s, int stage, int micro_batch) {
    return at(stage) * at(s.micro_batches) + at(micro_batch);
  }
  static Task task_of(const Action& a, double work_s, TaskKind kind, std::int32_t stream,
                      int group = kWholeAction) {
    return {.work_s = work_s,
            .stream = stream,
            .micro_batch = a.micro_batch,
            .stage = static_cast<std::uint16_t>(a.stage),
            .kind = static_cast<std::uint16_t>(kind),
            .group = static_cast<std::uint16_t>(group)};
  }

  const StepWork& work_;
  const std::vector<Schedule>& schedules_;
  const JitterOptions& jitter_;
  LoweredStep out_;
  std::vector<Meeting> gathers_;  ///< by position in the pipeline
  std::vector<Meeting> reduces_;  ///< by position, or by stage when there are two copies
  std::vector<std::vector<RouteWork>> routes_;  ///< by rank
  std::vector<RankState> ended_;                ///< of all replicas

  // Of the replica at hand.
  std::vector<std::int32_t>
      output_of_;  ///< by stage and micro-batch: task that hands on F's result
  std::vector<std::int32_t> gradient_of_;  ///< and that of the backward
  std::vector<std::int32_t> copied_out_;
  std::vector<std::int32_t> inputs_;  ///< tasks whose input may come from another stage
};

Lowering::Lowering(const StepWork& work, const std::vector<Schedule>& schedules,
                   const JitterOptions& jitter)
    : work_(work), schedules_(schedules), jitter_(jitter) {
  const int positions = schedules[0].ranks();
  const int ranks = positions * work.replicas;
  out_.graph.ranks = ranks;
  out_.graph.links = static_cast<int>(work.links.size());
  out_.graph.slowdown = work.slowdown;
  out_.ranks.resize(at(ranks));
  out_.gathered.resize(at(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    stream(out_.ranks[at(rank)].compute, {.rank = rank, .role = StreamRole::compute});
  }
  gathers_.resize(at(positions));
  reduces_.resize(at(std::max(positions, schedules[0].stages_per_lane())));
  routes_.resize(at(ranks));
  for (const RouteWork& r : work.routes) routes_[at(r.from)].push_back(r);

  std::size_t actions = 0;
  for (int replica = 0; replica < work.replicas; ++replica) {
    for (const std::vector<Action>& row : schedule_of(replica).actions) actions += row.size();
  }
  out_.graph.tasks.reserve(actions * (work.links.empty() ? 1 : 2) + 4 * at(ranks));
}

LoweredStep Lowering::run() {
  for (int replica = 0; replica < work_.replicas; ++replica) pipeline(replica);
  finish_step();
  return std::move(out_);
}

void Lowering::pipeline(int replica) {
  const Schedule& schedule = schedule_of(replica);
  const std::size_t pairs = at(schedule.stages) * at(schedule.micro_batches);
  output_of_.assign(pairs, -1);
  gradient_of_.assign(pairs, -1);
  copied_out_.assign(work_.copy_bytes_per_s > 0 ? pairs : 0, -1);
  inputs_.clear();
  for (int position = 0; position < schedule.ranks(); ++position) {
    RankState state{
        .position = position, .rank = replica * schedule.ranks() + position, .schedule = &schedule};
    gather_late(state);
    rank_actions(state);
    state.reduces_met = {};
    state.last_gradient = {};
    state.gathered = {};
    ended_.push_back(std::move(state));
  }
  connect(schedule);
}

void Lowering::rank_actions(RankState& state) {
  const Schedule& schedule = *state.schedule;
  const std::vector<Action>& row = schedule.actions[at(state.position)];
  state.reduces_met.assign(work_.reduce == ReduceWhen::never ? 0 : reduces_.size(), 0);
  state.gathered.assign(work_.gather == GatherWhen::once ? at(schedule.stages) : 0, -1);
  if (work_.reduce == ReduceWhen::last || work_.drain == ReduceWhen::last) {
    state.last_gradient.assign(at(schedule.stages), -1);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool gradient =
          row[i].kind == ActionKind::backward || row[i].kind == ActionKind::backward_weight;
      if (gradient) state.last_gradient[at(row[i].stage)] = static_cast<int>(i);
    }
  }
  for (std::size_t i = 0; i < row.size(); i += row[i].with_next ? 2 : 1) action(state, i);
  if (schedule.lanes > 1 && work_.reduce != ReduceWhen::never) reduce_copies(state);
}

/// An action, or two that run together, with what comes before and after.
void Lowering::action(RankState& state, std::size_t i) {
  const std::vector<Action>& row = state.schedule->actions[at(state.position)];
  const Action& a = row[i];
  state.needs.swap(state.sent);
  state.sent.clear();
  if (work_.host_s > 0) {
    const std::int32_t host = stream(out_.ranks[at(state.rank)].host, {.rank = state.rank});
    state.needs.push_back(out_.graph.add(task_of(a, work_.host_s, TaskKind::host, host)));
  }
  const bool whole = a.with_next || !by_groups(stage_work(state, a.stage));
  feed(state, a, whole);
  std::int32_t done = -1;
  if (a.with_next) {
    const Action& b = row[i + 1];
    feed(state, b, true);
    done = together(state, a, b, wants_reduce(state, b, i + 1));
  } else {
    const ActionSeconds time = action_seconds(stage_work(state, a.stage), a.kind, work_.slowdown);
    const double work_s = time.compute_s + time.exposed_s;
    const bool gathers = wants_gather(state, a), reduces = wants_reduce(state, a, i);
    const bool drains = wants_drain(state, a, i);
    if (gathers || reduces || by_groups(stage_work(state, a.stage))) {
      done = slices(state, a, work_s, gathers, reduces, drains);
    } else {
      done = compute(state, a, work_s, static_cast<TaskKind>(a.kind), kWholeAction);
      if (a.kind != ActionKind::backward_weight) inputs_.push_back(done);
    }
  }
  // Slices told theirs.
  if (state.before != done) state.before_2 = std::exchange(state.before, done);
  after(state, a, a.with_next ? done - 1 : done);
  if (a.with_next) after(state, row[i + 1], done);
  if (state.reduces_s > 0) state.before = stall(state, a, std::exchange(state.reduces_s, 0));
  if (!whole) return;
  leave(state, a, kWholeAction, a.with_next ? done - 1 : done, wants_drain(state, a, i));
  if (!a.with_next) return;
  leave(state, row[i + 1], kWholeAction, done, wants_drain(state, row[i + 1], i + 1));
}

/// Seconds of a copy to the host or back, on the engine of its direction.
std::int32_t Lowering::copy(RankState& state, const Action& a, TaskKind kind, double bytes,
                            int group, std::int32_t needed) {
  RankStreams& streams = out_.ranks[at(state.rank)];
  const bool out = kind == TaskKind::copy_out || kind == TaskKind::drain;
  const std::int32_t on = stream(out ? streams.copy_out : streams.copy_in, {.rank = state.rank});
  const std::int32_t id =
      out_.graph.add(task_of(a, bytes / work_.copy_bytes_per_s, kind, on, group));
  out_.graph.add_need(id, needed);
  return id;
}

/// What an action, or a slice of it, needs from the host; its copies may begin after `needed`.
void Lowering::fetch(RankState& state, const Action& a, int group, std::int32_t needed) {
  if (a.kind == ActionKind::backward_weight) return;
  const StageWork& stage = stage_work(state, a.stage);
  const double share = group == kWholeAction ? 1 : stage.groups[at(group)].share;
  if (stage.fetched_bytes > 0) {
    state.needs.push_back(
        copy(state, a, TaskKind::fetch, share * double(stage.fetched_bytes), group, needed));
  }
  if (a.kind == ActionKind::forward || stage.offloaded_bytes == 0) return;
  const std::int32_t id =
      copy(state, a, TaskKind::copy_in, share * double(stage.offloaded_bytes), group, needed);
  out_.graph.add_need(id, copied_out_[pair(*state.schedule, a.stage, a.micro_batch)]);
  state.needs.push_back(id);
}

/// What it leaves to the host: the copy of what a forward keeps, for which later slices wait; -1:
/// none.
std::int32_t Lowering::leave(RankState& state, const Action& a, int group, std::int32_t done,
                             bool drains) {
  const StageWork& stage = stage_work(state, a.stage);
  const double share = group == kWholeAction ? 1 : stage.groups[at(group)].share;
  if (drains) {
    const std::int32_t behind = std::max(done, state.last_reduce);
    state.last_drain =
        copy(state, a, TaskKind::drain, share * double(stage.drained_bytes), group, behind);
  }
  if (a.kind != ActionKind::forward || stage.offloaded_bytes == 0) return -1;
  return copied_out_[pair(*state.schedule, a.stage, a.micro_batch)] =
             copy(state, a, TaskKind::copy_out, share * double(stage.offloaded_bytes), group, done);
}

/// What must be on the device before an action, other than results of other stages.
void Lowering::feed(RankState& state, const Action& a, bool whole) {
  RankStreams& streams = out_.ranks[at(state.rank)];
  const bool enters = a.kind == ActionKind::forward && state.schedule->first_of_lane(a.stage);
  if (work_.load_s > 0 && enters && state.loads++ >= work_.loaded_ahead) {
    const std::int32_t load = stream(streams.load, {.rank = state.rank});
    state.needs.push_back(out_.graph.add(task_of(a, work_.load_s, TaskKind::load, load)));
  }
  if (whole) fetch(state, a, kWholeAction, state.before_2);  // while the action before it runs
}

std::int32_t Lowering::compute(RankState& state, const Action& a, double work_s, TaskKind kind,
                               int group) {
  if (state.stall_s > 0) stall(state, a, std::exchange(state.stall_s, 0));
  work_s *= slowdown_of(state.rank) * jitter_factor(jitter_, state.rank, a);
  const std::int32_t id =
      out_.graph.add(task_of(a, work_s, kind, out_.ranks[at(state.rank)].compute, group));
  for (const std::int32_t needed : state.needs) out_.graph.add_need(id, needed);
  state.needs.clear();
  return id;
}

/// Compute waits for what of a collective does not hide.
std::int32_t Lowering::stall(const RankState& state, const Action& a, double seconds) {
  return out_.graph.add(task_of(a, seconds, TaskKind::stall, out_.ranks[at(state.rank)].compute));
}

/// An action layer group by layer group, with the gathers before and the reductions after each.
/// Copies of a group run beside the compute of its neighbours: two groups are on their way at most.
std::int32_t Lowering::slices(RankState& state, const Action& a, double work_s, bool gathers,
                              bool reduces, bool drains) {
  const StageWork& stage = stage_work(state, a.stage);
  const auto count = static_cast<int>(stage.groups.size());
  std::int32_t id = -1;
  for (int i = 0; i < count; ++i) {
    const int group = a.kind == ActionKind::forward ? i : count - 1 - i;
    if (gathers) gather(state, a, group, out_.gathered[at(state.rank)].size());
    if (by_groups(stage)) fetch(state, a, group, state.before_2);
    if (state.left_2 >= 0) state.needs.push_back(state.left_2);
    id = compute(state, a, work_s * stage.groups[at(group)].share, static_cast<TaskKind>(a.kind),
                 group);
    if (i == 0) inputs_.push_back(id);
    if (gathers) used(state, id);
    if (reduces && state.schedule->lanes == 1) reduce(state, a.stage, group, id);
    state.before_2 = std::exchange(state.before, id);
    const std::int32_t left = by_groups(stage) ? leave(state, a, group, id, drains) : -1;
    if (left >= 0) state.left_2 = std::exchange(state.left, left);
  }
  return id;
}

std::int32_t Lowering::together(RankState& state, const Action& a, const Action& b, bool reduces) {
  const std::size_t first = out_.gathered[at(state.rank)].size();
  for (const Action& each : {a, b}) {
    const auto count = static_cast<int>(stage_work(state, each.stage).groups.size());
    const bool gathers = wants_gather(state, each);
    for (int i = 0; gathers && i < count; ++i) {
      gather(state, each, each.kind == ActionKind::forward ? i : count - 1 - i, first);
    }
  }
  const StageWork& stage = stage_work(state, b.stage);
  const ActionSeconds time =
      together_seconds(action_seconds(stage_work(state, a.stage), a.kind, work_.slowdown),
                       action_seconds(stage, b.kind, work_.slowdown), work_.slowdown);
  const std::int32_t id =
      compute(state, a, time.compute_s + time.exposed_s, TaskKind::overlapped, kWholeAction);
  inputs_.push_back(id);
  used(state, id);
  const std::int32_t end = compute(state, b, 0, TaskKind::backward, kWholeAction);
  for (int g = static_cast<int>(stage.groups.size()); reduces && g-- > 0;) {
    if (state.schedule->lanes == 1) reduce(state, b.stage, g, end);
  }
  return end;
}

/// Results go on; what is not needed soon leaves the device.
void Lowering::after(RankState& state, const Action& a, std::int32_t done) {
  if (a.kind == ActionKind::backward_weight) return;
  const Schedule& schedule = *state.schedule;
  const std::size_t at_pair = pair(schedule, a.stage, a.micro_batch);
  if (a.kind == ActionKind::forward) {
    output_of_[at_pair] = done;
    if (!schedule.last_of_lane(a.stage)) message(state, a, a.stage + 1, done);
  } else {
    gradient_of_[at_pair] = done;
    if (!schedule.first_of_lane(a.stage)) message(state, a, a.stage - 1, done);
  }
}

void Lowering::message(RankState& state, const Action& a, int to_stage, std::int32_t needed) {
  const Schedule& schedule = *state.schedule;
  const int to = state.rank - state.position + schedule.rank_of[at(to_stage)];
  if (to == state.rank || work_.links.empty()) return;
  std::vector<RankStreams::Wire>& wires = out_.ranks[at(state.rank)].wires;
  const bool forward = a.kind == ActionKind::forward;
  auto wire = std::ranges::find(wires, to, &RankStreams::Wire::to);
  if (wire == wires.end()) {
    const auto route = std::ranges::find(routes_[at(state.rank)], to, &RouteWork::to);
    const int link = route == routes_[at(state.rank)].end() ? 0 : route->link;
    const LinkWork& l = work_.links[at(link)];
    const std::int32_t id = out_.graph.add_stream(
        {.tail_s = l.latency_s, .rank = state.rank, .link = l.shared ? link : -1});
    wire = wires.insert(wires.end(), {.to = to, .stream = id, .bytes_per_s = l.bytes_per_s});
  }
  // The gradient of a stage's input is as large as the output of the stage before.
  const std::int64_t bytes = stage_work(state, forward ? a.stage : to_stage).output_bytes;
  const std::int32_t id = out_.graph.add(
      task_of(a, static_cast<double>(bytes) / wire->bytes_per_s,
              forward ? TaskKind::send_forward : TaskKind::send_backward, wire->stream));
  out_.graph.add_need(id, needed);
  (forward ? output_of_ : gradient_of_)[pair(schedule, a.stage, a.micro_batch)] = id;
  if (work_.blocking_sends) state.sent.push_back(id);
}

bool Lowering::wants_gather(const RankState& state, const Action& a) const {
  if (a.kind == ActionKind::backward_weight || stage_work(state, a.stage).groups.empty()) {
    return false;
  }
  if (work_.gather == GatherWhen::once) return state.gathered[at(a.stage)] < 0;
  if (work_.gather == GatherWhen::each_forward) return a.kind == ActionKind::forward;
  return work_.gather == GatherWhen::each_pass;
}

bool Lowering::wants_reduce(const RankState& state, const Action& a, std::size_t i) const {
  return !stage_work(state, a.stage).groups.empty() && is_due(work_.reduce, state, a, i);
}

bool Lowering::wants_drain(const RankState& state, const Action& a, std::size_t i) const {
  return stage_work(state, a.stage).drained_bytes > 0 && is_due(work_.drain, state, a, i);
}

/// Gradients of the action, entry `i` of its row.
bool Lowering::is_due(ReduceWhen when, const RankState& state, const Action& a,
                      std::size_t i) const {
  const bool gradient = a.kind == ActionKind::backward || a.kind == ActionKind::backward_weight;
  if (!gradient) return false;
  if (when == ReduceWhen::last) return state.last_gradient[at(a.stage)] == static_cast<int>(i);
  return when == ReduceWhen::each;
}

/// Gathers a group for the next compute task. It may begin once no more than `prefetch` gathered
/// groups wait for their use; those from number `ahead_of` on are used by that task itself.
void Lowering::gather(RankState& state, const Action& a, int group, std::size_t ahead_of) {
  std::vector<LoweredStep::Gathered>& done = out_.gathered[at(state.rank)];
  const LayerGroup& g = stage_work(state, a.stage).groups[at(group)];
  const std::int32_t on = collective_stream(out_.ranks[at(state.rank)].gather, state.rank);
  const auto window = at(work_.prefetch) + 1;
  const std::int32_t needed =
      streams(work_.gather) && ahead_of >= window ? done[ahead_of - window].last_use : -1;
  const std::int32_t id =
      collective(gathers_[at(state.position)], state.gathers_met,
                 task_of(a, g.gather_s, TaskKind::gather, on, group), work_.replicas, needed);
  done.push_back({.gather = id});
  state.needs.push_back(id);
  state.stall_s += (1 - work_.gather_hides) * g.gather_s;
  if (work_.gather == GatherWhen::once) state.gathered[at(a.stage)] = id;
}

/// `task` is the user of everything gathered since the last call.
void Lowering::used(RankState& state, std::int32_t task) {
  if (!streams(work_.gather)) return;
  std::vector<LoweredStep::Gathered>& done = out_.gathered[at(state.rank)];
  for (auto it = done.rbegin(); it != done.rend() && it->last_use < 0; ++it) it->last_use = task;
}

void Lowering::reduce(RankState& state, int stage, int group, std::int32_t needed) {
  const LayerGroup& g = stage_work(state, stage).groups[at(group)];
  const std::int32_t on = collective_stream(out_.ranks[at(state.rank)].reduce, state.rank);
  const bool copies = state.schedule->lanes > 1;
  const std::size_t meeting =
      at(copies ? stage % state.schedule->stages_per_lane() : state.position);
  const Action a{.micro_batch = out_.graph.tasks[at(needed)].micro_batch, .stage = stage};
  int members = work_.replicas;
  if (copies) {
    const std::vector<int>& rank_of = state.schedule->rank_of;
    const std::size_t twin = meeting + at(state.schedule->stages_per_lane());
    if (rank_of[meeting] != rank_of[twin]) members *= 2;
  }
  state.last_reduce =
      collective(reduces_[meeting], state.reduces_met[meeting],
                 task_of(a, g.reduce_s, TaskKind::reduce, on, group), members, needed);
  // Copies of the model wait for theirs at the end as it is.
  if (copies) return;
  double& stall_s = work_.reduce == ReduceWhen::each ? state.stall_s : state.reduces_s;
  stall_s += (1 - work_.reduce_hides) * g.reduce_s;
}

/// With two copies of the model both meet at the end, in the order of the stages: each rank would
/// come to them in another order if they met as soon as they could.
void Lowering::reduce_copies(RankState& state) {
  const Schedule& schedule = *state.schedule;
  for (int stage = 0; stage < schedule.stages_per_lane(); ++stage) {
    const int twin = stage + schedule.stages_per_lane();
    const bool holds = schedule.rank_of[at(stage)] == state.position ||
                       schedule.rank_of[at(twin)] == state.position;
    for (auto g = static_cast<int>(work_.stages[at(stage)].groups.size()); holds && g-- > 0;) {
      reduce(state, stage, g, state.before);
    }
  }
}

/// One collective of several members: nobody begins before all have come.
std::int32_t Lowering::collective(Meeting& meeting, std::size_t& met, const Task& task, int members,
                                  std::int32_t needed) {
  TaskGraph& graph = out_.graph;
  if (members == 1) {
    const std::int32_t id = graph.add(task);
    graph.add_need(id, needed);
    return id;
  }
  Task arrival = task, join = task;
  arrival.work_s = join.work_s = 0;
  arrival.kind = join.kind = static_cast<std::uint16_t>(TaskKind::join);
  if (met == meeting.joins.size()) {
    join.stream = stream(meeting.stream, {});
    meeting.joins.push_back(graph.add(join));
  }
  const std::int32_t joined = meeting.joins[met++];
  const std::int32_t here = graph.add(arrival);
  graph.add_need(here, needed);
  graph.add_need(joined, here);
  const std::int32_t id = graph.add(task);
  graph.add_need(id, joined);
  return id;
}

/// Every producer is known now: actions get the results of other stages that they need.
void Lowering::connect(const Schedule& schedule) {
  const auto from_before = [&](std::int32_t id, const Task& t) {
    if (schedule.first_of_lane(t.stage)) return;
    out_.graph.add_need(id, output_of_[pair(schedule, t.stage - 1, t.micro_batch)]);
  };
  const auto from_behind = [&](std::int32_t id, const Task& t) {
    if (schedule.last_of_lane(t.stage)) return;
    out_.graph.add_need(id, gradient_of_[pair(schedule, t.stage + 1, t.micro_batch)]);
  };
  for (const std::int32_t id : inputs_) {
    const Task task = out_.graph.tasks[at(id)];
    if (task.what() == TaskKind::forward || task.what() == TaskKind::overlapped) {
      from_before(id, task);
    }
    if (task.what() == TaskKind::overlapped) from_behind(id, out_.graph.tasks[at(id) + 1]);
    if (task.what() == TaskKind::backward || task.what() == TaskKind::backward_input) {
      from_behind(id, task);
    }
  }
}

/// Parameters that the step before changed, and that its ranks still exchange: nobody waits.
void Lowering::gather_late(RankState& state) {
  const double gather_s = update_of(work_, *state.schedule, state.position).sum.late_gather_s;
  if (gather_s <= 0) return;
  const std::int32_t on = collective_stream(out_.ranks[at(state.rank)].gather, state.rank);
  collective(gathers_[at(state.position)], state.gathers_met,
             task_of({}, gather_s, TaskKind::update_gather, on), work_.replicas, -1);
}

/// Gradients are complete: the optimizer, and the parameters that it changed.
void Lowering::finish_step() {
  TaskGraph& graph = out_.graph;
  std::int32_t meeting = -1;
  if (work_.optimizer_together) {
    const std::int32_t on = graph.add_stream({});
    meeting = graph.add(task_of({}, work_.together_s, TaskKind::join, on));
    for (const RankState& state : ended_) {
      graph.add_need(meeting, state.before);
      graph.add_need(meeting, state.last_reduce);
      graph.add_need(meeting, state.last_drain);
    }
    out_.meeting = meeting;
  }
  for (RankState& state : ended_) {
    const RankUpdate update = update_of(work_, *state.schedule, state.position);
    const double optimizer_s = update.sum.optimizer_s, gather_s = update.sum.update_gather_s;
    RankStreams& streams = out_.ranks[at(state.rank)];
    std::int32_t last = -1;
    if (update.parts > 0) {
      last = step_with_host(state, update, meeting >= 0 ? meeting : state.last_reduce);
    } else if (optimizer_s > 0 || meeting >= 0) {
      last = graph.add(
          task_of({}, optimizer_s * slowdown_of(state.rank), TaskKind::optimizer, streams.compute));
      graph.add_need(last, meeting >= 0 ? meeting : state.last_reduce);
    }
    if (gather_s <= 0) continue;
    const std::int32_t on = collective_stream(streams.gather, state.rank);
    const std::int32_t needed = last >= 0 ? last : state.before;
    const std::int32_t id =
        collective(gathers_[at(state.position)], state.gathers_met,
                   task_of({}, gather_s, TaskKind::update_gather, on), work_.replicas, needed);
    if (last < 0) graph.add_need(id, state.last_reduce);
  }
}

/// The device's part of the step, its states from the host and back beside it; then the cores'
/// part, and what they made to the device beside it. Returns the last task.
std::int32_t Lowering::step_with_host(RankState& state, const RankUpdate& update,
                                      std::int32_t needed) {
  const StageWork& sum = update.sum;
  const int parts = sum.states_bytes > 0 ? update.parts : 1;
  const double step_s = sum.optimizer_s * slowdown_of(state.rank) / parts;
  const double in = double(sum.states_bytes) / parts, out = in + double(sum.returned_bytes) / parts;
  std::vector<std::int32_t> ends;
  for (int i = 0; i < parts; ++i) {
    std::int32_t fetched = needed;
    if (in > 0) {
      fetched = copy(state, {}, TaskKind::fetch, in, kWholeAction, needed);
      out_.graph.add_need(fetched, state.before);  // where activations lay
    }
    const std::int32_t step = out_.graph.add(
        task_of({}, step_s, TaskKind::optimizer, out_.ranks[at(state.rank)].compute));
    out_.graph.add_need(step, fetched);
    ends = {step};
    const std::int32_t made = in > 0 ? step : needed;  // weights of the device's step leave early
    if (out > 0) ends.push_back(copy(state, {}, TaskKind::drain, out, kWholeAction, made));
  }
  const std::int32_t on = stream(out_.ranks[at(state.rank)].host, {.rank = state.rank});
  const std::int32_t host = out_.graph.add(task_of({}, sum.host_step_s, TaskKind::host_step, on));
  for (const std::int32_t end : ends) out_.graph.add_need(host, end);
  out_.graph.add_need(host, state.last_drain);
  if (sum.updated_bytes == 0) return host;
  const std::int32_t updated =
      copy(state, {}, TaskKind::fetch, double(sum.updated_bytes), kWholeAction, ends.front());
  out_.graph.add_need(updated, state.last_drain);
  const std::int32_t both = out_.graph.add(task_of({}, 0, TaskKind::host_step, on));
  out_.graph.add_need(both, updated);
  return both;
}

}  // namespace

LoweredStep lower(const StepWork& work, const std::vector<Schedule>& schedules,
                  const JitterOptions& jitter) {
  return Lowering(work, schedules, jitter).run();
}

}  // namespace parallel_opt
