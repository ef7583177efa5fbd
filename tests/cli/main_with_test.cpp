#include "parallel_opt/cli/main_with.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "parallel_opt/base/version.h"
#include "parallel_opt/cli/parse.h"
#include "tests/cli/run_cli.h"

namespace parallel_opt {
namespace {

using ::testing::HasSubstr;

struct WrongLine {
  std::vector<std::string> args;
  std::string error;
};

TEST(Cli, WrongCommandLinesSayWhatIsWrongAndExitWith2) {
  const std::vector<WrongLine> cases = {
      {{"schmea"}, "error: parallel-opt: unknown command schmea (did you mean schema?)\n"},
      {{"zzzzzzzz"}, "error: parallel-opt: unknown command zzzzzzzz (see parallel-opt --help)\n"},
      {{"--jsn"}, "error: parallel-opt: unknown flag --jsn (see parallel-opt --help)\n"},
      {{"version", "--jsn"},
       "error: parallel-opt version: unknown flag --jsn (did you mean --json?)\n"},
      {{"version", "--jsn=1"},
       "error: parallel-opt version: unknown flag --jsn (did you mean --json?)\n"},
      {{"version", "-x"}, "error: parallel-opt version: unknown flag -x (did you mean -q?)\n"},
      {{"version", "more"},
       "error: parallel-opt version: superfluous argument \"more\" (see parallel-opt version "
       "--help)\n"},
      {{"version", "--quiet=3"},
       "error: parallel-opt version: --quiet takes no value (leave the value out)\n"},
      {{"version", "--quiet", "--verbose"},
       "error: parallel-opt version: --quiet and --verbose exclude each other (keep one)\n"},
      {{"schema", "plna"},
       "error: parallel-opt schema: unknown noun \"plna\" (did you mean \"plan\"?)\n"},
  };
  for (const WrongLine& wrong : cases) {
    const CliRun run = run_cli(wrong.args);
    EXPECT_EQ(run.code, 2) << wrong.error;
    EXPECT_EQ(run.out, "") << wrong.error;
    EXPECT_EQ(run.err, wrong.error);
  }
}

TEST(Cli, WithJsonAnErrorIsADocumentToo) {
  const CliRun run = run_cli({"version", "more", "--json"});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.out, R"({
  "schema": "parallel-opt/error/1",
  "errors": [
    {
      "where": "parallel-opt version",
      "what": "superfluous argument \"more\"",
      "hint": "see parallel-opt version --help"
    }
  ]
}
)");
  EXPECT_THAT(run.err, HasSubstr("error: parallel-opt version: superfluous argument"));
}

TEST(Cli, VersionIsPrintedInEveryWay) {
  const std::string text = "parallel-opt " + std::string(kVersion) + "\n";
  EXPECT_EQ(run_cli({"version"}).out, text);
  EXPECT_EQ(run_cli({"--version"}).out, text);
  EXPECT_EQ(run_cli({"-V"}).out, text);
  EXPECT_THAT(run_cli({"version", "--json"}).out,
              ::testing::StartsWith("{\n  \"schema\": \"parallel-opt/version/1\",\n"));
}

TEST(Cli, AFullDiskIsNoSuccess) {
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  EXPECT_EQ(main_with({"version"}, out, err), 4);
  EXPECT_EQ(err.str(), "error: standard output: cannot be written (is the disk full?)\n");
}

// A command like ours, to look at the parser alone.
Command example(std::string passes_on = "") {
  return {.name = "plan",
          .summary = "Plan.",
          .arguments = {{"MODEL", "a model", false}},
          .flags = {{"cluster", "NAME", "where"},
                    {"batch", "N", "how many"},
                    {"output", "FILE", "", 'o'}},
          .passes_on = std::move(passes_on)};
}

