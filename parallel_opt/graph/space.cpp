#include <algorithm>
#include <unordered_map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/space_impl.h"

// Builds the iteration space of an operator at hand from its row, by matching names to axes.
namespace parallel_opt {
namespace space_detail {
namespace {

OperandPattern parse_operand(std::string_view text) {
  OperandPattern pattern;
  if (const std::size_t equals = text.find('='); equals != std::string_view::npos) {
    pattern.argument = std::string(trim(text.substr(0, equals)));
    text.remove_prefix(equals + 1);
  }
  for (const std::string& word : split(trim(text), ' ')) {
    if (word.empty()) continue;
    const bool star = word.ends_with('*') || word == "...";
    pattern.axes.push_back(
        {word == "..." ? "e" : word.substr(0, word.size() - (star ? 1 : 0)), star});
  }
  return pattern;
}

std::vector<std::string> listed_names(std::string_view text) {
  if (text.empty()) return {};
  return split(text, ' ');
}

SpacePattern pattern_of_row(const OpRow& row) {
  SpacePattern pattern = parse_pattern(row.space);
  pattern.mixed = listed_names(row.mixed);
  pattern.selected = listed_names(row.selected);
  return pattern;
}

/// Every named row of the table parsed once, by target.
const SpacePattern* pattern_of(std::string_view target) {
  static const std::unordered_map<std::string_view, SpacePattern> kSpacePatterns = [] {
    std::unordered_map<std::string_view, SpacePattern> patterns;
    for (const OpRow& r : op_rows()) {
      if (r.space.find("->") != std::string_view::npos) {
        patterns.emplace(r.target, pattern_of_row(r));
      }
    }
    return patterns;
  }();
  const auto found = kSpacePatterns.find(target);
  return found == kSpacePatterns.end() ? nullptr : &found->second;
}

}  // namespace

SpacePattern parse_pattern(std::string_view space) {
  const std::size_t arrow = space.find("->");
  SpacePattern pattern;
  for (const std::string& part : split(space.substr(0, arrow), ',')) {
    pattern.operands.push_back(parse_operand(part));
  }
  for (const std::string& part : split(space.substr(arrow + 2), ',')) {
    pattern.results.push_back(parse_operand(part));
  }
  return pattern;
}

/// Star dimensions are named from the right, "e0" the last, so that operands of unlike rank align.
void SpaceBuilder::match(const OperandPattern& pattern, const Tensor* tensor,
                         std::vector<int>& axes) {
  if (tensor == nullptr) return;
  const std::size_t fixed = static_cast<std::size_t>(std::count_if(
      pattern.axes.begin(), pattern.axes.end(), [](const AxisName& a) { return !a.star; }));
  // Attention of one head may have no axis for heads.
  const bool headless =
      tensor->shape.size() + 1 == fixed &&
      std::ranges::any_of(pattern.axes, [](const AxisName& a) { return a.name == "h"; }) &&
      op_class(graph_, op_) == OpClass::attention;
  if (tensor->shape.size() < fixed && !headless) return;  // a scalar indexes nothing
  const std::size_t in_star = headless ? 0 : tensor->shape.size() - fixed;
  std::size_t at = 0;
  for (const AxisName& name : pattern.axes) {
    if (headless && name.name == "h") continue;
    const std::size_t repeat = name.star ? in_star : 1;
    for (std::size_t i = 0; i < repeat && at < tensor->shape.size(); ++i, ++at) {
      const std::string full = name.star ? name.name + std::to_string(repeat - 1 - i) : name.name;
      axes[at] = find_or_add(full, size(tensor, at));
    }
  }
}

void SpaceBuilder::named(const SpacePattern& pattern) {
  const bool variadic = pattern.operands.size() == 1 || pattern.operands.front().axes.empty();
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    const OperandPattern* chosen = nullptr;
    for (const OperandPattern& p : pattern.operands) {
      if (!p.argument.empty() && p.argument == op_.inputs[i].argument) chosen = &p;
    }
    if (chosen == nullptr && i < pattern.operands.size() && pattern.operands[i].argument.empty()) {
      chosen = &pattern.operands[i];
    }
    if (chosen == nullptr && variadic) chosen = &pattern.operands.front();
    if (chosen != nullptr) match(*chosen, operands_[i], space_.operands[i]);
  }
  for (std::size_t i = 0; i < results_.size() && i < pattern.results.size(); ++i) {
    match(pattern.results[i], results_[i], space_.results[i]);
  }
  settle(pattern);
  if (op_class(graph_, op_) == OpClass::attention) {
    const auto by = [&](const char* name, int position) {
      const int found = operand_index(name);
      return found >= 0 || position >= static_cast<int>(operands_.size()) ||
                     op_.inputs.front().argument == "query"
                 ? found
                 : position;
    };
    if (operand_index("query") >= 0 || op_.target.starts_with("higher_order.")) {
      grouped_heads(by("query", 0), by("key", 1), by("value", 2));
    }
  }
  // With running statistics a normalisation is a pointwise scale and shift.
  if (attribute(op_, "training", 1) == 0 || attribute(op_, "use_input_stats", 1) == 0) {
    for (IterationDim& d : space_.dims) {
      if (d.role == DimRole::mixed) d.role = DimRole::free;
    }
  }
}

void SpaceBuilder::settle(const SpacePattern& pattern) {
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    if (operands_[i] != nullptr) drop_broadcasts(space_.operands[i], operands_[i]);
  }
  for (std::size_t i = 0; i < results_.size(); ++i) {
    if (results_[i] != nullptr) drop_broadcasts(space_.results[i], results_[i]);
  }
  mark_reduced();
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    for (const std::string& n : names) {
      // "s" names every dimension of the star "s*" too: s0, s1, ...
      if (n == name || (name.starts_with(n) && name.size() == n.size() + 1 && name.back() >= '0' &&
                        name.back() <= '9')) {
        return true;
      }
    }
    return false;
  };
  for (IterationDim& d : space_.dims) {
    if (has(pattern.mixed, d.name)) d.role = DimRole::mixed;
    if (has(pattern.selected, d.name)) d.role = DimRole::selected;
  }
}

void SpaceBuilder::mark_reduced() {
  std::vector<bool> in_result(space_.dims.size());
  for (const std::vector<int>& axes : space_.results) {
    for (const int d : axes) {
      if (d >= 0) in_result[static_cast<std::size_t>(d)] = true;
    }
  }
  for (std::size_t i = 0; i < space_.dims.size(); ++i) {
    if (!in_result[i] && space_.dims[i].role == DimRole::free)
      space_.dims[i].role = DimRole::reduced;
  }
}

/// Every tensor aligned from the right, as broadcasting does.
void SpaceBuilder::pointwise() {
  const OperandPattern all{{}, {{"e", true}}};
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    match(all, operands_[i], space_.operands[i]);
  }
  for (std::size_t i = 0; i < results_.size(); ++i) {
    match(all, results_[i], space_.results[i]);
  }
  settle({});
}

}  // namespace space_detail

IterationSpace iteration_space(const Graph& graph, const Op& op) {
  const std::optional<OpRow> row = find_row(graph, op);
  if (!row) return {};
  space_detail::SpaceBuilder builder(graph, op);
  if (row->custom == nullptr) return builder.build(*row, space_detail::pattern_of(row->target));
  if (row->space.find("->") == std::string_view::npos) return builder.build(*row, nullptr);
  const space_detail::SpacePattern pattern = space_detail::pattern_of_row(*row);
  return builder.build(*row, &pattern);
}

}  // namespace parallel_opt
