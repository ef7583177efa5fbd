#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

struct CsvRecord {
  std::size_t line = 0;  ///< where it begins, from 1
  std::vector<std::string> cells;
};

/// A table of text with a header line.
struct CsvTable {
  std::string name;  ///< of the file, for errors
  std::vector<std::string> columns;
  std::vector<CsvRecord> records;  ///< each as wide as `columns`

  std::optional<std::size_t> find(std::string_view column) const;
  /// "table.csv:17", as errors name a record.
  std::string where(const CsvRecord& record) const;
};

/// Reads comma separated values (RFC 4180): quoted cells may hold commas, line ends and doubled
/// quotes; lines end in LF or CRLF; a byte order mark of UTF-8 and blank lines are passed over.
/// Throws InputError with every record of another width than the header, every column that appears
/// twice, and a quote that is never closed.
CsvTable read_csv(std::string_view text, std::string name);

}  // namespace parallel_opt
