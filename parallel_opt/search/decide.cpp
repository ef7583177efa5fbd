#include <algorithm>
#include <cmath>
#include <tuple>

#include "parallel_opt/base/text.h"
#include "parallel_opt/search/explain.h"
#include "parallel_opt/search/trials.h"
#include "parallel_opt/search/variants.h"

namespace parallel_opt {
namespace {

constexpr double kLeastGain = 0.005;  // of plain's step: below it nothing is worth a switch
constexpr int kFewRuns = 3;           // below it quantiles say nothing
// Assumed of a single run: 15 % (10 to 20 % seen of steps on busy 2-core virtual machines), and one
// time slice of another process.
constexpr double kRunSpread = 0.15;
constexpr double kRunHiccupS = 2e-3;

/// Settings that the trials allow to judge: forward and backward of one, optimizer of any.
struct Option {
  const Trial* forward = nullptr;
  const Trial* optimizer = nullptr;
  Plan plan;
  Uncertain forward_backward;  ///< seconds
  Uncertain optimizer_step;
  double loss_s = 0;   ///< in the user's loop, predicted
  Uncertain step;      ///< their sum
  double noise_s = 0;  ///< half width of the 80 % interval of its difference from plain
  double total_s = 0;  ///< with the remaining warm-up spread over the run
  std::string rejected;
};

/// Half width of the 80 % interval of a median of n runs whose 20 % and 80 % quantiles are given.
/// For normal noise a quantile lies 0.84 deviations out, the median's deviation is 1.25 / sqrt(n)
/// of one, and an 80 % interval takes 1.28 of it: 1.28 * 1.25 / 0.84 = 1.91.
/// One or two runs cannot show their own spread: `run_s` is how long they took, and what a machine
/// with other work does to single runs of that length is assumed.
double half_width(const Uncertain& number, int samples, double run_s) {
  double half = std::max(0.0, number.high - number.low) / 2;
  if (samples == 0) return half;
  if (samples < kFewRuns) {
    const double assumed = std::max(kRunSpread, run_s > 0 ? kRunHiccupS / run_s : 1);
    half = std::max(half, assumed * number.value);
  }
  return samples > 1 ? 1.91 * half / std::sqrt(double(samples)) : half;
}

double line(const Plan& plan, const std::string& name) {
  for (const EstimateItem& item : plan.estimate.items) {
    if (item.name == name) return item.seconds.value_or(0);
  }
  return 0;
}

class Decider {
 public:
  Decider(const Graph& graph, const Cluster& cluster, const Job& job, const SearchResult& result,
          const std::vector<Trial>& trials)
      : job_(job), result_(result), trials_(trials), variants_(graph, cluster, job, result) {}

  Decision decide();

 private:
  Decision unmeasured() const;
  void build_options(const Plan& plain);
  void fill_times(const Trial& plain, Option& option) const;
  void reject(Option& option, const Option& plain) const;
  double worth(const Option& option, double seconds) const;
  double worth(const Option& option) const { return worth(option, option.total_s); }
  Plan measured(const Option& option) const;
  std::optional<Certificate> certificate_of(const Plan& plan) const;
  std::string loss(const Option& option, const Option& chosen) const;
  std::string why_plain() const;
  void add_candidates(std::size_t chosen, Decision& decision) const;
  void add_predicted(Decision& decision) const;
  std::string why_untried(const Candidate& candidate, const Decision& decision) const;

