#include "parallel_opt/cost/row_words.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <initializer_list>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/kept_products.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// Small letters without what separates the parts of a name: "Full Shard" is "full_shard".
std::string closed_up(const std::string& text) {
  std::string out = lower_case(text);
  std::erase_if(out, [](char c) { return c == ' ' || c == '-' || c == '_' || c == '='; });
  return out;
}

bool has_any(const std::string& text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(
      words, [&](std::string_view word) { return text.find(word) != std::string::npos; });
}

bool is_any(const std::string& text, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, std::string_view(text)) != words.end();
}

/// ZeRO-R's sign has a capital letter, as "pa" is part of many words.
const std::regex& shared_inputs() {
  static const std::regex words(
      R"((?:^|[^A-Za-z0-9_])P_?a(?:\s?\+\s?cpu)?(?![A-Za-z0-9])|[Pp]artition(?:ed|s|ing)?[ _-]activations?)"
      R"(|[Aa]ctivations?[ _-]partition(?:ing|ed)?|[Dd]istribute(?:d|s)?[ _-]saved[ _-]activations?|[Cc]heckpoint(?:s|ing|ed)?,? (?:are )?partitioned)");
  return words;
}

/// "12 of 48 layers", "1 of every 2", "12/48 blocks", "50 %", "every other layer", "every 4th
/// block": the share of them. "Every 4 layers" may be one of four, or all of them with a checkpoint
/// at each fourth.
std::optional<double> share_of_layers(const std::string& text) {
  static const std::regex every(
      R"(every (?:(other|second)|(third)|(fourth)|([0-9]{1,4})(?:st|nd|rd|th)) (?:layer|block))",
      std::regex::icase);
  static const std::regex half(
      R"(^\s*half( of (the|all|its))?( layers| blocks)?\s*$|\bhalf (of )?(the |all |its )?(layers|blocks)\b)",
      std::regex::icase);
  // Not "20 % slower", "+30 % time", "by 60 %", "2 of 3 runs".
  static const std::regex percent(
      R"((?:^ ?|([a-z]+) |[(,;:] ?)(100|[0-9]{1,2}(?:\.[0-9]{1,3})?) ?%)"
      R"((?=\s*(?:$|[),;]|(?:(?:of|the|all|its|transformer|decoder|encoder) )*(?:layers?|blocks?))))",
      std::regex::icase);
  static const std::regex of_cost("by|costs?|saves?|about|gains?|adds?", std::regex::icase);
  static const std::regex some(
      R"(([0-9]{1,6}) ?(?:/|(?:out )?of(?: every| the)?) ?([0-9]{1,6})\b)"
      R"((?! ?(?:runs?|steps?|experiments?|jobs?|gpus?|nodes?|devices?|seeds?|times|epochs?)))",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(text, match, every)) {
    if (match[4].matched) return 1 / std::max(1.0, std::stod(match[4]));
    return match[1].matched ? 1.0 / 2 : match[2].matched ? 1.0 / 3 : 1.0 / 4;
  }
  if (std::regex_search(text, half)) return 0.5;
  if (std::regex_search(text, match, percent) && !std::regex_match(match.str(1), of_cost)) {
    return std::stod(match[2]) / 100;
  }
  if (!std::regex_search(text, match, some)) return std::nullopt;
  const double count = std::stod(match[1]), all = std::stod(match[2]);
  return all > 0 && count <= all ? std::optional(count / all) : std::nullopt;
}

std::optional<double> first_number(const std::string& text) {
  static const std::regex number(R"([0-9]{1,6})");
  std::smatch match;
  return std::regex_search(text, match, number) ? std::optional(std::stod(match[0])) : std::nullopt;
}

