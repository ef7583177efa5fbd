#include "parallel_opt/search/explain.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

constexpr double kWorthALine = 0.005;  // of the step, the peak or the energy
constexpr std::size_t kMostLines = 8;

std::string show_joules(double joules) { return show(Joules(joules)); }
std::string show_seconds(double seconds) { return show(Seconds(seconds)); }

struct Line {
  double seconds = 0, bytes = 0, joules = 0;
};

std::map<std::string, Line> lines_of(const Estimate& estimate, double sign,
                                     std::map<std::string, Line> sum) {
  for (const EstimateItem& item : estimate.items) {
    Line& line = sum[item.name];
    line.seconds += sign * item.seconds.value_or(0);
    line.bytes += sign * item.bytes.value_or(0);
    line.joules += sign * item.joules.value_or(0);
  }
  return sum;
}

/// "12.3 ms less (3.1 %)": a difference, relative to the other plan's total.
std::string difference(double delta, double total, const std::string& shown) {
  std::string text = shown + (delta < 0 ? " less" : " more");
  if (total > 0) text += " (" + show_percent(delta / total) + ")";
  return text;
}

void add_totals(const Plan& plan, const Plan& other, std::vector<Reason>& reasons) {
  const Estimate &a = plan.estimate, &b = other.estimate;
  const double seconds = a.step_time_s.value - b.step_time_s.value;
  const double bytes = a.peak_memory_bytes.value - b.peak_memory_bytes.value;
  Reason total;
  total.item = "total";
  total.delta_s = seconds;
  total.delta_bytes = bytes;
  std::string text = one_line(plan) + " against " + one_line(other) + ": ";
  text += seconds == 0 ? "equal step time"
                       : difference(seconds, b.step_time_s.value, show_seconds(std::abs(seconds))) +
                             " per step";
  if (bytes != 0) {
    text += ", " + difference(bytes, b.peak_memory_bytes.value, show_bytes(std::abs(bytes))) +
            " at the peak";
  }
  if (a.energy_j && b.energy_j) {
    const double joules = a.energy_j->value - b.energy_j->value;
    total.delta_j = joules;
    if (joules != 0) {
      text += ", " + difference(joules, b.energy_j->value, show_joules(std::abs(joules))) +
              " of energy";
    }
  }
  total.text = std::move(text);
  reasons.push_back(std::move(total));
  const double warm_a = a.warm_up_s ? a.warm_up_s->value : 0;
  const double warm_b = b.warm_up_s ? b.warm_up_s->value : 0;
  if (warm_a != warm_b) {
    Reason warm;
    warm.item = "warm-up";
    warm.text = "once, before the first step: " +
                difference(warm_a - warm_b, 0, show_seconds(std::abs(warm_a - warm_b)));
    const double gain = -seconds;
    if (gain > 0 && warm_a > warm_b) {
      warm.text += ", paid back after " +
                   std::to_string(std::llround(std::ceil((warm_a - warm_b) / gain))) + " steps";
    }
    reasons.push_back(std::move(warm));
  }
}

}  // namespace

std::string show_percent(double share) {
  return show(std::round(std::abs(share) * 1000) / 10) + " %";
}

std::vector<Reason> explain(const Plan& plan, const Plan& other) {
  std::vector<Reason> reasons;
  add_totals(plan, other, reasons);
  const std::map<std::string, Line> lines =
      lines_of(other.estimate, -1, lines_of(plan.estimate, 1, {}));
  const double time = std::max(1e-12, other.estimate.step_time_s.value);
  const double memory = std::max(1.0, other.estimate.peak_memory_bytes.value);
  const double energy =
      other.estimate.energy_j ? std::max(1e-12, other.estimate.energy_j->value) : 1e300;
  const auto weight = [&](const Line& line) {
    return std::max({std::abs(line.seconds) / time, std::abs(line.bytes) / memory,
                     std::abs(line.joules) / energy});
  };
  std::vector<std::pair<std::string, Line>> sorted(lines.begin(), lines.end());
  std::ranges::stable_sort(
      sorted, [&](const auto& a, const auto& b) { return weight(a.second) > weight(b.second); });
  for (const auto& [name, line] : sorted) {
    if (weight(line) < kWorthALine || reasons.size() >= kMostLines) break;
    Reason reason;
    reason.item = name;
    std::vector<std::string> parts;
    if (line.seconds != 0) {
      reason.delta_s = line.seconds;
      parts.push_back(difference(line.seconds, time, show_seconds(std::abs(line.seconds))));
    }
    if (line.bytes != 0) {
      reason.delta_bytes = line.bytes;
      parts.push_back(difference(line.bytes, memory, show_bytes(std::abs(line.bytes))));
    }
    if (line.joules != 0) {
      reason.delta_j = line.joules;
      parts.push_back(difference(line.joules, energy, show_joules(std::abs(line.joules))));
    }
    reason.text = name + ": " + join(parts, ", ");
    reasons.push_back(std::move(reason));
  }
  return reasons;
}

