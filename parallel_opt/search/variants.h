#pragma once

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel_opt/search/trials.h"

/// Private to search/: what one process can be set to, for trials.cpp and decide.cpp.
namespace parallel_opt {

/// What makes two forwards and backwards of one process the same.
inline auto forward_key(Precision precision, const Execution& execution, int threads) {
  return std::tuple(precision, execution.compile, execution.memory_format, execution.attention,
                    threads);
}

inline auto forward_key(const Plan& plan) {
  const int threads = plan.placements.empty() ? 1 : plan.placements.front().threads;
  return forward_key(plan.precision, plan.execution, threads);
}

inline auto forward_key(const Trial& t) { return forward_key(t.precision, t.execution, t.threads); }

/// Settings of one process, for comparison.
template <class T>
auto key_of(const T& t) {
  return std::pair(forward_key(t), t.execution.fused_optimizer);
}

/// Settings that differ from plain PyTorch's.
int switches(const Plan& plan);

/// Why a plan is not worth a trial, in words; empty when it is. `best_high_s` is the high end of
/// the best plan's predicted step time.
std::string not_worth_trying(const Plan& plan, const Plan& plain, double best_high_s,
                             const Job& job);

/// The result's plan with other settings of the process.
class Variants {
 public:
  Variants(const Graph& graph, const Cluster& cluster, const Job& job, const SearchResult& result);

  Plan with(Precision precision, const Execution& execution, int threads) const;
  /// What PyTorch does by itself, on the ranks of the base plan: pins apply.
  Plan plain() const;
  /// Threads that a rank of the base plan may have, most first.
  std::vector<int> threads() const;
  std::vector<Plan> all() const;
  /// Those, least time per step first, with warm-up spread over the run.
  std::vector<Plan> by_time() const;
  const CostModel& model() const { return model_; }

 private:
  CostModel model_;
  const Plan& base_;
  std::string model_hash_, cluster_hash_;
};

}  // namespace parallel_opt
