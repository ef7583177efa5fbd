#pragma once

#include <optional>
#include <regex>
#include <string>
#include <string_view>

namespace parallel_opt {

/// What a text of a table claims of its run, and what it denies: "no X", "without X", "not using
/// X", "avoids X", "X=False", "X: 0", "X (disabled)", "X was off", "X was never needed". Neither is
/// what it holds against the run ("compared with X", "faster than X", "other runs use X") or says
/// to be unknown ("X not stated"), nor a clause of what was tried or planned ("X runs out of
/// memory", "would need X").
class Claims {
 public:
  explicit Claims(const std::string& text);

  /// The text with blanks for all that is not claimed.
  const std::string& kept() const noexcept { return kept_; }
  /// True: some mention is a claim; false: all are denied; empty: there is none, or nobody says.
  std::optional<bool> says(std::string_view words) const;
  std::optional<bool> says(const std::regex& words) const;
  bool has(std::string_view words) const { return says(words).value_or(false); }
  bool has(const std::regex& words) const { return says(words).value_or(false); }
  /// Whether the text denies something and claims nothing, but for what stands in brackets: "no
  /// ZeRO (one device)", "none", "recompute=False".
  bool none() const;

 private:
  std::string kept_, denied_;  ///< as long as the text; what belongs elsewhere is blank
};

/// The text with blanks for the clauses in which the words stand; ";", ",", brackets, arrows and
/// full stops part clauses.
std::string without_clauses(std::string text, const std::regex& words);

/// The text with blanks for where it was found: "Table 1 of X", "the X paper".
std::string without_citations(std::string text);

}  // namespace parallel_opt
