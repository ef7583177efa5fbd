#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "parallel_opt/base/random.h"
#include "parallel_opt/plan/validate.h"
#include "parallel_opt/search/search.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cpu;
using testing::gpt;
using testing::machine;

/// A problem of random size with the plan that the search finds for it.
struct Case {
  Graph graph;
  Cluster cluster;
  Job job;
  Plan plan;
};

Case random_case(Random& random) {
  Case c;
  const auto batch = 2 + std::int64_t(random.below(14));
  c.graph = gpt(1 + int(random.below(3)), batch, 8, 16, 2, 32);
  c.cluster = machine(std::vector<Device>(1 + random.below(2), cpu(1 << random.below(3))));
  if (random.below(2) == 0) c.job.global_batch = 2 + std::int64_t(random.below(20));
  if (random.below(2) == 0) c.job.objective = Objective::memory;
  if (random.below(3) == 0) c.job.pins.data = 2;
  c.plan = search(c.graph, c.cluster, c.job).plan.value();
  return c;
}

std::string faults(const Case& c) {
  std::string text;
  for (const Fault& fault : validate(c.graph, c.cluster, c.job, c.plan)) {
    text += to_string(fault) + "\n";
  }
  return text;
}

TEST(ValidateRandom, OneChangeOfAGoodPlanIsOneFaultAtItsPlace) {
  using Change = std::pair<const char*, std::function<void(Plan&)>>;
  const Change changes[] = {
      {"plan.mesh.pipeline", [](Plan& p) { p.mesh.pipeline = 2; }},
      {"plan.mesh.shard", [](Plan& p) { p.mesh.shard = 3; }},
      {"plan.mesh.context", [](Plan& p) { p.mesh.context = 2; }},
      {"plan.mesh.expert", [](Plan& p) { p.mesh.expert = -1; }},
      {"plan.mesh.tensor", [](Plan& p) { p.mesh.tensor = 0; }},
      {"plan.placements", [](Plan& p) { ++p.mesh.data; }},
      {"plan.placements", [](Plan& p) { p.placements.push_back(p.placements.back()); }},
      {"plan.placements[0].device", [](Plan& p) { p.placements.front().device = -1; }},
      {"plan.placements[0].cores", [](Plan& p) { p.placements.front().cores.front() = 1000; }},
      {"plan.placements[0].threads", [](Plan& p) { p.placements.front().threads += 1000; }},
      {"plan.placements[0].threads", [](Plan& p) { p.placements.front().threads = -5; }},
      {"plan.devices_used", [](Plan& p) { p.devices_used = 0; }},
      {"plan.global_batch", [](Plan& p) { ++p.global_batch; }},
      {"plan.shares", [](Plan& p) { ++p.shares.back(); }},
      {"plan.shares", [](Plan& p) { p.shares.clear(); }},
      {"plan.shares[0]", [](Plan& p) { p.shares.front() = -p.shares.front(); }},
      {"plan.micro_batch", [](Plan& p) { p.micro_batch = -1; }},
      {"plan.micro_batches", [](Plan& p) { p.micro_batches += 1; }},
      {"plan.micro_batches", [](Plan& p) { p.micro_batches = 0; }},
      {"plan.stages", [](Plan& p) { p.stages.push_back(p.stages.front()); }},
      {"plan.stages[0].ranks", [](Plan& p) { p.stages.front().ranks.push_back(-2); }},
      {"plan.stages[0].blocks", [](Plan& p) { p.stages.front().blocks = {"block"}; }},
      {"plan.schedule", [](Plan& p) { p.schedule = "zb_v"; }},
      {"plan.precision", [](Plan& p) { p.precision = Precision::fp8; }},
      {"plan.recompute[0].block", [](Plan& p) { p.recompute = {{"", {"embed"}}}; }},
      {"plan.recompute[0].parts", [](Plan& p) { p.recompute = {{"embed", {"head"}}}; }},
      {"plan.provenance.model_hash", [](Plan& p) { p.provenance.model_hash += '0'; }},
      {"plan.provenance.cluster_hash", [](Plan& p) { p.provenance.cluster_hash = "x"; }},
      {"plan.estimate.peak_memory_bytes",
       [](Plan& p) { p.estimate.peak_memory_bytes.value = 8e9 + 1; }},
  };
  Random random(31);
  for (int i = 0; i < 25; ++i) {
    const Case good = random_case(random);
    ASSERT_EQ(faults(good), "") << one_line(good.plan);
    for (const auto& [where, change] : changes) {
      Case bad = good;
      change(bad.plan);
      const std::string text = "\n" + faults(bad);
      EXPECT_NE(text.find("\n" + std::string(where) + ": "), std::string::npos)
          << one_line(good.plan) << ": " << where << text;
    }
  }
}

