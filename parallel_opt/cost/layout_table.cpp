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

constexpr double kMostRanks = 64;  // of longer pipelines: formulas
/// Micro-batches per rank from which on each adds as much as the one before.
constexpr int kSteadyFrom = 4, kSteadyUntil = 6;
constexpr std::size_t kKeptTables = 16;

/// Layouts of one search share tables.
const Schedule& table_of(ScheduleKind kind, int ranks, int stages, int micro_batches) {
  using Key = std::tuple<ScheduleKind, int, int, int>;
  thread_local std::map<Key, Schedule> known;
  const Key key{kind, ranks, stages, micro_batches};
  if (const auto it = known.find(key); it != known.end()) return it->second;
  if (known.size() >= kKeptTables) known.clear();
  return known.emplace(key, make_schedule(kind, ranks, stages, micro_batches)).first->second;
}

}  // namespace

int LayoutModel::stages_per_rank() const noexcept {
  return is_folded(kind_) || kind_ == ScheduleKind::dualpipe ? 2 : std::max(1, l_.virtual_stages);
}

/// Whether there is one that is short enough.
bool LayoutModel::has_table() const noexcept {
  const double m = l_.micro_batches;
  if (pipeline_ <= 1 || pipeline_ > kMostRanks || !(m >= 1 && m <= 1e6) || m != std::floor(m)) {
    return false;
  }
  if (stages_per_rank() > 16 || facts_.blocks.empty()) return false;
  return check_schedule(kind_, l_.pipeline, stages_per_rank(), int(m)).empty();
}

/// As many micro-batches as tell how the others follow.
int LayoutModel::table_micro_batches() const noexcept {
  return int(std::min(l_.micro_batches, kSteadyUntil * pipeline_));
}

std::vector<StagePass> LayoutModel::stage_passes() const {
  const LayoutStage all = passes_of_blocks();
  const double head = outer_products() + operators(facts_.outside), loss = loss_s();
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
  }
  return passes;
}

/// From the first to the last action.
double LayoutModel::table_s(const std::vector<StagePass>& passes, double send_s) const {
  const double hides = sends_beside() ? p_.overlap : 0;
  const SendTime send{send_s / (2 * chunks() * (1 - hides)), hides};
  const auto seconds = [&](int micro_batches) {
    return schedule_s(table_of(kind_, l_.pipeline, stages_per_rank(), micro_batches), passes, send);
  };
  const int most = table_micro_batches();
  const double until_s = seconds(most);
  if (l_.micro_batches <= most) return until_s;
  const int least = kSteadyFrom * l_.pipeline;
  return until_s + (l_.micro_batches - most) * (until_s - seconds(least)) / (most - least);
}

/// What copies of activations add to a table, in which there are none yet.
double LayoutModel::table_copies_s(std::vector<StagePass> passes, double send_s) const {
  const double without_s = table_s(passes, send_s);
  const Kept kept = kept_of_blocks();
  for (StagePass& pass : passes) pass.copy_s = away_of_blocks(pass.layers, kept) / copy_rate();
  return std::max(0.0, table_s(passes, send_s) - without_s);
}

HeldLayers LayoutModel::table_held(int rank, const std::vector<StagePass>& passes) const {
  return held_layers(table_of(kind_, l_.pipeline, stages_per_rank(), table_micro_batches()), rank,
                     passes, l_.offload.activations);
}

}  // namespace parallel_opt
