#pragma once

#include <string>
#include <vector>

namespace parallel_opt {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
};

/// Rows of text for a terminal.
struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;  ///< a cell per column; missing ones are empty
};

/// Aligned columns, two blanks apart, with a line below the titles when one is not empty. Widths
/// count code points, so that UTF-8 lines up. Ends in a newline; empty without rows.
std::string to_text(const Table& table);

/// Is this byte of UTF-8 the first of a code point?
bool begins_code_point(char c);
/// Code points of UTF-8 text.
std::size_t width_of(const std::string& text);

}  // namespace parallel_opt
