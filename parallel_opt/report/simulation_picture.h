#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/simulate/simulation.h"

namespace parallel_opt {

/// Bytes that devices have, and which.
struct DeviceMemory {
  std::string devices;
  double bytes = 0;
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
};

/// Of so many ranks those whose actions are drawn.
std::vector<int> drawn_ranks(int ranks);

/// One picture with its style inside: light or dark as the viewer likes it.
std::string step_svg(const StepPicture& picture);

/// One offline HTML file: no script, no request.
std::string step_page(const StepPicture& picture);

}  // namespace parallel_opt
