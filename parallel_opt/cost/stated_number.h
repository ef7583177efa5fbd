#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <regex>
#include <string>
#include <system_error>

namespace parallel_opt {

/// What digits in a text say; empty where that is no amount that anything has: "0", "1.2.3", one of
/// 20 digits.
inline std::optional<double> stated_number(const std::string& digits) {
  double number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, number);
  if (error != std::errc() || at != end || !(number > 0 && number < 1e15)) return std::nullopt;
  return number;
}

/// The number of the first group that has one, where `pattern` is found in the text.
inline std::optional<double> number_in(const std::string& text, const std::regex& pattern) {
  std::smatch match;
  if (!std::regex_search(text, match, pattern)) return std::nullopt;
  for (std::size_t i = 1; i < match.size(); ++i) {
    if (match[i].matched) return stated_number(match[i]);
  }
  return std::nullopt;
}

}  // namespace parallel_opt
