#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/parse.h"
#include "parallel_opt/plan/plan.h"
#include "tests/cli/run_cli.h"
#include "tests/importers/archive.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

/// Words of every "$ parallel-opt ..." line of the pages, without the program's name and comments.
std::vector<std::vector<std::string>> documented_lines() {
  std::vector<std::vector<std::string>> lines;
  for (const char* page : {"/README.md", "/docs/cli.md", "/docs/analysis.md", "/docs/accuracy.md",
                           "/docs/simulate.md"}) {
    for (const std::string& line :
         split(read_file(PARALLEL_OPT_SOURCE_DIR + std::string(page)), '\n')) {
      if (!line.starts_with("$ parallel-opt ")) continue;
      std::vector<std::string> words = split(trim(line.substr(0, line.find(" # "))), ' ');
      lines.emplace_back(words.begin() + 2, words.end());
    }
  }
  return lines;
}

TEST(Docs, EveryCommandLineIsAccepted) {
  const std::vector<std::vector<std::string>> lines = documented_lines();
  EXPECT_GE(lines.size(), 19u);  // 8 of the README, 11 and more of docs/
  for (const std::vector<std::string>& words : lines) {
    const Command& command = find_command(words.at(0));
    EXPECT_NO_THROW((void)parse_args(command, {words.begin() + 1, words.end()})) << words[0];
  }
}

/// In a directory of its own with a small model.pt2, and measurements of no one else.
class DocsRun : public ::testing::Test {
 protected:
  DocsRun() : before(std::filesystem::current_path()) {
    std::filesystem::current_path(dir);
    ::setenv("PARALLEL_OPT_CACHE", (dir + "/cache").c_str(), 1);
    std::filesystem::create_directory_symlink(PARALLEL_OPT_SOURCE_DIR "/validation", "validation");
    write_file("model.pt2", testing::make_pt2(testing::linear_model().json()));
    write_file("config.json", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
      "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
      "num_attention_heads": 8, "vocab_size": 100, "max_position_embeddings": 8192,
      "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false})");
    const std::string page = read_file(PARALLEL_OPT_SOURCE_DIR "/docs/simulate.md");
    const std::size_t from = page.find("```json\n") + 8;
    write_file("work.json", page.substr(from, page.find("```", from) - from));
    std::string table;
    for (const char* stage : {"0", "1", "2", "3"}) {
      table += std::string(stage) + "F0," + stage + "B0\n";
    }
    write_file("table.csv", table);
  }
  ~DocsRun() override {
    ::unsetenv("PARALLEL_OPT_CACHE");
    std::filesystem::current_path(before);
  }
  std::filesystem::path before;
  testing::TemporaryDirectory directory;
  const std::string& dir = directory.path();
};

