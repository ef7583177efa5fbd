#include "parallel_opt/hardware/cpu_topology.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <sstream>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"

namespace parallel_opt {
namespace {

constexpr char kSystem[] = "/sys/devices/system";

// What decides the speed of deep-learning kernels, weakest first. The first group is of x86.
constexpr std::array<std::string_view, 22> kInstructionSets = {
    "sse4_2",   "avx",      "f16c",        "fma",         "avx2",        "avx_vnni",
    "avx512f",  "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_int8", "amx_bf16", "amx_fp16",    "asimd",       "asimdhp",     "asimddp",
    "bf16",     "i8mm",     "sve",         "sve2"};

struct ArmPart {
  int part;
  std::string_view name;
};
// Main ID Register, implementer 0x41 (Arm Ltd).
constexpr std::array<ArmPart, 26> kArmParts = {
    {{0xd03, "Cortex-A53"},  {0xd05, "Cortex-A55"},  {0xd07, "Cortex-A57"},
     {0xd08, "Cortex-A72"},  {0xd09, "Cortex-A73"},  {0xd0a, "Cortex-A75"},
     {0xd0b, "Cortex-A76"},  {0xd0c, "Neoverse-N1"}, {0xd0d, "Cortex-A77"},
     {0xd40, "Neoverse-V1"}, {0xd41, "Cortex-A78"},  {0xd42, "Cortex-A78AE"},
     {0xd44, "Cortex-X1"},   {0xd46, "Cortex-A510"}, {0xd47, "Cortex-A710"},
     {0xd48, "Cortex-X2"},   {0xd49, "Neoverse-N2"}, {0xd4d, "Cortex-A715"},
     {0xd4e, "Cortex-X3"},   {0xd4f, "Neoverse-V2"}, {0xd80, "Cortex-A520"},
     {0xd81, "Cortex-A720"}, {0xd82, "Cortex-X4"},   {0xd84, "Neoverse-V3"},
     {0xd85, "Cortex-X925"}, {0xd8e, "Neoverse-N3"}}};

/// The blocks of /proc/cpuinfo, one per processor; keys as written there.
std::vector<std::map<std::string, std::string>> read_cpuinfo(const FileSystem& files) {
  std::vector<std::map<std::string, std::string>> blocks(1);
  std::istringstream lines(files.read("/proc/cpuinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) {
      if (!blocks.back().empty()) blocks.emplace_back();
      continue;
    }
    blocks.back()[std::string(trim(line.substr(0, colon)))] = trim(line.substr(colon + 1));
  }
  if (blocks.back().empty()) blocks.pop_back();
  return blocks;
}

int integer(const std::map<std::string, std::string>& block, const std::string& key,
            int otherwise = 0) {
  const auto it = block.find(key);
  if (it == block.end()) return otherwise;
  std::istringstream text(it->second);
  int value = otherwise;
  if (it->second.starts_with("0x")) text >> std::hex;
  return text >> value ? value : otherwise;
}

std::string text_of(const std::map<std::string, std::string>& block, const std::string& key) {
  const auto it = block.find(key);
  return it == block.end() ? "" : it->second;
}

/// Of a core of Arm's own design; empty for others.
std::string arm_part_of(const std::map<std::string, std::string>& block) {
  if (text_of(block, "CPU implementer") != "0x41") return "";
  const int number = integer(block, "CPU part");
  const auto found = std::ranges::find(kArmParts, number, &ArmPart::part);
  return found == kArmParts.end() ? "" : std::string(found->name);
}

void identify(const FileSystem& files, const std::map<std::string, std::string>& block,
              CpuTopology& topology) {
  topology.vendor = text_of(block, "vendor_id");
  topology.model_name = text_of(block, "model name");
  topology.family = integer(block, "cpu family");
  topology.model = integer(block, "model");
  if (topology.vendor.empty()) topology.vendor = text_of(block, "CPU implementer");
  if (block.contains("CPU part")) topology.model = integer(block, "CPU part");
  if (topology.model_name.empty()) topology.model_name = arm_part_of(block);
  if (topology.model_name.empty()) {
    topology.model_name = trim(files.read("/proc/device-tree/model").value_or(""));
    std::erase(topology.model_name, '\0');
  }
  if (topology.model_name.empty()) topology.model_name = "unknown processor";

  std::istringstream words(text_of(block, "flags") + " " + text_of(block, "Features"));
  std::set<std::string> flags;
  for (std::string word; words >> word;) flags.insert(word);
  for (const std::string_view name : kInstructionSets) {
    if (flags.contains(std::string(name))) topology.instruction_sets.emplace_back(name);
  }
  if (flags.contains("hypervisor")) topology.virtualization = "unknown hypervisor";
}

/// The current clock moves with load, so only constant sources count.
std::optional<double> read_nominal_hz(const FileSystem& files, int id,
                                      const std::map<std::string, std::string>& block) {
  const std::string frequencies =
      std::string(kSystem) + "/cpu/cpu" + std::to_string(id) + "/cpufreq/";
  for (const char* name : {"base_frequency", "cpuinfo_max_freq"}) {
    const auto khz = leading_integer(files.read(frequencies + name).value_or(""));
    if (khz && *khz > 0) return double(*khz) * 1e3;
  }
  // On x86, BogoMIPS is twice the frequency of the time stamp counter, which is the base clock.
  // On ARM it is a timer that says nothing about the cores.
  if (!block.contains("bogomips")) return std::nullopt;
  std::istringstream text(text_of(block, "bogomips"));
  double bogomips = 0;
  if (!(text >> bogomips) || bogomips < 200) return std::nullopt;
  return std::round(bogomips / 2) * 1e6;
}

std::optional<std::string> read_hypervisor(const FileSystem& files) {
  std::string own(trim(files.read("/sys/hypervisor/type").value_or("")));
  if (!own.empty()) return own;
  struct Sign {
    std::string_view text;
    std::string_view name;
  };
  constexpr std::array<Sign, 8> kProducts = {{{"VMware", "vmware"},
                                              {"VirtualBox", "virtualbox"},
                                              {"Microsoft", "hyper-v"},
                                              {"Virtual Machine", "hyper-v"},
                                              {"Xen", "xen"},
                                              {"Amazon EC2", "kvm"},
                                              {"Google", "kvm"},
                                              {"QEMU", "kvm"}}};
  for (const char* file : {"/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name"}) {
    const std::string product = files.read(file).value_or("");
    for (const Sign& sign : kProducts) {
      if (product.find(sign.text) != std::string::npos) return std::string(sign.name);
    }
  }
  constexpr std::array<Sign, 3> kClocks = {
      {{"kvm-clock", "kvm"}, {"hyperv", "hyper-v"}, {"xen", "xen"}}};
  const std::string clocks =
      files.read(std::string(kSystem) + "/clocksource/clocksource0/available_clocksource")
          .value_or("");
  for (const Sign& sign : kClocks) {
    if (clocks.find(sign.text) != std::string::npos) return std::string(sign.name);
  }
  return std::nullopt;
}

void read_cores(const FileSystem& files,
                const std::vector<std::map<std::string, std::string>>& blocks,
                CpuTopology& topology, std::vector<std::string>& notes) {
  const std::string base = std::string(kSystem) + "/cpu";
  std::vector<int> online = parse_cpu_list(files.read(base + "/online").value_or(""));
  std::map<int, const std::map<std::string, std::string>*> by_id;
  for (const auto& block : blocks) {
    if (block.contains("processor")) by_id[integer(block, "processor")] = &block;
  }
  if (online.empty()) {
    for (const auto& [id, block] : by_id) online.push_back(id);
  }
  if (online.empty()) {
    notes.emplace_back("cpu: neither /sys nor /proc/cpuinfo lists a processor: one is assumed");
    online.push_back(0);
    topology.quality = Quality::assumed;
  }
  bool topology_missing = false;
  for (const int id : online) {
    LogicalCpu cpu;
    cpu.id = id;
    cpu.core = id;
    const std::string directory = base + "/cpu" + std::to_string(id) + "/topology/";
    const auto package =
        leading_integer(files.read(directory + "physical_package_id").value_or(""));
    std::vector<int> siblings =
        parse_cpu_list(files.read(directory + "thread_siblings_list").value_or(""));
    if (siblings.empty()) {
      topology_missing = true;
      const auto block = by_id.find(id);
      if (block != by_id.end() && block->second->contains("core id")) {
        // The same numbers from /proc/cpuinfo: siblings have package and core id in common.
        for (const auto& [other, fields] : by_id) {
          if (text_of(*fields, "core id") == text_of(*block->second, "core id") &&
              text_of(*fields, "physical id") == text_of(*block->second, "physical id")) {
            siblings.push_back(other);
          }
        }
      }
    }
    if (!siblings.empty()) cpu.core = siblings.front();
    cpu.package = package && *package >= 0 ? static_cast<int>(*package)
                  : by_id.contains(id)     ? integer(*by_id[id], "physical id")
                                           : 0;
    const std::map<std::string, std::string> none;
    const auto& block = by_id.contains(id) ? *by_id[id] : none;
    cpu.part = arm_part_of(block);
    cpu.nominal_hz = read_nominal_hz(files, id, block);
    topology.cpus.push_back(cpu);
  }
  if (topology_missing) {
    notes.emplace_back("cpu: /sys/devices/system/cpu shows no topology: /proc/cpuinfo is used");
  }
}

LogicalCpu* find_cpu(CpuTopology& topology, int id) {
  const auto it = std::ranges::find(topology.cpus, id, &LogicalCpu::id);
  return it == topology.cpus.end() ? nullptr : &*it;
}

void read_numa(const FileSystem& files, CpuTopology& topology) {
  const std::string base = std::string(kSystem) + "/node";
  for (const std::string& name : files.list(base)) {
    if (!name.starts_with("node")) continue;
    const auto number = leading_integer(std::string_view(name).substr(4));
    if (!number) continue;
    const int numa = static_cast<int>(*number);
    const std::string directory = join({base, name, ""}, "/");
    for (const int id : parse_cpu_list(files.read(directory + "cpulist").value_or(""))) {
      if (LogicalCpu* cpu = find_cpu(topology, id)) cpu->numa = numa;
    }
    std::istringstream distances(files.read(directory + "distance").value_or(""));  // "10 21"
    for (int distance = 0; distances >> distance;) {
      if (distance > 0) topology.distances[numa].push_back(distance);
    }
    const std::string memory = files.read(directory + "meminfo").value_or("");
    const std::size_t total = memory.find("MemTotal:");  // "Node 0 MemTotal:  8839012 kB"
    if (total == std::string::npos) continue;
    const auto kib = leading_integer(std::string_view(memory).substr(total + 9));
    if (kib && *kib > 0) topology.numa_memory[numa] = *kib * 1024;
  }
}

void read_core_types(const FileSystem& files, CpuTopology& topology) {
  for (const auto& [file, type] : {std::pair("/sys/devices/cpu_core/cpus", "P-cores"),
                                   std::pair("/sys/devices/cpu_atom/cpus", "E-cores")}) {
    for (const int id : parse_cpu_list(files.read(file).value_or(""))) {
      if (LogicalCpu* cpu = find_cpu(topology, id)) cpu->type = type;
    }
  }
  std::map<int, std::int64_t> capacities;
  std::set<std::int64_t> kinds;
  for (const LogicalCpu& cpu : topology.cpus) {
    if (!cpu.type.empty()) return;
    const auto capacity = leading_integer(
        files.read(std::string(kSystem) + "/cpu/cpu" + std::to_string(cpu.id) + "/cpu_capacity")
            .value_or(""));
    if (!capacity) return;
    capacities[cpu.id] = *capacity;
    kinds.insert(*capacity);
  }
  if (kinds.size() < 2) return;
  for (LogicalCpu& cpu : topology.cpus) {
    cpu.type = "capacity " + std::to_string(capacities[cpu.id]);
  }
}

void read_caches(const FileSystem& files, const std::map<std::string, std::string>& block,
                 CpuTopology& topology, std::vector<std::string>& notes) {
  const std::string base =
      std::string(kSystem) + "/cpu/cpu" + std::to_string(topology.cpus.front().id) + "/cache";
  for (const std::string& name : files.list(base)) {
    if (!name.starts_with("index")) continue;
    const std::string directory = join({base, name, ""}, "/");
    if (trim(files.read(directory + "type").value_or("")) == "Instruction") continue;
    const auto level = leading_integer(files.read(directory + "level").value_or(""));
    const std::string size(trim(files.read(directory + "size").value_or("")));  // "1024K"
    const auto amount = leading_integer(size);
    if (!level || !amount) continue;
    const std::int64_t unit = size.ends_with('M') ? 1024 * 1024 : size.ends_with('K') ? 1024 : 1;
    const auto sharers = parse_cpu_list(files.read(directory + "shared_cpu_list").value_or(""));
    topology.caches.push_back({static_cast<int>(*level), *amount * unit,
                               std::max<int>(1, static_cast<int>(sharers.size()))});
  }
  if (!topology.caches.empty()) return;
  const auto kib = leading_integer(text_of(block, "cache size"));  // "1024 KB"
  if (kib && *kib > 0) {
    topology.caches.push_back({2, *kib * 1024, 1});
    notes.emplace_back(
        "cpu: /sys lists no caches: the one that /proc/cpuinfo states is taken for level 2");
  } else {
    notes.emplace_back("cpu: cache sizes are hidden (a hypervisor often hides them)");
  }
}

}  // namespace

CpuTopology read_cpu_topology(const FileSystem& files, std::vector<std::string>& notes) {
  CpuTopology topology;
  const auto blocks = read_cpuinfo(files);
  const std::map<std::string, std::string> first =
      blocks.empty() ? std::map<std::string, std::string>() : blocks.front();
  identify(files, first, topology);
  if (const auto name = read_hypervisor(files);
      name && (topology.virtualization || first.contains("CPU implementer"))) {
    topology.virtualization = name;
  }
  read_cores(files, blocks, topology, notes);
  read_numa(files, topology);
  read_core_types(files, topology);
  read_caches(files, first, topology, notes);
  return topology;
}

}  // namespace parallel_opt
