#pragma once

#include <optional>
#include <string>

#include "parallel_opt/hardware/database.h"

namespace parallel_opt {

/// "Capped at 300 W", "250 W power limit"; empty: none is stated.
std::optional<double> stated_limit_w(const std::string& text);

/// "PCIe Gen3 x8", "PCI-e 4.0": bytes/s each direction after encoding, of 16 lanes where none are
/// counted; empty: no generation is stated.
struct StatedBus {
  std::string type;  ///< "PCIe3x8"
  double bytes_per_s = 0;
};
std::optional<StatedBus> stated_bus(const std::string& text);

/// 8 of "8x H100" and "H100 x 8".
std::optional<double> devices_counted(const std::string& gpu);

/// "80 GB" in a device's name, bytes; empty: none is stated.
std::optional<double> stated_memory(const std::string& text);

/// Times a device's memory: what is more is its host's, or of all devices of a machine ("GH200
/// 480GB", "DGX A100 640GB"); boards with double memory are sold.
inline constexpr double kMostMemory = 2.1;

/// Devices that the name of a TPU's slice counts: of "TPU v3-512" its cores, which frameworks show
/// as devices; of "TPU v4-512" the chips, half of its cores; empty: it counts none. `named`: the
/// number itself.
struct SliceDevices {
  double devices = 0, named = 0;
};
std::optional<SliceDevices> devices_of_slice(const std::string& gpu);

/// The record that free text names: "H100-80GB", "A100 (DGX-A100)", "GB200-NVL72",
/// "H100-96GB-HBM2e (2.4TB/s, 500W limit)"; what it states of rate, memory and power counts ("700W"
/// unless it is a machine's). Memory that no record has is put on the one with the next smaller.
/// Empty when nothing fits.
std::optional<DeviceRecord> device_by_text(const std::string& text, const std::string& family);

}  // namespace parallel_opt
