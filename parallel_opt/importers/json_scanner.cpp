#include "parallel_opt/importers/json_scanner.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace parallel_opt {
namespace {

/// Bytes that stand for themselves within a string: printable ASCII but quote and backslash.
constexpr std::array<bool, 256> kPlainBytes = [] {
  std::array<bool, 256> plain{};
  for (std::size_t byte = 0x20; byte < 0x80; ++byte) plain[byte] = byte != '"' && byte != '\\';
  return plain;
}();

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

}  // namespace

JsonScanner::JsonScanner(std::string_view text) : text_(text) {
  if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
}

JsonScanner::Token JsonScanner::wrong() {
  place_ = at_;
  return Token::wrong;
}

JsonScanner::Token JsonScanner::next() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
    ++at_;
  }
  place_ = at_;
  if (at_ == text_.size()) return Token::end;
  const auto one = [&](Token token) {
    ++at_;
    return token;
  };
  switch (text_[at_]) {
    case '{':
      return one(Token::begin_object);
    case '}':
      return one(Token::end_object);
    case '[':
      return one(Token::begin_array);
    case ']':
      return one(Token::end_array);
    case ':':
      return one(Token::colon);
    case ',':
      return one(Token::comma);
    case '"':
      return scan_string();
    case 't':
      return word("true", Token::yes);
    case 'f':
      return word("false", Token::no);
    case 'n':
      return word("null", Token::null);
    default:
      return scan_number();
  }
}

JsonScanner::Token JsonScanner::word(std::string_view whole, Token token) {
  for (const char letter : whole) {
    if (at_ == text_.size() || text_[at_] != letter) return wrong();
    ++at_;
  }
  return token;
}

JsonScanner::Token JsonScanner::scan_string() {
  std::size_t begin = ++at_;
  bool copied = false;
  while (true) {
    while (at_ < text_.size() && kPlainBytes[static_cast<unsigned char>(text_[at_])]) ++at_;
    if (at_ == text_.size()) return wrong();
    const char c = text_[at_];
    if (c == '"') break;
    if (c == '\\') {
      if (!copied) unescaped_.clear();
      copied = true;
      unescaped_.append(text_, begin, at_ - begin);
      if (!escape()) return wrong();
      begin = at_;
    } else if (!character()) {
      return wrong();
    }
  }
  string_ = text_.substr(begin, at_ - begin);
  ++at_;
  if (copied) string_ = unescaped_.append(string_);
  return Token::string;
}

/// What follows a backslash; appends to `unescaped_`.
bool JsonScanner::escape() {
  if (++at_ == text_.size()) return false;
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  const char letter = text_[at_];
  if (const std::size_t known = kLetters.find(letter); known != std::string_view::npos) {
    unescaped_ += kMeanings[known];
    ++at_;
    return true;
  }
  std::uint32_t code = 0, low = 0;
  if (letter != 'u' || !four_digits(code)) return false;
  if (code >= 0xDC00 && code < 0xE000) return false;  // the second half of a pair
  if (code >= 0xD800 && code < 0xDC00) {
    if (text_.substr(at_, 2) != "\\u") return false;
    ++at_;
    if (!four_digits(low) || low < 0xDC00 || low > 0xDFFF) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  append_utf8(unescaped_, code);
  return true;
}

/// The digits after the "u" at `at_`.
bool JsonScanner::four_digits(std::uint32_t& code) {
  const std::string_view hex = text_.substr(++at_, 4);
  const auto [stop, error] = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
  if (error != std::errc() || hex.size() < 4 || stop != hex.data() + 4) return false;
  at_ += 4;
  return true;
}

/// One character of several bytes in UTF-8: in its shortest form, no half of a pair.
bool JsonScanner::character() {
  const auto byte = [&](std::size_t i) {
    return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0U;
  };
  const unsigned first = byte(0), second = byte(1);
  std::size_t more = 1;
  unsigned least = 0x80, most = 0xBF;  // of the second byte
  if (first >= 0xE0) more = first >= 0xF0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return false;
  if (first == 0xE0) least = 0xA0;
  if (first == 0xED) most = 0x9F;
  if (first == 0xF0) least = 0x90;
  if (first == 0xF4) most = 0x8F;
  if (second < least || second > most) return false;
  for (std::size_t i = 2; i <= more; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return false;
  }
  at_ += more + 1;
  return true;
}

bool JsonScanner::digits() {
  const std::size_t begin = at_;
  while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  return at_ > begin;
}

JsonScanner::Token JsonScanner::scan_number() {
  const auto here = [&](std::string_view set) {
    return at_ < text_.size() && set.find(text_[at_]) != std::string_view::npos;
  };
  if (here("-")) ++at_;
  if (here("0")) {
    ++at_;
  } else if (!digits()) {
    return wrong();
  }
  bool whole = true;
  if (here(".")) {
    whole = false;
    ++at_;
    if (!digits()) return wrong();
  }
  if (here("eE")) {
    whole = false;
    ++at_;
    if (here("+-")) ++at_;
    if (!digits()) return wrong();
  }
  const char* const begin = text_.data() + place_;
  const char* const end = text_.data() + at_;
  if (whole && std::from_chars(begin, end, integer_).ec == std::errc()) return Token::integer;
  if (std::from_chars(begin, end, number_).ec != std::errc()) {
    number_ = std::strtod(std::string(begin, end).c_str(), nullptr);  // tells too small: 0
    if (!std::isfinite(number_)) return wrong();
  }
  return Token::number;
}

}  // namespace parallel_opt
