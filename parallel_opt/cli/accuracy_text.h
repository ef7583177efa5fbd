#pragma once

#include <string>

#include "parallel_opt/cost/accuracy.h"

namespace parallel_opt {

/// How well predictions meet measurements, for people: sources, groups, memory, what does not fit,
/// what was skipped.
std::string accuracy_text(const Accuracy& accuracy);
/// Iteration time by the values of one column; `column` is one that was scored.
std::string by_text(const Accuracy& accuracy, const std::string& column);
/// Every prediction beside what was measured; empty without `predictions`.
std::string predictions_text(const Accuracy& accuracy);

}  // namespace parallel_opt
