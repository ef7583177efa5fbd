#include "parallel_opt/cost/row_sharding.h"

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <vector>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

/// How exactly a word says what is shared: a stage counts more than the name of a way, which
/// counts more than "DDP" beside it.
enum class Exactness { vague, replicas, optimizer, zero, sharded, stage };

/// Where a word may stand.
enum class Place { anywhere, cell };

constexpr int kNumbered = -1;  ///< the stage is the number behind

struct ShardingTerm {
  const char* words;
  int stage;
  Exactness exactness;
  Place place = Place::anywhere;
  bool hybrid = false;
  bool of_fsdp = false;  ///< one of its strategies
};

/// The Turing-NLG blog's and DeepSpeed's signs (P_os+g+p), Megatron-FSDP's strategies, PyTorch's
/// (torch/distributed/fsdp/api.py), FairScale's, Paddle's levels, torchtitan's degrees.
constexpr auto kShardingTerms = std::to_array<ShardingTerm>({
    {R"((?:zero|deepspeed|sharding)(?:[ _-]?(?:dp|optimi[sz]ation|(?:redundancy )?optimi[sz]er))?[ _:=.,"'({-]{0,5}(?:stage|level)[ _:="'-]{0,4}(?:is )?([0-3]))",
     kNumbered, Exactness::stage},
    {R"(zero(?:[ _-]?dp)?[ _:="'-]{0,3}([0-3]))", kNumbered, Exactness::stage},
    {R"(stage[ _-]?([0-3]) (?:of )?(?:deepspeed )?zero)", kNumbered, Exactness::stage},
    {R"(stage[ _:=-]{0,3}([0-3]))", kNumbered, Exactness::stage, Place::cell},
    {R"((?:(?:zero[ -](?:dp[ -])?)?p?_?\{?os\+g\+p|p_g_os|optim_grads_params))", 3,
     Exactness::stage},
    {R"((?:(?:zero[ -](?:dp[ -])?)?p?_?\{?os\+g|os_g|optim_grads)(?!\+|_))", 2, Exactness::stage},
    {R"((?:zero[ -](?:dp[ -])?p?_?\{?oss?|p_\{?os)(?![+_]))", 1, Exactness::stage},
    {R"(p?_?oss?(?![+_]))", 1, Exactness::stage, Place::cell},
    {R"(shard[ _-]?grad[ _-]?op)", 2, Exactness::stage, Place::anywhere, false, true},
    {R"(_?hybrid[ _-]?shard[ _-]?zero[ _-]?2)", 2, Exactness::stage, Place::anywhere, true, true},
    {R"(no[_-]shard)", 0, Exactness::stage, Place::anywhere, false, true},
    {R"(sharded[ _-]?ddp)", 2, Exactness::stage},
    {R"(hsdp|_?hybrid[ _-]?(?:shard(?:ing|ed)?|fsdp2?)|sharding[ _]strategy[ :=]{1,3}hybrid)", 3,
     Exactness::sharded, Place::anywhere, true, true},
    {R"(mics)", 3, Exactness::sharded, Place::anywhere, true},
    {R"(hybrid)", 3, Exactness::sharded, Place::cell, true},
    {R"((?:dp|data[ _-]parallel)[ _-]replicate(?:[ _-](?:degree|size))?[ =:]{1,3}(?:[1-9][0-9]{1,5}|[2-9])(?![0-9]))",
     3, Exactness::sharded, Place::anywhere, true, true},
    {R"((?:dp|data[ _-]parallel)[ _-]shard(?:[ _-](?:degree|size))?[ =:]{1,3}[1-9][0-9]{0,5}(?![0-9]))",
     3, Exactness::sharded, Place::anywhere, false, true},
    {R"(fsdp(?: ?v?[12])?)", 3, Exactness::sharded},
    {R"(full(?:y)?[ _-]?shard(?:ed|ing)?)", 3, Exactness::sharded},
    {R"(zero ?\+\+|zero[ _-]?plus[ _-]?plus|zero[ _-]?infinity)", 3, Exactness::sharded},
    {R"(gemini)", 3, Exactness::sharded, Place::cell},
    {R"(zero(?![ _-]?bubble))", 1, Exactness::zero},
    {R"((?:use[ _-])?dist(?:ributed)?[ _-]opt(?:im(?:izer)?)?)", 1, Exactness::optimizer},
    {R"(optim\w*)", 1, Exactness::optimizer, Place::cell},
    {R"(ddp|distributed[ _-]?data[ _-]?parallel)", 0, Exactness::replicas},
    {R"(replicat\w*)", 0, Exactness::replicas, Place::cell},
    {R"(distributed)", 1, Exactness::vague, Place::cell},
});

