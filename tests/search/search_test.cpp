#include "parallel_opt/search/search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

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
  double best = 1e300;     ///< objective of plans that fit and are no slower than allowed
  double fastest = 1e300;  ///< step time of plans that fit
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

BruteForce brute_force(const Graph& graph, const Cluster& cluster, const Job& job,
                       double slowest_s = 1e300) {
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
                                 result.fastest = std::min(result.fastest, cost.time_s);
                                 if (cost.time_s > slowest_s) return;
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

Cost cost_of(const Plan& plan) {
  const Estimate& e = plan.estimate;
  return {e.step_time_s.value, e.peak_memory_bytes.value, e.energy_j ? e.energy_j->value : 0,
          e.warm_up_s ? e.warm_up_s->value : 0};
}

constexpr Objective kObjectives[] = {Objective::time, Objective::energy, Objective::memory,
                                     Objective::edp};

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
    ASSERT_NEAR(objective_of(cost_of(*result.plan), job), truth.best, 1e-9 * truth.best);
    ASSERT_NEAR(result.lower_bound_s.value(), truth.fastest, 1e-9 * truth.fastest);
    ASSERT_EQ(all(validate(graph, cluster, job, *result.plan)), "");
    ASSERT_LE(result.considered, free.points);
  }
  EXPECT_GT(tight, 30);  // both kinds of answers occurred
  EXPECT_GT(infeasible, 10);
}

/// A problem with every switch in it that is searched in milliseconds.
class TinySearch : public ::testing::Test {
 protected:
  Graph graph = gpt(2, 8, 16, 32, 4, 64);
  Cluster cluster = machine({cpu(4)});
  Job job;

  SearchResult found(const SearchLimits& limits = {}) const {
    return search(graph, cluster, job, limits);
  }
  std::string refused() const {
    try {
      found();
    } catch (const InputError& error) {
      return all(error.faults());
    }
    return "";
  }
};

TEST_F(TinySearch, AllowedSlowdownIsKeptAndWhatItAllowsIsUsed) {
  int traded = 0;
  for (const Objective objective : {Objective::energy, Objective::memory, Objective::edp}) {
    for (const double slowdown : {0.0, 0.02, 0.2, 1.0, 10.0}) {
      job = {};
      const Plan quick = found().plan.value();
      job.objective = objective;
      job.max_slowdown = slowdown;
      const double slowest = quick.estimate.step_time_s.value * (1 + slowdown);
      const BruteForce truth = brute_force(graph, cluster, job, slowest);
      const Plan plan = found().plan.value();
      SCOPED_TRACE(std::string(name_of(objective)) + " " + show(slowdown));
      EXPECT_LE(plan.estimate.step_time_s.value, slowest * (1 + 1e-12));
      EXPECT_NEAR(objective_of(cost_of(plan), job), truth.best, 1e-9 * truth.best);
      traded += plan.estimate.step_time_s.value > quick.estimate.step_time_s.value * (1 + 1e-9);
    }
  }
  EXPECT_GT(traded, 2);  // slower plans were taken where that saved something
}

TEST_F(TinySearch, BoundsHoldWheneverTheDeadlineFalls) {
  for (const Objective objective : kObjectives) {
    job.objective = objective;
    const BruteForce truth = brute_force(graph, cluster, job);
    for (const double deadline_s : {0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2}) {
      const SearchResult result = found({deadline_s, 4});
      SCOPED_TRACE(std::string(name_of(objective)) + " " + show(deadline_s) + " s, judged " +
                   std::to_string(result.considered));
      if (!result.plan) {
        EXPECT_EQ(result.status, SolveStatus::timed_out);
        EXPECT_EQ(result.lower_bound_s, std::nullopt);
        continue;
      }
      const double mine = objective_of(cost_of(*result.plan), job);
      EXPECT_LE(mine * (1 - result.gap.value()), truth.best * (1 + 1e-9));
      EXPECT_LE(result.lower_bound_s.value(), truth.fastest * (1 + 1e-9));
      EXPECT_EQ(result.plan->certificate->lower_bound_s, result.lower_bound_s);
      if (result.status == SolveStatus::optimal) {
        EXPECT_NEAR(mine, truth.best, 1e-9 * mine);
      }
    }
  }
}

