#pragma once

#include <compare>
#include <cstdint>

namespace parallel_opt {

/// A number with a physical unit. Same unit: adds and compares. Other unit: does not compile.
template <class Unit, class Rep>
struct Quantity {
  using rep = Rep;
  Rep value{};

  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep v) : value(v) {}

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity operator+(Quantity o) const { return Quantity(value + o.value); }
  constexpr Quantity operator-(Quantity o) const { return Quantity(value - o.value); }
  constexpr Quantity operator*(Rep k) const { return Quantity(value * k); }
  constexpr Quantity& operator+=(Quantity o) {
    value += o.value;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity o) {
    value -= o.value;
    return *this;
  }
  /// Ratio of two quantities of one unit: a plain number.
  constexpr double operator/(Quantity o) const { return double(value) / double(o.value); }
};

using Bytes = Quantity<struct ByteUnit, std::int64_t>;
using Flops = Quantity<struct FlopUnit, double>;  // 6ND, 1T params x 10T tokens: 6e25 > 2^63
using Seconds = Quantity<struct SecondUnit, double>;
using Joules = Quantity<struct JouleUnit, double>;
using Watts = Quantity<struct WattUnit, double>;
using Dollars = Quantity<struct DollarUnit, double>;
using Hertz = Quantity<struct HertzUnit, double>;
using BytesPerSecond = Quantity<struct ByteRateUnit, double>;
using FlopsPerSecond = Quantity<struct FlopRateUnit, double>;

// The whole cross-unit algebra. A product that is not listed here is a mistake.
constexpr Seconds operator/(Bytes b, BytesPerSecond r) {
  return Seconds(double(b.value) / r.value);
}
constexpr Seconds operator/(Flops f, FlopsPerSecond r) { return Seconds(f.value / r.value); }
constexpr BytesPerSecond operator/(Bytes b, Seconds t) {
  return BytesPerSecond(double(b.value) / t.value);
}
constexpr FlopsPerSecond operator/(Flops f, Seconds t) { return FlopsPerSecond(f.value / t.value); }
constexpr Joules operator*(Watts p, Seconds t) { return Joules(p.value * t.value); }
constexpr Watts operator/(Joules e, Seconds t) { return Watts(e.value / t.value); }

}  // namespace parallel_opt
