// A stand-in for libnvidia-ml.so.1 of a machine with links: devices 0 and 1 on NVSwitches, 2 and 3
// with four NVLinks between them, 4 cut into two MIG slices, 5 with MIG on and no slices.

#include <string>

#include "tests/hardware/fake_nvml.h"

using namespace fake_nvml;  // NOLINT: names of the library

namespace {

constexpr int kNotFound = 6;
constexpr unsigned kCount = 6;

struct Board {
  const char* name;
  const char* uuid;
  const char* bus_id;
};

Board boards[kCount] = {{"NVIDIA H100 80GB HBM3", "GPU-0", "00000000:0B:00.0"},
                        {"NVIDIA H100 80GB HBM3", "GPU-1", "00000000:0C:00.0"},
                        {"NVIDIA A40", "GPU-2", "00000000:41:00.0"},
                        {"NVIDIA A40", "GPU-3", "00000000:42:00.0"},
                        {"NVIDIA A100-SXM4-40GB", "GPU-4", "00000000:81:00.0"},
                        {"NVIDIA A100-SXM4-40GB", "GPU-5", "00000000:82:00.0"}};
Board slices[2] = {{"NVIDIA A100-SXM4-40GB MIG 3g.20gb", "MIG-a", ""},
                   {"NVIDIA A100-SXM4-40GB MIG 4g.20gb", "MIG-b", ""}};

bool is_slice(void* device) { return device == &slices[0] || device == &slices[1]; }
unsigned index_of(void* device) {
  return static_cast<unsigned>(static_cast<Board*>(device) - boards);
}

}  // namespace

struct Attributes {
  unsigned multiprocessors, copies, decoders, encoders, jpegs, flows, gpu_slices, compute_slices;
  unsigned long long megabytes;
};
struct Field {
  unsigned field, scope;
  long long time, latency;
  int type, status;
  unsigned long long value;
};

EXPORT int nvmlInit_v2() { return kSuccess; }
EXPORT int nvmlShutdown() { return kSuccess; }
EXPORT const char* nvmlErrorString(int) { return "Unknown Error"; }
EXPORT int nvmlSystemGetDriverVersion(char* text, unsigned length) {
  return put(text, length, "570.10");
}
EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = kCount;
  return kSuccess;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = &boards[index];
  return kSuccess;
}
EXPORT int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  return put(name, length, static_cast<Board*>(device)->name);
}
EXPORT int nvmlDeviceGetUUID(void* device, char* uuid, unsigned length) {
  return put(uuid, length, static_cast<Board*>(device)->uuid);
}
EXPORT int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* info) {
  return put(info->bus_id, sizeof info->bus_id, static_cast<Board*>(device)->bus_id);
}
EXPORT int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  const unsigned long long total = is_slice(device) ? 20'000'000'000ULL : 40'000'000'000ULL;
  *memory = {total, total, 0};
  return kSuccess;
}
EXPORT int nvmlDeviceGetEnforcedPowerLimit(void*, unsigned* milliwatts) {
  *milliwatts = 400'000;
  return kSuccess;
}
/// The instant value (field 186) of the even devices; the odd ones have a mean only.
EXPORT int nvmlDeviceGetFieldValues(void* device, int count, Field* fields) {
  if (count != 1 || fields->field != 186) return kNotSupported;
  fields->status = index_of(device) % 2 == 0 ? kSuccess : kNotSupported;
  fields->type = 1;
  fields->value = 123'000;
  return kSuccess;
}
EXPORT int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 99'000;
  return kSuccess;
}
EXPORT int nvmlDeviceGetMaxPcieLinkGeneration(void* device, unsigned* generation) {
  *generation = index_of(device) < 2 ? 5 : 4;
  return kSuccess;
}
EXPORT int nvmlDeviceGetMaxPcieLinkWidth(void*, unsigned* width) {
  *width = 16;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkState(void* device, unsigned link, unsigned* up) {
  const unsigned index = index_of(device);
  if (index >= 4 || (index >= 2 && link >= 4)) return kNotSupported;
  *up = index < 2 || link < 4 ? 1 : 0;
  return kSuccess;
}
/// As an H100 was seen to state it; the A40 as the header of 2024 counts 3.0.
EXPORT int nvmlDeviceGetNvLinkVersion(void* device, unsigned, unsigned* version) {
  *version = index_of(device) < 2 ? 7 : 4;
  return kSuccess;
}
/// Of the H100s alone: the others' links are told by the stated number.
EXPORT int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
  if (index_of(device) >= 2) return kNotSupported;
  *major = 9;
  *minor = 0;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType(void* device, unsigned, int* type) {
  *type = index_of(device) < 2 ? 2 : 0;
  return kSuccess;
}
EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(void* device, unsigned, PciInfo* info) {
  return put(info->bus_id, sizeof info->bus_id, boards[index_of(device) == 2 ? 3 : 2].bus_id);
}
EXPORT int nvmlDeviceGetP2PStatus(void* a, void* b, int, int* status) {
  *status = index_of(a) / 2 == index_of(b) / 2 ? 0 : 1;
  return kSuccess;
}
EXPORT int nvmlDeviceGetTopologyCommonAncestor(void* a, void* b, int* level) {
  *level = index_of(a) / 2 == index_of(b) / 2 ? 10 : 50;
  return kSuccess;
}
EXPORT int nvmlDeviceGetMigMode(void* device, unsigned* current, unsigned* pending) {
  if (index_of(device) < 4) return kNotSupported;
  *current = *pending = 1;
  return kSuccess;
}
EXPORT int nvmlDeviceGetMaxMigDeviceCount(void*, unsigned* count) {
  *count = 7;
  return kSuccess;
}
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void* device, unsigned index, void** slice) {
  if (index_of(device) != 4 || index >= 2) return kNotFound;
  *slice = &slices[index];
  return kSuccess;
}
EXPORT int nvmlDeviceGetAttributes_v2(void* slice, Attributes* attributes) {
  *attributes = {};
  attributes->multiprocessors = slice == &slices[0] ? 42 : 56;
  attributes->compute_slices = slice == &slices[0] ? 3 : 4;
  return kSuccess;
}
