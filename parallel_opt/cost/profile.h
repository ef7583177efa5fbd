#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// A quantity of a micro-batch: fixed + per_sample * samples.
struct Affine {
  double fixed = 0;
  double per_sample = 0;
  double at(double samples) const { return fixed + per_sample * samples; }
  Affine& operator+=(const Affine& o) {
    fixed += o.fixed;
    per_sample += o.per_sample;
    return *this;
  }
  Affine operator+(const Affine& o) const { return {fixed + o.fixed, per_sample + o.per_sample}; }
  Affine operator-(const Affine& o) const { return {fixed - o.fixed, per_sample - o.per_sample}; }
  bool operator==(const Affine&) const = default;
};

/// Most classes of repeated blocks that a plan chooses recompute for; the ones that save most.
inline constexpr int kMaxBlockClasses = 3;

/// One kind of call: equal operators are one entry with a count, so that work does not grow with
/// the depth of a model of equal blocks.
struct Work {
  OpClass op_class = OpClass::elementwise;
  bool backward = false;
  bool low = false;         ///< runs in the low precision
  bool heavy = false;       ///< elementwise, with exponentials
  bool by_channel = false;  ///< a norm whose sums run over all images, channel by channel
  bool cast = false;        ///< a change of precision, not an operator of the model
  bool layout = false;      ///< a change of layout that channels_last does without
  bool spread = false;      ///< a bias over the rows of a product, which processors write apart
  int block_class = -1;     ///< repeated block it belongs to; -1: none
  Affine flops;             ///< per call
  Affine bytes;             ///< per call, read and written
  double launches = 1;      ///< overhead, in eager operators, per call
  double calls = 1;         ///< equal calls per micro-batch
};

/// Consecutive equal blocks (class >= 0), or what lies between such runs (class -1, count 1). All
/// bytes per block.
struct Run {
  int block_class = -1;
  int count = 1;
  Affine saved{};        ///< kept for the backward
  Affine input{};        ///< what recompute keeps instead
  Affine forward{};      ///< the most that is held at once beyond all that is kept; may be negative
  Affine backward{};     ///< likewise in the backward, beyond all gradients too
  double gradients = 0;  ///< bytes of parameter gradients that its backward leaves
  int before = 0;        ///< blocks of its class in earlier runs
};

/// How the arithmetic and kernels of a graph are formed; what a Profile is made for.
struct Policy {
  Precision precision = Precision::fp32;
  bool compile = false;
  AttentionKernel attention = AttentionKernel::fused;
  bool operator==(const Policy&) const = default;
};

/// Everything the cost model asks of a graph under one policy. Independent of the machine.
struct Profile {
  std::vector<Work> work;
  std::vector<Run> runs;           ///< in execution order
  int distinct_kernels = 0;        ///< that a compiler must generate
  double weight_copies_bytes = 0;  ///< low-precision copies of weights, alive for a step
  Affine outputs;                  ///< floating outputs of the model, as the loop sees them
};

/// The repeated blocks of one class, in execution order.
struct BlockClass {
  std::vector<std::string> blocks;  ///< module names
};

/// What does not depend on a policy.
struct ModelFacts {
  std::int64_t batch = 1;      ///< samples in the graph
  double parameter_bytes = 0;  ///< tied once
  double buffer_bytes = 0;
  double trainable_bytes = 0;
  /// Trainable tensors by size: bytes and how many.
  std::vector<std::pair<double, double>> trainable;
  std::vector<BlockClass> classes;  ///< at most kMaxBlockClasses
  std::vector<int> op_class;        ///< per operator: its class, -1
  std::vector<int> op_block;        ///< per operator: index of its block within the class, -1
  double tokens_per_sample = 0;     ///< 0: the model reads no tokens
  int batch_norms = 0;              ///< that ranks synchronise: those of training
  double batch_norm_bytes = 0;      ///< of their results, for one sample
  bool mixes_batch = false;         ///< cutting the batch changes results
};

ModelFacts model_facts(const Graph& graph, bool training);
Profile make_profile(const Graph& graph, const ModelFacts& facts, const Policy& policy,
                     bool training);

}  // namespace parallel_opt
