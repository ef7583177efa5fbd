#pragma once

#include <string>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// A cluster as people write it, in JSON or YAML: groups of equal nodes, switches, single links,
/// zones and prices, numbers with their units (docs/howto-describe-cluster.md). `name` starts every
/// error. Throws InputError with every fault.
Cluster read_cluster_file(const std::string& json, const std::string& name);

/// Whether the text is such a file, and not a Cluster as `parallel-opt hardware` writes it.
bool is_cluster_file(const std::string& json, const std::string& name);

}  // namespace parallel_opt
