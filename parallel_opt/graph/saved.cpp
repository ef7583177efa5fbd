#include <algorithm>
#include <cmath>
#include <map>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/einsum.h"
#include "parallel_opt/graph/matrix_chain.h"
#include "parallel_opt/graph/recurrent.h"
#include "parallel_opt/graph/space_impl.h"
#include "parallel_opt/graph/work.h"

// What autograd keeps, word by word of a row's `saves`; a word with '+' is a rule of this file.
// Source: PyTorch 2.13's tools/autograd/derivatives.yaml and the CPU kernels, each checked against
// saved_tensors_hooks (tests/python/graph/test_counts.py).
namespace parallel_opt {
namespace {

class Keeper {
 public:
  Keeper(const Graph& graph, const Op& op, const std::vector<bool>& needs)
      : graph_(graph), op_(op), needs_(needs) {}

  Saved keep(const OpRow& row) {
    std::string_view words = row.saves;
    while (!words.empty()) {
      const std::size_t end = std::min(words.find(' '), words.size());
      word(words.substr(0, end));
      words.remove_prefix(std::min(end + 1, words.size()));
    }
    return std::move(saved_);
  }

 private:
  const Tensor* tensor(TensorId id) const { return id.valid() ? &graph_.tensor(id) : nullptr; }
  TensorId result(std::size_t i) const {
    return i < op_.outputs.size() ? op_.outputs[i] : TensorId();
  }
  TensorId self() const { return op_.inputs.empty() ? TensorId() : op_.inputs.front().tensor; }

  std::int64_t element_bytes() const {
    const Tensor* t = tensor(self());
    return t == nullptr ? 4 : size_of(t->dtype);
  }
  std::int64_t self_elements() const {
    const Tensor* t = tensor(self());
    return t == nullptr ? 0 : elements(*t);
  }
  std::int64_t self_size(std::size_t axis) const {
    const Tensor* t = tensor(self());
    return t != nullptr && axis < t->shape.size() ? t->shape[axis].size : 1;
  }

  void add(TensorId id) {
    if (id.valid()) saved_.tensors.push_back(id);
  }
  void add_bytes(std::int64_t count) { saved_.extra += Bytes(count); }
  void merge(const Saved& kept) {
    saved_.tensors.insert(saved_.tensors.end(), kept.tensors.begin(), kept.tensors.end());
    saved_.extra += kept.extra;
  }

  bool any_needs(std::string_view argument) const {
    for (const Operand& input : op_.inputs) {
      if (input.argument == argument && input.tensor.valid() && needs_[input.tensor.index()]) {
        return true;
      }
    }
    return false;
  }

  void word(std::string_view text) {
    const std::size_t when = text.find('<');
    if (when != std::string_view::npos && !any_needs(text.substr(when + 1))) return;
    const std::string_view argument = text.substr(0, when);
    if (argument.starts_with('+')) return rule(argument.substr(1));
    if (argument.starts_with("out")) {
      return add(result(argument.size() == 3 ? 0 : static_cast<std::size_t>(argument[3] - '0')));
    }
    for (const Operand& input : op_.inputs) {
      if (input.argument != argument || !input.tensor.valid()) continue;
      if (argument == "input" && op_.target.starts_with("aten.linear.")) {
        add_folded(input.tensor);  // more than two dimensions are folded into rows first
      } else if (argument == "input" && op_.target.starts_with("aten.group_norm.") &&
                 !is_contiguous(*tensor(input.tensor)) && !channels_last(*tensor(input.tensor))) {
        add_bytes(bytes(*tensor(input.tensor)).value);  // made contiguous first
      } else if (argument == "attn_mask" && tensor(input.tensor)->dtype == DType::boolean) {
        add_bytes(elements(*tensor(input.tensor)) * element_bytes());  // made a float mask first
      } else {
        add(input.tensor);
      }
    }
  }

  /// Of images: is the channel the innermost axis, without gaps?
  static bool channels_last(Tensor t) {
    if (t.shape.size() < 4) return false;
    t.strides = strides_of(t);
    std::rotate(t.shape.begin() + 1, t.shape.begin() + 2, t.shape.end());
    std::rotate(t.strides.begin() + 1, t.strides.begin() + 2, t.strides.end());
    return is_contiguous(t);
  }

