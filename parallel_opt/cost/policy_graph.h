#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/profile.h"
#include "parallel_opt/cost/rates.h"

/// A graph seen under one policy: which tensors are in low precision, which operators fuse, what
/// the backward keeps. Private to cost/.
namespace parallel_opt::cost_detail {

/// Operators that a compiler makes one kernel of.
struct FusedGroup {
  std::vector<std::size_t> ops;
  std::vector<TensorId> inputs;   ///< storages read from outside
  std::vector<TensorId> outputs;  ///< storages that something outside reads
  std::vector<TensorId> kept;     ///< storages that its operators keep for the backward
  bool reduces = false;           ///< holds a normalisation, softmax, loss or sum
  bool needs_grad = false;
  bool has_parameters = false;
  std::string signature;  ///< equal groups are generated once
};

/// One storage that the forward leaves for the backward.
struct Kept {
  std::size_t op = 0;  ///< first operator that keeps it
  TensorId storage;    ///< invalid: not a tensor of the graph
  Affine bytes;
};

struct PolicyGraph {
  PolicyGraph(const Graph& graph, const Policy& policy, std::int64_t batch);

  const Graph& graph;
  Policy policy;
  std::int64_t batch;
  std::vector<bool> grows;       ///< per tensor: its size is in proportion to the batch
  std::vector<bool> needs;       ///< per tensor: a gradient flows into it
  std::vector<TensorId> owner;   ///< per tensor: who owns its storage
  std::vector<int> producer;     ///< per tensor: operator that makes it, -1
  std::vector<bool> low_tensor;  ///< per tensor: held in the low precision
  std::vector<bool> low_op;      ///< per operator: computes in the low precision
  std::vector<int> group_of;     ///< per operator: its fused group, -1
  std::vector<FusedGroup> groups;

  bool op_grows(const Op& op) const;
  double tensor_bytes(TensorId id) const;  ///< at the batch of the graph
  Affine tensor_affine(TensorId id) const;
  /// Bytes of an operator's floating operands under the policy over those as captured.
  double bytes_ratio(const Op& op) const;
  double constant_bytes(const Op& op) const;  ///< operands that do not grow with the batch
  bool is_cast(TensorId id) const;            ///< a low operator must convert it first
  /// Activation storages that an operator reads or makes; inner ones of a fused group do not exist.
  std::vector<TensorId> touched(std::size_t op) const;
  std::vector<Kept> kept() const;  ///< in the order of the operators
  int distinct_kernels(bool training) const;
  double weight_copies_bytes() const;
  /// Does this operator run as two products around a softmax (Execution::attention)?
  bool unfuses(std::size_t op) const;
  /// Elements of its scores: every query against every key. Pre: unfuses(op).
  Affine scores(std::size_t op) const;

 private:
  void choose_precision();
  void fuse();
  void fill_group(FusedGroup& group, int index, const std::vector<std::vector<int>>& readers) const;
  std::vector<Kept> kept_eagerly() const;
};

/// Can engine/attention.py run it unfused? Dropout of probabilities and a mask that learns cannot.
bool can_unfuse(const Graph& graph, const Op& op);

/// Is its memory counted with the weights, the buffers or the loop's inputs?
bool lives_anyway(TensorRole role);
/// Can a compiler fuse this operator into a generated kernel?
bool is_fusible(OpClass op_class);

}  // namespace parallel_opt::cost_detail
