#include "parallel_opt/cost/data_loading.h"

#include <algorithm>

namespace parallel_opt {

double waits_for_samples(const Loader& loader, double samples, double step_s) noexcept {
  const double work_s = samples * loader.sample_s;
  if (loader.workers < 1) return work_s;
  const double beside_s = step_s * std::min(loader.workers, loader.spare);
  return std::max(0.0, work_s - beside_s) / std::min(loader.workers, loader.cores);
}

}  // namespace parallel_opt
