#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "parallel_opt/importers/mlir_cursor.h"

// One operator of an MLIR text, in any of its forms, and what it is made of: types, arguments,
// regions.
namespace parallel_opt::mlir {
namespace {

constexpr int kDeepest = 64;  // regions in regions
constexpr std::size_t kMostResults = 4096;

std::optional<DType> dtype_of(std::string_view name) {
  static const std::map<std::string_view, DType> kTypes = {{"f32", DType::fp32},
                                                           {"f64", DType::fp64},
                                                           {"f16", DType::fp16},
                                                           {"bf16", DType::bf16},
                                                           {"i1", DType::boolean},
                                                           {"i2", DType::i8},
                                                           {"i4", DType::i8},
                                                           {"i8", DType::i8},
                                                           {"i16", DType::i16},
                                                           {"i32", DType::i32},
                                                           {"i64", DType::i64},
                                                           {"ui2", DType::u8},
                                                           {"ui4", DType::u8},
                                                           {"ui8", DType::u8},
                                                           {"ui16", DType::u16},
                                                           {"ui32", DType::u32},
                                                           {"ui64", DType::u64},
                                                           {"index", DType::i64},
                                                           {"f4E2M1FN", DType::fp8_e4m3fn},
                                                           {"f6E2M3FN", DType::fp8_e4m3fn},
                                                           {"f6E3M2FN", DType::fp8_e4m3fn},
                                                           {"f8E3M4", DType::fp8_e4m3fn},
                                                           {"f8E4M3", DType::fp8_e4m3fn},
                                                           {"tf32", DType::fp32},
                                                           {"f8E4M3FN", DType::fp8_e4m3fn},
                                                           {"f8E5M2", DType::fp8_e5m2},
                                                           {"f8E4M3FNUZ", DType::fp8_e4m3fnuz},
                                                           {"f8E5M2FNUZ", DType::fp8_e5m2fnuz},
                                                           {"f8E8M0FNU", DType::fp8_e8m0fnu},
                                                           {"f8E4M3B11FNUZ", DType::fp8_e4m3fnuz},
                                                           {"complex<f32>", DType::complex64},
                                                           {"complex<f64>", DType::complex128}};
  const auto found = kTypes.find(name);
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}

Type parse_type(Cursor cursor) {
  Type type;
  cursor.skip();
  if (!cursor.take("tensor<")) return type;
  type.tensor = true;
  for (;;) {
    const std::size_t first = cursor.at();
    std::int64_t size = -1;
    if (!cursor.take("?")) {
      while (std::isdigit(static_cast<unsigned char>(cursor.peek())) != 0) cursor.advance(1);
      const std::string_view digits = cursor.between(first, cursor.at());
      if (digits.empty()) break;
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
      if (error != std::errc()) cursor.fail(first, "a size has too many digits");
    }
    if (!cursor.take("x")) cursor.fail(first, "a tensor type is cut short");
    type.dims.push_back(size);
  }
  if (type.dims.size() > 64) cursor.fail(0, "a tensor has more than 64 axes");
  const std::size_t first = cursor.at();
  std::string_view element = cursor.rest();
  constexpr std::string_view kQuantised = "!quant.uniform<";  // "!quant.uniform<i8:f32, 0.1>"
  const bool quantised = element.starts_with(kQuantised);
  if (quantised) element.remove_prefix(kQuantised.size());
  const std::size_t end = element.starts_with("complex") ? element.find('>') + 1
                          : quantised                    ? element.find(':')
                                                         : element.find_first_of(",>");
  element = trim(element.substr(0, end));
  const std::optional<DType> dtype = dtype_of(element);
  if (!dtype) {
    cursor.fail(first, "unknown element type '" + std::string(element.substr(0, 40)) + "'");
  }
  type.dtype = *dtype;
  return type;
}

std::vector<Type> parse_types(const Cursor& context, std::string_view text) {
  text = trim(text);
  if (text.starts_with('(') && text.ends_with(')')) text = without_brackets(text);
  std::vector<Type> types;
  for (const std::string_view part : parts_of(context.inside(text))) {
    types.push_back(parse_type(context.inside(part)));
  }
  return types;
}

/// One operator: its text is walked once, left to right.
class OpParser {
 public:
  OpParser(const Cursor& context, std::string_view text, int depth)
      : context_(context), cursor_(context.inside(text)), depth_(depth) {
    op_.text = text;
  }

  Op parse() {
    if (cursor_.peek() == '%') results();
    cursor_.skip();
    op_.name = cursor_.peek() == '"' ? cursor_.string() : cursor_.word();
    if (op_.name.empty()) cursor_.fail(cursor_.at(), "an operator has no name");
    while (!cursor_.done()) item();
    return std::move(op_);
  }

