#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/layout_model.h"

namespace parallel_opt {

LayoutStages LayoutModel::stages() const {
  LayoutStages out;
  const int count = std::max(1, l_.pipeline) * std::max(1, l_.virtual_stages);
  LayoutStage layer;  // the mean block
  double blocks = 0;
  for (const BlockFacts& block : facts_.blocks) {
    const BlockTime ahead = forward(block, true), back = backward(ahead);
    const double n = block.repeats;
    const double ahead_exposed = ahead.tensor + ahead.expert + ahead.context;
    const double back_exposed = back.tensor + back.expert + back.context;
    layer.forward_s += n * (ahead.whole() - ahead_exposed);
    layer.backward_s += n * (back.whole() - back_exposed);
    layer.forward_exposed_s += n * ahead_exposed;
    layer.backward_exposed_s += n * back_exposed;
    layer.recompute_s += n * again(ahead);
    layer.weights_s += n * back.weights();
    blocks += n;
  }
  const Kept kept = kept_of_blocks();
  const double head_products = outer_products() + operators(facts_.outside);
  const double loss = loss_s();
  const double logits = logits_of_rank() * stack_.logits_bytes * p_.logits;
  double left = layers_;
  for (int i = 0; i < count; ++i) {
    const bool is_first = i == 0, is_last = i == count - 1;
    // Whole blocks; where the head is balanced, the last stage takes what the others leave.
    const double usual = is_first ? first_layers_ : inner_layers_;
    const double ranks_layers = l_.virtual_stages > 1 ? std::ceil(left / (count - i) - 1e-9)
                                : is_last             ? left
                                                      : std::min(left, usual);
    const double share = blocks > 0 ? ranks_layers / blocks : 0;
    left -= ranks_layers;
    LayoutStage stage;
    stage.layers = ranks_layers;
    stage.forward_s = share * layer.forward_s + (is_last ? head_products + loss / 2 : 0);
    stage.backward_s = share * layer.backward_s + (is_last ? 2 * head_products + loss / 2 : 0);
    stage.weights_s = share * layer.weights_s + (is_last ? outer_products() : 0);
    stage.recompute_s = share * layer.recompute_s;
    stage.forward_exposed_s = share * layer.forward_exposed_s;
    stage.backward_exposed_s = share * layer.backward_exposed_s;
    stage.kept_bytes = blocks > 0 ? ranks_layers * kept.of_all / blocks * fragmentation() : 0;
    stage.working_bytes = (kept.again + (is_last ? logits : 0)) * fragmentation();
    LayoutCost states;
    const StageParameters own = parameters_of(ranks_layers, is_first, is_last);
    add_states(states, own, kept);
    states.gradients_bytes += passing_gradients(states, stage.kept_bytes);
    states.optimizer_bytes += passing_states(own, stage.kept_bytes);
    stage.copies = copies(own, ranks_layers, kept);
    stage.static_bytes = states.memory_bytes() + p_.reserve_bytes / count * l_.pipeline;
    add_traffic(stage, own);
    out.stages.push_back(stage);
  }
  const bool inside = l_.devices() <= device_.per_node;
  out.link_bytes_per_s = inside ? pair_rate() : network_rate();
  out.link_latency_s = inside ? p_.link_latency_s : p_.network_latency_s;
  out.boundary_bytes = facts_.blocks.empty() ? 0
                                             : facts_.blocks.front().boundary_elements * rows_ *
                                                   element_bytes() / send_split();
  out.copy_bytes_per_s = copy_rate();
  out.step_s = p_.step_s;
  out.loading_s = run().loading_s;
  out.reduce_hides = stack_.overlaps_data ? p_.overlap : 0;
  return out;
}

LayoutStages layout_stages(const TransformerFacts& facts, const Accelerator& device,
                           const SoftwareStack& stack, const ParallelLayout& layout,
                           const LayoutParameters& p) {
  return LayoutModel(facts, device, stack, layout, p).stages();
}

}  // namespace parallel_opt
