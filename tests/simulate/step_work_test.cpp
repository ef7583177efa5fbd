#include "parallel_opt/simulate/step_work.h"

#include <gtest/gtest.h>

#include <cmath>

#include "parallel_opt/simulate/step_work_fields.h"

namespace parallel_opt {
namespace {

const Schedule kTwo = make_schedule(ScheduleKind::one_f_one_b, 2, 1, 4);

StepWork small_work() {
  StepWork work;
  work.stages.assign(2, {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1});
  return work;
}

std::string faults_in(const StepWork& work, const std::vector<Schedule>& schedules = {kTwo}) {
  std::string text;
  for (const Fault& fault : check(work, schedules)) text += to_string(fault) + "\n";
  return text;
}

TEST(StepWorkCheck, EveryAmountIsLookedAt) {
  StepWork work = small_work();
  work.stages[1].forward_s = -1;
  work.stages[1].kept_bytes = -5;
  work.stages[0].optimizer_s = std::nan("");
  work.slowdown = 0.5;
  work.prefetch = -1;
  work.replicas = 0;
  EXPECT_EQ(faults_in(work),
            "work.stages[0].optimizer_s: is no amount (a number of at least 0)\n"
            "work.stages[1].forward_s: is no amount (a number of at least 0)\n"
            "work.stages[1].kept_bytes: is no amount (a number of at least 0)\n"
            "work.stages[1]: keeps less than what I leaves to W or what goes to the host (both are "
            "parts of kept_bytes)\n"
            "work.slowdown: is no factor (a number of at least 1)\n"
            "work.prefetch: is below 0 (0: nothing is gathered ahead)\n"
            "work.replicas: are 0 (from 1 to 65536)\n");
  EXPECT_EQ(faults_in({}), "work: has no stage (at least one)\n");
}

TEST(StepWorkCheck, WhatNoTotalHoldsIsTooMuch) {
  StepWork work = small_work();
  work.stages[1].kept_bytes = 1'000'000'000'000'000;
  EXPECT_EQ(faults_in(work), "work.stages[1].kept_bytes: is too much (below 1e15)\n");
}

TEST(StepWorkCheck, SharesAddUpAndOffloadHasAWay) {
  StepWork work = small_work();
  work.stages[0].groups = {{.share = 0.5}, {.share = 0.4}};
  work.stages[1].kept_bytes = work.stages[1].offloaded_bytes = 5;
  EXPECT_EQ(faults_in(work),
            "work.stages[0].groups: have shares of the compute that do not add up to 1\n"
            "work.stages[1].offloaded_bytes: has no way to the host (set copy_bytes_per_s)\n");
  work = small_work();
  work.copy_bytes_per_s = 1;
  work.stages[1].fetched_bytes = 5;
  EXPECT_EQ(faults_in(work),
            "work.stages[1].fetched_bytes: come group by group (say which groups there are)\n");
}

TEST(StepWorkCheck, RanksAndLinksExist) {
  StepWork work = small_work();
  work.links = {{.name = "wire", .bytes_per_s = 0}};
  work.routes = {{.from = 0, .to = 2, .link = 1}};
  work.collective_link = 0;
  work.rank_slowdown = {1};
  work.power = {{.idle_w = 10, .busy_w = 5}, {}, {}};
  EXPECT_EQ(faults_in(work),
            "work.links[0].bytes_per_s: is 0 (a number above 0)\n"
            "work.routes[0]: leads from or to a rank that is not there (ranks count from 0 to 1)\n"
            "work.routes[0].link: is no link (links count from 0)\n"
            "work.collective_link: is no shared link (the index of one)\n"
            "work.rank_slowdown: has 1 factors (none, or one for each of 2 ranks)\n"
            "work.power: has 3 entries (none, one, or one for each of 2 ranks)\n"
            "work.power[0].busy_w: is below idle_w (a device that works draws no less)\n");
  work = small_work();
  work.rank_slowdown = {1, 0};
  EXPECT_EQ(faults_in(work), "work.rank_slowdown[1]: is no factor (a number above 0)\n");
}

TEST(StepWorkCheck, SchedulesFitTheWorkAndEachOther) {
  StepWork work = small_work();
  EXPECT_EQ(faults_in(work, {kTwo, kTwo}),
            "work.replicas: have 2 schedules (one for all, or one for each)\n");
  EXPECT_EQ(faults_in(work, {make_schedule(ScheduleKind::gpipe, 3, 1, 4)}),
            "work.stages: has 2 stages (the schedule has 3)\n");
  work.replicas = 2;
  EXPECT_EQ(faults_in(work, {kTwo, make_schedule(ScheduleKind::gpipe, 1, 1, 4)}),
            "work: has schedules of several lengths of pipeline (replicas have equal pipelines)\n");
  const std::vector<Schedule> shares = {kTwo, make_schedule(ScheduleKind::one_f_one_b, 2, 1, 3)};
  EXPECT_EQ(faults_in(work, shares), "");
  work.reduce = ReduceWhen::last;
  EXPECT_EQ(faults_in(work, shares), "");
  const std::string order =
      "work: has replicas that come to their collectives in different orders (give them equal "
      "schedules, or reduce only after the last micro-batch)\n";
  work.reduce = ReduceWhen::each;
  EXPECT_EQ(faults_in(work, shares), order);
  // Stage 1 is done first in one replica and last in the other.
  const Schedule a = parse_actions("0F0,1F0,1B0,0B0,0F1,1F1,1B1,0B1", "a");
  const Schedule b = parse_actions("0F0,0F1,1F0,1F1,1I0,1I1,0B0,0B1,1W0,1W1", "b");
  work.reduce = ReduceWhen::last;
  EXPECT_EQ(faults_in(work, {a, b}), order);
  work.reduce = ReduceWhen::never;
  EXPECT_EQ(faults_in(work, {a, b}), "");
}

TEST(StepWorkJson, ReadsWhatItWrites) {
  StepWork work = small_work();
  work.stages[0].groups = {{.share = 1, .gather_s = 0.5, .reduce_s = 0.25, .gathered_bytes = 8}};
  work.links = {{.name = "wire", .latency_s = 1e-6, .bytes_per_s = 1e9, .shared = true}};
  work.routes = {{.from = 0, .to = 1, .link = 0}};
  work.collective_link = 0;
  work.gather = GatherWhen::each_pass;
  work.reduce = ReduceWhen::each;
  work.power = {{.idle_w = 60, .busy_w = 400, .communication_w = 30}};
  EXPECT_EQ(from_json<StepWork>(to_json(work), "work.json"), work);
}

TEST(StepWorkJson, AShortFileIsEnoughAndFaultsNameThePath) {
  const StepWork work = from_json<StepWork>(
      R"({"schema": "parallel-opt/step-work/1",
          "stages": [{"forward_s": 1, "backward_input_s": 1, "backward_weight_s": 1}]})",
      "work.json");
  EXPECT_EQ(work.stages[0].forward_s, 1);
  EXPECT_EQ(work.replicas, 1);
  try {
    from_json<StepWork>(R"({"schema": "parallel-opt/step-work/1", "stages": [{"forward_s": "x"}],
                            "gather": "sometimes"})",
                        "work.json");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "work.json:stages[0].forward_s: expected a number, found a string\n"
                 "work.json:stages[0]: field \"backward_input_s\" is missing\n"
                 "work.json:stages[0]: field \"backward_weight_s\" is missing\n"
                 "work.json:gather: unknown value \"sometimes\" (known: never, once, each_pass, "
                 "each_forward)");
  }
}

}  // namespace
}  // namespace parallel_opt
