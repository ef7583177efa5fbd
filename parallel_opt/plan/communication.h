#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "parallel_opt/base/json.h"

namespace parallel_opt {

/// What moves data inside a step.
enum class Communication : std::uint8_t {
  all_gather,
  reduce_scatter,
  all_reduce,
  all_to_all,
  send_recv,      ///< between neighbours, round a ring
  copy,           ///< on the device: tokens put in order for their experts
  transfer_wait,  ///< no kernel: a pass waits for a tensor of another stage
  other,          ///< nobody said
};
constexpr auto enum_names(Communication) {
  return std::to_array<std::string_view>({"all_gather", "reduce_scatter", "all_reduce",
                                          "all_to_all", "send_recv", "copy", "transfer_wait",
                                          "other"});
}
inline constexpr std::size_t kCommunications = 8;

/// Several ranks meet, and the wires are in use.
constexpr bool is_collective(Communication kind) {
  return kind != Communication::copy && kind != Communication::transfer_wait;
}

/// Seconds, or shares of time, by kind.
struct ByCommunication {
  std::array<double, kCommunications> all = {};

  double& operator[](Communication kind) { return all[static_cast<std::size_t>(kind)]; }
  double operator[](Communication kind) const { return all[static_cast<std::size_t>(kind)]; }
  double sum() const {
    double whole = 0;
    for (const double one : all) whole += one;
    return whole;
  }
  /// Of collectives alone.
  double collectives() const {
    return sum() - (*this)[Communication::copy] - (*this)[Communication::transfer_wait];
  }
  void add(const ByCommunication& more, double times = 1) {
    for (std::size_t i = 0; i < all.size(); ++i) all[i] += times * more.all[i];
  }
  bool operator==(const ByCommunication&) const = default;
};

/// What moves data, and how long.
struct CommunicationWork {
  Communication kind = Communication::other;
  double seconds = 0;
  bool operator==(const CommunicationWork&) const = default;
};

template <class Visitor, class T>
  requires SameAs<T, CommunicationWork>
void fields(Visitor& visit, T& work) {
  visit("kind", work.kind,
        "all_gather, reduce_scatter, all_reduce, all_to_all, send_recv (round a ring), copy (on "
        "the device), transfer_wait (no kernel) or other");
  visit("seconds", work.seconds, "how long");
}

/// Those that take time, in the order of the kinds; and back.
std::vector<CommunicationWork> listed(const ByCommunication& seconds);
ByCommunication by_kind(const std::vector<CommunicationWork>& list);

}  // namespace parallel_opt
