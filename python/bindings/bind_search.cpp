#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "parallel_opt/cost/estimate.h"
#include "parallel_opt/plan/validate.h"
#include "parallel_opt/search/explain.h"
#include "parallel_opt/search/search.h"
#include "parallel_opt/search/trials.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

using namespace nb::literals;
using Released = nb::call_guard<nb::gil_scoped_release>;

namespace {

nb::list fault_list(const std::vector<Fault>& faults) {
  nb::list list;
  for (const Fault& fault : faults) {
    list.append(nb::make_tuple(fault.where, fault.what, fault.hint));
  }
  return list;
}

void bind_judges(nb::module_& m) {
  m.def("one_line", &one_line, "plan"_a, "The plan in one line for people.");
  m.def(
      "validate",
      [](const Graph& graph, const Cluster& cluster, const Job& job, const Plan& plan) {
        return fault_list(validate(graph, cluster, job, plan));
      },
      "graph"_a, "cluster"_a, "job"_a, "plan"_a,
      nb::sig("def validate(graph: Graph, cluster: Cluster, job: Job, plan: Plan) -> "
              "list[tuple[str, str, str]]"),
      "Every rule that the plan breaks, as (where, what, hint); empty: it may run.");
  m.def("estimate", &estimate, "graph"_a, "cluster"_a, "job"_a, "plan"_a, Released(),
        "Predicted cost of one step. Pre: validate() is empty.");
}

void bind_trials(nb::module_& m) {
  bind_struct<TrialBudget>(m, "TrialBudget", "What may be spent on measuring.");
  bind_struct<TrialPlan>(m, "TrialPlan", "One way of running the job that is worth measuring.");
  bind_struct<TrialSet>(m, "TrialSet", "What the trials will be, and what was left out.");
  bind_struct<Trial>(m, "Trial", "What one trial measured.");
  bind_struct<Decision>(m, "Decision", "The choice after measuring.");
  m.def("trial_candidates", &trial_candidates, "graph"_a, "cluster"_a, "job"_a, "result"_a,
        "budget"_a, Released(),
        "Settings worth measuring within the budget, plain PyTorch first. Pre: result.plan.");
  m.def("decide", &decide, "graph"_a, "cluster"_a, "job"_a, "result"_a, "trials"_a, Released(),
        "Replace predictions by measurements and choose; plain PyTorch where nothing beats it.");
}

}  // namespace

void bind_search(nb::module_& m) {
  bind_judges(m);
  bind_struct<SearchLimits>(m, "SearchLimits", "How long to search, how much to report.");
  bind_struct<Candidate>(m, "Candidate", "A plan that was considered.");
  bind_struct<SearchResult>(m, "SearchResult", "Best plan and how good it is proven to be.");
  bind_struct<Reason>(m, "Reason", "One difference between two plans.");
  m.def("search", &search, "graph"_a, "cluster"_a, "job"_a, "limits"_a = SearchLimits(), Released(),
        "Search the local space in full. Same input, same bytes. Raises InputError.");
  m.def("explain", &explain, "plan"_a, "other"_a, "Why this plan and not the other.");
  m.def("why_not", &why_not, "graph"_a, "cluster"_a, "job"_a, "result"_a, "wish"_a, Released(),
        "What happens with a wish such as \"compile=off\". Raises InputError.");
  bind_trials(m);
}

}  // namespace parallel_opt::bindings
