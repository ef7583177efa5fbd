#include "parallel_opt/graph/op_table.h"

#include <algorithm>
#include <unordered_map>

#include "parallel_opt/graph/op_rows.h"

namespace parallel_opt {
namespace {

/// "aten.add_.Tensor" -> "aten.add_".
std::string_view without_overload(std::string_view target) {
  const std::size_t first = target.find('.');
  if (first == std::string_view::npos) return target;
  return target.substr(0, target.find('.', first + 1));
}

/// Arithmetic on sizes, which torch.export writes as calls of Python functions.
bool is_size_arithmetic(std::string_view target) {
  return target.starts_with("_operator.") || target.starts_with("torch.sym_") ||
         target.starts_with("math.") || target.starts_with("builtins.") ||
         target.starts_with("torch._sym_");
}

constexpr OpRow kSizeRow{"_operator", OpClass::view, "=size", {}, {}, {}, {}, 0, 0, nullptr};

const std::vector<OpRow>& all_rows() {
  static const std::vector<OpRow> kAll = [] {
    std::vector<OpRow> rows;
    for (const std::span<const OpRow> part :
         {op_rows_detail::common_rows(), op_rows_detail::special_rows(),
          op_rows_detail::more_rows(), op_rows_detail::backward_rows()}) {
      rows.insert(rows.end(), part.begin(), part.end());
    }
    const std::vector<OpRow> lists = op_rows_detail::list_rows(rows);
    rows.insert(rows.end(), lists.begin(), lists.end());
    return rows;
  }();
  return kAll;
}

const std::unordered_map<std::string_view, const OpRow*>& index_of_rows() {
  static const std::unordered_map<std::string_view, const OpRow*> kIndex = [] {
    std::unordered_map<std::string_view, const OpRow*> index;
    for (const OpRow& row : op_rows()) index.emplace(row.target, &row);
    return index;
  }();
  return kIndex;
}

}  // namespace

std::span<const OpRow> op_rows() { return all_rows(); }

const OpRow* find_row(std::string_view target) {
  const auto& index = index_of_rows();
  // Functions of torch have dotted names and no overloads.
  std::string_view name = target.starts_with("torch.") ? target : without_overload(target);
  auto found = index.find(name);
  if (found == index.end() && name.ends_with('_')) {
    name.remove_suffix(1);
    found = index.find(name);
  }
  if (found != index.end()) return found->second;
  return is_size_arithmetic(target) ? &kSizeRow : nullptr;
}

std::optional<OpRow> find_row(const Graph& graph, const Op& op) {
  if (!graph.operators.empty()) {
    const std::string_view name = without_overload(op.target);
    const auto custom = std::ranges::find(graph.operators, name, &CustomOperator::target);
    if (custom != graph.operators.end()) {
      return OpRow{custom->target,   custom->op_class, custom->space,  custom->mixed,
                   custom->selected, custom->saves,    custom->passes, custom->cost,
                   custom->kernels,  &*custom};
    }
  }
  const OpRow* row = find_row(op.target);
  return row == nullptr ? std::nullopt : std::optional(*row);
}

OpClass op_class(const Graph& graph, const Op& op) {
  const std::optional<OpRow> row = find_row(graph, op);
  return row ? row->op_class : OpClass::opaque;
}

TensorId operand(const Op& op, std::string_view argument) {
  for (const Operand& input : op.inputs) {
    if (input.argument == argument) return input.tensor;
  }
  return {};
}

std::int64_t attribute(const Op& op, const std::string& name, std::int64_t fallback) {
  const auto found = op.attributes.find(name);
  if (found == op.attributes.end()) return fallback;
  if (const auto* flag = std::get_if<bool>(&found->second)) return *flag ? 1 : 0;
  if (const auto* number = std::get_if<std::int64_t>(&found->second)) return *number;
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&found->second)) {
    if (list->size() == 1) return list->front();
  }
  return fallback;
}

double attribute_real(const Op& op, const std::string& name, double fallback) {
  const auto found = op.attributes.find(name);
  if (found == op.attributes.end()) return fallback;
  if (const auto* real = std::get_if<double>(&found->second)) return *real;
  if (const auto* number = std::get_if<std::int64_t>(&found->second)) {
    return static_cast<double>(*number);
  }
  return fallback;
}

std::vector<std::int64_t> attribute_list(const Op& op, const std::string& name) {
  const auto found = op.attributes.find(name);
  if (found == op.attributes.end()) return {};
  if (const auto* number = std::get_if<std::int64_t>(&found->second)) return {*number};
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&found->second)) return *list;
  return {};
}

}  // namespace parallel_opt
