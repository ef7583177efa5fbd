#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {

/// Bytes of which a step may hold no more, and of which devices.
struct DeviceMemory {
  std::string devices;
  double bytes = 0;  ///< what training may use: the least is kept for the driver and the like
};

/// A rank that one looks for in a picture, and why: "takes 1.8 times as long".
struct NotedRank {
  int rank = 0;
  std::string why;
  bool operator==(const NotedRank&) const = default;
};

/// What a step looks like: who computes what when, and memory and power over time. Of the timeline
/// that `simulate` makes; of many ranks some are drawn, and the picture says which.
struct StepPicture {
  std::string title;
  std::string subtitle;  ///< one line of numbers
  Timeline timeline;
  int ranks = 0;  ///< of which the timeline may hold some; 0: those that it holds
  std::optional<PowerCurve> power = {};     ///< of all devices
  std::vector<DeviceMemory> memories = {};  ///< of the kinds that differ; empty: not known
  std::vector<NotedRank> noted = {};        ///< a rank once; those that matter most first
};

/// So many ranks have rows of their own.
inline constexpr std::size_t kDrawnRanks = 24;

/// Of so many ranks at most `most` by number: the first, the last, those that are noted (if they
/// are too many, the first of them), and others evenly between.
std::vector<int> drawn_ranks(int ranks, const std::vector<NotedRank>& noted = {},
                             std::size_t most = kDrawnRanks);

/// One picture with its style inside: light or dark as the viewer likes it.
std::string step_svg(const StepPicture& picture);

/// One offline HTML file: no script, no request.
std::string step_page(const StepPicture& picture);

}  // namespace parallel_opt
