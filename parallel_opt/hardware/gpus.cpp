#include "parallel_opt/hardware/gpus.h"

#ifdef PARALLEL_OPT_HWLOC
#include <hwloc.h>
#endif

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "parallel_opt/hardware/cgroup.h"

namespace parallel_opt {
namespace {

/// Where neither driver nor database states a size.
constexpr double kBytesWithoutDriverWord = 8.0 * 1024 * 1024 * 1024;
/// PCIe 3 x16, the least that a training machine has; half of what is nominal.
constexpr double kAssumedPcieBytesPerS = 8e9;
constexpr double kLinkLatencyS = 10e-6;
/// What is reached of nominal link rates: never used unscaled (published fits reach 0.45 to 0.9).
constexpr Uncertain kFabricShare{0.75, 0.45, 0.9, Quality::database};
constexpr Uncertain kPcieShare{0.8, 0.6, 0.95, Quality::database};
/// Without peer access a copy goes through the host's memory: twice over PCIe.
constexpr double kThroughHost = 0.5;
constexpr int kComputeSlices = 7;  // of a device with MIG

/// Bytes/s of one PCIe lane, each direction, after encoding.
double lane_bytes_per_s(int generation) {
  constexpr std::array<double, 6> kLanes = {0.25e9, 0.5e9, 0.985e9, 1.969e9, 3.938e9, 7.563e9};
  return kLanes[std::size_t(std::clamp(generation, 1, 6) - 1)];
}

/// Bytes/s of one NVLink, each direction.
double nvlink_bytes_per_s(int version) {
  constexpr std::array<double, 5> kLinks = {20e9, 25e9, 25e9, 25e9, 50e9};
  return kLinks[std::size_t(std::clamp(version, 1, 5) - 1)];
}

const DeviceRecord* record_of(const GpuRecord& seen, const DeviceDatabase& database) {
  return find_gpu_by_driver_name(database, seen.name);
}

void scale_rates(Device& device, double compute, double memory) {
  for (RateCurve& curve : device.rates.edit()) {
    const bool bytes =
        curve.kernel == "memory" || curve.kernel == "elementwise" || curve.kernel == "reduce";
    for (RatePoint& point : curve.points) point.per_second *= bytes ? memory : compute;
  }
}

void put_memory(const GpuRecord& seen, bool known, Device& device) {
  if (seen.memory_bytes && *seen.memory_bytes > 0) {
    const double total = double(*seen.memory_bytes);
    device.memory_bytes = {total, std::clamp(double(seen.free_bytes.value_or(0)), 0.0, total),
                           total, Quality::reported};
  } else if (!known) {
    device.memory_bytes = within(kBytesWithoutDriverWord, 0.5, Quality::assumed);
  }
}

Device make_device(const GpuRecord& seen, GpuVendor vendor, const DeviceDatabase& database,
                   Cluster& cluster) {
  const DeviceRecord* record = record_of(seen, database);
  Device device;
  if (record != nullptr) {
    device = device_of(*record);
    // A record is of the package, the driver shows each die.
    const double share = 1.0 / dies_of(*record);
    if (share < 1) scale_rates(device, share, share);
    if (device.power) {
      device.power = {device.power->idle_w * share, device.power->max_w * share};
    }
  } else {
    device.kind = DeviceKind::gpu;
    device.name = seen.name;
  }
  device.uuid = seen.uuid;
  put_memory(seen, record != nullptr, device);
  if (record == nullptr) {
    fill_unknown_gpu_rates(device);
    cluster.notes.push_back(std::string(name_of(vendor)) + ": \"" + seen.name +
                            "\" is not in the database: its rates are assumed until it is probed");
  }
  if (seen.power_limit_w && *seen.power_limit_w > 0) {
    const double limit = *seen.power_limit_w / (record != nullptr ? dies_of(*record) : 1);
    const bool told = record != nullptr && record->idle_w && device.power;
    const Uncertain idle = told ? device.power->idle_w : assumed_idle(DeviceKind::gpu, limit);
    device.power = {idle, exact(limit, Quality::reported)};
  }
  return device;
}

/// Compute slices of seven that the driver states, else those in the name: 3 in "3g.40gb".
int compute_slices_of(const GpuSlice& slice) {
  if (slice.compute_slices > 0) return slice.compute_slices;
  const auto named = leading_integer(slice.name);
  const bool profile = named && slice.name.find('g') == std::to_string(*named).size();
  return profile ? static_cast<int>(*named) : 0;
}

/// A part of `whole` as the slice states it.
Device make_slice(const Device& whole, const GpuRecord& seen, const GpuSlice& slice,
                  const DeviceRecord* record) {
  Device device = whole;
  device.name = whole.name + " MIG " + slice.name;
  device.uuid = slice.uuid;
  const int slices = compute_slices_of(slice);
  double memory = 1;
  if (slice.memory_bytes > 0) {
    if (seen.memory_bytes) memory = double(slice.memory_bytes) / double(*seen.memory_bytes);
    device.memory_bytes = exact(double(slice.memory_bytes), Quality::reported);
  } else if (slices > 0) {
    memory = double(slices) / kComputeSlices;
  }
  double compute = slices > 0 ? double(slices) / kComputeSlices : memory;
  if (slice.multiprocessors > 0 && record != nullptr && record->units) {
    compute = slice.multiprocessors / record->units->value;
  }
  compute = std::clamp(compute, 0.01, 1.0);
  memory = std::clamp(memory, 0.01, 1.0);
  scale_rates(device, compute, memory);
  if (device.power) {
    device.power = {device.power->idle_w * compute, device.power->max_w * compute};
    device.power->idle_w.quality = device.power->max_w.quality = Quality::assumed;
  }
  return device;
}

/// What became of a device of the driver: the places in Cluster::devices that it takes.
struct Place {
  std::size_t first = 0;
  std::size_t count = 0;
};

class GpuLinks {
 public:
  GpuLinks(const DriverRecord& driver, const DeviceDatabase& database,
           const std::vector<Place>& places, std::size_t cpus, Cluster& cluster)
      : driver_(driver), database_(database), places_(places), cpus_(cpus), cluster_(cluster) {
    for (const GpuPair& pair : driver.pairs) {
      const auto count = static_cast<int>(driver.devices.size());
      if (pair.a < 0 || pair.b < 0 || pair.a >= count || pair.b >= count) continue;
      GpuPair& known = pairs_[std::minmax(pair.a, pair.b)];
      if (pair.peer) known.peer = pair.peer;
      if (pair.path) known.path = pair.path;
      if (pair.fabric_bytes_per_s) known.fabric_bytes_per_s = pair.fabric_bytes_per_s;
    }
  }

