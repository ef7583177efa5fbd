#include "parallel_opt/hardware/quantity.h"

#include <gtest/gtest.h>

#include "parallel_opt/hardware/yaml.h"

namespace parallel_opt {
namespace {

TEST(Quantity, NumbersWithTheirUnits) {
  EXPECT_EQ(parse_bandwidth("400 Gbps")->bytes_per_s, 50e9);
  EXPECT_EQ(parse_bandwidth("400Gbit/s")->bytes_per_s, 50e9);
  EXPECT_EQ(parse_bandwidth(" 1.6 Tbit/s ")->bytes_per_s, 200e9);
  EXPECT_EQ(parse_bandwidth("63 GB/s")->bytes_per_s, 63e9);
  EXPECT_EQ(parse_bandwidth("1 GiB/s")->bytes_per_s, 1073741824.0);
  EXPECT_EQ(parse_duration("5 us")->seconds, 5 * 1e-6);
  EXPECT_EQ(parse_capacity("80 GiB")->bytes, 80 * 1073741824.0);
  EXPECT_EQ(parse_capacity("2TB")->bytes, 2e12);
}

TEST(Quantity, OtherTextIsNone) {
  for (const char* text : {"", "fast", "400", "400 Gb", "Gbps", "nan Gbps", "1e999 Gbps", "1 us"}) {
    EXPECT_EQ(parse_bandwidth(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_duration("5 Gbps"), std::nullopt);
  EXPECT_EQ(parse_capacity("80"), std::nullopt);
}

std::string fault_of(const std::string& json) {
  const JsonDocument document(json, "f.json");
  Bandwidth value;
  std::vector<Fault> faults;
  read_json(document.root(), value, faults);
  return faults.empty() ? "none" : to_string(faults[0]);
}

TEST(Quantity, FaultsSayWhatToWrite) {
  EXPECT_EQ(fault_of("\"400 Gbps\""), "none");
  EXPECT_EQ(fault_of("400"), "f.json: has no unit: 400 (write 400 Gbps or 50 GB/s)");
  EXPECT_EQ(fault_of("\"400 GB\""),
            "f.json: is no number with a unit that fits: \"400 GB\" (write 400 Gbps or 50 GB/s)");
  EXPECT_EQ(fault_of("\"-1 GB/s\""), "f.json: is negative: \"-1 GB/s\"");
  EXPECT_EQ(fault_of("[]"),
            "f.json: expected a number with its unit, as 400 Gbps or 50 GB/s, found a list");
}

#ifdef PARALLEL_OPT_YAML

TEST(Yaml, BecomesJson) {
  EXPECT_EQ(yaml_to_json("a: 1\nb: [x, 2.5, true, ~, \"3\", -4, 8xH100, inf]\nc: {d: e}\n", "y"),
            R"({"a": 1, "b": ["x", 2.5, true, null, "3", -4, "8xH100", "inf"], "c": {"d": "e"}})");
  EXPECT_EQ(yaml_to_json("a: &x {b: 1}\nc: *x\n", "y"), R"({"a": {"b": 1}, "c": {"b": 1}})");
}

std::string yaml_error(const std::string& text) {
  try {
    return yaml_to_json(text, "c.yaml");
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(Yaml, ErrorsHaveLineAndColumn) {
  EXPECT_EQ(yaml_error("a: [1, 2\nb: 3\n"),
            "c.yaml:2:2: end of sequence flow not found (is it YAML?)");
  EXPECT_EQ(yaml_error("? [1, 2]\n: 3\n"), "c.yaml:1:3: names a field by a list or a map");
}

TEST(Yaml, ASecondDocumentIsNotLostInSilence) {
  EXPECT_EQ(yaml_error("a: 1\n---\nb: 2\n"),
            "c.yaml:3:1: begins a second document (keep one, without ---)");
  EXPECT_EQ(yaml_to_json("---\na: 1\n", "y"), R"({"a": 1})");
  EXPECT_EQ(yaml_to_json("", "y"), "null");
}

TEST(Yaml, AliasesCannotExplode) {
  // 10 lists of 10 of each other: 10^10 scalars from a few lines
  std::string text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 9; ++j) text += ", " + before;
    text += "]\n";
  }
  EXPECT_NE(yaml_error(text).find("is too deep or too large (are its aliases circular?)"),
            std::string::npos);
}

#endif

}  // namespace
}  // namespace parallel_opt
