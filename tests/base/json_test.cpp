#include "parallel_opt/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/random.h"
#include "parallel_opt/base/uncertain.h"

namespace parallel_opt {
namespace {

using ::testing::HasSubstr;

struct Inner {
  OpId op;
  DType dtype = DType::fp32;
  bool operator==(const Inner&) const = default;
};

struct Outer {
  std::int64_t count = 0;
  int small = 0;
  double ratio = 0;
  std::optional<double> maybe;
  bool on = false;
  std::string name = "none";
  Bytes size_bytes;
  std::vector<Inner> inners;
  std::map<std::string, double> rates;
  std::vector<std::optional<double>> losses;
  bool operator==(const Outer&) const = default;
};

template <class Visitor, class T>
  requires SameAs<T, Inner>
void fields(Visitor& visit, T& inner) {
  visit("op", inner.op, "an index");
  visit.optional("dtype", inner.dtype, "an element type");
}

template <class Visitor, class T>
  requires SameAs<T, Outer>
void fields(Visitor& visit, T& outer) {
  visit.schema("parallel-opt/outer/3");
  visit("count", outer.count, "a whole number");
  visit.optional("small", outer.small, "a small whole number");
  visit.optional("ratio", outer.ratio, "a number");
  visit("maybe", outer.maybe, "a number or nothing");
  visit.optional("on", outer.on, "a switch");
  visit.optional("name", outer.name, "text");
  visit.optional("size_bytes", outer.size_bytes, "bytes");
  visit.optional("inners", outer.inners, "a list");
  visit.optional("rates", outer.rates, "a map");
  visit.optional("losses", outer.losses, "numbers, null where there is none");
}

std::string outer_error(std::string_view text) {
  try {
    (void)from_json<Outer>(text, "outer.json");
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

Outer example() {
  Outer outer;
  outer.count = -7;
  outer.small = 3;
  outer.ratio = 0.1;
  outer.maybe = 2.5;
  outer.on = true;
  outer.name = "a \"b\"\n\xc3\xa9";
  outer.size_bytes = Bytes(std::int64_t{1} << 53);
  outer.inners = {{OpId(4), DType::bf16}};
  outer.rates = {{"x", 1.0}};
  outer.losses = {1.5, std::nullopt};
  return outer;
}

TEST(Json, AStructReadsBackEqual) {
  const Outer outer = example();
  EXPECT_EQ(from_json<Outer>(to_json(outer), "outer.json"), outer);
  EXPECT_EQ(from_json<Outer>(to_json(outer, 0), "outer.json"), outer);
}

TEST(Json, TextIsExactlyThis) {
  EXPECT_EQ(to_json(example(), 0),
            R"({"schema": "parallel-opt/outer/3", "count": -7, "small": 3, "ratio": 0.1, )"
            R"("maybe": 2.5, "on": true, "name": "a \"b\"\né", "size_bytes": 9007199254740992, )"
            R"("inners": [{"op": 4, "dtype": "bf16"}], "rates": {"x": 1}, "losses": [1.5, null]})"
            "\n");
}

TEST(Json, IndentedTextPutsOneMemberPerLine) {
  EXPECT_EQ(to_json(Inner{OpId(1), DType::fp32}), "{\n  \"op\": 1,\n  \"dtype\": \"fp32\"\n}\n");
  JsonWriter empty;
  empty.begin_object();
  empty.key("list");
  empty.begin_array();
  empty.end_array();
  empty.end_object();
  EXPECT_EQ(empty.text(), "{\n  \"list\": []\n}");
}

TEST(Json, AbsentIsAbsentAndDefaultsAreKept) {
  const Outer outer = from_json<Outer>(R"({"schema": "parallel-opt/outer/3", "count": 1})", "f");
  EXPECT_EQ(outer.maybe, std::nullopt);
  EXPECT_EQ(outer.name, "none");
  EXPECT_THAT(to_json(outer), ::testing::Not(HasSubstr("maybe")));
}

TEST(Json, EveryFaultIsNamedWithItsPath) {
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1.5, "on": 1,
                         "inners": [{"op": 1}, {"op": "x", "dtype": "fp31"}],
                         "rates": {"a": "fast"}})"),
            "outer.json:count: expected a whole number, found a number\n"
            "outer.json:on: expected true or false, found a whole number\n"
            "outer.json:inners[1].op: expected a whole number, found a string\n"
            "outer.json:inners[1].dtype: unknown value \"fp31\" (known: bool, u8, u16, u32, u64, "
            "i8, i16, i32, i64, fp8_e4m3fn, fp8_e4m3fnuz, fp8_e5m2, fp8_e5m2fnuz, fp8_e8m0fnu, "
            "fp16, bf16, fp32, fp64, complex32, complex64, complex128)\n"
            "outer.json:rates.a: expected a number, found a string");
}

