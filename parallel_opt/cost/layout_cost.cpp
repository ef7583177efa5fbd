#include <algorithm>
#include <cmath>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/cost/data_loading.h"
#include "parallel_opt/cost/layout_model.h"

namespace parallel_opt {
namespace {

constexpr double kTileRows = 128, kTileColumns = 256;
constexpr double kFastFlops = 5e14;  // 16-bit peak beyond which FlashAttention 2 lags behind
constexpr double kFlashBackward = 2.5, kUnfusedBackward = 2;  // times the forward
constexpr double kTileKeys = 430;   // as long as a tile's begin and end take, A100
constexpr double kNarrowHead = 32;  // width whose exponentials take as long as its products, A100
constexpr double kWaitingRanks =
    32;  // tensor ranks whose waiting for each other costs as much again
constexpr double kForwardHost = 0.4;      // of a block's host time; the backward launches more
constexpr double kMemoryShare = 0.85;     // of the peak that streaming kernels reach
constexpr double kMostEfficient = 0.92;   // of the peak, where no power limit is met
constexpr double kUnfusedProducts = 0.8;  // of the matmul efficiency: thin products
// Passes over written scores, in those of Megatron's one kernel between the products (5, of 2 bytes
// each): eager PyTorch scales 2, masks 2, casts to fp32 and back 6, its softmax takes 4 beside the
// products' 2. A GPT-2 of 124 million on an A100, 16 x 1024, eager: 300 ms, compiled 130
// (build-nanogpt).
constexpr double kEagerScorePasses = 16.0 / 5;
/// Of the peak in fp32, which no power limit holds back: P100 reaches 0.87 of it, RTX 2080 Ti 0.86,
/// A100 0.90, best shapes of gemm.csv.
constexpr double kScalarShare = 0.87;
constexpr double kWeightCastBytes = 3;  // of a weight cast to 8 bits: read, and written
constexpr double kCastPasses = 0.5;     // more of the operators' bytes where products are narrow

/// Watts per 16-bit FLOP/s of the device that a generation's efficiency was measured on.
double reference_watts(const std::string& arch) noexcept {
  if (arch == "Volta") return 300 / 125e12;                      // V100-SXM
  if (arch == "Ampere" || arch == "CDNA2") return 400 / 312e12;  // A100-SXM; 7 nm too
  return 700 / 989.4e12;                                         // H100-SXM
}

/// Systolic arrays meet no limit: a product took 96 ms of 95.6 at the peak on TPU v2
/// [scaling-book], and v6e and v7 reach 79 and 94 % of theirs in products of 8192 [tpu-gemm], which
/// is what this share leaves of the peak at such sizes.
double efficiency_of(const Accelerator& device, const LayoutParameters& p) noexcept {
  if (device.arch == "TPU" && !p.matmul_efficiency.contains("TPU")) return kMostEfficient;
  const auto it = p.matmul_efficiency.find(device.arch);
  const auto other = p.matmul_efficiency.find("other");
  return it != p.matmul_efficiency.end()      ? it->second
         : other != p.matmul_efficiency.end() ? other->second
                                              : 0.7;
}

/// Share of the peak that large products reach. Devices of one generation get about the same work
/// out of a joule, so what a limit sustains follows from the watts per FLOP/s of the peak.
double sustained_share(const Accelerator& device, const LayoutParameters& p) noexcept {
  const double share = efficiency_of(device, p);
  if (device.max_w <= 0 || !p.matmul_efficiency.contains(device.arch)) return share;
  const double watts = device.max_w / device.half_flops_per_s / reference_watts(device.arch);
  return std::min(std::max(share, kMostEfficient), share * std::pow(watts, p.power_exponent));
}

/// Of products in fp32: Hopper's reach what those of its matrix units do, 0.72 to 0.78.
double scalar_share(const Accelerator& device) noexcept {
  return device.arch == "Volta" || device.arch == "Ampere" ? kScalarShare : 0;
}

/// max with a soft corner: the longer of two that run side by side, a little more where they meet.
double longer(double a, double b) noexcept {
  constexpr double kSharpness = 12;
  const double most = std::max(a, b), least = std::min(a, b);
  if (most <= 0) return 0;
  if (least < 0.5 * most) return most;
  return most * std::pow(1 + std::pow(least / most, kSharpness), 1 / kSharpness);
}

/// Of fused attention's products, what rows of few keys add: a tile of queries begins and ends with
/// moves that nothing multiplies beside. Published curves of causal forwards, heads of 128
/// [dao2023, shah2024]: 162 to 193 TFLOP/s from 2,048 to 16,384 keys on A100, 480 to 640 on H100.
double tiles_begin(const BlockFacts& block, const Accelerator& device, int context) noexcept {
  if (block.heads <= 0 || block.products.empty()) return 0;
  const double keys = block.score_elements / (block.heads * block.products.front().rows);
  const double tile = kTileKeys * std::sqrt(device.half_flops_per_s / 312e12);
  return tile * std::max(1, context) / std::max(1.0, keys);
}

}  // namespace

double BlockTime::whole() const noexcept { return longer(work(), host); }

LayoutInvariants layout_invariants(const TransformerFacts& facts, const Accelerator& device,
                                   const LayoutParameters& p) noexcept {
  LayoutInvariants same;
  const double sustained = sustained_share(device, p);
  const double share = device.scalar ? std::max(sustained, scalar_share(device)) : sustained;
  same.sustained = sustained;
  same.half_rate = device.half_flops_per_s * sustained;
  same.rate = device.flops_per_s * (device.narrow ? std::min(std::max(share, kMostEfficient),
                                                             share * p.narrow_efficiency)
                                                  : share);
  same.inner_half = p.inner_half * std::min(same.rate, same.half_rate) / device.bytes_per_s;
  same.layers = facts.layers();
  double head = 0, blocks = 0;
  for (const Product& one : facts.outside.products) head += one.flops();
  for (const BlockFacts& block : facts.blocks) {
    for (const Product& one : block.products) blocks += block.repeats * one.flops();
  }
  same.head_layers = blocks > 0 ? head / (blocks / same.layers) : 0;
  return same;
}

ScheduleKind kind_of(const ParallelLayout& l) noexcept {
  const bool alternates =
      l.schedule == ScheduleKind::one_f_one_b || l.schedule == ScheduleKind::interleaved_1f1b;
  if (!alternates) return l.schedule;
  return l.virtual_stages > 1 ? ScheduleKind::interleaved_1f1b : ScheduleKind::one_f_one_b;
}

LayoutModel::LayoutModel(const TransformerFacts& facts, const Accelerator& device,
                         const SoftwareStack& stack, const ParallelLayout& layout,
                         const LayoutParameters& p, const LayoutInvariants& same) noexcept
    : facts_(facts), device_(device), stack_(stack), l_(layout), p_(p), kind_(kind_of(layout)) {
  sustained_ = same.sustained;
  half_rate_ = same.half_rate;
  rate_ = same.rate;
  inner_half_ = same.inner_half;
  memory_rate_ = device.bytes_per_s * kMemoryShare;
  tensor_ = std::max(1, layout.tensor);
  pipeline_ = std::max(1, layout.pipeline);
  rows_ = layout.micro_batch / std::max(1, layout.context);
  wide_split_ = layout.sequence_parallel ? tensor_ : 1;
  replicas_ = double(std::max(1, layout.data)) * std::max(1, layout.context);
  nodes_ = std::max(1.0, layout.devices() / std::max(1.0, device.per_node));
  joined_ = std::min(layout.devices(), device.per_node);
  layers_ = same.layers;
  place_blocks(same.head_layers);
}

/// `count` equal products in one launch: tiles of all are dealt to the multiprocessors together.
/// Parts of tiles count as such, as kernels of other tiles fit other sizes: whole ones would halve
/// the last wave's share where a row more begins a tile, and make more rows faster.
double LayoutModel::product(double rows, double n, double k, double count,
                            double rate) const noexcept {
  if (rows <= 0 || n <= 0 || k <= 0) return 0;
  const double tiles = count * std::max(1.0, rows / kTileRows) * std::max(1.0, n / kTileColumns);
  const double waves = std::max(1.0, tiles) / device_.units;
  const double arithmetic = 2 * rows * n / rate * (k + inner_half_) * (waves + p_.wave) / waves;
  const double moved = element_bytes() * (rows * k + n * k + rows * n) / memory_rate_;
  return count * longer(arithmetic, moved) + p_.kernel_s;
}

double LayoutModel::products(const BlockFacts& block, double rate, double* last) const noexcept {
  double sum = 0;
  for (const Product& one : block.products) {
    double n = one.n, k = one.k, rows = one.rows * rows_, count = 1;
    if (one.experts > 0) {
      // The tokens of all expert ranks meet here, for the experts of one.
      count = one.experts / std::min<double>(std::max(1, l_.expert), one.experts);
      rows = rows / count * l_.expert_capacity;
    }
    // Spread experts are split by some ranks of a tensor group; the rest share out tokens instead.
    const bool spread = one.experts > 0 && l_.expert > 1;
    const double split = spread ? std::max(1, l_.expert_tensor) : tensor_;
    (one.side == ShardedSide::columns ? n : k) /= split;
    rows /= tensor_ / split;
    const double time = product(rows, n, k, count, rate);
    sum += time;
    // The results of experts are weighted: gradients of the weights need them.
    if (last != nullptr) *last = one.experts > 0 ? 0 : time;
  }
  return sum;
}

/// The head's and what else stands outside of blocks. Software that runs blocks in 8 or 4 bits
/// leaves these in 16: Transformer Engine's recipes wrap layers, torchtitan filters "output".
double LayoutModel::outer_products() const noexcept {
  return products(facts_.outside, device_.narrow ? half_rate_ : rate_);
}

double LayoutModel::operators(const BlockFacts& block) const noexcept {
  const double bytes = wider() * (block.wide_bytes / wide_split_ + block.inner_bytes / tensor_);
  const double casts = device_.narrow && !stack_.fused_casts ? 1 + kCastPasses : 1;
  const double passes = stack_.fused_operators ? 1 : std::sqrt(block.eager_factor);
  double seconds = p_.pass * passes * casts * bytes * rows_ / memory_rate_;
  if (device_.narrow && stack_.casts_gathered && shards_weights()) {
    const double experts = block.expert_parameters / (l_.expert > 1 ? expert_ways() : tensor_);
    seconds += (block.dense_parameters / tensor_ + experts) * kWeightCastBytes / memory_rate_;
  }
  return seconds;
}

/// What the backward of a block computes again.
double LayoutModel::again(const BlockFacts& block, const BlockTime& ahead) const noexcept {
  switch (rule_of(block)) {
    case RecomputeRule::none:
      break;
    case RecomputeRule::selective:
      if (block.recompute) {
        return block.recompute->products * ahead.products +
               block.recompute->attention * ahead.attention +
               block.recompute->operators * ahead.operators;
      }
      return stack_.selective_products * ahead.products +
             stack_.selective_attention * ahead.attention +
             stack_.selective_operators * ahead.operators;
    case RecomputeRule::full:
      return gathered_again_s(block) + ahead.whole() -
             (stack_.skips_last_product ? ahead.last_product : 0);
  }
  return 0;
}

double LayoutModel::logits_bytes() const noexcept {
  return logits_of_rank() * stack_.logits_bytes * p_.logits;
}

/// Kept inputs that ranks share are gathered: half of a reduction.
double LayoutModel::gathered_again_s(const BlockFacts& block) const noexcept {
  if (kept_split() <= wide_split_) return 0;
  return all_reduce(block.boundary_elements * rows_ * element_bytes()) / 2;
}

double LayoutModel::loss_s() const noexcept {
  return logits_of_rank() * stack_.loss_bytes / memory_rate_;
}

/// Of attention's softmax beside its two products: 4 FLOPs per score and element of a head.
double LayoutModel::exponentials_share(const BlockFacts& block) const noexcept {
  const double width = std::max(1.0, block.head_width);
  if (device_.exponentials_per_s <= 0) return kNarrowHead / width;
  return device_.half_flops_per_s / (4 * width * device_.exponentials_per_s);
}

BlockTime LayoutModel::forward(const BlockFacts& block, bool whole) const noexcept {
  BlockTime time;
  time.products = products(block, rate_, &time.last_product);
  const double attention = block.attention_flops * rows_ / tensor_;
  if (stack_.attention == AttentionFamily::unfused) {
    const double passes = p_.score_pass * (stack_.fused_operators ? 1 : kEagerScorePasses);
    time.attention =
        attention / (half_rate_ * kUnfusedProducts) +
        passes * element_bytes() * block.score_elements * rows_ / tensor_ / memory_rate_;
  } else {
    const double lag = device_.half_flops_per_s > kFastFlops ? p_.flash_hopper : 1;
    const double share = stack_.attention == AttentionFamily::vendor  ? p_.vendor_efficiency
                         : stack_.attention == AttentionFamily::early ? p_.early_efficiency * lag
                                                                      : p_.flash_efficiency * lag;
    // A power limit slows what would use more of the matrix units than it sustains.
    const double products =
        attention * block.causal_share / (device_.half_flops_per_s * std::min(share, sustained_));
    time.exponentials = products * exponentials_share(block);
    time.attention = products * (1 + tiles_begin(block, device_, l_.context)) + time.exponentials;
  }
  time.operators = operators(block);
  const double boundary = block.boundary_elements * rows_ * element_bytes();
  double sums = 0;
  for (const Product& one : block.products) {
    if (one.side == ShardedSide::inner && (one.experts == 0 || l_.expert <= 1)) sums += 1;
  }
  time.tensor = sums * all_reduce(boundary);
  if (stack_.overlaps_tensor) {
    time.hidden_tensor = std::min(time.tensor * p_.tensor_overlap, time.products);
    time.tensor -= time.hidden_tensor;
  }
  time.expert = expert_traffic(block).sum();
  if (hides_experts() && !whole) {
    // A forward runs beside another one's backward: each has half of both computes.
    const double beside = 1.5 * (time.products + time.attention + time.operators);
    time.hidden_expert = std::min(time.expert * p_.gather_overlap, beside);
    time.expert -= time.hidden_expert;
  }
  time.context = context_s(block);
  // Keys and values go round beside the attention.
  time.hidden_context = std::min(time.context, time.attention);
  time.context -= time.hidden_context;
  const double host = stack_.host_factor * (stack_.eager_host ? p_.host_s : p_.host_fused_s);
  const bool chatty = pipeline_ > 1 && tensor_ > 1 && nodes_ > 1;
  const double routed = block.dispatched_elements > 0 ? stack_.expert_host_factor : 1;
  time.host =
      kForwardHost *
      (host * routed +
       (chatty ? stack_.pipeline_tensor_host_s * tensor_ * (1 + tensor_ / kWaitingRanks) : 0));
  return time;
}

BlockTime LayoutModel::backward(const BlockTime& ahead) const noexcept {
  BlockTime time;
  time.products = 2 * ahead.products;
  // Exponentials are computed once more, not 2.5 times.
  time.attention =
      stack_.attention == AttentionFamily::unfused
          ? kUnfusedBackward * ahead.attention
          : kFlashBackward * (ahead.attention - ahead.exponentials) + ahead.exponentials;
  time.operators = 2 * ahead.operators;
  // Sequence parallelism gathers the inputs of products once more.
  const double gathers = l_.sequence_parallel ? 1.5 : 1;
  time.tensor = ahead.tensor * gathers;
  time.hidden_tensor = ahead.hidden_tensor * gathers;
  time.expert = ahead.expert;
  time.hidden_expert = ahead.hidden_expert;
  time.context = 2 * ahead.context;
  time.hidden_context = 2 * ahead.hidden_context;
  time.host = ahead.host / kForwardHost * (1 - kForwardHost);
  return time;
}

LayoutModel::Passes LayoutModel::passes() const noexcept {
  Passes all;
  all.head_s = 3 * outer_products() + 3 * operators(facts_.outside) + loss_s();
  for (const BlockFacts& block : facts_.blocks) {
    const double count = block.repeats;
    const BlockTime ahead = forward(block), back = backward(ahead);
    const double ahead_s = ahead.whole(), back_s = back.whole(), again_s = again(block, ahead);
    all.forward_s += count * ahead_s;
    all.backward_s += count * back_s;
    all.again_s += count * again_s;
    all.weights_s += count * back.weights();
    all.by_kind.products_s += count * (ahead.products + back.products);
    all.by_kind.attention_s += count * (ahead.attention + back.attention);
    all.by_kind.operators_s += count * (ahead.operators + back.operators);
    all.by_kind.tensor_s += count * (ahead.tensor + back.tensor);
    all.by_kind.expert_s += count * (ahead.expert + back.expert);
    all.by_kind.context_s += count * (ahead.context + back.context);
    all.by_kind.host_s += count * (ahead_s - ahead.work() + back_s - back.work());
    all.host_waits_s += count * host_waits(ahead, back, again_s);
  }
  return all;
}

/// Of a step on the mean rank, its optimizer included.
double LayoutModel::computing_s(const Passes& all) const noexcept {
  const LayoutCost& inside = all.by_kind;
  const double passes = all.forward_s + all.again_s + all.backward_s + all.head_s -
                        inside.tensor_s - inside.expert_s - inside.context_s - all.host_waits_s;
  const double on_device = l_.offload.fetched ? 1 : 1 - l_.offload.optimizer;
  const double copies = two_copies() ? 2 : 1;
  const double updates = copies * on_device * optimizer_s(parameters_of(layers_, true, true));
  return (std::max(1.0, l_.micro_batches) * passes + updates) / pipeline_;
}

/// What the rank that sets the pace waits for: `slow_s` is what one micro-batch takes on it.
double LayoutModel::idle_s(const Passes& all, Pace& pace, double slow_s) const {
  const double m = std::max(1.0, l_.micro_batches);
  const double layer = layers_ > 0 ? 1 / layers_ : 0;
  const double products = outer_products() + operators(facts_.outside), half_loss = loss_s() / 2;
  const StageTimes head{products + half_loss, 2 * products + half_loss, outer_products()};
  const auto blocks = [&](double count) {
    const double share = count * layer;
    return StageTimes{share * all.forward_s, share * (all.backward_s + all.again_s),
                      share * all.weights_s};
  };
  if (waits_by_table() && has_table()) {
    const PlayedStep step = played(stage_passes(), transfer_s());
    if (ends_with_weights()) pace.exchanged_s = step.reduced_s - step.actions_s;
    return step.actions_s - m * (slow_s + pace.send_s);
  }
  if (by_stages_ && kind_ == ScheduleKind::one_f_one_b) {
    const auto pass_of = [&](int rank) {
      const StageTimes own = blocks(layers_of_stage(rank));
      return rank + 1 == int(pipeline_) ? own + head : own;
    };
    return one_f_one_b_s(int(pipeline_), m, pace.send_s, pass_of) - m * slow_s;
  }
  // One micro-batch passes through all other stages once.
  const StageTimes rest = blocks(layers_ - pace.layers);
  if (kind_ == ScheduleKind::gpipe && pipeline_ > 1) {
    // All forwards, then all backwards: either may have another slowest stage.
    const StageTimes all_stages = blocks(layers_) + head;
    const StageTimes fullest = blocks(most_inner_layers()), end = blocks(last_layers_) + head;
    const double paces_s =
        std::max(fullest.forward_s, end.forward_s) + std::max(fullest.backward_s, end.backward_s);
    return all_stages.sum() + (m - 1) * paces_s + (pipeline_ - 1) * pace.send_s - m * slow_s;
  }
  return bubble_s(pace.of_head > 0 ? rest : rest + head, pace.send_s);
}

/// The stage with the head sets the pace, or one without.
LayoutCost LayoutModel::run() const noexcept {
  const Passes all = passes();
  const double layer_s = layers_ > 0 ? (all.forward_s + all.again_s + all.backward_s) / layers_ : 0;
  const double inner = most_inner_layers();
  // Two copies in opposite directions: a rank meets the head with half of the micro-batches.
  const double of_head = two_copies() ? 0.5 : 1;
  const double end_layers = two_copies() ? (first_layers_ + last_layers_) / 2 : last_layers_;
  const double last = end_layers * layer_s + of_head * all.head_s;
  const bool with_head = pipeline_ <= 1 || last >= inner * layer_s;
  Pace pace{.layers = with_head ? end_layers : inner, .of_head = with_head ? of_head : 0};
  const double of_chunk = layers_ > 0 ? pace.layers / layers_ / chunks() : 0;
  pace.send_s = send_s(of_chunk * all.forward_s, of_chunk * (all.backward_s + all.again_s));
  pace.bubble_s = idle_s(all, pace, pace.layers * layer_s + pace.of_head * all.head_s);
  if (copies_in_pipeline() && has_table()) {
    pace.copies_s = table_copies_s(stage_passes(), transfer_s());
  }
  LayoutCost cost = bill(all, pace);
  cost.busy_s = computing_s(all);
  add_memory(cost);
  return cost;
}

LayoutCost LayoutModel::bill(const Passes& all, const Pace& pace) const noexcept {
  LayoutCost cost;
  const double m = std::max(1.0, l_.micro_batches);
  const double share = layers_ > 0 ? pace.layers / layers_ : 0;
  const double count = m * share;
  cost.products_s = count * all.by_kind.products_s;
  cost.attention_s = count * all.by_kind.attention_s;
  cost.operators_s = count * all.by_kind.operators_s;
  cost.tensor_s = count * all.by_kind.tensor_s;
  const double hidden_s = std::max(0.0, -pace.bubble_s);
  cost.pipeline_s = std::max(0.0, m * pace.send_s - hidden_s);
  const double traffic_s = m * pace.send_s + count * all.by_kind.expert_s;
  cost.expert_s = std::max(0.0, traffic_s - hidden_s - cost.pipeline_s);
  cost.context_s = count * all.by_kind.context_s;
  cost.host_s = count * all.by_kind.host_s;
  cost.recompute_s = count * all.again_s;
  cost.head_s = m * pace.of_head * all.head_s;
  const double slow =
      share * (all.forward_s + all.again_s + all.backward_s) + pace.of_head * all.head_s;
  cost.bubble_s = std::max(0.0, pace.bubble_s);
  const double body = m * slow + cost.pipeline_s + cost.bubble_s;
  cost.forward_s = all.forward_s * share + cost.head_s / m / 3;
  cost.backward_s = (all.backward_s + all.again_s) * share + cost.head_s / m * 2 / 3;
  cost.weights_s = share * all.weights_s + (pace.of_head > 0 ? outer_products() : 0);
  add_data(cost, pace, m * slow + cost.bubble_s);
  if (copies_in_pipeline()) {
    cost.offload_s += pace.copies_s ? *pace.copies_s : copied_in_pipeline_s(cost);
  }
  const double once = body + cost.data_s + cost.optimizer_s + cost.offload_s + p_.step_s;
  cost.other_s = p_.step_s + once * p_.straggle * std::log2(nodes_);
  const double each = device_.host.cores / std::max(1.0, device_.host.devices);
  const double cores = std::max(1e-3, each * l_.devices() / std::max(1, l_.data));
  cost.loading_s = waits_for_samples({l_.sample_s, l_.loader_workers, cores, cores},
                                     m * l_.micro_batch, cost.time_s());
  return cost;
}

double LayoutCost::time_s() const {
  return products_s + attention_s + operators_s + host_s + recompute_s + head_s + tensor_s +
         context_s + expert_s + pipeline_s + bubble_s + data_s + optimizer_s + offload_s + other_s +
         loading_s;
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

LayoutEvaluator::LayoutEvaluator(const TransformerFacts& facts, const Accelerator& device,
                                 const SoftwareStack& stack, const LayoutParameters& p) noexcept
    : facts_(facts),
      device_(device),
      stack_(stack),
      p_(p),
      same_(layout_invariants(facts, device, p)) {}

LayoutCost LayoutEvaluator::operator()(const ParallelLayout& layout) const noexcept {
  return LayoutModel(facts_, device_, stack_, layout, p_, same_).run();
}

}  // namespace parallel_opt
