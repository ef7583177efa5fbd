#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/cloud_machine.h"

namespace parallel_opt {

/// What a text says of the network between nodes.
struct NetworkWords {
  double bytes_per_s = 0;        ///< of one device, each direction
  std::string taken;             ///< of a name without a rate; empty: the rate is stated
  double adapters = 0;           ///< of a node; 0: not stated, or of each device
  bool each_is_assumed = false;  ///< a rate that nothing says to be of a device or of a node
};

/// Adapters that the device's usual machine has.
struct UsualNetwork {
  double adapters = 0;  ///< for as many devices as the node has; 0: not known
  std::string fabric = "infiniband";
  std::optional<NetworkWords> machine = {};  ///< of a cloud, that other words of the row name
};

/// "RoCE 1600 Gbps/node", "4x100Gb RoCE per node", "NVLink 600 GB/s; 8x HDR 200", "400 Gb/s RDMA
/// per GPU". A name without a rate ("EDR", "Omni-Path", "Slingshot-11") means what such an adapter
/// is sold as, in the number that is stated, else in that of the device's usual machine where its
/// fabric is the same, else one per node; the name of a well-known system ("Perlmutter") what its
/// nodes have. Rates of links inside a node are passed over. Beside a cloud's machine ("p4d 400
/// Gbps") a rate is one of the node, or of one adapter where it is as much as those have. Empty
/// when none of these is there.
std::optional<NetworkWords> network_by_text(const std::string& text, double per_node,
                                            const UsualNetwork& usual = {});

/// Of a cloud's machine that a text names ("p4d.24xlarge"); empty: it names none.
std::optional<NetworkWords> network_of_machine(const std::string& text, double per_node);
std::optional<NetworkWords> network_of_machine(const CloudMachine& machine, double per_node);

}  // namespace parallel_opt
