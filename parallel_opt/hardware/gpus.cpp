#include "parallel_opt/hardware/gpus.h"

#include <algorithm>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"

#ifdef PARALLEL_OPT_HWLOC
#include <hwloc.h>
#endif

namespace parallel_opt {
namespace {

constexpr double kBytesWithoutDriverWord = 8.0 * 1024 * 1024 * 1024;
/// PCIe 3 x16, the least that a training machine has; half of what is nominal.
constexpr double kAssumedPcieBytesPerS = 8e9;
constexpr double kLinkLatencyS = 10e-6;

Device make_device(const NvmlDevice& seen, const DeviceDatabase& database, Cluster& cluster) {
  const DeviceRecord* record = find_gpu_by_driver_name(database, seen.name);
  Device device;
  if (record != nullptr) {
    device = device_of(*record);
  } else {
    device.kind = DeviceKind::gpu;
    device.name = seen.name;
  }
  device.uuid = seen.uuid;
  if (seen.memory_bytes && *seen.memory_bytes > 0) {
    const double total = double(*seen.memory_bytes);
    device.memory_bytes = {total, std::clamp(double(seen.free_bytes.value_or(0)), 0.0, total),
                           total, Quality::reported};
  } else if (record == nullptr) {
    device.memory_bytes = within(kBytesWithoutDriverWord, 0.5, Quality::assumed);
  }
  if (record == nullptr) {
    fill_unknown_gpu_rates(device);
    cluster.notes.push_back("nvidia: \"" + seen.name +
                            "\" is not in the database: its rates are assumed until it is probed");
  }
  if (seen.power_limit_w && *seen.power_limit_w > 0) {
    const double limit = *seen.power_limit_w;
    device.power = {within(limit * 0.3, 0.5, Quality::assumed), exact(limit, Quality::reported)};
  }
  return device;
}

void add_link(Cluster& cluster, std::size_t a, std::size_t b, const std::string& type,
              const Uncertain& bytes_per_s) {
  cluster.links.push_back(
      {DeviceId(a), DeviceId(b), type, within(kLinkLatencyS, 0.5, Quality::assumed), bytes_per_s});
}

}  // namespace

void add_nvidia_devices(const std::vector<NvmlDevice>& found, const DeviceDatabase& database,
                        const FileSystem& files, Cluster& cluster) {
  const std::size_t cpus = cluster.devices.size();
  std::vector<const DeviceRecord*> records;
  for (const NvmlDevice& seen : found) {
    Device device = make_device(seen, database, cluster);
    const std::string directory = "/sys/bus/pci/devices/" + seen.pci + "/";
    if (!seen.pci.empty()) {
      const auto numa = leading_integer(files.read(directory + "numa_node").value_or(""));
      device.numa = static_cast<int>(std::max<std::int64_t>(0, numa.value_or(0)));  // -1: unknown
      device.cores = parse_cpu_list(files.read(directory + "local_cpulist").value_or(""));
    }
    cluster.devices.push_back(std::move(device));
    records.push_back(find_gpu_by_driver_name(database, seen.name));
  }
  const Uncertain pcie = within(kAssumedPcieBytesPerS, 0.5, Quality::assumed);
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (std::size_t c = 0; c < cpus; ++c) {
      if (cluster.devices[c].numa == cluster.devices[cpus + i].numa || cpus == 1) {
        add_link(cluster, c, cpus + i, "PCIe", pcie);
      }
    }
    for (std::size_t j = i + 1; j < found.size(); ++j) {
      // Whether NVLink bridges are plugged in, the data sheet cannot say: boards that always have
      // it say so by their name.
      const DeviceRecord* record = records[i];
      const DeviceLink* link =
          record != nullptr && record == records[j] ? neighbour_link(*record) : nullptr;
      if (link != nullptr && link->type.starts_with("NVLink") && !link->type.ends_with("-bridge")) {
        add_link(cluster, cpus + i, cpus + j, link->type,
                 Uncertain{0.75, 0.45, 0.9, Quality::database} * link->bytes_per_s.value);
      } else {
        add_link(cluster, cpus + i, cpus + j, "PCIe", pcie);
      }
    }
  }
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
