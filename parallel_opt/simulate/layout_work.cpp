#include "parallel_opt/simulate/layout_work.h"

#include <algorithm>
#include <cmath>

namespace parallel_opt {
namespace {

std::int64_t whole(double bytes) { return std::int64_t(std::llround(std::max(0.0, bytes))); }

/// Groups of layers are gathered, reduced and copied one by one.
void add_groups(const LayoutStage& stage, bool gathers, StageWork& work) {
  const int groups = std::max(1, int(std::lround(stage.layers)));
  for (int i = 0; i < groups; ++i) {
    LayerGroup group;
    group.share = 1.0 / groups;
    group.gather_s = gathers ? stage.gather_s / groups : 0;
    group.reduce_s = stage.reduce_s / groups;
    work.groups.push_back(group);
  }
}

void add_copies(const HostCopies& copies, StageWork& work) {
  work.offloaded_bytes = std::min(work.kept_bytes, whole(copies.kept));
  work.fetched_bytes = whole(copies.weights);
  work.drained_bytes = whole(copies.gradients);
  work.states_bytes = whole(copies.states);
  // Weights that live on the host get there what the device made of them.
  (copies.weights > 0 ? work.returned_bytes : work.updated_bytes) = whole(copies.updated);
  work.host_step_s = copies.update_s;
}

std::vector<CommunicationWork> reductions_of(const LayoutStage& stage) {
  ByCommunication seconds;
  seconds[Communication::reduce_scatter] = std::max(0.0, stage.reduce_s - stage.summed_s);
  seconds[Communication::all_reduce] = stage.summed_s;
  return listed(seconds);
}

/// As NCCL names a type of so many bytes. Before Ampere there is no bf16.
std::string type_of(double bytes, const std::vector<Accelerator>& ranks) {
  if (bytes > 2) return "f32";
  const auto old = [](const Accelerator& device) {
    return device.arch == "Pascal" || device.arch == "Volta" || device.arch == "Turing";
  };
  return std::ranges::any_of(ranks, old) ? "f16" : "bf16";
}

/// What costs a pass of `pass_s` nothing is no longer than it.
void add_beside(const ByCommunication& seconds, double pass_s, std::vector<CommunicationWork>& list,
                double& sum_s) {
  ByCommunication fitting;
  sum_s = std::min(seconds.sum(), pass_s);
  if (sum_s > 0) fitting.add(seconds, sum_s / seconds.sum());
  list = listed(fitting);
}

StageWork stage_work(const LayoutStage& stage, double boundary_bytes, bool gathers) {
  StageWork work;
  work.forward_s = stage.forward_s;
  work.backward_weight_s = std::min(stage.weights_s, stage.backward_s);
  work.backward_input_s = stage.backward_s - work.backward_weight_s;
  work.recompute_s = stage.recompute_s;
  work.forward_exposed_s = stage.forward_exposed_s;
  work.backward_exposed_s = stage.backward_exposed_s;
  work.forward_moves = listed(stage.forward_moves);
  work.backward_moves = listed(stage.backward_moves);
  add_beside(stage.forward_beside, stage.forward_s, work.forward_beside, work.forward_beside_s);
  // Passes for weights come later, where a schedule puts them off.
  add_beside(stage.backward_beside, work.recompute_s + work.backward_input_s, work.backward_beside,
             work.backward_beside_s);
  work.kept_bytes = whole(stage.kept_bytes);
  // 32 of 34 bytes per token and unit of width [qi2024]: the inputs of all products.
  work.kept_for_weights_bytes = work.kept_bytes;
  work.working_bytes = whole(stage.working_bytes);
  work.static_bytes = whole(stage.static_bytes);
  work.output_bytes = whole(boundary_bytes);
  work.optimizer_s = stage.optimizer_s;
  add_copies(stage.copies, work);
  const bool copies = work.offloaded_bytes > 0 || work.fetched_bytes > 0 ||
                      work.drained_bytes > 0 || work.states_bytes > 0;
  if (stage.reduce_s > 0 || copies) add_groups(stage, gathers, work);
  work.reductions = reductions_of(stage);
  if (stage.reduce_s > 0 && !gathers) {
    work.update_gather_s = stage.update_s;
    work.late_gather_s = stage.gather_s - stage.update_s;
  }
  return work;
}

/// A stage waits for the part of a transfer that does not hide: of what it sends or, where a pass
/// sends nothing, of what it receives.
void add_sends(const LayoutStages& stages, StepWork& work) {
  work.blocking_sends = stages.send_hides <= 0;
  const double beside = work.blocking_sends ? 1 : stages.send_hides;
  work.links.push_back(
      {"between stages", stages.link_latency_s * beside, stages.link_bytes_per_s / beside, false});
  const double send_s = stages.boundary_bytes / stages.link_bytes_per_s + stages.link_latency_s;
  const double waits_s = (1 - stages.send_hides) * send_s;
  for (std::size_t i = 0; i < work.stages.size(); ++i) {
    StageWork& stage = work.stages[i];
    const auto waits = [&](double& exposed_s, std::vector<CommunicationWork>& moves) {
      exposed_s += waits_s;
      if (waits_s > 0) moves.push_back({Communication::transfer_wait, waits_s});
    };
    const bool first = i == 0, last = i + 1 == work.stages.size();
    if (!work.blocking_sends || last) waits(stage.forward_exposed_s, stage.forward_moves);
    if (!work.blocking_sends || first) waits(stage.backward_exposed_s, stage.backward_moves);
  }
}

/// Of what a rank's compute takes, or all of them's (-1), what it does compute: its passes but for
/// waits inside them, and the optimizer.
double computing_share(const LayoutStages& stages, const ParallelLayout& layout, int rank) {
  const int pipeline = std::max(1, layout.pipeline);
  const bool two_copies = pipeline > 1 && layout.schedule == ScheduleKind::dualpipe;
  const double m = std::max(1.0, layout.micro_batches);
  double whole_s = 0, idle_s = 0;
  for (std::size_t i = 0; i < stages.stages.size(); ++i) {
    const LayoutStage& stage = stages.stages[i];
    const int own = rank_of_stage(layout.schedule, pipeline, int(i));
    // Either copy of a stage has half of the micro-batches, and an update.
    for (const int holder : {own, two_copies ? pipeline - 1 - own : -1}) {
      if (holder < 0 || (rank >= 0 && holder != rank)) continue;
      const double passes = two_copies ? m / 2 : m;
      whole_s +=
          passes * (stage.forward_s + stage.backward_s + stage.recompute_s) + stage.optimizer_s;
      idle_s += passes * stage.idle_s;
    }
  }
  return whole_s > 0 ? 1 - idle_s / whole_s : 1;
}

void add_power(const LayoutStages& stages, const ParallelLayout& layout,
               const std::vector<Accelerator>& ranks, StepWork& work) {
  const auto has_watts = [](const Accelerator& device) { return device.max_w > 0; };
  if (!std::ranges::all_of(ranks, has_watts)) return;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const Accelerator& device = ranks[r];
    // Nothing is idle inside a step: the floor is what waiting draws, for collectives too.
    const double span = std::max(0.0, device.max_w - device.idle_w);
    const double share = computing_share(stages, layout, ranks.size() > 1 ? int(r) : -1);
    const double busy = std::lerp(kWaitingPower, kBusyPower, share);
    work.power.push_back({device.idle_w + kWaitingPower * span, device.idle_w + busy * span, 0});
  }
}

}  // namespace

