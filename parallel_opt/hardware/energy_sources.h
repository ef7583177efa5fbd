#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel_opt/hardware/energy.h"

namespace parallel_opt {

/// The sources of a host, each part of the machine covered once: RAPL when it may be read, else the
/// model of the CPU devices; NVML for NVIDIA devices. What is missing goes to `notes`. `files` must
/// outlive them.
std::vector<std::unique_ptr<EnergySource>> make_energy_sources(const FileSystem& files,
                                                               const Cluster& cluster,
                                                               const std::string& nvml_library,
                                                               std::vector<std::string>& notes);

}  // namespace parallel_opt
