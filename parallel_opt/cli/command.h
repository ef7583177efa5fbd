#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/cli/process.h"

namespace parallel_opt {

enum class ExitCode {
  ok = 0,
  internal = 1,
  usage = 2,
  infeasible = 3,  ///< no plan is possible; the binding constraint is printed
  invalid = 4,     ///< validation failed, or bad input
  missing = 5,     ///< a part that is not always installed: PyTorch, a device
  interrupted = 130,
};

/// The command line is wrong: exit code 2.
class UsageError : public InputError {
 public:
  using InputError::InputError;
};

/// One `--name VALUE`, or a switch when `value` is empty.
struct Flag {
  std::string name;   ///< without dashes: "cluster"
  std::string value;  ///< what people see: "FILE", "auto|fp32|bf16"; empty: a switch
  std::string doc;
  char letter = 0;  ///< `-o`
};

/// One argument without a dash.
struct Positional {
  std::string name;  ///< "MODEL"
  std::string doc;
  bool required = true;
  bool repeats = false;  ///< the last one may be given more than once: Args::rest has them all
};

/// What the user typed, checked against a command's flags. Getters throw UsageError naming the
/// flag.
class Args {
 public:
  std::map<std::string, std::string> values;  ///< by flag or positional name; switches: ""
  std::vector<std::string> rest;  ///< what a command passes on, or every value of what repeats

  bool has(const std::string& name) const { return values.contains(name); }
  std::optional<std::string> get(const std::string& name) const;
  /// Of an argument or flag that the command requires.
  const std::string& at(const std::string& name) const;
  std::string get_or(const std::string& name, std::string otherwise) const;
  /// Whole number of at least `least`.
  std::optional<std::int64_t> whole(const std::string& name, std::int64_t least) const;
  /// Positive number.
  std::optional<double> positive(const std::string& name) const;
  /// "38GiB"
  std::optional<Bytes> bytes(const std::string& name) const;
  /// "5%" or "0.05", not negative.
  std::optional<double> fraction(const std::string& name) const;
  /// "on" or "off"
  std::optional<bool> on_off(const std::string& name) const;
  /// An enumerator by its JSON name.
  template <class E>
  std::optional<E> choice(const std::string& name) const {
    if (!has(name)) return std::nullopt;
    constexpr auto names = enum_names(E{});
    require_known(name, {names.begin(), names.end()});
    return enum_from<E>(values.at(name));
  }
  /// Throws when the value of `name` is none of `known`.
  void require_known(const std::string& name, const std::vector<std::string>& known) const;
};

/// Where a command's words go, and the outside world it may call. stdout carries the result only.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  bool color = false;
  const Processes& processes;

  void log(std::string_view line) const;     ///< to stderr, unless --quiet
  void detail(std::string_view line) const;  ///< to stderr, with -v only
};

/// A subcommand is a value: help, parsing, docs and tests read it.
struct Command {
  std::string name;
  std::string summary;           ///< one line
  std::string description = {};  ///< more lines for --help
  std::vector<Positional> arguments = {};
  std::vector<Flag> flags = {};
  std::vector<std::string> required = {};  ///< flags that must be there
  std::string passes_on = {};  ///< name of what takes the rest of the line: "SCRIPT [ARGS]"
  std::vector<std::string> examples = {};
  std::function<ExitCode(const Args&, const Console&)> run = {};
};

/// Every command, in the order of the help.
const std::vector<Command>& commands();

/// Prints a document: pretty JSON in one piece.
template <class T>
void print_json(const Console& console, const T& document) {
  const std::string text = to_json(document);
  console.out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

}  // namespace parallel_opt
