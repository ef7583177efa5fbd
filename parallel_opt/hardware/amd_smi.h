#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/hardware/driver_record.h"

namespace parallel_opt {

/// AMD's management libraries, opened at run time: AMD SMI, else the older ROCm SMI. Only functions
/// that pass plain numbers are called: their structs changed between releases.
class AmdSmi {
 public:
  /// The first of `libraries` that opens and starts; which interface it has, its functions tell.
  /// Absent libraries are no news; one that does not start is told in `notes`.
  static std::unique_ptr<AmdSmi> open(const std::vector<std::string>& libraries,
                                      std::vector<std::string>& notes);
  virtual ~AmdSmi() = default;

  virtual int count() const = 0;
  /// "0000:0c:00.0"; empty when the library does not tell.
  virtual std::string pci(int index) const = 0;
  virtual std::string uuid(int index) const = 0;
  virtual std::optional<std::int64_t> memory_bytes(int index) const = 0;
  virtual std::optional<std::int64_t> used_bytes(int index) const = 0;
  /// Joules since the driver was loaded: accumulator times its resolution.
  virtual std::optional<double> energy_j(int index) const = 0;
  virtual std::optional<double> power_w(int index) const = 0;
  virtual std::optional<bool> peer(int a, int b) const = 0;

  /// Everything at once. HIP, AMD SMI and ROCm SMI count differently: match by PCI address.
  std::vector<GpuRecord> devices() const;
};

/// The names under which the libraries are installed, newest first.
const std::vector<std::string>& amd_library_names();

}  // namespace parallel_opt
