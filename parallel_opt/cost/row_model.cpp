#include "parallel_opt/cost/row_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <regex>
#include <tuple>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/kept_products.h"
#include "parallel_opt/cost/row_checks.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_degrees.h"
#include "parallel_opt/cost/row_device.h"
#include "parallel_opt/cost/row_offload.h"
#include "parallel_opt/cost/row_on_cores.h"
#include "parallel_opt/cost/row_patches.h"
#include "parallel_opt/cost/row_recompute.h"
#include "parallel_opt/cost/row_schedule.h"
#include "parallel_opt/cost/row_shape.h"
#include "parallel_opt/cost/row_sharding.h"
#include "parallel_opt/cost/row_stack.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/cost/stated_number.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

std::shared_ptr<const TransformerFacts> facts_of(const std::string& spec, std::int64_t seq,
                                                 const RecomputeParts& parts) {
  using Key = std::tuple<std::string, std::int64_t, RecomputeParts>;
  static std::mutex mutex;
  static std::map<Key, std::shared_ptr<const TransformerFacts>> known;
  const std::lock_guard lock(mutex);
  auto& entry = known[{spec, seq, parts}];
  if (!entry) {
    const std::string whole = spec + ",dtype=bf16,seq=" + std::to_string(seq);
    const Graph graph = bind(load_model(whole), {{"batch", 1}, {"sequence", seq}});
    const PartOperators part = parts.any() ? operators_of(parts, graph) : PartOperators{};
    entry = std::make_shared<TransformerFacts>(transformer_facts(graph, part.again, part.dropped));
  }
  return entry;
}

std::string not_understood(const char* column, const std::string& text) {
  return std::string(column) + " '" + text + "' is not understood";
}

/// "HSDP, 20 replicas" of so many ranks; empty: copies are not counted.
std::optional<int> sharers_of_copies(const TrainingRow& row, int ranks) {
  for (const std::string* cell : {&row.fsdp_zero, &row.notes}) {
    const int count = copies_in_words(*cell).value_or(ranks);
    if (ranks % count == 0 && ranks > count) return ranks / count;
  }
  return std::nullopt;
}

/// Which states replicas share, and how many of them; or that nobody knows.
std::string fill_sharding(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  l.shard = out.stack.shard;
  std::optional<int> stated;  // ranks that share a copy
  bool in_nodes = false;      // as hybrid sharding has it where nobody counts them
  const std::string shares = row.fsdp_zero.empty() ? sharding_named(row.framework) : row.fsdp_zero;
  const double in_a_node = std::max(1.0, std::floor(out.device.per_node / l.tensor));
  if (!shares.empty()) {
    const auto sharding = sharding_in_words(shares);
    if (!sharding) return not_understood("fsdp_zero", row.fsdp_zero);
    if (mentions(shares, "zero++") || mentions(shares, "hpz")) {
      out.notes.emplace_back(
          "what ZeRO++ adds to ZeRO-3 (second shards in a node, narrow gathers) counts for "
          "nothing");
    }
    l.shard = sharding->stage;
    if (sharding->in_a_node && in_a_node < l.data) l.shard_degree = int(in_a_node);
    stated = sharding->degree;
    const double in_nodes_stated = sharding->nodes.value_or(0) * in_a_node;
    if (!stated && in_nodes_stated > 0 && in_nodes_stated < l.data) stated = int(in_nodes_stated);
    out.least_stage = sharding->least;
    in_nodes = sharding->hybrid && l.shard_degree > 0;
  }
  const auto noted = shards_in_notes(row.notes);
  out.may_shard = shares.empty() && !noted && out.stack.name == "pytorch" && l.data > 1;
  if (noted && !stated) {
    if (shares.empty() && l.shard == 0) l.shard = 3;
    if (l.shard > 0) stated = noted;
  }
  if (in_nodes && !stated) stated = sharers_of_copies(row, l.data);
  out.counts_no_sharers = in_nodes && !stated;
  l.shard_degree = stated.value_or(l.shard_degree);
  // Of all replicas: those of the sequence's parts share too. "ZeRO-3 over 64 GPUs" may count the
  // ranks that split a replica.
  const bool all = row.gpus && l.shard_degree == *row.gpus && l.shard_degree > l.data * l.context;
  if (l.shard_degree == l.data || all) l.shard_degree = 0;
  return "";
}

