#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/layout_parameters.h"
#include "parallel_opt/cost/offload.h"
#include "parallel_opt/cost/software_stack.h"
#include "parallel_opt/cost/transformer_facts.h"
#include "parallel_opt/hardware/node_links.h"
#include "parallel_opt/plan/communication.h"
#include "parallel_opt/plan/estimate.h"
#include "parallel_opt/plan/schedule_kind.h"

namespace parallel_opt {

/// What of a device and its surroundings a layout's cost depends on. SI units.
struct Accelerator {
  std::string arch;                ///< "Hopper": which matmul efficiency applies
  std::string board;               ///< "H100-SXM": as the database names it, without its memory
  double flops_per_s = 0;          ///< dense peak of the matrix products' element type
  double half_flops_per_s = 0;     ///< dense peak in 16 bits: attention's inner part
  bool narrow = false;             ///< products in 8 or 4 bits, with casts
  bool scalar = false;             ///< products in fp32, beside the matrix units
  double bytes_per_s = 0;          ///< of its memory
  double units = 100;              ///< multiprocessors
  double exponentials_per_s = 0;   ///< of its special function units; 0: not known
  NodeLinks links;                 ///< to its neighbours in the node
  double network_bytes_per_s = 0;  ///< its share of the node's adapters, each direction
  double adapters = 0;             ///< of its node, among all its devices; 0: at least one for each
  Quality network_quality = Quality::database;
  double per_node = 8;
  HostFacts host;
  double memory_bytes = 0;
  double idle_w = 0;
  double max_w = 0;
  Quality quality = Quality::database;
  bool operator==(const Accelerator&) const = default;
};

/// Share of a device's memory that training may use: less the driver's context and what an
/// allocator cannot hand out.
inline constexpr double kUsableMemory = 0.98;

/// A layout of the full space, as one names it on the command line or finds it in a table.
struct ParallelLayout {
  int tensor = 1;
  int pipeline = 1;
  int virtual_stages = 1;
  int context = 1;
  int expert = 1;         ///< ways that experts are spread over the ranks of a stage
  int expert_tensor = 1;  ///< tensor ranks that split each of those; 1: experts are whole
  int data = 1;           ///< replicas, sharded ones included
  int shard = 0;          ///< ZeRO stage
  int shard_degree = 0;   ///< ranks that share optimizer states; 0: all of data x context
  double micro_batch = 1;
  double micro_batches = 1;
  RecomputeRule recompute = RecomputeRule::none;
  bool sequence_parallel = false;
  ScheduleKind schedule = ScheduleKind::one_f_one_b;  ///< interleaved by `virtual_stages`
  double element_bytes = 2;                           ///< of weights and activations
  bool pure_half = false;          ///< weights, gradients and states in 16 bits, no second copy
  double optimizer_states = 2;     ///< per parameter, fp32
  bool steps_in_backward = false;  ///< a gradient is used and freed once it is there
  /// Rows that an expert computes beside its even share of the tokens: more are dropped, fewer are
  /// filled up. 1: as many as come.
  double expert_capacity = 1;
  bool experts_by_turns = false;  ///< a gate that fakes balance: a token's experts are neighbours
  double sample_s = 0;            ///< what a worker takes to load one sample; 0: it is there
  double loader_workers = 0;      ///< of each replica; 0: the loop loads its samples itself
  Offload offload = {};
  double devices() const { return double(tensor) * pipeline * context * data; }
  bool operator==(const ParallelLayout&) const = default;
};

/// 1F1B of several stages per rank is the interleaved one, however it is named.
ScheduleKind kind_of(const ParallelLayout& layout) noexcept;

/// One step of a layout: seconds on the critical path, bytes on the fullest device.
struct LayoutCost {
  double products_s = 0;   ///< matrix products of blocks, all micro-batches of the slowest stage
  double attention_s = 0;  ///< attention's inner part
  double operators_s = 0;  ///< everything else in blocks
  double host_s = 0;       ///< waiting for kernels to be launched
  double recompute_s = 0;
  double head_s = 0;    ///< outside of blocks
  double tensor_s = 0;  ///< collectives inside blocks
  double context_s = 0;
  double expert_s = 0;
  double pipeline_s = 0;  ///< transfers between stages
  double bubble_s = 0;
  double data_s = 0;       ///< gradients and gathered weights that nothing hides
  double optimizer_s = 0;  ///< on the device and on the host's cores
  double offload_s = 0;    ///< copies to the host and back that nothing hides
  double other_s = 0;      ///< once per step, and waiting for the slowest machine
  double loading_s = 0;    ///< waiting for samples

  double weights_bytes = 0;
  double gradients_bytes = 0;
  double optimizer_bytes = 0;
  double activations_bytes = 0;
  double logits_bytes = 0;
  double other_bytes = 0;   ///< gathered weights, buffers, the allocator's rounding
  double unused_bytes = 0;  ///< of those, what the allocator holds beyond tensors

  double host_bytes = 0;  ///< of one device in its host's memory, the most of any stage

  double first_stage_bytes = 0;   ///< of the first stage, where memory_bytes() is of the fullest
  double first_stage_unused = 0;  ///< of those, what the allocator holds beyond tensors

