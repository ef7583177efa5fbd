#include "parallel_opt/cost/layouts.h"

#include <algorithm>
#include <set>

#include "parallel_opt/cost/policy_graph.h"
#include "parallel_opt/cost/rates.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {
namespace {

/// May run the model at all.
bool may_run(const Device& device, const Pins& pins) {
  return !pins.device || *pins.device == device.kind;
}

/// Alike for a plan: everything but identity and position.
bool alike(Device a, Device b) {
  for (Device* device : {&a, &b}) {
    device->uuid.clear();
    device->numa = 0;
    std::ranges::fill(device->cores, 0);
  }
  return a == b;
}

std::vector<std::int64_t> micro_batch_choices(std::int64_t share, bool one_piece,
                                              std::optional<std::int64_t> pinned) {
  if (pinned) {
    // A pinned size above the share means one piece.
    if (*pinned > share || (one_piece && *pinned < share)) return {};
    return {*pinned};
  }
  if (one_piece) return {share};
  std::set<std::int64_t, std::greater<>> sizes;
  // Pieces of ceil(share / k) samples dominate other sizes that make k pieces: they need less
  // memory and the same number of launches.
  for (std::int64_t k = 1; k <= share; k = k < 8 ? k + 1 : 2 * k) sizes.insert((share + k - 1) / k);
  sizes.insert(1);
  return {sizes.begin(), sizes.end()};
}

/// A pinned number of ranks that no layout has because there are more of them than cores, or
/// because they do not divide them: as many as asked for, one thread each where cores are short.
std::vector<Layout> crowded(const Cluster& cluster, const std::vector<Pool>& pools,
                            const Pins& pins) {
  std::vector<Layout> layouts;
  const int ranks = pins.data.value_or(0);
  for (std::size_t p = 0; p < pools.size(); ++p) {
    const Device& device = cluster.devices[std::size_t(pools[p].devices.front())];
    if (!may_run(device, pins) || device.kind == DeviceKind::gpu) continue;
    int devices = std::min(int(pools[p].devices.size()), ranks);
    while (devices > 1 && ranks % devices != 0) --devices;
    if (devices < 1) continue;
    const int most = std::max(1, int(device.cores.size()) / (ranks / devices));
    const int threads = pins.threads.value_or(most);
    if (threads <= most) layouts.push_back({int(p), devices, ranks / devices, threads});
  }
  return layouts;
}

std::vector<Layout> layouts_of(const Cluster& cluster, const std::vector<Pool>& pools,
                               const Pins& pins) {
  std::vector<Layout> layouts;
  const auto add = [&](const Layout& layout) {
    if (pins.data && *pins.data != layout.ranks()) return;
    layouts.push_back(layout);
  };
  for (std::size_t p = 0; p < pools.size(); ++p) {
    const Device& device = cluster.devices[std::size_t(pools[p].devices.front())];
    if (!may_run(device, pins)) continue;
    for (int d = 1; d <= int(pools[p].devices.size()); ++d) {
      if (device.kind == DeviceKind::gpu) {
        add({int(p), d, 1, 1});
        continue;
      }
      const int cores = int(device.cores.size());
      for (int ranks = 1; ranks <= cores; ++ranks) {
        if (cores % ranks != 0) continue;
        const int most = cores / ranks;
        if (pins.threads) {
          if (*pins.threads <= most) add({int(p), d, ranks, *pins.threads});
          continue;
        }
        for (int threads = most; threads >= 1; threads /= 2) add({int(p), d, ranks, threads});
      }
    }
  }
  if (layouts.empty()) layouts = crowded(cluster, pools, pins);
  return layouts;
}

std::vector<Precision> precisions_of(const Cluster& cluster, const Job& job) {
  if (job.precision != Precision::automatic) return {job.precision};
  std::vector<Precision> list{Precision::fp32};
  for (const Device& device : cluster.devices) {
    // fp16 is never chosen unasked: it needs loss scaling in the loop.
    if (may_run(device, job.pins) && low_precision_pays(device, DType::bf16)) {
      list.push_back(Precision::bf16);
      break;
    }
  }
  return list;
}

bool only_cpus(const Cluster& cluster, const Pins& pins) {
  return std::ranges::all_of(cluster.devices, [&](const Device& d) {
    return d.kind == DeviceKind::cpu || !may_run(d, pins);
  });
}

bool has_unfusable_attention(const Graph& graph) {
  return std::ranges::any_of(graph.ops,
                             [&](const Op& op) { return cost_detail::can_unfuse(graph, op); });
}

bool has_images(const Graph& graph) {
  return std::ranges::any_of(graph.ops, [&](const Op& op) {
    return op_class(graph, op) == OpClass::convolution && !op.outputs.empty() &&
           graph.tensor(op.outputs.front()).shape.size() == 4;
  });
}

void choose_layouts(const Cluster& cluster, const Job& job, std::int64_t batch, bool one_piece,
                    LocalSpace& space) {
  const auto none = [&](std::string where, std::string what, std::string hint) {
    space.empty.push_back({std::move(where), std::move(what), std::move(hint)});
  };
  if (std::ranges::none_of(cluster.devices,
                           [&](const Device& d) { return may_run(d, job.pins); })) {
    none("job.pins.device",
         "the cluster has no " + std::string(name_of(job.pins.device.value_or(DeviceKind::cpu))) +
             " device",
         "move the model, or describe the devices");
    return;
  }
  const std::vector<Layout> all = layouts_of(cluster, space.pools, job.pins);
  if (all.empty()) {
    none("job.pins", "no device of the cluster offers the pinned ranks and threads",
         "a GPU takes one rank; threads of all ranks on a CPU are at most its cores");
    return;
  }
  bool enough = false;
  for (const Layout& layout : all) {
    const Device& device =
        cluster.devices[std::size_t(space.pools[std::size_t(layout.pool)].devices.front())];
    if (layout.ranks() > batch) continue;
    enough = true;
    if (job.precision != Precision::automatic && !can_run(job.precision, device.kind)) continue;
    const std::int64_t share = (batch + layout.ranks() - 1) / layout.ranks();
    std::vector<std::int64_t> sizes = micro_batch_choices(share, one_piece, job.pins.micro_batch);
    if (sizes.empty()) continue;
    space.layouts.push_back(layout);
    space.micro_batches.push_back(std::move(sizes));
  }
  if (!enough) {
    none("job.global_batch",
         "batch smaller than ranks: " + std::to_string(batch) + " samples for " +
             std::to_string(all.front().ranks()) + " replicas",
         "use at most " + std::to_string(batch) + " ranks or a larger batch");
  } else if (space.layouts.empty() && job.precision != Precision::automatic &&
             !can_run(job.precision, DeviceKind::cpu)) {
    none("job.precision", std::string(name_of(job.precision)) + " runs on no device of the cluster",
         "use fp32 or bf16");
  } else if (space.layouts.empty()) {
    none("job.pins.micro_batch",
         one_piece ? "the model mixes the samples of a batch: micro-batches give other results"
                   : "it is larger than every rank's share of the batch",
         "leave it out");
  }
}

}  // namespace

