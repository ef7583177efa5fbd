#include "parallel_opt/report/simulation_picture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {
namespace {

StepPicture picture_of(int ranks, bool power) {
  StepWork work;
  work.stages.assign(
      static_cast<std::size_t>(ranks),
      {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1, .kept_bytes = 1 << 21});
  if (power) work.power = {{.idle_w = 50, .busy_w = 300}};
  const Schedule schedule = make_schedule(ScheduleKind::zb_h1, ranks, 1, 4);
  const SimulationResult result = simulate(work, {schedule}, {.timeline = true});
  StepPicture picture{"A <step>", "4 micro-batches", result.timeline.value_or(Timeline{})};
  picture.power = result.power;
  return picture;
}

std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(StepSvg, HoldsEveryActionAndTheCurves) {
  const std::string svg = step_svg(picture_of(2, true));
  // 2 ranks x 4 micro-batches x (F, I, W).
  EXPECT_EQ(count_of(svg, "<title>forward stage"), 8U);
  EXPECT_EQ(count_of(svg, "<title>backward input stage"), 8U);
  EXPECT_EQ(count_of(svg, "<title>backward weight stage"), 8U);
  EXPECT_NE(svg.find("backward weight stage 1 micro-batch 3: 1 s"), std::string::npos);
  EXPECT_NE(svg.find("A &lt;step&gt;"), std::string::npos);
  EXPECT_NE(svg.find("Power of a device"), std::string::npos);
  EXPECT_NE(svg.find("MiB"), std::string::npos);
  EXPECT_EQ(step_svg(picture_of(2, false)).find("Power of a device"), std::string::npos);
}

TEST(StepSvg, TheLegendNamesWhatIsDrawnAlone) {
  StepWork work;
  work.stages.assign(4, {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1});
  const auto drawn = [&](ScheduleKind kind, int per_rank) {
    const std::vector<Schedule> schedules = {make_schedule(kind, 4, per_rank, 8)};
    return step_svg({"Step", "", simulate(work, schedules, {.timeline = true}).timeline.value()});
  };
  const std::string plain = drawn(ScheduleKind::one_f_one_b, 1);
  EXPECT_EQ(plain.find("forward and backward together"), std::string::npos);
  EXPECT_EQ(plain.find("copies to the host"), std::string::npos);
  const std::string paired = drawn(ScheduleKind::dualpipe, 2);
  EXPECT_NE(paired.find("forward and backward together"), std::string::npos);
  EXPECT_EQ(paired.find("copies to the host"), std::string::npos);
  work.copy_bytes_per_s = 1e6;
  for (StageWork& stage : work.stages) stage.offloaded_bytes = 1 << 20;
  const std::string copied = drawn(ScheduleKind::one_f_one_b, 1);
  EXPECT_NE(copied.find("copies to the host"), std::string::npos);
  EXPECT_EQ(copied.find("forward and backward together"), std::string::npos);
}

TEST(StepSvg, DrawsWhatTheHostDoesWhileAStepWaits) {
  StepWork work;
  work.stages.assign(2, {.forward_s = 1, .backward_input_s = 1, .host_step_s = 3});
  work.host_s = 0.25;  // launches, which the trace alone has
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::one_f_one_b, 2, 1, 4)};
  const auto drawn = [&] {
    return step_svg({"Step", "", simulate(work, schedules, {.timeline = true}).timeline.value()});
  };
  const std::string away = drawn();
  EXPECT_EQ(count_of(away, "<title>optimizer on the host: 3 s"), 2U);
  EXPECT_EQ(count_of(away, "<tspan dx=\"5\">optimizer on the host</tspan>"), 1U);
  EXPECT_EQ(away.find("<tspan dx=\"5\">optimizer</tspan>"), std::string::npos);
  EXPECT_EQ(away.find("cudaLaunchKernel"), std::string::npos);
  EXPECT_EQ(away.find("loading of samples"), std::string::npos);
  work.load_s = 0.5;
  const std::string loaded = drawn();
  EXPECT_EQ(count_of(loaded, "<title>load micro-batch "), 4U);
  EXPECT_NE(loaded.find("<tspan dx=\"5\">loading of samples</tspan>"), std::string::npos);
}