TEST(ValidateRandom, RanksMayBeListedInAnyOrder) {
  Random random(5);
  for (int i = 0; i < 40; ++i) {
    Case c = random_case(random);
    // Which rank stands where makes no difference to whether the plan is a good one.
    for (std::size_t r = c.plan.placements.size(); r > 1; --r) {
      std::swap(c.plan.placements[r - 1], c.plan.placements[random.below(r)]);
      std::swap(c.plan.shares[r - 1], c.plan.shares[random.below(r)]);
    }
    std::ranges::reverse(c.plan.stages.front().ranks);
    EXPECT_EQ(faults(c), "");
  }
}

/// Numbers that a file may hold and no plan can mean.
class HostilePlan : public ::testing::Test {
 protected:
  static constexpr int kHuge = std::numeric_limits<int>::max();
  static constexpr std::int64_t kHuge64 = std::numeric_limits<std::int64_t>::max();
  Case c = [] {
    Random random(1);
    return random_case(random);
  }();
  bool says(const std::string& line) const {
    return faults(c).find(line + "\n") != std::string::npos;
  }
};

TEST_F(HostilePlan, AMeshOfBillionsIsAFaultNotAnAllocation) {
  c.plan.mesh.data = kHuge;
  EXPECT_TRUE(says("plan.placements: the mesh has 2147483647 ranks, placements are given for " +
                   std::to_string(c.plan.placements.size())))
      << faults(c);
}

TEST_F(HostilePlan, DegreesWhoseProductOverflowsAreFaults) {
  c.plan.mesh = {kHuge, kHuge, kHuge, kHuge, kHuge, kHuge};
  EXPECT_TRUE(says("plan.mesh.shard: the engine pytorch runs at most 1, the plan has 2147483647"));
  c.plan.mesh = {1, 65536, 65536, 1, 1, 1};  // 2^32: 0 where an int wraps
  EXPECT_TRUE(says("plan.mesh.shard: the engine pytorch runs at most 1, the plan has 65536"));
}

TEST_F(HostilePlan, SharesThatOverflowAreNoBatch) {
  c.plan.shares.assign(c.plan.shares.size(), kHuge64);
  c.plan.shares.push_back(kHuge64);
  c.plan.mesh.data = int(c.plan.shares.size());
  EXPECT_NE(faults(c).find("plan.shares: "), std::string::npos) << faults(c);
}

TEST_F(HostilePlan, HugeMicroBatchesAndThreadsAreCounted) {
  c.plan.micro_batch = kHuge64;
  c.plan.micro_batches = 7;
  EXPECT_NE(faults(c).find("plan.micro_batches: 7 stated, a share of "), std::string::npos)
      << faults(c);
  for (Placement& place : c.plan.placements) place.threads = kHuge;
  c.plan.placements.push_back(c.plan.placements.front());
  EXPECT_NE(faults(c).find("plan.placements[0].threads: 2147483647 threads on "), std::string::npos)
      << faults(c);
}

TEST_F(HostilePlan, MemoryBeyondAnyNumberOfBytesIsTooMuch) {
  c.plan.estimate.peak_memory_bytes = exact(1e300);
  EXPECT_NE(faults(c).find("plan.estimate.peak_memory_bytes: "), std::string::npos);
  EXPECT_EQ(faults(c).find("plan.estimate.peak_memory_bytes: -"), std::string::npos) << faults(c);
}

TEST_F(HostilePlan, AnEmptyPlanIsFullOfFaults) {
  c.plan = {};
  const std::string text = faults(c);
  for (const char* where : {"plan.placements: ", "plan.devices_used: ", "plan.global_batch: ",
                            "plan.shares: ", "plan.micro_batch: ", "plan.stages: "}) {
    EXPECT_NE(text.find(where), std::string::npos) << where << text;
  }
}

}  // namespace
}  // namespace parallel_opt
