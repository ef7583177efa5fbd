#pragma once

#include <span>

#include "parallel_opt/graph/op_table.h"

/// The parts of the operator table, one file each. Private to graph/.
namespace parallel_opt::op_rows_detail {

std::span<const OpRow> common_rows();
std::span<const OpRow> special_rows();
std::span<const OpRow> more_rows();
std::span<const OpRow> backward_rows();

}  // namespace parallel_opt::op_rows_detail
