#include "parallel_opt/cost/collective.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

constexpr LinkModel kLink{Seconds(1e-6), BytesPerSecond(1e9)};

TEST(RingAllReduce, FourRanksOneMegabyte) {
  // 2*3 messages * 1 us  +  2*3/4 * 1e6 B / 1e9 B/s  =  6 us + 1500 us
  EXPECT_DOUBLE_EQ(all_reduce_time(1e6, 4, kLink).value, 1506e-6);
}

TEST(RingAllGather, FourRanksOneMegabyte) {
  // 3 messages * 1 us  +  3/4 * 1e6 B / 1e9 B/s  =  3 us + 750 us
  EXPECT_DOUBLE_EQ(ring_all_gather_time(1e6, 4, kLink).value, 753e-6);
}

TEST(AllReduce, ASwitchThatSumsTakesALittleMoreThanOnePass) {
  LinkModel link = kLink;
  link.reduces = true;
  EXPECT_DOUBLE_EQ(all_reduce_time(1e6, 8, link).value, 2e-6 + 9.0 / 8 * 1e-3);
  EXPECT_EQ(all_reduce_time(1e6, 2, link), all_reduce_time(1e6, 2, kLink));  // 3/2 passes
  EXPECT_EQ(all_reduce_time(1e6, 1, link).value, 0);
  for (int ranks = 2; ranks <= 72; ++ranks) {
    EXPECT_LE(all_reduce_passes(ranks, true), all_reduce_passes(ranks, false)) << ranks;
    EXPECT_GE(all_reduce_passes(ranks, true), 1) << ranks;  // each direction once at least
  }
}

TEST(Ring, OneRankIsFree) {
  EXPECT_EQ(all_reduce_time(1e9, 1, kLink).value, 0);
  EXPECT_EQ(ring_all_gather_time(1e9, 1, kLink).value, 0);
}

TEST(Ring, MoreBytesNeverTakeLessTime) {
  Random random(20260101);
  for (int i = 0; i < 1000; ++i) {
    const int ranks = 1 + int(random.below(4096));
    const double less = 1e9 * random.uniform(), more = less + 1e9 * random.uniform();
    ASSERT_LE(all_reduce_time(less, ranks, kLink), all_reduce_time(more, ranks, kLink))
        << "case " << i << ": ranks=" << ranks << " less=" << less;
    ASSERT_LE(ring_all_gather_time(less, ranks, kLink), ring_all_gather_time(more, ranks, kLink));
  }
}

}  // namespace
}  // namespace parallel_opt
