#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/work.h"

// Which tensors get a gradient: forwards from what requires one, backwards from the results.
namespace parallel_opt {
namespace {

/// What the body of a loop hands to its next run, by the operator that takes it up.
class Carried {
 public:
  explicit Carried(const Graph& graph) {
    std::unordered_map<std::string_view, TensorId> by_name;
    for (const Op& op : graph.ops) {
      if (enters_loop(op)) by_name.emplace(name_of(op), TensorId());
    }
    if (by_name.empty()) return;
    for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
      if (const auto at = by_name.find(graph.tensors[i].name); at != by_name.end()) {
        at->second = TensorId(i);
      }
    }
    for (const Op& op : graph.ops) {
      if (!enters_loop(op) || op.outputs.empty() || !op.outputs.front().valid()) continue;
      const TensorId left = by_name.at(name_of(op));
      if (left.valid()) pairs_.emplace_back(op.outputs.front(), left);
    }
  }

  /// (taken up, handed on)
  const std::vector<std::pair<TensorId, TensorId>>& pairs() const { return pairs_; }

 private:
  static std::string_view name_of(const Op& op) {
    const auto* name = std::get_if<std::string>(&op.attributes.at("carried"));
    return name == nullptr ? std::string_view() : std::string_view(*name);
  }
  std::vector<std::pair<TensorId, TensorId>> pairs_;
};

/// New tensors take only sizes from their operand.
bool stops(const Graph& graph, const Op& op) {
  if (attribute(op, kNoGrad, 0) != 0) return true;
  const std::optional<OpRow> row = find_row(graph, op);
  const std::string_view name = row ? row->target : std::string_view();
  return name == "aten.detach" || name == "aten.bernoulli" || name.ends_with("_like") ||
         name.starts_with("aten.new_");
}

/// Per operator: does no gradient go through it? What a gradient that is computed in the forward (a
/// penalty, a Jacobian) detaches is what autograd had saved: to the outer gradient it is not. Such
/// are detached inside of the gradient, or read by one of its operators.
std::vector<bool> stopping(const Graph& graph) {
  std::vector<bool> result(graph.ops.size());
  std::vector<bool> read(graph.tensors.size());  // by a backward operator
  for (std::size_t i = graph.ops.size(); i-- > 0;) {
    const Op& op = graph.ops[i];
    const bool inner = op.phase == Phase::forward && op.target.find("_backward") != op.target.npos;
    const bool saved = attribute(op, kInGradient, 0) != 0 ||
                       std::ranges::any_of(
                           op.outputs, [&](TensorId id) { return id.valid() && read[id.index()]; });
    const bool view = saved && op_class(graph, op) == OpClass::view;
    for (const Operand& input : op.inputs) {
      if ((inner || view) && input.tensor.valid()) read[input.tensor.index()] = true;
    }
    result[i] = stops(graph, op) && !(saved && op.target.starts_with("aten.detach."));
  }
  return result;
}

TensorId written(const Op& op) { return op.inputs.empty() ? TensorId() : op.inputs.front().tensor; }

/// Written in place where gradients are off (`var.clamp_(min)`): autograd does not see the write.
bool keeps_own_gradient(const Op& op) {
  return attribute(op, kNoGrad, 0) != 0 && is_in_place(op) && !op.outputs.empty() &&
         op.outputs.front().valid() && written(op).valid();
}

/// One pass over the operators in order. True when a loop must be passed again: what it carries to
/// its next run needs a gradient that the value it starts with does not.
bool spread(const Graph& graph, const Carried& carried, const std::vector<bool>& stopping,
            std::vector<bool>& needs) {
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (stopping[i]) {
      if (keeps_own_gradient(op)) needs[op.outputs.front().index()] = needs[written(op).index()];
      continue;
    }
    const bool any = std::ranges::any_of(op.inputs, [&](const Operand& input) {
      return input.tensor.valid() && needs[input.tensor.index()];
    });
    if (!any) continue;
    for (const TensorId id : op.outputs) {
      if (id.valid()) needs[id.index()] = is_floating(graph.tensor(id).dtype);
    }
    // A write into a tensor without gradient (zeros, then filled) gives that tensor one, also when
    // it goes through a view.
    if (!is_in_place(op) || op.inputs.empty()) continue;
    for (TensorId id = op.inputs.front().tensor; id.valid(); id = graph.tensor(id).alias_of) {
      needs[id.index()] = is_floating(graph.tensor(id).dtype);
    }
  }
  bool again = false;
  for (const auto& [taken, handed] : carried.pairs()) {
    if (needs[taken.index()] || !needs[handed.index()]) continue;
    needs[taken.index()] = true;
    again = true;
  }
  return again;
}

