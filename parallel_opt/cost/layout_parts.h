#pragma once

#include <optional>

#include "parallel_opt/cost/layout_cost.h"

namespace parallel_opt {

/// What LayoutModel puts a step together from.
struct LayoutParts {
  struct StageParameters {
    double dense = 0, expert = 0;  ///< of one rank, before sharding
    double sum() const { return dense + expert; }
    StageParameters operator+(const StageParameters& o) const {
      return {dense + o.dense, expert + o.expert};
    }
  };
  /// Of stages, one micro-batch.
  struct StageTimes {
    double forward_s = 0;
    double backward_s = 0;  ///< with what is computed again
    double weights_s = 0;   ///< part of the backward: gradients of weights
    double sum() const { return forward_s + backward_s; }
    StageTimes operator+(const StageTimes& o) const {
      return {forward_s + o.forward_s, backward_s + o.backward_s, weights_s + o.weights_s};
    }
  };
  /// All blocks, and what stands outside of them both ways, one micro-batch.
  struct Passes {
    double forward_s = 0, backward_s = 0, again_s = 0, weights_s = 0, head_s = 0;
    LayoutCost by_kind;       ///< the first two, of one micro-batch
    double host_waits_s = 0;  ///< of the first three
  };
  /// Of the rank that sets the pace.
  struct Pace {
    double layers = 0;
    double of_head = 0;  ///< of the micro-batches, those whose head it computes
    double send_s = 0;
    /// For copies of activations beside other micro-batches' passes, where a table tells.
    std::optional<double> copies_s = {};
    /// Of gathers before the first passes and reductions behind the last ones what nothing hides,
    /// where a table tells.
    std::optional<double> exchanged_s = {};
    double bubble_s = 0;  ///< below 0: of traffic, what the schedule hides or a turn saves
  };
  struct Kept {
    double of_all = 0;           ///< bytes, one micro-batch, all blocks
    double again = 0;            ///< of one block that is computed again
    double largest_weights = 0;  ///< elements that are gathered at once
    double next_weights = 0;     ///< and of the block that is gathered beside it
  };
  /// Of one token's copies: those that leave its node, and those that go to other devices of one.
  struct Dispatched {
    double leaving = 0, inside = 0;
  };
  /// Of a block's tokens, to their experts: one way, but for the order, which counts both.
  struct ExpertTraffic {
    double wires = 0, latency = 0;
    double ordering = 0;  ///< put in order on the device, there and back
    double gathered = 0;  ///< by ranks that split an expert; scattered on the way back
    double sum() const { return 2 * (wires + ordering / 2 + latency + gathered); }
  };
  struct Exchange {
    double gather_s = 0;  ///< of the weights of one stage, once
    double reduce_s = 0;  ///< of their gradients
    double summed_s = 0;  ///< of that, all-reduces; the rest scatters
  };
};

}  // namespace parallel_opt
