#include "parallel_opt/plan/schedule_kind.h"

#include <gtest/gtest.h>

#include <cctype>
#include <vector>

#include "parallel_opt/base/json.h"

namespace parallel_opt {
namespace {

TEST(ScheduleKind, IsFoundByItsOwnNameAndByThoseOfPapers) {
  for (const std::string_view name : enum_names(ScheduleKind{})) {
    EXPECT_TRUE(schedule_by_name(name)) << name;
  }
  EXPECT_EQ(schedule_by_name("ZB-1p"), ScheduleKind::zb_h1);
  EXPECT_EQ(schedule_by_name("ZB-2p"), ScheduleKind::zb_h2);
  EXPECT_EQ(schedule_by_name("ZBVZeroBubble"), ScheduleKind::zb_v);
  EXPECT_EQ(schedule_by_name("Interleaved 1F1B"), ScheduleKind::interleaved_1f1b);
  EXPECT_EQ(schedule_by_name("1F1B-I"), ScheduleKind::interleaved_1f1b);
  EXPECT_EQ(schedule_by_name("DualPipeV"), ScheduleKind::dualpipe_v);
  EXPECT_EQ(schedule_by_name("breadth-first"), ScheduleKind::looped_bfs);
  EXPECT_EQ(schedule_by_name("AFAB"), ScheduleKind::gpipe);
  EXPECT_EQ(schedule_by_name("all-forward-all-backward"), ScheduleKind::gpipe);
  EXPECT_EQ(schedule_by_name("DAPPLE"), ScheduleKind::one_f_one_b);
  EXPECT_FALSE(schedule_by_name("zb"));
  EXPECT_FALSE(schedule_by_name("schedule"));
  EXPECT_FALSE(schedule_by_name(""));
}

TEST(ScheduleKind, PyTorchsClassesAreNames) {
  const struct {
    const char* name;
    ScheduleKind kind;
  } kClasses[] = {{"ScheduleGPipe", ScheduleKind::gpipe},
                  {"Schedule1F1B", ScheduleKind::one_f_one_b},
                  {"ScheduleInterleaved1F1B", ScheduleKind::interleaved_1f1b},
                  {"ScheduleLoopedBFS", ScheduleKind::looped_bfs},
                  {"ScheduleInterleavedZeroBubble", ScheduleKind::zb_h1},
                  {"ScheduleZBVZeroBubble", ScheduleKind::zb_v},
                  {"ScheduleDualPipeV", ScheduleKind::dualpipe_v},
                  {"torch.distributed.pipelining.ScheduleGPipe", ScheduleKind::gpipe}};
  for (const auto& [name, kind] : kClasses) EXPECT_EQ(schedule_by_name(name), kind) << name;
  EXPECT_EQ(schedule_mentioned("FSDP2; ScheduleZBVZeroBubble, 8 stages"), ScheduleKind::zb_v);
}

TEST(ScheduleKind, IsFoundInAText) {
  EXPECT_EQ(schedule_mentioned("recipe 3; schedule ZB-V, 24 layers"), ScheduleKind::zb_v);
  EXPECT_EQ(schedule_mentioned("Megatron-LM (zero bubble)"), ScheduleKind::zb_h1);
  EXPECT_EQ(schedule_mentioned("DualPipe"), ScheduleKind::dualpipe);
  EXPECT_EQ(schedule_mentioned("looped-BFS of torch.distributed"), ScheduleKind::looped_bfs);
  EXPECT_FALSE(schedule_mentioned("1F1B, interleaved; vpp 4"));  // what others are compared with
  EXPECT_FALSE(schedule_mentioned("container 26.02 NeMo"));
  EXPECT_FALSE(schedule_mentioned(""));
}

TEST(ScheduleKind, SpellingDoesNotMatter) {
  for (const std::string_view name : enum_names(ScheduleKind{})) {
    std::string shout, dashed;
    for (const char c : name) {
      shout += char(std::toupper(c));
      dashed += c == '_' ? '-' : c;
    }
    EXPECT_EQ(schedule_by_name(shout), enum_from<ScheduleKind>(name)) << shout;
    EXPECT_EQ(schedule_by_name(dashed + " "), enum_from<ScheduleKind>(name)) << dashed;
    EXPECT_FALSE(schedule_by_name("x" + std::string(name))) << name;
  }
}

TEST(ScheduleKind, WordsInsideOthersAreNoMention) {
  EXPECT_FALSE(schedule_mentioned("dualpipeline of zbvectors"));
  EXPECT_EQ(schedule_mentioned("(zb_h2)"), ScheduleKind::zb_h2);
  EXPECT_EQ(schedule_mentioned("a zero-bubble run"), ScheduleKind::zb_h1);
  EXPECT_EQ(schedule_mentioned("breadth first, then 1F1B"), ScheduleKind::looped_bfs);
  EXPECT_EQ(schedule_mentioned("GPipe beside DualPipe"), ScheduleKind::gpipe);  // the first
}

TEST(ScheduleKinds, FoldedStagesComeBackToTheRankTheyLeft) {
  const auto ranks = [](ScheduleKind kind) {
    std::vector<int> found;
    for (int stage = 0; stage < 6; ++stage) found.push_back(rank_of_stage(kind, 3, stage));
    return found;
  };
  const std::vector<int> looped = {0, 1, 2, 0, 1, 2}, folded = {0, 1, 2, 2, 1, 0};
  EXPECT_EQ(ranks(ScheduleKind::interleaved_1f1b), looped);
  EXPECT_EQ(ranks(ScheduleKind::looped_bfs), looped);
  EXPECT_EQ(ranks(ScheduleKind::zb_v), folded);
  EXPECT_EQ(ranks(ScheduleKind::dualpipe_v), folded);
  EXPECT_EQ(ranks(ScheduleKind::dualpipe), folded);
}

}  // namespace
}  // namespace parallel_opt
