#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/json.h"

namespace parallel_opt {

/// How attention's inner part runs.
enum class AttentionFamily {
  unfused,  ///< scores are written to memory
  early,    ///< FlashAttention 1, Triton kernels of 2023
  flash,    ///< FlashAttention 2 and its like
  vendor,   ///< the vendor's newest fused kernel (cuDNN)
};

constexpr auto enum_names(AttentionFamily) {
  return std::to_array<std::string_view>({"unfused", "early", "flash", "vendor"});
}

/// Which activations are computed again.
enum class RecomputeRule {
  none,
  selective,  ///< attention's inner part, or every other operator: the stack's own choice
  full,       ///< whole blocks
};

constexpr auto enum_names(RecomputeRule) {
  return std::to_array<std::string_view>({"none", "selective", "full"});
}

/// What software a job runs on decides which kernels run and which transfers hide behind which
/// compute: one file below data/stacks/.
struct SoftwareStack {
  std::string name;                     ///< "torchtitan"
  std::vector<std::string> frameworks;  ///< words of a framework's name that mean it
  AttentionFamily attention = AttentionFamily::flash;
  bool fused_operators = false;    ///< norms, activations and residuals in few kernels
  bool eager_host = true;          ///< Python launches every kernel: short layers wait for the host
  bool sequence_parallel = false;  ///< beside tensor parallelism, norms and residuals are split
  bool overlaps_data = true;       ///< gradients are reduced beside the backward
  bool overlaps_shards = true;     ///< ZeRO-3: weights are gathered beside the block before
  bool overlaps_gathers = false;   ///< ZeRO-1 and 2: weights are gathered beside the next forward
  bool overlaps_tensor = false;    ///< tensor collectives run beside the products they feed
  bool balances_head = false;      ///< the pipeline's cut gives stages with the head fewer blocks
  int shard = 0;                   ///< ZeRO stage where a job does not say
  RecomputeRule recompute = RecomputeRule::none;  ///< where a job does not say
  double gradient_bytes = 4;                      ///< per parameter: main gradients
  double bucket_bytes = 0;  ///< per parameter: DDP's buckets, beside the main gradients
  double passing_gradient_bytes =
      0;                        ///< per parameter: of one backward, added to the main ones after it
  double reduced_bytes = 4;     ///< per parameter: what travels between replicas
  bool gathers_narrow = false;  ///< weights of products in 8 bits travel in 8 bits
  double logits_bytes = 10;  ///< per logit, of the head and its loss: values, fp32 copies, gradient
  double loss_bytes = 24;    ///< per logit: moved by the loss, there and back, its kernels fused
  bool spreads_unsaid = false;  ///< its users say no tensor or pipeline degree where they have none
  bool recomputes_unsaid = false;     ///< its users recompute as memory needs and do not print it
  bool offloads_unsaid = false;       ///< likewise they move activations to a host beside the chip
  bool skips_last_product = false;    ///< compiled: what no backward reads is not run again
  double selective_products = 0;      ///< of a block's products, run again where some recompute
  double selective_attention = 1;     ///< likewise of attention's inner part
  double selective_operators = 0;     ///< likewise of other operators
  double selective_keeps = 0.95;      ///< of a block's activations, where attention keeps no scores
  bool overlaps_sends = false;        ///< interleaved stages compute while others' tensors travel
  bool scatters_sends = false;        ///< each tensor rank sends its part to the next stage
  bool cuts_batch_by_stages = false;  ///< as many micro-batches as stages, where a job does not say
  double bucket_parameters = 1.6e8;   ///< that one collective between replicas carries
  double bucket_per_replica = 0;      ///< and for each replica at least so many
  bool shards_blocks = false;         ///< FSDP: what it shards travels block by block, always
  bool owns_whole_tensors = false;    ///< ZeRO-1: one collective per owner, not pieces of all
  bool reduces_once = false;  ///< ZeRO-2 and 3: gradients stay whole until the last micro-batch
  bool whole_logits = false;  ///< every tensor rank has all of them
  bool dispatches_once_per_node =
      false;                      ///< a token crosses to a node once, whatever its experts there
  bool overlaps_experts = false;  ///< tokens travel to experts beside another micro-batch's blocks
  double expert_host_factor = 1;  ///< of blocks with experts: their sizes come from the device
  bool fused_casts = false;       ///< to 8 bits, by the kernels that make what is cast
  bool keeps_narrow = false;      ///< of 8-bit products, the operands as those read them
  double kept_gathers = 0;   ///< tensors of a block's full width that sequence parallelism keeps
  bool regathers = false;    ///< in the backward, so that they are kept only until they are used
  bool splits_kept = false;  ///< tensor ranks share the inputs of blocks that are computed again
  bool expands_segments =
      false;                  ///< pages are mapped where gaps would be, or a compiler places all
  bool plans_memory = false;  ///< a compiler places every buffer: two lie where one is dead
  bool pure_half = false;  ///< weights and Adam's states in 16 bits alone, where a job does not say
  bool casts_weights = false;  ///< they live in fp32 alone, 16-bit ones where products read them
  /// ZeRO-3 gathers tensor by tensor, and so many elements ahead of their use; 0: block by block,
  /// one block ahead.
  double prefetch_parameters = 0;
  bool gathers_tensors = false;  ///< weights of one product at a time, not of one block
  bool casts_gathered = false;   ///< 8-bit products: every rank casts the weights that it gathered
  bool prints_first_stage = false;  ///< its log shows the memory of the first rank, not the fullest
  bool prints_reserved = false;     ///< and what the allocator holds, not only what tensors do
  double printed_beyond_bytes = 0;  ///< what its log counts beside the allocator: context, NCCL
  double host_factor = 1;           ///< Python work per block beside that of other eager stacks
  /// Seconds of host time per block, micro-batch and tensor rank that pipelines over several
  /// machines were seen to add; 0: none.
  double pipeline_tensor_host_s = 0;
  std::string source;              ///< where its rules are stated
  std::vector<std::string> users;  ///< of what runs on it, where no other framework is named
  bool operator==(const SoftwareStack&) const = default;
};

/// Everything below data/stacks/, by name of file.
const std::vector<SoftwareStack>& software_stacks();
/// By its own name; nullptr when there is none.
const SoftwareStack* find_stack(const std::string& name);
/// By the free text of a framework's name, whatever separates its words ("megatron_lm", "Megatron
/// LM"); the longest name decides. Megatron is that of 2020 where the text names a release or a
/// year before it fused attention. nullptr when no stack claims it.
const SoftwareStack* stack_of_framework(const std::string& framework);
/// Flash attention was merged into Megatron in January 2023 (pull request 267), reductions beside
/// the backward later that year.
inline constexpr int kFusedMegatron = 2023;
/// The year that a text states of Megatron, or that of the release which it names: "(2024)",
/// "v2.4", "23.08" (as NVIDIA's containers), "240405"; 0: none.
int year_of_megatron(const std::string& framework);

/// Of `fields`: what lives in memory, and what its log says of that.
template <class Visitor, class T>
void memory_fields(Visitor& visit, T& stack) {
  visit.optional("reduces_once", stack.reduces_once,
                 "gradients of ZeRO-2 and 3 stay whole until the last micro-batch");
  visit.optional("whole_logits", stack.whole_logits, "every tensor rank has all logits");
  visit.optional("keeps_narrow", stack.keeps_narrow,
                 "operands of 8-bit products are kept in 8 bits");
  visit.optional("kept_gathers", stack.kept_gathers,
                 "gathered tensors of a block that sequence parallelism keeps");
  visit.optional("splits_kept", stack.splits_kept,
                 "tensor ranks share the inputs of blocks that are computed again");
  visit.optional("regathers", stack.regathers,
                 "in the backward, so that those are kept only until they are used");
  visit.optional("expands_segments", stack.expands_segments,
                 "the allocator maps pages where gaps would be");
  visit.optional("plans_memory", stack.plans_memory,
                 "a compiler places every buffer: two lie where one is dead");
  visit.optional("pure_half", stack.pure_half,
                 "weights, gradients and the optimizer's states have 16 bits, no copies in fp32");
  visit.optional("casts_weights", stack.casts_weights,
                 "weights live in fp32 alone, 16-bit ones where products read them");
  visit.optional("prefetch_parameters", stack.prefetch_parameters,
                 "ZeRO-3 gathers tensor by tensor, so many elements ahead of their use");
  visit.optional("gathers_tensors", stack.gathers_tensors,
                 "weights are gathered for one product at a time");
  visit.optional("prints_first_stage", stack.prints_first_stage,
                 "its log shows the memory of the first rank");
  visit.optional("prints_reserved", stack.prints_reserved,
                 "its log shows what the allocator holds");
  visit.optional("printed_beyond_bytes", stack.printed_beyond_bytes,
                 "what its log counts beside the allocator");
}

template <class Visitor, class T>
void recompute_fields(Visitor& visit, T& stack) {
  visit.optional("spreads_unsaid", stack.spreads_unsaid,
                 "its users say no tensor or pipeline degree where they have none");
  visit.optional("recomputes_unsaid", stack.recomputes_unsaid,
                 "its users recompute as memory needs and do not print it");
  visit.optional("offloads_unsaid", stack.offloads_unsaid,
                 "likewise they move activations to the host, where one is beside the chip");
  visit.optional("skips_last_product", stack.skips_last_product,
                 "recomputed blocks leave out the product whose result no backward reads");
  visit.optional("selective_products", stack.selective_products,
                 "share of products that selective recomputation runs again");
  visit.optional("selective_attention", stack.selective_attention, "likewise of attention");
  visit.optional("selective_operators", stack.selective_operators, "likewise of other operators");
  visit.optional("selective_keeps", stack.selective_keeps, "share of activations that it keeps");
}

template <class Visitor, class T>
  requires SameAs<T, SoftwareStack>
void fields(Visitor& visit, T& stack) {
  visit.schema("parallel-opt/stack/1");
  visit("name", stack.name, "what --stack calls it");
  visit.optional("frameworks", stack.frameworks, "words of a framework's name that mean it");
  visit.optional("users", stack.users, "of what runs on it, where no other framework is named");
  visit("attention", stack.attention, "unfused, early, flash or vendor");
  visit("fused_operators", stack.fused_operators, "norms and activations in few kernels");
  visit("eager_host", stack.eager_host, "Python launches every kernel");
  visit("sequence_parallel", stack.sequence_parallel, "norms are split beside tensor parallelism");
  visit("overlaps_data", stack.overlaps_data, "gradients are reduced beside the backward");
  visit.optional("overlaps_shards", stack.overlaps_shards,
                 "ZeRO-3 gathers the weights of a block beside the one before");
  visit.optional("overlaps_gathers", stack.overlaps_gathers,
                 "updated weights are gathered beside the next forward");
  visit.optional("overlaps_tensor", stack.overlaps_tensor, "collectives run beside products");
  visit("balances_head", stack.balances_head, "stages with the head get fewer blocks");
  visit("shard", stack.shard, "ZeRO stage by default");
  visit.optional("recompute", stack.recompute, "by default");
  visit("gradient_bytes", stack.gradient_bytes, "per parameter");
  visit.optional("bucket_bytes", stack.bucket_bytes, "per parameter, of DDP beside main gradients");
  visit.optional("passing_gradient_bytes", stack.passing_gradient_bytes,
                 "per parameter: of one backward, added to the main ones after it");
  visit("reduced_bytes", stack.reduced_bytes, "per parameter, between replicas");
  visit.optional("gathers_narrow", stack.gathers_narrow,
                 "weights of products in 8 bits travel in 8 bits");
  visit("logits_bytes", stack.logits_bytes, "per logit");
  visit.optional("loss_bytes", stack.loss_bytes, "per logit: moved by the loss, there and back");
  recompute_fields(visit, stack);
  visit.optional("overlaps_sends", stack.overlaps_sends,
                 "interleaved stages compute while others' tensors travel");
  visit.optional("scatters_sends", stack.scatters_sends,
                 "each tensor rank sends its part to the next stage");
  visit.optional("cuts_batch_by_stages", stack.cuts_batch_by_stages,
                 "as many micro-batches as stages by default");
  visit.optional("bucket_parameters", stack.bucket_parameters,
                 "carried by one collective between replicas");
  visit.optional("shards_blocks", stack.shards_blocks, "sharded tensors travel block by block");
  visit.optional("bucket_per_replica", stack.bucket_per_replica,
                 "parameters that one collective carries at least for each replica");
  visit.optional("owns_whole_tensors", stack.owns_whole_tensors,
                 "ranks own whole tensors, exchanged owner by owner");
  visit.optional("dispatches_once_per_node", stack.dispatches_once_per_node,
                 "a token crosses to a node once, whatever its experts there");
  visit.optional("overlaps_experts", stack.overlaps_experts,
                 "tokens travel to experts beside another micro-batch's blocks");
  visit.optional("fused_casts", stack.fused_casts,
                 "casts to 8 bits are part of the kernels that make what is cast");
  visit.optional("expert_host_factor", stack.expert_host_factor,
                 "Python work of blocks with experts beside others");
  memory_fields(visit, stack);
  visit.optional("casts_gathered", stack.casts_gathered,
                 "every rank casts the weights it gathered to 8 bits");
  visit.optional("host_factor", stack.host_factor, "Python work per block beside other stacks'");
  visit.optional("pipeline_tensor_host_s", stack.pipeline_tensor_host_s,
                 "host time per block, micro-batch and tensor rank in pipelines over machines");
  visit("source", stack.source, "where its rules are stated");
}

}  // namespace parallel_opt
