#include "parallel_opt/importers/mlir_text.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "parallel_opt/importers/mlir_cursor.h"

namespace parallel_opt::mlir {
namespace {

/// "func.func public @main(...) -> (...) attributes {...} { ... }"
void parse_function(const Cursor& context, std::string_view text, Module& module) {
  Cursor cursor = context.inside(text);
  Function function;
  if (cursor.peek() == '"') {  // "func.func"() <{sym_name = "main", ...}> ({ ^bb0(..): ... })
    Op op = parse_op(context, text, 0);
    const std::string_view name = op.find("sym_name");
    if (name.size() < 2 || op.regions.size() != 1) cursor.fail(0, "a function has no name or body");
    function.name = without_brackets(name);
    function.is_public = op.find("sym_visibility") != "\"private\"";
    function.arguments = op.regions[0].arguments;
    function.body = std::move(op.regions[0]);
    module.functions.push_back(std::move(function));
    return;
  }
  cursor.take("func.func");
  cursor.skip();
  function.is_public = !cursor.take("private");
  cursor.take("public");
  cursor.skip();
  if (cursor.peek() != '@') cursor.fail(cursor.at(), "a function has no name");
  function.name = cursor.symbol().substr(1);
  if (function.name.starts_with('"')) function.name = without_brackets(function.name);
  cursor.skip();
  if (cursor.peek() != '(') cursor.fail(cursor.at(), "a function has no arguments");
  function.arguments = parse_arguments(context, without_brackets(cursor.group()));
  bool attributes = false;
  while (!cursor.done()) {
    cursor.skip();
    if (cursor.peek() == '{') {
      const std::string_view group = without_brackets(cursor.group());
      if (!attributes) {
        function.body = parse_region(context, group, 0);
        break;
      }
      attributes = false;
    } else if (cursor.peek() == '(') {
      cursor.balanced();  // results
    } else if (cursor.take("attributes")) {
      attributes = true;
    } else {
      cursor.advance(cursor.starts("->") ? 2 : 1);
      if (cursor.peek() == '<') cursor.balanced();
    }
  }
  module.functions.push_back(std::move(function));
}

void parse_top(const Cursor& context, std::string_view text, Module& module);

void parse_item(const Cursor& context, std::string_view text, Module& module) {
  Cursor cursor = context.inside(text);
  if (cursor.peek() == '#') {
    const std::string_view name = cursor.symbol();
    cursor.skip();
    cursor.take("=");
    cursor.skip();
    if (cursor.take("loc")) module.locations[name] = without_brackets(trim(cursor.rest()));
    return;
  }
  const bool generic = cursor.starts("\"builtin.module\"");
  if (cursor.starts("module") || generic) {
    while (!cursor.done()) {
      cursor.skip();
      if (cursor.peek() == '@') {
        module.name = cursor.symbol().substr(1);
      } else if (cursor.starts("attributes")) {
        cursor.advance(10);
        cursor.skip();
        if (cursor.peek() == '{') cursor.balanced();
      } else if (cursor.starts("<{")) {
        const std::string_view name =
            entry(without_brackets(without_brackets(cursor.group())), "sym_name");
        if (name.size() > 2) module.name = without_brackets(name);
      } else if (cursor.starts("({")) {
        const std::string_view group = without_brackets(cursor.group());
        parse_top(context, without_brackets(trim(group)), module);
        return;
      } else if (cursor.peek() == '{') {
        parse_top(context, without_brackets(cursor.group()), module);
        return;
      } else {
        cursor.advance(1);
      }
    }
    return;
  }
  if (cursor.starts("func.func") || cursor.starts("\"func.func\"")) {
    parse_function(context, text, module);
  }
  // Others (meshes, dialect resources) say nothing about what is computed.
}

void parse_top(const Cursor& context, std::string_view text, Module& module) {
  Cursor cursor = context.inside(text);
  for (cursor.skip(); !cursor.done(); cursor.skip()) {
    parse_item(context, statement(cursor), module);
  }
}

}  // namespace

std::size_t Op::result_count() const {
  std::size_t count = 0;
  for (const std::size_t one : result_counts) count += one;
  return count;
}

std::string_view Op::find(std::string_view attribute) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? std::string_view() : found->second;
}

std::string_view Op::word(std::string_view beginning) const {
  const auto found = std::ranges::find_if(
      words, [&](std::string_view word) { return word.starts_with(beginning); });
  return found == words.end() ? std::string_view() : *found;
}

std::size_t line_of(std::string_view text, std::string_view part) {
  return 1 + static_cast<std::size_t>(std::count(text.begin(), part.begin(), '\n'));
}

std::vector<std::int64_t> integers(std::string_view text) {
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < text.size();) {
    const bool digit = std::isdigit(static_cast<unsigned char>(text[i])) != 0;
    if (!digit) {
      ++i;
      continue;
    }
    // "i64: 1" and "f32" are words, not numbers.
    const bool word =
        i > 0 && std::isalpha(static_cast<unsigned char>(text[i - 1])) != 0 && text[i - 1] != 'x';
    const std::size_t first = i > 0 && text[i - 1] == '-' ? i - 1 : i;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0) ++i;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data() + first, text.data() + i, value);
    if (!word && error == std::errc()) numbers.push_back(value);
  }
  return numbers;
}

std::string_view entry(std::string_view text, std::string_view key) {
  std::size_t at = 0;
  while ((at = text.find(key, at)) != std::string_view::npos) {
    std::size_t after = at + key.size();
    const bool whole = at == 0 || !is_word(text[at - 1]);
    while (after < text.size() && text[after] == ' ') ++after;
    if (!whole || after >= text.size() || text[after] != '=') {
      at = after;
      continue;
    }
    int depth = 0;
    std::size_t end = ++after;
    for (; end < text.size(); ++end) {
      const char c = text[end];
      if (c == '[' || c == '(' || c == '{' || c == '<') ++depth;
      if ((c == ']' || c == ')' || c == '}' || c == '>') && --depth < 0) break;
      if (c == ',' && depth == 0) break;
    }
    return trim(text.substr(after, end - after));
  }
  return {};
}

std::optional<std::vector<std::int64_t>> dense_integers(std::string_view text, std::size_t count) {
  const std::size_t open = text.find("dense<");
  if (open == std::string_view::npos) return std::nullopt;
  std::string_view inside = text.substr(open + 6, text.rfind('>') - open - 6);
  if (inside == "true") return std::vector<std::int64_t>(count, 1);
  if (inside == "false") return std::vector<std::int64_t>(count, 0);
  if (inside.find_first_not_of("0123456789-,[] ") != std::string_view::npos) return std::nullopt;
  std::vector<std::int64_t> values = integers(inside);
  if (values.size() == 1) values.resize(count, values[0]);
  if (values.size() != count) return std::nullopt;
  return values;
}

Module parse_module(std::string_view text, const std::string& file) {
  Module module;
  const Cursor context(text, text, file);
  parse_top(context, text, module);
  if (module.functions.empty()) {
    context.fail(0, "no function in the text");
  }
  return module;
}

}  // namespace parallel_opt::mlir
