#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/parse.h"
#include "tests/cli/run_cli.h"
#include "tests/temporary_directory.h"

/// Every flag of every command that plans, with values that nobody means: an answer or one clear
/// refusal, never a broken promise of the program's own (exit code 1).
namespace parallel_opt {
namespace {

constexpr const char* kTinyModel = "transformer:layers=2,hidden=32,heads=2,seq=16,vocab=64";
constexpr const char* kTwoCards = "2xA100-SXM-80GB";

class BadInput : public ::testing::Test {
 protected:
  /// A line that is right but for what a test adds.
  static std::vector<std::string> line_of(const std::string& command) {
    if (command == "hardware") return {"hardware", "--cluster", kTwoCards};
    if (command == "graph") return {"graph", kTinyModel};
    return {command, kTinyModel, "--cluster", kTwoCards};
  }
  static bool names_a_file(const Flag& flag) {
    return flag.value.find("FILE") != std::string::npos ||
           flag.value.find("DIR") != std::string::npos ||
           flag.value.find("PATH") != std::string::npos;
  }

  void expect_answer(const std::vector<std::string>& words) const {
    const CliRun run = run_cli(words);
    std::string line;
    for (const std::string& word : words) line += " '" + word + "'";
    EXPECT_TRUE(run.code == 0 || run.code == 2 || run.code == 3 || run.code == 4 || run.code == 5)
        << run.code << line << "\n"
        << run.err;
    if (run.code == 0 || run.code == 3) return;
    EXPECT_TRUE(run.err.starts_with("error: ") || run.err.find("\nerror: ") != std::string::npos)
        << line << "\n"
        << run.err;
    EXPECT_EQ(run.err.find("internal"), std::string::npos) << line << "\n" << run.err;
  }

  void expect_answers(const std::string& name, std::size_t shift) const {
    const std::vector<std::string> bad = {"",
                                          "-1",
                                          "0",
                                          "nan",
                                          "1e999",
                                          "99999999999999999999",
                                          "9223372036854775807",
                                          "1.5",
                                          "x;y",
                                          "\xff\xfe",
                                          "on",
                                          "inf",
                                          "1=",
                                          "=1",
                                          "5%",
                                          "-5%",
                                          "1e-320"};
    const Command& command = find_command(name);
    for (const Flag& flag : command.flags) {
      // The flags of the line itself are tried alone.
      std::vector<std::string> words = line_of(name);
      if (flag.name == "cluster" || flag.value.empty()) continue;
      if (flag.name == "model") words.erase(words.begin() + 1);
      words.push_back("--" + flag.name);
      words.emplace_back();
      if (names_a_file(flag)) {
        words.back() = "/no/such/directory/file";
        const CliRun run = run_cli(words);
        EXPECT_TRUE(run.code == 2 || run.code == 4)
            << name << " --" << flag.name << ": " << run.code << run.err;
        continue;
      }
      for (std::size_t i = 0; i < 4; ++i) {
        words.back() = bad[shift++ % bad.size()];
        expect_answer(words);
      }
    }
  }
};

TEST_F(BadInput, OfEstimate) { expect_answers("estimate", 0); }
TEST_F(BadInput, OfEstimateWithOtherValues) { expect_answers("estimate", 7); }
TEST_F(BadInput, OfSimulate) { expect_answers("simulate", 0); }
TEST_F(BadInput, OfSimulateWithOtherValues) { expect_answers("simulate", 7); }
TEST_F(BadInput, OfPlan) { expect_answers("plan", 0); }
TEST_F(BadInput, OfPlanWithOtherValues) { expect_answers("plan", 7); }
TEST_F(BadInput, OfGraph) { expect_answers("graph", 0); }
TEST_F(BadInput, OfHardware) { expect_answers("hardware", 0); }

TEST_F(BadInput, ModelsAndClustersThatAreNone) {
  for (const char* nonsense :
       {"", "-", "transformer:", "transformer:layers=-1", "transformer:layers=0,hidden=0",
        "transformer:hidden=64,hidden=32", "transformer:layers=99999999999999999999",
        "transformer:heads=3,hidden=64", "transformer:seq=0", "transformer:colour=red", "gpt:", "/",
        "/dev/null", ".", "a:b:c", "transformer:layers=1,,", "transformer:layers"}) {
    for (const char* command : {"estimate", "graph"}) {
      std::vector<std::string> words = line_of(command);
      words[1] = nonsense;
      expect_answer(words);
    }
  }
  for (const char* nonsense : {"", "0xA100-SXM-80GB", "-1xA100-SXM-80GB", "8x", "x8", "8xB999",
                               "99999999999xA100-SXM-80GB", "/dev/null", ".", "8xA100-SXM-80GB,"}) {
    expect_answer({"hardware", "--cluster", nonsense});
    expect_answer({"estimate", kTinyModel, "--cluster", nonsense});
  }
}

TEST_F(BadInput, FlagsStandOnceAndWithTheirValues) {
  for (const char* name : {"estimate", "simulate", "plan"}) {
    std::vector<std::string> words = line_of(name);
    words.insert(words.end(), {"--cluster", kTwoCards});
    EXPECT_EQ(run_cli(words).code, 2) << name;  // twice
    words = line_of(name);
    words.emplace_back("--global-batch");
    EXPECT_EQ(run_cli(words).code, 2) << name;  // without a value
    words.back() = "--no-such-flag";
    EXPECT_EQ(run_cli(words).code, 2) << name;
    words.back() = "another";
    EXPECT_EQ(run_cli(words).code, 2) << name;
  }
}

TEST_F(BadInput, DocumentsThatAreSomethingElse) {
  const testing::TemporaryDirectory directory;
  const std::string file = directory.path() + "/document.json";
  for (const char* text :
       {"", "{", "[]", "null", "{}", "{\"schema\": \"parallel-opt/plan/1\"}", "\xff\xff",
        "{\"schema\": \"parallel-opt/plan/99\"}", "{\"schema\": 7}", "plain text, no document"}) {
    write_file(file, text);
    for (const char* command : {"report", "explain", "accuracy"}) {
      const CliRun run = run_cli({command, file});
      EXPECT_TRUE(run.code == 2 || run.code == 4)
          << command << ": " << text << ": " << run.code << run.out;
      EXPECT_NE(run.err.find("error: "), std::string::npos) << command << ": " << text;
    }
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"simulate", "--work", file},
          {"estimate", file, "--cluster", kTwoCards},
          {"estimate", kTinyModel, "--cluster", file},
          {"graph", file},
          {"hardware", "--cluster", file}}) {
      const CliRun run = run_cli(words);
      EXPECT_TRUE(run.code == 2 || run.code == 4) << words[0] << ": " << text << ": " << run.code;
    }
  }
}