/// A stage that nobody states, and what is taken for it.
void note_stage(const TrainingRow& row, RowCase& out) {
  const ParallelLayout& l = out.layout;
  const bool stated = !row.fsdp_zero.empty() || !sharding_named(row.framework).empty();
  if (stated || l.offload.parameters || out.stack.shard == 0 || l.data * l.context == 1) return;
  out.notes.push_back("fsdp_zero = ZeRO stage " + std::to_string(l.shard) + ", as is " +
                      out.stack.name + "'s way, as it is blank");
}

/// Words of the notes that no model reads, or not as they are meant.
void note_unread(const TrainingRow& row, RowCase& out) {
  for (const std::string& words : unread_words(row.notes)) {
    out.notes.push_back("'" + words + "' in the notes counts for nothing");
  }
  for (const std::string& words : unread_words(row.interconnect)) {
    out.notes.push_back("'" + words + "' in interconnect counts for nothing");
  }
  const Claims notes(row.notes);
  static const std::regex aware(R"(precision[ _-]aware[ _-]optimi[sz]er)", std::regex::icase);
  if (notes.has(aware) && !optimizer_states_in_words(row.notes)) {
    out.notes.emplace_back(
        "the precision-aware optimizer keeps states in fp32, as no other type is named");
  }
  if (pages_states(row.notes)) {
    out.notes.emplace_back("paged optimizer states count as on the device");
  }
  if (out.layout.steps_in_backward && out.layout.micro_batches > 1) {
    out.notes.emplace_back(
        "the optimizer's step in the backward counts for nothing, as gradients accumulate");
  }
  static const std::regex clock(
      R"([0-9] ?MHz|(clock|locked)[^;,.]{0,20}[0-9.]+ ?GHz|[0-9] ?GHz[^;,.]{0,10}clock)",
      std::regex::icase);
  if (notes.has(clock)) out.notes.emplace_back("a clock in the notes counts for nothing");
  const std::string way = context_in_notes(row.notes);
  if (way.empty()) return;
  if (out.layout.context == 1) {
    out.notes.push_back("'" + way + "' in the notes counts for nothing, as cp is 1 or blank");
  } else if (!mentions(way, "ring")) {
    out.notes.push_back("'" + way + "' in the notes counts as a ring of keys and values");
  }
}

/// Tensor ranks that share what nobody keeps, or of one, share nothing.
void note_splits(RowCase& out) {
  const bool all = out.layout.recompute == RecomputeRule::full;
  if (!out.stack.splits_kept || (all && out.layout.tensor > 1)) return;
  out.notes.push_back(std::string("partitioned activations count for nothing, as ") +
                      (out.layout.tensor == 1 ? "tp is 1" : "no whole block is computed again"));
}

/// What the stack does where the row says nothing.
void note_own_way(const TrainingRow& row, RowCase& out) {
  const std::string way = ", as is " + out.stack.name + "'s way, as ";
  if (!out.recompute && out.layout.recompute != RecomputeRule::none) {
    const bool all = out.layout.recompute == RecomputeRule::full;
    out.notes.push_back((all ? "blocks are computed again" : "parts of blocks are computed again") +
                        way + "recompute is blank");
  }
  if (row.sequence_parallel.empty() && out.layout.sequence_parallel) {
    out.notes.push_back("sequence parallelism" + way + "sequence_parallel is blank");
  }
  note_stage(row, out);
}

