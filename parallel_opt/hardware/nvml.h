#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace parallel_opt {

/// One NVIDIA device as the driver states it. What the driver does not tell is absent.
struct NvmlDevice {
  int index = 0;
  std::string name;  ///< "NVIDIA H100 80GB HBM3"
  std::string uuid;  ///< "GPU-..."
  std::string pci;   ///< "0000:0b:00.0", lower case, as in /sys/bus/pci/devices
  std::optional<std::int64_t> memory_bytes;
  std::optional<std::int64_t> free_bytes;
  std::optional<double> power_limit_w;
  std::optional<double> max_clock_hz;
  bool operator==(const NvmlDevice&) const = default;
};

/// The NVIDIA management library, opened at run time: hosts without a driver start as well. Every
/// function of it may be missing in an old driver, unsupported by a device, or forbidden.
class Nvml {
 public:
  /// Empty when there is no library or it does not start. An absent library is no news; any other
  /// reason goes to `notes`.
  static std::optional<Nvml> open(const std::string& library, std::vector<std::string>& notes);
  Nvml(Nvml&& other) noexcept;
  Nvml& operator=(Nvml&&) = delete;
  ~Nvml();

  /// Devices that answer; the others are told in `notes`.
  std::vector<NvmlDevice> devices(std::vector<std::string>& notes) const;
  /// Joules since the driver was loaded (Volta and newer), steps of 20 to 100 ms.
  std::optional<double> energy_j(int index) const;
  /// Watts now (a one-second mean on newer devices).
  std::optional<double> power_w(int index) const;

 private:
  Nvml() = default;
  template <class Function>
  Function symbol(const char* name) const;
  std::string reason(int code) const;
  void* handle_of(int index) const;
  std::string text_of(void* handle, const char* function, int& code) const;
  NvmlDevice describe(int index, void* handle, std::vector<std::string>& notes) const;
  void* library_ = nullptr;
};

}  // namespace parallel_opt
