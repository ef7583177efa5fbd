#include "parallel_opt/cost/token_batch.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// The number, and by how many thousands it counts.
constexpr const char* kCount =
    R"(([0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,12}(?:\.[0-9]{1,6})?)(?:[ -]?(?:(mi?|million)|(ki?|thousand))(?![a-z]))?)";

/// Pre: groups `first` to `first` + 2 are those of kCount.
std::optional<TokenBatch> token_batch_of(const std::smatch& match, std::size_t first,
                                         const std::string& words) {
  std::string digits = match[first];
  std::erase(digits, ',');
  const auto count = stated_number(digits);
  if (!count) return std::nullopt;
  const int thousands = match[first + 1].matched ? 2 : match[first + 2].matched ? 1 : 0;
  return TokenBatch{*count, thousands, words};
}

constexpr std::size_t kLongestCell = 128;  // letters: searches go as deep as a text is long

}  // namespace

std::optional<TokenBatch> tokens_of_batch(const std::string& stated) {
  static const std::regex tokens(
      std::string(R"((?:~ ?|about |ca\.? )?)") + kCount +
          R"([ -]?(tok(?:en)?s?)?(?: ?(?:/|per) ?(?:global )?(?:step|batch|iteration|iter|update))?)",
      std::regex::icase);
  const std::string cell(trim(stated));
  std::smatch match;
  if (cell.size() > kLongestCell || !std::regex_match(cell, match, tokens)) return std::nullopt;
  const bool millions = match[2].matched;
  return match[4].matched || millions ? token_batch_of(match, 1, cell) : std::nullopt;
}

std::string without_tokens(const std::string& stated) {
  constexpr const char* kSequences = R"(([0-9][0-9,']{0,12}(?: (?:sequences?|samples?|seqs?))?))";
  static const std::regex behind(std::string(kSequences) +
                                     R"( ?(?:[(/;=]|, |x|×|of ) ?(?:[~=] ?)?)" + kCount +
                                     R"([ -]?tok(?:en)?s?\)?)",
                                 std::regex::icase);
  static const std::regex ahead(
      std::string(kCount) +
          R"([ -]?tok(?:en)?s? ?[(/;=,] ?([0-9][0-9,']{0,12} (?:sequences?|samples?|seqs?))\)?)",
      std::regex::icase);
  const std::string cell(trim(stated));
  std::smatch match;
  if (cell.size() > kLongestCell) return stated;
  if (std::regex_match(cell, match, behind)) return match[1];
  return std::regex_match(cell, match, ahead) ? match.str(4) : stated;
}

std::optional<TokenBatch> token_batch_in_notes(const std::string& notes) {
  // Neither a micro-batch nor what one device takes.
  static const std::regex of_batch(
      std::string(
          R"((?:^|[^a-z0-9_.])(?:(?:([a-z]+)[ _-])?batch(?:[ _-]?size)?|gbs)(?: (?:of|is|was))?)") +
          R"([ :=]{1,3}(?:~ ?|about |approximately )?()" + kCount +
          R"([ -]?tok(?:en)?s?)\b(?! ?(?:/|per) ?(?:gpu|device|replica|rank|node|chip|micro)))",
      std::regex::icase);
  static const std::regex in_front(
      std::string(R"((?:^|[^a-z0-9_.,])()") + kCount +
          R"([ -]tok(?:en)?s?)(?: ?(?:/|per) ?| (?:in|for) (?:a|each|every) |[ -])(?:global[ -])?(?:batch(?:[ _-]?size)?|step|iteration)\b)",
      std::regex::icase);
  static const std::regex of_part("micro|local|device|gpu|replica|rank|node|chip|per",
                                  std::regex::icase);
  std::optional<TokenBatch> found;
  const auto add = [&](const std::smatch& match, std::size_t words) {
    constexpr double kLeast = 1 << 16;  // tokens: fewer are those of a sequence or two
    const auto batch = token_batch_of(match, words + 1, match[words]);
    if (!batch || batch->count * std::pow(1000, batch->thousands) < kLeast) return;
    const bool another = found && batch->words != found->words;
    found = another ? std::optional(TokenBatch{}) : batch;
  };
  for (std::sregex_iterator it(notes.begin(), notes.end(), of_batch), end; it != end; ++it) {
    if (!std::regex_match((*it).str(1), of_part)) add(*it, 2);
  }
  for (std::sregex_iterator it(notes.begin(), notes.end(), in_front), end; it != end; ++it) {
    add(*it, 1);
  }
  return found && found->count > 0 ? found : std::nullopt;
}

double sequences_of(const TokenBatch& batch, double sequence, double at_once) {
  const double binary = batch.count * std::pow(1024, batch.thousands) / sequence;
  const bool whole = binary == std::floor(binary);
  if (whole && (batch.thousands == 0 || std::fmod(binary, at_once) == 0)) return binary;
  const double decimal = batch.count * std::pow(1000, batch.thousands) / sequence;
  const double parted = std::max(1.0, std::round(decimal / at_once)) * at_once;
  constexpr double kRounded = 0.05;
  const bool near = std::abs(parted / decimal - 1) <= kRounded;
  return near ? parted : std::max(1.0, std::round(decimal));
}

}  // namespace parallel_opt
