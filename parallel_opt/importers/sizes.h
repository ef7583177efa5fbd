#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel_opt/graph/graph.h"

/// Arithmetic on sizes that may be symbolic, for importers that infer shapes. Results are canonical
/// (graph/symbol.h), so equal texts are equal sizes.
namespace parallel_opt::sizes {

using Shape = std::vector<Dim>;

/// Largest size and number of elements that an importer accepts: bytes and FLOPs stay in 64 bits.
inline constexpr std::int64_t kMost = std::int64_t{1} << 46;

inline Dim fixed(std::int64_t size) { return {size, {}}; }
inline Dim symbol(const std::string& name, std::int64_t hint) { return {hint, name}; }

/// Values beyond 64 bits saturate at the largest: `valid` refuses them later.
Dim add(const Dim& a, const Dim& b);
Dim subtract(const Dim& a, const Dim& b);
Dim multiply(const Dim& a, const Dim& b);
/// Rounds down; a division by zero is zero.
Dim floor_divide(const Dim& a, const Dim& b);
Dim ceil_divide(const Dim& a, const Dim& b);
Dim modulo(const Dim& a, const Dim& b);
Dim maximum(const Dim& a, const Dim& b);
Dim minimum(const Dim& a, const Dim& b);
Dim product(std::span<const Dim> dims);

/// numerator / denominator with equal factors cancelled first: [4*b, s] / [s, 2] is 2*b.
Dim quotient(std::span<const Dim> numerator, std::span<const Dim> denominator);

/// Both sizes of a broadcast: the one that is not 1; a fixed size wins over a symbolic one.
Dim broadcast(const Dim& a, const Dim& b);
/// Aligned from the right.
Shape broadcast(const Shape& a, const Shape& b);

/// Neither negative nor beyond kMost, in elements too.
bool valid(const Shape& shape);
/// "[batch, 4]"
std::string text(const Shape& shape);

}  // namespace parallel_opt::sizes
