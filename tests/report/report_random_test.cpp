#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "parallel_opt/base/random.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/report/figures.h"
#include "parallel_opt/report/graph_picture.h"
#include "parallel_opt/report/numbers.h"
#include "parallel_opt/report/report.h"
#include "parallel_opt/report/simulation_picture.h"
#include "tests/graph/builder.h"
#include "tests/report/xml.h"

namespace parallel_opt {
namespace {

using testing::Element;
using testing::hostile_texts;
using testing::read_html;
using testing::read_svg;

/// Spans that nest up to three deep on up to three tracks.
Timeline random_timeline(Random& random, const std::vector<std::string>& words) {
  static const char* const categories[] = {"forward",       "backward", "optimizer", "data",
                                           "communication", "compile",  "own"};
  Timeline timeline{.source = "measured"};
  const auto word = [&] { return words[random.below(words.size())]; };
  for (std::uint64_t track = 1 + random.below(3); track > 0; --track) {
    const std::string name = "rank " + std::to_string(track - 1);
    double at = 2 + random.uniform();
    for (std::uint64_t i = 1 + random.below(8); i > 0; --i) {
      const double length = 0.1 + random.uniform();
      timeline.spans.push_back({word(), categories[random.below(7)], name, at, length});
      if (random.below(2) == 0) {  // one inside, and one inside that
        timeline.spans.push_back(
            {word(), categories[random.below(7)], name, at + length / 4, length / 2});
        timeline.spans.push_back({word(), "forward", name, at + length / 3, length / 8});
      }
      at += length + (random.below(2) == 0 ? 0 : random.uniform());
    }
    for (std::uint64_t i = random.below(5); i > 0; --i) {
      timeline.counters.push_back({"memory_bytes", name, 2 + 2 * random.uniform(), 1e9});
    }
  }
  // Order in the file says nothing.
  for (std::size_t i = timeline.spans.size(); i > 1; --i) {
    std::swap(timeline.spans[i - 1], timeline.spans[random.below(i)]);
  }
  return timeline;
}

ReportData random_report(Random& random) {
  const std::vector<std::string>& words = hostile_texts();
  const auto word = [&] { return words[random.below(words.size())]; };
  const auto coin = [&] { return random.below(2) == 0; };
  ReportData report{word(), word(), {{word(), word()}}, {}, {}};
  for (std::uint64_t m = random.below(3); m > 0; --m) {
    ReportModel model{word(), word(), {}, {}};
    for (std::uint64_t w = random.below(4); w > 0; --w) {
      ReportWay way;
      way.name = word();
      const double step = std::pow(10, random.uniform() * 6 - 4);
      if (coin()) way.step_s = Spread{step, step * 0.9, step * 1.1};
      if (coin()) way.samples_per_s = 16 / step;
      if (coin()) way.speedup = Spread{1 + random.uniform(), 0.9, 2};
      if (coin()) way.peak_bytes = 1e9 * random.uniform();
      if (coin()) way.rss_bytes = 1e10 * random.uniform();
      if (coin()) way.cpu_share = random.uniform();
      if (coin()) way.energy_j = 100 * random.uniform();
      for (std::uint64_t i = random.below(6); i > 0; --i) {
        way.losses.push_back(coin() ? std::optional(random.uniform()) : std::nullopt);
      }
      if (coin()) way.held_out_loss = random.uniform();
      if (coin()) way.agreement = Agreement{1e-5, std::nullopt, 1e-4, coin()};
      way.plan = word();
      way.reasons = {word(), word()};
      way.notes = {word()};
      if (coin())
        way.predicted_step_s = within(step * (0.5 + random.uniform()), 0.1, Quality::calibrated);
      if (coin()) way.modelled_step_s = exact(step * (0.5 + random.uniform()));
      if (coin()) way.predicted_peak_bytes = exact(1e9 * random.uniform());
      way.items = {
          {word(), random.uniform(), {}, {}}, {word(), {}, 1e6, 2.0}, {word(), {}, {}, {}}};
      way.planning = {{word(), word()}};
      way.candidates = {{word(), coin(), exact(step), std::nullopt, 1e8, word()}};
      if (coin()) way.timeline = random_timeline(random, words);
      model.ways.push_back(std::move(way));
    }
    report.models.push_back(std::move(model));
  }
  report.events = {{1, word(), word()}};
  return report;
}

const Element* by_id(const Element& element, const std::string& id) {
  for (const Element& child : element.children) {
    const auto at = child.attributes.find("id");
    if (at != child.attributes.end() && at->second == id) return &child;
    if (const Element* found = by_id(child, id)) return found;
  }
  return nullptr;
}

TEST(ReportRandom, EveryReportIsWellFormedAndHoldsItsData) {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    const ReportData report = random_report(random);
    const std::string html = report_html(report);
    const Element page = read_html(html);  // throws where tags or letters are broken
    std::size_t scripts = 0;
    for (const Element* script : testing::all(page, "script")) {
      scripts += script->attributes.at("type") == "application/json" ? 0 : 1;
    }
    EXPECT_EQ(scripts, 0u);  // none that runs
    const Element* data = by_id(page, "report-data");
    ASSERT_NE(data, nullptr);
    const ReportData inside = read_report(data->text, "inlined");
    EXPECT_EQ(inside.models.size(), report.models.size());
    for (std::size_t m = 0; m < report.models.size(); ++m) {
      ASSERT_EQ(inside.models[m].ways.size(), report.models[m].ways.size());
      for (std::size_t w = 0; w < report.models[m].ways.size(); ++w) {
        EXPECT_EQ(inside.models[m].ways[w].step_s, report.models[m].ways[w].step_s);
        EXPECT_EQ(inside.models[m].ways[w].losses, report.models[m].ways[w].losses);
      }
    }
  }
}

std::string text_of(const Element& element) {
  std::string text = element.text;
  for (const Element& child : element.children) text += text_of(child);
  return text;
}

TEST(ReportRandom, TheTableHoldsTheNumbersOfTheData) {
  Random random(12);
  int rows_seen = 0;
  for (int round = 0; round < 60; ++round) {
    const ReportData report = random_report(random);
    for (const ReportModel& model : report.models) {
      const Element table = read_html("<div>" + numbers_table(model) + "</div>");
      std::map<std::string, std::vector<std::string>> rows;
      for (const Element* row : testing::all(table, "tr")) {
        std::vector<std::string> cells;
        for (const Element* cell : testing::all(*row, "td")) cells.push_back(text_of(*cell));
        if (!cells.empty()) rows[text_of(*testing::all(*row, "th").at(0))] = cells;
      }
      const auto expect = [&](const std::string& name, auto cell) {
        bool any = false;
        for (std::size_t w = 0; w < model.ways.size(); ++w) {
          const std::optional<std::string> wanted = cell(model.ways[w]);
          any = any || wanted;
          if (!rows.contains(name)) continue;
          EXPECT_EQ(rows[name].at(w), wanted.value_or("\xe2\x80\x93")) << name;
        }
        EXPECT_EQ(rows.contains(name), any) << name;  // rows that nobody has are left out
        rows_seen += any ? 1 : 0;
      };
      using Text = std::optional<std::string>;
      expect("step time, median", [](const ReportWay& w) {
        return w.step_s ? Text(show(Seconds(w.step_s->median))) : Text();
      });
      expect("samples per second", [](const ReportWay& w) {
        return w.samples_per_s ? Text(show(*w.samples_per_s)) : Text();
      });
      expect("peak memory, whole process", [](const ReportWay& w) {
        return w.rss_bytes ? Text(show(Bytes(std::int64_t(*w.rss_bytes)))) : Text();
      });
      expect("error of predicted step time", [](const ReportWay& w) -> Text {
        if (!w.step_s || !w.predicted_step_s) return std::nullopt;
        const double percent = 100 * (w.predicted_step_s->value / w.step_s->median - 1);
        std::array<char, 32> text{};
        std::snprintf(text.data(), text.size(), "%+.1f %%", percent);
        return text.data();
      });
    }
  }
  EXPECT_GT(rows_seen, 50);
}

TEST(ReportRandom, TimeByCategoryIsWhatSamplingSees) {
  Random random(13);
  for (int round = 0; round < 100; ++round) {
    const Timeline timeline = random_timeline(random, {"x"});
    // At every moment of a track the outermost span counts, or nothing does.
    std::map<std::string, double> naive;
    std::map<std::string, std::vector<const Span*>> tracks;
    for (const Span& span : timeline.spans) tracks[span.track].push_back(&span);
    double extent = 0;
    for (const auto& [track, spans] : tracks) {
      std::vector<double> edges;
      for (const Span* span : spans) {
        edges.push_back(span->start_s);
        edges.push_back(span->start_s + span->duration_s);
      }
      std::ranges::sort(edges);
      extent += edges.back() - edges.front();
      for (std::size_t i = 1; i < edges.size(); ++i) {
        const double middle = (edges[i - 1] + edges[i]) / 2;
        const Span* outermost = nullptr;
        for (const Span* span : spans) {
          const bool here = span->start_s <= middle && middle < span->start_s + span->duration_s;
          if (here && (!outermost || span->duration_s > outermost->duration_s)) outermost = span;
        }
        naive[outermost ? outermost->category : "idle"] += edges[i] - edges[i - 1];
      }
    }
    const double step_s = 0.25;
    double sum = 0;
    for (const auto& [category, seconds] : time_by_category(timeline, step_s)) {
      EXPECT_NEAR(seconds, naive[category] / extent * step_s, 1e-8) << category;
      sum += seconds;
    }
    EXPECT_NEAR(sum, step_s, 1e-8);  // nothing is lost
  }
}

TEST(ReportRandom, TimelinesAreDrawnToScale) {
  Random random(14);
  for (int round = 0; round < 40; ++round) {
    ReportModel model{"m", "", {{}}, {}};
    model.ways[0].name = "auto";
    model.ways[0].timeline = random_timeline(random, {"work"});
    const Element figure = read_html(timeline_figure(model));
    double first = 1e300, last = 0;
    for (const Span& span : model.ways[0].timeline->spans) {
      first = std::min(first, span.start_s);
      last = std::max(last, span.start_s + span.duration_s);
    }
    for (const CounterSample& sample : model.ways[0].timeline->counters) {
      first = std::min(first, sample.time_s);
    }
    // The wide picture: 1040 pixels less 6 at both ends.
    const Element& wide = *testing::all(figure, "svg").at(0);
    const double pixels = (1040 - 12) / (last - first);
    std::multiset<std::pair<long, long>> drawn, expected;
    for (const Element* rect : testing::all(wide, "rect")) {
      drawn.emplace(std::lround(rect->number("x") * 10), std::lround(rect->number("width") * 10));
    }
    for (const Span& span : model.ways[0].timeline->spans) {
      const bool third = span.category == "forward" &&  // the innermost of three is not drawn
                         std::ranges::count_if(model.ways[0].timeline->spans, [&](const Span& o) {
                           return o.track == span.track && o.start_s < span.start_s &&
                                  o.start_s + o.duration_s > span.start_s + span.duration_s;
                         }) > 1;
      if (third) continue;
      expected.emplace(std::lround((6 + (span.start_s - first) * pixels) * 10),
                       std::lround(std::max(0.5, span.duration_s * pixels) * 10));
    }
    EXPECT_EQ(drawn, expected);
  }
}

TEST(StepSvgNumbers, EveryActionIsDrawnWhereTheTimelineHasIt) {
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b,
                                  ScheduleKind::zb_v, ScheduleKind::dualpipe}) {
    StepWork work;
    work.stages.assign(std::size_t(default_virtual_stages(kind)) * 2,
                       {.forward_s = 1, .backward_input_s = 1.2, .backward_weight_s = 0.7});
    const Schedule schedule = make_schedule(kind, 2, default_virtual_stages(kind), 4);
    work.stages.resize(std::size_t(schedule.stages_per_lane()));
    const SimulationResult result = simulate(work, {schedule}, {.timeline = true});
    const Timeline& timeline = result.timeline.value();
    const Element svg = read_svg(step_svg({"t", "s", timeline}));
    std::multiset<std::tuple<std::string, long, long>> drawn, expected;
    for (const Element* rect : testing::all(svg, "rect")) {
      const std::string tooltip = rect->tooltip();
      if (tooltip.empty()) continue;
      drawn.emplace(tooltip.substr(0, tooltip.rfind(':')), std::lround(rect->number("x") * 10),
                    std::lround(rect->number("width") * 10));
    }
    const double pixels = (1040 - 56 - 16) / result.step_time_s;
    for (const Span& span : timeline.spans) {
      if (span.track.find(" stream ") == std::string::npos) continue;
      expected.emplace(span.name, std::lround((56 + span.start_s * pixels) * 10),
                       std::lround(std::max(0.5, span.duration_s * pixels) * 10));
    }
    EXPECT_EQ(drawn.size(), expected.size()) << name_of(kind);
    EXPECT_EQ(drawn, expected) << name_of(kind);
  }
}

