#include <algorithm>

#include "parallel_opt/base/version.h"
#include "parallel_opt/cli/parse.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kWidth = 100;

using Row = std::pair<std::string, std::string>;

/// Two columns; the right one is wrapped.
std::string two_columns(const std::vector<Row>& rows) {
  std::size_t left = 0;
  for (const Row& row : rows) {
    if (row.first.size() <= 30) left = std::max(left, row.first.size());
  }
  std::string text;
  for (const auto& [name, doc] : rows) {
    std::string line = "  " + name;
    if (name.size() > left) {
      text += line + "\n";
      line.clear();
    }
    line.resize(left + 4, ' ');
    for (const std::string& word : split(doc, ' ')) {
      if (line.size() + word.size() > kWidth) {
        text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
        line.assign(left + 4, ' ');
      }
      line += word + " ";
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string flag_column(const Flag& flag) {
  return (flag.letter != 0 ? std::string("-") + flag.letter + ", " : "    ") + "--" + flag.name +
         (flag.value.empty() ? "" : " " + flag.value);
}

}  // namespace

std::string help_text() {
  std::string text = "parallel-opt " + std::string(kVersion) +
                     ": automatic parallelism for deep learning\n\n"
                     "usage: parallel-opt COMMAND [FLAGS]\n\ncommands:\n";
  std::vector<Row> rows;
  for (const Command& command : commands()) rows.emplace_back(command.name, command.summary);
  text += two_columns(rows);
  text += "\nflags of every command:\n";
  rows.clear();
  for (const Flag& flag : common_flags()) rows.emplace_back(flag_column(flag), flag.doc);
  text += two_columns(rows);
  text +=
      "\nexit codes:\n  0 ok, 1 internal error, 2 usage, 3 no feasible plan, 4 bad input,\n"
      "  5 missing optional part, 130 interrupted\n";
  return text;
}

std::string help_text(const Command& command) {
  std::string text = command.summary + "\n\nusage: parallel-opt " + command.name + " [FLAGS]";
  for (const Flag& flag : command.flags) {
    const bool required = std::ranges::find(command.required, flag.name) != command.required.end();
    if (required) text += " --" + flag.name + " " + flag.value;
  }
  std::vector<Row> arguments;
  for (const Positional& argument : command.arguments) {
    text += argument.required ? " " + argument.name : " [" + argument.name + "]";
    if (argument.repeats) text += " [" + argument.name + "...]";
    arguments.emplace_back(argument.name, argument.doc);
  }
  if (!command.passes_on.empty()) text += " " + command.passes_on;
  text += '\n';
  if (!command.description.empty()) text += "\n" + command.description + "\n";
  if (!arguments.empty()) text += "\narguments:\n" + two_columns(arguments);
  text += "\nflags:\n";
  std::vector<Row> rows;
  rows.reserve(command.flags.size() + common_flags().size());
  for (const Flag& flag : command.flags) rows.emplace_back(flag_column(flag), flag.doc);
  for (const Flag& flag : common_flags()) rows.emplace_back(flag_column(flag), flag.doc);
  text += two_columns(rows);
  if (!command.examples.empty()) text += "\nexamples:\n";
  for (const std::string& example : command.examples) text += "  " + example + "\n";
  return text;
}

}  // namespace parallel_opt
