#pragma once

#include <string>
#include <vector>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// Makes a profile a cost source of the cluster. Its rate curves replace those of their kernel and
/// dtype in every device of that name. Its p2p times, fitted as alpha-beta, replace those of links
/// between two such devices of a node and of networks that join only devices it has times for. The
/// rows are kept in Cluster::profiles, to be asked with find_profiled(). Returns faults, starting
/// with `where`, and leaves the cluster alone when there are any: a name taken already, devices
/// that the cluster does not have.
std::vector<Fault> add_profile(Cluster& cluster, ImportedProfile profile, const std::string& where);

/// Reads profiles that `where` ("cluster.yaml:profiles") names by path, relative to `directory`,
/// and adds each. Appends a fault for each that cannot be read, is broken or does not fit.
void add_profiles(Cluster& cluster, const std::vector<std::string>& paths,
                  const std::string& directory, const std::string& where,
                  std::vector<Fault>& faults);

}  // namespace parallel_opt
