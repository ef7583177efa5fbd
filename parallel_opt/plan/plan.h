#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/plan/estimate.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// Degrees of the named, ordered mesh axes. The product is the number of ranks; one that no `int`
/// holds ends at the nearest.
struct Mesh {
  int pipeline = 1;
  int data = 1;
  int shard = 1;
  int context = 1;
  int expert = 1;
  int tensor = 1;
  int ranks() const;
  bool operator==(const Mesh&) const = default;
};

/// A run of consecutive blocks on one set of ranks.
struct Stage {
  std::vector<std::string> blocks;  ///< module FQNs in order; empty: the whole model
  std::vector<int> ranks;           ///< in mesh order
  bool operator==(const Stage&) const = default;
};

/// What one rank runs on.
struct Placement {
  int device = 0;          ///< index into the cluster's devices
  std::vector<int> cores;  ///< cpu: logical cores of this rank
  int threads = 1;         ///< cpu: threads of this rank
  bool operator==(const Placement&) const = default;
};

/// Activations that are not kept: for a block, the modules or operators run again in the backward.
struct Recompute {
  std::string block;  ///< module FQN
  std::vector<std::string>
      parts;  ///< module FQNs below it or operator names; the block's own FQN: all of it
  bool operator==(const Recompute&) const = default;
};

/// Switches of the engine that change speed and memory, not results beyond rounding.
struct Execution {
  bool compile = false;
  MemoryFormat memory_format = MemoryFormat::contiguous;
  AttentionKernel attention = AttentionKernel::fused;
  bool fused_optimizer = false;
  bool keep_memory =
      false;  ///< cpu: freed memory stays with the process, so no step faults it in again
  bool operator==(const Execution&) const = default;
};

/// How good the plan is proven to be within the space that was searched.
struct Certificate {
  std::string status;  ///< optimal, feasible, infeasible, timed_out
  double lower_bound_s = 0;
  double gap = 0;                   ///< (step time - lower bound) / step time
  std::string space;                ///< what was searched, in words
  std::vector<std::string> pinned;  ///< what the user fixed
  bool operator==(const Certificate&) const = default;
};

/// Where the plan came from.
struct Provenance {
  std::string version;                ///< of parallel_opt
  std::string model_hash;             ///< graph_hash of the model
  std::string cluster_hash;           ///< hardware_hash of the cluster
  std::vector<std::string> measured;  ///< which numbers were measured, not modelled
  // What the plan was asked for with, so that a question about it needs no repetition. Absent: made
  // by another tool, or inside a training script.
  std::optional<std::string> model_source = {};    ///< the MODEL argument
  std::optional<std::string> cluster_source = {};  ///< the --cluster argument
  std::optional<std::int64_t> seq = {};            ///< sequence length that was asked for
  std::optional<Job> job = {};
  bool operator==(const Provenance&) const = default;
};

/// The answer: plain data, engine-neutral, judged by `validate` and `estimate` whoever made it.
struct Plan {
  std::string model;  ///< name
  Mesh mesh;
  int devices_used = 1;
  std::vector<Placement> placements;  ///< per rank
  std::int64_t global_batch = 0;      ///< samples per optimizer step
  std::int64_t micro_batch = 0;      ///< samples per micro-batch on the rank with the largest share
  std::int64_t micro_batches = 1;    ///< per rank and step
  std::vector<std::int64_t> shares;  ///< samples per data-parallel replica; sums to global_batch
  std::vector<Stage> stages;
  std::string schedule = "none";  ///< pipeline schedule
  Precision precision = Precision::fp32;
  std::vector<Recompute> recompute;
  Execution execution;
  Estimate estimate;
  std::optional<Certificate> certificate;  ///< absent: nothing is proven of this plan
  Provenance provenance;
  bool operator==(const Plan&) const = default;
};

/// Should a plan with these settings keep freed memory? On a CPU yes (a step then takes no page
/// faults: up to 18 % of it measured, docs/cost-model.md), unless memory is what is short, or it is
/// plain PyTorch.
bool keeps_memory(const Execution& execution, Precision precision, const Job& job);

/// The plan in one line for people: "1 rank x 2 threads, bf16, compiled, channels_last, fused
/// optimizer".
std::string one_line(const Plan& plan);

