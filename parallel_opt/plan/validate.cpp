#include "parallel_opt/plan/validate.h"

#include <algorithm>
#include <map>
#include <set>

#include "parallel_opt/base/text.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {
namespace {

std::string text(std::int64_t n) { return std::to_string(n); }
/// For people: numbers that no count of bytes holds end at the largest.
Bytes whole(double bytes) {
  constexpr double kMost = 9e18;
  return Bytes(std::int64_t(std::clamp(bytes, -kMost, kMost)));
}
std::string index(const std::string& list, std::size_t i) {
  return list + "[" + text(std::int64_t(i)) + "]";
}

/// Walks one plan rule by rule and collects what is broken.
struct Judge {
  const Graph& graph;
  const Cluster& cluster;
  const Job& job;
  const Plan& plan;
  std::vector<Fault> faults;

  void fault(const std::string& field, std::string what, std::string hint = {}) {
    faults.push_back({"plan." + field, std::move(what), std::move(hint)});
  }
  bool is_module(const std::string& name) const {
    const std::string prefix = name + ".";
    return std::ranges::any_of(graph.ops, [&](const Op& op) {
      return op.module == name || op.module.compare(0, prefix.size(), prefix) == 0;
    });
  }
  bool device_exists(const Placement& place) const {
    return place.device >= 0 && std::size_t(place.device) < cluster.devices.size();
  }
  std::set<int> used_devices() const {
    std::set<int> used;
    for (const Placement& place : plan.placements) {
      if (device_exists(place)) used.insert(place.device);
    }
    return used;
  }

  void identity();
  void mesh();
  void placements();
  void gpu_ranks();
  void shares();
  void micro_batches();
  void stages();
  void recompute();
  void precision();
  void engine();
  void pins();
  void memory();
};

void Judge::identity() {
  const Provenance& from = plan.provenance;
  if (!from.model_hash.empty() && from.model_hash != graph_hash(graph)) {
    fault("provenance.model_hash",
          "plan for another model (" + from.model_hash + ", this is " + graph_hash(graph) + ")",
          "plan this model anew");
  }
  if (!from.cluster_hash.empty() && from.cluster_hash != hardware_hash(cluster)) {
    fault("provenance.cluster_hash",
          "plan for other hardware (" + from.cluster_hash + ", this is " + hardware_hash(cluster) +
              ")",
          "plan anew on this machine");
  }
  if (job.training && count_parameters(graph).trainable == 0) {
    faults.push_back({"model", "no trainable parameters", "a job with training off needs none"});
  }
}

void Judge::mesh() {
  const Capabilities* engine = find_capabilities(job.target);
  if (!engine) {
    faults.push_back({"job.target", "no engine is called \"" + job.target + "\"",
                      "known: " + join(known_targets(), ", ")});
  }
  const auto axis = [&](const char* name, int degree, int most) {
    if (degree < 1) fault(std::string("mesh.") + name, text(degree) + " is below 1");
    if (degree > most) {
      fault(std::string("mesh.") + name, "the engine " + job.target + " runs at most " +
                                             text(most) + ", the plan has " + text(degree));
    }
  };
  const Mesh most = engine ? engine->most : Mesh{kAnyDegree, kAnyDegree, kAnyDegree,
                                                 kAnyDegree, kAnyDegree, kAnyDegree};
  axis("pipeline", plan.mesh.pipeline, most.pipeline);
  axis("data", plan.mesh.data, most.data);
  axis("shard", plan.mesh.shard, most.shard);
  axis("context", plan.mesh.context, most.context);
  axis("expert", plan.mesh.expert, most.expert);
  axis("tensor", plan.mesh.tensor, most.tensor);
  if (plan.placements.size() != std::size_t(std::max(0, plan.mesh.ranks()))) {
    fault("placements", "the mesh has " + text(plan.mesh.ranks()) +
                            " ranks, placements are given for " +
                            text(std::int64_t(plan.placements.size())));
  }
}

void Judge::placements() {
  std::set<std::pair<int, int>> given;  // node, logical core
  std::set<int> nodes;
  std::vector<std::int64_t> threads(cluster.devices.size(), 0);
  std::vector<int> ranks(cluster.devices.size(), 0);
  for (const Placement& place : plan.placements) {
    if (device_exists(place)) ++ranks[std::size_t(place.device)];
  }
  for (std::size_t rank = 0; rank < plan.placements.size(); ++rank) {
    const Placement& place = plan.placements[rank];
    const std::string where = index("placements", rank);
    if (!device_exists(place)) {
      fault(where + ".device", "there is no device " + text(place.device),
            "the cluster has " + text(std::int64_t(cluster.devices.size())));
      continue;
    }
    const Device& device = cluster.devices[std::size_t(place.device)];
    nodes.insert(device.node);
    if (device.kind == DeviceKind::gpu) continue;
    if (place.threads < 1) fault(where + ".threads", text(place.threads) + " is below 1");
    if (!place.cores.empty() && place.threads > int(place.cores.size())) {
      fault(where + ".threads", text(place.threads) + " threads on " +
                                    text(std::int64_t(place.cores.size())) + " cores");
    }
    threads[std::size_t(place.device)] += std::max(0, place.threads);
    // More ranks than cores share them, one thread each.
    const bool crowded = ranks[std::size_t(place.device)] > int(device.cores.size());
    for (const int core : place.cores) {
      if (std::ranges::find(device.cores, core) == device.cores.end()) {
        fault(where + ".cores", "device " + text(place.device) + " has no core " + text(core));
      } else if (!given.insert({device.node, core}).second && !crowded) {
        fault(where + ".cores", "core " + text(core) + " is given twice");
      }
    }
  }
  for (std::size_t i = 0; i < threads.size(); ++i) {
    const Device& device = cluster.devices[i];
    const int most = std::max(int(device.cores.size()), ranks[i]);
    if (device.kind == DeviceKind::cpu && threads[i] > most) {
      fault("placements", text(threads[i]) + " threads on device " + text(std::int64_t(i)) +
                              ", which has " + text(std::int64_t(device.cores.size())) + " cores");
    }
  }
  const Capabilities* engine = find_capabilities(job.target);
  if (engine && !engine->several_nodes && nodes.size() > 1) {
    fault("placements", "the engine " + job.target + " runs on one node, the plan uses " +
                            text(std::int64_t(nodes.size())));
  }
  if (plan.devices_used != int(used_devices().size())) {
    fault("devices_used", text(plan.devices_used) + " stated, the placements use " +
                              text(std::int64_t(used_devices().size())));
  }
}

void Judge::gpu_ranks() {
  std::vector<int> ranks(cluster.devices.size(), 0);
  for (const Placement& place : plan.placements) {
    if (device_exists(place)) ++ranks[std::size_t(place.device)];
  }
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (cluster.devices[i].kind == DeviceKind::gpu && ranks[i] > 1) {
      fault("placements",
            "device " + text(std::int64_t(i)) + " is given to " + text(ranks[i]) + " ranks",
            "a GPU takes one rank");
    }
  }
}

