// A stand-in for libnvidia-ml.so.1. Device 0 is an H100 with everything; device 1 is unknown to the
// database, has no energy counter and does not tell its power limit; device 2 cannot be opened.
// FAKE_NVML_OLD leaves out what old drivers lack; FAKE_NVML_DENIED does not start.

#include "tests/hardware/fake_nvml.h"

using namespace fake_nvml;  // NOLINT: names of the library

namespace {

constexpr int kNoPermission = 4;
constexpr int kLost = 15;

struct Board {
  const char* name;
  const char* uuid;
  const char* bus_id;
  unsigned long long total, free;
  unsigned long long energy_mj;
  unsigned power_mw;
};

Board boards[2] = {
    {"NVIDIA H100 80GB HBM3", "GPU-aaaa", "00000000:0B:00.0", 85899345920ULL, 84000000000ULL,
     1'000'000, 100'000},
    {"NVIDIA Z9", "GPU-bbbb", "00000000:81:00.0", 17179869184ULL, 17000000000ULL, 0, 50'000}};

bool gone[2] = {false, false};

Board& board(void* device) { return *static_cast<Board*>(device); }

}  // namespace

/// For tests: what the sensors of a device show from now on.
EXPORT void fake_nvml_set(unsigned device, unsigned long long energy_mj, unsigned power_mw) {
  boards[device].energy_mj = energy_mj;
  boards[device].power_mw = power_mw;
}

/// For tests: pulled out, a device answers nothing any more ("GPU is lost").
EXPORT void fake_nvml_lose(unsigned device, bool lost) { gone[device] = lost; }

EXPORT int nvmlInit_v2() {
#ifdef FAKE_NVML_DENIED
  return kNoPermission;
#else
  return kSuccess;
#endif
}

EXPORT int nvmlShutdown() { return kSuccess; }

EXPORT const char* nvmlErrorString(int code) {
  return code == kNoPermission ? "Insufficient Permissions" : "Unknown Error";
}

EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 3;
  return kSuccess;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (index >= 2) return kNoPermission;
  if (gone[index]) return kLost;
  *device = &boards[index];
  return kSuccess;
}

EXPORT int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  return put(name, length, board(device).name);
}

EXPORT int nvmlDeviceGetUUID(void* device, char* uuid, unsigned length) {
  return put(uuid, length, board(device).uuid);
}

EXPORT int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  *memory = {board(device).total, board(device).free, board(device).total - board(device).free};
  return kSuccess;
}

EXPORT int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  *milliwatts = board(device).power_mw;
  return kSuccess;
}

#ifndef FAKE_NVML_OLD
EXPORT int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* info) {
  return put(info->bus_id, sizeof info->bus_id, board(device).bus_id);
}

EXPORT int nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned* milliwatts) {
  if (&board(device) == &boards[1]) return kNotSupported;
  *milliwatts = 650'000;
  return kSuccess;
}

EXPORT int nvmlDeviceGetMaxClockInfo(void*, int, unsigned* megahertz) {
  *megahertz = 1980;
  return kSuccess;
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  if (&board(device) == &boards[1]) return kNotSupported;
  *millijoules = board(device).energy_mj;
  return kSuccess;
}
#endif
