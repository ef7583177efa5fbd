#include "parallel_opt/graph/liveness.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/liveness_impl.h"
#include "parallel_opt/graph/step_dtypes.h"
#include "parallel_opt/graph/work.h"

namespace parallel_opt {
namespace {

struct Workspace {
  std::int64_t forward = 0;
  std::int64_t backward = 0;
};

/// What CPU kernels of torch 2.13 allocate and free inside one operator, at one byte per byte of
/// the graph's dtypes. Convolutions wider than 1x1 reorder operands to blocked layouts (oneDNN);
/// cross entropy has the gradients of both of its halves at once; LSTM reorders its weights and
/// computes all gates' gradients.
Workspace workspace(const Graph& graph, const Op& op) {
  const auto size = [&](TensorId id) { return id.valid() ? bytes(graph.tensor(id)).value : 0; };
  const TensorId result = op.outputs.empty() ? TensorId() : op.outputs.front();
  const TensorId first = op.inputs.empty() ? TensorId() : op.inputs.front().tensor;
  const std::optional<OpRow> row = find_row(graph, op);
  if (!row) return {};
  if (row->op_class == OpClass::convolution && operand(op, "weight").valid()) {
    const Tensor& weight = graph.tensor(operand(op, "weight"));
    std::int64_t window = 1;
    for (std::size_t i = 2; i < weight.shape.size(); ++i) window *= weight.shape[i].size;
    if (window == 1) return {};
    return {std::max(size(first) + bytes(weight).value, size(result)), size(first) + size(result)};
  }
  if (row->target == "aten.cross_entropy_loss") return {0, size(first)};
  if (row->target == "aten.lstm" && result.valid()) {
    std::int64_t largest = 0;
    std::int64_t pair = 0;  // input and hidden weights of one layer follow each other
    for (const Operand& input : op.inputs) {
      if (input.argument != "params" || graph.tensor(input.tensor).shape.size() != 2) continue;
      largest = std::max(largest, pair + size(input.tensor));
      pair = size(input.tensor);
    }
    const std::int64_t directions = attribute(op, "bidirectional", 0) != 0 ? 2 : 1;
    return {largest, largest + 4 * size(result) / directions};
  }
  return {};
}

/// Builds the buffers of one step in its fixed order, then sweeps over time. Time counts
/// operations: forward 0..n-1, backward of operator i at 2n-1-i, optimizer from 2n.
class Step {
 public:
  Step(const Graph& graph, const StepOptions& options)
      : graph_(graph),
        options_(options),
        needs_(options.training ? needs_grad(graph) : std::vector<bool>(graph.tensors.size())),
        owners_(storage_owners(graph)),
        dtypes_(step_dtypes(graph, options.compute)),
        kept_runs_(kept_runs(graph, needs_)),
        storage_(graph.tensors.size(), -1),
        gradient_(graph.tensors.size(), -1) {
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      if (graph.ops[i].phase == Phase::forward) order_.push_back(i);
    }
    n_ = order_.size();
    for (const Tensor& t : graph.tensors) updates_ += is_trained(t) ? 1 : 0;
    if (!options.training) updates_ = 0;
    end_ = options.training ? 2 * n_ + updates_ : n_;
    end_ = std::max<std::size_t>(end_, 1);
  }

  Liveness run() {
    mark_recomputed();
    residents();
    forward();
    if (options_.training) {
      backward();
      optimizer();
    }
    return result();
  }

 private:
  static bool is_trained(const Tensor& t) {
    return t.role == TensorRole::parameter && t.requires_grad && !t.tied_to.valid();
  }

  std::size_t backward_time(std::size_t position) const { return 2 * n_ - 1 - position; }

  std::size_t add(std::string name, MemoryKind kind, std::int64_t bytes, std::size_t first,
                  std::size_t last) {
    buffers_.push_back({std::move(name), kind, bytes, first, last});
    return buffers_.size() - 1;
  }

  void extend(int buffer, std::size_t time) {
    if (buffer < 0) return;
    LiveBuffer& b = buffers_[static_cast<std::size_t>(buffer)];
    b.last = std::max(b.last, time);
  }

