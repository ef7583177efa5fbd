#include "parallel_opt/graph/symbol.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <set>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

using Kind = Expression::Kind;

Expression number_of(std::int64_t value) {
  return Expression{.kind = Kind::number, .number = value, .symbol = {}, .arguments = {}};
}

Expression node(Kind kind, std::vector<Expression> arguments) {
  return Expression{.kind = kind, .number = 0, .symbol = {}, .arguments = std::move(arguments)};
}

/// Recursive descent; deeper nesting than any exporter writes is refused, so that a hostile file
/// cannot exhaust the stack.
class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Expression parse() {
    Expression result = sum();
    skip_blanks();
    if (at_ != text_.size()) fail("unexpected '" + std::string(1, text_[at_]) + "'");
    return result;
  }

 private:
  static constexpr int kMostNested = 200;

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(where_,
                     what + " at column " + std::to_string(at_ + 1) + " of size expression '" +
                         std::string(text_) + "'",
                     "whole numbers, symbols, + - * // % ** and Max, Min, FloorDiv, Mod, ...");
  }

  void skip_blanks() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  bool take(std::string_view token) {
    skip_blanks();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  Expression sum() {
    if (++depth_ > kMostNested) fail("too deeply nested");
    std::vector<Expression> terms{product()};
    for (;;) {
      if (take("+")) {
        terms.push_back(product());
      } else if (take("-")) {
        terms.push_back(node(Kind::multiply, {number_of(-1), product()}));
      } else {
        break;
      }
    }
    --depth_;
    return terms.size() == 1 ? std::move(terms.front()) : node(Kind::add, std::move(terms));
  }

  bool at_power() {
    skip_blanks();
    return text_.substr(at_, 2) == "**";
  }

  Expression product() {
    Expression left = unary();
    for (int factors = 1;; ++factors) {
      if (factors > kMostNested) fail("too deeply nested");  // products nest to the left
      if (take("//")) {
        left = node(Kind::floor_divide, {std::move(left), unary()});
      } else if (take("%")) {
        left = node(Kind::modulo, {std::move(left), unary()});
      } else if (!at_power() && take("*")) {
        left = node(Kind::multiply, {std::move(left), unary()});
      } else {
        return left;
      }
    }
  }

  Expression unary() {
    if (++depth_ > kMostNested) fail("too deeply nested");
    Expression result;
    if (take("-")) {
      result = node(Kind::multiply, {number_of(-1), unary()});
    } else {
      result = atom();
      if (take("**")) result = node(Kind::power, {std::move(result), unary()});
    }
    --depth_;
    return result;
  }

  Expression atom() {
    skip_blanks();
    if (at_ == text_.size()) fail("unexpected end");
    if (take("(")) {
      Expression inside = sum();
      if (!take(")")) fail("')' missing");
      return inside;
    }
    const char c = text_[at_];
    if (std::isdigit(static_cast<unsigned char>(c))) return literal();
    if (std::isalpha(static_cast<unsigned char>(c)) || c == '_') return name();
    fail("unexpected '" + std::string(1, c) + "'");
  }

  Expression literal() {
    std::int64_t value = 0;
    for (; at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])); ++at_) {
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, text_[at_] - '0', &value)) {
        fail("number beyond 64 bits");
      }
    }
    return number_of(value);
  }

  Expression name() {
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) {
      ++at_;
    }
    std::string word(text_.substr(begin, at_ - begin));
    if (!take("(")) {
      return Expression{
          .kind = Kind::symbol, .number = 0, .symbol = std::move(word), .arguments = {}};
    }
    std::vector<Expression> arguments{sum()};
    while (take(",")) arguments.push_back(sum());
    if (!take(")")) fail("')' missing");
    return call(word, std::move(arguments));
  }

  Expression call(const std::string& function, std::vector<Expression> arguments) {
    struct Function {
      std::string_view name;
      Kind kind;
      std::size_t arity;  // 0: one or more
    };
    static constexpr std::array kFunctions = {Function{"Add", Kind::add, 0},
                                              Function{"Mul", Kind::multiply, 0},
                                              Function{"Max", Kind::maximum, 0},
                                              Function{"Min", Kind::minimum, 0},
                                              Function{"FloorDiv", Kind::floor_divide, 2},
                                              Function{"Mod", Kind::modulo, 2},
                                              Function{"PythonMod", Kind::modulo, 2},
                                              Function{"Pow", Kind::power, 2},
                                              Function{"PowByNatural", Kind::power, 2},
                                              Function{"Abs", Kind::absolute, 1}};
    for (const Function& f : kFunctions) {
      if (f.name != function) continue;
      if (f.arity != 0 && f.arity != arguments.size()) {
        fail(function + " takes " + std::to_string(f.arity) + " arguments");
      }
      return node(f.kind, std::move(arguments));
    }
    if (function == "CeilDiv" && arguments.size() == 2) {  // ceil(a / b) = -floor(-a / b)
      Expression negative = node(Kind::multiply, {number_of(-1), std::move(arguments[0])});
      return node(Kind::multiply,
                  {number_of(-1),
                   node(Kind::floor_divide, {std::move(negative), std::move(arguments[1])})});
    }
    fail("unknown function '" + function + "'");
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

/// A sum: sorted factor texts of each product -> its coefficient; no factors: the constant.
using Terms = std::map<std::vector<std::string>, std::int64_t>;

Terms terms_of(const Expression& e);
std::string text_of(const Terms& terms);

[[noreturn]] void beyond_64_bits() {
  throw InputError("size expression", "a coefficient is beyond 64 bits", "");
}

/// Product of sums is kept factored: sizes of a reshaped axis stay readable, "s0*(s1 + 1)".
Terms product_terms(const Expression& e) {
  std::int64_t coefficient = 1;
  std::vector<std::string> factors;
  Terms sum;  // the only factor that is a sum, while there is one
  int sums = 0;
  std::vector<const Expression*> open;  // products inside products are one product
  open.reserve(e.arguments.size());
  for (const Expression& argument : e.arguments) open.push_back(&argument);
  for (std::size_t i = 0; i < open.size(); ++i) {
    if (open[i]->kind == Kind::multiply) {
      for (const Expression& argument : open[i]->arguments) open.push_back(&argument);
      continue;
    }
    Terms terms = terms_of(*open[i]);
    if (terms.empty()) return {};
    if (terms.size() == 1) {
      if (__builtin_mul_overflow(coefficient, terms.begin()->second, &coefficient))
        beyond_64_bits();
      const std::vector<std::string>& more = terms.begin()->first;
      factors.insert(factors.end(), more.begin(), more.end());
    } else {
      factors.push_back("(" + text_of(terms) + ")");
      if (++sums == 1) sum = std::move(terms);
    }
  }
  if (sums == 1 && factors.size() == 1) {  // a number times a sum: 2*(a + 1) is 2*a + 2
    for (auto& [unused, c] : sum) {
      if (__builtin_mul_overflow(c, coefficient, &c)) beyond_64_bits();
    }
    return sum;
  }
  std::sort(factors.begin(), factors.end());
  return {{factors, coefficient}};
}

std::string call_text(std::string_view name, const Expression& e) {
  std::vector<std::string> arguments;
  arguments.reserve(e.arguments.size());
  for (const Expression& argument : e.arguments) arguments.push_back(to_string(argument));
  if (e.kind == Kind::maximum || e.kind == Kind::minimum) {
    std::sort(arguments.begin(), arguments.end());
  }
  return std::string(name) + "(" + join(arguments, ", ") + ")";
}

Terms terms_of(const Expression& e) {
  switch (e.kind) {
    case Kind::number:
      return e.number == 0 ? Terms{} : Terms{{{}, e.number}};
    case Kind::symbol:
      return {{{e.symbol}, 1}};
    case Kind::add: {
      Terms all;
      for (const Expression& argument : e.arguments) {
        for (const auto& [factors, coefficient] : terms_of(argument)) {
          const auto at = all.try_emplace(factors, 0).first;
          if (__builtin_add_overflow(at->second, coefficient, &at->second)) beyond_64_bits();
          if (at->second == 0) all.erase(at);
        }
      }
      return all;
    }
    case Kind::multiply:
      return product_terms(e);
    case Kind::floor_divide:
      return {{{call_text("FloorDiv", e)}, 1}};
    case Kind::modulo:
      return {{{call_text("Mod", e)}, 1}};
    case Kind::power:
      return {{{call_text("Pow", e)}, 1}};
    case Kind::maximum:
      return {{{call_text("Max", e)}, 1}};
    case Kind::minimum:
      return {{{call_text("Min", e)}, 1}};
    case Kind::absolute:
      return {{{call_text("Abs", e)}, 1}};
  }
  return {};
}

std::string text_of(const Terms& terms) {
  if (terms.empty()) return "0";
  std::string text;
  const auto append = [&](const std::vector<std::string>& factors, std::int64_t coefficient) {
    const bool negative = coefficient < 0;
    const std::string magnitude = std::to_string(coefficient).substr(negative ? 1 : 0);
    text += text.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
    if (factors.empty() || magnitude != "1") text += magnitude;
    if (!factors.empty()) text += (magnitude == "1" ? "" : "*") + join(factors, "*");
  };
  for (const auto& [factors, coefficient] : terms) {
    if (!factors.empty()) append(factors, coefficient);
  }
  if (const auto constant = terms.find({}); constant != terms.end()) append({}, constant->second);
  return text;
}

void collect(const Expression& e, std::set<std::string>& names) {
  if (e.kind == Kind::symbol) names.insert(e.symbol);
  for (const Expression& argument : e.arguments) collect(argument, names);
}

class Evaluator {
 public:
  Evaluator(const std::map<std::string, std::int64_t>& values, const std::string& where)
      : values_(values), where_(where) {}

  std::int64_t value(const Expression& e) const {
    if (e.kind == Kind::number) return e.number;
    if (e.kind == Kind::symbol) return symbol(e.symbol);
    std::int64_t result = value(e.arguments[0]);
    if (e.kind == Kind::absolute) return result < 0 ? -result : result;
    for (std::size_t i = 1; i < e.arguments.size(); ++i) {
      result = apply(e.kind, result, value(e.arguments[i]));
    }
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& what, const std::string& hint) const {
    throw InputError(where_, what, hint);
  }

  std::int64_t symbol(const std::string& name) const {
    const auto found = values_.find(name);
    if (found != values_.end()) return found->second;
    std::vector<std::string> known;
    known.reserve(values_.size());
    for (const auto& [other, unused] : values_) known.push_back(other);
    const std::string nearest = nearest_match(name, known);
    fail("unknown symbol '" + name + "'", nearest.empty() ? "" : "did you mean '" + nearest + "'?");
  }

  std::int64_t apply(Kind kind, std::int64_t a, std::int64_t b) const {
    std::int64_t result = 0;
    bool overflow = false;
    switch (kind) {
      case Kind::add:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
      case Kind::multiply:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
      case Kind::floor_divide:
      case Kind::modulo:
        if (b == 0) fail("division by zero in a size", "");
        if (b == -1) {  // INT64_MIN / -1 traps
          overflow = kind == Kind::floor_divide && __builtin_sub_overflow(0, a, &result);
          break;
        }
        result = kind == Kind::floor_divide ? floor_divide(a, b) : a - b * floor_divide(a, b);
        break;
      case Kind::power:
        if (b < 0) fail("negative power in a size", "");
        result = 1;
        if (b > 64 && a != 0 && a != 1 && a != -1) overflow = true;
        for (std::int64_t i = 0; !overflow && i < (b > 64 ? b % 2 + 2 : b); ++i) {
          overflow = __builtin_mul_overflow(result, a, &result);
        }
        break;
      case Kind::maximum:
        result = std::max(a, b);
        break;
      case Kind::minimum:
        result = std::min(a, b);
        break;
      default:
        break;
    }
    if (overflow) fail("a size is beyond 64 bits", "");
    return result;
  }

  const std::map<std::string, std::int64_t>& values_;
  const std::string& where_;
};

}  // namespace