/// Of parts that are named as such: "act" is none in "act ckpt".
RecomputeParts parts_in_words(const std::string& text) {
  static const std::regex mlp(
      R"((^|[^a-z])(mlps?|ffns?|feed[ _-]?forward|experts|moe)(?![a-z]|[ _-]?act))",
      std::regex::icase);
  static const std::regex activation(
      R"(moe[ _-]?act|swiglu|gelu|silu|act(ivation)?[ _-]?f(n|unc)|(^|[^a-z])act(?![a-z]|[ _-]?(ckpt|checkp|recomp)))",
      std::regex::icase);
  static const std::regex latent(R"(\bmla)", std::regex::icase);  // not "num_layers"
  return {.attention = mentions(text, "attn") || mentions(text, "attention"),
          .mlp = std::regex_search(text, mlp),
          .activations = std::regex_search(text, activation),
          .norms = mentions(text, "norm"),
          .latent = std::regex_search(text, latent)};
}

std::optional<RecomputeRule> rule_in_words(const std::string& cell) {
  static const std::regex again(R"(\bac\b|checkp|ckpt|recomp|remat)", std::regex::icase);
  static const std::regex selective(R"(selective|\bsac\b)", std::regex::icase);
  const Claims said(cell);
  const std::string& text = said.kept();
  const std::string words = closed_up(text);
  const auto on = switch_in_words(text);
  const bool not_of_all = has_any(closed_up(cell), {"notrecomp", "notcheckp"});
  const bool off =
      switch_in_words(cell) == false || said.none() || is_any(closed_up(cell), {"without", "w/o"});
  const bool shares = said.has(shared_inputs());  // of blocks that are computed again
  if (off || (said.says(again) == false && !not_of_all)) return RecomputeRule::none;
  const auto kept = kept_in_words(text);
  if (kept) {
    const bool made = kept->device.made() || kept->host.made();
    return made ? RecomputeRule::selective : RecomputeRule::full;
  }
  // Megatron's switch, which says "selective" in other words; in plain ones it is of whole blocks.
  static const std::regex megatrons(R"(\brecompute[-_]activations\b)", std::regex::icase);
  const bool granular = has_any(words, {"full", "uniform", "block"});
  if (!granular && std::regex_search(text, megatrons)) return RecomputeRule::selective;
  if (words.find("full") != std::string::npos || has_any(words, {"nothingsave", "savenothing"})) {
    return RecomputeRule::full;
  }
  if (has_any(words, {"everythingsave", "saveeverything"})) return RecomputeRule::none;
  if (not_of_all) return std::nullopt;  // what then is?
  const RecomputeParts parts = parts_in_words(text);
  if (is_any(words, {"sel", "sel.", "partial"}) || std::regex_search(text, selective) ||
      parts.any() || parts.attention) {
    return RecomputeRule::selective;
  }
  if (on || shares || std::regex_search(text, again) ||
      is_any(words, {"ac", "acon", "ac:on", "all", "gc", "activation", "activations"}) ||
      has_any(words, {"checkpoint", "reentrant", "uniform", "block", "everylayer", "alllayers"})) {
    return RecomputeRule::full;
  }
  if (has_any(words, {"offload"})) return RecomputeRule::none;  // activations, and nothing else
  return std::nullopt;
}

}  // namespace

