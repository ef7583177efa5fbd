#pragma once

#include <optional>
#include <string>

#include "parallel_opt/report/report_data.h"

namespace parallel_opt {

/// A cell of an HTML table; a dash when there is nothing.
std::string table_cell(const std::optional<std::string>& text);

/// The comparison as a table: what the pictures show, in numbers. Rows that no way has are left
/// out.
std::string numbers_table(const ReportModel& model);

}  // namespace parallel_opt