  void run() {
    add_switches();
    for (std::size_t i = 0; i < places_.size(); ++i) {
      add_host_links(i);
      add_links_of_slices(i);
      for (std::size_t j = i + 1; j < places_.size(); ++j) add_pair(i, j);
    }
  }

 private:
  void link(std::size_t a, std::size_t b, const std::string& type, const Uncertain& bytes_per_s,
            double latency_s = kLinkLatencyS) {
    cluster_.links.push_back(
        {DeviceId(a), DeviceId(b), type, within(latency_s, 0.5, Quality::assumed), bytes_per_s});
  }

  struct Pcie {
    std::string type = "PCIe";
    Uncertain bytes_per_s = within(kAssumedPcieBytesPerS, 0.5, Quality::assumed);
  };

  /// Of the slower of two devices.
  static Pcie pcie_of(const GpuRecord& a, const GpuRecord& b) {
    if (!a.pcie_generation || !a.pcie_width || !b.pcie_generation || !b.pcie_width) return {};
    const int generation = std::min(*a.pcie_generation, *b.pcie_generation);
    const int width = std::min(*a.pcie_width, *b.pcie_width);
    if (width < 1) return {};
    return {"PCIe" + std::to_string(generation) + "x" + std::to_string(width),
            kPcieShare * (lane_bytes_per_s(generation) * width)};
  }

  static bool on_switch(const GpuRecord& gpu) {
    return !gpu.mig && gpu.fabric && gpu.fabric->to_switches > 0;
  }

