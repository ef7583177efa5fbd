#include <algorithm>

#include "parallel_opt/cost/layout_model.h"

namespace parallel_opt {
namespace {

constexpr double kMasterBytes = 4;    // fp32 weight beside one of 16 bits
constexpr double kStateBytes = 4;     // fp32
constexpr double kNarrowSaves = 0.5;  // of 16 bits, where 8 are kept
constexpr double kPacesMeet = 0.7;    // of device's time and host's, from which the host waits

}  // namespace

LayoutModel::StageParameters LayoutModel::parameters_of(double layers, bool embeds,
                                                        bool heads) const noexcept {
  StageParameters sum;
  for (const BlockFacts& block : facts_.blocks) {
    const double count = layers_ > 0 ? block.repeats * layers / layers_ : 0;
    sum.dense += count * block.dense_parameters / tensor_;
    sum.expert += count * block.expert_parameters / expert_ways();
  }
  const double own_head = facts_.outside.dense_parameters;
  if (embeds) sum.dense += facts_.embedding_parameters / tensor_;
  // A tied head is a second copy where the first stage is another rank's.
  const bool tied = own_head < facts_.embedding_parameters / 2;
  if (heads) {
    sum.dense +=
        (tied && !embeds && !folds() ? facts_.embedding_parameters + own_head : own_head) / tensor_;
  }
  return sum;
}

/// Of the stage with most.
LayoutModel::StageParameters LayoutModel::most_parameters() const noexcept {
  if (pipeline_ <= 1) return parameters_of(layers_, true, true);
  const auto larger = [](const StageParameters& one, const StageParameters& other) {
    return one.sum() >= other.sum() ? one : other;
  };
  const StageParameters inner = parameters_of(inner_layers_, false, false);
  if (two_copies()) {
    const auto ends =
        parameters_of(first_layers_, true, false) + parameters_of(last_layers_, false, true);
    return pipeline_ > 2 ? larger(ends, inner + inner) : ends;
  }
  const StageParameters first = parameters_of(first_layers_, true, folds());
  if (folds()) return larger(first, inner);
  const StageParameters last = parameters_of(last_layers_, false, true);
  return larger(first, pipeline_ > 2 ? larger(inner, last) : last);
}

/// Bytes of gathered inputs of a block's products that sequence parallelism keeps beyond the rank's
/// own part. Where the backward gathers again they are freed when the device is through with them:
/// at once where it waits for the host, late where the host runs ahead. Between stages a host is
/// held up by its neighbours' receiving, which frees those of two micro-batches in flight.
double LayoutModel::gathers(const BlockFacts& block) const noexcept {
  if (stack_.kept_gathers <= 0 || wide_split_ <= 1) return 0;
  double late = 1;
  if (stack_.regathers && pipeline_ > 1) {
    const BlockTime ahead = forward(block);
    const double pace = ahead.work() / std::max(1e-12, ahead.host);
    const double behind = std::clamp((pace - kPacesMeet) / (1 - kPacesMeet), 0.0, 1.0);
    late = std::max(behind, 1 - 2 / pipeline_);
  }
  const double whole = block.boundary_elements * rows_ * element_bytes();
  return stack_.kept_gathers * late * whole * (wide_split_ - 1) / wide_split_;
}

/// Of one block's activations those that stay for the backward, bytes of one micro-batch. `saved`:
/// all that it keeps where nothing is computed again; `fused`: of kernels that are fused.
double LayoutModel::stays(const BlockFacts& block, double saved, double fused) const noexcept {
  const bool written = stack_.attention == AttentionFamily::unfused;
  const double scores = written ? score_bytes(block) : 0;
  switch (rule_of(block)) {
    case RecomputeRule::none:
      break;
    case RecomputeRule::full:
      return block.boundary_elements * rows_ * element_bytes() / kept_split();
    case RecomputeRule::selective:
      if (block.recompute) {
        const BlockRecompute& part = *block.recompute;
        const double whole = kept_on(block.fused_wide_bytes, block.fused_inner_bytes);
        const double narrow = whole > 0 ? fused / whole : 1;
        const double listed = stack_.fused_operators
                                  ? narrow * kept_on(part.fused_wide_bytes, part.fused_inner_bytes)
                                  : kept_on(part.saved_wide_bytes, part.saved_inner_bytes);
        return std::min(
            saved, listed + (1 - part.products) * gathers(block) + (1 - part.attention) * scores);
      }
      // What lies between products runs again: what stays is the same whether it is fused or not.
      if (stack_.selective_operators > 0) return stack_.selective_keeps * fused;
      // Of attention alone, which is cheap to run again and keeps most.
      return written ? saved - scores : saved * stack_.selective_keeps;
  }
  return saved;
}

/// Bytes of activations of one block that one micro-batch keeps, and the most that one holds while
/// it is computed again.
LayoutModel::Kept LayoutModel::kept_of_blocks() const noexcept {
  Kept kept;
  for (const BlockFacts& block : facts_.blocks) {
    const double cast = stack_.keeps_narrow && device_.narrow ? kNarrowSaves : 0;
    const double fused = kept_on(block.fused_wide_bytes - cast * block.cast_wide_bytes,
                                 block.fused_inner_bytes - cast * block.cast_inner_bytes);
    double saved =
        stack_.fused_operators ? fused : kept_on(block.saved_wide_bytes, block.saved_inner_bytes);
    saved += gathers(block);
    if (stack_.attention == AttentionFamily::unfused) saved += score_bytes(block);
    const double left = stays(block, saved, fused);
    kept.of_all += block.repeats * left;
    kept.again = std::max(kept.again, saved - left);
    const double gathered = gathered_at_once(block);
    const double beside = block.repeats > 1 ? gathered : 0;  // of the same kind
    kept.next_weights = gathered > kept.largest_weights ? std::max(beside, kept.largest_weights)
                                                        : std::max(kept.next_weights, gathered);
    kept.largest_weights = std::max(kept.largest_weights, gathered);
  }
  return kept;
}

/// Elements of a block's weights that are gathered together: all, or those of one product.
double LayoutModel::gathered_at_once(const BlockFacts& block) const noexcept {
  const double all = block.dense_parameters / tensor_ + block.expert_parameters / expert_ways();
  if (!stack_.gathers_tensors) return all;
  double largest = 0;
  for (const Product& one : block.products) {
    const double of_ranks = one.experts > 0 ? one.experts / expert_ways() : 1 / tensor_;
    largest = std::max(largest, one.n * one.k * of_ranks);
  }
  return std::min(all, largest);
}

/// Where as much as can be of what is held goes to the host: two blocks of one micro-batch are on
/// their way.
HeldLayers LayoutModel::held_everywhere(double blocks) const noexcept {
  const double away = l_.offload.activations;
  return {blocks, blocks - std::max(0.0, away * (blocks - 2))};
}

/// Of a rank: `blocks` are its own times the micro-batches in flight.
LayoutCost LayoutModel::held(const StageParameters& own, const HeldLayers& blocks, bool head,
                             const Kept& kept) const noexcept {
  const double one_layer = layers_ > 0 ? kept.of_all / layers_ : 0;
  LayoutCost rank;
  add_states(rank, own, kept);
  if (head) rank.logits_bytes = logits_bytes();
  double together = std::max(rank.logits_bytes, kept.again);
  double cut_up = working_beside(rank.logits_bytes, kept) - together;
  if (blocks.working > 0) {
    together = one_layer * blocks.working;
    rank.logits_bytes = std::min(rank.logits_bytes, together);
    cut_up = 0;
  }
  rank.activations_bytes = one_layer * blocks.here + together - rank.logits_bytes;
  rank.host_bytes += l_.offload.activations * one_layer * blocks.all;
  const double room = rank.activations_bytes + rank.logits_bytes + cut_up;
  rank.gradients_bytes += passing_gradients(rank, room);
  rank.optimizer_bytes += passing_states(own, room * fragmentation());
  // What lives from step to step is placed once; what comes and goes leaves gaps.
  const double come_and_go = rank.activations_bytes + rank.logits_bytes + rank.other_bytes + cut_up;
  rank.unused_bytes = p_.reserve_bytes + cut_up + come_and_go * (fragmentation() - 1);
  rank.other_bytes += rank.unused_bytes;
  return rank;
}

/// Of the fullest of the first, an inner and the last stage.
void LayoutModel::add_memory(LayoutCost& cost) const noexcept {
  if (holds_by_table() && has_table()) return add_memory_by_table(cost);
  const Kept kept = kept_of_blocks();
  // A rank of DualPipe has a stage of either copy of the model: the first and the last together.
  const StageParameters opposite =
      two_copies() ? parameters_of(last_layers_, false, true) : StageParameters{};
  const bool both_ends = pipeline_ <= 1 || folds();
  const LayoutCost first =
      held(parameters_of(first_layers_, true, both_ends) + opposite,
           held_everywhere(first_layers_ * in_flight()), both_ends || two_copies(), kept);
  cost.first_stage_bytes = first.memory_bytes();
  cost.first_stage_unused = first.unused_bytes;
  if (pipeline_ <= 1) {
    cost.take_memory(first);
    return;
  }
  const StageParameters between = parameters_of(inner_layers_, false, false);
  const LayoutCost inner = held(two_copies() ? between + between : between,
                                held_everywhere(inner_layers_ * in_flight_at(1)), false, kept);
  const LayoutCost last =
      held(parameters_of(last_layers_, false, !folds()),
           held_everywhere(last_layers_ * in_flight_at(pipeline_ - 1)), !folds(), kept);
  const LayoutCost* fullest = first.memory_bytes() >= last.memory_bytes() ? &first : &last;
  if (pipeline_ > 2 && inner.memory_bytes() > fullest->memory_bytes()) fullest = &inner;
  cost.take_memory(*fullest);
  cost.host_bytes = std::max({first.host_bytes, inner.host_bytes, last.host_bytes});
}

LayoutModel::StageParameters LayoutModel::parameters_of_rank(int rank) const noexcept {
  const auto count = int(count_of_stages());
  StageParameters sum;
  for (int stage = 0; stage < count; ++stage) {
    const bool twin = two_copies() && int(pipeline_) - 1 - stage == rank;
    const bool own = rank_of_stage(kind_, int(pipeline_), stage) == rank;
    if (!own && !twin) continue;
    const auto held = parameters_of(layers_of_stage(stage), stage == 0, stage + 1 == count);
    if (own) sum = sum + held;
    if (twin) sum = sum + held;
  }
  return sum;
}

/// Of the fullest rank, each as its row of the schedule says.
void LayoutModel::add_memory_by_table(LayoutCost& cost) const {
  const Kept kept = kept_of_blocks();
  const std::vector<StagePass> passes = stage_passes();
  double host_bytes = 0;
  for (int rank = 0; rank < int(pipeline_); ++rank) {
    const int head = folds() ? 0 : int(pipeline_) - 1;
    const bool has_head = rank == head || (two_copies() && rank == 0);
    const LayoutCost own = held(parameters_of_rank(rank), table_held(rank, passes), has_head, kept);
    if (rank == 0) {
      cost.first_stage_bytes = own.memory_bytes();
      cost.first_stage_unused = own.unused_bytes;
    }
    if (rank == 0 || own.memory_bytes() > cost.memory_bytes()) cost.take_memory(own);
    host_bytes = std::max(host_bytes, own.host_bytes);
  }
  cost.host_bytes = host_bytes;
}

/// The bytes of another one.
void LayoutCost::take_memory(const LayoutCost& other) noexcept {
  weights_bytes = other.weights_bytes;
  gradients_bytes = other.gradients_bytes;
  optimizer_bytes = other.optimizer_bytes;
  activations_bytes = other.activations_bytes;
  logits_bytes = other.logits_bytes;
  other_bytes = other.other_bytes;
  unused_bytes = other.unused_bytes;
  host_bytes = other.host_bytes;
}

/// Bytes of gradients that live from a backward to its end, where a stack adds them to others then.
/// They come as that backward's activations go, and lie where those lay (`room`), unless other
/// micro-batches in flight leave but holes.
double LayoutModel::passing_gradients(const LayoutCost& stage, double room) const noexcept {
  if (shards_weights() || has_buckets()) return 0;  // buckets stay
  const double bytes = stage.weights_bytes / element_bytes() * stack_.passing_gradient_bytes;
  return std::max(0.0, bytes - (in_flight() > 1 ? 0 : room));
}

/// Bytes for logits and for a block that is computed again, whose backward begins when those are
/// dead: an allocator whose segments do not grow keeps what it cut for either.
double LayoutModel::working_beside(double logits, const Kept& kept) const noexcept {
  const bool shared_room = stack_.plans_memory || stack_.expands_segments;
  return shared_room ? std::max(logits, kept.again) : logits + kept.again;
}

/// What lives from step to step, and the gathered weights of sharded blocks.
void LayoutModel::add_states(LayoutCost& stage, const StageParameters& own,
                             const Kept& kept) const noexcept {
  const double owners = states_owners();
  stage.weights_bytes = shared(own, shards_weights() ? owners : 1) * weight_bytes();
  // FSDP's own part stays beside what it gathers for the whole step: in fp32 among the states.
  const bool gathers_whole = stack_.shards_blocks && l_.shard >= 2 && !shards_weights();
  if (gathers_whole && owners > 1 && !has_copies()) {
    stage.weights_bytes += shared(own, owners) * weight_bytes();
  }
  const bool whole = keeps_whole_gradients();
  const double gradient = whole          ? stack_.reduced_bytes
                          : l_.pure_half ? l_.element_bytes
                                         : stack_.gradient_bytes;
  const bool shards_gradients = l_.shard >= 2 && pipeline_ <= 1 && !whole;
  stage.gradients_bytes = shared(own, shards_gradients ? owners : 1) * gradient;
  if (l_.steps_in_backward && l_.micro_batches <= 1 && pipeline_ <= 1) {
    const double largest = std::max(kept.largest_weights, facts_.embedding_parameters / tensor_);
    stage.gradients_bytes *= std::min(1.0, largest / own.sum());
  }
  if (has_buckets()) {
    stage.gradients_bytes += own.sum() * (l_.pure_half ? l_.element_bytes : stack_.bucket_bytes);
  }
  stage.optimizer_bytes = shared(own, owners) * state_bytes();
  if (shards_weights()) {
    // Two blocks at a time, the gaps between them included no more than all weights held whole.
    const double others = (shared(own, 1) - shared(own, owners)) * weight_bytes();
    stage.other_bytes = std::min((kept.largest_weights + kept.next_weights) * element_bytes(),
                                 others / fragmentation());
  }
  send_to_host(stage, kept);
}

/// Of one parameter, what lives from step to step beside those.
double LayoutModel::weight_bytes() const noexcept {
  return has_copies() && stack_.casts_weights ? kMasterBytes : element_bytes();
}

/// Of one parameter: the optimizer's states and the fp32 weight beside one of 16 bits.
double LayoutModel::state_bytes() const noexcept {
  const double master = has_copies() && !stack_.casts_weights ? kMasterBytes : 0;
  const double state = l_.pure_half ? l_.element_bytes : kStateBytes;
  return master + state * l_.optimizer_states;
}

}  // namespace parallel_opt