/// What cells say in words of their sources; or which of them says nothing known.
std::string fill_words(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  const std::string type = element_type_in_words(row.dtype).value_or("");
  if (type == "fp32" || type == "tf32") l.element_bytes = 4;
  out.element_type = type.empty() ? "bf16" : type;
  const Claims dtype(row.dtype);
  const bool pure = out.stack.pure_half || dtype.has("pure") || pure_half_in_words(row.dtype) ||
                    skips_optimizer(row.notes);
  l.pure_half = l.element_bytes < 4 && !dtype.has("mixed") && pure;
  static const std::regex by_turns(R"((fake[a-z -]{0,10} balanced|balanced fake)[a-z -]{0,10} gat)",
                                   std::regex::icase);
  l.experts_by_turns = Claims(row.notes).has(by_turns);
  if (std::string wrong = fill_sharding(row, out); !wrong.empty()) return wrong;
  l.optimizer_states = optimizer_states_in_words(row.notes, l.pure_half ? l.element_bytes : 4)
                           .value_or(l.optimizer_states);
  l.steps_in_backward = steps_in_backward(row.notes);
  note_unread(row, out);
  const RowOffload host = offload_of(row);
  if (!host.wrong.empty()) return host.wrong;
  l.offload = host.offload;
  if (l.offload.parameters) {
    if (l.pipeline > 1) return "weights on the host are modelled without pipelines only";
    l.shard = 3;  // those of ZeRO-3 and FSDP alone go there
  }
  l.recompute = out.stack.recompute;
  if (states_recompute(row, out.notes)) {
    out.recompute = recompute_in_words(row.recompute);
    // "6 layers" are those of the model, or of each stage where there are several.
    static const std::regex counted(R"(\s*[0-9]{1,4} (layers|blocks)\s*)", std::regex::icase);
    const bool counts = !out.recompute && std::regex_match(row.recompute, counted);
    if (counts && l.pipeline > 1) {
      return not_understood("recompute", row.recompute) + ": of the model, or of each stage";
    }
    if (counts) out.recompute = recompute_in_words("block, " + row.recompute);
    if (!out.recompute) return not_understood("recompute", row.recompute);
  } else {
    out.recompute = recompute_in_notes(row.notes);
    if (out.recompute) out.notes.emplace_back("recompute from the notes");
  }
  if (out.recompute) l.recompute = out.recompute->rule;
  note_splits(out);
  l.sequence_parallel = out.stack.sequence_parallel && l.tensor > 1;
  if (!row.sequence_parallel.empty()) {
    const auto split = switch_in_words(row.sequence_parallel);
    if (!split) return not_understood("sequence_parallel", row.sequence_parallel);
    l.sequence_parallel = *split;
  }
  note_own_way(row, out);
  return "";
}

/// Degrees and micro-batches, or what is missing.
std::string fill_layout(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  if (!row.gpus || *row.gpus < 1) return "the number of devices is blank";
  if (std::string missing = fill_degrees(row, out); !missing.empty()) return missing;
  if (std::string wrong = fill_schedule(row, out); !wrong.empty()) return wrong;
  std::optional<double> micro = row.micro_batch;
  if (!micro && row.global_batch && (l.pipeline == 1 || row.grad_accum)) {
    out.may_accumulate = !row.grad_accum;
    const double steps = std::max(1.0, row.grad_accum.value_or(1));
    micro = *row.global_batch / l.data / steps;
    out.guesses_micro_batch = out.may_accumulate && *micro > 1;
    if (row.grad_accum && *micro != std::floor(*micro)) {
      return "grad_accum x dp = " + std::to_string(std::int64_t(steps * l.data)) +
             " does not divide global_batch = " + std::to_string(std::int64_t(*row.global_batch));
    }
  }
  if (!micro && row.global_batch) {
    const double local = *row.global_batch / l.data;
    micro = out.stack.cuts_batch_by_stages ? std::max(1.0, local / l.pipeline) : 1;
    if (!out.stack.cuts_batch_by_stages) {
      out.guesses_micro_batch = local > 1;
      out.notes.emplace_back("micro-batches of 1, as neither they nor their number is stated");
    }
  }
  if (out.guesses_micro_batch && row.peak_memory_bytes) {
    out.notes.emplace_back("the measured peak is not scored, as micro_batch is blank");
  }
  if (!micro || *micro <= 0) return "micro-batch and global batch are blank";
  if (l.pipeline > 1 && !row.global_batch && !row.grad_accum) {
    return "micro-batches of a pipeline's step are not counted: global_batch and grad_accum are "
           "blank";
  }
  if (*micro < 1) return "global_batch is less than one sequence of each replica";
  l.micro_batch = *micro;
  const double batch = row.global_batch.value_or(*micro * l.data * row.grad_accum.value_or(1));
  l.micro_batches = std::max(1.0, std::round(batch / (*micro * l.data)));
  return fill_words(row, out);
}

