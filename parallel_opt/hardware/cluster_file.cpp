#include "parallel_opt/hardware/cluster_file.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/cluster_file_fields.h"
#include "parallel_opt/hardware/preset.h"
#include "parallel_opt/hardware/profile_merge.h"

namespace parallel_opt {
namespace {

using cluster_file::File;
using cluster_file::FileLink;
using cluster_file::FileNodes;
using cluster_file::FileSwitch;

constexpr char kEndForm[] = "write a node, or NODE/INDEX for one of its devices";

/// Whether a fault of form is why `where` holds nothing. A field that is missing is told at its
/// object, one that is unknown takes nothing away.
bool is_echo(std::string_view where, const Fault& form) {
  constexpr std::string_view kMissing = "field \"";
  if (form.what.starts_with("unknown field")) return false;
  if (!form.what.starts_with(kMissing)) return where.starts_with(form.where);
  const std::string key =
      form.what.substr(kMissing.size(), form.what.find('"', kMissing.size()) - kMissing.size());
  return where.starts_with(form.where + "." + key) || where.starts_with(form.where + ":" + key);
}

Uncertain known(double value, double spread, Quality quality) {
  return within(value, quality == Quality::measured ? 0.05 : spread, quality);
}

class Builder {
 public:
  /// `faults`: those of form. Their fields hold nothing; the others are looked at all the same.
  Builder(const File& file, std::string name, std::vector<Fault> faults)
      : file_(file), where_(std::move(name)), faults_(std::move(faults)), form_(faults_.size()) {}

  Cluster run() {
    cluster_.name = file_.name;
    const std::set<std::string> zones = read_zones();
    const std::size_t before = faults_.size();
    database_.devices = file_.device_types;
    for (std::size_t i = 0; i < file_.device_types.size(); ++i) {
      const std::string where = at("device_types", i);
      for (Fault& fault : check(file_.device_types[i], where)) {
        if (fault.where.size() > where.size()) fault.where[where.size()] = '.';
        faults_.push_back(std::move(fault));
      }
    }
    const DeviceDatabase& embedded = load_database();
    database_.devices.insert(database_.devices.end(), embedded.devices.begin(),
                             embedded.devices.end());
    if (file_.nodes.empty()) fault(where_ + ":nodes", "is empty", "a cluster has a machine");
    read_groups(zones);
    const auto of_nodes = [](const Fault& f) {
      return f.where.find(":nodes") != std::string::npos ||
             f.where.find(":device_types") != std::string::npos;
    };
    // Else only names are known, by which the rest is looked at.
    whole_ = faults_.size() == before &&
             std::none_of(faults_.begin(), faults_.begin() + std::ptrdiff_t(form_), of_nodes) &&
             !file_.nodes.empty();
    for (std::size_t i = 0; i < file_.nodes.size(); ++i) whole_ ? add_group(i) : name_group(i);
    add_zones();
    add_switches();
    add_links();
    drop_echoes();
    throw_if_any(std::move(faults_));
    add_profiles(cluster_, file_.profiles, std::filesystem::path(where_).parent_path().string(),
                 where_ + ":profiles", faults_);
    throw_if_any(std::move(faults_));
    throw_if_any(check(cluster_, where_ + ":cluster"));
    return std::move(cluster_);
  }

 private:
  std::string at(const std::string& list, std::size_t i) const {
    return where_ + ":" + list + "[" + std::to_string(i) + "]";
  }

  void fault(std::string where, std::string what, std::string hint = "") {
    faults_.push_back({std::move(where), std::move(what), std::move(hint)});
  }

  /// A field that could not be read is told once: not that it is empty as well.
  void drop_echoes() {
    const std::span<const Fault> told = std::span(faults_).first(form_);
    std::vector<Fault> kept(told.begin(), told.end());
    for (std::size_t i = form_; i < faults_.size(); ++i) {
      const bool echo =
          std::ranges::any_of(told, [&](const Fault& f) { return is_echo(faults_[i].where, f); });
      if (!echo) kept.push_back(std::move(faults_[i]));
    }
    faults_ = std::move(kept);
  }

