#include "parallel_opt/cli/plan_text.h"

#include "parallel_opt/base/text.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

std::string seconds_text(double s) { return show(Seconds(s)); }
std::string bytes_text(double b) { return show_bytes(b); }
std::string joules_text(double j) { return show(Joules(j)); }
std::string dollars_text(double d) { return show(d) + " USD"; }
std::string grams_text(double g) { return show(g) + " g"; }
std::string plain_text(double n) { return show(n); }

}  // namespace

std::string interval_text(const Uncertain& number, std::string (*show_one)(double)) {
  if (number.low == number.high) {
    return show_one(number.value) + " (" + std::string(name_of(number.quality)) + ")";
  }
  return show_one(number.value) + " (" + show_one(number.low) + " to " + show_one(number.high) +
         ", " + std::string(name_of(number.quality)) + ")";
}

std::string estimate_text(const Estimate& estimate, const std::optional<Uncertain>& carbon_g) {
  Table totals{{{"", Align::left}, {"", Align::left}}, {}};
  const auto add = [&](const char* name, const std::optional<Uncertain>& number, auto show_one) {
    if (number) totals.rows.push_back({name, interval_text(*number, show_one)});
  };
  add("step time", estimate.step_time_s, seconds_text);
  add("samples/s", estimate.samples_per_s, plain_text);
  add("tokens/s", estimate.tokens_per_s, plain_text);
  add("peak memory", estimate.peak_memory_bytes, bytes_text);
  add("energy per step", estimate.energy_j, joules_text);
  add("money per step", estimate.money_usd, dollars_text);
  add("carbon per step", carbon_g, grams_text);
  add("warm-up, once", estimate.warm_up_s, seconds_text);
  Table items{{{"item"},
               {"time", Align::right},
               {"memory", Align::right},
               {"energy", Align::right},
               {"80 % interval", Align::right}},
              {}};
  for (const EstimateItem& item : estimate.items) {
    const auto show_one = item.seconds ? seconds_text : item.bytes ? bytes_text : joules_text;
    const std::string interval =
        item.low && item.high ? show_one(*item.low) + " to " + show_one(*item.high) : "";
    items.rows.push_back({item.name, item.seconds ? seconds_text(*item.seconds) : "",
                          item.bytes ? bytes_text(*item.bytes) : "",
                          item.joules ? joules_text(*item.joules) : "", interval});
  }
  std::string text = to_text(totals);
  if (!items.rows.empty()) text += "\n" + to_text(items);
  return text;
}

std::string candidates_text(const std::vector<Candidate>& candidates) {
  Table table{{{"candidate"}, {"step time", Align::right}, {"peak memory", Align::right}, {"why"}},
              {}};
  for (const Candidate& candidate : candidates) {
    const Estimate& estimate = candidate.plan.estimate;
    table.rows.push_back({candidate.label, seconds_text(estimate.step_time_s.value),
                          bytes_text(estimate.peak_memory_bytes.value), candidate.reason});
  }
  return to_text(table);
}

}  // namespace parallel_opt
