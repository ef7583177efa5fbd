#include "parallel_opt/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/report/sample.h"

namespace parallel_opt {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ReportHtml, HoldsTheComparisonInNumbersAndPictures) {
  const std::string html = report_html(report_of(demo_sample()));
  EXPECT_THAT(html, HasSubstr("2.00<small>x</small>"));
  for (const char* title :
       {"Step time", "Speed against plain", "Peak memory", "CPU utilisation",
        "Predicted against measured", "Training loss", "Numbers", "Why this plan"}) {
    EXPECT_THAT(html, HasSubstr(title));
  }
  EXPECT_THAT(html, HasSubstr("47.0 ms predicted, 50.0 ms measured (-6.0 %)"));
  EXPECT_THAT(html, HasSubstr("losses differ"));
  EXPECT_THAT(html, HasSubstr("3 losses are not finite: gaps"));
  EXPECT_THAT(html, HasSubstr("fastest"));
  EXPECT_THAT(html, HasSubstr("CPU &lt;1&gt;"));
}

TEST(ReportHtml, SectionsWithoutDataAreLeftOut) {
  const std::string html = report_html(report_of(demo_sample()));
  for (const char* absent : {"Step timeline", "Memory over time", "Energy per step",
                             "Where the time goes", "Predicted bill", "What happened"}) {
    EXPECT_THAT(html, Not(HasSubstr(absent)));
  }
  const std::string empty = report_html({"Nothing", "", {}, {}, {}});
  EXPECT_THAT(empty, HasSubstr("<h1>Nothing</h1>"));
  EXPECT_THAT(empty, Not(HasSubstr("<svg")));
}

TEST(ReportHtml, BillHasJoulesAndNoEmptyRows) {
  ReportData report = report_of(demo_sample());
  report.models[0].ways[2].items = {{"matmul", 0.03, 2e6, 4.5},
                                    {"idle power", std::nullopt, std::nullopt, 1.5},
                                    {"dynamic power", std::nullopt, std::nullopt, std::nullopt}};
  const std::string html = report_html(report);
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">energy</th>"));
  EXPECT_THAT(html, HasSubstr("4.50 J"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">idle power</th>"));
  EXPECT_THAT(html, Not(HasSubstr("<th scope=\"row\">dynamic power</th>")));
  report.models[0].ways[2].items = {{"matmul", 0.03, 2e6, std::nullopt}};
  EXPECT_THAT(report_html(report), Not(HasSubstr("<th scope=\"col\">energy</th>")));
}

TEST(ReportHtml, HostileTextStaysText) {
  DemoDocument demo = demo_sample();
  demo.models[0].name = "</script><script>alert(1)</script>";
  demo.models[0].automatic.notes = {"<img src=http://example.com/x>"};
  const std::string html = report_html(report_of(demo));
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
}

TEST(ReportHtml, NamesNoOtherFile) {
  const std::string html = report_html(report_of(demo_sample()));
  EXPECT_FALSE(std::regex_search(html, std::regex("(src|href)=\"(?!data:)")));
  EXPECT_THAT(html, Not(HasSubstr("url(")));
  EXPECT_THAT(html, Not(HasSubstr("@import")));
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
}

TEST(ReportHtml, EveryPictureHasANameForScreenReaders) {
  const std::string html = report_html(report_of(demo_sample()));
  const std::regex svg("<svg[^>]*>");
  for (std::sregex_iterator it(html.begin(), html.end(), svg), end; it != end; ++it) {
    EXPECT_TRUE(std::regex_search(it->str(), std::regex("role=\"img\" aria-label=\"[^\"]+\"")));
  }
}

TEST(ReportHtml, HoldsItsOwnData) {
  const std::string html = report_html(report_of(demo_sample()));
  const std::string open = "id=\"report-data\">";
  const std::size_t begin = html.find(open) + open.size();
  const std::string json = html.substr(begin, html.find("</script>", begin) - begin);
  EXPECT_EQ(read_report(json, "inlined"), report_of(demo_sample()));
}

TEST(ReportHtml, IsTheSameEveryTime) {
  EXPECT_EQ(report_html(report_of(demo_sample())), report_html(report_of(demo_sample())));
}

}  // namespace
}  // namespace parallel_opt
