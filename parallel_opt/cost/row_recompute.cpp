#include "parallel_opt/cost/row_recompute.h"

#include <algorithm>
#include <regex>
#include <set>
#include <utility>

#include "parallel_opt/base/text.h"

namespace parallel_opt {

PartOperators operators_of(const RecomputeParts& parts, const Graph& graph) {
  PartOperators found;
  std::set<TensorId> projected;  // by latent attention's up-projections, and what is made of those
  for (const Op& op : graph.ops) {
    const bool mlp = mentions(op.module, ".mlp");
    const bool core = op.target.starts_with("aten.scaled_dot_product_attention");
    const bool function =
        mlp && (op.target.starts_with("aten.silu") || op.target.starts_with("aten.gelu") ||
                op.target.starts_with("aten.mul"));
    const bool rotates = op.module.ends_with(".self_attn") && !core &&
                         std::ranges::any_of(op.inputs, [&](const Operand& operand) {
                           return projected.contains(operand.tensor);
                         });
    const bool latent = parts.latent && (op.module.ends_with("_b_proj") || rotates);
    if (latent) projected.insert(op.outputs.begin(), op.outputs.end());
    const bool drops =
        latent || (parts.activations && function) || (parts.norms && mentions(op.module, "norm"));
    found.dropped.push_back(drops);
    found.again.push_back(drops || (parts.mlp && mlp) || (parts.attention && core));
  }
  return found;
}

TransformerFacts parted(const TransformerFacts& facts, double share,
                        const std::optional<BlockRecompute>& some,
                        const std::optional<BlockRecompute>& rest) {
  TransformerFacts out = facts;
  out.blocks.clear();
  const auto add = [&](BlockFacts block, double part, const std::optional<BlockRecompute>& rule) {
    block.repeats *= part;
    if (rule) block.recompute = rule;
    if (block.repeats > 0) out.blocks.push_back(std::move(block));
  };
  for (const BlockFacts& block : facts.blocks) add(block, share, some);
  for (const BlockFacts& block : facts.blocks) add(block, 1 - share, rest);
  return out;
}

bool states_recompute(const TrainingRow& row, std::vector<std::string>& notes) {
  static const std::regex open(
      R"(\s*(?:(?:activation )?recomput\w*(?: is)? )?(?:unknown|unclear|auto(?:matic(?:ally)?)?|unstated|unreported|unspecified|undisclosed|)"
      R"((?:not|never) (?:re)?(?:stated|reported|specified|disclosed|known|given|said|listed)|)"
      R"((?:some |a )?custom(?: (?:policy|policies|recompute|checkpointing|remat))?)\s*(?:$|[;,:(.](.*)))",
      std::regex::icase);
  constexpr std::size_t kLongestCell = 256;  // letters: searches go as deep as a text is long
  if (row.recompute.empty()) return false;
  std::smatch match;
  const bool says_so =
      row.recompute.size() <= kLongestCell && std::regex_match(row.recompute, match, open);
  if (!says_so) return true;
  // What is on the host is read elsewhere (row_offload.h).
  const bool more = match[1].matched && !trim(match.str(1)).empty();
  if (more && (recompute_in_words(row.recompute) || !mentions(match.str(1), "offload")))
    return true;
  notes.push_back("recompute '" + row.recompute + "' counts as blank");
  return false;
}

void recompute_some_layers(RowCase& out) {
  if (!out.recompute) return;
  double share = out.recompute->share.value_or(1);
  if (out.recompute->per_stage) {
    const double stages = double(out.layout.pipeline) * std::max(1, out.layout.virtual_stages);
    share = *out.recompute->per_stage * stages / out.facts->layers();
  }
  if (out.recompute->spared)
    share = std::max(0.0, 1 - *out.recompute->spared / out.facts->layers());
  if (share >= 1) return;
  const BlockRecompute none{.rule = RecomputeRule::none};
  out.facts = std::make_shared<TransformerFacts>(parted(*out.facts, share, {}, none));
}

}  // namespace parallel_opt