TEST_F(DocsRun, EveryLineRunsInOrder) {
  for (const std::vector<std::string>& words : documented_lines()) {
    const CliRun run =
        run_cli(words, {{0, R"({"version": "3.11.2", "torch": "2.13.0", "package": "1",
                                              "header": true, "compiler": true})"}});
    if (words[0] != "run") {  // that prints what a script prints
      EXPECT_NE(run.out, "") << words[0];
    }
    // A machine that lacks something has its doctor say so with 5.
    EXPECT_TRUE(run.code == 0 || words[0] == "doctor") << join(words, " ") << "\n" << run.err;
  }
}

TEST_F(DocsRun, APlanIsTheSameBytesAgainAndRemembersItsQuestion) {
  ASSERT_EQ(run_cli({"plan", "--model", "model.pt2", "--steps", "1000", "-o", "a.json"}).code, 0);
  ASSERT_EQ(run_cli({"plan", "--model", "model.pt2", "--steps", "1000", "-o", "b.json"}).code, 0);
  EXPECT_EQ(read_file("a.json"), read_file("b.json"));
  const Plan plan = from_json<Plan>(read_file("a.json"), "a.json");
  EXPECT_EQ(plan.provenance.model_source, "model.pt2");
  EXPECT_EQ(plan.provenance.cluster_source, "local");
  EXPECT_EQ(plan.provenance.job->steps, 1000);
}

TEST_F(DocsRun, WhereNoPlanFitsTheExitCodeIs3AndTheReasonIsTold) {
  const CliRun run =
      run_cli({"plan", "--model", "model.pt2", "--memory-limit", "1B", "--json", "-o", "p.json"});
  EXPECT_EQ(run.code, 3);
  EXPECT_TRUE(run.err.starts_with("error: plan: Memory: ")) << run.err;
  EXPECT_EQ(JsonDocument(run.out, "out").root().find("plan"), std::nullopt);
  // Absent is absent: nothing is proven where there is no plan, and only the chosen plan has a
  // proof.
  for (const char* absent : {"lower_bound_s", "\"gap\"", "certificate", "model_source"}) {
    EXPECT_EQ(run.out.find(absent), std::string::npos) << absent;
  }
  EXPECT_FALSE(std::filesystem::exists("p.json"));
}

TEST_F(DocsRun, OnlyTheChosenPlanHasACertificateAndASource) {
  const CliRun run = run_cli({"plan", "--model", "model.pt2", "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto count = [&](const std::string& text) {
    int n = 0;
    for (std::size_t at = 0; (at = run.out.find(text, at)) != std::string::npos; ++at) ++n;
    return n;
  };
  EXPECT_EQ(count("\"model_source\""), 1);
  EXPECT_EQ(count("\"status\": \"\""), 0);
}

TEST_F(DocsRun, DoctorLeavesOutWhatIsAbsent) {
  const CliRun run =
      run_cli({"doctor", "--json"}, {{0, R"({"version": "3.11.2", "torch": "2.13.0", "package": "1",
                                      "header": true, "compiler": true})"}});
  EXPECT_EQ(run.out.find("\"costs\": \"\""), std::string::npos);
  EXPECT_EQ(run.out.find("\"remedy\": \"\""), std::string::npos);
}

TEST_F(DocsRun, AWishThatIsNoneIsAUsageError) {
  ASSERT_EQ(run_cli({"plan", "--model", "model.pt2", "-o", "plan.json"}).code, 0);
  const CliRun run = run_cli({"explain", "plan.json", "--why-not", "compil=on"});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(
      run.err,
      "error: --why-not: \"compil\" is nothing that a plan chooses (did you mean compile?)\n");
}

TEST_F(DocsRun, AnOutputGoesIntoADirectoryThatIsThere) {
  const CliRun run = run_cli({"plan", "--model", "model.pt2", "-o", "none/plan.json"});
  EXPECT_EQ(run.code, 4);
  EXPECT_EQ(run.err,
            "error: none/plan.json: there is no directory none (make it, or name another)\n");
  EXPECT_FALSE(std::filesystem::exists("none"));
}

TEST_F(DocsRun, APlanForAnotherMachineIsRefused) {
  ASSERT_EQ(run_cli({"plan", "--model", "model.pt2", "-o", "plan.json"}).code, 0);
  const CliRun run =
      run_cli({"explain", "plan.json", "--why-not", "compile=on", "--cluster", "8xH100-SXM-80GB"});
  EXPECT_EQ(run.code, 4);
  EXPECT_NE(run.err.find("hardware"), std::string::npos) << run.err;
}

TEST(Docs, ExamplesOfTheHelpAreAccepted) {
  for (const Command& command : commands()) {
    for (const std::string& example : command.examples) {
      const std::vector<std::string> words = split(example, ' ');
      ASSERT_EQ(words.at(0), "parallel-opt") << example;
      const Command& named = find_command(words.at(1));
      EXPECT_NO_THROW((void)parse_args(named, {words.begin() + 2, words.end()})) << example;
    }
  }
}

}  // namespace
}  // namespace parallel_opt
