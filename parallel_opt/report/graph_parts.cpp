#include "parallel_opt/report/graph_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <unordered_map>

#include "parallel_opt/graph/blocks.h"

namespace parallel_opt::graph_parts {
namespace {

/// "aten.scaled_dot_product_attention.default" -> "scaled_dot_product_attention".
std::string short_target(const std::string& target) {
  std::size_t from = target.find('.');
  from = from == std::string::npos ? 0 : from + 1;
  const std::size_t to = target.find('.', from);
  return target.substr(from, to == std::string::npos ? to : to - from);
}

struct TreeNode {
  std::string name;  ///< last part of the path
  std::string path;
  std::vector<std::size_t> children;
  std::vector<OpId> hidden;
  OpId op;          ///< a leaf
  RegionId region;  ///< a way of a branch, or the body of a loop; invalid: a module
};

/// One step of the way from the model to an operator.
struct PathStep {
  std::string name;
  RegionId region;  ///< invalid: a module
};

std::vector<std::string_view> split_module(std::string_view module) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at < module.size();) {
    const std::size_t dot = std::min(module.find('.', at), module.size());
    parts.push_back(module.substr(at, dot - at));
    at = dot + 1;
  }
  return parts;
}

/// "cond.true, 50 % of runs", "scan.body, 12 runs".
std::string region_title(const Region& region) {
  return region.kind == RegionKind::branch
             ? fmt::format("{}, {:.3g} % of runs", region.name, 100 * region.runs)
             : fmt::format("{}, {:.4g} run{}", region.name, region.runs,
                           region.runs == 1 ? "" : "s");
}

std::string region_detail(const Region& region) {
  const std::string kind(name_of(region.kind));
  return kind + (region.observed ? ", seen" : ", assumed");
}