bool fits(const RowCase& row) {
  const LayoutCost cost =
      layout_cost(*row.facts, row.device, row.stack, row.layout, layout_parameters());
  return cost.memory_bytes() <= row.device.memory_bytes * kUsableMemory &&
         host_holds(cost, row.device, row.layout);
}

/// Of PyTorch's two ways to run replicas the one that can be: FSDP where a device cannot hold the
/// states of a whole one, whatever else is done.
void shard_what_does_not_fit(RowCase& out) {
  if (!out.may_shard) return;
  const LayoutCost cost =
      layout_cost(*out.facts, out.device, out.stack, out.layout, layout_parameters());
  const double states = cost.weights_bytes + cost.gradients_bytes + cost.optimizer_bytes;
  if (states <= out.device.memory_bytes * kUsableMemory) return;
  out.layout.shard = 3;
  out.notes.emplace_back("FSDP, as fsdp_zero is blank and no device holds the states of a replica");
}

/// Hybrid sharding without a degree is within a node; where that holds no run, whatever is computed
/// again and however small its micro-batches, over as few nodes as do. A run that failed shows
/// none.
void count_sharers(const TrainingRow& row, RowCase& out) {
  if (!out.counts_no_sharers) return;
  ParallelLayout& l = out.layout;
  const int node = l.shard_degree, ranks = l.data * l.context;
  const auto holds = [&] { return row.failed || fits(chosen_run(out, layout_parameters())); };
  while (!holds() && l.shard_degree < ranks) {
    do l.shard_degree += node;
    while (l.shard_degree < ranks && ranks % l.shard_degree != 0);
  }
  const bool grew = l.shard_degree > node;
  if (grew && !holds()) l.shard_degree = node;
  const std::string sharers =
      l.shard_degree > node ? std::to_string(l.shard_degree / node) + " nodes, as few as hold it,"
                            : "a node";
  out.notes.push_back("the " + std::to_string(l.shard_degree) + " ranks of " + sharers +
                      " share a copy, as hybrid sharding states no degree");
  if (l.shard_degree >= ranks) l.shard_degree = 0;
}

/// What a row says in a word, and its model and device complete.
void settle(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  static const std::regex capacity(R"(capacity[ _]factor[ =:]{0,3}([0-9]{1,4}(\.[0-9]{1,6})?))",
                                   std::regex::icase);
  std::smatch match;
  if (std::regex_search(row.notes, match, capacity)) l.expert_capacity = std::stod(match[1]);
  fill_stages(row, out);
  out.may_recompute = !out.recompute && out.stack.recomputes_unsaid;
  // Megatron's cpu_offloading_num_layers, which its pipelines refuse; in recipes of FSDP.
  constexpr double kBesideChip = 1e11;  // bytes/s to the host, beyond what any PCIe slot carries
  out.may_offload = out.may_recompute && out.stack.offloads_unsaid && !l.offload.any() &&
                    l.pipeline == 1 && l.shard == 3 &&
                    out.device.host.link_bytes_per_s > kBesideChip;
  if (const auto kept = kept_in_words(row.recompute)) {
    const double on_host = keep_products(*kept, *out.facts, out.stack);
    if (row.offload.empty()) l.offload.activations = std::max(l.offload.activations, on_host);
  }
  recompute_some_layers(out);
  shard_what_does_not_fit(out);
  count_sharers(row, out);
  while (out.least_stage && l.shard < 3 && !fits(out)) ++l.shard;
  if (out.least_stage && l.data * l.context > 1) {
    out.notes.push_back("ZeRO stage " + std::to_string(l.shard) +
                        (fits(out) ? ", the lowest with which it fits, as none is stated"
                                   : ", as none is stated and it fits with none"));
  }
  // A dispatcher of tokens is named, and no degree: every replica has its share of the experts.
  const double experts = out.facts->experts();
  if (!row.ep && experts > 1 && mentions(row.framework, "deepep")) {
    l.expert = int(std::min<double>(experts, l.data));
  }
}

}  // namespace

