#pragma once

#include <array>
#include <optional>
#include <string_view>

/// How devices of one node reach each other.
namespace parallel_opt {

struct Cluster;

enum class LinkShape {
  switched,  ///< every link of a device reaches every other device
  mesh,      ///< links of its own to each of the others
  torus,     ///< links to the nearest ones, in two or three dimensions
};

constexpr auto enum_names(LinkShape) {
  return std::to_array<std::string_view>({"switched", "mesh", "torus"});
}

/// What the links of one device carry, bytes per second in each direction.
struct NodeLinks {
  double all_bytes_per_s = 0;   ///< all of them together
  double pair_bytes_per_s = 0;  ///< to one neighbour; switched: as all
  LinkShape shape = LinkShape::switched;
  double closed_side = 4;  ///< torus: devices along an axis from which its ends are joined
  bool reduces = false;    ///< the switch between them sums what passes
  /// Mesh of eight devices whose pairs have two links, one or none (DGX-1): one between the two
  /// neighbours that have least, four of each inside either half.
  bool cube = false;
  double reached = 0;  ///< share of the nominal that collectives get; 0: not measured

  /// What a collective among `ranks` devices of the node gets of each: rings run over all links
  /// that join them. A mesh has links to ranks - 1 others; a block of 2^m devices of a torus has m
  /// neighbours inside. Of `whole` devices that share a torus (0: no others) a group takes whole
  /// axes, with two links each where they are closed; the ends of an open one have one.
  double among(double ranks, double whole = 0) const noexcept;
  bool operator==(const NodeLinks&) const = default;
};

/// What device `at` has to the others of its kind in its node, with the latency of one message.
/// Direct links count where they join all of them, be it through each other: the device with the
/// fewest bounds a ring. Over a bus the slowest pair counts. Else the fastest network of the node.
/// Empty when nothing joins them.
struct NodeReach {
  NodeLinks links;
  double latency_s = 0;
};
std::optional<NodeReach> node_reach(const Cluster& cluster, int at);

}  // namespace parallel_opt