void Judge::shares() {
  const std::int64_t wanted = global_batch_of(graph, job);
  if (plan.global_batch != wanted) {
    fault("global_batch", text(plan.global_batch) + ", the job wants " + text(wanted));
  }
  const int replicas = Mesh{.data = plan.mesh.data, .shard = plan.mesh.shard}.ranks();
  if (plan.shares.size() != std::size_t(std::max(0, replicas))) {
    fault("shares", text(replicas) + " replicas, shares are given for " +
                        text(std::int64_t(plan.shares.size())));
    return;
  }
  if (plan.global_batch < replicas) {
    fault("global_batch",
          "batch smaller than ranks: " + text(plan.global_batch) + " samples for " +
              text(replicas) + " replicas",
          "use at most " + text(plan.global_batch) + " ranks or a larger batch");
  } else {
    for (std::size_t i = 0; i < plan.shares.size(); ++i) {
      if (plan.shares[i] < 1) fault(index("shares", i), text(plan.shares[i]) + " samples");
    }
  }
  std::int64_t sum = 0;
  bool countable = true;
  for (const std::int64_t share : plan.shares) {
    countable = countable && !__builtin_add_overflow(sum, share, &sum);
  }
  if (!countable) {
    fault("shares", "they sum to more than can be counted");
  } else if (sum != plan.global_batch) {
    fault("shares",
          "they sum to " + text(sum) + ", the global batch is " + text(plan.global_batch));
  }
}

