#include "parallel_opt/cost/row_words.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/kept_products.h"
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

/// 1 of "zero1", "zerostage1", "stage1(os)".
std::optional<int> numbered(const std::string& text, const std::string& word) {
  const std::regex pattern(word + R"((?:stage|level|:)*([0-3])(?![0-9]))");
  std::smatch match;
  if (!std::regex_search(text, match, pattern)) return std::nullopt;
  return std::stoi(match[1]);
}

/// "12 of 48 layers", "1 of every 2", "12/48 blocks", "every other layer", "every 4th block": the
/// share of them. "Every 4 layers" may be one of four, or all of them with a checkpoint at each
/// fourth.
std::optional<double> share_of_layers(const std::string& text) {
  static const std::regex every(
      R"(every (?:(other|second)|([0-9]{1,4})(?:st|nd|rd|th)) (?:layer|block))", std::regex::icase);
  static const std::regex some(R"(([0-9]{1,6}) ?(?:/|(?:out )?of(?: every| the)?) ?([0-9]{1,6})\b)",
                               std::regex::icase);
  std::smatch match;
  if (std::regex_search(text, match, every)) {
    return match[1].matched ? 0.5 : 1 / std::max(1.0, std::stod(match[2]));
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

std::optional<RecomputeRule> rule_in_words(const std::string& text) {
  std::string words = closed_up(text);
  const auto on = switch_in_words(text);
  if ((on && !*on) || has_any(words, {"noac", "norecomp", "nocheckpoint", "noactivation"})) {
    return RecomputeRule::none;
  }
  const auto kept = kept_in_words(text);
  if (kept) {
    const bool made = kept->device.made() || kept->host.made();
    return made ? RecomputeRule::selective : RecomputeRule::full;
  }
  if (words.find("full") != std::string::npos || has_any(words, {"nothingsave", "savenothing"})) {
    return RecomputeRule::full;
  }
  if (has_any(words, {"everythingsave", "saveeverything"})) return RecomputeRule::none;
  // Of parts of a block, or of the operators that are cheap.
  static const std::regex mla(R"(\bmla)", std::regex::icase);  // not "num_layers"
  if (is_any(words, {"sel", "partial"}) ||
      has_any(words,
              {"selective", "sac", "attn", "attention", "norm", "moeact", "swiglu", "gelu"}) ||
      std::regex_search(text, mla)) {
    return RecomputeRule::selective;
  }
  if (on || is_any(words, {"ac", "all", "gc"}) ||
      has_any(words, {"checkpoint", "ckpt", "recomp", "remat", "uniform", "block", "everylayer",
                      "alllayers"})) {
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
  // Megatron's method of the first layers of every stage; which says nothing without their number.
  const bool of_stages = !found.share && has_any(words, {"block"}) && !has_any(words, {"uniform"});
  if (of_stages && !has_any(words, {"everyblock", "allblock", "perblock"})) {
    found.per_stage = has_any(words, {"every"}) ? std::nullopt : first_number(text);
    if (!found.per_stage) return std::nullopt;
  }
  // "first 10 layers", "full, all but 4", "full 12": which are left, nothing here reads.
  static const std::regex some_full(R"(\bfull[\s,:(]*[0-9])", std::regex::icase);
  const bool counts =
      !found.share && !found.per_stage && !has_any(words, {"uniform"}) && first_number(text) &&
      (has_any(words, {"layer", "allbut", "except"}) || std::regex_search(text, some_full));
  if (counts) return std::nullopt;
  const auto rule = rule_in_words(text);
  if (rule) found.rule = *rule;
  if (!rule && (found.share || found.per_stage)) found.rule = RecomputeRule::full;
  if (!rule && !found.share && !found.per_stage) return std::nullopt;
  return found;
}

std::string sharding_named(const std::string& framework) {
  static const std::regex words(R"(\b(ddp|hsdp|fsdp[12]?|zero[- ]?[0-3])\b)", std::regex::icase);
  std::smatch match;
  return std::regex_search(framework, match, words) ? match.str(1) : "";
}

std::optional<ShardingWords> sharding_in_words(const std::string& text) {
  const std::string words = closed_up(text);
  ShardingWords found;
  static const std::regex shared(R"(shard ([0-9]+))");
  std::smatch match;
  if (std::regex_search(text, match, shared)) {
    if (const auto degree = stated_number(match[1])) found.degree = int(std::min(*degree, 1e9));
  }
  found.in_a_node = has_any(words, {"hsdp", "hybrid", "mics"});
  auto stage = numbered(words, "zero");
  if (!stage) stage = numbered(words, "stage");
  if (!stage && words.size() == 1) stage = numbered(words, "");
  if (stage) {
    found.stage = *stage;
  } else if (has_any(words, {"shardgradop"})) {
    found.stage = 2;
  } else if (has_any(words, {"zero++", "zeroplusplus"})) {
    found.stage = 3;
  } else if (words.find("zero") != std::string::npos) {
    found.stage = 1;
    found.least = true;
  } else if (has_any(words, {"noshard", "distributeddata", "replicat"}) || is_any(words, {"ddp"}) ||
             !switch_in_words(text).value_or(true)) {
    found.stage = 0;
  } else if (has_any(words, {"fsdp", "hsdp", "fullshard", "fullyshard", "hybrid", "mics"}) ||
             switch_in_words(text).value_or(false)) {
    found.stage = 3;
  } else if (has_any(words, {"distributed", "distopt", "optim"})) {
    found.stage = 1;
  } else {
    return std::nullopt;
  }
  return found;
}

std::optional<bool> switch_in_words(const std::string& text) {
  const std::string words = closed_up(text);
  if (is_any(words, {"true", "yes", "y", "on", "1", "enabled", "sp"})) return true;
  if (is_any(words, {"false", "no", "n", "off", "0", "disabled", "none", ""})) return false;
  return std::nullopt;
}

std::optional<std::string> element_type_in_words(const std::string& text) {
  const std::string words = closed_up(text);
  if (has_any(words, {"fp4", "float4", "f4"})) return "fp4";
  if (has_any(words, {"fp8", "float8", "f8", "e4m3", "e5m2"})) return "fp8";
  if (has_any(words, {"int8"})) return "int8";
  if (has_any(words, {"16", "half", "amp", "mixed"})) return "bf16";
  if (words.find("tf32") != std::string::npos) return "tf32";
  if (has_any(words, {"fp32", "float32", "f32", "single"})) return "fp32";
  return std::nullopt;
}

}  // namespace parallel_opt
