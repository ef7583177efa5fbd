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
bool stops_gradients(const Graph& graph, const Op& op) {
  if (attribute(op, kNoGrad, 0) != 0) return true;
  const std::optional<OpRow> row = find_row(graph, op);
  const std::string_view name = row ? row->target : std::string_view();
  return name == "aten.detach" || name == "aten.bernoulli" || name.ends_with("_like") ||
         name.starts_with("aten.new_");
}

/// One pass over the operators in order. True when a loop must be passed again: what it carries to
/// its next run needs a gradient that the value it starts with does not.
bool spread(const Graph& graph, const Carried& carried, std::vector<bool>& needs) {
  for (const Op& op : graph.ops) {
    if (stops_gradients(graph, op)) continue;
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

/// One pass backwards: storages that a result depends on. True when it found one.
bool reach(const Graph& graph, const std::vector<TensorId>& owners, std::vector<bool>& reached) {
  bool found = false;
  for (std::size_t i = graph.ops.size(); i-- > 0;) {
    const Op& op = graph.ops[i];
    const bool used = std::ranges::any_of(
        op.outputs, [&](TensorId id) { return id.valid() && reached[owners[id.index()].index()]; });
    if (!used) continue;
    for (const Operand& input : op.inputs) {
      if (!input.tensor.valid()) continue;
      const std::size_t owner = owners[input.tensor.index()].index();
      found = found || !reached[owner];
      reached[owner] = true;
    }
  }
  return found;
}

/// Keeps the gradient of what a result of the model depends on: autograd starts at the results and
/// never visits a dead end. Without a result that needs one (a part of a model) nothing is known.
void drop_dead_ends(const Graph& graph, bool loops, std::vector<bool>& needs) {
  const std::vector<TensorId> owners = storage_owners(graph);
  std::vector<bool> reached(graph.tensors.size());
  bool any = false;
  for (const TensorId id : graph.outputs) {
    if (!id.valid()) continue;
    reached[owners[id.index()].index()] = true;
    any = any || needs[id.index()];
  }
  if (!any) return;
  // A loop's next run reads what comes later in the order.
  while (reach(graph, owners, reached) && loops) {
  }
  for (std::size_t i = 0; i < needs.size(); ++i) {
    needs[i] = needs[i] && reached[owners[i].index()];
  }
}

}  // namespace

std::vector<bool> needs_grad(const Graph& graph) {
  const Carried carried(graph);
  std::vector<bool> needs(graph.tensors.size());
  for (std::size_t i = 0; i < needs.size(); ++i) {
    const Tensor& t = graph.tensors[i];
    const bool leaf = t.role == TensorRole::parameter || t.role == TensorRole::input;
    needs[i] = leaf && t.requires_grad && is_floating(t.dtype);
  }
  while (spread(graph, carried, needs)) {
  }
  drop_dead_ends(graph, !carried.pairs().empty(), needs);
  return needs;
}

}  // namespace parallel_opt
