#include "parallel_opt/plan/schedule.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/json_traits.h"

namespace parallel_opt {
namespace {

std::string faults_of(const std::vector<Fault>& faults) {
  std::string text;
  for (const Fault& fault : faults) text += to_string(fault) + "\n";
  return text;
}

std::string refusal(std::string_view table) {
  try {
    parse_actions(table, "actions.csv");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Schedule, SmallTablesLiterally) {
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::gpipe, 2, 1, 3)),
            "0F0,0F1,0F2,0B0,0B1,0B2\n1F0,1F1,1F2,1B0,1B1,1B2\n");
  // Rank 0 is one forward ahead of rank 1.
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::one_f_one_b, 2, 1, 3)),
            "0F0,0F1,0B0,0F2,0B1,0B2\n1F0,1B0,1F1,1B1,1F2,1B2\n");
  // Warm-up (2 - 1) * 2 + 2 * 1 = 4 on rank 0, 2 on rank 1.
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::interleaved_1f1b, 2, 2, 2)),
            "0F0,0F1,2F0,2F1,2B0,2B1,0B0,0B1\n1F0,1F1,3F0,3B0,3F1,3B1,1B0,1B1\n");
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::looped_bfs, 1, 2, 2)),
            "0F0,0F1,1F0,1F1,1B1,1B0,0B1,0B0\n");
  // Rank 1 leaves its first W for after the next I.
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::zb_h1, 2, 1, 3)),
            "0F0,0F1,0I0,0W0,0F2,0I1,0W1,0I2,0W2\n1F0,1I0,1F1,1I1,1W0,1F2,1I2,1W1,1W2\n");
  // 2 * 1 + 1 forwards of rank 0 before its first I; W of rank 1 two behind.
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::zb_h2, 2, 1, 4)),
            "0F0,0F1,0F2,0I0,0W0,0F3,0I1,0W1,0I2,0W2,0I3,0W3\n"
            "1F0,1I0,1F1,1I1,1F2,1I2,1W0,1F3,1I3,1W1,1W2,1W3\n");
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::zb_v, 1, 2, 2)),
            "0F0,1F0,1I0,1W0,0F1,0I0,0W0,1F1,1I1,1W1,0I1,0W1\n");
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::dualpipe_v, 1, 2, 2)),
            "0F0,1F0,0F1,1B0,(1F1;0B0)OVERLAP_F_B,1B1,0I1,0W1\n");
  // Stage 2 + s is the second copy of stage s, on rank 1 - s; micro-batches 2 and 3 run through it.
  EXPECT_EQ(action_table(make_schedule(ScheduleKind::dualpipe, 2, 2, 4)),
            "0F0,3F2,0F1,3B2,(3F3;0B0)OVERLAP_F_B,3B3,0I1,0W1\n"
            "2F2,1F0,2F3,1B0,(1F1;2B2)OVERLAP_F_B,1B1,2I3,2W3\n");
}

TEST(Schedule, EveryNamedScheduleIsSound) {
  constexpr auto kNames = enum_names(ScheduleKind{});
  int built = 0;
  for (std::size_t k = 0; k < kNames.size(); ++k) {
    const auto kind = static_cast<ScheduleKind>(k);
    for (const int ranks : {1, 2, 3, 4, 6, 8}) {
      for (int micro_batches = 1; micro_batches <= 24; ++micro_batches) {
        const int own = default_virtual_stages(kind);
        for (const int virtual_stages : {own, own + 1}) {
          if (!check_schedule(kind, ranks, virtual_stages, micro_batches).empty()) continue;
          const Schedule schedule = make_schedule(kind, ranks, virtual_stages, micro_batches);
          ASSERT_EQ(faults_of(check(schedule)), "")
              << kNames[k] << " " << ranks << " " << virtual_stages << " " << micro_batches;
          ASSERT_EQ(parse_actions(action_table(schedule), "t"), schedule);
          ++built;
        }
      }
    }
  }
  EXPECT_GT(built, 1000);
}

TEST(Schedule, WhatANamedScheduleCannotDoIsSaid) {
  EXPECT_EQ(
      faults_of(check_schedule(ScheduleKind::interleaved_1f1b, 4, 2, 9)),
      "schedule interleaved_1f1b: 9 micro-batches do not part into 2 equal rounds of at least "
      "4 (a multiple of the ranks always does)\n");
  EXPECT_EQ(faults_of(check_schedule(ScheduleKind::interleaved_1f1b, 4, 2, 10)), "");  // 2 of 5
  EXPECT_EQ(faults_of(check_schedule(ScheduleKind::zb_v, 4, 3, 8)),
            "schedule zb_v: has 2 stages per rank, not 3 (leave the number out)\n");
  EXPECT_EQ(faults_of(check_schedule(ScheduleKind::one_f_one_b, 4, 2, 8)),
            "schedule 1f1b: has 1 stage per rank, not 2 (interleaved_1f1b and looped_bfs take "
            "several)\n");
  EXPECT_EQ(faults_of(check_schedule(ScheduleKind::dualpipe, 3, 2, 5)),
            "schedule dualpipe: needs an even number of ranks and of micro-batches, not 3 and 5 "
            "(dualpipe_v takes any)\n"
            "schedule dualpipe: needs at least twice as many micro-batches as ranks, not 5 for 3 "
            "(zb_v takes any number)\n");
  EXPECT_EQ(faults_of(check_schedule(ScheduleKind::gpipe, 0, 0, 0)),
            "schedule gpipe: has 0 ranks (at least 1)\n"
            "schedule gpipe: has 0 micro-batches (at least 1)\n"
            "schedule gpipe: has 0 stages per rank (at least 1)\n");
}

