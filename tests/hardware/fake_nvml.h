#pragma once

#include <cstring>

/// What the stand-ins for libnvidia-ml.so.1 share: layouts of the library and its codes.
#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fake_nvml {

constexpr int kSuccess = 0;
constexpr int kNotSupported = 3;
constexpr int kInsufficientSize = 7;

struct PciInfo {
  char legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};

struct Memory {
  unsigned long long total, free, used;
};

inline int put(char* to, unsigned length, const char* text) {
  const std::size_t bytes = std::strlen(text) + 1;
  if (bytes > length) return kInsufficientSize;
  std::memcpy(to, text, bytes);
  return kSuccess;
}

}  // namespace fake_nvml
