#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "parallel_opt/hardware/probe.h"

/// The timed actions of probe_host: threads of our own, pinned where the kernel allows it.
namespace parallel_opt {

/// One copy of `bytes` moved in all (half read, half written), split over one thread per core.
/// A core of -1 is not pinned.
Timing time_copy(std::int64_t bytes, const std::vector<int>& cores, const RepeatLimits& limits);

enum class Transport { shared_memory, loopback };

constexpr auto enum_names(Transport) {
  return std::to_array<std::string_view>({"shared-memory", "loopback"});
}

/// One message of `bytes` one way, half of a round trip between two threads on the first and the
/// last core: sender copies in, receiver copies out, as two ranks do. Empty when the way cannot be
/// opened (a sandbox without sockets).
std::optional<Timing> time_transfer(Transport transport, std::int64_t bytes,
                                    const std::vector<int>& cores, const RepeatLimits& limits);

}  // namespace parallel_opt