namespace {

/// What decides between two plans, in words: the objective, or time where no energy is known.
struct Words {
  Objective objective;
  const char* more;
  const char* less;
  const char* equal;
};

Words words_of(const Job& job, const Estimate& a, const Estimate& b) {
  const bool energy = a.energy_j && b.energy_j;
  if (job.objective == Objective::memory) {
    return {Objective::memory, " more at the peak", " less at the peak", "as much memory as"};
  }
  if (job.objective == Objective::energy && energy) {
    return {Objective::energy, " more energy", " less energy", "as much energy as"};
  }
  if (job.objective == Objective::edp && energy) {
    return {Objective::edp, " more energy times time", " less energy times time",
            "as much energy times time as"};
  }
  return {Objective::time, " slower", " faster", "as fast as"};
}

double measure_of(const Estimate& e, const Words& words) {
  switch (words.objective) {
    case Objective::memory:
      return e.peak_memory_bytes.value;
    case Objective::energy:
      return e.energy_j.value().value;
    case Objective::edp:
      return e.energy_j.value().value * e.step_time_s.value;
    default:
      return e.step_time_s.value;
  }
}

}  // namespace

std::string why_it_lost(const Plan& chosen, const Plan& other, const Job& job, bool fits) {
  const Estimate &mine = chosen.estimate, &its = other.estimate;
  if (!fits) {
    return "needs " + show_bytes(its.peak_memory_bytes.value) + " at the peak: more than the limit";
  }
  const Words words = words_of(job, mine, its);
  const double share = measure_of(its, words) / measure_of(mine, words) - 1;
  if (share < 0 && job.steps) {
    return show_percent(share) + words.less + " per step, but its warm-up is not paid back in " +
           std::to_string(*job.steps) + " steps";
  }
  if (share <= 1e-9) return words.equal + std::string(" the chosen plan, which changes less");
  std::string text =
      words.objective == Objective::memory
          ? show_bytes(its.peak_memory_bytes.value - mine.peak_memory_bytes.value) + words.more
          : show_percent(share) + words.more;
  const std::vector<Reason> reasons = explain(other, chosen);
  for (const Reason& reason : reasons) {
    const bool by_time = job.objective != Objective::memory && job.objective != Objective::energy;
    const double delta = by_time                              ? reason.delta_s.value_or(0)
                         : job.objective == Objective::memory ? reason.delta_bytes.value_or(0)
                                                              : reason.delta_j.value_or(0);
    if (reason.item != "total" && reason.item != "warm-up" && delta > 0) {
      return text + ", mostly " + reason.item;
    }
  }
  return text;
}

namespace {

std::optional<bool> on_off(const std::string& value) {
  if (value == "on" || value == "true" || value == "1") return true;
  if (value == "off" || value == "false" || value == "0") return false;
  return std::nullopt;
}

template <class T>
std::optional<T> whole(const std::string& value) {
  T number{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < 1) return std::nullopt;
  return number;
}

const std::vector<std::string>& wish_names() {
  static const std::vector<std::string> names = {
      "ranks",     "data",      "threads",     "tensor",        "pipeline",
      "context",   "expert",    "compile",     "memory_format", "fused_optimizer",
      "attention", "recompute", "micro_batch", "precision"};
  return names;
}

/// The job with the wish pinned. Throws InputError.
Job with_wish(Job job, const std::string& wish) {
  const std::size_t equals = wish.find('=');
  const std::string name(trim(wish.substr(0, equals)));
  const std::string value(
      equals == std::string::npos ? "" : trim(std::string_view(wish).substr(equals + 1)));
  const auto bad_value = [&](const std::string& wanted) {
    return InputError("--why-not " + name, "\"" + value + "\" is no value of it", wanted);
  };
  const auto number = [&](std::optional<int>& pin) {
    pin = whole<int>(value);
    if (!pin) throw bad_value("a whole number from 1");
  };
  const auto flag = [&](std::optional<bool>& pin) {
    pin = on_off(value);
    if (!pin) throw bad_value("on or off");
  };
  if (std::ranges::find(wish_names(), name) == wish_names().end()) {
    const std::string near = nearest_match(name, wish_names());
    throw InputError(
        "--why-not", "\"" + name + "\" is nothing that a plan chooses",
        near.empty() ? "one of " + join(wish_names(), ", ") : "did you mean " + near + "?");
  }
  Pins& pins = job.pins;
  if (name == "ranks" || name == "data") number(pins.data);
  if (name == "threads") number(pins.threads);
  if (name == "tensor") number(pins.tensor);
  if (name == "pipeline") number(pins.pipeline);
  if (name == "context") number(pins.context);
  if (name == "expert") number(pins.expert);
  if (name == "compile") flag(pins.compile);
  if (name == "fused_optimizer") flag(pins.fused_optimizer);
  if (name == "micro_batch") {
    pins.micro_batch = whole<std::int64_t>(value);
    if (!pins.micro_batch) throw bad_value("a whole number from 1");
  }
  if (name == "memory_format") {
    pins.memory_format = enum_from<MemoryFormat>(value);
    if (!pins.memory_format) throw bad_value("contiguous or channels_last");
  }
  if (name == "attention") {
    pins.attention = enum_from<AttentionKernel>(value);
    if (!pins.attention) throw bad_value("fused or unfused");
  }
  if (name == "recompute") {
    if (value != "none" && value != "full") throw bad_value("none or full");
    pins.recompute = value;
  }
  if (name == "precision") {
    const std::optional<Precision> precision = enum_from<Precision>(value);
    if (!precision || *precision == Precision::automatic) throw bad_value("fp32, bf16 or fp16");
    job.precision = *precision;
  }
  return job;
}

}  // namespace

