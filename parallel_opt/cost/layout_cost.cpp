#include "parallel_opt/cost/layout_cost.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/base/embedded.h"

namespace parallel_opt {
namespace {

constexpr double kFactsBytes = 2;   // of an element in TransformerFacts
constexpr double kMasterBytes = 4;  // fp32 weight beside one of 16 bits
constexpr double kStateBytes = 4;   // fp32
constexpr double kTileRows = 128, kTileColumns = 256;
constexpr double kFastFlops = 5e14;  // 16-bit peak beyond which FlashAttention 2 lags behind
constexpr double kFlashBackward = 2.5, kUnfusedBackward = 2;  // times the forward
constexpr double kNarrowHead = 32;    // width that costs as much again: softmax beside the products
constexpr double kForwardHost = 0.4;  // of a block's host time; the backward launches more
constexpr double kMemoryShare = 0.85;     // of the peak that streaming kernels reach
constexpr double kUnfusedProducts = 0.6;  // of the matmul efficiency: thin products
constexpr double kLossPasses = 24;   // bytes per logit that the loss moves: fp32, there and back
constexpr double kCastPasses = 0.3;  // more of the operators' bytes where products are narrow

/// max with a soft corner: the longer of two that run side by side, a little more where they meet.
double longer(double a, double b) noexcept {
  constexpr double kSharpness = 12;
  const double most = std::max(a, b), least = std::min(a, b);
  if (most <= 0) return 0;
  return most * std::pow(1 + std::pow(least / most, kSharpness), 1 / kSharpness);
}

struct BlockTime {
  double products = 0, attention = 0, operators = 0, tensor = 0, expert = 0, context = 0, host = 0;
  double work() const { return products + attention + operators + tensor + expert + context; }
  double whole() const { return longer(work(), host); }
};

class LayoutModel {
 public:
  LayoutModel(const TransformerFacts& facts, const Accelerator& device, const SoftwareStack& stack,
              const ParallelLayout& layout, const LayoutParameters& p) noexcept
      : facts_(facts), device_(device), stack_(stack), l_(layout), p_(p) {
    const auto it = p.matmul_efficiency.find(device.arch);
    const auto other = p.matmul_efficiency.find("other");
    const double efficiency = it != p.matmul_efficiency.end()      ? it->second
                              : other != p.matmul_efficiency.end() ? other->second
                                                                   : 0.7;
    half_rate_ = device.half_flops_per_s * efficiency;
    rate_ = device.narrow ? device.flops_per_s * efficiency * p.narrow_efficiency
                          : device.flops_per_s * efficiency;
    memory_rate_ = device.bytes_per_s * kMemoryShare;
    tensor_ = std::max(1, layout.tensor);
    pipeline_ = std::max(1, layout.pipeline);
    rows_ = layout.micro_batch / std::max(1, layout.context);
    wide_split_ = layout.sequence_parallel ? tensor_ : 1;
    replicas_ = double(std::max(1, layout.data)) * std::max(1, layout.context);
    nodes_ = std::max(1.0, layout.devices() / std::max(1.0, device.per_node));
    layers_ = facts.layers();
    double head = 0, blocks = 0;
    for (const Product& one : facts.outside.products) head += one.flops();
    for (const BlockFacts& block : facts.blocks) {
      for (const Product& one : block.products) blocks += block.repeats * one.flops();
    }
    place_blocks(blocks > 0 ? head / (blocks / layers_) : 0);
  }

  LayoutCost run() const noexcept;
  LayoutStages stages() const;

