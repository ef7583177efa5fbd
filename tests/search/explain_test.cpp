#include "parallel_opt/search/explain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "parallel_opt/base/random.h"
#include "parallel_opt/base/text.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cnn;
using testing::cpu;
using testing::gpt;
using testing::machine;

std::vector<std::string> texts(const std::vector<Reason>& reasons) {
  std::vector<std::string> list;
  for (const Reason& reason : reasons) list.push_back(reason.text);
  return list;
}

/// One rank of `threads` threads with what a step costs.
Plan plan_of(int threads, double step_s, double bytes, std::vector<EstimateItem> items = {}) {
  Plan plan;
  plan.placements = {{0, {0}, threads}};
  plan.estimate.step_time_s = exact(step_s);
  plan.estimate.peak_memory_bytes = exact(bytes);
  plan.estimate.items = std::move(items);
  return plan;
}

TEST(Explain, TotalsFirstThenTheLinesThatDifferMost) {
  // 80 of 100 ms, and 1.5 of 1 GiB.
  Plan mine = plan_of(2, 0.080, 1.5 * (1 << 30),
                      {{"forward", 0.030, {}, 6.0},
                       {"optimizer", 0.050, {}, 4.0},
                       {"activations", {}, 1.5 * (1 << 30), {}}});
  Plan its = plan_of(1, 0.100, 1 << 30,
                     {{"forward", 0.060, {}, 12.0},
                      {"optimizer", 0.0399, {}, 4.0},
                      {"loss", 0.0001, {}, {}},
                      {"activations", {}, 1.0 * (1 << 30), {}}});
  mine.estimate.energy_j = exact(10);
  its.estimate.energy_j = exact(16);
  mine.estimate.warm_up_s = exact(1);
  const std::vector<Reason> reasons = explain(mine, its);
  const std::string total =
      "1 rank x 2 threads, fp32 against 1 rank x 1 thread, fp32: 20.0 ms less (20.0 %) per step, "
      "512 MiB more (50.0 %) at the peak, 6.00 J less (37.5 %) of energy";
  EXPECT_EQ(texts(reasons),
            (std::vector<std::string>{
                total,
                // 1 s of warm-up over 20 ms
                "once, before the first step: 1.00 s more, paid back after 50 steps",
                "activations: 512 MiB more (50.0 %)",
                "forward: 30.0 ms less (30.0 %), 6.00 J less (37.5 %)",
                "optimizer: 10.1 ms more (10.1 %)"}));
  EXPECT_EQ(reasons[0].item, "total");
  EXPECT_NEAR(reasons[0].delta_s.value(), -0.020, 1e-15);
  EXPECT_EQ(reasons[0].delta_bytes, 0.5 * (1 << 30));
  EXPECT_EQ(reasons[0].delta_j, -6);
  EXPECT_EQ(reasons[2].delta_s, std::nullopt);  // a line of bytes alone
}

TEST(Explain, WarmUpThatBuysNothingIsNotPaidBack) {
  Plan mine = plan_of(1, 0.2, 100), its = plan_of(1, 0.1, 100);
  mine.estimate.warm_up_s = exact(3);
  EXPECT_EQ(
      texts(explain(mine, its)),
      (std::vector<std::string>{
          "1 rank x 1 thread, fp32 against 1 rank x 1 thread, fp32: 100 ms more (100 %) per step",
          "once, before the first step: 3.00 s more"}));
  EXPECT_EQ(texts(explain(its, mine))[1], "once, before the first step: 3.00 s less");
  EXPECT_EQ(texts(explain(its, its)),
            std::vector<std::string>{
                "1 rank x 1 thread, fp32 against 1 rank x 1 thread, fp32: equal step time"});
}