  void read_groups(const std::set<std::string>& zones) {
    std::int64_t devices = 0;
    std::set<std::string> names;
    for (std::size_t i = 0; i < file_.nodes.size(); ++i) {
      const FileNodes& nodes = file_.nodes[i];
      const std::string where = at("nodes", i);
      if (!names.insert(nodes.name).second) {
        fault(where + ".name", "two groups of nodes are called \"" + nodes.name + "\"");
      }
      if (nodes.name.empty()) fault(where + ".name", "is empty");
      if (nodes.name.find('/') != std::string::npos) {
        fault(where + ".name", "has a slash: \"" + nodes.name + "\"", "links write NODE/INDEX");
      }
      if (nodes.cores && *nodes.cores < 1) fault(where + ".cores", "is less than 1");
      if (nodes.sockets && *nodes.sockets < 1) fault(where + ".sockets", "is less than 1");
      if (nodes.memory && !(nodes.memory->bytes > 0)) fault(where + ".memory", "is not positive");
      if (!is_count(nodes.count)) {
        fault(where + ".count", "is " + std::to_string(nodes.count) + ", outside 1 .. 100000");
      }
      if (nodes.zone && !zones.contains(*nodes.zone)) {
        fault(where + ".zone", "names no zone: \"" + *nodes.zone + "\"", "add it to zones");
      }
      if (nodes.usd_per_device_hour && !(*nodes.usd_per_device_hour >= 0)) {
        fault(where + ".usd_per_device_hour", "is negative");
      }
      name_nodes(nodes, where);
      if (split_groups(nodes.devices).size() > 1) {
        fault(where + ".devices", "is several groups: \"" + nodes.devices + "\"",
              "write a comma between devices of one node, an entry of nodes for each kind of node");
        groups_.emplace_back();
        continue;
      }
      groups_.push_back(parse_group(database_, where + ".devices", nodes.devices, faults_));
      NodeGroup& group = groups_.back();
      if (group.nodes != 1) {
        fault(where + ".devices", "counts nodes: \"" + nodes.devices + "\"",
              "the field count says how many nodes there are");
      }
      group.nodes = nodes.count;
      if (nodes.adapters) read_adapters(*nodes.adapters, where, group);
      for (const DeviceCount& part : group.devices) devices += group.nodes * part.count;
    }
    if (devices > kMostDevices) fault(where_ + ":nodes", "have more than 100000 devices");
  }

  /// "a" of three nodes is a0, a1 and a2, which no other group may make.
  void name_nodes(const FileNodes& nodes, const std::string& where) {
    const int count = is_count(nodes.count) ? int(nodes.count) : 0;
    for (int n = 0; n < count; ++n) {
      const std::string name = node_name(nodes, n);
      const auto [other, is_new] = made_by_.emplace(name, nodes.name);
      if (is_new || other->second == nodes.name) continue;  // equal names are told already
      fault(where + ".name",
            "makes a node called \"" + name + "\", as group \"" + other->second + "\" does");
      return;
    }
  }

  std::set<std::string> read_zones() {
    std::set<std::string> zones;
    for (std::size_t i = 0; i < file_.zones.size(); ++i) {
      const cluster_file::FileZone& zone = file_.zones[i];
      const std::string where = at("zones", i);
      if (zone.name.empty()) fault(where + ".name", "is empty");
      if (!zones.insert(zone.name).second) {
        fault(where + ".name", "two zones are called \"" + zone.name + "\"");
      }
      if (zone.usd_per_kwh && !(*zone.usd_per_kwh >= 0))
        fault(where + ".usd_per_kwh", "is negative");
      if (zone.carbon_g_per_kwh && !(*zone.carbon_g_per_kwh >= 0)) {
        fault(where + ".carbon_g_per_kwh", "is negative");
      }
    }
    return zones;
  }

  void read_adapters(const cluster_file::FileAdapters& adapters, const std::string& where,
                     NodeGroup& group) {
    if (adapters.count < 1) fault(where + ".adapters.count", "is less than 1");
    if (!(adapters.bandwidth.bytes_per_s > 0)) {
      fault(where + ".adapters.bandwidth", "is not positive");
    }
    group.adapters = {adapters.count, adapters.bandwidth.bytes_per_s};
  }

  static bool is_count(std::int64_t count) { return 1 <= count && count <= kMostDevices; }

