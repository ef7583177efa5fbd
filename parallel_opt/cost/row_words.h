#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/cost/software_stack.h"

/// What cells of tables mean that sources fill in words of their own. Each is empty for words that
/// say nothing known: a row is then skipped with its reason rather than read as something else.
namespace parallel_opt {

/// Parts of a block that are computed again, by name: Megatron's recompute-modules.
struct RecomputeParts {
  bool attention = false;    ///< scores and their products, no projections
  bool mlp = false;          ///< all of the feed-forward part, its experts too
  bool activations = false;  ///< the function inside it
  bool norms = false;
  bool latent = false;  ///< up-projections of latent attention
  /// Attention alone is what a stack calls selective.
  bool any() const noexcept { return mlp || activations || norms || latent; }
  auto operator<=>(const RecomputeParts&) const = default;
};

/// What is computed again of a block, and of how many: of all but where a cell counts them.
struct RecomputeWords {
  RecomputeRule rule = RecomputeRule::none;
  RecomputeParts parts = {};             ///< where any is named; else the stack's way
  std::optional<double> share = {};      ///< of the model's: "12 of 48 layers", "every other layer"
  std::optional<double> per_stage = {};  ///< layers: Megatron's "block, 5 layers"
  std::optional<double> spared = {};     ///< layers of the model: "all but 2 layers"
  bool operator==(const RecomputeWords&) const = default;
};

/// "full", "activation checkpointing", "yes": whole blocks; "selective", "core_attn", "SAC": what
/// the stack calls so; "mlp", "layernorm, moe_act": those parts.
std::optional<RecomputeWords> recompute_in_words(const std::string& text);

/// Whether tensor ranks share the inputs of blocks that are computed again, as DeepSpeed
/// ("partition_activations", ZeRO-R's "P_a") and Megatron ("--distribute-saved-activations") spell
/// it. `on_host`: whether they go there ("P_a+cpu").
bool splits_kept_in_words(const std::string& text);
bool splits_kept_on_host(const std::string& text);
/// The text but for these words.
std::string without_split_kept(const std::string& text);

/// What notes say of it, "gradient checkpointing", "no activation recomputation"; empty: nothing.
std::optional<RecomputeWords> recompute_in_notes(const std::string& notes);

/// "yes", "true", "on", "1"; "no", ...
std::optional<bool> switch_in_words(const std::string& text);

/// States of a parameter that the named optimizer keeps, of so many bytes each where no type is
/// named ("SGD with momentum": 1, "8-bit Adam": half of one in fp32); empty: none is named, or
/// Adam's usual two.
std::optional<double> optimizer_states_in_words(const std::string& notes, double usual_bytes = 4);

/// Of a run of forwards and backwards alone: "no optimizer step", "forward and backward only".
bool skips_optimizer(const std::string& notes);

/// Whether they may go to the host page by page where a device is full: "paged AdamW".
bool pages_states(const std::string& notes);

/// "Optimizer in backward": a gradient is used and freed as soon as it is there.
bool steps_in_backward(const std::string& notes);

/// What the notes say of a run and no model here knows, in their words: "sliding window", "GaLore".
std::vector<std::string> unread_words(const std::string& notes);

/// How notes split a sequence: "ring attention", "Ulysses"; empty: they name no way.
std::string context_in_notes(const std::string& notes);

/// Nothing in fp32, as a type or notes say it: "pure bf16", "full bf16", Lightning's "bf16-true",
/// "weights and states in bf16", "model.to(bfloat16)", "no autocast".
bool pure_half_in_words(const std::string& text);

/// The narrowest type named that is multiplied: "fp4", "fp8", "int8", "bf16" (of any 16-bit one),
/// "tf32", "fp32".
std::optional<std::string> element_type_in_words(const std::string& text);

}  // namespace parallel_opt
