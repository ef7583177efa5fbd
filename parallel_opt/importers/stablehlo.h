#pragma once

#include <string>
#include <string_view>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Reads what `jax.jit(f).lower(...).as_text()` prints: a StableHLO module, in the pretty or the
/// generic form. The public function's operators with all functions inlined; loops and branches as
/// regions, trip counts where a counter is compared with a constant. Names of modules come from
/// `jax.named_scope` when the text was printed with debug_info=True.
///
/// The text does not say which arguments are weights: those named in debug info as parts of one
/// structure ("params['w']"), else the floating arguments before the data, which is the last
/// argument and those of its first size before it. A note says which rule was used.
///
/// A training step is one function: everything is `forward` there, and a note says so. Operators
/// without a counterpart stay "stablehlo.NAME", opaque. Throws InputError at "FILE:LINE".
Graph read_stablehlo(std::string_view text, const std::string& name);
/// The same from a file. Throws SystemError when it cannot be opened.
Graph load_stablehlo(const std::string& path);

/// Does the file begin as such a text does (comments and location aliases skipped)?
bool looks_like_stablehlo(const std::string& path);

}  // namespace parallel_opt
