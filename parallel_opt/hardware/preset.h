#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/hardware/database.h"

/// Clusters made from the database: what a preset such as "2n8xH100-SXM-80GB" and the node groups
/// of a cluster file have in common.
namespace parallel_opt {

inline constexpr std::int64_t kMostDevices = 100'000;

/// Some equal devices of one node.
struct DeviceCount {
  std::int64_t count = 1;
  const DeviceRecord* record = nullptr;
};

/// Presets, and hosts whose links are known by type, state what large messages reach of what links
/// and adapters are sold as, quality `database`: 0.83 of it for A100 pairs, 0.46 for V100 pairs;
/// adapters lose less, 0.8 of 200 Gbit/s is what one device is usually given.
inline constexpr Uncertain kLinkShare{0.75, 0.45, 0.9, Quality::database};
inline constexpr Uncertain kAdapterShare{0.8, 0.5, 0.95, Quality::database};

/// To a node whose usual machine is not known: what hosts of A10G, L4, A40 and RTX boards are sold
/// with, shared by the node's devices. Hosts with 10 to 400 Gbit/s are sold.
inline constexpr double kAssumedAdapterBytesPerS = 12.5e9;
inline constexpr std::string_view kAssumedAdapter = "one adapter of 100 Gbit/s per node";

/// Adapters of one node to the network between nodes.
struct Adapters {
  int count = 1;
  double bytes_per_s = 0;  ///< of one, each direction, nominal
};

/// Some equal nodes.
struct NodeGroup {
  std::int64_t nodes = 1;
  std::vector<DeviceCount> devices;
  std::optional<Adapters> adapters;  ///< absent: those of the usual host
};

/// "2n8xH100-SXM-80GB", "8xA100-40GB,2xEPYC-7742@4x100Gbps": one group of nodes. Faults go to
/// `faults`; the group is usable when there are none.
NodeGroup parse_group(const DeviceDatabase& database, const std::string& where,
                      std::string_view text, std::vector<Fault>& faults);

/// Where the groups of a preset are separated: a plus sign before a letter or digit, since some
/// processors end in one ("2xXeon-8480++8xL4").
std::vector<std::string> split_groups(std::string_view text);

/// Appends the nodes and devices of a group, and what joins the devices inside each node. Names
/// are `name` + index, or `name` alone for one node of a named group.
NodeRange add_nodes(const NodeGroup& group, const std::string& name, Cluster& cluster);

/// The network between the nodes of these groups: for each group of several nodes its own, and one
/// for all at the rate of the slowest.
void add_networks(const std::vector<NodeGroup>& groups, const std::vector<NodeRange>& ranges,
                  Cluster& cluster);

/// A preset only. Numbers are `database` (data sheets) where the usual host is known, else
/// `assumed`. Throws InputError with every fault, for unknown names with the nearest known one.
Cluster preset_cluster(const std::string& spec);

}  // namespace parallel_opt
