#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/summary.h"

/// What importers' tests look at in a graph that was read.
namespace parallel_opt::testing {

/// Throws std::runtime_error when no tensor has the name.
inline const Tensor& named(const Graph& graph, const std::string& name) {
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

/// Of every operator, in the order of the graph.
inline std::vector<std::string> targets(const Graph& graph) {
  std::vector<std::string> list;
  for (const Op& op : graph.ops) list.push_back(op.target);
  return list;
}

inline std::vector<std::int64_t> sizes_of(const Tensor& tensor) {
  std::vector<std::int64_t> list;
  for (const Dim& dim : tensor.shape) list.push_back(dim.size);
  return list;
}

inline double forward_flops(const Graph& graph) { return summarize(graph).flops.forward.value; }

}  // namespace parallel_opt::testing
