#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>

#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cli/job_flags.h"
#include "parallel_opt/cli/layout_argument.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/cli/placement.h"
#include "parallel_opt/cli/plan_text.h"
#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/cost/mixed_layout.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/search/search.h"

namespace parallel_opt {
namespace {

/// Nothing of the layout that only accelerators have may be asked of cores.
void refuse_on_cores(const Args& args) {
  std::vector<Fault> faults;
  for (const char* flag : {"tensor", "pipeline", "virtual-stages", "context", "expert", "shard",
                           "shard-degree", "schedule", "sequence-parallel", "stack", "offload"}) {
    const auto value = args.get(flag);
    if (!value || *value == "1" || *value == "0" || *value == "none") continue;
    faults.push_back({std::string("--") + flag, "is estimated for accelerators only",
                      "leave it out, or name another --cluster"});
  }
  if (!faults.empty()) throw UsageError(std::move(faults));
}

/// Of the zones that these devices stand in, each device as much; absent where one of them does not
/// say.
std::optional<Uncertain> zones_mean(const Cluster& cluster, const std::vector<std::size_t>& devices,
                                    std::optional<Uncertain> Zone::* number) {
  Uncertain mean{0, 0, 0, Quality::reported};
  for (const std::size_t i : devices) {
    const auto& name = cluster.nodes[static_cast<std::size_t>(cluster.devices[i].node)].zone;
    const auto zone = std::ranges::find(cluster.zones, name,
                                        [](const Zone& one) { return std::optional(one.name); });
    if (zone == cluster.zones.end()) return std::nullopt;
    const std::optional<Uncertain>& stated = (*zone).*number;
    if (!stated) return std::nullopt;
    const Uncertain& one = *stated;
    const double share = 1.0 / double(devices.size());
    mean.value += share * one.value;
    mean.low += share * one.low;
    mean.high += share * one.high;
  }
  return devices.empty() ? std::nullopt : std::optional(mean);
}

/// What a step's energy costs by a rate per kWh.
std::optional<Uncertain> of_energy(const Estimate& estimate, const std::optional<Uncertain>& rate) {
  constexpr double kJoulesPerKwh = 3.6e6;
  if (!estimate.energy_j || !rate) return std::nullopt;
  const Uncertain& energy = *estimate.energy_j;
  return Uncertain{energy.value * rate->value / kJoulesPerKwh,
                   energy.low * rate->low / kJoulesPerKwh, energy.high * rate->high / kJoulesPerKwh,
                   energy.quality};
}

/// Carbon, and the price of energy where the devices used have none of their own: rent includes
/// their power.
void add_zones(const Cluster& cluster, const std::vector<std::size_t>& used,
               EstimateDocument& document) {
  Estimate& estimate = document.estimate;
  document.carbon_g = of_energy(estimate, zones_mean(cluster, used, &Zone::carbon_g_per_kwh));
  if (!estimate.money_usd) {
    estimate.money_usd = of_energy(estimate, zones_mean(cluster, used, &Zone::usd_per_kwh));
  }
}

/// By the value, as `plan` and `validate` do: it refuses all published runs that are known not to
/// fit; the upper end of the interval would refuse four times as many of those that ran.
void judge_memory(double limit, EstimateDocument& document) {
  document.memory_limit_bytes = std::floor(limit);
  document.fits = document.estimate.peak_memory_bytes.value <= limit;
}

std::string byte_count(double count) { return show_bytes(std::round(count)); }

/// What the memory of a node has to hold, all its devices together.
void judge_host(const LayoutCost& cost, const Accelerator& device, const ParallelLayout& layout,
                EstimateDocument& document) {
  if (!layout.offload.any()) return;
  document.host_memory_bytes = std::round(host_memory_bytes(cost, device, layout));
  if (device.host.memory_bytes > 0) {
    document.host_limit_bytes = std::floor(kUsableHostMemory * device.host.memory_bytes);
  }
  if (!host_holds(cost, device, layout)) document.fits = false;
}

std::string host_text(const EstimateDocument& document) {
  const double needed = document.host_memory_bytes.value_or(0);
  if (!document.host_limit_bytes) {
    return "each host has to hold " + byte_count(needed) + "; its memory is not known";
  }
  const bool holds = needed <= *document.host_limit_bytes;
  return (holds ? "fits in the memory of each host: " : "does not fit in the memory of a host: ") +
         byte_count(needed) + " of " + byte_count(*document.host_limit_bytes);
}

std::string fits_text(const EstimateDocument& document) {
  const Uncertain& peak = document.estimate.peak_memory_bytes;
  const std::string of = " of " + byte_count(document.memory_limit_bytes);
  if (peak.value > document.memory_limit_bytes) {
    return "does not fit in memory: " + byte_count(peak.value) + of + "\nless is needed by " +
           document.way_out;
  }
  if (peak.high <= document.memory_limit_bytes)
    return "fits in memory: " + byte_count(peak.value) + of;
  return "fits in memory: " + byte_count(peak.value) + of + ", but may take up to " +
         byte_count(peak.high);
}

/// Ranks on cores meet in memory: other nodes stay idle, which is said.
void tell_idle_nodes(const Cluster& cluster, const Console& console, EstimateDocument& document) {
  if (cluster.nodes.size() < 2) return;
  const std::string all = std::to_string(cluster.nodes.size());
  document.placement = {"on 1 of " + all + " nodes: ranks on CPUs are estimated within one node"};
  console.log("note: 1 of " + all + " nodes is used: ranks on CPUs are estimated within one node");
}

EstimateDocument estimate_on_cores(const Args& args, const Graph& graph, const Cluster& cluster,
                                   const Console& console) {
  refuse_on_cores(args);
  const Job job = job_from(args);
  tell_nothing_is_chosen(args, console);
  check_kept(graph);
  const CostModel model(graph, cluster, job);
  // Of what cannot be, `plan` says why in the same words.
  if (const std::vector<Fault>& faults = model.space().empty; !faults.empty()) {
    throw UsageError(faults);
  }
  const Plan plan = model.plan(model.plain());
  EstimateDocument document;
  document.estimate = model.estimate(plan);
  document.devices_used = plan.devices_used;
  document.stack = "pytorch";
  document.layout = one_line(plan);
  document.way_out = "a smaller --micro-batch or recomputation";
  judge_memory(memory_limit_of(cluster, job, plan.placements.front().device), document);
  tell_idle_nodes(cluster, console, document);
  std::set<std::size_t> used;  // ranks may share a processor
  for (const Placement& rank : plan.placements) used.insert(std::size_t(rank.device));
  add_zones(cluster, {used.begin(), used.end()}, document);
  return document;
}

/// "recompute 16 of 32 blocks": what a file names of them.
std::string recomputed(const TransformerFacts& facts) {
  double whole = 0, parts = 0;
  for (const BlockFacts& block : facts.blocks) {
    if (!block.recompute) continue;
    if (block.recompute->rule == RecomputeRule::full) whole += block.repeats;
    if (block.recompute->rule == RecomputeRule::selective) parts += block.repeats;
  }
  const auto count = [](double blocks) { return std::to_string(std::int64_t(blocks)); };
  const std::string of = " of " + count(facts.layers()) + " blocks";
  if (parts <= 0) return whole > 0 ? "recompute " + count(whole) + of : "";
  return "recompute " + (whole > 0 ? count(whole) + " and " : "") + "parts of " + count(parts) + of;
}

std::string words(const ParallelLayout& l, const TransformerFacts& facts) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, int degree) {
    if (degree > 1) parts.push_back(std::string(name) + " " + std::to_string(degree));
  };
  add("tensor", l.tensor);
  add("pipeline", l.pipeline);
  if (l.pipeline > 1) add("virtual stages", l.virtual_stages);
  add("context", l.context);
  add("expert", l.expert);
  add("data", l.data);
  if (l.shard > 0 && l.data * l.context > 1) {
    const bool some = l.shard_degree > 0 && l.shard_degree < l.data * l.context;
    parts.push_back("shard stage " + std::to_string(l.shard) +
                    (some ? " among " + std::to_string(l.shard_degree) : ""));
  }
  if (l.sequence_parallel && l.tensor > 1) parts.emplace_back("sequence parallel");
  if (l.pipeline > 1) parts.emplace_back(name_of(l.schedule));
  if (l.recompute != RecomputeRule::none) {
    parts.push_back("recompute " + std::string(name_of(l.recompute)));
  }
  if (std::string named = recomputed(facts); !named.empty()) parts.push_back(std::move(named));
  const auto offloaded = [&](const char* part, double share) {
    if (share <= 0) return;
    parts.push_back("offload " + std::string(part) + (share < 1 ? " " + show(share) : ""));
  };
  offloaded(l.offload.fetched ? "states" : "optimizer", l.offload.optimizer);
  offloaded("parameters", l.offload.parameters ? 1 : 0);
  offloaded("activations", l.offload.activations);
  parts.push_back(
      std::to_string(std::int64_t(l.micro_batches)) +
      (l.micro_batches == 1 ? " micro-batch of " : " micro-batches of ") +
      std::to_string(std::int64_t(l.micro_batch)) +
      (facts.tokens > 0 ? " x " + std::to_string(std::int64_t(facts.tokens)) + " tokens" : ""));
  return join(parts, ", ");
}