  /// The operand as rows of its last dimension: itself when its strides allow it, else a copy.
  void add_folded(TensorId id) {
    const Tensor& t = graph_.tensor(id);
    if (t.shape.size() > 2 && !axes_merge(t, 0, t.shape.size() - 2)) {
      add_bytes(bytes(t).value);
    } else {
      add(id);
    }
  }

  /// The operand of a batched product: batch dimensions broadcast to the result's and folded into
  /// one; a copy when its strides do not allow that.
  void add_batched(TensorId id, double batch) {
    const Tensor& t = graph_.tensor(id);
    const std::size_t leading = t.shape.size() - 2;
    double own = 1;
    for (std::size_t i = 0; i < leading; ++i) own *= static_cast<double>(t.shape[i].size);
    const bool folds = own == batch && (leading < 2 || axes_merge(t, 0, leading - 1));
    if (folds || own == 1) {  // one matrix for all is a view with stride 0
      add(id);
    } else {
      const double matrix = static_cast<double>(t.shape[leading].size) *
                            static_cast<double>(t.shape[leading + 1].size);
      add_bytes(static_cast<std::int64_t>(batch * matrix) * size_of(t.dtype));
    }
  }

  void matmul() {
    if (op_.inputs.size() < 2) return;
    const TensorId left = op_.inputs[0].tensor;
    const TensorId right = op_.inputs[1].tensor;
    if (!left.valid() || !right.valid()) return;
    const std::size_t a = graph_.tensor(left).shape.size();
    const std::size_t b = graph_.tensor(right).shape.size();
    double batch = 1;
    if (const Tensor* out = tensor(result(0)); out != nullptr && a > 2 && b > 2) {
      for (std::size_t i = 0; i + 2 < out->shape.size(); ++i) {
        batch *= static_cast<double>(out->shape[i].size);
      }
    }
    const auto one = [&](TensorId id, std::size_t rank, std::size_t other) {
      if (rank > 2 && other > 2) {
        add_batched(id, batch);
      } else if (rank > 2) {
        add_folded(id);
      } else {
        add(id);
      }
    };
    if (needs_[right.index()]) one(left, a, b);
    if (needs_[left.index()]) one(right, b, a);
  }

  /// Fused on CPU without dropout; else the plain formula, every step of which saves.
  void attention() {
    const TensorId query = operand(op_, "query");
    const TensorId key = operand(op_, "key");
    const TensorId value = operand(op_, "value");
    if (!query.valid() || !key.valid() || !value.valid() || !result(0).valid()) return;
    const Tensor& q = graph_.tensor(query);
    const Tensor& k = graph_.tensor(key);
    const Tensor& v = graph_.tensor(value);
    if (q.shape.size() < 2 || k.shape.size() < 2) return;
    const std::int64_t rows = elements(q) / std::max<std::int64_t>(q.shape.back().size, 1);
    const std::int64_t scores = rows * k.shape[k.shape.size() - 2].size * size_of(q.dtype);
    const bool dropout = attribute_real(op_, "dropout_p", 0) > 0;
    const auto leading = [](const Tensor& t) {  // samples x heads
      double product = 1;
      for (std::size_t i = 0; i + 2 < t.shape.size(); ++i) {
        product *= static_cast<double>(t.shape[i].size);
      }
      return product;
    };
    const double matrices = leading(q);
    const bool same_heads =
        (matrices == leading(k) && matrices == leading(v)) || attribute(op_, "enable_gqa", 0) != 0;
    const auto dense_rows = [](const Tensor& t) {
      return t.shape.back().size == 1 || strides_of(t).back() == 1;
    };
    const bool fused = !dropout && q.shape.size() == 4 && !any_needs("attn_mask") &&
                       q.shape.back() == v.shape.back() && same_heads && dense_rows(q) &&
                       dense_rows(k) && dense_rows(v);
    if (fused) {
      for (const TensorId id : {query, key, value, result(0)}) add(id);
      if (const TensorId mask = operand(op_, "attn_mask"); mask.valid()) word("attn_mask");
      const std::int64_t sum_bytes = size_of(q.dtype) == 8 ? 8 : 4;
      return add_bytes(rows * sum_bytes);  // logarithm of the sums
    }
    // Scaled copies of query and key, the softmax, and with dropout its mask and its result.
    // Keys and values of fewer heads are written out for all of them.
    const auto all_heads = [&](const Tensor& t) {
      return static_cast<std::int64_t>(matrices / leading(t) * static_cast<double>(bytes(t).value));
    };
    add_bytes(bytes(q).value + all_heads(k) + scores * (dropout ? 3 : 1));
    v.shape.size() > 2 ? add_batched(value, matrices) : add(value);
  }

