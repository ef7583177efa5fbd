#include "parallel_opt/base/hash.h"

#include <gtest/gtest.h>

#include <set>

#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

std::string hash_of(std::initializer_list<std::string_view> parts) {
  Hasher hasher;
  for (const std::string_view part : parts) hasher.add(part);
  return hasher.hex();
}

// Identities are kept in files: these values may never change. Computed by hand from the definition
// (FNV-1a of the bytes and 0xff, then the finaliser of MurmurHash3).
TEST(Hash, IsStableOverReleases) {
  EXPECT_EQ(Hasher().hex(), "efd01f60ba992926");
  EXPECT_EQ(hash_of({"parallel_opt"}), "b6687637ce441aa2");
  Hasher number;
  number.add(std::int64_t{-1});
  EXPECT_EQ(number.hex(), "6a92c0228678c02e");
}

TEST(Hash, BoundariesBetweenPartsCount) {
  EXPECT_NE(hash_of({"ab", "c"}), hash_of({"a", "bc"}));
  EXPECT_NE(hash_of({"ab"}), hash_of({"ab", ""}));
}

TEST(Hash, HexIsTheValueInSixteenDigits) {
  std::set<std::string> seen;
  for (std::int64_t i = 0; i < 1000; ++i) {
    Hasher hasher;
    hasher.add(i);
    ASSERT_EQ(hasher.hex().size(), 16u);
    ASSERT_EQ(std::stoull(hasher.hex(), nullptr, 16), hasher.value());
    ASSERT_TRUE(seen.insert(hasher.hex()).second) << "collision at " << i;
  }
}

// Reference values of SplitMix64 with seed 1234567 (Steele, Lea, Flood 2014).
TEST(Random, GivesTheReferenceSequence) {
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
  EXPECT_EQ(random.next(), 9817491932198370423ULL);
}

TEST(Random, UniformStaysInItsRangeAndCoversIt) {
  Random random(3);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double u = random.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);  // sd of the mean: 0.29 / 100
  for (int i = 0; i < 1000; ++i) ASSERT_LT(random.below(7), 7u);
}

}  // namespace
}  // namespace parallel_opt
