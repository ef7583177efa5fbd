#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/symbol.h"
#include "tests/graph/random_model.h"

// Expressions of sizes against a tree that the test evaluates itself.
namespace parallel_opt {
namespace {

using testing::within;

/// Of products of two that fit into 64 bits; no part of ISO C++.
__extension__ typedef __int128 Wide;

/// A random expression: its text, with as few parentheses as Python needs, and its value.
struct Made {
  std::string text;
  int precedence = 4;                  ///< sum 0, product 1, sign 2, power 3, atom 4
  std::optional<std::int64_t> value;   ///< nothing: no value of 64 bits
  std::set<std::string> symbols = {};  ///< those it names
};

class Expressions {
 public:
  Expressions(std::uint64_t seed, std::map<std::string, std::int64_t> values)
      : rng_(seed), values_(std::move(values)) {}

  Made make(int depth) {
    if (depth == 0 || rng_.below(6) == 0) return leaf();
    switch (rng_.below(9)) {
      case 0:
      case 1:
        return binary(depth, " + ", 0);
      case 2:
        return binary(depth, " - ", 0);
      case 3:
      case 4:
        return binary(depth, "*", 1);
      case 5:
        return divided(depth);
      case 6:
        return chosen(depth);
      case 7:
        return negated(depth);
      default:
        return power(depth);
    }
  }
  Random& random() { return rng_; }

 private:
  using Value = std::optional<std::int64_t>;

  static Value fitting(Wide value) {
    const bool fits = value >= INT64_MIN && value <= INT64_MAX;
    return fits ? Value(static_cast<std::int64_t>(value)) : std::nullopt;
  }
  static std::string in(const Made& part, int least) {
    return part.precedence < least ? "(" + part.text + ")" : part.text;
  }
  static std::set<std::string> both(const Made& a, const Made& b) {
    std::set<std::string> all = a.symbols;
    all.insert(b.symbols.begin(), b.symbols.end());
    return all;
  }

  Made leaf() {
    if (rng_.below(2) == 0) {
      const std::int64_t number = within(rng_, 0, 12);
      return {std::to_string(number), 4, number};
    }
    auto at = values_.begin();
    std::advance(at, rng_.below(values_.size()));
    return {at->first, 4, at->second, {at->first}};
  }

  Made binary(int depth, const std::string& sign, int precedence) {
    const Made a = make(depth - 1), b = make(depth - 1);
    Made made{in(a, precedence) + sign + in(b, precedence + 1), precedence, {}, both(a, b)};
    if (!a.value || !b.value) return made;
    const Wide left = *a.value, right = *b.value;
    made.value = fitting(sign == "*" ? left * right : sign == " + " ? left + right : left - right);
    return made;
  }

  /// Rounded down, as Python's // and % are; in its three spellings.
  Made divided(int depth) {
    const Made a = make(depth - 1);
    const std::int64_t by = within(rng_, 1, 9);
    Made made{{}, 4, {}, a.symbols};
    const std::string number = std::to_string(by);
    if (a.value) {
      std::int64_t quotient = *a.value / by, rest = *a.value % by;
      if (rest < 0) {
        --quotient;
        rest += by;
      }
      made.value = quotient;
      if (rng_.below(2) == 0) {
        made.value = rest;
        made.text = "Mod(" + a.text + ", " + number + ")";
        return made;
      }
    } else if (rng_.below(2) == 0) {
      made.text = "Mod(" + a.text + ", " + number + ")";
      return made;
    }
    if (rng_.below(2) == 0) {
      made.text = "FloorDiv(" + a.text + ", " + number + ")";
    } else {
      made.text = in(a, 1) + "//" + number;
      made.precedence = 1;
    }
    return made;
  }

  Made chosen(int depth) {
    const Made a = make(depth - 1), b = make(depth - 1);
    const bool most = rng_.below(2) == 0;
    Made made{(most ? "Max(" : "Min(") + a.text + ", " + b.text + ")", 4, {}, both(a, b)};
    if (a.value && b.value) {
      made.value = most ? std::max(*a.value, *b.value) : std::min(*a.value, *b.value);
    }
    return made;
  }

  Made negated(int depth) {
    const Made a = make(depth - 1);
    Made made{"-" + in(a, 3), 2, {}, a.symbols};
    if (a.value) made.value = fitting(-static_cast<Wide>(*a.value));
    return made;
  }

