#include "parallel_opt/cost/taken_run.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_model.h"

namespace parallel_opt {
namespace {

/// What is computed again of most of the blocks that have any, and of which share of all.
void set_recompute(const RowCase& row, TakenRun& run) {
  double all = 0, again = 0, whole = 0;
  bool parts = false;
  for (const BlockFacts& block : row.facts->blocks) {
    const RecomputeRule rule = block.recompute ? block.recompute->rule : row.layout.recompute;
    all += block.repeats;
    if (rule == RecomputeRule::none) continue;
    again += block.repeats;
    if (rule == RecomputeRule::full) whole += block.repeats;
    parts = parts || (block.recompute && rule == RecomputeRule::selective);
  }
  run.recomputed = all > 0 ? again / all : 0;
  run.recompute = again <= 0 ? "none" : 2 * whole > again ? "full" : parts ? "parts" : "selective";
}

/// "8", or "0.5".
std::string plain(double number) {
  return number == std::floor(number) ? std::to_string(std::int64_t(number)) : show(number);
}

std::string count(double number) { return std::to_string(std::int64_t(std::llround(number))); }

}  // namespace

TakenRun taken_run(const RowCase& row) {
  const ParallelLayout& l = row.layout;
  TakenRun run;
  run.device = row.device_name;
  run.stack = row.stack.name;
  run.dtype = row.element_type;
  run.sequence = row.facts->tokens;
  run.tensor = l.tensor;
  run.pipeline = l.pipeline;
  run.virtual_stages = l.virtual_stages;
  run.context = l.context;
  run.expert = l.expert;
  run.expert_tensor = l.expert_tensor;
  run.data = l.data;
  run.shard = l.shard;
  const int ranks = l.data * l.context;
  run.shard_degree = l.shard == 0         ? 1
                     : l.shard_degree > 0 ? std::min(l.shard_degree, ranks)
                                          : ranks;
  if (l.pipeline > 1) run.schedule = name_of(kind_of(l));
  run.micro_batch = l.micro_batch;
  run.micro_batches = l.micro_batches;
  run.sequence_parallel = l.sequence_parallel;
  run.attention = name_of(row.stack.attention);
  run.fused_operators = row.stack.fused_operators;
  run.logits_bytes = row.stack.logits_bytes;
  run.gradient_bytes = l.pure_half ? l.element_bytes : row.stack.gradient_bytes;
  run.optimizer_states = l.optimizer_states;
  run.pure_half = l.pure_half;
  run.optimizer_offload = l.offload.optimizer;
  run.activations_offload = l.offload.activations;
  run.parameters_offload = l.offload.parameters;
  set_recompute(row, run);
  return run;
}

std::string in_short(const TakenRun& run) {
  std::string text = run.device + " " + run.stack + ",";
  const auto degree = [&](const char* name, int ways) {
    if (ways > 1) text += std::string(" ") + name + " " + std::to_string(ways);
  };
  degree("tp", run.tensor);
  degree("pp", run.pipeline);
  if (!run.schedule.empty()) text += " (" + run.schedule;
  if (run.virtual_stages > 1) text += " x " + std::to_string(run.virtual_stages);
  if (!run.schedule.empty()) text += ')';
  degree("cp", run.context);
  degree("ep", run.expert);
  degree("etp", run.expert_tensor);
  text += " dp " + std::to_string(run.data);
  if (run.shard > 0) {
    text += ", ZeRO-" + std::to_string(run.shard);
    if (run.shard_degree != run.data * run.context) {
      text += " over " + std::to_string(run.shard_degree);
    }
  }
  text += ", " + plain(run.micro_batches) + " x " + plain(run.micro_batch);
  if (run.optimizer_offload > 0 || run.activations_offload > 0 || run.parameters_offload) {
    text += ", offload";
  }
  if (run.recompute == "none") return text;
  text += ", " + run.recompute;
  if (run.recomputed < 1) text += " " + count(100 * run.recomputed) + " %";
  return text;
}

}  // namespace parallel_opt
