#include "parallel_opt/cost/statistics.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

using Values = std::vector<double>;

TEST(Statistics, PercentilesLieBetweenNeighbours) {
  const Values values = {40, 10, 30, 20};
  EXPECT_DOUBLE_EQ(median(values), 25);  // (20 + 30) / 2
  // 0.9 * (4 - 1) = 2.7: 0.7 of the way from 30 to 40
  EXPECT_DOUBLE_EQ(percentile(values, 0.9), 37);
  EXPECT_DOUBLE_EQ(percentile(values, 0), 10);
  EXPECT_DOUBLE_EQ(percentile(values, 1), 40);
  EXPECT_DOUBLE_EQ(percentile({7}, 0.9), 7);
  EXPECT_DOUBLE_EQ(mean(values), 25);
}

TEST(Statistics, EqualValuesShareTheMeanOfTheirRanks) {
  // sorted: 1 1 1 2 3 -> ranks 1..3 shared by three, then 4, 5
  EXPECT_EQ(rank_values({1, 3, 1, 2, 1}), (Values{2, 5, 2, 4, 2}));
  EXPECT_EQ(rank_values({5, 5}), (Values{1.5, 1.5}));
}

TEST(Statistics, SpearmanByHand) {
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {10, 20, 30}), 1);
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {30, 20, 10}), -1);
  // without ties 1 - 6 sum d^2 / (n (n^2 - 1)): d = 0, 1, -1, 0 -> 1 - 6 * 2 / (4 * 15) = 0.8
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3, 4}, {1, 3, 2, 4}), 0.8);
  // ranks 1.5 1.5 3 against 1 2 3, less the mean 2: (-.5 -.5 1) . (-1 0 1) = 1.5;
  // / sqrt(1.5 * 2) = 0.866025...
  EXPECT_NEAR(spearman({7, 7, 9}, {1, 2, 3}), 0.8660254037844386, 1e-15);
}

TEST(Statistics, WhatRanksNothingHasNoCorrelation) { EXPECT_EQ(spearman({5, 5, 5}, {1, 2, 3}), 0); }

}  // namespace
}  // namespace parallel_opt