/// Neither a part of another name ("fms-fsdp", "ici_fsdp") nor of a word behind.
constexpr const char* kAhead =
    R"((?:^|[^a-z0-9_-]|(?:^|[^a-z0-9_])-{1,2}|\b(?:megatron|pytorch|torch|deepspeed|fsdp[12]?|[tpce]p|use|strategy)[_-]))";
constexpr const char* kBehind = "(?![a-z])";
/// "ZeRO 2 nodes" has no stage.
constexpr const char* kBehindStage =
    R"((?![0-9]|[.,][0-9]| ?%|[ -]?(?:gpus?|nodes?|ranks|replicas|devices|way|bits?)\b))";

/// What a text names, the most exact of it.
struct TermsFound {
  Exactness exactness = Exactness::vague;
  std::optional<int> stage;
  bool disagrees = false;  ///< with itself
  bool hybrid = false, of_fsdp = false, replicas = false, zero = false;
  std::map<std::ptrdiff_t, std::string> words;  ///< by where they stand
};

void add_term(const ShardingTerm& term, int stage, TermsFound& found) {
  found.hybrid |= term.hybrid;
  found.of_fsdp |= term.of_fsdp;
  found.replicas |= term.exactness == Exactness::replicas;
  found.zero |= term.exactness == Exactness::zero;
  if (!found.stage || term.exactness > found.exactness) {
    found.exactness = term.exactness;
    found.stage = stage;
    found.disagrees = false;
  } else if (term.exactness == found.exactness && *found.stage != stage) {
    found.disagrees = true;
  }
}

std::optional<int> sharers_in(const std::string& text);

/// Of a text of claims. "FSDP 16 ranks" of notes has a number that may be of anything.
TermsFound terms_in(const std::string& text, Place place) {
  static const std::vector<std::regex> patterns = [] {
    std::vector<std::regex> made;
    for (const ShardingTerm& term : kShardingTerms) {
      const char* behind = term.stage == kNumbered ? kBehindStage : "";
      made.emplace_back(std::string(kAhead) + "((?:" + term.words + "))" + kBehind + behind,
                        std::regex::icase);
    }
    return made;
  }();
  static const std::regex number(R"((?:_[a-z]| ?[=:]? ?[0-9]))", std::regex::icase);
  TermsFound found;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    const ShardingTerm& term = kShardingTerms[i];
    if (term.place == Place::cell && place != Place::cell) continue;
    for (std::sregex_iterator it(text.begin(), text.end(), patterns[i]), end; it != end; ++it) {
      const std::smatch& match = *it;
      const bool named = term.exactness < Exactness::stage && !term.hybrid && place != Place::cell;
      if (named &&
          std::regex_search(match.suffix().first, match.suffix().second, number,
                            std::regex_constants::match_continuous) &&
          !sharers_in(text)) {
        continue;
      }
      add_term(term, term.stage == kNumbered ? std::stoi(match[2]) : term.stage, found);
      if (term.exactness == Exactness::zero && place != Place::cell) continue;
      found.words.emplace(match.position(1), lower_case(match.str(1)));
    }
  }
  return found;
}

/// Names of what shares copies of a model's states.
constexpr const char* kSharing =
    R"((?:hsdp|fsdp[12]?|mics|hybrid[ _-]?shard(?:ing|ed)?|full(?:y)?[ _-]?shard(?:ed|ing)?(?: data[ -]parallel(?:ism)?)?|sharded data[ -]parallel(?:ism)?|sharding[ _-]?stage[ _:=-]{0,3}[1-3]|shard[ _-]?grad[ _-]?op)"
    R"(|zero(?:[ -]?dp)?(?:[ _-]?(?:stage[ _:=-]{0,3})?[1-3](?![0-9]))?|dist(?:ributed)?[ _-]optim(?:izer)?))";
constexpr const char* kCount = R"(([1-9][0-9]{0,5})(?![0-9]|\.[0-9]|%))";
constexpr const char* kRanks =
    R"((?:gpus?|gcds?|ranks|devices|workers|chips|cores|tpus?|accelerators))";
