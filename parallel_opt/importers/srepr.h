#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

/// A size as torch.export writes it, in the infix form of graph/symbol.h.
struct SizeExpression {
  std::string text;                  ///< "4*s0 + 1", "FloorDiv(s0, 2)", "s0", "7"
  std::vector<std::string> symbols;  ///< sorted, each once
  /// Set when the expression is scale * symbol + offset with one symbol.
  struct Affine {
    std::int64_t scale = 0;
    std::int64_t offset = 0;
  };
  std::optional<Affine> affine;
};

/// Reads sympy's srepr, "Add(Symbol('s77', positive=True, integer=True), Integer(1))", and the
/// plain form of older files, "s0 + 1". Equal polynomials give equal text: terms are collected,
/// sorted by degree and name, the constant last. Fractions must cancel or be rounded (FloorDiv,
/// CleanDiv, CeilToInt(IntTrueDiv(a, b)), ...); a quotient left at the top is exact and becomes
/// FloorDiv. Empty when the text is neither, uses another function, or does not fit 64-bit numbers.
/// `renames` gives symbols other names; two symbols of one new name become one.
std::optional<SizeExpression> parse_size_expression(
    std::string_view text, const std::map<std::string, std::string>& renames = {});

}  // namespace parallel_opt
