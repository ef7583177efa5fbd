#include "parallel_opt/importers/onnx_size.h"

#include <gtest/gtest.h>

namespace parallel_opt::onnx {
namespace {

Dim symbol(const std::string& name, std::int64_t value = 4) { return {value, name}; }

TEST(OnnxSize, FixedSizesAreNumbers) {
  EXPECT_EQ(add(fixed(2), fixed(3)), fixed(5));
  EXPECT_EQ(multiply(fixed(2), fixed(3)), fixed(6));
  EXPECT_EQ(floor_divide(fixed(-7), fixed(2)), fixed(-4));
  EXPECT_EQ(ceil_divide(fixed(7), fixed(2)), fixed(4));
  EXPECT_EQ(modulo(fixed(-7), fixed(3)), fixed(2));
}

TEST(OnnxSize, SymbolsKeepTheirValueAndTheirText) {
  // 2 * s + 1 at s = 4
  EXPECT_EQ(add(multiply(fixed(2), symbol("s")), fixed(1)), (Dim{9, "2*s + 1"}));
  EXPECT_EQ(subtract(symbol("s"), symbol("s")), fixed(0));
  EXPECT_EQ(maximum(symbol("s"), symbol("s")), symbol("s"));
}

TEST(OnnxSize, DivisionByAFactorLeavesTheRest) {
  const Dim s = symbol("s");
  EXPECT_EQ(floor_divide(multiply(fixed(12), s), fixed(4)), (Dim{12, "3*s"}));
  EXPECT_EQ(floor_divide(multiply(fixed(12), s), multiply(fixed(3), s)), fixed(4));
  EXPECT_EQ(floor_divide(s, fixed(2)), (Dim{2, "FloorDiv(s, 2)"}));
  EXPECT_EQ(modulo(multiply(fixed(12), s), fixed(4)), fixed(0));
}

TEST(OnnxSize, DivisionByZeroAndOverflowAreUnknown) {
  EXPECT_TRUE(is_unknown(floor_divide(fixed(1), fixed(0))));
  EXPECT_TRUE(is_unknown(multiply(fixed(INT64_MAX), fixed(2))));
  EXPECT_TRUE(is_unknown(add(unknown_size(), fixed(1))));
}

TEST(OnnxSize, LongExpressionsAreUnknown) {
  Dim sum = symbol("a_symbol_with_a_long_name");
  for (int i = 0; i < 20; ++i) {
    sum = add(sum, symbol("another_symbol_" + std::to_string(i)));
  }
  EXPECT_TRUE(is_unknown(sum));
}

TEST(OnnxSize, QuotientOfShapesCancelsCommonFactors) {
  // [b, 12, s, 64] as [b, s, -1]: 12 * 64
  const Dim b = symbol("b", 2), s = symbol("s", 5);
  EXPECT_EQ(quotient({b, fixed(12), s, fixed(64)}, {b, s}), fixed(768));
}

TEST(OnnxSize, BroadcastingPrefersWhatIsKnown) {
  EXPECT_EQ(broadcast(fixed(1), symbol("s")), symbol("s"));
  EXPECT_EQ(broadcast(symbol("s"), fixed(8)), fixed(8));
  EXPECT_EQ(broadcast(unknown_size(), symbol("s")), symbol("s"));
  EXPECT_EQ(broadcast(fixed(2), fixed(3)), std::nullopt);
  EXPECT_EQ(broadcast(Shape{fixed(2), fixed(1)}, Shape{fixed(3)}), (Shape{fixed(2), fixed(3)}));
}

TEST(OnnxSize, SymbolsAreAtLeastZero) {
  EXPECT_EQ(compare(symbol("s"), fixed(-1)), 1);
  EXPECT_EQ(compare(fixed(-1), symbol("s")), -1);
  EXPECT_EQ(compare(symbol("s"), fixed(3)), std::nullopt);
  EXPECT_EQ(compare(add(symbol("s"), fixed(1)), symbol("s")), 1);
}

TEST(OnnxSize, ShowsShapes) { EXPECT_EQ(show({fixed(2), symbol("s")}), "[2, s]"); }

}  // namespace
}  // namespace parallel_opt::onnx
