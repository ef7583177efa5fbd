#pragma once

#include <string>

#include "parallel_opt/report/report_data.h"

namespace parallel_opt {

/// The class of the i-th way's colour, the same in every picture. The first of several is what
/// others are compared with, and grey.
std::string way_color(const ReportModel& model, std::size_t index);
/// The class of a category of a timeline: forward, backward, optimizer, data, communication,
/// compile, idle; else "c-other".
std::string category_color(const std::string& category);

/// Each gives a whole <figure>, or nothing when the data is absent.
std::string step_time_figure(const ReportModel& model);
std::string speed_figure(const ReportModel& model);
std::string memory_figure(const ReportModel& model);
std::string cpu_figure(const ReportModel& model);
std::string energy_figure(const ReportModel& model);
std::string loss_figure(const ReportModel& model);
std::string time_share_figure(const ReportModel& model);
std::string memory_over_time_figure(const ReportModel& model);
std::string prediction_figure(const ReportModel& model);
std::string timeline_figure(const ReportModel& model);

/// Seconds per step and category, of the outermost spans, averaged over the tracks; time in none of
/// them is "idle". Scaled to `step_s` when that is known, else over the whole timeline.
std::vector<std::pair<std::string, double>> time_by_category(const Timeline& timeline,
                                                             std::optional<double> step_s);

}  // namespace parallel_opt
