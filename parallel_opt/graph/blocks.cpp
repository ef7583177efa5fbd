#include "parallel_opt/graph/blocks.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "parallel_opt/base/hash.h"

namespace parallel_opt {
namespace {

/// What an operator does, whatever its place: target, attributes, shapes and dtypes around it.
std::uint64_t local_hash(const Graph& graph, const Op& op) {
  Hasher hasher;
  hasher.add(std::string_view(op.target));
  const auto add_tensor = [&](TensorId id) {
    if (!id.valid()) return hasher.add(std::int64_t{-1});
    const Tensor& t = graph.tensor(id);
    hasher.add(static_cast<std::int64_t>(t.role) * 64 + static_cast<std::int64_t>(t.dtype));
    for (const Dim& dim : t.shape) hasher.add(dim.size);
  };
  for (const Operand& input : op.inputs) {
    hasher.add(std::string_view(input.argument));
    add_tensor(input.tensor);
  }
  for (const TensorId id : op.outputs) add_tensor(id);
  for (const auto& [name, attribute] : op.attributes) {
    hasher.add(std::string_view(name));
    hasher.add(static_cast<std::int64_t>(attribute.index()));
    if (const auto* number = std::get_if<std::int64_t>(&attribute)) hasher.add(*number);
    if (const auto* flag = std::get_if<bool>(&attribute)) hasher.add(std::int64_t{*flag});
    if (const auto* text = std::get_if<std::string>(&attribute)) {
      hasher.add(std::string_view(*text));
    }
    if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute)) {
      for (const std::int64_t number : *list) hasher.add(number);
    }
    if (const auto* real = std::get_if<double>(&attribute)) {
      hasher.add(static_cast<std::int64_t>(*real * 1e9));  // rates and epsilons
    }
  }
  return hasher.value();
}

/// Is `module` the module `ancestor`, or inside it?
bool inside(std::string_view module, std::string_view ancestor) {
  return module.starts_with(ancestor) &&
         (module.size() == ancestor.size() || module[ancestor.size()] == '.');
}

struct ModuleNode {
  Hasher hasher;
  std::vector<OpId> ops;
  std::vector<std::string_view> children;  ///< in order of first use
};

class ModuleBlocks {
 public:
  explicit ModuleBlocks(const Graph& graph) : graph_(graph), producer_(graph.tensors.size(), -1) {
    for (std::size_t i = 0; i < graph.ops.size(); ++i) add_op(i);
  }

  /// From the root down: modules of one depth that are equal are a block, others are opened.
  std::vector<Block> find() {
    std::vector<Block> blocks;
    std::vector<std::string_view> level = roots_;
    while (!level.empty()) {
      std::map<std::uint64_t, std::vector<std::string_view>> equal;
      for (const std::string_view module : level) {
        equal[nodes_.at(module).hasher.value()].push_back(module);
      }
      std::vector<std::string_view> next;
      for (const std::string_view module : level) {
        const ModuleNode& node = nodes_.at(module);
        const std::vector<std::string_view>& group = equal.at(node.hasher.value());
        // A lone layer (a batch norm and its counter) is no block.
        const bool compound = !node.children.empty() || node.ops.size() >= 8;
        if (group.size() < 2 || !compound) {
          next.insert(next.end(), node.children.begin(), node.children.end());
        } else if (group.front() == module) {
          blocks.push_back(make(group));
        }
      }
      level = std::move(next);
    }
    return blocks;
  }

  bool any() const { return !roots_.empty(); }

 private:
  void add_op(std::size_t i) {
    const Op& op = graph_.ops[i];
    if (op.phase == Phase::forward) {
      const std::string_view fqn = op.module;
      const std::uint64_t local = local_hash(graph_, op);
      for (std::size_t end = fqn.find('.'); !fqn.empty(); end = fqn.find('.', end + 1)) {
        add_to(fqn.substr(0, end), i, local);
        if (end == std::string_view::npos) break;
      }
    }
    for (const TensorId id : op.outputs) {
      if (id.valid()) producer_[id.index()] = static_cast<std::int64_t>(i);
    }
  }

  void add_to(std::string_view module, std::size_t i, std::uint64_t local) {
    const auto [at, fresh] = nodes_.try_emplace(module);
    if (fresh) {
      const std::size_t dot = module.rfind('.');
      if (dot == std::string_view::npos) {
        roots_.push_back(module);
      } else {
        nodes_.at(module.substr(0, dot)).children.push_back(module);
      }
    }
    ModuleNode& node = nodes_.at(module);
    node.hasher.add(static_cast<std::int64_t>(local));
    for (const Operand& input : graph_.ops[i].inputs) {
      const std::int64_t from = input.tensor.valid() ? producer_[input.tensor.index()] : -1;
      const bool within =
          from >= 0 && inside(graph_.ops[static_cast<std::size_t>(from)].module, module);
      // How far back inside the module; from outside only the shape counts.
      node.hasher.add(within ? static_cast<std::int64_t>(i) - from : std::int64_t{0});
    }
    node.ops.push_back(OpId(i));
  }

