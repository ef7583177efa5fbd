#include <benchmark/benchmark.h>

#include "parallel_opt/cost/estimate.h"
#include "parallel_opt/search/search.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

// Question: how many plans per second does one core judge in closed form? Budget: 1 M.
void evaluate_choice(benchmark::State& state) {
  const Graph graph = testing::gpt(12);
  const Cluster cluster = testing::machine();
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  double sum = 0;
  int i = 0;
  for (auto _ : state) {
    choice.recompute[0] = i++ % 13;
    choice.fused_optimizer = i % 2 == 0;
    sum += model.evaluate(choice).time_s;
  }
  benchmark::DoNotOptimize(sum);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(evaluate_choice);

// Question: how long does the whole search take, and does it grow with depth more than linearly?
// Budget: 20 ms for 12 layers.
void search_gpt(benchmark::State& state) {
  const Graph graph = testing::gpt(int(state.range(0)));
  const Cluster cluster = testing::machine();
  for (auto _ : state) benchmark::DoNotOptimize(search(graph, cluster, {}));
  state.SetComplexityN(state.range(0));
}
BENCHMARK(search_gpt)
    ->Arg(12)
    ->Arg(24)
    ->Arg(48)
    ->Arg(96)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();

// Question: what does a big host cost, with its many layouts of ranks and threads?
void search_64_cores(benchmark::State& state) {
  const Graph graph = testing::gpt(12, 64);
  const Cluster cluster = testing::machine({testing::cpu(64), testing::cpu(64)});
  for (auto _ : state) benchmark::DoNotOptimize(search(graph, cluster, {}));
}
BENCHMARK(search_64_cores)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace parallel_opt
