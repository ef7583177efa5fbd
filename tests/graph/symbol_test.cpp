#include "parallel_opt/graph/symbol.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

std::int64_t value(const std::string& text, std::int64_t s0 = 0, std::int64_t s1 = 1) {
  return evaluate(parse_expression(text, "g"), {{"s0", s0}, {"s1", s1}}, "g");
}

std::string error(const std::string& text) {
  try {
    value(text);
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Symbol, PrecedenceIsPythons) {
  EXPECT_EQ(value("2 + 3*4"), 14);
  EXPECT_EQ(value("(2 + 3)*4"), 20);
  EXPECT_EQ(value("2**3**2"), 512);  // 2 ** 9
  EXPECT_EQ(value("-2**2"), -4);
  EXPECT_EQ(value("10 - 4 - 3"), 3);
  EXPECT_EQ(value("4*s0 + 1", 7), 29);
}

TEST(Symbol, DivisionAndModuloRoundDown) {
  EXPECT_EQ(value("7//2"), 3);
  EXPECT_EQ(value("-7//2"), -4);  // unary minus binds tighter than //, as in Python
  EXPECT_EQ(value("Mod(-7, 3)"), 2);
  EXPECT_EQ(value("FloorDiv(s0, 4)", 31), 7);
  EXPECT_EQ(value("CeilDiv(s0, 4)", 29), 8);
}

TEST(Symbol, FunctionsOfSeveralArguments) {
  EXPECT_EQ(value("Max(3, s0, 5)", 4), 5);
  EXPECT_EQ(value("Min(3, s0)", 2), 2);
  EXPECT_EQ(value("Pow(s0, 2) + Abs(0 - 3)", 5), 28);
}

TEST(Symbol, ErrorsNameTextAndColumn) {
  const std::string way =
      " (whole numbers, symbols, + - * // % ** and Max, Min, FloorDiv, Mod, ...)";
  EXPECT_EQ(error("4*"), "g: unexpected end at column 3 of size expression '4*'" + way);
  EXPECT_EQ(error("s0 / 2"), "g: unexpected '/' at column 4 of size expression 's0 / 2'" + way);
  EXPECT_EQ(error("Sin(s0)"),
            "g: unknown function 'Sin' at column 8 of size expression 'Sin(s0)'" + way);
  EXPECT_EQ(error("Mod(1)"),
            "g: Mod takes 2 arguments at column 7 of size expression 'Mod(1)'" + way);
  EXPECT_EQ(error("(1"), "g: ')' missing at column 3 of size expression '(1'" + way);
  EXPECT_EQ(error("s00 + 1"), "g: unknown symbol 's00' (did you mean 's0'?)");
  EXPECT_EQ(error("1 // s0"), "g: division by zero in a size");
  EXPECT_EQ(error("2**(s0 - 1)"), "g: negative power in a size");
  EXPECT_EQ(error("10**40"), "g: a size is beyond 64 bits");
  EXPECT_EQ(
      error("99999999999999999999"),
      "g: number beyond 64 bits at column 19 of size expression '99999999999999999999'" + way);
}

TEST(Symbol, DeepNestingIsRefusedNotCrashed) {
  EXPECT_NE(error(std::string(100'000, '(')).find("too deeply nested"), std::string::npos);
  std::string product = "1";
  for (int i = 0; i < 100'000; ++i) product += "*1";
  EXPECT_NE(error(product).find("too deeply nested"), std::string::npos);
  EXPECT_NE(error(std::string(100'000, '-')).find("too deeply nested"), std::string::npos);
}

std::string canonical(const std::string& text) { return to_string(parse_expression(text, "g")); }

TEST(Symbol, CanonicalTextGathersTerms) {
  EXPECT_EQ(canonical("1 + s0*4"), "4*s0 + 1");
  EXPECT_EQ(canonical("s0 + s0 + 2 - 1"), "2*s0 + 1");
  EXPECT_EQ(canonical("s1*s0 - s0*s1"), "0");
  EXPECT_EQ(canonical("2*(s0 + 1)"), "2*s0 + 2");
  EXPECT_EQ(canonical("s1*(1 + s0)"), "(s0 + 1)*s1");
  EXPECT_EQ(canonical("Max(s1, s0)"), "Max(s0, s1)");
  EXPECT_EQ(canonical("-s0"), "-s0");
  EXPECT_EQ(canonical("3 - 2*s0"), "-2*s0 + 3");
  EXPECT_EQ(canonical("FloorDiv(2*s0, 4)*3"), "3*FloorDiv(2*s0, 4)");
}

TEST(Symbol, CanonicalTextRefusesCoefficientsBeyond64Bits) {
  for (const char* text : {"9223372036854775807*2*s0", "9223372036854775807*s0 + s0",
                           "4611686018427387904*(2*s0 + 1)"}) {
    try {
      canonical(text);
      FAIL() << text;
    } catch (const InputError& e) {
      EXPECT_STREQ(e.what(), "size expression: a coefficient is beyond 64 bits");
    }
  }
}

TEST(Symbol, SymbolsAreListedOnce) {
  EXPECT_EQ(symbols_of(parse_expression("s1 + 2*s0 + s1", "g")),
            (std::vector<std::string>{"s0", "s1"}));
}

// Property: canonical text means the same number, for random expressions.
TEST(Symbol, CanonicalTextKeepsTheValue) {
  Random random(11);
  const auto leaf = [&]() -> std::string {
    switch (random.below(3)) {
      case 0:
        return "s0";
      case 1:
        return "s1";
      default:
        return std::to_string(random.below(9));
    }
  };
  for (int i = 0; i < 500; ++i) {
    std::string text = leaf();
    for (int depth = 0; depth < 4; ++depth) {
      const std::vector<std::string> forms = {"(" + text + " + " + leaf() + ")",
                                              "(" + leaf() + " - " + text + ")",
                                              text + "*" + leaf(),
                                              "Max(" + leaf() + ", " + text + ")",
                                              "FloorDiv(" + text + ", 3)",
                                              "Mod(" + text + ", 5)"};
      text = forms[random.below(forms.size())];
    }
    const std::int64_t s0 = static_cast<std::int64_t>(random.below(50));
    const std::int64_t s1 = static_cast<std::int64_t>(random.below(50));
    ASSERT_EQ(value(text, s0, s1), value(canonical(text), s0, s1)) << text << " s0=" << s0;
    ASSERT_EQ(canonical(canonical(text)), canonical(text)) << text;
  }
}

}  // namespace
}  // namespace parallel_opt
