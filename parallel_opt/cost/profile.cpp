#include "parallel_opt/cost/profile.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "parallel_opt/cost/call_time.h"
#include "parallel_opt/cost/parameters.h"
#include "parallel_opt/cost/policy_graph.h"
#include "parallel_opt/graph/work.h"

namespace parallel_opt {
namespace {

using cost_detail::PolicyGraph;

/// Collects equal calls under one key.
class WorkList {
 public:
  void add(const Work& work) {
    const auto key =
        std::tuple(work.op_class, work.backward, work.low, work.heavy, work.by_channel, work.cast,
                   work.layout, work.spread, work.block_class, work.flops.fixed,
                   work.flops.per_sample, work.bytes.fixed, work.bytes.per_sample, work.launches);
    const auto [it, fresh] = index_.try_emplace(key, list_.size());
    if (fresh) {
      list_.push_back(work);
    } else {
      list_[it->second].calls += work.calls;
    }
  }
  std::vector<Work> take() { return std::move(list_); }

 private:
  std::map<std::tuple<OpClass, bool, bool, bool, bool, bool, bool, bool, int, double, double,
                      double, double, double>,
           std::size_t>
      index_;
  std::vector<Work> list_;
};

/// Builds the list of calls of one policy.
struct WorkBuilder {
  const PolicyGraph& g;
  const std::vector<int>& op_class_of;  ///< block class per operator
  bool training;
  WorkList list;