TEST(Json, UnknownFieldNamesTheNearestOne) {
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "ration": 2})"),
            "outer.json: unknown field \"ration\" (did you mean \"ratio\"?)");
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "inners": [{"op": 1,
                         "zzzzzzzz": 2}]})"),
            "outer.json:inners[0]: unknown field \"zzzzzzzz\" (known: op, dtype)");
}

TEST(Json, MissingFieldIsNamed) {
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3"})"),
            "outer.json: field \"count\" is missing");
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": null})"),
            "outer.json: field \"count\" is missing");
}

TEST(Json, SchemaMustBeThereAndKnown) {
  EXPECT_EQ(outer_error(R"({"count": 1})"),
            "outer.json: field \"schema\" is missing (this file should start with \"schema\": "
            "\"parallel-opt/outer/3\")");
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/4", "count": 1})"),
            "outer.json:schema: version 4 is newer than the known version 3 (update parallel_opt)");
  for (const char* id : {"parallel-opt/plan/3", "outer", "parallel-opt/outer/3x",
                         "parallel-opt/outer/0", "parallel-opt/outer/99999999999"}) {
    EXPECT_EQ(outer_error(std::string(R"({"schema": ")") + id + R"(", "count": 1})"),
              std::string("outer.json:schema: is \"") + id +
                  "\", expected \"parallel-opt/outer/3\" (is this the right file?)");
  }
}

TEST(Json, AnOlderVersionOfTheSchemaIsRead) {
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/2", "count": 1})"), "accepted");
}

TEST(Json, BrokenTextIsLocatedByLineAndColumn) {
  EXPECT_EQ(outer_error("{\n  \"count\": 1,\n  oops\n}"),
            "outer.json:3:3: not valid JSON (the first character that does not fit stands there)");
  EXPECT_EQ(outer_error(""),
            "outer.json:1:1: not valid JSON (the first character that does not fit stands there)");
  EXPECT_THAT(outer_error("{} {}"), HasSubstr("outer.json:1:4: not valid JSON"));
  EXPECT_THAT(outer_error("{\"a\": NaN}"), HasSubstr("outer.json:1:7: not valid JSON"));
  EXPECT_THAT(outer_error("{\"name\": \"\xff\"}"), HasSubstr("not valid JSON"));
}

TEST(Json, WrongRootNamesTheFileAlone) {
  EXPECT_EQ(outer_error("[1]"), "outer.json: expected an object, found a list");
  EXPECT_EQ(outer_error("null"), "outer.json: expected an object, found null");
}

TEST(Json, AFieldThatStandsTwiceIsRefused) {
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "count": 2})"),
            "outer.json: field \"count\" stands twice in one object (keep one)");
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "rates": {"count": 2}})"),
            "accepted");
}

TEST(Json, AWholeNumberMayHaveAnExponentOrAPoint) {
  const auto count_of = [](const std::string& number) {
    return from_json<Outer>(R"({"schema": "parallel-opt/outer/3", "count": )" + number + "}", "f")
        .count;
  };
  EXPECT_EQ(count_of("1e6"), 1'000'000);
  EXPECT_EQ(count_of("-2.50e1"), -25);
  EXPECT_EQ(count_of("5.0"), 5);
  EXPECT_EQ(count_of("9.007199254740992e15"), std::int64_t{1} << 53);
  // Beyond 2^53 it may be another number than the one that is written.
  for (const char* number : {"1e19", "9.1e15", "1e-1", "1000.5"}) {
    EXPECT_EQ(
        outer_error(R"({"schema": "parallel-opt/outer/3", "count": )" + std::string(number) + "}"),
        "outer.json:count: expected a whole number, found a number");
  }
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "small": 1e10})"),
            "outer.json:small: 10000000000 is out of range (from -2147483648 to 2147483647)");
}

TEST(Json, NumbersOutOfRangeAreRefused) {
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "small": 4294967296})"),
            "outer.json:small: 4294967296 is out of range (from -2147483648 to 2147483647)");
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 9223372036854775808})"),
            "outer.json:count: expected a whole number, found a number");
  EXPECT_EQ(outer_error(R"({"schema": "parallel-opt/outer/3", "count": 1, "ratio": 1e999})"),
            "outer.json: a number is too large for a 64-bit floating number (the largest is "
            "1.8e308)");
}

TEST(Json, DeepNestingDoesNotExhaustTheStack) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_EQ(outer_error(deep), "outer.json: expected an object, found a list");
}

TEST(Json, DoublesReadBackBitForBit) {
  Random random(7);
  std::vector<double> values = {0.1,
                                1.0 / 3,
                                5e-324,
                                1.7976931348623157e308,
                                2.2250738585072014e-308,
                                1e22,
                                123456789012345678.0,
                                -1.5};
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t bits = random.next();
    double value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) values.push_back(value);
  }
  JsonWriter out(0);
  write_json(out, values);
  EXPECT_EQ(from_json<std::vector<double>>(out.text(), "doubles"), values);
}

