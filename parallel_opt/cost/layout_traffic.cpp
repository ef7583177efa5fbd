#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/collective.h"
#include "parallel_opt/cost/layout_model.h"

namespace parallel_opt {
namespace {

/// Of a hop between nodes. NCCL's own estimates for its Simple protocol: 3.4 us by NVLink, 14 us by
/// network [nccl-tuning].
constexpr double kInsideHop = 0.25;

/// Of a transfer, what compute waits for: `share` of it at most runs beside, for `beside` seconds.
double exposed(double moved, double share, double beside) noexcept {
  return std::max(moved * (1 - share), moved - beside);
}

}  // namespace

/// Ranks that lie `stride` devices apart. A ring enters and leaves each node once, so all adapters
/// of its members there share what crosses.
RankGroup LayoutModel::group(double ranks, double stride) const noexcept {
  RankGroup found;
  found.ranks = std::max(1.0, ranks);
  found.inside = std::clamp(std::floor(device_.per_node / stride), 1.0, found.ranks);
  // Alone in its node, a member has all its links to send through the host.
  const double links = link_rate(found.inside > 1 ? found.inside : device_.per_node);
  found.bytes_per_s = found.crosses() ? std::min(links, network_rate() * found.inside) : links;
  return found;
}

/// A ring that gathers or scatters passes every rank, and the network once per node.
double LayoutModel::ring_latency_s(const RankGroup& ranks) const noexcept {
  if (!ranks.crosses()) return p_.link_latency_s;
  const double nodes = ranks.ranks / ranks.inside;
  return p_.hop_s * (nodes + kInsideHop * (ranks.ranks - nodes) - 1);
}

/// Inside the tensor group. Sequence parallelism scatters and gathers, as often as a ring sums.
double LayoutModel::all_reduce(double bytes) const noexcept {
  if (tensor_ <= 1) return 0;
  const RankGroup ranks = group(tensor_, 1);
  const bool reduces = device_.links.reduces && !l_.sequence_parallel && !ranks.crosses();
  // Across nodes a ring: sequence parallelism gathers and scatters.
  const double latency = ranks.crosses() ? p_.tensor_hop_s * (tensor_ - 1)
                                         : p_.link_latency_s * (reduces ? 1 : std::log2(tensor_));
  return all_reduce_passes(tensor_, reduces) * bytes / ranks.bytes_per_s + 2 * latency;
}

/// Those for experts of other nodes cross the network: each, or one per node where software
/// forwards them inside.
LayoutModel::Dispatched LayoutModel::dispatched(const BlockFacts& block, const RankGroup& ranks,
                                                double copies) const noexcept {
  const double nodes = ranks.ranks / ranks.inside;
  const bool once = stack_.dispatches_once_per_node;
  if (l_.experts_by_turns && once) {
    // Experts n to n + k: on as few ranks and nodes as hold so many.
    const double experts = std::max(1.0, block.experts());
    const double visited = std::min(nodes, std::ceil(copies * nodes / experts));
    const double of_each = std::ceil(copies / visited * ranks.ranks / experts);
    return {visited * (nodes - 1) / nodes,
            visited * std::min(ranks.inside, of_each) * (ranks.inside - 1) / ranks.inside};
  }
  // Of nodes those with an expert of it; a router that picks groups first visits no others.
  const double each = block.expert_groups > 0 ? std::max(1.0, nodes / block.expert_groups) : 1;
  const double visited =
      block.expert_groups > 0 ? std::min(nodes, block.chosen_groups * each) : nodes;
  const double remote = (nodes - 1) / nodes;
  if (!once) return {remote * copies, copies / nodes * (ranks.inside - 1) / ranks.inside};
  return {remote * visited * (1 - std::pow(1 - 1 / visited, copies)),
          (ranks.inside - 1) * (1 - std::pow(1 - 1 / ranks.inside, copies / nodes))};
}

/// Tokens to their experts and back.
LayoutModel::ExpertTraffic LayoutModel::expert_traffic(const BlockFacts& block) const noexcept {
  ExpertTraffic out;
  if (block.dispatched_elements <= 0) return out;
  const double copies =
      l_.expert_capacity * block.dispatched_elements / std::max(1.0, block.boundary_elements);
  const double token_bytes = block.boundary_elements * rows_ * element_bytes() / wide_split_;
  // Copies are put in order where they leave and where they arrive: read and written twice.
  out.ordering = 4 * token_bytes * copies / memory_rate_;
  if (l_.expert <= 1) return out;
  // Experts lie on neighbours first, those of a tensor group among them: Megatron Core's and
  // torchtitan's order of expert ranks.
  const double split = std::max(1, l_.expert_tensor);
  const RankGroup ranks = group(l_.expert, split);
  const Dispatched sent = dispatched(block, ranks, copies);
  out.latency = ranks.crosses() ? p_.network_latency_s : p_.link_latency_s;
  out.wires = std::max(token_bytes * sent.leaving / network_rate(),
                       token_bytes * sent.inside / link_rate(ranks.inside));
  // Ranks that split an expert gather the tokens of all of them, and scatter the sums.
  out.gathered = (split - 1) * token_bytes * copies / link_rate(split);
  return out;
}

/// Keys and values go round a ring.
double LayoutModel::context_s(const BlockFacts& block) const noexcept {
  if (l_.context <= 1) return 0;
  const RankGroup ranks = group(l_.context, tensor_);
  const double rate = ranks.crosses() ? network_rate() : pair_rate();
  const double elements =
      block.kept_elements > 0 ? block.kept_elements : 2 * block.boundary_elements;
  const double bytes = elements * rows_ * element_bytes() / tensor_;
  return bytes * (ranks.ranks - 1) / rate;
}

/// Between neighbours in the pipeline. Of a node the ranks of one stage send to the next at a time,
/// which share its adapters, where there are fewer than devices, with no others.
double LayoutModel::send_rate() const noexcept {
  if (l_.devices() <= device_.per_node) return pair_rate();
  const double each = std::max(1.0, device_.per_node);
  const double adapters = device_.adapters > 0 ? std::min(device_.adapters, each) : each;
  const double senders = std::min(tensor_ * replicas_, each);
  return network_rate() * each / std::max(senders, adapters);
}

/// Between stages, of each transfer.
double LayoutModel::way_latency_s() const noexcept {
  const bool inside = l_.devices() <= device_.per_node;
  return inside ? p_.link_latency_s : p_.network_latency_s;
}

/// Of one micro-batch to the next stage, or of its gradient back, nothing beside it.
double LayoutModel::transfer_s() const noexcept {
  const double rate = send_rate();
  const double boundary =
      facts_.blocks.empty() ? 0 : facts_.blocks.front().boundary_elements * rows_ * element_bytes();
  return p_.send * (boundary / send_split() / rate + way_latency_s());
}

/// Of one micro-batch, what its stages wait for, there and back. Interleaved stages hide transfers
/// beside passes of other micro-batches, but no longer than those take: of p ranks a micro-batch's
/// next chunk comes p pairs of passes later, so beside the pass in the other direction; breadth
/// first all forwards follow each other, so that each of a chunk's passes has one transfer to hide.
double LayoutModel::send_s(double forward_s, double backward_s) const noexcept {
  if (pipeline_ <= 1) return 0;
  const double one = transfer_s();
  if (!sends_beside()) return 2 * chunks() * one;
  const double seen = (1 - p_.overlap) * one;
  const auto longer = [&](double pass_s) {
    return std::max(0.0, p_.overlap * one - pass_s - seen);
  };
  const double more = kind_ == ScheduleKind::looped_bfs ? longer(forward_s) + longer(backward_s)
                                                        : longer(std::min(forward_s, backward_s));
  return chunks() * (2 * seen + more);
}

/// Ranks that share the optimizer's states.
double LayoutModel::states_owners() const noexcept {
  if (l_.shard <= 0) return 1;
  return l_.shard_degree > 0 ? std::min<double>(replicas_, l_.shard_degree) : replicas_;
}

/// Weights of products; vectors go along.
double LayoutModel::tensors_of_stage() const noexcept {
  double tensors = 0;
  for (const BlockFacts& block : facts_.blocks) {
    tensors += block.repeats * double(block.products.size()) / pipeline_;
  }
  return tensors;
}

/// Between the replicas of one stage. Sharded weights are gathered by the ranks that share them,
/// gradients scattered to them; where those are fewer than all, the others still sum with them.
LayoutModel::Exchange LayoutModel::exchange(const StageParameters& own) const noexcept {
  Exchange once;
  if (replicas_ <= 1) return once;
  const RankGroup all = group(replicas_, tensor_);
  const double owners = states_owners();
  const RankGroup sharing = group(owners, tensor_);
  // Ranks with the same experts lie as far apart as experts are spread: less of what they exchange
  // stays in a node, and they share its adapters with fewer.
  const auto wires = [&](double n, const RankGroup& ranks) {
    const double c = sharing_experts(n);
    const double spread = l_.expert > 1 ? expert_ways() : tensor_;
    return (n - 1) / n * own.dense / ranks.bytes_per_s +
           (c - 1) / c * own.expert / group(c, spread).bytes_per_s;
  };
  // Sharded weights travel block by block, others in buckets.
  const double bucket = std::max(stack_.bucket_parameters, stack_.bucket_per_replica * replicas_);
  double calls = shards_by_block() ? first_layers_ : std::max(1.0, own.sum() / bucket);
  if (l_.shard >= 1 && stack_.owns_whole_tensors) {
    calls = std::max(calls, std::min(owners, tensors_of_stage()));
  }
  if (shards_weights() && stack_.prefetch_parameters > 0) {
    calls = std::max(calls, tensors_of_stage());
  }
  if (l_.shard >= 1) {
    const double element = stack_.gathers_narrow && device_.narrow ? 1 : element_bytes();
    once.gather_s = wires(owners, sharing) * element + calls * ring_latency_s(sharing);
  }
  if (l_.shard >= 2 && owners > 1 && owners < replicas_) {
    // Hybrid sharding: gradients are scattered among those that share, and each sums its part with
    // its like elsewhere.
    const RankGroup like = group(replicas_ / owners, tensor_ * owners);
    const double parts = shared(own, owners) * stack_.reduced_bytes;
    const double tree =
        2 * (like.crosses() ? p_.network_latency_s : p_.link_latency_s) * std::log2(like.ranks);
    once.summed_s = 2 * (like.ranks - 1) / like.ranks * parts / like.bytes_per_s + calls * tree;
    once.reduce_s = wires(owners, sharing) * stack_.reduced_bytes +
                    2 * (like.ranks - 1) / like.ranks * parts / like.bytes_per_s +
                    calls * (ring_latency_s(sharing) + tree);
    return once;
  }
  const bool scatters = l_.shard >= 1 && owners >= replicas_;
  const double tree =
      2 * (all.crosses() ? p_.network_latency_s : p_.link_latency_s) * std::log2(all.ranks);
  const double all_reduce = all_reduce_passes(replicas_, device_.links.reduces && !all.crosses()) *
                            replicas_ / std::max(1.0, replicas_ - 1);
  once.reduce_s = wires(replicas_, all) * stack_.reduced_bytes * (scatters ? 1 : all_reduce) +
                  calls * (scatters ? ring_latency_s(all) : tree);
  once.summed_s = scatters ? 0 : once.reduce_s;
  return once;
}

/// Bytes moved per parameter beside those of mixed-precision Adam, which `optimizer_bytes` is of:
/// reads gradient, master weight and two states in fp32, writes all but the gradient and a weight
/// in 16 bits.
double LayoutModel::optimizer_s(const StageParameters& own) const noexcept {
  constexpr double kMixedAdam = 4 + (2 + 2 * 2) * 4 + 2;
  return shared(own, states_owners()) * p_.optimizer_bytes * step_bytes() / kMixedAdam /
         device_.bytes_per_s;
}

/// Read and written per parameter.
double LayoutModel::step_bytes() const noexcept {
  const double element = l_.pure_half ? l_.element_bytes : 4;
  const double copy = l_.element_bytes < 4 && !l_.pure_half ? l_.element_bytes : 0;
  return element * (3 + 2 * l_.optimizer_states) + copy;
}

/// Of moving a stage's weights or gradients, what the passes on it do not hide. Gradients are
/// complete when the last micro-batch comes back; interleaved stages run the last group of them
/// chunk by chunk (breadth first: all of them), so that all chunks but the one that ends the step
/// exchange beside the rest [narayanan2021], and that one beside its own last pass. A group that is
/// not full takes as long. So it is, the other way round, with what is gathered before the first
/// passes.
double LayoutModel::exposed_at_ends(double moved, double share, double pass_s) const noexcept {
  const bool breadth_first = kind_ == ScheduleKind::looped_bfs;
  const bool interleaved =
      kind_ == ScheduleKind::one_f_one_b || kind_ == ScheduleKind::interleaved_1f1b;
  const double v = chunks();
  if (v <= 1 || (!interleaved && !breadth_first)) return exposed(moved, share, pass_s);
  const double passes = (breadth_first ? l_.micro_batches : pipeline_) * (v - 1) / v;
  return std::max(exposed(moved, share, std::max(1.0, passes) * pass_s),
                  exposed(moved / v, share, pass_s / v));
}

/// Of gathering a stage's weights once, block by block.
double LayoutModel::first_gather_s(double gather_s, double forward_s) const noexcept {
  return exposed_at_ends(gather_s, 1 - 1 / std::max(1.0, first_layers_), forward_s);
}

/// Of gathering updated weights, what the next step's first forwards do not hide.
double LayoutModel::update_s(double gather_s, double forward_s) const noexcept {
  return exposed_at_ends(gather_s, stack_.overlaps_gathers ? p_.overlap : 0, forward_s);
}

/// Beside which the last gradients of a step are exchanged: where passes for weights are put off,
/// those of one micro-batch end it.
double LayoutModel::closing_s(const LayoutCost& cost) const noexcept {
  return ends_with_weights() ? cost.weights_s : cost.backward_s;
}

/// Of gathered weights, the share that may travel beside compute: as much of a block as software
/// gathers ahead.
double LayoutModel::gather_hides() const noexcept {
  if (!stack_.overlaps_shards) return 0;
  const double ahead = stack_.prefetch_parameters;
  if (ahead <= 0 || facts_.blocks.empty() || !shards_weights()) return p_.gather_overlap;
  const BlockFacts& block = facts_.blocks.front();
  const double of_block =
      block.dense_parameters / tensor_ + block.expert_parameters / expert_ways();
  return p_.gather_overlap * std::min(1.0, ahead / std::max(1.0, of_block));
}

/// Of a reduction, what of it may run beside compute.
double LayoutModel::reduce_hides() const noexcept {
  if (l_.shard >= 3) return stack_.overlaps_shards ? p_.gather_overlap : 0;
  return stack_.overlaps_data ? p_.overlap : 0;
}

void LayoutModel::add_data(LayoutCost& cost, const Pace& pace, double body_s) const noexcept {
  const StageParameters stage = most_parameters();
  add_host_copies(cost, stage);
  if (replicas_ <= 1) return;
  const Exchange once = exchange(stage);
  if (shards_by_block()) {
    const double share = stack_.overlaps_shards ? p_.gather_overlap : 0;
    const double ahead = gather_hides();
    const double reduced = exposed_at_ends(once.reduce_s, share, closing_s(cost));
    // Where only states are shared, and in pipelines, weights and gradients are whole from one
    // step's end to the next.
    if (pipeline_ > 1) {
      cost.data_s =
          pace.exchanged_s.value_or(first_gather_s(once.gather_s, cost.forward_s) + reduced);
    } else if (l_.shard < 2 || states_owners() <= 1) {
      cost.data_s = exposed(once.gather_s, share, cost.forward_s) + reduced;
    } else {
      // FSDP's SHARD_GRAD_OP keeps weights from a forward to its backward, FULL_SHARD gathers
      // again.
      const double gathered = l_.micro_batches * (l_.shard >= 3 ? 2 : 1) * once.gather_s;
      // Gradients that are complete with the last micro-batch have its backward to hide behind,
      // which hides no gathers then.
      const double scattered = l_.micro_batches * once.reduce_s;
      if (stack_.reduces_once) {
        cost.data_s = exposed(gathered, ahead, body_s - (once.reduce_s - reduced)) + reduced;
      } else if (ahead == share) {
        cost.data_s = exposed(gathered + scattered, share, body_s);
      } else {
        const double seen = exposed(gathered, ahead, body_s);
        cost.data_s = seen + exposed(scattered, share, body_s - (gathered - seen));
      }
    }
  } else {
    const double share = stack_.overlaps_data ? p_.overlap : 0;
    cost.data_s =
        pace.exchanged_s.value_or(exposed_at_ends(once.reduce_s, share, closing_s(cost))) +
        update_s(once.gather_s, cost.forward_s);
    const double before_last = reduces_each() ? l_.micro_batches - 1 : 0;
    cost.data_s +=
        exposed(before_last * once.reduce_s, share, body_s * before_last / l_.micro_batches);
  }
}

/// Of a stage's parameters between its replicas, and the optimizer's.
void LayoutModel::add_traffic(LayoutStage& stage, const StageParameters& own) const noexcept {
  stage.optimizer_s = optimizer_s(own) * (l_.offload.fetched ? 1 : 1 - l_.offload.optimizer);
  const Exchange once = exchange(own);
  stage.gather_s = once.gather_s;
  stage.update_s = update_s(once.gather_s, stage.forward_s);
  stage.reduce_s = once.reduce_s;
  stage.summed_s = once.summed_s;
}

}  // namespace parallel_opt
