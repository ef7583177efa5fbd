#pragma once

#include <string>

#include "parallel_opt/base/json.h"

namespace parallel_opt {

/// The run that a row of a table was taken for, blank cells filled in: what was predicted.
struct TakenRun {
  std::string device, stack, dtype;
  double sequence = 0;  ///< tokens
  int tensor = 1, pipeline = 1, virtual_stages = 1, context = 1, expert = 1, expert_tensor = 1;
  int data = 1;
  int shard = 0;         ///< ZeRO stage
  int shard_degree = 1;  ///< ranks that share
  std::string schedule;  ///< empty: no pipeline
  double micro_batch = 1, micro_batches = 1;
  bool sequence_parallel = false;
  double recomputed = 0;  ///< share of blocks that are computed again, whole or in part
  std::string recompute;  ///< "none", "selective", "full", "parts"
  std::string attention;  ///< kernel of its inner part
  bool fused_operators =
      false;                  ///< norms and activations in few kernels: compiled, or a stack's own
  double logits_bytes = 0;    ///< per logit, of the head and its loss
  double gradient_bytes = 4;  ///< per parameter, of main gradients
  double optimizer_states = 2;  ///< per parameter, in those of Adam
  bool pure_half = false;       ///< nothing in fp32
  /// Shares on the host.
  double optimizer_offload = 0, activations_offload = 0;
  bool parameters_offload = false;  ///< and the weights
  bool operator==(const TakenRun&) const = default;
};

/// "A100-SXM-80GB megatron, tp 2 pp 4 (1f1b) dp 8, ZeRO-1, 16 x 4, full".
std::string in_short(const TakenRun& run);

template <class Visitor, class T>
  requires SameAs<T, TakenRun>
void fields(Visitor& visit, T& run) {
  visit("device", run.device, "of the database");
  visit("stack", run.stack, "software, of data/stacks");
  visit("dtype", run.dtype, "of products; bf16: any of 16 bits");
  visit("sequence", run.sequence, "tokens");
  visit("tensor", run.tensor, "degree");
  visit("pipeline", run.pipeline, "stages");
  visit("virtual_stages", run.virtual_stages, "of a pipeline rank");
  visit("context", run.context, "degree");
  visit("expert", run.expert, "ways that experts are spread");
  visit("expert_tensor", run.expert_tensor, "tensor ranks that split each expert");
  visit("data", run.data, "replicas, sharded ones included");
  visit("shard", run.shard, "ZeRO stage");
  visit("shard_degree", run.shard_degree, "ranks that share states");
  visit("schedule", run.schedule, "of the pipeline; empty: there is none");
  visit("micro_batch", run.micro_batch, "sequences");
  visit("micro_batches", run.micro_batches, "of a replica and step");
  visit("sequence_parallel", run.sequence_parallel, "norms are split over tensor ranks");
  visit("recompute", run.recompute, "none, selective, full, or parts of a block");
  visit("recomputed", run.recomputed, "share of blocks that this holds for");
  visit("attention", run.attention, "unfused, early, flash or vendor");
  visit("fused_operators", run.fused_operators, "norms and activations in few kernels");
  visit("logits_bytes", run.logits_bytes, "per logit, of the head and its loss");
  visit("gradient_bytes", run.gradient_bytes, "per parameter, of main gradients");
  visit("optimizer_states", run.optimizer_states, "per parameter: 2 of Adam");
  visit("pure_half", run.pure_half, "weights, gradients and states in 16 bits alone");
  visit("optimizer_offload", run.optimizer_offload, "share of the states on the host");
  visit("activations_offload", run.activations_offload, "share of the activations there");
  visit("parameters_offload", run.parameters_offload, "whether the weights are there");
}

}  // namespace parallel_opt
