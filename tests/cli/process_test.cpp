#include "parallel_opt/cli/process.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

TEST(Processes, OutputAndExitCodeComeBack) {
  const Processes real = system_processes();
  const ProcessResult result = real.run({"sh", "-c", "printf 'a b'; exit 3"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.output, "a b");
}

TEST(Processes, AMissingProgramIs127AndAKilledOne128PlusSignal) {
  const Processes real = system_processes();
  EXPECT_EQ(real.run({"/no/such/program"}).exit_code, 127);
  EXPECT_EQ(real.replace({"/no/such/program"}), 127);
  EXPECT_EQ(real.run({"sh", "-c", "kill -TERM $$"}).exit_code, 128 + 15);
}

TEST(Processes, AFollowedProgramKeepsItsExitCode) {
  const Processes real = system_processes();
  EXPECT_EQ(real.follow({"sh", "-c", "exit 3"}), 3);
  EXPECT_EQ(real.follow({"/no/such/program"}), kNotStarted);
  EXPECT_EQ(real.follow({"sh", "-c", "exit 127"}), 127);          // its own word
  EXPECT_EQ(real.follow({"sh", "-c", "kill -INT $$"}), 128 + 2);  // not ignored by the child
  // What would end the follower ends the program, and the follower goes on to report.
  EXPECT_EQ(real.follow({"sh", "-c", "kill -TERM $PPID; exec sleep 60"}), 128 + 15);
  EXPECT_EQ(real.follow({"sh", "-c", "kill -HUP $PPID; exec sleep 60"}), 128 + 1);
}

Processes process_that_answers(const ProcessResult& result) {
  const auto run = [result](const std::vector<std::string>&) { return result; };
  return {[](const std::vector<std::string>&) { return 0; }, run};
}

std::string missing(const ProcessResult& look) {
  ::setenv("PARALLEL_OPT_PYTHON", "/opt/python", 1);
  std::string text = "nothing";
  try {
    (void)python_command(process_that_answers(look), "demo", {});
  } catch (const MissingPart& e) {
    text = e.what();
  }
  ::unsetenv("PARALLEL_OPT_PYTHON");
  return text;
}

TEST(PythonCommand, SaysWhatIsMissingAndHowToGetIt) {
  EXPECT_EQ(missing({127, ""}),
            "/opt/python: Python cannot be started (install Python 3.10 or newer, or set "
            "PARALLEL_OPT_PYTHON to its path)");
  EXPECT_EQ(missing({0, "torch\n"}),
            "/opt/python: PyTorch is not installed there (run `/opt/python -m pip install torch`, "
            "or set PARALLEL_OPT_PYTHON)");
  EXPECT_EQ(missing({0, "parallel_opt\n"}),
            "/opt/python: the Python package parallel_opt is not installed there (run `/opt/python "
            "-m pip install .` in parallel_opt's source, or set PARALLEL_OPT_PYTHON)");
  EXPECT_EQ(missing({0, "\n"}), "nothing");
}

TEST(PythonCommand, RunsTheModuleWithItsArguments) {
  ::setenv("PARALLEL_OPT_PYTHON", "/opt/python", 1);
  EXPECT_EQ(python_command(process_that_answers({0, "\n"}), "launch", {"--ranks", "2", "a b.py"}),
            (std::vector<std::string>{"/opt/python", "-m", "parallel_opt.launch", "--ranks", "2",
                                      "a b.py"}));
  ::unsetenv("PARALLEL_OPT_PYTHON");
}

}  // namespace
}  // namespace parallel_opt
