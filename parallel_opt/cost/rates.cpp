#include "parallel_opt/cost/rates.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "parallel_opt/cost/parameters.h"

namespace parallel_opt {
namespace {

constexpr std::array<std::string_view, 4> kKernels = {"matmul", "convolution", "attention",
                                                      "matmul"};

int cores_of(const Device& device) { return std::max<int>(1, int(device.cores.size())); }

/// The curve for `threads`, carried over from the nearest count that was measured: in proportion to
/// threads from fewer, never above the whole device.
ScaledCurve scaled(const Device& device, std::string_view kernel, std::optional<DType> dtype,
                   int threads) {
  const int cores = cores_of(device);
  const bool whole = device.kind == DeviceKind::gpu || threads >= cores;
  const RateCurve* curve = find_rate(device, kernel, dtype, whole ? 0 : threads);
  if (!curve || curve->points.empty()) return {};
  if (device.kind == DeviceKind::gpu) return {curve, 1};
  const int measured = curve->threads == 0 ? cores : curve->threads;
  return {curve, double(std::min(threads, cores)) / measured};
}

using Kernels = std::initializer_list<std::string_view>;

/// Arithmetic: the first of `kernels` that is known for this dtype.
ScaledCurve first_known(const Device& device, Kernels kernels, DType dtype, int threads) {
  for (const std::string_view kernel : kernels) {
    const ScaledCurve found = scaled(device, kernel, dtype, threads);
    if (found.curve) return found;
  }
  return {};
}

/// Bytes moved: the dtype hardly matters, so a curve without one or for fp32 serves.
ScaledCurve first_known(const Device& device, Kernels kernels, int threads) {
  for (const std::string_view kernel : kernels) {
    for (const std::optional<DType> dtype : {std::optional<DType>(), std::optional(DType::fp32)}) {
      const ScaledCurve found = scaled(device, kernel, dtype, threads);
      if (found.curve) return found;
    }
  }
  return {};
}

}  // namespace

double ScaledCurve::at(double size) const {
  const double rate = curve ? factor * rate_at(*curve, size) : factor;
  return shared ? std::min(rate, share * rate_at(*shared, size)) : rate;
}

const ScaledCurve& RankRates::arithmetic(OpClass op_class, bool low_precision) const {
  const auto& table = low_precision ? low : full;
  switch (op_class) {
    case OpClass::convolution:
      return table[1];
    case OpClass::attention:
      return table[2];
    case OpClass::recurrent:
      return table[3];
    default:
      return table[0];
  }
}

const ScaledCurve& RankRates::bytes(OpClass op_class) const {
  if (is_arithmetic(op_class) || op_class == OpClass::copy) return memory;
  if (op_class == OpClass::reduction || op_class == OpClass::normalization ||
      op_class == OpClass::softmax || op_class == OpClass::loss) {
    return reduce;
  }
  return elementwise;
}

RankRates rank_rates(const Device& device, int threads, int ranks_on_device, DType low) {
  namespace param = cost_parameter;
  const bool cpu = device.kind == DeviceKind::cpu;
  RankRates rates;
  rates.launch_s = device.launch_s ? device.launch_s->value : param::kAssumedLaunchS;
  rates.overlaps_launch = !cpu;
  rates.quality = device.launch_s ? device.launch_s->quality : Quality::assumed;
  const auto use = [&](ScaledCurve curve, double assumed) {
    if (curve.curve) {
      rates.quality = worst(rates.quality, curve.curve->quality);
      return curve;
    }
    rates.quality = Quality::assumed;
    return ScaledCurve{nullptr, assumed};
  };
  const double flops = cpu ? param::kAssumedCpuFlopsPerCore * threads : param::kAssumedGpuFlops;
  for (std::size_t i = 0; i < kKernels.size(); ++i) {
    rates.full[i] = use(first_known(device, {kKernels[i], "matmul"}, DType::fp32, threads), flops);
    const ScaledCurve curve = first_known(device, {kKernels[i], "matmul"}, low, threads);
    // Without a curve of its own the low precision is taken to run like fp32: no gain is invented.
    rates.low[i] = curve.curve ? use(curve, flops) : rates.full[i];
  }
  const double bandwidth = cpu ? param::kAssumedCpuBytesPerS : param::kAssumedGpuBytesPerS;
  const auto shared = [&](Kernels kernels) {
    ScaledCurve curve = use(first_known(device, kernels, threads), bandwidth);
    if (!cpu || ranks_on_device <= 1) return curve;
    // One rank's threads may draw more than its part when it runs alone; together they may not.
    const ScaledCurve all = first_known(device, kernels, cores_of(device));
    if (all.curve) {
      curve.shared = all.curve;
      curve.share = all.factor / ranks_on_device;
    } else {
      curve.factor /= ranks_on_device;
    }
    return curve;
  };
  rates.memory = shared({"memory", "elementwise"});
  rates.elementwise = shared({"elementwise", "memory"});
  rates.reduce = shared({"reduce", "elementwise", "memory"});
  return rates;
}

bool low_precision_pays(const Device& device, DType low) {
  const RateCurve* slow = find_rate(device, "matmul", DType::fp32, 0);
  const RateCurve* fast = find_rate(device, "matmul", low, 0);
  if (!slow || !fast || slow->points.empty() || fast->points.empty()) return false;
  const double size = std::min(slow->points.back().size, fast->points.back().size);
  return rate_at(*fast, size) >= cost_parameter::kWorthwhileSpeedup * rate_at(*slow, size);
}

}  // namespace parallel_opt