TEST(ActionTable, CommunicationAndBlankCellsArePassedOver) {
  const Schedule schedule = parse_actions(
      "0UNSHARD,0F0,0SEND_F0,,0F1, 0RECV_B0 ,0B0,0B1,0REDUCE_GRAD\r\n"
      ",1RECV_F0,1F0,1B0,1F1,1B1\n",
      "t");
  EXPECT_EQ(action_table(schedule), "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n");
  EXPECT_EQ(schedule.rank_of, (std::vector<int>{0, 1}));
}

TEST(ActionTable, FaultsNameRowAndColumn) {
  const std::string hint =
      " (stage, then F, B, I or W, then micro-batch: 0F0; together: (0F5;7B3)OVERLAP_F_B)";
  EXPECT_EQ(refusal("0F0,0X0\n1F0,1B,-1F0,(0F0)OVERLAP_F_B,(0B0;0F0)OVERLAP_F_B,9999999F1"),
            "actions.csv:row 1, column 2: \"0X0\" is no action" + hint +
                "\nactions.csv:row 2, column 2: \"1B\" is no action" + hint +
                "\nactions.csv:row 2, column 3: \"-1F0\" is no action" + hint +
                "\nactions.csv:row 2, column 4: \"(0F0)OVERLAP_F_B\" is no action" + hint +
                "\nactions.csv:row 2, column 5: \"(0B0;0F0)OVERLAP_F_B\" is no action" + hint +
                "\nactions.csv:row 2, column 6: \"9999999F1\" is no action" + hint);
}

TEST(ActionTable, WhatIsMissingOrComesTwiceIsNamed) {
  EXPECT_EQ(refusal(""), "actions.csv: is empty (it needs a rank, a stage and a micro-batch)");
  EXPECT_EQ(refusal("0F0,0B0,2F0,2B0"),
            "actions.csv: no rank has stage 1 (stages count from 0 without gaps)");
  EXPECT_EQ(refusal("0F0,0B0,0F2,0B2"),
            "actions.csv: has 4 actions for 1 stages and 3 micro-batches (each micro-batch needs F "
            "and B, or F, I and W, on every stage)");
  EXPECT_EQ(refusal("0F0,0B0,0F0,0B0"),
            "actions.csv.rank[0][2]: \"0F0\" comes twice (leave one out)\n"
            "actions.csv.rank[0][3]: \"0B0\" comes twice (leave one out)");
  EXPECT_EQ(refusal("0B0,0F0,0W1,0I1,0F1"),
            "actions.csv.rank[0][0]: \"0B0\" comes before what it needs (forward first, then B, or "
            "I and later W)\n"
            "actions.csv.rank[0][2]: \"0W1\" comes before what it needs (forward first, then B, or "
            "I and later W)\n"
            "actions.csv.rank[0][3]: \"0I1\" comes before what it needs (forward first, then B, or "
            "I and later W)");
  EXPECT_EQ(refusal("0F0,0I0,0F1,0B1"),
            "actions.csv: stage 0 lacks the backward for weights of micro-batch 0 (each needs F "
            "and B, or F, I and W)");
  EXPECT_EQ(refusal("0F0,0B0\n0F1,0B1"),
            "actions.csv.rank[1][0]: \"0F1\" is of a stage on rank 0 (a stage has one rank)\n"
            "actions.csv.rank[1][1]: \"0B1\" is of a stage on rank 0 (a stage has one rank)");
}

TEST(ActionTable, RanksThatWaitInACircleAreNamed) {
  // Rank 0 wants the gradient of micro-batch 0 before it forwards 1; rank 1 wants 1 first.
  EXPECT_EQ(refusal("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0"),
            "actions.csv.rank[0][1]: \"0B0\" never begins: stage 1 waits for what comes after it "
            "(the ranks wait in a circle)\n"
            "actions.csv.rank[1][0]: \"1F1\" never begins: stage 0 waits for what comes after it "
            "(the ranks wait in a circle)");
  // Each half of the pair is possible; together they are not: 1B0 needs 1F0.
  EXPECT_EQ(refusal("0F0,(0F1;0B0)OVERLAP_F_B,0B1\n1F0,1F1,1B0,1B1"),
            "actions.csv.rank[0][1]: \"0F1\" never begins: stage 1 waits for what comes after it "
            "(the ranks wait in a circle)\n"
            "actions.csv.rank[1][1]: \"1F1\" never begins: stage 0 waits for what comes after it "
            "(the ranks wait in a circle)");
}

TEST(ScheduleCheck, BrokenShapesAreNamed) {
  Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, 2, 1, 2);
  schedule.rank_of = {0, 5};
  EXPECT_EQ(faults_of(check(schedule)),
            "schedule: places a stage on no rank (every stage has one rank)\n");
  schedule = make_schedule(ScheduleKind::one_f_one_b, 2, 1, 2);
  schedule.lanes = 3;
  EXPECT_EQ(faults_of(check(schedule)),
            "schedule: has 3 lanes (1, or 2 with an even number of stages and micro-batches)\n");
  schedule = make_schedule(ScheduleKind::one_f_one_b, 1, 1, 2);
  schedule.actions[0][0].micro_batch = 7;
  schedule.actions[0][1].with_next = true;
  EXPECT_EQ(faults_of(check(schedule)),
            "schedule.rank[0][0]: \"0F7\" is outside the schedule (stages and micro-batches count "
            "from 0; a lane's micro-batches run its stages)\n"
            "schedule.rank[0][1]: \"0B0\" comes before what it needs (forward first, then B, or I "
            "and later W)\n"
            "schedule.rank[0][1]: \"0B0\" has no partner (a forward runs with a B)\n");
}

}  // namespace
}  // namespace parallel_opt
