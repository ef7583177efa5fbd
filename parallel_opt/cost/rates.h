#pragma once

#include <array>

#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// A measured curve and the factor that carries it over to the threads at hand.
struct ScaledCurve {
  const RateCurve* curve = nullptr;  ///< null: `factor` is the rate itself
  double factor = 1;
  const RateCurve* shared = nullptr;  ///< what all ranks of the device draw from together
  double share = 0;                   ///< this rank's part of it; 0: it does not share
  double at(double size) const;
};

/// Families of arithmetic kernels that devices run at different rates.
enum class Kernel {
  contraction,
  attention,
  attention_backward,
  recurrent,
  recurrent_backward,
  convolution,
  convolution_backward,
  convolution_channels_last,
  convolution_backward_channels_last,
};
inline constexpr std::size_t kKernels = 9;

/// Which family a call belongs to. `channels_last`: the layout that convolutions see.
Kernel kernel_of(OpClass op_class, bool backward, bool channels_last);

/// Rates of one rank: a device, its threads, and how many equal ranks share the device. Compute
/// rates are those of the rank's threads; bandwidth is the rank's own or its part of the device's,
/// whichever is smaller. Pre: lives no longer than the device.
struct RankRates {
  std::array<ScaledCurve, kKernels> full;  ///< fp32
  std::array<ScaledCurve, kKernels> low;   ///< the low precision
  ScaledCurve memory;                      ///< streaming, bytes/s
  ScaledCurve copy;                        ///< by torch
  ScaledCurve elementwise;
  ScaledCurve reduce;
  std::array<ScaledCurve, 2> batch_norm;  ///< sums over images, channel by channel
  ScaledCurve pooling;                    ///< forward; its backward scatters, as elementwise work
  std::array<ScaledCurve, 2> embedding;   ///< rows picked by index: forward, backward
  /// Elementwise operators that evaluate exponentials: forward, backward.
  std::array<ScaledCurve, 2> activation;
  /// Steps of an optimizer: over lists of tensors, fused.
  std::array<ScaledCurve, 2> optimizer;
  /// Those curves are of whole loops over parameters on this processor, launches with them.
  std::array<bool, 2> optimizer_loops{};
  double launch_s = 0;                  ///< overhead of one eager operator
  bool overlaps_launch = false;         ///< gpu: the host runs ahead of the device
  Quality quality = Quality::measured;  ///< the worst curve in use
  /// The convolution curves of the two layouts were measured apart, so the difference is in them:
  /// fp32, low precision.
  std::array<bool, 2> layouts_measured{};

  const ScaledCurve& arithmetic(Kernel kernel, bool low_precision) const {
    return (low_precision ? low : full)[static_cast<std::size_t>(kernel)];
  }
  /// `heavy`: it evaluates exponentials; `by_channel`: a norm whose sums run over all images.
  const ScaledCurve& bytes(OpClass op_class, bool heavy, bool by_channel, bool backward) const;
};

/// `low` may be fp32 where no low precision is meant. Pre: threads >= 1, ranks_on_device >= 1.
RankRates rank_rates(const Device& device, int threads, int ranks_on_device, DType low);

/// Is low-precision arithmetic worth casts on this device: was it at least kWorthwhileSpeedup times
/// as fast as fp32 in any product that was timed in both, or does the processor have instructions
/// for it? Probes on a busy machine err to both sides, and a candidate that does not pay is found
/// out by its trial. False when nothing is known.
bool low_precision_pays(const Device& device, DType low);

/// Arithmetic rate classes are those that have FLOPs worth counting.
constexpr bool is_arithmetic(OpClass c) {
  return c == OpClass::contraction || c == OpClass::convolution || c == OpClass::attention ||
         c == OpClass::recurrent;
}

}  // namespace parallel_opt
