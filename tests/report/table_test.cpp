#include "parallel_opt/report/table.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

TEST(Table, ColumnsLineUpAndNumbersStandRight) {
  const Table table{{{"kernel", Align::left}, {"GFLOP/s", Align::right}, {"note", Align::left}},
                    {{"matmul", "1200", "measured"}, {"elementwise", "3", ""}, {"x"}}};
  EXPECT_EQ(to_text(table),
            "kernel       GFLOP/s  note\n"
            "-----------  -------  --------\n"
            "matmul          1200  measured\n"
            "elementwise        3\n"
            "x\n");
}

TEST(Table, WithoutTitlesThereIsNoRule) {
  EXPECT_EQ(to_text({{{"", Align::left}, {"", Align::right}}, {{"a", "10"}, {"bb", "5"}}}),
            "a   10\nbb   5\n");
}

TEST(Table, Utf8CountsCodePoints) {
  EXPECT_EQ(width_of("\xc2\xb5s"), 2u);
  EXPECT_EQ(to_text({{{"", Align::left}, {"", Align::left}}, {{"\xc2\xb5s", "x"}, {"ms", "y"}}}),
            "\xc2\xb5s  x\nms  y\n");
}

TEST(Table, NothingGivesNothing) { EXPECT_EQ(to_text({{{"a", Align::left}}, {}}), ""); }

}  // namespace
}  // namespace parallel_opt
