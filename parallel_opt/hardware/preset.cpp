#include "parallel_opt/hardware/preset.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/quantity.h"

namespace parallel_opt {
namespace {

constexpr char kPresetForm[] = "write NODESnCOUNTxDEVICE, as 2n8xH100-SXM-80GB";
constexpr char kAdapterForm[] = "write @400Gbps or @8x400Gbps behind the devices";

constexpr Uncertain kNetworkLatency{10e-6, 4e-6, 60e-6, Quality::assumed};
constexpr double kLinkLatency = 5e-6;
/// Copies between ranks on processors, as discovery assumes them.
constexpr double kMemoryLinkBytesPerS = 5e9;
constexpr double kMemoryLinkLatency = 2e-6;
constexpr double kFarSocket = 0.6;

std::string in_quotes(std::string_view text) {
  std::string all(1, '"');
  all.append(text);
  all.push_back('"');
  return all;
}

/// Digits at the front of `text`, which is moved behind them; empty when there are none. What no
/// cluster has is cut to nine digits.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  if (digits == 0) return std::nullopt;
  const auto number = leading_integer(text.substr(0, std::min<std::size_t>(digits, 9)));
  text.remove_prefix(digits);
  return number;
}

/// Whether `letter`, of either case and between blanks, comes next; then it is moved behind. Text
/// that goes on in another way stays as it is.
bool take_letter(std::string_view& text, char letter) {
  const std::string_view next = trim(text);
  if (next.empty() || std::tolower(static_cast<unsigned char>(next.front())) != letter)
    return false;
  text = trim(next.substr(1));
  return true;
}

/// "400Gbps", "8x400Gbps".
std::optional<Adapters> parse_adapters(std::string_view text) {
  Adapters adapters;
  std::string_view rest = text;
  const std::optional<std::int64_t> count = take_number(rest);
  if (count && take_letter(rest, 'x')) {
    adapters.count = static_cast<int>(*count);
  } else {
    rest = text;
  }
  const std::optional<Bandwidth> rate = parse_bandwidth(rest);
  if (!rate || rate->bytes_per_s <= 0 || adapters.count < 1) return std::nullopt;
  adapters.bytes_per_s = rate->bytes_per_s;
  return adapters;
}

/// "8xH100-SXM-80GB", or a name alone.
DeviceCount parse_count(const DeviceDatabase& database, const std::string& where,
                        std::string_view text, bool needs_count, std::vector<Fault>& faults) {
  DeviceCount found;
  text = trim(text);
  std::string_view rest = text;
  const std::optional<std::int64_t> number = take_number(rest);
  if (number && take_letter(rest, 'x')) {
    found.count = *number;
  } else {
    rest = text;  // a name may start with a digit; a name alone is one device
    if (needs_count) {
      faults.push_back({where, in_quotes(text) + " has no device count", kPresetForm});
      return found;
    }
  }
  if (found.count < 1 || found.count > kMostDevices) {
    faults.push_back({where,
                      in_quotes(text) + " counts " + std::to_string(found.count) + " devices",
                      "1 to 100000"});
    return found;
  }
  if (rest.empty()) {
    faults.push_back({where, in_quotes(text) + " names no device", kPresetForm});
    return found;
  }
  found.record = find_device(database, std::string(rest));
  if (found.record == nullptr) {
    faults.push_back(unknown_device(database, where, std::string(rest)));
  }
  return found;
}

/// "4xL4,4xL4" is eight of them: what joins devices of a kind joins them all.
void add_to_equal(std::vector<DeviceCount>& parts) {
  const DeviceCount last = parts.back();
  const auto same = std::ranges::find(parts, last.record, &DeviceCount::record);
  if (last.record == nullptr || same == parts.end() - 1) return;
  same->count += last.count;
  parts.pop_back();
}

bool is_cpu(const DeviceCount& part) { return part.record->kind == DeviceCategory::cpu; }

/// The accelerators' usual host when there is one, else the processors', and how many of them the
/// node's devices would fill.
struct HostShare {
  const UsualHost* host = nullptr;
  double share = 0;
};

HostShare usual_host(const NodeGroup& group) {
  for (const DeviceCount& part : group.devices) {
    const std::optional<UsualHost>& host = part.record->host;
    if (host) return {&*host, double(part.count) / host->devices};
  }
  return {};
}

std::string source_of(const NodeGroup& group, const UsualHost& host) {
  for (const DeviceCount& part : group.devices) {
    const std::optional<UsualHost>& own = part.record->host;
    if (own && &*own == &host) {
      const auto found = part.record->sources.find(host.source);
      if (found != part.record->sources.end()) return found->second;
    }
  }
  return host.source;
}

Node node_of(const NodeGroup& group) {
  Node node;
  node.sockets = 2;
  node.cores = 64;
  node.numa_nodes = 2;
  node.quality = Quality::assumed;
  double device_bytes = 0;
  double host_bytes = 16e9;  // what processors that are devices have is the host's
  for (const DeviceCount& part : group.devices) {
    const std::optional<Published>& bytes = part.record->memory_bytes;
    if (bytes) device_bytes += bytes->value * double(part.count);
    if (is_cpu(part)) host_bytes += device_of(*part.record).memory_bytes.value * double(part.count);
  }
  // Hosts are bought with about twice the memory of their devices.
  node.memory_bytes = within(std::max(2 * device_bytes, host_bytes), 0.5, Quality::assumed);
  if (const auto [host, share] = usual_host(group); host != nullptr && share <= 1) {
    node.sockets = node.numa_nodes = host->sockets;
    node.cores = host->cores;
    node.quality = worst(host->quality, Quality::database);
    node.memory_bytes = exact(host->memory_bytes, node.quality);
  }
  for (const DeviceCount& part : group.devices) {
    const std::optional<CpuFacts>& cpu = part.record->cpu;
    if (!cpu) continue;
    node.cpu_model = part.record->name;
    node.sockets = node.numa_nodes = static_cast<int>(part.count);
    node.cores = static_cast<int>(part.count) * cpu->cores;
    node.quality = worst(cpu->quality, Quality::database);
  }
  node.threads = 2 * node.cores;
  return node;
}

/// Ranks on one processor, and on two of a node.
void add_processor_links(std::size_t first, std::size_t last, Cluster& cluster) {
  for (std::size_t a = first; a < last; ++a) {
    for (std::size_t b = a; b < last; ++b) {
      const double across = a == b ? 1 : kFarSocket;
      cluster.links.push_back({DeviceId(a), DeviceId(b), "shared-memory",
                               within(kMemoryLinkLatency / across, 0.5, Quality::assumed),
                               within(kMemoryLinkBytesPerS * across, 0.5, Quality::assumed)});
    }
  }
}

std::string range_name(const std::string& what, const NodeRange& range) {
  if (range.first == range.last) return what + " of node " + std::to_string(range.first);
  return what + " of nodes " + std::to_string(range.first) + " to " + std::to_string(range.last);
}

/// The slowest of the ways to the host, or what is known of them.
const DeviceLink* slowest_host_link(const NodeGroup& group) {
  const DeviceLink* slowest = nullptr;
  for (const DeviceCount& part : group.devices) {
    if (is_cpu(part)) continue;
    for (const DeviceLink& link : part.record->links) {
      if (link.to != LinkEnd::host) continue;
      const bool slower = slowest == nullptr || link.bytes_per_s.value < slowest->bytes_per_s.value;
      if (slower) slowest = &link;
    }
  }
  return slowest;
}

Network inner_network(const std::string& name, const DeviceLink& link, const NodeRange& range,
                      double latency_s) {
  Network network;
  network.name = range_name(name, range);
  network.type = link.type;
  network.scope = NetworkScope::node;
  network.nodes = {range};
  network.latency_s = within(latency_s, 0.5, Quality::assumed);
  network.shape = link.shape;
  network.reduces = link.reduces;
  const double pair = link.pair_bytes_per_s ? link.pair_bytes_per_s->value : link.bytes_per_s.value;
  network.ports = static_cast<int>(std::max(1.0, std::round(link.bytes_per_s.value / pair)));
  network.bytes_per_s = kLinkShare * pair;
  return network;
}

/// What joins the devices inside each node of the range.
void add_inner_networks(const NodeGroup& group, const NodeRange& range, Cluster& cluster) {
  std::int64_t devices = 0;
  for (const DeviceCount& part : group.devices) {
    devices += part.count;
    const DeviceLink* link =
        is_cpu(part) ? nullptr : neighbour_link(*part.record, double(part.count));
    if (link == nullptr || link->to == LinkEnd::host || part.count < 2) continue;
    cluster.networks.push_back(
        inner_network(part.record->name + " " + link->type, *link, range, kLinkLatency));
    cluster.networks.back().devices = {part.record->name};
  }
  if (devices < 2) return;
  // Everything in a node meets at the host, at the rate of the slowest attachment.
  if (const DeviceLink* host = slowest_host_link(group)) {
    cluster.networks.push_back(inner_network(host->type, *host, range, 2 * kLinkLatency));
  }
}

struct Reach {
  int ports = 1;
  Uncertain bytes_per_s;
};

Reach reach_of(const NodeGroup& group) {
  if (group.adapters) {
    return {group.adapters->count, kAdapterShare * group.adapters->bytes_per_s};
  }
  // Adapters come with devices: fewer or more of these have as many each.
  if (const auto [host, share] = usual_host(group); host != nullptr) {
    const double ports = std::max(1.0, std::round(share * host->adapters));
    Reach reach{static_cast<int>(ports), kAdapterShare * host->adapter_bytes_per_s};
    reach.bytes_per_s.quality = worst(host->quality, Quality::database);
    return reach;
  }
  return {1, {kAdapterShare.value * kAssumedAdapterBytesPerS, 1e9, 45e9, Quality::assumed}};
}

void add_network(const std::string& name, const Reach& reach, std::vector<NodeRange> nodes,
                 Cluster& cluster) {
  Network network;
  network.name = name;
  network.type = "network";
  network.nodes = std::move(nodes);
  network.ports = reach.ports;
  network.latency_s = kNetworkLatency;
  network.bytes_per_s = reach.bytes_per_s;
  network.rail_optimized = reach.ports > 1;
  cluster.networks.push_back(std::move(network));
}

}  // namespace