  double busy_s = 0;     ///< compute of the mean rank
  double forward_s = 0;  ///< of one micro-batch on the slowest stage, collectives inside
  double backward_s = 0;
  double weights_s = 0;  ///< of the backward, gradients of weights
  double time_s() const;
  double memory_bytes() const;
  void take_memory(const LayoutCost& other) noexcept;
};

/// What one stage of a layout's pipeline costs per micro-batch, and holds.
struct LayoutStage {
  double layers = 0;
  double forward_s = 0;   ///< compute, and what the host makes it wait
  double backward_s = 0;  ///< likewise
  double weights_s = 0;   ///< of that, gradients of weights
  double recompute_s = 0;
  double forward_exposed_s = 0;  ///< tensor, expert and context collectives that compute waits for
  double backward_exposed_s = 0;
  /// Of each pass what moves data, by kind: those seconds, and what of it is in the compute above
  /// (computed again, or hidden behind other micro-batches).
  ByCommunication forward_moves, backward_moves;
  /// What else a pass moves: beside its compute, at no cost.
  ByCommunication forward_beside, backward_beside;
  double idle_s = 0;         ///< of its compute: hidden collectives, and waits for the host
  double kept_bytes = 0;     ///< of one micro-batch, until its backward
  double working_bytes = 0;  ///< while it is computed: logits, a block that is computed again
  double static_bytes = 0;   ///< weights, gradients, optimizer states, buffers
  double gather_s = 0;       ///< parameters of all its blocks, nothing else on the wires
  double update_s = 0;       ///< of that, after an update, what no forward hides
  double reduce_s = 0;       ///< their gradients
  double summed_s = 0;       ///< of that, all-reduces; the rest scatters
  double optimizer_s = 0;    ///< on the device
  HostCopies copies;
};

/// The stages of a layout in the order of the model: pipeline x virtual stages.
struct LayoutStages {
  std::vector<LayoutStage> stages;
  double boundary_bytes = 0;    ///< between stages, per micro-batch and rank
  double link_bytes_per_s = 0;  ///< between ranks of the pipeline
  double link_latency_s = 0;
  double copy_bytes_per_s = 0;   ///< to the host and back, each way
  double step_s = 0;             ///< once per step: host work, waiting for the slowest machine
  double loading_s = 0;          ///< waiting for samples, once per step
  double gather_hides = 0;       ///< share of a gather that may run beside compute
  double reduce_hides = 0;       ///< of a reduction
  double send_hides = 0;         ///< of a transfer between stages
  double element_bytes = 2;      ///< of what passes exchange
  double reduced_bytes = 4;      ///< of gradients between replicas, an element
  bool shards_by_block = false;  ///< what is sharded is gathered and reduced with its block
  bool reduces_each = false;     ///< gradients are reduced with each micro-batch, not the last
};

LayoutStages layout_stages(const TransformerFacts& facts, const Accelerator& device,
                           const SoftwareStack& stack, const ParallelLayout& layout,
                           const LayoutParameters& p);

/// Closed form; total on any layout with degrees of at least 1. No allocation, but for schedules
/// whose waits their own table tells: tens of microseconds, milliseconds beyond 64 ranks.
LayoutCost layout_cost(const TransformerFacts& facts, const Accelerator& device,
                       const SoftwareStack& stack, const ParallelLayout& layout,
                       const LayoutParameters& p) noexcept;

/// What no layout of a model on a device changes.
struct LayoutInvariants {
  double sustained = 1;    ///< share of the peak under the power limit
  double rate = 0;         ///< FLOP/s of products that are large enough
  double half_rate = 0;    ///< likewise in 16 bits
  double inner_half = 0;   ///< inner size of a product that costs as much again
  double layers = 0;       ///< all blocks
  double head_layers = 0;  ///< blocks that take as many FLOPs as what stands outside of them
};
LayoutInvariants layout_invariants(const TransformerFacts& facts, const Accelerator& device,
                                   const LayoutParameters& p) noexcept;

/// layout_cost() of many layouts: a million a second and core. What it is made of must outlive it.
class LayoutEvaluator {
 public:
  LayoutEvaluator(const TransformerFacts& facts, const Accelerator& device,
                  const SoftwareStack& stack, const LayoutParameters& p) noexcept;
  LayoutCost operator()(const ParallelLayout& layout) const noexcept;

 private:
  const TransformerFacts& facts_;
  const Accelerator& device_;
  const SoftwareStack& stack_;
  const LayoutParameters& p_;
  LayoutInvariants same_;
};

/// Of a node with all its devices that the layout uses: what its memory is to hold.
double host_memory_bytes(const LayoutCost& cost, const Accelerator& device,
                         const ParallelLayout& layout) noexcept;
/// Whether it does; true where its size is not known.
bool host_holds(const LayoutCost& cost, const Accelerator& device,
                const ParallelLayout& layout) noexcept;

/// Of the power between idle and the limit, while a device computes and while it waits inside a
/// step: it spins in collectives, its clocks up (docs/cost-model.md#energy).
inline constexpr double kBusyPower = 0.85, kWaitingPower = 0.4;
/// What these add to the width of the time, as a natural logarithm.
inline constexpr double kPowerWidth = 0.15;

/// Itemised, with intervals. `samples`: the global batch. `usd_per_hour` of one device; 0: unknown.
Estimate layout_estimate(const LayoutCost& cost, const TransformerFacts& facts,
                         const Accelerator& device, const ParallelLayout& layout,
                         const LayoutParameters& p, double usd_per_hour = 0);

}  // namespace parallel_opt
