#include "parallel_opt/cost/kept_products.h"

#include <algorithm>
#include <regex>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

constexpr double kHalf = 2;  // bytes of an element, as TransformerFacts counts them

void add_tensor(const std::string& name, BlockTensors& to) {
  const auto has = [&](std::string_view word) { return name.find(word) != std::string::npos; };
  if (has("layer_input")) to.input = true;
  if (has("query") || has("qkv") || name == "mla_q") to.query = true;
  if (has("key") || has("value") || has("kv")) to.key = true;
  if (has("context")) to.context = true;
  if (has("out_proj")) to.output = true;
  if (has("wi")) to.ahead = true;
  if (has("wo")) to.back = true;
}

/// MaxText's `remat_policy=custom`: each tensor by name, `remat` where it is not named.
std::optional<KeptProducts> tensor_by_tensor(const std::string& text) {
  static const std::regex pair(R"(([a-z_0-9]{1,40})['"]?\s?[=:]\s?['"]?(device|offload)\b)");
  const std::string low = lower_case(text);
  std::optional<KeptProducts> kept;
  for (std::sregex_iterator it(low.begin(), low.end(), pair), end; it != end; ++it) {
    if (!kept) kept.emplace();
    add_tensor((*it)[1], (*it)[2] == "device" ? kept->device : kept->host);
  }
  return kept;
}

/// Bytes of one block, per sample.
struct BlockBytes {
  double kept = 0, on_host = 0;
  void add(double bytes, bool device, bool host) {
    if (device || host) kept += bytes;
    if (host) on_host += bytes;
  }
};

}  // namespace

std::optional<KeptProducts> kept_in_words(const std::string& text) {
  if (auto named = tensor_by_tensor(text)) return named;
  std::string words = lower_case(text);
  std::erase_if(words, [](char c) { return c == ' ' || c == '-' || c == '_' || c == '='; });
  const auto has = [&](std::string_view word) { return words.find(word) != std::string::npos; };
  const bool offloads = has("qkvprojoffloaded") || has("minimaloffloaded");
  const bool names_policy = has("save") || has("minimal") || has("dots") || offloads;
  if (!names_policy || has("nothing") || has("everything")) return std::nullopt;
  if (has("offload") && !offloads) return std::nullopt;
  BlockTensors kept;
  if (has("dot") || has("minimal")) {
    kept.query = kept.key = kept.output = kept.ahead = kept.back = true;
    if (has("exceptmlp") || has("exceptlogitsffn1")) kept.ahead = false;
    if (has("exceptmlp") && !has("exceptmlpwi")) kept.back = false;
  }
  if (has("qkv")) kept.query = kept.key = true;
  if (has("outproj")) kept.output = true;
  if (has("context") || has("encoded")) kept.context = true;
  if (!kept.made()) return std::nullopt;
  return offloads ? KeptProducts{.host = kept} : KeptProducts{.device = kept};
}

double keep_products(const KeptProducts& kept, const TransformerFacts& facts,
                     SoftwareStack& stack) {
  const BlockTensors &here = kept.device, &away = kept.host;
  double flops = 0, again = 0, bytes = 0, kept_bytes = 0, host_bytes = 0;
  for (const BlockFacts& block : facts.blocks) {
    // In the order of the model: what enters attention, the sum behind it, the feed-forward part.
    // Nothing in the backward reads what the last sum makes: JAX keeps it under no policy, and XLA
    // computes nothing for nobody.
    const auto is_sum = [](const Product& one) { return one.side == ShardedSide::inner; };
    const auto all_sums = std::ranges::count_if(block.products, is_sum);
    const auto ahead_of_attention =
        std::ranges::find_if(block.products, is_sum) - block.products.begin();
    BlockBytes own;
    int sums = 0;
    for (std::size_t i = 0; i < block.products.size(); ++i) {
      const Product& one = block.products[i];
      const bool sum = is_sum(one);
      const bool first_sum = sum && sums == 0;
      const bool is_key = ahead_of_attention == 3 && i > 0;  // queries, keys, values
      const auto in = [&](const BlockTensors& set) {
        if (first_sum) return set.output;
        if (sums == 0) return is_key ? set.key : set.query;
        return sum ? set.back : set.ahead;
      };
      flops += block.repeats * one.flops();
      const bool unread = sum && sums + 1 == all_sums;
      if (!in(here) && !in(away) && !unread) again += block.repeats * one.flops();
      if (!unread) own.add(kHalf * one.rows * one.n, in(here), in(away));
      if (first_sum) own.add(kHalf * one.rows * one.k, here.context, away.context);
      if (sum) ++sums;
    }
    own.add(kHalf * block.boundary_elements, true, away.input);
    kept_bytes += block.repeats * own.kept;
    host_bytes += block.repeats * own.on_host;
    bytes += block.repeats * (block.fused_wide_bytes + block.fused_inner_bytes);
  }
  stack.selective_products = flops > 0 ? again / flops : 0;
  stack.selective_attention = here.context || away.context ? 0 : 1;
  stack.selective_operators = 1;
  stack.selective_keeps = bytes > 0 ? std::min(1.0, kept_bytes / bytes) : 1;
  return kept_bytes > 0 ? host_bytes / kept_bytes : 0;
}

}  // namespace parallel_opt
