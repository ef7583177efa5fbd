#pragma once

#include <string>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// Everything a cluster says, as tables for people: nodes, devices, networks, single links, zones,
/// profiles and notes. Equal things share a row with their count; columns that nothing fills are
/// left out. A quality stands behind each number.
std::string cluster_text(const Cluster& cluster);

}  // namespace parallel_opt
