#include <benchmark/benchmark.h>

#include "parallel_opt/graph/alias.h"
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