  std::int64_t normalized_size() const {
    std::int64_t size = 1;
    for (const std::int64_t s : attribute_list(op_, "normalized_shape")) size *= s;
    return std::max<std::int64_t>(size, 1);
  }

  void rule(std::string_view name) {
    const bool training = attribute(op_, "training", 1) != 0;
    if (name == "rows") {
      add_bytes(self_elements() / normalized_size() * element_bytes());
    } else if (name == "channels") {
      if (training) add_bytes(2 * self_size(1) * element_bytes());
    } else if (name == "instances") {
      // Mean and deviation of each; scale and running averages written out for all samples.
      const bool scale = operand(op_, "weight").valid();
      const bool running = operand(op_, "running_mean").valid();
      const std::int64_t lists = 2 + (scale ? 1 : 0) + (running ? 2 : 0);
      add_bytes(lists * self_size(0) * self_size(1) * element_bytes());
    } else if (name == "groups") {
      add_bytes(2 * self_size(0) * attribute(op_, "num_groups", 1) * element_bytes());
    } else if (name == "folded") {
      matmul();
    } else if (name == "mask") {
      add_bytes(self_elements());  // one flag each
    } else if (name == "einsum") {
      merge(einsum_work(graph_, op_, needs_).saved);
    } else if (name == "attention") {
      attention();
    } else if (name == "recurrent") {
      merge(recurrent_saved(graph_, op_));
    } else if (name == "self" || name == "dropout") {
      add_bytes(self_elements() * element_bytes());
    } else if (name == "total") {  // of the classes' weights
      add_bytes(element_bytes());
    } else if (name == "channels_mask") {
      add_bytes(self_size(0) * self_size(1) * element_bytes());
    } else {
      indices(name);
    }
  }

  void indices(std::string_view name) {
    const Tensor* out = tensor(result(0));
    if (out == nullptr) return;
    if (name == "indices") {
      add_bytes(elements(*out) * 8);
    } else if (name == "bag") {
      // A sum is one fused loop; else every index knows its bag.
      const TensorId index = operand(op_, "indices");
      const std::int64_t bags = out->shape.empty() ? 1 : out->shape.front().size;
      const bool sum = attribute(op_, "mode", 0) == 0;
      const std::int64_t known = index.valid() ? elements(graph_.tensor(index)) + 1 : 0;
      // How many are in a bag, and which was the largest: of each element for a maximum.
      const bool largest = attribute(op_, "mode", 0) == 2;
      add_bytes(8 * (bags + (largest ? elements(*out) : bags) + (sum ? 0 : known)));
    } else if (name == "adaptive") {
      // To one element it is a mean, which keeps nothing.
      bool mean = true;
      for (const std::int64_t size : attribute_list(op_, "output_size")) mean = mean && size == 1;
      if (!mean) add(self());
    } else if (name == "arg") {
      if (op_.outputs.size() > 1) {
        add(result(1));
      } else {
        add(self());
        operand(op_, "other").valid() ? add(operand(op_, "other")) : add(result(0));
      }
    } else if (name == "power") {
      if (const TensorId exponent = operand(op_, "exponent"); exponent.valid()) {
        add(exponent);
        add(result(0));
      }
    } else if (name == "repeats") {
      if (const TensorId repeats = operand(op_, "repeats"); repeats.valid()) {
        add_bytes(repeated_rows(*out) * 8);  // which row each comes from
      }
    } else if (name == "quotients") {
      // Of each side its length, once clamped, and its quotient for the other's gradient.
      std::int64_t along = 1;
      for (const Operand& input : op_.inputs) {
        const auto rank = static_cast<std::int64_t>(graph_.tensor(input.tensor).shape.size());
        std::int64_t axis = attribute(op_, "dim", 1);
        if (axis < 0) axis += rank;
        if (axis < 0 || axis >= rank) continue;
        const Dim& size = graph_.tensor(input.tensor).shape[static_cast<std::size_t>(axis)];
        along = std::max(along, size.size);
      }
      const std::int64_t sides = (any_needs("x1") ? 1 : 0) + (any_needs("x2") ? 1 : 0);
      add_bytes(sides * elements(*out) * (2 + along) * element_bytes());
    } else {
      copies(name, *out);
    }
  }