std::optional<RecomputeWords> recompute_in_words(const std::string& text) {
  RecomputeWords found;
  const std::string words = closed_up(text);
  found.share = share_of_layers(text);
  static const std::regex per_stage(
      R"(([0-9]{1,6}) (?:layers?|blocks?) (?:per|of (?:a|each)) (?:pipeline )?stage)",
      std::regex::icase);
  static const std::regex all_but(
      R"(\b(?:all (?:layers )?but|except)(?: the)?(?: last| first)? ([0-9]{1,6}))",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(text, match, per_stage)) found.per_stage = std::stod(match[1]);
  if (std::regex_search(text, match, all_but)) found.spared = std::stod(match[1]);
  // "Full except the last stage": of how many layers, nobody says.
  static const std::regex but(R"(\b(all but|except|but not)\b)", std::regex::icase);
  if (!found.spared && !found.share && std::regex_search(text, but)) return std::nullopt;
  // torchtitan's selective_ac_option = "2": every second block, whole.
  static const std::regex option(R"(\s*(?:selective|sac)(?: ac)?[ :=(]{1,2}([2-9])\)?\s*)",
                                 std::regex::icase);
  if (std::regex_match(text, match, option)) {
    return RecomputeWords{.rule = RecomputeRule::full, .share = 1 / std::stod(match[1])};
  }
  // Megatron's method of the first layers of every stage; which says nothing without their number.
  const bool of_stages = !found.share && !found.per_stage && !found.spared &&
                         has_any(words, {"block"}) && !has_any(words, {"uniform"});
  if (of_stages && !has_any(words, {"everyblock", "allblock", "perblock"})) {
    found.per_stage = has_any(words, {"every"}) ? std::nullopt : first_number(text);
    if (!found.per_stage) return std::nullopt;
  }
  // "first 10 layers", "full, all but 4", "full 12": which are left, nothing here reads.
  static const std::regex some_full(R"(\bfull[\s,:(]*[0-9])", std::regex::icase);
  const bool counts =
      !found.share && !found.per_stage && !found.spared && !has_any(words, {"uniform"}) &&
      first_number(text) &&
      (has_any(words, {"layer", "allbut", "except"}) || std::regex_search(text, some_full));
  if (counts) return std::nullopt;
  const auto rule = rule_in_words(text);
  const bool counted = found.share || found.per_stage || found.spared;
  if (!rule && !counted) return std::nullopt;
  found.rule = rule.value_or(RecomputeRule::full);
  const RecomputeParts parts = parts_in_words(Claims(text).kept());
  const bool named = found.rule == RecomputeRule::selective && parts.any() && !kept_in_words(text);
  if (named) found.parts = parts;
  return found;
}

bool splits_kept_in_words(const std::string& text) { return Claims(text).has(shared_inputs()); }

bool splits_kept_on_host(const std::string& text) {
  static const std::regex words(
      R"((?:^|[^A-Za-z0-9_])P_?a\s?\+\s?cpu\b|\b[Cc][Pp][Uu][ _-]?checkpointing\b)");
  return Claims(text).has(words);
}

std::optional<RecomputeWords> recompute_in_notes(const std::string& notes) {
  static const std::regex named(
      R"((?:^|[^a-z])((?:(?:selective|full)[ -])?(?:gradient|grad|activation|act)s?[ _-](?:checkpoint(?:ing|ed)?|ckpt|recomput(?:e|ed|ation|ing)))"
      R"(|(?:full|selective)[ -](?:recomput(?:e|ation|ing)|remat|ac)|ac ?[=:] ?(?:full|selective|none|on|off)|ac (?:on|off)(?! (?:the|a|each|every|all|[0-9]))|(?:with|without|no|us(?:e|es|ed|ing)) (?:selective |full )?ac\b(?! power)|(?:with|no|without|w/o) recompute)"
      R"(|recompute(?:[ =:]+(?:full|selective|none|all|yes|no|on|off|true|false|[0-9]{1,4} (?:layers|blocks))|[_-]activations|[ _-]granularity[ =:]+(?:full|selective)))"
      R"(|checkpoint[_-]activations|remat(?:erialization)?)(?![a-z]))",
      std::regex::icase);
  // "Recomputation not used" says which; "with recomputation" does not.
  static const std::regex bare(R"((?:^|[^a-z])recomput(?:e|ation|ing)(?![a-z]))",
                               std::regex::icase);
  static const std::regex of_some(R"(\b(?:extra|additional|further|other|more|such)\b)",
                                  std::regex::icase);
  // "X costs time, so it was left out" is one part.
  static const std::regex mark(R"([;.]|,(?! (?:so|hence|thus|therefore|and) (?:it|we) ))");
  static const std::regex last(R"(\s*(\(.*)?)");
  static const std::regex unknown(R"(default)", std::regex::icase);
  // "Selective recompute (core_attn, mlp)": a list of parts is one.
  static const std::regex listed(
      R"(, ?(?=(?:core[_ ]attn|mlp|layernorm|moe_act|mla_up_proj|moe|shared_experts)\b))",
      std::regex::icase);
  const std::string text = std::regex_replace(notes, listed, " and ");
  for (std::sregex_token_iterator it(text.begin(), text.end(), mark, -1), end; it != end; ++it) {
    const std::string part = *it;
    std::smatch match;
    const bool by_name = std::regex_search(part, match, named);
    const RecomputeParts parts = parts_in_words(part);
    const bool whole = !parts.any() && !parts.attention && !std::regex_search(part, of_some);
    if (!by_name && !(whole && std::regex_search(part, match, bare))) continue;
    const std::regex& words = by_name ? named : bare;
    // "Without gradient checkpointing it is slower" is said of another run.
    const Claims ahead(part.substr(0, part.size() - std::size_t(match.suffix().length())));
    const bool plainly = ahead.says(words) == false && std::regex_match(match.suffix().str(), last);
    const Claims said(part);
    if (plainly || (ahead.has(words) && said.says(words) == false)) return RecomputeWords{};
    if (said.has(named) && !std::regex_search(part, unknown)) {
      // What the rest says may be of something else.
      const auto rest = recompute_in_words(part);
      return rest ? rest : recompute_in_words(match.str(1));
    }
  }
  return std::nullopt;
}