void Judge::micro_batches() {
  if (plan.micro_batch < 1) {
    fault("micro_batch", text(plan.micro_batch) + " samples");
    return;
  }
  const std::int64_t largest = plan.shares.empty() ? 0 : std::ranges::max(plan.shares);
  const std::int64_t needed =
      largest / plan.micro_batch + std::int64_t(largest % plan.micro_batch != 0);
  if (!plan.shares.empty() && plan.micro_batches != needed) {
    fault("micro_batches", text(plan.micro_batches) + " stated, a share of " + text(largest) +
                               " samples makes " + text(needed) + " micro-batches of " +
                               text(plan.micro_batch));
  }
  if (plan.micro_batches <= 1) return;
  const Capabilities* engine = find_capabilities(job.target);
  if (engine && !engine->micro_batches) {
    fault("micro_batches", "the engine " + job.target + " runs the batch in one piece");
  }
  if (const std::string op = batch_mixing_op(graph, job.training); !op.empty()) {
    fault("micro_batches",
          "operator " + op + " mixes the samples of a batch: micro-batches give other results",
          "use one micro-batch");
  }
}

void Judge::stages() {
  if (plan.stages.size() != std::size_t(std::max(0, plan.mesh.pipeline))) {
    fault("stages", text(plan.mesh.pipeline) + " pipeline stages, " +
                        text(std::int64_t(plan.stages.size())) + " are given");
  }
  const int ranks = std::max(0, plan.mesh.ranks());
  std::map<int, int> seen;  // ranks without a placement have their fault
  for (std::size_t rank = 0; rank < std::min(plan.placements.size(), std::size_t(ranks)); ++rank) {
    seen[int(rank)] = 0;
  }
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    for (const std::string& block : plan.stages[i].blocks) {
      if (!is_module(block)) {
        fault(index("stages", i) + ".blocks", "the model has no module \"" + block + "\"");
      }
    }
    for (const int rank : plan.stages[i].ranks) {
      if (rank < 0 || rank >= ranks) {
        fault(index("stages", i) + ".ranks", "there is no rank " + text(rank));
      } else {
        ++seen[rank];
      }
    }
  }
  for (const auto& [rank, count] : seen) {
    if (count != 1 && !plan.stages.empty()) {
      fault("stages", "rank " + text(rank) + " is in " + text(count) + " stages");
    }
  }
  if (plan.mesh.pipeline == 1 && plan.schedule != "none") {
    fault("schedule", "\"" + plan.schedule + "\" without pipeline stages", "none");
  }
}

void Judge::recompute() {
  const Capabilities* engine = find_capabilities(job.target);
  std::set<std::string> blocks;
  for (std::size_t i = 0; i < plan.recompute.size(); ++i) {
    const Recompute& entry = plan.recompute[i];
    const std::string where = index("recompute", i);
    if (!is_module(entry.block)) {
      fault(where + ".block", "the model has no module \"" + entry.block + "\"");
      continue;
    }
    if (!blocks.insert(entry.block).second)
      fault(where + ".block", "\"" + entry.block + "\" is named twice");
    if (entry.parts.empty())
      fault(where + ".parts", "nothing is named", "the block's own name means all of it");
    for (const std::string& part : entry.parts) {
      const bool below = part == entry.block || part.starts_with(entry.block + ".");
      const bool op = std::ranges::any_of(graph.ops, [&](const Op& o) {
        return o.name == part &&
               (o.module == entry.block || o.module.starts_with(entry.block + "."));
      });
      if (!op && (!below || !is_module(part))) {
        fault(where + ".parts",
              "\"" + part + "\" is no module or operator of \"" + entry.block + "\"");
      } else if (engine && !engine->parts_of_blocks && part != entry.block) {
        fault(where + ".parts",
              "the engine " + job.target + " recomputes whole blocks, not \"" + part + "\"");
      }
    }
  }
}

void Judge::precision() {
  if (plan.precision == Precision::automatic) {
    fault("precision", "a plan states the arithmetic it uses", "fp32 or bf16");
    return;
  }
  for (const int i : used_devices()) {
    const Device& device = cluster.devices[std::size_t(i)];
    if (!can_run(plan.precision, device.kind)) {
      fault("precision", std::string(name_of(plan.precision)) + " does not run on " + device.name);
    }
  }
  if (job.precision != Precision::automatic && job.precision != plan.precision) {
    fault("precision", std::string(name_of(plan.precision)) + ", the job wants " +
                           std::string(name_of(job.precision)));
  }
}

