#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/units.h"

namespace parallel_opt {

std::string join(const std::vector<std::string>& parts, std::string_view separator);
/// Parts between separators, empty ones kept. An empty text has one empty part.
std::vector<std::string> split(std::string_view text, char separator);
/// Without white space at both ends.
std::string_view trim(std::string_view text);
/// ASCII letters made small, every other byte as it is.
std::string lower_case(std::string text);
/// Whether a text has a word, given in small letters, anywhere and in any case.
bool mentions(const std::string& text, std::string_view word);

/// Optimal-string-alignment edit distance: insert, delete, replace, swap neighbours.
int edit_distance(std::string_view a, std::string_view b);
/// The known word a user most likely meant; empty when none is close: at most max(2, length / 3)
/// edits, and fewer than the word has letters.
std::string nearest_match(std::string_view word, const std::vector<std::string>& known);

/// "38GiB", "1.5 GB", "512": binary and decimal suffixes. Empty when it is no size, or is negative.
std::optional<Bytes> parse_bytes(std::string_view text);

/// For people only: "1.50 GiB", "12.3 ms", "34.5 GFLOP", "450 GB/s". JSON holds SI base units.
std::string show(Bytes bytes);
std::string show_bytes(double count);  ///< likewise, also beyond 64 bits
std::string show(Seconds seconds);
std::string show(Joules energy);
std::string show(Flops flops);
std::string show(BytesPerSecond rate);
/// Three significant digits, no exponent between 0.001 and 1e6.
std::string show(double number);

}  // namespace parallel_opt
