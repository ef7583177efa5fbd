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

/// Rates of one rank: a device, its threads, and how many equal ranks share the device. Compute
/// rates are those of the rank's threads; bandwidth is the rank's own or its part of the device's,
/// whichever is smaller. Pre: lives no longer than the device.
struct RankRates {
  std::array<ScaledCurve, 4> full;  ///< fp32: contraction, convolution, attention, recurrent
  std::array<ScaledCurve, 4> low;   ///< the low precision, likewise
  ScaledCurve memory;               ///< streaming, bytes/s
  ScaledCurve elementwise;
  ScaledCurve reduce;
  double launch_s = 0;                  ///< overhead of one eager operator
  bool overlaps_launch = false;         ///< gpu: the host runs ahead of the device
  Quality quality = Quality::measured;  ///< the worst curve in use

  const ScaledCurve& arithmetic(OpClass op_class, bool low_precision) const;
  const ScaledCurve& bytes(OpClass op_class) const;
};

/// `low` may be fp32 where no low precision is meant. Pre: threads >= 1, ranks_on_device >= 1.
RankRates rank_rates(const Device& device, int threads, int ranks_on_device, DType low);

/// Is low-precision arithmetic worth casts on this device: at least kWorthwhileSpeedup times the
/// fp32 rate at the largest size that both curves know? False when either was never measured or
/// stated.
bool low_precision_pays(const Device& device, DType low);

/// Arithmetic rate classes are those that have FLOPs worth counting.
constexpr bool is_arithmetic(OpClass c) {
  return c == OpClass::contraction || c == OpClass::convolution || c == OpClass::attention ||
         c == OpClass::recurrent;
}

}  // namespace parallel_opt