TEST(StepSvg, SaysAtTheTopWhichOfManyRanksAreDrawn) {
  const std::string svg = step_svg(picture_of(40, false));
  const std::size_t said = svg.find("24 of 40 ranks are drawn: the first, the last, others evenly");
  ASSERT_NE(said, std::string::npos);
  EXPECT_LT(said, svg.find(">Actions, by micro-batch<"));
  EXPECT_NE(svg.find(">rank 39<"), std::string::npos);
  EXPECT_EQ(svg.find(">rank 38<"), std::string::npos);
  EXPECT_NE(step_page(picture_of(40, false)).find("<p class=\"subtitle\">24 of 40 ranks"),
            std::string::npos);
  EXPECT_EQ(step_svg(picture_of(24, false)).find("are drawn"), std::string::npos);
}

TEST(StepSvg, NotedRanksAreDrawnWithTheirNote) {
  StepPicture picture = picture_of(40, false);
  picture.noted = {{38, "takes 2 times as long"}};
  const std::string svg = step_svg(picture);
  EXPECT_NE(svg.find("rank 38 (takes 2 times as long)"), std::string::npos);
  EXPECT_NE(svg.find("the last, those with a note, others evenly"), std::string::npos);
  EXPECT_NE(svg.find("<tspan dx=\"5\">rank 38</tspan>"), std::string::npos);  // its memory too
}

TEST(DrawnRanks, HoldBothEndsTheNotedAndOthersEvenly) {
  EXPECT_EQ(drawn_ranks(3), (std::vector<int>{0, 1, 2}));
  // 0 and 9, 5 that is noted, and of 4 even ones (0, 3, 6, 9) those that are missing.
  EXPECT_EQ(drawn_ranks(10, {{5, ""}}, 5), (std::vector<int>{0, 3, 5, 6, 9}));
  EXPECT_EQ(drawn_ranks(10, {{4, ""}, {5, ""}, {6, ""}}, 4), (std::vector<int>{0, 4, 5, 9}));
  std::vector<NotedRank> noted;
  for (int rank = 127; rank >= 0; --rank) noted.push_back({rank, ""});
  for (std::size_t count = 0; count <= noted.size(); ++count) {  // property
    const std::vector<NotedRank> some(noted.begin(), noted.begin() + std::ptrdiff_t(count));
    const std::vector<int> drawn = drawn_ranks(128, some);
    ASSERT_LE(drawn.size(), kDrawnRanks);
    ASSERT_GE(drawn.size(), kDrawnRanks - 2);
    ASSERT_TRUE(std::ranges::is_sorted(drawn));
    for (std::size_t i = 0; i < std::min(count, kDrawnRanks - 2); ++i) {
      ASSERT_TRUE(std::ranges::binary_search(drawn, some[i].rank));
    }
  }
}

TEST(StepSvg, RanksWhoseMemoryIsAlikeShareACurve) {
  StepWork work;
  work.stages.assign(
      4, {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1, .kept_bytes = 1 << 21});
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::dualpipe, 4, 2, 8)};
  const std::string svg =
      step_svg({"Step", "", simulate(work, schedules, {.timeline = true}).timeline.value()});
  // DualPipe is the same from both ends.
  EXPECT_NE(svg.find(">ranks 0 and 3 alike<"), std::string::npos);
  EXPECT_NE(svg.find(">ranks 1 and 2 alike<"), std::string::npos);
  EXPECT_EQ(count_of(svg, "class=\"curve"), 2U);
}

/// Numbers of ranks in the legend of memory: "ranks 0, 2 to 4 and 7 alike".
std::vector<int> ranks_in_legend(const std::string& svg) {
  const std::size_t from = svg.find(">Memory</tspan>"), to = svg.find("</text>", from);
  std::vector<int> ranks;
  int first = -1;
  const std::string legend = svg.substr(from, to - from);
  for (std::size_t at = legend.find(">rank"); at != std::string::npos;
       at = legend.find(">rank", at + 1)) {
    std::istringstream words(legend.substr(at, legend.find('<', at) - at));
    std::string word;
    bool range = false;
    for (words >> word; words >> word;) {
      if (word == "to") range = true;
      if (std::isdigit(static_cast<unsigned char>(word[0])) == 0) continue;
      const int rank = std::stoi(word);
      for (int r = range ? first + 1 : rank; r <= rank; ++r) ranks.push_back(r);
      first = rank;
      range = false;
    }
  }
  std::ranges::sort(ranks);
  return ranks;
}

