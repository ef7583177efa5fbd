#pragma once

#include <span>
#include <vector>

#include "parallel_opt/graph/op_table.h"

/// The parts of the operator table, one file each. Private to graph/.
namespace parallel_opt::op_rows_detail {

inline constexpr double kTranscendental =
    10;  ///< FLOPs of an exponential, a logarithm and the like

std::span<const OpRow> common_rows();
std::span<const OpRow> special_rows();
std::span<const OpRow> more_rows();
std::span<const OpRow> backward_rows();
/// Over lists: those of their own, and one for each of torch's _foreach_ forms of `rows`.
std::vector<OpRow> list_rows(std::span<const OpRow> rows);

}  // namespace parallel_opt::op_rows_detail
