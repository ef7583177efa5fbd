#include "parallel_opt/cost/row_stack.h"

#include <algorithm>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_attention.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_date.h"
#include "parallel_opt/cost/row_shape.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

/// What the driver shows beside the allocator: CUDA's context, NCCL's buffers (Jean Zay's runs of
/// Megatron-DeepSpeed, data/stacks/megatron-deepspeed.json).
constexpr double kDriverBytes = 3e9;

/// Per logit, of losses in one kernel each way: values in 16 bits, which that kernel reads twice
/// and overwrites, or beside which it writes their gradient.
constexpr double kLossBytes = 6, kCompiledLogits = 4;

constexpr double kAttentionGraph = 0.5;  // of a block's launches, where attention has a graph

bool is_blackwell(const std::string& arch) { return arch.find("Blackwell") != std::string::npos; }

/// Whether torchtitan compiles its loss with the blocks: since April 2025 (its pull request 1033),
/// so wherever a row names that time or chips that came with it.
bool titan_compiles_loss(const TrainingRow& row, const std::string& arch) {
  const StatedDate date = stated_date(row.framework + "; " + row.notes);
  return date.year > 0 ? date.is_since(2025, 4) : is_blackwell(arch);
}

/// Whether kernels are compiled, where the row says so and its stack is PyTorch's own.
void read_compilation(const TrainingRow& row, const std::string& arch, SoftwareStack& stack) {
  if (stack.name != "pytorch" && stack.name != "torchtitan") return;
  static const std::regex compiled(R"((^|[^a-z])compil)", std::regex::icase);
  static const std::regex other_sense(
      R"(compiled (from|by|with|against)|eager attention|(attn|attention)_implementation\W{1,4}eager)",
      std::regex::icase);
  const Claims notes(std::regex_replace(row.notes + "; " + row.framework, other_sense, ""));
  const bool says_compile = notes.has(compiled);
  const bool denies = notes.says(compiled) == false || notes.has("uncompiled");
  const auto parts = split(row.notes, ';');
  const bool lists_fsdp = std::ranges::any_of(
      parts, [](const auto& part) { return lower_case(std::string(trim(part))) == "fsdp"; });
  const bool lists_no_compile = mentions(row.framework, "torchtitan") && lists_fsdp;
  if (says_compile || denies || lists_no_compile || notes.has("eager")) {
    stack.fused_operators = says_compile;
    stack.eager_host = !says_compile;
  }
  // FSDP's blocks are compiled one by one, and the loss is none of them, but for torchtitan's. A
  // compiled loss reads 16-bit logits and writes their gradient.
  static const std::regex shards(R"(fsdp|fully[ _-]?shard|zero|deepspeed)", std::regex::icase);
  const std::string around = row.framework + ";" + row.fsdp_zero;
  const bool with_loss = stack.name == "torchtitan" ? titan_compiles_loss(row, arch)
                                                    : !std::regex_search(around, shards);
  if (says_compile && with_loss) {
    stack.logits_bytes = kCompiledLogits;
    stack.loss_bytes = std::min(stack.loss_bytes, kLossBytes);
  }
}

/// "No overlap", of everything or of what is named with it; "prefetch disabled".
void read_overlap(const Claims& notes, SoftwareStack& stack) {
  // Neither "--no-overlap-grad-reduce" nor "tp-comm-overlap=False", which are of one alone.
  static const std::regex any(
      R"((^|[^a-z_-]|\bno[ -])overlap(s|ped|ping)?($|[^a-z_ -]|[ -](?!grad|param|comm|between|with (eval|valid|test))))",
      std::regex::icase);
  static const std::regex tensor(R"(\btp|tensor)", std::regex::icase);
  static const std::regex expert(R"(expert|moe|all-?to-?all|a2a|pipeline|p2p)", std::regex::icase);
  // FSDP's forward_prefetch=False still gathers ahead.
  static const std::regex prefetch(R"((^|[;,.(]\s*|no |without |weight )prefetch(ing)?\b)",
                                   std::regex::icase);
  if (notes.says(any) == false && notes.says(expert) != false) {
    stack.overlaps_tensor = stack.overlaps_sends = false;
    if (notes.says(tensor) != false) {
      stack.overlaps_data = stack.overlaps_shards = stack.overlaps_gathers = false;
    }
  }
  if (notes.says(prefetch) == false) stack.overlaps_shards = false;
  // Megatron-Core's overlap_moe_expert_parallel_comm, Megatron-Bridge's moe_a2a_overlap.
  static const std::regex dispatch(
      R"(\boverlap[ _-]moe[ _-]expert|\bmoe[ _-]a2a[ _-]overlap|\bcombined[ _-]1f1b\b)"
      R"(|\b(expert|moe|ep) (all-?to-?all|a2a|exchange|dispatch)[^;,.]{0,12} overlap)"
      R"(|\boverlap(s|ped|ping)? (of )?(the )?(expert|moe|ep) (all-?to-?all|a2a|exchange|dispatch))",
      std::regex::icase);
  if (const auto on = notes.says(dispatch)) stack.overlaps_experts = *on;
  static const std::regex deepspeeds(R"((^|[^a-z_])overlap_comm\b)", std::regex::icase);
  if (notes.says(deepspeeds) == false) stack.overlaps_data = stack.overlaps_shards = false;
}

