#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/hardware/merge_hosts.h"
#include "parallel_opt/hardware/profile_merge.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

/// --merge FILE,FILE: hosts as `hardware --json` showed them, each on itself.
Cluster merged(const std::string& paths) {
  const std::vector<std::string> names = split(paths, ',');
  std::vector<Cluster> hosts;
  hosts.reserve(names.size());
  for (const std::string& name : names) hosts.push_back(load_cluster(name));
  return merge_hosts(hosts, names);
}

Cluster chosen(const Args& args) {
  const int ways = int(args.has("NAME")) + int(args.has("root")) + int(args.has("merge"));
  if (ways > 1) {
    throw UsageError("parallel-opt hardware", "NAME, --root and --merge exclude each other",
                     "keep one");
  }
  if (const std::optional<std::string> paths = args.get("merge")) return merged(*paths);
  if (const std::optional<std::string> root = args.get("root")) {
    if (DiskFileSystem().list(*root).empty()) {
      throw InputError(*root, "is no directory with files", "--root holds proc/ and sys/");
    }
    return discover(DiskFileSystem(*root));
  }
  return load_cluster(args.get_or("NAME", "local"));
}

std::string bytes_text(const Uncertain& bytes) {
  return show(Bytes(static_cast<std::int64_t>(bytes.value)));
}

/// What the device reaches in a kernel: "1.2 TFLOP/s (measured)".
std::string best_rate(const Device& device, std::string_view kernel, std::optional<DType> dtype) {
  const RateCurve* curve = find_rate(device, kernel, dtype, 0);
  if (curve == nullptr) return "-";
  const bool memory = kernel == "memory";
  // Small copies run in caches: memory is what the largest one reaches.
  double best = memory ? curve->points.back().per_second : 0;
  for (const RatePoint& point : curve->points) {
    if (!memory) best = std::max(best, point.per_second);
  }
  const std::string rate =
      memory ? show(Bytes(static_cast<std::int64_t>(best))) : show(Flops(best));
  return rate + "/s (" + std::string(name_of(curve->quality)) + ")";
}

Table node_table(const Cluster& cluster) {
  Table nodes{{{"node"},
               {"count", Align::right},
               {"processor"},
               {"sockets", Align::right},
               {"cores", Align::right},
               {"usable", Align::right},
               {"memory", Align::right}},
              {}};
  for (std::size_t i = 0; i < cluster.nodes.size(); ++i) {
    const Node& node = cluster.nodes[i];
    std::size_t count = 1;  // equal neighbours share a row
    for (Node next = node; i + 1 < cluster.nodes.size(); ++i, ++count) {
      next.name = cluster.nodes[i + 1].name;
      if (cluster.nodes[i + 1] != next) break;
    }
    nodes.rows.push_back({node.name, std::to_string(count), node.cpu_model,
                          std::to_string(node.sockets), std::to_string(node.cores),
                          std::to_string(node.threads), bytes_text(node.memory_bytes)});
  }
  return nodes;
}

Table device_table(const Cluster& cluster) {
  Table devices{{{"device"},
                 {"count", Align::right},
                 {"memory", Align::right},
                 {"matmul fp32"},
                 {"matmul bf16"},
                 {"memory bandwidth"}},
                {}};
  for (std::size_t i = 0; i < cluster.devices.size(); ++i) {
    const Device& device = cluster.devices[i];
    // Equal neighbours share a row.
    std::size_t count = 1;
    while (i + 1 < cluster.devices.size() && cluster.devices[i + 1].name == device.name)
      ++count, ++i;
    devices.rows.push_back({device.name, std::to_string(count), bytes_text(device.memory_bytes),
                            best_rate(device, "matmul", DType::fp32),
                            best_rate(device, "matmul", DType::bf16),
                            best_rate(device, "memory", std::nullopt)});
  }
  return devices;
}

Table network_table(const Cluster& cluster) {
  Table networks{{{"network"},
                  {"joins"},
                  {"ports", Align::right},
                  {"bandwidth of one"},
                  {"oversubscribed", Align::right}},
                 {}};
  for (const Network& network : cluster.networks) {
    const std::string joins = network.scope == NetworkScope::node   ? "devices of a node"
                              : network.scope == NetworkScope::zone ? "nodes of a zone"
                                                                    : "nodes";
    networks.rows.push_back({network.name, joins, std::to_string(network.ports),
                             bytes_text(network.bytes_per_s) + "/s (" +
                                 std::string(name_of(network.bytes_per_s.quality)) + ")",
                             show(network.oversubscription)});
  }
  return networks;
}

void print_cluster(const Cluster& cluster, std::ostream& out) {
  out << cluster.name << "\n\n"
      << to_text(node_table(cluster)) << '\n'
      << to_text(device_table(cluster));
  if (!cluster.networks.empty()) out << '\n' << to_text(network_table(cluster));
  for (const ImportedProfile& profile : cluster.profiles) {
    out << "profile: " << profile.name << ", " << profile.rows.size() << " rows, "
        << profile.transfers.size() << " transfers, " << profile.rates.size() << " rate curves\n";
  }
  for (const std::string& note : cluster.notes) out << "note: " << note << '\n';
}

/// --profile FILE[,FILE]: measurements made elsewhere become a cost source of the cluster.
void add_named_profiles(const Args& args, Cluster& cluster) {
  const std::optional<std::string> paths = args.get("profile");
  if (!paths) return;
  std::vector<Fault> faults;
  add_profiles(cluster, split(*paths, ','), "", "--profile", faults);
  throw_if_any(std::move(faults));
}

ExitCode run_hardware(const Args& args, const Console& console) {
  Cluster cluster = chosen(args);
  add_named_profiles(args, cluster);
  const std::optional<std::string> output = args.get("output");
  if (output) write_output(*output, to_json(cluster));
  if (console.json) {
    print_json(console, document_of(cluster));
  } else if (output) {
    console.out << *output << '\n';
  } else {
    print_cluster(cluster, console.out);
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt hardware 2n8xH100-SXM-80GB
Command hardware_command() {
  return {
      .name = "hardware",
      .summary = "Show this machine or a cluster, each number with its quality.",
      .arguments = {{"NAME", "local (default), a preset as 2n8xH100-SXM-80GB, or a file", false}},
      .flags = {{"root", "DIR", "read /proc, /sys and driver records below DIR instead of /"},
                {"merge", "FILE,FILE", "one cluster of several hosts' own `hardware --json`"},
                {"profile", "FILE[,FILE]", "add measurements made elsewhere (probe --import)"},
                {"output", "FILE", "write the cluster there", 'o'}},
      .examples = {"parallel-opt hardware",
                   "parallel-opt hardware 4xA100-40GB+4xV100-16GB -o mix.json"},
      .run = run_hardware,
  };
}

}  // namespace parallel_opt