  double launch_share() const {
    return g.policy.compile ? cost_parameter::kCompiledLaunchShare : 1.0;
  }
  Affine scaled_bytes(const Op& op, double bytes, double fixed) const {
    fixed = std::min(bytes, fixed);
    if (!g.op_grows(op)) return {bytes, 0};
    return {fixed, (bytes - fixed) / double(g.batch)};
  }
  void operator_calls(std::size_t i, const OpWork& work, bool backward);
  TensorId bias(const Op& op) const;
  void bias_spread(std::size_t i);
  void bias_sum(std::size_t i);
  void unfused_attention(std::size_t i);
  void casts(std::size_t i);
  void layout_changes(std::size_t i);
  void fused_group(const cost_detail::FusedGroup& group);
  void view(std::size_t i);
  void gradient_sums();
};

void WorkBuilder::operator_calls(std::size_t i, const OpWork& work, bool backward) {
  if (work.kernels <= 0) return;
  const Op& op = g.graph.ops[i];
  const TensorId added = bias(op);
  const bool sums = backward && work.kernels > 1 && added.valid() && g.needs[added.index()];
  if (sums) bias_sum(i);
  if (!backward && added.valid()) bias_spread(i);
  const double calls = std::max(1, work.kernels - (sums ? 1 : 0));
  const double bytes = double((work.read + work.written).value) * g.bytes_ratio(op);
  // Weights are read once whatever the batch; the backward reads them and writes their gradients.
  const double weights = g.constant_bytes(op) * (backward ? 2 : 1);
  const Affine all_bytes = scaled_bytes(op, bytes, weights);
  Work entry;
  entry.op_class = work.op_class;
  entry.backward = backward;
  entry.low = g.low_op[i];
  entry.heavy = is_heavy(work);
  entry.by_channel = training && is_by_channel(op);
  entry.block_class = op_class_of[i];
  const double flops =
      is_arithmetic(work.op_class) ? (work.contraction + work.recomputed).value / calls : 0;
  entry.flops = g.op_grows(op) ? Affine{0, flops / double(g.batch)} : Affine{flops, 0};
  entry.bytes = {all_bytes.fixed / calls, all_bytes.per_sample / calls};
  entry.launches = launch_share();
  entry.calls = calls * expected_runs(g.graph, op);
  list.add(entry);
}

/// What a product adds to each row of its result; invalid: nothing.
TensorId WorkBuilder::bias(const Op& op) const {
  if (op_class(g.graph, op) != OpClass::contraction || op.outputs.empty()) return {};
  const bool added = operand(op, "mat1").valid() || operand(op, "batch1").valid();
  const TensorId found = operand(op, added ? "self" : "bias");
  const bool rows = found.valid() &&
                    elements(g.graph.tensor(found)) < elements(g.graph.tensor(op.outputs.front()));
  return rows ? found : TensorId{};
}

/// On a processor the bias is copied to every row of the result, and the product added to that.
void WorkBuilder::bias_spread(std::size_t i) {
  const Op& op = g.graph.ops[i];
  const Affine written = g.tensor_affine(op.outputs.front());
  Work entry;
  entry.op_class = OpClass::copy;
  entry.spread = true;
  entry.low = g.low_op[i];
  entry.block_class = op_class_of[i];
  entry.bytes = {2 * written.fixed, 2 * written.per_sample};  // a line is read before it is written
  entry.launches = 0;
  entry.calls = expected_runs(g.graph, op);
  list.add(entry);
}

/// Its gradient is the sum of the result's over the rows.
void WorkBuilder::bias_sum(std::size_t i) {
  const Op& op = g.graph.ops[i];
  Work entry;
  entry.op_class = OpClass::reduction;
  entry.backward = true;
  entry.block_class = op_class_of[i];
  entry.bytes = g.tensor_affine(op.outputs.front());
  entry.launches = launch_share();
  entry.calls = expected_runs(g.graph, op);
  list.add(entry);
}

/// engine/attention.py: scores in fp32, softmax, probabilities in the precision of the operands;
/// the backward is four products and the softmax's own. Operands are made contiguous first.
void WorkBuilder::unfused_attention(std::size_t i) {
  const Op& op = g.graph.ops[i];
  const Affine scores = g.scores(i);
  const double size = g.low_op[i] ? 2 : 4;
  const double product = forward_work(g.graph, op).contraction.value / 2;
  const auto add = [&](OpClass op_class, bool backward, double flops, double score_bytes,
                       double fixed_bytes, double calls) {
    Work entry;
    entry.op_class = op_class;
    entry.backward = backward;
    entry.low = g.low_op[i];
    entry.block_class = op_class_of[i];
    entry.flops = g.op_grows(op) ? Affine{0, flops / double(g.batch)} : Affine{flops, 0};
    const Affine whole = scaled_bytes(op, fixed_bytes, 0);
    entry.bytes = {score_bytes * scores.fixed + whole.fixed,
                   score_bytes * scores.per_sample + whole.per_sample};
    entry.launches = launch_share();
    entry.calls = calls * expected_runs(g.graph, op);
    list.add(entry);
  };
  const double operands = size * double(elements(g.graph.tensor(operand(op, "query"))));
  add(OpClass::copy, false, 0, 0, 2 * operands, 3);
  add(OpClass::contraction, false, product, size, 2 * operands, 2);
  add(OpClass::softmax, false, 0, 4 + size, 0, 1);
  if (!training || op.outputs.empty() || !g.needs[op.outputs.front().index()]) return;
  add(OpClass::copy, true, 0, 0, 2 * operands, 1);
  add(OpClass::contraction, true, product, size, 2 * operands, 4);
  add(OpClass::softmax, true, 0, 3 * size, 0, 1);
}

void WorkBuilder::casts(std::size_t i) {
  if (!g.low_op[i]) return;
  const Op& op = g.graph.ops[i];
  for (const Operand& operand : op.inputs) {
    if (!operand.tensor.valid() || !g.is_cast(operand.tensor)) continue;
    const Tensor& tensor = g.graph.tensor(operand.tensor);
    const bool weight = tensor.role == TensorRole::parameter;
    if (g.policy.compile && !weight) continue;  // fused into the kernel that makes the tensor
    const double bytes = double(elements(tensor)) * double(size_of(tensor.dtype) + 2);
    Work entry;
    entry.op_class = OpClass::copy;
    entry.cast = true;
    entry.block_class = op_class_of[i];
    entry.bytes =
        g.grows[operand.tensor.index()] ? Affine{0, bytes / double(g.batch)} : Affine{bytes, 0};
    entry.launches = launch_share();
    entry.calls = expected_runs(g.graph, op);
    list.add(entry);
    if (!training || !g.needs[operand.tensor.index()]) continue;
    entry.backward = true;
    list.add(entry);
  }
}

void WorkBuilder::layout_changes(std::size_t i) {
  const Op& op = g.graph.ops[i];
  // Compiled code picks channels-last for convolutions by itself.
  if (g.policy.compile) return;
  if (op_class(g.graph, op) != OpClass::convolution || op.outputs.empty()) return;
  if (g.graph.tensor(op.outputs.front()).shape.size() != 4) return;
  // A convolution works channels-last or blocked inside: contiguous images are turned on the way in
  // and back on the way out, each a read and a write.
  double images = g.tensor_bytes(op.outputs.front());
  for (const Operand& operand : op.inputs) {
    if (operand.tensor.valid() && g.grows[operand.tensor.index()]) {
      images += g.tensor_bytes(operand.tensor);
    }
  }
  Work entry;
  entry.op_class = OpClass::copy;
  entry.layout = true;
  entry.low = g.low_op[i];
  entry.block_class = op_class_of[i];
  entry.bytes = scaled_bytes(op, 2 * images, 0);
  entry.launches = 0;
  entry.calls = expected_runs(g.graph, op);
  list.add(entry);
  if (!training || !g.needs[op.outputs.front().index()]) return;
  entry.backward = true;
  list.add(entry);
}

void WorkBuilder::fused_group(const cost_detail::FusedGroup& group) {
  const auto total = [&](const std::vector<TensorId>& tensors) {
    Affine sum;
    for (const TensorId id : tensors) sum += g.tensor_affine(id);
    return sum;
  };
  const Affine in = total(group.inputs), out = total(group.outputs);
  Work entry;
  entry.op_class = group.reduces ? OpClass::reduction : OpClass::elementwise;
  entry.block_class = op_class_of[group.ops.front()];
  entry.bytes = {in.fixed + out.fixed, in.per_sample + out.per_sample};
  entry.launches = launch_share();
  entry.calls = expected_runs(g.graph, g.graph.ops[group.ops.front()]);
  list.add(entry);
  if (!training || !group.needs_grad) return;
  // Reads the gradients of its results and what was kept for it, writes gradients of operands.
  entry.backward = true;
  const Affine needed = total(group.kept);
  const bool again = needed.at(double(g.batch)) > in.at(double(g.batch));  // cheaper from operands
  const Affine& read = again ? in : needed;
  entry.bytes = {read.fixed + in.fixed + out.fixed,
                 read.per_sample + in.per_sample + out.per_sample};
  entry.launches *= group.has_parameters ? 2 : 1;  // parameter gradients sum over rows: one more
  list.add(entry);
}

void WorkBuilder::view(std::size_t i) {
  const Op& op = g.graph.ops[i];
  if (g.policy.compile || op.target == kJoin) return;
  Work entry;
  entry.op_class = OpClass::view;
  entry.calls = expected_runs(g.graph, op);
  entry.block_class = op_class_of[i];
  entry.launches = cost_parameter::kViewLaunchShare;
  list.add(entry);
  if (!training || op.outputs.empty() || !g.needs[op.outputs.front().index()]) return;
  entry.backward = true;
  list.add(entry);
}

/// A tensor with several readers gets the sum of their gradients: eager autograd adds them one by
/// one, a compiler does so inside its kernels.
void WorkBuilder::gradient_sums() {
  if (!training || g.policy.compile) return;
  std::vector<int> readers(g.graph.tensors.size(), 0);
  std::vector<int> block(g.graph.tensors.size(), -1);
  std::vector<double> runs(g.graph.tensors.size(), 1);
  for (std::size_t i = 0; i < g.graph.ops.size(); ++i) {
    for (const Operand& operand : g.graph.ops[i].inputs) {
      if (!operand.tensor.valid()) continue;
      ++readers[operand.tensor.index()];
      block[operand.tensor.index()] = op_class_of[i];
      runs[operand.tensor.index()] = expected_runs(g.graph, g.graph.ops[i]);
    }
  }
  for (std::size_t t = 0; t < readers.size(); ++t) {
    if (readers[t] < 2 || !g.needs[t] || g.graph.tensors[t].role != TensorRole::activation)
      continue;
    const Affine once = g.tensor_affine(TensorId(t));
    Work entry;
    entry.op_class = OpClass::elementwise;
    entry.backward = true;
    entry.block_class = block[t];
    entry.bytes = {3 * once.fixed, 3 * once.per_sample};
    entry.calls = (readers[t] - 1) * runs[t];
    list.add(entry);
  }
}

/// Segments of the step: runs of equal blocks and what lies between.
class RunBuilder {
 public:
  RunBuilder(const PolicyGraph& g, const ModelFacts& facts, bool training)
      : g_(g), facts_(facts), training_(training) {}

