#pragma once

#include <optional>
#include <string>

/// How tables and notes say which ranks share what of a model's states. Cells, notes and names of
/// frameworks are read with one vocabulary; a cell may be as short as "3", "OS" or "64-way".
namespace parallel_opt {

struct ShardingWords {
  int stage = 0;
  bool least = false;         ///< "ZeRO", and no stage: the lowest with which it fits
  bool in_a_node = false;     ///< whole replicas in every node: HSDP
  bool hybrid = false;        ///< called so
  std::optional<int> degree;  ///< ranks that share one copy
  std::optional<int> nodes;   ///< likewise, where nodes are counted: "FSDP over 2 nodes"
};

/// What a cell says: "ZeRO stage 1", "ZeRO-Pos+g", "SHARD_GRAD_OP", "HYBRID_SHARD", "DDP",
/// "zero1(shard 8)", "HSDP, 64-way", "FSDP over 64 GPUs". Empty: nothing known, or two stages.
std::optional<ShardingWords> sharding_in_words(const std::string& cell);

/// Ranks that share one copy as notes say it: "fsdp=8", "dp=4 x fsdp=8", "HSDP shard degree 64",
/// "zero1(shard 4)"; empty: nothing.
std::optional<int> shards_in_notes(const std::string& notes);

/// Copies of the model: "4 replicas", "dp_replicate=4".
std::optional<int> copies_in_words(const std::string& text);

/// What notes have a cell say: "zero-3", "fsdp, shard_grad_op"; "none" where they deny all of it
/// ("no ZeRO", "use_distributed_optimizer=False"). Empty: nothing, or not all the same. Of a cell
/// that is "FSDP" alone, notes may say which of its strategies it has.
std::string sharding_in_notes(const std::string& cell, const std::string& notes);

/// What of a framework's name says how replicas share: "fsdp2", "zero-3", "ddp"; empty: nothing.
std::string sharding_named(const std::string& framework);

}  // namespace parallel_opt
