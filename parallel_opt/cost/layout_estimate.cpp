#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/layout_cost.h"

namespace parallel_opt {

Estimate layout_estimate(const LayoutCost& cost, const TransformerFacts& facts,
                         const Accelerator& device, const ParallelLayout& layout,
                         const LayoutParameters& p, double usd_per_hour) {
  Estimate e;
  const auto time = [&](const char* name, double seconds) {
    if (seconds > 0) e.items.push_back({name, seconds, {}, {}});
  };
  const auto memory = [&](const char* name, double bytes) {
    if (bytes > 0) e.items.push_back({name, {}, std::round(bytes), {}});
  };
  time("matrix products", cost.products_s);
  time("attention", cost.attention_s);
  time("other operators", cost.operators_s);
  time("waiting for the host", cost.host_s);
  time("recomputed blocks", cost.recompute_s);
  time("head and loss", cost.head_s);
  time("tensor collectives", cost.tensor_s);
  time("context collectives", cost.context_s);
  time("expert collectives", cost.expert_s);
  time("transfers between stages", cost.pipeline_s);
  time("pipeline bubble", cost.bubble_s);
  time("gradients and gathered weights", cost.data_s);
  time("optimizer", cost.optimizer_s);
  time("copies to the host and back", cost.offload_s);
  time("once per step", cost.other_s);
  time("data loading", cost.loading_s);
  memory("parameters and buffers", cost.weights_bytes);
  memory("gradients", cost.gradients_bytes);
  memory("optimizer state", cost.optimizer_bytes);
  memory("activations", cost.activations_bytes);
  memory("logits", cost.logits_bytes);
  memory("buffers and rounding", cost.other_bytes);
  const auto around = [](double value, double width) {
    return Uncertain{value, value / (1 + width), value * (1 + width), Quality::calibrated};
  };
  e.step_time_s = around(cost.time_s(), p.time_width);
  const double samples =
      double(std::max(1, layout.data)) * layout.micro_batch * layout.micro_batches;
  const auto rate = [&](double count) {
    return Uncertain{count / e.step_time_s.value, count / e.step_time_s.high,
                     count / e.step_time_s.low, Quality::calibrated};
  };
  e.samples_per_s = rate(samples);
  if (facts.tokens > 0) e.tokens_per_s = rate(samples * facts.tokens);
  e.peak_memory_bytes = around(std::round(cost.memory_bytes()), p.memory_width);
  e.peak_memory_bytes.low = std::floor(e.peak_memory_bytes.low);
  e.peak_memory_bytes.high = std::ceil(e.peak_memory_bytes.high);
  const double devices = layout.devices();
  if (device.max_w > 0) {
    const double busy = std::clamp(cost.busy_s / std::max(1e-12, cost.time_s()), 0.0, 1.0);
    const double span = std::max(0.0, device.max_w - device.idle_w);
    const double idle = devices * device.idle_w * cost.time_s();
    const double share = kBusyPower * busy + kWaitingPower * (1 - busy);
    const double dynamic = devices * span * share * cost.time_s();
    e.items.push_back({"idle power", {}, {}, idle});
    e.items.push_back({"dynamic power", {}, {}, dynamic});
    e.energy_j = around(idle + dynamic, p.time_width + 0.15);
    e.energy_j->quality = Quality::modelled;
  }
  if (usd_per_hour > 0) {
    e.money_usd = e.step_time_s * (usd_per_hour * devices / 3600);
  }
  return e;
}

}  // namespace parallel_opt