  std::int64_t tensor_bytes(TensorId id) const {
    return elements(graph_.tensor(id)) * size_of(dtypes_.tensor[id.index()]);
  }

  /// What lives from start to end whatever the order.
  void residents() {
    for (std::size_t i = 0; i < graph_.tensors.size(); ++i) {
      const Tensor& t = graph_.tensors[i];
      if (t.role == TensorRole::activation || t.tied_to.valid() || t.alias_of.valid()) continue;
      const MemoryKind kind = t.role == TensorRole::parameter ? MemoryKind::parameters
                              : t.role == TensorRole::input   ? MemoryKind::inputs
                                                              : MemoryKind::buffers;
      add(t.name, kind, bytes(t).value, 0, end_);
      if (!is_trained(t) || !options_.training) continue;
      const auto state = static_cast<std::int64_t>(static_cast<double>(bytes(t).value) *
                                                   options_.optimizer_states);
      if (options_.optimizer_stepped && state > 0) {
        add("optimizer state of " + t.name, MemoryKind::optimizer, state, 0, end_);
      }
      if (options_.gradients_before) {
        add("gradient of " + t.name, MemoryKind::gradients, bytes(t).value, 0, end_);
      }
    }
  }

  /// Recomputed operators save nothing themselves; their module's operands stay, and everything
  /// between comes to life again just before the module's backward.
  void mark_recomputed() {
    segment_.assign(n_, -1);
    for (std::size_t s = 0; s < options_.recompute.size(); ++s) {
      const std::string& module = options_.recompute[s];
      for (std::size_t p = 0; p < n_; ++p) {
        const std::string& name = graph_.ops[order_[p]].module;
        const bool in = name.starts_with(module) && (name.size() == module.size() ||
                                                     name[module.size()] == '.' || module.empty());
        if (in && segment_[p] < 0) segment_[p] = static_cast<int>(s);
      }
    }
    last_of_segment_.assign(options_.recompute.size(), 0);
    for (std::size_t p = 0; p < n_; ++p) {
      if (segment_[p] >= 0) last_of_segment_[static_cast<std::size_t>(segment_[p])] = p;
    }
  }

  void forward() {
    for (std::size_t p = 0; p < n_; ++p) forward_op(p);
    for (const TensorId id : graph_.outputs) {
      // The loop holds the model's result until its next call, so through the optimizer's step.
      if (id.valid()) extend(storage_[owners_[id.index()].index()], end_);
    }
  }

  void forward_op(std::size_t p) {
    const Op& op = graph_.ops[order_[p]];
    for (const Operand& input : op.inputs) {
      if (!input.tensor.valid()) continue;
      const TensorId owner = owners_[input.tensor.index()];
      extend(storage_[owner.index()], p);
      cast_weight(input.tensor, p);
    }
    for (TensorId id : op.outputs) {
      if (!id.valid() || graph_.tensor(id).role != TensorRole::activation) continue;
      if (enters_loop(op)) id = owners_[id.index()];  // made by the run before
      if (owners_[id.index()] != id || storage_[id.index()] >= 0) continue;
      if (graph_.tensor(id).role != TensorRole::activation) continue;
      storage_[id.index()] =
          static_cast<int>(add(graph_.tensor(id).name, MemoryKind::activations,
                               storage_bytes(graph_, op, id, tensor_bytes(id)), p, p));
    }
    const Workspace inner = workspace(graph_, op);
    if (inner.forward > 0) {
      add(op.name + ": workspace", MemoryKind::temporaries, inner.forward, p, p);
    }
    if (options_.training && needs_any(op) && inner.backward > 0) {
      const std::size_t time = backward_time(p);
      add(op.name + ": workspace", MemoryKind::temporaries, inner.backward, time, time);
    }
    if (options_.training) keep(op, p);
  }

