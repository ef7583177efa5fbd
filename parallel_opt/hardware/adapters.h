#pragma once

#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// The adapters of a host that are up, as networks of scope `cluster` with one node: InfiniBand and
/// RoCE ports first, then Ethernet; equal ports together. Rates are nominal ones, scaled to what is
/// usually reached. Virtual interfaces are left out.
std::vector<Network> read_adapters(const FileSystem& files);

}  // namespace parallel_opt
