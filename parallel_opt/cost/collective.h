#pragma once

#include "parallel_opt/base/units.h"

namespace parallel_opt {

/// One level of links, as the alpha-beta model sees it.
struct LinkModel {
  Seconds latency;           ///< alpha: per message
  BytesPerSecond bandwidth;  ///< 1/beta: per rank and direction, efficiency already applied
  bool reduces = false;      ///< the switch between the ranks sums what passes
};

/// How often each rank's payload passes its link, each direction, in an all-reduce: 2 (n - 1)/n in
/// a ring. Through a switch that sums each rank fetches the sum of its 1/n of the payload and sends
/// that to all: 1/n and all of it each way, (n + 1)/n; libraries take the lesser. 0 for one rank.
double all_reduce_passes(double ranks, bool switch_reduces) noexcept;

/// Time of an all-reduce of `payload` bytes per rank over `ranks` ranks, in a ring
///
///   t = 2 (n - 1) alpha + 2 (n - 1)/n * payload / bandwidth
///
/// or, where that passes less, through a switch that sums:
///
///   t = 2 alpha + (n + 1)/n * payload / bandwidth
///
/// Source: reduce-scatter + all-gather, [patarasuk2009], docs/cost-model.md#collectives.
/// Left out: reduction arithmetic, contention. One rank is free. Pre: ranks >= 1.
Seconds all_reduce_time(double payload_bytes, int ranks, const LinkModel& link) noexcept;

/// Time of a ring all-gather after which every rank holds `total` bytes:
///
///   t = (n - 1) alpha + (n - 1)/n * total / bandwidth
///
/// Source and left out as above. One rank is free. Pre: ranks >= 1.
Seconds ring_all_gather_time(double total_bytes, int ranks, const LinkModel& link) noexcept;

}  // namespace parallel_opt