StepWork layout_work(const LayoutStages& stages, const ParallelLayout& layout,
                     const Accelerator& device) {
  return layout_work(stages, layout, std::vector<Accelerator>{device});
}

StepWork layout_work(const LayoutStages& stages, const ParallelLayout& layout,
                     const std::vector<Accelerator>& ranks) {
  StepWork work;
  const bool gathers = stages.shards_by_block;
  for (const LayoutStage& stage : stages.stages) {
    work.stages.push_back(stage_work(stage, stages.boundary_bytes, gathers));
  }
  if (layout.pipeline > 1) {
    add_sends(stages, work);
  }
  const bool reduces = std::ranges::any_of(
      stages.stages, [](const LayoutStage& stage) { return stage.reduce_s > 0; });
  if (reduces) {
    // Pipelines keep gathered weights, and their gradients, for the whole step; so does everything
    // that shares the optimizer's states alone.
    const bool keeps = layout.pipeline > 1 || layout.shard <= 1;
    const GatherWhen beside = layout.shard >= 3 ? GatherWhen::each_pass : GatherWhen::each_forward;
    work.gather = !gathers ? GatherWhen::never : keeps ? GatherWhen::once : beside;
    work.reduce = stages.reduces_each ? ReduceWhen::each : ReduceWhen::last;
    // Gathers of pipelines run before their stage has its first micro-batch.
    work.gather_hides = layout.pipeline > 1 ? 1 : stages.gather_hides;
    work.reduce_hides = stages.reduce_hides;
    if (streams(work.gather)) {
      // One rank stands for all: its gathers and its reductions travel on the same wires.
      work.collective_link = int(work.links.size());
      work.links.push_back({"between replicas", 0, 1, true});
    }
  }
  work.element = type_of(stages.element_bytes, ranks);
  work.gradient = type_of(stages.reduced_bytes, ranks);
  work.copy_bytes_per_s = stages.copy_bytes_per_s;
  if (stages.stages.front().copies.each_micro_batch) work.drain = ReduceWhen::each;
  work.together_s = stages.step_s + stages.loading_s;
  work.optimizer_together = true;
  add_power(stages, layout, ranks, work);
  return work;
}

}  // namespace parallel_opt