namespace {

/// Of models of latent pictures.
void modulate(RowCase& out) {
  auto facts = std::make_shared<TransformerFacts>(*out.facts);
  add_modulation(*facts, number_of(out.model, "hidden"));
  out.facts = std::move(facts);
  out.notes.emplace_back("blocks are modulated once per picture; its autoencoder is not counted");
}

/// Of a row on such a device.
std::variant<RowCase, std::string> case_on(const TrainingRow& row, const DeviceRecord& record,
                                           RowCase out) {
  if (!fill_device(row, record, out))
    return "device '" + row.gpu + "' has no peak rate in the database";
  out.on_cores = record.kind == DeviceCategory::cpu;
  // A host's memory is as large as it takes.
  if (out.on_cores) out.device.memory_bytes = std::numeric_limits<double>::infinity();
  if (std::string wrong = type_without_rate(row, record); !wrong.empty()) return wrong;
  const RowShape shape = shape_of(row, out.notes);
  out.device_name = record.name;
  out.model = shape.spec;
  if (std::string unclear = unclear_model(row, out.model, out.notes); !unclear.empty()) {
    return unclear;
  }
  if (out.model.empty()) return "the shape of model '" + row.model_name + "' is blank";
  out.stack = stack_of(row, record.arch, out.model, out.notes);
  const std::optional<double> seq = row.seq_len ? row.seq_len : shape.seq;
  if (!seq || *seq < 1) return "the sequence length is blank";
  if (!row.seq_len) {
    const std::string made =
        shape.patches.empty() ? "usual of '" + row.model_name + "'" : "of " + shape.patches;
    out.notes.push_back("seq_len = " + std::to_string(std::int64_t(*seq)) + ", " + made +
                        ", as none is stated");
  }
  if (std::string missing = fill_layout(row, out); !missing.empty()) return missing;
  note_machine(row, record, out);
  try {
    const RecomputeParts parts = out.recompute ? out.recompute->parts : RecomputeParts{};
    out.facts = facts_of(out.model, std::int64_t(*seq), parts);
  } catch (const InputError& error) {
    return std::string("no model can have this shape: ") + error.what();
  }
  if (shape.modulated) modulate(out);
  settle(row, out);
  if (std::string wrong = contradiction(row, out); !wrong.empty()) return wrong;
  return out;
}

}  // namespace

