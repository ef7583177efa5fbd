#include "parallel_opt/hardware/profile_merge.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/probe.h"
#include "parallel_opt/hardware/profile_convert.h"

namespace parallel_opt {
namespace {

std::set<std::string> merged_devices(const ImportedProfile& profile) {
  std::set<std::string> names;
  for (const ProfileRow& row : profile.rows) names.insert(row.device);
  for (const ProfiledRate& rate : profile.rates) names.insert(rate.device);
  for (const ProfiledTransfer& transfer : profile.transfers) names.insert(transfer.device);
  return names;
}

std::set<std::string> merged_devices(const Cluster& cluster) {
  std::set<std::string> names;
  for (const Device& device : cluster.devices) names.insert(device.name);
  return names;
}

/// Alpha and beta between two devices of a type. Inside a node: of a pair alone; between nodes: of
/// one of as many devices of each node as were measured together.
std::optional<TransferFit> fit_of(const ImportedProfile& profile, const std::string& device,
                                  TransferScope scope) {
  const ProfiledTransfer* best = nullptr;
  for (const ProfiledTransfer& t : profile.transfers) {
    if (t.collective != "p2p" || t.device != device || t.scope != scope || t.to || t.to_ranks ||
        t.zone != t.to_zone || t.points.size() < 2) {
      continue;
    }
    const bool better = best == nullptr || (scope == TransferScope::node ? t.ranks < best->ranks
                                                                         : t.ranks > best->ranks);
    if (better) best = &t;
  }
  if (best == nullptr) return std::nullopt;
  std::vector<TransferPoint> points;
  points.reserve(best->points.size());
  for (const MessageTime& point : best->points) points.push_back({point.bytes, point.seconds});
  TransferFit fit = fit_transfer(points);
  // A model fitted to what was measured, though not here.
  fit.latency_s.quality = fit.bytes_per_s.quality = Quality::calibrated;
  // Between nodes: what each of them reaches while all send.
  if (scope == TransferScope::cluster) fit.bytes_per_s = fit.bytes_per_s * (1.0 / best->ranks);
  return fit;
}

class Merger {
 public:
  Merger(Cluster& cluster, const ImportedProfile& profile) : cluster_(cluster), profile_(profile) {}

  void run() {
    std::map<std::string, std::vector<const RateCurve*>> curves;
    for (const ProfiledRate& rate : profile_.rates) curves[rate.device].push_back(&rate.curve);
    for (Device& device : cluster_.devices) {
      if (const auto own = curves.find(device.name); own != curves.end()) {
        put_rates(device, own->second);
      }
    }
    // What was measured went the fastest way: slower ones beside it stay as they are.
    const std::vector<Link> links = cluster_.links;
    const std::vector<Network> networks = cluster_.networks;
    for (Link& link : cluster_.links) {
      if (fastest(link, links)) put_link(link);
    }
    for (Network& network : cluster_.networks) {
      if (fastest(network, networks)) put_network(network);
    }
  }

 private:
  void put_rates(Device& device, const std::vector<const RateCurve*>& curves) {
    const auto [known, is_new] = rates_.try_emplace(device.name, device.rates, RateCurves());
    auto& [before, after] = known->second;
    if (!is_new && device.rates == before) {
      device.rates = after;  // equal devices go on sharing one list
      return;
    }
    std::erase_if(device.rates.edit(), [&](const RateCurve& old) {
      return std::ranges::any_of(curves, [&](const RateCurve* curve) {
        return curve->kernel == old.kernel && curve->dtype == old.dtype;
      });
    });
    for (const RateCurve* curve : curves) device.rates.push_back(*curve);
    if (is_new) after = device.rates;
  }

  const std::optional<TransferFit>& fit(const std::string& device, TransferScope scope) {
    const auto [found, is_new] = fits_.try_emplace({device, scope});
    if (is_new) found->second = fit_of(profile_, device, scope);
    return found->second;
  }

  static bool fastest(const Link& link, const std::vector<Link>& links) {
    const auto ends = std::minmax(link.a, link.b);
    return std::ranges::none_of(links, [&](const Link& other) {
      return std::minmax(other.a, other.b) == ends &&
             other.bytes_per_s.value > link.bytes_per_s.value;
    });
  }

  bool fastest(const Network& network, const std::vector<Network>& networks) const {
    const auto reach = [](const Network& n) {
      return n.bytes_per_s.value * n.ports / n.oversubscription;
    };
    return std::ranges::none_of(networks, [&](const Network& other) {
      return (other.scope == NetworkScope::node) == (network.scope == NetworkScope::node) &&
             reach(other) > reach(network) && names_on(other) == names_on(network);
    });
  }

