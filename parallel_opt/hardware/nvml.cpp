#include "parallel_opt/hardware/nvml.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <utility>

#include "parallel_opt/hardware/nvml_calls.h"

namespace parallel_opt {

using namespace nvml_calls;  // NOLINT: names of the library

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

GpuRecord Nvml::describe(int index, void* handle, std::vector<std::string>& notes) const {
  GpuRecord device;
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
  describe_pcie(handle, device);
  describe_links(handle, device);
  describe_slices(handle, device, notes);
  return device;
}

std::vector<GpuRecord> Nvml::devices(std::vector<std::string>& notes) const {
  std::vector<GpuRecord> found;
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
  Handle handle = handle_of(index);
  if (handle == nullptr) return std::nullopt;
  FieldValue field{};
  field.field_id = kPowerInstant;
  const auto get_fields = symbol<FieldsFunction>("nvmlDeviceGetFieldValues");
  if (get_fields != nullptr && get_fields(handle, 1, &field) == kSuccess &&
      field.status == kSuccess && field.value_type == kUnsignedInt) {
    return double(field.value.number) * 1e-3;
  }
  const auto get = symbol<NumberFunction>("nvmlDeviceGetPowerUsage");
  unsigned milliwatts = 0;
  if (get == nullptr || get(handle, &milliwatts) != kSuccess) return std::nullopt;
  return double(milliwatts) * 1e-3;
}

}  // namespace parallel_opt
