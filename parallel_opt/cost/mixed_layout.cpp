#include "parallel_opt/cost/mixed_layout.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "parallel_opt/cost/layout_model.h"

namespace parallel_opt {
namespace {

/// How many blocks of each class of the facts.
using Counts = std::vector<double>;

/// Of stages in the order of the model.
std::vector<Counts> blocks_of_stages(const TransformerFacts& facts,
                                     const std::vector<LayoutStage>& stages) {
  std::vector<Counts> counts;
  std::size_t next = 0;
  for (const LayoutStage& stage : stages) {
    Counts& own = counts.emplace_back(facts.blocks.size(), 0);
    const std::size_t last = std::min(facts.order.size(), next + std::size_t(stage.layers));
    for (; next < last; ++next) own[std::size_t(facts.order[next])] += 1;
  }
  return counts;
}

/// Facts whose mean block is that of these: as many blocks as the model has.
TransformerFacts with_blocks(const TransformerFacts& facts, const Counts& counts) {
  double all = 0;
  for (const double count : counts) all += count;
  if (all <= 0) return facts;
  TransformerFacts own = facts;
  for (std::size_t c = 0; c < counts.size(); ++c) {
    own.blocks[c].repeats = counts[c] * facts.layers() / all;
  }
  std::erase_if(own.blocks, [](const BlockFacts& block) { return block.repeats <= 0; });
  return own;
}

int count_of_stages(const ParallelLayout& l) {
  return std::max(1, l.pipeline) * std::max(1, l.virtual_stages);
}

int rank_of_stage(const ParallelLayout& l, int stage) {
  return parallel_opt::rank_of_stage(l.schedule, std::max(1, l.pipeline), stage);
}

}  // namespace

/// The ranks of one pipeline. Ranks and stages with the same device and blocks share a model.
class MixedPipeline {
 public:
  MixedPipeline(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                const SoftwareStack& stack, const ParallelLayout& layout, const LayoutParameters& p)
      : facts_(facts),
        devices_(devices),
        stack_(stack),
        l_(layout),
        p_(p),
        base_(facts, devices.front(), stack, layout, p) {
    usual_ = base_.stages();
    blocks_ = blocks_of_stages(facts, usual_.stages);
    read_stages();
    read_ranks();
  }

  MixedCost cost() const;
  LayoutStages stages() const;

 private:
  /// What ranks or stages have in common.
  struct Kind {
    const Accelerator* device = nullptr;
    Counts blocks;
    TransformerFacts facts;
    LayoutStages stages;  ///< all, as if they were of this kind
  };
  struct Rank {
    const Kind* kind = nullptr;
    double layers = 0;   ///< that one micro-batch passes, the mean
    double of_head = 0;  ///< of the micro-batches
    LayoutModel::StageTimes times;
    double computing_s = 0;  ///< of these: neither collectives nor waits for the host
    LayoutModel::StageParameters own;
  };

  int ranks() const { return std::max(1, l_.pipeline); }
  bool two_copies() const { return ranks() > 1 && l_.schedule == ScheduleKind::dualpipe; }
  LayoutModel model(const Kind& kind) const {
    LayoutModel own(kind.facts, *kind.device, stack_, l_, p_);
    own.place_as(base_);
    return own;
  }
  const Kind& kind_of(const Accelerator& device, const Counts& blocks);
  const Accelerator& device_of_stage(int stage) const;
  void read_stages();
  void read_ranks();
  std::vector<StagePass> passes() const;
  double bubble_s(std::size_t slow, LayoutModel::Pace& pace) const;
  double send_s() const;
  double transfer_s() const;
  /// Of one micro-batch on a stage.
  double computing_s(int stage) const;
  LayoutCost bill(std::size_t slow) const;
  void add_memory(MixedCost& out) const;

