#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

enum class MemoryKind {
  parameters,
  buffers,
  inputs,
  gradients,
  optimizer,
  activations,
  temporaries
};
inline constexpr std::size_t kMemoryKinds = 7;

constexpr auto enum_names(MemoryKind) {
  return std::to_array<std::string_view>(
      {"parameters", "buffers", "inputs", "gradients", "optimizer", "activations", "temporaries"});
}

/// How the step is run. The order is fixed: forward, backward in reverse, optimizer.
struct StepOptions {
  bool training = true;
  /// Tensors of a parameter's size that the optimizer keeps (AdamW 2, momentum 1, plain SGD 0),
  /// and that one parameter's update needs for a moment (AdamW 2 when not fused, fused 0).
  double optimizer_states = 2;
  double optimizer_temporaries = 2;
  bool optimizer_stepped = true;  ///< states exist (any step but the first)
  bool gradients_before = false;  ///< gradients exist when the step starts (accumulation)
  /// Dtype that contractions compute in, as autocast does: fp32 leaves the graph as it is. Weights
  /// are cast once per step and kept; normalisations, losses and sums stay in the dtype given.
  DType compute = DType::fp32;
  std::vector<std::string> recompute;  ///< module FQNs whose forward runs again in the backward
};

struct LiveTensor {
  std::string name;  ///< tensor, or "relu: saved", "gradient of x"
  MemoryKind kind = MemoryKind::activations;
  Bytes bytes;
  bool operator==(const LiveTensor&) const = default;
};

/// Live bytes over one step.
struct Liveness {
  Bytes peak;
  std::string peak_at;                        ///< "backward of blocks.3.fc", "optimizer"
  std::array<Bytes, kMemoryKinds> at_peak{};  ///< by MemoryKind
  std::vector<LiveTensor> largest;            ///< at the peak, largest first, at most 20
  std::vector<Bytes> curve;  ///< during each operation: forward, backward, one per optimizer step
  std::size_t forward_operations = 0;  ///< where the backward starts in `curve`
  std::size_t backward_operations = 0;
  Bytes kind(MemoryKind k) const { return at_peak[static_cast<std::size_t>(k)]; }
};

/// Exact liveness of the fixed order; of a branch, of the alternative that keeps most, of a loop,
/// with all that its runs keep. Gradients are freed as the engine frees them: after the node
/// that consumes them; a saved tensor after the node that saved it; the larger workspaces of CPU
/// kernels are counted. Left out: references that Python code holds longer than it needs them, the
/// allocator's rounding. On a CPU, which has no caching allocator, live bytes are what
/// the allocator holds. Linear in operators.
Liveness live_bytes(const Graph& graph, const StepOptions& options);

/// The same of a step recorded with its backward (capture at level "step"), replayed: every storage
/// lives from the operator that makes it to the last one that reads it; parameters, buffers,
/// inputs, optimizer states and the model's outputs to the end, and so does what the backward
/// leaves to the optimizer. What no operator shows (workspaces, references held by Python code or
/// by a node of autograd until it is done) is not in it. Pre: has_backward(step).
Liveness replay_live_bytes(const Graph& step);

}  // namespace parallel_opt
