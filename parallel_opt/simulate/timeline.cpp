#include "parallel_opt/simulate/timeline.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

/// Process and thread of a track. Both count from 1: Perfetto hides process 0 as the idle task.
struct Place {
  std::int64_t process = 0;
  std::int64_t thread = 0;
  std::string process_name;
  std::string thread_name;
  bool device_stream = false;
  std::int64_t stream = -1;  ///< its number, as CUDA has them; -1: none
};

/// "rank 3 stream 7" -> {3, "stream 7"}; rank -1 when the track is of no rank.
std::pair<std::int64_t, std::string> split_track(const std::string& track) {
  if (!track.starts_with("rank ")) return {-1, track};
  std::size_t end = 5;
  std::int64_t rank = 0;
  while (end < track.size() && end < 14 && std::isdigit(static_cast<unsigned char>(track[end]))) {
    rank = rank * 10 + (track[end++] - '0');
  }
  if (end == 5 || (end < track.size() && track[end] != ' ')) return {-1, track};
  return {rank, std::string(trim(std::string_view(track).substr(end)))};
}

/// Ranks come first, by number; then other tracks, by name. Threads of a process by name.
std::map<std::string, Place> place_tracks(const Timeline& timeline) {
  std::set<std::string> tracks;
  for (const Span& span : timeline.spans) tracks.insert(span.track);
  for (const CounterSample& sample : timeline.counters) tracks.insert(sample.track);
  std::int64_t last_rank = -1;
  for (const std::string& track : tracks) last_rank = std::max(last_rank, split_track(track).first);

  std::map<std::string, Place> places;
  std::map<std::int64_t, std::int64_t> threads;  // per process
  for (const std::string& track : tracks) {
    const auto [rank, rest] = split_track(track);
    Place place;
    place.process = rank >= 0 ? rank + 1 : ++last_rank + 1;
    place.process_name = rank >= 0 ? "rank " + std::to_string(rank) : track;
    place.thread = ++threads[place.process];
    place.thread_name = rank >= 0 && !rest.empty() ? rest : "main";
    place.device_stream = rest.starts_with("stream");
    if (rest.starts_with("stream ")) {
      const char* const end = rest.data() + rest.size();
      std::int64_t number = 0;
      if (std::from_chars(rest.data() + 7, end, number).ec == std::errc()) place.stream = number;
    }
    places.emplace(track, std::move(place));
  }
  return places;
}

std::string_view kineto_category(const Span& span, const Place& place) {
  if (place.device_stream && span.category != "idle") {  // a wait is no kernel
    return span.category == "data" ? "gpu_memcpy" : "kernel";
  }
  constexpr auto kPhases = std::to_array<std::string_view>(
      {"forward", "backward", "optimizer", "data", "compile", "idle", "step"});
  const bool phase = std::ranges::find(kPhases, span.category) != kPhases.end();
  return phase ? "user_annotation" : "cpu_op";
}

std::int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

void member(JsonWriter& out, std::string_view key, std::string_view value) {
  out.key(key);
  out.value(value);
}
void member(JsonWriter& out, std::string_view key, std::int64_t value) {
  out.key(key);
  out.value(value);
}
void member(JsonWriter& out, std::string_view key, double value) {
  out.key(key);
  out.value(value);
}

/// One event on one line: traces are large, and people read them with grep.
class Events {
 public:
  std::string text;
  template <class Body>
  void add(Body body) {
    JsonWriter out(0);
    out.begin_object();
    body(out);
    out.end_object();
    text += (text.empty() ? "\n    " : ",\n    ") + out.text();
  }
};

void add_names(Events& events, const std::map<std::string, Place>& places) {
  const auto metadata = [&](std::string_view what, const Place& place, std::string_view key,
                            auto value) {
    events.add([&](JsonWriter& out) {
      member(out, "ph", "M");
      member(out, "name", what);
      member(out, "pid", place.process);
      member(out, "tid", place.thread);
      out.key("args");
      out.begin_object();
      member(out, key, value);
      out.end_object();
    });
  };
  std::set<std::int64_t> named;
  for (const auto& [track, place] : places) {
    if (named.insert(place.process).second) {
      metadata("process_name", place, "name", std::string_view(place.process_name));
      metadata("process_sort_index", place, "sort_index", place.process);
    }
    metadata("thread_name", place, "name", std::string_view(place.thread_name));
    metadata("thread_sort_index", place, "sort_index", place.thread);
  }
}

