#include "parallel_opt/plan/schedule.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "parallel_opt/base/json_traits.h"

namespace parallel_opt {
namespace {

using enum ActionKind;

std::vector<int> placement(ScheduleKind kind, int ranks, int stages) {
  std::vector<int> rank_of;
  for (int stage = 0; stage < stages; ++stage) {
    rank_of.push_back(rank_of_stage(kind, ranks, stage));
  }
  return rank_of;
}

/// Forward or backward number k of a rank with several stages: which stage, which micro-batch.
/// Source: [narayanan2021], section 2.2.
struct Rounds {
  int rank = 0;
  int ranks = 1;
  int virtual_stages = 1;
  int micro_batches = 1;

  int size() const { return virtual_stages * micro_batches; }
  Action at(int k, ActionKind kind) const {
    const int length = micro_batches_per_round(ranks, micro_batches);
    const int chunk = k / length % virtual_stages;
    const int local = kind == forward ? chunk : virtual_stages - 1 - chunk;
    return {.micro_batch = k / (length * virtual_stages) * length + k % length,
            .stage = local * ranks + rank,
            .kind = kind};
  }
};

/// `warm_up` forwards, then forward and backward in turn, then the backwards that are left. With a
/// delay of weights the backward is split and W number k follows I number k + delay.
std::vector<Action> alternate(const Rounds& rounds, int warm_up, int weight_delay,
                              bool backward_first) {
  const bool split = weight_delay >= 0;
  const int total = rounds.size();
  std::vector<Action> out;
  out.reserve(static_cast<std::size_t>(total) * (split ? 3 : 2));
  int next = 0;
  while (next < std::min(warm_up, total)) out.push_back(rounds.at(next++, forward));
  int weights = 0;
  for (int k = 0; k < total; ++k) {
    if (!backward_first && next < total) out.push_back(rounds.at(next++, forward));
    out.push_back(rounds.at(k, split ? backward_input : backward));
    if (split && k >= weight_delay) out.push_back(rounds.at(weights++, backward_weight));
    if (backward_first && next < total) out.push_back(rounds.at(next++, forward));
  }
  while (split && weights < total) out.push_back(rounds.at(weights++, backward_weight));
  return out;
}

/// Breadth first: a stage forwards all its micro-batches before the next stage of the rank begins.
/// The backwards of looped schedules begin with the micro-batch that came last.
std::vector<Action> all_then_all(const Rounds& rounds, bool last_first) {
  std::vector<Action> out;
  const int count = rounds.micro_batches;
  for (const ActionKind kind : {forward, backward}) {
    for (int chunk = 0; chunk < rounds.virtual_stages; ++chunk) {
      const int local = kind == forward ? chunk : rounds.virtual_stages - 1 - chunk;
      for (int i = 0; i < count; ++i) {
        out.push_back({.micro_batch = kind == backward && last_first ? count - 1 - i : i,
                       .stage = local * rounds.ranks + rounds.rank,
                       .kind = kind});
      }
    }
  }
  return out;
}

/// Writes the actions of a rank that holds two stages, counting micro-batches per stage and kind.
struct TwoStages {
  std::array<int, 2> stage{};
  std::array<int, 2> first_micro_batch{};
  std::vector<Action> out = {};
  std::array<std::array<int, 4>, 2> count = {};
  std::deque<Action> weights = {};  ///< whose I has run and whose W has not

