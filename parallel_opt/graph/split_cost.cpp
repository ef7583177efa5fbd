#include "parallel_opt/graph/split_cost.h"

#include <algorithm>

namespace parallel_opt {
namespace {

/// Entry `i` of a list that may be written as one number for all.
std::int64_t entry(const std::vector<std::int64_t>& list, std::size_t i, std::int64_t fallback) {
  if (list.empty()) return fallback;
  return list.size() == 1 ? list.front() : i < list.size() ? list[i] : fallback;
}

/// Does one window reach into the next along spatial axis `i`?
bool windows_overlap(const Graph& graph, const Op& op, std::size_t i) {
  const TensorId weight = operand(op, "weight");
  const bool is_weighted = weight.valid() && graph.tensor(weight).shape.size() > 2 + i;
  const std::int64_t kernel = is_weighted ? graph.tensor(weight).shape[2 + i].size
                                          : entry(attribute_list(op, "kernel_size"), i, 0);
  if (kernel == 0) return true;  // adaptive pooling, resampling: not told
  const std::int64_t stride = entry(attribute_list(op, "stride"), i, is_weighted ? 1 : kernel);
  const std::int64_t dilation = entry(attribute_list(op, "dilation"), i, 1);
  const bool padded = entry(attribute_list(op, "padding"), i, 0) != 0;
  return padded || stride < (kernel - 1) * dilation + 1;
}

/// "o1" -> 1; pooling names its axes from the right, "e0" the last.
std::size_t spatial_index(const IterationDim& dim, const OpRow& row) {
  const auto number = static_cast<std::size_t>(dim.name.back() - '0');
  if (row.op_class == OpClass::convolution) return number;
  const std::size_t digit = row.target.find_first_of("123");
  const std::size_t axes =
      digit == std::string_view::npos ? 1 : static_cast<std::size_t>(row.target[digit] - '0');
  return number < axes ? axes - 1 - number : 0;
}

SplitCost of_mixed(const Graph& graph, const Op& op, const OpRow& row, const IterationDim& dim) {
  switch (row.op_class) {
    case OpClass::attention:
      return dim.name == "k" ? SplitCost::ring : SplitCost::gather;
    case OpClass::normalization:
    case OpClass::softmax:
    case OpClass::loss:
      return SplitCost::statistics;
    case OpClass::convolution:
    case OpClass::pooling:
      return windows_overlap(graph, op, spatial_index(dim, row)) ? SplitCost::halo
                                                                 : SplitCost::none;
    case OpClass::recurrent:
      return dim.name == "t" ? SplitCost::carry : SplitCost::gather;
    case OpClass::reduction:
      return row.target.find("cum") != std::string_view::npos ? SplitCost::carry
                                                              : SplitCost::gather;
    case OpClass::copy:
      return row.space == "@pool" ? SplitCost::halo : SplitCost::gather;  // padding
    default:
      return SplitCost::gather;
  }
}

}  // namespace

std::vector<SplitCost> split_costs(const Graph& graph, const Op& op, const IterationSpace& space) {
  const std::optional<OpRow> row = find_row(graph, op);
  std::vector<SplitCost> costs;
  if (!row) return costs;
  for (const IterationDim& dim : space.dims) {
    switch (dim.role) {
      case DimRole::free:
        costs.push_back(SplitCost::none);
        break;
      case DimRole::reduced:
        costs.push_back(SplitCost::partial_sum);
        break;
      case DimRole::selected:
        costs.push_back(SplitCost::masked_sum);
        break;
      case DimRole::mixed:
        costs.push_back(of_mixed(graph, op, *row, dim));
        break;
    }
  }
  return costs;
}

}  // namespace parallel_opt
