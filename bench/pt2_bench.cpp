#include <benchmark/benchmark.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "parallel_opt/importers/json_tree.h"
#include "parallel_opt/importers/pt2.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kTarget = 100'000'000;  // bytes of JSON

/// A tensor with a symbolic batch, as PyTorch 2.13 writes it.
std::string tensor_value(const std::string& name, const std::string& sizes) {
  return "\"" + name +
         R"j(": {"dtype": 7, "sizes": [{"as_expr": {"expr_str": "Symbol('s77', positive=True, )j"
         R"j(integer=True)", "hint": {"as_int": 4}}}, )j" +
         sizes +
         R"j(], "requires_grad": false, "device": {"type": "cpu", "index": null}, "strides": )j"
         R"j([{"as_int": 2048}, {"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7})j";
}

std::string node(const std::string& target, const std::string& inputs, const std::string& result,
                 std::size_t layer) {
  const std::string module = "blocks." + std::to_string(layer);
  return R"j({"target": "torch.ops.)j" + target + R"j(", "inputs": [)j" + inputs +
         R"j(], "outputs": [{"as_tensor": {"name": ")j" + result +
         R"j("}}], "metadata": {"stack_trace": "File \"/home/someone/model/layers.py\", line 10, )j"
         R"j(in forward\n    for block in self.blocks: x = block(x)\n  File \"/home/someone/model/)j"
         R"j(layers.py\", line 5, in forward\n    return x + gelu(self.fc(self.norm(x)))", )j"
         R"j("nn_module_stack": "L__self__,,model.layers.Model;L__self__)j" +
         module + "," + module + R"j(,model.layers.Block", "torch_fn": "gelu_1;builtin.gelu"}, )j" +
         R"j("is_hop_single_tensor_return": null, "name": ")j" + result + "\"}";
}

std::string tensor_input(const std::string& argument, const std::string& name) {
  return R"({"name": ")" + argument + R"(", "arg": {"as_tensor": {"name": ")" + name +
         R"("}}, "kind": 1})";
}

/// A tower of layers x + gelu(linear(x)), large enough for `kTarget` bytes.
const std::string& model_json() {
  static const std::string kText = [] {
    std::string nodes, values = tensor_value("x", R"({"as_int": 2048})"), inputs;
    std::string x = "x";
    for (std::size_t i = 0; nodes.size() + values.size() + inputs.size() < kTarget; ++i) {
      const std::string n = std::to_string(i);
      values += R"(, "p_blocks_)" + n +
                R"(_w": {"dtype": 7, "sizes": [{"as_int": 2048}, {"as_int": 2048}], )"
                R"("requires_grad": true, "device": {"type": "cpu", "index": null}, "strides": )"
                R"([{"as_int": 2048}, {"as_int": 1}], "storage_offset": {"as_int": 0}, )"
                R"("layout": 7})";
      inputs += R"({"parameter": {"arg": {"name": "p_blocks_)" + n +
                R"(_w"}, "parameter_name": "blocks.)" + n + R"(.w"}}, )";
      const std::string linear = "linear_" + n, gelu = "gelu_" + n, add = "add_" + n;
      if (i > 0) nodes += ", ";
      nodes +=
          node("aten.linear.default",
               tensor_input("input", x) + ", " + tensor_input("weight", "p_blocks_" + n + "_w"),
               linear, i) +
          ", " + node("aten.gelu.default", tensor_input("self", linear), gelu, i) + ", " +
          node("aten.add.Tensor", tensor_input("self", x) + ", " + tensor_input("other", gelu), add,
               i);
      for (const std::string& name : {linear, gelu, add}) {
        values += ", " + tensor_value(name, R"({"as_int": 2048})");
      }
      x = add;
    }
    return R"({"graph_module": {"graph": {"inputs": [], "outputs": [], "nodes": [)" + nodes +
           R"(], "tensor_values": {)" + values +
           R"(}, "sym_int_values": {}}, "signature": {"input_specs": [)" + inputs +
           R"({"user_input": {"arg": {"as_tensor": {"name": "x"}}}}], "output_specs": )"
           R"([{"user_output": {"arg": {"as_tensor": {"name": ")" +
           x +
           R"("}}}}]}, "module_call_graph": []}, "opset_version": {"aten": 10}, )"
           R"("range_constraints": {"s77": {"min_val": 2, "max_val": null}}, )"
           R"("schema_version": {"major": 8, "minor": 20}, "verifiers": ["TRAINING"]})";
  }();
  return kText;
}

/// A file on disk, stored as PyTorch stores it.
const std::string& archive_path() {
  static const std::string kPath = [] {
    const std::string path = "/tmp/parallel_opt_bench_" + std::to_string(::getpid()) + ".pt2";
    const std::string& json = model_json();
    int error = 0;
    zip_t* zip = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &error);
    zip_source_t* source = zip_source_buffer(zip, json.data(), json.size(), 0);
    const zip_int64_t index = zip_file_add(zip, "models/model.json", source, 0);
    zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    zip_close(zip);
    return path;
  }();
  return kPath;
}

double memory_field(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::stod(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}

/// One look at every byte: no reader can be faster.
double pass_seconds(const std::string& text) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(std::ranges::count(text, '"'));
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Question: are 100 MB of .pt2 graph read in 2 s and in 4 times their size of memory? `pass`: time
// over one pass over the bytes; `memory`: growth of the process at its peak, over the JSON's size.
void read_100_megabytes(benchmark::State& state) {
  const std::string& path = archive_path();
  const double floor_s = pass_seconds(model_json());
  double memory = 0;
  double seconds = 0;
  for ([[maybe_unused]] auto _ : state) {
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts anew
    const double before = memory_field("VmRSS:");
    const auto start = std::chrono::steady_clock::now();
    std::optional<Graph> graph = load_pt2(path);
    benchmark::DoNotOptimize(graph);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    state.PauseTiming();  // giving the memory back is no part of reading
    memory = std::max(memory, memory_field("VmHWM:") - before);
    graph.reset();
    state.ResumeTiming();
  }
  const double each = seconds / static_cast<double>(state.iterations());
  const auto size = static_cast<double>(model_json().size());
  state.counters["megabytes"] = size / 1e6;
  state.counters["pass"] = each / floor_s;
  state.counters["memory"] = memory / size;
  std::remove(path.c_str());
}
BENCHMARK(read_100_megabytes)->Unit(benchmark::kMillisecond)->Iterations(3);

// Question: how much of that is the JSON parser alone?
void parse_only(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(nlohmann::json::accept(model_json()));
  }
}
BENCHMARK(parse_only)->Unit(benchmark::kMillisecond)->Iterations(3);

// Question: and of the tree, with what the importer drops left out?
void tree_only(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(
        JsonTree(model_json(), "bench", {"stack_trace", "torch_fn", "from_node"}));
  }
}
BENCHMARK(tree_only)->Unit(benchmark::kMillisecond)->Iterations(3);

}  // namespace
}  // namespace parallel_opt
