#pragma once

#include <optional>
#include <string>

namespace parallel_opt {

/// Bytes per second and device of the network between nodes that free text describes: "RoCE 1600
/// Gbps/node", "4x100Gb RoCE per node", "NVLink 600 GB/s; 8x HDR 200", "400 Gb/s RDMA per GPU".
/// Rates of links inside a node are passed over. Empty when no rate is stated.
std::optional<double> network_by_text(const std::string& text, double per_node);

}  // namespace parallel_opt
