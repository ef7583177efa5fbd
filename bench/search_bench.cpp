#include <benchmark/benchmark.h>

#include <optional>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/estimate.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/importers/model.h"
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

// Question: how many layouts of a large model over accelerators? Budget: 1 M a second.
void evaluate_layout(benchmark::State& state) {
  const TransformerFacts facts = transformer_facts(
      bind(load_model("transformer:layers=96,hidden=12288,heads=96,seq=2048,dtype=bf16"),
           {{"batch", 1}}));
  const std::optional<Accelerator> found =
      accelerator_of(*find_device(load_database(), "H100-SXM-80GB"), "bf16");
  if (!found) {
    state.SkipWithError("the H100 has no rate in bf16");
    return;
  }
  const Accelerator& device = *found;
  const SoftwareStack& stack = *find_stack("megatron");
  ParallelLayout layout;
  layout.data = 16;
  layout.shard = 1;
  const LayoutEvaluator evaluate(facts, device, stack, layout_parameters());
  double sum = 0;
  int i = 0;
  for (auto _ : state) {
    layout.tensor = 1 << (i % 4);
    layout.pipeline = 1 << (i / 4 % 4);
    layout.micro_batches = 8 + i % 64;
    ++i;
    sum += evaluate(layout).time_s();
  }
  benchmark::DoNotOptimize(sum);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(evaluate_layout);

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