  const Job& job_;
  const SearchResult& result_;
  const std::vector<Trial>& trials_;
  Variants variants_;
  std::string yardstick_;        ///< plain in words
  std::vector<Option> options_;  ///< plain first
};

/// What the user's pins and the memory leave of plain PyTorch; itself where they leave it alone.
std::string yardstick_words(const Plan& plain) {
  const bool untouched = switches(plain) == 0 && plain.micro_batches == 1 &&
                         plain.recompute.empty() && plain.mesh.ranks() == 1;
  return untouched ? "plain PyTorch" : one_line(plain);
}

/// "2 other settings" that were measured.
std::string others(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " other setting" : " other settings");
}

void Decider::build_options(const Plan& plain) {
  const Trial* plain_trial = nullptr;
  for (const Trial& trial : trials_) {
    if (key_of(trial) == key_of(plain) && !trial.failed) plain_trial = &trial;
  }
  // The process may run with other threads than the model assumes (OMP_NUM_THREADS): its plain is
  // still the yardstick.
  for (const Trial& trial : trials_) {
    if (plain_trial || trial.failed) continue;
    const auto [forward, fused] = key_of(plain);
    const int threads = std::get<int>(forward);
    const auto key = forward_key(trial.precision, trial.execution, threads);
    if (key == forward && trial.execution.fused_optimizer == fused) plain_trial = &trial;
  }
  if (!plain_trial) return;
  const auto add = [&](const Trial& forward, const Trial& optimizer) {
    Execution execution = forward.execution;
    execution.fused_optimizer = optimizer.execution.fused_optimizer;
    for (const Option& option : options_) {
      const bool same = forward_key(option.plan) == forward_key(forward);
      if (same && option.plan.execution.fused_optimizer == execution.fused_optimizer) return;
    }
    Option option;
    option.forward = &forward;
    option.optimizer = &optimizer;
    option.plan = variants_.with(forward.precision, execution, forward.threads);
    if (&forward != &optimizer) {  // memory that is kept is part of what a forward takes
      const Plan tried = variants_.with(forward.precision, forward.execution, forward.threads);
      if (option.plan.execution.keep_memory != tried.execution.keep_memory) return;
    }
    fill_times(*plain_trial, option);
    options_.push_back(std::move(option));
  };
  add(*plain_trial, *plain_trial);
  // Settings measured as a whole come before those put together from two trials.
  for (const Trial& trial : trials_) {
    if (!trial.failed) add(trial, trial);
  }
  for (const Trial& forward : trials_) {
    for (const Trial& optimizer : trials_) {
      const bool same_threads = forward.threads == optimizer.threads;
      if (!forward.failed && !optimizer.failed && same_threads) add(forward, optimizer);
    }
  }
}

void Decider::fill_times(const Trial& plain, Option& option) const {
  const Trial& trial = *option.forward;
  const bool is_plain = &trial == &plain;
  option.forward_backward = trial.forward_backward_s;
  const double plain_s = plain.forward_backward_s.value;
  const double trial_s = trial.forward_backward_s.value;
  option.noise_s = std::hypot(half_width(plain.forward_backward_s, plain.samples, plain_s),
                              half_width(trial.forward_backward_s, trial.samples, trial_s));
  if (is_plain) option.noise_s = 0;  // the same runs: only the optimizer step differs
  if (!is_plain && trial.speedup && trial.speedup->value > 0 && trial_s > 0) {
    const double ratio = trial.speedup->value, scale = plain_s / ratio / trial_s;
    option.forward_backward = option.forward_backward * scale;
    // A hiccup of either side shows in the ratio.
    const double width = half_width(*trial.speedup, trial.samples, std::min(plain_s, trial_s));
    option.noise_s = plain_s * width / (ratio * ratio);
  }
  option.optimizer_step = option.optimizer->optimizer_s;
  const bool timed = option.optimizer_step.value > 0;
  if (!timed) {
    const Uncertain& step = option.plan.estimate.step_time_s;
    const double width = step.value > 0 ? (step.high - step.value) / step.value : 0;
    option.optimizer_step =
        within(line(option.plan, "optimizer"), std::min(1.0, width), step.quality);
  }
  if (option.optimizer != &plain) {
    const int runs = timed ? option.optimizer->samples : 0;
    option.noise_s = std::hypot(
        option.noise_s, half_width(option.optimizer_step, runs, option.optimizer_step.value));
  }
  option.loss_s = line(option.plan, "loss");
  option.step = option.forward_backward + option.optimizer_step + exact(option.loss_s);
  option.total_s = amortised_s(option.step.value, trial.warm_up_s, job_);
}

/// Why an option may not be chosen, whatever the others are.
void Decider::reject(Option& option, const Option& plain) const {
  const Trial& trial = *option.forward;
  const double allowed =
      std::max(allowed_difference(option.plan.precision), 2 * plain.forward->rounding.value_or(0));
  if (!std::isfinite(option.step.value) || option.step.value <= 0) {
    option.rejected = "its time could not be measured";
  } else if (trial.max_relative_difference && !(*trial.max_relative_difference <= allowed)) {
    option.rejected = "its outputs differ from those of " + yardstick_ + " by " +
                      show(*trial.max_relative_difference) + ", " +
                      std::string(name_of(option.plan.precision)) + " may differ by " +
                      show(allowed);
  } else if (trial.peak_bytes &&
             *trial.peak_bytes > memory_limit_of(variants_.model().cluster(), job_,
                                                 option.plan.placements.front().device)) {
    option.rejected =
        "needed " + show(Bytes(std::int64_t(*trial.peak_bytes))) + ": more than the limit";
  }
  if (!option.rejected.empty() || &option == &plain) return;
  const double slowdown = option.step.value / plain.step.value - 1;
  const double noise = option.noise_s / plain.step.value;
  const double gain = 1 - worth(option, option.step.value) / worth(plain, plain.step.value);
  if (job_.objective != Objective::memory && slowdown > job_.max_slowdown.value_or(0)) {
    option.rejected = show_percent(slowdown) + " slower than " + yardstick_;
  } else if (job_.objective == Objective::memory && gain <= 0) {
    option.rejected = "needs no less memory than " + yardstick_;
  } else if (gain <= std::max(noise, kLeastGain)) {
    option.rejected = "its gain of " + show_percent(std::max(0.0, gain)) + " over " + yardstick_ +
                      " is within the noise of the measurement";
  } else if (worth(option, option.total_s) >= worth(plain, plain.total_s)) {
    option.rejected = "its warm-up of " + show(Seconds(trial.warm_up_s)) + " is not paid back in " +
                      std::to_string(job_.steps.value_or(0)) + " steps";
  }
}

/// What is minimised: measured time, or the modelled energy scaled to the measured time.
double Decider::worth(const Option& option, double seconds) const {
  const Estimate& e = option.plan.estimate;
  const double power =
      e.energy_j && e.step_time_s.value > 0 ? e.energy_j->value / e.step_time_s.value : 1;
  switch (job_.objective) {
    case Objective::memory:
      return option.forward->peak_bytes.value_or(e.peak_memory_bytes.value);
    case Objective::energy:
      return power * seconds;
    case Objective::edp:
      return power * seconds * seconds;
    default:
      return seconds;
  }
}

/// Lets the lines of the memory bill sum to the peak that was measured. What follows from the
/// parameters is exact and stays; the rest keeps its proportions. Where that cannot be (the peak is
/// below what is exact), all lines do.
void fit_bytes(Estimate& e, double peak) {
  const auto is_exact = [](const EstimateItem& item) {
    return item.name == "parameters and buffers" || item.name == "optimizer state" ||
           item.name == "gradients";
  };
  double exact_bytes = 0, rest = 0;
  for (const EstimateItem& item : e.items) {
    (is_exact(item) ? exact_bytes : rest) += item.bytes.value_or(0);
  }
  const bool keeps = rest > 0 && peak >= exact_bytes;
  const double factor = keeps                    ? (peak - exact_bytes) / rest
                        : rest + exact_bytes > 0 ? peak / (rest + exact_bytes)
                                                 : 1;
  for (EstimateItem& item : e.items) {
    if (!item.bytes || (keeps && is_exact(item))) continue;
    scale(item, factor);
    *item.bytes = std::round(*item.bytes);
    if (item.low) *item.low = std::floor(*item.low);
    if (item.high) *item.high = std::ceil(*item.high);
  }
}

/// The option's plan with measurements in place of predictions. Lines of the bill keep their
/// proportions, so that they still sum to the total.
Plan Decider::measured(const Option& option) const {
  Plan plan = option.plan;
  Estimate& e = plan.estimate;
  double predicted_rest = 0;
  for (const EstimateItem& item : e.items) {
    if (item.name != "optimizer" && item.name != "loss") predicted_rest += item.seconds.value_or(0);
  }
  const double predicted_optimizer = line(plan, "optimizer");
  const double optimizer_scale =
      predicted_optimizer > 0 ? option.optimizer_step.value / predicted_optimizer : 1;
  const double rest_scale = predicted_rest > 0 ? option.forward_backward.value / predicted_rest : 1;
  const double time_scale = e.step_time_s.value > 0 ? option.step.value / e.step_time_s.value : 1;
  if (option.forward->peak_bytes) fit_bytes(e, *option.forward->peak_bytes);
  for (EstimateItem& item : e.items) {
    if (item.seconds && item.name != "loss") {
      scale(item, item.name == "optimizer" ? optimizer_scale : rest_scale);
    }
    if (item.joules) scale(item, time_scale);
  }
  e.step_time_s = option.step;
  e.step_time_s.quality = Quality::measured;
  const auto per_second = [&](Uncertain& rate) {
    rate = {rate.value / time_scale,
            rate.value / time_scale * option.step.value / std::max(1e-12, option.step.high),
            rate.value / time_scale * option.step.value / std::max(1e-12, option.step.low),
            Quality::measured};
  };
  per_second(e.samples_per_s);
  if (e.tokens_per_s) per_second(*e.tokens_per_s);
  if (e.energy_j) e.energy_j = *e.energy_j * time_scale;
  plan.provenance.measured = {"estimate.step_time_s", "estimate.samples_per_s"};
  if (option.forward->peak_bytes) {
    e.peak_memory_bytes = exact(*option.forward->peak_bytes);
    plan.provenance.measured.emplace_back("estimate.peak_memory_bytes");
  }
  if (e.warm_up_s) {
    e.warm_up_s = exact(option.forward->warm_up_s);
    plan.provenance.measured.emplace_back("estimate.warm_up_s");
  }
  plan.certificate = certificate_of(plan);
  return plan;
}

/// The search's proof is of its own plan; of the others only the bound is known.
std::optional<Certificate> Decider::certificate_of(const Plan& plan) const {
  const Plan& searched = result_.plan.value();
  std::optional<Certificate> certificate = searched.certificate;
  if (!certificate || key_of(plan) == key_of(searched)) return certificate;
  const double step_s = plan.estimate.step_time_s.value;
  certificate->status = name_of(SolveStatus::feasible);
  certificate->gap = step_s > 0 ? std::max(0.0, 1 - certificate->lower_bound_s / step_s) : 0;
  return certificate;
}

std::string Decider::loss(const Option& option, const Option& chosen) const {
  if (!option.rejected.empty()) return option.rejected;
  const double mine = worth(chosen), its = worth(option);
  const std::string what = job_.objective == Objective::memory   ? " more memory"
                           : job_.objective == Objective::energy ? " more energy"
                                                                 : " slower, measured";
  if (its <= mine) return "measured equal; the chosen plan changes less";
  return show_percent(its / mine - 1) + what;
}

void Decider::add_candidates(std::size_t chosen, Decision& decision) const {
  decision.candidates.push_back({decision.plan, one_line(decision.plan),
                                 "chosen: " + decision.summary, true,
                                 decision.modelled.step_time_s});
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < options_.size(); ++i) {
    if (i != chosen) order.push_back(i);
  }
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return worth(options_[i]); });
  for (const std::size_t i : order) {
    const Option& option = options_[i];
    decision.candidates.push_back({measured(option), one_line(option.plan),
                                   loss(option, options_[chosen]), true,
                                   option.plan.estimate.step_time_s});
  }
  for (const Trial& trial : trials_) {
    if (!trial.failed) continue;
    const Plan plan = variants_.with(trial.precision, trial.execution, trial.threads);
    decision.candidates.push_back({plan, one_line(plan), "did not run: " + *trial.failed, true});
  }
  add_predicted(decision);
}