constexpr const char* kNodes = R"((?:nodes?|machines?|hosts?|servers?))";
/// What else is counted.
constexpr const char* kNoRanks =
    R"((?! ?(?:x\b|x ?[0-9]|[kmg]i?b\b|replicas?|cop(?:y|ies)|groups?|nodes?|machines?|hosts?|servers?|pods?|slices?|islands?|racks?|layers?|blocks?|steps?|iterations?|epochs?|runs?|seconds?|minutes?|hours?|days?|tokens?|samples?|[kmb]\b|million|billion)))";

/// The number of the first pattern that a text has.
std::optional<int> first_count(const std::string& text, const std::vector<std::regex>& patterns) {
  for (const std::regex& pattern : patterns) {
    std::smatch match;
    if (!std::regex_search(text, match, pattern)) continue;
    for (std::size_t i = 1; i < match.size(); ++i) {
      if (match[i].matched) return std::stoi(match[i]);
    }
  }
  return std::nullopt;
}

std::vector<std::regex> compiled(std::initializer_list<std::string> patterns) {
  std::vector<std::regex> made;
  for (const std::string& one : patterns) made.emplace_back(one, std::regex::icase);
  return made;
}

/// "FSDP over 2", "ZeRO-3 with 64 ranks", "in groups of 8", "HSDP 64", "64-way FSDP", "FSDP group
/// size 8", "zero1(shard 4)", "dp_shard=8".
std::optional<int> sharers_in(const std::string& text) {
  static const std::string name = std::string(R"((?:^|[^a-z0-9_]))") + kSharing;
  static const std::string sharing = std::string("(?:") + kSharing + "|shard(?:ing|ed)\\b)";
  static const std::string count = kCount, alone = count + kNoRanks;
  // "FSDP2" alone is the second of its name.
  static const std::vector<std::regex> patterns = compiled(
      {R"(\b(?:dp|data[ _-]parallel|mics)[ _-]shard(?:[ _-](?:degree|size))?[ =:]{1,3})" + alone,
       R"(\bfsdp(?:[ =:]+([0-9]{1,6})|([3-9]|[1-9][0-9]{1,5}))[ ,;x*]+d?dp[ =:]*[0-9])",
       R"(\bd?dp[ =:]*[0-9]+[ ,;x*]+fsdp(?:[ =:]+([0-9]{1,6})|([1-9][0-9]{1,5}|[3-9])\b))",
       R"(\bfsdp ?[=:] ?([1-9][0-9]{1,5}|[2-9])\b)",
       R"(\bshard(?:ing)?[ _-](?:parallel[ _-])?(?:degree|(?:group[ _-])?size)[ :=]{1,3}(?:of )?)" +
           alone,
       name +
           R"([ ,:(]{0,3}(?:(?:with|in|of|a) )*(?:(?:shard(?:ing)?|process|partition)[ _-])?(?:degree|groups?(?:[ _-]sizes?)?|size)(?: of|[ :=]{1,3}) ?)" +
           alone,
       R"(\bfsdp[ _-](?:parallel(?:ism)?[ _-])?(?:size|degree|dim)[ :=]{1,3})" + alone,
       name +
           R"([ ,:=(]{0,3}(?:(?:dict)?\(?size[ =:]{1,3}|(?:with )?shards?(?: of|[ =:]{1,3}) ?))" +
           alone,
       name +
           R"([ ,:(]{0,3}(?:sharded )?(?:over|across|among|within|in groups of|groups of) (?:all |groups of )?)" +
           alone,
       name + R"([ ,:(]{0,3}(?:with|of|on) )" + count + "[ -]" + kRanks + R"(\b)",
       R"(\bsharded (?:over|across|among) )" + count + R"(\b[^;.]{0,12}\breplicated\b)",
       name + R"([ ,:(]{0,3})" + count +
           R"([ -]ways?\b(?! (?:[tpced]p|tensor|pipeline|context|sequence|expert|data|model)\b))",
       R"((?:^|[^a-z0-9_.])([1-9][0-9]{0,5})[ -]way )" + sharing + "(?! of)",
       R"(\b(?:hsdp|hybrid[ _-]?shard(?:ing|ed)?)[ ,:=(]{0,3})" + alone,
       R"(\bfsdp ?([1-9][0-9]{1,5}|[3-9])\b(?=\s*(?:$|[;,)(x*])))"});
  return first_count(text, patterns);
}

