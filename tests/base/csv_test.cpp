#include "parallel_opt/base/csv.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

using Cells = std::vector<std::string>;

std::string error_of(std::string_view text) {
  try {
    (void)read_csv(text, "t.csv");
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Csv, CellsByColumnAndLine) {
  const CsvTable table = read_csv("id,tp\na,1\nb,\n", "t.csv");
  EXPECT_EQ(table.columns, (Cells{"id", "tp"}));
  ASSERT_EQ(table.records.size(), 2u);
  EXPECT_EQ(table.records[0].cells, (Cells{"a", "1"}));
  EXPECT_EQ(table.records[1].cells, (Cells{"b", ""}));
  EXPECT_EQ(table.where(table.records[1]), "t.csv:3");
  EXPECT_EQ(table.find("tp"), 1u);
  EXPECT_EQ(table.find("pp"), std::nullopt);
}

TEST(Csv, QuotesHoldCommasLineEndsAndQuotes) {
  const CsvTable table =
      read_csv("a,b\n\"1,5\",\"say \"\"x\"\"\"\n\"two\nlines\",\"\"\nc,d\n", "t");
  ASSERT_EQ(table.records.size(), 3u);
  EXPECT_EQ(table.records[0].cells, (Cells{"1,5", "say \"x\""}));
  EXPECT_EQ(table.records[1].cells, (Cells{"two\nlines", ""}));
  EXPECT_EQ(table.records[2].line, 5u);  // header 1, record 2, record 3 to 4
}

TEST(Csv, WindowsLineEndsAndByteOrderMark) {
  const CsvTable table = read_csv("\xef\xbb\xbfid,tp\r\na,\"1\"\r\nb,2", "t");
  EXPECT_EQ(table.columns, (Cells{"id", "tp"}));
  ASSERT_EQ(table.records.size(), 2u);
  EXPECT_EQ(table.records[0].cells, (Cells{"a", "1"}));
  EXPECT_EQ(table.records[1].cells, (Cells{"b", "2"}));
}

TEST(Csv, ALastLineWithoutEndAndACarriageReturnAtTheEnd) {
  EXPECT_EQ(read_csv("a\nb", "t").records[0].cells, Cells{"b"});
  EXPECT_EQ(read_csv("a\nb\r", "t").records[0].cells, Cells{"b"});
  EXPECT_EQ(read_csv("a,b\n1,", "t").records[0].cells, (Cells{"1", ""}));
}

TEST(Csv, BlankLinesArePassedOver) {
  const CsvTable table = read_csv("\nid,tp\n\n\r\na,1\n\n", "t");
  ASSERT_EQ(table.records.size(), 1u);
  EXPECT_EQ(table.records[0].line, 5u);
}

TEST(Csv, AQuoteInsideAPlainCellIsText) {
  EXPECT_EQ(read_csv("a\n5\" disk\n", "t").records[0].cells, Cells{"5\" disk"});
}

TEST(Csv, AHeaderAloneIsATableWithoutRecords) {
  EXPECT_TRUE(read_csv("id,tp\n", "t").records.empty());
}

TEST(Csv, EveryRecordOfAnotherWidthIsNamed) {
  EXPECT_EQ(error_of("id,tp\na\nb,1\nc,1,2\n"),
            "t.csv:2: 1 cell, but the header has 2 (a cell that holds a comma is put in quotes)\n"
            "t.csv:4: 3 cells, but the header has 2 (a cell that holds a comma is put in quotes)");
}

TEST(Csv, BrokenQuotesNameTheLine) {
  EXPECT_EQ(error_of("id\na\n\"b\nc\n"),
            "t.csv:3: the quote of cell 1 is never closed (is the file complete?)");
  EXPECT_EQ(error_of("id\n\"a\"b\n"),
            "t.csv:2: text follows a closing quote (inside quotes a quote is written twice)");
}

TEST(Csv, AColumnAppearsOnce) {
  EXPECT_EQ(error_of("id,tp,tp\n"), "t.csv:1: column \"tp\" appears twice (rename one)");
}

TEST(Csv, WhatIsNoTextIsRefused) {
  EXPECT_EQ(error_of(""), "t.csv: is empty (the first line names the columns)");
  EXPECT_EQ(error_of("\n\r\n"), "t.csv: is empty (the first line names the columns)");
  EXPECT_EQ(error_of(std::string_view("\xff\xfei\0d\0", 6)),
            "t.csv: is no UTF-8 text (save it as CSV in UTF-8)");
}

}  // namespace
}  // namespace parallel_opt