std::vector<bool> spread_gradients(const Graph& graph, const Carried& carried,
                                   const std::vector<bool>& stopping) {
  std::vector<bool> needs(graph.tensors.size());
  for (std::size_t i = 0; i < needs.size(); ++i) {
    const Tensor& t = graph.tensors[i];
    const bool leaf = t.role == TensorRole::parameter || t.role == TensorRole::input;
    needs[i] = leaf && t.requires_grad && is_floating(t.dtype);
  }
  while (spread(graph, carried, stopping, needs)) {
  }
  return needs;
}

/// Tensors that a gradient comes to, walking from the results backwards.
class Reached {
 public:
  Reached(const Graph& graph, const Carried& carried, const std::vector<bool>& stopping,
          const std::vector<bool>& needs)
      : graph_(graph),
        carried_(carried),
        stopping_(stopping),
        needs_(needs),
        owners_(storage_owners(graph)),
        tensors_(graph.tensors.size()),
        storages_(graph.tensors.size()) {}

  bool operator[](std::size_t tensor) const { return tensors_[tensor]; }

  void mark(TensorId id) {
    tensors_[id.index()] = true;
    storages_[owners_[id.index()].index()] = true;
  }

  /// One pass over the operators in reverse. True when a loop must be passed again: what the body
  /// hands to its next run is made after the place that takes it up.
  bool pass() {
    for (std::size_t i = graph_.ops.size(); i-- > 0;) {
      const Op& op = graph_.ops[i];
      if (keeps_own_gradient(op) && tensors_[op.outputs.front().index()]) mark(written(op));
      if (stopping_[i] || !receives(op)) continue;
      for (const Operand& input : op.inputs) {
        if (input.tensor.valid() && needs_[input.tensor.index()]) mark(input.tensor);
      }
    }
    bool again = false;
    for (const auto& [taken, handed] : carried_.pairs()) {
      if (!tensors_[taken.index()] || tensors_[handed.index()]) continue;
      mark(handed);
      again = true;
    }
    return again;
  }

 private:
  /// A write in place gives all readers of the storage their values, whichever view they read.
  bool receives(const Op& op) const {
    const bool writes = is_in_place(op);
    return std::ranges::any_of(op.outputs, [&](TensorId id) {
      if (!id.valid() || !needs_[id.index()]) return false;
      return tensors_[id.index()] || (writes && storages_[owners_[id.index()].index()]);
    });
  }

  const Graph& graph_;
  const Carried& carried_;
  const std::vector<bool>& stopping_;
  const std::vector<bool>& needs_;
  std::vector<TensorId> owners_;
  std::vector<bool> tensors_;
  std::vector<bool> storages_;
};

/// Keeps the gradient of what a result of the model depends on: autograd starts at the results and
/// never visits a dead end, and neither goes through what is detached nor through numbers that have
/// no gradient (the index of the nearest code). Without a result that needs one (a part of a model)
/// nothing is known.
void drop_dead_ends(const Graph& graph, const Carried& carried, const std::vector<bool>& stopping,
                    std::vector<bool>& needs) {
  Reached reached(graph, carried, stopping, needs);
  bool any = false;
  for (const TensorId id : graph.outputs) {
    if (!id.valid()) continue;
    reached.mark(id);
    any = any || needs[id.index()];
  }
  if (!any) return;
  while (reached.pass()) {
  }
  for (std::size_t i = 0; i < needs.size(); ++i) needs[i] = needs[i] && reached[i];
}

}  // namespace

std::vector<bool> requires_grad(const Graph& graph) {
  return spread_gradients(graph, Carried(graph), stopping(graph));
}

std::vector<bool> needs_grad(const Graph& graph) {
  const Carried carried(graph);
  const std::vector<bool> stops = stopping(graph);
  std::vector<bool> needs = spread_gradients(graph, carried, stops);
  drop_dead_ends(graph, carried, stops, needs);
  return needs;
}

}  // namespace parallel_opt