/// "FSDP over 2 nodes".
std::optional<int> nodes_in(const std::string& text) {
  static const std::vector<std::regex> patterns =
      compiled({std::string(R"((?:^|[^a-z0-9_]))") + kSharing +
                R"([ ,:(]{0,3}(?:sharded )?(?:over|across|among|within|in groups of|groups of) )" +
                kCount + "[ -]" + kNodes + R"(\b)"});
  return first_count(text, patterns);
}

/// "FSDP within a node", "intra-node".
const std::regex& inside_a_node() {
  static const std::regex words(
      R"(\b(within|inside|in) ((a|an|each|the|one|every) )?(node|host|machine|server)\b|\bintra-?node\b)",
      std::regex::icase);
  return words;
}

/// Weights that stay after a forward are SHARD_GRAD_OP, in FSDP2's words; those deny what the name
/// says.
std::string in_names_of_strategies(const std::string& text) {
  static const std::regex keeps(
      R"((?:(?:no|without|w/o|not|never|don't|doesn't) (?:us(?:e|ing) )?reshard(?:s|ed|ing)?[ _-]after[ _-](?:the )?forward|)"
      R"(reshard(?:s|ed|ing)?[ _-]after[ _-]forward(?:[ _-]policy)?['"]?[ :=(]{1,3}['"]?(?:is |was |set to )?(?:false|off|never|no|0|none|disabled)\b['"]?))",
      std::regex::icase);
  // Accelerate's and torch's numbers of them.
  static const std::regex numbered(R"(sharding[ _]strategy[ :=]{1,3}([1-5])(?![0-9.]))",
                                   std::regex::icase);
  static constexpr auto kStrategies = std::to_array<const char*>(
      {"FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2"});
  std::string named = std::regex_replace(text, keeps, "SHARD_GRAD_OP");
  std::smatch match;
  if (!std::regex_search(named, match, numbered)) return named;
  return match.prefix().str() + kStrategies[std::size_t(match.str(1)[0] - '1')] +
         match.suffix().str();
}

/// Notes without names of files, and without clauses of which run they speak nobody knows.
std::string of_one_way(const std::string& notes) {
  static const std::regex files(R"(\S+\.(?:md|py|sh|toml|ya?ml|json|ipynb|log|txt|csv|html)\b\S*)",
                                std::regex::icase);
  static const std::regex several(
      R"(\b(?:compar(?:e|es|ing|ison|isons|ed(?! (?:with|to)\b))|both|either|respectively|or)\b)",
      std::regex::icase);
  return without_clauses(in_names_of_strategies(std::regex_replace(notes, files, " ")), several);
}

/// The words of a text as a cell has them; empty: they do not say one thing.
std::string joined_words(const TermsFound& found, const std::string& text) {
  static const std::string name = std::string(R"((?:^|[^a-z0-9_]))") + kSharing + "[ ,:(]{0,3}";
  static const std::regex near(
      name + R"((?:within|inside|in|intra)\b[^;,.]{0,6}(?:node|host|machine|server)\b)",
      std::regex::icase);
  const bool node = std::regex_search(text, near);
  const auto nodes = nodes_in(text);
  const bool says = found.stage && found.exactness > Exactness::vague && !found.disagrees;
  if (!says || found.exactness == Exactness::zero) return "";
  // "FSDP", and "DDP" of another run; or copies of shards, which are counted.
  const bool copies = node || nodes || found.hybrid || sharers_in(text);
  if (found.exactness == Exactness::sharded && found.replicas && !copies) return "";
  if (found.exactness == Exactness::replicas && found.zero) return "";
  std::vector<std::string> words;
  for (const auto& [at, word] : found.words) {
    if (std::ranges::count(words, word) == 0) words.push_back(word);
  }
  if (nodes) words.push_back("sharded over " + std::to_string(*nodes) + " nodes");
  if (node) words.push_back("within a node");
  return join(words, ", ");
}

/// Of a cell that is a number, a sign or a switch.
std::optional<int> stage_of_short_cell(const std::string& text) {
  static const std::regex alone(R"(^\s*z?-?([0-3])\s*(?:$|[(,;]))", std::regex::icase);
  std::smatch match;
  if (std::regex_search(text, match, alone)) return std::stoi(match[1]);
  return std::nullopt;
}

}  // namespace

