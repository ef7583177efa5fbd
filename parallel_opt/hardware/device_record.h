#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/base/uncertain.h"
#include "parallel_opt/hardware/node_links.h"

namespace parallel_opt {

/// One published number: how it was obtained, and the key of its source in DeviceRecord::sources.
struct Published {
  double value = 0;
  Quality quality = Quality::database;
  std::string source;
  bool operator==(const Published&) const = default;
};

/// tpu and asic run whole programs as a GPU does; a Cluster calls all three `gpu`.
enum class DeviceCategory { gpu, tpu, asic, cpu };

constexpr auto enum_names(DeviceCategory) {
  return std::to_array<std::string_view>({"gpu", "tpu", "asic", "cpu"});
}

enum class LinkEnd { device, host };

constexpr auto enum_names(LinkEnd) { return std::to_array<std::string_view>({"device", "host"}); }

/// All links of one kind of a device together.
struct DeviceLink {
  std::string type;              ///< "NVLink4", "PCIe5x16", "InfinityFabric"
  LinkEnd to = LinkEnd::device;  ///< to its neighbours in one machine, or to the host
  Published bytes_per_s;         ///< each direction, nominal
  LinkShape shape = LinkShape::switched;
  std::optional<Published> pair_bytes_per_s;  ///< of that, to one neighbour; not when switched
  bool reduces = false;                       ///< its switch sums what passes: NVLink SHARP
  std::optional<Published> reached;           ///< share of the nominal that collectives get
  bool operator==(const DeviceLink&) const = default;
};

/// The machine that the device is usually bought or rented in.
struct UsualHost {
  int devices = 8;
  int adapters = 1;                ///< to the network between machines
  double adapter_bytes_per_s = 0;  ///< of one, each direction
  int sockets = 2;
  int cores = 64;
  double memory_bytes = 0;
  double memory_bytes_per_s = 0;        ///< of all sockets, peak; 0: not known
  Quality quality = Quality::database;  ///< of all these numbers
  std::string source;
  bool operator==(const UsualHost&) const = default;
};

/// What only processors have. Lines of processors are found by what /proc/cpuinfo shows even inside
/// a virtual machine; a record without `vendor_id` is found by name only.
struct CpuFacts {
  int sockets = 1;                             ///< of the usual host
  int cores = 0;                               ///< of one socket; hybrid: performance cores
  int efficient_cores = 0;                     ///< hybrid: their rates are not counted
  std::string vendor_id;                       ///< x86: "AuthenticAMD"; ARM: implementer "0x41"
  int family = 0;                              ///< x86
  std::vector<int> models;                     ///< ranges: first, last, first, last, ...
  double fp32_flops_per_cycle = 0;             ///< of one core
  std::optional<double> bf16_flops_per_cycle;  ///< absent: no bf16 arithmetic
  Quality quality = Quality::database;         ///< of all these numbers
  std::string source;
  bool operator==(const CpuFacts&) const = default;
};

/// A device as its data sheet states it: one file below data/devices/. Peaks are dense; absent is
/// not published.
struct DeviceRecord {
  std::string name;  ///< "H100-SXM-80GB"
  DeviceCategory kind = DeviceCategory::gpu;
  std::string vendor;
  std::string arch;
  int year = 0;
  std::vector<std::string> aliases;
  std::vector<std::string> driver_names;         ///< as NVML reports it: "NVIDIA H100 80GB HBM3"
  std::map<std::string, Published> flops_per_s;  ///< fp64 fp32 tf32 fp16 bf16 fp8 int8 fp4 -> peak
  std::optional<Published> memory_bytes;         ///< nominal; absent for processors
  Published memory_bytes_per_s;
  std::optional<Published> cache_bytes;  ///< last level
  std::optional<Published> units;        ///< multiprocessors, compute units, cores
  std::optional<Published> clock_hz;     ///< at which the peaks hold
  std::optional<Published> max_w;
  std::optional<Published> idle_w;
  std::vector<DeviceLink> links;
  std::optional<Published> dies;  ///< devices that the driver shows for one package; absent: one
  std::optional<CpuFacts> cpu;
  std::optional<Published> usd_per_hour;
  std::optional<UsualHost> host;
  std::vector<std::string> notes;
  std::map<std::string, std::string> sources;  ///< key -> where the number comes from
  bool operator==(const DeviceRecord&) const = default;
};

/// Devices that the driver shows for one package.
int dies_of(const DeviceRecord& record);

/// A name without its memory: "A100-SXM" of "A100-SXM-40GB".
std::string board_of(const std::string& name);

/// Every broken rule of a record; empty: well formed. Paths as in its JSON.
std::vector<Fault> check(const DeviceRecord& record, const std::string& where);

template <class Visitor, class T>
  requires SameAs<T, Published>
void fields(Visitor& visit, T& fact) {
  visit("value", fact.value, "SI base units; money in USD");
  visit("quality", fact.quality, "how it was obtained");
  visit("source", fact.source, "key of `sources`");
}

template <class Visitor, class T>
  requires SameAs<T, DeviceLink>
void fields(Visitor& visit, T& link) {
  visit("type", link.type, "NVLink4, PCIe5x16, InfinityFabric, ...");
  visit("to", link.to, "its neighbours in one machine, or the host");
  visit("bytes_per_s", link.bytes_per_s, "each direction, nominal, all links together");
  visit.optional("shape", link.shape, "switched, mesh (links of its own to each other) or torus");
  visit.optional("reduces", link.reduces, "its switch sums what passes (NVLink SHARP)");
  visit("pair_bytes_per_s", link.pair_bytes_per_s, "of that, to one neighbour of a mesh or torus");
  visit("reached", link.reached, "share of the nominal that large collectives were measured at");
}

template <class Visitor, class T>
  requires SameAs<T, UsualHost>
void fields(Visitor& visit, T& host) {
  visit("devices", host.devices, "devices in it");
  visit("adapters", host.adapters, "network adapters for jobs");
  visit("adapter_bytes_per_s", host.adapter_bytes_per_s, "of one, each direction");
  visit("sockets", host.sockets, "processors");
  visit("cores", host.cores, "physical cores");
  visit("memory_bytes", host.memory_bytes, "host memory");
  visit.optional("memory_bytes_per_s", host.memory_bytes_per_s, "of all sockets, peak");
  visit("quality", host.quality, "how all these were obtained");
  visit("source", host.source, "key of `sources`");
}

template <class Visitor, class T>
  requires SameAs<T, CpuFacts>
void fields(Visitor& visit, T& cpu) {
  visit.optional("sockets", cpu.sockets, "of the usual host");
  visit("cores", cpu.cores, "of one socket; hybrid: performance cores");
  visit.optional("efficient_cores", cpu.efficient_cores, "hybrid: the others");
  visit.optional("vendor_id", cpu.vendor_id, "vendor_id, or ARM implementer");
  visit.optional("family", cpu.family, "x86 family");
  visit.optional("models", cpu.models, "ranges of x86 models or ARM parts: first, last, ...");
  visit.optional("fp32_flops_per_cycle", cpu.fp32_flops_per_cycle, "of one core");
  visit("bf16_flops_per_cycle", cpu.bf16_flops_per_cycle, "of one core");
  visit("quality", cpu.quality, "how all these were obtained");
  visit("source", cpu.source, "key of `sources`");
}

template <class Visitor, class T>
  requires SameAs<T, DeviceRecord>
void fields(Visitor& visit, T& device) {
  visit.schema("parallel-opt/device/1");
  visit("name", device.name, "what presets call it");
  visit("kind", device.kind, "gpu, tpu, asic or cpu");
  visit("vendor", device.vendor, "who makes it");
  visit("arch", device.arch, "architecture");
  visit("year", device.year, "of its launch");
  visit.optional("aliases", device.aliases, "other names in presets");
  visit.optional("driver_names", device.driver_names, "names the driver reports");
  visit("flops_per_s", device.flops_per_s, "dense peak by element type");
  visit("memory_bytes", device.memory_bytes, "its own memory, vendor nominal");
  visit("memory_bytes_per_s", device.memory_bytes_per_s, "peak of its memory");
  visit("cache_bytes", device.cache_bytes, "last level cache");
  visit("units", device.units, "multiprocessors, compute units or cores");
  visit("clock_hz", device.clock_hz, "at which the peaks hold");
  visit("max_w", device.max_w, "design power");
  visit("idle_w", device.idle_w, "idle power, where published");
  visit.optional("links", device.links, "to neighbours and host");
  visit("dies", device.dies, "devices that the driver shows for one package");
  visit("cpu", device.cpu, "processors only");
  visit("usd_per_hour", device.usd_per_hour, "list price of one device");
  visit("host", device.host, "the machine it usually sits in");
  visit.optional("notes", device.notes, "what to know before use");
  visit("sources", device.sources, "where the numbers come from");
}

}  // namespace parallel_opt