std::vector<Fault> check_wish(const std::string& wish) {
  try {
    with_wish({}, wish);
  } catch (const InputError& error) {
    return error.faults();
  }
  return {};
}

std::vector<Reason> why_not(const Graph& graph, const Cluster& cluster, const Job& job,
                            const SearchResult& result, const std::string& wish) {
  const Job wished = with_wish(job, wish);
  if (const std::vector<Fault> faults = check(wished); !faults.empty()) {
    std::vector<Reason> reasons;
    for (const Fault& fault : faults) reasons.push_back({to_string(fault), "total", {}, {}, {}});
    return reasons;
  }
  const SearchResult other = search(graph, cluster, wished);
  std::vector<Reason> reasons;
  const auto say = [&](std::string text) {
    reasons.push_back({std::move(text), "total", {}, {}, {}});
  };
  if (!other.plan) {
    say("with " + wish + " there is no plan");
    for (const std::string& line : other.binding) say(line);
    return reasons;
  }
  if (!result.plan) {
    say("with " + wish + " there is a plan: " + one_line(*other.plan));
    return reasons;
  }
  if (one_line(*other.plan) == one_line(*result.plan)) {
    say("the plan already has " + wish);
    return reasons;
  }
  say("with " + wish + " the best plan is " + one_line(*other.plan));
  for (Reason& reason : explain(*result.plan, *other.plan)) reasons.push_back(std::move(reason));
  return reasons;
}

namespace {

/// The item with most of `member` (bytes or seconds); null when none has any.
template <class Member>
const EstimateItem* largest(const Plan& plan, Member member) {
  const EstimateItem* most = nullptr;
  for (const EstimateItem& item : plan.estimate.items) {
    if (item.*member && (!most || (item.*member).value() > (most->*member).value())) most = &item;
  }
  return most;
}

double limit_of(const CostModel& model, const Plan& plan) {
  return memory_limit_of(model.cluster(), model.job(), plan.placements.front().device);
}

/// What keeps every plan of the space out.
std::vector<std::string> why_nothing_fits(const CostModel& model, const SearchResult& result,
                                          const std::optional<Plan>& leanest) {
  std::vector<std::string> lines;
  if (leanest) {
    const Plan& plan = *leanest;
    const bool all = result.status != SolveStatus::timed_out;
    std::string line = "Memory: the leanest plan" + std::string(all ? "" : " found in time") +
                       " (" + one_line(plan) + ") needs " +
                       show_bytes(plan.estimate.peak_memory_bytes.value) + ", the limit is " +
                       show_bytes(limit_of(model, plan)) + ".";
    if (const EstimateItem* item = largest(plan, &EstimateItem::bytes)) {
      line += " Most of it is " + item->name + ": " + show_bytes(item->bytes.value()) + ".";
    }
    lines.push_back(std::move(line));
    if (model.facts().mixes_batch) {
      lines.emplace_back(
          "Micro-batches are no way out: the model mixes the samples of a batch (batch "
          "normalisation), so they would change its results.");
    }
  } else if (model.job().max_slowdown) {
    lines.push_back("Time: no plan stays within " + show_percent(*model.job().max_slowdown) +
                    " of the fastest one.");
  }
  return lines;
}

}  // namespace

std::vector<std::string> binding_constraints(const CostModel& model, const SearchResult& result,
                                             const std::optional<Plan>& unlimited,
                                             const std::optional<Plan>& leanest) {
  if (!result.plan) return why_nothing_fits(model, result, leanest);
  std::vector<std::string> lines;
  const Plan& plan = *result.plan;
  if (unlimited) {
    const double mine = plan.estimate.step_time_s.value,
                 its = unlimited->estimate.step_time_s.value;
    if (its < mine) {
      lines.push_back("Memory: " + one_line(*unlimited) + " would be " +
                      show_percent(1 - its / mine) + " faster, but needs " +
                      show_bytes(unlimited->estimate.peak_memory_bytes.value) + " of " +
                      show_bytes(limit_of(model, *unlimited)) + ".");
    }
  }
  if (model.job().precision == Precision::automatic) {
    const Device& device = model.cluster().devices[std::size_t(plan.placements.front().device)];
    if (!low_precision_pays(device, DType::bf16)) {
      lines.push_back(
          "Precision: bf16 is left out, because matrix products in it were not found faster on " +
          device.name + ".");
    }
  }
  if (const EstimateItem* item = largest(plan, &EstimateItem::seconds)) {
    lines.push_back(
        "Time: " + show_percent(item->seconds.value() / plan.estimate.step_time_s.value) +
        " of the step is " + item->name + ".");
  }
  return lines;
}

}  // namespace parallel_opt