TEST(StepSvgNumbers, HostileTitlesLeaveAPicture) {
  for (const std::string& text : hostile_texts()) {
    StepPicture picture{text, text, {.source = "simulated"}};
    picture.timeline.spans = {{text, "forward", "rank 0 stream 7 compute", 0, 1}};
    picture.timeline.counters = {{"memory_bytes", "rank 0", 0, 1e9}};
    EXPECT_NO_THROW(read_svg(step_svg(picture))) << text;
    EXPECT_NO_THROW(read_html(step_page(picture))) << text;
  }
}

TEST(GraphPictureText, HostileNamesLeaveAPicture) {
  for (const std::string& text : hostile_texts()) {
    testing::GraphBuilder b;
    const TensorId x = b.input("x" + text, {2});
    b.module("m" + text);
    b.output(b.op("own." + text, {{"self", x}}, {2}));
    Graph graph = b.build();
    graph.name = text;
    Device device;
    device.name = text;
    const GraphView view = graph_view(graph, device);
    for (const HeatBy by : {HeatBy::flops, HeatBy::traffic, HeatBy::memory, HeatBy::time}) {
      EXPECT_NO_THROW(read_svg(graph_svg(view, by))) << text;
      EXPECT_NO_THROW(read_html(graph_html(view, by))) << text;
    }
  }
}

}  // namespace
}  // namespace parallel_opt
