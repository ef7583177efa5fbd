#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/search/search.h"

namespace parallel_opt {

/// A number with its interval and quality: "12.3 ms (10.1 ms to 14.0 ms, calibrated)".
std::string interval_text(const Uncertain& number, std::string (*show_one)(double));

/// Step time, throughput, memory, energy, carbon where it is known, and the bill line by line.
std::string estimate_text(const Estimate& estimate,
                          const std::optional<Uncertain>& carbon_g = std::nullopt);

/// Candidates with their predicted time and why each lost.
std::string candidates_text(const std::vector<Candidate>& candidates);

}  // namespace parallel_opt