  std::vector<Run> build() {
    const std::vector<cost_detail::Kept> kept =
        training_ ? g_.kept() : std::vector<cost_detail::Kept>();
    std::set<TensorId> kept_storages;
    for (const cost_detail::Kept& k : kept) {
      if (k.storage.valid()) kept_storages.insert(k.storage);
    }
    std::size_t next_kept = 0;
    const std::vector<Affine> gradients_alive = live_gradients();
    std::set<TensorId> weights, inputs;
    std::pair<int, int> current{-2, -2};
    for (std::size_t i = 0; i < g_.graph.ops.size(); ++i) {
      const std::pair<int, int> at{facts_.op_class[i], facts_.op_block[i]};
      if (at != current) {
        close_segment();
        segments_.push_back({.block_class = at.first});
        inputs.clear();
        begin_ = i;
        current = at;
      }
      Run& run = segments_.back();
      Moment& moment = moments_.emplace_back();
      const Affine saved = run.saved;
      const double gradients_before = run.gradients;
      for (; next_kept < kept.size() && kept[next_kept].op == i; ++next_kept) {
        run.saved += kept[next_kept].bytes;
      }
      moment.backward = gradients_alive[i];
      operator_sets(i, kept_storages, moment);
      gradients(i, weights, run);
      moment.saved = run.saved - saved;
      moment.gradients = run.gradients - gradients_before;
      block_inputs(i, inputs, run);
    }
    close_segment();
    return merged();
  }