void add_span(Events& events, const Span& span, const Place& place, std::int64_t id) {
  const std::int64_t start = nanoseconds(span.start_s);
  const std::int64_t end = nanoseconds(span.start_s + span.duration_s);
  events.add([&](JsonWriter& out) {
    member(out, "ph", "X");
    member(out, "cat", kineto_category(span, place));
    member(out, "name", span.name);
    member(out, "pid", place.process);
    member(out, "tid", place.thread);
    member(out, "ts", static_cast<double>(start) / 1e3);
    member(out, "dur", static_cast<double>(end - start) / 1e3);
    out.key("args");
    out.begin_object();
    member(out, "External id", id);
    member(out, "category", span.category);
    if (place.device_stream) {
      member(out, "device", place.process - 1);
      if (place.stream >= 0) member(out, "stream", place.stream);
    }
    out.end_object();
  });
}

}  // namespace

std::vector<Fault> check(const Timeline& timeline, const std::string& where) {
  std::vector<Fault> faults;
  std::map<std::string, std::vector<std::size_t>> tracks;
  for (std::size_t i = 0; i < timeline.spans.size(); ++i) {
    const Span& span = timeline.spans[i];
    const bool fine = std::isfinite(span.start_s) && std::isfinite(span.duration_s) &&
                      span.start_s >= 0 && span.duration_s >= 0 &&
                      span.start_s + span.duration_s < 9e9;  // nanoseconds in 64 bits
    if (fine) {
      tracks[span.track].push_back(i);
    } else {
      faults.push_back({where + ".spans[" + std::to_string(i) + "]", "times are out of range",
                        "start and duration are seconds from 0 to 9e9"});
    }
  }
  for (auto& [track, indices] : tracks) {
    std::ranges::stable_sort(indices, [&](std::size_t a, std::size_t b) {
      const Span &x = timeline.spans[a], &y = timeline.spans[b];
      return x.start_s != y.start_s ? x.start_s < y.start_s : x.duration_s > y.duration_s;
    });
    std::vector<std::int64_t> open;  // ends of the spans around, innermost last
    for (const std::size_t i : indices) {
      const Span& span = timeline.spans[i];
      const std::int64_t start = nanoseconds(span.start_s);
      const std::int64_t end = nanoseconds(span.start_s + span.duration_s);
      while (!open.empty() && open.back() <= start) open.pop_back();
      if (!open.empty() && end > open.back()) {
        faults.push_back({where + ".spans[" + std::to_string(i) + "]",
                          "overlaps another span of track \"" + track + "\" without nesting in it",
                          "give it a track of its own"});
      }
      open.push_back(end);
    }
  }
  return faults;
}

std::string chrome_trace(const Timeline& timeline) {
  const std::map<std::string, Place> places = place_tracks(timeline);
  Events events;
  add_names(events, places);

  std::vector<const Span*> spans;
  spans.reserve(timeline.spans.size());
  for (const Span& span : timeline.spans) spans.push_back(&span);
  std::ranges::stable_sort(spans, [&](const Span* a, const Span* b) {
    // By track and time; the outer one of two that start together comes first.
    const Place &x = places.at(a->track), &y = places.at(b->track);
    if (x.process != y.process) return x.process < y.process;
    if (x.thread != y.thread) return x.thread < y.thread;
    if (a->start_s != b->start_s) return a->start_s < b->start_s;
    return a->duration_s > b->duration_s;
  });
  std::int64_t id = 0;
  for (const Span* span : spans) add_span(events, *span, places.at(span->track), ++id);

  for (const CounterSample& sample : timeline.counters) {
    const Place& place = places.at(sample.track);
    events.add([&](JsonWriter& out) {
      member(out, "ph", "C");
      member(out, "name", sample.counter);
      member(out, "pid", place.process);
      member(out, "tid", place.thread);
      member(out, "ts", static_cast<double>(nanoseconds(sample.time_s)) / 1e3);
      out.key("args");
      out.begin_object();
      member(out, sample.counter, sample.value);
      out.end_object();
    });
  }
  JsonWriter source(0);
  source.value(std::string_view("parallel_opt, " + timeline.source));
  return "{\n  \"schemaVersion\": 1,\n  \"displayTimeUnit\": \"ms\",\n  \"traceName\": " +
         source.text() + ",\n  \"traceEvents\": [" + events.text + "\n  ]\n}\n";
}

double chrome_trace_bytes(const Timeline& timeline) {
  constexpr double kBytesPerSpan = 210, kBytesPerSample = 118;  // of steps with 8 to 1024 ranks
  return kBytesPerSpan * static_cast<double>(timeline.spans.size()) +
         kBytesPerSample * static_cast<double>(timeline.counters.size());
}

}  // namespace parallel_opt
