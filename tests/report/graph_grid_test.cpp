#include "parallel_opt/report/graph_grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "parallel_opt/base/random.h"
namespace parallel_opt {
namespace {

/// Boxes of equal weight, joined.
GridInput joined(int boxes, std::vector<GridInput::Line> lines) {
  return {std::vector<double>(static_cast<std::size_t>(boxes), 1.0), std::move(lines)};
}

TEST(GraphGrid, AChainIsOneColumn) {
  const Grid grid = lay_out(joined(3, {{0, 1}, {1, 2}}));
  EXPECT_EQ(grid.rows, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(grid.columns, (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(grid.lanes, (std::vector<int>{0, 0}));
}

TEST(GraphGrid, ASkipRunsBesideTheChain) {
  const Grid grid = lay_out(joined(4, {{0, 1}, {1, 2}, {2, 3}, {0, 3}}));
  EXPECT_EQ(grid.rows, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(grid.lanes[3], 1);
}

TEST(GraphGrid, ThreeBranchesStandSideBySide) {
  const Grid grid = lay_out(joined(5, {{0, 1}, {0, 2}, {0, 3}, {1, 4}, {2, 4}, {3, 4}}));
  EXPECT_EQ(grid.rows, (std::vector<int>{0, 1, 1, 1, 2}));
  const std::set<int> columns(grid.columns.begin() + 1, grid.columns.begin() + 4);
  EXPECT_EQ(columns, (std::set<int>{-1, 0, 1}));
}

TEST(GraphGrid, NestedSkipsOfAUNetNest) {
  // 0 > 1 > 2 > 3 > 4 > 5 > 6, skips 0-6, 1-5, 2-4: the short ones nearer to the chain.
  const Grid grid =
      lay_out(joined(7, {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {0, 6}, {1, 5}, {2, 4}}));
  const int outer = std::abs(grid.lanes[6]), middle = std::abs(grid.lanes[7]),
            inner = std::abs(grid.lanes[8]);
  EXPECT_EQ(inner, 1);
  EXPECT_LE(inner, middle);
  EXPECT_LE(middle, outer);
  const std::set<int> lanes = {grid.lanes[6], grid.lanes[7], grid.lanes[8]};
  EXPECT_EQ(lanes.size(), 3u);
}

TEST(GraphGrid, WhatWaitsForNothingStandsAboveItsReader) {
  const Grid grid = lay_out(joined(4, {{0, 1}, {1, 3}, {2, 3}}));
  EXPECT_EQ(grid.rows[2], 1);
}

TEST(GraphGrid, BoxesNeverShareACellAndLanesNeverPassThroughOne) {
  Random rng(5);
  for (int round = 0; round < 300; ++round) {
    const int boxes = 1 + static_cast<int>(rng.next() % 20);
    GridInput input = joined(boxes, {});
    std::set<std::pair<int, int>> used;
    for (int i = 1; i < boxes; ++i) {
      for (int k = static_cast<int>(rng.next() % 3); k-- > 0;) {
        const int from = static_cast<int>(rng.next() % static_cast<std::uint64_t>(i));
        if (used.emplace(from, i).second) input.lines.push_back({from, i});
      }
      input.weights[static_cast<std::size_t>(i)] = static_cast<double>(rng.next() % 10);
    }
    const Grid grid = lay_out(input);
    std::set<std::pair<int, int>> cells;
    for (std::size_t i = 0; i < grid.rows.size(); ++i) {
      ASSERT_TRUE(cells.emplace(grid.rows[i], grid.columns[i]).second) << "round " << round;
    }
    for (std::size_t k = 0; k < input.lines.size(); ++k) {
      const int from = grid.rows[static_cast<std::size_t>(input.lines[k].from)];
      const int to = grid.rows[static_cast<std::size_t>(input.lines[k].to)];
      ASSERT_LT(from, to) << "round " << round;
      for (int row = from + 1; row < to; ++row) {
        ASSERT_FALSE(cells.contains({row, grid.lanes[k]})) << "round " << round << " line " << k;
      }
    }
  }
}

TEST(GraphGrid, NothingIsNothing) { EXPECT_TRUE(lay_out({}).rows.empty()); }

}  // namespace
}  // namespace parallel_opt
