#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// The graph of the `transformers` model that a Hugging Face config.json describes, without any
/// weights: one forward in training mode, operators as PyTorch runs them, parameters under their
/// own names. Symbols: `batch`, and `sequence` where the model reads text. `architectures` chooses
/// the head; absent fields take the family's defaults. `name` starts every fault's place.
/// Throws one InputError with every fault; an unknown model_type names the nearest known one.
Graph read_hf_config(std::string_view json, const std::string& name);

/// Every model_type that is known, sorted.
std::vector<std::string> hf_families();

}  // namespace parallel_opt
