#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <string>

#include "parallel_opt/hardware/nvml.h"

/// The functions of NVIDIA's management library that nvml*.cpp call.
namespace parallel_opt::nvml_calls {

// Our own declarations of the few functions in use; names and layouts as in the public header.
using Handle = void*;
inline constexpr int kSuccess = 0;
inline constexpr int kNotSupported = 3;
inline constexpr int kMissing = -1;  // ours: the function is not in the library
inline constexpr int kClockSm = 1;
inline constexpr unsigned kNameLength = 96;

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
using PairFunction = int (*)(Handle, Handle, int*);
using PairStatusFunction = int (*)(Handle, Handle, int, int*);
using LinkFunction = int (*)(Handle, unsigned, unsigned*);
using LinkTypeFunction = int (*)(Handle, unsigned, int*);
using LinkPciFunction = int (*)(Handle, unsigned, PciInfo*);
using TwoNumbersFunction = int (*)(Handle, unsigned*, unsigned*);
using CapabilityFunction = int (*)(Handle, int*, int*);
using PartFunction = int (*)(Handle, unsigned, Handle*);
using SystemTextFunction = int (*)(char*, unsigned);

struct SliceAttributes {
  unsigned multiprocessors, copy_engines, decoders, encoders, jpeg_engines, optical_flow_engines;
  unsigned gpu_slices, compute_slices;
  unsigned long long memory_megabytes;
};
using SliceFunction = int (*)(Handle, SliceAttributes*);

struct FieldValue {
  unsigned field_id, scope_id;
  long long timestamp_us, latency_us;
  int value_type;
  int status;
  union {
    double real;
    int integer;
    unsigned number;
    unsigned long long long_number;
  } value;
};
using FieldsFunction = int (*)(Handle, int, FieldValue*);
inline constexpr unsigned kPowerInstant = 186;
inline constexpr int kUnsignedInt = 1;

/// NVML writes an eight-digit domain, the kernel a four-digit one.
std::string pci_address(const PciInfo& info);

}  // namespace parallel_opt::nvml_calls

namespace parallel_opt {

template <class Function>
Function Nvml::symbol(const char* name) const {
  return reinterpret_cast<Function>(dlsym(library_, name));
}

}  // namespace parallel_opt
