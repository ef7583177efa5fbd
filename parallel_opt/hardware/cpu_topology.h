#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// One logical core.
struct LogicalCpu {
  int id = 0;
  int package = 0;
  int core = 0;  ///< physical core: the lowest logical core among its siblings
  int numa = 0;
  std::string type;  ///< of a hybrid processor: "P-cores", "E-cores", "capacity 512"; else empty
  std::string part;  ///< of ARM: name of this core, "Cortex-A76"; else empty
  std::optional<double> nominal_hz;  ///< clock without boost
  bool operator==(const LogicalCpu&) const = default;
};

/// The processors of a host as /proc/cpuinfo and /sys/devices/system state them.
struct CpuTopology {
  std::vector<LogicalCpu> cpus;               ///< online ones, by id
  std::string model_name;                     ///< "AMD EPYC", "Neoverse-V2"
  std::string vendor;                         ///< x86: "AuthenticAMD"; ARM: implementer "0x41"
  int family = 0;                             ///< x86 only
  int model = 0;                              ///< x86: model; ARM: part
  std::vector<std::string> instruction_sets;  ///< those that decide speed, in a fixed order
  std::vector<Cache> caches;                  ///< data and unified caches of the first core
  std::map<int, std::int64_t> numa_memory;    ///< NUMA node -> bytes
  std::map<int, std::vector<int>> distances;  ///< NUMA node -> to each node in order; 10: its own
  std::optional<std::string> virtualization;
  Quality quality = Quality::reported;  ///< assumed: nothing lists a processor
  bool operator==(const CpuTopology&) const = default;
};

/// Reads what is there; what is missing is told in `notes` (when it matters) and left at a value
/// that is safe: each logical core its own physical one, one package, one NUMA node.
CpuTopology read_cpu_topology(const FileSystem& files, std::vector<std::string>& notes);

}  // namespace parallel_opt