std::vector<std::string> split_groups(std::string_view text) {
  std::vector<std::string> groups(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view next = trim(text.substr(i + 1));
    const bool before_name =
        !next.empty() && std::isalnum(static_cast<unsigned char>(next.front())) != 0;
    if (text[i] == '+' && before_name) {
      groups.emplace_back();
    } else {
      groups.back().push_back(text[i]);
    }
  }
  return groups;
}

NodeGroup parse_group(const DeviceDatabase& database, const std::string& where,
                      std::string_view text, std::vector<Fault>& faults) {
  NodeGroup group;
  text = trim(text);
  const std::size_t at = text.find('@');
  if (at != std::string_view::npos) {
    group.adapters = parse_adapters(trim(text.substr(at + 1)));
    if (!group.adapters) {
      faults.push_back({where, in_quotes(text.substr(at)) + " is no network", kAdapterForm});
    }
    text = trim(text.substr(0, at));
  }
  std::string_view rest = text;
  const std::optional<std::int64_t> nodes = take_number(rest);
  const bool has_nodes = nodes && take_letter(rest, 'n');
  if (has_nodes) {
    group.nodes = *nodes;
  } else {
    rest = text;
  }
  std::int64_t devices = 0;
  for (const std::string& part : split(rest, ',')) {
    const std::string_view shown = rest.find(',') == std::string_view::npos ? text : part;
    std::vector<Fault> found;
    group.devices.push_back(parse_count(database, where, part, has_nodes, found));
    for (Fault& fault : found) {
      if (fault.what.starts_with(in_quotes(part))) {  // show what the user wrote, with its nodes
        fault.what = in_quotes(shown) + fault.what.substr(part.size() + 2);
      }
      faults.push_back(std::move(fault));
    }
    devices += std::min(group.devices.back().count, kMostDevices);
    add_to_equal(group.devices);
  }
  if (group.nodes < 1 || group.nodes > kMostDevices || group.nodes * devices > kMostDevices) {
    const std::string found = group.nodes < 1 || group.nodes > kMostDevices
                                  ? std::to_string(group.nodes) + " nodes"
                                  : std::to_string(group.nodes * devices) + " devices";
    faults.push_back({where, in_quotes(text) + " counts " + found, "1 to 100000"});
  }
  return group;
}

