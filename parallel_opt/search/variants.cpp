#include "parallel_opt/search/variants.h"

#include <algorithm>
#include <functional>

#include "parallel_opt/base/version.h"

namespace parallel_opt {

int switches(const Plan& plan) {
  return int(plan.precision != Precision::fp32) + int(plan.execution.compile) +
         int(plan.execution.memory_format != MemoryFormat::contiguous) +
         int(plan.execution.attention != AttentionKernel::fused) +
         int(plan.execution.fused_optimizer);
}

Variants::Variants(const Graph& graph, const Cluster& cluster, const Job& job,
                   const SearchResult& result)
    : model_(graph, cluster, job), base_(*result.plan) {
  model_hash_ = graph_hash(graph);
  cluster_hash_ = hardware_hash(cluster);
}

Plan Variants::with(Precision precision, const Execution& execution, int threads) const {
  Plan plan = base_;
  plan.precision = precision;
  plan.execution = execution;
  plan.certificate.reset();  // that proof is of the base plan
  const bool cpu = !plan.placements.front().cores.empty();
  plan.execution.keep_memory = cpu && keeps_memory(execution, precision, model_.job());
  for (Placement& place : plan.placements) {
    if (place.cores.empty()) continue;
    const Device& device = model_.cluster().devices[std::size_t(place.device)];
    // The first cores of the rank's part, as the model lays ranks out.
    const auto first = std::ranges::find(device.cores, place.cores.front());
    const auto taken = std::min<std::ptrdiff_t>(threads, device.cores.end() - first);
    place.cores.assign(first, first + taken);
    place.threads = int(taken);
  }
  plan.estimate = model_.estimate(plan);
  plan.provenance = {std::string(kVersion), model_hash_, cluster_hash_, {}};
  return plan;
}

Plan Variants::plain() const {
  const LocalSpace& space = model_.space();
  const Execution execution{space.compile.front(), space.memory_formats.front(),
                            space.attention.front(), space.fused_optimizer.front()};
  return with(space.precisions.front(), execution, threads().front());
}

std::vector<int> Variants::threads() const {
  const bool cpu = !base_.placements.front().cores.empty();
  std::vector<int> list;
  for (const Layout& layout : model_.space().layouts) {
    if (layout.ranks() == base_.mesh.ranks() && layout.devices == base_.devices_used) {
      list.push_back(cpu ? layout.threads : 1);
    }
  }
  std::ranges::sort(list, std::greater<>());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  if (list.empty()) list.push_back(base_.placements.front().threads);
  return list;
}

std::vector<Plan> Variants::all() const {
  const LocalSpace& space = model_.space();
  std::vector<Plan> plans;
  for (const int n : threads()) {
    for (const Precision precision : space.precisions) {
      for (const bool compile : space.compile) {
        for (const MemoryFormat format : space.memory_formats) {
          for (const AttentionKernel attention : space.attention) {
            for (const bool fused : space.fused_optimizer) {
              plans.push_back(with(precision, {compile, format, attention, fused}, n));
            }
          }
        }
      }
    }
  }
  return plans;
}

std::vector<Plan> Variants::by_time() const {
  std::vector<Plan> plans = all();
  const auto total_s = [&](const Plan& plan) {
    const auto& warm_up = plan.estimate.warm_up_s;
    return amortised_s(plan.estimate.step_time_s.value, warm_up ? warm_up->value : 0, model_.job());
  };
  std::ranges::stable_sort(plans, [&](const Plan& a, const Plan& b) {
    return std::tuple(total_s(a), switches(a)) < std::tuple(total_s(b), switches(b));
  });
  return plans;
}

}  // namespace parallel_opt
