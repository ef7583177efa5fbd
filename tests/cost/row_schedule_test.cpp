#include "parallel_opt/cost/row_schedule.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/row_notes.h"
#include "row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::skipped;
using testing::told;
using testing::usual_row;

/// 24 blocks on four stages.
TrainingRow piped_row() {
  TrainingRow row = usual_row("Megatron-LM 2024");
  row.pp = 4;
  row.dp = 2;
  return row;
}

TEST(RowSchedule, ItsWordsCountTheStagesOfARank) {
  for (const char* words :
       {"Interleaved 1F1B (VPP 3)", "interleaved with v=3", "interleaved v=3", "interleaved, vpp=3",
        "interleaved 1F1B, 3 chunks per rank", "1F1B interleaved, virtual stages 3", "vpp 3",
        "interleaved (3 model chunks)"}) {
    TrainingRow row = piped_row();
    row.schedule = words;
    EXPECT_EQ(skipped(row), "") << words;
    EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::interleaved_1f1b) << words;
    EXPECT_EQ(case_of(row).layout.virtual_stages, 3) << words;
    EXPECT_EQ(note_with(row, "vp = 2"), "") << words;
  }
  TrainingRow row = piped_row();
  row.schedule = "1F1B (interleaved)";
  EXPECT_EQ(case_of(row).layout.virtual_stages, 3);
  // The column counts, and what contradicts it is told.
  row.schedule = "interleaved (VPP 6)";
  row.vp = 3;
  EXPECT_EQ(case_of(row).layout.virtual_stages, 3);
  EXPECT_EQ(told(row, "the stages of a rank that schedule counts are not vp; vp counts"), 1);
  EXPECT_EQ(stages_of_rank_in_words("DualPipe v2, nodes of v100"), std::nullopt);
}

// Stages of one or two blocks: Megatron's 175B 6 to 12 per rank of 12, NVIDIA's 405B 8 of 16.
TEST(RowSchedule, StagesThatNobodyCountsHaveTwoBlocks) {
  const auto stages = [](double blocks, double ranks, const char* framework) {
    TrainingRow row = usual_row(framework);
    row.layers = blocks;
    row.pp = ranks;
    row.gpus = ranks * 2;
    row.dp = 2;
    row.schedule = "interleaved 1F1B";
    return case_of(row).layout.virtual_stages;
  };
  EXPECT_EQ(stages(96, 8, "Megatron-LM 2024"), 6);
  EXPECT_EQ(stages(80, 4, "Megatron-LM 2024"), 10);
  EXPECT_EQ(stages(105, 35, "Megatron-LM 2024"), 3);
  EXPECT_EQ(stages(126, 16, "Megatron-LM 2024"), 4);
  EXPECT_EQ(stages(18, 2, "Megatron-LM 2024"), 3);
  EXPECT_EQ(stages(80, 4, "torchtitan"), 2);
}

TEST(RowSchedule, BriefNamesAreThoseOfCells) {
  TrainingRow row = piped_row();
  row.schedule = "ZB";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::zb_h1);
  row.schedule = "zero bubble 2p";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::zb_h2);
  row.schedule = "bfs";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::looped_bfs);
  row.schedule = "";
  row.notes = "files on a BFS of 2 ZB";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::one_f_one_b);
}

TEST(RowSchedule, NotesCountThemToo) {
  for (const char* words : {"VPP 3", "vpp=3", "interleaved with v=3",
                            "interleaved, 3 chunks per rank", "interleaved schedule (v=3)"}) {
    TrainingRow row = piped_row();
    row.notes = words;
    EXPECT_EQ(fill_from_notes(row).columns, std::vector<std::string>{"vp"}) << words;
    EXPECT_EQ(case_of(row).layout.virtual_stages, 3) << words;
  }
  TrainingRow row = piped_row();
  row.notes = "driver v=535; not interleaved";
  EXPECT_TRUE(fill_from_notes(row).columns.empty());
  EXPECT_EQ(case_of(row).layout.virtual_stages, 1);
}

TEST(RowSchedule, OneForwardOneBackwardHasMoreNames) {
  for (const char* words : {"standard 1F1B", "one-forward-one-backward", "non-interleaved", "1F1B",
                            "one forward one backward (1F1B)", "1F1B (non-interleaved)",
                            "1F1B schedule", "PipeDream-Flush"}) {
    TrainingRow row = piped_row();
    row.schedule = words;
    EXPECT_EQ(skipped(row), "") << words;
    EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::one_f_one_b) << words;
    EXPECT_EQ(case_of(row).layout.virtual_stages, 1) << words;
    EXPECT_EQ(note_with(row, "schedule"), "") << words;
  }
  TrainingRow row = piped_row();
  row.schedule = "some other schedule (1F1B)";
  EXPECT_NE(skipped(row), "");
}