TEST(StepSvg, EveryDrawnRankIsInTheLegendOfMemoryOnce) {
  for (const auto& [kind, per_rank] : {std::pair(ScheduleKind::dualpipe, 2),
                                       {ScheduleKind::zb_v, 2},
                                       {ScheduleKind::one_f_one_b, 1},
                                       {ScheduleKind::gpipe, 1}}) {
    for (const int ranks : {4, 8, 16, 64}) {
      StepWork work;
      work.stages.assign(
          std::size_t(ranks * (kind == ScheduleKind::zb_v ? 2 : 1)),
          {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1, .kept_bytes = 1 << 21});
      const std::vector<int> drawn = drawn_ranks(ranks);
      const SimulationResult result =
          simulate(work, {make_schedule(kind, ranks, per_rank, 2 * ranks)},
                   {.timeline = true, .timeline_ranks = drawn});
      const std::string svg =
          step_svg({.title = "t", .subtitle = "", .timeline = *result.timeline, .ranks = ranks});
      EXPECT_EQ(ranks_in_legend(svg), drawn) << name_of(kind) << " of " << ranks;
    }
  }
}

TEST(StepSvg, DrawsOfManyRanksTheSumOfTheirPower) {
  StepWork work;
  work.stages.assign(
      40, {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1, .kept_bytes = 1 << 21});
  work.power = {{.idle_w = 50, .busy_w = 300}};
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::one_f_one_b, 40, 1, 4)};
  const SimulationResult result =
      simulate(work, schedules, {.timeline = true, .timeline_ranks = drawn_ranks(40)});
  StepPicture picture{.title = "40 ranks", .subtitle = "", .timeline = *result.timeline};
  picture.ranks = 40;
  picture.power = result.power;
  const std::string svg = step_svg(picture);
  EXPECT_NE(svg.find("Power of all devices"), std::string::npos);
  EXPECT_NE(svg.find("one draws 50 to 300 W"), std::string::npos);
  EXPECT_NE(svg.find("24 of 40 ranks are drawn"), std::string::npos);
  // A curve of memory for each rank that the timeline holds, six of them in colours, one of power.
  EXPECT_EQ(count_of(svg, "class=\"curve"), 25U);
  EXPECT_EQ(count_of(svg, "class=\"curve faint others\""), 18U);
  // Only kinds that are there.
  EXPECT_NE(svg.find("<tspan dx=\"5\">backward</tspan>"), std::string::npos);
  EXPECT_EQ(svg.find("backward for weights"), std::string::npos);
  EXPECT_EQ(svg.find("<tspan dx=\"5\">optimizer</tspan>"), std::string::npos);
}

TEST(StepSvg, WaitsHaveBarsAndTheOnceOfAStepHasItsName) {
  StepWork work;
  work.stages = {{.forward_s = 1,
                  .backward_input_s = 1,
                  .forward_exposed_s = 2,
                  .forward_moves = {{Communication::transfer_wait, 1}, {Communication::copy, 1}}}};
  work.optimizer_together = true;
  work.together_s = 5;
  const SimulationResult result =
      simulate(work, {make_schedule(ScheduleKind::gpipe, 1, 1, 1)}, {.timeline = true});
  const std::string svg =
      step_svg({.title = "t", .subtitle = "", .timeline = *result.timeline, .ranks = 1});
  EXPECT_NE(svg.find(">once per step</text>"), std::string::npos);
  EXPECT_NE(svg.find("waits for collectives, transfers and once per step</tspan>"),
            std::string::npos);
  EXPECT_NE(svg.find("<tspan dx=\"5\">copies</tspan>"), std::string::npos);
  EXPECT_EQ(svg.find("<tspan dx=\"5\">communication</tspan>"), std::string::npos);
}

TEST(StepSvg, DrawsThePowerOfOneRankInEqualPartsOfTheStep) {
  StepWork work;
  work.stages = {{.forward_s = 1, .backward_input_s = 1, .forward_exposed_s = 1}};
  work.power = {{.idle_w = 50, .busy_w = 300}};
  const std::vector<Schedule> schedules = {make_schedule(ScheduleKind::gpipe, 1, 1, 3000)};
  SimulationResult result = simulate(work, schedules, {.timeline = true});
  // A part of 30 s is ten pairs of a second's compute and a second's wait, or backwards alone.
  ASSERT_TRUE(result.power);
  ASSERT_EQ(result.power->ranks_w.size(), 1U);
  EXPECT_NEAR(result.power->ranks_w[0].front(), 175, 1e-6);
  EXPECT_NEAR(result.power->ranks_w[0].back(), 300, 1e-6);
  StepPicture picture{.title = "One rank", .subtitle = "", .timeline = *result.timeline};
  picture.power = result.power;
  const std::string svg = step_svg(picture);
  const std::string curve = svg.substr(svg.rfind("<path d="), svg.size());
  EXPECT_LE(count_of(curve.substr(0, curve.find("class=")), "L"), 600U);  // not 6000 flanks
}

