#include "parallel_opt/report/charts.h"

#include <gtest/gtest.h>

#include <regex>

#include "parallel_opt/report/figures.h"
#include "parallel_opt/report/svg.h"

namespace parallel_opt {
namespace {

/// All values of an attribute, in order.
std::vector<double> numbers(const std::string& svg, const std::string& element,
                            const std::string& attribute) {
  std::vector<double> found;
  const std::regex pattern("<" + element + "[^>]* " + attribute + "=\"([-0-9.]+)\"");
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it) {
    found.push_back(std::stod((*it)[1]));
  }
  return found;
}

TEST(BarChart, BarsAreInProportionAndInside) {
  const BarChart chart{
      "t", {{"plain", 100, 90.0, 120.0, "100 ms", "w0"}, {"auto", 50, {}, {}, "50 ms", "w2"}}, {}};
  for (const double width : {350.0, 500.0}) {
    const std::string svg = bar_chart(chart, width);
    const std::vector<double> widths = numbers(svg, "rect", "width");
    ASSERT_EQ(widths.size(), 2u);
    EXPECT_NEAR(widths[0] / widths[1], 2, 0.01);
    for (const double x : numbers(svg, "text", "x")) EXPECT_LT(x, width - 30);
    EXPECT_NE(svg.find("<title>auto: 50 ms</title>"), std::string::npos);
  }
}

TEST(BarChart, NothingMeasuredStillDraws) {
  EXPECT_NE(bar_chart({"t", {{"plain", 0, {}, {}, "0", "w0"}}, {}}, 350).find("</svg>"),
            std::string::npos);
}

TEST(BarChart, ANumberStandsBesideTheReferenceLine) {
  const double width = 500;
  const BarChart chart{
      "t", {{"plain", 1, {}, {}, "1", "w0"}, {"auto", 0.92, {}, {}, "0.92x", "w2"}}, 1.0};
  const std::string svg = bar_chart(chart, width);
  const double line = numbers(svg, "line", "x1").at(0);
  const std::vector<double> texts = numbers(svg, "text", "x");  // label, number, label, number
  EXPECT_GT(texts.at(3), line);
  EXPECT_LT(texts.at(3) + text_width("0.92x"), width);
}

TEST(StackChart, WordsOnIdleTimeAreDark) {
  const StackChart chart{
      "t", {{"plain", {{0, 1, "c-forward", "1", "", 0}, {0, 1, "c-idle", "2", "", 0}}, ""}}};
  const std::string svg = stack_chart(chart, 500);
  EXPECT_NE(svg.find("class=\"inside\""), std::string::npos);
  EXPECT_NE(svg.find("class=\"inside pale\""), std::string::npos);
}

TEST(LineChart, AMissingValueIsAGap) {
  LineChart chart{"t", "x", "y", {{"s", "w0", {{0, 1.0}, {1, 2.0}, {2, {}}, {3, 1.0}}}}};
  const std::string svg = line_chart(chart, 350);
  const std::smatch path = [&] {
    std::smatch match;
    std::regex_search(svg, match, std::regex("<path d=\"([^\"]*)\""));
    return match;
  }();
  const std::string d = path[1];
  EXPECT_EQ(std::count(d.begin(), d.end(), 'M'), 2);
}

TEST(LineChart, CurvesThatLieOnEachOtherAreDashedAndOthersNot) {
  LineChart chart{"t", "x", "y"};
  for (int i = 0; i < 5; ++i) {
    // The first four apart, the last on the third.
    const double y = i < 4 ? i : 2;
    chart.series.push_back({"s" + std::to_string(i), "w" + std::to_string(i), {{0, y}, {9, y}}});
  }
  const std::string svg = line_chart(chart, 350);
  EXPECT_NE(svg.find("curve k2 w3"), std::string::npos);
  EXPECT_NE(svg.find("curve k4 w4"), std::string::npos);
}

TEST(LineChart, ALabelThatWouldHideACurveStandsAboveThePlot) {
  const auto drawn = [](double low, double high) {
    LineChart chart{.title = "t", .x_label = "x", .y_label = "y", .from_zero = true};
    Series wild{.name = "wild", .color = "w1", .points = {}};
    for (int i = 0; i < 200; ++i) wild.points.emplace_back(i, i % 2 == 0 ? low : high);
    chart.series = {wild};
    chart.limits = {{90, "usable"}};
    return line_chart(chart, 600);
  };
  EXPECT_NE(drawn(0, 10).find("class=\"tick limit\">usable<"), std::string::npos);
  // Up and down through the line at every place: the plot's top is at 24.
  EXPECT_NE(drawn(0, 100).find("y=\"12\" text-anchor=\"end\" class=\"tick\">- - usable<"),
            std::string::npos);
}

TEST(LineChart, FaintCurvesLieBehindAndTakeNoWeight) {
  Series one{.name = "one", .color = "w0", .points = {{0, 1}, {1, 2}}};
  Series other{.name = "other", .color = "others", .points = {{0, 2}, {1, 1}}, .faint = true};
  const std::string svg =
      line_chart({.title = "t", .x_label = "x", .y_label = "y", .series = {one, other}}, 600);
  const std::size_t faint = svg.find("class=\"curve faint others\"");
  ASSERT_NE(faint, std::string::npos);
  EXPECT_LT(faint, svg.find("class=\"curve k0 w0\""));
}

TEST(LineChart, NoValueAtAllStillDraws) {
  EXPECT_NE(line_chart({"t", "x", "y", {{"s", "w0", {{0, {}}}}}}, 350).find("</svg>"),
            std::string::npos);
}

TEST(GanttChart, SharesOfPixelsHaveNoGapsThatAreNotThere) {
  // 10,000 slices end to end, two colours in turn: half of every pixel each.
  GanttRow row{"rank 0", {}};
  for (int i = 0; i < 10'000; ++i) {
    row.slices.push_back({.start = double(i), .length = 1, .color = i % 2 ? "c-odd" : "c-even"});
  }
  Gantt chart{.title = "t", .unit = "ms", .rows = {row}, .shares = true};
  const auto count = [](const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
      ++found;
    }
    return found;
  };
  const std::string full = gantt_chart(chart, 512);
  EXPECT_EQ(count(full, "c-odd"), 1U);
  EXPECT_EQ(count(full, "c-even"), 1U);
  // A hole of a fifth of the time is one: two shapes of each.
  auto& slices = chart.rows[0].slices;
  slices.erase(slices.begin() + 4000, slices.begin() + 6000);
  const std::string holed = gantt_chart(chart, 512);
  EXPECT_GE(count(holed, "c-odd"), 2U);
  EXPECT_EQ(holed.find("too short to draw"), std::string::npos);
}

