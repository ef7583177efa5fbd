#pragma once

#include <string>

#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {

/// What a step looks like: who computes what when, and memory and power over time. Of the timeline
/// that `simulate` makes; of many ranks some are drawn, and the picture says which.
struct StepPicture {
  std::string title;
  std::string subtitle;  ///< one line of numbers
  Timeline timeline;
};

/// One picture with its style inside: light or dark as the viewer likes it.
std::string step_svg(const StepPicture& picture);

/// One offline HTML file: no script, no request.
std::string step_page(const StepPicture& picture);

}  // namespace parallel_opt
