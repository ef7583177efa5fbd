#include "parallel_opt/graph/blocks.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>

#include "parallel_opt/graph/blocks_impl.h"
#include "parallel_opt/graph/op_class.h"
#include "parallel_opt/graph/op_table.h"

namespace parallel_opt {
namespace block_detail {
namespace {

std::uint64_t text_hash(std::string_view text) { return std::hash<std::string_view>{}(text); }

/// Whole numbers that say where or which, not how much: sizes are in the shapes.
bool is_position(std::string_view name) {
  for (const std::string_view word : {"idx", "index", "layer", "seed", "start", "end", "offset"}) {
    if (name.find(word) != name.npos) return true;
  }
  return false;
}

std::uint64_t hash_attribute(const Op& op, std::string_view name, const Attribute& attribute) {
  std::uint64_t hash = mix(text_hash(name), attribute.index());
  if (const auto* number = std::get_if<std::int64_t>(&attribute)) {
    if (!is_position(name)) hash = mix(hash, static_cast<std::uint64_t>(*number));
  } else if (const auto* flag = std::get_if<bool>(&attribute)) {
    hash = mix(hash, *flag ? 1 : 2);
  } else if (const auto* text = std::get_if<std::string>(&attribute)) {
    // Some operators are told the name of their layer, and joins that of a tensor.
    const bool own_name =
        op.target == kJoin || (!op.module.empty() && text->find(op.module) != std::string::npos);
    if (!own_name && !is_position(name)) hash = mix(hash, text_hash(*text));
  } else if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute)) {
    for (const std::int64_t size : *list) hash = mix(hash, static_cast<std::uint64_t>(size));
  } else if (const auto* flags = std::get_if<std::vector<bool>>(&attribute)) {
    for (const bool one : *flags) hash = mix(hash, one ? 1 : 2);
  }
  return hash;
}

}  // namespace

std::uint64_t local_hash(const Graph& graph, const Op& op) {
  std::uint64_t hash =
      mix(text_hash(op.target), std::bit_cast<std::uint64_t>(expected_runs(graph, op)));
  const auto add_tensor = [&](TensorId id, bool result) {
    if (!id.valid()) {
      hash = mix(hash, 1);
      return;
    }
    const Tensor& t = graph.tensor(id);
    // The first block reads what the caller passes, the next what a block has made: no difference.
    const bool data = t.role == TensorRole::input || t.role == TensorRole::activation;
    const bool trained = t.role == TensorRole::parameter && t.requires_grad;
    hash = mix(hash, (data ? 0 : 1 + static_cast<std::uint64_t>(t.role)) * 512 +
                         static_cast<std::uint64_t>(t.dtype) * 4 + (trained ? 2 : 0) +
                         (result && t.alias_of.valid() ? 1 : 0));
    for (const Dim& dim : t.shape) hash = mix(hash, static_cast<std::uint64_t>(dim.size));
  };
  for (const Operand& input : op.inputs) {
    hash = mix(hash, text_hash(input.argument));
    add_tensor(input.tensor, false);
  }
  hash = mix(hash, op.outputs.size());
  for (const TensorId id : op.outputs) add_tensor(id, true);
  for (const auto& [name, attribute] : op.attributes) {
    hash = mix(hash, hash_attribute(op, name, attribute));
  }
  return hash;
}

}  // namespace block_detail

namespace {

using block_detail::mix;

struct ModuleNode {
  std::string_view name;
  int parent = -1;
  std::uint64_t hash = 0;
  std::vector<OpId> ops;      ///< of the module and all inside it
  std::vector<int> children;  ///< in order of first use
};

/// The tree of modules, and which of them are equal.
class ModuleBlocks {
 public:
  ModuleBlocks(const Graph& graph, const std::vector<std::uint64_t>& hashes)
      : graph_(graph), hashes_(hashes), producer_(graph.tensors.size(), -1) {
    for (std::size_t i = 0; i < graph.ops.size(); ++i) add_op(i);
  }

  std::vector<NestedBlock> find() {
    find_among(roots_, -1);
    return std::move(found_);
  }