/// What a graph replays no Python launches. Megatron's graphs of a router and what it sorts by are
/// a few of the kernels of a block with experts; those of attention are about half.
void read_graphs(const Claims& notes, SoftwareStack& stack) {
  static const std::regex graphs(R"(cuda[ _-]?graph)", std::regex::icase);
  static const std::regex parts(
      R"(cuda[ _-]?graphs?([ _-](scopes?|modules))?[ :=]*((of|for|in|on) )?(the )?[\['"]*(moe|router|attention|attn)[a-z_ ,+&/]*)",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(notes.kept(), match, parts)) {
    if (mentions(match.str(0), "att")) stack.host_factor *= kAttentionGraph;
  } else if (notes.has(graphs)) {
    stack.eager_host = false;
    stack.host_factor = stack.pipeline_tensor_host_s = 0;
  }
}

/// What the notes say that departs from a stack's way.
void read_notes(const Claims& notes, SoftwareStack& stack) {
  const auto says = [&](std::string_view words) { return notes.has(words); };
  if (says("fused layernorm") || says("fused norm")) stack.fused_operators = true;
  static const std::regex reduced(
      R"(\bgrad(?:ient)?s? (?:are )?(?:kept and )?reduc(?:ed?|tion)(?: dtype)?(?: in|[ =:]{1,3})? ?(bf16|bfloat16|fp16|16 bits|fp32|float32|32 bits)\b)"
      R"(|\breduce[_ ](?:dtype|in)[ =:]{1,3}(bf16|bfloat16|fp16|fp32|float32)\b|\b(bf16|bfloat16|fp16|fp32|float32)[ -](?:grad(?:ient)?s?[ -]|all-?)?reduc)",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(notes.kept(), match, reduced)) {
    stack.reduced_bytes = stack.gradient_bytes = mentions(match.str(0), "32") ? 4 : 2;
  }
  read_graphs(notes, stack);
  if (says("async tp") || says("asynctp")) stack.overlaps_tensor = true;
  static const std::regex reduce("overlap[ _-]grad(ient)?[ _-]reduce", std::regex::icase);
  static const std::regex gather("overlap[ _-]param(eter)?[ _-]gather", std::regex::icase);
  static const std::regex tensor("tp[ _-]comm[ _-]overlap", std::regex::icase);
  if (const auto on = notes.says(reduce)) stack.overlaps_data = *on;
  if (const auto on = notes.says(gather)) stack.overlaps_gathers = *on;
  if (const auto on = notes.says(tensor)) stack.overlaps_tensor = *on;
  read_overlap(notes, stack);
  if (says("no_sync") || says("whole until the last micro-batch")) stack.reduces_once = true;
  if (says("logits whole")) stack.whole_logits = true;
  // Values, their logarithms and both gradients.
  if (says("loss in 16 bits")) stack.logits_bytes = 8;
  if (says("memory of the first rank")) stack.prints_first_stage = true;
  if (says("max_memory_allocated")) stack.prints_reserved = false;
  if (says("max_memory_reserved")) stack.prints_reserved = true;
  if (says("expandable segments") || says("expandable_segments")) stack.expands_segments = true;
  if (says("deepep")) stack.dispatches_once_per_node = true;
  if (says("all-to-all dispatcher")) stack.dispatches_once_per_node = false;
  static const std::regex watts(R"((power|watts?|energy)[^;,.]*nvidia-smi)", std::regex::icase);
  // Of two counters the one that is named first is the figure's.
  static const std::regex other(R"(max_memory_(allocated|reserved)[^;]*nvidia-smi)",
                                std::regex::icase);
  if (says("nvidia-smi") && !notes.has(watts) && !notes.has(other)) {
    stack.prints_reserved = true;
    stack.printed_beyond_bytes = std::max(stack.printed_beyond_bytes, kDriverBytes);
  }
}

/// Whether a second copy of the weights in fp32 is there. torchtune's `dtype: bf16` is the type of
/// weights, gradients and states (its docs/source/recipes).
void read_master_weights(const TrainingRow& row, const Claims& notes, SoftwareStack& stack) {
  static const std::regex master(
      R"(master[ _-](weights?|param(eter)?s?|cop(y|ies))\b|\b(fp32|float32|32-bit) (weights|parameters|cop(y|ies))\b)",
      std::regex::icase);
  static const std::regex narrow(R"((bf16|bfloat16|fp16|16[ -]bits?) master)", std::regex::icase);
  if (Claims(row.framework).has("torchtune")) stack.pure_half = true;
  if (const auto keeps = notes.says(master)) stack.pure_half = !*keeps || notes.has(narrow);
  if (pure_half_in_words(row.notes)) stack.pure_half = true;
}

