#include <benchmark/benchmark.h>

#include <optional>
#include <string>

#include "parallel_opt/importers/hf_config.h"
#include "parallel_opt/importers/inline_spec.h"
#include "parallel_opt/importers/json_tree.h"

namespace parallel_opt {
namespace {

std::string llama(std::int64_t layers) {
  return R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": )" +
         std::to_string(layers) + "}";
}

// Question: is the graph of a config.json linear in layers, and 1,000 layers below 20 ms?
void llama_config(benchmark::State& state) {
  const std::string config = llama(state.range(0));
  for ([[maybe_unused]] auto _ : state) {
    std::optional<Graph> graph = read_hf_config(config, "config.json");
    benchmark::DoNotOptimize(graph);
    state.PauseTiming();  // giving the memory back is no part of reading
    graph.reset();
    state.ResumeTiming();
  }
  state.SetComplexityN(state.range(0));
}
BENCHMARK(llama_config)
    ->RangeMultiplier(10)
    ->Range(10, 1'000)
    ->Unit(benchmark::kMillisecond)
    ->Complexity(benchmark::oN);

// Question: what does an inline model of the same depth cost?
void inline_spec(benchmark::State& state) {
  const std::string spec = "transformer:layers=" + std::to_string(state.range(0));
  for ([[maybe_unused]] auto _ : state) {
    std::optional<Graph> graph = read_inline_spec(spec);
    benchmark::DoNotOptimize(graph);
    state.PauseTiming();
    graph.reset();
    state.ResumeTiming();
  }
}
BENCHMARK(inline_spec)->Arg(1'000)->Unit(benchmark::kMillisecond);

// Question: how much of it is reading the text?
void config_text(benchmark::State& state) {
  const std::string config = llama(1'000);
  for ([[maybe_unused]] auto _ : state) {
    const JsonTree tree(config, "config.json");
    benchmark::DoNotOptimize(tree.root());
  }
}
BENCHMARK(config_text)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace parallel_opt