  /// Autocast casts a weight once and caches the copy until the forward ends; the backward keeps it
  /// as long as the operator that saved it.
  void cast_weight(TensorId id, std::size_t p) {
    const std::size_t op = order_[p];
    const Tensor& t = graph_.tensor(id);
    const bool cast = dtypes_.op[op] != DType::fp32 && t.dtype == DType::fp32 &&
                      dtypes_.tensor[id.index()] == DType::fp32;
    if (!cast) return;
    const bool weight = t.role == TensorRole::parameter;
    const std::int64_t size = elements(t) * size_of(dtypes_.op[op]);
    const auto [at, fresh] = casts_.try_emplace(id, 0);
    if (fresh) {
      at->second = add(t.name + " in " + std::string(name_of(dtypes_.op[op])),
                       MemoryKind::activations, size, p, p);
    }
    extend(static_cast<int>(at->second), weight ? n_ - 1 : p);
    if (options_.training && needs_any(graph_.ops[op])) {
      extend(static_cast<int>(at->second), backward_time(p));
    }
  }

  bool needs_any(const Op& op) const {
    for (const TensorId id : op.outputs) {
      if (id.valid() && needs_[id.index()]) return true;
    }
    return false;
  }

  void keep(const Op& op, std::size_t p) {
    const Saved saved = saved_for_backward(graph_, op, needs_);
    const std::size_t until = backward_time(p);
    const int segment = segment_[p];
    const std::size_t again =
        segment >= 0 ? backward_time(last_of_segment_[static_cast<std::size_t>(segment)]) : 0;
    for (const TensorId id : saved.tensors) {
      const TensorId owner = owners_[id.index()];
      const int buffer = storage_[owner.index()];
      if (buffer < 0) continue;
      // The operator runs in the low precision on a cast copy: that is what it keeps.
      if (dtypes_.op[order_[p]] != DType::fp32 && casts_.contains(id)) continue;
      const std::size_t made = buffers_[static_cast<std::size_t>(buffer)].first;
      const bool inner = segment >= 0 && made < n_ && segment_[made] == segment;
      if (!inner) {
        hold_runs(buffer, until);
      } else if (recomputed_.insert(owner).second) {
        const LiveBuffer copy = buffers_[static_cast<std::size_t>(buffer)];
        add(copy.name + " again", copy.kind, copy.bytes, again, backward_time(made));
      }
    }
    const double runs = runs_alive(op.region);
    if (saved.extra.value == 0 || runs == 0) return;
    if (segment >= 0) {
      add(op.name + ": kept", MemoryKind::activations, extra_bytes(saved, p), p, p);
      add(op.name + ": kept again", MemoryKind::activations, extra_bytes(saved, p), again, until);
    } else {
      add(op.name + ": kept", MemoryKind::activations, times(extra_bytes(saved, p), runs), p,
          until);
    }
  }

  static std::int64_t times(std::int64_t bytes, double runs) {
    return std::llround(static_cast<double>(bytes) * runs);
  }

  double runs_alive(RegionId region) const {
    return region.valid() ? kept_runs_[region.index()] : 1;
  }

  /// Keeps a storage until the backward; one made in a loop has as many companions as runs, one of
  /// an alternative that keeps less than another is not counted beside that.
  void hold_runs(int buffer, std::size_t until) {
    const LiveBuffer made = buffers_[static_cast<std::size_t>(buffer)];
    const double runs = made.first < n_ ? runs_alive(graph_.ops[order_[made.first]].region) : 1;
    if (runs == 0) return;
    extend(buffer, until);
    if (runs <= 1 || made.kind != MemoryKind::activations) return;
    const auto [others, fresh] = other_runs_.try_emplace(buffer, 0);
    if (fresh) {
      others->second = add(made.name + ": other runs", made.kind, times(made.bytes, runs - 1),
                           made.first, until);
    }
    extend(static_cast<int>(others->second), until);
  }

  /// Masks and copies shrink with the dtype of the operator; statistics and indices hardly count.
  std::int64_t extra_bytes(const Saved& saved, std::size_t p) const {
    const Op& op = graph_.ops[order_[p]];
    const TensorId result = op.outputs.empty() ? TensorId() : op.outputs.front();
    if (!result.valid()) return saved.extra.value;
    const std::int64_t now = size_of(dtypes_.tensor[result.index()]);
    const std::int64_t before = size_of(graph_.tensor(result).dtype);
    return before > 0 ? saved.extra.value * now / before : saved.extra.value;
  }

