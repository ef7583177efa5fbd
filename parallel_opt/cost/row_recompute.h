#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// What `transformer_facts` takes, by operator of a graph with an inline spec's names of modules.
/// Functions inside feed-forward parts, norms and latent attention's up-projections are recomputed
/// for those who read them too, so that their results are not kept; of attention's core and of
/// whole feed-forward parts the result stays, as with torch's checkpoints (Megatron Core,
/// recompute-modules).
struct PartOperators {
  std::vector<bool> again, dropped;
};
PartOperators operators_of(const RecomputeParts& parts, const Graph& graph);

/// A model of which a share of each kind of block is computed again as `some` says, the others as
/// `rest` does; empty: as the layout's rule does.
TransformerFacts parted(const TransformerFacts& facts, double share,
                        const std::optional<BlockRecompute>& some,
                        const std::optional<BlockRecompute>& rest);

/// Whether the row's cell says anything of what is computed again: "unknown", "auto" and "custom
/// policy" mean what a blank does, which is noted, also with an offload behind ("custom policy; the
/// input of each block is offloaded"), which is read as one.
bool states_recompute(const TrainingRow& row, std::vector<std::string>& notes);

/// Where a row counts the layers that are computed again ("12 of 48 layers", "block, 5 layers"),
/// its model becomes one with so many of each kind of block under the layout's rule and the others
/// under none.
void recompute_some_layers(RowCase& out);

}  // namespace parallel_opt
