// Question: what does a cluster of ten thousand devices cost to make, to copy and to read again?

#include <benchmark/benchmark.h>

#include "parallel_opt/hardware/load.h"

namespace {

using namespace parallel_opt;

constexpr const char* kTenThousand = "1000n8xH100-SXM-80GB+250n8xA100-SXM-80GB";

void make(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(load_cluster(kTenThousand));
}
BENCHMARK(make)->Unit(benchmark::kMillisecond);

void copy(benchmark::State& state) {
  const Cluster cluster = load_cluster(kTenThousand);
  for (auto _ : state) {
    Cluster other = cluster;
    benchmark::DoNotOptimize(other.devices.data());
  }
}
BENCHMARK(copy)->Unit(benchmark::kMillisecond);

void write_and_read(benchmark::State& state) {
  const Cluster cluster = load_cluster(kTenThousand);
  for (auto _ : state) benchmark::DoNotOptimize(from_json<Cluster>(to_json(cluster, 0), "c"));
}
BENCHMARK(write_and_read)->Unit(benchmark::kMillisecond);

}  // namespace