Expression parse_expression(std::string_view text, const std::string& where) {
  return Parser(text, where).parse();
}

std::string to_string(const Expression& expression) { return text_of(terms_of(expression)); }

std::int64_t evaluate(const Expression& expression,
                      const std::map<std::string, std::int64_t>& values, const std::string& where) {
  return Evaluator(values, where).value(expression);
}

double evaluate_real(const Expression& expression, const std::map<std::string, double>& values) {
  using Kind = Expression::Kind;
  if (expression.kind == Kind::number) return static_cast<double>(expression.number);
  if (expression.kind == Kind::symbol) {
    const auto found = values.find(expression.symbol);
    return found == values.end() ? 1 : found->second;
  }
  const auto apply = [&](double a, double b) {
    switch (expression.kind) {
      case Kind::add:
        return a + b;
      case Kind::multiply:
        return a * b;
      case Kind::floor_divide:
        return b == 0 ? std::numeric_limits<double>::quiet_NaN() : std::floor(a / b);
      case Kind::modulo:
        return b == 0 ? std::numeric_limits<double>::quiet_NaN() : a - b * std::floor(a / b);
      case Kind::power:
        return std::pow(a, b);
      case Kind::maximum:
        return std::max(a, b);
      default:
        return std::min(a, b);
    }
  };
  double value = 0;
  for (std::size_t i = 0; i < expression.arguments.size(); ++i) {
    const double next = evaluate_real(expression.arguments[i], values);
    value = i == 0 ? next : apply(value, next);
  }
  return expression.kind == Kind::absolute ? std::abs(value) : value;
}

std::vector<std::string> symbols_of(const Expression& expression) {
  std::set<std::string> names;
  collect(expression, names);
  return {names.begin(), names.end()};
}

}  // namespace parallel_opt
