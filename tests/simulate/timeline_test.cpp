#include "parallel_opt/simulate/timeline.h"

#include <gtest/gtest.h>

#include <cmath>

#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {
namespace {

Timeline small_timeline() {
  return {.source = "measured",
          .spans = {{"backward", "backward", "rank 0", 0.002, 0.003},
                    {"step", "forward", "rank 0", 0.0, 0.002},
                    {"attention", "operator", "rank 0", 0.0, 0.001},
                    {"all-reduce", "communication", "rank 1 stream 7", 0.0000001, 0.0000002},
                    {"copy \"x\"", "data", "rank 1 stream 7", 0.0000003, 0.001}},
          .counters = {{"memory_bytes", "rank 0", 0.001, 1048576}, {"power_w", "host", 0.5, 61.5}}};
}

TEST(ChromeTrace, SmallCaseByteForByte) {
  // Tracks by name: "host" gets process 3 after ranks 0 and 1 (processes 1 and 2).
  EXPECT_EQ(chrome_trace(small_timeline()), R"({
  "schemaVersion": 1,
  "displayTimeUnit": "ms",
  "traceName": "parallel_opt, measured",
  "traceEvents": [
    {"ph": "M", "name": "process_name", "pid": 3, "tid": 1, "args": {"name": "host"}},
    {"ph": "M", "name": "process_sort_index", "pid": 3, "tid": 1, "args": {"sort_index": 3}},
    {"ph": "M", "name": "thread_name", "pid": 3, "tid": 1, "args": {"name": "main"}},
    {"ph": "M", "name": "thread_sort_index", "pid": 3, "tid": 1, "args": {"sort_index": 1}},
    {"ph": "M", "name": "process_name", "pid": 1, "tid": 1, "args": {"name": "rank 0"}},
    {"ph": "M", "name": "process_sort_index", "pid": 1, "tid": 1, "args": {"sort_index": 1}},
    {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "main"}},
    {"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": 1, "args": {"sort_index": 1}},
    {"ph": "M", "name": "process_name", "pid": 2, "tid": 1, "args": {"name": "rank 1"}},
    {"ph": "M", "name": "process_sort_index", "pid": 2, "tid": 1, "args": {"sort_index": 2}},
    {"ph": "M", "name": "thread_name", "pid": 2, "tid": 1, "args": {"name": "stream 7"}},
    {"ph": "M", "name": "thread_sort_index", "pid": 2, "tid": 1, "args": {"sort_index": 1}},
    {"ph": "X", "cat": "user_annotation", "name": "step", "pid": 1, "tid": 1, "ts": 0, "dur": 2000, "args": {"External id": 1, "category": "forward"}},
    {"ph": "X", "cat": "cpu_op", "name": "attention", "pid": 1, "tid": 1, "ts": 0, "dur": 1000, "args": {"External id": 2, "category": "operator"}},
    {"ph": "X", "cat": "user_annotation", "name": "backward", "pid": 1, "tid": 1, "ts": 2000, "dur": 3000, "args": {"External id": 3, "category": "backward"}},
    {"ph": "X", "cat": "kernel", "name": "all-reduce", "pid": 2, "tid": 1, "ts": 0.1, "dur": 0.2, "args": {"External id": 4, "category": "communication", "device": 1, "stream": 7}},
    {"ph": "X", "cat": "gpu_memcpy", "name": "copy \"x\"", "pid": 2, "tid": 1, "ts": 0.3, "dur": 1000, "args": {"External id": 5, "category": "data", "device": 1, "stream": 7}},
    {"ph": "C", "name": "memory_bytes", "pid": 1, "tid": 1, "ts": 1000, "args": {"memory_bytes": 1048576}},
    {"ph": "C", "name": "power_w", "pid": 3, "tid": 1, "ts": 500000, "args": {"power_w": 61.5}}
  ]
}
)");
}

