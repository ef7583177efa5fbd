#include "parallel_opt/cost/accelerator.h"

#include <algorithm>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/preset.h"

namespace parallel_opt {
namespace {

constexpr double kLowLinkBytesPerS = 16e9;     // a device without a published link: PCIe 4 x8
constexpr double kLowHostBytesPerS = 15.75e9;  // likewise without one to the host: PCIe 3 x16
constexpr double kSocketBytesPerS = 204.8e9;   // eight channels of DDR4-3200

/// Generations of silicon: matrix units of one give about the same work per joule.
std::string family_of(const std::string& arch) {
  const auto one_of = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, std::string_view(arch)) != names.end();
  };
  if (one_of({"Grace-Hopper", "Ada", "Grace-Blackwell", "RDNA3", "RDNA4"})) {
    return "Hopper";  // 5 nm and newer
  }
  if (arch.find("Blackwell") != std::string::npos) return "Hopper";
  if (one_of({"Trillium", "Ironwood"}) || arch.starts_with("TPU")) return "TPU";
  if (one_of({"RDNA2"})) return "Ampere";                               // 7 nm
  if (one_of({"Turing", "Pascal", "CDNA1", "Vega20"})) return "Volta";  // 12 nm and older
  return arch;
}

std::optional<double> peak(const DeviceRecord& record, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto it = record.flops_per_s.find(name);
    if (it != record.flops_per_s.end()) return it->second.value;
  }
  return std::nullopt;
}

/// Recipes for training in 4 bits keep some layers, and some of a layer's three products, wider.
std::optional<double> four_bit_rate(const DeviceRecord& record) {
  constexpr double kNarrowest = 0.75;
  const auto four = peak(record, {"fp4"}), eight = peak(record, {"fp8"});
  if (!four || !eight) return eight;
  return 1 / (kNarrowest / *four + (1 - kNarrowest) / *eight);
}

/// 16 per multiprocessor and clock since 2017; Blackwell Ultra has twice as many.
double exponentials_of(const DeviceRecord& record, double units) {
  constexpr double kPerClock = 16, kClock = 1.6e9;
  const bool twice = record.arch.find("Ultra") != std::string::npos || record.name == "GB300";
  return units * kPerClock * kClock * (twice ? 2 : 1);
}

/// Chips that the links of a TPU join, whatever hosts they are plugged into; 0: of no other device.
/// docs.cloud.google.com/tpu/docs, a page per generation.
double pod_of(const DeviceRecord& record) {
  const DeviceLink* link = neighbour_link(record);
  if (record.kind != DeviceCategory::tpu || link == nullptr) return 0;
  if (record.arch == "TPU v3") return 1024;
  if (record.arch == "TPU v4") return 4096;
  if (record.arch == "TPU v5p") return 8960;
  return record.arch == "Ironwood" ? 9216 : 256;
}

/// Devices along an axis of a torus from which its ends are joined. Slices of v5e and v6e are cut
/// out of a pod of 16 x 16 whose own axes alone are closed; those of others are cubes of 4 joined
/// by optical switches. docs.cloud.google.com/tpu/docs, a page per generation.
double closed_side_of(const DeviceRecord& record) {
  return record.arch == "TPU v5e" || record.arch == "Trillium" ? 16 : 4;
}

NodeLinks links_of(const DeviceLink* link) {
  if (link == nullptr) return {kLowLinkBytesPerS, kLowLinkBytesPerS, LinkShape::switched};
  const double all = link->bytes_per_s.value;
  NodeLinks links{all, link->pair_bytes_per_s ? link->pair_bytes_per_s->value : all, link->shape};
  links.reduces = link->reduces;
  if (link->reached) links.reached = link->reached->value;
  return links;
}

/// Six links of a V100: two to each of the three others of its machine; of eight (DGX-1,
/// p3.16xlarge) one or two to four of them, in a cube of two such squares; with more (DGX-2) to
/// switches.
void wire_by_machine(const DeviceRecord& record, double per_node, NodeLinks& links) {
  constexpr double kLinks = 6;
  if (record.arch != "Volta" || links.shape != LinkShape::mesh || per_node <= 4) return;
  if (per_node > 8) {
    links = {links.all_bytes_per_s, links.all_bytes_per_s, LinkShape::switched};
  } else {
    links.cube = true;
    links.pair_bytes_per_s = links.all_bytes_per_s / kLinks;
  }
}

