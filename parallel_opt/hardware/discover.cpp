#include "parallel_opt/hardware/discover.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "parallel_opt/base/hash.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/adapters.h"
#include "parallel_opt/hardware/amd_smi.h"
#include "parallel_opt/hardware/amdgpu.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/cpu_topology.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/gpus.h"
#include "parallel_opt/hardware/nvml.h"

namespace parallel_opt {
namespace {

/// Before the relative speed of a core of big.LITTLE, in the name of its type.
constexpr std::string_view kCapacity = "capacity ";
/// Where neither files nor flags tell the clock.
constexpr double kAssumedHertz = 2.5e9;
/// Where /proc/meminfo is missing: enough to plan something small.
constexpr double kAssumedMemoryBytes = 4.0 * 1024 * 1024 * 1024;

struct Memory {
  double total = 0;      ///< what a job may use: limits applied
  double available = 0;  ///< of that, free now
  Quality quality = Quality::reported;
};

constexpr std::int64_t kMostKib = std::int64_t(1) << 50;  // more is damage, not a machine

std::optional<std::int64_t> meminfo(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(key + ":");
  if (at == std::string::npos) return std::nullopt;
  const auto kib = leading_integer(std::string_view(text).substr(at + key.size() + 1));
  if (!kib || *kib < 0 || *kib > kMostKib) return std::nullopt;
  return *kib * 1024;
}

Memory read_memory(const FileSystem& files, const CgroupLimits& limits,
                   std::vector<std::string>& notes) {
  const std::string text = files.read("/proc/meminfo").value_or("");
  Memory memory;
  if (const auto total = meminfo(text, "MemTotal"); total && *total > 0) {
    memory.total = double(*total);
  } else {
    notes.emplace_back("memory: /proc/meminfo states no MemTotal that can be: 4 GiB are assumed");
    memory.total = kAssumedMemoryBytes;
    memory.quality = Quality::assumed;
  }
  memory.available = double(meminfo(text, "MemAvailable").value_or(std::int64_t(memory.total)));
  if (limits.memory_bytes && double(*limits.memory_bytes) < memory.total) {
    notes.push_back("memory: the control group grants " + show(Bytes(*limits.memory_bytes)) +
                    " of " + show(Bytes(std::int64_t(memory.total))));
    memory.total = double(*limits.memory_bytes);
    memory.available =
        std::min(memory.available, memory.total - double(limits.memory_in_use.value_or(0)));
  }
  memory.available = std::clamp(memory.available, 0.0, memory.total);
  return memory;
}

std::vector<int> intersect(const std::vector<int>& a, const std::vector<int>& b) {
  std::vector<int> both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both;
}

/// Logical cores that this process may run on, sorted: online, affinity, cpuset.
std::vector<int> allowed_cores(const FileSystem& files, const CpuTopology& topology,
                               const CgroupLimits& limits, std::vector<std::string>& notes) {
  std::vector<int> online;
  online.reserve(topology.cpus.size());
  for (const LogicalCpu& cpu : topology.cpus) online.push_back(cpu.id);
  std::ranges::sort(online);
  std::vector<int> allowed = online;
  const std::string status = files.read("/proc/self/status").value_or("");
  const std::string key = "Cpus_allowed_list:";
  if (const std::size_t at = status.find(key); at != std::string::npos) {
    const std::size_t begin = at + key.size();
    const std::vector<int> affinity =
        parse_cpu_list(status.substr(begin, status.find('\n', begin) - begin));
    if (!affinity.empty()) allowed = intersect(allowed, affinity);
  }
  if (limits.cpus) allowed = intersect(allowed, *limits.cpus);
  if (allowed.empty()) {
    notes.emplace_back("cpu: affinity and online cores have nothing in common: all are taken");
    return online;
  }
  if (allowed.size() < online.size()) {
    notes.push_back("cpu: affinity or cpuset leaves " + std::to_string(allowed.size()) + " of " +
                    std::to_string(online.size()) + " logical cores");
  }
  return allowed;
}

/// A CPU device is the cores that have all of these in common.
using GroupKey = std::tuple<int, int, std::string>;  // package, NUMA node, core type
using Groups = std::map<GroupKey, std::vector<LogicalCpu>>;

/// Of a hybrid processor: lower is faster.
std::int64_t slowness(const std::string& type) {
  if (type == "E-cores") return 1;
  if (!type.starts_with(kCapacity)) return 0;
  return -leading_integer(std::string_view(type).substr(kCapacity.size())).value_or(0);
}

/// Puts one logical core of each physical core before the siblings, and keeps at most `most` cores:
/// whole groups fill up in order, the fast ones of a NUMA node first, siblings last.
Groups group_cores(const CpuTopology& topology, const std::vector<int>& allowed, int most) {
  std::vector<LogicalCpu> primary;
  std::vector<LogicalCpu> siblings;
  std::set<int> seen;
  for (const LogicalCpu& cpu : topology.cpus) {
    if (!std::ranges::binary_search(allowed, cpu.id)) continue;
    (seen.insert(cpu.core).second ? primary : siblings).push_back(cpu);
  }
  const auto key = [](const LogicalCpu& cpu) { return GroupKey(cpu.package, cpu.numa, cpu.type); };
  const auto order = [](const LogicalCpu& cpu) {
    return std::tuple(cpu.package, cpu.numa, slowness(cpu.type), cpu.type);
  };
  std::ranges::stable_sort(primary, {}, order);
  std::ranges::stable_sort(siblings, {}, order);
  Groups groups;
  int taken = 0;
  for (const std::vector<LogicalCpu>* list : {&primary, &siblings}) {
    for (const LogicalCpu& cpu : *list) {
      if (taken++ < most) groups[key(cpu)].push_back(cpu);
    }
  }
  return groups;
}

/// "AMD EPYC 9654 96-Core Processor" -> "AMD EPYC 9654"; marks and clocks say nothing new.
std::string short_model(std::string name) {
  const auto cut = [&](const std::string& part) {
    for (std::size_t at; (at = name.find(part)) != std::string::npos;) name.erase(at, part.size());
  };
  for (const char* part : {"(R)", "(TM)", "(tm)", " CPU", " Processor"}) cut(part);
  name = name.substr(0, name.find(" @"));
  if (const std::size_t core = name.find("-Core"); core != std::string::npos) {
    name = name.substr(0, name.rfind(' ', core));
  }
  return std::string(trim(name));
}

std::string widest(const std::vector<std::string>& sets) {
  for (const char* name : {"amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx", "sve2", "sve",
                           "bf16", "asimd", "sse4_2"}) {
    if (std::ranges::find(sets, name) != sets.end()) return name;
  }
  return "";
}

int distinct_cores(const std::vector<LogicalCpu>& cpus) {
  std::set<int> cores;
  for (const LogicalCpu& cpu : cpus) cores.insert(cpu.core);
  return static_cast<int>(cores.size());
}

/// Everything that the parts of one discovery share.
struct Host {
  const FileSystem& files;
  CpuTopology topology;
  CgroupLimits limits;
  Memory memory;
  std::string identity;
};

std::string device_name(const Host& host, const std::vector<LogicalCpu>& cpus) {
  const int cores = distinct_cores(cpus);
  const std::string& type = cpus.front().type;
  std::string kind = type.ends_with("-cores") ? type : "cores";
  if (cores == 1) kind.pop_back();
  const std::string& part = cpus.front().part;
  std::string name = short_model(part.empty() ? host.topology.model_name : part) + " (" +
                     std::to_string(cores) + " " + kind;
  if (!type.empty() && kind != type && !type.ends_with("-cores")) name += " of " + type;
  const std::string set = widest(host.topology.instruction_sets);
  if (!set.empty()) name += ", " + set;
  return name + ")";
}

/// Identity for caches: another machine, core group, limit or kernel view of the CPU is another
/// one.
std::string device_uuid(const Host& host, const Device& device) {
  Hasher hash;
  hash.add(host.identity);
  hash.add(host.topology.vendor);
  hash.add(host.topology.model_name);
  for (const int number : {host.topology.family, host.topology.model})
    hash.add(std::int64_t(number));
  for (const int core : device.cores) hash.add(std::int64_t(core));
  hash.add(std::int64_t(std::llround(host.limits.cpu_quota.value_or(0) * 1000)));
  return "cpu-" + hash.hex();
}

/// The part of the host's memory that belongs to each NUMA node. /proc/meminfo has the last word:
/// memory that was added at run time is missing in what the nodes state.
double numa_share(const CpuTopology& topology, const Groups& groups, int numa) {
  double all = 0;
  double own = 0;
  std::set<int> used;
  for (const auto& [key, cpus] : groups) used.insert(std::get<1>(key));
  for (const int node : used) {
    const auto it = topology.numa_memory.find(node);
    const double bytes = it == topology.numa_memory.end() ? 0 : double(it->second);
    all += bytes;
    if (node == numa) own = bytes;
  }
  return all > 0 && own > 0 ? own / all : 1.0 / double(used.size());
}

/// NUMA nodes that a package is cut into, each with its part of the memory channels.
int numa_nodes_of(const CpuTopology& topology, int package) {
  std::set<int> nodes;
  for (const LogicalCpu& cpu : topology.cpus) {
    if (cpu.package == package) nodes.insert(cpu.numa);
  }
  return std::max<int>(1, static_cast<int>(nodes.size()));
}

void add_cpu_devices(const Host& host, const Groups& groups, const DeviceDatabase& database,
                     Cluster& cluster) {
  const CpuTopology& topology = host.topology;
  std::map<int, double> cores_of_numa;
  double all_cores = 0;
  for (const auto& [key, cpus] : groups) {
    cores_of_numa[std::get<1>(key)] += double(cpus.size());
    all_cores += double(cpus.size());
  }
  for (const auto& [key, cpus] : groups) {
    Device device;
    device.name = device_name(host, cpus);
    device.numa = std::get<1>(key);
    for (const LogicalCpu& cpu : cpus) device.cores.push_back(cpu.id);
    device.physical_cores = distinct_cores(cpus);
    const double share = numa_share(topology, groups, device.numa) * double(cpus.size()) /
                         cores_of_numa[device.numa];
    const double bytes = std::floor(host.memory.total * share);
    device.memory_bytes = {bytes, std::floor(host.memory.available * share), bytes,
                           host.memory.quality};
    device.instruction_sets = topology.instruction_sets;
    device.uuid = device_uuid(host, device);
    CpuGuess guess;
    guess.record = find_cpu(database, topology.vendor, topology.family, topology.model);
    guess.instruction_sets = topology.instruction_sets;
    guess.hz = cpus.front().nominal_hz.value_or(kAssumedHertz);
    guess.socket_share = 1.0 / numa_nodes_of(topology, std::get<0>(key));
    guess.cores = device.physical_cores;
    // Groups share a quota by their cores.
    if (const auto& quota = host.limits.cpu_quota) {
      guess.quota = *quota * double(cpus.size()) / all_cores;
    }
    fill_cpu_rates(device, guess);
    cluster.devices.push_back(std::move(device));
  }
}

/// Share of the rate of near memory that memory of another NUMA node is read at: the inverse of the
/// distance that the firmware states, in tenths of a near access.
double reach(const CpuTopology& topology, int from, int to) {
  constexpr double kNear = 10, kUntold = 0.6, kLeast = 0.3;
  if (from == to) return 1;
  // Nodes without memory or cores leave gaps in the numbers, not in the list.
  const auto row = topology.distances.find(from);
  const auto column = topology.distances.find(to);
  if (row == topology.distances.end() || column == topology.distances.end()) return kUntold;
  const auto place = std::distance(topology.distances.begin(), column);
  if (place >= std::ssize(row->second)) return kUntold;
  return std::clamp(kNear / row->second[std::size_t(place)], kLeast, 1.0);
}

/// Copies between ranks on CPU devices. `loopback` is the network stack of one host, which the
/// usual CPU collectives go through.
void add_cpu_links(const CpuTopology& topology, Cluster& cluster) {
  constexpr double kSpread = 0.5;
  const auto add = [&](std::size_t a, std::size_t b, const char* type, double latency_s,
                       double bytes_per_s) {
    cluster.links.push_back({DeviceId(a), DeviceId(b), type,
                             within(latency_s, kSpread, Quality::assumed),
                             within(bytes_per_s, kSpread, Quality::assumed)});
  };
  for (std::size_t a = 0; a < cluster.devices.size(); ++a) {
    for (std::size_t b = a; b < cluster.devices.size(); ++b) {
      const double across = reach(topology, cluster.devices[a].numa, cluster.devices[b].numa);
      add(a, b, "shared-memory", 2e-6 / across, 5e9 * across);
      add(a, b, "loopback", 20e-6 / across, 2e9 * across);
    }
  }
}

Node node_of(const Host& host, const Groups& groups, int usable) {
  const CpuTopology& topology = host.topology;
  Node node;
  node.name = trim(host.files.read("/proc/sys/kernel/hostname").value_or(""));
  if (node.name.empty()) node.name = "localhost";
  node.cpu_model = topology.model_name;
  std::set<int> packages;
  std::set<int> numa;
  node.cores = 0;
  for (const auto& [key, cpus] : groups) {
    packages.insert(std::get<0>(key));
    numa.insert(std::get<1>(key));
    node.cores += distinct_cores(cpus);
  }
  node.sockets = static_cast<int>(packages.size());
  node.numa_nodes = static_cast<int>(numa.size());
  node.threads = usable;
  node.cpu_quota = host.limits.cpu_quota;
  node.caches = topology.caches;
  node.quality = topology.quality;
  node.memory_bytes = {host.memory.total, host.memory.available, host.memory.total,
                       host.memory.quality};
  node.virtualization = topology.virtualization;
  return node;
}

/// hwloc sees the cores of our cpuset, so ours are counted within it.
void cross_check(const CpuTopology& topology, const std::vector<int>& allowed, Cluster& cluster) {
  std::set<int> packages;
  std::set<int> cores;
  for (const LogicalCpu& cpu : topology.cpus) {
    if (!std::ranges::binary_search(allowed, cpu.id)) continue;
    packages.insert(cpu.package);
    cores.insert(cpu.core);
  }
  std::ranges::move(
      hwloc_disagreements(static_cast<int>(packages.size()), static_cast<int>(cores.size()),
                          static_cast<int>(allowed.size())),
      std::back_inserter(cluster.notes));
}

/// AMD's library knows uuids and free memory of devices whose other facts are in /sys.
void add_library_facts(const AmdSmi& library, DriverRecord& record) {
  for (const GpuRecord& told : library.devices()) {
    const auto same = std::ranges::find(record.devices, told.pci, &GpuRecord::pci);
    if (told.pci.empty() || same == record.devices.end()) continue;
    if (!told.uuid.empty()) same->uuid = told.uuid;
    if (told.memory_bytes) same->memory_bytes = told.memory_bytes;
    if (told.free_bytes) same->free_bytes = told.free_bytes;
    for (int other = 0; other < library.count(); ++other) {
      const auto far = std::ranges::find(record.devices, library.pci(other), &GpuRecord::pci);
      if (far == record.devices.end() || far <= same) continue;
      GpuPair pair{int(same - record.devices.begin()), int(far - record.devices.begin()),
                   library.peer(told.index, other), std::nullopt, std::nullopt};
      if (pair.peer) record.pairs.push_back(pair);
    }
  }
}

}  // namespace

DiscoverOptions this_machine() {
  return {.nvml_library = "libnvidia-ml.so.1",
          .amd_libraries = amd_library_names(),
          .cross_check = true};
}

DriverRecords read_drivers(const FileSystem& files, const DiscoverOptions& options,
                           std::vector<std::string>& notes) {
  DriverRecords records;
  if (const std::optional<std::string> text = files.read(kDriverRecordPath)) {
    try {
      return from_json<DriverRecords>(*text, kDriverRecordPath);
    } catch (const InputError& e) {
      notes.push_back(std::string("drivers: ") + e.what());
      return records;
    }
  }
  if (!options.nvml_library.empty()) {
    if (const std::optional<Nvml> nvml = Nvml::open(options.nvml_library, notes)) {
      records.drivers.push_back(nvml->record());
    }
  }
  if (std::optional<DriverRecord> amd = read_amdgpu(files)) {
    if (!options.amd_libraries.empty()) {
      const std::unique_ptr<AmdSmi> library = AmdSmi::open(options.amd_libraries, notes);
      if (library != nullptr) add_library_facts(*library, *amd);
    }
    records.drivers.push_back(*std::move(amd));
  }
  return records;
}

Cluster discover(const FileSystem& files, const DiscoverOptions& options) {
  Cluster cluster;
  Host host{files, read_cpu_topology(files, cluster.notes), read_cgroup_limits(files), {}, {}};
  host.memory = read_memory(files, host.limits, cluster.notes);
  host.identity = trim(files.read("/etc/machine-id").value_or(""));
  if (host.identity.empty()) {
    host.identity = trim(files.read("/proc/sys/kernel/hostname").value_or(""));
  }
  const std::vector<int> allowed = allowed_cores(files, host.topology, host.limits, cluster.notes);
  int usable = static_cast<int>(allowed.size());
  if (const auto quota = host.limits.cpu_quota; quota && *quota < double(usable)) {
    usable = std::max(1, static_cast<int>(std::ceil(*quota)));
    cluster.notes.push_back("cpu: the control group grants " + show(*quota) + " of " +
                            std::to_string(allowed.size()) + " logical cores' time");
  } else {
    host.limits.cpu_quota.reset();  // a quota above all cores limits nothing
  }
  const Groups groups = group_cores(host.topology, allowed, usable);
  cluster.nodes.push_back(node_of(host, groups, usable));
  const DeviceDatabase& database = load_database();
  add_cpu_devices(host, groups, database, cluster);
  add_cpu_links(host.topology, cluster);
  if (options.cross_check) cross_check(host.topology, allowed, cluster);
  for (const DriverRecord& driver : read_drivers(files, options, cluster.notes).drivers) {
    std::ranges::copy(driver.notes, std::back_inserter(cluster.notes));
    add_gpus(driver, database, files, cluster);
  }
  std::ranges::move(read_adapters(files), std::back_inserter(cluster.networks));
  return cluster;
}

}  // namespace parallel_opt
