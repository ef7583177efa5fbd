#pragma once

#include <cstdint>
#include <string>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// The graph of a transformer stated in one line, as MODEL takes it:
///
///   transformer:layers=32,hidden=4096,heads=32,kv_heads=8,ffn=14336,vocab=128256,gated=true
///
/// Every key has a default (GPT-2's shape); docs/importers.md lists them. Symbols: `batch` and
/// `sequence`, whose value is `seq` until it is bound. Throws one InputError with every fault; an
/// unknown key names the nearest known one.
Graph read_inline_spec(const std::string& spec);

/// `spec` for sequences of `sequence` tokens: where it is an inline one that states no `seq`, its
/// default counts for shorter ones only. Any other text comes back as it is.
std::string with_sequence(const std::string& spec, std::int64_t sequence);

}  // namespace parallel_opt
