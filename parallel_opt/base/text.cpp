#include "parallel_opt/base/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace parallel_opt {
namespace {

struct Suffix {
  std::string_view name;
  double factor;
};

constexpr std::array<Suffix, 10> kSuffixes = {{{"KiB", 1024.0},
                                               {"MiB", 1048576.0},
                                               {"GiB", 1073741824.0},
                                               {"TiB", 1099511627776.0},
                                               {"kB", 1e3},
                                               {"KB", 1e3},
                                               {"MB", 1e6},
                                               {"GB", 1e9},
                                               {"TB", 1e12},
                                               {"B", 1.0}}};

std::string scaled(double value, double step, const std::vector<std::string_view>& units) {
  std::size_t i = 0;
  while (i + 1 < units.size() && std::abs(value) >= step) {
    value /= step;
    ++i;
  }
  return show(value) + " " + std::string(units[i]);
}

}  // namespace

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (&part != &parts.front()) text += separator;
    text += part;
  }
  return text;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool mentions(const std::string& text, std::string_view word) {
  return lower_case(text).find(word) != std::string::npos;
}

int edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<int> before(width), last(width), now(width);
  for (std::size_t j = 0; j < width; ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = static_cast<int>(i);
    for (std::size_t j = 1; j < width; ++j) {
      const int replace = last[j - 1] + (a[i - 1] != b[j - 1]);
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = std::min(now[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

std::string nearest_match(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  const int length = static_cast<int>(word.size());
  // A word that would change in every letter was not meant.
  int best_distance = std::min(std::max(2, length / 3) + 1, std::max(length, 1));
  for (const std::string& candidate : known) {
    const int distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::optional<Bytes> parse_bytes(std::string_view text) {
  text = trim(text);
  double factor = 1;
  for (const Suffix& suffix : kSuffixes) {
    if (text.ends_with(suffix.name)) {
      factor = suffix.factor;
      text.remove_suffix(suffix.name.size());
      break;
    }
  }
  text = trim(text);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const double bytes = number * factor;
  if (error != std::errc() || end != text.data() + text.size() || !(bytes >= 0) || bytes > 9e18) {
    return std::nullopt;
  }
  return Bytes(std::llround(bytes));
}

std::string show(double number) {
  std::array<char, 48> buffer;
  const double size = std::abs(number);
  if (number == 0) return "0";
  if (!(size < 999'999.5) || size < 1e-3) {
    std::snprintf(buffer.data(), buffer.size(), "%.3g", number);
    return buffer.data();
  }
  // The exponent after rounding: 99.96 is 100, not 100.0.
  std::snprintf(buffer.data(), buffer.size(), "%.2e", size);
  const int exponent = std::atoi(buffer.data() + 5);
  std::snprintf(buffer.data(), buffer.size(), "%.*f", std::clamp(2 - exponent, 0, 6), number);
  return buffer.data();
}

std::string show(Bytes bytes) { return show_bytes(static_cast<double>(bytes.value)); }

std::string show_bytes(double count) {
  if (std::abs(count) < 1024) return std::to_string(static_cast<std::int64_t>(count)) + " B";
  return scaled(std::trunc(count), 1024, {"B", "KiB", "MiB", "GiB", "TiB", "PiB"});
}

std::string show(Seconds seconds) {
  const double size = std::abs(seconds.value);
  if (size == 0) return "0 s";
  if (size < 1e-3) return show(seconds.value * 1e6) + " us";
  if (size < 1) return show(seconds.value * 1e3) + " ms";
  if (size < 120) return show(seconds.value) + " s";
  if (size < 7200) return show(seconds.value / 60) + " min";
  return show(seconds.value / 3600) + " h";
}

std::string show(Joules energy) {
  const double size = std::abs(energy.value);
  if (size < 999'999.5) return show(energy.value) + " J";
  if (size < 999.95e6) return show(energy.value / 1e6) + " MJ";
  return show(energy.value / 1e9) + " GJ";
}

std::string show(Flops flops) {
  return scaled(flops.value, 1000,
                {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"});
}

std::string show(BytesPerSecond rate) {
  return scaled(rate.value, 1000, {"B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"});
}

}  // namespace parallel_opt
