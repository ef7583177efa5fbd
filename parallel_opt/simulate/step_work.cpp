#include "parallel_opt/simulate/step_work.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/simulate/task_graph.h"

namespace parallel_opt {
namespace {

constexpr int kMostReplicas = 1 << 16;

struct WorkCheck {
  const StepWork& work;
  const std::vector<Schedule>& schedules;
  const std::string& where;
  std::vector<Fault> faults = {};

  void refuse(const std::string& place, std::string what, std::string hint) {
    faults.push_back({where + place, std::move(what), std::move(hint)});
  }
  void amount(const std::string& place, double value) {
    if (std::isfinite(value) && value >= 0 && value < 1e15) return;
    if (value >= 1e15) return refuse(place, "is too much", "below 1e15");
    refuse(place, "is no amount", "a number of at least 0");
  }
  void stage(std::size_t i);
  void communication(const StageWork& s, const std::string& place);
  void moves(const std::string& place, const std::vector<CommunicationWork>& all, double most_s);
  void ways(int ranks);
  void once();
  void fits_schedules();
};

void WorkCheck::moves(const std::string& place, const std::vector<CommunicationWork>& all,
                      double most_s) {
  double sum_s = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    amount(place + "[" + std::to_string(i) + "].seconds", all[i].seconds);
    sum_s += all[i].seconds;
  }
  if (!all.empty() && sum_s > most_s * (1 + 1e-6)) {
    refuse(place, "takes longer than the pass that it is in", "it is a part of its seconds");
  }
}

void WorkCheck::stage(std::size_t i) {
  const StageWork& s = work.stages[i];
  const std::string place = ".stages[" + std::to_string(i) + "]";
  amount(place + ".forward_s", s.forward_s);
  amount(place + ".backward_input_s", s.backward_input_s);
  amount(place + ".backward_weight_s", s.backward_weight_s);
  amount(place + ".recompute_s", s.recompute_s);
  amount(place + ".forward_exposed_s", s.forward_exposed_s);
  amount(place + ".backward_exposed_s", s.backward_exposed_s);
  amount(place + ".forward_beside_s", s.forward_beside_s);
  amount(place + ".backward_beside_s", s.backward_beside_s);
  amount(place + ".kept_bytes", static_cast<double>(s.kept_bytes));
  amount(place + ".kept_for_weights_bytes", static_cast<double>(s.kept_for_weights_bytes));
  amount(place + ".working_bytes", static_cast<double>(s.working_bytes));
  amount(place + ".static_bytes", static_cast<double>(s.static_bytes));
  amount(place + ".output_bytes", static_cast<double>(s.output_bytes));
  amount(place + ".optimizer_s", s.optimizer_s);
  amount(place + ".update_gather_s", s.update_gather_s);
  amount(place + ".late_gather_s", s.late_gather_s);
  amount(place + ".host_step_s", s.host_step_s);
  for (const auto& [name, bytes] :
       {std::pair("offloaded", s.offloaded_bytes), std::pair("fetched", s.fetched_bytes),
        std::pair("drained", s.drained_bytes), std::pair("states", s.states_bytes),
        std::pair("updated", s.updated_bytes), std::pair("returned", s.returned_bytes)}) {
    amount(place + "." + name + "_bytes", static_cast<double>(bytes));
    if (bytes > 0 && work.copy_bytes_per_s <= 0) {
      refuse(place + "." + name + "_bytes", "has no way to the host", "set copy_bytes_per_s");
    }
  }
  if (s.fetched_bytes > 0 && s.groups.empty()) {
    refuse(place + ".fetched_bytes", "come group by group", "say which groups there are");
  }
  communication(s, place);
  if (s.kept_for_weights_bytes > s.kept_bytes || s.offloaded_bytes > s.kept_bytes) {
    refuse(place, "keeps less than what I leaves to W or what goes to the host",
           "both are parts of kept_bytes");
  }
  if (s.groups.size() >= kMostTaskGroups) {
    refuse(place + ".groups", "has " + std::to_string(s.groups.size()) + " groups",
           "at most " + std::to_string(kMostTaskGroups - 1));
  }
  double shares = 0;
  for (std::size_t g = 0; g < s.groups.size(); ++g) {
    const std::string group = place + ".groups[" + std::to_string(g) + "]";
    amount(group + ".share", s.groups[g].share);
    amount(group + ".gather_s", s.groups[g].gather_s);
    amount(group + ".reduce_s", s.groups[g].reduce_s);
    amount(group + ".gathered_bytes", static_cast<double>(s.groups[g].gathered_bytes));
    shares += s.groups[g].share;
  }
  if (!s.groups.empty() && !(std::abs(shares - 1) < 1e-6)) {
    refuse(place + ".groups", "have shares of the compute that do not add up to 1", "");
  }
}

void WorkCheck::communication(const StageWork& s, const std::string& place) {
  moves(place + ".forward_moves", s.forward_moves, s.forward_s + s.forward_exposed_s);
  moves(place + ".backward_moves", s.backward_moves,
        s.recompute_s + s.backward_input_s + s.backward_exposed_s);
  moves(place + ".forward_beside", s.forward_beside, s.forward_beside_s);
  moves(place + ".backward_beside", s.backward_beside, s.backward_beside_s);
  double reduced_s = 0;
  for (const LayerGroup& group : s.groups) reduced_s += group.reduce_s;
  moves(place + ".reductions", s.reductions, reduced_s);
}

void WorkCheck::ways(int ranks) {
  const auto links = static_cast<int>(work.links.size());
  for (std::size_t i = 0; i < work.links.size(); ++i) {
    const std::string place = ".links[" + std::to_string(i) + "]";
    amount(place + ".latency_s", work.links[i].latency_s);
    amount(place + ".bytes_per_s", work.links[i].bytes_per_s);
    if (work.links[i].bytes_per_s == 0) {
      refuse(place + ".bytes_per_s", "is 0", "a number above 0");
    }
  }
  for (std::size_t i = 0; i < work.routes.size(); ++i) {
    const RouteWork& r = work.routes[i];
    const std::string place = ".routes[" + std::to_string(i) + "]";
    if (r.from < 0 || r.from >= ranks || r.to < 0 || r.to >= ranks) {
      refuse(place, "leads from or to a rank that is not there",
             "ranks count from 0 to " + std::to_string(ranks - 1));
    }
    if (r.link < 0 || r.link >= links) {
      refuse(place + ".link", "is no link", "links count from 0");
    }
  }
  if (work.collective_link) {
    const int link = *work.collective_link;
    if (link < 0 || link >= links || !work.links[static_cast<std::size_t>(link)].shared) {
      refuse(".collective_link", "is no shared link", "the index of one");
    }
  }
  if (!work.rank_slowdown.empty() && work.rank_slowdown.size() != static_cast<std::size_t>(ranks)) {
    refuse(".rank_slowdown", "has " + std::to_string(work.rank_slowdown.size()) + " factors",
           "none, or one for each of " + std::to_string(ranks) + " ranks");
  }
  for (std::size_t i = 0; i < work.rank_slowdown.size(); ++i) {
    const double value = work.rank_slowdown[i];
    if (!(std::isfinite(value) && value > 0 && value < 1e9)) {
      refuse(".rank_slowdown[" + std::to_string(i) + "]", "is no factor", "a number above 0");
    }
  }
  if (work.power.size() > 1 && work.power.size() != static_cast<std::size_t>(ranks)) {
    refuse(".power", "has " + std::to_string(work.power.size()) + " entries",
           "none, one, or one for each of " + std::to_string(ranks) + " ranks");
  }
  for (std::size_t i = 0; i < work.power.size(); ++i) {
    const std::string place = ".power[" + std::to_string(i) + "]";
    amount(place + ".idle_w", work.power[i].idle_w);
    amount(place + ".communication_w", work.power[i].communication_w);
    amount(place + ".busy_w", work.power[i].busy_w);
    if (work.power[i].busy_w < work.power[i].idle_w) {
      refuse(place + ".busy_w", "is below idle_w", "a device that works draws no less");
    }
  }
}

void WorkCheck::once() {
  amount(".together_s", work.together_s);
  amount(".host_s", work.host_s);
  amount(".load_s", work.load_s);
  amount(".copy_bytes_per_s", work.copy_bytes_per_s);
  if (!(work.slowdown >= 1 && work.slowdown < 1e9)) {
    refuse(".slowdown", "is no factor", "a number of at least 1");
  }
  for (const auto& [name, value] :
       {std::pair(".gather_hides", work.gather_hides), {".reduce_hides", work.reduce_hides}}) {
    if (!(value >= 0 && value <= 1)) refuse(name, "is no share", "a number from 0 to 1");
  }
  if (work.prefetch < 0) refuse(".prefetch", "is below 0", "0: nothing is gathered ahead");
  if (work.loaded_ahead < 0) refuse(".loaded_ahead", "is below 0", "0: nothing is loaded yet");
  if (work.replicas < 1 || work.replicas > kMostReplicas) {
    refuse(".replicas", "are " + std::to_string(work.replicas),
           "from 1 to " + std::to_string(kMostReplicas));
  }
}

/// Stages in the order in which a rank finishes their gradients.
std::vector<int> last_backwards(const std::vector<Action>& row) {
  std::vector<int> order;
  for (auto it = row.rbegin(); it != row.rend(); ++it) {
    const bool gradient =
        it->kind == ActionKind::backward || it->kind == ActionKind::backward_weight;
    if (gradient && std::ranges::find(order, it->stage) == order.end()) order.push_back(it->stage);
  }
  return order;
}

/// Replicas meet in collectives, so they must come to them in one order.
bool meet_alike(const StepWork& work, const Schedule& a, const Schedule& b) {
  if (&a == &b || a == b) return true;
  if (a.rank_of != b.rank_of || a.lanes != b.lanes) return false;
  if (streams(work.gather) || work.reduce == ReduceWhen::each) return false;
  if (work.gather == GatherWhen::never && work.reduce == ReduceWhen::never) return true;
  for (std::size_t rank = 0; rank < a.actions.size(); ++rank) {
    if (last_backwards(a.actions[rank]) != last_backwards(b.actions[rank])) return false;
  }
  return work.gather == GatherWhen::never;
}

void WorkCheck::fits_schedules() {
  if (schedules.size() != 1 && schedules.size() != static_cast<std::size_t>(work.replicas)) {
    refuse(".replicas", "have " + std::to_string(schedules.size()) + " schedules",
           "one for all, or one for each");
    return;
  }
  for (const Schedule& s : schedules) {
    if (s.ranks() != schedules[0].ranks()) {
      refuse("", "has schedules of several lengths of pipeline", "replicas have equal pipelines");
    } else if (s.stages_per_lane() != static_cast<int>(work.stages.size())) {
      refuse(".stages", "has " + std::to_string(work.stages.size()) + " stages",
             "the schedule has " + std::to_string(s.stages_per_lane()));
    } else if (!meet_alike(work, s, schedules[0])) {
      refuse("", "has replicas that come to their collectives in different orders",
             "give them equal schedules, or reduce only after the last micro-batch");
    } else {
      continue;
    }
    return;
  }
}

}  // namespace

std::vector<Fault> check(const StepWork& work, const std::vector<Schedule>& schedules,
                         const std::string& where) {
  WorkCheck run{.work = work, .schedules = schedules, .where = where};
  if (work.stages.empty() || schedules.empty()) {
    run.refuse("", "has no stage", "at least one");
    return std::move(run.faults);
  }
  for (std::size_t i = 0; i < work.stages.size(); ++i) run.stage(i);
  run.once();
  if (run.faults.empty()) run.ways(work.replicas * schedules[0].ranks());
  if (run.faults.empty()) run.fits_schedules();
  return std::move(run.faults);
}

}  // namespace parallel_opt
