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

/// Whether its watts say something of this processor: what is assumed for one that nobody knows is
/// good for a plan's comparisons, and for no reading.
inline bool has_known_power(const Device& device) {
  const bool guessed = device.kind == DeviceKind::cpu && device.power &&
                       device.power->max_w.quality == Quality::assumed;
  return device.power && !guessed;
}

}  // namespace parallel_opt
