#include "parallel_opt/cost/rates.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "parallel_opt/cost/parameters.h"

namespace parallel_opt {
namespace {

using Names = std::array<std::string_view, 5>;  ///< best first, the rest empty

/// Curves that stand for a family, the best first.
Names curves_of(Kernel kernel) {
  static constexpr Names kMatmul = {"matmul"};
  static constexpr Names kAttention = {"attention", "matmul"};
  static constexpr Names kAttentionBackward = {"attention_backward", "attention", "matmul"};
  static constexpr Names kRecurrent = {"recurrent", "matmul"};
  static constexpr Names kRecurrentBackward = {"recurrent_backward", "recurrent", "matmul"};
  static constexpr Names kConvolution = {"convolution", "convolution_channels_last", "matmul"};
  static constexpr Names kConvolutionBackward = {
      "convolution_backward", "convolution_backward_channels_last", "convolution",
      "convolution_channels_last", "matmul"};
  static constexpr Names kLast = {"convolution_channels_last", "convolution", "matmul"};
  static constexpr Names kLastBackward = {"convolution_backward_channels_last",
                                          "convolution_backward", "convolution_channels_last",
                                          "convolution", "matmul"};
  switch (kernel) {
    case Kernel::attention:
      return kAttention;
    case Kernel::attention_backward:
      return kAttentionBackward;
    case Kernel::recurrent:
      return kRecurrent;
    case Kernel::recurrent_backward:
      return kRecurrentBackward;
    case Kernel::convolution:
      return kConvolution;
    case Kernel::convolution_backward:
      return kConvolutionBackward;
    case Kernel::convolution_channels_last:
      return kLast;
    case Kernel::convolution_backward_channels_last:
      return kLastBackward;
    default:
      return kMatmul;
  }
}

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

/// Arithmetic: the first of `kernels` that is known for this dtype.
ScaledCurve first_known(const Device& device, const Names& kernels, DType dtype, int threads) {
  for (const std::string_view kernel : kernels) {
    if (kernel.empty()) break;
    const ScaledCurve found = scaled(device, kernel, dtype, threads);
    if (found.curve) return found;
  }
  return {};
}

/// Bytes moved: the dtype hardly matters, so a curve without one or for fp32 serves.
ScaledCurve first_known(const Device& device, const Names& kernels, int threads) {
  for (const std::string_view kernel : kernels) {
    if (kernel.empty()) break;
    for (const std::optional<DType> dtype : {std::optional<DType>(), std::optional(DType::fp32)}) {
      const ScaledCurve found = scaled(device, kernel, dtype, threads);
      if (found.curve) return found;
    }
  }
  return {};
}

void tell_what_is_measured(const Device& device, int threads, DType low, RankRates& rates) {
  const auto known = [&](std::string_view kernel, std::optional<DType> dtype) {
    return find_rate(device, kernel, dtype, threads) != nullptr;
  };
  for (const bool is_low : {false, true}) {
    const DType dtype = is_low ? low : DType::fp32;
    rates.layouts_measured[is_low ? 1 : 0] =
        known("convolution", dtype) && known("convolution_channels_last", dtype);
  }
  const bool cpu = device.kind == DeviceKind::cpu;
  rates.optimizer_loops = {cpu && known("optimizer", std::nullopt),
                           cpu && known("optimizer_fused", std::nullopt)};
}

}  // namespace

double ScaledCurve::at(double size) const {
  const double rate = curve ? factor * rate_at(*curve, size) : factor;
  return shared ? std::min(rate, share * rate_at(*shared, size)) : rate;
}

Kernel kernel_of(OpClass op_class, bool backward, bool channels_last) {
  switch (op_class) {
    case OpClass::attention:
      return backward ? Kernel::attention_backward : Kernel::attention;
    case OpClass::recurrent:
      return backward ? Kernel::recurrent_backward : Kernel::recurrent;
    case OpClass::convolution:
      if (channels_last) {
        return backward ? Kernel::convolution_backward_channels_last
                        : Kernel::convolution_channels_last;
      }
      return backward ? Kernel::convolution_backward : Kernel::convolution;
    default:
      return Kernel::contraction;
  }
}

const ScaledCurve& RankRates::bytes(OpClass op_class, bool heavy, bool by_channel,
                                    bool backward) const {
  if (heavy) return activation[backward ? 1 : 0];
  if (by_channel) return batch_norm[backward ? 1 : 0];
  if (op_class == OpClass::pooling && !backward) return pooling;
  if (op_class == OpClass::embedding) return embedding[backward ? 1 : 0];
  if (op_class == OpClass::copy) return copy;
  if (is_arithmetic(op_class)) return memory;
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
  // More threads than cores take turns.
  const double turns =
      cpu ? std::max(1.0, double(threads) * ranks_on_device / cores_of(device)) : 1.0;
  rates.launch_s = turns * (device.launch_s ? device.launch_s->value : param::kAssumedLaunchS);
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
  for (std::size_t i = 0; i < kKernels; ++i) {
    const Names names = curves_of(static_cast<Kernel>(i));
    rates.full[i] = use(first_known(device, names, DType::fp32, threads), flops);
    const ScaledCurve curve = first_known(device, names, low, threads);
    // Without a curve of its own the low precision is taken to run like fp32: no gain is invented.
    rates.low[i] = curve.curve ? use(curve, flops) : rates.full[i];
    rates.full[i].factor /= turns;
    rates.low[i].factor /= turns;
  }
  const double bandwidth = cpu ? param::kAssumedCpuBytesPerS : param::kAssumedGpuBytesPerS;
  const auto shared = [&](const Names& kernels) {
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
  // Of a GPU a probe times torch's own copies.
  rates.memory = cpu ? shared({"memory", "elementwise"}) : shared({"copy", "memory"});
  rates.copy = shared({"copy", "memory", "elementwise"});
  rates.elementwise = shared({"elementwise", "memory"});
  rates.reduce = shared({"reduce", "elementwise", "memory"});
  rates.batch_norm = {shared({"batch_norm", "reduce", "elementwise", "memory"}),
                      shared({"batch_norm_backward", "reduce", "elementwise", "memory"})};
  rates.pooling = shared({"pooling", "elementwise", "memory"});
  rates.embedding = {shared({"embedding", "elementwise", "memory"}),
                     shared({"embedding_backward", "elementwise", "memory"})};
  rates.activation = {shared({"activation", "elementwise", "memory"}),
                      shared({"activation_backward", "activation", "elementwise", "memory"})};
  rates.optimizer = {shared({"optimizer", "elementwise", "memory"}),
                     shared({"optimizer_fused", "elementwise", "memory"})};
  tell_what_is_measured(device, threads, low, rates);
  return rates;
}

bool low_precision_pays(const Device& device, DType low) {
  for (const std::string& set : device.instruction_sets) {
    if (low == DType::bf16 && (set == "avx512_bf16" || set == "amx_bf16")) return true;
  }
  for (const int threads : {0, 1}) {
    const RateCurve* slow = find_rate(device, "matmul", DType::fp32, threads);
    const RateCurve* fast = find_rate(device, "matmul", low, threads);
    if (!slow || !fast || slow->points.empty() || slow->threads != fast->threads) continue;
    for (const RatePoint& point : fast->points) {
      const double known = slow->points.back().size;
      if (point.size > known || point.size < slow->points.front().size) continue;
      const double speedup = point.per_second / rate_at(*slow, point.size);
      if (speedup >= cost_parameter::kWorthwhileSpeedup) return true;
    }
  }
  return false;
}

}  // namespace parallel_opt
