#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// What surrounds the devices, where it is known better than "as this device is usually bought".
struct Surroundings {
  std::optional<double> per_node;
  std::optional<double> network_bytes_per_s;  ///< of one device, each direction
  double adapters = 0;                        ///< that share it in a node; 0: not known
};

/// A record's numbers for products of `dtype` ("bf16", "fp8", "mxfp8", "nvfp4", ...; empty: its
/// 16-bit type). Empty when the record has no 16-bit and no fp32 peak.
std::optional<Accelerator> accelerator_of(const DeviceRecord& record, const std::string& dtype,
                                          const Surroundings& around = {});

/// In words: that no rate of `dtype` is known and which counts instead; that links join pairs of
/// the `per_node` devices only, so that others do.
std::vector<std::string> stand_ins(const DeviceRecord& record, const std::string& dtype,
                                   double per_node);

/// Rates of one of a package's dies: drivers and frameworks show each as a device.
void keep_one_die(int dies, Accelerator& package);

/// The slowest of the cluster's first accelerators, as many as are `used`, for products of
/// `precision`: with the links that join its kind, and the memory of the smallest. Throws
/// InputError for a cluster without accelerators or one whose rates are not known.
Accelerator accelerator_of(const Cluster& cluster, Precision precision, double used = 1e9);

/// What one rank of a pipeline stands for: its share of the devices, in their order.
struct RankDevices {
  Accelerator device;                   ///< the slowest of them, as above
  std::vector<std::size_t> of_cluster;  ///< indices of devices
};
/// Ranks are placed in the order of the mesh: a stage takes the devices behind those of the stage
/// before. Pre: the cluster has `used` accelerators, which `ranks` divides.
std::vector<RankDevices> devices_of_ranks(const Cluster& cluster, Precision precision, int ranks,
                                          double used);

}  // namespace parallel_opt
