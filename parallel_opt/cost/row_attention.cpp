#include "parallel_opt/cost/row_attention.h"

#include <algorithm>
#include <array>
#include <optional>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_date.h"
#include "parallel_opt/cost/row_shape.h"

namespace parallel_opt {
namespace {

/// Kernels that keep no scores, by generation: FlashAttention 2 needs compute capability 8.0,
/// PyTorch's memory-efficient one (CUTLASS, since 2.0) 5.0, ROCm's a CDNA2.
enum class FusedKernels { none, memory_efficient, all };

FusedKernels kernels_of(const std::string& arch) {
  constexpr auto kNone = std::to_array<std::string_view>({"Kepler", "CDNA1", "Vega20"});
  constexpr auto kSome = std::to_array<std::string_view>({"Maxwell", "Pascal", "Volta", "Turing"});
  if (std::ranges::count(kNone, arch) > 0) return FusedKernels::none;
  return std::ranges::count(kSome, arch) > 0 ? FusedKernels::memory_efficient : FusedKernels::all;
}

/// Whether notes name a fused kernel, or deny it; empty: neither. "All-flash storage" is none.
std::optional<bool> fused_attention(const Claims& notes) {
  static const std::regex fused(
      R"(flash(?![ -]?(storage|arrays?|drives?|disks?|memory))|(^|[^n])fused attention|\bfa-?v?[1-4]\b|\bcu-?dnn (fused )?(attention|sdpa|kernel for attention)|(attention|sdpa)[^;,.]{0,12}\bcu-?dnn\b|attention[ _-]backend\W{1,3}fused\b|\bxformers\b|\bmemory[ -]efficient attention)",
      std::regex::icase);
  // Names that are clear where they are denied: "no flash", "FA disabled".
  static const std::regex brief(
      R"(\bflash\b(?![ -]?(storage|arrays?|drives?|disks?|memory))(?![ _-]?att[a-z]*[ _-]?(v ?)?[34]\b)|\bfa\b)",
      std::regex::icase);
  static const std::regex kernel(
      R"(flash[ _-]?att(?![a-z]*[ _-]?(v ?)?[34]\b)|(^|[^n])fused attention)", std::regex::icase);
  // PyTorch's own, where the package of that name is not there.
  static const std::regex torchs(R"(\bsdpa\b|scaled[ _]dot[ _]product)", std::regex::icase);
  // "Naive attention", "math SDPA", Hugging Face's attn_implementation=eager.
  static const std::regex unfused(
      R"((attn|attention)_implementation\W{1,4}eager|(naive|eager|vanilla|math|unfused|standard)( \([a-z]{1,8}\))? (self-)?(attention|sdpa)|sdpa[ (:=]{1,3}math\b|\bmath (backend|kernel)|attention[ _-]backend\W{1,3}(unfused|local|math|naive|eager)\b)",
      std::regex::icase);
  if (notes.has(unfused)) return false;
  if (notes.has(fused)) return true;
  if (notes.has(torchs)) return std::nullopt;
  if (notes.says(brief) == false) return false;
  return notes.says(kernel);
}

/// FlashAttention's first release and xFormers' kernels, of about half its second one's speed.
bool early_kernel(const Claims& notes) {
  static const std::regex words(
      R"(flash[ _-]?att(?:entio)?n[ _-]?(?:v ?)?1\b|\bfa-?v?1\b|\bxformers\b|\bmemory[ -]efficient (attention|kernel))",
      std::regex::icase);
  return notes.has(words);
}

/// Blocks as models of 2023 and later have them: keys are shared by heads, or the norm is of roots.
/// Software of that time, or that which runs FlashAttention by its name, attends so too, and
/// whoever trains on sequences whose scores nobody kept.
bool is_newer(const TrainingRow& row, const std::string& spec) {
  static const std::regex named(R"((^|[^a-z])m?-?core(?![a-z])|flash|xformers)", std::regex::icase);
  const double kv_heads = number_of(spec, "kv_heads");
  constexpr double kLong = 8192;
  return row.seq_len.value_or(0) >= kLong ||
         (kv_heads > 0 && kv_heads < number_of(spec, "heads")) || mentions(spec, "norm=rms") ||
         std::regex_search(row.framework, named) ||
         std::max(year_of_megatron(row.framework), stated_date(row.notes).year) >= kFusedMegatron;
}

bool is_before_torch_2(const TrainingRow& row) {
  static const std::regex release(R"(\b(?:py)?torch[ =v]{0,3}1\.[0-9])", std::regex::icase);
  return std::regex_search(row.framework, release) || std::regex_search(row.notes, release);
}

/// Of Megatron-DeepSpeed, with the flash-attn package where its time or its device has it; Intel's
/// devices have a switch of their own.
void set_of_fork(const TrainingRow& row, const std::string& arch, const std::string& spec,
                 SoftwareStack& stack, std::vector<std::string>& notes) {
  if (arch == "Ponte Vecchio" || kernels_of(arch) != FusedKernels::all) return;
  const bool before_hopper = arch == "Ampere" || arch == "CDNA2";
  if (!before_hopper || is_newer(row, spec)) {
    stack.attention = AttentionFamily::flash;
    notes.emplace_back("attention is fused, as in Megatron-DeepSpeed since 2023");
  } else {
    notes.emplace_back("attention is unfused, as in Megatron-DeepSpeed before 2023");
  }
}

/// Chips that cuDNN's attention is the fastest for, of compute capability 9.0, 10.0 and 10.3.
bool prefers_vendor(const TrainingRow& row, const std::string& arch) {
  constexpr auto kArchs = std::to_array<std::string_view>(
      {"Hopper", "Grace-Hopper", "Blackwell", "Grace-Blackwell", "Blackwell Ultra"});
  static const std::regex card(R"(\brtx|geforce|\bgb ?10\b|dgx spark)", std::regex::icase);
  return std::ranges::count(kArchs, arch) > 0 && !std::regex_search(row.gpu, card);
}

/// PyTorch takes cuDNN's attention there by itself since 2.11 (sdp_utils.cpp, with the cuDNN that
/// 2.11 ships), torchtitan on Blackwell from the beginning (its pull request 1209).
bool torch_takes_vendor(const TrainingRow& row, const std::string& arch,
                        const SoftwareStack& stack) {
  if (stack.attention != AttentionFamily::flash || !prefers_vendor(row, arch)) return false;
  if (stack.name != "pytorch" && stack.name != "torchtitan") return false;
  if (stack.name == "torchtitan" && !arch.ends_with("Hopper")) return true;
  static const std::regex release(R"(\b(?:py)?torch[ =v]{0,3}2\.([0-9]+))", std::regex::icase);
  constexpr int kRelease = 11, kYear = 2026;
  for (const std::string* text : {&row.framework, &row.notes}) {
    std::smatch match;
    if (std::regex_search(*text, match, release)) return std::stoi(match[1]) >= kRelease;
  }
  return stated_date(row.notes).year >= kYear;
}

/// A stack's fused kernel on a device that has it, or what stands in for it.
void fit_to_device(const std::string& arch, SoftwareStack& stack, std::vector<std::string>& notes) {
  const FusedKernels kernels = kernels_of(arch);
  if (kernels == FusedKernels::all || stack.attention == AttentionFamily::unfused) return;
  const bool torch = stack.name == "pytorch" || stack.name == "torchtitan";
  const bool some = torch && kernels == FusedKernels::memory_efficient;
  stack.attention = some ? AttentionFamily::early : AttentionFamily::unfused;
  notes.push_back(
      some ? "attention is PyTorch's memory-efficient kernel, as " + arch + " has no FlashAttention"
           : "attention is unfused, as " + stack.name + " has no fused kernel for " + arch);
}

}  // namespace

void set_attention(const TrainingRow& row, const Claims& said, const std::string& arch,
                   const std::string& spec, SoftwareStack& stack, std::vector<std::string>& notes) {
  const auto noted = fused_attention(said);
  const std::optional<bool> fused = noted ? noted : fused_attention(Claims(row.framework));
  if (fused == true) {
    // Of these chips alone, as fast as cuDNN's.
    static const std::regex newest(
        R"(flash[ _-]?att(?:entio)?n[ _-]?(?:v ?)?[34]\b|\bfa-?[34]\b|\bcu-?dnn\b)",
        std::regex::icase);
    if (said.has(newest) && prefers_vendor(row, arch)) stack.attention = AttentionFamily::vendor;
    if (stack.attention == AttentionFamily::unfused) stack.attention = AttentionFamily::flash;
    const bool early = kernels_of(arch) != FusedKernels::all || early_kernel(said);
    if (early) stack.attention = AttentionFamily::early;
    return;
  }
  // PyTorch's generated kernels, of FlashAttention 2's speed, in place of the vendor's.
  static const std::regex flex(R"(\bflex[ _-]?att(entio)?n)", std::regex::icase);
  const bool flexible = said.has(flex) || Claims(row.framework).has(flex);
  if (flexible) stack.attention = AttentionFamily::flash;
  // Fused attention and products that overlap their collectives came to Megatron with Hopper;
  // models of the time after that were trained on older devices too.
  const bool old = kernels_of(arch) != FusedKernels::all;
  const bool megatron = stack.name == "megatron" && stack_of_framework(row.framework) != nullptr;
  if (stack.name == "megatron" && (old || (megatron && arch == "Ampere" && !is_newer(row, spec)))) {
    stack.attention = AttentionFamily::unfused;
    stack.overlaps_tensor = false;
    if (!old && !fused) notes.emplace_back("attention is unfused, as in Megatron before 2023");
  }
  const int year = stated_date(row.notes).year;
  if (stack.name == "megatron-deepspeed" && !fused) set_of_fork(row, arch, spec, stack, notes);
  if (fused == false) {
    stack.attention = AttentionFamily::unfused;
  } else if (stack.name == "pytorch" && is_before_torch_2(row)) {
    stack.attention = AttentionFamily::unfused;
    notes.emplace_back("attention is unfused, as in PyTorch before 2.0");
  }
  fit_to_device(arch, stack, notes);
  if (!flexible && torch_takes_vendor(row, arch, stack)) {
    stack.attention = AttentionFamily::vendor;
    notes.push_back("attention is cuDNN's, which " + stack.name + " takes on " + arch);
  }
  if (year > 0 && year < kFusedMegatron && stack.attention != AttentionFamily::unfused) {
    notes.push_back("attention is fused, as is " + stack.name + "'s way, though the notes name " +
                    std::to_string(year));
  }
}

}  // namespace parallel_opt
