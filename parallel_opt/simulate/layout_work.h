#pragma once

#include <vector>

#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/simulate/step_work.h"

namespace parallel_opt {

/// A layout's step as the simulator takes it: the cost model's stages of one pipeline, whose ranks
/// stand for all tensor and data ranks beside them. Blocks of a stage that are gathered and reduced
/// are groups of their own. `backward` is halved between inputs and weights, as the products are.
StepWork layout_work(const LayoutStages& stages, const ParallelLayout& layout,
                     const Accelerator& device);
/// Power by rank of the pipeline.
StepWork layout_work(const LayoutStages& stages, const ParallelLayout& layout,
                     const std::vector<Accelerator>& ranks);

}  // namespace parallel_opt
