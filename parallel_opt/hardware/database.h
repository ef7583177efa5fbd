#pragma once

#include <string>
#include <vector>

#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/hardware/device_record.h"

namespace parallel_opt {

/// Everything under data/devices/, by name of file.
struct DeviceDatabase {
  std::vector<DeviceRecord> devices;
};

/// The embedded database, read once.
const DeviceDatabase& load_database();

/// Reads one file of a device, "my-device.json". Throws InputError with every fault.
DeviceRecord read_device(std::string_view text, const std::string& name);

/// By name or alias, case ignored; nullptr when there is none.
const DeviceRecord* find_device(const DeviceDatabase& database, const std::string& name);
/// By the name the driver reports; nullptr when there is none.
const DeviceRecord* find_gpu_by_driver_name(const DeviceDatabase& database,
                                            const std::string& name);
/// The line of processors with that identity; nullptr when there is none.
const DeviceRecord* find_cpu(const DeviceDatabase& database, const std::string& vendor, int family,
                             int model);
/// The fault of a name that no record has, with the nearest one as the way out.
Fault unknown_device(const DeviceDatabase& database, const std::string& where,
                     const std::string& name);

/// Links among `count` of them in one machine, else the fastest to the host; nullptr when none is
/// known. A bridge joins two boards: which of more it joins, nobody says.
const DeviceLink* neighbour_link(const DeviceRecord& record, double count = 2);

/// A Device of that type with curves (quality `database`: peak times a usual efficiency). Records
/// of processors give one socket.
Device device_of(const DeviceRecord& record);

/// What is known of a group of CPU cores before it is probed.
struct CpuGuess {
  const DeviceRecord* record = nullptr;  ///< may be null: instruction sets decide then
  std::vector<std::string> instruction_sets;
  double hz = 0;
  int cores = 1;                ///< physical
  double socket_share = 1;      ///< of the memory channels: NUMA nodes cut a package
  std::optional<double> quota;  ///< cores' worth of time, where it is limited
};

/// Fills rates, launch overhead and power of a CPU device: `database` for a known line of
/// processors, else `assumed`.
void fill_cpu_rates(Device& device, const CpuGuess& guess);

/// Watts at rest of a device whose data sheet tells the most it draws alone.
Uncertain assumed_idle(DeviceKind kind, double max_w);

/// Rates of a GPU nobody knows, so that planning goes on: `assumed`, from its memory size only.
void fill_unknown_gpu_rates(Device& device);

}  // namespace parallel_opt
