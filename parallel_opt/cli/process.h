#pragma once

#include <functional>
#include <string>
#include <vector>

namespace parallel_opt {

struct ProcessResult {
  int exit_code = 0;  ///< 128 + signal when it was killed; 127 when it could not be started
  std::string output;
};

inline constexpr int kNotStarted = -1;

/// Other programs, as commands see them; tests put recorders in their place.
struct Processes {
  /// Becomes the program: returns (an exit code) only when it cannot be started.
  std::function<int(const std::vector<std::string>& argv)> replace;
  /// Runs a program to its end and collects its standard output; its errors go to ours.
  std::function<ProcessResult(const std::vector<std::string>& argv)> run;
  /// Runs a program to its end; what it prints goes to our standard error, and an interrupt from
  /// the terminal is left to it. Returns its exit code, as in ProcessResult, or kNotStarted: a
  /// shell that runs may well end with 127.
  std::function<int(const std::vector<std::string>& argv)> follow = {};
};

/// The real ones. argv[0] is searched in PATH.
Processes system_processes();

/// The Python that has our package: $PARALLEL_OPT_PYTHON, else the one beside this program, else
/// python3 of the PATH.
std::string python_program();

/// `python -m MODULE ARGS`, after a check that PyTorch and our package are there. Throws
/// MissingPart that says what to install.
std::vector<std::string> python_command(const Processes& processes, const std::string& module,
                                        const std::vector<std::string>& args);

}  // namespace parallel_opt
