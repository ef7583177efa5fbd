#include "parallel_opt/importers/srepr.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>

#include "parallel_opt/graph/symbol.h"

namespace parallel_opt {
namespace {

const std::string kS = "Symbol('s0', positive=True, integer=True)";
const std::string kT = "Symbol('s1', positive=True, integer=True)";

std::string text(const std::string& srepr) {
  const auto parsed = parse_size_expression(srepr);
  return parsed ? parsed->text : "not understood";
}

TEST(Srepr, SymbolsAndNumbers) {
  EXPECT_EQ(text(kS), "s0");
  EXPECT_EQ(text("Symbol('u0', integer=True)"), "u0");
  EXPECT_EQ(text("Integer(7)"), "7");
  EXPECT_EQ(text("Integer(-7)"), "-7");
}

TEST(Srepr, SumsAndProductsAreCollectedAndSorted) {
  EXPECT_EQ(text("Add(Integer(1), Mul(Integer(4), " + kS + "))"), "4*s0 + 1");
  EXPECT_EQ(text("Add(" + kS + ", " + kS + ")"), "2*s0");
  EXPECT_EQ(text("Add(" + kT + ", Mul(" + kS + ", " + kT + "), Integer(-3))"), "s0*s1 + s1 - 3");
  EXPECT_EQ(text("Mul(Integer(-1), " + kS + ")"), "-s0");
  EXPECT_EQ(text("Add(" + kS + ", Mul(Integer(-1), " + kS + "))"), "0");
  EXPECT_EQ(text("Mul(Add(" + kS + ", Integer(1)), " + kT + ")"), "s0*s1 + s1");
}

TEST(Srepr, PowersExpandWhenSmall) {
  EXPECT_EQ(text("Pow(" + kS + ", Integer(2))"), "s0*s0");
  EXPECT_EQ(text("PowByNatural(" + kS + ", Integer(20))"), "Pow(s0, 20)");
  EXPECT_EQ(text("Pow(Integer(2), " + kS + ")"), "Pow(2, s0)");
}

TEST(Srepr, DivisionsRoundDown) {
  EXPECT_EQ(text("FloorDiv(" + kS + ", Integer(2))"), "FloorDiv(s0, 2)");
  EXPECT_EQ(text("FloorDiv(Mul(Integer(4), " + kS + "), Integer(2))"), "2*s0");
  EXPECT_EQ(text("CleanDiv(" + kS + ", Integer(3))"), "FloorDiv(s0, 3)");
  // (s0/2)/3 rounded down is s0/6 rounded down
  EXPECT_EQ(text("FloorDiv(Mul(Rational(1, 2), " + kS + "), Integer(3))"), "FloorDiv(s0, 6)");
  EXPECT_EQ(text("floor(Mul(Rational(1, 2), " + kS + "))"), "FloorDiv(s0, 2)");
}

TEST(Srepr, DivisionsRoundUp) {
  // ceil(s0 / 4) = floor((s0 + 3) / 4)
  EXPECT_EQ(text("CeilToInt(IntTrueDiv(" + kS + ", Integer(4)))"), "FloorDiv(s0 + 3, 4)");
  EXPECT_EQ(text("CeilDiv(" + kS + ", Integer(4))"), "FloorDiv(s0 + 3, 4)");
  EXPECT_EQ(text("ceiling(Mul(Rational(1, 2), " + kS + "))"), "FloorDiv(s0 + 1, 2)");
}

TEST(Srepr, FractionsMayCancel) {
  // (s0 + 1)/2 + (s0 - 1)/2 = 2 s0 / 2
  EXPECT_EQ(text("Add(Mul(Rational(1, 2), Add(" + kS + ", Integer(1))), Mul(Rational(1, 2), Add(" +
                 kS + ", Integer(-1))))"),
            "s0");
  EXPECT_EQ(text("Mul(Rational(1, 2), " + kS + ")"), "FloorDiv(s0, 2)");
  EXPECT_EQ(text("Mul(" + kS + ", Pow(" + kT + ", Integer(-1)))"), "FloorDiv(s0, s1)");
}

TEST(Srepr, OtherFunctions) {
  EXPECT_EQ(text("PythonMod(Mul(Integer(-1), " + kS + "), Integer(4))"), "Mod(-s0, 4)");
  EXPECT_EQ(text("Mod(" + kS + ", Integer(4))"), "Mod(s0, 4)");
  EXPECT_EQ(text("Max(" + kT + ", " + kS + ", Integer(1))"), "Max(1, s0, s1)");
  EXPECT_EQ(text("Min(Integer(8), " + kS + ")"), "Min(8, s0)");
  EXPECT_EQ(text("ModularIndexing(" + kS + ", Integer(2), Integer(3))"), "Mod(FloorDiv(s0, 2), 3)");
  EXPECT_EQ(text("LShift(" + kS + ", Integer(3))"), "8*s0");
  EXPECT_EQ(text("RShift(" + kS + ", Integer(1))"), "FloorDiv(s0, 2)");
  EXPECT_EQ(text("TruncToInt(IntTrueDiv(" + kS + ", Integer(2)))"), "FloorDiv(s0, 2)");
  EXPECT_EQ(text("Identity(" + kS + ")"), "s0");
}

TEST(Srepr, PlainFormOfOlderFiles) {
  EXPECT_EQ(text("s0 + 1"), "s0 + 1");
  EXPECT_EQ(text("2*s0*(s1 - 1)"), "2*s0*s1 - 2*s0");
  EXPECT_EQ(text("(s0 + 1)//2"), "FloorDiv(s0 + 1, 2)");
  EXPECT_EQ(text("s0**2"), "s0*s0");
  EXPECT_EQ(text("s0 % 8"), "Mod(s0, 8)");
  EXPECT_EQ(text("Max(1, s0)"), "Max(1, s0)");
  EXPECT_EQ(text("-s0 + 10"), "-s0 + 10");
}

TEST(Srepr, AffineFormIsFound) {
  const auto affine = parse_size_expression("3*s0 + 2")->affine;
  ASSERT_TRUE(affine.has_value());
  EXPECT_EQ(affine->scale, 3);
  EXPECT_EQ(affine->offset, 2);
  EXPECT_FALSE(parse_size_expression("s0*s0")->affine.has_value());
  EXPECT_FALSE(parse_size_expression("s0 + s1")->affine.has_value());
  EXPECT_FALSE(parse_size_expression("FloorDiv(s0, 2)")->affine.has_value());
}

TEST(Srepr, RenamesMayMergeSymbols) {
  const std::map<std::string, std::string> renames = {{"s0", "batch"}, {"s1", "batch"}};
  const auto parsed = parse_size_expression("s0 + 2*s1 + s2", renames);
  EXPECT_EQ(parsed->text, "3*batch + s2");
  EXPECT_EQ(parsed->symbols, (std::vector<std::string>{"batch", "s2"}));
}

TEST(Srepr, WhatIsNotUnderstoodIsSaidSo) {
  for (const char* bad :
       {"", "Symbol(", "Symbol('s0'", "Foo(s0)", "s0 +", "1.5", "Integer(99999999999999999999)",
        "IsNonOverlappingAndDenseIndicator(s0, 1)", "s0/0", "FloorDiv(s0, Integer(0))",
        "Mod(s0, 0)", "Symbol('0', integer=True)", "Symbol('s 0')", "s0)", "Max()"}) {
    EXPECT_EQ(text(bad), "not understood") << bad;
  }
  EXPECT_EQ(text("9223372036854775807*s0 + s0"), "not understood");  // 2^63 does not fit
  EXPECT_EQ(text(std::string(10'000, '(')), "not understood");
  EXPECT_EQ(text(std::string(10'000, '-') + "s0"), "not understood");
}

/// Property: random expressions have the same value before and after.
class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}
  /// srepr and plain Python-like text of one expression, and its value at s0 = 12, s1 = 7.
  std::pair<std::string, double> make(int depth) {
    if (depth == 0 || random_() % 4 == 0) {
      if (random_() % 2 == 0) {
        const int n = int(random_() % 9) + 1;
        return {"Integer(" + std::to_string(n) + ")", n};
      }
      return random_() % 2 == 0 ? std::pair(kS, 12.0) : std::pair(kT, 7.0);
    }
    const auto [a, x] = make(depth - 1);
    const auto [b, y] = make(depth - 1);
    switch (random_() % 5) {
      case 0:
        return {"Add(" + a + ", " + b + ")", x + y};
      case 1:
        return {"Mul(" + a + ", " + b + ")", x * y};
      case 2:
        return {"Max(" + a + ", " + b + ")", std::max(x, y)};
      case 3:
        return {"FloorDiv(" + a + ", Add(" + b + ", Integer(1)))", std::floor(x / (y + 1))};
      default:
        return {"Min(" + a + ", Add(" + b + ", Integer(1)))", std::min(x, y + 1)};
    }
  }

 private:
  std::mt19937 random_;
};

TEST(Srepr, ValueIsKept) {
  int understood = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    const auto [srepr, value] = Maker(seed).make(4);
    const auto parsed = parse_size_expression(srepr);
    if (!parsed || value > 1e15) continue;  // too large
    ++understood;
    EXPECT_EQ(evaluate(parse_expression(parsed->text, "t"), {{"s0", 12}, {"s1", 7}}, "t"),
              static_cast<std::int64_t>(value))
        << "seed " << seed << ": " << srepr << " -> " << parsed->text;
  }
  EXPECT_GT(understood, 400);
}

}  // namespace
}  // namespace parallel_opt
