#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "parallel_opt/base/random.h"
#include "tests/graph/builder.h"

namespace parallel_opt::testing {

/// A random acyclic graph of `operators` additions: each reads one to three earlier results or the
/// input; sizes are random, so that FLOPs and bytes are.
inline Graph random_graph(Random& rng, int operators) {
  GraphBuilder b;
  std::vector<TensorId> results = {b.input("x", {4, 3})};
  for (int i = 0; i < operators; ++i) {
    std::vector<std::pair<std::string, TensorId>> inputs;
    const int count = 1 + static_cast<int>(rng.next() % 3);
    for (int k = 0; k < count; ++k) {
      inputs.emplace_back("x" + std::to_string(k), results[rng.next() % results.size()]);
    }
    const auto width = static_cast<std::int64_t>(1 + rng.next() % 9);
    results.push_back(b.op("test.f.default", std::move(inputs), {4, width}));
  }
  return b.build();
}

/// waits[i][j]: does operator i wait for operator j, directly or not? By all pairs.
inline std::vector<std::vector<bool>> waits_for(const Graph& graph) {
  std::vector<int> producer(graph.tensors.size(), -1);
  std::vector<std::vector<bool>> waits(graph.ops.size(),
                                       std::vector<bool>(graph.ops.size(), false));
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    for (const Operand& input : graph.ops[i].inputs) {
      const int from = producer[input.tensor.index()];
      if (from < 0) continue;
      const auto j = static_cast<std::size_t>(from);
      waits[i][j] = true;
      for (std::size_t k = 0; k < j; ++k) waits[i][k] = waits[i][k] || waits[j][k];
    }
    for (const TensorId id : graph.ops[i].outputs) producer[id.index()] = static_cast<int>(i);
  }
  return waits;
}

}  // namespace parallel_opt::testing
