#include "parallel_opt/hardware/load.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/probe_cache.h"

namespace parallel_opt {
namespace {

constexpr char kPresetForm[] = "write NODESnCOUNTxDEVICE, as 2n8xH100-SXM-80GB";
constexpr std::int64_t kMostDevices = 100'000;

/// Links reach less than their data sheet says: 0.83 of it for A100 pairs, 0.46 for V100 pairs.
constexpr Uncertain kLinkShare{0.75, 0.45, 0.9, Quality::database};
/// One 200 Gbit/s adapter per device is usual for nodes with NVLink; anything from 10 to 400 is
/// sold.
constexpr Uncertain kNetworkBytesPerSecond{20e9, 1e9, 45e9, Quality::assumed};
constexpr Uncertain kNetworkLatency{10e-6, 4e-6, 60e-6, Quality::assumed};
constexpr double kLinkLatency = 5e-6;

std::string in_quotes(std::string_view text) {
  std::string all(1, '"');
  all.append(text);
  all.push_back('"');
  return all;
}

struct Term {
  std::int64_t nodes = 1;
  std::int64_t count = 1;
  const GpuRecord* gpu = nullptr;
};

/// Digits at the front of `text`, which is moved behind them; empty when there are none.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  if (digits == 0 || digits > 9) return std::nullopt;
  const auto number = leading_integer(text.substr(0, digits));
  text.remove_prefix(digits);
  return number;
}

Fault unknown_device(const DeviceDatabase& database, const std::string& where,
                     const std::string& name) {
  std::vector<std::string> known;
  for (const GpuRecord& gpu : database.gpus) {
    known.push_back(gpu.name);
    known.insert(known.end(), gpu.aliases.begin(), gpu.aliases.end());
  }
  const std::string nearest = nearest_match(name, known);
  std::vector<std::string> names;
  names.reserve(database.gpus.size());
  for (const GpuRecord& gpu : database.gpus) names.push_back(gpu.name);
  return {where, "unknown device " + in_quotes(name),
          nearest.empty() ? "known: " + join(names, ", ") : "did you mean " + nearest + "?"};
}

Term read_term(const DeviceDatabase& database, const std::string& where, std::string_view text,
               std::vector<Fault>& faults) {
  Term term;
  std::string_view rest = text;
  std::optional<std::int64_t> number = take_number(rest);
  if (number && rest.starts_with('n')) {
    term.nodes = *number;
    rest.remove_prefix(1);
    number = take_number(rest);
  }
  if (number && rest.starts_with('x')) {
    term.count = *number;
    rest.remove_prefix(1);
  } else {
    rest = text;  // a name may start with a digit; a name alone is one device
    if (term.nodes != 1) {
      faults.push_back({where, in_quotes(text) + " has no device count", kPresetForm});
      return term;
    }
  }
  if (term.nodes < 1 || term.count < 1 || term.nodes > kMostDevices ||
      term.nodes * term.count > kMostDevices) {
    faults.push_back({where, in_quotes(text) + " has a count outside 1 .. 100000", ""});
    return term;
  }
  term.gpu = find_gpu(database, std::string(rest));
  if (term.gpu == nullptr) faults.push_back(unknown_device(database, where, std::string(rest)));
  return term;
}

void add_node(const Term& term, Cluster& cluster) {
  Node node;
  const auto index = static_cast<int>(cluster.nodes.size());
  node.name = "node" + std::to_string(index);
  node.sockets = 2;
  node.cores = 64;
  node.threads = 128;
  node.numa_nodes = 2;
  // Hosts are bought with about twice the memory of their devices.
  node.memory_bytes =
      within(2 * term.gpu->memory_bytes * double(term.count), 0.5, Quality::assumed);
  cluster.nodes.push_back(node);
  const std::size_t first = cluster.devices.size();
  for (std::int64_t i = 0; i < term.count; ++i) {
    Device device = device_of(*term.gpu);
    device.node = index;
    cluster.devices.push_back(std::move(device));
  }
  for (std::size_t a = first; a < cluster.devices.size(); ++a) {
    for (std::size_t b = a + 1; b < cluster.devices.size(); ++b) {
      cluster.links.push_back({DeviceId(a), DeviceId(b), term.gpu->link,
                               within(kLinkLatency, 0.5, Quality::assumed),
                               kLinkShare * term.gpu->link_bytes_per_s});
    }
  }
  if (index > 0) {
    cluster.links.push_back({DeviceId(std::size_t(0)), DeviceId(first), "network", kNetworkLatency,
                             kNetworkBytesPerSecond});
  }
}

bool is_file_name(const std::string& spec) {
  std::error_code error;
  return spec.ends_with(".json") || spec.find('/') != std::string::npos ||
         std::filesystem::exists(spec, error);
}

Cluster read_cluster(const std::string& path) {
  if (path.ends_with(".yaml") || path.ends_with(".yml")) {
    throw InputError(path, "is YAML, which this version does not read", "write it as JSON");
  }
  ClusterDocument document = from_json<ClusterDocument>(read_file(path), path);
  throw_if_any(check(document.cluster, path + ":cluster"));
  return std::move(document.cluster);
}

}  // namespace

Cluster preset_cluster(const std::string& spec) {
  const DeviceDatabase database = load_database();
  std::vector<Fault> faults;
  std::vector<Term> terms;
  std::int64_t devices = 0;
  for (const std::string& part : split(spec, '+')) {
    terms.push_back(read_term(database, "--cluster " + spec, part, faults));
    devices += terms.back().nodes * terms.back().count;
  }
  throw_if_any(std::move(faults));
  if (devices > kMostDevices) {
    throw InputError("--cluster " + spec, "has more than 100000 devices", "");
  }
  Cluster cluster;
  cluster.name = spec;
  for (const Term& term : terms) {
    for (std::int64_t i = 0; i < term.nodes; ++i) add_node(term, cluster);
  }
  cluster.notes.emplace_back("hosts of a preset are assumed: 2 sockets, 64 cores");
  if (cluster.nodes.size() > 1) {
    cluster.notes.emplace_back("the network of a preset is assumed: 200 Gbit/s per device");
  }
  return cluster;
}

void merge_cached_probes(Cluster& cluster, const FileSystem& files, const std::string& directory,
                         const std::string& software, const std::string& now) {
  for (std::size_t i = 0; i < cluster.devices.size(); ++i) {
    CachedProbes cached = cached_probes(files, directory, cluster.devices[i], software, now);
    std::ranges::move(cached.notes, std::back_inserter(cluster.notes));
    if (cached.probes) merge_probes(cluster, *cached.probes);
  }
}

Cluster load_cluster(const std::string& spec, const std::string& software) {
  if (spec == "local") {
    Cluster cluster =
        discover(DiskFileSystem(), {.nvml_library = "libnvidia-ml.so.1", .cross_check = true});
    merge_cached_probes(cluster, DiskFileSystem(), probe_directory(), software, today());
    return cluster;
  }
  if (is_file_name(spec)) return read_cluster(spec);
  return preset_cluster(spec);
}

}  // namespace parallel_opt
