#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"

/// What drivers say of the accelerators of one host, apart from how they were asked: libraries
/// opened at run time, /sys, or a record of another machine.
namespace parallel_opt {

enum class GpuVendor { nvidia, amd };

constexpr auto enum_names(GpuVendor) { return std::to_array<std::string_view>({"nvidia", "amd"}); }

/// Links between devices that are up: NVLink or xGMI.
struct FabricLinks {
  int version = 0;                        ///< of NVLink; 0: not told
  int to_switches = 0;                    ///< links to NVSwitches
  std::map<std::string, int> to_devices;  ///< PCI address of the other device -> links
  bool operator==(const FabricLinks&) const = default;
};

/// A part of a device that the driver shows as a device of its own (MIG).
struct GpuSlice {
  std::string name;  ///< "3g.40gb"
  std::string uuid;
  std::int64_t memory_bytes = 0;
  int multiprocessors = 0;  ///< 0: not told
  int compute_slices = 0;   ///< of seven; 0: not told
  bool operator==(const GpuSlice&) const = default;
};

/// One accelerator. What the driver does not tell is absent.
struct GpuRecord {
  int index = 0;
  std::string name{};  ///< "NVIDIA H100 80GB HBM3"; AMD: product name, else "1002:74a1"
  std::string uuid{};  ///< "GPU-..."
  std::string pci{};   ///< "0000:0b:00.0", lower case, as in /sys/bus/pci/devices
  std::optional<std::int64_t> memory_bytes{};
  std::optional<std::int64_t> free_bytes{};
  std::optional<double> power_limit_w{};
  std::optional<double> max_clock_hz{};
  std::optional<int> pcie_generation{};  ///< that device and slot can do, idle or not
  std::optional<int> pcie_width{};
  std::optional<FabricLinks> fabric{};
  bool mig = false;  ///< runs on its slices only
  std::vector<GpuSlice> slices{};
  bool operator==(const GpuRecord&) const = default;
};

/// How two devices of a host reach each other over PCIe, nearest first.
enum class PciPath { board, one_switch, switches, host_bridge, numa_node, system };

constexpr auto enum_names(PciPath) {
  return std::to_array<std::string_view>(
      {"board", "one_switch", "switches", "host_bridge", "numa_node", "system"});
}

struct GpuPair {
  int a = 0;  ///< index into DriverRecord::devices
  int b = 0;
  std::optional<bool> peer;  ///< may read each other's memory directly
  std::optional<PciPath> path;
  std::optional<double> fabric_bytes_per_s;  ///< xGMI: nominal, each direction
  bool operator==(const GpuPair&) const = default;
};

struct DriverRecord {
  GpuVendor vendor = GpuVendor::nvidia;
  std::optional<std::string> version{};
  std::vector<GpuRecord> devices{};
  std::vector<GpuPair> pairs{};
  std::vector<std::string> notes{};  ///< what could not be read
  bool operator==(const DriverRecord&) const = default;
};

/// Everything the drivers of a host said: what `doctor --bundle` keeps and `hardware --root` reads.
struct DriverRecords {
  std::vector<DriverRecord> drivers;
  bool operator==(const DriverRecords&) const = default;
};

/// Where it lies below `--root`.
inline constexpr char kDriverRecordPath[] = "/parallel-opt/drivers.json";

template <class Visitor, class T>
  requires SameAs<T, FabricLinks>
void fields(Visitor& visit, T& links) {
  visit.optional("version", links.version, "of NVLink; 0: not told");
  visit.optional("to_switches", links.to_switches, "links to switches");
  visit.optional("to_devices", links.to_devices, "PCI address -> links");
}

template <class Visitor, class T>
  requires SameAs<T, GpuSlice>
void fields(Visitor& visit, T& slice) {
  visit("name", slice.name, "profile of the slice");
  visit("uuid", slice.uuid, "identity");
  visit("memory_bytes", slice.memory_bytes, "its own memory");
  visit.optional("multiprocessors", slice.multiprocessors, "its own; 0: not told");
  visit.optional("compute_slices", slice.compute_slices, "of seven; 0: not told");
}

template <class Visitor, class T>
  requires SameAs<T, GpuRecord>
void fields(Visitor& visit, T& gpu) {
  visit.optional("index", gpu.index, "as the driver counts");
  visit("name", gpu.name, "as the driver states it");
  visit.optional("uuid", gpu.uuid, "identity");
  visit.optional("pci", gpu.pci, "PCI address");
  visit("memory_bytes", gpu.memory_bytes, "of the device");
  visit("free_bytes", gpu.free_bytes, "of that, free");
  visit("power_limit_w", gpu.power_limit_w, "enforced");
  visit("max_clock_hz", gpu.max_clock_hz, "of the compute units");
  visit("pcie_generation", gpu.pcie_generation, "of device and slot");
  visit("pcie_width", gpu.pcie_width, "lanes");
  visit("fabric", gpu.fabric, "NVLink or xGMI links that are up");
  visit.optional("mig", gpu.mig, "runs on its slices only");
  visit.optional("slices", gpu.slices, "MIG devices");
}

template <class Visitor, class T>
  requires SameAs<T, GpuPair>
void fields(Visitor& visit, T& pair) {
  visit("a", pair.a, "index of a device");
  visit("b", pair.b, "index of another device");
  visit("peer", pair.peer, "may read each other's memory");
  visit("path", pair.path, "common ancestor on PCIe");
  visit("fabric_bytes_per_s", pair.fabric_bytes_per_s, "xGMI, each direction, nominal");
}

template <class Visitor, class T>
  requires SameAs<T, DriverRecord>
void fields(Visitor& visit, T& record) {
  visit("vendor", record.vendor, "nvidia or amd");
  visit("version", record.version, "of the driver");
  visit("devices", record.devices, "accelerators");
  visit.optional("pairs", record.pairs, "how two of them reach each other");
  visit.optional("notes", record.notes, "what could not be read");
}

template <class Visitor, class T>
  requires SameAs<T, DriverRecords>
void fields(Visitor& visit, T& records) {
  visit.schema("parallel-opt/drivers/1");
  visit("drivers", records.drivers, "one per vendor");
}

}  // namespace parallel_opt
