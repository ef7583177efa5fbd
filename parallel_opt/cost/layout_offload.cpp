#include <algorithm>

#include "parallel_opt/cost/layout_model.h"

/// What lives in the memory of the host: its bytes, its copies and the step of the host's cores.
namespace parallel_opt {
namespace {

/// Of the nominal rate of a way to the host: packets have headers, 12 to 13 of 15.75 GB/s are left
/// of PCIe 3 [ren2021].
constexpr double kCopyShare = 0.8;
/// Of the peak of the host's memory that vector code on all cores streams.
constexpr double kHostMemoryShare = 0.8;

/// Three workers in a row, n equal items: each begins when the one before has done the item.
double in_a_row(double n, double first_s, double middle_s, double last_s) noexcept {
  const double all = (first_s + middle_s + last_s) / n;
  return all + (n - 1) / n * std::max({first_s, middle_s, last_s});
}

}  // namespace

double host_memory_bytes(const LayoutCost& cost, const Accelerator& device,
                         const ParallelLayout& layout) noexcept {
  return cost.host_bytes * std::min(layout.devices(), device.host.devices);
}

bool host_holds(const LayoutCost& cost, const Accelerator& device,
                const ParallelLayout& layout) noexcept {
  const double there = kUsableHostMemory * device.host.memory_bytes;
  return there <= 0 || host_memory_bytes(cost, device, layout) <= there;
}

/// Each way: of the device's own link, or its part of what the host's memory gives.
double LayoutModel::copy_rate() const noexcept {
  return std::min(kCopyShare * device_.host.link_bytes_per_s, host_rate());
}

double LayoutModel::host_rate() const noexcept {
  return kHostMemoryShare * device_.host.bytes_per_s / on_host();
}

double LayoutModel::on_host() const noexcept {
  return std::max(1.0, std::min(l_.devices(), device_.host.devices));
}

/// Bytes of what one micro-batch keeps of so many blocks that go to the host, and come back.
double LayoutModel::away_of_blocks(double layers, const Kept& kept) const noexcept {
  return layers_ > 0 ? l_.offload.activations * kept.of_all * layers / layers_ : 0;
}

HostCopies LayoutModel::copies(const StageParameters& own, double layers,
                               const Kept& kept) const noexcept {
  HostCopies out;
  const Offload& off = l_.offload;
  if (!off.any()) return out;
  out.kept = away_of_blocks(layers, kept);
  const double part = shared(own, states_owners());
  const double weights = part * weight_bytes();
  if (streams_weights()) out.weights = weights;
  const double by_host = off.fetched ? 0 : off.optimizer;
  out.gradients = by_host * part * stack_.reduced_bytes;
  out.each_micro_batch = gradients_leave();
  // What the host's cores made goes to the device; what the device made of a weight of the host's
  // goes back.
  out.updated = weights * (streams_weights() ? 1 - by_host : by_host);
  if (off.fetched) out.states = off.optimizer * part * state_bytes();
  if (by_host > 0) {
    const double step = by_host * part * step_bytes() / host_rate();
    out.update_s = std::max(step, by_host * optimizer_s(own));
  }
  return out;
}

/// Seconds of the copies beside a micro-batch's passes that compute waits for. A stage's blocks go
/// one after the other: the copy of one runs beside the compute of the next, each way by itself.
/// In pipelines without those of activations.
double LayoutModel::copied_s(const HostCopies& copies, double layers,
                             const LayoutCost& cost) const noexcept {
  if (!l_.offload.any()) return 0;
  const double forward_s = cost.forward_s, backward_s = cost.backward_s;
  const double n = std::max(1.0, layers), rate = copy_rate();
  const double out = copies.gradients / rate;
  if (pipeline_ > 1) {
    return in_a_row(n, 0, backward_s, out) - backward_s;
  }
  const double ahead =
      in_a_row(n, copies.weights / rate, forward_s, copies.kept / rate) - forward_s;
  const double in = (copies.weights + copies.kept) / rate;
  const double usual = in_a_row(n, in, backward_s, 0) - backward_s;
  const double with_gradients = in_a_row(n, in, backward_s, out) - backward_s;
  const double m = std::max(1.0, l_.micro_batches);
  // Those of all micro-batches but the last leave beside the next one's passes too.
  const double passes = ahead + forward_s + usual + backward_s;
  const double late =
      copies.each_micro_batch ? std::max(0.0, out + copies.kept / rate - passes) : 0;
  return m * (ahead + usual) + (m - 1) * late + with_gradients - usual;
}

/// Of activations, where no table tells. Other micro-batches' passes lie between a forward and its
/// backward: the ends of a pass's copies run beside those. Where the last stage turns back at once,
/// a block's copies there and back do not.
double LayoutModel::copied_in_pipeline_s(const LayoutCost& cost) const noexcept {
  const double n = std::max({1.0, first_layers_, inner_layers_});
  const double copy_s = away_of_blocks(n, kept_of_blocks()) / copy_rate();
  const double forward_s = cost.forward_s, backward_s = cost.backward_s;
  const double m = std::max(1.0, l_.micro_batches);
  const bool apart = kind_ == ScheduleKind::gpipe || kind_ == ScheduleKind::looped_bfs;
  const double out = std::max(0.0, copy_s - forward_s) * (apart ? 1 : (n - 1) / n);
  const double in = std::max(0.0, copy_s - backward_s) * (apart ? 1 : (n - 1) / n);
  const double turn = 2 * copy_s / n;
  // The first micro-batch waits for other stages' copies too, but for those of their last two
  // blocks.
  const double blocks = n / chunks();
  const double filling =
      std::max(0.0, layers_ - n) / n / chunks() * std::max(0.0, blocks - 2) / blocks;
  const double passes = (m + filling) * (out + in);
  if (apart || hides_dispatch(kind_)) return passes + turn;
  // The last stage has this time where another one sets the pace.
  const double head_s = 3 * outer_products() + 3 * operators(facts_.outside) + loss_s();
  const double slowest = forward_s + backward_s;
  const bool is_slowest = cost.head_s > 0;
  const double last_s = last_layers_ * slowest / n + head_s;
  const double slack = is_slowest ? 0 : std::max(0.0, slowest - last_s);
  return passes + m * std::max(0.0, turn - slack);
}

/// The whole step: on the device, on the host's cores, and with what travels for it.
double LayoutModel::step_with_host_s(const HostCopies& copies, double layers,
                                     double device_s) const noexcept {
  const Offload& off = l_.offload;
  const double updated_s = copies.updated / copy_rate();
  if (off.fetched) {
    // States that stayed are stepped while others come.
    const double moved = copies.states / copy_rate();
    return in_a_row(std::max(1.0, layers), moved, device_s, moved + updated_s);
  }
  const double own = (1 - off.optimizer) * device_s;
  if (streams_weights()) return std::max(own, updated_s) + copies.update_s;
  return own + std::max(copies.update_s, updated_s);
}

/// Of the slowest stage: the optimizer and what compute waits for.
void LayoutModel::add_host_copies(LayoutCost& cost, const StageParameters& own) const noexcept {
  const double device_s = optimizer_s(own);
  cost.optimizer_s = device_s;
  if (!l_.offload.any()) return;
  const double layers = std::max(first_layers_, inner_layers_);
  const HostCopies moved = copies(own, layers, kept_of_blocks());
  cost.optimizer_s = step_with_host_s(moved, layers, device_s);
  cost.offload_s = copied_s(moved, layers, cost);
}

/// Moves what is the host's there. Of gradients a device has those of two blocks on their way.
void LayoutModel::send_to_host(LayoutCost& stage, const Kept& kept) const noexcept {
  const Offload& off = l_.offload;
  const auto move = [&](double& bytes, double share, double under_way) {
    const double gone = share * bytes;
    bytes -= std::max(0.0, gone - under_way);
    stage.host_bytes += gone;
  };
  move(stage.optimizer_bytes, off.optimizer, 0);
  if (gradients_leave()) {
    const double block = kept.largest_weights / states_owners();
    move(stage.gradients_bytes, off.optimizer, 2 * block * stack_.gradient_bytes);
  }
  if (!streams_weights()) return;
  // What comes and goes leaves gaps.
  const double blocks = 2 * kept.largest_weights * element_bytes();
  const double whole = stage.weights_bytes / fragmentation();
  stage.other_bytes = std::max(stage.other_bytes, std::min(whole, blocks));
  move(stage.weights_bytes, 1, 0);
}

/// States that come for the step lie where activations lay, and the gaps between them.
double LayoutModel::passing_states(const StageParameters& own, double room) const noexcept {
  if (!l_.offload.fetched) return 0;
  const double states = l_.offload.optimizer * shared(own, states_owners()) * state_bytes();
  return std::max(0.0, states - room);
}

}  // namespace parallel_opt
