#pragma once

namespace parallel_opt {

/// Seconds of one block, one pass.
struct BlockTime {
  double products = 0, attention = 0, operators = 0, tensor = 0, expert = 0, context = 0, host = 0;
  double exponentials = 0;  ///< part of attention
  /// Of the same collectives what runs beside compute: no part of `whole`.
  double hidden_tensor = 0, hidden_context = 0, hidden_expert = 0;
  double last_product = 0;  ///< part of products: the one whose result leaves the block
  double work() const { return products + attention + operators + tensor + expert + context; }
  /// What of its collectives runs beside compute, in place of what does not.
  BlockTime hidden() const {
    return {.tensor = hidden_tensor, .expert = hidden_expert, .context = hidden_context};
  }
  double whole() const noexcept;  ///< what runs, or what the host takes to launch it
  /// Of a backward: the pass for weights. The host is as late with its launches as with the rest.
  double weights() const noexcept { return work() > 0 ? products / 2 * whole() / work() : 0; }
};

/// Seconds of a block's passes, and of what it computes again, in which the device waits for the
/// host.
inline double host_waits(const BlockTime& ahead, const BlockTime& back, double again_s) noexcept {
  const double ahead_s = ahead.whole(), waits_s = ahead_s - ahead.work();
  return waits_s + back.whole() - back.work() + (ahead_s > 0 ? again_s / ahead_s * waits_s : 0);
}

/// A group of ranks that exchange data, and what one of them gets through.
struct RankGroup {
  double ranks = 1;
  double inside = 1;  ///< of them in one node
  double bytes_per_s = 0;
  bool crosses() const { return ranks > inside; }
};

}  // namespace parallel_opt
