#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "parallel_opt/cost/profile.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

/// Devices of one node that are alike: which of them a plan takes makes no difference.
struct Pool {
  std::vector<int> devices;  ///< indices into the cluster, rising
  bool operator==(const Pool&) const = default;
};

/// How many ranks stand where: `devices` of a pool, each with equal ranks of `threads` threads.
struct Layout {
  int pool = 0;
  int devices = 1;
  int ranks_per_device = 1;
  int threads = 1;  ///< per rank; 1 on a GPU
  int ranks() const { return devices * ranks_per_device; }
  bool operator==(const Layout&) const = default;
};

/// One point of the local space.
struct LocalChoice {
  int layout = 0;     ///< index into LocalSpace::layouts
  int micro = 0;      ///< index into LocalSpace::micro_batches[layout]
  int precision = 0;  ///< index into LocalSpace::precisions
  bool compile = false;
  MemoryFormat memory_format = MemoryFormat::contiguous;
  AttentionKernel attention = AttentionKernel::fused;
  bool fused_optimizer = false;
  /// Blocks of each class that are recomputed, the first ones in execution order: equal blocks are
  /// interchangeable, and the first hold their activations longest.
  std::array<int, kMaxBlockClasses> recompute{};
  bool operator==(const LocalChoice&) const = default;
};

/// Every choice that a job allows on a cluster: the product of these lists, and for each class of
/// blocks every count that lies between the bounds.
struct LocalSpace {
  std::vector<Pool> pools;
  std::vector<Layout> layouts;
  std::vector<std::vector<std::int64_t>> micro_batches;  ///< per layout, falling: largest first
  std::vector<Precision> precisions;                     ///< fp32 first
  std::vector<bool> compile;
  std::vector<MemoryFormat> memory_formats;
  std::vector<AttentionKernel> attention;  ///< fused first
  std::vector<bool> fused_optimizer;
  std::array<int, kMaxBlockClasses> least_recompute{};
  std::array<int, kMaxBlockClasses> most_recompute{};
  std::vector<Fault> empty;  ///< why there is no choice at all; empty: there is one
};

/// The space of the `pytorch` engine: replicas on one node. Ranks per CPU device divide its cores,
/// unless another number is pinned: above the cores, ranks share them, one thread each. Threads of
/// a rank halve from its cores down to 1; micro-batches are ceil(share / k) for k = 1..8 and then
/// doubling. Pins and the global batch are kept.
LocalSpace local_space(const Graph& graph, const Cluster& cluster, const Job& job,
                       const ModelFacts& facts);

/// Pools of a cluster, in the order of their first device.
std::vector<Pool> pools_of(const Cluster& cluster);

/// Samples per replica: as even as whole samples allow, larger shares first; they sum to `batch`.
std::vector<std::int64_t> even_shares(std::int64_t batch, int replicas);

}  // namespace parallel_opt