  static std::string node_name(const FileNodes& nodes, int n) {
    return nodes.count == 1 ? nodes.name : nodes.name + std::to_string(n);
  }

  /// In place of add_group() where some group has faults: nodes without devices.
  void name_group(std::size_t i) {
    const FileNodes& nodes = file_.nodes[i];
    const auto first = static_cast<int>(cluster_.nodes.size());
    for (int n = 0; is_count(nodes.count) && n < int(nodes.count); ++n) {
      places_[node_name(nodes, n)] = first + n;
      cluster_.nodes.emplace_back();
      cluster_.nodes.back().name = node_name(nodes, n);
      cluster_.nodes.back().zone = nodes.zone;
    }
    ranges_.push_back({first, std::max(first, static_cast<int>(cluster_.nodes.size()) - 1)});
  }

  void add_group(std::size_t i) {
    const FileNodes& nodes = file_.nodes[i];
    const std::size_t first_device = cluster_.devices.size();
    const NodeRange range = add_nodes(groups_[i], nodes.name, cluster_);
    ranges_.push_back(range);
    for (int n = range.first; n <= range.last; ++n) {
      Node& node = cluster_.nodes[std::size_t(n)];
      node.name = node_name(nodes, n - range.first);
      node.zone = nodes.zone;
      if (nodes.memory) node.memory_bytes = exact(nodes.memory->bytes, Quality::reported);
      if (nodes.cores) {
        node.cores = *nodes.cores;
        node.threads = 2 * node.cores;
      }
      if (nodes.sockets) node.sockets = node.numa_nodes = *nodes.sockets;
      if (nodes.cores && nodes.sockets) node.quality = Quality::reported;
      places_[node.name] = n;
    }
    const auto own = std::span(cluster_.devices).subspan(first_device);
    const auto processors = double(std::ranges::count(own, DeviceKind::cpu, &Device::kind));
    for (Device& device : own) {
      // Processors share their node's memory.
      if (nodes.memory && device.kind == DeviceKind::cpu) {
        device.memory_bytes =
            exact(nodes.memory->bytes * nodes.count / processors, Quality::reported);
      }
    }
    for (std::size_t d = first_device; d < cluster_.devices.size(); ++d) {
      if (nodes.usd_per_device_hour) {
        cluster_.devices[d].usd_per_hour = exact(*nodes.usd_per_device_hour, Quality::reported);
      }
    }
  }

  void add_zones() {
    for (const cluster_file::FileZone& zone : file_.zones) {
      Zone added;
      added.name = zone.name;
      if (zone.usd_per_kwh) added.usd_per_kwh = exact(*zone.usd_per_kwh, Quality::reported);
      if (zone.carbon_g_per_kwh) {
        added.carbon_g_per_kwh = exact(*zone.carbon_g_per_kwh, Quality::reported);
      }
      cluster_.zones.push_back(std::move(added));
    }
  }

  /// The groups a switch names, as ranges of nodes.
  std::vector<NodeRange> ranges_of(const FileSwitch& wanted, const std::string& where) {
    std::vector<NodeRange> ranges;
    for (std::size_t i = 0; i < wanted.nodes.size(); ++i) {
      const std::string& name = wanted.nodes[i];
      std::vector<std::string> names;
      bool found = false;
      for (std::size_t g = 0; g < file_.nodes.size(); ++g) {
        names.push_back(file_.nodes[g].name);
        if (file_.nodes[g].name != name) continue;
        ranges.push_back(ranges_[g]);
        found = true;
      }
      if (const auto node = places_.find(name); !found && node != places_.end()) {
        ranges.push_back({node->second, node->second});
        found = true;
      }
      if (!found) missing_node(where + ".nodes[" + std::to_string(i) + "]", name);
    }
    return ranges;
  }

  void missing_node(const std::string& where, const std::string& name) {
    const auto counted = [](const FileNodes& nodes) { return is_count(nodes.count); };
    if (!std::ranges::all_of(file_.nodes, counted)) return;  // nobody knows which there would be
    for (std::size_t g = 0; g < file_.nodes.size(); ++g) {
      if (file_.nodes[g].name != name) continue;
      fault(where, "names a group of several nodes: \"" + name + "\"",
            "write " + name + "0 to " + name + std::to_string(file_.nodes[g].count - 1));
      return;
    }
    std::vector<std::string> names;
    for (const FileNodes& nodes : file_.nodes) names.push_back(nodes.name);
    for (const auto& [node, index] : places_) names.push_back(node);
    const std::string nearest = nearest_match(name, names);
    fault(where, "names no node: \"" + name + "\"",
          nearest.empty() ? kEndForm : "did you mean " + nearest + "?");
  }

