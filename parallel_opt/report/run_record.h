#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/plan/plan.h"
#include "parallel_opt/report/graph_view.h"
#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {

/// What the steps of a run did, seen from rank 0.
struct MeasuredSteps {
  std::int64_t steps = 0;  ///< counted: the first ones, which warm up, are left out
  std::optional<Uncertain> step_time_s;
  std::optional<Uncertain> samples_per_s;
  std::optional<double> peak_memory_bytes;  ///< allocator's, on the fullest rank
  std::optional<double> rss_bytes;          ///< whole process
  std::optional<double> cpu_share;          ///< CPU time / (wall time x usable cores)
  std::optional<Uncertain> energy_j;        ///< per step
  bool operator==(const MeasuredSteps&) const = default;
};

/// Something worth telling that happened during a run.
struct RunEvent {
  double time_s = 0;  ///< since planning began
  std::string kind;   ///< plan, trial, fallback, note, warning, error, non_finite, switch, end
  std::string text;
  bool operator==(const RunEvent&) const = default;
};

/// One plan that was considered, and what became of it.
struct Considered {
  std::string plan;  ///< one_line
  bool chosen = false;
  std::optional<Uncertain> predicted_s;
  std::optional<Uncertain> measured_s;  ///< in a trial
  std::optional<double> peak_memory_bytes;
  std::string reason;  ///< why it lost, or won
  bool operator==(const Considered&) const = default;
};

/// What planning cost, paid once.
struct PlanningCost {
  std::optional<double> capture_s;
  std::optional<double> probe_s;
  std::optional<double> search_s;
  std::optional<double> trial_s;
  std::optional<double>
      break_even_steps;  ///< steps after which it is won back against plain PyTorch
  bool operator==(const PlanningCost&) const = default;
};

/// Something that ended a run.
struct RunError {
  std::string where;  ///< an argument, a file, a line of the script
  std::string what;
  std::string hint;  ///< the way out; empty: none is known
  bool operator==(const RunError&) const = default;
};

/// The training of one model.
struct ModelRun {
  std::optional<Plan> plan;  ///< absent: the script never trained an OptimizedParallel
  std::string plan_line;
  std::optional<Estimate> estimate;
  std::optional<Estimate> modelled;  ///< the cost model's alone, before any trial
  MeasuredSteps measured;
  std::vector<std::string> reasons;
  std::vector<Considered> candidates;
  PlanningCost planning;
  std::vector<RunEvent> events;
  std::optional<Timeline> timeline;
  std::optional<GraphView> graph;
  bool operator==(const ModelRun&) const = default;
};

/// A run as `parallel-opt run --report DIR` leaves it in DIR/run.json. It is that of the first
/// model that the script trained; further ones stand in `others`.
struct RunRecord : ModelRun {
  std::string title;    ///< the script or model
  std::string date;     ///< ISO 8601, UTC
  std::string machine;  ///< empty: nothing was planned, so nobody looked
  int ranks = 1;
  std::optional<int> exit_code;
  std::vector<RunError> errors;  ///< what ended it, if anything did
  std::vector<ModelRun> others;
  bool operator==(const RunRecord&) const = default;
};

template <class Visitor, class T>
  requires SameAs<T, MeasuredSteps>
void fields(Visitor& visit, T& measured) {
  visit("steps", measured.steps, "steps that were timed");
  visit("step_time_s", measured.step_time_s, "median, 10th and 90th percentile");
  visit("samples_per_s", measured.samples_per_s, "global batch over step time");
  visit("peak_memory_bytes", measured.peak_memory_bytes, "allocator's peak, fullest rank");
  visit("rss_bytes", measured.rss_bytes, "peak of the whole process");
  visit("cpu_share", measured.cpu_share, "CPU time over wall time and usable cores");
  visit("energy_j", measured.energy_j, "per step");
}

template <class Visitor, class T>
  requires SameAs<T, RunError>
void fields(Visitor& visit, T& error) {
  visit("where", error.where, "an argument, a file, a line of the script");
  visit("what", error.what, "what is wrong");
  visit.optional("hint", error.hint, "the way out");
}

template <class Visitor, class T>
  requires SameAs<T, RunEvent>
void fields(Visitor& visit, T& event) {
  visit("time_s", event.time_s, "seconds since planning began");
  visit("kind", event.kind, "plan, trial, fallback, note, warning, error, non_finite, switch, end");
  visit("text", event.text, "what happened");
}

template <class Visitor, class T>
  requires SameAs<T, Considered>
void fields(Visitor& visit, T& considered) {
  visit("plan", considered.plan, "the plan in one line");
  visit.optional("chosen", considered.chosen, "this one runs");
  visit("predicted_s", considered.predicted_s, "step time by the cost model");
  visit("measured_s", considered.measured_s, "step time in a trial");
  visit("peak_memory_bytes", considered.peak_memory_bytes, "predicted or measured");
  visit("reason", considered.reason, "why it lost, or won");
}

template <class Visitor, class T>
  requires SameAs<T, PlanningCost>
void fields(Visitor& visit, T& cost) {
  visit("capture_s", cost.capture_s, "reading the model");
  visit("probe_s", cost.probe_s, "measuring the machine");
  visit("search_s", cost.search_s, "searching");
  visit("trial_s", cost.trial_s, "trying candidates, compilation included");
  visit("break_even_steps", cost.break_even_steps, "steps until it is won back");
}

template <class Visitor, class T>
void fields_of_model_run(Visitor& visit, T& run) {
  visit("plan", run.plan, "the plan that ran");
  visit.optional("plan_line", run.plan_line, "the plan in one line");
  visit("estimate", run.estimate, "predicted cost of one step");
  visit("modelled", run.modelled, "predicted by the cost model alone, before any trial");
  visit.optional("measured", run.measured, "what the steps did");
  visit.optional("reasons", run.reasons, "why this plan");
  visit.optional("candidates", run.candidates, "plans that were considered");
  visit.optional("planning", run.planning, "what planning cost");
  visit.optional("events", run.events, "what happened");
  visit("timeline", run.timeline, "a few measured steps");
  visit("graph", run.graph, "the model as a picture shows it");
}

template <class Visitor, class T>
  requires SameAs<T, ModelRun>
void fields(Visitor& visit, T& run) {
  fields_of_model_run(visit, run);
}

template <class Visitor, class T>
  requires SameAs<T, RunRecord>
void fields(Visitor& visit, T& run) {
  visit.schema("parallel-opt/run/1");
  visit("title", run.title, "the script or model");
  visit("date", run.date, "when, UTC");
  visit.optional("machine", run.machine, "on what");
  visit("ranks", run.ranks, "processes");
  visit("exit_code", run.exit_code, "of the script, once it ended");
  visit.optional("errors", run.errors, "what ended the run, if anything did");
  fields_of_model_run(visit, run);
  visit.optional("others", run.others, "further models that the script trained");
}

}  // namespace parallel_opt
