#include "parallel_opt/report/report_data.h"

#include <gtest/gtest.h>

#include "tests/report/sample.h"

namespace parallel_opt {
namespace {

std::string error_of(const std::string& text) {
  try {
    (void)read_report(text, "x.json");
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(ReportData, ADemoBecomesOneWayPerVariant) {
  const ReportData report = read_report(to_json(demo_sample()), "demo.json");
  ASSERT_EQ(report.models.size(), 1u);
  const std::vector<ReportWay>& ways = report.models[0].ways;
  ASSERT_EQ(ways.size(), 3u);
  EXPECT_EQ(ways[0].name + ways[1].name + ways[2].name, "plainfp32auto");
  EXPECT_EQ(ways[0].speedup, std::nullopt);
  EXPECT_EQ(ways[2].speedup, (Spread{2.0, 1.9, 2.1}));
  EXPECT_EQ(ways[2].predicted_step_s, exact(0.047, Quality::calibrated));
  EXPECT_EQ(ways[2].candidates.size(), 2u);
  EXPECT_FALSE(ways[2].agreement->agrees);
}

TEST(ReportData, TheWholePredictionBringsIntervalsAndTheBill) {
  DemoDocument demo = demo_sample();
  Estimate estimate;
  estimate.step_time_s = within(0.047, 0.1, Quality::calibrated);
  estimate.items = {{"matmul", 0.03, std::nullopt, std::nullopt}};
  demo.models[0].automatic.estimate = estimate;
  const ReportWay way = report_of(demo).models[0].ways[2];
  EXPECT_EQ(way.predicted_step_s, within(0.047, 0.1, Quality::calibrated));
  EXPECT_EQ(way.items.size(), 1u);
}

TEST(ReportData, ARunIsOneWay) {
  RunRecord run;
  run.title = "train.py";
  run.ranks = 2;
  run.exit_code = 1;
  run.measured = {100, within(0.07, 0.1, Quality::measured), exact(200), 1e8, 2e8, 0.9, {}};
  run.plan_line = "2 ranks";
  run.planning = {0.5, 0, 0.25, 20, 1000};
  run.events = {{1.5, "fallback", "twin"}};
  const ReportData report = read_report(to_json(run), "run.json");
  EXPECT_EQ(report.title, "train.py");
  EXPECT_EQ(report.machine,
            (std::vector<Fact>{{"ranks", "2"}, {"exit code", "1"}, {"steps timed", "100"}}));
  ASSERT_EQ(report.models.size(), 1u);
  const ReportWay& way = report.models[0].ways.at(0);
  EXPECT_EQ(way.step_s->median, 0.07);
  EXPECT_EQ(way.plan, "2 ranks");
  EXPECT_EQ(way.planning, (std::vector<Fact>{{"reading the model", "500 ms"},
                                             {"searching", "250 ms"},
                                             {"trying candidates", "20.0 s"},
                                             {"won back after", "1000 steps"}}));
  EXPECT_EQ(report.events, run.events);
}

TEST(ReportData, ARunThatPlannedNothingShowsWhatEndedIt) {
  const std::string text =
      R"({"schema": "parallel-opt/run/1", "title": "t.py", "date": "", "ranks": 2, "exit_code": 3,
          "errors": [{"where": "plan", "what": "nothing fits", "hint": "fewer ranks"},
                     {"where": "t.py:2", "what": "ValueError: x"}]})";
  const ReportData report = read_report(text, "run.json");
  EXPECT_EQ(report.machine, (std::vector<Fact>{{"ranks", "2"}, {"exit code", "3"}}));
  EXPECT_EQ(report.events, (std::vector<RunEvent>{{0, "error", "plan: nothing fits (fewer ranks)"},
                                                  {0, "error", "t.py:2: ValueError: x"}}));
  EXPECT_TRUE(report.models.at(0).ways.at(0).planning.empty());
}

TEST(ReportData, EveryModelOfAScriptIsShown) {
  RunRecord run;
  run.plan_line = "1 rank";
  run.events = {{2.5, "plan", "first"}};
  ModelRun other;
  other.plan_line = "2 ranks";
  other.measured.steps = 7;
  other.events = {{1.5, "plan", "second"}};
  run.others = {other};
  const ReportData report = read_report(to_json(run), "run.json");
  ASSERT_EQ(report.models.size(), 2u);
  EXPECT_EQ(report.models[0].ways.at(0).plan, "1 rank");
  EXPECT_EQ(report.models[1].ways.at(0).plan, "2 ranks");
  EXPECT_EQ(report.events,
            (std::vector<RunEvent>{{1.5, "plan", "second"}, {2.5, "plan", "first"}}));
}

TEST(ReportData, ReadsItselfBack) {
  const ReportData report = report_of(demo_sample());
  EXPECT_EQ(read_report(to_json(report), "report.json"), report);
}

TEST(ReportData, OtherDocumentsAreRefused) {
  const std::string refused =
      "x.json: is no document that a report can be made of (run.json of `parallel-opt run`, or "
      "demo.json of `parallel-opt demo`)";
  EXPECT_EQ(error_of("{}"), refused);
  EXPECT_EQ(error_of("[]"), refused);
  EXPECT_EQ(error_of(R"({"schema": "parallel-opt/plan/1"})"), refused);
  EXPECT_EQ(error_of(R"({"schema": "parallel-opt/demo/2", "machine": 3, "models": []})"),
            "x.json:schema: version 2 is newer than the known version 1 (update parallel_opt)\n"
            "x.json:machine: expected an object, found a whole number");
}

TEST(ReportData, OverlappingSpansOfATimelineAreRefused) {
  DemoDocument demo = demo_sample();
  demo.models[0].plain.timeline = Timeline{
      "measured", {{"a", "forward", "rank 0", 0, 2}, {"b", "forward", "rank 0", 1, 2}}, {}};
  EXPECT_EQ(error_of(to_json(demo)),
            "x.json:gpt.plain.timeline.spans[1]: overlaps another span of track \"rank 0\" without "
            "nesting in it (give it a track of its own)");
}

}  // namespace
}  // namespace parallel_opt