  void add_switches() {
    bool between = false;
    for (std::size_t i = 0; i < file_.switches.size(); ++i) {
      const FileSwitch& wanted = file_.switches[i];
      const std::string where = at("switches", i);
      if (!(wanted.bandwidth.bytes_per_s > 0)) fault(where + ".bandwidth", "is not positive");
      if (wanted.ports < 1) fault(where + ".ports", "is less than 1");
      if (!(wanted.oversubscription >= 1)) {
        fault(where + ".oversubscription", "is less than 1", "1 means full bisection");
      }
      if (wanted.usd_per_gb && !(*wanted.usd_per_gb >= 0)) {
        fault(where + ".usd_per_gb", "is negative");
      }
      if (wanted.reduces &&
          (wanted.scope != NetworkScope::node || wanted.shape != LinkShape::switched)) {
        fault(where + ".reduces", "is for a switch inside a node",
              "scope: node and no other shape, or leave it out");
      }
      if (wanted.shape != LinkShape::switched && wanted.scope != NetworkScope::node) {
        fault(where + ".shape", "is for links inside a node", "scope: node, or leave it out");
      }
      check_names(wanted, where);
      between = between || wanted.scope != NetworkScope::node;
      Network network;
      network.name = wanted.name;
      network.type = wanted.type;
      network.scope = wanted.scope;
      network.nodes = ranges_of(wanted, where);
      for (const std::string& name : wanted.devices) network.devices.push_back(full_name(name));
      network.ports = wanted.ports;
      network.shape = wanted.shape;
      network.reduces = wanted.reduces;
      network.latency_s = known(wanted.latency.seconds, 0.3, wanted.quality);
      network.bytes_per_s = known(wanted.bandwidth.bytes_per_s, 0.2, wanted.quality);
      network.oversubscription = wanted.oversubscription;
      network.rail_optimized = wanted.rail_optimized;
      if (wanted.usd_per_gb) {
        network.usd_per_byte = exact(*wanted.usd_per_gb / 1e9, Quality::reported);
      }
      check_zones(network, where);
      replace(std::move(network));
    }
    if (whole_ && !between && file_.links.empty()) add_networks(groups_, ranges_, cluster_);
  }

  /// Of a device that is called by an alias or in other letters.
  std::string full_name(const std::string& name) const {
    const DeviceRecord* record = find_device(database_, name);
    return record != nullptr ? record->name : name;
  }

  void check_names(const FileSwitch& wanted, const std::string& where) {
    if (wanted.name.empty()) fault(where + ".name", "is empty");
    if (!switch_names_.insert(wanted.name).second) {
      fault(where + ".name", "two switches are called \"" + wanted.name + "\"");
    }
    if (!whole_) return;
    std::vector<std::string> names;
    for (const Device& device : cluster_.devices) {
      if (names.empty() || names.back() != device.name) names.push_back(device.name);
    }
    for (std::size_t i = 0; i < wanted.devices.size(); ++i) {
      const std::string& name = wanted.devices[i];
      if (std::ranges::find(names, full_name(name)) != names.end()) continue;
      const std::string nearest = nearest_match(name, names);
      fault(where + ".devices[" + std::to_string(i) + "]",
            "names no device of these nodes: \"" + name + "\"",
            nearest.empty() ? "write it as in nodes" : "did you mean " + nearest + "?");
    }
  }

  /// A switch of each zone joins nobody where there are no zones.
  void check_zones(const Network& network, const std::string& where) {
    if (network.scope != NetworkScope::zone) return;
    for (std::size_t n = 0; n < cluster_.nodes.size(); ++n) {
      const Node& node = cluster_.nodes[n];
      if (!covers(network, static_cast<int>(n)) || node.zone) continue;
      fault(where + ".scope", "is zone, but node " + node.name + " is in none",
            "give it a zone, or leave scope out");
      return;
    }
  }