TEST(Explain, AgreesWithANaiveDifferenceOfRandomBills) {
  Random random(99);
  const char* const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
  for (int i = 0; i < 200; ++i) {
    const auto bill = [&] {
      std::vector<EstimateItem> items;
      for (const char* name : names) {
        if (random.below(4) == 0) continue;  // a line that only one bill may have
        EstimateItem item{name, {}, {}, {}};
        if (random.below(3) > 0) item.seconds = random.uniform() * random.uniform();
        if (random.below(3) > 0) item.bytes = std::floor(1e9 * random.uniform() * random.uniform());
        items.push_back(std::move(item));
      }
      return items;
    };
    const Plan mine = plan_of(1, 3, 4e9, bill()), its = plan_of(2, 2.5, 3e9, bill());
    std::map<std::string, std::pair<double, double>> naive;
    for (const EstimateItem& item : mine.estimate.items) {
      naive[item.name].first += item.seconds.value_or(0);
      naive[item.name].second += item.bytes.value_or(0);
    }
    for (const EstimateItem& item : its.estimate.items) {
      naive[item.name].first -= item.seconds.value_or(0);
      naive[item.name].second -= item.bytes.value_or(0);
    }
    const auto weight = [](double seconds, double bytes) {
      return std::max(std::abs(seconds) / 2.5, std::abs(bytes) / 3e9);
    };
    const std::vector<Reason> reasons = explain(mine, its);
    ASSERT_LE(reasons.size(), 8u);
    double last = 1e300, shown_least = 1e300;
    for (std::size_t r = 1; r < reasons.size(); ++r) {
      const Reason& reason = reasons[r];
      const auto [seconds, bytes] = naive.at(reason.item);
      EXPECT_NEAR(reason.delta_s.value_or(0), seconds, 1e-12);
      EXPECT_EQ(reason.delta_bytes.value_or(0), bytes);
      EXPECT_LE(weight(seconds, bytes), last);  // most first
      last = shown_least = weight(seconds, bytes);
      naive.erase(reason.item);
    }
    // What is left out weighs less than what is shown, or less than half a percent.
    for (const auto& [name, line] : naive) {
      const double left_out = weight(line.first, line.second);
      EXPECT_TRUE(left_out < 0.005 || (reasons.size() == 8 && left_out <= shown_least)) << name;
    }
  }
}

TEST(ShowPercent, HasOneDecimalAndNoSign) {
  EXPECT_EQ(show_percent(0.1234), "12.3 %");
  EXPECT_EQ(show_percent(-0.5), "50.0 %");
  EXPECT_EQ(show_percent(0.0004), "0 %");
  EXPECT_EQ(show_percent(12), "1200 %");
}

TEST(Wish, EveryNameTakesItsValues) {
  for (const char* good :
       {"ranks=2", "data=1", "threads=16", "tensor=1", "pipeline=4", "context=1", "expert=2",
        "compile=on", "compile=false", "compile=0", "memory_format=channels_last",
        "fused_optimizer=true", "attention=unfused", "recompute=full", "recompute=none",
        "micro_batch=123456789012", "precision=bf16", " threads = 2 "}) {
    EXPECT_TRUE(check_wish(good).empty()) << good;
  }
}

TEST(Wish, EveryFaultHasItsText) {
  const std::pair<const char*, const char*> cases[] = {
      {"ranks=0", "--why-not ranks: \"0\" is no value of it (a whole number from 1)"},
      {"threads=two", "--why-not threads: \"two\" is no value of it (a whole number from 1)"},
      {"data=2.5", "--why-not data: \"2.5\" is no value of it (a whole number from 1)"},
      {"tensor=99999999999",
       "--why-not tensor: \"99999999999\" is no value of it (a whole number "
       "from 1)"},
      {"pipeline", "--why-not pipeline: \"\" is no value of it (a whole number from 1)"},
      {"context=-1", "--why-not context: \"-1\" is no value of it (a whole number from 1)"},
      {"expert=1 2", "--why-not expert: \"1 2\" is no value of it (a whole number from 1)"},
      {"micro_batch=", "--why-not micro_batch: \"\" is no value of it (a whole number from 1)"},
      {"compile=maybe", "--why-not compile: \"maybe\" is no value of it (on or off)"},
      {"fused_optimizer=2", "--why-not fused_optimizer: \"2\" is no value of it (on or off)"},
      {"memory_format=nhwc",
       "--why-not memory_format: \"nhwc\" is no value of it (contiguous or channels_last)"},
      {"attention=flash", "--why-not attention: \"flash\" is no value of it (fused or unfused)"},
      {"recompute=some", "--why-not recompute: \"some\" is no value of it (none or full)"},
      {"precision=auto", "--why-not precision: \"auto\" is no value of it (fp32, bf16 or fp16)"},
      {"precison=fp32",
       "--why-not: \"precison\" is nothing that a plan chooses (did you mean precision?)"},
      {"colour=red",
       "--why-not: \"colour\" is nothing that a plan chooses (one of ranks, data, threads, tensor, "
       "pipeline, context, expert, compile, memory_format, fused_optimizer, attention, recompute, "
       "micro_batch, precision)"},
  };
  for (const auto& [wish, wanted] : cases) {
    const std::vector<Fault> faults = check_wish(wish);
    ASSERT_EQ(faults.size(), 1u) << wish;
    EXPECT_EQ(to_string(faults.front()), wanted);
  }
}