TEST_F(TinySearch, CandidatesComeBestFirstAndPlainIsAmongThem) {
  for (const int keep : {0, 1, 3, 1000}) {
    const SearchResult result = found({60, keep});
    ASSERT_GE(result.candidates.size(), 1u);
    EXPECT_LE(result.candidates.size(), std::size_t(keep) + 1);
    EXPECT_TRUE(std::ranges::is_sorted(result.candidates, {}, [&](const Candidate& c) {
      return objective_of(cost_of(c.plan), job);
    })) << keep;
    const auto plain = [](const Candidate& c) {
      return c.label == "1 rank x 4 threads, fp32" && c.plan.recompute.empty();
    };
    EXPECT_EQ(std::ranges::count_if(result.candidates, plain), 1) << keep;
    for (const Candidate& c : result.candidates) {
      EXPECT_EQ(c.label, one_line(c.plan));
      EXPECT_EQ(all(validate(graph, cluster, job, c.plan)), "");
      EXPECT_EQ(c.plan.certificate.has_value(), c.reason == "chosen") << c.label;
    }
    if (keep == 0) continue;
    EXPECT_EQ(result.candidates.front().reason, "chosen");
    EXPECT_EQ(result.candidates.front().plan, result.plan);
  }
}

TEST_F(TinySearch, NoReasonContradictsTheNumbers) {
  const auto claim = [](const std::string& reason, const std::string& what) {
    return reason.find(what) != std::string::npos;
  };
  int checked = 0;
  for (const Objective objective : kObjectives) {
    for (const std::optional<double> slowdown : {std::optional<double>(), {0.01}, {0.5}}) {
      for (const std::optional<std::int64_t> steps : {std::optional<std::int64_t>(), {100}}) {
        job = {};
        job.objective = objective;
        job.max_slowdown = slowdown;
        job.steps = steps;
        const SearchResult result = found({60, 1000});
        const Estimate& mine = result.plan.value().estimate;
        for (const Candidate& c : result.candidates) {
          const Estimate& its = c.plan.estimate;
          SCOPED_TRACE(std::string(name_of(objective)) + ": " + c.label + ": " + c.reason);
          const double time = its.step_time_s.value / mine.step_time_s.value - 1;
          const double energy = its.energy_j->value / mine.energy_j->value - 1;
          const double bytes = its.peak_memory_bytes.value - mine.peak_memory_bytes.value;
          EXPECT_TRUE(!claim(c.reason, " slower") || time > 0) << time;
          EXPECT_TRUE(!claim(c.reason, " faster") || time < 0) << time;
          EXPECT_TRUE(!claim(c.reason, "as fast as") || std::abs(time) < 1e-6) << time;
          const double worse = objective == Objective::edp ? (1 + energy) * (1 + time) - 1 : energy;
          EXPECT_TRUE(!claim(c.reason, " more energy") || worse > 0) << worse;
          EXPECT_TRUE(!claim(c.reason, " more at the peak") || bytes > 0) << bytes;
          EXPECT_EQ(claim(c.reason, "more than the limit"), !c.fits);
          EXPECT_FALSE(c.reason.starts_with("0 ")) << "a difference of nothing";
          EXPECT_NE(claim(c.reason, "chosen"),
                    claim(c.reason, "than the job allows") || claim(c.reason, " slower") ||
                        claim(c.reason, " more ") || claim(c.reason, "not paid back"));
          ++checked;
        }
      }
    }
  }
  EXPECT_GT(checked, 500);
}

TEST_F(TinySearch, PinsAreKeptAndNamedInTheCertificate) {
  job.pins.data = 2;
  job.pins.device = DeviceKind::cpu;
  job.pins.threads = 1;
  job.pins.micro_batch = 2;
  job.pins.compile = false;
  job.pins.memory_format = MemoryFormat::contiguous;
  job.pins.attention = AttentionKernel::unfused;
  job.pins.fused_optimizer = true;
  job.pins.recompute = "none";
  job.precision = Precision::bf16;
  const Plan plan = found().plan.value();
  EXPECT_EQ(one_line(plan),
            "2 ranks x 1 thread, bf16, unfused attention, fused optimizer, memory kept, "
            "2 micro-batches of 2");
  EXPECT_EQ(
      plan.certificate->pinned,
      (std::vector<std::string>{"data=2", "device=cpu", "threads=1", "micro_batch=2", "compile=off",
                                "memory_format=contiguous", "attention=unfused",
                                "fused_optimizer=on", "recompute=none", "precision=bf16"}));
  EXPECT_EQ(plan.certificate->space,
            "replicas on one node: 1 layout of ranks and threads, 1 micro-batch size over them, "
            "1 precision, 1 compile choice, 1 memory format, 1 attention kernel, 1 optimizer form, "
            "0..0 recomputed blocks of class 0");
  EXPECT_EQ(plan.certificate->status, "optimal");
}

TEST_F(TinySearch, AllRecomputedIsAllRecomputed) {
  job.pins.recompute = "full";
  for (const Candidate& c : found().candidates) EXPECT_EQ(c.plan.recompute.size(), 2u) << c.label;
}