TEST(Json, DoublesAreShortest) {
  JsonWriter out(0);
  write_json(out, std::vector<double>{0.1, 500000, -3e14, 1e15, 1e300, 2.5e-7, 1.0 / 3});
  EXPECT_EQ(out.text(),
            "[0.1, 500000, -300000000000000, 1e+15, 1e+300, 2.5e-07, 0.3333333333333333]");
}

TEST(Json, WhatJsonCannotHoldBecomesNull) {
  JsonWriter out(0);
  write_json(out, std::vector<double>{std::nan(""), std::numeric_limits<double>::infinity()});
  EXPECT_EQ(out.text(), "[null, null]");
}

TEST(Json, ALiteralIsTextNotTrue) {
  JsonWriter out(0);
  out.value("text");
  EXPECT_EQ(out.text(), "\"text\"");
}

TEST(Json, BytesThatAreNoUtf8AreReplaced) {
  JsonWriter out(0);
  write_json(out, std::map<std::string, std::string>{{"\xff", "\xfe"}});
  EXPECT_EQ(out.text(), "{\"\xef\xbf\xbd\": \"\xef\xbf\xbd\"}");
}

TEST(Json, RawTextIsPlacedWithItsIndent) {
  const auto with = [](int indent) {
    JsonWriter out(indent);
    out.begin_object();
    out.key("plan");
    out.raw("{\n  \"a b\": 1\n}\n");
    out.key("next");
    out.value(true);
    out.end_object();
    return out.text();
  };
  EXPECT_EQ(with(2), "{\n  \"plan\": {\n    \"a b\": 1\n  },\n  \"next\": true\n}");
  EXPECT_EQ(with(0), "{\"plan\": {\"a b\": 1}, \"next\": true}");
}

TEST(Json, SchemaNamesTypesDocsAndRequiredFields) {
  EXPECT_EQ(
      schema_of<Inner>("one"),
      R"({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "description": "one",
  "type": "object",
  "properties": {
    "op": {
      "description": "an index",
      "type": "integer"
    },
    "dtype": {
      "description": "an element type",
      "enum": [)" +
          [] {
            std::string names;
            for (const auto name : enum_names(DType{})) {
              if (!names.empty()) names += ',';
              names += "\n        \"" + std::string(name) + "\"";
            }
            return names;
          }() +
          R"(
      ]
    }
  },
  "required": [
    "op"
  ],
  "additionalProperties": false
}
)");
  const std::string schema = schema_of<Outer>();
  EXPECT_THAT(schema, HasSubstr("\"const\": \"parallel-opt/outer/3\""));
  EXPECT_THAT(schema, HasSubstr("\"required\": [\n    \"schema\",\n    \"count\"\n  ]"));
  EXPECT_THAT(schema, HasSubstr("\"anyOf\": ["));
  (void)JsonDocument(schema, "schema");  // is JSON itself
}

TEST(Json, ViewsKeepFileOrderAndPaths) {
  const JsonDocument document(R"({"z": [1, {"y": 2}], "a": "t"})", "f.json");
  const auto members = document.root().members();
  ASSERT_EQ(members.size(), 2u);
  EXPECT_EQ(members[0].first, "z");
  EXPECT_EQ(members[0].second.at(1).find("y")->path(), "f.json:z[1].y");
  EXPECT_EQ(members[0].second.dump(), R"([1,{"y":2}])");
  EXPECT_EQ(document.root().find("none"), std::nullopt);
  EXPECT_EQ(document.root().path(), "f.json");
}

TEST(Json, EnumNamesAndValuesAgree) {
  for (std::size_t i = 0; i < enum_names(DType{}).size(); ++i) {
    EXPECT_EQ(enum_from<DType>(name_of(static_cast<DType>(i))), static_cast<DType>(i));
  }
  EXPECT_EQ(enum_from<DType>("float"), std::nullopt);
}

TEST(Uncertain, SumsAreAsGoodAsTheWorstPart) {
  const Uncertain sum = within(2, 0.5, Quality::measured) + within(4, 0.25, Quality::database);
  EXPECT_EQ(sum, (Uncertain{6, 1 + 3, 3 + 5, Quality::database}));
  EXPECT_EQ(exact(3) * 2, (Uncertain{6, 6, 6, Quality::measured}));
  EXPECT_EQ(to_json(exact(1.5), 0),
            "{\"value\": 1.5, \"low\": 1.5, \"high\": 1.5, \"quality\": \"measured\"}\n");
}

}  // namespace
}  // namespace parallel_opt