 private:
  struct StageParameters {
    double dense = 0, expert = 0;  ///< of one rank, before sharding
    double sum() const { return dense + expert; }
  };
  double element_bytes() const noexcept { return l_.element_bytes; }
  /// Times what TransformerFacts counts at 2 bytes an element.
  double wider() const noexcept { return l_.element_bytes / kFactsBytes; }
  double product(double rows, double n, double k) const noexcept;
  double products(const BlockFacts& block, bool split_experts) const noexcept;
  double operators(const BlockFacts& block) const noexcept;
  BlockTime forward(const BlockFacts& block) const noexcept;
  BlockTime backward(const BlockTime& ahead) const noexcept;
  void add_blocks(LayoutCost& cost, double scale, double again) const noexcept;
  double send_s() const noexcept;
  double all_reduce(double bytes) const noexcept;
  double group_rate(double ranks, double inside) const noexcept;
  void add_data(LayoutCost& cost, double backward_s, double body_s) const noexcept;
  struct Kept {
    double of_all = 0;           ///< bytes, one micro-batch, all blocks
    double again = 0;            ///< of one block that is computed again
    double largest_weights = 0;  ///< elements of one block
  };
  Kept kept_of_blocks() const noexcept;
  void add_traffic(LayoutStage& stage, const StageParameters& own) const noexcept;
  void add_states(LayoutCost& stage, double parameters, const Kept& kept) const noexcept;
  void add_memory(LayoutCost& cost) const noexcept;
  StageParameters parameters_of(double layers, bool embeds, bool heads) const noexcept;
  StageParameters most_parameters() const noexcept;
  void place_blocks(double block_units) noexcept;

