#pragma once

#include <optional>
#include <string>

namespace parallel_opt {

/// A global batch as most papers state it: "4M tokens", "4194304 tokens".
struct TokenBatch {
  double count = 0;
  int thousands = 0;  ///< how often it is times 1000, or 1024: two for "M"
  std::string words;  ///< "4M tokens"
  bool operator==(const TokenBatch&) const = default;
};

/// What a cell of `global_batch` has: "4M tokens", "4M" (no batch has as many sequences).
std::optional<TokenBatch> tokens_of_batch(const std::string& cell);

/// Without tokens beside the sequences: "1024" of "1024 (4M tokens)"; other texts as they are.
std::string without_tokens(const std::string& cell);

/// "Global batch of 4M tokens", "a batch size of 0.5M tokens", "4M tokens per step"; empty: notes
/// say none, or several.
std::optional<TokenBatch> token_batch_in_notes(const std::string& notes);

/// Sequences of so many tokens. An M is 2^20 where that makes a whole number of them that is parted
/// by `at_once`, what all replicas take at once; else 10^6, rounded to the nearest number that is.
/// Where that one is more than 5 % away, the nearest whole number, which nothing parts.
double sequences_of(const TokenBatch& batch, double sequence, double at_once);

}  // namespace parallel_opt
