#include "parallel_opt/report/simulation_picture.h"

#include <gtest/gtest.h>

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
  return {"A <step>", "4 micro-batches", result.timeline.value_or(Timeline{})};
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

TEST(StepSvg, SaysWhichOfManyRanksAreDrawn) {
  const std::string svg = step_svg(picture_of(40, false));
  EXPECT_NE(svg.find("rank 39 (24 of 40 ranks are drawn)"), std::string::npos);
  EXPECT_EQ(svg.find(">rank 38<"), std::string::npos);
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
