#include <gtest/gtest.h>

#include <set>

#include "parallel_opt/cli/parse.h"
#include "parallel_opt/cli/schemas.h"
#include "tests/cli/golden.h"
#include "tests/cli/run_cli.h"

namespace parallel_opt {
namespace {

TEST(Help, OfTheProgramIsTheGoldenOne) {
  const CliRun run = run_cli({"--help"});
  EXPECT_EQ(run.code, 0);
  EXPECT_EQ(run.err, "");
  expect_golden("tests/cli/golden/parallel-opt.txt", run.out);
}

TEST(Help, OfEveryCommandIsTheGoldenOne) {
  for (const Command& command : commands()) {
    const CliRun run = run_cli({command.name, "--help"});
    EXPECT_EQ(run.code, 0) << command.name;
    EXPECT_EQ(run.err, "") << command.name;
    expect_golden("tests/cli/golden/" + command.name + ".txt", run.out);
    EXPECT_EQ(run_cli({"help", command.name}).out, run.out);
  }
}

TEST(Help, WithoutACommandGoesToStderrWithExitCode2) {
  const CliRun run = run_cli({});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err, help_text());
}

TEST(Help, LinesFitAndCommandsAreWellFormed) {
  for (const Command& command : commands()) {
    for (const std::string& line : split(help_text(command), '\n')) {
      EXPECT_LE(line.size(), 110u) << command.name << ": " << line;
    }
    EXPECT_TRUE(command.summary.ends_with('.')) << command.name;
    std::set<std::string> names;
    for (const Flag& flag : command.flags) {
      EXPECT_TRUE(names.insert(flag.name).second) << command.name << " --" << flag.name;
      EXPECT_FALSE(flag.doc.empty()) << command.name << " --" << flag.name;
    }
    for (const Flag& flag : common_flags()) {
      EXPECT_TRUE(names.insert(flag.name).second) << command.name << " --" << flag.name;
    }
  }
}

TEST(Schemas, FilesEqualTheGeneratedOnes) {
  for (const DocumentSchema& schema : document_schemas()) {
    expect_golden("schema/" + schema.noun + ".json", schema.text());
    EXPECT_EQ(run_cli({"schema", schema.noun}).out, schema.text());
  }
}

TEST(Schemas, NameTheirNounAndAreSorted) {
  std::string last;
  for (const DocumentSchema& schema : document_schemas()) {
    const JsonDocument document(schema.text(), schema.noun);
    const auto id = document.root().find("properties")->find("schema")->find("const");
    EXPECT_EQ(id->string(), "parallel-opt/" + schema.noun + "/1");
    EXPECT_LT(last, schema.noun);
    last = schema.noun;
  }
}

}  // namespace
}  // namespace parallel_opt