class Builder {
 public:
  Builder(const Graph& graph, const std::vector<OperatorFacts>& facts)
      : graph_(graph), facts_(facts), hidden_in_(graph.ops.size()) {
    nodes_.emplace_back();
    find_used();
    find_makers();
    find_anchors();
    named_ = std::ranges::any_of(graph.ops, [](const Op& op) { return !op.module.empty(); });
    read_blocks();
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      const bool works = facts[i].bytes > 0 || facts[i].flops.value > 0;
      if (works && used_[i] && graph.ops[i].phase == Phase::forward) add(OpId(i));
    }
  }

  Part run() { return part_of(0); }

 private:
  /// Operators that neither feed another one nor read what one has made (counters of batches) are
  /// not drawn.
  void find_used() {
    std::vector<bool> made(graph_.tensors.size()), read(graph_.tensors.size());
    for (const TensorId id : graph_.inputs) made[id.index()] = true;
    for (const TensorId id : graph_.outputs) {
      if (id.valid()) read[id.index()] = true;
    }
    for (const Op& op : graph_.ops) {
      for (const Operand& input : op.inputs) {
        if (input.tensor.valid()) read[input.tensor.index()] = true;
      }
      for (const TensorId id : op.outputs) {
        if (id.valid()) made[id.index()] = true;
      }
    }
    for (const Op& op : graph_.ops) {
      bool used = false;
      for (const Operand& input : op.inputs) {
        used = used || (input.tensor.valid() && made[input.tensor.index()]);
      }
      for (const TensorId id : op.outputs) used = used || (id.valid() && read[id.index()]);
      used_.push_back(used);
    }
  }

  void find_makers() {
    maker_.resize(graph_.tensors.size());
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      const bool works = facts_[i].bytes > 0 || facts_[i].flops.value > 0;
      OpId maker = works ? OpId(i) : OpId();
      if (!works && !op.inputs.empty() && op.inputs.front().tensor.valid()) {
        maker = maker_[op.inputs.front().tensor.index()];
      }
      for (const TensorId id : op.outputs) {
        if (id.valid()) maker_[id.index()] = maker;
      }
    }
  }

  /// Which modules are equal, and which calls or runs of operators are not drawn on their own.
  void read_blocks() {
    const std::vector<NestedBlock> nested = find_nested_blocks(graph_);
    run_path_.resize(graph_.ops.size());
    for (std::size_t b = 0; b < nested.size(); ++b) {
      const Block& block = nested[b].block;
      const std::string& first = block.instances.front().module;
      const bool calls = block.instances.back().module == first;
      for (std::size_t r = 0; r < block.instances.size(); ++r) {
        const BlockInstance& instance = block.instances[r];
        class_of_[instance.module] = static_cast<int>(b);
        for (const OpId op : instance.ops) {
          if (calls && r > 0) hidden_in_[op.index()] = first;
          if (!named_) run_path_[op.index()].push_back(instance.module);
        }
      }
      if (calls) calls_[first] = block.repeats;
    }
  }

  /// Per region: how many of an operator's modules stand around it, those that all operators of all
  /// its ways have in common.
  void find_anchors() {
    std::map<std::string_view, std::vector<std::string_view>> common;  // by group
    for (const Op& op : graph_.ops) {
      const std::vector<std::string_view> module = split_module(op.module);
      for (RegionId r = op.region; r.valid(); r = graph_.region(r).parent) {
        const auto [at, fresh] = common.try_emplace(graph_.region(r).group, module);
        if (fresh) continue;
        const auto ends = std::ranges::mismatch(at->second, module);
        at->second.erase(ends.in1, at->second.end());
      }
    }
    for (const Region& region : graph_.regions) anchors_.push_back(common[region.group].size());
  }

  std::vector<PathStep> path_of(OpId id) const {
    const Op& op = graph_.op(id);
    std::vector<RegionId> around;
    for (RegionId r = op.region; r.valid(); r = graph_.region(r).parent) around.push_back(r);
    std::vector<PathStep> steps;
    const auto enter_regions = [&](std::size_t depth) {
      while (!around.empty() && (!named_ || anchors_[around.back().index()] <= depth)) {
        steps.push_back({graph_.region(around.back()).name, around.back()});
        around.pop_back();
      }
    };
    enter_regions(0);
    if (!named_) {
      for (const std::string& run : run_path_[id.index()]) steps.push_back({run, RegionId()});
      return steps;
    }
    std::size_t depth = 0;
    for (const std::string_view part : split_module(op.module)) {
      steps.push_back({std::string(part), RegionId()});
      enter_regions(++depth);
    }
    return steps;
  }

  /// A module that is left and entered again is drawn again: its operators in one box would need
  /// lines in both directions.
  void add(OpId op) {
    if (const std::string& hidden = hidden_in_[op.index()]; !hidden.empty()) {
      nodes_[index_.at(hidden)].hidden.push_back(op);
      return;
    }
    std::size_t node = 0, depth = 0;
    std::string module;
    for (const auto& [part, region] : path_of(op)) {
      const std::string path =
          !named_ || nodes_[node].path.empty() ? part : nodes_[node].path + "." + part;
      if (!region.valid()) module += (module.empty() || !named_ ? "" : ".") + part;
      const bool entered = depth < open_.size() && nodes_[open_[depth]].path == path;
      if (!entered) {
        open_.resize(depth);
        open_.push_back(nodes_.size());
        nodes_.push_back({part, path, {}, {}, {}, region});
        nodes_[node].children.push_back(open_.back());
        if (!region.valid()) index_[named_ ? module : path] = open_.back();
      }
      node = open_[depth++];
    }
    open_.resize(depth);
    TreeNode leaf;
    leaf.name = short_target(graph_.op(op).target);
    leaf.op = op;
    nodes_.push_back(std::move(leaf));
    nodes_[node].children.push_back(nodes_.size() - 1);
  }

  Part part_of(std::size_t index) {
    const TreeNode& node = nodes_[index];
    Part part;
    part.name = node.name;
    if (node.op.valid()) {
      part.kind = BoxKind::operation;
      part.ops.push_back(node.op);
      return part;
    }
    part.hidden = node.hidden;
    part.inside = without_small(grouped(node.children));
    if (const auto calls = calls_.find(node.path); calls != calls_.end()) {
      part.kind = BoxKind::group;
      part.repeats = calls->second;
    }
    if (node.region.valid()) {
      part.name = region_title(graph_.region(node.region));
      part.detail = region_detail(graph_.region(node.region));
    } else if (index != 0 && part.inside.size() == 1) {
      if (part.repeats == 1) return merged(std::move(part));
      take_in(part);
    }
    part.list = index != 0 && part.repeats == 1 && is_list(node);
    if (part.inside.size() > kMostInside) part.inside = chunks(std::move(part.inside));
    return part;
  }

  /// What repeats and holds one module is that module, under both names.
  static void take_in(Part& outer) {
    if (outer.inside.size() != 1 || outer.inside.front().kind != BoxKind::module) return;
    Part inner = std::move(outer.inside.front());
    outer.name += "." + inner.name;
    outer.hidden.insert(outer.hidden.end(), inner.hidden.begin(), inner.hidden.end());
    outer.inside = std::move(inner.inside);
  }

  /// A part with one part inside is that part, under both names.
  static Part merged(Part outer) {
    Part inner = std::move(outer.inside.front());
    if (inner.kind == BoxKind::operation) {
      inner.detail = inner.detail.empty() ? inner.name : inner.detail;
      inner.name = outer.name;
    } else {
      inner.name = outer.name + "." + inner.name;
    }
    inner.hidden.insert(inner.hidden.end(), outer.hidden.begin(), outer.hidden.end());
    return inner;
  }

  /// Five and more operators in a row that cost next to nothing of what they stand in (masks,
  /// positions) are one box.
  std::vector<Part> without_small(std::vector<Part> parts) const {
    constexpr std::size_t kFew = 5;
    double all = 0;
    for (const Part& part : parts) all += flops_of(part);
    const auto small = [&](const Part& part) {
      return part.kind == BoxKind::operation && part.detail.empty() && flops_of(part) <= 0.01 * all;
    };
    std::vector<Part> result;
    for (std::size_t i = 0; i < parts.size();) {
      std::size_t end = i;
      double together = 0;
      while (end < parts.size() && small(parts[end])) together += flops_of(parts[end++]);
      // A part of nothing else is shown with all it has, and so are many that are much together.
      if (end - i < kFew || end - i == parts.size() || together > 0.1 * all) {
        do {
          result.push_back(std::move(parts[i++]));
        } while (i < end);
        continue;
      }
      Part few;
      few.name = std::to_string(end - i) + " small operators";
      few.detail = parts[i].name + " ... " + parts[end - 1].name;
      for (; i < end; ++i) few.inside.push_back(std::move(parts[i]));
      result.push_back(std::move(few));
    }
    return result;
  }

  /// Of one occurrence.
  double flops_of(const Part& part) const {
    double flops = 0;
    for (const OpId op : part.ops) flops += facts_[op.index()].flops.value;
    for (const Part& inner : part.inside) {
      flops += flops_of(inner) * static_cast<double>(inner.repeats);
    }
    return flops;
  }

  /// Numbered modules of which a later one reads what was made before the first: a list that the
  /// model walks through, with skips, and no chain of its own.
  bool is_list(const TreeNode& node) const {
    const bool numbered = std::ranges::all_of(node.children, [&](std::size_t child) {
      return !nodes_[child].op.valid() && !nodes_[child].region.valid() &&
             is_number(nodes_[child].name);
    });
    if (!numbered || node.children.size() < 2) return false;
    const OpId first = first_op(node.children.front());
    for (std::size_t i = 1; i < node.children.size(); ++i) {
      if (reads_before(node.children[i], first)) return true;
    }
    return false;
  }

  OpId first_op(std::size_t index) const {
    const TreeNode& node = nodes_[index];
    return node.op.valid() ? node.op : first_op(node.children.front());
  }

  bool reads_before(std::size_t index, OpId first) const {
    const TreeNode& node = nodes_[index];
    if (!node.op.valid()) {
      return std::ranges::any_of(node.children,
                                 [&](std::size_t child) { return reads_before(child, first); });
    }
    return std::ranges::any_of(graph_.op(node.op).inputs, [&](const Operand& input) {
      return input.tensor.valid() && maker_[input.tensor.index()].valid() &&
             maker_[input.tensor.index()] < first;
    });
  }

  static bool is_number(const std::string& name) {
    return std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; });
  }

  /// Equal modules have one number; operators take part in runs of modules, by what they do.
  int class_of(std::size_t index) {
    const TreeNode& node = nodes_[index];
    if (!node.op.valid()) {
      const auto at = class_of_.find(node.path);
      return at == class_of_.end() ? only_child_class(node) : at->second;
    }
    const OperatorFacts& one = facts_[node.op.index()];
    const std::string key =
        one.target + ' ' + std::to_string(one.flops.value) + ' ' + std::to_string(one.bytes);
    return op_class_.try_emplace(key, kOperators + static_cast<int>(op_class_.size()))
        .first->second;
  }

  /// A container that was entered for one of its modules is that module.
  int only_child_class(const TreeNode& node) {
    return node.children.size() == 1 && !nodes_[node.children.front()].op.valid()
               ? class_of(node.children.front())
               : -1;
  }

  /// The period and repeats of equal children from `first` on that cover most; 1 and 1: none.
  std::pair<std::size_t, std::size_t> run_from(const std::vector<int>& classes,
                                               std::size_t first) const {
    std::pair<std::size_t, std::size_t> best{1, 1};
    if (classes[first] < 0) return best;
    for (std::size_t period = 1; period <= 12 && first + 2 * period <= classes.size(); ++period) {
      std::size_t end = first + period;
      while (end < classes.size() && classes[end] >= 0 && classes[end] == classes[end - period]) {
        ++end;
      }
      const std::size_t repeats = (end - first) / period;
      const bool modules = std::any_of(classes.begin() + std::ptrdiff_t(first),
                                       classes.begin() + std::ptrdiff_t(first + period),
                                       [](int c) { return c >= 0 && c < kOperators; });
      if (modules && repeats >= 2 && repeats * period > best.first * best.second)
        best = {period, repeats};
    }
    return best;
  }

  std::vector<Part> grouped(const std::vector<std::size_t>& children) {
    std::vector<int> classes;
    for (const std::size_t child : children) classes.push_back(class_of(child));
    std::vector<Part> parts;
    for (std::size_t i = 0; i < children.size();) {
      const auto [period, repeats] = run_from(classes, i);
      if (repeats < 2) {
        add_part(parts, part_of(children[i]));
        ++i;
        continue;
      }
      Part group;
      if (period == 1) {
        group = part_of(children[i]);
        if (group.repeats > 1) group = Part{"", "", BoxKind::group, 1, {std::move(group)}, {}, {}};
      } else {
        for (std::size_t k = 0; k < period; ++k) group.inside.push_back(part_of(children[i + k]));
      }
      group.kind = BoxKind::group;
      group.repeats = static_cast<std::int64_t>(repeats);
      group.name = group_name(children, i, i + period * repeats, period);
      for (std::size_t k = i + period; k < i + period * repeats; ++k) {
        hide(children[k], group.hidden);
      }
      parts.push_back(std::move(group));
      i += period * repeats;
    }
    return parts;
  }

  static void add_part(std::vector<Part>& parts, Part part) {
    if (!part.list) {
      parts.push_back(std::move(part));
      return;
    }
    for (Part& inner : part.inside) {
      inner.name = part.name + "." + inner.name;
      parts.push_back(std::move(inner));
    }
  }

  /// "*" when all children of a container are in it, else "2-5".
  std::string group_name(const std::vector<std::size_t>& children, std::size_t first,
                         std::size_t end, std::size_t period) const {
    const std::string from = full_name(children[first]), to = full_name(children[end - period]);
    const bool number = is_number(from + to);
    if (number && first == 0 && end == children.size()) return "*";
    if (number) return from + "-" + nodes_[children[end - 1]].name;
    return period == 1 || !named_ ? from : from + " ... " + to;
  }

  /// With the modules that it alone stands in: "layers.0".
  std::string full_name(std::size_t index) const {
    const TreeNode& node = nodes_[index];
    const bool alone = node.children.size() == 1 && !nodes_[node.children.front()].op.valid();
    return alone ? node.name + "." + full_name(node.children.front()) : node.name;
  }

  void hide(std::size_t index, std::vector<OpId>& hidden) const {
    const TreeNode& node = nodes_[index];
    if (node.op.valid()) hidden.push_back(node.op);
    hidden.insert(hidden.end(), node.hidden.begin(), node.hidden.end());
    for (const std::size_t child : node.children) hide(child, hidden);
  }

  /// Long lists in pieces of about the root of their length.
  static std::vector<Part> chunks(std::vector<Part> parts) {
    const auto size = static_cast<std::size_t>(std::ceil(std::sqrt(double(parts.size()))));
    std::vector<Part> result;
    for (std::size_t i = 0; i < parts.size(); i += size) {
      Part chunk;
      const std::size_t end = std::min(i + size, parts.size());
      chunk.name = parts[i].name + " ... " + parts[end - 1].name;
      chunk.detail = std::to_string(end - i) + " parts";
      for (std::size_t k = i; k < end; ++k) chunk.inside.push_back(std::move(parts[k]));
      result.push_back(std::move(chunk));
    }
    return result;
  }

  static constexpr std::size_t kMostInside = 60;
  static constexpr int kOperators = 1 << 20;  ///< classes of operators start here
  const Graph& graph_;
  const std::vector<OperatorFacts>& facts_;
  bool named_ = false;
  std::vector<std::size_t> anchors_;  ///< by region: modules around it
  std::vector<bool> used_;            ///< by operator
  std::vector<OpId> maker_;  ///< by tensor, seen through views; invalid: no operator with work
  std::vector<TreeNode> nodes_;
  std::vector<std::size_t> open_;                        ///< modules around the last operator
  std::unordered_map<std::string, std::size_t> index_;   // the last one drawn; never iterated
  std::unordered_map<std::string, int> op_class_;        // never iterated
  std::unordered_map<std::string, int> class_of_;        // never iterated
  std::unordered_map<std::string, std::int64_t> calls_;  // never iterated
  std::vector<std::string> hidden_in_;                   ///< by operator: module; "": drawn
  std::vector<std::vector<std::string>> run_path_;       ///< by operator, without module names
};

}  // namespace

Part parts_of(const Graph& graph, const std::vector<OperatorFacts>& facts) {
  return Builder(graph, facts).run();
}

}  // namespace parallel_opt::graph_parts