HostFacts host_of(const DeviceRecord& record) {
  HostFacts host;
  for (const DeviceLink& link : record.links) {
    if (link.to != LinkEnd::host) continue;
    host.link_bytes_per_s = std::max(host.link_bytes_per_s, link.bytes_per_s.value);
  }
  if (host.link_bytes_per_s <= 0) host.link_bytes_per_s = kLowHostBytesPerS;
  const UsualHost usual = record.host.value_or(UsualHost{});
  host.devices = usual.devices;
  host.cores = usual.cores;
  host.bytes_per_s =
      usual.memory_bytes_per_s > 0 ? usual.memory_bytes_per_s : usual.sockets * kSocketBytesPerS;
  host.memory_bytes = usual.memory_bytes;
  return host;
}

/// As it is stated, else that of the usual machine, else what most hosts are sold with.
void set_network(const DeviceRecord& record, const Surroundings& around, Accelerator& device) {
  const bool usual = record.host && record.host->adapter_bytes_per_s > 0;
  device.network_quality = usual ? record.host->quality : Quality::assumed;
  if (around.network_bytes_per_s) {
    device.network_bytes_per_s = *around.network_bytes_per_s;
    device.adapters = around.adapters;
    device.network_quality = Quality::reported;
  } else if (usual) {
    device.network_bytes_per_s =
        record.host->adapters * record.host->adapter_bytes_per_s / record.host->devices;
    device.adapters = device.per_node * record.host->adapters / record.host->devices;
  } else {
    const bool slice = record.kind == DeviceCategory::tpu;  // of many hosts
    const double usually = record.host ? record.host->devices : 8;
    const double in_host = slice ? usually : around.per_node.value_or(usually);
    device.network_bytes_per_s = kAssumedAdapterBytesPerS / std::max(1.0, in_host);
    device.adapters = slice ? 0 : 1;
  }
}

}  // namespace

std::optional<Accelerator> accelerator_of(const DeviceRecord& record, const std::string& dtype,
                                          const Surroundings& around) {
  const auto half = peak(record, {"bf16", "fp16", "fp32"});
  if (!half) return std::nullopt;
  Accelerator device;
  device.arch = family_of(record.arch);
  device.board = board_of(record.name);
  device.half_flops_per_s = *half;
  const std::string type = lower_case(dtype);
  std::optional<double> wanted = half;
  if (type.find("fp4") != std::string::npos) {
    wanted = four_bit_rate(record);
  } else if (type.find("int8") != std::string::npos) {
    wanted = peak(record, {"int8", "fp8"});
  } else if (type.find('8') != std::string::npos) {
    wanted = peak(record, {"fp8"});
  } else if (type.find("fp32") != std::string::npos) {
    wanted = peak(record, {"fp32"});
  } else if (type.find("tf32") != std::string::npos) {
    wanted = peak(record, {"tf32", "fp32"});
  }
  device.flops_per_s = wanted.value_or(*half);
  device.narrow = device.flops_per_s > *half;
  device.scalar = record.vendor == "NVIDIA" && type.find("fp32") != std::string::npos;
  // Kernels that scale by rows reached the speed of 16 bits (torchtitan's tables of asynchronous
  // tensor parallelism).
  if (type.find("rowwise") != std::string::npos) device.flops_per_s = *half;
  device.bytes_per_s = record.memory_bytes_per_s.value;
  device.units = record.units ? record.units->value : 100;
  if (record.units) device.exponentials_per_s = exponentials_of(record, device.units);
  const double of_host = record.host ? record.host->devices : 8;
  device.per_node = around.per_node.value_or(of_host);
  device.links = links_of(neighbour_link(record, device.per_node));
  // More chips than a host has are a slice: its links end there.
  if (device.per_node <= of_host) device.per_node = std::max(device.per_node, pod_of(record));
  device.links.closed_side = closed_side_of(record);
  wire_by_machine(record, device.per_node, device.links);
  set_network(record, around, device);
  device.host = host_of(record);
  device.memory_bytes = record.memory_bytes ? record.memory_bytes->value : 0;
  device.idle_w = record.idle_w ? record.idle_w->value : 0;
  device.max_w = record.max_w ? record.max_w->value : 0;
  if (device.idle_w == 0) device.idle_w = 0.12 * device.max_w;
  return device;
}