 private:
  /// What one operator of a segment keeps, leaves and holds while it runs.
  struct Moment {
    Affine saved, forward, backward;
    double gradients = 0;
  };

  /// The fullest moments of the segment that ends, beside all that it keeps and, in the backward,
  /// all its gradients: operators before one have kept theirs, those after it have freed them.
  void close_segment() {
    if (!segments_.empty()) {
      Run& run = segments_.back();
      Affine before;
      double gradients_after = run.gradients;
      bool first = true;
      for (const Moment& at : moments_) {
        const Affine held = before + at.saved;
        const Affine forward = held + at.forward - run.saved;
        const Affine backward =
            held + at.backward - run.saved + Affine{gradients_after - run.gradients, 0};
        if (first) {
          run.forward = forward;
          run.backward = backward;
        } else {
          larger(run.forward, forward);
          larger(run.backward, backward);
        }
        first = false;
        before = held;
        gradients_after -= at.gradients;
      }
    }
    moments_.clear();
  }

  /// Gradients of activations while each operator runs backward: one lives from the backward of its
  /// last reader to that of its producer. Those of tensors that were joined are views of the
  /// whole's.
  std::vector<Affine> live_gradients() const {
    const std::size_t count = g_.graph.ops.size();
    std::vector<Affine> change(count + 1);
    if (!training_) return change;
    std::map<TensorId, std::pair<std::size_t, std::size_t>> span;  // by storage: first, last
    for (std::size_t i = 0; i < count; ++i) {
      for (const TensorId storage : g_.touched(i)) {
        if (g_.needs[storage.index()]) span.try_emplace(storage, i, i).first->second.second = i;
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      const Op& op = g_.graph.ops[i];
      if (!joins(op) || g_.group_of[i] >= 0 || op.outputs.empty()) continue;
      const auto whole = span.find(g_.owner[op.outputs.front().index()]);
      if (whole == span.end()) continue;
      for (const Operand& operand : op.inputs) {
        const auto part = span.find(g_.owner[operand.tensor.index()]);
        if (part == span.end() || part->second.second != i) continue;
        whole->second.first = std::min(whole->second.first, part->second.first);
        span.erase(part);
      }
    }
    for (const auto& [storage, range] : span) {
      const Affine bytes = g_.tensor_affine(storage);
      change[range.first] += bytes;
      change[range.second + 1] += Affine{} - bytes;
    }
    for (std::size_t i = 1; i < count; ++i) change[i] += change[i - 1];
    return change;
  }
  static bool joins(const Op& op) {
    return op.target.starts_with("aten.cat.") || op.target.starts_with("aten.stack.");
  }

  void operator_sets(std::size_t i, const std::set<TensorId>& kept, Moment& moment) const {
    Affine& forward = moment.forward;
    Affine& backward = moment.backward;
    for (const TensorId storage : g_.touched(i)) {
      const Affine bytes = g_.tensor_affine(storage);
      if (!kept.contains(storage)) forward += bytes;
    }
    if (g_.unfuses(i)) {
      const Affine scores = g_.scores(i);
      forward += {4 * scores.fixed, 4 * scores.per_sample};
      backward += {8 * scores.fixed, 8 * scores.per_sample};
    }
    const Affine reordered = reordered_images(i);
    forward += reordered;
    if (training_ && backward.at(1) > 0) backward += reordered;
  }
  /// Convolutions wider than 1x1 copy operands and result to blocked layouts (oneDNN, cuDNN).
  Affine reordered_images(std::size_t i) const {
    const Op& op = g_.graph.ops[i];
    Affine sum;
    if (op_class(g_.graph, op) != OpClass::convolution || op.outputs.empty()) return sum;
    std::int64_t window = 1;
    for (const Operand& operand : op.inputs) {
      if (!operand.tensor.valid()) continue;
      const Tensor& tensor = g_.graph.tensor(operand.tensor);
      if (operand.argument == "weight") {
        for (std::size_t d = 2; d < tensor.shape.size(); ++d) window *= tensor.shape[d].size;
      } else if (g_.grows[operand.tensor.index()]) {
        sum += g_.low_op[i] && g_.is_cast(operand.tensor) ? half(g_.tensor_affine(operand.tensor))
                                                          : g_.tensor_affine(operand.tensor);
      }
    }
    sum += g_.tensor_affine(op.outputs.front());
    return window > 1 ? sum : Affine{};
  }
  static Affine half(const Affine& bytes) { return {bytes.fixed / 2, bytes.per_sample / 2}; }
  void gradients(std::size_t i, std::set<TensorId>& seen, Run& run) const {
    if (!training_) return;
    for (const Operand& operand : g_.graph.ops[i].inputs) {
      if (!operand.tensor.valid()) continue;
      const Tensor* tensor = &g_.graph.tensor(operand.tensor);
      if (tensor->role != TensorRole::parameter || !tensor->requires_grad) continue;
      const TensorId owner = tensor->tied_to.valid() ? tensor->tied_to : operand.tensor;
      if (seen.insert(owner).second) run.gradients += double(bytes(*tensor).value);
    }
  }
  void block_inputs(std::size_t i, std::set<TensorId>& seen, Run& run) const {
    for (const Operand& operand : g_.graph.ops[i].inputs) {
      if (!operand.tensor.valid()) continue;
      const TensorId storage = g_.owner[operand.tensor.index()];
      if (g_.graph.tensor(storage).role != TensorRole::activation) continue;
      if (g_.producer[storage.index()] >= int(begin_)) continue;
      if (seen.insert(storage).second) run.input += g_.tensor_affine(storage);
    }
  }
  void larger(Affine& most, const Affine& other) const {
    if (other.at(double(g_.batch)) > most.at(double(g_.batch))) most = other;
  }
  std::vector<Run> merged() const {
    std::vector<Run> runs;
    for (const Run& segment : segments_) {
      if (!runs.empty() && segment.block_class >= 0 &&
          runs.back().block_class == segment.block_class) {
        Run& run = runs.back();
        ++run.count;
        run.saved += segment.saved;  // the mean below: the first or last may keep more or less
        larger(run.input, segment.input);
        run.gradients = std::max(run.gradients, segment.gradients);
      } else {
        runs.push_back(segment);
      }
    }
    std::array<int, kMaxBlockClasses> seen{};
    for (Run& run : runs) {
      if (run.block_class < 0) continue;
      run.saved = {run.saved.fixed / run.count, run.saved.per_sample / run.count};
      run.before = seen[std::size_t(run.block_class)];
      seen[std::size_t(run.block_class)] += run.count;
    }
    return runs;
  }

  const PolicyGraph& g_;
  const ModelFacts& facts_;
  bool training_;
  std::size_t begin_ = 0;
  std::vector<Run> segments_;
  std::vector<Moment> moments_;  ///< of the last segment
};

}  // namespace

Profile make_profile(const Graph& graph, const ModelFacts& facts, const Policy& policy,
                     bool training) {
  const PolicyGraph g(graph, policy, facts.batch);
  WorkBuilder builder{g, facts.op_class, training, {}};
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.phase != Phase::forward) continue;
    builder.casts(i);
    builder.layout_changes(i);
    if (op_class(graph, op) == OpClass::view) {
      builder.view(i);
    } else if (g.unfuses(i)) {
      builder.unfused_attention(i);
    } else if (g.group_of[i] < 0) {
      builder.operator_calls(i, forward_work(graph, op), false);
      if (training) builder.operator_calls(i, backward_work(graph, op, g.needs), true);
    }
  }
  builder.gradient_sums();
  Profile profile;
  for (const cost_detail::FusedGroup& group : g.groups) builder.fused_group(group);
  profile.work = builder.list.take();
  profile.runs = RunBuilder(g, facts, training).build();
  profile.distinct_kernels = g.distinct_kernels(training);
  profile.weight_copies_bytes = g.weight_copies_bytes();
  for (const TensorId id : graph.outputs) {
    const Tensor& tensor = graph.tensor(id);
    if (!is_floating(tensor.dtype)) continue;
    const double bytes_of =
        double(elements(tensor)) * double(std::max<std::int64_t>(4, size_of(tensor.dtype)));
    profile.outputs += g.grows[id.index()] && !tensor.shape.empty()
                           ? Affine{0, bytes_of / double(g.batch)}
                           : Affine{bytes_of, 0};
  }
  return profile;
}

}  // namespace parallel_opt
