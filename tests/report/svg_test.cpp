#include "parallel_opt/report/svg.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

TEST(Svg, ShapesAreWrittenWithTenthsOfAPixel) {
  Svg svg(100, 50.25, "a <title>");
  svg.rect(1, 2.04, 3.06, 4, "bar w0", "5 < 6");
  svg.line(0, 0, 1, 1, "axis");
  svg.circle(1, 2, 3, "");
  svg.text(1, 2, "a & b", "tick", Anchor::end);
  EXPECT_EQ(svg.str(),
            "<svg viewBox=\"0 0 100 50.3\" width=\"100\" height=\"50.3\" role=\"img\" "
            "aria-label=\"a &lt;title&gt;\">"
            "<rect x=\"1\" y=\"2\" width=\"3.1\" height=\"4\" class=\"bar w0\"><title>5 &lt; "
            "6</title></rect>"
            "<line x1=\"0\" y1=\"0\" x2=\"1\" y2=\"1\" class=\"axis\"/>"
            "<circle cx=\"1\" cy=\"2\" r=\"3\"/>"
            "<text x=\"1\" y=\"2\" text-anchor=\"end\" class=\"tick\">a &amp; b</text></svg>");
}

TEST(Svg, ALineHasGapsAndSinglePoints) {
  Svg svg(10, 10, "");
  svg.polyline({{{0, 0}, {1, 1}}, {{5, 5}}, {}}, "curve");
  svg.polyline({{}}, "nothing");
  EXPECT_NE(svg.str().find("<path d=\"M0 0L1 1M5 5h0\" class=\"curve\"/></svg>"),
            std::string::npos);
}

TEST(Svg, TicksAreRoundNumbersInsideTheRange) {
  EXPECT_EQ(nice_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(nice_ticks(0.13, 0.29, 3), (std::vector<double>{0.2}));  // 0.16 / 3 -> step 0.1
  EXPECT_EQ(nice_ticks(5, 5, 3), (std::vector<double>{5}));
  EXPECT_EQ(tick_labels({0, 0.5, 1}), (std::vector<std::string>{"0.0", "0.5", "1.0"}));
  EXPECT_EQ(tick_labels({-100, 0, 100}), (std::vector<std::string>{"-100", "0", "100"}));
  for (double high = 1e-7; high < 1e12; high *= 3.7) {
    const std::vector<double> ticks = nice_ticks(0, high, 5);
    ASSERT_GE(ticks.size(), 3u) << high;
    ASSERT_LE(ticks.size(), 7u) << high;
    ASSERT_LE(ticks.back(), high * (1 + 1e-6)) << high;
  }
}

TEST(Svg, LongTextIsCutWithAnEllipsis) {
  EXPECT_EQ(fit_text("short", 100), "short");
  EXPECT_EQ(fit_text("a long label", 5 * 7.2), "a lo\xe2\x80\xa6");
  EXPECT_EQ(fit_text("x\xc3\xa9yz", 3 * 7.2), "x\xc3\xa9\xe2\x80\xa6");
}

TEST(EscapeHtml, ReplacesWhatNoPictureMayHold) {
  EXPECT_EQ(escape_html("caf\xc3\xa9 \xf0\x9f\x9a\x80\n"), "caf\xc3\xa9 \xf0\x9f\x9a\x80\n");
  EXPECT_EQ(escape_html("a\x01z"), "a\xef\xbf\xbdz");
  EXPECT_EQ(escape_html(std::string_view("\0", 1)), "\xef\xbf\xbd");
  EXPECT_EQ(escape_html("\xc3"), "\xef\xbf\xbd");                  // half a letter
  EXPECT_EQ(escape_html("\xc3<"), "\xef\xbf\xbd&lt;");             // hides nothing behind it
  EXPECT_EQ(escape_html("\xc0\xbc"), "\xef\xbf\xbd\xef\xbf\xbd");  // an overlong <
  EXPECT_EQ(escape_html("\xef\xbf\xbe"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(EscapeHtml, ReplacesWhatMarksUp) {
  EXPECT_EQ(escape_html("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
}

}  // namespace
}  // namespace parallel_opt
