#include "parallel_opt/base/text.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/random.h"

namespace parallel_opt {
namespace {

TEST(Text, SplitKeepsEmptyPartsAndJoinPutsThemBack) {
  EXPECT_EQ(split("a,,b,", ','), (std::vector<std::string>{"a", "", "b", ""}));
  EXPECT_EQ(split("", ','), (std::vector<std::string>{""}));
  EXPECT_EQ(join({}, ", "), "");
  EXPECT_EQ(join({"", ""}, "+"), "+");
  for (const char* text : {"", ",", "a,b", ",,x,"}) EXPECT_EQ(join(split(text, ','), ","), text);
}

TEST(Text, TrimRemovesBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
}

TEST(Text, LowerCaseLeavesWhatIsNoCapitalLetter) {
  EXPECT_EQ(lower_case("H100-SXM 80GB_x"), "h100-sxm 80gb_x");
  EXPECT_EQ(lower_case("\xc3\x84 B"), "\xc3\x84 b");  // a letter of two bytes stays whole
  EXPECT_EQ(lower_case(""), "");
}

TEST(Text, MentionsFindsAWordInAnyCase) {
  EXPECT_TRUE(mentions("8x GB300-NVL72", "nvl72"));
  EXPECT_TRUE(mentions("offload", "offload"));
  EXPECT_FALSE(mentions("off load", "offload"));
  EXPECT_FALSE(mentions("", "a"));
}

TEST(Text, EditDistanceCountsSingleEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);  // k->s, e->i, +g
  EXPECT_EQ(edit_distance("ab", "ba"), 1);           // one swap
  EXPECT_EQ(edit_distance("ca", "abc"), 3);          // no edit inside a swapped pair
}

TEST(Text, EditDistanceIsAMetricOnRandomWords) {
  Random random(11);
  const auto word = [&] {
    std::string text;
    for (std::uint64_t n = random.below(7); n > 0; --n)
      text += static_cast<char>('a' + random.below(3));
    return text;
  };
  for (int i = 0; i < 500; ++i) {
    const std::string a = word(), b = word();
    ASSERT_EQ(edit_distance(a, b), edit_distance(b, a)) << a << " " << b;
    ASSERT_EQ(edit_distance(a, b) == 0, a == b) << a << " " << b;
  }
}

TEST(Text, NearestMatchFindsTypingErrorsOnly) {
  const std::vector<std::string> flags = {"--cluster", "--batch", "-o"};
  EXPECT_EQ(nearest_match("--clutser", flags), "--cluster");
  EXPECT_EQ(nearest_match("--bach", flags), "--batch");
  EXPECT_EQ(nearest_match("--objective", flags), "");
  EXPECT_EQ(nearest_match("xy", flags), "");  // every letter would change
  EXPECT_EQ(nearest_match("-x", flags), "-o");
  EXPECT_EQ(nearest_match("", flags), "");
}

TEST(Text, SizesAreReadWithBinaryAndDecimalSuffixes) {
  EXPECT_EQ(parse_bytes("512"), Bytes(512));
  EXPECT_EQ(parse_bytes("38GiB"), Bytes(38LL << 30));
  EXPECT_EQ(parse_bytes(" 1.5 GB "), Bytes(1'500'000'000));
  EXPECT_EQ(parse_bytes("2kB"), Bytes(2000));
  EXPECT_EQ(parse_bytes("2KiB"), Bytes(2048));
  EXPECT_EQ(parse_bytes("0"), Bytes(0));
  EXPECT_EQ(parse_bytes("7B"), Bytes(7));
}

TEST(Text, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", " ", "GiB", "-1", "1 GiB GiB", "1x", "inf", "nan", "9e30", "1,5GB",
                           "0x10", "10000000TB"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

TEST(Text, NumbersShowThreeDigits) {
  EXPECT_EQ(show(0.0), "0");
  EXPECT_EQ(show(1.0), "1.00");
  EXPECT_EQ(show(12.345), "12.3");
  EXPECT_EQ(show(-123.4), "-123");
  EXPECT_EQ(show(0.0123), "0.0123");
  EXPECT_EQ(show(99.96), "100");
  EXPECT_EQ(show(9.999), "10.0");
  EXPECT_EQ(show(999'999.4), "999999");
  EXPECT_EQ(show(999'999.6), "1e+06");
  EXPECT_EQ(show(0.0001), "0.0001");
}

TEST(Text, QuantitiesShowTheirUnit) {
  EXPECT_EQ(show(Joules(2.83)), "2.83 J");
  EXPECT_EQ(show(Joules(204219)), "204219 J");
  EXPECT_EQ(show(Joules(1.87e6)), "1.87 MJ");
  EXPECT_EQ(show(Joules(3.6e9)), "3.60 GJ");
  EXPECT_EQ(show(Bytes(0)), "0 B");
  EXPECT_EQ(show(Bytes(1023)), "1023 B");
  EXPECT_EQ(show(Bytes(1536)), "1.50 KiB");
  EXPECT_EQ(show(Bytes(-3LL << 30)), "-3.00 GiB");
  EXPECT_EQ(show(Seconds(0)), "0 s");
  EXPECT_EQ(show(Seconds(2.5e-6)), "2.50 us");
  EXPECT_EQ(show(Seconds(0.0123)), "12.3 ms");
  EXPECT_EQ(show(Seconds(90)), "90.0 s");
  EXPECT_EQ(show(Seconds(600)), "10.0 min");
  EXPECT_EQ(show(Seconds(10800)), "3.00 h");
  EXPECT_EQ(show(Flops(6e25)), "60000 ZFLOP");
  EXPECT_EQ(show(Flops(34.5e9)), "34.5 GFLOP");
  EXPECT_EQ(show(BytesPerSecond(450e9)), "450 GB/s");
}

}  // namespace
}  // namespace parallel_opt
