#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace parallel_opt {

/// Pipeline schedules that have a name. Sources: docs/simulate.md.
enum class ScheduleKind {
  gpipe,
  one_f_one_b,
  interleaved_1f1b,
  looped_bfs,
  zb_h1,
  zb_h2,
  zb_v,
  dualpipe,
  dualpipe_v,
};

constexpr auto enum_names(ScheduleKind) {
  return std::to_array<std::string_view>({"gpipe", "1f1b", "interleaved_1f1b", "looped_bfs",
                                          "zb_h1", "zb_h2", "zb_v", "dualpipe", "dualpipe_v"});
}

/// Stages go down the ranks and up again: a rank has one of either end of the model.
constexpr bool is_folded(ScheduleKind kind) {
  return kind == ScheduleKind::zb_v || kind == ScheduleKind::dualpipe_v;
}

/// A forward and another micro-batch's backward run as one: tokens of either travel to experts
/// beside the compute of the other.
constexpr bool hides_dispatch(ScheduleKind kind) {
  return kind == ScheduleKind::dualpipe || kind == ScheduleKind::dualpipe_v;
}

/// Stage s is on rank s mod ranks; folded, and where DualPipe's second copy of the model goes the
/// other way, every other round from the last rank on.
constexpr int rank_of_stage(ScheduleKind kind, int ranks, int stage) {
  const bool turns = is_folded(kind) || kind == ScheduleKind::dualpipe;
  const int at = stage % ranks;
  return turns && stage / ranks % 2 == 1 ? ranks - 1 - at : at;
}

/// By its own name or one of those that papers and engines use, whatever its case, dashes and
/// spaces: "ZB-1p", "Interleaved 1F1B", "DualPipeV", "ScheduleZBVZeroBubble".
std::optional<ScheduleKind> schedule_by_name(std::string_view name);

/// The schedule that a text mentions beside other things; plain and interleaved 1F1B, which every
/// other schedule is compared with, are not looked for.
std::optional<ScheduleKind> schedule_mentioned(const std::string& text);

}  // namespace parallel_opt
