#include "parallel_opt/base/units.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/ids.h"
#include "parallel_opt/base/json.h"

namespace parallel_opt {
namespace {

template <class A, class B>
concept Adds = requires(A a, B b) { a + b; };
template <class A, class B>
concept Multiplies = requires(A a, B b) { a * b; };

static_assert(Adds<Bytes, Bytes> && !Adds<Bytes, Seconds> && !Adds<Bytes, int>);
static_assert(!Multiplies<Bytes, Seconds> && Multiplies<Watts, Seconds>);
static_assert(!std::is_convertible_v<double, Seconds> && !std::is_convertible_v<Seconds, double>);
static_assert(!std::is_same_v<OpId, TensorId> && !std::is_convertible_v<OpId, TensorId>);

TEST(Units, SameUnitAddsScalesAndCompares) {
  EXPECT_EQ(Bytes(3) + Bytes(4), Bytes(7));
  EXPECT_EQ(Bytes(3) - Bytes(4), Bytes(-1));
  EXPECT_EQ(Seconds(1.5) * 2, Seconds(3));
  EXPECT_LT(Joules(1), Joules(2));
  Bytes sum;
  sum += Bytes(5);
  sum -= Bytes(2);
  EXPECT_EQ(sum, Bytes(3));
  EXPECT_DOUBLE_EQ(Bytes(1) / Bytes(4), 0.25);
}

TEST(Units, ListedProductsChangeTheUnit) {
  EXPECT_EQ(Bytes(6) / BytesPerSecond(3), Seconds(2));
  EXPECT_EQ(Flops(6) / FlopsPerSecond(3), Seconds(2));
  EXPECT_EQ(Bytes(6) / Seconds(3), BytesPerSecond(2));
  EXPECT_EQ(Flops(6) / Seconds(3), FlopsPerSecond(2));
  EXPECT_EQ(Watts(6) * Seconds(3), Joules(18));
  EXPECT_EQ(Joules(6) / Seconds(3), Watts(2));
}

TEST(Units, FlopsHoldWhatInt64CannotHold) {
  const Flops training = Flops(6.0) * 1e12 * 1e13;  // 6 N D
  EXPECT_GT(training.value, 9.3e18);
}

TEST(Ids, ADefaultIdIsInvalid) {
  EXPECT_FALSE(OpId().valid());
  EXPECT_TRUE(OpId(0).valid());
  EXPECT_EQ(OpId(std::size_t{3}).index(), 3u);
}

TEST(DTypes, EveryTypeHasTheSizeItsNameSays) {
  for (std::size_t i = 0; i < enum_names(DType{}).size(); ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string name(name_of(dtype));
    const std::size_t digit = name.find_first_of("0123456789");
    // bool is a byte; fp8_* 8 bits; complexN has N bits for both parts together.
    std::int64_t bits = 8;
    if (digit != std::string::npos) bits = std::stoll(name.substr(digit));
    EXPECT_EQ(size_of(dtype) * 8, bits) << name;
  }
  EXPECT_TRUE(is_floating(DType::fp8_e4m3fn) && is_floating(DType::complex128));
  EXPECT_FALSE(is_floating(DType::i64) || is_floating(DType::boolean));
}

}  // namespace
}  // namespace parallel_opt
