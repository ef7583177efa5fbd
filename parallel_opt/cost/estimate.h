#pragma once

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

/// Predicted cost of one optimizer step of a plan, whoever made it: time, memory and energy, line
/// by line, with 80 % intervals and the quality of the worst number that went in. Formulas and
/// sources: docs/cost-model.md. Pre: check(graph), check(cluster), check(job) and validate(...) are
/// empty.
Estimate estimate(const Graph& graph, const Cluster& cluster, const Job& job, const Plan& plan);

}  // namespace parallel_opt
