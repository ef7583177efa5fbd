#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/layout_model.h"
#include "parallel_opt/plan/schedule.h"

/// What a layout's pipeline schedule decides: who waits how long, and how much is in flight.
namespace parallel_opt {
namespace {

constexpr double kMostStages = 4096;  // that are counted one by one
constexpr double kNearlyWhole = 1e-9;

}  // namespace

/// `head`: the head's work in blocks.
void LayoutModel::place_blocks(double head) noexcept {
  first_layers_ = inner_layers_ = last_layers_ = layers_;
  if (pipeline_ <= 1) return;
  head_layers_ = stack_.balances_head ? head : 0;
  const double each = layers_ / (pipeline_ * chunks());
  by_stages_ = stack_.balances_head || std::abs(each - std::round(each)) > kNearlyWhole;
  if (!by_stages_ || pipeline_ * chunks() > kMostStages) {
    by_stages_ = false;
    first_layers_ = inner_layers_ = last_layers_ = each * chunks();
    return;
  }
  first_layers_ = two_copies() ? layers_of_stage(0) : layers_of_rank(0);
  last_layers_ = two_copies() ? layers_of_stage(pipeline_ - 1) : layers_of_rank(pipeline_ - 1);
  if (folds()) last_layers_ = first_layers_;
  inner_layers_ = 0;
  const int last = int(pipeline_) - (folds() ? 0 : 1);
  for (int rank = 1; rank < last; ++rank) {
    inner_layers_ = std::max(inner_layers_, layers_of_rank(rank));
  }
}

void LayoutModel::place_as(const LayoutModel& other) noexcept {
  first_layers_ = other.first_layers_;
  inner_layers_ = other.inner_layers_;
  last_layers_ = other.last_layers_;
  head_layers_ = other.head_layers_;
  by_stages_ = other.by_stages_;
}

/// Stages of a rank that a micro-batch comes to one after the other.
double LayoutModel::chunks() const noexcept {
  return is_folded(kind_) ? 2 : std::max(1, l_.virtual_stages);
}

std::size_t LayoutModel::count_of_stages() const noexcept {
  return std::size_t(pipeline_ * chunks());
}

/// Blocks come whole. A balanced head's weight moves them ahead: a stage ends with the block that
/// reaches its share of the work (nanotron's PipelineBlocks). Elsewhere stages have the same; where
/// that cannot be, the embedding and the head stand for a block each, as models are built for it
/// (Llama 3: 126 blocks on 16 stages, BLOOM: 70 on 12) and torchtitan cuts, the fuller stages
/// first.
double LayoutModel::layers_of_stage(double stage) const noexcept {
  const double count = pipeline_ * chunks();
  if (!by_stages_) return layers_ / count;
  if (stack_.balances_head) {
    const double share = (layers_ + head_layers_) / count;
    const auto before = [&](double i) {
      return i >= count ? layers_ : std::min(layers_, std::ceil(i * share - kNearlyWhole));
    };
    return before(stage + 1) - before(stage);
  }
  const double units = std::round(layers_) + 2;
  const double each = std::floor(units / count);
  // With fewer blocks than stages the ends may have none to give.
  if (each < 1) return stage >= 1 && stage <= layers_ + kNearlyWhole ? 1 : 0;
  const double ends = (stage < 1 ? 1 : 0) + (stage + 1 >= count ? 1 : 0);
  return each + (stage < units - each * count ? 1 : 0) - ends;
}

/// That one of its micro-batches passes, the mean.
double LayoutModel::layers_of_rank(double rank) const noexcept {
  if (two_copies()) {
    return (layers_of_stage(rank) + layers_of_stage(pipeline_ - 1 - rank)) / 2;
  }
  double sum = 0;
  const int count = int(chunks());
  for (int chunk = 0; chunk < count; ++chunk) {
    const bool up = folds() && chunk > 0;
    sum += layers_of_stage(chunk * pipeline_ + (up ? pipeline_ - 1 - rank : rank));
  }
  return sum;
}

/// Of the fullest rank without a head.
double LayoutModel::most_inner_layers() const noexcept {
  const bool head_on_first = by_stages_ && goes_both_ways();
  return head_on_first ? inner_layers_ : std::max(first_layers_, inner_layers_);
}

/// Of a micro-batch's transfers through all stages, the share that is waited for while a pipeline
/// fills and drains. Interleaved stages do so chunk by chunk, each with its transfers, but for what
/// every micro-batch waits for anyway; where nothing hides, and breadth first with more
/// micro-batches than ranks, those of one chunk count. `late`: 1 with one micro-batch.
double LayoutModel::waited_while_filling(double send_s, double late) const noexcept {
  const double v = chunks();
  if (!sends_beside() || (kind_ == ScheduleKind::looped_bfs && l_.micro_batches > pipeline_)) {
    return late + (1 - late) / v;
  }
  const double hidden = p_.overlap * transfer_s();
  if (hidden <= 0) return 1;
  const double anyway = send_s / v - 2 * (1 - p_.overlap) * transfer_s();
  return 1 - std::clamp(anyway / hidden, 0.0, 1.0) * (1 - 1 / v);
}

/// What the slowest stage waits for, once per step, where no table is played: `rest` is what one
/// micro-batch takes on all other stages. F forward, B whole backward, W its part for weights, I =
/// B
/// - W, p stages, all equal (docs/simulate.md, docs/cost-model.md):
///   1F1B, GPipe   (p - 1) (F + B), over the stages per rank when interleaved [narayanan2021]
///   ZB-H1         (p - 1) max(F, F + I - min(F, W))                          [qi2024]
///   ZB-H2         (p - 1) max(F, F + I - 2 min(F, W))                        [qi2024]
///   ZB-V          (p - 1) max(F / 2, F + I - 2 min(F, W))                    [qi2024]
///   DualPipe      k (F + I + max(F, I) - min(I, W)) - min(F, k max(0, I - F)), k = p / 2 - 1;
///                 of DualPipeV k = p - 1 and half of each                    [deepseek2024]
/// These hold from about p micro-batches on. With fewer, m, one of them passes all stages after the
/// others: interleaved stages wait for it (p - m) (F + B) + (m - 1) (F + B) / v, and no schedule
/// ends before the inputs' gradients have come back through all stages, when only as many weights'
/// gradients are left to fill waits with as there are other micro-batches: (p - 1) (F + B - W) -
/// (m - 1) W. V shapes, each rank's two stages far apart, fill twice as much with each.
double LayoutModel::bubble_s(const StageTimes& rest, double send_s) const noexcept {
  if (pipeline_ <= 1) return 0;
  // While the pipeline fills there is no other micro-batch to hide a send behind.
  const double sends = (pipeline_ - 1) * (sends_beside() ? 2 * chunks() * transfer_s() : send_s);
  const double whole = rest.forward_s + rest.backward_s;
  const double m = std::max(1.0, l_.micro_batches), others = pipeline_ - 1;
  const double f = rest.forward_s, w = rest.weights_s, i = rest.backward_s - w;
  double idle = 0;
  switch (kind_) {
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::interleaved_1f1b:
    case ScheduleKind::looped_bfs: {
      const double late = std::max(0.0, pipeline_ - m) / others;  // 1 with one micro-batch
      return std::max(
          0.0, whole * (late + (1 - late) / chunks()) + sends * waited_while_filling(send_s, late));
    }
    case ScheduleKind::zb_h1:
      idle = std::max(f, f + i - std::min(f, w));
      break;
    case ScheduleKind::zb_h2:
      idle = std::max(f, f + i - 2 * std::min(f, w));
      break;
    case ScheduleKind::zb_v:
      idle = std::max(f / 2, f + i - 2 * std::min(f, w));
      break;
    case ScheduleKind::dualpipe:
    case ScheduleKind::dualpipe_v: {
      const double k = is_folded(kind_) ? others / 2 : std::max(0.0, pipeline_ / 2 - 1);
      const double last = is_folded(kind_) ? f / others / 2 : f / others;
      idle = k / others * (f + i + std::max(f, i) - std::min(i, w)) -
             std::min(last, k / others * std::max(0.0, i - f));
      break;
    }
  }
  const double filled = kind_ == ScheduleKind::zb_v ? 2 * (m - 1) : m - 1;
  const double back_s = whole - rest.weights_s - filled * rest.weights_s / others;
  return std::max({0.0, idle, back_s}) + sends;
}

/// Of the first rank: a round of each chunk but the last, and two chunks for each rank behind it.
/// p + (p - 1) / v where rounds are of p micro-batches.
double LayoutModel::interleaved_in_flight() const noexcept {
  const double v = chunks();
  const int micro_batches = int(std::clamp(l_.micro_batches, 1.0, 1e9));
  const double round = micro_batches_per_round(l_.pipeline, micro_batches);
  return ((v - 1) * round + 2 * pipeline_ - 1) / v;
}

/// Micro-batches whose activations a rank holds at once, each of all its blocks.
double LayoutModel::in_flight() const noexcept {
  const double m = std::max(1.0, l_.micro_batches), p = pipeline_;
  switch (kind_) {
    case ScheduleKind::gpipe:
    case ScheduleKind::looped_bfs:
      return m;
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::interleaved_1f1b: {
      return std::min(m, chunks() > 1 && p > 1 ? interleaved_in_flight() : p);
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
  const double first = v > 1 ? interleaved_in_flight() : pipeline_;
  return std::min(m, std::max(1.0, first - rank * (v > 1 ? 2 / v : 1)));
}

}  // namespace parallel_opt
