#include "parallel_opt/hardware/load.h"

#include <algorithm>
#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/cluster_file.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/preset.h"
#include "parallel_opt/hardware/probe_cache.h"
#include "parallel_opt/hardware/yaml.h"

namespace parallel_opt {
namespace {

bool is_yaml(const std::string& path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

bool is_file_name(const std::string& spec) {
  std::error_code error;
  if (spec.ends_with(".json") || is_yaml(spec) || std::filesystem::exists(spec, error)) return true;
  // "2n8xH100-SXM-80GB@400Gbit/s" has a slash too.
  return spec.find('/') != std::string::npos && spec.find('@') == std::string::npos;
}

Cluster read_cluster(const std::string& path) {
  std::string text = read_file(path);
  if (is_yaml(path)) text = yaml_to_json(text, path);
  if (is_cluster_file(text, path)) return read_cluster_file(text, path);
  ClusterDocument document = from_json<ClusterDocument>(text, path);
  throw_if_any(check(document.cluster, path + ":cluster"));
  return std::move(document.cluster);
}

}  // namespace

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
    Cluster cluster = discover(DiskFileSystem(), this_machine());
    merge_cached_probes(cluster, DiskFileSystem(), probe_directory(), software, today());
    return cluster;
  }
  if (is_file_name(spec)) return read_cluster(spec);
  return preset_cluster(spec);
}

}  // namespace parallel_opt
