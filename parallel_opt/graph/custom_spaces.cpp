#include <algorithm>
#include <cmath>
#include <map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/operator_file.h"
#include "parallel_opt/graph/space_impl.h"
#include "parallel_opt/graph/work.h"

// Holds the rows that users add against the operators that they describe.
namespace parallel_opt {
namespace {

using space_detail::OperandPattern;
using space_detail::SpacePattern;

/// One operator of a graph beside the row of a user.
class RowCheck {
 public:
  RowCheck(const Graph& graph, const Op& op, const CustomOperator& row)
      : graph_(graph), op_(op), row_(row), pattern_(space_detail::parse_pattern(row.space)) {}

  std::vector<Fault> faults() {
    const auto tensors = std::size_t(
        std::ranges::count_if(op_.inputs, [](const Operand& one) { return one.tensor.valid(); }));
    const OperandPattern& first = pattern_.operands.front();
    const bool alone = pattern_.operands.size() == 1 && first.argument.empty();
    const bool any = alone || first.axes.empty();  // stands for each operand
    for (const OperandPattern& operand : pattern_.operands) named_operand(operand);
    if (!any && found_.empty() && pattern_.operands.size() < tensors) {
      fault("names " + std::to_string(pattern_.operands.size()) + " operands, the operator has " +
            std::to_string(tensors) + " tensors");
    }
    for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
      if (!op_.inputs[i].tensor.valid()) continue;
      if (const OperandPattern* own = operand_at(i, any)) {
        const std::string& name = op_.inputs[i].argument;
        match(*own, op_.inputs[i].tensor, name.empty() ? "operand " + std::to_string(i) : name);
      }
    }
    for (std::size_t i = 0; i < op_.outputs.size() && i < pattern_.results.size(); ++i) {
      if (op_.outputs[i].valid()) match(pattern_.results[i], op_.outputs[i], "the result");
    }
    if (found_.empty()) {
      for (const std::string* text : {&row_.flops, &row_.other_flops, &row_.backward_flops}) {
        if (!text->empty()) counted(*text);
      }
    }
    return found_;
  }

 private:
  void fault(std::string what) {
    found_.push_back({"operator \"" + row_.target + "\"",
                      "its space \"" + row_.space + "\" " + std::move(what),
                      "mend its row; docs/operators.md shows how spaces are written"});
  }

  /// A formula counts operations at the sizes of this call: a number, 0 or more.
  void counted(const std::string& text) {
    const double count = formula(graph_, op_, text);
    if (count >= 0 && std::isfinite(count)) return;
    std::string sizes;
    for (const IterationDim& dim : iteration_space(graph_, op_).dims) {
      sizes += (sizes.empty() ? "" : ", ") + dim.name + " = " + std::to_string(dim.size);
    }
    found_.push_back({"operator \"" + row_.target + "\"",
                      "its formula \"" + text + "\" is no count of operations at " + sizes,
                      "does it divide by 0 or become negative there? mend its row"});
  }

  void named_operand(const OperandPattern& operand) {
    if (operand.argument.empty()) return;
    const auto same = [&](const Operand& one) { return one.argument == operand.argument; };
    if (std::ranges::none_of(op_.inputs, same)) {
      fault("names \"" + operand.argument + "\", which the operator does not take");
    }
  }

  const OperandPattern* operand_at(std::size_t i, bool any) const {
    for (const OperandPattern& one : pattern_.operands) {
      if (!one.argument.empty() && one.argument == op_.inputs[i].argument) return &one;
    }
    if (i < pattern_.operands.size() && pattern_.operands[i].argument.empty()) {
      return &pattern_.operands[i];
    }
    return any && pattern_.operands.front().argument.empty() ? &pattern_.operands.front() : nullptr;
  }

  void match(const OperandPattern& pattern, TensorId id, const std::string& what) {
    const Tensor& tensor = graph_.tensor(id);
    const auto fixed = std::size_t(
        std::ranges::count_if(pattern.axes, [](const auto& axis) { return !axis.star; }));
    const bool open = fixed < pattern.axes.size();
    const std::size_t rank = tensor.shape.size();
    if (rank == 0 || pattern.axes.empty()) return;
    if (open ? rank < fixed : rank != fixed) {
      fault("gives " + what + " " + std::to_string(fixed) +
            (open ? " dimensions or more" : " dimensions") + ", it has " + std::to_string(rank));
      return;
    }
    std::size_t at = 0;
    for (const auto& axis : pattern.axes) {
      const std::size_t repeat = axis.star ? rank - fixed : 1;
      for (std::size_t k = 0; k < repeat && at < rank; ++k, ++at) {
        const std::string name =
            axis.star ? axis.name + "*" + std::to_string(repeat - 1 - k) : axis.name;
        same_size(name, axis.name, tensor.shape[at].size, what);
      }
    }
  }

  void same_size(const std::string& key, const std::string& name, std::int64_t size,
                 const std::string& what) {
    if (size <= 1) return;  // one element is spread over the others'
    const auto [known, fresh] = sizes_.try_emplace(key, size, what);
    if (fresh || known->second.first == size) return;
    fault("calls " + std::to_string(known->second.first) + " (" + known->second.second + ") and " +
          std::to_string(size) + " (" + what + ") \"" + name + "\"");
  }

  const Graph& graph_;
  const Op& op_;
  const CustomOperator& row_;
  SpacePattern pattern_;
  std::map<std::string, std::pair<std::int64_t, std::string>> sizes_;
  std::vector<Fault> found_;
};

}  // namespace

std::vector<Fault> check_custom_spaces(const Graph& graph) {
  std::vector<Fault> faults;
  if (graph.operators.empty()) return faults;
  std::map<std::string, bool> told;
  for (const Op& op : graph.ops) {
    const std::optional<OpRow> row = find_row(graph, op);
    if (!row || row->custom == nullptr || told.contains(row->custom->target)) continue;
    if (row->custom->space.find("->") == std::string::npos) continue;
    std::vector<Fault> own = RowCheck(graph, op, *row->custom).faults();
    if (own.empty()) continue;
    told[row->custom->target] = true;
    faults.insert(faults.end(), own.begin(), own.end());
  }
  return faults;
}

}  // namespace parallel_opt
