#include "parallel_opt/cost/schedule_time.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace parallel_opt {
namespace {

/// Layers of a pass that are copied to the host or back at once.
constexpr double kOnTheWay = 2;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// What the table needs to know of a stage, looked up once.
struct StageOfTable {
  const StagePass* own = nullptr;
  bool first = false, last = false;  ///< of its copy of the model
  int before = 0, after = 0;         ///< ranks of its neighbours along the model; its own at ends
};

std::vector<StageOfTable> stages_of(const Schedule& schedule,
                                    const std::vector<StagePass>& passes) {
  std::vector<StageOfTable> all;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    const bool first = schedule.first_of_lane(stage), last = schedule.last_of_lane(stage);
    all.push_back({.own = &passes[at(stage % schedule.stages_per_lane())],
                   .first = first,
                   .last = last,
                   .before = schedule.rank_of[at(first ? stage : stage - 1)],
                   .after = schedule.rank_of[at(last ? stage : stage + 1)]});
  }
  return all;
}

/// A schedule that is carried out.
class Play {
 public:
  Play(const Schedule& schedule, const std::vector<StagePass>& passes, const SendTime& send)
      : schedule_(schedule),
        stages_(stages_of(schedule, passes)),
        send_(send),
        copies_(std::ranges::any_of(passes, [](const StagePass& p) { return p.copy_s > 0; })),
        forward_(at(schedule.stages) * at(schedule.micro_batches), -1),
        backward_(forward_),
        ranks_(at(schedule.ranks())) {
    if (copies_) away_ = forward_;
    const auto reduces = [](const StagePass& p) { return p.reduce_s > 0; };
    if (std::ranges::any_of(passes, reduces)) find_last_gradients();
    const auto gathers = [](const StagePass& p) { return p.gather_s > 0; };
    if (!copies_ && std::ranges::any_of(passes, gathers)) gathered_.assign(stages_.size(), 0);
  }

  /// A rank goes on until its input is missing, and again when that comes.
  PlayedStep run() {
    for (int rank = schedule_.ranks() - 1; rank >= 0; --rank) ready_.push_back(rank);
    while (!ready_.empty()) {
      const int rank = ready_.back();
      ready_.pop_back();
      while (step(rank)) {
      }
      ranks_[at(rank)].waits = true;
    }
    if (schedule_.lanes > 1) reduce_copies();
    PlayedStep step{last_s_, last_s_};
    for (const Rank& rank : ranks_) {
      step.reduced_s = std::max({step.reduced_s, rank.free_s + rank.stalled_s, rank.reduced_s});
    }
    return step;
  }

