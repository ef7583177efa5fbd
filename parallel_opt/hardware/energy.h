#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/amd_smi.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// Joules of one part of the machine over a window.
struct DeviceEnergy {
  std::string name;    ///< device, or RAPL domain: "package-0"
  std::string source;  ///< "rapl", "nvml counter", "nvml power", "cpu time model"
  std::optional<Uncertain> energy_j;
  Quality quality = Quality::unavailable;
  bool operator==(const DeviceEnergy&) const = default;
};

/// Joules of the machine over a window. The sum has the quality of its worst part; parts that
/// cannot be told are absent from it and named in `notes`. Idle power is not subtracted but told
/// apart: what the same parts would have drawn at rest.
struct EnergyReading {
  std::optional<Uncertain> energy_j;
  Quality quality = Quality::unavailable;
  std::optional<Uncertain> idle_j;  ///< absent: the idle watts of some part are not known
  double window_s = 0;
  std::vector<DeviceEnergy> devices;
  std::vector<std::string> notes;
  bool operator==(const EnergyReading&) const = default;
};

/// A way to learn the energy of some parts of the machine, which overlap with no other source's.
class EnergySource {
 public:
  virtual ~EnergySource() = default;
  /// Starts a window. Times are seconds of one monotonic clock.
  virtual void begin(double now_s) = 0;
  /// Called from time to time within the window: counters wrap, powers are integrated.
  virtual void sample(double now_s) = 0;
  /// Ends the window and appends one entry per part.
  virtual void end(double now_s, EnergyReading& reading) = 0;
  /// Longest time between two samples that loses nothing.
  virtual double period_s() const = 0;
};

/// A counter of the kernel's performance events.
struct PerfEventSpec {
  std::uint32_t type = 0;
  std::uint64_t config = 0;
  int cpu = 0;
};

class PerfEvent {
 public:
  virtual ~PerfEvent() = default;
  /// Counts since it was opened; empty when it cannot be read any more.
  virtual std::optional<std::uint64_t> read() = 0;
};

/// nullptr: the kernel does not allow it.
using OpenPerfEvent = std::function<std::unique_ptr<PerfEvent>(const PerfEventSpec&)>;

/// By the system call.
std::unique_ptr<PerfEvent> open_perf_event(const PerfEventSpec& spec);

struct EnergyOptions {
  std::string nvml_library = "libnvidia-ml.so.1";                ///< empty: no NVIDIA devices
  std::vector<std::string> amd_libraries = amd_library_names();  ///< empty: /sys alone
  OpenPerfEvent open_perf = open_perf_event;                     ///< empty: no perf events
  /// A thread of our own samples while a window is open. Off: sample() is called by the user.
  bool background = true;
  std::function<double()> clock_s;  ///< monotonic seconds; empty: the system's
};

/// Measures windows of energy with the best source that each part of the machine has: RAPL, NVML
/// and AMD counters, GPU power integrated over time, else a model: P = idle + (max - idle) *
/// utilisation from CPU time, +-30 %. Never fails: what cannot be measured is `unavailable`. One
/// window at a time; begin() within a window starts anew.
class EnergyMeter {
 public:
  /// `files` shows /sys/class/powercap and /proc; `cluster` names the devices and their watts.
  EnergyMeter(std::unique_ptr<const FileSystem> files, const Cluster& cluster,
              EnergyOptions options = {});
  /// This host.
  EnergyMeter();
  EnergyMeter(EnergyMeter&&) noexcept;
  ~EnergyMeter();

  void begin();
  void sample();
  /// Pre: begin() was called (else an empty window that is `unavailable`).
  EnergyReading end();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

template <class Visitor, class T>
  requires SameAs<T, DeviceEnergy>
void fields(Visitor& visit, T& device) {
  visit("name", device.name, "device or domain");
  visit("source", device.source, "what told it");
  visit("energy_j", device.energy_j, "joules over the window");
  visit("quality", device.quality, "counter, integrated_power, modelled or unavailable");
}

template <class Visitor, class T>
  requires SameAs<T, EnergyReading>
void fields(Visitor& visit, T& reading) {
  visit.schema("parallel-opt/energy/1");
  visit("energy_j", reading.energy_j, "joules over the window, all parts that could be told");
  visit("quality", reading.quality, "of the worst part");
  visit("idle_j", reading.idle_j, "of it, what the same parts draw at rest: idle watts x window");
  visit("window_s", reading.window_s, "seconds");
  visit("devices", reading.devices, "parts that do not overlap");
  visit.optional("notes", reading.notes, "what could not be read");
}

}  // namespace parallel_opt
