#include "parallel_opt/cli/process.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "parallel_opt/base/error.h"

extern char** environ;

namespace parallel_opt {
namespace {

namespace fs = std::filesystem;

std::vector<char*> c_arguments(std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  pointers.reserve(argv.size() + 1);
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  return pointers;
}

int replace_process(const std::vector<std::string>& argv) {
  std::vector<std::string> copy = argv;
  ::execvp(copy[0].c_str(), c_arguments(copy).data());
  return 127;
}

std::string read_to_end(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

int exit_code_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Starts a program; 127 when that fails, else 0.
int spawn(const std::vector<std::string>& argv, const posix_spawn_file_actions_t& actions,
          const posix_spawnattr_t* attributes, pid_t& child) {
  std::vector<std::string> copy = argv;
  const int failed = ::posix_spawnp(&child, copy[0].c_str(), &actions, attributes,
                                    c_arguments(copy).data(), environ);
  return failed == 0 ? 0 : 127;
}

/// The program that signals to end are passed on to, and one that came before it ran.
volatile sig_atomic_t followed = 0, early = 0;

void pass_on(int signal) {
  if (followed > 0) {
    ::kill(followed, signal);
  } else {
    early = signal;
  }
}

/// What ends this process ends the program that it follows, which is then reported on.
class SignalsPassedOn {
 public:
  SignalsPassedOn() {
    followed = 0;
    early = 0;
    struct sigaction action = {};
    action.sa_handler = pass_on;
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &action, &before_[i]);
    }
  }
  ~SignalsPassedOn() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &before_[i], nullptr);
    }
  }
  SignalsPassedOn(const SignalsPassedOn&) = delete;
  SignalsPassedOn& operator=(const SignalsPassedOn&) = delete;
  static void to(pid_t child) {
    followed = child;
    if (early != 0) ::kill(child, early);
  }

 private:
  static constexpr std::array<int, 2> kSignals = {SIGTERM, SIGHUP};
  std::array<struct sigaction, 2> before_ = {};
};

int follow_process(const std::vector<std::string>& argv) {
  const SignalsPassedOn signals;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  // The program keeps the default answer to an interrupt while we wait for it and then report.
  struct sigaction ignore = {}, before = {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGINT, &ignore, &before);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGINT);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = 0;
  const int failed = spawn(argv, actions, &attributes, child);
  if (failed == 0) SignalsPassedOn::to(child);
  const int code = failed == 0 ? exit_code_of(child) : kNotStarted;
  ::sigaction(SIGINT, &before, nullptr);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return code;
}

ProcessResult run_process(const std::vector<std::string>& argv) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return {127, ""};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addclose(&actions, ends[0]);
  ::posix_spawn_file_actions_addclose(&actions, ends[1]);
  pid_t child = 0;
  const int failed = spawn(argv, actions, nullptr, child);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (failed != 0) {
    ::close(ends[0]);
    return {127, ""};
  }
  ProcessResult result;
  result.output = read_to_end(ends[0]);
  ::close(ends[0]);
  result.exit_code = exit_code_of(child);
  return result;
}

}  // namespace

Processes system_processes() { return {replace_process, run_process, follow_process}; }

std::string python_program() {
  if (const char* own = std::getenv("PARALLEL_OPT_PYTHON"); own != nullptr && *own != 0) return own;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path beside = program.parent_path() / "python";
    // A build tree has a directory of that name.
    if (fs::is_regular_file(beside, error) && ::access(beside.c_str(), X_OK) == 0) {
      return beside.string();
    }
  }
  return "python3";
}

std::vector<std::string> python_command(const Processes& processes, const std::string& module,
                                        const std::vector<std::string>& args) {
  const std::string python = python_program();
  // find_spec looks without importing: importing torch takes seconds.
  constexpr const char* kLook =
      "import importlib.util as u\n"
      "print(','.join(m for m in ('torch','parallel_opt') if u.find_spec(m) is None))";
  const ProcessResult look = processes.run({python, "-c", kLook});
  if (look.exit_code != 0) {
    throw MissingPart(python, "Python cannot be started",
                      "install Python 3.10 or newer, or set PARALLEL_OPT_PYTHON to its path");
  }
  if (look.output.starts_with("torch")) {
    throw MissingPart(python, "PyTorch is not installed there",
                      "run `" + python + " -m pip install torch`, or set PARALLEL_OPT_PYTHON");
  }
  if (look.output.starts_with("parallel_opt")) {
    throw MissingPart(
        python, "the Python package parallel_opt is not installed there",
        "run `" + python +
            " -m pip install .` in parallel_opt's source, or set PARALLEL_OPT_PYTHON");
  }
  std::vector<std::string> argv = {python, "-m", "parallel_opt." + module};
  argv.insert(argv.end(), args.begin(), args.end());
  return argv;
}

}  // namespace parallel_opt