  Block make(const std::vector<std::string_view>& group) const {
    Block block;
    block.repeats = static_cast<std::int64_t>(group.size());
    block.operators = static_cast<std::int64_t>(nodes_.at(group.front()).ops.size());
    block.name = pattern(group);
    for (const std::string_view module : group) {
      block.instances.push_back({std::string(module), nodes_.at(module).ops});
    }
    return block;
  }

  /// "blocks.*" for children of one container; else the first module's name.
  static std::string pattern(const std::vector<std::string_view>& group) {
    const std::size_t dot = group.front().rfind('.');
    const std::string_view parent =
        dot == std::string_view::npos ? std::string_view() : group.front().substr(0, dot);
    for (const std::string_view module : group) {
      const std::size_t other = module.rfind('.');
      if (dot == std::string_view::npos || other == std::string_view::npos ||
          module.substr(0, other) != parent) {
        return std::string(group.front());
      }
    }
    return std::string(parent) + ".*";
  }

  const Graph& graph_;
  std::vector<std::int64_t> producer_;
  std::unordered_map<std::string_view, ModuleNode> nodes_;
  std::vector<std::string_view> roots_;
};

/// Periods in the sequence of operators, for graphs without module names.
class RunBlocks {
 public:
  explicit RunBlocks(const Graph& graph) : graph_(graph) {
    std::vector<std::int64_t> producer(graph.tensors.size(), -1);
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      const Op& op = graph.ops[i];
      Hasher hasher;
      hasher.add(static_cast<std::int64_t>(local_hash(graph, op)));
      for (const Operand& input : op.inputs) {
        const std::int64_t from = input.tensor.valid() ? producer[input.tensor.index()] : -1;
        hasher.add(from < 0 ? std::int64_t{0} : static_cast<std::int64_t>(i) - from);
      }
      for (const TensorId id : op.outputs) {
        if (id.valid()) producer[id.index()] = static_cast<std::int64_t>(i);
      }
      hashes_.push_back(hasher.value());
    }
    taken_.assign(hashes_.size(), false);
  }

  std::vector<Block> find() {
    constexpr int kMostBlocks = 4;
    std::vector<Block> blocks;
    for (int i = 0; i < kMostBlocks; ++i) {
      const Run best = best_run();
      if (best.repeats < 2) break;
      blocks.push_back(make(best));
    }
    return blocks;
  }

 private:
  struct Run {
    std::size_t first = 0;
    std::size_t period = 0;
    std::size_t repeats = 0;
    std::size_t covered() const { return period * repeats; }
  };

  /// Distances to the last equal operator, the most frequent first: one of them is the period.
  std::vector<std::size_t> candidate_periods() const {
    std::unordered_map<std::uint64_t, std::size_t> last;
    std::map<std::size_t, std::size_t> votes;
    for (std::size_t i = 0; i < hashes_.size(); ++i) {
      if (taken_[i]) continue;
      const auto [at, fresh] = last.try_emplace(hashes_[i], i);
      if (!fresh) ++votes[i - at->second];
      at->second = i;
    }
    std::vector<std::pair<std::size_t, std::size_t>> order(votes.begin(), votes.end());
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    std::vector<std::size_t> periods;
    constexpr std::size_t kMostCandidates = 8;  // keeps the search linear
    for (const auto& [period, unused] : order) {
      if (periods.size() == kMostCandidates) break;
      if (period >= 2) periods.push_back(period);
    }
    return periods;
  }

  Run best_run() const {
    Run best;
    for (const std::size_t period : candidate_periods()) {
      std::size_t equal = 0;
      for (std::size_t i = period; i <= hashes_.size(); ++i) {
        const bool same = i < hashes_.size() && hashes_[i] == hashes_[i - period] && !taken_[i] &&
                          !taken_[i - period];
        if (same) {
          ++equal;
          continue;
        }
        const Run run{i - equal - period, period, equal / period + 1};
        const bool better = run.covered() > best.covered() ||
                            (run.covered() == best.covered() && run.period < best.period);
        if (equal >= period && better) best = run;
        equal = 0;
      }
    }
    return best;
  }

  Block make(const Run& run) {
    Block block;
    block.repeats = static_cast<std::int64_t>(run.repeats);
    block.operators = static_cast<std::int64_t>(run.period);
    for (std::size_t r = 0; r < run.repeats; ++r) {
      BlockInstance instance;
      const std::size_t first = run.first + r * run.period;
      for (std::size_t i = first; i < first + run.period; ++i) {
        instance.ops.push_back(OpId(i));
        taken_[i] = true;
      }
      instance.module =
          "ops " + std::to_string(first) + ".." + std::to_string(first + run.period - 1);
      block.instances.push_back(std::move(instance));
    }
    block.name = block.instances.front().module;
    return block;
  }

  const Graph& graph_;
  std::vector<std::uint64_t> hashes_;
  std::vector<bool> taken_;
};

}  // namespace

std::vector<Block> find_blocks(const Graph& graph) {
  ModuleBlocks by_module(graph);
  std::vector<Block> blocks = by_module.any() ? by_module.find() : RunBlocks(graph).find();
  std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) {
    return a.repeats * a.operators > b.repeats * b.operators;
  });
  return blocks;
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
