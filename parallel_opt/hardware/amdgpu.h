#pragma once

#include <optional>
#include <string>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/driver_record.h"

namespace parallel_opt {

/// AMD's accelerators as the amdgpu driver shows them in /sys/class/drm and /sys/class/kfd: no
/// library is needed. Empty when there are none.
std::optional<DriverRecord> read_amdgpu(const FileSystem& files);

/// Watts now, as the board's sensor tells; empty when it has none or may not be read.
std::optional<double> amdgpu_power_w(const FileSystem& files, const std::string& pci);

}  // namespace parallel_opt
