#include <algorithm>
#include <cmath>
#include <ranges>

#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/cost/mixed_layout.h"

namespace parallel_opt {
namespace {

/// An item of the bill: its name, where its amount is and how well such amounts are known.
struct Line {
  const char* name;
  double LayoutCost::* amount;
  double ItemWidths::* width;
};

constexpr Line kTimes[] = {
    {"matrix products", &LayoutCost::products_s, &ItemWidths::compute},
    {"attention", &LayoutCost::attention_s, &ItemWidths::compute},
    {"other operators", &LayoutCost::operators_s, &ItemWidths::compute},
    {"waiting for the host", &LayoutCost::host_s, &ItemWidths::host},
    {"recomputed blocks", &LayoutCost::recompute_s, &ItemWidths::compute},
    {"head and loss", &LayoutCost::head_s, &ItemWidths::compute},
    {"tensor collectives", &LayoutCost::tensor_s, &ItemWidths::links},
    {"context collectives", &LayoutCost::context_s, &ItemWidths::links},
    {"expert collectives", &LayoutCost::expert_s, &ItemWidths::experts},
    {"transfers between stages", &LayoutCost::pipeline_s, &ItemWidths::links},
    {"pipeline bubble", &LayoutCost::bubble_s, &ItemWidths::bubble},
    {"gradients and gathered weights", &LayoutCost::data_s, &ItemWidths::links},
    {"optimizer", &LayoutCost::optimizer_s, &ItemWidths::compute},
    {"copies to the host and back", &LayoutCost::offload_s, &ItemWidths::links},
    {"once per step", &LayoutCost::other_s, &ItemWidths::host},
    {"data loading", &LayoutCost::loading_s, &ItemWidths::host},
};

constexpr Line kBytes[] = {
    {"parameters and buffers", &LayoutCost::weights_bytes, &ItemWidths::states},
    {"gradients", &LayoutCost::gradients_bytes, &ItemWidths::states},
    {"optimizer state", &LayoutCost::optimizer_bytes, &ItemWidths::states},
    {"activations", &LayoutCost::activations_bytes, &ItemWidths::activations},
    {"logits", &LayoutCost::logits_bytes, &ItemWidths::activations},
    {"buffers and rounding", &LayoutCost::other_bytes, &ItemWidths::buffers},
};

/// Of a network that nobody states, as a natural logarithm: 25 to 400 Gbit/s where 100 are assumed.
const double kAssumedRate = std::log(4);

/// `value` and what is `width` (a natural logarithm) around it.
Uncertain around(double value, double width, Quality quality) {
  return {value, value * std::exp(-width), value * std::exp(width), quality};
}

/// Appends the lines whose amount is not 0 to `items`; the width of their sum.
template <std::size_t N>
double add_items(const Line (&lines)[N], const LayoutCost& cost, const ItemWidths& widths,
                 std::optional<double> EstimateItem::* unit, std::vector<EstimateItem>& items) {
  double sum = 0, squares = 0;
  for (const Line& line : lines) {
    const bool bytes = unit == &EstimateItem::bytes;  // of which there are no halves
    const double amount = bytes ? std::round(cost.*line.amount) : cost.*line.amount;
    if (amount <= 0) continue;
    const Uncertain number = around(amount, widths.*line.width, Quality::calibrated);
    EstimateItem& item = items.emplace_back();
    item.name = line.name;
    item.*unit = amount;
    item.low = bytes ? std::floor(number.low) : number.low;
    item.high = bytes ? std::ceil(number.high) : number.high;
    sum += amount;
  }
  // Lines of one kind err together.
  for (std::size_t i = 0; i < N; ++i) {
    const auto same = [&](const Line& line) { return line.width == lines[i].width; };
    if (std::ranges::find_if(lines, same) != lines + i) continue;
    double amount = 0;
    for (const Line& line : lines | std::views::filter(same)) {
      amount += std::max(0.0, cost.*line.amount);
    }
    squares += std::pow(amount * widths.*lines[i].width, 2);
  }
  return sum > 0 ? std::sqrt(squares) / sum : 0;
}

/// Idle power, and the share of what lies between it and the limit.
struct StepEnergy {
  double idle_j = 0, dynamic_j = 0;
  void add(double devices, const Accelerator& device, double busy_s, double time_s) {
    const double busy = std::clamp(busy_s / std::max(1e-12, time_s), 0.0, 1.0);
    const double span = std::max(0.0, device.max_w - device.idle_w);
    const double share = kBusyPower * busy + kWaitingPower * (1 - busy);
    idle_j += devices * device.idle_w * time_s;
    dynamic_j += devices * span * share * time_s;
  }
  void tell(double width, Estimate& e) const {
    e.energy_j = around(idle_j + dynamic_j, width, Quality::modelled);
    for (const auto& [name, joules] :
         {std::pair("idle power", idle_j), {"dynamic power", dynamic_j}}) {
      const Uncertain number = around(joules, width, Quality::modelled);
      e.items.push_back({name, {}, {}, joules, number.low, number.high});
    }
  }
};

}  // namespace

Estimate layout_estimate(const LayoutCost& cost, const TransformerFacts& facts,
                         const Accelerator& device, const ParallelLayout& layout,
                         const LayoutParameters& p, double usd_per_hour) {
  const bool seen = std::ranges::count(p.boards, device.board) > 0 && facts.is_of_measured_kind();
  Quality quality = seen ? Quality::calibrated : worst(Quality::database, device.quality);
  const Quality of_memory =
      quality;  // what tensors take; what allocators do was seen on those only
  ItemWidths widths = p.widths;
  if (!seen) widths.compute = std::hypot(widths.compute, widths.unseen);
  const bool leaves_node = layout.devices() > device.per_node;
  if (leaves_node && device.network_quality == Quality::assumed) {
    quality = Quality::assumed;
    for (double* width : {&widths.links, &widths.experts})
      *width = std::hypot(*width, kAssumedRate);
  }
  Estimate e;
  const double width = add_items(kTimes, cost, widths, &EstimateItem::seconds, e.items);
  const double memory = add_items(kBytes, cost, widths, &EstimateItem::bytes, e.items);
  e.step_time_s = around(cost.time_s(), width, quality);
  const double samples =
      double(std::max(1, layout.data)) * layout.micro_batch * layout.micro_batches;
  const auto rate = [&](double count) { return around(count / cost.time_s(), width, quality); };
  e.samples_per_s = rate(samples);
  if (facts.tokens > 0) e.tokens_per_s = rate(samples * facts.tokens);
  e.peak_memory_bytes = around(std::round(cost.memory_bytes()), memory, of_memory);
  e.peak_memory_bytes.low = std::floor(e.peak_memory_bytes.low);
  e.peak_memory_bytes.high = std::ceil(e.peak_memory_bytes.high);
  const double devices = layout.devices();
  if (device.max_w > 0) {
    StepEnergy energy;
    energy.add(devices, device, cost.busy_s, cost.time_s());
    energy.tell(width + kPowerWidth, e);
  }
  if (usd_per_hour > 0) e.money_usd = e.step_time_s * (usd_per_hour * devices / 3600);
  return e;
}

/// Intervals are those of the rank whose kind is known least.
Estimate mixed_estimate(const MixedCost& cost, const TransformerFacts& facts,
                        const std::vector<Accelerator>& devices, const ParallelLayout& layout,
                        const LayoutParameters& p, double usd_per_hour) {
  const auto seen = [&](const Accelerator& device) {
    return std::ranges::count(p.boards, device.board) > 0;
  };
  const auto unseen = std::ranges::find_if_not(devices, seen);
  Accelerator dark = unseen != devices.end() ? *unseen : devices.front();
  dark.max_w = 0;
  for (const Accelerator& device : devices) {
    dark.network_quality = worst(dark.network_quality, device.network_quality);
  }
  Estimate e = layout_estimate(cost.cost, facts, dark, layout, p, usd_per_hour);
  StepEnergy energy;
  for (std::size_t r = 0; r < devices.size(); ++r) {
    if (devices[r].max_w <= 0) return e;
    energy.add(layout.devices() / double(devices.size()), devices[r], cost.busy_s[r],
               cost.cost.time_s());
  }
  energy.tell(std::log(e.step_time_s.high / e.step_time_s.value) + kPowerWidth, e);
  return e;
}

}  // namespace parallel_opt