/// The bill, and whether it fits, on equal devices or on several kinds.
void judge_layout(const TransformerFacts& facts, const StatedLayout& stated,
                  const PlacedLayout& placed, EstimateDocument& document) {
  const ParallelLayout& l = stated.layout;
  const LayoutParameters& p = layout_parameters();
  MixedCost cost;
  if (ranks_differ(facts, placed.devices, l)) {
    cost = mixed_cost(facts, placed.devices, *stated.stack, l, p);
    document.estimate = mixed_estimate(cost, facts, placed.devices, l, p, placed.usd_per_hour);
  } else {
    const Accelerator& device = placed.devices.front();
    cost.cost = layout_cost(facts, device, *stated.stack, l, p);
    document.estimate = layout_estimate(cost.cost, facts, device, l, p, placed.usd_per_hour);
  }
  judge_memory(placed.devices[std::size_t(cost.fullest)].memory_bytes * kUsableMemory, document);
  judge_host(cost.cost, placed.devices[std::size_t(cost.fullest_host)], l, document);
}

EstimateDocument estimate_on_accelerators(const Args& args, const Graph& graph,
                                          const Cluster& cluster, const Console& console) {
  const Job job = job_from(args, Layouts::all);
  const TransformerFacts facts = stated_facts(args, graph);
  const StatedLayout stated = stated_layout(args, job, facts, cluster, batch_of(graph));
  tell_what_says_nothing(args, stated.layout, console);
  const PlacedLayout placed = place(cluster, job, stated.layout);
  for (const std::string& note : placed.notes) console.log("note: " + note);
  EstimateDocument document;
  document.devices_used = int(stated.layout.devices());
  document.stack = stated.stack->name;
  document.layout = words(stated.layout, facts);
  document.way_out = ways_to_fit(stated.layout);
  if (!placed.words.empty()) document.placement = placed.words;
  if (!placed.network.empty()) document.assumed_network = placed.network;
  judge_layout(facts, stated, placed, document);
  add_zones(cluster, placed.of_cluster, document);
  if (job.memory_limit_bytes) {
    const double limit = double(job.memory_limit_bytes->value);
    if (limit <= document.memory_limit_bytes + 1) document.memory_limit_bytes = limit;  // unrounded
  }
  return document;
}

