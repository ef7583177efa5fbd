#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "parallel_opt/base/random.h"
#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/cost/optimizer.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/plan/capabilities.h"
#include "parallel_opt/plan/validate.h"
#include "tests/cost/models.h"

/// What holds of every space of layouts, and of every plan in it.
namespace parallel_opt {
namespace {

using testing::cpu;
using testing::gpt;
using testing::machine;
using testing::mlp;

TEST(LayoutsRandom, EveryPointOfASpaceIsAPlanThatHolds) {
  Random random(8);
  int plans = 0;
  for (int round = 0; round < 60; ++round) {
    const auto batch = 1 + std::int64_t(random.below(20));
    const Graph graph = random.below(2) == 0 ? mlp(batch, 8, 1 + int(random.below(3)))
                                             : gpt(1 + int(random.below(3)), batch, 8, 16, 2, 32);
    const Cluster cluster =
        machine(std::vector<Device>(1 + random.below(3), cpu(1 + int(random.below(6)))));
    Job job;
    if (random.below(2) == 0) job.global_batch = 1 + std::int64_t(random.below(24));
    if (random.below(4) == 0) job.pins.threads = 1;
    if (random.below(4) == 0) job.pins.recompute = "none";
    if (random.below(4) == 0) job.optimizer = Optimizer::rmsprop;  // has no fused form
    const CostModel model(graph, cluster, job);
    const LocalSpace& space = model.space();
    ASSERT_TRUE(space.empty.empty()) << to_string(space.empty.front());
    const std::int64_t wanted = global_batch_of(graph, job);
    for (int l = 0; l < int(space.layouts.size()); ++l) {
      const Layout& layout = space.layouts[std::size_t(l)];
      const auto& sizes = space.micro_batches[std::size_t(l)];
      ASSERT_FALSE(sizes.empty());
      EXPECT_TRUE(std::ranges::is_sorted(sizes, std::greater<>()));
      EXPECT_EQ(std::set<std::int64_t>(sizes.begin(), sizes.end()).size(), sizes.size());
      const std::vector<std::int64_t> shares = even_shares(wanted, layout.ranks());
      EXPECT_EQ(sizes.front(), shares.front());  // in one piece first
      for (const std::int64_t size : {sizes.front(), sizes.back()}) {
        LocalChoice choice;
        choice.layout = l;
        choice.micro = int(std::ranges::find(sizes, size) - sizes.begin());
        choice.precision = int(random.below(space.precisions.size()));
        choice.compile = space.compile[random.below(space.compile.size())];
        choice.attention = space.attention[random.below(space.attention.size())];
        choice.fused_optimizer = space.fused_optimizer[random.below(space.fused_optimizer.size())];
        choice.recompute = random.below(2) == 0 ? space.least_recompute : space.most_recompute;
        Plan plan = model.plan(choice);
        plan.estimate = model.estimate(plan);
        const std::vector<Fault> faults = validate(graph, cluster, job, plan);
        ASSERT_TRUE(faults.empty()) << one_line(plan) << ": " << to_string(faults.front());
        EXPECT_EQ(plan.shares, shares);
        // The plan's estimate is the choice's cost, item by item.
        const Cost cost = model.evaluate(choice);
        const Bill bill = model.bill(choice);
        EXPECT_NEAR(plan.estimate.step_time_s.value, cost.time_s, 1e-12 + 1e-9 * cost.time_s);
        EXPECT_NEAR(bill.time_s(), cost.time_s, 1e-12 + 1e-9 * cost.time_s);
        double seconds = 0;
        for (const EstimateItem& item : plan.estimate.items) seconds += item.seconds.value_or(0);
        EXPECT_NEAR(seconds, cost.time_s, 1e-9 * cost.time_s) << one_line(plan);
        EXPECT_GE(cost.energy_j, 10 * cost.time_s * (1 - 1e-9));  // idle watts
        ++plans;
      }
    }
  }
  EXPECT_GT(plans, 300);
}

TEST(SharesRandom, DifferByOneAtMostAndAreAllThere) {
  Random random(9);
  for (int round = 0; round < 500; ++round) {
    const auto batch = std::int64_t(random.below(1000));
    const int replicas = 1 + int(random.below(64));
    const std::vector<std::int64_t> shares = even_shares(batch, replicas);
    ASSERT_EQ(shares.size(), std::size_t(replicas));
    ASSERT_EQ(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}), batch);
    ASSERT_LE(shares.front() - shares.back(), 1);
    ASSERT_TRUE(std::ranges::is_sorted(shares, std::greater<>()));
  }
}

TEST(OptimizerCosts, AreConsistentForEveryOptimizer) {
  for (std::size_t i = 0; i < enum_names(Optimizer{}).size(); ++i) {
    const auto optimizer = Optimizer(i);
    const OptimizerCost cost = optimizer_cost(optimizer);
    SCOPED_TRACE(std::string(name_of(optimizer)));
    if (optimizer == Optimizer::none) {
      EXPECT_EQ(cost.passes + cost.fused_passes + cost.kernels + cost.state_tensors, 0);
      continue;
    }
    // One kernel that does all reads gradient, parameter and states once and writes what changed:
    // p g s... in, p s... out.
    if (has_fused_form(optimizer, DeviceKind::cpu)) {
      EXPECT_EQ(cost.fused_passes, 3 + 2 * cost.state_tensors);
    } else {
      EXPECT_EQ(cost.fused_passes, cost.passes);  // there is none: nothing is gained
    }
    EXPECT_GE(cost.passes, cost.fused_passes);
    EXPECT_GE(cost.kernels, 1);
    EXPECT_GE(cost.passes, cost.kernels);  // each writes at least
  }
}

TEST(SpaceFaults, WhatNoPlanCanMeetIsNamed) {
  const auto fault = [](const Job& job, const Graph& graph) -> std::string {
    const Cluster cluster = machine({cpu(2)});
    const CostModel model(graph, cluster, job);
    return model.space().empty.empty() ? "" : to_string(model.space().empty.front());
  };
  Job job;
  job.pins.fused_optimizer = true;
  job.optimizer = Optimizer::lion;
  EXPECT_EQ(fault(job, mlp()),
            "job.pins.fused_optimizer: the optimizer lion has no fused form (leave it out)");
  job = {};
  job.pins.micro_batch = 9;  // of 8
  EXPECT_TRUE(fault(job, mlp()).starts_with("job.pins.micro_batch: ")) << fault(job, mlp());
  job = {};
  job.precision = Precision::fp16;
  EXPECT_TRUE(fault(job, mlp()).starts_with("job.precision: fp16 runs on no device"))
      << fault(job, mlp());
  job = {};
  job.pins.recompute = "full";
  testing::GraphBuilder b;  // no block at all
  const TensorId x = b.input({4, 4});
  EXPECT_EQ(fault(job, b.done(b.linear(x, {4}, 4, 4, "fc"), "one")),
            "job.pins.recompute: the model has no repeated blocks to recompute (leave it out)");
}

}  // namespace
}  // namespace parallel_opt
