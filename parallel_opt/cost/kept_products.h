#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/software_stack.h"
#include "parallel_opt/cost/transformer_facts.h"

namespace parallel_opt {

/// Tensors of a block by the names that MaxText gives them.
struct BlockTensors {
  bool input = false;  ///< of the block: "decoder_layer_input"
  bool query = false;  ///< of attention; with queries, all that enters it where that is one product
  bool key = false;    ///< or value
  bool context = false;  ///< attention's own result
  bool output = false;   ///< the projection behind it
  bool ahead = false;    ///< of the feed-forward part: first products
  bool back = false;     ///< and the last
  /// Anything but the block's input, which is always kept.
  bool made() const { return query || key || context || output || ahead || back; }
  bool operator==(const BlockTensors&) const = default;
};

/// What of a block a checkpoint policy of JAX keeps, and where; all else is computed again.
struct KeptProducts {
  BlockTensors device = {};
  BlockTensors host = {};
  bool operator==(const KeptProducts&) const = default;
};

/// By the names that MaxText's `remat_policy`, Praxis' `AutodiffCheckpointType` and
/// jax.checkpoint_policies have for them: "save_qkv_proj", "SAVE_DOT_ONLY", "minimal_offloaded",
/// "dots_with_no_batch_dims_saveable"; of "custom" tensor by tensor, "decoder_layer_input=offload,
/// query_proj=device". Empty for other words, and for those that keep all or nothing.
std::optional<KeptProducts> kept_in_words(const std::string& text);

/// Makes `kept` what the stack's selective recomputation means for this model. Returns the share of
/// the kept bytes that the host has.
double keep_products(const KeptProducts& kept, const TransformerFacts& facts, SoftwareStack& stack);

}  // namespace parallel_opt
