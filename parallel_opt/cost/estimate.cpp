#include "parallel_opt/cost/estimate.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/cost/parameters.h"
#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {
namespace param = cost_parameter;

namespace {

double width_of(Quality quality) {
  switch (quality) {
    case Quality::counter:
    case Quality::measured:
      return param::kWidthMeasured;
    case Quality::integrated_power:
    case Quality::calibrated:
    case Quality::reported:
      return param::kWidthCalibrated;
    case Quality::database:
      return param::kWidthDatabase;
    default:
      return param::kWidthAssumed;
  }
}

/// A model fed with measured rates is calibrated, not measured.
Quality as_prediction(Quality rates) { return worst(rates, Quality::calibrated); }

Setting setting_of(const Cluster& cluster, const Plan& plan) {
  Setting setting;
  std::map<int, int> ranks;
  int threads = 0;
  for (const Placement& place : plan.placements) {
    const int last = int(cluster.devices.size()) - 1;
    const int device = std::clamp(place.device, 0, std::max(0, last));
    ++ranks[device];
    threads = threads == 0 ? place.threads : std::min(threads, place.threads);
  }
  if (ranks.empty()) ranks[0] = 1;
  setting.device = ranks.begin()->first;
  setting.devices = int(ranks.size());
  for (const auto& [device, count] : ranks) {
    setting.ranks_per_device = std::max(setting.ranks_per_device, count);
  }
  setting.threads = std::max(1, threads);
  setting.share = plan.shares.empty() ? plan.global_batch : std::ranges::max(plan.shares);
  setting.share = std::max<std::int64_t>(1, setting.share);
  setting.micro_batch = std::clamp<std::int64_t>(plan.micro_batch, 1, setting.share);
  setting.policy = {plan.precision, plan.execution.compile, plan.execution.attention};
  setting.memory_format = plan.execution.memory_format;
  return setting;
}

}  // namespace

/// Turns a bill into lines.
struct EstimateWriter {
  Estimate out;
  double time_width = 0;
  void time(const std::string& name, double seconds) {
    if (seconds > 0) add(name, &EstimateItem::seconds, within(seconds, time_width, {}));
  }
  /// What follows from the parameters and the plan alone.
  void states(const std::string& name, double bytes) {
    if (bytes > 0) add(name, &EstimateItem::bytes, exact(bytes));
  }
  void memory(const std::string& name, double bytes) {
    if (bytes > 0) add(name, &EstimateItem::bytes, within(bytes, param::kWidthMemory, {}));
  }
  void energy(const std::string& name, double joules, double width) {
    if (joules > 0) add(name, &EstimateItem::joules, within(joules, width, {}));
  }
  void add(const std::string& name, std::optional<double> EstimateItem::* unit,
           const Uncertain& number) {
    EstimateItem& item = out.items.emplace_back();
    item.name = name;
    item.*unit = number.value;
    item.low = number.low;
    item.high = number.high;
  }
  void phase(const std::string& name, const std::array<double, kOpClasses>& by_class,
             double pieces) {
    constexpr auto names = enum_names(OpClass{});
    for (std::size_t c = 0; c < kOpClasses; ++c) {
      time(name + " " + std::string(names[c]), pieces * by_class[c]);
    }
  }
  void bill(const Setting& setting, const SettingCost& cost, const Bill& b) {
    const double pieces = setting.pieces();
    phase("forward", cost.forward_by_class_s, pieces);
    phase("backward", cost.backward_by_class_s, pieces);
    time("precision casts", pieces * cost.cast_s);
    time("layout changes", pieces * cost.layout_s);
    time("second forward of micro-batches", b.second_forward_s);
    time("recomputed blocks", b.recompute_s);
    time("loss", b.loss_s);
    time("gather of outputs", b.gather_s);
    time("synchronised batch norms", b.statistics_s);
    time("all-reduce of gradients", b.all_reduce_s);
    time("optimizer", b.optimizer_s);
    time("data loading", b.loading_s);
    const double ranks = setting.ranks_per_device;
    states("parameters and buffers", ranks * b.parameters_bytes);
    states("optimizer state", ranks * b.optimizer_bytes);
    states("gradients", ranks * b.gradients_bytes);
    memory("activations", ranks * b.saved_bytes);
    memory("working set", ranks * b.working_bytes);
    memory("inputs and outputs", ranks * b.outputs_bytes);
    memory("weight copies and buckets", ranks * b.copies_bytes);
  }
};

Estimate CostModel::estimate(const Plan& plan) const {
  const Setting setting = setting_of(cluster_, plan);
  const Device& device = cluster_.devices[std::size_t(setting.device)];
  const RankRates rates = rank_rates(device, setting.threads, setting.ranks_per_device,
                                     dtype_of(setting.policy.precision));
  const Point point = prepare(setting, rates);
  Switches switches{plan.execution.fused_optimizer, {}};
  for (std::size_t c = 0; c < facts_.classes.size(); ++c) {
    for (const Recompute& entry : plan.recompute) {
      switches.recompute[c] += int(std::ranges::count(facts_.classes[c].blocks, entry.block));
    }
  }
  const Bill b = bill(point, switches);
  const Cost cost = total(point, b);
  const double width = width_of(point.quality);
  EstimateWriter writer{{}, width};
  writer.bill(setting, point.cost, b);
  Estimate& out = writer.out;
  const Quality quality = as_prediction(point.quality);
  out.step_time_s = within(cost.time_s, width, quality);
  const double samples = double(plan.global_batch);
  if (cost.time_s > 0) {
    const auto rate = [&](double count) {
      return Uncertain{count / cost.time_s, count / out.step_time_s.high,
                       count / out.step_time_s.low, quality};
    };
    out.samples_per_s = rate(samples);
    if (facts_.tokens_per_sample > 0) out.tokens_per_s = rate(samples * facts_.tokens_per_sample);
  }
  out.peak_memory_bytes = within(cost.memory_bytes, param::kWidthMemory, Quality::calibrated);
  out.peak_memory_bytes.low =
      std::floor(out.peak_memory_bytes.low);  // there are no halves of bytes
  out.peak_memory_bytes.high = std::ceil(out.peak_memory_bytes.high);
  if (device.power) {
    const double idle = setting.devices * device.power->idle_w.value * cost.time_s;
    const double power_width = std::min(
        0.9, width + width_of(worst(device.power->idle_w.quality, device.power->max_w.quality)));
    writer.energy("idle power", idle, power_width);
    writer.energy("dynamic power", cost.energy_j - idle, power_width);
    out.energy_j = within(cost.energy_j, power_width, Quality::modelled);
  }
  if (cost.warm_up_s > 0) {
    out.warm_up_s = within(cost.warm_up_s, param::kWidthAssumed, Quality::assumed);
  }
  return out;
}

Estimate estimate(const Graph& graph, const Cluster& cluster, const Job& job, const Plan& plan) {
  Job narrow = job;  // only the facts of the job matter here, not the space around it
  narrow.pins = {};
  narrow.pins.compile = plan.execution.compile;
  narrow.pins.attention = plan.execution.attention;
  return CostModel(graph, cluster, narrow).estimate(plan);
}

}  // namespace parallel_opt