TEST_F(TinySearch, WhatCannotBePlannedIsRefusedAtOnce) {
  job.pins.data = 0;
  job.steps = -1;
  job.objective = Objective::energy;
  cluster.devices.front().power.reset();
  for (Tensor& tensor : graph.tensors) tensor.requires_grad = false;
  EXPECT_EQ(refused(),
            "job.steps: -1 is below 1 (leave it out)\n"
            "job.pins.data: 0 is below 1 (leave it out)\n"
            "model: no trainable parameters (a job with training off needs none)\n"
            "cluster.devices: test CPU states no watts, so energy is unknown (use the objective "
            "time, or state power{idle_w, max_w})\n");
  cluster.devices.clear();
  job = {};
  job.training = false;  // needs no trainable parameters
  EXPECT_EQ(refused(), "cluster.devices: there is none\n");
}

TEST_F(TinySearch, AnEmptySpaceSaysWhichWishCannotBeMet) {
  job.pins.data = 9;  // of a batch of 8
  const SearchResult result = found();
  EXPECT_EQ(result.status, SolveStatus::infeasible);
  EXPECT_EQ(result.plan, std::nullopt);
  EXPECT_EQ(result.considered, 0);
  ASSERT_EQ(result.binding.size(), 1u);
  EXPECT_EQ(result.binding.front(),
            "job.global_batch: batch smaller than ranks: 8 samples for 9 replicas (use at most 8 "
            "ranks or a larger batch)");
}

TEST_F(TinySearch, MoreOfAnythingIsNeverWorse) {
  const auto best = [&] { return objective_of(cost_of(found().plan.value()), job); };
  for (const Objective objective : kObjectives) {
    job = {};
    job.objective = objective;
    const double free = best();
    // Every pin takes plans away.
    job.pins.compile = false;
    const double one = best();
    EXPECT_GE(one, free * (1 - 1e-12)) << name_of(objective);
    job.precision = Precision::fp32;
    const double two = best();
    EXPECT_GE(two, one * (1 - 1e-12)) << name_of(objective);
    job.pins.threads = 1;
    EXPECT_GE(best(), two * (1 - 1e-12)) << name_of(objective);
  }
}

TEST_F(TinySearch, EqualInputGivesEqualBytes) {
  for (const Objective objective : kObjectives) {
    job.objective = objective;
    EXPECT_EQ(to_json(found()), to_json(found())) << name_of(objective);
  }
}

TEST_F(TinySearch, TheSummaryHoldsTheSameAnswer) {
  const SearchResult result = found({60, 3});
  const PlanResult summary = plan_result(result, 0.25);
  EXPECT_EQ(summary.plan, result.plan);
  EXPECT_EQ(summary.search.wall_s, 0.25);
  EXPECT_EQ(summary.search.candidates, result.considered);
  EXPECT_EQ(summary.search.top, result.candidates);
  EXPECT_EQ(summary.search.binding, result.binding);
  const nlohmann::json json = nlohmann::json::parse(to_json(summary));
  EXPECT_EQ(json["schema"], "parallel-opt/plan-result/1");
  EXPECT_EQ(json["search"]["status"], "optimal");
  EXPECT_EQ(json["search"]["top"][0]["reason"], "chosen");
  EXPECT_EQ(json["search"]["lower_bound_s"], *result.lower_bound_s);
  EXPECT_EQ(from_json<Plan>(json["plan"].dump(), "plan"), result.plan);
}

TEST(Objective, HasItsArithmetic) {
  const Cost cost{2, 5e9, 60, 40};  // 2 s, 30 W, 40 s of warm-up
  Job job;
  EXPECT_EQ(objective_of(cost, job), 2);
  job.steps = 20;  // 2 + 40 / 20
  EXPECT_EQ(objective_of(cost, job), 4);
  job.objective = Objective::energy;  // 30 W x 4 s
  EXPECT_EQ(objective_of(cost, job), 120);
  job.objective = Objective::edp;  // 60 J x 4 s
  EXPECT_EQ(objective_of(cost, job), 240);
  job.objective = Objective::memory;
  EXPECT_EQ(objective_of(cost, job), 5e9);
  job.objective = Objective::energy;
  EXPECT_EQ(objective_of({0, 0, 60, 40}, job), 0);  // nothing runs: nothing is drawn
}

TEST(MemoryLimit, IsTheSmallerOfTheDevicesAndTheJobs) {
  const Cluster cluster = machine({cpu(2)});
  Job job;
  EXPECT_EQ(memory_limit_of(cluster, job, 0), 8e9);
  job.memory_limit_bytes = Bytes(3'000'000'000);
  EXPECT_EQ(memory_limit_of(cluster, job, 0), 3e9);
  job.memory_limit_bytes = Bytes(30'000'000'000);
  EXPECT_EQ(memory_limit_of(cluster, job, 0), 8e9);
}

}  // namespace
}  // namespace parallel_opt