  Action take(int which, ActionKind kind) {
    const auto w = static_cast<std::size_t>(which);
    const int i = count[w][static_cast<std::size_t>(kind)]++;
    return {.micro_batch = first_micro_batch[w] + i, .stage = stage[w], .kind = kind};
  }
  void run_forward(int which) { out.push_back(take(which, forward)); }
  /// B, or I with W left for later: both count as the stage's next backward.
  void run_backward(int which, bool split) {
    Action action = take(which, backward);
    if (split) {
      action.kind = backward_input;
      weights.push_back({action.micro_batch, action.stage, backward_weight});
    }
    out.push_back(action);
  }
  void run_together(int forward_of, int backward_of) {
    run_forward(forward_of);
    out.back().with_next = true;
    run_backward(backward_of, false);
  }
  void run_weight() {
    out.push_back(weights.front());
    weights.pop_front();
  }
  int forwards(int which) const { return count[static_cast<std::size_t>(which)][0]; }
  int backwards(int which) const { return count[static_cast<std::size_t>(which)][1]; }
};

/// Source: [qi2024], section 6 and its figure: 2 stages per rank, down and up. Built for at least
/// 2 ranks - 1 micro-batches; those beyond the real ones are left out afterwards.
std::vector<Action> zero_bubble_v(int rank, int ranks, int micro_batches) {
  const int total = std::max(micro_batches, 2 * ranks - 1);
  TwoStages run{.stage = {rank, 2 * ranks - 1 - rank}};
  const auto in_one = [&](int which) {
    run.run_backward(which, true);
    run.run_weight();
  };
  for (int i = 0; i < 2 * (ranks - rank) - 1; ++i) run.run_forward(0);
  for (int i = 0; i < rank; ++i) {
    run.run_forward(1);
    run.run_forward(0);
  }
  for (int i = 0; i < ranks - rank; ++i) {
    run.run_forward(1);
    in_one(1);
  }
  while (run.forwards(0) < total || run.forwards(1) < total) {
    if (run.forwards(0) < total) run.run_forward(0);
    in_one(0);
    run.run_forward(1);
    in_one(1);
  }
  for (int i = 0; i < rank; ++i) {
    run.run_backward(0, true);
    run.run_backward(1, true);
  }
  // The last gradients of stage 0 are on the way: its oldest weights fill the wait.
  for (int i = 0; i < ranks - rank; ++i) {
    run.run_backward(0, true);
    const auto own = std::ranges::find(run.weights, rank, &Action::stage);
    run.out.push_back(*own);
    run.weights.erase(own);
  }
  std::ranges::stable_partition(run.weights, [&](const Action& a) { return a.stage != rank; });
  while (!run.weights.empty()) run.run_weight();
  std::erase_if(run.out, [&](const Action& a) { return a.micro_batch >= micro_batches; });
  return std::move(run.out);
}

/// Source: [deepseek2024], section 3.2.1, and the eight phases of the code published with it.
/// `half` ranks share one direction's way to the turn, `at` counts from the outer end, `count`
/// micro-batches run in each direction; stage 0 of `run` is the one that begins.
std::vector<Action> two_directions(TwoStages run, int half, int at, int count) {
  const int rest = half - at - 1;
  for (int i = 0; i < 2 * rest; ++i) run.run_forward(0);
  for (int i = 0; i <= at; ++i) {
    run.run_forward(0);
    run.run_forward(1);
  }
  for (int i = 0; i < rest; ++i) {
    run.run_backward(1, true);
    run.run_weight();
    run.run_forward(1);
  }
  for (int i = 0; i < count - 2 * half + at + 1; ++i) {
    if (i == 0 && rest == 0) {  // at the turn, one after the other: the bubble is smaller
      run.run_forward(0);
      run.run_backward(1, false);
    } else {
      run.run_together(0, 1);
    }
    run.run_together(1, 0);
  }
  for (int i = 0; i < rest; ++i) {
    run.run_backward(1, false);
    run.run_together(1, 0);
  }
  bool split = false;
  for (int i = 0; i <= at; ++i) {
    if (i == (at + 1) / 2 && at % 2 == 1) split = true;
    run.run_backward(1, split);
    if (i == (at + 1) / 2 && at % 2 == 0) split = true;
    run.run_backward(0, split);
  }
  for (int i = 0; i < rest; ++i) {
    run.run_weight();
    run.run_backward(0, true);
  }
  while (!run.weights.empty()) run.run_weight();
  return std::move(run.out);
}

std::vector<Action> rank_actions(ScheduleKind kind, const Rounds& rounds) {
  const int rank = rounds.rank, ranks = rounds.ranks, count = rounds.micro_batches;
  const int behind = ranks - 1 - rank;  // ranks after this one
  switch (kind) {
    case ScheduleKind::gpipe:
    case ScheduleKind::looped_bfs:
      return all_then_all(rounds, kind == ScheduleKind::looped_bfs);
    case ScheduleKind::one_f_one_b:
      return alternate(rounds, behind, -1, false);
    case ScheduleKind::interleaved_1f1b: {
      const int warm_up =
          (rounds.virtual_stages - 1) * micro_batches_per_round(ranks, count) + 2 * behind;
      return alternate(rounds, rounds.virtual_stages == 1 ? behind : warm_up, -1, false);
    }
    case ScheduleKind::zb_h1:
      return alternate(rounds, behind, rank, false);
    case ScheduleKind::zb_h2:
      return alternate(rounds, 2 * behind + 1, 2 * rank, true);
    case ScheduleKind::zb_v:
      return zero_bubble_v(rank, ranks, count);
    case ScheduleKind::dualpipe: {
      // Each half of the ranks begins with the direction that enters at its own end.
      const int other = 2 * ranks - 1 - rank;
      const bool first_half = rank < ranks / 2;
      TwoStages run{.stage = {rank, other}, .first_micro_batch = {0, count / 2}};
      if (!first_half) run = {.stage = {other, rank}, .first_micro_batch = {count / 2, 0}};
      return two_directions(run, ranks / 2, std::min(rank, behind), count / 2);
    }
    case ScheduleKind::dualpipe_v:
      return two_directions({.stage = {rank, 2 * ranks - 1 - rank}}, ranks, rank, count);
  }
  return {};
}

}  // namespace

int micro_batches_per_round(int ranks, int micro_batches) {
  return micro_batches / std::max(1, micro_batches / ranks);
}

int default_virtual_stages(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::interleaved_1f1b:
    case ScheduleKind::looped_bfs:
    case ScheduleKind::zb_v:
    case ScheduleKind::dualpipe:
    case ScheduleKind::dualpipe_v:
      return 2;
    default:
      return 1;
  }
}