ExitCode run_estimate(const Args& args, const Console& console) {
  const Cluster cluster = load_cluster(args.get_or("cluster", "local"));
  if (args.has("MODEL") == args.has("model")) {
    throw UsageError("parallel-opt estimate", "one model is needed", "name it once");
  }
  const std::string model = args.has("MODEL") ? args.at("MODEL") : args.at("model");
  const std::optional<std::int64_t> seq = args.whole("seq", 1);
  const Graph graph = bind_sizes(load_model_argument(model, console, seq), std::nullopt, seq);
  const bool accelerators = std::ranges::any_of(
      cluster.devices, [](const Device& device) { return device.kind == DeviceKind::gpu; });
  EstimateDocument document = accelerators ? estimate_on_accelerators(args, graph, cluster, console)
                                           : estimate_on_cores(args, graph, cluster, console);
  if (const auto output = args.get("output")) {
    write_output(*output, to_json(document.estimate));
    console.log("wrote " + *output);
  }
  if (console.json) {
    print_json(console, document);
  } else {
    console.out << document.layout << " (" << document.devices_used
                << (document.devices_used == 1 ? " device, " : " devices, ") << document.stack
                << ")\n";
    for (const std::string& line : document.placement.value_or(std::vector<std::string>{})) {
      console.out << line << '\n';
    }
    console.out << '\n' << estimate_text(document.estimate, document.carbon_g);
    console.out << '\n' << fits_text(document) << '\n';
    if (document.host_memory_bytes) console.out << host_text(document) << '\n';
    if (document.assumed_network) console.out << *document.assumed_network << '\n';
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt estimate MODEL --cluster 8xH100-SXM-80GB --tensor 8
Command estimate_command() {
  std::vector<Flag> flags = {{"model", "MODEL", kModelFormats},
                             {"cluster", "NAME", "local (default), a preset, or a file"},
                             {"output", "FILE", "write the estimate there", 'o'}};
  for (Flag& flag : job_flags()) flags.push_back(std::move(flag));
  for (Flag& flag : layout_flags()) flags.push_back(std::move(flag));
  return {
      .name = "estimate",
      .summary = "Predict time, memory and energy of one layout.",
      .description =
          "The layout flags are the whole answer: what is not named is 1 or off, or the "
          "stack's own\nchoice. Without --data, replicas take the devices that are left.",
      .arguments = {{"MODEL", kModelFormats, false}},
      .flags = std::move(flags),
      .examples =
          {"parallel-opt estimate config.json --cluster 8xH100-SXM-80GB --tensor 8 --micro-batch 1",
           "parallel-opt estimate transformer:layers=32 --cluster 2n8xA100-SXM-80GB --shard 3"},
      .run = run_estimate,
  };
}

}  // namespace parallel_opt
