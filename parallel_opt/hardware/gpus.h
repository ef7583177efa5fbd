#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/nvml.h"

namespace parallel_opt {

/// Adds the host's NVIDIA devices to a cluster of one node: memory and power as the driver reports
/// them, rates from the database by the driver's name, PCI locality from `files`, and links to each
/// other and to the CPU device they are near. `assumed` rates and a note for unknown types.
void add_nvidia_devices(const std::vector<NvmlDevice>& found, const DeviceDatabase& database,
                        const FileSystem& files, Cluster& cluster);

/// What hwloc sees and we do not, as notes; empty without hwloc. Its memory is not compared: it
/// misses memory that was added at run time. Only meaningful on the machine we are on.
std::vector<std::string> hwloc_disagreements(int packages, int cores, int threads);

}  // namespace parallel_opt
