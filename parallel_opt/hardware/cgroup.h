#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/file_system.h"

namespace parallel_opt {

/// What the control groups of this process grant (version 1, version 2 or both mounted). Each value
/// is the tightest over the own group and all its parents that the mount shows; absent: no limit.
struct CgroupLimits {
  std::optional<double> cpu_quota;            ///< cores' worth of time
  std::optional<std::int64_t> memory_bytes;   ///< hard or high limit
  std::optional<std::int64_t> memory_in_use;  ///< of the limiting group, without reclaimable cache
  std::optional<std::vector<int>> cpus;       ///< logical cores of the cpuset
  bool operator==(const CgroupLimits&) const = default;
};

/// Reads /proc/self/{cgroup,mountinfo} and the files below the mounts. Files that are missing or
/// malformed mean "no limit".
CgroupLimits read_cgroup_limits(const FileSystem& files);

/// "0-3,8" -> 0 1 2 3 8, sorted. Empty when the text is no such list.
std::vector<int> parse_cpu_list(std::string_view text);

/// What a file holds, without white space at both ends; empty when there is no such file.
std::string text_in(const FileSystem& files, const std::string& path);

/// The whole number at the start of a text ("4096\n", "24684092 kB"); empty when there is none.
std::optional<std::int64_t> leading_integer(std::string_view text);

}  // namespace parallel_opt
