#include "parallel_opt/hardware/cluster.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "parallel_opt/base/hash.h"

namespace parallel_opt {
namespace {

class Checker {
 public:
  explicit Checker(const Cluster& cluster) : cluster_(cluster) {}

  std::vector<Fault> run(const std::string& where) {
    if (cluster_.nodes.empty()) fault(where + ".nodes", "is empty", "a cluster has a machine");
    if (cluster_.devices.empty()) {
      fault(where + ".devices", "is empty", "a cluster has something that computes");
    }
    for (std::size_t i = 0; i < cluster_.nodes.size(); ++i) {
      node(cluster_.nodes[i], where + ".nodes[" + std::to_string(i) + "]");
    }
    for (std::size_t i = 0; i < cluster_.devices.size(); ++i) {
      device(cluster_.devices[i], where + ".devices[" + std::to_string(i) + "]");
    }
    for (std::size_t i = 0; i < cluster_.links.size(); ++i) {
      link(cluster_.links[i], where + ".links[" + std::to_string(i) + "]");
    }
    return std::move(faults_);
  }

 private:
  void fault(std::string where, std::string what, std::string hint = "") {
    faults_.push_back({std::move(where), std::move(what), std::move(hint)});
  }

  void number(const Uncertain& n, const std::string& where, bool zero_allowed) {
    if (!(zero_allowed ? n.value >= 0 : n.value > 0)) {
      fault(where + ".value", zero_allowed ? "is negative" : "is not positive");
    }
    if (!(n.low <= n.value && n.value <= n.high)) {
      fault(where, "has no interval around its value", "low <= value <= high");
    }
  }

  void node(const Node& n, const std::string& where) {
    if (n.sockets < 1) fault(where + ".sockets", "is less than 1");
    if (n.cores < 1) fault(where + ".cores", "is less than 1");
    if (n.threads < 1) fault(where + ".threads", "is less than 1");
    if (n.numa_nodes < 1) fault(where + ".numa_nodes", "is less than 1");
    if (n.cpu_quota < 0) fault(where + ".cpu_quota", "is negative", "0 means no limit");
    number(n.memory_bytes, where + ".memory_bytes", false);
  }

  void device(const Device& d, const std::string& where) {
    if (d.name.empty()) fault(where + ".name", "is empty");
    if (d.node < 0 || static_cast<std::size_t>(d.node) >= cluster_.nodes.size()) {
      fault(where + ".node",
            "is " + std::to_string(d.node) + ", but there are " +
                std::to_string(cluster_.nodes.size()) + " nodes",
            "nodes count from 0");
    }
    number(d.memory_bytes, where + ".memory_bytes", false);
    for (std::size_t i = 0; i < d.cores.size(); ++i) {
      if (d.kind != DeviceKind::cpu) break;  // the cores near a GPU belong to a CPU device as well
      if (!owned_cores_.emplace(d.node, d.cores[i]).second) {
        fault(where + ".cores[" + std::to_string(i) + "]",
              "core " + std::to_string(d.cores[i]) + " belongs to another device already");
      }
    }
    for (std::size_t i = 0; i < d.rates.size(); ++i) {
      curve(d.rates[i], where + ".rates[" + std::to_string(i) + "]");
    }
    if (d.launch_s) number(*d.launch_s, where + ".launch_s", true);
    if (d.power) {
      number(d.power->idle_w, where + ".power.idle_w", true);
      number(d.power->max_w, where + ".power.max_w", false);
      if (d.power->idle_w.value > d.power->max_w.value) {
        fault(where + ".power", "idles at more watts than its maximum");
      }
    }
  }

  void curve(const RateCurve& c, const std::string& where) {
    if (c.kernel.empty()) fault(where + ".kernel", "is empty");
    if (c.threads < 0) fault(where + ".threads", "is negative", "0 means the whole device");
    if (c.points.empty()) fault(where + ".points", "is empty", "a curve has a point");
    for (std::size_t i = 0; i < c.points.size(); ++i) {
      const std::string point = where + ".points[" + std::to_string(i) + "]";
      if (!(c.points[i].size > 0)) fault(point + ".size", "is not positive");
      if (!(c.points[i].per_second > 0)) fault(point + ".per_s", "is not positive");
      if (i > 0 && !(c.points[i - 1].size < c.points[i].size)) {
        fault(point + ".size", "does not rise", "sort the points by size");
      }
    }
  }

  void link(const Link& l, const std::string& where) {
    const auto valid = [&](DeviceId id) {
      return id.valid() && id.index() < cluster_.devices.size();
    };
    const auto end = [&](DeviceId id, const char* name) {
      if (valid(id)) return;
      fault(where + "." + name,
            "is " + std::to_string(id.value) + ", but there are " +
                std::to_string(cluster_.devices.size()) + " devices",
            "devices count from 0");
    };
    end(l.a, "a");
    end(l.b, "b");
    if (!links_.emplace(std::min(l.a, l.b), std::max(l.a, l.b), l.type).second) {
      fault(where, "the same two devices have a link of type \"" + l.type + "\" already");
    }
    number(l.latency_s, where + ".latency_s", true);
    number(l.bytes_per_s, where + ".bytes_per_s", false);
  }

