#pragma once

#include <string>

namespace parallel_opt {

/// When a run was made.
struct StatedDate {
  int year = 0;   ///< 0: nobody says
  int month = 0;  ///< 1 to 12; 0: the year is all that is said
  auto operator<=>(const StatedDate&) const = default;
  /// Not before that month; a year alone may be all of it but its first months.
  bool is_since(int from_year, int from_month) const {
    constexpr int kMiddle = 7;
    return year > from_year || (year == from_year && (month == 0 ? kMiddle : month) >= from_month);
  }
};

/// The date that words of a table name: "May 2021", "2024-06", "(2024)", "container 23.09", "NeMo
/// 26.06"; not any number of four digits. The latest counts.
StatedDate stated_date(const std::string& words);

}  // namespace parallel_opt