TEST(StepSvg, PanelsShareTheirAxisAndShowTheDevicesMemory) {
  StepPicture picture = picture_of(2, true);
  picture.memories = {{"a device", 80e9}};
  const std::string svg = step_svg(picture);
  EXPECT_NE(svg.find(">usable memory of a device: 74.5 GiB<"), std::string::npos);
  EXPECT_NE(svg.find(">GiB<"), std::string::npos);
  // Time 0 stands under the same pixel in all three.
  std::size_t zeros = 0;
  for (std::size_t at = svg.find("<text x=\"56\" "); at != std::string::npos;
       at = svg.find("<text x=\"56\" ", at + 1)) {
    const std::size_t end = svg.find("</text>", at);
    zeros += svg.substr(at, end - at).ends_with("class=\"tick\">0") ? 1 : 0;
  }
  EXPECT_EQ(zeros, 3U);
}

TEST(StepSvg, EveryKindsMemoryIsALineWithItsName) {
  StepPicture picture = picture_of(2, true);
  picture.memories = {{"A100-SXM-40GB", 40e9}, {"H100-SXM-80GB", 80e9}, {"B100", 79e9}};
  const std::string svg = step_svg(picture);
  std::vector<double> labels;
  for (const char* name : {"A100-SXM-40GB", "H100-SXM-80GB", "B100"}) {
    const std::size_t at = svg.find(std::string(">usable memory of ") + name + ": ");
    ASSERT_NE(at, std::string::npos) << name;
    const std::size_t y = svg.rfind(" y=\"", at) + 4;
    labels.push_back(std::stod(svg.substr(y)));
  }
  EXPECT_EQ(count_of(svg, "class=\"reference\""), 3U);
  // Lines of 80 and 79 GB are two pixels apart: their labels are not.
  EXPECT_GT(labels[2] - labels[1], 12);
  EXPECT_GT(labels[0] - labels[2], 12);
}

TEST(StepSvg, ForwardAndBackwardTogetherShowBothMicroBatches) {
  StepWork work;
  work.stages.assign(4, {.forward_s = 1, .backward_input_s = 1, .backward_weight_s = 1});
  const auto drawn = [&](int micro_batches) {
    const std::vector<Schedule> schedules = {
        make_schedule(ScheduleKind::dualpipe, 4, 2, micro_batches)};
    const Timeline timeline = simulate(work, schedules, {.timeline = true}).timeline.value();
    const auto pairs =
        static_cast<std::size_t>(std::ranges::count_if(timeline.spans, [](const Span& s) {
          return s.name.find(" and backward") != std::string::npos;
        }));
    return std::pair(step_svg({"Step", "", timeline}), pairs);
  };
  // "3+1" in one line where there is room, else the backward's number below the forward's.
  const auto [wide, few] = drawn(8);
  std::size_t labels = 0;
  for (std::size_t at = wide.find('+'); at != std::string::npos; at = wide.find('+', at + 1)) {
    labels += std::isdigit(static_cast<unsigned char>(wide[at - 1])) != 0 &&
                      std::isdigit(static_cast<unsigned char>(wide[at + 1])) != 0
                  ? 1
                  : 0;
  }
  ASSERT_GT(few, 0U);
  EXPECT_EQ(labels, few);
  const auto [narrow, many] = drawn(32);  // 24 pixels a pair: too few for "12+11"
  EXPECT_GT(count_of(narrow, "class=\"inside small\""), many);
}

TEST(StepSvg, AnEmptyTimelineIsStillAPicture) {
  EXPECT_TRUE(step_svg({"Nothing", "", {}}).ends_with("</svg>\n"));
}

TEST(StepPage, IsOneFileWithoutRequests) {
  const std::string page = step_page(picture_of(2, true));
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(count_of(page, "<figure"), 3U);
  EXPECT_EQ(count_of(page, "http"),
            count_of(page, "http-equiv") + count_of(page, "http://www.w3.org/2000/svg"));
}

}  // namespace
}  // namespace parallel_opt
