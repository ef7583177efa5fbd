#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "parallel_opt/base/json.h"

namespace parallel_opt {

/// How a number was obtained, best first. Energy uses counter, integrated_power, modelled,
/// unavailable.
enum class Quality {
  counter,           ///< read from a hardware counter
  measured,          ///< timed or counted on this machine
  integrated_power,  ///< sampled watts, integrated over time
  calibrated,        ///< a model whose parameters were fitted to measurements
  reported,          ///< stated by the driver or the operating system
  database,          ///< data sheet or published table
  modelled,          ///< a model with default parameters
  assumed,           ///< a guess that is named as one
  unavailable,       ///< nothing is known
};

constexpr auto enum_names(Quality) {
  return std::to_array<std::string_view>({"counter", "measured", "integrated_power", "calibrated",
                                          "reported", "database", "modelled", "assumed",
                                          "unavailable"});
}

/// A sum is only as good as its worst part.
constexpr Quality worst(Quality a, Quality b) { return std::max(a, b); }

/// A number with its 80 % interval and quality. The unit is in the name of the field that holds it.
struct Uncertain {
  double value = 0;
  double low = 0;
  double high = 0;
  Quality quality = Quality::assumed;
  bool operator==(const Uncertain&) const = default;

  /// Sum of two numbers whose errors go together (intervals add): the careful choice for parts of a
  /// step.
  Uncertain operator+(const Uncertain& o) const {
    return {value + o.value, low + o.low, high + o.high, worst(quality, o.quality)};
  }
  /// Pre: k >= 0.
  Uncertain operator*(double k) const { return {value * k, low * k, high * k, quality}; }
};

/// `value` with the interval value*(1-relative) .. value*(1+relative).
constexpr Uncertain within(double value, double relative, Quality quality) {
  return {value, value * (1 - relative), value * (1 + relative), quality};
}

/// A number known exactly from the model or the plan (parameter bytes, say).
constexpr Uncertain exact(double value, Quality quality = Quality::measured) {
  return {value, value, value, quality};
}

template <class Visitor, class T>
  requires SameAs<T, Uncertain>
void fields(Visitor& visit, T& number) {
  visit("value", number.value, "best estimate");
  visit("low", number.low, "10th percentile");
  visit("high", number.high, "90th percentile");
  visit("quality", number.quality, "how the number was obtained");
}

}  // namespace parallel_opt
