#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/driver_record.h"

namespace parallel_opt {

/// Adds a host's accelerators to a cluster of one node: memory and power as the driver reports
/// them, rates from the database by the driver's name, PCI locality from `files`, MIG slices as
/// devices of their own with their part of the rates. Links: NVSwitch as a network, direct NVLink
/// and xGMI links by their number, else PCIe by generation, width, and whether the two may read
/// each other's memory; where the driver tells no links, the database's of boards that always have
/// them. Devices the database does not know get rates of quality `assumed`.
void add_gpus(const DriverRecord& driver, const DeviceDatabase& database, const FileSystem& files,
              Cluster& cluster);

/// What hwloc sees otherwise than /proc and /sys: a note per difference. Empty when hwloc is not
/// built in or agrees.
std::vector<std::string> hwloc_disagreements(int packages, int cores, int threads);

}  // namespace parallel_opt
