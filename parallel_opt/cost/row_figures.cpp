#include "parallel_opt/cost/row_figures.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <cmath>
#include <regex>
#include <system_error>
#include <utility>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"

namespace parallel_opt {
namespace {

/// What a unit is in that of its column.
struct ColumnUnit {
  std::string_view column, unit;
  double factor = 1;
};

/// As `plain_unit` spells them.
constexpr auto kUnits = std::to_array<ColumnUnit>({
    {"layers", "layers"},
    {"layers", "blocks"},
    {"heads", "heads"},
    {"kv_heads", "heads"},
    {"experts", "experts"},
    {"topk", "experts"},
    {"metric_iter_time_s", "s"},
    {"metric_iter_time_s", "s/step"},
    {"metric_iter_time_s", "ms", 1e-3},
    {"metric_iter_time_s", "ms/step", 1e-3},
    {"metric_iter_time_s", "min", 60},
    {"metric_tokens_per_s_per_gpu", "tokens/s"},
    {"metric_tokens_per_s_per_gpu", "tokens/s/gpu"},
    {"metric_tokens_per_s_per_gpu", "tokens/gpu/s"},
    {"metric_tokens_per_s_per_gpu", "tgs"},
    {"metric_samples_per_s", "samples/s"},
    {"metric_samples_per_s", "sequences/s"},
    {"metric_samples_per_s", "images/s"},
    {"metric_samples_per_s", "samples/s/gpu"},
    {"metric_samples_per_s", "samples/gpu/s"},
    {"metric_samples_per_s", "sequences/s/gpu"},
    {"metric_samples_per_s", "sequences/gpu/s"},
    {"metric_samples_per_s", "images/s/gpu"},
    {"metric_samples_per_s", "images/gpu/s"},
    {"metric_tflops_per_gpu", "tflops"},
    {"metric_tflops_per_gpu", "tflop/s"},
    {"metric_tflops_per_gpu", "tflops/gpu"},
    {"metric_tflops_per_gpu", "tflop/s/gpu"},
    {"metric_mfu_pct", "%"},
    {"metric_hfu_pct", "%"},
    {"gpus", "gpu"},
    {"seq_len", "tokens"},
    {"micro_batch", "sequences"},
    {"global_batch", "sequences"},
    {"global_batch", "samples"},
    {"global_batch", "images"},
    {"micro_batch", "images"},
    {"params_b", "b"},
    {"params_b", "m", 1e-3},
    {"params_b", "t", 1e3},
});

/// A unit with one name for each of its parts: "tok/sec/chip" is "tokens/s/gpu".
std::string plain_unit(const std::string& unit) {
  static constexpr auto kNames =
      std::to_array<std::pair<std::string_view, std::string_view>>({{"sec", "s"},
                                                                    {"secs", "s"},
                                                                    {"second", "s"},
                                                                    {"seconds", "s"},
                                                                    {"it", "step"},
                                                                    {"iter", "step"},
                                                                    {"iteration", "step"},
                                                                    {"tok", "tokens"},
                                                                    {"toks", "tokens"},
                                                                    {"token", "tokens"},
                                                                    {"seq", "sequences"},
                                                                    {"seqs", "sequences"},
                                                                    {"sequence", "sequences"},
                                                                    {"sample", "samples"},
                                                                    {"expert", "experts"},
                                                                    {"layer", "layers"},
                                                                    {"block", "blocks"},
                                                                    {"head", "heads"},
                                                                    {"image", "images"},
                                                                    {"img", "images"},
                                                                    {"imgs", "images"},
                                                                    {"gpus", "gpu"},
                                                                    {"device", "gpu"},
                                                                    {"devices", "gpu"},
                                                                    {"chip", "gpu"},
                                                                    {"chips", "gpu"},
                                                                    {"card", "gpu"},
                                                                    {"rank", "gpu"},
                                                                    {"accelerator", "gpu"}});
  std::string plain;
  for (const std::string& part : split(unit, '/')) {
    const auto* const named = std::ranges::find(kNames, std::string_view(part),
                                                [](const auto& one) { return one.first; });
    if (!plain.empty()) plain += '/';
    plain += named == kNames.end() ? part : std::string(named->second);
  }
  return plain;
}

constexpr auto kMemoryUnits =
    std::to_array<std::string_view>({"b", "kb", "kib", "mb", "mib", "gb", "gib", "tb", "tib"});

/// Thousands without what separates them; other texts as they are.
std::string without_thousands(std::string text) {
  static const std::regex thin("\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x89");  // spaces of print
  static const std::regex quote("\xe2\x80\x99");
  static const std::regex grouped(R"([0-9]{1,3}(?:([,' ])[0-9]{3})(?:\1[0-9]{3})*(\.[0-9]+)?)");
  const std::string plain = std::regex_replace(std::regex_replace(text, thin, " "), quote, "'");
  if (!std::regex_match(plain, grouped)) return text;
  text = plain;
  std::erase_if(text, [](char c) { return c == ',' || c == '\'' || c == ' '; });
  return text;
}

constexpr std::size_t kLongestFigure = 64;  // letters: searches go as deep as a text is long

/// What was measured, without what says how well: "~60", "10 (avg)", "10 +- 0.2 s".
std::string without_spread(const std::string& text) {
  static const std::regex about(
      "^\\s*(?:~|\xe2\x89\x88|\xe2\x88\xbc|ca\\.?|circa|about|approx\\.?|approximately)\\s*",
      std::regex::icase);
  static const std::regex spread(
      "\\s*(?:\xc2\xb1|\\+ ?/? ?-)\\s*[0-9]+(?:\\.[0-9]+)?(?=\\s*(?:[a-z%(]|$))",
      std::regex::icase);
  static const std::regex kind(
      R"(\s*(?:\((?:avg|average|mean|median)\.?\)|\b(?:avg|average|mean|median)\.?)\s*$)",
      std::regex::icase);
  if (text.size() > kLongestFigure) return text;
  std::string plain = std::regex_replace(text, about, "");
  plain = std::regex_replace(plain, spread, "");
  return std::regex_replace(plain, kind, "");
}

/// Tokens of "4k" and "128K": lengths are powers of two, and those have no other thousand.
std::optional<double> length_in_thousands(const std::string& text) {
  static const std::regex thousands(R"(\s*([1-9][0-9]{0,2}) ?k(?: ?tokens?)?\s*)",
                                    std::regex::icase);
  std::smatch match;
  if (!std::regex_match(text, match, thousands)) return std::nullopt;
  const int count = std::stoi(match[1]);
  return std::has_single_bit(unsigned(count)) ? std::optional(1024.0 * count) : std::nullopt;
}

/// Seconds of "1m 23s", "1 min 23 s" and "1h 2m 3s".
std::optional<double> time_in_parts(const std::string& text) {
  static const std::regex parts(
      R"(\s*(?:([0-9]{1,3}) ?h(?:ours?|rs?)?[ ,]*)?([0-9]{1,3}) ?m(?:in(?:utes?|s)?)?[ ,]*([0-9]{1,2}(?:\.[0-9]{1,6})?) ?s(?:ec(?:onds?|s)?)?\s*)",
      std::regex::icase);
  std::smatch match;
  if (!std::regex_match(text, match, parts)) return std::nullopt;
  const double hours = match[1].matched ? std::stod(match[1]) : 0;
  return 3600 * hours + 60 * std::stod(match[2]) + std::stod(match[3]);
}

/// "14k" without its letter: rates, which have no power of two.
bool counts_thousands(std::string& text, std::string_view column) {
  if (column != "metric_tokens_per_s_per_gpu" && column != "metric_samples_per_s") return false;
  static const std::regex thousands(R"(([0-9]) ?[kK](?= |$))");
  std::string without = std::regex_replace(text, thousands, "$1");
  if (without == text) return false;
  text = std::move(without);
  return true;
}

/// Where the letters at the end of a text begin.
std::size_t begin_of_unit(const std::string& text) {
  std::size_t at = text.size();
  const auto of_unit = [](char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '%' || c == '/';
  };
  while (at > 0 && of_unit(text[at - 1])) --at;
  return at;
}

}  // namespace

std::optional<Figure> figure_in(const std::string& stated, std::string_view column) {
  static const std::regex per(R"(\s*(/|\bper\b)\s*)", std::regex::icase);
  if (column == "seq_len") {
    if (const auto length = length_in_thousands(stated)) return Figure{*length, ""};
  }
  const bool measured =
      column.starts_with("metric_") || column == "peak_memory_gb" || column == "params_b";
  std::string cell = std::regex_replace(measured ? without_spread(stated) : stated, per, "/");
  if (column == "metric_iter_time_s" && cell.size() <= kLongestFigure) {
    if (const auto time = time_in_parts(cell)) return Figure{*time, ""};
  }
  Figure figure;
  double factor = counts_thousands(cell, column) ? 1000 : 1;
  const std::size_t end_of_digits = begin_of_unit(cell);
  std::string unit = plain_unit(lower_case(cell.substr(end_of_digits)));
  constexpr std::string_view kEach = "/gpu";
  const bool of_each = unit.ends_with(kEach);
  figure.of_device = column == "metric_samples_per_s" && unit.find(kEach) != std::string::npos;
  // Peaks are of one device anyway.
  if (column == "peak_memory_gb" && of_each) unit.resize(unit.size() - kEach.size());
  const std::string digits =
      without_thousands(std::string(trim(std::string_view(cell).substr(0, end_of_digits))));
  if (!unit.empty()) {
    const auto* const own = std::ranges::find_if(kUnits, [&](const ColumnUnit& known) {
      return known.column == column && known.unit == unit;
    });
    const bool memory =
        column == "peak_memory_gb" &&
        std::ranges::find(kMemoryUnits, std::string_view(unit)) != kMemoryUnits.end();
    if (own == kUnits.end() && !memory) return std::nullopt;
    if (memory) figure.unit = cell.substr(end_of_digits, unit.size());
    if (!memory) factor *= own->factor;
  }
  const char* const end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, figure.value);
  figure.value *= factor;
  const bool number = error == std::errc() && at == end && std::isfinite(figure.value);
  return number && figure.value >= 0 ? std::optional(figure) : std::nullopt;
}

bool counts_recompute_in_words(const std::string& kind) {
  // "excl. recomputation", "recomputation not counted" and "recomputation excluded" leave it out.
  static const std::regex none(
      R"(\b(?:excl\w*|minus|ignor\w*|less|before)\b.*|\b(?:recompu|remat)\w*(?: is| are)? (?:not|never|excl|ignored|left out).*)",
      std::regex::icase);
  static const std::regex again(
      R"(\bhardware|\bhw\b|\bhfu|\bhflop|\bexecuted\b|recompu|rematerial)", std::regex::icase);
  constexpr std::size_t kRead = 256;  // letters: more than name a kind
  return Claims(std::regex_replace(kind.substr(0, kRead), none, "")).has(again);
}

bool counts_recompute_in_notes(const std::string& notes) {
  static const std::regex kind(
      R"(\bhardware (tera)?flop\w*|\bhfu\b|\b([tp]?flops?(/s)?|formula|rates?)\b[^;.]{0,40}\b(count|includ)\w*[^;.]{0,20}\b(recompu|remat)\w*)",
      std::regex::icase);
  return Claims(notes).has(kind);
}

}  // namespace parallel_opt
