#include "parallel_opt/cli/parse.h"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace parallel_opt {
namespace {

std::string program_and(const Command& command) { return "parallel-opt " + command.name; }

std::string cli_name(const Flag& flag) {
  return (flag.letter != 0 ? std::string("-") + flag.letter + "," : "") + "--" + flag.name;
}

std::vector<const Flag*> all_flags(const Command& command) {
  std::vector<const Flag*> flags;
  flags.reserve(command.flags.size() + common_flags().size());
  for (const Flag& flag : command.flags) flags.push_back(&flag);
  for (const Flag& flag : common_flags()) flags.push_back(&flag);
  return flags;
}

[[noreturn]] void unknown_flag(const Command& command, const std::string& word) {
  std::vector<std::string> known;
  for (const Flag* flag : all_flags(command)) {
    known.push_back("--" + flag->name);
    if (flag->letter != 0) known.push_back(std::string("-") + flag->letter);
  }
  const std::string name = word.substr(0, word.find('='));
  const std::string nearest = nearest_match(name, known);
  throw UsageError(program_and(command), "unknown flag " + name,
                   nearest.empty() ? "see " + program_and(command) + " --help"
                                   : "did you mean " + nearest + "?");
}

/// CLI11 says which option is at fault first in its message; the rest differs among its versions.
[[noreturn]] void explain_failure(const Command& command, const std::vector<std::string>& words,
                                  const std::string& message) {
  for (const Flag* flag : all_flags(command)) {
    const std::string name = "--" + flag->name;
    const std::string_view start =
        std::string_view(message).substr(message.starts_with("--") ? 2 : 0);
    if (!start.starts_with(flag->name + ":") && !start.starts_with(flag->name + " ")) continue;
    const auto names_it = [&](const std::string& word) {
      return word == name || word.starts_with(name + "=") ||
             (flag->letter != 0 && word.starts_with(std::string("-") + flag->letter));
    };
    if (std::count_if(words.begin(), words.end(), names_it) > 1) {
      throw UsageError(program_and(command), name + " is given twice", "keep one");
    }
    if (flag->value.empty()) {
      throw UsageError(program_and(command), name + " takes no value", "leave the value out");
    }
    throw UsageError(program_and(command), name + " needs a value", name + " " + flag->value);
  }
  throw UsageError(program_and(command), message, "see " + program_and(command) + " --help");
}

/// Puts words without a dash where the command wants them.
void place_arguments(const Command& command, const std::vector<std::string>& words, Args& args) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--" && !command.passes_on.empty()) continue;
    if (words[i].starts_with('-') && words[i] != "-") unknown_flag(command, words[i]);
    if (!command.passes_on.empty()) {
      args.rest.assign(words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      return;
    }
    const bool repeats = !command.arguments.empty() && command.arguments.back().repeats;
    if (repeats && i + 1 >= command.arguments.size()) args.rest.push_back(words[i]);
    if (repeats && i >= command.arguments.size()) continue;
    if (i >= command.arguments.size()) {
      throw UsageError(program_and(command), "superfluous argument \"" + words[i] + "\"",
                       "see " + program_and(command) + " --help");
    }
    args.values[command.arguments[i].name] = words[i];
  }
}

void require_arguments(const Command& command, const Args& args) {
  for (const Positional& argument : command.arguments) {
    if (argument.required && !args.has(argument.name)) {
      throw UsageError(program_and(command), argument.name + " is missing", argument.doc);
    }
  }
  for (const Flag& flag : command.flags) {
    if (std::ranges::find(command.required, flag.name) != command.required.end() &&
        !args.has(flag.name)) {
      throw UsageError(program_and(command), "--" + flag.name + " is missing", flag.doc);
    }
  }
  if (!command.passes_on.empty() && args.rest.empty()) {
    throw UsageError(program_and(command), command.passes_on + " is missing",
                     "see " + program_and(command) + " --help");
  }
}

}  // namespace

const std::vector<Flag>& common_flags() {
  static const std::vector<Flag> kFlags = {
      {"json", "", "print one JSON document instead of text"},
      {"quiet", "", "no messages on stderr but errors", 'q'},
      {"verbose", "", "more messages on stderr", 'v'},
      {"no-color", "", "plain text (as does NO_COLOR in the environment)"},
      {"help", "", "print this and exit", 'h'},
  };
  return kFlags;
}

Args parse_args(const Command& command, const std::vector<std::string>& words) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras(true);
  // What follows the script belongs to the script, flags and all.
  app.prefix_command(!command.passes_on.empty());
  std::map<std::string, std::string> values;
  std::vector<CLI::Option*> options;
  const std::vector<const Flag*> flags = all_flags(command);
  options.reserve(flags.size());
  for (const Flag* flag : flags) {
    options.push_back(flag->value.empty() ? app.add_flag(cli_name(*flag))->disable_flag_override()
                                          : app.add_option(cli_name(*flag), values[flag->name]));
  }
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    explain_failure(command, words, e.what());
  }
  Args args;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    if (options[i]->count() > 0) args.values[flags[i]->name] = values[flags[i]->name];
  }
  for (const Flag* flag : flags) {  // "--cluster --json": a flag is no value
    const std::string value = args.get_or(flag->name, "");
    const bool is_flag =
        std::ranges::any_of(flags, [&](const Flag* other) { return value == "--" + other->name; });
    if (is_flag) explain_failure(command, {}, flag->name + ": ");
  }
  if (args.has("help")) return args;
  place_arguments(command, app.remaining(), args);
  require_arguments(command, args);
  return args;
}

const Command& find_command(const std::string& name) {
  std::vector<std::string> known;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    known.push_back(command.name);
  }
  const std::string nearest = nearest_match(name, known);
  const std::string kind = name.starts_with('-') ? "flag " : "command ";
  throw UsageError("parallel-opt", "unknown " + kind + name,
                   nearest.empty() ? "see parallel-opt --help" : "did you mean " + nearest + "?");
}

}  // namespace parallel_opt