  Made power(int depth) {
    const Made a = make(depth - 1);
    const std::int64_t exponent = within(rng_, 0, 3);
    Made made{in(a, 4) + "**" + std::to_string(exponent), 3, 1, a.symbols};
    for (std::int64_t i = 0; i < exponent && made.value; ++i) {
      made.value = a.value ? fitting(static_cast<Wide>(*made.value) * *a.value) : std::nullopt;
    }
    if (!a.value) made.value = std::nullopt;
    return made;
  }

  Random rng_;
  std::map<std::string, std::int64_t> values_;
};

TEST(SymbolProperty, EveryExpressionHasTheValueThatPythonGivesIt) {
  const std::map<std::string, std::int64_t> values = {{"s0", 7}, {"s1", 12}, {"batch", 1}};
  Expressions expressions(1, values);
  int within_64_bits = 0;
  for (int round = 0; round < 4000; ++round) {
    const Made made = expressions.make(5);
    if (!made.value) continue;  // what is beyond 64 bits inside may be refused, or cancelled
    ++within_64_bits;
    const Expression parsed = parse_expression(made.text, "g");
    ASSERT_EQ(evaluate(parsed, values, "g"), *made.value) << made.text;
    const std::vector<std::string> named = symbols_of(parsed);
    ASSERT_EQ(std::set<std::string>(named.begin(), named.end()), made.symbols) << made.text;
    ASSERT_TRUE(std::ranges::is_sorted(named));
    const double real = evaluate_real(parsed, {{"s0", 7}, {"s1", 12}, {"batch", 1}});
    if (std::abs(static_cast<double>(*made.value)) < 1e9) {
      ASSERT_DOUBLE_EQ(real, static_cast<double>(*made.value)) << made.text;
    }
  }
  EXPECT_GT(within_64_bits, 3500);
}

TEST(SymbolProperty, CanonicalTextReadsBackToTheSameValueAndText) {
  const std::map<std::string, std::int64_t> values = {{"s0", 5}, {"s1", 9}, {"batch", 3}};
  Expressions expressions(2, values);
  int told = 0;
  for (int round = 0; round < 4000; ++round) {
    const Made made = expressions.make(4);
    if (!made.value) continue;
    std::string text;
    try {
      text = to_string(parse_expression(made.text, "g"));
    } catch (const InputError&) {
      continue;  // a coefficient beyond 64 bits
    }
    ++told;
    ASSERT_EQ(evaluate(parse_expression(text, "g"), values, "g"), *made.value)
        << made.text << " as " << text;
    ASSERT_EQ(to_string(parse_expression(text, "g")), text) << made.text;
  }
  EXPECT_GT(told, 3500);
}

TEST(SymbolProperty, SumsAndProductsReadTheSameInAnyOrder) {
  Expressions expressions(3, {{"s0", 5}, {"s1", 9}, {"n", 3}});
  Random& rng = expressions.random();
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> parts;
    for (std::int64_t i = within(rng, 2, 5); i > 0; --i) {
      parts.push_back("(" + expressions.make(2).text + ")");
    }
    const auto text = [&](const std::string& sign) {
      std::string whole = parts[0];
      for (std::size_t i = 1; i < parts.size(); ++i) whole += sign + parts[i];
      return to_string(parse_expression(whole, "g"));
    };
    const std::string sum = text(" + "), product = text("*");
    for (std::size_t i = parts.size(); i > 1; --i) std::swap(parts[i - 1], parts[rng.below(i)]);
    EXPECT_EQ(text(" + "), sum);
    EXPECT_EQ(text("*"), product);
  }
}

TEST(SymbolProperty, TextThatWasChangedIsReadOrRefusedAtAColumn) {
  Expressions expressions(4, {{"s0", 5}, {"s1", 9}});
  Random& rng = expressions.random();
  const std::string letters = "s01 +-*/%(),MaxinFlorDv\x01~";
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = expressions.make(3).text;
    for (std::int64_t i = within(rng, 1, 3); i > 0 && !text.empty(); --i) {
      const std::size_t at = rng.below(text.size());
      if (rng.below(2) == 0) {
        text.erase(at, 1);
      } else {
        text[at] = letters[rng.below(letters.size())];
      }
    }
    try {
      const Expression parsed = parse_expression(text, "g");
      EXPECT_EQ(to_string(parse_expression(to_string(parsed), "g")), to_string(parsed)) << text;
    } catch (const InputError& error) {
      const std::string what = error.what();
      EXPECT_TRUE(what.find("column") != what.npos || what.find("64 bits") != what.npos) << what;
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace parallel_opt