/// Candidates of the search that were not tried, predictions scaled by what plain PyTorch showed.
void Decider::add_predicted(Decision& decision) const {
  for (const Candidate& candidate : result_.candidates) {
    const bool seen = std::ranges::any_of(decision.candidates, [&](const Candidate& c) {
      return c.plan.mesh == candidate.plan.mesh &&
             c.plan.micro_batch == candidate.plan.micro_batch &&
             c.plan.recompute == candidate.plan.recompute &&
             key_of(c.plan) == key_of(candidate.plan);
    });
    if (seen) continue;
    Candidate scaled = candidate;
    Estimate& e = scaled.plan.estimate;
    scaled.modelled_step_s = e.step_time_s;
    e.step_time_s = e.step_time_s * decision.calibration;
    if (decision.calibration > 0) {
      e.samples_per_s = e.samples_per_s * (1 / decision.calibration);
      if (e.tokens_per_s) e.tokens_per_s = *e.tokens_per_s * (1 / decision.calibration);
    }
    if (candidate.fits) scaled.reason = why_untried(candidate, decision);
    decision.candidates.push_back(std::move(scaled));
  }
}

/// Both numbers are the cost model's own, so that like is compared with like.
std::string Decider::why_untried(const Candidate& candidate, const Decision& decision) const {
  const Plan &plan = candidate.plan, &searched = result_.plan.value();
  const std::string numbers = "; predicted " + show(Seconds(plan.estimate.step_time_s.value)) +
                              ", the chosen plan " +
                              show(Seconds(decision.modelled.step_time_s.value));
  if (plan.mesh != searched.mesh) {
    const int ranks = plan.mesh.ranks();
    return "not tried: it needs " + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks") +
           numbers;
  }
  if (plan.micro_batch != searched.micro_batch || plan.recompute != searched.recompute) {
    return "not tried: trials keep the plan's micro-batches and recomputed blocks" + numbers;
  }
  if (options_.empty()) return "not tried, as nothing was" + numbers;
  const double best_high_s = variants_.by_time().front().estimate.step_time_s.high;
  const std::string why =
      not_worth_trying(plan, variants_.plain(), best_high_s, variants_.model().job());
  return "not tried: " + (why.empty() ? "the time for trials was spent" : why) + numbers;
}

