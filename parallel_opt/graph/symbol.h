#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

/// A whole-number expression over named symbols, as sizes of tensors are: "4*s0 + 1",
/// "FloorDiv(s1, 2)". Grammar, by rising precedence: `+ -`, `* // %`, unary `-`, `**`; functions
/// Add, Mul, Max, Min, FloorDiv, CeilDiv, Mod, Pow, Abs; `/` is refused: sizes are whole.
struct Expression {
  enum class Kind {
    number,
    symbol,
    add,
    multiply,
    floor_divide,
    modulo,
    power,
    maximum,
    minimum,
    absolute
  };
  Kind kind = Kind::number;
  std::int64_t number = 0;            ///< kind number
  std::string symbol;                 ///< kind symbol
  std::vector<Expression> arguments;  ///< else; add, multiply, maximum, minimum take one or more
  bool operator==(const Expression&) const = default;
};

/// Throws InputError{where, ...} that quotes the text and names the column.
Expression parse_expression(std::string_view text, const std::string& where);

/// Canonical infix text: like terms gathered, sums and products sorted, no white space to choose.
/// Equal canonical texts mean equal values; the converse is not promised. Throws InputError for a
/// coefficient beyond 64 bits.
std::string to_string(const Expression& expression);

/// The value with symbols replaced. Division and modulo round down (as in Python). Throws
/// InputError for an unknown symbol, a division by zero, a negative power or a value beyond 64
/// bits.
std::int64_t evaluate(const Expression& expression,
                      const std::map<std::string, std::int64_t>& values, const std::string& where);

/// The same in real numbers, for quantities beyond 64 bits. Total: an unknown symbol is 1, a
/// quotient by zero not a number.
double evaluate_real(const Expression& expression, const std::map<std::string, double>& values);

/// Names of the symbols, sorted, each once.
std::vector<std::string> symbols_of(const Expression& expression);

}  // namespace parallel_opt
