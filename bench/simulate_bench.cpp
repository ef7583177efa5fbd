#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {
namespace {

StepWork even_work(int stages) {
  StepWork work;
  work.stages.assign(static_cast<std::size_t>(stages), {.forward_s = 1e-3,
                                                        .backward_input_s = 1e-3,
                                                        .backward_weight_s = 1e-3,
                                                        .kept_bytes = 1 << 20,
                                                        .output_bytes = 1 << 16});
  work.links = {{.name = "wire", .latency_s = 1e-5, .bytes_per_s = 1e10}};
  return work;
}

void run(benchmark::State& state, const StepWork& work, const Schedule& schedule) {
  std::int64_t events = 0;
  for (auto _ : state) events += simulate(work, {schedule}).events;
  state.SetItemsProcessed(events);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["peak_GiB"] = static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

// Question: how many events per second does one core simulate when nothing contends? Budget: 5 M.
void without_contention(benchmark::State& state) {
  run(state, even_work(16), make_schedule(ScheduleKind::one_f_one_b, 16, 1, 512));
}
BENCHMARK(without_contention)->Unit(benchmark::kMillisecond);

// Question: and when all boundary tensors share one link, so that events go in the order of time?
void with_contention(benchmark::State& state) {
  StepWork work = even_work(16);
  work.links[0].shared = true;
  run(state, work, make_schedule(ScheduleKind::one_f_one_b, 16, 1, 512));
}
BENCHMARK(with_contention)->Unit(benchmark::kMillisecond);

// Question: and with sharded parameters, gathers and reductions that slow compute down?
void sharded(benchmark::State& state) {
  StepWork work = even_work(16);
  for (StageWork& stage : work.stages) {
    stage.groups.assign(8, {.share = 0.125, .gather_s = 5e-5, .reduce_s = 1e-4});
  }
  work.gather = GatherWhen::each_pass;
  work.reduce = ReduceWhen::last;
  work.slowdown = 1.1;
  run(state, work, make_schedule(ScheduleKind::one_f_one_b, 16, 1, 128));
}
BENCHMARK(sharded)->Unit(benchmark::kMillisecond);

// Question: 1,024 stages x 4,096 micro-batches, and how much memory that takes. Budgets: 10 s,
// 2 GiB; the schedule is part of it.
void large(benchmark::State& state) {
  const StepWork work = even_work(1024);
  std::int64_t events = 0;
  for (auto _ : state) {
    std::vector<Schedule> schedules;
    schedules.push_back(make_schedule(ScheduleKind::one_f_one_b, 1024, 1, 4096));
    events += simulate(work, schedules).events;
  }
  state.SetItemsProcessed(events);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["peak_GiB"] = static_cast<double>(usage.ru_maxrss) / (1 << 20);
}
BENCHMARK(large)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
}  // namespace parallel_opt
