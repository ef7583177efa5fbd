#include "parallel_opt/cli/commands.h"

namespace parallel_opt {
namespace {

/// Becomes `python -m MODULE ARGS`: signals and the exit code are Python's.
ExitCode become(const Console& console, const std::string& module,
                const std::vector<std::string>& args) {
  const std::vector<std::string> argv = python_command(console.processes, module, args);
  console.detail("running " + join(argv, " "));
  console.out.flush();
  const int code = console.processes.replace(argv);
  if (code == 127) {
    throw MissingPart(argv.front(), "cannot be started", "set PARALLEL_OPT_PYTHON to a Python");
  }
  return static_cast<ExitCode>(code);
}

/// The flags that were given, spelled for Python.
std::vector<std::string> passed_on(const Args& args, const std::vector<std::string>& names) {
  std::vector<std::string> words;
  for (const std::string& name : names) {
    if (!args.has(name)) continue;
    words.push_back("--" + name);
    if (!args.values.at(name).empty()) words.push_back(args.values.at(name));
  }
  return words;
}

ExitCode run_run(const Args& args, const Console& console) {
  if (const auto ranks = args.get("ranks"); ranks && *ranks != "auto") (void)args.whole("ranks", 1);
  std::vector<std::string> words =
      passed_on(args, {"ranks", "report", "plan", "module", "json", "quiet", "verbose"});
  words.insert(words.end(), args.rest.begin(), args.rest.end());
  return become(console, "launch", words);
}

ExitCode run_demo(const Args& args, const Console& console) {
  (void)args.whole("rounds", 1);
  (void)args.whole("steps", 1);
  return become(
      console, "demo",
      passed_on(args, {"output", "rounds", "steps", "model", "json", "quiet", "verbose"}));
}

}  // namespace

/// parallel-opt run --ranks 2 train.py --epochs 3
Command run_command() {
  return {
      .name = "run",
      .summary = "Run an unchanged training script on all local devices.",
      .description = "Starts the ranks, passes signals on, and exits with the script's exit code.",
      .flags = {{"ranks", "N|auto", "processes (default: auto, as planned)"},
                {"report", "DIR", "write run.json, timeline.json and report.html there"},
                {"plan", "FILE", "run this plan instead of searching"},
                {"module", "", "SCRIPT is the name of a module, as of python -m", 'm'}},
      .passes_on = "SCRIPT [ARGS]",
      .examples = {"parallel-opt run train.py --epochs 3",
                   "parallel-opt run --ranks 2 --report run/ train.py",
                   "parallel-opt run -m package.train --epochs 3"},
      .run = run_run,
  };
}

/// parallel-opt demo
Command demo_command() {
  return {
      .name = "demo",
      .summary = "Train two real models plain and optimized, compare, draw.",
      .flags = {{"output", "DIR", "write report.html and demo.json there (default: demo)", 'o'},
                {"rounds", "N", "interleaved rounds"},
                {"steps", "N", "steps per round and way"},
                {"model", "gpt|cnn", "only this model"}},
      .examples = {"parallel-opt demo", "parallel-opt demo --rounds 2 --model cnn --json"},
      .run = run_demo,
  };
}

}  // namespace parallel_opt
