#include "parallel_opt/hardware/probe.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "parallel_opt/hardware/probe_cache.h"
#include "parallel_opt/hardware/probe_host.h"

namespace parallel_opt {
namespace {

double percentile(const std::vector<double>& sorted, double share) {
  const double at = share * double(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - double(below));
}

/// A rate is bytes over time, so the slow end of the time is the low end of the rate.
RatePoint rate_point(double bytes, const Timing& timing) {
  return {bytes, bytes / timing.median_s};
}

/// Bytes moved per copy: in the first-level cache, in the second, in the last, in memory.
constexpr std::int64_t kCopySizes[] = {65536, 1048576, 8388608, 67108864};
/// Message sizes for the fit: a factor of four apart, 64 B to 4 MiB.
constexpr std::int64_t kMessages[] = {64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304};

RateCurve copy_curve(const std::vector<int>& cores, int threads, double budget_s) {
  RateCurve curve{"memory", std::nullopt, threads, {}, Quality::measured, ""};
  for (const std::int64_t bytes : kCopySizes) {
    const Timing timing = time_copy(bytes, cores, {.budget_s = budget_s / std::size(kCopySizes)});
    curve.points.push_back(rate_point(double(bytes), timing));
  }
  return curve;
}

void add_link(ProbeSet& set, const char* type, Transport transport, const std::vector<int>& cores,
              double budget_s) {
  std::vector<TransferPoint> points;
  for (const std::int64_t bytes : kMessages) {
    const auto timing =
        time_transfer(transport, bytes, cores, {.budget_s = budget_s / std::size(kMessages)});
    if (!timing) {
      set.notes.push_back(std::string(type) + ": could not be opened, not measured");
      return;
    }
    points.push_back({double(bytes), timing->low_s});
  }
  const TransferFit fit = fit_transfer(points);
  set.links.push_back({DeviceId(0), DeviceId(0), type, fit.latency_s, fit.bytes_per_s});
}

/// Above this no line fits: buffers and traffic shapers let small messages through at once.
constexpr double kMostResidual = 0.2;

/// Root mean square of the relative errors of a line, over messages of at least `least` bytes.
double residual_of(const std::vector<TransferPoint>& points, double latency, double rate,
                   double least) {
  double sum = 0;
  int count = 0;
  for (const TransferPoint& p : points) {
    if (p.bytes < least) continue;
    const double relative = (latency + p.bytes / rate) / p.seconds - 1;
    sum += relative * relative;
    ++count;
  }
  return std::min(0.9, std::sqrt(sum / std::max(1, count)));
}

/// The rate between the two largest messages, and what is left of the smallest one's time. The rate
/// is as sure as large messages follow it, the latency as all do.
TransferFit fit_large(std::vector<TransferPoint> points, double residual) {
  std::ranges::sort(points, {}, &TransferPoint::bytes);
  const TransferPoint& smallest = points.front();
  const TransferPoint& largest = points.back();
  const TransferPoint& second = points[points.size() - 2];
  const bool rises = largest.bytes > second.bytes && largest.seconds > second.seconds;
  const double rate = rises ? (largest.bytes - second.bytes) / (largest.seconds - second.seconds)
                            : largest.bytes / largest.seconds;
  const double latency = std::clamp(smallest.seconds - smallest.bytes / rate,
                                    smallest.seconds * 0.1, smallest.seconds);
  const double large = residual_of(points, latency, rate, largest.bytes / 16);
  return {within(latency, residual, Quality::measured), within(rate, large, Quality::measured)};
}

}  // namespace

Timing repeat_until_stable(const std::function<double()>& round, const RepeatLimits& limits) {
  std::vector<double> times;
  double spent = round();
  while (true) {
    times.push_back(round());
    spent += times.back();
    const int rounds = static_cast<int>(times.size());
    if (rounds < limits.least_rounds) continue;
    std::vector<double> sorted = times;
    std::ranges::sort(sorted);
    const double median = percentile(sorted, 0.5);
    const double spread = percentile(sorted, 0.75) - percentile(sorted, 0.25);
    const bool enough = rounds >= 2 * limits.least_rounds && spread <= limits.stable * median;
    if (enough || spent >= limits.budget_s || rounds >= limits.most_rounds) {
      return {median, percentile(sorted, 0.1), percentile(sorted, 0.9), rounds};
    }
  }
}

TransferFit fit_transfer(const std::vector<TransferPoint>& points) {
  PO_CHECK(points.size() >= 2, "a line needs two points");
  double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
  for (const TransferPoint& p : points) {
    const double weight = 1 / (p.seconds * p.seconds);
    w += weight;
    wx += weight * p.bytes;
    wy += weight * p.seconds;
    wxx += weight * p.bytes * p.bytes;
    wxy += weight * p.bytes * p.seconds;
  }
  const double slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
  double latency = (wy - slope * wx) / w;
  const auto by_size = [](const TransferPoint& a, const TransferPoint& b) {
    return a.bytes < b.bytes;
  };
  const TransferPoint smallest = *std::ranges::min_element(points, by_size);
  const TransferPoint largest = *std::ranges::max_element(points, by_size);
  // Noise may turn the line: physics says that both are positive.
  latency = std::clamp(latency, smallest.seconds * 0.1, smallest.seconds);
  const double rate = slope > 0 ? 1 / slope : largest.bytes / largest.seconds;
  const double residual = residual_of(points, latency, rate, 0);
  if (residual <= kMostResidual) {
    return {within(latency, residual, Quality::measured),
            within(rate, residual, Quality::measured)};
  }
  return fit_large(points, residual);
}

ProbeSet probe_host(const Device& device, double budget_s) {
  PO_CHECK(device.kind == DeviceKind::cpu, "host probes run on CPU devices");
  const auto start = std::chrono::steady_clock::now();
  ProbeSet set;
  set.uuid = device.uuid;
  set.device = device.name;
  set.date = today();
  std::vector<int> cores = device.cores;
  if (device.physical_cores > 0) cores.resize(std::size_t(device.physical_cores));
  if (cores.empty()) cores.push_back(-1);
  const std::vector<int> one(cores.begin(), cores.begin() + 1);
  set.rates.push_back(copy_curve(one, cores.size() == 1 ? 0 : 1, budget_s * 0.25));
  if (cores.size() > 1) set.rates.push_back(copy_curve(cores, 0, budget_s * 0.25));
  add_link(set, "shared-memory", Transport::shared_memory, cores, budget_s * 0.25);
  add_link(set, "loopback", Transport::loopback, cores, budget_s * 0.25);
  for (RateCurve& curve : set.rates) curve.source = "probe " + set.date;
  set.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return set;
}

}  // namespace parallel_opt
