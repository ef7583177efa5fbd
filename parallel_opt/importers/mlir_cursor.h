#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/mlir_text.h"

/// How mlir_text.cpp and mlir_ops.cpp walk a text. Private to the importer.
namespace parallel_opt::mlir {

inline bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '$' ||
         c == '-' || c == '#';
}

/// Walks a text; knows strings, comments and brackets.
class Cursor {
 public:
  Cursor(std::string_view whole, std::string_view part, const std::string& file)
      : whole_(whole), text_(part), file_(file) {}

  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  std::size_t at() const { return at_; }
  std::string_view rest() const { return text_.substr(at_); }
  std::string_view between(std::size_t first, std::size_t last) const {
    return text_.substr(first, last - first);
  }
  void advance(std::size_t count) { at_ = std::min(at_ + count, text_.size()); }
  bool starts(std::string_view word) const { return rest().starts_with(word); }
  bool take(std::string_view word) {
    if (!starts(word)) return false;
    advance(word.size());
    return true;
  }

  /// Blanks and comments.
  void skip() {
    while (!done()) {
      if (std::isspace(static_cast<unsigned char>(peek())) != 0) {
        ++at_;
      } else if (starts("//")) {
        advance(std::min(rest().find('\n'), rest().size()));
      } else {
        return;
      }
    }
  }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\r') ++at_;
  }

  std::string_view word() {
    const std::size_t first = at_;
    while (!done() && is_word(peek())) ++at_;
    return between(first, at_);
  }

  std::string_view string() {
    const std::size_t first = at_++;
    while (!done() && peek() != '"') at_ += peek() == '\\' ? 2 : 1;
    if (at_ >= text_.size()) fail(first, "a string does not end");
    ++at_;
    return between(first + 1, at_ - 1);
  }

  /// "%name", "%name#1", "@name", "@\"name\"", "^bb0", "#alias".
  std::string_view symbol() {
    const std::size_t first = at_++;
    if (peek() == '"') {
      string();
    } else {
      word();
    }
    return between(first, at_);
  }

  /// Moves behind the bracket that closes the one at hand.
  void balanced() {
    const std::size_t first = at_;
    std::size_t depth = 0;
    while (!done()) {
      const char c = peek();
      if (c == '"') {
        string();
        continue;
      }
      if (starts("//")) {
        advance(std::min(rest().find('\n'), rest().size()));
        continue;
      }
      if (starts("->")) {
        advance(2);
        continue;
      }
      ++at_;
      if (c == '(' || c == '[' || c == '{' || c == '<') ++depth;
      if (c == ')' || c == ']' || c == '}' || c == '>') {
        if (--depth == 0) return;
      }
    }
    fail(first, std::string("'") + text_[first] + "' is not closed");
  }

  std::string_view group() {
    const std::size_t first = at_;
    balanced();
    return between(first, at_);
  }

  [[noreturn]] void fail(std::size_t offset, const std::string& what) const {
    const std::size_t line = line_of(whole_, text_.substr(std::min(offset, text_.size())));
    throw InputError(file_ + ":" + std::to_string(line), what,
                     "is this what jax.jit(f).lower(...).as_text() printed, and all of it?");
  }
  Cursor inside(std::string_view part) const { return {whole_, part, file_}; }

 private:
  std::string_view whole_;
  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0;
};

/// Parts between commas outside of brackets and strings.
inline std::vector<std::string_view> parts_of(Cursor cursor) {
  std::vector<std::string_view> parts;
  std::size_t first = 0;
  while (!cursor.done()) {
    const char c = cursor.peek();
    if (c == '"') {
      cursor.string();
    } else if (c == '(' || c == '[' || c == '{' || c == '<') {
      cursor.balanced();
    } else if (c == ',') {
      parts.push_back(trim(cursor.between(first, cursor.at())));
      cursor.advance(1);
      first = cursor.at();
    } else {
      cursor.advance(cursor.starts("->") ? 2 : 1);
    }
  }
  const std::string_view last = trim(cursor.between(first, cursor.at()));
  if (!last.empty() || !parts.empty()) parts.push_back(last);
  return parts;
}

inline std::string_view without_brackets(std::string_view text) {
  return text.size() < 2 ? std::string_view() : text.substr(1, text.size() - 2);
}

/// The text of one operator: to the line's end outside of all brackets, unless a region follows.
std::string_view statement(Cursor& cursor);
/// "%arg0: tensor<2xf32> {..} loc(\"x\"), ..."
std::vector<Argument> parse_arguments(const Cursor& context, std::string_view text);
/// The inside of "{ ... }": perhaps "^bb0(%a: T):" and operators.
RegionBody parse_region(const Cursor& context, std::string_view text, int depth);
Op parse_op(const Cursor& context, std::string_view text, int depth);

}  // namespace parallel_opt::mlir
