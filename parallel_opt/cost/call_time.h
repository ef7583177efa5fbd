#pragma once

#include "parallel_opt/cost/profile.h"
#include "parallel_opt/cost/rates.h"
#include "parallel_opt/graph/work.h"

namespace parallel_opt {

/// One kind of call once: what the kernel takes, what bounds it, what the host adds.
struct CallTime {
  double kernel_s = 0;
  double host_s = 0;  ///< visible beside the kernel
  bool arithmetic_bound = false;
  double total() const { return kernel_s + host_s; }
};

/// Elementwise work that evaluates exponentials and the like: bound by arithmetic on a CPU.
bool is_heavy(const OpWork& work);

/// In training it sums over all images for each channel: batch and instance norms.
bool is_by_channel(const Op& op);

/// The larger of arithmetic and memory at the rates measured for their sizes, and the launch.
CallTime call_time(const Work& work, const RankRates& rates, double samples, bool channels_last);

/// What each operator of a graph costs in one plain step: eager kernels, forward and derived
/// backward, in the element types of the graph.
struct OperatorTimes {
  std::vector<double>
      seconds;  ///< by operator, over its expected runs; 0 for what launches nothing
  Quality quality = Quality::measured;  ///< the worst curve in use
};

/// On one device with all its threads. Left out: changes of layout, sums of gradients, the
/// optimizer. Pre: check(graph) is empty.
OperatorTimes operator_times(const Graph& graph, const Device& device);

}  // namespace parallel_opt
