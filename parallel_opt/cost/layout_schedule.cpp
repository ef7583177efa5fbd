#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/layout_model.h"

/// What a layout's pipeline schedule decides: who waits how long, and how much is in flight.
namespace parallel_opt {

/// Blocks come whole. `head`: the head's work in blocks. Models whose depth is two (or one) short
/// of equal stages are built so that the embedding and the head stand for a block each: Llama 3
/// has 126 blocks on 16 stages, BLOOM 70 on 12.
void LayoutModel::place_blocks(double head) noexcept {
  first_layers_ = inner_layers_ = last_layers_ = layers_;
  if (pipeline_ <= 1) return;
  const auto equal = [&](double extra) { return std::fmod(layers_ + extra, pipeline_) == 0; };
  if (!stack_.balances_head && !equal(0) && pipeline_ > 2 && (equal(2) || equal(1))) {
    inner_layers_ = std::ceil(layers_ / pipeline_);
    last_layers_ = inner_layers_ - 1;
    first_layers_ = equal(2) ? inner_layers_ - 1 : inner_layers_;
    return;
  }
  head_layers_ = stack_.balances_head ? head : 0;
  if (stack_.balances_head && folds()) {
    first_layers_ = last_layers_ = paired_layers(0);
    inner_layers_ = most_inner_layers();
    return;
  }
  const double units = layers_ + head_layers_;
  first_layers_ = inner_layers_ = std::min(layers_, std::ceil(units / pipeline_ - 1e-9));
  last_layers_ = std::clamp(layers_ - first_layers_ * (pipeline_ - 1), 0.0, first_layers_);
  if (!stack_.balances_head) last_layers_ = std::max(last_layers_, std::floor(layers_ / pipeline_));
}

void LayoutModel::place_as(const LayoutModel& other) noexcept {
  first_layers_ = other.first_layers_;
  inner_layers_ = other.inner_layers_;
  last_layers_ = other.last_layers_;
  head_layers_ = other.head_layers_;
}

/// Stages of a rank that a micro-batch comes to one after the other.
double LayoutModel::chunks() const noexcept {
  return is_folded(l_.schedule) ? 2 : std::max(1, l_.virtual_stages);
}

/// Of a rank with a stage of either end, where a balanced head's weight moves blocks ahead: stages
/// are filled from the first on, which may leave none for the last ones. `stage`: the rank's first.
double LayoutModel::paired_layers(double stage) const noexcept {
  const double ends = pipeline_ * (folds() ? 2 : 1);
  const double full = std::ceil((layers_ + head_layers_) / ends - 1e-9);
  const auto held = [&](double i) { return std::clamp(layers_ - full * i, 0.0, full); };
  return (held(stage) + held(ends - 1 - stage)) / (two_copies() ? 2 : 1);
}

/// Of the fullest rank without a head: the second, or the last to be paired.
double LayoutModel::most_inner_layers() const noexcept {
  if (!stack_.balances_head || !(two_copies() || folds())) {
    return std::max(first_layers_, inner_layers_);
  }
  const double last = std::floor(pipeline_ * (folds() ? 2 : 1) / 2) - 1;
  return std::max(paired_layers(std::min(1.0, last)), paired_layers(last));
}

/// What the slowest stage waits for, once per step: `rest` is what one micro-batch takes on all
/// other stages. F forward, B whole backward, W its part for weights, p stages:
///   1F1B, GPipe   (p - 1) (F + B), over the stages per rank when interleaved [narayanan2021]
///   ZB-H1         (p - 1) (F + B - 2 W)                                      [qi2024]
///   ZB-H2, ZB-V   (p - 1) (F + B - 3 W)                                      [qi2024]
///   DualPipe(V)   (p / 2 - 1) (F + 2 B - 3 W)                                [deepseek2024]
/// These hold from about p micro-batches on. With fewer, m, one of them passes all stages after the
/// others: interleaved stages wait for it (p - m) (F + B) + (m - 1) (F + B) / v, and no schedule
/// ends before the inputs' gradients have come back through all stages, when only as many weights'
/// gradients are left to fill waits with as there are other micro-batches: (p - 1) (F + B - W) -
/// (m - 1) W. V shapes, each rank's two stages far apart, fill twice as much with each.
double LayoutModel::bubble_s(const StageTimes& rest, double send_s) const noexcept {
  if (pipeline_ <= 1) return 0;
  // While the pipeline fills there is no other micro-batch to hide a send behind.
  const double sends = (pipeline_ - 1) * send_s / (sends_beside() ? 1 - p_.overlap : 1);
  const double whole = rest.forward_s + rest.backward_s;
  const double m = std::max(1.0, l_.micro_batches), others = pipeline_ - 1;
  double idle = 0;
  switch (l_.schedule) {
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::interleaved_1f1b:
    case ScheduleKind::looped_bfs: {
      const double late = std::max(0.0, pipeline_ - m) / others;  // 1 with one micro-batch
      return std::max(0.0, whole + sends) * (late + (1 - late) / chunks());
    }
    case ScheduleKind::zb_h1:
      idle = whole - 2 * rest.weights_s;
      break;
    case ScheduleKind::zb_h2:
    case ScheduleKind::zb_v:
      idle = whole - 3 * rest.weights_s;
      break;
    case ScheduleKind::dualpipe:
    case ScheduleKind::dualpipe_v:
      idle = std::max(0.0, pipeline_ / 2 - 1) / (pipeline_ - 1) *
             (whole + rest.backward_s - 3 * rest.weights_s);
      break;
  }
  const double filled = l_.schedule == ScheduleKind::zb_v ? 2 * (m - 1) : m - 1;
  const double back_s = whole - rest.weights_s - filled * rest.weights_s / others;
  return std::max({0.0, idle, back_s}) + sends;
}

/// Micro-batches whose activations a rank holds at once, each of all its blocks.
double LayoutModel::in_flight() const noexcept {
  const double m = std::max(1.0, l_.micro_batches), p = pipeline_;
  switch (l_.schedule) {
    case ScheduleKind::gpipe:
    case ScheduleKind::looped_bfs:
      return m;
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::interleaved_1f1b: {
      const double v = chunks();
      return std::min(m, v > 1 && p > 1 ? p + (p - 1) / v : p);
    }
    case ScheduleKind::zb_h1:
    case ScheduleKind::zb_v:
      return std::min(m, p);
    case ScheduleKind::zb_h2:
      return std::min(m, 2 * p - 1);
    case ScheduleKind::dualpipe:
      return std::min(m, p + 1);
    case ScheduleKind::dualpipe_v:  // 2 p + 1 half stages
      return std::min(m, p + 0.5);
  }
  return std::min(m, p);
}

/// Of a rank of the pipeline. Each waits one micro-batch less for its first backward than the rank
/// before, of interleaved stages two chunks.
double LayoutModel::in_flight_at(double rank) const noexcept {
  if (!keeps_less_each_stage()) return in_flight();
  const double v = chunks(), m = std::max(1.0, l_.micro_batches);
  const double first = v > 1 ? pipeline_ + (pipeline_ - 1) / v : pipeline_;
  return std::min(m, std::max(1.0, first - rank * (v > 1 ? 2 / v : 1)));
}

}  // namespace parallel_opt
