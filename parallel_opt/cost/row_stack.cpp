#include "parallel_opt/cost/row_stack.h"

#include <algorithm>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_shape.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

/// What the driver shows beside the allocator: CUDA's context, NCCL's buffers (Jean Zay's runs of
/// Megatron-DeepSpeed, data/stacks/megatron-deepspeed.json).
constexpr double kDriverBytes = 3e9;

/// Whether kernels are compiled, where the row says so and its stack is PyTorch's own.
void read_compilation(const TrainingRow& row, SoftwareStack& stack) {
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
}

/// Whether notes name a fused kernel, or deny it; empty: neither. "All-flash storage" is none.
std::optional<bool> fused_attention(const Claims& notes) {
  static const std::regex fused(
      R"(flash(?![ -]?(storage|arrays?|drives?|disks?|memory))|(^|[^n])fused attention)",
      std::regex::icase);
  static const std::regex kernel(R"(flash[ _-]?att|(^|[^n])fused attention)", std::regex::icase);
  if (notes.has("unfused attention")) return false;
  if (notes.has(fused)) return true;
  return notes.says(kernel);
}

/// "Naive attention", "math SDPA", Hugging Face's attn_implementation=eager.
bool says_unfused_attention(const Claims& notes) {
  static const std::regex unfused(
      R"((attn|attention)_implementation\W{1,4}eager|(naive|eager|vanilla|math|unfused) (self-)?(attention|sdpa)|sdpa[ (:=]{1,3}math\b)",
      std::regex::icase);
  return notes.has(unfused);
}

/// What the notes say that departs from a stack's way.
void read_notes(const Claims& notes, SoftwareStack& stack) {
  const auto says = [&](std::string_view words) { return notes.has(words); };
  const std::optional<bool> fused = fused_attention(notes);
  if (fused == true && stack.attention == AttentionFamily::unfused) {
    stack.attention = AttentionFamily::flash;
  }
  if (says_unfused_attention(notes) || fused == false) {
    stack.attention = AttentionFamily::unfused;
  }
  if (says("fused layernorm") || says("fused norm")) stack.fused_operators = true;
  static const std::regex reduced(
      R"(gradients (?:are )?(?:kept and )?reduced in (bf16|fp16|16 bits|fp32|32 bits))",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(notes.kept(), match, reduced)) {
    stack.reduced_bytes = stack.gradient_bytes = mentions(match[1], "32") ? 4 : 2;
  }
  // What a graph replays no Python launches.
  if (says("cuda graph") || says("cuda_graph")) {
    stack.eager_host = false;
    stack.host_factor = stack.pipeline_tensor_host_s = 0;
  }
  if (says("async tp") || says("asynctp")) stack.overlaps_tensor = true;
  if (const auto on = notes.says("overlap_grad_reduce")) stack.overlaps_data = *on;
  if (const auto on = notes.says("overlap_param_gather")) stack.overlaps_gathers = *on;
  if (const auto on = notes.says("tp_comm_overlap")) stack.overlaps_tensor = *on;
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
  if (says("nvidia-smi") && !notes.has(watts)) {
    stack.prints_reserved = true;
    stack.printed_beyond_bytes = std::max(stack.printed_beyond_bytes, kDriverBytes);
  }
}

/// Megatron is that of 2020 where the notes name a paper of before 2022.
const SoftwareStack* stack_named(const TrainingRow& row) {
  const SoftwareStack* named = stack_of_framework(row.framework);
  static const std::regex early(R"(arxiv[:. /]{0,2}(19|20|21)[0-9]{2}\.[0-9]{5}|\bSC ?'?(20)?21\b)",
                                std::regex::icase);
  const bool old = named != nullptr && named->name == "megatron";
  return old && std::regex_search(row.notes, early) ? find_stack("megatron-2020") : named;
}

/// Blocks as models of 2023 and later have them: keys are shared by heads, or the norm is of roots.
/// Software of that time, or that which runs FlashAttention by its name, attends so too.
bool is_newer(const std::string& spec, const std::string& framework) {
  static const std::regex named(R"((^|[^a-z])m?-?core(?![a-z])|\b202[3-9]\b|flash|xformers)",
                                std::regex::icase);
  const double kv_heads = number_of(spec, "kv_heads");
  return (kv_heads > 0 && kv_heads < number_of(spec, "heads")) || mentions(spec, "norm=rms") ||
         std::regex_search(framework, named);
}

}  // namespace

SoftwareStack stack_of(const TrainingRow& row, const std::string& arch, const std::string& spec,
                       std::vector<std::string>& notes) {
  const SoftwareStack* named = stack_named(row);
  // Who splits operators or layers and names no software does what Megatron made usual; PyTorch's
  // own way of splitting them is torchtitan's.
  const bool splits = row.tp.value_or(1) > 1 || row.pp.value_or(1) > 1;
  if (named != nullptr && named->name == "pytorch" && splits) {
    named = find_stack("torchtitan");
    notes.emplace_back("stack torchtitan, whose way PyTorch splits operators or layers");
  }
  // Forks of both run on Intel's accelerators through its compiler.
  const bool forks = named != nullptr && (named->name == "megatron-deepspeed" ||
                                          named->name == "megatron" || named->name == "deepspeed");
  if (forks && arch.starts_with("Gaudi")) named = find_stack("habana");
  SoftwareStack stack = named != nullptr ? *named : *find_stack(splits ? "megatron" : "pytorch");
  if (named == nullptr) {
    notes.push_back("stack " + stack.name +
                    (row.framework.empty()
                         ? ", as no framework is stated"
                         : ", as framework '" + row.framework + "' is not known"));
  }
  read_compilation(row, stack);
  // Fused attention and products that overlap their collectives came to Megatron with Hopper;
  // models of the time after that were trained on older devices too.
  const Claims said(row.notes);
  const bool says_fused = fused_attention(said).value_or(false);
  const bool newer = says_fused || is_newer(spec, row.framework);
  const bool before = arch == "Volta" || (arch == "Ampere" && !newer);
  if (stack.name == "megatron" && before && !says_fused) {
    stack.attention = AttentionFamily::unfused;
    stack.overlaps_tensor = false;
    if (arch == "Ampere") {
      notes.emplace_back("attention is unfused, as in Megatron before 2023");
    }
  }
  // FlashAttention runs on Turing (1) and Ampere (2) at the least; what others have for
  // Volta a row says.
  if (arch == "Volta" && !says_fused) stack.attention = AttentionFamily::unfused;
  // On Ascend MC2's kernels alone run products beside their collectives; MindSpeed has them off.
  if (arch == "Da Vinci" && !said.has("mc2")) stack.overlaps_tensor = false;
  if (element_type_in_words(row.dtype) == "fp4") stack.gathers_narrow = false;
  read_notes(said, stack);
  return stack;
}

}  // namespace parallel_opt
