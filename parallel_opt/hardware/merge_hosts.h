#pragma once

#include <string>
#include <vector>

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// One cluster of several hosts, each as `parallel-opt hardware --json` shows it there. Networks of
/// one name and type join all hosts that have them, at the rate of the slowest; hosts that nothing
/// joins get an assumed 10 Gbit/s network and a note. Equal host names are numbered. `names` say
/// where each came from, for errors. Throws InputError: nothing to merge, a host given twice.
Cluster merge_hosts(const std::vector<Cluster>& hosts, const std::vector<std::string>& names);

}  // namespace parallel_opt
