#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/json.h"

namespace parallel_opt {

/// Something that took time on one track.
struct Span {
  std::string name;
  /// "forward", "backward", "optimizer", "data", "communication", "idle", "compile", "step" (all of
  /// one), "launch" (the host's part)
  std::string category;
  std::string track;  ///< "rank 0", "rank 0 stream 7"
  double start_s = 0;
  double duration_s = 0;
  bool operator==(const Span&) const = default;
};

/// A value over time: memory or power.
struct CounterSample {
  std::string counter;  ///< "memory_bytes", "power_w"
  std::string track;
  double time_s = 0;
  double value = 0;
  bool operator==(const CounterSample&) const = default;
};

/// Events on devices and links over time, simulated or measured: one format for both. On one track
/// spans nest or do not overlap.
struct Timeline {
  std::string source;  ///< "measured", "simulated"
  std::vector<Span> spans = {};
  std::vector<CounterSample> counters = {};
  bool operator==(const Timeline&) const = default;
};

template <class Visitor, class T>
  requires SameAs<T, Span>
void fields(Visitor& visit, T& span) {
  visit("name", span.name, "what ran");
  visit("category", span.category,
        "forward, backward, optimizer, data, communication, idle, compile, step, launch");
  visit("track", span.track, "where it ran");
  visit("start_s", span.start_s, "seconds from the start");
  visit("duration_s", span.duration_s, "seconds");
}

template <class Visitor, class T>
  requires SameAs<T, CounterSample>
void fields(Visitor& visit, T& sample) {
  visit("counter", sample.counter, "memory_bytes, power_w, ...");
  visit("track", sample.track, "where");
  visit("time_s", sample.time_s, "seconds from the start");
  visit("value", sample.value, "in the counter's unit");
}

template <class Visitor, class T>
  requires SameAs<T, Timeline>
void fields(Visitor& visit, T& timeline) {
  visit.schema("parallel-opt/timeline/1");
  visit("source", timeline.source, "measured or simulated");
  visit("spans", timeline.spans, "what took time");
  visit("counters", timeline.counters, "values over time");
}

/// Every broken rule: times finite and not negative, spans of one track nest or do not overlap.
std::vector<Fault> check(const Timeline& timeline, const std::string& where = "timeline");

/// Chrome trace JSON that Perfetto and Kineto's tools read: one process per rank ("rank 3 stream 7"
/// belongs to rank 3), one thread per track, complete events ("X") with Kineto's categories
/// (kernel and gpu_memcpy on device streams, user_annotation for steps and their phases, else
/// cpu_op), device and number of a stream as Kineto has them, counters ("C"). Times are rounded to
/// nanoseconds, so that spans that touch still touch.
std::string chrome_trace(const Timeline& timeline);

/// About how many bytes that takes, to be told before.
double chrome_trace_bytes(const Timeline& timeline);

}  // namespace parallel_opt
