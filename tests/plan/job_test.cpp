#include "parallel_opt/plan/job.h"

#include <gtest/gtest.h>

#include <limits>

namespace parallel_opt {
namespace {

std::string faults_of(const Job& job) {
  std::string text;
  for (const Fault& fault : check(job)) text += to_string(fault) + "\n";
  return text;
}

TEST(Job, DefaultIsWellFormed) { EXPECT_EQ(faults_of(Job{}), ""); }

TEST(Job, EveryFaultIsNamedAtOnce) {
  Job job;
  job.global_batch = -1;
  job.max_slowdown = -0.5;
  job.memory_limit_bytes = Bytes(0);
  job.steps = 0;
  job.target = "jax";
  job.precision = Precision::fp8;
  job.objective = Objective::money;
  job.pins.data = 0;
  job.pins.threads = -2;
  job.pins.recompute = "some";
  EXPECT_EQ(
      faults_of(job),
      "job.global_batch: -1 is negative (0 means the batch of the model)\n"
      "job.max_slowdown: -0.500 is negative (0.05 allows 5 %)\n"
      "job.memory_limit_bytes: 0 is below 1 (leave it out for no limit but the device's own)\n"
      "job.steps: 0 is below 1 (leave it out)\n"
      "job.target: no engine is called \"jax\" (known: pytorch)\n"
      "job.precision: no engine runs fp8 yet (use auto, fp32, bf16 or fp16)\n"
      "job.objective: money needs prices that no cluster states (use time, energy, memory or edp)\n"
      "job.pins.data: 0 is below 1 (leave it out)\n"
      "job.pins.threads: -2 is below 1 (leave it out)\n"
      "job.pins.recompute: \"some\" is no choice (none or full)\n");
}

TEST(Job, TheOtherFieldsAreJudgedToo) {
  Job job;
  job.objective = Objective::carbon;
  job.loading = DataLoading{-1, -1};
  job.pins.tensor = job.pins.pipeline = job.pins.context = job.pins.expert = 0;
  job.pins.micro_batch = -7;
  EXPECT_EQ(faults_of(job),
            "job.objective: carbon needs prices that no cluster states (use time, energy, memory "
            "or edp)\n"
            "job.loading.sample_s: -1.00 is no time (seconds per sample)\n"
            "job.loading.workers: -1 is out of range (0: the loop makes its samples itself)\n"
            "job.pins.tensor: 0 is below 1 (leave it out)\n"
            "job.pins.pipeline: 0 is below 1 (leave it out)\n"
            "job.pins.context: 0 is below 1 (leave it out)\n"
            "job.pins.expert: 0 is below 1 (leave it out)\n"
            "job.pins.micro_batch: -7 is below 1 (leave it out)\n");
}

TEST(Job, NumbersThatAreNoneAreFaults) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Job job;
  job.max_slowdown = nan;
  job.loading = DataLoading{nan, 2'000'000};
  EXPECT_EQ(check(job, "wish").size(), 3u);
  EXPECT_EQ(check(job, "wish").front().where, "wish.max_slowdown");
  job.loading = DataLoading{1e9, 1'000'000};  // the first second that is too long
  job.max_slowdown = 0;
  EXPECT_EQ(faults_of(job), "job.loading.sample_s: 1e+09 is no time (seconds per sample)\n");
  job.loading->sample_s = 0;
  EXPECT_EQ(faults_of(job), "");
}

TEST(Job, ReadsBackFromItsJson) {
  Job job;
  job.global_batch = 32;
  job.pins.compile = false;
  job.memory_limit_bytes = Bytes(1 << 30);
  EXPECT_EQ(from_json<Job>(to_json(job), "job.json"), job);
}

}  // namespace
}  // namespace parallel_opt