TEST(GanttChart, RowsAreComparedSoAllOrNoneAreShares) {
  // 2 pixels each in nine rows, 4 in the slow one.
  Gantt chart{.title = "t", .unit = "ms", .end = 500, .shares = true};
  for (int r = 0; r < 10; ++r) {
    GanttRow row{"rank " + std::to_string(r), {}};
    for (int i = 0; i < 100; ++i) {
      row.slices.push_back({.start = i * 5.0, .length = r == 9 ? 4.0 : 2.0, .color = "c-forward"});
    }
    chart.rows.push_back(std::move(row));
  }
  EXPECT_EQ(gantt_chart(chart, 512).find("class=\"slice"), std::string::npos);
  for (GanttRow& row : chart.rows) {
    for (Slice& slice : row.slices) slice.length = 4;
  }
  EXPECT_NE(gantt_chart(chart, 512).find("class=\"slice"), std::string::npos);
}

TEST(GanttChart, TinySpansOfLongRowsAreCountedNotDrawn) {
  GanttRow row{"rank 0", {}};
  for (int i = 0; i < 2000; ++i) row.slices.push_back({i * 1.0, 0.001, "c-forward", "", "", 0});
  row.slices.push_back({2000, 1000, "c-idle", "", "", 0});
  const std::string svg = gantt_chart({"t", "ms", {row}}, 500);
  EXPECT_NE(svg.find("rank 0 (2000 spans too short to draw)"), std::string::npos);
  EXPECT_EQ(numbers(svg, "rect", "width").size(), 1u);
}