TEST(RowSchedule, TheSpecificNameCounts) {
  const struct {
    const char* words;
    ScheduleKind kind;
  } kNamed[] = {{"zero bubble (ZB-H2)", ScheduleKind::zb_h2},
                {"zero bubble pipeline (ZB-H2)", ScheduleKind::zb_h2},
                {"ZB-H2 (zero bubble)", ScheduleKind::zb_h2},
                {"zero bubble (ZBV)", ScheduleKind::zb_v},
                {"1F1B (interleaved)", ScheduleKind::interleaved_1f1b},
                {"interleaved (1F1B)", ScheduleKind::interleaved_1f1b},
                {"1f1b with interleaving", ScheduleKind::interleaved_1f1b},
                {"interleaving", ScheduleKind::interleaved_1f1b},
                {"Megatron interleaved schedule", ScheduleKind::interleaved_1f1b},
                {"Megatron-LM's interleaved 1F1B pipeline", ScheduleKind::interleaved_1f1b},
                {"fill-drain", ScheduleKind::gpipe},
                {"GPipe (fill-drain)", ScheduleKind::gpipe},
                {"1F1B pipeline schedule", ScheduleKind::one_f_one_b}};
  for (const auto& [words, kind] : kNamed) {
    TrainingRow row = piped_row();
    row.schedule = words;
    EXPECT_EQ(skipped(row), "") << words;
    EXPECT_EQ(case_of(row).layout.schedule, kind) << words;
    EXPECT_EQ(note_with(row, "is taken as ZB-H1"), "") << words;
  }
  for (const char* words : {"some pipeline", "Megatron", "zero", "foo (ZB-H2)"}) {
    TrainingRow row = piped_row();
    row.schedule = words;
    EXPECT_NE(skipped(row), "") << words;
  }
}

TEST(RowSchedule, WhichZeroBubbleIsTakenIsTold) {
  const char* const plain = "zero bubble is taken as ZB-H1, as none of its schedules is named";
  const char* const looped =
      "the interleaved zero bubble is taken as ZB-H1, whose ranks have one stage";
  for (const auto cell : {&TrainingRow::schedule, &TrainingRow::notes}) {
    for (const char* words : {"zero bubble", "zero-bubble pipeline", "Zero-Bubble pipeline"}) {
      TrainingRow row = piped_row();
      row.*cell = words;
      EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::zb_h1) << words;
      EXPECT_EQ(told(row, plain), 1) << words;
    }
    for (const char* words : {"InterleavedZeroBubble", "ScheduleInterleavedZeroBubble"}) {
      TrainingRow row = piped_row();
      row.*cell = words;
      EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::zb_h1) << words;
      EXPECT_EQ(case_of(row).layout.virtual_stages, 1) << words;
      EXPECT_EQ(told(row, looped), 1) << words;
    }
    for (const char* words : {"ZB-H1", "zero bubble H1", "ZB-1p", "ScheduleZBVZeroBubble"}) {
      TrainingRow row = piped_row();
      row.*cell = words;
      EXPECT_EQ(note_with(row, "is taken as ZB-H1"), "") << words;
    }
  }
  TrainingRow flat = usual_row("Megatron-LM 2024");  // nothing is scheduled
  flat.schedule = "zero bubble";
  EXPECT_EQ(told(flat, plain), 0);
}

TEST(RowSchedule, PyTorchsClassesAreReadInCellsAndNotes) {
  const struct {
    const char* words;
    ScheduleKind kind;
    int stages;  // of a rank's 6 blocks
  } kClasses[] = {{"ScheduleGPipe", ScheduleKind::gpipe, 1},
                  {"Schedule1F1B", ScheduleKind::one_f_one_b, 1},
                  {"ScheduleInterleavedZeroBubble", ScheduleKind::zb_h1, 1},
                  {"ScheduleZBVZeroBubble", ScheduleKind::zb_v, 2},
                  {"ScheduleDualPipeV", ScheduleKind::dualpipe_v, 2}};
  for (const auto& [words, kind, stages] : kClasses) {
    for (const auto cell : {&TrainingRow::schedule, &TrainingRow::notes}) {
      TrainingRow row = piped_row();
      row.*cell = words;
      EXPECT_EQ(case_of(row).layout.schedule, kind) << words;
      EXPECT_EQ(case_of(row).layout.virtual_stages, stages) << words;
      EXPECT_EQ(note_with(row, "schedule = "), "") << words;
    }
  }
  TrainingRow row = piped_row();
  row.schedule = "ScheduleInterleaved1F1B";
  EXPECT_EQ(case_of(row).layout.virtual_stages, 3);
  row.schedule = "";
  row.notes = "ScheduleInterleaved1F1B";
  EXPECT_EQ(case_of(row).layout.virtual_stages, 3);
}

TEST(RowSchedule, WhatNobodySaysIsTold) {
  TrainingRow row = piped_row();
  EXPECT_EQ(told(row, "schedule = 1F1B, as none is stated"), 1);
  row.vp = 2;
  EXPECT_EQ(told(row, "schedule = 1F1B interleaved by vp, as none is stated"), 1);
  row.notes = "interleaved schedule";
  EXPECT_EQ(note_with(row, "schedule = "), "");
  row.notes = "";
  row.schedule = "interleaved";
  EXPECT_EQ(note_with(row, "schedule ="), "");
  // Without a pipeline there is none.
  TrainingRow flat = usual_row("Megatron-LM 2024");
  EXPECT_EQ(note_with(flat, "schedule ="), "");
}

}  // namespace
}  // namespace parallel_opt
