#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/uncertain.h"

namespace parallel_opt {

/// One line of the bill.
struct EstimateItem {
  std::string name;  ///< "forward contraction", "optimizer", "gradients", "activations", ...
  std::optional<double> seconds;
  std::optional<double> bytes;
  std::optional<double> joules;
  std::optional<double> low = {};  ///< 80 % interval of the one that is there
  std::optional<double> high = {};
  bool operator==(const EstimateItem&) const = default;
};

/// `factor` times what it is. Pre: factor >= 0.
inline void scale(EstimateItem& item, double factor) {
  for (std::optional<double>* part :
       {&item.seconds, &item.bytes, &item.joules, &item.low, &item.high}) {
    if (*part) **part *= factor;
  }
}

/// Predicted cost of one optimizer step of a plan.
struct Estimate {
  Uncertain step_time_s;
  Uncertain samples_per_s;
  std::optional<Uncertain> tokens_per_s;
  Uncertain peak_memory_bytes;  ///< on the fullest device: live bytes of the step
  std::optional<Uncertain> energy_j;
  std::optional<Uncertain> money_usd;
  std::optional<Uncertain> warm_up_s;  ///< paid once: compilation
  std::vector<EstimateItem> items;
  bool operator==(const Estimate&) const = default;
};

template <class Visitor, class T>
  requires SameAs<T, EstimateItem>
void fields(Visitor& visit, T& item) {
  visit("name", item.name, "what it is");
  visit("seconds", item.seconds, "share of the step");
  visit("bytes", item.bytes, "share of the peak memory");
  visit("joules", item.joules, "share of the energy");
  visit("low", item.low, "of its 80 % interval");
  visit("high", item.high, "of its 80 % interval");
}

template <class Visitor, class T>
  requires SameAs<T, Estimate>
void fields(Visitor& visit, T& estimate) {
  visit("step_time_s", estimate.step_time_s, "one optimizer step");
  visit("samples_per_s", estimate.samples_per_s, "global batch over step time");
  visit("tokens_per_s", estimate.tokens_per_s, "when the model reads tokens");
  visit("peak_memory_bytes", estimate.peak_memory_bytes, "on the fullest device");
  visit("energy_j", estimate.energy_j, "one optimizer step, all devices");
  visit("money_usd", estimate.money_usd, "one optimizer step, where prices are known");
  visit("warm_up_s", estimate.warm_up_s, "paid once: compilation");
  visit("items", estimate.items, "the bill, line by line");
}

}  // namespace parallel_opt
