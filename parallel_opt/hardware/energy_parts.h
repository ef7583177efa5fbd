#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel_opt/hardware/amd_smi.h"
#include "parallel_opt/hardware/energy.h"
#include "parallel_opt/hardware/nvml.h"

/// The sources behind energy_sources.h. Each open function gives nullptr when there is nothing to
/// read, with the reason in `notes` where it matters.
namespace parallel_opt::energy_parts {

/// Energy of a counter that moves in steps of `step_s`: one step at either end is in doubt, and
/// over fewer than five steps the counter is as rough as sampled power.
DeviceEnergy counted(std::string name, std::string source, double joules, double window_s,
                     double step_s);

/// RAPL domains of /sys/class/powercap that do not overlap: packages, and DRAM, which packages
/// leave out. "core" and "uncore" are inside a package, "psys" holds everything, MMIO zones repeat
/// the package. `forbidden`: there are counters, but this user may not read them.
std::unique_ptr<EnergySource> open_powercap(const FileSystem& files, bool& forbidden);

/// The same domains through the kernel's performance events, whose 64-bit counters do not wrap.
std::unique_ptr<EnergySource> open_perf_rapl(const FileSystem& files, const OpenPerfEvent& open,
                                             std::vector<std::string>& notes);

/// NVIDIA devices: the energy counter where there is one, else power integrated by trapezoid.
std::unique_ptr<EnergySource> make_nvml_source(Nvml nvml, const std::vector<GpuRecord>& devices);

/// AMD devices, likewise; `library` may be null: /sys tells the power.
std::unique_ptr<EnergySource> make_amd_source(std::unique_ptr<AmdSmi> library,
                                              const FileSystem& files,
                                              const std::vector<GpuRecord>& devices);

/// CPU devices without a sensor: P = idle + (max - idle) * utilisation of their cores.
std::unique_ptr<EnergySource> make_cpu_model(const FileSystem& files, std::vector<Device> devices);

}  // namespace parallel_opt::energy_parts
