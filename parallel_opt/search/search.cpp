#include "parallel_opt/search/search.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <tuple>

#include "parallel_opt/base/text.h"
#include "parallel_opt/base/version.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/search/explain.h"

namespace parallel_opt {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kSlowerThanAllowed = "slower than the job allows";

/// The best way to run one combination of switches, and what it costs.
struct Found {
  LocalChoice choice;
  Cost cost;
  double objective = kInfinity;
  bool fits = false;     ///< in memory
  bool allowed = false;  ///< fits, and is not slower than the job allows
};

/// Better first; among equals the one that changes less, so that no switch is thrown for nothing.
bool better(const Found& a, const Found& b) {
  const auto key = [](const Found& f) {
    int recomputed = 0;
    for (const int n : f.choice.recompute) recomputed += n;
    return std::tuple(!f.allowed, f.objective, f.choice.layout, f.choice.precision,
                      f.choice.compile, f.choice.memory_format, f.choice.attention,
                      f.choice.fused_optimizer, f.choice.micro, recomputed);
  };
  return key(a) < key(b);
}

class LocalSearch {
 public:
  LocalSearch(const CostModel& model, const SearchLimits& limits)
      : model_(model), space_(model.space()), limits_(limits) {}

  void run();
  std::vector<Found> found;  ///< one per combination of switches
  std::int64_t considered = 0;
  std::int64_t skipped = 0;
  double fastest_s = kInfinity;  ///< of plans that fit
  Found best_unlimited;          ///< best of those that do not
  std::optional<Found> leanest;  ///< of all while none fits: nothing is pruned until one does
  double slowest_allowed_s = kInfinity;
  bool timed_out = false;
  /// Objective and step time of what the deadline left out are no lower.
  double unexplored_bound = kInfinity;
  double unexplored_s = kInfinity;

 private:
  template <class Visit>
  void each_combination(const Visit& visit) const;
  Found solve(LocalChoice choice, double limit);
  void recompute_counts(LocalChoice choice, std::size_t block_class, double limit, Found& best);
  Found judge(const LocalChoice& choice, double limit);
  std::int64_t recompute_combinations() const;
  double least_objective(const LocalChoice& choice, const Cost& cost) const;
  bool late() const {
    return std::chrono::steady_clock::now() - start_ >
           std::chrono::duration<double>(limits_.deadline_s);
  }