  const TransformerFacts& facts_;
  const Accelerator& device_;
  const SoftwareStack& stack_;
  const ParallelLayout& l_;
  const LayoutParameters& p_;
  double half_rate_, rate_, memory_rate_;
  double tensor_, pipeline_, rows_, wide_split_, replicas_, nodes_;
  double layers_ = 0;
  double first_layers_ = 0;  ///< of every stage but the last
  double last_layers_ = 0;   ///< of the stage with the head
};

/// Blocks come whole. `head`: the head's work in blocks.
void LayoutModel::place_blocks(double head) noexcept {
  if (pipeline_ <= 1) {
    first_layers_ = last_layers_ = layers_;
    return;
  }
  const double units = stack_.balances_head ? layers_ + head : layers_;
  first_layers_ = std::min(layers_, std::ceil(units / pipeline_ - 1e-9));
  last_layers_ = std::clamp(layers_ - first_layers_ * (pipeline_ - 1), 0.0, first_layers_);
  if (!stack_.balances_head) last_layers_ = std::max(last_layers_, std::floor(layers_ / pipeline_));
}

double LayoutModel::product(double rows, double n, double k) const noexcept {
  if (rows <= 0 || n <= 0 || k <= 0) return 0;
  const double ridge = std::min(rate_, half_rate_) / device_.bytes_per_s;
  const double tiles = std::ceil(rows / kTileRows) * std::ceil(n / kTileColumns);
  const double waves = std::max(1.0, tiles) / device_.units;
  return 2 * rows * n * k / rate_ * (1 + p_.inner_half * ridge / k) * (waves + p_.wave) / waves +
         p_.kernel_s;
}

double LayoutModel::products(const BlockFacts& block, bool split_experts) const noexcept {
  double sum = 0;
  for (const Product& one : block.products) {
    double n = one.n, k = one.k, rows = one.rows * rows_, count = 1;
    if (one.experts > 0 && split_experts) {
      const double ranks = std::min<double>(std::max(1, l_.expert), one.experts);
      count = one.experts / ranks;
      rows = rows / count;  // the tokens of `ranks` ranks meet here, for one expert in `ranks`
    }
    const bool whole = one.experts > 0 && l_.expert > 1;
    if (!whole) (one.side == ShardedSide::columns ? n : k) /= tensor_;
    // One launch runs the products of all experts.
    sum += count * (product(rows, n, k) - p_.kernel_s) + p_.kernel_s;
  }
  return sum;
}

double LayoutModel::operators(const BlockFacts& block) const noexcept {
  const double bytes = wider() * (block.wide_bytes / wide_split_ + block.inner_bytes / tensor_);
  const double casts = device_.narrow ? 1 + kCastPasses : 1;
  const double passes = stack_.fused_operators ? 1 : std::sqrt(block.eager_factor);
  return p_.pass * passes * casts * bytes * rows_ / memory_rate_;
}

/// Bytes per second and rank of a ring over `ranks`, `inside` of them in one node.
double LayoutModel::group_rate(double ranks, double inside) const noexcept {
  const double link = device_.link_bytes_per_s * p_.link_efficiency;
  if (ranks <= inside) return link;
  // The ring enters and leaves each node once; all adapters of the node's members share it.
  return std::min(link,
                  device_.network_bytes_per_s * p_.network_efficiency * std::max(1.0, inside));
}

/// Ring all-reduce inside the tensor group: 2 (n - 1) / n of the bytes [patarasuk2009].
double LayoutModel::all_reduce(double bytes) const noexcept {
  if (tensor_ <= 1) return 0;
  const double inside = std::min(tensor_, device_.per_node);
  const double latency = tensor_ <= device_.per_node ? p_.link_latency_s : p_.network_latency_s;
  return 2 * (tensor_ - 1) / tensor_ * bytes / group_rate(tensor_, inside) +
         2 * latency * std::log2(tensor_);
}

BlockTime LayoutModel::forward(const BlockFacts& block) const noexcept {
  BlockTime time;
  time.products = products(block, true);
  const double attention = block.attention_flops * rows_ / tensor_;
  if (stack_.attention == AttentionFamily::unfused) {
    time.attention =
        attention / (half_rate_ * kUnfusedProducts) +
        p_.score_pass * element_bytes() * block.score_elements * rows_ / tensor_ / memory_rate_;
  } else {
    const double lag = device_.half_flops_per_s > kFastFlops ? p_.flash_hopper : 1;
    const double share =
        (stack_.attention == AttentionFamily::vendor  ? p_.vendor_efficiency
         : stack_.attention == AttentionFamily::early ? p_.early_efficiency * lag
                                                      : p_.flash_efficiency * lag) *
        block.head_width / (block.head_width + kNarrowHead);
    time.attention = attention * block.causal_share / (device_.half_flops_per_s * share);
  }
  time.operators = operators(block);
  const double boundary = block.boundary_elements * rows_ * element_bytes();
  double sums = 0;
  for (const Product& one : block.products) {
    if (one.side == ShardedSide::inner && (one.experts == 0 || l_.expert <= 1)) sums += 1;
  }
  time.tensor = sums * all_reduce(boundary);
  if (stack_.overlaps_tensor) {
    time.tensor = std::max(time.tensor * (1 - p_.tensor_overlap), time.tensor - time.products);
  }
  if (block.dispatched_elements > 0 && l_.expert > 1) {
    const double ranks = l_.expert;
    const bool inside = ranks * tensor_ <= device_.per_node;
    const double rate = inside ? device_.link_bytes_per_s * p_.link_efficiency
                               : device_.network_bytes_per_s * p_.network_efficiency;
    const double latency = inside ? p_.link_latency_s : p_.network_latency_s;
    // There and back.
    time.expert =
        2 * (block.dispatched_elements * rows_ * element_bytes() * (ranks - 1) / ranks / rate +
             latency);
  }
  if (l_.context > 1) {
    const double ranks = l_.context;
    const bool inside = ranks * tensor_ <= device_.per_node;
    const double rate = inside ? device_.link_bytes_per_s * p_.link_efficiency
                               : device_.network_bytes_per_s * p_.network_efficiency;
    const double ring = 2 * boundary * (ranks - 1) / rate / tensor_;  // keys and values go round
    time.context = std::max(0.0, ring - time.attention);              // beside the attention
  }
  const double host = stack_.host_factor * (stack_.eager_host ? p_.host_s : p_.host_fused_s);
  const bool chatty = pipeline_ > 1 && tensor_ > 1 && nodes_ > 1;
  time.host = kForwardHost * (host + (chatty ? stack_.pipeline_tensor_host_s * tensor_ : 0));
  return time;
}

BlockTime LayoutModel::backward(const BlockTime& ahead) const noexcept {
  BlockTime time;
  time.products = 2 * ahead.products;
  time.attention =
      ahead.attention *
      (stack_.attention == AttentionFamily::unfused ? kUnfusedBackward : kFlashBackward);
  time.operators = 2 * ahead.operators;
  // Sequence parallelism gathers the inputs of products once more.
  time.tensor = ahead.tensor * (l_.sequence_parallel ? 1.5 : 1);
  time.expert = ahead.expert;
  time.context = 2 * ahead.context;
  time.host = ahead.host / kForwardHost * (1 - kForwardHost);
  return time;
}

LayoutModel::StageParameters LayoutModel::parameters_of(double layers, bool embeds,
                                                        bool heads) const noexcept {
  StageParameters sum;
  for (const BlockFacts& block : facts_.blocks) {
    const double count = layers_ > 0 ? block.repeats * layers / layers_ : 0;
    sum.dense += count * block.dense_parameters / tensor_;
    sum.expert += count * block.expert_parameters / (l_.expert > 1 ? l_.expert : tensor_);
  }
  const double own_head = facts_.outside.dense_parameters;
  if (embeds) sum.dense += facts_.embedding_parameters / tensor_;
  // A tied head is a second copy where the first stage is another one.
  const bool tied = own_head < facts_.embedding_parameters / 2;
  if (heads) {
    sum.dense += (tied && !embeds ? facts_.embedding_parameters + own_head : own_head) / tensor_;
  }
  return sum;
}

/// Of the stage with most.
LayoutModel::StageParameters LayoutModel::most_parameters() const noexcept {
  if (pipeline_ <= 1) return parameters_of(layers_, true, true);
  const StageParameters first = parameters_of(first_layers_, true, false);
  const StageParameters last = parameters_of(last_layers_, false, true);
  return first.sum() >= last.sum() ? first : last;
}

void LayoutModel::add_data(LayoutCost& cost, double backward_s, double body_s) const noexcept {
  const StageParameters stage = most_parameters();
  const double parameters = stage.sum();
  const double inside =
      std::max(1.0, std::min(replicas_, device_.per_node / std::min(tensor_, device_.per_node)));
  if (replicas_ > 1) {
    const double rate = group_rate(replicas_, inside);
    const double latency =
        (replicas_ > inside ? p_.network_latency_s : p_.link_latency_s) * std::log2(replicas_);
    // Seconds per byte of a parameter; experts have fewer replicas.
    const double copies = std::max(1.0, replicas_ / std::max(1, l_.expert));
    const double ring =
        ((replicas_ - 1) / replicas_ * stage.dense + (copies - 1) / copies * stage.expert) / rate;
    if (l_.shard >= 3) {
      const double moved = l_.micro_batches * ring * (2 * element_bytes() + stack_.reduced_bytes);
      cost.data_s = std::max(moved * (1 - p_.gather_overlap), moved - body_s);
    } else {
      const double moved = ring * (l_.shard >= 1 ? element_bytes() + stack_.reduced_bytes
                                                 : 2 * stack_.reduced_bytes) +
                           4 * latency;
      const double share = stack_.overlaps_data ? p_.overlap : 0;
      cost.data_s = std::max(moved * (1 - share), moved - backward_s);
    }
  }
  const double owners =
      l_.shard >= 1
          ? std::max(1.0,
                     l_.shard_degree > 0 ? std::min<double>(replicas_, l_.shard_degree) : replicas_)
          : 1;
  cost.optimizer_s = parameters / owners * p_.optimizer_bytes / device_.bytes_per_s;
}

/// Bytes of activations of one block that one micro-batch keeps, and the most that one holds while
/// it is computed again.
LayoutModel::Kept LayoutModel::kept_of_blocks() const noexcept {
  Kept kept;
  for (const BlockFacts& block : facts_.blocks) {
    double saved = (block.saved_wide_bytes / wide_split_ + block.saved_inner_bytes / tensor_) *
                   rows_ * p_.saved * wider();
    if (stack_.attention == AttentionFamily::unfused) {
      // Softmax, its dropout and the mask.
      const double scores = block.score_elements * rows_ / tensor_ * (2 * element_bytes() + 1);
      if (l_.recompute != RecomputeRule::selective) saved += scores;
    } else if (l_.recompute == RecomputeRule::selective) {
      saved *= p_.selective;
    }
    const double boundary = block.boundary_elements * rows_ * element_bytes() / wide_split_;
    const bool full = l_.recompute == RecomputeRule::full;
    kept.of_all += block.repeats * (full ? boundary : saved);
    if (full) kept.again = std::max(kept.again, saved);
    kept.largest_weights =
        std::max(kept.largest_weights, block.dense_parameters / tensor_ +
                                           block.expert_parameters / std::max(1, l_.expert));
  }
  return kept;
}

void LayoutModel::add_memory(LayoutCost& cost) const noexcept {
  const Kept kept = kept_of_blocks();
  const double one_layer = layers_ > 0 ? kept.of_all / layers_ : 0;
  const double v = std::max(1, l_.virtual_stages);
  double flying = l_.keeps_all ? l_.micro_batches : std::min(l_.micro_batches, pipeline_);
  if (v > 1 && pipeline_ > 1) flying *= 1 + (pipeline_ - 1) / (pipeline_ * v);
  const double logits = facts_.logits_elements * rows_ / tensor_ * stack_.logits_bytes * p_.logits;
  LayoutCost first, last;
  add_states(first, parameters_of(first_layers_, true, pipeline_ <= 1).sum(), kept);
  first.activations_bytes = one_layer * first_layers_ * flying + kept.again;
  if (pipeline_ <= 1) first.logits_bytes = logits;
  add_states(last, parameters_of(last_layers_, pipeline_ <= 1, true).sum(), kept);
  last.activations_bytes = one_layer * last_layers_ + kept.again;
  last.logits_bytes = logits;
  const LayoutCost& most = first.memory_bytes() >= last.memory_bytes() ? first : last;
  cost.weights_bytes = most.weights_bytes;
  cost.gradients_bytes = most.gradients_bytes;
  cost.optimizer_bytes = most.optimizer_bytes;
  cost.activations_bytes = most.activations_bytes;
  cost.logits_bytes = most.logits_bytes;
  cost.other_bytes =
      most.other_bytes + p_.reserve_bytes + most.memory_bytes() * (p_.fragmentation - 1);
}

/// What lives from step to step, and the gathered weights of sharded blocks.
void LayoutModel::add_states(LayoutCost& stage, double parameters,
                             const Kept& kept) const noexcept {
  const double owners =
      l_.shard_degree > 0 ? std::min<double>(replicas_, l_.shard_degree) : replicas_;
  stage.weights_bytes = parameters * element_bytes() / (l_.shard >= 3 ? owners : 1);
  const double gradient = l_.pure_half ? l_.element_bytes : stack_.gradient_bytes;
  stage.gradients_bytes = parameters * gradient / (l_.shard >= 2 ? owners : 1);
  const double master = l_.element_bytes < 4 && !l_.pure_half ? kMasterBytes : 0;
  const double state = l_.pure_half ? l_.element_bytes : kStateBytes;
  stage.optimizer_bytes =
      parameters * (master + state * l_.optimizer_states) / (l_.shard >= 1 ? owners : 1);
  if (l_.shard >= 3) stage.other_bytes = 2 * kept.largest_weights * element_bytes();
}

LayoutCost LayoutModel::run() const noexcept {
  LayoutCost cost;
  const double m = std::max(1.0, l_.micro_batches);
  const double head = 3 * products(facts_.outside, false) + 3 * operators(facts_.outside) +
                      facts_.logits_elements * rows_ / tensor_ * kLossPasses / memory_rate_;
  double ahead_s = 0, back_s = 0;  // of all blocks
  for (const BlockFacts& block : facts_.blocks) {
    const BlockTime ahead = forward(block), back = backward(ahead);
    ahead_s += block.repeats * ahead.whole();
    back_s += block.repeats * back.whole();
  }
  const double again = l_.recompute == RecomputeRule::full ? 1 : 0;
  const double layer_s = layers_ > 0 ? (ahead_s * (1 + again) + back_s) / layers_ : 0;
  const double first = first_layers_ * layer_s, last = last_layers_ * layer_s + head;
  const bool with_head = pipeline_ <= 1 || last >= first;
  const double slow_layers = with_head ? last_layers_ : first_layers_;
  add_blocks(cost, layers_ > 0 ? m * slow_layers / layers_ : 0, again);
  cost.head_s = with_head ? m * head : 0;
  const double slow = with_head ? last : first;
  const double send = send_s();
  cost.pipeline_s = m * send;
  // One micro-batch passes through all other stages once; interleaving cuts that wait.
  const double all = layers_ * layer_s + head;
  if (pipeline_ > 1) {
    cost.bubble_s =
        std::max(0.0, all - slow + (pipeline_ - 1) * send) / std::max(1, l_.virtual_stages);
  }
  const double body = m * slow + cost.pipeline_s + cost.bubble_s;
  cost.busy_s = m * slow - cost.tensor_s - cost.expert_s - cost.context_s;
  const double share = layers_ > 0 ? slow_layers / layers_ : 0;
  cost.forward_s = ahead_s * share + (with_head ? head / 3 : 0);
  cost.backward_s = (back_s + again * ahead_s) * share + (with_head ? head * 2 / 3 : 0);
  add_data(cost, cost.backward_s, m * slow);
  const double once = body + cost.data_s + cost.optimizer_s + p_.step_s;
  cost.other_s = p_.step_s + once * p_.straggle * std::log2(nodes_);
  add_memory(cost);
  return cost;
}

/// Seconds of the slowest stage by kind. `scale`: its share of all blocks, times micro-batches.
void LayoutModel::add_blocks(LayoutCost& cost, double scale, double again) const noexcept {
  for (const BlockFacts& block : facts_.blocks) {
    const double count = scale * block.repeats;
    const BlockTime ahead = forward(block), back = backward(ahead);
    cost.products_s += count * (ahead.products + back.products);
    cost.attention_s += count * (ahead.attention + back.attention);
    cost.operators_s += count * (ahead.operators + back.operators);
    cost.tensor_s += count * (ahead.tensor + back.tensor);
    cost.expert_s += count * (ahead.expert + back.expert);
    cost.context_s += count * (ahead.context + back.context);
    cost.recompute_s += count * again * ahead.whole();
    cost.host_s += count * (ahead.whole() - ahead.work() + back.whole() - back.work());
  }
}

/// Of one micro-batch to the next stage and its gradient back.
double LayoutModel::send_s() const noexcept {
  if (pipeline_ <= 1) return 0;
  const bool inside = l_.devices() <= device_.per_node;
  const double rate = inside ? device_.link_bytes_per_s * p_.link_efficiency
                             : device_.network_bytes_per_s * p_.network_efficiency;
  const double boundary =
      facts_.blocks.empty() ? 0 : facts_.blocks.front().boundary_elements * rows_ * element_bytes();
  const double latency = inside ? p_.link_latency_s : p_.network_latency_s;
  return 2 * p_.send * std::max(1, l_.virtual_stages) * (boundary / wide_split_ / rate + latency);
}

LayoutStages LayoutModel::stages() const {
  LayoutStages out;
  const int count = std::max(1, l_.pipeline) * std::max(1, l_.virtual_stages);
  const bool full = l_.recompute == RecomputeRule::full;
  LayoutStage layer;  // the mean block
  double blocks = 0;
  for (const BlockFacts& block : facts_.blocks) {
    const BlockTime ahead = forward(block), back = backward(ahead);
    const double n = block.repeats;
    const double ahead_exposed = ahead.tensor + ahead.expert + ahead.context;
    const double back_exposed = back.tensor + back.expert + back.context;
    layer.forward_s += n * (ahead.whole() - ahead_exposed);
    layer.backward_s += n * (back.whole() - back_exposed);
    layer.forward_exposed_s += n * ahead_exposed;
    layer.backward_exposed_s += n * back_exposed;
    if (full) layer.recompute_s += n * ahead.whole();
    blocks += n;
  }
  const Kept kept = kept_of_blocks();
  const double head_products = products(facts_.outside, false) + operators(facts_.outside);
  const double loss_s = facts_.logits_elements * rows_ / tensor_ * kLossPasses / memory_rate_;
  const double logits = facts_.logits_elements * rows_ / tensor_ * stack_.logits_bytes * p_.logits;
  double left = layers_;
  for (int i = 0; i < count; ++i) {
    const bool is_first = i == 0, is_last = i == count - 1;
    // Whole blocks; where the head is balanced, the last stage takes what the others leave.
    const double ranks_layers = l_.virtual_stages > 1 ? std::ceil(left / (count - i) - 1e-9)
                                : is_last             ? left
                                                      : std::min(left, first_layers_);
    const double share = blocks > 0 ? ranks_layers / blocks : 0;
    left -= ranks_layers;
    LayoutStage stage;
    stage.layers = ranks_layers;
    stage.forward_s = share * layer.forward_s + (is_last ? head_products + loss_s / 2 : 0);
    stage.backward_s = share * layer.backward_s + (is_last ? 2 * head_products + loss_s / 2 : 0);
    stage.recompute_s = share * layer.recompute_s;
    stage.forward_exposed_s = share * layer.forward_exposed_s;
    stage.backward_exposed_s = share * layer.backward_exposed_s;
    stage.kept_bytes = blocks > 0 ? ranks_layers * kept.of_all / blocks : 0;
    stage.working_bytes = kept.again + (is_last ? logits : 0);
    LayoutCost states;
    const StageParameters own = parameters_of(ranks_layers, is_first, is_last);
    add_states(states, own.sum(), kept);
    stage.static_bytes = states.memory_bytes() + p_.reserve_bytes / count * l_.pipeline;
    add_traffic(stage, own);
    out.stages.push_back(stage);
  }
  const bool inside = l_.devices() <= device_.per_node;
  out.link_bytes_per_s = inside ? device_.link_bytes_per_s * p_.link_efficiency
                                : device_.network_bytes_per_s * p_.network_efficiency;
  out.link_latency_s = inside ? p_.link_latency_s : p_.network_latency_s;
  out.boundary_bytes = facts_.blocks.empty() ? 0
                                             : facts_.blocks.front().boundary_elements * rows_ *
                                                   element_bytes() / wide_split_;
  out.step_s = p_.step_s;
  out.reduce_hides = stack_.overlaps_data ? p_.overlap : 0;
  return out;
}

/// Of a stage's parameters between its replicas, and the optimizer's.
void LayoutModel::add_traffic(LayoutStage& stage, const StageParameters& own) const noexcept {
  const double owners = l_.shard >= 1 && replicas_ > 1 ? replicas_ : 1;
  stage.optimizer_s = own.sum() / owners * p_.optimizer_bytes / device_.bytes_per_s;
  if (replicas_ <= 1) return;
  const double inside =
      std::max(1.0, std::min(replicas_, device_.per_node / std::min(tensor_, device_.per_node)));
  const double copies = std::max(1.0, replicas_ / std::max(1, l_.expert));
  const double ring =
      ((replicas_ - 1) / replicas_ * own.dense + (copies - 1) / copies * own.expert) /
      group_rate(replicas_, inside);
  stage.gather_s = l_.shard >= 1 ? ring * element_bytes() : 0;
  stage.reduce_s = ring * stack_.reduced_bytes * (l_.shard >= 1 ? 1 : 2);
}

}  // namespace

LayoutStages layout_stages(const TransformerFacts& facts, const Accelerator& device,
                           const SoftwareStack& stack, const ParallelLayout& layout,
                           const LayoutParameters& p) {
  return LayoutModel(facts, device, stack, layout, p).stages();
}

double LayoutCost::time_s() const {
  return products_s + attention_s + operators_s + host_s + recompute_s + head_s + tensor_s +
         context_s + expert_s + pipeline_s + bubble_s + data_s + optimizer_s + other_s;
}

double LayoutCost::memory_bytes() const {
  return weights_bytes + gradients_bytes + optimizer_bytes + activations_bytes + logits_bytes +
         other_bytes;
}

const LayoutParameters& layout_parameters() {
  static const LayoutParameters parameters = [] {
    const auto text = embedded_file("data/cost/layout.json");
    return from_json<LayoutParameters>(text.value(), "data/cost/layout.json");
  }();
  return parameters;
}

LayoutCost layout_cost(const TransformerFacts& facts, const Accelerator& device,
                       const SoftwareStack& stack, const ParallelLayout& layout,
                       const LayoutParameters& p) noexcept {
  return LayoutModel(facts, device, stack, layout, p).run();
}

}  // namespace parallel_opt