  /// What an operator writes down on its way.
  void copies(std::string_view name, const Tensor& out) {
    if (name == "waves" || name == "frames") {
      transforms(name, out);
    } else if (name == "border") {  // a constant one is written and forgotten
      const auto mode = op_.attributes.find("mode");
      const bool copied =
          mode != op_.attributes.end() && (mode->second == Attribute(std::string("reflect")) ||
                                           mode->second == Attribute(std::string("replicate")));
      if (copied) add(self());
    } else if (name == "labels") {  // shares of classes are smoothed into a copy
      const TensorId target = operand(op_, "target");
      const bool shares = target.valid() && is_floating(tensor(target)->dtype);
      const bool copied = shares && attribute_real(op_, "label_smoothing", 0) > 0;
      copied ? add_bytes(bytes(*tensor(target)).value) : add(target);
      if (!shares) rule("total");
    } else if (name == "quantile") {
      // Where each element was sorted from, the sorted ones; per result two places and a weight.
      add_bytes(self_elements() * (8 + element_bytes()) + elements(out) * (16 + element_bytes()));
    } else if (name == "distance" || name == "triplet") {
      distances(name);
    } else {
      matrices(name, out);
    }
  }

  /// Of each distance the difference and its norm; a triplet's loss is clamped at zero after.
  void distances(std::string_view name) {
    const bool triplet = name == "triplet";
    std::int64_t points = 1, size = 1;
    for (const Operand& input : op_.inputs) {
      const Tensor& t = graph_.tensor(input.tensor);
      points = std::max(points, elements(t));
      if (!t.shape.empty()) size = std::max(size, t.shape.back().size);
    }
    const std::int64_t norms = points / std::max<std::int64_t>(size, 1);
    const std::int64_t count = !triplet ? 1 : (attribute(op_, "swap", 0) != 0 ? 3 : 2);
    add_bytes((count * (points + norms) + (triplet ? norms : 0)) * element_bytes());
  }

  /// A transform of real numbers keeps them, after they were padded to its length.
  void transforms(std::string_view name, const Tensor& out) {
    const Tensor* x = tensor(self());
    if (x == nullptr || x->dtype >= DType::complex32) return;
    if (name == "frames") {  // cut out and weighted by the window
      const std::int64_t n = attribute(op_, "n_fft", 1);
      const std::int64_t bins = attribute(op_, "onesided", 1) != 0 ? n / 2 + 1 : n;
      const std::int64_t pairs = out.dtype >= DType::complex32 ? 1 : 2;
      return add_bytes(elements(out) / pairs / std::max<std::int64_t>(bins, 1) * n *
                       element_bytes());
    }
    double own = 1, padded = 1;
    std::vector<std::int64_t> lengths = attribute_list(op_, "n");
    if (lengths.empty()) lengths = attribute_list(op_, "s");
    for (const std::size_t axis : space_detail::transformed_axes(op_, x->shape.size())) {
      own *= static_cast<double>(x->shape[axis].size);
    }
    for (const std::int64_t length : lengths) padded *= static_cast<double>(length);
    if (lengths.empty() || padded <= own) return add(self());
    const double points = static_cast<double>(elements(*x)) / std::max(own, 1.0) * padded;
    add_bytes(static_cast<std::int64_t>(points) * size_of(x->dtype));
  }

