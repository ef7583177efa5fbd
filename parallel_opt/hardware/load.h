#pragma once

#include <string>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// The cluster that a user names (`--cluster`):
///   "local"                                this host, with the probes cached for it
///   "cluster.json", "cluster.yaml"         a document of `parallel-opt hardware`, or a cluster as
///                                          people describe it (cluster_file.h)
///   "2n8xH100-SXM-80GB"                    2 nodes of 8 devices from the database
///   "4xA100-40GB+4xV100-16GB"              nodes of different devices
/// Throws InputError with every fault, for unknown names with the nearest known one; SystemError
/// when a file cannot be read.
/// `software` ("torch 2.13.0+cpu"): merge only probes of this framework; empty: the newest of any.
Cluster load_cluster(const std::string& spec, const std::string& software = "");

/// Puts the newest usable probe of `directory` into each device and says in `notes` which entries
/// were passed over. `now` is the day, "2026-11-21".
void merge_cached_probes(Cluster& cluster, const FileSystem& files, const std::string& directory,
                         const std::string& software, const std::string& now);

}  // namespace parallel_opt