 private:
  const StageOfTable& stage_of(const Action& a) const { return stages_[at(a.stage)]; }
  std::size_t pair(int stage, int micro_batch) const {
    return at(stage) * at(schedule_.micro_batches) + at(micro_batch);
  }
  /// When its input is there; below 0: not known yet.
  double input_s(const Action& a) const {
    if (a.kind == ActionKind::backward_weight) return 0;
    if (a.kind == ActionKind::forward) {
      return stage_of(a).first ? 0 : forward_[pair(a.stage - 1, a.micro_batch)];
    }
    return stage_of(a).last ? 0 : backward_[pair(a.stage + 1, a.micro_batch)];
  }
  double compute_s(const Action& a) const {
    const StagePass& own = *stage_of(a).own;
    if (a.kind == ActionKind::forward) return own.forward_s;
    if (a.kind == ActionKind::backward_weight) return own.weights_s;
    return own.input_s + (a.kind == ActionKind::backward ? own.weights_s : 0);
  }
  /// Collectives, and the part of a transfer that does not hide.
  double wires_s(const Action& a) const {
    if (a.kind == ActionKind::backward_weight) return 0;
    const StageOfTable& stage = stage_of(a);
    const bool ahead = a.kind == ActionKind::forward;
    const double own = ahead ? stage.own->forward_wires_s : stage.own->backward_wires_s;
    // A pass that sends nothing waits for what it receives.
    const bool ends = ahead ? stage.last : stage.first;
    return own + (send_.hides > 0 || ends ? (1 - send_.hides) * send_.whole_s : 0);
  }
  /// Hands the result on; when the rank goes on.
  double pass_on(const Action& a, int rank, double end_s) {
    if (a.kind == ActionKind::backward_weight) return end_s;
    const bool ahead = a.kind == ActionKind::forward;
    const int to = ahead ? stage_of(a).after : stage_of(a).before;
    double& there_s = (ahead ? forward_ : backward_)[pair(a.stage, a.micro_batch)];
    there_s = end_s;
    if (to == rank) return end_s;
    if (ranks_[at(to)].waits) {
      ranks_[at(to)].waits = false;
      ready_.push_back(to);
    }
    double& way_s = ranks_[at(rank)].ways_s[to > rank ? 1 : 0];
    const double share = send_.hides > 0 ? send_.hides : 1;
    way_s = std::max(end_s, way_s) + share * (send_.whole_s - send_.latency_s);
    there_s = way_s + share * send_.latency_s;
    return send_.hides > 0 ? end_s : there_s;
  }
  /// Of the host's copies, those of one direction are done one after the other.
  struct Rank {
    std::size_t next = 0;        ///< its next action
    bool waits = false;          ///< for what others compute
    double free_s = 0;           ///< since when
    double ways_s[2] = {};       ///< to the one before and the one after
    double in_s = 0, out_s = 0;  ///< copies from the host and to it, so far
    double left_s = 0;           ///< when the copy before the last one to the host was done
    double before_s = 0, before_2_s = 0;  ///< ends of the last two slices
    double gathered_s = 0;                ///< end of the last gather so far
    double reduced_s = 0;                 ///< and of the last reduction
    double stalled_s = 0;                 ///< in reductions that did not hide
  };
  static bool makes_gradients(const Action& a) {
    return a.kind == ActionKind::backward || a.kind == ActionKind::backward_weight;
  }
  void find_last_gradients() {
    last_gradient_.assign(stages_.size(), -1);
    for (const std::vector<Action>& row : schedule_.actions) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (makes_gradients(row[i])) last_gradient_[at(row[i].stage)] = int(i);
      }
    }
  }
  /// When the first forward of a stage, from `start_s` on for `whole_s`, ends: each of its layers
  /// waits for its weights, those of a pair for all.
  double gathered_s(Rank& rank, const Action& a, double start_s, double whole_s, bool pair) {
    const StagePass& own = *stage_of(a).own;
    const int slices = pair ? 1 : std::max(1, int(std::lround(own.layers)));
    double at_s = start_s;
    for (int k = 0; k < slices; ++k) {
      rank.gathered_s += own.gather_s / slices;
      at_s = std::max(at_s, rank.gathered_s) + whole_s / slices;
    }
    return at_s;
  }
  /// Once for each stage.
  bool gathers(const Action& a) {
    if (gathered_.empty() || a.kind != ActionKind::forward) return false;
    return std::exchange(gathered_[at(a.stage)], char{1}) == 0;
  }
  /// Entry `i` of its row, from `start_s` to `end_s`: layer by layer, unless with another pass.
  /// What compute waits for holds up what the rank has left to do, which nobody waits for.
  void reduce(Rank& rank, const Action& a, std::size_t i, double start_s, double end_s) {
    if (schedule_.lanes > 1 || last_gradient_.empty()) return;
    if (!makes_gradients(a) || last_gradient_[at(a.stage)] != int(i)) return;
    const StagePass& own = *stage_of(a).own;
    const int slices = start_s < end_s ? std::max(1, int(std::lround(own.layers))) : 1;
    for (int k = 1; k <= slices; ++k) {
      const double made_s = std::lerp(start_s, end_s, double(k) / slices) + rank.stalled_s;
      rank.reduced_s = std::max(rank.reduced_s, made_s) + own.reduce_s / slices;
    }
    rank.stalled_s += own.reduce_waits_s;
  }
  /// Two copies of the model meet at the end, in the order of their stages.
  void reduce_copies() {
    if (last_gradient_.empty()) return;
    const int count = schedule_.stages_per_lane();
    for (int stage = 0; stage < count; ++stage) {
      Rank& one = ranks_[at(schedule_.rank_of[at(stage)])];
      Rank& other = ranks_[at(schedule_.rank_of[at(stage + count)])];
      one.reduced_s = other.reduced_s =
          std::max({one.reduced_s, one.free_s, other.reduced_s, other.free_s}) +
          stages_[at(stage)].own->reduce_s;
    }
  }
  /// What a backward needs from the host, while the slice before it computes: when it is there.
  double fetched_s(Rank& rank, const Action& a, double copy_s) {
    if (copy_s <= 0 || a.kind == ActionKind::forward || a.kind == ActionKind::backward_weight) {
      return 0;
    }
    const double away_s = away_[pair(a.stage, a.micro_batch)];
    return rank.in_s = std::max({rank.in_s, rank.before_2_s, away_s}) + copy_s;
  }
  /// What a forward that ended keeps goes to the host.
  void leave(Rank& rank, const Action& a, double end_s, double copy_s) {
    rank.before_2_s = std::exchange(rank.before_s, end_s);
    if (copy_s <= 0 || a.kind != ActionKind::forward) return;
    rank.left_s = rank.out_s;
    rank.out_s = std::max(rank.out_s, end_s) + copy_s;
    away_[pair(a.stage, a.micro_batch)] = rank.out_s;
  }
  /// When an action that takes `whole_s` from `start_s` ends, its copies beside it.
  double ended_s(Rank& rank, const Action& a, double start_s, double whole_s) {
    if (!copies_) return start_s + whole_s;
    const StagePass& own = *stage_of(a).own;
    const int slices = own.copy_s > 0 ? std::max(1, int(std::lround(own.layers))) : 1;
    double at_s = start_s;
    for (int i = 0; i < slices; ++i) {
      at_s = std::max(at_s, fetched_s(rank, a, own.copy_s / slices));
      if (own.copy_s > 0) at_s = std::max(at_s, rank.left_s);
      at_s += whole_s / slices;
      leave(rank, a, at_s, own.copy_s / slices);
    }
    return at_s;
  }
  double ended_together_s(Rank& rank, const Action& a, const Action& b, double start_s,
                          double whole_s) {
    const double fetched = fetched_s(rank, a, stage_of(a).own->copy_s);
    const double end_s =
        std::max({start_s, fetched, fetched_s(rank, b, stage_of(b).own->copy_s)}) + whole_s;
    const double before_2_s = rank.before_s;
    for (const Action* each : {&a, &b}) leave(rank, *each, end_s, stage_of(*each).own->copy_s);
    rank.before_2_s = before_2_s;
    return end_s;
  }
  bool step(int number) {
    const std::vector<Action>& row = schedule_.actions[at(number)];
    Rank& rank = ranks_[at(number)];
    const std::size_t next = rank.next;
    if (next >= row.size()) return false;
    const Action& a = row[next];
    double from_s = input_s(a), compute = compute_s(a), wires = wires_s(a);
    if (from_s < 0) return false;
    double whole = compute + wires;
    if (a.with_next) {
      const Action& b = row[next + 1];
      const double other_s = input_s(b);
      if (other_s < 0) return false;
      from_s = std::max(from_s, other_s);
      whole = std::max(compute + compute_s(b), wires + wires_s(b));
    }
    const double start_s = std::max(from_s, rank.free_s);
    const double end_s = gathers(a)    ? gathered_s(rank, a, start_s, whole, a.with_next)
                         : a.with_next ? ended_together_s(rank, a, row[next + 1], start_s, whole)
                                       : ended_s(rank, a, start_s, whole);
    rank.free_s = pass_on(a, number, end_s);
    if (a.with_next) rank.free_s = std::max(rank.free_s, pass_on(row[next + 1], number, end_s));
    last_s_ = std::max(last_s_, end_s);
    if (a.with_next) {
      reduce(rank, row[next + 1], next + 1, end_s, end_s);
    } else {
      reduce(rank, a, next, start_s, end_s);
    }
    rank.next += a.with_next ? 2 : 1;
    return true;
  }

  const Schedule& schedule_;
  const std::vector<StageOfTable> stages_;
  const SendTime& send_;
  const bool copies_;
  std::vector<double> forward_, backward_;  ///< when results are where they are needed
  std::vector<double> away_;                ///< and what forwards kept is on the host
  std::vector<Rank> ranks_;
  std::vector<int> ready_;          ///< ranks whose next input may be there
  std::vector<char> gathered_;      ///< by stage; empty: nothing to gather
  std::vector<int> last_gradient_;  ///< by stage: of its row's entries; empty: nothing to reduce
  double last_s_ = 0;
};

}  // namespace