std::variant<RowCase, std::string> row_case(const TrainingRow& row) {
  if (std::string other = other_work(row); !other.empty()) return other;
  if (!row.dtype.empty() && !element_type_in_words(row.dtype)) {
    return not_understood("dtype", row.dtype);
  }
  RowCase out;
  note_workload(row.workload, out.notes);
  if (std::string wrong = no_whole_device(row.gpu); !wrong.empty()) return wrong;
  const std::optional<DeviceRecord> record = device_of(row, out.notes);
  if (!record) return "device '" + row.gpu + "' is not in the database";
  auto found = case_on(row, *record, out);
  const auto* smallest = std::get_if<RowCase>(&found);
  if (smallest != nullptr && smallest->on_cores) {
    if (std::string wrong = wrong_on_cores(*smallest); !wrong.empty()) return wrong;
    return found;
  }
  if (smallest == nullptr || row.failed) return found;
  // Of a chip that is sold with several memories, the least that holds what ran on it: as it is
  // stated or, where that is on none, with what its blanks leave free.
  const auto holds = [&](const RowCase& run) {
    return fits(run) && row.peak_memory_bytes.value_or(0) <= run.device.memory_bytes;
  };
  if (holds(*smallest)) return found;
  std::vector<RowCase> runs = {*smallest};
  for (const DeviceRecord& variant : variants_of(row, *record)) {
    auto other = case_on(row, variant, out);
    if (auto* run = std::get_if<RowCase>(&other)) runs.push_back(std::move(*run));
  }
  const auto stated = std::ranges::find_if(runs, holds);
  if (stated != runs.end()) return *stated;
  const auto free = std::ranges::find_if(
      runs, [&](const RowCase& run) { return holds(chosen_run(run, layout_parameters())); });
  if (free != runs.end()) return *free;
  return found;
}

void count_flops(const RowCase& row, RowPrediction& answer) {
  const auto of = [](const BlockFacts& block) {
    double flops = block.attention_flops;
    for (const Product& one : block.products) flops += one.flops();
    return flops * block.repeats;
  };
  const ParallelLayout& l = row.layout;
  double blocks = 0, again = 0;
  for (const BlockFacts& block : row.facts->blocks) {
    const double flops = of(block);
    const RecomputeRule rule = block.recompute ? block.recompute->rule : l.recompute;
    blocks += flops;
    if (rule == RecomputeRule::full) again += flops;
  }
  const double samples = l.data * l.micro_batch * l.micro_batches / l.devices();
  answer.flops = samples * 3 * (blocks + of(row.facts->outside));
  answer.flops_again = answer.flops + samples * again;
  answer.peak_flops_per_s = row.device.flops_per_s;
}

double printed_bytes(const RowCase& row, const LayoutCost& cost) {
  const bool first = row.stack.prints_first_stage;
  const double held = first ? cost.first_stage_bytes : cost.memory_bytes();
  const double unused = first ? cost.first_stage_unused : cost.unused_bytes;
  return held - (row.stack.prints_reserved ? 0 : unused) + row.stack.printed_beyond_bytes;
}

namespace {

LayoutCost cost_of(const RowCase& row, const LayoutParameters& parameters) {
  return layout_cost(*row.facts, row.device, row.stack, row.layout, parameters);
}

/// With such a share of its blocks computed again as a whole, the others by the stack's way.
RowCase with_recomputed(const RowCase& row, double share) {
  const BlockRecompute whole{.rule = RecomputeRule::full};
  RowCase out = row;
  out.facts = std::make_shared<TransformerFacts>(parted(*row.facts, share, whole, {}));
  return out;
}

/// Where a row does not say what is computed again: as few blocks as it takes to fit, as someone
/// with that machine would choose; all where that is still too much.
RowCase with_least_recomputed(const RowCase& row, const LayoutCost& none, double capacity,
                              const LayoutParameters& parameters) {
  const int layers = int(std::lround(row.facts->layers()));
  const double least = cost_of(with_recomputed(row, 1), parameters).memory_bytes();
  if (least > capacity) return with_recomputed(row, 1);
  const double share = (none.memory_bytes() - capacity) / (none.memory_bytes() - least);
  for (int blocks = int(std::ceil(share * layers)); blocks < layers; ++blocks) {
    const RowCase some = with_recomputed(row, double(blocks) / layers);
    if (cost_of(some, parameters).memory_bytes() <= capacity) return some;
  }
  return with_recomputed(row, 1);
}

/// Likewise as few blocks' activations on the host; empty: not even all of them make it fit.
std::optional<RowCase> with_least_offloaded(const RowCase& row, double capacity,
                                            const LayoutParameters& parameters) {
  const int layers = int(std::lround(row.facts->layers()));
  RowCase out = row;
  for (int blocks = 1; blocks <= layers; ++blocks) {
    out.layout.offload.activations = double(blocks) / layers;
    const LayoutCost cost = cost_of(out, parameters);
    if (cost.memory_bytes() > capacity) continue;
    return host_holds(cost, out.device, out.layout) ? std::optional(out) : std::nullopt;
  }
  return std::nullopt;
}

/// Where a row does not say in how many steps a replica's sequences are taken: in as few as fit;
/// where even one sequence is too much, as fit with all blocks computed again.
RowCase with_largest_micro_batch(const RowCase& row, double capacity,
                                 const LayoutParameters& parameters) {
  const double all = row.layout.micro_batch * row.layout.micro_batches;
  const auto sequences = std::int64_t(std::min(all, 1e6));
  RowCase out = row;
  if (double(sequences) != all) return out;
  for (const bool again : {false, true}) {
    if (again && !row.may_recompute) break;
    for (std::int64_t steps = 1; steps <= sequences; ++steps) {
      if (sequences % steps != 0) continue;
      const std::int64_t at_once = sequences / steps;
      out.layout.micro_batches = double(steps);
      out.layout.micro_batch = double(at_once);
      const RowCase run = again ? with_recomputed(out, 1) : out;
      if (cost_of(run, parameters).memory_bytes() <= capacity) return out;
    }
  }
  return out;
}

double capacity_of(const RowCase& row) { return row.device.memory_bytes * kUsableMemory; }

}  // namespace