 private:
  /// From these modules down: equal ones of one depth are a block, others are opened.
  void find_among(std::vector<int> level, int parent) {
    while (!level.empty()) {
      std::unordered_map<std::uint64_t, std::vector<int>> equal;  // never iterated
      for (const int module : level) equal[node(module).hash].push_back(module);
      std::vector<int> next;
      for (const int module : level) {
        const std::vector<int>& group = equal.at(node(module).hash);
        // A lone layer (a batch norm and its counter) is no block.
        const bool compound = !node(module).children.empty() || node(module).ops.size() >= 8;
        if (group.size() >= 2 && compound) {
          if (group.front() == module) add(group, parent);
        } else if (!compound || !add_calls(module, parent)) {
          next.insert(next.end(), node(module).children.begin(), node(module).children.end());
        }
      }
      level = std::move(next);
    }
  }

  void add(const std::vector<int>& group, int parent) {
    Block block;
    block.repeats = static_cast<std::int64_t>(group.size());
    block.operators = static_cast<std::int64_t>(node(group.front()).ops.size());
    block.name = pattern(group, parent);
    for (const int module : group) {
      block.instances.push_back({std::string(node(module).name), node(module).ops});
    }
    found_.push_back({std::move(block), parent});
    find_among(node(group.front()).children, static_cast<int>(found_.size()) - 1);
  }

  /// One module that runs several times, alike each time: its calls are the occurrences.
  bool add_calls(int module, int parent) {
    const std::vector<OpId>& ops = node(module).ops;
    const std::string& first = graph_.op(ops.front()).module;
    std::vector<std::vector<OpId>> calls;
    int call = -1;
    for (const OpId id : ops) {
      const Op& op = graph_.op(id);
      if (op.module == first && op.call != call) {
        call = op.call;
        calls.emplace_back();
      }
      calls.back().push_back(id);
    }
    if (calls.size() < 2 || calls.front().size() < 2) return false;
    const std::uint64_t hash = hash_of(calls.front());
    for (const std::vector<OpId>& one : calls) {
      if (one.size() != calls.front().size() || hash_of(one) != hash) return false;
    }
    Block block;
    block.name = prefixed(std::string(node(module).name), parent);
    block.repeats = static_cast<std::int64_t>(calls.size());
    block.operators = static_cast<std::int64_t>(calls.front().size());
    for (std::vector<OpId>& one : calls) {
      block.instances.push_back({std::string(node(module).name), std::move(one)});
    }
    found_.push_back({std::move(block), parent});
    return true;
  }

  /// Operators and how they are joined among themselves.
  std::uint64_t hash_of(const std::vector<OpId>& ops) const {
    std::unordered_map<std::int32_t, std::size_t> at;  // tensor -> who makes it; never iterated
    std::uint64_t hash = 0;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      hash = mix(hash, hashes_[ops[i].index()]);
      for (const Operand& input : graph_.op(ops[i]).inputs) {
        const auto from = at.find(input.tensor.value);
        hash = mix(hash, from == at.end() ? 0 : i - from->second);
      }
      for (const TensorId id : graph_.op(ops[i]).outputs) at[id.value] = i;
    }
    return hash;
  }

  void add_op(std::size_t i) {
    const Op& op = graph_.ops[i];
    if (op.phase == Phase::forward && !op.module.empty()) {
      for (int module = node_of(op.module); module >= 0; module = node(module).parent) {
        add_to(module, i);
      }
    }
    for (const TensorId id : op.outputs) {
      if (id.valid()) producer_[id.index()] = static_cast<std::int64_t>(i);
    }
  }

  void add_to(int module, std::size_t i) {
    ModuleNode& to = nodes_[static_cast<std::size_t>(module)];
    to.hash = mix(to.hash, hashes_[i]);
    for (const Operand& input : graph_.ops[i].inputs) {
      const std::int64_t from = input.tensor.valid() ? producer_[input.tensor.index()] : -1;
      // How far back among the module's own operators: others may run between them. From outside
      // only the shape counts.
      const bool within = from >= 0 && inside(graph_.ops[static_cast<std::size_t>(from)], to.name);
      to.hash = mix(to.hash, within ? since(to.ops, OpId(static_cast<std::size_t>(from))) : 0);
    }
    to.ops.push_back(OpId(i));
  }

