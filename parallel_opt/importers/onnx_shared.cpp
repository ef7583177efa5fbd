#include <algorithm>
#include <cctype>

#include "parallel_opt/importers/onnx_import.h"

/// What exporters compute once for all layers. They find operators of equal operands (a mask made
/// anew in each layer) and keep the first, which then stands in the first layer alone: that layer
/// would be no block like the others.
namespace parallel_opt::onnx {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::string_view next_part(std::string_view& path) {
  const std::size_t end = std::min(path.find('.'), path.size());
  const std::string_view part = path.substr(0, end);
  path.remove_prefix(std::min(end + 1, path.size()));
  return part;
}

/// The part of `a` up to and with the number in which `b` differs from it: "net.layers.0" of
/// "net.layers.0.attention" and "net.layers.1.attention". Empty: the two are no twins.
std::string_view twin(std::string_view a, std::string_view b) {
  const std::string_view all = a;
  std::string_view found;
  while (!a.empty() && !b.empty()) {
    const std::string_view left = next_part(a), right = next_part(b);
    if (left == right) continue;
    if (!is_number(left) || !is_number(right)) return {};
    if (found.empty()) {
      found = all.substr(0, static_cast<std::size_t>(left.data() + left.size() - all.data()));
    }
  }
  return a.empty() && b.empty() ? found : std::string_view();
}

bool is_within(std::string_view module, std::string_view outer) {
  return module.starts_with(outer) &&
         (module.size() == outer.size() || module[outer.size()] == '.');
}

class SharedOperators {
 public:
  explicit SharedOperators(Graph& graph)
      : graph_(graph), layer_(graph.ops.size()), maker_(graph.tensors.size(), graph.ops.size()) {}

  void move() {
    find_layers();
    while (drop_those_that_need_their_layer()) {
    }
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      if (layer_[i].empty()) continue;
      const std::string outer(outside_of(layer_[i]));
      graph_.ops[i].module = outer;
      graph_.ops[i].module_type.clear();
    }
  }

 private:
  /// "net" of "net.layers.0": the list of layers is no place of its own.
  static std::string_view outside_of(std::string_view layer) {
    for (int i = 0; i < 2; ++i) {
      const std::size_t dot = layer.rfind('.');
      layer = layer.substr(0, dot == std::string_view::npos ? 0 : dot);
    }
    return layer;
  }

  /// Of each operator the layer that it should leave: its own layer and a twin of its module read
  /// its result, or only operators do that leave the same layer.
  void find_layers() {
    std::vector<std::vector<std::size_t>> readers(graph_.ops.size());
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      for (const Operand& operand : graph_.ops[i].inputs) {
        if (!operand.tensor.valid()) continue;
        const std::size_t from = maker_[operand.tensor.index()];
        if (from < i) readers[from].push_back(i);
      }
      for (const TensorId id : graph_.ops[i].outputs) {
        if (id.valid()) maker_[id.index()] = i;
      }
    }
    for (std::size_t i = graph_.ops.size(); i-- > 0;) {
      const std::string_view module = graph_.ops[i].module;
      if (module.empty() || readers[i].empty()) continue;
      std::string_view layer;
      for (const std::size_t reader : readers[i]) {
        const std::string_view found = twin(module, graph_.ops[reader].module);
        if (!found.empty() && (layer.empty() || found.size() < layer.size())) layer = found;
      }
      const bool read_inside = std::ranges::any_of(readers[i], [&](std::size_t reader) {
        return is_within(graph_.ops[reader].module, layer);
      });
      if (!read_inside) layer = {};  // the last operator of a layer
      const std::string& last = layer_[readers[i].front()];
      const bool all_leave = std::ranges::all_of(
          readers[i], [&](std::size_t reader) { return layer_[reader] == last; });
      if (layer.empty() && all_leave && is_within(module, last)) layer = last;
      layer_[i] = layer;
    }
    readers_ = std::move(readers);
  }

  bool needs_its_layer(std::size_t i) const {
    for (const Operand& operand : graph_.ops[i].inputs) {
      if (!operand.tensor.valid()) continue;
      if (graph_.tensor(operand.tensor).role == TensorRole::parameter) return true;
      const std::size_t from = maker_[operand.tensor.index()];
      if (from >= i || !layer_[from].empty()) continue;
      if (is_within(graph_.ops[from].module, layer_[i])) return true;
    }
    return std::ranges::none_of(readers_[i], [&](std::size_t reader) {
      return !layer_[reader].empty() || !is_within(graph_.ops[reader].module, layer_[i]);
    });
  }

  bool drop_those_that_need_their_layer() {
    bool any = false;
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      if (layer_[i].empty() || !needs_its_layer(i)) continue;
      layer_[i].clear();
      any = true;
    }
    return any;
  }

  Graph& graph_;
  std::vector<std::string> layer_;  ///< by operator; empty: it stays
  std::vector<std::size_t> maker_;  ///< by tensor; number of operators: none
  std::vector<std::vector<std::size_t>> readers_;
};

}  // namespace

void move_shared_operators(Graph& graph) { SharedOperators(graph).move(); }

}  // namespace parallel_opt::onnx