std::vector<Pool> pools_of(const Cluster& cluster) {
  std::vector<Pool> pools;
  for (std::size_t i = 0; i < cluster.devices.size(); ++i) {
    const auto pool = std::ranges::find_if(pools, [&](const Pool& p) {
      return alike(cluster.devices[std::size_t(p.devices.front())], cluster.devices[i]);
    });
    if (pool == pools.end()) {
      pools.push_back({{int(i)}});
    } else {
      pool->devices.push_back(int(i));
    }
  }
  return pools;
}

std::vector<std::int64_t> even_shares(std::int64_t batch, int replicas) {
  std::vector<std::int64_t> shares(std::size_t(replicas), batch / replicas);
  for (std::int64_t i = 0; i < batch % replicas; ++i) ++shares[std::size_t(i)];
  return shares;
}

LocalSpace local_space(const Graph& graph, const Cluster& cluster, const Job& job,
                       const ModelFacts& facts) {
  LocalSpace space;
  space.pools = pools_of(cluster);
  const Pins& pins = job.pins;
  const auto pinned_axis = [&](const char* name, const std::optional<int>& degree) {
    if (degree.value_or(1) == 1) return;
    space.empty.push_back(
        {std::string("job.pins.") + name,
         "the engine " + job.target + " runs at most 1, " + std::to_string(*degree) + " is pinned",
         "leave it out"});
  };
  pinned_axis("tensor", pins.tensor);
  pinned_axis("pipeline", pins.pipeline);
  pinned_axis("context", pins.context);
  pinned_axis("expert", pins.expert);
  choose_layouts(cluster, job, global_batch_of(graph, job), facts.mixes_batch, space);
  space.precisions = precisions_of(cluster, job);
  space.compile = pins.compile ? std::vector<bool>{*pins.compile} : std::vector<bool>{false, true};
  space.memory_formats = {MemoryFormat::contiguous};
  if (pins.memory_format) {
    space.memory_formats = {*pins.memory_format};
  } else if (has_images(graph)) {
    space.memory_formats.push_back(MemoryFormat::channels_last);
  }
  space.attention = {AttentionKernel::fused};
  if (pins.attention) {
    space.attention = {*pins.attention};
  } else if (job.training && only_cpus(cluster, job.pins) && has_unfusable_attention(graph)) {
    space.attention.push_back(AttentionKernel::unfused);
  }
  space.fused_optimizer = {false};
  if (pins.fused_optimizer) {
    space.fused_optimizer = {*pins.fused_optimizer};
  } else if (job.training && has_fused_form(job.optimizer, DeviceKind::cpu)) {
    space.fused_optimizer.push_back(true);
  }
  if (job.pins.fused_optimizer.value_or(false) && !has_fused_form(job.optimizer, DeviceKind::cpu)) {
    space.empty.push_back(
        {"job.pins.fused_optimizer",
         "the optimizer " + std::string(name_of(job.optimizer)) + " has no fused form",
         "leave it out"});
  }
  for (std::size_t c = 0; c < facts.classes.size() && job.training; ++c) {
    const int blocks = int(facts.classes[c].blocks.size());
    if (pins.recompute.value_or("") != "none") space.most_recompute[c] = blocks;
    if (pins.recompute.value_or("") == "full") space.least_recompute[c] = blocks;
  }
  if (pins.recompute.value_or("") == "full" && (facts.classes.empty() || !job.training)) {
    space.empty.push_back(
        {"job.pins.recompute", "the model has no repeated blocks to recompute", "leave it out"});
  }
  return space;
}

}  // namespace parallel_opt
