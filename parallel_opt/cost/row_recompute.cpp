#include "parallel_opt/cost/row_recompute.h"

#include <algorithm>
#include <utility>

#include "parallel_opt/base/text.h"

namespace parallel_opt {

std::vector<bool> operators_of(const RecomputeParts& parts, const Graph& graph) {
  std::vector<bool> again;
  for (const Op& op : graph.ops) {
    const bool mlp = mentions(op.module, ".mlp");
    const bool core = op.target.starts_with("aten.scaled_dot_product_attention");
    const bool function =
        mlp && (op.target.starts_with("aten.silu") || op.target.starts_with("aten.gelu") ||
                op.target.starts_with("aten.mul"));
    again.push_back((parts.mlp && mlp) || (parts.attention && core) ||
                    (parts.activations && function) ||
                    (parts.norms && mentions(op.module, "norm")) ||
                    (parts.latent && op.module.ends_with("_b_proj")));
  }
  return again;
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
  TransformerFacts facts = *out.facts;
  const std::size_t kinds = facts.blocks.size();
  for (std::size_t i = 0; i < kinds; ++i) {
    BlockFacts rest = facts.blocks[i];
    rest.repeats *= 1 - share;
    rest.recompute = BlockRecompute{.rule = RecomputeRule::none};
    facts.blocks[i].repeats *= share;
    facts.blocks.push_back(std::move(rest));
  }
  out.facts = std::make_shared<TransformerFacts>(std::move(facts));
}

}  // namespace parallel_opt
