#pragma once

#include "parallel_opt/base/units.h"

namespace parallel_opt {

/// One level of links, as the alpha-beta model sees it.
struct LinkModel {
  Seconds latency;           ///< alpha: per message
  BytesPerSecond bandwidth;  ///< 1/beta: per rank and direction, efficiency already applied
};

/// Time of a ring all-reduce of `payload` bytes per rank over `ranks` ranks:
///
///   t = 2 (n - 1) alpha + 2 (n - 1)/n * payload / bandwidth
///
/// Source: reduce-scatter + all-gather, [patarasuk2009], docs/cost-model.md#collectives.
/// Left out: reduction arithmetic, contention. One rank is free. Pre: ranks >= 1.
Seconds ring_all_reduce_time(double payload_bytes, int ranks, const LinkModel& link) noexcept;

/// Time of a ring all-gather after which every rank holds `total` bytes:
///
///   t = (n - 1) alpha + (n - 1)/n * total / bandwidth
///
/// Source and left out as above. One rank is free. Pre: ranks >= 1.
Seconds ring_all_gather_time(double total_bytes, int ranks, const LinkModel& link) noexcept;

}  // namespace parallel_opt