std::string parse_error_of(const std::vector<std::string>& words) {
  try {
    (void)parse_args(example(), words);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(ParseArgs, ReadsFlagsInEverySpelling) {
  const Args args = parse_args(example(), {"m.pt2", "--cluster=local", "--batch", "8", "-ofile"});
  EXPECT_EQ(args.values,
            (std::map<std::string, std::string>{
                {"MODEL", "m.pt2"}, {"cluster", "local"}, {"batch", "8"}, {"output", "file"}}));
}

TEST(ParseArgs, NamesTheFlagAtFault) {
  EXPECT_EQ(parse_error_of({"--cluster"}),
            "parallel-opt plan: --cluster needs a value (--cluster NAME)");
  EXPECT_EQ(parse_error_of({"--cluster", "--batch", "2"}),
            "parallel-opt plan: --cluster needs a value (--cluster NAME)");
  EXPECT_EQ(parse_error_of({"--batch", "1", "--batch=2"}),
            "parallel-opt plan: --batch is given twice (keep one)");
  EXPECT_EQ(parse_error_of({"--clutser", "local"}),
            "parallel-opt plan: unknown flag --clutser (did you mean --cluster?)");
  EXPECT_EQ(parse_error_of({"a", "b"}),
            "parallel-opt plan: superfluous argument \"b\" (see parallel-opt plan --help)");
}

TEST(ParseArgs, ARequiredArgumentIsAskedFor) {
  Command command = example();
  command.arguments[0].required = true;
  try {
    (void)parse_args(command, {});
    FAIL() << "accepted";
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "parallel-opt plan: MODEL is missing (a model)");
  }
  EXPECT_NO_THROW((void)parse_args(command, {"--help"}));
}

TEST(ParseArgs, WhatFollowsAScriptBelongsToTheScript) {
  Command command = example("SCRIPT [ARGS]");
  command.arguments.clear();
  const Args args =
      parse_args(command, {"--batch", "2", "train.py", "--batch", "9", "--help", "-x"});
  EXPECT_EQ(args.get("batch"), "2");
  EXPECT_FALSE(args.has("help"));
  EXPECT_EQ(args.rest, (std::vector<std::string>{"train.py", "--batch", "9", "--help", "-x"}));
  EXPECT_THROW((void)parse_args(command, {"--bacth", "2", "train.py"}), UsageError);
}

template <class Get>
std::string value_error_of(const std::string& value, Get get) {
  Args args;
  args.values["x"] = value;
  try {
    get(args);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Args, ValuesAreCheckedByKind) {
  const auto whole = [](const Args& a) { return a.whole("x", 1); };
  const auto positive = [](const Args& a) { return a.positive("x"); };
  const auto bytes = [](const Args& a) { return a.bytes("x"); };
  const auto fraction = [](const Args& a) { return a.fraction("x"); };
  const auto on_off = [](const Args& a) { return a.on_off("x"); };
  EXPECT_EQ(value_error_of("0", whole), "--x: \"0\" is not a whole number of at least 1");
  EXPECT_EQ(value_error_of("1.5", whole), "--x: \"1.5\" is not a whole number of at least 1");
  EXPECT_EQ(value_error_of("99999999999999999999", whole),
            "--x: \"99999999999999999999\" is not a whole number of at least 1");
  EXPECT_EQ(value_error_of("inf", positive), "--x: \"inf\" is not a number above 0");
  EXPECT_EQ(value_error_of("12 apples", bytes),
            "--x: \"12 apples\" is not a size (write 38GiB, 512MB or bytes)");
  EXPECT_EQ(value_error_of("10", bytes),
            "--x: \"10\" without a unit is 10 B (say 10GiB, or 10B if bytes are meant)");
  EXPECT_EQ(value_error_of("10B", bytes), "accepted");
  EXPECT_EQ(value_error_of("0.5KiB", bytes), "accepted");
  EXPECT_EQ(value_error_of("1048576", bytes), "accepted");
  EXPECT_EQ(value_error_of("-1%", fraction), "--x: \"-1%\" is not a share (write 5% or 0.05)");
  EXPECT_EQ(value_error_of("%", fraction), "--x: \"%\" is not a share (write 5% or 0.05)");
  EXPECT_EQ(value_error_of("onn", on_off),
            "--x: unknown value \"onn\" (did you mean \"on\"? known: on, off)");
}

TEST(Args, ValuesAreRead) {
  Args args;
  args.values = {{"n", "8"}, {"p", "0.5"}, {"b", "2GiB"}, {"f", "5%"}, {"g", "0.05"}, {"o", "off"}};
  EXPECT_EQ(args.whole("n", 1), 8);
  EXPECT_EQ(args.positive("p"), 0.5);
  EXPECT_EQ(args.bytes("b"), Bytes(2LL << 30));
  EXPECT_EQ(args.fraction("f"), 0.05);
  EXPECT_EQ(args.fraction("g"), 0.05);
  EXPECT_EQ(args.on_off("o"), false);
  EXPECT_EQ(args.whole("absent", 1), std::nullopt);
  EXPECT_EQ(args.get_or("absent", "x"), "x");
}

}  // namespace
}  // namespace parallel_opt
