#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/graph/liveness.h"

namespace parallel_opt {

/// A storage that lives from operation `first` to operation `last`, both inclusive.
struct LiveBuffer {
  std::string name;
  MemoryKind kind = MemoryKind::activations;
  std::int64_t bytes = 0;
  std::size_t first = 0;
  std::size_t last = 0;
};

/// Adds up what lives during the operations 0..end-1 into `curve`, `peak`, `at_peak` and `largest`;
/// returns the operation of the peak.
std::size_t sweep_buffers(const std::vector<LiveBuffer>& buffers, std::size_t end, Liveness& live);

/// Bytes of the storage that `op` makes for its result `id`, `bytes` being those of its elements.
/// Losses that reduce over the elements in place of a result as large as their input keep that
/// storage: of torch 2.9 to 2.13 mse_loss, smooth_l1_loss, binary_cross_entropy, soft_margin_loss.
std::int64_t storage_bytes(const Graph& graph, const Op& op, TensorId id, std::int64_t bytes);

}  // namespace parallel_opt
