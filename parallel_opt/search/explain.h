#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/cost_model.h"
#include "parallel_opt/search/search.h"

namespace parallel_opt {

/// One difference between two plans, for people and for programs. Deltas are the plan less the
/// other: negative is in favour of the plan.
struct Reason {
  std::string text;
  std::string item;  ///< line of the bill, or "total"
  std::optional<double> delta_s;
  std::optional<double> delta_bytes;
  std::optional<double> delta_j;
  bool operator==(const Reason&) const = default;
};

/// "12.3 %", without its sign.
std::string show_percent(double share);

/// Why this plan and not the other: totals first, then the lines of both bills that differ most.
/// Works on the estimates that the plans carry.
std::vector<Reason> explain(const Plan& plan, const Plan& other);

/// What happens with a wish of the user's: "compile=off", "ranks=2", "precision=fp32", "threads=1",
/// "micro_batch=4", "memory_format=channels_last", "fused_optimizer=on", "recompute=full". Searches
/// once more with the wish pinned. Throws InputError for a wish that is no `NAME=VALUE` of these.
std::vector<Reason> why_not(const Graph& graph, const Cluster& cluster, const Job& job,
                            const SearchResult& result, const std::string& wish);

/// What is wrong with a wish; empty: `why_not` takes it.
std::vector<Fault> check_wish(const std::string& wish);

/// One sentence: by how much a candidate is worse than the chosen plan and what costs it most.
std::string why_it_lost(const Plan& chosen, const Plan& other, const Job& job, bool fits);

/// What stands between the plan and a better one: memory, allowed slowdown, slow bf16, and what
/// most of the step is spent on. `unlimited` is the best plan that memory forbids, if there is one;
/// `leanest` the one that needs least memory where memory forbids all.
std::vector<std::string> binding_constraints(const CostModel& model, const SearchResult& result,
                                             const std::optional<Plan>& unlimited,
                                             const std::optional<Plan>& leanest = {});

template <class Visitor, class T>
  requires SameAs<T, Reason>
void fields(Visitor& visit, T& reason) {
  visit("text", reason.text, "for people");
  visit("item", reason.item, "line of the bill, or total");
  visit("delta_s", reason.delta_s, "seconds, this plan less the other");
  visit("delta_bytes", reason.delta_bytes, "bytes, likewise");
  visit("delta_j", reason.delta_j, "joules, likewise");
}

}  // namespace parallel_opt
