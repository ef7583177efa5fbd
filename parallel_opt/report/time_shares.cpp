#include "parallel_opt/report/time_shares.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace parallel_opt {
namespace {

/// Slices until one has a colour that was there, or the one that such a cycle last began with:
/// what repeats in a steady state.
struct Cycle {
  double start = 0;
  double end = 0;             ///< where the next one starts; before a long gap: see `end_of_last`
  std::uint64_t pattern = 0;  ///< its colours in their order
  bool last = false;          ///< nothing follows for long
};

/// Whether two cycles are one pattern's; `exactly`: and as long.
bool same(const Cycle& a, const Cycle& b, bool exactly) {
  constexpr double kAlike = 0.01;
  const double length = a.end - a.start, other = b.end - b.start;
  return a.pattern == b.pattern && (!exactly || std::abs(length - other) <= kAlike * length);
}

/// Cycles that are drawn as one, by their first and one after their last.
struct Part {
  std::size_t first = 0, next = 0;
  bool tail = false;  ///< too short to be looked at alone: the rest before a long gap
};

/// What is no part of a steady state: several times the usual distance between slices.
double long_gap(const std::vector<Slice>& slices, double least) {
  constexpr double kTimes = 3;
  std::vector<double> steps;
  for (std::size_t i = 1; i < slices.size(); ++i) {
    steps.push_back(slices[i].start - slices[i - 1].start);
  }
  if (steps.empty()) return least;
  // Three of four are shorter: slices may come in pairs.
  const auto usual = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() * 3 / 4);
  std::ranges::nth_element(steps, usual);
  return std::max(least, kTimes * *usual);
}

constexpr std::size_t kMostPeriod = 16;  // cycles

/// Of a cycle before a long gap: a wait as long as that of an earlier one in its place is its own.
/// Else the last of many would look busier than they.
double end_of_last(const std::vector<Cycle>& cycles, double end, double next_start) {
  const std::size_t last = cycles.size() - 1;
  for (std::size_t back = 1; back <= kMostPeriod && back < last; ++back) {
    const Cycle& like = cycles[last - back];
    if (like.last || cycles[last - 1].last) break;
    if (like.pattern != cycles[last].pattern) continue;
    if (!same(cycles[last - 1], cycles[last - back - 1], true)) continue;
    return std::clamp(cycles[last].start + like.end - like.start, end, next_start);
  }
  return end;
}

/// Where a colour was there for the last time, and where what comes once begins and ends: the last
/// backwards, and the optimizer, are no part of a steady state however soon they are over. Those
/// that lie apart by more than `least`; so few slices as end each cycle are none.
struct Phase {
  double start = 0;
  bool once = false;  ///< else it begins with the next cycle
};
std::vector<Phase> phases_of(const std::vector<Slice>& slices, const TimeShares& out, double least,
                             double row_end) {
  constexpr std::ptrdiff_t kCycleEnd = 6;
  std::vector<std::pair<std::ptrdiff_t, bool>> changes;
  for (const std::string& color : out.colors) {
    const auto is = [&](const Slice& slice) { return slice.color == color; };
    const std::ptrdiff_t first = std::ranges::find_if(slices, is) - slices.begin();
    const std::ptrdiff_t after =
        std::find_if(slices.rbegin(), slices.rend(), is).base() - slices.begin();
    const bool once = after - first == 1;
    const std::ptrdiff_t left = std::ssize(slices) - after;
    if (once) changes.emplace_back(first, true);
    if (once || left >= kCycleEnd) changes.emplace_back(after, once);
  }
  std::ranges::sort(changes);
  std::vector<Phase> kept;
  double before = slices.empty() ? 0 : slices.front().start;
  for (const auto& [change, once] : changes) {
    if (change == std::ssize(slices)) break;
    const double start = slices[std::size_t(change)].start;
    if (start - before <= least || row_end - start <= least) continue;
    kept.push_back({start, once});
    before = start;
  }
  return kept;
}

std::vector<Cycle> cycles_of(const std::vector<Slice>& slices, const TimeShares& out, double gap,
                             const std::vector<Phase>& phases, double row_end) {
  std::vector<Cycle> cycles;
  auto phase = phases.begin();
  std::vector<std::size_t> seen(out.colors.size(), SIZE_MAX);  // by colour: in which cycle
  double end = 0;
  std::size_t first = SIZE_MAX;   // colour of this cycle
  std::size_t anchor = SIZE_MAX;  // of the last one with several
  for (const Slice& slice : slices) {
    const auto color =
        static_cast<std::size_t>(std::ranges::find(out.colors, slice.color) - out.colors.begin());
    const bool late = !cycles.empty() && slice.start - end > gap;
    const bool next = late || seen[color] == cycles.size() || color == anchor;
    bool changes = false;
    while (phase != phases.end() && slice.start >= phase->start && (next || phase->once)) {
      changes = true;
      ++phase;
    }
    if (cycles.empty() || changes || next) {
      if (!cycles.empty()) {
        cycles.back().end = late ? end_of_last(cycles, end, slice.start) : slice.start;
        cycles.back().last = late || changes;
      }
      if (changes) anchor = SIZE_MAX;
      cycles.push_back({.start = slice.start});
      first = color;
    } else {
      anchor = first;
    }
    seen[color] = cycles.size();
    cycles.back().pattern = cycles.back().pattern * 31 + color + 1;
    end = std::max(end, slice.start + slice.length);
  }
  if (!cycles.empty()) {
    cycles.back().end = end_of_last(cycles, end, std::max(end, row_end));
    cycles.back().last = true;
  }
  return cycles;
}

