#include "parallel_opt/report/table.h"

#include <algorithm>

namespace parallel_opt {
namespace {

std::string padded(const std::string& text, std::size_t width, Align align) {
  const std::size_t used = width_of(text);
  const std::string blanks(used < width ? width - used : 0, ' ');
  return align == Align::right ? blanks + text : text + blanks;
}

std::string without_end_blanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

bool begins_code_point(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x80 || byte > 0xbf;  // the others continue one
}

std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_code_point));
}

std::string to_text(const Table& table) {
  if (table.rows.empty()) return "";
  std::vector<std::size_t> widths;
  bool titled = false;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    widths.push_back(width_of(table.columns[i].title));
    titled = titled || !table.columns[i].title.empty();
    for (const auto& row : table.rows) {
      if (i < row.size()) widths[i] = std::max(widths[i], width_of(row[i]));
    }
  }
  const auto line = [&](const auto& cell) {
    std::string text;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      text += (i == 0 ? "" : "  ") + padded(cell(i), widths[i], table.columns[i].align);
    }
    return without_end_blanks(text) + "\n";
  };
  std::string text;
  if (titled) {
    text += line([&](std::size_t i) { return table.columns[i].title; });
    text += line([&](std::size_t i) { return std::string(widths[i], '-'); });
  }
  for (const auto& row : table.rows) {
    text += line([&](std::size_t i) { return i < row.size() ? row[i] : std::string(); });
  }
  return text;
}

}  // namespace parallel_opt
