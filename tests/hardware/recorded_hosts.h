#pragma once

#include <string>

#include "parallel_opt/hardware/driver_record.h"
#include "tests/hardware/hosts.h"

/// Whole machines as `doctor --bundle` keeps them: files of /proc and /sys and what the drivers
/// said.
namespace parallel_opt::hosts {

inline void add_x86(MemoryFileSystem& files, int sockets, int cores_of_socket, const char* name,
                    const char* vendor, const char* family, const char* model, const char* flags) {
  const int cores = sockets * cores_of_socket;
  files.files["/proc/cpuinfo"] = x86_cpuinfo(2 * cores, name, vendor, family, model, flags);
  files.files["/sys/devices/system/cpu/online"] = "0-" + std::to_string(2 * cores - 1) + "\n";
  for (int i = 0; i < 2 * cores; ++i) {
    const int first = i % cores;
    add_core(files, {i, first / cores_of_socket,
                     std::to_string(first) + "," + std::to_string(first + cores)});
  }
  for (int s = 0; s < sockets; ++s) {
    const std::string node = "/sys/devices/system/node/node" + std::to_string(s) + "/";
    const int first = s * cores_of_socket;
    const int last = first + cores_of_socket - 1;
    files.files[node + "cpulist"] = std::to_string(first) + "-" + std::to_string(last) + "," +
                                    std::to_string(first + cores) + "-" +
                                    std::to_string(last + cores) + "\n";
    files.files[node + "meminfo"] =
        "Node " + std::to_string(s) + " MemTotal:  1073741824 kB\n";  // 1 TiB
  }
  files.files["/proc/meminfo"] =
      "MemTotal: " + std::to_string(1073741824LL * sockets) + " kB\nMemAvailable: 1073741824 kB\n";
  add_cache(files, 0, "1", "Data", "48K", "0");
}

inline void add_port(MemoryFileSystem& files, const std::string& adapter, const std::string& rate) {
  const std::string port = "/sys/class/infiniband/" + adapter + "/ports/1/";
  files.files[port + "state"] = "4: ACTIVE\n";
  files.files[port + "link_layer"] = "InfiniBand\n";
  files.files[port + "rate"] = rate + "\n";
}

inline GpuRecord gpu(int index, const std::string& name, double memory_gib) {
  GpuRecord gpu;
  gpu.index = index;
  gpu.name = name;
  gpu.uuid = "GPU-" + std::to_string(index);
  gpu.pci = "0000:" + std::to_string(10 + index) + ":00.0";
  gpu.memory_bytes = static_cast<std::int64_t>(memory_gib * 1073741824);
  gpu.free_bytes = gpu.memory_bytes;
  return gpu;
}

inline void add_drivers(MemoryFileSystem& files, const DriverRecord& record) {
  files.files[kDriverRecordPath] = to_json(DriverRecords{{record}});
  for (const GpuRecord& gpu : record.devices) {
    // The first half hangs on socket 0, the other on socket 1.
    const bool second = gpu.index >= static_cast<int>(record.devices.size()) / 2;
    files.files["/sys/bus/pci/devices/" + gpu.pci + "/numa_node"] = second ? "1\n" : "0\n";
  }
}

/// Eight H100 on NVSwitches, two sockets of 56 cores, eight InfiniBand adapters of 400 Gbit/s.
inline MemoryFileSystem dgx_h100() {
  MemoryFileSystem files;
  add_x86(files, 2, 56, "Intel(R) Xeon(R) Platinum 8480C", "GenuineIntel", "6", "143",
          "avx2 fma avx512f avx512_bf16 amx_tile amx_bf16");
  files.files["/proc/sys/kernel/hostname"] = "dgx\n";
  for (int i = 0; i < 8; ++i) add_port(files, "mlx5_" + std::to_string(i), "400 Gb/sec (4X NDR)");
  add_port(files, "mlx5_8", "200 Gb/sec (4X HDR)");
  files.files["/sys/class/infiniband/mlx5_9/ports/1/state"] = "1: DOWN\n";
  DriverRecord record;
  record.version = "570.10";
  for (int i = 0; i < 8; ++i) {
    GpuRecord one = gpu(i, "NVIDIA H100 80GB HBM3", 79.65);
    one.power_limit_w = 700;
    one.pcie_generation = 5;
    one.pcie_width = 16;
    one.fabric = FabricLinks{4, 18, {}};
    record.devices.push_back(one);
    for (int j = 0; j < i; ++j) record.pairs.push_back({j, i, true, PciPath::system, std::nullopt});
  }
  add_drivers(files, record);
  return files;
}

/// Four L40S without bridges; within a socket they may read each other's memory.
inline MemoryFileSystem pcie_box() {
  MemoryFileSystem files;
  add_x86(files, 2, 32, "AMD EPYC 9354 32-Core Processor", "AuthenticAMD", "25", "17",
          "avx2 fma avx512f avx512_bf16");
  DriverRecord record;
  for (int i = 0; i < 4; ++i) {
    GpuRecord one = gpu(i, "NVIDIA L40S", 44.5);
    one.pcie_generation = 4;
    one.pcie_width = 16;
    record.devices.push_back(one);
    for (int j = 0; j < i; ++j) {
      const bool near = i / 2 == j / 2;
      record.pairs.push_back(
          {j, i, near, near ? PciPath::host_bridge : PciPath::system, std::nullopt});
    }
  }
  add_drivers(files, record);
  files.files["/sys/class/net/enp1s0/device/present"] = "";
  files.files["/sys/class/net/enp1s0/operstate"] = "up\n";
  files.files["/sys/class/net/enp1s0/speed"] = "25000\n";
  files.files["/sys/class/net/docker0/speed"] = "10000\n";
  files.files["/sys/class/net/docker0/operstate"] = "up\n";
  return files;
}

/// Two MI300X in a small machine, as the amdgpu driver shows them; one xGMI link between them.
inline MemoryFileSystem two_mi300x() {
  MemoryFileSystem files = small_vm();
  const std::string places[2] = {"0000:0c:00.0", "0000:22:00.0"};
  for (int i = 0; i < 2; ++i) {
    const std::string card = "/sys/class/drm/card" + std::to_string(i) + "/device/";
    files.files[card + "vendor"] = "0x1002\n";
    files.files[card + "device"] = "0x74a1\n";
    files.files[card + "uevent"] = "DRIVER=amdgpu\nPCI_SLOT_NAME=" + places[i] + "\n";
    const std::string node = "/sys/class/kfd/kfd/topology/nodes/" + std::to_string(i + 1) + "/";
    files.files[node + "properties"] =
        "simd_count 1216\nlocation_id " + std::to_string(i == 0 ? 0x0c00 : 0x2200) + "\ndomain 0\n";
    files.files[node + "io_links/0/properties"] =
        "type 2\nnode_from " + std::to_string(i + 1) + "\nnode_to 0\nmax_bandwidth 64000\n";
    files.files[node + "io_links/1/properties"] = "type 11\nnode_from " + std::to_string(i + 1) +
                                                  "\nnode_to " + std::to_string(2 - i) +
                                                  "\nmax_bandwidth 64000\n";
  }
  files.files["/sys/class/kfd/kfd/topology/nodes/0/properties"] =
      "cpu_cores_count 2\nlocation_id 0\n";
  files.files["/sys/class/drm/card2/device/vendor"] = "0x1a03\n";  // the board's own display
  files.files["/sys/class/drm/card0-DP-1/status"] = "disconnected\n";
  const std::string card = "/sys/class/drm/card0/device/";
  files.files[card + "unique_id"] = "1234abcd\n";
  files.files[card + "mem_info_vram_total"] = "206158430208\n";
  files.files[card + "mem_info_vram_used"] = "298844160\n";
  files.files[card + "pp_dpm_sclk"] = "0: 132Mhz *\n1: 2100Mhz\n";
  files.files[card + "hwmon/hwmon3/power1_cap"] = "750000000\n";
  files.files[card + "hwmon/hwmon3/power1_input"] = "140000000\n";
  for (const char* i : {"0", "1"}) {
    const std::string each = std::string("/sys/class/drm/card") + i + "/device/";
    files.files[each + "max_link_speed"] = "32.0 GT/s PCIe\n";
    files.files[each + "max_link_width"] = "16\n";
  }
  files.files["/sys/module/amdgpu/version"] = "6.10.5\n";
  return files;
}

/// Two packages of two dies, as the driver shows them: power by the first die of each.
inline MemoryFileSystem two_mi250x() {
  MemoryFileSystem files = hosts::small_vm();
  for (int i = 0; i < 4; ++i) {
    const std::string card = "/sys/class/drm/card" + std::to_string(i) + "/device/";
    files.files[card + "vendor"] = "0x1002\n";
    files.files[card + "device"] = "0x7408\n";
    files.files[card + "uevent"] =
        "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c" + std::to_string(i) + ":00.0\n";
    files.files[card + "mem_info_vram_total"] = "68719476736\n";
    if (i % 2 == 1) continue;
    files.files[card + "hwmon/hwmon3/power1_cap"] = "500000000\n";
    files.files[card + "hwmon/hwmon3/power1_average"] = "90000000\n";
  }
  return files;
}

}  // namespace parallel_opt::hosts