/// After how many cycles they repeat from `first` on, or have done until it; 0: they do not.
std::size_t period_at(const std::vector<Cycle>& cycles, std::size_t first, bool exactly) {
  for (std::size_t period = 1; period <= kMostPeriod; ++period) {
    const std::size_t end = std::min(first + period, cycles.size());
    bool ahead = end + period <= cycles.size(), behind = first >= period;
    for (std::size_t i = first; i < end; ++i) {
      ahead = ahead && same(cycles[i], cycles[i + period], exactly);
      behind = behind && same(cycles[i], cycles[i - period], exactly);
    }
    if (ahead || behind) return period;
  }
  return 0;
}

/// The part that begins with `first`.
Part part_at(const std::vector<Cycle>& cycles, std::size_t first, double least) {
  constexpr std::size_t kSome = 4;  // cycles that are not all alike: of them several
  const std::size_t exact = period_at(cycles, first, true);
  const std::size_t period = exact > 0 ? exact : period_at(cycles, first, false);
  for (std::size_t i = first; i < cycles.size(); ++i) {
    const std::size_t count = i + 1 - first;
    const bool shorter = cycles[i].end - cycles[first].start < least;
    if (cycles[i].last) return {first, i + 1, shorter || (exact == 0 && count < kSome)};
    if (shorter) continue;
    const bool breaks = period > 0 && i + 1 >= first + period &&
                        !same(cycles[i + 1], cycles[i + 1 - period], exact > 0);
    if (breaks) return {first, i + 1};
    if (exact == 0 && count < kSome) continue;
    if (period == 0 || count % period == 0) return {first, i + 1};
  }
  return {first, cycles.size(), true};
}

void add_times(const std::vector<Slice>& slices, TimeShares& out) {
  std::size_t from = 0;
  for (const Slice& slice : slices) {
    const auto color =
        static_cast<std::size_t>(std::ranges::find(out.colors, slice.color) - out.colors.begin());
    const double end = slice.start + slice.length;
    while (from < out.runs.size() && out.runs[from].end <= slice.start) ++from;
    for (std::size_t r = from; r < out.runs.size() && out.runs[r].start < end; ++r) {
      ShareRun& run = out.runs[r];
      const double inside = std::min(end, run.end) - std::max(slice.start, run.start);
      run.shares[color] += std::max(0.0, inside) / (run.end - run.start);
    }
  }
}

/// Neighbours that nearly agree become one, with the mean of both.
void merge(std::vector<ShareRun>& runs) {
  constexpr double kAgree = 0.02;
  std::vector<ShareRun> merged;
  for (ShareRun& run : runs) {
    const bool touches = !merged.empty() && merged.back().end == run.start;
    const auto agree = [](double a, double b) { return std::abs(a - b) <= kAgree; };
    if (!touches || !std::ranges::equal(merged.back().shares, run.shares, agree)) {
      merged.push_back(std::move(run));
      continue;
    }
    ShareRun& before = merged.back();
    const double old = before.end - before.start, more = run.end - run.start;
    for (std::size_t i = 0; i < run.shares.size(); ++i) {
      before.shares[i] = (before.shares[i] * old + run.shares[i] * more) / (old + more);
    }
    before.end = run.end;
  }
  runs = std::move(merged);
}

/// Parts of a row. The last cycle before a long gap has no wait of its own, so that a short part
/// with it would stand out: it belongs to the part before if that is of the same pattern.
std::vector<Part> parts_of(const std::vector<Cycle>& cycles, double least) {
  std::vector<Part> parts;
  for (std::size_t first = 0; first < cycles.size(); first = parts.back().next) {
    Part part = part_at(cycles, first, least);
    const bool follows = !parts.empty() && !cycles[first - 1].last;
    if (part.tail && follows && cycles[first - 1].pattern == cycles[first].pattern) {
      parts.back().next = part.next;
      parts.back().tail = true;
    } else {
      parts.push_back(part);
    }
  }
  return parts;
}

}  // namespace

TimeShares time_shares(const std::vector<Slice>& slices, int depth, double least, double row_end) {
  TimeShares out;
  std::vector<Slice> some;
  for (const Slice& slice : slices) {
    if (slice.depth != depth || !(slice.length > 0)) continue;
    some.push_back({.start = slice.start, .length = slice.length, .color = slice.color});
    if (std::ranges::find(out.colors, slice.color) == out.colors.end()) {
      out.colors.push_back(slice.color);
    }
  }
  std::ranges::stable_sort(some, {}, &Slice::start);
  constexpr double kSeen = 1.0 / 32;  // of `least`: a quarter of a pixel
  const std::vector<Cycle> cycles = cycles_of(
      some, out, long_gap(some, least), phases_of(some, out, kSeen * least, row_end), row_end);
  for (const Part& part : parts_of(cycles, least)) {
    const double start = cycles[part.first].start, end = cycles[part.next - 1].end;
    // Else they begin at one moment.
    if (end > start) out.runs.push_back({start, end, std::vector<double>(out.colors.size(), 0)});
  }
  add_times(some, out);
  merge(out.runs);
  return out;
}

}  // namespace parallel_opt
