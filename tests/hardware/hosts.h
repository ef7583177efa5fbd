#pragma once

#include <string>

#include "parallel_opt/base/file_system.h"

/// Hosts as files, for the tests of discovery. Each function returns a whole machine.
namespace parallel_opt::hosts {

struct Core {
  int id = 0;
  int package = 0;
  std::string siblings;  ///< "0,4"
};

inline void add_core(MemoryFileSystem& files, const Core& core) {
  const std::string directory = "/sys/devices/system/cpu/cpu" + std::to_string(core.id);
  files.files[directory + "/topology/physical_package_id"] = std::to_string(core.package) + "\n";
  files.files[directory + "/topology/thread_siblings_list"] = core.siblings + "\n";
}

inline void add_cache(MemoryFileSystem& files, int index, const std::string& level,
                      const std::string& type, const std::string& size, const std::string& shared) {
  const std::string directory =
      "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
  files.files[directory + "level"] = level + "\n";
  files.files[directory + "type"] = type + "\n";
  files.files[directory + "size"] = size + "\n";
  files.files[directory + "shared_cpu_list"] = shared + "\n";
}

inline std::string x86_cpuinfo(int count, const std::string& name, const std::string& vendor,
                               const std::string& family, const std::string& model,
                               const std::string& flags) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += "processor\t: " + std::to_string(i) + "\nvendor_id\t: " + vendor +
            "\ncpu family\t: " + family + "\nmodel\t\t: " + model + "\nmodel name\t: " + name +
            "\nphysical id\t: 0\ncore id\t\t: " + std::to_string(i) + "\nflags\t\t: " + flags +
            "\nbogomips\t: 4800.00\n\n";
  }
  return text;
}

/// Two sockets of four cores with two threads each, one NUMA node per socket, 64 and 32 GiB.
inline MemoryFileSystem two_sockets() {
  MemoryFileSystem files;
  files.files["/proc/cpuinfo"] =
      x86_cpuinfo(16, "AMD EPYC 9654 96-Core Processor", "AuthenticAMD", "25", "17",
                  "fpu sse4_2 avx f16c fma avx2 avx512f avx512bw avx512_vnni avx512_bf16");
  files.files["/proc/meminfo"] =
      "MemTotal:       100663296 kB\nMemFree: 1 kB\nMemAvailable:   50331648 kB\n";
  files.files["/proc/sys/kernel/hostname"] = "big\n";
  files.files["/etc/machine-id"] = "0123456789abcdef0123456789abcdef\n";
  files.files["/sys/devices/system/cpu/online"] = "0-15\n";
  for (int i = 0; i < 16; ++i) {
    const int first = i % 8;
    add_core(files, {i, first / 4, std::to_string(first) + "," + std::to_string(first + 8)});
  }
  files.files["/sys/devices/system/node/node0/cpulist"] = "0-3,8-11\n";
  files.files["/sys/devices/system/node/node1/cpulist"] = "4-7,12-15\n";
  files.files["/sys/devices/system/node/node0/meminfo"] = "Node 0 MemTotal:  67108864 kB\n";
  files.files["/sys/devices/system/node/node1/meminfo"] = "Node 1 MemTotal:  33554432 kB\n";
  add_cache(files, 0, "1", "Data", "32K", "0,8");
  add_cache(files, 1, "1", "Instruction", "32K", "0,8");
  add_cache(files, 2, "2", "Unified", "1M", "0,8");
  add_cache(files, 3, "3", "Unified", "32768K", "0-3,8-11");
  return files;
}

/// Two performance cores with two threads each and four efficiency cores, 16 GiB.
inline MemoryFileSystem hybrid() {
  MemoryFileSystem files;
  files.files["/proc/cpuinfo"] =
      x86_cpuinfo(8, "13th Gen Intel(R) Core(TM) i5-1340P", "GenuineIntel", "6", "186",
                  "fpu sse4_2 avx f16c fma avx2 avx_vnni");
  files.files["/proc/meminfo"] = "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n";
  files.files["/sys/devices/system/cpu/online"] = "0-7\n";
  for (int i = 0; i < 4; ++i) add_core(files, {i, 0, i < 2 ? "0-1" : "2-3"});
  for (int i = 4; i < 8; ++i) add_core(files, {i, 0, std::to_string(i)});
  files.files["/sys/devices/cpu_core/cpus"] = "0-3\n";
  files.files["/sys/devices/cpu_atom/cpus"] = "4-7\n";
  return files;
}

/// A virtual machine of two cores that hides its caches and its topology; control groups version 1
/// as a mount of their own, no limits.
inline MemoryFileSystem small_vm() {
  MemoryFileSystem files;
  files.files["/proc/cpuinfo"] = x86_cpuinfo(2, "AMD EPYC", "AuthenticAMD", "25", "17",
                                             "fpu sse4_2 avx fma avx2 avx512f hypervisor");
  files.files["/proc/meminfo"] = "MemTotal:       24684092 kB\nMemAvailable:   20735648 kB\n";
  files.files["/sys/devices/system/clocksource/clocksource0/available_clocksource"] =
      "tsc kvm-clock \n";
  return files;
}

}  // namespace parallel_opt::hosts