  const Cluster& cluster_;
  std::vector<Fault> faults_;
  std::set<std::pair<int, int>> owned_cores_;                    // (node, core)
  std::set<std::tuple<DeviceId, DeviceId, std::string>> links_;  // (lower end, higher end, type)
};

const Link* faster(const Link* a, const Link* b) {
  if (a == nullptr) return b;
  return b->bytes_per_s.value > a->bytes_per_s.value ? b : a;
}

/// Fastest link between any device of one node and any device of the other.
const Link* node_link(const Cluster& cluster, int from, int to, std::string_view type) {
  const Link* best = nullptr;
  for (const Link& link : cluster.links) {
    if (!type.empty() && link.type != type) continue;
    const int a = cluster.devices[link.a.index()].node;
    const int b = cluster.devices[link.b.index()].node;
    if ((a == from && b == to) || (a == to && b == from)) best = faster(best, &link);
  }
  return best;
}

}  // namespace

ClusterDocument document_of(const Cluster& cluster) {
  ClusterSummary summary;
  summary.nodes = static_cast<int>(cluster.nodes.size());
  summary.devices = static_cast<int>(cluster.devices.size());
  for (const Device& device : cluster.devices) ++summary.types[device.name];
  return {cluster, summary};
}

std::vector<Fault> check(const Cluster& cluster, const std::string& where) {
  return Checker(cluster).run(where);
}

std::string hardware_hash(const Cluster& cluster) {
  Hasher hash;
  hash.add(static_cast<std::int64_t>(cluster.nodes.size()));
  for (const Node& node : cluster.nodes) {
    hash.add(node.cpu_model);
    for (const int n : {node.sockets, node.cores, node.threads, node.numa_nodes}) {
      hash.add(std::int64_t(n));
    }
  }
  hash.add(static_cast<std::int64_t>(cluster.devices.size()));
  for (const Device& device : cluster.devices) {
    hash.add(device.name);
    hash.add(name_of(device.kind));
    hash.add(std::int64_t(device.node));
    hash.add(static_cast<std::int64_t>(device.cores.size()));
  }
  hash.add(static_cast<std::int64_t>(cluster.links.size()));
  for (const Link& link : cluster.links) {
    hash.add(std::int64_t(link.a.value));
    hash.add(std::int64_t(link.b.value));
    hash.add(link.type);
  }
  return hash.hex();
}

const RateCurve* find_rate(const Device& device, std::string_view kernel,
                           std::optional<DType> dtype, int threads) {
  // A curve of the whole device counts as one of all its cores, so both spellings are found.
  const int whole = std::max<int>(1, static_cast<int>(device.cores.size()));
  const int wanted = threads == 0 ? whole : threads;
  const RateCurve* below = nullptr;
  const RateCurve* smallest = nullptr;
  int below_threads = 0;
  int smallest_threads = 0;
  for (const RateCurve& curve : device.rates) {
    if (curve.kernel != kernel || curve.dtype != dtype) continue;
    const int n = curve.threads == 0 ? whole : curve.threads;
    if (n <= wanted && n > below_threads) {
      below = &curve;
      below_threads = n;
    }
    if (smallest == nullptr || n < smallest_threads) {
      smallest = &curve;
      smallest_threads = n;
    }
  }
  return below != nullptr ? below : smallest;
}

const Link* find_link(const Cluster& cluster, DeviceId a, DeviceId b, std::string_view type) {
  const Link* best = nullptr;
  for (const Link& link : cluster.links) {
    if (!type.empty() && link.type != type) continue;
    if ((link.a == a && link.b == b) || (link.a == b && link.b == a)) best = faster(best, &link);
  }
  if (best != nullptr) return best;
  const int from = cluster.devices[a.index()].node;
  const int to = cluster.devices[b.index()].node;
  if (from == to) return nullptr;
  best = node_link(cluster, from, to, type);
  if (best != nullptr || from == 0 || to == 0) return best;
  const Link* near = node_link(cluster, 0, from, type);
  const Link* far = node_link(cluster, 0, to, type);
  if (near == nullptr || far == nullptr) return nullptr;
  return near->bytes_per_s.value < far->bytes_per_s.value ? near : far;
}

double rate_at(const RateCurve& curve, double size) {
  PO_CHECK(!curve.points.empty(), "a rate curve has a point");
  const auto above = std::ranges::lower_bound(curve.points, size, {}, &RatePoint::size);
  if (above == curve.points.begin()) return curve.points.front().per_second;
  if (above == curve.points.end()) return curve.points.back().per_second;
  const RatePoint& low = *(above - 1);
  const double share = std::log(size / low.size) / std::log(above->size / low.size);
  return low.per_second * std::pow(above->per_second / low.per_second, share);
}

}  // namespace parallel_opt
