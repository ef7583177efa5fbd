#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "parallel_opt/cost/software_stack.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// How the parts of a matrix product under tensor parallelism are dealt out.
enum class ShardedSide {
  columns,  ///< of the result: every rank makes its own slice
  inner,    ///< the inner dimension: partial sums, one all-reduce behind it
};

/// Equal products of one block: tokens x k by k x n. Per sample.
struct Product {
  double rows = 0;  ///< of one sample (all experts together)
  double n = 0;
  double k = 0;
  double experts = 0;  ///< 0: dense; else the rows are dealt to so many weights
  ShardedSide side = ShardedSide::columns;
  double flops() const { return 2 * rows * n * k; }
  bool operator==(const Product&) const = default;
};

/// What is computed again of a block where a list names it, whatever the layout's rule.
struct BlockRecompute {
  RecomputeRule rule = RecomputeRule::none;  ///< selective: by what follows
  double products = 0;                       ///< shares of the block's own
  double attention = 0;
  double operators = 0;
  double saved_wide_bytes = 0;  ///< that stay, as BlockFacts has them of all
  double saved_inner_bytes = 0;
  double fused_wide_bytes = 0;
  double fused_inner_bytes = 0;
  bool operator==(const BlockRecompute&) const = default;
};

/// One repeated block, or what stands outside of all. Per sample of the batch; bytes as if every
/// floating-point element had 2 bytes.
struct BlockFacts {
  double repeats = 1;
  std::vector<Product> products;
  double attention_flops = 0;      ///< forward, every position with every other
  double head_width = 128;         ///< inner size of one head's products
  double heads = 0;                ///< of queries; 0: not known
  double score_elements = 0;       ///< of the attention matrices
  double kept_elements = 0;        ///< keys and values that context parallelism sends round
  double causal_share = 1;         ///< of attention_flops that a kernel which skips has to do
  double wide_bytes = 0;           ///< moved by other operators on the block's own width, fused
  double inner_bytes = 0;          ///< likewise on what tensor parallelism splits
  double eager_factor = 1;         ///< unfused over fused bytes of both
  double boundary_elements = 0;    ///< of the tensor that enters it
  double dense_parameters = 0;     ///< split by tensor parallelism
  double expert_parameters = 0;    ///< split by expert parallelism
  double saved_wide_bytes = 0;     ///< kept for the backward on the block's own width
  double saved_inner_bytes = 0;    ///< likewise on what tensor parallelism splits
  double fused_wide_bytes = 0;     ///< kept where operators between products are one kernel
  double fused_inner_bytes = 0;    ///< likewise on what tensor parallelism splits
  double cast_wide_bytes = 0;      ///< of the fused ones, what only products read
  double cast_inner_bytes = 0;     ///< likewise on what tensor parallelism splits
  int operators = 0;               ///< that launch something
  double dispatched_elements = 0;  ///< tokens times width that go to the experts
  double expert_groups = 0;        ///< that a router picks from first; 0: from all experts at once
  double chosen_groups = 0;        ///< of those, that one token's experts lie in
  std::optional<BlockRecompute> recompute;  ///< absent: by the layout's rule
  double experts() const noexcept;          ///< that its tokens are spread over; 0: none
  bool operator==(const BlockFacts&) const = default;
};

/// What a layout's cost depends on of a model that is mostly repeated blocks, per sample.
struct TransformerFacts {
  std::vector<BlockFacts> blocks;  ///< classes of blocks, in the order of the model
  /// Class of each block in the order of the model, where a list tells equal ones apart; empty:
  /// classes lie evenly.
  std::vector<int> order;
  BlockFacts outside;               ///< head and loss; repeats is 1
  double embedding_parameters = 0;  ///< looked up, not multiplied with; a tied head's are here too
  double logits_elements = 0;       ///< of the last product
  double tokens = 0;                ///< per sample; 0: not a text model
  double parameters = 0;
  double layers() const;
  double experts() const noexcept;  ///< the most of any block
  /// Most blocks attend over tokens: what published measurements are of. Not convolutions, scans of
  /// states, nor images.
  bool is_of_measured_kind() const;
  bool operator==(const TransformerFacts&) const = default;
};

/// Read from the graph at its bound sizes. Linear in operators. `again`, one per operator, are run
/// again in the backward; equal blocks of which other parts are become classes of their own. Empty:
/// the layout's rule says. `dropped`: of those whose results are made again for others that read
/// them too, and not kept (Megatron's output-discarding checkpoints); empty: of none.
TransformerFacts transformer_facts(const Graph& graph, const std::vector<bool>& again = {},
                                   const std::vector<bool>& dropped = {});

}  // namespace parallel_opt
