#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "parallel_opt/base/random.h"
#include "parallel_opt/report/charts.h"
#include "parallel_opt/report/svg.h"
#include "tests/report/xml.h"

namespace parallel_opt {
namespace {

using testing::all;
using testing::Element;
using testing::hostile_texts;
using testing::read_svg;

std::string any_text(Random& random) {
  return hostile_texts()[random.below(hostile_texts().size())];
}

/// Every number of a picture is one, and no shape is drawn outside of it.
void expect_inside(const Element& svg, double slack = 1) {
  const double width = svg.number("width"), height = svg.number("height");
  for (const Element* rect : all(svg, "rect")) {
    EXPECT_GE(rect->number("x"), -slack);
    EXPECT_GE(rect->number("width"), 0);
    EXPECT_GE(rect->number("y"), -slack);
    EXPECT_LE(rect->number("x") + rect->number("width"), width + slack);
    EXPECT_LE(rect->number("y") + rect->number("height"), height + slack);
  }
  for (const Element* circle : all(svg, "circle")) {
    EXPECT_GE(circle->number("cx"), 0);
    EXPECT_LE(circle->number("cx"), width);
  }
  for (const Element* line : all(svg, "line")) {
    for (const char* end : {"x1", "x2"}) {
      EXPECT_GE(line->number(end), -slack);
      EXPECT_LE(line->number(end), width + slack);
    }
  }
}

/// Points of a path as they are drawn.
std::vector<std::pair<double, double>> points_of(const Element& path) {
  std::vector<std::pair<double, double>> points;
  const std::string& d = path.attributes.at("d");
  const std::regex point("[ML](-?[0-9.]+) (-?[0-9.]+)");
  for (std::sregex_iterator it(d.begin(), d.end(), point), end; it != end; ++it) {
    points.emplace_back(std::stod((*it)[1]), std::stod((*it)[2]));
  }
  return points;
}

TEST(ChartsRandom, BarsAreAsLongAsTheirValues) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    BarChart chart{any_text(random), {}, {}, 0};
    if (random.below(2) == 0) chart.reference = random.uniform() * 10;
    double most = chart.reference.value_or(0);
    for (std::uint64_t i = 1 + random.below(5); i > 0; --i) {
      Bar bar{any_text(random), random.uniform() * 10, {}, {}, any_text(random), "w0"};
      if (random.below(2) == 0) {
        bar.low = bar.value * 0.9;
        bar.high = bar.value * 1.3;
      }
      most = std::max({most, bar.value, bar.high.value_or(0)});
      chart.bars.push_back(bar);
    }
    const double width = random.below(2) == 0 ? 350 : 1040;
    const Element svg = read_svg(bar_chart(chart, width));
    expect_inside(svg);
    const std::vector<const Element*> bars = all(svg, "rect");
    ASSERT_EQ(bars.size(), chart.bars.size());
    // The longest value of all decides the scale: pixels per unit are the same for every bar.
    std::size_t longest = 0;
    for (std::size_t i = 0; i < bars.size(); ++i) {
      if (chart.bars[i].value > chart.bars[longest].value) longest = i;
    }
    const double scale = bars[longest]->number("width") / chart.bars[longest].value;
    for (std::size_t i = 0; i < bars.size(); ++i) {
      ASSERT_NEAR(bars[i]->number("width"), std::max(0.5, chart.bars[i].value * scale), 0.21);
      ASSERT_EQ(bars[i]->number("x"), bars[0]->number("x"));  // one axis
    }
  }
}

