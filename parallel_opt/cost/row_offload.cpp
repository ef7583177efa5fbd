#include "parallel_opt/cost/row_offload.h"

#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/kept_products.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_sharding.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/cost/software_stack.h"

namespace parallel_opt {
namespace {

/// Whether weights are sharded, which an offload that does not say of what takes along.
bool shards_weights(const TrainingRow& row) {
  const std::string shares = row.fsdp_zero.empty() ? sharding_named(row.framework) : row.fsdp_zero;
  if (const auto sharding = sharding_in_words(shares); !shares.empty() && sharding) {
    return sharding->stage == 3;
  }
  const SoftwareStack* stack = stack_of_framework(row.framework);
  return stack != nullptr && stack->shard == 3;
}

/// "CPU offload", "offloaded to the host", "ZeRO-Infinity": of what, the sharding says.
void read_offload(const TrainingRow& row, const Claims& notes, Offload& off) {
  static const std::regex unsaid(
      R"((cpu|host)[ _-]?offload|offload\w*[ :=]+(in)?(to )?(the )?(cpu|host)\b)",
      std::regex::icase);
  if (notes.has("infinity")) off.optimizer = off.parameters = true;
  if (off.any() || !notes.has(unsaid)) return;
  off = {.optimizer = 1, .parameters = shards_weights(row)};
}

/// What nothing here models: ZeRO-Infinity's third place for states.
bool names_disks(const Claims& cell) {
  static const std::regex disks(
      R"(\b(offload\w*|infinity)\b[^;,.]*\b(nvme|ssds?|disks?)\b|\b(nvme|ssd|disk)[ -]?offload)",
      std::regex::icase);
  return cell.has(disks);
}

/// MaxText's, DeepSpeed's in words of bigscience, and what sentences say.
void read_switches(const TrainingRow& row, const Claims& notes, Offload& off) {
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
  static const std::regex parameters(
      R"(offload_param\w*[^a-z;]{1,6}(device\W{1,5})?cpu|(param(eter)?s?|weights)( is| are)?[ -]+offload|offload(ed|ing|s)? (of )?(the )?(param|weights))",
      std::regex::icase);
  static const std::regex optimizer(
      R"(zero[ -]?offload|offload_optimizer[^a-z;]{1,6}(device\W{1,5})?cpu|(optimizer|adam)( states?)?( is| are)?[ -]+(offload|on (the )?(cpu|host))|offload(ed|ing|s)? (of )?(the )?optimizer|cpu[ _-]?adam)",
      std::regex::icase);
  static const std::regex activations(
      R"(activations?( is| are)?[ -]+offload|offload(ed|ing|s)? (of )?(the )?activations)",
      std::regex::icase);
  for (const std::string* cell : {&row.recompute, &row.fsdp_zero, &row.notes}) {
    if (splits_kept_on_host(*cell)) off.activations = 1;
  }
  if (notes.has(optimizer)) off.optimizer = 1;
  if (notes.has(activations)) off.activations = 1;
  if (notes.has(parameters)) off.parameters = true;
}

}  // namespace

std::optional<Offload> offload_in_words(const std::string& cell) {
  const Claims said(cell);
  if (switch_in_words(cell) == false || said.none()) return Offload{};
  const std::string& text = said.kept();
  // "Optimizer not offloaded": what then is?
  if (mentions(cell, "not offload")) return std::nullopt;
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
  for (const std::string* cell : {&row.framework, &row.fsdp_zero, &row.notes}) {
    if (names_disks(Claims(*cell))) found.wrong = "states on disks (NVMe) are not modelled";
  }
  if (Claims(row.offload).has("nvme")) found.wrong = "states on disks (NVMe) are not modelled";
  if (!found.wrong.empty()) return found;
  Offload& off = found.offload;
  if (!row.offload.empty()) {
    static const std::regex host(R"(\b(cpu|host)\b)", std::regex::icase);
    const auto stated = offload_in_words(row.offload);
    const bool unsaid = switch_in_words(row.offload) == true || Claims(row.offload).has(host);
    if (!stated && !unsaid) found.wrong = "offload '" + row.offload + "' is not understood";
    off = stated ? *stated : Offload{.optimizer = 1, .parameters = shards_weights(row)};
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
  const Claims notes(row.notes);
  read_switches(row, notes, off);
  read_offload(row, notes, off);
  return found;
}

}  // namespace parallel_opt
