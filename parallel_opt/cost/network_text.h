#pragma once

#include <optional>
#include <string>

namespace parallel_opt {

/// What a text says of the network between nodes.
struct NetworkWords {
  double bytes_per_s = 0;  ///< of one device, each direction
  std::string taken;       ///< of a name without a rate; empty: the rate is stated
};

/// "RoCE 1600 Gbps/node", "4x100Gb RoCE per node", "NVLink 600 GB/s; 8x HDR 200", "400 Gb/s RDMA
/// per GPU". A name without a rate ("EDR", "Omni-Path", "Slingshot-11") means what such an adapter
/// is sold as, in the number that is stated, else in that of the device's usual machine (for
/// `per_node` devices; 0: not known), else one per node. Rates of links inside a node are passed
/// over. Empty when neither is there.
std::optional<NetworkWords> network_by_text(const std::string& text, double per_node,
                                            double usual_adapters = 0);

}  // namespace parallel_opt