TEST_F(BadInput, TablesOfActionsMustFitTheModel) {
  const testing::TemporaryDirectory directory;
  const std::string file = directory.path() + "/actions.csv";
  const auto run = [&](const std::string& table, std::vector<std::string> more = {}) {
    write_file(file, table);
    std::vector<std::string> words = {"simulate",       kTinyModel, "--cluster",     kTwoCards,
                                      "--actions",      file,       "--pipeline",    "2",
                                      "--global-batch", "2",        "--micro-batch", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return run_cli(words);
  };
  EXPECT_EQ(run("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n").code, 0);
  const CliRun count = run("0F0,0B0\n1F0,1B0\n");
  EXPECT_EQ(count.code, 2);
  EXPECT_EQ(count.err,
            "error: --actions: the table has 1 micro-batches, the layout 2 (change --global-batch "
            "or --micro-batch)\n");
  for (const char* stages :
       {"0F0,0F1,0B0,0B1\n", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n2F0,2B0,2F1,2B1\n"}) {
    const CliRun fewer = run(stages);
    EXPECT_TRUE(fewer.code == 2 || fewer.code == 4) << fewer.code << fewer.out << fewer.err;
  }
  EXPECT_EQ(run("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n", {"--schedule", "1f1b"}).code, 2);
}

TEST_F(BadInput, SchemasAreListedAndUnknownOnesRefused) {
  const CliRun list = run_cli({"schema"});
  EXPECT_EQ(list.code, 0);
  EXPECT_NE(list.out.find("plan "), std::string::npos);
  const CliRun none = run_cli({"schema", "plam"});
  EXPECT_EQ(none.code, 2);
  EXPECT_EQ(none.err,
            "error: parallel-opt schema: unknown noun \"plam\" (did you mean \"plan\"?)\n");
}

}  // namespace
}  // namespace parallel_opt
