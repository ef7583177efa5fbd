#include "parallel_opt/search/search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "parallel_opt/base/random.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/plan/validate.h"
#include "parallel_opt/search/explain.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cnn;
using testing::cpu;
using testing::gpt;
using testing::machine;
using testing::mlp;

std::string all(const std::vector<Fault>& faults) {
  std::string text;
  for (const Fault& fault : faults) text += to_string(fault) + "\n";
  return text;
}

/// An independent, slow judge: every point of the space, one after the other.
struct BruteForce {
  double best = 1e300;
  double leanest = 1e300;
  std::int64_t points = 0;
};

void each_recompute(const CostModel& model, LocalChoice choice, std::size_t c,
                    const std::function<void(const LocalChoice&)>& visit) {
  if (c == choice.recompute.size()) return visit(choice);
  for (int n = model.space().least_recompute[c]; n <= model.space().most_recompute[c]; ++n) {
    choice.recompute[c] = n;
    each_recompute(model, choice, c + 1, visit);
  }
}

BruteForce brute_force(const Graph& graph, const Cluster& cluster, const Job& job) {
  const CostModel model(graph, cluster, job);
  const LocalSpace& space = model.space();
  BruteForce result;
  for (int l = 0; l < int(space.layouts.size()); ++l) {
    for (int m = 0; m < int(space.micro_batches[std::size_t(l)].size()); ++m) {
      for (int p = 0; p < int(space.precisions.size()); ++p) {
        for (const bool compile : space.compile) {
          for (const MemoryFormat format : space.memory_formats) {
            for (const AttentionKernel attention : space.attention)
              for (const bool fused : space.fused_optimizer) {
                each_recompute(model, {l, m, p, compile, format, attention, fused, {}}, 0,
                               [&](const LocalChoice& c) {
                                 ++result.points;
                                 const Cost cost = model.evaluate(c);
                                 result.leanest = std::min(result.leanest, cost.memory_bytes);
                                 const int pool = space.layouts[std::size_t(l)].pool;
                                 const int device = space.pools[std::size_t(pool)].devices.front();
                                 if (cost.memory_bytes > memory_limit_of(cluster, job, device))
                                   return;
                                 result.best = std::min(result.best, objective_of(cost, job));
                               });
              }
          }
        }
      }
    }
  }
  return result;
}

TEST(Search, EqualsBruteForceOnRandomProblems) {
  Random random(20261121);
  int tight = 0, infeasible = 0;
  for (int i = 0; i < 300; ++i) {
    const std::int64_t batch = 1 + std::int64_t(random.below(24));
    Graph graph;
    switch (random.below(3)) {
      case 0:
        graph = mlp(batch, 8 << random.below(5), 1 + int(random.below(6)));
        break;
      case 1:
        graph = gpt(1 + int(random.below(4)), batch, 16, 32, 4, 64);
        break;
      default:
        graph = cnn(batch, 8, 2 + int(random.below(3)), 8, random.below(2) == 0);
    }
    const int cores = 1 << random.below(4);
    Device device = cpu(cores, random.below(2) == 0 ? 2.0 : 0.9);
    device.launch_s = exact(1e-7 * double(1 + random.below(200)));
    const Cluster cluster = machine(std::vector<Device>(1 + random.below(2), device));
    Job job;
    constexpr Objective kObjectives[] = {Objective::time, Objective::energy, Objective::memory,
                                         Objective::edp};
    job.objective = kObjectives[random.below(4)];
    if (random.below(2) == 0) job.steps = 1 + std::int64_t(random.below(100000));
    const BruteForce free = brute_force(graph, cluster, job);
    if (random.below(2) == 0) {
      job.memory_limit_bytes = Bytes(std::int64_t(free.leanest * (0.9 + 0.4 * random.uniform())));
    }
    const BruteForce truth = brute_force(graph, cluster, job);
    const SearchResult result = search(graph, cluster, job);
    SCOPED_TRACE("case " + std::to_string(i) + ": " + graph.name + " batch " +
                 std::to_string(batch) + " cores " + std::to_string(cores) + " " +
                 std::string(name_of(job.objective)));
    if (truth.best == 1e300) {
      ++infeasible;
      ASSERT_EQ(result.status, SolveStatus::infeasible);
      ASSERT_EQ(result.lower_bound_s, std::nullopt);  // absent is absent
      ASSERT_EQ(result.gap, std::nullopt);
      ASSERT_FALSE(result.binding.empty());
      // The least memory of the whole space, not of the fastest plan of each kind.
      const std::string needs =
          ") needs " + show(Bytes(std::llround(truth.leanest))) + ", the limit";
      ASSERT_NE(result.binding.front().find(needs), std::string::npos) << result.binding.front();
      continue;
    }
    tight += job.memory_limit_bytes.has_value();
    ASSERT_EQ(result.status, SolveStatus::optimal);
    ASSERT_EQ(result.gap, 0);
    const Estimate& e = result.plan->estimate;
    const Cost cost{e.step_time_s.value, e.peak_memory_bytes.value, e.energy_j->value,
                    e.warm_up_s ? e.warm_up_s->value : 0};
    ASSERT_NEAR(objective_of(cost, job), truth.best, 1e-9 * truth.best);
    ASSERT_LE(result.lower_bound_s.value(), e.step_time_s.value * (1 + 1e-12));
    ASSERT_EQ(all(validate(graph, cluster, job, *result.plan)), "");
    ASSERT_LE(result.considered, free.points);
  }
  EXPECT_GT(tight, 30);  // both kinds of answers occurred
  EXPECT_GT(infeasible, 10);
}

}  // namespace
}  // namespace parallel_opt