std::string without_split_kept(const std::string& text) {
  return std::regex_replace(text, shared_inputs(), "");
}

std::optional<bool> switch_in_words(const std::string& text) {
  const std::string words = closed_up(text);
  // Tables that tick have a cross where nothing is.
  if (is_any(words, {"true", "yes", "y", "on", "1", "enabled", "sp", "megatronsp", "megatron",
                     "\xe2\x9c\x93", "\xe2\x9c\x94", "\xe2\x9c\x85", "\xe2\x98\x91"})) {
    return true;
  }
  if (is_any(words, {"false", "no", "n", "off", "0", "disabled", "none", "", "x", "\xc3\x97",
                     "\xe2\x9c\x97", "\xe2\x9c\x98", "\xe2\x9c\x95", "\xe2\x9d\x8c"})) {
    return false;
  }
  return std::nullopt;
}

namespace {

/// "8-bit paged AdamW", "PagedAdamW8bit", "AdamW (bitsandbytes, 8 bit)", "8-bit optimizer states":
/// both moments. "AdamW, 8-bit gathers" is of something else.
bool moments_in_8_bits(const Claims& notes) {
  static const std::regex words(
      R"(\b(8|eight)[ _-]?bits?[ _-]((paged|fused|quantized|bitsandbytes|bnb|torchao)[ _-]?)*(adam|optim))"
      R"(|adam\w*(\W{1,2}(paged|fused|quantized|bitsandbytes|bnb|torchao|states|moments|with|in|at|of))*\W{0,2}(8|eight)[ _-]?bit)"
      R"((?!s?[ _-]?(weight|grad|gather|comm|all|product|matmul|gemm|linear|attention|activation|train|model)))"
      R"(|(optimi[sz]er( states?)?|adam states?|moments)( are)?( kept)?[ :=]+(in )?(8|eight)[ _-]?bit)",
      std::regex::icase);
  return notes.has(words);
}

}  // namespace

