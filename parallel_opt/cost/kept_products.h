#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/software_stack.h"
#include "parallel_opt/cost/transformer_facts.h"

namespace parallel_opt {

/// What of a block a checkpoint policy of JAX keeps; everything else is computed again.
struct KeptProducts {
  bool inputs = false;   ///< of attention: queries, keys, values
  bool context = false;  ///< attention's own result
  bool output = false;   ///< the projection behind it
  bool ahead = false;    ///< of the feed-forward part: first products
  bool back = false;     ///< and the last
  bool operator==(const KeptProducts&) const = default;
};

/// By the names that MaxText's `remat_policy`, Praxis' `AutodiffCheckpointType` and
/// jax.checkpoint_policies have for them: "save_qkv_proj", "SAVE_DOT_ONLY", "minimal",
/// "dots_with_no_batch_dims_saveable". Empty for other words, and for those that keep all or
/// nothing.
std::optional<KeptProducts> kept_in_words(const std::string& text);

/// Makes `kept` what the stack's selective recomputation means for this model.
void keep_products(const KeptProducts& kept, const TransformerFacts& facts, SoftwareStack& stack);

}  // namespace parallel_opt
