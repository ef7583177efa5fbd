// Question: what does an open energy window cost? Budget: at most 0.5 % of one core. One sample's
// time over the time between samples is the share; begin and end come once per window.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/energy_sources.h"

namespace {

using namespace parallel_opt;

/// Files of a two-socket host on disk: opened and read for each sample, as the kernel's are.
class PowercapTree {
 public:
  PowercapTree() {
    for (int socket = 0; socket < 2; ++socket) {
      const std::string zone = "intel-rapl:" + std::to_string(socket);
      add(zone, "package-" + std::to_string(socket));
      add(zone + ":0", "dram");
    }
  }
  PowercapTree(const PowercapTree&) = delete;
  PowercapTree& operator=(const PowercapTree&) = delete;
  ~PowercapTree() { std::filesystem::remove_all(root); }
  const std::string root = std::filesystem::temp_directory_path().string() + "/energy_bench_" +
                           std::to_string(::getpid());

 private:
  void add(const std::string& zone, const std::string& name) const {
    const std::string directory = root + "/sys/class/powercap/" + zone + "/";
    write_file(directory + "name", name + "\n");
    write_file(directory + "energy_uj", "123456789\n");
    write_file(directory + "max_energy_range_uj", "262143328850\n");
  }
};

EnergyOptions no_gpus() {
  EnergyOptions options;
  options.nvml_library.clear();
  options.amd_libraries.clear();
  return options;
}

void measure(benchmark::State& state, const FileSystem& files) {
  std::vector<std::string> notes;
  const Cluster cluster = discover(files);
  const auto sources = make_energy_sources(files, cluster, no_gpus(), notes);
  double period_s = 1;
  double now_s = 0;
  for (const auto& source : sources) {
    source->begin(now_s);
    period_s = std::min(period_s, source->period_s());
  }
  for (auto _ : state) {
    now_s += period_s;
    for (const auto& source : sources) source->sample(now_s);
  }
  // Samples in a second of an open window: times the time of one this is the share of a core.
  state.counters["samples_per_s"] = 1 / period_s;
}

void sample_rapl(benchmark::State& state) {
  const PowercapTree tree;
  measure(state, DiskFileSystem(tree.root));
}
BENCHMARK(sample_rapl);

void sample_this_host(benchmark::State& state) { measure(state, DiskFileSystem()); }
BENCHMARK(sample_this_host);

void window_of_this_host(benchmark::State& state) {
  EnergyMeter meter;
  for (auto _ : state) {
    meter.begin();
    benchmark::DoNotOptimize(meter.end());
  }
}
BENCHMARK(window_of_this_host);

}  // namespace
