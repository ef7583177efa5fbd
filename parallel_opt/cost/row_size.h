#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// What a row says of its model's shape beside the columns of its dimensions: parameters as
/// printed, else words, else widths. Absent: those fit more than one shape, or none.
struct ShapeBySize {
  std::optional<bool> gated = {};  ///< three matrices in the feed-forward part, or two
  std::optional<bool> tied = {};   ///< the head is the embedding
  /// Of blank columns what the size speaks for, or what is usual.
  std::optional<double> heads = {}, kv_heads = {}, ffn_hidden = {}, vocab = {};
};

/// Of a model that no table knows by its name.
ShapeBySize shape_by_size(const TrainingRow& row, std::vector<std::string>& notes);

/// Of one whose dimensions are known by its name: what else words and parameters say.
ShapeBySize shape_by_size(const TrainingRow& row);

/// 340 of "Nemotron-4-340B"; neither the 7 of "8x7B" nor the 22 of "235B-A22B".
std::optional<double> size_in_name(const std::string& name);

/// The same, also of "1558M", "1T" and "1b1", in 1e9: any size that a name states.
std::optional<double> any_size_in_name(const std::string& name);

/// 2 of "Llama 3 8B (2 layers)": a known model that is cut.
std::optional<double> layers_in_name(const std::string& name);

/// LLaMA and its descendants: gated MLP, RMS norm, rotary positions, untied head.
bool is_llama_like(const std::string& name);

}  // namespace parallel_opt
