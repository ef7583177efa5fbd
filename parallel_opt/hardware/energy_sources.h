#pragma once

#include <memory>
#include <optional>
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

/// Its watts, where they say something of it: what is assumed for a processor that nobody knows is
/// good for a plan's comparisons, and for no reading.
inline std::optional<Power> known_power(const Device& device) {
  if (!device.power) return std::nullopt;
  const bool guessed =
      device.kind == DeviceKind::cpu && device.power->max_w.quality == Quality::assumed;
  return guessed ? std::nullopt : device.power;
}

}  // namespace parallel_opt
