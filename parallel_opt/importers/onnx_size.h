#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/graph/graph.h"

/// Arithmetic on sizes of tensors: numbers, expressions over symbols, or unknown. Private to
/// importers/.
namespace parallel_opt::onnx {

using Shape = std::vector<Dim>;

/// A size that only running the model can tell; `bound`: its value at most, or a guess.
Dim unknown_size(std::int64_t bound = 1);
bool is_unknown(const Dim& dim);
Dim fixed(std::int64_t size);
bool is_fixed(const Dim& dim);
/// Fixed and equal to `size`.
bool is_size(const Dim& dim, std::int64_t size);

/// Results beyond 64 bits, and expressions longer than anyone writes, are unknown. Division rounds
/// down.
Dim add(const Dim& a, const Dim& b);
Dim subtract(const Dim& a, const Dim& b);
Dim multiply(const Dim& a, const Dim& b);
Dim floor_divide(const Dim& a, const Dim& b);
Dim ceil_divide(const Dim& a, const Dim& b);
Dim modulo(const Dim& a, const Dim& b);
Dim maximum(const Dim& a, const Dim& b);
Dim minimum(const Dim& a, const Dim& b);

/// Product of sizes from `first` up to `last`, not included.
Dim product(const Shape& shape, std::size_t first, std::size_t last);
/// The size that makes both products equal (the -1 of a reshape): common factors cancel.
Dim quotient(Shape numerator, Shape denominator);

/// The size of two axes that broadcast; empty: they do not.
std::optional<Dim> broadcast(const Dim& a, const Dim& b);
std::optional<Shape> broadcast(const Shape& a, const Shape& b);

/// -1: smaller, 0: equal, 1: larger; empty: depends on symbols. Symbols are at least 0.
std::optional<int> compare(const Dim& a, const Dim& b);

/// "[2, seq, 64]", for messages.
std::string show(const Shape& shape);

}  // namespace parallel_opt::onnx
