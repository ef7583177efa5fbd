#include "parallel_opt/cost/row_date.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

TEST(RowDate, WordsNameAMonthOrAYear) {
  struct Case {
    const char* words;
    StatedDate date;
  };
  for (const Case& one : {Case{"May 2021", {2021, 5}},
                          {"main of 3 Sept. 2024", {2024, 9}},
                          {"january 5, 2026", {2026, 1}},
                          {"commit of 2024-06-30", {2024, 6}},
                          {"torchtitan (2025-03)", {2025, 3}},
                          {"container 23.09", {2023, 9}},
                          {"NeMo 26.06", {2026, 6}},
                          {"ngc 25.11", {2025, 11}},
                          {"(2024)", {2024, 0}},
                          {"run in 2021", {2021, 0}},
                          {"8 nodes, 2023", {2023, 0}},
                          {"", {}},
                          {"NeMo 2.0", {}},
                          {"container 25.13", {}},
                          {"2024-13", {}},
                          {"2025 steps", {}}}) {
    EXPECT_EQ(stated_date(one.words), one.date) << one.words;
  }
}

TEST(RowDate, TheLatestCounts) {
  EXPECT_EQ(stated_date("June 2026; page of 2024-12"), (StatedDate{2026, 6}));
  EXPECT_EQ(stated_date("2024-12, published March 2025"), (StatedDate{2025, 3}));
  EXPECT_EQ(stated_date("March 2025 and April 2025"), (StatedDate{2025, 4}));
  EXPECT_EQ(stated_date("container 26.06.01; in 2025"), (StatedDate{2026, 6}));
}

TEST(RowDate, AYearAloneMayBeAllOfItButItsFirstMonths) {
  const StatedDate year{2025, 0}, month{2025, 3};
  EXPECT_TRUE(year.is_since(2025, 4));
  EXPECT_FALSE(year.is_since(2025, 10));
  EXPECT_TRUE(month.is_since(2025, 3));
  EXPECT_FALSE(month.is_since(2025, 4));
  EXPECT_TRUE(month.is_since(2024, 12));
  EXPECT_FALSE(month.is_since(2026, 1));
  EXPECT_FALSE(StatedDate{}.is_since(2025, 1));
}

}  // namespace
}  // namespace parallel_opt