std::optional<double> optimizer_states_in_words(const std::string& text, double usual_bytes) {
  const Claims notes(text);
  struct Named {
    const char* words;
    double states;
  };
  if (skips_optimizer(text)) return 0;
  if (moments_in_8_bits(notes)) return 2 / usual_bytes;
  // Torch's own forms; Adafactor's row and column sums are next to nothing.
  static constexpr auto kNamed = std::to_array<Named>(
      {{R"(adafactor)", 0},
       {R"(sgd[ ,]+(with )?momentum|momentum sgd)", 1},
       {R"(\bsgd\b)", 0},
       {R"((^|[;,(+] ?|with |using |optimi[sz]er[ :=]*)(lion|muon)\b(?! (cluster|system|super|node|partition)))"
        R"(|\b(lion|muon) optimi[sz]er)",
        1}});
  for (const Named& one : kNamed) {
    if (notes.has(std::regex(one.words, std::regex::icase))) return one.states;
  }
  static const std::regex half(
      R"((bf16|bfloat16|fp16|16[ -]bit) ((optimizer|adam) )?(states|moments)|((optimizer|adam) states|moments)( are)?( kept)?[ :=]+(in )?(bf16|bfloat16|fp16|16[ -]bits?))",
      std::regex::icase);
  static const std::regex whole(
      R"((fp32|float32|32[ -]bit) ((optimizer|adam) )?(states|moments)|((optimizer|adam) states|moments)( are)?( kept)?[ :=]+(in )?(fp32|float32|32 bits))",
      std::regex::icase);
  if (notes.has(half)) return 4 / usual_bytes;
  if (notes.has(whole)) return 8 / usual_bytes;
  // Megatron's precision-aware optimizer: each of two moments has a type, fp32 unless it is named
  // (core/optimizer/optimizer_config.py: exp_avg_dtype, exp_avg_sq_dtype).
  static const std::regex first(R"(exp[_-]avg([_-]dtype)?\b[^;,.]{0,25}(bf16|bfloat16|fp16))",
                                std::regex::icase);
  static const std::regex second(
      R"(exp[_-]avg[_-]sq([_-]dtype)?\b[^;,.]{0,10}(bf16|bfloat16|fp16))", std::regex::icase);
  const double narrow = (notes.has(first) ? 0.5 : 0) + (notes.has(second) ? 0.5 : 0);
  return narrow > 0 ? std::optional(4 * (2 - narrow) / usual_bytes) : std::nullopt;
}

bool skips_optimizer(const std::string& text) {
  static const std::regex step(
      R"(\boptimi[sz]er[ _-](states?|steps?|updates?)\b(?! (offload|shard|partition)))",
      std::regex::icase);
  static const std::regex passes(
      R"(\b(forward|fwd)( pass)?( ?[,+/&]| and)( (the )?(loss|cross[ -]entropy)( and|,))? ?(backward|bwd)( pass(es)?)? (only|alone)\b)",
      std::regex::icase);
  const Claims notes(text);
  return notes.says(step) == false || notes.has(passes);
}

bool pages_states(const std::string& notes) {
  static const std::regex words(
      R"(\bpaged[ _-]?((8|eight)[ _-]?bit[ _-]?)?(adam|lion|optim)|(adam|lion|optim)\w*[^;.]{0,12}\bpaged\b)",
      std::regex::icase);
  return Claims(notes).has(words);
}

bool steps_in_backward(const std::string& notes) {
  static const std::regex words(
      R"(optimi[sz]er([ _-]step)?([ _-]fused)?[ _-]in(to)?[ _-](the )?(bwd|backward)\b)",
      std::regex::icase);
  return Claims(notes).has(words);
}

std::vector<std::string> unread_words(const std::string& text) {
  // Kinds of attention and models; what is not as full or as free as is modelled; optimizers and
  // weights of other sizes; kernels.
  static constexpr auto kUnread = std::to_array<const char*>(
      {"sliding window", "local attention", "sparse attention", "multi-token prediction",
       "mixture of depths", "oversubscri", "average sequence length", "frozen", "window size",
       "(sequence |sample )?packing|packed (sequences|samples)", "GaLore",
       "gradient compression|PowerSGD|1-bit (Adam|LAMB)", "bits ?and ?bytes", "unsloth",
       "gradient[ _-]accumulation[ _-]fusion|fus(ion of|ed) gradient accumulation",
       "max-autotune|reduce-overhead"});
  static const std::vector<std::regex> patterns = [] {
    std::vector<std::regex> made;
    for (const char* words : kUnread) {
      made.emplace_back("(?:^|[^a-z])(" + std::string(words) + ")", std::regex::icase);
    }
    return made;
  }();
  const Claims notes(text);
  const bool reads_bits = optimizer_states_in_words(text).has_value();
  std::vector<std::string> found;
  for (const std::regex& words : patterns) {
    std::smatch match;
    if (!std::regex_search(notes.kept(), match, words)) continue;
    const std::string said = match.str(1);
    // The library of 8-bit Adam.
    if (!(reads_bits && lower_case(said).starts_with("bits"))) found.push_back(said);
  }
  return found;
}

