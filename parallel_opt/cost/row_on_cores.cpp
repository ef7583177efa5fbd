#include "parallel_opt/cost/row_on_cores.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

Job job_of(const RowCase& row) {
  const ParallelLayout& l = row.layout;
  Job job;
  job.global_batch = std::int64_t(l.micro_batch * l.micro_batches * l.data);
  job.precision = row.element_type == "bf16" ? Precision::bf16 : Precision::fp32;
  job.pins.data = l.data;
  job.pins.micro_batch = std::int64_t(l.micro_batch);
  job.pins.compile = row.stack.fused_operators;
  job.pins.fused_optimizer = false;
  if (l.recompute != RecomputeRule::none) job.pins.recompute = "full";
  return job;
}

}  // namespace

std::string wrong_on_cores(const RowCase& row) {
  const ParallelLayout& l = row.layout;
  const bool replicas = l.tensor * l.pipeline * l.context * l.expert == 1 && l.shard == 0;
  if (replicas && l.devices() <= row.device.per_node) return "";
  return "rows of processors are predicted for replicas of one machine alone";
}

RowAnswer predict_on_cores(const RowCase& row) {
  const ParallelLayout& l = row.layout;
  const Job job = job_of(row);
  const std::int64_t sequence = std::int64_t(row.facts->tokens);
  const Graph graph = bind(load_model(row.model + ",seq=" + std::to_string(sequence)),
                           {{"batch", job.global_batch}, {"sequence", sequence}});
  const Cluster cluster = load_cluster(std::to_string(l.data) + "x" + row.device_name);
  const CostModel model(graph, cluster, job);
  if (!model.space().empty.empty()) return to_string(model.space().empty.front());
  const Plan plan = model.plan(model.plain());
  const Estimate estimate = model.estimate(plan);
  RowPrediction answer;
  answer.step_time_s = estimate.step_time_s;
  answer.peak_memory_bytes = estimate.peak_memory_bytes;
  answer.needed_bytes = estimate.peak_memory_bytes.value;
  answer.capacity_bytes = double(cluster.devices.front().memory_bytes.value);
  answer.fits = answer.needed_bytes <= answer.capacity_bytes;
  count_flops(row, answer);
  answer.taken = taken_run(row);
  answer.notes = row.notes;
  answer.notes.emplace_back("predicted operator by operator, as plans on cores are");
  if (l.recompute == RecomputeRule::selective) {
    answer.notes.emplace_back("blocks are computed again whole, as plans on cores do");
  }
  return answer;
}

}  // namespace parallel_opt
