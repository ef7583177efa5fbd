#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/analysis.h"
#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/liveness.h"
#include "parallel_opt/graph/summary.h"

namespace parallel_opt {
namespace {

/// A tower of transformer-like layers: 20 operators each, matrix products, views, elementwise.
Graph tower(std::int64_t operators) {
  Graph graph;
  graph.name = "tower";
  const auto tensor = [&](TensorRole role, const std::vector<std::int64_t>& sizes) {
    Tensor t;
    t.name = "t" + std::to_string(graph.tensors.size());
    t.role = role;
    t.requires_grad = role == TensorRole::parameter;
    for (const std::int64_t size : sizes) t.shape.push_back({size, ""});
    graph.tensors.push_back(std::move(t));
    return TensorId(graph.tensors.size() - 1);
  };
  TensorId x = tensor(TensorRole::input, {8, 64, 256});
  graph.inputs = {x};
  for (std::int64_t layer = 0; static_cast<std::int64_t>(graph.ops.size()) < operators; ++layer) {
    const std::string module = "blocks." + std::to_string(layer);
    const TensorId weight = tensor(TensorRole::parameter, {256, 256});
    const auto add = [&](const char* target, std::vector<Operand> inputs,
                         const std::vector<std::int64_t>& sizes) {
      Op op;
      op.target = target;
      op.name = "op" + std::to_string(graph.ops.size());
      op.module = module + ".part" + std::to_string(graph.ops.size() % 3);
      op.inputs = std::move(inputs);
      op.outputs = {tensor(TensorRole::activation, sizes)};
      graph.ops.push_back(std::move(op));
      return graph.ops.back().outputs.front();
    };
    for (int part = 0; part < 4; ++part) {
      const TensorId h =
          add("aten.linear.default", {{"input", x}, {"weight", weight}}, {8, 64, 256});
      const TensorId v = add("aten.view.default", {{"self", h}}, {8, 64, 4, 64});
      const TensorId g = add("aten.gelu.default", {{"self", v}}, {8, 64, 4, 64});
      const TensorId w = add("aten.view.default", {{"self", g}}, {8, 64, 256});
      x = add("aten.add.Tensor", {{"self", x}, {"other", w}}, {8, 64, 256});
    }
  }
  fill_aliases(graph);
  return graph;
}

// Question: is a summary linear in operators, and is it below 200 ms for 100,000?
void summarize_tower(benchmark::State& state) {
  const Graph graph = tower(state.range(0));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(summarize(graph));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(summarize_tower)
    ->RangeMultiplier(10)
    ->Range(1'000, 100'000)
    ->Unit(benchmark::kMillisecond)
    ->Complexity(benchmark::oN);

/// The same without names of modules: runs of operators have to be found.
Graph nameless(Graph graph) {
  for (Op& op : graph.ops) op.module.clear();
  return graph;
}

// Question: are the blocks of 100,000 operators found in 200 ms, by modules (0) and by runs (1),
// and how many hashes of all operators and operands would fit into that time? `pass`: time over one
// look at every operand.
void blocks_of_tower(benchmark::State& state) {
  const Graph graph = state.range(1) == 0 ? tower(state.range(0)) : nameless(tower(state.range(0)));
  const auto look = [&] {
    const auto start = std::chrono::steady_clock::now();
    std::int64_t sum = 0;
    for (const Op& op : graph.ops) {
      for (const Operand& input : op.inputs) {
        for (const Dim& dim : graph.tensor(input.tensor).shape) sum += dim.size;
      }
    }
    benchmark::DoNotOptimize(sum);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  double floor_s = look();
  for (int i = 0; i < 9; ++i) floor_s = std::min(floor_s, look());
  double best = 1e9;
  for ([[maybe_unused]] auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(find_nested_blocks(graph));
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  state.counters["pass"] = best / floor_s;
}
BENCHMARK(blocks_of_tower)->ArgsProduct({{10'000, 100'000}, {0, 1}})->Unit(benchmark::kMillisecond);

// Question: is the analysis linear in operators?
void analyze_tower(benchmark::State& state) {
  const Graph graph = tower(state.range(0));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(analyze(graph));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(analyze_tower)
    ->RangeMultiplier(10)
    ->Range(1'000, 100'000)
    ->Unit(benchmark::kMillisecond)
    ->Complexity(benchmark::oN);

// Question: does exact liveness stay linear in operators?
void liveness_tower(benchmark::State& state) {
  const Graph graph = tower(state.range(0));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(live_bytes(graph, {}));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(liveness_tower)
    ->RangeMultiplier(10)
    ->Range(1'000, 100'000)
    ->Unit(benchmark::kMillisecond)
    ->Complexity(benchmark::oN);

}  // namespace
}  // namespace parallel_opt