  const TransformerFacts& facts_;
  const std::vector<Accelerator>& devices_;
  const SoftwareStack& stack_;
  const ParallelLayout& l_;
  const LayoutParameters& p_;
  LayoutModel base_;
  LayoutStages usual_;
  std::vector<Counts> blocks_;  ///< by stage
  std::deque<Kind> kinds_;
  std::vector<const Kind*> of_stage_;
  std::vector<Rank> ranks_;
};

const MixedPipeline::Kind& MixedPipeline::kind_of(const Accelerator& device, const Counts& blocks) {
  for (const Kind& kind : kinds_) {
    if (*kind.device == device && kind.blocks == blocks) return kind;
  }
  Kind& kind = kinds_.emplace_back(Kind{&device, blocks, with_blocks(facts_, blocks), {}});
  kind.stages = model(kind).stages();
  return kind;
}

/// A stage of DualPipe is also that of the rank at the other end.
const Accelerator& MixedPipeline::device_of_stage(int stage) const {
  const Accelerator& own = devices_[std::size_t(rank_of_stage(l_, stage))];
  if (!two_copies()) return own;
  const Accelerator& other = devices_[std::size_t(ranks() - 1 - stage)];
  return other.flops_per_s < own.flops_per_s ? other : own;
}

void MixedPipeline::read_stages() {
  for (int i = 0; i < count_of_stages(l_); ++i) {
    of_stage_.push_back(&kind_of(device_of_stage(i), blocks_[std::size_t(i)]));
  }
}

double MixedPipeline::computing_s(int stage) const {
  const LayoutStage& own = of_stage_[std::size_t(stage)]->stages.stages[std::size_t(stage)];
  return own.forward_s + own.backward_s + own.recompute_s - own.idle_s;
}

void MixedPipeline::read_ranks() {
  ranks_.resize(std::size_t(ranks()));
  std::vector<Counts> blocks(ranks_.size(), Counts(facts_.blocks.size(), 0));
  const int count = count_of_stages(l_);
  const double share = two_copies() ? 0.5 : 1;  // of the micro-batches
  const auto add = [&](std::size_t at, int i) {
    Rank& rank = ranks_[at];
    const LayoutStage& stage = of_stage_[std::size_t(i)]->stages.stages[std::size_t(i)];
    rank.layers += share * stage.layers;
    if (i == count - 1) rank.of_head = share;
    rank.times.forward_s += share * (stage.forward_s + stage.forward_exposed_s);
    rank.times.backward_s +=
        share * (stage.backward_s + stage.recompute_s + stage.backward_exposed_s);
    rank.times.weights_s += share * stage.weights_s;
    rank.computing_s += share * computing_s(i);
    rank.own = rank.own + base_.parameters_of(stage.layers, i == 0, i == count - 1);
    for (std::size_t c = 0; c < blocks[at].size(); ++c) {
      blocks[at][c] += blocks_[std::size_t(i)][c];
    }
  };
  for (int i = 0; i < count; ++i) {
    add(std::size_t(rank_of_stage(l_, i)), i);
    if (two_copies()) add(std::size_t(ranks() - 1 - i), i);
  }
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const Accelerator& own = two_copies() ? device_of_stage(int(r)) : devices_[r];
    ranks_[r].kind = &kind_of(own, blocks[r]);
  }
}

double MixedPipeline::send_s() const {
  // Beside the passes of the rank that has the shortest.
  double ahead_s = std::numeric_limits<double>::max(), back_s = ahead_s, most = 0;
  for (const auto& rank : ranks_) {
    ahead_s = std::min(ahead_s, rank.times.forward_s / base_.chunks());
    back_s = std::min(back_s, rank.times.backward_s / base_.chunks());
  }
  for (const Kind& kind : kinds_) most = std::max(most, model(kind).send_s(ahead_s, back_s));
  return most;
}

double MixedPipeline::transfer_s() const {
  double most = 0;
  for (const Kind& kind : kinds_) most = std::max(most, model(kind).transfer_s());
  return most;
}

std::vector<StagePass> MixedPipeline::passes() const {
  std::vector<StagePass> all;
  for (std::size_t i = 0; i < of_stage_.size(); ++i) {
    const LayoutStage& own = of_stage_[i]->stages.stages[i];
    const double weights = std::min(own.weights_s, own.backward_s);
    all.push_back({.forward_s = own.forward_s,
                   .input_s = own.backward_s - weights + own.recompute_s,
                   .weights_s = weights,
                   .forward_wires_s = own.forward_exposed_s,
                   .backward_wires_s = own.backward_exposed_s,
                   .layers = own.layers,
                   .gather_s = usual_.shards_by_block ? own.gather_s : 0,
                   .reduce_s = own.reduce_s,
                   .reduce_waits_s = (1 - usual_.reduce_hides) * own.reduce_s});
  }
  return all;
}

/// What the slowest rank waits for.
double MixedPipeline::bubble_s(std::size_t slow, LayoutModel::Pace& pace) const {
  const double m = std::max(1.0, l_.micro_batches), send_s = pace.send_s;
  if (l_.schedule == ScheduleKind::one_f_one_b && l_.virtual_stages <= 1) {
    const double step_s = one_f_one_b_s(
        ranks(), m, send_s, [&](int r) -> const auto& { return ranks_[std::size_t(r)].times; });
    return std::max(0.0, step_s - m * ranks_[slow].times.sum());
  }
  LayoutModel::StageTimes rest;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (r != slow) rest = rest + ranks_[r].times;
  }
  if (base_.waits_by_table() && base_.has_table()) {
    const PlayedStep step = base_.played(passes(), transfer_s());
    if (base_.ends_with_weights()) pace.exchanged_s = step.reduced_s - step.actions_s;
    return step.actions_s - m * (ranks_[slow].times.sum() + send_s);
  }
  return model(*ranks_[slow].kind).bubble_s(rest, send_s);
}

