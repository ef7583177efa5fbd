#include "parallel_opt/search/trials.h"

#include <algorithm>
#include <functional>
#include <map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/search/variants.h"

namespace parallel_opt {
namespace {

double warm_up_of(const Plan& plan) {
  return plan.estimate.warm_up_s ? plan.estimate.warm_up_s->value : 0;
}

constexpr const char* kTooSlow = "predicted slower than the best beyond any doubt";

}  // namespace

std::string not_worth_trying(const Plan& plan, const Plan& plain, double best_high_s,
                             const Job& job) {
  const Uncertain& step = plan.estimate.step_time_s;
  if (step.low > best_high_s) return kTooSlow;
  const double most_gain = plain.estimate.step_time_s.high - step.low;
  if (job.steps && warm_up_of(plan) > most_gain * double(*job.steps)) {
    return "compilation would not be paid back in " + std::to_string(*job.steps) + " steps";
  }
  return "";
}

double allowed_difference(Precision precision) {
  switch (precision) {
    case Precision::bf16:
      return 5e-2;
    case Precision::fp16:
      return 1e-2;
    default:
      return 1e-4;
  }
}

TrialSet trial_candidates(const Graph& graph, const Cluster& cluster, const Job& job,
                          const SearchResult& result, const TrialBudget& budget) {
  PO_CHECK(result.plan.has_value(), "there is a plan to try");
  const Variants variants(graph, cluster, job, result);
  const Plan plain = variants.plain();
  const std::vector<Plan> all = variants.by_time();
  const double best_high = all.front().estimate.step_time_s.high;
  TrialSet set;
  const auto take = [&](const Plan& plan) {
    const double seconds = warm_up_of(plan) + budget.steps * plan.estimate.step_time_s.value;
    set.trials.push_back({plan, seconds});
    set.predicted_s += seconds;
  };
  take(plain);  // the yardstick is always measured
  bool other_optimizer = false;
  const auto tried = [&](const Plan& plan) {
    return std::ranges::any_of(
        set.trials, [&](const TrialPlan& t) { return forward_key(t.plan) == forward_key(plan); });
  };
  std::map<std::string, int, std::greater<>> left_out;  // by why: too slow before no payback
  int too_dear = 0;
  for (const Plan& plan : all) {
    if (plan.execution.fused_optimizer != plain.execution.fused_optimizer) {
      if (!other_optimizer && forward_key(plan) == forward_key(plain)) {
        other_optimizer = true;
        take(plan);
        continue;
      }
    }
    if (tried(plan)) continue;
    if (const std::string why = not_worth_trying(plan, plain, best_high, job); !why.empty()) {
      ++left_out[why];
      continue;
    }
    const double seconds = warm_up_of(plan) + budget.steps * plan.estimate.step_time_s.value;
    if (set.predicted_s + seconds > budget.seconds) {
      ++too_dear;
      continue;
    }
    take(plan);
  }
  const auto note = [&](int count, const std::string& why) {
    if (count > 0)
      set.notes.push_back(std::to_string(count) + (count == 1 ? " setting" : " settings") +
                          " not tried: " + why);
  };
  for (const auto& [why, count] : left_out) note(count, why);
  note(too_dear, "the trial budget of " + show(Seconds(budget.seconds)) + " is spent");
  return set;
}

}  // namespace parallel_opt
