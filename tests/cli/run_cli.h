#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "parallel_opt/cli/main_with.h"

namespace parallel_opt {

/// What a run of the program left behind.
struct CliRun {
  int code = 0;
  std::string out;
  std::string err;
  std::vector<std::vector<std::string>> started;  ///< other programs, in order
};

/// Runs the program in this process; other programs are only written down: `answers` are their
/// results, in order, then exit code 0 with no output.
inline CliRun run_cli(const std::vector<std::string>& args,
                      std::vector<ProcessResult> answers = {}) {
  CliRun run;
  std::size_t next = 0;
  const auto answer = [&](const std::vector<std::string>& argv) {
    run.started.push_back(argv);
    return next < answers.size() ? answers[next++] : ProcessResult{};
  };
  const Processes recorder{
      [&](const std::vector<std::string>& argv) { return answer(argv).exit_code; }, answer,
      [&](const std::vector<std::string>& argv) { return answer(argv).exit_code; }};
  std::ostringstream out, err;
  run.code = main_with(args, out, err, recorder);
  run.out = out.str();
  run.err = err.str();
  return run;
}

}  // namespace parallel_opt