  /// Rows along the axis that is repeated; all elements where none is named.
  std::int64_t repeated_rows(const Tensor& out) const {
    const auto rank = static_cast<std::int64_t>(out.shape.size());
    std::int64_t axis = attribute(op_, "dim", rank);
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? out.shape[static_cast<std::size_t>(axis)].size
                                    : elements(out);
  }

  void matrices(std::string_view name, const Tensor& out) {
    const Tensor* a = tensor(self());
    const std::size_t rank = a == nullptr ? 0 : a->shape.size();
    const std::int64_t rows = rank > 1 ? a->shape[rank - 2].size : 1;
    const std::int64_t columns = rank > 0 ? a->shape[rank - 1].size : 1;
    const std::int64_t count = self_elements() / std::max<std::int64_t>(rows * columns, 1);
    if (name == "pivots") {
      add_bytes(count * rows * 4);
    } else if (name == "vectors") {  // left and right ones, of a decomposition that returns neither
      add_bytes(count * std::min(rows, columns) * (rows + columns) * element_bytes());
    } else if (name == "norms") {
      const Tensor* gains = tensor(operand(op_, "g"));
      add_bytes(gains == nullptr ? 0 : elements(*gains) * size_of(out.dtype));
    } else if (name == "chain") {
      const double kept = product_chain(graph_, op_).kept_elements;
      add_bytes(static_cast<std::int64_t>(kept) * element_bytes());
    } else if (name == "squares") {
      const MatrixPower power = matrix_power(attribute(op_, "n", 1));
      add_bytes(power.kept * self_elements() * element_bytes());
    } else {
      PO_CHECK(false, "a rule of the operator table that nothing implements");
    }
  }

  const Graph& graph_;
  const Op& op_;
  const std::vector<bool>& needs_;
  Saved saved_;
};

/// What a custom autograd.Function, or an operator that is computed again for the backward, was
/// seen to save: bytes of its own, operands and results.
Saved observed_saved(const Op& op) {
  Saved saved;
  saved.extra = Bytes(attribute(op, "saved_bytes", 0));
  for (const std::int64_t i : attribute_list(op, "saved_inputs")) {
    const auto at = static_cast<std::size_t>(i);
    if (at < op.inputs.size()) saved.tensors.push_back(op.inputs[at].tensor);
  }
  for (const std::int64_t i : attribute_list(op, "saved_outputs")) {
    const auto at = static_cast<std::size_t>(i);
    if (at < op.outputs.size()) saved.tensors.push_back(op.outputs[at]);
  }
  return saved;
}

}  // namespace

Saved saved_for_backward(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  const std::optional<OpRow> row = find_row(graph, op);
  if (op.phase != Phase::forward || op.outputs.empty()) return {};
  bool any = false;
  for (const TensorId id : op.outputs) any = any || (id.valid() && needs_grad[id.index()]);
  if (!any) return {};
  if (is_recomputed(op)) return observed_saved(op);
  if (!row && op.attributes.contains("saved_bytes")) return observed_saved(op);
  if (!row) {  // unknown: bounded by everything it touches
    Saved all;
    for (const Operand& input : op.inputs) {
      if (input.tensor.valid()) all.tensors.push_back(input.tensor);
    }
    for (const TensorId id : op.outputs) {
      if (id.valid()) all.tensors.push_back(id);
    }
    return all;
  }
  // Dropout that does nothing returns its operand.
  if (row->op_class == OpClass::random && !is_in_place(op) && op.outputs.front().valid() &&
      graph.tensor(op.outputs.front()).alias_of.valid()) {
    return {};
  }
  return Keeper(graph, op, needs_grad).keep(*row);
}

namespace {

/// Per tensor: the region of the operator that makes it.
std::vector<RegionId> regions_of_tensors(const Graph& graph) {
  std::vector<RegionId> regions(graph.tensors.size());
  for (const Op& op : graph.ops) {
    for (const TensorId id : op.outputs) {
      if (id.valid()) regions[id.index()] = op.region;
    }
  }
  return regions;
}

}  // namespace

bool is_recomputed(const Op& op) { return attribute(op, "recomputed", 0) != 0; }

namespace {

/// Of a step that was recorded whole: what operators of the forward made and those of the backward
/// read. A recomputed operator keeps what it read instead.
std::vector<Saved> read_by_backward(const Graph& graph) {
  std::vector<Saved> saved(graph.ops.size());
  std::vector<std::size_t> maker(graph.tensors.size(), SIZE_MAX);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.phase == Phase::forward) {
      for (const TensorId id : op.outputs) {
        if (id.valid()) maker[id.index()] = i;
      }
      if (is_recomputed(op)) saved[i] = observed_saved(op);
    } else if (op.phase == Phase::backward && op.target != "aten.ones_like.default") {
      for (const Operand& input : op.inputs) {
        if (!input.tensor.valid()) continue;
        const std::size_t made = maker[input.tensor.index()];
        if (made != SIZE_MAX && !is_recomputed(graph.ops[made])) {
          saved[made].tensors.push_back(input.tensor);
        }
      }
    }
  }
  return saved;
}

}  // namespace