  /// Operators of `ops`, in rising order, from `from` on.
  static std::size_t since(const std::vector<OpId>& ops, OpId from) {
    return static_cast<std::size_t>(ops.end() - std::ranges::lower_bound(ops, from));
  }

  static bool inside(const Op& op, std::string_view ancestor) {
    const std::string_view module = op.module;
    return op.phase == Phase::forward && module.starts_with(ancestor) &&
           (module.size() == ancestor.size() || module[ancestor.size()] == '.');
  }

  int node_of(std::string_view module) {
    const auto [at, fresh] = index_.try_emplace(module, static_cast<int>(nodes_.size()));
    if (!fresh) return at->second;
    const int index = at->second;
    nodes_.push_back({module, -1, 0, {}, {}});
    const std::size_t dot = module.rfind('.');
    if (dot == std::string_view::npos || dot == 0) {
      roots_.push_back(index);
      return index;
    }
    const int parent = node_of(module.substr(0, dot));
    nodes_[static_cast<std::size_t>(index)].parent = parent;
    nodes_[static_cast<std::size_t>(parent)].children.push_back(index);
    return index;
  }

  const ModuleNode& node(int module) const { return nodes_[static_cast<std::size_t>(module)]; }

  /// The name with the enclosing block's first instance replaced by its pattern.
  std::string prefixed(std::string name, int parent) const {
    if (parent < 0) return name;
    const Block& outer = found_[static_cast<std::size_t>(parent)].block;
    // What an outer block is called may itself lie in a block: its own prefix is replaced already.
    const std::string& first = outer.instances.front().module;
    if (name.starts_with(first)) name.replace(0, first.size(), outer.name);
    return name;
  }

  /// "blocks.*" for children of one container; else the first module's name.
  std::string pattern(const std::vector<int>& group, int parent) const {
    const ModuleNode& first = node(group.front());
    const bool one_container = first.parent >= 0 && std::ranges::all_of(group, [&](int module) {
                                 return node(module).parent == first.parent;
                               });
    const auto digits = [](unsigned char c) { return std::isdigit(c) != 0; };
    const bool numbered_roots = std::ranges::all_of(group, [&](int module) {
      return node(module).parent < 0 && std::ranges::all_of(node(module).name, digits);
    });
    if (numbered_roots) return "*";
    if (!one_container) return prefixed(std::string(first.name), parent);
    return prefixed(std::string(node(first.parent).name) + ".*", parent);
  }

  const Graph& graph_;
  const std::vector<std::uint64_t>& hashes_;
  std::vector<std::int64_t> producer_;
  std::vector<ModuleNode> nodes_;
  std::unordered_map<std::string_view, int> index_;  // never iterated
  std::vector<int> roots_;
  std::vector<NestedBlock> found_;
};

/// Attributes that differ between operators at the same place of two instances.
void note_differences(const Graph& graph, Block& block) {
  std::set<std::string> names;
  const BlockInstance& first = block.instances.front();
  for (const BlockInstance& other : block.instances) {
    for (std::size_t i = 0; i < first.ops.size() && i < other.ops.size(); ++i) {
      const Op& a = graph.op(first.ops[i]);
      const Op& b = graph.op(other.ops[i]);
      if (a.attributes == b.attributes || a.target == kJoin) continue;
      for (const auto& [name, value] : a.attributes) {
        const auto at = b.attributes.find(name);
        if (at == b.attributes.end() || at->second != value) names.insert(a.target + " " + name);
      }
    }
  }
  block.varies.assign(names.begin(), names.end());
}

