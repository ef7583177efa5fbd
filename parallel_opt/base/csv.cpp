#include "parallel_opt/base/csv.h"

#include <algorithm>
#include <utility>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Cuts text into records, one at a time.
class CsvCursor {
 public:
  CsvCursor(std::string_view text, const CsvTable& table, std::vector<Fault>& faults)
      : text_(text), table_(table), faults_(faults) {}

  /// The next record that is no blank line; false at the end.
  bool next(CsvRecord& record) {
    while (at_ < text_.size()) {
      record = {line_, {}};
      while (cell(record)) {
      }
      if (record.cells.size() > 1 || !record.cells.front().empty()) return true;
    }
    return false;
  }

 private:
  bool line_end() const {
    return at_ >= text_.size() || text_[at_] == '\n' ||
           (text_[at_] == '\r' && (at_ + 1 == text_.size() || text_[at_ + 1] == '\n'));
  }

  /// Reads a cell and what ends it; false when that is the end of the record.
  bool cell(CsvRecord& record) {
    std::string& content = record.cells.emplace_back();
    if (at_ < text_.size() && text_[at_] == '"') quoted(record, content);
    while (!line_end() && text_[at_] != ',') content += text_[at_++];
    if (!line_end()) {
      ++at_;  // the comma
      return true;
    }
    at_ = std::min(text_.find('\n', at_), text_.size() - 1) + 1;
    ++line_;
    return false;
  }

  void quoted(const CsvRecord& record, std::string& content) {
    const std::size_t opened = line_;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        if (at_ == text_.size() || text_[at_] != '"') {
          if (!line_end() && text_[at_] != ',') {
            faults_.push_back({table_.where({line_, {}}), "text follows a closing quote",
                               "inside quotes a quote is written twice"});
          }
          return;
        }
      }
      line_ += std::size_t(text_[at_] == '\n');
      content += text_[at_];
    }
    faults_.push_back(
        {table_.where({opened, {}}),
         "the quote of cell " + std::to_string(record.cells.size()) + " is never closed",
         "is the file complete?"});
  }

  std::string_view text_;
  const CsvTable& table_;
  std::vector<Fault>& faults_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
};

std::string counted_cells(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " cell" : " cells");
}

void check_header(const CsvTable& table, std::vector<Fault>& faults) {
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto first = std::ranges::find(table.columns, table.columns[i]);
    if (first - table.columns.begin() < static_cast<std::ptrdiff_t>(i)) {
      faults.push_back(
          {table.name + ":1", "column \"" + table.columns[i] + "\" appears twice", "rename one"});
    }
  }
}

}  // namespace

std::optional<std::size_t> CsvTable::find(std::string_view column) const {
  const auto found = std::ranges::find(columns, column);
  if (found == columns.end()) return std::nullopt;
  return static_cast<std::size_t>(found - columns.begin());
}

std::string CsvTable::where(const CsvRecord& record) const {
  return name + ":" + std::to_string(record.line);
}

CsvTable read_csv(std::string_view text, std::string name) {
  CsvTable table;
  table.name = std::move(name);
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") ||
      text.find('\0') != std::string_view::npos) {
    throw InputError(table.name, "is no UTF-8 text", "save it as CSV in UTF-8");
  }
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<Fault> faults;
  CsvCursor cursor(text, table, faults);
  CsvRecord record;
  if (!cursor.next(record)) {
    throw InputError(table.name, "is empty", "the first line names the columns");
  }
  table.columns = std::move(record.cells);
  check_header(table, faults);
  while (cursor.next(record)) {
    if (record.cells.size() != table.columns.size()) {
      faults.push_back({table.where(record),
                        counted_cells(record.cells.size()) + ", but the header has " +
                            std::to_string(table.columns.size()),
                        "a cell that holds a comma is put in quotes"});
    }
    table.records.push_back(std::move(record));
  }
  throw_if_any(std::move(faults));
  return table;
}

}  // namespace parallel_opt