TEST(ChartsRandom, CurvesAreTheirPointsOnOneScale) {
  Random random(2);
  for (int round = 0; round < 200; ++round) {
    LineChart chart{any_text(random), any_text(random), any_text(random)};
    chart.from_zero = random.below(2) == 0;
    const double size = std::pow(10, double(random.below(13)) - 6);
    for (std::uint64_t s = 1 + random.below(3); s > 0; --s) {
      Series series{any_text(random), "w" + std::to_string(s), {}};
      double x = random.uniform();
      for (std::uint64_t i = 1 + random.below(20); i > 0; --i) {
        series.points.emplace_back(x += 0.1 + random.uniform(), size * random.uniform());
      }
      chart.series.push_back(series);
    }
    const Element svg = read_svg(line_chart(chart, 500));
    expect_inside(svg);
    const std::vector<const Element*> paths = all(svg, "path");
    ASSERT_EQ(paths.size(), chart.series.size());
    // Pixels are a + b x and c - d y with the same four numbers for all: the extremes give them.
    struct Extreme {
      double value = 0, pixel = 0;
    };
    std::vector<std::array<Extreme, 2>> at;  // of each point: x, y
    for (std::size_t s = 0; s < paths.size(); ++s) {
      const auto drawn = points_of(*paths[s]);
      const auto& given = chart.series[s].points;
      ASSERT_EQ(drawn.size(), given.size());
      for (std::size_t i = 0; i < given.size(); ++i) {
        at.push_back({Extreme{given[i].first, drawn[i].first},
                      Extreme{given[i].second.value(), drawn[i].second}});
      }
    }
    for (const std::size_t axis : {0, 1}) {
      const auto by_value = [&](const auto& a, const auto& b) {
        return a[axis].value < b[axis].value;
      };
      const Extreme low = (*std::ranges::min_element(at, by_value))[axis];
      const Extreme high = (*std::ranges::max_element(at, by_value))[axis];
      if (high.value == low.value) continue;
      const double slope = (high.pixel - low.pixel) / (high.value - low.value);
      EXPECT_TRUE(axis == 0 ? slope > 0 : slope < 0);  // y grows upwards
      for (const auto& point : at) {
        ASSERT_NEAR(point[axis].pixel, low.pixel + slope * (point[axis].value - low.value), 0.21);
      }
    }
  }
}

TEST(ChartsRandom, StairsHoldAValueUntilTheNext) {
  const LineChart chart{.title = "t",
                        .x_label = "x",
                        .y_label = "y",
                        .series = {{"s", "w0", {{0, 1.0}, {2, 3.0}, {3, 2.0}}}},
                        .stairs = true};
  const auto drawn = points_of(*all(read_svg(line_chart(chart, 500)), "path").at(0));
  ASSERT_EQ(drawn.size(), 5u);  // 0:1, 2:1, 2:3, 3:3, 3:2
  EXPECT_EQ(drawn[0].second, drawn[1].second);
  EXPECT_EQ(drawn[1].first, drawn[2].first);
  EXPECT_EQ(drawn[2].second, drawn[3].second);
  EXPECT_EQ(drawn[3].first, drawn[4].first);
}

TEST(ChartsRandom, ALimitIsDrawnAtItsHeightAndInsideThePlot) {
  LineChart chart{"t", "x", "y", {{"s", "w0", {{0, 10.0}, {1, 20.0}}}}};
  chart.from_zero = true;
  chart.limits = {{40, "all & more"}};
  const Element svg = read_svg(line_chart(chart, 500));
  double limit_y = -1;
  for (const Element* line : all(svg, "line")) {
    if (line->has_class("reference")) limit_y = line->number("y1");
  }
  const auto drawn = points_of(*all(svg, "path").at(0));
  // 20 is half of 40, and 10 a quarter: equal steps of 10 up to the limit.
  const double step = drawn[0].second - drawn[1].second;
  EXPECT_NEAR(limit_y, drawn[1].second - 2 * step, 0.3);
  EXPECT_GT(limit_y, 0);
}

TEST(ChartsRandom, TheLabelOfALimitStandsWhereNoCurveRuns) {
  LineChart chart{
      .title = "t", .x_label = "x", .y_label = "y", .from_zero = true, .stairs = true, .left = 50};
  chart.limits = {{50, "memory of one"}};
  struct Place {
    double limit_y, right, baseline;
  };
  const auto place = [&](std::vector<Series> series) {
    chart.series = std::move(series);
    const Element svg = read_svg(line_chart(chart, 500));
    Place found = {};
    for (const Element* line : all(svg, "line")) {
      if (line->has_class("reference")) found.limit_y = line->number("y1");
    }
    for (const Element* text : all(svg, "text")) {
      if (!text->has_class("limit")) continue;
      found.right = text->number("x");
      found.baseline = text->number("y");
    }
    return found;
  };
  const Series far{"far", "w0", {{0, 10.0}, {10, 100.0}}};  // rises at the very end
  const Series below{"below", "w1", {{0, 46.0}, {10, 46.0}}};
  const Series above{"above", "w2", {{0, 20.0}, {6, 54.0}, {10, 54.0}}};
  const Place alone = place({below});
  EXPECT_EQ(alone.right, 484);
  EXPECT_LT(alone.baseline, alone.limit_y);  // above its line
  const Place flank = place({far});
  EXPECT_GT(flank.baseline, flank.limit_y);  // below it, beside the curve's flank
  EXPECT_LT(flank.right, 484);
  const Place both = place({below, above});
  EXPECT_LT(both.baseline, both.limit_y);
  EXPECT_LT(both.right, 50 + (484 - 50) * 0.6);  // before the upper curve rises
}