std::vector<Fault> check_schedule(ScheduleKind kind, int ranks, int virtual_stages,
                                  int micro_batches) {
  const std::string name(name_of(kind));
  std::vector<Fault> faults;
  const auto refuse = [&](std::string what, std::string hint) {
    faults.push_back({"schedule " + name, std::move(what), std::move(hint)});
  };
  if (ranks < 1) refuse("has " + std::to_string(ranks) + " ranks", "at least 1");
  if (micro_batches < 1) {
    refuse("has " + std::to_string(micro_batches) + " micro-batches", "at least 1");
  }
  if (virtual_stages < 1) {
    refuse("has " + std::to_string(virtual_stages) + " stages per rank", "at least 1");
  }
  if (!faults.empty()) return faults;

  const int own = default_virtual_stages(kind);
  const bool free = kind == ScheduleKind::interleaved_1f1b || kind == ScheduleKind::looped_bfs;
  if (!free && virtual_stages != own) {
    refuse("has " + std::to_string(own) + (own == 1 ? " stage" : " stages") + " per rank, not " +
               std::to_string(virtual_stages),
           own == 1 ? "interleaved_1f1b and looped_bfs take several" : "leave the number out");
  }
  const int rounds = std::max(1, micro_batches / ranks);
  if (kind == ScheduleKind::interleaved_1f1b && micro_batches % rounds != 0) {
    refuse(std::to_string(micro_batches) + " micro-batches do not part into " +
               std::to_string(rounds) + " equal rounds of at least " + std::to_string(ranks),
           "a multiple of the ranks always does");
  }
  if (kind == ScheduleKind::dualpipe && (ranks % 2 != 0 || micro_batches % 2 != 0)) {
    refuse("needs an even number of ranks and of micro-batches, not " + std::to_string(ranks) +
               " and " + std::to_string(micro_batches),
           "dualpipe_v takes any");
  }
  const bool two_ways = kind == ScheduleKind::dualpipe || kind == ScheduleKind::dualpipe_v;
  if (two_ways && micro_batches < 2 * ranks) {
    refuse("needs at least twice as many micro-batches as ranks, not " +
               std::to_string(micro_batches) + " for " + std::to_string(ranks),
           "zb_v takes any number");
  }
  return faults;
}

Schedule make_schedule(ScheduleKind kind, int ranks, int virtual_stages, int micro_batches) {
  PO_CHECK(check_schedule(kind, ranks, virtual_stages, micro_batches).empty(),
           "a schedule is checked before it is built");
  Schedule schedule{.stages = ranks * virtual_stages,
                    .micro_batches = micro_batches,
                    .lanes = kind == ScheduleKind::dualpipe ? 2 : 1,
                    .rank_of = placement(kind, ranks, ranks * virtual_stages),
                    .actions = {}};
  for (int rank = 0; rank < ranks; ++rank) {
    schedule.actions.push_back(rank_actions(kind, {.rank = rank,
                                                   .ranks = ranks,
                                                   .virtual_stages = virtual_stages,
                                                   .micro_batches = micro_batches}));
  }
  return schedule;
}

}  // namespace parallel_opt
