#include "parallel_opt/cost/row_date.h"

#include <algorithm>
#include <array>
#include <regex>
#include <string_view>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

/// Of a name or its first letters.
int month_named(const std::string& name) {
  constexpr auto kMonths = std::to_array<std::string_view>(
      {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"});
  const auto* const found = std::ranges::find(kMonths, lower_case(name.substr(0, 3)));
  return found == kMonths.end() ? 0 : 1 + int(found - kMonths.begin());
}

}  // namespace

StatedDate stated_date(const std::string& words) {
  // Groups: a month's name and its year; a year and a month's number; NVIDIA's containers; a year.
  static const std::regex date(
      R"(\b(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]{0,6}\.? (?:[0-9]{1,2},? )?(20[12][0-9])\b)"
      R"(|\b(20[12][0-9])-(0[1-9]|1[0-2])\b|\b(?:container|ngc|nemo) ?(2[0-9])\.(0[1-9]|1[0-2])\b)"
      R"(|\((20[12][0-9])\))"
      R"(|\b(?:in|since|from|year|early|mid|late) (20[12][0-9])\b(?! ?(?:steps|tokens|iter|samples|seq|gpus)))"
      R"(|(?:^|[;,] ?)(20[12][0-9])(?=\s*(?:[;,.]|$)))",
      std::regex::icase);
  StatedDate latest;
  for (std::sregex_iterator it(words.begin(), words.end(), date), end; it != end; ++it) {
    const std::smatch& match = *it;
    StatedDate found;
    if (match[1].matched) {
      found = {std::stoi(match[2]), month_named(match[1])};
    } else if (match[3].matched) {
      found = {std::stoi(match[3]), std::stoi(match[4])};
    } else if (match[5].matched) {
      found = {2000 + std::stoi(match[5]), std::stoi(match[6])};
    } else {
      found.year = std::stoi(match[7].matched ? match[7] : match[8].matched ? match[8] : match[9]);
    }
    latest = std::max(latest, found);
  }
  return latest;
}

}  // namespace parallel_opt