template <class Visitor, class T>
  requires SameAs<T, Mesh>
void fields(Visitor& visit, T& mesh) {
  visit("pipeline", mesh.pipeline, "pipeline stages");
  visit("data", mesh.data, "replicas");
  visit("shard", mesh.shard, "ways that parameters, gradients and optimizer states are sharded");
  visit("context", mesh.context, "ways that the sequence is split");
  visit("expert", mesh.expert, "ways that experts are spread");
  visit("tensor", mesh.tensor, "ways that operators are split");
}

template <class Visitor, class T>
  requires SameAs<T, Stage>
void fields(Visitor& visit, T& stage) {
  visit("blocks", stage.blocks, "module names in order; empty: the whole model");
  visit("ranks", stage.ranks, "in mesh order");
}

template <class Visitor, class T>
  requires SameAs<T, Placement>
void fields(Visitor& visit, T& placement) {
  visit("device", placement.device, "index of the device in the cluster");
  visit.optional("cores", placement.cores, "cpu: logical cores of this rank");
  visit.optional("threads", placement.threads, "cpu: threads of this rank");
}

template <class Visitor, class T>
  requires SameAs<T, Recompute>
void fields(Visitor& visit, T& recompute) {
  visit("block", recompute.block, "module name");
  visit("parts", recompute.parts, "modules or operators run again in the backward");
}

template <class Visitor, class T>
  requires SameAs<T, Execution>
void fields(Visitor& visit, T& execution) {
  visit("compile", execution.compile, "torch.compile");
  visit("memory_format", execution.memory_format, "layout of image tensors");
  visit.optional("attention", execution.attention, "how attention runs");
  visit("fused_optimizer", execution.fused_optimizer, "one kernel per optimizer step");
  visit.optional("keep_memory", execution.keep_memory, "cpu: freed memory stays for the next step");
}

template <class Visitor, class T>
  requires SameAs<T, Certificate>
void fields(Visitor& visit, T& certificate) {
  visit("status", certificate.status, "optimal, feasible, infeasible or timed_out");
  visit("lower_bound_s", certificate.lower_bound_s, "no plan of the space is predicted faster");
  visit("gap", certificate.gap, "(step time - lower bound) / step time");
  visit("space", certificate.space, "what was searched");
  visit("pinned", certificate.pinned, "what the user fixed");
}

template <class Visitor, class T>
  requires SameAs<T, Provenance>
void fields(Visitor& visit, T& provenance) {
  visit("version", provenance.version, "of parallel_opt");
  visit("model_hash", provenance.model_hash, "identity of the computation");
  visit("cluster_hash", provenance.cluster_hash, "identity of the hardware");
  visit("measured", provenance.measured, "which numbers were measured, not modelled");
  visit("model_source", provenance.model_source, "the model as it was named");
  visit("cluster_source", provenance.cluster_source, "the cluster as it was named");
  visit("seq", provenance.seq, "sequence length that was asked for");
  visit("job", provenance.job, "what was wanted");
}

template <class Visitor, class T>
  requires SameAs<T, Plan>
void fields(Visitor& visit, T& plan) {
  visit.schema("parallel-opt/plan/1");
  visit("model", plan.model, "name of the model");
  visit("mesh", plan.mesh, "degrees of the mesh axes");
  visit("devices_used", plan.devices_used, "devices that have a rank");
  visit("placements", plan.placements, "what each rank runs on");
  visit("global_batch", plan.global_batch, "samples per optimizer step");
  visit("micro_batch", plan.micro_batch, "samples per micro-batch on the largest share");
  visit("micro_batches", plan.micro_batches, "per rank and step");
  visit("shares", plan.shares, "samples per replica");
  visit("stages", plan.stages, "what runs where");
  visit.optional("schedule", plan.schedule, "pipeline schedule");
  visit("precision", plan.precision, "arithmetic");
  visit("recompute", plan.recompute, "activations that are computed again");
  visit("execution", plan.execution, "switches of the engine");
  visit("estimate", plan.estimate, "predicted cost of one step");
  visit("certificate", plan.certificate, "how good the plan is; absent: not known");
  visit("provenance", plan.provenance, "where the plan came from");
}

}  // namespace parallel_opt
