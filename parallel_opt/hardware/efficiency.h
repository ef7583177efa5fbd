#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/units.h"
#include "parallel_opt/hardware/device_record.h"

/// How far below its data sheet a device runs one call, by kind of operator and size: curves of a
/// few physical parameters, fitted by validation/fit_efficiency.py to published measurements and
/// kept in data/efficiency/. docs/hardware.md has the formulas and how well they predict rows that
/// the fit never saw.
namespace parallel_opt {

/// Which way a curve was taken: a matmul of a backward pass is one of its two products.
enum class Direction { forward, backward };

constexpr auto enum_names(Direction) {
  return std::to_array<std::string_view>({"forward", "backward"});
}

/// Matrix multiplies of one device, element type and software.
struct MatmulCurve {
  std::string device;  ///< name in the database; "any": of a device nobody measured
  /// "matmul": the kernel alone; "linear", "qkv": an eager module around it; "attention": fused,
  /// for attention_time(): `efficiency` is then that of endless heads, `k_half` a width of heads.
  std::string kernel;
  std::string dtype;  ///< "fp16", "bf16", "fp32", "tf32", "fp8"
  Direction direction = Direction::forward;
  double peak_flops_per_s = 0;  ///< dense; "any": times that of the device that asks
  double bytes_per_s = 0;       ///< reached from memory
  double units = 0;             ///< multiprocessors that tiles are dealt to
  double efficiency = 1;        ///< share of the peak for one long full wave
  double k_half = 0;            ///< inner size at which half of that is reached
  double launch_s = 0;          ///< host time of one call: hidden behind a longer kernel
  double throttle = 0;          ///< how much slower calls of many milliseconds run: the clock falls
  double passes = 0;            ///< extra passes over the result: bias, split, transpose
  int rows = 0;                 ///< measurements behind it
  Quality quality = Quality::calibrated;
  std::string source;
  bool operator==(const MatmulCurve&) const = default;
};

/// Operators that move memory: norm, softmax, dropout, elementwise, attention's inner parts, loss,
/// optimizer steps.
struct OperatorCurve {
  std::string device;
  /// "norm", "softmax", "dropout", "elementwise", "attention_score", ..., "optimizer" (AdamW over
  /// lists of tensors, bytes of the parameters), "optimizer_fused"
  std::string kernel;
  std::string dtype;
  Direction direction = Direction::forward;
  double peak_flops_per_s = 0;
  double bytes_per_s = 0;     ///< peak of the memory
  double passes = 0;          ///< over the larger operand at that peak
  double launch_s = 0;        ///< host time of one call
  double width_exponent = 0;  ///< time grows with (row width / 1024) to this power
  double efficiency = 1;      ///< of the multiplies inside
  int rows = 0;
  Quality quality = Quality::calibrated;
  std::string source;
  bool operator==(const OperatorCurve&) const = default;
};

/// One collective over `ranks` devices of one node.
struct CollectiveCurve {
  std::string device;
  std::string kernel;  ///< "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"
  int ranks = 0;
  double latency_s = 0;         ///< alpha
  double s_per_byte = 0;        ///< beta, of the payload as nccl-tests counts it
  double fill_s2_per_byte = 0;  ///< pipeline fill: its square root grows with the square root
  int rows = 0;
  Quality quality = Quality::calibrated;
  std::string source;
  bool operator==(const CollectiveCurve&) const = default;
};

struct EfficiencyTable {
  std::vector<MatmulCurve> matmuls;
  std::vector<OperatorCurve> operators;
  std::vector<CollectiveCurve> collectives;
};

/// Everything under data/efficiency/, read once.
const EfficiencyTable& load_efficiency();

/// The device's own curve, else the median curve with its peak, bandwidth and units (`modelled`).
/// Empty when nobody measured the class, or the device has no such peak.
std::optional<MatmulCurve> matmul_curve(const DeviceRecord& device, std::string_view kernel,
                                        std::string_view dtype,
                                        Direction direction = Direction::forward);
std::optional<OperatorCurve> operator_curve(const DeviceRecord& device, std::string_view kernel,
                                            std::string_view dtype,
                                            Direction direction = Direction::forward);
/// Measured ones only: nullptr when there is none.
const CollectiveCurve* collective_curve(std::string_view device, std::string_view kernel,
                                        int ranks);

/// One call of `batch` products m x k by k x n: tiles dealt to units in waves, k long enough to
/// fill them, the memory's ceiling, the clock under load; the host's launch is hidden when it is
/// shorter.
Seconds gemm_time(const MatmulCurve& curve, double batch, double m, double n, double k) noexcept;
/// One call of a fused attention kernel (matmul_curve() of "attention"): `products` over each head
/// (2 forward, 5 backward, one of them again), 128 queries of a head dealt to a unit at a time, and
/// beside every score's products, which grow with the width of a head, its exponential, which does
/// not. `keys`: as many as a query sees, in the mean.
Seconds attention_time(const MatmulCurve& curve, double products, double batch_heads,
                       double queries, double keys, double width) noexcept;
/// One call over `bytes` (elements times their size) in rows of `width` elements, with `flops` of
/// multiplies inside (attention's inner parts, the loss's projection).
Seconds operator_time(const OperatorCurve& curve, double bytes, double width = 1024,
                      double flops = 0) noexcept;
/// alpha + beta size + sqrt(fill size).
Seconds collective_time(const CollectiveCurve& curve, double bytes) noexcept;

template <class Visitor, class T>
  requires SameAs<T, MatmulCurve>
void fields(Visitor& visit, T& curve) {
  visit("device", curve.device, "name in the database, or any");
  visit("kernel", curve.kernel, "matmul, linear, qkv, attention");
  visit("dtype", curve.dtype, "element type");
  visit("direction", curve.direction, "forward or backward");
  visit("peak_flops_per_s", curve.peak_flops_per_s, "dense peak");
  visit("bytes_per_s", curve.bytes_per_s, "reached from memory");
  visit("units", curve.units, "multiprocessors");
  visit("efficiency", curve.efficiency, "share of the peak for a long full wave");
  visit("k_half", curve.k_half, "inner size at which half of that is reached");
  visit("launch_s", curve.launch_s, "host time of one call");
  visit("throttle", curve.throttle, "slowdown of long calls");
  visit("passes", curve.passes, "extra passes over the result");
  visit("rows", curve.rows, "measurements behind it");
  visit("quality", curve.quality, "calibrated or modelled");
  visit("source", curve.source, "whose measurements");
}

template <class Visitor, class T>
  requires SameAs<T, OperatorCurve>
void fields(Visitor& visit, T& curve) {
  visit("device", curve.device, "name in the database, or any");
  visit("kernel", curve.kernel, "norm, softmax, elementwise, ...");
  visit("dtype", curve.dtype, "element type");
  visit("direction", curve.direction, "forward or backward");
  visit("peak_flops_per_s", curve.peak_flops_per_s, "dense peak");
  visit("bytes_per_s", curve.bytes_per_s, "peak of the memory");
  visit("passes", curve.passes, "over the larger operand");
  visit("launch_s", curve.launch_s, "host time of one call");
  visit("width_exponent", curve.width_exponent, "of row width over 1024");
  visit("efficiency", curve.efficiency, "of the multiplies inside");
  visit("rows", curve.rows, "measurements behind it");
  visit("quality", curve.quality, "calibrated or modelled");
  visit("source", curve.source, "whose measurements");
}

template <class Visitor, class T>
  requires SameAs<T, CollectiveCurve>
void fields(Visitor& visit, T& curve) {
  visit("device", curve.device, "name in the database, or unknown");
  visit("kernel", curve.kernel, "all_reduce, all_gather, ...");
  visit("ranks", curve.ranks, "devices that take part");
  visit("latency_s", curve.latency_s, "alpha");
  visit("s_per_byte", curve.s_per_byte, "beta");
  visit("fill_s2_per_byte", curve.fill_s2_per_byte, "pipeline fill");
  visit("rows", curve.rows, "measurements behind it");
  visit("quality", curve.quality, "calibrated");
  visit("source", curve.source, "whose measurements");
}

template <class Visitor, class T>
  requires SameAs<T, EfficiencyTable>
void fields(Visitor& visit, T& table) {
  visit.schema("parallel-opt/efficiency/1");
  visit.optional("matmuls", table.matmuls, "matrix multiplies");
  visit.optional("operators", table.operators, "operators that move memory");
  visit.optional("collectives", table.collectives, "collectives inside a node");
}

}  // namespace parallel_opt
