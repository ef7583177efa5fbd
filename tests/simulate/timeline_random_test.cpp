#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "parallel_opt/base/random.h"
#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {
namespace {

const std::vector<std::string> kTracks = {"rank 0",
                                          "rank 0 stream 7 compute",
                                          "rank 0 stream 29",
                                          "rank 12 stream 7",
                                          "rank 3 loader",
                                          "host",
                                          "rank",
                                          "\xc3\xa9 \"odd\"\n"};
const std::vector<std::string> kCategories = {"forward",       "backward", "optimizer", "data",
                                              "communication", "idle",     "compile",   "step",
                                              "launch",        "own"};

Timeline random_timeline(Random& random) {
  Timeline timeline{.source = random.below(2) == 0 ? "measured" : "simu\"lated"};
  for (const std::string& track : kTracks) {
    double at = random.uniform();
    for (std::uint64_t i = random.below(6); i > 0; --i) {
      const double length = random.uniform() / 100;
      timeline.spans.push_back(
          {"span " + std::to_string(i), kCategories[random.below(10)], track, at, length});
      if (random.below(2) == 0) {
        timeline.spans.push_back({"inner", "forward", track, at + length / 4, length / 2});
      }
      at += length + (random.below(2) == 0 ? 0 : random.uniform());
    }
    if (random.below(2) == 0) {
      timeline.counters.push_back(
          {"memory_bytes", track, random.uniform(), 1e12 * random.uniform()});
    }
  }
  return timeline;
}

TEST(ChromeTraceRandom, HoldsEverySpanAndCounterWhereItWas) {
  Random random(3);
  for (int round = 0; round < 150; ++round) {
    const Timeline timeline = random_timeline(random);
    ASSERT_TRUE(check(timeline).empty());
    const nlohmann::json trace = nlohmann::json::parse(chrome_trace(timeline));
    std::map<std::pair<int, int>, std::string> process, thread;
    std::multiset<std::string> spans, counters;
    std::set<int> ids;
    for (const nlohmann::json& event : trace["traceEvents"]) {
      const std::pair<int, int> place = {event["pid"], event["tid"]};
      if (event["ph"] == "M") {
        if (event["name"] == "process_name") process[{place.first, 0}] = event["args"]["name"];
        if (event["name"] == "thread_name") thread[place] = event["args"]["name"];
        continue;
      }
      ASSERT_TRUE(thread.contains(place));  // names come before what they name
      const std::string where = process[{place.first, 0}] + "|" + thread[place] + "|";
      const auto ns = [](double us) { return std::to_string(std::llround(us * 1e3)); };
      if (event["ph"] == "C") {
        counters.insert(where + ns(event["ts"]) + "|" + event["args"].begin().key());
        continue;
      }
      ASSERT_EQ(event["ph"], "X");
      ASSERT_TRUE(ids.insert(event["args"]["External id"].get<int>()).second);
      spans.insert(where + event["name"].get<std::string>() + "|" +
                   event["args"]["category"].get<std::string>() + "|" + ns(event["ts"]) + "|" +
                   ns(event["ts"].get<double>() + event["dur"].get<double>()));
      // Kineto's tools tell kernels from the rest by category and stream.
      const bool device = thread[place].starts_with("stream");
      const std::string category = event["cat"];
      const bool runs = device && event["args"]["category"] != "idle";  // a wait is no kernel
      ASSERT_EQ(runs, category == "kernel" || category == "gpu_memcpy") << event.dump();
      ASSERT_EQ(device, event["args"].contains("device"));
      if (thread[place].starts_with("stream 7")) {
        ASSERT_EQ(event["args"]["stream"], 7);
      }
    }
    const auto where = [](const std::string& track) -> std::string {
      static const std::map<std::string, std::string> known = {
          {"rank 0", "rank 0|main|"},
          {"rank 0 stream 7 compute", "rank 0|stream 7 compute|"},
          {"rank 0 stream 29", "rank 0|stream 29|"},
          {"rank 12 stream 7", "rank 12|stream 7|"},
          {"rank 3 loader", "rank 3|loader|"}};
      const auto at = known.find(track);
      return at == known.end() ? track + "|main|" : at->second;
    };
    std::multiset<std::string> expected_spans, expected_counters;
    const auto ns = [](double s) { return std::to_string(std::llround(s * 1e9)); };
    for (const Span& span : timeline.spans) {
      expected_spans.insert(where(span.track) + span.name + "|" + span.category + "|" +
                            ns(span.start_s) + "|" + ns(span.start_s + span.duration_s));
    }
    for (const CounterSample& sample : timeline.counters) {
      expected_counters.insert(where(sample.track) + ns(sample.time_s) + "|" + sample.counter);
    }
    ASSERT_EQ(spans, expected_spans);
    ASSERT_EQ(counters, expected_counters);
  }
}

TEST(TimelineJson, RandomTimelinesReadBackEqual) {
  Random random(4);
  for (int round = 0; round < 100; ++round) {
    const Timeline timeline = random_timeline(random);
    ASSERT_EQ(from_json<Timeline>(to_json(timeline), "timeline.json"), timeline);
  }
}

/// Any two spans of a track, one by one.
bool overlaps_anywhere(const Timeline& timeline) {
  const auto ns = [](double s) { return std::llround(s * 1e9); };
  for (const Span& a : timeline.spans) {
    for (const Span& b : timeline.spans) {
      if (&a == &b || a.track != b.track) continue;
      const auto a0 = ns(a.start_s), a1 = ns(a.start_s + a.duration_s);
      const auto b0 = ns(b.start_s), b1 = ns(b.start_s + b.duration_s);
      if (a0 < b0 && b0 < a1 && a1 < b1) return true;
    }
  }
  return false;
}

TEST(TimelineCheckRandom, FindsOverlapsExactlyWhereTwoSpansCross) {
  Random random(5);
  int crossed = 0, fine = 0;
  for (int round = 0; round < 1000; ++round) {
    Timeline timeline{.source = "measured"};
    for (std::uint64_t i = random.below(6); i > 0; --i) {
      // Small whole numbers, so that spans often touch or share an end.
      timeline.spans.push_back({"s", "forward", random.below(2) == 0 ? "a" : "b",
                                double(random.below(8)), double(random.below(5))});
    }
    const bool crosses = overlaps_anywhere(timeline);
    ASSERT_EQ(!check(timeline).empty(), crosses) << to_json(timeline);
    (crosses ? crossed : fine) += 1;
  }
  EXPECT_GT(crossed, 100);
  EXPECT_GT(fine, 100);
}

TEST(TimelineCheckRandom, TimesBeyondNanosecondsAreRefused) {
  for (const double bad : {-1e-12, 9e9, 1e300, std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()}) {
    Timeline timeline{.source = "measured", .spans = {{"s", "forward", "rank 0", bad, 1}}};
    EXPECT_EQ(check(timeline).size(), 1u) << bad;
    timeline.spans[0] = {"s", "forward", "rank 0", 0, bad};
    EXPECT_EQ(check(timeline, "t").at(0).where, "t.spans[0]") << bad;
  }
}

}  // namespace
}  // namespace parallel_opt
