#pragma once

#include <map>
#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cli/process.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// What `doctor` looks at, each from the outside world that it is given.

/// What Python says of itself: its version, the versions of torch and parallel_opt, Python.h; with
/// `gpus`, whether that torch was built for any.
std::vector<Check> check_python(const Processes& processes, bool gpus = false);
Check check_cores(const Cluster& cluster);
Check check_memory(const Cluster& cluster);
Check check_load(const FileSystem& files, const Cluster& cluster);
Check check_shared_memory(std::optional<Bytes> free);
/// `interfaces`: values of the environment's GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME, by name.
Check check_network(const FileSystem& files, bool host_name_resolves,
                    const std::map<std::string, std::string>& interfaces = {});
/// `forbidden`: device files of drivers that this user may not open.
Check check_gpus(const FileSystem& files, const Cluster& cluster,
                 const std::vector<std::string>& forbidden = {});
Check check_energy_counters(const FileSystem& files, const Cluster& cluster);
Check check_cache_directory(const std::string& directory);
Check check_probes(const FileSystem& files, const std::string& directory, const Cluster& cluster,
                   const std::string& now);

/// All of them, on this machine.
std::vector<Check> all_checks(const Processes& processes);

}  // namespace parallel_opt