NodeRange add_nodes(const NodeGroup& group, const std::string& name, Cluster& cluster) {
  NodeRange range{static_cast<int>(cluster.nodes.size()),
                  static_cast<int>(cluster.nodes.size() + std::size_t(group.nodes)) - 1};
  const Node model = node_of(group);
  std::vector<Device> of_one;
  for (const DeviceCount& part : group.devices) {
    Device device = device_of(*part.record);
    for (std::int64_t i = 0; i < part.count; ++i) {
      if (is_cpu(part)) {
        device.numa = static_cast<int>(i);
        for (std::size_t c = 0; c < device.cores.size(); ++c) {
          device.cores[c] = static_cast<int>(std::size_t(i) * device.cores.size() + c);
        }
      }
      of_one.push_back(device);
    }
  }
  cluster.devices.reserve(cluster.devices.size() + of_one.size() * std::size_t(group.nodes));
  for (int n = range.first; n <= range.last; ++n) {
    cluster.nodes.push_back(model);
    cluster.nodes.back().name = name + std::to_string(n);
    for (const Device& device : of_one) {
      cluster.devices.push_back(device);
      cluster.devices.back().node = n;
    }
    std::size_t end = cluster.devices.size();
    const std::size_t begin = end - of_one.size();
    const auto cpu = [&](std::size_t i) { return cluster.devices[i].kind == DeviceKind::cpu; };
    std::size_t first = begin;
    while (first < end && !cpu(first)) ++first;
    std::size_t last = first;
    while (last < end && cpu(last)) ++last;
    add_processor_links(first, last, cluster);
  }
  add_inner_networks(group, range, cluster);
  return range;
}

