#include "parallel_opt/importers/json_scanner.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/random.h"
#include "parallel_opt/importers/json_tree.h"

namespace parallel_opt {
namespace {

using Token = JsonScanner::Token;

TEST(JsonScanner, TellsEveryTokenAndWhereItBegins) {
  JsonScanner scanner("\xEF\xBB\xBF{\"a\\n\": [-12, 2.5e1,\ttrue, false, null]} x");
  std::vector<Token> tokens;
  std::vector<std::size_t> places;
  do {
    tokens.push_back(scanner.next());
    places.push_back(scanner.place());
    if (tokens.back() == Token::string) {
      EXPECT_EQ(scanner.string(), "a\n");
    }
    if (tokens.back() == Token::integer) {
      EXPECT_EQ(scanner.integer(), -12);
    }
    if (tokens.back() == Token::number) {
      EXPECT_EQ(scanner.number(), 25);
    }
  } while (tokens.back() != Token::wrong && tokens.back() != Token::end);
  const Token comma = Token::comma;
  EXPECT_EQ(tokens, (std::vector<Token>{Token::begin_object, Token::string, Token::colon,
                                        Token::begin_array, Token::integer, comma, Token::number,
                                        comma, Token::yes, comma, Token::no, comma, Token::null,
                                        Token::end_array, Token::end_object, Token::wrong}));
  // The mark takes three bytes; the last is the "x".
  EXPECT_EQ(places, (std::vector<std::size_t>{3, 4, 9, 11, 12, 15, 17, 22, 24, 28, 30, 35, 37, 41,
                                              42, 44}));
}

TEST(JsonScanner, WholeNumbersBeyondInt64AreFloating) {
  const auto number = [](const char* text) {
    JsonScanner scanner(text);
    return scanner.next() == Token::number ? scanner.number() : -1;
  };
  EXPECT_EQ(number("9223372036854775808"), 9223372036854775808.0);
  EXPECT_EQ(number("1e-400"), 0);
  EXPECT_EQ(JsonScanner("1e400").next(), Token::wrong);
}

using Read = std::optional<nlohmann::json>;

/// What our tree and nlohmann-json, which nobody here wrote, make of a text.
std::pair<Read, Read> read_twice(const std::string& text) {
  Read ours, theirs;
  try {
    ours = nlohmann::json::parse(JsonTree(text, "t").root().dump());
  } catch (const InputError&) {
    ours = std::nullopt;
  }
  const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_discarded()) theirs = value;
  return {ours, theirs};
}

TEST(JsonScanner, ReadsWhatNlohmannReads) {
  const std::vector<std::string> texts = {
      R"("\ud83d\ude00 \u00e9 \u20ac \" \\ \/ \b\f\n\r\t")",
      "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
      "\"\xc0\x80\"",          // two bytes for one
      "\"\xe0\x80\x80\"",      // three bytes for one
      "\"\xed\xa0\x80\"",      // half of a pair
      "\"\xf4\x90\x80\x80\"",  // beyond Unicode
      "\"\xe2\x82\"",
      "\"\x80\"",
      R"("\ud83d")",
      R"("\ud83dx")",
      R"("\ude00")",
      R"("\ud83d\u0041")",
      R"("\u12")",
      R"("\u+123")",
      R"("\x")",
      "\"a\nb\"",
      "\"open",
      "01",
      "-",
      "-0",
      "-0.0",
      "1.",
      ".5",
      "+1",
      "1e",
      "1e+",
      "1E+2",
      "0x10",
      "truth",
      "nul",
      "[1 2]",
      "[1,]",
      "[,1]",
      "{\"a\"}",
      "{\"a\":}",
      "{1: 2}",
      "{\"a\": 1,}",
      "[}",
      "{]",
      "]",
      "[[]",
      "[] []",
      " \t\r\n[]\n",
      "\f[]",
      "",
  };
  for (const std::string& text : texts) {
    const auto [ours, theirs] = read_twice(text);
    EXPECT_EQ(ours, theirs) << text;
  }
}

TEST(JsonScanner, ReadsWhatNlohmannReadsAfterAnyChange) {
  const std::string whole =
      "{\"a\": [1, -2.5e-3, \"x\\u00e9\\n\", {\"b\": null, \"c\": true}], \"d\": \"\xc3\xa9\"}";
  const std::string bytes = "{}[]:,\"\\u0129eE+-. tfnrls\x80\xc3\xe2\n";
  Random random(7);
  int valid = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = whole;
    for (std::size_t change = 0; change <= random.next() % 2; ++change) {
      const std::size_t at = random.next() % text.size();
      const char byte = bytes[random.next() % bytes.size()];
      if (random.next() % 3 == 0) {
        text.erase(at, 1);
      } else if (random.next() % 2 == 0) {
        text.insert(at, 1, byte);
      } else {
        text[at] = byte;
      }
    }
    const auto [ours, theirs] = read_twice(text);
    // A member that stands twice is a fault of ours, and the last of them counts in the other.
    if (!ours && theirs) {
      try {
        const JsonTree tree(text, "t");
      } catch (const InputError& e) {
        EXPECT_NE(std::string(e.what()).find("stands twice"), std::string::npos) << text;
      }
      continue;
    }
    EXPECT_EQ(ours, theirs) << text;
    valid += ours ? 1 : 0;
  }
  EXPECT_GT(valid, 1000);
}

}  // namespace
}  // namespace parallel_opt