  /// What the file says of devices of a type wins over what the database assumes of their nodes.
  void replace(Network network) {
    if (network.scope == NetworkScope::node) {
      std::erase_if(cluster_.networks, [&](const Network& old) {
        return old.scope == NetworkScope::node && old.type == network.type &&
               (network.nodes.empty() || old.nodes == network.nodes);
      });
    }
    cluster_.networks.push_back(std::move(network));
  }

  /// "a0/3": device 3 of node a0; "a0": its first device.
  std::optional<DeviceId> end_of(const std::string& text, const std::string& where) {
    const std::size_t slash = text.rfind('/');
    const std::string name = text.substr(0, slash);
    const auto place = places_.find(name);
    if (place == places_.end()) {
      missing_node(where, name);
      return std::nullopt;
    }
    if (!whole_) return std::nullopt;
    const std::string index = slash == std::string::npos ? "0" : text.substr(slash + 1);
    const bool whole = index.find_first_not_of("0123456789") == std::string::npos;
    const std::int64_t wanted = whole ? leading_integer(index).value_or(-1) : -1;
    std::int64_t seen = 0;
    for (std::size_t d = 0; d < cluster_.devices.size(); ++d) {
      if (cluster_.devices[d].node == place->second && seen++ == wanted) return DeviceId(d);
    }
    fault(where, "names no device of node " + name + ": \"" + text + "\"",
          "it has " + std::to_string(seen) + ", counted from 0");
    return std::nullopt;
  }

  void add_links() {
    for (std::size_t i = 0; i < file_.links.size(); ++i) {
      const FileLink& link = file_.links[i];
      const std::string where = at("links", i);
      const std::optional<DeviceId> a = end_of(link.a, where + ".a");
      const std::optional<DeviceId> b = end_of(link.b, where + ".b");
      if (!(link.bandwidth.bytes_per_s > 0)) fault(where + ".bandwidth", "is not positive");
      if (!a || !b) continue;
      if (*a == *b) {
        fault(where, "joins a device with itself: \"" + link.a + "\" and \"" + link.b + "\"");
        continue;
      }
      const auto ends = std::minmax(a->value, b->value);
      if (!links_seen_.emplace(ends.first, ends.second, link.type).second) {
        fault(where,
              "is a second link of type \"" + link.type + "\" between \"" + link.a + "\" and \"" +
                  link.b + "\"",
              "add their bandwidths");
        continue;
      }
      cluster_.links.push_back({*a, *b, link.type, known(link.latency.seconds, 0.3, link.quality),
                                known(link.bandwidth.bytes_per_s, 0.2, link.quality)});
    }
  }

  const File& file_;
  std::string where_;
  DeviceDatabase database_;
  std::vector<NodeGroup> groups_;
  std::vector<NodeRange> ranges_;               // of each group
  std::map<std::string, int> places_;           // name of a node -> index
  std::map<std::string, std::string> made_by_;  // name of a node -> its group
  std::set<std::string> switch_names_;
  std::set<std::tuple<std::int32_t, std::int32_t, std::string>> links_seen_;
  Cluster cluster_;
  std::vector<Fault> faults_;
  std::size_t form_;    // of them, those of form
  bool whole_ = false;  // every group of nodes is known
};

}  // namespace

bool is_cluster_file(const std::string& json, const std::string& name) {
  const JsonDocument document(json, name);
  const JsonView root = document.root();
  if (root.kind() != JsonView::Kind::object) return false;
  const std::optional<JsonView> schema = root.find("schema");
  if (!schema || schema->kind() != JsonView::Kind::string) return !root.find("devices");
  return schema->string().starts_with("parallel-opt/cluster-file/");
}

Cluster read_cluster_file(const std::string& json, const std::string& name) {
  const JsonDocument document(json, name);
  File file;
  std::vector<Fault> faults;
  if (document.root().kind() == JsonView::Kind::object && document.root().find("schema")) {
    json_detail::check_schema(document.root(), "parallel-opt/cluster-file/1", faults);
  }
  read_json(document.root(), file, faults);
  return Builder(file, name, std::move(faults)).run();
}

}  // namespace parallel_opt
