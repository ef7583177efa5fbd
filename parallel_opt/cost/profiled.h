#pragma once

#include <optional>

#include "parallel_opt/cost/profile.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// What a cluster's imported profiles are asked: all layers of a model on one device, one
/// micro-batch.
struct ProfiledQuestion {
  const Device* device = nullptr;
  DType dtype = DType::fp32;
  double micro_batch = 1;  ///< samples
  int blocks = 0;          ///< repeated blocks of the model
  double sequence = 0;     ///< tokens of a sample; 0: not known, then any fits
};

/// Seconds that were measured elsewhere, over all layers.
struct ProfiledTimes {
  double forward_s = 0;
  std::optional<double> backward_s;  ///< absent: only forwards were measured
};

/// Of the first profile that is of a model with as many blocks and has every layer at that
/// micro-batch: rows of layers (as many as blocks, or two more: embedding and head), or a "block"
/// and an "embedding and head". Empty when there is none.
std::optional<ProfiledTimes> profiled_times(const Cluster& cluster, const ProfiledQuestion& asked);

}  // namespace parallel_opt
