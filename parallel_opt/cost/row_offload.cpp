#include "parallel_opt/cost/row_offload.h"

#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/kept_products.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

/// MaxText's, DeepSpeed's in words of bigscience, and what sentences say.
void read_switches(const Claims& notes, Offload& off) {
  if (const auto on = notes.says("opt offl")) off.optimizer = *on ? 1 : 0;
  if (const auto on = notes.says("par offl")) off.parameters = *on;
  if (const auto on = notes.says("optimizer_memory_host_offload")) {
    off.optimizer = *on ? 1 : 0;
    off.fetched = *on;
  }
  if (const auto on = notes.says("parameter_memory_host_offload")) off.parameters = *on;
  if (notes.has("optimizer states on the host")) off.optimizer = 1;
  if (notes.has("parameters on the host")) off.parameters = true;
  if (notes.has("kept tensors go to the host")) off.activations = 1;
  static const std::regex parameters(R"(offload_param\w*[^a-z;]{1,6}(device\W{1,5})?cpu)",
                                     std::regex::icase);
  static const std::regex optimizer(
      R"(zero[ -]?offload|offload_optimizer[^a-z;]{1,6}(device\W{1,5})?cpu|(optimizer|adam)( states?)?( is| are)?[ -]+(offload|on (the )?(cpu|host))|offload(ed|ing|s)? (of )?(the )?optimizer|cpu[ _-]?adam)",
      std::regex::icase);
  static const std::regex activations(
      R"(activations?( is| are)?[ -]+offload|offload(ed|ing|s)? (of )?(the )?activations)",
      std::regex::icase);
  if (notes.has(optimizer)) off.optimizer = 1;
  if (notes.has(activations)) off.activations = 1;
  if (notes.has(parameters)) off.parameters = true;
}

}  // namespace

std::optional<Offload> offload_in_words(const std::string& text) {
  if (const auto on = switch_in_words(text); on && !*on) return Offload{};
  Offload off;
  const bool all = mentions(text, "full");
  if (all || mentions(text, "optim")) off.optimizer = 1;
  if (all || mentions(text, "param") || mentions(text, "weight")) off.parameters = true;
  if (mentions(text, "activ") || mentions(text, "kept tensors")) off.activations = 1;
  off.fetched = mentions(text, "memory_host_offload") && off.optimizer > 0;
  return off.any() ? std::optional(off) : std::nullopt;
}

RowOffload offload_of(const TrainingRow& row) {
  RowOffload found;
  Offload& off = found.offload;
  if (!row.offload.empty()) {
    const auto stated = offload_in_words(row.offload);
    if (!stated) found.wrong = "offload '" + row.offload + "' is not understood";
    off = stated.value_or(Offload{});
    return found;
  }
  if (const Claims framework(row.framework); framework.has("offload")) {
    off = offload_in_words(framework.kept()).value_or(Offload{.optimizer = 1});
  }
  const Claims shares(row.fsdp_zero);
  if (shares.has("infinity")) off.optimizer = off.parameters = true;
  if (shares.has("offload")) {
    off.optimizer = 1;
    const auto sharding = sharding_in_words(row.fsdp_zero);
    off.parameters = sharding && sharding->stage == 3 && !shares.has("optim");
  }
  if (Claims(row.recompute).has("offload") && !kept_in_words(row.recompute)) off.activations = 1;
  read_switches(Claims(row.notes), off);
  return found;
}

}  // namespace parallel_opt
