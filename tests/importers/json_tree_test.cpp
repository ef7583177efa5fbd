#include "parallel_opt/importers/json_tree.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using Kind = JsonTree::Kind;
using testing::error_of;

TEST(JsonTree, KeepsEveryKindOfValue) {
  const JsonTree tree(R"({"a": [1, -2, 2.5, true, null, "x\u00e9"], "b": {"c": {}}})", "t");
  const JsonTree::Node a = tree.root()["a"];
  EXPECT_EQ(a.size(), 6u);
  EXPECT_EQ(a.at(0).integer(), 1);
  EXPECT_EQ(a.at(1).integer(), -2);
  EXPECT_EQ(a.at(2).number(), 2.5);
  EXPECT_TRUE(a.at(3).boolean());
  EXPECT_TRUE(a.at(4).none());
  EXPECT_EQ(a.at(5).string(), "x\xc3\xa9");
  EXPECT_TRUE(tree.root()["b"]["c"].is(Kind::object));
  EXPECT_EQ(tree.root().dump(),
            "{\"a\": [1, -2, 2.5, true, null, \"x\xc3\xa9\"], \"b\": {\"c\": {}}}");
}

TEST(JsonTree, LookUpsChainThroughWhatIsAbsent) {
  const JsonTree tree("[1]", "t");
  EXPECT_TRUE(tree.root()["a"]["b"].at(3).absent());
  EXPECT_TRUE(tree.root().at(1).absent());
  EXPECT_EQ(tree.root()["a"].size(), 0u);
}

TEST(JsonTree, MembersKeepTheOrderOfTheFile) {
  const JsonTree tree(R"({"b": 1, "a": 2})", "t");
  EXPECT_EQ(tree.root().key(0), "b");
  EXPECT_EQ(tree.root().key(1), "a");
  EXPECT_EQ(tree.root().at(1).integer(), 2);
}

TEST(JsonTree, AMemberThatIsGivenTwiceIsAFault) {
  const auto fault = [](const std::string& text) {
    return error_of([&] { const JsonTree tree(text, "t"); });
  };
  EXPECT_EQ(fault(R"({"a": 1, "b": 2, "a": 1})"), "t:a: stands twice in one object (keep one)");
  EXPECT_EQ(fault(R"({"a": {"x": [0, {"y": 1, "z": {}, "y": 2}]}})"),
            "t:a.x[1].y: stands twice in one object (keep one)");
  EXPECT_EQ(fault(R"([[], {"": 1, "": 2}])"), "t:[1].: stands twice in one object (keep one)");
  std::string many = "{";
  for (int i = 0; i < 1000; ++i) many += "\"k" + std::to_string(i) + "\": 0, ";
  EXPECT_EQ(fault(many + "\"k500\": 1}"), "t:k500: stands twice in one object (keep one)");
  EXPECT_EQ(fault(many + "\"k1000\": 1}"), "no error");
}

TEST(JsonTree, DropsMembersOfMetadataOnly) {
  const JsonTree tree(
      R"({"custom": 1, "metadata": {"custom": {"deep": [1, {"x": 2}]}, "keep": 3, "custom2": 4},
          "list": [{"custom": 5}]})",
      "t", {"custom"});
  EXPECT_EQ(tree.root()["custom"].integer(), 1);
  EXPECT_EQ(tree.root()["metadata"].dump(), R"({"keep": 3, "custom2": 4})");
  EXPECT_EQ(tree.root()["list"].dump(), R"([{"custom": 5}])");
}

TEST(JsonTree, LongListsAndManyNamesKeepTheirPlaces) {
  // More than a page of values, more names than are remembered.
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) {
    const std::string n = std::to_string(i);
    text += (i == 0 ? "\"name" : ", \"name") + n + "\": {\"value\": " + n + ", \"text\": \"t" + n +
            "\"}";
  }
  const JsonTree tree(text + "}", "x");
  ASSERT_EQ(tree.root().size(), 100'000u);
  for (const int i : {0, 1, 1023, 1024, 65'535, 65'536, 99'999}) {
    const std::string n = std::to_string(i);
    const JsonTree::Node member = tree.root().at(static_cast<std::size_t>(i));
    EXPECT_EQ(tree.root().key(static_cast<std::size_t>(i)), "name" + n);
    EXPECT_EQ(member["value"].integer(), i);
    EXPECT_EQ(member["text"].string(), "t" + n);
  }
}

TEST(JsonTree, EmptyTextsAndContainersAreRead) {
  const JsonTree tree(R"({"": "", "list": [], "object": {}})", "x");
  EXPECT_EQ(tree.root().key(0), "");
  EXPECT_EQ(tree.root()[""].string(), "");
  EXPECT_EQ(tree.root()["list"].size(), 0u);
  EXPECT_EQ(tree.root().dump(), R"({"": "", "list": [], "object": {}})");
}

TEST(JsonTree, NumbersBeyondInt64AreFloating) {
  const JsonTree tree("[18446744073709551615, 9223372036854775807]", "t");
  EXPECT_TRUE(tree.root().at(0).is(Kind::number));
  EXPECT_EQ(tree.root().at(1).integer(), INT64_MAX);
}

TEST(JsonTree, FaultNamesLineAndColumn) {
  EXPECT_EQ(error_of([] { JsonTree("{\"a\": 1,\n  \"b\" 2}", "m.pt2:models/model.json"); }),
            "m.pt2:models/model.json:2:7: not valid JSON "
            "(the first character that does not fit stands there)");
  EXPECT_EQ(error_of([] { JsonTree("", "t"); }),
            "t:1:1: not valid JSON (the first character that does not fit stands there)");
}

TEST(JsonTree, DeepNestingIsRefused) {
  EXPECT_EQ(error_of([] { JsonTree(std::string(100'000, '['), "t"); }),
            "t: JSON is nested deeper than 200 levels");
}

}  // namespace
}  // namespace parallel_opt
