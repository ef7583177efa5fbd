#pragma once

#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

/// Every rule that a plan breaks, whoever made it: mesh and placements agree, devices and cores
/// exist and are not given twice, shares sum to the global batch, micro-batches divide them,
/// recompute names exist in the graph, micro-batching does not change what a batch-mixing operator
/// computes, the plan was made for this model and hardware, pins are kept, the memory limit holds.
/// Empty: the plan may run.
std::vector<Fault> validate(const Graph& graph, const Cluster& cluster, const Job& job,
                            const Plan& plan);

}  // namespace parallel_opt
