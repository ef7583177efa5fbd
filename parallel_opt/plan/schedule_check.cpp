#include <algorithm>
#include <array>
#include <string>

#include "parallel_opt/plan/schedule.h"

namespace parallel_opt {
namespace {

using enum ActionKind;

/// What has been seen of one micro-batch on one stage.
enum Mark : std::uint8_t { saw_forward = 1, saw_input = 2, saw_weight = 4 };
constexpr std::uint8_t kWhole = saw_forward | saw_input | saw_weight;

constexpr std::size_t kMostFaults = 20;

struct ScheduleCheck {
  const Schedule& schedule;
  const std::string& where;
  std::vector<std::uint8_t> seen = {};  ///< by stage and micro-batch
  std::vector<Fault> faults = {};

  void refuse(const std::string& place, std::string what, std::string hint) {
    if (faults.size() < kMostFaults)
      faults.push_back({where + place, std::move(what), std::move(hint)});
  }
  std::uint8_t& mark(int stage, int micro_batch) {
    return seen[static_cast<std::size_t>(stage) * static_cast<std::size_t>(schedule.micro_batches) +
                static_cast<std::size_t>(micro_batch)];
  }
  static std::string entry(std::size_t rank, std::size_t i) {
    return ".rank[" + std::to_string(rank) + "][" + std::to_string(i) + "]";
  }

