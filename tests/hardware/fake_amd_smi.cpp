// Stand-ins for AMD's management libraries: two MI300X, the second without an energy counter.
// FAKE_AMD_NEW has AMD SMI's functions, FAKE_AMD_OLD ROCm SMI's, FAKE_AMD_BARE starts and has no
// others, FAKE_AMD_DENIED does not start.

#include <cstdint>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

[[maybe_unused]] constexpr int kSuccess = 0;
[[maybe_unused]] constexpr int kNotSupported = 2;
[[maybe_unused]] constexpr int kNoPermission = 10;

std::uint64_t steps[2] = {1'000'000, 0};
bool lost[2] = {false, false};
[[maybe_unused]] std::uint64_t place(std::uint32_t index) { return index == 0 ? 0x0c00 : 0x2200; }

[[maybe_unused]] int count_energy(std::uint32_t index, std::uint64_t* count, float* resolution) {
  if (index == 1 || lost[index]) return kNotSupported;
  *count = steps[index];
  *resolution = 15.3F;  // microjoules
  return kSuccess;
}

}  // namespace

/// For tests: the counter of a device from now on; whether it was pulled out.
EXPORT void fake_amd_set(unsigned device, std::uint64_t count, bool gone) {
  steps[device] = count;
  lost[device] = gone;
}

#ifdef FAKE_AMD_DENIED
EXPORT int amdsmi_init(std::uint64_t) { return kNoPermission; }
#endif
#ifdef FAKE_AMD_BARE
EXPORT int amdsmi_init(std::uint64_t) { return kSuccess; }
#endif

#ifdef FAKE_AMD_NEW
namespace {
int sockets[2];
std::uint32_t index_of(void* handle) { return handle == &sockets[0] ? 0 : 1; }
}  // namespace

EXPORT int amdsmi_init(std::uint64_t flags) { return flags == 2 ? kSuccess : 1; }
EXPORT int amdsmi_shut_down() { return kSuccess; }
EXPORT int amdsmi_get_socket_handles(std::uint32_t* count, void** handles) {
  *count = 2;
  for (int i = 0; handles != nullptr && i < 2; ++i) handles[i] = &sockets[i];
  return kSuccess;
}
EXPORT int amdsmi_get_processor_handles(void* socket, std::uint32_t* count, void** handles) {
  *count = 1;
  if (handles != nullptr) handles[0] = socket;
  return kSuccess;
}
EXPORT int amdsmi_get_gpu_bdf_id(void* handle, std::uint64_t* id) {
  *id = place(index_of(handle));
  return kSuccess;
}
EXPORT int amdsmi_get_gpu_device_uuid(void* handle, unsigned* length, char* text) {
  const char* uuid = index_of(handle) == 0 ? "aaff-0" : "aaff-1";
  *length = static_cast<unsigned>(std::strlen(uuid)) + 1;
  std::memcpy(text, uuid, *length);
  return kSuccess;
}
EXPORT int amdsmi_get_gpu_memory_total(void*, int, std::uint64_t* bytes) {
  *bytes = 206'158'430'208ULL;
  return kSuccess;
}
EXPORT int amdsmi_get_gpu_memory_usage(void*, int, std::uint64_t* bytes) {
  *bytes = 158'430'208ULL;
  return kSuccess;
}
EXPORT int amdsmi_get_energy_count(void* handle, std::uint64_t* count, float* resolution,
                                   std::uint64_t* time) {
  *time = 0;
  return count_energy(index_of(handle), count, resolution);
}
// NOLINTNEXTLINE(readability-identifier-naming): the library names it
EXPORT int amdsmi_is_P2P_accessible(void*, void*, bool* accessible) {
  *accessible = true;
  return kSuccess;
}
#endif

#ifdef FAKE_AMD_OLD
EXPORT int rsmi_init(std::uint64_t) { return kSuccess; }
EXPORT int rsmi_shut_down() { return kSuccess; }
EXPORT int rsmi_num_monitor_devices(std::uint32_t* count) {
  *count = 2;
  return kSuccess;
}
EXPORT int rsmi_dev_pci_id_get(std::uint32_t index, std::uint64_t* id) {
  *id = place(index);
  return kSuccess;
}
EXPORT int rsmi_dev_unique_id_get(std::uint32_t index, std::uint64_t* id) {
  *id = 0xabc0 + index;
  return kSuccess;
}
EXPORT int rsmi_dev_memory_total_get(std::uint32_t, int, std::uint64_t* bytes) {
  *bytes = 206'158'430'208ULL;
  return kSuccess;
}
EXPORT int rsmi_dev_energy_count_get(std::uint32_t index, std::uint64_t* count, float* resolution,
                                     std::uint64_t* time) {
  *time = 0;
  return count_energy(index, count, resolution);
}
EXPORT int rsmi_dev_power_ave_get(std::uint32_t index, std::uint32_t, std::uint64_t* microwatts) {
  if (lost[index]) return kNotSupported;
  *microwatts = 300'000'000;
  return kSuccess;
}
#endif