PlayedStep play(const Schedule& schedule, const std::vector<StagePass>& stages,
                const SendTime& send) {
  return Play(schedule, stages, send).run();
}

double schedule_s(const Schedule& schedule, const std::vector<StagePass>& stages,
                  const SendTime& send) {
  return play(schedule, stages, send).actions_s;
}

HeldLayers held_layers(const Schedule& schedule, int rank, const std::vector<StagePass>& stages,
                       double away) {
  HeldLayers most;
  double all = 0, here = 0;
  const std::vector<Action>& row = schedule.actions[at(rank)];
  const int of_model = schedule.stages_per_lane();  // there are two lanes at most
  for (std::size_t i = 0; i < row.size(); i += row[i].with_next ? 2 : 1) {
    const std::size_t end = i + (row[i].with_next ? 2 : 1);
    const auto pass = [&](std::size_t k) -> const StagePass& {
      const int stage = row[k].stage;
      return stages[at(stage < of_model ? stage : stage - of_model)];
    };
    const auto layers = [&](std::size_t k) { return pass(k).layers; };
    double passing = 0;  // of what goes to the host or comes for this pass alone
    double working = 0;
    for (std::size_t k = i; k < end; ++k) {  // comes
      const bool ahead = row[k].kind == ActionKind::forward;
      const double on_way = end > i + 1 ? layers(k) : std::min(kOnTheWay, layers(k));
      working += pass(k).working;
      if (ahead) all += layers(k);
      if (ahead) here += (1 - away) * layers(k);
      if (row[k].kind == ActionKind::backward_input) here += away * layers(k);
      if (ahead || row[k].kind == ActionKind::backward) passing += away * on_way;
    }
    // Meanwhile the next pair's comes whole.
    if (end > i + 1 && end < row.size() && row[end].with_next) passing += away * layers(end + 1);
    most.all = std::max(most.all, all);
    if (here + passing + working > most.here + most.working) {
      most.here = here + passing;
      most.working = working;
    }
    for (std::size_t k = i; k < end; ++k) {  // and goes: what W needs stays until then
      if (row[k].kind == ActionKind::backward) here -= (1 - away) * layers(k);
      if (row[k].kind == ActionKind::backward_weight) here -= layers(k);
      if (row[k].kind == ActionKind::backward || row[k].kind == ActionKind::backward_weight) {
        all -= layers(k);
      }
    }
  }
  return most;
}

}  // namespace parallel_opt