TEST(GanttChart, LabelsOfOneColourAreAllThereOrNone) {
  const auto labels = [](double pixels) {
    GanttRow row{"", {}};
    for (int i = 8; i < 12; ++i) {
      row.slices.push_back({i * 50.0, pixels, "c-forward", std::to_string(i), "", 0});
    }
    const std::string svg =
        gantt_chart({.title = "t", .unit = "ms", .rows = {row}, .end = 988}, 1000);
    const auto times = [&](const std::string& part) {
      int found = 0;
      for (std::size_t at = svg.find(part); at != std::string::npos; at = svg.find(part, at + 1)) {
        ++found;
      }
      return found;
    };
    return std::pair(times("class=\"inside\""), times("class=\"inside small\""));
  };
  EXPECT_EQ(labels(40), std::pair(4, 0));
  EXPECT_EQ(labels(16), std::pair(0, 4));  // "9" has room in its usual size, "10" has not
  EXPECT_EQ(labels(11), std::pair(0, 0));
  // Narrow ones take no label from a wide one.
  GanttRow row{"", {{0, 100, "c-backward", "10", "", 0}}};
  for (int i = 0; i < 9; ++i) row.slices.push_back({200 + i * 5.0, 4, "c-backward", "9", "", 0});
  const std::string svg =
      gantt_chart({.title = "t", .unit = "ms", .rows = {row}, .end = 988}, 1000);
  EXPECT_NE(svg.find(">10</text>"), std::string::npos);
}

TEST(ErrorChart, MarkersStandAtTheirErrorAndWildOnesAtTheEdge) {
  const std::string svg =
      error_chart({"t", {{"a", 0, {}, {}, "", "", "w0"}, {"b", 50, {}, {}, "", "", "w1"}}}, 500);
  const std::vector<double> x = numbers(svg, "circle", "cx");
  EXPECT_EQ(x, (std::vector<double>{250, 488}));  // the middle; the right end of 12..488
}

TEST(ErrorChart, TheShortTextStandsWhereTheLongOneHasNoRoom) {
  const ErrorChart chart{
      "t", {{"auto, step", 0.1, {}, {}, "a long text that needs its room here", "+10 %", "w0"}}};
  EXPECT_NE(error_chart(chart, 500).find(">auto, step: a long text that needs its room here<"),
            std::string::npos);
  EXPECT_NE(error_chart(chart, 350).find(">auto, step: +10 %<"), std::string::npos);
}

TEST(TimeByCategory, OutermostSpansCountAndGapsAreIdle) {
  // One track of 10 s: forward 4 (with a nested span), gap 1, backward 5. Scaled to a step of 1 s.
  const Timeline timeline{.source = "measured",
                          .spans = {{"f", "forward", "rank 0", 0, 4},
                                    {"op", "backward", "rank 0", 1, 2},
                                    {"b", "backward", "rank 0", 5, 5}}};
  using Parts = std::vector<std::pair<std::string, double>>;
  EXPECT_EQ(time_by_category(timeline, 1.0),
            (Parts{{"forward", 0.4}, {"backward", 0.5}, {"idle", 0.1}}));
  EXPECT_EQ(time_by_category(timeline, {}), (Parts{{"forward", 4}, {"backward", 5}, {"idle", 1}}));
  EXPECT_EQ(time_by_category({}, 1.0), Parts{});
}

TEST(TimeByCategory, TracksAreAveraged) {
  // rank 0: 2 s forward; rank 1: 1 s forward, 1 s communication. Mean: 1.5 and 0.5.
  const Timeline timeline{.source = "measured",
                          .spans = {{"f", "forward", "rank 0", 0, 2},
                                    {"f", "forward", "rank 1", 0, 1},
                                    {"c", "communication", "rank 1", 1, 1}}};
  using Parts = std::vector<std::pair<std::string, double>>;
  EXPECT_EQ(time_by_category(timeline, {}), (Parts{{"forward", 1.5}, {"communication", 0.5}}));
}

}  // namespace
}  // namespace parallel_opt
