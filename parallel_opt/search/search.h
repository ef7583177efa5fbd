#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

/// How good the answer is. `infeasible` and `timed_out` are answers, not errors.
enum class SolveStatus { optimal, feasible, infeasible, timed_out };
constexpr auto enum_names(SolveStatus) {
  return std::to_array<std::string_view>({"optimal", "feasible", "infeasible", "timed_out"});
}

struct SearchLimits {
  double deadline_s = 60;
  int keep = 16;  ///< candidates to report beside the plain one
  bool operator==(const SearchLimits&) const = default;
};

/// A plan that was considered, and why it is not the answer.
struct Candidate {
  Plan plan;           ///< with its estimate
  std::string label;   ///< one_line(plan)
  std::string reason;  ///< "chosen", or why it lost
  bool fits = true;    ///< in memory
  /// The cost model's own step time where the plan's estimate holds another: measured, or scaled by
  /// what was measured.
  std::optional<Uncertain> modelled_step_s = std::nullopt;
  bool operator==(const Candidate&) const = default;
};

/// Best plan of the space, and how good that is proven to be. Same input: same bytes, unless the
/// deadline ended the search.
struct SearchResult {
  SolveStatus status = SolveStatus::infeasible;
  std::optional<Plan> plan;             ///< empty: infeasible
  std::vector<Candidate> candidates;    ///< best first; plain PyTorch is always among them
  std::int64_t considered = 0;          ///< plans judged
  std::int64_t pruned = 0;              ///< plans that a bound or a rule of dominance settled
  std::optional<double> lower_bound_s;  ///< no plan of the space is predicted faster
  std::optional<double> gap;            ///< in the objective: (plan - bound) / plan
  std::vector<std::string> binding;     ///< what kept a better plan out, in words
  std::string space;                    ///< what was searched, in words
  bool operator==(const SearchResult&) const = default;
};

/// Exhaustive search of the local space: replicas x threads, micro-batches, recomputed blocks,
/// precision, compile, memory format, fused optimizer. Dominance is exact: with the rest equal,
/// time and energy rise with recomputed blocks and with micro-batches, so only the first that fit
/// count (docs/search.md). Throws InputError for a job or graph that breaks `check`.
SearchResult search(const Graph& graph, const Cluster& cluster, const Job& job,
                    const SearchLimits& limits = {});

/// What is minimised, in its own unit (s, J, bytes, J s). Warm-up is spread over `job.steps`, where
/// they are known.
double objective_of(const Cost& cost, const Job& job);

/// Memory that a plan may use on the devices of a layout: the device's own or the job's limit.
double memory_limit_of(const Cluster& cluster, const Job& job, int device);

/// Seconds per step that a plan costs when its warm-up is spread over the run.
double amortised_s(double step_s, double warm_up_s, const Job& job);

/// What `parallel-opt plan --json` prints around the plan.
struct SearchSummary {
  SolveStatus status = SolveStatus::infeasible;
  double wall_s = 0;  ///< of the search; not in the plan, whose bytes do not depend on it
  std::int64_t candidates = 0;
  std::optional<double> lower_bound_s;  ///< absent: infeasible
  std::optional<double> gap;            ///< likewise
  std::vector<std::string> binding;
  std::vector<Candidate> top;
};
struct PlanResult {
  std::optional<Plan> plan;
  SearchSummary search;
};
PlanResult plan_result(const SearchResult& result, double wall_s);

template <class Visitor, class T>
  requires SameAs<T, SearchLimits>
void fields(Visitor& visit, T& limits) {
  visit.optional("deadline_s", limits.deadline_s, "seconds to search");
  visit.optional("keep", limits.keep, "candidates to report");
}

template <class Visitor, class T>
  requires SameAs<T, Candidate>
void fields(Visitor& visit, T& candidate) {
  visit("plan", candidate.plan, "with its estimate");
  visit("label", candidate.label, "the plan in one line");
  visit("reason", candidate.reason, "chosen, or why it lost");
  visit("fits", candidate.fits, "does it fit in memory?");
  visit("modelled_step_s", candidate.modelled_step_s,
        "by the cost model alone, where the estimate knows more");
}

template <class Visitor, class T>
  requires SameAs<T, SearchResult>
void fields(Visitor& visit, T& result) {
  visit("status", result.status, "optimal, feasible, infeasible or timed_out");
  visit("plan", result.plan, "absent: infeasible");
  visit("candidates", result.candidates, "best first");
  visit("considered", result.considered, "plans judged");
  visit("pruned", result.pruned, "plans settled by a bound or by dominance");
  visit("lower_bound_s", result.lower_bound_s, "no plan of the space is predicted faster");
  visit("gap", result.gap, "(plan - bound) / plan, in the objective");
  visit("binding", result.binding, "what kept a better plan out");
  visit("space", result.space, "what was searched");
}

template <class Visitor, class T>
  requires SameAs<T, SearchSummary>
void fields(Visitor& visit, T& summary) {
  visit("status", summary.status, "optimal, feasible, infeasible or timed_out");
  visit("wall_s", summary.wall_s, "seconds that the search took");
  visit("candidates", summary.candidates, "plans considered");
  visit("lower_bound_s", summary.lower_bound_s, "no plan of the space is predicted faster");
  visit("gap", summary.gap, "(plan - bound) / plan, in the objective");
  visit("binding", summary.binding, "what kept a better plan out");
  visit("top", summary.top, "best candidates and why each lost");
}

template <class Visitor, class T>
  requires SameAs<T, PlanResult>
void fields(Visitor& visit, T& result) {
  visit.schema("parallel-opt/plan-result/1");
  visit("plan", result.plan, "exactly what -o writes; absent: infeasible");
  visit("search", result.search, "how it was found");
}

}  // namespace parallel_opt