std::vector<std::string> stand_ins(const DeviceRecord& record, const std::string& dtype,
                                   double per_node) {
  std::vector<std::string> notes;
  const bool whole = dtype.find("fp32") != std::string::npos;
  if (whole && !record.flops_per_s.contains("fp32")) {
    notes.push_back("products of " + record.name + " as fast as in 16 bits, as no rate in " +
                    dtype + " is known");
  }
  const DeviceLink* of_two = neighbour_link(record);
  const DeviceLink* of_all = neighbour_link(record, per_node);
  if (of_two != of_all) {
    notes.push_back("links of " + record.name + " are " + (of_all ? of_all->type : "not known") +
                    ", as its " + of_two->type + " joins two of the " +
                    std::to_string(std::int64_t(per_node)) + " in a node");
  }
  return notes;
}

void keep_one_die(int dies, Accelerator& package) {
  for (double* part :
       {&package.flops_per_s, &package.half_flops_per_s, &package.bytes_per_s, &package.units,
        &package.exponentials_per_s, &package.host.link_bytes_per_s}) {
    *part /= dies;
  }
  package.host.devices *= dies;
}

namespace {

/// Of a device that the database does not know: the best rates that were measured or assumed.
std::optional<Accelerator> accelerator_of(const Device& device, Precision precision) {
  Accelerator out;
  for (const RateCurve& curve : device.rates) {
    if (curve.points.empty()) continue;
    double most = 0;
    for (const RatePoint& point : curve.points) most = std::max(most, point.per_second);
    if (curve.kernel == "copy" || curve.kernel == "memory") {
      out.bytes_per_s = std::max(out.bytes_per_s, most);
    } else if (curve.kernel == "matmul") {
      const bool low = curve.dtype.value_or(DType::fp32) != DType::fp32;
      if (low == (precision != Precision::fp32)) out.flops_per_s = std::max(out.flops_per_s, most);
      out.half_flops_per_s = std::max(out.half_flops_per_s, most);
    }
  }
  if (out.half_flops_per_s <= 0 || out.bytes_per_s <= 0) return std::nullopt;
  if (out.flops_per_s <= 0) out.flops_per_s = out.half_flops_per_s;
  return out;
}

/// A device that has its own memory, where the record is of the whole package.
void keep_one_die(const DeviceRecord& record, const Device& device, Accelerator& out) {
  const bool whole =
      !record.memory_bytes || device.memory_bytes.value > 0.75 * record.memory_bytes->value;
  const int dies = dies_of(record);
  if (dies > 1 && !whole) keep_one_die(dies, out);
}

/// Of the node that the device stands in, with as many others as there are.
void read_host(const Cluster& cluster, int node, Accelerator& out) {
  const Node& around = cluster.nodes[static_cast<std::size_t>(node)];
  out.host.devices = double(std::ranges::count_if(cluster.devices, [&](const Device& other) {
    return other.node == node && other.kind == DeviceKind::gpu;
  }));
  out.host.memory_bytes = around.memory_bytes.value;
  out.host.cores = around.cpu_quota.value_or(around.cores);
  if (out.host.link_bytes_per_s <= 0) out.host.link_bytes_per_s = kLowHostBytesPerS;
  if (out.host.bytes_per_s <= 0) out.host.bytes_per_s = around.sockets * kSocketBytesPerS;
}

}  // namespace

