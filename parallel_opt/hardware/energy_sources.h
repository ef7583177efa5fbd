#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel_opt/hardware/energy.h"

namespace parallel_opt {

/// The sources of a host, each part of the machine covered once: RAPL of powercap, else of perf
/// events, else the model of the CPU devices; NVML and AMD's counters for accelerators, which of
/// some modules hold the processor too. What is missing goes to `notes`. `files` must outlive them.
std::vector<std::unique_ptr<EnergySource>> make_energy_sources(const FileSystem& files,
                                                               const Cluster& cluster,
                                                               const EnergyOptions& options,
                                                               std::vector<std::string>& notes);

}  // namespace parallel_opt