void add_networks(const std::vector<NodeGroup>& groups, const std::vector<NodeRange>& ranges,
                  Cluster& cluster) {
  if (cluster.nodes.size() < 2) return;
  Reach slowest = reach_of(groups.front());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const Reach reach = reach_of(groups[i]);
    const double all = reach.ports * reach.bytes_per_s.value;
    if (all < slowest.ports * slowest.bytes_per_s.value) slowest = reach;
    if (groups.size() > 1 && groups[i].nodes > 1) {
      add_network(range_name("network", ranges[i]), reach, {ranges[i]}, cluster);
    }
  }
  add_network("network", slowest, {}, cluster);
}

Cluster preset_cluster(const std::string& spec) {
  const DeviceDatabase& database = load_database();
  std::vector<Fault> faults;
  std::vector<NodeGroup> groups;
  std::int64_t devices = 0;
  for (const std::string& part : split_groups(spec)) {
    groups.push_back(parse_group(database, "cluster " + spec, part, faults));
    for (const DeviceCount& count : groups.back().devices) {
      devices += groups.back().nodes * count.count;
    }
  }
  throw_if_any(std::move(faults));
  if (devices > kMostDevices) {
    throw InputError("cluster " + spec, "has more than 100000 devices", "");
  }
  Cluster cluster;
  cluster.name = spec;
  std::vector<NodeRange> ranges;
  bool assumed = false;
  for (const NodeGroup& group : groups) {
    ranges.push_back(add_nodes(group, "node", cluster));
    const UsualHost* host = usual_host(group).host;
    assumed = assumed || (host == nullptr && !group.adapters);
    if (host != nullptr) {
      std::string note =
          "host of " + group.devices[0].record->name + ": " + source_of(group, *host);
      if (std::ranges::find(cluster.notes, note) == cluster.notes.end()) {
        cluster.notes.push_back(std::move(note));
      }
    }
  }
  add_networks(groups, ranges, cluster);
  if (assumed) {
    cluster.notes.emplace_back(
        "hosts whose data sheet is unknown are assumed: 2 sockets, 64 cores");
    if (cluster.nodes.size() > 1) {
      cluster.notes.push_back("their network is assumed: " + std::string(kAssumedAdapter));
    }
  }
  return cluster;
}

}  // namespace parallel_opt
