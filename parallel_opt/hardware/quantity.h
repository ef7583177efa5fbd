#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "parallel_opt/base/json.h"

/// Numbers as people write them in cluster files: with their unit. A bare number is a fault, since
/// nobody can tell 400 Gbit/s from 400 GB/s by looking at it.
namespace parallel_opt {

struct Bandwidth {
  double bytes_per_s = 0;  ///< "400 Gbps", "50 GB/s", "1.6 Tbit/s", "63 GiB/s"
  bool operator==(const Bandwidth&) const = default;
};

struct Duration {
  double seconds = 0;  ///< "5 us", "1.5 ms"
  bool operator==(const Duration&) const = default;
};

struct Capacity {
  double bytes = 0;  ///< "80 GiB", "2 TB"
  bool operator==(const Capacity&) const = default;
};

/// Empty when the text is no number with such a unit. White space before the unit may be left out.
std::optional<Bandwidth> parse_bandwidth(std::string_view text);
std::optional<Duration> parse_duration(std::string_view text);
std::optional<Capacity> parse_capacity(std::string_view text);

void read_json(const JsonView& in, Bandwidth& value, std::vector<Fault>& faults);
void read_json(const JsonView& in, Duration& value, std::vector<Fault>& faults);
void read_json(const JsonView& in, Capacity& value, std::vector<Fault>& faults);

}  // namespace parallel_opt
