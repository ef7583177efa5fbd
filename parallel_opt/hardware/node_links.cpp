#include "parallel_opt/hardware/node_links.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {
namespace {

/// A bus is shared: its links to several devices add up to no more than one.
bool is_bus(const std::string& type) {
  return type.starts_with("PCIe") || type == "shared-memory" || type == "loopback";
}

/// The devices of one kind in a node, and what joins them pair by pair.
class Peers {
 public:
  Peers(const Cluster& cluster, int at) {
    const Device& mine = cluster.devices[std::size_t(at)];
    for (std::size_t d = 0; d < cluster.devices.size(); ++d) {
      const Device& other = cluster.devices[d];
      if (other.node == mine.node && other.kind == mine.kind) place_.emplace(d, place_.size());
    }
    own_.assign(place_.size(), 0);
    groups_ = place_.size();
    for (std::size_t i = 0; i < place_.size(); ++i) group_.push_back(i);
    for (const Link& link : cluster.links) add(link);
  }

  std::size_t count() const { return place_.size(); }

  /// By links that are no bus, one message may take several.
  bool joined() const { return groups_ == 1; }
  NodeReach fabric() const {
    const double all = *std::ranges::min_element(own_);
    return {{all, std::min(all, pair_), LinkShape::mesh}, latency_s_};
  }
  /// Each with each, by any link.
  bool complete() const { return 2 * pairs_.size() == count() * (count() - 1); }
  std::optional<NodeReach> slowest() const {
    if (slowest_ == nullptr) return std::nullopt;
    const double rate = slowest_->bytes_per_s.value;
    return NodeReach{{rate, rate, LinkShape::switched}, slowest_->latency_s.value};
  }

 private:
  void add(const Link& link) {
    const auto a = place_.find(link.a.index());
    const auto b = place_.find(link.b.index());
    if (a == place_.end() || b == place_.end() || a == b) return;
    pairs_.insert(std::minmax(a->second, b->second));
    const double rate = link.bytes_per_s.value;
    if (slowest_ == nullptr || rate < slowest_->bytes_per_s.value) slowest_ = &link;
    if (is_bus(link.type)) return;
    own_[a->second] += rate;
    own_[b->second] += rate;
    pair_ = std::min(pair_, rate);
    latency_s_ = std::max(latency_s_, link.latency_s.value);
    const std::size_t from = group_[a->second], to = group_[b->second];
    if (from == to) return;
    std::ranges::replace(group_, from, to);
    --groups_;
  }

  std::map<std::size_t, std::size_t> place_;  // index of a device -> place among the peers
  std::vector<double> own_;                   // rates of each one's links together
  std::vector<std::size_t> group_;            // whom links join so far
  std::size_t groups_ = 0;
  std::set<std::pair<std::size_t, std::size_t>> pairs_;
  double pair_ = std::numeric_limits<double>::infinity();
  double latency_s_ = 0;
  const Link* slowest_ = nullptr;
};

std::optional<NodeReach> network_of_node(const Cluster& cluster, int at) {
  const Device& mine = cluster.devices[std::size_t(at)];
  std::optional<NodeReach> best;
  for (const Network& network : cluster.networks) {
    if (network.scope != NetworkScope::node || !attached(network, mine)) continue;
    const double port = network.bytes_per_s.value / network.oversubscription;
    const double all = port * network.ports;
    if (best && best->links.all_bytes_per_s >= all) continue;
    const double pair = network.shape == LinkShape::switched ? all : port;
    best = NodeReach{{all, pair, network.shape}, network.latency_s.value};
    best->links.reduces = network.reduces;
  }
  return best;
}

}  // namespace

double NodeLinks::among(double ranks, double whole) const noexcept {
  if (shape == LinkShape::switched) return all_bytes_per_s;
  double pairs = ranks - 1;
  if (cube) return ranks > 4 ? all_bytes_per_s : pair_bytes_per_s * (ranks > 2 ? 4 : 1);
  if (shape == LinkShape::torus) {
    constexpr double kRounding = 1e-6;
    const double dimensions = std::max(1.0, std::round(all_bytes_per_s / (2 * pair_bytes_per_s)));
    const double side = std::pow(std::max({2.0, ranks, whole}), 1 / dimensions);
    const double axes = std::clamp(std::round(std::log(ranks) / std::log(side)), 1.0, dimensions);
    const double each = side + kRounding >= closed_side ? 2 : 1;
    pairs = std::min(std::log2(std::max(1.0, ranks)), each * axes);
  }
  return std::min(all_bytes_per_s, pair_bytes_per_s * std::max(1.0, pairs));
}

std::optional<NodeReach> node_reach(const Cluster& cluster, int at) {
  const Peers peers(cluster, at);
  if (peers.count() > 1 && peers.joined()) return peers.fabric();
  if (peers.count() > 1 && peers.complete()) return peers.slowest();
  const auto network = network_of_node(cluster, at);
  return network ? network : peers.slowest();
}

}  // namespace parallel_opt
