#include "parallel_opt/cost/kept_products.h"

#include <algorithm>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

constexpr double kHalf = 2;  // bytes of an element, as TransformerFacts counts them

}  // namespace

std::optional<KeptProducts> kept_in_words(const std::string& text) {
  std::string words = lower_case(text);
  std::erase_if(words, [](char c) { return c == ' ' || c == '-' || c == '_' || c == '='; });
  const auto has = [&](std::string_view word) { return words.find(word) != std::string::npos; };
  const bool names_policy = has("save") || has("minimal") || has("dots");
  if (!names_policy || has("offload") || has("nothing") || has("everything")) return std::nullopt;
  KeptProducts kept;
  if (has("dot") || has("minimal")) {
    kept = {.inputs = true, .output = true, .ahead = true, .back = true};
    if (has("exceptmlp") || has("exceptlogitsffn1")) kept.ahead = false;
    if (has("exceptmlp") && !has("exceptmlpwi")) kept.back = false;
  }
  if (has("qkv")) kept.inputs = true;
  if (has("outproj")) kept.output = true;
  if (has("context") || has("encoded")) kept.context = true;
  if (kept == KeptProducts{}) return std::nullopt;
  return kept;
}

void keep_products(const KeptProducts& kept, const TransformerFacts& facts, SoftwareStack& stack) {
  double flops = 0, again = 0, bytes = 0, kept_bytes = 0;
  for (const BlockFacts& block : facts.blocks) {
    // In the order of the model: what enters attention, the sum behind it, the feed-forward part.
    // Nothing in the backward reads what the last sum makes, and XLA computes nothing for nobody.
    const auto is_sum = [](const Product& one) { return one.side == ShardedSide::inner; };
    const auto all_sums = std::ranges::count_if(block.products, is_sum);
    int sums = 0;
    for (const Product& one : block.products) {
      const bool sum = is_sum(one);
      const bool first_sum = sum && sums == 0;
      const bool keeps = first_sum   ? kept.output
                         : sums == 0 ? kept.inputs
                         : sum       ? kept.back
                                     : kept.ahead;
      flops += block.repeats * one.flops();
      const bool unread = sum && sums + 1 == all_sums;
      if (!keeps && !unread) again += block.repeats * one.flops();
      if (keeps) kept_bytes += block.repeats * kHalf * one.rows * one.n;
      if (first_sum && kept.context) kept_bytes += block.repeats * kHalf * one.rows * one.k;
      if (sum) ++sums;
    }
    kept_bytes += block.repeats * kHalf * block.boundary_elements;
    bytes += block.repeats * (block.fused_wide_bytes + block.fused_inner_bytes);
  }
  stack.selective_products = flops > 0 ? again / flops : 0;
  stack.selective_attention = kept.context ? 0 : 1;
  stack.selective_operators = 1;
  stack.selective_keeps = bytes > 0 ? std::min(1.0, kept_bytes / bytes) : 1;
}

}  // namespace parallel_opt
