#pragma once

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

}  // namespace parallel_opt
