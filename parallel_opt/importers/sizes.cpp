#include "parallel_opt/importers/sizes.h"

#include <algorithm>
#include <utility>

#include "parallel_opt/graph/symbol.h"

namespace parallel_opt::sizes {
namespace {

using Kind = Expression::Kind;

constexpr std::int64_t kLargest = INT64_MAX / 4;
constexpr std::size_t kLongest = 400;  // letters of an expression; longer ones are fixed

std::int64_t saturated_sum(std::int64_t a, std::int64_t b) {
  return std::clamp(a, -kLargest, kLargest) + std::clamp(b, -kLargest, kLargest);
}

std::int64_t saturated_product(std::int64_t a, std::int64_t b) {
  std::int64_t value = 0;
  if (!__builtin_mul_overflow(a, b, &value)) return std::clamp(value, -kLargest, kLargest);
  return (a < 0) == (b < 0) ? kLargest : -kLargest;
}

Expression expression_of(const Dim& dim) {
  if (dim.symbolic()) return parse_expression(dim.expression, "size");
  Expression number;
  number.number = dim.size;
  return number;
}

/// The size `value` with its expression; one that is too long or too large for the canonical form
/// keeps its value only.
Dim combined(Kind kind, const Dim& a, const Dim& b, std::int64_t value) {
  if (!a.symbolic() && !b.symbolic()) return {value, {}};
  if (a.expression.size() + b.expression.size() > kLongest) return {value, {}};
  Expression whole;
  whole.kind = kind;
  try {
    whole.arguments = {expression_of(a), expression_of(b)};
    std::string text = to_string(whole);
    if (symbols_of(parse_expression(text, "size")).empty()) return {value, {}};
    return {value, std::move(text)};
  } catch (const InputError&) {  // a coefficient beyond 64 bits
    return {value, {}};
  }
}

bool is_number(const Dim& dim, std::int64_t number) {
  return !dim.symbolic() && dim.size == number;
}

std::int64_t floor_value(std::int64_t a, std::int64_t b) {
  if (b == 0) return 0;
  const std::int64_t q = a / b;
  return a % b != 0 && ((a < 0) != (b < 0)) ? q - 1 : q;
}

/// Factors of a product: "2*batch*seq" is 2, batch, seq.
void factors(const Dim& dim, std::int64_t& number, std::vector<Dim>& symbolic) {
  if (!dim.symbolic()) {
    number = saturated_product(number, dim.size);
    return;
  }
  const Expression whole = parse_expression(dim.expression, "size");
  if (whole.kind != Kind::multiply) {
    symbolic.push_back(dim);
    return;
  }
  std::int64_t coefficient = 1;
  std::vector<std::string> parts;
  for (const Expression& part : whole.arguments) {
    if (part.kind == Kind::number) {
      coefficient = saturated_product(coefficient, part.number);
    } else {
      parts.push_back(to_string(part));
    }
  }
  number = saturated_product(number, coefficient);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    // Only the whole product's value is known; the first factor carries it.
    const std::int64_t value = coefficient == 0 ? 0 : dim.size / coefficient;
    symbolic.push_back({i == 0 ? value : 1, parts[i]});
  }
}

}  // namespace

Dim add(const Dim& a, const Dim& b) {
  if (is_number(a, 0)) return b;
  if (is_number(b, 0)) return a;
  return combined(Kind::add, a, b, saturated_sum(a.size, b.size));
}

Dim subtract(const Dim& a, const Dim& b) {
  if (is_number(b, 0)) return a;
  if (a.symbolic() && a.expression == b.expression) return fixed(0);
  return add(a, multiply(fixed(-1), b));
}

Dim multiply(const Dim& a, const Dim& b) {
  if (is_number(a, 1)) return b;
  if (is_number(b, 1)) return a;
  if (is_number(a, 0) || is_number(b, 0)) return fixed(0);
  return combined(Kind::multiply, a, b, saturated_product(a.size, b.size));
}

Dim floor_divide(const Dim& a, const Dim& b) {
  if (is_number(b, 1)) return a;
  if (a.symbolic() && a.expression == b.expression) return fixed(1);
  return combined(Kind::floor_divide, a, b, floor_value(a.size, b.size));
}

Dim ceil_divide(const Dim& a, const Dim& b) {
  return floor_divide(add(a, subtract(b, fixed(1))), b);
}

Dim modulo(const Dim& a, const Dim& b) {
  const std::int64_t value = b.size == 0 ? 0 : a.size - b.size * floor_value(a.size, b.size);
  return combined(Kind::modulo, a, b, value);
}

Dim maximum(const Dim& a, const Dim& b) {
  if (a == b) return a;
  return combined(Kind::maximum, a, b, std::max(a.size, b.size));
}

Dim minimum(const Dim& a, const Dim& b) {
  if (a == b) return a;
  return combined(Kind::minimum, a, b, std::min(a.size, b.size));
}

Dim product(std::span<const Dim> dims) {
  Dim total = fixed(1);
  for (const Dim& dim : dims) total = multiply(total, dim);
  return total;
}

Dim quotient(std::span<const Dim> numerator, std::span<const Dim> denominator) {
  std::int64_t above = 1;
  std::int64_t below = 1;
  std::vector<Dim> top;
  std::vector<Dim> bottom;
  for (const Dim& dim : numerator) factors(dim, above, top);
  for (const Dim& dim : denominator) factors(dim, below, bottom);
  for (const Dim& factor : std::vector<Dim>(bottom)) {
    const auto same = [&](const Dim& d) { return d.expression == factor.expression; };
    const auto at = std::find_if(top.begin(), top.end(), same);
    if (at == top.end()) continue;
    top.erase(at);
    bottom.erase(std::find_if(bottom.begin(), bottom.end(), same));
  }
  const Dim all = product(numerator);
  const Dim part = product(denominator);
  const std::int64_t value = floor_value(all.size, part.size);
  if (below != 0 && bottom.empty() && above % below == 0) {
    Dim result = fixed(above / below);
    for (const Dim& factor : top) result = multiply(result, factor);
    result.size = value;
    return result;
  }
  Dim result = floor_divide(all, part);
  result.size = value;
  return result;
}

Dim broadcast(const Dim& a, const Dim& b) {
  if (is_number(a, 1)) return b;
  if (is_number(b, 1)) return a;
  return a.symbolic() && !b.symbolic() ? b : a;
}

Shape broadcast(const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape result = longer;
  const std::size_t offset = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    result[offset + i] = broadcast(longer[offset + i], shorter[i]);
  }
  return result;
}

bool valid(const Shape& shape) {
  std::int64_t count = 1;
  for (const Dim& dim : shape) {
    if (dim.size < 0 || dim.size > kMost) return false;
    count = saturated_product(count, std::max<std::int64_t>(dim.size, 1));
    if (count > kMost) return false;
  }
  return true;
}

std::string text(const Shape& shape) {
  std::string result = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) result += ", ";
    result += shape[i].symbolic() ? shape[i].expression : std::to_string(shape[i].size);
  }
  return result + "]";
}

}  // namespace parallel_opt::sizes
