#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// A GPU as its data sheet states it. Peaks are dense, links are per direction.
struct GpuRecord {
  std::string name;  ///< "H100-SXM-80GB"
  std::vector<std::string> aliases;
  std::vector<std::string> driver_names;  ///< as NVML reports it: "NVIDIA H100 80GB HBM3"
  std::string arch;
  double memory_bytes = 0;
  double memory_bytes_per_s = 0;
  std::map<std::string, double> flops_per_s;  ///< dtype -> peak
  std::string link;                           ///< "NVLink4", or the host link where there is none
  double link_bytes_per_s = 0;
  std::optional<double> max_w;
  std::string source;
  bool operator==(const GpuRecord&) const = default;
};

/// One line of processors, found by what /proc/cpuinfo shows even inside a virtual machine.
struct CpuRecord {
  std::string arch;    ///< "Zen4"
  std::string vendor;  ///< x86: "AuthenticAMD"; ARM: implementer "0x41"
  int family = 0;
  std::vector<int> models;                     ///< ranges: first, last, first, last, ...
  double fp32_flops_per_cycle = 0;             ///< of one core
  std::optional<double> bf16_flops_per_cycle;  ///< absent: no bf16 arithmetic
  double memory_bytes_per_s = 0;               ///< of one socket
  std::optional<double> max_w_per_core;        ///< design power over cores of a typical part
  std::string source;
  bool operator==(const CpuRecord&) const = default;
};

/// Everything under data/devices/.
struct DeviceDatabase {
  std::vector<GpuRecord> gpus;
  std::vector<CpuRecord> cpus;
  bool operator==(const DeviceDatabase&) const = default;
};

/// The embedded database.
DeviceDatabase load_database();

/// By name or alias, case ignored; nullptr when there is none.
const GpuRecord* find_gpu(const DeviceDatabase& database, const std::string& name);
/// By the name the driver reports; nullptr when there is none.
const GpuRecord* find_gpu_by_driver_name(const DeviceDatabase& database, const std::string& name);
const CpuRecord* find_cpu(const DeviceDatabase& database, const std::string& vendor, int family,
                          int model);

/// A Device of that type with curves (quality `database`: peak times a usual efficiency).
Device device_of(const GpuRecord& record);

/// What is known of a group of CPU cores before it is probed.
struct CpuGuess {
  const CpuRecord* record = nullptr;  ///< may be null: instruction sets decide then
  std::vector<std::string> instruction_sets;
  double hz = 0;
  int cores = 1;     ///< physical
  double quota = 0;  ///< cores' worth of time; 0: no limit
};

/// Fills rates, launch overhead and power of a CPU device: `database` for a known line of
/// processors, else `assumed`.
void fill_cpu_rates(Device& device, const CpuGuess& guess);

/// Rates of a GPU nobody knows, so that planning goes on: `assumed`, from its memory size only.
void fill_unknown_gpu_rates(Device& device);

template <class Visitor, class T>
  requires SameAs<T, GpuRecord>
void fields(Visitor& visit, T& gpu) {
  visit("name", gpu.name, "what presets call it");
  visit.optional("aliases", gpu.aliases, "other names in presets");
  visit.optional("driver_names", gpu.driver_names, "names the driver reports");
  visit("arch", gpu.arch, "architecture");
  visit("memory_bytes", gpu.memory_bytes, "bytes, vendor nominal");
  visit("memory_bytes_per_s", gpu.memory_bytes_per_s, "peak of its memory");
  visit("flops_per_s", gpu.flops_per_s, "dense peak by dtype");
  visit("link", gpu.link, "to its neighbours in one machine");
  visit("link_bytes_per_s", gpu.link_bytes_per_s, "each direction, nominal");
  visit("max_w", gpu.max_w, "design power");
  visit("source", gpu.source, "where the numbers come from");
}

template <class Visitor, class T>
  requires SameAs<T, CpuRecord>
void fields(Visitor& visit, T& cpu) {
  visit("arch", cpu.arch, "micro-architecture");
  visit("vendor", cpu.vendor, "vendor_id, or ARM implementer");
  visit.optional("family", cpu.family, "x86 family");
  visit("models", cpu.models, "ranges of x86 models or ARM parts: first, last, ...");
  visit("fp32_flops_per_cycle", cpu.fp32_flops_per_cycle, "of one core");
  visit("bf16_flops_per_cycle", cpu.bf16_flops_per_cycle, "of one core");
  visit("memory_bytes_per_s", cpu.memory_bytes_per_s, "of one socket");
  visit("max_w_per_core", cpu.max_w_per_core, "design power over cores of a typical part");
  visit("source", cpu.source, "where the numbers come from");
}

template <class Visitor, class T>
  requires SameAs<T, DeviceDatabase>
void fields(Visitor& visit, T& database) {
  visit.schema("parallel-opt/devices/1");
  visit.optional("gpus", database.gpus, "accelerators");
  visit.optional("cpus", database.cpus, "lines of processors");
}

}  // namespace parallel_opt