  // --- backward

  void backward() {
    for (const TensorId id : graph_.outputs) {
      if (!id.valid() || !needs_[id.index()]) continue;
      gradient_[id.index()] =
          static_cast<int>(add("gradient of " + graph_.tensor(id).name, MemoryKind::gradients,
                               tensor_bytes(id), n_, n_));
    }
    for (std::size_t p = n_; p-- > 0;) backward_op(p);
  }

  void backward_op(std::size_t p) {
    const Op& op = graph_.ops[order_[p]];
    const std::size_t time = backward_time(p);
    int incoming = -1;
    for (const TensorId id : op.outputs) {
      if (!id.valid() || gradient_[id.index()] < 0) continue;
      if (incoming < 0) incoming = gradient_[id.index()];
      extend(gradient_[id.index()], time);
    }
    if (incoming < 0) return;
    const std::optional<OpRow> row = find_row(graph_, op);
    for (const Operand& input : op.inputs) {
      if (input.tensor.valid() && needs_[input.tensor.index()]) {
        contribute(op, row ? &*row : nullptr, input, incoming, time);
      }
    }
    for (const TensorId id : op.outputs) {
      if (id.valid()) gradient_[id.index()] = -1;  // consumed: freed unless passed on
    }
  }

  bool passes(const OpRow* row, const Op& op, const Operand& input) const {
    if (row == nullptr) return false;
    const TensorId result = op.outputs.front();
    const bool shares = result.valid() && graph_.tensor(result).alias_of.valid() &&
                        !is_in_place(op) &&
                        (row->op_class == OpClass::copy || row->op_class == OpClass::random);
    if (shares) return true;
    bool listed = false;
    for (std::size_t at = 0; at < row->passes.size();) {
      const std::size_t end = std::min(row->passes.find(' ', at), row->passes.size());
      listed = listed || row->passes.substr(at, end - at) == input.argument;
      at = end + 1;
    }
    if (!listed) return false;
    if (row->space == "@cat" || row->space == "@stack" || row->space == "@reduce") return true;
    return elements(graph_.tensor(input.tensor)) == elements(graph_.tensor(result));
  }

  /// One operand's share of the gradient: the incoming one passed on, or a new buffer; a second
  /// share is added in place when the first has no other holder.
  void contribute(const Op& op, const OpRow* row, const Operand& input, int incoming,
                  std::size_t time) {
    const TensorId id = input.tensor;
    const Tensor& t = graph_.tensor(id);
    int& held = gradient_[id.index()];
    int share = incoming;
    if (!passes(row, op, input)) {
      const bool parameter = t.role == TensorRole::parameter;
      share = static_cast<int>(add("gradient of " + t.name, MemoryKind::gradients,
                                   parameter ? bytes(t).value : tensor_bytes(id), time, time));
    } else {
      extend(incoming, time);
    }
    if (held >= 0) {
      extend(held, time);
      if (holders(held) > 1 && share != held && holders(share) == 0) {
        held = share;
      } else if (holders(held) > 1 || share == held) {
        held = static_cast<int>(
            add("gradient of " + t.name, MemoryKind::gradients, tensor_bytes(id), time, time));
      }
    } else {
      held = share;
    }
    hold(held, id);
    if (t.role == TensorRole::parameter) {
      LiveBuffer& b = buffers_[static_cast<std::size_t>(held)];
      b.last = options_.gradients_before ? std::max(b.last, time) : end_;
    }
  }

  /// How many tensors' gradients are this buffer.
  int holders(int buffer) const {
    const auto found = holders_.find(buffer);
    if (found == holders_.end()) return 0;
    int count = 0;
    for (const TensorId id : found->second) count += gradient_[id.index()] == buffer ? 1 : 0;
    return count;
  }

  void hold(int buffer, TensorId id) { holders_[buffer].insert(id); }