RowCase chosen_run(const RowCase& row, const LayoutParameters& parameters) {
  const double capacity = capacity_of(row);
  RowCase run = row;
  if (cost_of(run, parameters).memory_bytes() <= capacity) return run;
  if (row.may_accumulate && row.layout.micro_batch * row.layout.micro_batches > 1) {
    run = with_largest_micro_batch(row, capacity, parameters);
    run.notes.emplace_back("micro-batches as large as fit, as micro_batch is blank");
  }
  const LayoutCost none = cost_of(run, parameters);
  if (!row.may_recompute || none.memory_bytes() <= capacity) return run;
  if (row.may_offload) {
    if (auto moved = with_least_offloaded(run, capacity, parameters)) {
      moved->notes.emplace_back(
          "blocks' activations go to the host, as few as it takes to fit, as recompute is blank");
      return *moved;
    }
  }
  // One run from here on, whatever it takes: less memory is never faster.
  run = with_least_recomputed(run, none, capacity, parameters);
  const LayoutCost some = cost_of(run, parameters);
  const bool fits = some.memory_bytes() <= capacity && host_holds(some, run.device, run.layout);
  run.notes.emplace_back(
      fits ? "blocks are computed again, as few as it takes to fit, as recompute is blank"
           : "all blocks are computed again, as recompute is blank, and it does not fit");
  return run;
}

RowPrediction predict(const RowCase& row, const LayoutParameters& parameters) {
  const RowCase run = chosen_run(row, parameters);
  const LayoutCost cost = cost_of(run, parameters);
  const Estimate estimate = layout_estimate(cost, *run.facts, run.device, run.layout, parameters);
  RowPrediction answer;
  answer.notes = run.notes;
  answer.taken = taken_run(run);
  answer.step_time_s = estimate.step_time_s;
  answer.peak_memory_bytes =
      estimate.peak_memory_bytes * (printed_bytes(run, cost) / cost.memory_bytes());
  answer.knows_peak = !run.guesses_micro_batch;
  count_flops(run, answer);
  answer.capacity_bytes = capacity_of(run);
  answer.needed_bytes = cost.memory_bytes();
  answer.fits =
      answer.needed_bytes <= answer.capacity_bytes && host_holds(cost, run.device, run.layout);
  return answer;
}

RowAnswer predict(const TrainingRow& row) {
  const auto found = row_case(row);
  if (const auto* why = std::get_if<std::string>(&found)) return *why;
  const RowCase& run = std::get<RowCase>(found);
  return run.on_cores ? predict_on_cores(run) : predict(run, layout_parameters());
}

}  // namespace parallel_opt
