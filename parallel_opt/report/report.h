#pragma once

#include <string>

#include "parallel_opt/report/report_data.h"

namespace parallel_opt {

/// One offline HTML file: style and pictures inside, no script, no request. Sections whose data is
/// absent are left out. The data itself is inside too, as JSON in the element with id
/// "report-data".
std::string report_html(const ReportData& data);

}  // namespace parallel_opt
