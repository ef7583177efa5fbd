#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "parallel_opt/cost/layout_model.h"
#include "parallel_opt/cost/schedule_time.h"

/// Schedules that fill waits with weights' gradients, or whose ranks hold two stages far apart:
/// what uneven stages and few micro-batches make of them no formula of a line says; their own
/// tables do.
namespace parallel_opt {
namespace {

/// Stages times micro-batches of a table that is played: 512 ranks of two stages. Of longer
/// pipelines: formulas.
constexpr double kMostPairs = 2.2e6;
/// Micro-batches per rank from which on each adds as much as the one before.
struct Rounds {
  int from = 0, until = 0;
};
constexpr Rounds kSteady{4, 6}, kSteadyOfMany{3, 4};
constexpr double kMany = 64;  // ranks, from whose number on fewer rounds fill as many passes
constexpr double kManyOfOneStage = 24;  // likewise, of 1F1B
constexpr std::size_t kKeptTables = 16;
constexpr double kKeptPairs = 4e6;

Rounds steady_rounds(double ranks) { return ranks > kMany ? kSteadyOfMany : kSteady; }

/// Layouts of one search share tables.
const Schedule& table_of(ScheduleKind kind, int ranks, int stages, int micro_batches) {
  using Key = std::tuple<ScheduleKind, int, int, int>;
  thread_local std::map<Key, Schedule> known;
  thread_local double pairs = 0;
  const Key key{kind, ranks, stages, micro_batches};
  if (const auto it = known.find(key); it != known.end()) return it->second;
  const double own = double(ranks) * stages * micro_batches;
  if (known.size() >= kKeptTables || pairs + own > kKeptPairs) {
    known.clear();
    pairs = 0;
  }
  pairs += own;
  return known.emplace(key, make_schedule(kind, ranks, stages, micro_batches)).first->second;
}

}  // namespace

int LayoutModel::stages_per_rank() const noexcept {
  return is_folded(kind_) || kind_ == ScheduleKind::dualpipe ? 2 : std::max(1, l_.virtual_stages);
}

/// Whose waits the schedule's table tells: weights' gradients fill them, or stages differ. Of 1F1B
/// there is a closed form, up to 5 % too long for many ranks with few micro-batches.
bool LayoutModel::waits_by_table() const noexcept {
  if (ends_with_weights() || !by_stages_) return ends_with_weights();
  return chunks() > 1 || (kind_ == ScheduleKind::one_f_one_b && pipeline_ >= kManyOfOneStage &&
                          l_.micro_batches <= kSteadyOfMany.until * pipeline_);
}

/// Whether there is one that is short enough.
bool LayoutModel::has_table() const noexcept {
  const double m = l_.micro_batches;
  if (pipeline_ <= 1 || !(m >= 1 && m <= 1e6) || m != std::floor(m)) return false;
  const double played = std::min(m, steady_rounds(pipeline_).until * pipeline_);
  if (pipeline_ * stages_per_rank() * played > kMostPairs) return false;
  if (stages_per_rank() > 16 || facts_.blocks.empty()) return false;
  return check_schedule(kind_, l_.pipeline, stages_per_rank(), int(m)).empty();
}

/// As many micro-batches as tell how the others follow.
int LayoutModel::table_micro_batches() const noexcept {
  return int(std::min(l_.micro_batches, steady_rounds(pipeline_).until * pipeline_));
}

std::vector<StagePass> LayoutModel::stage_passes() const {
  const LayoutStage all = passes_of_blocks();
  const double head = outer_products() + operators(facts_.outside), loss = loss_s();
  const Kept kept = goes_both_ways() ? kept_of_blocks() : Kept{};
  const double layer_bytes = layers_ > 0 ? kept.of_all / layers_ : 0;
  std::vector<StagePass> passes(count_of_stages());
  for (std::size_t i = 0; i < passes.size(); ++i) {
    StagePass& own = passes[i];
    own.layers = layers_of_stage(double(i));
    const double share = all.layers > 0 ? own.layers / all.layers : 0;
    const bool last = i + 1 == passes.size();
    const double backward = share * all.backward_s + (last ? 2 * head + loss / 2 : 0);
    own.forward_s = share * all.forward_s + (last ? head + loss / 2 : 0);
    own.weights_s = std::min(backward, share * all.weights_s + (last ? outer_products() : 0));
    own.input_s = backward - own.weights_s + share * all.recompute_s;
    own.forward_wires_s = share * all.forward_exposed_s;
    own.backward_wires_s = share * all.backward_exposed_s;
    const Exchange once = exchange(parameters_of(own.layers, i == 0, last));
    own.gather_s = shards_by_block() ? once.gather_s : 0;
    own.reduce_s = once.reduce_s;
    own.reduce_waits_s = (1 - reduce_hides()) * own.reduce_s;
    if (layer_bytes <= 0) continue;
    own.working = working_beside(last ? logits_bytes() : 0, kept) / layer_bytes;
  }
  return passes;
}

/// Its actions from the first to the last, and what gathers before and reductions behind them add.
PlayedStep LayoutModel::played(std::vector<StagePass> passes, double transfer_s) const {
  const double hides = sends_beside() ? p_.overlap : 0;
  const SendTime send{transfer_s, hides, std::min(transfer_s, way_latency_s() * p_.send)};
  const auto step_of = [&](int micro_batches) {
    return play(table_of(kind_, l_.pipeline, stages_per_rank(), micro_batches), passes, send);
  };
  const int most = table_micro_batches();
  double reduced_s = 0;
  if (shards_by_block() && replicas_ > 1) {
    reduced_s = step_of(most).reduced_s;
    for (StagePass& pass : passes) pass.gather_s = 0;
  }
  PlayedStep step = step_of(most);
  step.reduced_s = std::max(step.reduced_s, reduced_s);
  if (l_.micro_batches <= most) return step;
  const int least = steady_rounds(pipeline_).from * l_.pipeline;
  const double each_s = (step.actions_s - step_of(least).actions_s) / (most - least);
  const double more_s = (l_.micro_batches - most) * each_s;
  return {step.actions_s + more_s, step.reduced_s + more_s};
}

/// What copies of activations add to a table, in which there are none yet.
double LayoutModel::table_copies_s(std::vector<StagePass> passes, double transfer_s) const {
  const double without_s = played(passes, transfer_s).actions_s;
  const Kept kept = kept_of_blocks();
  for (StagePass& pass : passes) pass.copy_s = away_of_blocks(pass.layers, kept) / copy_rate();
  return std::max(0.0, played(passes, transfer_s).actions_s - without_s);
}

HeldLayers LayoutModel::table_held(int rank, const std::vector<StagePass>& passes) const {
  return held_layers(table_of(kind_, l_.pipeline, stages_per_rank(), table_micro_batches()), rank,
                     passes, l_.offload.activations);
}

}  // namespace parallel_opt
