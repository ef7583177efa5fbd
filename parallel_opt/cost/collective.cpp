#include "parallel_opt/cost/collective.h"

namespace parallel_opt {

Seconds ring_all_reduce_time(double payload_bytes, int ranks, const LinkModel& link) noexcept {
  const double n = ranks;
  return Seconds(2 * (n - 1) * link.latency.value +
                 2 * (n - 1) / n * payload_bytes / link.bandwidth.value);
}

Seconds ring_all_gather_time(double total_bytes, int ranks, const LinkModel& link) noexcept {
  const double n = ranks;
  return Seconds((n - 1) * link.latency.value + (n - 1) / n * total_bytes / link.bandwidth.value);
}

}  // namespace parallel_opt