LayoutCost MixedPipeline::bill(std::size_t slow) const {
  const LayoutModel own = model(*ranks_[slow].kind);
  const double send = send_s();
  LayoutModel::Pace pace{.layers = ranks_[slow].layers, .of_head = ranks_[slow].of_head};
  pace.send_s = send;
  pace.bubble_s = bubble_s(slow, pace);
  if (base_.copies_in_pipeline() && base_.has_table()) {
    pace.copies_s = own.table_copies_s(passes(), transfer_s());
  }
  return own.bill(own.passes(), pace);
}

void MixedPipeline::add_memory(MixedCost& out) const {
  double fullest = -1, fullest_host = -1, host_bytes = 0;
  const bool by_table = base_.holds_by_table() && base_.has_table();
  const std::vector<StagePass> layers = passes();
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const Rank& rank = ranks_[r];
    const LayoutModel own = model(*rank.kind);
    // A rank of DualPipe has a stage of either copy; each holds its part of what is in flight.
    const HeldLayers blocks =
        by_table ? base_.table_held(int(r), layers)
                 : own.held_everywhere(rank.layers * base_.in_flight_at(double(r)));
    const LayoutCost held = own.held(rank.own, blocks, rank.of_head > 0, own.kept_of_blocks());
    if (r == 0) {
      out.cost.first_stage_bytes = held.memory_bytes();
      out.cost.first_stage_unused = held.unused_bytes;
    }
    const auto share = [](double bytes, double of) { return of > 0 ? bytes / of : bytes; };
    const double full = share(held.memory_bytes(), devices_[r].memory_bytes);
    if (full > fullest) {
      fullest = full;
      out.fullest = int(r);
      out.cost.take_memory(held);
    }
    const double host = share(held.host_bytes, devices_[r].host.memory_bytes);
    if (host > fullest_host) {
      fullest_host = host;
      out.fullest_host = int(r);
      host_bytes = held.host_bytes;
    }
  }
  out.cost.host_bytes = host_bytes;
}

MixedCost MixedPipeline::cost() const {
  const auto slower = [](const Rank& a, const Rank& b) { return a.times.sum() < b.times.sum(); };
  const auto slow = std::size_t(std::ranges::max_element(ranks_, slower) - ranks_.begin());
  MixedCost out;
  out.cost = bill(slow);
  const auto at_the_end = [](const LayoutCost& c) {
    return c.data_s + c.optimizer_s + c.offload_s;
  };
  // Of the others, who has most to exchange and to update is waited for at the end.
  for (const Kind& kind : kinds_) {
    const auto rank = std::ranges::find(ranks_, &kind, &Rank::kind);
    if (rank == ranks_.end() || &kind == ranks_[slow].kind) continue;
    const LayoutCost other = bill(std::size_t(rank - ranks_.begin()));
    if (at_the_end(other) <= at_the_end(out.cost)) continue;
    out.cost.data_s = other.data_s;
    out.cost.optimizer_s = other.optimizer_s;
    out.cost.offload_s = other.offload_s;
  }
  const double on_device = l_.offload.fetched ? 1 : 1 - l_.offload.optimizer;
  for (const Rank& rank : ranks_) {
    out.busy_s.push_back(std::max(1.0, l_.micro_batches) * rank.computing_s +
                         on_device * model(*rank.kind).optimizer_s(rank.own));
  }
  add_memory(out);
  return out;
}

LayoutStages MixedPipeline::stages() const {
  LayoutStages out = usual_;
  for (std::size_t i = 0; i < of_stage_.size(); ++i) {
    const LayoutStages& own = of_stage_[i]->stages;
    out.stages[i] = own.stages[i];
    out.link_bytes_per_s = std::min(out.link_bytes_per_s, own.link_bytes_per_s);
    out.link_latency_s = std::max(out.link_latency_s, own.link_latency_s);
    out.copy_bytes_per_s = std::min(out.copy_bytes_per_s, own.copy_bytes_per_s);
  }
  const LayoutCost closed = cost().cost;
  out.step_s = closed.other_s;
  out.loading_s = closed.loading_s;
  return out;
}

bool ranks_differ(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                  const ParallelLayout& layout) {
  if (layout.pipeline <= 1) return false;
  const auto same = [&](const Accelerator& one) { return one == devices.front(); };
  if (!std::ranges::all_of(devices, same)) return true;
  const auto rule = [](const BlockFacts& block) { return block.recompute; };
  const auto alike = [&](const BlockFacts& block) {
    return rule(block) == rule(facts.blocks.front());
  };
  return !std::ranges::all_of(facts.blocks, alike);
}

MixedCost mixed_cost(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                     const SoftwareStack& stack, const ParallelLayout& layout,
                     const LayoutParameters& p) {
  return MixedPipeline(facts, devices, stack, layout, p).cost();
}

LayoutStages mixed_stages(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                          const SoftwareStack& stack, const ParallelLayout& layout,
                          const LayoutParameters& p) {
  return MixedPipeline(facts, devices, stack, layout, p).stages();
}

}  // namespace parallel_opt
