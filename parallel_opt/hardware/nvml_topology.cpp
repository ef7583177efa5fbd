#include <algorithm>
#include <array>
#include <cstring>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/nvml_calls.h"

namespace parallel_opt {

using namespace nvml_calls;  // NOLINT: names of the library

namespace {

constexpr unsigned kMostLinks = 18;
constexpr int kToSwitch = 2;
constexpr int kPeerRead = 0;  // what a pair is asked for

std::optional<PciPath> path_of(int level) {
  constexpr std::array<std::pair<int, PciPath>, 6> kLevels = {{{0, PciPath::board},
                                                               {10, PciPath::one_switch},
                                                               {20, PciPath::switches},
                                                               {30, PciPath::host_bridge},
                                                               {40, PciPath::numa_node},
                                                               {50, PciPath::system}}};
  for (const auto& [number, path] : kLevels) {
    if (number == level) return path;
  }
  return std::nullopt;
}

/// Generation of NVLink. The number that the driver states counts another way in each of its
/// headers (1 1.0, 2 2.0, then 2.2 and 3.0 to 5.0 from 3 or from 4 on; an H100 was seen to state
/// 7), so the device itself says it; where it does not, the slower reading counts.
int nvlink_generation(int compute_major, int stated) {
  if (compute_major >= 10) return 5;
  if (compute_major == 9) return 4;
  if (compute_major == 8) return 3;
  if (compute_major == 7) return 2;
  if (compute_major == 6) return 1;
  constexpr std::array<int, 9> kOfStated = {0, 1, 2, 2, 3, 3, 4, 4, 5};
  return kOfStated[static_cast<std::size_t>(std::clamp(stated, 0, 8))];
}

}  // namespace

std::string nvml_calls::pci_address(const PciInfo& info) {
  std::string text = lower_case({info.bus_id, strnlen(info.bus_id, sizeof info.bus_id)});
  if (text.size() > 12 && text.starts_with("0000")) text.erase(0, text.size() - 12);
  return text;
}

void Nvml::describe_pcie(void* handle, GpuRecord& device) const {
  unsigned number = 0;
  if (const auto get = symbol<NumberFunction>("nvmlDeviceGetMaxPcieLinkGeneration");
      get != nullptr && get(handle, &number) == kSuccess) {
    device.pcie_generation = static_cast<int>(number);
  }
  if (const auto get = symbol<NumberFunction>("nvmlDeviceGetMaxPcieLinkWidth");
      get != nullptr && get(handle, &number) == kSuccess) {
    device.pcie_width = static_cast<int>(number);
  }
}

void Nvml::describe_links(void* handle, GpuRecord& device) const {
  const auto state = symbol<LinkFunction>("nvmlDeviceGetNvLinkState");
  if (state == nullptr) return;
  const auto version = symbol<LinkFunction>("nvmlDeviceGetNvLinkVersion");
  const auto type = symbol<LinkTypeFunction>("nvmlDeviceGetNvLinkRemoteDeviceType");
  const auto remote = symbol<LinkPciFunction>("nvmlDeviceGetNvLinkRemotePciInfo_v2");
  const auto capability = symbol<CapabilityFunction>("nvmlDeviceGetCudaComputeCapability");
  int major = 0, minor = 0;
  if (capability == nullptr || capability(handle, &major, &minor) != kSuccess) major = 0;
  FabricLinks links;
  bool told = false;
  for (unsigned link = 0; link < kMostLinks; ++link) {
    unsigned up = 0;
    if (state(handle, link, &up) != kSuccess) continue;  // fewer links, or a board without any
    told = true;
    if (up == 0) continue;
    unsigned number = 0;
    if (version != nullptr && version(handle, link, &number) == kSuccess) {
      links.version = std::max(links.version, nvlink_generation(major, static_cast<int>(number)));
    }
    int other = 0;
    PciInfo pci{};
    if (type != nullptr && type(handle, link, &other) == kSuccess && other == kToSwitch) {
      ++links.to_switches;
    } else if (remote != nullptr && remote(handle, link, &pci) == kSuccess) {
      ++links.to_devices[pci_address(pci)];
    }
  }
  if (told) device.fabric = links;
}

void Nvml::describe_slices(void* handle, GpuRecord& device, std::vector<std::string>& notes) const {
  const auto mode = symbol<TwoNumbersFunction>("nvmlDeviceGetMigMode");
  unsigned current = 0, pending = 0;
  if (mode == nullptr || mode(handle, &current, &pending) != kSuccess || current == 0) return;
  device.mig = true;
  unsigned most = 0;
  const auto get_most = symbol<NumberFunction>("nvmlDeviceGetMaxMigDeviceCount");
  const auto get = symbol<PartFunction>("nvmlDeviceGetMigDeviceHandleByIndex");
  if (get == nullptr || get_most == nullptr || get_most(handle, &most) != kSuccess) most = 0;
  for (unsigned i = 0; i < most; ++i) {
    Handle part = nullptr;
    if (get(handle, i, &part) != kSuccess) continue;  // places without a slice
    GpuSlice slice;
    int code = kSuccess;
    slice.uuid = text_of(part, "nvmlDeviceGetUUID", code);
    slice.name = text_of(part, "nvmlDeviceGetName", code);
    const std::size_t mark = slice.name.rfind("MIG ");
    slice.name = mark == std::string::npos ? "slice" : slice.name.substr(mark + 4);
    Memory memory{};
    const auto get_memory = symbol<MemoryFunction>("nvmlDeviceGetMemoryInfo");
    if (get_memory != nullptr && get_memory(part, &memory) == kSuccess) {
      slice.memory_bytes = static_cast<std::int64_t>(memory.total);
    }
    SliceAttributes attributes{};
    const auto get_attributes = symbol<SliceFunction>("nvmlDeviceGetAttributes_v2");
    if (get_attributes != nullptr && get_attributes(part, &attributes) == kSuccess) {
      slice.multiprocessors = static_cast<int>(attributes.multiprocessors);
      slice.compute_slices = static_cast<int>(attributes.compute_slices);
    }
    device.slices.push_back(std::move(slice));
  }
  if (device.slices.empty()) {
    notes.push_back("nvidia: device " + std::to_string(device.index) +
                    ": MIG is on, but it has no slices: nothing can run on it");
  }
}

GpuPair Nvml::pair_of(const GpuRecord& a, const GpuRecord& b) const {
  GpuPair pair;
  Handle from = handle_of(a.index);
  Handle to = handle_of(b.index);
  if (from == nullptr || to == nullptr) return pair;
  int number = 0;
  if (const auto get = symbol<PairStatusFunction>("nvmlDeviceGetP2PStatus");
      get != nullptr && get(from, to, kPeerRead, &number) == kSuccess) {
    pair.peer = number == 0;
  }
  if (const auto get = symbol<PairFunction>("nvmlDeviceGetTopologyCommonAncestor");
      get != nullptr && get(from, to, &number) == kSuccess) {
    pair.path = path_of(number);
  }
  return pair;
}

DriverRecord Nvml::record() const {
  DriverRecord record;
  record.vendor = GpuVendor::nvidia;
  std::array<char, 80> version{};
  if (const auto get = symbol<SystemTextFunction>("nvmlSystemGetDriverVersion");
      get != nullptr && get(version.data(), version.size()) == kSuccess) {
    record.version = std::string(version.data(), strnlen(version.data(), version.size()));
  }
  record.devices = devices(record.notes);
  for (std::size_t a = 0; a < record.devices.size(); ++a) {
    for (std::size_t b = a + 1; b < record.devices.size(); ++b) {
      GpuPair pair = pair_of(record.devices[a], record.devices[b]);
      if (!pair.peer && !pair.path) continue;
      pair.a = static_cast<int>(a);
      pair.b = static_cast<int>(b);
      record.pairs.push_back(pair);
    }
  }
  return record;
}

}  // namespace parallel_opt