class WhyNot : public ::testing::Test {
 protected:
  Graph graph = gpt(2, 8, 16, 32, 4, 64);
  Cluster cluster = machine({cpu(2)});
  Job job;
  std::vector<std::string> says(const std::string& wish) const {
    return texts(why_not(graph, cluster, job, search(graph, cluster, job), wish));
  }
};

TEST_F(WhyNot, AnotherPlanIsNamedAndCompared) {
  const std::vector<std::string> lines = says("threads=1");
  ASSERT_GE(lines.size(), 2u);
  EXPECT_TRUE(lines[0].starts_with("with threads=1 the best plan is ")) << lines[0];
  EXPECT_NE(lines[0].find(" x 1 thread, "), std::string::npos) << lines[0];
  const std::string chosen = one_line(search(graph, cluster, job).plan.value());
  EXPECT_TRUE(lines[1].starts_with(chosen + " against ")) << lines[1];
  EXPECT_NE(lines[1].find(" less ("), std::string::npos) << lines[1];
}

TEST_F(WhyNot, WhatThePlanHasIsSaid) {
  job.pins.compile = false;
  EXPECT_EQ(says("compile=off"), std::vector<std::string>{"the plan already has compile=off"});
}

TEST_F(WhyNot, WhatCannotBeSaysWhy) {
  EXPECT_EQ(says("ranks=9"),
            (std::vector<std::string>{
                "with ranks=9 there is no plan",
                "job.global_batch: batch smaller than ranks: 8 samples for 9 replicas (use at "
                "most 8 ranks or a larger batch)"}));
  job.steps = -3;  // the wish does not mend the job
  EXPECT_EQ(texts(why_not(graph, cluster, job, {}, "ranks=1")),
            std::vector<std::string>{"job.steps: -3 is below 1 (leave it out)"});
  EXPECT_THROW(says("ranks=none"), InputError);
}

TEST_F(WhyNot, AWishThatMakesAPlanPossibleIsSaid) {
  job.memory_limit_bytes = Bytes(1);
  EXPECT_EQ(search(graph, cluster, job).plan, std::nullopt);
  job.memory_limit_bytes.reset();
  const SearchResult none;  // of a search that found nothing
  const std::vector<Reason> reasons = why_not(graph, cluster, job, none, "threads=2");
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_TRUE(reasons[0].text.starts_with("with threads=2 there is a plan: 1 rank x 2 threads, "));
  EXPECT_EQ(reasons[0].item, "total");
}

TEST(WhyItLost, NamesWhatCountsForTheObjective) {
  Plan chosen = plan_of(1, 0.100, 1 << 30, {{"forward", 0.1, {}, 5.0}, {"weights", {}, 1e9, {}}});
  Plan other =
      plan_of(1, 0.125, 3 << 29, {{"forward", 0.125, {}, 7.0}, {"weights", {}, 1.6e9, {}}});
  chosen.estimate.energy_j = exact(5);
  other.estimate.energy_j = exact(7);
  Job job;
  EXPECT_EQ(why_it_lost(chosen, other, job, true), "25.0 % slower, mostly forward");
  EXPECT_EQ(why_it_lost(chosen, other, job, false),
            "needs 1.50 GiB at the peak: more than the limit");
  job.objective = Objective::energy;
  EXPECT_EQ(why_it_lost(chosen, other, job, true), "40.0 % more energy, mostly forward");
  job.objective = Objective::memory;
  EXPECT_EQ(why_it_lost(chosen, other, job, true), "512 MiB more at the peak, mostly weights");
  job = {};
  EXPECT_EQ(why_it_lost(chosen, chosen, job, true),
            "as fast as the chosen plan, which changes less");
  job.steps = 7;
  EXPECT_EQ(why_it_lost(other, chosen, job, true),
            "20.0 % faster per step, but its warm-up is not paid back in 7 steps");
}

