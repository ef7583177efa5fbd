#include "parallel_opt/base/error.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

TEST(Error, AFaultReadsWhereWhatHint) {
  EXPECT_EQ(to_string({"plan.json:mesh", "is empty", "add an axis"}),
            "plan.json:mesh: is empty (add an axis)");
  EXPECT_EQ(to_string({"", "is empty", ""}), "is empty");
}

TEST(Error, InputErrorHoldsEveryFaultOnePerLine) {
  const InputError error(std::vector<Fault>{{"a", "b", "c"}, {"d", "e", ""}});
  EXPECT_STREQ(error.what(), "a: b (c)\nd: e");
  EXPECT_EQ(error.faults().size(), 2u);
  EXPECT_NO_THROW(throw_if_any({}));
  EXPECT_THROW(throw_if_any({{"a", "b", ""}}), InputError);
}

TEST(Error, OfFaultsOfAKindTenAreToldAndTheOthersCounted) {
  std::vector<Fault> faults;
  for (int i = 0; i < 2048; ++i) {
    faults.push_back(
        {"f:stages[" + std::to_string(i) + "]", std::to_string(i) + " is odd", "even"});
    if (i == 1000) faults.push_back({"f", "another", ""});
  }
  try {
    throw_if_any(faults);
    FAIL() << "passed";
  } catch (const InputError& e) {
    ASSERT_EQ(e.faults().size(), 11U);
    EXPECT_EQ(e.faults()[8], faults[8]);
    EXPECT_EQ(to_string(e.faults()[9]), "f:stages[9]: 9 is odd, and 2,038 more like it (even)");
    EXPECT_EQ(to_string(e.faults()[10]), "f: another");
  }
  faults.clear();
  for (int i = 0; i < 50; ++i) faults.push_back({"f", "no \"x" + std::to_string(i) + "\"", ""});
  try {
    throw_if_any(faults);
  } catch (const InputError& e) {
    EXPECT_EQ(e.faults(), faults);  // each says another name
  }
  faults.assign(10, {"f", "the same", ""});
  EXPECT_THROW(throw_if_any(faults), InputError);
  try {
    throw_if_any(faults);
  } catch (const InputError& e) {
    EXPECT_EQ(e.faults(), faults);
  }
}

TEST(Error, WhatFilesHoldForgesNeitherLinesNorColours) {
  const Fault fault{"a\nb", "\x1b[31mred\terror", "c"};
  EXPECT_EQ(to_string(fault), "a\\nb: \\x1b[31mred\\terror (c)");
  const std::string text = to_string({"", std::string(50'000, 'x'), ""});
  EXPECT_EQ(text, std::string(480, 'x') + " ... " + std::string(480, 'x'));
}

TEST(Error, AMissingPartIsASystemError) {
  const MissingPart missing("torch", "not installed", "pip install torch");
  EXPECT_STREQ(missing.what(), "torch: not installed (pip install torch)");
  EXPECT_EQ(static_cast<const SystemError&>(missing).fault().hint, "pip install torch");
}

TEST(Error, ABrokenPromiseNamesConditionAndPlaceAndNeverAborts) {
  try {
    PO_CHECK(1 + 1 == 3, "arithmetic");
    FAIL() << "passed";
  } catch (const InternalError& e) {
    const std::string text = e.what();
    EXPECT_TRUE(text.starts_with("internal error at ")) << text;
    EXPECT_TRUE(text.ends_with(": arithmetic [1 + 1 == 3]")) << text;
  }
  EXPECT_NO_THROW(PO_CHECK(true, "fine"));
}

}  // namespace
}  // namespace parallel_opt
