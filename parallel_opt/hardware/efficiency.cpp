#include "parallel_opt/hardware/efficiency.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/base/embedded.h"

namespace parallel_opt {
namespace {

/// Output tile of one matmul kernel and the share of the peak that a full wave of it reaches.
struct Tile {
  double rows;
  double columns;
  double share;
};

// As in validation/efficiency_model.py.
constexpr Tile kTiles[] = {{256, 128, 1.0}, {128, 256, 1.0}, {128, 128, 0.97}, {128, 64, 0.85},
                           {64, 128, 0.85}, {64, 64, 0.7},   {64, 32, 0.5},    {64, 16, 0.3}};
constexpr double kSettleSeconds = 1e-3;
constexpr double kMedianUnits = 100;
constexpr double kQueriesOfATile = 128;

double wave_share(double m, double n, double batch, double units) noexcept {
  double best = 0;
  for (const Tile& tile : kTiles) {
    const double tiles = batch * std::ceil(m / tile.rows) * std::ceil(n / tile.columns);
    const double waves = std::ceil(tiles / units);
    best = std::max(best, tile.share * batch * m * n / (tile.rows * tile.columns * waves * units));
  }
  return best;
}

/// The host launches while the device works: the longer one counts, with a soft corner.
double overlap(double launch, double work) noexcept {
  const double a = launch * launch;
  const double b = work * work;
  return std::sqrt(std::sqrt(a * a + b * b));
}

double bytes_of(std::string_view dtype) noexcept {
  if (dtype == "fp32" || dtype == "tf32") return 4;
  return dtype == "fp8" || dtype == "int8" ? 1 : 2;
}

template <class Curve>
const Curve* find_curve(const std::vector<Curve>& curves, std::string_view device,
                        std::string_view kernel, std::string_view dtype, Direction direction) {
  const auto found = std::ranges::find_if(curves, [&](const Curve& curve) {
    return curve.device == device && curve.kernel == kernel && curve.dtype == dtype &&
           curve.direction == direction;
  });
  return found == curves.end() ? nullptr : &*found;
}

/// The device's own curve, else the median one with the device's peak and bandwidth.
template <class Curve>
std::optional<Curve> curve_for(const std::vector<Curve>& curves, const DeviceRecord& device,
                               std::string_view kernel, std::string_view dtype,
                               Direction direction) {
  if (const Curve* own = find_curve(curves, device.name, kernel, dtype, direction)) return *own;
  const Curve* median = find_curve(curves, "any", kernel, dtype, direction);
  // Eager fp32 matmuls run as tf32 in the profiles where the device has it.
  const bool alone = kernel == "matmul" || kernel == "attention" || kernel.starts_with("optimizer");
  const bool eager = !alone && dtype == "fp32" && device.flops_per_s.contains("tf32");
  const auto peak = device.flops_per_s.find(eager ? "tf32" : std::string(dtype));
  if (median == nullptr || peak == device.flops_per_s.end()) return std::nullopt;
  Curve curve = *median;
  curve.device = device.name;
  curve.peak_flops_per_s *= peak->second.value;
  curve.bytes_per_s *= device.memory_bytes_per_s.value;
  return curve;
}

}  // namespace

const EfficiencyTable& load_efficiency() {
  static const EfficiencyTable table = [] {
    EfficiencyTable all;
    for (const EmbeddedFile& file : embedded_files()) {
      if (!file.name.starts_with("data/efficiency/")) continue;
      EfficiencyTable part = from_json<EfficiencyTable>(file.bytes, std::string(file.name));
      std::ranges::move(part.matmuls, std::back_inserter(all.matmuls));
      std::ranges::move(part.operators, std::back_inserter(all.operators));
      std::ranges::move(part.collectives, std::back_inserter(all.collectives));
    }
    return all;
  }();
  return table;
}

std::optional<MatmulCurve> matmul_curve(const DeviceRecord& device, std::string_view kernel,
                                        std::string_view dtype, Direction direction) {
  std::optional<MatmulCurve> curve =
      curve_for(load_efficiency().matmuls, device, kernel, dtype, direction);
  if (curve && curve->rows == 0) {
    curve->units = device.units ? device.units->value : kMedianUnits;
  }
  return curve;
}

std::optional<OperatorCurve> operator_curve(const DeviceRecord& device, std::string_view kernel,
                                            std::string_view dtype, Direction direction) {
  return curve_for(load_efficiency().operators, device, kernel, dtype, direction);
}

const CollectiveCurve* collective_curve(std::string_view device, std::string_view kernel,
                                        int ranks) {
  const std::vector<CollectiveCurve>& curves = load_efficiency().collectives;
  const auto found = std::ranges::find_if(curves, [&](const CollectiveCurve& curve) {
    return curve.device == device && curve.kernel == kernel && curve.ranks == ranks;
  });
  return found == curves.end() ? nullptr : &*found;
}

Seconds gemm_time(const MatmulCurve& curve, double batch, double m, double n, double k) noexcept {
  if (!(batch > 0 && m > 0 && n > 0 && k > 0)) return Seconds(curve.launch_s);
  const double share =
      wave_share(m, n, batch, curve.units) * curve.efficiency * k / (k + curve.k_half);
  const double size = bytes_of(curve.dtype);
  const double arithmetic = 2 * batch * m * n * k / (curve.peak_flops_per_s * share);
  const double memory = size * batch * (m * n + m * k + n * k) / curve.bytes_per_s;
  const double busy = std::max(arithmetic, memory);
  const double settled = busy * (1 + curve.throttle * busy / (busy + kSettleSeconds));
  const double extra = curve.passes * size * batch * m * n / curve.bytes_per_s;
  return Seconds(overlap(curve.launch_s, settled + extra));
}

Seconds attention_time(const MatmulCurve& curve, double products, double batch_heads,
                       double queries, double keys, double width) noexcept {
  if (!(products > 0 && batch_heads > 0 && queries > 0 && keys > 0 && width > 0)) {
    return Seconds(curve.launch_s);
  }
  const double tiles = batch_heads * std::ceil(queries / kQueriesOfATile);
  const double share = tiles / (std::ceil(tiles / curve.units) * curve.units);
  const double flops = 2 * products * batch_heads * queries * keys * width;
  const double busy =
      flops * (1 + curve.k_half / width) / (curve.peak_flops_per_s * curve.efficiency * share);
  return Seconds(overlap(curve.launch_s, busy));
}

Seconds operator_time(const OperatorCurve& curve, double bytes, double width,
                      double flops) noexcept {
  if (!(bytes > 0 && width > 0 && flops >= 0)) return Seconds(curve.launch_s);
  const double memory =
      curve.passes * bytes / curve.bytes_per_s * std::pow(width / 1024, curve.width_exponent);
  const double arithmetic = flops / (curve.peak_flops_per_s * curve.efficiency);
  return Seconds(overlap(curve.launch_s, memory + arithmetic));
}

Seconds collective_time(const CollectiveCurve& curve, double bytes) noexcept {
  const double size = std::max(0.0, bytes);
  return Seconds(curve.latency_s + curve.s_per_byte * size +
                 std::sqrt(curve.fill_s2_per_byte * size));
}

}  // namespace parallel_opt
