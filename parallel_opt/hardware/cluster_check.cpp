#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "parallel_opt/hardware/cluster.h"

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
    for (std::size_t i = 0; i < cluster_.networks.size(); ++i) {
      network(cluster_.networks[i], where + ".networks[" + std::to_string(i) + "]");
    }
    for (std::size_t i = 0; i < cluster_.zones.size(); ++i) {
      zone(cluster_.zones[i], where + ".zones[" + std::to_string(i) + "]");
    }
    places(where);
    for (std::size_t i = 0; i < cluster_.profiles.size(); ++i) {
      std::ranges::move(check(cluster_.profiles[i], where + ".profiles[" + std::to_string(i) + "]"),
                        std::back_inserter(faults_));
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
    if (n.cpu_quota && !(*n.cpu_quota > 0)) {
      fault(where + ".cpu_quota", "is not positive", "leave it out where nothing is limited");
    }
    number(n.memory_bytes, where + ".memory_bytes", false);
    if (!node_names_.insert(n.name).second) {
      fault(where + ".name", "two nodes are called \"" + n.name + "\"");
    }
  }

  void network(const Network& n, const std::string& where) {
    if (!network_names_.insert(n.name).second) {
      fault(where + ".name", "two networks are called \"" + n.name + "\"");
    }
    const auto nodes = static_cast<int>(cluster_.nodes.size());
    for (std::size_t i = 0; i < n.nodes.size(); ++i) {
      const NodeRange& range = n.nodes[i];
      if (0 <= range.first && range.first <= range.last && range.last < nodes) continue;
      fault(where + ".nodes[" + std::to_string(i) + "]",
            "is " + std::to_string(range.first) + " .. " + std::to_string(range.last) +
                ", but there are " + std::to_string(nodes) + " nodes",
            "nodes count from 0");
    }
    if (n.ports < 1) fault(where + ".ports", "is less than 1");
    if (n.shape != LinkShape::switched && n.scope != NetworkScope::node) {
      fault(where + ".shape", "is for links inside a node", "scope node, or leave it out");
    }
    if (!(n.oversubscription >= 1)) {
      fault(where + ".oversubscription", "is less than 1", "1 means full bisection");
    }
    number(n.latency_s, where + ".latency_s", true);
    number(n.bytes_per_s, where + ".bytes_per_s", false);
    if (n.usd_per_byte) number(*n.usd_per_byte, where + ".usd_per_byte", true);
  }

  void zone(const Zone& z, const std::string& where) {
    if (!zone_names_.insert(z.name).second) {
      fault(where + ".name", "two zones are called \"" + z.name + "\"");
    }
    if (z.usd_per_kwh) number(*z.usd_per_kwh, where + ".usd_per_kwh", true);
    if (z.carbon_g_per_kwh) number(*z.carbon_g_per_kwh, where + ".carbon_g_per_kwh", true);
  }

  /// References by name, once all names are known.
  void places(const std::string& where) {
    for (std::size_t i = 0; i < cluster_.nodes.size(); ++i) {
      const std::optional<std::string>& zone = cluster_.nodes[i].zone;
      if (!zone || zone_names_.contains(*zone)) continue;
      fault(where + ".nodes[" + std::to_string(i) + "].zone", "names no zone: \"" + *zone + "\"",
            "add it to zones");
    }
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
    if (d.like) {
      fault(where + ".like", "is " + std::to_string(*d.like) + ", which is no earlier device",
            "devices count from 0");
    }
    if (d.usd_per_hour) number(*d.usd_per_hour, where + ".usd_per_hour", true);
    for (std::size_t i = 0; i < d.cores.size(); ++i) {
      if (d.kind != DeviceKind::cpu) break;  // the cores near a GPU belong to a CPU device as well
      if (!owned_cores_.emplace(d.node, d.cores[i]).second) {
        fault(where + ".cores[" + std::to_string(i) + "]",
              "core " + std::to_string(d.cores[i]) + " belongs to another device already");
      }
    }
    rates(d, where);
    if (d.launch_s) number(*d.launch_s, where + ".launch_s", true);
    if (d.power) {
      number(d.power->idle_w, where + ".power.idle_w", true);
      number(d.power->max_w, where + ".power.max_w", false);
      if (d.power->idle_w.value > d.power->max_w.value) {
        fault(where + ".power", "idles at more watts than its maximum");
      }
    }
  }

  /// Of thousands of equal devices the first one's curves are walked; the others only compared.
  void rates(const Device& d, const std::string& where) {
    const auto [first, is_new] = first_of_name_.emplace(d.name, &d);
    if (!is_new && first->second->rates == d.rates) return;
    for (std::size_t i = 0; i < d.rates.size(); ++i) {
      std::ranges::move(check(d.rates[i], where + ".rates[" + std::to_string(i) + "]"),
                        std::back_inserter(faults_));
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
  std::map<std::string, const Device*> first_of_name_;
  std::set<std::string> node_names_;
  std::set<std::string> network_names_;
  std::set<std::string> zone_names_;
  std::set<std::pair<int, int>> owned_cores_;                    // (node, core)
  std::set<std::tuple<DeviceId, DeviceId, std::string>> links_;  // (lower end, higher end, type)
};

}  // namespace

std::vector<Fault> check(const Cluster& cluster, const std::string& where) {
  return Checker(cluster).run(where);
}

}  // namespace parallel_opt