/// Losses that make their logits in pieces of about as many elements as their input has [hsu2024],
/// read twice and overwritten by their gradient. Liger's kernels are that, and norms, rotations and
/// gated functions in one each.
void read_loss_in_pieces(const TrainingRow& row, const std::string& spec, SoftwareStack& stack) {
  static const std::regex pieces(
      R"(\b(chunked|cut|(fused[ _-])?linear)[ _-]?(loss|nll|logits|ce\b|cross[ _-]?entropy))",
      std::regex::icase);
  const bool liger = Claims(row.notes).has("liger") || Claims(row.framework).has("liger");
  if (!liger && !Claims(row.notes).has(pieces)) return;
  const double hidden = number_of(spec, "hidden"), vocab = number_of(spec, "vocab");
  stack.fused_operators = stack.fused_operators || liger;
  stack.logits_bytes *= vocab > 0 ? std::min(1.0, hidden / vocab) : 1;
  stack.loss_bytes = std::min(stack.loss_bytes, kLossBytes);
}

/// NVIDIA's recipes for experts in MXFP8 on Blackwell as they are since container 26.06.
bool fuses_experts(const TrainingRow& row, const std::string& arch, const std::string& spec) {
  return is_blackwell(arch) && number_of(spec, "experts") > 1 &&
         element_type_in_words(row.dtype) == "fp8" && mentions(row.dtype, "mx") &&
         stated_date(row.framework + "; " + row.notes).is_since(2026, 6);
}

/// Megatron is that of 2020 where its name says no year and the notes name an earlier one than that
/// of fused attention, or a paper.
const SoftwareStack* stack_named(const TrainingRow& row) {
  const SoftwareStack* named = stack_of_framework(row.framework);
  static const std::regex early(R"(arxiv[:. /]{0,2}(19|20|21)[0-9]{2}\.[0-9]{5}|\bSC ?'?(20)?21\b)",
                                std::regex::icase);
  if (named == nullptr || named->name != "megatron") return named;
  const int year = stated_date(row.notes).year;
  const bool before = year > 0 && year < kFusedMegatron && year_of_megatron(row.framework) == 0;
  return before || std::regex_search(row.notes, early) ? find_stack("megatron-2020") : named;
}

}  // namespace

SoftwareStack stack_of(const TrainingRow& row, const std::string& arch, const std::string& spec,
                       std::vector<std::string>& notes) {
  const SoftwareStack* named = stack_named(row);
  // Who splits operators or layers and names no software does what Megatron made usual; PyTorch's
  // own way of splitting them is torchtitan's.
  const bool splits = row.tp.value_or(1) > 1 || row.pp.value_or(1) > 1;
  const bool own_loop = named != nullptr && named->name == "pytorch" && splits;
  if (own_loop) {
    named = find_stack("torchtitan");
    notes.emplace_back("stack torchtitan, whose way PyTorch splits operators or layers");
  }
  // Forks of both run on Intel's accelerators through its compiler.
  const bool forks = named != nullptr && (named->name == "megatron-deepspeed" ||
                                          named->name == "megatron" || named->name == "deepspeed");
  if (forks && arch.starts_with("Gaudi")) named = find_stack("habana");
  if (named != nullptr && named->name == "nemo" && fuses_experts(row, arch, spec)) {
    named = find_stack("nemo-2026");
  }
  SoftwareStack stack = named != nullptr ? *named : *find_stack(splits ? "megatron" : "pytorch");
  // How torchtitan cuts a batch is a default of its own.
  if (own_loop) stack.cuts_batch_by_stages = false;
  if (named == nullptr) {
    notes.push_back("stack " + stack.name +
                    (row.framework.empty()
                         ? ", as no framework is stated"
                         : ", as framework '" + row.framework + "' is not known"));
  }
  read_compilation(row, arch, stack);
  const Claims said(without_citations(row.notes));
  set_attention(row, said, arch, spec, stack, notes);
  // On Ascend MC2's kernels alone run products beside their collectives; MindSpeed has them off.
  if (arch == "Da Vinci" && !said.has("mc2")) stack.overlaps_tensor = false;
  if (element_type_in_words(row.dtype) == "fp4") stack.gathers_narrow = false;
  read_notes(said, stack);
  read_master_weights(row, said, stack);
  read_loss_in_pieces(row, spec, stack);
  stack.splits_kept = splits_kept_in_words(row.recompute) || splits_kept_in_words(row.fsdp_zero) ||
                      splits_kept_in_words(row.notes);
  return stack;
}

}  // namespace parallel_opt