TEST(ChromeTrace, AnEmptyTimelineIsStillATrace) {
  EXPECT_EQ(chrome_trace({}),
            "{\n  \"schemaVersion\": 1,\n  \"displayTimeUnit\": \"ms\",\n  \"traceName\": "
            "\"parallel_opt, \",\n  \"traceEvents\": [\n  ]\n}\n");
}

TEST(ChromeTrace, TracksThatOnlyLookLikeRanksAreTheirOwn) {
  Timeline timeline;
  for (const char* track : {"rank x", "rank 1b", "rank", "rank 2"}) {
    timeline.counters.push_back({"power_w", track, 0, 1});
  }
  const JsonDocument document(chrome_trace(timeline), "trace");
  const JsonView events = *document.root().find("traceEvents");
  std::map<std::string, std::int64_t> processes;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events.at(i).find("name")->string() != "process_name") continue;
    processes[events.at(i).find("args")->find("name")->string()] =
        events.at(i).find("pid")->integer();
  }
  EXPECT_EQ(processes, (std::map<std::string, std::int64_t>{
                           {"rank 2", 3}, {"rank", 4}, {"rank 1b", 5}, {"rank x", 6}}));
}

TEST(ChromeTrace, SpansThatTouchStillTouchAfterRounding) {
  Timeline timeline{.source = "measured"};
  double start = 0;
  for (int i = 0; i < 1000; ++i) {
    const double duration = 0.0001234567891 * (i % 7 + 1);
    timeline.spans.push_back({"s", "forward", "rank 0", start, duration});
    start += duration;
  }
  const JsonDocument document(chrome_trace(timeline), "trace");
  const JsonView events = *document.root().find("traceEvents");
  double end_us = 0;
  for (std::size_t i = 4; i < events.size(); ++i) {
    ASSERT_NEAR(events.at(i).find("ts")->number(), end_us, 1e-6) << i;  // a thousandth of a ns
    end_us = events.at(i).find("ts")->number() + events.at(i).find("dur")->number();
  }
}

TEST(TimelineCheck, ATimelineOfNestedSpansIsFine) { EXPECT_TRUE(check(small_timeline()).empty()); }

TEST(ChromeTrace, ItsSizeIsToldBeforeItIsMade) {
  for (const int ranks : {2, 64}) {
    StepWork work;
    work.stages.assign(std::size_t(ranks),
                       {.forward_s = 0.0123, .backward_input_s = 0.0234, .kept_bytes = 1 << 27});
    work.power = {{.idle_w = 75, .busy_w = 612.5}};
    const std::vector<Schedule> schedules = {
        make_schedule(ScheduleKind::one_f_one_b, ranks, 1, 2 * ranks)};
    const Timeline timeline = simulate(work, schedules, {.timeline = true}).timeline.value();
    EXPECT_NEAR(chrome_trace_bytes(timeline) / double(chrome_trace(timeline).size()), 1, 0.25);
  }
}

TEST(TimelineCheck, OverlapsAndImpossibleTimesAreNamed) {
  const Timeline timeline{.source = "measured",
                          .spans = {{"a", "forward", "rank 0", 0, 2},
                                    {"b", "forward", "rank 0", 1, 2},
                                    {"c", "forward", "rank 1", 1, 2},
                                    {"d", "forward", "rank 0", -1, 2},
                                    {"e", "forward", "rank 0", 0, std::nan("")}}};
  std::string text;
  for (const Fault& fault : check(timeline)) text += to_string(fault) + "\n";
  EXPECT_EQ(text,
            "timeline.spans[3]: times are out of range (start and duration are seconds from 0 to "
            "9e9)\n"
            "timeline.spans[4]: times are out of range (start and duration are seconds from 0 to "
            "9e9)\n"
            "timeline.spans[1]: overlaps another span of track \"rank 0\" without nesting in it "
            "(give it a track of its own)\n");
}

}  // namespace
}  // namespace parallel_opt