 private:
  void results() {
    while (cursor_.peek() == '%') {
      std::string_view name = cursor_.symbol();
      std::int64_t count = 1;
      if (cursor_.take(":")) {
        const std::vector<std::int64_t> number = integers(cursor_.word());
        if (number.size() != 1 || number[0] < 0 || number[0] > std::int64_t{kMostResults}) {
          cursor_.fail(0, "a number of results is out of range");
        }
        count = number[0];
      }
      op_.results.push_back(name);
      op_.result_counts.push_back(static_cast<std::size_t>(count));
      cursor_.skip();
      cursor_.take(",");
      cursor_.skip();
    }
    if (!cursor_.take("=")) cursor_.fail(cursor_.at(), "a result has no '='");
  }

  void item() {
    cursor_.skip();
    const char c = cursor_.peek();
    if (cursor_.done()) return;
    if (c == ':') {
      cursor_.advance(1);
      signature();
    } else if (c == '%') {
      op_.operands.push_back(cursor_.symbol());
    } else if (c == '(') {
      parenthesis();
    } else if (cursor_.starts("<{")) {
      dictionary(without_brackets(without_brackets(cursor_.group())));
    } else if (c == '{') {
      brace();
    } else if (c == '[' || c == '<') {
      op_.words.push_back(cursor_.group());
    } else if (c == '"') {
      op_.words.push_back(cursor_.string());
    } else if (c == '@') {
      op_.words.push_back(cursor_.symbol());
    } else if (is_word(c)) {
      named();
    } else {
      cursor_.advance(cursor_.starts("->") ? 2 : 1);
    }
  }

  /// "({...}, {...})" are regions, else operands: "(%a init: %b)", "(%iterArg = %0)", "(%a, k =
  /// 3)".
  void parenthesis() {
    const std::string_view text = without_brackets(cursor_.group());
    if (op_.name == "sdy.manual_computation" && parentheses_++ > 0 && trim(text).starts_with('%')) {
      reducer_ = parse_arguments(context_, text);  // "(%arg0) ... (%arg1: T) {"
      expects_region_ = true;
      return;
    }
    if (trim(text).starts_with('{')) {
      for (const std::string_view part : parts_of(context_.inside(text))) {
        if (part.starts_with('{')) region(without_brackets(part));
      }
      return;
    }
    for (const std::string_view part : parts_of(context_.inside(text))) {
      Cursor inner = context_.inside(part);
      const std::size_t equals = part.find(" = ");
      if (part.starts_with('%') && equals != std::string_view::npos) {
        Argument binding;
        binding.name = inner.symbol();
        op_.bindings.push_back(binding);
        inner.advance(equals + 3 - inner.at());
      } else if (equals != std::string_view::npos && is_word(part[0])) {
        op_.attributes[part.substr(0, equals)] = part.substr(equals + 3);
        continue;
      }
      while (!inner.done()) {
        if (inner.peek() == '%') {
          op_.operands.push_back(inner.symbol());
        } else if (inner.peek() == '"') {
          inner.string();
        } else {
          inner.advance(1);
        }
      }
    }
  }

  void dictionary(std::string_view text) {
    for (const std::string_view part : parts_of(context_.inside(text))) {
      const std::size_t equals = part.find('=');
      const std::string_view key = trim(part.substr(0, equals));
      op_.attributes[key] =
          equals == std::string_view::npos ? std::string_view() : trim(part.substr(equals + 1));
    }
  }

  void region(std::string_view text) {
    op_.regions.push_back(parse_region(context_, text, depth_ + 1));
  }

  /// A region behind `cond`, `do` or a reducer; else attributes.
  void brace() {
    const std::string_view text = without_brackets(cursor_.group());
    if (expects_region_) {
      region(text);
      if (!reducer_.empty()) op_.regions.back().arguments = std::move(reducer_);
      reducer_.clear();
      expects_region_ = false;
    } else {
      dictionary(text);
    }
  }

  void named() {
    const std::size_t first = cursor_.at();
    const std::string_view word = cursor_.word();
    if (word.empty()) return cursor_.advance(1);
    if (word == "loc" && cursor_.peek() == '(') {
      op_.location = without_brackets(cursor_.group());
      return;
    }
    if (word == "cond" || word == "do") {
      expects_region_ = true;
      return;
    }
    if (word == "reducer") return reducer();
    while (cursor_.peek() == '<')
      cursor_.balanced();  // dense<..>, array<..>, #stablehlo.gather<..>
    cursor_.skip_blanks();
    if (cursor_.peek() != '=') {
      op_.words.push_back(trim(cursor_.between(first, cursor_.at())));
      return;
    }
    cursor_.advance(1);
    cursor_.skip_blanks();
    op_.attributes[word] = value();
  }

  /// "reducer(%a: T, %b: T) (%c: T, %d: T) {"
  void reducer() {
    expects_region_ = true;
    for (;;) {
      cursor_.skip();
      if (cursor_.peek() != '(') return;
      const std::string_view text = without_brackets(cursor_.group());
      for (Argument& argument : parse_arguments(context_, text)) reducer_.push_back(argument);
    }
  }