  bool has_shape();
  void every_action();
  void every_pair();
  void every_rank_ends();
  int waits_for(const Action& action);
};

bool ScheduleCheck::has_shape() {
  const Schedule& s = schedule;
  if (s.stages < 1 || s.micro_batches < 1 || s.actions.empty()) {
    refuse("", "is empty", "it needs a rank, a stage and a micro-batch");
    return false;
  }
  if ((s.lanes != 1 && s.lanes != 2) || s.stages % s.lanes != 0 || s.micro_batches % s.lanes != 0) {
    refuse("", "has " + std::to_string(s.lanes) + " lanes",
           "1, or 2 with an even number of stages and micro-batches");
    return false;
  }
  std::size_t entries = 0;
  for (const std::vector<Action>& row : s.actions) entries += row.size();
  const std::size_t pairs =
      static_cast<std::size_t>(s.stages_per_lane()) * static_cast<std::size_t>(s.micro_batches);
  if (entries < 2 * pairs) {
    refuse("",
           "has " + std::to_string(entries) + " actions for " +
               std::to_string(s.stages_per_lane()) + " stages and " +
               std::to_string(s.micro_batches) + " micro-batches",
           "each micro-batch needs F and B, or F, I and W, on every stage");
    return false;
  }
  bool placed = s.rank_of.size() == static_cast<std::size_t>(s.stages);
  for (const int rank : s.rank_of) placed = placed && rank >= 0 && rank < s.ranks();
  if (!placed) refuse("", "places a stage on no rank", "every stage has one rank");
  return placed;
}

void ScheduleCheck::every_action() {
  for (std::size_t rank = 0; rank < schedule.actions.size(); ++rank) {
    const std::vector<Action>& row = schedule.actions[rank];
    for (std::size_t i = 0; i < row.size(); ++i) {
      const Action& a = row[i];
      const std::string word = "\"" + to_string(a) + "\"";
      const bool inside = a.stage >= 0 && a.stage < schedule.stages && a.micro_batch >= 0 &&
                          a.micro_batch < schedule.micro_batches;
      if (!inside ||
          schedule.lane_of_stage(a.stage) != schedule.lane_of_micro_batch(a.micro_batch)) {
        refuse(entry(rank, i), word + " is outside the schedule",
               "stages and micro-batches count from 0; a lane's micro-batches run its stages");
        continue;
      }
      const int owner = schedule.rank_of[static_cast<std::size_t>(a.stage)];
      if (owner != static_cast<int>(rank)) {
        refuse(entry(rank, i), word + " is of a stage on rank " + std::to_string(owner),
               "a stage has one rank");
      }
      const std::uint8_t bits = a.kind == forward          ? saw_forward
                                : a.kind == backward       ? saw_input | saw_weight
                                : a.kind == backward_input ? saw_input
                                                           : saw_weight;
      std::uint8_t& so_far = mark(a.stage, a.micro_batch);
      if ((so_far & bits) != 0) refuse(entry(rank, i), word + " comes twice", "leave one out");
      const bool early = (a.kind != forward && (so_far & saw_forward) == 0) ||
                         (a.kind == backward_weight && (so_far & saw_input) == 0);
      if (early) {
        refuse(entry(rank, i), word + " comes before what it needs",
               "forward first, then B, or I and later W");
      }
      so_far |= bits;
      const bool pair = !a.with_next || (a.kind == forward && i + 1 < row.size() &&
                                         row[i + 1].kind == backward && !row[i + 1].with_next);
      if (!pair) refuse(entry(rank, i), word + " has no partner", "a forward runs with a B");
    }
  }
}

void ScheduleCheck::every_pair() {
  for (int stage = 0; stage < schedule.stages; ++stage) {
    for (int i = 0; i < schedule.micro_batches; ++i) {
      if (schedule.lane_of_stage(stage) != schedule.lane_of_micro_batch(i)) continue;
      const std::uint8_t missing = kWhole & ~mark(stage, i);
      if (missing == 0) continue;
      refuse("",
             "stage " + std::to_string(stage) + " lacks " +
                 ((missing & saw_forward) != 0 ? "the forward"
                  : (missing & saw_input) != 0 ? "the backward"
                                               : "the backward for weights") +
                 " of micro-batch " + std::to_string(i),
             "each needs F and B, or F, I and W");
    }
  }
}

/// The stage whose result `action` needs and that has not produced it yet; -1: none.
int ScheduleCheck::waits_for(const Action& action) {
  if (action.kind == forward) {
    if (schedule.first_of_lane(action.stage)) return -1;
    return (mark(action.stage - 1, action.micro_batch) & saw_forward) != 0 ? -1 : action.stage - 1;
  }
  if (action.kind == backward_weight || schedule.last_of_lane(action.stage)) return -1;
  return (mark(action.stage + 1, action.micro_batch) & saw_input) != 0 ? -1 : action.stage + 1;
}

/// Runs the table without clocks. What cannot go on waits in a circle.
void ScheduleCheck::every_rank_ends() {
  std::ranges::fill(seen, std::uint8_t{0});
  std::vector<std::size_t> at(schedule.actions.size(), 0);
  std::vector<std::size_t> ready;
  std::vector<bool> listed(at.size(), true);
  for (std::size_t rank = 0; rank < at.size(); ++rank) ready.push_back(rank);
  const auto blocked = [&](std::size_t rank) {
    const std::vector<Action>& row = schedule.actions[rank];
    // Of two that run together both must be able to begin.
    int stage = waits_for(row[at[rank]]);
    if (stage < 0 && row[at[rank]].with_next) {
      stage = waits_for(row[at[rank] + 1]);
    }
    return stage;
  };
  while (!ready.empty()) {
    const std::size_t rank = ready.back();
    ready.pop_back();
    listed[rank] = false;
    const std::vector<Action>& row = schedule.actions[rank];
    while (at[rank] < row.size() && blocked(rank) < 0) {
      bool more = true;
      while (more) {
        const Action& a = row[at[rank]++];
        more = a.with_next;
        mark(a.stage, a.micro_batch) |= a.kind == forward ? saw_forward : saw_input;
        const int next = a.kind == forward ? a.stage + 1 : a.stage - 1;
        if (next < 0 || next >= schedule.stages) continue;
        const auto waiter =
            static_cast<std::size_t>(schedule.rank_of[static_cast<std::size_t>(next)]);
        if (!listed[waiter]) ready.push_back(waiter);
        listed[waiter] = true;
      }
    }
  }
  for (std::size_t rank = 0; rank < at.size(); ++rank) {
    if (at[rank] == schedule.actions[rank].size()) continue;
    const Action& a = schedule.actions[rank][at[rank]];
    refuse(entry(rank, at[rank]),
           "\"" + to_string(a) + "\" never begins: stage " + std::to_string(blocked(rank)) +
               " waits for what comes after it",
           "the ranks wait in a circle");
  }
}

}  // namespace

std::vector<Fault> check(const Schedule& schedule, const std::string& where) {
  ScheduleCheck run{.schedule = schedule, .where = where};
  if (!run.has_shape()) return std::move(run.faults);
  run.seen.assign(
      static_cast<std::size_t>(schedule.stages) * static_cast<std::size_t>(schedule.micro_batches),
      0);
  run.every_action();
  if (run.faults.empty()) run.every_pair();
  if (run.faults.empty()) run.every_rank_ends();
  return std::move(run.faults);
}

}  // namespace parallel_opt
