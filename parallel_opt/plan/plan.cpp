#include "parallel_opt/plan/plan.h"

#include <algorithm>
#include <limits>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

std::string counted(std::int64_t n, const std::string& one) {
  return std::to_string(n) + " " + one + (n == 1 ? "" : "s");
}

}  // namespace

int Mesh::ranks() const {
  using Limits = std::numeric_limits<int>;
  std::int64_t product = 1;
  for (const int degree : {pipeline, data, shard, context, expert, tensor}) {
    product = std::clamp<std::int64_t>(product * degree, Limits::min(), Limits::max());
  }
  return int(product);
}

bool keeps_memory(const Execution& execution, Precision precision, const Job& job) {
  const bool plain = precision == Precision::fp32 && !execution.compile &&
                     !execution.fused_optimizer &&
                     execution.memory_format == MemoryFormat::contiguous &&
                     execution.attention == AttentionKernel::fused;
  return !plain && !job.memory_limit_bytes && job.objective != Objective::memory;
}

std::string one_line(const Plan& plan) {
  std::vector<std::string> parts;
  const int ranks = plan.mesh.ranks();
  const bool cpu = std::ranges::any_of(plan.placements,
                                       [](const Placement& place) { return !place.cores.empty(); });
  std::string where = counted(ranks, "rank");
  if (cpu) where += " x " + counted(plan.placements.front().threads, "thread");
  parts.push_back(std::move(where));
  const auto axis = [&](int degree, const char* name) {
    if (degree > 1) parts.push_back(std::string(name) + " " + std::to_string(degree));
  };
  axis(plan.mesh.pipeline, "pipeline");
  axis(plan.mesh.shard, "shard");
  axis(plan.mesh.context, "context");
  axis(plan.mesh.expert, "expert");
  axis(plan.mesh.tensor, "tensor");
  parts.emplace_back(name_of(plan.precision));
  if (plan.execution.compile) parts.emplace_back("compiled");
  if (plan.execution.memory_format == MemoryFormat::channels_last)
    parts.emplace_back("channels_last");
  if (plan.execution.attention == AttentionKernel::unfused) parts.emplace_back("unfused attention");
  if (plan.execution.fused_optimizer) parts.emplace_back("fused optimizer");
  if (plan.execution.keep_memory) parts.emplace_back("memory kept");
  if (plan.micro_batches > 1) {
    parts.push_back(std::to_string(plan.micro_batches) + " micro-batches of " +
                    std::to_string(plan.micro_batch));
  }
  if (!plan.recompute.empty()) {
    parts.push_back(counted(std::int64_t(plan.recompute.size()), "block") + " recomputed");
  }
  return join(parts, ", ");
}

}  // namespace parallel_opt
