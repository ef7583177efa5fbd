#include "parallel_opt/cost/schedule_time.h"

#include <algorithm>

namespace parallel_opt {
namespace {

/// Layers of a pass that are copied to the host or back at once.
constexpr double kOnTheWay = 2;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// A schedule that is carried out.
class Play {
 public:
  Play(const Schedule& schedule, const std::vector<StagePass>& stages, const SendTime& send)
      : schedule_(schedule),
        stages_(stages),
        send_(send),
        forward_(at(schedule.stages) * at(schedule.micro_batches), -1),
        backward_(forward_),
        next_(at(schedule.ranks()), 0),
        free_(at(schedule.ranks()), 0),
        ways_(2 * at(schedule.ranks()), 0) {}

  double run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < schedule_.ranks(); ++rank) {
        while (step(rank)) moved = true;
      }
    }
    return last_s_;
  }

 private:
  const StagePass& pass_of(const Action& a) const {
    return stages_[at(a.stage % schedule_.stages_per_lane())];
  }
  std::size_t pair(int stage, int micro_batch) const {
    return at(stage) * at(schedule_.micro_batches) + at(micro_batch);
  }
  /// When its input is there; below 0: not known yet.
  double input_s(const Action& a) const {
    if (a.kind == ActionKind::backward_weight) return 0;
    if (a.kind == ActionKind::forward) {
      return schedule_.first_of_lane(a.stage) ? 0 : forward_[pair(a.stage - 1, a.micro_batch)];
    }
    return schedule_.last_of_lane(a.stage) ? 0 : backward_[pair(a.stage + 1, a.micro_batch)];
  }
  double compute_s(const Action& a) const {
    const StagePass& own = pass_of(a);
    if (a.kind == ActionKind::forward) return own.forward_s;
    if (a.kind == ActionKind::backward_weight) return own.weights_s;
    return own.input_s + (a.kind == ActionKind::backward ? own.weights_s : 0);
  }
  /// Collectives, and the part of a transfer that does not hide.
  double wires_s(const Action& a) const {
    if (a.kind == ActionKind::backward_weight) return 0;
    const bool ahead = a.kind == ActionKind::forward;
    const double own = ahead ? pass_of(a).forward_wires_s : pass_of(a).backward_wires_s;
    // A pass that sends nothing waits for what it receives.
    const bool ends = ahead ? schedule_.last_of_lane(a.stage) : schedule_.first_of_lane(a.stage);
    return own + (send_.hides > 0 || ends ? (1 - send_.hides) * send_.whole_s : 0);
  }
  /// Hands the result on; when the rank goes on.
  double pass_on(const Action& a, int rank, double end_s) {
    if (a.kind == ActionKind::backward_weight) return end_s;
    const bool ahead = a.kind == ActionKind::forward;
    const bool ends = ahead ? schedule_.last_of_lane(a.stage) : schedule_.first_of_lane(a.stage);
    const int to = ends ? rank : schedule_.rank_of[at(a.stage + (ahead ? 1 : -1))];
    double& there_s = (ahead ? forward_ : backward_)[pair(a.stage, a.micro_batch)];
    there_s = end_s;
    if (to == rank) return end_s;
    double& way_s = ways_[2 * at(rank) + (to > rank ? 1 : 0)];
    const double moved_s = send_.whole_s * (send_.hides > 0 ? send_.hides : 1);
    there_s = way_s = std::max(end_s, way_s) + moved_s;
    return send_.hides > 0 ? end_s : there_s;
  }
  bool step(int rank) {
    const std::vector<Action>& row = schedule_.actions[at(rank)];
    std::size_t& next = next_[at(rank)];
    if (next >= row.size()) return false;
    const Action& a = row[next];
    double& free_s = free_[at(rank)];
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
    const double end_s = std::max(from_s, free_s) + whole;
    free_s = pass_on(a, rank, end_s);
    if (a.with_next) free_s = std::max(free_s, pass_on(row[next + 1], rank, end_s));
    last_s_ = std::max(last_s_, end_s);
    next += a.with_next ? 2 : 1;
    return true;
  }

  const Schedule& schedule_;
  const std::vector<StagePass>& stages_;
  const SendTime& send_;
  std::vector<double> forward_, backward_;  ///< when results are where they are needed
  std::vector<std::size_t> next_;           ///< by rank: its next action
  std::vector<double> free_;                ///< by rank: since when
  std::vector<double> ways_;                ///< by rank, to the one before and the one after
  double last_s_ = 0;
};

}  // namespace

double schedule_s(const Schedule& schedule, const std::vector<StagePass>& stages,
                  const SendTime& send) {
  return Play(schedule, stages, send).run();
}

HeldLayers held_layers(const Schedule& schedule, int rank, const std::vector<StagePass>& stages,
                       double away) {
  HeldLayers most;
  double all = 0, here = 0;
  const std::vector<Action>& row = schedule.actions[at(rank)];
  for (std::size_t i = 0; i < row.size(); i += row[i].with_next ? 2 : 1) {
    const std::size_t end = i + (row[i].with_next ? 2 : 1);
    const auto layers = [&](std::size_t k) {
      return stages[at(row[k].stage % schedule.stages_per_lane())].layers;
    };
    double passing = 0;  // of what goes to the host or comes for this pass alone
    for (std::size_t k = i; k < end; ++k) {  // comes
      const bool ahead = row[k].kind == ActionKind::forward;
      const double on_way = end > i + 1 ? layers(k) : std::min(kOnTheWay, layers(k));
      if (ahead) all += layers(k);
      if (ahead) here += (1 - away) * layers(k);
      if (row[k].kind == ActionKind::backward_input) here += away * layers(k);
      if (ahead || row[k].kind == ActionKind::backward) passing += away * on_way;
    }
    most = {std::max(most.all, all), std::max(most.here, here + passing)};
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
