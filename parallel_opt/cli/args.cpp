#include <charconv>
#include <cmath>
#include <ostream>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cli/command.h"

namespace parallel_opt {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& value,
                         const std::string& wanted, const std::string& hint) {
  throw UsageError("--" + name, "\"" + value + "\" is not " + wanted, hint);
}

template <class Number>
std::optional<Number> parse(std::string_view text) {
  Number number{};
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::string> Args::get(const std::string& name) const {
  const auto it = values.find(name);
  if (it == values.end()) return std::nullopt;
  return it->second;
}

const std::string& Args::at(const std::string& name) const {
  PO_CHECK(has(name), "a required argument is there once the command line is read");
  return values.at(name);
}

std::string Args::get_or(const std::string& name, std::string otherwise) const {
  return get(name).value_or(std::move(otherwise));
}

std::optional<std::int64_t> Args::whole(const std::string& name, std::int64_t least) const {
  const std::optional<std::string> text = get(name);
  if (!text) return std::nullopt;
  const std::optional<std::int64_t> number = parse<std::int64_t>(*text);
  if (!number || *number < least) {
    refuse(name, *text, "a whole number of at least " + std::to_string(least), "");
  }
  return number;
}

std::optional<double> Args::positive(const std::string& name) const {
  const std::optional<std::string> text = get(name);
  if (!text) return std::nullopt;
  const std::optional<double> number = parse<double>(*text);
  if (!number || !std::isfinite(*number) || !(*number > 0)) {
    refuse(name, *text, "a number above 0", "");
  }
  return number;
}

std::optional<Bytes> Args::bytes(const std::string& name) const {
  const std::optional<std::string> text = get(name);
  if (!text) return std::nullopt;
  const std::optional<Bytes> size = parse_bytes(*text);
  if (!size || size->value == 0) refuse(name, *text, "a size", "write 38GiB, 512MB or bytes");
  // "10" is hardly ever meant to be bytes; "10B" is.
  const bool bare = text->find_first_not_of("0123456789.eE+- \t") == std::string::npos;
  if (bare && size->value < 1 << 20) {
    throw UsageError("--" + name, "\"" + *text + "\" without a unit is " + show(*size),
                     "say " + std::string(trim(*text)) + "GiB, or " + std::string(trim(*text)) +
                         "B if bytes are meant");
  }
  return size;
}

std::optional<double> Args::fraction(const std::string& name) const {
  const std::optional<std::string> text = get(name);
  if (!text) return std::nullopt;
  const bool percent = text->ends_with('%');
  const std::optional<double> number = parse<double>(text->substr(0, text->size() - percent));
  if (!number || !std::isfinite(*number) || *number < 0) {
    refuse(name, *text, "a share", "write 5% or 0.05");
  }
  return percent ? *number / 100 : *number;
}

std::optional<bool> Args::on_off(const std::string& name) const {
  if (!has(name)) return std::nullopt;
  require_known(name, {"on", "off"});
  return values.at(name) == "on";
}

void Args::require_known(const std::string& name, const std::vector<std::string>& known) const {
  const std::string& value = values.at(name);
  for (const std::string& word : known) {
    if (word == value) return;
  }
  const std::string nearest = nearest_match(value, known);
  throw UsageError("--" + name, "unknown value \"" + value + "\"",
                   (nearest.empty() ? "" : "did you mean \"" + nearest + "\"? ") +
                       "known: " + join(known, ", "));
}

void Console::log(std::string_view line) const {
  if (!quiet) err << line << '\n';
}

void Console::detail(std::string_view line) const {
  if (verbose && !quiet) err << line << '\n';
}

}  // namespace parallel_opt
