#include "parallel_opt/hardware/energy_sources.h"

#include <algorithm>
#include <array>
#include <map>

#include "parallel_opt/hardware/amdgpu.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/energy_parts.h"

namespace parallel_opt {

namespace energy_parts {

DeviceEnergy counted(std::string name, std::string source, double joules, double window_s,
                     double step_s) {
  /// A counter read over fewer steps than this is as rough as sampled power.
  constexpr double kLeastSteps = 5;
  const double doubt = window_s > 0 ? std::min(1.0, step_s / window_s) : 1.0;
  const Quality quality =
      window_s < kLeastSteps * step_s ? Quality::integrated_power : Quality::counter;
  return {std::move(name), std::move(source), within(joules, doubt, quality), quality};
}

}  // namespace energy_parts

namespace {

using Sources = std::vector<std::unique_ptr<EnergySource>>;

/// Of these modules the counters hold the CPU's energy too. AMD's driver may state a number alone.
bool holds_cpu(const GpuRecord& device) {
  const DeviceRecord* record = find_gpu_by_driver_name(load_database(), device.name);
  return std::ranges::any_of(
      std::array{"GH200", "GB200", "GB300", "GB10", "MI300A"}, [&](const char* name) {
        return device.name.find(name) != std::string::npos ||
               (record != nullptr && record->name.find(name) != std::string::npos);
      });
}

/// Of a package of several dies the first one's sensors tell the energy of all; the others' show 0.
std::vector<GpuRecord> packages_of(const std::vector<GpuRecord>& devices) {
  std::vector<GpuRecord> packages;
  std::map<std::string, int> seen;
  for (const GpuRecord& device : devices) {
    const DeviceRecord* record = find_gpu_by_driver_name(load_database(), device.name);
    const int dies = record != nullptr ? dies_of(*record) : 1;
    if (dies > 1 && seen[device.name]++ % dies != 0) continue;
    packages.push_back(device);
    if (dies > 1) packages.back().name += " (" + std::to_string(dies) + " dies)";
  }
  return packages;
}

/// NVIDIA and AMD devices; true when their counters hold the CPU's energy.
bool add_gpu_sources(const FileSystem& files, const EnergyOptions& options,
                     std::vector<std::string>& notes, Sources& sources) {
  bool cpu_covered = false;
  // What drivers do not tell about devices was told when they were discovered.
  std::vector<std::string> told;
  if (!options.nvml_library.empty()) {
    if (std::optional<Nvml> nvml = Nvml::open(options.nvml_library, notes)) {
      const std::vector<GpuRecord> devices = nvml->devices(told);
      cpu_covered = std::ranges::any_of(devices, holds_cpu);
      if (!devices.empty()) {
        sources.push_back(energy_parts::make_nvml_source(*std::move(nvml), devices));
      }
    }
  }
  if (const std::optional<DriverRecord> amd = read_amdgpu(files)) {
    std::unique_ptr<AmdSmi> library;
    if (!options.amd_libraries.empty()) library = AmdSmi::open(options.amd_libraries, notes);
    cpu_covered = cpu_covered || std::ranges::any_of(amd->devices, holds_cpu);
    sources.push_back(
        energy_parts::make_amd_source(std::move(library), files, packages_of(amd->devices)));
  }
  return cpu_covered;
}

}  // namespace

Sources make_energy_sources(const FileSystem& files, const Cluster& cluster,
                            const EnergyOptions& options, std::vector<std::string>& notes) {
  Sources sources;
  if (add_gpu_sources(files, options, notes, sources)) return sources;
  bool forbidden = false;
  std::unique_ptr<EnergySource> rapl = energy_parts::open_powercap(files, forbidden);
  if (rapl != nullptr && !forbidden) {
    sources.push_back(std::move(rapl));
    return sources;
  }
  if (std::unique_ptr<EnergySource> perf =
          energy_parts::open_perf_rapl(files, options.open_perf, notes)) {
    if (forbidden) {
      notes.emplace_back("rapl: energy_uj may be read by root only: perf events are used");
    }
    sources.push_back(std::move(perf));
    return sources;
  }
  if (rapl != nullptr) {
    notes.emplace_back("rapl: not every energy_uj may be read: the sum lacks what those count");
    sources.push_back(std::move(rapl));
    return sources;
  }
  if (forbidden) {
    notes.emplace_back("rapl: energy_uj may be read by root only: energy is modelled");
  } else if (!files.exists("/sys/bus/event_source/devices/power/type")) {
    notes.emplace_back(
        "rapl: the processor shows no counters, in powercap or as perf events: its energy is "
        "modelled from CPU time, +-30 %");
  }
  std::vector<Device> cpus;
  std::ranges::copy_if(cluster.devices, std::back_inserter(cpus),
                       [](const Device& d) { return d.kind == DeviceKind::cpu; });
  if (!cpus.empty()) sources.push_back(energy_parts::make_cpu_model(files, std::move(cpus)));
  return sources;
}

}  // namespace parallel_opt
