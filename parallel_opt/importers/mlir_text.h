#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/dtype.h"

/// The text of an MLIR module as JAX prints it, as plain structs: enough of the language for the
/// StableHLO, CHLO, func and sdy dialects in their pretty and generic forms. What an operator means
/// is not known here. Texts are views into the module's text, which must outlive them.
namespace parallel_opt::mlir {

/// tensor<8x?xf32>: sizes, -1 for "?". Anything else (a token, a tuple) is no tensor.
struct Type {
  bool tensor = false;
  DType dtype = DType::u8;
  std::vector<std::int64_t> dims;
};

struct Op;

struct Argument {
  std::string_view name;  ///< "%arg0"
  Type type;
  std::string_view attributes;  ///< "{sdy.sharding = ...}", may be empty
  std::string_view location;    ///< "p['w']" or "#loc4", may be empty
};

struct RegionBody {
  std::vector<Argument> arguments;
  std::vector<Op> ops;
};

struct Op {
  std::string_view name;  ///< "stablehlo.add", "call", "stablehlo.return"
  std::vector<std::string_view> results;
  std::vector<std::size_t> result_counts;                   ///< "%3:2" makes two
  std::vector<std::string_view> operands;                   ///< "%0", "%3#1"
  std::map<std::string_view, std::string_view> attributes;  ///< values as written
  std::vector<std::string_view> words;  ///< what stands bare: "GT", "[0:2]", "@relu", "dense<1>"
  std::vector<RegionBody> regions;
  std::vector<Argument> bindings;  ///< "%iterArg = %0": names of a loop's values
  std::vector<Type> operand_types, result_types;
  bool apart = false;  ///< "(T, T) -> T": both are stated; else one list is read as either
  std::string_view location;
  std::string_view text;  ///< the whole of it

  std::size_t result_count() const;
  /// The attribute's text; empty when absent.
  std::string_view find(std::string_view attribute) const;
  /// The first bare word with this beginning; empty when there is none.
  std::string_view word(std::string_view beginning) const;
};

struct Function {
  std::string_view name;  ///< without "@"
  bool is_public = false;
  std::vector<Argument> arguments;
  RegionBody body;
};

struct Module {
  std::string_view name;
  std::vector<Function> functions;
  std::map<std::string_view, std::string_view> locations;  ///< "#loc4" -> "\"x\"(#loc1)"
};

/// Throws InputError at "FILE:LINE" for text that is no such module.
Module parse_module(std::string_view text, const std::string& file);

/// The line that a part of the text begins on, from 1.
std::size_t line_of(std::string_view text, std::string_view part);
/// Every whole number of a text, in order: "[0, 1] x [2]" -> 0, 1, 2.
std::vector<std::int64_t> integers(std::string_view text);
/// The text behind "key =" in an attribute's value, up to the next comma outside of brackets.
std::string_view entry(std::string_view text, std::string_view key);
/// Whole numbers of a dense<...> constant of `count` elements; empty when it holds others.
std::optional<std::vector<std::int64_t>> dense_integers(std::string_view text, std::size_t count);

}  // namespace parallel_opt::mlir
