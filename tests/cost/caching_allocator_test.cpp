#include "parallel_opt/cost/caching_allocator.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

TEST(CachingAllocator, RequestsAreRoundedTo512) {
  EXPECT_EQ(CachingAllocator::rounded(0), 512);
  EXPECT_EQ(CachingAllocator::rounded(1), 512);
  EXPECT_EQ(CachingAllocator::rounded(512), 512);
  EXPECT_EQ(CachingAllocator::rounded(513), 1024);
}

TEST(CachingAllocator, SegmentsFollowTheSize) {
  EXPECT_EQ(CachingAllocator::segment_bytes(512), 2 * kMiB);
  EXPECT_EQ(CachingAllocator::segment_bytes(kMiB), 2 * kMiB);
  EXPECT_EQ(CachingAllocator::segment_bytes(kMiB + 512), 20 * kMiB);
  EXPECT_EQ(CachingAllocator::segment_bytes(10 * kMiB), 10 * kMiB);
  EXPECT_EQ(CachingAllocator::segment_bytes(11 * kMiB), 12 * kMiB);
}

TEST(CachingAllocator, SmallRequestsShareASegment) {
  CachingAllocator a;
  for (int i = 0; i < 4096; ++i) ASSERT_TRUE(a.allocate(512));  // 4096 x 512 = 2 MiB
  EXPECT_EQ(a.reserved_bytes(), 2 * kMiB);
  ASSERT_TRUE(a.allocate(1));
  EXPECT_EQ(a.reserved_bytes(), 4 * kMiB);
  EXPECT_EQ(a.allocated_bytes(), 2 * kMiB + 512);
}

TEST(CachingAllocator, LargeBlocksAreSplitWhenMoreThanAMebibyteIsLeft) {
  CachingAllocator a;
  ASSERT_TRUE(a.allocate(5 * kMiB));   // of a segment of 20
  ASSERT_TRUE(a.allocate(14 * kMiB));  // 15 are left: 1 MiB more is not worth a block
  EXPECT_EQ(a.reserved_bytes(), 20 * kMiB);
  EXPECT_EQ(a.allocated_bytes(), 20 * kMiB);
}

TEST(CachingAllocator, TheSmallestBlockThatFitsIsTaken) {
  CachingAllocator a;
  const auto large = a.allocate(40 * kMiB), middle = a.allocate(30 * kMiB);
  a.free(*large);
  a.free(*middle);
  ASSERT_TRUE(a.allocate(30 * kMiB));
  ASSERT_TRUE(a.allocate(40 * kMiB));
  EXPECT_EQ(a.reserved_bytes(), 70 * kMiB);
}

TEST(CachingAllocator, NeighboursMergeInAnyOrder) {
  for (const std::vector<int>& order :
       {std::vector<int>{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}}) {
    CachingAllocator a;
    std::vector<CachingAllocator::BlockIndex> blocks;
    for (int i = 0; i < 3; ++i) blocks.push_back(*a.allocate(6 * kMiB));
    for (const int i : order) a.free(blocks[std::size_t(i)]);
    EXPECT_EQ(a.allocated_bytes(), 0);
    ASSERT_TRUE(a.allocate(18 * kMiB));
    EXPECT_EQ(a.reserved_bytes(), 20 * kMiB);  // the one segment, whole again
  }
}

TEST(CachingAllocator, FragmentsHoldMemoryThatExpandableSegmentsGiveBack) {
  // Blocks of 30, 40, 50, ... MiB one after the other: cached segments of 30 and 40 serve no 50.
  const auto peak = [](bool expandable) {
    CachingAllocator a({.expandable_segments = expandable});
    for (std::int64_t size = 30; size <= 90; size += 10) a.free(*a.allocate(size * kMiB));
    return a.peak_reserved_bytes();
  };
  EXPECT_EQ(peak(false), (30 + 40 + 50 + 60 + 70 + 80 + 90) * kMiB);
  EXPECT_EQ(peak(true), 100 * kMiB);  // 90 rounded to pages of 20
}

TEST(CachingAllocator, CachedSegmentsGoBeforeARequestFails) {
  CachingAllocator a({.capacity_bytes = 100 * kMiB});
  a.free(*a.allocate(60 * kMiB));
  ASSERT_TRUE(a.allocate(80 * kMiB));  // 60 were cached and are given back
  EXPECT_EQ(a.reserved_bytes(), 80 * kMiB);
  EXPECT_FALSE(a.allocate(40 * kMiB));
  EXPECT_EQ(a.allocated_bytes(), 80 * kMiB);
}

TEST(CachingAllocator, BlocksAboveTheLimitAreNotSplit) {
  CachingAllocator a({.max_split_bytes = 50 * kMiB});
  a.free(*a.allocate(80 * kMiB));
  ASSERT_TRUE(a.allocate(10 * kMiB));
  EXPECT_EQ(a.reserved_bytes(), 90 * kMiB);
}

TEST(CachingAllocator, AdoptsTheStateOfASnapshot) {
  CachingAllocator a;
  const auto blocks = a.adopt(false, {4 * kMiB, 6 * kMiB, 10 * kMiB}, {false, true, false});
  EXPECT_EQ(a.allocated_bytes(), 14 * kMiB);
  ASSERT_TRUE(a.allocate(6 * kMiB));  // the gap
  EXPECT_EQ(a.reserved_bytes(), 20 * kMiB);
  a.free(blocks[0]);
  EXPECT_EQ(a.allocated_bytes(), 16 * kMiB);
}

TEST(CachingAllocator, NeverHandsOutTheSameBytesTwice) {
  // Against a plain sum: allocated is what is live, reserved at least that, and all of it comes
  // back.
  Random random(7);
  for (const bool expandable : {false, true}) {
    CachingAllocator a({.expandable_segments = expandable});
    std::vector<std::pair<CachingAllocator::BlockIndex, std::int64_t>> live;
    std::int64_t least = 0;
    for (int i = 0; i < 20000; ++i) {
      if (live.empty() || random.below(5) < 3) {
        const auto bytes = std::int64_t(1) << random.below(25);
        live.emplace_back(*a.allocate(bytes), bytes);
        least += CachingAllocator::rounded(bytes);
      } else {
        const std::size_t at = random.below(live.size());
        a.free(live[at].first);
        least -= CachingAllocator::rounded(live[at].second);
        live[at] = live.back();
        live.pop_back();
      }
      ASSERT_GE(a.allocated_bytes(), least);
      ASSERT_GE(a.reserved_bytes(), a.allocated_bytes());
    }
    for (const auto& [block, bytes] : live) a.free(block);
    EXPECT_EQ(a.allocated_bytes(), 0);
    a.release_cached();
    EXPECT_EQ(a.reserved_bytes(), 0);
    EXPECT_EQ(a.segments(), 0);
  }
}

}  // namespace
}  // namespace parallel_opt
