#include "parallel_opt/cost/row_claims.h"

#include <algorithm>
#include <cctype>
#include <unordered_map>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

/// Not the next mark; a full stop and a colon have a blank behind them.
constexpr const char* kInClause = R"((?:[^;,.:()]|[.:](?!\s|$)))";
/// Up to four words that what stands behind them is said of; neither "X and" nor "X with".
constexpr const char* kPhrase =
    R"(\b(?:(?!(?:and|or|but|with)\b)[a-z0-9_'"/+-]+(?:\.[a-z0-9_'"/+-]+)* ){0,3})"
    R"([a-z0-9_'"/+-]+(?:\.[a-z0-9_'"/+-]+)*)";
constexpr const char* kUnsaid =
    R"((?:re)?(?:stated|printed|said|recorded|reported|known|named|seen|given|listed))";

std::regex words(const std::string& pattern) { return std::regex(pattern, std::regex::icase); }

/// "no X", "not using X", "did not use X", "avoids X", "never X", "non-X".
const std::regex& denies_ahead() {
  // "No X with Y" has Y; "not run with Y" has none.
  static const std::regex pattern = words(
      std::string(R"((?:^|[^a-z_])(?:(?:no|without|w/o|never|lack(?:s|ing)?|disabl(?:es?|ing)|)") +
      R"(avoid(?:s|ed|ing)?)[ -]+)" + R"((?:(?! (?:but|with)\b))" + kInClause + R"()*)" +
      R"(|no_(?!sync|shard|reentrant)[a-z0-9_]+|non[ -](?!reentrant)[a-z0-9_-]+)" +
      R"(|(?:(?:did|do|does|is|are|was|were|has|have|had|can|could) )?)" +
      R"((?:not|cannot|[a-z]{2,6}n't) (?!only\b|)" + kUnsaid + R"(\b)(?:(?! but\b))" + kInClause +
      R"()*))");
  return pattern;
}

/// "X: off", "X=False", "X was not used", "X never enabled", "X disabled", "X omitted".
const std::regex& denies_behind() {
  static const std::regex pattern = words(
      std::string(kPhrase) +
      R"((?:(?:['"]?\s*[=:(]{1,2}\s*['"]?|\s+)(?:(?:is|are|was|were|turned|switched) )?)"
      R"((?:false|off|disabled|unused|unsupported|unavailable|omitted|left out|missing|absent|slower|)"
      R"(unnecessary|unneeded|inactive|(?:not|never|isn't|wasn't|aren't|weren't) (?:in use|on|turned on|used|applied|active|activated|enabled|)"
      R"(supported|yet supported|available|installed|fitted|present|connected|needed|required|necessary|tried))\b(?![-]| the\b))"
      R"(|['"]?\s*[=:]{1,2}\s*['"]?(?:no|none|n|0)\b(?![-.:/]))"
      // "X no", "X (none)", "X n/a" and ticked off, where the clause ends.
      R"(|\s+\(?(?:no|none|n/a|x|\xc3\x97|\xe2\x9c\x97|\xe2\x9c\x98|\xe2\x9d\x8c)\)?(?=\s*(?:$|[;,)]|\.(?:\s|$)))))");
  return pattern;
}

/// "X 0", where the clause ends; not "ZeRO stage 0".
const std::regex& denies_by_zero() {
  static const std::regex pattern =
      words(std::string(R"(\b(?!(?:[^ ;,.()]+ ){0,4}(?:stage|level|zero|version|seed) 0))") +
            kPhrase + R"(\s+0(?=\s*(?:$|[;,)]|\.(?:\s|$))))");
  return pattern;
}

/// "X costs time, so it was left out": said of a whole clause.
const std::regex& denies_after() {
  static const std::regex pattern = words(
      std::string(kInClause) +
      R"(*,? (?:so|hence|thus|therefore|and) (?:it (?:was|is) (?:left out|off|disabled|omitted|dropped|not used)|)" +
      R"(we (?:left|turned|switched) it (?:out|off))\b)");
  return pattern;
}

/// "Compared with X", "faster than X": said of another run.
const std::regex& of_others() {
  static const std::regex pattern = words(
      std::string(
          R"((?:^|[^a-z])(?:instead of|rather than|unlike|against|compar(?:ed?|es|ing|isons?) (?:with|to)|)") +
      R"(versus|vs\.?|(?:[a-z]{2,10}er|more|less) than|see also|other (?:rows?|runs?|experiments))[ -])" +
      kInClause + "*");
  return pattern;
}

/// Of a run that was not this one: it failed, or nobody made it. "X to avoid OOM" has X.
const std::regex& of_attempts() {
  static const std::regex pattern = words(
      R"(^(?!.*\b(?:avoid|prevent|against|fix|fixes|otherwise|else|or)\b).*)"
      R"(\b(?:ooms?|oom'?ed|oom-?ing|out[ -]of[ -]memory|crash(?:es|ed)?|hangs?|hung|fail(?:s|ed)?|)"
      R"(planned|plans?|would|could|recommend(?:s|ed)?|tried|gave|gain(?:s|ed)?|benefits?|)"
      R"(next (?:experiment|run|row)|runs? only|same run|baseline for|only for|switch(?:ing|ed) from|when saving|)"
      R"(for (?:checkpoints|checkpoint saving)|(?:adds|needs|takes|gives|saves) (?:it )?[0-9][0-9.]*x?)\b)"
      // Another run's figure: "22 GB with X", "with X 3700 tok/s", "X: 33 GB".
      R"(|\b[0-9][0-9.,]* ?(?:gb|gib|tok(?:ens)?/s|tflops?)(?![/a-z])[^;,]{0,8} with\b)"
      R"(|\bwith [^;,]{2,40} [0-9][0-9.,]* ?(?:gb|gib|tok(?:ens)?/s|tflops?)(?![/a-z])(?! (?:of|per|each|memory|hbm))|)"
      R"(^(?!.*(?:memory|peak|alloc|reserv|hbm|vram)).*\w: [0-9][0-9.,]* ?(?:gb|gib|tok(?:ens)?/s)(?![/a-z]))");
  return pattern;
}

const std::regex& unsaid() {
  static const std::regex pattern = words(std::string(kPhrase) + R"( (?:(?:is|are|was|were) )?)" +
                                          R"((?:(?:not )" + kUnsaid + R"(|unknown)\b))");
  return pattern;
}

/// Blanks in `from` for what matches in `text`, which goes to `to` where there is one.
void move_matches(const std::string& text, const std::regex& pattern, std::string& from,
                  std::string* to) {
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
    const auto at = std::size_t(it->position());
    const auto length = std::size_t(it->length());
    if (to != nullptr) to->replace(at, length, text, at, length);
    from.replace(at, length, length, ' ');
  }
}

/// What a text claims and what it denies; as long as it, blanks elsewhere.
struct Sorted {
  std::string kept, denied;
};

Sorted sorted(const std::string& text) {
  Sorted out{without_clauses(text, of_attempts()), std::string(text.size(), ' ')};
  move_matches(std::string(out.kept), of_others(), out.kept, nullptr);
  move_matches(std::string(out.kept), unsaid(), out.kept, nullptr);
  move_matches(std::string(out.kept), denies_after(), out.kept, &out.denied);
  const std::string own = out.kept;
  move_matches(own, denies_ahead(), out.kept, &out.denied);
  move_matches(own, denies_behind(), out.kept, &out.denied);
  move_matches(own, denies_by_zero(), out.kept, &out.denied);
  return out;
}

}  // namespace

Claims::Claims(const std::string& text) {
  // One row asks dozens of times what its notes claim, and its neighbours have the same notes.
  constexpr std::size_t kMost = 256;
  thread_local std::unordered_map<std::string, Sorted> known;
  if (known.size() > kMost) known.clear();
  auto at = known.find(text);
  if (at == known.end()) at = known.emplace(text, sorted(text)).first;
  kept_ = at->second.kept;
  denied_ = at->second.denied;
}

std::optional<bool> Claims::says(std::string_view words) const {
  if (mentions(kept_, words)) return true;
  return mentions(denied_, words) ? std::optional(false) : std::nullopt;
}

std::optional<bool> Claims::says(const std::regex& words) const {
  if (std::regex_search(kept_, words)) return true;
  return std::regex_search(denied_, words) ? std::optional(false) : std::nullopt;
}

bool Claims::none() const {
  static const std::regex nothing(R"(^\s*none\b)", std::regex::icase);
  static const std::regex brackets(R"(\([^)]*\)?)");
  if (std::regex_search(kept_, nothing)) return true;
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  return std::ranges::any_of(denied_, is_word) &&
         std::ranges::none_of(std::regex_replace(kept_, brackets, ""), is_word);
}

std::string without_clauses(std::string text, const std::regex& words) {
  static const std::regex mark(R"([;,()]|[.](?=\s|$)|->|=>)");
  const std::string whole = text;
  std::size_t begin = 0;
  for (std::sregex_iterator it(whole.begin(), whole.end(), mark), end;; ++it) {
    const std::size_t stop = it == end ? whole.size() : std::size_t(it->position());
    if (std::regex_search(whole.substr(begin, stop - begin), words)) {
      text.replace(begin, stop - begin, stop - begin, ' ');
    }
    if (it == end) return text;
    begin = stop + std::size_t(it->length());
  }
}

std::string without_citations(std::string text) {
  static const std::regex place(
      R"(\b(table|tab\.|figure|fig\.?|section|sec\.|appendix) ?[0-9a-z.]{1,6} (of|in|from) (the )?[^;,()]*?(?=[;,()]|[.](\s|$)|$))"
      R"(|\b\S+ (paper|blog|blog post|readme)\b)",
      std::regex::icase);
  const std::string whole = text;
  move_matches(whole, place, text, nullptr);
  return text;
}

}  // namespace parallel_opt
