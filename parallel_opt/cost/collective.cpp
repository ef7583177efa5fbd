#include "parallel_opt/cost/collective.h"

#include <algorithm>

namespace parallel_opt {

double all_reduce_passes(double ranks, bool switch_reduces) noexcept {
  if (ranks <= 1) return 0;
  const double ring = 2 * (ranks - 1) / ranks;
  return switch_reduces ? std::min(ring, (ranks + 1) / ranks) : ring;
}

Seconds all_reduce_time(double payload_bytes, int ranks, const LinkModel& link) noexcept {
  const double passes = all_reduce_passes(ranks, link.reduces);
  const bool in_ring = passes >= all_reduce_passes(ranks, false);
  const double messages = in_ring ? 2.0 * (ranks - 1) : 2;
  return Seconds(messages * link.latency.value + passes * payload_bytes / link.bandwidth.value);
}

Seconds ring_all_gather_time(double total_bytes, int ranks, const LinkModel& link) noexcept {
  const double n = ranks;
  return Seconds((n - 1) * link.latency.value + (n - 1) / n * total_bytes / link.bandwidth.value);
}

}  // namespace parallel_opt