void Judge::engine() {
  const bool gpu = std::ranges::any_of(plan.placements,
                                       [](const Placement& place) { return place.cores.empty(); });
  if (plan.execution.keep_memory && gpu) {
    fault("execution.keep_memory", "only the CPU's allocator gives memory back by itself");
  }
  if (plan.execution.attention == AttentionKernel::unfused && gpu) {
    fault("execution.attention", "unfused attention is an engine of CPUs only");
  }
  if (!plan.execution.fused_optimizer) return;
  for (const int i : used_devices()) {
    if (!has_fused_form(job.optimizer, cluster.devices[std::size_t(i)].kind)) {
      fault("execution.fused_optimizer",
            "the optimizer " + std::string(name_of(job.optimizer)) + " has no fused form");
      return;
    }
  }
}

void Judge::pins() {
  const Pins& pins = job.pins;
  const auto pin = [&](const char* field, const auto& pinned, const auto& value,
                       const auto& show_value) {
    if (pinned && *pinned != value) {
      fault(field, show_value(value) + ", the job pins " + show_value(*pinned));
    }
  };
  const auto number = [](auto n) { return std::to_string(n); };
  const auto on_off = [](bool on) { return std::string(on ? "on" : "off"); };
  const auto word = [](auto value) { return std::string(name_of(value)); };
  pin("mesh.data", pins.data, plan.mesh.data, number);
  pin("mesh.tensor", pins.tensor, plan.mesh.tensor, number);
  pin("mesh.pipeline", pins.pipeline, plan.mesh.pipeline, number);
  pin("mesh.context", pins.context, plan.mesh.context, number);
  pin("mesh.expert", pins.expert, plan.mesh.expert, number);
  pin("micro_batch", pins.micro_batch, plan.micro_batch, number);
  pin("execution.compile", pins.compile, plan.execution.compile, on_off);
  pin("execution.memory_format", pins.memory_format, plan.execution.memory_format, word);
  pin("execution.attention", pins.attention, plan.execution.attention, word);
  pin("execution.fused_optimizer", pins.fused_optimizer, plan.execution.fused_optimizer, on_off);
  for (std::size_t rank = 0; rank < plan.placements.size(); ++rank) {
    const Placement& place = plan.placements[rank];
    if (!device_exists(place)) continue;
    const Device& device = cluster.devices[std::size_t(place.device)];
    if (pins.device && *pins.device != device.kind) {
      fault(index("placements", rank) + ".device",
            device.name + " is a " + word(device.kind) + ", the job pins " + word(*pins.device));
    }
    if (device.kind == DeviceKind::cpu) {
      pin(index("placements", rank).append(".threads").c_str(), pins.threads, place.threads,
          number);
    }
  }
  if (pins.recompute && *pins.recompute == "none" && !plan.recompute.empty()) {
    fault("recompute", text(std::int64_t(plan.recompute.size())) + " blocks, the job pins none");
  }
  if (pins.recompute && *pins.recompute == "full" && plan.recompute.empty()) {
    fault("recompute", "no block, the job pins full");
  }
}

void Judge::memory() {
  const double peak = plan.estimate.peak_memory_bytes.value;
  const auto over = [&](double limit, const std::string& whose) {
    if (peak <= limit) return;
    fault("estimate.peak_memory_bytes",
          show(whole(peak)) + " are needed, " + whose + " " + show(whole(limit)),
          "smaller micro-batches or recompute need less");
  };
  if (job.memory_limit_bytes) over(double(job.memory_limit_bytes->value), "the limit is");
  for (const int i : used_devices()) {
    const Device& device = cluster.devices[std::size_t(i)];
    // Ranks that share a device share its memory: the estimate is per device.
    over(device.memory_bytes.value, device.name + " has");
  }
}

}  // namespace

std::vector<Fault> validate(const Graph& graph, const Cluster& cluster, const Job& job,
                            const Plan& plan) {
  Judge judge{graph, cluster, job, plan, {}};
  judge.identity();
  judge.mesh();
  judge.placements();
  judge.gpu_ranks();
  judge.shares();
  judge.micro_batches();
  judge.stages();
  judge.recompute();
  judge.precision();
  judge.engine();
  judge.pins();
  judge.memory();
  return std::move(judge.faults);
}

}  // namespace parallel_opt