/// Nothing can be compared: only a gain beyond the uncertainty of both predictions is taken.
Decision Decider::unmeasured() const {
  Decision decision;
  Plan plain = variants_.plain();
  plain.certificate = certificate_of(plain);
  decision.plain = plain;
  const Uncertain &mine = result_.plan.value().estimate.step_time_s,
                  &its = plain.estimate.step_time_s;
  const bool by_time = job_.objective == Objective::time;
  const bool sure =
      !by_time || mine.high < its.low || key_of(plain) == key_of(result_.plan.value());
  decision.plan = sure ? result_.plan.value() : plain;
  decision.modelled = decision.plan.estimate;
  decision.summary = sure ? "predicted, not measured: " + one_line(decision.plan)
                          : yardstick_ + ": nothing was measured, and the predicted gain of " +
                                one_line(result_.plan.value()) + " is within the uncertainty";
  decision.gain = sure && its.value > 0 ? 1 - mine.value / its.value : 0;
  decision.candidates.push_back(
      {decision.plan, one_line(decision.plan), "chosen: " + decision.summary, true});
  add_predicted(decision);
  return decision;
}

/// Why no switch is thrown: what was measured, and what is known of the best that was not.
std::string Decider::why_plain() const {
  const Option& plain = options_.front();
  const std::size_t count = options_.size() - 1;
  if (count > 0) {
    const Option* nearest = nullptr;  // better, but not beyond doubt or not allowed
    for (const Option& option : options_) {
      const bool better = worth(option, option.step.value) < worth(plain, plain.step.value);
      if (better && (!nearest || worth(option) < worth(*nearest))) nearest = &option;
    }
    const std::string text = yardstick_ + ": of " + others(count) + " measured none ";
    if (nearest) {
      return text + "may take its place; the best is " + one_line(nearest->plan) + ": " +
             nearest->rejected;
    }
    return text + (job_.objective == Objective::memory   ? "needs less memory"
                   : job_.objective == Objective::energy ? "needs less energy"
                                                         : "is faster");
  }
  const auto failed = std::size_t(
      std::ranges::count_if(trials_, [](const Trial& trial) { return trial.failed.has_value(); }));
  std::string text = yardstick_ + (failed > 0 ? ": " + others(failed) + " did not run"
                                              : std::string(": nothing else was measured"));
  const Plan& best = result_.plan.value();
  if (failed == 0 && key_of(best) != key_of(plain.plan)) {
    text += ", and the gain of " + one_line(best) + " is only predicted";
  }
  return text;
}