  const CostModel& model_;
  const LocalSpace& space_;
  SearchLimits limits_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

template <class Visit>
void LocalSearch::each_combination(const Visit& visit) const {
  LocalChoice choice;
  for (std::size_t l = 0; l < space_.layouts.size(); ++l) {
    for (std::size_t p = 0; p < space_.precisions.size(); ++p) {
      for (const bool compile : space_.compile) {
        for (const MemoryFormat format : space_.memory_formats) {
          for (const AttentionKernel attention : space_.attention) {
            for (const bool fused : space_.fused_optimizer) {
              choice.layout = int(l);
              choice.precision = int(p);
              choice.compile = compile;
              choice.memory_format = format;
              choice.attention = attention;
              choice.fused_optimizer = fused;
              if (!visit(choice)) return;
            }
          }
        }
      }
    }
  }
}

std::int64_t LocalSearch::recompute_combinations() const {
  std::int64_t count = 1;
  for (std::size_t c = 0; c < space_.most_recompute.size(); ++c) {
    count *= space_.most_recompute[c] - space_.least_recompute[c] + 1;
  }
  return count;
}

Found LocalSearch::judge(const LocalChoice& choice, double limit) {
  ++considered;
  Found f{choice, model_.evaluate(choice)};
  f.objective = objective_of(f.cost, model_.job());
  f.fits = f.cost.memory_bytes <= limit;
  f.allowed = f.fits && f.cost.time_s <= slowest_allowed_s;
  if (f.fits) fastest_s = std::min(fastest_s, f.cost.time_s);
  if (!f.fits && f.objective < best_unlimited.objective) best_unlimited = f;
  if (!leanest || f.cost.memory_bytes < leanest->cost.memory_bytes) leanest = f;
  return f;
}

/// Tries counts of recomputed blocks, class by class. In the last class more blocks only cost time
/// and energy once the memory fits: the first that fits ends the loop. Memory as objective has no
/// such order and sees them all.
void LocalSearch::recompute_counts(LocalChoice choice, std::size_t block_class, double limit,
                                   Found& best) {
  const bool last = block_class + 1 == space_.most_recompute.size();
  for (int n = space_.least_recompute[block_class]; n <= space_.most_recompute[block_class]; ++n) {
    choice.recompute[block_class] = n;
    if (!last) {
      recompute_counts(choice, block_class + 1, limit, best);
      continue;
    }
    const Found f = judge(choice, limit);
    if (better(f, best)) best = f;
    if (f.fits && model_.job().objective != Objective::memory) {
      skipped += space_.most_recompute[block_class] - n;
      return;
    }
  }
}

/// Micro-batches and recomputed blocks of one combination. Fewer, larger pieces come first: a
/// smaller one without recompute is a bound for all counts of its own and of smaller pieces.
Found LocalSearch::solve(LocalChoice choice, double limit) {
  Found best;
  best.choice = choice;
  const bool by_memory = model_.job().objective == Objective::memory;
  const std::size_t sizes = space_.micro_batches[std::size_t(choice.layout)].size();
  for (std::size_t m = 0; m < sizes; ++m) {
    choice.micro = int(m);
    choice.recompute = space_.least_recompute;
    if (best.allowed && !by_memory) {
      const double bound = objective_of(model_.evaluate(choice), model_.job());
      if (bound >= best.objective) {
        skipped += recompute_combinations();
        continue;
      }
    }
    recompute_counts(choice, 0, limit, best);
  }
  return best;
}

/// No micro-batches and recomputed blocks of this combination take less, where `choice` has the
/// largest pieces and recomputes least. Memory falls with both: what stays is the bound.
double LocalSearch::least_objective(const LocalChoice& choice, const Cost& cost) const {
  if (model_.job().objective != Objective::memory) return objective_of(cost, model_.job());
  const Bill bill = model_.bill(choice);
  return bill.parameters_bytes + bill.optimizer_bytes;
}

void LocalSearch::run() {
  found.clear();
  each_combination([&](const LocalChoice& choice) {
    if (late()) timed_out = true;
    if (timed_out) {
      LocalChoice bound = choice;
      bound.recompute = space_.least_recompute;
      const Cost cost = model_.evaluate(bound);
      unexplored_s = std::min(unexplored_s, cost.time_s);
      unexplored_bound = std::min(unexplored_bound, least_objective(bound, cost));
      return true;
    }
    const Layout& layout = space_.layouts[std::size_t(choice.layout)];
    const int device = space_.pools[std::size_t(layout.pool)].devices.front();
    found.push_back(solve(choice, memory_limit_of(model_.cluster(), model_.job(), device)));
    return true;
  });
  std::ranges::sort(found, better);
}

std::string in_words(const CostModel& model) {
  const LocalSpace& space = model.space();
  std::int64_t layouts = 0;
  for (const auto& sizes : space.micro_batches) layouts += std::int64_t(sizes.size());
  const auto count = [](std::size_t n, const std::string& one, const std::string& more) {
    return std::to_string(n) + " " + (n == 1 ? one : more);
  };
  std::vector<std::string> parts = {
      count(space.layouts.size(), "layout of ranks and threads", "layouts of ranks and threads"),
      count(std::size_t(layouts), "micro-batch size over them", "micro-batch sizes over them"),
      count(space.precisions.size(), "precision", "precisions"),
      count(space.compile.size(), "compile choice", "compile choices"),
      count(space.memory_formats.size(), "memory format", "memory formats"),
      count(space.attention.size(), "attention kernel", "attention kernels"),
      count(space.fused_optimizer.size(), "optimizer form", "optimizer forms")};
  for (std::size_t c = 0; c < model.facts().classes.size(); ++c) {
    parts.push_back(std::to_string(space.least_recompute[c]) + ".." +
                    std::to_string(space.most_recompute[c]) + " recomputed blocks of class " +
                    std::to_string(c));
  }
  return "replicas on one node: " + join(parts, ", ");
}

std::vector<std::string> pinned(const Job& job) {
  std::vector<std::string> list;
  const Pins& pins = job.pins;
  const auto add = [&](const char* name, const auto& value, const auto& shown) {
    if (value) list.push_back(std::string(name) + "=" + shown(*value));
  };
  const auto number = [](auto n) { return std::to_string(n); };
  const auto on_off = [](bool on) { return std::string(on ? "on" : "off"); };
  add("data", pins.data, number);
  add("device", pins.device, [](DeviceKind k) { return std::string(name_of(k)); });
  add("threads", pins.threads, number);
  add("micro_batch", pins.micro_batch, number);
  add("compile", pins.compile, on_off);
  add("memory_format", pins.memory_format, [](MemoryFormat f) { return std::string(name_of(f)); });
  add("attention", pins.attention, [](AttentionKernel k) { return std::string(name_of(k)); });
  add("fused_optimizer", pins.fused_optimizer, on_off);
  add("recompute", pins.recompute, [](const std::string& s) { return s; });
  if (job.precision != Precision::automatic) {
    list.push_back("precision=" + std::string(name_of(job.precision)));
  }
  return list;
}

Plan finished(const CostModel& model, const Graph& graph, const LocalChoice& choice) {
  Plan plan = model.plan(choice);
  plan.estimate = model.estimate(plan);
  plan.provenance = {std::string(kVersion), graph_hash(graph), hardware_hash(model.cluster()), {}};
  return plan;
}

/// Answers for an empty space: the faults say which wish cannot be met.
SearchResult nothing(const LocalSpace& space) {
  SearchResult result;
  for (const Fault& fault : space.empty) result.binding.push_back(to_string(fault));
  return result;
}

void add_candidates(const CostModel& model, const Graph& graph, const LocalSearch& search,
                    const SearchLimits& limits, SearchResult& result) {
  const LocalChoice plain = model.plain();
  const auto is_plain = [&](const Found& f) {
    LocalChoice same = f.choice;
    same.micro = plain.micro;
    same.recompute = plain.recompute;
    return same == plain;
  };
  int taken = 0;
  for (std::size_t i = 0; i < search.found.size(); ++i) {
    const Found& f = search.found[i];
    if (taken >= limits.keep && !is_plain(f)) continue;
    ++taken;
    Candidate candidate;
    candidate.plan = finished(model, graph, f.choice);
    candidate.fits = f.fits;
    candidate.label = one_line(candidate.plan);
    if (result.plan) {
      candidate.reason = i == 0 ? "chosen"
                         : f.fits && !f.allowed
                             ? kSlowerThanAllowed
                             : why_it_lost(*result.plan, candidate.plan, model.job(), f.fits);
    } else {
      candidate.reason = f.fits ? kSlowerThanAllowed : "does not fit in memory";
    }
    result.candidates.push_back(std::move(candidate));
  }
}

}  // namespace

double amortised_s(double step_s, double warm_up_s, const Job& job) {
  return job.steps && *job.steps > 0 ? step_s + warm_up_s / double(*job.steps) : step_s;
}

double objective_of(const Cost& cost, const Job& job) {
  switch (job.objective) {
    case Objective::memory:
      return cost.memory_bytes;
    case Objective::energy:
      // Warm-up draws power too: it counts as steps of the same power.
      return cost.time_s > 0
                 ? cost.energy_j * amortised_s(cost.time_s, cost.warm_up_s, job) / cost.time_s
                 : 0;
    case Objective::edp:
      return cost.energy_j * amortised_s(cost.time_s, cost.warm_up_s, job);
    default:
      return amortised_s(cost.time_s, cost.warm_up_s, job);
  }
}

double memory_limit_of(const Cluster& cluster, const Job& job, int device) {
  const double own = cluster.devices[std::size_t(device)].memory_bytes.value;
  return job.memory_limit_bytes ? std::min(own, double(job.memory_limit_bytes->value)) : own;
}

SearchResult search(const Graph& graph, const Cluster& cluster, const Job& job,
                    const SearchLimits& limits) {
  std::vector<Fault> faults = check(job);
  if (job.training && count_parameters(graph).trainable == 0) {
    faults.push_back({"model", "no trainable parameters", "a job with training off needs none"});
  }
  if (cluster.devices.empty()) faults.push_back({"cluster.devices", "there is none", ""});
  const bool needs_power = job.objective == Objective::energy || job.objective == Objective::edp;
  for (const Device& device : cluster.devices) {
    if (!needs_power || device.power) continue;
    faults.push_back({"cluster.devices", device.name + " states no watts, so energy is unknown",
                      "use the objective time, or state power{idle_w, max_w}"});
    break;
  }
  throw_if_any(std::move(faults));
  const CostModel model(graph, cluster, job);
  if (!model.space().empty.empty()) return nothing(model.space());
  LocalSearch local(model, limits);
  if (job.objective != Objective::time && job.max_slowdown) {
    Job by_time = job;
    by_time.objective = Objective::time;
    const SearchResult quick =
        search(graph, cluster, by_time, {limits.deadline_s, 0});  // the yardstick
    if (quick.plan) {
      local.slowest_allowed_s = quick.plan->estimate.step_time_s.value * (1 + *job.max_slowdown);
    }
  }
  local.run();
  SearchResult result;
  result.considered = local.considered;
  result.pruned = local.skipped;
  result.space = in_words(model);
  const bool any = !local.found.empty() && local.found.front().allowed;
  if (any) {
    const Found& best = local.found.front();
    const double bound = std::min(best.objective, local.unexplored_bound);
    result.status = local.timed_out ? SolveStatus::timed_out : SolveStatus::optimal;
    result.gap = best.objective > 0 ? (best.objective - bound) / best.objective : 0;
    const double bound_s = std::min(local.fastest_s, local.unexplored_s);
    result.lower_bound_s = bound_s;
    result.plan = finished(model, graph, best.choice);
    result.plan->certificate = Certificate{std::string(name_of(result.status)), bound_s,
                                           result.gap.value_or(0), result.space, pinned(job)};
  } else {
    result.status = local.timed_out ? SolveStatus::timed_out : SolveStatus::infeasible;
  }
  add_candidates(model, graph, local, limits, result);
  if (!result.candidates.empty() && result.plan && result.candidates.front().reason == "chosen") {
    result.candidates.front().plan = *result.plan;
  }
  std::optional<Plan> unlimited;
  if (local.best_unlimited.objective < kInfinity) {
    unlimited = finished(model, graph, local.best_unlimited.choice);
  }
  std::optional<Plan> leanest;
  if (local.leanest && local.fastest_s == kInfinity) {
    leanest = finished(model, graph, local.leanest->choice);
  }
  result.binding = binding_constraints(model, result, unlimited, leanest);
  return result;
}

PlanResult plan_result(const SearchResult& result, double wall_s) {
  return {result.plan,
          {result.status, wall_s, result.considered, result.lower_bound_s, result.gap,
           result.binding, result.candidates}};
}

}  // namespace parallel_opt
