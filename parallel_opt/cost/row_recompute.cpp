#include "parallel_opt/cost/row_recompute.h"

#include <algorithm>
#include <utility>

#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {

void recompute_some_layers(const TrainingRow& row, RowCase& out) {
  const auto found = recompute_in_words(row.recompute);
  if (row.recompute.empty() || !found) return;
  double share = found->share.value_or(1);
  if (found->per_stage) {
    const double stages = double(out.layout.pipeline) * std::max(1, out.layout.virtual_stages);
    share = *found->per_stage * stages / out.facts->layers();
  }
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