TEST(ChartsRandom, SlicesStandWhereTheirTimesAre) {
  Random random(3);
  for (int round = 0; round < 100; ++round) {
    Gantt chart{.title = any_text(random), .unit = "ms"};
    double end = 0;
    std::vector<Slice> expected;
    for (std::uint64_t r = 1 + random.below(4); r > 0; --r) {
      GanttRow row{any_text(random), {}};
      double at = random.uniform();
      for (std::uint64_t i = 1 + random.below(12); i > 0; --i) {
        const double length = 0.2 + random.uniform();
        row.slices.push_back(
            {at, length, "c-forward", any_text(random), any_text(random), int(random.below(3))});
        at += length + (random.below(2) == 0 ? 0 : random.uniform());
      }
      end = std::max(end, row.slices.back().start + row.slices.back().length);
      expected.insert(expected.end(), row.slices.begin(), row.slices.end());
      chart.rows.push_back(std::move(row));
    }
    if (random.below(2) == 0) end = chart.end = end * 1.5;
    const Element svg = read_svg(gantt_chart(chart, 1040));
    expect_inside(svg);
    const std::vector<const Element*> rects = all(svg, "rect");
    ASSERT_EQ(rects.size(), expected.size());
    for (std::size_t i = 0; i < rects.size(); ++i) {
      // Time 0 at 6, `end` at 1040 - 6.
      const double pixels = (1040 - 12) / end;
      ASSERT_NEAR(rects[i]->number("x"), 6 + expected[i].start * pixels, 0.1);
      ASSERT_NEAR(rects[i]->number("width"), std::max(0.5, expected[i].length * pixels), 0.1);
      ASSERT_EQ(rects[i]->number("height"), expected[i].depth > 0 ? 12 : 22);
    }
  }
}

TEST(ChartsRandom, SharesOfPixelsHoldTheTimeOfEachColour) {
  Random random(4);
  for (int round = 0; round < 20; ++round) {
    GanttRow row{"rank 0", {}};
    std::map<std::string, double> seconds;
    double at = 0;
    while (at < 1000) {
      const double length = 0.05 + 0.3 * random.uniform();
      const std::string color = "c" + std::to_string(random.below(3));
      row.slices.push_back({at, length, color, "", "", 0});
      seconds[color] += length;
      at += length + (random.below(4) == 0 ? 0.1 : 0);
    }
    const Gantt chart{.title = "t", .unit = "ms", .rows = {row}, .end = at, .shares = true};
    std::map<std::string, double> area;
    const Element svg = read_svg(gantt_chart(chart, 512));
    for (const Element* rect : all(svg, "rect")) {
      area[rect->attributes.at("class")] += rect->number("width") * rect->number("height");
    }
    ASSERT_EQ(area.size(), seconds.size());
    for (const auto& [color, time] : seconds) {
      const double whole = 500 * 22;  // pixels of the lane
      ASSERT_NEAR(area[color] / whole, time / at, 0.03) << color;
    }
  }
}