/// Outer blocks by what they cover, each followed by the blocks inside of it.
std::vector<NestedBlock> in_order(std::vector<NestedBlock> found) {
  std::vector<std::vector<int>> children(found.size() + 1);
  for (std::size_t i = 0; i < found.size(); ++i) {
    children[static_cast<std::size_t>(found[i].parent + 1)].push_back(static_cast<int>(i));
  }
  std::vector<NestedBlock> result;
  result.reserve(found.size());
  const auto place = [&](const auto& self, std::size_t list, int parent) -> void {
    std::ranges::stable_sort(children[list], [&](int a, int b) {
      const Block& x = found[static_cast<std::size_t>(a)].block;
      const Block& y = found[static_cast<std::size_t>(b)].block;
      return x.repeats * x.operators > y.repeats * y.operators;
    });
    for (const int child : children[list]) {
      const int at = static_cast<int>(result.size());
      result.push_back({std::move(found[static_cast<std::size_t>(child)].block), parent});
      self(self, static_cast<std::size_t>(child) + 1, at);
    }
  };
  place(place, 0, -1);
  return result;
}

}  // namespace

std::vector<NestedBlock> find_nested_blocks(const Graph& graph) {
  std::vector<std::uint64_t> hashes;
  hashes.reserve(graph.ops.size());
  for (const Op& op : graph.ops) hashes.push_back(block_detail::local_hash(graph, op));
  std::vector<NestedBlock> found = ModuleBlocks(graph, hashes).find();
  if (found.empty()) block_detail::find_runs(graph, hashes, found);
  for (NestedBlock& nested : found) note_differences(graph, nested.block);
  return in_order(std::move(found));
}

std::vector<Block> find_blocks(const Graph& graph) {
  std::vector<Block> blocks;
  for (NestedBlock& nested : find_nested_blocks(graph)) {
    if (nested.parent < 0) blocks.push_back(std::move(nested.block));
  }
  return blocks;
}

namespace {

/// "model.layers.0" of "model.layers.0.mlp.up_proj"; empty: no part of the name is a number.
std::string numbered_module(const std::string& module) {
  for (std::size_t begin = 0; begin < module.size();) {
    const std::size_t end = std::min(module.find('.', begin), module.size());
    const std::string_view part = std::string_view(module).substr(begin, end - begin);
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (begin > 0 && !part.empty() && std::ranges::all_of(part, is_digit)) {
      return module.substr(0, end);
    }
    begin = end + 1;
  }
  return "";
}

/// "model.layers" of "model.layers.*" and of "model.layers.0".
std::string container_of(const std::string& module) {
  const std::size_t dot = module.rfind('.');
  return dot == std::string::npos ? "" : module.substr(0, dot);
}

}  // namespace

std::vector<Block> find_layers(const Graph& graph) {
  std::vector<Block> layers = find_blocks(graph);
  std::set<std::string> containers;
  for (const Block& block : layers) {
    if (block.name.ends_with(".*")) containers.insert(container_of(block.name));
  }
  // Without containers of several equal modules, what repeats are short runs inside a layer.
  const bool alone = containers.empty();
  const std::vector<int> of_block = block_of_op(graph, layers);
  std::map<std::string, std::pair<BlockInstance, bool>> once;  // and whether it attends
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const std::string module = numbered_module(graph.ops[i].module);
    const bool beside = of_block[i] < 0 && containers.contains(container_of(module));
    if (module.empty() || !(alone || beside)) continue;
    auto& [instance, attends] = once[module];
    instance.module = module;
    instance.ops.emplace_back(i);
    const OpClass kind = op_class(graph, graph.ops[i]);
    attends = attends || kind == OpClass::attention || kind == OpClass::softmax;
  }
  if (alone) {
    std::erase_if(once, [](const auto& entry) { return !entry.second.second; });
    if (!once.empty()) layers.clear();
  }
  for (auto& [module, found] : once) {
    Block& layer = layers.emplace_back();
    layer.name = module;
    layer.operators = std::int64_t(found.first.ops.size());
    layer.instances.push_back(std::move(found.first));
  }
  return layers;
}

std::vector<int> block_of_op(const Graph& graph, const std::vector<Block>& blocks) {
  std::vector<int> index(graph.ops.size(), -1);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    for (const BlockInstance& instance : blocks[b].instances) {
      for (const OpId op : instance.ops) index[op.index()] = static_cast<int>(b);
    }
  }
  return index;
}

}  // namespace parallel_opt