Decision Decider::decide() {
  Decision decision;
  const Plan untried = variants_.plain();
  yardstick_ = yardstick_words(untried);
  build_options(untried);
  if (options_.empty()) return unmeasured();
  // The first option is plain; reject compares against it by address.
  for (Option& option : options_) reject(option, options_.front());
  std::size_t chosen = 0;
  const auto key = [&](const Option& option) {
    return std::tuple(worth(option), switches(option.plan));
  };
  for (std::size_t i = 1; i < options_.size(); ++i) {
    if (!options_[i].rejected.empty()) continue;
    if (chosen == 0 || key(options_[i]) < key(options_[chosen])) chosen = i;
  }
  const Option &plain = options_.front(), &best = options_[chosen];
  const double predicted = plain.plan.estimate.step_time_s.value;
  decision.calibration = predicted > 0 ? plain.step.value / predicted : 1;
  decision.modelled = best.plan.estimate;
  decision.plan = measured(best);
  decision.plain = measured(plain);
  decision.gain = plain.step.value > 0 ? 1 - best.step.value / plain.step.value : 0;
  if (chosen == 0) {
    decision.summary = why_plain();
  } else {
    decision.summary = one_line(best.plan) + ": " + show(plain.step.value / best.step.value) +
                       " times the speed of " + yardstick_ + ", measured";
    if (best.forward != best.optimizer) decision.summary += " (optimizer step measured apart)";
  }
  add_candidates(chosen, decision);
  return decision;
}

}  // namespace

Decision decide(const Graph& graph, const Cluster& cluster, const Job& job,
                const SearchResult& result, const std::vector<Trial>& trials) {
  PO_CHECK(result.plan.has_value(), "there is a plan to decide on");
  return Decider(graph, cluster, job, result, trials).decide();
}

}  // namespace parallel_opt