TEST(ChartsRandom, StackedPartsAddUp) {
  Random random(5);
  for (int round = 0; round < 100; ++round) {
    StackChart chart{any_text(random), {}};
    double most = 0;
    for (std::uint64_t r = 1 + random.below(4); r > 0; --r) {
      StackRow row{any_text(random), {}, any_text(random)};
      double sum = 0;
      for (std::uint64_t i = random.below(6); i > 0; --i) {
        row.parts.push_back({0, 0.5 + random.uniform(), "c-idle", any_text(random), "", 0});
        sum += row.parts.back().length;
      }
      most = std::max(most, sum);
      chart.rows.push_back(std::move(row));
    }
    const Element svg = read_svg(stack_chart(chart, 700));
    expect_inside(svg);
    const std::vector<const Element*> rects = all(svg, "rect");
    std::size_t next = 0;
    double scale = 0;
    for (const StackRow& row : chart.rows) {
      double end = -1;
      for (const Slice& part : row.parts) {
        const Element& rect = *rects.at(next++);
        if (scale == 0) scale = rect.number("width") / part.length;
        ASSERT_NEAR(rect.number("width"), part.length * scale, 0.2 + 0.01 * rect.number("width"));
        if (end >= 0) {
          ASSERT_NEAR(rect.number("x"), end, 0.21);  // no gap, no overlap
        }
        end = rect.number("x") + rect.number("width");
      }
    }
    EXPECT_EQ(next, rects.size());
  }
}

TEST(ChartsRandom, ErrorsAndIntervalsStandOnOneScale) {
  Random random(6);
  for (int round = 0; round < 100; ++round) {
    ErrorChart chart{any_text(random), {}};
    double most = 0.1;
    for (std::uint64_t r = 1 + random.below(4); r > 0; --r) {
      ErrorRow row{any_text(random), 2 * random.uniform() - 1, {}, {}, any_text(random), "x", "w0"};
      if (random.below(2) == 0) {
        row.low = row.error - random.uniform() / 2;
        row.high = row.error + random.uniform() / 2;
        most = std::max({most, std::abs(*row.low), std::abs(*row.high)});
      }
      most = std::max(most, std::abs(row.error));
      chart.rows.push_back(row);
    }
    const double width = 500, reach = std::min(most * 1.05, 2.0);
    const Element svg = read_svg(error_chart(chart, width));
    expect_inside(svg);
    const auto pixel = [&](double error) { return 250 + error / reach * (250 - 12); };
    const std::vector<const Element*> circles = all(svg, "circle"), bands = all(svg, "rect");
    ASSERT_EQ(circles.size(), chart.rows.size());
    std::size_t band = 0;
    for (std::size_t i = 0; i < circles.size(); ++i) {
      const ErrorRow& row = chart.rows[i];
      ASSERT_NEAR(circles[i]->number("cx"), pixel(row.error), 0.06);
      if (!row.low) continue;
      const Element& rect = *bands.at(band++);
      ASSERT_NEAR(rect.number("x"), pixel(*row.low), 0.06);
      ASSERT_NEAR(rect.number("x") + rect.number("width"), pixel(*row.high), 0.12);
    }
    EXPECT_EQ(band, bands.size());
  }
}

TEST(ChartsRandom, TicksAreEvenInsideAndLabelledExactly) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    const double size = std::pow(10, double(random.below(20)) - 9);
    const double low = (random.uniform() - 0.5) * size;
    const double high = low + size * (0.01 + random.uniform());
    const std::vector<double> ticks = nice_ticks(low, high, 3 + int(random.below(7)));
    ASSERT_FALSE(ticks.empty());
    for (std::size_t i = 0; i < ticks.size(); ++i) {
      ASSERT_GE(ticks[i], low - 1e-9 * size);
      ASSERT_LE(ticks[i], high + 1e-9 * size);
      if (i > 1) {
        ASSERT_NEAR(ticks[i] - ticks[i - 1], ticks[1] - ticks[0], 1e-9 * size);
      }
    }
    const std::vector<std::string> labels = tick_labels(ticks);
    ASSERT_EQ(labels.size(), ticks.size());
    if (size < 1e-4 || ticks.size() < 2) continue;  // six decimals hold no smaller steps
    for (std::size_t i = 0; i < ticks.size(); ++i) {
      ASSERT_NEAR(std::stod(labels[i]), ticks[i], 1e-6 + 1e-6 * (ticks[1] - ticks[0]));
      if (i > 0) {
        ASSERT_NE(labels[i], labels[i - 1]);
      }
    }
  }
}

TEST(ChartsRandom, CutTextFitsAndKeepsWholeLetters) {
  Random random(8);
  for (int round = 0; round < 500; ++round) {
    const std::string text = any_text(random) + any_text(random);
    const double width = 1000 * random.uniform();
    const std::string cut = fit_text(text, width);
    EXPECT_TRUE(cut == text || text_width(cut) <= std::max(width, 7.2)) << text;
  }
}

}  // namespace
}  // namespace parallel_opt
