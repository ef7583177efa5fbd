#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/base/uncertain.h"

namespace parallel_opt {

enum class DeviceKind { cpu, gpu };

constexpr auto enum_names(DeviceKind) { return std::to_array<std::string_view>({"cpu", "gpu"}); }

/// One point of a rate curve: the rate reached by one call of that size.
struct RatePoint {
  double size = 0;        ///< FLOPs of the call (compute) or bytes moved (memory, links)
  double per_second = 0;  ///< FLOP/s or bytes/s
  bool operator==(const RatePoint&) const = default;
};

/// How fast a device runs one family of kernels: a curve over size, log-interpolated, flat outside.
struct RateCurve {
  std::string kernel;  ///< "matmul", "convolution", "attention", "elementwise", "memory", ...
  std::optional<DType> dtype;     ///< absent where it does not matter
  int threads = 0;                ///< CPU threads used; 0: the whole device
  std::vector<RatePoint> points;  ///< by rising size, at least one
  Quality quality = Quality::assumed;
  std::string source;  ///< "probe 2026-11-21", "data sheet"
  bool operator==(const RateCurve&) const = default;
};

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
  std::vector<RateCurve> rates;
  /// Overhead of one operator in an eager PyTorch training step, seconds: half of forward (recorded
  /// by autograd) plus backward.
  std::optional<Uncertain> launch_s;
  std::optional<Power> power;
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
  double cpu_quota = 0;  ///< cores' worth of time that the cgroup grants; 0: no limit
  int numa_nodes = 1;
  std::vector<Cache> caches;
  Uncertain memory_bytes;
  std::optional<std::string> virtualization;  ///< "kvm", when a hypervisor shows itself
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

/// What a job runs on. Each number carries its quality.
struct Cluster {
  std::string name = "local";
  std::vector<Node> nodes;
  std::vector<Device> devices;
  std::vector<Link> links;
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

/// The way between two devices, in either direction; with `type` empty the fastest one. Devices of
/// two nodes without a link of their own use any link between the nodes, else the slower of the
/// links of both nodes with the first node. nullptr when nothing connects them.
const Link* find_link(const Cluster& cluster, DeviceId a, DeviceId b, std::string_view type = {});

/// Log-interpolated rate at `size`. Pre: the curve has a point.
double rate_at(const RateCurve& curve, double size);

}  // namespace parallel_opt

#include "parallel_opt/hardware/cluster_fields.h"
