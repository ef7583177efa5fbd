#pragma once

#include <string>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

struct DiscoverOptions {
  /// Opened at run time for NVIDIA devices; empty: do not look (another machine's files, a test).
  std::string nvml_library;
  /// Compare with what hwloc sees. Only meaningful for the machine we are on.
  bool cross_check = false;
};

/// The host that `files` shows: one CPU device per NUMA node, socket and core type, limited to what
/// affinity and control groups grant, and its NVIDIA devices. Sizes and counts are `reported`;
/// rates, powers and links are `database` or `assumed` until probes are merged (probe_cache.h).
/// Never fails: what could not be read is in `notes`.
Cluster discover(const FileSystem& files, const DiscoverOptions& options = {});

}  // namespace parallel_opt