  void optimizer() {
    std::size_t time = 2 * n_;
    for (const Tensor& t : graph_.tensors) {
      if (!is_trained(t)) continue;
      const auto size = static_cast<double>(bytes(t).value);
      const auto moment = static_cast<std::int64_t>(size * options_.optimizer_temporaries);
      if (moment > 0) add("update of " + t.name, MemoryKind::temporaries, moment, time, time);
      const auto state = static_cast<std::int64_t>(size * options_.optimizer_states);
      if (!options_.optimizer_stepped && state > 0) {
        add("optimizer state of " + t.name, MemoryKind::optimizer, state, time, end_);
      }
      ++time;
    }
  }

  // --- result

  Liveness result() {
    Liveness live;
    live.forward_operations = n_;
    live.backward_operations = options_.training ? n_ : 0;
    live.peak_at = time_name(sweep_buffers(buffers_, end_, live));
    return live;
  }

  std::string time_name(std::size_t time) const {
    if (n_ == 0) return "start";
    if (time < n_) return "forward of " + graph_.ops[order_[time]].name;
    if (time < 2 * n_) return "backward of " + graph_.ops[order_[2 * n_ - 1 - time]].name;
    return "optimizer";
  }

  const Graph& graph_;
  const StepOptions& options_;
  std::vector<bool> needs_;
  std::vector<TensorId> owners_;
  StepDtypes dtypes_;
  std::vector<double> kept_runs_;   ///< per region
  std::vector<std::size_t> order_;  ///< forward operators
  std::size_t n_ = 0;
  std::size_t updates_ = 0;
  std::size_t end_ = 0;
  std::vector<LiveBuffer> buffers_;
  std::vector<int> storage_;   ///< per owning tensor: its buffer
  std::vector<int> gradient_;  ///< per tensor: the buffer of its gradient so far
  std::unordered_map<int, std::set<TensorId>> holders_;
  std::map<TensorId, std::size_t> casts_;
  std::map<int, std::size_t> other_runs_;  ///< buffer of a loop: those of its other runs
  std::vector<int> segment_;               ///< per forward position: recomputed module, -1
  std::vector<std::size_t> last_of_segment_;
  std::set<TensorId> recomputed_;
};

}  // namespace

std::size_t sweep_buffers(const std::vector<LiveBuffer>& buffers, std::size_t end, Liveness& live) {
  std::vector<std::int64_t> change(end + 2, 0);
  for (const LiveBuffer& b : buffers) {
    change[std::min(b.first, end)] += b.bytes;
    change[std::min(b.last, end) + 1] -= b.bytes;
  }
  std::int64_t now = 0;
  std::size_t peak = 0;
  for (std::size_t t = 0; t < end; ++t) {
    now += change[t];
    live.curve.push_back(Bytes(now));
    if (now > live.peak.value) {
      live.peak = Bytes(now);
      peak = t;
    }
  }
  for (const LiveBuffer& b : buffers) {
    if (b.first > peak || b.last < peak) continue;
    live.at_peak[static_cast<std::size_t>(b.kind)] += Bytes(b.bytes);
    live.largest.push_back({b.name, b.kind, Bytes(b.bytes)});
  }
  std::stable_sort(live.largest.begin(), live.largest.end(),
                   [](const LiveTensor& a, const LiveTensor& b) { return a.bytes > b.bytes; });
  constexpr std::size_t kMostListed = 20;
  if (live.largest.size() > kMostListed) live.largest.resize(kMostListed);
  return peak;
}

std::int64_t storage_bytes(const Graph& graph, const Op& op, TensorId id, std::int64_t bytes) {
  static constexpr std::array<std::string_view, 4> kKeepTheirSum = {
      "aten.mse_loss", "aten.smooth_l1_loss", "aten.binary_cross_entropy", "aten.soft_margin_loss"};
  const std::string_view target = std::string_view(op.target).substr(0, op.target.rfind('.'));
  if (std::ranges::find(kKeepTheirSum, target) == kKeepTheirSum.end()) return bytes;
  const Tensor& result = graph.tensor(id);
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid() || !result.shape.empty()) continue;
    const Tensor& operand = graph.tensor(input.tensor);
    bytes = std::max(bytes, elements(operand) * size_of(result.dtype));
  }
  return bytes;
}

Liveness live_bytes(const Graph& graph, const StepOptions& options) {
  return Step(graph, options).run();
}

}  // namespace parallel_opt
