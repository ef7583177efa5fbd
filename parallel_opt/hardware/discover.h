#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/hardware/driver_record.h"

namespace parallel_opt {

struct DiscoverOptions {
  /// Opened at run time for NVIDIA devices; empty: do not look (another machine's files, a test).
  std::string nvml_library{};
  /// Opened at run time for AMD devices, the first that starts; empty: /sys alone is read.
  std::vector<std::string> amd_libraries{};
  /// Compare with what hwloc sees. Only meaningful for the machine we are on.
  bool cross_check = false;
};

/// Every library and check: the machine we are on.
DiscoverOptions this_machine();

/// What the drivers of the host say of its accelerators: the record at kDriverRecordPath when
/// `files` has one (a copy of another machine), else libraries and /sys. Never fails: what could
/// not be read is in `notes`.
DriverRecords read_drivers(const FileSystem& files, const DiscoverOptions& options,
                           std::vector<std::string>& notes);

/// The host that `files` shows: one CPU device per NUMA node, socket and core type, limited to what
/// affinity and control groups grant, its NVIDIA and AMD devices, and the network adapters that
/// other hosts may be reached by. Sizes and counts are `reported`; rates, powers and links are
/// `database` or `assumed` until probes are merged (probe_cache.h). Never fails: what could not be
/// read is in `notes`.
Cluster discover(const FileSystem& files, const DiscoverOptions& options = {});

}  // namespace parallel_opt