  void put_link(Link& link) {
    const Device& a = cluster_.devices[link.a.index()];
    const Device& b = cluster_.devices[link.b.index()];
    if (link.a == link.b || a.name != b.name) return;
    const TransferScope scope = a.node == b.node ? TransferScope::node : TransferScope::cluster;
    if (const std::optional<TransferFit>& found = fit(a.name, scope)) {
      link.latency_s = found->latency_s;
      link.bytes_per_s = found->bytes_per_s;
    }
  }

  /// Whether processors count on a network: where GPUs use it, they are who was measured.
  bool counts(const Network& network, const Device& device) const {
    if (!attached(network, device)) return false;
    return device.kind == DeviceKind::gpu ||
           std::ranges::none_of(cluster_.devices, [&](const Device& other) {
             return other.kind == DeviceKind::gpu && attached(network, other);
           });
  }

  /// Names of the devices that a network joins.
  std::set<std::string> names_on(const Network& network) const {
    std::set<std::string> names;
    for (const Device& device : cluster_.devices) {
      if (names.contains(device.name)) continue;
      if (counts(network, device)) names.insert(device.name);
    }
    return names;
  }

  void put_network(Network& network) {
    const TransferScope scope =
        network.scope == NetworkScope::node ? TransferScope::node : TransferScope::cluster;
    std::optional<TransferFit> slowest;
    for (const std::string& name : names_on(network)) {
      const std::optional<TransferFit>& found = fit(name, scope);
      if (!found) return;
      if (!slowest || found->bytes_per_s.value < slowest->bytes_per_s.value) slowest = found;
    }
    if (!slowest) return;
    network.latency_s = slowest->latency_s;
    // find_link() gives a device its part of the ports: so many times more is a port's.
    const double part =
        scope == TransferScope::node
            ? (network.shape == LinkShape::switched ? network.ports : 1)
            : std::min(1.0, double(network.ports) / double(most_of_a_node(network)));
    network.bytes_per_s = slowest->bytes_per_s * (network.oversubscription / part);
  }

  /// Devices of a node that share the ports: those of the kind that was measured.
  std::int64_t most_of_a_node(const Network& network) const {
    const bool gpus = std::ranges::any_of(cluster_.devices, [&](const Device& device) {
      return device.kind == DeviceKind::gpu && attached(network, device);
    });
    const DeviceKind kind = gpus ? DeviceKind::gpu : DeviceKind::cpu;
    std::map<int, std::int64_t> count;
    std::int64_t most = 1;
    for (const Device& device : cluster_.devices) {
      if (!covers(network, device.node) || device.kind != kind) continue;
      most = std::max(most, ++count[device.node]);
    }
    return most;
  }

  Cluster& cluster_;
  const ImportedProfile& profile_;
  std::map<std::string, std::pair<RateCurves, RateCurves>> rates_;  // device -> before, after
  std::map<std::pair<std::string, TransferScope>, std::optional<TransferFit>> fits_;
};

}  // namespace

std::vector<Fault> add_profile(Cluster& cluster, ImportedProfile profile,
                               const std::string& where) {
  std::vector<Fault> faults;
  for (const ImportedProfile& other : cluster.profiles) {
    if (other.name == profile.name) {
      faults.push_back({where, "is called \"" + profile.name + "\", as another profile is",
                        "give it a name of its own"});
    }
  }
  const std::set<std::string> here = merged_devices(cluster);
  const std::vector<std::string> known(here.begin(), here.end());
  const std::set<std::string> named = merged_devices(profile);
  const bool fits = std::ranges::any_of(named, [&](const auto& n) { return here.contains(n); });
  if (!fits && !named.empty()) {
    const std::vector<std::string> names(named.begin(), named.end());
    faults.push_back({where, "is of devices that the cluster does not have: " + join(names, ", "),
                      "it has " + join(known, ", ")});
  }
  if (!faults.empty()) return faults;
  Merger(cluster, profile).run();
  cluster.profiles.push_back(std::move(profile));
  return faults;
}

void add_profiles(Cluster& cluster, const std::vector<std::string>& paths,
                  const std::string& directory, const std::string& where,
                  std::vector<Fault>& faults) {
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const std::string place = where + "[" + std::to_string(i) + "]";
    const std::string path = (std::filesystem::path(directory) / paths[i]).string();
    try {
      std::ranges::move(add_profile(cluster, import_profile({{path, read_file(path)}}, {}), place),
                        std::back_inserter(faults));
    } catch (const InputError& e) {
      faults.insert(faults.end(), e.faults().begin(), e.faults().end());
    } catch (const SystemError& e) {
      faults.push_back({place, "cannot be read: " + path + ": " + e.fault().what, e.fault().hint});
    }
  }
}

}  // namespace parallel_opt