  /// The value of a pretty attribute: up to a comma, the signature or the end.
  std::string_view value() {
    const std::size_t first = cursor_.at();
    while (!cursor_.done()) {
      const char c = cursor_.peek();
      if (c == ',' || c == '\n' || c == ':' || c == '{') {
        if (c != '{' || cursor_.at() != first) break;
      }
      if (c == '"') {
        cursor_.string();
      } else if (c == '(' || c == '[' || c == '{' || c == '<') {
        cursor_.balanced();
      } else {
        cursor_.advance(cursor_.starts("->") ? 2 : 1);
      }
    }
    return trim(cursor_.between(first, cursor_.at()));
  }

  /// Everything behind the colon: "T", "T, T", "(T) -> T", "T -> (T, T)".
  void signature() {
    cursor_.skip_blanks();
    const std::size_t first = cursor_.at();
    std::size_t arrow = std::string_view::npos;
    while (!cursor_.done() && cursor_.peek() != '\n') {
      if (cursor_.starts("loc(") || cursor_.starts(" loc(") || cursor_.peek() == '{') break;
      const char c = cursor_.peek();
      if (c == '(' || c == '<') {
        cursor_.balanced();
      } else if (cursor_.starts("->")) {
        arrow = cursor_.at() - first;
        cursor_.advance(2);
      } else {
        cursor_.advance(1);
      }
    }
    const std::string_view text = cursor_.between(first, cursor_.at());
    if (arrow == std::string_view::npos) {
      op_.operand_types = parse_types(context_, text);
      op_.result_types = op_.operand_types;
      return;
    }
    op_.apart = true;
    op_.operand_types = parse_types(context_, text.substr(0, arrow));
    op_.result_types = parse_types(context_, text.substr(arrow + 2));
  }

  const Cursor& context_;
  Cursor cursor_;
  int depth_;
  Op op_;
  bool expects_region_ = false;
  int parentheses_ = 0;
  std::vector<Argument> reducer_;
};

std::vector<Op> parse_ops(const Cursor& context, std::string_view text, int depth) {
  std::vector<Op> ops;
  Cursor cursor = context.inside(text);
  for (cursor.skip(); !cursor.done(); cursor.skip()) {
    ops.push_back(OpParser(context, statement(cursor), depth).parse());
  }
  return ops;
}

}  // namespace

std::vector<Argument> parse_arguments(const Cursor& context, std::string_view text) {
  std::vector<Argument> arguments;
  for (const std::string_view part : parts_of(context.inside(text))) {
    if (!part.starts_with('%')) continue;
    Cursor cursor = context.inside(part);
    Argument argument;
    argument.name = cursor.symbol();
    cursor.skip();
    if (cursor.take(":")) {
      cursor.skip();
      argument.type = parse_type(context.inside(cursor.rest()));
      while (!cursor.done()) {
        cursor.skip();
        if (cursor.starts("loc(")) {
          cursor.advance(3);
          argument.location = without_brackets(cursor.group());
        } else if (cursor.peek() == '{') {
          argument.attributes = cursor.group();
        } else if (cursor.peek() == '<') {
          cursor.balanced();
        } else if (!cursor.done()) {
          cursor.advance(1);
        }
      }
    }
    arguments.push_back(argument);
  }
  return arguments;
}

RegionBody parse_region(const Cursor& context, std::string_view text, int depth) {
  if (depth > kDeepest) context.inside(text).fail(0, "regions are nested more than 64 deep");
  RegionBody region;
  Cursor cursor = context.inside(text);
  cursor.skip();
  if (cursor.peek() == '^') {
    cursor.symbol();
    cursor.skip();
    if (cursor.peek() == '(') {
      region.arguments = parse_arguments(context, without_brackets(cursor.group()));
    }
    cursor.skip();
    cursor.take(":");
  }
  region.ops = parse_ops(context, cursor.rest(), depth);
  return region;
}

std::string_view statement(Cursor& cursor) {
  const std::size_t first = cursor.at();
  while (!cursor.done()) {
    const char c = cursor.peek();
    if (c == '"') {
      cursor.string();
    } else if (c == '(' || c == '[' || c == '{' || c == '<') {
      cursor.balanced();
    } else if (c == '\n') {
      const std::size_t end = cursor.at();
      cursor.skip();
      bool goes_on = false;
      for (const std::string_view word : {"cond {", "reducer(", "do {", "attributes {"}) {
        goes_on = goes_on || cursor.starts(word);
      }
      if (!goes_on) return cursor.between(first, end);
    } else if (c == ')' || c == ']' || c == '}') {
      cursor.fail(cursor.at(), std::string("'") + c + "' closes nothing");
    } else {
      cursor.advance(cursor.starts("->") ? 2 : 1);
    }
  }
  return cursor.between(first, cursor.at());
}

Op parse_op(const Cursor& context, std::string_view text, int depth) {
  return OpParser(context, text, depth).parse();
}

}  // namespace parallel_opt::mlir