std::string context_in_notes(const std::string& text) {
  static const std::regex ways(R"((?:^|[^a-z])(ring[ -]?(?:flash[ -]?)?attention|ulysses))",
                               std::regex::icase);
  const Claims notes(text);
  std::smatch match;
  return std::regex_search(notes.kept(), match, ways) ? match.str(1) : "";
}

bool pure_half_in_words(const std::string& text) {
  static const std::regex pure(
      R"(\bpure[ _-]?(16|half)|\b(purely|pure|fully|full|truly|true)[ _-]?(in )?(bf16|bfloat16|fp16)\b(?! (peak|flops|rate|fine|sft|param|grad)))"
      R"(|\b(bf16|bfloat16|fp16|16)([ -]true\b| ?\((true|full|pure)\))|\b(every|all)(thing)? (in )?(bf16|bfloat16|fp16)\b(?! rows| runs))"
      R"(|\b(weights|parameters|params|model)( and|,| \+) (the )?(adam\w* |optimi[sz]er )?(states|moments|optimi[sz]er)( are)?( kept)?( all)? in (bf16|bfloat16|fp16|16 bits))"
      R"(|\b(bf16|bfloat16|fp16) (weights|parameters|params)( and|,| \+) (the )?(adam\w* |optimi[sz]er )?(states|moments|optimi[sz]er)\b)"
      R"(|\.to\((torch\.)?(bf16|bfloat16|float16)\)|\btorch_dtype ?[=:] ?"?(torch\.)?(bfloat16|float16))"
      R"(|\btraining[ ._]dtype\W{1,3}(bf16|bfloat16|float16))",
      std::regex::icase);
  static const std::regex casts(R"(\bautocast|\bmixed[ -]precision)", std::regex::icase);
  const Claims said(text);
  if (said.has(casts)) return false;
  return said.has(pure) || said.says(casts) == false;
}

std::optional<std::string> element_type_in_words(const std::string& text) {
  // What travels or is kept in 8 bits is multiplied in the type named beside it.
  static const std::regex moved(
      R"((fp8|float8|int8)[ _-]((all[ _-]?)?gathers?|reduce[ _-]?scatters?|all[ _-]?reduces?|all[ _-]?to[ _-]?all|comms?|communications?|collectives|dispatch|optimi[sz]er( states?)?)\b)",
      std::regex::icase);
  const Claims said(text);
  const std::string multiplied = std::regex_replace(said.kept(), moved, "");
  if (multiplied != text) {
    if (auto type = element_type_in_words(multiplied)) return type;
  }
  // "fp8=False" alone leaves 16 bits, as a blank does.
  static const std::regex narrow(R"((?:fp|float)[48]|int8|e4m3|e5m2)", std::regex::icase);
  if (said.says(narrow) == false) return "bf16";
  const std::string words = closed_up(text);
  if (has_any(words, {"fp4", "float4", "f4"})) return "fp4";
  if (has_any(words, {"fp8", "float8", "f8", "e4m3", "e5m2"})) return "fp8";
  if (has_any(words, {"int8"})) return "int8";
  // Apex's levels of fp16.
  if (has_any(words, {"16", "half", "amp", "mixed"}) || is_any(words, {"o1", "o2"})) return "bf16";
  if (words.find("tf32") != std::string::npos) return "tf32";
  if (has_any(words, {"fp32", "float32", "f32", "single", "32true"}) ||
      is_any(words, {"float", "32"})) {
    return "fp32";
  }
  return std::nullopt;
}

}  // namespace parallel_opt