  /// NVSwitch: every device reaches every other one with all its links.
  void add_switches() {
    int ports = 0;
    int version = 1;
    std::vector<std::string> names;
    for (const GpuRecord& gpu : driver_.devices) {
      if (!on_switch(gpu)) continue;
      const FabricLinks links = gpu.fabric.value_or(FabricLinks());
      ports = ports == 0 ? links.to_switches : std::min(ports, links.to_switches);
      version = std::max(version, links.version);
      const std::string& name = cluster_.devices[place(gpu).first].name;
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
    if (ports == 0) return;
    Network network;
    network.name = "NVSwitch";
    network.type = "NVLink" + std::to_string(version);
    network.scope = NetworkScope::node;
    network.devices = std::move(names);
    network.ports = ports;
    network.latency_s = within(kLinkLatencyS, 0.5, Quality::assumed);
    network.bytes_per_s = kFabricShare * nvlink_bytes_per_s(version);
    cluster_.networks.push_back(std::move(network));
  }

  const Place& place(const GpuRecord& gpu) const {
    return places_[std::size_t(&gpu - driver_.devices.data())];
  }

  void add_host_links(std::size_t i) {
    const Pcie pcie = pcie_of(driver_.devices[i], driver_.devices[i]);
    for (std::size_t k = 0; k < places_[i].count; ++k) {
      const std::size_t gpu = places_[i].first + k;
      for (std::size_t c = 0; c < cpus_; ++c) {
        // From another NUMA node there is one hop more, of higher rate than the bus.
        const bool near = cluster_.devices[c].numa == cluster_.devices[gpu].numa || cpus_ == 1;
        link(c, gpu, pcie.type, pcie.bytes_per_s, near ? kLinkLatencyS : 2 * kLinkLatencyS);
      }
    }
  }

  /// Slices of one device reach each other through the host only.
  void add_links_of_slices(std::size_t i) {
    const Pcie pcie = pcie_of(driver_.devices[i], driver_.devices[i]);
    for (std::size_t k = 0; k < places_[i].count; ++k) {
      for (std::size_t l = k + 1; l < places_[i].count; ++l) {
        link(places_[i].first + k, places_[i].first + l, pcie.type, pcie.bytes_per_s * kThroughHost,
             2 * kLinkLatencyS);
      }
    }
  }

  void add_pair(std::size_t i, std::size_t j) {
    const GpuRecord& a = driver_.devices[i];
    const GpuRecord& b = driver_.devices[j];
    if (on_switch(a) && on_switch(b)) return;        // the network joins them
    const GpuPair& pair = pairs_[{int(i), int(j)}];  // untold: nothing known
    if (!a.mig && !b.mig && add_fabric(i, j, pair)) return;
    Pcie pcie = pcie_of(a, b);
    double latency_s = kLinkLatencyS;
    if (a.mig || b.mig || pair.peer == false) {
      pcie.bytes_per_s = pcie.bytes_per_s * kThroughHost;
      latency_s *= 2;
    }
    for (std::size_t k = 0; k < places_[i].count; ++k) {
      for (std::size_t l = 0; l < places_[j].count; ++l) {
        link(places_[i].first + k, places_[j].first + l, pcie.type, pcie.bytes_per_s, latency_s);
      }
    }
  }

  bool add_fabric(std::size_t i, std::size_t j, const GpuPair& pair) {
    const GpuRecord& a = driver_.devices[i];
    const GpuRecord& b = driver_.devices[j];
    const std::size_t from = places_[i].first;
    const std::size_t to = places_[j].first;
    if (a.fabric) {
      const auto direct = a.fabric->to_devices.find(b.pci);
      if (direct == a.fabric->to_devices.end() || direct->second < 1) return false;
      if (driver_.vendor == GpuVendor::amd) return add_xgmi(i, j, direct->second, pair);
      const int version = std::max(1, a.fabric->version);
      link(from, to, "NVLink" + std::to_string(version),
           kFabricShare * (nvlink_bytes_per_s(version) * direct->second));
      return true;
    }
    // Whether NVLink bridges are plugged in, the data sheet cannot say: boards that always have
    // it say so by their name.
    const DeviceRecord* record = record_of(a, database_);
    const DeviceLink* usual =
        record != nullptr && record == record_of(b, database_) ? neighbour_link(*record) : nullptr;
    if (driver_.vendor != GpuVendor::nvidia || usual == nullptr ||
        !usual->type.starts_with("NVLink") || usual->type.ends_with("-bridge")) {
      return false;
    }
    link(from, to, usual->type,
         kFabricShare * usual->pair_bytes_per_s.value_or(usual->bytes_per_s).value);
    return true;
  }

  bool add_xgmi(std::size_t i, std::size_t j, int links, const GpuPair& pair) {
    double rate = pair.fabric_bytes_per_s.value_or(0);
    const DeviceRecord* record = record_of(driver_.devices[i], database_);
    const DeviceLink* usual = record != nullptr ? neighbour_link(*record) : nullptr;
    const bool told = usual != nullptr && usual->to == LinkEnd::device;
    if (rate <= 0 && told && usual->pair_bytes_per_s) {
      rate = usual->pair_bytes_per_s->value / links;
    } else if (rate <= 0 && told) {
      // All links of the board together, spread over those that are up.
      const auto up = driver_.devices[i].fabric.value_or(FabricLinks()).to_devices.size();
      rate = usual->bytes_per_s.value / double(std::max<std::size_t>(1, up));
    }
    if (rate <= 0) return false;
    link(places_[i].first, places_[j].first, "xGMI", kFabricShare * (rate * links));
    return true;
  }

  const DriverRecord& driver_;
  const DeviceDatabase& database_;
  const std::vector<Place>& places_;
  std::size_t cpus_;
  Cluster& cluster_;
  std::map<std::pair<int, int>, GpuPair> pairs_;
};

void put_locality(const GpuRecord& seen, const FileSystem& files, Device& device) {
  if (seen.pci.empty()) return;
  const std::string directory = "/sys/bus/pci/devices/" + seen.pci + "/";
  const auto numa = leading_integer(files.read(directory + "numa_node").value_or(""));
  device.numa = static_cast<int>(std::max<std::int64_t>(0, numa.value_or(0)));  // -1: unknown
  device.cores = parse_cpu_list(files.read(directory + "local_cpulist").value_or(""));
}

}  // namespace

void add_gpus(const DriverRecord& driver, const DeviceDatabase& database, const FileSystem& files,
              Cluster& cluster) {
  const auto cpus =
      static_cast<std::size_t>(std::ranges::count(cluster.devices, DeviceKind::cpu, &Device::kind));
  std::vector<Place> places;
  for (const GpuRecord& seen : driver.devices) {
    Place place{cluster.devices.size(), 0};
    Device device = make_device(seen, driver.vendor, database, cluster);
    put_locality(seen, files, device);
    if (!seen.mig) {
      cluster.devices.push_back(device);
      place.count = 1;
    }
    for (const GpuSlice& slice : seen.slices) {
      cluster.devices.push_back(make_slice(device, seen, slice, record_of(seen, database)));
      ++place.count;
    }
    places.push_back(place);
  }
  GpuLinks(driver, database, places, cpus, cluster).run();
}

std::vector<std::string> hwloc_disagreements([[maybe_unused]] int packages,
                                             [[maybe_unused]] int cores,
                                             [[maybe_unused]] int threads) {
  std::vector<std::string> notes;
#ifdef PARALLEL_OPT_HWLOC
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return notes;
  if (hwloc_topology_load(topology) == 0) {
    const auto compare = [&](hwloc_obj_type_t type, const char* what, int ours) {
      const int theirs = hwloc_get_nbobjs_by_type(topology, type);
      if (theirs <= 0 || theirs == ours) return;
      notes.push_back("hwloc counts " + std::to_string(theirs) + " " + what + ", /proc and /sys " +
                      std::to_string(ours) + ": the latter are used");
    };
    compare(HWLOC_OBJ_PACKAGE, "sockets", packages);
    compare(HWLOC_OBJ_CORE, "cores", cores);
    compare(HWLOC_OBJ_PU, "logical cores", threads);
  }
  hwloc_topology_destroy(topology);
#endif
  return notes;
}

}  // namespace parallel_opt
