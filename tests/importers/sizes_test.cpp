#include "parallel_opt/importers/sizes.h"

#include <gtest/gtest.h>

namespace parallel_opt::sizes {
namespace {

const Dim kBatch = symbol("b", 2), kSeq = symbol("s", 5);

TEST(Sizes, ArithmeticIsCanonical) {
  EXPECT_EQ(multiply(kBatch, kSeq), multiply(kSeq, kBatch));
  EXPECT_EQ(multiply(kBatch, kSeq).size, 10);
  EXPECT_EQ(add(kBatch, fixed(0)), kBatch);
  EXPECT_EQ(multiply(kBatch, fixed(0)), fixed(0));
  EXPECT_EQ(subtract(add(kBatch, fixed(3)), kBatch).size, 3);
  EXPECT_EQ(ceil_divide(fixed(33), fixed(2)), fixed(17));
  EXPECT_EQ(floor_divide(fixed(-7), fixed(2)), fixed(-4));
}

TEST(Sizes, QuotientCancelsFactors) {
  const Shape top = {kBatch, fixed(4), fixed(6)};
  EXPECT_EQ(quotient(top, Shape{fixed(8)}).expression, "3*b");  // 24 b / 8
  EXPECT_EQ(quotient(top, Shape{kBatch}), fixed(24));
  EXPECT_EQ(quotient(Shape{multiply(kBatch, kSeq), fixed(2)}, Shape{kSeq}),
            multiply(fixed(2), kBatch));
  EXPECT_EQ(quotient(Shape{kBatch}, Shape{kSeq}).size, 0);  // 2 // 5
}

TEST(Sizes, BroadcastTakesWhatIsNotOne) {
  EXPECT_EQ(broadcast(Shape{kBatch, fixed(1), fixed(3)}, Shape{fixed(7), fixed(1)}),
            (Shape{kBatch, fixed(7), fixed(3)}));
  EXPECT_EQ(broadcast(kSeq, fixed(5)), fixed(5)) << "a fixed size wins";
}

TEST(Sizes, HugeSizesSaturateAndAreRefused) {
  const Dim huge = fixed(INT64_MAX / 2);
  EXPECT_GT(multiply(huge, huge).size, 0);
  EXPECT_FALSE(valid({multiply(huge, huge)}));
  EXPECT_FALSE(valid({fixed(1 << 30), fixed(1 << 30)}));
  EXPECT_FALSE(valid({fixed(-1)}));
  EXPECT_TRUE(valid({fixed(0), fixed(1 << 30)}));
  EXPECT_EQ(text({kBatch, fixed(4)}), "[b, 4]");
}

}  // namespace
}  // namespace parallel_opt::sizes