bool has_backward(const Graph& graph) {
  return std::ranges::any_of(graph.ops, [](const Op& op) { return op.phase == Phase::backward; });
}

Bytes saved_bytes(const Graph& graph) {
  const std::vector<bool> needs = requires_grad(graph);
  const bool recorded = has_backward(graph);
  std::vector<Saved> seen = recorded ? read_by_backward(graph) : std::vector<Saved>();
  const std::vector<RegionId> made_in = regions_of_tensors(graph);
  std::vector<bool> counted(graph.tensors.size());
  double total = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    const Saved saved = recorded ? std::move(seen[i]) : saved_for_backward(graph, op, needs);
    total += static_cast<double>(saved.extra.value) * expected_runs(graph, op);
    for (const TensorId id : saved.tensors) {
      const TensorId owner = storage_owner(graph, id);
      if (counted[owner.index()]) continue;
      counted[owner.index()] = true;
      if (graph.tensor(owner).role != TensorRole::activation) continue;
      total += static_cast<double>(bytes(graph.tensor(owner)).value) *
               expected_runs(graph, made_in[owner.index()]);
    }
  }
  return Bytes(std::llround(total));
}

std::vector<double> kept_runs(const Graph& graph, const std::vector<bool>& needs_grad) {
  const std::size_t count = graph.regions.size();
  std::vector<double> runs(count, 1);
  if (count == 0) return runs;
  const std::vector<RegionId> made_in = regions_of_tensors(graph);
  std::vector<double> kept(count, 0);  // bytes, of one run
  std::vector<bool> counted(graph.tensors.size());
  const auto keep = [&](RegionId region, Bytes bytes) {
    if (region.valid()) kept[region.index()] += static_cast<double>(bytes.value);
  };
  for (const Op& op : graph.ops) {
    const Saved saved = saved_for_backward(graph, op, needs_grad);
    keep(op.region, saved.extra);
    for (const TensorId id : saved.tensors) {
      const TensorId owner = storage_owner(graph, id);
      if (!counted[owner.index()]) keep(made_in[owner.index()], bytes(graph.tensor(owner)));
      counted[owner.index()] = true;
    }
  }
  std::map<std::string_view, std::size_t> dearest;  // alternative of each branch
  for (std::size_t i = count; i-- > 0;) {           // inner regions before outer ones
    const Region& region = graph.regions[i];
    if (region.kind == RegionKind::loop) {
      keep(region.parent, Bytes(std::llround(kept[i] * region.runs)));
      continue;
    }
    const auto [best, fresh] = dearest.try_emplace(region.group, i);
    const double before = fresh ? 0 : kept[best->second];
    if (kept[i] > before) best->second = i;
    keep(region.parent, Bytes(std::llround(std::max(kept[i] - before, 0.0))));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Region& region = graph.regions[i];
    const bool loop = region.kind == RegionKind::loop;
    runs[i] = loop ? region.runs : (dearest.at(region.group) == i ? 1 : 0);
    if (region.parent.valid()) runs[i] *= runs[region.parent.index()];
  }
  return runs;
}

}  // namespace parallel_opt
