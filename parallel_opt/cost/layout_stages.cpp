#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/layout_model.h"

namespace parallel_opt {
namespace {

/// Sequence parallelism scatters what tensor parallelism sums and gathers it again, in the backward
/// the inputs of products once more.
ByCommunication tensor_and_context(double tensor_s, double context_s, bool sequence, bool back) {
  ByCommunication out;
  const double gathers = back ? 2.0 / 3 : 0.5;
  out[Communication::all_gather] = sequence ? gathers * tensor_s : 0;
  out[Communication::reduce_scatter] = sequence ? (1 - gathers) * tensor_s : 0;
  out[Communication::all_reduce] = sequence ? 0 : tensor_s;
  out[Communication::send_recv] = context_s;
  return out;
}

}  // namespace

/// What a pass through a block moves, by kind, but for what runs beside its compute.
ByCommunication LayoutModel::moves(const BlockFacts& block, const BlockTime& pass,
                                   bool back) const noexcept {
  ByCommunication out = tensor_and_context(pass.tensor, pass.context, l_.sequence_parallel, back);
  const ExpertTraffic tokens = expert_traffic(block);
  if (pass.expert <= 0 || tokens.sum() <= 0) return out;
  const double scale = pass.expert / tokens.sum();
  out[Communication::copy] += scale * tokens.ordering;
  out[Communication::all_to_all] += scale * 2 * (tokens.wires + tokens.latency);
  out[Communication::all_gather] += scale * tokens.gathered;
  out[Communication::reduce_scatter] += scale * tokens.gathered;
  return out;
}

/// One micro-batch's passes through all blocks.
LayoutStage LayoutModel::passes_of_blocks() const noexcept {
  LayoutStage all;
  for (const BlockFacts& block : facts_.blocks) {
    const bool by_schedule = hides_dispatch(kind_);
    const BlockTime ahead = forward(block, by_schedule), back = backward(ahead);
    const double n = block.repeats;
    const auto collectives = [](const BlockTime& time) {
      return time.tensor + time.expert + time.context;
    };
    // What a schedule hides behind other micro-batches is experts' traffic alone.
    const auto exposed = [&](const BlockTime& time) {
      return by_schedule ? p_.gather_overlap * time.expert : collectives(time);
    };
    const double ahead_exposed = exposed(ahead), back_exposed = exposed(back);
    // Kernels of two passes that run as one are launched one after the other all the same.
    const auto computing = [&](BlockTime time, double outside) {
      if (!by_schedule) return time.whole() - outside;
      time.expert -= outside;
      return time.whole();
    };
    all.layers += n;
    all.forward_s += n * computing(ahead, ahead_exposed);
    all.backward_s += n * computing(back, back_exposed);
    all.forward_exposed_s += n * ahead_exposed;
    all.backward_exposed_s += n * back_exposed;
    all.recompute_s += n * again(block, ahead);
    all.weights_s += n * back.weights();
    const ByCommunication moved = moves(block, ahead, false);
    all.forward_moves.add(moved, n);
    all.backward_moves.add(moves(block, back, true), n);
    const auto beside = [&](const BlockTime& pass, bool is_back) {
      return moves(block, pass.hidden(), is_back);
    };
    all.forward_beside.add(beside(ahead, false), n);
    all.backward_beside.add(beside(back, true), n);
    if (rule_of(block) == RecomputeRule::full) {
      all.backward_moves.add(moved, n);
      all.backward_beside.add(beside(ahead, false), n);
      all.backward_moves[Communication::all_gather] += n * gathered_again_s(block);
    }
    all.idle_s += n * (collectives(ahead) + collectives(back) - ahead_exposed - back_exposed);
    all.idle_s += n * host_waits(ahead, back, again(block, ahead));
  }
  return all;
}

LayoutStages LayoutModel::stages() const {
  LayoutStages out;
  const auto count = int(count_of_stages());
  const LayoutStage all = passes_of_blocks();
  const Kept kept = kept_of_blocks();
  const double head_products = outer_products() + operators(facts_.outside);
  const double loss = loss_s();
  const double logits = logits_bytes();
  const double stages_of_rank = two_copies() ? 2 : count / pipeline_;
  for (int i = 0; i < count; ++i) {
    const bool is_first = i == 0, is_last = i == count - 1;
    const double ranks_layers = layers_of_stage(i);
    const double share = all.layers > 0 ? ranks_layers / all.layers : 0;
    LayoutStage stage;
    stage.layers = ranks_layers;
    stage.forward_s = share * all.forward_s + (is_last ? head_products + loss / 2 : 0);
    stage.backward_s = share * all.backward_s + (is_last ? 2 * head_products + loss / 2 : 0);
    stage.weights_s = share * all.weights_s + (is_last ? outer_products() : 0);
    stage.recompute_s = share * all.recompute_s;
    stage.idle_s = share * all.idle_s;
    stage.forward_exposed_s = share * all.forward_exposed_s;
    stage.backward_exposed_s = share * all.backward_exposed_s;
    stage.forward_moves.add(all.forward_moves, share);
    stage.backward_moves.add(all.backward_moves, share);
    stage.forward_beside.add(all.forward_beside, share);
    stage.backward_beside.add(all.backward_beside, share);
    // What left leaves no gaps but those of the two blocks on their way.
    const double away = l_.offload.activations, gaps = fragmentation() - 1;
    stage.kept_bytes = share * kept.of_all * (1 + (1 - away) * gaps);
    const double on_way = std::min(2.0, ranks_layers) * kept.of_all / std::max(1.0, all.layers);
    const double working = working_beside(is_last ? logits : 0, kept);
    stage.working_bytes = working * (1 + gaps) + away * gaps * on_way;
    LayoutCost states;
    const StageParameters own = parameters_of(ranks_layers, is_first, is_last);
    add_states(states, own, kept);
    states.gradients_bytes += passing_gradients(states, share * kept.of_all + working);
    stage.copies = copies(own, ranks_layers, kept);
    // Buffers and what the allocator holds are a rank's, however many stages it has.
    states.other_bytes = (states.other_bytes + p_.reserve_bytes) / stages_of_rank;
    stage.static_bytes = states.memory_bytes();
    add_traffic(stage, own);
    out.stages.push_back(stage);
  }
  add_ways(out);
  return out;
}

/// What stages share: ways between them and to the host, what hides, what comes once per step.
void LayoutModel::add_ways(LayoutStages& out) const noexcept {
  out.link_bytes_per_s = send_rate() / p_.send;
  out.link_latency_s = way_latency_s() * p_.send;
  out.send_hides = sends_beside() ? p_.overlap : 0;
  out.boundary_bytes = facts_.blocks.empty() ? 0
                                             : facts_.blocks.front().boundary_elements * rows_ *
                                                   element_bytes() / send_split();
  out.element_bytes = element_bytes();
  out.reduced_bytes = stack_.reduced_bytes;
  out.copy_bytes_per_s = copy_rate();
  const LayoutCost closed = run();
  out.step_s = closed.other_s;
  out.loading_s = closed.loading_s;
  out.gather_hides = gather_hides();
  out.reduce_hides = reduce_hides();
  out.shards_by_block = shards_by_block();
  out.reduces_each = reduces_each();
}

LayoutStages layout_stages(const TransformerFacts& facts, const Accelerator& device,
                           const SoftwareStack& stack, const ParallelLayout& layout,
                           const LayoutParameters& p) {
  return LayoutModel(facts, device, stack, layout, p).stages();
}

}  // namespace parallel_opt
