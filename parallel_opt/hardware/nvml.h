#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/hardware/driver_record.h"

namespace parallel_opt {

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
  std::vector<GpuRecord> devices(std::vector<std::string>& notes) const;
  /// Devices with their links, and every pair of them. Links and paths that an old driver does not
  /// tell are absent.
  DriverRecord record() const;
  /// Joules since the driver was loaded (Volta and newer), steps of 20 to 100 ms.
  std::optional<double> energy_j(int index) const;
  /// Watts now: the instant value where the driver has it, else the usual one (a one-second mean on
  /// newer devices).
  std::optional<double> power_w(int index) const;

 private:
  Nvml() = default;
  template <class Function>
  Function symbol(const char* name) const;
  std::string reason(int code) const;
  void* handle_of(int index) const;
  std::string text_of(void* handle, const char* function, int& code) const;
  GpuRecord describe(int index, void* handle, std::vector<std::string>& notes) const;
  void describe_pcie(void* handle, GpuRecord& device) const;
  void describe_links(void* handle, GpuRecord& device) const;
  void describe_slices(void* handle, GpuRecord& device, std::vector<std::string>& notes) const;
  GpuPair pair_of(const GpuRecord& a, const GpuRecord& b) const;
  void* library_ = nullptr;
};

}  // namespace parallel_opt
