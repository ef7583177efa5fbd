#pragma once

namespace parallel_opt {

/// The machine around a device. SI units.
struct HostFacts {
  double link_bytes_per_s = 0;  ///< between one device and its memory, each direction
  double bytes_per_s = 0;       ///< of its memory, all devices together
  double cores = 64;            ///< physical, of all sockets
  double memory_bytes = 0;      ///< 0: not known
  double devices = 8;           ///< that share all of these
  bool operator==(const HostFacts&) const = default;
};

/// What lives in the memory of the host. Of the optimizer's states, and the fp32 weights beside
/// 16-bit ones, a share is stepped by the host's cores (ZeRO-Offload) or comes to the device for
/// the step (MaxText's optimizer_memory_host_offload).
struct Offload {
  double optimizer = 0;     ///< share of the states
  bool fetched = false;     ///< the step of these runs on the device
  bool parameters = false;  ///< sharded weights, block by block before each pass
  double activations = 0;   ///< share of what blocks keep for the backward
  bool any() const { return optimizer > 0 || parameters || activations > 0; }
  bool operator==(const Offload&) const = default;
};

/// Between the device of a stage and its host, bytes.
struct HostCopies {
  double kept = 0;       ///< of one micro-batch: out beside its forward, back for its backward
  double weights = 0;    ///< of one pass, to the device
  double gradients = 0;  ///< out, after each reduction
  bool each_micro_batch = false;  ///< gradients are reduced
  double updated = 0;             ///< after the step, in one direction
  double states = 0;              ///< to the device for the step, and back
  double update_s = 0;            ///< the step on the host's cores
};

/// Of a host's memory, what a job may take: the rest is the system's, the loaders' and the
/// processes' own.
inline constexpr double kUsableHostMemory = 0.9;

}  // namespace parallel_opt