TEST(WhyItLost, ComparesWhatIsMinimised) {
  Plan chosen = plan_of(1, 2, 1e9), faster = plan_of(1, 1, 1e9);
  chosen.estimate.energy_j = exact(10);
  faster.estimate.energy_j = exact(25);
  Job job;
  job.objective = Objective::edp;  // 25 J s against 20 J s
  EXPECT_EQ(why_it_lost(chosen, faster, job, true), "25.0 % more energy times time");
  faster.estimate.energy_j = exact(20);
  EXPECT_EQ(why_it_lost(chosen, faster, job, true),
            "as much energy times time as the chosen plan, which changes less");
  job.objective = Objective::memory;
  EXPECT_EQ(why_it_lost(chosen, faster, job, true),
            "as much memory as the chosen plan, which changes less");
  job.objective = Objective::energy;
  job.steps = 9;
  faster.estimate.energy_j = exact(8);
  EXPECT_EQ(why_it_lost(chosen, faster, job, true),
            "20.0 % less energy per step, but its warm-up is not paid back in 9 steps");
  faster.estimate.energy_j.reset();  // unknown: time decides
  EXPECT_EQ(why_it_lost(faster, chosen, job, true), "100 % slower");
}

TEST(Binding, MemoryThatKeepsABetterPlanOutIsNamed) {
  const Graph graph = gpt(4, 16, 64, 64, 4, 64);
  const Cluster cluster = machine({cpu(2)});
  Job job;
  Plan free = search(graph, cluster, job).plan.value();
  free.execution.keep_memory = false;  // nothing is kept under a limit
  job.memory_limit_bytes = Bytes(std::int64_t(free.estimate.peak_memory_bytes.value) - 1);
  const SearchResult tight = search(graph, cluster, job);
  ASSERT_TRUE(tight.plan);
  const double gain = 1 - free.estimate.step_time_s.value / tight.plan->estimate.step_time_s.value;
  EXPECT_EQ(tight.binding.front(),
            "Memory: " + one_line(free) + " would be " + show_percent(gain) +
                " faster, but needs " +
                show(Bytes(std::llround(free.estimate.peak_memory_bytes.value))) + " of " +
                show(*job.memory_limit_bytes) + ".");
}

TEST(Binding, NormalisationOverTheBatchForbidsTheWayOut) {
  Job job;
  job.memory_limit_bytes = Bytes(1);
  const Cluster cluster = machine({cpu(2)});
  const std::vector<std::string> lines = search(cnn(8, 8, 2), cluster, job).binding;
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("the limit is 1 B. Most of it is "), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1],
            "Micro-batches are no way out: the model mixes the samples of a batch (batch "
            "normalisation), so they would change its results.");
  EXPECT_EQ(search(cnn(8, 8, 2, 8, false), cluster, job).binding.size(), 1u);
}

TEST(Binding, SlowBf16IsLeftOutAloud) {
  const auto told = [](double bf16_speedup, Precision precision) {
    Job job;
    job.precision = precision;
    const SearchResult result =
        search(gpt(1, 4, 16, 32, 4, 64), machine({cpu(2, bf16_speedup)}), job);
    return std::ranges::count(result.binding,
                              "Precision: bf16 is left out, because matrix products in it were not "
                              "found faster on test CPU.");
  };
  EXPECT_EQ(told(0.9, Precision::automatic), 1);
  EXPECT_EQ(told(2, Precision::automatic), 0);
  EXPECT_EQ(told(0.9, Precision::fp32), 0);  // nobody asked
}

}  // namespace
}  // namespace parallel_opt
