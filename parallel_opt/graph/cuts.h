#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Bytes that a cut between two operators sends forward. A storage counts once, however many views
/// of it cross and however many operators read them.
struct Crossing {
  double activation = 0;  ///< per sample: the newest tensor, the stream that a chain would have
  double skip = 0;        ///< per sample: older ones that are still needed
  double fixed = 0;       ///< once per micro-batch, whatever its size: masks, position tables
  std::int64_t tensors = 0;
  double per_sample() const { return activation + skip; }
  bool operator==(const Crossing&) const = default;
};

/// A place between two operators of the forward, in execution order.
struct Cut {
  OpId after;        ///< last operator of the first part
  double share = 0;  ///< of the weight that lies before the cut
  Crossing crossing;
  std::vector<TensorId> tensors;  ///< owners of the storages that cross, oldest first
  bool operator==(const Cut&) const = default;
};

/// What crosses after each operator. What the caller passes in and what modules own crosses
/// nowhere: each part is given its own. Sizes per sample by find_batch; without a batch axis the
/// whole of an activation is one sample. Linear.
std::vector<Crossing> crossings(const Graph& graph);

/// Places with weight on both sides where fewest bytes cross within a hundredth of the weight:
/// candidates for the borders of pipeline stages. Never inside a region of control flow.
std::vector<Cut> find_cuts(const Graph& graph, std::span<const double> weights);

}  // namespace parallel_opt
