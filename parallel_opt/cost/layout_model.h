#pragma once

#include <algorithm>
#include <cmath>

#include "parallel_opt/cost/block_time.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/cost/layout_parts.h"
#include "parallel_opt/cost/schedule_time.h"

/// What the files that make layout_cost() share.
namespace parallel_opt {

class LayoutModel : private LayoutParts {
 public:
  LayoutModel(const TransformerFacts& facts, const Accelerator& device, const SoftwareStack& stack,
              const ParallelLayout& layout, const LayoutParameters& p,
              const LayoutInvariants& same) noexcept;
  LayoutModel(const TransformerFacts& facts, const Accelerator& device, const SoftwareStack& stack,
              const ParallelLayout& layout, const LayoutParameters& p) noexcept
      : LayoutModel(facts, device, stack, layout, p, layout_invariants(facts, device, p)) {}

  LayoutCost run() const noexcept;
  LayoutStages stages() const;

 private:
  friend class MixedPipeline;  // puts several together
  void place_as(const LayoutModel& other) noexcept;
  void add_ways(LayoutStages& out) const noexcept;
  double element_bytes() const noexcept { return l_.element_bytes; }
  /// Times what TransformerFacts counts at 2 bytes an element.
  double wider() const noexcept { return l_.element_bytes / 2; }
  /// Of a collective among so many ranks of a node.
  double link_rate(double ranks) const noexcept {
    return device_.links.among(ranks, joined_) * link_share();
  }
  /// To one of its neighbours.
  double pair_rate() const noexcept { return device_.links.pair_bytes_per_s * link_share(); }
  /// Of links whose collectives were not timed: what the fit says.
  double link_share() const noexcept {
    return device_.links.reached > 0 ? device_.links.reached : p_.link_efficiency;
  }
  double send_rate() const noexcept;
  double network_rate() const noexcept {
    return device_.network_bytes_per_s * p_.network_efficiency;
  }
  double product(double rows, double n, double k, double count, double rate) const noexcept;
  /// `last`: of the one whose result leaves the block.
  double products(const BlockFacts& block, double rate, double* last = nullptr) const noexcept;
  double outer_products() const noexcept;
  double operators(const BlockFacts& block) const noexcept;
  double fragmentation() const noexcept { return stack_.expands_segments ? 1 : p_.fragmentation; }
  double logits_of_rank() const noexcept {
    return facts_.logits_elements * rows_ / (stack_.whole_logits ? 1 : tensor_);
  }
  double logits_bytes() const noexcept;
  double loss_s() const noexcept;
  double exponentials_share(const BlockFacts& block) const noexcept;
  /// `whole`: with what a schedule hides behind other micro-batches.
  BlockTime forward(const BlockFacts& block, bool whole = false) const noexcept;
  BlockTime backward(const BlockTime& ahead) const noexcept;
  RecomputeRule rule_of(const BlockFacts& block) const noexcept {
    return block.recompute ? block.recompute->rule : l_.recompute;
  }
  double again(const BlockFacts& block, const BlockTime& ahead) const noexcept;
  /// Bytes of activations, split as their width says.
  double kept_on(double wide, double inner) const noexcept {
    return (wide / wide_split_ + inner / tensor_) * rows_ * p_.saved * wider();
  }
  /// Softmax, its dropout and the mask, where they are written out.
  double score_bytes(const BlockFacts& block) const noexcept {
    return block.score_elements * rows_ / tensor_ * (2 * element_bytes() + 1);
  }
  /// Tensor ranks that share a kept input.
  double kept_split() const noexcept { return stack_.splits_kept ? tensor_ : wide_split_; }
  double stays(const BlockFacts& block, double saved, double fused) const noexcept;
  Passes passes() const noexcept;
  double computing_s(const Passes& all) const noexcept;
  double gathered_again_s(const BlockFacts& block) const noexcept;
  ByCommunication moves(const BlockFacts& block, const BlockTime& pass, bool back) const noexcept;
  LayoutStage passes_of_blocks() const noexcept;
  LayoutCost bill(const Passes& all, const Pace& pace) const noexcept;
  double idle_s(const Passes& all, Pace& pace, double slow_s) const;
  double bubble_s(const StageTimes& rest, double send_s) const noexcept;
  double chunks() const noexcept;
  std::size_t count_of_stages() const noexcept;
  double layers_of_stage(double stage) const noexcept;
  double layers_of_rank(double rank) const noexcept;
  double most_inner_layers() const noexcept;
  int stages_per_rank() const noexcept;
  bool has_table() const noexcept;
  int table_micro_batches() const noexcept;
  std::vector<StagePass> stage_passes() const;
  bool copies_in_pipeline() const noexcept { return pipeline_ > 1 && l_.offload.activations > 0; }
  PlayedStep played(std::vector<StagePass> passes, double transfer_s) const;
  double table_copies_s(std::vector<StagePass> passes, double transfer_s) const;
  HeldLayers table_held(int rank, const std::vector<StagePass>& passes) const;
  double in_flight() const noexcept;
  double interleaved_in_flight() const noexcept;
  double in_flight_at(double rank) const noexcept;
  /// As 1F1B's, whose last one starts a backward as soon as it can. Others hold as much everywhere:
  /// what ZB-H1's and ZB-H2's later ones need not hold ahead they do for weights' parts put off.
  bool keeps_less_each_stage() const noexcept {
    return kind_ == ScheduleKind::one_f_one_b || kind_ == ScheduleKind::interleaved_1f1b;
  }
  /// Each rank has a stage near either end of the model.
  bool goes_both_ways() const noexcept { return folds() || two_copies(); }
  /// Along the model only, and gradients of weights fill gaps.
  bool delays_weights() const noexcept {
    return kind_ == ScheduleKind::zb_h1 || kind_ == ScheduleKind::zb_h2;
  }
  bool ends_with_weights() const noexcept { return goes_both_ways() || delays_weights(); }
  bool waits_by_table() const noexcept;
  /// What waits for W, or comes back from the host for it, and uneven stages that lie on one rank
  /// differ from rank to rank. Where all is in flight at once no table need tell.
  bool holds_by_table() const noexcept {
    return goes_both_ways() || (delays_weights() && l_.offload.activations > 0) ||
           (by_stages_ && kind_ == ScheduleKind::interleaved_1f1b);
  }
  /// Beside another micro-batch's compute: by its schedule, or by what the software does in any.
  bool hides_experts() const noexcept {
    return hides_dispatch(kind_) || (stack_.overlaps_experts && l_.micro_batches > 1);
  }
  /// The first and the last chunk of the model are one rank's.
  bool folds() const noexcept { return pipeline_ > 1 && is_folded(kind_); }
  /// In opposite directions: each rank has a stage of either.
  bool two_copies() const noexcept { return pipeline_ > 1 && kind_ == ScheduleKind::dualpipe; }
  double waited_while_filling(double send_s, double late) const noexcept;
  double way_latency_s() const noexcept;
  double transfer_s() const noexcept;
  double send_s(double forward_s, double backward_s) const noexcept;
  /// Interleaved stages compute while others' tensors travel.
  bool sends_beside() const noexcept { return stack_.overlaps_sends && chunks() > 1; }
  /// Parts of a boundary that travel side by side.
  double send_split() const noexcept { return stack_.scatters_sends ? tensor_ : wide_split_; }
  double all_reduce(double bytes) const noexcept;
  Dispatched dispatched(const BlockFacts& block, const RankGroup& ranks,
                        double copies) const noexcept;
  ExpertTraffic expert_traffic(const BlockFacts& block) const noexcept;
  double context_s(const BlockFacts& block) const noexcept;
  RankGroup group(double ranks, double stride) const noexcept;
  double ring_latency_s(const RankGroup& ranks) const noexcept;
  Exchange exchange(const StageParameters& own) const noexcept;
  double exposed_at_ends(double moved, double share, double pass_s) const noexcept;
  double first_gather_s(double gather_s, double forward_s) const noexcept;
  double update_s(double gather_s, double forward_s) const noexcept;
  double optimizer_s(const StageParameters& own) const noexcept;
  double step_bytes() const noexcept;
  /// Weights in fp32 beside those of 16 bits.
  bool has_copies() const noexcept { return l_.element_bytes < 4 && !l_.pure_half; }
  double weight_bytes() const noexcept;
  double state_bytes() const noexcept;
  double states_owners() const noexcept;
  double tensors_of_stage() const noexcept;
  /// Ranks of a stage over which one copy of its experts lies.
  double expert_ways() const noexcept {
    return l_.expert > 1 ? double(l_.expert) * std::max(1, l_.expert_tensor) : tensor_;
  }
  /// Ranks that hold the same part of an expert, of `n` that share what is not of experts: where
  /// experts are spread, all of them hold different ones first.
  double sharing_experts(double n) const noexcept {
    return l_.expert > 1 ? std::max(1.0, n * tensor_ / expert_ways()) : n;
  }
  /// Of one rank, where `owners` share it.
  double shared(const StageParameters& own, double owners) const noexcept {
    return own.dense / owners + own.expert / sharing_experts(owners);
  }
  /// ZeRO-3, and not whole from micro-batch to micro-batch as in pipelines (FSDP2's
  /// reshard_after_forward is off there, and in Llama 3's training).
  bool shards_weights() const noexcept {
    return l_.shard >= 3 && pipeline_ <= 1 && states_owners() > 1;
  }
  /// From the host, block by block; one device alone may do so too.
  bool streams_weights() const noexcept {
    return l_.offload.parameters && l_.shard >= 3 && pipeline_ <= 1;
  }
  /// Gradients of ZeRO-2 and 3 leave with each backward: not in pipelines, nor FSDP under no_sync.
  bool reduces_each() const noexcept {
    return l_.shard >= 2 && pipeline_ <= 1 && states_owners() > 1 && !stack_.reduces_once;
  }
  /// Whole ones accumulate in the type that they travel in; the shards replace them block by block.
  bool keeps_whole_gradients() const noexcept {
    return stack_.reduces_once && l_.shard >= 2 && states_owners() > 1 && l_.micro_batches > 1;
  }
  /// As soon as they are reduced, to accumulate on the host, whose cores make the step.
  bool gradients_leave() const noexcept {
    const bool in_shards = l_.shard == 2 && pipeline_ <= 1;
    const bool sharded = in_shards || shards_weights() || streams_weights();
    return l_.offload.optimizer > 0 && !l_.offload.fetched && sharded && !keeps_whole_gradients();
  }
  double on_host() const noexcept;
  double host_rate() const noexcept;
  double copy_rate() const noexcept;
  /// What is sharded travels with the passes of its block.
  bool shards_by_block() const noexcept {
    return l_.shard >= 3 || (l_.shard >= 1 && stack_.shards_blocks);
  }
  /// Of DDP, whose replicas share nothing.
  bool has_buckets() const noexcept {
    return stack_.bucket_bytes > 0 && l_.shard == 0 && replicas_ > 1;
  }
  double gather_hides() const noexcept;
  double reduce_hides() const noexcept;
  double closing_s(const LayoutCost& cost) const noexcept;
  void add_data(LayoutCost& cost, const Pace& pace, double body_s) const noexcept;
  Kept kept_of_blocks() const noexcept;
  double gathered_at_once(const BlockFacts& block) const noexcept;
  double working_beside(double logits, const Kept& kept) const noexcept;
  double gathers(const BlockFacts& block) const noexcept;
  void add_traffic(LayoutStage& stage, const StageParameters& own) const noexcept;
  void add_states(LayoutCost& stage, const StageParameters& own, const Kept& kept) const noexcept;
  double passing_gradients(const LayoutCost& stage, double room) const noexcept;
  HostCopies copies(const StageParameters& own, double layers, const Kept& kept) const noexcept;
  double copied_s(const HostCopies& copies, double layers, const LayoutCost& cost) const noexcept;
  double copied_in_pipeline_s(const LayoutCost& cost) const noexcept;
  double away_of_blocks(double layers, const Kept& kept) const noexcept;
  double step_with_host_s(const HostCopies& copies, double layers, double device_s) const noexcept;
  void add_host_copies(LayoutCost& cost, const StageParameters& own) const noexcept;
  void send_to_host(LayoutCost& stage, const Kept& kept) const noexcept;
  double passing_states(const StageParameters& own, double room) const noexcept;
  LayoutCost held(const StageParameters& own, const HeldLayers& blocks, bool head,
                  const Kept& kept) const noexcept;
  HeldLayers held_everywhere(double blocks) const noexcept;
  StageParameters parameters_of_rank(int rank) const noexcept;
  void add_memory_by_table(LayoutCost& cost) const;
  void add_memory(LayoutCost& cost) const noexcept;
  StageParameters parameters_of(double layers, bool embeds, bool heads) const noexcept;
  StageParameters most_parameters() const noexcept;
  void place_blocks(double block_units) noexcept;

  const TransformerFacts& facts_;
  const Accelerator& device_;
  const SoftwareStack& stack_;
  const ParallelLayout& l_;
  const LayoutParameters& p_;
  const ScheduleKind kind_;  ///< 1F1B of several stages per rank is the interleaved one
  double half_rate_, rate_, memory_rate_;
  double inner_half_;     ///< inner size of a product that costs as much again
  double sustained_ = 1;  ///< share of the peak under the power limit
  double tensor_, pipeline_, rows_, wide_split_, replicas_, nodes_;
  double joined_ = 1;  ///< devices that share the links of a node
  double layers_ = 0;
  double first_layers_ = 0;  ///< of the stage with the embedding
  double inner_layers_ = 0;  ///< of every stage between, at most
  double last_layers_ = 0;   ///< of the stage with the head
  bool by_stages_ = false;   ///< these three are counted stage by stage
  double head_layers_ = 0;   ///< that the head stands for where blocks are placed
};

}  // namespace parallel_opt
