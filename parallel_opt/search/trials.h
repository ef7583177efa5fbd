#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/search/search.h"

namespace parallel_opt {

/// What a run may spend on measuring before it settles on a plan.
struct TrialBudget {
  double seconds = 60;  ///< for all trials together: compilation and steps
  int steps = 6;        ///< timed steps per trial
  bool operator==(const TrialBudget&) const = default;
};

/// One way of running the job that is worth measuring, in the order to try them.
struct TrialPlan {
  Plan plan;               ///< with its estimate
  double predicted_s = 0;  ///< that the trial will take: compilation and steps
  bool operator==(const TrialPlan&) const = default;
};

/// What the trials will be, and what was left out and why.
struct TrialSet {
  std::vector<TrialPlan> trials;  ///< plain PyTorch first
  double predicted_s = 0;         ///< all of them
  std::vector<std::string> notes;
  bool operator==(const TrialSet&) const = default;
};

/// The settings that can be changed in one process (precision, compile, memory format, fused
/// optimizer, threads) whose predicted interval overlaps the best one's, within the budget: plain
/// first, then by predicted time. A compiled candidate that could not pay back its compilation in
/// `job.steps` even at the good end of its interval is left out. The optimizer step does not depend
/// on the other settings, so each form of it is tried once. Ranks and micro-batches are those of
/// the result. Pre: `result.plan`, which is a result for these arguments.
TrialSet trial_candidates(const Graph& graph, const Cluster& cluster, const Job& job,
                          const SearchResult& result, const TrialBudget& budget);

/// What one trial measured.
struct Trial {
  Precision precision = Precision::fp32;
  Execution execution;
  int threads = 1;
  /// Forward and backward of one step, without a loss in the user's loop (that is predicted).
  Uncertain forward_backward_s;
  /// Plain PyTorch's forward and backward over this one's, of runs side by side: steadier than two
  /// medians on a busy machine, so it counts before `forward_backward_s`.
  std::optional<Uncertain> speedup;
  /// Timed runs. The intervals above are then those of single runs (20 % to 80 %) and the median is
  /// known better, by their root; 0: the intervals are those of the values themselves.
  int samples = 0;
  /// One optimizer step with `execution.fused_optimizer`. Value 0: not measured (no optimizer yet),
  /// the prediction stands in.
  Uncertain optimizer_s;
  std::optional<double> peak_bytes;
  double warm_up_s = 0;  ///< that the run must still pay if this is chosen; 0: paid by the trial
  /// Largest relative difference of outputs from plain PyTorch's on the same data and weights.
  std::optional<double> max_relative_difference;
  /// Of plain PyTorch where it rounds products to TF32: the same difference, against itself
  /// without.
  std::optional<double> rounding;
  std::optional<std::string> failed;  ///< why it did not run
  bool operator==(const Trial&) const = default;
};

/// The choice after measuring.
struct Decision {
  Plan plan;          ///< estimate of quality measured, see provenance.measured
  Estimate modelled;  ///< of `plan`, the cost model's, before anything was tried
  Plan plain;         ///< what the pins leave of plain PyTorch: to fall back on. Likewise
  std::vector<Candidate> candidates;  ///< the choice first, then measured ones, then predicted ones
  std::string summary;                ///< one sentence: what was chosen and what it gains
  double gain = 0;                    ///< share of plain PyTorch's step time that it saves
  double calibration = 1;             ///< measured over predicted step time of plain PyTorch
  bool operator==(const Decision&) const = default;
};

/// Replaces predictions by measurements and chooses. A candidate wins when it beats plain PyTorch
/// by more than the noise of both measurements, its outputs agree with plain's within what its
/// precision allows (or twice what TF32 does to plain's own: each is that far from exact), it fits
/// in memory, and it pays back its remaining warm-up in `job.steps`; otherwise plain PyTorch stays.
/// The optimizer step of one trial may join the forward and backward of another. Where the trials
/// hold no plain PyTorch, nothing can be compared and the predicted plan stays.
Decision decide(const Graph& graph, const Cluster& cluster, const Job& job,
                const SearchResult& result, const std::vector<Trial>& trials);

/// Relative difference of outputs that a precision may show against fp32: 1e-4 for fp32 (other
/// order of sums), 1e-2 for fp16, 5e-2 for bf16 (8 bits of mantissa through some tens of layers).
double allowed_difference(Precision precision);

template <class Visitor, class T>
  requires SameAs<T, TrialBudget>
void fields(Visitor& visit, T& budget) {
  visit.optional("seconds", budget.seconds, "for all trials together");
  visit.optional("steps", budget.steps, "timed steps per trial");
}

template <class Visitor, class T>
  requires SameAs<T, TrialPlan>
void fields(Visitor& visit, T& trial) {
  visit("plan", trial.plan, "what to run");
  visit("predicted_s", trial.predicted_s, "seconds that the trial will take");
}

template <class Visitor, class T>
  requires SameAs<T, TrialSet>
void fields(Visitor& visit, T& set) {
  visit("trials", set.trials, "plain PyTorch first");
  visit("predicted_s", set.predicted_s, "seconds that all trials will take");
  visit("notes", set.notes, "what was left out and why");
}

template <class Visitor, class T>
  requires SameAs<T, Trial>
void fields(Visitor& visit, T& trial) {
  visit("precision", trial.precision, "arithmetic");
  visit("execution", trial.execution, "switches of the engine");
  visit("threads", trial.threads, "CPU threads of the rank");
  visit("forward_backward_s", trial.forward_backward_s, "forward and backward of one step");
  visit("speedup", trial.speedup, "plain over this, forward and backward, side by side");
  visit.optional("samples", trial.samples, "timed runs; 0: intervals are of the values themselves");
  visit("optimizer_s", trial.optimizer_s, "one optimizer step; 0: not measured");
  visit("peak_bytes", trial.peak_bytes, "peak memory of a step");
  visit("warm_up_s", trial.warm_up_s, "still to be paid if this is chosen");
  visit("max_relative_difference", trial.max_relative_difference, "of outputs, against plain");
  visit("rounding", trial.rounding,
        "plain's, where it uses TF32: of outputs, against itself without");
  visit("failed", trial.failed, "why it did not run");
}

template <class Visitor, class T>
  requires SameAs<T, Decision>
void fields(Visitor& visit, T& decision) {
  visit("plan", decision.plan, "what to run");
  visit("modelled", decision.modelled, "of the plan, the cost model's, before any trial");
  visit("plain", decision.plain, "the pins and nothing else: what to fall back on");
  visit("candidates", decision.candidates, "the choice first");
  visit("summary", decision.summary, "one sentence");
  visit("gain", decision.gain, "share of plain PyTorch's step time that is saved");
  visit("calibration", decision.calibration, "measured over predicted time of plain PyTorch");
}

}  // namespace parallel_opt
