#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// Everything measured on one device in one go; what the cache keeps. The kernels of PyTorch come
/// from python/parallel_opt/probe.py, memory and transfers from probe_host.
struct ProbeSet {
  std::string uuid;      ///< Device::uuid
  std::string device;    ///< Device::name
  std::string software;  ///< "torch 2.13.0+cpu"; empty: no framework was measured
  std::string date;      ///< "2026-11-21", UTC
  double wall_s = 0;     ///< what measuring cost
  std::vector<RateCurve> rates;
  std::optional<Uncertain> launch_s;           ///< one eager operator, forward, no autograd
  std::optional<Uncertain> launch_autograd_s;  ///< forward and backward of one eager operator
  std::vector<Link> links;                     ///< a == b == 0: between ranks on this device
  bool busy = false;  ///< others used the machine: good for now, to be taken again
  std::vector<std::string> notes;
  bool operator==(const ProbeSet&) const = default;
};

/// What `parallel-opt probe --json` and `python -m parallel_opt.probe --json` print.
struct ProbeReport {
  std::vector<ProbeSet> sets;
  std::vector<std::string> notes;
  bool operator==(const ProbeReport&) const = default;
};

/// Time of one repeated action.
struct Timing {
  double median_s = 0;
  double low_s = 0;   ///< 10th percentile
  double high_s = 0;  ///< 90th percentile
  int rounds = 0;
  bool operator==(const Timing&) const = default;
};

struct RepeatLimits {
  double budget_s = 0.05;  ///< no new round starts after it
  int least_rounds = 3;    ///< even when they take longer
  int most_rounds = 200;
  double stable = 0.05;  ///< stop when half of the rounds lie within this share of the median
};

/// Repeats `round`, which returns its own seconds, until the times are stable or the budget is
/// spent. One round before that is thrown away: it pays for page faults and cold caches.
Timing repeat_until_stable(const std::function<double()>& round, const RepeatLimits& limits);

/// Least-squares fit of T(n) = latency + n / bandwidth, each point weighted by 1 / T^2 so that
/// small and large messages count alike. The intervals hold the relative residual. Where no line
/// fits within 20 % (shaped links let a burst through at once), the rate is that between the two
/// largest sizes. Pre: two sizes.
struct TransferPoint {
  double bytes = 0;
  double seconds = 0;
};
struct TransferFit {
  Uncertain latency_s;
  Uncertain bytes_per_s;
};
TransferFit fit_transfer(const std::vector<TransferPoint>& points);

/// Streaming copies by size on one thread and on all cores of the device, and the two ways between
/// its ranks ("shared-memory", "loopback"), within about `budget_s` seconds. Leaves the affinity of
/// the calling thread alone. Pre: a CPU device of this host.
ProbeSet probe_host(const Device& device, double budget_s);

template <class Visitor, class T>
  requires SameAs<T, ProbeSet>
void fields(Visitor& visit, T& set) {
  visit.schema("parallel-opt/probes/1");
  visit("uuid", set.uuid, "identity of the device");
  visit("device", set.device, "its name");
  visit.optional("software", set.software, "framework whose kernels were measured");
  visit("date", set.date, "day of the measurement, UTC");
  visit.optional("wall_s", set.wall_s, "seconds that measuring took");
  visit.optional("rates", set.rates, "rate curves");
  visit("launch_s", set.launch_s, "one eager operator, forward, seconds");
  visit("launch_autograd_s", set.launch_autograd_s, "forward and backward of one eager operator");
  visit.optional("links", set.links, "between ranks on the device (a = b = 0)");
  visit.optional("busy", set.busy, "others used the machine meanwhile");
  visit.optional("notes", set.notes, "what could not be measured");
}

template <class Visitor, class T>
  requires SameAs<T, ProbeReport>
void fields(Visitor& visit, T& report) {
  visit.schema("parallel-opt/probe/1");
  visit("sets", report.sets, "one per type of device");
  visit.optional("notes", report.notes, "what could not be measured or stored");
}

}  // namespace parallel_opt