std::optional<int> shards_in_notes(const std::string& notes) {
  return sharers_in(Claims(of_one_way(notes)).kept());
}

std::optional<int> copies_in_words(const std::string& text) {
  static const std::vector<std::regex> patterns =
      compiled({R"(\b([1-9][0-9]{0,4}) (?:replicas|copies)\b)",
                R"(\breplica(?:s|te(?:[ _-](?:degree|size))?)[ :=]{1,3}([1-9][0-9]{0,4})\b)",
                R"(_replicate(?:[ _-](?:degree|size))?[ :=]{1,3}([1-9][0-9]{0,4})\b)"});
  return first_count(text, patterns);
}

std::string sharding_named(const std::string& framework) {
  const std::string text = Claims(in_names_of_strategies(framework)).kept();
  return joined_words(terms_in(text, Place::anywhere), text);
}

std::string sharding_in_notes(const std::string& cell, const std::string& notes) {
  const Claims said(of_one_way(notes));
  const TermsFound found = terms_in(said.kept(), Place::anywhere);
  std::string words = joined_words(found, said.kept());
  if (!cell.empty()) {
    static const std::regex plain(R"(\s*(?:pytorch |torch )?fsdp2?\s*)", std::regex::icase);
    return found.of_fsdp && std::regex_match(cell, plain) ? words : "";
  }
  if (!words.empty() || found.stage) return words;
  // "No zero bubble", "no ZeRO-3" and "no ZeRO offload" deny something else.
  static const std::regex any(
      R"(\bZeRO(?![ _-]?(?:[0-9+]|stage|offload|infinity|bubble))|\b(?:[Uu]se[ _-])?[Dd]ist(?:ributed)?[ _-][Oo]ptim(?:izer)?\b)"
      R"(|\bFSDP(?!2|[-_]| (?!is\b|was\b|or\b|nor\b|off\b|disabled|unused|omitted|not\b|never\b)[a-z]))");
  return said.says(any) == false ? "none" : "";
}

std::optional<ShardingWords> sharding_in_words(const std::string& cell) {
  // "ddp(distributed-optimizer not stated)" is what tables of recipes that have one on print.
  static const std::regex recipes(R"(\bnot stated\b)", std::regex::icase);
  // "P_os+g, P_a": ZeRO-R's part is of activations.
  const std::string own = in_names_of_strategies(without_split_kept(cell));
  const Claims said(std::regex_replace(own, recipes, ""));
  const std::string& text = said.kept();
  const TermsFound terms = terms_in(text, Place::cell);
  ShardingWords found;
  found.hybrid = terms.hybrid;
  found.in_a_node = found.hybrid || std::regex_search(text, inside_a_node());
  static const std::vector<std::regex> in_cells = compiled(
      {R"(^\s*([1-9][0-9]{0,5})[ -]ways?(?: shard(?:ing|ed)?)?\s*$)",
       R"(\bsharded (?:over|across|among) ([1-9][0-9]{0,5})\b)" + std::string(kNoRanks),
       R"((?:shard(?:s|ing)?|\bsd)(?:[ _](?:degree|size|group(?: size)?))?[ =:]{0,3}([0-9]{1,6})\b)",
       R"(\bfsdp ?([1-9][0-9]{1,5}|[3-9])\b)"});
  found.degree = sharers_in(text);
  if (!found.degree) found.degree = first_count(text, in_cells);
  found.nodes = nodes_in(text);
  const auto by_sign = stage_of_short_cell(text);
  if (terms.exactness == Exactness::stage && terms.stage) {
    if (terms.disagrees) return std::nullopt;
    found.stage = *terms.stage;
  } else if (said.none()) {
    return found;
  } else if (by_sign) {
    found.stage = *by_sign;
  } else if (terms.exactness <= Exactness::replicas && found.degree.value_or(1) > 1) {
    found.stage = 3;  // what counts sharers shares
  } else if (terms.stage) {
    found.stage = *terms.stage;
    found.least = terms.exactness == Exactness::zero;
  } else if (found.degree) {
    found.stage = 3;
  } else if (const auto on = switch_in_words(text)) {
    found.stage = *on ? 3 : 0;
  } else {
    return std::nullopt;
  }
  return found;
}

}  // namespace parallel_opt
