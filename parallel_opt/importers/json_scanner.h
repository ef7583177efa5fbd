#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace parallel_opt {

/// The tokens of a JSON text (RFC 8259). A string without escapes is not copied: exported models
/// are mostly such strings. nlohmann-json takes them byte by byte, three times slower; a test
/// compares the two.
class JsonScanner {
 public:
  enum class Token : std::uint8_t {
    begin_object,
    end_object,
    begin_array,
    end_array,
    colon,
    comma,
    string,
    integer,
    number,  ///< with a fraction or an exponent, or beyond int64
    yes,
    no,
    null,
    end,
    wrong,  ///< no token of JSON
  };

  /// A byte order mark at the beginning is passed over. `text` outlives the scanner.
  explicit JsonScanner(std::string_view text);
  Token next();
  /// Of the last string, without escapes; valid until the next one.
  std::string_view string() const { return string_; }
  std::int64_t integer() const { return integer_; }
  double number() const { return number_; }
  /// Where the last token begins; of a wrong one, the byte that does not fit.
  std::size_t place() const { return place_; }

 private:
  Token word(std::string_view rest, Token token);
  Token scan_string();
  Token scan_number();
  bool escape();
  bool four_digits(std::uint32_t& code);
  bool character();
  bool digits();
  Token wrong();

  std::string_view text_;
  std::size_t at_ = 0, place_ = 0;
  std::string_view string_;
  std::string unescaped_;
  std::int64_t integer_ = 0;
  double number_ = 0;
};

}  // namespace parallel_opt
