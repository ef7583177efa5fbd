#include "parallel_opt/hardware/cluster.h"

#include <algorithm>
#include <map>

#include "parallel_opt/base/hash.h"

namespace parallel_opt {
namespace {

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

/// Whether a message from `a` to `b` may take the network.
bool joins(const Cluster& cluster, const Network& network, DeviceId a, DeviceId b) {
  const Device& from = cluster.devices[a.index()];
  const Device& to = cluster.devices[b.index()];
  if (!attached(network, from) || !attached(network, to)) return false;
  if (network.scope == NetworkScope::node) return from.node == to.node;
  if (from.node == to.node) return false;
  return network.scope == NetworkScope::cluster ||
         cluster.nodes[std::size_t(from.node)].zone == cluster.nodes[std::size_t(to.node)].zone;
}

/// What one device gets of a port's rate while all devices of its node and kind use the network:
/// the processors of a machine with GPUs have no part in what those send each other.
double share_of_ports(const Cluster& cluster, const Network& network, DeviceId a, DeviceId b) {
  if (network.scope == NetworkScope::node) {
    const int ports = network.shape == LinkShape::switched ? network.ports : 1;
    return ports / network.oversubscription;
  }
  const DeviceKind from = cluster.devices[a.index()].kind;
  const DeviceKind to = cluster.devices[b.index()].kind;
  std::int64_t most = 1;
  for (const DeviceId id : {a, b}) {
    const int node = cluster.devices[id.index()].node;
    most = std::max<std::int64_t>(most,
                                  std::ranges::count_if(cluster.devices, [&](const Device& device) {
                                    return device.node == node && attached(network, device) &&
                                           (device.kind == from || device.kind == to);
                                  }));
  }
  return std::min(1.0, double(network.ports) / double(most)) / network.oversubscription;
}

bool same_type(const Device& a, const Device& b) {
  return a.rates == b.rates && a.launch_s == b.launch_s && a.power == b.power &&
         a.usd_per_hour == b.usd_per_hour;
}

}  // namespace

ClusterDocument document_of(const Cluster& cluster) {
  ClusterSummary summary;
  summary.nodes = static_cast<int>(cluster.nodes.size());
  summary.devices = static_cast<int>(cluster.devices.size());
  for (const Device& device : cluster.devices) ++summary.types[device.name];
  return {cluster, summary};
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
  for (const Network& network : cluster.networks) {
    hash.add(network.type);
    hash.add(name_of(network.scope));
    hash.add(std::int64_t(network.ports));
    if (network.shape != LinkShape::switched) hash.add(name_of(network.shape));
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

bool covers(const Network& network, int node) {
  if (network.nodes.empty()) return true;
  return std::ranges::any_of(network.nodes, [&](const NodeRange& range) {
    return range.first <= node && node <= range.last;
  });
}

bool attached(const Network& network, const Device& device) {
  return covers(network, device.node) &&
         (network.devices.empty() ||
          std::ranges::find(network.devices, device.name) != network.devices.end());
}

std::optional<Link> find_link(const Cluster& cluster, DeviceId a, DeviceId b,
                              std::string_view type) {
  const Link* own = nullptr;
  for (const Link& link : cluster.links) {
    if (!type.empty() && link.type != type) continue;
    if ((link.a == a && link.b == b) || (link.a == b && link.b == a)) own = faster(own, &link);
  }
  if (own != nullptr) return *own;
  if (a == b) return std::nullopt;
  std::optional<Link> best;
  for (const Network& network : cluster.networks) {
    if (!type.empty() && network.type != type) continue;
    if (!joins(cluster, network, a, b)) continue;
    const double share = share_of_ports(cluster, network, a, b);
    if (best && best->bytes_per_s.value >= network.bytes_per_s.value * share) continue;
    best = Link{a, b, network.type, network.latency_s, network.bytes_per_s * share};
  }
  if (best) return best;
  const int from = cluster.devices[a.index()].node;
  const int to = cluster.devices[b.index()].node;
  if (from == to) return std::nullopt;
  const Link* between = node_link(cluster, from, to, type);
  if (between == nullptr && from != 0 && to != 0) {
    const Link* near = node_link(cluster, 0, from, type);
    const Link* far = node_link(cluster, 0, to, type);
    if (near == nullptr || far == nullptr) return std::nullopt;
    between = near->bytes_per_s.value < far->bytes_per_s.value ? near : far;
  }
  return between == nullptr ? std::nullopt : std::optional<Link>(*between);
}

std::vector<Device> compact(const std::vector<Device>& devices) {
  std::vector<Device> written = devices;
  if (devices.size() <= kMostInFull) return written;
  std::map<std::string, std::size_t> first;  // of its name
  for (std::size_t i = 0; i < written.size(); ++i) {
    const auto [earlier, is_new] = first.emplace(devices[i].name, i);
    if (is_new || !same_type(devices[earlier->second], devices[i])) continue;
    Device& device = written[i];
    device.like = static_cast<int>(earlier->second);
    device.rates.clear();
    device.launch_s.reset();
    device.power.reset();
    device.usd_per_hour.reset();
  }
  return written;
}

void expand(std::vector<Device>& devices) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    Device& device = devices[i];
    if (!device.like || *device.like < 0 || std::size_t(*device.like) >= i) continue;
    const Device& model = devices[std::size_t(*device.like)];
    if (device.rates.empty()) device.rates = model.rates;
    if (!device.launch_s) device.launch_s = model.launch_s;
    if (!device.power) device.power = model.power;
    if (!device.usd_per_hour) device.usd_per_hour = model.usd_per_hour;
    device.like.reset();
  }
}

}  // namespace parallel_opt
