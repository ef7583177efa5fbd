#include "parallel_opt/hardware/merge_hosts.h"

#include <algorithm>
#include <map>
#include <set>

namespace parallel_opt {
namespace {

constexpr double kAssumedBytesPerS = 1.25e9;  // 10 Gbit/s
constexpr double kAssumedLatencyS = 50e-6;

class HostMerger {
 public:
  Cluster run(const std::vector<Cluster>& hosts, const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < hosts.size(); ++i) add(hosts[i], names[i]);
    // A file may hold several hosts already.
    cluster_.name =
        hosts.size() == 1 ? hosts[0].name : std::to_string(cluster_.nodes.size()) + " hosts";
    throw_if_any(std::move(faults_));
    connect();
    return std::move(cluster_);
  }

 private:
  void add(const Cluster& host, const std::string& where) {
    const auto first_node = static_cast<int>(cluster_.nodes.size());
    const auto first_device = cluster_.devices.size();
    for (Node node : host.nodes) {
      const int count = ++seen_names_[node.name];
      if (count > 1) node.name += "-" + std::to_string(count);
      cluster_.nodes.push_back(std::move(node));
    }
    for (Device device : host.devices) {
      if (!device.uuid.empty()) {
        // Machines cloned from one image share what a processor's identity is made of.
        std::string identity = device.uuid;
        if (device.kind == DeviceKind::cpu && std::size_t(device.node) < host.nodes.size()) {
          identity += " of " + host.nodes[std::size_t(device.node)].name;
        }
        const auto [earlier, is_new] = seen_uuids_.emplace(identity, where);
        if (!is_new) {
          faults_.push_back({where, "is the same host as " + earlier->second,
                             "device " + device.uuid + " is in both"});
          return;
        }
      }
      device.node += first_node;
      if (device.like) *device.like += static_cast<int>(first_device);
      cluster_.devices.push_back(std::move(device));
    }
    for (Link link : host.links) {
      link.a = DeviceId(link.a.index() + first_device);
      link.b = DeviceId(link.b.index() + first_device);
      cluster_.links.push_back(std::move(link));
    }
    for (const Network& network : host.networks) {
      add_network(network, first_node, static_cast<int>(host.nodes.size()));
    }
    for (const Zone& zone : host.zones) {
      const auto same = std::ranges::find(cluster_.zones, zone.name, &Zone::name);
      if (same == cluster_.zones.end()) cluster_.zones.push_back(zone);
    }
    for (const ImportedProfile& profile : host.profiles) {
      const auto same = std::ranges::find(cluster_.profiles, profile.name, &ImportedProfile::name);
      if (same == cluster_.profiles.end()) cluster_.profiles.push_back(profile);
    }
    const std::string prefix = name_before_notes(host, first_node);
    for (const std::string& note : host.notes) cluster_.notes.push_back(prefix + note);
  }

  std::string name_before_notes(const Cluster& host, int first_node) const {
    return host.nodes.empty() ? "" : cluster_.nodes[std::size_t(first_node)].name + ": ";
  }

  void add_network(Network network, int first_node, int nodes) {
    if (network.nodes.empty()) network.nodes = {{0, nodes - 1}};
    for (NodeRange& range : network.nodes) {
      range.first += first_node;
      range.last += first_node;
    }
    for (Network& other : cluster_.networks) {
      if (other.name != network.name || other.type != network.type ||
          other.scope != network.scope || other.devices != network.devices ||
          (network.scope == NetworkScope::node && !same_rate(other, network))) {
        continue;
      }
      if (network.bytes_per_s.value * network.ports < other.bytes_per_s.value * other.ports) {
        other.bytes_per_s = network.bytes_per_s;
        other.ports = network.ports;
        other.latency_s = network.latency_s;
      }
      for (const NodeRange& range : network.nodes) append(other.nodes, range);
      return;
    }
    std::set<std::string> names;
    for (const Network& other : cluster_.networks) names.insert(other.name);
    const std::string base = network.name;
    for (int n = 2; names.contains(network.name); ++n) {
      network.name = base + " " + std::to_string(n);
    }
    cluster_.networks.push_back(std::move(network));
  }

  static bool same_rate(const Network& a, const Network& b) {
    return a.ports == b.ports && a.bytes_per_s == b.bytes_per_s;
  }

  static void append(std::vector<NodeRange>& ranges, NodeRange range) {
    if (!ranges.empty() && ranges.back().last + 1 == range.first) {
      ranges.back().last = range.last;
    } else {
      ranges.push_back(range);
    }
  }

  /// Hosts that no network joins with the first one are joined by an assumed network of all.
  void connect() {
    const auto nodes = static_cast<int>(cluster_.nodes.size());
    if (nodes < 2) return;
    const bool joined = std::ranges::any_of(cluster_.networks, [&](const Network& network) {
      if (network.scope == NetworkScope::node) return false;
      for (int n = 0; n < nodes; ++n) {
        if (!covers(network, n)) return false;
      }
      return true;
    });
    if (joined) return;
    Network network;
    network.name = "between hosts";
    network.type = "ethernet";
    network.latency_s = within(kAssumedLatencyS, 0.5, Quality::assumed);
    network.bytes_per_s = within(kAssumedBytesPerS, 0.5, Quality::assumed);
    cluster_.networks.push_back(std::move(network));
    cluster_.notes.emplace_back(
        "network: no adapters of one kind were found on all hosts: 10 Gbit/s are assumed between "
        "them until they are probed");
  }

  Cluster cluster_;
  std::map<std::string, int> seen_names_;
  std::map<std::string, std::string> seen_uuids_;
  std::vector<Fault> faults_;
};

}  // namespace

Cluster merge_hosts(const std::vector<Cluster>& hosts, const std::vector<std::string>& names) {
  PO_CHECK(hosts.size() == names.size(), "every host has a name for errors");
  if (hosts.empty()) throw InputError("hosts", "are none", "give one or more clusters");
  return HostMerger().run(hosts, names);
}

}  // namespace parallel_opt