namespace {

/// One device of a cluster, but for its neighbours.
Accelerator accelerator_at(const Cluster& cluster, std::size_t at, Precision precision) {
  const Device& device = cluster.devices[at];
  const DeviceRecord* record = find_device(load_database(), device.name);
  const std::string type = precision == Precision::automatic ? "" : std::string(name_of(precision));
  auto one = record != nullptr ? accelerator_of(*record, type) : std::nullopt;
  if (one) keep_one_die(*record, device, *one);
  if (!one) one = accelerator_of(device, precision);
  if (!one) {
    throw InputError("cluster.devices[" + std::to_string(at) + "]",
                     "the rates of '" + device.name + "' are not known",
                     "parallel-opt probe measures them");
  }
  one->memory_bytes = device.memory_bytes.value;
  read_host(cluster, device.node, *one);
  if (device.power) {
    one->idle_w = device.power->idle_w.value;
    one->max_w = device.power->max_w.value;
  }
  return *one;
}

/// Ports of a node's adapters to networks of one type: one message takes one, a collective all.
double ports_of_node(const Cluster& cluster, std::size_t at, const std::string& type) {
  double most = 1;
  for (const Network& network : cluster.networks) {
    const bool joins = network.scope != NetworkScope::node && network.type == type &&
                       covers(network, cluster.devices[at].node);
    if (joins) most = std::max(most, double(network.ports));
  }
  return most;
}

/// Its node's devices and their links. One device of another node tells the network: of the same
/// group, else the nearest.
void read_neighbours(const Cluster& cluster, std::size_t at, const std::vector<std::size_t>& group,
                     Accelerator& out) {
  const auto is_far = [&](std::size_t i) {
    const Device& other = cluster.devices[i];
    return other.kind == DeviceKind::gpu && other.node != cluster.devices[at].node;
  };
  // Clusters state what is reached; the model's efficiencies are of what links are sold as.
  if (const auto near = node_reach(cluster, static_cast<int>(at))) {
    out.links = near->links;
    out.links.all_bytes_per_s /= kLinkShare.value;
    out.links.pair_bytes_per_s /= kLinkShare.value;
  }
  out.per_node = out.host.devices;
  const auto own = std::ranges::find_if(group, is_far);
  std::optional<std::size_t> far;
  if (own != group.end()) far = *own;
  for (std::size_t d = 1; !far && d < cluster.devices.size(); ++d) {
    if (at + d < cluster.devices.size() && is_far(at + d)) far = at + d;
    if (!far && d <= at && is_far(at - d)) far = at - d;
  }
  const auto link = far ? find_link(cluster, DeviceId(at), DeviceId(*far)) : std::nullopt;
  if (link) {
    out.network_quality = link->bytes_per_s.quality;
    const bool sold = out.network_quality == Quality::reported;  // by who wrote the file
    out.adapters = ports_of_node(cluster, at, link->type);
    out.network_bytes_per_s = link->bytes_per_s.value / (sold ? 1 : kAdapterShare.value) *
                              std::max(1.0, out.adapters / std::max(1.0, out.host.devices));
  }
  const DeviceRecord* record = find_device(load_database(), cluster.devices[at].name);
  if (record != nullptr) {
    const DeviceLink* beside = neighbour_link(*record);
    if (beside != nullptr && beside->reached) out.links.reached = beside->reached->value;
    wire_by_machine(*record, out.per_node, out.links);
  }
  if (record != nullptr && pod_of(*record) > 0) {
    out.per_node = std::max(out.per_node, pod_of(*record));
    out.links = links_of(neighbour_link(*record));
    out.links.closed_side = closed_side_of(*record);
  }
}

/// The slowest of some devices.
Accelerator slowest_of(const Cluster& cluster, const std::vector<std::size_t>& devices,
                       Precision precision) {
  std::optional<Accelerator> slowest;
  std::size_t at = 0;
  double least_bytes = 0;
  for (const std::size_t i : devices) {
    const double bytes = cluster.devices[i].memory_bytes.value;
    least_bytes = slowest ? std::min(least_bytes, bytes) : bytes;
    if (slowest && cluster.devices[i].name == cluster.devices[at].name) continue;
    const Accelerator one = accelerator_at(cluster, i, precision);
    if (slowest && one.flops_per_s >= slowest->flops_per_s) continue;
    slowest = one;
    at = i;
  }
  if (!slowest) {
    throw InputError("cluster", "it has no accelerators", "name one that has, as 8xH100-SXM-80GB");
  }
  read_neighbours(cluster, at, devices, *slowest);
  slowest->memory_bytes = least_bytes;
  return *slowest;
}

std::vector<std::size_t> accelerators_of(const Cluster& cluster, double used) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < cluster.devices.size() && double(found.size()) < used; ++i) {
    if (cluster.devices[i].kind == DeviceKind::gpu) found.push_back(i);
  }
  return found;
}

}  // namespace

Accelerator accelerator_of(const Cluster& cluster, Precision precision, double used) {
  return slowest_of(cluster, accelerators_of(cluster, used), precision);
}

std::vector<RankDevices> devices_of_ranks(const Cluster& cluster, Precision precision, int ranks,
                                          double used) {
  const std::vector<std::size_t> all = accelerators_of(cluster, used);
  const std::size_t each = all.size() / std::size_t(std::max(1, ranks));
  std::vector<RankDevices> out;
  for (int r = 0; r < ranks; ++r) {
    const auto first = all.begin() + std::ptrdiff_t(std::size_t(r) * each);
    std::vector<std::size_t> own(first, first + std::ptrdiff_t(each));
    Accelerator device = slowest_of(cluster, own, precision);
    out.push_back({std::move(device), std::move(own)});
  }
  return out;
}

}  // namespace parallel_opt
