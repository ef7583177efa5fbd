#include "parallel_opt/hardware/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <utility>

namespace parallel_opt {
namespace {

// Our own declarations of the few functions in use; names and layouts as in the public header.
using Handle = void*;
constexpr int kSuccess = 0;
constexpr int kNotSupported = 3;
constexpr int kMissing = -1;  // ours: the function is not in the library
constexpr int kClockSm = 1;
constexpr unsigned kNameLength = 96;

struct Memory {
  unsigned long long total, free, used;
};

struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};

using InitFunction = int (*)();
using ErrorStringFunction = const char* (*)(int);
using CountFunction = int (*)(unsigned*);
using HandleFunction = int (*)(unsigned, Handle*);
using TextFunction = int (*)(Handle, char*, unsigned);
using PciFunction = int (*)(Handle, PciInfo*);
using MemoryFunction = int (*)(Handle, Memory*);
using NumberFunction = int (*)(Handle, unsigned*);
using LongFunction = int (*)(Handle, unsigned long long*);
using ClockFunction = int (*)(Handle, int, unsigned*);

/// NVML writes an eight-digit domain, the kernel a four-digit one.
std::string pci_address(const PciInfo& info) {
  std::string text(info.bus_id, strnlen(info.bus_id, sizeof info.bus_id));
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  if (text.size() > 12 && text.starts_with("0000")) text.erase(0, text.size() - 12);
  return text;
}

}  // namespace

template <class Function>
Function Nvml::symbol(const char* name) const {
  return reinterpret_cast<Function>(dlsym(library_, name));
}

std::string Nvml::reason(int code) const {
  if (const auto text = symbol<ErrorStringFunction>("nvmlErrorString")) {
    if (const char* words = text(code); words != nullptr) return words;
  }
  return "error " + std::to_string(code);
}

std::optional<Nvml> Nvml::open(const std::string& library, std::vector<std::string>& notes) {
  Nvml nvml;
  nvml.library_ = dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (nvml.library_ == nullptr) return std::nullopt;
  const auto init = nvml.symbol<InitFunction>("nvmlInit_v2");
  const int code = init == nullptr ? -1 : init();
  if (code == kSuccess) return nvml;
  notes.push_back("nvidia: " + library + " does not start: " +
                  (init == nullptr ? "it has no nvmlInit_v2" : nvml.reason(code)));
  dlclose(std::exchange(nvml.library_, nullptr));
  return std::nullopt;
}

Nvml::Nvml(Nvml&& other) noexcept : library_(std::exchange(other.library_, nullptr)) {}

Nvml::~Nvml() {
  if (library_ == nullptr) return;
  if (const auto shutdown = symbol<InitFunction>("nvmlShutdown")) shutdown();
  dlclose(library_);
}

void* Nvml::handle_of(int index) const {
  const auto get = symbol<HandleFunction>("nvmlDeviceGetHandleByIndex_v2");
  Handle handle = nullptr;
  if (get == nullptr || get(static_cast<unsigned>(index), &handle) != kSuccess) return nullptr;
  return handle;
}

std::string Nvml::text_of(void* handle, const char* function, int& code) const {
  const auto get = symbol<TextFunction>(function);
  std::array<char, kNameLength> buffer{};
  code = get == nullptr ? kMissing : get(handle, buffer.data(), kNameLength);
  return {buffer.data(), strnlen(buffer.data(), kNameLength)};
}

NvmlDevice Nvml::describe(int index, void* handle, std::vector<std::string>& notes) const {
  NvmlDevice device;
  device.index = index;
  const auto tell = [&](const char* what, int code) {
    if (code == kSuccess) return true;
    const std::string why = code == kNotSupported ? "not supported"
                            : code == kMissing    ? "not in this driver"
                                                  : reason(code);
    notes.push_back("nvidia: device " + std::to_string(index) + ": " + what + ": " + why);
    return false;
  };
  int code = kSuccess;
  device.name = text_of(handle, "nvmlDeviceGetName", code);
  if (!tell("name", code)) device.name = "NVIDIA device";
  device.uuid = text_of(handle, "nvmlDeviceGetUUID", code);
  if (!tell("uuid", code)) device.uuid = "GPU-index-" + std::to_string(index);
  PciInfo pci{};
  if (const auto get = symbol<PciFunction>("nvmlDeviceGetPciInfo_v3");
      get != nullptr && get(handle, &pci) == kSuccess) {
    device.pci = pci_address(pci);
  }
  Memory memory{};
  const auto get_memory = symbol<MemoryFunction>("nvmlDeviceGetMemoryInfo");
  if (tell("memory", get_memory == nullptr ? kMissing : get_memory(handle, &memory))) {
    device.memory_bytes = static_cast<std::int64_t>(memory.total);
    device.free_bytes = static_cast<std::int64_t>(memory.free);
  }
  unsigned milliwatts = 0;
  const auto get_limit = symbol<NumberFunction>("nvmlDeviceGetEnforcedPowerLimit");
  if (tell("power limit", get_limit == nullptr ? kMissing : get_limit(handle, &milliwatts))) {
    device.power_limit_w = milliwatts * 1e-3;
  }
  unsigned megahertz = 0;
  if (const auto get = symbol<ClockFunction>("nvmlDeviceGetMaxClockInfo");
      get != nullptr && get(handle, kClockSm, &megahertz) == kSuccess) {
    device.max_clock_hz = megahertz * 1e6;
  }
  return device;
}

std::vector<NvmlDevice> Nvml::devices(std::vector<std::string>& notes) const {
  std::vector<NvmlDevice> found;
  const auto get_count = symbol<CountFunction>("nvmlDeviceGetCount_v2");
  unsigned count = 0;
  if (get_count == nullptr || get_count(&count) != kSuccess) {
    notes.emplace_back("nvidia: the driver does not tell how many devices there are");
    return found;
  }
  for (int index = 0; index < static_cast<int>(count); ++index) {
    if (Handle handle = handle_of(index); handle != nullptr) {
      found.push_back(describe(index, handle, notes));
    } else {
      notes.push_back("nvidia: device " + std::to_string(index) + " may not be opened");
    }
  }
  return found;
}

std::optional<double> Nvml::energy_j(int index) const {
  const auto get = symbol<LongFunction>("nvmlDeviceGetTotalEnergyConsumption");
  Handle handle = handle_of(index);
  unsigned long long millijoules = 0;
  if (get == nullptr || handle == nullptr || get(handle, &millijoules) != kSuccess) {
    return std::nullopt;
  }
  return double(millijoules) * 1e-3;
}

std::optional<double> Nvml::power_w(int index) const {
  const auto get = symbol<NumberFunction>("nvmlDeviceGetPowerUsage");
  Handle handle = handle_of(index);
  unsigned milliwatts = 0;
  if (get == nullptr || handle == nullptr || get(handle, &milliwatts) != kSuccess) {
    return std::nullopt;
  }
  return double(milliwatts) * 1e-3;
}

}  // namespace parallel_opt
