#include "parallel_opt/importers/onnx_size.h"

#include <algorithm>

#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/symbol.h"

namespace parallel_opt::onnx {
namespace {

using Kind = Expression::Kind;

constexpr std::string_view kUnknown = "?";
constexpr std::size_t kLongest = 200;  // letters of an expression

Expression node(Kind kind, std::vector<Expression> arguments) {
  return Expression{.kind = kind, .number = 0, .symbol = {}, .arguments = std::move(arguments)};
}

Expression number(std::int64_t value) {
  return Expression{.kind = Kind::number, .number = value, .symbol = {}, .arguments = {}};
}

Expression expression_of(const Dim& dim) {
  return dim.symbolic() ? parse_expression(dim.expression, "size") : number(dim.size);
}

/// A size with a canonical expression; `size` is its value at the symbols' hints.
Dim made_dim(const Expression& expression, std::int64_t size) {
  try {
    std::string text = to_string(expression);
    if (text.size() > kLongest) return unknown_size(size);
    const Expression again = parse_expression(text, "size");
    if (again.kind == Kind::number) return fixed(again.number);
    return {size, std::move(text)};
  } catch (const InputError&) {  // a coefficient beyond 64 bits
    return unknown_size(size);
  }
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (b == -1) return a == INT64_MIN ? 0 : -a;
  const std::int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

/// The value of both operands at the hints; empty: beyond 64 bits, or a division by zero.
std::optional<std::int64_t> value(Kind kind, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (kind) {
    case Kind::add:
      if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
      return result;
    case Kind::multiply:
      if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
      return result;
    case Kind::floor_divide:
      if (b == 0) return std::nullopt;
      return floor_quotient(a, b);
    case Kind::modulo:
      if (b == 0) return std::nullopt;
      return b == -1 ? 0 : a - b * floor_quotient(a, b);
    case Kind::maximum:
      return std::max(a, b);
    default:
      return std::min(a, b);
  }
}

Dim apply(Kind kind, const Dim& a, const Dim& b) {
  const std::optional<std::int64_t> size = value(kind, a.size, b.size);
  if (!size) return unknown_size(1);
  if (is_unknown(a) || is_unknown(b)) return unknown_size(*size);
  if (is_fixed(a) && is_fixed(b)) return fixed(*size);
  return made_dim(node(kind, {expression_of(a), expression_of(b)}), *size);
}

/// e / divisor when that is a whole expression: 4*s0 / 2 is 2*s0.
std::optional<Expression> exact(const Expression& e, std::int64_t divisor) {
  if (e.kind == Kind::number) {
    if (e.number % divisor != 0) return std::nullopt;
    return number(e.number / divisor);
  }
  if (e.kind == Kind::multiply) {
    Expression result = e;
    for (Expression& factor : result.arguments) {
      if (const auto less = exact(factor, divisor)) {
        factor = *less;
        return result;
      }
    }
    return std::nullopt;
  }
  if (e.kind != Kind::add) return std::nullopt;
  Expression result = e;
  for (Expression& term : result.arguments) {
    const auto less = exact(term, divisor);
    if (!less) return std::nullopt;
    term = *less;
  }
  return result;
}

/// The factors of a product, numbers apart.
void factors_of(const Expression& e, std::vector<std::string>& factors, std::int64_t& coefficient) {
  if (e.kind == Kind::multiply) {
    for (const Expression& argument : e.arguments) factors_of(argument, factors, coefficient);
  } else if (e.kind == Kind::number) {
    if (__builtin_mul_overflow(coefficient, e.number, &coefficient)) coefficient = 0;
  } else {
    factors.push_back(to_string(e));
  }
}

std::optional<Dim> exact_quotient(const Dim& a, const Dim& b) {
  std::vector<std::string> over, under;
  std::int64_t above = 1, below = 1;
  const Expression left = expression_of(a);
  if (is_fixed(b) && b.size > 0) {
    const auto less = exact(left, b.size);
    if (!less) return std::nullopt;
    return made_dim(*less, a.size / b.size);
  }
  factors_of(left, over, above);
  factors_of(expression_of(b), under, below);
  if (below == 0 || above % below != 0) return std::nullopt;
  for (const std::string& factor : under) {
    const auto found = std::ranges::find(over, factor);
    if (found == over.end()) return std::nullopt;
    over.erase(found);
  }
  std::vector<Expression> rest{number(above / below)};
  for (const std::string& factor : over) rest.push_back(parse_expression(factor, "size"));
  return made_dim(node(Kind::multiply, std::move(rest)), b.size == 0 ? 0 : a.size / b.size);
}

}  // namespace

Dim unknown_size(std::int64_t bound) {
  return {std::max<std::int64_t>(bound, 0), std::string(kUnknown)};
}
bool is_unknown(const Dim& dim) { return dim.expression == kUnknown; }
Dim fixed(std::int64_t size) { return {size, ""}; }
bool is_fixed(const Dim& dim) { return !dim.symbolic(); }
bool is_size(const Dim& dim, std::int64_t size) { return is_fixed(dim) && dim.size == size; }

Dim add(const Dim& a, const Dim& b) { return apply(Kind::add, a, b); }
Dim subtract(const Dim& a, const Dim& b) { return add(a, multiply(fixed(-1), b)); }
Dim multiply(const Dim& a, const Dim& b) {
  if (is_size(a, 1)) return b;
  if (is_size(b, 1)) return a;
  if (is_size(a, 0) || is_size(b, 0)) return fixed(0);
  return apply(Kind::multiply, a, b);
}

Dim floor_divide(const Dim& a, const Dim& b) {
  if (is_size(b, 1)) return a;
  if (is_unknown(a) || is_unknown(b) || (is_fixed(a) && is_fixed(b))) {
    return apply(Kind::floor_divide, a, b);
  }
  if (a == b) return fixed(1);
  if (const auto whole = exact_quotient(a, b)) return *whole;
  return apply(Kind::floor_divide, a, b);
}

Dim ceil_divide(const Dim& a, const Dim& b) {
  return floor_divide(add(a, subtract(b, fixed(1))), b);
}

Dim modulo(const Dim& a, const Dim& b) {
  const bool open = !is_unknown(a) && !is_unknown(b) && !(is_fixed(a) && is_fixed(b));
  if (open && exact_quotient(a, b)) return fixed(0);
  return apply(Kind::modulo, a, b);
}

Dim maximum(const Dim& a, const Dim& b) {
  if (const auto order = compare(a, b)) return *order < 0 ? b : a;
  return apply(Kind::maximum, a, b);
}
Dim minimum(const Dim& a, const Dim& b) {
  if (const auto order = compare(a, b)) return *order > 0 ? b : a;
  return apply(Kind::minimum, a, b);
}

Dim product(const Shape& shape, std::size_t first, std::size_t last) {
  Dim result = fixed(1);
  for (std::size_t i = first; i < last && i < shape.size(); ++i) {
    result = multiply(result, shape[i]);
  }
  return result;
}

Dim quotient(Shape numerator, Shape denominator) {
  for (auto below = denominator.begin(); below != denominator.end();) {
    const auto same = is_unknown(*below) ? numerator.end() : std::ranges::find(numerator, *below);
    if (same == numerator.end()) {
      ++below;
      continue;
    }
    numerator.erase(same);
    below = denominator.erase(below);
  }
  return floor_divide(product(numerator, 0, numerator.size()),
                      product(denominator, 0, denominator.size()));
}

std::optional<Dim> broadcast(const Dim& a, const Dim& b) {
  if (is_size(a, 1) || a == b) return b;
  if (is_size(b, 1)) return a;
  if (is_fixed(a) && is_fixed(b)) return std::nullopt;
  // A symbol against a number, or against another symbol: equal, as the model runs.
  if (is_fixed(a)) return a;
  if (is_fixed(b)) return b;
  return is_unknown(a) ? b : a;
}

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  Shape result = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  const std::size_t skip = result.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    const auto dim = broadcast(result[skip + i], shorter[i]);
    if (!dim) return std::nullopt;
    result[skip + i] = *dim;
  }
  return result;
}

std::optional<int> compare(const Dim& a, const Dim& b) {
  if (is_unknown(a) || is_unknown(b)) return std::nullopt;
  if (a == b) return 0;
  if (is_fixed(a) && is_fixed(b)) return a.size < b.size ? -1 : 1;
  const Dim difference = subtract(a, b);
  if (is_fixed(difference)) return difference.size < 0 ? -1 : (difference.size > 0 ? 1 : 0);
  const auto positive = [](const Dim& dim) {  // no term is below 0: symbols are not
    return dim.expression.find('-') == std::string::npos;
  };
  if (is_fixed(b) && b.size < 0 && positive(a)) return 1;
  if (is_fixed(a) && a.size < 0 && positive(b)) return -1;
  return std::nullopt;
}

std::string show(const Shape& shape) {
  std::vector<std::string> sizes;
  sizes.reserve(shape.size());
  for (const Dim& dim : shape) {
    sizes.push_back(dim.symbolic() ? dim.expression : std::to_string(dim.size));
  }
  return "[" + join(sizes, ", ") + "]";
}

}  // namespace parallel_opt::onnx
