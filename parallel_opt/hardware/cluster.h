#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/base/uncertain.h"
#include "parallel_opt/hardware/imported_profile.h"
#include "parallel_opt/hardware/node_links.h"
#include "parallel_opt/hardware/rate_curve.h"

namespace parallel_opt {

/// gpu: any accelerator that runs whole operators (TPUs and the like are counted here).
enum class DeviceKind { cpu, gpu };

constexpr auto enum_names(DeviceKind) { return std::to_array<std::string_view>({"cpu", "gpu"}); }

struct Power {
  Uncertain idle_w;
  Uncertain max_w;  ///< thermal design power, or the enforced limit
  bool operator==(const Power&) const = default;
};

/// Something that runs operators: a GPU, or a group of CPU cores. A CPU device may be divided among
/// ranks by cores.
struct Device {
  std::string name;  ///< type: "H100-SXM-80GB", "AMD EPYC (2 cores, avx512_bf16)"
  std::string uuid;  ///< identity for caches; stable on one machine
  DeviceKind kind = DeviceKind::cpu;
  int node = 0;  ///< index into Cluster::nodes
  /// cpu: logical cores that a job may use, one of each physical core first, then their siblings;
  /// gpu: those near it.
  std::vector<int> cores;
  int physical_cores = 0;  ///< cpu: distinct physical cores among `cores`
  int numa = 0;
  Uncertain memory_bytes;                     ///< what a job may use, cgroup limits applied
  std::vector<std::string> instruction_sets;  ///< cpu: "avx2", "avx512f", "avx512_bf16", "amx_bf16"
  RateCurves rates;
  /// Overhead of one operator in an eager PyTorch training step, seconds: half of forward (recorded
  /// by autograd) plus backward.
  std::optional<Uncertain> launch_s;
  std::optional<Power> power;
  std::optional<Uncertain> usd_per_hour;  ///< price of renting it
  /// In files only: index of an earlier device whose rates, launch overhead, power and price it
  /// shares. Large clusters are written so; reading puts the shared values in place.
  std::optional<int> like;
  bool operator==(const Device&) const = default;
};

struct Cache {
  int level = 1;
  std::int64_t size_bytes = 0;
  int shared_by = 1;  ///< cores
  bool operator==(const Cache&) const = default;
};

struct Node {
  std::string name;
  std::string cpu_model;
  int sockets = 1;
  int cores = 1;  ///< physical cores
  int threads =
      1;  ///< logical cores that may be used: affinity and cgroup quota applied, rounded up
  std::optional<double> cpu_quota;  ///< cores' worth of time that the cgroup grants, if it limits
  int numa_nodes = 1;
  std::vector<Cache> caches;
  Quality quality = Quality::reported;  ///< of these counts and sizes
  Uncertain memory_bytes;
  std::optional<std::string> virtualization;  ///< "kvm", when a hypervisor shows itself
  std::optional<std::string> zone;            ///< name of one of Cluster::zones
  bool operator==(const Node&) const = default;
};

/// A way between two devices, each direction. `a == b`: between ranks that share one CPU device.
/// Two devices may have several ways ("shared-memory", "loopback").
struct Link {
  DeviceId a;
  DeviceId b;
  std::string type;       ///< "shared-memory", "NVLink4", "PCIe4x16", "ethernet"
  Uncertain latency_s;    ///< alpha
  Uncertain bytes_per_s;  ///< 1/beta at large sizes
  bool operator==(const Link&) const = default;
};

/// Nodes first .. last, both included.
struct NodeRange {
  int first = 0;
  int last = 0;
  bool operator==(const NodeRange&) const = default;
};

/// Whom a network joins: the devices of each of its nodes, its nodes of each zone, all its nodes.
enum class NetworkScope { node, zone, cluster };

constexpr auto enum_names(NetworkScope) {
  return std::to_array<std::string_view>({"node", "zone", "cluster"});
}

/// Switches that join many devices or nodes alike, so that ten thousand devices need no list of
/// pairs: the NVSwitch of each node, the rails of a cluster, the line between two zones.
struct Network {
  std::string name;
  std::string type;  ///< as Link::type: "NVLink4", "InfiniBand", "ethernet"
  NetworkScope scope = NetworkScope::cluster;
  std::vector<NodeRange> nodes;      ///< empty: all
  std::vector<std::string> devices;  ///< names of devices that are attached; empty: all
  /// Rails: adapters of one node; scope node: links of one device. As sure as bytes_per_s.
  int ports = 1;
  /// Scope node: switched, a device reaches each other one with all ports; else with one of them.
  LinkShape shape = LinkShape::switched;
  bool reduces = false;         ///< scope node: its switch sums what passes
  Uncertain latency_s;          ///< alpha
  Uncertain bytes_per_s;        ///< of one port, each direction, large messages
  double oversubscription = 1;  ///< ports below a switch over its uplinks; 1: full bisection
  bool rail_optimized = false;  ///< port i of every node meets at switch i
  std::optional<Uncertain> usd_per_byte;  ///< price of traffic
  bool operator==(const Network&) const = default;
};

/// A place with its own price of energy and carbon.
struct Zone {
  std::string name;
  std::optional<Uncertain> usd_per_kwh;
  std::optional<Uncertain> carbon_g_per_kwh;
  bool operator==(const Zone&) const = default;
};

/// What a job runs on. Each number carries its quality.
struct Cluster {
  std::string name = "local";
  std::vector<Node> nodes;
  std::vector<Device> devices;
  std::vector<Link> links;
  std::vector<Network> networks;
  std::vector<Zone> zones;
  /// Measurements made elsewhere that are a cost source here; their rates and transfers are in the
  /// devices, links and networks already.
  std::vector<ImportedProfile> profiles;
  std::vector<std::string> notes;  ///< what discovery could not read, for the user
  bool operator==(const Cluster&) const = default;
};

/// Counts for people, beside the Cluster in `parallel-opt hardware --json`.
struct ClusterSummary {
  int nodes = 0;
  int devices = 0;
  std::map<std::string, int> types;  ///< device name -> count
  bool operator==(const ClusterSummary&) const = default;
};

/// A Cluster with its summary, in one JSON object.
struct ClusterDocument {
  Cluster cluster;
  std::optional<ClusterSummary> summary;
  bool operator==(const ClusterDocument&) const = default;
};

/// The document that `parallel-opt hardware --json` prints.
ClusterDocument document_of(const Cluster& cluster);

/// Every broken rule; empty: well formed. Paths as in the cluster's JSON.
std::vector<Fault> check(const Cluster& cluster, const std::string& where = "cluster");

/// Identity of the hardware (types, counts, links; no measured values): 16 hex digits.
std::string hardware_hash(const Cluster& cluster);

/// The curve for a kernel, dtype and thread count (0: the whole device). When that count is missing
/// the nearest below stands in, else the smallest there is. nullptr when the kernel or dtype is not
/// known.
const RateCurve* find_rate(const Device& device, std::string_view kernel,
                           std::optional<DType> dtype, int threads);

/// The way between two devices, in either direction; with `type` empty the fastest one. Links of
/// the two devices come first, then networks that join them. Through a network between nodes the
/// rate is the device's share while all devices of its node send: ports / devices, at most one
/// port, over the oversubscription. Devices of two nodes without either use any link between the
/// nodes, else the slower of the links of both nodes with the first node. Empty when nothing
/// connects them.
std::optional<Link> find_link(const Cluster& cluster, DeviceId a, DeviceId b,
                              std::string_view type = {});

/// Whether the node is one of the network's.
bool covers(const Network& network, int node);
/// Whether the device is.
bool attached(const Network& network, const Device& device);

/// `devices` as they are written: those equal to an earlier one but for identity and place name it
/// in `like`, when there are more than kMostInFull.
inline constexpr std::size_t kMostInFull = 64;
std::vector<Device> compact(const std::vector<Device>& devices);
/// The reverse, after reading. A `like` that names no earlier device stays, for check() to name.
void expand(std::vector<Device>& devices);

}  // namespace parallel_opt

#include "parallel_opt/hardware/cluster_fields.h"
