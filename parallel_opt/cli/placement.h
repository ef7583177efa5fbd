#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// Where a layout's ranks run: the first devices of a cluster, in their order.
struct PlacedLayout {
  std::vector<Accelerator> devices;     ///< by rank of the pipeline
  std::vector<std::string> smallest;    ///< by rank: the kind of least memory among its devices
  std::vector<std::string> words;       ///< who runs on which kind; empty where there is one kind
  std::vector<std::string> notes;       ///< which rates and links count instead of unknown ones
  std::string network;                  ///< assumed between its nodes; empty: stated, or not needed
  double usd_per_hour = 0;              ///< of one device, the mean; 0: not known of all
  std::vector<std::size_t> of_cluster;  ///< indices of the devices that have a rank
};

/// `--memory-limit` stands for every device's memory. Throws InputError for devices whose rates are
/// not known.
PlacedLayout place(const Cluster& cluster, const Job& job, const ParallelLayout& layout);

}  // namespace parallel_opt
