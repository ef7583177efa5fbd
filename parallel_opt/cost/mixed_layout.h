#pragma once

#include <vector>

#include "parallel_opt/cost/layout_cost.h"

/// Layouts whose pipeline has ranks that differ: in their devices, or in the blocks that a list
/// names for recomputation.
namespace parallel_opt {

/// One step of a pipeline whose ranks differ.
struct MixedCost {
  LayoutCost cost;             ///< seconds of the slowest rank, bytes of the fullest
  int fullest = 0;             ///< by its device's memory
  int fullest_host = 0;        ///< by its host's memory
  std::vector<double> busy_s;  ///< by rank: compute
};

/// Whether the ranks of a layout's pipeline differ. `devices`: by rank, the slowest that share its
/// stage.
bool ranks_differ(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                  const ParallelLayout& layout);

/// Closed form: the slowest rank sets the pace, the others' passes come once. Where a stage runs
/// on two ranks (DualPipe), the slower of them counts. Pre: one device per rank of the pipeline.
MixedCost mixed_cost(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                     const SoftwareStack& stack, const ParallelLayout& layout,
                     const LayoutParameters& p);

/// Every stage as its own devices run it; the slowest of the ways between them.
LayoutStages mixed_stages(const TransformerFacts& facts, const std::vector<Accelerator>& devices,
                          const SoftwareStack& stack, const ParallelLayout& layout,
                          const LayoutParameters& p);

/// As layout_estimate; energy by the devices of each rank.
Estimate mixed_estimate(const MixedCost& cost, const TransformerFacts& facts,
                        const std::vector<Accelerator>& devices, const ParallelLayout& layout,
                        const LayoutParameters& p, double usd_per_hour = 0);

}  // namespace parallel_opt
