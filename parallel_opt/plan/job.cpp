#include "parallel_opt/plan/job.h"

#include "parallel_opt/base/text.h"
#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {

std::vector<Fault> check(const Job& job, const std::string& where) {
  std::vector<Fault> faults;
  const auto fault = [&](const std::string& field, std::string what, std::string hint) {
    faults.push_back({where + "." + field, std::move(what), std::move(hint)});
  };
  const auto at_least_one = [&](const std::string& field, const auto& number) {
    if (number && *number < 1)
      fault(field, std::to_string(*number) + " is below 1", "leave it out");
  };
  if (job.global_batch < 0) {
    fault("global_batch", std::to_string(job.global_batch) + " is negative",
          "0 means the batch of the model");
  }
  if (job.max_slowdown && !(*job.max_slowdown >= 0)) {
    fault("max_slowdown", show(*job.max_slowdown) + " is negative", "0.05 allows 5 %");
  }
  if (job.memory_limit_bytes && job.memory_limit_bytes->value < 1) {
    fault("memory_limit_bytes", std::to_string(job.memory_limit_bytes->value) + " is below 1",
          "leave it out for no limit but the device's own");
  }
  at_least_one("steps", job.steps);
  if (!find_capabilities(job.target)) {
    const std::vector<std::string> known = known_targets();
    fault("target", "no engine is called \"" + job.target + "\"", "known: " + join(known, ", "));
  }
  if (job.precision == Precision::fp8) {
    fault("precision", "no engine runs fp8 yet", "use auto, fp32, bf16 or fp16");
  }
  if (job.objective == Objective::money || job.objective == Objective::carbon) {
    fault("objective", std::string(name_of(job.objective)) + " needs prices that no cluster states",
          "use time, energy, memory or edp");
  }
  if (job.loading && !(job.loading->sample_s >= 0 && job.loading->sample_s < 1e9)) {
    fault("loading.sample_s", show(job.loading->sample_s) + " is no time", "seconds per sample");
  }
  if (job.loading && (job.loading->workers < 0 || job.loading->workers > 1'000'000)) {
    fault("loading.workers", std::to_string(job.loading->workers) + " is out of range",
          "0: the loop makes its samples itself");
  }
  at_least_one("pins.data", job.pins.data);
  at_least_one("pins.tensor", job.pins.tensor);
  at_least_one("pins.pipeline", job.pins.pipeline);
  at_least_one("pins.context", job.pins.context);
  at_least_one("pins.expert", job.pins.expert);
  at_least_one("pins.threads", job.pins.threads);
  at_least_one("pins.micro_batch", job.pins.micro_batch);
  if (job.pins.recompute && *job.pins.recompute != "none" && *job.pins.recompute != "full") {
    fault("pins.recompute", "\"" + *job.pins.recompute + "\" is no choice", "none or full");
  }
  return faults;
}

}  // namespace parallel_opt
