#include "parallel_opt/cli/main_with.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <new>
#include <ostream>

#include "parallel_opt/base/version.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cli/parse.h"

namespace parallel_opt {
namespace {

ExitCode report(const std::vector<Fault>& faults, ExitCode code, const Console& console) {
  for (const Fault& fault : faults) console.err << "error: " << to_string(fault) << '\n';
  if (console.json) print_json(console, ErrorDocument{faults});
  return code;
}

ExitCode dispatch(const std::vector<std::string>& args, Console& console) {
  if (args.empty()) {
    console.err << help_text();
    return ExitCode::usage;
  }
  if (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    console.out << (args.size() > 1 && args[0] == "help" ? help_text(find_command(args[1]))
                                                         : help_text());
    return ExitCode::ok;
  }
  const bool version = args[0] == "--version" || args[0] == "-V";
  const Command& command = find_command(version ? "version" : args[0]);
  const Args parsed = parse_args(command, {args.begin() + 1, args.end()});
  if (parsed.has("help")) {
    console.out << help_text(command);
    return ExitCode::ok;
  }
  if (parsed.has("quiet") && parsed.has("verbose")) {
    throw UsageError("parallel-opt " + command.name, "--quiet and --verbose exclude each other",
                     "keep one");
  }
  console.json = parsed.has("json");
  console.quiet = parsed.has("quiet");
  console.verbose = parsed.has("verbose");
  console.color = console.color && !parsed.has("no-color");
  return command.run(parsed, console);
}

}  // namespace

int main_with(const std::vector<std::string>& args, std::ostream& out, std::ostream& err,
              const Processes& processes) {
  const char* no_color = std::getenv("NO_COLOR");
  Console console{.out = out, .err = err, .processes = processes};
  const bool terminal = &out == &std::cout && ::isatty(STDOUT_FILENO) == 1;
  console.color = terminal && (no_color == nullptr || *no_color == 0);
  // A broken command line may still ask for JSON.
  console.json = std::find(args.begin(), args.end(), "--json") != args.end();
  ExitCode code = ExitCode::internal;
  try {
    code = dispatch(args, console);
  } catch (const UsageError& e) {
    code = report(e.faults(), ExitCode::usage, console);
  } catch (const InputError& e) {
    code = report(e.faults(), ExitCode::invalid, console);
  } catch (const MissingPart& e) {
    code = report({e.fault()}, ExitCode::missing, console);
  } catch (const SystemError& e) {
    code = report({e.fault()}, ExitCode::invalid, console);
  } catch (const std::bad_alloc&) {
    code = report({{"parallel-opt", "out of memory", "free memory or use a larger machine"}},
                  ExitCode::internal, console);
  } catch (const std::exception& e) {
    code = report({{"parallel-opt " + std::string(kVersion), e.what(), "please report this fault"}},
                  ExitCode::internal, console);
  }
  out.flush();
  if (!out && code == ExitCode::ok) {
    err << "error: standard output: cannot be written (is the disk full?)\n";
    code = ExitCode::invalid;
  }
  return static_cast<int>(code);
}

}  // namespace parallel_opt
